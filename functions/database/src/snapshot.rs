//! Snapshots: those a database begins from, and the last one that is taken of it.

use aws_sdk_rds::{
    Client,
    types::{DbClusterSnapshot, DbSnapshot, Tag},
};
use step::{Context, Doing, Error, Left, LeftKind, Result};

use crate::{Wanted, credentials::Credentials, tags};

/// The tag's word for "no last snapshot".
const NO: &str = "false";

/// What the name of a last snapshot says after its database's.
const FINAL: &str = "-final-";

/// A snapshot of an instance or a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) engine: String,
    pub(crate) version: String,
    username: String,
    storage: Option<i32>,
    encrypted: bool,
    key: Option<String>,
    status: String,
    tags: std::collections::BTreeMap<String, String>,
}

impl Snapshot {
    /// The storage in GiB of what is restored from it; none for what it has itself, below which RDS restores nothing.
    pub(crate) fn storage(&self, wanted: &Wanted) -> Option<i32> {
        wanted.storage.filter(|asked| self.storage.is_none_or(|held| *asked > held))
    }
}

/// The tag with which somebody opens a snapshot of one environment to all others.
const SHARED: &str = "plinth:shared";

/// The snapshot the spec names, if it names one; it must be there, and fit.
pub(crate) async fn to_restore(rds: &Client, wanted: &Wanted) -> Result<Option<Snapshot>> {
    let Some(name) = &wanted.restore else { return Ok(None) };
    let found =
        if wanted.engine.is_aurora() { of_cluster(rds, name).await? } else { of_instance(rds, name).await? };
    let address = &wanted.address;
    let kind = if wanted.engine.is_aurora() { "cluster snapshot" } else { "snapshot" };
    let snapshot = found.ok_or_else(|| {
        Error::InvalidSpec(format!("{address}.restore: RDS has no {kind} ({name}) in this region"))
    })?;
    is_open(&snapshot, wanted)?;
    fits(&snapshot, wanted)?;
    Ok(Some(snapshot))
}

/// Refuses the data of another environment: its snapshots carry its tags. Whoever may tag them may open them.
fn is_open(snapshot: &Snapshot, wanted: &Wanted) -> Result<()> {
    let Some(other) = snapshot.tags.get(step::ENVIRONMENT) else { return Ok(()) };
    let shared = snapshot.tags.get(SHARED).is_some_and(|shared| shared == "true");
    if shared || wanted.tags.get(step::ENVIRONMENT) == Some(other) {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{}.restore: snapshot ({}) is of environment {other}: give it the tag {SHARED}=true if other environments \
         may have its data",
        wanted.address, snapshot.name
    )))
}

/// Refuses a snapshot from which the database that the spec describes can't be made.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RestoreFromSnapshot.html>
fn fits(snapshot: &Snapshot, wanted: &Wanted) -> Result<()> {
    let (address, name) = (&wanted.address, &snapshot.name);
    if snapshot.engine != wanted.engine.word() {
        return Err(Error::InvalidSpec(format!(
            "{address}.restore: snapshot ({name}) is of {}, not {}",
            snapshot.engine,
            wanted.engine.word()
        )));
    }
    if wanted.engine.is_aurora() {
        // A cluster can be given another key as it is restored, and must be given one if it had none.
        if snapshot.encrypted || wanted.encryption.is_some() {
            return Ok(());
        }
        return Err(Error::InvalidSpec(format!(
            "{address}.restore: cluster snapshot ({name}) isn't encrypted: give the environment a `key:`, \
             with which what is restored from it is"
        )));
    }
    let asked = wanted.encryption.as_deref();
    let same = asked.is_none_or(|asked| snapshot.key.as_deref() == Some(asked));
    if snapshot.encrypted && same {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{address}.restore: snapshot ({name}) isn't encrypted with {asked}, and RDS restores an instance \
         with its snapshot's key: copy it (`aws rds copy-db-snapshot --kms-key-id {asked}`), and \
         name the copy",
        asked = asked.unwrap_or("alias/aws/rds"),
    )))
}

/// Refuses credentials whose name isn't the snapshot's: the master user's name can't be changed.
pub(crate) fn same_user(snapshot: &Snapshot, credentials: &Credentials, wanted: &Wanted) -> Result<()> {
    if snapshot.username.is_empty() || snapshot.username == credentials.username {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{}.credentials: the master user of snapshot ({}) is {}, and RDS can't rename it: give the secret \
         that `username`",
        wanted.address, snapshot.name, snapshot.username
    )))
}

/// The type to ask for: RDS tells of its daily snapshots only then.
fn kind(name: &str) -> Option<String> {
    let own = name.rsplit_once("snapshot:").map_or(name, |(_, own)| own);
    own.starts_with("rds:").then(|| "automated".to_owned())
}

pub(crate) async fn of_cluster(rds: &Client, name: &str) -> Result<Option<Snapshot>> {
    let described = rds
        .describe_db_cluster_snapshots()
        .db_cluster_snapshot_identifier(name)
        .set_snapshot_type(kind(name))
        .include_shared(true)
        .send()
        .await;
    let described = described.unless_absent(&["DBClusterSnapshotNotFoundFault"], || {
        format!("describing Aurora cluster snapshot ({name})")
    })?;
    let found = described.and_then(|answer| answer.db_cluster_snapshots?.into_iter().next());
    Ok(found.map(|found| Snapshot {
        name: name.to_owned(),
        engine: found.engine.unwrap_or_default(),
        version: found.engine_version.unwrap_or_default(),
        username: found.master_username.unwrap_or_default(),
        storage: found.allocated_storage,
        encrypted: found.storage_encrypted == Some(true),
        key: found.kms_key_id,
        status: found.status.unwrap_or_default(),
        tags: crate::tags(&found.tag_list.unwrap_or_default()),
    }))
}

pub(crate) async fn of_instance(rds: &Client, name: &str) -> Result<Option<Snapshot>> {
    let described = rds
        .describe_db_snapshots()
        .db_snapshot_identifier(name)
        .set_snapshot_type(kind(name))
        .include_shared(true)
        .send()
        .await;
    let described =
        described.unless_absent(&["DBSnapshotNotFound"], || format!("describing RDS snapshot ({name})"))?;
    let found = described.and_then(|answer| answer.db_snapshots?.into_iter().next());
    Ok(found.map(|found| Snapshot {
        name: name.to_owned(),
        engine: found.engine.unwrap_or_default(),
        version: found.engine_version.unwrap_or_default(),
        username: found.master_username.unwrap_or_default(),
        storage: found.allocated_storage,
        encrypted: found.encrypted == Some(true),
        key: found.kms_key_id,
        status: found.status.unwrap_or_default(),
        tags: crate::tags(&found.tag_list.unwrap_or_default()),
    }))
}

/// The name of the last snapshot, if one is to be taken: the same for all passes of a run, another in the
/// next, since the snapshot stays.
pub(crate) fn last(context: &Context, name: &str, tag: Option<&String>) -> Option<String> {
    is_taken(tag).then(|| format!("{name}{FINAL}{}", step::digits(&context.run.id, 12)))
}

/// The same as far as a plan knows it.
pub(crate) fn planned(name: &str, tag: Option<&String>) -> Option<String> {
    is_taken(tag).then(|| format!("{name}{FINAL}…"))
}

fn is_taken(tag: Option<&String>) -> bool {
    tag.is_none_or(|tag| tag != NO)
}

/// The last snapshots of the environment's databases that are there: they carry their databases' tags.
pub(crate) async fn left(rds: &Client, context: &Context) -> Result<Vec<Left>> {
    let doing = || "describing RDS snapshots";
    let instances = rds.describe_db_snapshots().snapshot_type("manual").into_paginator().items().send();
    let instances: std::result::Result<Vec<_>, _> = instances.collect().await;
    let clusters =
        rds.describe_db_cluster_snapshots().snapshot_type("manual").into_paginator().items().send();
    let clusters: std::result::Result<Vec<_>, _> = clusters.collect().await;
    let of_instance = |found: &DbSnapshot| last_of(context, found.db_snapshot_identifier(), found.tag_list());
    let of_cluster = |found: &DbClusterSnapshot| {
        last_of(context, found.db_cluster_snapshot_identifier(), found.tag_list())
    };
    let mut left: Vec<Left> = instances.doing(doing)?.iter().filter_map(of_instance).collect();
    left.extend(clusters.doing(doing)?.iter().filter_map(of_cluster));
    left.sort();
    Ok(left)
}

fn last_of(context: &Context, name: Option<&str>, list: &[Tag]) -> Option<Left> {
    let name = name.filter(|name| name.contains(FINAL))?.to_owned();
    let address = context.owner().address(&tags(list))?.to_owned();
    Some(Left { address, kind: LeftKind::Snapshot, name, days: None })
}

/// Refuses to ask for a snapshot of what RDS takes none of.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html>
pub(crate) fn possible(what: &str, state: &str) -> Result<()> {
    if !["failed", "incompatible-restore", "incompatible-network"].contains(&state) {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{what} is {state}, and RDS takes no last snapshot of it: give it the tag {}={NO} if it may go \
         without one, then start the run again",
        crate::FINAL_SNAPSHOT
    )))
}

/// Whether an earlier pass of this run has taken the last snapshot: the deletion that took it didn't come
/// through.
pub(crate) fn taken(snapshot: Option<&Snapshot>, what: &str) -> Result<()> {
    match snapshot {
        Some(snapshot) if snapshot.status == "available" => Ok(()),
        Some(snapshot) if snapshot.status == "creating" => {
            Err(Error::soon(format!("the last snapshot ({}) of {what} is being taken", snapshot.name)))
        }
        Some(snapshot) => Err(Error::Failed(format!(
            "deleting {what}: its last snapshot ({}) is {}: delete that, then start the run again",
            snapshot.name, snapshot.status
        ))),
        None => Err(Error::soon(format!("{what} is being deleted"))),
    }
}

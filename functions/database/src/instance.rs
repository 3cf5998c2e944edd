//! RDS instances: a database that is one, and the one in an Aurora cluster.

use std::collections::BTreeMap;

use aws_sdk_rds::{
    Client,
    error::ProvideErrorMetadata,
    types::{DbInstance, Endpoint},
};
use step::{
    Change, Context, DatabaseOutput, Doing, Error, Field, Latency, Result, UNKNOWN, compare, missing_tags,
};

use crate::{
    BUSY, Clients, DONE, FINAL_SNAPSHOT, PENDING, RESTORED, Standing, USABLE, Wanted, available, changing,
    credentials, days, groups, is_stopped, made, other_state,
    place::Settled,
    retag, since, snapshot, tag_list, tags_of,
    version::{self, Upgrade},
};

/// The storage of a new instance in GiB, where the spec doesn't say: the least of gp3.
pub(crate) const STORAGE: i32 = 20;

/// From how many GiB on gp3 is striped and wants its IOPS named when it grows, and how many it has then.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html#gp3-storage>
const STRIPED: i32 = 400;
const STRIPED_IOPS: i32 = 12_000;

/// The longest identifier.
const LIMIT: usize = 63;

const ABSENT: [&str; 1] = ["DBInstanceNotFound"];

pub(crate) fn what(name: &str) -> String {
    format!("RDS instance ({name})")
}

pub(crate) fn name(found: &DbInstance) -> &str {
    found.db_instance_identifier().unwrap_or_default()
}

/// How long an instance takes: those of the burstable classes are small.
pub(crate) fn latency(class: &str, multi_zone: bool) -> Latency {
    let small = class.starts_with("db.t") && !multi_zone;
    Latency::of(if small { "rds-small" } else { "rds-large" })
}

fn state(found: &DbInstance) -> &str {
    found.db_instance_status().unwrap_or("creating")
}

fn port(found: &DbInstance) -> Option<i32> {
    found.endpoint().and_then(Endpoint::port)
}

pub(crate) async fn ensure(
    clients: &Clients,
    context: &Context,
    standing: &Standing,
    wanted: &Wanted,
    group: &str,
) -> Result<DatabaseOutput> {
    let (rds, what, latency) = (&clients.rds, wanted.what(), wanted.latency());
    let Some(found) = find(context, standing, &wanted.name)? else {
        create(clients, context, wanted, group).await?;
        return Err(latency.wait(&format!("{what} is creating"), context.since));
    };
    let (tags, state) = (tags_of(found), state(found));
    if state != "deleting" && !missing_tags(&tags, &wanted.tags).is_empty() {
        retag(rds, found.db_instance_arn().unwrap_or_default(), &what, &wanted.tags).await?;
    }
    if is_stopped(state) && context.run.paused {
        return output(found).ok_or_else(|| Error::soon(format!("{what} has no endpoint yet")));
    }
    if is_stopped(state) {
        start(rds, context, found).await?;
    }
    // One that is full is mended by what follows.
    if state != "storage-full" || growth(found, wanted).is_none() {
        available(&what, state, latency, since(context, state, found.instance_create_time()))?;
    }
    let upgrade = version::upgrade(rds, wanted, found.engine_version().unwrap_or_default()).await?;
    let fields = difference(found, wanted, group, upgrade.as_ref());
    let password = credentials::difference(&clients.secrets, context, wanted, &tags).await?;
    let restored = tags.get(RESTORED).is_some_and(|restored| restored == PENDING);
    if fields.is_empty() && password.is_none() && !restored {
        return output(found).ok_or_else(|| Error::soon(format!("{what} has no endpoint yet")));
    }
    if let Some(upgrade) = &upgrade {
        change_version(rds, wanted, upgrade).await?;
        return Err(changing(&what, latency, context));
    }
    let renewed = restored || password.is_some();
    let credentials = if renewed { Some(credentials::read(&clients.secrets, wanted).await?) } else { None };
    let mut told = BTreeMap::new();
    if let Some(credentials) = &credentials {
        credentials.same_user(found.master_username(), wanted)?;
        told = credentials.tag();
    }
    let password = credentials.map(|credentials| credentials.password);
    update(rds, found, wanted, group, &fields, password).await?;
    if restored {
        told.insert(RESTORED.to_owned(), DONE.to_owned());
    }
    if !told.is_empty() {
        retag(rds, found.db_instance_arn().unwrap_or_default(), &what, &told).await?;
    }
    Err(changing(&what, latency, context))
}

/// What `ensure` would change, and where the database answers as far as is known.
pub(crate) async fn plan(
    clients: &Clients,
    context: &Context,
    standing: &Standing,
    wanted: &Wanted,
    group: &str,
) -> Result<(Vec<Change>, DatabaseOutput)> {
    let rds = &clients.rds;
    let unknown = DatabaseOutput { host: UNKNOWN.to_owned(), port: u16::try_from(wanted.port).unwrap_or(0) };
    let Some(found) = find(context, standing, &wanted.name)? else {
        let snapshot = snapshot::to_restore(rds, wanted).await?;
        let version = version::of_new(rds, wanted, snapshot.as_ref()).await?;
        version::orderable(rds, wanted, &version).await?;
        let change = Change::create(&wanted.address).with("name", &wanted.name);
        return Ok((vec![change.with("version", version).with("instance", &wanted.class)], unknown));
    };
    let tags = tags_of(found);
    let current = found.engine_version().unwrap_or_default();
    let upgrade = version::upgrade(rds, wanted, current).await?;
    let mut fields: Vec<Field> = other_state(context, state(found)).into_iter().collect();
    // Of what stays stopped nothing is changed.
    if !(is_stopped(state(found)) && context.run.paused) {
        fields.extend(difference(found, wanted, group, upgrade.as_ref()));
        fields.extend(credentials::difference(&clients.secrets, context, wanted, &tags).await?);
    }
    if fields.iter().any(|field| ["version", "instance"].contains(&field.name.as_str())) {
        let version = upgrade.map_or_else(|| current.to_owned(), |upgrade| upgrade.version);
        version::orderable(rds, wanted, &version).await?;
    }
    fields.extend(missing_tags(&tags, &wanted.tags));
    let changes = Change::update(&wanted.address, fields).into_iter().collect();
    Ok((changes, output(found).unwrap_or(unknown)))
}

fn find<'a>(context: &Context, standing: &'a Standing, wanted: &str) -> Result<Option<&'a DbInstance>> {
    let Some(found) = standing.instances.iter().find(|found| name(found) == wanted) else { return Ok(None) };
    context.owner().check(&what(wanted), &tags_of(found))?;
    Ok(Some(found))
}

pub(crate) fn settled(found: &DbInstance) -> Settled<'_> {
    Settled {
        what: what(name(found)),
        name: name(found),
        arn: found.db_instance_arn().unwrap_or_default(),
        id: found.dbi_resource_id().unwrap_or(name(found)),
        state: state(found),
        created: found.instance_create_time(),
        engine: found.engine().unwrap_or_default(),
        port: port(found),
        database: found.db_name(),
        subnets: found.db_subnet_group().and_then(|group| group.db_subnet_group_name()),
        encrypted: found.storage_encrypted() == Some(true),
        key: found.kms_key_id(),
        protection: found.deletion_protection(),
        tags: tags_of(found),
    }
}

/// The version that an instance has; none if it isn't there.
pub(crate) fn version<'a>(standing: &'a Standing, wanted: &Wanted) -> Option<&'a str> {
    standing.instances.iter().find(|found| name(found) == wanted.name)?.engine_version()
}

/// The storage that an instance grows to; none if it has what the spec asks for, or more: RDS takes none away, and may
/// have added some by itself. It grows by a tenth at least.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html>
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html>
fn growth(found: &DbInstance, wanted: &Wanted) -> Option<i32> {
    let has = found.allocated_storage()?;
    let asked = wanted.storage.filter(|asked| *asked > has)?;
    Some(asked.max(has + (has + 9) / 10))
}

fn difference(found: &DbInstance, wanted: &Wanted, group: &str, upgrade: Option<&Upgrade>) -> Vec<Field> {
    let flag = |found: Option<bool>| found.unwrap_or(false);
    let version = upgrade.and_then(|upgrade| {
        compare("version", found.engine_version().unwrap_or_default(), upgrade.version.as_str())
    });
    let gib = |gib: i32| format!("{gib} GiB");
    let has = found.allocated_storage().unwrap_or_default();
    [
        version,
        compare("instance", found.db_instance_class().unwrap_or_default(), wanted.class.as_str()),
        growth(found, wanted).and_then(|storage| compare("storage", gib(has), gib(storage))),
        port(found).and_then(|port| compare("port", port, wanted.port)),
        compare("multiZone", flag(found.multi_az()), wanted.multi_zone),
        compare("backups", days(found.backup_retention_period().unwrap_or_default()), days(wanted.backups)),
        compare("protect", flag(found.deletion_protection()), wanted.protect),
        compare("publiclyAccessible", flag(found.publicly_accessible()), false),
        compare("copyTagsToSnapshot", flag(found.copy_tags_to_snapshot()), true),
        compare("securityGroup", groups(found.vpc_security_groups()), group.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn create(clients: &Clients, context: &Context, wanted: &Wanted, group: &str) -> Result<()> {
    let rds = &clients.rds;
    let snapshot = snapshot::to_restore(rds, wanted).await?;
    let credentials = credentials::read(&clients.secrets, wanted).await?;
    let mut tags = wanted.new_tags();
    tags.extend(credentials.tag());
    let Some(snapshot) = snapshot else {
        let version = version::of_new(rds, wanted, None).await?;
        let created = rds
            .create_db_instance()
            .db_instance_identifier(&wanted.name)
            .db_instance_class(&wanted.class)
            .engine(wanted.engine.word())
            .engine_version(version)
            .allocated_storage(wanted.storage.unwrap_or(STORAGE))
            .storage_type(version::STORAGE)
            .storage_encrypted(true)
            .set_kms_key_id(wanted.encryption.clone())
            .set_db_name(wanted.database.clone())
            .master_username(credentials.username)
            .master_user_password(credentials.password)
            .port(wanted.port)
            .db_subnet_group_name(&wanted.subnets.name)
            .vpc_security_group_ids(group)
            .multi_az(wanted.multi_zone)
            .publicly_accessible(false)
            .backup_retention_period(wanted.backups)
            .copy_tags_to_snapshot(true)
            .deletion_protection(wanted.protect)
            .set_tags(Some(tag_list(&tags)))
            .send()
            .await;
        return made(context, created, &wanted.what());
    };
    snapshot::same_user(&snapshot, &credentials, wanted)?;
    let restored = rds
        .restore_db_instance_from_db_snapshot()
        .db_instance_identifier(&wanted.name)
        .db_snapshot_identifier(&snapshot.name)
        .db_instance_class(&wanted.class)
        .set_allocated_storage(snapshot.storage(wanted))
        .port(wanted.port)
        .db_subnet_group_name(&wanted.subnets.name)
        .vpc_security_group_ids(group)
        .multi_az(wanted.multi_zone)
        .publicly_accessible(false)
        .backup_retention_period(wanted.backups)
        .copy_tags_to_snapshot(true)
        .deletion_protection(wanted.protect)
        .set_tags(Some(tag_list(&wanted.restored_tags())))
        .send()
        .await;
    made(context, restored, &wanted.what())
}

/// Versions go before the rest: a class that only the new one runs on is refused beside it.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html>
async fn change_version(rds: &Client, wanted: &Wanted, upgrade: &Upgrade) -> Result<()> {
    let modified = rds
        .modify_db_instance()
        .db_instance_identifier(&wanted.name)
        .engine_version(&upgrade.version)
        .allow_major_version_upgrade(upgrade.major)
        .apply_immediately(true)
        .send()
        .await;
    modified.gone(&[], &BUSY, || format!("changing the version of {} to {}", wanted.what(), upgrade.version))
}

async fn update(
    rds: &Client,
    found: &DbInstance,
    wanted: &Wanted,
    group: &str,
    fields: &[Field],
    password: Option<String>,
) -> Result<()> {
    let differs = |name: &str| fields.iter().any(|field| field.name == name);
    let storage = growth(found, wanted);
    let striped = storage.filter(|storage| *storage >= STRIPED);
    let modified = rds
        .modify_db_instance()
        .db_instance_identifier(&wanted.name)
        .apply_immediately(true)
        .set_db_instance_class(differs("instance").then(|| wanted.class.clone()))
        .set_allocated_storage(storage)
        .set_iops(striped.map(|_| found.iops().unwrap_or_default().max(STRIPED_IOPS)))
        .set_db_port_number(differs("port").then_some(wanted.port))
        .set_multi_az(differs("multiZone").then_some(wanted.multi_zone))
        .set_backup_retention_period(differs("backups").then_some(wanted.backups))
        .set_deletion_protection(differs("protect").then_some(wanted.protect))
        .set_publicly_accessible(differs("publiclyAccessible").then_some(false))
        .set_copy_tags_to_snapshot(differs("copyTagsToSnapshot").then_some(true))
        .set_vpc_security_group_ids(differs("securityGroup").then(|| vec![group.to_owned()]))
        .set_master_user_password(password)
        .send()
        .await;
    modified.gone(&[], &BUSY, || format!("changing {}", wanted.what()))
}

fn output(found: &DbInstance) -> Option<DatabaseOutput> {
    let host = found.endpoint()?.address()?.to_owned();
    Some(DatabaseOutput { host, port: u16::try_from(port(found)?).ok()? })
}

/// The wait for an instance that is on its way.
fn wait(context: &Context, found: &DbInstance, state: &str) -> Error {
    let latency = latency(found.db_instance_class().unwrap_or_default(), found.multi_az() == Some(true));
    latency.wait(&format!("{} is {state}", what(name(found))), context.since)
}

/// Starts an instance that is stopped; another pass finds it available.
pub(crate) async fn start(rds: &Client, context: &Context, found: &DbInstance) -> Result<()> {
    if state(found) != "stopped" {
        return Err(wait(context, found, state(found)));
    }
    let started = rds.start_db_instance().db_instance_identifier(name(found)).send().await;
    started.gone(&[], &BUSY, || format!("starting {}", what(name(found))))?;
    Err(wait(context, found, "starting"))
}

/// Stops an instance, and waits until it has stopped.
pub(crate) async fn stop(rds: &Client, context: &Context, found: &DbInstance) -> Result<()> {
    match state(found) {
        "stopped" => return Ok(()),
        state if USABLE.contains(&state) => {}
        state => return Err(wait(context, found, state)),
    }
    let stopped = rds.stop_db_instance().db_instance_identifier(name(found)).send().await;
    stopped.gone(&[], &BUSY, || format!("stopping {}", what(name(found))))?;
    Err(wait(context, found, "stopping"))
}

/// Deletes an instance, with a last snapshot unless it is in a cluster, which has one of its own.
pub(crate) async fn delete(rds: &Client, context: &Context, found: &DbInstance) -> Result<()> {
    let (name, state) = (name(found), state(found));
    if state == "deleting" {
        return Ok(());
    }
    let doing = || format!("deleting {}", what(name));
    let last = if found.db_cluster_identifier().is_some() {
        None
    } else {
        snapshot::last(context, name, tags_of(found).get(FINAL_SNAPSHOT))
    };
    let delete = rds.delete_db_instance().db_instance_identifier(name);
    let Some(last) = last else {
        let deleted = delete.skip_final_snapshot(true).send().await;
        return deleted.gone(&ABSENT, &BUSY, doing);
    };
    if is_stopped(state) {
        // RDS takes snapshots of what runs.
        start(rds, context, found).await?;
    }
    snapshot::possible(&what(name), state)?;
    let deleted = delete.skip_final_snapshot(false).final_db_snapshot_identifier(&last).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("DBSnapshotAlreadyExists")) {
        snapshot::taken(snapshot::of_instance(rds, &last).await?.as_ref(), &what(name))?;
        let again = rds.delete_db_instance().db_instance_identifier(name).skip_final_snapshot(true);
        return again.send().await.gone(&ABSENT, &BUSY, doing);
    }
    deleted.gone(&ABSENT, &BUSY, doing)
}

/// The address of a cluster's instance.
fn member_address(wanted: &Wanted) -> String {
    format!("{}.instance", wanted.address)
}

fn member_name(wanted: &Wanted) -> String {
    step::name(&wanted.name, "1", LIMIT)
}

/// The instance of a cluster that is there; made if it is missing.
pub(crate) async fn ensure_member(
    rds: &Client,
    context: &Context,
    standing: &Standing,
    wanted: &Wanted,
) -> Result<()> {
    let (name, latency) = (member_name(wanted), wanted.latency());
    let Some(found) = find(context, standing, &name)? else {
        create_member(rds, context, wanted).await?;
        return Err(latency.wait(&format!("{} is creating", what(&name)), context.since));
    };
    let state = state(found);
    let tags = context.tags(&member_address(wanted));
    if state != "deleting" && !missing_tags(&tags_of(found), &tags).is_empty() {
        retag(rds, found.db_instance_arn().unwrap_or_default(), &what(&name), &tags).await?;
    }
    available(&what(&name), state, latency, since(context, state, found.instance_create_time()))?;
    let fields = member_difference(found, wanted);
    if fields.is_empty() {
        return Ok(());
    }
    let differs = |name: &str| fields.iter().any(|field| field.name == name);
    let modified = rds
        .modify_db_instance()
        .db_instance_identifier(&name)
        .apply_immediately(true)
        .set_db_instance_class(differs("instance").then(|| wanted.class.clone()))
        .set_publicly_accessible(differs("publiclyAccessible").then_some(false))
        .send()
        .await;
    modified.gone(&[], &BUSY, || format!("changing {}", what(&name)))?;
    Err(changing(&what(&name), latency, context))
}

/// What `ensure_member` would change.
pub(crate) fn plan_member(context: &Context, standing: &Standing, wanted: &Wanted) -> Result<Option<Change>> {
    let (name, address) = (member_name(wanted), member_address(wanted));
    let Some(found) = find(context, standing, &name)? else {
        return Ok(Some(Change::create(address).with("name", name).with("instance", &wanted.class)));
    };
    let mut fields = member_difference(found, wanted);
    fields.extend(missing_tags(&tags_of(found), &context.tags(&address)));
    Ok(Change::update(address, fields))
}

fn member_difference(found: &DbInstance, wanted: &Wanted) -> Vec<Field> {
    let class = found.db_instance_class().unwrap_or_default();
    let public = found.publicly_accessible().unwrap_or(false);
    let fields =
        [compare("instance", class, wanted.class.as_str()), compare("publiclyAccessible", public, false)];
    fields.into_iter().flatten().collect()
}

/// The rest of its settings are the cluster's.
pub(crate) async fn create_member(rds: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let name = member_name(wanted);
    let created = rds
        .create_db_instance()
        .db_instance_identifier(&name)
        .db_cluster_identifier(&wanted.name)
        .db_instance_class(&wanted.class)
        .engine(wanted.engine.word())
        .publicly_accessible(false)
        .set_tags(Some(tag_list(&context.tags(&member_address(wanted)))))
        .send()
        .await;
    made(context, created, &what(&name))
}

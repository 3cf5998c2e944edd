//! The step `database`: RDS instances and Aurora clusters, the subnets they are in, and their security
//! groups.
//!
//! Ours is a database that carries the owner's tags; it has them from the call on that creates or restores
//! it, and so have its subnet group and its security group. Whether it is protected, whether a last snapshot
//! is taken of it, and whether a restored one awaits its password are tags too, since no spec says it when
//! it counts. What would cost its data (another engine, name or key) is refused, or with `allowDataLoss` had
//! from another, which takes its place before it goes. Never for its version or its storage, which RDS itself raises:
//! a newer version and more storage than the spec asks for are kept.
//! Nor is a database dropped unless the spec says so, or it is new: no run has ended well with it, which is a tag.
//!
//! While the environment is paused its databases are stopped: with `prune`, when the services that use them have
//! stopped. RDS starts what has been stopped for seven days; pausing once more stops it again.
//! Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html>

mod cluster;
mod credentials;
mod instance;
mod place;
mod snapshot;
mod subnet_group;
#[cfg(test)]
mod tests;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client as Ec2;
use aws_sdk_rds::{
    Client as Rds,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{DbCluster, DbInstance, Tag, VpcSecurityGroupMembership},
};
use aws_sdk_secretsmanager::Client as SecretsManager;
use jiff::Timestamp;
use place::{Old, Settled};
use security_group::Source;
use spec::{Database, Engine, Serverless};
use step::{
    Answer, Change, Context, DatabaseOutput, Doing, Error, Field, Latency, NEW, Operation, PROTECT, Result,
    UNKNOWN, is_new, is_protected, loss, side_by_side,
};

/// What addresses of this step begin with.
const SECTION: &str = "databases.";

/// The longest default identifier: what a cluster's instance is called ends with two characters more.
const LIMIT: usize = 61;

/// The class of an instance that isn't serverless, where the spec names none.
const CLASS: &str = "db.t4g.micro";

/// For how many days backups are kept, where the spec doesn't say.
const BACKUPS: u64 = 7;

/// The tag that says whether a last snapshot is taken.
const FINAL_SNAPSHOT: &str = "plinth:final-snapshot";

/// The tag that says which secret its master user is in, by address.
const CREDENTIALS: &str = "plinth:credentials";

/// The tag that says whether a database is encrypted with the environment's key: RDS names its own as it
/// names any other.
const OWN_KEY: &str = "plinth:own-key";

/// The tag of a restored database: [`PENDING`] until it has the spec's password.
const RESTORED: &str = "plinth:restored";
const PENDING: &str = "pending";
const DONE: &str = "done";

/// What RDS answers when a creation is a little early: the answer that said something was made was lost, or
/// what it needs isn't seen everywhere yet.
const EARLY: [&str; 8] = [
    "DBClusterAlreadyExistsFault",
    "DBInstanceAlreadyExists",
    "DBSubnetGroupAlreadyExists",
    "DBSubnetGroupNotFoundFault",
    "DBClusterNotFoundFault",
    "InvalidDBClusterStateFault",
    "InvalidDBSnapshotState",
    "InvalidDBClusterSnapshotStateFault",
];

/// What RDS answers while a database can't be changed or deleted.
const BUSY: [&str; 2] = ["InvalidDBInstanceState", "InvalidDBClusterStateFault"];

/// The states in which a database can be used.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html>
const USABLE: [&str; 9] = [
    "available",
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "storage-config-upgrade",
    "storage-initialization",
    "storage-optimization",
    "scaling-compute",
];

/// The states a database doesn't leave by itself, beside those that begin with `incompatible-` or
/// `inaccessible-`.
const BROKEN: [&str; 6] = [
    "cloning-failed",
    "failed",
    "insufficient-capacity",
    "migration-failed",
    "restore-error",
    "storage-full",
];

/// The clients of the services this step calls.
struct Clients {
    rds: Rds,
    ec2: Ec2,
    secrets: SecretsManager,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let clients = Clients {
        rds: Rds::new(&context.aws),
        ec2: Ec2::new(&context.aws),
        secrets: SecretsManager::new(&context.aws),
    };
    match context.operation {
        Operation::Plan => plan(&clients, &context).await,
        Operation::Ensure => ensure(&clients, &context).await,
        Operation::Prune => prune(&clients, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    /// The key that its name is made of.
    named_by: String,
    /// The address that it had before.
    formerly: Option<String>,
    /// The identifier in RDS.
    name: String,
    /// The one that the spec gives.
    given: Option<String>,
    engine: Engine,
    /// The version, or how it begins.
    version: Option<String>,
    class: String,
    serverless: Option<Serverless>,
    storage: Option<i32>,
    database: Option<String>,
    /// The ARN of the secret that holds the master user.
    secret: String,
    port: i32,
    multi_zone: bool,
    /// In days.
    backups: i32,
    restore: Option<String>,
    protect: bool,
    /// Whether another may take the place of one that can't become what is wanted.
    replace: bool,
    /// Those whose place it takes.
    old: Vec<Old>,
    /// The ARN of the key it is encrypted with; none for RDS's own.
    encryption: Option<String>,
    subnets: subnet_group::Wanted,
    group: security_group::Wanted,
    tags: BTreeMap<String, String>,
}

impl Wanted {
    /// "Aurora cluster (demo-main)".
    fn what(&self) -> String {
        if self.engine.is_aurora() { cluster::what(&self.name) } else { instance::what(&self.name) }
    }

    fn latency(&self) -> Latency {
        if self.engine.is_aurora() {
            Latency::of("aurora")
        } else {
            instance::latency(&self.class, self.multi_zone)
        }
    }

    /// The tags of a database that is made.
    fn new_tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.tags.clone();
        tags.insert(NEW.to_owned(), "true".to_owned());
        tags
    }

    /// The tags of a database that begins as a snapshot.
    fn restored_tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.new_tags();
        tags.insert(RESTORED.to_owned(), PENDING.to_owned());
        tags
    }
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    context.spec.databases.iter().map(|(key, database)| wanted_one(context, key, database)).collect()
}

fn wanted_one(context: &Context, key: &str, database: &Database) -> Result<Wanted> {
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let address = format!("{SECTION}{key}");
    let port = database.port.unwrap_or(database.engine.port());
    let ingress = place::rule(&address, port, Source::Group(network.group.clone()));
    let named_by = spec::named_by(key, database.formerly.as_ref());
    let beside = |key: &str| context.name(None, &format!("{key}-database"), 255);
    let days = database.backups.map_or(Some(BACKUPS), spec::Duration::whole_days);
    let days = days.and_then(|days| i32::try_from(days).ok());
    let storage = database.storage.map(i32::try_from).transpose();
    let invalid = |field: &str| Error::InvalidSpec(format!("{address}.{field}: RDS takes no such value"));
    let encryption = context.key_arn()?.cloned();
    let mut tags = context.tags(&address);
    tags.insert(FINAL_SNAPSHOT.to_owned(), database.final_snapshot.to_string());
    tags.insert(PROTECT.to_owned(), database.protect.to_string());
    tags.extend(credentials::address(database).map(|address| (CREDENTIALS.to_owned(), address)));
    tags.insert(OWN_KEY.to_owned(), encryption.is_some().to_string());
    let name = context.name(database.name.as_ref(), named_by, LIMIT);
    tags.insert(place::NAME.to_owned(), name.clone());
    Ok(Wanted {
        key: key.to_owned(),
        named_by: named_by.to_owned(),
        formerly: database.formerly.as_ref().map(|before| format!("{SECTION}{before}")),
        name,
        given: database.name.clone(),
        engine: database.engine,
        version: database.version.clone(),
        class: class(&address, database)?,
        serverless: database.serverless,
        storage: storage.map_err(|_| invalid("storage"))?,
        database: database.database.clone(),
        secret: context.render(&database.credentials)?,
        port: port.into(),
        multi_zone: database.multi_zone,
        backups: days.ok_or_else(|| invalid("backups"))?,
        restore: database.restore.clone(),
        protect: database.protect,
        replace: context.may_lose(&address),
        old: Vec::new(),
        encryption,
        subnets: subnet_group::Wanted {
            address: format!("{address}.subnets"),
            name: beside(named_by),
            subnets: if network.private.is_empty() { &network.public } else { &network.private }.clone(),
            tags: context.tags(&format!("{address}.subnets")),
        },
        group: security_group::Wanted {
            address: format!("{address}.group"),
            name: beside(key),
            description: "Of a database of an environment",
            vpc: network.vpc.clone(),
            ingress: vec![ingress],
        },
        tags,
        address,
    })
}

fn class(address: &str, database: &Database) -> Result<String> {
    match (&database.instance, database.serverless) {
        (_, Some(_)) => Ok(version::SERVERLESS.to_owned()),
        (Some(class), None) => Ok(class.clone()),
        (None, None) if database.engine.is_aurora() => Err(Error::InvalidSpec(format!(
            "{address}: says neither `serverless:` nor `instance:`; write one, such as `serverless: {{ min: \
             0.5, max: 4 }}`"
        ))),
        (None, None) => Ok(CLASS.to_owned()),
    }
}

/// Every database of the region, ours and others.
#[derive(Default)]
struct Standing {
    clusters: Vec<DbCluster>,
    instances: Vec<DbInstance>,
    /// The ARNs of those whose place another has taken, or in a plan will.
    replaced: BTreeSet<String>,
}

impl Standing {
    /// Those that are databases, and not in one.
    fn databases(&self) -> impl Iterator<Item = Settled<'_>> {
        let instances = self.instances.iter().filter(|found| found.db_cluster_identifier().is_none());
        self.clusters.iter().map(cluster::settled).chain(instances.map(instance::settled))
    }
}

async fn standing(rds: &Rds) -> Result<Standing> {
    let clusters = rds.describe_db_clusters().into_paginator().items().send();
    let clusters: std::result::Result<Vec<_>, _> = clusters.collect().await;
    let instances = rds.describe_db_instances().into_paginator().items().send();
    let instances: std::result::Result<Vec<_>, _> = instances.collect().await;
    let mut standing = Standing {
        clusters: clusters.doing(|| "describing Aurora clusters")?,
        instances: instances.doing(|| "describing RDS instances")?,
        replaced: BTreeSet::new(),
    };
    let replaced = standing.databases().filter(Settled::is_replaced).map(|found| found.arn.to_owned());
    standing.replaced = replaced.collect();
    Ok(standing)
}

async fn ensure(clients: &Clients, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let standing = if wanted.is_empty() { Standing::default() } else { standing(&clients.rds).await? };
    let passes = wanted.into_iter().map(|wanted| ensure_one(clients, context, &standing, wanted));
    let (outputs, notes): (Vec<_>, Vec<_>) = side_by_side(passes).await?.into_iter().unzip();
    let notes = notes.into_iter().flatten().collect();
    Ok(Answer { notes, ..Answer::new(BTreeMap::from_iter(outputs), Vec::new())? })
}

async fn ensure_one(
    clients: &Clients,
    context: &Context,
    standing: &Standing,
    mut wanted: Wanted,
) -> Result<((String, DatabaseOutput), Option<String>)> {
    place::settle(context, standing, &mut wanted)?;
    let wanted = &wanted;
    let group = security_group::ensure(&clients.ec2, context, &wanted.group).await?;
    subnet_group::ensure(&clients.rds, context, &wanted.subnets).await?;
    let output = if wanted.engine.is_aurora() {
        cluster::ensure(clients, context, standing, wanted, &group).await?
    } else {
        instance::ensure(clients, context, standing, wanted, &group).await?
    };
    // From now on `prune` may delete these.
    for old in &wanted.old {
        if let Some(tag) = &old.tag {
            retag(&clients.rds, &old.arn, &old.what, tag).await?;
        }
    }
    Ok(((wanted.key.clone(), output), note(standing, wanted)))
}

/// What who follows the run should know of a database.
fn note(standing: &Standing, wanted: &Wanted) -> Option<String> {
    let found = if wanted.engine.is_aurora() {
        cluster::version(standing, wanted)
    } else {
        instance::version(standing, wanted)
    };
    version::note(wanted, found?)
}

async fn plan(clients: &Clients, context: &Context) -> Result<Answer> {
    let Clients { rds, ec2, .. } = clients;
    let mut standing = standing(rds).await?;
    let mut all = wanted(context)?;
    for wanted in &mut all {
        place::settle(context, &standing, wanted)?;
    }
    let old = all.iter().flat_map(|wanted| &wanted.old).map(|old| old.arn.clone());
    standing.replaced = old.filter(|_| !context.run.paused).collect();
    let mut changes = delete_dropped(clients, context, &standing).await?;
    let (mut outputs, mut notes) = (BTreeMap::new(), Vec::new());
    for wanted in all {
        notes.extend(note(&standing, &wanted));
        let (of_group, group) = security_group::plan(ec2, context, &wanted.group).await?;
        changes.extend(of_group);
        changes.extend(subnet_group::plan(rds, context, &wanted.subnets).await?);
        let group = group.as_deref().unwrap_or(UNKNOWN);
        let (of_database, output) = if wanted.engine.is_aurora() {
            cluster::plan(clients, context, &standing, &wanted, group).await?
        } else {
            instance::plan(clients, context, &standing, &wanted, group).await?
        };
        changes.extend(of_database);
        outputs.insert(wanted.key, output);
    }
    let left = snapshot::left(rds, context).await?;
    let answer = Answer { notes, ..Answer::new(outputs, changes)? };
    let answer = answer.keeping(needs(context, &standing));
    Ok(answer.refusing(refused(context, &standing)).leaving(left))
}

async fn prune(clients: &Clients, context: &Context) -> Result<Answer> {
    let mut standing = standing(&clients.rds).await?;
    if context.run.paused {
        // Nothing is verified that is paused: the old one goes for the new when that has shown itself.
        standing.replaced.clear();
    }
    let changes = delete_dropped(clients, context, &standing).await?;
    if context.run.paused {
        stop(&clients.rds, context, &standing).await?;
    } else {
        settled(&clients.rds, context, &standing).await?;
        if context.outputs.network.is_some() {
            close_others(&clients.ec2, context, &standing).await?;
        }
    }
    let left = snapshot::left(&clients.rds, context).await?;
    Ok(Answer::changed(changes).keeping(needs(context, &standing)).leaving(left))
}

/// Why databases that the spec doesn't mention can't go: nobody gave their data up.
fn refused(context: &Context, standing: &Standing) -> Vec<String> {
    let refusal = |found: Settled<'_>| {
        let address = goes(context, standing, &found)?;
        let is_replaced = standing.replaced.contains(found.arn);
        let settled = is_replaced || found.state == "deleting" || stays(&found);
        let goes = settled || is_new(&found.tags) || context.may_lose(&address);
        let then = match snapshot::planned(found.name, found.tags.get(FINAL_SNAPSHOT)) {
            Some(last) => format!("which would be deleted with its backups after a last snapshot ({last})"),
            None => "which would be deleted with its backups and without a last snapshot".to_owned(),
        };
        (!goes).then(|| loss(&address, &found.what, &then))
    };
    standing.databases().filter_map(refusal).collect()
}

/// Notes on the databases of the spec that a run has ended well with them.
async fn settled(rds: &Rds, context: &Context, standing: &Standing) -> Result<()> {
    let is_kept = |found: &Settled<'_>| {
        let address = context.owner().address(&found.tags);
        is_new(&found.tags) && address.is_some_and(|address| !is_dropped(context, address))
    };
    let tag = BTreeMap::from([(NEW.to_owned(), "false".to_owned())]);
    let new: Vec<_> = standing.databases().filter(is_kept).collect();
    side_by_side(new.iter().map(|found| retag(rds, found.arn, &found.what, &tag))).await?;
    Ok(())
}

/// Stops what is ours, side by side, and waits until it has stopped. The instances of a cluster stop with it.
async fn stop(rds: &Rds, context: &Context, standing: &Standing) -> Result<()> {
    let kept = |found: &Settled<'_>| {
        let address = context.owner().address(&found.tags);
        let mentioned = address.is_some_and(|address| !is_dropped(context, address));
        mentioned && (stays(found) || !standing.replaced.contains(found.arn))
    };
    let clusters = standing.clusters.iter().filter(|found| kept(&cluster::settled(found)));
    let clusters = side_by_side(clusters.map(|found| cluster::stop(rds, context, found))).await;
    let instances = standing.instances.iter().filter(|found| found.db_cluster_identifier().is_none());
    let instances = instances.filter(|found| kept(&instance::settled(found)));
    let instances = side_by_side(instances.map(|found| instance::stop(rds, context, found))).await;
    side_by_side([clusters, instances].into_iter().map(std::future::ready)).await?;
    Ok(())
}

/// What the databases that stay can't be without, by address.
fn needs(context: &Context, standing: &Standing) -> BTreeSet<String> {
    let staying = staying(context, standing);
    let secrets = staying.iter().filter_map(|(_, found)| found.tags.get(CREDENTIALS).cloned());
    secrets.chain(["network", "key"].map(str::to_owned)).collect()
}

/// What is ours, unprotected, and not mentioned by the spec, or whose place another has taken.
struct Dropped<'a> {
    clusters: Vec<&'a DbCluster>,
    /// Those of no cluster.
    instances: Vec<&'a DbInstance>,
}

/// Deletes what is ours and the spec doesn't mention, but for what is protected; in a plan only names it.
async fn delete_dropped(clients: &Clients, context: &Context, standing: &Standing) -> Result<Vec<Change>> {
    let Clients { rds, ec2, .. } = clients;
    let mut changes = Vec::new();
    let dropped = dropped(context, standing);
    let staying = staying(context, standing);
    changes.extend(staying.iter().map(|(address, found)| Change::keep(address).with("name", found.name)));
    for found in &dropped.clusters {
        let tags = tags(found.tag_list());
        let name = found.db_cluster_identifier().unwrap_or_default();
        let change = Change::delete(address(context, &tags)).with("name", name);
        changes.push(with_snapshot(context, change, name, &tags));
        let members = cluster::members(context, standing, found)?;
        let named = members.iter().map(|member| (tags_of(member), instance::name(member)));
        changes.extend(named.map(|(tags, name)| Change::delete(address(context, &tags)).with("name", name)));
    }
    for found in &dropped.instances {
        let tags = tags_of(found);
        let name = instance::name(found);
        let change = Change::delete(address(context, &tags)).with("name", name);
        changes.push(with_snapshot(context, change, name, &tags));
    }
    let stays = |address: &str| staying.iter().any(|(kept, _)| address.starts_with(&format!("{kept}.")));
    let mut subnets = subnet_group::dropped(rds, context).await?;
    subnets.retain(|(_, address)| !stays(address));
    changes.extend(subnets.iter().map(|(name, address)| Change::delete(address).with("name", name)));
    let mut groups = security_group::ours(ec2, context, SECTION).await?;
    groups.retain(|group| {
        let address = security_group::address(context, group);
        address.is_some_and(|address| is_left(context, &address) && !stays(&address))
    });
    for group in &groups {
        let address = security_group::address(context, group).unwrap_or_default();
        changes.push(Change::delete(address).with("id", group.group_id().unwrap_or_default()));
    }
    if context.operation == Operation::Prune {
        delete_databases(rds, context, standing, &dropped).await?;
        side_by_side(subnets.iter().map(|(name, _)| subnet_group::delete(rds, name))).await?;
        let group = async |group: &aws_sdk_ec2::types::SecurityGroup| {
            let address = security_group::address(context, group).unwrap_or_default();
            security_group::delete(ec2, context, group.group_id().unwrap_or_default(), &address).await
        };
        side_by_side(groups.iter().map(group)).await?;
        if !context.run.paused {
            close(ec2, context, &staying).await?;
        }
    }
    Ok(changes)
}

/// A deletion with the last snapshot that is taken, whose name a plan doesn't know whole.
fn with_snapshot(context: &Context, change: Change, name: &str, tags: &BTreeMap<String, String>) -> Change {
    let tag = tags.get(FINAL_SNAPSHOT);
    let last = match context.operation {
        Operation::Plan => snapshot::planned(name, tag),
        _ => snapshot::last(context, name, tag),
    };
    change.with("lastSnapshot", last.unwrap_or_else(|| "none".to_owned()))
}

/// Closes the ports of databases that are gone, in the groups of those that took their place.
async fn close(ec2: &Ec2, context: &Context, staying: &[(String, Settled<'_>)]) -> Result<()> {
    let wanted = context.spec.databases.iter().map(|(key, database)| {
        let port = database.port.unwrap_or(database.engine.port());
        format!("{SECTION}{key}.group.{port}")
    });
    let held = staying.iter().filter_map(|(address, found)| Some(format!("{address}.group.{}", found.port?)));
    let kept: BTreeSet<String> = wanted.chain(held).collect();
    let mut rules = security_group::rules(ec2, context).await?;
    rules.retain(|(address, _)| {
        address.starts_with(SECTION) && !is_dropped(context, address) && !kept.contains(address)
    });
    for (_, rule) in &rules {
        security_group::revoke(ec2, rule.group_id().unwrap_or_default(), &[rule]).await?;
    }
    Ok(())
}

/// Closes what was opened by hand.
async fn close_others(ec2: &Ec2, context: &Context, standing: &Standing) -> Result<()> {
    let staying = staying(context, standing);
    for mut wanted in wanted(context)? {
        let address = wanted.address.clone();
        for (_, found) in staying.iter().filter(|(held, _)| *held == address) {
            if let Some(port) = found.port.and_then(|port| u16::try_from(port).ok()) {
                place::open(&mut wanted, port);
            }
        }
        security_group::close(ec2, context, &wanted.group).await?;
    }
    Ok(())
}

/// Deletes instances, then the clusters they were in, and waits until all are gone: they hold their subnet
/// groups and security groups.
async fn delete_databases(
    rds: &Rds,
    context: &Context,
    before: &Standing,
    found: &Dropped<'_>,
) -> Result<()> {
    if found.clusters.is_empty() && found.instances.is_empty() {
        return Ok(());
    }
    // Nothing is taken out of a cluster that is stopped.
    let stopped = found.clusters.iter().filter(|found| is_stopped(cluster::state(found)));
    side_by_side(stopped.map(|found| cluster::start(rds, context, found))).await?;
    let mut instances = found.instances.clone();
    for cluster in &found.clusters {
        instances.extend(cluster::members(context, before, cluster)?);
    }
    side_by_side(instances.into_iter().map(|found| instance::delete(rds, context, found))).await?;
    let now = standing(rds).await?;
    let empty = |cluster: &&DbCluster| !now.instances.iter().any(|member| cluster::is_of(member, cluster));
    let left = dropped(context, &now);
    let clusters = left.clusters.iter().copied().filter(empty);
    side_by_side(clusters.map(|found| cluster::delete(rds, context, found))).await?;
    let now = standing(rds).await?;
    let left = dropped(context, &now);
    let clusters = left.clusters.iter().map(|found| {
        let name = found.db_cluster_identifier().unwrap_or_default();
        (cluster::what(name), Latency::of("aurora"))
    });
    let instances = left.instances.iter().map(|found| {
        let class = found.db_instance_class().unwrap_or_default();
        (instance::what(instance::name(found)), instance::latency(class, found.multi_az() == Some(true)))
    });
    let going = clusters.chain(instances).map(|(what, latency)| {
        std::future::ready(Err::<(), _>(latency.wait(&format!("{what} is being deleted"), context.since)))
    });
    side_by_side(going).await?;
    Ok(())
}

fn dropped<'a>(context: &Context, standing: &'a Standing) -> Dropped<'a> {
    let is = |found: &Settled<'_>| goes(context, standing, found).is_some() && !stays(found);
    let instances = standing.instances.iter().filter(|found| found.db_cluster_identifier().is_none());
    Dropped {
        clusters: standing.clusters.iter().filter(|found| is(&cluster::settled(found))).collect(),
        instances: instances.filter(|found| is(&instance::settled(found))).collect(),
    }
}

/// The address of a database of ours that the spec doesn't mention, or whose place another has taken.
fn goes(context: &Context, standing: &Standing, found: &Settled<'_>) -> Option<String> {
    let address = context.owner().address(&found.tags)?;
    let goes = is_dropped(context, address) || standing.replaced.contains(found.arn);
    goes.then(|| address.to_owned())
}

/// Whether a database stays though it should go: its tags say so, or RDS itself refuses to delete it, whoever
/// asked it to.
fn stays(found: &Settled<'_>) -> bool {
    is_protected(&found.tags) || found.protection == Some(true)
}

/// The databases that should go and stay, with their addresses.
fn staying<'a>(context: &Context, standing: &'a Standing) -> Vec<(String, Settled<'a>)> {
    let all = standing.databases().filter(stays);
    all.filter_map(|found| Some((goes(context, standing, &found)?, found))).collect()
}

/// The key of the database that an address belongs to.
fn key_of(address: &str) -> Option<&str> {
    address.strip_prefix(SECTION)?.split('.').next()
}

/// Whether something of ours belongs to a database that the spec doesn't mention, under its key or the one before.
fn is_dropped(context: &Context, address: &str) -> bool {
    let before = |key: &str| {
        let mut all = context.spec.databases.values();
        all.any(|database| database.formerly.as_deref() == Some(key))
    };
    key_of(address).is_some_and(|key| !context.spec.databases.contains_key(key) && !before(key))
}

/// Whether a security group of ours is of a database that the spec doesn't mention under this key: one that has
/// another key has another group.
fn is_left(context: &Context, address: &str) -> bool {
    key_of(address).is_some_and(|key| !context.spec.databases.contains_key(key))
}

fn address(context: &Context, tags: &BTreeMap<String, String>) -> String {
    context.owner().address(tags).unwrap_or_default().to_owned()
}

/// Whether a database is stopped, or about to be. It can't be changed then.
fn is_stopped(state: &str) -> bool {
    ["stopped", "stopping"].contains(&state)
}

/// The field of a plan, if a database is to stop or to start.
fn other_state(context: &Context, state: &str) -> Option<Field> {
    let wanted = if context.run.paused { "stopped" } else { "available" };
    (is_stopped(state) != context.run.paused).then(|| Field {
        name: "state".to_owned(),
        found: Some(state.to_owned()),
        wanted: wanted.to_owned(),
    })
}

/// Waits until a database can be used.
fn available(what: &str, state: &str, latency: Latency, since: Timestamp) -> Result<()> {
    let broken = BROKEN.contains(&state)
        || ["incompatible-", "inaccessible-"].iter().any(|word| state.starts_with(word));
    match state {
        _ if USABLE.contains(&state) => Ok(()),
        "deleting" => {
            let doing = format!("{what} is being deleted before it can be made anew");
            Err(latency.wait(&doing, since))
        }
        _ if broken => Err(Error::Failed(format!(
            "{what} is {state}: the RDS console says why, among its events; mend it there, then start the \
             run again"
        ))),
        _ => Err(latency.wait(&format!("{what} is {state}"), since)),
    }
}

/// Since when a database is in its state, as far as is known.
fn since(context: &Context, state: &str, created: Option<&DateTime>) -> Timestamp {
    let created = created.filter(|_| state == "creating").map(DateTime::secs);
    created.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(context.since)
}

/// The wait after a change was asked for: RDS takes a moment to show that it is at it.
fn changing(what: &str, latency: Latency, context: &Context) -> Error {
    match latency.wait(&format!("{what} is being changed"), context.since) {
        Error::NotReady { message, .. } => Error::soon(message),
        error => error,
    }
}

/// Whether a creation went through; the next pass looks again if it came too early.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAM.ServiceLinkedRoles.html>
fn made<T, E>(context: &Context, answer: std::result::Result<T, SdkError<E>>, what: &str) -> Result<()>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    // The first creation of an account makes RDS's own role, which isn't usable at once.
    let role = |error: &SdkError<E>| {
        error.message().is_some_and(|message| message.to_lowercase().contains("service linked role"))
    };
    if answer.as_ref().is_err_and(role) {
        let doing = format!("{what} isn't created: RDS's service-linked role isn't usable");
        return Err(Latency::of("iam-role").wait(&doing, context.since));
    }
    answer.gone(&[], &EARLY, || format!("creating {what}"))
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn tags_of(found: &DbInstance) -> BTreeMap<String, String> {
    tags(found.tag_list())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn retag(rds: &Rds, arn: &str, what: &str, tags: &BTreeMap<String, String>) -> Result<()> {
    let put = rds.add_tags_to_resource().resource_name(arn).set_tags(Some(tag_list(tags))).send().await;
    put.doing(|| format!("tagging {what}"))?;
    Ok(())
}

/// The ids of security groups in a line.
fn groups(groups: &[VpcSecurityGroupMembership]) -> String {
    let ids = groups.iter().filter_map(VpcSecurityGroupMembership::vpc_security_group_id);
    ids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn days(count: i32) -> String {
    format!("{count}d")
}

//! Aurora clusters. A cluster holds the data and the settings, the instance in it answers.

use std::collections::BTreeMap;

use aws_sdk_rds::{
    Client,
    error::ProvideErrorMetadata,
    types::{DbCluster, DbInstance, ServerlessV2ScalingConfiguration, ServerlessV2ScalingConfigurationInfo},
};
use spec::Serverless;
use step::{
    Change, Context, DatabaseOutput, Doing, Error, Field, Latency, Result, UNKNOWN, compare, missing_tags,
};

use crate::{
    BUSY, Clients, DONE, FINAL_SNAPSHOT, PENDING, RESTORED, Standing, USABLE, Wanted, available, changing,
    credentials, days, groups, instance, is_stopped, made, other_state,
    place::Settled,
    retag, since, snapshot, tag_list, tags, tags_of,
    version::{self, Upgrade},
};

const ABSENT: [&str; 1] = ["DBClusterNotFoundFault"];

pub(crate) fn what(name: &str) -> String {
    format!("Aurora cluster ({name})")
}

pub(crate) fn state(found: &DbCluster) -> &str {
    found.status().unwrap_or("creating")
}

pub(crate) async fn ensure(
    clients: &Clients,
    context: &Context,
    standing: &Standing,
    wanted: &Wanted,
    group: &str,
) -> Result<DatabaseOutput> {
    let (rds, what, latency) = (&clients.rds, wanted.what(), wanted.latency());
    let Some(found) = find(context, standing, wanted)? else {
        create(clients, context, wanted, group).await?;
        // The two come up side by side.
        instance::create_member(rds, context, wanted).await?;
        return Err(latency.wait(&format!("{what} is creating"), context.since));
    };
    let (tags, state) = (tags(found.tag_list()), state(found));
    if state == "deleting" {
        available(&what, state, latency, context.since)?;
    }
    if !missing_tags(&tags, &wanted.tags).is_empty() {
        retag(rds, found.db_cluster_arn().unwrap_or_default(), &what, &wanted.tags).await?;
    }
    if is_stopped(state) && context.run.paused {
        return output(found).ok_or_else(|| Error::soon(format!("{what} has no endpoint yet")));
    }
    if is_stopped(state) {
        start(rds, context, found).await?;
    }
    // A cluster that is being made takes its instance; one that waits for it is told of first.
    let of_instance = instance::ensure_member(rds, context, standing, wanted).await;
    if let Err(Error::NotReady { .. }) | Ok(()) = &of_instance {
        available(&what, state, latency, since(context, state, found.cluster_create_time()))?;
    }
    of_instance?;
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
    update(rds, wanted, group, &fields, password).await?;
    if restored {
        told.insert(RESTORED.to_owned(), DONE.to_owned());
    }
    if !told.is_empty() {
        retag(rds, found.db_cluster_arn().unwrap_or_default(), &what, &told).await?;
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
    let of_instance = instance::plan_member(context, standing, wanted)?;
    let Some(found) = find(context, standing, wanted)? else {
        let snapshot = snapshot::to_restore(rds, wanted).await?;
        let version = version::of_new(rds, wanted, snapshot.as_ref()).await?;
        version::orderable(rds, wanted, &version).await?;
        let change = Change::create(&wanted.address).with("name", &wanted.name).with("version", version);
        return Ok(([Some(change), of_instance].into_iter().flatten().collect(), unknown));
    };
    let tags = tags(found.tag_list());
    let current = found.engine_version().unwrap_or_default();
    let upgrade = version::upgrade(rds, wanted, current).await?;
    let mut fields: Vec<Field> = other_state(context, state(found)).into_iter().collect();
    // Of what stays stopped nothing is changed.
    if !(is_stopped(state(found)) && context.run.paused) {
        fields.extend(difference(found, wanted, group, upgrade.as_ref()));
        fields.extend(credentials::difference(&clients.secrets, context, wanted, &tags).await?);
    }
    if upgrade.is_some() || of_instance.as_ref().is_some_and(names_class) {
        let version = upgrade.map_or_else(|| current.to_owned(), |upgrade| upgrade.version);
        version::orderable(rds, wanted, &version).await?;
    }
    fields.extend(missing_tags(&tags, &wanted.tags));
    let of_cluster = Change::update(&wanted.address, fields);
    let changes = [of_cluster, of_instance].into_iter().flatten().collect();
    Ok((changes, output(found).unwrap_or(unknown)))
}

fn names_class(change: &Change) -> bool {
    change.fields.iter().any(|field| field.name == "instance")
}

fn find<'a>(context: &Context, standing: &'a Standing, wanted: &Wanted) -> Result<Option<&'a DbCluster>> {
    let named = |found: &&DbCluster| found.db_cluster_identifier() == Some(&wanted.name);
    let Some(found) = standing.clusters.iter().find(named) else { return Ok(None) };
    context.owner().check(&what(&wanted.name), &tags(found.tag_list()))?;
    Ok(Some(found))
}

/// The version that a cluster has; none if it isn't there.
pub(crate) fn version<'a>(standing: &'a Standing, wanted: &Wanted) -> Option<&'a str> {
    let named = |found: &&DbCluster| found.db_cluster_identifier() == Some(&wanted.name);
    standing.clusters.iter().find(named)?.engine_version()
}

pub(crate) fn settled(found: &DbCluster) -> Settled<'_> {
    let name = found.db_cluster_identifier().unwrap_or_default();
    Settled {
        what: what(name),
        name,
        arn: found.db_cluster_arn().unwrap_or_default(),
        id: found.db_cluster_resource_id().unwrap_or(name),
        state: state(found),
        created: found.cluster_create_time(),
        engine: found.engine().unwrap_or_default(),
        port: found.port(),
        database: found.database_name(),
        subnets: found.db_subnet_group(),
        encrypted: found.storage_encrypted() == Some(true),
        key: found.kms_key_id(),
        protection: found.deletion_protection(),
        tags: tags(found.tag_list()),
    }
}

fn difference(found: &DbCluster, wanted: &Wanted, group: &str, upgrade: Option<&Upgrade>) -> Vec<Field> {
    let flag = |found: Option<bool>| found.unwrap_or(false);
    let version = upgrade.and_then(|upgrade| {
        compare("version", found.engine_version().unwrap_or_default(), upgrade.version.as_str())
    });
    let scaling = scaling(found.serverless_v2_scaling_configuration());
    [
        version,
        wanted.serverless.and_then(|asked| compare("serverless", scaling, told(asked.min, asked.max))),
        compare("port", found.port().unwrap_or_default(), wanted.port),
        compare("backups", days(found.backup_retention_period().unwrap_or_default()), days(wanted.backups)),
        compare("protect", flag(found.deletion_protection()), wanted.protect),
        compare("copyTagsToSnapshot", flag(found.copy_tags_to_snapshot()), true),
        compare("securityGroup", groups(found.vpc_security_groups()), group.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn scaling(found: Option<&ServerlessV2ScalingConfigurationInfo>) -> String {
    let bounds = found.and_then(|found| Some((found.min_capacity()?, found.max_capacity()?)));
    bounds.map_or_else(|| "none".to_owned(), |(min, max)| told(min, max))
}

fn told(min: f64, max: f64) -> String {
    format!("{min} to {max} ACU")
}

fn configuration(serverless: Serverless) -> ServerlessV2ScalingConfiguration {
    let Serverless { min, max } = serverless;
    ServerlessV2ScalingConfiguration::builder().min_capacity(min).max_capacity(max).build()
}

async fn create(clients: &Clients, context: &Context, wanted: &Wanted, group: &str) -> Result<()> {
    let rds = &clients.rds;
    let snapshot = snapshot::to_restore(rds, wanted).await?;
    let credentials = credentials::read(&clients.secrets, wanted).await?;
    let mut tags = wanted.new_tags();
    tags.extend(credentials.tag());
    let version = version::of_new(rds, wanted, snapshot.as_ref()).await?;
    let Some(snapshot) = snapshot else {
        let created = rds
            .create_db_cluster()
            .db_cluster_identifier(&wanted.name)
            .engine(wanted.engine.word())
            .engine_version(version)
            .set_database_name(wanted.database.clone())
            .master_username(credentials.username)
            .master_user_password(credentials.password)
            .port(wanted.port)
            .db_subnet_group_name(&wanted.subnets.name)
            .vpc_security_group_ids(group)
            .storage_encrypted(true)
            .set_kms_key_id(wanted.encryption.clone())
            .set_serverless_v2_scaling_configuration(wanted.serverless.map(configuration))
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
        .restore_db_cluster_from_snapshot()
        .db_cluster_identifier(&wanted.name)
        .snapshot_identifier(&snapshot.name)
        .engine(&snapshot.engine)
        .engine_version(version)
        .port(wanted.port)
        .db_subnet_group_name(&wanted.subnets.name)
        .vpc_security_group_ids(group)
        .set_kms_key_id(wanted.encryption.clone())
        .set_serverless_v2_scaling_configuration(wanted.serverless.map(configuration))
        .backup_retention_period(wanted.backups)
        .copy_tags_to_snapshot(true)
        .deletion_protection(wanted.protect)
        .set_tags(Some(tag_list(&wanted.restored_tags())))
        .send()
        .await;
    made(context, restored, &wanted.what())
}

async fn change_version(rds: &Client, wanted: &Wanted, upgrade: &Upgrade) -> Result<()> {
    let modified = rds
        .modify_db_cluster()
        .db_cluster_identifier(&wanted.name)
        .engine_version(&upgrade.version)
        .allow_major_version_upgrade(upgrade.major)
        .apply_immediately(true)
        .send()
        .await;
    modified.gone(&[], &BUSY, || format!("changing the version of {} to {}", wanted.what(), upgrade.version))
}

async fn update(
    rds: &Client,
    wanted: &Wanted,
    group: &str,
    fields: &[Field],
    password: Option<String>,
) -> Result<()> {
    let differs = |name: &str| fields.iter().any(|field| field.name == name);
    let serverless = wanted.serverless.filter(|_| differs("serverless"));
    let modified = rds
        .modify_db_cluster()
        .db_cluster_identifier(&wanted.name)
        .apply_immediately(true)
        .set_serverless_v2_scaling_configuration(serverless.map(configuration))
        .set_port(differs("port").then_some(wanted.port))
        .set_backup_retention_period(differs("backups").then_some(wanted.backups))
        .set_deletion_protection(differs("protect").then_some(wanted.protect))
        .set_copy_tags_to_snapshot(differs("copyTagsToSnapshot").then_some(true))
        .set_vpc_security_group_ids(differs("securityGroup").then(|| vec![group.to_owned()]))
        .set_master_user_password(password)
        .send()
        .await;
    modified.gone(&[], &BUSY, || format!("changing {}", wanted.what()))
}

fn output(found: &DbCluster) -> Option<DatabaseOutput> {
    Some(DatabaseOutput { host: found.endpoint()?.to_owned(), port: u16::try_from(found.port()?).ok()? })
}

/// The wait for a cluster that is on its way.
fn wait(context: &Context, found: &DbCluster, state: &str) -> Error {
    let name = found.db_cluster_identifier().unwrap_or_default();
    Latency::of("aurora").wait(&format!("{} is {state}", what(name)), context.since)
}

/// Starts a cluster that is stopped, with its instances; another pass finds it available.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-cluster-stop-start.html>
pub(crate) async fn start(rds: &Client, context: &Context, found: &DbCluster) -> Result<()> {
    if state(found) != "stopped" {
        return Err(wait(context, found, state(found)));
    }
    let name = found.db_cluster_identifier().unwrap_or_default();
    let started = rds.start_db_cluster().db_cluster_identifier(name).send().await;
    started.gone(&[], &BUSY, || format!("starting {}", what(name)))?;
    Err(wait(context, found, "starting"))
}

/// Stops a cluster with its instances, serverless or not, and waits until it has stopped.
pub(crate) async fn stop(rds: &Client, context: &Context, found: &DbCluster) -> Result<()> {
    match state(found) {
        "stopped" => return Ok(()),
        state if USABLE.contains(&state) => {}
        state => return Err(wait(context, found, state)),
    }
    let name = found.db_cluster_identifier().unwrap_or_default();
    let stopped = rds.stop_db_cluster().db_cluster_identifier(name).send().await;
    stopped.gone(&[], &BUSY, || format!("stopping {}", what(name)))?;
    Err(wait(context, found, "stopping"))
}

/// Whether an instance is in a cluster.
pub(crate) fn is_of(member: &DbInstance, cluster: &DbCluster) -> bool {
    member.db_cluster_identifier() == cluster.db_cluster_identifier()
}

/// The instances that go with a cluster; one that isn't ours stands in the way.
pub(crate) fn members<'a>(
    context: &Context,
    standing: &'a Standing,
    cluster: &DbCluster,
) -> Result<Vec<&'a DbInstance>> {
    let members: Vec<_> = standing.instances.iter().filter(|member| is_of(member, cluster)).collect();
    let stranger = members.iter().find(|member| context.owner().address(&tags_of(member)).is_none());
    match stranger {
        None => Ok(members),
        Some(stranger) => Err(Error::Conflict(format!(
            "{} holds {}, which isn't this environment's: delete that first",
            what(cluster.db_cluster_identifier().unwrap_or_default()),
            instance::what(instance::name(stranger))
        ))),
    }
}

/// Deletes a cluster that holds no instance any more, with a last snapshot.
pub(crate) async fn delete(rds: &Client, context: &Context, found: &DbCluster) -> Result<()> {
    let name = found.db_cluster_identifier().unwrap_or_default();
    if state(found) == "deleting" {
        return Ok(());
    }
    let doing = || format!("deleting {}", what(name));
    let delete = rds.delete_db_cluster().db_cluster_identifier(name);
    let Some(last) = snapshot::last(context, name, tags(found.tag_list()).get(FINAL_SNAPSHOT)) else {
        let deleted = delete.skip_final_snapshot(true).send().await;
        return deleted.gone(&ABSENT, &BUSY, doing);
    };
    snapshot::possible(&what(name), state(found))?;
    let deleted = delete.skip_final_snapshot(false).final_db_snapshot_identifier(&last).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("DBClusterSnapshotAlreadyExistsFault")) {
        snapshot::taken(snapshot::of_cluster(rds, &last).await?.as_ref(), &what(name))?;
        let again = rds.delete_db_cluster().db_cluster_identifier(name).skip_final_snapshot(true);
        return again.send().await.gone(&ABSENT, &BUSY, doing);
    }
    deleted.gone(&ABSENT, &BUSY, doing)
}

//! Task definitions: a revision for each change of what tasks are made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        Compatibility, ContainerDefinition, CpuArchitecture, EfsAuthorizationConfig, EfsTransitEncryption,
        EfsVolumeConfiguration, HealthCheck, KeyValuePair, LogConfiguration, LogDriver, MountPoint,
        NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret, SortOrder, Tag, TaskDefinition,
        TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus, TransportProtocol, Ulimit,
        UlimitName, Volume,
    },
};
use spec::{Architecture, Text};
use step::{
    Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare, missing_tags, side_by_side,
};

use crate::{Kind, Task, with_new_role};

/// The log driver's options.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
const LOG_GROUP: &str = "awslogs-group";
const LOG_REGION: &str = "awslogs-region";
const LOG_PREFIX: &str = "awslogs-stream-prefix";

/// What the spec asks for.
pub struct Wanted {
    address: String,
    family: String,
    tags: BTreeMap<String, String>,
    settings: Settings,
}

/// What a revision fixes, as far as the spec owns it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Settings {
    cpu: String,
    memory: String,
    architecture: String,
    execution_role: String,
    task_role: Option<String>,
    container: String,
    image: String,
    entry_point: Vec<String>,
    command: Vec<String>,
    user: String,
    labels: BTreeMap<String, String>,
    mounts: BTreeMap<String, Mount>,
    open_files: Option<i32>,
    check: Option<Check>,
    stop_timeout: Option<i32>,
    ports: BTreeSet<i32>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    logs: BTreeMap<String, String>,
}

/// What is mounted at a path: the volume's name, the file system's id, and the access point's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Mount {
    volume: String,
    file_system: String,
    access_point: Option<String>,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file_system, self.access_point.as_deref().unwrap_or("/"))
    }
}

/// A check that ECS runs in the container; times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    command: Vec<String>,
    interval: i32,
    timeout: i32,
    retries: i32,
    start_period: Option<i32>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, interval, timeout, retries, start_period } = self;
        let start = start_period.unwrap_or_default();
        write!(f, "{} every {interval} s, {timeout} s, {retries} times, after {start} s", command.join(" "))
    }
}

/// What the spec asks for, of the task's definition.
pub fn wanted(context: &Context, task: &Task<'_>) -> Result<Wanted> {
    let mut environment = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for (name, text) in task.environment {
        match context.value_from(text) {
            Some(reference) => secrets.insert(name.clone(), reference?),
            None => environment.insert(name.clone(), context.render(text)?),
        };
    }
    let logs = [
        (LOG_GROUP, task.log_group(context)),
        (LOG_REGION, context.run.region.clone()),
        (LOG_PREFIX, task.key.to_owned()),
    ];
    let words = |texts: &[Text]| texts.iter().map(|text| context.render(text)).collect::<Result<Vec<_>>>();
    let address = format!("{}.definition", task.address());
    let word = task.word();
    Ok(Wanted {
        family: task.family(context),
        tags: context.tags(&address),
        address,
        settings: Settings {
            cpu: task.cpu.to_string(),
            memory: task.memory.to_string(),
            architecture: match task.architecture {
                Architecture::X86 => CpuArchitecture::X8664,
                Architecture::Arm => CpuArchitecture::Arm64,
            }
            .as_str()
            .to_owned(),
            execution_role: context.role_arn(&context.execution_role_name(&word)),
            task_role: task.has_role.then(|| context.role_arn(&context.task_role_name(&word))),
            container: task.key.to_owned(),
            image: context.render(task.image)?,
            entry_point: words(task.entry_point)?,
            command: words(task.command)?,
            user: task.user.unwrap_or_default().to_owned(),
            labels: task
                .labels
                .iter()
                .map(|(name, text)| Ok((name.clone(), context.render(text)?)))
                .collect::<Result<_>>()?,
            mounts: task
                .mounts
                .iter()
                .map(|(path, text)| Ok((path.clone(), mount(context, text)?)))
                .collect::<Result<_>>()?,
            open_files: task.open_files,
            check: task.check.map(check),
            stop_timeout: task.stop_timeout.map(seconds),
            ports: task.ports.iter().map(|port| i32::from(*port)).collect(),
            environment,
            secrets,
            logs: logs.map(|(key, value)| (key.to_owned(), value)).into(),
        },
    })
}

/// What a reference to a file system, or to an access point of it, means.
fn mount(context: &Context, text: &Text) -> Result<Mount> {
    let broken = || Error::InvalidSpec(format!("{text} is nothing that can be mounted"));
    let reference = text.whole().ok_or_else(broken)?;
    let name = reference.name.as_ref().ok_or_else(broken)?;
    let found = context.known(context.outputs.file_systems.get(name), &format!("fileSystems.{name}"))?;
    let Some(point) = reference.attribute.first() else {
        let file_system = found.id.clone();
        return Ok(Mount { volume: name.clone(), file_system, access_point: None });
    };
    let access_point =
        context.known(found.access_points.get(point), &format!("fileSystems.{name}.{point}"))?;
    Ok(Mount {
        volume: format!("{name}-{point}"),
        file_system: found.id.clone(),
        access_point: Some(access_point.clone()),
    })
}

fn check(check: &spec::Check) -> Check {
    Check {
        command: check.command.clone(),
        interval: seconds(check.interval),
        timeout: seconds(check.timeout),
        retries: check.retries.into(),
        start_period: check.start_period.map(seconds),
    }
}

fn seconds(duration: spec::Duration) -> i32 {
    i32::try_from(duration.seconds()).unwrap_or(i32::MAX)
}

/// The revision that is what the spec says, with its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its ARN; in a plan [`UNKNOWN`] if it has yet to be registered.
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A revision as AWS describes it.
struct Found {
    aws: TaskDefinition,
    tags: BTreeMap<String, String>,
}

/// The revision that is what the spec says, registered if there is none.
pub async fn ensure(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Revision> {
    match find(ecs, context, wanted).await? {
        Some(found) if settings(&found.aws) == wanted.settings => {
            retag(ecs, &found, wanted).await?;
            Ok(Revision { arn: arn(&found), tags: found.tags })
        }
        _ => Ok(Revision { arn: create(ecs, wanted).await?, tags: wanted.tags.clone() }),
    }
}

/// The change, and the revision as far as it is known.
pub async fn plan(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<(Option<Change>, Revision)> {
    let unknown = Revision { arn: UNKNOWN.to_owned(), tags: BTreeMap::new() };
    let Some(found) = find(ecs, context, wanted).await? else {
        let create = Change::create(&wanted.address).with("image", &wanted.settings.image);
        return Ok((Some(create), unknown));
    };
    let fields = difference(&settings(&found.aws), &wanted.settings);
    let differs = !fields.is_empty();
    let fields = fields.into_iter().chain(missing_tags(&found.tags, &wanted.tags)).collect();
    let revision = if differs { unknown } else { Revision { arn: arn(&found), tags: found.tags } };
    Ok((Change::update(&wanted.address, fields), revision))
}

fn arn(found: &Found) -> String {
    found.aws.task_definition_arn().unwrap_or_default().to_owned()
}

/// The newest active revision of the family.
async fn find(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let found = describe(ecs, &wanted.family).await?;
    if let Some(found) = &found {
        context.owner().check(&format!("task definition ({})", wanted.family), &found.tags)?;
    }
    Ok(found)
}

/// A family's newest active revision, or the one that is named.
async fn describe(ecs: &Client, name: &str) -> Result<Option<Found>> {
    let described =
        ecs.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags).send().await;
    // An absent one is a `ClientException` like others: what it says tells.
    let message = described.as_ref().err().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    if message.contains("Unable to describe task definition") {
        return Ok(None);
    }
    let described = described.doing(|| format!("describing task definition ({name})"))?;
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    let tags = described.tags().iter().filter_map(pair).collect();
    Ok(described.task_definition.map(|aws| Found { aws, tags }))
}

/// What a revision says of what the spec owns.
fn settings(found: &TaskDefinition) -> Settings {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let [container] = found.container_definitions() else { return Settings::default() };
    let pair =
        |pair: &KeyValuePair| Some((pair.name()?.to_owned(), pair.value().unwrap_or_default().to_owned()));
    let secret = |secret: &Secret| (secret.name().to_owned(), secret.value_from().to_owned());
    let logs = container.log_configuration().and_then(LogConfiguration::options).cloned();
    Settings {
        cpu: text(found.cpu()),
        memory: text(found.memory()),
        architecture: text(
            found.runtime_platform().and_then(RuntimePlatform::cpu_architecture).map(CpuArchitecture::as_str),
        ),
        execution_role: text(found.execution_role_arn()),
        task_role: found.task_role_arn().map(str::to_owned),
        container: text(container.name()),
        image: text(container.image()),
        entry_point: container.entry_point().to_vec(),
        command: container.command().to_vec(),
        user: text(container.user()),
        labels: container.docker_labels().cloned().unwrap_or_default().into_iter().collect(),
        mounts: mounts(found, container),
        open_files: container
            .ulimits()
            .iter()
            .find(|limit| limit.name() == &UlimitName::Nofile)
            .map(Ulimit::hard_limit),
        check: container.health_check().map(|found| Check {
            command: found.command().to_vec(),
            interval: found.interval().unwrap_or_default(),
            timeout: found.timeout().unwrap_or_default(),
            retries: found.retries().unwrap_or_default(),
            start_period: found.start_period().filter(|seconds| *seconds > 0),
        }),
        stop_timeout: container.stop_timeout(),
        ports: container.port_mappings().iter().filter_map(PortMapping::container_port).collect(),
        environment: container.environment().iter().filter_map(pair).collect(),
        secrets: container.secrets().iter().map(secret).collect(),
        logs: logs.unwrap_or_default().into_iter().collect(),
    }
}

/// What a revision's container mounts, by path.
fn mounts(found: &TaskDefinition, container: &ContainerDefinition) -> BTreeMap<String, Mount> {
    let one = |point: &MountPoint| {
        let name = point.source_volume()?;
        let volume = found.volumes().iter().find(|volume| volume.name() == Some(name));
        let files = volume.and_then(Volume::efs_volume_configuration);
        let mount = Mount {
            volume: name.to_owned(),
            file_system: files.map(EfsVolumeConfiguration::file_system_id).unwrap_or_default().to_owned(),
            access_point: files
                .and_then(EfsVolumeConfiguration::authorization_config)
                .and_then(|config| config.access_point_id())
                .map(str::to_owned),
        };
        Some((point.container_path()?.to_owned(), mount))
    };
    container.mount_points().iter().filter_map(one).collect()
}

fn difference(found: &Settings, wanted: &Settings) -> Vec<Field> {
    let told = |mounts: &BTreeMap<String, Mount>| -> BTreeMap<String, String> {
        mounts.iter().map(|(path, mount)| (path.clone(), mount.to_string())).collect()
    };
    let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let ports = |ports: &BTreeSet<i32>| ports.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    [
        compare("cpu", &found.cpu, &wanted.cpu),
        compare("memory", &found.memory, &wanted.memory),
        compare("architecture", &found.architecture, &wanted.architecture),
        compare("executionRole", &found.execution_role, &wanted.execution_role),
        compare("role", or_none(&found.task_role), or_none(&wanted.task_role)),
        compare("container", &found.container, &wanted.container),
        compare("image", &found.image, &wanted.image),
        compare("entryPoint", found.entry_point.join(" "), wanted.entry_point.join(" ")),
        compare("command", found.command.join(" "), wanted.command.join(" ")),
        compare("user", &found.user, &wanted.user),
        compare(
            "openFiles",
            shown(found.open_files.map(|number| number.to_string())),
            shown(wanted.open_files.map(|number| number.to_string())),
        ),
        compare(
            "check",
            shown(found.check.as_ref().map(Check::to_string)),
            shown(wanted.check.as_ref().map(Check::to_string)),
        ),
        compare(
            "stopTimeout",
            shown(found.stop_timeout.map(|number| number.to_string())),
            shown(wanted.stop_timeout.map(|number| number.to_string())),
        ),
        compare("ports", ports(&found.ports), ports(&wanted.ports)),
    ]
    .into_iter()
    .flatten()
    .chain(entries("labels", &found.labels, &wanted.labels))
    .chain(entries("mounts", &told(&found.mounts), &told(&wanted.mounts)))
    .chain(entries("environment", &found.environment, &wanted.environment))
    .chain(entries("secrets", &found.secrets, &wanted.secrets))
    .chain(entries("logs", &found.logs, &wanted.logs))
    .collect()
}

/// A field for each key whose value differs.
fn entries(name: &str, found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Field> {
    let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let value = |values: &BTreeMap<String, String>, key: &str| {
        values.get(key).cloned().unwrap_or_else(|| "none".to_owned())
    };
    let field = |key: &String| compare(&format!("{name}.{key}"), value(found, key), value(wanted, key));
    keys.into_iter().filter_map(field).collect()
}

/// A lost answer leaves a revision that the next pass finds. A role made moments ago may not be usable
/// yet.
async fn create(ecs: &Client, wanted: &Wanted) -> Result<String> {
    let settings = &wanted.settings;
    let platform = RuntimePlatform::builder()
        .cpu_architecture(settings.architecture.as_str().into())
        .operating_system_family(OsFamily::Linux)
        .build();
    let registered = ecs
        .register_task_definition()
        .family(&wanted.family)
        .network_mode(NetworkMode::Awsvpc)
        .requires_compatibilities(Compatibility::Fargate)
        .cpu(&settings.cpu)
        .memory(&settings.memory)
        .runtime_platform(platform)
        .execution_role_arn(&settings.execution_role)
        .set_task_role_arn(settings.task_role.clone())
        .container_definitions(container(settings)?)
        .set_volumes(Some(volumes(settings)?))
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let doing = || format!("registering task definition ({})", wanted.family);
    let registered = with_new_role(registered, doing)?;
    let arn = registered.task_definition.and_then(|definition| definition.task_definition_arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no revision answered", doing())))
}

/// A volume for each file system, or access point, that is mounted, encrypted on its way.
fn volumes(settings: &Settings) -> Result<Vec<Volume>> {
    let broken = |error| Error::Failed(format!("writing a volume: {error}"));
    let named: BTreeMap<&String, &Mount> =
        settings.mounts.values().map(|mount| (&mount.volume, mount)).collect();
    let volume = |(name, mount): (&String, &Mount)| {
        let authorization = mount
            .access_point
            .as_ref()
            .map(|point| EfsAuthorizationConfig::builder().access_point_id(point).build());
        let files = EfsVolumeConfiguration::builder()
            .file_system_id(&mount.file_system)
            .transit_encryption(EfsTransitEncryption::Enabled)
            .set_authorization_config(authorization)
            .build()
            .map_err(broken)?;
        Ok(Volume::builder().name(name).efs_volume_configuration(files).build())
    };
    named.into_iter().map(volume).collect()
}

fn container(settings: &Settings) -> Result<ContainerDefinition> {
    let broken = |error| Error::Failed(format!("writing a container definition: {error}"));
    let logs = LogConfiguration::builder()
        .log_driver(LogDriver::Awslogs)
        .set_options(Some(settings.logs.clone().into_iter().collect()))
        .build()
        .map_err(broken)?;
    let secret = |(name, from): (&String, &String)| Secret::builder().name(name).value_from(from).build();
    let secrets: std::result::Result<Vec<_>, _> = settings.secrets.iter().map(secret).collect();
    let port =
        |port: &i32| PortMapping::builder().container_port(*port).protocol(TransportProtocol::Tcp).build();
    let pair = |(name, value): (&String, &String)| KeyValuePair::builder().name(name).value(value).build();
    Ok(ContainerDefinition::builder()
        .name(&settings.container)
        .image(&settings.image)
        .essential(true)
        .set_entry_point((!settings.entry_point.is_empty()).then(|| settings.entry_point.clone()))
        .set_user(Some(settings.user.clone()).filter(|user| !user.is_empty()))
        .set_docker_labels(
            (!settings.labels.is_empty()).then(|| settings.labels.clone().into_iter().collect()),
        )
        .set_mount_points(Some(settings.mounts.iter().map(mounted).collect()))
        .set_ulimits(settings.open_files.map(open_files).transpose()?)
        .set_health_check(settings.check.as_ref().map(health_check).transpose()?)
        .set_stop_timeout(settings.stop_timeout)
        .set_command((!settings.command.is_empty()).then(|| settings.command.clone()))
        .set_port_mappings(Some(settings.ports.iter().map(port).collect()))
        .set_environment(Some(settings.environment.iter().map(pair).collect()))
        .set_secrets(Some(secrets.map_err(broken)?))
        .log_configuration(logs)
        .build())
}

fn mounted((path, mount): (&String, &Mount)) -> MountPoint {
    MountPoint::builder().container_path(path).source_volume(&mount.volume).build()
}

fn open_files(limit: i32) -> Result<Vec<Ulimit>> {
    let built = Ulimit::builder().name(UlimitName::Nofile).soft_limit(limit).hard_limit(limit).build();
    Ok(vec![built.map_err(|error| Error::Failed(format!("writing a limit: {error}")))?])
}

fn health_check(check: &Check) -> Result<HealthCheck> {
    let built = HealthCheck::builder()
        .set_command(Some(check.command.clone()))
        .interval(check.interval)
        .timeout(check.timeout)
        .retries(check.retries)
        .set_start_period(check.start_period)
        .build();
    built.map_err(|error| Error::Failed(format!("writing a health check: {error}")))
}

/// Tags as ECS takes them.
pub fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn retag(ecs: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    if missing_tags(&found.tags, &wanted.tags).is_empty() {
        return Ok(());
    }
    let put = ecs.tag_resource().resource_arn(arn(found)).set_tags(Some(tag_list(&wanted.tags))).send().await;
    put.doing(|| format!("tagging task definition ({})", wanted.family))?;
    Ok(())
}

/// A revision that nothing uses any more.
pub struct Old {
    arn: String,
    active: bool,
    /// Its address.
    pub address: String,
    /// Whether its whole family is dropped.
    dropped: bool,
    /// The log group it names.
    pub log_group: Option<String>,
}

impl Old {
    /// Its family, if all of that is dropped.
    pub fn dropped_family(&self) -> Option<&str> {
        self.dropped.then(|| family_of(&self.arn))
    }
}

/// Our revisions that nothing uses any more: all that this kind has in a dropped family, and in those that
/// stay all but the newest.
pub async fn old(ecs: &Client, context: &Context, kind: Kind) -> Result<Vec<Old>> {
    let kept = families(context, kind);
    let theirs = &families(context, kind.other()) - &kept;
    let mut seen = BTreeSet::new();
    let mut unused = Vec::new();
    for arn in active(ecs, context).await? {
        let family = family_of(&arn).to_owned();
        if theirs.contains(&family) {
            continue;
        }
        let dropped = !kept.contains(&family);
        // The newest of a family comes first.
        if !seen.insert(family) || dropped {
            unused.push(arn);
        }
    }
    let mut families = &seen - &kept;
    families.extend(inactive_families(ecs, context).await?);
    families.retain(|family| !theirs.contains(family));
    let one = async |arn: String| {
        let Some(found) = describe(ecs, &arn).await? else { return Ok(None) };
        let log_group = settings(&found.aws).logs.remove(LOG_GROUP);
        let dropped = !kept.contains(family_of(&arn));
        let owner = context.owner();
        let address = owner.address(&found.tags).filter(|address| !dropped || kind.owns(address));
        Ok(address.map(|address| Old {
            active: found.aws.status() == Some(&TaskDefinitionStatus::Active),
            address: address.to_owned(),
            dropped,
            arn,
            log_group,
        }))
    };
    let inactive = side_by_side(families.iter().map(|family| inactive(ecs, family))).await?;
    unused.extend(inactive.into_iter().flatten());
    Ok(side_by_side(unused.into_iter().map(one)).await?.into_iter().flatten().collect())
}

/// The families that the spec has of a kind.
fn families(context: &Context, kind: Kind) -> BTreeSet<String> {
    kind.tasks(&context.spec).iter().map(|task| task.family(context)).collect()
}

fn family_of(arn: &str) -> &str {
    let name = arn.rsplit('/').next().unwrap_or_default();
    name.rsplit_once(':').map_or(name, |(family, _)| family)
}

/// What the names of our families begin with.
fn prefix(context: &Context) -> String {
    format!("{}-", context.run.environment)
}

/// The active revisions of all families whose name may be ours, the newest of each first.
async fn active(ecs: &Client, context: &Context) -> Result<Vec<String>> {
    let pages = ecs
        .list_task_definitions()
        .status(TaskDefinitionStatus::Active)
        .sort(SortOrder::Desc)
        .into_paginator()
        .items()
        .send();
    let all: std::result::Result<Vec<String>, _> = pages.collect().await;
    let mut all = all.doing(|| "listing task definitions")?;
    let prefix = prefix(context);
    all.retain(|arn| family_of(arn).starts_with(&prefix));
    let revision = |arn: &String| arn.rsplit(':').next().and_then(|number| number.parse::<u64>().ok());
    all.sort_by_key(|arn| std::cmp::Reverse(revision(arn)));
    Ok(all)
}

/// The families whose name may be ours that have no active revision: what a pass leaves that ends after
/// it took the revisions out of use and before it deleted them.
async fn inactive_families(ecs: &Client, context: &Context) -> Result<Vec<String>> {
    let pages = ecs
        .list_task_definition_families()
        .family_prefix(prefix(context))
        .status(TaskDefinitionFamilyStatus::Inactive)
        .into_paginator()
        .items()
        .send();
    let families: std::result::Result<Vec<String>, _> = pages.collect().await;
    families.doing(|| "listing families of task definitions")
}

async fn inactive(ecs: &Client, family: &str) -> Result<Vec<String>> {
    let pages = ecs
        .list_task_definitions()
        .family_prefix(family)
        .status(TaskDefinitionStatus::Inactive)
        .into_paginator()
        .items()
        .send();
    let all: std::result::Result<Vec<String>, _> = pages.collect().await;
    all.doing(|| format!("listing the inactive revisions of {family}"))
}

/// Takes the revisions out of use and away. Old revisions of a family that stays are no change worth
/// telling.
pub async fn delete_dropped(ecs: &Client, context: &Context, old: Vec<Old>) -> Result<Vec<Change>> {
    let told: BTreeSet<&String> = old.iter().filter(|old| old.dropped).map(|old| &old.address).collect();
    let changes = told.into_iter().map(Change::delete).collect();
    if context.operation == Operation::Prune {
        let active = old.iter().filter(|old| old.active);
        side_by_side(active.map(|old| deregister(ecs, &old.arn))).await?;
        let arns: Vec<String> = old.into_iter().map(|old| old.arn).collect();
        for arns in arns.chunks(10) {
            delete(ecs, arns).await?;
        }
    }
    Ok(changes)
}

async fn deregister(ecs: &Client, arn: &str) -> Result<()> {
    let done = ecs.deregister_task_definition().task_definition(arn).send().await;
    done.doing(|| format!("deregistering task definition ({arn})"))?;
    Ok(())
}

/// Takes at most ten. What ECS could not delete is told in its answer.
async fn delete(ecs: &Client, arns: &[String]) -> Result<()> {
    let doing = || format!("deleting task definitions ({})", arns.join(", "));
    let deleted = ecs.delete_task_definitions().set_task_definitions(Some(arns.to_vec())).send().await;
    match deleted.doing(doing)?.failures() {
        [] => Ok(()),
        [failure, ..] => {
            let arn = failure.arn().unwrap_or_default();
            Err(Error::Failed(format!("{}: {arn}: {}", doing(), failure.reason().unwrap_or_default())))
        }
    }
}

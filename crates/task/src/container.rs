//! A container of a task definition: what the spec asks of it, what a revision has, and how the two differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_ecs::types::{
    ContainerCondition, ContainerDefinition, ContainerDependency, EfsAuthorizationConfig,
    EfsTransitEncryption, EfsVolumeConfiguration, HealthCheck, HostVolumeProperties, KeyValuePair,
    LogConfiguration, LogDriver, MountPoint, PortMapping, Secret, TaskDefinition, TransportProtocol, Ulimit,
    UlimitName, Volume,
};
use spec::{Capacity, Condition, Text};
use step::{Context, Error, Field, Result, UNKNOWN, compare, digits};

use crate::{Container, Image, Task, capacity};

/// The log driver's options.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
pub(crate) const LOG_GROUP: &str = "awslogs-group";
const LOG_REGION: &str = "awslogs-region";
const LOG_PREFIX: &str = "awslogs-stream-prefix";

/// What a revision fixes of a container, as far as the spec owns it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    pub(crate) image: String,
    cpu: i32,
    memory: Option<i32>,
    memory_reservation: Option<i32>,
    essential: bool,
    /// What of other containers it waits for, by their names.
    depends_on: BTreeMap<String, String>,
    entry_point: Vec<String>,
    command: Vec<String>,
    user: String,
    labels: BTreeMap<String, String>,
    mounts: BTreeMap<String, Mount>,
    open_files: Option<i32>,
    check: Option<Check>,
    stop_timeout: Option<i32>,
    /// The instance's ports by the container's; 0 where any does, and where a task has its own.
    ports: BTreeMap<i32, i32>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    pub(crate) logs: BTreeMap<String, String>,
}

/// What is mounted at a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Mount {
    /// The volume's name.
    volume: String,
    source: Source,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Source {
    /// Nothing that we know.
    #[default]
    Other,
    /// A file system, or an access point of it, by their ids.
    Files(String, Option<String>),
    /// A directory of the instance.
    Directory(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => write!(f, "another volume"),
            Self::Files(file_system, point) => write!(f, "{file_system} {}", point.as_deref().unwrap_or("/")),
            Self::Directory(path) => write!(f, "{path}"),
        }
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
        write!(f, "{command:?} every {interval} s, {timeout} s, {retries} times, after {start} s")
    }
}

/// What the spec asks for.
pub(crate) fn wanted(context: &Context, task: &Task<'_>, said: &Container<'_>) -> Result<Settings> {
    let mut environment = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for (name, text) in said.environment {
        match context.value_from(text) {
            Some(reference) => secrets.insert(name.clone(), reference?),
            None => environment.insert(name.clone(), context.render(text)?),
        };
    }
    let logs = [
        (LOG_GROUP, task.log_group(context)),
        (LOG_REGION, context.run.region.clone()),
        // A log group may be shared by environments.
        (LOG_PREFIX, task.family(context)),
    ];
    let own = said.name == task.key;
    // On Fargate that is the whole task's.
    let sized = !own || capacity(context) == Capacity::Ec2;
    let units = |number: Option<u32>| number.filter(|_| sized).and_then(|number| i32::try_from(number).ok());
    let words = |texts: &[Text]| texts.iter().map(|text| context.render(text)).collect::<Result<Vec<_>>>();
    let host = |port: &u16| said.host_ports.get(&port.to_string()).copied().unwrap_or_default();
    Ok(Settings {
        image: match said.image {
            Image::Written(text) => context.render(text)?,
            Image::Followed(image) => image.unwrap_or(UNKNOWN).to_owned(),
            Image::Deployed { now: Some(image), .. } => image.to_owned(),
            Image::Deployed { first, now: None } => context.render(first)?,
        },
        cpu: units(said.cpu).unwrap_or_default(),
        memory: units(said.memory),
        memory_reservation: units(said.memory_reservation),
        essential: said.essential,
        depends_on: if own { conditions(task) } else { BTreeMap::new() },
        entry_point: words(said.entry_point)?,
        command: words(said.command)?,
        user: said.user.unwrap_or_default().to_owned(),
        labels: said
            .labels
            .iter()
            .map(|(name, text)| Ok((name.clone(), context.render(text)?)))
            .collect::<Result<_>>()?,
        mounts: said
            .mounts
            .iter()
            .map(|(path, text)| Ok((path.clone(), mount(context, text)?)))
            .collect::<Result<_>>()?,
        open_files: said.open_files,
        check: said.check.map(check),
        stop_timeout: said.stop_timeout.map(seconds),
        ports: said.ports.iter().map(|port| (i32::from(*port), i32::from(host(port)))).collect(),
        environment,
        secrets,
        logs: logs.map(|(key, value)| (key.to_owned(), value)).into(),
    })
}

/// What the task's own container waits for.
fn conditions(task: &Task<'_>) -> BTreeMap<String, String> {
    let condition = |said: Container<'_>| {
        let condition = match said.before? {
            Condition::Started => ContainerCondition::Start,
            Condition::Healthy => ContainerCondition::Healthy,
            Condition::Completed => ContainerCondition::Success,
        };
        Some((said.name.to_owned(), condition.as_str().to_owned()))
    };
    task.containers().filter_map(condition).collect()
}

/// What a directory of the instance, a reference to a file system, or to an access point of it, means.
fn mount(context: &Context, text: &Text) -> Result<Mount> {
    if text.whole().is_none() {
        let path = context.render(text)?;
        return Ok(Mount { volume: volume_of(&path), source: Source::Directory(path) });
    }
    let broken = || Error::InvalidSpec(format!("{text} is nothing that can be mounted"));
    let reference = text.whole().ok_or_else(broken)?;
    let name = reference.name.as_ref().ok_or_else(broken)?;
    let found = context.known(context.outputs.file_systems.get(name), &format!("fileSystems.{name}"))?;
    let file_system = found.id.clone();
    let Some(point) = reference.attribute.first() else {
        return Ok(Mount { volume: name.clone(), source: Source::Files(file_system, None) });
    };
    let id = context.known(found.access_points.get(point), &format!("fileSystems.{name}.{point}"))?;
    // Keys have no underscore, so that no two names are one.
    Ok(Mount { volume: format!("{name}_{point}"), source: Source::Files(file_system, Some(id.clone())) })
}

/// The name of the volume that is a directory of the instance: two paths never have the same one.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Volume.html>
fn volume_of(path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let word: String = path.trim_matches('/').chars().map(plain).take(200).collect();
    format!("host_{word}_{}", digits(path, 8))
}

fn check(check: &spec::Check) -> Check {
    Check {
        command: check.command.clone(),
        interval: seconds(check.interval),
        timeout: seconds(check.timeout),
        retries: check.retries.into(),
        start_period: check.start_period.map(seconds).filter(|seconds| *seconds > 0),
    }
}

fn seconds(duration: spec::Duration) -> i32 {
    i32::try_from(duration.seconds()).unwrap_or(i32::MAX)
}

/// What a revision says of what the spec owns. `awsvpc` tells whether its tasks have ports of their own: ECS
/// repeats the container's as the host's then.
pub(crate) fn found(definition: &TaskDefinition, container: &ContainerDefinition, awsvpc: bool) -> Settings {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let pair =
        |pair: &KeyValuePair| Some((pair.name()?.to_owned(), pair.value().unwrap_or_default().to_owned()));
    let secret = |secret: &Secret| (secret.name().to_owned(), secret.value_from().to_owned());
    let port = |port: &PortMapping| {
        let host = port.host_port().filter(|_| !awsvpc).unwrap_or_default();
        Some((port.container_port()?, host))
    };
    let depends = |found: &ContainerDependency| {
        (found.container_name().to_owned(), found.condition().as_str().to_owned())
    };
    let logs = container.log_configuration().and_then(LogConfiguration::options).cloned();
    Settings {
        image: text(container.image()),
        cpu: container.cpu(),
        memory: container.memory(),
        memory_reservation: container.memory_reservation(),
        essential: container.essential().unwrap_or(true),
        depends_on: container.depends_on().iter().map(depends).collect(),
        entry_point: container.entry_point().to_vec(),
        command: container.command().to_vec(),
        user: text(container.user()),
        labels: container.docker_labels().cloned().unwrap_or_default().into_iter().collect(),
        mounts: mounts(definition, container),
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
        ports: container.port_mappings().iter().filter_map(port).collect(),
        environment: container.environment().iter().filter_map(pair).collect(),
        secrets: container.secrets().iter().map(secret).collect(),
        logs: logs.unwrap_or_default().into_iter().collect(),
    }
}

/// What a revision's container mounts, by path.
fn mounts(definition: &TaskDefinition, container: &ContainerDefinition) -> BTreeMap<String, Mount> {
    let one = |point: &MountPoint| {
        let name = point.source_volume()?;
        let volume = definition.volumes().iter().find(|volume| volume.name() == Some(name));
        let source = volume.map(source).unwrap_or_default();
        Some((point.container_path()?.to_owned(), Mount { volume: name.to_owned(), source }))
    };
    container.mount_points().iter().filter_map(one).collect()
}

fn source(volume: &Volume) -> Source {
    if let Some(files) = volume.efs_volume_configuration() {
        let point = files.authorization_config().and_then(EfsAuthorizationConfig::access_point_id);
        return Source::Files(files.file_system_id().to_owned(), point.map(str::to_owned));
    }
    match volume.host().and_then(HostVolumeProperties::source_path) {
        Some(path) => Source::Directory(path.to_owned()),
        None => Source::Other,
    }
}

/// What differs; names of fields begin with `prefix`, which is empty for a task's own container.
pub(crate) fn difference(prefix: &str, found: &Settings, wanted: &Settings) -> Vec<Field> {
    let told = |mounts: &BTreeMap<String, Mount>| -> BTreeMap<String, String> {
        mounts.iter().map(|(path, mount)| (path.clone(), mount.source.to_string())).collect()
    };
    let words = |words: &[String]| format!("{words:?}");
    let at = |field: &str| format!("{prefix}{field}");
    let number = |field: &str, found: Option<i32>, wanted: Option<i32>| {
        compare(&at(field), or_none(found), or_none(wanted))
    };
    let maps = [
        ("dependsOn", found.depends_on.clone(), wanted.depends_on.clone()),
        ("labels", found.labels.clone(), wanted.labels.clone()),
        ("mounts", told(&found.mounts), told(&wanted.mounts)),
        ("environment", found.environment.clone(), wanted.environment.clone()),
        ("secrets", found.secrets.clone(), wanted.secrets.clone()),
        ("logs", found.logs.clone(), wanted.logs.clone()),
    ];
    [
        compare(&at("image"), &found.image, &wanted.image),
        compare(&at("cpu"), found.cpu, wanted.cpu),
        number("memory", found.memory, wanted.memory),
        number("memoryReservation", found.memory_reservation, wanted.memory_reservation),
        compare(&at("essential"), found.essential, wanted.essential),
        compare(&at("entryPoint"), words(&found.entry_point), words(&wanted.entry_point)),
        compare(&at("command"), words(&found.command), words(&wanted.command)),
        compare(&at("user"), &found.user, &wanted.user),
        number("openFiles", found.open_files, wanted.open_files),
        compare(&at("check"), or_none(found.check.as_ref()), or_none(wanted.check.as_ref())),
        number("stopTimeout", found.stop_timeout, wanted.stop_timeout),
        compare(&at("ports"), ports(&found.ports), ports(&wanted.ports)),
    ]
    .into_iter()
    .flatten()
    .chain(maps.iter().flat_map(|(name, found, wanted)| entries(&at(name), found, wanted)))
    .collect()
}

/// A value as a plan shows it.
pub(crate) fn or_none(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// "80, 8080 on 80".
fn ports(ports: &BTreeMap<i32, i32>) -> String {
    let port = |(port, host): (&i32, &i32)| match host {
        0 => port.to_string(),
        _ => format!("{port} on {host}"),
    };
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

/// A field for each key whose value differs.
fn entries(name: &str, found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Field> {
    let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let field =
        |key: &String| compare(&format!("{name}.{key}"), or_none(found.get(key)), or_none(wanted.get(key)));
    keys.into_iter().filter_map(field).collect()
}

/// The volumes of these containers, each once: file systems, or access points of them, encrypted on their
/// way, and directories of the instance.
pub(crate) fn volumes<'a>(containers: impl Iterator<Item = &'a Settings>) -> Result<Vec<Volume>> {
    let broken = |error| Error::Failed(format!("writing a volume: {error}"));
    let mounts = containers.flat_map(|container| container.mounts.values());
    let named: BTreeMap<&String, &Source> = mounts.map(|mount| (&mount.volume, &mount.source)).collect();
    let volume = |(name, source): (&String, &Source)| {
        let volume = Volume::builder().name(name);
        Ok(match source {
            Source::Other => volume.build(),
            Source::Directory(path) => {
                volume.host(HostVolumeProperties::builder().source_path(path).build()).build()
            }
            Source::Files(file_system, point) => {
                let authorization = point
                    .as_ref()
                    .map(|point| EfsAuthorizationConfig::builder().access_point_id(point).build());
                let files = EfsVolumeConfiguration::builder()
                    .file_system_id(file_system)
                    .transit_encryption(EfsTransitEncryption::Enabled)
                    .set_authorization_config(authorization)
                    .build()
                    .map_err(broken)?;
                volume.efs_volume_configuration(files).build()
            }
        })
    };
    named.into_iter().map(volume).collect()
}

/// A container as ECS is told it.
pub(crate) fn definition(name: &str, settings: &Settings) -> Result<ContainerDefinition> {
    let broken = |error| Error::Failed(format!("writing a container definition: {error}"));
    let logs = LogConfiguration::builder()
        .log_driver(LogDriver::Awslogs)
        .set_options(Some(settings.logs.clone().into_iter().collect()))
        .build()
        .map_err(broken)?;
    let secret = |(name, from): (&String, &String)| Secret::builder().name(name).value_from(from).build();
    let secrets: std::result::Result<Vec<_>, _> = settings.secrets.iter().map(secret).collect();
    let dependency = |(name, condition): (&String, &String)| {
        ContainerDependency::builder().container_name(name).condition(condition.as_str().into()).build()
    };
    let depends: std::result::Result<Vec<_>, _> = settings.depends_on.iter().map(dependency).collect();
    let pair = |(name, value): (&String, &String)| KeyValuePair::builder().name(name).value(value).build();
    Ok(ContainerDefinition::builder()
        .name(name)
        .image(&settings.image)
        .set_cpu(Some(settings.cpu).filter(|units| *units > 0))
        .set_memory(settings.memory)
        .set_memory_reservation(settings.memory_reservation)
        .essential(settings.essential)
        .set_depends_on(Some(depends.map_err(broken)?).filter(|depends| !depends.is_empty()))
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
        .set_port_mappings(Some(settings.ports.iter().map(mapped).collect()))
        .set_environment(Some(settings.environment.iter().map(pair).collect()))
        .set_secrets(Some(secrets.map_err(broken)?))
        .log_configuration(logs)
        .build())
}

/// Where no port of the host is named, in bridge mode any free one is taken.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>
fn mapped((port, host): (&i32, &i32)) -> PortMapping {
    PortMapping::builder()
        .container_port(*port)
        .set_host_port(Some(*host).filter(|host| *host > 0))
        .protocol(TransportProtocol::Tcp)
        .build()
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

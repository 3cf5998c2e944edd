//! Task definitions: a revision for each change of what a service's tasks are made of.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        Compatibility, ContainerDefinition, CpuArchitecture, KeyValuePair, LogConfiguration, LogDriver,
        NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret, SortOrder, Tag, TaskDefinition,
        TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus, TransportProtocol,
    },
};
use spec::{Architecture, Service};
use step::{
    Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare, missing_tags, side_by_side,
};

/// The log driver's options.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
const LOG_GROUP: &str = "awslogs-group";
const LOG_REGION: &str = "awslogs-region";
const LOG_PREFIX: &str = "awslogs-stream-prefix";

/// What the spec asks for.
pub(crate) struct Wanted {
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
    command: Vec<String>,
    ports: BTreeSet<i32>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    logs: BTreeMap<String, String>,
}

pub(crate) fn wanted(context: &Context, key: &str, service: &Service) -> Result<Wanted> {
    let mut environment = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for (name, text) in &service.environment {
        match context.value_from(text) {
            Some(reference) => secrets.insert(name.clone(), reference?),
            None => environment.insert(name.clone(), context.render(text)?),
        };
    }
    let logs = [
        (LOG_GROUP, context.log_group(key, service)),
        (LOG_REGION, context.run.region.clone()),
        (LOG_PREFIX, key.to_owned()),
    ];
    let address = format!("services.{key}.definition");
    Ok(Wanted {
        family: family(context, key),
        tags: context.tags(&address),
        address,
        settings: Settings {
            cpu: service.cpu.to_string(),
            memory: service.memory.to_string(),
            architecture: match service.architecture {
                Architecture::X86 => CpuArchitecture::X8664,
                Architecture::Arm => CpuArchitecture::Arm64,
            }
            .as_str()
            .to_owned(),
            execution_role: context.role_arn(&context.execution_role_name(key)),
            task_role: service.role.as_ref().map(|_| context.role_arn(&context.task_role_name(key))),
            container: key.to_owned(),
            image: context.render(&service.image)?,
            command: service.command.iter().map(|text| context.render(text)).collect::<Result<_>>()?,
            ports: service.ports.iter().map(|port| i32::from(*port)).collect(),
            environment,
            secrets,
            logs: logs.map(|(key, value)| (key.to_owned(), value)).into(),
        },
    })
}

/// A service's family. It does not follow `name:`: what is ours is found by the environment's name.
fn family(context: &Context, key: &str) -> String {
    context.name(None, key, 255)
}

/// A revision with its tags.
struct Found {
    aws: TaskDefinition,
    tags: BTreeMap<String, String>,
}

/// The ARN of the revision that is what the spec says.
pub(crate) async fn ensure(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<String> {
    match find(ecs, context, wanted).await? {
        Some(found) if settings(&found.aws) == wanted.settings => {
            retag(ecs, &found, wanted).await?;
            Ok(arn(&found))
        }
        _ => create(ecs, wanted).await,
    }
}

/// The change, and the revision's ARN as far as it is known.
pub(crate) async fn plan(
    ecs: &Client,
    context: &Context,
    wanted: &Wanted,
) -> Result<(Option<Change>, String)> {
    let Some(found) = find(ecs, context, wanted).await? else {
        let create = Change::create(&wanted.address).with("image", &wanted.settings.image);
        return Ok((Some(create), UNKNOWN.to_owned()));
    };
    let fields = difference(&settings(&found.aws), &wanted.settings);
    let revision = if fields.is_empty() { arn(&found) } else { UNKNOWN.to_owned() };
    let fields = fields.into_iter().chain(missing_tags(&found.tags, &wanted.tags)).collect();
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
        command: container.command().to_vec(),
        ports: container.port_mappings().iter().filter_map(PortMapping::container_port).collect(),
        environment: container.environment().iter().filter_map(pair).collect(),
        secrets: container.secrets().iter().map(secret).collect(),
        logs: logs.unwrap_or_default().into_iter().collect(),
    }
}

fn difference(found: &Settings, wanted: &Settings) -> Vec<Field> {
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
        compare("command", found.command.join(" "), wanted.command.join(" ")),
        compare("ports", ports(&found.ports), ports(&wanted.ports)),
    ]
    .into_iter()
    .flatten()
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
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let doing = || format!("registering task definition ({})", wanted.family);
    let registered = crate::service::with_new_role(registered, doing)?;
    let arn = registered.task_definition.and_then(|definition| definition.task_definition_arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no revision answered", doing())))
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
        .set_command((!settings.command.is_empty()).then(|| settings.command.clone()))
        .set_port_mappings(Some(settings.ports.iter().map(port).collect()))
        .set_environment(Some(settings.environment.iter().map(pair).collect()))
        .set_secrets(Some(secrets.map_err(broken)?))
        .log_configuration(logs)
        .build())
}

pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
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
pub(crate) struct Old {
    arn: String,
    active: bool,
    address: String,
    /// Whether its whole family is dropped.
    dropped: bool,
    pub(crate) log_group: Option<String>,
}

/// Our revisions that nothing uses any more: all of a dropped family, and of the others all but the
/// newest.
pub(crate) async fn old(ecs: &Client, context: &Context) -> Result<Vec<Old>> {
    let kept: BTreeSet<String> = context.spec.services.keys().map(|key| family(context, key)).collect();
    let mut seen = BTreeSet::new();
    let mut unused = Vec::new();
    for arn in active(ecs, context).await? {
        let family = family_of(&arn).to_owned();
        let dropped = !kept.contains(&family);
        // The newest of a family comes first.
        if !seen.insert(family) || dropped {
            unused.push(arn);
        }
    }
    let mut families: BTreeSet<String> = seen.difference(&kept).cloned().collect();
    families.extend(inactive_families(ecs, context).await?);
    let one = async |arn: String| {
        let Some(found) = describe(ecs, &arn).await? else { return Ok(None) };
        let log_group = settings(&found.aws).logs.remove(LOG_GROUP);
        Ok(context.owner().address(&found.tags).map(|address| Old {
            active: found.aws.status() == Some(&TaskDefinitionStatus::Active),
            address: address.to_owned(),
            dropped: !kept.contains(family_of(&arn)),
            arn,
            log_group,
        }))
    };
    let inactive = side_by_side(families.iter().map(|family| inactive(ecs, family))).await?;
    unused.extend(inactive.into_iter().flatten());
    Ok(side_by_side(unused.into_iter().map(one)).await?.into_iter().flatten().collect())
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
pub(crate) async fn delete_dropped(ecs: &Client, context: &Context, old: Vec<Old>) -> Result<Vec<Change>> {
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

//! Task definitions: a revision for each change of what tasks are made of.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        Compatibility, CpuArchitecture, NetworkMode, OsFamily, RuntimePlatform, SortOrder, Tag,
        TaskDefinition, TaskDefinitionFamilyStatus, TaskDefinitionField, TaskDefinitionStatus,
    },
};
use spec::{Architecture, Capacity};
use step::{
    Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare, missing_tags, side_by_side,
};

use crate::{
    Kind, Task, capacity,
    container::{self, or_none},
    with_new_role,
};

/// What the spec asks for.
pub struct Wanted {
    address: String,
    family: String,
    tags: BTreeMap<String, String>,
    /// The name of the container that the task is there for.
    own: String,
    pub(crate) settings: Settings,
}

/// What a revision fixes, as far as the spec owns it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// `FARGATE` or `EC2`.
    pub(crate) capacity: String,
    pub(crate) network_mode: String,
    /// The whole task's, on Fargate alone; on instances each container has its own.
    pub(crate) cpu: Option<String>,
    pub(crate) memory: Option<String>,
    architecture: String,
    pub(crate) execution_role: String,
    task_role: Option<String>,
    /// By name.
    pub(crate) containers: BTreeMap<String, container::Settings>,
}

/// What the spec asks for, of the task's definition.
pub fn wanted(context: &Context, task: &Task<'_>) -> Result<Wanted> {
    let address = format!("{}.definition", task.address());
    let word = task.word();
    let on_instances = capacity(context) == Capacity::Ec2;
    let of_task = |number: Option<u32>| number.filter(|_| !on_instances).map(|number| number.to_string());
    let container =
        |said: crate::Container<'_>| Ok((said.name.to_owned(), container::wanted(context, task, &said)?));
    Ok(Wanted {
        family: task.family(context),
        tags: context.tags(&address),
        address,
        own: task.key.to_owned(),
        settings: Settings {
            capacity: if on_instances { Compatibility::Ec2 } else { Compatibility::Fargate }
                .as_str()
                .to_owned(),
            network_mode: match task.network_mode {
                spec::NetworkMode::Awsvpc => NetworkMode::Awsvpc,
                spec::NetworkMode::Bridge => NetworkMode::Bridge,
            }
            .as_str()
            .to_owned(),
            cpu: of_task(task.own.cpu),
            memory: of_task(task.own.memory),
            architecture: match task.architecture {
                Architecture::X86 => CpuArchitecture::X8664,
                Architecture::Arm => CpuArchitecture::Arm64,
            }
            .as_str()
            .to_owned(),
            execution_role: context.role_arn(&context.execution_role_name(&word)),
            task_role: task.has_role.then(|| context.role_arn(&context.task_role_name(&word))),
            containers: task.containers().map(container).collect::<Result<_>>()?,
        },
    })
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

/// The revision that is what the spec says, registered if there is none. `runs` is the one that runs.
pub async fn ensure(
    ecs: &Client,
    context: &Context,
    wanted: &Wanted,
    runs: Option<&str>,
) -> Result<Revision> {
    match find(ecs, context, wanted, runs).await? {
        Some(found) if difference(&settings(&found.aws), wanted).is_empty() => {
            retag(ecs, &found, wanted).await?;
            Ok(Revision { arn: arn(&found), tags: found.tags })
        }
        _ => Ok(Revision { arn: create(ecs, wanted).await?, tags: wanted.tags.clone() }),
    }
}

/// The change, and the revision as far as it is known. `runs` is the one that runs.
pub async fn plan(
    ecs: &Client,
    context: &Context,
    wanted: &Wanted,
    runs: Option<&str>,
) -> Result<(Option<Change>, Revision)> {
    let unknown = Revision { arn: UNKNOWN.to_owned(), tags: BTreeMap::new() };
    let Some(found) = find(ecs, context, wanted, runs).await? else {
        let own = wanted.settings.containers.get(&wanted.own);
        let image = own.map(|container| container.image.as_str()).unwrap_or_default();
        let create = Change::create(&wanted.address).with("image", image);
        return Ok((Some(create), unknown));
    };
    let fields = difference(&settings(&found.aws), wanted);
    let differs = !fields.is_empty();
    let fields = fields.into_iter().chain(missing_tags(&found.tags, &wanted.tags)).collect();
    let revision = if differs { unknown } else { Revision { arn: arn(&found), tags: found.tags } };
    Ok((Change::update(&wanted.address, fields), revision))
}

fn arn(found: &Found) -> String {
    found.aws.task_definition_arn().unwrap_or_default().to_owned()
}

/// How many of a family's newest revisions are looked at to see whether the family is ours.
const LOOKED_AT: usize = 100;

/// The revision that is what the spec says: the one that runs, or else the newest. Where neither is, it is the one
/// that the spec differs from.
///
/// A service of ours that runs a revision proves the family ours, whoever registered that revision or newer ones: CI
/// systems do. Without such a service any revision of ours proves it.
async fn find(ecs: &Client, context: &Context, wanted: &Wanted, runs: Option<&str>) -> Result<Option<Found>> {
    let Some(newest) = describe(ecs, &wanted.family).await? else { return Ok(None) };
    let runs = runs.filter(|runs| family_of(runs) == wanted.family);
    if runs == Some(arn(&newest).as_str()) {
        return Ok(Some(newest));
    }
    let running = match runs {
        Some(runs) => describe(ecs, runs).await?.filter(is_active),
        None => None,
    };
    let newest = Some(newest).filter(|newest| is_ours(context, newest));
    let fits = |found: &Found| difference(&settings(&found.aws), wanted).is_empty();
    match (running, newest) {
        (Some(running), Some(newest)) => {
            Ok(Some(if !fits(&running) && fits(&newest) { newest } else { running }))
        }
        (Some(found), None) | (None, Some(found)) => Ok(Some(found)),
        (None, None) if runs.is_some() => Ok(None),
        (None, None) => newest_of_ours(ecs, context, wanted).await.map(Some),
    }
}

fn is_active(found: &Found) -> bool {
    found.aws.status() == Some(&TaskDefinitionStatus::Active)
}

fn is_ours(context: &Context, found: &Found) -> bool {
    context.owner().address(&found.tags).is_some()
}

/// The newest revision of ours in a family whose newest isn't; a family without any is somebody else's.
async fn newest_of_ours(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Found> {
    let list = ecs.list_task_definitions().family_prefix(&wanted.family).sort(SortOrder::Desc);
    let mut revisions = list.status(TaskDefinitionStatus::Active).into_paginator().items().send();
    let mut looked_at = 0;
    while let Some(revision) = revisions.next().await {
        let revision = revision.doing(|| format!("listing the revisions of {}", wanted.family))?;
        if let Some(found) = describe(ecs, &revision).await?.filter(|found| is_ours(context, found)) {
            return Ok(found);
        }
        looked_at += 1;
        if looked_at == LOOKED_AT {
            break;
        }
    }
    Err(Error::Conflict(format!(
        "task definition ({}) exists, and none of its revisions is this environment's: deregister them if nobody needs \
         them (aws ecs deregister-task-definition), or rename {} in the spec",
        wanted.family,
        wanted.address.trim_end_matches(".definition"),
    )))
}

/// The registered revision that is what the spec says; none if there is none. `runs` is the one that runs.
pub async fn registered(
    ecs: &Client,
    context: &Context,
    wanted: &Wanted,
    runs: Option<&str>,
) -> Result<Option<Revision>> {
    let found = find(ecs, context, wanted, runs).await?;
    let found = found.filter(|found| difference(&settings(&found.aws), wanted).is_empty());
    Ok(found.map(|found| Revision { arn: arn(&found), tags: found.tags }))
}

/// Whether a revision is what the spec says of a task, whichever image a task has whose image the spec doesn't name.
pub async fn is_as_wanted(ecs: &Client, context: &Context, task: &Task<'_>, revision: &str) -> Result<bool> {
    let Some(found) = describe(ecs, revision).await? else { return Ok(false) };
    let own = found.aws.container_definitions().iter().find(|found| found.name() == Some(task.key));
    let wanted = wanted(context, &task.with_image(own.and_then(|found| found.image())))?;
    Ok(difference(&settings(&found.aws), &wanted).is_empty())
}

/// The image that CI deployed last: that of the revision `runs`; none of a task whose image isn't CI's.
pub async fn deployed(ecs: &Client, task: &Task<'_>, runs: Option<&str>) -> Result<Option<String>> {
    match runs.filter(|_| task.is_deployed_by_ci()) {
        Some(runs) => image(ecs, runs, task.key).await,
        None => Ok(None),
    }
}

/// The image of a revision's container; none if there is no such revision.
pub(crate) async fn image(ecs: &Client, revision: &str, container: &str) -> Result<Option<String>> {
    let found = describe(ecs, revision).await?;
    let containers = found.and_then(|found| found.aws.container_definitions).unwrap_or_default();
    let own = containers.into_iter().find(|found| found.name() == Some(container));
    Ok(own.and_then(|container| container.image))
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
pub(crate) fn settings(found: &TaskDefinition) -> Settings {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    // Docker's own on instances, where none was named.
    let network_mode = found.network_mode().unwrap_or(&NetworkMode::Bridge);
    let awsvpc = network_mode == &NetworkMode::Awsvpc;
    let capacity: Vec<&str> = found.requires_compatibilities().iter().map(Compatibility::as_str).collect();
    let containers = found
        .container_definitions()
        .iter()
        .map(|container| (text(container.name()), container::found(found, container, awsvpc)));
    Settings {
        capacity: capacity.join(", "),
        network_mode: network_mode.as_str().to_owned(),
        cpu: found.cpu().map(str::to_owned),
        memory: found.memory().map(str::to_owned),
        architecture: text(
            found.runtime_platform().and_then(RuntimePlatform::cpu_architecture).map(CpuArchitecture::as_str),
        ),
        execution_role: text(found.execution_role_arn()),
        task_role: found.task_role_arn().map(str::to_owned),
        containers: containers.collect(),
    }
}

/// The log group that a revision writes to.
fn log_group(found: &TaskDefinition) -> Option<String> {
    let containers = settings(found).containers;
    containers.into_values().find_map(|mut container| container.logs.remove(container::LOG_GROUP))
}

/// What differs. Fields of the task's own container are called as in the spec, those of a sidecar
/// `sidecars.<name>.image`.
pub(crate) fn difference(found: &Settings, wanted: &Wanted) -> Vec<Field> {
    let Wanted { own, settings: wanted, .. } = wanted;
    let of_task = [
        compare("capacity", &found.capacity, &wanted.capacity),
        compare("networkMode", &found.network_mode, &wanted.network_mode),
        compare("cpu", or_none(found.cpu.as_ref()), or_none(wanted.cpu.as_ref())),
        compare("memory", or_none(found.memory.as_ref()), or_none(wanted.memory.as_ref())),
        compare("architecture", &found.architecture, &wanted.architecture),
        compare("executionRole", &found.execution_role, &wanted.execution_role),
        compare("role", or_none(found.task_role.as_ref()), or_none(wanted.task_role.as_ref())),
    ];
    let names: BTreeSet<&String> = found.containers.keys().chain(wanted.containers.keys()).collect();
    let of_container = |name: &String| {
        let called = if name == own { "container".to_owned() } else { format!("sidecars.{name}") };
        match (found.containers.get(name), wanted.containers.get(name)) {
            (Some(found), Some(wanted)) if name == own => container::difference("", found, wanted),
            (Some(found), Some(wanted)) => container::difference(&format!("{called}."), found, wanted),
            (found, wanted) => {
                let image = |container: Option<&container::Settings>| {
                    or_none(container.map(|container| &container.image))
                };
                vec![Field { name: called, found: Some(image(found)), wanted: image(wanted) }]
            }
        }
    };
    of_task.into_iter().flatten().chain(names.into_iter().flat_map(of_container)).collect()
}

/// A lost answer leaves a revision that the next pass finds. A role made moments ago may not be usable
/// yet.
async fn create(ecs: &Client, wanted: &Wanted) -> Result<String> {
    let settings = &wanted.settings;
    // On instances it is what ECS places by.
    let platform = RuntimePlatform::builder()
        .cpu_architecture(settings.architecture.as_str().into())
        .operating_system_family(OsFamily::Linux)
        .build();
    // The task's own first.
    let (own, beside): (Vec<_>, Vec<_>) =
        settings.containers.iter().partition(|(name, _)| **name == wanted.own);
    let containers = own.into_iter().chain(beside);
    let containers = containers.map(|(name, container)| container::definition(name, container));
    let registered = ecs
        .register_task_definition()
        .family(&wanted.family)
        .network_mode(settings.network_mode.as_str().into())
        .requires_compatibilities(settings.capacity.as_str().into())
        .set_cpu(settings.cpu.clone())
        .set_memory(settings.memory.clone())
        .runtime_platform(platform)
        .execution_role_arn(&settings.execution_role)
        .set_task_role_arn(settings.task_role.clone())
        .set_container_definitions(Some(containers.collect::<Result<_>>()?))
        .set_volumes(Some(container::volumes(settings.containers.values())?))
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let doing = || format!("registering task definition ({})", wanted.family);
    let registered = with_new_role(registered, doing)?;
    let arn = registered.task_definition.and_then(|definition| definition.task_definition_arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no revision answered", doing())))
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
    /// Whether somebody else registered it, in a family of ours.
    foreign: bool,
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
/// stay all but what runs, or the newest of ours where nothing does. Where CI deploys the image, what it may go back
/// to stays as long as the family does. Of a family that stays the newest are looked at: CI may have registered more.
pub async fn old(ecs: &Client, context: &Context, kind: Kind, runs: &BTreeSet<String>) -> Result<Vec<Old>> {
    let kept = families(context, kind);
    let running: BTreeSet<&str> = runs.iter().map(|arn| family_of(arn)).collect();
    let tasks = kind.tasks(&context.spec);
    let by_ci = tasks.iter().filter(|task| task.is_deployed_by_ci()).map(|task| task.family(context));
    let mut untouched = &families(context, kind.other()) - &kept;
    untouched.extend(by_ci);
    let mut seen = BTreeMap::new();
    let mut unused = Vec::new();
    for arn in active(ecs, context).await? {
        let family = family_of(&arn).to_owned();
        if untouched.contains(&family) {
            continue;
        }
        let dropped = !kept.contains(&family);
        let newer = seen.entry(family).or_insert(0_usize);
        if dropped || (!runs.contains(&arn) && *newer < LOOKED_AT) {
            unused.push(arn);
        }
        *newer += 1;
    }
    let seen: BTreeSet<String> = seen.into_keys().collect();
    let mut families = &seen - &kept;
    families.extend(inactive_families(ecs, context).await?);
    families.retain(|family| !untouched.contains(family));
    let inactive = side_by_side(families.iter().map(|family| inactive(ecs, family))).await?;
    unused.extend(inactive.into_iter().flatten());
    let found = side_by_side(unused.iter().map(|arn| describe(ecs, arn))).await?;
    let found: Vec<(String, Found)> =
        unused.into_iter().zip(found).filter_map(|(arn, found)| Some((arn, found?))).collect();
    let mut old = owned(context, kind, &kept, found);
    let mut last = BTreeSet::new();
    old.retain(|old| {
        let family = family_of(&old.arn);
        let idle = old.active && !old.dropped && !running.contains(family);
        !(idle && last.insert(family.to_owned()))
    });
    Ok(old)
}

/// Those of the revisions that are ours. All of a family that goes are, if one is, whoever registered the others; those
/// come first, so that the proof goes last.
fn owned(context: &Context, kind: Kind, kept: &BTreeSet<String>, found: Vec<(String, Found)>) -> Vec<Old> {
    let owner = context.owner();
    let is_dropped = |arn: &str| !kept.contains(family_of(arn));
    let own = |arn: &str, found: &Found| {
        let address = owner.address(&found.tags).filter(|address| !is_dropped(arn) || kind.owns(address));
        address.map(str::to_owned)
    };
    let proven: BTreeMap<String, String> = found
        .iter()
        .filter(|(arn, _)| is_dropped(arn))
        .filter_map(|(arn, found)| Some((family_of(arn).to_owned(), own(arn, found)?)))
        .collect();
    let one = |(arn, found): (String, Found)| {
        let ours = own(&arn, &found);
        let others = || proven.get(family_of(&arn)).filter(|_| owner.address(&found.tags).is_none()).cloned();
        Some(Old {
            active: is_active(&found),
            foreign: ours.is_none(),
            address: ours.or_else(others)?,
            dropped: is_dropped(&arn),
            log_group: log_group(&found.aws),
            arn,
        })
    };
    let mut old: Vec<Old> = found.into_iter().filter_map(one).collect();
    old.sort_by_key(|old| !old.foreign);
    old
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

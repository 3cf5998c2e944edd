//! The task that runs a job once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecs::{
    Client,
    primitives::DateTime,
    types::{Container, DesiredStatus, Failure, Tag, Task, TaskField, TaskStopCode},
};
use spec::{Duration, Job};
use step::{Change, Context, Doing, Error, Operation, Pace, Result, UNKNOWN, digits};
use task::{
    Place, follow,
    task_definition::{self, Old, tag_list},
    with_new_role,
};

use crate::Aws;

/// The tag on a revision that says what it has run for.
pub(crate) const COMPLETED: &str = "plinth:completed";

/// The tag on a task that says what it runs for.
const FOR: &str = "plinth:for";

/// The tag on a task that names the run which started it.
const RUN: &str = "plinth:run";

/// What a job runs for that comes after no service.
const DONE: &str = "done";

/// Who started a task; ECS lists tasks by it.
const STARTED_BY: &str = "plinth";

/// How long a job may take where the spec doesn't say.
const TIMEOUT: Duration = Duration::from_seconds(60 * 60);

/// How many lines of a failed task's log are told, and how many bytes of them.
const LINES: i32 = 20;
const BYTES: usize = 3_000;

/// The longest value of a tag.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html>
const TAG_LIMIT: usize = 256;

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    container: String,
    /// The family of its task definitions, with which its log streams begin.
    family: String,
    revision: String,
    purpose: String,
    place: Place,
    timeout: Duration,
    log_group: String,
    token: String,
    run: String,
    tags: BTreeMap<String, String>,
}

pub(crate) fn wanted(
    context: &Context,
    key: &str,
    job: &Job,
    revision: &str,
    purpose: &str,
) -> Result<Wanted> {
    let task = task::Task::of_job(key, job);
    let address = task.address();
    let mut tags = context.tags(&address);
    tags.insert(FOR.to_owned(), purpose.to_owned());
    tags.insert(RUN.to_owned(), context.run.id.clone());
    Ok(Wanted {
        container: key.to_owned(),
        family: task.family(context),
        revision: revision.to_owned(),
        purpose: purpose.to_owned(),
        place: Place::of(context, job.placement, job.network_mode)?,
        timeout: job.timeout.unwrap_or(TIMEOUT),
        log_group: task.log_group(context),
        token: context.token(&format!("{address}-{}", digits(&format!("{revision} {purpose}"), 8))),
        run: context.run.id.clone(),
        tags,
        address,
    })
}

/// What the job runs for now: the revisions that the services it comes after are deployed in.
pub(crate) async fn purpose(ecs: &Client, context: &Context, key: &str, job: &Job) -> Result<String> {
    let after: BTreeSet<&String> = job.after.iter().collect();
    let name = |after: &String| {
        let service = context.spec.services.get(after);
        service.map_or_else(|| after.clone(), |service| context.service_name(after, service))
    };
    let names: Vec<(&String, String)> = after.into_iter().map(|after| (after, name(after))).collect();
    let mut revisions = BTreeMap::new();
    // DescribeServices takes at most ten.
    for names in names.chunks(10) {
        let described = ecs
            .describe_services()
            .cluster(context.cluster_name())
            .set_services(Some(names.iter().map(|(_, name)| name.clone()).collect()))
            .send()
            .await
            .doing(|| format!("looking at the services that jobs.{key} comes after"))?;
        for (after, name) in names {
            // A deleted one lingers as INACTIVE.
            let found = described
                .services()
                .iter()
                .find(|found| found.service_name() == Some(name) && found.status() == Some("ACTIVE"));
            let Some(arn) = found.and_then(|found| found.task_definition()) else {
                return Err(Error::soon(format!(
                    "jobs.{key} comes after services.{after}, which isn't there"
                )));
            };
            revisions.insert((*after).clone(), number(arn).to_owned());
        }
    }
    Ok(told(&revisions))
}

/// What the job will run for after the run that is planned: the services then have the revisions that
/// their part of the spec asks for.
pub(crate) async fn planned_purpose(aws: &Aws, context: &Context, job: &Job) -> Result<String> {
    let Aws { ecs, ecr, .. } = aws;
    let mut revisions = BTreeMap::new();
    for after in &job.after {
        let address = format!("services.{after}");
        let service = context.known(context.spec.services.get(after), &address)?;
        let task = task::Task::of_service(after, service);
        let name = context.service_name(after, service);
        let standing = follow::standing(ecs, &context.cluster_name(), &name).await?;
        let runs = standing.as_ref().and_then(|standing| standing.task_definition());
        let image = match service.image.followed() {
            None => task_definition::deployed(ecs, &task, runs).await?,
            Some(followed) => {
                let images = follow::Images::list(ecr, context, std::iter::once(service)).await?;
                follow::newest(ecs, context, &images, &task, followed, standing.as_ref()).await?.image
            }
        };
        let wanted = task_definition::wanted(context, &task.with_image(image.as_deref()))?;
        let (_, revision) = task_definition::plan(ecs, context, &wanted, runs).await?;
        let known = if revision.arn == UNKNOWN { UNKNOWN } else { number(&revision.arn) };
        revisions.insert(after.clone(), known.to_owned());
    }
    Ok(told(&revisions))
}

/// As a tag's value: "a:3 b:7".
fn told(revisions: &BTreeMap<String, String>) -> String {
    if revisions.is_empty() {
        return DONE.to_owned();
    }
    let pairs: Vec<String> = revisions.iter().map(|(key, number)| format!("{key}:{number}")).collect();
    let whole = pairs.join(" ");
    if whole.len() <= TAG_LIMIT { whole } else { digits(&whole, 64) }
}

/// The number of a revision.
fn number(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

/// Looks what became of the job's task, and starts one if there was none.
pub(crate) async fn ensure(aws: &Aws, context: &Context, wanted: &Wanted) -> Result<()> {
    let tasks = find(&aws.ecs, context, wanted).await?;
    if tasks.iter().any(|task| succeeded(task, wanted)) {
        return complete(&aws.ecs, wanted).await;
    }
    if let Some(task) = tasks.iter().find(|task| !has_stopped(task)) {
        return Err(wait(aws, wanted, task).await?);
    }
    let of_this_run = |task: &&Task| tags(task).get(RUN) == Some(&wanted.run);
    if let Some(task) = tasks.iter().find(of_this_run) {
        return Err(failure(&aws.logs, wanted, task).await?);
    }
    let task = start(&aws.ecs, wanted).await?;
    Err(wait(aws, wanted, &task).await?)
}

/// Our tasks of this revision and for this purpose, whichever run started them.
async fn find(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Vec<Task>> {
    let mut tasks = of_family(ecs, &wanted.place.cluster, &wanted.family).await?;
    tasks.retain(|task| {
        let tags = tags(task);
        context.owner().address(&tags) == Some(&wanted.address)
            && tags.get(FOR) == Some(&wanted.purpose)
            && task.task_definition_arn() == Some(&wanted.revision)
    });
    Ok(tasks)
}

/// The tasks of a family, also those that stopped in the last hour or so; none if the cluster isn't there.
async fn of_family(ecs: &Client, cluster: &str, family: &str) -> Result<Vec<Task>> {
    let mut arns = BTreeSet::new();
    // In this order a task that stops in between is seen once at least.
    for status in [DesiredStatus::Running, DesiredStatus::Stopped] {
        let list = ecs.list_tasks().cluster(cluster).family(family).desired_status(status);
        let listed: std::result::Result<Vec<String>, _> =
            list.into_paginator().items().send().collect().await;
        let listed = listed.unless_absent(&["ClusterNotFoundException"], || {
            format!("listing the tasks of {family} in ECS cluster ({cluster})")
        })?;
        arns.extend(listed.unwrap_or_default());
    }
    let arns: Vec<String> = arns.into_iter().collect();
    let mut tasks = Vec::new();
    for arns in arns.chunks(100) {
        let describe = ecs.describe_tasks().cluster(cluster).set_tasks(Some(arns.to_vec()));
        let described = describe.include(TaskField::Tags).send().await;
        let described = described.doing(|| format!("describing the tasks of {family}"))?;
        tasks.extend(described.tasks.unwrap_or_default());
    }
    Ok(tasks)
}

fn tags(task: &Task) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    task.tags().iter().filter_map(pair).collect()
}

fn has_stopped(task: &Task) -> bool {
    task.last_status() == Some("STOPPED")
}

fn id(task: &Task) -> &str {
    task.task_arn().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

fn exit_code(task: &Task, wanted: &Wanted) -> Option<i32> {
    let container = task.containers().iter().find(|found| found.name() == Some(&wanted.container));
    container.and_then(Container::exit_code)
}

/// One that was told to stop before it was done may exit with 0 all the same.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html>
fn succeeded(task: &Task, wanted: &Wanted) -> bool {
    let by_itself = matches!(task.stop_code(), None | Some(TaskStopCode::EssentialContainerExited));
    has_stopped(task) && by_itself && exit_code(task, wanted) == Some(0)
}

/// The token lets one run start one task of this revision for this purpose; when the answer was lost, the
/// next pass finds it, or is answered the same.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html>
async fn start(ecs: &Client, wanted: &Wanted) -> Result<Task> {
    let doing = || format!("running {}", wanted.address);
    let answer = ecs
        .run_task()
        .cluster(&wanted.place.cluster)
        .task_definition(&wanted.revision)
        .set_capacity_provider_strategy(wanted.place.strategy()?)
        .set_network_configuration(wanted.place.network()?)
        .client_token(&wanted.token)
        .started_by(STARTED_BY)
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let answer = with_new_role(answer, doing)?;
    match (answer.failures(), answer.tasks()) {
        (_, [task, ..]) => Ok(task.clone()),
        ([failure, ..], []) => Err(refused(&doing(), failure)),
        ([], []) => Err(Error::Failed(format!("{}: no task answered", doing()))),
    }
}

/// Capacity that lacks now may be there later.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>
fn refused(doing: &str, failure: &Failure) -> Error {
    let reason = failure.reason().unwrap_or_default();
    let message = format!("{doing}: {reason} {}", failure.detail().unwrap_or_default());
    let message = message.trim_end().to_owned();
    let later = reason.starts_with("RESOURCE")
        || reason.starts_with("AGENT")
        || reason.starts_with("Capacity is unavailable");
    if later { Error::soon(message) } else { Error::Failed(message) }
}

/// The wait for a task that has yet to stop. One that takes too long is stopped, and fails the run.
async fn wait(aws: &Aws, wanted: &Wanted, task: &Task) -> Result<Error> {
    let address = &wanted.address;
    if task.desired_status() == Some("STOPPED") {
        return Ok(Error::soon(format!("{address}: its task ({}) is stopping", id(task))));
    }
    let now = DateTime::from(SystemTime::now()).secs();
    let age = task.created_at().map_or(0, |created| now - created.secs()).max(0);
    let most = i64::try_from(wanted.timeout.seconds()).unwrap_or(i64::MAX);
    if age <= most {
        let status = task.last_status().unwrap_or("PENDING");
        let pace = match age {
            ..120 => Pace::Soon,
            120..900 => Pace::Later,
            900.. => Pace::Long,
        };
        let message =
            format!("{address}: its task ({}) is {status}, {age} s of at most {}", id(task), wanted.timeout);
        return Ok(Error::wait(pace, message));
    }
    let reason = format!("it ran longer than {}", wanted.timeout);
    stop(&aws.ecs, &wanted.place.cluster, task, &reason).await?;
    Ok(Error::Failed(format!(
        "running {address}: its task ({}) was stopped, since {reason}; mend that, or give it a longer \
         `timeout`, and upload the spec again{}",
        id(task),
        last_lines(&aws.logs, wanted, task).await?
    )))
}

async fn stop(ecs: &Client, cluster: &str, task: &Task, reason: &str) -> Result<()> {
    let arn = task.task_arn().unwrap_or_default();
    let stopped = ecs.stop_task().cluster(cluster).task(arn).reason(reason).send().await;
    stopped.doing(|| format!("stopping task ({})", id(task)))?;
    Ok(())
}

async fn complete(ecs: &Client, wanted: &Wanted) -> Result<()> {
    let tags = [(COMPLETED.to_owned(), wanted.purpose.clone())].into();
    let put = ecs.tag_resource().resource_arn(&wanted.revision).set_tags(Some(tag_list(&tags))).send().await;
    put.doing(|| format!("noting that {} has run", wanted.address))?;
    Ok(())
}

/// Why a task that stopped didn't do its work.
async fn failure(logs: &Logs, wanted: &Wanted, task: &Task) -> Result<Error> {
    let container = task.containers().iter().find(|found| found.name() == Some(&wanted.container));
    let reasons: BTreeSet<&str> =
        [task.stopped_reason(), container.and_then(|found| found.reason())].into_iter().flatten().collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let ended = match exit_code(task, wanted) {
        Some(code) => format!("its container exited with {code}"),
        None => "it ended without an exit code".to_owned(),
    };
    Ok(Error::Failed(format!(
        "running {} (task {}): {ended}: {}; mend that and upload the spec again, or start the machine \
         again to run it once more{}",
        wanted.address,
        id(task),
        reasons.join(": "),
        last_lines(logs, wanted, task).await?
    )))
}

/// The last lines a task wrote, if it wrote any.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
async fn last_lines(logs: &Logs, wanted: &Wanted, task: &Task) -> Result<String> {
    let stream = format!("{}/{}/{}", wanted.family, wanted.container, id(task));
    let read = logs
        .get_log_events()
        .log_group_name(&wanted.log_group)
        .log_stream_name(&stream)
        .limit(LINES)
        .start_from_head(false)
        .send()
        .await
        .unless_absent(&["ResourceNotFoundException"], || {
            format!("reading log stream ({stream}) of log group ({})", wanted.log_group)
        })?;
    let events = read.and_then(|answer| answer.events).unwrap_or_default();
    let lines: Vec<&str> = events.iter().filter_map(|event| event.message()).map(str::trim_end).collect();
    let text = ending(&lines.join("\n"), BYTES).to_owned();
    if text.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("; the end of its log ({}, {stream}):\n{text}", wanted.log_group))
}

/// The text's last so many bytes, from a whole character on.
fn ending(text: &str, bytes: usize) -> &str {
    let least = text.len().saturating_sub(bytes);
    let start = (least..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

/// Stops the tasks of dropped families, in whatever cluster they run and whoever started them, and waits
/// until they have stopped: they hold interfaces. In a plan only names them.
pub(crate) async fn stop_dropped(ecs: &Client, context: &Context, old: &[Old]) -> Result<Vec<Change>> {
    let families: BTreeMap<&str, &str> =
        old.iter().filter_map(|old| Some((old.dropped_family()?, old.address.as_str()))).collect();
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let clusters: std::result::Result<Vec<String>, _> =
        ecs.list_clusters().into_paginator().items().send().collect().await;
    let mut changes = Vec::new();
    for arn in clusters.doing(|| "listing ECS clusters")? {
        let cluster = arn.rsplit('/').next().unwrap_or_default();
        for (family, address) in &families {
            let address = address.trim_end_matches(".definition");
            for task in of_family(ecs, cluster, family).await?.iter().filter(|task| !has_stopped(task)) {
                changes.push(Change::delete(address).with("task", id(task)));
                let told = task.desired_status() == Some("STOPPED");
                if context.operation == Operation::Prune && !told {
                    stop(ecs, cluster, task, "its job is gone from the spec").await?;
                }
            }
        }
    }
    if context.operation == Operation::Prune && !changes.is_empty() {
        let addresses: Vec<&str> = changes.iter().map(|change| change.address.as_str()).collect();
        return Err(Error::soon(format!("tasks of dropped jobs are stopping: {}", addresses.join(", "))));
    }
    Ok(changes)
}

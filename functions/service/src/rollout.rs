//! Whether a service's tasks run as they should, and why they don't.

use aws_sdk_ecs::{
    Client,
    primitives::DateTime,
    types::{Deployment, DeploymentRolloutState, DesiredStatus, Service, Task},
};
use jiff::Timestamp;
use step::{Context, Doing, Error, Latency, Result};

use crate::service::Wanted;

/// A deployment is done when the primary one is our revision, completed, with all its tasks running, as many
/// as the service has now. One that only scales is as old as its revision, so that a wait counts from this
/// step's own beginning.
pub(crate) async fn ready(ecs: &Client, context: &Context, service: &Service, wanted: &Wanted) -> Result<()> {
    if wanted.paused {
        return stopped(context, service, wanted);
    }
    let Some(primary) = primary(service) else {
        return Err(Error::soon(format!("ECS service ({}) has no deployment yet", wanted.name)));
    };
    if service.task_definition().is_some_and(|runs| runs != wanted.revision) {
        return Err(Error::soon(format!(
            "ECS service ({}): ECS goes back to the revision before",
            wanted.name
        )));
    }
    if is_completed(service) {
        return Ok(());
    }
    if has_failed(service) {
        let reason = stopped_reason(ecs, &wanted.place.cluster, &wanted.name, &wanted.revision).await?;
        return Err(Error::Failed(format!(
            "deploying ECS service ({}): {}; {}; mend that and upload the spec again",
            wanted.name,
            reason.or_else(|| primary.rollout_state_reason().map(str::to_owned)).unwrap_or_default(),
            before(service, &wanted.revision)
        )));
    }
    let mut doing = format!(
        "ECS service ({}): {} of {} tasks run",
        wanted.name,
        primary.running_count(),
        service.desired_count()
    );
    if primary.failed_tasks() > 0
        && let Some(reason) =
            stopped_reason(ecs, &wanted.place.cluster, &wanted.name, &wanted.revision).await?
    {
        doing = format!("{doing}, and {} stopped: {reason}", primary.failed_tasks());
    } else if let Some(event) = unplaced(service, primary) {
        doing = format!("{doing}: {event}");
    }
    Err(Latency::of("ecs-service").wait(&doing, begun(primary)?.max(context.since)))
}

/// Whether none of its tasks runs any more, whatever becomes of its deployments.
fn stopped(context: &Context, service: &Service, wanted: &Wanted) -> Result<()> {
    match service.running_count() {
        0 => Ok(()),
        running => {
            let doing = format!("ECS service ({}): {running} of its tasks still run", wanted.name);
            Err(Latency::of("ecs-service").wait(&doing, context.since))
        }
    }
}

/// Whether what ECS is to bring about won't come about by itself.
pub(crate) fn has_failed(service: &Service) -> bool {
    primary(service).is_some_and(|primary| {
        primary.rollout_state() == Some(&DeploymentRolloutState::Failed) || keeps_stopping(service, primary)
    })
}

/// Whether the primary deployment is completed, and all tasks run that the service is to have.
pub(crate) fn is_completed(service: &Service) -> bool {
    let state = primary(service).and_then(Deployment::rollout_state);
    state == Some(&DeploymentRolloutState::Completed) && service.running_count() == service.desired_count()
}

/// What a failed deployment of a revision left running.
pub(crate) fn before(service: &Service, revision: &str) -> String {
    let others = service.deployments().iter().filter(|found| found.task_definition() != Some(revision));
    match others.map(Deployment::running_count).sum::<i32>() {
        0 => "nothing serves in its place: no task of another revision runs".to_owned(),
        1 => "what ran before still serves, with 1 task".to_owned(),
        running => format!("what ran before still serves, with {running} tasks"),
    }
}

fn primary(found: &Service) -> Option<&Deployment> {
    found.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"))
}

/// Whether none of a deployment's tasks runs and as many have failed as ECS's circuit breaker takes. The
/// breaker itself looks at deployments that aren't complete; tasks may begin to fail after that.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
fn keeps_stopping(service: &Service, primary: &Deployment) -> bool {
    let threshold = (service.desired_count() + 1).div_euclid(2).clamp(3, 200);
    primary.running_count() == 0 && primary.failed_tasks() >= threshold
}

/// What ECS says last of tasks that no instance has room for, since the deployment began.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html>
fn unplaced<'a>(service: &'a Service, primary: &Deployment) -> Option<&'a str> {
    let newest = service.events().first()?;
    let since = primary.created_at().map(DateTime::secs);
    let message = newest.message().filter(|_| newest.created_at().map(DateTime::secs) >= since)?;
    message.contains("unable to place a task").then_some(message)
}

fn begun(deployment: &Deployment) -> Result<Timestamp> {
    let seconds = deployment.created_at().map(DateTime::secs).unwrap_or_default();
    Timestamp::from_second(seconds)
        .map_err(|error| Error::Failed(format!("reading when a deployment began: {error}")))
}

/// What ECS says of a revision's deployment, for as long as it lists that.
pub(crate) fn reason(service: &Service, revision: &str) -> Option<String> {
    let mut deployments = service.deployments().iter();
    let deployment = deployments.find(|deployment| deployment.task_definition() == Some(revision))?;
    deployment.rollout_state_reason().map(str::to_owned)
}

/// Why the newest task of a service's revision that stopped by itself did.
pub(crate) async fn stopped_reason(
    ecs: &Client,
    cluster: &str,
    name: &str,
    revision: &str,
) -> Result<Option<String>> {
    let doing = || format!("looking at the stopped tasks of ECS service ({name})");
    let listed = ecs
        .list_tasks()
        .cluster(cluster)
        .service_name(name)
        .desired_status(DesiredStatus::Stopped)
        .send()
        .await
        .doing(doing)?;
    if listed.task_arns().is_empty() {
        return Ok(None);
    }
    let described =
        ecs.describe_tasks().cluster(cluster).set_tasks(listed.task_arns).send().await.doing(doing)?;
    let tasks = described.tasks().iter().filter(|task| stopped_by_itself(task, revision));
    let newest = tasks.max_by_key(|task| task.stopped_at().map(DateTime::secs));
    Ok(newest.map(told).filter(|reason| !reason.is_empty()))
}

/// Not one that ECS stopped to have fewer, or when it went back to the revision before.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html>
fn stopped_by_itself(task: &Task, revision: &str) -> bool {
    let scaled = task.stopped_reason().is_some_and(|reason| reason.starts_with("Scaling activity initiated"));
    task.task_definition_arn() == Some(revision) && !scaled
}

/// "Essential container in task exited: app exited with 137: …", each thing said once.
fn told(task: &Task) -> String {
    let mut parts: Vec<String> = task.stopped_reason().map(str::to_owned).into_iter().collect();
    for container in task.containers() {
        let exited = container
            .exit_code()
            .filter(|code| *code != 0)
            .map(|code| format!("{} exited with {code}", container.name().unwrap_or_default()));
        parts.extend(exited.into_iter().chain(container.reason().map(str::to_owned)));
    }
    let mut once: Vec<String> = Vec::new();
    for part in parts {
        if !once.iter().any(|said| said.contains(&part)) {
            once.push(part);
        }
    }
    once.join(": ")
}

//! The step `service`: log groups, task definitions and ECS services, their names in the VPC, and how they
//! scale.
//!
//! Ours is what carries the owner's tags; everything here has them from the call that creates it on.
//! Log groups and task definitions are as for jobs, see the crate `task`. How a service scales is owned
//! through it.
//!
//! A service waits for its image and for the values of the secrets it reads before it is created: no
//! task is started that must fail. One that follows a repository takes the newest image that isn't refused, and
//! remembers what ECS rolled back: see `task::follow`. Where `imageFrom` is `ci` it keeps the image that runs. A
//! service remembers which versions of its secrets its tasks read, and is deployed anew for others. Of an environment
//! that is paused each service runs no task, and scales to none.

mod discovery;
mod rollout;
mod scale;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use aws_sdk_applicationautoscaling::Client as Scaling;
use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecr::Client as Ecr;
use aws_sdk_ecs::{Client as Ecs, types::Service as EcsService};
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use aws_sdk_secretsmanager::Client as Secrets;
use aws_sdk_servicediscovery::Client as CloudMap;
use spec::Service;
use step::{Answer, Change, Context, Operation, Result, side_by_side};
use task::{Kind, Task, ask, follow, image, log_group, secret::Versions, task_definition};

/// How the step calls AWS.
#[derive(Debug, Clone)]
struct Aws {
    ecs: Ecs,
    elb: Elb,
    ecr: Ecr,
    logs: Logs,
    secrets: Secrets,
    cloud_map: CloudMap,
    scaling: Scaling,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let aws = Aws {
        ecs: Ecs::new(&context.aws),
        elb: Elb::new(&context.aws),
        ecr: Ecr::new(&context.aws),
        logs: Logs::new(&context.aws),
        secrets: Secrets::new(&context.aws),
        cloud_map: CloudMap::new(&context.aws),
        scaling: Scaling::new(&context.aws),
    };
    match context.operation {
        Operation::Plan => plan(&aws, &context).await,
        Operation::Ensure => ensure(&aws, &context).await,
        Operation::Prune => prune(&aws, &context).await,
    }
}

/// What is looked at once for all services of a pass.
struct Around {
    names: discovery::Names,
    targets: scale::Targets,
    images: follow::Images,
    /// Of the secrets that are read; of none while the environment is paused.
    versions: Versions,
}

impl Around {
    async fn look(aws: &Aws, context: &Context) -> Result<Self> {
        let services = context.services().filter(|_| !context.run.paused);
        let tasks = services.map(|(key, service)| Task::of_service(key, service));
        Ok(Self {
            versions: Versions::look(&aws.secrets, context, tasks).await?,
            names: discovery::names(&aws.cloud_map, context).await?,
            targets: scale::targets(&aws.scaling, context).await?,
            images: follow::Images::list(&aws.ecr, context, context.services().map(|(_, service)| service))
                .await?,
        })
    }
}

async fn ensure(aws: &Aws, context: &Context) -> Result<Answer> {
    let around = Around::look(aws, context).await?;
    let services = context.services();
    let ensured =
        side_by_side(services.map(|(key, service)| ensure_one(aws, context, &around, key, service))).await;
    let ensured = ask::all(&aws.ecr, &aws.secrets, context, ensured).await?;
    Ok(Answer { notes: ensured.into_iter().flatten().collect(), ..Answer::default() })
}

/// Answers what who follows the run should know of it.
async fn ensure_one(
    aws: &Aws,
    context: &Context,
    around: &Around,
    key: &str,
    service: &Service,
) -> Result<Option<String>> {
    let task = Task::of_service(key, service);
    let found = service::find(&aws.ecs, context, key, service).await?;
    let newest = newest(aws, context, around, &task, service, found.as_ref()).await?;
    if let (Some(newest), Some(found)) = (&newest, &found) {
        service::refuse(&aws.ecs, context, found, newest).await?;
    }
    if let (Some(newest), Some(follow)) = (&newest, service.image.followed())
        && let Err(lacks) = newest.ready(context, follow)
    {
        return asked(aws, context, around, &task, Err(lacks)).await.map(|()| None);
    }
    let note = newest.as_ref().and_then(|newest| newest.note(&task));
    let image = image(aws, &task, newest.as_ref(), found.as_ref()).await?;
    let task = task.with_image(image.as_deref());
    let runs = found.as_ref().and_then(|found| found.task_definition());
    let definition = task_definition::wanted(context, &task)?;
    let revision = task_definition::ensure(&aws.ecs, context, &definition, runs).await?;
    log_group::ensure(&aws.logs, context, &log_group::wanted(context, &task)?).await?;
    asked(aws, context, around, &task, Ok(())).await?;
    let registry = discovery::ensure(&aws.cloud_map, context, &around.names, key).await?;
    let secrets = around.versions.told(&task).filter(|_| !context.run.paused);
    let wanted = service::wanted(context, key, service, &revision.arn, registry, secrets)?;
    let wanted = match &found {
        Some(found) => wanted.beside(&aws.elb, found, &service.ports).await?,
        None => wanted,
    };
    let scale = scale::wanted(context, key, service)?;
    if scale.is_none() {
        let resource = scale::resource(&context.cluster_name(), &context.service_name(key, service));
        scale::remove(&aws.scaling, &around.targets, &resource).await?;
    }
    // What scales a service that is to stop would start it again.
    let first = context.run.paused && found.is_some();
    if let Some(scale) = scale.as_ref().filter(|_| first) {
        scale::ensure(&aws.scaling, &around.targets, scale).await?;
    }
    let standing = service::ensure(&aws.ecs, found, &wanted).await?;
    if let Some(scale) = scale.as_ref().filter(|_| !first) {
        scale::ensure(&aws.scaling, &around.targets, scale).await?;
    }
    rollout::ready(&aws.ecs, context, &standing, &wanted).await?;
    Ok(note)
}

/// Waits for all that a task needs of people: images, and the values of secrets. `follows` is what came of the image
/// that it follows.
async fn asked(
    aws: &Aws,
    context: &Context,
    around: &Around,
    task: &Task<'_>,
    follows: Result<()>,
) -> Result<()> {
    if context.run.paused {
        return follows;
    }
    let images = image::ready(&aws.ecr, context, task).await;
    let secrets = around.versions.ready(context, task).await;
    side_by_side([follows, images, secrets].map(std::future::ready)).await?;
    Ok(())
}

/// The image of a service whose spec names none: the newest of the repository that it follows, or what CI deployed.
async fn image(
    aws: &Aws,
    task: &Task<'_>,
    newest: Option<&follow::Newest>,
    found: Option<&EcsService>,
) -> Result<Option<String>> {
    match (newest, found) {
        (Some(newest), _) => Ok(newest.image.clone()),
        (None, Some(found)) => task_definition::deployed(&aws.ecs, task, found.task_definition()).await,
        (None, None) => Ok(None),
    }
}

/// The newest image for a service that follows a repository.
async fn newest(
    aws: &Aws,
    context: &Context,
    around: &Around,
    task: &Task<'_>,
    service: &Service,
    found: Option<&EcsService>,
) -> Result<Option<follow::Newest>> {
    let Some(followed) = service.image.followed() else { return Ok(None) };
    follow::newest(&aws.ecs, context, &around.images, task, followed, found).await.map(Some)
}

async fn plan(aws: &Aws, context: &Context) -> Result<Answer> {
    let mut answer = Answer::default();
    if context.is_first_batch() {
        answer = delete_dropped(aws, context).await?;
    }
    let around = Around::look(aws, context).await?;
    let services = context.services();
    let planned =
        side_by_side(services.map(|(key, service)| plan_one(aws, context, &around, key, service))).await?;
    let (of_services, notes): (Vec<_>, Vec<_>) = planned.into_iter().unzip();
    answer.changes.extend(of_services.into_iter().flatten());
    answer.notes.extend(notes.into_iter().flatten());
    Ok(answer)
}

async fn plan_one(
    aws: &Aws,
    context: &Context,
    around: &Around,
    key: &str,
    service: &Service,
) -> Result<(Vec<Change>, Option<String>)> {
    let task = Task::of_service(key, service);
    let found = service::find(&aws.ecs, context, key, service).await?;
    let newest = newest(aws, context, around, &task, service, found.as_ref()).await?;
    let note = newest.as_ref().and_then(|newest| newest.note(&task));
    let image = image(aws, &task, newest.as_ref(), found.as_ref()).await?;
    let task = task.with_image(image.as_deref());
    let runs = found.as_ref().and_then(|found| found.task_definition());
    let definition = task_definition::wanted(context, &task)?;
    let (of_definition, revision) = task_definition::plan(&aws.ecs, context, &definition, runs).await?;
    let group = log_group::wanted(context, &task)?;
    let of_group = log_group::plan(&aws.logs, context, &group).await?;
    let (of_name, registry) = discovery::plan(&aws.cloud_map, context, &around.names, key).await?;
    let secrets = around.versions.told(&task).filter(|_| !context.run.paused);
    let wanted = service::wanted(context, key, service, &revision.arn, registry, secrets)?;
    let of_service = service::plan(found.as_ref(), &wanted, newest.as_ref());
    let of_scale = scale::plan(&aws.scaling, context, &around.targets, key, service).await?;
    let changes = [of_definition, of_group, of_name, of_service, of_scale].into_iter().flatten().collect();
    Ok((changes, note))
}

async fn prune(aws: &Aws, context: &Context) -> Result<Answer> {
    delete_dropped(aws, context).await
}

/// Deletes our services that the spec doesn't mention, what makes them scale before them, their names, and the
/// revisions nothing uses any more after them, and drops their log groups; in a plan only names them.
async fn delete_dropped(aws: &Aws, context: &Context) -> Result<Answer> {
    let ours = service::ours(&aws.ecs, context).await?;
    let runs = service::revisions(&ours);
    // Of an environment that goes no network is known, and no service stays.
    if context.operation == Operation::Prune && context.outputs.network.is_some() {
        service::leave_groups(&aws.ecs, context, &ours).await?;
    }
    let dropped = service::dropped(context, ours);
    let mut changes = scale::delete_dropped(&aws.scaling, context, &dropped).await?;
    changes.extend(service::delete_dropped(&aws.ecs, context, &dropped).await?);
    changes.extend(discovery::delete_dropped(&aws.cloud_map, context).await?);
    let old = task_definition::old(&aws.ecs, context, Kind::Service, &runs).await?;
    let named: BTreeSet<String> = old.iter().filter_map(|old| old.log_group.clone()).collect();
    let (of_groups, left) = log_group::drop_unused(&aws.logs, context, Kind::Service, named).await?;
    changes.extend(of_groups);
    changes.extend(task_definition::delete_dropped(&aws.ecs, context, old).await?);
    Ok(Answer::changed(changes).leaving(left))
}

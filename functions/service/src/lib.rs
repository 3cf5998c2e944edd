//! The step `service`: log groups, task definitions and ECS services.
//!
//! Ours is what carries the owner's tags; everything here has them from the call that creates it on.
//! Log groups and task definitions are as for jobs, see the crate `task`.
//!
//! A service waits for its image and for the values of the secrets it reads before it is created: no
//! task is started that must fail.

mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecr::Client as Ecr;
use aws_sdk_ecs::Client as Ecs;
use aws_sdk_secretsmanager::Client as Secrets;
use spec::Service;
use step::{Answer, Change, Context, Operation, Result, side_by_side};
use task::{Kind, Task, image, log_group, secret, task_definition};

/// How the step calls AWS.
#[derive(Debug, Clone)]
struct Aws {
    ecs: Ecs,
    ecr: Ecr,
    logs: Logs,
    secrets: Secrets,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let aws = Aws {
        ecs: Ecs::new(&context.aws),
        ecr: Ecr::new(&context.aws),
        logs: Logs::new(&context.aws),
        secrets: Secrets::new(&context.aws),
    };
    match context.operation {
        Operation::Plan => plan(&aws, &context).await,
        Operation::Ensure => ensure(&aws, &context).await,
        Operation::Prune => prune(&aws, &context).await,
    }
}

async fn ensure(aws: &Aws, context: &Context) -> Result<Answer> {
    side_by_side(context.services().map(|(key, service)| ensure_one(aws, context, key, service))).await?;
    Ok(Answer::default())
}

async fn ensure_one(aws: &Aws, context: &Context, key: &str, service: &Service) -> Result<()> {
    let task = Task::of_service(key, service);
    let definition = task_definition::wanted(context, &task)?;
    let revision = task_definition::ensure(&aws.ecs, context, &definition).await?;
    log_group::ensure(&aws.logs, context, &log_group::wanted(context, &task)?).await?;
    image::ready(&aws.ecr, context, &task).await?;
    secret::ready(&aws.secrets, context, &task).await?;
    service::ensure(&aws.ecs, context, &service::wanted(context, key, service, &revision.arn)?).await
}

async fn plan(aws: &Aws, context: &Context) -> Result<Answer> {
    let mut changes = Vec::new();
    if context.is_first_batch() {
        changes.extend(delete_dropped(aws, context).await?);
    }
    let planned =
        side_by_side(context.services().map(|(key, service)| plan_one(aws, context, key, service))).await?;
    changes.extend(planned.into_iter().flatten());
    Ok(Answer::changed(changes))
}

async fn plan_one(aws: &Aws, context: &Context, key: &str, service: &Service) -> Result<Vec<Change>> {
    let task = Task::of_service(key, service);
    let definition = task_definition::wanted(context, &task)?;
    let (of_definition, revision) = task_definition::plan(&aws.ecs, context, &definition).await?;
    let group = log_group::wanted(context, &task)?;
    let of_group = log_group::plan(&aws.logs, context, &group).await?;
    let wanted = service::wanted(context, key, service, &revision.arn)?;
    let of_service = service::plan(&aws.ecs, context, &wanted).await?;
    Ok([of_definition, of_group, of_service].into_iter().flatten().collect())
}

async fn prune(aws: &Aws, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(aws, context).await?))
}

/// Deletes our services that the spec doesn't mention, their log groups, and the revisions nothing
/// uses any more; in a plan only names them.
async fn delete_dropped(aws: &Aws, context: &Context) -> Result<Vec<Change>> {
    let mut changes = service::delete_dropped(&aws.ecs, context).await?;
    let old = task_definition::old(&aws.ecs, context, Kind::Service).await?;
    let named: BTreeSet<String> = old.iter().filter_map(|old| old.log_group.clone()).collect();
    changes.extend(log_group::delete_dropped(&aws.logs, context, Kind::Service, named).await?);
    changes.extend(task_definition::delete_dropped(&aws.ecs, context, old).await?);
    Ok(changes)
}

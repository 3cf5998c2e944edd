//! The step `job`: task definitions and log groups of jobs, and the tasks that run them once.
//!
//! Ours is what carries the owner's tags; everything here has them from the call that creates it on. Task
//! definitions and log groups are as for services, see the crate `task`.
//!
//! ECS describes a stopped task for about an hour. That a job has run is therefore a tag on its revision
//! of the task definition, `plinth:completed`, whose value says what it ran for: `done`, or the revisions
//! of the services that it comes after. A task says by tags what it runs for and which run started it: a
//! run doesn't start a job again that failed in it, the next one does.

mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use aws_sdk_cloudwatchlogs::Client as Logs;
use aws_sdk_ecr::Client as Ecr;
use aws_sdk_ecs::Client as Ecs;
use aws_sdk_secretsmanager::Client as Secrets;
use spec::{Job, When};
use step::{Answer, Change, Context, Operation, Result, UNKNOWN, side_by_side};
use task::{Kind, Task, ask, image, log_group, secret, task_definition};

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
    let ensured = side_by_side(context.jobs().map(|(key, job)| ensure_one(aws, context, key, job))).await;
    ask::all(&aws.ecr, &aws.secrets, context, ensured).await?;
    Ok(Answer::default())
}

async fn ensure_one(aws: &Aws, context: &Context, key: &str, job: &Job) -> Result<()> {
    let task = Task::of_job(key, job);
    let definition = task_definition::wanted(context, &task)?;
    let revision = task_definition::ensure(&aws.ecs, context, &definition, None).await?;
    log_group::ensure(&aws.logs, context, &log_group::wanted(context, &task)?).await?;
    if job.when == When::Manual || context.run.paused {
        return Ok(());
    }
    let purpose = run::purpose(&aws.ecs, context, key, job).await?;
    if revision.tags.get(run::COMPLETED) == Some(&purpose) {
        return Ok(());
    }
    let images = image::ready(&aws.ecr, context, &task).await;
    let secrets = secret::ready(&aws.secrets, context, &task).await;
    side_by_side([images, secrets].map(std::future::ready)).await?;
    run::ensure(aws, context, &run::wanted(context, key, job, &revision.arn, &purpose)?).await
}

async fn plan(aws: &Aws, context: &Context) -> Result<Answer> {
    let mut answer = Answer::default();
    if context.is_first_batch_of_jobs() {
        answer = delete_dropped(aws, context).await?;
    }
    let planned = side_by_side(context.jobs().map(|(key, job)| plan_one(aws, context, key, job))).await?;
    answer.changes.extend(planned.into_iter().flatten());
    Ok(answer)
}

async fn plan_one(aws: &Aws, context: &Context, key: &str, job: &Job) -> Result<Vec<Change>> {
    let task = Task::of_job(key, job);
    let definition = task_definition::wanted(context, &task)?;
    let (of_definition, revision) = task_definition::plan(&aws.ecs, context, &definition, None).await?;
    let of_group = log_group::plan(&aws.logs, context, &log_group::wanted(context, &task)?).await?;
    let runs = job.when != When::Manual
        && !context.run.paused
        && (revision.arn == UNKNOWN
            || revision.tags.get(run::COMPLETED) != Some(&run::planned_purpose(aws, context, job).await?));
    let image = context.render(&job.image)?;
    let of_run = runs.then(|| Change::create(task.address()).with("runs", image));
    Ok([of_definition, of_group, of_run].into_iter().flatten().collect())
}

async fn prune(aws: &Aws, context: &Context) -> Result<Answer> {
    delete_dropped(aws, context).await
}

/// Stops the tasks of jobs that the spec doesn't mention, drops their log groups, and deletes the revisions
/// nothing uses any more; in a plan only names them.
async fn delete_dropped(aws: &Aws, context: &Context) -> Result<Answer> {
    let old = task_definition::old(&aws.ecs, context, Kind::Job, &BTreeSet::new()).await?;
    let mut changes = run::stop_dropped(&aws.ecs, context, &old).await?;
    let named: BTreeSet<String> = old.iter().filter_map(|old| old.log_group.clone()).collect();
    let (of_groups, left) = log_group::drop_unused(&aws.logs, context, Kind::Job, named).await?;
    changes.extend(of_groups);
    changes.extend(task_definition::delete_dropped(&aws.ecs, context, old).await?);
    Ok(Answer::changed(changes).leaving(left))
}

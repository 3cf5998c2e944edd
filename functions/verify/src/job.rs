//! Whether jobs have run to their end.

use aws_sdk_ecs::Client;
use spec::{Job, When};
use step::{Context, Error, Result};
use task::{Task, task_definition};

/// The tag on a revision that says that it has run to its end; see `functions/job`.
const COMPLETED: &str = "plinth:completed";

/// Fails the run if a job's revision hasn't run to its end. One that is run by hand may wait for it.
pub(crate) async fn completed(ecs: &Client, context: &Context, key: &str, job: &Job) -> Result<()> {
    if job.when == When::Manual {
        return Ok(());
    }
    let wanted = task_definition::wanted(context, &Task::of_job(key, job))?;
    let what = match task_definition::registered(ecs, context, &wanted, None).await? {
        Some(revision) if revision.tags.contains_key(COMPLETED) => return Ok(()),
        Some(revision) => {
            format!("{} hasn't run to its end", revision.arn.rsplit('/').next().unwrap_or_default())
        }
        None => "its task definition isn't there any more".to_owned(),
    };
    Err(Error::Failed(format!("verifying jobs.{key}: {what}; start the run again")))
}

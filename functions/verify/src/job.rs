//! Whether jobs have run to their end.

use aws_sdk_ecs::Client;
use spec::{Job, When};
use step::{Context, Error, Result};

use crate::revision::{newest, told};

/// The tag on a revision that says that it has run to its end; see `functions/job`.
const COMPLETED: &str = "plinth:completed";

/// Fails the run if a job's newest revision hasn't run to its end. One that is run by hand may wait for it.
pub(crate) async fn completed(ecs: &Client, context: &Context, key: &str, job: &Job) -> Result<()> {
    if job.when == When::Manual {
        return Ok(());
    }
    let newest = newest(ecs, context, &Context::job_word(key)).await?;
    let what = match newest {
        Some(newest) if newest.tags.contains_key(COMPLETED) => return Ok(()),
        Some(newest) => format!("{} hasn't run to its end", told(&newest.arn)),
        None => "its task definition isn't there any more".to_owned(),
    };
    Err(Error::Failed(format!("verifying jobs.{key}: {what}; start the run again")))
}

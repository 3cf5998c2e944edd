//! Whether the run may go on: what steps refused in their plans, told at once.

use aws_sdk_s3::{Client, operation::list_objects_v2::ListObjectsV2Output, types::Object};
use step::{Answer, Context, Doing, Error, Progress, Result, read_if_there, side_by_side};

/// Fails if any step's plan said why this run must not go on: with what the user must change in the spec, or for an
/// environment that is taken away with what stands in the way.
pub(crate) async fn none(context: &Context) -> Result<Answer> {
    let s3 = Client::new(&context.home);
    let refused = refused(&plans(&s3, context).await?);
    if refused.is_empty() {
        return Ok(Answer::default());
    }
    let told = refused.join("; ");
    Err(if context.run.teardown { Error::Conflict(told) } else { Error::InvalidSpec(told) })
}

/// Each refusal once, in the order of the addresses they begin with.
fn refused(plans: &[Progress]) -> Vec<String> {
    let mut refused: Vec<String> = plans.iter().flat_map(|plan| plan.refused.clone()).collect();
    refused.sort();
    refused.dedup();
    refused
}

/// How far the plans of this run's steps are.
async fn plans(s3: &Client, context: &Context) -> Result<Vec<Progress>> {
    let (bucket, prefix) = (&context.run.spec.bucket, format!("{}steps/plan-", context.run.prefix()));
    let pages = s3.list_objects_v2().bucket(bucket).prefix(&prefix).into_paginator().send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let pages = pages.doing(|| format!("listing s3://{bucket}/{prefix}"))?;
    let objects = pages.iter().flat_map(ListObjectsV2Output::contents);
    let keys: Vec<&str> = objects.filter_map(Object::key).collect();
    let read = keys.into_iter().map(|key| read_if_there::<Progress>(s3, bucket, key));
    Ok(side_by_side(read).await?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use step::Operation;

    use super::*;

    #[test]
    fn what_several_steps_refuse_is_told_at_once() {
        let plan = |state: &str, refused: &[&str]| Progress {
            refused: refused.iter().map(|&reason| reason.to_owned()).collect(),
            ..Progress::begin(Operation::Plan, state)
        };
        let plans = [
            plan("Database", &["databases.main: …"]),
            plan("Bucket", &["buckets.store: …"]),
            plan("Key", &[]),
        ];
        assert_eq!(refused(&plans), ["buckets.store: …", "databases.main: …"]);
    }
}

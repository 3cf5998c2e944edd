//! The newest revision of a family of task definitions.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata,
    types::{Tag, TaskDefinitionField},
};
use step::{Context, Doing, Result};

/// A revision: its ARN and its tags.
pub(crate) struct Revision {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
}

/// The newest active revision of the family that a run registers; `word` is a service's key, or a job's
/// [`Context::job_word`].
pub(crate) async fn newest(ecs: &Client, context: &Context, word: &str) -> Result<Option<Revision>> {
    let family = context.name(None, word, 255);
    let describe = ecs.describe_task_definition().task_definition(&family).include(TaskDefinitionField::Tags);
    let described = describe.send().await;
    // An absent one is a `ClientException` like others: what it says tells.
    let message = described.as_ref().err().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    if message.contains("Unable to describe task definition") {
        return Ok(None);
    }
    let described = described.doing(|| format!("describing task definition ({family})"))?;
    let tags = described.tags().iter().filter_map(pair).collect();
    let arn = described.task_definition.and_then(|definition| definition.task_definition_arn);
    Ok(arn.map(|arn| Revision { arn, tags }))
}

pub(crate) fn pair(tag: &Tag) -> Option<(String, String)> {
    Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
}

/// A revision as people call it: `demo-app:3`.
pub(crate) fn told(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

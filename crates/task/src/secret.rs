//! Whether the secrets that tasks read have a value, and which version of it. The value itself is never asked for.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::{Client, operation::describe_secret::DescribeSecretOutput};
use spec::{Reference, Section, Text};
use step::{Context, Doing, Error, Pace, Result, UNKNOWN, digits, side_by_side};

use crate::Task;

/// The stage of the version that ECS reads.
const CURRENT: &str = "AWSCURRENT";

/// The most characters of a tag's value.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html>
const TAG_LIMIT: usize = 256;

/// The versions of secrets, by key; none of one that has no value.
#[derive(Debug, Default)]
pub struct Versions(BTreeMap<String, Option<String>>);

impl Versions {
    /// Looks at the secrets that these tasks read, each once.
    pub async fn look<'a>(
        secrets: &Client,
        context: &Context,
        tasks: impl Iterator<Item = Task<'a>>,
    ) -> Result<Self> {
        let keys: BTreeSet<String> = tasks.flat_map(|task| read(&task)).collect();
        let one = async |key: String| Ok((key.clone(), version(secrets, context, &key).await?));
        Ok(Self(side_by_side(keys.into_iter().map(one)).await?.into_iter().collect()))
    }

    /// Waits for the secrets of a task that have yet to be filled by hand: ECS can't start a task without them.
    pub async fn ready(&self, context: &Context, task: &Task<'_>) -> Result<()> {
        let lacking = read(task).into_iter().filter(|key| self.0.get(key).is_none_or(Option::is_none));
        side_by_side(lacking.map(|key| std::future::ready(Err::<(), _>(asking(context, &key))))).await?;
        Ok(())
    }

    /// The versions that a task reads, as a tag's value: `db:1f0c22ab key:90aa01de`; none if it reads no secret.
    pub fn told(&self, task: &Task<'_>) -> Option<String> {
        let pairs = read(task).into_iter().map(|key| {
            let version = self.0.get(&key).and_then(Option::as_deref).unwrap_or(UNKNOWN);
            let version = if version == UNKNOWN { UNKNOWN.to_owned() } else { digits(version, 8) };
            format!("{key}:{version}")
        });
        let whole = pairs.collect::<Vec<_>>().join(" ");
        let fits = whole.len() <= TAG_LIMIT;
        (!whole.is_empty()).then(|| if fits { whole } else { digits(&whole, 64) })
    }
}

/// Waits for the secrets of one task.
pub async fn ready(secrets: &Client, context: &Context, task: &Task<'_>) -> Result<()> {
    Versions::look(secrets, context, std::iter::once(*task)).await?.ready(context, task).await
}

/// The keys of the secrets that a task reads.
fn read(task: &Task<'_>) -> BTreeSet<String> {
    let whole =
        task.containers().flat_map(|container| container.environment.values()).filter_map(Text::whole);
    whole
        .filter(|reference| reference.section == Section::Secrets)
        .filter_map(|reference: &Reference| reference.name.clone())
        .collect()
}

/// The version that ECS reads; in a plan [`UNKNOWN`] of one that is to get another value.
async fn version(secrets: &Client, context: &Context, key: &str) -> Result<Option<String>> {
    let address = format!("secrets.{key}");
    let output = context.known(context.outputs.secrets.get(key), &address)?;
    if output.renewed || output.arn == UNKNOWN {
        return Ok(Some(UNKNOWN.to_owned()));
    }
    let described = secrets.describe_secret().secret_id(&output.arn).send().await;
    Ok(current(&described.doing(|| format!("describing secret ({address})"))?))
}

fn current(secret: &DescribeSecretOutput) -> Option<String> {
    let versions = secret.version_ids_to_stages()?;
    let current = versions.iter().find(|(_, stages)| stages.iter().any(|stage| stage == CURRENT));
    current.or_else(|| versions.iter().next()).map(|(id, _)| id.clone())
}

fn asking(context: &Context, key: &str) -> Error {
    let environment = &context.run.environment;
    Error::asking(Pace::Later, format!("secrets.{key} has no value: plinth secret set {environment} {key}"))
}

//! Whether the secrets that a task's containers read have a value. The value itself is never asked for.

use std::collections::BTreeSet;

use aws_sdk_secretsmanager::Client;
use spec::{Reference, Section, Text};
use step::{Context, Doing, Error, Pace, Result, side_by_side};

use crate::Task;

/// Waits for secrets that have yet to be filled by hand: ECS can't start a task without them.
pub async fn ready(secrets: &Client, context: &Context, task: &Task<'_>) -> Result<()> {
    let whole =
        task.containers().flat_map(|container| container.environment.values()).filter_map(Text::whole);
    let names: BTreeSet<&String> = whole
        .filter(|reference| reference.section == Section::Secrets)
        .filter_map(|reference: &Reference| reference.name.as_ref())
        .collect();
    side_by_side(names.into_iter().map(|name| has_value(secrets, context, name))).await?;
    Ok(())
}

async fn has_value(secrets: &Client, context: &Context, name: &str) -> Result<()> {
    let address = format!("secrets.{name}");
    let output = context.known(context.outputs.secrets.get(name), &address)?;
    let described = secrets.describe_secret().secret_id(&output.arn).send().await;
    let described = described.doing(|| format!("describing secret ({address})"))?;
    if described.version_ids_to_stages().is_some_and(|versions| !versions.is_empty()) {
        return Ok(());
    }
    let environment = &context.run.environment;
    Err(Error::asking(Pace::Later, format!("{address} has no value: plinth secret set {environment} {name}")))
}

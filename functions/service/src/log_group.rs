//! Log groups in CloudWatch Logs. Services may share one; it is then the first one's.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatchlogs::{Client, types::LogGroup};
use spec::{Duration, Service};
use step::{Change, Context, Doing, Field, Operation, Result, compare, missing_tags};

/// How long lines are kept where the spec doesn't say.
const RETENTION: Duration = Duration::days(30);

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    name: String,
    /// In days.
    retention: i32,
    tags: BTreeMap<String, String>,
}

pub(crate) fn wanted(context: &Context, key: &str, service: &Service) -> Wanted {
    let name = context.log_group(key, service);
    let mut services = context.spec.services.iter();
    let first = services.find(|(key, service)| context.log_group(key, service) == name);
    let (key, service) = first.map_or((key, service), |(key, service)| (key.as_str(), service));
    let own = service.logs.as_ref().and_then(|logs| logs.retention);
    let retention = own.or(context.spec.logs.retention).unwrap_or(RETENTION);
    let address = format!("services.{key}.logs");
    Wanted {
        name,
        retention: retention.whole_days().and_then(|days| i32::try_from(days).ok()).unwrap_or_default(),
        tags: context.tags(&address),
        address,
    }
}

/// A log group with its tags.
struct Found {
    aws: LogGroup,
    tags: BTreeMap<String, String>,
}

pub(crate) async fn ensure(logs: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let retention = match find(logs, context, wanted).await? {
        None => {
            create(logs, wanted).await?;
            None
        }
        Some(found) => {
            retag(logs, &found, wanted).await?;
            found.aws.retention_in_days
        }
    };
    if retention != Some(wanted.retention) {
        let put = logs.put_retention_policy().log_group_name(&wanted.name);
        let put = put.retention_in_days(wanted.retention).send().await;
        put.doing(|| format!("setting the retention of log group ({})", wanted.name))?;
    }
    Ok(())
}

pub(crate) async fn plan(logs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
    Ok(match find(logs, context, wanted).await? {
        None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
        Some(found) => Change::update(&wanted.address, difference(&found, wanted)),
    })
}

async fn find(logs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let found = describe(logs, &wanted.name).await?;
    if let Some(found) = &found {
        context.owner().check(&format!("log group ({})", wanted.name), &found.tags)?;
    }
    Ok(found)
}

async fn describe(logs: &Client, name: &str) -> Result<Option<Found>> {
    let pages = logs.describe_log_groups().log_group_name_prefix(name).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| format!("describing log group ({name})"))?;
    let Some(aws) = all.into_iter().find(|group| group.log_group_name() == Some(name)) else {
        return Ok(None);
    };
    // `arn` ends in `:*`, which the tags' calls don't take.
    let arn = aws.arn().unwrap_or_default().trim_end_matches(":*");
    let listed = logs.list_tags_for_resource().resource_arn(arn).send().await;
    let listed = listed.unless_absent(&["ResourceNotFoundException"], || {
        format!("reading the tags of log group ({name})")
    })?;
    let tags = listed.and_then(|answer| answer.tags).unwrap_or_default().into_iter().collect();
    Ok(Some(Found { aws, tags }))
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let retention = found.aws.retention_in_days().map_or("forever".to_owned(), |days| format!("{days}d"));
    compare("retention", retention, format!("{}d", wanted.retention))
        .into_iter()
        .chain(missing_tags(&found.tags, &wanted.tags))
        .collect()
}

/// Of services that share a group each may be the one to make it.
async fn create(logs: &Client, wanted: &Wanted) -> Result<()> {
    let tags = wanted.tags.clone().into_iter().collect();
    let created = logs.create_log_group().log_group_name(&wanted.name).set_tags(Some(tags)).send().await;
    created.unless_absent(&["ResourceAlreadyExistsException"], || {
        format!("creating log group ({})", wanted.name)
    })?;
    Ok(())
}

async fn retag(logs: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    if missing_tags(&found.tags, &wanted.tags).is_empty() {
        return Ok(());
    }
    let arn = found.aws.arn().unwrap_or_default().trim_end_matches(":*");
    let tags = wanted.tags.clone().into_iter().collect();
    let put = logs.tag_resource().resource_arn(arn).set_tags(Some(tags)).send().await;
    put.doing(|| format!("tagging log group ({})", wanted.name))?;
    Ok(())
}

/// Deletes those of the named groups that are ours and that no service of the spec writes to.
pub(crate) async fn delete_dropped(
    logs: &Client,
    context: &Context,
    mut named: BTreeSet<String>,
) -> Result<Vec<Change>> {
    for (key, service) in &context.spec.services {
        named.remove(&context.log_group(key, service));
    }
    let mut changes = Vec::new();
    for name in named {
        let Some(found) = describe(logs, &name).await? else { continue };
        let owner = context.owner();
        let Some(address) = owner.address(&found.tags) else { continue };
        changes.push(Change::delete(address).with("name", &name));
        if context.operation == Operation::Prune {
            delete(logs, &name).await?;
        }
    }
    Ok(changes)
}

async fn delete(logs: &Client, name: &str) -> Result<()> {
    let deleted = logs.delete_log_group().log_group_name(name).send().await;
    deleted.gone(&["ResourceNotFoundException"], &["OperationAbortedException"], || {
        format!("deleting log group ({name})")
    })
}

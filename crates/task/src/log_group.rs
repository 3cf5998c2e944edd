//! Log groups in CloudWatch Logs. Services and jobs may share one; it is then the first one's, a service's
//! if there is one.
//!
//! A log group outlives what wrote to it, so that its lines can be read for as long as its retention: it is tagged with
//! the time at which it was dropped, and deleted by a run that comes when that is over. A service or job that comes
//! back takes it up again.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatchlogs::{Client, types::LogGroup};
use spec::Duration;
use step::{
    Change, Context, DROPPED, Doing, Field, Left, LeftKind, Operation, Result, compare, compare_key,
    dropped_at, dropped_now, is_over, missing_tags,
};

use crate::{Kind, Task};

/// How long lines are kept where the spec doesn't say.
const RETENTION: Duration = Duration::days(30);

/// What the spec asks for.
pub struct Wanted {
    address: String,
    name: String,
    /// In days.
    retention: i32,
    /// The ARN of the key it is encrypted with; none for CloudWatch's own.
    encryption: Option<String>,
    tags: BTreeMap<String, String>,
}

/// What the spec asks for, of the task's log group.
pub fn wanted(context: &Context, task: &Task<'_>) -> Result<Wanted> {
    let name = task.log_group(context);
    let first = all(context).into_iter().find(|other| other.log_group(context) == name).unwrap_or(*task);
    let own = first.logs.and_then(|logs| logs.retention);
    let retention = own.or(context.spec.logs.retention).unwrap_or(RETENTION);
    let address = format!("{}.logs", first.address());
    Ok(Wanted {
        name,
        retention: retention.whole_days().and_then(|days| i32::try_from(days).ok()).unwrap_or_default(),
        encryption: context.key_arn()?.cloned(),
        tags: context.tags(&address),
        address,
    })
}

/// What may write to a log group: services before jobs.
fn all(context: &Context) -> Vec<Task<'_>> {
    [Kind::Service, Kind::Job].into_iter().flat_map(|kind| kind.tasks(&context.spec)).collect()
}

/// A log group with its tags.
struct Found {
    aws: LogGroup,
    tags: BTreeMap<String, String>,
}

/// Makes the log group be what the spec says.
pub async fn ensure(logs: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let retention = match find(logs, context, wanted).await? {
        None => {
            create(logs, wanted).await?;
            None
        }
        Some(found) => {
            encrypt(logs, &found, wanted).await?;
            retag(logs, &found, &tags_of(&found, wanted)).await?;
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

/// What `ensure` would change.
pub async fn plan(logs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
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
        .chain(compare_key(found.aws.kms_key_id(), wanted.encryption.as_ref()))
        .chain(missing_tags(&found.tags, &tags_of(found, wanted)))
        .collect()
}

/// The tags that a log group is to have: one that was dropped is taken up again.
fn tags_of(found: &Found, wanted: &Wanted) -> BTreeMap<String, String> {
    let mut tags = wanted.tags.clone();
    if found.tags.contains_key(DROPPED) {
        tags.insert(DROPPED.to_owned(), "false".to_owned());
    }
    tags
}

/// Of those that share a group each may be the one to make it.
async fn create(logs: &Client, wanted: &Wanted) -> Result<()> {
    let tags = wanted.tags.clone().into_iter().collect();
    let create = logs.create_log_group().log_group_name(&wanted.name).set_tags(Some(tags));
    let created = create.set_kms_key_id(wanted.encryption.clone()).send().await;
    created.unless_absent(&["ResourceAlreadyExistsException"], || {
        format!("creating log group ({})", wanted.name)
    })?;
    Ok(())
}

/// Puts right what encrypts lines from now on.
async fn encrypt(logs: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    if compare_key(found.aws.kms_key_id(), wanted.encryption.as_ref()).is_none() {
        return Ok(());
    }
    let doing = || format!("changing the key of log group ({})", wanted.name);
    if let Some(arn) = &wanted.encryption {
        let put = logs.associate_kms_key().log_group_name(&wanted.name).kms_key_id(arn).send().await;
        put.doing(doing)?;
    } else {
        logs.disassociate_kms_key().log_group_name(&wanted.name).send().await.doing(doing)?;
    }
    Ok(())
}

async fn retag(logs: &Client, found: &Found, tags: &BTreeMap<String, String>) -> Result<()> {
    if missing_tags(&found.tags, tags).is_empty() {
        return Ok(());
    }
    let arn = found.aws.arn().unwrap_or_default().trim_end_matches(":*");
    let tags = tags.clone().into_iter().collect();
    let put = logs.tag_resource().resource_arn(arn).set_tags(Some(tags)).send().await;
    put.doing(|| format!("tagging log group ({})", found.aws.log_group_name().unwrap_or_default()))?;
    Ok(())
}

/// Drops those of this kind's groups, of the named ones and of those dropped before, that nothing of the spec writes to:
/// notes when that was, and deletes them once their retention has passed since. In a plan only names them. Answers
/// what is deleted, and what stays.
pub async fn drop_unused(
    logs: &Client,
    context: &Context,
    kind: Kind,
    mut named: BTreeSet<String>,
) -> Result<(Vec<Change>, Vec<Left>)> {
    named.extend(listed(logs, context).await?);
    for task in all(context) {
        named.remove(&task.log_group(context));
    }
    let (mut changes, mut left) = (Vec::new(), Vec::new());
    for name in named {
        let Some(found) = describe(logs, &name).await? else { continue };
        let owner = context.owner();
        let address = owner.address(&found.tags).filter(|address| kind.owns(address));
        let Some(address) = address else { continue };
        let pruning = context.operation == Operation::Prune;
        if is_over(&found.tags, found.aws.retention_in_days) {
            changes.push(Change::delete(address).with("name", &name));
            if pruning {
                delete(logs, &name).await?;
            }
            continue;
        }
        if pruning && dropped_at(&found.tags).is_none() {
            retag(logs, &found, &dropped_now()).await?;
        }
        let days = found.aws.retention_in_days.and_then(|days| u64::try_from(days).ok());
        left.push(Left { address: address.to_owned(), kind: LeftKind::Logs, name, days });
    }
    Ok((changes, left))
}

/// The names of the log groups that are called after the environment.
async fn listed(logs: &Client, context: &Context) -> Result<Vec<String>> {
    let prefix = format!("/plinth/{}/", context.run.environment);
    let pages = logs.describe_log_groups().log_group_name_prefix(&prefix).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| format!("describing log groups ({prefix})"))?;
    Ok(all.into_iter().filter_map(|group| group.log_group_name).collect())
}

async fn delete(logs: &Client, name: &str) -> Result<()> {
    let deleted = logs.delete_log_group().log_group_name(name).send().await;
    deleted.gone(&["ResourceNotFoundException"], &["OperationAbortedException"], || {
        format!("deleting log group ({name})")
    })
}

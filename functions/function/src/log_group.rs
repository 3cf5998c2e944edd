//! The log group of a function: `/aws/lambda/<name>`, made before the function, which may only write to it. It outlives
//! the function by its retention, as those of services do theirs: see the crate `task`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatchlogs::{Client, types::LogGroup};
use spec::Duration;
use step::{
    Change, Context, DROPPED, Doing, Error, Field, Left, LeftKind, Operation, Result, compare, compare_key,
    dropped_at, dropped_now, is_over, missing_tags, side_by_side,
};

/// How long lines are kept where the spec doesn't say.
const RETENTION: Duration = Duration::days(30);

/// What the names of Lambda's log groups begin with.
const PREFIX: &str = "/aws/lambda/";

/// What CloudWatch Logs answers for what isn't there.
const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    name: String,
    /// In days.
    retention: i32,
    /// The ARN of the key it is encrypted with; none for CloudWatch's own.
    encryption: Option<String>,
    tags: BTreeMap<String, String>,
}

pub(crate) fn wanted(context: &Context, function: &str, name: &str) -> Result<Wanted> {
    let retention = context.spec.logs.retention.unwrap_or(RETENTION);
    let address = format!("{function}.logs");
    Ok(Wanted {
        name: format!("{PREFIX}{name}"),
        retention: retention.whole_days().and_then(|days| i32::try_from(days).ok()).unwrap_or_default(),
        encryption: context.key_arn()?.cloned(),
        tags: context.tags(&address),
        address,
    })
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
            encrypt(logs, &found, wanted).await?;
            let tags = tags_of(&found, wanted);
            if !missing_tags(&found.tags, &tags).is_empty() {
                retag(logs, &found.aws, tags).await?;
            }
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
    let name = &wanted.name;
    let group = listed(logs, name).await?.into_iter().find(|group| group.log_group_name() == Some(name));
    let Some(aws) = group else { return Ok(None) };
    let tags = tags(logs, &aws).await?;
    context.owner().check(&format!("log group ({name})"), &tags)?;
    Ok(Some(Found { aws, tags }))
}

/// The log groups whose names begin so.
async fn listed(logs: &Client, prefix: &str) -> Result<Vec<LogGroup>> {
    let pages = logs.describe_log_groups().log_group_name_prefix(prefix).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    all.doing(|| format!("describing log groups ({prefix})"))
}

async fn tags(logs: &Client, group: &LogGroup) -> Result<BTreeMap<String, String>> {
    let listed = logs.list_tags_for_resource().resource_arn(arn(group)).send().await;
    let listed = listed.unless_absent(&ABSENT, || {
        format!("reading the tags of log group ({})", group.log_group_name().unwrap_or_default())
    })?;
    Ok(listed.and_then(|answer| answer.tags).unwrap_or_default().into_iter().collect())
}

/// `arn` ends in `:*`, which the tags' calls don't take.
fn arn(group: &LogGroup) -> &str {
    group.arn().unwrap_or_default().trim_end_matches(":*")
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

async fn create(logs: &Client, wanted: &Wanted) -> Result<()> {
    let tags = wanted.tags.clone().into_iter().collect();
    let create = logs.create_log_group().log_group_name(&wanted.name).set_tags(Some(tags));
    let created = create.set_kms_key_id(wanted.encryption.clone()).send().await;
    let doing = || format!("creating log group ({})", wanted.name);
    let created = created.unless_absent(&["ResourceAlreadyExistsException"], doing)?;
    // Whose it is shows in the next pass.
    created.map(|_| ()).ok_or_else(|| Error::soon(format!("log group ({}) isn't seen yet", wanted.name)))
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

async fn retag(logs: &Client, group: &LogGroup, tags: BTreeMap<String, String>) -> Result<()> {
    let put =
        logs.tag_resource().resource_arn(arn(group)).set_tags(Some(tags.into_iter().collect())).send().await;
    put.doing(|| format!("tagging log group ({})", group.log_group_name().unwrap_or_default()))?;
    Ok(())
}

/// What becomes of a log group that no function of the spec writes to.
pub(crate) enum Unused {
    /// It is deleted: its retention has passed.
    Deleted(Change),
    /// It stays until then.
    Left(Left),
}

/// Drops our log groups but those of the functions that are `skipped`: notes when that was, and deletes them once their
/// retention has passed since. In a plan only names them. A group whose function was never made, or is gone already,
/// has nothing but its tags to be known by.
pub(crate) async fn drop_unused(
    logs: &Client,
    context: &Context,
    skipped: &BTreeSet<String>,
) -> Result<Vec<Unused>> {
    let mut groups = listed(logs, PREFIX).await?;
    groups.retain(|group| {
        let function = group.log_group_name().and_then(|name| name.strip_prefix(PREFIX));
        function.is_some_and(|function| !skipped.contains(function))
    });
    let passes = groups.iter().map(|group| drop_if_ours(logs, context, group));
    Ok(side_by_side(passes).await?.into_iter().flatten().collect())
}

async fn drop_if_ours(logs: &Client, context: &Context, group: &LogGroup) -> Result<Option<Unused>> {
    let name = group.log_group_name().unwrap_or_default();
    let (owner, tags) = (context.owner(), tags(logs, group).await?);
    let Some(address) = owner.address(&tags).filter(|address| address.starts_with(super::SECTION)) else {
        return Ok(None);
    };
    let pruning = context.operation == Operation::Prune;
    if is_over(&tags, group.retention_in_days) {
        if pruning {
            let deleted = logs.delete_log_group().log_group_name(name).send().await;
            deleted
                .gone(&ABSENT, &["OperationAbortedException"], || format!("deleting log group ({name})"))?;
        }
        return Ok(Some(Unused::Deleted(Change::delete(address).with("name", name))));
    }
    if pruning && dropped_at(&tags).is_none() {
        retag(logs, group, dropped_now()).await?;
    }
    let days = group.retention_in_days.and_then(|days| u64::try_from(days).ok());
    let (address, name) = (address.to_owned(), name.to_owned());
    Ok(Some(Unused::Left(Left { address, kind: LeftKind::Logs, name, days })))
}

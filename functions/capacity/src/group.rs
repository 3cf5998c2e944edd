//! The Auto Scaling group, and its instances.
//!
//! How many there are between the least and the most is up to ECS, which also protects those that run tasks
//! from being the first to go. The instances carry no data of their own: the group is deleted with them.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        Activity, AutoScalingGroup, Instance, InstanceRefreshStatus, LaunchTemplateSpecification,
        LifecycleState, RefreshPreferences, RefreshStrategy, ScaleInProtectedInstances,
        ScalingActivityStatusCode, Tag,
    },
};
use aws_sdk_ec2::{Client as Ec2, types::Filter};
use step::{
    ADDRESS, CONTROL_PLANE, Change, Context, Doing, ENVIRONMENT, Error, Field, Pace, Result, compare,
    missing_tags,
};

use crate::{GROUP, Wanted, wait};

/// The version of the launch template that instances are started from.
const VERSION: &str = "$Default";

/// The group, which is there and as the spec says.
pub(crate) async fn ensure(
    auto_scaling: &Client,
    context: &Context,
    wanted: &Wanted<'_>,
) -> Result<AutoScalingGroup> {
    let name = &wanted.name;
    let Some(found) = describe(auto_scaling, name).await? else {
        create(auto_scaling, wanted).await?;
        let found = describe(auto_scaling, name).await?;
        return found.ok_or_else(|| {
            Error::soon(format!("Auto Scaling group ({name}) has been made and isn't seen yet"))
        });
    };
    check(context, &found, name)?;
    if is_deleted(&found) {
        return Err(wait(
            context,
            &format!("Auto Scaling group ({name}) is being deleted before it can be made anew"),
        ));
    }
    if !settings(&found, wanted).is_empty() {
        update(auto_scaling, wanted).await?;
    }
    if !missing_tags(&tags(&found), &wanted.tags).is_empty() {
        let put = auto_scaling.create_or_update_tags().set_tags(Some(tag_list(wanted))).send().await;
        put.doing(|| format!("tagging Auto Scaling group ({name})"))?;
    }
    Ok(found)
}

/// What [`ensure`] and [`refresh`] would change.
pub(crate) async fn change(
    auto_scaling: &Client,
    found: Option<&AutoScalingGroup>,
    version: Option<i64>,
    wanted: &Wanted<'_>,
) -> Result<Option<Change>> {
    let Some(found) = found else {
        let instances = wanted.instances;
        let created = Change::create(GROUP).with("name", &wanted.name).with("type", &instances.kind);
        return Ok(Some(created.with("min", wanted.min).with("max", instances.most())));
    };
    let mut fields = settings(found, wanted);
    fields.extend(missing_tags(&tags(found), &wanted.tags));
    let stale = version.map_or(0, |version| stale(found, version));
    let running = found.instances().iter().filter(|instance| is_here(instance)).count();
    if wanted.paused {
        fields.extend(compare("instances", running, 0));
    } else if stale > 0 && !is_refreshed(auto_scaling, &wanted.name).await? {
        fields.extend(compare("instances of an older template", stale, 0));
    }
    Ok(Change::update(GROUP, fields))
}

/// The group of this name, which must be ours; one that is being deleted is absent.
pub(crate) async fn find(
    auto_scaling: &Client,
    context: &Context,
    name: &str,
) -> Result<Option<AutoScalingGroup>> {
    let found = describe(auto_scaling, name).await?;
    if let Some(found) = &found {
        check(context, found, name)?;
    }
    Ok(found.filter(|found| !is_deleted(found)))
}

fn check(context: &Context, found: &AutoScalingGroup, name: &str) -> Result<()> {
    context.owner().check(&format!("Auto Scaling group ({name})"), &all_tags(found))
}

/// The same to delete it; that of somebody else is let alone.
pub(crate) async fn ours(
    auto_scaling: &Client,
    context: &Context,
    name: &str,
) -> Result<Option<AutoScalingGroup>> {
    let found = describe(auto_scaling, name).await?;
    Ok(found.filter(|found| context.owner().address(&all_tags(found)).is_some()))
}

async fn describe(auto_scaling: &Client, name: &str) -> Result<Option<AutoScalingGroup>> {
    let described = auto_scaling.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await;
    let described = described.doing(|| format!("describing Auto Scaling group ({name})"))?;
    Ok(described.auto_scaling_groups.unwrap_or_default().into_iter().next())
}

/// A group that is on its way out has a status; others have none.
/// Source: <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingGroup.html>
fn is_deleted(found: &AutoScalingGroup) -> bool {
    found.status().is_some()
}

fn all_tags(found: &AutoScalingGroup) -> BTreeMap<String, String> {
    let tag = |tag: &aws_sdk_autoscaling::types::TagDescription| {
        Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
    };
    found.tags().iter().filter_map(tag).collect()
}

/// The tags that instances get too: the others count as missing.
fn tags(found: &AutoScalingGroup) -> BTreeMap<String, String> {
    let mut tags = all_tags(found);
    for tag in found.tags().iter().filter(|tag| tag.propagate_at_launch() != Some(true)) {
        tags.remove(tag.key().unwrap_or_default());
    }
    tags
}

fn tag_list(wanted: &Wanted<'_>) -> Vec<Tag> {
    let tag = |(key, value)| {
        let tag = Tag::builder().resource_id(&wanted.name).resource_type("auto-scaling-group");
        tag.key(key).value(value).propagate_at_launch(true).build()
    };
    wanted.tags.iter().map(tag).collect()
}

/// What [`update`] puts right.
fn settings(found: &AutoScalingGroup, wanted: &Wanted<'_>) -> Vec<Field> {
    let template = found.launch_template();
    let name = template.and_then(|template| template.launch_template_name()).unwrap_or("none");
    let version = template.and_then(|template| template.version()).unwrap_or(VERSION);
    let sorted = |subnets: &mut dyn Iterator<Item = &str>| {
        let mut subnets: Vec<&str> = subnets.collect();
        subnets.sort_unstable();
        subnets.join(", ")
    };
    let subnets = sorted(&mut found.vpc_zone_identifier().unwrap_or_default().split(','));
    [
        compare("min", found.min_size().unwrap_or_default(), size(wanted.min)),
        compare("max", found.max_size().unwrap_or_default(), size(wanted.instances.most())),
        compare("subnets", subnets, sorted(&mut wanted.subnets.iter().map(String::as_str))),
        compare("launchTemplate", name, &wanted.name),
        compare("launchTemplateVersion", version, VERSION),
        compare("protected", found.new_instances_protected_from_scale_in() == Some(true), true),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn size(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn template(wanted: &Wanted<'_>) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder().launch_template_name(&wanted.name).version(VERSION).build()
}

/// The name is unique, so that this call can't double it. It begins with an instance: ECS starts the first
/// one of an empty group only for a task that waits.
async fn create(auto_scaling: &Client, wanted: &Wanted<'_>) -> Result<()> {
    let create = auto_scaling
        .create_auto_scaling_group()
        .auto_scaling_group_name(&wanted.name)
        .launch_template(template(wanted))
        .min_size(size(wanted.min))
        .max_size(size(wanted.instances.most()))
        .desired_capacity(if wanted.paused { 0 } else { size(wanted.min.max(1)) })
        .vpc_zone_identifier(wanted.subnets.join(","))
        .new_instances_protected_from_scale_in(true)
        .set_tags(Some(tag_list(wanted)));
    let created = create.send().await;
    let doing = || format!("creating Auto Scaling group ({})", wanted.name);
    refuse_new_profile(&created, wanted, doing)?;
    created.gone(&[], &["AlreadyExists", "ResourceContention"], doing)
}

async fn update(auto_scaling: &Client, wanted: &Wanted<'_>) -> Result<()> {
    let update = auto_scaling
        .update_auto_scaling_group()
        .auto_scaling_group_name(&wanted.name)
        .launch_template(template(wanted))
        .min_size(size(wanted.min))
        .max_size(size(wanted.instances.most()))
        .vpc_zone_identifier(wanted.subnets.join(","))
        .new_instances_protected_from_scale_in(true);
    let updated = update.send().await;
    let doing = || format!("changing Auto Scaling group ({})", wanted.name);
    refuse_new_profile(&updated, wanted, doing)?;
    // Another template is taken once the instances are refreshed that somebody has replaced by one of theirs.
    // Source: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html>
    let refreshed = |message: &str| message.contains("active instance refresh");
    if updated.as_ref().is_err_and(|error| error.message().is_some_and(refreshed)) {
        return Err(Error::wait(Pace::Later, format!("{}: its instances are being refreshed", doing())));
    }
    updated.gone(&[], &["ScalingActivityInProgress", "ResourceContention"], doing)
}

/// A profile that was just made isn't known everywhere yet; Auto Scaling has no code for it.
/// Source: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html>
fn refuse_new_profile<T, E: ProvideErrorMetadata>(
    answer: &std::result::Result<T, E>,
    wanted: &Wanted<'_>,
    doing: impl Fn() -> String,
) -> Result<()> {
    match answer {
        Err(error) if error.message().is_some_and(names_profile) => {
            Err(Error::soon(format!("{}: instance profile ({}) isn't usable yet", doing(), wanted.profile)))
        }
        _ => Ok(()),
    }
}

fn names_profile(message: &str) -> bool {
    message.contains("Invalid IAM Instance Profile") || message.contains("iamInstanceProfile")
}

/// Has the instances that were started from another version of the template replaced, one after the other, a
/// new one before an old one goes. Nobody waits for it, and it isn't started twice at once.
pub(crate) async fn refresh(auto_scaling: &Client, found: &AutoScalingGroup, version: i64) -> Result<()> {
    let name = found.auto_scaling_group_name().unwrap_or_default();
    if stale(found, version) == 0 || is_refreshed(auto_scaling, name).await? {
        return Ok(());
    }
    let preferences = RefreshPreferences::builder()
        .min_healthy_percentage(100)
        .max_healthy_percentage(110)
        .skip_matching(true)
        .scale_in_protected_instances(ScaleInProtectedInstances::Refresh)
        .build();
    let start = auto_scaling.start_instance_refresh().auto_scaling_group_name(name);
    let started = start.strategy(RefreshStrategy::Rolling).preferences(preferences).send().await;
    let doing = || format!("refreshing the instances of Auto Scaling group ({name})");
    started.gone(&["InstanceRefreshInProgress"], &["ResourceContention"], doing)
}

/// How many instances were started from another version of the template.
fn stale(found: &AutoScalingGroup, version: i64) -> usize {
    let version = version.to_string();
    let of = |instance: &&Instance| {
        let template = instance.launch_template().and_then(|template| template.version());
        is_here(instance) && template != Some(version.as_str())
    };
    found.instances().iter().filter(of).count()
}

/// Neither leaving nor gone.
fn is_here(instance: &Instance) -> bool {
    let state = instance.lifecycle_state().map_or("none", LifecycleState::as_str);
    state == "InService" || state.starts_with("Pending")
}

async fn is_refreshed(auto_scaling: &Client, name: &str) -> Result<bool> {
    let described = auto_scaling.describe_instance_refreshes().auto_scaling_group_name(name).send().await;
    let described = described.doing(|| format!("describing the refreshes of Auto Scaling group ({name})"))?;
    Ok(described.instance_refreshes().iter().any(|refresh| {
        !matches!(
            refresh.status(),
            Some(
                InstanceRefreshStatus::Successful
                    | InstanceRefreshStatus::Failed
                    | InstanceRefreshStatus::Cancelled
                    | InstanceRefreshStatus::RollbackFailed
                    | InstanceRefreshStatus::RollbackSuccessful
            )
        )
    }))
}

/// Waits until the fewest instances are in service, and tells why they don't start.
pub(crate) async fn ready(
    auto_scaling: &Client,
    context: &Context,
    found: &AutoScalingGroup,
    wanted: &Wanted<'_>,
) -> Result<()> {
    let in_service = found
        .instances()
        .iter()
        .filter(|instance| instance.lifecycle_state() == Some(&LifecycleState::InService))
        .count();
    let min = wanted.min;
    if in_service >= min as usize {
        return Ok(());
    }
    let mut doing =
        format!("{in_service} of at least {min} instances of Auto Scaling group ({}) run", wanted.name);
    if let Some(failed) = last_failure(auto_scaling, &wanted.name).await? {
        let told = failed.status_message().unwrap_or("no reason");
        let started = failed.start_time().map_or(0, aws_sdk_autoscaling::primitives::DateTime::secs);
        // What failed before this run may have been mended, and Auto Scaling tries again by itself.
        if started >= context.since.as_second() && !passes(told) {
            return Err(Error::Failed(format!(
                "starting an instance of Auto Scaling group ({}): {told}",
                wanted.name
            )));
        }
        doing = format!("{doing}; the last start failed: {told}");
    }
    Err(wait(context, &doing))
}

/// The newest activity, if it failed.
async fn last_failure(auto_scaling: &Client, name: &str) -> Result<Option<Activity>> {
    let described = auto_scaling.describe_scaling_activities().auto_scaling_group_name(name).max_records(1);
    let described = described.send().await;
    let described =
        described.doing(|| format!("describing the activities of Auto Scaling group ({name})"))?;
    let newest = described.activities.unwrap_or_default().into_iter().next();
    Ok(newest.filter(|activity| activity.status_code() == Some(&ScalingActivityStatusCode::Failed)))
}

/// Whether a failure passes by itself: a profile that is new, or a zone that is short of instances, for which
/// Auto Scaling takes another one.
/// Source: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-capacity.html>
fn passes(told: &str) -> bool {
    names_profile(told) || told.contains("sufficient") || told.contains("InsufficientInstanceCapacity")
}

/// Takes all instances away, and waits until they are gone. ECS keeps those that ran tasks from being the first
/// to go until it has seen for itself that they are idle, a quarter of an hour later.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html>
pub(crate) async fn stop(auto_scaling: &Client, context: &Context, name: &str) -> Result<()> {
    let Some(found) = find(auto_scaling, context, name).await? else { return Ok(()) };
    let here = found.instances().iter().filter(|instance| is_here(instance));
    let guarded: Vec<String> = here
        .filter(|instance| instance.protected_from_scale_in() == Some(true))
        .filter_map(|instance| instance.instance_id().map(str::to_owned))
        .collect();
    // What SetInstanceProtection takes at once.
    for instances in guarded.chunks(50) {
        let unguard = auto_scaling.set_instance_protection().auto_scaling_group_name(name);
        let unguard = unguard.set_instance_ids(Some(instances.to_vec())).protected_from_scale_in(false);
        let doing = || format!("unprotecting the instances of Auto Scaling group ({name})");
        unguard.send().await.gone(&[], &["ResourceContention"], doing)?;
    }
    if found.min_size() != Some(0) || found.desired_capacity() != Some(0) {
        let update = auto_scaling.update_auto_scaling_group().auto_scaling_group_name(name);
        let updated = update.min_size(0).desired_capacity(0).send().await;
        updated.gone(&[], &["ScalingActivityInProgress", "ResourceContention"], || {
            format!("taking the instances of Auto Scaling group ({name}) away")
        })?;
    }
    let now = find(auto_scaling, context, name).await?;
    match now.map_or(0, |group| group.instances().len()) {
        0 => Ok(()),
        left => Err(wait(context, &format!("{left} instances of Auto Scaling group ({name}) are going"))),
    }
}

/// Deletes the group together with its instances, protected or not, and waits until it is gone.
/// Source: <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html>
pub(crate) async fn delete(auto_scaling: &Client, context: &Context, found: &AutoScalingGroup) -> Result<()> {
    let name = found.auto_scaling_group_name().unwrap_or_default();
    if !is_deleted(found) {
        let delete =
            auto_scaling.delete_auto_scaling_group().auto_scaling_group_name(name).force_delete(true);
        let doing = || format!("deleting Auto Scaling group ({name})");
        let in_use = ["ResourceInUse", "ScalingActivityInProgress", "ResourceContention"];
        delete.send().await.gone(&[], &in_use, doing)?;
        if describe(auto_scaling, name).await?.is_none() {
            return Ok(());
        }
    }
    Err(wait(context, &format!("Auto Scaling group ({name}) is being deleted with its instances")))
}

/// Waits until no instance is left: they hold the subnets and the security group.
pub(crate) async fn gone(ec2: &Ec2, context: &Context) -> Result<()> {
    let owner = context.owner();
    let filter = |name: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Filter::builder().name(name).set_values(Some(values)).build()
    };
    let states = ["pending", "running", "shutting-down", "stopping", "stopped"];
    let pages = ec2
        .describe_instances()
        .filters(filter(&format!("tag:{ENVIRONMENT}"), &[&owner.environment]))
        .filters(filter(&format!("tag:{CONTROL_PLANE}"), &[&owner.control_plane]))
        .filters(filter(&format!("tag:{ADDRESS}"), &[GROUP]))
        .filters(filter("instance-state-name", &states))
        .into_paginator()
        .items()
        .send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing the instances of the cluster")?;
    match all.iter().map(|reservation| reservation.instances().len()).sum::<usize>() {
        0 => Ok(()),
        left => Err(wait(context, &format!("{left} instances of the cluster are being terminated"))),
    }
}

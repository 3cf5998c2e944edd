//! Mount targets: one in each subnet that services run in. They are owned through their file system.

use std::collections::BTreeSet;

use aws_sdk_efs::{
    Client,
    types::{LifeCycleState, MountTargetDescription},
};
use step::{Context, Doing, Error, Field, Latency, Result, compare, side_by_side};

use crate::Wanted;

/// Makes what is missing, takes away what is too much, and waits until all can be mounted.
pub(crate) async fn ensure(
    efs: &Client,
    context: &Context,
    id: &str,
    wanted: &Wanted,
    group: &str,
) -> Result<()> {
    let found = all(efs, id).await?;
    let subnets: BTreeSet<&str> = found.iter().map(MountTargetDescription::subnet_id).collect();
    let is_wanted =
        |target: &&MountTargetDescription| wanted.subnets.iter().any(|id| id == target.subnet_id());
    let (kept, extra): (Vec<_>, Vec<_>) = found.iter().partition(is_wanted);
    side_by_side(extra.into_iter().map(|target| delete(efs, target))).await?;
    let missing = wanted.subnets.iter().filter(|subnet| !subnets.contains(subnet.as_str()));
    side_by_side(missing.map(|subnet| create(efs, wanted, id, subnet, group))).await?;
    for target in kept {
        if groups(efs, target).await? != [group] {
            let target = target.mount_target_id();
            let put = efs.modify_mount_target_security_groups().mount_target_id(target);
            let put = put.security_groups(group).send().await;
            put.doing(|| format!("changing the security group of mount target ({target})"))?;
        }
    }
    let pending = all(efs, id).await?.into_iter();
    let pending: Vec<_> =
        pending.filter(|target| target.life_cycle_state() != &LifeCycleState::Available).collect();
    let Some(first) = pending.first() else { return Ok(()) };
    let doing = format!(
        "{} of {} mount targets of EFS file system ({}) are {}",
        pending.len(),
        wanted.subnets.len(),
        wanted.name,
        first.life_cycle_state().as_str()
    );
    Err(Latency::of("efs").wait(&doing, context.since))
}

/// What `ensure` would change.
pub(crate) async fn plan(efs: &Client, id: &str, wanted: &Wanted, group: Option<&str>) -> Result<Vec<Field>> {
    let found = all(efs, id).await?;
    let list = |ids: &BTreeSet<&str>| ids.iter().copied().collect::<Vec<_>>().join(", ");
    let subnets = found.iter().map(MountTargetDescription::subnet_id).collect();
    let mut fields: Vec<Field> =
        compare("subnets", list(&subnets), list(&wanted.subnets.iter().map(String::as_str).collect()))
            .into_iter()
            .collect();
    for target in &found {
        let groups = groups(efs, target).await?.join(", ");
        fields.extend(compare("securityGroups", groups.as_str(), group.unwrap_or(step::UNKNOWN)));
    }
    Ok(fields)
}

async fn all(efs: &Client, id: &str) -> Result<Vec<MountTargetDescription>> {
    let pages = efs.describe_mount_targets().file_system_id(id).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.unless_absent(&["FileSystemNotFound"], || {
        format!("describing the mount targets of EFS file system ({id})")
    })?;
    let mut all = all.unwrap_or_default();
    all.retain(|target| target.life_cycle_state() != &LifeCycleState::Deleted);
    Ok(all)
}

async fn groups(efs: &Client, target: &MountTargetDescription) -> Result<Vec<String>> {
    let id = target.mount_target_id();
    let described = efs.describe_mount_target_security_groups().mount_target_id(id).send().await;
    let described = described.unless_absent(&["MountTargetNotFound"], || {
        format!("reading the security groups of mount target ({id})")
    })?;
    Ok(described.map(|answer| answer.security_groups).unwrap_or_default())
}

/// A zone holds one mount target, so that this call can't double it.
async fn create(efs: &Client, wanted: &Wanted, id: &str, subnet: &str, group: &str) -> Result<()> {
    let create = efs.create_mount_target().file_system_id(id).subnet_id(subnet).security_groups(group);
    // Another of ours still leaves the zone, or a lost answer has made this one.
    create.send().await.gone(&[], &["MountTargetConflict"], || {
        format!("creating a mount target of EFS file system ({}) in {subnet}", wanted.name)
    })
}

async fn delete(efs: &Client, target: &MountTargetDescription) -> Result<()> {
    let id = target.mount_target_id();
    if target.life_cycle_state() == &LifeCycleState::Deleting {
        return Ok(());
    }
    let deleted = efs.delete_mount_target().mount_target_id(id).send().await;
    deleted.gone(&["MountTargetNotFound"], &[], || format!("deleting mount target ({id})"))
}

/// Deletes every mount target, and waits until they are gone: EFS wants it so.
pub(crate) async fn delete_all(efs: &Client, id: &str) -> Result<()> {
    side_by_side(all(efs, id).await?.iter().map(|target| delete(efs, target))).await?;
    match all(efs, id).await?.len() {
        0 => Ok(()),
        left => Err(Error::soon(format!("{left} mount targets of EFS file system ({id}) are being deleted"))),
    }
}

//! Mount targets: one in each subnet that services run in. They are owned through their file system.

use std::collections::BTreeSet;

use aws_sdk_ec2::{Client as Ec2, types::Subnet};
use aws_sdk_efs::{
    Client,
    types::{LifeCycleState, MountTargetDescription},
};
use step::{Context, Doing, Error, Field, Latency, Result, UNKNOWN, compare, side_by_side};

use crate::Wanted;

/// Makes what is missing, and waits until all can be mounted. What is too much goes with `prune`, or now where it is in
/// the way.
pub(crate) async fn ensure(
    efs: &Client,
    ec2: &Ec2,
    context: &Context,
    id: &str,
    wanted: &Wanted,
    group: &str,
) -> Result<()> {
    let found = all(efs, id).await?;
    let (kept, extra): (Vec<_>, Vec<_>) = found.iter().partition(|target| is_wanted(wanted, target));
    let missing = missing(&found, wanted);
    side_by_side(in_the_way(ec2, extra, &missing).await?.iter().map(|target| delete(efs, target))).await?;
    side_by_side(missing.iter().map(|subnet| create(efs, wanted, id, subnet, group))).await?;
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

fn is_wanted(wanted: &Wanted, target: &MountTargetDescription) -> bool {
    wanted.subnets.iter().any(|subnet| subnet == target.subnet_id())
}

/// The subnets without a mount target.
fn missing<'a>(found: &[MountTargetDescription], wanted: &'a Wanted) -> Vec<&'a str> {
    let subnets: BTreeSet<&str> = found.iter().map(MountTargetDescription::subnet_id).collect();
    wanted.subnets.iter().map(String::as_str).filter(|subnet| !subnets.contains(subnet)).collect()
}

/// Those of these mount targets that hold the zone of a subnet without one: a zone has one mount target.
/// Source: <https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html>
async fn in_the_way<'a>(
    ec2: &Ec2,
    extra: Vec<&'a MountTargetDescription>,
    missing: &[&str],
) -> Result<Vec<&'a MountTargetDescription>> {
    if extra.is_empty() || missing.is_empty() {
        return Ok(Vec::new());
    }
    let subnets = missing.iter().map(|subnet| (*subnet).to_owned()).collect();
    let described = ec2.describe_subnets().set_subnet_ids(Some(subnets)).send().await;
    // One that was just made may not be seen yet: until then its mount target meets a conflict.
    let described = described.unless_absent(&["InvalidSubnetID.NotFound"], || {
        format!("describing subnets ({})", missing.join(", "))
    })?;
    let subnets = described.and_then(|answer| answer.subnets).unwrap_or_default();
    let zones: BTreeSet<_> = subnets.iter().filter_map(Subnet::availability_zone_id).collect();
    let holds = |target: &&MountTargetDescription| {
        target.availability_zone_id().is_some_and(|zone| zones.contains(zone))
    };
    Ok(extra.into_iter().filter(holds).collect())
}

/// How long a zone has no mount target, where one takes another's place. A subnet that is still to be made is taken to
/// be in the zone of one that goes.
async fn downtime(ec2: &Ec2, found: &[MountTargetDescription], wanted: &Wanted) -> Result<Option<Field>> {
    let extra: Vec<_> = found.iter().filter(|target| !is_wanted(wanted, target)).collect();
    let (unknown, known): (Vec<_>, Vec<_>) =
        missing(found, wanted).into_iter().partition(|subnet| *subnet == UNKNOWN);
    let replaced = !(unknown.is_empty() || extra.is_empty());
    let replaced = replaced || !in_the_way(ec2, extra, &known).await?.is_empty();
    Ok(replaced.then(|| Field {
        name: "downtime".to_owned(),
        found: None,
        wanted: format!(
            "is down for {}: a zone has one mount target, so that the old one goes before the new one is made",
            Latency::of("efs").told()
        ),
    }))
}

/// What `ensure` would change.
pub(crate) async fn plan(
    efs: &Client,
    ec2: &Ec2,
    id: &str,
    wanted: &Wanted,
    group: Option<&str>,
) -> Result<Vec<Field>> {
    let found = all(efs, id).await?;
    let list = |ids: &BTreeSet<&str>| ids.iter().copied().collect::<Vec<_>>().join(", ");
    let subnets = found.iter().map(MountTargetDescription::subnet_id).collect();
    let mut fields: Vec<Field> =
        compare("subnets", list(&subnets), list(&wanted.subnets.iter().map(String::as_str).collect()))
            .into_iter()
            .collect();
    fields.extend(downtime(ec2, &found, wanted).await?);
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
    delete_and_wait(efs, id, |_| true).await
}

/// Deletes the mount targets in subnets that aren't wanted, and waits until they are gone: they hold these.
pub(crate) async fn delete_dropped(efs: &Client, id: &str, wanted: &Wanted) -> Result<()> {
    delete_and_wait(efs, id, |target| !is_wanted(wanted, target)).await
}

async fn delete_and_wait(
    efs: &Client,
    id: &str,
    goes: impl Fn(&MountTargetDescription) -> bool,
) -> Result<()> {
    let found = all(efs, id).await?;
    let going: Vec<_> = found.iter().filter(|target| goes(target)).collect();
    if going.is_empty() {
        return Ok(());
    }
    side_by_side(going.into_iter().map(|target| delete(efs, target))).await?;
    match all(efs, id).await?.iter().filter(|target| goes(target)).count() {
        0 => Ok(()),
        left => Err(Error::soon(format!("{left} mount targets of EFS file system ({id}) are being deleted"))),
    }
}

//! The instance profile in which the cluster's instances have their role. It is called as the role is.

use std::collections::BTreeMap;

use aws_sdk_iam::{
    Client,
    error::ProvideErrorMetadata,
    types::{InstanceProfile, Role},
};
use step::{Change, Context, Doing, Field, Latency, Operation, Result, compare, missing_tags, side_by_side};

use crate::{ABSENT, EXISTS, instances, role::gone, tag_list, tags, young};

/// The profile's address.
const ADDRESS: &str = "cluster.instances.profile";

/// What the spec asks for.
pub(crate) struct Wanted {
    /// The name of the profile, and of the role in it.
    pub(crate) name: String,
    path: String,
    tags: BTreeMap<String, String>,
}

pub(crate) fn wanted(context: &Context) -> Option<Wanted> {
    let wanted = |_| Wanted {
        name: context.instance_role_name(),
        path: context.role_path(),
        tags: context.tags(ADDRESS),
    };
    instances(context).map(wanted)
}

pub(crate) async fn ensure(iam: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let found = match find(iam, context, &wanted.name).await? {
        None => create(iam, wanted).await?,
        Some(found) => found,
    };
    if !missing_tags(&tags(found.tags()), &wanted.tags).is_empty() {
        let tag = iam.tag_instance_profile().instance_profile_name(&wanted.name);
        let tag = tag.set_tags(Some(tag_list(&wanted.tags)?)).send().await;
        tag.doing(|| format!("tagging {}", what(&wanted.name)))?;
    }
    for role in found.roles().iter().filter(|role| role.role_name() != wanted.name) {
        remove(iam, &wanted.name, role).await?;
    }
    if found.roles().iter().all(|role| role.role_name() != wanted.name) {
        add(iam, context, &wanted.name).await?;
    }
    Ok(())
}

pub(crate) async fn plan(iam: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
    Ok(match find(iam, context, &wanted.name).await? {
        None => Some(Change::create(ADDRESS).with("name", &wanted.name)),
        Some(found) => Change::update(ADDRESS, difference(&found, wanted)),
    })
}

/// Deletes our instance profiles that the spec doesn't mention; in a plan only names them.
pub(crate) async fn delete_dropped(iam: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept = wanted(context).map(|wanted| wanted.name);
    let mut dropped = listed(iam, context).await?;
    dropped.retain(|name| Some(name) != kept.as_ref());
    let passes = dropped.iter().map(|name| delete_if_ours(iam, context, name));
    Ok(side_by_side(passes).await?.into_iter().flatten().collect())
}

async fn delete_if_ours(iam: &Client, context: &Context, name: &str) -> Result<Option<Change>> {
    let Some(found) = describe(iam, name).await? else { return Ok(None) };
    let (owner, tags) = (context.owner(), tags(found.tags()));
    let Some(address) = owner.address(&tags) else { return Ok(None) };
    if context.operation == Operation::Prune {
        for role in found.roles() {
            remove(iam, name, role).await?;
        }
        let deleted = iam.delete_instance_profile().instance_profile_name(name).send().await;
        gone(deleted, context, &what(name))?;
    }
    Ok(Some(Change::delete(address).with("name", name)))
}

fn what(name: &str) -> String {
    format!("IAM instance profile ({name})")
}

async fn find(iam: &Client, context: &Context, name: &str) -> Result<Option<InstanceProfile>> {
    let found = describe(iam, name).await?;
    if let Some(found) = &found {
        context.owner().check(&what(name), &tags(found.tags()))?;
    }
    Ok(found)
}

async fn describe(iam: &Client, name: &str) -> Result<Option<InstanceProfile>> {
    let found = iam.get_instance_profile().instance_profile_name(name).send().await;
    let found = found.unless_absent(&ABSENT, || format!("reading {}", what(name)))?;
    Ok(found.and_then(|answer| answer.instance_profile))
}

/// The names of all instance profiles under the environment's path. Lists leave the tags out.
/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListInstanceProfiles.html>
async fn listed(iam: &Client, context: &Context) -> Result<Vec<String>> {
    let path = context.role_path();
    let pages = iam.list_instance_profiles().path_prefix(&path).into_paginator().items().send();
    let profiles = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let profiles = profiles.doing(|| format!("listing IAM instance profiles under {path}"))?;
    Ok(profiles.into_iter().map(|profile| profile.instance_profile_name).collect())
}

fn difference(found: &InstanceProfile, wanted: &Wanted) -> Vec<Field> {
    let roles = found.roles().iter().map(Role::role_name).collect::<Vec<_>>().join(", ");
    let roles = if roles.is_empty() { "none".to_owned() } else { roles };
    let tags = missing_tags(&tags(found.tags()), &wanted.tags);
    compare("role", roles, wanted.name.clone()).into_iter().chain(tags).collect()
}

/// The name lets this call make one profile at most; when its answer was lost, the next pass finds it.
async fn create(iam: &Client, wanted: &Wanted) -> Result<InstanceProfile> {
    let created = iam
        .create_instance_profile()
        .instance_profile_name(&wanted.name)
        .path(&wanted.path)
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await
        .unless_absent(&EXISTS, || format!("creating {}", what(&wanted.name)))?;
    created.and_then(|answer| answer.instance_profile).ok_or_else(|| young(&what(&wanted.name)))
}

/// Puts the role into its profile. IAM may not know yet of either, when both have just been made.
async fn add(iam: &Client, context: &Context, name: &str) -> Result<()> {
    let added = iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send().await;
    if added.as_ref().is_err_and(|error| error.code() == Some("NoSuchEntity")) {
        let doing = format!("IAM role ({name}) isn't seen yet where it is put into its instance profile");
        return Err(Latency::of("iam-role").wait(&doing, context.since));
    }
    // A profile holds one role: a lost answer has put ours into it.
    let added = added.unless_absent(&["LimitExceeded"], || format!("putting a role into {}", what(name)))?;
    added.map(|_| ()).ok_or_else(|| young(&format!("the role in {}", what(name))))
}

async fn remove(iam: &Client, name: &str, role: &Role) -> Result<()> {
    let remove = iam.remove_role_from_instance_profile().instance_profile_name(name);
    let removed = remove.role_name(role.role_name()).send().await;
    removed.unless_absent(&ABSENT, || format!("taking role {} out of {}", role.role_name(), what(name)))?;
    Ok(())
}

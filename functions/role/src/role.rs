//! Roles, with their inline policy and the managed policies attached to them.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::{Client, error::ProvideErrorMetadata, types::Role};
use serde_json::Value;
use step::{Change, Context, Doing, Field, Latency, Operation, Result, compare, missing_tags, side_by_side};

use crate::{ABSENT, EXISTS, IN_USE, POLICY, policy, tag_list, tags, young};

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) boundary: String,
    pub(crate) trust: Value,
    pub(crate) allow: Option<Value>,
    pub(crate) policies: BTreeSet<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A role with what IAM tells of it in other calls.
struct Found {
    role: Role,
    allow: Option<Value>,
    policies: BTreeSet<String>,
}

pub(crate) async fn ensure(iam: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let found = match find(iam, context, &wanted.name).await? {
        None => create(iam, wanted).await?,
        Some(found) => {
            update(iam, &found.role, wanted).await?;
            found
        }
    };
    update_policies(iam, &found, wanted).await
}

pub(crate) async fn plan(iam: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
    Ok(match find(iam, context, &wanted.name).await? {
        None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
        Some(found) => Change::update(&wanted.address, difference(&found, wanted)),
    })
}

/// Deletes our roles that the spec doesn't mention; in a plan only names them.
pub(crate) async fn delete_dropped(
    iam: &Client,
    context: &Context,
    kept: &BTreeSet<String>,
) -> Result<Vec<Change>> {
    let mut dropped = listed(iam, context).await?;
    dropped.retain(|name| !kept.contains(name));
    let passes = dropped.iter().map(|name| delete_if_ours(iam, context, name));
    Ok(side_by_side(passes).await?.into_iter().flatten().collect())
}

async fn delete_if_ours(iam: &Client, context: &Context, name: &str) -> Result<Option<Change>> {
    let Some(role) = describe(iam, name).await? else { return Ok(None) };
    let (owner, tags) = (context.owner(), tags(role.tags()));
    let Some(address) = owner.address(&tags) else { return Ok(None) };
    if context.operation == Operation::Prune {
        delete(iam, context, name).await?;
    }
    Ok(Some(Change::delete(address).with("name", name)))
}

async fn find(iam: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(role) = describe(iam, name).await? else { return Ok(None) };
    context.owner().check(&format!("IAM role ({name})"), &tags(role.tags()))?;
    let allow = iam.get_role_policy().role_name(name).policy_name(POLICY).send().await;
    let allow = allow.unless_absent(&ABSENT, || format!("reading the policy of IAM role ({name})"))?;
    let allow = allow.map(|answer| policy::read(answer.policy_document()));
    Ok(Some(Found { role, allow, policies: attached(iam, name).await?.into_iter().collect() }))
}

async fn describe(iam: &Client, name: &str) -> Result<Option<Role>> {
    let found = iam.get_role().role_name(name).send().await;
    Ok(found.unless_absent(&ABSENT, || format!("reading IAM role ({name})"))?.and_then(|answer| answer.role))
}

/// The names of all roles under the environment's path.
async fn listed(iam: &Client, context: &Context) -> Result<Vec<String>> {
    let roles = iam
        .list_roles()
        .path_prefix(context.role_path())
        .into_paginator()
        .items()
        .send()
        .collect::<std::result::Result<Vec<_>, _>>()
        .await
        .doing(|| format!("listing IAM roles under {}", context.role_path()))?;
    Ok(roles.into_iter().map(|role| role.role_name).collect())
}

/// The ARNs of the managed policies attached to a role; none if the role is gone.
async fn attached(iam: &Client, name: &str) -> Result<Vec<String>> {
    let pages = iam.list_attached_role_policies().role_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies = policies
        .unless_absent(&ABSENT, || format!("listing the managed policies of IAM role ({name})"))?
        .unwrap_or_default();
    Ok(policies.into_iter().filter_map(|policy| policy.policy_arn).collect())
}

fn trust(role: &Role) -> Value {
    role.assume_role_policy_document().map_or(Value::Null, policy::read)
}

fn boundary(role: &Role) -> &str {
    role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn()).unwrap_or("none")
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let text = |allow: &Option<Value>| allow.as_ref().map_or("none".to_owned(), Value::to_string);
    let list = |policies: &BTreeSet<String>| policies.iter().cloned().collect::<Vec<_>>().join(", ");
    [
        compare("assumedBy", trust(&found.role), wanted.trust.clone()),
        compare("permissionsBoundary", boundary(&found.role), &wanted.boundary),
        compare("allow", text(&found.allow), text(&wanted.allow)),
        compare("policies", list(&found.policies), list(&wanted.policies)),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&tags(found.role.tags()), &wanted.tags))
    .collect()
}

/// The name lets this call make one role at most; when its answer was lost, the next pass finds it.
async fn create(iam: &Client, wanted: &Wanted) -> Result<Found> {
    let created = iam
        .create_role()
        .role_name(&wanted.name)
        .path(&wanted.path)
        .permissions_boundary(&wanted.boundary)
        .assume_role_policy_document(wanted.trust.to_string())
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await
        .unless_absent(&EXISTS, || format!("creating IAM role ({})", wanted.name))?;
    let role = created.and_then(|answer| answer.role);
    let role = role.ok_or_else(|| young(&format!("IAM role ({})", wanted.name)))?;
    Ok(Found { role, allow: None, policies: BTreeSet::new() })
}

/// Puts the role itself right.
async fn update(iam: &Client, found: &Role, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if trust(found) != wanted.trust {
        let update = iam.update_assume_role_policy().role_name(name);
        let updated = update.policy_document(wanted.trust.to_string()).send().await;
        updated.doing(|| format!("changing who may assume IAM role ({name})"))?;
    }
    if boundary(found) != wanted.boundary {
        let put = iam.put_role_permissions_boundary().role_name(name);
        let put = put.permissions_boundary(&wanted.boundary).send().await;
        put.doing(|| format!("putting the permissions boundary on IAM role ({name})"))?;
    }
    if !missing_tags(&tags(found.tags()), &wanted.tags).is_empty() {
        let tagged = iam.tag_role().role_name(name).set_tags(Some(tag_list(&wanted.tags)?)).send().await;
        tagged.doing(|| format!("tagging IAM role ({name})"))?;
    }
    Ok(())
}

/// Puts right what the role may do.
async fn update_policies(iam: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    match &wanted.allow {
        allow if *allow == found.allow => {}
        Some(allow) => {
            let put = iam.put_role_policy().role_name(name).policy_name(POLICY);
            let put = put.policy_document(allow.to_string()).send().await;
            put.doing(|| format!("putting the policy of IAM role ({name})"))?;
        }
        None => delete_policy(iam, name, POLICY).await?,
    }
    for arn in wanted.policies.difference(&found.policies) {
        let attached = iam.attach_role_policy().role_name(name).policy_arn(arn).send().await;
        attached.doing(|| format!("attaching {arn} to IAM role ({name})"))?;
    }
    for arn in found.policies.difference(&wanted.policies) {
        detach(iam, name, arn).await?;
    }
    Ok(())
}

/// Deletes a role, and first what IAM wants gone before it.
async fn delete(iam: &Client, context: &Context, name: &str) -> Result<()> {
    for arn in attached(iam, name).await? {
        detach(iam, name, &arn).await?;
    }
    let pages = iam.list_role_policies().role_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies =
        policies.unless_absent(&ABSENT, || format!("listing the policies of IAM role ({name})"))?;
    for policy in policies.unwrap_or_default() {
        delete_policy(iam, name, &policy).await?;
    }
    let deleted = iam.delete_role().role_name(name).send().await;
    gone(deleted, context, &format!("IAM role ({name})"))
}

/// Whether a deletion is done. IAM may not have seen yet that what had to go first has gone.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html>
pub(crate) fn gone<T, E>(deleted: std::result::Result<T, E>, context: &Context, what: &str) -> Result<()>
where
    E: ProvideErrorMetadata,
    std::result::Result<T, E>: Doing<T>,
{
    if let Err(error) = &deleted
        && error.code().is_some_and(|code| IN_USE.contains(&code))
    {
        let why = error.message().unwrap_or("something still uses it");
        return Err(
            Latency::of("iam-role").wait(&format!("{what} can't be deleted yet: {why}"), context.since)
        );
    }
    deleted.unless_absent(&ABSENT, || format!("deleting {what}"))?;
    Ok(())
}

async fn delete_policy(iam: &Client, name: &str, policy: &str) -> Result<()> {
    let deleted = iam.delete_role_policy().role_name(name).policy_name(policy).send().await;
    deleted.unless_absent(&ABSENT, || format!("deleting the policy {policy} of IAM role ({name})"))?;
    Ok(())
}

async fn detach(iam: &Client, name: &str, arn: &str) -> Result<()> {
    let detached = iam.detach_role_policy().role_name(name).policy_arn(arn).send().await;
    detached.unless_absent(&ABSENT, || format!("detaching {arn} from IAM role ({name})"))?;
    Ok(())
}

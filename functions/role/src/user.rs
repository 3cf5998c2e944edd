//! Users: deployers without OIDC. Nobody but them has access keys, which people make and which go with them.

use std::collections::BTreeMap;

use aws_sdk_iam::{Client, types::User};
use serde_json::Value;
use step::{Change, Context, Doing, Field, Operation, Result, compare, missing_tags, side_by_side};

use crate::{ABSENT, EXISTS, POLICY, deployer, policy, role::gone, tag_list, tags, young};

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    name: String,
    path: String,
    boundary: String,
    allow: Value,
    tags: BTreeMap<String, String>,
}

/// A user with what IAM tells of it in other calls.
struct Found {
    user: User,
    allow: Option<Value>,
    /// The ARNs of the managed policies attached to it; ours has none.
    policies: Vec<String>,
}

pub(crate) fn wanted(context: &Context, boundary: &str) -> Result<Vec<Wanted>> {
    let wanted = |key: &String| {
        let address = deployer::address(key);
        Ok(Wanted {
            name: deployer::name(context, key),
            path: context.role_path(),
            boundary: boundary.to_owned(),
            allow: policy::push(context)?,
            tags: context.tags(&address),
            address,
        })
    };
    deployer::users(context).map(wanted).collect()
}

pub(crate) async fn ensure(iam: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let found = match find(iam, context, &wanted.name).await? {
        None => create(iam, wanted).await?,
        Some(found) => {
            update(iam, &found.user, wanted).await?;
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

/// Deletes our users that the spec doesn't mention; in a plan only names them.
pub(crate) async fn delete_dropped(iam: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept: Vec<String> = deployer::users(context).map(|key| deployer::name(context, key)).collect();
    let mut dropped = listed(iam, context).await?;
    dropped.retain(|name| !kept.contains(name));
    let passes = dropped.iter().map(|name| delete_if_ours(iam, context, name));
    Ok(side_by_side(passes).await?.into_iter().flatten().collect())
}

async fn delete_if_ours(iam: &Client, context: &Context, name: &str) -> Result<Option<Change>> {
    let Some(user) = describe(iam, name).await? else { return Ok(None) };
    let (owner, tags) = (context.owner(), tags(user.tags()));
    let Some(address) = owner.address(&tags) else { return Ok(None) };
    if context.operation == Operation::Prune {
        delete(iam, context, name).await?;
    }
    Ok(Some(Change::delete(address).with("name", name)))
}

fn what(name: &str) -> String {
    format!("IAM user ({name})")
}

async fn find(iam: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(user) = describe(iam, name).await? else { return Ok(None) };
    context.owner().check(&what(name), &tags(user.tags()))?;
    let allow = iam.get_user_policy().user_name(name).policy_name(POLICY).send().await;
    let allow = allow.unless_absent(&ABSENT, || format!("reading the policy of {}", what(name)))?;
    let allow = allow.map(|answer| policy::read(answer.policy_document()));
    Ok(Some(Found { user, allow, policies: attached(iam, name).await? }))
}

async fn describe(iam: &Client, name: &str) -> Result<Option<User>> {
    let found = iam.get_user().user_name(name).send().await;
    Ok(found.unless_absent(&ABSENT, || format!("reading {}", what(name)))?.and_then(|answer| answer.user))
}

/// The names of all users under the environment's path. Lists leave the tags out.
/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUsers.html>
async fn listed(iam: &Client, context: &Context) -> Result<Vec<String>> {
    let path = context.role_path();
    let pages = iam.list_users().path_prefix(&path).into_paginator().items().send();
    let users = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let users = users.doing(|| format!("listing IAM users under {path}"))?;
    Ok(users.into_iter().map(|user| user.user_name).collect())
}

/// The ARNs of the managed policies attached to a user; none if the user is gone.
async fn attached(iam: &Client, name: &str) -> Result<Vec<String>> {
    let pages = iam.list_attached_user_policies().user_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies = policies
        .unless_absent(&ABSENT, || format!("listing the managed policies of {}", what(name)))?
        .unwrap_or_default();
    Ok(policies.into_iter().filter_map(|policy| policy.policy_arn).collect())
}

fn boundary(user: &User) -> &str {
    user.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn()).unwrap_or("none")
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let allow = found.allow.as_ref().map_or("none".to_owned(), Value::to_string);
    [
        compare("permissionsBoundary", boundary(&found.user), &wanted.boundary),
        compare("allow", allow, wanted.allow.to_string()),
        compare("policies", found.policies.join(", "), String::new()),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&tags(found.user.tags()), &wanted.tags))
    .collect()
}

/// The name lets this call make one user at most; when its answer was lost, the next pass finds it.
async fn create(iam: &Client, wanted: &Wanted) -> Result<Found> {
    let created = iam
        .create_user()
        .user_name(&wanted.name)
        .path(&wanted.path)
        .permissions_boundary(&wanted.boundary)
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await
        .unless_absent(&EXISTS, || format!("creating {}", what(&wanted.name)))?;
    let user = created.and_then(|answer| answer.user).ok_or_else(|| young(&what(&wanted.name)))?;
    Ok(Found { user, allow: None, policies: Vec::new() })
}

/// Puts the user itself right.
async fn update(iam: &Client, found: &User, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if boundary(found) != wanted.boundary {
        let put = iam.put_user_permissions_boundary().user_name(name);
        let put = put.permissions_boundary(&wanted.boundary).send().await;
        put.doing(|| format!("putting the permissions boundary on {}", what(name)))?;
    }
    if !missing_tags(&tags(found.tags()), &wanted.tags).is_empty() {
        let tagged = iam.tag_user().user_name(name).set_tags(Some(tag_list(&wanted.tags)?)).send().await;
        tagged.doing(|| format!("tagging {}", what(name)))?;
    }
    Ok(())
}

/// Puts right what the user may do.
async fn update_policies(iam: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if found.allow.as_ref() != Some(&wanted.allow) {
        let put = iam.put_user_policy().user_name(name).policy_name(POLICY);
        let put = put.policy_document(wanted.allow.to_string()).send().await;
        put.doing(|| format!("putting the policy of {}", what(name)))?;
    }
    for arn in &found.policies {
        detach(iam, name, arn).await?;
    }
    Ok(())
}

/// Deletes a user, and first what IAM wants gone before it. What else somebody has given it, such as a
/// password, somebody has to take away.
/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html>
async fn delete(iam: &Client, context: &Context, name: &str) -> Result<()> {
    let pages = iam.list_access_keys().user_name(name).into_paginator().items().send();
    let keys = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let keys = keys.unless_absent(&ABSENT, || format!("listing the access keys of {}", what(name)))?;
    for key in keys.unwrap_or_default().into_iter().filter_map(|key| key.access_key_id) {
        let deleted = iam.delete_access_key().user_name(name).access_key_id(&key).send().await;
        deleted.unless_absent(&ABSENT, || format!("deleting access key {key} of {}", what(name)))?;
    }
    for arn in attached(iam, name).await? {
        detach(iam, name, &arn).await?;
    }
    let pages = iam.list_user_policies().user_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies = policies.unless_absent(&ABSENT, || format!("listing the policies of {}", what(name)))?;
    for policy in policies.unwrap_or_default() {
        let deleted = iam.delete_user_policy().user_name(name).policy_name(&policy).send().await;
        deleted.unless_absent(&ABSENT, || format!("deleting the policy {policy} of {}", what(name)))?;
    }
    let deleted = iam.delete_user().user_name(name).send().await;
    gone(deleted, context, &what(name))
}

async fn detach(iam: &Client, name: &str, arn: &str) -> Result<()> {
    let detached = iam.detach_user_policy().user_name(name).policy_arn(arn).send().await;
    detached.unless_absent(&ABSENT, || format!("detaching {arn} from {}", what(name)))?;
    Ok(())
}

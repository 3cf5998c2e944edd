//! The load balancers themselves.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{
        EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum as PrivateLink, LoadBalancer,
        LoadBalancerSchemeEnum, LoadBalancerTypeEnum, Tag,
    },
};
use step::{Change, Context, Doing, Error, Field, Result, compare, missing_tags};

use crate::{Own, Wanted};

/// A balancer with its tags.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) aws: LoadBalancer,
    pub(crate) tags: BTreeMap<String, String>,
}

pub(crate) async fn ensure(
    elb: &Client,
    context: &Context,
    wanted: &Wanted,
    own: &Own,
    group: &str,
) -> Result<LoadBalancer> {
    match find(elb, context, wanted).await? {
        None => create(elb, wanted, own, group).await,
        Some(found) => {
            check(&found.aws, wanted)?;
            update(elb, &found, wanted, own, group).await?;
            Ok(found.aws)
        }
    }
}

pub(crate) fn plan(
    found: Option<&Found>,
    wanted: &Wanted,
    own: &Own,
    group: Option<&String>,
) -> Result<Option<Change>> {
    let Some(found) = found else {
        let create = Change::create(&wanted.address).with("name", &wanted.name);
        return Ok(Some(create.with("type", wanted.kind.as_str()).with("scheme", wanted.scheme.as_str())));
    };
    check(&found.aws, wanted)?;
    let group = group.map_or(step::UNKNOWN, String::as_str);
    Ok(Change::update(&wanted.address, difference(found, own, group)))
}

pub(crate) async fn find(elb: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let Some(found) = named(elb, &wanted.name).await? else { return Ok(None) };
    context.owner().check(&format!("load balancer ({})", wanted.name), &found.tags)?;
    Ok(Some(found))
}

/// The balancer of this name, whosever it is.
async fn named(elb: &Client, name: &str) -> Result<Option<Found>> {
    let described = elb.describe_load_balancers().names(name).send().await;
    let described = described
        .unless_absent(&["LoadBalancerNotFound"], || format!("describing load balancer ({name})"))?;
    let Some(aws) = described.and_then(|answer| answer.load_balancers).and_then(|all| all.into_iter().next())
    else {
        return Ok(None);
    };
    let tags = tags(elb, vec![aws.load_balancer_arn().unwrap_or_default().to_owned()]).await?;
    Ok(Some(Found { aws, tags: tags.into_values().next().unwrap_or_default() }))
}

/// Somebody else's balancer, which must be what the spec says of it.
pub(crate) async fn existing(elb: &Client, context: &Context, wanted: &Wanted) -> Result<LoadBalancer> {
    let (address, name, region) = (&wanted.address, &wanted.name, &context.run.region);
    let invalid = |message: String| Err(Error::InvalidSpec(message));
    let Some(found) = named(elb, name).await? else {
        return invalid(format!(
            "{address}.name: there is no load balancer ({name}) in {region}: write the name of one that \
             exists, or leave `existing` out to have one made"
        ));
    };
    if context.owner().address(&found.tags).is_some() {
        return invalid(format!(
            "{address}.existing: load balancer ({name}) is this environment's own: leave `existing` out"
        ));
    }
    if !is_kind(&found.aws, wanted) {
        return invalid(format!(
            "{address}: load balancer ({name}) is {}: write these as `type` and `scheme`, or name another",
            kind(&found.aws)
        ));
    }
    let vpc = found.aws.vpc_id().unwrap_or("no VPC");
    if vpc != wanted.vpc {
        return invalid(format!(
            "{address}: load balancer ({name}) stands in {vpc}, and this environment doesn't: write that as \
             `network.vpc`, or name a balancer that stands in the environment's own"
        ));
    }
    Ok(found.aws)
}

/// Every balancer that carries our tags.
pub(crate) async fn ours(elb: &Client, context: &Context) -> Result<Vec<Found>> {
    let pages = elb.describe_load_balancers().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing load balancers")?;
    let arns = all.iter().filter_map(|balancer| balancer.load_balancer_arn.clone()).collect();
    let mut tags = tags(elb, arns).await?;
    let found = all.into_iter().filter_map(|aws| {
        let tags = tags.remove(aws.load_balancer_arn()?)?;
        context.owner().address(&tags)?;
        Some(Found { aws, tags })
    });
    Ok(found.collect())
}

/// The tags of balancers or target groups, by ARN; twenty a call.
pub(crate) async fn tags(
    elb: &Client,
    arns: Vec<String>,
) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut tags = BTreeMap::new();
    for arns in arns.chunks(20) {
        let described = elb.describe_tags().set_resource_arns(Some(arns.to_vec())).send().await;
        // One that is gone since it was listed spoils the whole answer; the next look doesn't list it.
        let described = described
            .unless_absent(
                &["LoadBalancerNotFound", "TargetGroupNotFound"],
                || "reading load balancers' tags",
            )?
            .ok_or_else(|| Error::soon("a load balancer went away while it was looked at"))?;
        for description in described.tag_descriptions.unwrap_or_default() {
            let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
            let pairs = description.tags().iter().filter_map(pair).collect();
            tags.insert(description.resource_arn.unwrap_or_default(), pairs);
        }
    }
    Ok(tags)
}

/// Type and scheme stay what they were when the balancer was made.
fn check(found: &LoadBalancer, wanted: &Wanted) -> Result<()> {
    if is_kind(found, wanted) {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{}: load balancer ({}) is {}, and can't become {} and {}: give this one another name with `name:`, \
         and the old one goes once the new one stands",
        wanted.address,
        wanted.name,
        kind(found),
        wanted.kind.as_str(),
        wanted.scheme.as_str()
    )))
}

fn is_kind(found: &LoadBalancer, wanted: &Wanted) -> bool {
    (found.r#type(), found.scheme()) == (Some(&wanted.kind), Some(&wanted.scheme))
}

fn kind(found: &LoadBalancer) -> String {
    let kind = found.r#type().map_or("of no type", LoadBalancerTypeEnum::as_str);
    format!("{kind} and {}", found.scheme().map_or("of no scheme", LoadBalancerSchemeEnum::as_str))
}

fn difference(found: &Found, own: &Own, group: &str) -> Vec<Field> {
    let list = |ids: BTreeSet<&str>| ids.into_iter().collect::<Vec<_>>().join(", ");
    [
        compare("subnets", list(subnets(&found.aws)), list(own.subnet_set())),
        compare("securityGroups", found.aws.security_groups().join(", "), group.to_owned()),
        (own.private_link && filters_private_link(&found.aws))
            .then(|| compare("enforceSecurityGroupInboundRulesOnPrivateLinkTraffic", "on", "off"))
            .flatten(),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &own.tags))
    .collect()
}

fn subnets(balancer: &LoadBalancer) -> BTreeSet<&str> {
    balancer.availability_zones().iter().filter_map(|zone| zone.subnet_id()).collect()
}

/// A network balancer's group also filters what comes through a VPC link, unless told not to.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-security-groups.html>
fn filters_private_link(balancer: &LoadBalancer) -> bool {
    balancer.enforce_security_group_inbound_rules_on_private_link_traffic() != Some("off")
}

/// The same name with the same settings answers the balancer that is there: this call can't double it.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>
async fn create(elb: &Client, wanted: &Wanted, own: &Own, group: &str) -> Result<LoadBalancer> {
    let created = elb
        .create_load_balancer()
        .name(&wanted.name)
        .r#type(wanted.kind.clone())
        .scheme(wanted.scheme.clone())
        .set_subnets(Some(own.subnets.clone()))
        .security_groups(group)
        .set_tags(Some(tag_list(&own.tags)))
        .send()
        .await
        .doing(|| format!("creating load balancer ({})", wanted.name))?;
    let balancer = created.load_balancers.and_then(|all| all.into_iter().next()).ok_or_else(|| {
        Error::Failed(format!("creating load balancer ({}): no balancer answered", wanted.name))
    })?;
    if own.private_link {
        set_groups(elb, &balancer, own, group).await?;
    }
    Ok(balancer)
}

pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    // Building a tag fails only without a key.
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn update(elb: &Client, found: &Found, wanted: &Wanted, own: &Own, group: &str) -> Result<()> {
    let arn = found.aws.load_balancer_arn().unwrap_or_default();
    if subnets(&found.aws) != own.subnet_set() {
        let set = elb.set_subnets().load_balancer_arn(arn).set_subnets(Some(own.subnets.clone()));
        set.send().await.doing(|| format!("setting the subnets of load balancer ({})", wanted.name))?;
    }
    let differs = found.aws.security_groups() != [group];
    if differs || (own.private_link && filters_private_link(&found.aws)) {
        set_groups(elb, &found.aws, own, group).await?;
    }
    if !missing_tags(&found.tags, &own.tags).is_empty() {
        let put = elb.add_tags().resource_arns(arn).set_tags(Some(tag_list(&own.tags))).send().await;
        put.doing(|| format!("tagging load balancer ({})", wanted.name))?;
    }
    Ok(())
}

async fn set_groups(elb: &Client, balancer: &LoadBalancer, own: &Own, group: &str) -> Result<()> {
    let arn = balancer.load_balancer_arn().unwrap_or_default();
    let call = elb.set_security_groups().load_balancer_arn(arn).security_groups(group);
    let call = if own.private_link {
        call.enforce_security_group_inbound_rules_on_private_link_traffic(PrivateLink::Off)
    } else {
        call
    };
    let name = balancer.load_balancer_name().unwrap_or_default();
    call.send().await.doing(|| format!("setting the security group of load balancer ({name})"))?;
    Ok(())
}

/// A balancer that a VPC link still uses stays until the link is gone. AWS takes a second deletion.
pub(crate) async fn delete(elb: &Client, found: &Found) -> Result<()> {
    let name = found.aws.load_balancer_name().unwrap_or_default();
    let arn = found.aws.load_balancer_arn().unwrap_or_default();
    let deleted = elb.delete_load_balancer().load_balancer_arn(arn).send().await;
    deleted.gone(&["LoadBalancerNotFound"], &["ResourceInUse"], || format!("deleting load balancer ({name})"))
}

//! The load balancers themselves.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{
        EnforceSecurityGroupInboundRulesOnPrivateLinkTrafficEnum as PrivateLink, LoadBalancer,
        LoadBalancerSchemeEnum, LoadBalancerTypeEnum, Tag,
    },
};
use spec::{Balancer, Kind, Scheme};
use step::{Change, Context, Doing, Error, Field, Result, compare, missing_tags, name_of};

use crate::{Own, Wanted};

/// The longest name.
const LIMIT: usize = 32;

/// What a balancer is known by. Type and scheme stay what they were when it was made.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>
pub(crate) struct Identity {
    pub(crate) name: String,
    /// The name of one that takes another's place while that holds the first; none where the spec says the name.
    spare: Option<String>,
    pub(crate) kind: LoadBalancerTypeEnum,
    pub(crate) scheme: LoadBalancerSchemeEnum,
}

impl Identity {
    pub(crate) fn new(context: &Context, key: &str, balancer: &Balancer) -> Self {
        let kind = match balancer.kind {
            Kind::Application => LoadBalancerTypeEnum::Application,
            Kind::Network => LoadBalancerTypeEnum::Network,
        };
        let scheme = match balancer.scheme {
            Scheme::Internal => LoadBalancerSchemeEnum::Internal,
            Scheme::InternetFacing => LoadBalancerSchemeEnum::InternetFacing,
        };
        let immutable = format!("{} {}", kind.as_str(), scheme.as_str());
        let spare = || name_of(&context.run.environment, key, LIMIT, &immutable);
        Self {
            name: context.name(balancer.name.as_ref(), key, LIMIT),
            spare: balancer.name.is_none().then(spare),
            kind,
            scheme,
        }
    }

    /// What tells its target groups from those of the balancer whose place it takes: a group hangs on one only.
    pub(crate) fn immutable(&self) -> String {
        let named = if self.spare.is_none() { self.name.as_str() } else { "" };
        format!("{} {} {named}", self.kind.as_str(), self.scheme.as_str())
    }

    fn is_kind(&self, found: &LoadBalancer) -> bool {
        (found.r#type(), found.scheme()) == (Some(&self.kind), Some(&self.scheme))
    }

    /// Whether this balancer is the one that is meant.
    pub(crate) fn is(&self, found: &LoadBalancer) -> bool {
        let names = [Some(self.name.as_str()), self.spare.as_deref()];
        names.contains(&found.load_balancer_name()) && self.is_kind(found)
    }
}

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
    match place(elb, context, wanted).await? {
        (name, None) => create(elb, &name, wanted, own, group).await,
        (name, Some(found)) => {
            update(elb, &found, &name, own, group).await?;
            Ok(found.aws)
        }
    }
}

pub(crate) fn plan(
    (name, found): (&str, Option<&Found>),
    wanted: &Wanted,
    own: &Own,
    group: Option<&String>,
) -> Option<Change> {
    let Some(found) = found else {
        let identity = &wanted.identity;
        let create = Change::create(&wanted.address).with("name", name);
        return Some(create.with("type", identity.kind.as_str()).with("scheme", identity.scheme.as_str()));
    };
    let group = group.map_or(step::UNKNOWN, String::as_str);
    Change::update(&wanted.address, difference(found, own, group))
}

/// The wanted balancer, if it is there, and its name. Where one of another type or scheme has the name, it keeps
/// that until it goes.
pub(crate) async fn place(
    elb: &Client,
    context: &Context,
    wanted: &Wanted,
) -> Result<(String, Option<Found>)> {
    let identity = &wanted.identity;
    let first = find(elb, context, &identity.name).await?;
    let fits = first.as_ref().is_none_or(|found| identity.is_kind(&found.aws));
    match (first, &identity.spare) {
        (Some(first), Some(_)) if fits => Ok((identity.name.clone(), Some(first))),
        (first, Some(spare)) => {
            let second = find(elb, context, spare).await?;
            let name = if first.is_none() && second.is_none() { &identity.name } else { spare };
            Ok((name.clone(), second))
        }
        (Some(first), None) if !fits => Err(refusal(&first.aws, wanted)),
        (first, None) => Ok((identity.name.clone(), first)),
    }
}

async fn find(elb: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(found) = named(elb, name).await? else { return Ok(None) };
    context.owner().check(&format!("load balancer ({name})"), &found.tags)?;
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
    let (address, name, region) = (&wanted.address, &wanted.identity.name, &context.run.region);
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
    if !wanted.identity.is_kind(&found.aws) {
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

/// The security groups of balancers.
pub(crate) async fn groups(elb: &Client, arns: &[String]) -> Result<Vec<String>> {
    let described = elb.describe_load_balancers().set_load_balancer_arns(Some(arns.to_vec())).send().await;
    let described = described.unless_absent(&["LoadBalancerNotFound"], || {
        format!("describing load balancer ({})", arns.join(", "))
    })?;
    let balancers = described.and_then(|answer| answer.load_balancers).unwrap_or_default();
    Ok(balancers.into_iter().flat_map(|found| found.security_groups.unwrap_or_default()).collect())
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

/// A name that the spec gives can't be another's while the old one stands.
fn refusal(found: &LoadBalancer, wanted: &Wanted) -> Error {
    let Identity { name, kind: asked, scheme, .. } = &wanted.identity;
    Error::InvalidSpec(format!(
        "{}: load balancer ({name}) is {}, and can't become {} and {}: give this one another name with `name:`, \
         and the old one goes once the new one stands",
        wanted.address,
        kind(found),
        asked.as_str(),
        scheme.as_str()
    ))
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
async fn create(elb: &Client, name: &str, wanted: &Wanted, own: &Own, group: &str) -> Result<LoadBalancer> {
    let created = elb
        .create_load_balancer()
        .name(name)
        .r#type(wanted.identity.kind.clone())
        .scheme(wanted.identity.scheme.clone())
        .set_subnets(Some(own.subnets.clone()))
        .security_groups(group)
        .set_tags(Some(tag_list(&own.tags)))
        .send()
        .await
        .doing(|| format!("creating load balancer ({name})"))?;
    let balancer = created
        .load_balancers
        .and_then(|all| all.into_iter().next())
        .ok_or_else(|| Error::Failed(format!("creating load balancer ({name}): no balancer answered")))?;
    if own.private_link {
        set_groups(elb, &balancer, own, group).await?;
    }
    Ok(balancer)
}

pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    // Building a tag fails only without a key.
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn update(elb: &Client, found: &Found, name: &str, own: &Own, group: &str) -> Result<()> {
    let arn = found.aws.load_balancer_arn().unwrap_or_default();
    if subnets(&found.aws) != own.subnet_set() {
        let set = elb.set_subnets().load_balancer_arn(arn).set_subnets(Some(own.subnets.clone()));
        set.send().await.doing(|| format!("setting the subnets of load balancer ({name})"))?;
    }
    let differs = found.aws.security_groups() != [group];
    if differs || (own.private_link && filters_private_link(&found.aws)) {
        set_groups(elb, &found.aws, own, group).await?;
    }
    if !missing_tags(&found.tags, &own.tags).is_empty() {
        let put = elb.add_tags().resource_arns(arn).set_tags(Some(tag_list(&own.tags))).send().await;
        put.doing(|| format!("tagging load balancer ({name})"))?;
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

/// Why a balancer can't be deleted, if somebody has protected it from that.
pub(crate) async fn protected(elb: &Client, found: &Found) -> Result<Option<String>> {
    let name = found.aws.load_balancer_name().unwrap_or_default();
    let arn = found.aws.load_balancer_arn().unwrap_or_default();
    let described = elb.describe_load_balancer_attributes().load_balancer_arn(arn).send().await;
    let described = described.unless_absent(&["LoadBalancerNotFound"], || {
        format!("reading the attributes of load balancer ({name})")
    })?;
    let attributes = described.and_then(|answer| answer.attributes).unwrap_or_default();
    let protected = attributes
        .iter()
        .any(|found| (found.key(), found.value()) == (Some("deletion_protection.enabled"), Some("true")));
    Ok(protected.then(|| {
        format!(
            "{}: load balancer ({name}) has deletion protection, which somebody has turned on by hand: turn it off with \
             `aws elbv2 modify-load-balancer-attributes --load-balancer-arn {arn} --attributes \
             Key=deletion_protection.enabled,Value=false`",
            found.tags[step::ADDRESS]
        )
    }))
}

/// A balancer that a VPC link still uses stays until the link is gone. AWS takes a second deletion.
pub(crate) async fn delete(elb: &Client, found: &Found) -> Result<()> {
    let name = found.aws.load_balancer_name().unwrap_or_default();
    let arn = found.aws.load_balancer_arn().unwrap_or_default();
    let deleted = elb.delete_load_balancer().load_balancer_arn(arn).send().await;
    deleted.gone(&["LoadBalancerNotFound"], &["ResourceInUse"], || format!("deleting load balancer ({name})"))
}

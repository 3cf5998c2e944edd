//! Security groups and their rules: the group that services share, and the endpoints' own.
//!
//! A rule of ours carries an address below its group's. Rules that other steps made carry theirs and are left alone;
//! one without our tags was made by hand. `ensure` only opens: what ran before may still need a port that the spec no
//! longer opens. What the spec doesn't ask for is closed by `prune`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    types::{IpPermission, IpRange, ResourceType, SecurityGroup, SecurityGroupRule, Tag, UserIdGroupPair},
};
use spec::Spec;
use step::{Change, Context, Doing, Error, Field, Result, UNKNOWN, missing_tags};

use crate::ours::{self, Found, Ours};

pub(crate) const SERVICES: &str = "network.group";
pub(crate) const ENDPOINTS: &str = "network.endpoint-group";

/// A group the spec asks for.
pub(crate) struct Wanted {
    address: &'static str,
    name: String,
    description: &'static str,
    /// The TCP ports it lets in.
    ports: BTreeSet<u16>,
    /// From where; none for the group itself.
    source: Option<String>,
}

/// The group that services share: they reach each other's declared ports.
pub(crate) fn services(context: &Context) -> Wanted {
    Wanted {
        address: SERVICES,
        name: context.name(None, "services", 255),
        description: "Shared by the services of an environment",
        ports: ports(&context.spec),
        source: None,
    }
}

/// The group of interface endpoints: the whole VPC reaches them.
pub(crate) fn endpoints(context: &Context, cidr: &str) -> Wanted {
    Wanted {
        address: ENDPOINTS,
        name: context.name(None, "endpoints", 255),
        description: "Lets the VPC reach its interface endpoints",
        ports: [443].into(),
        source: Some(cidr.to_owned()),
    }
}

fn ports(spec: &Spec) -> BTreeSet<u16> {
    spec.services.values().flat_map(|service| service.ports.iter().copied()).collect()
}

pub(crate) async fn ensure(
    ec2: &Client,
    context: &Context,
    vpc: &str,
    wanted: &Wanted,
    found: &Found,
) -> Result<String> {
    let id = match ours::first(&found.groups, wanted.address) {
        None => create(ec2, context, vpc, wanted).await?,
        Some(group) => {
            ours::retag(ec2, context, group, &wanted.name).await?;
            group.id.clone()
        }
    };
    open(ec2, context, &id, wanted).await?;
    Ok(id)
}

/// Closes what a group lets in or out and the spec doesn't ask for.
pub(crate) async fn close(ec2: &Client, context: &Context, wanted: &Wanted, found: &Found) -> Result<()> {
    let Some(group) = ours::first(&found.groups, wanted.address) else { return Ok(()) };
    let rules = rules(ec2, &group.id).await?;
    revoke(ec2, &group.id, &difference(context, &rules, &group.id, wanted).extra).await
}

pub(crate) async fn plan(
    ec2: &Client,
    context: &Context,
    wanted: &Wanted,
    found: &Found,
) -> Result<(Option<Change>, String)> {
    let Some(group) = ours::first(&found.groups, wanted.address) else {
        return Ok((Some(Change::create(wanted.address).with("name", &wanted.name)), UNKNOWN.to_owned()));
    };
    let tags = ours::tags(context, wanted.address, &wanted.name);
    let rules = rules(ec2, &group.id).await?;
    let fields = difference(context, &rules, &group.id, wanted).fields();
    let fields = fields.into_iter().chain(missing_tags(&group.tags, &tags)).collect();
    Ok((Change::update(wanted.address, fields), group.id.clone()))
}

/// What a group's rules lack and have too many.
struct Difference<'a> {
    missing: BTreeSet<u16>,
    extra: Vec<&'a SecurityGroupRule>,
    closed: bool,
}

impl Difference<'_> {
    fn fields(&self) -> Vec<Field> {
        let field = |name: String, found: &str, wanted: &str| Field {
            name,
            found: Some(found.to_owned()),
            wanted: wanted.to_owned(),
        };
        let missing = self.missing.iter().map(|port| field(format!("ingress.{port}"), "closed", "open"));
        let extra = self.extra.iter().map(|rule| {
            let way = if rule.is_egress() == Some(true) { "egress" } else { "ingress" };
            field(format!("{way}.{}", described(rule)), "open", "closed")
        });
        let egress = self.closed.then(|| field("egress".to_owned(), "closed", "open"));
        missing.chain(extra).chain(egress).collect()
    }
}

fn difference<'a>(
    context: &Context,
    rules: &'a [SecurityGroupRule],
    group: &str,
    wanted: &Wanted,
) -> Difference<'a> {
    let mut missing = wanted.ports.clone();
    let mut extra = Vec::new();
    let mut closed = true;
    for rule in rules {
        if rule.is_egress() == Some(true) {
            if anywhere(rule) {
                closed = false;
            } else {
                extra.push(rule);
            }
        } else if let Some(port) = port(rule, group, wanted).filter(|port| wanted.ports.contains(port)) {
            missing.remove(&port);
        } else if !of_another_step(context, rule, wanted) {
            extra.push(rule);
        }
    }
    Difference { missing, extra, closed }
}

/// The port a rule opens to where the spec wants one open.
fn port(rule: &SecurityGroupRule, group: &str, wanted: &Wanted) -> Option<u16> {
    let from_group = rule.referenced_group_info().and_then(|other| other.group_id()) == Some(group);
    let source = match &wanted.source {
        None => from_group,
        Some(cidr) => rule.cidr_ipv4() == Some(cidr),
    };
    let port = rule.from_port().filter(|_| rule.from_port() == rule.to_port())?;
    u16::try_from(port).ok().filter(|_| source && rule.ip_protocol() == Some("tcp"))
}

/// Whether the rule lets everything out.
fn anywhere(rule: &SecurityGroupRule) -> bool {
    rule.ip_protocol() == Some("-1") && rule.cidr_ipv4() == Some("0.0.0.0/0")
}

fn of_another_step(context: &Context, rule: &SecurityGroupRule, wanted: &Wanted) -> bool {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()));
    let tags: BTreeMap<_, _> = rule.tags().iter().filter_map(pair).collect();
    context.owner().address(&tags).is_some_and(|address| !address.starts_with(wanted.address))
}

fn described(rule: &SecurityGroupRule) -> String {
    let source = rule
        .cidr_ipv4()
        .or(rule.cidr_ipv6())
        .or(rule.prefix_list_id())
        .or(rule.referenced_group_info().and_then(|group| group.group_id()));
    let protocol = rule.ip_protocol().unwrap_or("-1");
    let ports = (rule.from_port().unwrap_or(-1), rule.to_port().unwrap_or(-1));
    format!("{protocol} {}-{} {}", ports.0, ports.1, source.unwrap_or("nowhere"))
}

/// A group of our name that isn't ours is a conflict: a VPC holds one of each name.
async fn create(ec2: &Client, context: &Context, vpc: &str, wanted: &Wanted) -> Result<String> {
    let created = ec2
        .create_security_group()
        .group_name(&wanted.name)
        .description(wanted.description)
        .vpc_id(vpc)
        .tag_specifications(ours::tagged(context, ResourceType::SecurityGroup, wanted.address, &wanted.name))
        .send()
        .await;
    let doing = || format!("creating security group ({})", wanted.name);
    let created = crate::young_unless(created, "InvalidGroup.Duplicate", doing)?.ok_or_else(|| {
        Error::Conflict(format!(
            "security group ({}) exists in {vpc} and isn't this environment's: give the environment another `name`, or \
             another VPC",
            wanted.name
        ))
    })?;
    created.group_id.ok_or_else(|| Error::Failed(format!("{}: no group answered", doing())))
}

async fn open(ec2: &Client, context: &Context, id: &str, wanted: &Wanted) -> Result<()> {
    let rules = rules(ec2, id).await?;
    let difference = difference(context, &rules, id, wanted);
    for port in &difference.missing {
        authorize(ec2, context, id, wanted, *port).await?;
    }
    if difference.closed {
        let everything = IpPermission::builder().ip_protocol("-1").ip_ranges(range("0.0.0.0/0")).build();
        let opened =
            ec2.authorize_security_group_egress().group_id(id).ip_permissions(everything).send().await;
        opened.unless_absent(&["InvalidPermission.Duplicate"], || format!("opening the way out of {id}"))?;
    }
    Ok(())
}

async fn authorize(ec2: &Client, context: &Context, id: &str, wanted: &Wanted, port: u16) -> Result<()> {
    let rule = IpPermission::builder().ip_protocol("tcp").from_port(port.into()).to_port(port.into());
    let rule = match &wanted.source {
        None => rule.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
        Some(cidr) => rule.ip_ranges(range(cidr)),
    };
    let address = format!("{}.{port}", wanted.address);
    let opened = ec2
        .authorize_security_group_ingress()
        .group_id(id)
        .ip_permissions(rule.build())
        .tag_specifications(ours::tagged(context, ResourceType::SecurityGroupRule, &address, &address))
        .send()
        .await;
    // Another pass opened it.
    opened.unless_absent(&["InvalidPermission.Duplicate"], || {
        format!("opening port {port} of security group ({})", wanted.name)
    })?;
    Ok(())
}

fn range(cidr: &str) -> IpRange {
    IpRange::builder().cidr_ip(cidr).build()
}

async fn revoke(ec2: &Client, id: &str, rules: &[&SecurityGroupRule]) -> Result<()> {
    let ids = |egress: bool| -> Vec<String> {
        let rules = rules.iter().filter(|rule| rule.is_egress().unwrap_or(false) == egress);
        rules.filter_map(|rule| rule.security_group_rule_id.clone()).collect()
    };
    let doing = || format!("closing what the spec doesn't open in security group ({id})");
    let absent = ["InvalidSecurityGroupRuleId.NotFound"];
    let (ingress, egress) = (ids(false), ids(true));
    if !ingress.is_empty() {
        let call = ec2.revoke_security_group_ingress().group_id(id);
        call.set_security_group_rule_ids(Some(ingress)).send().await.unless_absent(&absent, doing)?;
    }
    if !egress.is_empty() {
        let call = ec2.revoke_security_group_egress().group_id(id);
        call.set_security_group_rule_ids(Some(egress)).send().await.unless_absent(&absent, doing)?;
    }
    Ok(())
}

async fn rules(ec2: &Client, group: &str) -> Result<Vec<SecurityGroupRule>> {
    let pages = ec2.describe_security_group_rules().filters(ours::filter("group-id", group));
    let all: std::result::Result<Vec<_>, _> = pages.into_paginator().items().send().collect().await;
    all.doing(|| format!("describing the rules of security group ({group})"))
}

/// Its own rules go with it; a group that others' rules name, or an interface carries, stays until
/// they are gone.
pub(crate) async fn delete(ec2: &Client, context: &Context, group: &Ours<SecurityGroup>) -> Result<()> {
    security_group::delete(ec2, context, &group.id, &group.address).await
}

//! Security groups that steps give to what they make, and the rules that open their ports, and others'.
//!
//! A group carries the owner's tags, and so does each rule, from the call that creates it on. `ensure` only opens:
//! what ran before may still need a port that the spec no longer opens. A rule that the spec doesn't ask for, made by
//! an earlier spec or by hand, is closed by `prune`.

mod holders;

use std::{collections::BTreeMap, ops::RangeInclusive};

use aws_sdk_ec2::{
    Client,
    types::{
        Filter, IpPermission, IpRange, ResourceType, SecurityGroup, SecurityGroupRule, Tag, TagSpecification,
        UserIdGroupPair,
    },
};
pub use holders::{Held, held};
use step::{CONTROL_PLANE, Change, Context, Doing, ENVIRONMENT, Error, Field, Result, missing_tags};

/// A security group that a spec asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its address.
    pub address: String,
    /// Its name, which only one group of a VPC may have.
    pub name: String,
    /// What it is for.
    pub description: &'static str,
    /// The VPC's id.
    pub vpc: String,
    /// What it lets in.
    pub ingress: Vec<Rule>,
}

/// TCP ports that are to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its address.
    pub address: String,
    /// The first port and the last.
    pub ports: RangeInclusive<u16>,
    /// Who may reach them.
    pub source: Source,
}

/// Who may reach ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// These addresses.
    Cidr(String),
    /// What carries this group.
    Group(String),
}

/// Ports in one word: `80`, or `32768-65535`.
pub fn told(ports: &RangeInclusive<u16>) -> String {
    span((*ports.start()).into(), (*ports.end()).into())
}

fn span(first: i32, last: i32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The id of the group, which is there and lets in what is wanted.
pub async fn ensure(ec2: &Client, context: &Context, wanted: &Wanted) -> Result<String> {
    let id = match find(ec2, context, wanted).await? {
        None => create(ec2, context, wanted).await?,
        Some(group) => {
            retag(ec2, context, &group, wanted).await?;
            group.group_id.unwrap_or_default()
        }
    };
    let own = of_group(ec2, &id).await?;
    open(ec2, context, &id, &own, &wanted.ingress).await?;
    if !own.iter().any(|rule| rule.is_egress() == Some(true)) {
        open_egress(ec2, &id).await?;
    }
    Ok(id)
}

/// Closes what the group lets in and the spec doesn't ask for. Answers its id, if it is there.
pub async fn close(ec2: &Client, context: &Context, wanted: &Wanted) -> Result<Option<String>> {
    let Some(id) = find(ec2, context, wanted).await?.and_then(|group| group.group_id) else {
        return Ok(None);
    };
    let own = of_group(ec2, &id).await?;
    revoke(ec2, &id, &difference(&own, &wanted.ingress).extra).await?;
    Ok(Some(id))
}

/// What [`ensure`] would open and [`close`] would close, and the group's id if it is there.
pub async fn plan(
    ec2: &Client,
    context: &Context,
    wanted: &Wanted,
) -> Result<(Option<Change>, Option<String>)> {
    let Some(group) = find(ec2, context, wanted).await? else {
        return Ok((Some(Change::create(&wanted.address).with("name", &wanted.name)), None));
    };
    let id = group.group_id().unwrap_or_default().to_owned();
    let own = of_group(ec2, &id).await?;
    let mut fields = fields(&difference(&own, &wanted.ingress));
    fields.extend(missing_tags(&tags(group.tags()), &wanted_tags(context, wanted)));
    Ok((Change::update(&wanted.address, fields), Some(id)))
}

/// Opens what is missing of the rules of another step's group, of which ours are those whose address begins so.
pub async fn ensure_rules(
    ec2: &Client,
    context: &Context,
    group: &str,
    prefix: &str,
    wanted: &[Rule],
) -> Result<()> {
    let found = rules_of(ec2, context, group, prefix).await?;
    open(ec2, context, group, &found, wanted).await
}

/// Closes those of the rules of another step's group that aren't wanted.
pub async fn close_rules(
    ec2: &Client,
    context: &Context,
    group: &str,
    prefix: &str,
    wanted: &[Rule],
) -> Result<()> {
    let found = rules_of(ec2, context, group, prefix).await?;
    revoke(ec2, group, &difference(&found, wanted).extra).await
}

/// What [`ensure_rules`] would open and [`close_rules`] would close.
pub async fn plan_rules(
    ec2: &Client,
    context: &Context,
    group: &str,
    prefix: &str,
    wanted: &[Rule],
) -> Result<Vec<Field>> {
    Ok(fields(&difference(&rules_of(ec2, context, group, prefix).await?, wanted)))
}

async fn find(ec2: &Client, context: &Context, wanted: &Wanted) -> Result<Option<SecurityGroup>> {
    let groups = ours(ec2, context, &wanted.address).await?;
    Ok(groups.into_iter().find(|group| address(context, group).as_ref() == Some(&wanted.address)))
}

/// Our security groups whose address begins so.
pub async fn ours(ec2: &Client, context: &Context, prefix: &str) -> Result<Vec<SecurityGroup>> {
    let pages =
        ec2.describe_security_groups().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = all.doing(|| "describing security groups")?;
    all.retain(|group| address(context, group).is_some_and(|address| address.starts_with(prefix)));
    Ok(all)
}

/// The address of a group of ours.
pub fn address(context: &Context, group: &SecurityGroup) -> Option<String> {
    context.owner().address(&tags(group.tags())).map(str::to_owned)
}

/// Our rules in whatever group, with their addresses.
pub async fn rules(ec2: &Client, context: &Context) -> Result<Vec<(String, SecurityGroupRule)>> {
    let pages =
        ec2.describe_security_group_rules().set_filters(Some(owner(context))).into_paginator().items();
    let all: std::result::Result<Vec<_>, _> = pages.send().collect().await;
    let of = |rule: SecurityGroupRule| Some((context.owner().address(&tags(rule.tags()))?.to_owned(), rule));
    Ok(all.doing(|| "describing security group rules")?.into_iter().filter_map(of).collect())
}

fn owner(context: &Context) -> Vec<Filter> {
    let owner = context.owner();
    vec![
        filter(&format!("tag:{ENVIRONMENT}"), &owner.environment),
        filter(&format!("tag:{CONTROL_PLANE}"), &owner.control_plane),
    ]
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

async fn of_group(ec2: &Client, id: &str) -> Result<Vec<SecurityGroupRule>> {
    let pages = ec2.describe_security_group_rules().filters(filter("group-id", id)).into_paginator().items();
    let all: std::result::Result<Vec<_>, _> = pages.send().collect().await;
    all.doing(|| format!("describing the rules of security group ({id})"))
}

async fn rules_of(
    ec2: &Client,
    context: &Context,
    group: &str,
    prefix: &str,
) -> Result<Vec<SecurityGroupRule>> {
    let mut rules = rules(ec2, context).await?;
    rules.retain(|(address, rule)| address.starts_with(prefix) && rule.group_id() == Some(group));
    Ok(rules.into_iter().map(|(_, rule)| rule).collect())
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn wanted_tags(context: &Context, wanted: &Wanted) -> BTreeMap<String, String> {
    let mut tags = context.tags(&wanted.address);
    tags.entry("Name".to_owned()).or_insert_with(|| wanted.name.clone());
    tags
}

/// What rules lack, and have too many.
struct Difference<'a> {
    missing: Vec<&'a Rule>,
    extra: Vec<&'a SecurityGroupRule>,
}

fn difference<'a>(found: &'a [SecurityGroupRule], wanted: &'a [Rule]) -> Difference<'a> {
    let ingress = || found.iter().filter(|rule| rule.is_egress() != Some(true));
    Difference {
        missing: wanted.iter().filter(|rule| !ingress().any(|found| opens(found, rule))).collect(),
        extra: ingress().filter(|found| !wanted.iter().any(|rule| opens(found, rule))).collect(),
    }
}

/// Whether a rule opens exactly these ports to exactly this source.
fn opens(found: &SecurityGroupRule, rule: &Rule) -> bool {
    let (first, last) = (Some((*rule.ports.start()).into()), Some((*rule.ports.end()).into()));
    let source = match &rule.source {
        Source::Cidr(cidr) => found.cidr_ipv4() == Some(cidr),
        Source::Group(id) => found.referenced_group_info().and_then(|group| group.group_id()) == Some(id),
    };
    source && found.ip_protocol() == Some("tcp") && found.from_port() == first && found.to_port() == last
}

fn fields(difference: &Difference<'_>) -> Vec<Field> {
    let field = |name: String, found: &str, wanted: &str| Field {
        name,
        found: Some(found.to_owned()),
        wanted: wanted.to_owned(),
    };
    let open = |rule: &&Rule| field(format!("ingress.{}", told(&rule.ports)), "closed", "open");
    let missing = difference.missing.iter().map(open);
    let extra = difference.extra.iter().map(|rule| {
        let source = rule.cidr_ipv4().or(rule.referenced_group_info().and_then(|group| group.group_id()));
        let ports = span(rule.from_port().unwrap_or(-1), rule.to_port().unwrap_or(-1));
        field(format!("ingress.{ports} from {}", source.unwrap_or("elsewhere")), "open", "closed")
    });
    missing.chain(extra).collect()
}

/// A group of our name that isn't ours is a conflict: a VPC holds one of each name.
async fn create(ec2: &Client, context: &Context, wanted: &Wanted) -> Result<String> {
    let created = ec2
        .create_security_group()
        .group_name(&wanted.name)
        .description(wanted.description)
        .vpc_id(&wanted.vpc)
        .tag_specifications(tagged(ResourceType::SecurityGroup, wanted_tags(context, wanted)))
        .send()
        .await;
    let doing = || format!("creating security group ({})", wanted.name);
    let created = created.unless_absent(&["InvalidGroup.Duplicate"], doing)?.ok_or_else(|| {
        Error::Conflict(format!(
            "security group ({}) exists in {} and isn't this environment's: give what it is for another key in the spec",
            wanted.name, wanted.vpc
        ))
    })?;
    created.group_id.ok_or_else(|| Error::Failed(format!("{}: no group answered", doing())))
}

async fn retag(ec2: &Client, context: &Context, group: &SecurityGroup, wanted: &Wanted) -> Result<()> {
    let tags_wanted = wanted_tags(context, wanted);
    if missing_tags(&tags(group.tags()), &tags_wanted).is_empty() {
        return Ok(());
    }
    let id = group.group_id().unwrap_or_default();
    let put = ec2.create_tags().resources(id).set_tags(Some(tag_list(tags_wanted))).send().await;
    put.doing(|| format!("tagging security group ({})", wanted.name))?;
    Ok(())
}

fn tagged(kind: ResourceType, tags: BTreeMap<String, String>) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(tag_list(tags))).build()
}

fn tag_list(tags: BTreeMap<String, String>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn open(
    ec2: &Client,
    context: &Context,
    group: &str,
    found: &[SecurityGroupRule],
    wanted: &[Rule],
) -> Result<()> {
    for rule in difference(found, wanted).missing {
        authorize(ec2, context, group, rule).await?;
    }
    Ok(())
}

async fn authorize(ec2: &Client, context: &Context, group: &str, rule: &Rule) -> Result<()> {
    let (first, last) = (i32::from(*rule.ports.start()), i32::from(*rule.ports.end()));
    let permission = IpPermission::builder().ip_protocol("tcp").from_port(first).to_port(last);
    let permission = match &rule.source {
        Source::Cidr(cidr) => permission.ip_ranges(IpRange::builder().cidr_ip(cidr).build()),
        Source::Group(id) => permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build()),
    };
    let opened = ec2
        .authorize_security_group_ingress()
        .group_id(group)
        .ip_permissions(permission.build())
        .tag_specifications(tagged(ResourceType::SecurityGroupRule, context.tags(&rule.address)))
        .send()
        .await;
    opened.unless_absent(&["InvalidPermission.Duplicate"], || {
        format!("opening {} of security group ({group})", told(&rule.ports))
    })?;
    Ok(())
}

/// Lets everything out, as a new group does.
async fn open_egress(ec2: &Client, id: &str) -> Result<()> {
    let everything = IpPermission::builder()
        .ip_protocol("-1")
        .ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build())
        .build();
    let opened = ec2.authorize_security_group_egress().group_id(id).ip_permissions(everything).send().await;
    opened.unless_absent(&["InvalidPermission.Duplicate"], || format!("opening the way out of {id}"))?;
    Ok(())
}

/// Takes rules away that let something in.
pub async fn revoke(ec2: &Client, group: &str, rules: &[&SecurityGroupRule]) -> Result<()> {
    let ids: Vec<String> = rules.iter().filter_map(|rule| rule.security_group_rule_id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let call = ec2.revoke_security_group_ingress().group_id(group).set_security_group_rule_ids(Some(ids));
    let absent = ["InvalidSecurityGroupRuleId.NotFound", "InvalidGroup.NotFound", "InvalidGroupId.NotFound"];
    call.send().await.unless_absent(&absent, || format!("closing ports of security group ({group})"))?;
    Ok(())
}

/// Deletes a group; interfaces hold it for a while after what they belonged to is gone, and rules of other groups that
/// name it as long as they are there.
pub async fn delete(ec2: &Client, context: &Context, id: &str, address: &str) -> Result<()> {
    let deleted = ec2.delete_security_group().group_id(id).send().await;
    let absent = ["InvalidGroup.NotFound", "InvalidGroupId.NotFound"];
    let doing = || format!("deleting security group {address} ({id})");
    held(ec2, context, Held::Group(id), deleted.gone(&absent, &["DependencyViolation"], doing)).await
}

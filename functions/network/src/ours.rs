//! What is ours in EC2: everything that carries the owner's tags, found in one look.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    types::{
        Address, Filter, InternetGateway, NatGateway, NatGatewayState, ResourceType, RouteTable,
        SecurityGroup, Subnet, Tag, TagSpecification, Vpc, VpcEndpoint,
    },
};
use step::{CONTROL_PLANE, Context, Doing, ENVIRONMENT, Result, missing_tags};

/// A resource that carries our tags.
#[derive(Debug, Clone)]
pub(crate) struct Ours<T> {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) aws: T,
}

/// Everything in the region that carries our tags. Should a lost answer have doubled something, what
/// is in use comes first: the first of an address is the one to keep.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) vpcs: Vec<Ours<Vpc>>,
    pub(crate) subnets: Vec<Ours<Subnet>>,
    pub(crate) internet_gateways: Vec<Ours<InternetGateway>>,
    pub(crate) nat_gateways: Vec<Ours<NatGateway>>,
    pub(crate) addresses: Vec<Ours<Address>>,
    pub(crate) route_tables: Vec<Ours<RouteTable>>,
    pub(crate) groups: Vec<Ours<SecurityGroup>>,
    pub(crate) endpoints: Vec<Ours<VpcEndpoint>>,
}

pub(crate) async fn look(ec2: &Client, context: &Context) -> Result<Found> {
    let (vpcs, subnets, internet_gateways, nat_gateways, addresses, route_tables, groups, endpoints) = tokio::try_join!(
        vpcs(ec2, context),
        subnets(ec2, context),
        internet_gateways(ec2, context),
        nat_gateways(ec2, context),
        addresses(ec2, context),
        route_tables(ec2, context),
        groups(ec2, context),
        endpoints(ec2, context),
    )?;
    let mut found =
        Found { vpcs, subnets, internet_gateways, nat_gateways, addresses, route_tables, groups, endpoints };
    let used: BTreeSet<String> =
        found.subnets.iter().filter_map(|subnet| subnet.aws.vpc_id.clone()).collect();
    found.vpcs.sort_by_key(|vpc| (!used.contains(&vpc.id), vpc.id.clone()));
    found.internet_gateways.sort_by_key(|gateway| (gateway.aws.attachments().is_empty(), gateway.id.clone()));
    found.addresses.sort_by_key(|address| (address.aws.association_id().is_none(), address.id.clone()));
    found.route_tables.sort_by_key(|table| (table.aws.associations().is_empty(), table.id.clone()));
    Ok(found)
}

/// The one to keep of those at an address.
pub(crate) fn first<'a, T>(ours: &'a [Ours<T>], address: &str) -> Option<&'a Ours<T>> {
    ours.iter().find(|each| each.address == address)
}

/// Those whose address isn't wanted, and the doubles of those that are.
pub(crate) fn dropped<T>(ours: Vec<Ours<T>>, wanted: &BTreeSet<String>) -> Vec<Ours<T>> {
    let mut kept = BTreeSet::new();
    let keep = |each: &Ours<T>| wanted.contains(&each.address) && kept.insert(each.address.clone());
    let mut keep = keep;
    ours.into_iter().filter(|each| !keep(each)).collect()
}

/// The tags a new resource is made with: ours, and the name the console shows.
pub(crate) fn tags(context: &Context, address: &str, name: &str) -> BTreeMap<String, String> {
    let mut tags = context.tags(address);
    tags.entry("Name".to_owned()).or_insert_with(|| name.to_owned());
    tags
}

/// The same tags, as a create call takes them.
pub(crate) fn tagged(context: &Context, kind: ResourceType, address: &str, name: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(tag_list(tags(context, address, name))))
        .build()
}

/// Puts back the tags that a resource lost, or got in the spec since it was made.
pub(crate) async fn retag<T>(ec2: &Client, context: &Context, ours: &Ours<T>, name: &str) -> Result<()> {
    let wanted = tags(context, &ours.address, name);
    if missing_tags(&ours.tags, &wanted).is_empty() {
        return Ok(());
    }
    let put = ec2.create_tags().resources(&ours.id).set_tags(Some(tag_list(wanted))).send().await;
    put.doing(|| format!("tagging {} ({})", ours.address, ours.id))?;
    Ok(())
}

fn tag_list(tags: BTreeMap<String, String>) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub(crate) fn filter(name: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn owner(context: &Context) -> Vec<Filter> {
    let owner = context.owner();
    vec![
        filter(&format!("tag:{ENVIRONMENT}"), owner.environment),
        filter(&format!("tag:{CONTROL_PLANE}"), owner.control_plane),
    ]
}

/// Those of `all` that are ours; `id` and `tags` say where a kind keeps its id and its tags.
fn ours<T>(
    context: &Context,
    all: Vec<T>,
    id: impl Fn(&T) -> Option<&str>,
    tags: impl Fn(&T) -> &[Tag],
) -> Vec<Ours<T>> {
    let owner = context.owner();
    let ours = |each: T| {
        let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
        let tags: BTreeMap<_, _> = tags(&each).iter().filter_map(pair).collect();
        let address = owner.address(&tags)?.to_owned();
        Some(Ours { id: id(&each)?.to_owned(), address, tags, aws: each })
    };
    all.into_iter().filter_map(ours).collect()
}

async fn vpcs(ec2: &Client, context: &Context) -> Result<Vec<Ours<Vpc>>> {
    let pages = ec2.describe_vpcs().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    Ok(ours(context, all.doing(|| "describing VPCs")?, Vpc::vpc_id, Vpc::tags))
}

async fn subnets(ec2: &Client, context: &Context) -> Result<Vec<Ours<Subnet>>> {
    let pages = ec2.describe_subnets().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    Ok(ours(context, all.doing(|| "describing subnets")?, Subnet::subnet_id, Subnet::tags))
}

async fn internet_gateways(ec2: &Client, context: &Context) -> Result<Vec<Ours<InternetGateway>>> {
    let pages =
        ec2.describe_internet_gateways().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing internet gateways")?;
    Ok(ours(context, all, InternetGateway::internet_gateway_id, InternetGateway::tags))
}

/// A deleted NAT gateway lingers for about an hour and is absent.
/// Source: <https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html>
async fn nat_gateways(ec2: &Client, context: &Context) -> Result<Vec<Ours<NatGateway>>> {
    let pages = ec2.describe_nat_gateways().set_filter(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = all.doing(|| "describing NAT gateways")?;
    all.retain(|gateway| gateway.state() != Some(&NatGatewayState::Deleted));
    Ok(ours(context, all, NatGateway::nat_gateway_id, NatGateway::tags))
}

async fn addresses(ec2: &Client, context: &Context) -> Result<Vec<Ours<Address>>> {
    let all = ec2.describe_addresses().set_filters(Some(owner(context))).send().await;
    let all = all.doing(|| "describing elastic IP addresses")?.addresses.unwrap_or_default();
    Ok(ours(context, all, Address::allocation_id, Address::tags))
}

async fn route_tables(ec2: &Client, context: &Context) -> Result<Vec<Ours<RouteTable>>> {
    let pages = ec2.describe_route_tables().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    Ok(ours(context, all.doing(|| "describing route tables")?, RouteTable::route_table_id, RouteTable::tags))
}

/// Groups at an address of ours; those of balancers are theirs.
async fn groups(ec2: &Client, context: &Context) -> Result<Vec<Ours<SecurityGroup>>> {
    let pages =
        ec2.describe_security_groups().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing security groups")?;
    let mut groups = ours(context, all, SecurityGroup::group_id, SecurityGroup::tags);
    groups.retain(|group| group.address.starts_with("network."));
    Ok(groups)
}

async fn endpoints(ec2: &Client, context: &Context) -> Result<Vec<Ours<VpcEndpoint>>> {
    let pages =
        ec2.describe_vpc_endpoints().set_filters(Some(owner(context))).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = all.doing(|| "describing VPC endpoints")?;
    all.retain(|endpoint| crate::endpoint::state(endpoint) != "deleted");
    Ok(ours(context, all, VpcEndpoint::vpc_endpoint_id, VpcEndpoint::tags))
}

//! Route tables: one for the public subnets, one for each private subnet.

use std::collections::BTreeSet;

use aws_sdk_ec2::{
    Client,
    types::{ResourceType, Route, RouteState, RouteTable},
};
use spec::{Nat, Network};
use step::{Change, Context, Doing, Error, Field, Result, UNKNOWN, compare, missing_tags};

use crate::ours::{self, Found, Ours};

/// Everything that has no route of its own.
const ANYWHERE: &str = "0.0.0.0/0";

/// A route table the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    name: String,
    /// The subnets it is for.
    subnets: Vec<String>,
    /// The gateway everything without a route of its own goes to; none for no way out.
    target: Option<String>,
}

impl Wanted {
    /// The gateway everything without a route of its own goes to.
    pub(crate) fn target(&self) -> Option<&String> {
        self.target.as_ref()
    }

    /// Whether the table is for a private subnet.
    pub(crate) fn private(&self) -> bool {
        self.address.starts_with("network.routes.private.")
    }
}

/// The tables, in the order public, private. `internet` and `nats` are the gateways' ids.
pub(crate) fn wanted(
    context: &Context,
    network: &Network,
    subnets: (&[String], &[String]),
    internet: Option<&String>,
    nats: &[String],
) -> Vec<Wanted> {
    let table = |word: String, subnets: &[String], target: Option<&String>| Wanted {
        name: context.label(&word),
        address: format!("network.{word}"),
        subnets: subnets.to_vec(),
        target: target.cloned(),
    };
    let (public, private) = subnets;
    let mut tables = Vec::new();
    if !public.is_empty() {
        tables.push(table("routes.public".to_owned(), public, internet));
    }
    for (zone, subnet) in private.iter().enumerate() {
        let nat = if network.nat == Nat::PerZone { nats.get(zone) } else { nats.first() };
        tables.push(table(format!("routes.private.{}", zone + 1), std::slice::from_ref(subnet), nat));
    }
    tables
}

/// The table's id. `ready` says whether its target may be used yet.
pub(crate) async fn ensure(
    ec2: &Client,
    context: &Context,
    vpc: &str,
    wanted: &Wanted,
    ready: bool,
    found: &Found,
) -> Result<String> {
    let table = match ours::first(&found.route_tables, &wanted.address) {
        None => create(ec2, context, vpc, wanted).await?,
        Some(table) => {
            ours::retag(ec2, context, table, &wanted.name).await?;
            table.aws.clone()
        }
    };
    let id = table.route_table_id().unwrap_or_default().to_owned();
    for subnet in &wanted.subnets {
        if !associated(&table, subnet) {
            associate(ec2, &id, subnet, found).await?;
        }
    }
    update(ec2, &id, way_out(&table), wanted, ready).await?;
    Ok(id)
}

pub(crate) fn plan(context: &Context, wanted: &Wanted, found: &Found) -> Option<Change> {
    match ours::first(&found.route_tables, &wanted.address) {
        None => Some(Change::create(&wanted.address)),
        Some(table) => Change::update(&wanted.address, difference(context, table, wanted)),
    }
}

fn difference(context: &Context, found: &Ours<RouteTable>, wanted: &Wanted) -> Vec<Field> {
    let target = way_out(&found.aws).unwrap_or("none");
    let of = |subnets: BTreeSet<&str>| subnets.into_iter().collect::<Vec<_>>().join(", ");
    let subnets: BTreeSet<&str> =
        found.aws.associations().iter().filter_map(|association| association.subnet_id()).collect();
    let tags = ours::tags(context, &wanted.address, &wanted.name);
    [
        compare(ANYWHERE, target, wanted.target.as_deref().unwrap_or("none")),
        compare("subnets", of(subnets), of(wanted.subnets.iter().map(String::as_str).collect())),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &tags))
    .collect()
}

fn associated(table: &RouteTable, subnet: &str) -> bool {
    table.associations().iter().any(|association| association.subnet_id() == Some(subnet))
}

/// Where the table sends what has no route of its own. A route whose gateway is gone leads nowhere,
/// and names it still.
fn way_out(table: &RouteTable) -> Option<&str> {
    let route = default_route(table)?;
    if route.state() == Some(&RouteState::Blackhole) {
        return Some("blackhole");
    }
    route.nat_gateway_id().or(route.gateway_id()).or(Some("something else"))
}

fn default_route(table: &RouteTable) -> Option<&Route> {
    table.routes().iter().find(|route| route.destination_cidr_block() == Some(ANYWHERE))
}

/// An empty table that a lost answer doubled is no harm: `prune` takes it away.
async fn create(ec2: &Client, context: &Context, vpc: &str, wanted: &Wanted) -> Result<RouteTable> {
    let created = ec2
        .create_route_table()
        .vpc_id(vpc)
        .client_token(context.token(&wanted.address))
        .tag_specifications(ours::tagged(context, ResourceType::RouteTable, &wanted.address, &wanted.name))
        .send()
        .await;
    let created = crate::young(created, || format!("creating route table ({})", wanted.name))?.route_table;
    created.ok_or_else(|| Error::Failed(format!("creating route table ({}): no table answered", wanted.name)))
}

/// A subnet that hangs on another table of ours is moved in one call, so that it is never without.
async fn associate(ec2: &Client, id: &str, subnet: &str, found: &Found) -> Result<()> {
    let held = found.route_tables.iter().flat_map(|table| table.aws.associations());
    let mut held = held.filter(|association| association.subnet_id() == Some(subnet));
    let doing = || format!("giving subnet ({subnet}) the route table ({id})");
    match held.find_map(|association| association.route_table_association_id()) {
        None => {
            let made = ec2.associate_route_table().route_table_id(id).subnet_id(subnet).send().await;
            crate::young(made, doing)?;
        }
        Some(association) => {
            let moved =
                ec2.replace_route_table_association().association_id(association).route_table_id(id).send();
            moved.await.doing(doing)?;
        }
    }
    Ok(())
}

async fn update(ec2: &Client, id: &str, found: Option<&str>, wanted: &Wanted, ready: bool) -> Result<()> {
    let doing = || format!("setting the way out in route table ({})", wanted.name);
    match (found, &wanted.target) {
        (None, None) => {}
        (Some(_), None) => {
            let deleted = ec2.delete_route().route_table_id(id).destination_cidr_block(ANYWHERE).send().await;
            deleted.unless_absent(&["InvalidRoute.NotFound"], doing)?;
        }
        (Some(found), Some(target)) if found == target => {}
        (_, Some(_)) if !ready => {}
        (Some(_), Some(target)) => {
            let call = ec2.replace_route().route_table_id(id).destination_cidr_block(ANYWHERE);
            let call = if nat(target) { call.nat_gateway_id(target) } else { call.gateway_id(target) };
            crate::young(call.send().await, doing)?;
        }
        (None, Some(target)) => {
            let call = ec2.create_route().route_table_id(id).destination_cidr_block(ANYWHERE);
            let call = if nat(target) { call.nat_gateway_id(target) } else { call.gateway_id(target) };
            crate::young(call.send().await, doing)?;
        }
    }
    Ok(())
}

fn nat(target: &str) -> bool {
    target.starts_with("nat-") || target == UNKNOWN
}

pub(crate) async fn delete(ec2: &Client, table: &Ours<RouteTable>) -> Result<()> {
    for association in table.aws.associations() {
        let Some(id) = association.route_table_association_id() else { continue };
        let taken = ec2.disassociate_route_table().association_id(id).send().await;
        let doing = || format!("taking the route table ({}) off its subnet", table.id);
        taken.gone(&["InvalidAssociationID.NotFound"], &crate::IN_USE, doing)?;
    }
    let deleted = ec2.delete_route_table().route_table_id(&table.id).send().await;
    let doing = || format!("deleting route table {} ({})", table.address, table.id);
    deleted.gone(&["InvalidRouteTableID.NotFound"], &crate::IN_USE, doing)
}

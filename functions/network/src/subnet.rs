//! Subnets, one of each kind a zone.

use std::collections::BTreeSet;

use aws_sdk_ec2::{
    Client,
    types::{AttributeBooleanValue, ResourceType, Subnet},
};
use ipnet::Ipv4Net;
use security_group::Held;
use spec::Network;
use step::{Change, Context, Doing, Error, Field, Result, UNKNOWN, compare, missing_tags, side_by_side};

use crate::ours::{self, Found, Ours};

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    name: String,
    cidr: String,
    zone: usize,
    public: bool,
}

/// The public subnets, then the private ones.
pub(crate) fn wanted(context: &Context, network: &Network) -> Vec<Wanted> {
    let kinds = [("public", &network.public), ("private", &network.private)];
    let of = |(kind, cidrs): (&'static str, &Vec<String>)| {
        let one = move |(zone, cidr): (usize, &String)| {
            let word = format!("{kind}.{}", zone + 1);
            Wanted {
                name: context.label(&word),
                address: format!("network.{word}"),
                cidr: cidr.clone(),
                zone,
                public: kind == "public",
            }
        };
        cidrs.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(of).collect()
}

/// The network with the addresses that its subnets have, or get: where the spec leaves them to us, those that stand keep
/// theirs, and each new one takes the first block that none of them lies in.
pub(crate) fn settled(context: &Context, network: &Network, found: &Found) -> Result<Network> {
    if !network.is_cut() {
        return Ok(network.clone());
    }
    let standing =
        |address: &str| ours::first(&found.subnets, address).and_then(|subnet| subnet.aws.cidr_block());
    let taken = found.subnets.iter().filter_map(|subnet| subnet.aws.cidr_block()?.parse().ok());
    let mut taken: Vec<Ipv4Net> = taken.collect();
    let blocks = network.blocks();
    let mut settled = Network { public: Vec::new(), private: Vec::new(), ..network.clone() };
    for wanted in wanted(context, network) {
        let cidr = if let Some(cidr) = standing(&wanted.address) {
            cidr.to_owned()
        } else {
            let is_free = |block: &&Ipv4Net| taken.iter().all(|other| !overlap(**block, *other));
            let block = *blocks.iter().find(is_free).ok_or_else(|| full(network, &wanted))?;
            taken.push(block);
            block.to_string()
        };
        let kind = if wanted.public { &mut settled.public } else { &mut settled.private };
        kind.push(cidr);
    }
    Ok(settled)
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn full(network: &Network, wanted: &Wanted) -> Error {
    let cidr = network.cidr.as_deref().unwrap_or_default();
    Error::InvalidSpec(format!(
        "network.zones: the subnets that stand leave no addresses of {cidr} for {}: write fewer zones, or destroy the \
         environment first and give it a larger network.cidr",
        wanted.address
    ))
}

/// The ids of the public and of the private subnets, in the order of the spec.
pub(crate) async fn ensure(
    ec2: &Client,
    context: &Context,
    network: &Network,
    vpc: &str,
    found: &Found,
) -> Result<(Vec<String>, Vec<String>)> {
    let zones = zones(ec2, context, network).await?;
    let wanted = wanted(context, network);
    let one = async |wanted: &Wanted| match ours::first(&found.subnets, &wanted.address) {
        None => create(ec2, context, vpc, &zone(&zones, wanted, found), wanted).await,
        Some(subnet) => {
            check(subnet, wanted)?;
            ours::retag(ec2, context, subnet, &wanted.name).await?;
            if subnet.aws.map_public_ip_on_launch() != Some(wanted.public) {
                update(ec2, &subnet.id, wanted.public).await?;
            }
            Ok(subnet.id.clone())
        }
    };
    let mut ids = side_by_side(wanted.iter().map(one)).await?;
    let private = ids.split_off(network.public.len());
    Ok((ids, private))
}

pub(crate) async fn plan(
    ec2: &Client,
    context: &Context,
    network: &Network,
    found: &Found,
) -> Result<(Vec<Change>, Vec<String>)> {
    zones(ec2, context, network).await?;
    let (mut changes, mut ids) = (Vec::new(), Vec::new());
    for wanted in wanted(context, network) {
        let subnet = ours::first(&found.subnets, &wanted.address);
        ids.push(subnet.map_or(UNKNOWN.to_owned(), |subnet| subnet.id.clone()));
        changes.extend(match subnet {
            None => Some(Change::create(&wanted.address).with("cidr", &wanted.cidr)),
            Some(subnet) => Change::update(&wanted.address, difference(context, subnet, &wanted)?),
        });
    }
    Ok((changes, ids))
}

fn difference(context: &Context, found: &Ours<Subnet>, wanted: &Wanted) -> Result<Vec<Field>> {
    check(found, wanted)?;
    let public = found.aws.map_public_ip_on_launch().unwrap_or(false);
    let tags = ours::tags(context, &wanted.address, &wanted.name);
    Ok(compare("mapPublicIpOnLaunch", public, wanted.public)
        .into_iter()
        .chain(missing_tags(&found.tags, &tags))
        .collect())
}

/// The addresses of a subnet stay what they were when it was made.
fn check(found: &Ours<Subnet>, wanted: &Wanted) -> Result<()> {
    let cidr = found.aws.cidr_block().unwrap_or_default();
    if cidr == wanted.cidr {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{}: the subnet ({}) has the addresses {cidr}, which can't become {}: write {cidr}, or destroy the \
         environment first",
        wanted.address, found.id, wanted.cidr
    )))
}

/// The region's availability zones by name, as many as the spec spreads subnets over.
async fn zones(ec2: &Client, context: &Context, network: &Network) -> Result<Vec<String>> {
    let described = ec2
        .describe_availability_zones()
        .filters(ours::filter("state", "available"))
        .filters(ours::filter("zone-type", "availability-zone"))
        .send()
        .await
        .doing(|| format!("describing the availability zones of {}", context.run.region))?;
    let mut zones: Vec<String> = described
        .availability_zones
        .unwrap_or_default()
        .into_iter()
        .filter_map(|zone| zone.zone_name)
        .collect();
    zones.sort();
    let wanted = network.public.len().max(network.private.len());
    if zones.len() < wanted {
        return Err(Error::InvalidSpec(format!(
            "network.zones: {} has {} availability zones for this account; write that or fewer",
            context.run.region,
            zones.len()
        )));
    }
    Ok(zones)
}

/// The zone of a new subnet: that of its counterpart, or else the next in which none of its kind stands.
fn zone(zones: &[String], wanted: &Wanted, found: &Found) -> String {
    let number = wanted.zone + 1;
    let of = |kind: &str| {
        let subnet = ours::first(&found.subnets, &format!("network.{kind}.{number}"));
        subnet.and_then(|subnet| subnet.aws.availability_zone()).map(str::to_owned)
    };
    let counterpart = of(if wanted.public { "private" } else { "public" });
    let used: BTreeSet<&str> =
        found.subnets.iter().filter_map(|subnet| subnet.aws.availability_zone()).collect();
    // Those that stand were made in the zones' order, unless the zones have changed since.
    let free = || {
        let new = wanted.zone.saturating_sub(used.len());
        zones.iter().filter(|zone| !used.contains(zone.as_str())).nth(new).cloned()
    };
    counterpart.or_else(free).unwrap_or_else(|| zones[wanted.zone].clone())
}

/// A second subnet of the same addresses is refused by AWS: this call can't double anything.
async fn create(ec2: &Client, context: &Context, vpc: &str, zone: &str, wanted: &Wanted) -> Result<String> {
    let created = ec2
        .create_subnet()
        .vpc_id(vpc)
        .cidr_block(&wanted.cidr)
        .availability_zone(zone)
        .tag_specifications(ours::tagged(context, ResourceType::Subnet, &wanted.address, &wanted.name))
        .send()
        .await;
    let doing = || format!("creating subnet ({})", wanted.name);
    let id = crate::young(created, doing)?.subnet.and_then(|subnet| subnet.subnet_id);
    let id = id.ok_or_else(|| Error::Failed(format!("{}: no subnet answered", doing())))?;
    if wanted.public {
        update(ec2, &id, true).await?;
    }
    Ok(id)
}

async fn update(ec2: &Client, id: &str, public: bool) -> Result<()> {
    let value = AttributeBooleanValue::builder().value(public).build();
    let put = ec2.modify_subnet_attribute().subnet_id(id).map_public_ip_on_launch(value).send().await;
    crate::young(put, || format!("setting whether subnet ({id}) gives public addresses"))?;
    Ok(())
}

pub(crate) async fn delete(ec2: &Client, context: &Context, subnet: &Ours<Subnet>) -> Result<()> {
    let deleted = ec2.delete_subnet().subnet_id(&subnet.id).send().await;
    let doing = || format!("deleting subnet {} ({})", subnet.address, subnet.id);
    let deleted = deleted.gone(&["InvalidSubnetID.NotFound"], &crate::IN_USE, doing);
    security_group::held(ec2, context, Held::Subnet(&subnet.id), deleted).await
}

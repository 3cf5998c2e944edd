//! A VPC that exists: looked up and built in, never changed.

use aws_sdk_ec2::{
    Client,
    types::{RouteTable, Subnet, Vpc},
};
use spec::Network;
use step::{Context, Doing, Error, Result};

use crate::{Ground, ours};

/// The VPC and the subnets that the spec names by id, if they are there.
pub(crate) async fn find(ec2: &Client, context: &Context, network: &Network, id: &str) -> Result<Ground> {
    let vpc = vpc(ec2, context, id).await?;
    check(ec2, context, network, id).await?;
    Ok(Ground {
        vpc: id.to_owned(),
        cidr: vpc.cidr_block().unwrap_or_default().to_owned(),
        public: network.public.clone(),
        private: network.private.clone(),
        private_tables: tables(ec2, id, &network.private).await?,
        waits: Vec::new(),
    })
}

async fn vpc(ec2: &Client, context: &Context, id: &str) -> Result<Vpc> {
    let found = ec2.describe_vpcs().vpc_ids(id).send().await;
    let found = found.unless_absent(&["InvalidVpcID.NotFound"], || format!("describing VPC ({id})"))?;
    found.and_then(|answer| answer.vpcs).and_then(|vpcs| vpcs.into_iter().next()).ok_or_else(|| {
        Error::InvalidSpec(format!("network.vpc: there is no VPC {id} in {}", context.run.region))
    })
}

/// Refuses subnets that aren't there or lie in another VPC.
async fn check(ec2: &Client, context: &Context, network: &Network, vpc: &str) -> Result<()> {
    for (kind, ids) in [("public", &network.public), ("private", &network.private)] {
        for id in ids {
            let found = ec2.describe_subnets().subnet_ids(id).send().await;
            let found =
                found.unless_absent(&["InvalidSubnetID.NotFound"], || format!("describing subnet ({id})"))?;
            let subnet = found.and_then(|answer| answer.subnets).unwrap_or_default().into_iter().next();
            let fault = match subnet.as_ref().and_then(Subnet::vpc_id) {
                Some(found) if found == vpc => continue,
                Some(found) => format!("lies in {found}, not in {vpc}"),
                None => format!("isn't there in {}", context.run.region),
            };
            return Err(Error::InvalidSpec(format!("network.{kind}: the subnet {id} {fault}")));
        }
    }
    Ok(())
}

/// The route tables of these subnets; a subnet without one of its own has its VPC's main one.
async fn tables(ec2: &Client, vpc: &str, subnets: &[String]) -> Result<Vec<String>> {
    let pages = ec2.describe_route_tables().filters(ours::filter("vpc-id", vpc)).into_paginator().items();
    let all: std::result::Result<Vec<_>, _> = pages.send().collect().await;
    let all = all.doing(|| format!("describing the route tables of VPC ({vpc})"))?;
    let of = |subnet: &String| {
        let held = |table: &&RouteTable| {
            table.associations().iter().any(|association| association.subnet_id() == Some(subnet))
        };
        let main = |table: &&RouteTable| {
            table.associations().iter().any(|association| association.main() == Some(true))
        };
        all.iter().find(held).or_else(|| all.iter().find(main)).and_then(|table| table.route_table_id.clone())
    };
    let mut tables: Vec<String> = subnets.iter().filter_map(of).collect();
    tables.sort();
    tables.dedup();
    Ok(tables)
}

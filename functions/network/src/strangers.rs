//! What somebody else has put into a VPC that is to go, and that keeps it from going.

use aws_sdk_ec2::{
    Client,
    types::{Filter, Instance, SecurityGroup, Subnet, Tag, Vpc},
};
use step::{CONTROL_PLANE, Context, Doing, Result};

use crate::ours::{Ours, filter};

/// The states of an instance that has its place in a subnet.
const STANDING: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// Why these VPCs can't go: each thing in them that isn't the control plane's.
pub(crate) async fn refusals(ec2: &Client, context: &Context, vpcs: &[Ours<Vpc>]) -> Result<Vec<String>> {
    let mut refusals = Vec::new();
    for vpc in vpcs {
        for stranger in in_vpc(ec2, context, &vpc.id).await? {
            refusals.push(format!(
                "{}: {stranger} is in VPC {}, and isn't Plinth's: delete it first, since AWS deletes no VPC that \
                 something is in",
                vpc.address, vpc.id
            ));
        }
    }
    Ok(refusals)
}

/// What is in a VPC and isn't the control plane's: "instance i-1 (bastion)".
async fn in_vpc(ec2: &Client, context: &Context, vpc: &str) -> Result<Vec<String>> {
    let owner = context.owner();
    let is_theirs = |tags: &[Tag]| {
        !tags.iter().any(|tag| tag.key() == Some(CONTROL_PLANE) && tag.value() == Some(&owner.control_plane))
    };
    let here = filter("vpc-id", vpc);
    let instances = instances(ec2, vpc).await?;
    let instances = instances.iter().filter(|found| is_theirs(found.tags()));
    let instances = instances.map(|found| told("instance", found.instance_id(), called(found.tags())));

    let subnets = ec2.describe_subnets().filters(here.clone()).into_paginator().items().send();
    let subnets: std::result::Result<Vec<Subnet>, _> = subnets.collect().await;
    let subnets = subnets.doing(|| format!("looking for the subnets of VPC {vpc}"))?;
    let subnets = subnets.iter().filter(|found| is_theirs(found.tags()));
    let subnets = subnets.map(|found| told("subnet", found.subnet_id(), called(found.tags())));

    let groups = ec2.describe_security_groups().filters(here).into_paginator().items().send();
    let groups: std::result::Result<Vec<SecurityGroup>, _> = groups.collect().await;
    let groups = groups.doing(|| format!("looking for the security groups of VPC {vpc}"))?;
    // The VPC's own goes with it.
    let groups =
        groups.iter().filter(|found| found.group_name() != Some("default") && is_theirs(found.tags()));
    let groups = groups.map(|found| told("security group", found.group_id(), found.group_name()));

    Ok(instances.chain(subnets).chain(groups).collect())
}

async fn instances(ec2: &Client, vpc: &str) -> Result<Vec<Instance>> {
    let standing = Filter::builder().name("instance-state-name");
    let standing = standing.set_values(Some(STANDING.map(str::to_owned).to_vec())).build();
    let pages = ec2.describe_instances().filters(filter("vpc-id", vpc)).filters(standing);
    let all: std::result::Result<Vec<_>, _> = pages.into_paginator().items().send().collect().await;
    let all = all.doing(|| format!("looking for the instances in VPC {vpc}"))?;
    Ok(all.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).collect())
}

fn called(tags: &[Tag]) -> Option<&str> {
    tags.iter().find(|tag| tag.key() == Some("Name")).and_then(Tag::value)
}

fn told(kind: &str, id: Option<&str>, name: Option<&str>) -> String {
    let id = id.unwrap_or_default();
    name.map_or_else(|| format!("{kind} {id}"), |name| format!("{kind} {id} ({name})"))
}

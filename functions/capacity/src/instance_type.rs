//! Whether EC2 has the instance type that a spec names.

use aws_sdk_ec2::{
    Client,
    types::{ArchitectureType, Filter, InstanceType, InstanceTypeInfo, LocationType},
};
use spec::{Architecture, Instances};
use step::{Context, Doing, Error, Result};

/// Refuses a type that the region hasn't, or that has another processor than the spec says.
pub(crate) async fn check(ec2: &Client, context: &Context, instances: &Instances) -> Result<()> {
    let kind = instances.kind.as_str();
    let family = kind.split('.').next().unwrap_or_default();
    let offered = offered(ec2, family).await?;
    if !offered.iter().any(|offered| offered == kind) {
        let region = &context.run.region;
        let has = match offered.as_slice() {
            [] => format!("and no other of the family {family}"),
            offered => format!("of the family {family} it has {}", offered.join(", ")),
        };
        return Err(Error::InvalidSpec(format!(
            "cluster.instances.type: EC2 has no {kind} in {region}; {has}"
        )));
    }
    let architectures = architectures(ec2, kind).await?;
    let wanted = architecture(instances.architecture);
    if architectures.contains(&wanted) {
        return Ok(());
    }
    let has: Vec<&str> = architectures.iter().map(ArchitectureType::as_str).collect();
    Err(Error::InvalidSpec(format!(
        "cluster.instances.architecture: {kind} has a processor of {}, not of {}: write the one it has, or \
         another type",
        has.join(" or "),
        wanted.as_str(),
    )))
}

fn architecture(architecture: Architecture) -> ArchitectureType {
    match architecture {
        Architecture::X86 => ArchitectureType::X8664,
        Architecture::Arm => ArchitectureType::Arm64,
    }
}

/// The types of a family that the region has, from small to large.
async fn offered(ec2: &Client, family: &str) -> Result<Vec<String>> {
    let filter = Filter::builder().name("instance-type").values(format!("{family}.*")).build();
    let pages = ec2
        .describe_instance_type_offerings()
        .location_type(LocationType::Region)
        .filters(filter)
        .into_paginator()
        .items()
        .send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| format!("describing the instance types of the family {family}"))?;
    let mut types: Vec<String> = all
        .iter()
        .filter_map(|offering| offering.instance_type())
        .map(|kind| kind.as_str().to_owned())
        .collect();
    types.sort_by_key(|kind| size(kind.split('.').nth(1).unwrap_or_default()));
    Ok(types)
}

/// What types are sorted by: `nano` … `large`, `xlarge`, `2xlarge` …, and what is called otherwise.
fn size(size: &str) -> (usize, u32) {
    let named = ["nano", "micro", "small", "medium", "large", "xlarge"];
    if let Some(place) = named.iter().position(|name| *name == size) {
        return (place, 0);
    }
    match size.strip_suffix("xlarge").and_then(|times| times.parse().ok()) {
        Some(times) => (named.len(), times),
        None => (named.len() + 1, 0),
    }
}

async fn architectures(ec2: &Client, kind: &str) -> Result<Vec<ArchitectureType>> {
    let described = ec2.describe_instance_types().instance_types(InstanceType::from(kind)).send().await;
    let described = described.doing(|| format!("describing instance type ({kind})"))?;
    let of = |info: &InstanceTypeInfo| Some(info.processor_info()?.supported_architectures().to_vec());
    Ok(described.instance_types().first().and_then(of).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_go_from_small_to_large() {
        let mut sizes = ["metal", "10xlarge", "2xlarge", "large", "nano", "xlarge", "micro"];
        sizes.sort_by_key(|size| super::size(size));
        assert_eq!(sizes, ["nano", "micro", "large", "xlarge", "2xlarge", "10xlarge", "metal"]);
    }
}

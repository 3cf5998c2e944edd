//! The VPC: made for the environment, or one that exists.

use aws_sdk_ec2::{
    Client,
    config::{Config, retry::RetryConfig},
    types::{AttributeBooleanValue, ResourceType, Vpc, VpcAttributeName},
};
use spec::Network;
use step::{Context, Doing, Error, Field, Result, compare, missing_tags};

use crate::ours::{self, Found, Ours};

pub(crate) const ADDRESS: &str = "network.vpc";

/// The VPC of an environment that has one of its own.
pub(crate) async fn ensure(
    ec2: &Client,
    context: &Context,
    network: &Network,
    found: &Found,
) -> Result<String> {
    let Some(vpc) = ours::first(&found.vpcs, ADDRESS) else { return create(ec2, context, network).await };
    check(vpc, network)?;
    ours::retag(ec2, context, vpc, &context.run.environment).await?;
    update(ec2, &vpc.id).await?;
    Ok(vpc.id.clone())
}

/// What differs, as a plan tells it.
pub(crate) async fn difference(
    ec2: &Client,
    context: &Context,
    network: &Network,
    vpc: &Ours<Vpc>,
) -> Result<Vec<Field>> {
    check(vpc, network)?;
    let (support, hostnames) = attributes(ec2, &vpc.id).await?;
    let fields = [compare("enableDnsSupport", support, true), compare("enableDnsHostnames", hostnames, true)];
    let wanted = ours::tags(context, ADDRESS, &context.run.environment);
    Ok(fields.into_iter().flatten().chain(missing_tags(&vpc.tags, &wanted)).collect())
}

/// The addresses of a VPC stay what they were when it was made.
fn check(vpc: &Ours<Vpc>, network: &Network) -> Result<()> {
    let (found, wanted) = (vpc.aws.cidr_block().unwrap_or_default(), cidr(network));
    if found == wanted {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "network.cidr: the VPC ({}) has the addresses {found}, which can't become {wanted}: write {found}, or \
         destroy the environment first",
        vpc.id
    )))
}

/// The addresses of a new VPC; a normalised spec always says them.
pub(crate) fn cidr(network: &Network) -> &str {
    network.cidr.as_deref().unwrap_or("10.0.0.0/16")
}

/// Nothing makes a second `CreateVpc` the first, so it isn't retried: the next pass looks first.
async fn create(ec2: &Client, context: &Context, network: &Network) -> Result<String> {
    let name = &context.run.environment;
    let created = ec2
        .create_vpc()
        .cidr_block(cidr(network))
        .tag_specifications(ours::tagged(context, ResourceType::Vpc, ADDRESS, name))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating VPC ({name})"))?;
    let id = created.vpc.and_then(|vpc| vpc.vpc_id);
    let id = id.ok_or_else(|| Error::Failed(format!("creating VPC ({name}): no VPC answered")))?;
    update(ec2, &id).await?;
    Ok(id)
}

/// Private names of endpoints and services need both.
/// Source: <https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html>
async fn update(ec2: &Client, id: &str) -> Result<()> {
    let on = || AttributeBooleanValue::builder().value(true).build();
    let (support, hostnames) = attributes(ec2, id).await?;
    if !support {
        let put = ec2.modify_vpc_attribute().vpc_id(id).enable_dns_support(on()).send().await;
        put.doing(|| format!("turning on DNS in VPC ({id})"))?;
    }
    if !hostnames {
        let put = ec2.modify_vpc_attribute().vpc_id(id).enable_dns_hostnames(on()).send().await;
        put.doing(|| format!("turning on DNS host names in VPC ({id})"))?;
    }
    Ok(())
}

/// Whether the VPC resolves names, and gives its instances some.
async fn attributes(ec2: &Client, id: &str) -> Result<(bool, bool)> {
    let ask = |attribute| ec2.describe_vpc_attribute().vpc_id(id).attribute(attribute).send();
    let doing = || format!("reading the attributes of VPC ({id})");
    let support = crate::young(ask(VpcAttributeName::EnableDnsSupport).await, doing)?;
    let hostnames = crate::young(ask(VpcAttributeName::EnableDnsHostnames).await, doing)?;
    let on = |value: Option<AttributeBooleanValue>| value.and_then(|value| value.value).unwrap_or(false);
    Ok((on(support.enable_dns_support), on(hostnames.enable_dns_hostnames)))
}

pub(crate) async fn delete(ec2: &Client, vpc: &Ours<Vpc>) -> Result<()> {
    let deleted = ec2.delete_vpc().vpc_id(&vpc.id).send().await;
    deleted.gone(&["InvalidVpcID.NotFound"], &crate::IN_USE, || format!("deleting VPC ({})", vpc.id))
}

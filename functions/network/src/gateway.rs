//! The ways out: an internet gateway, and NAT gateways with their elastic IP addresses.

use aws_sdk_ec2::{
    Client,
    config::{Config, retry::RetryConfig},
    types::{Address, DomainType, InternetGateway, NatGateway, NatGatewayState, ResourceType},
};
use spec::{Nat, Network};
use step::{Change, Context, Doing, Error, Latency, Result};

use crate::ours::{self, Found, Ours};

pub(crate) const INTERNET: &str = "network.internet-gateway";

/// The addresses of the NAT gateways that the spec asks for, one a public subnet.
pub(crate) fn nats(network: &Network) -> Vec<String> {
    let count = match network.nat {
        Nat::None => 0,
        Nat::Single => 1,
        Nat::PerZone => network.private.len(),
    };
    (1..=count).map(|number| format!("network.nat.{number}")).collect()
}

/// The address of a NAT gateway's elastic IP address.
pub(crate) fn ip(nat: &str) -> String {
    format!("{nat}.address")
}

/// The internet gateway, attached.
pub(crate) async fn internet(ec2: &Client, context: &Context, vpc: &str, found: &Found) -> Result<String> {
    let name = &context.run.environment;
    let gateway = ours::first(&found.internet_gateways, INTERNET);
    let id = match gateway {
        None => create_internet(ec2, context, name).await?,
        Some(gateway) => {
            ours::retag(ec2, context, gateway, name).await?;
            gateway.id.clone()
        }
    };
    if gateway.is_none_or(|gateway| gateway.aws.attachments().is_empty()) {
        let attached = ec2.attach_internet_gateway().internet_gateway_id(&id).vpc_id(vpc).send().await;
        crate::young(attached, || format!("attaching internet gateway ({id}) to VPC ({vpc})"))?;
    }
    Ok(id)
}

pub(crate) fn plan(network: &Network, found: &Found) -> Vec<Change> {
    let mut changes = Vec::new();
    if !network.public.is_empty() && ours::first(&found.internet_gateways, INTERNET).is_none() {
        changes.push(Change::create(INTERNET));
    }
    for address in nats(network) {
        if ours::first(&found.addresses, &ip(&address)).is_none() {
            changes.push(Change::create(ip(&address)));
        }
        if ours::first(&found.nat_gateways, &address).is_none() {
            changes.push(Change::create(address));
        }
    }
    changes
}

/// Nothing makes a second `CreateInternetGateway` the first, so it isn't retried.
async fn create_internet(ec2: &Client, context: &Context, name: &str) -> Result<String> {
    let created = ec2
        .create_internet_gateway()
        .tag_specifications(ours::tagged(context, ResourceType::InternetGateway, INTERNET, name))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating internet gateway ({name})"))?;
    let id = created.internet_gateway.and_then(|gateway| gateway.internet_gateway_id);
    id.ok_or_else(|| Error::Failed(format!("creating internet gateway ({name}): no gateway answered")))
}

/// A NAT gateway that private subnets go out through.
pub(crate) struct WayOut {
    pub(crate) id: String,
    /// Why it can't be used yet.
    pub(crate) wait: Option<Error>,
}

/// The NAT gateway of this address, in this public subnet.
pub(crate) async fn nat(
    ec2: &Client,
    context: &Context,
    address: &str,
    subnet: &str,
    found: &Found,
) -> Result<WayOut> {
    let name = context.label(address.trim_start_matches("network."));
    let gateway = match ours::first(&found.nat_gateways, address) {
        Some(nat) => {
            ours::retag(ec2, context, nat, &name).await?;
            nat.aws.clone()
        }
        None => create_nat(ec2, context, address, &name, subnet, found).await?,
    };
    let id = gateway.nat_gateway_id().unwrap_or_default().to_owned();
    match gateway.state() {
        Some(NatGatewayState::Available) => Ok(WayOut { id, wait: None }),
        Some(NatGatewayState::Failed) => {
            // A failed NAT gateway stays failed: the next run makes another.
            // Source: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
            ec2.delete_nat_gateway()
                .nat_gateway_id(&id)
                .send()
                .await
                .doing(|| format!("deleting NAT gateway ({id})"))?;
            let reason = gateway.failure_message().unwrap_or("AWS gave no reason");
            Err(Error::Failed(format!("creating NAT gateway ({name}): {reason}; start the run again")))
        }
        state => {
            let state = state.map_or("in no state", NatGatewayState::as_str);
            let since = crate::time(gateway.create_time())?;
            let wait = Latency::of("nat-gateway").wait(&format!("NAT gateway ({name}) is {state}"), since);
            Ok(WayOut { id, wait: Some(wait) })
        }
    }
}

async fn create_nat(
    ec2: &Client,
    context: &Context,
    address: &str,
    name: &str,
    subnet: &str,
    found: &Found,
) -> Result<NatGateway> {
    let allocation = match ours::first(&found.addresses, &ip(address)) {
        Some(address) => address.id.clone(),
        None => allocate(ec2, context, &ip(address), name).await?,
    };
    let created = ec2
        .create_nat_gateway()
        .subnet_id(subnet)
        .allocation_id(&allocation)
        .client_token(context.token(address))
        .tag_specifications(ours::tagged(context, ResourceType::Natgateway, address, name))
        .send()
        .await;
    let created = crate::young(created, || format!("creating NAT gateway ({name})"))?.nat_gateway;
    created.ok_or_else(|| Error::Failed(format!("creating NAT gateway ({name}): no gateway answered")))
}

/// Nothing makes a second `AllocateAddress` the first, so it isn't retried.
async fn allocate(ec2: &Client, context: &Context, address: &str, name: &str) -> Result<String> {
    let allocated = ec2
        .allocate_address()
        .domain(DomainType::Vpc)
        .tag_specifications(ours::tagged(context, ResourceType::ElasticIp, address, name))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("allocating an elastic IP address for NAT gateway ({name})"))?;
    let id = allocated.allocation_id;
    id.ok_or_else(|| Error::Failed(format!("allocating an elastic IP address for ({name}): none answered")))
}

/// Asks for its deletion; [`nat_gone`] says when it is gone.
pub(crate) async fn delete_nat(ec2: &Client, nat: &Ours<NatGateway>) -> Result<()> {
    if nat.aws.state() == Some(&NatGatewayState::Deleting) {
        return Ok(());
    }
    let deleted = ec2.delete_nat_gateway().nat_gateway_id(&nat.id).send().await;
    deleted.gone(&["NatGatewayNotFound"], &crate::IN_USE, || format!("deleting NAT gateway ({})", nat.id))
}

/// A NAT gateway holds its address and its subnet until it is gone.
pub(crate) async fn nat_gone(ec2: &Client, nat: &Ours<NatGateway>) -> Result<()> {
    let described = ec2.describe_nat_gateways().nat_gateway_ids(&nat.id).send().await;
    let described = described
        .unless_absent(&["NatGatewayNotFound"], || format!("describing NAT gateway ({})", nat.id))?;
    let left = described.and_then(|answer| answer.nat_gateways).unwrap_or_default();
    match left.first().and_then(NatGateway::state) {
        None | Some(NatGatewayState::Deleted) => Ok(()),
        Some(_) => {
            Err(Error::soon(format!("NAT gateway ({}) is deleting, which takes about a minute", nat.id)))
        }
    }
}

pub(crate) async fn release(ec2: &Client, address: &Ours<Address>) -> Result<()> {
    let released = ec2.release_address().allocation_id(&address.id).send().await;
    let doing = || format!("releasing elastic IP address ({})", address.id);
    released.gone(&["InvalidAllocationID.NotFound"], &crate::IN_USE, doing)
}

pub(crate) async fn delete_internet(ec2: &Client, gateway: &Ours<InternetGateway>) -> Result<()> {
    let id = &gateway.id;
    for vpc in gateway.aws.attachments().iter().filter_map(|attachment| attachment.vpc_id()) {
        let detached = ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc).send().await;
        let doing = || format!("detaching internet gateway ({id}) from VPC ({vpc})");
        detached.gone(
            &["Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"],
            &crate::IN_USE,
            doing,
        )?;
    }
    let deleted = ec2.delete_internet_gateway().internet_gateway_id(id).send().await;
    deleted.gone(&["InvalidInternetGatewayID.NotFound"], &crate::IN_USE, || {
        format!("deleting internet gateway ({id})")
    })
}

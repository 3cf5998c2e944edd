//! Where tasks run: cluster, capacity, subnets, security group.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, NetworkConfiguration,
};
use spec::{Capacity, NetworkMode, Placement};
use step::{Context, Error, Result};

use crate::capacity;

/// Where tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The cluster's name.
    pub cluster: String,
    /// The name of the capacity provider; none where the cluster is somebody else's and tasks run on the
    /// instances it has by default.
    pub provider: Option<String>,
    /// The network that tasks have an address in; none where their ports are the instance's.
    pub network: Option<Network>,
}

/// The network of tasks that have addresses of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The ids of the subnets.
    pub subnets: BTreeSet<String>,
    /// Whether a task gets a public address; on instances none does, and ECS isn't told.
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-networking-awsvpc.html>
    pub public: Option<bool>,
    /// The id of the security group.
    pub group: String,
}

impl Place {
    /// Where the spec places tasks that are connected like this.
    pub fn of(context: &Context, placement: Placement, mode: Option<NetworkMode>) -> Result<Self> {
        let existing = context.spec.cluster.as_ref().is_some_and(|cluster| cluster.existing);
        let network = match mode {
            Some(NetworkMode::Bridge) => None,
            Some(NetworkMode::Awsvpc) | None => Some(Network::of(context, placement)?),
        };
        Ok(Self {
            cluster: context.cluster_name(),
            provider: match capacity(context) {
                Capacity::Fargate => Some("FARGATE".to_owned()),
                Capacity::FargateSpot => Some("FARGATE_SPOT".to_owned()),
                Capacity::Ec2 if existing => None,
                Capacity::Ec2 => Some(context.capacity_provider()),
            },
            network,
        })
    }

    /// Its capacity as ECS is told it; nothing where the cluster's own strategy holds.
    pub fn strategy(&self) -> Result<Option<Vec<CapacityProviderStrategyItem>>> {
        let Some(provider) = &self.provider else { return Ok(None) };
        let item = CapacityProviderStrategyItem::builder().capacity_provider(provider).weight(1).build();
        let item =
            item.map_err(|error| Error::Failed(format!("writing a capacity provider strategy: {error}")))?;
        Ok(Some(vec![item]))
    }

    /// Its network as ECS is told it; nothing in bridge mode.
    pub fn network(&self) -> Result<Option<NetworkConfiguration>> {
        let Some(network) = &self.network else { return Ok(None) };
        let public = network
            .public
            .map(|public| if public { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled });
        let awsvpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(network.subnets.iter().cloned().collect()))
            .security_groups(&network.group)
            .set_assign_public_ip(public)
            .build()
            .map_err(|error| Error::Failed(format!("writing a network configuration: {error}")))?;
        Ok(Some(NetworkConfiguration::builder().awsvpc_configuration(awsvpc).build()))
    }
}

impl Network {
    fn of(context: &Context, placement: Placement) -> Result<Self> {
        let network = context.known(context.outputs.network.as_ref(), "network")?;
        let (subnets, public) = match placement {
            Placement::Private => (&network.private, false),
            Placement::Public => (&network.public, true),
        };
        Ok(Self {
            subnets: subnets.iter().cloned().collect(),
            public: (capacity(context) != Capacity::Ec2).then_some(public),
            group: network.group.clone(),
        })
    }
}

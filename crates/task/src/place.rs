//! Where tasks run: cluster, capacity, subnets, security group.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, NetworkConfiguration,
};
use spec::{Capacity, Placement};
use step::{Context, Error, Result};

/// Where tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The cluster's name.
    pub cluster: String,
    /// The name of the capacity provider.
    pub provider: &'static str,
    /// The ids of the subnets.
    pub subnets: BTreeSet<String>,
    /// Whether a task gets a public address.
    pub public: bool,
    /// The id of the security group.
    pub group: String,
}

impl Place {
    /// Where the spec places tasks.
    pub fn of(context: &Context, placement: Placement) -> Result<Self> {
        let network = context.known(context.outputs.network.as_ref(), "network")?;
        let (subnets, public) = match placement {
            Placement::Private => (&network.private, false),
            Placement::Public => (&network.public, true),
        };
        let capacity = context.spec.cluster.as_ref().map(|cluster| cluster.capacity).unwrap_or_default();
        Ok(Self {
            cluster: context.cluster_name(),
            provider: match capacity {
                Capacity::Fargate => "FARGATE",
                Capacity::FargateSpot => "FARGATE_SPOT",
            },
            subnets: subnets.iter().cloned().collect(),
            public,
            group: network.group.clone(),
        })
    }

    /// Its capacity as ECS is told it.
    pub fn strategy(&self) -> Result<CapacityProviderStrategyItem> {
        CapacityProviderStrategyItem::builder()
            .capacity_provider(self.provider)
            .weight(1)
            .build()
            .map_err(|error| Error::Failed(format!("writing a capacity provider strategy: {error}")))
    }

    /// Its network as ECS is told it.
    pub fn network(&self) -> Result<NetworkConfiguration> {
        let public = if self.public { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
        let awsvpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(self.subnets.iter().cloned().collect()))
            .security_groups(&self.group)
            .assign_public_ip(public)
            .build()
            .map_err(|error| Error::Failed(format!("writing a network configuration: {error}")))?;
        Ok(NetworkConfiguration::builder().awsvpc_configuration(awsvpc).build())
    }
}

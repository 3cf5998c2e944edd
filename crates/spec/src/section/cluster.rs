//! `cluster`: the ECS cluster, and the instances it runs on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Architecture, Placement, Text};

/// The ECS cluster of an environment: made for it, or one that exists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Cluster {
    /// Name of the ECS cluster. Default: the environment's name. It names nothing else: the Auto Scaling group, the
    /// capacity provider and the instances' role are called after the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,255}$"))]
    pub name: Option<String>,
    /// Whether a cluster of this `name` exists already and belongs to somebody else. Services and jobs run on
    /// it; nothing of the cluster itself is touched.
    pub existing: bool,
    /// What tasks run on.
    pub capacity: Capacity,
    /// The instances of a cluster with `capacity: ec2`, unless it exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Whether CloudWatch collects Container Insights.
    pub insights: bool,
}

/// What tasks run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// AWS Fargate.
    #[default]
    Fargate,
    /// Fargate Spot: spare capacity, up to 70 % cheaper, interrupted with two minutes' notice.
    FargateSpot,
    /// EC2 instances.
    Ec2,
}

/// An Auto Scaling group of EC2 instances that grows and shrinks with the tasks, from the ECS-optimised image
/// of Amazon Linux 2023.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Instances {
    /// The instances' type, such as `t3.small`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$"))]
    pub kind: String,
    /// The processor of that type.
    #[serde(default)]
    pub architecture: Architecture,
    /// The fewest instances.
    #[serde(default = "one")]
    #[schemars(range(max = 5000))]
    pub min: u32,
    /// The most instances; as many as `min`, and at least one, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5000))]
    pub max: Option<u32>,
    /// The root volume in GiB, at least 30, which the image takes.
    #[serde(default = "disk")]
    #[schemars(range(min = 30, max = 16384))]
    pub disk: u32,
    /// File systems that are mounted on every instance, by the path there: `${fileSystems.x}`. Services mount
    /// directories of these paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Text>,
    /// In which subnets they stand. In public ones they get a public address.
    #[serde(default)]
    pub placement: Placement,
    /// ARNs of managed policies to attach to the instances' role, beside the one that ECS needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

fn one() -> u32 {
    1
}

fn disk() -> u32 {
    30
}

impl Instances {
    /// The most instances, said or implied.
    pub fn most(&self) -> u32 {
        self.max.unwrap_or(self.min.max(1))
    }
}

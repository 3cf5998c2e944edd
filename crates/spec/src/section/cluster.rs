//! `cluster`: the ECS cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The ECS cluster of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Cluster {
    /// The cluster's name; the environment's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,255}$"))]
    pub name: Option<String>,
    /// What tasks run on.
    pub capacity: Capacity,
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
}

//! `services`: ECS services, and `logs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Statement, Text};

/// An ECS service on Fargate, its task definition, log group and roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// The service's name; `<environment>-<address>` where absent. Its task definition's family is always that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,255}$"))]
    pub name: Option<String>,
    /// The container image: one from any registry, or `${repositories.x}:tag`.
    pub image: Text,
    /// CPU units of a task; 1024 are one vCPU. Fargate takes 256, 512, 1024, 2048, 4096, 8192, 16384.
    #[serde(default = "cpu")]
    pub cpu: u32,
    /// Memory of a task in MiB. Fargate takes certain amounts for each `cpu`.
    #[serde(default = "memory")]
    pub memory: u32,
    /// The processor the image is built for.
    #[serde(default)]
    pub architecture: Architecture,
    /// How many tasks run.
    #[serde(default = "desired")]
    pub desired: u32,
    /// The ports the container listens on. Services of the environment reach each other's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What the container is started with; the image's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Text>,
    /// Environment variables. `${secrets.x}` or `${secrets.x.key}` as a whole value is handed over by
    /// reference: ECS reads the secret when a task starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Text>,
    /// How a balancer tells whether a task is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What the container itself may do on AWS. Without it the tasks have no role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServiceRole>,
    /// Where its output goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// In which subnets tasks run. In public ones they get a public address.
    #[serde(default)]
    pub placement: Placement,
}

fn cpu() -> u32 {
    256
}

fn memory() -> u32 {
    512
}

fn desired() -> u32 {
    1
}

/// The processor an image is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Intel and AMD.
    #[default]
    #[serde(rename = "x86_64")]
    X86,
    /// Graviton.
    #[serde(rename = "arm64")]
    Arm,
}

/// In which subnets tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The private ones, without a public address.
    #[default]
    Private,
    /// The public ones, with a public address.
    Public,
}

/// How a balancer tells whether a task is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Health {
    /// A path that answers 200 when the task is well.
    #[schemars(regex(pattern = r"^/"))]
    pub path: String,
}

/// The role a service's containers act with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ServiceRole {
    /// What it may do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Statement>,
    /// ARNs of managed policies to attach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// A log group in CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Logs {
    /// The group's name; `/plinth/<environment>/<service>` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_/.#-]{1,512}$"))]
    pub group: Option<String>,
    /// How long lines are kept, one of the periods CloudWatch Logs offers; `30d` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
}

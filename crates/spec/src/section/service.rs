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
    /// What is started in the container; the image's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<Text>,
    /// What it is started with; the image's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Text>,
    /// The user, and group, that it runs as: `1000`, `app:app`; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$"))]
    pub user: Option<String>,
    /// Environment variables. `${secrets.x}` or `${secrets.x.key}` as a whole value is handed over by
    /// reference: ECS reads the secret when a task starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Text>,
    /// The container's Docker labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// What is mounted in the container, by the path in it: `${fileSystems.x}`, or an access point of it,
    /// `${fileSystems.x.y}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Text>,
    /// The most files that the container may have open; Fargate's 65535 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub open_files: Option<i32>,
    /// How ECS tells, from inside the container, whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// How a balancer tells whether a task is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How long a balancer's verdict on a new task is ignored; a minute where absent. Only a service behind
    /// a balancer has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
    /// How long a task has to end by itself when it is stopped, at most two minutes; 30 seconds where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Duration>,
    /// The services that must be steady before this one is deployed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Whether commands can be run in the container with `aws ecs execute-command`. The service needs a
    /// `role` for it.
    #[serde(default)]
    pub exec: bool,
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

/// A command that ECS runs in the container, again and again; it exits 0 when all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Check {
    /// The command: `CMD-SHELL` and a line for the shell, or `CMD` and its words.
    #[schemars(length(min = 2))]
    pub command: Vec<String>,
    /// How often it runs, 5 seconds to 5 minutes.
    #[serde(default = "interval")]
    pub interval: Duration,
    /// How long it may take, 2 seconds to a minute.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// After how many failures the container is unhealthy.
    #[serde(default = "retries")]
    #[schemars(range(min = 1, max = 10))]
    pub retries: u8,
    /// How long failures don't count after the start, at most 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
}

fn interval() -> Duration {
    Duration::from_seconds(30)
}

fn timeout() -> Duration {
    Duration::from_seconds(5)
}

fn retries() -> u8 {
    3
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

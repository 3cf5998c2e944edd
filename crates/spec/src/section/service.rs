//! `services`: ECS services, and `logs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Image, Statement, Text};

/// An ECS service, its task definition, log group and roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// Name of the ECS service. Default: `<environment>-<key>`. It names nothing else: the family of task definitions,
    /// the roles, the log group and the target groups are called after the environment and the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,255}$"))]
    pub name: Option<String>,
    /// The container image: one from any registry, `${repositories.x}:tag`, or the newest that a repository has,
    /// `{ repository: x, tag: "v*" }`, which a push to it deploys.
    pub image: Image,
    /// Where the image of a service that stands comes from: `spec`, the one that `image` names, or `ci`, the one that
    /// a CI system deployed last; `image` is then what a new service begins with. Default: `spec`.
    #[serde(default)]
    pub image_from: ImageFrom,
    /// CPU units of a task; 1024 are one vCPU. Fargate takes 256, 512, 1024, 2048, 4096, 8192, 16384, and 256
    /// where absent; on instances it is the container's share, and 0 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 196_608))]
    pub cpu: Option<u32>,
    /// Memory of a task in MiB. Fargate takes certain amounts for each `cpu`, and 512 where absent; on
    /// instances it is what the container is ended at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2_147_483_647))]
    pub memory: Option<u32>,
    /// Memory in MiB that is kept free for the container on its instance, which it may exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6, max = 2_147_483_647))]
    pub memory_reservation: Option<u32>,
    /// How its containers are connected; `awsvpc` on Fargate, `bridge` on instances where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// The processor the image is built for.
    #[serde(default)]
    pub architecture: Architecture,
    /// How many tasks run, if their number doesn't follow the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1))]
    pub desired: Option<u32>,
    /// The ports the container listens on. Services of the environment reach each other's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Of `ports`, those that stand on a port of the instance that you choose, `8080: 80`; any free one is
    /// taken for the others. In `bridge` mode alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host_ports: BTreeMap<String, u16>,
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
    /// What is mounted in the container, by the path in it: `${fileSystems.x}`, an access point of it,
    /// `${fileSystems.x.y}`, or on instances a directory of theirs, `/mnt/data`.
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
    /// The services that must be steady, and the jobs, as `jobs.x`, that must be done before this one is
    /// deployed.
    #[serde(default, skip_serializing_if = "After::is_empty")]
    pub after: After,
    /// Containers beside the service's own, in each of its tasks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sidecars: BTreeMap<String, Sidecar>,
    /// How the number of tasks follows the load, in place of `desired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// How tasks of a new revision take the place of those before.
    #[serde(default)]
    pub deployment: Deployment,
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

impl Service {
    /// How many tasks run when it is made.
    pub fn initial(&self) -> u32 {
        self.scale.map_or(self.desired(), |scale| scale.min)
    }

    /// How many tasks run, if their number doesn't follow the load.
    pub fn desired(&self) -> u32 {
        self.desired.unwrap_or_else(one)
    }
}

fn one() -> u32 {
    1
}

/// Where the image of a service that stands comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFrom {
    /// The spec: another image that somebody deployed is replaced by the spec's.
    #[default]
    Spec,
    /// A CI system, which registers revisions of the service's task definition and updates the service to them. All
    /// but the image stays as the spec says.
    Ci,
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

/// How containers are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Each task has an address of its own in the VPC.
    Awsvpc,
    /// The task's ports are ports of its instance.
    Bridge,
}

/// What a service comes after: names, or names with what is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum After {
    /// Services that must be steady, and jobs that must be done.
    Names(Vec<String>),
    /// The same, as compose files say it.
    Conditions(BTreeMap<String, Condition>),
}

impl Default for After {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl After {
    /// What it names.
    pub fn names(&self) -> Vec<&String> {
        match self {
            Self::Names(names) => names.iter().collect(),
            Self::Conditions(conditions) => conditions.keys().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.names().is_empty()
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It runs.
    Started,
    /// It runs, and its `check` says that it is well.
    Healthy,
    /// It has run and exited with 0.
    Completed,
}

/// A container beside a service's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sidecar {
    /// The container image.
    pub image: Text,
    /// Its share of the task's CPU units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 196_608))]
    pub cpu: Option<u32>,
    /// The memory, in MiB, that it is ended at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6, max = 2_147_483_647))]
    pub memory: Option<u32>,
    /// Memory in MiB that is kept free for it, which it may exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6, max = 2_147_483_647))]
    pub memory_reservation: Option<u32>,
    /// What is started in it; the image's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<Text>,
    /// What it is started with; the image's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Text>,
    /// The user, and group, that it runs as; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$"))]
    pub user: Option<String>,
    /// Environment variables, as a service has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Text>,
    /// What is mounted in it, as a service has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Text>,
    /// How ECS tells, from inside it, whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Whether the task ends when it ends.
    #[serde(default = "yes")]
    pub essential: bool,
    /// What of it the service's own container waits for; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Condition>,
}

/// How many tasks there are, at least and at most, and what keeps their number: each is a target that
/// Application Auto Scaling holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scale {
    /// The fewest tasks.
    #[serde(default = "one")]
    #[schemars(range(max = 5000))]
    pub min: u32,
    /// The most tasks.
    #[schemars(range(min = 1, max = 5000))]
    pub max: u32,
    /// The CPU that tasks use on average, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub cpu: Option<u8>,
    /// The memory that tasks use on average, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub memory: Option<u8>,
    /// Requests a minute to each task, from an application balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub requests: Option<u32>,
}

/// How tasks of a new revision take the place of those before, in percent of `desired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Deployment {
    /// The fewest tasks that run meanwhile.
    #[schemars(range(max = 100))]
    pub minimum: u16,
    /// The most tasks that run meanwhile.
    #[schemars(range(min = 100, max = 200))]
    pub maximum: u16,
    /// Whether the revision before comes back when tasks of the new one don't stay up.
    pub rollback: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        Self { minimum: 100, maximum: 200, rollback: true }
    }
}

fn yes() -> bool {
    true
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
    /// A path that answers when the task is well.
    #[schemars(regex(pattern = r"^/"))]
    pub path: String,
    /// The container's port that is asked; the one that requests go to where absent. Not in `bridge` mode, where
    /// it is the port that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The statuses that are well: `200`, `200,301` or `200-399`.
    #[serde(default = "well")]
    #[schemars(regex(pattern = r"^[2-4][0-9]{2}([,-][2-4][0-9]{2})*$"))]
    pub status: String,
}

fn well() -> String {
    "200".to_owned()
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

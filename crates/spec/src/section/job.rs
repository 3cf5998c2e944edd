//! `jobs`: tasks that run once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Architecture, Duration, Logs, NetworkMode, Placement, ServiceRole, Text};

/// A task that runs once and has to exit with 0: once for each change of its image or settings,
/// and with `after` also once for each new revision of those services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Job {
    /// The container image: one from any registry, or `${repositories.x}:tag`.
    pub image: Text,
    /// CPU units of the task, as a service has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 196_608))]
    pub cpu: Option<u32>,
    /// Memory of the task in MiB, as a service has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2_147_483_647))]
    pub memory: Option<u32>,
    /// Memory in MiB that is kept free for the container on its instance, which it may exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6, max = 2_147_483_647))]
    pub memory_reservation: Option<u32>,
    /// How its container is connected; `awsvpc` on Fargate, `bridge` on instances where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// The processor the image is built for.
    #[serde(default)]
    pub architecture: Architecture,
    /// What is started in the container; the image's own where absent.
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
    /// What is mounted in the container, by the path in it, as a service has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Text>,
    /// What the container itself may do on AWS. Without it the task has no role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServiceRole>,
    /// Where its output goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// In which subnets the task runs. In public ones it gets a public address.
    #[serde(default)]
    pub placement: Placement,
    /// When it runs, where it isn't `after` services.
    #[serde(default)]
    pub when: When,
    /// The services that must be steady before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// How long it may take; an hour where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before any service is deployed.
    #[default]
    BeforeServices,
    /// Never by itself: its task definition is kept ready for `aws ecs run-task`.
    Manual,
}

//! `functions`: Lambda functions that belong to the environment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Architecture, Duration, ServiceRole, Text};

/// A Lambda function. Its code is one of Plinth's own packages, a ZIP file in S3, or an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Function {
    /// Name of the Lambda function, and with it of its log group. Default: `<environment>-<key>`. The function's role is
    /// called after the environment and the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub name: Option<String>,
    /// A package that comes with Plinth, such as `reportportal-index`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// A ZIP file: `s3://bucket/key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zip: Option<Text>,
    /// A container image in ECR, such as `${repositories.x}:tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Text>,
    /// What runs a ZIP file; `provided.al2023` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// What is called in a ZIP file; `bootstrap` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The processor it is built for.
    #[serde(default)]
    pub architecture: Architecture,
    /// Memory in MB, 128 to 10240.
    #[serde(default = "memory")]
    #[schemars(range(min = 128, max = 10240))]
    pub memory: i32,
    /// How long one call may take, at most 15 minutes; 3 seconds where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Environment variables. A secret can't be one: its value would be in plain sight.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Text>,
    /// Whether it runs in the environment's private subnets, where it reaches the services.
    #[serde(default)]
    pub vpc: bool,
    /// What it may do on AWS beside writing its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServiceRole>,
}

fn memory() -> i32 {
    128
}

//! `buckets`: S3 buckets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// An S3 bucket: encrypted, and closed to the public.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Bucket {
    /// Name of the bucket, which nobody else on AWS may have.
    /// Default: `<environment>-<key>-<account>-<region>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"))]
    pub name: Option<String>,
    /// The key that this was under before. It keeps its data, and its name in AWS, which is made of that key:
    /// leave the line in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// Whether what is overwritten or deleted is kept as an older version.
    pub versioned: bool,
    /// After how long objects are deleted, in whole days; never where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Duration>,
    /// After how long older versions are deleted, in whole days; never where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_versions: Option<Duration>,
    /// Whether the bucket stays when the spec drops it or the environment goes. To delete it, apply it with
    /// `protect: false` first.
    pub protect: bool,
    /// Whether the bucket is deleted with what is in it. Otherwise it has to be empty.
    pub force_delete: bool,
}

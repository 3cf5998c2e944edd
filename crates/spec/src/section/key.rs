//! `key`: the environment's own KMS key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// A customer-managed symmetric key. Where a spec has one, it encrypts the environment's secrets,
/// repositories, buckets, file systems, databases and log groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Key {
    /// Alias of the KMS key, without `alias/`. Default: the environment's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9/_-]{1,250}$"))]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub description: Option<String>,
    /// Whether KMS makes new key material every year.
    pub rotation: bool,
    /// How long a deleted key can be restored, `7d` to `30d`; `7d` where absent. What it encrypted can't
    /// be read after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Duration>,
}

impl Default for Key {
    fn default() -> Self {
        Self { name: None, description: None, rotation: true, recovery: None }
    }
}

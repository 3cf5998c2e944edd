//! `expires`: how long the environment stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How long the environment stands after its spec was uploaded. Each upload begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expires {
    /// How long after the upload, such as `8h`.
    pub after: Duration,
    /// What happens then.
    #[serde(default)]
    pub then: Then,
}

/// What happens to an environment that expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Its spec is deleted, and it goes.
    #[default]
    Destroy,
    /// Its services, instances and databases stop until the next upload, or until somebody resumes it.
    Pause,
}

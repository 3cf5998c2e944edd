//! What a Task sends.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Outputs;

/// What a step is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Say what `ensure` would change and what `prune` would delete; write nothing.
    Plan,
    /// Make AWS be what the spec says.
    Ensure,
    /// Delete what the spec no longer mentions.
    Prune,
}

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// The run a request belongs to. It is the same for all of a run's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The environment's name.
    pub environment: String,
    /// The run's id: the name of the outermost execution.
    pub id: String,
    /// The region to build in.
    pub region: String,
    /// The account to build in.
    pub account: String,
    /// The role of that account to build with; none in the control plane's own.
    #[serde(default)]
    pub role: Option<String>,
    /// The normalised spec this run carries out; its bucket is the control plane's.
    pub spec: Location,
    /// The version of the object under `environments/` that this run carries out; none when it is
    /// gone and this run tears down.
    pub version: Option<String>,
    /// When the environment expires: so long after this version was uploaded; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether services, instances and databases are to be at zero.
    #[serde(default)]
    pub paused: bool,
    /// Whether the environment is taken away, with all that it keeps.
    #[serde(default)]
    pub teardown: bool,
}

impl Run {
    /// The prefix of this run's objects in the control plane's bucket.
    pub fn prefix(&self) -> String {
        format!("runs/{}/{}/", self.environment, self.id)
    }
}

/// What a Task sends to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is asked for.
    pub operation: Operation,
    /// The name of the state that asks: `Network`, `Service-2`.
    pub state: String,
    /// The run it belongs to.
    pub run: Run,
    /// What earlier steps learned.
    #[serde(default)]
    pub outputs: Outputs,
    /// The services, or jobs, to do, where a step goes in batches; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Vec<String>>,
    /// The addresses that must stay, as earlier steps of `prune` have found.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<String>,
}

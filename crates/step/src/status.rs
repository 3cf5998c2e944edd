//! `status/<environment>.json`: what became of the latest run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::Fault;

use crate::{Outputs, Progress};

/// What became of an environment's latest run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The environment's name.
    pub environment: String,
    /// How it stands.
    pub state: EnvironmentState,
    /// When this was written.
    pub at: Timestamp,
    /// The run's id: the name of its execution.
    pub run: String,
    /// The version of the spec's object that the run carried out; none if the spec was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The region it is built in; none before a spec was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When the environment expires; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What went wrong, with the remedy where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<RunFault>,
    /// What is wrong with the spec, if it was rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// How far each step came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Progress>,
    /// What the steps learned.
    #[serde(default)]
    pub outputs: Outputs,
}

/// How an environment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentState {
    /// A run is under way.
    Provisioning,
    /// It is what its spec says.
    Ready,
    /// It stands, with its services, instances and databases at zero.
    Paused,
    /// A run failed; what was built stays.
    Failed,
    /// The spec is wrong; nothing was written for it.
    Rejected,
    /// A run is taking it away.
    Destroying,
    /// It is gone.
    Destroyed,
    /// It is gone, since its time was over.
    Expired,
    /// The run gave way to a newer spec's.
    Superseded,
}

impl EnvironmentState {
    /// Whether nothing is left of it.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Destroyed | Self::Expired)
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFault {
    /// The error's name in the machine.
    pub error: String,
    /// The state that failed, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What was being done, to what, why it failed and what to do.
    pub message: String,
}

impl RunFault {
    /// Reads `$states.errorOutput`, or a failed execution's own error. A nested execution's fault is
    /// `States.TaskFailed`, with the child's description as its Cause; a Lambda's Cause is JSON with an
    /// `errorMessage`.
    /// Source: <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
    pub fn caught(output: &Value) -> Self {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let error = text(output, "Error").unwrap_or_else(|| "States.TaskFailed".to_owned());
        let cause = text(output, "Cause").unwrap_or_default();
        match serde_json::from_str::<Value>(&cause) {
            Ok(inner) if inner.get("Error").is_some() => Self::caught(&inner),
            Ok(inner) if inner.get("errorMessage").is_some() => {
                Self { error, state: None, message: text(&inner, "errorMessage").unwrap_or_default() }
            }
            _ => Self { error, state: None, message: cause },
        }
    }
}

/// The object that holds an environment's status.
pub fn status_key(environment: &str) -> String {
    format!("status/{environment}.json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nested_lambdas_message_is_found() {
        let lambda =
            json!({ "errorType": "Conflict", "errorMessage": "ECS cluster (demo) exists" }).to_string();
        let child = json!({ "Status": "FAILED", "Error": "Conflict", "Cause": lambda }).to_string();
        let fault = RunFault::caught(&json!({ "Error": "States.TaskFailed", "Cause": child }));
        assert_eq!((fault.error.as_str(), fault.message.as_str()), ("Conflict", "ECS cluster (demo) exists"));
    }

    #[test]
    fn a_fault_of_the_machine_itself_is_told_as_it_is() {
        let fault = RunFault::caught(&json!({ "Error": "States.Timeout", "Cause": "took too long" }));
        assert_eq!((fault.error.as_str(), fault.message.as_str()), ("States.Timeout", "took too long"));
    }
}

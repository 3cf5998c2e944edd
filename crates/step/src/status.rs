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
    /// A run failed; what was built stays.
    Failed,
    /// The spec is wrong; nothing was written for it.
    Rejected,
    /// A run is taking it away.
    Destroying,
    /// It is gone.
    Destroyed,
    /// The run gave way to a newer spec's.
    Superseded,
}

impl EnvironmentState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
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

/// Whether an environment is what this version of its spec says; none is a spec that was deleted, or never
/// there.
pub fn is_applied(status: Option<&Status>, version: Option<&String>) -> bool {
    let Some(status) = status else { return version.is_none() };
    let applied = if version.is_some() { EnvironmentState::Ready } else { EnvironmentState::Destroyed };
    status.state == applied && status.version.as_ref() == version
}

/// Whether nobody owes an environment a run: it is what this version of its spec says, or the run of that
/// version failed or rejected it, and a person or a newer spec begins the next.
pub fn is_settled(status: Option<&Status>, version: Option<&String>) -> bool {
    let given_up = |status: &Status| {
        matches!(status.state, EnvironmentState::Failed | EnvironmentState::Rejected)
            && status.version.as_ref() == version
    };
    is_applied(status, version) || status.is_some_and(given_up)
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
    fn an_environment_is_settled_once_the_current_version_was_applied_or_given_up() {
        use EnvironmentState::{Destroyed, Destroying, Failed, Provisioning, Ready, Rejected, Superseded};
        let version = |text: &str| Some(text.to_owned());
        let table = [
            (Ready, version("2"), true, true),
            (Ready, version("1"), false, false),
            (Ready, None, false, false),
            (Failed, version("2"), false, true),
            (Failed, version("1"), false, false),
            (Rejected, version("2"), false, true),
            (Superseded, version("2"), false, false),
            (Provisioning, version("2"), false, false),
            (Destroyed, None, false, false),
        ];
        let status = |state, version: &Option<String>| Status {
            environment: "demo".to_owned(),
            state,
            at: Timestamp::UNIX_EPOCH,
            run: "run".to_owned(),
            version: version.clone(),
            region: None,
            fault: None,
            faults: Vec::new(),
            steps: Vec::new(),
            outputs: Outputs::default(),
        };
        let current = version("2");
        for (state, of, applied, settled) in table {
            let status = status(state, &of);
            let found =
                (is_applied(Some(&status), current.as_ref()), is_settled(Some(&status), current.as_ref()));
            assert_eq!(found, (applied, settled), "{state:?} {of:?}");
        }
        // The spec was deleted.
        for (state, settled) in [(Destroyed, true), (Failed, true), (Ready, false), (Destroying, false)] {
            assert_eq!(is_settled(Some(&status(state, &None)), None), settled, "{state:?}");
        }
        assert!(is_settled(None, None) && !is_settled(None, current.as_ref()));
    }

    #[test]
    fn a_fault_of_the_machine_itself_is_told_as_it_is() {
        let fault = RunFault::caught(&json!({ "Error": "States.Timeout", "Cause": "took too long" }));
        assert_eq!((fault.error.as_str(), fault.message.as_str()), ("States.Timeout", "took too long"));
    }
}

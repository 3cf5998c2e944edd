//! `status/<environment>.json`: what became of the latest run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spec::Fault;

use crate::{Left, Outputs, Progress};

/// What became of an environment's latest run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The environment's name.
    pub environment: String,
    /// How it stands.
    pub state: EnvironmentState,
    /// Since when it stands so: when this was written.
    pub at: Timestamp,
    /// When the run began.
    #[serde(default)]
    pub begun: Timestamp,
    /// The run's id: the name of its execution.
    pub run: String,
    /// The version of the spec's object that the run carried out; none if the spec was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The region it is built in; none before a spec was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The role it is built with; none in the control plane's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When the environment expires; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What went wrong, with the remedy where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<RunFault>,
    /// What is wrong with the spec, if it was rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What people are asked to do, while the run waits for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// The addresses of what stays though the spec no longer mentions it: it is protected, or something
    /// protected needs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// What outlives what was deleted: the last snapshots of databases, and log groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// The addresses of what was still there after all was deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remains: Vec<String>,
    /// The version of the spec that the environment was last ready with; none before it was, and once it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ready: Option<LastReady>,
    /// How long the latest rebuilds took, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebuilds: Vec<Rebuild>,
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
    /// A run is under way, and waits for what a person has to do.
    Waiting,
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
    /// It was taken away, and something is still there.
    Leaked,
    /// It is gone, since its time was over.
    Expired,
    /// The run gave way to a newer spec's.
    Superseded,
}

impl Status {
    /// A status written now, of a run of which no more is known.
    pub fn new(environment: &str, state: EnvironmentState, run: &str) -> Self {
        let now = Timestamp::now();
        Self {
            environment: environment.to_owned(),
            state,
            at: now,
            begun: now,
            run: run.to_owned(),
            version: None,
            region: None,
            role: None,
            expires: None,
            fault: None,
            faults: Vec::new(),
            asks: Vec::new(),
            kept: Vec::new(),
            left: Vec::new(),
            remains: Vec::new(),
            last_ready: None,
            rebuilds: Vec::new(),
            steps: Vec::new(),
            outputs: Outputs::default(),
        }
    }

    /// Whether anything of it stands: it isn't gone, or something was kept. Where it stands it stays.
    pub fn stands(&self) -> bool {
        !self.state.is_gone() || !self.kept.is_empty()
    }

    /// What is put on the bus when an environment comes to stand so: the event's detail type, and its detail.
    pub fn event(&self) -> (String, String) {
        let detail = json!({
            "environment": self.environment, "state": self.state, "run": self.run, "version": self.version,
            "fault": self.fault, "faults": self.faults.len(), "asks": self.asks, "kept": self.kept,
            "remains": self.remains,
        });
        (format!("Environment {}", self.state.word()), detail.to_string())
    }
}

impl EnvironmentState {
    /// Whether a run is at work.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Provisioning | Self::Waiting | Self::Destroying)
    }

    /// Whether nothing is left of it.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Destroyed | Self::Expired)
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
            Self::Leaked => "leaked",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

/// The version of its spec that an environment was last ready with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReady {
    /// The version of the spec's object.
    pub version: String,
    /// When the environment was ready with it.
    pub at: Timestamp,
    /// Whether a later run that didn't end well has changed something since.
    #[serde(default)]
    pub changed: bool,
}

/// How long a rebuild took, from its begin until the environment was verified: a team's time to recover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The run that did it.
    pub run: String,
    /// When it was done.
    pub at: Timestamp,
    /// How long it took, in seconds.
    pub seconds: u64,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFault {
    /// The error's name in the machine.
    pub error: String,
    /// The state that failed, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The address in the spec that the message is about, where known: `services.worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The line of the spec that this address is written on, from 1, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What was being done, to what, why it failed and what to do.
    pub message: String,
}

impl RunFault {
    /// A fault of which only this is known.
    pub fn new(error: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error: error.into(), state: None, address: None, line: None, message: message.into() }
    }

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
                Self::new(error, text(&inner, "errorMessage").unwrap_or_default())
            }
            _ => Self::new(error, cause),
        }
    }
}

/// Whether an environment is what this version of its spec says; none is a spec that was deleted, or never
/// there.
pub fn is_applied(status: Option<&Status>, version: Option<&String>) -> bool {
    let Some(status) = status else { return version.is_none() };
    let applied = match version {
        // One that is paused stays so until a newer upload.
        Some(_) => matches!(status.state, EnvironmentState::Ready | EnvironmentState::Paused),
        None => status.state.is_gone(),
    };
    applied && status.version.as_ref() == version
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
            version: version.clone(),
            ..Status::new("demo", state, "run")
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

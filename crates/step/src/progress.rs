//! `runs/<environment>/<id>/steps/<operation>-<state>.json`: how far a step is. The command line
//! follows these objects, and `finish` folds them into the status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Answer, Change, Error, Left, Operation};

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The state's name in the machine.
    pub state: String,
    /// What was asked for.
    pub operation: Operation,
    /// How it stands.
    pub status: State,
    /// When its first pass began.
    pub since: Timestamp,
    /// When this was written.
    pub at: Timestamp,
    /// What it waits for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The error's name in the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it asks people to do, while it waits for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// What was changed, or in a plan would be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What who follows the run should know beside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why the run must not go on, each with its remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// What outlives what was deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A pass is under way.
    Working,
    /// It looks again later.
    Waiting,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

impl Progress {
    /// A step whose first pass begins now.
    pub fn begin(operation: Operation, state: &str) -> Self {
        let now = Timestamp::now();
        Self {
            state: state.to_owned(),
            operation,
            status: State::Working,
            since: now,
            at: now,
            message: None,
            error: None,
            asks: Vec::new(),
            changes: Vec::new(),
            notes: Vec::new(),
            refused: Vec::new(),
            left: Vec::new(),
        }
    }

    /// The object's name below the run's prefix.
    pub fn key(&self) -> String {
        let operation = match self.operation {
            Operation::Plan => "plan",
            Operation::Ensure => "ensure",
            Operation::Prune => "prune",
        };
        format!("steps/{operation}-{}.json", self.state)
    }

    /// How it stands after a pass. Changes add up over passes; a plan's are told once.
    #[must_use]
    pub fn after(mut self, result: Result<&Answer, &Error>) -> Self {
        self.at = Timestamp::now();
        self.asks = result.err().map(Error::asks).unwrap_or_default().to_vec();
        (self.status, self.message, self.error) = match result {
            Ok(answer) => {
                self.changes.clone_from(&answer.changes);
                self.notes.clone_from(&answer.notes);
                self.refused.clone_from(&answer.refused);
                self.left.clone_from(&answer.left);
                (State::Done, None, None)
            }
            Err(error) => {
                let status = match error {
                    Error::NotReady { .. } | Error::Throttled(_) => State::Waiting,
                    _ => State::Failed,
                };
                (status, Some(error.to_string()), Some(error.kind().to_owned()))
            }
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_notes_is_told_with_its_progress() {
        let answer = Answer { notes: vec!["skipped: x".to_owned()], ..Answer::default() };
        let progress = Progress::begin(Operation::Ensure, "Verify").after(Ok(&answer));
        assert_eq!(
            (progress.status, progress.notes.as_slice()),
            (State::Done, &["skipped: x".to_owned()][..])
        );
        let text = serde_json::to_string(&progress).expect("JSON");
        assert_eq!(serde_json::from_str::<Progress>(&text).expect("progress"), progress);
    }
}

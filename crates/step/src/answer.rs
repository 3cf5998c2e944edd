//! What a step answers: its output, and what it changed or would change.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// Stands in a plan for what AWS has yet to say.
pub const UNKNOWN: &str = "(known after apply)";

/// A step's answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What later steps need: the section's entry in [`crate::Outputs`]; null if nothing.
    pub output: Value,
    /// What was changed, or in a plan would be.
    pub changes: Vec<Change>,
    /// What who follows the run should know beside: `skipped: https://…`.
    pub notes: Vec<String>,
    /// The addresses that must stay though the spec no longer mentions them: what is protected, and what
    /// that needs.
    pub kept: Vec<String>,
    /// Why this run must not go on, each with its remedy: data would be lost that the spec doesn't give up, or
    /// something stands in the way of a deletion. For a plan's answer.
    pub refused: Vec<String>,
    /// What outlives what was deleted.
    pub left: Vec<Left>,
}

/// Something that outlives what was deleted, such as a database's last snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// The address of what was deleted.
    pub address: String,
    /// What is left of it.
    pub kind: LeftKind,
    /// Its name in AWS.
    pub name: String,
    /// Days after which AWS deletes it, or what is in it. None: it stays until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
}

/// What is left of something that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftKind {
    /// A database's last snapshot.
    Snapshot,
    /// A log group, whose lines stay for its retention.
    Logs,
}

impl Answer {
    /// An answer that hands on an output.
    pub fn new(output: impl Serialize, changes: Vec<Change>) -> Result<Self> {
        let output = serde_json::to_value(output)
            .map_err(|error| Error::Failed(format!("writing the output as JSON: {error}")))?;
        Ok(Self { output, changes, ..Self::default() })
    }

    /// The same answer, keeping what its changes name as kept, and beside it `needs`, the addresses of what
    /// that can't be without.
    #[must_use]
    pub fn keeping(mut self, needs: impl IntoIterator<Item = String>) -> Self {
        let kept = self.changes.iter().filter(|change| change.action == Action::Keep);
        self.kept = kept.map(|change| change.address.clone()).collect();
        if !self.kept.is_empty() {
            self.kept.extend(needs);
        }
        self
    }

    /// The same answer with reasons why the run must not go on.
    #[must_use]
    pub fn refusing(mut self, refused: impl IntoIterator<Item = String>) -> Self {
        self.refused.extend(refused);
        self
    }

    /// The same answer with what outlives what was deleted.
    #[must_use]
    pub fn leaving(mut self, left: impl IntoIterator<Item = Left>) -> Self {
        self.left.extend(left);
        self
    }

    /// How many changes there are, without what is kept.
    pub fn count(&self) -> usize {
        self.changes.iter().filter(|change| change.action != Action::Keep).count()
    }

    /// An answer of which later steps need nothing.
    pub fn changed(changes: Vec<Change>) -> Self {
        Self { changes, ..Self::default() }
    }
}

/// A difference between what is and what should be, of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The resource's address.
    pub address: String,
    /// What is done to it.
    pub action: Action,
    /// The fields that differ; for a new resource those worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It goes.
    Delete,
    /// The spec no longer mentions it, and it stays, since it is protected.
    Keep,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name in the spec, or in AWS's API where the spec has none.
    pub name: String,
    /// What AWS has; absent for a new resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What the spec says.
    pub wanted: String,
}

impl Change {
    /// A resource that isn't there.
    pub fn create(address: impl Into<String>) -> Self {
        Self { address: address.into(), action: Action::Create, fields: Vec::new() }
    }

    /// A resource that goes.
    pub fn delete(address: impl Into<String>) -> Self {
        Self { address: address.into(), action: Action::Delete, fields: Vec::new() }
    }

    /// A resource that the spec no longer mentions and that stays, since it is protected.
    pub fn keep(address: impl Into<String>) -> Self {
        Self { address: address.into(), action: Action::Keep, fields: Vec::new() }
    }

    /// A resource that is there and differs in these fields; none if it doesn't differ.
    pub fn update(address: impl Into<String>, fields: Vec<Field>) -> Option<Self> {
        (!fields.is_empty()).then(|| Self { address: address.into(), action: Action::Update, fields })
    }

    /// The same change, with a field worth knowing of a new resource.
    #[must_use]
    pub fn with(mut self, name: &str, wanted: impl fmt::Display) -> Self {
        self.fields.push(Field { name: name.to_owned(), found: None, wanted: wanted.to_string() });
        self
    }
}

/// The field, if what was found isn't what is wanted. What a plan can't know yet counts as different.
#[allow(clippy::needless_pass_by_value, reason = "a caller compares what it has at hand, owned or not")]
pub fn compare<T: PartialEq + fmt::Display>(name: &str, found: T, wanted: T) -> Option<Field> {
    (found != wanted).then(|| Field {
        name: name.to_owned(),
        found: Some(found.to_string()),
        wanted: wanted.to_string(),
    })
}

/// The field `key`, if what is encrypted isn't by the key that is wanted, an ARN; none is the service's
/// own. AWS tells a key by its ARN or its id, as it was named.
pub fn compare_key(found: Option<&str>, wanted: Option<&String>) -> Option<Field> {
    let same = match (found, wanted) {
        (Some(found), Some(wanted)) => wanted.rsplit('/').next() == found.rsplit('/').next(),
        (None, None) => true,
        _ => false,
    };
    let told = |key: Option<&str>| key.unwrap_or("the service's own").to_owned();
    let wanted = told(wanted.map(String::as_str));
    (!same).then(|| Field { name: "key".to_owned(), found: Some(told(found)), wanted })
}

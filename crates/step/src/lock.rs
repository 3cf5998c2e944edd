//! `locks/<environment>.json`: who works on an environment.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the lock's object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The ARN of the outermost execution that holds it.
    pub execution: String,
    /// When it was taken.
    pub since: Timestamp,
}

/// The object that is an environment's lock.
pub fn lock_key(environment: &str) -> String {
    format!("locks/{environment}.json")
}

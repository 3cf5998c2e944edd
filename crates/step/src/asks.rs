//! `asks/<environment>/<state>.json`: what a step asks people to do before it can go on. A rule on these
//! objects wakes `finish`, which tells it in the environment's status and on the bus.

use serde::{Deserialize, Serialize};

/// What a step asks people to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// The run it asks in. What an earlier run asked for counts no more.
    pub run: String,
    /// What is to be done; nothing once it was.
    pub asks: Vec<String>,
}

/// The object that says what a step asks for.
pub fn asks_key(environment: &str, state: &str) -> String {
    format!("{}{state}.json", asks_prefix(environment))
}

/// What the keys of these objects begin with.
pub fn asks_prefix(environment: &str) -> String {
    format!("asks/{environment}/")
}

//! What is wrong with a spec, and where.
use serde::{Deserialize, Serialize};

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where in the spec: `services.app.cpu`.
    pub path: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Everything that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{}:{}: {}: {}", fault.line, fault.column, fault.path, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

//! What is wrong with a spec, and where.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// Where in the spec: `services.app.cpu`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Everything that is wrong with a spec, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Each fault with its line, as a compiler shows it. `file` is what the spec is called, `source`
    /// its text.
    pub fn render(&self, file: &str, source: &str) -> String {
        let lines: Vec<&str> = source.lines().collect();
        self.0.iter().fold(String::new(), |mut text, fault| {
            let Fault { line, column, path, message } = fault;
            let shown = lines.get(*line as usize - 1).unwrap_or(&"");
            let gutter = " ".repeat(line.to_string().len());
            let mark = " ".repeat((*column as usize - 1).min(shown.chars().count()));
            // Writing to a string can't fail.
            let _ = writeln!(text, "{file}:{line}:{column}: {path}: {message}");
            let _ = writeln!(text, "{gutter} |\n{line} | {shown}\n{gutter} | {mark}^");
            text
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{}:{}: {}: {}", fault.line, fault.column, fault.path, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

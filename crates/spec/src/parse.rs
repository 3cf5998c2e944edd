//! Parsing.
use crate::{Faults, Spec};

/// Reads a spec.
pub fn parse(text: &str, _name: Option<&str>) -> Result<Spec, Faults> {
    serde_saphyr::from_str(text).map_err(|error| {
        Faults(vec![crate::Fault { path: String::new(), line: 1, column: 1, message: error.to_string() }])
    })
}

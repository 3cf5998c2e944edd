//! `certificates`: ACM certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A public certificate of ACM, validated by DNS. It is asked for at once, and awaited by the listener that
/// needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Certificate {
    /// The domain name it is for, at most 64 characters; `*.` at its beginning stands for one word.
    #[schemars(regex(pattern = r"^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"))]
    pub domain: String,
    /// Further names it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The Route 53 zone in which the validation records are written. Without it the records to create
    /// are told, for the DNS that you use, and waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

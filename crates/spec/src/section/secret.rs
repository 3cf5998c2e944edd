//! `secrets`: Secrets Manager secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Text};

/// A secret. Without `generate` and `compose` its value is put by hand: `plinth secret set`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Secret {
    /// Name of the secret in Secrets Manager. Default: `<environment>-<key>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9/_+=.@-]{1,512}$"))]
    pub name: Option<String>,
    /// The key that this was under before. It keeps its data, and its name in AWS, which is made of that key:
    /// leave the line in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub description: Option<String>,
    /// Makes the value when the secret is created, and anew when `username` or `length` changes. A database that was
    /// made with it takes the new password, and no other `username`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// Makes the value of others: `amqp://${secrets.x.username}:${secrets.x.password}@${services.y.host}:5672`. It
    /// is made anew when one of them changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<Text>,
    /// How long a deleted secret can be restored: `0d` for not at all, or `7d` to `30d`; `7d` where
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Duration>,
    /// Whether the secret stays when the spec drops it or the environment goes.
    pub protect: bool,
}

/// What is generated: with a user name the value is `{"username": …, "password": …}`, without one
/// the password itself. Passwords are letters and digits, since they end up in URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Generate {
    /// User name beside the password. For a database: a letter, and then letters, digits and `_`; at most 16
    /// characters, 63 for PostgreSQL on RDS; no word that the engine keeps for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Number of characters of the password, 8 to 128; at most 41 for MySQL, MariaDB and Aurora. Default: 32.
    #[schemars(range(min = 8, max = 128))]
    pub length: u8,
}

impl Default for Generate {
    fn default() -> Self {
        Self { username: None, length: 32 }
    }
}

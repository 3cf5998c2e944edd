//! `checks`: what must answer over HTTP when a run has built everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Text};

/// An address that must answer. A bare string is one that must answer 200.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "HttpCheckForm", rename_all = "camelCase")]
#[schemars(with = "HttpCheckForm")]
pub struct HttpCheck {
    /// The address.
    pub url: Text,
    /// The status it must answer with.
    pub status: u16,
    /// What the answer's body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How long it may take until it answers so.
    pub deadline: Duration,
}

/// The two ways to write a check.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum HttpCheckForm {
    /// An address that must answer 200.
    Url(Text),
    /// An address, and what it must answer.
    Full(FullHttpCheck),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FullHttpCheck {
    /// The address, such as `https://app.example.com/` or `http://${loadBalancers.public.host}/health`.
    url: Text,
    /// The status it must answer with; 200 where absent.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    status: u16,
    /// What the answer's body must contain.
    #[serde(default)]
    body: Option<String>,
    /// How long it may take, once everything else is well, until it answers so; 5 minutes where absent.
    #[serde(default = "deadline")]
    deadline: Duration,
}

fn ok() -> u16 {
    200
}

fn deadline() -> Duration {
    Duration::from_seconds(300)
}

impl From<HttpCheckForm> for HttpCheck {
    fn from(form: HttpCheckForm) -> Self {
        match form {
            HttpCheckForm::Url(url) => Self { url, status: ok(), body: None, deadline: deadline() },
            HttpCheckForm::Full(FullHttpCheck { url, status, body, deadline }) => {
                Self { url, status, body, deadline }
            }
        }
    }
}

//! The errors a machine can tell apart: each variant's name is the Lambda's `errorType`.

use std::fmt;

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use lambda_runtime::Diagnostic;

/// What a step answers when it has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something is being created, changed or deleted; look again at this pace.
    #[error("{message}")]
    NotReady {
        /// How soon to look again.
        pace: Pace,
        /// What is waited for, and how long it may take.
        message: String,
        /// What people are asked to do, if it waits for that.
        asks: Vec<String>,
    },
    /// AWS asked us to slow down, or failed on its side.
    #[error("{0}")]
    Throttled(String),
    /// The user must change the spec.
    #[error("{0}")]
    InvalidSpec(String),
    /// Something that isn't ours, or is protected, stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// AWS refused for a reason that waiting won't mend.
    #[error("{0}")]
    Failed(String),
    /// A newer spec is there.
    #[error("{0}")]
    Superseded(String),
}

/// How soon to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// After 5 seconds.
    Soon,
    /// After 20 seconds.
    Later,
    /// After a minute.
    Long,
}

/// What a step's functions answer.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The name the machines know it by.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotReady { pace: Pace::Soon, .. } => "NotReadySoon",
            Self::NotReady { pace: Pace::Later, .. } => "NotReadyLater",
            Self::NotReady { pace: Pace::Long, .. } => "NotReadyLong",
            Self::Throttled(_) => "Throttled",
            Self::InvalidSpec(_) => "InvalidSpec",
            Self::Conflict(_) => "Conflict",
            Self::Failed(_) => "Failed",
            Self::Superseded(_) => "Superseded",
        }
    }

    /// Not ready, and soon to be.
    pub fn soon(message: impl Into<String>) -> Self {
        Self::wait(Pace::Soon, message)
    }

    /// Not ready; to be looked at again at this pace.
    pub fn wait(pace: Pace, message: impl Into<String>) -> Self {
        Self::NotReady { pace, message: message.into(), asks: Vec::new() }
    }

    /// Not ready, before a person has done what the message asks for.
    pub fn asking(pace: Pace, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::NotReady { pace, asks: vec![message.clone()], message }
    }

    /// What people are asked to do.
    pub fn asks(&self) -> &[String] {
        match self {
            Self::NotReady { asks, .. } => asks,
            _ => &[],
        }
    }

    /// What AWS answered when asked for `what`, told as one line.
    pub fn aws<E>(what: impl fmt::Display, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        // An answer to HEAD has no body that could hold a code.
        let Some(code) = error.code().or((status == 403).then_some("AccessDenied")) else {
            return Self::Throttled(format!("{what}: {}", chain(error)));
        };
        let message = format!("{what}: {code}: {}", error.message().unwrap_or("no message"));
        if status >= 500 || status == 429 || THROTTLES.contains(&code) {
            Self::Throttled(message)
        } else if DENIALS.contains(&code) {
            Self::Failed(format!(
                "{message}; the caller's role, or its permissions boundary, doesn't allow it"
            ))
        } else {
            Self::Failed(message)
        }
    }
}

/// An error and what it came from, in one line; where one repeats another it is told once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// The codes services use for "slow down".
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
const THROTTLES: [&str; 12] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

const DENIALS: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"];

/// Says what was being done when a call failed.
pub trait Doing<T> {
    /// Turns AWS's error into ours: `creating ECS cluster (demo): …`.
    fn doing<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T>;

    /// The same for a look-up: these codes mean that there is no such thing.
    fn unless_absent<W: fmt::Display>(self, codes: &[&str], what: impl FnOnce() -> W) -> Result<Option<T>>;

    /// The same for a call that may come a little early: a code or a message with one of these parts, in small
    /// letters, means that a later pass tries again.
    fn unless_early<W: fmt::Display>(self, parts: &[&str], what: impl FnOnce() -> W) -> Result<T>;

    /// The same for a deletion: `absent` means that it is done, `in_use` that something else must go
    /// first, and a later pass tries again.
    fn gone<W: fmt::Display>(self, absent: &[&str], in_use: &[&str], what: impl FnOnce() -> W) -> Result<()>;
}

impl<T, E> Doing<T> for std::result::Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn doing<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|error| Error::aws(what(), &error))
    }

    fn unless_absent<W: fmt::Display>(self, codes: &[&str], what: impl FnOnce() -> W) -> Result<Option<T>> {
        match self {
            Err(error) if error.code().is_some_and(|code| codes.contains(&code)) => Ok(None),
            answer => answer.doing(what).map(Some),
        }
    }

    fn unless_early<W: fmt::Display>(self, parts: &[&str], what: impl FnOnce() -> W) -> Result<T> {
        let error = self.as_ref().err();
        let code = error.and_then(ProvideErrorMetadata::code).unwrap_or_default();
        let message = error.and_then(ProvideErrorMetadata::message).unwrap_or_default();
        let told = format!("{code}: {message}");
        if parts.iter().any(|part| told.to_lowercase().contains(part)) {
            return Err(Error::soon(format!("{}: {told}", what())));
        }
        self.doing(what)
    }

    fn gone<W: fmt::Display>(self, absent: &[&str], in_use: &[&str], what: impl FnOnce() -> W) -> Result<()> {
        match self {
            Err(error) if error.code().is_some_and(|code| in_use.contains(&code)) => {
                let message = error.message().unwrap_or("something still uses it");
                Err(Error::soon(format!("{}: {message}", what())))
            }
            answer => answer.unless_absent(absent, what).map(|_| ()),
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.kind().to_owned(), error_message: error.to_string() }
    }
}

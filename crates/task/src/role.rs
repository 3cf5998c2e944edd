//! What ECS says of a role, or a target group, that isn't usable yet.

use std::fmt;

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use step::{Doing, Result};

/// ECS's answer to a call that hands it a role or a target group. One made moments ago isn't usable
/// yet, and what a listener has yet to take up neither: ECS says so in its message alone.
pub fn with_new_role<T, E, W>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    doing: impl FnOnce() -> W,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    W: fmt::Display,
{
    answer.unless_early(&SOON, doing)
}

/// What ECS says of what will be usable soon, in small letters. A service that isn't seen yet after it was
/// created is "not idempotent".
const SOON: [&str; 5] = [
    "role is not valid",
    "unable to assume",
    "does not have an associated load balancer",
    "unable to start a service that is still draining",
    "creation of service was not idempotent",
];

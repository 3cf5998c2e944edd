//! Taking the environment's lock.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::ExecutionStatus;
use jiff::{Timestamp, ToSpan};
use step::{Doing, Error, Lock, Result, lock_key, read_if_there};

use crate::Accept;

/// After how long nothing of an ended execution can still be working, in seconds: one function's
/// timeout.
const GRACE: i64 = 60;

/// Takes the lock for this execution; false if another one that still runs holds it. One left by an
/// execution that has ended is taken over.
pub(crate) async fn take(accept: &Accept, environment: &str, execution: &str) -> Result<bool> {
    let (bucket, key) = (&accept.bucket, lock_key(environment));
    let what = || format!("taking the lock s3://{bucket}/{key}");
    let lock = Lock { execution: execution.to_owned(), since: Timestamp::now() };
    let body = serde_json::to_vec(&lock).map_err(|error| Error::Failed(format!("{}: {error}", what())))?;
    let put = || accept.s3.put_object().bucket(bucket).key(&key).body(body.clone().into());

    let new = put().if_none_match("*").send().await;
    if !lost(&new) {
        return new.doing(what).map(|_| true);
    }
    let object = accept.s3.get_object().bucket(bucket).key(&key).send().await;
    let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else {
        return Err(Error::soon(format!("the lock of {environment} was freed just now")));
    };
    let tag = object.e_tag().unwrap_or_default().to_owned();
    let bytes =
        object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
    let held: Lock = serde_json::from_slice(&bytes.into_bytes())
        .map_err(|error| Error::Failed(format!("{}: it is no lock: {error}; delete the object", what())))?;
    if held.execution == execution {
        return Ok(true);
    }
    match ended(accept, &held.execution).await? {
        None => Ok(false),
        Some(at) if Timestamp::now() < at + GRACE.seconds() => {
            Err(Error::soon(format!("the run that held the lock of {environment} has just ended")))
        }
        Some(_) => {
            let taken = put().if_match(tag).send().await;
            if lost(&taken) {
                return Err(Error::soon(format!("another run took the lock of {environment} just now")));
            }
            taken.doing(what).map(|_| true)
        }
    }
}

/// Whether this execution holds the lock, from an earlier pass.
pub(crate) async fn holds(accept: &Accept, environment: &str, execution: &str) -> Result<bool> {
    let lock: Option<Lock> = read_if_there(&accept.s3, &accept.bucket, &lock_key(environment)).await?;
    Ok(lock.is_some_and(|lock| lock.execution == execution))
}

/// Whether a conditional put lost against another.
fn lost<T, E: ProvideErrorMetadata>(put: &std::result::Result<T, E>) -> bool {
    put.as_ref().is_err_and(|error| {
        matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey"))
    })
}

/// When an execution ended; none while it runs. One that AWS no longer knows ended long ago.
async fn ended(accept: &Accept, execution: &str) -> Result<Option<Timestamp>> {
    let described = accept.sfn.describe_execution().execution_arn(execution).send().await;
    let what = || format!("describing execution ({execution})");
    match described.unless_absent(&["ExecutionDoesNotExist"], what)? {
        Some(found) if matches!(found.status, ExecutionStatus::Running | ExecutionStatus::PendingRedrive) => {
            Ok(None)
        }
        Some(found) => Ok(Some(
            found
                .stop_date
                .and_then(|at| Timestamp::from_second(at.secs()).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
        )),
        None => Ok(Some(Timestamp::UNIX_EPOCH)),
    }
}

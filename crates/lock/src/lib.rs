//! The lock of an environment, `locks/<environment>.json`: one run at a time.
//!
//! `accept` takes it, `finish` frees it, and `sweep` frees what `finish` could not. Each of them writes only
//! if the lock is still as it was read, so that none that changed hands meanwhile is taken or freed.

use aws_sdk_s3::{Client as S3, error::ProvideErrorMetadata};
use aws_sdk_sfn::{Client as StepFunctions, types::ExecutionStatus};
use jiff::{Timestamp, ToSpan};
use step::{Doing, Error, Lock, Result, lock_key};

/// After how long nothing of an ended execution can still be working, in seconds: one function's
/// timeout.
const GRACE: i64 = 60;

/// The locks of a control plane.
#[derive(Debug, Clone, Copy)]
pub struct Locks<'a> {
    /// To read and write them.
    pub s3: &'a S3,
    /// To see whether a holder still runs.
    pub sfn: &'a StepFunctions,
    /// The control plane's bucket.
    pub bucket: &'a str,
}

/// A lock that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The ARN of the outermost execution that holds it.
    pub execution: String,
    /// Since when.
    pub since: Timestamp,
    /// The object's entity tag.
    tag: String,
}

/// How the execution that holds a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// It runs.
    Running,
    /// It ended so short a time ago that one of its functions may still be working.
    JustEnded,
    /// It ended, and nothing of it is left.
    Dead,
}

impl Locks<'_> {
    /// Takes the lock for this execution, or answers the one that holds it and still runs. A lock left by an
    /// execution that has ended is taken over.
    pub async fn take(self, environment: &str, execution: &str) -> Result<Option<String>> {
        let key = lock_key(environment);
        let what = || format!("taking the lock s3://{}/{key}", self.bucket);
        let lock = Lock { execution: execution.to_owned(), since: Timestamp::now() };
        let body =
            serde_json::to_vec(&lock).map_err(|error| Error::Failed(format!("{}: {error}", what())))?;
        let put = || self.s3.put_object().bucket(self.bucket).key(&key).body(body.clone().into());

        let new = put().if_none_match("*").send().await;
        if !lost(&new) {
            return new.doing(what).map(|_| None);
        }
        let Some(held) = self.find(environment).await? else {
            return Err(Error::soon(format!("the lock of {environment} was freed just now")));
        };
        if held.execution == execution {
            return Ok(None);
        }
        match self.holder(&held).await? {
            Holder::Running => Ok(Some(held.execution)),
            Holder::JustEnded => {
                Err(Error::soon(format!("the run that held the lock of {environment} has just ended")))
            }
            Holder::Dead => {
                let taken = put().if_match(held.tag).send().await;
                if lost(&taken) {
                    return Err(Error::soon(format!("another run took the lock of {environment} just now")));
                }
                taken.doing(what).map(|_| None)
            }
        }
    }

    /// The lock, if anybody holds it.
    pub async fn find(self, environment: &str) -> Result<Option<Held>> {
        let key = lock_key(environment);
        let what = || format!("reading the lock s3://{}/{key}", self.bucket);
        let object = self.s3.get_object().bucket(self.bucket).key(&key).send().await;
        let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { return Ok(None) };
        let tag = object.e_tag().unwrap_or_default().to_owned();
        let bytes =
            object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
        let lock: Lock = serde_json::from_slice(&bytes.into_bytes()).map_err(|error| {
            Error::Failed(format!("{}: it is no lock: {error}; delete the object", what()))
        })?;
        Ok(Some(Held { execution: lock.execution, since: lock.since, tag }))
    }

    /// Frees a lock that was found; false if another execution has taken it over since.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
    pub async fn free(self, environment: &str, held: &Held) -> Result<bool> {
        let key = lock_key(environment);
        let delete = self.s3.delete_object().bucket(self.bucket).key(&key).if_match(&held.tag).send().await;
        match delete {
            // It is gone: the answer to an earlier try was lost.
            Err(error) if error.code() == Some("NoSuchKey") => Ok(true),
            deleted if lost(&deleted) => Ok(false),
            deleted => {
                deleted.doing(|| format!("freeing the lock s3://{}/{key}", self.bucket))?;
                Ok(true)
            }
        }
    }

    /// How the execution that holds it is. One that AWS no longer knows ended long ago.
    pub async fn holder(self, held: &Held) -> Result<Holder> {
        let described = self.sfn.describe_execution().execution_arn(&held.execution).send().await;
        let what = || format!("describing execution ({})", held.execution);
        let Some(found) = described.unless_absent(&["ExecutionDoesNotExist"], what)? else {
            return Ok(Holder::Dead);
        };
        if matches!(found.status, ExecutionStatus::Running | ExecutionStatus::PendingRedrive) {
            return Ok(Holder::Running);
        }
        let ended = found.stop_date.and_then(|at| Timestamp::from_second(at.secs()).ok());
        let recent = ended.is_some_and(|at| Timestamp::now() < at + GRACE.seconds());
        Ok(if recent { Holder::JustEnded } else { Holder::Dead })
    }
}

/// Whether a conditional write lost against another.
fn lost<T, E: ProvideErrorMetadata>(write: &std::result::Result<T, E>) -> bool {
    write.as_ref().is_err_and(|error| {
        matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey"))
    })
}

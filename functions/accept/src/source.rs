//! The spec's object under `environments/`.

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::DateTime};
use jiff::Timestamp;
use spec::{Fault, Faults, SIZE_LIMIT};
use step::{Asked, Doing, Error, Result, Trigger, spec_keys, spec_version};

use crate::Accept;

/// What the bucket holds for an environment, or what came with the question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The current spec, or why it can't be read; none if there is no object.
    pub text: Option<std::result::Result<String, Faults>>,
    /// Its version; of a spec that came with the question, the version of the one it takes the place of.
    pub version: Option<String>,
    /// When it was uploaded; for a spec that came with the question, now.
    pub uploaded: Option<Timestamp>,
}

/// The spec that is meant: the one that came with the question, or the one in the bucket. Nothing is stored before it
/// is known to be right.
pub(crate) async fn find(accept: &Accept, trigger: &Trigger) -> Result<Source> {
    let environment = &trigger.environment;
    let Some(given) = &trigger.spec else { return current(accept, environment).await };
    let version = match trigger.action {
        Asked::Plan => None,
        _ => spec_version(&accept.s3, &accept.bucket, &spec_keys(environment)).await?,
    };
    // What of it may not be what was written can only be seen here: stored, it is a file like others.
    let text = spec::parse_given(given, Some(environment)).map(|_| given.to_string());
    Ok(Source { text: Some(text), version, uploaded: Some(Timestamp::now()) })
}

pub(crate) async fn current(accept: &Accept, environment: &str) -> Result<Source> {
    let mut sources = Vec::new();
    for key in spec_keys(environment) {
        let object = accept.s3.get_object().bucket(&accept.bucket).key(&key).send().await;
        let what = || format!("reading s3://{}/{key}", accept.bucket);
        let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { continue };
        let version = object.version_id().map(str::to_owned);
        let uploaded = uploaded(&object);
        let text = read(object, what).await?;
        sources.push((key, Source { text: Some(text), version, uploaded }));
    }
    match sources.len() {
        0 | 1 => Ok(sources.pop().map(|(_, source)| source).unwrap_or_default()),
        _ => {
            let keys: Vec<_> = sources.into_iter().map(|(key, _)| key).collect();
            Err(Error::InvalidSpec(format!(
                "environment {environment} has several specs: delete all but one of {}",
                keys.join(", ")
            )))
        }
    }
}

/// An object's text. One that is too large for a spec isn't read.
async fn read(
    object: GetObjectOutput,
    what: impl Fn() -> String,
) -> Result<std::result::Result<String, Faults>> {
    let length = object.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    if length > SIZE_LIMIT {
        let message = format!("a spec has at most {SIZE_LIMIT} bytes (1 MiB), and this one has {length}");
        return Ok(Err(Faults(vec![Fault { line: 1, column: 1, path: "spec".to_owned(), message }])));
    }
    let bytes =
        object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
    Ok(spec::text(&bytes.to_vec()).map(str::to_owned))
}

/// Puts a spec that came with the question under `environments/`, where the current one lies if there is one. One
/// that says nothing new is not put again.
pub(crate) async fn store(accept: &Accept, environment: &str, text: &str) -> Result<Source> {
    let found = current(accept, environment).await?;
    if matches!(&found.text, Some(Ok(found)) if found == text) {
        return Ok(found);
    }
    let mut target = format!("environments/{environment}.json");
    for key in spec_keys(environment) {
        let head = accept.s3.head_object().bucket(&accept.bucket).key(&key).send().await;
        if head.unless_absent(&["NotFound", "NoSuchKey"], || format!("looking at {key}"))?.is_some() {
            target = key;
        }
    }
    let put =
        accept.s3.put_object().bucket(&accept.bucket).key(&target).body(text.as_bytes().to_vec().into());
    put.send().await.doing(|| format!("writing s3://{}/{target}", accept.bucket))?;
    // Only the object itself says when it was uploaded, in the same words to every run.
    current(accept, environment).await
}

fn uploaded(object: &GetObjectOutput) -> Option<Timestamp> {
    Timestamp::from_second(object.last_modified().map(DateTime::secs)?).ok()
}

/// Deletes the spec of an environment whose time is over: this version, and none that came since.
pub(crate) async fn delete(accept: &Accept, environment: &str, version: Option<&String>) -> Result<()> {
    for key in spec_keys(environment) {
        let head = accept.s3.head_object().bucket(&accept.bucket).key(&key).send().await;
        let head = head.unless_absent(&["NotFound", "NoSuchKey"], || format!("looking at {key}"))?;
        let Some(head) = head else { continue };
        if head.version_id.as_ref() != version {
            return Err(Error::soon(format!("{key} was uploaded just now")));
        }
        let deleted = accept.s3.delete_object().bucket(&accept.bucket).key(&key).send().await;
        deleted.doing(|| format!("deleting s3://{}/{key}", accept.bucket))?;
    }
    Ok(())
}

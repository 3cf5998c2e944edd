//! The spec's object under `environments/`.

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::DateTime};
use jiff::Timestamp;
use step::{Asked, Doing, Error, Result, Trigger, spec_keys};

use crate::Accept;

/// What the bucket holds for an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The current spec; none if there is no object.
    pub text: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// When that was uploaded; for a spec that is only asked about, now.
    pub uploaded: Option<Timestamp>,
}

/// Looks at the bucket. A spec that came with the question is put there first, unless it is only
/// asked about.
pub(crate) async fn find(accept: &Accept, trigger: &Trigger) -> Result<Source> {
    let Some(given) = &trigger.spec else { return current(accept, &trigger.environment).await };
    let text = given.to_string();
    if trigger.action == Asked::Plan {
        return Ok(Source { text: Some(text), version: None, uploaded: Some(Timestamp::now()) });
    }
    store(accept, &trigger.environment, &text).await
}

pub(crate) async fn current(accept: &Accept, environment: &str) -> Result<Source> {
    let mut sources = Vec::new();
    for key in spec_keys(environment) {
        let object = accept.s3.get_object().bucket(&accept.bucket).key(&key).send().await;
        let what = || format!("reading s3://{}/{key}", accept.bucket);
        let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { continue };
        let version = object.version_id().map(str::to_owned);
        let uploaded = uploaded(&object);
        let bytes =
            object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
        let text = String::from_utf8_lossy(&bytes.into_bytes()).into_owned();
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

/// Puts a spec under `environments/`, where the current one lies if there is one. One that says
/// nothing new is not put again.
async fn store(accept: &Accept, environment: &str, text: &str) -> Result<Source> {
    let found = current(accept, environment).await?;
    if found.text.as_deref() == Some(text) {
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

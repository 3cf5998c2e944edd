//! The spec's object under `environments/`.

use step::{Asked, Doing, Error, Result, Trigger, spec_keys};

use crate::Accept;

/// What the bucket holds for an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The current spec; none if there is no object.
    pub text: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// Looks at the bucket. A spec that came with the question is put there first, unless it is only
/// asked about.
pub(crate) async fn find(accept: &Accept, trigger: &Trigger) -> Result<Source> {
    let Some(given) = &trigger.spec else { return current(accept, &trigger.environment).await };
    let text = given.to_string();
    if trigger.action == Asked::Plan {
        return Ok(Source { text: Some(text), version: None });
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
        let bytes =
            object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
        let text = String::from_utf8_lossy(&bytes.into_bytes()).into_owned();
        sources.push((key, Source { text: Some(text), version }));
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
    let current = current(accept, environment).await?;
    if current.text.as_deref() == Some(text) {
        return Ok(current);
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
    let put = put.send().await.doing(|| format!("writing s3://{}/{target}", accept.bucket))?;
    Ok(Source { text: Some(text.to_owned()), version: put.version_id })
}

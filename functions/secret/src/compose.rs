//! Secrets whose value is made of others'.
//!
//! Which versions it was made of is remembered: a hash of the text and of its parts' versions is the tag
//! `plinth:composed`, and what the id of the version begins with that was made so. Another hash, or a current
//! version with another id, and the value is made anew.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::{Client, operation::describe_secret::DescribeSecretOutput, types::Tag};
use serde_json::Value;
use spec::{Reference, Section, Text};
use step::{Context, Doing, Error, Field, Pace, Result, digits, side_by_side};

use crate::{
    Wanted, describe,
    generate::{GENERATED, OTHERWISE, is_renewed},
    name, tags,
};

/// The tag that says what a value was composed of.
const COMPOSED: &str = "plinth:composed";

/// How many hex digits of the hash are told.
const DIGITS: usize = 16;

/// The most characters of a version's id.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
const TOKEN: usize = 64;

/// The stage of the version that is read where none is named.
const CURRENT: &str = "AWSCURRENT";

/// The current versions of the secrets that a text refers to, by key; none for one without a value.
type Versions = BTreeMap<String, Option<String>>;

/// Makes the values that aren't there yet or are of other versions. Secrets that lack a part's value are
/// waited for if a container reads them: nothing else would give them one.
pub(crate) async fn ensure(secrets: &Client, context: &Context, wanted: &[Wanted]) -> Result<()> {
    let one = async |wanted: &Wanted, compose: &Text| {
        let missing = ensure_one(secrets, context, wanted, compose).await?;
        Ok(if is_read(context, &wanted.key) { missing } else { Vec::new() })
    };
    let composed = wanted.iter().filter_map(|wanted| Some((wanted, wanted.compose.as_ref()?)));
    let missing = side_by_side(composed.map(|(wanted, compose)| one(wanted, compose))).await?;
    let mut missing: BTreeSet<String> = missing.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Whoever is asked for one is asked for all that containers read.
    let by_hand = wanted.iter().filter(|wanted| wanted.generate.is_none() && wanted.compose.is_none());
    let read = by_hand.filter(|wanted| is_read(context, &wanted.key));
    let found = async |wanted: &Wanted| Ok((wanted.key.clone(), describe(secrets, &wanted.name).await?));
    let found = side_by_side(read.map(found)).await?;
    let lacking = found.into_iter().filter(|(_, found)| found.as_ref().and_then(current).is_none());
    missing.extend(lacking.map(|(key, _)| key));
    let environment = &context.run.environment;
    let asks = missing.iter().map(|key| {
        let ask = format!("secrets.{key} has no value: plinth secret set {environment} {key}");
        std::future::ready(Err::<(), _>(Error::asking(Pace::Later, ask)))
    });
    side_by_side(asks).await?;
    Ok(())
}

/// Answers the keys of the parts that have no value.
async fn ensure_one(
    secrets: &Client,
    context: &Context,
    wanted: &Wanted,
    compose: &Text,
) -> Result<Vec<String>> {
    let mut versions = Versions::new();
    for key in parts(compose) {
        let version = current(&seen(secrets, context, key).await?);
        versions.insert(key.clone(), version);
    }
    let missing = |(key, version): (&String, &Option<String>)| version.is_none().then(|| key.clone());
    let missing: Vec<String> = versions.iter().filter_map(missing).collect();
    if !missing.is_empty() {
        return Ok(missing);
    }
    let hash = hash(context, compose, &versions)?;
    let found = seen(secrets, context, &wanted.key).await?;
    if !is_made_of(&found, &hash) {
        put(secrets, context, wanted, compose, &versions, &token(&hash, &found)).await?;
    }
    let tags = tags(found.tags());
    if tags.get(COMPOSED) != Some(&hash) {
        let composed = Tag::builder().key(COMPOSED).value(&hash).build();
        // One that is generated again gets another value.
        let generated = tags.contains_key(GENERATED);
        let generated = generated.then(|| Tag::builder().key(GENERATED).value(OTHERWISE).build());
        let tag = secrets.tag_resource().secret_id(&wanted.name);
        let tag = tag.set_tags(Some(std::iter::once(composed).chain(generated).collect())).send().await;
        tag.doing(|| format!("noting on secret ({}) what it is composed of", wanted.name))?;
    }
    Ok(missing)
}

/// The field `compose`, if the value would be made anew; no value is read for it.
pub(crate) async fn plan(
    secrets: &Client,
    context: &Context,
    wanted: &Wanted,
    found: &DescribeSecretOutput,
) -> Result<Option<Field>> {
    let Some(compose) = &wanted.compose else { return Ok(None) };
    let mut versions = Versions::new();
    let mut renewed = false;
    for key in parts(compose) {
        let generate = context.spec.secrets.get(key).and_then(|secret| secret.generate.as_ref());
        let generated = generate.is_some();
        let part = describe(secrets, &name_of(context, key)).await?;
        renewed |= generated && part.as_ref().is_none_or(|part| is_renewed(part, generate));
        let version = part.as_ref().and_then(current);
        if version.is_none() && !generated {
            // The value waits for somebody to put this one.
            return Ok(None);
        }
        versions.insert(key.clone(), version);
    }
    let is_same = !renewed && {
        let hash = hash(context, compose, &versions)?;
        is_made_of(found, &hash) && tags(found.tags()).get(COMPOSED) == Some(&hash)
    };
    let before = current(found).map_or("no value", |_| "the value of other versions, or of another text");
    Ok((!is_same).then(|| Field {
        name: "compose".to_owned(),
        found: Some(before.to_owned()),
        wanted: format!("a value made of {compose}"),
    }))
}

/// The keys of the secrets that a text refers to.
fn parts(compose: &Text) -> BTreeSet<&String> {
    let secrets = compose.references().filter(|reference| reference.section == Section::Secrets);
    secrets.filter_map(|reference| reference.name.as_ref()).collect()
}

/// Whether a container of the environment reads this secret.
fn is_read(context: &Context, key: &str) -> bool {
    let (services, jobs) = (context.spec.services.values(), context.spec.jobs.values());
    let of_services = services.flat_map(|service| {
        let sidecars = service.sidecars.values().map(|sidecar| &sidecar.environment);
        sidecars.chain([&service.environment])
    });
    let environments = of_services.chain(jobs.map(|job| &job.environment));
    let mut read = environments.flat_map(BTreeMap::values).filter_map(Text::whole);
    read.any(|reference| reference.section == Section::Secrets && reference.name.as_deref() == Some(key))
}

fn name_of(context: &Context, key: &str) -> String {
    context.spec.secrets.get(key).map(|secret| name(context, key, secret)).unwrap_or_default()
}

/// A secret that this pass has found or made.
async fn seen(secrets: &Client, context: &Context, key: &str) -> Result<DescribeSecretOutput> {
    let name = name_of(context, key);
    let found = describe(secrets, &name).await?;
    found.ok_or_else(|| Error::soon(format!("secret ({name}) has been made and isn't seen yet")))
}

/// The id of the version that is read where none is named.
pub(crate) fn current(secret: &DescribeSecretOutput) -> Option<String> {
    let is_current = |stages: &[String]| stages.iter().any(|stage| stage == CURRENT);
    let mut versions = secret.version_ids_to_stages().into_iter().flatten();
    versions.find(|(_, stages)| is_current(stages)).map(|(id, _)| id.clone())
}

/// A hash of the text in which each secret stands with its version in place of its value.
fn hash(context: &Context, compose: &Text, versions: &Versions) -> Result<String> {
    let text = compose.render(|reference| match &reference.name {
        Some(name) if reference.section == Section::Secrets => {
            let version = versions.get(name).and_then(Option::as_deref).unwrap_or_default();
            Ok(format!("${{{reference}@{version}}}"))
        }
        _ => plain(context, reference),
    })?;
    Ok(digits(&text, DIGITS))
}

/// What a reference to no secret stands for.
fn plain(context: &Context, reference: &Reference) -> Result<String> {
    context.render(&Text { parts: vec![spec::Part::Reference(reference.clone())] })
}

/// Whether the secret's current version is one that this hash made.
fn is_made_of(found: &DescribeSecretOutput, hash: &str) -> bool {
    current(found).is_some_and(|id| id.starts_with(hash))
}

/// The id of the version to put. It also follows from the versions that are there, since one of them, put again,
/// isn't made the current one; a version that was just put is current.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
fn token(hash: &str, found: &DescribeSecretOutput) -> String {
    let before: BTreeSet<&str> =
        found.version_ids_to_stages().into_iter().flatten().map(|(id, _)| id.as_str()).collect();
    format!("{hash}{}", digits(&format!("{hash} {before:?}"), TOKEN - hash.len()))
}

/// Reads the parts' values and puts what is made of them: they go from one call into the other.
async fn put(
    secrets: &Client,
    context: &Context,
    wanted: &Wanted,
    compose: &Text,
    versions: &Versions,
    token: &str,
) -> Result<()> {
    let mut values = BTreeMap::new();
    for (key, version) in versions {
        values.insert(key, read(secrets, context, wanted, key, version.as_deref()).await?);
    }
    let value = compose.render(|reference| match &reference.name {
        Some(name) if reference.section == Section::Secrets => {
            let value = values.get(name).map(String::as_str).unwrap_or_default();
            part(wanted, reference, value)
        }
        _ => plain(context, reference),
    })?;
    let put = secrets.put_secret_value().secret_id(&wanted.name).client_request_token(token);
    let put = put.secret_string(value).send().await;
    put.doing(|| format!("putting the composed value of secret ({})", wanted.name))?;
    Ok(())
}

async fn read(
    secrets: &Client,
    context: &Context,
    wanted: &Wanted,
    key: &str,
    version: Option<&str>,
) -> Result<String> {
    let name = name_of(context, key);
    let read = secrets.get_secret_value().secret_id(&name).set_version_id(version.map(str::to_owned));
    let read = read.send().await.doing(|| format!("reading secret ({name}) for {}", wanted.address))?;
    read.secret_string.ok_or_else(|| {
        Error::Failed(format!(
            "{}.compose: secrets.{key} holds bytes, of which no text can be made: put text, with plinth \
             secret set {} {key}",
            wanted.address, context.run.environment
        ))
    })
}

/// What a reference to a secret stands for: its value, or what is under one key of it. What is wrong with a
/// value is told without it.
fn part(wanted: &Wanted, reference: &Reference, value: &str) -> Result<String> {
    let Some(key) = reference.attribute.first() else { return Ok(value.to_owned()) };
    let parsed: Option<Value> = serde_json::from_str(value).ok();
    match parsed.as_ref().and_then(|parsed| parsed.get(key)) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(plain @ (Value::Number(_) | Value::Bool(_))) => Ok(plain.to_string()),
        _ => Err(Error::Failed(format!(
            "{}.compose: the value of secrets.{} has no text under \"{key}\": put JSON that has it, or \
             correct ${{{reference}}}",
            wanted.address,
            reference.name.as_deref().unwrap_or_default(),
        ))),
    }
}

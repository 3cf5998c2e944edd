//! `plinth secret set`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use aws_sdk_secretsmanager::{
    Client,
    types::{Filter, FilterNameStringType, SecretListEntry, Tag},
};
use console::Term;
use serde_json::Value;
use spec::Spec;
use step::{Doing, Error, Owner, Result, VALUE};

use crate::control_plane::ControlPlane;

/// Puts a value read from standard input: an argument would be seen by others, and remembered. On a terminal it isn't
/// shown, and who overwrites a value is asked first.
pub(crate) async fn set(
    control_plane: &ControlPlane,
    name: &str,
    secret: &str,
    yes: bool,
) -> Result<ExitCode> {
    let status = control_plane.status(name).await?;
    if let Some(role) = status.as_ref().and_then(|status| status.role.as_ref()) {
        let arn = status.as_ref().and_then(|status| status.outputs.secrets.get(secret));
        return Err(Error::Failed(format!(
            "environment {name} is built by {role}, in another account: put the value with credentials of that \
             account: aws secretsmanager put-secret-value --secret-id {} --secret-string file:///dev/stdin",
            arn.map_or("<the secret>", |found| found.arn.as_str())
        )));
    }
    let config = match status.and_then(|status| status.region) {
        Some(region) => step::in_region(&control_plane.aws, &region, name),
        None => control_plane.aws.clone(),
    };
    let secrets = Client::new(&config);
    let owner = Owner { environment: name.to_owned(), control_plane: control_plane.bucket.clone() };
    let found = find(&secrets, &owner, secret).await?;
    settable(secret, &found)?;
    let has_value = found.secret_versions_to_stages().is_some_and(|versions| !versions.is_empty());
    if has_value && !yes && std::io::stdin().is_terminal() {
        confirm(name, secret)?;
    }
    let spec = current(control_plane, name).await?;
    let keys = spec.as_ref().map(|spec| spec::keys_of_secret(spec, secret)).unwrap_or_default();
    let value = read(secret, &keys)?;
    fits(secret, &keys, &value)?;
    let arn = found.arn().unwrap_or_default();
    let put = secrets.put_secret_value().secret_id(arn).secret_string(value).send().await;
    put.doing(|| format!("putting the value of secrets.{secret}"))?;
    println!("secrets.{secret} of {name} has its value; tasks that start from now on read it");
    Ok(ExitCode::SUCCESS)
}

/// A secret of the environment, found by its tags.
async fn find(secrets: &Client, owner: &Owner, secret: &str) -> Result<SecretListEntry> {
    let ours = Filter::builder().key(FilterNameStringType::TagValue).values(&owner.environment).build();
    let pages = secrets.list_secrets().filters(ours).into_paginator().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut known = Vec::new();
    let pages = all.doing(|| "listing secrets")?;
    for entry in pages.into_iter().flat_map(|page| page.secret_list.unwrap_or_default()) {
        let tags = tags(&entry);
        let Some(address) = owner.address(&tags) else { continue };
        let key = address.trim_start_matches("secrets.").to_owned();
        if key == secret {
            return Ok(entry);
        }
        known.push(key);
    }
    let environment = &owner.environment;
    Err(Error::Failed(match known.as_slice() {
        [] => format!("environment {environment} has no secrets yet; apply its spec first"),
        known => {
            format!("environment {environment} has no secret \"{secret}\"; there are {}", known.join(", "))
        }
    }))
}

fn tags(entry: &SecretListEntry) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    entry.tags().iter().filter_map(pair).collect()
}

/// Refuses a secret whose value Plinth makes.
fn settable(secret: &str, found: &SecretListEntry) -> Result<()> {
    match tags(found).get(VALUE).map(String::as_str) {
        Some("generated") => Err(Error::Conflict(format!(
            "secrets.{secret} is generated, and what uses it, such as a database, has that value: nothing was changed; to \
             put a value by hand, take `generate` out of it in the spec and apply that first"
        ))),
        Some("composed") => Err(Error::Conflict(format!(
            "secrets.{secret} is composed of other secrets: nothing was changed; set the one that it is composed of, \
             and it is made anew by the next run, or take `compose` out of it in the spec and apply that first"
        ))),
        _ => Ok(()),
    }
}

/// The environment's spec, if it is uploaded and right.
async fn current(control_plane: &ControlPlane, name: &str) -> Result<Option<Spec>> {
    let Some(stored) = control_plane.specs(name).await?.pop() else { return Ok(None) };
    let (bucket, key) = (&control_plane.bucket, &stored.key);
    let what = || format!("reading s3://{bucket}/{key}");
    let object = control_plane.s3.get_object().bucket(bucket).key(key).send().await.doing(what)?;
    let bytes =
        object.body.collect().await.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
    let bytes = bytes.into_bytes();
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| spec::parse(text, None).ok()))
}

fn confirm(name: &str, secret: &str) -> Result<()> {
    let failed = |error| Error::Failed(format!("asking: {error}"));
    print!("secrets.{secret} of {name} has a value, which this overwrites; write yes to go on: ");
    std::io::stdout().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Error::Failed(format!("setting secrets.{secret}: yes wasn't written; nothing was changed")))
}

/// The value: a line that isn't shown on a terminal, else all that comes.
fn read(secret: &str, keys: &BTreeSet<String>) -> Result<String> {
    let failed = |error| Error::Failed(format!("reading the value from standard input: {error}"));
    let value = if std::io::stdin().is_terminal() {
        let form = if keys.is_empty() { String::new() } else { format!(", as {}", shape(keys)) };
        eprint!("the value of secrets.{secret} in one line{form} (it isn't shown): ");
        Term::stderr().read_secure_line().map_err(failed)?
    } else {
        let mut value = String::new();
        std::io::stdin().read_to_string(&mut value).map_err(failed)?;
        value
    };
    let value = value.strip_suffix('\n').unwrap_or(&value).to_owned();
    if value.is_empty() {
        return Err(Error::Failed(format!(
            "standard input is empty; write the value there: plinth secret set … {secret} < file"
        )));
    }
    Ok(value)
}

/// How a value with these keys looks.
fn shape(keys: &BTreeSet<String>) -> String {
    let fields: Vec<String> = keys.iter().map(|key| format!("\"{key}\": \"…\"")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// Refuses a value without the keys that the spec refers to. What it holds isn't told.
fn fits(secret: &str, keys: &BTreeSet<String>, value: &str) -> Result<()> {
    let parsed: Option<Value> = serde_json::from_str(value).ok();
    let has = |key: &String| {
        let found = parsed.as_ref().and_then(|parsed| parsed.get(key));
        found.is_some_and(|found| found.is_string() || found.is_number() || found.is_boolean())
    };
    let missing: Vec<String> =
        keys.iter().filter(|key| !has(key)).map(|key| format!("${{secrets.{secret}.{key}}}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "the spec refers to {}, and the value isn't JSON that has it: nothing was changed; write {}",
        missing.join(" and "),
        shape(keys)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(origin: &str) -> SecretListEntry {
        SecretListEntry::builder().tags(Tag::builder().key(VALUE).value(origin).build()).build()
    }

    #[test]
    fn a_value_that_plinth_makes_is_not_set_by_hand() {
        let told = |origin: &str| settable("db", &entry(origin)).unwrap_err().to_string();
        assert!(told("generated").contains("take `generate` out"), "{}", told("generated"));
        assert!(told("composed").contains("set the one that it is composed of"), "{}", told("composed"));
        assert_eq!(settable("db", &entry("by-hand")), Ok(()));
    }

    #[test]
    fn a_value_has_the_keys_that_the_spec_refers_to() {
        let keys = BTreeSet::from(["password".to_owned(), "user".to_owned()]);
        assert_eq!(fits("db", &keys, r#"{"user": "app", "password": "x", "port": 1}"#), Ok(()));
        assert_eq!(fits("db", &BTreeSet::new(), "anything"), Ok(()));
        for value in ["hunter2", r#"{"user": "hunter2"}"#, r#"["hunter2"]"#, r#"{"password": null}"#] {
            let told = fits("db", &keys, value).unwrap_err().to_string();
            assert!(told.contains("${secrets.db.password}") && !told.contains("hunter2"), "{told}");
            assert!(told.contains(r#"{"password": "…", "user": "…"}"#), "{told}");
        }
    }
}

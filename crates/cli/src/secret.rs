//! `plinth secret set`

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read},
    process::ExitCode,
};

use aws_sdk_secretsmanager::{
    Client,
    types::{Filter, FilterNameStringType, Tag},
};
use step::{Doing, Error, Owner, Result};

use crate::control_plane::ControlPlane;

/// Puts a value read from standard input: an argument would be seen by others, and remembered.
pub(crate) async fn set(control_plane: &ControlPlane, name: &str, secret: &str) -> Result<ExitCode> {
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
    let arn = find(&secrets, &owner, secret).await?;
    let value = read(secret)?;
    let put = secrets.put_secret_value().secret_id(&arn).secret_string(value).send().await;
    put.doing(|| format!("putting the value of secrets.{secret}"))?;
    println!("secrets.{secret} of {name} has its value; tasks that start from now on read it");
    Ok(ExitCode::SUCCESS)
}

/// The ARN of a secret of the environment, found by its tags.
async fn find(secrets: &Client, owner: &Owner, secret: &str) -> Result<String> {
    let ours = Filter::builder().key(FilterNameStringType::TagValue).values(&owner.environment).build();
    let pages = secrets.list_secrets().filters(ours).into_paginator().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut known = Vec::new();
    let pages = all.doing(|| "listing secrets")?;
    for entry in pages.into_iter().flat_map(|page| page.secret_list.unwrap_or_default()) {
        let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
        let tags: BTreeMap<_, _> = entry.tags().iter().filter_map(pair).collect();
        let Some(address) = owner.address(&tags) else { continue };
        let key = address.trim_start_matches("secrets.").to_owned();
        if key == secret {
            return Ok(entry.arn.unwrap_or_default());
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

fn read(secret: &str) -> Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("the value of secrets.{secret}, then Ctrl-D:");
    }
    let mut value = String::new();
    std::io::stdin()
        .read_to_string(&mut value)
        .map_err(|error| Error::Failed(format!("reading the value from standard input: {error}")))?;
    let value = value.strip_suffix('\n').unwrap_or(&value).to_owned();
    if value.is_empty() {
        return Err(Error::Failed(format!(
            "standard input is empty; write the value there: plinth secret set … {secret} < file"
        )));
    }
    Ok(value)
}

//! The step `secret`: Secrets Manager secrets, some with a value that is generated once, some with one that
//! is composed of others'.
//!
//! Ours is a secret that carries the owner's tags; it has them from `CreateSecret` on. How long a
//! deleted one can be restored is a tag too, since the spec no longer says it when the secret goes, and so is
//! what a value was composed of.
//! A value is passed from one call to the next and never shown.

mod compose;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::{
    Client,
    operation::{describe_secret::DescribeSecretOutput, list_secrets::ListSecretsOutput},
    types::{Filter, FilterNameStringType, Tag},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use spec::{Generate, Text};
use step::{
    Answer, Change, Context, Doing, ENVIRONMENT, Error, Field, Operation, PROTECT, Result, SecretOutput,
    UNKNOWN, compare, compare_key, is_protected, missing_tags, side_by_side,
};

/// The tag that says for how many days a deleted secret can be restored.
const RECOVERY: &str = "plinth:recovery";

/// The days a deleted secret can be restored, where the spec doesn't say.
const RECOVERY_DAYS: u64 = 7;

/// The account's own key for secrets.
const OWN_KEY: &str = "alias/aws/secretsmanager";

/// The longest name of a secret.
const LIMIT: usize = 512;

/// What a protected secret can't be without, by address.
const NEEDS: [&str; 1] = ["key"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let secrets = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&secrets, &context).await,
        Operation::Ensure => ensure(&secrets, &context).await,
        Operation::Prune => prune(&secrets, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    name: String,
    description: String,
    /// The ARN of the key it is encrypted with; none for the account's own.
    encryption: Option<String>,
    generate: Option<Generate>,
    compose: Option<Text>,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let encryption = context.key_arn()?;
    let wanted = |(key, secret): (&String, &spec::Secret)| {
        let address = format!("secrets.{key}");
        let days = secret.recovery.and_then(spec::Duration::whole_days).unwrap_or(RECOVERY_DAYS);
        let mut tags = context.tags(&address);
        tags.insert(RECOVERY.to_owned(), days.to_string());
        tags.insert(PROTECT.to_owned(), secret.protect.to_string());
        Wanted {
            key: key.clone(),
            name: name(context, key, secret),
            description: secret.description.clone().unwrap_or_default(),
            encryption: encryption.cloned(),
            generate: secret.generate.clone(),
            compose: secret.compose.clone(),
            tags,
            address,
        }
    };
    Ok(context.spec.secrets.iter().map(wanted).collect())
}

fn name(context: &Context, key: &str, secret: &spec::Secret) -> String {
    context.name(secret.name.as_ref(), key, LIMIT)
}

async fn ensure(secrets: &Client, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let outputs = side_by_side(wanted.iter().map(|wanted| ensure_one(secrets, context, wanted))).await?;
    // What they are composed of is there by now.
    compose::ensure(secrets, context, &wanted).await?;
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

async fn ensure_one(secrets: &Client, context: &Context, wanted: &Wanted) -> Result<(String, SecretOutput)> {
    let arn = match find(secrets, context, &wanted.name).await? {
        None => create(secrets, wanted).await?,
        Some(found) => {
            if found.deleted_date().is_some() {
                restore(secrets, wanted).await?;
            }
            if let Some(generate) = wanted.generate.as_ref().filter(|_| lacks_value(&found)) {
                put_value(secrets, wanted, generate, &found).await?;
            }
            update(secrets, &found, wanted).await?;
            found.arn().unwrap_or_default().to_owned()
        }
    };
    Ok((wanted.key.clone(), SecretOutput { arn }))
}

async fn plan(secrets: &Client, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(secrets, context).await?;
    let wanted = wanted(context)?;
    let found = side_by_side(wanted.iter().map(|wanted| find(secrets, context, &wanted.name))).await?;
    let mut outputs = BTreeMap::new();
    for (wanted, found) in wanted.iter().zip(found) {
        let arn = found.as_ref().and_then(DescribeSecretOutput::arn).unwrap_or(UNKNOWN);
        outputs.insert(wanted.key.clone(), SecretOutput { arn: arn.to_owned() });
        changes.extend(match found.filter(|found| found.deleted_date().is_none()) {
            None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
            Some(found) => {
                let value = compose::plan(secrets, context, wanted, &found).await?;
                let fields = value.into_iter().chain(difference(&found, wanted)).collect();
                Change::update(&wanted.address, fields)
            }
        });
    }
    Ok(Answer::new(outputs, changes)?.keeping(NEEDS.map(str::to_owned)))
}

async fn prune(secrets: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(secrets, context).await?).keeping(NEEDS.map(str::to_owned)))
}

/// Deletes our secrets that the spec doesn't mention, but for those that are protected, or that something
/// protected needs; in a plan only names them.
async fn delete_dropped(secrets: &Client, context: &Context) -> Result<Vec<Change>> {
    let secrets_of_spec = context.spec.secrets.iter();
    let kept: Vec<_> = secrets_of_spec.map(|(key, secret)| name(context, key, secret)).collect();
    let mut changes = Vec::new();
    for (name, tags) in ours(secrets, context).await? {
        if kept.contains(&name) {
            continue;
        }
        let owner = context.owner();
        let address = owner.address(&tags).unwrap_or_default();
        if is_protected(&tags) || context.kept.contains(address) {
            changes.push(Change::keep(address).with("name", &name));
            continue;
        }
        changes.push(Change::delete(address).with("name", &name));
        if context.operation == Operation::Prune {
            delete(secrets, &name).await?;
        }
    }
    Ok(changes)
}

/// The secret of this name; one that awaits its deletion too, since its name stays taken.
async fn find(secrets: &Client, context: &Context, name: &str) -> Result<Option<DescribeSecretOutput>> {
    let found = describe(secrets, name).await?;
    if let Some(secret) = &found {
        context.owner().check(&format!("secret ({name})"), &tags(secret.tags()))?;
    }
    Ok(found)
}

async fn describe(secrets: &Client, name: &str) -> Result<Option<DescribeSecretOutput>> {
    let found = secrets.describe_secret().secret_id(name).send().await;
    found.unless_absent(&["ResourceNotFoundException"], || format!("describing secret ({name})"))
}

/// The names and tags of our secrets, without those that await their deletion.
async fn ours(secrets: &Client, context: &Context) -> Result<Vec<(String, BTreeMap<String, String>)>> {
    let filter = |key, value: &str| Filter::builder().key(key).values(value).build();
    let pages = secrets
        .list_secrets()
        .filters(filter(FilterNameStringType::TagKey, ENVIRONMENT))
        .filters(filter(FilterNameStringType::TagValue, &context.run.environment))
        .into_paginator()
        .send()
        .collect::<std::result::Result<Vec<_>, _>>()
        .await
        .doing(|| "listing secrets")?;
    let listed = pages.iter().flat_map(ListSecretsOutput::secret_list);
    let present = listed.filter(|secret| secret.deleted_date().is_none());
    let named = present.map(|secret| (secret.name().unwrap_or_default().to_owned(), tags(secret.tags())));
    Ok(named.filter(|(_, tags)| context.owner().address(tags).is_some()).collect())
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

/// Whether a generated value is still to be made: there is none, or it is of an earlier life.
fn lacks_value(found: &DescribeSecretOutput) -> bool {
    found.deleted_date().is_some()
        || found.version_ids_to_stages().is_none_or(std::collections::HashMap::is_empty)
}

fn difference(found: &DescribeSecretOutput, wanted: &Wanted) -> Vec<Field> {
    let value = (wanted.generate.is_some() && lacks_value(found)).then(|| Field {
        name: "generate".to_owned(),
        found: Some("no value".to_owned()),
        wanted: "a generated value".to_owned(),
    });
    let description =
        compare("description", found.description().unwrap_or_default(), wanted.description.as_str());
    let key = compare_key(found.kms_key_id(), wanted.encryption.as_ref());
    let tags = missing_tags(&tags(found.tags()), &wanted.tags);
    value.into_iter().chain(description).chain(key).chain(tags).collect()
}

async fn create(secrets: &Client, wanted: &Wanted) -> Result<String> {
    let value = match &wanted.generate {
        Some(generate) => Some(generated(secrets, wanted, generate).await?),
        None => None,
    };
    let created = secrets
        .create_secret()
        .name(&wanted.name)
        .client_request_token(token(wanted, ""))
        .set_description(Some(wanted.description.clone()).filter(|text| !text.is_empty()))
        .set_kms_key_id(wanted.encryption.clone())
        .set_secret_string(value)
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await
        .doing(|| format!("creating secret ({})", wanted.name))?;
    created.arn.ok_or_else(|| Error::Failed(format!("creating secret ({}): no ARN answered", wanted.name)))
}

async fn restore(secrets: &Client, wanted: &Wanted) -> Result<()> {
    let restored = secrets.restore_secret().secret_id(&wanted.name).send().await;
    restored.doing(|| format!("restoring secret ({})", wanted.name))?;
    Ok(())
}

async fn put_value(
    secrets: &Client,
    wanted: &Wanted,
    generate: &Generate,
    found: &DescribeSecretOutput,
) -> Result<()> {
    let life = found.deleted_date().map(|date| date.secs().to_string()).unwrap_or_default();
    let put = secrets
        .put_secret_value()
        .secret_id(&wanted.name)
        .client_request_token(token(wanted, &life))
        .secret_string(generated(secrets, wanted, generate).await?);
    put.send().await.doing(|| format!("putting the generated value of secret ({})", wanted.name))?;
    Ok(())
}

/// The value to store. Letters and digits only, since passwords end up in URLs.
async fn generated(secrets: &Client, wanted: &Wanted, generate: &Generate) -> Result<String> {
    let what = || format!("generating a password for secret ({})", wanted.name);
    let answer = secrets
        .get_random_password()
        .password_length(generate.length.into())
        .exclude_punctuation(true)
        .require_each_included_type(true)
        .send()
        .await
        .doing(what)?;
    let password =
        answer.random_password.ok_or_else(|| Error::Failed(format!("{}: none answered", what())))?;
    Ok(match &generate.username {
        Some(username) => json!({ "username": username, "password": password }).to_string(),
        None => password,
    })
}

/// A version's id. `life` sets apart what is put after a restore, when the first id is taken.
fn token(wanted: &Wanted, life: &str) -> String {
    let owner = &wanted.tags[ENVIRONMENT];
    let hash = Sha256::digest(format!("{owner} {} {life}", wanted.address));
    let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

async fn update(secrets: &Client, found: &DescribeSecretOutput, wanted: &Wanted) -> Result<()> {
    let encrypted = compare_key(found.kms_key_id(), wanted.encryption.as_ref()).is_none();
    if found.description().unwrap_or_default() != wanted.description || !encrypted {
        let update = secrets.update_secret().secret_id(&wanted.name).description(&wanted.description);
        let update = update.kms_key_id(wanted.encryption.as_deref().unwrap_or(OWN_KEY)).send().await;
        update.doing(|| format!("changing the description and key of secret ({})", wanted.name))?;
    }
    if !missing_tags(&tags(found.tags()), &wanted.tags).is_empty() {
        let tag = secrets.tag_resource().secret_id(&wanted.name).set_tags(Some(tag_list(&wanted.tags)));
        tag.send().await.doing(|| format!("tagging secret ({})", wanted.name))?;
    }
    Ok(())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Deletes a secret that doesn't await its deletion yet; lists of secrets lag behind.
async fn delete(secrets: &Client, name: &str) -> Result<()> {
    let found = describe(secrets, name).await?;
    let Some(found) = found.filter(|found| found.deleted_date().is_none()) else { return Ok(()) };
    let delete = secrets.delete_secret().secret_id(name);
    let delete = match tags(found.tags()).get(RECOVERY).and_then(|days| days.parse().ok()) {
        Some(0) => delete.force_delete_without_recovery(true),
        days => delete.set_recovery_window_in_days(days),
    };
    let deleted = delete.send().await;
    deleted.unless_absent(&["ResourceNotFoundException"], || format!("deleting secret ({name})"))?;
    Ok(())
}

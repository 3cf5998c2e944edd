//! The step `key`: the environment's KMS key and its alias.
//!
//! Ours is a key that carries the owner's tags; it has them from `CreateKey` on. Its alias is owned
//! through it. A deleted key lingers for days without its alias, and is taken up again by an environment
//! that comes back meanwhile.

mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_kms::{
    Client,
    config::{Config, retry::RetryConfig},
    types::{KeyMetadata, KeyState, Tag},
};
use serde_json::Value;
use step::{
    Answer, Change, Context, Doing, Error, Field, KeyOutput, Operation, Result, UNKNOWN, compare,
    missing_tags, side_by_side,
};

/// The key's address.
const ADDRESS: &str = "key";

/// The tag that says for how many days a deleted key can be restored.
const RECOVERY: &str = "plinth:recovery";

/// The days a deleted key can be restored, where the spec doesn't say: the least KMS takes.
const RECOVERY_DAYS: u64 = 7;

/// The one policy a key has.
const POLICY: &str = "default";

/// What KMS answers for what isn't there.
const ABSENT: [&str; 1] = ["NotFoundException"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let kms = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&kms, &context).await,
        Operation::Ensure => ensure(&kms, &context).await,
        Operation::Prune => prune(&kms, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    alias: String,
    description: String,
    rotation: bool,
    policy: Value,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context, key: &spec::Key) -> Wanted {
    let days = key.recovery.and_then(spec::Duration::whole_days).unwrap_or(RECOVERY_DAYS);
    let mut tags = context.tags(ADDRESS);
    tags.insert(RECOVERY.to_owned(), days.to_string());
    Wanted {
        alias: format!("alias/{}", key.name.as_ref().unwrap_or(&context.run.environment)),
        description: key.description.clone().unwrap_or_default(),
        rotation: key.rotation,
        policy: policy::policy(context),
        tags,
    }
}

/// A key with what KMS tells of it in other calls.
struct Found {
    key: KeyMetadata,
    aliases: BTreeSet<String>,
    rotation: bool,
    policy: Value,
    tags: BTreeMap<String, String>,
}

async fn ensure(kms: &Client, context: &Context) -> Result<Answer> {
    let Some(key) = &context.spec.key else { return Ok(Answer::default()) };
    let wanted = wanted(context, key);
    let found = match find(kms, context, &wanted.alias).await? {
        None => create(kms, &wanted).await?,
        Some(found) => {
            update(kms, &found, &wanted).await?;
            found
        }
    };
    if found.rotation != wanted.rotation {
        rotate(kms, found.key.key_id(), wanted.rotation).await?;
    }
    if !found.aliases.contains(&wanted.alias) {
        let named = kms.create_alias().alias_name(&wanted.alias).target_key_id(found.key.key_id());
        named.send().await.doing(|| format!("giving a KMS key the name {}", wanted.alias))?;
    }
    for alias in found.aliases.iter().filter(|alias| **alias != wanted.alias) {
        delete_alias(kms, alias).await?;
    }
    Answer::new(output(Some(&found)), Vec::new())
}

async fn plan(kms: &Client, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(kms, context).await?;
    let Some(key) = &context.spec.key else { return Ok(Answer::changed(changes)) };
    let wanted = wanted(context, key);
    let found = find(kms, context, &wanted.alias).await?;
    changes.extend(match found.as_ref().filter(|found| !is_deleted(&found.key)) {
        None => Some(Change::create(ADDRESS).with("alias", &wanted.alias)),
        Some(found) => Change::update(ADDRESS, difference(found, &wanted)),
    });
    Answer::new(output(found.as_ref()), changes)
}

async fn prune(kms: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(kms, context).await?))
}

/// Deletes our keys that the spec doesn't mean: all if it has none, else a double that a lost answer left;
/// in a plan only names them.
async fn delete_dropped(kms: &Client, context: &Context) -> Result<Vec<Change>> {
    let dropped = match &context.spec.key {
        None => ours(kms, context, false).await?,
        Some(key) => {
            let kept = find(kms, context, &wanted(context, key).alias).await?;
            let kept = kept.as_ref().map(|found| found.key.key_id());
            let mut others = ours(kms, context, true).await?;
            others.retain(|(id, _)| Some(id.as_str()) != kept);
            others
        }
    };
    let mut changes = Vec::new();
    for (id, tags) in dropped {
        let Some(key) = describe(kms, &id).await?.filter(|key| !is_deleted(key)) else { continue };
        if context.kept.contains(ADDRESS) {
            changes.push(Change::keep(ADDRESS).with("id", &id));
            continue;
        }
        changes.push(Change::delete(ADDRESS).with("id", &id));
        if context.operation == Operation::Prune {
            delete(kms, &key, &tags).await?;
        }
    }
    Ok(changes)
}

/// Our key: the one that has our alias, or else one that carries our tags. An alias of somebody else's
/// key stands in the way.
async fn find(kms: &Client, context: &Context, alias: &str) -> Result<Option<Found>> {
    let key = describe(kms, alias).await?;
    if let Some(key) = &key {
        context.owner().check(&format!("KMS key ({alias})"), &tags(kms, key.key_id()).await?)?;
    }
    let key = match key {
        Some(key) => Some(key),
        None => unnamed(kms, context).await?,
    };
    match key {
        Some(key) => Ok(Some(read(kms, key).await?)),
        None => Ok(None),
    }
}

/// Our key without our alias: one whose pass ended before it had it, one that was named otherwise, or one
/// that awaits its deletion. One that is in use comes first.
async fn unnamed(kms: &Client, context: &Context) -> Result<Option<KeyMetadata>> {
    let mut keys = Vec::new();
    for (id, _) in ours(kms, context, false).await? {
        keys.extend(describe(kms, &id).await?);
    }
    keys.sort_by_key(|key| (is_deleted(key), key.key_id().to_owned()));
    Ok(keys.into_iter().next())
}

async fn describe(kms: &Client, id: &str) -> Result<Option<KeyMetadata>> {
    let described = kms.describe_key().key_id(id).send().await;
    let described = described.unless_absent(&ABSENT, || format!("describing KMS key ({id})"))?;
    Ok(described.and_then(|answer| answer.key_metadata))
}

/// What other calls tell of a key. One that is being deleted tells nothing of its rotation.
async fn read(kms: &Client, key: KeyMetadata) -> Result<Found> {
    let id = key.key_id();
    let policy = kms.get_key_policy().key_id(id).policy_name(POLICY).send().await;
    let policy = policy.doing(|| format!("reading the policy of KMS key ({id})"))?;
    let rotation = if is_deleted(&key) {
        false
    } else {
        let status = kms.get_key_rotation_status().key_id(id).send().await;
        status.doing(|| format!("reading the rotation of KMS key ({id})"))?.key_rotation_enabled
    };
    let aliases = aliases(kms).await?.into_iter().filter(|(_, target)| target == id);
    Ok(Found {
        aliases: aliases.map(|(alias, _)| alias).collect(),
        rotation,
        policy: serde_json::from_str(policy.policy().unwrap_or_default()).unwrap_or_default(),
        tags: tags(kms, id).await?,
        key,
    })
}

/// Every alias in the region, with the id of its key.
async fn aliases(kms: &Client) -> Result<BTreeMap<String, String>> {
    let pages = kms.list_aliases().into_paginator().items().send();
    let aliases: std::result::Result<Vec<_>, _> = pages.collect().await;
    let aliases = aliases.doing(|| "listing KMS aliases")?;
    Ok(aliases.into_iter().filter_map(|alias| Some((alias.alias_name?, alias.target_key_id?))).collect())
}

/// The ids and tags of our keys, or of those without an alias. KMS can't be asked for tags, and lets them
/// be read ten times a second: the keys of AWS's own services are left out.
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html>
async fn ours(
    kms: &Client,
    context: &Context,
    without_alias: bool,
) -> Result<Vec<(String, BTreeMap<String, String>)>> {
    let aliases = aliases(kms).await?.into_iter();
    let passed = aliases.filter(|(alias, _)| without_alias || alias.starts_with("alias/aws/"));
    let passed: BTreeSet<String> = passed.map(|(_, target)| target).collect();
    let pages = kms.list_keys().into_paginator().items().send();
    let keys: std::result::Result<Vec<_>, _> = pages.collect().await;
    let ids = keys.doing(|| "listing KMS keys")?.into_iter().filter_map(|key| key.key_id);
    let look = async |id: String| Ok((tags(kms, &id).await?, id));
    let tagged = side_by_side(ids.filter(|id| !passed.contains(id)).map(look)).await?;
    let ours = tagged.into_iter().filter(|(tags, _)| context.owner().address(tags) == Some(ADDRESS));
    Ok(ours.map(|(tags, id)| (id, tags)).collect())
}

/// A key's tags; those of a key that we may not look at are none of ours.
async fn tags(kms: &Client, id: &str) -> Result<BTreeMap<String, String>> {
    let pages = kms.list_resource_tags().key_id(id).into_paginator().items().send();
    let tags: std::result::Result<Vec<Tag>, _> = pages.collect().await;
    let tags = tags.unless_absent(&["NotFoundException", "AccessDeniedException"], || {
        format!("reading the tags of KMS key ({id})")
    })?;
    let pair = |tag: Tag| (tag.tag_key, tag.tag_value);
    Ok(tags.unwrap_or_default().into_iter().map(pair).collect())
}

fn is_deleted(key: &KeyMetadata) -> bool {
    key.key_state() == Some(&KeyState::PendingDeletion)
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let aliases = found.aliases.iter().cloned().collect::<Vec<_>>().join(", ");
    // Compared as JSON, shown as text: the two may differ in white space and order.
    let policy = (found.policy != wanted.policy).then(|| Field {
        name: "policy".to_owned(),
        found: Some(found.policy.to_string()),
        wanted: wanted.policy.to_string(),
    });
    [
        compare("alias", aliases, wanted.alias.clone()),
        compare("description", found.key.description().unwrap_or_default(), wanted.description.as_str()),
        compare("enabled", found.key.enabled(), true),
        compare("rotation", found.rotation, wanted.rotation),
        policy,
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

/// Nothing makes a second `CreateKey` the first, so it isn't retried: the next pass looks first.
async fn create(kms: &Client, wanted: &Wanted) -> Result<Found> {
    let created = kms
        .create_key()
        .description(&wanted.description)
        .policy(wanted.policy.to_string())
        .set_tags(Some(tag_list(&wanted.tags)?))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| "creating a KMS key")?;
    let key = created.key_metadata;
    let key = key.ok_or_else(|| Error::Failed("creating a KMS key: no key answered".to_owned()))?;
    let (aliases, policy, tags) = (BTreeSet::new(), wanted.policy.clone(), wanted.tags.clone());
    Ok(Found { key, aliases, rotation: false, policy, tags })
}

/// Puts the key itself right; one that awaits its deletion comes back first.
async fn update(kms: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let id = found.key.key_id();
    if is_deleted(&found.key) {
        let cancelled = kms.cancel_key_deletion().key_id(id).send().await;
        cancelled.doing(|| format!("cancelling the deletion of KMS key ({id})"))?;
    }
    if !found.key.enabled() {
        kms.enable_key().key_id(id).send().await.doing(|| format!("enabling KMS key ({id})"))?;
    }
    if found.key.description().unwrap_or_default() != wanted.description {
        let update = kms.update_key_description().key_id(id).description(&wanted.description);
        update.send().await.doing(|| format!("changing the description of KMS key ({id})"))?;
    }
    if found.policy != wanted.policy {
        let put = kms.put_key_policy().key_id(id).policy_name(POLICY).policy(wanted.policy.to_string());
        put.send().await.doing(|| format!("putting the policy of KMS key ({id})"))?;
    }
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        let put = kms.tag_resource().key_id(id).set_tags(Some(tag_list(&wanted.tags)?)).send().await;
        put.doing(|| format!("tagging KMS key ({id})"))?;
    }
    Ok(())
}

async fn rotate(kms: &Client, id: &str, rotation: bool) -> Result<()> {
    if rotation {
        let enabled = kms.enable_key_rotation().key_id(id).send().await;
        enabled.doing(|| format!("having KMS key ({id}) rotated"))?;
    } else {
        let disabled = kms.disable_key_rotation().key_id(id).send().await;
        disabled.doing(|| format!("having KMS key ({id}) no longer rotated"))?;
    }
    Ok(())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().tag_key(key).tag_value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Frees the alias and schedules the key's deletion: KMS deletes none at once.
async fn delete(kms: &Client, key: &KeyMetadata, tags: &BTreeMap<String, String>) -> Result<()> {
    let id = key.key_id();
    for (alias, _) in aliases(kms).await?.into_iter().filter(|(_, target)| target == id) {
        delete_alias(kms, &alias).await?;
    }
    let days = tags.get(RECOVERY).and_then(|days| days.parse().ok());
    let deleted = kms.schedule_key_deletion().key_id(id).set_pending_window_in_days(days).send().await;
    // Another pass has scheduled it.
    deleted
        .gone(&["NotFoundException", "KMSInvalidStateException"], &[], || format!("deleting KMS key ({id})"))
}

async fn delete_alias(kms: &Client, alias: &str) -> Result<()> {
    let deleted = kms.delete_alias().alias_name(alias).send().await;
    deleted.unless_absent(&ABSENT, || format!("deleting {alias}"))?;
    Ok(())
}

fn output(found: Option<&Found>) -> KeyOutput {
    let key = found.map(|found| &found.key);
    let arn = key.and_then(KeyMetadata::arn).unwrap_or(UNKNOWN);
    KeyOutput { id: key.map_or(UNKNOWN, KeyMetadata::key_id).to_owned(), arn: arn.to_owned() }
}

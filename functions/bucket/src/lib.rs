//! The step `bucket`: S3 buckets.
//!
//! Ours is a bucket that carries the owner's tags; it has them from `CreateBucket` on. Whether it is
//! protected, and whether its objects may go with it, are tags too, since the spec no longer says it when the
//! bucket goes. A bucket that holds objects, or older versions of them, isn't dropped unless the spec says that its
//! data may be lost.

mod lifecycle;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, Delete, EncodingType,
        LifecycleRule, ObjectIdentifier, PublicAccessBlockConfiguration, ServerSideEncryption,
        ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag,
        Tagging, VersioningConfiguration,
    },
};
use serde_json::Value;
use step::{
    Answer, BucketOutput, Change, Context, Doing, Error, Field, Operation, PROTECT, Result, compare,
    compare_key, is_protected, loss, missing_tags, side_by_side,
};

/// The tag that says whether a bucket is deleted with the objects in it.
const FORCE_DELETE: &str = "plinth:force-delete";

/// What a protected bucket can't be without, by address.
const NEEDS: [&str; 1] = ["key"];

/// The longest name of a bucket.
const LIMIT: usize = 63;

/// How many listings of a bucket one pass deletes, of 1,000 versions each.
const LISTINGS: usize = 20;

/// What S3 answers for a bucket that isn't there.
const ABSENT: [&str; 2] = ["NoSuchBucket", "NotFound"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let s3 = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&s3, &context).await,
        Operation::Ensure => ensure(&s3, &context).await,
        Operation::Prune => prune(&s3, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    name: String,
    versioned: bool,
    /// The ARN of the key it is encrypted with; none for S3's own.
    encryption: Option<String>,
    rules: Vec<LifecycleRule>,
    /// The statement of its policy that keeps other environments out.
    policy: Value,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let encryption = context.key_arn()?;
    let wanted = |(key, bucket): (&String, &spec::Bucket)| {
        let address = format!("buckets.{key}");
        let mut tags = context.tags(&address);
        tags.insert(FORCE_DELETE.to_owned(), bucket.force_delete.to_string());
        tags.insert(PROTECT.to_owned(), bucket.protect.to_string());
        let name = name(context, key, bucket);
        Ok(Wanted {
            key: key.clone(),
            policy: policy::wanted(context, &name),
            name,
            versioned: bucket.versioned,
            encryption: encryption.cloned(),
            rules: lifecycle::wanted(bucket)?,
            tags,
            address,
        })
    };
    context.spec.buckets.iter().map(wanted).collect()
}

fn name(context: &Context, key: &str, bucket: &spec::Bucket) -> String {
    let key = spec::named_by(key, bucket.formerly.as_ref());
    let word = format!("{key}-{}-{}", context.run.account, context.run.region);
    context.name(bucket.name.as_ref(), &word, LIMIT)
}

/// A bucket as S3 tells of it, call by call.
struct Found {
    tags: BTreeMap<String, String>,
    versioned: bool,
    encryption: Option<String>,
    closed: bool,
    rules: Vec<LifecycleRule>,
    /// The statements of its policy.
    policy: Vec<Value>,
}

async fn ensure(s3: &Client, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let outputs = side_by_side(wanted.iter().map(|wanted| ensure_one(s3, context, wanted))).await?;
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

async fn ensure_one(s3: &Client, context: &Context, wanted: &Wanted) -> Result<(String, BucketOutput)> {
    let found = match find(s3, context, &wanted.name).await? {
        None => create(s3, context, wanted).await?,
        Some(found) => found,
    };
    update(s3, &found, wanted).await?;
    Ok((wanted.key.clone(), output(context, wanted)))
}

async fn plan(s3: &Client, context: &Context) -> Result<Answer> {
    let (mut changes, refused) = delete_dropped(s3, context).await?;
    let wanted = wanted(context)?;
    let found = side_by_side(wanted.iter().map(|wanted| find(s3, context, &wanted.name))).await?;
    let mut outputs = BTreeMap::new();
    for (wanted, found) in wanted.iter().zip(&found) {
        outputs.insert(wanted.key.clone(), output(context, wanted));
        changes.extend(match found {
            None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
            Some(found) => Change::update(&wanted.address, difference(found, wanted)),
        });
    }
    Ok(Answer::new(outputs, changes)?.keeping(NEEDS.map(str::to_owned)).refusing(refused))
}

async fn prune(s3: &Client, context: &Context) -> Result<Answer> {
    let (changes, _) = delete_dropped(s3, context).await?;
    Ok(Answer::changed(changes).keeping(NEEDS.map(str::to_owned)))
}

/// Deletes our buckets that the spec doesn't mention, but for those that are protected; in a plan only names
/// them, and says why they can't go.
async fn delete_dropped(s3: &Client, context: &Context) -> Result<(Vec<Change>, Vec<String>)> {
    let buckets = context.spec.buckets.iter();
    let kept: BTreeSet<String> = buckets.map(|(key, bucket)| name(context, key, bucket)).collect();
    let others = listed(s3, context).await?.into_iter().filter(|name| !kept.contains(name));
    let dropped = side_by_side(others.map(|name| dropped(s3, context, name))).await?;
    let dropped: Vec<Dropped> = dropped.into_iter().flatten().collect();
    let going = || dropped.iter().filter(|dropped| !dropped.protect);
    let mut refused = Vec::new();
    if context.operation == Operation::Prune {
        side_by_side(going().map(|dropped| delete(s3, dropped))).await?;
    } else {
        let full = going().filter(|dropped| !dropped.force).map(|dropped| refusal(s3, context, dropped));
        refused = side_by_side(full).await?;
    }
    let told = |found: Dropped| {
        let change = if found.protect { Change::keep(found.address) } else { Change::delete(found.address) };
        change.with("name", found.name)
    };
    Ok((dropped.into_iter().map(told).collect(), refused.into_iter().flatten().collect()))
}

/// Why a bucket can't go: it holds something that nobody gave up.
async fn refusal(s3: &Client, context: &Context, dropped: &Dropped) -> Result<Option<String>> {
    let Dropped { name, address, .. } = dropped;
    if !holds_objects(s3, name).await? {
        return Ok(None);
    }
    let what = format!("S3 bucket ({name})");
    Ok(Some(if context.run.teardown {
        full(&what, address)
    } else {
        loss(address, &what, "which holds objects, or older versions of them, that would be deleted")
    }))
}

/// Whether a bucket holds an object, an older version of one, or the mark of one that was deleted.
async fn holds_objects(s3: &Client, name: &str) -> Result<bool> {
    let listed = s3.list_object_versions().bucket(name).max_keys(1).send().await;
    let listed = listed.unless_absent(&ABSENT, || format!("listing the objects of S3 bucket ({name})"))?;
    Ok(listed.is_some_and(|listed| !listed.versions().is_empty() || !listed.delete_markers().is_empty()))
}

fn full(what: &str, address: &str) -> String {
    format!(
        "{address}: {what} holds objects, or older versions of them, which `aws s3 ls` doesn't show: delete them, or \
         set `forceDelete: true` at {address} and apply that first"
    )
}

/// A bucket of ours that the spec doesn't mention, with what its tags say of how it goes.
struct Dropped {
    name: String,
    address: String,
    protect: bool,
    /// Whether what is in it goes with it.
    force: bool,
}

async fn dropped(s3: &Client, context: &Context, name: String) -> Result<Option<Dropped>> {
    let Some(tags) = tags(s3, &name).await? else { return Ok(None) };
    let owner = context.owner();
    let Some(address) = owner.address(&tags) else { return Ok(None) };
    let force = tags.get(FORCE_DELETE).is_some_and(|force| force == "true");
    // A spec that gives its data up says it after the bucket was tagged; one that says nothing is refused, though it
    // may be emptied when the environment goes.
    let allowed = context.may_lose(address);
    let force = allowed && (force || !context.run.teardown);
    Ok(Some(Dropped { name, address: address.to_owned(), protect: is_protected(&tags), force }))
}

/// The names of the account's buckets in the run's region.
async fn listed(s3: &Client, context: &Context) -> Result<Vec<String>> {
    let pages = s3.list_buckets().bucket_region(&context.run.region).into_paginator().items().send();
    let buckets: std::result::Result<Vec<_>, _> = pages.collect().await;
    let buckets = buckets.doing(|| "listing S3 buckets")?;
    Ok(buckets.into_iter().filter_map(|bucket| bucket.name).collect())
}

async fn find(s3: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(tags) = tags(s3, name).await? else { return Ok(None) };
    context.owner().check(&format!("S3 bucket ({name})"), &tags)?;
    let doing = || format!("reading the settings of S3 bucket ({name})");
    let versioning = s3.get_bucket_versioning().bucket(name).send().await.doing(doing)?;
    let encryption = s3.get_bucket_encryption().bucket(name).send().await;
    let encryption = encryption.unless_absent(&["ServerSideEncryptionConfigurationNotFoundError"], doing)?;
    let access = s3.get_public_access_block().bucket(name).send().await;
    let access = access.unless_absent(&["NoSuchPublicAccessBlockConfiguration"], doing)?;
    Ok(Some(Found {
        tags,
        versioned: versioning.status() == Some(&BucketVersioningStatus::Enabled),
        encryption: encryption.and_then(|answer| key(answer.server_side_encryption_configuration?)),
        closed: access.and_then(|answer| answer.public_access_block_configuration) == Some(closed()),
        rules: lifecycle::find(s3, name).await?,
        policy: policy::find(s3, name).await?,
    }))
}

/// A bucket's tags; none if there is no such bucket of ours to see.
async fn tags(s3: &Client, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    let answer = s3.get_bucket_tagging().bucket(name).send().await;
    if answer.as_ref().is_err_and(|error| error.code() == Some("NoSuchTagSet")) {
        return Ok(Some(BTreeMap::new()));
    }
    let answer = answer.unless_absent(&ABSENT, || format!("reading the tags of S3 bucket ({name})"))?;
    let pair = |tag: Tag| (tag.key, tag.value);
    Ok(answer.map(|answer| answer.tag_set.into_iter().map(pair).collect()))
}

/// The key that what is put is encrypted with, where it isn't S3's own.
fn key(configuration: ServerSideEncryptionConfiguration) -> Option<String> {
    let rule = configuration.rules.into_iter().next()?;
    rule.apply_server_side_encryption_by_default?.kms_master_key_id
}

/// The settings of a bucket that is closed to the public, whatever its policy says.
fn closed() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build()
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let public = |closed: bool| if closed { "closed" } else { "open" };
    [
        compare("versioned", found.versioned, wanted.versioned),
        compare("publicAccess", public(found.closed), public(true)),
        compare_key(found.encryption.as_deref(), wanted.encryption.as_ref()),
        compare("lifecycle", lifecycle::told(&found.rules), lifecycle::told(&wanted.rules)),
        compare("otherEnvironments", policy::told(&found.policy, &wanted.policy), "kept out"),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

/// The name lets this call make one bucket at most; when its answer was lost, the next pass finds it.
async fn create(s3: &Client, context: &Context, wanted: &Wanted) -> Result<Found> {
    let region = &context.run.region;
    // The first region takes no constraint.
    let place = (region != "us-east-1").then(|| BucketLocationConstraint::from(region.as_str()));
    let configuration = CreateBucketConfiguration::builder()
        .set_location_constraint(place)
        .set_tags(Some(tag_list(&wanted.tags)?))
        .build();
    let created = s3.create_bucket().bucket(&wanted.name).create_bucket_configuration(configuration);
    let created = created.send().await;
    if created.as_ref().is_err_and(|error| error.code() == Some("BucketAlreadyExists")) {
        return Err(Error::Conflict(format!(
            "S3 bucket ({}) exists and belongs to another account: give {} another `name:`",
            wanted.name, wanted.address
        )));
    }
    created.doing(|| format!("creating S3 bucket ({})", wanted.name))?;
    Ok(Found {
        tags: wanted.tags.clone(),
        versioned: false,
        encryption: None,
        closed: false,
        rules: Vec::new(),
        policy: Vec::new(),
    })
}

async fn update(s3: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if !found.closed {
        let put = s3.put_public_access_block().bucket(name);
        let put = put.public_access_block_configuration(closed()).send().await;
        put.doing(|| format!("closing S3 bucket ({name}) to the public"))?;
    }
    if !found.policy.contains(&wanted.policy) {
        policy::put(s3, name, &found.policy, &wanted.policy).await?;
    }
    if compare_key(found.encryption.as_deref(), wanted.encryption.as_ref()).is_some() {
        let put = s3.put_bucket_encryption().bucket(name);
        let put = put.server_side_encryption_configuration(encryption(wanted)?).send().await;
        put.doing(|| format!("changing the encryption of S3 bucket ({name})"))?;
    }
    if found.versioned != wanted.versioned {
        let status = if wanted.versioned {
            BucketVersioningStatus::Enabled
        } else {
            BucketVersioningStatus::Suspended
        };
        let put = s3.put_bucket_versioning().bucket(name);
        let put = put.versioning_configuration(VersioningConfiguration::builder().status(status).build());
        put.send().await.doing(|| format!("changing the versioning of S3 bucket ({name})"))?;
    }
    if lifecycle::told(&found.rules) != lifecycle::told(&wanted.rules) {
        lifecycle::put(s3, name, &wanted.rules).await?;
    }
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        retag(s3, found, wanted).await?;
    }
    Ok(())
}

/// Tags are put all at once: those that others gave the bucket stay.
async fn retag(s3: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let mut tags = found.tags.clone();
    tags.extend(wanted.tags.clone());
    let tagging = Tagging::builder().set_tag_set(Some(tag_list(&tags)?)).build().map_err(broken)?;
    let put = s3.put_bucket_tagging().bucket(&wanted.name).tagging(tagging).send().await;
    put.doing(|| format!("tagging S3 bucket ({})", wanted.name))?;
    Ok(())
}

fn encryption(wanted: &Wanted) -> Result<ServerSideEncryptionConfiguration> {
    let algorithm =
        if wanted.encryption.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
    let by_default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(algorithm)
        .set_kms_master_key_id(wanted.encryption.clone())
        .build()
        .map_err(broken)?;
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by_default)
        // One data key for many objects: KMS is asked less often.
        .bucket_key_enabled(wanted.encryption.is_some())
        .build();
    ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(broken)
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build().map_err(broken);
    tags.iter().map(tag).collect()
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("writing a bucket's settings: {error}"))
}

/// Deletes a bucket, and first what is in it if its spec said so.
async fn delete(s3: &Client, dropped: &Dropped) -> Result<()> {
    let Dropped { name, address, .. } = dropped;
    if dropped.force {
        empty(s3, name).await?;
    }
    let deleted = s3.delete_bucket().bucket(name).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("BucketNotEmpty")) {
        if dropped.force {
            return Err(Error::soon(format!("S3 bucket ({name}) is being emptied")));
        }
        return Err(Error::Conflict(full(&format!("S3 bucket ({name})"), address)));
    }
    deleted.unless_absent(&ABSENT, || format!("deleting S3 bucket ({name})"))?;
    Ok(())
}

/// Deletes every version of every object, as many as a pass has time for.
async fn empty(s3: &Client, name: &str) -> Result<()> {
    for _ in 0..LISTINGS {
        let versions = versions(s3, name).await?;
        if versions.is_empty() {
            return Ok(());
        }
        let (plain, odd): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|version| !version.key.contains(char::is_control));
        if !plain.is_empty() {
            delete_together(s3, name, plain).await?;
        }
        for version in odd {
            let doing = || format!("deleting an object of S3 bucket ({name}): {:?}", version.key);
            let delete = s3.delete_object().bucket(name).key(&version.key);
            delete.set_version_id(version.version_id.clone()).send().await.doing(doing)?;
        }
    }
    Err(Error::soon(format!("S3 bucket ({name}) is being emptied")))
}

/// The first versions of a bucket's objects, and marks of deleted ones, at most 1,000. Any key may lie in it, and some
/// have characters that XML can't hold: S3 is asked to encode them.
async fn versions(s3: &Client, name: &str) -> Result<Vec<ObjectIdentifier>> {
    let listed = s3.list_object_versions().bucket(name).encoding_type(EncodingType::Url).send().await;
    let listed = listed.unless_absent(&ABSENT, || format!("listing the objects of S3 bucket ({name})"))?;
    let Some(listed) = listed else { return Ok(Vec::new()) };
    let of_versions = listed.versions().iter().map(|version| (version.key(), version.version_id()));
    let of_markers = listed.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
    let identifier = |(key, version): (Option<&str>, Option<&str>)| {
        let key = step::as_it_is(key.unwrap_or_default(), listed.encoding_type());
        ObjectIdentifier::builder()
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .build()
            .map_err(broken)
    };
    of_versions.chain(of_markers).map(identifier).collect()
}

/// Deletes these in one call, whose XML must be able to hold their keys.
async fn delete_together(s3: &Client, name: &str, versions: Vec<ObjectIdentifier>) -> Result<()> {
    let count = versions.len();
    let doing = || format!("deleting {count} objects of S3 bucket ({name})");
    let delete = Delete::builder().set_objects(Some(versions)).quiet(true).build().map_err(broken)?;
    let deleted = s3.delete_objects().bucket(name).delete(delete).send().await.doing(doing)?;
    if let Some(error) = deleted.errors().first() {
        let (key, message) = (error.key().unwrap_or_default(), error.message().unwrap_or_default());
        return Err(Error::Failed(format!("{}: {key}: {message}", doing())));
    }
    Ok(())
}

fn output(context: &Context, wanted: &Wanted) -> BucketOutput {
    let arn = format!("arn:{}:s3:::{}", context.partition(), wanted.name);
    BucketOutput { name: wanted.name.clone(), arn }
}

//! The step `secret`: Secrets Manager secrets, some with a value that is generated once.
//!
//! Ours is a secret that carries the owner's tags; it has them from `CreateSecret` on. How long a
//! deleted one can be restored is a tag too, since the spec no longer says it when the secret goes.
//! A value is passed from one call to the next and never shown.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::{
    Client,
    operation::{describe_secret::DescribeSecretOutput, list_secrets::ListSecretsOutput},
    types::{Filter, FilterNameStringType, Tag},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use spec::Generate;
use step::{
    Answer, Change, Context, Doing, ENVIRONMENT, Error, Field, Operation, Result, SecretOutput, UNKNOWN,
    compare, compare_key, missing_tags, side_by_side,
};

/// The tag that says for how many days a deleted secret can be restored.
const RECOVERY: &str = "plinth:recovery";

/// The days a deleted secret can be restored, where the spec doesn't say.
const RECOVERY_DAYS: u64 = 7;

/// The account's own key for secrets.
const OWN_KEY: &str = "alias/aws/secretsmanager";

/// The longest name of a secret.
const LIMIT: usize = 512;

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
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let encryption = context.key_arn()?;
    let wanted = |(key, secret): (&String, &spec::Secret)| {
        let address = format!("secrets.{key}");
        let days = secret.recovery.and_then(spec::Duration::whole_days).unwrap_or(RECOVERY_DAYS);
        let mut tags = context.tags(&address);
        tags.insert(RECOVERY.to_owned(), days.to_string());
        Wanted {
            key: key.clone(),
            name: name(context, key, secret),
            description: secret.description.clone().unwrap_or_default(),
            encryption: encryption.cloned(),
            generate: secret.generate.clone(),
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
            Some(found) => Change::update(&wanted.address, difference(&found, wanted)),
        });
    }
    Answer::new(outputs, changes)
}

async fn prune(secrets: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(secrets, context).await?))
}

/// Deletes our secrets that the spec doesn't mention; in a plan only names them.
async fn delete_dropped(secrets: &Client, context: &Context) -> Result<Vec<Change>> {
    let secrets_of_spec = context.spec.secrets.iter();
    let kept: Vec<_> = secrets_of_spec.map(|(key, secret)| name(context, key, secret)).collect();
    let mut changes = Vec::new();
    for (name, tags) in ours(secrets, context).await? {
        if kept.contains(&name) {
            continue;
        }
        let owner = context.owner();
        changes.push(Change::delete(owner.address(&tags).unwrap_or_default()).with("name", &name));
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

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::{
        operation::{
            create_secret::CreateSecretOutput,
            delete_secret::DeleteSecretOutput,
            describe_secret::{DescribeSecretError, builders::DescribeSecretOutputBuilder},
            get_random_password::GetRandomPasswordOutput,
            list_secrets::ListSecretsOutput,
            put_secret_value::PutSecretValueOutput,
            restore_secret::RestoreSecretOutput,
            tag_resource::TagResourceOutput,
            update_secret::UpdateSecretOutput,
        },
        primitives::DateTime,
        types::{SecretListEntry, error::ResourceNotFoundException},
    };
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use spec::Spec;
    use step::Outputs;

    use super::*;

    const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, secrets: { db: { description: the database,
        generate: { username: admin }, recovery: 0d } } }";

    fn context(operation: Operation) -> Context {
        step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
    }

    fn dropped(operation: Operation) -> Context {
        step::test::context(operation, Spec::empty("demo"), Outputs::default())
    }

    fn our_tags() -> Vec<Tag> {
        tag_list(&wanted(&context(Operation::Plan)).expect("a spec")[0].tags)
    }

    /// The secret as AWS describes it when it is what the spec says.
    fn secret() -> DescribeSecretOutputBuilder {
        DescribeSecretOutput::builder()
            .name("demo-db")
            .arn("arn:db")
            .description("the database")
            .version_ids_to_stages("1", vec!["AWSCURRENT".to_owned()])
            .set_tags(Some(our_tags()))
    }

    fn described(secret: DescribeSecretOutputBuilder) -> Rule {
        mock!(Client::describe_secret).then_output(move || secret.clone().build())
    }

    fn absent() -> Rule {
        mock!(Client::describe_secret).then_error(|| {
            let error = aws_sdk_secretsmanager::error::ErrorMetadata::builder();
            let meta = error.code("ResourceNotFoundException").build();
            DescribeSecretError::ResourceNotFoundException(
                ResourceNotFoundException::builder().meta(meta).build(),
            )
        })
    }

    fn listed(tags: Vec<Tag>) -> Rule {
        let entry = SecretListEntry::builder().name("demo-db").arn("arn:db").set_tags(Some(tags)).build();
        mock!(Client::list_secrets)
            .then_output(move || ListSecretsOutput::builder().secret_list(entry.clone()).build())
    }

    fn password() -> Rule {
        mock!(Client::get_random_password)
            .match_requests(|request| {
                request.exclude_punctuation() == Some(true) && request.password_length() == Some(32)
            })
            .then_output(|| GetRandomPasswordOutput::builder().random_password("pAss1").build())
    }

    const VALUE: &str = r#"{"username":"admin","password":"pAss1"}"#;

    fn put() -> Rule {
        mock!(Client::put_secret_value)
            .match_requests(|request| request.secret_string() == Some(VALUE))
            .then_output(|| PutSecretValueOutput::builder().build())
    }

    /// A client that refuses every call for which there is no rule.
    fn client(rules: &[&Rule]) -> Client {
        mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, rules)
    }

    #[tokio::test]
    async fn the_environments_key_takes_the_place_of_the_accounts_own() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/1";
        let mut context = context(Operation::Ensure);
        context.spec.key = Some(spec::Key::default());
        context.outputs.key = Some(step::KeyOutput { id: "1".to_owned(), arn: arn.to_owned() });
        let update = mock!(Client::update_secret)
            .match_requests(move |request| request.kms_key_id() == Some(arn))
            .then_output(|| UpdateSecretOutput::builder().build());
        let rules = [&described(secret()), &update];
        ensure(&client(&rules), &context).await.expect("an answer");
        assert_eq!(update.num_calls(), 1);
        ensure(&client(&[&described(secret().kms_key_id(arn))]), &context).await.expect("an answer");
    }

    #[tokio::test]
    async fn a_missing_secret_is_created_with_our_tags_and_a_generated_value() {
        let create = mock!(Client::create_secret)
            .match_requests(|request| {
                request.name() == Some("demo-db")
                    && request.secret_string() == Some(VALUE)
                    && request.client_request_token().is_some_and(|token| token.len() == 64)
                    && request.tags() == our_tags()
            })
            .then_output(|| CreateSecretOutput::builder().arn("arn:db").build());
        let rules = [&absent(), &password(), &create];
        let answer = ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!(answer.output, json!({ "db": { "arn": "arn:db" } }));
        assert_eq!(create.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_secret_to_be_filled_by_hand_is_created_without_a_value() {
        let spec = "{ apiVersion: plinth/v1, name: demo, secrets: { key: {} } }";
        let spec = spec::parse(spec, None).expect("a spec");
        let context = step::test::context(Operation::Ensure, spec, Outputs::default());
        let create = mock!(Client::create_secret)
            .match_requests(|request| request.name() == Some("demo-key") && request.secret_string().is_none())
            .then_output(|| CreateSecretOutput::builder().arn("arn:key").build());
        ensure(&client(&[&absent(), &create]), &context).await.expect("an answer");
        assert_eq!(create.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_secret_that_matches_is_left_alone() {
        let rules = [&described(secret()), &listed(our_tags())];
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        let planned = plan(&client(&rules), &context(Operation::Plan)).await.expect("an answer");
        assert_eq!(planned.changes, []);
    }

    #[tokio::test]
    async fn a_generated_secret_without_a_value_gets_one() {
        let put = put();
        let empty = described(secret().set_version_ids_to_stages(None));
        let rules = [&empty, &password(), &put];
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!(put.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_secret_that_awaits_deletion_is_restored_and_overwritten() {
        let deleted = described(secret().deleted_date(DateTime::from_secs(1)));
        let restore = mock!(Client::restore_secret).then_output(|| RestoreSecretOutput::builder().build());
        let put = put();
        let rules = [&deleted, &restore, &password(), &put, &listed(Vec::new())];
        let planned = plan(&client(&rules), &context(Operation::Plan)).await.expect("an answer");
        assert_eq!(planned.changes, [Change::create("secrets.db").with("name", "demo-db")]);
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!((restore.num_calls(), put.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_description_and_a_tag_that_drifted_are_planned_and_put_back() {
        let tags: Vec<_> = our_tags().into_iter().filter(|tag| tag.key() != Some(RECOVERY)).collect();
        let drifted = described(secret().description("old").set_tags(Some(tags)));
        let update = mock!(Client::update_secret)
            .match_requests(|request| request.description() == Some("the database"))
            .then_output(|| UpdateSecretOutput::builder().build());
        let tag = mock!(Client::tag_resource)
            .match_requests(|request| request.tags() == our_tags())
            .then_output(|| TagResourceOutput::builder().build());
        let rules = [&drifted, &update, &tag, &listed(Vec::new())];
        let planned = plan(&client(&rules), &context(Operation::Plan)).await.expect("an answer");
        let names: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["description", "tags.plinth:recovery"]);
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!((update.num_calls(), tag.num_calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_secret_of_somebody_else_is_refused() {
        let theirs = described(secret().set_tags(None));
        let error = ensure(&client(&[&theirs]), &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
    }

    #[tokio::test]
    async fn a_dropped_secret_is_planned_and_deleted_as_its_tag_says() {
        let delete = mock!(Client::delete_secret)
            .match_requests(|request| request.force_delete_without_recovery() == Some(true))
            .then_output(|| DeleteSecretOutput::builder().build());
        let rules = [&listed(our_tags()), &described(secret()), &delete];
        let planned = plan(&client(&rules), &dropped(Operation::Plan)).await.expect("an answer");
        assert_eq!((planned.changes.len(), delete.num_calls()), (1, 0));
        prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_secret_with_a_recovery_window_is_deleted_with_it() {
        let mut tags = wanted(&context(Operation::Plan)).expect("a spec").remove(0).tags;
        tags.insert(RECOVERY.to_owned(), "9".to_owned());
        let delete = mock!(Client::delete_secret)
            .match_requests(|request| {
                request.recovery_window_in_days() == Some(9)
                    && request.force_delete_without_recovery().is_none()
            })
            .then_output(|| DeleteSecretOutput::builder().build());
        let kept = described(secret().set_tags(Some(tag_list(&tags))));
        let rules = [&listed(our_tags()), &kept, &delete];
        prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_secret_that_is_gone_or_awaits_its_deletion_is_not_deleted_again() {
        for gone in [absent(), described(secret().deleted_date(DateTime::from_secs(1)))] {
            let rules = [&listed(our_tags()), &gone];
            prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
            assert_eq!(gone.num_calls(), 1);
        }
    }

    #[tokio::test]
    async fn a_secret_that_is_not_ours_is_not_deleted() {
        let pruned = prune(&client(&[&listed(Vec::new())]), &dropped(Operation::Prune)).await;
        assert_eq!(pruned.expect("an answer").changes, []);
    }
}

use std::sync::{Arc, Mutex};

use aws_sdk_secretsmanager::{
    operation::{
        create_secret::CreateSecretOutput,
        delete_secret::DeleteSecretOutput,
        describe_secret::{DescribeSecretError, builders::DescribeSecretOutputBuilder},
        get_random_password::GetRandomPasswordOutput,
        get_secret_value::GetSecretValueOutput,
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

fn not_found() -> DescribeSecretError {
    let error = aws_sdk_secretsmanager::error::ErrorMetadata::builder();
    let meta = error.code("ResourceNotFoundException").build();
    DescribeSecretError::ResourceNotFoundException(ResourceNotFoundException::builder().meta(meta).build())
}

fn absent() -> Rule {
    mock!(Client::describe_secret).then_error(not_found)
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
            request.recovery_window_in_days() == Some(9) && request.force_delete_without_recovery().is_none()
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

const COMPOSE: &str = "{ apiVersion: plinth/v1, name: demo,
    secrets: { broker: { generate: { username: admin } }, url: { compose:
        'amqp://${secrets.broker.username}:${secrets.broker.password}@${services.mq.host}/${region}' } },
    services: { mq: { image: rabbit }, api: { image: api,
        sidecars: { probe: { image: probe, environment: { URL: '${secrets.url}' } } } } } }";

const COMPOSED_VALUE: &str = "amqp://admin:pAss1@mq.demo.internal/us-east-1";

fn composing(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(COMPOSE, None).expect("a spec"), Outputs::default())
}

/// The secret of this key as AWS describes it, with this current version.
fn at_version(context: &Context, key: &str, version: Option<&str>) -> DescribeSecretOutputBuilder {
    let wanted = wanted(context).expect("a spec");
    let wanted = wanted.iter().find(|wanted| wanted.key == key).expect("a secret");
    let secret = DescribeSecretOutput::builder()
        .name(&wanted.name)
        .arn(format!("arn:{key}"))
        .set_tags(Some(tag_list(&wanted.tags)));
    match version {
        Some(version) => secret
            .version_ids_to_stages(version, vec!["AWSCURRENT".to_owned()])
            .version_ids_to_stages("before", vec!["AWSPREVIOUS".to_owned()]),
        None => secret,
    }
}

fn described_as(name: &'static str, secret: DescribeSecretOutputBuilder) -> Rule {
    mock!(Client::describe_secret)
        .match_requests(move |request| request.secret_id() == Some(name))
        .then_output(move || secret.clone().build())
}

/// Reading the value that this version of the part has.
fn value_of(version: &'static str, value: &'static str) -> Rule {
    mock!(Client::get_secret_value)
        .match_requests(move |request| {
            request.secret_id() == Some("demo-broker") && request.version_id() == Some(version)
        })
        .then_output(move || GetSecretValueOutput::builder().secret_string(value).build())
}

fn put_composed(tokens: &Arc<Mutex<Vec<String>>>) -> Rule {
    let tokens = Arc::clone(tokens);
    mock!(Client::put_secret_value)
        .match_requests(move |request| {
            let token = request.client_request_token().unwrap_or_default().to_owned();
            tokens.lock().expect("tokens").push(token);
            request.secret_id() == Some("demo-url") && request.secret_string() == Some(COMPOSED_VALUE)
        })
        .then_output(|| PutSecretValueOutput::builder().build())
}

fn composed_tag(hash: &str) -> Tag {
    Tag::builder().key("plinth:composed").value(hash).build()
}

/// Notes what the value was made of.
fn note(hashes: &Arc<Mutex<Vec<String>>>) -> Rule {
    let hashes = Arc::clone(hashes);
    mock!(Client::tag_resource)
        .match_requests(move |request| {
            let [tag] = request.tags() else { return false };
            hashes.lock().expect("hashes").push(tag.value().unwrap_or_default().to_owned());
            tag.key() == Some("plinth:composed")
        })
        .then_output(|| TagResourceOutput::builder().build())
}

/// What a pass over secrets with these current versions put, and noted: the token and the hash.
async fn composed_from(context: &Context, part: &'static str, before: Option<&str>) -> (String, String) {
    let (tokens, hashes) = <(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>)>::default();
    let broker = described_as("demo-broker", at_version(context, "broker", Some(part)));
    let url = described_as("demo-url", at_version(context, "url", before));
    let rules = [&broker, &url, &value_of(part, VALUE), &put_composed(&tokens), &note(&hashes)];
    ensure(&client(&rules), context).await.expect("an answer");
    let only = |all: Arc<Mutex<Vec<String>>>| {
        let all = all.lock().expect("a list");
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    };
    (only(tokens), only(hashes))
}

#[tokio::test]
async fn a_value_is_composed_of_the_current_versions_of_its_parts_and_names() {
    let context = composing(Operation::Ensure);
    let (token, hash) = composed_from(&context, "one", None).await;
    assert_eq!((token.len(), hash.len()), (64, 16));
    assert!(token.starts_with(&hash), "{token} {hash}");
    assert_eq!(composed_from(&context, "one", None).await, (token.clone(), hash.clone()));
    let (other_token, other_hash) = composed_from(&context, "two", Some(&token)).await;
    assert_ne!(other_hash, hash);
    // The first version again, after another: it needs an id of its own to become the current one.
    let (again, same_hash) = composed_from(&context, "one", Some(&other_token)).await;
    assert_eq!(same_hash, hash);
    assert_ne!(again, token);
}

#[tokio::test]
async fn a_value_is_composed_anew_when_its_text_changes_or_somebody_has_put_another() {
    let context = composing(Operation::Ensure);
    let (token, hash) = composed_from(&context, "one", None).await;
    let (_, by_hand) = composed_from(&context, "one", Some("by-hand")).await;
    assert_eq!(by_hand, hash);

    let mut other = context;
    let compose = "x${secrets.broker.password}".parse().expect("a text");
    other.spec.secrets.get_mut("url").expect("a secret").compose = Some(compose);
    let broker = described_as("demo-broker", at_version(&other, "broker", Some("one")));
    let url = at_version(&other, "url", Some(&token)).tags(composed_tag(&hash));
    let put = mock!(Client::put_secret_value)
        .match_requests(|request| request.secret_string() == Some("xpAss1"))
        .then_output(|| PutSecretValueOutput::builder().build());
    let hashes = Arc::default();
    let (url, value, note) = (described_as("demo-url", url), value_of("one", VALUE), note(&hashes));
    ensure(&client(&[&broker, &url, &value, &put, &note]), &other).await.expect("an answer");
    assert_eq!((put.num_calls(), note.num_calls()), (1, 1));
    assert_ne!(hashes.lock().expect("hashes")[0], hash);
}

#[tokio::test]
async fn a_composed_value_that_matches_is_left_alone_and_not_read() {
    let context = composing(Operation::Ensure);
    let (token, hash) = composed_from(&context, "one", None).await;
    let broker = described_as("demo-broker", at_version(&context, "broker", Some("one")));
    let url = at_version(&context, "url", Some(&token)).tags(composed_tag(&hash));
    let (url, none) = (described_as("demo-url", url), listed(Vec::new()));
    ensure(&client(&[&broker, &url]), &context).await.expect("an answer");
    let planned = plan(&client(&[&broker, &url, &none]), &composing(Operation::Plan)).await;
    assert_eq!(planned.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_composed_value_whose_note_was_lost_is_noted_and_not_made_again() {
    let context = composing(Operation::Ensure);
    let (token, hash) = composed_from(&context, "one", None).await;
    let broker = described_as("demo-broker", at_version(&context, "broker", Some("one")));
    let url = described_as("demo-url", at_version(&context, "url", Some(&token)));
    let hashes = Arc::default();
    let note = note(&hashes);
    ensure(&client(&[&broker, &url, &note]), &context).await.expect("an answer");
    assert_eq!(*hashes.lock().expect("hashes"), [hash]);
}

#[tokio::test]
async fn a_plan_says_that_a_value_is_composed_anew_and_reads_none() {
    let context = composing(Operation::Plan);
    let (token, hash) = composed_from(&composing(Operation::Ensure), "one", None).await;
    let noted = |version: &str| at_version(&context, "url", Some(version)).tags(composed_tag(&hash));
    let part = |version| at_version(&context, "broker", version);
    let cases = [
        (part(Some("two")), noted(&token), "the value of other versions, or of another text"),
        (part(Some("one")), noted("by-hand"), "the value of other versions, or of another text"),
        (part(Some("one")), at_version(&context, "url", None), "no value"),
        // It will be generated by then, and generated anew where it comes back.
        (part(None), noted(&token), "the value of other versions, or of another text"),
        (
            part(Some("one")).deleted_date(DateTime::from_secs(1)),
            noted(&token),
            "the value of other versions, or of another text",
        ),
    ];
    for (broker, url, before) in cases {
        let rules =
            [&described_as("demo-broker", broker), &described_as("demo-url", url), &listed(Vec::new())];
        let planned = plan(&client(&rules), &context).await.expect("an answer");
        let change = planned.changes.iter().find(|change| change.address == "secrets.url").expect("a change");
        let [field] = change.fields.as_slice() else { panic!("{:?}", change.fields) };
        assert_eq!((field.name.as_str(), field.found.as_deref()), ("compose", Some(before)));
        assert!(!field.wanted.contains("pAss1"));
    }
}

#[tokio::test]
async fn a_plan_of_a_new_environment_creates_what_is_composed_with_its_parts() {
    let rules = [&absent(), &listed(Vec::new())];
    let planned = plan(&client(&rules), &composing(Operation::Plan)).await.expect("an answer");
    let expected = ["broker", "url"]
        .map(|key| Change::create(format!("secrets.{key}")).with("name", format!("demo-{key}")));
    assert_eq!(planned.changes, expected);
    assert_eq!(planned.output["url"]["arn"], UNKNOWN);
}

/// The same environment, with a part whose value is put by hand.
fn by_hand(operation: Operation) -> Context {
    let mut context = composing(operation);
    context.spec.secrets.get_mut("broker").expect("a secret").generate = None;
    context
}

#[tokio::test]
async fn a_part_without_a_value_is_waited_for_if_a_container_reads_what_is_composed_of_it() {
    let context = by_hand(Operation::Ensure);
    let broker = described_as("demo-broker", at_version(&context, "broker", None));
    let gone = mock!(Client::describe_secret)
        .match_requests(|request| request.secret_id() == Some("demo-url"))
        .then_error(not_found);
    let create = mock!(Client::create_secret)
        .match_requests(|request| request.name() == Some("demo-url") && request.secret_string().is_none())
        .then_output(|| CreateSecretOutput::builder().arn("arn:url").build());
    let rules = [&broker, &gone, &create];
    let error = ensure(&client(&rules), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert_eq!(error.to_string(), "secrets.broker has no value: plinth secret set demo broker");
    assert_eq!(create.num_calls(), 1);

    let mut unread = by_hand(Operation::Ensure);
    unread.spec.services.get_mut("api").expect("a service").sidecars.clear();
    let answer = ensure(&client(&rules), &unread).await.expect("an answer");
    assert_eq!(answer.output["url"], json!({ "arn": "arn:url" }));

    let url = described_as("demo-url", at_version(&context, "url", None));
    let rules = [&broker, &url, &listed(Vec::new())];
    let planned = plan(&client(&rules), &by_hand(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn a_key_that_a_part_lacks_is_told_without_its_value() {
    let context = by_hand(Operation::Ensure);
    for value in [r#"{"username":"hidden"}"#, "hidden", r#"{"username":"a","password":{"hidden":1}}"#] {
        let broker = described_as("demo-broker", at_version(&context, "broker", Some("one")));
        let url = described_as("demo-url", at_version(&context, "url", None));
        let rules = [&broker, &url, &value_of("one", value)];
        let error = ensure(&client(&rules), &context).await.unwrap_err();
        assert_eq!(error.kind(), "Failed");
        let told = error.to_string();
        assert!(
            told.starts_with("secrets.url.compose: the value of secrets.broker has no text under"),
            "{told}"
        );
        assert!(!told.contains("hidden"), "{told}");
    }
}

#[tokio::test]
async fn a_composed_secret_that_awaits_deletion_is_restored_and_made_of_what_is_there_now() {
    let context = composing(Operation::Ensure);
    let (token, hash) = composed_from(&context, "one", None).await;
    let deleted = at_version(&context, "url", Some(&token)).tags(composed_tag(&hash));
    let deleted = described_as("demo-url", deleted.deleted_date(DateTime::from_secs(1)));
    let broker = described_as("demo-broker", at_version(&context, "broker", Some("two")));
    let restore = mock!(Client::restore_secret).then_output(|| RestoreSecretOutput::builder().build());
    let (tokens, hashes) = <(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>)>::default();
    let (put, note) = (put_composed(&tokens), note(&hashes));
    let rules = [&deleted, &broker, &restore, &value_of("two", VALUE), &put, &note];
    ensure(&client(&rules), &context).await.expect("an answer");
    assert_eq!((restore.num_calls(), put.num_calls(), note.num_calls()), (1, 1, 1));
}

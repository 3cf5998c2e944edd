use aws_sdk_kms::{
    error::ErrorMetadata,
    operation::{
        cancel_key_deletion::CancelKeyDeletionOutput,
        create_alias::CreateAliasOutput,
        create_key::CreateKeyOutput,
        delete_alias::DeleteAliasOutput,
        describe_key::{DescribeKeyError, DescribeKeyOutput},
        enable_key::EnableKeyOutput,
        enable_key_rotation::EnableKeyRotationOutput,
        get_key_policy::GetKeyPolicyOutput,
        get_key_rotation_status::GetKeyRotationStatusOutput,
        list_aliases::ListAliasesOutput,
        list_keys::ListKeysOutput,
        list_resource_tags::ListResourceTagsOutput,
        put_key_policy::PutKeyPolicyOutput,
        schedule_key_deletion::ScheduleKeyDeletionOutput,
    },
    types::{AliasListEntry, KeyListEntry},
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::Outputs;

use super::*;

const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, key: { description: ours, recovery: 10d } }";

fn context(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn spoken(context: &Context) -> Wanted {
    wanted(context, context.spec.key.as_ref().expect("a key"))
}

/// The key as KMS describes it when it is what the spec says.
fn key() -> aws_sdk_kms::types::builders::KeyMetadataBuilder {
    KeyMetadata::builder()
        .key_id("key-1")
        .arn("arn:aws:kms:us-east-1:123456789012:key/key-1")
        .description("ours")
        .enabled(true)
        .key_state(KeyState::Enabled)
}

fn described(key: KeyMetadata) -> Rule {
    mock!(Client::describe_key)
        .then_output(move || DescribeKeyOutput::builder().key_metadata(key.clone()).build())
}

/// What KMS tells of the key beside its description.
fn told(aliases: &'static [&'static str], rotation: bool, policy: &str, tags: Vec<Tag>) -> Vec<Rule> {
    let policy = policy.to_owned();
    let alias = |name: &&str| AliasListEntry::builder().alias_name(*name).target_key_id("key-1").build();
    vec![
        mock!(Client::list_aliases).then_output(move || {
            ListAliasesOutput::builder().set_aliases(Some(aliases.iter().map(alias).collect())).build()
        }),
        mock!(Client::get_key_rotation_status).then_output(move || {
            GetKeyRotationStatusOutput::builder().key_rotation_enabled(rotation).build()
        }),
        mock!(Client::get_key_policy)
            .then_output(move || GetKeyPolicyOutput::builder().policy(policy.clone()).build()),
        mock!(Client::list_resource_tags)
            .then_output(move || ListResourceTagsOutput::builder().set_tags(Some(tags.clone())).build()),
        mock!(Client::list_keys).then_output(|| {
            ListKeysOutput::builder().keys(KeyListEntry::builder().key_id("key-1").build()).build()
        }),
    ]
}

fn our_tags() -> Vec<Tag> {
    tag_list(&spoken(&context(Operation::Plan)).tags).expect("tags")
}

/// What KMS tells when all is as the spec says.
fn standing() -> Vec<Rule> {
    let policy = spoken(&context(Operation::Plan)).policy.to_string();
    told(&["alias/demo"], true, &policy, our_tags())
}

fn kms(rules: &[Rule]) -> Client {
    mock_client!(aws_sdk_kms, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn no_such_key() -> Rule {
    mock!(Client::describe_key)
        .then_error(|| DescribeKeyError::generic(ErrorMetadata::builder().code("NotFoundException").build()))
}

#[tokio::test]
async fn a_missing_key_is_created_with_our_tags_and_gets_its_alias_and_rotation() {
    let mut rules = told(&["alias/aws/s3"], false, "{}", Vec::new());
    rules.extend([
        no_such_key(),
        mock!(Client::create_key)
            .match_requests(|request| {
                request.tags().iter().any(|tag| tag.tag_key() == "plinth:address")
                    && request.policy().is_some_and(|policy| policy.contains("logs.us-east-1.amazonaws.com"))
            })
            .then_output(|| CreateKeyOutput::builder().key_metadata(key().build().expect("a key")).build()),
        mock!(Client::create_alias)
            .match_requests(|request| request.alias_name() == Some("alias/demo"))
            .then_output(|| CreateAliasOutput::builder().build()),
        mock!(Client::enable_key_rotation).then_output(|| EnableKeyRotationOutput::builder().build()),
    ]);
    let answer = ensure(&kms(&rules), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["id"], "key-1");
    assert_eq!(rules[6..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1]);
    // The keys of AWS's own services aren't even looked at.
    assert_eq!(rules[3].num_calls(), 0);
}

#[tokio::test]
async fn a_key_that_matches_is_left_alone_and_planned_as_nothing() {
    let mut rules = standing();
    rules.push(described(key().build().expect("a key")));
    let kms = kms(&rules);
    ensure(&kms, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(plan(&kms, &context(Operation::Plan)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_key_that_drifted_is_planned_field_by_field_and_put_right() {
    let mut rules = told(&["alias/demo"], true, "{}", our_tags());
    rules.push(described(key().description("other").enabled(false).build().expect("a key")));
    rules.extend([
        mock!(Client::enable_key).then_output(|| EnableKeyOutput::builder().build()),
        mock!(Client::put_key_policy).then_output(|| PutKeyPolicyOutput::builder().build()),
        mock!(Client::update_key_description)
            .match_requests(|request| request.description() == Some("ours"))
            .then_output(|| {
                aws_sdk_kms::operation::update_key_description::UpdateKeyDescriptionOutput::builder().build()
            }),
    ]);
    let kms = kms(&rules);
    let planned = plan(&kms, &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["description", "enabled", "policy"]);
    ensure(&kms, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(rules[6..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_key_that_awaits_its_deletion_is_planned_as_new_and_comes_back() {
    let policy = spoken(&context(Operation::Plan)).policy.to_string();
    let mut rules = told(&[], false, &policy, our_tags());
    let awaits = key().enabled(false).key_state(KeyState::PendingDeletion).build().expect("a key");
    rules.extend([
        mock!(Client::describe_key)
            .match_requests(|request| request.key_id() == Some("key-1"))
            .then_output(move || DescribeKeyOutput::builder().key_metadata(awaits.clone()).build()),
        no_such_key(),
        mock!(Client::cancel_key_deletion).then_output(|| CancelKeyDeletionOutput::builder().build()),
        mock!(Client::enable_key).then_output(|| EnableKeyOutput::builder().build()),
        mock!(Client::enable_key_rotation).then_output(|| EnableKeyRotationOutput::builder().build()),
        mock!(Client::create_alias).then_output(|| CreateAliasOutput::builder().build()),
    ]);
    let kms = kms(&rules);
    let planned = plan(&kms, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::create("key").with("alias", "alias/demo")]);
    ensure(&kms, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(rules[7..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_alias_of_somebody_elses_key_is_refused() {
    let mut rules = told(&["alias/demo"], true, "{}", Vec::new());
    rules.push(described(key().build().expect("a key")));
    let error = ensure(&kms(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_dropped_key_is_planned_and_loses_its_alias_and_is_deleted_when_its_time_has_come() {
    let mut rules = standing();
    rules.push(described(key().build().expect("a key")));
    rules.extend([
        mock!(Client::delete_alias)
            .match_requests(|request| request.alias_name() == Some("alias/demo"))
            .then_output(|| DeleteAliasOutput::builder().build()),
        mock!(Client::schedule_key_deletion)
            .match_requests(|request| request.pending_window_in_days() == Some(10))
            .then_output(|| ScheduleKeyDeletionOutput::builder().build()),
    ]);
    let kms = kms(&rules);
    let planned = plan(&kms, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("key").with("id", "key-1")]);
    assert_eq!((rules[6].num_calls(), rules[7].num_calls()), (0, 0));
    prune(&kms, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((rules[6].num_calls(), rules[7].num_calls()), (1, 1));
}

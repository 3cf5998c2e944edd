use aws_sdk_s3::{
    error::ErrorMetadata,
    operation::{
        create_bucket::{CreateBucketError, CreateBucketOutput},
        delete_bucket::{DeleteBucketError, DeleteBucketOutput},
        delete_object::DeleteObjectOutput,
        delete_objects::DeleteObjectsOutput,
        get_bucket_encryption::GetBucketEncryptionOutput,
        get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput,
        get_bucket_policy::GetBucketPolicyOutput,
        get_bucket_tagging::{GetBucketTaggingError, GetBucketTaggingOutput},
        get_bucket_versioning::GetBucketVersioningOutput,
        get_public_access_block::GetPublicAccessBlockOutput,
        list_buckets::ListBucketsOutput,
        list_object_versions::ListObjectVersionsOutput,
        put_bucket_lifecycle_configuration::PutBucketLifecycleConfigurationOutput,
        put_bucket_policy::PutBucketPolicyOutput,
        put_bucket_tagging::PutBucketTaggingOutput,
        put_bucket_versioning::PutBucketVersioningOutput,
        put_public_access_block::PutPublicAccessBlockOutput,
    },
    types::{Bucket, DeleteMarkerEntry, ObjectVersion},
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::Outputs;

use super::*;

const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, buckets: { archive: { versioned: true,
    expireVersions: 90d, forceDelete: true } } }";

const NAME: &str = "demo-archive-123456789012-us-east-1";

fn context(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

/// The environment is taken away.
fn dropped(operation: Operation) -> Context {
    let mut context = step::test::context(operation, Spec::empty("demo"), Outputs::default());
    context.run.teardown = true;
    context
}

fn spoken() -> Wanted {
    wanted(&context(Operation::Plan)).expect("a spec").remove(0)
}

fn tagged(tags: Option<Vec<Tag>>) -> Rule {
    match tags {
        Some(tags) => mock!(Client::get_bucket_tagging).then_output(move || {
            GetBucketTaggingOutput::builder().set_tag_set(Some(tags.clone())).build().expect("tags")
        }),
        None => mock!(Client::get_bucket_tagging).then_error(|| {
            GetBucketTaggingError::generic(ErrorMetadata::builder().code("NoSuchBucket").build())
        }),
    }
}

fn our_tags() -> Vec<Tag> {
    tag_list(&spoken().tags).expect("tags")
}

/// The bucket as S3 tells of it.
fn told(tags: Option<Vec<Tag>>, closed: bool, versioned: bool, rules: Vec<LifecycleRule>) -> Vec<Rule> {
    let status = versioned.then_some(BucketVersioningStatus::Enabled);
    let access = closed.then(super::closed);
    vec![
        tagged(tags),
        mock!(Client::get_bucket_versioning)
            .then_output(move || GetBucketVersioningOutput::builder().set_status(status.clone()).build()),
        mock!(Client::get_bucket_encryption).then_output(|| GetBucketEncryptionOutput::builder().build()),
        mock!(Client::get_public_access_block).then_output(move || {
            GetPublicAccessBlockOutput::builder()
                .set_public_access_block_configuration(access.clone())
                .build()
        }),
        mock!(Client::get_bucket_lifecycle_configuration).then_output(move || {
            GetBucketLifecycleConfigurationOutput::builder().set_rules(Some(rules.clone())).build()
        }),
        mock!(Client::list_buckets).then_output(|| {
            ListBucketsOutput::builder().buckets(Bucket::builder().name(NAME).build()).build()
        }),
        // One that somebody has put there, and ours where the bucket is closed.
        mock!(Client::get_bucket_policy).then_output(move || {
            let ours = closed.then(|| spoken().policy);
            let statements: Vec<_> =
                [serde_json::json!({ "Sid": "Theirs" })].into_iter().chain(ours).collect();
            let document = serde_json::json!({ "Version": "2012-10-17", "Statement": statements });
            GetBucketPolicyOutput::builder().policy(document.to_string()).build()
        }),
    ]
}

fn s3(rules: &[Rule]) -> Client {
    mock_client!(aws_sdk_s3, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn puts() -> [Rule; 4] {
    [
        mock!(Client::put_bucket_policy)
            .match_requests(|request| {
                let policy = request.policy().unwrap_or_default();
                policy.contains("PlinthKeepsOtherEnvironmentsOut") && policy.contains(NAME)
            })
            .then_output(|| PutBucketPolicyOutput::builder().build()),
        mock!(Client::put_public_access_block).then_output(|| PutPublicAccessBlockOutput::builder().build()),
        mock!(Client::put_bucket_versioning).then_output(|| PutBucketVersioningOutput::builder().build()),
        mock!(Client::put_bucket_lifecycle_configuration)
            .then_output(|| PutBucketLifecycleConfigurationOutput::builder().build()),
    ]
}

#[tokio::test]
async fn a_missing_bucket_is_created_with_our_tags_closed_and_versioned() {
    let mut rules = vec![tagged(None)];
    rules.push(
        mock!(Client::create_bucket)
            .match_requests(|request| {
                let tags = request.create_bucket_configuration().map(CreateBucketConfiguration::tags);
                let tag = |key: &str, value: &str| {
                    tags.is_some_and(|tags| tags.iter().any(|tag| (tag.key(), tag.value()) == (key, value)))
                };
                request.bucket() == Some(NAME)
                    && tag("plinth:address", "buckets.archive")
                    && tag("plinth:protect", "false")
            })
            .then_output(|| CreateBucketOutput::builder().build()),
    );
    rules.extend(puts());
    let answer = ensure(&s3(&rules), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["archive"]["arn"], format!("arn:aws:s3:::{NAME}"));
    assert_eq!(rules[1..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_bucket_that_matches_is_left_alone_and_planned_as_nothing() {
    let s3 = s3(&told(Some(our_tags()), true, true, spoken().rules));
    ensure(&s3, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(plan(&s3, &context(Operation::Plan)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_bucket_that_drifted_is_planned_field_by_field_and_put_right() {
    let mut rules = told(Some(our_tags()), false, false, Vec::new());
    rules.extend(puts());
    let s3 = s3(&rules);
    let planned = plan(&s3, &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["versioned", "publicAccess", "lifecycle", "otherEnvironments"]);
    ensure(&s3, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(rules[7..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_bucket_of_somebody_else_is_refused_in_this_account_and_in_another() {
    let s3_here = s3(&told(Some(Vec::new()), true, true, Vec::new()));
    assert_eq!(ensure(&s3_here, &context(Operation::Ensure)).await.unwrap_err().kind(), "Conflict");

    let taken = mock!(Client::create_bucket).then_error(|| {
        CreateBucketError::generic(ErrorMetadata::builder().code("BucketAlreadyExists").build())
    });
    let elsewhere = ensure(&s3(&[tagged(None), taken]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(elsewhere.kind(), "Conflict");
}

#[tokio::test]
async fn a_dropped_bucket_is_planned_emptied_of_every_version_and_deleted() {
    let mut rules = told(Some(our_tags()), true, true, Vec::new());
    let versions = mock!(Client::list_object_versions)
        .sequence()
        .output(|| {
            ListObjectVersionsOutput::builder()
                .encoding_type(EncodingType::Url)
                .versions(ObjectVersion::builder().key("a%2Bb").version_id("1").build())
                .versions(ObjectVersion::builder().key("a%01b").version_id("3").build())
                .delete_markers(DeleteMarkerEntry::builder().key("a%2Bb").version_id("2").build())
                .build()
        })
        .output(|| ListObjectVersionsOutput::builder().build())
        .build();
    rules.extend([
        versions,
        mock!(Client::delete_objects)
            .match_requests(|request| {
                let together = request.delete().map(Delete::objects).unwrap_or_default();
                together.iter().map(ObjectIdentifier::key).eq(["a+b", "a+b"])
            })
            .then_output(|| DeleteObjectsOutput::builder().build()),
        mock!(Client::delete_object)
            .match_requests(|request| (request.key(), request.version_id()) == (Some("a\u{1}b"), Some("3")))
            .then_output(|| DeleteObjectOutput::builder().build()),
        mock!(Client::delete_bucket).then_output(|| DeleteBucketOutput::builder().build()),
    ]);
    let s3 = s3(&rules);
    let planned = plan(&s3, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("buckets.archive").with("name", NAME)]);
    assert_eq!(rules[10].num_calls(), 0);
    prune(&s3, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(rules[8..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_bucket_with_objects_stays_unless_its_spec_said_otherwise() {
    let mut kept = our_tags();
    kept.retain(|tag| tag.key() != FORCE_DELETE);
    let mut rules = told(Some(kept), true, true, Vec::new());
    rules.push(
        mock!(Client::delete_bucket).then_error(|| {
            DeleteBucketError::generic(ErrorMetadata::builder().code("BucketNotEmpty").build())
        }),
    );
    let error = prune(&s3(&rules), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("forceDelete"), "{error}");
}

/// Our tags, with whether the bucket is protected.
fn protected(protect: bool) -> Vec<Tag> {
    let mut tags = spoken().tags;
    tags.insert(PROTECT.to_owned(), protect.to_string());
    tag_list(&tags).expect("tags")
}

#[tokio::test]
async fn a_spec_that_protects_a_bucket_is_told_by_its_tag_alone() {
    let mut context = context(Operation::Plan);
    context.spec.buckets.get_mut("archive").expect("a bucket").protect = true;
    let mut rules = told(Some(protected(false)), true, true, spoken().rules);
    rules.push(
        mock!(Client::put_bucket_tagging)
            .match_requests(|request| {
                let tags = request.tagging().map(Tagging::tag_set).unwrap_or_default();
                tags.iter().any(|tag| (tag.key(), tag.value()) == (PROTECT, "true"))
            })
            .then_output(|| PutBucketTaggingOutput::builder().build()),
    );
    let s3 = s3(&rules);
    let planned = plan(&s3, &context).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!((planned.changes.len(), fields), (1, vec!["tags.plinth:protect"]));
    ensure(&s3, &context).await.expect("an answer");
    assert_eq!(rules[7].num_calls(), 1);
}

#[tokio::test]
async fn a_protected_bucket_stays_with_what_is_in_it() {
    let mut rules = told(Some(protected(true)), true, true, Vec::new());
    rules.extend([
        mock!(Client::list_object_versions).then_output(|| ListObjectVersionsOutput::builder().build()),
        mock!(Client::delete_bucket).then_output(|| DeleteBucketOutput::builder().build()),
    ]);
    let s3 = s3(&rules);
    let planned = plan(&s3, &dropped(Operation::Plan)).await.expect("an answer");
    let pruned = prune(&s3, &dropped(Operation::Prune)).await.expect("an answer");
    for answer in [planned, pruned] {
        let actions: Vec<_> = answer.changes.iter().map(|change| change.action).collect();
        assert_eq!((actions, answer.count()), (vec![step::Action::Keep], 0));
        assert_eq!(answer.kept, ["buckets.archive", "key"]);
    }
    assert_eq!((rules[7].num_calls(), rules[8].num_calls()), (0, 0));
}

#[tokio::test]
async fn a_statement_that_somebody_else_put_on_a_bucket_stays() {
    let found = [
        serde_json::json!({ "Sid": "Theirs" }),
        serde_json::json!({ "Sid": "PlinthKeepsOtherEnvironmentsOut" }),
    ];
    let put = mock!(Client::put_bucket_policy)
        .match_requests(|request| {
            let document: Value = serde_json::from_str(request.policy().unwrap_or_default()).expect("JSON");
            document["Statement"] == serde_json::json!([{ "Sid": "Theirs" }, spoken().policy])
        })
        .then_output(|| PutBucketPolicyOutput::builder().build());
    policy::put(&s3(std::slice::from_ref(&put)), NAME, &found, &spoken().policy).await.expect("a policy");
    assert_eq!(put.num_calls(), 1);
}

fn listed() -> Rule {
    mock!(Client::list_buckets)
        .then_output(|| ListBucketsOutput::builder().buckets(Bucket::builder().name(NAME).build()).build())
}

fn holding(objects: usize) -> Rule {
    mock!(Client::list_object_versions).then_output(move || {
        let version = ObjectVersion::builder().key("old").version_id("1").build();
        ListObjectVersionsOutput::builder().set_versions(Some(vec![version; objects])).build()
    })
}

#[tokio::test]
async fn a_bucket_with_objects_is_not_dropped_unless_the_spec_gives_them_up() {
    let refused = async |objects: usize, context: &Context| {
        let mut wanted = spoken();
        wanted.tags.insert(FORCE_DELETE.to_owned(), "false".to_owned());
        let mut rules = vec![tagged(Some(tag_list(&wanted.tags).expect("tags"))), listed()];
        rules.push(holding(objects));
        plan(&s3(&rules), context).await.expect("an answer").refused
    };
    let mut context = dropped(Operation::Plan);
    let told = refused(1, &context).await;
    assert!(told[0].contains("set `forceDelete: true` at buckets.archive"), "{told:?}");
    context.run.teardown = false;
    let told = refused(1, &context).await;
    assert!(told[0].contains("`allowDataLoss: [buckets.archive]`"), "{told:?}");
    assert_eq!(refused(0, &context).await, Vec::<String>::new());
    context.spec.allow_data_loss = vec!["buckets.archive".to_owned()];
    assert_eq!(refused(1, &context).await, Vec::<String>::new());
}

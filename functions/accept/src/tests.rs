use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_s3::{
    operation::{
        delete_object::DeleteObjectOutput,
        get_object::{GetObjectError, GetObjectOutput},
        head_object::{HeadObjectError, HeadObjectOutput},
        put_object::PutObjectOutput,
    },
    primitives::ByteStream,
    types::error::NoSuchKey,
};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use aws_sdk_sts::operation::assume_role::{AssumeRoleError, AssumeRoleOutput};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::Timestamp;
use serde_json::json;

use super::*;

const EXECUTION: &str = "arn:aws:states:us-east-1:123456789012:execution:plinth-environment:run";
const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, cluster: {} }";

/// When objects were uploaded, in seconds since 1970.
const UPLOADED: i64 = 1_777_000_000;

/// An object that is there.
fn object(key: &'static str, body: &'static str) -> Rule {
    mock!(S3::get_object).match_requests(move |request| request.key() == Some(key)).then_output(move || {
        let body = ByteStream::from_static(body.as_bytes());
        let modified = aws_sdk_s3::primitives::DateTime::from_secs(UPLOADED);
        GetObjectOutput::builder().body(body).version_id("2").e_tag("tag").last_modified(modified).build()
    })
}

fn absent() -> Rule {
    mock!(S3::get_object).then_error(|| {
        let code = aws_sdk_s3::error::ErrorMetadata::builder().code("NoSuchKey").build();
        GetObjectError::NoSuchKey(NoSuchKey::builder().meta(code).build())
    })
}

/// Puts under this prefix, which succeed.
fn puts(prefix: &'static str) -> Rule {
    mock!(S3::put_object)
        .match_requests(move |request| request.key().is_some_and(|key| key.starts_with(prefix)))
        .then_output(|| PutObjectOutput::builder().version_id("3").build())
}

/// A lock that another execution holds.
fn held() -> [Rule; 2] {
    let lost = mock!(S3::put_object)
        .match_requests(|request| {
            request.key() == Some("locks/demo.json") && request.if_none_match() == Some("*")
        })
        .then_http_response(|| {
            let body = "<Error><Code>PreconditionFailed</Code><Message>it is there</Message></Error>";
            let status = 412.try_into().expect("a status");
            aws_smithy_runtime_api::client::orchestrator::HttpResponse::new(status, body.into())
        });
    [lost, object("locks/demo.json", r#"{ "execution": "other", "since": "2026-01-01T00:00:00Z" }"#)]
}

fn execution(status: ExecutionStatus) -> Rule {
    mock!(StepFunctions::describe_execution).then_output(move || {
        let stopped =
            (status != ExecutionStatus::Running).then(|| aws_sdk_sfn::primitives::DateTime::from_secs(0));
        DescribeExecutionOutput::builder()
            .execution_arn("other")
            .state_machine_arn("machine")
            .status(status.clone())
            .start_date(aws_sdk_sfn::primitives::DateTime::from_secs(0))
            .set_stop_date(stopped)
            .build()
            .expect("an execution")
    })
}

async fn ask(input: Value, s3: &[&Rule], sfn: &[&Rule]) -> Result<Verdict> {
    ask_with(input, s3, sfn, &[]).await
}

async fn ask_with(input: Value, s3: &[&Rule], sfn: &[&Rule], ecr: &[&Rule]) -> Result<Verdict> {
    let assumed = mock!(Sts::assume_role)
        .match_requests(|request| request.external_id() == Some("plinth-bucket"))
        .then_output(|| {
            let credentials = aws_sdk_sts::types::Credentials::builder()
                .access_key_id("key")
                .secret_access_key("secret")
                .session_token("token")
                .expiration(aws_sdk_sts::primitives::DateTime::from_secs(UPLOADED))
                .build()
                .expect("credentials");
            AssumeRoleOutput::builder().credentials(credentials).build()
        });
    ask_sts(input, s3, sfn, ecr, &assumed).await
}

async fn ask_sts(input: Value, s3: &[&Rule], sfn: &[&Rule], ecr: &[&Rule], sts: &Rule) -> Result<Verdict> {
    let told = mock!(Events::put_events).then_output(|| PutEventsOutput::builder().build());
    let accept = Accept {
        ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, ecr),
        s3: mock_client!(aws_sdk_s3, RuleMode::MatchAny, s3),
        sfn: mock_client!(aws_sdk_sfn, RuleMode::MatchAny, sfn),
        events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&told]),
        bucket: "plinth-bucket".to_owned(),
        region: "us-east-1".to_owned(),
        elsewhere: Elsewhere {
            roles: vec![ROLE.to_owned()],
            external_id: "plinth-bucket".to_owned(),
            sts: mock_client!(aws_sdk_sts, RuleMode::MatchAny, [sts]),
            aws: SdkConfig::builder().build(),
        },
    };
    let question = Question { execution: EXECUTION.to_owned(), input };
    Box::pin(accept.handle(question, "123456789012")).await
}

fn upload() -> Value {
    json!({ "detail": { "object": { "key": "environments/demo.yaml" } } })
}

#[tokio::test]
async fn an_upload_takes_the_lock_and_is_provisioned() {
    let (lock, status, run) = (puts("locks/"), puts("status/"), puts("runs/demo/run/spec.json"));
    let rules = [&object("environments/demo.yaml", SPEC), &absent(), &lock, &status, &run];
    let verdict = ask(upload(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.version.as_deref()), (Way::Provision, Some("2")));
    assert_eq!([lock.num_calls(), status.num_calls(), run.num_calls()], [1, 1, 1]);
}

#[tokio::test]
async fn a_bad_spec_writes_nothing_but_its_faults() {
    let faults = puts("runs/demo/run/faults.json");
    let rules = [
        &object("environments/demo.yaml", "{ apiVersion: plinth/v1, name: demo, clutser: {} }"),
        &absent(),
        &faults,
    ];
    let verdict = ask(upload(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, faults.num_calls()), (Way::Rejected, 1));
}

fn sent(spec: &str) -> Value {
    json!({ "spec": serde_json::from_str::<Value>(spec).expect("JSON") })
}

/// The version that lies in the bucket.
fn head() -> [Rule; 2] {
    [
        mock!(S3::head_object)
            .match_requests(|request| request.key() == Some("environments/demo.yaml"))
            .then_output(|| HeadObjectOutput::builder().version_id("2").build()),
        mock!(S3::head_object).then_error(|| {
            HeadObjectError::generic(aws_sdk_s3::error::ErrorMetadata::builder().code("NotFound").build())
        }),
    ]
}

#[tokio::test]
async fn a_bad_spec_that_comes_with_the_question_does_not_overwrite_the_good_one() {
    let bad = sent(r#"{ "apiVersion": "plinth/v1", "name": "demo", "clutser": {} }"#);
    let (stored, faults) = (puts("environments/"), puts("runs/demo/run/faults.json"));
    let [found, no_other] = head();
    let rules = [&found, &no_other, &object("environments/demo.yaml", SPEC), &absent(), &stored, &faults];
    let verdict = ask(bad, &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.version.as_deref()), (Way::Rejected, Some("2")));
    assert_eq!([stored.num_calls(), faults.num_calls()], [0, 1]);
}

#[tokio::test]
async fn a_decimal_that_comes_with_the_question_is_refused_where_it_may_not_be_what_was_written() {
    let altered = sent(r#"{ "apiVersion": "plinth/v1", "name": "demo", "tags": { "Release": 1.10 } }"#);
    let (stored, faults) = (puts("environments/"), puts("runs/demo/run/faults.json"));
    let [found, no_other] = head();
    let rules = [&found, &no_other, &object("environments/demo.yaml", SPEC), &absent(), &stored, &faults];
    let verdict = ask(altered, &rules, &[]).await.expect("a verdict");
    assert_eq!(verdict.verdict, Way::Rejected);
    assert_eq!([stored.num_calls(), faults.num_calls()], [0, 1]);
}

#[tokio::test]
async fn a_good_spec_that_comes_with_the_question_is_stored_before_the_lock_is_taken() {
    let spec = r#"{ "apiVersion": "plinth/v1", "name": "demo", "cluster": { "capacity": "fargate-spot" } }"#;
    let (stored, [lost, lock], [found, no_other]) = (puts("environments/demo.yaml"), held(), head());
    let rules =
        [&found, &no_other, &object("environments/demo.yaml", SPEC), &stored, &lost, &lock, &absent()];
    let running = execution(ExecutionStatus::Running);
    let verdict = ask(sent(spec), &rules, &[&running]).await.expect("a verdict");
    assert_eq!((verdict.verdict, stored.num_calls()), (Way::Held, 1));
    assert_eq!(
        verdict.told.as_deref(),
        Some(
            "another run works on demo: other. When that ends, it begins the next run if a newer spec is there"
        )
    );
}

#[tokio::test]
async fn an_object_that_is_no_spec_ends_as_nothing() {
    let keys =
        ["environments/", "environments/.yaml", "environments/demo.yaml.bak", "environments/team/demo.yaml"];
    for key in keys {
        let input = json!({ "detail": { "object": { "key": key } } });
        let verdict = ask(input, &[], &[]).await.expect("a verdict");
        assert_eq!((verdict.verdict, verdict.told), (Way::Nothing, Some(format!("{key:?} holds no spec"))));
    }
}

#[tokio::test]
async fn a_spec_under_a_name_that_no_environment_can_have_is_rejected_for_as_long_as_it_is_there() {
    let told = |state: &'static str, said: &'static str| {
        mock!(S3::put_object)
            .match_requests(move |request| {
                let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                request.key() == Some("status/UPPER.json")
                    && body.contains(&format!(r#""state":"{state}""#))
                    && body.contains(said)
            })
            .then_output(|| PutObjectOutput::builder().build())
    };
    let input = json!({ "detail": { "object": { "key": "environments/UPPER.yml" } } });
    let there = mock!(S3::head_object)
        .match_requests(|request| request.key() == Some("environments/UPPER.yml"))
        .then_output(|| HeadObjectOutput::builder().version_id("1").build());
    let [_, no_other] = head();
    let rejected = told("rejected", "under another name, such as upper");
    let verdict =
        ask(input.clone(), &[&there, &no_other, &absent(), &rejected], &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, rejected.num_calls()), (Way::Nothing, 1));

    let status =
        r#"{ "environment": "UPPER", "state": "rejected", "at": "2026-01-01T00:00:00Z", "run": "a" }"#;
    let gone = told("destroyed", "");
    let rules = [&no_other, &object("status/UPPER.json", status), &gone];
    let verdict = ask(input.clone(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, gone.num_calls()), (Way::Nothing, 1));

    let verdict = ask(input, &[&no_other, &absent()], &[]).await.expect("a verdict");
    assert_eq!(verdict.told.as_deref(), Some("environments/UPPER.yml is gone"));
}

#[tokio::test]
async fn a_name_that_no_environment_can_have_is_refused_before_anything_is_read() {
    for input in [json!({ "environment": "../demo" }), json!({ "spec": { "name": "a b" } })] {
        assert_eq!(ask(input, &[], &[]).await.unwrap_err().kind(), "InvalidSpec");
    }
}

#[tokio::test]
async fn an_object_that_is_too_large_for_a_spec_or_no_text_is_rejected() {
    let of = |length: i64, body: &'static [u8]| {
        mock!(S3::get_object)
            .match_requests(|request| request.key() == Some("environments/demo.yaml"))
            .then_output(move || {
                let body = ByteStream::from_static(body);
                GetObjectOutput::builder().body(body).content_length(length).version_id("2").build()
            })
    };
    for (object, told) in [
        // Were it read, it would be a good spec.
        (of(300_000_000, SPEC.as_bytes()), "and this one has 300000000"),
        (of(20, b"name: J\xfcrgen\n"), "1:8: spec: the byte 0xfc isn't UTF-8"),
    ] {
        let faults = mock!(S3::put_object)
            .match_requests(move |request| {
                let faults: Faults =
                    serde_json::from_slice(request.body().bytes().unwrap_or_default()).expect("faults");
                request.key() == Some("runs/demo/run/faults.json") && faults.to_string().contains(told)
            })
            .then_output(|| PutObjectOutput::builder().build());
        let verdict = ask(upload(), &[&object, &absent(), &faults], &[]).await.expect("a verdict");
        assert_eq!((verdict.verdict, faults.num_calls()), (Way::Rejected, 1));
    }
}

#[tokio::test]
async fn an_event_for_a_version_that_is_applied_changes_nothing() {
    let ready = r#"{ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z", "run": "earlier", "version": "2", "region": "us-east-1" }"#;
    let rules = [&object("environments/demo.yaml", SPEC), &object("status/demo.json", ready), &absent()];
    assert_eq!(ask(upload(), &rules, &[]).await.expect("a verdict").verdict, Way::Nothing);

    let (lock, status, run) = (puts("locks/"), puts("status/"), puts("runs/"));
    let rules = [rules[0], rules[1], rules[2], &lock, &status, &run];
    let by_hand = ask(json!({ "environment": "demo" }), &rules, &[]).await.expect("a verdict");
    assert_eq!(by_hand.verdict, Way::Provision);
}

#[tokio::test]
async fn a_sweep_does_not_begin_again_what_failed_and_an_event_or_a_newer_spec_does() {
    let status = |version: &str| {
        let status = json!({ "environment": "demo", "state": "failed", "at": "2026-01-01T00:00:00Z",
            "run": "earlier", "version": version, "region": "us-east-1" });
        object("status/demo.json", status.to_string().leak())
    };
    let sweep = json!({ "environment": "demo", "action": "sweep" });
    let cases =
        [("2", &sweep, Way::Nothing), ("1", &sweep, Way::Provision), ("2", &upload(), Way::Provision)];
    for (version, input, way) in cases {
        let rules = [
            &object("environments/demo.yaml", SPEC),
            &status(version),
            &absent(),
            &puts("locks/"),
            &puts("status/"),
            &puts("runs/"),
        ];
        assert_eq!(
            ask(input.clone(), &rules, &[]).await.expect("a verdict").verdict,
            way,
            "{version} {input}"
        );
    }
}

/// A role that the control plane may build with.
const ROLE: &str = "arn:aws:iam::210987654321:role/plinth-build";

/// A spec that is built with this role.
fn with_role(role: &str) -> &'static str {
    format!("apiVersion: plinth/v1\nname: demo\nrole: {role}\ncluster: {{}}\n").leak()
}

#[tokio::test]
async fn a_role_that_is_allowed_says_the_account_and_is_written_down() {
    let status = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().unwrap_or_default();
            request.key() == Some("status/demo.json") && String::from_utf8_lossy(body).contains(ROLE)
        })
        .then_output(|| PutObjectOutput::builder().build());
    let spec = object("environments/demo.yaml", with_role(ROLE));
    let rules = [&spec, &absent(), &puts("locks/"), &status, &puts("runs/")];
    let run = ask(upload(), &rules, &[]).await.expect("a verdict").run;
    assert_eq!((run.account.as_str(), run.role.as_deref()), ("210987654321", Some(ROLE)));
}

#[tokio::test]
async fn an_environment_is_not_bound_to_a_role_that_cannot_be_assumed() {
    let denied = mock!(Sts::assume_role).then_error(|| {
        AssumeRoleError::generic(aws_sdk_sts::error::ErrorMetadata::builder().code("AccessDenied").build())
    });
    let spec = object("environments/demo.yaml", with_role(ROLE));
    let error = ask_sts(upload(), &[&spec, &absent()], &[], &[], &denied).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("external id plinth-bucket"), "{error}");
}

#[tokio::test]
async fn an_environment_is_taken_away_with_the_role_that_it_was_built_with() {
    let ready = json!({ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z", "run": "earlier",
        "version": "1", "region": "us-east-1", "role": ROLE });
    let ready = object("status/demo.json", ready.to_string().leak());
    let rules = [&ready, &absent(), &puts("locks/"), &puts("status/"), &puts("runs/")];
    let verdict = ask(upload(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.role.as_deref()), (Way::Teardown, Some(ROLE)));
    assert_eq!(verdict.run.account, "210987654321");
}

#[tokio::test]
async fn a_role_that_is_not_allowed_and_a_move_to_another_are_refused_at_their_line() {
    let other = "arn:aws:iam::210987654321:role/admin";
    let ready = |role: &str| {
        let status = json!({ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z",
            "run": "earlier", "version": "1", "region": "us-east-1", "role": role });
        status.to_string().leak()
    };
    for (spec, status, told) in [
        (with_role(other), None, "BuildRoles"),
        (with_role(ROLE), Some(ready(other)), "destroy it first, and what is protected too"),
        (SPEC, Some(ready(ROLE)), "can't become none"),
    ] {
        let line = if spec == SPEC { 1 } else { 3 };
        let faults = mock!(S3::put_object)
            .match_requests(move |request| {
                let body = request.body().bytes().unwrap_or_default();
                let faults: Faults = serde_json::from_slice(body).expect("faults");
                faults.0.iter().all(|fault| fault.line == line && fault.path == "role")
                    && faults.to_string().contains(told)
            })
            .then_output(|| PutObjectOutput::builder().build());
        let mut rules = vec![object("environments/demo.yaml", spec)];
        rules.extend(status.map(|status| object("status/demo.json", status)));
        rules.extend([absent(), faults]);
        let rules: Vec<&Rule> = rules.iter().collect();
        assert_eq!(ask(upload(), &rules, &[]).await.expect("a verdict").verdict, Way::Rejected);
    }
}

#[tokio::test]
async fn a_region_of_another_partition_is_refused() {
    let spec = "apiVersion: plinth/v1\nname: demo\nregion: cn-north-1\n";
    let faults = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().unwrap_or_default();
            let faults: Faults = serde_json::from_slice(body).expect("faults");
            faults.to_string().contains("3:9: region: this region is of the partition aws-cn")
        })
        .then_output(|| PutObjectOutput::builder().build());
    let rules = [&object("environments/demo.yaml", spec), &absent(), &faults];
    assert_eq!(ask(upload(), &rules, &[]).await.expect("a verdict").verdict, Way::Rejected);
}

#[tokio::test]
async fn an_environment_cannot_move_to_another_region() {
    let ready = r#"{ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z", "run": "earlier", "version": "1", "region": "eu-west-1" }"#;
    let rules = [
        &object("environments/demo.yaml", SPEC),
        &object("status/demo.json", ready),
        &absent(),
        &puts("runs/demo/run/faults.json"),
    ];
    assert_eq!(ask(upload(), &rules, &[]).await.expect("a verdict").verdict, Way::Rejected);
}

#[tokio::test]
async fn a_deleted_spec_takes_the_environment_away() {
    let ready = r#"{ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z", "run": "earlier", "version": "1", "region": "eu-west-1" }"#;
    let rules =
        [&object("status/demo.json", ready), &absent(), &puts("locks/"), &puts("status/"), &puts("runs/")];
    let verdict = ask(upload(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.region.as_str()), (Way::Teardown, "eu-west-1"));
}

#[tokio::test]
async fn a_run_that_finds_the_lock_held_ends_at_once() {
    let [lost, lock] = held();
    let rules = [&object("environments/demo.yaml", SPEC), &lost, &lock, &absent()];
    let verdict = ask(upload(), &rules, &[&execution(ExecutionStatus::Running)]).await.expect("a verdict");
    assert_eq!(verdict.verdict, Way::Held);
}

#[tokio::test]
async fn a_lock_left_by_an_execution_that_ended_is_taken_over() {
    let [lost, lock] = held();
    let taken = mock!(S3::put_object)
        .match_requests(|request| {
            request.key() == Some("locks/demo.json") && request.if_match() == Some("tag")
        })
        .then_output(|| PutObjectOutput::builder().build());
    let rules = [
        &object("environments/demo.yaml", SPEC),
        &lost,
        &taken,
        &lock,
        &absent(),
        &puts("status/"),
        &puts("runs/"),
    ];
    let verdict = ask(upload(), &rules, &[&execution(ExecutionStatus::Aborted)]).await.expect("a verdict");
    assert_eq!((verdict.verdict, taken.num_calls()), (Way::Provision, 1));
}

#[tokio::test]
async fn a_spec_that_is_only_asked_about_is_neither_stored_nor_locked_for() {
    let rules = [&absent(), &puts("runs/demo/run/spec.json")];
    let input =
        json!({ "action": "plan", "spec": { "apiVersion": "plinth/v1", "name": "demo", "cluster": {} } });
    assert_eq!(ask(input, &rules, &[]).await.expect("a verdict").verdict, Way::Plan);
}

const SCHEDULED: &str =
    "{ apiVersion: plinth/v1, name: demo, cluster: {}, schedule: { rebuild: rate(1 day) } }";

fn rebuild() -> Value {
    json!({ "environment": "demo", "action": "rebuild" })
}

#[tokio::test]
async fn a_rebuild_of_what_is_applied_takes_the_lock_and_writes_the_spec_and_what_is_left_between() {
    let ready = r#"{ "environment": "demo", "state": "ready", "at": "2026-01-01T00:00:00Z", "run": "earlier", "version": "2", "region": "eu-west-1" }"#;
    let spec = SCHEDULED.replace("name: demo", "name: demo, region: eu-west-1");
    let (lock, run) = (puts("locks/"), puts("runs/demo/run/spec.json"));
    let status = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
            request.key() == Some("status/demo.json") && body.contains(r#""state":"provisioning""#)
        })
        .then_output(|| PutObjectOutput::builder().build());
    let between = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().unwrap_or_default();
            let spec: Spec = serde_json::from_slice(body).expect("a spec");
            request.key() == Some("runs/demo/run/empty.json")
                && spec.cluster.is_none()
                && spec.schedule.is_some_and(|schedule| schedule.rebuild == "rate(1 day)")
        })
        .then_output(|| PutObjectOutput::builder().build());
    let rules = [
        &object("environments/demo.yaml", spec.leak()),
        &object("status/demo.json", ready),
        &absent(),
        &lock,
        &status,
        &run,
        &between,
    ];
    let verdict = ask(rebuild(), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.version.as_deref()), (Way::Rebuild, Some("2")));
    assert_eq!(verdict.run.region, "eu-west-1");
    assert_eq!(serde_json::to_value(verdict.verdict).expect("JSON"), "rebuild");
    assert_eq!([&lock, &status, &run, &between].map(Rule::num_calls), [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_environment_that_is_gone_is_not_rebuilt() {
    let gone = r#"{ "environment": "demo", "state": "destroyed", "at": "2026-01-01T00:00:00Z", "run": "earlier", "region": "eu-west-1" }"#;
    for rules in [vec![object("status/demo.json", gone), absent()], vec![absent()]] {
        let verdict = ask(rebuild(), &rules.iter().collect::<Vec<_>>(), &[]).await.expect("a verdict");
        assert_eq!(verdict.verdict, Way::Nothing);
    }
}

#[tokio::test]
async fn a_rebuild_that_finds_the_lock_held_ends_and_one_of_a_bad_spec_is_rejected_before_anything_goes() {
    let [lost, lock] = held();
    let rules = [&object("environments/demo.yaml", SPEC), &lost, &lock, &absent()];
    let verdict = ask(rebuild(), &rules, &[&execution(ExecutionStatus::Running)]).await.expect("a verdict");
    assert_eq!(verdict.verdict, Way::Held);

    let bad = object("environments/demo.yaml", "{ apiVersion: plinth/v1, name: demo, clutser: {} }");
    let rules = [&bad, &absent(), &puts("runs/demo/run/faults.json")];
    assert_eq!(ask(rebuild(), &rules, &[]).await.expect("a verdict").verdict, Way::Rejected);
}

#[tokio::test]
async fn an_upload_writes_no_spec_to_be_taken_back_to() {
    let between = puts("runs/demo/run/empty.json");
    let rules = [
        &object("environments/demo.yaml", SCHEDULED),
        &absent(),
        &puts("locks/"),
        &puts("status/"),
        &puts("runs/demo/run/spec.json"),
        &between,
    ];
    assert_eq!(ask(upload(), &rules, &[]).await.expect("a verdict").verdict, Way::Provision);
    assert_eq!(between.num_calls(), 0);
}

const FOLLOWING: &str = "{ apiVersion: plinth/v1, name: demo, repositories: { app: {} },
    services: { web: { image: { repository: app, tag: 'v*' } } } }";

fn pushed(tag: &str) -> Value {
    let detail = json!({ "action-type": "PUSH", "result": "SUCCESS", "repository-name": "demo-app", "image-tag": tag });
    json!({ "source": "aws.ecr", "account": "123456789012", "region": "eu-west-1", "detail": detail })
}

/// A repository with this address, of this control plane.
fn tagged(address: &'static str, control_plane: &'static str) -> Rule {
    let tag = |key: &str, value: &str| {
        aws_sdk_ecr::types::Tag::builder().key(key).value(value).build().expect("a tag")
    };
    mock!(Ecr::list_tags_for_resource)
        .match_requests(|request| {
            request.resource_arn() == Some("arn:aws:ecr:eu-west-1:123456789012:repository/demo-app")
        })
        .then_output(move || {
            aws_sdk_ecr::operation::list_tags_for_resource::ListTagsForResourceOutput::builder()
                .tags(tag("plinth:environment", "demo"))
                .tags(tag("plinth:address", address))
                .tags(tag("plinth:control-plane", control_plane))
                .build()
        })
}

fn starts() -> Rule {
    mock!(StepFunctions::start_execution)
        .match_requests(|request| {
            request.state_machine_arn().is_some_and(|arn| arn.ends_with(":stateMachine:plinth-environment"))
                && request.input() == Some(r#"{"environment":"demo"}"#)
        })
        .then_output(|| {
            aws_sdk_sfn::operation::start_execution::StartExecutionOutput::builder()
                .execution_arn("next")
                .start_date(aws_sdk_sfn::primitives::DateTime::from_secs(0))
                .build()
                .expect("a run")
        })
}

#[tokio::test]
async fn an_image_that_a_service_follows_is_written_down_and_starts_a_run() {
    let (known, started) = (puts("runs/demo/pushed.json"), starts());
    let rules = [&object("environments/demo.yaml", FOLLOWING), &absent(), &known];
    let ours = tagged("repositories.app", "plinth-bucket");
    let verdict = ask_with(pushed("v1"), &rules, &[&started], &[&ours]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.environment.as_str()), (Way::Nothing, "demo"));
    assert_eq!([known.num_calls(), started.num_calls()], [1, 1]);
}

#[tokio::test]
async fn an_image_that_no_service_follows_starts_nothing() {
    let spec = object("environments/demo.yaml", FOLLOWING);
    let bad = object("environments/demo.yaml", "{ apiVersion: plinth/v1, name: demo, clutser: {} }");
    let ours = || tagged("repositories.app", "plinth-bucket");
    for (tag, spec, repository) in [
        ("latest", &spec, ours()),
        ("", &spec, ours()),
        ("v1", &bad, ours()),
        ("v1", &absent(), ours()),
        ("v1", &spec, tagged("repositories.other", "plinth-bucket")),
        ("v1", &spec, tagged("repositories.app", "plinth-of-others")),
    ] {
        let verdict = ask_with(pushed(tag), &[spec, &absent()], &[], &[&repository]).await;
        assert_eq!(verdict.expect("a verdict").verdict, Way::Nothing, "{tag}");
    }
}

#[tokio::test]
async fn an_image_of_a_repository_that_is_gone_starts_nothing() {
    let gone = mock!(Ecr::list_tags_for_resource).then_error(|| {
        let code = aws_sdk_ecr::error::ErrorMetadata::builder().code("RepositoryNotFoundException").build();
        aws_sdk_ecr::operation::list_tags_for_resource::ListTagsForResourceError::generic(code)
    });
    let verdict = ask_with(pushed("v1"), &[], &[], &[&gone]).await.expect("a verdict");
    assert_eq!(verdict.verdict, Way::Nothing);
}

fn status_of(state: &str) -> Rule {
    let status = format!(
        r#"{{ "environment": "demo", "state": "{state}", "at": "2026-01-01T00:00:00Z", "run": "earlier", "version": "2", "region": "us-east-1" }}"#
    );
    object("status/demo.json", status.leak())
}

fn expiring(expires: &str) -> Rule {
    let spec = format!("{{ apiVersion: plinth/v1, name: demo, cluster: {{}}, expires: {expires} }}");
    object("environments/demo.yaml", spec.leak())
}

fn asked(action: &str) -> Value {
    json!({ "environment": "demo", "action": action })
}

/// The current object, looked at and deleted.
fn deleted(version: &'static str) -> [Rule; 3] {
    [
        mock!(S3::head_object)
            .match_requests(|request| request.key() == Some("environments/demo.yaml"))
            .then_output(move || HeadObjectOutput::builder().version_id(version).build()),
        mock!(S3::head_object).then_error(|| {
            HeadObjectError::generic(aws_sdk_s3::error::ErrorMetadata::builder().code("NotFound").build())
        }),
        mock!(S3::delete_object)
            .match_requests(|request| request.key() == Some("environments/demo.yaml"))
            .then_output(|| DeleteObjectOutput::builder().build()),
    ]
}

/// What comes of a question about an environment in this state, with a free lock.
async fn asked_of(action: &str, expires: &str, state: &str) -> Verdict {
    let rules =
        [&expiring(expires), &status_of(state), &absent(), &puts("locks/"), &puts("status/"), &puts("runs/")];
    let deleted = deleted("2");
    let rules: Vec<&Rule> = rules.into_iter().chain(&deleted).collect();
    ask(asked(action), &rules, &[]).await.expect("a verdict")
}

#[tokio::test]
async fn every_run_of_a_version_says_the_same_moment_at_which_it_expires() {
    for input in [upload(), json!({ "environment": "demo" }), asked("pause"), asked("rebuild")] {
        let rules =
            [&expiring("{ after: 8h }"), &absent(), &puts("locks/"), &puts("status/"), &puts("runs/")];
        let run = ask(input, &rules, &[]).await.expect("a verdict").run;
        assert_eq!(run.expires.map(Timestamp::as_second), Some(UPLOADED + 8 * 3600));
    }
}

#[tokio::test]
async fn an_expiry_that_has_come_deletes_the_spec_and_tears_down() {
    let (lock, status) = (puts("locks/"), puts("status/"));
    let run = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().unwrap_or_default();
            request.key() == Some("runs/demo/run/spec.json")
                && serde_json::from_slice::<Spec>(body).is_ok_and(|spec| spec == Spec::empty("demo"))
        })
        .then_output(|| PutObjectOutput::builder().build());
    let deleted = deleted("2");
    let rules = [&expiring("{ after: 1s }"), &status_of("ready"), &absent(), &lock, &status, &run];
    let rules: Vec<&Rule> = rules.into_iter().chain(&deleted).collect();
    let verdict = ask(asked("expire"), &rules, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.version, verdict.run.expires), (Way::Teardown, None, None));
    assert_eq!([&lock, &deleted[2], &status, &run].map(Rule::num_calls), [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_expiry_that_finds_a_newer_spec_deletes_nothing_and_looks_again() {
    let deleted = deleted("3");
    let rules = [&expiring("{ after: 1s }"), &status_of("ready"), &absent(), &puts("locks/")];
    let rules: Vec<&Rule> = rules.into_iter().chain(&deleted).collect();
    let error = ask(asked("expire"), &rules, &[]).await.unwrap_err();
    assert_eq!((error.kind(), deleted[2].num_calls()), ("NotReadySoon", 0));
}

#[tokio::test]
async fn a_pass_that_follows_one_which_was_killed_goes_on_with_the_lock_it_holds() {
    let mine = r#"{ "execution": "arn:aws:states:us-east-1:123456789012:execution:plinth-environment:run", "since": "2026-01-01T00:00:00Z" }"#;
    let mine = object("locks/demo.json", mine);
    let [lost, _] = held();
    let (status, runs) = (puts("status/"), puts("runs/"));
    let gone = [&status_of("ready"), &mine, &lost, &absent(), &status, &runs];
    let verdict = ask(asked("expire"), &gone, &[]).await.expect("a verdict");
    assert_eq!(verdict.verdict, Way::Teardown);
    let newer = expiring("{ after: 999d }");
    let newer = [&newer, &status_of("ready"), &mine, &lost, &absent(), &status, &runs];
    let verdict = ask(asked("expire"), &newer, &[]).await.expect("a verdict");
    assert_eq!((verdict.verdict, verdict.run.version.as_deref()), (Way::Provision, Some("2")));
}

#[tokio::test]
async fn an_expiry_is_a_hint_that_comes_to_nothing_early_or_where_there_is_nothing_to_end() {
    for expires in ["{ after: 3650d }", "{ after: 3650d, then: pause }"] {
        assert_eq!(asked_of("expire", expires, "ready").await.verdict, Way::Nothing);
    }
    let pause = "{ after: 1s, then: pause }";
    assert_eq!(asked_of("expire", pause, "paused").await.verdict, Way::Nothing);
    assert_eq!(asked_of("expire", "{ after: 1s }", "paused").await.verdict, Way::Teardown);
    let specs = [Some(SPEC), Some("{ apiVersion: plinth/v1, name: demo, clutser: {} }"), None];
    for spec in specs {
        let spec = spec.map(|spec| object("environments/demo.yaml", spec));
        let rules = [&status_of("ready"), &absent()];
        let rules: Vec<&Rule> = spec.iter().chain(rules).collect();
        assert_eq!(ask(asked("expire"), &rules, &[]).await.expect("a verdict").verdict, Way::Nothing);
    }
}

#[tokio::test]
async fn a_pause_is_a_run_that_is_paused_whoever_asked_and_a_person_wakes_it() {
    let pause = "{ after: 1s, then: pause }";
    for (action, state, paused) in [
        ("expire", "ready", true),
        ("pause", "ready", true),
        ("pause", "paused", true),
        ("apply", "paused", false),
    ] {
        let verdict = asked_of(action, pause, state).await;
        assert_eq!((verdict.verdict, verdict.run.paused), (Way::Provision, paused), "{action}");
    }
}

#[tokio::test]
async fn what_is_paused_stays_so_on_an_event_of_its_version_and_is_not_rebuilt() {
    let rules = [&object("environments/demo.yaml", SPEC), &status_of("paused"), &absent()];
    for input in [upload(), rebuild()] {
        assert_eq!(ask(input, &rules, &[]).await.expect("a verdict").verdict, Way::Nothing);
    }
    let absent = absent();
    for gone in ["destroyed", "expired"] {
        let status = format!(
            r#"{{ "environment": "demo", "state": "{gone}", "at": "2026-01-01T00:00:00Z", "run": "a" }}"#
        );
        let status = object("status/demo.json", status.leak());
        for input in [upload(), asked("pause"), asked("expire")] {
            let verdict = ask(input, &[&status, &absent], &[]).await.expect("a verdict");
            assert_eq!(verdict.verdict, Way::Nothing);
        }
    }
}

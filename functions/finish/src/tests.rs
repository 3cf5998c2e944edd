use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_s3::{
    error::ErrorMetadata,
    operation::{
        delete_object::DeleteObjectOutput,
        get_object::{GetObjectError, GetObjectOutput},
        head_object::{HeadObjectError, HeadObjectOutput},
        list_objects_v2::ListObjectsV2Output,
        put_object::PutObjectOutput,
    },
    primitives::{ByteStream, DateTime},
    types::Object,
};
use aws_sdk_sfn::operation::start_execution::StartExecutionOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

use super::*;

const EXECUTION: &str = "arn:aws:states:us-east-1:123456789012:execution:plinth-environment:run";
const MINE: &str = r#"{ "execution": "arn:aws:states:us-east-1:123456789012:execution:plinth-environment:run",
    "since": "2026-01-01T00:00:00Z" }"#;
const OTHERS: &str = r#"{ "execution": "other", "since": "2026-01-01T00:00:00Z" }"#;
const NOBODYS: &str = "";

/// What stands in the bucket: the lock, and the current spec's version.
struct World {
    lock: &'static str,
    version: Option<&'static str>,
    /// When an image was pushed.
    pushed: Option<&'static str>,
    /// What else lies in the bucket: keys, and texts of version 1.
    objects: Vec<(&'static str, &'static str)>,
    put: Rule,
    freed: Rule,
    told: Rule,
    started: Rule,
}

impl World {
    /// `state` is what the status and the event must say.
    fn new(lock: &'static str, version: Option<&'static str>, state: &'static str) -> Self {
        Self {
            lock,
            version,
            pushed: None,
            objects: Vec::new(),
            put: mock!(S3::put_object)
                .match_requests(move |request| {
                    let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                    request.key() == Some("status/demo.json")
                        && body.contains(&format!("\"state\":\"{state}\""))
                })
                .then_output(|| PutObjectOutput::builder().build()),
            freed: mock!(S3::delete_object)
                .match_requests(|request| {
                    request.key() == Some("locks/demo.json") && request.if_match() == Some("tag")
                })
                .then_output(|| DeleteObjectOutput::builder().build()),
            told: mock!(Events::put_events)
                .match_requests(move |request| {
                    let entry = &request.entries()[0];
                    entry.source() == Some("plinth")
                        && entry.detail_type() == Some(&format!("Environment {state}"))
                })
                .then_output(|| PutEventsOutput::builder().build()),
            started: mock!(StepFunctions::start_execution)
                .match_requests(|request| {
                    request
                        .state_machine_arn()
                        .is_some_and(|arn| arn.ends_with(":stateMachine:plinth-environment"))
                        && request.input().is_some_and(|input| {
                            [
                                r#"{"environment":"demo"}"#,
                                r#"{"environment":"demo","action":"sweep"}"#,
                                r#"{"environment":"demo","action":"expire"}"#,
                            ]
                            .contains(&input)
                        })
                })
                .then_output(|| {
                    let date = DateTime::from_secs(0);
                    StartExecutionOutput::builder()
                        .execution_arn("next")
                        .start_date(date)
                        .build()
                        .expect("a run")
                }),
        }
    }

    async fn handle(&self, input: Value) -> Result<Finished> {
        let (lock, version) = (self.lock, self.version);
        let absent = || ErrorMetadata::builder().code("NoSuchKey").build();
        let locked = mock!(S3::get_object)
            .match_requests(move |request| request.key() == Some("locks/demo.json") && !lock.is_empty())
            .then_output(move || {
                GetObjectOutput::builder().body(ByteStream::from_static(lock.as_bytes())).e_tag("tag").build()
            });
        let earlier = r#"{ "environment": "demo", "state": "provisioning", "at": "2026-01-01T00:00:00Z",
            "run": "run", "version": "1", "region": "eu-west-1",
            "outputs": { "cluster": { "name": "demo", "arn": "arn:demo" } } }"#;
        let status = mock!(S3::get_object)
            .match_requests(|request| request.key() == Some("status/demo.json"))
            .then_output(move || {
                GetObjectOutput::builder().body(ByteStream::from_static(earlier.as_bytes())).build()
            });
        let pushed = self.pushed.map(|at| format!(r#"{{ "image": "app:v1", "at": "{at}" }}"#));
        let has_pushed = pushed.is_some();
        let image = mock!(S3::get_object)
            .match_requests(move |request| request.key() == Some("runs/demo/pushed.json") && has_pushed)
            .then_output(move || {
                let body = pushed.clone().unwrap_or_default().into_bytes();
                GetObjectOutput::builder().body(body.into()).build()
            });
        let nothing = mock!(S3::get_object).then_error(move || GetObjectError::generic(absent()));
        let keys: Vec<&str> = self.objects.iter().map(|(key, _)| *key).collect();
        let steps = mock!(S3::list_objects_v2).then_compute_output(move |request| {
            let listed = keys.iter().filter(|key| key.starts_with(request.prefix().unwrap_or_default()));
            let listed = listed.map(|key| Object::builder().key(*key).build()).collect();
            ListObjectsV2Output::builder().set_contents(Some(listed)).build()
        });
        let objects = self.objects.iter().copied().map(|(key, text)| {
            mock!(S3::get_object).match_requests(move |request| request.key() == Some(key)).then_output(
                move || {
                    let body = ByteStream::from_static(text.as_bytes());
                    GetObjectOutput::builder().body(body).version_id("1").build()
                },
            )
        });
        let objects: Vec<Rule> = objects.collect();
        let head = match version {
            Some(version) => mock!(S3::head_object)
                .match_requests(|request| request.key() == Some("environments/demo.yaml"))
                .then_output(move || HeadObjectOutput::builder().version_id(version).build()),
            None => mock!(S3::head_object).then_error(move || HeadObjectError::generic(absent())),
        };
        let no_head = mock!(S3::head_object).then_error(move || HeadObjectError::generic(absent()));
        let s3 = [&locked, &status, &image, &nothing, &steps, &head, &no_head, &self.put, &self.freed];
        let s3: Vec<&Rule> = objects.iter().chain(s3).collect();
        let finish = Finish {
            s3: mock_client!(aws_sdk_s3, RuleMode::MatchAny, &s3),
            sfn: mock_client!(aws_sdk_sfn, RuleMode::MatchAny, [&self.started]),
            events: mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&self.told]),
            bucket: "plinth-bucket".to_owned(),
        };
        Box::pin(finish.handle(input)).await
    }

    /// How often the status was put, the lock freed, the world told and a run started.
    fn calls(&self) -> [usize; 4] {
        [&self.put, &self.freed, &self.told, &self.started].map(Rule::num_calls)
    }
}

fn ended(verdict: &str, version: Option<&str>, fault: Option<&Value>) -> Value {
    json!({
        "execution": EXECUTION,
        "input": { "environment": "demo" },
        "verdict": verdict,
        "run": {
            "environment": "demo", "id": "run", "region": "eu-west-1", "account": "123456789012",
            "spec": { "bucket": "plinth-bucket", "key": "runs/demo/run/spec.json" }, "version": version,
        },
        "outputs": { "cluster": { "name": "new", "arn": "arn:new" } },
        "fault": fault,
    })
}

fn fault(error: &str) -> Value {
    let cause = json!({ "errorType": error, "errorMessage": "because" }).to_string();
    json!({ "Error": error, "Cause": cause })
}

#[tokio::test]
async fn a_run_that_succeeded_is_ready_told_and_frees_its_lock() {
    let world = World::new(MINE, Some("1"), "ready");
    let finished = world.handle(ended("provision", Some("1"), None)).await.expect("an answer");
    assert_eq!(finished.state, Some(EnvironmentState::Ready));
    assert_eq!(world.calls(), [1, 1, 1, 0]);
}

#[tokio::test]
async fn each_end_has_its_state() {
    for (verdict, error, state) in [
        ("provision", Some("Conflict"), "failed"),
        ("provision", Some("InvalidSpec"), "rejected"),
        ("provision", Some("Superseded"), "superseded"),
        ("rejected", None, "rejected"),
        ("rebuild", None, "ready"),
        ("rebuild", Some("Failed"), "failed"),
        ("rebuild", Some("Superseded"), "superseded"),
    ] {
        let world = World::new(MINE, Some("1"), state);
        world.handle(ended(verdict, Some("1"), error.map(fault).as_ref())).await.expect("an answer");
        assert_eq!(world.calls(), [1, 1, 1, 0], "{verdict} {error:?}");
    }
    let world = World::new(MINE, None, "destroyed");
    world.handle(ended("teardown", None, None)).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_rebuild_is_told_with_what_it_learned_and_starts_the_run_that_came_between() {
    let mut world = World::new(MINE, Some("2"), "ready");
    world.put = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
            body.contains("arn:new") && body.contains(r#""version":"1""#)
        })
        .then_output(|| PutObjectOutput::builder().build());
    let mut input = ended("rebuild", Some("1"), None);
    input["input"] = json!({ "environment": "demo", "action": "rebuild" });
    world.handle(input).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_spec_that_came_meanwhile_is_the_next_run() {
    let world = World::new(MINE, Some("2"), "ready");
    world.handle(ended("provision", Some("1"), None)).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn an_image_that_was_pushed_meanwhile_is_the_next_run() {
    for (at, version, verdict, state, started) in [
        ("2026-01-01T00:00:01Z", Some("1"), "provision", "ready", 1),
        ("2025-12-31T23:59:59Z", Some("1"), "provision", "ready", 0),
        ("2026-01-01T00:00:01Z", None, "teardown", "destroyed", 0),
    ] {
        let mut world = World::new(MINE, version, state);
        world.pushed = Some(at);
        world.handle(ended(verdict, version, None)).await.expect("an answer");
        assert_eq!(world.calls(), [1, 1, 1, started], "{verdict} {at}");
    }
}

#[tokio::test]
async fn a_lock_that_another_run_holds_is_left() {
    let world = World::new(OTHERS, Some("1"), "rejected");
    world.handle(ended("rejected", Some("1"), None)).await.expect("an answer");
    assert_eq!(world.calls(), [1, 0, 1, 0]);
}

#[tokio::test]
async fn a_lock_that_is_taken_over_meanwhile_is_left_with_the_next_run_to_its_holder() {
    let mut world = World::new(MINE, Some("2"), "ready");
    world.freed = mock!(S3::delete_object).then_error(|| {
        let code = ErrorMetadata::builder().code("PreconditionFailed").build();
        aws_sdk_s3::operation::delete_object::DeleteObjectError::generic(code)
    });
    world.handle(ended("provision", Some("1"), None)).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 0]);
}

#[tokio::test]
async fn what_an_earlier_try_freed_without_starting_the_next_run_is_carried_on() {
    let world = World::new(NOBODYS, Some("2"), "ready");
    world.handle(ended("provision", Some("1"), None)).await.expect("an answer");
    assert_eq!(world.calls(), [1, 0, 1, 1]);
}

#[tokio::test]
async fn a_rejected_spec_is_not_told_over_a_newer_one() {
    let world = World::new(OTHERS, Some("2"), "rejected");
    let finished = world.handle(ended("rejected", Some("1"), None)).await.expect("an answer");
    assert_eq!(finished.state, Some(EnvironmentState::Superseded));
    assert_eq!(world.calls(), [0, 0, 0, 0]);
}

/// A run that `accept` could not begin.
fn not_begun(input: &Value) -> Value {
    json!({ "execution": EXECUTION, "input": input, "fault": fault("Failed") })
}

#[tokio::test]
async fn a_run_that_could_not_be_begun_is_told_with_its_version_and_starts_no_other() {
    // The status is of this very run; then it is of an earlier one.
    for (execution, version) in [(EXECUTION, "1"), ("arn:…:execution:plinth-environment:later", "2")] {
        let mut world = World::new(if version == "1" { MINE } else { NOBODYS }, Some(version), "failed");
        world.put = mock!(S3::put_object)
            .match_requests(move |request| {
                let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                body.contains(&format!(r#""version":"{version}""#))
            })
            .then_output(|| PutObjectOutput::builder().build());
        let mut input = not_begun(&json!({ "environment": "demo" }));
        input["execution"] = json!(execution);
        world.handle(input).await.expect("an answer");
        assert_eq!(world.calls(), [1, usize::from(version == "1"), 1, 0], "{execution}");
    }
}

#[tokio::test]
async fn a_run_that_could_not_be_begun_starts_the_one_for_the_spec_that_came_meanwhile() {
    let world = World::new(MINE, Some("2"), "failed");
    world.handle(not_begun(&json!({ "environment": "demo" }))).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_plan_leaves_the_status_and_the_lock_alone() {
    let world = World::new(MINE, Some("1"), "ready");
    let mut input = ended("plan", None, None);
    input["input"] = json!({ "action": "plan", "spec": { "name": "demo" } });
    assert_eq!(world.handle(input).await.expect("an answer").state, None);
    assert_eq!(world.calls(), [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_plan_that_was_refused_is_answered_with_the_reason() {
    let world = World::new(MINE, Some("1"), "ready");
    let mut input = ended("plan", None, Some(&fault("InvalidSpec")));
    input["input"] = json!({ "action": "plan", "spec": { "name": "demo" } });
    let finished = world.handle(input).await.expect("an answer");
    assert_eq!((finished.state, world.calls()), (None, [0, 0, 0, 0]));
    let fault = finished.fault.expect("a fault");
    assert_eq!((fault.error.as_str(), fault.message.as_str()), ("InvalidSpec", "because"));
}

#[tokio::test]
async fn a_bad_spec_that_came_with_the_question_is_answered_and_leaves_the_status_alone() {
    let mut world = World::new(OTHERS, Some("1"), "ready");
    let faults = r#"[{ "line": 1, "column": 9, "path": "clutser", "message": "no such field" }]"#;
    world.objects = vec![("runs/demo/run/faults.json", faults)];
    let mut input = ended("rejected", Some("1"), None);
    input["input"] = json!({ "spec": { "name": "demo" } });
    let finished = world.handle(input).await.expect("an answer");
    assert_eq!((finished.state, world.calls()), (Some(EnvironmentState::Rejected), [0, 0, 0, 0]));
    assert_eq!(finished.fault.expect("a fault").message, "1:9: clutser: no such field\n");
}

#[tokio::test]
async fn an_input_that_names_nothing_is_answered_and_written_nowhere() {
    let world = World::new(NOBODYS, Some("1"), "rejected");
    let input =
        json!({ "execution": EXECUTION, "input": { "environment": "../x" }, "fault": fault("InvalidSpec") });
    let finished = world.handle(input).await.expect("an answer");
    assert_eq!((finished.state, world.calls()), (Some(EnvironmentState::Rejected), [0, 0, 0, 0]));
    assert!(finished.fault.is_some());
}

const ENSURED: &str = r#"{ "state": "Service-0", "operation": "ensure", "status": "failed", "error": "InvalidSpec",
    "since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:00Z" }"#;

#[tokio::test]
async fn a_spec_that_proves_wrong_after_part_of_it_was_written_has_failed() {
    let mut world = World::new(MINE, Some("1"), "failed");
    world.objects = vec![("runs/demo/run/steps/ensure-Service-0.json", ENSURED)];
    world.handle(ended("provision", Some("1"), Some(&fault("InvalidSpec")))).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_fault_is_told_with_the_address_it_is_about_and_its_line() {
    let mut world = World::new(MINE, Some("1"), "rejected");
    let text =
        "apiVersion: plinth/v1\nname: demo\nservices:\n  web: { image: nginx }\n  worker: { image: nginx }\n";
    world.objects = vec![
        ("environments/demo.yaml", text),
        ("runs/demo/run/spec.json", r#"{ "name": "demo", "services": { "web": {}, "worker": {} } }"#),
    ];
    let cause =
        json!({ "errorType": "InvalidSpec", "errorMessage": "ECS service (demo-worker) is too large" });
    let fault = json!({ "Error": "InvalidSpec", "Cause": cause.to_string() });
    let finished = world.handle(ended("provision", Some("1"), Some(&fault))).await.expect("an answer");
    let fault = finished.fault.expect("a fault");
    assert_eq!((fault.address.as_deref(), fault.line), (Some("services.worker"), Some(5)));
}

#[tokio::test]
async fn the_version_that_was_last_ready_is_remembered() {
    let mut world = World::new(MINE, Some("1"), "ready");
    world.put = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
            body.contains(r#""lastReady":{"version":"1","at":"#)
        })
        .then_output(|| PutObjectOutput::builder().build());
    world.handle(ended("provision", Some("1"), None)).await.expect("an answer");
    assert_eq!(world.put.num_calls(), 1);

    let last = LastReady { version: "1".to_owned(), at: Timestamp::UNIX_EPOCH, changed: false };
    let earlier = Status { last_ready: Some(last), ..Status::new("demo", EnvironmentState::Ready, "run") };
    let after =
        |operation| last_ready(&earlier, &[Progress::begin(operation, "Network")]).expect("a version");
    assert!(!after(Operation::Plan).changed);
    assert!(after(Operation::Ensure).changed && after(Operation::Prune).changed);
}

/// What EventBridge says of an execution that was aborted.
fn aborted() -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states", "account": "123456789012", "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1", "resources": [],
        "detail": {
            "executionArn": EXECUTION, "status": "ABORTED",
            "input": json!({ "environment": "demo" }).to_string(),
        },
    })
}

#[tokio::test]
async fn an_aborted_run_is_told_and_frees_its_lock_once() {
    let world = World::new(MINE, Some("1"), "failed");
    world.handle(aborted()).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 0]);
    let again = World::new(OTHERS, Some("1"), "failed");
    assert_eq!(again.handle(aborted()).await.expect("an answer").state, None);
    assert_eq!(again.calls(), [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_failed_run_keeps_the_outputs_of_the_last_that_succeeded() {
    let mut world = World::new(MINE, Some("1"), "failed");
    world.put = mock!(S3::put_object)
        .match_requests(|request| {
            let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
            body.contains("arn:demo") && !body.contains("arn:new")
        })
        .then_output(|| PutObjectOutput::builder().build());
    world.handle(ended("provision", Some("1"), Some(&fault("Failed")))).await.expect("an answer");
    assert_eq!(world.put.num_calls(), 1);
}

/// The end of a run that was asked for so, of an environment that expires then.
fn ended_as(asked: &str, verdict: &str, version: Option<&str>, run: &Value) -> Value {
    let mut input = ended(verdict, version, None);
    input["input"] = json!({ "environment": "demo", "action": asked });
    for (key, value) in run.as_object().expect("fields") {
        input["run"][key] = value.clone();
    }
    input
}

#[tokio::test]
async fn a_run_that_took_away_what_expired_says_so_and_one_that_paused_it_too() {
    let world = World::new(MINE, None, "expired");
    world.handle(ended_as("expire", "teardown", None, &json!({}))).await.expect("an answer");
    assert_eq!(world.calls(), [1, 1, 1, 0]);
    for asked in ["expire", "pause"] {
        let world = World::new(MINE, Some("1"), "paused");
        let input = ended_as(asked, "provision", Some("1"), &json!({ "paused": true }));
        world.handle(input).await.expect("an answer");
        assert_eq!(world.calls(), [1, 1, 1, 0]);
    }
}

#[tokio::test]
async fn a_time_that_came_while_the_lock_was_held_is_seen_to_and_one_that_came_before_is_not() {
    for (moment, started) in
        [("2026-01-01T00:00:01Z", 1), ("2025-12-31T00:00:00Z", 0), ("9999-01-01T00:00:00Z", 0)]
    {
        let world = World::new(MINE, Some("1"), "ready");
        let input = ended_as("apply", "provision", Some("1"), &json!({ "expires": moment }));
        world.handle(input).await.expect("an answer");
        assert_eq!(world.calls(), [1, 1, 1, started], "{moment}");
    }
}

#[test]
fn an_environment_of_which_nothing_stands_is_bound_to_no_place() {
    for (state, kept, bound) in
        [("failed", json!([]), true), ("destroyed", json!([]), false), ("destroyed", json!(["key"]), true)]
    {
        let status = json!({ "environment": "demo", "state": state, "at": "2026-01-01T00:00:00Z", "run": "run",
            "region": "eu-west-1", "role": "arn:role", "kept": kept });
        let status: Status = serde_json::from_value(status).expect("a status");
        let (region, role) = place(Some(&status));
        assert_eq!((region.is_some(), role.is_some()), (bound, bound), "{state} {kept}");
    }
}

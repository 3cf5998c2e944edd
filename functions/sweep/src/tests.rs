use aws_sdk_s3::{
    error::ErrorMetadata,
    operation::{
        delete_object::DeleteObjectOutput,
        get_object::{GetObjectError, GetObjectOutput},
        head_object::{HeadObjectError, HeadObjectOutput},
        list_objects_v2::ListObjectsV2Output,
    },
    primitives::{ByteStream, DateTime},
    types::{EncodingType, Object},
};
use aws_sdk_sfn::{
    operation::{describe_execution::DescribeExecutionOutput, start_execution::StartExecutionOutput},
    types::ExecutionStatus,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

use super::*;

/// What lies beside in the bucket, as S3 encodes it, and is no environment's.
const STRAYS: [&str; 5] = ["", "a%01b.yaml", "UPPER.json", ".json", "team/demo.json"];

/// What the bucket holds of the environment `demo`.
#[derive(Clone, Copy, Default)]
struct World {
    /// The current version of its spec.
    spec: Option<&'static str>,
    /// The status's state and version.
    status: Option<(&'static str, Option<&'static str>)>,
    /// How the execution that holds the lock is, none if AWS has forgotten it, and how many seconds ago it
    /// ended.
    lock: Option<(Option<&'static str>, u64)>,
}

impl World {
    fn holds(&self, prefix: &str) -> Option<&'static str> {
        match prefix {
            "environments/" => self.spec.map(|_| "environments/demo.yaml"),
            "status/" => self.status.map(|_| "status/demo.json"),
            "locks/" => self.lock.map(|_| "locks/demo.json"),
            _ => None,
        }
    }

    /// What a sweep does, with the rules for a freed lock and for a started run.
    async fn sweep(self) -> (Result<Swept>, [usize; 2]) {
        let freed = mock!(S3::delete_object)
            .match_requests(|request| {
                request.key() == Some("locks/demo.json") && request.if_match() == Some("tag")
            })
            .then_output(|| DeleteObjectOutput::builder().build());
        self.sweep_with(freed).await
    }

    async fn sweep_with(self, freed: Rule) -> (Result<Swept>, [usize; 2]) {
        let absent = || ErrorMetadata::builder().code("NoSuchKey").build();
        let listing = |prefix: &'static str| {
            let key = self.holds(prefix);
            mock!(S3::list_objects_v2)
                .match_requests(move |request| {
                    request.prefix() == Some(prefix) && request.encoding_type() == Some(&EncodingType::Url)
                })
                .then_output(move || {
                    let strays = STRAYS.map(|stray| format!("{prefix}{stray}"));
                    let keys = strays.into_iter().chain(key.map(str::to_owned));
                    let objects = keys.map(|key| Object::builder().key(key).build()).collect();
                    let listed = ListObjectsV2Output::builder().encoding_type(EncodingType::Url);
                    listed.set_contents(Some(objects)).build()
                })
        };
        let text = |key: &'static str, body: Option<String>| {
            mock!(S3::get_object)
                .match_requests({
                    let there = body.is_some();
                    move |request| there && request.key() == Some(key)
                })
                .then_output(move || {
                    let body = ByteStream::from(body.clone().unwrap_or_default().into_bytes());
                    GetObjectOutput::builder().body(body).e_tag("tag").build()
                })
        };
        let status = self.status.map(|(state, version)| {
            json!({ "environment": "demo", "state": state, "at": "2026-01-01T00:00:00Z", "run": "run",
                "version": version })
            .to_string()
        });
        let lock =
            self.lock.map(|_| json!({ "execution": "holder", "since": "2026-01-01T00:00:00Z" }).to_string());
        let (status, lock) = (text("status/demo.json", status), text("locks/demo.json", lock));
        let nothing = mock!(S3::get_object).then_error(move || GetObjectError::generic(absent()));
        let head = match self.spec {
            Some(version) => mock!(S3::head_object)
                .then_output(move || HeadObjectOutput::builder().version_id(version).build()),
            None => mock!(S3::head_object).then_error(move || HeadObjectError::generic(absent())),
        };
        let [specs, statuses, locks] = ["environments/", "status/", "locks/"].map(listing);
        let started = mock!(StepFunctions::start_execution)
            .match_requests(|request| {
                request.state_machine_arn() == Some("machine")
                    && request.input() == Some(r#"{"environment":"demo","action":"sweep"}"#)
            })
            .then_output(|| {
                let run =
                    StartExecutionOutput::builder().execution_arn("next").start_date(DateTime::from_secs(0));
                run.build().expect("a run")
            });
        let s3 = [&specs, &statuses, &locks, &status, &lock, &nothing, &head, &freed];
        let holder = execution(self.lock);
        let sweep = Sweep {
            s3: mock_client!(aws_sdk_s3, RuleMode::MatchAny, &s3),
            sfn: mock_client!(aws_sdk_sfn, RuleMode::MatchAny, [&holder, &started]),
            bucket: "plinth-bucket".to_owned(),
            machine: "machine".to_owned(),
        };
        let swept = sweep.handle().await;
        (swept, [freed.num_calls(), started.num_calls()])
    }
}

fn execution(lock: Option<(Option<&'static str>, u64)>) -> Rule {
    let describe = mock!(StepFunctions::describe_execution)
        .match_requests(|request| request.execution_arn() == Some("holder"));
    let Some((Some(status), ago)) = lock else {
        return describe.then_error(|| {
            let code = aws_sdk_sfn::error::ErrorMetadata::builder().code("ExecutionDoesNotExist").build();
            aws_sdk_sfn::operation::describe_execution::DescribeExecutionError::generic(code)
        });
    };
    describe.then_output(move || {
        let stopped = std::time::SystemTime::now() - std::time::Duration::from_secs(ago);
        let stopped = (status != "RUNNING").then(|| DateTime::from(stopped));
        let described =
            DescribeExecutionOutput::builder().execution_arn("holder").state_machine_arn("machine");
        let described = described.status(ExecutionStatus::from(status)).start_date(DateTime::from_secs(0));
        described.set_stop_date(stopped).build().expect("an execution")
    })
}

const READY: World = World { spec: Some("2"), status: Some(("ready", Some("2"))), lock: None };

#[tokio::test]
async fn where_all_is_as_it_should_be_nothing_is_freed_and_nothing_started() {
    let settled = [
        READY,
        World::default(),
        World { status: Some(("destroyed", None)), spec: None, ..READY },
        World { status: Some(("failed", Some("2"))), ..READY },
        World { status: Some(("rejected", Some("2"))), ..READY },
        World { status: Some(("failed", None)), spec: None, ..READY },
    ];
    for world in settled {
        let (swept, calls) = world.sweep().await;
        assert_eq!((swept, calls), (Ok(Swept::default()), [0, 0]), "{:?} {:?}", world.spec, world.status);
    }
}

#[tokio::test]
async fn a_spec_that_its_status_is_not_settled_on_is_run() {
    let owed = [
        World { status: None, ..READY },
        World { status: Some(("ready", Some("1"))), ..READY },
        World { status: Some(("failed", Some("1"))), ..READY },
        World { status: Some(("superseded", Some("1"))), ..READY },
        World { status: Some(("provisioning", Some("2"))), ..READY },
        World { status: Some(("destroyed", None)), ..READY },
        World { status: Some(("ready", Some("1"))), spec: None, ..READY },
        World { status: Some(("destroying", None)), spec: None, ..READY },
    ];
    for world in owed {
        let (swept, calls) = world.sweep().await;
        let wanted = Swept { started: vec!["demo".to_owned()], ..Swept::default() };
        assert_eq!((swept, calls), (Ok(wanted), [0, 1]), "{:?} {:?}", world.spec, world.status);
    }
}

#[tokio::test]
async fn a_dead_lock_is_freed_and_a_run_started_only_if_one_is_owed() {
    let freed = || vec!["demo".to_owned()];
    for holder in [(None, 0), (Some("ABORTED"), 90), (Some("SUCCEEDED"), 90)] {
        let world = World { lock: Some(holder), ..READY };
        let wanted = Swept { freed: freed(), ..Swept::default() };
        assert_eq!(world.sweep().await, (Ok(wanted), [1, 0]));

        let world = World { status: Some(("provisioning", Some("2"))), ..world };
        let wanted = Swept { freed: freed(), started: freed() };
        assert_eq!(world.sweep().await, (Ok(wanted), [1, 1]));
    }
}

#[tokio::test]
async fn what_a_run_holds_that_lives_or_has_just_ended_is_left_to_it() {
    for holder in [(Some("RUNNING"), 0), (Some("PENDING_REDRIVE"), 90), (Some("ABORTED"), 30)] {
        let world = World { lock: Some(holder), status: Some(("provisioning", Some("1"))), ..READY };
        assert_eq!(world.sweep().await, (Ok(Swept::default()), [0, 0]), "{holder:?}");
    }
}

#[tokio::test]
async fn a_lock_that_is_taken_over_meanwhile_is_left_to_its_new_holder() {
    let world = World { lock: Some((None, 0)), status: Some(("provisioning", Some("1"))), ..READY };
    let taken = mock!(S3::delete_object).then_error(|| {
        let code = ErrorMetadata::builder().code("PreconditionFailed").build();
        aws_sdk_s3::operation::delete_object::DeleteObjectError::generic(code)
    });
    assert_eq!(world.sweep_with(taken).await, (Ok(Swept::default()), [1, 0]));
}

#[test]
fn a_time_that_came_unseen_is_carried_out_and_what_is_paused_is_paused_again_each_day() {
    let noon: Timestamp = "2026-01-02T12:00:00Z".parse().expect("a time");
    let version = "2".to_owned();
    let owed = |state: &str, at: &str, expires: Option<&str>| {
        let status = json!({ "environment": "demo", "state": state, "at": at, "run": "run", "version": "2",
            "expires": expires });
        let status = serde_json::from_value(status).expect("a status");
        super::owed(Some(&status), Some(&version), noon)
    };
    let (morning, evening) = ("2026-01-02T08:00:00Z", "2026-01-02T20:00:00Z");
    assert_eq!(owed("ready", "2026-01-02T07:00:00Z", Some(morning)), Some("expire"));
    assert_eq!(owed("ready", "2026-01-02T07:00:00Z", Some(evening)), None);
    // Somebody woke it since.
    assert_eq!(owed("ready", "2026-01-02T09:00:00Z", Some(morning)), None);
    assert_eq!(owed("paused", "2026-01-02T09:00:00Z", Some(morning)), None);
    assert_eq!(owed("paused", "2026-01-01T11:00:00Z", None), Some("pause"));
}

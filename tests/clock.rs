//! What happens to environments by the clock: they expire, are paused, and wake again.

use std::{
    process::Command,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::types::BucketVersioningStatus;
use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::{BUCKET, Local};

/// One task on Fargate in an environment that expires.
fn small(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
services:
  app: {{ placement: public, image: nginx:1 }}
{rest}
"
    )
}

/// The schedule of an environment's end.
fn schedule(local: &Local, name: &str) -> Option<(String, Value)> {
    scheduled(local, name, "expire")
}

/// A schedule of an environment, as Scheduler tells of it: when it is due, and what it asks.
fn scheduled(local: &Local, name: &str, schedule: &str) -> Option<(String, Value)> {
    let found: Value = serde_json::from_slice(&scheduler(local, "get-schedule", name, schedule)).ok()?;
    let input = found["Target"]["Input"].as_str().unwrap_or_default();
    let input = serde_json::from_str(input).expect("JSON");
    Some((found["ScheduleExpression"].as_str()?.to_owned(), input))
}

/// What Scheduler answers to an action on a schedule of an environment.
fn scheduler(local: &Local, action: &str, name: &str, schedule: &str) -> Vec<u8> {
    let group = format!("plinth-{name}");
    let output = Command::new(tests::aws())
        .args(["scheduler", action, "--name", schedule, "--group-name", &group])
        .env("AWS_ENDPOINT_URL", local.endpoint())
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output();
    output.expect("aws").stdout
}

fn is(state: EnvironmentState) -> impl Fn(&Status) -> bool {
    move |status| status.state == state
}

/// Waits until no run holds the lock, and pauses or wakes the environment by hand.
async fn by_hand(local: &Local, input: &Value, name: &str, state: EnvironmentState) -> Status {
    assert!(local.is_free(name).await);
    let execution = local.start(input).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    local.status(name, is(state)).await
}

#[tokio::test]
async fn an_environment_whose_time_is_over_goes_and_its_spec_with_it() {
    let local = Local::take().await;
    let versioned = local.s3().get_bucket_versioning().bucket(BUCKET).send().await.expect("versioning");
    assert_eq!(versioned.status(), Some(&BucketVersioningStatus::Enabled));
    let before = local.inventory();
    let status = local.ready("brief", &small("brief", "expires: { after: 1h }")).await;
    let (first, input) = schedule(&local, "brief").expect("a schedule");
    assert_eq!(input, json!({ "environment": "brief", "action": "expire" }));
    let moment = status.expires.expect("a moment").strftime("at(%Y-%m-%dT%H:%M:%S)").to_string();
    assert_eq!(first, moment);

    // Who asks before the time gets nothing, and a run by hand leaves the time as it is.
    let execution = local.start(&input).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    let since = local.calls_so_far();
    by_hand(&local, &json!({ "environment": "brief" }), "brief", EnvironmentState::Ready).await;
    assert_eq!(local.writes(since), Vec::<String>::new());

    // A re-upload moves it, also where it says the same.
    tokio::time::sleep(Duration::from_secs(1)).await;
    local.ready("brief", &small("brief", "expires: { after: 1h }")).await;
    let (second, _) = schedule(&local, "brief").expect("a schedule");
    assert!(second > first, "{second} isn't later than {first}");

    local.upload("brief", &small("brief", "expires: { after: 1s }")).await;
    let status = local.status("brief", is(EnvironmentState::Expired)).await;
    assert_eq!((status.version, status.fault), (None, None));
    assert!(local.is_free("brief").await);
    let spec = local.s3().head_object().bucket(BUCKET).key("environments/brief.yaml").send().await;
    assert!(spec.is_err(), "the spec is still there");
    local.same(&before);

    // The event of the deletion came to nothing, and so does a hint that comes late.
    let execution = local.start(&input).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    local.status("brief", is(EnvironmentState::Expired)).await;
}

#[tokio::test]
async fn a_time_that_comes_while_a_run_is_at_work_is_seen_to_when_it_has_ended() {
    let local = Local::take().await;
    let before = local.inventory();
    local.control("POST", "scale", Some(json!({ "scale": 0.05 })));
    // Its time is over long before its tasks run.
    local.upload("haste", &small("haste", "expires: { after: 1s }")).await;
    local.status("haste", is(EnvironmentState::Expired)).await;
    assert!(local.is_free("haste").await);
    local.same(&before);
}

#[tokio::test]
async fn an_environment_whose_schedule_was_lost_is_ended_by_the_sweep() {
    let local = Local::take().await;
    let before = local.inventory();
    let status = local.ready("overdue", &small("overdue", "expires: { after: 60s }")).await;
    scheduler(&local, "delete-schedule", "overdue", "expire");
    assert_eq!(schedule(&local, "overdue"), None);
    local.sweep().await.expect("a sweep");
    let due = SystemTime::from(status.expires.expect("a moment"));
    let state = local.status("overdue", |_| true).await.state;
    assert!(state == EnvironmentState::Ready || due <= SystemTime::now(), "its time isn't over: {state:?}");

    tokio::time::sleep(due.duration_since(SystemTime::now()).unwrap_or_default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    local.sweep().await.expect("a sweep");
    local.status("overdue", is(EnvironmentState::Expired)).await;
    local.same(&before);
}

#[tokio::test]
async fn an_environment_that_is_killed_as_it_expires_goes_all_the_same() {
    for (name, done) in [("killed", true), ("killed-before", false)] {
        let local = Local::take().await;
        let before = local.inventory();
        local.fault(json!({
            "service": "s3", "action": "DeleteObject", "principal": "AcceptFunction",
            "kind": "kill-caller", "done": done,
        }));
        local.upload(name, &small(name, "expires: { after: 1s }")).await;
        local.status(name, is(EnvironmentState::Expired)).await;
        assert!(local.is_free(name).await);
        local.same(&before);
    }
}

/// What can be paused: a service on Fargate that scales, one on instances, and databases of both kinds.
const PAUSES: &str = "
apiVersion: plinth/v1
name: pauses
network: { zones: 2, nat: none }
secrets: { login: { generate: { username: app }, recovery: 0d } }
cluster: { capacity: ec2, instances: { type: t3.small, min: 1, max: 2, placement: public } }
databases:
  aurora:
    engine: aurora-postgresql
    serverless: { min: 1, max: 2 }
    credentials: '${secrets.login}'
    finalSnapshot: false
  plain: { engine: mysql, credentials: '${secrets.login}', finalSnapshot: false }
loadBalancers:
  public: { type: application, scheme: internet-facing, listeners: { http: { port: 80, default: '${services.app}' } } }
jobs: { once: { image: nginx:1, memory: 64 } }
services:
  app: { image: nginx:1, memory: 64, ports: [80], scale: { min: 2, max: 4, cpu: 60 } }
  other: { image: nginx:1, memory: 64 }
checks: ['https://pauses.example.com/']
";

/// How much runs of `pauses`: its tasks, its instances, and the states of its databases.
async fn running(local: &Local) -> (Vec<(i32, i32)>, usize, Vec<String>) {
    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    let described = ecs.describe_services().cluster("pauses").services("pauses-app").services("pauses-other");
    let described = described.send().await.expect("services");
    let tasks = described.services().iter().map(|found| (found.desired_count(), found.running_count()));
    let tasks = tasks.collect();
    let joined = ecs.list_container_instances().cluster("pauses").send().await.expect("instances");
    let inventory = local.inventory();
    let records = inventory.as_array().expect("records").iter();
    let states = records.filter_map(|record| match record["kind"].as_str()? {
        "database" => record["settings"]["DBInstanceStatus"].as_str().map(str::to_owned),
        "database-cluster" => record["settings"]["Status"].as_str().map(str::to_owned),
        _ => None,
    });
    let states = states.collect();
    (tasks, joined.container_instance_arns().len(), states)
}

#[tokio::test]
async fn a_paused_environment_is_at_zero_stays_so_and_wakes_with_its_data() {
    let local = Local::take().await;
    let before = local.inventory();
    let status = local.ready("pauses", PAUSES).await;
    let standing = local.standing("pauses");
    let awake = running(&local).await;
    assert_eq!(awake, (vec![(2, 2), (1, 1)], 1, vec!["available".to_owned(); 3]));

    let pause = json!({ "environment": "pauses", "action": "pause" });
    let paused = by_hand(&local, &pause, "pauses", EnvironmentState::Paused).await;
    assert_eq!((&paused.version, &paused.outputs), (&status.version, &status.outputs));
    let notes: Vec<&String> = paused.steps.iter().flat_map(|step| &step.notes).collect();
    assert_eq!(notes, ["skipped: jobs, targets and checks (the environment is paused)"]);
    let (tasks, instances, databases) = running(&local).await;
    assert_eq!((tasks, instances), (vec![(0, 0), (0, 0)], 0));
    assert_eq!(databases, ["stopped"; 3]);

    // The same again, or an event of the same version, changes nothing.
    let since = local.calls_so_far();
    by_hand(&local, &pause, "pauses", EnvironmentState::Paused).await;
    let event = json!({ "detail": { "object": { "key": "environments/pauses.yaml" } } });
    for hint in [event, json!({ "environment": "pauses", "action": "rebuild" })] {
        let execution = local.start(&hint).await;
        assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    }
    assert_eq!(local.writes(since), Vec::<String>::new());

    let woken = by_hand(&local, &json!({ "environment": "pauses" }), "pauses", EnvironmentState::Ready).await;
    assert_eq!(woken.outputs, status.outputs);
    assert_eq!(running(&local).await, awake);
    let deleted = |call: &String| call.contains(":Delete") || call.contains(":Create");
    let calls = local.writes(since);
    assert!(!calls.iter().any(deleted) && !calls.contains(&"ecs:RunTask".to_owned()), "{calls:#?}");
    assert_eq!(local.plan(PAUSES).await, []);

    // A plain upload wakes it too, and what is paused can be taken away.
    by_hand(&local, &pause, "pauses", EnvironmentState::Paused).await;
    local.ready("pauses", PAUSES).await;
    assert_eq!(running(&local).await, awake);
    let asleep = |record: &str| !record.contains("instance") || record.contains("databases");
    let kept = |records: Vec<String>| records.into_iter().filter(|found| asleep(found)).collect::<Vec<_>>();
    assert_eq!(kept(local.standing("pauses")), kept(standing));
    by_hand(&local, &pause, "pauses", EnvironmentState::Paused).await;
    local.destroy("pauses").await;
    local.same(&before);
}

#[tokio::test]
async fn databases_and_instances_that_take_their_time_to_stop_and_to_start_are_waited_for() {
    let local = Local::take().await;
    local.ready("pauses", PAUSES).await;
    for (input, state, waits) in [
        (
            json!({ "environment": "pauses", "action": "pause" }),
            EnvironmentState::Paused,
            [
                "Aurora cluster (pauses-aurora) is stopping",
                "RDS instance (pauses-plain) is stopping",
                "are going",
            ],
        ),
        (
            json!({ "environment": "pauses" }),
            EnvironmentState::Ready,
            [
                "Aurora cluster (pauses-aurora) is starting",
                "RDS instance (pauses-plain) is starting",
                "of at least 1",
            ],
        ),
    ] {
        assert!(local.is_free("pauses").await);
        local.control("POST", "scale", Some(json!({ "scale": 0.03 })));
        local.start(&input).await;
        local.status("pauses", is(state)).await;
        let said = local.said("pauses").await;
        for wait in waits {
            assert!(
                said.iter().any(|message| message.contains(wait)),
                "nothing waited for \"{wait}\": {said:#?}"
            );
        }
    }
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    local.destroy("pauses").await;
}

#[tokio::test]
async fn an_environment_that_is_to_pause_in_the_end_is_woken_by_hand_and_stays_until_the_next_upload() {
    let local = Local::take().await;
    let version = local.upload("rests", &small("rests", "expires: { after: 1s, then: pause }")).await;
    let paused = local.status("rests", is(EnvironmentState::Paused)).await;
    assert_eq!(paused.version, Some(version));

    by_hand(&local, &json!({ "environment": "rests" }), "rests", EnvironmentState::Ready).await;
    let (due, _) = schedule(&local, "rests").expect("a schedule");
    let now = SystemTime::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(now.elapsed().is_ok_and(|passed| passed.as_secs() >= 3));
    assert_eq!(schedule(&local, "rests").expect("a schedule").0, due);
    local.status("rests", is(EnvironmentState::Ready)).await;
    local.destroy("rests").await;
}

/// What is rebuilt: with data that is protected, and with names that don't come free at once.
fn renewed(rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: renewed
network: {{ zones: 2, nat: none }}
key: {{}}
secrets: {{ login: {{ generate: {{ username: app }} }}, token: {{ generate: {{}} }} }}
services:
  app: {{ placement: public, image: nginx:1, environment: {{ TOKEN: '${{secrets.token}}', DATABASE: '${{databases.main.host}}' }} }}
{rest}
"
    )
}

#[tokio::test]
async fn a_rebuild_by_the_clock_keeps_what_is_protected_and_its_schedule_follows_the_spec() {
    let local = Local::take().await;
    let before = local.inventory();
    let database = |protect: bool| {
        format!(
            "databases: {{ main: {{ engine: mysql, credentials: '${{secrets.login}}', finalSnapshot: false, \
             protect: {protect} }} }}\n"
        )
    };
    let status =
        local.ready("renewed", &renewed(&(database(true) + "schedule: { rebuild: rate(1 minute) }"))).await;
    let (expression, input) = scheduled(&local, "renewed", "rebuild").expect("a schedule");
    assert_eq!(
        (expression.as_str(), &input),
        ("rate(1 minute)", &json!({ "environment": "renewed", "action": "rebuild" }))
    );

    let rebuilt = |status: &Status| status.state == EnvironmentState::Ready && !status.rebuilds.is_empty();
    let after = local.status("renewed", rebuilt).await;
    assert_eq!(after.rebuilds[0].run, after.run);
    assert_ne!(after.run, status.run);
    assert_eq!(after.version, status.version);
    assert_eq!(after.outputs.databases, status.outputs.databases);
    let token = |status: &Status| status.outputs.secrets["token"].arn.clone();
    assert_eq!(token(&after), token(&status), "its name was taken, and it was restored");

    let moved = "schedule: { rebuild: 'cron(0 5 ? * MON-FRI *)', timezone: Europe/London }";
    local.ready("renewed", &renewed(&(database(true) + moved))).await;
    let (expression, _) = scheduled(&local, "renewed", "rebuild").expect("a schedule");
    assert_eq!(expression, "cron(0 5 ? * MON-FRI *)");
    local.ready("renewed", &renewed(&database(false))).await;
    assert_eq!(scheduled(&local, "renewed", "rebuild"), None);
    local.destroy("renewed").await;
    local.same(&before);
}

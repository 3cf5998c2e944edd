//! Whatever order events come in, and whether they come: the newest spec stands, and the lock is free.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use serde_json::json;
use step::{EnvironmentState, Status, lock_key, status_key};
use tests::{BUCKET, Local, MACHINE};

/// One task on Fargate of an image that anybody may pull.
fn small(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
services:
  app: {{ placement: public, image: nginx:1, {rest} }}
"
    )
}

/// The same with a secret that has to be put by hand before its task can start.
fn waiting(name: &str) -> String {
    let service = small(name, "environment: { KEY: '${secrets.key}' }");
    format!("{service}secrets: {{ key: {{ recovery: 0d }} }}\n")
}

/// Every status that was written of an environment, oldest first.
async fn statuses(local: &Local, name: &str) -> Vec<Status> {
    let versions = local.s3().list_object_versions().bucket(BUCKET).prefix(status_key(name)).send().await;
    let mut statuses = Vec::new();
    for version in versions.expect("versions").versions() {
        let object = local.s3().get_object().bucket(BUCKET).key(status_key(name));
        let object = object.version_id(version.version_id().expect("a version")).send().await;
        let bytes = object.expect("an object").body.collect().await.expect("a body").into_bytes();
        statuses.push(serde_json::from_slice::<Status>(&bytes).expect("a status"));
    }
    statuses.sort_by_key(|status| status.at);
    statuses
}

/// The runs that did more than plan.
async fn worked(local: &Local, name: &str) -> Vec<String> {
    let objects = local.s3().list_objects_v2().bucket(BUCKET).prefix(format!("runs/{name}/"));
    let objects: Result<Vec<_>, _> = objects.into_paginator().send().collect().await;
    let mut runs: Vec<String> = objects
        .expect("objects")
        .iter()
        .flat_map(ListObjectsV2Output::contents)
        .filter_map(|object| object.key()?.split_once("/steps/"))
        .filter(|(_, step)| !step.starts_with("plan-"))
        .filter_map(|(run, _)| Some(run.rsplit('/').next()?.to_owned()))
        .collect();
    runs.dedup();
    runs
}

/// How often the machine has been started for an environment.
async fn started(local: &Local, name: &str) -> usize {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).into_paginator().items().send();
    let runs: Result<Vec<_>, _> = listed.collect().await;
    let mut started = 0;
    for run in runs.expect("executions") {
        let described = local.sfn().describe_execution().execution_arn(run.execution_arn).send().await;
        let input = described.expect("an execution").input.unwrap_or_default();
        started += usize::from(input.contains(name));
    }
    started
}

/// The calls of the sweep that write.
fn written(local: &Local, since: u64) -> Vec<String> {
    let calls = local.calls(since);
    let writes = calls.iter().filter(|call| call["function"] == "plinth-sweep" && call["write"] == true);
    writes.map(|call| format!("{}:{}", call["service"], call["action"]).replace('"', "")).collect()
}

#[tokio::test]
async fn of_ten_uploads_within_a_second_the_last_stands_and_the_others_give_way() {
    let local = Local::take().await;
    local.control("POST", "scale", Some(json!({ "scale": 0.02 })));
    let spec = |number: usize| small("burst", &format!("desired: {number}"));
    let begun = std::time::Instant::now();
    let mut last = String::new();
    for number in 1..=10 {
        last = local.upload("burst", &spec(number)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "they took {:?}", begun.elapsed());
    let stands = |status: &Status| status.version.as_ref() == Some(&last) && tests::settled(status);
    let status = local.status("burst", stands).await;
    assert_eq!(status.state, EnvironmentState::Ready, "{:?}", status.fault);
    assert!(local.is_free("burst").await);
    // What comes late finds nothing to do.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(local.status("burst", |_| true).await, status);
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    assert_eq!(local.plan(&spec(10)).await, []);

    let worked = worked(&local, "burst").await;
    assert!((1..=3).contains(&worked.len()), "{worked:?}");
    let statuses = statuses(&local, "burst").await;
    let ends: BTreeMap<&str, EnvironmentState> =
        statuses.iter().map(|status| (status.run.as_str(), status.state)).collect();
    for run in &worked {
        let end = if *run == status.run { EnvironmentState::Ready } else { EnvironmentState::Superseded };
        assert_eq!(ends.get(run.as_str()), Some(&end), "{run}: {ends:?}");
    }
    assert_eq!(ends.values().filter(|end| **end == EnvironmentState::Ready).count(), 1, "{ends:?}");
    local.destroy("burst").await;
}

#[tokio::test]
async fn a_lock_left_by_an_aborted_run_is_taken_over_once_nothing_of_that_run_can_still_work() {
    let local = Local::take().await;
    local.upload("orphan", &waiting("orphan")).await;
    let running = local.status("orphan", |status| status.state == EnvironmentState::Waiting).await;
    let execution = MACHINE.replace("stateMachine", "execution") + ":" + &running.run;
    let sfn = local.sfn();
    let stop = sfn.stop_execution().execution_arn(&execution).send();
    local.unheard("plinth-ended", Box::pin(stop)).await.expect("a stop");
    let lock = step::read::<step::Lock>(&local.s3(), BUCKET, &lock_key("orphan")).await.expect("a lock");
    assert_eq!(lock.execution, execution);
    assert_eq!(local.status("orphan", |_| true).await, running);

    let since = local.calls_so_far();
    assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": [] })));
    assert_eq!(written(&local, since), Vec::<String>::new());

    let ended = std::time::Instant::now();
    local.ready("orphan", &small("orphan", "")).await;
    assert!(ended.elapsed() > Duration::from_secs(50), "taken over after {:?}", ended.elapsed());
    assert!(local.is_free("orphan").await);
    local.destroy("orphan").await;
}

#[tokio::test]
async fn a_finish_that_dies_between_freeing_the_lock_and_starting_the_next_run_starts_it_when_tried_again() {
    let local = Local::take().await;
    local.upload("relay", &waiting("relay")).await;
    local.waiting("relay", "secrets.key has no value").await;
    // Nobody but the run that gives way hears of the newer spec.
    local.fault(json!({
        "kind": "kill-caller", "service": "states", "action": "StartExecution", "done": false,
    }));
    let spec = small("relay", "");
    let version = local.unheard("plinth-spec", Box::pin(local.upload("relay", &spec))).await;
    let settled = |status: &Status| status.version.as_ref() == Some(&version) && tests::settled(status);
    assert_eq!(local.status("relay", settled).await.state, EnvironmentState::Ready);
    assert_eq!(local.control("GET", "faults", None)[0]["times"], 0, "nothing was killed");
    assert!(local.is_free("relay").await);
    local.control("DELETE", "faults", None);
    local.destroy("relay").await;
}

#[tokio::test]
async fn the_sweep_frees_dead_locks_and_makes_good_for_lost_uploads_and_deletions() {
    let local = Local::take().await;
    let before = local.inventory();
    let status = local.ready("swept", &small("swept", "")).await;
    assert!(local.is_free("swept").await);
    let begun = started(&local, "swept").await;
    let nothing = json!({ "freed": [], "started": [] });

    let since = local.calls_so_far();
    assert_eq!(local.sweep().await.as_ref(), Ok(&nothing));
    assert_eq!(written(&local, since), Vec::<String>::new());

    local.leave_a_dead_lock("swept").await;
    let since = local.calls_so_far();
    assert_eq!(local.sweep().await, Ok(json!({ "freed": ["swept"], "started": [] })));
    assert_eq!(written(&local, since), ["s3:DeleteObject"]);
    assert!(local.is_free("swept").await);
    assert_eq!(started(&local, "swept").await, begun);
    assert_eq!(local.status("swept", |_| true).await, status);

    let upload = async { local.upload("swept", &small("swept", "desired: 2")).await };
    let version = local.unheard("plinth-spec", Box::pin(upload)).await;
    local.leave_a_dead_lock("swept").await;
    assert_eq!(started(&local, "swept").await, begun);
    assert_eq!(local.sweep().await, Ok(json!({ "freed": ["swept"], "started": ["swept"] })));
    let settled = |status: &Status| status.version.as_ref() == Some(&version) && tests::settled(status);
    assert_eq!(local.status("swept", settled).await.state, EnvironmentState::Ready);
    assert_eq!(started(&local, "swept").await, begun + 1);
    assert!(local.is_free("swept").await);

    // This time the rule itself calls it, sooner than after an hour.
    local.unheard("plinth-spec", Box::pin(local.delete("swept"))).await;
    let bus = aws_sdk_eventbridge::Client::new(&local.aws);
    let rate = async |rate| {
        bus.put_rule().name("plinth-sweep").schedule_expression(rate).send().await.expect("a rule")
    };
    rate("rate(1 minute)").await;
    let gone = |status: &Status| status.state == EnvironmentState::Destroyed;
    local.status("swept", gone).await;
    rate("rate(1 hour)").await;
    assert!(local.is_free("swept").await);
    local.same(&before);
    assert_eq!(local.sweep().await, Ok(nothing));
}

#[tokio::test]
async fn the_sweep_leaves_what_failed_or_was_rejected_as_it_is() {
    let local = Local::take().await;
    let status = local.apply("spurned", "apiVersion: plinth/v1\nname: spurned\nclutser: {}\n").await;
    assert_eq!(status.state, EnvironmentState::Rejected);
    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    ecs.create_cluster().cluster_name("blocked").send().await.expect("a cluster");
    let failed = local.apply("blocked", &small("blocked", "")).await;
    assert_eq!(failed.state, EnvironmentState::Failed);
    assert!(local.is_free("blocked").await);

    let since = local.calls_so_far();
    assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": [] })));
    assert_eq!(written(&local, since), Vec::<String>::new());
    // Nor would a run that it had started.
    for (name, status) in [("spurned", status), ("blocked", failed)] {
        let run = local.start(&json!({ "environment": name, "action": "sweep" })).await;
        assert_eq!(local.ended(&run).await, "SUCCEEDED");
        assert_eq!(local.status(name, |_| true).await, status);
    }

    // One of two specs is one too many, and once it is gone the other counts.
    let other = local.s3().put_object().bucket(BUCKET).key("environments/spurned.json");
    other.body(b"{}".to_vec().into()).send().await.expect("an upload");
    let several =
        |status: &Status| status.fault.as_ref().is_some_and(|fault| fault.message.contains("several"));
    let status = local.status("spurned", several).await;
    assert_eq!(status.state, EnvironmentState::Rejected);
    assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": [] })));
    let less = local.s3().delete_object().bucket(BUCKET).key("environments/spurned.json").send();
    local.unheard("plinth-spec", Box::pin(less)).await.expect("a deletion");
    assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": ["spurned"] })));
    local.status("spurned", |status| !status.faults.is_empty()).await;

    local.destroy("spurned").await;
    ecs.delete_cluster().cluster("blocked").send().await.expect("a deletion");
    local.destroy("blocked").await;
}

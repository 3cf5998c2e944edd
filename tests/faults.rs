//! Everything going wrong: each call that writes is lost, refused or its function's last, once; then the
//! same environment stands and goes as if nothing had happened.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use step::EnvironmentState;
use tests::Local;

/// Uploads until the environment is ready: a run may give up after too many faults, and the next goes
/// on where it stopped.
async fn until_ready(local: &Local, name: &str) -> usize {
    for attempt in 1..=10 {
        let status = local.apply(name, &tests::everything(name)).await;
        match status.state {
            EnvironmentState::Ready => return attempt,
            EnvironmentState::Failed => assert!(local.is_free(name).await),
            state => panic!("{state:?}: {:?}", status.fault),
        }
    }
    panic!("{name} isn't ready after ten runs");
}

async fn until_gone(local: &Local, name: &str) {
    local.delete(name).await;
    let mut status = local.status(name, |status| status.version.is_none() && tests::settled(status)).await;
    for _ in 1..10 {
        if status.state == EnvironmentState::Destroyed {
            return;
        }
        let before = status.run.clone();
        local.start(&json!({ "environment": name })).await;
        status = local.status(name, |status| status.run != before && tests::settled(status)).await;
    }
    panic!("{name} isn't gone after ten runs: {:?}", status.fault);
}

/// The calls that a clean life of the environment writes with, each once, and what stands meanwhile.
async fn clean(local: &Local, name: &str) -> (BTreeSet<String>, Vec<String>) {
    let since = local.calls_so_far();
    local.ready(name, &tests::everything(name)).await;
    let standing = local.standing(name);
    local.destroy(name).await;
    (local.writes(since).into_iter().collect(), standing)
}

/// Lives through the fault at the first of each of the calls.
async fn lives_through(name: &str, fault: Value) {
    let local = Local::take().await;
    local.lay_out(&tests::everything(name));
    let before = local.inventory();
    let (calls, standing) = clean(&local, name).await;
    local.same(&before);
    assert!(calls.len() > 90, "{calls:#?}");
    for call in &calls {
        let (service, action) = call.split_once(':').expect("a call");
        let mut fault = fault.clone();
        fault["service"] = service.into();
        fault["action"] = action.into();
        local.fault(fault);
    }
    until_ready(&local, name).await;
    assert_eq!(local.standing(name), standing);
    until_gone(&local, name).await;
    local.same(&before);
}

#[tokio::test]
async fn a_lost_answer_to_each_call_doubles_and_leaves_nothing() {
    lives_through("lost", json!({ "kind": "lost-answer" })).await;
}

#[tokio::test]
async fn a_function_killed_after_each_call_doubles_and_leaves_nothing() {
    lives_through("killed", json!({ "kind": "kill-caller" })).await;
}

#[tokio::test]
async fn a_function_killed_before_each_call_leaves_nothing_out() {
    lives_through("early", json!({ "kind": "kill-caller", "done": false })).await;
}

#[tokio::test]
async fn being_asked_to_slow_down_at_each_call_is_waited_out() {
    lives_through("slow", json!({ "kind": "throttle", "times": 4 })).await;
}

#[tokio::test]
async fn a_run_whose_functions_are_killed_between_two_calls_ends_ready() {
    let local = Local::take().await;
    local.lay_out(&tests::everything("between"));
    for (service, action) in [
        ("ec2", "CreateVpc"),
        ("elasticloadbalancing", "CreateTargetGroup"),
        ("ecs", "RegisterTaskDefinition"),
    ] {
        local.fault(json!({ "kind": "kill-caller", "service": service, "action": action }));
    }
    let since = local.calls_so_far();
    local.ready("between", &tests::everything("between")).await;
    assert_eq!(local.writes(since).iter().filter(|call| *call == "ec2:CreateVpc").count(), 1);
    local.destroy("between").await;
}

//! Everything going wrong: each call that writes is lost, refused or its function's last, once; then the
//! same environment stands and goes as if nothing had happened.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use step::EnvironmentState;
use tests::Local;
use tokio::sync::OnceCell;

/// Uploads until the environment is ready: a run may give up after too many faults, and the next goes
/// on where it stopped.
async fn until_ready(local: &Local, name: &str, spec: &str) {
    for _ in 1..=10 {
        let status = local.apply(name, spec).await;
        match status.state {
            EnvironmentState::Ready => return,
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

/// A life without faults: the calls that it writes with, each once, and what stands meanwhile.
struct Clean {
    calls: BTreeSet<String>,
    standing: Vec<String>,
}

/// What all lives with faults are held against, lived once.
async fn clean() -> &'static Clean {
    static CLEAN: OnceCell<Clean> = OnceCell::const_new();
    let live = async || {
        let (local, name) = (Local::take().await, "clean");
        local.lay_out(&tests::everything(name));
        let (before, since) = (local.inventory(), local.calls_so_far());
        local.ready(name, &tests::everything(name)).await;
        let standing = standing(&local, name);
        local.destroy(name).await;
        local.same(&before);
        let calls: BTreeSet<String> = local.writes(since).into_iter().collect();
        assert!(calls.len() > 90, "{calls:#?}");
        Clean { calls, standing }
    };
    CLEAN.get_or_init(live).await
}

/// What stands, whatever the environment's name.
fn standing(local: &Local, name: &str) -> Vec<String> {
    let mut standing: Vec<String> =
        local.standing(name).iter().map(|found| found.replace(name, "NAME")).collect();
    standing.sort();
    standing
}

/// Orders the fault at the first of each of the calls.
fn strike(local: &Local, fault: &Value, calls: &BTreeSet<String>) {
    for call in calls {
        let (service, action) = call.split_once(':').expect("a call");
        let mut fault = fault.clone();
        fault["service"] = service.into();
        fault["action"] = action.into();
        local.fault(fault);
    }
}

/// Lives through the fault at the first of each of the calls that a clean life writes with.
async fn lives_through(name: &str, fault: Value) {
    let clean = clean().await;
    let local = Local::take().await;
    let spec = tests::everything(name);
    local.lay_out(&spec);
    let before = local.inventory();
    strike(&local, &fault, &clean.calls);
    local.watch(name);
    until_ready(&local, name, &spec).await;
    local.unbroken();
    assert_eq!(standing(&local, name), clean.standing);
    until_gone(&local, name).await;
    local.same(&before);
}

/// A service behind a rule that is renamed and listens elsewhere; a service beside it that listens elsewhere, too; an API
/// whose link moves from one balancer to another, and one of whose routes another takes the place of.
fn balanced(name: &str, service: &str, port: u16) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none }}
loadBalancers:
  outer:
    type: application
    scheme: internet-facing
    listeners:
      http: {{ port: 80, default: '${{services.side}}', rules: {{ all: {{ paths: [/app], to: '${{services.{service}}}' }} }} }}
  inner: {{ type: network, scheme: internal, listeners: {{ tcp: {{ port: 80, default: '${{services.side}}' }} }} }}
  of-{service}: {{ type: network, scheme: internal, listeners: {{ tcp: {{ port: 80, default: '${{services.side}}' }} }} }}
apis: {{ qa: {{ link: '${{loadBalancers.of-{service}}}', routes: {{ GET /: {{}}, GET /{service}: {{}} }} }} }}
services:
  {service}: {{ placement: public, image: 'nginx:{port}', ports: [{port}] }}
  side: {{ placement: public, image: 'nginx:{port}', ports: [{port}] }}
"
    )
}

#[tokio::test]
async fn a_change_whose_functions_are_killed_cuts_nothing_and_comes_to_its_end() {
    let local = Local::take().await;
    let (name, before) = ("deadly", local.inventory());
    let (old, new) = (balanced(name, "app", 80), balanced(name, "web", 8080));
    local.ready(name, &old).await;
    let standing = local.standing(name);
    local.watch(name);
    let since = local.calls_so_far();
    local.ready(name, &new).await;
    // The way back takes the same calls.
    strike(&local, &json!({ "kind": "kill-caller" }), &local.writes(since).into_iter().collect());
    until_ready(&local, name, &old).await;
    local.unbroken();
    assert_eq!(local.standing(name), standing);
    local.control("DELETE", "faults", None);
    local.destroy(name).await;
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

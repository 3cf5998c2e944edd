//! Nothing that serves is cut before what takes its place serves.

use aws_sdk_ecs::Client as Ecs;
use aws_sdk_elasticloadbalancingv2::{Client as Elb, types::TargetHealthStateEnum};
use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::Local;

/// A service behind a balancer.
fn behind(name: &str, service: &str, port: u16, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none }}
loadBalancers:
  front:
    type: application
    scheme: internet-facing
    listeners: {{ main: {{ port: 80, default: '${{services.{service}}}'{rest} }} }}
services: {{ {service}: {{ placement: public, image: nginx:1, ports: [{port}] }} }}
"
    )
}

/// Watches an environment while another spec is applied to it, and answers how that ended.
async fn changed(local: &Local, name: &str, spec: &str) -> Status {
    local.watch(name);
    let status = local.apply(name, spec).await;
    local.unbroken();
    status
}

/// The same, where nothing else than `ready` will do, and after which nothing is left to be done.
async fn settles(local: &Local, name: &str, spec: &str) -> Status {
    let status = changed(local, name, spec).await;
    assert_eq!(status.state, EnvironmentState::Ready, "{:?} {:?}", status.fault, status.faults);
    assert_eq!(local.plan(spec).await, []);
    status
}

/// The calls of these names that functions made, in their order.
fn order(local: &Local, since: u64, names: &[&str]) -> Vec<String> {
    let calls = local.calls(since);
    let made = calls.iter().filter(|call| call["function"].is_string() && call["error"].is_null());
    let actions = made.filter_map(|call| call["action"].as_str());
    actions.filter(|action| names.contains(action)).map(str::to_owned).collect()
}

/// The settings of what is of this kind in an environment.
fn settings(local: &Local, name: &str, kind: &str) -> Vec<Value> {
    let inventory = local.inventory();
    let records = inventory.as_array().expect("records").iter();
    let ours =
        records.filter(|record| record["kind"] == kind && record["tags"]["plinth:environment"] == name);
    ours.cloned().collect()
}

/// The ports at which a target group has healthy targets.
async fn healthy(local: &Local, group: &str) -> Vec<i32> {
    let elb = Elb::new(&local.aws);
    let described = elb.describe_target_health().target_group_arn(group).send().await.expect("targets");
    let well = described.target_health_descriptions().iter().filter(|found| {
        found.target_health().and_then(|health| health.state()) == Some(&TargetHealthStateEnum::Healthy)
    });
    well.filter_map(|found| found.target()?.port()).collect()
}

#[tokio::test]
async fn a_service_gets_another_port_while_it_serves() {
    let local = Local::take().await;
    let before = local.ready("ports", &behind("ports", "app", 80, "")).await;
    let since = local.calls_so_far();
    let after = settles(&local, "ports", &behind("ports", "app", 8080, "")).await;
    // The target group is the same: ECS moves its targets one by one. The old port closes last.
    let groups = |status: &Status| status.outputs.load_balancers["front"].targets.clone();
    assert_eq!(groups(&before), groups(&after));
    assert_eq!(healthy(&local, &groups(&after)["app"]).await, [8080]);
    let steps = ["UpdateService", "ModifyListener", "RevokeSecurityGroupIngress"];
    assert_eq!(order(&local, since, &steps), [steps[0], steps[2], steps[2]]);
    local.destroy("ports").await;
}

#[tokio::test]
async fn when_the_tasks_at_another_port_die_what_ran_before_goes_on_serving() {
    let local = Local::take().await;
    let spec = behind("dies", "app", 80, "");
    let before = local.ready("dies", &spec).await;
    local.control("POST", "exits", Some(json!({ "family": "dies-app", "code": 3 })));
    let status = changed(&local, "dies", &behind("dies", "app", 8080, "")).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let message = status.fault.expect("a fault").message;
    assert!(message.contains("exited with 3"), "{message}");
    assert!(message.contains("what ran before still serves, with 1 task"), "{message}");
    assert_eq!(healthy(&local, &before.outputs.load_balancers["front"].targets["app"]).await, [80]);
    local.control("POST", "exits", Some(json!({ "family": "dies-app", "code": null })));
    local.destroy("dies").await;
}

#[tokio::test]
async fn a_service_gets_another_name_while_it_serves() {
    let local = Local::take().await;
    let before = local.inventory();
    local.ready("names", &behind("names", "web", 80, "")).await;
    let since = local.calls_so_far();
    settles(&local, "names", &behind("names", "site", 80, "")).await;
    // Once beside the old one, and once in its place.
    let steps = ["CreateService", "ModifyListener", "DeleteService", "DeleteTargetGroup"];
    assert_eq!(order(&local, since, &steps), [steps[1], steps[0], steps[1], steps[2], steps[3]]);
    assert_eq!(settings(&local, "names", "service").len(), 1);
    local.destroy("names").await;
    local.same(&before);
}

#[tokio::test]
async fn when_a_renamed_service_dies_traffic_stays_on_the_old_one() {
    let local = Local::take().await;
    let (old, new) = (behind("stays", "web", 80, ""), behind("stays", "site", 80, ""));
    local.ready("stays", &old).await;
    local.control("POST", "exits", Some(json!({ "family": "stays-site", "code": 3 })));
    let status = changed(&local, "stays", &new).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    // Back to the old file, which takes away what the new one had begun.
    settles(&local, "stays", &old).await;
    assert_eq!(settings(&local, "stays", "target-group").len(), 1);
    // And once more to the new one, mended.
    local.control("POST", "exits", Some(json!({ "family": "stays-site", "code": null })));
    settles(&local, "stays", &new).await;
    local.destroy("stays").await;
}

#[tokio::test]
async fn a_service_moves_to_another_target_group_while_it_serves() {
    let local = Local::take().await;
    let first = behind("moves", "app", 80, "");
    local.ready("moves", &first).await;
    let said =
        first.replace("ports: [80]", "ports: [80, 9090]").replace("services.app}", "services.app.9090}");
    settles(&local, "moves", &said).await;
    let ecs = Ecs::new(&local.aws);
    let described = ecs.describe_services().cluster("moves").services("moves-app").send().await;
    let service = described.expect("services").services.expect("services").remove(0);
    let ports: Vec<_> = service
        .load_balancers()
        .iter()
        .filter_map(aws_sdk_ecs::types::LoadBalancer::container_port)
        .collect();
    assert_eq!(ports, [9090]);
    assert_eq!(settings(&local, "moves", "target-group").len(), 1);
    local.destroy("moves").await;
}

#[tokio::test]
async fn a_new_rule_takes_no_request_before_its_service_runs() {
    let local = Local::take().await;
    let first = behind("rules", "app", 80, "");
    local.ready("rules", &first).await;
    let service = "services: { api: { placement: public, image: nginx:1, ports: [81] }, app:";
    let rule = ", rules: { api: { paths: [/api/*], to: '${services.api}' } }";
    let second = behind("rules", "app", 80, rule).replace("services: { app:", service);
    let since = local.calls_so_far();
    settles(&local, "rules", &second).await;
    let steps = ["CreateRule", "CreateService", "ModifyRule"];
    assert_eq!(order(&local, since, &steps), steps);
    // A dropped rule goes before the service that it leads to, and the port last.
    let since = local.calls_so_far();
    settles(&local, "rules", &first).await;
    let steps = ["DeleteRule", "DeleteService", "RevokeSecurityGroupIngress"];
    assert_eq!(order(&local, since, &steps)[..3], steps);
    local.destroy("rules").await;
}

#[tokio::test]
async fn a_balancer_becomes_internal_while_it_serves() {
    let local = Local::take().await;
    let before = local.inventory();
    let record = "dns: { in.inner.test: { private: true, records: { app: '${loadBalancers.front}' } } }\n";
    let first = format!("{}{record}", behind("inner", "app", 80, ""));
    local.ready("inner", &first).await;
    let since = local.calls_so_far();
    settles(&local, "inner", &first.replace("internet-facing", "internal")).await;
    let steps = ["CreateLoadBalancer", "ChangeResourceRecordSets", "DeleteLoadBalancer"];
    assert_eq!(order(&local, since, &steps), steps);
    let steps = ["DeleteLoadBalancer", "RevokeSecurityGroupIngress"];
    assert_eq!(order(&local, since, &steps), steps, "the internet is shut out of the new one's group last");
    local.destroy("inner").await;
    local.same(&before);
}

#[tokio::test]
async fn the_port_of_a_listener_that_goes_is_closed_after_it() {
    let local = Local::take().await;
    let first = behind("close", "app", 80, "");
    let two = first.replace("listeners: {", "listeners: { more: { port: 8080, default: '${services.app}' },");
    local.ready("close", &two).await;
    let since = local.calls_so_far();
    settles(&local, "close", &first).await;
    let steps = ["DeleteListener", "RevokeSecurityGroupIngress"];
    assert_eq!(order(&local, since, &steps), steps);
    local.destroy("close").await;
}

#[tokio::test]
async fn an_api_serves_over_its_old_link_until_the_new_one_leads_to_what_runs() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = |balancer: &str, port: u16, route: &str| {
        format!(
            "
apiVersion: plinth/v1
name: links
network: {{ nat: none }}
loadBalancers:
  {balancer}: {{ type: network, scheme: internal, listeners: {{ main: {{ port: 80, default: '${{services.app}}' }} }} }}
services: {{ app: {{ placement: public, image: nginx:1, ports: [{port}] }} }}
apis: {{ qa: {{ link: '${{loadBalancers.{balancer}}}', routes: {{ GET /: {{}}, GET /{route}: {{}} }} }} }}
"
        )
    };
    local.ready("links", &spec("one", 80, "old")).await;
    let since = local.calls_so_far();
    settles(&local, "links", &spec("two", 8080, "new")).await;
    // The service is behind both balancers, and the stage serves the old route beside the new one, until the end.
    let [update, stage, link, balancer] =
        ["UpdateService", "UpdateStage", "DeleteVpcLink", "DeleteLoadBalancer"];
    let steps = [update, stage, stage, link, update, balancer];
    assert_eq!(order(&local, since, &[update, stage, link, balancer]), steps);
    local.destroy("links").await;
    local.same(&before);
}

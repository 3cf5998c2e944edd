use aws_sdk_elasticloadbalancingv2::{
    operation::{
        add_tags::AddTagsOutput, create_listener::CreateListenerOutput,
        delete_listener::DeleteListenerOutput, describe_listeners::DescribeListenersOutput,
        describe_load_balancers::DescribeLoadBalancersOutput, describe_tags::DescribeTagsOutput,
        modify_listener::ModifyListenerOutput,
    },
    types::{LoadBalancerState, TagDescription},
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::{LoadBalancerOutput, Outputs};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app: { image: nginx, ports: [8080] }
";

fn context(operation: Operation) -> Context {
    let output = LoadBalancerOutput {
        arn: "arn:inner".to_owned(),
        host: "inner.example".to_owned(),
        targets: [("app-8080".to_owned(), "arn:app".to_owned())].into(),
    };
    let outputs = Outputs { load_balancers: [("inner".to_owned(), output)].into(), ..Outputs::default() };
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), outputs)
}

fn listener(port: i32, target: &str) -> Listener {
    Listener::builder()
        .listener_arn(format!("arn:listener-{port}"))
        .port(port)
        .protocol(ProtocolEnum::Tcp)
        .default_actions(Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(target).build())
        .build()
}

fn described(listeners: Vec<Listener>) -> Rule {
    mock!(Client::describe_listeners).then_output(move || {
        DescribeListenersOutput::builder().set_listeners(Some(listeners.clone())).build()
    })
}

fn balancer(state: LoadBalancerStateEnum) -> Rule {
    mock!(Client::describe_load_balancers).then_output(move || {
        let balancer = LoadBalancer::builder()
            .load_balancer_arn("arn:inner")
            .load_balancer_name("demo-inner")
            .r#type(LoadBalancerTypeEnum::Network)
            .created_time(DateTime::from_secs(Timestamp::now().as_second()))
            .state(LoadBalancerState::builder().code(state.clone()).build());
        DescribeLoadBalancersOutput::builder().load_balancers(balancer.build()).build()
    })
}

/// The tags of one that is asked for: those of this address.
fn tagged((arn, address): (&'static str, &str)) -> Rule {
    let tags = context(Operation::Plan).owner().tags(address);
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    let description = TagDescription::builder().resource_arn(arn).set_tags(Some(tags)).build();
    mock!(Client::describe_tags)
        .match_requests(move |request| request.resource_arns().contains(&arn.to_owned()))
        .then_output(move || DescribeTagsOutput::builder().tag_descriptions(description.clone()).build())
}

fn untagged() -> Rule {
    mock!(Client::describe_tags).then_output(|| DescribeTagsOutput::builder().build())
}

const MAIN: (&str, &str) = ("arn:listener-80", "loadBalancers.inner.listeners.main");
const INNER: (&str, &str) = ("arn:inner", "loadBalancers.inner");

/// A client that refuses every call for which there is no rule.
fn client(rules: &[&Rule]) -> Client {
    mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, rules)
}

#[tokio::test]
async fn a_missing_listener_is_created_on_a_balancer_that_is_then_waited_for() {
    let create = mock!(Client::create_listener)
        .match_requests(|request| {
            request.port() == Some(80)
                && request.default_actions()[0].target_group_arn() == Some("arn:app")
                && request.tags().iter().any(|tag| tag.value() == Some("loadBalancers.inner.listeners.main"))
        })
        .then_output(|| CreateListenerOutput::builder().build());
    let rules = [&described(vec![]), &create, &balancer(LoadBalancerStateEnum::Provisioning)];
    let error = ensure(&client(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater", "{error}");
    assert!(error.to_string().starts_with("load balancer (demo-inner) is provisioning"), "{error}");
    assert_eq!(create.num_calls(), 1);
}

#[tokio::test]
async fn a_listener_that_matches_is_left_alone() {
    let found = described(vec![listener(80, "arn:app")]);
    let rules = [&found, &tagged(MAIN), &balancer(LoadBalancerStateEnum::Active)];
    ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
}

#[tokio::test]
async fn a_target_that_drifted_is_planned_and_put_back() {
    let drifted = described(vec![listener(80, "arn:elsewhere")]);
    let read = [&drifted, &tagged(MAIN), &tagged(INNER), &balancer(LoadBalancerStateEnum::Active)];
    let planned = plan(&client(&read), &context(Operation::Plan)).await.expect("an answer");
    let field =
        Field { name: "default".into(), found: Some("arn:elsewhere".into()), wanted: "arn:app".into() };
    assert_eq!(planned.changes, Vec::from_iter(Change::update(MAIN.1, vec![field])));

    let modify = mock!(Client::modify_listener)
        .match_requests(|request| request.default_actions()[0].target_group_arn() == Some("arn:app"))
        .then_output(|| ModifyListenerOutput::builder().build());
    let rules = [read[0], read[1], read[2], read[3], &modify];
    ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(modify.num_calls(), 1);
}

#[tokio::test]
async fn a_listener_that_got_another_name_in_the_spec_is_kept_and_tagged_anew() {
    let renamed = tagged(("arn:listener-80", "loadBalancers.inner.listeners.old"));
    let tag = mock!(Client::add_tags).then_output(|| AddTagsOutput::builder().build());
    let found = described(vec![listener(80, "arn:app")]);
    let rules = [&found, &renamed, &tag, &balancer(LoadBalancerStateEnum::Active)];
    ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(tag.num_calls(), 1);
}

#[tokio::test]
async fn a_listener_of_somebody_else_is_refused() {
    let rules = [&described(vec![listener(80, "arn:app")]), &untagged()];
    let error = ensure(&client(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_balancer_that_failed_fails_the_run() {
    let found = described(vec![listener(80, "arn:app")]);
    let rules = [&found, &tagged(MAIN), &balancer(LoadBalancerStateEnum::Failed)];
    let error = ensure(&client(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
}

#[tokio::test]
async fn a_dropped_listener_is_planned_and_deleted_and_one_that_is_not_ours_stays() {
    let delete = mock!(Client::delete_listener)
        .match_requests(|request| request.listener_arn() == Some("arn:listener-80"))
        .then_output(|| DeleteListenerOutput::builder().build());
    let found = described(vec![listener(80, "arn:app"), listener(81, "arn:theirs")]);
    let rules = [&balancer(LoadBalancerStateEnum::Active), &found, &tagged(MAIN), &tagged(INNER), &delete];
    let dropped = |operation| step::test::context(operation, Spec::empty("demo"), Outputs::default());
    let planned = plan(&client(&rules), &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!((planned.changes.len(), delete.num_calls()), (1, 0));
    prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(delete.num_calls(), 1);
}

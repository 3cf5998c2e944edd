use aws_sdk_elasticloadbalancingv2::{
    operation::{
        add_listener_certificates::AddListenerCertificatesOutput, add_tags::AddTagsOutput,
        create_listener::CreateListenerOutput, create_rule::CreateRuleOutput,
        delete_listener::DeleteListenerOutput, delete_rule::DeleteRuleOutput,
        describe_listener_certificates::DescribeListenerCertificatesOutput,
        describe_listeners::DescribeListenersOutput, describe_load_balancers::DescribeLoadBalancersOutput,
        describe_rules::DescribeRulesOutput, describe_tags::DescribeTagsOutput,
        modify_listener::ModifyListenerOutput, modify_rule::ModifyRuleOutput,
        remove_listener_certificates::RemoveListenerCertificatesOutput,
        set_rule_priorities::SetRulePrioritiesOutput,
    },
    types::{
        LoadBalancerState, PathPatternConditionConfig, Rule as ListenerRule, RuleCondition, TagDescription,
    },
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

/// The tags of several, which may be asked for together.
fn all_tagged(all: &[(&'static str, &'static str)]) -> Rule {
    let all = all.to_vec();
    let owner = context(Operation::Plan).owner();
    mock!(Client::describe_tags).then_compute_output(move |request| {
        let asked = all.iter().filter(|(arn, _)| request.resource_arns().iter().any(|asked| asked == arn));
        let description = |(arn, address): &(&str, &str)| {
            TagDescription::builder()
                .resource_arn(*arn)
                .set_tags(Some(tag_list(&owner.tags(address))))
                .build()
        };
        let descriptions = asked.map(description).collect();
        DescribeTagsOutput::builder().set_tag_descriptions(Some(descriptions)).build()
    })
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
        .then_output(|| CreateListenerOutput::builder().listeners(listener(80, "arn:app")).build());
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

const WEB: &str = "
apiVersion: plinth/v1
name: demo
certificates: { one: { domain: one.example.com }, two: { domain: two.example.com } }
loadBalancers:
  public:
    type: application
    scheme: internet-facing
    listeners:
      http: { port: 80, redirect: https }
      https:
        port: 443
        certificates: ['${certificates.one}', '${certificates.two}']
        default: '${services.app}'
        rules:
          api: { paths: [/api/*], to: '${services.app.9090}' }
          host: { hosts: [two.example.com], to: '${services.app}', priority: 7 }
services:
  app: { image: nginx, ports: [8080, 9090] }
";

fn web(operation: Operation) -> Context {
    let targets = [("app-8080", "arn:app"), ("app-9090", "arn:api")];
    let output = LoadBalancerOutput {
        arn: "arn:public".to_owned(),
        targets: targets.map(|(word, arn)| (word.to_owned(), arn.to_owned())).into(),
        ..LoadBalancerOutput::default()
    };
    let certificate = |arn: &str| step::CertificateOutput { arn: arn.to_owned(), records: Vec::new() };
    let certificates =
        [("one".to_owned(), certificate("arn:one")), ("two".to_owned(), certificate("arn:two"))];
    let outputs = Outputs {
        load_balancers: [("public".to_owned(), output)].into(),
        certificates: certificates.into(),
        ..Outputs::default()
    };
    step::test::context(operation, spec::parse(WEB, None).expect("a spec"), outputs)
}

const HTTP: (&str, &str) = ("arn:listener-80", "loadBalancers.public.listeners.http");
const HTTPS: (&str, &str) = ("arn:listener-443", "loadBalancers.public.listeners.https");
const API: (&str, &str) = ("arn:rule-api", "loadBalancers.public.listeners.https.rules.api");
const HOST: (&str, &str) = ("arn:rule-host", "loadBalancers.public.listeners.https.rules.host");

/// The two listeners as AWS describes them when they are what the spec says.
fn web_listeners() -> Vec<Listener> {
    let redirect = RedirectActionConfig::builder()
        .protocol("HTTPS")
        .status_code(RedirectActionStatusCodeEnum::Http301)
        .build();
    let redirect = Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build();
    let certificate = Certificate::builder().certificate_arn("arn:one").is_default(true).build();
    let of = |arn: &str, port, protocol| Listener::builder().listener_arn(arn).port(port).protocol(protocol);
    vec![
        of(HTTP.0, 80, ProtocolEnum::Http).default_actions(redirect).build(),
        of(HTTPS.0, 443, ProtocolEnum::Https)
            .default_actions(forward("arn:app"))
            .certificates(certificate)
            .build(),
    ]
}

fn further_certificates(arns: &'static [&'static str]) -> Rule {
    let certificate = |arn: &&str| Certificate::builder().certificate_arn(*arn).is_default(false).build();
    mock!(Client::describe_listener_certificates).then_output(move || {
        DescribeListenerCertificatesOutput::builder()
            .set_certificates(Some(arns.iter().map(certificate).collect()))
            .build()
    })
}

fn path_rule(arn: &str, priority: i32, path: &str) -> ListenerRule {
    let config = PathPatternConditionConfig::builder().values(path).build();
    let condition = RuleCondition::builder().field("path-pattern").path_pattern_config(config).build();
    let rule = ListenerRule::builder().rule_arn(arn).priority(priority.to_string()).is_default(false);
    rule.conditions(condition).actions(forward("arn:api")).build()
}

fn host_rule() -> ListenerRule {
    let config =
        aws_sdk_elasticloadbalancingv2::types::HostHeaderConditionConfig::builder().values("two.example.com");
    let condition = RuleCondition::builder().field("host-header").host_header_config(config.build()).build();
    let rule = ListenerRule::builder().rule_arn(HOST.0).priority("7").is_default(false);
    rule.conditions(condition).actions(forward("arn:app")).build()
}

/// The rules of the listener on port 443; the other has none.
fn rules_of(rules: Vec<ListenerRule>) -> Rule {
    mock!(Client::describe_rules).then_compute_output(move |request| {
        let rules = if request.listener_arn() == Some(HTTPS.0) { rules.clone() } else { Vec::new() };
        DescribeRulesOutput::builder().set_rules(Some(rules)).build()
    })
}

#[tokio::test]
async fn a_redirect_certificates_and_rules_that_match_are_left_alone_and_planned_as_nothing() {
    let rules = [
        &described(web_listeners()),
        &all_tagged(&[HTTP, HTTPS, API, HOST]),
        &further_certificates(&["arn:two"]),
        &rules_of(vec![path_rule(API.0, 8, "/api/*"), host_rule()]),
        &balancer(LoadBalancerStateEnum::Active),
    ];
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    let planned = plan(&client(&rules), &web(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn missing_listeners_are_created_with_their_redirect_certificates_and_rules() {
    let create = |port: i32, arn: &'static str| {
        mock!(Client::create_listener)
            .match_requests(move |request| {
                let action = &request.default_actions()[0];
                let redirects =
                    action.redirect_config().and_then(|config| config.protocol()) == Some("HTTPS");
                let certificate = request.certificates().first().and_then(Certificate::certificate_arn);
                request.port() == Some(port)
                    && redirects == (port == 80)
                    && certificate == (port == 443).then_some("arn:one")
            })
            .then_output(move || {
                let made = Listener::builder().listener_arn(arn).build();
                CreateListenerOutput::builder().listeners(made).build()
            })
    };
    let (http, https) = (create(80, HTTP.0), create(443, HTTPS.0));
    let add = mock!(Client::add_listener_certificates)
        .match_requests(|request| request.certificates()[0].certificate_arn() == Some("arn:two"))
        .then_output(|| AddListenerCertificatesOutput::builder().build());
    let rule = |priority: i32, address: &'static str| {
        mock!(Client::create_rule)
            .match_requests(move |request| {
                request.priority() == Some(priority)
                    && request.tags().iter().any(|tag| tag.value() == Some(address))
            })
            .then_output(|| CreateRuleOutput::builder().build())
    };
    let (api, host) = (rule(8, API.1), rule(7, HOST.1));
    let rules = [
        &described(vec![]),
        &http,
        &https,
        &further_certificates(&[]),
        &add,
        &rules_of(vec![]),
        &api,
        &host,
        &balancer(LoadBalancerStateEnum::Active),
    ];
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    let calls = [&http, &https, &add, &api, &host].map(Rule::num_calls);
    assert_eq!(calls, [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_rule_and_a_certificate_that_drifted_are_planned_and_put_back_and_a_dropped_rule_goes() {
    let old = ("arn:rule-old", "loadBalancers.public.listeners.https.rules.old");
    let found = rules_of(vec![path_rule(API.0, 3, "/other"), host_rule(), path_rule(old.0, 9, "/old")]);
    let modify = mock!(Client::modify_rule)
        .match_requests(|request| {
            let config = request.conditions()[0].path_pattern_config();
            config.is_some_and(|config| config.values() == ["/api/*"])
        })
        .then_output(|| ModifyRuleOutput::builder().build());
    let reorder = mock!(Client::set_rule_priorities)
        .match_requests(|request| request.rule_priorities()[0].priority() == Some(8))
        .then_output(|| SetRulePrioritiesOutput::builder().build());
    let add = mock!(Client::add_listener_certificates)
        .then_output(|| AddListenerCertificatesOutput::builder().build());
    let remove = mock!(Client::remove_listener_certificates)
        .match_requests(|request| request.certificates()[0].certificate_arn() == Some("arn:three"))
        .then_output(|| RemoveListenerCertificatesOutput::builder().build());
    let delete = mock!(Client::delete_rule)
        .match_requests(|request| request.rule_arn() == Some("arn:rule-old"))
        .then_output(|| DeleteRuleOutput::builder().build());
    let rules = [
        &described(web_listeners()),
        &all_tagged(&[HTTP, HTTPS, API, HOST, old, ("arn:inner", "loadBalancers.public")]),
        &further_certificates(&["arn:three"]),
        &found,
        &balancer(LoadBalancerStateEnum::Active),
        &modify,
        &reorder,
        &add,
        &remove,
        &delete,
    ];
    let planned = plan(&client(&rules), &web(Operation::Plan)).await.expect("an answer");
    let told: Vec<_> = planned
        .changes
        .iter()
        .map(|change| {
            let fields: Vec<&str> = change.fields.iter().map(|field| field.name.as_str()).collect();
            (change.address.as_str(), fields)
        })
        .collect();
    assert_eq!(told, [(old.1, vec![]), (HTTPS.1, vec!["certificates"]), (API.1, vec!["priority", "paths"])]);
    assert_eq!(delete.num_calls(), 0);
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    prune(&client(&rules), &web(Operation::Prune)).await.expect("an answer");
    let calls = [&modify, &reorder, &add, &remove, &delete].map(Rule::num_calls);
    assert_eq!(calls, [1, 1, 1, 1, 1]);
}

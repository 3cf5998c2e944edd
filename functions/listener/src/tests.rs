use aws_sdk_acm::{
    operation::{
        describe_certificate::DescribeCertificateOutput,
        list_tags_for_certificate::ListTagsForCertificateOutput,
    },
    types::{CertificateDetail, CertificateStatus},
};
use aws_sdk_ecs::{
    operation::describe_services::DescribeServicesOutput,
    types::{Deployment, DeploymentRolloutState, Service},
};
use aws_sdk_elasticloadbalancingv2::{
    error::ErrorMetadata,
    operation::{
        add_listener_certificates::AddListenerCertificatesOutput,
        add_tags::AddTagsOutput,
        create_listener::{CreateListenerError, CreateListenerOutput},
        create_rule::{CreateRuleError, CreateRuleOutput},
        delete_listener::DeleteListenerOutput,
        delete_rule::DeleteRuleOutput,
        describe_listener_certificates::DescribeListenerCertificatesOutput,
        describe_listeners::DescribeListenersOutput,
        describe_load_balancers::DescribeLoadBalancersOutput,
        describe_rules::DescribeRulesOutput,
        describe_tags::DescribeTagsOutput,
        describe_target_groups::DescribeTargetGroupsOutput,
        describe_target_health::DescribeTargetHealthOutput,
        modify_listener::ModifyListenerOutput,
        modify_rule::ModifyRuleOutput,
        remove_listener_certificates::RemoveListenerCertificatesOutput,
        set_rule_priorities::SetRulePrioritiesOutput,
    },
    types::{
        LoadBalancerState, PathPatternConditionConfig, Rule as ListenerRule, RuleCondition, TagDescription,
        TargetGroup, TargetHealth, TargetHealthDescription, TargetHealthStateEnum,
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
        targets: [("app".to_owned(), "arn:app".to_owned())].into(),
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

/// Clients that refuse every call for which there is no rule.
fn client(rules: &[&Rule]) -> Aws {
    with_acm(rules, &[])
}

fn with_acm(rules: &[&Rule], acm: &[&Rule]) -> Aws {
    with(rules, acm, DeploymentRolloutState::Completed)
}

/// The same, where ECS has a service that runs its one task in our target groups, which is healthy.
fn with(rules: &[&Rule], acm: &[&Rule], state: DeploymentRolloutState) -> Aws {
    let service = mock!(Ecs::describe_services).then_output(move || {
        let used = |arn: &str| aws_sdk_ecs::types::LoadBalancer::builder().target_group_arn(arn).build();
        let deployment = Deployment::builder().status("PRIMARY").rollout_state(state.clone()).build();
        let service = Service::builder().status("ACTIVE").desired_count(1).running_count(1);
        let service = service.load_balancers(used("arn:app")).load_balancers(used("arn:api"));
        DescribeServicesOutput::builder().services(service.deployments(deployment).build()).build()
    });
    let healthy = mock!(Client::describe_target_health).then_output(|| {
        let health = TargetHealth::builder().state(TargetHealthStateEnum::Healthy).build();
        let target = TargetHealthDescription::builder().target_health(health).build();
        DescribeTargetHealthOutput::builder().target_health_descriptions(target).build()
    });
    let rules: Vec<&Rule> = rules.iter().copied().chain([&healthy]).collect();
    Aws {
        elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, &rules),
        acm: mock_client!(aws_sdk_acm, RuleMode::MatchAny, acm),
        ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, [&service]),
    }
}

/// Where the service is still being deployed.
fn deploying(rules: &[&Rule]) -> Aws {
    with(rules, &[], DeploymentRolloutState::InProgress)
}

/// A certificate that was given this status now.
fn certificate(arn: &'static str, status: CertificateStatus) -> Rule {
    mock!(Acm::describe_certificate)
        .match_requests(move |request| request.certificate_arn() == Some(arn))
        .then_output(move || {
            let detail = CertificateDetail::builder()
                .domain_name("app.example.com")
                .issued_at(aws_sdk_acm::primitives::DateTime::from_secs(Timestamp::now().as_second()))
                .status(status.clone());
            DescribeCertificateOutput::builder().certificate(detail.build()).build()
        })
}

fn issued(arn: &'static str) -> Rule {
    certificate(arn, CertificateStatus::Issued)
}

fn pending(arn: &'static str) -> Rule {
    certificate(arn, CertificateStatus::PendingValidation)
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

/// The target groups that an action forwards to, with their weights.
fn weights(actions: &[Action]) -> Vec<(String, i32)> {
    lead::groups(actions)
}

#[tokio::test]
async fn a_new_target_hangs_beside_the_old_one_and_gets_the_traffic_once_its_service_is_steady() {
    let hang = mock!(Client::modify_listener)
        .match_requests(|request| {
            weights(request.default_actions()) == [("arn:old".to_owned(), 1), ("arn:app".to_owned(), 0)]
        })
        .then_output(|| ModifyListenerOutput::builder().build());
    let active = balancer(LoadBalancerStateEnum::Active);
    let found = described(vec![listener(80, "arn:old")]);
    let rules = [&found, &tagged(MAIN), &active, &hang];
    let error = ensure(&deploying(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "loadBalancers.inner.listeners.main.default waits for its new target: ECS service (demo-app) is deploying: 1 of 1 \
         tasks run"
    );
    assert_eq!((error.kind(), hang.num_calls()), ("NotReadySoon", 1));

    // It hangs there now, and isn't hung there again.
    let carrying = vec![("arn:old".to_owned(), 1)];
    let beside = Listener::builder().default_actions(lead::beside(carrying, "arn:app"));
    let beside = beside.listener_arn("arn:listener-80").port(80).protocol(ProtocolEnum::Tcp).build();
    let turn = mock!(Client::modify_listener)
        .match_requests(|request| weights(request.default_actions()) == [("arn:app".to_owned(), 1)])
        .then_output(|| ModifyListenerOutput::builder().build());
    let found = described(vec![beside]);
    let rules = [&found, &tagged(MAIN), &active, &turn];
    ensure(&deploying(&rules), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(turn.num_calls(), 0);
    let looks = client(&[&found, &tagged(MAIN), &tagged(INNER), &active]);
    let planned = plan(&looks, &context(Operation::Plan)).await.expect("an answer").changes;
    assert_eq!(planned[0].fields[0].found.as_deref(), Some("arn:old, arn:app (weight 0)"));
    ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(turn.num_calls(), 1);
}

#[tokio::test]
async fn a_rule_that_is_new_on_a_standing_listener_meets_no_request_before_its_service_is_steady() {
    let hosts = |conditions: &[RuleCondition]| {
        let config = conditions.first().and_then(RuleCondition::host_header_config);
        config.map(|config| config.values().to_vec()).unwrap_or_default()
    };
    let wait = mock!(Client::create_rule)
        .match_requests(move |request| hosts(request.conditions()) == ["plinth-waits.invalid"])
        .then_output(|| CreateRuleOutput::builder().build());
    let standing = || {
        [
            described(web_listeners()),
            all_tagged(&[HTTP, HTTPS, API, HOST, PUBLIC]),
            further_certificates(&["arn:two"]),
            balancer(LoadBalancerStateEnum::Active),
        ]
    };
    let looks = standing();
    let (api, found) = (path_rule(API.0, 8, "/api/*"), rules_of(vec![path_rule(API.0, 8, "/api/*")]));
    let error =
        ensure(&deploying(&all(&looks, &[&found, &wait])), &web(Operation::Ensure)).await.unwrap_err();
    assert!(error.to_string().contains("rules.host waits for its new target"), "{error}");
    assert_eq!(wait.num_calls(), 1);

    let mut waiting = host_rule();
    waiting.conditions = shared_rule(HOST.0, 7, "plinth-waits.invalid").conditions;
    let found = rules_of(vec![api, waiting]);
    let open = mock!(Client::modify_rule)
        .match_requests(move |request| hosts(request.conditions()) == ["two.example.com"])
        .then_output(|| ModifyRuleOutput::builder().build());
    let looks = standing();
    let rules = all(&looks, &[&found, &open]);
    ensure(&deploying(&rules), &web(Operation::Ensure)).await.unwrap_err();
    assert_eq!(open.num_calls(), 0);
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    assert_eq!(open.num_calls(), 1);
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
async fn the_listeners_of_a_balancer_that_another_took_the_place_of_go_before_their_targets() {
    let delete = mock!(Client::delete_listener).then_output(|| DeleteListenerOutput::builder().build());
    let found = described(vec![listener(80, "arn:app")]);
    let rules = [&balancer(LoadBalancerStateEnum::Active), &found, &tagged(MAIN), &tagged(INNER), &delete];
    let mut context = context(Operation::Prune);
    prune(&client(&rules), &context).await.expect("an answer");
    assert_eq!(delete.num_calls(), 0);
    context.outputs.load_balancers.get_mut("inner").expect("a balancer").arn = "arn:new".to_owned();
    prune(&client(&rules), &context).await.expect("an answer");
    assert_eq!(delete.num_calls(), 1);
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
    let targets = [("app", "arn:app"), ("app.9090", "arn:api")];
    let output = LoadBalancerOutput {
        arn: "arn:inner".to_owned(),
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
const PUBLIC: (&str, &str) = ("arn:inner", "loadBalancers.public");
const HOST: (&str, &str) = ("arn:rule-host", "loadBalancers.public.listeners.https.rules.host");

const POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09";

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
            .ssl_policy(POLICY)
            .default_actions(lead::forward("arn:app"))
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
    rule.conditions(condition).actions(lead::forward("arn:api")).build()
}

fn host_rule() -> ListenerRule {
    let config =
        aws_sdk_elasticloadbalancingv2::types::HostHeaderConditionConfig::builder().values("two.example.com");
    let condition = RuleCondition::builder().field("host-header").host_header_config(config.build()).build();
    let rule = ListenerRule::builder().rule_arn(HOST.0).priority("7").is_default(false);
    rule.conditions(condition).actions(lead::forward("arn:app")).build()
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
        &all_tagged(&[HTTP, HTTPS, API, HOST, PUBLIC]),
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
                    && request.ssl_policy() == (port == 443).then_some(POLICY)
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
    ensure(&with_acm(&rules, &[&issued("arn:one"), &issued("arn:two")]), &web(Operation::Ensure))
        .await
        .expect("an answer");
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
        &all_tagged(&[HTTP, HTTPS, API, HOST, old, PUBLIC]),
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
    ensure(&with_acm(&rules, &[&issued("arn:two")]), &web(Operation::Ensure)).await.expect("an answer");
    prune(&client(&rules), &web(Operation::Prune)).await.expect("an answer");
    let calls = [&modify, &reorder, &add, &remove, &delete].map(Rule::num_calls);
    assert_eq!(calls, [1, 1, 1, 1, 1]);
}

/// Creates the listener on this port and answers its ARN.
fn creating(port: i32, arn: &'static str) -> Rule {
    mock!(Client::create_listener).match_requests(move |request| request.port() == Some(port)).then_output(
        move || {
            let made = Listener::builder().listener_arn(arn).build();
            CreateListenerOutput::builder().listeners(made).build()
        },
    )
}

fn adding(certificate: &'static str) -> Rule {
    mock!(Client::add_listener_certificates)
        .match_requests(move |request| {
            request.certificates().len() == 1
                && request.certificates()[0].certificate_arn() == Some(certificate)
        })
        .then_output(|| AddListenerCertificatesOutput::builder().build())
}

fn removing(certificate: &'static str) -> Rule {
    mock!(Client::remove_listener_certificates)
        .match_requests(move |request| {
            request.certificates().len() == 1
                && request.certificates()[0].certificate_arn() == Some(certificate)
        })
        .then_output(|| RemoveListenerCertificatesOutput::builder().build())
}

fn creating_rule() -> Rule {
    mock!(Client::create_rule).then_output(|| CreateRuleOutput::builder().build())
}

#[tokio::test]
async fn a_listener_waits_for_its_first_certificate_and_no_other_listener_does() {
    let http = creating(80, HTTP.0);
    let rules = [&described(vec![]), &http];
    let error = ensure(&with_acm(&rules, &[&pending("arn:one")]), &web(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLong");
    assert_eq!(error.to_string(), "certificate one isn't issued yet: app.example.com");
    assert_eq!(http.num_calls(), 1);
}

#[tokio::test]
async fn a_certificate_whose_records_are_ours_is_looked_at_sooner() {
    let mut context = web(Operation::Ensure);
    context.spec.certificates.get_mut("one").expect("a certificate").zone = Some("example.com".to_owned());
    let rules = [&described(vec![]), &creating(80, HTTP.0)];
    let error = ensure(&with_acm(&rules, &[&pending("arn:one")]), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
}

#[tokio::test]
async fn a_certificate_that_will_not_be_issued_is_waited_for_no_longer() {
    let rules = [&described(vec![]), &creating(80, HTTP.0)];
    for status in [CertificateStatus::Failed, CertificateStatus::ValidationTimedOut] {
        let acm = certificate("arn:one", status);
        let error = ensure(&with_acm(&rules, &[&acm]), &web(Operation::Ensure)).await.unwrap_err();
        assert_eq!(error.kind(), "Failed");
        assert!(error.to_string().starts_with("certificate one is "), "{error}");
    }
}

#[tokio::test]
async fn a_further_certificate_is_added_once_it_is_issued_and_the_listener_stands_before() {
    let (http, https, rule) = (creating(80, HTTP.0), creating(443, HTTPS.0), creating_rule());
    let rules = [&described(vec![]), &http, &https, &further_certificates(&[]), &rules_of(vec![]), &rule];
    let acm = [&issued("arn:one"), &pending("arn:two")];
    let error = ensure(&with_acm(&rules, &acm), &web(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.to_string(), "certificate two isn't issued yet: app.example.com");
    assert_eq!((https.num_calls(), rule.num_calls()), (1, 2));
}

#[tokio::test]
async fn an_old_security_policy_is_planned_and_replaced_in_place() {
    let mut listeners = web_listeners();
    listeners[1].ssl_policy = Some("ELBSecurityPolicy-2016-08".to_owned());
    let modify = mock!(Client::modify_listener)
        .match_requests(|request| request.ssl_policy() == Some(POLICY))
        .then_output(|| ModifyListenerOutput::builder().build());
    let found = (described(listeners), all_tagged(&[HTTP, HTTPS, API, HOST, PUBLIC]));
    let stands =
        (further_certificates(&["arn:two"]), rules_of(vec![path_rule(API.0, 8, "/api/*"), host_rule()]));
    let active = balancer(LoadBalancerStateEnum::Active);
    let rules = [&found.0, &found.1, &stands.0, &stands.1, &active, &modify];
    let planned = plan(&client(&rules), &web(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes.iter().flat_map(|change| &change.fields).collect();
    assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["securityPolicy"]);
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    assert_eq!(modify.num_calls(), 1);
}

#[tokio::test]
async fn a_listener_keeps_its_certificate_until_the_next_one_is_issued() {
    let mut listeners = web_listeners();
    listeners[1].certificates = Some(vec![Certificate::builder().certificate_arn("arn:old").build()]);
    listeners[1].default_actions = Some(vec![lead::forward("arn:elsewhere")]);
    let modify = |certificate: Option<&'static str>| {
        mock!(Client::modify_listener)
            .match_requests(move |request| {
                let first = request.certificates().first().and_then(Certificate::certificate_arn);
                let action = request.default_actions().first();
                first == certificate && action.and_then(Action::target_group_arn) == Some("arn:app")
            })
            .then_output(|| ModifyListenerOutput::builder().build())
    };
    let (kept, replaced) = (modify(None), modify(Some("arn:one")));
    let found = (described(listeners), all_tagged(&[HTTP, HTTPS, API, HOST, PUBLIC]));
    let stands =
        (further_certificates(&["arn:two"]), rules_of(vec![path_rule(API.0, 8, "/api/*"), host_rule()]));
    let active = balancer(LoadBalancerStateEnum::Active);
    let rules = [&found.0, &found.1, &stands.0, &stands.1, &active, &kept, &replaced];
    let waits = ensure(&with_acm(&rules, &[&pending("arn:one")]), &web(Operation::Ensure)).await;
    assert_eq!(waits.unwrap_err().to_string(), "certificate one isn't issued yet: app.example.com");
    assert_eq!((kept.num_calls(), replaced.num_calls()), (1, 0));
    ensure(&with_acm(&rules, &[&issued("arn:one")]), &web(Operation::Ensure)).await.expect("an answer");
    assert_eq!((kept.num_calls(), replaced.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_certificate_that_the_balancer_does_not_know_yet_is_waited_for() {
    let unknown =
        mock!(Client::create_listener).match_requests(|request| request.port() == Some(443)).then_error(
            || CreateListenerError::generic(ErrorMetadata::builder().code("UnsupportedCertificate").build()),
        );
    let rules = [&described(vec![]), &creating(80, HTTP.0), &unknown];
    let just = issued("arn:one");
    let error = ensure(&with_acm(&rules, &[&just]), &web(Operation::Ensure)).await.unwrap_err();
    assert!(error.kind().starts_with("NotReady"), "{error}");
    // One that was issued long ago won't be taken later either.
    let long_ago = mock!(Acm::describe_certificate).then_output(|| {
        let detail = CertificateDetail::builder()
            .status(CertificateStatus::Issued)
            .issued_at(aws_sdk_acm::primitives::DateTime::from_secs(0));
        DescribeCertificateOutput::builder().certificate(detail.build()).build()
    });
    let error = ensure(&with_acm(&rules, &[&long_ago]), &web(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
}

#[tokio::test]
async fn the_arn_of_a_certificate_that_does_not_exist_is_refused_by_the_plan() {
    let arn = "arn:aws:acm:us-east-1:123456789012:certificate/none";
    let mut context = web(Operation::Plan);
    let spec = WEB.replace("'${certificates.two}'", arn);
    context.spec = spec::parse(&spec, None).expect("a spec");
    let absent = mock!(Acm::describe_certificate).then_error(|| {
        aws_sdk_acm::operation::describe_certificate::DescribeCertificateError::generic(
            aws_sdk_acm::error::ErrorMetadata::builder().code("ResourceNotFoundException").build(),
        )
    });
    let none =
        mock!(Client::describe_load_balancers).then_output(|| DescribeLoadBalancersOutput::builder().build());
    let rules = [&none, &described(vec![])];
    let error = plan(&with_acm(&rules, &[&absent]), &context).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains(arn), "{error}");
}

#[tokio::test]
async fn a_dropped_rule_in_the_way_of_a_new_one_moves_until_it_goes() {
    let old = ("arn:rule-old", "loadBalancers.public.listeners.https.rules.old");
    let found = rules_of(vec![path_rule(API.0, 8, "/api/*"), path_rule(old.0, 7, "/old")]);
    let reorder = mock!(Client::set_rule_priorities)
        .match_requests(|request| {
            let [pair] = request.rule_priorities() else { return false };
            (pair.rule_arn(), pair.priority()) == (Some("arn:rule-old"), Some(9))
        })
        .then_output(|| SetRulePrioritiesOutput::builder().build());
    let host = mock!(Client::create_rule)
        .match_requests(|request| request.priority() == Some(7))
        .then_output(|| CreateRuleOutput::builder().build());
    let rules = [
        &described(web_listeners()),
        &all_tagged(&[HTTP, HTTPS, API, old]),
        &further_certificates(&["arn:two"]),
        &found,
        &balancer(LoadBalancerStateEnum::Active),
        &reorder,
        &host,
    ];
    ensure(&client(&rules), &web(Operation::Ensure)).await.expect("an answer");
    assert_eq!((reorder.num_calls(), host.num_calls()), (1, 1));
}

const SHARED: &str = "
apiVersion: plinth/v1
name: demo
certificates: { main: { domain: app.example.com } }
loadBalancers:
  shared:
    name: company
    existing: true
    type: application
    scheme: internal
    listeners:
      https:
        port: 443
        certificates: ['${certificates.main}']
        rules:
          api: { hosts: [api.example.com], to: '${services.app}' }
          web: { hosts: [app.example.com], to: '${services.app}' }
services:
  app: { image: nginx, ports: [8080] }
";

const THEIR_CERTIFICATE: &str = "arn:aws:acm:us-east-1:123456789012:certificate/their";
const OUR_CERTIFICATE: &str = "arn:aws:acm:us-east-1:123456789012:certificate/ours";
const OLD_CERTIFICATE: &str = "arn:aws:acm:us-east-1:123456789012:certificate/old";

fn shared_by(spec: &str, operation: Operation) -> Context {
    let output = LoadBalancerOutput {
        arn: "arn:company".to_owned(),
        targets: [("app".to_owned(), "arn:app".to_owned())].into(),
        ..LoadBalancerOutput::default()
    };
    let certificate = step::CertificateOutput { arn: OUR_CERTIFICATE.to_owned(), records: Vec::new() };
    let outputs = Outputs {
        load_balancers: [("shared".to_owned(), output)].into(),
        certificates: [("main".to_owned(), certificate)].into(),
        ..Outputs::default()
    };
    step::test::context(operation, spec::parse(spec, None).expect("a spec"), outputs)
}

fn shared(operation: Operation) -> Context {
    shared_by(SHARED, operation)
}

/// Rules of ours on the shared listener, by their names.
const SHARED_API: (&str, &str) = ("arn:rule-api", "loadBalancers.shared.listeners.https.rules.api");
const SHARED_WEB: (&str, &str) = ("arn:rule-web", "loadBalancers.shared.listeners.https.rules.web");
const APP: (&str, &str) = ("arn:app", "loadBalancers.shared.targets.app");

fn shared_rule(arn: &str, priority: i32, host: &str) -> ListenerRule {
    let config = aws_sdk_elasticloadbalancingv2::types::HostHeaderConditionConfig::builder().values(host);
    let condition = RuleCondition::builder().field("host-header").host_header_config(config.build()).build();
    let rule = ListenerRule::builder().rule_arn(arn).priority(priority.to_string()).is_default(false);
    rule.conditions(condition).actions(lead::forward("arn:app")).build()
}

fn api_rule(priority: i32) -> ListenerRule {
    shared_rule(SHARED_API.0, priority, "api.example.com")
}

fn web_rule(priority: i32) -> ListenerRule {
    shared_rule(SHARED_WEB.0, priority, "app.example.com")
}

fn their_rule(priority: i32) -> ListenerRule {
    shared_rule("arn:rule-their", priority, "other.example.com")
}

/// Somebody else's balancer, its two listeners, the rules on the one, and our target group that it sends to.
fn company(rules: Vec<ListenerRule>) -> [Rule; 5] {
    let standing = !rules.is_empty();
    let of = |arn: &str, port, protocol| {
        Listener::builder().listener_arn(arn).port(port).protocol(protocol).build()
    };
    let listeners = vec![
        of("arn:listener-80", 80, ProtocolEnum::Http),
        of(HTTPS.0, 443, ProtocolEnum::Https),
        of("arn:listener-8443", 8443, ProtocolEnum::Https),
    ];
    let balancers = mock!(Client::describe_load_balancers).then_output(|| {
        let balancer = LoadBalancer::builder().load_balancer_arn("arn:company").load_balancer_name("company");
        DescribeLoadBalancersOutput::builder().load_balancers(balancer.build()).build()
    });
    let groups = mock!(Client::describe_target_groups).then_output(move || {
        let group = TargetGroup::builder().target_group_arn("arn:app");
        let group = if standing { group.load_balancer_arns("arn:company") } else { group };
        DescribeTargetGroupsOutput::builder().target_groups(group.build()).build()
    });
    [balancers, groups, described(listeners), rules_of(rules), all_tagged(&[SHARED_API, SHARED_WEB, APP])]
}

/// The certificates beside the listener's own, which is somebody else's.
fn shared_certificates(arns: &'static [&'static str]) -> Rule {
    let certificate =
        |arn: &str, default: bool| Certificate::builder().certificate_arn(arn).is_default(default).build();
    mock!(Client::describe_listener_certificates)
        .match_requests(|request| request.listener_arn() == Some(HTTPS.0))
        .then_output(move || {
            let beside = arns.iter().map(|arn| certificate(arn, false));
            let own = certificate("arn:aws:acm:us-east-1:123456789012:certificate/default", true);
            DescribeListenerCertificatesOutput::builder()
                .set_certificates(Some(beside.chain([own]).collect()))
                .build()
        })
}

/// Of the certificates ours and an old one carry our tags.
fn certificate_tags() -> Rule {
    let tags = context(Operation::Plan).owner().tags("certificates.main");
    mock!(Acm::list_tags_for_certificate).then_compute_output(move |request| {
        let ours =
            [OUR_CERTIFICATE, OLD_CERTIFICATE].contains(&request.certificate_arn().unwrap_or_default());
        let tag = |(key, value): (&String, &String)| {
            aws_sdk_acm::types::Tag::builder().key(key).value(value).build().expect("a tag")
        };
        let tags = if ours { tags.iter().map(tag).collect() } else { Vec::new() };
        ListTagsForCertificateOutput::builder().set_tags(Some(tags)).build()
    })
}

fn all<'a>(standing: &'a [Rule], more: &[&'a Rule]) -> Vec<&'a Rule> {
    standing.iter().chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn on_somebody_elses_listener_rules_and_certificates_are_put_beside_theirs() {
    let rule = |priority: i32, address: &'static str| {
        mock!(Client::create_rule)
            .match_requests(move |request| {
                request.listener_arn() == Some(HTTPS.0)
                    && request.priority() == Some(priority)
                    && request.tags().iter().any(|tag| tag.value() == Some(address))
            })
            .then_output(|| CreateRuleOutput::builder().build())
    };
    let (api, web, add) = (rule(2, SHARED_API.1), rule(4, SHARED_WEB.1), adding(OUR_CERTIFICATE));
    let standing = company(vec![their_rule(1), their_rule(3)]);
    let certificates = shared_certificates(&[THEIR_CERTIFICATE]);
    let rules = all(&standing, &[&certificates, &api, &web, &add]);
    let aws = with_acm(&rules, &[&issued(OUR_CERTIFICATE), &certificate_tags()]);
    ensure(&aws, &shared(Operation::Ensure)).await.expect("an answer");
    assert_eq!([&api, &web, &add].map(Rule::num_calls), [1, 1, 1]);
    let planned = plan(&aws, &shared(Operation::Plan)).await.expect("an answer");
    let told: Vec<_> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(told, [SHARED_API.1, SHARED_WEB.1, "loadBalancers.shared.listeners.https.certificates"]);
}

#[tokio::test]
async fn rules_on_somebody_elses_listener_do_not_wait_for_a_certificate() {
    let (standing, certificates, rule) = (company(vec![]), shared_certificates(&[]), creating_rule());
    let rules = all(&standing, &[&certificates, &rule]);
    let aws = with_acm(&rules, &[&pending(OUR_CERTIFICATE)]);
    let error = ensure(&aws, &shared(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.to_string(), "certificate main isn't issued yet: app.example.com");
    assert_eq!(rule.num_calls(), 2);
}

#[tokio::test]
async fn what_matches_on_somebody_elses_listener_keeps_its_numbers() {
    let standing = company(vec![their_rule(1), api_rule(9), web_rule(12)]);
    let certificates = shared_certificates(&[THEIR_CERTIFICATE, OUR_CERTIFICATE]);
    let aws = with_acm(&all(&standing, &[&certificates]), &[&certificate_tags()]);
    ensure(&aws, &shared(Operation::Ensure)).await.expect("an answer");
    let planned = plan(&aws, &shared(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
    prune(&aws, &shared(Operation::Prune)).await.expect("an answer");
}

#[tokio::test]
async fn a_rule_that_drifted_on_somebody_elses_listener_is_planned_and_put_back() {
    let drifted = shared_rule(SHARED_WEB.0, 12, "else.example.com");
    let standing = company(vec![their_rule(1), api_rule(13), drifted]);
    let certificates = shared_certificates(&[OUR_CERTIFICATE]);
    let modify = mock!(Client::modify_rule).then_output(|| ModifyRuleOutput::builder().build());
    let reorder = mock!(Client::set_rule_priorities)
        .match_requests(|request| {
            let [pair] = request.rule_priorities() else { return false };
            (pair.rule_arn(), pair.priority()) == (Some(SHARED_WEB.0), Some(14))
        })
        .then_output(|| SetRulePrioritiesOutput::builder().build());
    let aws = with_acm(&all(&standing, &[&certificates, &modify, &reorder]), &[&certificate_tags()]);
    let planned = plan(&aws, &shared(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!((planned.changes.len(), fields), (1, vec!["priority", "hosts"]));
    assert_eq!((modify.num_calls(), reorder.num_calls()), (0, 0));
    ensure(&aws, &shared(Operation::Ensure)).await.expect("an answer");
    assert_eq!((modify.num_calls(), reorder.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_number_that_somebody_elses_rule_has_is_a_conflict_that_names_it() {
    let spec = SHARED.replace("hosts: [api.example.com]", "priority: 5, hosts: [api.example.com]");
    let standing = company(vec![their_rule(5)]);
    let aws = client(&all(&standing, &[]));
    for operation in [Operation::Plan, Operation::Ensure] {
        let context = shared_by(&spec, operation);
        let answer = if operation == Operation::Plan {
            plan(&aws, &context).await
        } else {
            ensure(&aws, &context).await
        };
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
        assert!(error.to_string().contains("arn:rule-their"), "{error}");
    }
}

#[tokio::test]
async fn a_number_that_was_taken_at_the_same_moment_is_left_to_the_next_pass() {
    let standing = company(vec![]);
    let taken = mock!(Client::create_rule)
        .then_error(|| CreateRuleError::generic(ErrorMetadata::builder().code("PriorityInUse").build()));
    let certificates = shared_certificates(&[OUR_CERTIFICATE]);
    let aws = with_acm(&all(&standing, &[&taken, &certificates]), &[&certificate_tags()]);
    let error = ensure(&aws, &shared(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn an_old_certificate_of_ours_goes_once_the_next_is_there_and_theirs_stay() {
    let standing = company(vec![api_rule(1), web_rule(2)]);
    let certificates = shared_certificates(&[THEIR_CERTIFICATE, OLD_CERTIFICATE]);
    let (add, remove) = (adding(OUR_CERTIFICATE), removing(OLD_CERTIFICATE));
    let rules = all(&standing, &[&certificates, &add, &remove]);
    let waits = with_acm(&rules, &[&pending(OUR_CERTIFICATE), &certificate_tags()]);
    ensure(&waits, &shared(Operation::Ensure)).await.unwrap_err();
    assert_eq!((add.num_calls(), remove.num_calls()), (0, 0));
    let aws = with_acm(&rules, &[&issued(OUR_CERTIFICATE), &certificate_tags()]);
    ensure(&aws, &shared(Operation::Ensure)).await.expect("an answer");
    assert_eq!((add.num_calls(), remove.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_listener_that_somebody_else_does_not_have_is_refused_with_those_they_have() {
    let standing = company(vec![]);
    let missing = SHARED.replace("port: 443", "port: 444");
    let plain = SHARED.replace("port: 443", "port: 80");
    for (spec, why) in [(missing, "it has 80, 443, 8443"), (plain, "speaks HTTP")] {
        let error =
            plan(&client(&all(&standing, &[])), &shared_by(&spec, Operation::Plan)).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_is_ours_on_somebody_elses_listener_is_found_without_a_spec_and_certificates_go_first() {
    let standing = company(vec![their_rule(1), api_rule(2), web_rule(3)]);
    let certificates = shared_certificates(&[THEIR_CERTIFICATE, OUR_CERTIFICATE]);
    let remove = removing(OUR_CERTIFICATE);
    // A rule that can't be deleted shows that the certificate went before it.
    let stuck = mock!(Client::delete_rule).then_error(|| {
        aws_sdk_elasticloadbalancingv2::operation::delete_rule::DeleteRuleError::generic(
            ErrorMetadata::builder().code("OperationNotPermitted").build(),
        )
    });
    let gone = mock!(Client::delete_rule)
        .match_requests(|request| {
            [SHARED_API.0, SHARED_WEB.0].contains(&request.rule_arn().unwrap_or_default())
        })
        .then_output(|| DeleteRuleOutput::builder().build());
    let acm = certificate_tags();
    let dropped = |operation| step::test::context(operation, Spec::empty("demo"), Outputs::default());
    let rules = all(&standing, &[&certificates, &remove, &stuck]);
    let error = prune(&with_acm(&rules, &[&acm]), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), remove.num_calls()), ("Failed", 1));

    let rules = all(&standing, &[&certificates, &remove, &gone]);
    let aws = with_acm(&rules, &[&acm]);
    let planned = plan(&aws, &dropped(Operation::Plan)).await.expect("an answer");
    let told: Vec<_> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(told, ["loadBalancers.shared.listeners.https.certificates", SHARED_API.1, SHARED_WEB.1]);
    assert_eq!((remove.num_calls(), gone.num_calls()), (1, 0));
    prune(&aws, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((remove.num_calls(), gone.num_calls()), (2, 2));
}

#[tokio::test]
async fn a_rule_whose_listener_got_another_port_goes_from_the_old_one() {
    let standing = company(vec![api_rule(2), web_rule(3)]);
    let certificates = shared_certificates(&[OUR_CERTIFICATE]);
    let (remove, gone) = (
        removing(OUR_CERTIFICATE),
        mock!(Client::delete_rule).then_output(|| DeleteRuleOutput::builder().build()),
    );
    let rules = all(&standing, &[&certificates, &remove, &gone]);
    let context = shared_by(&SHARED.replace("port: 443", "port: 8443"), Operation::Prune);
    prune(&with_acm(&rules, &[&certificate_tags()]), &context).await.expect("an answer");
    assert_eq!((remove.num_calls(), gone.num_calls()), (1, 2));
}

#[tokio::test]
async fn a_balancer_that_sends_to_nothing_of_ours_is_not_looked_at() {
    let [balancers, groups, ..] = company(vec![]);
    let rules = [&balancers, &groups, &untagged()];
    let dropped = step::test::context(Operation::Prune, Spec::empty("demo"), Outputs::default());
    prune(&client(&rules), &dropped).await.expect("an answer");
}

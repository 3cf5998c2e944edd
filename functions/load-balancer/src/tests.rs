use aws_sdk_ec2::{
    operation::{
        authorize_security_group_ingress::AuthorizeSecurityGroupIngressOutput,
        create_security_group::CreateSecurityGroupOutput, delete_security_group::DeleteSecurityGroupOutput,
        describe_security_group_rules::DescribeSecurityGroupRulesOutput,
        describe_security_groups::DescribeSecurityGroupsOutput,
        revoke_security_group_ingress::RevokeSecurityGroupIngressOutput,
    },
    types::{ReferencedSecurityGroup, SecurityGroup, SecurityGroupRule, Tag as Ec2Tag},
};
use aws_sdk_elasticloadbalancingv2::{
    error::ErrorMetadata,
    operation::{
        create_load_balancer::CreateLoadBalancerOutput,
        create_target_group::CreateTargetGroupOutput,
        delete_load_balancer::{DeleteLoadBalancerError, DeleteLoadBalancerOutput},
        delete_target_group::DeleteTargetGroupOutput,
        describe_load_balancers::{DescribeLoadBalancersError, DescribeLoadBalancersOutput},
        describe_tags::DescribeTagsOutput,
        describe_target_groups::{DescribeTargetGroupsError, DescribeTargetGroupsOutput},
        modify_target_group::ModifyTargetGroupOutput,
        set_security_groups::SetSecurityGroupsOutput,
        set_subnets::SetSubnetsOutput,
    },
    types::{AvailabilityZone, LoadBalancer, ProtocolEnum, TagDescription, TargetGroup},
};
use aws_smithy_mocks::{Rule as Mocked, RuleMode, mock, mock_client};
use spec::Spec;
use step::{NetworkOutput, Outputs};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app: { image: nginx, ports: [8080], health: { path: /ping } }
apis:
  qa: { link: '${loadBalancers.inner}', routes: { GET /: {} } }
";

fn context(operation: Operation) -> Context {
    let network = NetworkOutput {
        vpc: "vpc-1".to_owned(),
        cidr: "10.0.0.0/16".to_owned(),
        public: vec!["subnet-public".to_owned()],
        private: vec!["subnet-a".to_owned(), "subnet-b".to_owned()],
        group: "sg-services".to_owned(),
    };
    let outputs = Outputs { network: Some(network), ..Outputs::default() };
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

const ADDRESS: &str = "loadBalancers.inner";

/// The balancer as AWS describes it when it is what the spec says.
fn balancer() -> aws_sdk_elasticloadbalancingv2::types::builders::LoadBalancerBuilder {
    let zone = |subnet: &str| AvailabilityZone::builder().subnet_id(subnet).build();
    LoadBalancer::builder()
        .load_balancer_arn("arn:inner")
        .load_balancer_name("demo-inner")
        .dns_name("inner.example")
        .r#type(LoadBalancerTypeEnum::Network)
        .scheme(LoadBalancerSchemeEnum::Internal)
        .availability_zones(zone("subnet-a"))
        .availability_zones(zone("subnet-b"))
        .security_groups("sg-inner")
        .enforce_security_group_inbound_rules_on_private_link_traffic("off")
}

fn target_group() -> aws_sdk_elasticloadbalancingv2::types::builders::TargetGroupBuilder {
    let wanted = &target_group::wanted(&context(Operation::Plan), "inner", "vpc-1")[0];
    TargetGroup::builder()
        .target_group_arn("arn:app")
        .target_group_name(&wanted.name)
        .health_check_protocol(ProtocolEnum::Http)
        .health_check_path("/ping")
        .load_balancer_arns("arn:inner")
}

fn described(balancer: LoadBalancer, group: TargetGroup) -> [Mocked; 3] {
    [
        mock!(Elb::describe_load_balancers).then_output(move || {
            DescribeLoadBalancersOutput::builder().load_balancers(balancer.clone()).build()
        }),
        mock!(Elb::describe_target_groups)
            .then_output(move || DescribeTargetGroupsOutput::builder().target_groups(group.clone()).build()),
        tags(),
    ]
}

/// Every balancer and target group that is asked for carries our tags.
fn tags() -> Mocked {
    let owner = context(Operation::Plan).owner();
    mock!(Elb::describe_tags).then_compute_output(move |request| {
        let description = |arn: &String| {
            let address = if arn == "arn:inner" { ADDRESS } else { "loadBalancers.inner.targets.app-8080" };
            let tags = Some(balancer::tag_list(&owner.tags(address)));
            TagDescription::builder().resource_arn(arn).set_tags(tags).build()
        };
        let descriptions = request.resource_arns().iter().map(description).collect();
        DescribeTagsOutput::builder().set_tag_descriptions(Some(descriptions)).build()
    })
}

fn nothing() -> [Mocked; 2] {
    let absent = |code: &str| ErrorMetadata::builder().code(code).build();
    let balancer = absent("LoadBalancerNotFound");
    let group = absent("TargetGroupNotFound");
    [
        mock!(Elb::describe_load_balancers)
            .then_error(move || DescribeLoadBalancersError::generic(balancer.clone())),
        mock!(Elb::describe_target_groups)
            .then_error(move || DescribeTargetGroupsError::generic(group.clone())),
    ]
}

fn ec2_tags(address: &str) -> Vec<Ec2Tag> {
    let mut tags = context(Operation::Plan).tags(address);
    tags.insert("Name".to_owned(), "demo-inner-balancer".to_owned());
    tags.into_iter().map(|(key, value)| Ec2Tag::builder().key(key).value(value).build()).collect()
}

fn groups(found: bool) -> Mocked {
    let group = SecurityGroup::builder()
        .group_id("sg-inner")
        .set_tags(Some(ec2_tags("loadBalancers.inner.group")))
        .build();
    mock!(Ec2::describe_security_groups).then_output(move || {
        let groups = found.then(|| group.clone()).into_iter().collect();
        DescribeSecurityGroupsOutput::builder().set_security_groups(Some(groups)).build()
    })
}

fn rule(id: &str, group: &str, port: i32) -> aws_sdk_ec2::types::builders::SecurityGroupRuleBuilder {
    SecurityGroupRule::builder()
        .security_group_rule_id(id)
        .group_id(group)
        .is_egress(false)
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port)
}

/// The rules of the balancer's own group, and by a second look those that carry our tags.
fn rules(own: Vec<SecurityGroupRule>) -> [Mocked; 2] {
    let from = ReferencedSecurityGroup::builder().group_id("sg-inner").build();
    let reach = rule("sgr-reach", "sg-services", 8080)
        .referenced_group_info(from)
        .set_tags(Some(ec2_tags("loadBalancers.inner.reach.8080")))
        .build();
    let answer = |rules: Vec<SecurityGroupRule>| {
        DescribeSecurityGroupRulesOutput::builder().set_security_group_rules(Some(rules)).build()
    };
    [
        mock!(Ec2::describe_security_group_rules)
            .match_requests(|request| request.filters()[0].name() == Some("group-id"))
            .then_output(move || answer(own.clone())),
        mock!(Ec2::describe_security_group_rules)
            .match_requests(|request| request.filters()[0].name() != Some("group-id"))
            .then_output(move || answer(vec![reach.clone()])),
    ]
}

fn own_rules() -> Vec<SecurityGroupRule> {
    let out = SecurityGroupRule::builder().is_egress(true).ip_protocol("-1").cidr_ipv4("0.0.0.0/0").build();
    vec![rule("sgr-80", "sg-inner", 80).cidr_ipv4("10.0.0.0/16").build(), out]
}

/// Clients that refuse every call for which there is no rule.
fn elb(rules: &[&Mocked]) -> Elb {
    mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, rules)
}

fn ec2(rules: &[&Mocked]) -> Ec2 {
    mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules)
}

#[tokio::test]
async fn what_is_missing_is_created_with_our_tags_and_nothing_is_waited_for() {
    let [no_balancer, no_group] = nothing();
    let balancer = mock!(Elb::create_load_balancer)
        .match_requests(|request| {
            request.name() == Some("demo-inner")
                && request.subnets() == ["subnet-a", "subnet-b"]
                && request.security_groups() == ["sg-inner"]
                && request.tags().iter().any(|tag| tag.value() == Some(ADDRESS))
        })
        .then_output(|| CreateLoadBalancerOutput::builder().load_balancers(balancer().build()).build());
    let unfiltered =
        mock!(Elb::set_security_groups).then_output(|| SetSecurityGroupsOutput::builder().build());
    let group = mock!(Elb::create_target_group)
        .match_requests(|request| {
            request.protocol() == Some(&ProtocolEnum::Tcp)
                && request.port() == Some(8080)
                && request.health_check_path() == Some("/ping")
        })
        .then_output(|| CreateTargetGroupOutput::builder().target_groups(target_group().build()).build());
    let security = mock!(Ec2::create_security_group)
        .then_output(|| CreateSecurityGroupOutput::builder().group_id("sg-inner").build());
    let open = mock!(Ec2::authorize_security_group_ingress)
        .match_requests(|request| request.group_id() == Some("sg-inner"))
        .then_output(|| AuthorizeSecurityGroupIngressOutput::builder().build());
    let out = own_rules().remove(1);
    let [own, ours] = rules(vec![out]);
    let answer = ensure(
        &elb(&[&no_balancer, &no_group, &balancer, &unfiltered, &group]),
        &ec2(&[&groups(false), &security, &own, &ours, &open]),
        &context(Operation::Ensure),
    )
    .await
    .expect("an answer");
    assert_eq!(answer.output["inner"]["targets"]["app-8080"], "arn:app");
    assert_eq!(
        (balancer.num_calls(), unfiltered.num_calls(), group.num_calls(), open.num_calls()),
        (1, 1, 1, 1)
    );
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    let [balancers, targets, tags] = described(balancer().build(), target_group().build());
    let [own, ours] = rules(own_rules());
    let elb = elb(&[&balancers, &targets, &tags]);
    let ec2 = ec2(&[&groups(true), &own, &ours]);
    let answer = ensure(&elb, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["inner"]["host"], "inner.example");
    let planned = plan(&elb, &ec2, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
    assert_eq!(planned.output, answer.output);
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_put_back() {
    let elsewhere = vec![AvailabilityZone::builder().subnet_id("subnet-a").build()];
    let drifted = balancer().set_availability_zones(Some(elsewhere)).build();
    let checked = target_group().health_check_path("/").build();
    let [balancers, targets, tags] = described(drifted, checked);
    let mut by_hand = own_rules();
    by_hand.push(rule("sgr-22", "sg-inner", 22).cidr_ipv4("0.0.0.0/0").build());
    let [own, ours] = rules(by_hand);

    let reading = (elb(&[&balancers, &targets, &tags]), ec2(&[&groups(true), &own, &ours]));
    let planned = plan(&reading.0, &reading.1, &context(Operation::Plan)).await.expect("an answer");
    let names: Vec<String> = planned
        .changes
        .iter()
        .flat_map(|change| change.fields.iter().map(|field| format!("{} {}", change.address, field.name)))
        .collect();
    assert_eq!(
        names,
        [
            "loadBalancers.inner.group ingress.22 from 0.0.0.0/0",
            "loadBalancers.inner subnets",
            "loadBalancers.inner.targets.app-8080 health.path"
        ]
    );

    let subnets = mock!(Elb::set_subnets).then_output(|| SetSubnetsOutput::builder().build());
    let check = mock!(Elb::modify_target_group).then_output(|| ModifyTargetGroupOutput::builder().build());
    let close = mock!(Ec2::revoke_security_group_ingress)
        .match_requests(|request| request.security_group_rule_ids() == ["sgr-22"])
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let elb = elb(&[&balancers, &targets, &tags, &subnets, &check]);
    let ec2 = ec2(&[&groups(true), &own, &ours, &close]);
    ensure(&elb, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!((subnets.num_calls(), check.num_calls(), close.num_calls()), (1, 1, 1));
}

#[tokio::test]
async fn a_balancer_of_another_scheme_is_refused_with_the_remedy() {
    let public = balancer().scheme(LoadBalancerSchemeEnum::InternetFacing).build();
    let [balancers, targets, tags] = described(public, target_group().build());
    let [own, ours] = rules(own_rules());
    let elb = elb(&[&balancers, &targets, &tags]);
    let error = plan(&elb, &ec2(&[&groups(true), &own, &ours]), &context(Operation::Plan)).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("another name with `name:`"), "{error}");
}

#[tokio::test]
async fn a_balancer_of_somebody_else_is_refused() {
    let [balancers, targets, _] = described(balancer().build(), target_group().build());
    let untagged = mock!(Elb::describe_tags).then_output(|| DescribeTagsOutput::builder().build());
    let [own, ours] = rules(own_rules());
    let elb = elb(&[&balancers, &targets, &untagged]);
    let ec2 = ec2(&[&groups(true), &own, &ours]);
    let error = ensure(&elb, &ec2, &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn what_was_dropped_is_planned_and_deleted_the_rule_first() {
    let [balancers, targets, tags] = described(balancer().build(), target_group().build());
    let [_, ours] = rules(vec![]);
    let close = mock!(Ec2::revoke_security_group_ingress)
        .match_requests(|request| request.group_id() == Some("sg-services"))
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let balancer =
        mock!(Elb::delete_load_balancer).then_output(|| DeleteLoadBalancerOutput::builder().build());
    let target = mock!(Elb::delete_target_group).then_output(|| DeleteTargetGroupOutput::builder().build());
    let group =
        mock!(Ec2::delete_security_group).then_output(|| DeleteSecurityGroupOutput::builder().build());
    let elb = elb(&[&balancers, &targets, &tags, &balancer, &target]);
    let ec2 = ec2(&[&groups(true), &ours, &close, &group]);
    let planned = plan(&elb, &ec2, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!((planned.changes.len(), balancer.num_calls()), (3, 0));
    prune(&elb, &ec2, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(
        (close.num_calls(), balancer.num_calls(), target.num_calls(), group.num_calls()),
        (1, 1, 1, 1)
    );
}

#[tokio::test]
async fn a_balancer_that_a_link_still_uses_is_waited_for() {
    let [balancers, targets, tags] = described(balancer().build(), target_group().build());
    let [_, ours] = rules(vec![]);
    let close = mock!(Ec2::revoke_security_group_ingress)
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let used = mock!(Elb::delete_load_balancer).then_error(|| {
        DeleteLoadBalancerError::generic(ErrorMetadata::builder().code("ResourceInUse").build())
    });
    let elb = elb(&[&balancers, &targets, &tags, &used]);
    let ec2 = ec2(&[&groups(true), &ours, &close]);
    let error = prune(&elb, &ec2, &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn a_function_gets_a_target_group_without_a_port_and_no_way_to_the_services() {
    let spec = "
apiVersion: plinth/v1
name: demo
functions: { index: { package: reportportal-index } }
loadBalancers:
  outer:
    type: application
    scheme: internet-facing
    listeners: { main: { port: 80, default: '${functions.index}' } }
";
    let mut context = context(Operation::Ensure);
    context.spec = spec::parse(spec, None).expect("a spec");
    let wanted = wanted(&context).expect("a spec").remove(0);
    assert_eq!(wanted.ports, BTreeSet::new());
    let [absent_balancer, absent] = nothing();
    let created = TargetGroup::builder().target_group_arn("arn:index").build();
    let create = mock!(Elb::create_target_group)
        .match_requests(|request| {
            request.target_type() == Some(&aws_sdk_elasticloadbalancingv2::types::TargetTypeEnum::Lambda)
                && request.port().is_none()
                && request.vpc_id().is_none()
                && !request.tags().is_empty()
        })
        .then_output(move || CreateTargetGroupOutput::builder().target_groups(created.clone()).build());
    let elb = mock_client!(
        aws_sdk_elasticloadbalancingv2,
        RuleMode::MatchAny,
        [&absent_balancer, &absent, &create]
    );
    let arns = target_group::ensure(&elb, &context, &wanted.targets).await.expect("target groups");
    assert_eq!(arns, [("function-index".to_owned(), "arn:index".to_owned())].into());
}

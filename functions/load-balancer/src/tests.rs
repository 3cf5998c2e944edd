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
        describe_load_balancer_attributes::DescribeLoadBalancerAttributesOutput,
        describe_load_balancers::{DescribeLoadBalancersError, DescribeLoadBalancersOutput},
        describe_tags::DescribeTagsOutput,
        describe_target_groups::{DescribeTargetGroupsError, DescribeTargetGroupsOutput},
        modify_target_group::ModifyTargetGroupOutput,
        set_security_groups::SetSecurityGroupsOutput,
        set_subnets::SetSubnetsOutput,
    },
    types::{
        AvailabilityZone, LoadBalancer, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerTypeEnum,
        Matcher, ProtocolEnum, TagDescription, TargetGroup, TargetTypeEnum,
    },
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
    let wanted = &wanted(&context(Operation::Plan)).expect("a wish")[0].targets[0];
    TargetGroup::builder()
        .target_group_arn("arn:app")
        .target_group_name(&wanted.name)
        .health_check_protocol(ProtocolEnum::Http)
        .health_check_path("/ping")
        .health_check_port("traffic-port")
        .matcher(Matcher::builder().http_code("200").build())
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

/// Whether balancers are protected from being deleted.
fn protected(protected: bool) -> Mocked {
    let attribute = LoadBalancerAttribute::builder().key("deletion_protection.enabled");
    let attribute = attribute.value(protected.to_string()).build();
    mock!(Elb::describe_load_balancer_attributes).then_output(move || {
        DescribeLoadBalancerAttributesOutput::builder().attributes(attribute.clone()).build()
    })
}

/// Every balancer and target group that is asked for carries our tags.
fn tags() -> Mocked {
    let owner = context(Operation::Plan).owner();
    mock!(Elb::describe_tags).then_compute_output(move |request| {
        let description = |arn: &String| {
            let address = match arn.as_str() {
                "arn:inner" | "arn:public" => ADDRESS,
                "arn:dropped" => "loadBalancers.outer.targets.app",
                _ => "loadBalancers.inner.targets.app",
            };
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

/// Target groups, where all are asked for.
fn listed(groups: Vec<TargetGroup>) -> Mocked {
    mock!(Elb::describe_target_groups).match_requests(|request| request.names().is_empty()).then_output(
        move || DescribeTargetGroupsOutput::builder().set_target_groups(Some(groups.clone())).build(),
    )
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
                && request.target_type() == Some(&TargetTypeEnum::Ip)
                && request.health_check_path() == Some("/ping")
                && request.health_check_port() == Some("traffic-port")
                && request.matcher().and_then(Matcher::http_code) == Some("200")
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
        &elb(&[&no_balancer, &listed(Vec::new()), &no_group, &balancer, &unfiltered, &group]),
        &ec2(&[&groups(false), &security, &own, &ours, &open]),
        &context(Operation::Ensure),
    )
    .await
    .expect("an answer");
    assert_eq!(answer.output["inner"]["targets"]["app"], "arn:app");
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
async fn a_balancer_that_the_spec_drops_reaches_its_service_at_the_new_port_until_the_end() {
    let dropped = target_group().target_group_arn("arn:dropped").set_load_balancer_arns(None);
    let dropped = dropped.load_balancer_arns("arn:outer").build();
    let outer = LoadBalancer::builder().load_balancer_arn("arn:outer").security_groups("sg-outer").build();
    let its_groups = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.load_balancer_arns() == ["arn:outer"])
        .then_output(move || DescribeLoadBalancersOutput::builder().load_balancers(outer.clone()).build());
    let [balancers, targets, tags] = described(balancer().build(), target_group().build());
    let open = mock!(Ec2::authorize_security_group_ingress)
        .match_requests(|request| {
            let permission = &request.ip_permissions()[0];
            let address = request.tag_specifications()[0].tags().iter().filter_map(Ec2Tag::value);
            request.group_id() == Some("sg-services")
                && (permission.from_port(), permission.to_port()) == (Some(8080), Some(8080))
                && permission.user_id_group_pairs()[0].group_id() == Some("sg-outer")
                && address.clone().any(|address| address == "loadBalancers.outer.reach.8080")
        })
        .then_output(|| AuthorizeSecurityGroupIngressOutput::builder().build());
    let [own, ours] = rules(own_rules());
    let all = listed(vec![target_group().build(), dropped]);
    let elb = elb(&[&its_groups, &balancers, &all, &targets, &tags]);
    let ec2 = ec2(&[&groups(true), &own, &ours, &open]);
    ensure(&elb, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(open.num_calls(), 1);
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_put_back_and_closed_at_the_end() {
    let elsewhere = vec![AvailabilityZone::builder().subnet_id("subnet-a").build()];
    let drifted = balancer().set_availability_zones(Some(elsewhere)).build();
    let statuses = Matcher::builder().http_code("200-399").build();
    let checked = target_group().health_check_path("/").health_check_port("8080").matcher(statuses).build();
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
            "loadBalancers.inner.targets.app health.path",
            "loadBalancers.inner.targets.app health.port",
            "loadBalancers.inner.targets.app health.status"
        ]
    );

    let subnets = mock!(Elb::set_subnets).then_output(|| SetSubnetsOutput::builder().build());
    let check = mock!(Elb::modify_target_group)
        .match_requests(|request| {
            request.health_check_path() == Some("/ping")
                && request.health_check_port() == Some("traffic-port")
                && request.matcher().and_then(Matcher::http_code) == Some("200")
        })
        .then_output(|| ModifyTargetGroupOutput::builder().build());
    let close = mock!(Ec2::revoke_security_group_ingress)
        .match_requests(|request| request.security_group_rule_ids() == ["sgr-22"])
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let elb = elb(&[&balancers, &targets, &tags, &subnets, &check]);
    let ec2 = ec2(&[&groups(true), &own, &ours, &close]);
    ensure(&elb, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!((subnets.num_calls(), check.num_calls(), close.num_calls()), (1, 1, 0));
    prune(&elb, &ec2, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(close.num_calls(), 1);
}

#[tokio::test]
async fn a_balancer_of_another_scheme_is_replaced_the_new_one_before_the_old() {
    let [_, no_group] = nothing();
    let old = public();
    let known = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names() == ["demo-inner"] || request.names().is_empty())
        .then_output(move || DescribeLoadBalancersOutput::builder().load_balancers(old.clone()).build());
    let absent = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names() == [instead()])
        .then_error(|| {
            let meta = ErrorMetadata::builder().code("LoadBalancerNotFound").build();
            DescribeLoadBalancersError::generic(meta)
        });
    let create = mock!(Elb::create_load_balancer)
        .match_requests(|request| request.name() == Some(&instead()))
        .then_output(|| CreateLoadBalancerOutput::builder().load_balancers(balancer().build()).build());
    let unfiltered =
        mock!(Elb::set_security_groups).then_output(|| SetSecurityGroupsOutput::builder().build());
    let group = mock!(Elb::create_target_group)
        .then_output(|| CreateTargetGroupOutput::builder().target_groups(target_group().build()).build());
    let [own, ours] = rules(own_rules());
    let (listed, tags, free) = (listed(Vec::new()), tags(), protected(false));
    let elb = elb(&[&known, &absent, &listed, &no_group, &tags, &free, &create, &unfiltered, &group]);
    let ec2 = ec2(&[&groups(true), &own, &ours]);
    let planned = target_less(plan(&elb, &ec2, &context(Operation::Plan)).await);
    let created = Change::create(ADDRESS).with("name", instead());
    let created = created.with("type", "network").with("scheme", "internal");
    assert_eq!(planned, [Change::delete(ADDRESS).with("name", "demo-inner"), created]);
    ensure(&elb, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!((create.num_calls(), group.num_calls()), (1, 1));
}

/// What is planned of balancers.
fn target_less(planned: Result<Answer>) -> Vec<Change> {
    let mut changes = planned.expect("an answer").changes;
    changes.retain(|change| change.address == ADDRESS);
    changes
}

/// The balancer before its scheme changed.
fn public() -> LoadBalancer {
    balancer().load_balancer_arn("arn:public").scheme(LoadBalancerSchemeEnum::InternetFacing).build()
}

/// What a balancer is called that takes its place.
fn instead() -> String {
    step::name_of("demo", "inner", 32, "network internal")
}

#[tokio::test]
async fn a_balancer_goes_with_its_target_groups_once_another_stands_in_its_place() {
    let find = |balancers: Vec<LoadBalancer>| {
        mock!(Elb::describe_load_balancers).then_output(move || {
            DescribeLoadBalancersOutput::builder().set_load_balancers(Some(balancers.clone())).build()
        })
    };
    let of_old =
        target_group().target_group_arn("arn:old").target_group_name("old").set_load_balancer_arns(None);
    let of_old = of_old.load_balancer_arns("arn:public").build();
    let targets = mock!(Elb::describe_target_groups).then_output(move || {
        let groups = vec![target_group().build(), of_old.clone()];
        DescribeTargetGroupsOutput::builder().set_target_groups(Some(groups)).build()
    });
    let balancers = mock!(Elb::delete_load_balancer)
        .match_requests(|request| request.load_balancer_arn() == Some("arn:public"))
        .then_output(|| DeleteLoadBalancerOutput::builder().build());
    let groups_gone = mock!(Elb::delete_target_group)
        .match_requests(|request| request.target_group_arn() == Some("arn:old"))
        .then_output(|| DeleteTargetGroupOutput::builder().build());
    let [_, ours] = rules(own_rules());
    let ec2 = ec2(&[&groups(true), &ours]);
    let alone = find(vec![public()]);
    let rules = [&alone, &targets, &tags(), &balancers, &groups_gone];
    let mut context = context(Operation::Prune);
    context.outputs = Outputs::default();
    prune(&elb(&rules), &ec2, &context).await.expect("an answer");
    assert_eq!((balancers.num_calls(), groups_gone.num_calls()), (0, 0));
    let new = balancer().load_balancer_name(instead()).build();
    let both = find(vec![public(), new.clone()]);
    let rules = [&both, &targets, &tags(), &balancers, &groups_gone];
    prune(&elb(&rules), &ec2, &context).await.expect("an answer");
    assert_eq!((balancers.num_calls(), groups_gone.num_calls()), (1, 1));

    // It keeps its name when it is alone.
    let known = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names() == [instead()])
        .then_output(move || DescribeLoadBalancersOutput::builder().load_balancers(new.clone()).build());
    let absent = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names() == ["demo-inner"])
        .then_error(|| {
            let meta = ErrorMetadata::builder().code("LoadBalancerNotFound").build();
            DescribeLoadBalancersError::generic(meta)
        });
    let found = wanted_of(SPEC);
    let elb = elb(&[&known, &absent, &tags()]);
    let (name, place) = balancer::place(&elb, &context, &found).await.expect("a place");
    assert_eq!((name, place.is_some()), (instead(), true));
}

#[tokio::test]
async fn a_name_that_a_balancer_of_another_scheme_holds_is_refused_with_the_remedy() {
    let [balancers, targets, tags] = described(public(), target_group().build());
    let [own, ours] = rules(own_rules());
    let elb = elb(&[&balancers, &targets, &tags, &protected(false)]);
    let mut context = context(Operation::Plan);
    context.spec.load_balancers.get_mut("inner").expect("a balancer").name = Some("demo-inner".to_owned());
    let error = plan(&elb, &ec2(&[&groups(true), &own, &ours]), &context).await.unwrap_err();
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
    let elb = elb(&[&balancers, &targets, &tags, &protected(false), &balancer, &target]);
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
async fn a_balancer_that_somebody_has_protected_is_told_before_anything_is_deleted() {
    let [balancers, targets, tags] = described(balancer().build(), target_group().build());
    let [_, ours] = rules(vec![]);
    let elb = elb(&[&balancers, &targets, &tags, &protected(true)]);
    let planned =
        plan(&elb, &ec2(&[&groups(true), &ours]), &dropped(Operation::Plan)).await.expect("an answer");
    let [told] = planned.refused.as_slice() else { panic!("{:?}", planned.refused) };
    assert!(
        told.starts_with("loadBalancers.inner: load balancer (demo-inner) has deletion protection"),
        "{told}"
    );
    assert!(told.contains("--load-balancer-arn arn:inner"), "{told}");
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
            request.target_type() == Some(&TargetTypeEnum::Lambda)
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
    assert_eq!(arns, [("function.index".to_owned(), "arn:index".to_owned())].into());
}

/// The first balancer of a spec, as it is wanted.
fn wanted_of(spec: &str) -> Wanted {
    let mut context = context(Operation::Ensure);
    context.spec = spec::parse(spec, None).expect("a spec");
    wanted(&context).expect("a wish").remove(0)
}

const INSTANCES: &str = "
apiVersion: plinth/v1
name: demo
cluster: { capacity: ec2, instances: { type: t3.small } }
loadBalancers:
  outer:
    type: application
    scheme: internet-facing
    listeners:
      main:
        port: 80
        default: '${services.app}'
        rules: { admin: { paths: [/admin], to: '${services.app.9090}' } }
services:
  app: { image: nginx, memory: 128, ports: [8080, 9090], hostPorts: { 9090: 90 } }
";

#[tokio::test]
async fn services_on_instances_are_reached_at_the_ports_these_have() {
    let wanted = wanted_of(INSTANCES);
    assert_eq!(wanted.ports, [(90, 90), (32768, 65535)].into());
    let addresses: Vec<String> =
        wanted.reach(&["sg-outer".to_owned()]).into_iter().map(|rule| rule.address).collect();
    assert_eq!(addresses, ["loadBalancers.outer.reach.90", "loadBalancers.outer.reach.32768-65535"]);
    let mut context = context(Operation::Ensure);
    context.spec = spec::parse(INSTANCES, None).expect("a spec");
    assert!(addresses.iter().all(|address| kept(&context).addresses.contains(address)));

    let create = mock!(Elb::create_target_group)
        .match_requests(|request| request.target_type() == Some(&TargetTypeEnum::Instance))
        .then_output(|| CreateTargetGroupOutput::builder().target_groups(target_group().build()).build());
    let [_, absent] = nothing();
    target_group::ensure(&elb(&[&absent, &create]), &context, &wanted.targets).await.expect("groups");
    assert_eq!(create.num_calls(), 2);
}

#[test]
fn a_changed_kind_of_target_is_another_group() {
    let spec = INSTANCES
        .replace("memory: 128", "memory: 128, networkMode: awsvpc")
        .replace(", hostPorts: { 9090: 90 }", "");
    let (on_instances, alone) = (wanted_of(INSTANCES), wanted_of(&spec));
    assert_eq!(alone.ports, [(8080, 8080), (9090, 9090)].into());
    assert_eq!(alone.targets[0].address, on_instances.targets[0].address);
    assert_ne!(alone.targets[0].name, on_instances.targets[0].name);
}

#[tokio::test]
async fn the_port_that_is_asked_is_open_too_and_told_to_the_group() {
    let spec = SPEC.replace("path: /ping", "path: /ping, port: 9000, status: 200-299");
    let wanted = wanted_of(&spec);
    assert_eq!(wanted.ports, [(8080, 8080), (9000, 9000)].into());
    let [_, absent] = nothing();
    let create = mock!(Elb::create_target_group)
        .match_requests(|request| {
            request.health_check_port() == Some("9000")
                && request.matcher().and_then(Matcher::http_code) == Some("200-299")
        })
        .then_output(|| CreateTargetGroupOutput::builder().target_groups(target_group().build()).build());
    let context = context(Operation::Ensure);
    target_group::ensure(&elb(&[&absent, &create]), &context, &wanted.targets).await.expect("groups");
    assert_eq!(create.num_calls(), 1);
}

const THEIRS: &str = "
apiVersion: plinth/v1
name: demo
network: { vpc: vpc-0000000a, public: [subnet-0000000a], private: [subnet-0000000b, subnet-0000000c] }
loadBalancers:
  shared:
    name: company
    existing: true
    type: application
    scheme: internal
    listeners: { main: { port: 443, rules: { app: { hosts: [app.example.com], to: '${services.app}' } } } }
services:
  app: { image: nginx, ports: [8080] }
";

fn theirs(operation: Operation) -> Context {
    Context { spec: spec::parse(THEIRS, None).expect("a spec"), ..context(operation) }
}

fn company() -> aws_sdk_elasticloadbalancingv2::types::builders::LoadBalancerBuilder {
    LoadBalancer::builder()
        .load_balancer_arn("arn:company")
        .load_balancer_name("company")
        .dns_name("company.example")
        .vpc_id("vpc-1")
        .r#type(LoadBalancerTypeEnum::Application)
        .scheme(LoadBalancerSchemeEnum::Internal)
        .security_groups("sg-their")
        .security_groups("sg-other")
}

/// The balancer of somebody else carries tags of theirs, and the target group of one of ours our tags.
fn their_tags() -> Mocked {
    let owner = context(Operation::Plan).owner();
    mock!(Elb::describe_tags).then_compute_output(move |request| {
        let description = |arn: &String| {
            let tags = match arn.as_str() {
                "arn:app" => balancer::tag_list(&owner.tags("loadBalancers.shared.targets.app")),
                _ => {
                    vec![aws_sdk_elasticloadbalancingv2::types::Tag::builder().key("team").value("x").build()]
                }
            };
            TagDescription::builder().resource_arn(arn).set_tags(Some(tags)).build()
        };
        let descriptions = request.resource_arns().iter().map(description).collect();
        DescribeTagsOutput::builder().set_tag_descriptions(Some(descriptions)).build()
    })
}

fn no_rules() -> Mocked {
    mock!(Ec2::describe_security_group_rules)
        .then_output(|| DescribeSecurityGroupRulesOutput::builder().build())
}

#[tokio::test]
async fn an_existing_balancer_is_used_as_it_is_and_let_in_by_its_own_groups() {
    let [_, absent] = nothing();
    let balancers = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names() == ["company"])
        .then_output(|| DescribeLoadBalancersOutput::builder().load_balancers(company().build()).build());
    let create = mock!(Elb::create_target_group)
        .match_requests(|request| !request.tags().is_empty())
        .then_output(|| CreateTargetGroupOutput::builder().target_groups(target_group().build()).build());
    let open = |group: &'static str| {
        mock!(Ec2::authorize_security_group_ingress)
            .match_requests(move |request| {
                let pairs = request.ip_permissions()[0].user_id_group_pairs();
                request.group_id() == Some("sg-services") && pairs[0].group_id() == Some(group)
            })
            .then_output(|| AuthorizeSecurityGroupIngressOutput::builder().build())
    };
    let (first, second) = (open("sg-their"), open("sg-other"));
    let elb = elb(&[&balancers, &their_tags(), &listed(Vec::new()), &absent, &create]);
    let answer = ensure(&elb, &ec2(&[&no_rules(), &first, &second]), &theirs(Operation::Ensure)).await;
    let output = answer.expect("an answer").output["shared"].clone();
    assert_eq!((&output["arn"], &output["host"]), (&"arn:company".into(), &"company.example".into()));
    assert_eq!(output["targets"]["app"], "arn:app");
    assert_eq!((create.num_calls(), first.num_calls(), second.num_calls()), (1, 1, 1));
}

/// What a plan says of an existing balancer that AWS describes so.
async fn planned(found: Option<LoadBalancer>, tags: &Mocked) -> Result<Answer> {
    let [absent_balancer, absent] = nothing();
    let all = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.names().is_empty())
        .then_output(|| DescribeLoadBalancersOutput::builder().build());
    let named = match found {
        Some(found) => mock!(Elb::describe_load_balancers)
            .match_requests(|request| !request.names().is_empty())
            .then_output(move || {
                DescribeLoadBalancersOutput::builder().load_balancers(found.clone()).build()
            }),
        None => absent_balancer,
    };
    let elb = elb(&[&all, &named, tags, &listed(Vec::new()), &absent]);
    plan(&elb, &ec2(&[&self::groups(false), &no_rules()]), &theirs(Operation::Plan)).await
}

#[tokio::test]
async fn the_plan_of_an_existing_balancer_names_its_targets_and_the_way_to_them() {
    let answer = planned(Some(company().build()), &their_tags()).await.expect("an answer");
    let told: Vec<_> = answer.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(told, ["loadBalancers.shared.reach", "loadBalancers.shared.targets.app"]);
    assert_eq!(answer.output["shared"]["arn"], "arn:company");
}

#[tokio::test]
async fn an_existing_balancer_that_is_not_what_the_spec_says_is_refused() {
    let ours = {
        let tags = balancer::tag_list(&context(Operation::Plan).owner().tags("loadBalancers.shared"));
        let description = TagDescription::builder().resource_arn("arn:company").set_tags(Some(tags)).build();
        mock!(Elb::describe_tags)
            .then_output(move || DescribeTagsOutput::builder().tag_descriptions(description.clone()).build())
    };
    let public = company().scheme(LoadBalancerSchemeEnum::InternetFacing).build();
    let network = company().r#type(LoadBalancerTypeEnum::Network).build();
    let elsewhere = company().vpc_id("vpc-2").build();
    let cases = [
        (planned(None, &their_tags()).await, "there is no load balancer (company) in us-east-1"),
        (planned(Some(public), &their_tags()).await, "is application and internet-facing"),
        (planned(Some(network), &their_tags()).await, "is network and internal"),
        (planned(Some(elsewhere), &their_tags()).await, "stands in vpc-2"),
        (planned(Some(company().build()), &ours).await, "is this environment's own"),
    ];
    for (answer, why) in cases {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn of_a_dropped_existing_balancer_only_what_is_ours_goes() {
    let balancers = mock!(Elb::describe_load_balancers)
        .then_output(|| DescribeLoadBalancersOutput::builder().load_balancers(company().build()).build());
    let targets = mock!(Elb::describe_target_groups)
        .then_output(|| DescribeTargetGroupsOutput::builder().target_groups(target_group().build()).build());
    let reach = rule("sgr-reach", "sg-services", 8080)
        .referenced_group_info(ReferencedSecurityGroup::builder().group_id("sg-their").build())
        .set_tags(Some(ec2_tags("loadBalancers.shared.reach.8080")))
        .build();
    let rules = mock!(Ec2::describe_security_group_rules).then_output(move || {
        DescribeSecurityGroupRulesOutput::builder().security_group_rules(reach.clone()).build()
    });
    let close = mock!(Ec2::revoke_security_group_ingress)
        .match_requests(|request| request.security_group_rule_ids() == ["sgr-reach"])
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let delete = mock!(Elb::delete_target_group).then_output(|| DeleteTargetGroupOutput::builder().build());
    let elb = elb(&[&balancers, &targets, &their_tags(), &delete]);
    let ec2 = ec2(&[&groups(false), &rules, &close]);
    let kept = prune(&elb, &ec2, &theirs(Operation::Prune)).await.expect("an answer");
    assert_eq!((kept.changes, delete.num_calls()), (Vec::new(), 0));
    let pruned = prune(&elb, &ec2, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((pruned.changes.len(), close.num_calls(), delete.num_calls()), (1, 1, 1));
}

#[tokio::test]
async fn the_group_of_a_balancer_that_became_somebody_elses_goes() {
    let context = theirs(Operation::Plan);
    assert!(!kept(&context).addresses.contains("loadBalancers.shared.group"));
    assert!(kept(&context).addresses.contains("loadBalancers.shared.reach.8080"));
}

use aws_sdk_ecs::{
    operation::describe_services::DescribeServicesOutput,
    types::{Deployment, DeploymentRolloutState, Service},
};
use aws_sdk_elasticloadbalancingv2::{
    operation::{
        describe_load_balancers::DescribeLoadBalancersOutput,
        describe_target_health::DescribeTargetHealthOutput,
    },
    types::{
        LoadBalancer, LoadBalancerState, LoadBalancerStateEnum, TargetHealth, TargetHealthDescription,
        TargetHealthStateEnum,
    },
};
use aws_sdk_route53::{
    error::ErrorMetadata,
    operation::{
        associate_vpc_with_hosted_zone::AssociateVpcWithHostedZoneOutput,
        change_resource_record_sets::{ChangeResourceRecordSetsError, ChangeResourceRecordSetsOutput},
        change_tags_for_resource::ChangeTagsForResourceOutput,
        create_hosted_zone::{CreateHostedZoneError, CreateHostedZoneOutput},
        delete_hosted_zone::{DeleteHostedZoneError, DeleteHostedZoneOutput},
        disassociate_vpc_from_hosted_zone::DisassociateVpcFromHostedZoneOutput,
        get_hosted_zone::GetHostedZoneOutput,
        list_hosted_zones::ListHostedZonesOutput,
        list_resource_record_sets::ListResourceRecordSetsOutput,
        list_tags_for_resource::ListTagsForResourceOutput,
    },
    primitives::DateTime,
    types::{
        AliasTarget, Change as Write, ChangeAction, ChangeBatch, ChangeInfo, ChangeStatus, HostedZone,
        HostedZoneConfig, ResourceRecord, ResourceRecordSet, ResourceTagSet, RrType, Tag, TagResourceType,
        Vpc, VpcRegion,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::{Timestamp, ToSpan};
use spec::Spec;
use step::{DatabaseOutput, Error, LoadBalancerOutput, NetworkOutput, Outputs, UNKNOWN};

use super::*;

const BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/demo-web/1";
const ALIAS: &str = "demo-web-1.us-east-1.elb.amazonaws.com";
const PROOF: &str = "environment=demo address=dns.example.com.app control-plane=plinth-bucket";

/// A zone as the spec has it: its name, whether it is private, and its records.
type Spoken<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

fn context(operation: Operation, zones: &[Spoken]) -> Context {
    let mut spec = Spec::empty("demo");
    for (name, private, records) in zones {
        let text = |(name, value): &(&str, &str)| (name.to_string(), value.parse().expect("a text"));
        let records = records.iter().map(text).collect();
        spec.dns.insert(name.to_string(), spec::Zone { private: *private, protect: false, records });
    }
    let web = LoadBalancerOutput { arn: BALANCER.to_owned(), host: ALIAS.to_owned(), ..Default::default() };
    let outputs = Outputs {
        network: Some(NetworkOutput { vpc: "vpc-1".to_owned(), ..Default::default() }),
        load_balancers: [("web".to_owned(), web)].into(),
        ..Default::default()
    };
    step::test::context(operation, spec, outputs)
}

const APP: &[Spoken] = &[("example.com", false, &[("app", "other.example.org")])];
const WEB: &[Spoken] =
    &[("example.com", false, &[("@", "${loadBalancers.web}"), ("*", "${loadBalancers.web}")])];
const INSIDE: &[Spoken] = &[("demo.internal", true, &[])];

fn behind() -> Behind {
    let balancer = LoadBalancer::builder()
        .load_balancer_arn(BALANCER)
        .dns_name("Demo-web-1.us-east-1.elb.amazonaws.com")
        .canonical_hosted_zone_id("ZELB");
    let described = mock!(Elb::describe_load_balancers).then_output(move || {
        DescribeLoadBalancersOutput::builder().load_balancers(balancer.clone().build()).build()
    });
    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, &[&described]);
    Behind { elb, ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, &[]) }
}

/// ECS's answer for a service that runs its one task in this target group.
fn steady(group: &'static str) -> Rule {
    mock!(Ecs::describe_services).then_output(move || {
        let used = aws_sdk_ecs::types::LoadBalancer::builder().target_group_arn(group).build();
        let completed = Deployment::builder().status("PRIMARY");
        let completed = completed.rollout_state(DeploymentRolloutState::Completed).build();
        let service = Service::builder().status("ACTIVE").desired_count(1).running_count(1);
        let service = service.load_balancers(used).deployments(completed).build();
        DescribeServicesOutput::builder().services(service).build()
    })
}

fn route53(rules: &[Rule]) -> Route53 {
    mock_client!(aws_sdk_route53, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn zone(id: &str, name: &str, reference: Option<&str>, records: i64) -> HostedZone {
    let private = HostedZoneConfig::builder().private_zone(reference.is_some()).build();
    HostedZone::builder()
        .id(format!("/hostedzone/{id}"))
        .name(format!("{name}."))
        .caller_reference(reference.unwrap_or("theirs"))
        .config(private)
        .resource_record_set_count(records)
        .build()
        .expect("a zone")
}

/// The environment's own zone, with the reference that `CreateHostedZone` was sent.
fn own(records: i64) -> HostedZone {
    let proof = step::digits("plinth-bucket demo demo.internal", 32);
    zone("ZOWN", "demo.internal", Some(&format!("plinth-demo-{proof}-0123")), records)
}

fn zones(zones: Vec<HostedZone>) -> Rule {
    mock!(Route53::list_hosted_zones).then_output(move || {
        ListHostedZonesOutput::builder()
            .set_hosted_zones(Some(zones.clone()))
            .marker("")
            .is_truncated(false)
            .max_items(100)
            .build()
            .expect("zones")
    })
}

fn public() -> Rule {
    zones(vec![zone("ZPUB", "example.com", None, 9), zone("ZOTHER", "other.com", None, 2)])
}

fn records(sets: Vec<ResourceRecordSet>) -> Rule {
    mock!(Route53::list_resource_record_sets).then_output(move || {
        ListResourceRecordSetsOutput::builder()
            .set_resource_record_sets(Some(sets.clone()))
            .is_truncated(false)
            .max_items(300)
            .build()
            .expect("records")
    })
}

fn set(name: &str, kind: RrType, value: &str) -> ResourceRecordSet {
    let value = ResourceRecord::builder().value(value).build().expect("a value");
    let set = ResourceRecordSet::builder().name(format!("{name}.")).r#type(kind).ttl(300);
    set.resource_records(value).build().expect("a record")
}

fn alias(name: &str, kind: RrType) -> ResourceRecordSet {
    let target = AliasTarget::builder().hosted_zone_id("ZELB").dns_name(format!("{ALIAS}."));
    let target = target.evaluate_target_health(false).build().expect("a target");
    let set = ResourceRecordSet::builder().name(format!("{name}.")).r#type(kind);
    set.alias_target(target).build().expect("a record")
}

/// The record and the proof that `APP` asks for, written this long ago.
fn standing(seconds: i64) -> Vec<ResourceRecordSet> {
    let since = Timestamp::now() - seconds.seconds();
    vec![
        set("example.com", RrType::Ns, "ns-1.example.net."),
        set("app.example.com", RrType::Cname, "other.example.org"),
        set("_plinth.app.example.com", RrType::Txt, &format!("\"{PROOF} since={since}\"")),
    ]
}

fn answered(status: ChangeStatus) -> ChangeResourceRecordSetsOutput {
    let info = ChangeInfo::builder().id("/change/C1").status(status).submitted_at(DateTime::from_secs(0));
    ChangeResourceRecordSetsOutput::builder().change_info(info.build().expect("a change")).build()
}

/// Takes a batch that is told as these lines, in order.
fn takes(lines: &'static [&'static str], status: ChangeStatus) -> Rule {
    mock!(Route53::change_resource_record_sets)
        .match_requests(move |request| {
            let changes = request.change_batch().map(ChangeBatch::changes).unwrap_or_default();
            let told: Vec<String> = changes.iter().map(told).collect();
            assert_eq!(told, lines);
            true
        })
        .then_output(move || answered(status.clone()))
}

fn told(write: &Write) -> String {
    let set = write.resource_record_set().expect("a record");
    let value = match set.alias_target() {
        Some(target) => format!("{}@{}", target.dns_name(), target.hosted_zone_id()),
        None => set.resource_records()[0].value().split(" since=").next().unwrap_or_default().to_owned(),
    };
    format!("{} {} {} {value}", write.action().as_str(), set.r#type().as_str(), set.name())
}

fn fields(answer: &Answer) -> Vec<(&str, Vec<&str>)> {
    answer
        .changes
        .iter()
        .map(|change| {
            (change.address.as_str(), change.fields.iter().map(|field| field.name.as_str()).collect())
        })
        .collect()
}

async fn planned(rules: &[Rule], context: &Context) -> Result<Answer> {
    plan(&route53(rules), &behind(), context).await
}

#[tokio::test]
async fn a_missing_record_is_created_with_its_proof_and_waited_for() {
    let rules = [
        public(),
        records(vec![set("example.com", RrType::Ns, "ns-1.example.net.")]),
        takes(
            &[
                "CREATE CNAME app.example.com other.example.org",
                "CREATE TXT _plinth.app.example.com \"environment=demo address=dns.example.com.app \
                 control-plane=plinth-bucket",
            ],
            ChangeStatus::Pending,
        ),
    ];
    let found = planned(&rules, &context(Operation::Plan, APP)).await.expect("an answer");
    let create = Change::create("dns.example.com.app").with("value", "CNAME other.example.org");
    assert_eq!(found.changes, [create]);
    assert_eq!(rules[2].num_calls(), 0);
    let error = ensure(&route53(&rules), &behind(), &context(Operation::Ensure, APP)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert_eq!(rules[2].num_calls(), 1);
}

#[tokio::test]
async fn a_change_that_has_spread_at_once_isnt_waited_for() {
    let rules = [
        public(),
        records(Vec::new()),
        mock!(Route53::change_resource_record_sets).then_output(|| answered(ChangeStatus::Insync)),
    ];
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, APP)).await.expect("an answer");
}

#[tokio::test]
async fn a_record_that_matches_is_left_alone_and_planned_as_nothing() {
    let rules = [public(), records(standing(3600))];
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, APP)).await.expect("an answer");
    assert_eq!(planned(&rules, &context(Operation::Plan, APP)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_later_pass_waits_a_minute_for_what_its_run_wrote_and_not_for_what_another_did() {
    let pass = async |written: i64, began: i64| {
        let mut context = context(Operation::Ensure, APP);
        context.since = Timestamp::now() - began.seconds();
        let rules = [public(), records(standing(written))];
        ensure(&route53(&rules), &behind(), &context).await
    };
    assert_eq!(pass(5, 10).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(pass(55, 80).await.unwrap_err().kind(), "NotReadySoon");
    pass(61, 80).await.expect("it has spread");
    pass(20, 10).await.expect("an earlier run's");
}

#[tokio::test]
async fn a_load_balancer_becomes_an_alias_for_both_kinds_of_address_also_at_the_apex() {
    let rules = [
        public(),
        records(vec![set("example.com", RrType::Mx, "10 mail.example.net.")]),
        takes(
            &[
                "CREATE A *.example.com demo-web-1.us-east-1.elb.amazonaws.com@ZELB",
                "CREATE AAAA *.example.com demo-web-1.us-east-1.elb.amazonaws.com@ZELB",
                "CREATE TXT _plinth._any.example.com \"environment=demo address=dns.example.com.* \
                 control-plane=plinth-bucket",
                "CREATE A example.com demo-web-1.us-east-1.elb.amazonaws.com@ZELB",
                "CREATE AAAA example.com demo-web-1.us-east-1.elb.amazonaws.com@ZELB",
                "CREATE TXT _plinth.example.com \"environment=demo address=dns.example.com.@ \
                 control-plane=plinth-bucket",
            ],
            ChangeStatus::Insync,
        ),
    ];
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, WEB)).await.expect("an answer");
    assert_eq!(rules[2].num_calls(), 1);
}

#[tokio::test]
async fn a_record_follows_a_new_balancer_once_its_service_is_well() {
    let proof = "\"environment=demo address=dns.example.com.app control-plane=plinth-bucket\"";
    let old = || {
        let target = AliasTarget::builder().hosted_zone_id("ZELB").dns_name("old.elb.amazonaws.com.");
        let target = target.evaluate_target_health(false).build().expect("a target");
        let set = |kind| ResourceRecordSet::builder().name("app.example.com.").r#type(kind);
        let set = |kind| set(kind).alias_target(target.clone()).build().expect("a record");
        let txt = self::set("_plinth.app.example.com", RrType::Txt, proof);
        records(vec![set(RrType::A), set(RrType::Aaaa), txt])
    };
    let balancer = |state: LoadBalancerStateEnum| {
        let state = LoadBalancerState::builder().code(state).build();
        let balancer = LoadBalancer::builder().load_balancer_arn(BALANCER).dns_name(ALIAS).state(state);
        let balancer = balancer.canonical_hosted_zone_id("ZELB").build();
        mock!(Elb::describe_load_balancers).then_output(move || {
            DescribeLoadBalancersOutput::builder().load_balancers(balancer.clone()).build()
        })
    };
    let health = |state: TargetHealthStateEnum| {
        mock!(Elb::describe_target_health)
            .match_requests(|request| request.target_group_arn() == Some("arn:app"))
            .then_output(move || {
                let health = TargetHealth::builder().state(state.clone()).build();
                let found = TargetHealthDescription::builder().target_health(health).build();
                DescribeTargetHealthOutput::builder().target_health_descriptions(found).build()
            })
    };
    let text = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  web: { type: application, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services: { app: { image: nginx, ports: [80] } }
dns: { example.com: { records: { app: '${loadBalancers.web}' } } }
";
    let pass = async |rules: &[Rule], state, target, paused| {
        let mut context = context(Operation::Ensure, &[]);
        context.spec = spec::parse(text, None).expect("a spec");
        context.run.paused = paused;
        let output = context.outputs.load_balancers.get_mut("web").expect("a balancer");
        output.targets.insert("app".to_owned(), "arn:app".to_owned());
        let (balancer, health) = (balancer(state), health(target));
        let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [&balancer, &health]);
        let ecs = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, [&steady("arn:app")]);
        ensure(&route53(rules), &Behind { elb, ecs }, &context).await
    };
    for (state, target, lack) in [
        (
            LoadBalancerStateEnum::Provisioning,
            TargetHealthStateEnum::Healthy,
            "loadBalancers.web isn't active",
        ),
        (LoadBalancerStateEnum::Active, TargetHealthStateEnum::Initial, "0 of 1 targets"),
    ] {
        let error = pass(&[public(), old()], state, target, false).await.unwrap_err().to_string();
        assert!(error.contains("lead to another balancer while") && error.contains(lack), "{error}");
    }
    for paused in [false, true] {
        let target = if paused { TargetHealthStateEnum::Unused } else { TargetHealthStateEnum::Healthy };
        let changed =
            mock!(Route53::change_resource_record_sets).then_output(|| answered(ChangeStatus::Insync));
        let rules = [public(), old(), changed];
        pass(&rules, LoadBalancerStateEnum::Active, target, paused).await.expect("an answer");
        assert_eq!(rules[2].num_calls(), 1);
    }
}

#[tokio::test]
async fn a_wildcard_is_known_again_by_the_code_that_route_53_lists_it_as() {
    let proof = |name: &str, word: &str| {
        let says = format!("\"environment=demo address=dns.example.com.{word} control-plane=plinth-bucket\"");
        set(name, RrType::Txt, &says)
    };
    let rules = [
        public(),
        records(vec![
            alias("example.com", RrType::A),
            alias("example.com", RrType::Aaaa),
            proof("_plinth.example.com", "@"),
            alias("\\052.example.com", RrType::A),
            alias("\\052.example.com", RrType::Aaaa),
            proof("_plinth._any.example.com", "*"),
        ]),
    ];
    assert_eq!(planned(&rules, &context(Operation::Plan, WEB)).await.expect("an answer").changes, []);
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, WEB)).await.expect("an answer");
}

#[tokio::test]
async fn a_record_that_drifted_is_planned_field_by_field_and_put_right() {
    let drifted = |change: fn(&mut Vec<ResourceRecordSet>)| {
        let mut sets = standing(3600);
        change(&mut sets);
        records(sets)
    };
    let cname = "UPSERT CNAME app.example.com other.example.org";
    let proof = "UPSERT TXT _plinth.app.example.com \"environment=demo address=dns.example.com.app \
                 control-plane=plinth-bucket";
    let both: &'static [&'static str] = vec![cname, proof].leak();
    let of_proof: &'static [&'static str] = vec![proof].leak();
    let elsewhere: &'static [&'static str] = vec!["DELETE A app.example.com. 192.0.2.1", cname, proof].leak();
    let cases = [
        (drifted(|sets| sets[1].resource_records = standing(0)[0].resource_records.clone()), "value", both),
        (drifted(|sets| sets[1].ttl = Some(60)), "ttl", both),
        (drifted(|sets| sets[1] = set("app.example.com", RrType::A, "192.0.2.1")), "value", elsewhere),
        (drifted(|sets| drop(sets.remove(1))), "value", both),
        (
            drifted(|sets| {
                let moved = "\"environment=demo address=dns.example.com.api control-plane=plinth-bucket\"";
                sets[2] = set("_plinth.app.example.com", RrType::Txt, moved);
            }),
            "proof",
            of_proof,
        ),
    ];
    for (listed, field, batch) in cases {
        let rules = [public(), listed, takes(batch, ChangeStatus::Insync)];
        let answer = planned(&rules, &context(Operation::Plan, APP)).await.expect("an answer");
        assert_eq!(fields(&answer), [("dns.example.com.app", vec![field])]);
        ensure(&route53(&rules), &behind(), &context(Operation::Ensure, APP)).await.expect("an answer");
        assert_eq!(rules[2].num_calls(), 1, "{field}");
    }
}

#[tokio::test]
async fn a_name_without_our_proof_is_refused_before_anything_is_written() {
    let proof = |says: &str| set("_plinth.app.example.com", RrType::Txt, says);
    let record = || set("app.example.com", RrType::A, "192.0.2.1");
    let cases = [
        (vec![record()], "exists (A 192.0.2.1)"),
        (
            vec![proof("\"environment=demo address=a control-plane=plinth-other\"")],
            "environment demo of plinth-other",
        ),
        (vec![record(), proof("\"hello\"")], "TXT record _plinth.app.example.com that isn't ours"),
        (vec![set("app.example.com", RrType::Mx, "10 mail")], "beside which there can be no CNAME"),
    ];
    for (sets, words) in cases {
        let rules = [public(), records(sets)];
        for operation in [Operation::Plan, Operation::Ensure] {
            let context = context(operation, APP);
            let error = match operation {
                Operation::Plan => planned(&rules, &context).await.unwrap_err(),
                _ => ensure(&route53(&rules), &behind(), &context).await.unwrap_err(),
            };
            assert_eq!(error.kind(), "Conflict");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn a_batch_that_was_overtaken_is_looked_at_again_and_another_refusal_is_told() {
    let refused = |message: &'static str| {
        let rules = [
            public(),
            records(Vec::new()),
            mock!(Route53::change_resource_record_sets).then_error(move || {
                let refused = aws_sdk_route53::types::error::InvalidChangeBatch::builder().messages(message);
                let meta = ErrorMetadata::builder().code("InvalidChangeBatch").build();
                ChangeResourceRecordSetsError::InvalidChangeBatch(refused.meta(meta).build())
            }),
        ];
        async move { ensure(&route53(&rules), &behind(), &context(Operation::Ensure, APP)).await.unwrap_err() }
    };
    let overtaken = refused("Tried to create resource record set [name='a', type='A'] but it already exists");
    assert_eq!(overtaken.await.kind(), "NotReadySoon");
    let error = refused("RRSet with DNS name a is not permitted").await;
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().ends_with("RRSet with DNS name a is not permitted"), "{error}");
}

#[tokio::test]
async fn more_records_than_a_batch_takes_are_left_for_the_next_pass() {
    let names: Vec<String> = (0..300).map(|number| format!("app-{number}")).collect();
    let spoken: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "other.example.org")).collect();
    let context = context(Operation::Ensure, &[("example.com", false, &spoken)]);
    let rules = [
        public(),
        records(Vec::new()),
        mock!(Route53::change_resource_record_sets)
            .match_requests(|request| {
                let changes = request.change_batch().map(ChangeBatch::changes).unwrap_or_default();
                let sets = changes.iter().filter_map(Write::resource_record_set);
                let values = sets.flat_map(ResourceRecordSet::resource_records);
                let characters: usize = values.map(|record| record.value().len()).sum();
                changes.len() % 2 == 0 && (28_000..=32_000).contains(&characters)
            })
            .then_output(|| answered(ChangeStatus::Insync)),
    ];
    let error = ensure(&route53(&rules), &behind(), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("are left for the next pass"), "{error}");
    assert_eq!(rules[2].num_calls(), 1);
}

#[tokio::test]
async fn a_zone_that_isnt_there_or_is_there_twice_is_named_by_the_plan() {
    let error = planned(&[zones(Vec::new())], &context(Operation::Plan, APP)).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().starts_with("dns.example.com: "), "{error}");
    let two = || zones(vec![zone("Z1", "example.com", None, 2), zone("Z2", "example.com", None, 2)]);
    let error = planned(&[two()], &context(Operation::Plan, APP)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("Z1, Z2"), "{error}");
    // A private zone of that name is another.
    let private = zones(vec![zone("Z1", "example.com", Some("theirs"), 2)]);
    let error = planned(&[private], &context(Operation::Plan, APP)).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
}

#[tokio::test]
async fn what_dns_doesnt_take_is_refused_by_the_plan() {
    for (word, value) in [
        ("@", "other.example.org"),
        ("a b", "x"),
        ("a..b", "x"),
        ("a.*.b", "x"),
        ("", "x"),
        ("_any.a", "x"),
        ("_plinth.a", "x"),
    ] {
        let spoken = [(word, value)];
        let context = context(Operation::Plan, &[("example.com", false, &spoken)]);
        let error = planned(&[public(), records(Vec::new())], &context).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec", "{word}");
        assert!(error.to_string().contains(&format!("dns.example.com.{word}")), "{error}");
    }
}

#[tokio::test]
async fn a_plan_needs_neither_balancer_nor_vpc() {
    let mut context = context(Operation::Plan, &[WEB[0], INSIDE[0]]);
    let web = LoadBalancerOutput { arn: UNKNOWN.to_owned(), host: UNKNOWN.to_owned(), ..Default::default() };
    context.outputs.load_balancers.insert("web".to_owned(), web);
    context.outputs.network = Some(NetworkOutput { vpc: UNKNOWN.to_owned(), ..Default::default() });
    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, &[]);
    let nobody = Behind { elb, ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, &[]) };
    let route53 = route53(&[public(), records(Vec::new())]);
    let answer = plan(&route53, &nobody, &context).await.expect("an answer");
    let addresses: Vec<&str> = answer.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["dns.demo.internal", "dns.example.com.*", "dns.example.com.@"]);
    assert_eq!(answer.changes[0].fields[0].wanted, UNKNOWN);
}

fn told_zone(vpcs: &[&str], tags: Vec<Tag>) -> [Rule; 2] {
    let vpc = |id: &&str| Vpc::builder().vpc_region(VpcRegion::UsEast1).vpc_id(*id).build();
    let vpcs: Vec<Vpc> = vpcs.iter().map(vpc).collect();
    [
        mock!(Route53::get_hosted_zone).then_output(move || {
            GetHostedZoneOutput::builder().hosted_zone(own(2)).set_vpcs(Some(vpcs.clone())).build()
        }),
        mock!(Route53::list_tags_for_resource).then_output(move || {
            let set =
                ResourceTagSet::builder().resource_type(TagResourceType::Hostedzone).resource_id("ZOWN");
            ListTagsForResourceOutput::builder()
                .resource_tag_set(set.set_tags(Some(tags.clone())).build())
                .build()
        }),
    ]
}

fn our_tags() -> Vec<Tag> {
    let mut tags = context(Operation::Plan, INSIDE).tags("dns.demo.internal");
    tags.insert("Name".to_owned(), "demo.internal".to_owned());
    tags.insert(PROTECT.to_owned(), "false".to_owned());
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn tagged() -> Rule {
    mock!(Route53::change_tags_for_resource)
        .match_requests(|request| {
            request.resource_id() == Some("ZOWN")
                && request.add_tags().iter().any(|tag| tag.key() == Some("plinth:control-plane"))
        })
        .then_output(|| ChangeTagsForResourceOutput::builder().build())
}

#[tokio::test]
async fn a_missing_private_zone_is_created_for_the_vpc_with_our_reference_and_tagged() {
    let created = mock!(Route53::create_hosted_zone)
        .match_requests(|request| {
            let proof = step::digits("plinth-bucket demo demo.internal", 32);
            let reference = request.caller_reference().unwrap_or_default();
            reference.starts_with(&format!("plinth-demo-{proof}-"))
                && reference.ends_with(&step::digits("run", 16))
                && request.vpc().and_then(Vpc::vpc_id) == Some("vpc-1")
        })
        .then_output(|| {
            CreateHostedZoneOutput::builder().hosted_zone(own(2)).location("x").build().expect("a zone")
        });
    let [vpcs, tags] = told_zone(&["vpc-1"], Vec::new());
    let theirs = zone("ZTHEIRS", "demo.internal", Some("plinth-demo-theirs"), 9);
    let rules = [zones(vec![theirs]), created, vpcs, tags, tagged(), records(Vec::new())];
    let answer = planned(&rules, &context(Operation::Plan, INSIDE)).await.expect("an answer");
    assert_eq!(answer.changes, [Change::create("dns.demo.internal").with("vpc", "vpc-1")]);
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, INSIDE)).await.expect("an answer");
    assert_eq!((rules[1].num_calls(), rules[4].num_calls()), (1, 1));
}

#[tokio::test]
async fn a_private_zone_that_matches_is_left_alone_and_planned_as_nothing() {
    let [vpcs, tags] = told_zone(&["vpc-1"], our_tags());
    let rules = [zones(vec![own(2)]), vpcs, tags, records(Vec::new())];
    assert_eq!(planned(&rules, &context(Operation::Plan, INSIDE)).await.expect("an answer").changes, []);
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, INSIDE)).await.expect("an answer");
}

#[tokio::test]
async fn a_private_zone_of_another_vpc_or_without_tags_is_planned_and_put_right() {
    let [vpcs, tags] = told_zone(&["vpc-0"], Vec::new());
    let rules = [
        zones(vec![own(2)]),
        vpcs,
        tags,
        records(Vec::new()),
        mock!(Route53::associate_vpc_with_hosted_zone)
            .match_requests(|request| request.vpc().and_then(Vpc::vpc_id) == Some("vpc-1"))
            .then_output(|| AssociateVpcWithHostedZoneOutput::builder().build()),
        mock!(Route53::disassociate_vpc_from_hosted_zone)
            .match_requests(|request| request.vpc().and_then(Vpc::vpc_id) == Some("vpc-0"))
            .then_output(|| DisassociateVpcFromHostedZoneOutput::builder().build()),
        tagged(),
    ];
    let answer = planned(&rules, &context(Operation::Plan, INSIDE)).await.expect("an answer");
    let tags = ["Name", "plinth:address", "plinth:control-plane", "plinth:environment", "plinth:protect"];
    let tags: Vec<String> = tags.iter().map(|tag| format!("tags.{tag}")).collect();
    let tags: Vec<&str> = std::iter::once("vpc").chain(tags.iter().map(String::as_str)).collect();
    assert_eq!(fields(&answer), [("dns.demo.internal", tags)]);
    ensure(&route53(&rules), &behind(), &context(Operation::Ensure, INSIDE)).await.expect("an answer");
    assert_eq!(rules[4..].iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_private_zone_of_somebody_else_in_the_vpc_is_refused_and_a_lost_answer_looked_for() {
    let refused = async |code: &'static str| {
        let created = mock!(Route53::create_hosted_zone)
            .then_error(move || CreateHostedZoneError::generic(ErrorMetadata::builder().code(code).build()));
        let rules = [zones(Vec::new()), created];
        ensure(&route53(&rules), &behind(), &context(Operation::Ensure, INSIDE)).await.unwrap_err()
    };
    assert_eq!(refused("ConflictingDomainExists").await.kind(), "Conflict");
    assert_eq!(refused("HostedZoneAlreadyExists").await.kind(), "NotReadySoon");
}

#[tokio::test]
async fn dropped_records_are_planned_and_deleted_exactly_as_they_are_and_others_stay() {
    let mut sets = standing(3600);
    sets[1].ttl = Some(77);
    sets.extend([
        set("api.example.com", RrType::A, "192.0.2.1"),
        set(
            "_plinth.api.example.com",
            RrType::Txt,
            "\"environment=live address=a control-plane=plinth-bucket\"",
        ),
    ]);
    let rules = [
        public(),
        records(sets),
        mock!(Route53::change_resource_record_sets)
            .match_requests(|request| {
                let changes = request.change_batch().map(ChangeBatch::changes).unwrap_or_default();
                let sets: Vec<_> = changes.iter().filter_map(Write::resource_record_set).collect();
                changes.iter().all(|change| change.action() == &ChangeAction::Delete)
                    && sets.iter().map(|set| set.name()).collect::<Vec<_>>()
                        == ["app.example.com.", "_plinth.app.example.com."]
                    && sets[0].ttl() == Some(77)
            })
            .then_output(|| answered(ChangeStatus::Pending)),
    ];
    let dropped = |operation| context(operation, &[]);
    let answer = planned(&rules, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!(answer.changes, [Change::delete("dns.example.com.app").with("name", "app.example.com")]);
    assert_eq!(rules[2].num_calls(), 0);
    prune(&route53(&rules), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(rules[2].num_calls(), 1);
    // A zone with nothing but its own records isn't even looked into.
    assert_eq!(rules[1].num_calls(), 2);
}

#[tokio::test]
async fn a_record_whose_zone_became_the_environments_own_goes_from_the_public_one() {
    let rules = [public(), records(standing(3600))];
    let private: &[Spoken] = &[("example.com", true, &[("app", "other.example.org")])];
    let answer = planned(&rules, &context(Operation::Plan, private)).await.expect("an answer");
    let delete = Change::delete("dns.example.com.app").with("name", "app.example.com");
    assert!(answer.changes.contains(&delete), "{:?}", answer.changes);
}

#[tokio::test]
async fn a_dropped_private_zone_goes_after_its_records_and_stays_with_those_of_others() {
    let sets = vec![
        set("db.demo.internal", RrType::Cname, "x.example.org"),
        set(
            "_plinth.db.demo.internal",
            RrType::Txt,
            "\"environment=demo address=dns.demo.internal.db control-plane=plinth-bucket\"",
        ),
    ];
    let theirs = zone("ZTHEIRS", "demo.internal", Some("plinth-demo-theirs"), 9);
    let rules = [
        zones(vec![own(4), theirs]),
        records(sets.clone()),
        mock!(Route53::change_resource_record_sets)
            .match_requests(|request| request.hosted_zone_id() == Some("ZOWN"))
            .then_output(|| answered(ChangeStatus::Pending)),
        mock!(Route53::delete_hosted_zone)
            .match_requests(|request| request.id() == Some("ZOWN"))
            .then_output(|| DeleteHostedZoneOutput::builder().build()),
        protected("false"),
    ];
    let answer = planned(&rules, &context(Operation::Plan, &[])).await.expect("an answer");
    let delete = |address: &str| Change::delete(address);
    let expected = [
        delete("dns.demo.internal.db").with("name", "db.demo.internal"),
        delete("dns.demo.internal").with("id", "ZOWN"),
    ];
    assert_eq!(answer.changes, expected);
    prune(&route53(&rules), &context(Operation::Prune, &[])).await.expect("an answer");
    assert_eq!((rules[2].num_calls(), rules[3].num_calls()), (1, 1));

    let full = mock!(Route53::delete_hosted_zone).then_error(|| {
        DeleteHostedZoneError::generic(ErrorMetadata::builder().code("HostedZoneNotEmpty").build())
    });
    let by_hand = records(vec![set("by-hand.demo.internal", RrType::A, "192.0.2.1")]);
    let rules = [zones(vec![own(3)]), by_hand, full, protected("false")];
    let error = prune(&route53(&rules), &context(Operation::Prune, &[])).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
}

#[tokio::test]
async fn a_record_that_stands_for_a_database_is_asked_for_when_databases_stand() {
    let named: &[Spoken] =
        &[("demo.internal", true, &[("db", "${databases.main.host}"), ("x", "example.org")])];
    let [zone, tags] = told_zone(&["vpc-1"], our_tags());
    let rules = [zones(vec![own(2)]), records(Vec::new()), zone, tags];
    let mut context = context(Operation::Plan, named);
    let addresses =
        |answer: Answer| answer.changes.into_iter().map(|change| change.address).collect::<Vec<_>>();
    let first = planned(&rules, &context).await.expect("an answer");
    assert_eq!(addresses(first), ["dns.demo.internal.x"]);

    let main = DatabaseOutput { host: "main.example.org".to_owned(), port: 3306 };
    context.outputs.databases.insert("main".to_owned(), main);
    context.state = READY.to_owned();
    let second = planned(&rules, &context).await.expect("an answer");
    assert_eq!(addresses(second), ["dns.demo.internal.db"]);
}

/// The tags of a zone, with whether it is protected.
fn protected(protect: &'static str) -> Rule {
    mock!(Route53::list_tags_for_resource).then_output(move || {
        let tag = Tag::builder().key(PROTECT).value(protect).build();
        let set = ResourceTagSet::builder().tags(tag).build();
        ListTagsForResourceOutput::builder().resource_tag_set(set).build()
    })
}

#[tokio::test]
async fn a_protected_zone_stays_in_its_network() {
    let rules = [zones(vec![own(2)]), records(Vec::new()), protected("true")];
    let answer = prune(&route53(&rules), &context(Operation::Prune, &[])).await.expect("an answer");
    assert_eq!(answer.changes, [Change::keep("dns.demo.internal").with("id", "ZOWN")]);
    assert_eq!(answer.kept, ["dns.demo.internal", "network"]);
}

#[test]
fn a_proof_is_read_as_it_was_written_however_long_it_is() {
    let context = context(Operation::Plan, APP);
    let written = proof::Proof::now(&context, &format!("dns.{}", "x".repeat(300)));
    let value = written.write();
    assert!(value.split("\" \"").all(|string| string.trim_matches('"').len() <= 255));
    assert_eq!(proof::Proof::read(&value), Some(written));
}

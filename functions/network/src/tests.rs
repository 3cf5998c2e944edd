use aws_sdk_ec2::{
    error::ErrorMetadata,
    operation::{
        allocate_address::AllocateAddressOutput,
        create_nat_gateway::CreateNatGatewayOutput,
        create_route::CreateRouteOutput,
        create_vpc::CreateVpcOutput,
        delete_nat_gateway::DeleteNatGatewayOutput,
        describe_addresses::DescribeAddressesOutput,
        describe_availability_zones::DescribeAvailabilityZonesOutput,
        describe_instances::DescribeInstancesOutput,
        describe_internet_gateways::DescribeInternetGatewaysOutput,
        describe_nat_gateways::DescribeNatGatewaysOutput,
        describe_route_tables::DescribeRouteTablesOutput,
        describe_security_group_rules::DescribeSecurityGroupRulesOutput,
        describe_security_groups::DescribeSecurityGroupsOutput,
        describe_subnets::DescribeSubnetsOutput,
        describe_vpc_attribute::DescribeVpcAttributeOutput,
        describe_vpc_endpoints::DescribeVpcEndpointsOutput,
        describe_vpcs::{DescribeVpcsError, DescribeVpcsOutput},
        modify_subnet_attribute::ModifySubnetAttributeOutput,
        replace_route::ReplaceRouteOutput,
        revoke_security_group_ingress::RevokeSecurityGroupIngressOutput,
    },
    types::{
        Address, AttributeBooleanValue, AvailabilityZone, Instance, InternetGateway,
        InternetGatewayAttachment, NatGateway, NatGatewayState, ReferencedSecurityGroup, Reservation, Route,
        RouteState, RouteTable, RouteTableAssociation, SecurityGroup, SecurityGroupIdentifier,
        SecurityGroupRule, State, Subnet, Tag, Vpc, VpcEndpoint,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::Outputs;

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
network: { cidr: 10.0.0.0/16, zones: 1, public: [10.0.0.0/20], private: [10.0.16.0/20], endpoints: [s3, logs] }
cluster: {}
services: { app: { image: nginx, ports: [80] } }
";

fn context(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

/// The context of the second question, whose own output is in hand.
fn again() -> Context {
    let outputs = Outputs { network: Some(NetworkOutput::default()), ..Outputs::default() };
    Context { outputs, ..context(Operation::Ensure) }
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn tags(address: &str, name: &str) -> Vec<Tag> {
    let tags = ours::tags(&context(Operation::Plan), address, name);
    tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// What EC2 describes. [`World::standing`] is what the spec asks for.
#[derive(Clone, Default)]
struct World {
    vpcs: Vec<Vpc>,
    subnets: Vec<Subnet>,
    internet_gateways: Vec<InternetGateway>,
    nats: Vec<NatGateway>,
    addresses: Vec<Address>,
    tables: Vec<RouteTable>,
    groups: Vec<SecurityGroup>,
    rules: Vec<SecurityGroupRule>,
    endpoints: Vec<VpcEndpoint>,
    instances: Vec<Instance>,
}

impl World {
    fn standing() -> Self {
        Self {
            vpcs: vec![
                Vpc::builder()
                    .vpc_id("vpc-1")
                    .cidr_block("10.0.0.0/16")
                    .set_tags(Some(tags("network.vpc", "demo")))
                    .build(),
            ],
            subnets: vec![subnet("public", "10.0.0.0/20", true), subnet("private", "10.0.16.0/20", false)],
            internet_gateways: vec![
                InternetGateway::builder()
                    .internet_gateway_id("igw-1")
                    .attachments(InternetGatewayAttachment::builder().vpc_id("vpc-1").build())
                    .set_tags(Some(tags("network.internet-gateway", "demo")))
                    .build(),
            ],
            nats: vec![nat(NatGatewayState::Available)],
            addresses: vec![
                Address::builder()
                    .allocation_id("eipalloc-1")
                    .association_id("eipassoc-1")
                    .set_tags(Some(tags("network.nat.1.address", "demo-nat-1")))
                    .build(),
            ],
            tables: vec![
                table("network.routes.public", "demo-routes-public", "subnet-public", Some("igw-1")),
                table("network.routes.private.1", "demo-routes-private-1", "subnet-private", Some("nat-1")),
            ],
            groups: vec![
                group("sg-services", "network.group", "demo-services"),
                group("sg-endpoints", "network.endpoint-group", "demo-endpoints"),
            ],
            rules: vec![
                rule("sg-services", 80).referenced_group_info(
                    ReferencedSecurityGroup::builder().group_id("sg-services").build(),
                ),
                rule("sg-endpoints", 443).cidr_ipv4("10.0.0.0/16"),
                everything("sg-services"),
                everything("sg-endpoints"),
            ]
            .into_iter()
            .map(aws_sdk_ec2::types::builders::SecurityGroupRuleBuilder::build)
            .collect(),
            endpoints: vec![
                VpcEndpoint::builder()
                    .vpc_endpoint_id("vpce-s3")
                    .state(State::Available)
                    .route_table_ids("network.routes.private.1")
                    .set_tags(Some(tags("network.endpoints.s3", "demo-s3")))
                    .build(),
                logs_endpoint("available"),
            ],
            instances: Vec::new(),
        }
    }

    /// A rule for every look the step takes.
    fn rules(self) -> Vec<Rule> {
        let on = |on: bool| AttributeBooleanValue::builder().value(on).build();
        let zones =
            ["us-east-1a", "us-east-1b"].map(|zone| AvailabilityZone::builder().zone_name(zone).build());
        let rules = self.rules;
        vec![
            mock!(Client::describe_vpcs)
                .then_output(move || DescribeVpcsOutput::builder().set_vpcs(Some(self.vpcs.clone())).build()),
            mock!(Client::describe_vpc_attribute).then_output(move || {
                DescribeVpcAttributeOutput::builder()
                    .enable_dns_support(on(true))
                    .enable_dns_hostnames(on(true))
                    .build()
            }),
            mock!(Client::describe_subnets).then_output(move || {
                DescribeSubnetsOutput::builder().set_subnets(Some(self.subnets.clone())).build()
            }),
            mock!(Client::describe_availability_zones).then_output(move || {
                DescribeAvailabilityZonesOutput::builder()
                    .set_availability_zones(Some(zones.to_vec()))
                    .build()
            }),
            mock!(Client::describe_internet_gateways).then_output(move || {
                DescribeInternetGatewaysOutput::builder()
                    .set_internet_gateways(Some(self.internet_gateways.clone()))
                    .build()
            }),
            mock!(Client::describe_nat_gateways).then_output(move || {
                DescribeNatGatewaysOutput::builder().set_nat_gateways(Some(self.nats.clone())).build()
            }),
            mock!(Client::describe_addresses).then_output(move || {
                DescribeAddressesOutput::builder().set_addresses(Some(self.addresses.clone())).build()
            }),
            mock!(Client::describe_route_tables).then_output(move || {
                DescribeRouteTablesOutput::builder().set_route_tables(Some(self.tables.clone())).build()
            }),
            mock!(Client::describe_security_groups).then_output(move || {
                DescribeSecurityGroupsOutput::builder().set_security_groups(Some(self.groups.clone())).build()
            }),
            mock!(Client::describe_instances).then_output(move || {
                let standing = Reservation::builder().set_instances(Some(self.instances.clone())).build();
                DescribeInstancesOutput::builder().reservations(standing).build()
            }),
            mock!(Client::describe_security_group_rules).then_compute_output(move |request| {
                let group = request.filters()[0].values()[0].clone();
                let of_group = |rule: &&SecurityGroupRule| rule.group_id() == Some(&group);
                let rules = rules.iter().filter(of_group).cloned().collect();
                DescribeSecurityGroupRulesOutput::builder().set_security_group_rules(Some(rules)).build()
            }),
            mock!(Client::describe_vpc_endpoints).then_output(move || {
                DescribeVpcEndpointsOutput::builder().set_vpc_endpoints(Some(self.endpoints.clone())).build()
            }),
        ]
    }
}

fn subnet(kind: &str, cidr: &str, public: bool) -> Subnet {
    Subnet::builder()
        .subnet_id(format!("subnet-{kind}"))
        .vpc_id("vpc-1")
        .cidr_block(cidr)
        .map_public_ip_on_launch(public)
        .set_tags(Some(tags(&format!("network.{kind}.1"), &format!("demo-{kind}-1"))))
        .build()
}

fn nat(state: NatGatewayState) -> NatGateway {
    NatGateway::builder()
        .nat_gateway_id("nat-1")
        .state(state)
        .failure_message("no route to the internet")
        .create_time(DateTime::from_secs(Timestamp::now().as_second()))
        .set_tags(Some(tags("network.nat.1", "demo-nat-1")))
        .build()
}

/// A route table whose id is its address.
fn table(address: &str, name: &str, subnet: &str, target: Option<&str>) -> RouteTable {
    let route = Route::builder().destination_cidr_block("0.0.0.0/0").state(RouteState::Active);
    let route = match target {
        Some(target) if target.starts_with("nat-") => Some(route.nat_gateway_id(target).build()),
        Some(target) => Some(route.gateway_id(target).build()),
        None => None,
    };
    let association =
        RouteTableAssociation::builder().route_table_association_id("rtbassoc-1").subnet_id(subnet).build();
    RouteTable::builder()
        .route_table_id(address)
        .associations(association)
        .set_routes(route.map(|route| vec![route]))
        .set_tags(Some(tags(address, name)))
        .build()
}

fn group(id: &str, address: &str, name: &str) -> SecurityGroup {
    SecurityGroup::builder().group_id(id).set_tags(Some(tags(address, name))).build()
}

fn rule(group: &str, port: i32) -> aws_sdk_ec2::types::builders::SecurityGroupRuleBuilder {
    SecurityGroupRule::builder()
        .group_id(group)
        .security_group_rule_id(format!("sgr-{port}"))
        .is_egress(false)
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port)
}

fn everything(group: &str) -> aws_sdk_ec2::types::builders::SecurityGroupRuleBuilder {
    SecurityGroupRule::builder().group_id(group).is_egress(true).ip_protocol("-1").cidr_ipv4("0.0.0.0/0")
}

fn logs_endpoint(state: &str) -> VpcEndpoint {
    VpcEndpoint::builder()
        .vpc_endpoint_id("vpce-logs")
        .state(state.into())
        .creation_timestamp(DateTime::from_secs(Timestamp::now().as_second()))
        .subnet_ids("subnet-private")
        .groups(SecurityGroupIdentifier::builder().group_id("sg-endpoints").build())
        .set_tags(Some(tags("network.endpoints.logs", "demo-logs")))
        .build()
}

/// A client that refuses every call for which there is no rule.
fn client(world: World, writes: &[&Rule]) -> Client {
    let looks = world.rules();
    let rules: Vec<&Rule> = looks.iter().chain(writes.iter().copied()).collect();
    mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &rules)
}

#[tokio::test]
async fn a_network_that_matches_is_left_alone_and_planned_as_nothing() {
    let ec2 = client(World::standing(), &[]);
    let answer = ensure(&ec2, &again()).await.expect("an answer");
    assert_eq!(answer.output["private"][0], "subnet-private");
    let planned = plan(&ec2, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
    assert_eq!(planned.output, answer.output);
}

#[tokio::test]
async fn a_missing_network_is_planned_whole() {
    let ec2 = client(World::default(), &[]);
    let planned = plan(&ec2, &context(Operation::Plan)).await.expect("an answer");
    let addresses: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(
        addresses,
        [
            "network.vpc",
            "network.public.1",
            "network.private.1",
            "network.internet-gateway",
            "network.nat.1.address",
            "network.nat.1",
            "network.routes.public",
            "network.routes.private.1",
            "network.group",
            "network.endpoint-group",
            "network.endpoints.s3",
            "network.endpoints.logs",
        ]
    );
    assert_eq!(planned.output["group"], UNKNOWN);
}

#[tokio::test]
async fn a_vpc_is_created_once_with_our_tags_and_its_lost_answer_is_not_retried() {
    let create = mock!(Client::create_vpc)
        .match_requests(|request| {
            let tags = request.tag_specifications()[0].tags();
            request.cidr_block() == Some("10.0.0.0/16")
                && tags.iter().any(|tag| tag.value() == Some("network.vpc"))
        })
        .sequence()
        .http_status(500, None)
        .output(|| CreateVpcOutput::builder().build())
        .build();
    let ec2 = client(World::default(), &[&create]);
    let error = ensure(&ec2, &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!((error.kind(), create.num_calls()), ("Throttled", 1), "{error}");
}

#[tokio::test]
async fn a_nat_gateway_gets_an_address_and_a_token_and_is_waited_for_only_when_asked_again() {
    let mut world = World::standing();
    (world.nats, world.addresses) = (Vec::new(), Vec::new());
    world.tables[1] = table("network.routes.private.1", "demo-routes-private-1", "subnet-private", None);
    let allocate = mock!(Client::allocate_address)
        .then_output(|| AllocateAddressOutput::builder().allocation_id("eipalloc-2").build());
    let create = mock!(Client::create_nat_gateway)
        .match_requests(|request| {
            request.allocation_id() == Some("eipalloc-2")
                && request.subnet_id() == Some("subnet-public")
                && request.client_token() == Some("run-network.nat.1")
        })
        .then_output(|| CreateNatGatewayOutput::builder().nat_gateway(nat(NatGatewayState::Pending)).build());
    let ec2 = client(world.clone(), &[&allocate, &create]);
    ensure(&ec2, &context(Operation::Ensure)).await.expect("an answer while it is pending");
    assert_eq!(create.num_calls(), 1);

    world.nats = vec![nat(NatGatewayState::Pending)];
    let error = ensure(&client(world.clone(), &[&allocate]), &again()).await.unwrap_err();
    assert!(error.to_string().starts_with("NAT gateway (demo-nat-1) is pending"), "{error}");

    world.nats = vec![nat(NatGatewayState::Available)];
    let route = mock!(Client::create_route)
        .match_requests(|request| request.nat_gateway_id() == Some("nat-1"))
        .then_output(|| CreateRouteOutput::builder().build());
    ensure(&client(world, &[&route]), &again()).await.expect("an answer");
    assert_eq!(route.num_calls(), 1);
}

#[tokio::test]
async fn a_nat_gateway_that_failed_is_deleted_and_told() {
    let mut world = World::standing();
    world.nats = vec![nat(NatGatewayState::Failed)];
    let delete = mock!(Client::delete_nat_gateway).then_output(|| DeleteNatGatewayOutput::builder().build());
    let error = ensure(&client(world, &[&delete]), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!((error.kind(), delete.num_calls()), ("Failed", 1));
    assert!(error.to_string().contains("no route to the internet"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_pending_is_waited_for_only_when_asked_again() {
    let mut world = World::standing();
    world.endpoints[1] = logs_endpoint("pending");
    let ec2 = client(world, &[]);
    ensure(&ec2, &context(Operation::Ensure)).await.expect("an answer while it is pending");
    let error = ensure(&ec2, &again()).await.unwrap_err();
    assert!(error.to_string().starts_with("VPC endpoint (demo-logs) is pending"), "{error}");
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_put_back_and_closed_at_the_end() {
    let mut world = World::standing();
    world.subnets[0] = subnet("public", "10.0.0.0/20", false);
    world.tables[1] =
        table("network.routes.private.1", "demo-routes-private-1", "subnet-private", Some("nat-gone"));
    world.rules.push(rule("sg-services", 22).cidr_ipv4("0.0.0.0/0").build());
    let planned = plan(&client(world.clone(), &[]), &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<String> = planned
        .changes
        .iter()
        .flat_map(|change| change.fields.iter().map(|field| format!("{} {}", change.address, field.name)))
        .collect();
    assert_eq!(
        fields,
        [
            "network.public.1 mapPublicIpOnLaunch",
            "network.routes.private.1 0.0.0.0/0",
            "network.group ingress.tcp 22-22 0.0.0.0/0",
        ]
    );

    let subnet =
        mock!(Client::modify_subnet_attribute).then_output(|| ModifySubnetAttributeOutput::builder().build());
    let route = mock!(Client::replace_route)
        .match_requests(|request| request.nat_gateway_id() == Some("nat-1"))
        .then_output(|| ReplaceRouteOutput::builder().build());
    let close = mock!(Client::revoke_security_group_ingress)
        .match_requests(|request| request.security_group_rule_ids() == ["sgr-22"])
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let ec2 = client(world, &[&subnet, &route, &close]);
    ensure(&ec2, &again()).await.expect("an answer");
    assert_eq!((subnet.num_calls(), route.num_calls(), close.num_calls()), (1, 1, 0));
    let cidr = "10.0.0.0/16".to_owned();
    let outputs =
        Outputs { network: Some(NetworkOutput { cidr, ..NetworkOutput::default() }), ..Outputs::default() };
    prune(&ec2, &Context { outputs, ..context(Operation::Prune) }).await.expect("an answer");
    assert_eq!(close.num_calls(), 1);
}

#[tokio::test]
async fn a_rule_that_another_step_made_on_the_shared_group_is_left_alone() {
    let mut world = World::standing();
    let theirs = rule("sg-services", 8080).set_tags(Some(tags("loadBalancers.inner.reach.8080", "")));
    world.rules.push(theirs.cidr_ipv4("10.0.0.0/16").build());
    let ec2 = client(world, &[]);
    assert_eq!(plan(&ec2, &context(Operation::Plan)).await.expect("an answer").changes, []);
    ensure(&ec2, &again()).await.expect("an answer");
}

#[tokio::test]
async fn other_addresses_for_a_vpc_or_a_subnet_are_refused_before_anything_is_written() {
    let moved = [("10.0.0.0/16", "10.0.0.0/17"), ("10.0.16.0/20", "10.0.32.0/20")];
    for (old, new) in moved {
        let spec = spec::parse(&SPEC.replace(old, new), None).expect("a spec");
        let context = step::test::context(Operation::Plan, spec, Outputs::default());
        let error = plan(&client(World::standing(), &[]), &context).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains(old) && error.to_string().contains("destroy"), "{error}");
    }
}

/// The subnets that a plan of so many zones makes, with their addresses.
async fn planned(network: &str, world: World) -> Result<Vec<String>> {
    let network = format!("network: {{ {network}, endpoints: [s3, logs] }}\ncluster");
    let (head, _) = SPEC.split_once("network").expect("a network");
    let (_, tail) = SPEC.split_once("cluster").expect("a cluster");
    let spec = spec::parse(&format!("{head}{network}{tail}"), None).expect("a spec");
    let context = step::test::context(Operation::Plan, spec, Outputs::default());
    let changes = plan(&client(world, &[]), &context).await?.changes;
    let subnets = changes.iter().filter(|change| change.fields.iter().any(|field| field.name == "cidr"));
    Ok(subnets.map(|change| format!("{} {}", change.address, change.fields[0].wanted)).collect())
}

#[tokio::test]
async fn a_new_zone_takes_free_addresses_and_those_that_stand_keep_theirs() {
    let grown = ["network.public.2 10.0.32.0/20", "network.private.2 10.0.48.0/20"];
    assert_eq!(planned("zones: 2", World::standing()).await.expect("a plan"), grown);

    // They may have been cut otherwise once.
    let mut world = World::standing();
    world.subnets = vec![subnet("public", "10.0.0.0/19", true), subnet("private", "10.0.96.0/19", false)];
    let grown = ["network.public.2 10.0.32.0/20", "network.private.2 10.0.48.0/20"];
    assert_eq!(planned("zones: 2", world).await.expect("a plan"), grown);
}

#[tokio::test]
async fn a_zone_for_which_no_addresses_are_left_is_refused_by_the_plan() {
    let mut world = World::standing();
    world.subnets = vec![subnet("public", "10.0.0.0/17", true), subnet("private", "10.0.128.0/17", false)];
    let error = planned("zones: 2", world).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(
        error.to_string().starts_with("network.zones: the subnets that stand leave no addresses"),
        "{error}"
    );
}

#[tokio::test]
async fn subnets_that_the_spec_names_keep_what_it_says() {
    let named = "public: [10.0.0.0/20, 10.0.64.0/20], private: [10.0.16.0/20, 10.0.80.0/20]";
    let made = ["network.public.2 10.0.64.0/20", "network.private.2 10.0.80.0/20"];
    assert_eq!(planned(named, World::standing()).await.expect("a plan"), made);
    let moved = "public: [10.0.0.0/20], private: [10.0.32.0/20]";
    assert_eq!(planned(moved, World::standing()).await.unwrap_err().kind(), "InvalidSpec");
}

#[tokio::test]
async fn a_vpc_to_adopt_that_is_not_there_is_refused_by_the_plan() {
    let absent = mock!(Client::describe_vpcs).match_requests(|request| !request.vpc_ids().is_empty());
    let absent = absent.then_error(|| {
        DescribeVpcsError::generic(ErrorMetadata::builder().code("InvalidVpcID.NotFound").build())
    });
    let looks = World::default().rules();
    let rules: Vec<&Rule> = std::iter::once(&absent).chain(&looks).collect();
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &rules);
    let text =
        "{ apiVersion: plinth/v1, name: demo, network: { vpc: vpc-0a1b2c3d, private: [subnet-0a1b2c3d] } }";
    let spec = spec::parse(text, None).expect("a spec");
    let error =
        plan(&ec2, &step::test::context(Operation::Plan, spec, Outputs::default())).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert_eq!(error.to_string(), "network.vpc: there is no VPC vpc-0a1b2c3d in us-east-1");
}

#[tokio::test]
async fn everything_dropped_is_planned_and_a_deletion_waits_for_its_nat_gateways() {
    let mut world = World::standing();
    world.endpoints.clear();
    let delete = mock!(Client::delete_nat_gateway).then_output(|| DeleteNatGatewayOutput::builder().build());
    let ec2 = client(world.clone(), &[&delete]);
    let planned = plan(&ec2, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!((planned.changes.len(), delete.num_calls()), (10, 0));
    let error = prune(&ec2, &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), delete.num_calls()), ("NotReadySoon", 1));

    world.nats = vec![nat(NatGatewayState::Deleting)];
    let error = prune(&client(world, &[]), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.to_string(), "NAT gateway (nat-1) is deleting, which takes about a minute");
}

#[tokio::test]
async fn what_somebody_else_has_put_into_a_vpc_that_goes_is_told_before_anything_is_deleted() {
    let mut world = World::standing();
    let name = Tag::builder().key("Name").value("bastion").build();
    world.instances = vec![Instance::builder().instance_id("i-1").tags(name).build()];
    world.groups.push(SecurityGroup::builder().group_id("sg-7").group_name("by-hand").build());
    world.groups.push(SecurityGroup::builder().group_id("sg-8").group_name("default").build());
    let planned = plan(&client(world, &[]), &dropped(Operation::Plan)).await.expect("an answer");
    let told = |what: &str| format!("network.vpc: {what} is in VPC vpc-1, and isn't Plinth's: ");
    let begin = [told("instance i-1 (bastion)"), told("security group sg-7 (by-hand)")];
    assert_eq!(planned.refused.len(), begin.len(), "{:?}", planned.refused);
    assert!(planned.refused.iter().zip(&begin).all(|(told, begin)| told.starts_with(begin)), "{begin:?}");
}

#[tokio::test]
async fn a_vpc_that_a_lost_answer_doubled_is_deleted_and_the_one_in_use_is_kept() {
    let mut world = World::standing();
    let double = Vpc::builder().vpc_id("vpc-0").set_tags(Some(tags("network.vpc", "demo"))).build();
    world.vpcs.insert(0, double);
    let planned = plan(&client(world, &[]), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("network.vpc").with("id", "vpc-0")]);
    assert_eq!(planned.output["vpc"], "vpc-1");
}

#[tokio::test]
async fn nothing_of_ours_is_nothing_to_delete() {
    let pruned = prune(&client(World::default(), &[]), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

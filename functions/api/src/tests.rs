use std::collections::HashMap;

use aws_sdk_apigateway::{
    error::ErrorMetadata,
    operation::{
        create_api_key::CreateApiKeyOutput,
        create_deployment::CreateDeploymentOutput,
        create_resource::CreateResourceOutput,
        create_rest_api::CreateRestApiOutput,
        create_stage::CreateStageOutput,
        create_usage_plan::CreateUsagePlanOutput,
        create_usage_plan_key::CreateUsagePlanKeyOutput,
        create_vpc_link::CreateVpcLinkOutput,
        delete_api_key::DeleteApiKeyOutput,
        delete_method::DeleteMethodOutput,
        delete_resource::DeleteResourceOutput,
        delete_rest_api::DeleteRestApiOutput,
        delete_stage::DeleteStageOutput,
        delete_usage_plan::DeleteUsagePlanOutput,
        delete_vpc_link::{DeleteVpcLinkError, DeleteVpcLinkOutput},
        get_api_keys::GetApiKeysOutput,
        get_deployment::GetDeploymentOutput,
        get_deployments::GetDeploymentsOutput,
        get_resources::GetResourcesOutput,
        get_rest_apis::GetRestApisOutput,
        get_stage::{GetStageError, GetStageOutput},
        get_stages::GetStagesOutput,
        get_usage_plan_keys::GetUsagePlanKeysOutput,
        get_usage_plans::GetUsagePlansOutput,
        get_vpc_link::GetVpcLinkOutput,
        get_vpc_links::GetVpcLinksOutput,
        put_integration::PutIntegrationOutput,
        put_method::PutMethodOutput,
        update_stage::UpdateStageOutput,
        update_usage_plan::UpdateUsagePlanOutput,
    },
    primitives::DateTime,
    types::{
        ApiKey, ApiStage, ConnectionType, Deployment, Integration, IntegrationType, Method, MethodSnapshot,
        QuotaPeriodType, QuotaSettings, Resource, RestApi, Stage, ThrottleSettings, UsagePlan, UsagePlanKey,
        VpcLink, VpcLinkStatus,
    },
};
use aws_sdk_ecs::operation::describe_services::DescribeServicesOutput;
use aws_sdk_elasticloadbalancingv2::{
    operation::describe_load_balancers::DescribeLoadBalancersOutput,
    types::{LoadBalancer, LoadBalancerState, LoadBalancerStateEnum},
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
services: { app: { image: nginx, ports: [80] } }
apis:
  qa:
    link: ${loadBalancers.inner}
    routes: { GET /: {}, 'POST /ask/{id}': {} }
    usagePlan: { quota: { limit: 20, period: week }, burst: 5, rate: 10 }
";

fn context(operation: Operation) -> Context {
    let balancer = LoadBalancerOutput {
        arn: "arn:inner".to_owned(),
        host: "inner.example".to_owned(),
        ..LoadBalancerOutput::default()
    };
    let outputs = Outputs { load_balancers: [("inner".to_owned(), balancer)].into(), ..Outputs::default() };
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn tags(address: &str) -> HashMap<String, String> {
    context(Operation::Plan).tags(address).into_iter().collect()
}

/// What API Gateway has. [`World::standing`] is what the spec asks for.
#[derive(Clone, Default)]
struct World {
    links: Vec<VpcLink>,
    apis: Vec<RestApi>,
    resources: Vec<Resource>,
    stage: Option<GetStageOutput>,
    stages: Vec<Stage>,
    deployed: String,
    /// What the stage serves, as `GetDeployment` sums it up.
    served: HashMap<String, HashMap<String, MethodSnapshot>>,
    plans: Vec<UsagePlan>,
    keys: Vec<ApiKey>,
    attached: Vec<UsagePlanKey>,
}

impl World {
    fn standing() -> Self {
        let routes = wanted(&context(Operation::Plan)).expect("a wish")[0].routes("link");
        Self {
            links: vec![link(VpcLinkStatus::Available)],
            apis: vec![RestApi::builder().id("api").name("demo-qa").set_tags(Some(tags("apis.qa"))).build()],
            resources: vec![
                resource("/", "root", Some(("GET", "http://inner.example/"))),
                resource("/ask", "ask", None),
                resource("/ask/{id}", "id", Some(("POST", "http://inner.example/ask/{id}"))),
            ],
            stage: Some(
                GetStageOutput::builder()
                    .stage_name("live")
                    .deployment_id("deployment")
                    .set_tags(Some(tags("apis.qa.stage")))
                    .build(),
            ),
            stages: Vec::new(),
            deployed: deployment::description(&routes),
            served: HashMap::new(),
            plans: vec![plan_of(20)],
            keys: vec![ApiKey::builder().id("key").set_tags(Some(tags("apis.qa.key"))).build()],
            attached: vec![UsagePlanKey::builder().id("key").build()],
        }
    }

    /// An API without anything, as it is just after its creation.
    fn bare() -> Self {
        Self { resources: vec![resource("/", "root", None)], ..Self::default() }
    }

    /// A rule for every look the step takes.
    fn rules(self) -> Vec<Rule> {
        let absent = || GetStageError::generic(ErrorMetadata::builder().code("NotFoundException").build());
        let stage = self.stage;
        let stage = match stage {
            Some(stage) => mock!(Client::get_stage).then_output(move || stage.clone()),
            None => mock!(Client::get_stage).then_error(absent),
        };
        vec![
            stage,
            mock!(Client::get_vpc_links).then_output(move || {
                GetVpcLinksOutput::builder().set_items(Some(self.links.clone())).build()
            }),
            mock!(Client::get_rest_apis)
                .then_output(move || GetRestApisOutput::builder().set_items(Some(self.apis.clone())).build()),
            mock!(Client::get_resources).then_output(move || {
                GetResourcesOutput::builder().set_items(Some(self.resources.clone())).build()
            }),
            mock!(Client::get_deployment).then_output(move || {
                let found = GetDeploymentOutput::builder().id("deployment").description(&self.deployed);
                found.set_api_summary(Some(self.served.clone())).build()
            }),
            mock!(Client::get_deployments).then_output(|| {
                let old = Deployment::builder().id("new").description("plinth 0000").build();
                GetDeploymentsOutput::builder().items(old).build()
            }),
            mock!(Client::get_stages)
                .then_output(move || GetStagesOutput::builder().set_item(Some(self.stages.clone())).build()),
            mock!(Client::get_usage_plans).then_output(move || {
                GetUsagePlansOutput::builder().set_items(Some(self.plans.clone())).build()
            }),
            mock!(Client::get_api_keys)
                .then_output(move || GetApiKeysOutput::builder().set_items(Some(self.keys.clone())).build()),
            mock!(Client::get_usage_plan_keys).then_output(move || {
                GetUsagePlanKeysOutput::builder().set_items(Some(self.attached.clone())).build()
            }),
        ]
    }
}

fn link(status: VpcLinkStatus) -> VpcLink {
    VpcLink::builder()
        .id("link")
        .target_arns("arn:inner")
        .status(status)
        .status_message("NLB ARN is malformed.")
        .set_tags(Some(tags("apis.qa.link")))
        .build()
}

fn resource(path: &str, id: &str, method: Option<(&str, &str)>) -> Resource {
    let method = method.map(|(verb, uri)| {
        let names = rest::parameters(path);
        let handed = names
            .iter()
            .map(|name| (format!("integration.request.path.{name}"), format!("method.request.path.{name}")))
            .collect();
        let integration = Integration::builder()
            .r#type(IntegrationType::HttpProxy)
            .connection_type(ConnectionType::VpcLink)
            .http_method(verb)
            .uri(uri)
            .connection_id("link")
            .set_request_parameters(Some(handed))
            .build();
        let method = Method::builder()
            .authorization_type("NONE")
            .api_key_required(true)
            .method_integration(integration)
            .build();
        [(verb.to_owned(), method)].into()
    });
    Resource::builder().id(id).path(path).set_resource_methods(method).build()
}

fn plan_of(limit: i32) -> UsagePlan {
    UsagePlan::builder()
        .id("plan")
        .name("demo-qa")
        .api_stages(ApiStage::builder().api_id("api").stage("live").build())
        .quota(QuotaSettings::builder().limit(limit).period(QuotaPeriodType::Week).build())
        .throttle(ThrottleSettings::builder().burst_limit(5).rate_limit(10.0).build())
        .set_tags(Some(tags("apis.qa.usagePlan")))
        .build()
}

/// A client that refuses every call for which there is no rule.
fn client(world: World, writes: &[&Rule]) -> Client {
    let looks = world.rules();
    let rules: Vec<&Rule> = looks.iter().chain(writes.iter().copied()).collect();
    mock_client!(aws_sdk_apigateway, RuleMode::MatchAny, &rules)
}

/// The balancer in this state.
fn balancer(state: LoadBalancerStateEnum) -> Behind {
    let described = mock!(Elb::describe_load_balancers)
        .match_requests(|request| request.load_balancer_arns() == ["arn:inner"])
        .then_output(move || {
            let state = LoadBalancerState::builder().code(state.clone()).reason("no address is free").build();
            let balancer = LoadBalancer::builder().load_balancer_name("demo-inner").state(state).build();
            DescribeLoadBalancersOutput::builder().load_balancers(balancer).build()
        });
    behind(&[&described], &[])
}

/// Clients that refuse every call for which there is no rule.
fn behind(elb: &[&Rule], ecs: &[&Rule]) -> Behind {
    Behind {
        elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, elb),
        ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, ecs),
    }
}

/// A balancer that nobody may ask about.
fn unasked() -> Behind {
    behind(&[], &[])
}

#[tokio::test]
async fn what_is_missing_is_created_with_our_tags_deployed_and_put_under_its_plan() {
    let link = mock!(Client::create_vpc_link)
        .match_requests(|request| {
            request.target_arns() == ["arn:inner"] && request.tags().is_some_and(|tags| !tags.is_empty())
        })
        .then_output(|| CreateVpcLinkOutput::builder().id("link").status(VpcLinkStatus::Available).build());
    let rest = mock!(Client::create_rest_api)
        .match_requests(|request| request.tags().is_some_and(|tags| tags.contains_key("plinth:address")))
        .then_output(|| CreateRestApiOutput::builder().id("api").build());
    let resource =
        mock!(Client::create_resource).then_output(|| CreateResourceOutput::builder().id("made").build());
    let method = mock!(Client::put_method)
        .match_requests(|request| request.api_key_required() == Some(true))
        .then_output(|| PutMethodOutput::builder().build());
    let integration = mock!(Client::put_integration)
        .match_requests(|request| {
            let handed = request.request_parameters().expect("parameters");
            let named = handed.get("integration.request.path.id").map(String::as_str);
            let expected = request.uri().is_some_and(|uri| uri.contains("{id}"));
            request.connection_id() == Some("link") && (named == Some("method.request.path.id")) == expected
        })
        .then_output(|| PutIntegrationOutput::builder().build());
    let deployment =
        mock!(Client::create_deployment).then_output(|| CreateDeploymentOutput::builder().id("new").build());
    let stage = mock!(Client::create_stage)
        .match_requests(|request| request.stage_name() == Some("live"))
        .then_output(|| CreateStageOutput::builder().build());
    let plan = mock!(Client::create_usage_plan)
        .match_requests(|request| {
            request.quota().map(QuotaSettings::limit) == Some(20)
                && request.api_stages()[0].stage() == Some("live")
        })
        .then_output(|| CreateUsagePlanOutput::builder().id("plan").build());
    let key = mock!(Client::create_api_key).then_output(|| CreateApiKeyOutput::builder().id("key").build());
    let attach =
        mock!(Client::create_usage_plan_key).then_output(|| CreateUsagePlanKeyOutput::builder().build());
    let writes = [&link, &rest, &resource, &method, &integration, &deployment, &stage, &plan, &key, &attach];
    let active = balancer(LoadBalancerStateEnum::Active);
    let answer = ensure(&client(World::bare(), &writes), &active, &context(Operation::Ensure)).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.output["qa"]["url"], "https://api.execute-api.us-east-1.amazonaws.com/live");
    assert_eq!(answer.output["qa"]["key"], "key");
    let calls: Vec<usize> = writes.iter().map(|rule| rule.num_calls()).collect();
    assert_eq!(calls, [1, 1, 2, 2, 2, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    let api = client(World::standing(), &[]);
    let answer = ensure(&api, &unasked(), &context(Operation::Ensure)).await.expect("an answer");
    let planned = plan(&api, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
    assert_eq!(planned.output, answer.output);
}

#[tokio::test]
async fn a_link_that_is_pending_is_waited_for_before_anything_is_deployed() {
    let world = World { links: vec![link(VpcLinkStatus::Pending)], ..World::standing() };
    let error = ensure(&client(world, &[]), &unasked(), &context(Operation::Ensure)).await.unwrap_err();
    assert!(error.to_string().starts_with("VPC link (demo-qa) is pending"), "{error}");
}

#[tokio::test]
async fn a_link_that_failed_is_deleted_and_told() {
    let delete = mock!(Client::delete_vpc_link).then_output(|| DeleteVpcLinkOutput::builder().build());
    let world = World { links: vec![link(VpcLinkStatus::Failed)], ..World::standing() };
    let error =
        ensure(&client(world, &[&delete]), &unasked(), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!((error.kind(), delete.num_calls()), ("Failed", 1));
    assert!(error.to_string().contains("NLB ARN is malformed"), "{error}");
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_put_back() {
    let mut world = World::standing();
    world.resources[0] = resource("/", "root", Some(("GET", "http://elsewhere/")));
    world.resources[1] = resource("/ask", "ask", Some(("DELETE", "http://elsewhere/ask")));
    world.plans = vec![plan_of(1000)];
    let planned = plan(&client(world.clone(), &[]), &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<String> = planned
        .changes
        .iter()
        .flat_map(|change| change.fields.iter().map(|field| format!("{} {}", change.address, field.name)))
        .collect();
    assert_eq!(
        fields,
        ["apis.qa routes.DELETE /ask", "apis.qa routes.GET /", "apis.qa.usagePlan usagePlan.quota"]
    );

    let delete = mock!(Client::delete_method).then_output(|| DeleteMethodOutput::builder().build());
    let method = mock!(Client::put_method).then_output(|| PutMethodOutput::builder().build());
    let integration = mock!(Client::put_integration)
        .match_requests(|request| request.uri() == Some("http://inner.example/"))
        .then_output(|| PutIntegrationOutput::builder().build());
    let update = mock!(Client::update_usage_plan)
        .match_requests(|request| request.patch_operations()[0].path() == Some("/quota/limit"))
        .then_output(|| UpdateUsagePlanOutput::builder().build());
    let writes = [&delete, &method, &integration, &update];
    ensure(&client(world, &writes), &unasked(), &context(Operation::Ensure)).await.expect("an answer");
    let calls: Vec<usize> = writes.iter().map(|rule| rule.num_calls()).collect();
    assert_eq!(calls, [2, 1, 1, 1]);
}

#[tokio::test]
async fn a_stage_that_serves_other_routes_is_deployed_anew() {
    let world = World { deployed: "by hand".to_owned(), ..World::standing() };
    let create =
        mock!(Client::create_deployment).then_output(|| CreateDeploymentOutput::builder().id("new").build());
    let update = mock!(Client::update_stage)
        .match_requests(|request| request.patch_operations()[0].value() == Some("new"))
        .then_output(|| UpdateStageOutput::builder().build());
    ensure(&client(world, &[&create, &update]), &unasked(), &context(Operation::Ensure))
        .await
        .expect("an answer");
    assert_eq!((create.num_calls(), update.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_stage_serves_what_it_did_until_the_service_behind_the_other_routes_is_steady() {
    let world = World { deployed: "before".to_owned(), ..World::standing() };
    let mut context = context(Operation::Ensure);
    let output = context.outputs.load_balancers.get_mut("inner").expect("a balancer");
    output.targets.insert("app".to_owned(), "arn:app".to_owned());
    let absent = mock!(Ecs::describe_services).then_output(|| DescribeServicesOutput::builder().build());
    let error = ensure(&client(world, &[]), &behind(&[], &[&absent]), &context).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "apis.qa.stage waits for its new target: ECS service (demo-app) isn't there yet"
    );
}

#[tokio::test]
async fn what_was_dropped_is_planned_and_deleted_and_its_link_waited_for() {
    let off = mock!(Client::update_usage_plan)
        .match_requests(|request| request.patch_operations()[0].value() == Some("api:live"))
        .then_output(|| UpdateUsagePlanOutput::builder().build());
    let plan_gone = mock!(Client::delete_usage_plan).then_output(|| DeleteUsagePlanOutput::builder().build());
    let key = mock!(Client::delete_api_key).then_output(|| DeleteApiKeyOutput::builder().build());
    let rest = mock!(Client::delete_rest_api).then_output(|| DeleteRestApiOutput::builder().build());
    let link = mock!(Client::delete_vpc_link).then_output(|| DeleteVpcLinkOutput::builder().build());
    let left = mock!(Client::get_vpc_link).then_output(|| GetVpcLinkOutput::builder().build());
    let writes = [&off, &plan_gone, &key, &rest, &link, &left];
    let api = client(World::standing(), &writes);
    let planned = plan(&api, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!((planned.changes.len(), rest.num_calls()), (4, 0));
    let error = prune(&api, &dropped(Operation::Prune)).await.unwrap_err();
    assert!(error.to_string().contains("is deleting"), "{error}");
    assert_eq!(writes.map(Rule::num_calls), [1, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_link_that_a_deployed_method_still_uses_is_left_to_a_later_pass() {
    let world = World { links: vec![link(VpcLinkStatus::Available)], ..World::default() };
    let used = mock!(Client::delete_vpc_link).then_error(|| {
        DeleteVpcLinkError::generic(ErrorMetadata::builder().code("BadRequestException").build())
    });
    let error = prune(&client(world, &[&used]), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn what_somebody_else_made_is_neither_used_nor_deleted() {
    let mut world = World::standing();
    world.apis = vec![RestApi::builder().id("theirs").name("demo-qa").build()];
    world.links = vec![VpcLink::builder().id("theirs").target_arns("arn:inner").build()];
    (world.plans, world.keys) = (Vec::new(), Vec::new());
    let pruned = prune(&client(world, &[]), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

#[tokio::test]
async fn a_method_that_somebody_made_public_differs() {
    let mut world = World::standing();
    let methods = world.resources[0].resource_methods.as_mut().expect("methods");
    let open = methods.get_mut("GET").expect("a method");
    open.authorization_type = Some("AWS_IAM".to_owned());
    let planned = plan(&client(world, &[]), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes[0].fields[0].name, "routes.GET /");
}

#[tokio::test]
async fn a_rest_api_that_a_lost_answer_doubled_is_deleted_and_the_oldest_is_kept() {
    let mut world = World::standing();
    let newer = DateTime::from_secs(9);
    let double =
        RestApi::builder().id("aaa").name("demo-qa").created_date(newer).set_tags(Some(tags("apis.qa")));
    world.apis.insert(0, double.build());
    let delete = mock!(Client::delete_rest_api)
        .match_requests(|request| request.rest_api_id() == Some("aaa"))
        .then_output(|| DeleteRestApiOutput::builder().build());
    prune(&client(world, &[&delete]), &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(delete.num_calls(), 1);
}

#[tokio::test]
async fn a_stage_by_an_earlier_name_is_planned_and_goes_at_the_end() {
    let mut world = World::standing();
    let old = Stage::builder().stage_name("old").set_tags(Some(tags("apis.qa.stage"))).build();
    world.stages = vec![old];
    let planned = plan(&client(world.clone(), &[]), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("apis.qa.stage").with("name", "old")]);
    let delete = mock!(Client::delete_stage)
        .match_requests(|request| request.stage_name() == Some("old"))
        .then_output(|| DeleteStageOutput::builder().build());
    let api = client(world, &[&delete]);
    ensure(&api, &unasked(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(delete.num_calls(), 0);
    prune(&api, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(delete.num_calls(), 1);
}

#[tokio::test]
async fn a_route_that_the_spec_drops_is_planned_and_served_until_the_end() {
    let mut world = World::standing();
    world.resources.push(resource("/old", "old", Some(("GET", "http://before.example/old"))));
    let mut routes = wanted(&context(Operation::Plan)).expect("a wish")[0].routes("link");
    let old = Route {
        path: "/old".to_owned(),
        uri: "http://before.example/old".to_owned(),
        parameters: BTreeSet::new(),
        ..routes[0].clone()
    };
    routes.insert(0, old);
    world.deployed = deployment::description(&routes);
    let get = || HashMap::from([("GET".to_owned(), MethodSnapshot::builder().build())]);
    world.served = [("/".to_owned(), get()), ("/old".to_owned(), get())].into();
    let planned = plan(&client(world.clone(), &[]), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes[0].fields[0].name, "routes.GET /old");

    let method = mock!(Client::delete_method)
        .match_requests(|request| request.resource_id() == Some("old"))
        .then_output(|| DeleteMethodOutput::builder().build());
    let resource = mock!(Client::delete_resource)
        .match_requests(|request| request.resource_id() == Some("old"))
        .then_output(|| DeleteResourceOutput::builder().build());
    let create =
        mock!(Client::create_deployment).then_output(|| CreateDeploymentOutput::builder().id("new").build());
    let update = mock!(Client::update_stage)
        .match_requests(|request| request.patch_operations()[0].value() == Some("new"))
        .then_output(|| UpdateStageOutput::builder().build());
    let writes = [&method, &resource, &create, &update];
    let api = client(world, &writes);
    ensure(&api, &unasked(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(writes.map(Rule::num_calls), [0, 0, 0, 0]);
    prune(&api, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(writes.map(Rule::num_calls), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_link_is_made_once_its_balancer_is_active_and_the_api_before() {
    let rest =
        || mock!(Client::create_rest_api).then_output(|| CreateRestApiOutput::builder().id("api").build());
    let (first, second) = (rest(), rest());
    let (waiting, failed) = (LoadBalancerStateEnum::Provisioning, LoadBalancerStateEnum::Failed);
    let waits =
        ensure(&client(World::bare(), &[&first]), &balancer(waiting), &context(Operation::Ensure)).await;
    let error = waits.unwrap_err();
    assert_eq!((error.kind(), first.num_calls()), ("NotReadyLater", 1));
    assert!(error.to_string().starts_with("load balancer (demo-inner) is provisioning"), "{error}");
    let fails =
        ensure(&client(World::bare(), &[&second]), &balancer(failed), &context(Operation::Ensure)).await;
    let error = fails.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("no address is free"), "{error}");
}

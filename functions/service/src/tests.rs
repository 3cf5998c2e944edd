use aws_sdk_applicationautoscaling::{
    error::ErrorMetadata as ScalingErrorMetadata,
    operation::{
        delete_scaling_policy::DeleteScalingPolicyOutput,
        deregister_scalable_target::DeregisterScalableTargetOutput,
        describe_scalable_targets::DescribeScalableTargetsOutput,
        describe_scaling_policies::DescribeScalingPoliciesOutput,
        list_tags_for_resource::ListTagsForResourceOutput as TargetTags,
        put_scaling_policy::PutScalingPolicyOutput,
        register_scalable_target::{RegisterScalableTargetError, RegisterScalableTargetOutput},
        tag_resource::TagResourceOutput as TargetTagged,
    },
    types::{
        MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalableTarget,
        ScalingPolicy, ServiceNamespace, SuspendedState, TargetTrackingScalingPolicyConfiguration,
    },
};
use aws_sdk_cloudwatchlogs::{
    operation::{
        create_log_group::CreateLogGroupOutput, describe_log_groups::DescribeLogGroupsOutput,
        list_tags_for_resource::ListTagsForResourceOutput, put_retention_policy::PutRetentionPolicyOutput,
    },
    types::LogGroup,
};
use aws_sdk_ecr::{
    operation::describe_images::{DescribeImagesError, DescribeImagesOutput},
    types::ImageDetail,
};
use aws_sdk_ecs::{
    error::ErrorMetadata,
    operation::{
        create_service::{CreateServiceError, CreateServiceOutput},
        delete_service::DeleteServiceOutput,
        delete_task_definitions::DeleteTaskDefinitionsOutput,
        deregister_task_definition::DeregisterTaskDefinitionOutput,
        describe_services::DescribeServicesOutput,
        describe_task_definition::{DescribeTaskDefinitionError, DescribeTaskDefinitionOutput},
        describe_tasks::DescribeTasksOutput,
        list_clusters::ListClustersOutput,
        list_services::ListServicesOutput,
        list_task_definition_families::ListTaskDefinitionFamiliesOutput,
        list_task_definitions::ListTaskDefinitionsOutput,
        list_tasks::ListTasksOutput,
        register_task_definition::RegisterTaskDefinitionOutput,
        tag_resource::TagResourceOutput,
        update_service::UpdateServiceOutput,
    },
    primitives::DateTime,
    types::{
        AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, Compatibility, Container,
        ContainerDefinition, CpuArchitecture, Deployment, DeploymentCircuitBreaker, DeploymentConfiguration,
        DeploymentRolloutState, Failure, KeyValuePair, LoadBalancer, LogConfiguration, LogDriver,
        NetworkConfiguration, NetworkMode, PortMapping, RuntimePlatform, Secret, Service as EcsService,
        ServiceEvent, ServiceRegistry, Task, TaskDefinition, TaskDefinitionStatus,
    },
};
use aws_sdk_elasticloadbalancingv2::{
    operation::describe_target_groups::DescribeTargetGroupsOutput, types::TargetGroup,
};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_servicediscovery::{
    error::ErrorMetadata as CloudMapErrorMetadata,
    operation::{
        create_service::CreateServiceOutput as NameCreated,
        delete_service::{DeleteServiceError as NameDeleteError, DeleteServiceOutput as NameDeleted},
        list_namespaces::ListNamespacesOutput,
        list_services::ListServicesOutput as NamesListed,
        list_tags_for_resource::ListTagsForResourceOutput as NameTags,
        tag_resource::TagResourceOutput as NameTagged,
        update_service::UpdateServiceOutput as NameUpdated,
    },
    types::{
        DnsConfig, DnsRecord, NamespaceSummary, RecordType, RoutingPolicy, Service as Name, ServiceSummary,
        Tag as NameTag,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::Timestamp;
use spec::Spec;
use step::{
    ClusterOutput, LoadBalancerOutput, NetworkOutput, Outputs, RepositoryOutput, Result, SecretOutput,
};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app:
    image: '${repositories.app}:1'
    desired: 2
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
";

const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/demo-app:3";
const OLDER: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/demo-app:2";

fn context(operation: Operation) -> Context {
    context_of(SPEC, operation)
}

fn context_of(spec: &str, operation: Operation) -> Context {
    let network = NetworkOutput {
        private: vec!["subnet-a".to_owned()],
        group: "sg-services".to_owned(),
        ..NetworkOutput::default()
    };
    let repository = RepositoryOutput {
        name: "demo-app".to_owned(),
        uri: "registry/demo-app".to_owned(),
        ..RepositoryOutput::default()
    };
    let targets = [("app".to_owned(), "arn:target".to_owned())].into();
    let arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/app/demo-outer/1a".to_owned();
    let balancer = LoadBalancerOutput { targets, ..LoadBalancerOutput::default() };
    let group = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/demo-app/2b".to_owned();
    let outer = LoadBalancerOutput { arn, targets: [("app".to_owned(), group)].into(), ..balancer.clone() };
    let cluster = ClusterOutput { namespace: Some("ns-1".to_owned()), ..ClusterOutput::default() };
    let outputs = Outputs {
        network: Some(network),
        repositories: [("app".to_owned(), repository)].into(),
        secrets: [("key".to_owned(), SecretOutput { arn: "arn:secret".to_owned(), renewed: false })].into(),
        load_balancers: [("inner".to_owned(), balancer), ("outer".to_owned(), outer)].into(),
        cluster: Some(cluster),
        ..Outputs::default()
    };
    step::test::context(operation, spec::parse(spec, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

/// The rules of all six services. What a test doesn't replace is as the spec says.
struct Rules {
    spec: &'static str,
    definition: Rule,
    services: Rule,
    group: Vec<Rule>,
    image: Rule,
    secret: Rule,
    ecs: Vec<Rule>,
    logs: Vec<Rule>,
    cloud_map: Vec<Rule>,
    scaling: Vec<Rule>,
    elb: Vec<Rule>,
}

impl Rules {
    fn standing() -> Self {
        Self {
            spec: SPEC,
            definition: defined(Some(definition("registry/demo-app:1"))),
            services: services(vec![service().build()]),
            group: group(Some(7)),
            image: mock!(Ecr::describe_images).then_output(|| DescribeImagesOutput::builder().build()),
            secret: secret(true),
            ecs: Vec::new(),
            logs: Vec::new(),
            cloud_map: vec![namespaces(&[])],
            scaling: vec![targets(vec![])],
            elb: vec![old_groups(&[])],
        }
    }

    fn aws(&self) -> Aws {
        let ecs: Vec<&Rule> = [&self.definition, &self.services].into_iter().chain(&self.ecs).collect();
        let logs: Vec<&Rule> = self.group.iter().chain(&self.logs).collect();
        Aws {
            ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, &ecs),
            elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, &self.elb),
            ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, [&self.image]),
            logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, &logs),
            secrets: mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, [&self.secret]),
            cloud_map: mock_client!(aws_sdk_servicediscovery, RuleMode::MatchAny, &self.cloud_map),
            scaling: mock_client!(aws_sdk_applicationautoscaling, RuleMode::MatchAny, &self.scaling),
        }
    }

    async fn ensured(&self) -> Result<Answer> {
        ensure(&self.aws(), &context_of(self.spec, Operation::Ensure)).await
    }

    /// Each field that a plan shows as different, with its address.
    async fn planned(&mut self) -> Vec<String> {
        self.ecs.extend(nothing_listed());
        let planned = plan(&self.aws(), &context_of(self.spec, Operation::Plan)).await.expect("an answer");
        let told = |change: &Change| -> Vec<String> {
            change.fields.iter().map(|field| format!("{} {}", change.address, field.name)).collect()
        };
        planned.changes.iter().flat_map(told).collect()
    }
}

/// Those of the target groups that a service no longer belongs to that still hang on a balancer.
fn old_groups(in_use: &'static [&'static str]) -> Rule {
    mock!(Elb::describe_target_groups).then_compute_output(move |request| {
        let asked = request.target_group_arns().iter();
        let hangs = asked.filter(|arn| in_use.contains(&arn.as_str())).map(|arn| {
            TargetGroup::builder().target_group_arn(arn).load_balancer_arns("arn:balancer").build()
        });
        DescribeTargetGroupsOutput::builder().set_target_groups(Some(hangs.collect())).build()
    })
}

fn nothing_listed() -> [Rule; 3] {
    [
        families(&[]),
        mock!(Ecs::list_clusters).then_output(|| ListClustersOutput::builder().build()),
        mock!(Ecs::list_task_definitions).then_output(|| ListTaskDefinitionsOutput::builder().build()),
    ]
}

/// The families that have no active revision.
fn families(names: &'static [&'static str]) -> Rule {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    mock!(Ecs::list_task_definition_families).then_output(move || {
        ListTaskDefinitionFamiliesOutput::builder().set_families(Some(names.clone())).build()
    })
}

/// The revision as AWS describes it when it is what the spec says.
fn definition(image: &str) -> TaskDefinition {
    let options = [
        ("awslogs-group", "/plinth/demo/app"),
        ("awslogs-region", "us-east-1"),
        ("awslogs-stream-prefix", "demo-app"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let logs = LogConfiguration::builder().log_driver(LogDriver::Awslogs).set_options(Some(options.into()));
    let container = ContainerDefinition::builder()
        .name("app")
        .image(image)
        .port_mappings(PortMapping::builder().container_port(80).build())
        .environment(KeyValuePair::builder().name("A").value("b").build())
        .secrets(Secret::builder().name("KEY").value_from("arn:secret").build().expect("a secret"))
        .log_configuration(logs.build().expect("a log configuration"))
        .build();
    TaskDefinition::builder()
        .task_definition_arn(REVISION)
        .family("demo-app")
        .status(TaskDefinitionStatus::Active)
        .requires_compatibilities(Compatibility::Fargate)
        .network_mode(NetworkMode::Awsvpc)
        .cpu("256")
        .memory("512")
        .runtime_platform(RuntimePlatform::builder().cpu_architecture(CpuArchitecture::X8664).build())
        .execution_role_arn("arn:aws:iam::123456789012:role/plinth/demo/demo-app-execution")
        .container_definitions(container)
        .build()
}

fn defined(definition: Option<TaskDefinition>) -> Rule {
    let tags = task_definition::tag_list(&context(Operation::Plan).tags("services.app.definition"));
    match definition {
        Some(definition) => mock!(Ecs::describe_task_definition).then_output(move || {
            DescribeTaskDefinitionOutput::builder()
                .task_definition(definition.clone())
                .set_tags(Some(tags.clone()))
                .build()
        }),
        None => mock!(Ecs::describe_task_definition).then_error(|| {
            let metadata = ErrorMetadata::builder().code("ClientException");
            let metadata = metadata.message("Unable to describe task definition.");
            DescribeTaskDefinitionError::generic(metadata.build())
        }),
    }
}

fn deployment(state: DeploymentRolloutState, running: i32) -> Deployment {
    Deployment::builder()
        .status("PRIMARY")
        .task_definition(REVISION)
        .rollout_state(state)
        .running_count(running)
        .created_at(DateTime::from_secs(Timestamp::now().as_second()))
        .build()
}

/// The service as AWS describes it when it is what the spec says.
/// The tags of the service, whose tasks read the current version of its secret.
fn service_tags() -> std::collections::BTreeMap<String, String> {
    let mut tags = context(Operation::Plan).tags("services.app");
    tags.insert("plinth:secrets".to_owned(), format!("key:{}", step::digits("1", 8)));
    tags
}

fn service() -> aws_sdk_ecs::types::builders::ServiceBuilder {
    let network = AwsVpcConfiguration::builder()
        .subnets("subnet-a")
        .security_groups("sg-services")
        .assign_public_ip(AssignPublicIp::Disabled)
        .build()
        .expect("a configuration");
    let item = CapacityProviderStrategyItem::builder().capacity_provider("FARGATE").build();
    let tags = task_definition::tag_list(&service_tags());
    EcsService::builder()
        .service_name("demo-app")
        .service_arn("arn:service")
        .status("ACTIVE")
        .task_definition(REVISION)
        .desired_count(2)
        .running_count(2)
        .capacity_provider_strategy(item.expect("an item"))
        .network_configuration(NetworkConfiguration::builder().awsvpc_configuration(network).build())
        .load_balancers(LoadBalancer::builder().target_group_arn("arn:target").container_port(80).build())
        .deployments(deployment(DeploymentRolloutState::Completed, 2))
        .health_check_grace_period_seconds(60)
        .deployment_configuration(deploying(100, 200, true))
        .set_tags(Some(tags))
}

fn deploying(least: i32, most: i32, rollback: bool) -> DeploymentConfiguration {
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(rollback).build();
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(least)
        .maximum_percent(most)
        .deployment_circuit_breaker(breaker)
        .build()
}

fn services(services: Vec<EcsService>) -> Rule {
    mock!(Ecs::describe_services)
        .then_output(move || DescribeServicesOutput::builder().set_services(Some(services.clone())).build())
}

fn group(retention: Option<i32>) -> Vec<Rule> {
    let tags = context(Operation::Plan).tags("services.app.logs");
    let group = LogGroup::builder()
        .log_group_name("/plinth/demo/app")
        .arn("arn:group:*")
        .set_retention_in_days(retention)
        .build();
    vec![
        mock!(Logs::describe_log_groups)
            .then_output(move || DescribeLogGroupsOutput::builder().log_groups(group.clone()).build()),
        mock!(Logs::list_tags_for_resource)
            .match_requests(|request| request.resource_arn() == Some("arn:group"))
            .then_output(move || {
                let tags = tags.clone().into_iter().collect();
                ListTagsForResourceOutput::builder().set_tags(Some(tags)).build()
            }),
    ]
}

fn secret(has_value: bool) -> Rule {
    let versions = has_value.then(|| [("1".to_owned(), vec!["AWSCURRENT".to_owned()])].into());
    mock!(Secrets::describe_secret).then_output(move || {
        DescribeSecretOutput::builder().set_version_ids_to_stages(versions.clone()).build()
    })
}

/// A task of the revision that ended at this second, for this reason.
fn ended(at: i64, reason: &str) -> aws_sdk_ecs::types::builders::TaskBuilder {
    Task::builder().task_definition_arn(REVISION).stopped_at(DateTime::from_secs(at)).stopped_reason(reason)
}

fn stopped() -> [Rule; 2] {
    stopped_with(vec![ended(1, "Essential container in task exited").build()])
}

fn stopped_with(tasks: Vec<Task>) -> [Rule; 2] {
    [
        mock!(Ecs::list_tasks).then_output(|| ListTasksOutput::builder().task_arns("arn:task").build()),
        mock!(Ecs::describe_tasks)
            .then_output(move || DescribeTasksOutput::builder().set_tasks(Some(tasks.clone())).build()),
    ]
}

#[tokio::test]
async fn what_is_missing_is_created_with_our_tags_and_its_tasks_are_waited_for() {
    let mut rules = Rules::standing();
    rules.definition = defined(None);
    rules.services = services(vec![service().status("INACTIVE").build()]);
    rules.group = vec![
        mock!(Logs::describe_log_groups).then_output(|| DescribeLogGroupsOutput::builder().build()),
        mock!(Logs::create_log_group)
            .match_requests(|request| request.tags().is_some_and(|tags| tags.contains_key("plinth:address")))
            .then_output(|| CreateLogGroupOutput::builder().build()),
        mock!(Logs::put_retention_policy)
            .match_requests(|request| request.retention_in_days() == Some(7))
            .then_output(|| PutRetentionPolicyOutput::builder().build()),
    ];
    let starting = service().set_deployments(Some(vec![deployment(DeploymentRolloutState::InProgress, 0)]));
    let starting = starting.running_count(0).build();
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .match_requests(|request| {
                let container = &request.container_definitions()[0];
                request.family() == Some("demo-app")
                    && container.image() == Some("registry/demo-app:1")
                    && container.secrets()[0].value_from() == "arn:secret"
                    && !request.tags().is_empty()
            })
            .then_output(|| RegisterTaskDefinitionOutput::builder().task_definition(definition("x")).build()),
        mock!(Ecs::create_service)
            .match_requests(|request| {
                let breaker =
                    request.deployment_configuration().and_then(|found| found.deployment_circuit_breaker());
                request.desired_count() == Some(2)
                    && request.load_balancers()[0].target_group_arn() == Some("arn:target")
                    && breaker.is_some_and(|breaker| breaker.enable() && breaker.rollback())
                    && !request.tags().is_empty()
            })
            .then_output(move || CreateServiceOutput::builder().service(starting.clone()).build()),
    ];
    let error = rules.ensured().await.unwrap_err();
    assert!(error.to_string().starts_with("ECS service (demo-app): 0 of 2 tasks run"), "{error}");
    assert_eq!(error.kind(), "NotReadyLater");
    assert_eq!(rules.ecs.iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    let mut rules = Rules::standing();
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.planned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_image_is_waited_for_with_the_way_to_push_it_before_a_service_is_created() {
    let mut rules = Rules::standing();
    rules.services = services(vec![]);
    rules.image = mock!(Ecr::describe_images).then_error(|| {
        DescribeImagesError::generic(ErrorMetadata::builder().code("ImageNotFoundException").build())
    });
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().contains("docker push registry/demo-app:1"), "{error}");
}

#[tokio::test]
async fn a_secret_without_a_value_is_waited_for_before_a_service_is_created() {
    let mut rules = Rules::standing();
    (rules.services, rules.secret) = (services(vec![]), secret(false));
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.to_string(), "secrets.key has no value: plinth secret set demo key");
}

/// Another service, whose image and secret aren't there either, and which comes in a later wave.
const ASKING: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {}, other: {} }
services:
  app: { image: '${repositories.app}:1', environment: { KEY: '${secrets.key}' }, logs: { retention: 7d } }
  later: { image: '${repositories.app}:2', environment: { KEY: '${secrets.other}' }, after: [app] }
";

#[tokio::test]
async fn people_are_asked_for_all_at_once_also_for_what_later_services_wait_for() {
    let mut rules = Rules {
        spec: ASKING,
        services: services(vec![]),
        secret: secret(false),
        image: mock!(Ecr::describe_images).then_error(|| {
            DescribeImagesError::generic(ErrorMetadata::builder().code("ImageNotFoundException").build())
        }),
        ..Rules::standing()
    };
    let mut context = context_of(ASKING, Operation::Ensure);
    context.batch = Some(vec!["app".to_owned()]);
    let secret = context.outputs.secrets["key"].clone();
    context.outputs.secrets.insert("other".to_owned(), secret);
    rules.definition = defined(None);
    rules.ecs =
        vec![mock!(Ecs::register_task_definition).then_output(|| {
            RegisterTaskDefinitionOutput::builder().task_definition(definition("x")).build()
        })];
    let error = ensure(&rules.aws(), &context).await.unwrap_err();
    assert_eq!(error.asks().len(), 4, "{error}");
    for told in ["app:1", "app:2", "secrets.key has no value", "secrets.other has no value"] {
        assert!(error.asks().iter().any(|ask| ask.contains(told)), "{told}: {error}");
    }
}

#[tokio::test]
async fn a_secret_with_another_value_is_one_new_deployment_of_the_same_revision() {
    let mut rules = Rules::standing();
    let mut tags = context(Operation::Plan).tags("services.app");
    tags.insert("plinth:secrets".to_owned(), "key:before".to_owned());
    let found = service().set_tags(Some(task_definition::tag_list(&tags))).build();
    rules.services = services(vec![found]);
    assert_eq!(rules.planned().await, ["services.app secrets"]);
    rules.ecs = vec![
        mock!(Ecs::update_service)
            .match_requests(|request| {
                request.force_new_deployment() == Some(true) && request.task_definition() == Some(REVISION)
            })
            .then_output(|| UpdateServiceOutput::builder().service(service().build()).build()),
        mock!(Ecs::tag_resource)
            .match_requests(|request| {
                let version = format!("key:{}", step::digits("1", 8));
                request.tags().iter().any(|tag| tag.value() == Some(&version))
            })
            .then_output(|| TagResourceOutput::builder().build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1]);
}

/// A revision that CI registered, without tags, and deployed.
fn of_ci(image: &str) -> Rule {
    let definition = definition(image);
    mock!(Ecs::describe_task_definition).then_output(move || {
        DescribeTaskDefinitionOutput::builder().task_definition(definition.clone()).build()
    })
}

#[tokio::test]
async fn what_ci_deployed_is_shown_and_taken_back() {
    let mut rules = Rules::standing();
    rules.definition = of_ci("registry/demo-app:ci");
    assert_eq!(
        rules.planned().await,
        [
            "services.app.definition image",
            "services.app.definition tags.plinth:address",
            "services.app.definition tags.plinth:control-plane",
            "services.app.definition tags.plinth:environment",
            "services.app definition"
        ]
    );
    let newer = TaskDefinition::builder().task_definition_arn("arn:demo-app:4").build();
    let updated = service().task_definition("arn:demo-app:4").build();
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .match_requests(|request| {
                request.container_definitions()[0].image() == Some("registry/demo-app:1")
            })
            .then_output(move || {
                RegisterTaskDefinitionOutput::builder().task_definition(newer.clone()).build()
            }),
        mock!(Ecs::update_service)
            .then_output(move || UpdateServiceOutput::builder().service(updated.clone()).build()),
        deployed_tag(),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1, 1]);
}

const BY_CI: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app:
    image: '${repositories.app}:1'
    imageFrom: ci
    desired: 2
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
";

#[tokio::test]
async fn where_the_image_is_cis_it_is_kept_and_the_rest_of_the_revision_is_the_specs() {
    let mut rules = Rules { spec: BY_CI, definition: of_ci("registry/demo-app:ci"), ..Rules::standing() };
    rules.ecs = vec![mock!(Ecs::tag_resource).then_output(|| TagResourceOutput::builder().build())];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1], "the revision that runs is ours from now on");

    let mut stale = definition("registry/demo-app:ci");
    stale.memory = Some("2048".to_owned());
    let newer = TaskDefinition::builder().task_definition_arn("arn:demo-app:4").build();
    let updated = service().task_definition("arn:demo-app:4").build();
    rules.definition = defined(Some(stale));
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .match_requests(|request| {
                let image = request.container_definitions()[0].image();
                request.memory() == Some("512") && image == Some("registry/demo-app:ci")
            })
            .then_output(move || {
                RegisterTaskDefinitionOutput::builder().task_definition(newer.clone()).build()
            }),
        mock!(Ecs::update_service)
            .then_output(move || UpdateServiceOutput::builder().service(updated.clone()).build()),
        deployed_tag(),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1, 1]);
}

#[tokio::test]
async fn a_family_of_which_no_revision_is_ours_is_refused_and_one_with_an_older_one_of_ours_is_not() {
    let mut rules = Rules { services: services(vec![]), ..Rules::standing() };
    let listed = || {
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.family_prefix() == Some("demo-app"))
            .then_output(|| {
                ListTaskDefinitionsOutput::builder()
                    .task_definition_arns(REVISION)
                    .task_definition_arns(OLDER)
                    .build()
            })
    };
    rules.definition = of_ci("registry/demo-app:1");
    rules.ecs = vec![listed()];
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("rename services.app in the spec"), "{error}");

    let starting = service().set_deployments(Some(vec![deployment(DeploymentRolloutState::Completed, 2)]));
    let starting = starting.build();
    rules.ecs = vec![
        of_ci("registry/demo-app:ci"),
        listed(),
        mock!(Ecs::create_service)
            .match_requests(|request| request.task_definition() == Some(OLDER))
            .then_output(move || CreateServiceOutput::builder().service(starting.clone()).build()),
    ];
    let mut older = definition("registry/demo-app:1");
    older.task_definition_arn = Some(OLDER.to_owned());
    let tags = task_definition::tag_list(&context(Operation::Plan).tags("services.app.definition"));
    rules.definition = mock!(Ecs::describe_task_definition)
        .match_requests(|request| request.task_definition() == Some(OLDER))
        .then_output(move || {
            DescribeTaskDefinitionOutput::builder()
                .task_definition(older.clone())
                .set_tags(Some(tags.clone()))
                .build()
        });
    // Another revision than the one that was found first is deployed: ECS hasn't told of it yet.
    rules.ensured().await.unwrap_err();
    assert_eq!(rules.ecs[2].num_calls(), 1);
}

#[tokio::test]
async fn a_changed_image_is_a_new_revision_that_the_service_is_updated_to() {
    let mut rules = Rules::standing();
    rules.definition = defined(Some(definition("registry/demo-app:0")));
    assert_eq!(rules.planned().await, ["services.app.definition image", "services.app definition"]);

    let newer = TaskDefinition::builder().task_definition_arn("arn:demo-app:4").build();
    let updated = service().task_definition("arn:demo-app:4").build();
    rules.ecs = vec![
        mock!(Ecs::register_task_definition).then_output(move || {
            RegisterTaskDefinitionOutput::builder().task_definition(newer.clone()).build()
        }),
        mock!(Ecs::update_service)
            .match_requests(|request| request.task_definition() == Some("arn:demo-app:4"))
            .then_output(move || UpdateServiceOutput::builder().service(updated.clone()).build()),
        mock!(Ecs::tag_resource)
            .match_requests(|request| request.tags()[0].key() == Some("plinth:deployed"))
            .then_output(|| TagResourceOutput::builder().build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.ecs.iter().map(Rule::num_calls).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field() {
    let mut rules = Rules::standing();
    let drifted = service()
        .desired_count(5)
        .set_load_balancers(None)
        .health_check_grace_period_seconds(0)
        .set_deployment_configuration(None);
    rules.services = services(vec![drifted.build()]);
    rules.group = group(None);
    assert_eq!(
        rules.planned().await,
        [
            "services.app.logs retention",
            "services.app desired",
            "services.app targets",
            "services.app gracePeriod",
            "services.app circuitBreaker",
            "services.app deployment.minimum",
            "services.app deployment.maximum",
            "services.app deployment.rollback"
        ]
    );
}

/// The tag that says of which revision, and by which run, a service was deployed.
fn deployed_tag() -> Rule {
    mock!(Ecs::tag_resource)
        .match_requests(|request| request.tags().iter().any(|tag| tag.key() == Some("plinth:deployed")))
        .then_output(|| TagResourceOutput::builder().build())
}

/// A service that is in these target groups.
fn in_groups(groups: &[(&str, i32)]) -> EcsService {
    let of = |(arn, port): &(&str, i32)| {
        LoadBalancer::builder().target_group_arn(*arn).container_port(*port).build()
    };
    service().set_load_balancers(Some(groups.iter().map(of).collect())).build()
}

#[tokio::test]
async fn a_service_that_moves_to_another_target_group_stays_in_the_old_one_until_the_end() {
    let mut rules = Rules::standing();
    rules.services = services(vec![in_groups(&[("arn:gone", 80), ("arn:old", 8080)])]);
    rules.elb = vec![old_groups(&["arn:old"])];
    let update = mock!(Ecs::update_service)
        .match_requests(|request| {
            let groups = request.load_balancers().iter();
            let groups: Vec<_> =
                groups.filter_map(|used| Some((used.target_group_arn()?, used.container_port()?))).collect();
            // The containers have no port 8080 any more.
            groups == [("arn:old", 80), ("arn:target", 80)]
        })
        .then_output(|| {
            let moved = in_groups(&[("arn:old", 80), ("arn:target", 80)]);
            UpdateServiceOutput::builder().service(moved).build()
        });
    let tag = mock!(Ecs::tag_resource).then_output(|| TagResourceOutput::builder().build());
    rules.ecs = vec![update, tag];
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.ecs[0].num_calls(), 1);

    let both = ("demo".to_owned(), in_groups(&[("arn:old", 80), ("arn:target", 80)]));
    let leave = mock!(Ecs::update_service)
        .match_requests(|request| {
            let groups = request.load_balancers();
            groups.len() == 1 && groups[0].target_group_arn() == Some("arn:target")
        })
        .then_output(|| UpdateServiceOutput::builder().build());
    let ecs = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, [&leave]);
    let context = context(Operation::Prune);
    let error = service::leave_groups(&ecs, &context, &[both]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("ECS service (demo-app) is leaving its old target groups"),
        "{error}"
    );
    assert_eq!(leave.num_calls(), 1);
    let left = ("demo".to_owned(), service().build());
    service::leave_groups(&ecs, &context, &[left]).await.expect("an answer");
    assert_eq!(leave.num_calls(), 1);
}

#[tokio::test]
async fn a_plan_says_how_long_a_service_is_down_that_keeps_no_task_while_it_is_deployed() {
    let mut rules = Rules::standing();
    rules.spec = SPEC.replace("desired: 2", "desired: 2\n    deployment: { minimum: 0 }").leak();
    rules.definition = defined(Some(definition("registry/demo-app:0")));
    rules.services = services(vec![service().deployment_configuration(deploying(0, 200, true)).build()]);
    let told = rules.planned().await;
    assert!(told.contains(&"services.app downtime".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_port_of_the_last_instance_is_handed_on_once_the_old_task_has_stopped_and_the_plan_says_so() {
    for (desired, most, minimum, down) in
        [(1, 1, 0, true), (1, 2, 100, false), (3, 3, 66, false), (4, 2, 25, false)]
    {
        let cluster =
            format!("cluster: {{ capacity: ec2, instances: {{ type: t3.small, max: {most} }} }}\nservices:");
        let fixed = format!("desired: {desired}\n    memory: 128\n    hostPorts: {{ 80: 8080 }}");
        let mut rules = Rules::standing();
        rules.spec =
            SPEC.replace("services:\n", &format!("{cluster}\n")).replace("desired: 2", &fixed).leak();
        rules.definition = defined(Some(definition("registry/demo-app:0")));
        rules.services = services(vec![
            service().deployment_configuration(deploying(minimum, 200, true)).running_count(desired).build(),
        ]);
        let told = rules.planned().await;
        assert!(!told.contains(&"services.app deployment.minimum".to_owned()), "{desired} {most}: {told:?}");
        assert_eq!(told.contains(&"services.app downtime".to_owned()), down, "{desired} {most}: {told:?}");
    }
}

#[tokio::test]
async fn other_capacity_takes_a_new_deployment() {
    let mut rules = Rules::standing();
    let item = CapacityProviderStrategyItem::builder().capacity_provider("FARGATE_SPOT").build();
    let found = service().set_capacity_provider_strategy(Some(vec![item.expect("an item")])).build();
    rules.services = services(vec![found]);
    rules.ecs = vec![
        mock!(Ecs::update_service)
            .match_requests(|request| request.force_new_deployment() == Some(true))
            .then_output(move || UpdateServiceOutput::builder().service(service().build()).build()),
        deployed_tag(),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.ecs[0].num_calls(), 1);
}

#[tokio::test]
async fn a_service_that_only_scales_is_waited_for_from_now_on() {
    let mut rules = Rules::standing();
    let yesterday = DateTime::from_secs(Timestamp::now().as_second() - 86_400);
    let mut old = deployment(DeploymentRolloutState::Completed, 1);
    old.created_at = Some(yesterday);
    let scaling = service().running_count(1).set_deployments(Some(vec![old])).build();
    rules.services = services(vec![scaling]);
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "NotReadyLater");
}

#[tokio::test]
async fn a_revision_that_ecs_went_back_from_is_not_deployed_again_by_the_same_run() {
    let mut rules = Rules::standing();
    rules.services = services(vec![deployed_now().task_definition(OLDER).build()]);
    rules.ecs = stopped().into();
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("Essential container in task exited"), "{error}");
}

/// A service whose revision this run deployed.
fn deployed_now() -> aws_sdk_ecs::types::builders::ServiceBuilder {
    let mut tags = service_tags();
    tags.insert("plinth:deployed".to_owned(), "3 run".to_owned());
    service().set_tags(Some(task_definition::tag_list(&tags)))
}

#[tokio::test]
async fn a_deployment_that_failed_in_an_earlier_run_is_tried_once_more_by_the_next() {
    for (state, failed) in [(DeploymentRolloutState::Failed, 0), (DeploymentRolloutState::Completed, 3)] {
        let mut rules = Rules::standing();
        let mut earlier = deployment(state, 0);
        earlier.failed_tasks = failed;
        let earlier = service().running_count(0).set_deployments(Some(vec![earlier]));
        rules.services = services(vec![earlier.build()]);
        assert_eq!(rules.planned().await, ["services.app deployment"]);
        let again = vec![deployment(DeploymentRolloutState::InProgress, 0)];
        let again = service().running_count(0).set_deployments(Some(again)).build();
        rules.ecs = vec![
            mock!(Ecs::update_service)
                .match_requests(|request| request.force_new_deployment() == Some(true))
                .then_output(move || UpdateServiceOutput::builder().service(again.clone()).build()),
            mock!(Ecs::tag_resource)
                .match_requests(|request| request.tags()[0].value() == Some("3 run"))
                .then_output(|| TagResourceOutput::builder().build()),
        ];
        assert_eq!(rules.ensured().await.unwrap_err().kind(), "NotReadyLater");
        assert_eq!(called(&rules.ecs), [1, 1]);
    }
}

#[tokio::test]
async fn a_deployment_that_failed_fails_the_run_with_the_reason_a_task_stopped() {
    let mut rules = Rules::standing();
    let failed = vec![deployment(DeploymentRolloutState::Failed, 0)];
    rules.services = services(vec![deployed_now().set_deployments(Some(failed)).build()]);
    rules.ecs = stopped().into();
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("Essential container in task exited"), "{error}");
}

#[tokio::test]
async fn a_target_group_without_a_listener_and_a_new_role_are_waited_for() {
    for message in [
        "The target group with targetGroupArn x does not have an associated load balancer.",
        "ECS was unable to assume the role arn:x that was provided for this task.",
        "Creation of service was not idempotent.",
    ] {
        let mut rules = Rules::standing();
        rules.services = services(vec![]);
        let refused = mock!(Ecs::create_service).then_error(move || {
            let metadata = ErrorMetadata::builder().code("InvalidParameterException").message(message);
            CreateServiceError::generic(metadata.build())
        });
        rules.ecs = vec![refused];
        assert_eq!(rules.ensured().await.unwrap_err().kind(), "NotReadySoon", "{message}");
    }
}

#[tokio::test]
async fn a_service_of_somebody_else_is_refused() {
    let mut rules = Rules::standing();
    rules.services = services(vec![service().set_tags(None).build()]);
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "Conflict");
}

#[tokio::test]
async fn a_service_that_drains_is_waited_for() {
    let mut rules = Rules::standing();
    rules.services = services(vec![service().status("DRAINING").build()]);
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "NotReadySoon");
}

/// What lists the service, its cluster and its revisions.
fn listed() -> Vec<Rule> {
    vec![
        mock!(Ecs::list_clusters)
            .then_output(|| ListClustersOutput::builder().cluster_arns("arn:cluster/demo").build()),
        mock!(Ecs::list_services)
            .then_output(|| ListServicesOutput::builder().service_arns("arn:service").build()),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.status() == Some(&TaskDefinitionStatus::Active))
            .then_output(|| {
                ListTaskDefinitionsOutput::builder()
                    .task_definition_arns(OLDER)
                    .task_definition_arns(REVISION)
                    .build()
            }),
        families(&[]),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.status() == Some(&TaskDefinitionStatus::Inactive))
            .then_output(|| ListTaskDefinitionsOutput::builder().build()),
    ]
}

#[tokio::test]
async fn a_dropped_service_is_planned_and_deleted_and_waited_for_while_it_drains() {
    let mut rules = Rules::standing();
    rules.ecs = listed();
    rules.ecs.push(mock!(Ecs::delete_service).then_output(|| DeleteServiceOutput::builder().build()));
    let planned = plan(&rules.aws(), &dropped(Operation::Plan)).await.expect("an answer");
    let addresses: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["services.app", "services.app.definition"]);
    assert_eq!(rules.ecs[5].num_calls(), 0);

    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), rules.ecs[5].num_calls()), ("NotReadySoon", 1));
}

#[tokio::test]
async fn when_a_dropped_service_is_gone_its_log_group_is_dropped_and_then_its_revisions_go() {
    let mut rules = Rules::standing();
    rules.services = services(vec![service().status("INACTIVE").build()]);
    rules.ecs = listed();
    rules.ecs.extend([
        mock!(Ecs::deregister_task_definition)
            .then_output(|| DeregisterTaskDefinitionOutput::builder().build()),
        mock!(Ecs::delete_task_definitions)
            .match_requests(|request| request.task_definitions().len() == 2)
            .then_output(|| DeleteTaskDefinitionsOutput::builder().build()),
    ]);
    rules.logs.push(noted());
    prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((rules.ecs[5].num_calls(), rules.ecs[6].num_calls(), rules.logs[0].num_calls()), (2, 1, 1));
}

#[tokio::test]
async fn revisions_left_inactive_are_deleted_and_a_refusal_is_told() {
    let mut rules = Rules::standing();
    rules.logs.push(noted());
    rules.definition =
        defined(Some(TaskDefinition::builder().status(TaskDefinitionStatus::Inactive).build()));
    let refused = Failure::builder().arn(OLDER).reason("in use").build();
    rules.ecs = vec![
        mock!(Ecs::list_clusters).then_output(|| ListClustersOutput::builder().build()),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.family_prefix().is_none())
            .then_output(|| ListTaskDefinitionsOutput::builder().build()),
        families(&["demo-app"]),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.family_prefix() == Some("demo-app"))
            .then_output(|| ListTaskDefinitionsOutput::builder().task_definition_arns(OLDER).build()),
        mock!(Ecs::delete_task_definitions)
            .then_output(move || DeleteTaskDefinitionsOutput::builder().failures(refused.clone()).build()),
    ];
    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert!(error.to_string().ends_with("demo-app:2: in use"), "{error}");
}

#[tokio::test]
async fn of_a_service_that_stays_only_older_revisions_go() {
    let mut rules = Rules::standing();
    rules.ecs = listed();
    rules.ecs.extend([
        mock!(Ecs::deregister_task_definition)
            .match_requests(|request| request.task_definition() == Some(OLDER))
            .then_output(|| DeregisterTaskDefinitionOutput::builder().build()),
        mock!(Ecs::delete_task_definitions).then_output(|| DeleteTaskDefinitionsOutput::builder().build()),
    ]);
    let pruned = prune(&rules.aws(), &context(Operation::Prune)).await.expect("an answer");
    assert_eq!((pruned.changes, rules.ecs[5].num_calls()), (vec![], 1));
}

#[tokio::test]
async fn definitions_of_jobs_are_left_to_them() {
    let mut rules = Rules::standing();
    rules.logs.push(noted());
    let tags = task_definition::tag_list(&context(Operation::Plan).tags("jobs.app.definition"));
    rules.definition = mock!(Ecs::describe_task_definition).then_output(move || {
        DescribeTaskDefinitionOutput::builder()
            .task_definition(definition("registry/demo-app:1"))
            .set_tags(Some(tags.clone()))
            .build()
    });
    rules.services = services(vec![]);
    rules.ecs = listed();
    let pruned = prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

/// The same with a job that refers to the service by its name.
const NAMED: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app:
    image: '${repositories.app}:1'
    desired: 2
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
jobs: { ask: { image: curl, environment: { APP: '${services.app.host}' } } }
";

fn namespaces(ids: &'static [&'static str]) -> Rule {
    let summary = |id: &&str| NamespaceSummary::builder().id(*id).name("demo.internal").build();
    let found = ids.iter().map(summary).collect::<Vec<_>>();
    mock!(CloudMap::list_namespaces)
        .match_requests(|request| request.filters()[0].values() == ["demo.internal"])
        .then_output(move || ListNamespacesOutput::builder().set_namespaces(Some(found.clone())).build())
}

/// What lists the names of the namespace `ns-1`: one for each ttl.
fn names(found: &'static [(&'static str, i64)]) -> Rule {
    let summary = |(name, ttl): &(&str, i64)| {
        let record = DnsRecord::builder().r#type(RecordType::A).ttl(*ttl).build().expect("a record");
        let dns = DnsConfig::builder().dns_records(record).build().expect("a configuration");
        ServiceSummary::builder()
            .id(format!("srv-{name}"))
            .arn("arn:name")
            .name(*name)
            .dns_config(dns)
            .build()
    };
    let services: Vec<ServiceSummary> = found.iter().map(summary).collect();
    mock!(CloudMap::list_services)
        .match_requests(|request| request.filters()[0].values() == ["ns-1"])
        .then_output(move || NamesListed::builder().set_services(Some(services.clone())).build())
}

fn name_tags(address: Option<&str>) -> Rule {
    let tags = address.map(|address| context(Operation::Plan).tags(address)).unwrap_or_default();
    let tag = |(key, value): (&String, &String)| NameTag::builder().key(key).value(value).build();
    let tags: Vec<NameTag> = tags.iter().map(|pair| tag(pair).expect("a tag")).collect();
    mock!(CloudMap::list_tags_for_resource)
        .then_output(move || NameTags::builder().set_tags(Some(tags.clone())).build())
}

fn registered() -> EcsService {
    service().service_registries(ServiceRegistry::builder().registry_arn("arn:name").build()).build()
}

/// A service that has its name.
fn named() -> Rules {
    let cloud_map =
        vec![namespaces(&["ns-1"]), names(&[("app", 10)]), name_tags(Some("services.app.discovery"))];
    Rules { spec: NAMED, services: services(vec![registered()]), cloud_map, ..Rules::standing() }
}

#[tokio::test]
async fn a_service_that_is_referred_to_has_a_name_with_our_tags_before_it_is_created() {
    let mut rules = named();
    rules.services = services(vec![]);
    rules.cloud_map = vec![
        names(&[]),
        mock!(CloudMap::create_service)
            .match_requests(|request| {
                let dns = request.dns_config().expect("a configuration");
                let record = &dns.dns_records()[0];
                (request.name(), request.namespace_id()) == (Some("app"), Some("ns-1"))
                    && request.creator_request_id() == Some("run-services.app.discovery")
                    && dns.routing_policy() == Some(&RoutingPolicy::Multivalue)
                    && (record.r#type(), record.ttl()) == (&RecordType::A, 10)
                    && request.health_check_custom_config().is_some()
                    && request.tags().iter().any(|tag| tag.value() == "services.app.discovery")
            })
            .then_output(|| NameCreated::builder().service(Name::builder().arn("arn:name").build()).build()),
    ];
    rules.ecs = vec![
        mock!(Ecs::create_service)
            .match_requests(|request| request.service_registries()[0].registry_arn() == Some("arn:name"))
            .then_output(|| CreateServiceOutput::builder().service(registered()).build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!((rules.cloud_map[1].num_calls(), rules.ecs[0].num_calls()), (1, 1));
}

#[tokio::test]
async fn a_name_that_is_there_is_left_alone_and_planned_as_nothing() {
    let mut rules = named();
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.planned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_name_is_planned_where_the_namespace_is_not_there_yet() {
    let mut context = context_of(NAMED, Operation::Plan);
    let unknown = ClusterOutput { namespace: Some(step::UNKNOWN.to_owned()), ..ClusterOutput::default() };
    context.outputs.cluster = Some(unknown);
    let mut rules = named();
    (rules.services, rules.cloud_map) = (services(vec![]), vec![namespaces(&[])]);
    rules.ecs.extend(nothing_listed());
    let planned = plan(&rules.aws(), &context).await.expect("an answer");
    let told: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(told, ["services.app.discovery", "services.app"]);
}

#[tokio::test]
async fn a_name_that_drifted_is_put_right_and_one_of_somebody_else_is_refused() {
    let mut rules = named();
    rules.cloud_map[1] = names(&[("app", 60)]);
    rules.cloud_map[2] = name_tags(Some("services.other"));
    assert_eq!(
        rules.planned().await,
        ["services.app.discovery ttl", "services.app.discovery tags.plinth:address"]
    );
    rules.cloud_map.extend([
        mock!(CloudMap::update_service)
            .match_requests(|request| {
                let dns = request.service().and_then(|change| change.dns_config()).expect("a change");
                request.id() == Some("srv-app") && dns.dns_records()[0].ttl() == 10
            })
            .then_output(|| NameUpdated::builder().build()),
        mock!(CloudMap::tag_resource).then_output(|| NameTagged::builder().build()),
    ]);
    rules.ensured().await.expect("an answer");
    assert_eq!((rules.cloud_map[3].num_calls(), rules.cloud_map[4].num_calls()), (1, 1));

    rules.cloud_map[2] = name_tags(None);
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "Conflict");
}

#[tokio::test]
async fn a_service_that_stands_gets_a_name_and_loses_it() {
    let mut rules = named();
    rules.services = services(vec![service().build()]);
    let update = |count: usize| {
        mock!(Ecs::update_service)
            .match_requests(move |request| {
                request.service_registries.as_ref().is_some_and(|registries| registries.len() == count)
            })
            .then_output(|| UpdateServiceOutput::builder().service(registered()).build())
    };
    assert_eq!(rules.planned().await, ["services.app discovery"]);
    rules.ecs = vec![update(1), deployed_tag()];
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.ecs[0].num_calls(), 1);

    let mut rules = Rules::standing();
    rules.services = services(vec![registered()]);
    rules.ecs = vec![update(0), deployed_tag()];
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.ecs[0].num_calls(), 1);
}

#[tokio::test]
async fn a_dropped_name_is_planned_and_deleted_after_its_service_and_waited_for_while_it_is_in_use() {
    let mut rules = named();
    rules.logs.push(noted());
    rules.services = services(vec![service().status("INACTIVE").build()]);
    rules.ecs = nothing_listed().into();
    rules.cloud_map.push(mock!(CloudMap::delete_service).then_output(|| NameDeleted::builder().build()));
    let planned = plan(&rules.aws(), &dropped(Operation::Plan)).await.expect("an answer");
    let [change] = &planned.changes[..] else { panic!("{planned:?}") };
    assert_eq!((change.address.as_str(), rules.cloud_map[3].num_calls()), ("services.app.discovery", 0));
    prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(rules.cloud_map[3].num_calls(), 1);

    rules.cloud_map[3] = mock!(CloudMap::delete_service).then_error(|| {
        NameDeleteError::generic(CloudMapErrorMetadata::builder().code("ResourceInUse").build())
    });
    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");

    // Not while its service drains.
    rules.services = services(vec![service().status("DRAINING").build()]);
    rules.ecs = listed();
    prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(rules.cloud_map[3].num_calls(), 1);
}

#[tokio::test]
async fn names_of_others_and_those_that_are_referred_to_stay() {
    let mut rules = named();
    rules.logs.push(noted());
    rules.ecs = nothing_listed().into();
    let pruned = prune(&rules.aws(), &context_of(NAMED, Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
    rules.cloud_map[2] = name_tags(None);
    let pruned = prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

/// The same with a number of tasks that follows the load.
const SCALED: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  outer:
    type: application
    scheme: internal
    listeners: { main: { port: 80, default: '${services.app}' } }
services:
  app:
    image: '${repositories.app}:1'
    scale: { min: 2, max: 6, cpu: 60, requests: 100 }
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
";

const GROUP: &str = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/demo-app/2b";
const LABEL: &str = "app/demo-outer/1a/targetgroup/demo-app/2b";

fn targets(found: Vec<ScalableTarget>) -> Rule {
    mock!(Scaling::describe_scalable_targets).then_output(move || {
        DescribeScalableTargetsOutput::builder().set_scalable_targets(Some(found.clone())).build()
    })
}

fn target(min: i32, max: i32) -> ScalableTarget {
    ScalableTarget::builder()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id("service/demo/demo-app")
        .min_capacity(min)
        .max_capacity(max)
        .role_arn("arn:role")
        .creation_time(aws_sdk_applicationautoscaling::primitives::DateTime::from_secs(0))
        .scalable_target_arn("arn:target")
        .build()
        .expect("a target")
}

fn policy(name: &str, metric: MetricType, value: f64, label: Option<&str>) -> ScalingPolicy {
    let metric = PredefinedMetricSpecification::builder()
        .predefined_metric_type(metric)
        .set_resource_label(label.map(str::to_owned))
        .build();
    let tracking = TargetTrackingScalingPolicyConfiguration::builder()
        .target_value(value)
        .predefined_metric_specification(metric.expect("a metric"))
        .build();
    ScalingPolicy::builder()
        .policy_arn("arn:policy")
        .policy_name(name)
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id("service/demo/demo-app")
        .policy_type(PolicyType::TargetTrackingScaling)
        .target_tracking_scaling_policy_configuration(tracking.expect("a configuration"))
        .creation_time(aws_sdk_applicationautoscaling::primitives::DateTime::from_secs(0))
        .build()
        .expect("a policy")
}

fn by_cpu(value: f64) -> ScalingPolicy {
    policy("demo-app-cpu", MetricType::EcsServiceAverageCpuUtilization, value, None)
}

fn by_requests(label: &str) -> ScalingPolicy {
    policy("demo-app-requests", MetricType::AlbRequestCountPerTarget, 100.0, Some(label))
}

fn policies(found: Vec<ScalingPolicy>) -> Rule {
    mock!(Scaling::describe_scaling_policies)
        .match_requests(|request| request.resource_id() == Some("service/demo/demo-app"))
        .then_output(move || {
            DescribeScalingPoliciesOutput::builder().set_scaling_policies(Some(found.clone())).build()
        })
}

fn target_tags(address: &str) -> Rule {
    let tags = context(Operation::Plan).tags(address);
    mock!(Scaling::list_tags_for_resource)
        .match_requests(|request| request.resource_arn() == Some("arn:target"))
        .then_output(move || TargetTags::builder().set_tags(Some(tags.clone().into_iter().collect())).build())
}

/// As many tasks as the load asks for, behind the other balancer.
fn scaling() -> EcsService {
    let balancer = LoadBalancer::builder().target_group_arn(GROUP).container_port(80).build();
    service().desired_count(5).running_count(5).set_load_balancers(Some(vec![balancer])).build()
}

/// A service that scales.
fn scaled() -> Rules {
    let scaling_rules = vec![
        targets(vec![target(2, 6)]),
        policies(vec![by_cpu(60.0), by_requests(LABEL)]),
        target_tags("services.app.scale"),
    ];
    Rules { spec: SCALED, services: services(vec![scaling()]), scaling: scaling_rules, ..Rules::standing() }
}

fn put_policy(name: &'static str) -> Rule {
    mock!(Scaling::put_scaling_policy)
        .match_requests(move |request| request.policy_name() == Some(name))
        .then_output(|| {
            PutScalingPolicyOutput::builder().policy_arn("arn:policy").build().expect("an answer")
        })
}

fn delete_policy(name: &'static str) -> Rule {
    mock!(Scaling::delete_scaling_policy)
        .match_requests(move |request| request.policy_name() == Some(name))
        .then_output(|| DeleteScalingPolicyOutput::builder().build())
}

fn deregister() -> Rule {
    mock!(Scaling::deregister_scalable_target)
        .match_requests(|request| request.resource_id() == Some("service/demo/demo-app"))
        .then_output(|| DeregisterScalableTargetOutput::builder().build())
}

fn called(rules: &[Rule]) -> Vec<usize> {
    rules.iter().map(Rule::num_calls).collect()
}

#[tokio::test]
async fn a_service_that_scales_begins_with_the_fewest_tasks_and_gets_a_target_and_its_policies() {
    let mut rules = scaled();
    rules.services = services(vec![]);
    rules.ecs = vec![
        mock!(Ecs::create_service)
            .match_requests(|request| request.desired_count() == Some(2))
            .then_output(|| CreateServiceOutput::builder().service(scaling()).build()),
    ];
    rules.scaling = vec![
        targets(vec![]),
        mock!(Scaling::register_scalable_target)
            .match_requests(|request| {
                request.resource_id() == Some("service/demo/demo-app")
                    && (request.min_capacity(), request.max_capacity()) == (Some(2), Some(6))
                    && request.tags().is_some_and(|tags| tags["plinth:address"] == "services.app.scale")
            })
            .then_output(|| RegisterScalableTargetOutput::builder().build()),
        put_policy("demo-app-cpu"),
        mock!(Scaling::put_scaling_policy)
            .match_requests(|request| {
                let tracking = request.target_tracking_scaling_policy_configuration().expect("a policy");
                let metric = tracking.predefined_metric_specification().expect("a metric");
                request.policy_name() == Some("demo-app-requests")
                    && metric.predefined_metric_type() == &MetricType::AlbRequestCountPerTarget
                    && metric.resource_label() == Some(LABEL)
                    && (tracking.target_value() - 100.0).abs() < 0.1
            })
            .then_output(|| PutScalingPolicyOutput::builder().policy_arn("arn").build().expect("an answer")),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!((called(&rules.ecs), called(&rules.scaling)), (vec![1], vec![1; 4]));
}

#[tokio::test]
async fn how_many_tasks_the_load_asks_for_is_no_difference() {
    let mut rules = scaled();
    rules.ensured().await.expect("an answer");
    assert_eq!(rules.planned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_scales_is_updated_without_a_number_of_tasks() {
    let mut rules = scaled();
    rules.definition = defined(Some(definition("registry/demo-app:0")));
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .then_output(|| RegisterTaskDefinitionOutput::builder().task_definition(definition("x")).build()),
        mock!(Ecs::update_service)
            .match_requests(|request| request.desired_count().is_none())
            .then_output(|| UpdateServiceOutput::builder().service(scaling()).build()),
    ];
    let mut older = scaling();
    older.task_definition = Some(OLDER.to_owned());
    rules.services = services(vec![older]);
    rules.ecs.push(mock!(Ecs::tag_resource).then_output(|| TagResourceOutput::builder().build()));
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1, 1]);
}

#[tokio::test]
async fn what_drifted_in_how_a_service_scales_is_planned_field_by_field_and_put_right() {
    let mut rules = scaled();
    let by_memory = policy("demo-app-memory", MetricType::EcsServiceAverageMemoryUtilization, 50.0, None);
    let theirs = policy("by-hand", MetricType::EcsServiceAverageMemoryUtilization, 50.0, None);
    rules.scaling = vec![
        targets(vec![target(1, 6)]),
        policies(vec![by_cpu(80.0), by_requests("app/x/1/targetgroup/y/2"), by_memory, theirs]),
        target_tags("services.other"),
    ];
    assert_eq!(
        rules.planned().await,
        ["min", "cpu", "memory", "requests", "policies.by-hand", "tags.plinth:address"]
            .map(|field| format!("services.app.scale {field}"))
    );
    rules.scaling.extend([
        mock!(Scaling::register_scalable_target)
            // An existing target isn't tagged so.
            .match_requests(|request| request.min_capacity() == Some(2) && request.tags().is_none())
            .then_output(|| RegisterScalableTargetOutput::builder().build()),
        mock!(Scaling::tag_resource).then_output(|| TargetTagged::builder().build()),
        put_policy("demo-app-cpu"),
        put_policy("demo-app-requests"),
        delete_policy("demo-app-memory"),
        delete_policy("by-hand"),
    ]);
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.scaling[3..]), [1; 6]);
}

#[tokio::test]
async fn when_scale_is_dropped_its_target_goes_before_the_number_of_tasks_is_set() {
    let mut rules = scaled();
    rules.spec = SPEC;
    rules.services = services(vec![service().desired_count(5).running_count(5).build()]);
    rules.scaling.push(deregister());
    rules.ecs.extend(nothing_listed());
    let planned = plan(&rules.aws(), &context(Operation::Plan)).await.expect("an answer");
    let told: Vec<_> =
        planned.changes.iter().map(|change| (change.address.as_str(), change.action)).collect();
    assert_eq!(told, [("services.app", step::Action::Update), ("services.app.scale", step::Action::Delete)]);
    rules.ecs = vec![
        mock!(Ecs::update_service)
            .match_requests(|request| request.desired_count() == Some(2))
            .then_output(|| UpdateServiceOutput::builder().service(service().build()).build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!((called(&rules.scaling[3..]), called(&rules.ecs)), (vec![1], vec![1]));
}

#[tokio::test]
async fn the_target_of_somebody_elses_service_is_left_alone() {
    let mut rules = scaled();
    rules.spec = SPEC;
    rules.services = services(vec![service().set_tags(None).build()]);
    rules.scaling.push(deregister());
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "Conflict");
    assert_eq!(called(&rules.scaling[3..]), [0]);
}

#[tokio::test]
async fn the_target_of_a_dropped_service_is_planned_and_goes_before_it() {
    let mut rules = scaled();
    rules.ecs = listed();
    rules.ecs.push(mock!(Ecs::delete_service).then_output(|| DeleteServiceOutput::builder().build()));
    rules.scaling.push(deregister());
    let planned = plan(&rules.aws(), &dropped(Operation::Plan)).await.expect("an answer");
    let told: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(told[..2], ["services.app.scale", "services.app"]);
    assert_eq!(called(&rules.scaling[3..]), [0]);
    prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((called(&rules.scaling[3..]), rules.ecs[5].num_calls()), (vec![1], 1));
}

#[tokio::test]
async fn a_service_that_is_not_seen_yet_and_a_target_whose_answer_was_lost_are_waited_for() {
    for message in [
        "ECS service doesn't exist: service/demo/demo-app",
        "The scalable target that you tried to tag already exists.",
    ] {
        let mut rules = scaled();
        let refused = mock!(Scaling::register_scalable_target).then_error(move || {
            let metadata = ScalingErrorMetadata::builder().code("ValidationException").message(message);
            RegisterScalableTargetError::generic(metadata.build())
        });
        rules.scaling = vec![targets(vec![]), refused];
        assert_eq!(rules.ensured().await.unwrap_err().kind(), "NotReadySoon", "{message}");
    }
}

#[tokio::test]
async fn how_a_service_is_deployed_is_compared_and_put_right() {
    let mut rules = Rules::standing();
    rules.services = services(vec![service().deployment_configuration(deploying(50, 150, false)).build()]);
    assert_eq!(
        rules.planned().await,
        ["minimum", "maximum", "rollback"].map(|field| format!("services.app deployment.{field}"))
    );
    rules.ecs = vec![
        mock!(Ecs::update_service)
            .match_requests(|request| request.deployment_configuration() == Some(&deploying(100, 200, true)))
            .then_output(|| UpdateServiceOutput::builder().service(service().build()).build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1]);
}

/// The service on instances.
const ON_INSTANCES: &str = "
apiVersion: plinth/v1
name: demo
cluster: { capacity: ec2, instances: { type: t3.small } }
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app:
    image: '${repositories.app}:1'
    desired: 2
    memory: 64
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
";

fn on_instances() -> aws_sdk_ecs::types::builders::ServiceBuilder {
    let item = CapacityProviderStrategyItem::builder().capacity_provider("plinth-demo").build();
    let strategy = vec![item.expect("an item")];
    service().set_capacity_provider_strategy(Some(strategy)).set_network_configuration(None)
}

fn defined_on_instances() -> Rule {
    let mut definition = definition("registry/demo-app:1");
    (definition.cpu, definition.memory) = (None, None);
    definition.requires_compatibilities = Some(vec![Compatibility::Ec2]);
    definition.network_mode = Some(NetworkMode::Bridge);
    for container in definition.container_definitions.iter_mut().flatten() {
        container.memory = Some(64);
    }
    defined(Some(definition))
}

#[tokio::test]
async fn on_instances_a_service_has_our_provider_and_no_network_of_its_own() {
    let mut rules = Rules { spec: ON_INSTANCES, definition: defined_on_instances(), ..Rules::standing() };
    rules.services = services(vec![]);
    rules.ecs = vec![
        mock!(Ecs::create_service)
            .match_requests(|request| {
                request.capacity_provider_strategy()[0].capacity_provider() == "plinth-demo"
                    && request.network_configuration().is_none()
                    && request.load_balancers()[0].container_port() == Some(80)
            })
            .then_output(|| CreateServiceOutput::builder().service(on_instances().build()).build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1]);
    rules.services = services(vec![on_instances().build()]);
    assert_eq!(rules.planned().await, Vec::<String>::new());
}

#[tokio::test]
async fn on_somebody_elses_instances_the_clusters_own_strategy_is_left_alone_and_fargates_left() {
    let mut context = context_of(ON_INSTANCES, Operation::Ensure);
    let cluster = context.spec.cluster.as_mut().expect("a cluster");
    (cluster.existing, cluster.instances) = (true, None);
    let mut rules = Rules { definition: defined_on_instances(), ..Rules::standing() };
    rules.services = services(vec![on_instances().build()]);
    ensure(&rules.aws(), &context).await.expect("an answer");

    rules.services = services(vec![service().set_network_configuration(None).build()]);
    rules.ecs = vec![
        mock!(Ecs::update_service)
            .match_requests(|request| {
                request.capacity_provider_strategy.as_ref().is_some_and(Vec::is_empty)
                    && request.force_new_deployment() == Some(true)
            })
            .then_output(|| UpdateServiceOutput::builder().service(on_instances().build()).build()),
        deployed_tag(),
    ];
    ensure(&rules.aws(), &context).await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1]);
}

#[tokio::test]
async fn what_no_instance_has_room_for_is_told_while_it_is_waited_for() {
    let mut rules = Rules { spec: ON_INSTANCES, definition: defined_on_instances(), ..Rules::standing() };
    let message = "(service demo-app) was unable to place a task because no container instance met all of \
                   its requirements.";
    let event = |at: i64| {
        let event = ServiceEvent::builder().message(message).created_at(DateTime::from_secs(at)).build();
        let starting = vec![deployment(DeploymentRolloutState::InProgress, 0)];
        services(vec![on_instances().running_count(0).set_deployments(Some(starting)).events(event).build()])
    };
    rules.services = event(Timestamp::now().as_second() + 5);
    let error = rules.ensured().await.unwrap_err();
    assert!(error.to_string().contains("no container instance met"), "{error}");
    // What was said of an earlier deployment is over.
    rules.services = event(0);
    let error = rules.ensured().await.unwrap_err();
    assert!(!error.to_string().contains("no container instance met"), "{error}");
}

/// A service none of whose tasks runs, after so many have failed.
fn failing(state: DeploymentRolloutState, failed: i32) -> Rule {
    let mut failing = deployment(state, 0);
    failing.failed_tasks = failed;
    services(vec![deployed_now().running_count(0).set_deployments(Some(vec![failing])).build()])
}

#[tokio::test]
async fn tasks_that_keep_stopping_fail_the_run_as_soon_as_ecs_gives_up_on_them() {
    for (state, failed, kind) in [
        (DeploymentRolloutState::InProgress, 1, "NotReadyLater"),
        (DeploymentRolloutState::InProgress, 2, "NotReadyLater"),
        (DeploymentRolloutState::InProgress, 3, "Failed"),
        // After it had been complete.
        (DeploymentRolloutState::Completed, 3, "Failed"),
        (DeploymentRolloutState::Failed, 3, "Failed"),
    ] {
        let mut rules = Rules::standing();
        rules.services = failing(state, failed);
        rules.ecs = stopped().into();
        let error = rules.ensured().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{failed}: {error}");
        assert!(error.to_string().contains("Essential container in task exited"), "{error}");
    }
}

#[tokio::test]
async fn why_a_task_stopped_is_told_with_what_each_container_says_once() {
    let pull = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found";
    let unhealthy = "Task failed ELB health checks in (target-group arn:target)";
    let container = |name: &str, code: Option<i32>, reason: Option<&str>| {
        Container::builder().name(name).set_exit_code(code).set_reason(reason.map(str::to_owned)).build()
    };
    let exited = ended(1, "Essential container in task exited")
        .containers(container(
            "app",
            Some(137),
            Some("OutOfMemoryError: Container killed due to memory usage"),
        ))
        .containers(container("proxy", Some(0), None));
    for (task, told) in [
        (
            ended(1, pull).containers(container("app", None, Some(pull))),
            format!("): {pull}; nothing serves in its place"),
        ),
        (
            ended(1, unhealthy).containers(container("app", None, None)),
            format!("): {unhealthy}; nothing serves"),
        ),
        (
            exited,
            "): Essential container in task exited: app exited with 137: OutOfMemoryError: Container killed \
             due to memory usage; nothing serves"
                .to_owned(),
        ),
    ] {
        let mut rules = Rules::standing();
        rules.services = failing(DeploymentRolloutState::Failed, 3);
        rules.ecs = stopped_with(vec![task.build()]).into();
        let error = rules.ensured().await.unwrap_err();
        assert!(error.to_string().contains(&told), "{error}");
    }
}

#[tokio::test]
async fn what_ecs_stopped_to_go_back_and_what_ended_of_another_revision_is_no_reason() {
    let mut rules = Rules::standing();
    rules.services = failing(DeploymentRolloutState::Failed, 3);
    rules.ecs = stopped_with(vec![
        ended(1, "the reason").build(),
        ended(2, "Scaling activity initiated by (deployment ecs-svc/1)").build(),
        ended(3, "another").task_definition_arn(OLDER).build(),
    ])
    .into();
    let error = rules.ensured().await.unwrap_err();
    assert!(error.to_string().contains("): the reason; nothing serves"), "{error}");
}

/// The same, where the service follows its repository.
const FOLLOWING: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services:
  app:
    image: { repository: app, tag: v*-playground }
    desired: 2
    ports: [80]
    environment: { A: b, KEY: '${secrets.key}' }
    logs: { retention: 7d }
";

const OLD: &str = "registry/demo-app@sha256:01d0000000000000";
const NEW: &str = "registry/demo-app@sha256:1e30000000000000";

/// A repository that holds both, in the order in which they were not released.
fn listing(images: &'static [(&'static str, &'static str)]) -> Rule {
    mock!(Ecr::describe_images)
        .match_requests(|request| {
            request.repository_name() == Some("demo-app") && request.max_results() == Some(1000)
        })
        .then_output(move || {
            let image = |(image, tag): &(&str, &str)| {
                let digest = image.split_once('@').map(|(_, digest)| digest.to_owned());
                ImageDetail::builder().set_image_digest(digest).image_tags(*tag).build()
            };
            DescribeImagesOutput::builder()
                .set_image_details(Some(images.iter().map(image).collect()))
                .build()
        })
}

const BOTH: &[(&str, &str)] = &[(NEW, "v1.10.0-playground"), (OLD, "v1.9.0-playground")];

/// A revision as it is described by its ARN; the newest also by its family.
fn revision(arn: &'static str, image: &'static str) -> Rule {
    revision_of(arn, definition(image))
}

fn revision_of(arn: &'static str, mut definition: TaskDefinition) -> Rule {
    let tags = task_definition::tag_list(&context(Operation::Plan).tags("services.app.definition"));
    definition.task_definition_arn = Some(arn.to_owned());
    mock!(Ecs::describe_task_definition)
        .match_requests(move |request| {
            request.task_definition() == Some(arn)
                || (arn == REVISION && request.task_definition() == Some("demo-app"))
        })
        .then_output(move || {
            DescribeTaskDefinitionOutput::builder()
                .task_definition(definition.clone())
                .set_tags(Some(tags.clone()))
                .build()
        })
}

/// A service at this revision that says that such a one was deployed, and what is refused.
fn at(runs: &str, deployed: &str, refused: Option<&str>) -> Rule {
    let mut tags = service_tags();
    tags.insert("plinth:deployed".to_owned(), deployed.to_owned());
    tags.extend(refused.map(|refused| ("plinth:refused".to_owned(), refused.to_owned())));
    let mut primary = deployment(DeploymentRolloutState::Completed, 2);
    primary.task_definition = Some(runs.to_owned());
    let service = service().cluster_arn("arn:cluster/demo").task_definition(runs);
    let service = service.set_deployments(Some(vec![primary]));
    services(vec![service.set_tags(Some(task_definition::tag_list(&tags))).build()])
}

/// What follows, with the newest image deployed.
fn followed() -> Rules {
    let mut rules = Rules::standing();
    rules.spec = FOLLOWING;
    rules.image = listing(BOTH);
    rules.definition = revision(REVISION, NEW);
    rules.services = at(REVISION, "3 earlier", None);
    rules
}

#[tokio::test]
async fn the_newest_image_that_runs_already_is_left_alone_and_planned_as_nothing() {
    let mut rules = followed();
    assert_eq!(rules.ensured().await.expect("an answer").notes, Vec::<String>::new());
    assert_eq!(rules.planned().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_newer_image_is_a_new_revision_pinned_by_its_digest() {
    let mut rules = followed();
    rules.definition = revision(REVISION, OLD);
    assert_eq!(rules.planned().await, ["services.app.definition image", "services.app definition"]);
    let newer = TaskDefinition::builder().task_definition_arn("arn:demo-app:4").build();
    let updated = service().task_definition("arn:demo-app:4").build();
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .match_requests(|request| request.container_definitions()[0].image() == Some(NEW))
            .then_output(move || {
                RegisterTaskDefinitionOutput::builder().task_definition(newer.clone()).build()
            }),
        mock!(Ecs::update_service)
            .then_output(move || UpdateServiceOutput::builder().service(updated.clone()).build()),
        mock!(Ecs::tag_resource).then_output(|| TagResourceOutput::builder().build()),
    ];
    rules.ensured().await.expect("an answer");
    assert_eq!(called(&rules.ecs), [1, 1, 1]);
}

#[tokio::test]
async fn a_repository_without_such_an_image_is_waited_for_with_the_way_to_push_one() {
    let mut rules = followed();
    (rules.services, rules.image) = (services(vec![]), listing(&[(OLD, "v1.9.0")]));
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().ends_with("docker push registry/demo-app:v0.1.0-playground"), "{error}");
}

#[tokio::test]
async fn an_image_that_was_rolled_back_is_remembered_and_fails_the_run_that_deployed_it() {
    for (run, fails) in [("run", true), ("earlier", false)] {
        let mut rules = followed();
        rules.services = at(OLDER, &format!("3 {run}"), None);
        rules.ecs = vec![
            revision(OLDER, OLD),
            mock!(Ecs::tag_resource)
                .match_requests(move |request| {
                    let tag = |key: &str| {
                        request.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
                    };
                    tag("plinth:refused") == Some(&format!("{run} 3 1e30000000000000"))
                        && tag("plinth:deployed") == Some(&format!("2 {run}"))
                })
                .then_output(|| TagResourceOutput::builder().build()),
        ];
        rules.ecs.extend(stopped());
        let ensured = rules.ensured().await;
        assert_eq!(called(&rules.ecs)[1], 1);
        assert_eq!(ensured.is_err(), fails, "{ensured:?}");
        if let Err(error) = ensured {
            assert_eq!(error.kind(), "Failed");
            for word in ["Essential container in task exited", "v1.10.0-playground", "isn't tried again"] {
                assert!(error.to_string().contains(word), "{word}: {error}");
            }
        }
        assert_eq!(rules.planned().await, ["services.app refused"]);
    }
}

#[tokio::test]
async fn what_is_refused_is_passed_over_and_what_runs_in_its_place_is_left_alone() {
    let mut rules = followed();
    rules.services = at(OLDER, "2 earlier", Some("earlier 3 1e30000000000000"));
    rules.ecs = vec![revision(OLDER, OLD)];
    let answer = rules.ensured().await.expect("an answer");
    assert!(answer.notes[0].contains("v1.10.0-playground"), "{:?}", answer.notes);
    assert_eq!(rules.planned().await, Vec::<String>::new());

    // The run that saw it fails however often it looks.
    rules.services = at(OLDER, "2 run", Some("run 3 1e30000000000000"));
    rules.ecs.extend(stopped());
    assert_eq!(rules.ensured().await.unwrap_err().kind(), "Failed");
}

#[tokio::test]
async fn where_every_image_is_refused_the_service_stays_with_what_it_has() {
    let mut rules = followed();
    rules.image = listing(&[(NEW, "v1.10.0-playground")]);
    rules.services = at(OLDER, "2 earlier", Some("earlier 3 1e30000000000000"));
    rules.ecs = vec![revision(OLDER, OLD)];
    rules.ensured().await.expect("an answer");
}

#[tokio::test]
async fn a_revision_that_differs_in_more_than_its_image_refuses_no_image() {
    let mut rules = followed();
    rules.services = at(OLDER, "3 run", None);
    let mut larger = definition(NEW);
    larger.cpu = Some("512".to_owned());
    rules.ecs = vec![revision_of(OLDER, larger)];
    rules.ecs.extend(stopped());
    let error = rules.ensured().await.unwrap_err();
    assert!(error.to_string().ends_with("upload the spec again"), "{error}");
}

#[tokio::test]
async fn the_revision_that_runs_is_not_pruned_though_a_newer_one_was_registered() {
    let mut rules = followed();
    rules.services = at(OLDER, "2 earlier", Some("earlier 3 1e30000000000000"));
    rules.ecs = listed();
    rules.ecs.extend([
        revision(OLDER, OLD),
        mock!(Ecs::deregister_task_definition)
            .match_requests(|request| request.task_definition() == Some(REVISION))
            .then_output(|| DeregisterTaskDefinitionOutput::builder().build()),
        mock!(Ecs::delete_task_definitions).then_output(|| DeleteTaskDefinitionsOutput::builder().build()),
    ]);
    prune(&rules.aws(), &context_of(FOLLOWING, Operation::Prune)).await.expect("an answer");
    assert_eq!(rules.ecs[6].num_calls(), 1);
}

/// What becomes of the services while the environment is paused.
async fn paused(rules: &Rules) -> Result<Answer> {
    let mut context = context_of(rules.spec, Operation::Ensure);
    context.run.paused = true;
    ensure(&rules.aws(), &context).await
}

fn desired(count: i32, after: EcsService) -> Rule {
    mock!(Ecs::update_service)
        .match_requests(move |request| request.desired_count() == Some(count))
        .then_output(move || UpdateServiceOutput::builder().service(after.clone()).build())
}

fn registered_as(min: i32, suspended: bool) -> Rule {
    mock!(Scaling::register_scalable_target)
        .match_requests(move |request| {
            let state = request.suspended_state().expect("a state");
            let states = [
                state.dynamic_scaling_in_suspended(),
                state.dynamic_scaling_out_suspended(),
                state.scheduled_scaling_suspended(),
            ];
            (request.min_capacity(), request.max_capacity()) == (Some(min), Some(6))
                && states == [Some(suspended); 3]
        })
        .then_output(|| RegisterScalableTargetOutput::builder().build())
}

#[tokio::test]
async fn a_paused_service_is_taken_to_no_task_and_waited_for_without_its_image_or_its_secret() {
    let mut rules = Rules::standing();
    rules.image = mock!(Ecr::describe_images)
        .then_error(|| DescribeImagesError::generic(aws_sdk_ecr::error::ErrorMetadata::builder().build()));
    rules.secret = secret(false);
    rules.ecs = vec![desired(0, service().desired_count(0).running_count(1).build())];
    let error = paused(&rules).await.unwrap_err();
    assert!(error.to_string().contains("1 of its tasks still run"), "{error}");
    assert_eq!(called(&rules.ecs), [1]);

    // Neither a failed deployment nor one under way keeps it from resting, and there is nothing left to write.
    let failed = deployment(DeploymentRolloutState::Failed, 0);
    rules.ecs = Vec::new();
    let rests = service().desired_count(0).running_count(0).set_deployments(Some(vec![failed]));
    rules.services = services(vec![rests.build()]);
    paused(&rules).await.expect("an answer");
}

#[tokio::test]
async fn what_scales_a_paused_service_is_suspended_before_it_and_let_go_after_it() {
    let mut rules = scaled();
    let rests = || {
        let mut service = scaling();
        (service.desired_count, service.running_count) = (0, 0);
        service
    };
    rules.ecs = vec![desired(0, rests())];
    rules.scaling.push(registered_as(0, true));
    paused(&rules).await.expect("an answer");
    assert_eq!((called(&rules.ecs), rules.scaling[3].num_calls()), (vec![1], 1));

    let suspended = SuspendedState::builder()
        .dynamic_scaling_in_suspended(true)
        .dynamic_scaling_out_suspended(true)
        .scheduled_scaling_suspended(true)
        .build();
    let mut asleep = target(0, 6);
    asleep.suspended_state = Some(suspended);
    let mut rules = scaled();
    rules.services = services(vec![rests()]);
    rules.scaling[0] = targets(vec![asleep]);
    paused(&rules).await.expect("an answer");

    // Awake again, it has the fewest tasks that it may have.
    assert_eq!(
        rules.planned().await,
        ["services.app desired", "services.app.scale min", "services.app.scale suspended"]
    );
    let mut woken = scaling();
    (woken.desired_count, woken.running_count) = (2, 2);
    rules.ecs = vec![desired(2, woken)];
    rules.scaling.push(registered_as(2, false));
    rules.ensured().await.expect("an answer");
    assert_eq!((called(&rules.ecs), rules.scaling[3].num_calls()), (vec![1], 1));
}

/// The call that notes since when nothing writes to a log group.
fn noted() -> Rule {
    mock!(Logs::tag_resource)
        .match_requests(|request| request.tags().is_some_and(|tags| tags.contains_key(step::DROPPED)))
        .then_output(|| aws_sdk_cloudwatchlogs::operation::tag_resource::TagResourceOutput::builder().build())
}

use aws_sdk_cloudwatchlogs::{
    operation::{
        create_log_group::CreateLogGroupOutput, delete_log_group::DeleteLogGroupOutput,
        describe_log_groups::DescribeLogGroupsOutput, list_tags_for_resource::ListTagsForResourceOutput,
        put_retention_policy::PutRetentionPolicyOutput,
    },
    types::LogGroup,
};
use aws_sdk_ecr::operation::describe_images::{DescribeImagesError, DescribeImagesOutput};
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
        AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, ContainerDefinition,
        CpuArchitecture, Deployment, DeploymentCircuitBreaker, DeploymentConfiguration,
        DeploymentRolloutState, Failure, KeyValuePair, LoadBalancer, LogConfiguration, LogDriver,
        NetworkConfiguration, PortMapping, RuntimePlatform, Secret, Service as EcsService, Task,
        TaskDefinition, TaskDefinitionStatus,
    },
};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::Timestamp;
use spec::Spec;
use step::{LoadBalancerOutput, NetworkOutput, Outputs, RepositoryOutput, Result, SecretOutput};

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
    let targets = [("app-80".to_owned(), "arn:target".to_owned())].into();
    let balancer = LoadBalancerOutput { targets, ..LoadBalancerOutput::default() };
    let outputs = Outputs {
        network: Some(network),
        repositories: [("app".to_owned(), repository)].into(),
        secrets: [("key".to_owned(), SecretOutput { arn: "arn:secret".to_owned() })].into(),
        load_balancers: [("inner".to_owned(), balancer)].into(),
        ..Outputs::default()
    };
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

/// The rules of all four services. What a test doesn't replace is as the spec says.
struct Rules {
    definition: Rule,
    services: Rule,
    group: Vec<Rule>,
    image: Rule,
    secret: Rule,
    ecs: Vec<Rule>,
    logs: Vec<Rule>,
}

impl Rules {
    fn standing() -> Self {
        Self {
            definition: defined(Some(definition("registry/demo-app:1"))),
            services: services(vec![service().build()]),
            group: group(Some(7)),
            image: mock!(Ecr::describe_images).then_output(|| DescribeImagesOutput::builder().build()),
            secret: secret(true),
            ecs: Vec::new(),
            logs: Vec::new(),
        }
    }

    fn aws(&self) -> Aws {
        let ecs: Vec<&Rule> = [&self.definition, &self.services].into_iter().chain(&self.ecs).collect();
        let logs: Vec<&Rule> = self.group.iter().chain(&self.logs).collect();
        Aws {
            ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, &ecs),
            ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, [&self.image]),
            logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, &logs),
            secrets: mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, [&self.secret]),
        }
    }

    async fn ensured(&self) -> Result<Answer> {
        ensure(&self.aws(), &context(Operation::Ensure)).await
    }

    /// Each field that a plan shows as different, with its address.
    async fn planned(&mut self) -> Vec<String> {
        self.ecs.extend(nothing_listed());
        let planned = plan(&self.aws(), &context(Operation::Plan)).await.expect("an answer");
        let told = |change: &Change| -> Vec<String> {
            change.fields.iter().map(|field| format!("{} {}", change.address, field.name)).collect()
        };
        planned.changes.iter().flat_map(told).collect()
    }
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
        ("awslogs-stream-prefix", "app"),
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
fn service() -> aws_sdk_ecs::types::builders::ServiceBuilder {
    let network = AwsVpcConfiguration::builder()
        .subnets("subnet-a")
        .security_groups("sg-services")
        .assign_public_ip(AssignPublicIp::Disabled)
        .build()
        .expect("a configuration");
    let item = CapacityProviderStrategyItem::builder().capacity_provider("FARGATE").build();
    let tags = task_definition::tag_list(&context(Operation::Plan).tags("services.app"));
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
        .deployment_configuration(
            DeploymentConfiguration::builder()
                .deployment_circuit_breaker(
                    DeploymentCircuitBreaker::builder().enable(true).rollback(true).build(),
                )
                .build(),
        )
        .set_tags(Some(tags))
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

fn stopped() -> [Rule; 2] {
    let task = Task::builder().stopped_reason("Essential container in task exited").build();
    [
        mock!(Ecs::list_tasks).then_output(|| ListTasksOutput::builder().task_arns("arn:task").build()),
        mock!(Ecs::describe_tasks)
            .then_output(move || DescribeTasksOutput::builder().tasks(task.clone()).build()),
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
            "services.app circuitBreaker"
        ]
    );
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
    let mut tags = context(Operation::Plan).tags("services.app");
    tags.insert("plinth:deployed".to_owned(), "3 run".to_owned());
    let back = service().task_definition(OLDER).set_tags(Some(task_definition::tag_list(&tags)));
    rules.services = services(vec![back.build()]);
    rules.ecs = stopped().into();
    let error = rules.ensured().await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("Essential container in task exited"), "{error}");
}

#[tokio::test]
async fn a_deployment_that_failed_fails_the_run_with_the_reason_a_task_stopped() {
    let mut rules = Rules::standing();
    let failed = vec![deployment(DeploymentRolloutState::Failed, 0)];
    rules.services = services(vec![service().set_deployments(Some(failed)).build()]);
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
    assert_eq!(addresses, ["services.app", "services.app.logs", "services.app.definition"]);
    assert_eq!(rules.ecs[5].num_calls(), 0);

    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), rules.ecs[5].num_calls()), ("NotReadySoon", 1));
}

#[tokio::test]
async fn when_a_dropped_service_is_gone_its_log_group_goes_and_then_its_revisions() {
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
    rules.logs.push(mock!(Logs::delete_log_group).then_output(|| DeleteLogGroupOutput::builder().build()));
    prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((rules.ecs[5].num_calls(), rules.ecs[6].num_calls(), rules.logs[0].num_calls()), (2, 1, 1));
}

#[tokio::test]
async fn revisions_left_inactive_are_deleted_and_a_refusal_is_told() {
    let mut rules = Rules::standing();
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

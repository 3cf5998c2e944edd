use aws_sdk_cloudwatchlogs::{
    operation::{
        create_log_group::CreateLogGroupOutput,
        describe_log_groups::DescribeLogGroupsOutput,
        get_log_events::{GetLogEventsError, GetLogEventsOutput},
        list_tags_for_resource::ListTagsForResourceOutput,
        put_retention_policy::PutRetentionPolicyOutput,
    },
    types::{LogGroup, OutputLogEvent},
};
use aws_sdk_ecr::operation::describe_images::{DescribeImagesError, DescribeImagesOutput};
use aws_sdk_ecs::{
    error::ErrorMetadata,
    operation::{
        delete_task_definitions::DeleteTaskDefinitionsOutput,
        deregister_task_definition::DeregisterTaskDefinitionOutput,
        describe_services::DescribeServicesOutput,
        describe_task_definition::{DescribeTaskDefinitionError, DescribeTaskDefinitionOutput},
        describe_tasks::DescribeTasksOutput,
        list_clusters::ListClustersOutput,
        list_task_definition_families::ListTaskDefinitionFamiliesOutput,
        list_task_definitions::ListTaskDefinitionsOutput,
        list_tasks::ListTasksOutput,
        register_task_definition::RegisterTaskDefinitionOutput,
        run_task::{RunTaskError, RunTaskOutput},
        stop_task::StopTaskOutput,
        tag_resource::TagResourceOutput,
    },
    primitives::DateTime,
    types::{
        CapacityProviderStrategyItem, Compatibility, Container, ContainerDefinition, CpuArchitecture,
        DesiredStatus, Failure, KeyValuePair, LogConfiguration, LogDriver, NetworkMode, RuntimePlatform,
        Secret, Service as EcsService, Tag, Task as EcsTask, TaskDefinition, TaskDefinitionStatus,
        TaskStopCode, builders::TaskBuilder,
    },
};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use serde_json::{Value, json};
use spec::Spec;
use std::{collections::BTreeMap, time::SystemTime};
use step::{NetworkOutput, Outputs, RepositoryOutput, SecretOutput};
use task_definition::tag_list;

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
repositories: { app: {} }
secrets: { key: {} }
services: { app: { image: nginx }, web: { image: nginx } }
";

const REVISION: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/demo-seed-job:3";
const OLDER: &str = "arn:aws:ecs:us-east-1:123456789012:task-definition/demo-seed-job:2";

/// A context whose spec has the one job `seed`, with what is said besides its image.
fn context_with(operation: Operation, more: &Value) -> Context {
    let mut job = json!({
        "image": "${repositories.app}:1",
        "cpu": 256,
        "memory": 512,
        "environment": { "A": "b", "KEY": "${secrets.key}" },
        "logs": { "retention": "7d" },
    });
    let fields = job.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let mut spec = spec::parse(SPEC, None).expect("a spec");
    spec.jobs = [("seed".to_owned(), serde_json::from_value(job).expect("a job"))].into();
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
    let outputs = Outputs {
        network: Some(network),
        repositories: [("app".to_owned(), repository)].into(),
        secrets: [("key".to_owned(), SecretOutput { arn: "arn:secret".to_owned(), renewed: false })].into(),
        ..Outputs::default()
    };
    step::test::context(operation, spec, outputs)
}

fn context(operation: Operation) -> Context {
    context_with(operation, &json!({}))
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn tags(address: &str, more: &[(&str, &str)]) -> Vec<Tag> {
    let mut tags = context(Operation::Plan).tags(address);
    tags.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    tag_list(&tags)
}

/// The rules of all four services. What a test doesn't replace is as the spec says, and has yet to run.
struct Rules {
    definitions: Vec<Rule>,
    group: Vec<Rule>,
    image: Rule,
    secret: Rule,
    tasks: Vec<Rule>,
    ecs: Vec<Rule>,
    logs: Vec<Rule>,
}

impl Rules {
    fn standing() -> Self {
        Self {
            definitions: vec![defined(definition("registry/demo-app:1"), None)],
            group: group(Some(7)),
            image: mock!(Ecr::describe_images).then_output(|| DescribeImagesOutput::builder().build()),
            secret: secret(true),
            tasks: tasks(vec![]),
            ecs: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// The same with the job done for this.
    fn completed(purpose: &str) -> Self {
        let definitions = vec![defined(definition("registry/demo-app:1"), Some(purpose))];
        Self { definitions, ..Self::standing() }
    }

    fn aws(&self) -> Aws {
        let ecs: Vec<&Rule> = self.definitions.iter().chain(&self.tasks).chain(&self.ecs).collect();
        let logs: Vec<&Rule> = self.group.iter().chain(&self.logs).collect();
        Aws {
            ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, &ecs),
            ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, [&self.image]),
            logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, &logs),
            secrets: mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, [&self.secret]),
        }
    }

    async fn ensured(&self, more: &Value) -> Result<Answer> {
        ensure(&self.aws(), &context_with(Operation::Ensure, more)).await
    }

    /// Each field that a plan shows, with its address.
    async fn planned(&mut self, more: &Value) -> Vec<String> {
        self.ecs.extend(nothing_listed());
        let planned = plan(&self.aws(), &context_with(Operation::Plan, more)).await.expect("an answer");
        let told = |change: &Change| -> Vec<String> {
            change.fields.iter().map(|field| format!("{} {}", change.address, field.name)).collect()
        };
        planned.changes.iter().flat_map(told).collect()
    }
}

fn nothing_listed() -> [Rule; 2] {
    [
        mock!(Ecs::list_task_definition_families)
            .then_output(|| ListTaskDefinitionFamiliesOutput::builder().build()),
        mock!(Ecs::list_task_definitions).then_output(|| ListTaskDefinitionsOutput::builder().build()),
    ]
}

/// The revision as AWS describes it when it is what the spec says.
fn definition(image: &str) -> TaskDefinition {
    let options = [
        ("awslogs-group", "/plinth/demo/seed-job"),
        ("awslogs-region", "us-east-1"),
        ("awslogs-stream-prefix", "demo-seed-job"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let logs = LogConfiguration::builder().log_driver(LogDriver::Awslogs).set_options(Some(options.into()));
    let container = ContainerDefinition::builder()
        .name("seed")
        .image(image)
        .environment(KeyValuePair::builder().name("A").value("b").build())
        .secrets(Secret::builder().name("KEY").value_from("arn:secret").build().expect("a secret"))
        .log_configuration(logs.build().expect("a log configuration"))
        .build();
    TaskDefinition::builder()
        .task_definition_arn(REVISION)
        .family("demo-seed-job")
        .status(TaskDefinitionStatus::Active)
        .requires_compatibilities(Compatibility::Fargate)
        .network_mode(NetworkMode::Awsvpc)
        .cpu("256")
        .memory("512")
        .runtime_platform(RuntimePlatform::builder().cpu_architecture(CpuArchitecture::X8664).build())
        .execution_role_arn("arn:aws:iam::123456789012:role/plinth/demo/demo-seed-job-execution")
        .container_definitions(container)
        .build()
}

fn defined(definition: TaskDefinition, completed: Option<&str>) -> Rule {
    let completed: Vec<_> = completed.into_iter().map(|purpose| ("plinth:completed", purpose)).collect();
    let tags = tags("jobs.seed.definition", &completed);
    mock!(Ecs::describe_task_definition)
        .match_requests(|request| request.task_definition().is_some_and(|name| name.contains("seed")))
        .then_output(move || {
            DescribeTaskDefinitionOutput::builder()
                .task_definition(definition.clone())
                .set_tags(Some(tags.clone()))
                .build()
        })
}

fn undefined() -> Rule {
    mock!(Ecs::describe_task_definition).then_error(|| {
        let metadata = ErrorMetadata::builder().code("ClientException");
        DescribeTaskDefinitionError::generic(metadata.message("Unable to describe task definition.").build())
    })
}

fn group(retention: Option<i32>) -> Vec<Rule> {
    let tags = context(Operation::Plan).tags("jobs.seed.logs");
    let group = LogGroup::builder()
        .log_group_name("/plinth/demo/seed-job")
        .arn("arn:group:*")
        .set_retention_in_days(retention)
        .build();
    vec![
        mock!(Logs::describe_log_groups)
            .then_output(move || DescribeLogGroupsOutput::builder().log_groups(group.clone()).build()),
        mock!(Logs::list_tags_for_resource).then_output(move || {
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

fn ago(seconds: i64) -> DateTime {
    DateTime::from_secs(DateTime::from(SystemTime::now()).secs() - seconds)
}

/// A task of ours, for this purpose and of this run, that runs since a minute.
fn task_for(purpose: &str, run: &str) -> TaskBuilder {
    EcsTask::builder()
        .task_arn("arn:aws:ecs:us-east-1:123456789012:task/demo/1234")
        .task_definition_arn(REVISION)
        .last_status("RUNNING")
        .desired_status("RUNNING")
        .created_at(ago(60))
        .set_tags(Some(tags("jobs.seed", &[("plinth:for", purpose), ("plinth:run", run)])))
}

fn exited(task: TaskBuilder, code: i32) -> EcsTask {
    task.last_status("STOPPED")
        .desired_status("STOPPED")
        .stop_code(TaskStopCode::EssentialContainerExited)
        .stopped_reason("Essential container in task exited")
        .containers(Container::builder().name("seed").exit_code(code).build())
        .build()
}

/// What lists and describes these tasks.
fn tasks(tasks: Vec<EcsTask>) -> Vec<Rule> {
    let arns = |wanted: &str| -> Vec<String> {
        let of = tasks.iter().filter(|task| task.desired_status() == Some(wanted));
        of.filter_map(|task| task.task_arn().map(str::to_owned)).collect()
    };
    let (running, stopped) = (arns("RUNNING"), arns("STOPPED"));
    let listed = |status: DesiredStatus, arns: Vec<String>| {
        mock!(Ecs::list_tasks)
            .match_requests(move |request| {
                request.desired_status() == Some(&status) && request.family() == Some("demo-seed-job")
            })
            .then_output(move || ListTasksOutput::builder().set_task_arns(Some(arns.clone())).build())
    };
    vec![
        listed(DesiredStatus::Running, running),
        listed(DesiredStatus::Stopped, stopped),
        mock!(Ecs::describe_tasks)
            .match_requests(|request| !request.include().is_empty())
            .then_output(move || DescribeTasksOutput::builder().set_tasks(Some(tasks.clone())).build()),
    ]
}

fn run_task() -> Rule {
    let started = task_for("done", "run").last_status("PROVISIONING").created_at(ago(0)).build();
    mock!(Ecs::run_task).then_output(move || RunTaskOutput::builder().tasks(started.clone()).build())
}

fn services(revisions: &'static [(&'static str, &'static str)]) -> Rule {
    mock!(Ecs::describe_services).then_output(|| {
        let service = |(name, number): &(&str, &str)| {
            let definition = format!("arn:task-definition/{name}:{number}");
            // Number 0 stands for one that was deleted.
            let status = if *number == "0" { "INACTIVE" } else { "ACTIVE" };
            EcsService::builder().service_name(*name).status(status).task_definition(definition).build()
        };
        let services = revisions.iter().map(service).collect();
        DescribeServicesOutput::builder().set_services(Some(services)).build()
    })
}

fn log(lines: Vec<String>) -> Rule {
    mock!(Logs::get_log_events)
        .match_requests(|request| {
            request.log_group_name() == Some("/plinth/demo/seed-job")
                && request.log_stream_name() == Some("demo-seed-job/seed/1234")
                && request.limit() == Some(20)
        })
        .then_output(move || {
            let events = lines.iter().map(|line| OutputLogEvent::builder().message(line).build()).collect();
            GetLogEventsOutput::builder().set_events(Some(events)).build()
        })
}

fn no_log() -> Rule {
    mock!(Logs::get_log_events).then_error(|| {
        GetLogEventsError::generic(ErrorMetadata::builder().code("ResourceNotFoundException").build())
    })
}

fn noted(value: &'static str) -> Rule {
    mock!(Ecs::tag_resource)
        .match_requests(move |request| {
            let [tag] = request.tags() else { return false };
            request.resource_arn() == Some(REVISION)
                && (tag.key(), tag.value()) == (Some("plinth:completed"), Some(value))
        })
        .then_output(|| TagResourceOutput::builder().build())
}

fn calls(rules: &[Rule]) -> Vec<usize> {
    rules.iter().map(Rule::num_calls).collect()
}

#[tokio::test]
async fn what_is_missing_is_created_with_our_tags_and_the_task_is_started_and_waited_for() {
    let mut rules = Rules::standing();
    rules.definitions = vec![undefined()];
    rules.group = vec![
        mock!(Logs::describe_log_groups).then_output(|| DescribeLogGroupsOutput::builder().build()),
        mock!(Logs::create_log_group)
            .match_requests(|request| {
                request.tags().is_some_and(|tags| {
                    tags.get("plinth:address").map(String::as_str) == Some("jobs.seed.logs")
                })
            })
            .then_output(|| CreateLogGroupOutput::builder().build()),
        mock!(Logs::put_retention_policy)
            .match_requests(|request| request.retention_in_days() == Some(7))
            .then_output(|| PutRetentionPolicyOutput::builder().build()),
    ];
    let started = task_for("done", "run").last_status("PROVISIONING").created_at(ago(0)).build();
    rules.ecs = vec![
        mock!(Ecs::register_task_definition)
            .match_requests(|request| {
                request.family() == Some("demo-seed-job")
                    && request.container_definitions()[0].name() == Some("seed")
                    && request.tags() == tags("jobs.seed.definition", &[])
            })
            .then_output(|| RegisterTaskDefinitionOutput::builder().task_definition(definition("x")).build()),
        mock!(Ecs::run_task)
            .match_requests(|request| {
                let network = request.network_configuration().and_then(|found| found.awsvpc_configuration());
                request.task_definition() == Some(REVISION)
                    && request.cluster() == Some("demo")
                    && request.started_by() == Some("plinth")
                    && request.client_token().is_some_and(|token| token.starts_with("run-jobs.seed-"))
                    && request.capacity_provider_strategy()[0].capacity_provider() == "FARGATE"
                    && network.is_some_and(|network| network.security_groups() == ["sg-services"])
                    && network.is_some_and(|network| network.subnets() == ["subnet-a"])
                    && request.propagate_tags().is_none()
                    && request.tags() == tags("jobs.seed", &[("plinth:for", "done"), ("plinth:run", "run")])
            })
            .then_output(move || RunTaskOutput::builder().tasks(started.clone()).build()),
    ];
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert!(error.to_string().starts_with("jobs.seed: its task (1234) is PROVISIONING"), "{error}");
    assert_eq!((error.kind(), calls(&rules.ecs)), ("NotReadySoon", vec![1, 1]));
}

#[tokio::test]
async fn on_instances_a_task_runs_where_the_cluster_has_room_and_has_no_address_of_its_own() {
    for (existing, provider) in [(false, Some("plinth-demo")), (true, None)] {
        let mut context = context(Operation::Ensure);
        let capacity = spec::Capacity::Ec2;
        context.spec.cluster = Some(spec::Cluster { existing, capacity, ..spec::Cluster::default() });
        let job = context.spec.jobs.get_mut("seed").expect("a job");
        job.network_mode = Some(spec::NetworkMode::Bridge);
        job.memory = Some(64);
        let mut rules = Rules::standing();
        rules.definitions = vec![undefined()];
        rules.ecs = vec![
            mock!(Ecs::register_task_definition)
                .match_requests(|request| {
                    request.requires_compatibilities() == [Compatibility::Ec2]
                        && request.network_mode() == Some(&NetworkMode::Bridge)
                        && (request.cpu(), request.memory()) == (None, None)
                        && request.container_definitions()[0].memory() == Some(64)
                })
                .then_output(|| {
                    RegisterTaskDefinitionOutput::builder().task_definition(definition("x")).build()
                }),
            mock!(Ecs::run_task)
                .match_requests(move |request| {
                    let strategy = request.capacity_provider_strategy();
                    strategy.first().map(CapacityProviderStrategyItem::capacity_provider) == provider
                        && request.launch_type().is_none()
                        && request.network_configuration().is_none()
                })
                .then_output(|| RunTaskOutput::builder().tasks(task_for("done", "run").build()).build()),
        ];
        assert_eq!(ensure(&rules.aws(), &context).await.unwrap_err().kind(), "NotReadySoon");
        assert_eq!(calls(&rules.ecs), [1, 1]);
    }
}

#[tokio::test]
async fn what_has_run_is_left_alone_and_planned_as_nothing() {
    let mut rules = Rules::completed("done");
    rules.ensured(&json!({})).await.expect("an answer");
    assert_eq!(rules.planned(&json!({})).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_plan_of_nothing_there_tells_all() {
    let mut rules = Rules::standing();
    rules.definitions = vec![undefined()];
    rules.group =
        vec![mock!(Logs::describe_log_groups).then_output(|| DescribeLogGroupsOutput::builder().build())];
    assert_eq!(
        rules.planned(&json!({})).await,
        ["jobs.seed.definition image", "jobs.seed.logs name", "jobs.seed runs"]
    );
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_another_image_runs_again() {
    let mut rules = Rules::completed("done");
    rules.group = group(None);
    assert_eq!(rules.planned(&json!({})).await, ["jobs.seed.logs retention"]);

    let mut rules = Rules::standing();
    rules.definitions = vec![defined(definition("registry/demo-app:0"), Some("done"))];
    assert_eq!(rules.planned(&json!({})).await, ["jobs.seed.definition image", "jobs.seed runs"]);
}

#[tokio::test]
async fn a_definition_of_somebody_else_is_refused() {
    let mut rules = Rules::standing();
    let theirs = mock!(Ecs::describe_task_definition).then_output(|| {
        DescribeTaskDefinitionOutput::builder().task_definition(definition("registry/demo-app:1")).build()
    });
    rules.definitions = vec![theirs];
    rules.ecs = vec![mock!(Ecs::list_task_definitions).then_output(|| {
        ListTaskDefinitionsOutput::builder()
            .task_definition_arns(REVISION)
            .task_definition_arns(OLDER)
            .build()
    })];
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("rename jobs.seed in the spec"), "{error}");
}

#[tokio::test]
async fn a_missing_image_and_a_secret_without_a_value_are_waited_for_before_a_task_is_started() {
    let mut rules = Rules::standing();
    rules.image = mock!(Ecr::describe_images).then_error(|| {
        DescribeImagesError::generic(ErrorMetadata::builder().code("ImageNotFoundException").build())
    });
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert!(error.to_string().contains("docker push registry/demo-app:1"), "{error}");

    let mut rules = Rules::standing();
    rules.secret = secret(false);
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "secrets.key has no value: plinth secret set demo key");
}

#[tokio::test]
async fn a_task_that_runs_is_waited_for_whichever_run_started_it() {
    let mut rules = Rules::standing();
    rules.tasks = tasks(vec![task_for("done", "earlier").build()]);
    let error = rules.ensured(&json!({})).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("is RUNNING, 6") && told.ends_with(" s of at most 1h"), "{error}");
    rules.tasks = tasks(vec![task_for("done", "run").created_at(ago(600)).build()]);
    assert_eq!(rules.ensured(&json!({})).await.unwrap_err().kind(), "NotReadyLater");
    rules.tasks = tasks(vec![task_for("done", "run").created_at(ago(1_800)).build()]);
    assert_eq!(rules.ensured(&json!({})).await.unwrap_err().kind(), "NotReadyLong");
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_stopped_and_fails_the_run() {
    let mut rules = Rules::standing();
    rules.tasks = tasks(vec![task_for("done", "run").created_at(ago(301)).build()]);
    rules.ecs = vec![
        mock!(Ecs::stop_task)
            .match_requests(|request| request.reason() == Some("it ran longer than 5m"))
            .then_output(|| StopTaskOutput::builder().build()),
    ];
    rules.logs = vec![log(vec!["still here".to_owned()])];
    let error = rules.ensured(&json!({ "timeout": "5m" })).await.unwrap_err();
    assert_eq!((error.kind(), calls(&rules.ecs)), ("Failed", vec![1]));
    assert!(error.to_string().contains("it ran longer than 5m"), "{error}");
    assert!(error.to_string().ends_with("still here"), "{error}");

    let stopping = task_for("done", "run").desired_status("STOPPED").created_at(ago(301)).build();
    rules.tasks = tasks(vec![stopping]);
    assert_eq!(rules.ensured(&json!({ "timeout": "5m" })).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(calls(&rules.ecs), [1]);
}

#[tokio::test]
async fn a_task_that_exits_well_is_noted_on_its_revision() {
    let mut rules = Rules::standing();
    rules.tasks = tasks(vec![exited(task_for("done", "earlier"), 0)]);
    rules.ecs = vec![noted("done")];
    rules.ensured(&json!({})).await.expect("an answer");
    assert_eq!(calls(&rules.ecs), [1]);
}

#[tokio::test]
async fn a_task_that_was_told_to_stop_has_not_done_its_work_though_it_exits_well() {
    let mut rules = Rules::standing();
    let mut told = exited(task_for("done", "run"), 0);
    told.stop_code = Some(TaskStopCode::UserInitiated);
    rules.tasks = tasks(vec![told]);
    rules.logs = vec![no_log()];
    assert_eq!(rules.ensured(&json!({})).await.unwrap_err().kind(), "Failed");
}

#[tokio::test]
async fn a_task_that_fails_fails_the_run_with_its_code_and_its_last_lines_and_is_not_run_again_by_it() {
    let mut rules = Rules::standing();
    rules.tasks = tasks(vec![exited(task_for("done", "run"), 3)]);
    rules.logs = vec![log(vec!["relation missing\n".to_owned(), "gave up".to_owned()])];
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    let text = error.to_string();
    assert!(text.contains("exited with 3: Essential container in task exited"), "{text}");
    assert!(
        text.ends_with("(/plinth/demo/seed-job, demo-seed-job/seed/1234):\nrelation missing\ngave up"),
        "{text}"
    );

    rules.logs = vec![log(vec!["ä".repeat(1_000); 20])];
    let long = rules.ensured(&json!({})).await.unwrap_err().to_string();
    assert!((3_000..4_096).contains(&long.len()), "{}", long.len());
}

#[tokio::test]
async fn a_task_that_did_not_start_fails_the_run_with_the_reason() {
    let mut rules = Rules::standing();
    let reason = "CannotPullContainerError: not found";
    let task = task_for("done", "run")
        .last_status("STOPPED")
        .desired_status("STOPPED")
        .stop_code(TaskStopCode::TaskFailedToStart)
        .stopped_reason(reason)
        .containers(Container::builder().name("seed").reason(reason).build());
    rules.tasks = tasks(vec![task.build()]);
    rules.logs = vec![no_log()];
    let error = rules.ensured(&json!({})).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains(&format!("ended without an exit code: {reason}; mend")), "{error}");
}

#[tokio::test]
async fn what_failed_in_an_earlier_run_or_is_not_of_this_purpose_is_run_anew() {
    let theirs = task_for("done", "run").set_tags(None);
    for task in [
        exited(task_for("done", "earlier"), 1),
        exited(task_for("app:1", "run"), 0),
        exited(task_for("done", "run").task_definition_arn(OLDER), 0),
        exited(theirs, 0),
    ] {
        let mut rules = Rules::standing();
        rules.tasks = tasks(vec![task]);
        rules.ecs = vec![run_task()];
        assert_eq!(rules.ensured(&json!({})).await.unwrap_err().kind(), "NotReadySoon");
        assert_eq!(calls(&rules.ecs), [1]);
    }
}

#[tokio::test]
async fn a_job_after_services_runs_again_for_each_of_their_revisions() {
    let after = json!({ "after": ["web", "app"] });
    let mut rules = Rules::completed("app:4 web:7");
    rules.ecs = vec![services(&[("demo-app", "4"), ("demo-web", "7")])];
    rules.ensured(&after).await.expect("an answer");

    rules.ecs = vec![
        services(&[("demo-app", "5"), ("demo-web", "7")]),
        mock!(Ecs::run_task)
            .match_requests(|request| {
                let purpose = request.tags().iter().find(|tag| tag.key() == Some("plinth:for"));
                purpose.and_then(|tag| tag.value()) == Some("app:5 web:7")
            })
            .then_output(|| RunTaskOutput::builder().tasks(task_for("app:5 web:7", "run").build()).build()),
    ];
    assert_eq!(rules.ensured(&after).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(calls(&rules.ecs), [1, 1]);

    rules.tasks = tasks(vec![exited(task_for("app:5 web:7", "run"), 0)]);
    rules.ecs = vec![services(&[("demo-app", "5"), ("demo-web", "7")]), noted("app:5 web:7")];
    rules.ensured(&after).await.expect("an answer");
    assert_eq!(calls(&rules.ecs), [1, 1]);

    rules.ecs = vec![services(&[("demo-app", "5"), ("demo-web", "0")])];
    let error = rules.ensured(&after).await.unwrap_err();
    assert_eq!(error.to_string(), "jobs.seed comes after services.web, which isn't there");
}

#[tokio::test]
async fn the_plan_of_a_job_after_services_follows_their_plan() {
    let after = json!({ "after": ["app"] });
    let standing = TaskDefinition::builder()
        .task_definition_arn("arn:task-definition/demo-app:4")
        .requires_compatibilities(Compatibility::Fargate)
        .network_mode(NetworkMode::Awsvpc)
        .cpu("256")
        .memory("512")
        .runtime_platform(RuntimePlatform::builder().cpu_architecture(CpuArchitecture::X8664).build())
        .execution_role_arn("arn:aws:iam::123456789012:role/plinth/demo/demo-app-execution");
    let service = |image: &str, completed: &str| {
        let options: BTreeMap<&str, &str> = [
            ("awslogs-group", "/plinth/demo/app"),
            ("awslogs-region", "us-east-1"),
            ("awslogs-stream-prefix", "demo-app"),
        ]
        .into();
        let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let logs = LogConfiguration::builder().log_driver(LogDriver::Awslogs).set_options(Some(options));
        let container = ContainerDefinition::builder()
            .name("app")
            .image(image)
            .log_configuration(logs.build().expect("a log configuration"));
        let definition = standing.clone().container_definitions(container.build()).build();
        let of_service = mock!(Ecs::describe_task_definition)
            .match_requests(|request| request.task_definition() == Some("demo-app"))
            .then_output(move || {
                DescribeTaskDefinitionOutput::builder()
                    .task_definition(definition.clone())
                    .set_tags(Some(tags("services.app.definition", &[])))
                    .build()
            });
        let mut rules = Rules::completed(completed);
        rules.definitions.push(of_service);
        rules
            .ecs
            .push(mock!(Ecs::describe_services).then_output(|| DescribeServicesOutput::builder().build()));
        rules
    };
    assert_eq!(service("nginx", "app:4").planned(&after).await, Vec::<String>::new());
    assert_eq!(service("nginx", "app:3").planned(&after).await, ["jobs.seed runs"]);
    assert_eq!(service("nginx:old", "app:4").planned(&after).await, ["jobs.seed runs"]);
}

#[tokio::test]
async fn of_a_manual_job_only_definition_and_log_group_are_kept() {
    let manual = json!({ "when": "manual" });
    let mut rules = Rules::standing();
    rules.tasks = Vec::new();
    rules.ensured(&manual).await.expect("an answer");
    assert_eq!(rules.planned(&manual).await, Vec::<String>::new());
}

#[tokio::test]
async fn while_the_environment_is_paused_no_job_runs() {
    let mut rules = Rules::standing();
    rules.tasks = Vec::new();
    rules.ecs.extend(nothing_listed());
    let mut context = context(Operation::Ensure);
    context.run.paused = true;
    ensure(&rules.aws(), &context).await.expect("an answer");
    let planned = plan(&rules.aws(), &Context { operation: Operation::Plan, ..context }).await;
    let runs = planned.expect("an answer").changes.into_iter().filter(|change| change.address == "jobs.seed");
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn capacity_that_lacks_and_a_new_role_are_waited_for_and_other_failures_are_told() {
    for (reason, kind) in [
        ("RESOURCE:CPU", "NotReadySoon"),
        ("AGENT", "NotReadySoon"),
        ("Capacity is unavailable at this time. Please try again later", "NotReadySoon"),
        ("MISSING", "Failed"),
    ] {
        let mut rules = Rules::standing();
        rules.ecs = vec![mock!(Ecs::run_task).then_output(move || {
            RunTaskOutput::builder().failures(Failure::builder().reason(reason).build()).build()
        })];
        let error = rules.ensured(&json!({})).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, format!("running jobs.seed: {reason}")));
    }
    let mut rules = Rules::standing();
    rules.ecs = vec![mock!(Ecs::run_task).then_error(|| {
        let metadata = ErrorMetadata::builder().code("ClientException");
        let message = "ECS was unable to assume the role 'arn:x' that was provided for this task.";
        RunTaskError::generic(metadata.message(message).build())
    })];
    assert_eq!(rules.ensured(&json!({})).await.unwrap_err().kind(), "NotReadySoon");
}

/// What lists the job's revisions, and its cluster.
fn listed() -> Vec<Rule> {
    vec![
        mock!(Ecs::list_clusters)
            .then_output(|| ListClustersOutput::builder().cluster_arns("arn:cluster/demo").build()),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.status() == Some(&TaskDefinitionStatus::Active))
            .then_output(|| {
                let arns = Some(vec![OLDER.to_owned(), REVISION.to_owned()]);
                ListTaskDefinitionsOutput::builder().set_task_definition_arns(arns).build()
            }),
        mock!(Ecs::list_task_definitions)
            .match_requests(|request| request.status() == Some(&TaskDefinitionStatus::Inactive))
            .then_output(|| ListTaskDefinitionsOutput::builder().build()),
        mock!(Ecs::list_task_definition_families)
            .then_output(|| ListTaskDefinitionFamiliesOutput::builder().build()),
        mock!(Ecs::stop_task).then_output(|| StopTaskOutput::builder().build()),
        mock!(Ecs::deregister_task_definition)
            .then_output(|| DeregisterTaskDefinitionOutput::builder().build()),
        mock!(Ecs::delete_task_definitions)
            .match_requests(|request| request.task_definitions().len() == 2)
            .then_output(|| DeleteTaskDefinitionsOutput::builder().build()),
    ]
}

#[tokio::test]
async fn a_dropped_job_is_planned_its_task_stopped_and_waited_for_before_its_log_group_is_dropped_and_its_revisions_go()
 {
    let mut rules = Rules::standing();
    rules.ecs = listed();
    rules.tasks = tasks(vec![task_for("done", "run").build()]);
    rules.logs = vec![dropped_group()];
    let planned = plan(&rules.aws(), &dropped(Operation::Plan)).await.expect("an answer");
    let addresses: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["jobs.seed", "jobs.seed.definition"]);
    assert_eq!(calls(&rules.ecs[4..]), [0, 0, 0]);

    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), calls(&rules.ecs[4..])), ("NotReadySoon", vec![1, 0, 0]));
    rules.tasks = tasks(vec![task_for("done", "run").desired_status("STOPPED").build()]);
    let error = prune(&rules.aws(), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!((error.kind(), calls(&rules.ecs[4..])), ("NotReadySoon", vec![1, 0, 0]));
    rules.tasks = tasks(vec![exited(task_for("done", "run"), 137)]);
    prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((calls(&rules.ecs[4..]), rules.logs[0].num_calls()), (vec![1, 2, 1], 1));
}

#[tokio::test]
async fn definitions_of_services_are_left_to_them() {
    let mut rules = Rules::standing();
    rules.definitions = vec![mock!(Ecs::describe_task_definition).then_output(|| {
        DescribeTaskDefinitionOutput::builder()
            .task_definition(definition("registry/demo-app:1"))
            .set_tags(Some(tags("services.seed-job.definition", &[])))
            .build()
    })];
    rules.ecs = listed();
    rules.logs = vec![dropped_group()];
    let pruned = prune(&rules.aws(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((pruned.changes, calls(&rules.ecs[4..])), (vec![], vec![0, 0, 0]));
}

#[tokio::test]
async fn a_log_group_that_a_service_of_the_spec_writes_to_stays() {
    let mut spec = spec::parse(SPEC, None).expect("a spec");
    let logs = spec::Logs { group: Some("/plinth/demo/seed-job".to_owned()), retention: None };
    spec.services.get_mut("web").expect("a service").logs = Some(logs);
    let mut rules = Rules::standing();
    rules.ecs = listed();
    let context = step::test::context(Operation::Prune, spec, Outputs::default());
    let pruned = prune(&rules.aws(), &context).await.expect("an answer");
    assert_eq!(pruned.changes, [Change::delete("jobs.seed.definition")]);
}

#[tokio::test]
async fn only_the_jobs_of_the_batch_are_done_and_what_was_dropped_is_planned_once() {
    let mut context = context(Operation::Plan);
    let seed = context.spec.jobs["seed"].clone();
    context.spec.jobs.insert("other".to_owned(), seed);
    context.batch = Some(vec!["seed".to_owned()]);
    // Nothing may be listed: `other` is the first.
    let rules = Rules::completed("done");
    let planned = plan(&rules.aws(), &context).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

/// The call that notes since when nothing writes to a log group.
fn dropped_group() -> Rule {
    mock!(Logs::tag_resource)
        .match_requests(|request| request.tags().is_some_and(|tags| tags.contains_key(step::DROPPED)))
        .then_output(|| aws_sdk_cloudwatchlogs::operation::tag_resource::TagResourceOutput::builder().build())
}

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use aws_sdk_ecs::{
    error::ErrorMetadata,
    operation::{
        describe_services::DescribeServicesOutput,
        describe_task_definition::{DescribeTaskDefinitionError, DescribeTaskDefinitionOutput},
    },
    types::{
        Compatibility, ContainerDefinition, CpuArchitecture, Deployment, DeploymentRolloutState,
        LogConfiguration, LogDriver, NetworkMode, PortMapping, RuntimePlatform, Service, ServiceField, Tag,
        TaskDefinition, TaskDefinitionStatus,
    },
};
use aws_sdk_elasticloadbalancingv2::{
    operation::{
        describe_load_balancers::DescribeLoadBalancersOutput,
        describe_target_health::DescribeTargetHealthOutput,
    },
    types::{
        LoadBalancer, LoadBalancerState, LoadBalancerStateEnum, TargetHealth, TargetHealthDescription,
        TargetHealthReasonEnum, TargetHealthStateEnum,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::{Timestamp, ToSpan};
use step::{Error, LoadBalancerOutput, Outputs};
use task::task_definition;

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services: { app: { image: nginx, ports: [80] } }
";

fn context() -> Context {
    of(SPEC)
}

fn of(spec: &str) -> Context {
    let targets = [("app".to_owned(), "arn:app".to_owned())].into();
    let output = LoadBalancerOutput { targets, ..LoadBalancerOutput::default() };
    let outputs = Outputs { load_balancers: [("inner".to_owned(), output)].into(), ..Outputs::default() };
    step::test::context(Operation::Ensure, spec::parse(spec, None).expect("a spec"), outputs)
}

fn arn(revision: &str) -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:task-definition/{revision}")
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// The service, with so many tasks of those wanted, in its third revision.
fn service(running: i32, desired: i32) -> Rule {
    deployed("demo-app:3", "3 run", running, desired)
}

/// The service in this revision, with this tag.
fn deployed(revision: &str, tagged: &str, running: i32, desired: i32) -> Rule {
    let deployment = Deployment::builder()
        .status("PRIMARY")
        .rollout_state(DeploymentRolloutState::Completed)
        .task_definition(arn(revision))
        .build();
    let service = Service::builder()
        .service_name("demo-app")
        .status("ACTIVE")
        .desired_count(desired)
        .running_count(running)
        .deployments(deployment)
        .tags(tag("plinth:deployed", tagged))
        .build();
    mock!(Ecs::describe_services)
        .match_requests(|request| request.include() == [ServiceField::Tags])
        .then_output(move || DescribeServicesOutput::builder().services(service.clone()).build())
}

/// A revision, asked for by its number or as the newest of its family, that is what the spec says of a task with this
/// image.
fn registered(family: &'static str, number: u8, image: &str, tags: &'static [&'static str]) -> Rule {
    let word = family.trim_start_matches("demo-");
    let key = word.trim_end_matches("-job");
    let spec = format!("apiVersion: plinth/v1\nname: demo\njobs: {{ {key}: {{ image: '{image}' }} }}");
    let of_job = of(&spec);
    let options = [
        ("awslogs-group".to_owned(), format!("/plinth/demo/{word}")),
        ("awslogs-region".to_owned(), "us-east-1".to_owned()),
        ("awslogs-stream-prefix".to_owned(), family.to_owned()),
    ];
    let logs = LogConfiguration::builder().log_driver(LogDriver::Awslogs).set_options(Some(options.into()));
    let ports = (family == "demo-app").then(|| vec![PortMapping::builder().container_port(80).build()]);
    let container = ContainerDefinition::builder()
        .name(key)
        .image(image)
        .essential(true)
        .set_port_mappings(ports)
        .log_configuration(logs.build().expect("a configuration"));
    let role = of_job.role_arn(&of_job.execution_role_name(word));
    let definition = TaskDefinition::builder()
        .task_definition_arn(arn(&format!("{family}:{number}")))
        .status(TaskDefinitionStatus::Active)
        .requires_compatibilities(Compatibility::Fargate)
        .network_mode(NetworkMode::Awsvpc)
        .cpu("256")
        .memory("512")
        .runtime_platform(RuntimePlatform::builder().cpu_architecture(CpuArchitecture::X8664).build())
        .execution_role_arn(role)
        .container_definitions(container.build())
        .build();
    let mut all = of_job.tags("x");
    all.extend(tags.iter().map(|key| ((*key).to_owned(), "done".to_owned())));
    let tags = task_definition::tag_list(&all);
    mock!(Ecs::describe_task_definition)
        .match_requests(move |request| {
            request
                .task_definition()
                .is_some_and(|name| name == family || name == arn(&format!("{family}:{number}")))
        })
        .then_output(move || {
            DescribeTaskDefinitionOutput::builder()
                .task_definition(definition.clone())
                .set_tags(Some(tags.clone()))
                .build()
        })
}

fn targets(states: &[TargetHealthStateEnum]) -> Rule {
    let description = |state: &TargetHealthStateEnum| {
        let reason = (*state == TargetHealthStateEnum::Unhealthy).then_some(TargetHealthReasonEnum::Timeout);
        let health = TargetHealth::builder().state(state.clone()).set_reason(reason).build();
        TargetHealthDescription::builder().target_health(health).build()
    };
    let descriptions: Vec<_> = states.iter().map(description).collect();
    mock!(Elb::describe_target_health).then_output(move || {
        DescribeTargetHealthOutput::builder()
            .set_target_health_descriptions(Some(descriptions.clone()))
            .build()
    })
}

fn healthy() -> Rule {
    targets(&[TargetHealthStateEnum::Healthy])
}

async fn verified(service: &Rule, targets: &Rule) -> Result<Answer> {
    of_context(&context(), &[service], targets).await
}

async fn verified_after(seconds: i64, service: &Rule, targets: &Rule) -> Result<Answer> {
    let since = Timestamp::now() - seconds.seconds();
    of_context(&Context { since, ..context() }, &[service], targets).await
}

async fn of_context(context: &Context, ecs: &[&Rule], targets: &Rule) -> Result<Answer> {
    behind(LoadBalancerStateEnum::Active, context, ecs, targets).await
}

/// The same, behind a balancer in this state.
async fn behind(
    state: LoadBalancerStateEnum,
    context: &Context,
    ecs: &[&Rule],
    targets: &Rule,
) -> Result<Answer> {
    let balancers = mock!(Elb::describe_load_balancers).then_output(move || {
        let state = LoadBalancerState::builder().code(state.clone()).reason("no addresses are left").build();
        let balancer = LoadBalancer::builder().load_balancer_name("demo-inner").state(state).build();
        DescribeLoadBalancersOutput::builder().load_balancers(balancer).build()
    });
    let ecs = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, ecs);
    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [targets, &balancers]);
    ensure(&ecs, &elb, context).await
}

#[tokio::test]
async fn a_balancer_is_waited_for_and_one_that_failed_fails_the_run() {
    let under = async |state| behind(state, &context(), &[&service(1, 1)], &healthy()).await.unwrap_err();
    let error = under(LoadBalancerStateEnum::Provisioning).await;
    assert!(error.to_string().starts_with("load balancer (demo-inner) is provisioning"), "{error}");
    let error = under(LoadBalancerStateEnum::Failed).await;
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("no addresses are left"), "{error}");
}

#[tokio::test]
async fn a_steady_service_with_healthy_targets_passes_whatever_drains() {
    let states = [TargetHealthStateEnum::Healthy, TargetHealthStateEnum::Draining];
    verified(&service(1, 1), &targets(&states)).await.expect("an answer");
}

#[tokio::test]
async fn a_service_without_all_its_tasks_is_waited_for() {
    let error = verified(&service(0, 1), &targets(&[])).await.unwrap_err();
    assert!(error.to_string().starts_with("ECS service (demo-app): 0 of 1 tasks run"), "{error}");
    assert_eq!(error.kind(), "NotReadyLater");
}

#[tokio::test]
async fn a_target_that_is_not_healthy_is_waited_for_with_its_reason_and_then_fails_the_run() {
    let unwell = targets(&[TargetHealthStateEnum::Unhealthy]);
    let error = verified(&service(1, 1), &unwell).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().contains("one is unhealthy (Target.Timeout)"), "{error}");
    let error = verified_after(4000, &service(1, 1), &unwell).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
}

#[tokio::test]
async fn a_service_whose_targets_are_not_registered_yet_is_waited_for() {
    let error = verified(&service(1, 1), &targets(&[])).await.unwrap_err();
    assert!(error.to_string().contains("0 of 1 targets are healthy"), "{error}");
}

#[tokio::test]
async fn as_many_targets_are_wanted_as_ecs_wants_tasks_whatever_the_spec_says() {
    let error = verified(&service(3, 3), &healthy()).await.unwrap_err();
    assert!(error.to_string().contains("1 of 3 targets are healthy"), "{error}");
    verified(&service(0, 0), &targets(&[])).await.expect("none is wanted");
}

#[tokio::test]
async fn a_service_that_is_gone_fails_the_run() {
    let nothing = mock!(Ecs::describe_services).then_output(|| DescribeServicesOutput::builder().build());
    let error = verified(&nothing, &targets(&[])).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
}

#[tokio::test]
async fn a_service_that_ecs_took_back_fails_the_run_unless_what_runs_is_what_the_spec_says() {
    let rules = [deployed("demo-app:2", "3 run", 1, 1), registered("demo-app", 2, "nginx:older", &[])];
    let error = of_context(&context(), &rules.iter().collect::<Vec<_>>(), &healthy()).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("it runs demo-app:2, which isn't what the spec says"), "{error}");

    // The older file was uploaded again: what ECS went back to is what is wanted.
    let rules = [deployed("demo-app:2", "3 run", 1, 1), registered("demo-app", 2, "nginx", &[])];
    of_context(&context(), &rules.iter().collect::<Vec<_>>(), &healthy()).await.expect("an answer");
    assert_eq!(rules[1].num_calls(), 1);
}

#[tokio::test]
async fn a_revision_that_a_run_deployed_is_not_looked_at() {
    let rules = [service(1, 1), registered("demo-app", 3, "nginx", &[])];
    of_context(&context(), &rules.iter().collect::<Vec<_>>(), &healthy()).await.expect("an answer");
    assert_eq!(rules[1].num_calls(), 0);
}

#[tokio::test]
async fn the_image_that_ci_deployed_is_well_where_the_spec_leaves_it_to_ci() {
    let ci = of(&SPEC.replace("image: nginx,", "image: nginx, imageFrom: ci,"));
    let rules = [deployed("demo-app:7", "3 run", 1, 1), registered("demo-app", 7, "nginx:ci", &[])];
    of_context(&ci, &rules.iter().collect::<Vec<_>>(), &healthy()).await.expect("an answer");
    of_context(&context(), &rules.iter().collect::<Vec<_>>(), &healthy()).await.unwrap_err();
}

const JOBS: &str = "
apiVersion: plinth/v1
name: demo
jobs: { migrate: { image: nginx }, console: { image: nginx, when: manual } }
";

#[tokio::test]
async fn a_job_has_run_to_its_end_or_fails_the_run_unless_it_is_run_by_hand() {
    let done = registered("demo-migrate-job", 2, "nginx", &["plinth:completed"]);
    of_context(&of(JOBS), &[&done], &targets(&[])).await.expect("an answer");

    let undone = registered("demo-migrate-job", 2, "nginx", &[]);
    let error = of_context(&of(JOBS), &[&undone], &targets(&[])).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(
        error.to_string().contains("demo-migrate-job:2 hasn't run to its end; start the run again"),
        "{error}"
    );

    let absent = mock!(Ecs::describe_task_definition).then_error(|| {
        let error = ErrorMetadata::builder().code("ClientException");
        DescribeTaskDefinitionError::generic(error.message("Unable to describe task definition.").build())
    });
    let error = of_context(&of(JOBS), &[&absent], &targets(&[])).await.unwrap_err();
    assert!(error.to_string().contains("isn't there any more"), "{error}");
}

/// A server that answers every request so, and its address.
fn server(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn says(status: &str, body: &str) -> String {
    let length = body.len();
    let head = "connection: close\r\nlocation: http://127.0.0.1:1/";
    server(format!("HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// What comes of checks, each written in YAML, so many seconds after the first pass.
async fn checked_after(seconds: i64, urls: &[String]) -> Result<Answer> {
    let context = of(&format!("{{ apiVersion: plinth/v1, name: demo, checks: [{}] }}", urls.join(", ")));
    // Here this machine's own servers may be asked.
    let aws = context.aws.to_builder().endpoint_url("http://127.0.0.1:1").build();
    checks(&Context { since: Timestamp::now() - seconds.seconds(), aws, ..context }).await
}

#[tokio::test]
async fn addresses_that_answer_as_they_must_pass_and_redirects_are_not_followed() {
    let (ok, moved) = (says("200 OK", "all is well"), says("301 Moved", ""));
    let checks = [
        ok.clone(),
        format!("{{ url: '{ok}/health', body: 'is well' }}"),
        format!("{{ url: '{moved}', status: 301 }}"),
    ];
    let answer = checked_after(0, &checks).await.expect("an answer");
    assert_eq!(answer.notes, Vec::<String>::new());
}

#[tokio::test]
async fn another_status_is_waited_for_until_the_deadline_and_then_fails_the_run() {
    let check = [format!("{{ url: '{}', deadline: 60s }}", says("503 No", "never told"))];
    let error = checked_after(0, &check).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(
        error.to_string().contains("status 200 is wanted, and 503 is answered, 0 s of at most"),
        "{error}"
    );
    let error = checked_after(61, &check).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("503 is answered, for") && error.to_string().contains("127.0.0.1"));
    assert!(!error.to_string().contains("never told"), "{error}");
}

#[tokio::test]
async fn who_waits_long_looks_less_often() {
    let check = [format!("{{ url: '{}', deadline: 10m }}", says("503 No", ""))];
    assert_eq!(checked_after(121, &check).await.unwrap_err().kind(), "NotReadyLater");
}

#[tokio::test]
async fn a_body_without_the_text_is_told_by_its_first_characters_and_no_more() {
    let long = "é".repeat(300);
    let check = [format!("{{ url: '{}', body: 'well' }}", says("200 OK", &long))];
    let error = checked_after(0, &check).await.unwrap_err().to_string();
    assert!(error.contains(r#"contains "well" is wanted"#), "{error}");
    assert_eq!(error.matches('é').count(), 200);
}

#[tokio::test]
async fn nobody_there_is_told_as_what_it_is() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = checked_after(0, &[format!("'http://{free}'")]).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn on_the_local_aws_only_what_this_machine_serves_is_asked_and_the_rest_is_told() {
    let spec = format!(
        "{{ apiVersion: plinth/v1, name: demo, checks: ['https://demo.example.com/', '{}'] }}",
        says("503 No", "")
    );
    let context = of(&spec);
    let aws = context.aws.to_builder().endpoint_url("http://127.0.0.1:1").build();
    let context = Context { aws, ..context };
    let error = checks(&context).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");

    let mut skipped = context.clone();
    skipped.spec.checks.truncate(1);
    let answer = checks(&skipped).await.expect("an answer");
    assert_eq!(answer.notes, ["skipped: https://demo.example.com/ (nothing runs on the local AWS)"]);
}

#[tokio::test]
async fn on_aws_no_check_asks_what_is_not_on_the_internet_however_it_is_written() {
    for host in [
        "127.0.0.1:9001",
        "2130706433",
        "localhost",
        "localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "10.0.0.1",
        "100.64.0.1",
    ] {
        let context = of(&format!("{{ apiVersion: plinth/v1, name: demo, checks: ['http://{host}/'] }}"));
        let error = checks(&context).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec", "{host}: {error}");
        assert!(error.to_string().contains("which is no public address"), "{host}: {error}");
    }
}

#[tokio::test]
async fn of_a_paused_environment_services_run_no_task_and_nothing_else_is_asked() {
    let mut context = context();
    context.run.paused = true;
    let unasked = targets(&[]);
    let answer = of_context(&context, &[&service(0, 0)], &unasked).await.expect("an answer");
    assert_eq!(answer.notes, ["skipped: jobs, targets and checks (the environment is paused)"]);
    assert_eq!(unasked.num_calls(), 0);
    let error = of_context(&context, &[&service(1, 0)], &unasked).await.unwrap_err();
    assert!(error.to_string().contains("1 of its tasks still run"), "{error}");
    assert_eq!(error.kind(), "NotReadyLater");
}

use aws_sdk_ecs::{
    operation::describe_services::DescribeServicesOutput,
    types::{Deployment, LoadBalancer},
};
use aws_sdk_elasticloadbalancingv2::{
    operation::describe_target_health::DescribeTargetHealthOutput,
    types::{TargetHealth, TargetHealthDescription},
};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use step::{Operation, Outputs};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  web: { type: application, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services: { app: { image: nginx, ports: [80], desired: 2 } }
";

fn context() -> Context {
    step::test::context(Operation::Ensure, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

/// A service in this target group, whose primary deployment is in this state, with so many tasks of two.
fn service(group: &str, state: DeploymentRolloutState, running: i32) -> Service {
    Service::builder()
        .status("ACTIVE")
        .load_balancers(LoadBalancer::builder().target_group_arn(group).build())
        .deployments(Deployment::builder().status("PRIMARY").rollout_state(state).build())
        .desired_count(2)
        .running_count(running)
        .build()
}

async fn told(context: &Context, service: Option<Service>, healthy: usize) -> Option<String> {
    let services = mock!(Ecs::describe_services).then_output(move || {
        DescribeServicesOutput::builder().set_services(Some(service.clone().into_iter().collect())).build()
    });
    let targets = mock!(Elb::describe_target_health).then_output(move || {
        let health = TargetHealth::builder().state(TargetHealthStateEnum::Healthy).build();
        let target = TargetHealthDescription::builder().target_health(health).build();
        let targets = Some(vec![target; healthy]);
        DescribeTargetHealthOutput::builder().set_target_health_descriptions(targets).build()
    });
    let ecs = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, [&services]);
    let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [&targets]);
    let target = &spec::targets(&context.spec)[0];
    lacks(&ecs, &elb, context, target, "arn:group").await.expect("an answer")
}

#[tokio::test]
async fn traffic_waits_for_a_service_that_uses_the_group_is_deployed_and_healthy() {
    let (done, begun) = (DeploymentRolloutState::Completed, DeploymentRolloutState::InProgress);
    for (found, healthy, lacks) in [
        (None, 0, "ECS service (demo-app) isn't there yet"),
        (
            Some(service("arn:old", done.clone(), 2)),
            2,
            "ECS service (demo-app) doesn't use loadBalancers.web.targets.app yet",
        ),
        (Some(service("arn:group", begun, 2)), 2, "ECS service (demo-app) is deploying: 2 of 2 tasks run"),
        (
            Some(service("arn:group", done.clone(), 1)),
            2,
            "ECS service (demo-app) is deploying: 1 of 2 tasks run",
        ),
        (
            Some(service("arn:group", done.clone(), 2)),
            1,
            "1 of 2 targets of loadBalancers.web.targets.app are healthy",
        ),
    ] {
        assert_eq!(told(&context(), found, healthy).await.as_deref(), Some(lacks));
    }
    assert_eq!(told(&context(), Some(service("arn:group", done, 2)), 2).await, None);
}

#[tokio::test]
async fn of_a_paused_environment_nothing_is_asked() {
    let mut context = context();
    context.run.paused = true;
    assert_eq!(told(&context, None, 0).await, None);
}

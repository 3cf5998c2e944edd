//! The step `verify`: whether what was built works. It changes nothing.
//!
//! A service works when its primary deployment is completed with all its tasks running, and each of
//! its targets is healthy.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client as Ecs,
    types::{DeploymentRolloutState, Service},
};
use aws_sdk_elasticloadbalancingv2::{
    Client as Elb,
    types::{TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum},
};
use spec::Target;
use step::{Answer, Context, Doing, Error, Latency, Operation, Result, side_by_side};

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let ecs = Ecs::new(&context.aws);
    let elb = Elb::new(&context.aws);
    match context.operation {
        Operation::Plan | Operation::Prune => Ok(Answer::default()),
        Operation::Ensure => ensure(&ecs, &elb, &context).await,
    }
}

async fn ensure(ecs: &Ecs, elb: &Elb, context: &Context) -> Result<Answer> {
    let found = find(ecs, context).await?;
    let checks = context.spec.services.iter().map(|(key, service)| {
        let name = context.service_name(key, service);
        std::future::ready(steady(context, &name, found.get(&name)))
    });
    side_by_side(checks).await?;
    let targets = spec::targets(&context.spec);
    side_by_side(targets.iter().map(|target| healthy(elb, context, target))).await?;
    Ok(Answer::default())
}

/// The services of the spec that are there, by name.
async fn find(ecs: &Ecs, context: &Context) -> Result<BTreeMap<String, Service>> {
    let cluster = context.cluster_name();
    let services = &context.spec.services;
    let names: Vec<String> =
        services.iter().map(|(key, service)| context.service_name(key, service)).collect();
    let ask = async |names: &[String]| {
        let answer =
            ecs.describe_services().cluster(&cluster).set_services(Some(names.to_vec())).send().await;
        Ok(answer.doing(|| format!("describing the services of {cluster}"))?.services.unwrap_or_default())
    };
    let found = side_by_side(names.chunks(10).map(ask)).await?;
    let by_name = |service: Service| Some((service.service_name()?.to_owned(), service));
    Ok(found.into_iter().flatten().filter_map(by_name).collect())
}

fn steady(context: &Context, name: &str, service: Option<&Service>) -> Result<()> {
    let Some(service) = service.filter(|service| service.status() == Some("ACTIVE")) else {
        return Err(Error::Failed(format!(
            "verifying ECS service ({name}): it isn't there any more; start the run again"
        )));
    };
    let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    let completed =
        primary.and_then(|deployment| deployment.rollout_state()) == Some(&DeploymentRolloutState::Completed);
    if completed && service.running_count() == service.desired_count() {
        return Ok(());
    }
    let (running, desired) = (service.running_count(), service.desired_count());
    let doing = format!("ECS service ({name}): {running} of {desired} tasks run");
    Err(Latency::of("ecs-service").wait(&doing, context.since))
}

/// Whether a service's targets pass their balancer's checks. Those on their way out don't count.
async fn healthy(elb: &Elb, context: &Context, target: &Target) -> Result<()> {
    // A function answers at once.
    let Some((service, _)) = target.service() else { return Ok(()) };
    let balancer = context.outputs.load_balancers.get(&target.balancer);
    let arn =
        context.known(balancer.and_then(|found| found.targets.get(&target.word())), &target.address())?;
    let described = elb.describe_target_health().target_group_arn(arn).send().await;
    let described = described.doing(|| format!("asking for the health of {}", target.address()))?;
    let service = &context.spec.services[service];
    let targets: Vec<_> =
        described.target_health_descriptions().iter().filter_map(state).filter(staying).collect();
    let well = targets.iter().filter(|(state, _)| **state == TargetHealthStateEnum::Healthy).count();
    let unwell = targets.iter().find(|(state, _)| **state != TargetHealthStateEnum::Healthy);
    let wanted = usize::try_from(service.desired).unwrap_or(usize::MAX);
    if well >= wanted && unwell.is_none() {
        return Ok(());
    }
    let reason = unwell.map(|(state, reason)| format!(", one is {}{reason}", state.as_str()));
    let doing =
        format!("{}: {well} of {wanted} targets are healthy{}", target.address(), reason.unwrap_or_default());
    Err(Latency::of("ecs-service").wait(&doing, context.since))
}

/// A target's state, and why.
fn state(target: &TargetHealthDescription) -> Option<(&TargetHealthStateEnum, String)> {
    let health = target.target_health()?;
    let words = [health.reason().map(TargetHealthReasonEnum::as_str), health.description()];
    let reason: Vec<&str> = words.into_iter().flatten().collect();
    let reason = if reason.is_empty() { String::new() } else { format!(" ({})", reason.join(": ")) };
    Some((health.state()?, reason))
}

fn staying((state, _): &(&TargetHealthStateEnum, String)) -> bool {
    **state != TargetHealthStateEnum::Draining
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::{operation::describe_services::DescribeServicesOutput, types::Deployment};
    use aws_sdk_elasticloadbalancingv2::{
        operation::describe_target_health::DescribeTargetHealthOutput, types::TargetHealth,
    };
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use jiff::{Timestamp, ToSpan};
    use step::{LoadBalancerOutput, Outputs};

    use super::*;

    const SPEC: &str = "
apiVersion: plinth/v1
name: demo
loadBalancers:
  inner: { type: network, scheme: internal, listeners: { main: { port: 80, default: '${services.app}' } } }
services: { app: { image: nginx, ports: [80] } }
";

    fn context() -> Context {
        let targets = [("app-80".to_owned(), "arn:app".to_owned())].into();
        let output = LoadBalancerOutput { targets, ..LoadBalancerOutput::default() };
        let outputs = Outputs { load_balancers: [("inner".to_owned(), output)].into(), ..Outputs::default() };
        step::test::context(Operation::Ensure, spec::parse(SPEC, None).expect("a spec"), outputs)
    }

    fn service(running: i32) -> Rule {
        let deployment =
            Deployment::builder().status("PRIMARY").rollout_state(DeploymentRolloutState::Completed).build();
        let service = Service::builder()
            .service_name("demo-app")
            .status("ACTIVE")
            .desired_count(1)
            .running_count(running)
            .deployments(deployment)
            .build();
        mock!(Ecs::describe_services)
            .then_output(move || DescribeServicesOutput::builder().services(service.clone()).build())
    }

    fn targets(states: &[TargetHealthStateEnum]) -> Rule {
        let description = |state: &TargetHealthStateEnum| {
            let reason =
                (*state == TargetHealthStateEnum::Unhealthy).then_some(TargetHealthReasonEnum::Timeout);
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

    async fn verified(service: &Rule, targets: &Rule) -> Result<Answer> {
        verified_after(0, service, targets).await
    }

    async fn verified_after(seconds: i64, service: &Rule, targets: &Rule) -> Result<Answer> {
        let ecs = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, [service]);
        let elb = mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, [targets]);
        let since = Timestamp::now() - seconds.seconds();
        ensure(&ecs, &elb, &Context { since, ..context() }).await
    }

    #[tokio::test]
    async fn a_steady_service_with_healthy_targets_passes_whatever_drains() {
        let states = [TargetHealthStateEnum::Healthy, TargetHealthStateEnum::Draining];
        verified(&service(1), &targets(&states)).await.expect("an answer");
    }

    #[tokio::test]
    async fn a_service_without_all_its_tasks_is_waited_for() {
        let error = verified(&service(0), &targets(&[])).await.unwrap_err();
        assert!(error.to_string().starts_with("ECS service (demo-app): 0 of 1 tasks run"), "{error}");
        assert_eq!(error.kind(), "NotReadyLater");
    }

    #[tokio::test]
    async fn a_target_that_is_not_healthy_is_waited_for_with_its_reason_and_then_fails_the_run() {
        let unwell = targets(&[TargetHealthStateEnum::Unhealthy]);
        let error = verified(&service(1), &unwell).await.unwrap_err();
        assert_eq!(error.kind(), "NotReadyLater");
        assert!(error.to_string().contains("one is unhealthy (Target.Timeout)"), "{error}");
        let error = verified_after(4000, &service(1), &unwell).await.unwrap_err();
        assert_eq!(error.kind(), "Failed");
    }

    #[tokio::test]
    async fn a_service_whose_targets_are_not_registered_yet_is_waited_for() {
        let error = verified(&service(1), &targets(&[])).await.unwrap_err();
        assert!(error.to_string().contains("0 of 1 targets are healthy"), "{error}");
    }

    #[tokio::test]
    async fn a_service_that_is_gone_fails_the_run() {
        let nothing = mock!(Ecs::describe_services).then_output(|| DescribeServicesOutput::builder().build());
        let error = verified(&nothing, &targets(&[])).await.unwrap_err();
        assert_eq!(error.kind(), "Failed");
    }
}

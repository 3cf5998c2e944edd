//! Whether what balancers send requests to is healthy.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::Service;
use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum},
};
use spec::Target;
use step::{Context, Doing, Latency, Result};

/// Whether a service's targets pass their balancer's checks: as many as ECS wants tasks, which autoscaling may
/// have changed since. Those on their way out don't count.
pub(crate) async fn healthy(
    elb: &Client,
    context: &Context,
    target: &Target,
    services: &BTreeMap<String, Service>,
) -> Result<()> {
    // A function answers at once.
    let Some((key, _)) = target.service() else { return Ok(()) };
    let balancer = context.outputs.load_balancers.get(&target.balancer);
    let arn =
        context.known(balancer.and_then(|found| found.targets.get(&target.word())), &target.address())?;
    let described = elb.describe_target_health().target_group_arn(arn).send().await;
    let described = described.doing(|| format!("asking for the health of {}", target.address()))?;
    let service = context.spec.services.get(key).map(|service| context.service_name(key, service));
    let desired = service.and_then(|name| services.get(&name)).map_or(0, Service::desired_count);
    let targets: Vec<_> =
        described.target_health_descriptions().iter().filter_map(state).filter(staying).collect();
    let well = targets.iter().filter(|(state, _)| **state == TargetHealthStateEnum::Healthy).count();
    let unwell = targets.iter().find(|(state, _)| **state != TargetHealthStateEnum::Healthy);
    let wanted = usize::try_from(desired).unwrap_or_default();
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

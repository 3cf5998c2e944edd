//! Whether traffic may be led to a target group: the question that listeners, APIs and DNS records ask before they
//! leave what serves now.
//!
//! ECS goes back to the revision before when tasks of a new one fail, and that revision has the target groups that it
//! had. So a healthy target isn't enough: the deployment that uses the group must be completed, after which ECS goes
//! back no more.
//! Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>

use aws_sdk_ecs::{
    Client as Ecs,
    types::{DeploymentRolloutState, Service},
};
use aws_sdk_elasticloadbalancingv2::{Client as Elb, types::TargetHealthStateEnum};
use jiff::Timestamp;
use spec::Target;
use step::{Context, Doing, Error, Pace, Result};

/// What a target group lacks to be sent traffic: "ECS service (demo-site) isn't there yet". None if it lacks nothing.
/// Of a paused environment nothing runs, and nothing is asked.
pub async fn lacks(
    ecs: &Ecs,
    elb: &Elb,
    context: &Context,
    target: &Target,
    group: &str,
) -> Result<Option<String>> {
    if context.run.paused {
        return Ok(None);
    }
    let Some((key, _)) = target.service() else {
        let there = health(elb, target, group).await?.is_some();
        return Ok((!there).then(|| format!("{} has no function yet", target.address())));
    };
    let name = context.service_name(key, &context.spec.services[key]);
    let Some(service) = find(ecs, &context.cluster_name(), &name).await? else {
        return Ok(Some(format!("ECS service ({name}) isn't there yet")));
    };
    if !service.load_balancers().iter().any(|used| used.target_group_arn() == Some(group)) {
        return Ok(Some(format!("ECS service ({name}) doesn't use {} yet", target.address())));
    }
    let (running, desired) = (service.running_count(), service.desired_count());
    if !is_completed(&service) || running != desired {
        return Ok(Some(format!("ECS service ({name}) is deploying: {running} of {desired} tasks run")));
    }
    let healthy = health(elb, target, group).await?.unwrap_or_default();
    let lacking = healthy < usize::try_from(desired).unwrap_or_default();
    Ok(lacking.then(|| format!("{healthy} of {desired} targets of {} are healthy", target.address())))
}

/// The error of a step that leaves traffic where it is until nothing lacks; `what` is to lead it elsewhere.
pub fn wait(context: &Context, what: &str, lacks: &str) -> Error {
    let pace = match (Timestamp::now() - context.since).get_seconds() {
        ..600 => Pace::Soon,
        600..3600 => Pace::Later,
        3600.. => Pace::Long,
    };
    Error::wait(pace, format!("{what} waits for its new target: {lacks}"))
}

async fn find(ecs: &Ecs, cluster: &str, name: &str) -> Result<Option<Service>> {
    let described = ecs.describe_services().cluster(cluster).services(name).send().await;
    let described = described
        .unless_absent(&["ClusterNotFoundException"], || format!("describing ECS service ({name})"))?;
    let services = described.and_then(|answer| answer.services).unwrap_or_default();
    Ok(services.into_iter().find(|service| service.status() == Some("ACTIVE")))
}

fn is_completed(service: &Service) -> bool {
    let mut deployments = service.deployments().iter();
    let primary = deployments.find(|deployment| deployment.status() == Some("PRIMARY"));
    primary.and_then(|primary| primary.rollout_state()) == Some(&DeploymentRolloutState::Completed)
}

/// How many of a group's targets are healthy; none if it has no targets at all.
async fn health(elb: &Elb, target: &Target, group: &str) -> Result<Option<usize>> {
    let described = elb.describe_target_health().target_group_arn(group).send().await;
    let described = described.doing(|| format!("asking for the health of {}", target.address()))?;
    let targets = described.target_health_descriptions();
    let healthy = targets.iter().filter(|found| {
        found.target_health().and_then(|health| health.state()) == Some(&TargetHealthStateEnum::Healthy)
    });
    Ok((!targets.is_empty()).then(|| healthy.count()))
}

#[cfg(test)]
mod tests;

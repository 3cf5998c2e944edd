//! Whether the environment's balancers answer.

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{LoadBalancer, LoadBalancerStateEnum, LoadBalancerTypeEnum},
};
use jiff::Timestamp;
use step::{Context, Doing, Error, Latency, Result, side_by_side};

/// How many balancers one call describes.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html>
const AT_ONCE: usize = 20;

/// Waits until every balancer is active.
pub(crate) async fn active(elb: &Client, context: &Context) -> Result<()> {
    let arns: Vec<&String> = context.outputs.load_balancers.values().map(|found| &found.arn).collect();
    let mut found = Vec::new();
    for arns in arns.chunks(AT_ONCE) {
        let described = elb.describe_load_balancers();
        let described =
            described.set_load_balancer_arns(Some(arns.iter().map(ToString::to_string).collect()));
        let described = described.send().await.doing(|| "describing load balancers")?;
        found.extend(described.load_balancers.unwrap_or_default());
    }
    side_by_side(found.iter().map(|found| std::future::ready(is_active(context, found)))).await?;
    Ok(())
}

fn is_active(context: &Context, found: &LoadBalancer) -> Result<()> {
    let name = found.load_balancer_name().unwrap_or_default();
    let state = found.state();
    match state.and_then(|state| state.code()) {
        Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => Ok(()),
        Some(LoadBalancerStateEnum::Failed) => {
            let reason = state.and_then(|state| state.reason()).unwrap_or("AWS gives no reason");
            Err(Error::Failed(format!(
                "load balancer ({name}) failed: {reason}; delete it in the EC2 console, then start the run again"
            )))
        }
        _ => {
            let kind = match found.r#type() {
                Some(LoadBalancerTypeEnum::Network) => "network-load-balancer",
                _ => "application-load-balancer",
            };
            let created = found.created_time().and_then(|at| Timestamp::from_second(at.secs()).ok());
            let since = created.unwrap_or(context.since);
            Err(Latency::of(kind).wait(&format!("load balancer ({name}) is provisioning"), since))
        }
    }
}

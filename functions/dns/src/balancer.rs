//! The load balancers that records stand for.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{LoadBalancer, LoadBalancerState, LoadBalancerStateEnum},
};
use spec::{Section, Text};
use step::{Context, Doing, Result, UNKNOWN};

use crate::{Behind, record::Value};

/// How many balancers one call describes.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html>
const AT_ONCE: usize = 20;

/// The load balancer a value is, if it is one and nothing else.
pub(crate) fn named(value: &Text) -> Option<&str> {
    let reference = value.whole()?;
    let whole = reference.section == Section::LoadBalancers && reference.attribute.is_empty();
    reference.name.as_deref().filter(|_| whole)
}

/// What the records that stand for a load balancer lead to, by the balancer's name in the spec.
pub(crate) async fn find(elb: &Client, context: &Context) -> Result<BTreeMap<String, Value>> {
    let values = context.spec.dns.values().flat_map(|zone| zone.records.values());
    let names: BTreeSet<&str> = values.filter_map(named).collect();
    // In a plan several may be as yet unknown, so that an ARN doesn't tell them apart.
    let mut found = BTreeMap::new();
    let mut arns = BTreeMap::new();
    for name in names {
        let what = format!("loadBalancers.{name}");
        let output = context.known(context.outputs.load_balancers.get(name), &what)?;
        let unknown = Value::Alias { host: UNKNOWN.to_owned(), zone: UNKNOWN.to_owned() };
        found.insert(name.to_owned(), unknown);
        arns.insert(output.arn.clone(), name);
    }
    let known: Vec<String> = arns.keys().filter(|arn| *arn != UNKNOWN).cloned().collect();
    for arns_of in known.chunks(AT_ONCE) {
        let described = elb.describe_load_balancers().set_load_balancer_arns(Some(arns_of.to_vec()));
        let described =
            described.send().await.doing(|| "describing the load balancers that records lead to")?;
        for balancer in described.load_balancers() {
            let name = balancer.load_balancer_arn().and_then(|arn| arns.get(arn));
            let place = balancer.dns_name().zip(balancer.canonical_hosted_zone_id());
            let Some((name, (host, zone))) = name.zip(place) else { continue };
            let value = Value::Alias { host: host.to_lowercase(), zone: zone.to_owned() };
            found.insert((*name).to_owned(), value);
        }
    }
    Ok(found)
}

/// What a balancer lacks to take the place of the one that a record leads to: it isn't active, or a service behind it
/// isn't steady there yet. Of a paused environment nothing is.
pub(crate) async fn lacks(behind: &Behind, context: &Context, name: &str) -> Result<Option<String>> {
    if context.run.paused {
        return Ok(None);
    }
    let what = format!("loadBalancers.{name}");
    let output = context.known(context.outputs.load_balancers.get(name), &what)?;
    let described = behind.elb.describe_load_balancers().load_balancer_arns(&output.arn).send().await;
    let described = described.doing(|| format!("describing {what}"))?;
    let state = described.load_balancers().first().and_then(LoadBalancer::state);
    if state.and_then(LoadBalancerState::code) != Some(&LoadBalancerStateEnum::Active) {
        return Ok(Some(format!("{what} isn't active")));
    }
    for target in spec::targets(&context.spec).iter().filter(|target| target.balancer == name) {
        let Some(group) = output.targets.get(&target.word()) else { continue };
        let lacks = traffic::lacks(&behind.ecs, &behind.elb, context, target, group).await?;
        if lacks.is_some() {
            return Ok(lacks);
        }
    }
    Ok(None)
}

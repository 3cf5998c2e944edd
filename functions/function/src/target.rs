//! The target groups that a function is the target of: it is registered with each once they may call it.
//! Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::{Client, types::TargetDescription};
use step::{Doing, Field, Result, UNKNOWN};

/// The ARNs of those of the target groups that don't have the function yet.
async fn missing<'a>(
    elb: &Client,
    function: &str,
    groups: &'a BTreeMap<String, String>,
) -> Result<Vec<&'a String>> {
    let mut missing = Vec::new();
    for group in groups.values().filter(|group| *group != UNKNOWN) {
        let described = elb.describe_target_health().target_group_arn(group).send().await;
        let described = described.doing(|| format!("looking at the targets of {group}"))?;
        let registered = described.target_health_descriptions().iter().filter_map(|found| found.target());
        if !registered.into_iter().any(|target| target.id() == Some(function)) {
            missing.push(group);
        }
    }
    Ok(missing)
}

/// What [`ensure`] would change.
pub(crate) async fn plan(
    elb: &Client,
    function: &str,
    groups: &BTreeMap<String, String>,
) -> Result<Vec<Field>> {
    let field = |group: &String| Field {
        name: "target".to_owned(),
        found: Some("none".to_owned()),
        wanted: group.clone(),
    };
    Ok(missing(elb, function, groups).await?.into_iter().map(field).collect())
}

/// The same target twice is registered once.
pub(crate) async fn ensure(elb: &Client, function: &str, groups: &BTreeMap<String, String>) -> Result<()> {
    for group in missing(elb, function, groups).await? {
        let target = TargetDescription::builder().id(function).build();
        let registered = elb.register_targets().target_group_arn(group).targets(target).send().await;
        registered.doing(|| format!("registering {function} with {group}"))?;
    }
    Ok(())
}

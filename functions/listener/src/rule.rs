//! A listener's rules: which requests go elsewhere.
//!
//! Ours is a rule that carries the owner's tags; it has them from `CreateRule` on.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    error::ProvideErrorMetadata,
    types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair},
};
use spec::Listener;
use step::{Change, Context, Doing, Error, Field, Operation, Result, compare, missing_tags, side_by_side};

use crate::{forward, tag_list, tags, told};

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    priority: i32,
    hosts: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// The ARN of the target group.
    target: String,
    tags: BTreeMap<String, String>,
}

impl Wanted {
    pub(crate) fn create(&self) -> Change {
        let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
        Change::create(&self.address).with("hosts", list(&self.hosts)).with("paths", list(&self.paths))
    }
}

pub(crate) fn wanted(
    context: &Context,
    balancer: &str,
    listener_address: &str,
    listener: &Listener,
) -> Result<Vec<Wanted>> {
    let priorities = listener.priorities();
    let of = |(name, rule): (&String, &spec::Rule)| {
        let address = format!("{listener_address}.rules.{name}");
        Ok(Wanted {
            priority: priorities[name],
            hosts: rule.hosts.iter().cloned().collect(),
            paths: rule.paths.iter().cloned().collect(),
            target: crate::target(context, balancer, &rule.to, &address)?,
            tags: context.tags(&address),
            address,
        })
    };
    listener.rules.iter().map(of).collect()
}

/// A rule with its tags.
struct Found {
    aws: Rule,
    tags: BTreeMap<String, String>,
}

impl Found {
    fn arn(&self) -> &str {
        self.aws.rule_arn().unwrap_or_default()
    }

    fn priority(&self) -> i32 {
        self.aws.priority().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn hosts(&self) -> BTreeSet<String> {
        let configs = self.aws.conditions().iter().filter_map(RuleCondition::host_header_config);
        configs.flat_map(|config| config.values().iter().cloned()).collect()
    }

    fn paths(&self) -> BTreeSet<String> {
        let configs = self.aws.conditions().iter().filter_map(RuleCondition::path_pattern_config);
        configs.flat_map(|config| config.values().iter().cloned()).collect()
    }
}

/// Puts what stands right, then its order, then makes what is missing: a priority is taken once.
pub(crate) async fn ensure(elb: &Client, context: &Context, listener: &str, wanted: &[Wanted]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let found = ours(elb, context, listener).await?;
    let update = async |wanted: &Wanted| match at(&found, wanted) {
        Some(found) => update(elb, found, wanted).await,
        None => Ok(()),
    };
    side_by_side(wanted.iter().map(update)).await?;
    reorder(elb, &found, wanted).await?;
    for wanted in wanted.iter().filter(|wanted| at(&found, wanted).is_none()) {
        create(elb, listener, wanted).await?;
    }
    Ok(())
}

/// What `ensure` would change.
pub(crate) async fn plan(
    elb: &Client,
    context: &Context,
    listener: &str,
    wanted: &[Wanted],
) -> Result<Vec<Change>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let found = ours(elb, context, listener).await?;
    let change = |wanted: &Wanted| match at(&found, wanted) {
        None => Some(wanted.create()),
        Some(found) => Change::update(&wanted.address, difference(found, wanted)),
    };
    Ok(wanted.iter().filter_map(change).collect())
}

fn at<'a>(found: &'a [Found], wanted: &Wanted) -> Option<&'a Found> {
    found.iter().find(|found| found.tags.get(step::ADDRESS) == Some(&wanted.address))
}

/// The rules of a listener that carry our tags; others' are left alone.
async fn ours(elb: &Client, context: &Context, listener: &str) -> Result<Vec<Found>> {
    let pages = elb.describe_rules().listener_arn(listener).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all
        .unless_absent(&["ListenerNotFound"], || format!("describing the rules of listener ({listener})"))?;
    let mut all = all.unwrap_or_default();
    all.retain(|rule| rule.is_default() != Some(true));
    let arns: Vec<String> = all.iter().filter_map(|rule| rule.rule_arn.clone()).collect();
    let mut tags = tags(elb, &arns).await?;
    let found = all.into_iter().map(|aws| {
        let tags = tags.remove(aws.rule_arn().unwrap_or_default()).unwrap_or_default();
        Found { aws, tags }
    });
    Ok(found.filter(|found| context.owner().address(&found.tags).is_some()).collect())
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
    [
        compare("priority", found.priority(), wanted.priority),
        compare("hosts", list(&found.hosts()), list(&wanted.hosts)),
        compare("paths", list(&found.paths()), list(&wanted.paths)),
        compare("to", told(found.aws.actions()), wanted.target.as_str()),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

fn conditions(wanted: &Wanted) -> Vec<RuleCondition> {
    let values = |words: &BTreeSet<String>| Some(words.iter().cloned().collect::<Vec<_>>());
    let hosts = (!wanted.hosts.is_empty()).then(|| {
        let config = HostHeaderConditionConfig::builder().set_values(values(&wanted.hosts)).build();
        RuleCondition::builder().field("host-header").host_header_config(config).build()
    });
    let paths = (!wanted.paths.is_empty()).then(|| {
        let config = PathPatternConditionConfig::builder().set_values(values(&wanted.paths)).build();
        RuleCondition::builder().field("path-pattern").path_pattern_config(config).build()
    });
    hosts.into_iter().chain(paths).collect()
}

/// A priority is taken once: this call can't double a rule.
async fn create(elb: &Client, listener: &str, wanted: &Wanted) -> Result<()> {
    let created = elb
        .create_rule()
        .listener_arn(listener)
        .priority(wanted.priority)
        .set_conditions(Some(conditions(wanted)))
        .actions(forward(&wanted.target))
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let doing = || format!("creating rule {} with priority {}", wanted.address, wanted.priority);
    if created.as_ref().is_err_and(|error| error.code() == Some("PriorityInUse")) {
        return Err(Error::Conflict(format!(
            "{}: another rule of the listener has it; write another `priority`",
            doing()
        )));
    }
    created.doing(doing)?;
    Ok(())
}

async fn update(elb: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let fields = difference(found, wanted);
    let own = |field: &&Field| ["hosts", "paths", "to"].contains(&field.name.as_str());
    if fields.iter().any(|field| own(&field)) {
        let modify = elb.modify_rule().rule_arn(found.arn()).set_conditions(Some(conditions(wanted)));
        let modified = modify.actions(forward(&wanted.target)).send().await;
        modified.doing(|| format!("changing rule {}", wanted.address))?;
    }
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let put = elb.add_tags().resource_arns(found.arn()).set_tags(Some(tag_list(&wanted.tags)));
        put.send().await.doing(|| format!("tagging rule {}", wanted.address))?;
    }
    Ok(())
}

/// All at once, since two rules may have to change places.
async fn reorder(elb: &Client, found: &[Found], wanted: &[Wanted]) -> Result<()> {
    let moved = |wanted: &Wanted| {
        let found = at(found, wanted).filter(|found| found.priority() != wanted.priority)?;
        Some(RulePriorityPair::builder().rule_arn(found.arn()).priority(wanted.priority).build())
    };
    let moved: Vec<_> = wanted.iter().filter_map(moved).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let set = elb.set_rule_priorities().set_rule_priorities(Some(moved)).send().await;
    set.doing(|| "putting rules in their order")?;
    Ok(())
}

/// Deletes our rules of a listener that the spec doesn't mention; in a plan only names them.
pub(crate) async fn delete_dropped(elb: &Client, context: &Context, listener: &str) -> Result<Vec<Change>> {
    let spec = context.spec.load_balancers.iter();
    let kept: BTreeSet<String> = spec
        .flat_map(|(key, balancer)| balancer.listeners.iter().map(move |(name, found)| (key, name, found)))
        .flat_map(|(key, name, listener)| {
            let rules = listener.rules.keys();
            rules.map(move |rule| format!("loadBalancers.{key}.listeners.{name}.rules.{rule}"))
        })
        .collect();
    let mut changes = Vec::new();
    for found in ours(elb, context, listener).await? {
        let Some(address) = found.tags.get(step::ADDRESS).filter(|address| !kept.contains(*address)) else {
            continue;
        };
        changes.push(Change::delete(address));
        if context.operation == Operation::Prune {
            let deleted = elb.delete_rule().rule_arn(found.arn()).send().await;
            deleted.unless_absent(&["RuleNotFound"], || format!("deleting rule {address}"))?;
        }
    }
    Ok(changes)
}

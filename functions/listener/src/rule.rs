//! A listener's rules: which requests go elsewhere.
//!
//! Ours is a rule that carries the owner's tags; it has them from `CreateRule` on. Others may stand on the
//! same listener: they are never touched, and their numbers never taken. Of a rule whose number the spec
//! leaves to us only the order counts: it comes after those whose number is said, by name, and keeps the
//! number it has while that is so.
//!
//! A rule that is new on a listener which serves would take requests from those after it before its service runs. It
//! is made with a condition that no request meets, and gets its own when the service is steady.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::{HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair},
};
use spec::Listener;
use step::{Change, Context, Doing, Error, Field, Operation, Result, compare, missing_tags, side_by_side};

use crate::{
    Aws,
    lead::{Goal, Next, forward, told},
    tag_list, tags,
};

/// The host of a rule that waits: no request has it.
/// Source: <https://www.rfc-editor.org/rfc/rfc6761#section-6.4>
const WAITING: &str = "plinth-waits.invalid";

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    /// Its number; none where the spec leaves it to us.
    priority: Option<i32>,
    hosts: BTreeSet<String>,
    paths: BTreeSet<String>,
    to: Goal,
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
    let of = |(name, rule): (&String, &spec::Rule)| {
        let address = address(listener_address, name);
        Ok(Wanted {
            priority: rule.priority,
            hosts: rule.hosts.iter().cloned().collect(),
            paths: rule.paths.iter().cloned().collect(),
            to: crate::goal(context, balancer, &rule.to, &address)?,
            tags: context.tags(&address),
            address,
        })
    };
    listener.rules.iter().map(of).collect()
}

/// The address of a listener's rule.
pub(crate) fn address(listener: &str, name: &str) -> String {
    format!("{listener}.rules.{name}")
}

/// The address of the listener that our rules on it were made for.
pub(crate) fn listener_address(ours: &[Found]) -> Option<&str> {
    let address = ours.first()?.tags.get(step::ADDRESS)?;
    address.split_once(".rules.").map(|(listener, _)| listener)
}

/// A rule with its tags.
pub(crate) struct Found {
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

    fn is_waiting(&self) -> bool {
        self.hosts().contains(WAITING)
    }

    fn paths(&self) -> BTreeSet<String> {
        let configs = self.aws.conditions().iter().filter_map(RuleCondition::path_pattern_config);
        configs.flat_map(|config| config.values().iter().cloned()).collect()
    }
}

/// What stands on a listener.
struct Standing {
    ours: Vec<Found>,
    others: Vec<Found>,
}

/// The largest number a rule can have.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html>
const LAST: i32 = 50000;

impl Standing {
    /// The number of each wanted rule, in their order.
    fn numbers(&self, wanted: &[Wanted]) -> Result<Vec<i32>> {
        let taken: BTreeSet<i32> =
            self.others.iter().chain(self.dropped(wanted)).map(Found::priority).collect();
        let mut last = wanted.iter().filter_map(|wanted| wanted.priority).max().unwrap_or_default();
        let number = |wanted: &Wanted| {
            if let Some(said) = wanted.priority {
                return self.check(wanted, said).map(|()| said);
            }
            let held = at(&self.ours, wanted).map(Found::priority).filter(|held| *held > last);
            let free = (last + 1..=LAST).find(|number| !taken.contains(number));
            last = held.or(free).ok_or_else(|| {
                Error::Conflict(format!(
                    "rule {}: no priority after {last} is free: write one that is",
                    wanted.address
                ))
            })?;
            Ok(last)
        };
        wanted.iter().map(number).collect()
    }

    /// Refuses a number that somebody else's rule has.
    fn check(&self, wanted: &Wanted, number: i32) -> Result<()> {
        let Some(other) = self.others.iter().find(|found| found.priority() == number) else { return Ok(()) };
        let holder = match other.tags.get(step::ENVIRONMENT) {
            Some(environment) => format!("a rule of environment {environment}"),
            None => "somebody else's rule".to_owned(),
        };
        Err(Error::Conflict(format!(
            "rule {}: {holder} has priority {number} ({}): write another, or leave the line out",
            wanted.address,
            other.arn()
        )))
    }

    /// Ours that the spec no longer mentions; they go when the run's end has come.
    fn dropped<'a>(&'a self, wanted: &'a [Wanted]) -> impl Iterator<Item = &'a Found> {
        let named = |found: &Found| {
            wanted.iter().any(|wanted| found.tags.get(step::ADDRESS) == Some(&wanted.address))
        };
        self.ours.iter().filter(move |found| !named(found))
    }

    /// The rules of ours that must get another number, those that are dropped among them when they are in the
    /// way.
    fn moves<'a>(&'a self, wanted: &'a [Wanted], numbers: &[i32]) -> Vec<(&'a Found, i32)> {
        let pair = |(wanted, number): (&Wanted, &i32)| {
            let found = at(&self.ours, wanted).filter(|found| found.priority() != *number)?;
            Some((found, *number))
        };
        let mut moves: Vec<(&Found, i32)> = wanted.iter().zip(numbers).filter_map(pair).collect();
        let mut taken: BTreeSet<i32> = self.ours.iter().chain(&self.others).map(Found::priority).collect();
        taken.extend(numbers);
        for found in self.dropped(wanted).filter(|found| numbers.contains(&found.priority())) {
            let free = (found.priority()..=LAST).chain(1..=LAST).find(|number| !taken.contains(number));
            taken.extend(free);
            moves.extend(free.map(|free| (found, free)));
        }
        moves
    }
}

/// Puts what stands right, then its order, then makes what is missing: a priority is taken once. `served` says whether
/// the listener may have taken requests before this pass.
pub(crate) async fn ensure(
    aws: &Aws,
    context: &Context,
    listener: &str,
    wanted: &[Wanted],
    served: bool,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let standing = look(&aws.elb, context, listener).await?;
    let numbers = standing.numbers(wanted)?;
    let update = async |wanted: &Wanted| match at(&standing.ours, wanted) {
        Some(found) => update(aws, context, found, wanted).await,
        None => Ok(()),
    };
    let updated = side_by_side(wanted.iter().map(update)).await;
    if let Err(error) = &updated
        && !matches!(error, Error::NotReady { .. })
    {
        return Err(error.clone());
    }
    reorder(&aws.elb, &standing.moves(wanted, &numbers)).await?;
    let mut waits = vec![updated.map(|_| ())];
    for (wanted, number) in wanted.iter().zip(numbers) {
        if at(&standing.ours, wanted).is_none() {
            let lacks = if served { wanted.to.lacks(aws, context).await? } else { None };
            create(&aws.elb, listener, wanted, number, lacks.is_some()).await?;
            waits.extend(lacks.map(|lacks| Err(wait(context, wanted, &lacks))));
        }
    }
    side_by_side(waits.into_iter().map(std::future::ready)).await?;
    Ok(())
}

/// Lets a target group hang on a listener without any traffic. The rule is no rule of the spec: `prune` deletes it.
pub(crate) async fn hang(
    aws: &Aws,
    context: &Context,
    listener: &str,
    listener_address: &str,
    goal: &Goal,
) -> Result<()> {
    let address = format!("{listener_address}.waits");
    let wanted = Wanted {
        priority: None,
        hosts: BTreeSet::new(),
        paths: BTreeSet::new(),
        to: goal.clone(),
        tags: context.tags(&address),
        address,
    };
    let standing = look(&aws.elb, context, listener).await?;
    if at(&standing.ours, &wanted).is_some() {
        return Ok(());
    }
    let taken: BTreeSet<i32> = standing.ours.iter().chain(&standing.others).map(Found::priority).collect();
    let free = (1..=LAST).rev().find(|number| !taken.contains(number)).unwrap_or(LAST);
    create(&aws.elb, listener, &wanted, free, true).await
}

fn wait(context: &Context, wanted: &Wanted, lacks: &str) -> Error {
    traffic::wait(context, &wanted.address, lacks)
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
    let standing = look(elb, context, listener).await?;
    let numbers = standing.numbers(wanted)?;
    let change = |(wanted, number): (&Wanted, i32)| match at(&standing.ours, wanted) {
        None => Some(wanted.create()),
        Some(found) => {
            let priority = compare("priority", found.priority(), number);
            Change::update(&wanted.address, priority.into_iter().chain(difference(found, wanted)).collect())
        }
    };
    Ok(wanted.iter().zip(numbers).filter_map(change).collect())
}

fn at<'a>(found: &'a [Found], wanted: &Wanted) -> Option<&'a Found> {
    found.iter().find(|found| found.tags.get(step::ADDRESS) == Some(&wanted.address))
}

/// The rules of a listener that carry our tags.
pub(crate) async fn ours(elb: &Client, context: &Context, listener: &str) -> Result<Vec<Found>> {
    Ok(look(elb, context, listener).await?.ours)
}

async fn look(elb: &Client, context: &Context, listener: &str) -> Result<Standing> {
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
    let owner = context.owner();
    let (ours, others) = found.partition(|found| owner.address(&found.tags).is_some());
    Ok(Standing { ours, others })
}

/// What differs but for the number.
fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
    [
        compare("hosts", list(&found.hosts()), list(&wanted.hosts)),
        compare("paths", list(&found.paths()), list(&wanted.paths)),
        compare("to", told(found.aws.actions()).as_str(), wanted.to.group.as_str()),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

fn conditions(wanted: &Wanted) -> Vec<RuleCondition> {
    let values = |words: &BTreeSet<String>| Some(words.iter().cloned().collect::<Vec<_>>());
    let hosts = (!wanted.hosts.is_empty()).then(|| of_hosts(values(&wanted.hosts)));
    let paths = (!wanted.paths.is_empty()).then(|| {
        let config = PathPatternConditionConfig::builder().set_values(values(&wanted.paths)).build();
        RuleCondition::builder().field("path-pattern").path_pattern_config(config).build()
    });
    hosts.into_iter().chain(paths).collect()
}

fn of_hosts(hosts: Option<Vec<String>>) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().set_values(hosts).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

/// A priority is taken once: this call can't double a rule. One that waits meets no request.
async fn create(elb: &Client, listener: &str, wanted: &Wanted, number: i32, waits: bool) -> Result<()> {
    let conditions = if waits { vec![of_hosts(Some(vec![WAITING.to_owned()]))] } else { conditions(wanted) };
    let created = elb
        .create_rule()
        .listener_arn(listener)
        .priority(number)
        .set_conditions(Some(conditions))
        .actions(forward(&wanted.to.group))
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    ordered(created, || format!("creating rule {} with priority {number}", wanted.address))?;
    Ok(())
}

async fn update(aws: &Aws, context: &Context, found: &Found, wanted: &Wanted) -> Result<()> {
    let fields = difference(found, wanted);
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let put = aws.elb.add_tags().resource_arns(found.arn()).set_tags(Some(tag_list(&wanted.tags)));
        put.send().await.doing(|| format!("tagging rule {}", wanted.address))?;
    }
    let own = |field: &Field| ["hosts", "paths", "to"].contains(&field.name.as_str());
    if !fields.iter().any(own) {
        return Ok(());
    }
    let next = match wanted.to.next(aws, context, found.aws.actions()).await? {
        // It leads there already: only what requests it meets is to change.
        Next::Nothing => match wanted.to.lacks(aws, context).await? {
            None => Next::Turn(forward(&wanted.to.group)),
            Some(lacks) => Next::Wait(lacks),
        },
        // No request meets it, so it may lead anywhere.
        Next::Hang(_, lacks) if found.is_waiting() => Next::Hang(forward(&wanted.to.group), lacks),
        next => next,
    };
    let modify = aws.elb.modify_rule().rule_arn(found.arn());
    let (modify, lacks) = match next {
        Next::Turn(action) => (modify.set_conditions(Some(conditions(wanted))).actions(action), None),
        Next::Hang(action, lacks) => (modify.actions(action), Some(lacks)),
        Next::Nothing => return Ok(()),
        Next::Wait(lacks) => return Err(wait(context, wanted, &lacks)),
    };
    modify.send().await.doing(|| format!("changing rule {}", wanted.address))?;
    lacks.map_or(Ok(()), |lacks| Err(wait(context, wanted, &lacks)))
}

/// All at once, since two rules may have to change places.
async fn reorder(elb: &Client, moves: &[(&Found, i32)]) -> Result<()> {
    if moves.is_empty() {
        return Ok(());
    }
    let pair = |(found, number): &(&Found, i32)| {
        RulePriorityPair::builder().rule_arn(found.arn()).priority(*number).build()
    };
    let pairs = moves.iter().map(pair).collect();
    let set = elb.set_rule_priorities().set_rule_priorities(Some(pairs)).send().await;
    ordered(set, || "putting rules in their order".to_owned())?;
    Ok(())
}

/// The answer of a call that gave a rule its number. If somebody else was quicker the next pass sees theirs.
fn ordered<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    doing: impl Fn() -> String,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if answer.as_ref().is_err_and(|error| error.code() == Some("PriorityInUse")) {
        return Err(Error::soon(format!("{}: another rule was given it at the same moment", doing())));
    }
    answer.doing(doing)
}

/// Deletes those of our rules whose address isn't among these; in a plan only names them.
pub(crate) async fn delete_dropped(
    elb: &Client,
    context: &Context,
    ours: &[Found],
    kept: &BTreeSet<String>,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for found in ours {
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

//! The step `listener`: what a load balancer listens on, and where it sends what arrives.
//!
//! Ours is a listener that carries the owner's tags; it has them from `CreateListener` on. A balancer
//! has one listener a port, so the port tells which is which; on a balancer of ours there are no
//! others. Its rules carry tags of their own, and their address tells which is which. A listener is made
//! while its balancer still provisions, and the step ends when the balancer is active. An HTTPS listener
//! waits until its first certificate is issued; nothing else waits for it.
//!
//! Nothing that serves is cut: traffic is led to another target group once its service is steady there, see `lead`,
//! and a rule that is new on a standing listener meets no request before.
//!
//! On an existing balancer the listeners are somebody else's and stay as they are. Ours there are rules, by
//! their tags, and certificates beside the listener's own, by the tags that they themselves carry in ACM: a
//! listener's list of certificates has none. One whose ARN the spec writes carries none of ours, and stays on
//! the listener when the spec no longer mentions it. What the spec no longer mentions is found through our
//! target groups, by their tags: AWS says of each which balancer sends to it, and theirs does for as long as
//! one of our rules is there. Certificates are therefore put on a listener after our rules, and taken off
//! before them.

mod certificate;
mod lead;
mod rule;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
};

use aws_sdk_acm::Client as Acm;
use aws_sdk_ecs::Client as Ecs;
use aws_sdk_elasticloadbalancingv2::{
    Client,
    primitives::DateTime,
    types::{
        Action, ActionTypeEnum, Certificate, Listener, LoadBalancer, LoadBalancerStateEnum,
        LoadBalancerTypeEnum, ProtocolEnum, RedirectActionConfig, RedirectActionStatusCodeEnum, Tag,
    },
};
use jiff::Timestamp;
use lead::{Goal, Next};
use spec::{Balancer, Protocol, Target, Text};
use step::{
    Answer, Change, Context, Doing, Error, Field, Latency, Operation, Result, UNKNOWN, compare, missing_tags,
    side_by_side,
};

/// What `DescribeTags` answers when one of those that are asked for isn't there.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html>
const ABSENT: [&str; 4] = ["LoadBalancerNotFound", "TargetGroupNotFound", "ListenerNotFound", "RuleNotFound"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let aws =
        Aws { elb: Client::new(&context.aws), acm: Acm::new(&context.aws), ecs: Ecs::new(&context.aws) };
    match context.operation {
        Operation::Plan => plan(&aws, &context).await,
        Operation::Ensure => ensure(&aws, &context).await,
        Operation::Prune => prune(&aws, &context).await,
    }
}

/// How the step calls AWS.
struct Aws {
    elb: Client,
    acm: Acm,
    ecs: Ecs,
}

/// What the spec asks for.
struct Wanted {
    address: String,
    /// The balancer's ARN.
    balancer: String,
    port: u16,
    /// What it is made of; none for one that exists and is somebody else's.
    own: Option<Own>,
    /// Its certificates; of a listener of ours the first is for who names no host.
    certificates: Vec<certificate::Wanted>,
    rules: Vec<rule::Wanted>,
}

/// What a listener of ours is made of.
struct Own {
    protocol: ProtocolEnum,
    /// Which versions of TLS and which ciphers it speaks; none where it speaks no TLS.
    security_policy: Option<String>,
    default: Default,
    tags: BTreeMap<String, String>,
}

/// What becomes of what no rule sends elsewhere.
enum Default {
    /// This target group gets it.
    Forward(Goal),
    /// It is sent to the same place over HTTPS, where this one answers if the balancer itself listens there.
    Redirect(Option<Goal>),
}

impl Default {
    /// As a plan tells it.
    fn told(&self) -> &str {
        match self {
            Self::Forward(goal) => &goal.group,
            Self::Redirect(_) => REDIRECT,
        }
    }
}

const REDIRECT: &str = "redirect to https";

/// The port that a redirect leads to.
const SECURE: u16 = 443;

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for (key, balancer) in &context.spec.load_balancers {
        let what = format!("loadBalancers.{key}");
        let output = context.known(context.outputs.load_balancers.get(key), &what)?;
        for (name, listener) in &balancer.listeners {
            let address = format!("{what}.listeners.{name}");
            let own = if balancer.existing {
                None
            } else {
                Some(own(context, (key, balancer), listener, &address)?)
            };
            all.push(Wanted {
                balancer: output.arn.clone(),
                port: listener.port,
                own,
                certificates: certificate::wanted(context, listener)?,
                rules: rule::wanted(context, key, &address, listener)?,
                address,
            });
        }
    }
    Ok(all)
}

fn own(
    context: &Context,
    (key, balancer): (&str, &Balancer),
    listener: &spec::Listener,
    address: &str,
) -> Result<Own> {
    Ok(Own {
        security_policy: balancer.security_policy(listener).map(str::to_owned),
        protocol: match balancer.protocol(listener) {
            Protocol::Http => ProtocolEnum::Http,
            Protocol::Https => ProtocolEnum::Https,
            Protocol::Tcp => ProtocolEnum::Tcp,
        },
        default: if let Some(to) = &listener.default {
            Default::Forward(goal(context, key, to, &format!("{address}.default"))?)
        } else {
            let secure = balancer.listeners.values().find(|other| other.port == SECURE);
            let to = secure.and_then(|secure| secure.default.as_ref());
            Default::Redirect(to.map(|to| goal(context, key, to, address)).transpose()?)
        },
        tags: context.tags(address),
    })
}

/// Who is meant by a reference on a balancer.
fn goal(context: &Context, balancer: &str, to: &Text, what: &str) -> Result<Goal> {
    let output = context.outputs.load_balancers.get(balancer);
    let target = Target::of(&context.spec, balancer, to);
    let group = target.as_ref().and_then(|target| output?.targets.get(&target.word()));
    let group = context.known(group, what)?.clone();
    Ok(Goal { target: context.known(target.as_ref(), what)?.clone(), group })
}

/// A listener with its tags.
struct Found {
    aws: Listener,
    tags: BTreeMap<String, String>,
}

async fn ensure(aws: &Aws, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let one = async |wanted: &Wanted| match &wanted.own {
        Some(own) => ensure_own(aws, context, wanted, own).await,
        None => ensure_on_theirs(aws, context, wanted).await,
    };
    side_by_side(wanted.iter().map(one)).await?;
    let ours = wanted.iter().filter(|wanted| wanted.own.is_some());
    let balancers: BTreeSet<&String> = ours.map(|wanted| &wanted.balancer).collect();
    side_by_side(balancers.into_iter().map(|arn| active(&aws.elb, arn))).await?;
    Ok(Answer::default())
}

/// What waits for the first certificate keeps no rule waiting, and what waits for another not the listener.
async fn ensure_own(aws: &Aws, context: &Context, wanted: &Wanted, own: &Own) -> Result<()> {
    let found = find(&aws.elb, context, wanted).await?;
    let served = found.is_some();
    let (arn, listener) = match found {
        None => (create(aws, wanted, own).await?, Ok(Ok(()))),
        Some(found) => {
            let updated = update(aws, context, &found, wanted, own).await;
            (found.aws.listener_arn.unwrap_or_default(), updated)
        }
    };
    let certificates = match listener {
        Ok(_) => certificate::ensure(aws, context, &arn, wanted).await,
        Err(_) => Ok(()),
    };
    let rules = rule::ensure(aws, context, &arn, &wanted.rules, served).await;
    side_by_side([listener.and_then(|led| led), certificates, rules].map(ready)).await?;
    Ok(())
}

/// Rules go first: by them what is ours on the listener is found again.
async fn ensure_on_theirs(aws: &Aws, context: &Context, wanted: &Wanted) -> Result<()> {
    let found = find_theirs(&aws.elb, wanted).await?;
    let arn = found.listener_arn().unwrap_or_default();
    let rules = rule::ensure(aws, context, arn, &wanted.rules, true).await;
    let stand = matches!(rules, Ok(()) | Err(Error::NotReady { .. }));
    let certificates = if stand && found.protocol() == Some(&ProtocolEnum::Https) {
        certificate::ensure(aws, context, arn, wanted).await
    } else {
        Ok(())
    };
    side_by_side([rules, certificates].map(ready)).await?;
    Ok(())
}

async fn plan(aws: &Aws, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(aws, context).await?;
    for wanted in wanted(context)? {
        certificate::check_given(&aws.acm, &wanted.certificates).await?;
        changes.extend(match &wanted.own {
            Some(own) => plan_own(aws, context, &wanted, own).await?,
            None => plan_on_theirs(aws, context, &wanted).await?,
        });
    }
    Ok(Answer::changed(changes))
}

async fn plan_own(aws: &Aws, context: &Context, wanted: &Wanted, own: &Own) -> Result<Vec<Change>> {
    let known = wanted.balancer != UNKNOWN;
    let found = if known { find(&aws.elb, context, wanted).await? } else { None };
    let Some(found) = found else {
        let create = Change::create(&wanted.address).with("port", wanted.port);
        return Ok([create].into_iter().chain(wanted.rules.iter().map(rule::Wanted::create)).collect());
    };
    let arn = found.aws.listener_arn().unwrap_or_default();
    let mut fields = difference(&found, wanted, own);
    fields.extend(certificate::difference(aws, context, arn, wanted).await?);
    let rules = rule::plan(&aws.elb, context, arn, &wanted.rules).await?;
    Ok(Change::update(&wanted.address, fields).into_iter().chain(rules).collect())
}

async fn plan_on_theirs(aws: &Aws, context: &Context, wanted: &Wanted) -> Result<Vec<Change>> {
    let found = find_theirs(&aws.elb, wanted).await?;
    let arn = found.listener_arn().unwrap_or_default();
    let mut changes = rule::plan(&aws.elb, context, arn, &wanted.rules).await?;
    if found.protocol() == Some(&ProtocolEnum::Https) {
        let fields = certificate::difference(aws, context, arn, wanted).await?;
        changes.extend(Change::update(certificates_address(&wanted.address), Vec::from_iter(fields)));
    }
    Ok(changes)
}

/// The address of our certificates on a listener of somebody else.
fn certificates_address(listener: &str) -> String {
    format!("{listener}.certificates")
}

async fn prune(aws: &Aws, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(aws, context).await?))
}

/// Deletes our listeners on ports that the spec doesn't mention, and what is ours on others; in a plan only
/// names it.
async fn delete_dropped(aws: &Aws, context: &Context) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let (ours, theirs) = balancers(&aws.elb, context).await?;
    for (arn, key) in ours {
        changes.extend(delete_from_ours(&aws.elb, context, &arn, &key).await?);
    }
    if !theirs.is_empty() {
        let used = used(&aws.elb, context).await?;
        for (arn, name) in theirs {
            let of_spec = context.spec.load_balancers.iter();
            let named: Vec<(&String, &Balancer)> = of_spec
                .filter(|(_, balancer)| balancer.existing && balancer.name.as_ref() == Some(&name))
                .collect();
            if !named.is_empty() || used.contains(&arn) {
                changes.extend(delete_from_theirs(aws, context, &arn, &named).await?);
            }
        }
    }
    Ok(changes)
}

async fn delete_from_ours(elb: &Client, context: &Context, arn: &str, key: &str) -> Result<Vec<Change>> {
    let (owner, mut changes) = (context.owner(), Vec::new());
    let named = context.spec.load_balancers.get_key_value(key).filter(|(_, balancer)| !balancer.existing);
    // Of a balancer that another took the place of nothing is kept. Its listeners go before its targets do.
    let output = context.outputs.load_balancers.get(key).filter(|_| context.operation == Operation::Prune);
    let named = named.filter(|_| output.is_none_or(|output| output.arn == arn));
    let named = Vec::from_iter(named);
    for found in describe(elb, arn).await? {
        let port = found.aws.port().unwrap_or_default();
        let Some(address) = owner.address(&found.tags) else { continue };
        if let Some(kept) = kept_rules(&named, port) {
            if has_rules(&found.aws) {
                let rules = rule::ours(elb, context, found.aws.listener_arn().unwrap_or_default()).await?;
                changes.extend(rule::delete_dropped(elb, context, &rules, &kept).await?);
            }
            continue;
        }
        changes.push(Change::delete(address).with("port", port));
        if context.operation == Operation::Prune {
            delete(elb, &found.aws).await?;
        }
    }
    Ok(changes)
}

/// Our rules, and before them our certificates, on the listeners of somebody else's balancer. Of one that the
/// spec still mentions the certificates are put right together with the rules.
async fn delete_from_theirs(
    aws: &Aws,
    context: &Context,
    arn: &str,
    named: &[(&String, &Balancer)],
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for listener in listeners(&aws.elb, arn).await?.into_iter().filter(has_rules) {
        let arn = listener.listener_arn().unwrap_or_default();
        let rules = rule::ours(&aws.elb, context, arn).await?;
        let kept = kept_rules(named, listener.port().unwrap_or_default());
        if let (None, Some(address)) = (&kept, rule::listener_address(&rules)) {
            let address = certificates_address(address);
            changes.extend(certificate::delete_dropped(aws, context, arn, &address).await?);
        }
        changes.extend(rule::delete_dropped(&aws.elb, context, &rules, &kept.unwrap_or_default()).await?);
    }
    Ok(changes)
}

/// The addresses of the rules that these balancers of the spec have on a port; none if none of them listens
/// there.
fn kept_rules(named: &[(&String, &Balancer)], port: i32) -> Option<BTreeSet<String>> {
    let listeners = named
        .iter()
        .flat_map(|(key, balancer)| balancer.listeners.iter().map(move |(name, found)| (key, name, found)))
        .filter(|(_, _, listener)| i32::from(listener.port) == port);
    let addresses = |(key, name, listener): (&&String, &String, &spec::Listener)| {
        let address = format!("loadBalancers.{key}.listeners.{name}");
        listener.rules.keys().map(|rule| rule::address(&address, rule)).collect::<BTreeSet<_>>()
    };
    listeners.map(addresses).reduce(|all, more| all.into_iter().chain(more).collect())
}

/// Whether a listener is of the kind that has rules: an application balancer's.
fn has_rules(listener: &Listener) -> bool {
    [Some(&ProtocolEnum::Http), Some(&ProtocolEnum::Https)].contains(&listener.protocol())
}

/// Somebody else's listener on the wanted port.
async fn find_theirs(elb: &Client, wanted: &Wanted) -> Result<Listener> {
    let all = listeners(elb, &wanted.balancer).await?;
    let ports: BTreeSet<i32> = all.iter().filter_map(Listener::port).collect();
    let address = &wanted.address;
    let Some(found) = all.into_iter().find(|found| found.port() == Some(wanted.port.into())) else {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let has = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        return Err(Error::InvalidSpec(format!(
            "{address}.port: the balancer is somebody else's and has no listener on port {}; it has {has}: \
             write one of these, or have one made",
            wanted.port
        )));
    };
    if found.protocol() != Some(&ProtocolEnum::Https) && !wanted.certificates.is_empty() {
        return Err(Error::InvalidSpec(format!(
            "{address}.certificates: the listener on port {} is somebody else's and speaks {}, which has no \
             certificates: leave the line out, or write the port of one that speaks HTTPS",
            wanted.port,
            found.protocol().map_or("nothing", ProtocolEnum::as_str)
        )));
    }
    Ok(found)
}

/// The listener on the wanted port of a balancer of ours.
async fn find(elb: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let all = describe(elb, &wanted.balancer).await?;
    let found = all.into_iter().find(|found| found.aws.port() == Some(wanted.port.into()));
    if let Some(found) = &found {
        let what = format!("the listener on port {} of {}", wanted.port, wanted.address);
        context.owner().check(&what, &found.tags)?;
    }
    Ok(found)
}

/// The ARNs of our balancers, with their names in the spec, and those of all others, with their own names.
async fn balancers(
    elb: &Client,
    context: &Context,
) -> Result<(Vec<(String, String)>, Vec<(String, String)>)> {
    let pages = elb.describe_load_balancers().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing load balancers")?;
    let arns: Vec<String> = all.iter().filter_map(|balancer| balancer.load_balancer_arn.clone()).collect();
    let tags = tags(elb, &arns).await?;
    let (owner, mut ours, mut theirs) = (context.owner(), Vec::new(), Vec::new());
    for balancer in all {
        let arn = balancer.load_balancer_arn.unwrap_or_default();
        let address = tags.get(&arn).and_then(|tags| owner.address(tags));
        match address.and_then(|address| address.strip_prefix("loadBalancers.")) {
            Some(key) => ours.push((arn, key.to_owned())),
            None => theirs.push((arn, balancer.load_balancer_name.unwrap_or_default())),
        }
    }
    Ok((ours, theirs))
}

/// The ARNs of the balancers that send to our target groups.
async fn used(elb: &Client, context: &Context) -> Result<BTreeSet<String>> {
    let pages = elb.describe_target_groups().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = all.doing(|| "describing target groups")?;
    all.retain(|group| !group.load_balancer_arns().is_empty());
    let arns: Vec<String> = all.iter().filter_map(|group| group.target_group_arn.clone()).collect();
    let (owner, tags) = (context.owner(), tags(elb, &arns).await?);
    all.retain(|group| {
        let tags = group.target_group_arn().and_then(|arn| tags.get(arn));
        tags.is_some_and(|tags| owner.address(tags).is_some())
    });
    Ok(all.into_iter().flat_map(|group| group.load_balancer_arns.unwrap_or_default()).collect())
}

/// The listeners of a balancer; none if it is gone.
async fn listeners(elb: &Client, balancer: &str) -> Result<Vec<Listener>> {
    let pages = elb.describe_listeners().load_balancer_arn(balancer).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all =
        all.unless_absent(&["LoadBalancerNotFound"], || format!("describing the listeners of {balancer}"))?;
    Ok(all.unwrap_or_default())
}

/// The listeners of a balancer with their tags.
async fn describe(elb: &Client, balancer: &str) -> Result<Vec<Found>> {
    let all = listeners(elb, balancer).await?;
    let arns: Vec<String> = all.iter().filter_map(|listener| listener.listener_arn.clone()).collect();
    let mut tags = tags(elb, &arns).await?;
    let found = all.into_iter().map(|aws| {
        let tags = tags.remove(aws.listener_arn().unwrap_or_default()).unwrap_or_default();
        Found { aws, tags }
    });
    Ok(found.collect())
}

/// The tags of balancers, target groups, listeners or rules, by ARN; twenty a call.
async fn tags(elb: &Client, arns: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut tags = BTreeMap::new();
    for arns in arns.chunks(20) {
        let described = elb.describe_tags().set_resource_arns(Some(arns.to_vec())).send().await;
        // One that is gone since it was listed spoils the whole answer; the next look doesn't list it.
        let described = described
            .unless_absent(&ABSENT, || "reading listeners' tags")?
            .ok_or_else(|| Error::soon("a load balancer went away while it was looked at"))?;
        for description in described.tag_descriptions.unwrap_or_default() {
            let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
            let pairs = description.tags().iter().filter_map(pair).collect();
            tags.insert(description.resource_arn.unwrap_or_default(), pairs);
        }
    }
    Ok(tags)
}

fn difference(found: &Found, wanted: &Wanted, own: &Own) -> Vec<Field> {
    let protocol = found.aws.protocol().map_or("none", ProtocolEnum::as_str);
    let certificate = found.aws.certificates().first().and_then(Certificate::certificate_arn);
    let wanted_certificate = wanted.certificates.first().map(|certificate| certificate.arn.as_str());
    [
        compare("protocol", protocol, own.protocol.as_str()),
        compare(
            "securityPolicy",
            found.aws.ssl_policy().unwrap_or("none"),
            own.security_policy.as_deref().unwrap_or("none"),
        ),
        compare("default", told(found.aws.default_actions()).as_str(), own.default.told()),
        compare("certificate", certificate.unwrap_or("none"), wanted_certificate.unwrap_or("none")),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &own.tags))
    .collect()
}

/// What actions do, as a plan tells it.
fn told(actions: &[Action]) -> String {
    match actions.first().and_then(Action::redirect_config) {
        Some(redirect) if redirect.protocol() == Some("HTTPS") => REDIRECT.to_owned(),
        Some(_) => "another redirect".to_owned(),
        None => lead::told(actions),
    }
}

/// A port is taken once: this call can't double a listener.
async fn create(aws: &Aws, wanted: &Wanted, own: &Own) -> Result<String> {
    let issued = certificate::first_issued(&aws.acm, wanted).await?;
    let created = aws
        .elb
        .create_listener()
        .load_balancer_arn(&wanted.balancer)
        .port(wanted.port.into())
        .protocol(own.protocol.clone())
        .set_ssl_policy(own.security_policy.clone())
        .default_actions(default_action(own))
        .set_certificates(first_certificate(wanted))
        .set_tags(Some(tag_list(&own.tags)))
        .send()
        .await;
    let doing = || format!("creating listener ({}, port {})", wanted.address, wanted.port);
    let created = certificate::taken(created, issued, doing)?;
    let listener = created.listeners.and_then(|all| all.into_iter().next());
    let arn = listener.and_then(|listener| listener.listener_arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no listener answered", doing())))
}

/// Puts right what differs, and answers what traffic waits for before it is led elsewhere. A first certificate that
/// isn't issued yet is waited for, and the one before it stays meanwhile.
async fn update(
    aws: &Aws,
    context: &Context,
    found: &Found,
    wanted: &Wanted,
    own: &Own,
) -> Result<Result<()>> {
    let arn = found.aws.listener_arn().unwrap_or_default();
    let fields = difference(found, wanted, own);
    let differs = |name: &str| fields.iter().any(|field| field.name == name);
    let other_certificate = differs("protocol") || differs("certificate");
    let issued = if other_certificate { certificate::first_issued(&aws.acm, wanted).await } else { Ok(None) };
    let waits = issued.is_err();
    let next = if differs("default") && !(waits && differs("protocol")) {
        next(aws, context, found, wanted, own).await?
    } else {
        Next::Nothing
    };
    let (action, lacks) = match next {
        Next::Nothing => (None, None),
        Next::Turn(action) => (Some(action), None),
        Next::Hang(action, lacks) => (Some(action), Some(lacks)),
        Next::Wait(lacks) => (None, Some(lacks)),
    };
    let other_policy = differs("securityPolicy") && !(waits && differs("protocol"));
    if (other_certificate && !waits) || action.is_some() || other_policy {
        let certificates = if waits { None } else { first_certificate(wanted) };
        let modified = aws
            .elb
            .modify_listener()
            .listener_arn(arn)
            .protocol(own.protocol.clone())
            .set_ssl_policy(own.security_policy.clone())
            .set_default_actions(action.map(|action| vec![action]))
            .set_certificates(certificates)
            .send()
            .await;
        let doing = || format!("changing listener ({}, port {})", wanted.address, wanted.port);
        certificate::taken(modified, issued.clone().ok().flatten(), doing)?;
    }
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let put = aws.elb.add_tags().resource_arns(arn).set_tags(Some(tag_list(&own.tags))).send().await;
        put.doing(|| format!("tagging listener ({})", wanted.address))?;
    }
    issued?;
    let told = format!("{}.default", wanted.address);
    Ok(lacks.map_or(Ok(()), |lacks| Err(traffic::wait(context, &told, &lacks))))
}

/// What comes next for a listener's default. Whoever is redirected must be answered there.
async fn next(aws: &Aws, context: &Context, found: &Found, wanted: &Wanted, own: &Own) -> Result<Next> {
    let secure = match &own.default {
        Default::Forward(goal) => {
            let actions = found.aws.default_actions();
            // A redirect has no weights: the group hangs on a rule meanwhile.
            if lead::groups(actions).is_empty()
                && let Some(lacks) = goal.lacks(aws, context).await?
            {
                let listener = found.aws.listener_arn().unwrap_or_default();
                rule::hang(aws, context, listener, &wanted.address, goal).await?;
                return Ok(Next::Wait(lacks));
            }
            return goal.next(aws, context, actions).await;
        }
        Default::Redirect(None) => return Ok(Next::Turn(default_action(own))),
        Default::Redirect(Some(secure)) => secure,
    };
    let all = listeners(&aws.elb, &wanted.balancer).await?;
    let lacks = if all.iter().any(|listener| listener.port() == Some(SECURE.into())) {
        secure.lacks(aws, context).await?
    } else {
        Some(format!("there is no listener on port {SECURE} yet"))
    };
    Ok(lacks.map_or_else(|| Next::Turn(default_action(own)), Next::Wait))
}

fn default_action(own: &Own) -> Action {
    match &own.default {
        Default::Forward(goal) => lead::forward(&goal.group),
        Default::Redirect(_) => {
            let redirect = RedirectActionConfig::builder()
                .protocol("HTTPS")
                .port("443")
                .status_code(RedirectActionStatusCodeEnum::Http301)
                .build();
            Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build()
        }
    }
}

fn first_certificate(wanted: &Wanted) -> Option<Vec<Certificate>> {
    let first = wanted.certificates.first()?;
    Some(vec![Certificate::builder().certificate_arn(&first.arn).build()])
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

async fn delete(elb: &Client, listener: &Listener) -> Result<()> {
    let arn = listener.listener_arn().unwrap_or_default();
    let deleted = elb.delete_listener().listener_arn(arn).send().await;
    deleted.unless_absent(&["ListenerNotFound"], || format!("deleting listener ({arn})"))?;
    Ok(())
}

/// A balancer takes connections, and VPC links, once it is active.
async fn active(elb: &Client, arn: &str) -> Result<()> {
    let described = elb.describe_load_balancers().load_balancer_arns(arn).send().await;
    let described = described.doing(|| format!("describing load balancer ({arn})"))?;
    let balancer = described
        .load_balancers()
        .first()
        .ok_or_else(|| Error::soon(format!("load balancer ({arn}) isn't described yet")))?;
    let name = balancer.load_balancer_name().unwrap_or_default();
    let state = balancer.state();
    match state.and_then(|state| state.code()) {
        Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => Ok(()),
        Some(LoadBalancerStateEnum::Failed) => {
            let reason = state.and_then(|state| state.reason()).unwrap_or("AWS gave no reason");
            Err(Error::Failed(format!(
                "creating load balancer ({name}): {reason}; delete it, then start the run again"
            )))
        }
        code => {
            let code = code.map_or("in no state", LoadBalancerStateEnum::as_str);
            Err(latency(balancer).wait(&format!("load balancer ({name}) is {code}"), created(balancer)?))
        }
    }
}

fn latency(balancer: &LoadBalancer) -> Latency {
    Latency::of(match balancer.r#type() {
        Some(LoadBalancerTypeEnum::Network) => "network-load-balancer",
        _ => "application-load-balancer",
    })
}

fn created(balancer: &LoadBalancer) -> Result<Timestamp> {
    let seconds = balancer.created_time().map(DateTime::secs).unwrap_or_default();
    Timestamp::from_second(seconds)
        .map_err(|error| Error::Failed(format!("reading when a load balancer was created: {error}")))
}

#[cfg(test)]
mod tests;

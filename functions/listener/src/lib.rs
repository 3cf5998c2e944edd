//! The step `listener`: what a load balancer listens on, and where it sends what arrives.
//!
//! Ours is a listener that carries the owner's tags; it has them from `CreateListener` on. A balancer
//! has one listener a port, so the port tells which is which; on a balancer of ours there are no
//! others. Its rules carry tags of their own, and their address tells which is which. A listener is made
//! while its balancer still provisions, and the step ends when the balancer is active.

mod rule;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    primitives::DateTime,
    types::{
        Action, ActionTypeEnum, Certificate, Listener, LoadBalancer, LoadBalancerStateEnum,
        LoadBalancerTypeEnum, ProtocolEnum, RedirectActionConfig, RedirectActionStatusCodeEnum, Tag,
    },
};
use jiff::Timestamp;
use spec::{Protocol, Target, Text};
use step::{
    Answer, Change, Context, Doing, Error, Field, Latency, Operation, Result, UNKNOWN, compare, missing_tags,
    side_by_side,
};

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let elb = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&elb, &context).await,
        Operation::Ensure => ensure(&elb, &context).await,
        Operation::Prune => prune(&elb, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    address: String,
    balancer: String,
    port: u16,
    protocol: ProtocolEnum,
    default: Default,
    /// The ARNs of its certificates, the first for who names no host.
    certificates: Vec<String>,
    rules: Vec<rule::Wanted>,
    tags: BTreeMap<String, String>,
}

/// What becomes of what no rule sends elsewhere.
enum Default {
    /// The target group of this ARN gets it.
    Forward(String),
    /// It is sent to the same place over HTTPS.
    Redirect,
}

impl Default {
    /// As a plan tells it.
    fn told(&self) -> &str {
        match self {
            Self::Forward(arn) => arn,
            Self::Redirect => REDIRECT,
        }
    }
}

const REDIRECT: &str = "redirect to https";

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for (key, balancer) in &context.spec.load_balancers {
        let what = format!("loadBalancers.{key}");
        let output = context.known(context.outputs.load_balancers.get(key), &what)?;
        for (name, listener) in &balancer.listeners {
            let address = format!("{what}.listeners.{name}");
            let default = match &listener.default {
                Some(to) => Default::Forward(target(context, key, to, &format!("{address}.default"))?),
                None => Default::Redirect,
            };
            all.push(Wanted {
                balancer: output.arn.clone(),
                port: listener.port,
                protocol: match balancer.protocol(listener) {
                    Protocol::Http => ProtocolEnum::Http,
                    Protocol::Https => ProtocolEnum::Https,
                    Protocol::Tcp => ProtocolEnum::Tcp,
                },
                default,
                certificates: certificates(context, listener)?,
                rules: rule::wanted(context, key, &address, listener)?,
                tags: context.tags(&address),
                address,
            });
        }
    }
    Ok(all)
}

/// The ARN of the target group that a reference on a balancer means.
fn target(context: &Context, balancer: &str, to: &Text, what: &str) -> Result<String> {
    let output = context.outputs.load_balancers.get(balancer);
    let word = Target::of(&context.spec, balancer, to).map(|target| target.word());
    let arn = word.and_then(|word| output?.targets.get(&word));
    Ok(context.known(arn, what)?.clone())
}

/// The ARNs of a listener's certificates: of the spec, or as they stand.
fn certificates(context: &Context, listener: &spec::Listener) -> Result<Vec<String>> {
    let one = |text: &Text| match text.whole().and_then(|reference| reference.name.as_ref()) {
        Some(name) => {
            let output = context.outputs.certificates.get(name);
            Ok(context.known(output, &format!("certificates.{name}"))?.arn.clone())
        }
        None => context.render(text),
    };
    listener.certificates.iter().map(one).collect()
}

/// A listener with its tags.
struct Found {
    aws: Listener,
    tags: BTreeMap<String, String>,
}

async fn ensure(elb: &Client, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let one = async |wanted: &Wanted| {
        let arn = match find(elb, context, wanted).await? {
            None => create(elb, wanted).await?,
            Some(found) => {
                update(elb, &found, wanted).await?;
                found.aws.listener_arn.unwrap_or_default()
            }
        };
        update_certificates(elb, &arn, wanted).await?;
        rule::ensure(elb, context, &arn, &wanted.rules).await
    };
    side_by_side(wanted.iter().map(one)).await?;
    let balancers: BTreeSet<&String> = wanted.iter().map(|wanted| &wanted.balancer).collect();
    side_by_side(balancers.into_iter().map(|arn| ready(elb, arn))).await?;
    Ok(Answer::default())
}

async fn plan(elb: &Client, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(elb, context).await?;
    for wanted in wanted(context)? {
        let found = if wanted.balancer == UNKNOWN { None } else { find(elb, context, &wanted).await? };
        let Some(found) = found else {
            changes.push(Change::create(&wanted.address).with("port", wanted.port));
            changes.extend(wanted.rules.iter().map(rule::Wanted::create));
            continue;
        };
        let arn = found.aws.listener_arn().unwrap_or_default();
        let mut fields = difference(&found, &wanted);
        fields.extend(further(elb, arn, &wanted).await?.field());
        changes.extend(Change::update(&wanted.address, fields));
        changes.extend(rule::plan(elb, context, arn, &wanted.rules).await?);
    }
    Ok(Answer::changed(changes))
}

async fn prune(elb: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(elb, context).await?))
}

/// Deletes our listeners on ports that the spec doesn't mention; in a plan only names them.
async fn delete_dropped(elb: &Client, context: &Context) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (balancer, key) in our_balancers(elb, context).await? {
        let listeners = context.spec.load_balancers.get(&key).map(|balancer| &balancer.listeners);
        let kept: BTreeSet<i32> =
            listeners.into_iter().flat_map(BTreeMap::values).map(|listener| listener.port.into()).collect();
        for found in describe(elb, &balancer).await? {
            let (owner, port) = (context.owner(), found.aws.port().unwrap_or_default());
            let Some(address) = owner.address(&found.tags) else { continue };
            if kept.contains(&port) {
                if [Some(&ProtocolEnum::Http), Some(&ProtocolEnum::Https)].contains(&found.aws.protocol()) {
                    let arn = found.aws.listener_arn().unwrap_or_default();
                    changes.extend(rule::delete_dropped(elb, context, arn).await?);
                }
                continue;
            }
            changes.push(Change::delete(address).with("port", port));
            if context.operation == Operation::Prune {
                delete(elb, &found.aws).await?;
            }
        }
    }
    Ok(changes)
}

/// The listener on the wanted port.
async fn find(elb: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let all = describe(elb, &wanted.balancer).await?;
    let found = all.into_iter().find(|found| found.aws.port() == Some(wanted.port.into()));
    if let Some(found) = &found {
        let what = format!("the listener on port {} of {}", wanted.port, wanted.address);
        context.owner().check(&what, &found.tags)?;
    }
    Ok(found)
}

/// The ARNs of our balancers, with their names in the spec.
async fn our_balancers(elb: &Client, context: &Context) -> Result<Vec<(String, String)>> {
    let pages = elb.describe_load_balancers().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing load balancers")?;
    let arns: Vec<String> = all.into_iter().filter_map(|balancer| balancer.load_balancer_arn).collect();
    let ours = |(arn, tags): (String, BTreeMap<String, String>)| {
        let key = context.owner().address(&tags)?.strip_prefix("loadBalancers.")?.to_owned();
        Some((arn, key))
    };
    Ok(tags(elb, &arns).await?.into_iter().filter_map(ours).collect())
}

/// The listeners of a balancer; none if it is gone.
async fn describe(elb: &Client, balancer: &str) -> Result<Vec<Found>> {
    let pages = elb.describe_listeners().load_balancer_arn(balancer).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all =
        all.unless_absent(&["LoadBalancerNotFound"], || format!("describing the listeners of {balancer}"))?;
    let all = all.unwrap_or_default();
    let arns: Vec<String> = all.iter().filter_map(|listener| listener.listener_arn.clone()).collect();
    let mut tags = tags(elb, &arns).await?;
    let found = all.into_iter().map(|aws| {
        let tags = tags.remove(aws.listener_arn().unwrap_or_default()).unwrap_or_default();
        Found { aws, tags }
    });
    Ok(found.collect())
}

/// The tags of balancers or listeners, by ARN; twenty a call.
async fn tags(elb: &Client, arns: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut tags = BTreeMap::new();
    for arns in arns.chunks(20) {
        let described = elb.describe_tags().set_resource_arns(Some(arns.to_vec())).send().await;
        // One that is gone since it was listed spoils the whole answer; the next look doesn't list it.
        let described = described
            .unless_absent(&["LoadBalancerNotFound", "ListenerNotFound"], || "reading listeners' tags")?
            .ok_or_else(|| Error::soon("a load balancer went away while it was looked at"))?;
        for description in described.tag_descriptions.unwrap_or_default() {
            let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
            let pairs = description.tags().iter().filter_map(pair).collect();
            tags.insert(description.resource_arn.unwrap_or_default(), pairs);
        }
    }
    Ok(tags)
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let protocol = found.aws.protocol().map_or("none", ProtocolEnum::as_str);
    let certificate = found.aws.certificates().first().and_then(Certificate::certificate_arn);
    let wanted_certificate = wanted.certificates.first().map(String::as_str);
    [
        compare("protocol", protocol, wanted.protocol.as_str()),
        compare("default", told(found.aws.default_actions()), wanted.default.told()),
        compare("certificate", certificate.unwrap_or("none"), wanted_certificate.unwrap_or("none")),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

/// What actions do, as a plan tells it.
fn told(actions: &[Action]) -> &str {
    let Some(action) = actions.first() else { return "none" };
    match action.redirect_config() {
        Some(redirect) if redirect.protocol() == Some("HTTPS") => REDIRECT,
        Some(_) => "another redirect",
        None => action.target_group_arn().unwrap_or("none"),
    }
}

/// The certificates beside the first that a listener has too few of and too many.
struct Further {
    missing: Vec<String>,
    extra: Vec<String>,
}

impl Further {
    fn field(&self) -> Option<Field> {
        let list = |arns: &[String]| if arns.is_empty() { "none".to_owned() } else { arns.join(", ") };
        (!self.missing.is_empty() || !self.extra.is_empty()).then(|| Field {
            name: "certificates".to_owned(),
            found: Some(list(&self.extra)),
            wanted: list(&self.missing),
        })
    }
}

async fn further(elb: &Client, arn: &str, wanted: &Wanted) -> Result<Further> {
    if wanted.certificates.is_empty() {
        return Ok(Further { missing: Vec::new(), extra: Vec::new() });
    }
    let pages = elb.describe_listener_certificates().listener_arn(arn).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| format!("describing the certificates of listener ({})", wanted.address))?;
    let further = all.into_iter().filter(|certificate| certificate.is_default() != Some(true));
    let found: BTreeSet<String> = further.filter_map(|certificate| certificate.certificate_arn).collect();
    let others: BTreeSet<String> = wanted.certificates.iter().skip(1).cloned().collect();
    Ok(Further {
        missing: others.difference(&found).cloned().collect(),
        extra: found.difference(&others).cloned().collect(),
    })
}

/// Puts right the certificates beside the first, which is the listener's own.
async fn update_certificates(elb: &Client, arn: &str, wanted: &Wanted) -> Result<()> {
    let further = further(elb, arn, wanted).await?;
    let doing = || format!("changing the certificates of listener ({})", wanted.address);
    let list = |arns: Vec<String>| -> Vec<Certificate> {
        arns.into_iter().map(|arn| Certificate::builder().certificate_arn(arn).build()).collect()
    };
    if !further.missing.is_empty() {
        let add = elb.add_listener_certificates().listener_arn(arn);
        add.set_certificates(Some(list(further.missing))).send().await.doing(doing)?;
    }
    if !further.extra.is_empty() {
        let remove = elb.remove_listener_certificates().listener_arn(arn);
        remove.set_certificates(Some(list(further.extra))).send().await.doing(doing)?;
    }
    Ok(())
}

/// A port is taken once: this call can't double a listener.
async fn create(elb: &Client, wanted: &Wanted) -> Result<String> {
    let created = elb
        .create_listener()
        .load_balancer_arn(&wanted.balancer)
        .port(wanted.port.into())
        .protocol(wanted.protocol.clone())
        .default_actions(default_action(wanted))
        .set_certificates(first_certificate(wanted))
        .set_tags(Some(tag_list(&wanted.tags)))
        .send()
        .await;
    let doing = || format!("creating listener ({}, port {})", wanted.address, wanted.port);
    let listener = created.doing(doing)?.listeners.and_then(|all| all.into_iter().next());
    let arn = listener.and_then(|listener| listener.listener_arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no listener answered", doing())))
}

async fn update(elb: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let arn = found.aws.listener_arn().unwrap_or_default();
    let fields = difference(found, wanted);
    if fields.iter().any(|field| !field.name.starts_with("tags.")) {
        elb.modify_listener()
            .listener_arn(arn)
            .protocol(wanted.protocol.clone())
            .default_actions(default_action(wanted))
            .set_certificates(first_certificate(wanted))
            .send()
            .await
            .doing(|| format!("changing listener ({}, port {})", wanted.address, wanted.port))?;
    }
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let put = elb.add_tags().resource_arns(arn).set_tags(Some(tag_list(&wanted.tags))).send().await;
        put.doing(|| format!("tagging listener ({})", wanted.address))?;
    }
    Ok(())
}

fn default_action(wanted: &Wanted) -> Action {
    match &wanted.default {
        Default::Forward(arn) => forward(arn),
        Default::Redirect => {
            let redirect = RedirectActionConfig::builder()
                .protocol("HTTPS")
                .port("443")
                .status_code(RedirectActionStatusCodeEnum::Http301)
                .build();
            Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect).build()
        }
    }
}

fn forward(arn: &str) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(arn).build()
}

fn first_certificate(wanted: &Wanted) -> Option<Vec<Certificate>> {
    let first = wanted.certificates.first()?;
    Some(vec![Certificate::builder().certificate_arn(first).build()])
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
async fn ready(elb: &Client, arn: &str) -> Result<()> {
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

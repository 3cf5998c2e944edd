//! The step `listener`: what a load balancer listens on, and where it sends what arrives.
//!
//! Ours is a listener that carries the owner's tags; it has them from `CreateListener` on. A balancer
//! has one listener a port, so the port tells which is which; on a balancer of ours there are no
//! others. A listener is made while its balancer still provisions, and the step ends when the balancer
//! is active.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    primitives::DateTime,
    types::{
        Action, ActionTypeEnum, Listener, LoadBalancer, LoadBalancerStateEnum, LoadBalancerTypeEnum,
        ProtocolEnum, Tag,
    },
};
use jiff::Timestamp;
use spec::{Protocol, Target};
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
    /// The ARN of the target group that gets what no rule sends elsewhere.
    target: String,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for (key, balancer) in &context.spec.load_balancers {
        let what = format!("loadBalancers.{key}");
        let output = context.known(context.outputs.load_balancers.get(key), &what)?;
        for (name, listener) in &balancer.listeners {
            let address = format!("{what}.listeners.{name}");
            let target = Target::of(&context.spec, key, listener)
                .map(|target| format!("{}-{}", target.service, target.port))
                .and_then(|word| output.targets.get(&word));
            all.push(Wanted {
                balancer: output.arn.clone(),
                port: listener.port,
                protocol: match balancer.protocol(listener) {
                    Protocol::Http => ProtocolEnum::Http,
                    Protocol::Tcp => ProtocolEnum::Tcp,
                },
                target: context.known(target, &format!("{address}.default"))?.clone(),
                tags: context.tags(&address),
                address,
            });
        }
    }
    Ok(all)
}

/// A listener with its tags.
struct Found {
    aws: Listener,
    tags: BTreeMap<String, String>,
}

async fn ensure(elb: &Client, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let one = async |wanted: &Wanted| match find(elb, context, wanted).await? {
        None => create(elb, wanted).await,
        Some(found) => update(elb, &found, wanted).await,
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
        changes.extend(match found {
            None => Some(Change::create(&wanted.address).with("port", wanted.port)),
            Some(found) => Change::update(&wanted.address, difference(&found, &wanted)),
        });
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
            let Some(address) = owner.address(&found.tags).filter(|_| !kept.contains(&port)) else {
                continue;
            };
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
    let target = found.aws.default_actions().first().and_then(Action::target_group_arn).unwrap_or("none");
    [
        compare("protocol", protocol, wanted.protocol.as_str()),
        compare("default", target, wanted.target.as_str()),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&found.tags, &wanted.tags))
    .collect()
}

/// A port is taken once: this call can't double a listener.
async fn create(elb: &Client, wanted: &Wanted) -> Result<()> {
    let created = elb
        .create_listener()
        .load_balancer_arn(&wanted.balancer)
        .port(wanted.port.into())
        .protocol(wanted.protocol.clone())
        .default_actions(forward(wanted))
        .set_tags(Some(tag_list(wanted)))
        .send()
        .await;
    created.doing(|| format!("creating listener ({}, port {})", wanted.address, wanted.port))?;
    Ok(())
}

async fn update(elb: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let arn = found.aws.listener_arn().unwrap_or_default();
    let fields = difference(found, wanted);
    if fields.iter().any(|field| !field.name.starts_with("tags.")) {
        elb.modify_listener()
            .listener_arn(arn)
            .protocol(wanted.protocol.clone())
            .default_actions(forward(wanted))
            .send()
            .await
            .doing(|| format!("changing listener ({}, port {})", wanted.address, wanted.port))?;
    }
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let put = elb.add_tags().resource_arns(arn).set_tags(Some(tag_list(wanted))).send().await;
        put.doing(|| format!("tagging listener ({})", wanted.address))?;
    }
    Ok(())
}

fn forward(wanted: &Wanted) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(&wanted.target).build()
}

fn tag_list(wanted: &Wanted) -> Vec<Tag> {
    wanted.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
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

//! The step `network`: the VPC, its subnets, gateways, routes and endpoints, and the security group
//! that services share.
//!
//! Ours is what carries the owner's tags; everything here has them from the call that creates it on.
//! Routes and associations are owned through their table, an attachment through its gateway. Of a VPC
//! that the spec adopts by id only our own children come and go: groups, and endpoints.
//!
//! A machine asks twice. The first time nothing is waited for: whatever stands on the network may
//! begin. Asked again with its own output in hand, the step also waits for NAT gateways and endpoints,
//! and makes the routes that need them: that is when tasks are about to start.

mod adopted;
mod endpoint;
mod gateway;
mod group;
mod ours;
mod route;
mod strangers;
mod subnet;
#[cfg(test)]
mod tests;
mod vpc;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_ec2::{Client, error::SdkError, primitives::DateTime};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;
use spec::Network;
use step::{Answer, Change, Context, Doing, Error, NetworkOutput, Operation, Result, UNKNOWN, side_by_side};

use ours::{Found, Ours};

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let ec2 = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&ec2, &context).await,
        Operation::Ensure => ensure(&ec2, &context).await,
        Operation::Prune => prune(&ec2, &context).await,
    }
}

/// What groups and endpoints stand on.
struct Ground {
    vpc: String,
    cidr: String,
    public: Vec<String>,
    private: Vec<String>,
    private_tables: Vec<String>,
    /// What isn't ready to be used by tasks.
    waits: Vec<Error>,
}

async fn ensure(ec2: &Client, context: &Context) -> Result<Answer> {
    let Some(network) = &context.spec.network else { return Ok(Answer::default()) };
    let found = ours::look(ec2, context).await?;
    let mut ground = match &network.vpc {
        Some(id) => adopted::find(ec2, context, network, id).await?,
        None => build(ec2, context, network, &found).await?,
    };
    let services = group::ensure(ec2, context, &ground.vpc, &group::services(context), &found).await?;
    let own = if endpoint::any_interface(network) {
        let wanted = group::endpoints(context, &ground.cidr);
        Some(group::ensure(ec2, context, &ground.vpc, &wanted, &found).await?)
    } else {
        None
    };
    let endpoints = endpoint::wanted(context, network, &ground.private_tables, &ground.private, own.as_ref());
    ground.waits.extend(endpoint::ensure(ec2, context, &ground.vpc, &endpoints, &found).await?);
    if context.outputs.network.is_some() {
        side_by_side(ground.waits.drain(..).map(|wait| std::future::ready(Err::<(), _>(wait)))).await?;
    }
    Answer::new(output(ground, services), Vec::new())
}

/// A network of the environment's own.
async fn build(ec2: &Client, context: &Context, network: &Network, found: &Found) -> Result<Ground> {
    let network = &subnet::settled(context, network, found)?;
    let vpc = vpc::ensure(ec2, context, network, found).await?;
    let (public, private) = subnet::ensure(ec2, context, network, &vpc, found).await?;
    let internet =
        if public.is_empty() { None } else { Some(gateway::internet(ec2, context, &vpc, found).await?) };
    let nat = async |(address, subnet): (String, &String)| {
        gateway::nat(ec2, context, &address, subnet, found).await
    };
    let nats = side_by_side(gateway::nats(network).into_iter().zip(&public).map(nat)).await?;
    let ids: Vec<String> = nats.iter().map(|nat| nat.id.clone()).collect();
    let pending: BTreeSet<&String> =
        nats.iter().filter(|nat| nat.wait.is_some()).map(|nat| &nat.id).collect();

    let mut private_tables = Vec::new();
    for wanted in route::wanted(context, network, (&public, &private), internet.as_ref(), &ids) {
        let ready = wanted.target().is_none_or(|target| !pending.contains(target));
        let table = route::ensure(ec2, context, &vpc, &wanted, ready, found).await?;
        if wanted.private() {
            private_tables.push(table);
        }
    }
    let waits = nats.into_iter().filter_map(|nat| nat.wait).collect();
    Ok(Ground { vpc, cidr: vpc::cidr(network).to_owned(), public, private, private_tables, waits })
}

async fn plan(ec2: &Client, context: &Context) -> Result<Answer> {
    // Asked a second time it has nothing to add.
    if context.outputs.network.is_some() {
        return Ok(Answer::default());
    }
    let (mut changes, refused) = delete_dropped(ec2, context).await?;
    let Some(network) = &context.spec.network else { return Ok(Answer::changed(changes).refusing(refused)) };
    let found = ours::look(ec2, context).await?;
    let ground = match &network.vpc {
        Some(id) => adopted::find(ec2, context, network, id).await?,
        None => plan_build(ec2, context, network, &found, &mut changes).await?,
    };
    let (change, services) = group::plan(ec2, context, &group::services(context), &found).await?;
    changes.extend(change);
    let mut own = None;
    if endpoint::any_interface(network) {
        let (change, id) =
            group::plan(ec2, context, &group::endpoints(context, &ground.cidr), &found).await?;
        changes.extend(change);
        own = Some(id);
    }
    let endpoints = endpoint::wanted(context, network, &ground.private_tables, &ground.private, own.as_ref());
    changes.extend(endpoints.iter().filter_map(|wanted| endpoint::plan(context, wanted, &found)));
    Answer::new(output(ground, services), changes)
}

async fn plan_build(
    ec2: &Client,
    context: &Context,
    network: &Network,
    found: &Found,
    changes: &mut Vec<Change>,
) -> Result<Ground> {
    let network = &subnet::settled(context, network, found)?;
    let cidr = vpc::cidr(network).to_owned();
    let vpc = ours::first(&found.vpcs, vpc::ADDRESS);
    changes.extend(match vpc {
        None => Some(Change::create(vpc::ADDRESS).with("cidr", &cidr)),
        Some(vpc) => Change::update(vpc::ADDRESS, vpc::difference(ec2, context, network, vpc).await?),
    });
    let (of_subnets, mut public) = subnet::plan(ec2, context, network, found).await?;
    changes.extend(of_subnets);
    let private = public.split_off(network.public.len());
    changes.extend(gateway::plan(network, found));

    let known = |id: Option<&String>| id.cloned().unwrap_or_else(|| UNKNOWN.to_owned());
    let internet = known(ours::first(&found.internet_gateways, gateway::INTERNET).map(|found| &found.id));
    let nats: Vec<String> = gateway::nats(network)
        .iter()
        .map(|address| known(ours::first(&found.nat_gateways, address).map(|found| &found.id)))
        .collect();
    let mut private_tables = Vec::new();
    for wanted in route::wanted(context, network, (&public, &private), Some(&internet), &nats) {
        changes.extend(route::plan(context, &wanted, found));
        if wanted.private() {
            let table = ours::first(&found.route_tables, &wanted.address);
            private_tables.push(known(table.map(|found| &found.id)));
        }
    }
    let vpc = known(vpc.map(|found| &found.id));
    Ok(Ground { vpc, cidr, public, private, private_tables, waits: Vec::new() })
}

fn output(ground: Ground, group: String) -> NetworkOutput {
    let Ground { vpc, cidr, public, private, .. } = ground;
    NetworkOutput { vpc, cidr, public, private, group }
}

async fn prune(ec2: &Client, context: &Context) -> Result<Answer> {
    close(ec2, context).await?;
    let (changes, _) = delete_dropped(ec2, context).await?;
    Ok(Answer::changed(changes))
}

/// Closes the ports that nothing needs any more. Of an environment that goes nothing stays open anyway.
async fn close(ec2: &Client, context: &Context) -> Result<()> {
    let (Some(network), Some(output)) = (&context.spec.network, &context.outputs.network) else {
        return Ok(());
    };
    let found = ours::look(ec2, context).await?;
    group::close(ec2, context, &group::services(context), &found).await?;
    if endpoint::any_interface(network) {
        group::close(ec2, context, &group::endpoints(context, &output.cidr), &found).await?;
    }
    Ok(())
}

/// Deletes what is ours and the spec doesn't mention, in the order AWS allows; in a plan only names it, and says what
/// keeps it from going.
async fn delete_dropped(ec2: &Client, context: &Context) -> Result<(Vec<Change>, Vec<String>)> {
    let mut wanted = kept(context);
    let found = ours::look(ec2, context).await?;
    let mut changes = Vec::new();
    if context.kept.contains("network") {
        changes.extend(keep(&found, &wanted));
        wanted.extend(changes.iter().map(|change| change.address.clone()));
    }
    let dropped = Found {
        vpcs: ours::dropped(found.vpcs, &wanted),
        subnets: ours::dropped(found.subnets, &wanted),
        internet_gateways: ours::dropped(found.internet_gateways, &wanted),
        nat_gateways: ours::dropped(found.nat_gateways, &wanted),
        addresses: ours::dropped(found.addresses, &wanted),
        route_tables: ours::dropped(found.route_tables, &wanted),
        groups: ours::dropped(found.groups, &wanted),
        endpoints: ours::dropped(found.endpoints, &wanted),
    };
    let mut refused = Vec::new();
    if context.operation == Operation::Prune {
        delete(ec2, context, &dropped).await?;
    } else {
        refused = strangers::refusals(ec2, context, &dropped.vpcs).await?;
    }
    changes.extend(named(&dropped));
    Ok((changes, refused))
}

/// What a protected database, file system or zone stands in, and the group that its own group lets in: they
/// stay, without the ways out, which cost money.
fn keep(found: &Found, wanted: &BTreeSet<String>) -> Vec<Change> {
    let vpcs = found.vpcs.iter().map(|vpc| (&vpc.address, &vpc.id));
    let subnets = found.subnets.iter().map(|subnet| (&subnet.address, &subnet.id));
    let groups = found.groups.iter().filter(|group| group.address == group::SERVICES);
    let groups = groups.map(|group| (&group.address, &group.id));
    let dropped = vpcs.chain(subnets).chain(groups).filter(|(address, _)| !wanted.contains(*address));
    let dropped: BTreeMap<_, _> = dropped.collect();
    dropped.into_iter().map(|(address, id)| Change::keep(address).with("id", id)).collect()
}

/// Every address the spec asks for.
fn kept(context: &Context) -> BTreeSet<String> {
    let Some(network) = &context.spec.network else { return BTreeSet::new() };
    let mut kept: BTreeSet<String> = network.endpoints.iter().map(|word| endpoint::address(word)).collect();
    kept.insert(group::SERVICES.to_owned());
    if endpoint::any_interface(network) {
        kept.insert(group::ENDPOINTS.to_owned());
    }
    if network.vpc.is_some() {
        return kept;
    }
    kept.insert(vpc::ADDRESS.to_owned());
    kept.extend(subnet::wanted(context, network).into_iter().map(|subnet| subnet.address));
    if !network.public.is_empty() {
        kept.insert(gateway::INTERNET.to_owned());
    }
    for nat in gateway::nats(network) {
        kept.insert(gateway::ip(&nat));
        kept.insert(nat);
    }
    let subnets = (network.public.as_slice(), network.private.as_slice());
    kept.extend(route::wanted(context, network, subnets, None, &[]).into_iter().map(|table| table.address));
    kept
}

async fn delete(ec2: &Client, context: &Context, dropped: &Found) -> Result<()> {
    endpoint::delete(ec2, &dropped.endpoints).await?;
    side_by_side(dropped.nat_gateways.iter().map(|nat| gateway::delete_nat(ec2, nat))).await?;
    let endpoints =
        side_by_side(dropped.endpoints.iter().map(|endpoint| endpoint::gone(ec2, endpoint))).await;
    let nats = side_by_side(dropped.nat_gateways.iter().map(|nat| gateway::nat_gone(ec2, nat))).await;
    side_by_side([std::future::ready(endpoints), std::future::ready(nats)]).await?;

    side_by_side(dropped.addresses.iter().map(|address| gateway::release(ec2, address))).await?;
    side_by_side(dropped.route_tables.iter().map(|table| route::delete(ec2, table))).await?;
    side_by_side(dropped.groups.iter().map(|group| group::delete(ec2, context, group))).await?;
    side_by_side(dropped.subnets.iter().map(|subnet| subnet::delete(ec2, context, subnet))).await?;
    side_by_side(dropped.internet_gateways.iter().map(|gateway| gateway::delete_internet(ec2, gateway)))
        .await?;
    side_by_side(dropped.vpcs.iter().map(|vpc| vpc::delete(ec2, vpc))).await?;
    Ok(())
}

fn named(dropped: &Found) -> Vec<Change> {
    fn of<T>(ours: &[Ours<T>]) -> impl Iterator<Item = Change> {
        ours.iter().map(|each| Change::delete(&each.address).with("id", &each.id))
    }
    of(&dropped.endpoints)
        .chain(of(&dropped.nat_gateways))
        .chain(of(&dropped.addresses))
        .chain(of(&dropped.route_tables))
        .chain(of(&dropped.groups))
        .chain(of(&dropped.subnets))
        .chain(of(&dropped.internet_gateways))
        .chain(of(&dropped.vpcs))
        .collect()
}

/// The answer to a call that names something just made: EC2 may not know it yet.
/// Source: <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
fn young<T, E, W>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    doing: impl FnOnce() -> W,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    W: fmt::Display,
{
    match &answer {
        Err(error) if error.code().is_some_and(|code| code.ends_with(".NotFound")) => {
            let message = error.message().unwrap_or("EC2 doesn't know it yet");
            Err(Error::soon(format!("{}: {message}", doing())))
        }
        _ => answer.doing(doing),
    }
}

/// The same; none if EC2 refused with this code.
fn young_unless<T, E, W>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    code: &str,
    doing: impl FnOnce() -> W,
) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    W: fmt::Display,
{
    match &answer {
        Err(error) if error.code() == Some(code) => Ok(None),
        _ => young(answer, doing).map(Some),
    }
}

/// What EC2 answers while something else holds what is to go.
const IN_USE: [&str; 2] = ["DependencyViolation", "InvalidIPAddress.InUse"];

fn time(time: Option<&DateTime>) -> Result<Timestamp> {
    let seconds = time.map(DateTime::secs).unwrap_or_default();
    Timestamp::from_second(seconds)
        .map_err(|error| Error::Failed(format!("reading a time of EC2's: {error}")))
}

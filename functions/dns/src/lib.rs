//! The step `dns`: private hosted zones, and records in private and public ones.
//!
//! A private zone is ours by its `CallerReference`. A record is ours by the TXT record `_plinth.<name>` that
//! is written beside it in the same batch and says of which environment it is: a name without one is
//! somebody else's, and is never overwritten. A public zone is only looked up.
//!
//! A machine asks twice: for what is known once balancers are made, and, when databases stand, for the records
//! that are named after them.

mod balancer;
mod proof;
mod record;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::Client as Ecs;
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use aws_sdk_route53::Client as Route53;
use record::{Names, Value};
use spec::{Part, Section, Text};
use step::{Answer, Change, Context, Error, Latency, Operation, PROTECT, Result, is_protected, side_by_side};
use zone::Zone;

/// The state that asks for the names of databases; the other asks for everything else.
const READY: &str = "DnsReady";

/// In the spec, the name of the zone itself.
const APEX: &str = "@";

/// What a protected zone can't be without, by address: a private zone answers in a VPC, always.
const NEEDS: [&str; 1] = ["network"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let route53 = Route53::new(&context.aws);
    let behind = Behind { elb: Elb::new(&context.aws), ecs: Ecs::new(&context.aws) };
    match context.operation {
        Operation::Plan => plan(&route53, &behind, &context).await,
        Operation::Ensure => ensure(&route53, &behind, &context).await,
        Operation::Prune => prune(&route53, &context).await,
    }
}

/// How what stands behind a record is looked at.
struct Behind {
    elb: Elb,
    ecs: Ecs,
}

/// What the spec asks for.
struct Wanted {
    address: String,
    zone: String,
    /// The VPC a private zone answers in; none for a public zone.
    vpc: Option<String>,
    records: Vec<record::Wanted>,
    tags: BTreeMap<String, String>,
}

async fn wanted(behind: &Behind, context: &Context) -> Result<Vec<Wanted>> {
    let balancers = balancer::find(&behind.elb, context).await?;
    let zones = context.spec.dns.iter();
    zones.map(|(name, zone)| wanted_one(context, &balancers, name, zone)).collect()
}

fn wanted_one(
    context: &Context,
    balancers: &BTreeMap<String, Value>,
    name: &str,
    zone: &spec::Zone,
) -> Result<Wanted> {
    let address = format!("dns.{name}");
    let name = plain(name);
    let vpc = if zone.private {
        Some(context.known(context.outputs.network.as_ref(), "network")?.vpc.clone())
    } else {
        None
    };
    let record = |(word, value): (&String, &Text)| {
        let address = format!("{address}.{word}");
        valid(&address, word)?;
        let balancer = balancer::named(value);
        let value = match balancer.and_then(|balancer| balancers.get(balancer)) {
            Some(alias) => alias.clone(),
            None if word == APEX => {
                return Err(Error::InvalidSpec(format!(
                    "{address}: the zone's own name can't be a CNAME: write a load balancer, such as \
                     ${{loadBalancers.x}}"
                )));
            }
            None => Value::Name(plain(&context.render(value)?)),
        };
        Ok(record::Wanted { address, name: whole(word, &name), value, balancer: balancer.map(str::to_owned) })
    };
    let asked = zone.records.iter().filter(|(_, value)| names_database(value) == (context.state == READY));
    let records = asked.map(record).collect::<Result<_>>()?;
    let mut tags = context.tags(&address);
    tags.entry("Name".to_owned()).or_insert_with(|| name.clone());
    tags.insert(PROTECT.to_owned(), zone.protect.to_string());
    Ok(Wanted { address, zone: name, vpc, records, tags })
}

/// Whether a record stands for a database, whose name is known late.
fn names_database(value: &Text) -> bool {
    let is = |part: &Part| matches!(part, Part::Reference(found) if found.section == Section::Databases);
    value.parts.iter().any(is)
}

/// Refuses what DNS takes as no name.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html>
fn valid(address: &str, word: &str) -> Result<()> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(letter);
    if proof::is_reserved(&plain(word)) {
        return Err(Error::InvalidSpec(format!("{address}: names that begin like this are Plinth's own")));
    }
    if word == APEX || word == "*" || word.strip_prefix("*.").unwrap_or(word).split('.').all(label) {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{address}: \"{word}\" is no name in DNS: write letters, digits and hyphens, such as www, *, or @ \
         for the zone itself"
    )))
}

/// A record's whole name.
fn whole(word: &str, zone: &str) -> String {
    if word == APEX { zone.to_owned() } else { format!("{}.{zone}", plain(word)) }
}

/// A name as the spec writes it: Route 53 answers it in small letters, with a dot at its end, and `*` as
/// its octal code.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase().replace("\\052", "*")
}

async fn ensure(route53: &Route53, behind: &Behind, context: &Context) -> Result<Answer> {
    if context.spec.dns.is_empty() {
        return Ok(Answer::default());
    }
    let mut wanted = wanted(behind, context).await?;
    wanted.retain(|wanted| context.state != READY || !wanted.records.is_empty());
    if wanted.is_empty() {
        return Ok(Answer::default());
    }
    let zones = zone::list(route53).await?;
    side_by_side(wanted.into_iter().map(|wanted| ensure_one(route53, behind, context, &zones, wanted)))
        .await?;
    Ok(Answer::default())
}

async fn ensure_one(
    route53: &Route53,
    behind: &Behind,
    context: &Context,
    zones: &[Zone],
    mut wanted: Wanted,
) -> Result<()> {
    let id = zone::ensure(route53, context, zones, &wanted).await?;
    let names = record::list(route53, &wanted.zone, &id).await?;
    // A balancer that takes another's place is led to once it does what that did.
    let moving = wanted.records.iter().filter(|record| record::moves(&names, record));
    let moving: BTreeSet<String> = moving.filter_map(|record| record.balancer.clone()).collect();
    let mut lacking = BTreeMap::new();
    for name in moving {
        lacking.extend(balancer::lacks(behind, context, &name).await?.map(|lack| (name, lack)));
    }
    let waits =
        |record: &record::Wanted| record.balancer.as_ref().is_some_and(|name| lacking.contains_key(name));
    wanted.records.retain(|record| !(waits(record) && record::moves(&names, record)));
    record::ensure(route53, context, (&wanted.zone, &id), &names, &wanted.records).await?;
    match lacking.values().next() {
        None => Ok(()),
        // A new database may come before the services that are awaited.
        Some(lack) => {
            let doing =
                format!("records of hosted zone {} lead to another balancer while {lack}", wanted.zone);
            Err(Latency::of("aurora").wait(&doing, context.since))
        }
    }
}

async fn plan(route53: &Route53, behind: &Behind, context: &Context) -> Result<Answer> {
    let wanted = wanted(behind, context).await?;
    let places = look(route53, context).await?;
    let first = context.state != READY;
    let mut changes = if first { delete_dropped(route53, context, &places).await? } else { Vec::new() };
    let zones = zones(&places);
    for wanted in &wanted {
        let found = zone::find(context, &zones, wanted)?;
        if first {
            changes.extend(zone::plan(route53, context, found, wanted).await?);
        }
        let same = |place: &&Place| found.is_some_and(|found| found.id == place.zone.id);
        let none = Names::new();
        let names = places.iter().find(same).map_or(&none, |place| &place.names);
        changes.extend(record::plan(context, names, &wanted.records)?);
    }
    Ok(Answer::changed(changes).keeping(NEEDS.map(str::to_owned)))
}

async fn prune(route53: &Route53, context: &Context) -> Result<Answer> {
    let places = look(route53, context).await?;
    Ok(Answer::changed(delete_dropped(route53, context, &places).await?).keeping(NEEDS.map(str::to_owned)))
}

/// A zone with its records.
struct Place {
    zone: Zone,
    names: Names,
}

fn zones(places: &[Place]) -> Vec<Zone> {
    places.iter().map(|place| place.zone.clone()).collect()
}

/// Every zone of the account, with the records of those in which some can be ours. One after the other:
/// Route 53 takes five calls a second from the whole account.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests>
async fn look(route53: &Route53, context: &Context) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for zone in zone::list(route53).await? {
        let names = if zone.may_hold_ours(context) {
            record::list(route53, &zone.name, &zone.id).await?
        } else {
            Names::new()
        };
        places.push(Place { zone, names });
    }
    Ok(places)
}

/// Deletes records and private zones of ours that the spec doesn't mention, but for protected zones; in a plan
/// only names them.
async fn delete_dropped(route53: &Route53, context: &Context, places: &[Place]) -> Result<Vec<Change>> {
    let zones = zones(places);
    let mut changes = Vec::new();
    for Place { zone, names } in places {
        let is_own = zone::own(context, &zones, &zone.name).is_some_and(|own| own.id == zone.id);
        let wanted = context.spec.dns.iter().find(|(name, wanted)| {
            plain(name) == zone.name && if zone.private { wanted.private && is_own } else { !wanted.private }
        });
        let words = wanted.into_iter().flat_map(|(_, wanted)| wanted.records.keys());
        let kept: BTreeSet<String> = words.map(|word| whole(word, &zone.name)).collect();
        let dropped = record::dropped(context, names, |name| kept.contains(name))?;
        for dropped in &dropped {
            changes.push(Change::delete(&dropped.address).with("name", &dropped.name));
        }
        let dropped_zone = zone.is_ours(context) && wanted.is_none();
        let stays = dropped_zone && is_protected(&zone::tags(route53, &zone.id, &zone.name).await?);
        let goes = dropped_zone && !stays;
        let address = format!("dns.{}", zone.name);
        changes.extend(goes.then(|| Change::delete(&address).with("id", &zone.id)));
        changes.extend(stays.then(|| Change::keep(&address).with("id", &zone.id)));
        if context.operation == Operation::Prune {
            record::delete(route53, context, (&zone.name, &zone.id), dropped).await?;
            if goes {
                zone::delete(route53, zone).await?;
            }
        }
    }
    Ok(changes)
}

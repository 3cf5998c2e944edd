//! Records, each with its proof beside it, written and deleted in the same batch.

use std::collections::BTreeMap;

use aws_sdk_route53::{
    Client,
    error::ProvideErrorMetadata,
    operation::change_resource_record_sets::ChangeResourceRecordSetsError as Refused,
    types::{
        AliasTarget, Change as Write, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord,
        ResourceRecordSet, RrType,
    },
};
use jiff::Timestamp;
use step::{Change, Context, Doing, Error, Field, Latency, Result, compare};

use crate::{plain, proof, proof::Proof};

/// How long resolvers keep a record, in seconds.
const TTL: i64 = 300;

/// The most that one batch takes: records, and characters of their values. Both count twice where a
/// record is replaced.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html#limits-api-requests-changeresourcerecordsets>
const BATCH: (usize, usize) = (1000, 32_000);

/// A zone's records, by name.
pub(crate) type Names = BTreeMap<String, Vec<ResourceRecordSet>>;

/// What a record stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A load balancer, known by the zone its name is in.
    Alias { host: String, zone: String },
    /// Another name.
    Name(String),
}

/// What the spec asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// The whole name.
    pub(crate) name: String,
    pub(crate) value: Value,
    /// The load balancer it stands for, by its name in the spec.
    pub(crate) balancer: Option<String>,
}

/// What a zone has at a wanted name.
#[derive(Debug, Default)]
struct Found<'a> {
    /// Those that say where the name leads.
    records: Vec<&'a ResourceRecordSet>,
    /// The others, such as MX.
    others: Vec<&'a ResourceRecordSet>,
    txt: Option<&'a ResourceRecordSet>,
    proof: Option<Proof>,
}

fn at<'a>(names: &'a Names, name: &str) -> Found<'a> {
    let here = names.get(name).map(Vec::as_slice).unwrap_or_default();
    let (records, others) = here.iter().partition(|set| leads(set));
    let beside = names.get(&proof::beside(name)).map(Vec::as_slice).unwrap_or_default();
    let txt = beside.iter().find(|set| set.r#type() == &RrType::Txt);
    Found { records, others, txt, proof: txt.and_then(read) }
}

fn leads(set: &ResourceRecordSet) -> bool {
    matches!(set.r#type(), RrType::A | RrType::Aaaa | RrType::Cname)
}

fn read(txt: &ResourceRecordSet) -> Option<Proof> {
    txt.resource_records().iter().find_map(|record| Proof::read(record.value()))
}

/// Every record of a zone.
pub(crate) async fn list(route53: &Client, zone: &str, id: &str) -> Result<Names> {
    let mut names = Names::new();
    let mut call = route53.list_resource_record_sets().hosted_zone_id(id);
    loop {
        let page = call.send().await.doing(|| format!("listing the records of hosted zone {zone}"))?;
        for set in page.resource_record_sets {
            names.entry(plain(set.name())).or_default().push(set);
        }
        if !page.is_truncated {
            return Ok(names);
        }
        call = route53
            .list_resource_record_sets()
            .hosted_zone_id(id)
            .set_start_record_name(page.next_record_name)
            .set_start_record_type(page.next_record_type)
            .set_start_record_identifier(page.next_record_identifier);
    }
}

/// Writes what differs, in one batch, and waits until Route 53's servers have it.
///
/// A later pass can't ask whether they do: it doesn't have the change's id. But the proofs say when they
/// were written, and a minute is what Route 53 says it takes. What an earlier run wrote isn't waited for.
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html>
pub(crate) async fn ensure(
    route53: &Client,
    context: &Context,
    (zone, id): (&str, &str),
    names: &Names,
    wanted: &[Wanted],
) -> Result<()> {
    let mut writes = Vec::new();
    let mut latest: Option<Timestamp> = None;
    for wanted in wanted {
        let found = at(names, &wanted.name);
        check(context, wanted, &found)?;
        if difference(context, &found, wanted).is_empty() {
            latest = latest.max(found.proof.and_then(|proof| proof.since));
        } else {
            writes.push(update(context, wanted, &found)?);
        }
    }
    let (batch, left) = batch(writes);
    if !batch.is_empty() {
        let status = send(route53, context, zone, id, batch).await?;
        latest = (status != ChangeStatus::Insync).then(Timestamp::now);
    }
    if left > 0 {
        return Err(Error::soon(format!("{left} records of hosted zone {zone} are left for the next pass")));
    }
    let latency = Latency::of("route53-change");
    match latest {
        Some(since) if since >= context.since && age(since) < latency.p95 => {
            Err(latency.wait(&format!("records of hosted zone {zone} are spreading"), since))
        }
        _ => Ok(()),
    }
}

fn age(since: Timestamp) -> i64 {
    (Timestamp::now() - since).get_seconds()
}

/// Whether a record of ours leads to another balancer than it should.
pub(crate) fn moves(names: &Names, wanted: &Wanted) -> bool {
    let Value::Alias { host, .. } = &wanted.value else { return false };
    let found = at(names, &wanted.name);
    let elsewhere =
        |set: &&ResourceRecordSet| set.alias_target().is_some_and(|target| plain(target.dns_name()) != *host);
    found.proof.is_some() && found.records.iter().any(elsewhere)
}

/// What would be done to the records.
pub(crate) fn plan(context: &Context, names: &Names, wanted: &[Wanted]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for wanted in wanted {
        let found = at(names, &wanted.name);
        check(context, wanted, &found)?;
        changes.extend(if found.records.is_empty() && found.proof.is_none() {
            Some(
                Change::create(&wanted.address)
                    .with("value", told(&wanted.sets()?.iter().collect::<Vec<_>>())),
            )
        } else {
            Change::update(&wanted.address, difference(context, &found, wanted))
        });
    }
    Ok(changes)
}

/// Refuses a name that somebody else uses.
fn check(context: &Context, wanted: &Wanted, found: &Found<'_>) -> Result<()> {
    let (name, address) = (&wanted.name, &wanted.address);
    let refuse = |whose: &str| {
        Err(Error::Conflict(format!(
            "{address}: the DNS name {name} {whose}: give ours another name, or have whoever owns it take it away"
        )))
    };
    let alias = matches!(wanted.value, Value::Alias { .. });
    match (&found.proof, found.txt) {
        (Some(proof), _) if proof.owner == context.owner() => {}
        (Some(proof), _) => {
            let owner = &proof.owner;
            return refuse(&format!(
                "belongs to environment {} of {}",
                owner.environment, owner.control_plane
            ));
        }
        (None, Some(_)) => {
            return refuse(&format!("has a TXT record {} that isn't ours", proof::beside(name)));
        }
        (None, None) if !found.records.is_empty() => {
            let told = told(&found.records);
            return refuse(&format!(
                "exists ({told}), and no TXT record {} says that it is ours",
                proof::beside(name)
            ));
        }
        (None, None) => {}
    }
    // Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat>
    if let Some(other) = found.others.first().filter(|_| !alias) {
        return refuse(&format!(
            "has a record {}, beside which there can be no CNAME",
            other.r#type().as_str()
        ));
    }
    Ok(())
}

impl Wanted {
    /// The records as Route 53 takes them: two for a load balancer, which may answer to either kind of
    /// address.
    fn sets(&self) -> Result<Vec<ResourceRecordSet>> {
        let set = |kind: RrType| ResourceRecordSet::builder().name(&self.name).r#type(kind);
        match &self.value {
            Value::Alias { host, zone } => {
                let target = AliasTarget::builder().hosted_zone_id(zone).dns_name(host);
                let target = target.evaluate_target_health(false).build().map_err(broken)?;
                let alias = |kind: RrType| set(kind).alias_target(target.clone()).build().map_err(broken);
                Ok(vec![alias(RrType::A)?, alias(RrType::Aaaa)?])
            }
            Value::Name(name) => {
                let value = ResourceRecord::builder().value(name).build().map_err(broken)?;
                Ok(vec![set(RrType::Cname).ttl(TTL).resource_records(value).build().map_err(broken)?])
            }
        }
    }
}

/// A record in a few words, to compare and to show.
fn told_one(set: &ResourceRecordSet) -> String {
    let value = if let Some(target) = set.alias_target() {
        format!("alias {} in {}", plain(target.dns_name()), target.hosted_zone_id())
    } else {
        let values: Vec<_> = set.resource_records().iter().map(|each| plain(each.value())).collect();
        values.join(", ")
    };
    let identifier = set.set_identifier().map(|identifier| format!(" [{identifier}]")).unwrap_or_default();
    format!("{} {value}{identifier}", set.r#type().as_str())
}

fn told(sets: &[&ResourceRecordSet]) -> String {
    if sets.is_empty() {
        return "nothing".to_owned();
    }
    let mut told: Vec<String> = sets.iter().map(|set| told_one(set)).collect();
    told.sort();
    told.join("; ")
}

/// A record's time to live; an alias has that of what it stands for.
fn ttl(sets: &[&ResourceRecordSet]) -> Option<i64> {
    sets.iter().find_map(|set| set.ttl())
}

fn evaluates(set: &ResourceRecordSet) -> bool {
    set.alias_target().is_some_and(AliasTarget::evaluate_target_health)
}

fn difference(context: &Context, found: &Found<'_>, wanted: &Wanted) -> Vec<Field> {
    // What can't even be built is told when it is written.
    let sets = wanted.sets().unwrap_or_default();
    let sets: Vec<&ResourceRecordSet> = sets.iter().collect();
    let (now, then) = (told(&found.records), told(&sets));
    let ttls = (now == then).then(|| (ttl(&found.records), ttl(&sets)));
    let ttl = match ttls {
        Some((Some(now), Some(then))) => compare("ttl", now, then),
        _ => None,
    };
    let health = found.records.iter().any(|set| evaluates(set));
    let says = found.proof.as_ref().map(Proof::says).unwrap_or_default();
    [
        compare("value", now, then),
        ttl,
        compare("evaluateTargetHealth", health, false),
        compare("proof", says, Proof::now(context, &wanted.address).says()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The writes that put a name right. What isn't proved ours is only ever created.
fn update(context: &Context, wanted: &Wanted, found: &Found<'_>) -> Result<Vec<Write>> {
    let put = if found.proof.is_some() { ChangeAction::Upsert } else { ChangeAction::Create };
    let sets = wanted.sets()?;
    let mut writes = Vec::new();
    for extra in &found.records {
        let replaced =
            |set: &ResourceRecordSet| set.r#type() == extra.r#type() && extra.set_identifier().is_none();
        if !sets.iter().any(replaced) {
            writes.push(write(ChangeAction::Delete, (*extra).clone())?);
        }
    }
    let same = |set: &ResourceRecordSet| {
        let same = |found: &&&ResourceRecordSet| {
            told_one(found) == told_one(set) && found.ttl() == set.ttl() && evaluates(found) == evaluates(set)
        };
        found.records.iter().any(|found| same(&found))
    };
    for set in sets.iter().filter(|set| !same(set)) {
        writes.push(write(put.clone(), set.clone())?);
    }
    let value = Proof::now(context, &wanted.address).write();
    let value = ResourceRecord::builder().value(value).build().map_err(broken)?;
    let txt = ResourceRecordSet::builder().name(proof::beside(&wanted.name)).r#type(RrType::Txt).ttl(TTL);
    writes.push(write(put, txt.resource_records(value).build().map_err(broken)?)?);
    Ok(writes)
}

fn write(action: ChangeAction, set: ResourceRecordSet) -> Result<Write> {
    Write::builder().action(action).resource_record_set(set).build().map_err(broken)
}

/// As many of the names' writes as one batch takes, and how many names are left.
fn batch(names: Vec<Vec<Write>>) -> (Vec<Write>, usize) {
    let (mut batch, mut size, mut left) = (Vec::new(), (0, 0), 0);
    for writes in names {
        let more = writes
            .iter()
            .map(weight)
            .fold(size, |(count, length), (records, characters)| (count + records, length + characters));
        if left > 0 || more.0 > BATCH.0 || more.1 > BATCH.1 {
            left += 1;
        } else {
            size = more;
            batch.extend(writes);
        }
    }
    (batch, left)
}

fn weight(write: &Write) -> (usize, usize) {
    let times = if write.action() == &ChangeAction::Upsert { 2 } else { 1 };
    let values = write.resource_record_set().map(ResourceRecordSet::resource_records).unwrap_or_default();
    let characters: usize = values.iter().map(|record| record.value().len()).sum();
    (times * values.len().max(1), times * characters)
}

async fn send(
    route53: &Client,
    context: &Context,
    zone: &str,
    id: &str,
    writes: Vec<Write>,
) -> Result<ChangeStatus> {
    let doing = || format!("changing {} records of hosted zone {zone}", writes.len());
    let batch = ChangeBatch::builder().set_changes(Some(writes.clone())).build().map_err(broken)?;
    let sent = route53.change_resource_record_sets().hosted_zone_id(id).change_batch(batch).send().await;
    if let Err(error) = &sent
        && error.code() == Some("InvalidChangeBatch")
    {
        let told = refusals(error.as_service_error(), error.message());
        // An answer was lost, or somebody wrote at the same time: the next pass sees how it came out.
        if OVERTAKEN.iter().any(|words| told.contains(words)) {
            let doing = format!("hosted zone {zone} changed while it was written to ({told})");
            return Err(Latency::of("route53-change").wait(&doing, context.since));
        }
        return Err(Error::Failed(format!("{}: InvalidChangeBatch: {told}", doing())));
    }
    let info = sent.doing(doing)?.change_info;
    Ok(info.map_or(ChangeStatus::Pending, |info| info.status))
}

/// How Route 53 says that a record isn't as it was listed.
const OVERTAKEN: [&str; 3] =
    ["but it already exists", "but it was not found", "do not match the current values"];

/// Why a batch was refused: a list where Route 53 sends one.
fn refusals(error: Option<&Refused>, message: Option<&str>) -> String {
    match error {
        Some(Refused::InvalidChangeBatch(refused)) if !refused.messages().is_empty() => {
            refused.messages().join("; ")
        }
        _ => message.unwrap_or("no message").to_owned(),
    }
}

/// A name of ours that the spec doesn't mention.
pub(crate) struct Dropped {
    pub(crate) address: String,
    pub(crate) name: String,
    writes: Vec<Write>,
}

/// Our names in a zone, but those that `kept` says stay.
pub(crate) fn dropped(context: &Context, names: &Names, kept: impl Fn(&str) -> bool) -> Result<Vec<Dropped>> {
    let mut dropped = Vec::new();
    for name in names.keys().filter_map(|name| proof::of(name)).filter(|name| !kept(name)) {
        let found = at(names, &name);
        let (Some(txt), Some(proof)) = (found.txt, found.proof) else { continue };
        if proof.owner != context.owner() {
            continue;
        }
        // Route 53 deletes what is named exactly as it is.
        let sets = found.records.into_iter().chain([txt]).cloned();
        let writes = sets.map(|set| write(ChangeAction::Delete, set)).collect::<Result<_>>()?;
        dropped.push(Dropped { address: proof.address, name, writes });
    }
    Ok(dropped)
}

/// Deletes names of ours.
pub(crate) async fn delete(
    route53: &Client,
    context: &Context,
    (zone, id): (&str, &str),
    dropped: Vec<Dropped>,
) -> Result<()> {
    let (batch, left) = batch(dropped.into_iter().map(|dropped| dropped.writes).collect());
    if !batch.is_empty() {
        send(route53, context, zone, id, batch).await?;
    }
    if left > 0 {
        return Err(Error::soon(format!("{left} records of hosted zone {zone} are left for the next pass")));
    }
    Ok(())
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("writing a DNS record: {error}"))
}

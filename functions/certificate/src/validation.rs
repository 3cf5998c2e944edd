//! The DNS records that prove a domain to ACM.
//!
//! ACM derives a record from account and domain, so that all certificates of a domain share it, in every
//! region. Ours is the record of a certificate of ours whose tags say in which zone we wrote it.
//! Source: <https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html>

use std::collections::BTreeMap;

use aws_sdk_acm::types::{CertificateDetail, DomainStatus};
use aws_sdk_route53::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        Change, ChangeAction, ChangeBatch, HostedZone, HostedZoneConfig, ResourceRecord, ResourceRecordSet,
        RrType,
    },
};
use step::{Doing, Error, RecordOutput, Result};

/// How long resolvers keep a validation record, in seconds.
const TTL: i64 = 300;

/// The record that proves one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The domain, without `*.`.
    pub(crate) domain: String,
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether ACM still looks for it.
    pub(crate) pending: bool,
}

impl Record {
    /// As one who creates it by hand reads it.
    pub(crate) fn told(&self) -> String {
        format!("CNAME {} -> {}", self.name, self.value)
    }

    pub(crate) fn output(&self) -> RecordOutput {
        RecordOutput { name: self.name.clone(), kind: "CNAME".to_owned(), value: self.value.clone() }
    }
}

/// A certificate's records, each once: `x` and `*.x` share theirs. None until ACM has thought of them,
/// seconds after the certificate was asked for.
pub(crate) fn records(certificate: &CertificateDetail) -> Vec<Record> {
    let mut records: BTreeMap<&str, Record> = BTreeMap::new();
    for option in certificate.domain_validation_options() {
        let Some(record) = option.resource_record() else { continue };
        let pending = option.validation_status() != Some(&DomainStatus::Success);
        let entry = records.entry(record.name()).or_insert_with(|| Record {
            domain: base(option.domain_name()).to_owned(),
            name: record.name().to_owned(),
            value: record.value().to_owned(),
            pending,
        });
        entry.pending |= pending;
    }
    records.into_values().collect()
}

/// The domain that is validated for a name.
pub(crate) fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// The id of the account's public zone of this name, if there is one.
pub(crate) async fn zone(route53: &Client, name: &str) -> Result<Option<String>> {
    let listed = route53.list_hosted_zones_by_name().dns_name(name).send().await;
    let listed = listed.doing(|| format!("looking for the hosted zone {name}"))?;
    let public = |zone: &&HostedZone| {
        plain(zone.name()) == name && !zone.config().is_some_and(HostedZoneConfig::private_zone)
    };
    let ids: Vec<_> = listed.hosted_zones().iter().filter(public).map(|zone| id(zone.id())).collect();
    if ids.len() > 1 {
        return Err(Error::Conflict(format!(
            "this account has {} public hosted zones {name} ({}), and only one of them can be the one the \
             domain is delegated to: delete the others",
            ids.len(),
            ids.join(", "),
        )));
    }
    Ok(ids.into_iter().next())
}

/// The same for a zone that the spec names.
pub(crate) async fn zone_of(route53: &Client, address: &str, name: &str) -> Result<String> {
    zone(route53, name).await?.ok_or_else(|| {
        Error::InvalidSpec(format!(
            "{address}.zone: this account has no public hosted zone {name}: create it in Route 53 and \
             delegate the domain to it, or leave `zone` out and create the validation records where the \
             domain's DNS is"
        ))
    })
}

/// Those of the records that aren't in the zone as they should be.
pub(crate) async fn missing(route53: &Client, zone: &str, records: &[Record]) -> Result<Vec<Record>> {
    let mut missing = Vec::new();
    for record in records {
        let found = find(route53, zone, record).await?;
        if found.is_none_or(|found| value(&found) != plain(&record.value)) {
            missing.push(record.clone());
        }
    }
    Ok(missing)
}

/// Writes those that are missing. A record of such a name can only be that of our domain's certificates.
pub(crate) async fn write(route53: &Client, zone: &str, records: &[Record]) -> Result<()> {
    let missing = missing(route53, zone, records).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let upsert = |record: &Record| change(ChangeAction::Upsert, wanted(record)?);
    let changes = missing.iter().map(upsert).collect::<Result<_>>()?;
    send(route53, zone, changes, "writing").await
}

/// Deletes those of the records that are in the zone.
pub(crate) async fn delete(route53: &Client, zone: &str, records: &[Record]) -> Result<()> {
    let mut changes = Vec::new();
    for record in records {
        let found = find(route53, zone, record).await?;
        if let Some(found) = found.filter(|found| value(found) == plain(&record.value)) {
            changes.push(change(ChangeAction::Delete, found)?);
        }
    }
    if changes.is_empty() { Ok(()) } else { send(route53, zone, changes, "deleting").await }
}

async fn find(route53: &Client, zone: &str, record: &Record) -> Result<Option<ResourceRecordSet>> {
    let listed = route53
        .list_resource_record_sets()
        .hosted_zone_id(zone)
        .start_record_name(&record.name)
        .start_record_type(RrType::Cname)
        .max_items(1)
        .send()
        .await
        .unless_absent(&["NoSuchHostedZone"], || format!("looking for the DNS record {}", record.name))?;
    let sets = listed.map(|listed| listed.resource_record_sets).unwrap_or_default();
    let same =
        |set: &ResourceRecordSet| set.r#type() == &RrType::Cname && plain(set.name()) == plain(&record.name);
    Ok(sets.into_iter().find(same))
}

fn value(set: &ResourceRecordSet) -> String {
    set.resource_records().first().map(|record| plain(record.value())).unwrap_or_default()
}

fn wanted(record: &Record) -> Result<ResourceRecordSet> {
    let value = ResourceRecord::builder().value(&record.value).build().map_err(broken)?;
    let set = ResourceRecordSet::builder().name(&record.name).r#type(RrType::Cname).ttl(TTL);
    set.resource_records(value).build().map_err(broken)
}

fn change(action: ChangeAction, set: ResourceRecordSet) -> Result<Change> {
    Change::builder().action(action).resource_record_set(set).build().map_err(broken)
}

async fn send(route53: &Client, zone: &str, changes: Vec<Change>, verb: &str) -> Result<()> {
    let sets = changes.iter().filter_map(Change::resource_record_set);
    let names: Vec<String> = sets.map(|set| plain(set.name())).collect();
    let doing = || format!("{verb} validation records in hosted zone {zone} ({})", names.join(", "));
    let batch = ChangeBatch::builder().set_changes(Some(changes)).build().map_err(broken)?;
    let sent = route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send().await;
    // Two certificates that share a record wrote or deleted it at the same time: the next pass sees how
    // it came out.
    let overtaken =
        |message: &str| ["but it was not found", "do not match"].iter().any(|w| message.contains(w));
    if let Err(error) = &sent
        && error.code() == Some("InvalidChangeBatch")
        && overtaken(&format!("{:?}", error.as_service_error()))
    {
        return Err(Error::soon(format!("{}: they changed meanwhile", doing())));
    }
    sent.doing(doing)?;
    Ok(())
}

/// A name as the spec writes it: Route 53 and ACM end theirs with a dot.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

fn id(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("writing a DNS record: {error}"))
}

//! The step `certificate`: ACM certificates and the records that validate them.
//!
//! Ours is a certificate that carries the owner's tags; it has them, and a token against doubles, from
//! `RequestCertificate` on. It can't be changed: for other names another is asked for, and the one before
//! goes when the run's end has come. Its validation records are owned through it, in the zone that a tag
//! of it names.
//!
//! A machine asks twice. The first time nothing is waited for: certificates are asked for, and whatever
//! doesn't need them goes on. Asked again with its own output in hand, the step waits until they are
//! issued: that is when a listener is about to use them.

#[cfg(test)]
mod tests;
mod validation;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
};

use aws_sdk_acm::{
    Client as Acm,
    error::ProvideErrorMetadata,
    primitives::DateTime,
    types::{
        CertificateDetail, CertificateStatus, CertificateSummary, CertificateType, FailureReason, Filters,
        KeyAlgorithm, Tag, ValidationMethod,
    },
};
use aws_sdk_route53::Client as Route53;
use jiff::Timestamp;
use step::{
    Answer, CertificateOutput, Change, Context, Doing, Error, Field, Latency, Operation, Pace, Result,
    UNKNOWN, missing_tags, side_by_side,
};
use validation::Record;

/// The tag that names the zone our validation records are in: when the certificate goes, the spec no
/// longer says it.
const ZONE: &str = "plinth:zone";

/// Where `CloudFront` has its certificates, which are as good a reason to keep a validation record.
const GLOBAL: &str = "us-east-1";

/// For how long a certificate that is dropped may still be in use, in seconds.
const RELEASE: i64 = 600;

/// What ACM answers for a certificate that isn't there.
const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// How the step calls AWS.
struct Aws {
    acm: Acm,
    /// ACM where `CloudFront` has its certificates; none if that is the run's own region.
    global: Option<Acm>,
    route53: Route53,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let elsewhere = context.run.region != GLOBAL && context.partition() == "aws";
    let global =
        elsewhere.then(|| Acm::new(&step::in_region(&context.aws, GLOBAL, &context.run.environment)));
    let aws = Aws { acm: Acm::new(&context.aws), global, route53: Route53::new(&context.aws) };
    match context.operation {
        Operation::Plan => plan(&aws, &context).await,
        Operation::Ensure => ensure(&aws, &context).await,
        Operation::Prune => prune(&aws, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    domain: String,
    /// All names, the domain among them.
    names: BTreeSet<String>,
    zone: Option<String>,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    let wanted = |(key, certificate): (&String, &spec::Certificate)| {
        let address = format!("certificates.{key}");
        let mut tags = context.tags(&address);
        if let Some(zone) = &certificate.zone {
            tags.insert(ZONE.to_owned(), zone.clone());
        }
        let domain = certificate.domain.to_lowercase();
        let names = certificate.names.iter().map(|name| name.to_lowercase());
        let names: BTreeSet<String> = names.chain([domain.clone()]).collect();
        if let Some(zone) = &certificate.zone {
            inside(&address, &names, zone)?;
        }
        Ok(Wanted { key: key.clone(), zone: certificate.zone.clone(), address, domain, names, tags })
    };
    context.spec.certificates.iter().map(wanted).collect()
}

/// A zone takes only records whose names end as its own.
fn inside(address: &str, names: &BTreeSet<String>, zone: &str) -> Result<()> {
    let outside = |name: &&String| {
        let base = validation::base(name);
        base != zone && !base.ends_with(&format!(".{zone}"))
    };
    match names.iter().find(outside) {
        None => Ok(()),
        Some(name) => Err(Error::InvalidSpec(format!(
            "{address}.zone: {name} can't be validated in the zone {zone}: write the zone that {name} is in, \
             or a certificate of its own for it"
        ))),
    }
}

/// A certificate with its tags.
#[derive(Debug, Clone)]
struct Found {
    aws: CertificateSummary,
    tags: BTreeMap<String, String>,
}

impl Found {
    fn arn(&self) -> &str {
        self.aws.certificate_arn().unwrap_or_default()
    }
}

async fn ensure(aws: &Aws, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    if wanted.is_empty() {
        return Ok(Answer::default());
    }
    let outputs = if context.outputs.certificates.is_empty() {
        let listed = list(&aws.acm).await?;
        side_by_side(wanted.iter().map(|wanted| ask(aws, context, wanted, &listed))).await?
    } else {
        side_by_side(wanted.iter().map(|wanted| issued(aws, context, wanted))).await?
    };
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

/// Asks for a certificate if there is none that can be used, and waits for nothing.
async fn ask(
    aws: &Aws,
    context: &Context,
    wanted: &Wanted,
    listed: &[CertificateSummary],
) -> Result<(String, CertificateOutput)> {
    let found = find(&aws.acm, context, wanted, listed).await?;
    let kept = choose(&found);
    let arn = match kept {
        Some(kept) => kept.arn().to_owned(),
        None => request(&aws.acm, context, wanted, &found).await?,
    };
    let detail = describe(&aws.acm, &arn).await?;
    let records = detail.as_ref().map(validation::records).unwrap_or_default();
    if let Some(zone) = &wanted.zone {
        let zone = validation::zone_of(&aws.route53, &wanted.address, zone).await?;
        validation::write(&aws.route53, &zone, &records).await?;
    }
    if let Some(kept) = kept {
        update(aws, kept, wanted, &records).await?;
    }
    // Its records, if any, are the new one's too.
    for failed in found.iter().filter(|found| failed(&found.aws) && !found.aws.in_use().unwrap_or_default()) {
        let deleted = aws.acm.delete_certificate().certificate_arn(failed.arn()).send().await;
        deleted.unless_absent(&ABSENT, || format!("deleting ACM certificate ({})", failed.arn()))?;
    }
    Ok((wanted.key.clone(), output(wanted, arn, &records)))
}

/// Waits until a certificate that was asked for is issued.
async fn issued(aws: &Aws, context: &Context, wanted: &Wanted) -> Result<(String, CertificateOutput)> {
    let asked = context.outputs.certificates.get(&wanted.key);
    let arn = &context.known(asked, &wanted.address)?.arn;
    // ACM takes some seconds to know a new one.
    let Some(detail) = describe(&aws.acm, arn).await? else {
        let doing = format!("ACM doesn't know the certificate for {} ({arn})", wanted.domain);
        return Err(Latency::of("certificate").wait(&doing, context.since));
    };
    let records = validation::records(&detail);
    if let Some(zone) = &wanted.zone {
        let zone = validation::zone_of(&aws.route53, &wanted.address, zone).await?;
        validation::write(&aws.route53, &zone, &records).await?;
    }
    match detail.status() {
        Some(CertificateStatus::Issued) => Ok((wanted.key.clone(), output(wanted, arn.clone(), &records))),
        Some(CertificateStatus::PendingValidation) => Err(pending(context, wanted, &detail, &records)),
        _ => Err(refused(wanted, &detail, &records)),
    }
}

/// The wait for a certificate: for AWS where the records are ours to write; else for whoever has the DNS,
/// for as long as ACM looks.
fn pending(context: &Context, wanted: &Wanted, detail: &CertificateDetail, records: &[Record]) -> Error {
    let domain = &wanted.domain;
    if let Some(zone) = &wanted.zone {
        let asked = detail.created_at().map(DateTime::secs).and_then(|at| Timestamp::from_second(at).ok());
        // One that was asked for by an earlier run has its time from when its records were looked at.
        let since = asked.map_or(context.since, |asked| asked.max(context.since));
        let doing =
            format!("ACM certificate for {domain} waits for its records in the zone {zone} to be seen");
        return Latency::of("certificate").wait(&doing, since);
    }
    if records.is_empty() {
        return Error::soon(format!("ACM has yet to say what validates the certificate for {domain}"));
    }
    let missing: Vec<String> = records.iter().filter(|record| record.pending).map(Record::told).collect();
    if missing.is_empty() {
        return Error::soon(format!("ACM certificate for {domain} is about to be issued"));
    }
    Error::asking(
        Pace::Long,
        format!("certificate for {domain} waits for DNS: create {}", missing.join(", ")),
    )
}

/// Why ACM didn't issue a certificate, and what helps. The next run asks for another.
/// Source: <https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-failed.html>
fn refused(wanted: &Wanted, detail: &CertificateDetail, records: &[Record]) -> Error {
    let status = detail.status().map_or("of no status", CertificateStatus::as_str);
    let remedy = match detail.failure_reason() {
        Some(FailureReason::CaaError) => {
            "have the CAA record of its domain allow amazon.com, or delete it".to_owned()
        }
        Some(FailureReason::DomainNotAllowed | FailureReason::AdditionalVerificationRequired) => {
            "AWS issues none for this domain unasked; open a case with AWS Support".to_owned()
        }
        Some(FailureReason::InvalidPublicDomain) => {
            "no public domain ends like that; write one that does".to_owned()
        }
        _ if records.is_empty() => "look at it in the ACM console".to_owned(),
        _ => {
            let records: Vec<String> = records.iter().map(Record::told).collect();
            format!("see that public DNS answers {}", records.join(", "))
        }
    };
    let reason = detail.failure_reason().map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    Error::Failed(format!(
        "ACM certificate for {} is {status}{reason}: {remedy}; then start the run again, which asks for \
         another",
        wanted.domain
    ))
}

async fn plan(aws: &Aws, context: &Context) -> Result<Answer> {
    // Asked a second time it has nothing to add.
    if !context.outputs.certificates.is_empty() {
        return Ok(Answer::default());
    }
    let mut changes = delete_dropped(aws, context).await?;
    let wanted = wanted(context)?;
    if wanted.is_empty() {
        return Ok(Answer::changed(changes));
    }
    let listed = list(&aws.acm).await?;
    let planned = side_by_side(wanted.iter().map(|wanted| plan_one(aws, context, wanted, &listed))).await?;
    let mut outputs = BTreeMap::new();
    for (wanted, (change, output)) in wanted.iter().zip(planned) {
        changes.extend(change);
        outputs.insert(wanted.key.clone(), output);
    }
    Answer::new(outputs, changes)
}

async fn plan_one(
    aws: &Aws,
    context: &Context,
    wanted: &Wanted,
    listed: &[CertificateSummary],
) -> Result<(Option<Change>, CertificateOutput)> {
    let zone = match &wanted.zone {
        Some(zone) => Some(validation::zone_of(&aws.route53, &wanted.address, zone).await?),
        None => None,
    };
    let found = find(&aws.acm, context, wanted, listed).await?;
    let Some(kept) = choose(&found) else {
        let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
        let create = Change::create(&wanted.address).with("names", names.join(", "));
        return Ok((Some(create), output(wanted, UNKNOWN.to_owned(), &[])));
    };
    let detail = describe(&aws.acm, kept.arn()).await?;
    let records = detail.as_ref().map(validation::records).unwrap_or_default();
    let missing = match &zone {
        Some(zone) => validation::missing(&aws.route53, zone, &records).await?,
        None => Vec::new(),
    };
    let change = Change::update(&wanted.address, difference(kept, wanted, &missing));
    Ok((change, output(wanted, kept.arn().to_owned(), &records)))
}

async fn prune(aws: &Aws, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(aws, context).await?))
}

/// Deletes our certificates that aren't what the spec asks for; in a plan only names them.
async fn delete_dropped(aws: &Aws, context: &Context) -> Result<Vec<Change>> {
    let mut standing = list(&aws.acm).await?;
    let ours = tagged(&aws.acm, context, standing.iter()).await?;
    let mut kept = BTreeSet::new();
    for wanted in wanted(context)? {
        let same: Vec<Found> =
            ours.iter().filter(|found| matches(context, found, &wanted)).cloned().collect();
        kept.extend(choose(&same).map(|kept| kept.arn().to_owned()));
    }
    let dropped: Vec<&Found> = ours.iter().filter(|found| !kept.contains(found.arn())).collect();
    if context.operation == Operation::Prune {
        if let Some(global) = aws.global.as_ref().filter(|_| !dropped.is_empty()) {
            standing.extend(list(global).await?);
        }
        let mut results = Vec::new();
        // One after the other: the last of a domain takes the record with it.
        for found in &dropped {
            let deleted = delete(aws, context, found, &standing).await;
            if deleted.is_ok() {
                standing.retain(|other| other.certificate_arn() != Some(found.arn()));
            }
            results.push(deleted);
        }
        side_by_side(results.into_iter().map(ready)).await?;
    }
    let owner = context.owner();
    let named = |found: &&Found| {
        let address = owner.address(&found.tags).unwrap_or_default();
        Change::delete(address).with("arn", found.arn())
    };
    Ok(dropped.iter().map(named).collect())
}

/// Every certificate in the region. Unasked, ACM leaves out those with longer or other keys.
/// Source: <https://docs.aws.amazon.com/acm/latest/APIReference/API_Filters.html>
async fn list(acm: &Acm) -> Result<Vec<CertificateSummary>> {
    let every = Filters::builder().set_key_types(Some(vec![
        KeyAlgorithm::Rsa1024,
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::Rsa3072,
        KeyAlgorithm::Rsa4096,
        KeyAlgorithm::EcPrime256v1,
        KeyAlgorithm::EcSecp384r1,
        KeyAlgorithm::EcSecp521r1,
    ]));
    let pages = acm.list_certificates().includes(every.build()).into_paginator().items().send();
    let certificates: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut certificates = certificates.doing(|| "listing ACM certificates")?;
    // Others were brought along, or come of a private authority.
    certificates.retain(|certificate| certificate.r#type() == Some(&CertificateType::AmazonIssued));
    Ok(certificates)
}

/// Those of the certificates that carry our tags.
async fn tagged(
    acm: &Acm,
    context: &Context,
    certificates: impl Iterator<Item = &CertificateSummary>,
) -> Result<Vec<Found>> {
    let look = async |certificate: &CertificateSummary| {
        let arn = certificate.certificate_arn().unwrap_or_default();
        let tags = acm.list_tags_for_certificate().certificate_arn(arn).send().await;
        let tags = tags.unless_absent(&ABSENT, || format!("reading the tags of ACM certificate ({arn})"))?;
        let tags = tags.and_then(|answer| answer.tags).unwrap_or_default().into_iter();
        let tags = tags.map(|tag| (tag.key, tag.value.unwrap_or_default())).collect();
        Ok(Found { aws: certificate.clone(), tags })
    };
    let mut found = side_by_side(certificates.map(look)).await?;
    found.retain(|found| context.owner().address(&found.tags).is_some());
    Ok(found)
}

/// Our certificates at this address for these very names, usable or not.
async fn find(
    acm: &Acm,
    context: &Context,
    wanted: &Wanted,
    listed: &[CertificateSummary],
) -> Result<Vec<Found>> {
    let mut found = tagged(acm, context, listed.iter().filter(|each| names(each) == wanted.names)).await?;
    found.retain(|found| matches(context, found, wanted));
    Ok(found)
}

fn matches(context: &Context, found: &Found, wanted: &Wanted) -> bool {
    context.owner().address(&found.tags) == Some(&wanted.address) && names(&found.aws) == wanted.names
}

fn names(certificate: &CertificateSummary) -> BTreeSet<String> {
    let further = certificate.subject_alternative_name_summaries().iter().map(String::as_str);
    certificate.domain_name().into_iter().chain(further).map(str::to_lowercase).collect()
}

/// Of several the one to keep: issued before pending, in use before not, newest first.
fn choose(found: &[Found]) -> Option<&Found> {
    let usable = found.iter().filter(|found| {
        matches!(found.aws.status(), Some(CertificateStatus::Issued | CertificateStatus::PendingValidation))
    });
    usable.max_by_key(|found| {
        let issued = found.aws.status() == Some(&CertificateStatus::Issued);
        let created = found.aws.created_at().map(DateTime::secs);
        (issued, found.aws.in_use().unwrap_or_default(), created, found.arn().to_owned())
    })
}

fn failed(certificate: &CertificateSummary) -> bool {
    matches!(certificate.status(), Some(CertificateStatus::Failed | CertificateStatus::ValidationTimedOut))
}

async fn describe(acm: &Acm, arn: &str) -> Result<Option<CertificateDetail>> {
    let described = acm.describe_certificate().certificate_arn(arn).send().await;
    let described = described.unless_absent(&ABSENT, || format!("describing ACM certificate ({arn})"))?;
    Ok(described.and_then(|answer| answer.certificate))
}

fn difference(found: &Found, wanted: &Wanted, missing: &[Record]) -> Vec<Field> {
    let missing =
        missing.iter().map(|record| Field { name: "records".to_owned(), found: None, wanted: record.told() });
    missing.chain(missing_tags(&found.tags, &wanted.tags)).collect()
}

/// The same token answers the certificate that was asked for within the hour. What failed before makes it
/// another.
/// Source: <https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html>
async fn request(acm: &Acm, context: &Context, wanted: &Wanted, failed: &[Found]) -> Result<String> {
    let domain = &wanted.domain;
    let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
    let before: BTreeSet<&str> = failed.iter().map(Found::arn).collect();
    let token = format!("{} {} {names:?} {before:?}", context.run.id, wanted.address);
    let further: Vec<String> = wanted.names.iter().filter(|name| *name != domain).cloned().collect();
    let requested = acm
        .request_certificate()
        .domain_name(domain)
        .set_subject_alternative_names((!further.is_empty()).then_some(further))
        .validation_method(ValidationMethod::Dns)
        .idempotency_token(step::digits(&token, 32))
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await;
    let doing = || format!("requesting an ACM certificate for {domain}");
    // Elsewhere this code asks to slow down; here it is a quota that doesn't refill.
    if let Err(error) = &requested
        && error.code() == Some("LimitExceededException")
    {
        return Err(Error::Failed(format!(
            "{}: {}: delete certificates that nobody uses, or ask for a higher quota of ACM's in \
             Service Quotas",
            doing(),
            error.message().unwrap_or("LimitExceededException"),
        )));
    }
    requested
        .doing(doing)?
        .certificate_arn
        .ok_or_else(|| Error::Failed(format!("{}: no ARN answered", doing())))
}

/// Puts the tags right; where another zone now holds the records, those in the one before go.
async fn update(aws: &Aws, found: &Found, wanted: &Wanted, records: &[Record]) -> Result<()> {
    if missing_tags(&found.tags, &wanted.tags).is_empty() {
        return Ok(());
    }
    let before = found.tags.get(ZONE).filter(|_| wanted.zone.is_some());
    if let Some(before) = before.filter(|before| Some(*before) != wanted.zone.as_ref())
        && let Some(zone) = validation::zone(&aws.route53, before).await?
    {
        validation::delete(&aws.route53, &zone, records).await?;
    }
    let add = aws.acm.add_tags_to_certificate().certificate_arn(found.arn());
    let added = add.set_tags(Some(tag_list(&wanted.tags)?)).send().await;
    added.doing(|| format!("tagging ACM certificate ({})", found.arn()))?;
    Ok(())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Deletes a certificate, and first those of its records that no other certificate stands on. One that is
/// in use keeps them: it is renewed by them.
async fn delete(aws: &Aws, context: &Context, found: &Found, standing: &[CertificateSummary]) -> Result<()> {
    let Some(detail) = describe(&aws.acm, found.arn()).await? else { return Ok(()) };
    if !detail.in_use_by().is_empty() {
        return Err(in_use(context, found, &detail.in_use_by().join(", ")));
    }
    let zone = match found.tags.get(ZONE) {
        Some(zone) => validation::zone(&aws.route53, zone).await?,
        None => None,
    };
    if let Some(zone) = zone {
        let others: Vec<_> =
            standing.iter().filter(|other| other.certificate_arn() != Some(found.arn())).collect();
        let mut records = validation::records(&detail);
        records.retain(|record| !others.iter().any(|other| stands_on(other, record)));
        validation::delete(&aws.route53, &zone, &records).await?;
    }
    let deleted = aws.acm.delete_certificate().certificate_arn(found.arn()).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("ResourceInUseException")) {
        return Err(in_use(context, found, "something that ACM has yet to forget"));
    }
    deleted.unless_absent(&ABSENT, || format!("deleting ACM certificate ({})", found.arn()))?;
    Ok(())
}

/// Whether a certificate is, or is to be, validated by this record.
fn stands_on(certificate: &CertificateSummary, record: &Record) -> bool {
    !failed(certificate) && names(certificate).iter().any(|name| validation::base(name) == record.domain)
}

/// ACM learns some minutes late that a listener has let go of a certificate.
fn in_use(context: &Context, found: &Found, user: &str) -> Error {
    let message = format!("ACM certificate ({}) is still used by {user}", found.arn());
    if (Timestamp::now() - context.since).get_seconds() < RELEASE {
        return Error::soon(message);
    }
    Error::Conflict(format!("{message}: take it off there, then start the run again"))
}

fn output(wanted: &Wanted, arn: String, records: &[Record]) -> CertificateOutput {
    let elsewhere = records.iter().filter(|_| wanted.zone.is_none());
    CertificateOutput { arn, records: elsewhere.map(Record::output).collect() }
}

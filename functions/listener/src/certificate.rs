//! A listener's certificates: whether they are issued, and those beside its own.
//!
//! A listener's list of certificates carries no tags. On a listener of ours all are ours; on somebody else's
//! those are that carry the owner's tags in ACM.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_acm::{
    Client as Acm,
    primitives::DateTime,
    types::{CertificateDetail, CertificateStatus},
};
use aws_sdk_elasticloadbalancingv2::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::Certificate,
};
use jiff::Timestamp;
use spec::{Listener, Text};
use step::{Change, Context, Doing, Error, Field, Latency, Operation, Pace, Result, side_by_side};

use crate::Aws;

/// A certificate that the spec wants on a listener.
pub(crate) struct Wanted {
    pub(crate) arn: String,
    /// Its name in the spec; none where the spec has the ARN of one that exists.
    name: Option<String>,
    /// Whether its validation records are written by us.
    is_validated: bool,
}

impl Wanted {
    fn told(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.arn)
    }

    /// Whether ACM is to be asked: an ARN may also be that of a server certificate of IAM's.
    fn is_of_acm(&self) -> bool {
        self.name.is_some() || is_of_acm(&self.arn)
    }
}

fn is_of_acm(arn: &str) -> bool {
    arn.split(':').nth(2) == Some("acm")
}

pub(crate) fn wanted(context: &Context, listener: &Listener) -> Result<Vec<Wanted>> {
    let one = |text: &Text| match text.whole().and_then(|reference| reference.name.as_ref()) {
        Some(name) => {
            let output = context.outputs.certificates.get(name);
            let spec = context.spec.certificates.get(name);
            Ok(Wanted {
                arn: context.known(output, &format!("certificates.{name}"))?.arn.clone(),
                name: Some(name.clone()),
                is_validated: spec.is_some_and(|certificate| certificate.zone.is_some()),
            })
        }
        None => Ok(Wanted { arn: context.render(text)?, name: None, is_validated: false }),
    };
    listener.certificates.iter().map(one).collect()
}

async fn describe(acm: &Acm, arn: &str) -> Result<Option<CertificateDetail>> {
    let described = acm.describe_certificate().certificate_arn(arn).send().await;
    let described = described
        .unless_absent(&["ResourceNotFoundException"], || format!("describing ACM certificate ({arn})"))?;
    Ok(described.and_then(|described| described.certificate))
}

/// Refuses an ARN of the spec that ACM doesn't know.
pub(crate) async fn check_given(acm: &Acm, wanted: &[Wanted]) -> Result<()> {
    for given in wanted.iter().filter(|wanted| wanted.name.is_none() && wanted.is_of_acm()) {
        if describe(acm, &given.arn).await?.is_none() {
            return Err(unknown(given));
        }
    }
    Ok(())
}

fn unknown(given: &Wanted) -> Error {
    Error::InvalidSpec(format!(
        "ACM has no certificate ({}) in this account and region: write the ARN of one that it has, or \
         ${{certificates.x}} to have one asked for",
        given.arn
    ))
}

/// When the first certificate of a listener was issued; none if it has none, or one of IAM's.
pub(crate) async fn first_issued(acm: &Acm, wanted: &crate::Wanted) -> Result<Option<Timestamp>> {
    match wanted.certificates.first() {
        Some(first) => issued(acm, first).await,
        None => Ok(None),
    }
}

/// When a certificate was issued. One that isn't is waited for without a deadline: the certificate step, and
/// ACM itself, have one.
async fn issued(acm: &Acm, wanted: &Wanted) -> Result<Option<Timestamp>> {
    if !wanted.is_of_acm() {
        return Ok(None);
    }
    let told = wanted.told();
    let Some(detail) = describe(acm, &wanted.arn).await? else {
        // ACM takes some seconds to know a new one.
        let new = Error::soon(format!("ACM doesn't know the certificate {told} yet"));
        return Err(if wanted.name.is_some() { new } else { unknown(wanted) });
    };
    let domain = detail.domain_name().unwrap_or_default();
    match detail.status() {
        Some(CertificateStatus::Issued) => {
            let at = detail.issued_at().or(detail.imported_at()).map(DateTime::secs).unwrap_or_default();
            Ok(Timestamp::from_second(at).ok())
        }
        Some(CertificateStatus::PendingValidation) => Err(Error::wait(
            if wanted.is_validated { Pace::Later } else { Pace::Long },
            format!("certificate {told} isn't issued yet: {domain}"),
        )),
        status => {
            let status = status.map_or("of no status", CertificateStatus::as_str);
            let remedy = if wanted.name.is_some() {
                "mend what ACM says of it, then start the run again, which asks for another"
            } else {
                "write the ARN of one that is issued"
            };
            Err(Error::Failed(format!(
                "certificate {told} is {status} and can't be put on a listener: {domain}: {remedy}"
            )))
        }
    }
}

/// What a balancer answers of a certificate that it doesn't know or can't use, which it also does for some
/// moments after ACM has issued it.
/// Source: <https://github.com/hashicorp/terraform-provider-aws/issues/41789>
const NOT_TAKEN: [&str; 2] = ["CertificateNotFound", "UnsupportedCertificate"];

/// The answer of a call that put a certificate on a listener. `issued` says since when there is one.
pub(crate) fn taken<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    issued: Option<Timestamp>,
    doing: impl Fn() -> String,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (answer, issued) {
        (Err(error), Some(issued)) if error.code().is_some_and(|code| NOT_TAKEN.contains(&code)) => {
            let message = error.message().unwrap_or("the certificate isn't known yet");
            Err(Latency::of("certificate").wait(&format!("{}: {message}", doing()), issued))
        }
        (answer, _) => answer.doing(doing),
    }
}

/// The certificates beside a listener's own that it has too few of and too many.
struct Beside<'a> {
    missing: Vec<&'a Wanted>,
    extra: Vec<String>,
}

/// On a listener of ours the first certificate is its own, and any that the spec doesn't mention is too many;
/// on somebody else's only those that carry our tags are.
async fn beside<'a>(
    aws: &Aws,
    context: &Context,
    arn: &str,
    wanted: &'a crate::Wanted,
) -> Result<Beside<'a>> {
    let ours = wanted.own.is_some();
    if ours && wanted.certificates.is_empty() {
        return Ok(Beside { missing: Vec::new(), extra: Vec::new() });
    }
    let (default, found) = list(&aws.elb, arn).await?;
    let there = |wanted: &Wanted| found.contains(&wanted.arn) || (!ours && default.contains(&wanted.arn));
    let others = || wanted.certificates.iter().skip(usize::from(ours));
    let kept: BTreeSet<&String> = others().map(|wanted| &wanted.arn).collect();
    let mut extra: Vec<String> = found.iter().filter(|arn| !kept.contains(arn)).cloned().collect();
    if !ours {
        extra = tagged(&aws.acm, context, extra).await?;
    }
    Ok(Beside { missing: others().filter(|wanted| !there(wanted)).collect(), extra })
}

/// The certificates of a listener: its own, and those beside it.
async fn list(elb: &Client, arn: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let pages = elb.describe_listener_certificates().listener_arn(arn).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.unless_absent(&["ListenerNotFound"], || format!("describing the certificates of {arn}"))?;
    let (default, beside): (Vec<_>, Vec<_>) =
        all.unwrap_or_default().into_iter().partition(|certificate| certificate.is_default() == Some(true));
    let arns = |certificates: Vec<Certificate>| {
        certificates.into_iter().filter_map(|certificate| certificate.certificate_arn).collect()
    };
    Ok((arns(default), arns(beside)))
}

/// Those certificates that carry our tags in ACM.
async fn tagged(acm: &Acm, context: &Context, arns: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
    let mut ours = Vec::new();
    for arn in arns.into_iter().filter(|arn| is_of_acm(arn)) {
        let listed = acm.list_tags_for_certificate().certificate_arn(&arn).send().await;
        let listed = listed.unless_absent(&["ResourceNotFoundException"], || {
            format!("reading the tags of ACM certificate ({arn})")
        })?;
        let tags = listed.and_then(|listed| listed.tags).unwrap_or_default().into_iter();
        let tags: BTreeMap<String, String> =
            tags.map(|tag| (tag.key, tag.value.unwrap_or_default())).collect();
        if context.owner().address(&tags).is_some() {
            ours.push(arn);
        }
    }
    Ok(ours)
}

/// What [`ensure`] would change.
pub(crate) async fn difference(
    aws: &Aws,
    context: &Context,
    arn: &str,
    wanted: &crate::Wanted,
) -> Result<Option<Field>> {
    let Beside { missing, extra } = beside(aws, context, arn, wanted).await?;
    let list = |arns: Vec<String>| if arns.is_empty() { "none".to_owned() } else { arns.join(", ") };
    Ok((!missing.is_empty() || !extra.is_empty()).then(|| Field {
        name: "certificates".to_owned(),
        found: Some(list(extra)),
        wanted: list(missing.into_iter().map(|wanted| wanted.arn.clone()).collect()),
    }))
}

/// Puts on a listener what is missing beside its own certificate and issued, then takes off what is too many.
pub(crate) async fn ensure(aws: &Aws, context: &Context, arn: &str, wanted: &crate::Wanted) -> Result<()> {
    let Beside { missing, extra } = beside(aws, context, arn, wanted).await?;
    side_by_side(missing.into_iter().map(|wanted| add(aws, arn, wanted))).await?;
    for extra in extra {
        remove(&aws.elb, arn, &extra).await?;
    }
    Ok(())
}

/// One a call.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddListenerCertificates.html>
async fn add(aws: &Aws, arn: &str, wanted: &Wanted) -> Result<()> {
    let issued = issued(&aws.acm, wanted).await?;
    let certificate = Certificate::builder().certificate_arn(&wanted.arn).build();
    let added = aws.elb.add_listener_certificates().listener_arn(arn).certificates(certificate).send().await;
    taken(added, issued, || format!("adding certificate {} to listener ({arn})", wanted.told()))?;
    Ok(())
}

/// One a call.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RemoveListenerCertificates.html>
async fn remove(elb: &Client, arn: &str, certificate: &str) -> Result<()> {
    let entry = Certificate::builder().certificate_arn(certificate).build();
    let removed = elb.remove_listener_certificates().listener_arn(arn).certificates(entry).send().await;
    removed.unless_absent(&["ListenerNotFound"], || {
        format!("removing certificate ({certificate}) from listener ({arn})")
    })?;
    Ok(())
}

/// Takes all of our certificates off somebody else's listener; in a plan only names them.
pub(crate) async fn delete_dropped(
    aws: &Aws,
    context: &Context,
    arn: &str,
    address: &str,
) -> Result<Vec<Change>> {
    let (_, beside) = list(&aws.elb, arn).await?;
    let ours = tagged(&aws.acm, context, beside).await?;
    if context.operation == Operation::Prune {
        for certificate in &ours {
            remove(&aws.elb, arn, certificate).await?;
        }
    }
    Ok(ours.into_iter().map(|certificate| Change::delete(address).with("arn", certificate)).collect())
}

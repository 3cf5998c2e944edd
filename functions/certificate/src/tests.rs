use std::collections::BTreeSet;

use aws_sdk_acm::{
    error::ErrorMetadata,
    operation::{
        add_tags_to_certificate::AddTagsToCertificateOutput,
        delete_certificate::{DeleteCertificateError, DeleteCertificateOutput},
        describe_certificate::{DescribeCertificateError, DescribeCertificateOutput},
        list_certificates::ListCertificatesOutput,
        list_tags_for_certificate::ListTagsForCertificateOutput,
        request_certificate::{RequestCertificateError, RequestCertificateOutput},
    },
    types::{DomainStatus, DomainValidation, RecordType, ResourceRecord as AcmRecord},
};
use aws_sdk_route53::{
    operation::{
        change_resource_record_sets::ChangeResourceRecordSetsOutput,
        list_hosted_zones_by_name::ListHostedZonesByNameOutput,
        list_resource_record_sets::ListResourceRecordSetsOutput,
    },
    types::{
        Change as Write, ChangeBatch, HostedZone, HostedZoneConfig, ResourceRecord, ResourceRecordSet, RrType,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use jiff::ToSpan;
use spec::Spec;
use step::Outputs;

use super::*;

const OLD: &str = "arn:aws:acm:us-east-1:123456789012:certificate/old";
const NEW: &str = "arn:aws:acm:us-east-1:123456789012:certificate/new";
const RECORD: &str = "_hash.example.com.";

/// A spec with one certificate, for x and *.x, in the zone if there is one.
fn context(operation: Operation, zone: Option<&str>) -> Context {
    let mut spec = Spec::empty("demo");
    let certificate = spec::Certificate {
        domain: "example.com".to_owned(),
        names: vec!["*.example.com".to_owned()],
        zone: zone.map(str::to_owned),
    };
    spec.certificates.insert("web".to_owned(), certificate);
    step::test::context(operation, spec, Outputs::default())
}

/// The same when the machine asks again.
fn again(zone: Option<&str>) -> Context {
    let mut context = context(Operation::Ensure, zone);
    let output = CertificateOutput { arn: NEW.to_owned(), records: Vec::new() };
    context.outputs.certificates.insert("web".to_owned(), output);
    context
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn aws(acm: &[&Rule], route53: &[&Rule]) -> Aws {
    Aws {
        acm: mock_client!(aws_sdk_acm, RuleMode::MatchAny, acm),
        global: None,
        route53: mock_client!(aws_sdk_route53, RuleMode::MatchAny, route53),
    }
}

fn summary(arn: &str, names: &[&str], status: CertificateStatus) -> CertificateSummary {
    CertificateSummary::builder()
        .certificate_arn(arn)
        .domain_name(names[0])
        .set_subject_alternative_name_summaries(Some(names.iter().map(|name| (*name).to_owned()).collect()))
        .status(status)
        .r#type(CertificateType::AmazonIssued)
        .created_at(DateTime::from_secs(if arn == OLD { 1 } else { 2 }))
        .build()
}

const NAMES: [&str; 2] = ["example.com", "*.example.com"];

fn listed(certificates: Vec<CertificateSummary>) -> Rule {
    mock!(Acm::list_certificates)
        .match_requests(|request| request.includes().is_some_and(|filters| filters.key_types().len() == 7))
        .then_output(move || {
            ListCertificatesOutput::builder().set_certificate_summary_list(Some(certificates.clone())).build()
        })
}

fn our_tags(zone: Option<&str>) -> Vec<Tag> {
    let wanted = wanted(&context(Operation::Plan, zone)).expect("a spec").remove(0);
    tag_list(&wanted.tags).expect("tags")
}

fn tagged(tags: Vec<Tag>) -> Rule {
    mock!(Acm::list_tags_for_certificate)
        .then_output(move || ListTagsForCertificateOutput::builder().set_tags(Some(tags.clone())).build())
}

/// A certificate as ACM describes it; both of its names are validated by one record.
fn detail(status: CertificateStatus) -> aws_sdk_acm::types::builders::CertificateDetailBuilder {
    let seen = if status == CertificateStatus::Issued {
        DomainStatus::Success
    } else {
        DomainStatus::PendingValidation
    };
    let record = AcmRecord::builder().name(RECORD).r#type(RecordType::Cname).value("_proof.acm.aws.");
    let record = record.build().expect("a record");
    let option = |name: &&str| {
        let option = DomainValidation::builder().domain_name(*name).validation_status(seen.clone());
        option.resource_record(record.clone()).build().expect("an option")
    };
    CertificateDetail::builder()
        .created_at(DateTime::from_secs(1))
        .status(status)
        .set_domain_validation_options(Some(NAMES.iter().map(option).collect()))
}

fn described(detail: aws_sdk_acm::types::builders::CertificateDetailBuilder) -> Rule {
    mock!(Acm::describe_certificate)
        .then_output(move || DescribeCertificateOutput::builder().certificate(detail.clone().build()).build())
}

fn requested() -> Rule {
    mock!(Acm::request_certificate)
        .then_output(|| RequestCertificateOutput::builder().certificate_arn(NEW).build())
}

fn deleted(arn: &'static str) -> Rule {
    mock!(Acm::delete_certificate)
        .match_requests(move |request| request.certificate_arn() == Some(arn))
        .then_output(|| DeleteCertificateOutput::builder().build())
}

fn zones(zones: &'static [(&'static str, &'static str, bool)]) -> Rule {
    let zone = |(id, name, private): &(&str, &str, bool)| {
        HostedZone::builder()
            .id(format!("/hostedzone/{id}"))
            .name(format!("{name}."))
            .caller_reference("theirs")
            .config(HostedZoneConfig::builder().private_zone(*private).build())
            .build()
            .expect("a zone")
    };
    mock!(Route53::list_hosted_zones_by_name).then_output(move || {
        ListHostedZonesByNameOutput::builder()
            .set_hosted_zones(Some(zones.iter().map(zone).collect()))
            .is_truncated(false)
            .max_items(100)
            .build()
            .expect("zones")
    })
}

fn public() -> Rule {
    zones(&[("ZIN", "example.com", true), ("ZPUB", "example.com", false), ("ZNEXT", "example.org", false)])
}

/// What the zone has from the record's place on.
fn found(name: &str, value: Option<&str>) -> Rule {
    let value = value.map(|value| ResourceRecord::builder().value(value).build().expect("a value"));
    let set = ResourceRecordSet::builder().name(name).r#type(RrType::Cname).ttl(77);
    let set = set.set_resource_records(value.map(|value| vec![value])).build().expect("a record");
    mock!(Route53::list_resource_record_sets)
        .match_requests(|request| request.hosted_zone_id() == Some("ZPUB"))
        .then_output(move || {
            ListResourceRecordSetsOutput::builder()
                .resource_record_sets(set.clone())
                .is_truncated(false)
                .max_items(1)
                .build()
                .expect("records")
        })
}

fn there() -> Rule {
    found(RECORD, Some("_proof.acm.aws."))
}

fn not_there() -> Rule {
    found("later.example.com.", Some("x"))
}

/// Takes one write: the action, and the record's time to live.
fn writes(action: &'static str, ttl: i64) -> Rule {
    mock!(Route53::change_resource_record_sets)
        .match_requests(move |request| {
            let changes = request.change_batch().map(ChangeBatch::changes).unwrap_or_default();
            let set = changes.first().and_then(Write::resource_record_set);
            request.hosted_zone_id() == Some("ZPUB")
                && changes.len() == 1
                && changes[0].action().as_str() == action
                && set.is_some_and(|set| {
                    set.name() == RECORD
                        && set.ttl() == Some(ttl)
                        && set.resource_records()[0].value() == "_proof.acm.aws."
                })
        })
        .then_output(|| ChangeResourceRecordSetsOutput::builder().build())
}

fn calls(rules: &[&Rule]) -> Vec<usize> {
    rules.iter().map(|rule| rule.num_calls()).collect()
}

#[tokio::test]
async fn a_missing_certificate_is_requested_with_our_tags_and_its_records_are_told() {
    let request = mock!(Acm::request_certificate)
        .match_requests(|request| {
            let token = request.idempotency_token().unwrap_or_default();
            request.domain_name() == Some("example.com")
                && request.subject_alternative_names() == ["*.example.com"]
                && request.validation_method() == Some(&ValidationMethod::Dns)
                && token.len() == 32
                && token.chars().all(char::is_alphanumeric)
                && request.tags().iter().any(|tag| tag.key() == "plinth:address")
                && !request.tags().iter().any(|tag| tag.key() == ZONE)
        })
        .then_output(|| RequestCertificateOutput::builder().certificate_arn(NEW).build());
    // Somebody else's certificate for the same names is left to them.
    let theirs = listed(vec![summary(OLD, &NAMES, CertificateStatus::Issued)]);
    let rules =
        [&theirs, &tagged(Vec::new()), &request, &described(detail(CertificateStatus::PendingValidation))];
    let aws = aws(&rules, &[]);
    let answer = plan(&aws, &context(Operation::Plan, None)).await.expect("an answer");
    let create = Change::create("certificates.web").with("names", "*.example.com, example.com");
    assert_eq!(answer.changes, [create]);
    assert_eq!(answer.output["web"]["arn"], UNKNOWN);
    assert_eq!(request.num_calls(), 0);
    let answer = ensure(&aws, &context(Operation::Ensure, None)).await.expect("an answer");
    assert_eq!(answer.output["web"]["arn"], NEW);
    assert_eq!(answer.output["web"]["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer.output["web"]["records"][0]["name"], RECORD);
    assert_eq!(request.num_calls(), 1);
}

#[tokio::test]
async fn a_certificate_that_acm_doesnt_know_yet_isnt_waited_for_at_first() {
    let unknown = mock!(Acm::describe_certificate).then_error(|| {
        let code = ErrorMetadata::builder().code("ResourceNotFoundException").build();
        DescribeCertificateError::generic(code)
    });
    let none = listed(Vec::new());
    let rules = [&none, &requested(), &unknown];
    let zone = public();
    let aws = aws(&rules, &[&zone]);
    let answer = ensure(&aws, &context(Operation::Ensure, Some("example.com"))).await.expect("an answer");
    assert_eq!(answer.output["web"]["arn"], NEW);
    let error = ensure(&aws, &again(Some("example.com"))).await.unwrap_err();
    assert!(error.kind().starts_with("NotReady"), "{error}");
}

#[tokio::test]
async fn the_records_are_written_in_the_zone_once_and_not_told() {
    let none = listed(Vec::new());
    let acm = [&none, &requested(), &described(detail(CertificateStatus::PendingValidation))];
    let written = writes("UPSERT", 300);
    let aws_of = |listing: &Rule| aws(&acm, &[&public(), listing, &written]);
    let spoken = context(Operation::Ensure, Some("example.com"));
    let answer = ensure(&aws_of(&not_there()), &spoken).await.expect("an answer");
    assert!(answer.output["web"].get("records").is_none(), "{}", answer.output);
    assert_eq!(written.num_calls(), 1);
    ensure(&aws_of(&there()), &spoken).await.expect("an answer");
    assert_eq!(written.num_calls(), 1);
    ensure(&aws_of(&found(RECORD, Some("_else.acm.aws."))), &spoken).await.expect("an answer");
    assert_eq!(written.num_calls(), 2);
}

#[tokio::test]
async fn a_certificate_that_matches_is_left_alone_and_planned_as_nothing() {
    let zone = Some("example.com");
    let ours = listed(vec![summary(NEW, &NAMES, CertificateStatus::Issued)]);
    let acm = [&ours, &tagged(our_tags(zone)), &described(detail(CertificateStatus::Issued))];
    let aws = aws(&acm, &[&public(), &there()]);
    assert_eq!(plan(&aws, &context(Operation::Plan, zone)).await.expect("an answer").changes, []);
    ensure(&aws, &context(Operation::Ensure, zone)).await.expect("an answer");
    assert_eq!(ensure(&aws, &again(zone)).await.expect("an answer").output["web"]["arn"], NEW);
    assert_eq!(prune(&aws, &context(Operation::Prune, zone)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_lost_record_and_lost_tags_are_planned_field_by_field_and_put_right() {
    let zone = Some("example.com");
    let mut tags = our_tags(zone);
    tags.retain(|tag| tag.key() != ZONE);
    let ours = listed(vec![summary(NEW, &NAMES, CertificateStatus::Issued)]);
    let add = mock!(Acm::add_tags_to_certificate)
        .match_requests(|request| request.tags().iter().any(|tag| tag.key() == ZONE))
        .then_output(|| AddTagsToCertificateOutput::builder().build());
    let written = writes("UPSERT", 300);
    let acm = [&ours, &tagged(tags), &described(detail(CertificateStatus::Issued)), &add];
    let aws = aws(&acm, &[&public(), &not_there(), &written]);
    let answer = plan(&aws, &context(Operation::Plan, zone)).await.expect("an answer");
    let fields: Vec<&str> = answer.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["records", "tags.plinth:zone"]);
    ensure(&aws, &context(Operation::Ensure, zone)).await.expect("an answer");
    assert_eq!((add.num_calls(), written.num_calls()), (1, 1));
}

#[tokio::test]
async fn records_move_with_the_zone_and_stay_when_the_dns_is_elsewhere() {
    let moved = |name: &str| Tag::builder().key(ZONE).value(name).build().expect("a tag");
    let mut before = our_tags(None);
    before.push(moved("example.com"));
    let ours = listed(vec![summary(NEW, &NAMES, CertificateStatus::Issued)]);
    let issued = described(detail(CertificateStatus::Issued));
    let had = tagged(before);
    // Nothing is written: there is no rule that would take it.
    ensure(&aws(&[&ours, &had, &issued], &[]), &context(Operation::Ensure, None)).await.expect("an answer");

    let add =
        mock!(Acm::add_tags_to_certificate).then_output(|| AddTagsToCertificateOutput::builder().build());
    let mut elsewhere = our_tags(None);
    elsewhere.push(moved("com"));
    let old = mock!(Route53::list_hosted_zones_by_name)
        .match_requests(|request| request.dns_name() == Some("com"))
        .then_output(|| {
            let zone = HostedZone::builder().id("ZOLD").name("com.").caller_reference("x").build();
            ListHostedZonesByNameOutput::builder()
                .hosted_zones(zone.expect("a zone"))
                .is_truncated(false)
                .max_items(100)
                .build()
                .expect("zones")
        });
    let in_old = mock!(Route53::list_resource_record_sets)
        .match_requests(|request| request.hosted_zone_id() == Some("ZOLD"))
        .then_output(|| {
            let value = ResourceRecord::builder().value("_proof.acm.aws.").build().expect("a value");
            let set = ResourceRecordSet::builder().name(RECORD).r#type(RrType::Cname).ttl(300);
            ListResourceRecordSetsOutput::builder()
                .resource_record_sets(set.resource_records(value).build().expect("a record"))
                .is_truncated(false)
                .max_items(1)
                .build()
                .expect("records")
        });
    let gone = mock!(Route53::change_resource_record_sets)
        .match_requests(|request| {
            let changes = request.change_batch().map(ChangeBatch::changes).unwrap_or_default();
            request.hosted_zone_id() == Some("ZOLD") && changes[0].action().as_str() == "DELETE"
        })
        .then_output(|| ChangeResourceRecordSetsOutput::builder().build());
    let acm = [&ours, &tagged(elsewhere), &issued, &add];
    let aws = aws(&acm, &[&old, &public(), &in_old, &there(), &gone]);
    ensure(&aws, &context(Operation::Ensure, Some("example.com"))).await.expect("an answer");
    assert_eq!((gone.num_calls(), add.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_pending_certificate_is_waited_for_by_its_own_clock_where_we_write_the_records() {
    let pending = described(detail(CertificateStatus::PendingValidation));
    let aws = aws(&[&pending], &[&public(), &there()]);
    // Of an earlier run: its time begins when this one looks.
    let mut context = again(Some("example.com"));
    assert_eq!(ensure(&aws, &context).await.unwrap_err().kind(), "NotReadyLater");
    context.since = Timestamp::now() - 100.seconds();
    assert_eq!(ensure(&aws, &context).await.unwrap_err().kind(), "NotReadySoon");
    context.since = Timestamp::now() - 3.hours();
    assert_eq!(ensure(&aws, &context).await.unwrap_err().kind(), "Failed");
}

#[tokio::test]
async fn a_pending_certificate_names_the_records_to_create_where_dns_is_elsewhere() {
    let pending = described(detail(CertificateStatus::PendingValidation));
    let mut context = again(None);
    context.since = Timestamp::now() - 71.hours();
    let error = ensure(&aws(&[&pending], &[]), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLong");
    assert_eq!(
        error.to_string(),
        "certificate for example.com waits for DNS: create CNAME _hash.example.com. -> _proof.acm.aws."
    );
    let bare = described(CertificateDetail::builder().status(CertificateStatus::PendingValidation));
    assert_eq!(ensure(&aws(&[&bare], &[]), &context).await.unwrap_err().kind(), "NotReadySoon");
}

#[tokio::test]
async fn a_failed_certificate_is_told_with_reason_and_remedy() {
    let refused = async |status: CertificateStatus, reason: Option<FailureReason>| {
        let failed = described(detail(status).set_failure_reason(reason));
        ensure(&aws(&[&failed], &[]), &again(None)).await.unwrap_err()
    };
    let error = refused(CertificateStatus::Failed, Some(FailureReason::CaaError)).await;
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("FAILED (CAA_ERROR): have the CAA record"), "{error}");
    let error = refused(CertificateStatus::ValidationTimedOut, None).await;
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("see that public DNS answers CNAME _hash.example.com."), "{error}");
}

#[tokio::test]
async fn the_next_run_asks_for_another_and_deletes_the_failed_one() {
    let tokens = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    for failed in [vec![], vec![summary(OLD, &NAMES, CertificateStatus::ValidationTimedOut)]] {
        let (any, ours) = (!failed.is_empty(), listed(failed));
        let kept = tokens.clone();
        let request = mock!(Acm::request_certificate)
            .match_requests(move |request| {
                let token = request.idempotency_token().unwrap_or_default().to_owned();
                kept.lock().expect("a lock").insert(token);
                true
            })
            .then_output(|| RequestCertificateOutput::builder().certificate_arn(NEW).build());
        let gone = deleted(OLD);
        let pending = described(detail(CertificateStatus::PendingValidation));
        let tags = tagged(our_tags(None));
        let aws = aws(&[&ours, &tags, &request, &pending, &gone], &[]);
        let answer = ensure(&aws, &context(Operation::Ensure, None)).await.expect("an answer");
        assert_eq!(answer.output["web"]["arn"], NEW);
        assert_eq!((request.num_calls(), gone.num_calls()), (1, usize::from(any)));
    }
    // Within the hour the same token would answer the one that failed.
    assert_eq!(tokens.lock().expect("a lock").len(), 2);
}

#[tokio::test]
async fn other_names_are_another_certificate_and_the_one_before_is_dropped() {
    let before = || listed(vec![summary(OLD, &["example.com"], CertificateStatus::Issued)]);
    let (request, gone) = (requested(), deleted(OLD));
    let pending = described(detail(CertificateStatus::PendingValidation));
    let ours = tagged(our_tags(None));
    let aws_now = aws(&[&before(), &ours, &request, &pending, &gone], &[]);
    let answer = plan(&aws_now, &context(Operation::Plan, None)).await.expect("an answer");
    let create = Change::create("certificates.web").with("names", "*.example.com, example.com");
    assert_eq!(answer.changes, [Change::delete("certificates.web").with("arn", OLD), create]);
    ensure(&aws_now, &context(Operation::Ensure, None)).await.expect("an answer");
    assert_eq!((request.num_calls(), gone.num_calls()), (1, 0));
    let both = listed(vec![
        summary(OLD, &["example.com"], CertificateStatus::Issued),
        summary(NEW, &NAMES, CertificateStatus::Issued),
    ]);
    let aws_then = aws(&[&both, &ours, &pending, &gone], &[]);
    prune(&aws_then, &context(Operation::Prune, None)).await.expect("an answer");
    assert_eq!(gone.num_calls(), 1);
}

#[tokio::test]
async fn of_doubles_the_newest_issued_is_kept_and_one_in_use_before_it() {
    let both = |old: CertificateStatus, new: CertificateStatus| {
        [OLD, NEW].map(|arn| Found {
            aws: summary(arn, &NAMES, if arn == OLD { old.clone() } else { new.clone() }),
            tags: BTreeMap::new(),
        })
    };
    let (issued, pending) = (CertificateStatus::Issued, CertificateStatus::PendingValidation);
    let arn = |found: &[Found]| choose(found).map(|found| found.arn().to_owned());
    assert_eq!(arn(&both(issued.clone(), pending.clone())).as_deref(), Some(OLD));
    let mut doubles = both(issued.clone(), issued.clone());
    assert_eq!(arn(&doubles).as_deref(), Some(NEW));
    doubles[0].aws.in_use = Some(true);
    assert_eq!(arn(&doubles).as_deref(), Some(OLD));
    assert_eq!(arn(&both(CertificateStatus::Expired, CertificateStatus::Failed)), None);
}

#[tokio::test]
async fn a_dropped_certificate_is_planned_and_goes_with_its_record() {
    let ours = listed(vec![summary(NEW, &NAMES, CertificateStatus::Issued)]);
    let (gone, record_gone) = (deleted(NEW), writes("DELETE", 77));
    let tags = tagged(our_tags(Some("example.com")));
    let acm = [&ours, &tags, &described(detail(CertificateStatus::Issued)), &gone];
    let aws = aws(&acm, &[&public(), &there(), &record_gone]);
    let answer = plan(&aws, &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!(answer.changes, [Change::delete("certificates.web").with("arn", NEW)]);
    assert_eq!((gone.num_calls(), record_gone.num_calls()), (0, 0));
    prune(&aws, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((gone.num_calls(), record_gone.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_record_stays_while_another_certificate_stands_on_it_here_or_at_cloudfront() {
    let theirs = summary("arn:theirs", &["else.org", "example.com"], CertificateStatus::Issued);
    let ours = summary(NEW, &NAMES, CertificateStatus::Issued);
    let mine = |arn: &'static str, tags: Vec<Tag>| {
        mock!(Acm::list_tags_for_certificate)
            .match_requests(move |request| request.certificate_arn() == Some(arn))
            .then_output(move || ListTagsForCertificateOutput::builder().set_tags(Some(tags.clone())).build())
    };
    let (of_ours, of_theirs) = (mine(NEW, our_tags(Some("example.com"))), mine("arn:theirs", Vec::new()));
    let issued = described(detail(CertificateStatus::Issued));
    for there_too in [false, true] {
        let gone = deleted(NEW);
        let here = if there_too { vec![ours.clone()] } else { vec![ours.clone(), theirs.clone()] };
        let here = listed(here);
        // No rule takes a write in the zone.
        let mut aws = aws(&[&here, &of_ours, &of_theirs, &issued, &gone], &[&public(), &there()]);
        if there_too {
            let global = listed(vec![theirs.clone()]);
            aws.global = Some(mock_client!(aws_sdk_acm, RuleMode::MatchAny, &[&global]));
        }
        prune(&aws, &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(gone.num_calls(), 1);
    }
}

#[test]
fn a_certificate_that_failed_or_has_other_names_stands_on_no_record() {
    let detail = detail(CertificateStatus::Issued).build();
    let record = validation::records(&detail).remove(0);
    let stands = |names: &[&str], status| stands_on(&summary(OLD, names, status), &record);
    assert!(stands(&["*.example.com"], CertificateStatus::PendingValidation));
    assert!(!stands(&["*.example.com"], CertificateStatus::Failed));
    assert!(!stands(&["www.example.com"], CertificateStatus::Issued));
}

#[tokio::test]
async fn the_last_of_two_that_share_a_record_takes_it_along() {
    let two = [OLD, NEW].map(|arn| summary(arn, &NAMES, CertificateStatus::Issued)).to_vec();
    let (first, last, record_gone) = (deleted(OLD), deleted(NEW), writes("DELETE", 77));
    let ours = [
        &listed(two),
        &tagged(our_tags(Some("example.com"))),
        &described(detail(CertificateStatus::Issued)),
        &first,
        &last,
    ];
    let aws = aws(&ours, &[&public(), &there(), &record_gone]);
    prune(&aws, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(calls(&[&first, &last, &record_gone]), [1, 1, 1]);
}

#[tokio::test]
async fn a_certificate_in_use_keeps_its_record_and_is_waited_for_a_while() {
    let ours = listed(vec![summary(NEW, &NAMES, CertificateStatus::Issued)]);
    let tags = tagged(our_tags(Some("example.com")));
    let used = described(detail(CertificateStatus::Issued).in_use_by("arn:balancer"));
    let mut context = dropped(Operation::Prune);
    let acm = [&ours, &tags, &used];
    let error = prune(&aws(&acm, &[]), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    context.since = Timestamp::now() - 11.minutes();
    let error = prune(&aws(&acm, &[]), &context).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("arn:balancer"), "{error}");

    let refused = mock!(Acm::delete_certificate).then_error(|| {
        DeleteCertificateError::generic(ErrorMetadata::builder().code("ResourceInUseException").build())
    });
    let free = described(detail(CertificateStatus::Issued));
    let plain = tagged(our_tags(None));
    let aws = aws(&[&ours, &plain, &free, &refused], &[]);
    assert_eq!(prune(&aws, &dropped(Operation::Prune)).await.unwrap_err().kind(), "NotReadySoon");
}

#[tokio::test]
async fn a_zone_that_isnt_there_or_doesnt_hold_the_names_is_refused_by_the_plan() {
    let none = listed(Vec::new());
    for zones in [zones(&[]), zones(&[("ZIN", "example.com", true), ("ZSUB", "a.example.com", false)])] {
        let error = plan(&aws(&[&none], &[&zones]), &context(Operation::Plan, Some("example.com"))).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains("no public hosted zone example.com"), "{error}");
    }
    let aws_twice = zones(&[("Z1", "example.com", false), ("Z2", "example.com", false)]);
    let twice = plan(&aws(&[&none], &[&aws_twice]), &context(Operation::Plan, Some("example.com"))).await;
    assert_eq!(twice.unwrap_err().kind(), "Conflict");
    let error = plan(&aws(&[&none], &[]), &context(Operation::Plan, Some("ample.com"))).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("can't be validated in the zone ample.com"), "{error}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_and_not_retried() {
    let full = mock!(Acm::request_certificate).then_error(|| {
        RequestCertificateError::generic(ErrorMetadata::builder().code("LimitExceededException").build())
    });
    let none = listed(Vec::new());
    let error = ensure(&aws(&[&none, &full], &[]), &context(Operation::Ensure, None)).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("Service Quotas"), "{error}");
}

#[tokio::test]
async fn asked_a_second_time_a_plan_has_nothing_to_add() {
    let mut context = again(None);
    context.operation = Operation::Plan;
    assert_eq!(plan(&aws(&[], &[]), &context).await.expect("an answer"), Answer::default());
}

//! Domain names: of certificates, zones, records and checks.

use std::{collections::BTreeSet, net::Ipv6Addr};

use super::Check;
use crate::{Section, Text};

pub(super) fn check(check: &mut Check<'_>) {
    certificates(check);
    zones(check);
    http_checks(check);
}

/// The longest first name of a certificate, and the most names.
/// Source: <https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html>
const COMMON_NAME: usize = 64;
const NAMES: usize = 100;

fn certificates(check: &mut Check<'_>) {
    for (key, certificate) in &check.spec.certificates {
        let path = ["certificates", key];
        if certificate.domain.len() > COMMON_NAME {
            check.fault(
                &[&path[..], &["domain"]].concat(),
                format!(
                    "a certificate's first name has at most {COMMON_NAME} characters; write a shorter one here, and \
                     this one among `names`"
                ),
            );
        }
        if certificate.names.len() >= NAMES {
            check.fault(
                &[&path[..], &["names"]].concat(),
                format!("a certificate is for at most {NAMES} names"),
            );
        }
        let mut seen = BTreeSet::from([&certificate.domain]);
        for (index, name) in certificate.names.iter().enumerate() {
            let index = index.to_string();
            let path = [&path[..], &["names", &index]].concat();
            if !host(name.strip_prefix("*.").unwrap_or(name)) {
                check
                    .fault(&path, format!("\"{name}\" is no domain name; write one such as www.example.com"));
            }
            if !seen.insert(name) {
                check.fault(&path, format!("{name} is there twice"));
            }
        }
        zone_of(check, key, certificate);
    }
}

/// The records that validate a certificate stand in the zone of its names.
fn zone_of(check: &mut Check<'_>, key: &str, certificate: &crate::Certificate) {
    let Some(zone) = &certificate.zone else { return };
    let path = ["certificates", key, "zone"];
    let zone = zone.strip_suffix('.').unwrap_or(zone);
    if !host(zone) {
        check.fault(&path, format!("\"{zone}\" is no zone; write its name, such as example.com"));
        return;
    }
    let names = std::iter::once(&certificate.domain).chain(&certificate.names);
    let within = |name: &str| name == zone || name.ends_with(&format!(".{zone}"));
    for name in names.filter(|name| !within(name)) {
        check.fault(&path, format!("{name} isn't in the zone {zone}"));
    }
}

/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html>
fn zones(check: &mut Check<'_>) {
    for (name, zone) in &check.spec.dns {
        if !domain(name) {
            check.key_fault(
                &["dns", name],
                format!("\"{name}\" is no domain name; write one such as example.com"),
            );
        }
        for (record, value) in &zone.records {
            let path = ["dns", name, "records", record];
            let labels = record.strip_prefix("*.").unwrap_or(record);
            let whole = format!("{record}.{name}");
            if (record != "@" && record != "*" && !labels.split('.').all(label)) || whole.len() > 253 {
                check.key_fault(
                    &path,
                    format!(
                        "\"{record}\" can't be a record's name; write it without the zone, or @ for the zone"
                    ),
                );
            }
            self::value(check, &path, record, value);
        }
    }
}

/// What a name stands for is another, and that of the zone itself can only be an alias.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat>
fn value(check: &mut Check<'_>, path: &[&str], record: &str, value: &Text) {
    if value.whole().is_some_and(|reference| {
        reference.section == Section::LoadBalancers && reference.attribute.is_empty()
    }) {
        return;
    }
    if record == "@" {
        check.fault(
            path,
            "the zone's own name can't be another's (CNAME); write a load balancer, such as ${loadBalancers.public}",
        );
        return;
    }
    let text: Result<String, ()> = value.render(|_| Ok("x".to_owned()));
    let text = text.unwrap_or_default();
    let name = text.strip_suffix('.').unwrap_or(&text);
    if name.len() > 253 || !name.split('.').all(any_label) {
        check.fault(
            path,
            format!(
                "\"{value}\" is no host's name; write one such as app.example.com, without https:// and path"
            ),
        );
    }
}

/// Source: <https://www.rfc-editor.org/rfc/rfc3986#section-3>
fn http_checks(check: &mut Check<'_>) {
    for (index, found) in check.spec.checks.iter().enumerate() {
        let index = index.to_string();
        if !is_url(&found.url) {
            check.fault(
                &["checks", &index],
                format!("\"{}\" is no address; write one such as https://app.example.com/health", found.url),
            );
        }
        if !(1..=3600).contains(&found.deadline.seconds()) {
            check.fault(
                &["checks", &index, "deadline"],
                format!("{} is out of range; write 1s to 1h", found.deadline),
            );
        }
    }
}

fn is_url(text: &Text) -> bool {
    let of_api = |reference: &crate::Reference| reference.section == Section::Apis;
    let url: Result<String, ()> =
        text.render(|reference| Ok(if of_api(reference) { "https://x" } else { "x" }.to_owned()));
    let url = url.unwrap_or_default();
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let named = |host: &str| host.strip_suffix('.').unwrap_or(host).split('.').all(any_label);
    let (fits, port) = match rest[..end].strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => (address.parse::<Ipv6Addr>().is_ok(), after.strip_prefix(':')),
        None => match rest[..end].split_once(':') {
            Some((host, port)) => (named(host), Some(port)),
            None => (named(&rest[..end]), None),
        },
    };
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let printable = rest[end..].chars().all(|c| c.is_ascii_graphic());
    fits && port && printable
}

/// A zone's name.
fn domain(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    labels.len() > 1 && name.len() <= 253 && labels.into_iter().all(label)
}

/// A host's name, which has no underscores.
fn host(name: &str) -> bool {
    domain(name) && !name.contains('_')
}

fn label(label: &str) -> bool {
    any_label(label) && !label.contains(|c: char| c.is_ascii_uppercase())
}

fn any_label(label: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let ends = label.starts_with('-') || label.ends_with('-');
    (1..=63).contains(&label.len()) && label.chars().all(plain) && !ends
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example.com/health?deep=1", true)]
    #[case("http://${loadBalancers.public.host}/", true)]
    #[case("${apis.qa.url}/ask", true)]
    #[case("https://10.0.0.1:8080", true)]
    #[case("https://[2001:db8::1]:8080/", true)]
    #[case("https://[2001:db8::1]", true)]
    #[case("ftp://example.com", false)]
    #[case("https://", false)]
    #[case("https://exa mple.com/", false)]
    #[case("https://example.com/a b", false)]
    #[case("https://example.com:99999/", false)]
    fn an_address_has_a_host(#[case] url: &str, #[case] fits: bool) {
        assert_eq!(is_url(&url.parse().expect("a text")), fits);
    }
}

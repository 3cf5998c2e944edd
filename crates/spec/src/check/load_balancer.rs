//! Load balancers: what listens, who answers, what rules say.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::{Balancer, Kind, Listener, Part, Protocol, Rule, Scheme, Section, Text};

pub(super) fn check(check: &mut Check<'_>) {
    for (key, balancer) in &check.spec.load_balancers {
        if balancer.existing {
            existing(check, key, balancer);
        }
        let mut ports = BTreeMap::new();
        for (name, listener) in &balancer.listeners {
            if let Some(other) = ports.insert(listener.port, name) {
                check.fault(
                    &["loadBalancers", key, "listeners", name, "port"],
                    format!("port {} is the listener {other}'s already", listener.port),
                );
            }
            if !balancer.existing {
                speaks(check, key, name, balancer, listener);
                answers(check, key, name, balancer, listener);
            }
            certificates(check, key, name, listener);
            rules(check, key, name, listener);
        }
        if !balancer.existing {
            placed(check, key, balancer);
        }
    }
}

/// On listeners of somebody else, ours are rules and certificates.
fn existing(check: &mut Check<'_>, key: &str, balancer: &Balancer) {
    if balancer.name.is_none() {
        check.fault(&["loadBalancers", key, "existing"], "which balancer? write its `name` beside it");
    }
    if balancer.kind == Kind::Network {
        check.fault(
            &["loadBalancers", key, "type"],
            "a listener of a network balancer has one target and can't be shared; make a balancer of your own",
        );
    }
    for (name, listener) in &balancer.listeners {
        let path = ["loadBalancers", key, "listeners", name];
        let said = [
            ("default", listener.default.is_some()),
            ("redirect", listener.redirect.is_some()),
            ("protocol", listener.protocol.is_some()),
            ("securityPolicy", listener.security_policy.is_some()),
        ];
        for (field, _) in said.into_iter().filter(|(_, said)| *said) {
            check.fault(
                &[&path[..], &[field]].concat(),
                format!("the listener exists and its `{field}` is somebody else's; leave the line out"),
            );
        }
        if listener.rules.is_empty() {
            check.fault(&path, "write the `rules` that are put on this listener");
        }
    }
}

/// A listener's protocol is one of its balancer's, and HTTPS has its certificates.
fn speaks(check: &mut Check<'_>, key: &str, name: &str, balancer: &Balancer, listener: &Listener) {
    let (fits, word): (&[Protocol], _) = match balancer.kind {
        Kind::Application => (&[Protocol::Http, Protocol::Https], "HTTP or HTTPS"),
        Kind::Network => (&[Protocol::Tcp], "TCP"),
    };
    let path = ["loadBalancers", key, "listeners", name];
    if listener.protocol.is_some_and(|protocol| !fits.contains(&protocol)) {
        check.fault(
            &[&path[..], &["protocol"]].concat(),
            format!("this kind of balancer listens to {word}; write that, or leave the line out"),
        );
    }
    let https = balancer.protocol(listener) == Protocol::Https;
    if https && listener.certificates.is_empty() {
        check.fault(
            &path,
            "HTTPS needs a certificate; write `certificates`, such as [\"${certificates.main}\"]",
        );
    }
    let says_https = listener.port == 443 || name == "https";
    if balancer.kind == Kind::Application && says_https && !https && listener.protocol.is_none() {
        check.fault(
            &path,
            "this listener would speak plain HTTP; write `certificates`, such as [\"${certificates.main}\"], or \
             `protocol: HTTP` if that is meant",
        );
    }
    if !https && !listener.certificates.is_empty() {
        check.fault(
            &[&path[..], &["certificates"]].concat(),
            "only HTTPS has certificates; write `protocol: HTTPS` on an application balancer, or leave them out",
        );
    }
    if !https && listener.security_policy.is_some() {
        check.fault(
            &[&path[..], &["securityPolicy"]].concat(),
            "only HTTPS has a security policy; write `protocol: HTTPS` and `certificates`, or leave the line out",
        );
    }
}

/// Somebody answers, and on a network balancer no function and no rule does.
fn answers(check: &mut Check<'_>, key: &str, name: &str, balancer: &Balancer, listener: &Listener) {
    let path = ["loadBalancers", key, "listeners", name];
    match (&listener.default, listener.redirect) {
        (None, None) => {
            check.fault(
                &path,
                "nobody answers here; write `default`, such as ${services.api}, or `redirect: https`",
            );
        }
        (Some(_), Some(_)) => {
            check.fault(&[&path[..], &["redirect"]].concat(), "write either `default` or `redirect`");
        }
        _ => {}
    }
    if balancer.kind == Kind::Application {
        return;
    }
    if listener.redirect.is_some() || !listener.rules.is_empty() {
        check.fault(
            &path,
            "a network balancer knows neither `redirect` nor `rules`; an application balancer does",
        );
    }
    let function = listener.default.as_ref().and_then(Text::whole);
    if function.is_some_and(|reference| reference.section == Section::Functions) {
        check.fault(
            &[&path[..], &["default"]].concat(),
            "a function answers on application balancers alone; write a service",
        );
    }
}

/// A certificate is the spec's, or one of ACM or IAM that exists.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Certificate.html>
fn certificates(check: &mut Check<'_>, key: &str, name: &str, listener: &Listener) {
    let mut seen = BTreeSet::new();
    for (index, certificate) in listener.certificates.iter().enumerate() {
        let index = index.to_string();
        let path = ["loadBalancers", key, "listeners", name, "certificates", &index];
        let text = certificate.to_string();
        let arn = text.starts_with("arn:")
            && (text.contains(":acm:") && text.contains(":certificate/")
                || text.contains(":iam::") && text.contains(":server-certificate/"));
        if !arn && !matches!(certificate.parts.as_slice(), [Part::Reference(_)]) {
            check.fault(
                &path,
                format!("\"{text}\" is no certificate; write one such as ${{certificates.main}}, or its ARN"),
            );
        }
        if !seen.insert(text) {
            check.fault(&path, format!("{certificate} is there twice"));
        }
    }
}

/// The most hosts and paths of a rule, the most `*` and `?` in them, and the most characters of one.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
const VALUES: usize = 5;
const WILDCARDS: usize = 6;
const CHARACTERS: usize = 128;

fn rules(check: &mut Check<'_>, key: &str, name: &str, listener: &Listener) {
    let path = ["loadBalancers", key, "listeners", name, "rules"];
    let mut priorities = BTreeMap::new();
    same_conditions(check, &path, listener);
    for (rule, found) in &listener.rules {
        let path = [&path[..], &[rule]].concat();
        conditions(check, &path, found);
        if let Some(priority) = found.priority
            && let Some(other) = priorities.insert(priority, rule)
        {
            let path = [&path[..], &["priority"]].concat();
            check.fault(&path, format!("{priority} is the rule {other}'s already"));
        }
    }
}

/// Of rules that hold for the same requests only the first is ever asked.
fn same_conditions(check: &mut Check<'_>, path: &[&str], listener: &Listener) {
    let mut seen: BTreeMap<(BTreeSet<String>, BTreeSet<String>), &String> = BTreeMap::new();
    let conditional =
        listener.rules.iter().filter(|(_, rule)| !rule.hosts.is_empty() || !rule.paths.is_empty());
    for (rule, found) in conditional {
        // Hosts are compared without regard to case, and paths with it.
        let hosts: BTreeSet<String> = found.hosts.iter().map(|host| host.to_lowercase()).collect();
        let conditions = (hosts, found.paths.iter().cloned().collect::<BTreeSet<String>>());
        if let Some(other) = seen.get(&conditions) {
            check.key_fault(
                &[path, &[rule]].concat(),
                format!(
                    "the rule {other} holds for the same `hosts` and `paths`, and only one of the two can answer; change \
                     one, or leave it out"
                ),
            );
            continue;
        }
        seen.insert(conditions, rule);
    }
}

/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RuleCondition.html>
fn conditions(check: &mut Check<'_>, path: &[&str], rule: &Rule) {
    let values = rule.hosts.len() + rule.paths.len();
    if values == 0 {
        check.fault(path, "this rule holds for everything; write its `hosts` or `paths`");
    }
    if values > VALUES {
        check.fault(path, format!("a rule has at most {VALUES} hosts and paths together, not {values}"));
    }
    let all = || rule.hosts.iter().chain(&rule.paths);
    let wildcards = all().map(|text| text.matches(['*', '?']).count()).sum::<usize>();
    if wildcards > WILDCARDS {
        check.fault(path, format!("a rule has at most {WILDCARDS} * and ? together, not {wildcards}"));
    }
    for (index, host) in rule.hosts.iter().enumerate() {
        if !is_host(host) {
            check.fault(
                &[path, &["hosts", &index.to_string()]].concat(),
                format!(
                    "\"{host}\" is no host; write one such as app.example.com or *.example.com, without http:// and \
                     at most {CHARACTERS} characters"
                ),
            );
        }
    }
    for (index, text) in rule.paths.iter().enumerate() {
        if !is_path(text) {
            check.fault(
                &[path, &["paths", &index.to_string()]].concat(),
                format!(
                    "\"{text}\" is no path; it begins with / and has at most {CHARACTERS} letters, digits and \
                     _ - . $ / ~ \" ' @ : + & * ?"
                ),
            );
        }
    }
}

/// A host has a dot, behind the last of which are letters alone.
fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.*?".contains(c);
    let last = host.rsplit_once('.').map_or("", |(_, last)| last);
    let letters = !last.is_empty() && last.chars().all(|c| c.is_ascii_alphabetic() || c == '*' || c == '?');
    host.len() <= CHARACTERS && host.chars().all(plain) && letters && !host.contains("..")
}

fn is_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&*?".contains(c);
    path.starts_with(['/', '*']) && path.len() <= CHARACTERS && path.chars().all(plain)
}

/// A balancer stands in subnets of its scheme, an application balancer in two zones.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html>
fn placed(check: &mut Check<'_>, key: &str, balancer: &Balancer) {
    let Some(network) = &check.spec.network else { return };
    let (word, subnets) = match balancer.scheme {
        Scheme::Internal => ("private", network.private.len()),
        Scheme::InternetFacing => ("public", network.public.len()),
    };
    let needed = if balancer.kind == Kind::Application { 2 } else { 1 };
    if subnets < needed {
        check.fault(
            &["loadBalancers", key],
            format!("this balancer needs {needed} {word} subnets; network.{word} has {subnets}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("app.example.com", true)]
    #[case("*.example.com", true)]
    #[case("http://a b", false)]
    #[case("https://app.example.com", false)]
    #[case("localhost", false)]
    #[case("app.example.com:8080", false)]
    #[case("app.example.123", false)]
    fn a_host_is_one_that_a_rule_takes(#[case] host: &str, #[case] fits: bool) {
        assert_eq!(is_host(host), fits);
    }

    #[rstest]
    #[case("/api/*", true)]
    #[case("*.png", true)]
    #[case("/a b", false)]
    #[case("/a#b", false)]
    #[case("api", false)]
    fn a_path_is_one_that_a_rule_takes(#[case] path: &str, #[case] fits: bool) {
        assert_eq!(is_path(path), fits);
    }
}

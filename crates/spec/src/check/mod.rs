//! Faults in what a spec means, as far as they can be found without asking AWS. A file for each kind;
//! in each a function for each rule.

mod api;
mod cluster;
mod database;
mod expires;
mod function;
mod name;
mod network;
mod reference;
mod schedule;
mod service;
mod task;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Kind, Protocol, Scheme, Spec, structure::Found, tree::Places};

/// Collects what is wrong.
struct Check<'a> {
    spec: &'a Spec,
    places: &'a Places,
    found: Vec<Found>,
}

impl Check<'_> {
    /// What stands at this path is wrong.
    fn fault(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|&step| step.to_owned()).collect();
        self.found.push(Found { place: self.places.of(&path), path, message: message.into() });
    }

    /// The name of what stands at this path is wrong.
    fn key_fault(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|&step| step.to_owned()).collect();
        self.found.push(Found { place: self.places.of_key(&path), path, message: message.into() });
    }
}

/// Everything that is wrong with what a spec means. `name` is its object's name, where that is known.
pub(crate) fn faults(spec: &Spec, name: Option<&str>, places: &Places) -> Vec<Found> {
    let mut check = Check { spec, places, found: Vec::new() };
    object_name(&mut check, name);
    region(&mut check);
    role(&mut check);
    tags(&mut check);
    schedule::check(&mut check);
    expires::check(&mut check);
    name::check(&mut check);
    network::check(&mut check);
    key(&mut check);
    secrets(&mut check);
    deployers(&mut check);
    http_checks(&mut check);
    cluster::check(&mut check);
    roles(&mut check);
    repositories(&mut check);
    buckets(&mut check);
    file_systems(&mut check);
    database::check(&mut check);
    certificates(&mut check);
    zones(&mut check);
    balancers(&mut check);
    function::check(&mut check);
    service::check(&mut check);
    api::check(&mut check);
    reference::check(&mut check);
    check.found
}

fn object_name(check: &mut Check<'_>, name: Option<&str>) {
    if let Some(name) = name
        && name != check.spec.name
    {
        let found = &check.spec.name;
        check.fault(
            &["name"],
            format!("the object is environments/{name}.yaml, so the name must be {name}, not {found}"),
        );
    }
}

fn region(check: &mut Check<'_>) {
    let Some(region) = &check.spec.region else { return };
    let mut parts = region.split('-');
    let letters = |part: &str| !part.is_empty() && part.chars().all(|letter| letter.is_ascii_lowercase());
    let country = parts.next().is_some_and(|part| letters(part) && part.len() == 2);
    let number = parts.next_back().is_some_and(|part| part.parse::<u8>().is_ok());
    if !(country && number && parts.clone().count() > 0 && parts.all(letters)) {
        check.fault(&["region"], format!("\"{region}\" is no AWS region; write one such as eu-west-1"));
    }
}

fn role(check: &mut Check<'_>) {
    let Some(role) = &check.spec.role else { return };
    if check.spec.role_account().is_none() {
        check.fault(
            &["role"],
            format!("\"{role}\" is no ARN of a role; write one such as arn:aws:iam::123456789012:role/plinth-build"),
        );
    }
}

/// Source: <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
fn tags(check: &mut Check<'_>) {
    let tags = &check.spec.tags;
    if tags.len() > 40 {
        check.fault(
            &["tags"],
            format!("AWS takes 50 tags, of which Plinth needs some; write at most 40, not {}", tags.len()),
        );
    }
    for (key, value) in tags {
        if key.starts_with("aws:") || key.starts_with("plinth:") {
            check.key_fault(&["tags", key], format!("\"{key}\" begins with a word that isn't yours to use"));
        }
        if key.is_empty() || key.chars().count() > 128 {
            check.key_fault(&["tags", key], "a tag's name has 1 to 128 characters");
        }
        if value.chars().count() > 256 {
            check.fault(&["tags", key], "a tag's value has at most 256 characters");
        }
    }
}

/// Source: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html>
fn key(check: &mut Check<'_>) {
    let Some(key) = &check.spec.key else { return };
    if let Some(recovery) = key.recovery
        && !recovery.whole_days().is_some_and(|days| (7..=30).contains(&days))
    {
        check.fault(
            &["key", "recovery"],
            format!("{recovery} is no time a key can be restored in; write 7d to 30d"),
        );
    }
    if key.name.as_ref().is_some_and(|name| name.starts_with("aws/")) {
        check.fault(&["key", "name"], "aliases that begin with aws/ are AWS's own");
    }
}

/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
fn secrets(check: &mut Check<'_>) {
    for (key, secret) in &check.spec.secrets {
        if secret.generate.is_some() && secret.compose.is_some() {
            check.fault(&["secrets", key], "a value is generated or composed; leave one of the two out");
        }
        let Some(recovery) = secret.recovery else { continue };
        if !recovery.whole_days().is_some_and(|days| days == 0 || (7..=30).contains(&days)) {
            check.fault(
                &["secrets", key, "recovery"],
                format!("{recovery} is no time a secret can be kept for; write 0d, or 7d to 30d"),
            );
        }
    }
}

fn roles(check: &mut Check<'_>) {
    for (key, role) in &check.spec.roles {
        for (index, service) in role.assumed_by.iter().enumerate() {
            if !service.contains(".amazonaws.com") {
                check.fault(
                    &["roles", key, "assumedBy", &index.to_string()],
                    format!("\"{service}\" is no AWS service; write one such as ecs-tasks.amazonaws.com"),
                );
            }
        }
        statements(check, &["roles", key], &role.allow, &role.policies);
    }
}

fn statements(check: &mut Check<'_>, path: &[&str], allow: &[crate::Statement], policies: &[String]) {
    for (index, statement) in allow.iter().enumerate() {
        let index = index.to_string();
        for action in &statement.actions {
            let known = action == "*"
                || action
                    .split_once(':')
                    .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
            if !known {
                let path = [path, &["allow", &index]].concat();
                check.fault(&path, format!("\"{action}\" is no IAM action; write one such as s3:GetObject"));
            }
        }
    }
    for (index, policy) in policies.iter().enumerate() {
        let index = index.to_string();
        if !policy.starts_with("arn:") {
            let path = [path, &["policies", &index]].concat();
            check.fault(
                &path,
                format!("\"{policy}\" is no ARN; write one such as arn:aws:iam::aws:policy/ReadOnlyAccess"),
            );
        }
    }
}

fn deployers(check: &mut Check<'_>) {
    for (key, deployer) in &check.spec.deployers {
        if deployer.oidc.is_some() == deployer.user {
            check.fault(
                &["deployers", key],
                "say how it proves who it is: `oidc: { issuer: …, subject: … }`, or `user: true`",
            );
        }
        if check.spec.repositories.is_empty() {
            check.fault(&["deployers", key], "the spec has no repositories that it could push to");
        }
    }
}

fn http_checks(check: &mut Check<'_>) {
    for (index, found) in check.spec.checks.iter().enumerate() {
        let index = index.to_string();
        let url = found.url.to_string();
        if !["http://", "https://", "${apis."].iter().any(|begin| url.starts_with(begin)) {
            check.fault(
                &["checks", &index],
                format!("\"{url}\" is no address; it begins with https:// or http://"),
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

fn repositories(check: &mut Check<'_>) {
    for (key, repository) in &check.spec.repositories {
        let Some(untagged) = &repository.untagged else { continue };
        if untagged.expire.whole_days().is_none_or(|days| days == 0) {
            check.fault(
                &["repositories", key, "untagged", "expire"],
                format!("images expire after whole days, not {}; write 1d or more", untagged.expire),
            );
        }
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn buckets(check: &mut Check<'_>) {
    for (key, bucket) in &check.spec.buckets {
        for (word, expire) in [("expire", bucket.expire), ("expireVersions", bucket.expire_versions)] {
            let Some(expire) = expire else { continue };
            if expire.whole_days().is_none_or(|days| days == 0) {
                check.fault(
                    &["buckets", key, word],
                    format!("objects expire after whole days, not {expire}; write 1d or more"),
                );
            }
        }
        if bucket.protect && bucket.force_delete {
            check.fault(
                &["buckets", key, "forceDelete"],
                "a protected bucket isn't deleted; leave one of the two out",
            );
        }
        if bucket.expire_versions.is_some() && !bucket.versioned {
            check.fault(
                &["buckets", key, "expireVersions"],
                "this bucket keeps no older versions; write `versioned: true`, or leave the line out",
            );
        }
        let Some(name) = &bucket.name else { continue };
        let reserved =
            name.starts_with("xn--") || name.starts_with("sthree-") || name.starts_with("amzn-s3-demo-");
        if name.contains("..") || name.parse::<std::net::Ipv4Addr>().is_ok() || reserved {
            check.fault(&["buckets", key, "name"], format!("S3 takes no bucket named {name}"));
        }
    }
}

/// Source: <https://docs.aws.amazon.com/efs/latest/ug/API_PosixUser.html>
fn file_systems(check: &mut Check<'_>) {
    const MOST: i64 = 4_294_967_295;
    for (key, file_system) in &check.spec.file_systems {
        for (name, point) in &file_system.access_points {
            if point.ids().is_none_or(|(user, group)| user > MOST || group > MOST) {
                check.fault(
                    &["fileSystems", key, "accessPoints", name, "owner"],
                    format!("{} is no user and group; numbers go up to {MOST}", point.owner),
                );
            }
        }
    }
}

/// The records that validate a certificate stand in the zone of its names.
fn certificates(check: &mut Check<'_>) {
    for (key, certificate) in &check.spec.certificates {
        for (index, name) in certificate.names.iter().enumerate() {
            if !domain(name.strip_prefix("*.").unwrap_or(name)) {
                let index = index.to_string();
                check.fault(&["certificates", key, "names", &index], format!("\"{name}\" is no domain name"));
            }
        }
        let Some(zone) = &certificate.zone else { continue };
        let zone = zone.trim_end_matches('.');
        let names = std::iter::once(&certificate.domain).chain(&certificate.names);
        let within = |name: &str| name == zone || name.ends_with(&format!(".{zone}"));
        for name in names.filter(|name| !within(name)) {
            check.fault(&["certificates", key, "zone"], format!("{name} isn't in the zone {zone}"));
        }
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
        for record in zone.records.keys() {
            let labels = record.strip_prefix("*.").unwrap_or(record);
            if record != "@" && record != "*" && !labels.split('.').all(label) {
                check.key_fault(
                    &["dns", name, "records", record],
                    format!(
                        "\"{record}\" can't be a record's name; write it without the zone, or @ for the zone"
                    ),
                );
            }
        }
    }
}

fn domain(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    labels.len() > 1 && name.len() <= 253 && labels.into_iter().all(label)
}

fn label(label: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let ends = label.starts_with('-') || label.ends_with('-');
    (1..=63).contains(&label.len()) && label.chars().all(plain) && !ends
}

fn balancers(check: &mut Check<'_>) {
    for (key, balancer) in &check.spec.load_balancers {
        if balancer.existing {
            existing(check, key, balancer);
        }
        let mut ports = std::collections::BTreeMap::new();
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
            rules(check, key, name, listener);
        }
        if !balancer.existing {
            placed(check, key, balancer);
        }
    }
}

/// On listeners of somebody else, ours are rules and certificates.
fn existing(check: &mut Check<'_>, key: &str, balancer: &crate::Balancer) {
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
fn speaks(
    check: &mut Check<'_>,
    key: &str,
    name: &str,
    balancer: &crate::Balancer,
    listener: &crate::Listener,
) {
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
    if !https && !listener.certificates.is_empty() {
        check.fault(
            &[&path[..], &["certificates"]].concat(),
            "only HTTPS has certificates; write `protocol: HTTPS` on an application balancer, or leave them out",
        );
    }
}

/// Somebody answers, and on a network balancer no function and no rule does.
fn answers(
    check: &mut Check<'_>,
    key: &str,
    name: &str,
    balancer: &crate::Balancer,
    listener: &crate::Listener,
) {
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
    let function = listener.default.as_ref().and_then(crate::Text::whole);
    if function.is_some_and(|reference| reference.section == crate::Section::Functions) {
        check.fault(
            &[&path[..], &["default"]].concat(),
            "a function answers on application balancers alone; write a service",
        );
    }
}

/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
fn rules(check: &mut Check<'_>, key: &str, name: &str, listener: &crate::Listener) {
    let path = ["loadBalancers", key, "listeners", name, "rules"];
    let mut seen = std::collections::BTreeMap::new();
    same_conditions(check, &path, listener);
    for (rule, found) in &listener.rules {
        let path = [&path[..], &[rule]].concat();
        let values = found.hosts.len() + found.paths.len();
        if values == 0 {
            check.fault(&path, "this rule holds for everything; write its `hosts` or `paths`");
        }
        if values > 5 {
            check.fault(&path, format!("a rule has at most 5 hosts and paths together, not {values}"));
        }
        for (index, text) in found.paths.iter().enumerate() {
            if !text.starts_with(['/', '*']) || text.len() > 128 {
                let index = index.to_string();
                let path = [&path[..], &["paths", &index]].concat();
                check.fault(
                    &path,
                    format!("\"{text}\" is no path; it begins with / and has at most 128 characters"),
                );
            }
        }
        if let Some(priority) = found.priority
            && let Some(other) = seen.insert(priority, rule)
        {
            let path = [&path[..], &["priority"]].concat();
            check.fault(&path, format!("{priority} is the rule {other}'s already"));
        }
    }
}

/// Of rules that hold for the same requests only the first is ever asked.
fn same_conditions(check: &mut Check<'_>, path: &[&str], listener: &crate::Listener) {
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

/// A balancer stands in subnets of its scheme, an application balancer in two zones.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html>
fn placed(check: &mut Check<'_>, key: &str, balancer: &crate::Balancer) {
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

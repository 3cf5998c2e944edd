//! Names: those a spec gives its parts, and those AWS's resources get from them.

use std::collections::BTreeMap;

use super::Check;
use crate::{Deployer, INSTANCES, NAME_LIMIT, job_word, name, role_word, service_word};

pub(super) fn check(check: &mut Check<'_>) {
    environment(check);
    keys(check);
    twice(check, "secrets", secrets(check));
    twice(check, "roles", roles(check));
    twice(check, "users", deployers(check, true));
    twice(check, "repositories", repositories(check));
    twice(check, "buckets", buckets(check));
    twice(check, "databases", databases(check));
    twice(check, "loadBalancers", balancers(check));
    twice(check, "functions", functions(check));
    twice(check, "services", services(check));
    reserved(check);
}

/// What the names of an environment's resources may not begin with: Plinth's own functions and roles, and a group
/// of EC2, which may not begin with `sg-`.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html>
const RESERVED: [(&str, &str); 2] =
    [("plinth", "Plinth's own resources"), ("sg", "the ids of security groups")];

/// The schema says how a name looks; what a name is for makes more rules.
fn environment(check: &mut Check<'_>) {
    let name = &check.spec.name;
    for (word, whose) in RESERVED {
        if name.split('-').next() == Some(word) {
            check.fault(&["name"], format!("names that begin with {word}- are {whose}; choose another name"));
        }
    }
    if name.len() > NAME_LIMIT {
        check.fault(&["name"], format!("an environment's name has at most {NAME_LIMIT} characters"));
    }
}

/// What a part of a spec may be called: its name becomes part of names in AWS.
fn plain(key: &str) -> bool {
    let letters =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    key.len() <= 40 && key.starts_with(|c: char| c.is_ascii_lowercase()) && key.split('-').all(letters)
}

fn keys(check: &mut Check<'_>) {
    let spec = check.spec;
    let sections: [(&str, Vec<&String>); 13] = [
        ("secrets", spec.secrets.keys().collect()),
        ("roles", spec.roles.keys().collect()),
        ("repositories", spec.repositories.keys().collect()),
        ("deployers", spec.deployers.keys().collect()),
        ("buckets", spec.buckets.keys().collect()),
        ("fileSystems", spec.file_systems.keys().collect()),
        ("databases", spec.databases.keys().collect()),
        ("certificates", spec.certificates.keys().collect()),
        ("loadBalancers", spec.load_balancers.keys().collect()),
        ("jobs", spec.jobs.keys().collect()),
        ("functions", spec.functions.keys().collect()),
        ("services", spec.services.keys().collect()),
        ("apis", spec.apis.keys().collect()),
    ];
    for (section, keys) in sections {
        for key in keys {
            key_of(check, &[section, key]);
        }
    }
    for (key, file_system) in &spec.file_systems {
        for name in file_system.access_points.keys() {
            key_of(check, &["fileSystems", key, "accessPoints", name]);
        }
    }
    for (key, service) in &spec.services {
        for name in service.sidecars.keys() {
            key_of(check, &["services", key, "sidecars", name]);
        }
    }
    for (balancer, listener, name) in spec.load_balancers.iter().flat_map(|(key, balancer)| {
        let listeners = balancer.listeners.iter();
        listeners.flat_map(move |(name, listener)| listener.rules.keys().map(move |rule| (key, name, rule)))
    }) {
        key_of(check, &["loadBalancers", balancer, "listeners", listener, "rules", name]);
    }
    for (balancer, name) in spec
        .load_balancers
        .iter()
        .flat_map(|(key, balancer)| balancer.listeners.keys().map(move |name| (key, name)))
    {
        key_of(check, &["loadBalancers", balancer, "listeners", name]);
    }
}

fn key_of(check: &mut Check<'_>, path: &[&str]) {
    let key = path.last().copied().unwrap_or_default();
    if !plain(key) {
        check.key_fault(
            path,
            format!(
                "\"{key}\" can't be a name here; write small letters, digits and single hyphens, at most 40"
            ),
        );
    }
}

/// A name in AWS, and the path of what gets it.
type Named = Vec<(String, Vec<String>)>;

/// The names of what stands in a section: those that the spec writes, and those that Plinth gives.
fn named<'a>(
    check: &Check<'_>,
    section: &str,
    limit: usize,
    all: impl Iterator<Item = (&'a String, Option<&'a String>)>,
) -> Named {
    let of = |(key, written): (&String, Option<&String>)| {
        let given = || name(&check.spec.name, key, limit);
        (written.cloned().unwrap_or_else(given), vec![section.to_owned(), key.clone()])
    };
    all.map(of).collect()
}

fn secrets(check: &Check<'_>) -> Named {
    let all = check.spec.secrets.iter().map(|(key, secret)| (key, secret.name.as_ref()));
    named(check, "secrets", 512, all)
}

/// A service brings a role to start its tasks with, and one to act with if it asks for it.
fn roles(check: &Check<'_>) -> Named {
    let spec = check.spec;
    let given = |word: &str| name(&spec.name, word, 64);
    let path = |section: &str, key: &str| vec![section.to_owned(), key.to_owned()];
    let mut all = Vec::new();
    for (key, role) in &spec.roles {
        all.push((role.name.clone().unwrap_or_else(|| given(&role_word(key))), path("roles", key)));
    }
    let services = spec.services.iter();
    let services = services.map(|(key, it)| ("services", key, service_word(key), it.role.is_some()));
    let jobs = spec.jobs.iter().map(|(key, it)| ("jobs", key, job_word(key), it.role.is_some()));
    for (section, key, word, own) in services.chain(jobs) {
        all.push((given(&format!("{word}-execution")), path(section, key)));
        if own {
            all.push((given(&format!("{word}-task")), path(section, key)));
        }
    }
    if spec.cluster.as_ref().is_some_and(|cluster| cluster.instances.is_some()) {
        all.push((given(INSTANCES), path("cluster", "instances")));
    }
    all.extend(deployers(check, false));
    all.extend(spec.functions.keys().map(|key| (given(&format!("{key}-function")), path("functions", key))));
    all
}

/// Deployers that are roles, or those that are users.
fn deployers(check: &Check<'_>, user: bool) -> Named {
    let of = |(key, deployer): (&String, &Deployer)| {
        let given = || name(&check.spec.name, &format!("{key}-deployer"), 64);
        (deployer.name.clone().unwrap_or_else(given), vec!["deployers".to_owned(), key.clone()])
    };
    check.spec.deployers.iter().filter(|(_, deployer)| deployer.user == user).map(of).collect()
}

fn functions(check: &Check<'_>) -> Named {
    let all = check.spec.functions.iter().map(|(key, function)| (key, function.name.as_ref()));
    named(check, "functions", 64, all)
}

fn repositories(check: &Check<'_>) -> Named {
    let all = check.spec.repositories.iter().map(|(key, repository)| (key, repository.name.as_ref()));
    named(check, "repositories", 256, all)
}

fn buckets(check: &Check<'_>) -> Named {
    named(check, "buckets", 63, check.spec.buckets.iter().map(|(key, bucket)| (key, bucket.name.as_ref())))
}

fn databases(check: &Check<'_>) -> Named {
    let all = check.spec.databases.iter().map(|(key, database)| (key, database.name.as_ref()));
    named(check, "databases", 63, all)
}

fn balancers(check: &Check<'_>) -> Named {
    let all = check.spec.load_balancers.iter().map(|(key, balancer)| (key, balancer.name.as_ref()));
    named(check, "loadBalancers", 32, all)
}

fn services(check: &Check<'_>) -> Named {
    let all = check.spec.services.iter().map(|(key, service)| (key, service.name.as_ref()));
    named(check, "services", 255, all)
}

/// AWS gives a name once, in IAM and for balancers whatever letters are capital. Names that Plinth gives are told
/// apart by [`name`]; those that a spec writes may be the same as another's.
fn twice(check: &mut Check<'_>, kind: &str, names: Named) {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, path) in names {
        let same = if kind == "secrets" { name.clone() } else { name.to_lowercase() };
        if let Some(other) = seen.get(&same) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let message = format!(
                "{} would be called {name} in AWS, as another of the {kind}; give one of them a name of its own with `name:`",
                other.join(".")
            );
            check.key_fault(&path, message);
        }
        seen.insert(same, path);
    }
}

/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>
fn reserved(check: &mut Check<'_>) {
    for (name, path) in balancers(check) {
        if name.starts_with("internal-") {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            check.key_fault(
                &path,
                format!(
                    "AWS takes no load balancer called {name}: names that begin with internal- are its own"
                ),
            );
        }
    }
}

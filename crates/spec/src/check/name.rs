//! Names: those a spec gives its parts, and those AWS's resources get from them.

use std::collections::BTreeMap;

use super::Check;
use crate::NAME_LIMIT;

pub(super) fn check(check: &mut Check<'_>) {
    environment(check);
    keys(check);
    twice(check, "secrets", secrets(check));
    twice(check, "roles", roles(check));
    twice(check, "repositories", repositories(check));
    twice(check, "buckets", buckets(check));
    twice(check, "databases", databases(check));
    twice(check, "loadBalancers", balancers(check));
    twice(check, "functions", functions(check));
    twice(check, "services", services(check));
    reserved(check);
}

/// The schema says how a name looks; what a name is for makes one more rule.
fn environment(check: &mut Check<'_>) {
    let name = &check.spec.name;
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

fn derived(check: &Check<'_>, key: &str) -> String {
    format!("{}-{key}", check.spec.name)
}

fn named<'a>(
    check: &Check<'_>,
    section: &str,
    all: impl Iterator<Item = (&'a String, Option<&'a String>)>,
) -> Named {
    let of = |(key, name): (&String, Option<&String>)| {
        (name.cloned().unwrap_or_else(|| derived(check, key)), vec![section.to_owned(), key.clone()])
    };
    all.map(of).collect()
}

fn secrets(check: &Check<'_>) -> Named {
    named(check, "secrets", check.spec.secrets.iter().map(|(key, secret)| (key, secret.name.as_ref())))
}

/// A service brings a role to start its tasks with, and one to act with if it asks for it.
fn roles(check: &Check<'_>) -> Named {
    let mut all = named(check, "roles", check.spec.roles.iter().map(|(key, role)| (key, role.name.as_ref())));
    for (key, service) in &check.spec.services {
        let path = vec!["services".to_owned(), key.clone()];
        all.push((derived(check, &format!("{key}-execution")), path.clone()));
        if service.role.is_some() {
            all.push((derived(check, &format!("{key}-task")), path));
        }
    }
    for (key, job) in &check.spec.jobs {
        let path = vec!["jobs".to_owned(), key.clone()];
        all.push((derived(check, &format!("{key}-job-execution")), path.clone()));
        if job.role.is_some() {
            all.push((derived(check, &format!("{key}-job-task")), path));
        }
    }
    if check.spec.cluster.as_ref().is_some_and(|cluster| cluster.instances.is_some()) {
        all.push((derived(check, "instances"), vec!["cluster".to_owned(), "instances".to_owned()]));
    }
    for (key, deployer) in check.spec.deployers.iter().filter(|(_, deployer)| !deployer.user) {
        let name = deployer.name.clone().unwrap_or_else(|| derived(check, &format!("{key}-deployer")));
        all.push((name, vec!["deployers".to_owned(), key.clone()]));
    }
    for key in check.spec.functions.keys() {
        let path = vec!["functions".to_owned(), key.clone()];
        all.push((derived(check, &format!("{key}-function")), path));
    }
    all
}

fn functions(check: &Check<'_>) -> Named {
    let all = check.spec.functions.iter().map(|(key, function)| (key, function.name.as_ref()));
    named(check, "functions", all)
}

fn repositories(check: &Check<'_>) -> Named {
    let all = check.spec.repositories.iter().map(|(key, repository)| (key, repository.name.as_ref()));
    named(check, "repositories", all)
}

fn buckets(check: &Check<'_>) -> Named {
    named(check, "buckets", check.spec.buckets.iter().map(|(key, bucket)| (key, bucket.name.as_ref())))
}

fn databases(check: &Check<'_>) -> Named {
    let all = check.spec.databases.iter().map(|(key, database)| (key, database.name.as_ref()));
    named(check, "databases", all)
}

fn balancers(check: &Check<'_>) -> Named {
    let all = check.spec.load_balancers.iter().map(|(key, balancer)| (key, balancer.name.as_ref()));
    named(check, "loadBalancers", all)
}

fn services(check: &Check<'_>) -> Named {
    named(check, "services", check.spec.services.iter().map(|(key, service)| (key, service.name.as_ref())))
}

fn twice(check: &mut Check<'_>, kind: &str, names: Named) {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, path) in names {
        if let Some(other) = seen.get(&name) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let message = format!(
                "{} would be called {name} in AWS, as another of the {kind}; give one of them a name of its own with `name:`",
                other.join(".")
            );
            check.key_fault(&path, message);
        }
        seen.insert(name, path);
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

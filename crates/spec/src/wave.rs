//! The order in which services are deployed and jobs run: what none of the others has to wait for at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Spec, When};

/// What is deployed or run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wave {
    /// Services, in order.
    pub services: Vec<String>,
    /// Jobs, in order.
    pub jobs: Vec<String>,
}

/// The waves of a spec: each service and job comes after those that it names in `after`, and services also
/// after the jobs that run before them. If some wait for each other in a circle, that is told instead.
pub fn waves(spec: &Spec) -> Result<Vec<Wave>, Vec<String>> {
    let mut left = after(spec);
    let mut waves = Vec::new();
    while !left.is_empty() {
        let ready: BTreeSet<String> =
            left.iter().filter(|(_, before)| before.is_empty()).map(|(key, _)| key.clone()).collect();
        if ready.is_empty() {
            return Err(circle(&left));
        }
        left.retain(|key, _| !ready.contains(key));
        for before in left.values_mut() {
            before.retain(|key| !ready.contains(key));
        }
        let of = |section: &str| -> Vec<String> {
            ready.iter().filter_map(|key| key.strip_prefix(section)).map(str::to_owned).collect()
        };
        waves.push(Wave { services: of(SERVICES), jobs: of(JOBS) });
    }
    Ok(waves)
}

const SERVICES: &str = "services.";
const JOBS: &str = "jobs.";

/// What each service and job has to wait for, by address.
fn after(spec: &Spec) -> BTreeMap<String, BTreeSet<String>> {
    let known = |address: &String| {
        address.strip_prefix(SERVICES).is_some_and(|key| spec.services.contains_key(key))
            || address.strip_prefix(JOBS).is_some_and(|key| spec.jobs.contains_key(key))
    };
    let first = spec.jobs.iter().filter(|(_, job)| job.when == When::BeforeServices && job.after.is_empty());
    let first: BTreeSet<String> = first.map(|(key, _)| format!("{JOBS}{key}")).collect();
    let services = spec.services.iter().map(|(key, service)| {
        let named = service.after.names().into_iter().map(|name| address(name)).filter(known);
        (format!("{SERVICES}{key}"), first.iter().cloned().chain(named).collect())
    });
    let jobs = spec.jobs.iter().map(|(key, job)| {
        (format!("{JOBS}{key}"), job.after.iter().map(|name| address(name)).filter(known).collect())
    });
    services.chain(jobs).collect()
}

/// The address that a word of `after` means: a service by its name alone.
fn address(word: &str) -> String {
    if word.contains('.') { word.to_owned() } else { format!("{SERVICES}{word}") }
}

/// Addresses that wait for each other, each for the next and the last for the first.
fn circle(left: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut way: Vec<&String> = left.keys().take(1).collect();
    while let Some(next) = way.last().and_then(|key| left.get(*key)?.first()) {
        if let Some(at) = way.iter().position(|key| *key == next) {
            return way[at..].iter().map(|key| (*key).clone()).collect();
        }
        way.push(next);
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(services: &[(&str, &[&str])], jobs: &[(&str, &[&str])]) -> Spec {
        fn part<T: serde::de::DeserializeOwned>((name, after): &(&str, &[&str])) -> (String, T) {
            let part = serde_json::json!({ "image": "nginx", "after": after });
            ((*name).to_owned(), serde_json::from_value(part).expect("a part of a spec"))
        }
        Spec {
            services: services.iter().map(part).collect(),
            jobs: jobs.iter().map(part).collect(),
            ..Spec::empty("demo")
        }
    }

    fn told(spec: &Spec) -> Vec<String> {
        let waves = waves(spec).expect("waves");
        let word = |wave: &Wave| format!("{} / {}", wave.services.join(" "), wave.jobs.join(" "));
        waves.iter().map(word).collect()
    }

    #[test]
    fn each_comes_after_those_it_names() {
        let spec =
            spec(&[("web", &["broker"]), ("broker", &["rabbit"]), ("rabbit", &[]), ("other", &[])], &[]);
        assert_eq!(told(&spec), ["other rabbit / ", "broker / ", "web / "]);
    }

    #[test]
    fn a_job_runs_before_all_services_or_between_those_it_is_named_with() {
        let services: [(&str, &[&str]); 3] = [("broker", &[]), ("web", &["jobs.storage"]), ("other", &[])];
        let spec = spec(&services, &[("migrations", &[]), ("storage", &["broker"])]);
        assert_eq!(told(&spec), [" / migrations", "broker other / ", " / storage", "web / "]);
    }

    #[test]
    fn a_circle_is_told() {
        let spec = spec(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], &[]);
        assert_eq!(waves(&spec), Err(vec!["services.b".to_owned(), "services.c".to_owned()]));
    }
}

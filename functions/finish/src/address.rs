//! The address in the spec that a fault is about.

use std::cmp::Reverse;

use serde_json::Value;

/// The sections whose parts have names, each with the states that do it.
const SECTIONS: [(&str, &[&str]); 14] = [
    ("secrets", &["Secret"]),
    ("roles", &["Role"]),
    ("repositories", &["Repository"]),
    ("deployers", &["Role"]),
    ("buckets", &["Bucket"]),
    ("fileSystems", &["FileSystem"]),
    ("databases", &["Database"]),
    ("certificates", &["Certificate", "CertificateReady"]),
    ("loadBalancers", &["LoadBalancer", "Listener"]),
    ("jobs", &["Job"]),
    ("functions", &["Function"]),
    ("services", &["Service", "Role", "Verify"]),
    ("apis", &["Api"]),
    ("dns", &["Dns", "DnsReady"]),
];

/// The sections that are one part.
const SINGLE: [(&str, &[&str]); 4] = [
    ("network", &["Network", "NetworkReady"]),
    ("key", &["Key"]),
    ("cluster", &["Cluster", "Capacity"]),
    ("schedule", &["Schedule"]),
];

/// The address that a message names: as it is, or by the name that the part has in AWS. What the state does that failed
/// comes before other sections; of a state that does one part it is that.
pub(crate) fn find(message: &str, state: Option<&str>, spec: &Value) -> Option<String> {
    let state = state.map(|state| state.split('-').next().unwrap_or(state));
    let environment = spec["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    let mut parts = Vec::new();
    for (section, states) in SECTIONS {
        let own = state.is_some_and(|state| states.contains(&state));
        for (key, part) in spec[section].as_object().into_iter().flatten() {
            let address = format!("{section}.{key}");
            let name = part["name"].as_str().map_or_else(|| format!("{environment}-{key}"), str::to_owned);
            let by_address = position(message, &address).map(|at| (0, at));
            let by_name = position(message, &name).map(|at| (1, at));
            if let Some((kind, at)) = by_address.or(by_name) {
                found.push((kind, !own, at, Reverse(address.len()), address.clone()));
            }
            parts.extend(own.then_some(address));
        }
    }
    if let Some((.., address)) = found.into_iter().min() {
        return Some(address);
    }
    let single = SINGLE.iter().find(|(section, states)| {
        spec.get(section).is_some() && state.is_some_and(|state| states.contains(&state))
    });
    let only = if parts.len() == 1 { parts.pop() } else { None };
    single.map(|(section, _)| (*section).to_owned()).or(only)
}

/// Where a text has this word.
fn position(text: &str, word: &str) -> Option<usize> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    text.match_indices(word).map(|(at, _)| at).find(|at| {
        let (before, after) = (&text[..*at], &text[at + word.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_leads_to_the_part_of_the_spec_that_it_is_about() {
        let spec = json!({
            "name": "shop", "network": {}, "cluster": {},
            "services": { "worker": {}, "web": { "name": "front" }, "main": {} },
            "databases": { "main": {} },
        });
        for (message, state, address) in [
            ("services.worker: tasks keep stopping", Some("Verify"), Some("services.worker")),
            ("creating ECS service (shop-worker): denied", Some("Service-1"), Some("services.worker")),
            ("creating ECS service (front): denied", Some("Service-1"), Some("services.web")),
            ("creating RDS instance (shop-main): denied", Some("Database"), Some("databases.main")),
            ("updating ECS service (shop-main): denied", Some("Service-0"), Some("services.main")),
            ("databases.main.version: there is no 1.0", Some("Database"), Some("databases.main")),
            ("NAT gateway is failed", Some("NetworkReady"), Some("network")),
            ("there is no such engine", Some("Database"), Some("databases.main")),
            ("denied", Some("Service-1"), None),
            ("creating role (shop-worker-execution)", None, None),
        ] {
            assert_eq!(find(message, state, &spec).as_deref(), address, "{message}");
        }
    }
}

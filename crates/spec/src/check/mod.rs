//! Faults in what a spec means, as far as they can be found without asking AWS. A file for each kind;
//! in each a function for each rule.

mod api;
mod name;
mod network;
mod reference;
mod service;

use crate::{Kind, Scheme, Spec, structure::Found, tree::Places};

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
    tags(&mut check);
    name::check(&mut check);
    network::check(&mut check);
    secrets(&mut check);
    roles(&mut check);
    repositories(&mut check);
    balancers(&mut check);
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

/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
fn secrets(check: &mut Check<'_>) {
    for (key, secret) in &check.spec.secrets {
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

fn balancers(check: &mut Check<'_>) {
    for (key, balancer) in &check.spec.load_balancers {
        let mut ports = std::collections::BTreeMap::new();
        for (name, listener) in &balancer.listeners {
            if let Some(other) = ports.insert(listener.port, name) {
                check.fault(
                    &["loadBalancers", key, "listeners", name, "port"],
                    format!("port {} is the listener {other}'s already", listener.port),
                );
            }
            let fits = match balancer.kind {
                Kind::Application => crate::Protocol::Http,
                Kind::Network => crate::Protocol::Tcp,
            };
            if listener.protocol.is_some_and(|protocol| protocol != fits) {
                let fits = if fits == crate::Protocol::Http { "HTTP" } else { "TCP" };
                check.fault(
                    &["loadBalancers", key, "listeners", name, "protocol"],
                    format!("this kind of balancer listens to {fits}; write that, or leave the line out"),
                );
            }
        }
        placed(check, key, balancer);
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

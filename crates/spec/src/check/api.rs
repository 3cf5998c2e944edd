//! APIs: their links and routes.

use std::collections::BTreeMap;

use super::Check;
use crate::{Api, Kind, Section};

pub(super) fn check(check: &mut Check<'_>) {
    for (key, api) in &check.spec.apis {
        link(check, key, api);
        routes(check, key, api);
        variables(check, key, api);
    }
}

/// A VPC link of a REST API leads to a network load balancer.
/// Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-private-integration.html>
fn link(check: &mut Check<'_>, key: &str, api: &Api) {
    let spec = check.spec;
    let path = ["apis", key, "link"];
    let reference = api.link.whole().filter(|reference| reference.section == Section::LoadBalancers);
    let Some(name) = reference.and_then(|reference| reference.name.as_ref()) else {
        check.fault(&path, "write the load balancer that answers, such as ${loadBalancers.internal}");
        return;
    };
    // A reference to nothing is told where references are.
    let Some(balancer) = spec.load_balancers.get(name) else { return };
    if balancer.kind != Kind::Network {
        check.fault(
            &path,
            format!(
                "a VPC link takes a network load balancer, and loadBalancers.{name} is an application one"
            ),
        );
    }
    if balancer.listeners.is_empty() {
        check.fault(&path, format!("loadBalancers.{name} has no listener that could answer"));
    }
    for (word, route) in &api.routes {
        let names: Vec<&str> = balancer.listeners.keys().map(String::as_str).collect();
        let path = ["apis", key, "routes", word];
        match &route.listener {
            Some(listener) if !balancer.listeners.contains_key(listener) => check.fault(
                &path,
                format!(
                    "loadBalancers.{name} has no listener \"{listener}\"; there are {}",
                    names.join(", ")
                ),
            ),
            None if names.len() > 1 => check.fault(
                &path,
                format!("write which `listener` of loadBalancers.{name} answers: {}", names.join(" or ")),
            ),
            _ => {}
        }
    }
}

const VERBS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "ANY"];

fn routes(check: &mut Check<'_>, key: &str, api: &Api) {
    for word in api.routes.keys() {
        if let Err(message) = route(word) {
            check.key_fault(&["apis", key, "routes", word], message);
        }
    }
}

fn route(word: &str) -> Result<(), String> {
    let fault = || format!("\"{word}\" is no route; write a method and a path, such as GET /items/{{id}}");
    let (verb, path) = word.split_once(' ').ok_or_else(fault)?;
    if !VERBS.contains(&verb) {
        return Err(format!("\"{verb}\" is no method; there are {}", VERBS.join(", ")));
    }
    let rest = path.strip_prefix('/').ok_or_else(fault)?;
    let parts: Vec<&str> = rest.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
        };
        let fits = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => plain(name.strip_suffix('+').filter(|_| last).unwrap_or(name)),
            None => plain(part) || rest.is_empty(),
        };
        if !fits {
            return Err(format!(
                "\"{part}\" can't be a part of a path; write letters, digits and _-.: or a name in braces"
            ));
        }
    }
    Ok(())
}

/// At one place of a path API Gateway takes one name in braces.
fn variables(check: &mut Check<'_>, key: &str, api: &Api) {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for word in api.routes.keys() {
        let mut above = String::new();
        for part in word.split_once(' ').map_or("", |(_, path)| path).split('/') {
            if part.starts_with('{') {
                let first = *names.entry(above.clone()).or_insert(part);
                if first != part {
                    check.key_fault(
                        &["apis", key, "routes", word],
                        format!("another route has {first} where this one has {part}; use one name for both"),
                    );
                }
            }
            above = format!("{above}/{part}");
        }
    }
}

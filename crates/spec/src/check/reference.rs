//! References: to what is there, of a kind that fits where they stand.

use std::collections::BTreeMap;

use super::{Check, task};
use crate::{
    Image, Job, NetworkMode, Part, Reference, Section, Service, Sidecar, Statement, Text, structure::instead,
};

/// Where a reference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A listener's target.
    Target,
    /// An API's balancer.
    Link,
    /// A statement's resources.
    Resource,
    /// An environment variable.
    Variable,
    /// A service's image, command or label.
    Plain,
    /// What is mounted.
    Mount,
    /// A listener's certificate.
    Certificate,
    /// What a DNS record stands for.
    Record,
    /// A secret that is made of others.
    Compose,
    /// What instances mount.
    InstanceMount,
    /// An address that must answer in the end.
    Check,
}

pub(super) fn check(check: &mut Check<'_>) {
    let spec = check.spec;
    for (key, role) in &spec.roles {
        statements(check, &["roles", key], &role.allow);
    }
    for (key, balancer) in &spec.load_balancers {
        for (name, listener) in &balancer.listeners {
            let path = ["loadBalancers", key, "listeners", name];
            if let Some(default) = &listener.default {
                text(check, &[&path[..], &["default"]].concat(), default, Use::Target);
            }
            for (rule, found) in &listener.rules {
                text(check, &[&path[..], &["rules", rule, "to"]].concat(), &found.to, Use::Target);
            }
            for (index, certificate) in listener.certificates.iter().enumerate() {
                let index = index.to_string();
                text(check, &[&path[..], &["certificates", &index]].concat(), certificate, Use::Certificate);
            }
        }
    }
    tasks(check);
    for (key, secret) in &spec.secrets {
        if let Some(compose) = &secret.compose {
            text(check, &["secrets", key, "compose"], compose, Use::Compose);
        }
    }
    for (path, mounted) in
        spec.cluster.iter().flat_map(|cluster| &cluster.instances).flat_map(|found| &found.mounts)
    {
        text(check, &["cluster", "instances", "mounts", path], mounted, Use::InstanceMount);
    }
    for (index, found) in spec.checks.iter().enumerate() {
        text(check, &["checks", &index.to_string()], &found.url, Use::Check);
    }
    for (key, function) in &spec.functions {
        for (field, code) in [("zip", &function.zip), ("image", &function.image)] {
            if let Some(code) = code {
                text(check, &["functions", key, field], code, Use::Plain);
            }
        }
        for (name, value) in &function.environment {
            text(check, &["functions", key, "environment", name], value, Use::Plain);
        }
        if let Some(role) = &function.role {
            statements(check, &["functions", key, "role"], &role.allow);
        }
    }
    for (zone, found) in &spec.dns {
        for (name, value) in &found.records {
            text(check, &["dns", zone, "records", name], value, Use::Record);
        }
    }
    for (key, api) in &spec.apis {
        text(check, &["apis", key, "link"], &api.link, Use::Link);
    }
}

/// What is started in a container, as services, their sidecars and jobs say it.
struct Container<'a> {
    /// None where a repository is followed.
    image: Option<&'a Text>,
    entry_point: &'a [Text],
    command: &'a [Text],
    environment: &'a BTreeMap<String, Text>,
    mounts: &'a BTreeMap<String, Text>,
}

fn tasks(check: &mut Check<'_>) {
    let spec = check.spec;
    for (key, service) in &spec.services {
        let Service { image, entry_point, command, environment, mounts, .. } = service;
        let image = written(check, key, image);
        container(check, &["services", key], &Container { image, entry_point, command, environment, mounts });
        for (name, value) in &service.labels {
            text(check, &["services", key, "labels", name], value, Use::Plain);
        }
        if let Some(role) = &service.role {
            statements(check, &["services", key, "role"], &role.allow);
        }
        for (name, sidecar) in &service.sidecars {
            let Sidecar { image, entry_point, command, environment, mounts, .. } = sidecar;
            let image = Some(image);
            let path = ["services", key, "sidecars", name];
            container(check, &path, &Container { image, entry_point, command, environment, mounts });
        }
    }
    for (key, job) in &spec.jobs {
        let Job { image, entry_point, command, environment, mounts, .. } = job;
        let image = Some(image);
        container(check, &["jobs", key], &Container { image, entry_point, command, environment, mounts });
        if let Some(role) = &job.role {
            statements(check, &["jobs", key, "role"], &role.allow);
        }
    }
}

/// A service's image if it is written; else the repository that it follows is one of the spec's.
fn written<'a>(check: &mut Check<'_>, key: &str, image: &'a Image) -> Option<&'a Text> {
    let follow = match image {
        Image::Written(text) => return Some(text),
        Image::Followed(follow) => follow,
    };
    let name = Some(follow.repository.clone());
    let reference = Reference { section: Section::Repositories, name, attribute: Vec::new() };
    if let Err(message) = exists(check, &reference) {
        check.fault(&["services", key, "image", "repository"], message);
    }
    None
}

fn container(check: &mut Check<'_>, path: &[&str], found: &Container<'_>) {
    if let Some(image) = found.image {
        text(check, &[path, &["image"]].concat(), image, Use::Plain);
    }
    for (field, words) in [("command", found.command), ("entryPoint", found.entry_point)] {
        for (index, word) in words.iter().enumerate() {
            text(check, &[path, &[field, &index.to_string()]].concat(), word, Use::Plain);
        }
    }
    for (mounted, found) in found.mounts {
        text(check, &[path, &["mounts", mounted]].concat(), found, Use::Mount);
    }
    for (name, value) in found.environment {
        text(check, &[path, &["environment", name]].concat(), value, Use::Variable);
    }
}

fn statements(check: &mut Check<'_>, path: &[&str], allow: &[Statement]) {
    for (index, statement) in allow.iter().enumerate() {
        for (number, resource) in statement.resources.iter().enumerate() {
            let (index, number) = (index.to_string(), number.to_string());
            let path = [path, &["allow", &index, "resources", &number]].concat();
            text(check, &path, resource, Use::Resource);
        }
    }
}

fn text(check: &mut Check<'_>, path: &[&str], text: &Text, place: Use) {
    let is_file_system = text.whole().is_some_and(|reference| reference.section == Section::FileSystems);
    if place == Use::Mount && !is_file_system && !task::is_directory(text) {
        check.fault(
            path,
            "write what is mounted: ${fileSystems.x}, an access point of it, ${fileSystems.x.y}, or on instances a \
             directory of theirs, /mnt/data",
        );
        return;
    }
    if place == Use::InstanceMount && !is_file_system {
        check.fault(path, "instances mount a file system: ${fileSystems.x}");
        return;
    }
    let receives =
        |reference: &Reference| [Section::Services, Section::Functions].contains(&reference.section);
    if place == Use::Target && !text.whole().is_some_and(receives) {
        check.fault(
            path,
            "write who answers: a service, such as ${services.api}, or a function, ${functions.index}",
        );
        return;
    }
    for reference in text.references() {
        let whole = matches!(text.parts.as_slice(), [Part::Reference(_)]);
        if let Err(message) = exists(check, reference).and_then(|()| fits(check, reference, place, whole)) {
            check.fault(path, format!("${{{reference}}}: {message}"));
        }
    }
}

/// What a reference names is in the spec.
fn exists(check: &Check<'_>, reference: &Reference) -> Result<(), String> {
    let spec = check.spec;
    if reference.section == Section::Key && spec.key.is_none() {
        return Err("the spec has no key".to_owned());
    }
    let Some(name) = &reference.name else { return Ok(()) };
    let known: Vec<&str> = match reference.section {
        Section::Secrets => spec.secrets.keys().map(String::as_str).collect(),
        Section::Roles => spec.roles.keys().map(String::as_str).collect(),
        Section::Repositories => spec.repositories.keys().map(String::as_str).collect(),
        Section::Buckets => spec.buckets.keys().map(String::as_str).collect(),
        Section::FileSystems => spec.file_systems.keys().map(String::as_str).collect(),
        Section::Databases => spec.databases.keys().map(String::as_str).collect(),
        Section::Certificates => spec.certificates.keys().map(String::as_str).collect(),
        Section::LoadBalancers => spec.load_balancers.keys().map(String::as_str).collect(),
        Section::Functions => spec.functions.keys().map(String::as_str).collect(),
        Section::Services => spec.services.keys().map(String::as_str).collect(),
        Section::Apis => spec.apis.keys().map(String::as_str).collect(),
        _ => return Ok(()),
    };
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    let section = reference.section.word();
    if known.is_empty() {
        return Err(format!("the spec has no {section}"));
    }
    Err(format!("there is no \"{name}\" in {section}; {}", instead(name, &known)))
}

/// What a reference stands for fits where it stands, and is known by then.
fn fits(check: &Check<'_>, reference: &Reference, place: Use, whole: bool) -> Result<(), String> {
    let attribute = reference.attribute.first().map(String::as_str);
    if reference.attribute.len() > 1 {
        return Err("at most one word follows a name".to_owned());
    }
    if place == Use::Compose {
        return composed(check, reference, attribute);
    }
    let known = match (reference.section, attribute) {
        (Section::Apis, Some("url")) => place == Use::Check,
        (Section::Services, Some("host")) if place != Use::Target => return host(check, reference, place),
        (Section::Environment | Section::Region | Section::Account | Section::Roles, None)
        | (Section::Cluster | Section::Databases, Some("name"))
        | (Section::Key, Some("arn" | "id"))
        | (Section::Buckets, None | Some("arn"))
        | (Section::Repositories, None | Some("arn" | "name")) => true,
        (Section::LoadBalancers, None) => place == Use::Link || (place == Use::Record && whole),
        (Section::Services, _) | (Section::Functions, None) => place == Use::Target,
        (Section::Certificates, None) => place == Use::Certificate,
        (Section::FileSystems, point) => return mounted(check, reference, point, place),
        (Section::Databases, Some("host" | "port"))
        | (Section::Network, Some("vpc" | "cidr"))
        | (Section::Cluster, Some("arn"))
        | (Section::LoadBalancers, Some("host" | "arn")) => return before_roles(place),
        (Section::Secrets, key) => return secret(check, reference, key, place, whole),
        _ => false,
    };
    if known { Ok(()) } else { Err(remedy(reference.section).to_owned()) }
}

/// What can be written of a section.
fn remedy(section: Section) -> &'static str {
    match section {
        Section::Environment | Section::Region | Section::Account | Section::Roles => "nothing follows this",
        Section::Network => "write ${network.vpc} or ${network.cidr}",
        Section::Key => "write ${key.arn} or ${key.id}",
        Section::Cluster => "write ${cluster.name} or ${cluster.arn}",
        Section::Repositories => "a repository has its URI, `.arn` and `.name`",
        Section::Buckets => "a bucket has its name, and `.arn`",
        Section::FileSystems => "a file system, or an access point of it, can only be mounted",
        Section::Databases => "a database has `.host`, `.port` and `.name`",
        Section::Certificates => "a certificate can only be a listener's",
        Section::LoadBalancers => "a load balancer has `.host` and `.arn`",
        Section::Services => "a service is who answers a listener; elsewhere write its `.host`",
        Section::Functions => "a function can only be who answers a listener of an application balancer",
        Section::Apis => "APIs are made after services and roles, which therefore can't know of them",
        Section::Secrets => "a secret has the keys of its value",
    }
}

/// Roles are made before networks and balancers are known.
fn before_roles(place: Use) -> Result<(), String> {
    if place == Use::Resource {
        return Err("roles are made before this is known; write an ARN with *".to_owned());
    }
    Ok(())
}

/// A file system is mounted, whole or at an access point that it has.
fn mounted(check: &Check<'_>, reference: &Reference, point: Option<&str>, place: Use) -> Result<(), String> {
    if place == Use::InstanceMount && point.is_some() {
        return Err("instances mount whole file systems; leave the access point out".to_owned());
    }
    if place != Use::Mount && place != Use::InstanceMount {
        return Err(remedy(Section::FileSystems).to_owned());
    }
    let (Some(name), Some(point)) = (&reference.name, point) else { return Ok(()) };
    let points = check.spec.file_systems.get(name).map(|file_system| &file_system.access_points);
    let known: Vec<&str> = points.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if known.contains(&point) {
        return Ok(());
    }
    if known.is_empty() {
        return Err("the file system has no access points".to_owned());
    }
    Err(format!("there is no access point \"{point}\"; {}", instead(point, &known)))
}

/// A service has a name in the VPC where its tasks have addresses of their own.
fn host(check: &Check<'_>, reference: &Reference, place: Use) -> Result<(), String> {
    let service = reference.name.as_ref().and_then(|name| check.spec.services.get(name));
    if service.is_some_and(|service| service.network_mode == Some(NetworkMode::Bridge)) {
        return Err("in bridge mode a service has no name of its own; reach it through a balancer's `.host`"
            .to_owned());
    }
    match place {
        Use::Plain | Use::Variable | Use::Compose | Use::Record => Ok(()),
        _ => Err(remedy(Section::Services).to_owned()),
    }
}

/// A secret is made of other secrets and of names, which are known before anything is built.
fn composed(check: &Check<'_>, reference: &Reference, attribute: Option<&str>) -> Result<(), String> {
    match (reference.section, attribute) {
        (Section::Environment | Section::Region | Section::Account, None) => Ok(()),
        (Section::Services, Some("host")) => host(check, reference, Use::Compose),
        (Section::Secrets, key) => {
            let of = reference.name.as_ref().and_then(|name| check.spec.secrets.get(name));
            if of.is_some_and(|secret| secret.compose.is_some()) {
                return Err("a composed secret is made of secrets that aren't".to_owned());
            }
            secret(check, reference, key, Use::Variable, true)
        }
        _ => Err(
            "a secret is made of other secrets, ${services.x.host}, ${environment}, ${region} and ${account}"
                .to_owned(),
        ),
    }
}

/// A secret's value never stands in a text: ECS hands it to the container by reference.
fn secret(
    check: &Check<'_>,
    reference: &Reference,
    key: Option<&str>,
    place: Use,
    whole: bool,
) -> Result<(), String> {
    match place {
        Use::Resource if key.is_some() => {
            return Err("a statement is about the whole secret; leave the key out".to_owned());
        }
        Use::Resource => return Ok(()),
        Use::Variable if whole => {}
        Use::Variable => {
            let name = reference.name.as_deref().unwrap_or("x");
            return Err(format!(
                "a secret in a longer text would be in plain sight; make the whole text a secret, `secrets: \
                 {{ {name}-url: {{ compose: \"…${{{reference}}}…\" }} }}`, and write ${{secrets.{name}-url}} here"
            ));
        }
        _ => return Err("a secret may only be an environment variable, or a statement's resource".to_owned()),
    }
    let secret = reference.name.as_ref().and_then(|name| check.spec.secrets.get(name));
    let Some(generate) = secret.and_then(|secret| secret.generate.as_ref()) else { return Ok(()) };
    match (key, generate.username.is_some()) {
        (None, _) | (Some("username" | "password"), true) => Ok(()),
        (Some(_), true) => {
            Err("a generated secret with a user name has `.username` and `.password`".to_owned())
        }
        (Some(_), false) => {
            Err("a secret generated without a `username` is the password itself, and has no keys".to_owned())
        }
    }
}

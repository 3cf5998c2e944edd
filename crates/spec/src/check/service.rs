//! Services: sizes, ports, variables, logs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, statements};
use crate::{Duration, Logs, Placement, Section, Service, Target, Text, structure::instead, targets, waves};

pub(super) fn check(check: &mut Check<'_>) {
    retention(check, &["logs", "retention"], &check.spec.logs);
    for (key, service) in &check.spec.services {
        let path = ["services", key];
        size(check, &path, service.cpu, service.memory);
        desired(check, key, service);
        ports(check, key, service);
        for name in service.environment.keys() {
            variable(check, &path, name);
        }
        mounted_paths(check, &path, service.mounts.keys());
        container(check, key, service);
        after(check, key, service);
        placed(check, &path, service.placement);
        if let Some(role) = &service.role {
            statements(check, &["services", key, "role"], &role.allow, &role.policies);
        }
        if let Some(logs) = &service.logs {
            retention(check, &["services", key, "logs", "retention"], logs);
        }
    }
    circle(check);
    shared_groups(check);
    target_ports(check);
    target_groups(check);
}

/// The memory, in MiB, that goes with so much CPU: from, to, in steps of.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html>
const SIZES: [(u32, &[u32]); 3] = [
    (256, &[512, 1024, 2048]),
    (512, &[1024, 2048, 3072, 4096]),
    (1024, &[2048, 3072, 4096, 5120, 6144, 7168, 8192]),
];

/// The same for the larger sizes, as ranges.
const RANGES: [(u32, u32, u32, u32); 4] = [
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];

fn memories(cpu: u32) -> Option<Vec<u32>> {
    let small = SIZES.iter().find(|(size, _)| *size == cpu).map(|(_, memories)| memories.to_vec());
    small.or_else(|| {
        let (_, from, to, step) = RANGES.iter().find(|(size, ..)| *size == cpu)?;
        Some((*from..=*to).step_by(*step as usize).collect())
    })
}

pub(super) fn size(check: &mut Check<'_>, path: &[&str], cpu: u32, memory: u32) {
    let Some(memories) = memories(cpu) else {
        let sizes = SIZES.iter().map(|(cpu, _)| *cpu).chain(RANGES.iter().map(|(cpu, ..)| *cpu));
        let sizes: Vec<String> = sizes.map(|cpu| cpu.to_string()).collect();
        check.fault(
            &[path, &["cpu"]].concat(),
            format!("Fargate has no size of {cpu} CPU units; there are {}", sizes.join(", ")),
        );
        return;
    };
    if memories.contains(&memory) {
        return;
    }
    let mut nearest = memories.clone();
    nearest.sort_by_key(|offered| offered.abs_diff(memory));
    let nearest: Vec<String> = nearest.into_iter().take(2).map(|memory| memory.to_string()).collect();
    let (least, most) =
        (memories.first().copied().unwrap_or_default(), memories.last().copied().unwrap_or_default());
    check.fault(
        &[path, &["memory"]].concat(),
        format!(
            "Fargate has no {memory} MiB with {cpu} CPU units, which take {least} to {most}; the nearest are {}",
            nearest.join(" and ")
        ),
    );
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
fn desired(check: &mut Check<'_>, key: &str, service: &Service) {
    if service.desired > 5000 {
        check.fault(
            &["services", key, "desired"],
            format!("a service runs at most 5000 tasks, not {}", service.desired),
        );
    }
}

fn ports(check: &mut Check<'_>, key: &str, service: &Service) {
    let mut seen = BTreeSet::new();
    for (index, port) in service.ports.iter().enumerate() {
        let index = index.to_string();
        if *port == 0 {
            check.fault(&["services", key, "ports", &index], "a port is a number from 1 to 65535");
        }
        if !seen.insert(port) {
            check.fault(&["services", key, "ports", &index], format!("port {port} is there twice"));
        }
    }
}

pub(super) fn variable(check: &mut Check<'_>, path: &[&str], name: &str) {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !name.chars().all(rest) {
        check.key_fault(
            &[path, &["environment", name]].concat(),
            format!("\"{name}\" can't be a variable's name; write letters, digits and _"),
        );
    }
}

pub(super) fn mounted_paths<'a>(
    check: &mut Check<'_>,
    path: &[&str],
    paths: impl Iterator<Item = &'a String>,
) {
    for mounted in paths.filter(|mounted| !mounted.starts_with('/')) {
        check.key_fault(
            &[path, &["mounts", mounted]].concat(),
            format!("\"{mounted}\" is no path in the container; it begins with /"),
        );
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>
fn container(check: &mut Check<'_>, key: &str, service: &Service) {
    let mut within = |path: &[&str], time: Option<Duration>, least: u64, most: u64| {
        let Some(time) = time else { return };
        if !(least..=most).contains(&time.seconds()) {
            let path = [&["services", key], path].concat();
            check.fault(&path, format!("{time} is out of range; ECS takes {least}s to {most}s"));
        }
    };
    within(&["stopTimeout"], service.stop_timeout, 2, 120);
    if let Some(found) = &service.check {
        within(&["check", "interval"], Some(found.interval), 5, 300);
        within(&["check", "timeout"], Some(found.timeout), 2, 60);
        within(&["check", "startPeriod"], found.start_period, 0, 300);
        if !["CMD", "CMD-SHELL"].contains(&found.command[0].as_str()) {
            check.fault(
                &["services", key, "check", "command", "0"],
                "a check begins with CMD-SHELL, and a line for the shell follows, or with CMD and words",
            );
        }
    }
    if service.exec && service.role.is_none() {
        check.fault(
            &["services", key, "exec"],
            "commands reach the container through its own role; write `role: {}` beside it",
        );
    }
}

/// A service comes after others, by their names, and after jobs, by their addresses.
fn after(check: &mut Check<'_>, key: &str, service: &Service) {
    let spec = check.spec;
    let jobs: Vec<String> = spec.jobs.keys().map(|key| format!("jobs.{key}")).collect();
    let known: Vec<&str> = spec.services.keys().chain(&jobs).map(String::as_str).collect();
    for (index, before) in service.after.iter().enumerate() {
        if !known.contains(&before.as_str()) {
            check.fault(
                &["services", key, "after", &index.to_string()],
                format!("there is no service or job \"{before}\"; {}", instead(before, &known)),
            );
        }
    }
}

fn circle(check: &mut Check<'_>) {
    if let Err(circle) = waves(check.spec)
        && let [first, ..] = circle.as_slice()
        && let Some((section, key)) = first.split_once('.')
    {
        let way = circle.join(" after ");
        check.fault(
            &[section, key, "after"],
            format!("these wait for each other: {way} after {first}; leave one `after` out"),
        );
    }
}

pub(super) fn placed(check: &mut Check<'_>, path: &[&str], placement: Placement) {
    let Some(network) = &check.spec.network else { return };
    let (word, subnets) = match placement {
        Placement::Private => ("private", &network.private),
        Placement::Public => ("public", &network.public),
    };
    if subnets.is_empty() {
        check.fault(
            &[path, &["placement"]].concat(),
            format!(
                "tasks run in {word} subnets, and network.{word} has none; write `placement`, or subnets"
            ),
        );
    }
}

/// The periods, in days, that CloudWatch Logs offers.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
const RETENTIONS: [u64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) fn retention(check: &mut Check<'_>, path: &[&str], logs: &Logs) {
    let Some(retention) = logs.retention else { return };
    let days = retention.whole_days();
    if days.is_some_and(|days| RETENTIONS.contains(&days)) {
        return;
    }
    let wanted = retention.seconds() / Duration::days(1).seconds();
    let nearest = RETENTIONS.iter().min_by_key(|days| days.abs_diff(wanted)).copied().unwrap_or_default();
    check.fault(
        path,
        format!("CloudWatch Logs doesn't keep lines for {retention}; the nearest it offers is {nearest}d"),
    );
}

/// Services may share a log group, and then agree on it.
fn shared_groups(check: &mut Check<'_>) {
    let mut seen: BTreeMap<&String, (&String, Option<Duration>)> = BTreeMap::new();
    for (key, service) in &check.spec.services {
        let Some(logs) = &service.logs else { continue };
        let Some(group) = &logs.group else { continue };
        match seen.get(group) {
            Some((other, retention)) if *retention != logs.retention => check.fault(
                &["services", key, "logs"],
                format!("{group} is services.{other}'s log group too, and the two differ in `retention`"),
            ),
            Some(_) => {}
            None => {
                seen.insert(group, (key, logs.retention));
            }
        }
    }
}

/// A target is a port that its service listens on.
fn target_ports(check: &mut Check<'_>) {
    let spec = check.spec;
    for (key, balancer) in &spec.load_balancers {
        for (name, listener) in &balancer.listeners {
            let path = ["loadBalancers", key, "listeners", name];
            if let Some(to) = &listener.default {
                target_port(check, &[&path[..], &["default"]].concat(), key, to);
            }
            for (rule, found) in &listener.rules {
                target_port(check, &[&path[..], &["rules", rule, "to"]].concat(), key, &found.to);
            }
        }
    }
}

fn target_port(check: &mut Check<'_>, path: &[&str], balancer: &str, to: &Text) {
    let spec = check.spec;
    let reference = to.whole().filter(|reference| reference.section == Section::Services);
    let Some(service) = reference.and_then(|reference| spec.services.get(reference.name.as_ref()?)) else {
        return;
    };
    if Target::of(spec, balancer, to).is_some() {
        return;
    }
    let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
    let remedy = if ports.is_empty() {
        "it declares none; write its `ports`".to_owned()
    } else {
        format!("it declares {}", ports.join(", "))
    };
    check.fault(path, format!("the service listens on no such port: {remedy}"));
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-load-balancing.html>
fn target_groups(check: &mut Check<'_>) {
    for key in check.spec.services.keys() {
        let count = targets(check.spec)
            .iter()
            .filter(|target| target.service().is_some_and(|(name, _)| name == key))
            .count();
        if count > 5 {
            check.fault(&["services", key], format!("ECS registers a service with at most 5 target groups, and balancers send to {count} of its ports"));
        }
    }
}

//! Services: sizes, ports, variables, logs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Check,
    role::statements,
    task::{self, Task},
};
use crate::{
    After, Condition, Duration, ImageFrom, Logs, NetworkMode, Placement, Section, Service, Target, Text,
    structure::instead, targets, waves,
};

pub(super) fn check(check: &mut Check<'_>) {
    self::logs(check, &["logs"], &check.spec.logs);
    for (key, service) in &check.spec.services {
        let path = ["services", key];
        task::check(
            check,
            &Task {
                path,
                cpu: service.cpu,
                memory: service.memory,
                reservation: service.memory_reservation,
                mode: service.network_mode,
                placement: service.placement,
                mounts: &service.mounts,
            },
        );
        desired(check, key, service);
        if service.image_from == ImageFrom::Ci && service.image.followed().is_some() {
            check.fault(
                &["services", key, "imageFrom"],
                "either the newest image of a repository is deployed, or what CI deploys is kept: leave `imageFrom` \
                 out, or write an image that a new service begins with, such as `image: ${repositories.app}:latest`",
            );
        }
        ports(check, key, service);
        for name in service.environment.keys() {
            variable(check, &path, name);
        }
        for name in service.labels.keys() {
            label(check, &path, name);
        }
        host_ports(check, key, service);
        balanced(check, key, service);
        container(check, key, service);
        after(check, key, service);
        conditions(check, key, service);
        sidecars(check, key, service);
        scale(check, key, service);
        if service.deployment.minimum == 100 && service.deployment.maximum == 100 {
            check.fault(
                &["services", key, "deployment"],
                "with at least 100 % and at most 100 % no task can take another's place; raise `maximum` or lower \
                 `minimum`",
            );
        }
        if let Some(role) = &service.role {
            statements(check, &["services", key, "role"], &role.allow, &role.policies);
        }
        if let Some(logs) = &service.logs {
            self::logs(check, &["services", key, "logs"], logs);
        }
    }
    circle(check);
    shared_groups(check);
    target_ports(check);
    target_groups(check);
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
fn desired(check: &mut Check<'_>, key: &str, service: &Service) {
    let path = ["services", key, "desired"];
    if service.scale.is_some() && service.desired.is_some() {
        check.fault(&path, "the number of tasks follows `scale`; leave one of the two out");
    }
    if service.desired() > 5000 {
        check.fault(&path, format!("a service runs at most 5000 tasks, not {}", service.desired()));
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

/// Source: <https://docs.docker.com/engine/manage-resources/labels/>
fn label(check: &mut Check<'_>, path: &[&str], name: &str) {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=') {
        check.key_fault(
            &[path, &["labels", name]].concat(),
            format!(
                "\"{name}\" can't be a label's name; write one without spaces and =, such as com.example.team"
            ),
        );
    }
}

/// What only a balancer asks for has a balancer.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>
fn balanced(check: &mut Check<'_>, key: &str, service: &Service) {
    let answers = |target: &Target| target.service().is_some_and(|(name, _)| name == key);
    let all: Vec<Target> = targets(check.spec).into_iter().filter(answers).collect();
    let grace = service.grace_period;
    for (field, said) in [("health", service.health.is_some()), ("gracePeriod", grace.is_some())] {
        if said && all.is_empty() {
            check.fault(
                &["services", key, field],
                format!(
                    "no load balancer sends to this service, so nothing asks for `{field}`; leave the line out, or \
                     write the service as a listener's `default` or in a rule's `to`"
                ),
            );
        }
    }
    if grace.is_some_and(|grace| grace.seconds() > 2_147_483_647) {
        check.fault(&["services", key, "gracePeriod"], "ECS takes at most 2147483647s");
    }
    let Some(health) = &service.health else { return };
    // A network balancer takes statuses up to 599, an application balancer up to 499.
    if !statuses(&health.status) {
        check.fault(
            &["services", key, "health", "status"],
            format!(
                "\"{}\" ends before it begins; write the smaller status first, such as 200-399",
                health.status
            ),
        );
    }
    if health.path.len() > 1024 || !health.path.chars().all(|c| c.is_ascii_graphic()) {
        check.fault(
            &["services", key, "health", "path"],
            "a path has at most 1024 characters, and no spaces; write it as it stands in a URL, such as /healthz",
        );
    }
}

/// Whether the ranges of a list such as `200,300-399` begin before they end.
fn statuses(text: &str) -> bool {
    text.split(',').all(|range| match range.split_once('-') {
        Some((first, last)) => first < last && !last.contains('-'),
        None => true,
    })
}

pub(super) fn mounted_paths<'a>(
    check: &mut Check<'_>,
    path: &[&str],
    paths: impl Iterator<Item = &'a String>,
) {
    for mounted in paths {
        let odd = mounted.contains(|c: char| c == ':' || c.is_control()) || mounted == "/";
        if !mounted.starts_with('/') || odd {
            check.key_fault(
                &[path, &["mounts", mounted]].concat(),
                format!(
                    "\"{mounted}\" is no path in the container; it begins with /, as /data, and has no colon"
                ),
            );
        }
    }
}

fn container(check: &mut Check<'_>, key: &str, service: &Service) {
    let path = ["services", key];
    within(check, &[&path[..], &["stopTimeout"]].concat(), service.stop_timeout, 2, 120);
    if let Some(found) = &service.check {
        container_check(check, &path, found);
    }
    if service.exec && service.role.is_none() {
        check.fault(
            &["services", key, "exec"],
            "commands reach the container through its own role; write `role: {}` beside it",
        );
    }
}

fn within(check: &mut Check<'_>, path: &[&str], time: Option<Duration>, least: u64, most: u64) {
    let Some(time) = time else { return };
    if !(least..=most).contains(&time.seconds()) {
        check.fault(path, format!("{time} is out of range; ECS takes {least}s to {most}s"));
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>
fn container_check(check: &mut Check<'_>, path: &[&str], found: &crate::Check) {
    within(check, &[path, &["check", "interval"]].concat(), Some(found.interval), 5, 300);
    within(check, &[path, &["check", "timeout"]].concat(), Some(found.timeout), 2, 60);
    within(check, &[path, &["check", "startPeriod"]].concat(), found.start_period, 0, 300);
    if !["CMD", "CMD-SHELL"].contains(&found.command[0].as_str()) {
        check.fault(
            &[path, &["check", "command", "0"]].concat(),
            "a check begins with CMD-SHELL, and a line for the shell follows, or with CMD and words",
        );
    }
}

/// A service comes after others, by their names, and after jobs, by their addresses.
fn after(check: &mut Check<'_>, key: &str, service: &Service) {
    let spec = check.spec;
    let jobs: Vec<String> = spec.jobs.keys().map(|key| format!("jobs.{key}")).collect();
    let known: Vec<&str> = spec.services.keys().chain(&jobs).map(String::as_str).collect();
    for (index, before) in service.after.names().into_iter().enumerate() {
        let place = match service.after {
            After::Names(_) => index.to_string(),
            After::Conditions(_) => before.clone(),
        };
        if !known.contains(&before.as_str()) {
            check.fault(
                &["services", key, "after", &place],
                format!("there is no service or job \"{before}\"; {}", instead(before, &known)),
            );
        }
    }
}

/// What is waited for is something that can come about.
fn conditions(check: &mut Check<'_>, key: &str, service: &Service) {
    let After::Conditions(conditions) = &service.after else { return };
    for (name, condition) in conditions {
        let path = ["services", key, "after", name];
        let before = check.spec.services.get(name);
        match (before, condition) {
            (Some(_), Condition::Completed) => {
                check.fault(&path, "a service never completes; write `started` or `healthy`");
            }
            (Some(before), Condition::Healthy) => {
                let answers = |target: &Target| target.service().is_some_and(|(found, _)| found == name);
                if before.check.is_none() && !targets(check.spec).iter().any(answers) {
                    check.fault(
                        &path,
                        format!(
                            "nothing tells whether {name} is well; give it a `check`, or write `started`"
                        ),
                    );
                }
            }
            (None, Condition::Started | Condition::Healthy) if name.starts_with("jobs.") => {
                check.fault(&path, "a job is waited for until it has run; write `completed`");
            }
            _ => {}
        }
    }
}

/// A port of the instance is chosen for a port of the container, in bridge mode.
fn host_ports(check: &mut Check<'_>, key: &str, service: &Service) {
    let path = ["services", key, "hostPorts"];
    if !service.host_ports.is_empty() && service.network_mode == Some(NetworkMode::Awsvpc) {
        check.fault(
            &path,
            "a task with an address of its own has its own ports; leave the line out, or write `networkMode: bridge`",
        );
    }
    let mut seen = BTreeSet::new();
    for (port, host) in &service.host_ports {
        let path = [&path[..], &[port]].concat();
        if !port.parse().is_ok_and(|port| service.ports.contains(&port)) {
            check.key_fault(&path, format!("{port} is none of the service's `ports`"));
        }
        if *host == 0 {
            check.fault(&path, "leave the line out to have any free port");
        } else if !seen.insert(host) {
            check.fault(&path, format!("port {host} of the instance is there twice"));
        }
    }
    let asked = service.health.as_ref().and_then(|health| health.port);
    if asked.is_some() && service.network_mode == Some(NetworkMode::Bridge) {
        check.fault(
            &["services", key, "health", "port"],
            "in bridge mode ports are the instance's; a balancer asks the one that requests go to",
        );
    }
}

/// The most containers of a task.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>
const CONTAINERS: usize = 10;

fn sidecars(check: &mut Check<'_>, key: &str, service: &Service) {
    let count = service.sidecars.len() + 1;
    if count > CONTAINERS {
        check.fault(
            &["services", key, "sidecars"],
            format!("a task has at most {CONTAINERS} containers, and this one would have {count}"),
        );
    }
    for (name, sidecar) in &service.sidecars {
        let path = ["services", key, "sidecars", name];
        if name == key {
            check.key_fault(&path, "the service's own container is called that; choose another name");
        }
        match sidecar.before {
            Some(Condition::Healthy) if sidecar.check.is_none() => {
                check.fault(
                    &[&path[..], &["before"]].concat(),
                    "nothing tells whether it is well; give it a `check`",
                );
            }
            Some(Condition::Completed) if sidecar.essential => check.fault(
                &[&path[..], &["before"]].concat(),
                "the task ends when it ends; write `essential: false` beside it",
            ),
            _ => {}
        }
        for variable in sidecar.environment.keys() {
            self::variable(check, &path, variable);
        }
        if let Some(found) = &sidecar.check {
            container_check(check, &path, found);
        }
        task::sidecar(check, &path, sidecar);
    }
    shares(check, key, service);
}

/// On Fargate the containers of a task share what the task has.
fn shares(check: &mut Check<'_>, key: &str, service: &Service) {
    if task::on_instances(check) {
        return;
    }
    let sidecars = service.sidecars.values();
    let asked = [
        ("cpu", service.cpu, sidecars.clone().filter_map(|sidecar| sidecar.cpu).sum::<u32>()),
        ("memory", service.memory, sidecars.filter_map(|sidecar| sidecar.memory).sum()),
    ];
    for (word, has, asked) in asked {
        if asked > has.unwrap_or_default() {
            check.fault(
                &["services", key, "sidecars"],
                format!(
                    "they ask for more `{word}` ({asked}) than the task has ({})",
                    has.unwrap_or_default()
                ),
            );
        }
    }
}

/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html>
fn scale(check: &mut Check<'_>, key: &str, service: &Service) {
    let Some(scale) = &service.scale else { return };
    let path = ["services", key, "scale"];
    if scale.max < scale.min {
        check.fault(
            &[&path[..], &["max"]].concat(),
            format!("at most {} are fewer than at least {}", scale.max, scale.min),
        );
    }
    if scale.cpu.is_none() && scale.memory.is_none() && scale.requests.is_none() {
        check.fault(&path, "say what the number of tasks follows: `cpu`, `memory` or `requests`");
    }
    let of_service = |target: &Target| target.http && target.service().is_some_and(|(name, _)| name == key);
    if scale.requests.is_some() && targets(check.spec).iter().filter(|target| of_service(target)).count() != 1
    {
        check.fault(
            &[&path[..], &["requests"]].concat(),
            "requests are counted at one target group of an application balancer, and the service isn't behind \
             exactly one",
        );
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

pub(super) fn logs(check: &mut Check<'_>, path: &[&str], logs: &Logs) {
    if logs.group.as_ref().is_some_and(|group| group.starts_with("aws/")) {
        check.fault(&[path, &["group"]].concat(), "log groups that begin with aws/ are AWS's own");
    }
    retention(check, &[path, &["retention"]].concat(), logs);
}

fn retention(check: &mut Check<'_>, path: &[&str], logs: &Logs) {
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

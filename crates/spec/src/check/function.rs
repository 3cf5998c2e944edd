//! Functions and jobs.

use super::{
    Check, service, statements,
    task::{self, Task},
};
use crate::{Section, When, structure::instead};

pub(super) fn check(check: &mut Check<'_>) {
    functions(check);
    jobs(check);
}

/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
fn functions(check: &mut Check<'_>) {
    for (key, function) in &check.spec.functions {
        let path = ["functions", key];
        let codes = [function.package.is_some(), function.zip.is_some(), function.image.is_some()];
        if codes.into_iter().filter(|code| *code).count() != 1 {
            check.fault(&path, "write where its code is: one of `package`, `zip` and `image`");
        }
        if let Some(package) = &function.package
            && !PACKAGES.contains(&package.as_str())
        {
            check.fault(
                &[&path[..], &["package"]].concat(),
                format!("Plinth brings no package \"{package}\"; {}", instead(package, &PACKAGES)),
            );
        }
        if let Some(zip) = &function.zip
            && !zip.to_string().starts_with("s3://")
        {
            check.fault(&[&path[..], &["zip"]].concat(), "write s3://bucket/key");
        }
        if function.zip.is_none() {
            for (word, said) in [("runtime", &function.runtime), ("handler", &function.handler)] {
                if said.is_some() {
                    check.fault(&[&path[..], &[word]].concat(), "only a `zip` has it; leave the line out");
                }
            }
        }
        if let Some(timeout) = function.timeout
            && !(1..=900).contains(&timeout.seconds())
        {
            check.fault(
                &[&path[..], &["timeout"]].concat(),
                format!("Lambda lets a call take 1s to 15m, not {timeout}"),
            );
        }
        if let Some(role) = &function.role {
            statements(check, &["functions", key, "role"], &role.allow, &role.policies);
        }
    }
}

/// The packages that come with Plinth.
const PACKAGES: [&str; 1] = ["reportportal-index"];

fn jobs(check: &mut Check<'_>) {
    let spec = check.spec;
    let known: Vec<&str> = spec.services.keys().map(String::as_str).collect();
    for (key, job) in &spec.jobs {
        let path = ["jobs", key];
        task::check(
            check,
            &Task {
                path,
                cpu: job.cpu,
                memory: job.memory,
                reservation: job.memory_reservation,
                mode: job.network_mode,
                placement: job.placement,
                mounts: &job.mounts,
            },
        );
        for name in job.environment.keys() {
            service::variable(check, &path, name);
        }
        if job.when == When::Manual && !job.after.is_empty() {
            check.fault(
                &[&path[..], &["after"]].concat(),
                "a job that never runs by itself comes after nothing; leave `when` or `after` out",
            );
        }
        for (index, before) in job.after.iter().enumerate() {
            let name = before.strip_prefix(&format!("{}.", Section::Services.word())).unwrap_or(before);
            if !spec.services.contains_key(name) {
                let index = index.to_string();
                check.fault(
                    &[&path[..], &["after", &index]].concat(),
                    format!("there is no \"{before}\" in services; {}", instead(before, &known)),
                );
            }
        }
        if let Some(role) = &job.role {
            statements(check, &["jobs", key, "role"], &role.allow, &role.policies);
        }
        if let Some(logs) = &job.logs {
            service::retention(check, &["jobs", key, "logs", "retention"], logs);
        }
    }
}

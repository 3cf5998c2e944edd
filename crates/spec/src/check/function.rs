//! Functions and jobs.

use super::{
    Check,
    role::statements,
    service,
    task::{self, Task},
};
use crate::{Function, Section, Text, When, structure::instead};

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
            && !is_object(zip)
        {
            check.fault(&[&path[..], &["zip"]].concat(), "write s3://bucket/key");
        }
        if let Some(runtime) = &function.runtime
            && !RUNTIMES.contains(&runtime.as_str())
        {
            check.fault(
                &[&path[..], &["runtime"]].concat(),
                format!("Lambda has no runtime \"{runtime}\"; {}", instead(runtime, &RUNTIMES)),
            );
        }
        if let Some(handler) = &function.handler
            && (handler.is_empty() || handler.len() > 128 || handler.contains(char::is_whitespace))
        {
            check.fault(
                &[&path[..], &["handler"]].concat(),
                "a handler has 1 to 128 characters and no spaces; write one such as index.handler",
            );
        }
        variables(check, key, function);
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

fn is_object(zip: &Text) -> bool {
    let text: Result<String, ()> = zip.render(|_| Ok("xxx".to_owned()));
    let text = text.unwrap_or_default();
    let Some((bucket, key)) = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (3..=63).contains(&bucket.len())
        && bucket.chars().all(plain)
        && !bucket.ends_with('.')
        && (1..=1024).contains(&key.len())
}

/// The most bytes of a function's variables, names and values together.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
const VARIABLES: usize = 4096;

/// Variables that Lambda sets itself.
const OWN: [&str; 16] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
];

fn variables(check: &mut Check<'_>, key: &str, function: &Function) {
    let path = ["functions", key, "environment"];
    let mut bytes = 0;
    for (name, value) in &function.environment {
        bytes += name.len() + value.to_string().len();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() < 2 {
            check.key_fault(
                &[&path[..], &[name]].concat(),
                format!("\"{name}\" can't be a variable of a function; write a letter, and then letters, digits and _"),
            );
        }
        if OWN.contains(&name.as_str()) || name == "LAMBDA_TASK_ROOT" || name == "LAMBDA_RUNTIME_DIR" {
            check.key_fault(
                &[&path[..], &[name]].concat(),
                format!("Lambda sets {name} itself; choose another name"),
            );
        }
    }
    if bytes > VARIABLES {
        check.fault(
            &path,
            format!("a function's variables have at most {VARIABLES} bytes together, and these have {bytes}"),
        );
    }
}

/// The runtimes for which Lambda still takes new functions.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html>
const RUNTIMES: [&str; 25] = [
    "provided.al2023",
    "provided.al2",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "nodejs26.x",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.15",
    "java8.al2",
    "java8.al2023",
    "java11",
    "java11.al2023",
    "java17",
    "java17.al2023",
    "java21",
    "java25",
    "dotnet8",
    "dotnet10",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
];

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
            service::logs(check, &["jobs", key, "logs"], logs);
        }
    }
}

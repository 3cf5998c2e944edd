//! Values and names reach AWS as they were written.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{TaskDefinition, TaskDefinitionField};
use tests::Local;

/// Scalars that YAML reads as numbers, dates and words, and that are text where the user's own values stand.
const WRITTEN: [(&str, &str); 14] = [
    ("ZIP", "0123"),
    ("ACCOUNT", "012345678901"),
    ("RELEASE", "1.10"),
    ("RATIO", "1.0"),
    ("PHONE", "+15551234567"),
    ("MASK", "0x1F"),
    ("AMOUNT", "1_000"),
    ("LARGE", "18446744073709551616"),
    ("COMMIT", "1.2e9"),
    ("SWITCH", "on"),
    ("ANSWER", "yes"),
    ("NOTHING", "null"),
    ("HOME", "~"),
    ("DAY", "2026-11-27"),
];

/// A service whose variables, labels, tags, command and image are written without quotes.
fn spec() -> String {
    let fields: Vec<String> = WRITTEN.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let words: Vec<&str> = WRITTEN.iter().map(|(_, value)| *value).collect();
    let fields = fields.join(", ");
    format!(
        "
apiVersion: plinth/v1
name: written
network: {{ nat: none, zones: 1 }}
tags: {{ Release: 1.10, Cost: 0123 }}
services:
  app:
    placement: public
    image: nginx:1.10
    command: [{}]
    environment: {{ {fields} }}
    labels: {{ {fields} }}
",
        words.join(", ")
    )
}

/// The task definition that a service's tasks are started from, and its tags.
async fn task_definition(local: &Local, family: &str) -> (TaskDefinition, BTreeMap<String, String>) {
    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    let described = ecs.describe_task_definition().task_definition(family).include(TaskDefinitionField::Tags);
    let described = described.send().await.expect("a task definition");
    let tag = |tag: &aws_sdk_ecs::types::Tag| Some((tag.key.clone()?, tag.value.clone()?));
    let tags = described.tags().iter().filter_map(tag).collect();
    (described.task_definition.expect("a task definition"), tags)
}

#[tokio::test]
async fn numbers_are_kept() {
    let local = Local::take().await;
    local.ready("written", &spec()).await;
    let (definition, tags) = task_definition(&local, "written-app").await;
    let container = &definition.container_definitions()[0];
    let written: BTreeMap<String, String> =
        WRITTEN.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variable = |pair: &aws_sdk_ecs::types::KeyValuePair| Some((pair.name.clone()?, pair.value.clone()?));
    let environment: BTreeMap<String, String> = container.environment().iter().filter_map(variable).collect();
    assert_eq!(environment, written);
    let labels: BTreeMap<String, String> = container
        .docker_labels()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert_eq!(labels, written);
    assert_eq!(container.command(), WRITTEN.map(|(_, value)| value));
    assert_eq!(container.image(), Some("nginx:1.10"));
    assert_eq!((tags["Release"].as_str(), tags["Cost"].as_str()), ("1.10", "0123"));
    local.destroy("written").await;
}

/// F9: `demo-api` with a service `worker`, and `demo` with a service `api-worker`.
#[test]
fn two_environments_never_share_a_name() {
    let limits = [32, 63, 64, 255];
    for limit in limits {
        assert_eq!(step::name("demo", "api-worker", limit), "demo-api-worker");
        assert_ne!(step::name("demo-api", "worker", limit), "demo-api-worker");
        assert_ne!(
            step::name_of("demo-api", "worker-80", limit, "HTTP"),
            step::name_of("demo", "api-worker-80", limit, "HTTP")
        );
    }
}

/// F9, inside one environment: both would be the family `demo-seed-job`, with the roles of that name.
#[test]
fn a_service_may_be_called_like_a_job_s_tasks() {
    let text = "apiVersion: plinth/v1\nname: demo\nservices: { seed-job: { image: 'busybox:1' } }\n\
                jobs: { seed: { image: 'busybox:1' } }\nroles: { seed-job-task: { assumedBy: [ecs.amazonaws.com] } }\n";
    let found = spec::parse(text, None).err().map(|faults| faults.to_string());
    assert_eq!(found, None);
    assert_ne!(spec::service_word("seed-job"), spec::job_word("seed"));
    assert_ne!(spec::role_word("seed-job-task"), format!("{}-task", spec::job_word("seed")));
}

/// The faults of a spec that has this below its name.
fn faults(rest: &str) -> String {
    let text = format!("apiVersion: plinth/v1\nname: demo\n{rest}\n");
    spec::parse(&text, None).err().map(|faults| faults.to_string()).unwrap_or_default()
}

/// A spec that was taken, and what it is now told.
fn all_are_refused(specs: &[(&str, &str)]) {
    for (rest, told) in specs {
        let found = faults(rest);
        assert!(found.contains(told), "{rest}: {found}");
    }
}

/// S11: refused by AWS in the middle of a run.
#[test]
fn what_aws_refuses_is_refused_before_a_run() {
    all_are_refused(&[
        ("tags: { Team: a, team: b }", "one tag to IAM"),
        ("tags: { 'Plinth:environment': a }", "isn't yours to use"),
        ("tags: { 'AWS:x': a }", "isn't yours to use"),
        ("tags: { 'a*': b }", "can't have '*'"),
        (
            "loadBalancers: { a: { type: application, scheme: internal, listeners: { b: { port: 80, redirect: https,
             rules: { c: { hosts: ['http://a b'], to: '${services.s}' } } } } } }
services: { s: { image: 'x:1', ports: [80] } }",
            "\"http://a b\" is no host",
        ),
        ("dns: { example.com: { records: { www: 'https://example.org' } } }", "is no host's name"),
        (
            "roles: { a: { assumedBy: [ecs.amazonaws.com], allow: [{ actions: [s3:*], resources: ['my-bucket/*'] }] } }",
            "\"my-bucket/*\" is no ARN",
        ),
        ("roles: { a: { assumedBy: [ecs.amazonaws.com], policies: ['arn:nothing'] } }", "no ARN of a managed policy"),
        ("roles: { a: { assumedBy: [x.amazonaws.com.evil.org] } }", "is no AWS service"),
        (
            "secrets: { s: { generate: { username: '1 bad:user' } } }
databases: { d: { engine: mysql, instance: db.t4g.micro, credentials: '${secrets.s}' } }",
            "can't be the user of databases.d",
        ),
        (
            "loadBalancers: { a: { type: application, scheme: internal, listeners: { b: { port: 443,
             certificates: ['nginx:'], default: '${services.s}' } } } }
services: { s: { image: 'x:1', ports: [80] } }",
            "\"nginx:\" is no certificate",
        ),
        ("services: { s: { image: '' } }", "it is empty"),
        ("secrets: { s: { compose: '' } }", "at least one character"),
        ("buckets: { b: { name: plinth-123456789012-eu-west-1 } }", "control planes have buckets"),
    ]);
}

/// S8: tokens of anybody who has an account at the issuer.
#[test]
fn a_deployer_is_somebody() {
    let with = |oidc: &str| {
        let issuer = "token.actions.githubusercontent.com";
        faults(&format!(
            "repositories: {{ app: {{}} }}\ndeployers: {{ ci: {{ oidc: {{ issuer: {issuer}, {oidc} }} }} }}"
        ))
    };
    for subject in ["*", "repo:*", "repo:acme*", "*:acme/app", "?"] {
        let found = with(&format!("subject: '{subject}'"));
        assert!(
            found.contains("deployers.ci.oidc.subject") && found.contains("anybody"),
            "{subject}: {found}"
        );
    }
    for audience in ["", "*"] {
        let found = with(&format!("subject: 'repo:acme/app:*', audience: '{audience}'"));
        assert!(found.contains("deployers.ci.oidc.audience"), "{audience}: {found}");
    }
    assert_eq!(with("subject: 'repo:acme/app:*'"), "");
}

/// F5 and F10, and what N7 says that `validate` passes.
#[test]
fn what_a_file_shows_is_told_by_validate() {
    let database = |engine: &str, generate: &str| {
        format!(
            "secrets: {{ s: {{ generate: {{ {generate} }} }} }}\ndatabases: {{ d: {{ engine: {engine}, \
             instance: db.t4g.medium, credentials: '${{secrets.s}}' }} }}"
        )
    };
    let closed = "network: { cidr: 10.0.0.0/16, nat: none, endpoints: [s3] }";
    all_are_refused(&[
        (&database("postgres", "username: admin"), "keeps that word for itself"),
        (&database("mysql", "username: rdsadmin"), "keeps that word for itself"),
        (&database("mysql", "username: app-user"), "letters, digits and _"),
        (&database("mysql", "username: a_name_that_is_long"), "at most 15"),
        (&database("mysql", "username: app, length: 64"), "at most 41 characters"),
        ("services: { s: { image: 'ngi nx:1 29' } }", "' ' can't stand in it"),
        (
            "repositories: { app: {} }\nservices: { s: { image: '${repositories.app}' } }",
            "say which image of the repository: ${repositories.app}:latest",
        ),
        ("region: us-esat-1", "did you mean \"us-east-1\"?"),
        (
            "loadBalancers: { a: { type: application, scheme: internal, listeners: { https: { port: 443,
             default: '${services.s}' } } } }
services: { s: { image: 'x:1', ports: [80] } }",
            "would speak plain HTTP",
        ),
        ("services: { s: { image: 'x:1', health: { path: / } } }", "no load balancer sends to this service"),
        ("services: { s: { image: 'x:1', desired: 2, scale: { max: 3, cpu: 60 } } }", "follows `scale`"),
        (&format!("{closed}\nservices: {{ s: {{ image: 'x:1' }} }}"), "no way to docker.io"),
        ("network: { nat: none }\njobs: { j: { image: 'ghcr.io/a/x:1' } }", "no way to ghcr.io"),
        (
            &format!(
                "{closed}\nrepositories: {{ r: {{}} }}\nservices: {{ s: {{ image: '${{repositories.r}}:1' }} }}"
            ),
            "add ecr.api, ecr.dkr, logs to network.endpoints",
        ),
        ("schedule: { rebuild: 'rate(7 days)', timezone: Europe/Berln }", "did you mean \"Europe/Berlin\"?"),
    ]);
}

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

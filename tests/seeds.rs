//! The four write-ups, each built from its example in full: a table says what a write-up asks for and which
//! call of AWS's API proves it, and every line is checked while the environment stands.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde::Deserialize;
use serde_json::Value;
use step::Status;
use tests::Local;

/// A line of `tests/seeds/<example>.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// What the write-up asks for.
    asks: String,
    /// The call that proves it, as the `aws` command takes it.
    call: String,
    /// What it answers.
    answers: Value,
}

/// How many lines are checked at once.
const SIDE_BY_SIDE: usize = 4;

/// Lives through an example, laid out as its author found the account. `parting` is what is written in place of
/// what, so that nothing is protected in the end.
async fn builds(example: &str, parting: &[(&str, &str)]) {
    let mut local = Local::take().await;
    let text = tests::file(&format!("examples/{example}.yaml"));
    let spec = spec::parse(&text, None).expect("a spec");
    let region = spec.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    local.looking_at(&region);
    local.lay_out(&text);
    let mut released = text.clone();
    for (what, with) in parting {
        assert!(released.contains(what), "{example} has no \"{what}\"");
        released = released.replace(what, with);
    }
    let lines: Vec<Line> =
        serde_saphyr::from_str(&tests::file(&format!("tests/seeds/{example}.yaml"))).expect("a table");
    assert!(!lines.is_empty());
    local
        .lives(&spec.name, &text, &released, async |status: &Status| holds(&local, &region, status, &lines))
        .await;
}

/// Whether every line of a table is so; all that aren't are told at once.
fn holds(local: &Local, region: &str, status: &Status, lines: &[Line]) {
    let next = AtomicUsize::new(0);
    let check = || {
        let mut wrong = Vec::new();
        while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = answer(local, region, &line.call);
            if found != line.answers {
                let Line { asks, call, answers } = line;
                wrong.push(format!("{asks}\n  aws {call}\n  answers {found}\n  and not {answers}"));
            }
        }
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(check)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("an answer")).collect()
    });
    assert!(
        wrong.is_empty(),
        "{} of {} lines ({}):\n{}",
        wrong.len(),
        lines.len(),
        status.environment,
        wrong.join("\n")
    );
}

/// What a call answers.
fn answer(local: &Local, region: &str, call: &str) -> Value {
    let output = Command::new("sh")
        .args(["-c", &format!("\"$AWS\" {call}")])
        .env("AWS", tests::aws())
        .env("AWS_ENDPOINT_URL", local.endpoint())
        .env("AWS_DEFAULT_REGION", region)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_PAGER", "")
        .env("AWS_DEFAULT_OUTPUT", "json")
        .output()
        .expect("the aws command");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[tokio::test]
async fn reportportal_on_fargate() {
    let end = "credentials: ${secrets.database}\n";
    let unprotected = ("protect: true", "protect: false");
    builds("reportportal", &[(end, &format!("{end}    finalSnapshot: false\n")), unprotected]).await;
}

#[tokio::test]
async fn winding_tree_on_a_cluster_of_instances() {
    builds("windingtree", &[]).await;
}

#[tokio::test]
async fn datavault_on_instances_in_a_network_that_exists() {
    let end = "credentials: ${secrets.mysql}\n";
    let unprotected = ("protect: true", "protect: false");
    builds("datavault", &[(end, &format!("{end}    finalSnapshot: false\n")), unprotected]).await;
}

#[tokio::test]
async fn question_answering_behind_api_gateway() {
    builds("question-answering", &[]).await;
}

#[tokio::test]
async fn a_service_on_what_others_run() {
    builds("shared-cluster", &[]).await;
}

#[tokio::test]
async fn the_smallest_that_is_useful() {
    builds("hello", &[]).await;
}

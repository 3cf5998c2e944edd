//! Images that services follow: a push starts a run, and what ECS rolls back isn't tried again.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_ecs::types::TaskDefinitionStatus;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::{LOOK, LOOKS, Local, MACHINE};

/// A service that follows a repository of its environment.
fn following(name: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
repositories: {{ app: {{ forceDelete: true }} }}
services:
  app: {{ placement: public, image: {{ repository: app, tag: v*-playground }} }}
"
    )
}

/// Pushes an image of its own under this tag, and answers its digest.
async fn push(local: &Local, repository: &str, tag: &str) -> String {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "digest": tag },
        "layers": [],
    });
    let ecr = aws_sdk_ecr::Client::new(&local.aws);
    let put = ecr.put_image().repository_name(repository).image_tag(tag);
    let put = put.image_manifest(manifest.to_string()).send().await.expect("an image");
    put.image.and_then(|image| image.image_id?.image_digest).expect("a digest")
}

/// Waits until no run is under way, and none has begun for a while.
async fn quiet(local: &Local) {
    let mut still = 0;
    for _ in 0..LOOKS {
        let running = local.sfn().list_executions().state_machine_arn(MACHINE);
        let running = running.status_filter(ExecutionStatus::Running).send().await.expect("executions");
        still = if running.executions.is_empty() { still + 1 } else { 0 };
        if still == 5 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("runs are still under way after five minutes");
}

/// The service as it stands, and the image that it runs.
async fn running(local: &Local, name: &str) -> (aws_sdk_ecs::types::Service, String) {
    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    let described = ecs.describe_services().cluster(name).services(format!("{name}-app"));
    let described = described.include(aws_sdk_ecs::types::ServiceField::Tags).send().await;
    let service = described.expect("services").services.expect("services").remove(0);
    let revision = service.task_definition().expect("a revision");
    let definition = ecs.describe_task_definition().task_definition(revision).send().await;
    let definition = definition.expect("a definition").task_definition.expect("a definition");
    assert_eq!(definition.status(), Some(&TaskDefinitionStatus::Active), "{revision}");
    let image = definition.container_definitions()[0].image().expect("an image").to_owned();
    (service, image)
}

/// An image of the environment's repository, as a task definition names it.
fn pinned(name: &str, digest: &str) -> String {
    format!("000000000000.dkr.ecr.us-east-1.amazonaws.com/{name}-app@{digest}")
}

/// The inputs of all runs so far.
async fn inputs(local: &Local) -> Vec<Value> {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).send().await.expect("executions");
    let mut inputs = Vec::new();
    for run in listed.executions {
        let described = local.sfn().describe_execution().execution_arn(run.execution_arn).send().await;
        let input = described.expect("an execution").input.unwrap_or_default();
        inputs.push(serde_json::from_str(&input).expect("JSON"));
    }
    inputs
}

/// The environment up, with the first image that its run waits for.
async fn up(local: &Local, name: &str, tag: &str) -> String {
    local.upload(name, &following(name)).await;
    local
        .waiting(
            name,
            &format!("docker push 000000000000.dkr.ecr.us-east-1.amazonaws.com/{name}-app:v0.1.0-playground"),
        )
        .await;
    let digest = push(local, &format!("{name}-app"), tag).await;
    let status = local.status(name, tests::settled).await;
    assert_eq!(status.state, EnvironmentState::Ready, "{:?}", status.fault);
    quiet(local).await;
    assert_eq!(running(local, name).await.1, pinned(name, &digest));
    digest
}

#[tokio::test]
async fn a_pushed_image_starts_a_run_and_the_service_takes_the_newest_version_by_its_digest() {
    let local = Local::take().await;
    let before = local.inventory();
    up(&local, "follow", "v1.9.0-playground").await;
    assert_eq!(local.plan(&following("follow")).await, []);

    let runs = inputs(&local).await.len();
    let newest = push(&local, "follow-app", "v1.10.0-playground").await;
    quiet(&local).await;
    assert_eq!(running(&local, "follow").await.1, pinned("follow", &newest));
    assert_eq!(local.status("follow", |_| true).await.state, EnvironmentState::Ready);
    let inputs_now = inputs(&local).await;
    let raised = inputs_now.iter().filter(|input| input["detail"]["image-tag"] == "v1.10.0-playground");
    assert_eq!((raised.count(), inputs_now.len()), (1, runs + 2), "the event's run, and the environment's");

    let since = local.calls_so_far();
    push(&local, "follow-app", "v1.2.0-playground").await;
    quiet(&local).await;
    assert_eq!(local.writes(since), Vec::<String>::new(), "an older version changes nothing");
    assert_eq!(running(&local, "follow").await.1, pinned("follow", &newest));

    let ecr = aws_sdk_ecr::Client::new(&local.aws);
    ecr.create_repository().repository_name("of-others").send().await.expect("a repository");
    let since = local.calls_so_far();
    push(&local, "follow-app", "v2.0.0").await;
    push(&local, "of-others", "v2.0.0-playground").await;
    quiet(&local).await;
    let calls = local.calls(since);
    let functions: BTreeSet<&str> = calls.iter().filter_map(|call| call["function"].as_str()).collect();
    assert_eq!(functions, BTreeSet::from(["plinth-accept"]), "what no service follows starts no work");
    ecr.delete_repository().repository_name("of-others").force(true).send().await.expect("a deletion");

    local.destroy("follow").await;
    local.same(&before);
}

#[tokio::test]
async fn a_digest_that_ecs_rolled_back_is_not_tried_again_until_a_newer_one_is_pushed() {
    let local = Local::take().await;
    let before = local.inventory();
    let good = up(&local, "refused", "v0.1.0-playground").await;

    local.control("POST", "scale", Some(json!({ "scale": 0.01 })));
    let exits = |code: Option<i32>| {
        let exits = json!({ "family": "refused-app", "code": code, "log": [] });
        local.control("POST", "exits", Some(exits));
    };
    exits(Some(137));
    let bad = push(&local, "refused-app", "v0.2.0-playground").await;
    let failed = |status: &Status| status.state == EnvironmentState::Failed;
    let fault = local.status("refused", failed).await.fault.expect("a fault").message;
    for word in ["137", "v0.2.0-playground", &bad, "isn't tried again"] {
        assert!(fault.contains(word), "{word}: {fault}");
    }
    quiet(&local).await;
    let (service, image) = running(&local, "refused").await;
    assert_eq!(image, pinned("refused", &good));
    assert!(service.tags().iter().any(|tag| tag.key() == Some("plinth:refused")), "{:?}", service.tags());

    // Even if it would run now.
    exits(None);
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    let since = local.calls_so_far();
    let run = local.start(&json!({ "environment": "refused" })).await;
    assert_eq!(local.ended(&run).await, "SUCCEEDED");
    assert_eq!(local.writes(since), ["ecs:DeregisterTaskDefinition", "ecs:DeleteTaskDefinitions"]);
    let (again, image) = running(&local, "refused").await;
    assert_eq!((again.task_definition(), image), (service.task_definition(), pinned("refused", &good)));
    let status = local.status("refused", tests::settled).await;
    let notes: Vec<&String> = status.steps.iter().flat_map(|step| &step.notes).collect();
    assert!(
        notes.iter().any(|note| note.contains("v0.2.0-playground") && note.contains("rolled back")),
        "{notes:?}"
    );
    let since = local.calls_so_far();
    let run = local.start(&json!({ "environment": "refused" })).await;
    assert_eq!(local.ended(&run).await, "SUCCEEDED");
    assert_eq!(local.writes(since), Vec::<String>::new());
    assert_eq!(local.plan(&following("refused")).await, []);

    let newer = push(&local, "refused-app", "v0.3.0-playground").await;
    quiet(&local).await;
    assert_eq!(running(&local, "refused").await.1, pinned("refused", &newer));
    assert_eq!(local.status("refused", tests::settled).await.state, EnvironmentState::Ready);

    local.destroy("refused").await;
    local.same(&before);
}

#[tokio::test]
async fn an_image_that_is_pushed_while_a_run_waits_elsewhere_is_the_next_run() {
    let local = Local::take().await;
    let spec = following("meanwhile")
        + "  web: { placement: public, image: nginx:1, after: [app], environment: { KEY: '${secrets.key}' } }\n\
           secrets: { key: { recovery: 0d } }\n";
    local.upload("meanwhile", &spec).await;
    local.waiting("meanwhile", "docker push").await;
    push(&local, "meanwhile-app", "v0.1.0-playground").await;
    local.waiting("meanwhile", "secrets.key has no value").await;
    let newer = push(&local, "meanwhile-app", "v0.2.0-playground").await;
    let heard = async || {
        let heard = inputs(&local).await;
        heard.iter().any(|input| input["detail"]["image-tag"] == "v0.2.0-playground")
    };
    while !heard().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    local.put_secret("meanwhile-key", "value").await;
    quiet(&local).await;
    assert_eq!(running(&local, "meanwhile").await.1, pinned("meanwhile", &newer));
    assert_eq!(local.status("meanwhile", tests::settled).await.state, EnvironmentState::Ready);
    local.destroy("meanwhile").await;
}

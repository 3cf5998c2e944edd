//! Who comes in, and by which name.

use std::process::Stdio;

use serde_json::{Value, json};
use step::{EnvironmentState, Status, status_key};
use tests::{BUCKET, LOOK, LOOKS, Local, MACHINE, settled};

/// One task on Fargate of an image that anybody may pull.
fn small(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
services:
  app: {{ placement: public, image: nginx:1, {rest} }}
"
    )
}

/// The same with a secret that has to be put by hand before its task can start.
fn waiting(name: &str) -> String {
    let service = small(name, "environment: { KEY: '${secrets.key}' }");
    format!("{service}secrets: {{ key: {{ recovery: 0d }} }}\n")
}

async fn put(local: &Local, key: &str, body: impl Into<Vec<u8>>) {
    let bytes: Vec<u8> = body.into();
    let put = local.s3().put_object().bucket(BUCKET).key(key).body(bytes.into());
    put.send().await.expect("an upload");
}

/// The executions of the machine that came to this end.
async fn ended_so(local: &Local, status: &str) -> Vec<String> {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).status_filter(status.into());
    let runs: Result<Vec<_>, _> = listed.into_paginator().items().send().collect().await;
    runs.expect("executions").into_iter().map(|run| run.execution_arn).collect()
}

/// What the executions answered that an object with this key started, once there are as many.
async fn answers(local: &Local, key: &str, count: usize) -> Vec<Value> {
    for _ in 0..LOOKS {
        let mut answers = Vec::new();
        for run in ended_so(local, "SUCCEEDED").await {
            let described = local.sfn().describe_execution().execution_arn(run).send().await;
            let run = described.expect("an execution");
            let input: Value = serde_json::from_str(run.input.as_deref().unwrap_or_default()).expect("JSON");
            if input.pointer("/detail/object/key").is_some_and(|found| found == key) {
                answers.push(serde_json::from_str(&run.output.unwrap_or_default()).expect("JSON"));
            }
        }
        if answers.len() == count {
            return answers;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("{key:?} started no {count} runs that ended well: {:?}", ended_so(local, "FAILED").await);
}

#[tokio::test]
async fn objects_of_any_name_end_as_nothing_and_the_sweep_goes_by() {
    let local = Local::take().await;
    let failed = ended_so(&local, "FAILED").await;
    let strays = [
        "environments/",
        "environments/.yaml",
        "environments/demo.yaml.bak",
        "environments/team/demo.yaml",
        "environments/a\u{1}b.yaml",
    ];
    for key in strays {
        put(&local, key, small("demo", "")).await;
        let told = answers(&local, key, 1).await;
        assert_eq!(told[0], json!({ "verdict": "nothing", "told": format!("{key:?} holds no spec") }));
    }
    // What is almost a name has a status, for as long as it is there.
    for (name, nearest) in [("a b", "a-b"), ("UPPER", "upper")] {
        let key = format!("environments/{name}.yml");
        put(&local, &key, small("demo", "")).await;
        let status = local.status(name, settled).await;
        let told = &status.faults[0].message;
        assert!(told.ends_with(&format!("under another name, such as {nearest}")), "{told}");
        assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": [] })));
        local.s3().delete_object().bucket(BUCKET).key(&key).send().await.expect("a deletion");
        local.status(name, |status| status.state == EnvironmentState::Destroyed).await;
    }
    let listed = local.plinth(&["list"]).output().expect("a command");
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(local.sweep().await, Ok(json!({ "freed": [], "started": [] })));
    for key in strays {
        local.s3().delete_object().bucket(BUCKET).key(key).send().await.expect("a deletion");
    }
    assert_eq!(ended_so(&local, "FAILED").await, failed);
}

#[tokio::test]
async fn a_bad_spec_that_comes_with_the_question_leaves_the_good_one_and_its_status() {
    let local = Local::take().await;
    let status = local.ready("inline", &small("inline", "")).await;
    let failed = ended_so(&local, "FAILED").await;
    for action in ["apply", "plan"] {
        let bad = json!({ "apiVersion": "plinth/v1", "name": "inline", "clutser": {} });
        let run = local.start(&json!({ "action": action, "spec": bad })).await;
        let answer = local.answer_of(&run).await;
        assert_eq!(answer["fault"]["error"], "InvalidSpec", "{answer}");
        assert!(answer["fault"]["message"].as_str().is_some_and(|told| told.contains("clutser")), "{answer}");
    }
    for input in [json!({ "environment": "../inline" }), json!({ "enviroment": "inline" })] {
        let run = local.start(&input).await;
        assert_eq!(local.answer_of(&run).await["state"], "rejected", "{input}");
    }
    // Nor what only AWS knows to be wrong, of a plan.
    let adopted = "{ apiVersion: plinth/v1, name: inline, network: { vpc: vpc-0dead0dead, private: [subnet-0dead0dead] } }";
    let adopted = spec::parse(adopted, None).expect("a spec");
    let run = local.start(&json!({ "action": "plan", "spec": adopted })).await;
    let fault = local.answer_of(&run).await["fault"].clone();
    assert_eq!((&fault["error"], &fault["address"]), (&json!("InvalidSpec"), &json!("network")), "{fault}");

    let stored = local.s3().get_object().bucket(BUCKET).key("environments/inline.yaml").send().await;
    let stored = stored.expect("a spec").body.collect().await.expect("a body").into_bytes();
    assert_eq!(stored, small("inline", ""));
    assert_eq!(local.status("inline", |_| true).await, status);
    assert_eq!(ended_so(&local, "FAILED").await, failed);
    local.destroy("inline").await;
}

#[tokio::test]
async fn a_rejected_upload_says_what_still_stands_and_where_its_fault_is() {
    let local = Local::take().await;
    let ready = local.ready("still", &small("still", "")).await;
    let large = format!("{}# {}\n", small("still", ""), "x".repeat(2 * 1024 * 1024));
    for (body, told) in [
        (b"name: J\xfcrgen\n".to_vec(), "isn't UTF-8"),
        (large.into_bytes(), "a spec has at most 1048576 bytes"),
        (small("still", "cpu: 300").into_bytes(), "no size of 300"),
    ] {
        put(&local, "environments/still.yaml", body).await;
        let rejected = |status: &Status| status.faults.iter().any(|fault| fault.message.contains(told));
        let status = local.status("still", rejected).await;
        assert_eq!(status.state, EnvironmentState::Rejected);
        let last = status.last_ready.expect("a version");
        assert_eq!((Some(last.version), last.at, last.changed), (ready.version.clone(), ready.at, false));
    }
    let shown = local.plinth(&["status", "still"]).output().expect("a command");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let version = ready.version.as_deref().unwrap_or_default();
    assert!(text.contains(&format!("what stands is still version {version} of")), "{text}");
    assert_eq!(shown.status.code(), Some(1));

    // A run's fault leads to its line too.
    local.fault(json!({ "kind": "error", "service": "ecs", "action": "UpdateService", "status": 400,
        "code": "InvalidParameterException", "times": 1 }));
    let status = local.apply("still", &small("still", "desired: 2")).await;
    local.control("DELETE", "faults", None);
    let fault = status.fault.expect("a fault");
    assert_eq!((fault.address.as_deref(), fault.line), (Some("services.app"), Some(6)), "{fault:?}");
    assert!(status.last_ready.expect("a version").changed);
    local.destroy("still").await;
}

#[tokio::test]
async fn the_same_file_applied_twice_at_once_succeeds_twice_and_no_run_has_failed() {
    let local = Local::take().await;
    let failed = ended_so(&local, "FAILED").await;
    let file = std::env::temp_dir().join(format!("plinth-twice-{}.yaml", std::process::id()));
    std::fs::write(&file, small("twice", "")).expect("a file");
    let file = file.to_str().expect("a path");
    // The first run waits, so that both of the others find it at work.
    local.upload("twice", &waiting("twice")).await;
    local.waiting("twice", "secrets.key has no value").await;
    let apply = || {
        let mut command = local.plinth(&["apply", file, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a command")
    };
    for command in [apply(), apply()] {
        let output = command.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let status: Status = serde_json::from_slice(&output.stdout).expect("a status");
        assert_eq!(status.state, EnvironmentState::Ready);
    }
    std::fs::remove_file(file).expect("a deletion");

    // A run that finds another at work says so.
    local.upload("twice", &waiting("twice")).await;
    local.waiting("twice", "secrets.key has no value").await;
    let held = local.start(&json!({ "environment": "twice" })).await;
    let answer = local.answer_of(&held).await;
    assert_eq!(answer["verdict"], "held");
    assert!(
        answer["told"].as_str().is_some_and(|told| told.contains("another run works on twice")),
        "{answer}"
    );
    local.ready("twice", &small("twice", "")).await;
    assert_eq!(ended_so(&local, "FAILED").await, failed);
    let key = status_key("twice");
    assert!(local.s3().head_object().bucket(BUCKET).key(key).send().await.is_ok());
    local.destroy("twice").await;
}

#[tokio::test]
async fn the_command_reads_standard_input_and_tells_a_run_that_changed_nothing_in_a_line() {
    let local = Local::take().await;
    let apply = |spec: String| {
        let mut command = local.plinth(&["apply", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = command.spawn().expect("a command");
        let mut input = command.stdin.take().expect("standard input");
        std::io::Write::write_all(&mut input, spec.as_bytes()).expect("a spec");
        drop(input);
        let output = command.wait_with_output().expect("an end");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    apply(small("piped", ""));
    let again = apply(small("piped", ""));
    let last = again.lines().last().unwrap_or_default();
    assert!(last.starts_with("piped is ready in ") && last.ends_with("s, nothing changed"), "{again}");
    assert!(again.lines().count() < 12, "{again}");

    let mut nobody = local.plinth(&["list"]);
    nobody.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let told = String::from_utf8_lossy(&nobody.output().expect("a command").stderr).into_owned();
    assert!(told.contains("AWS_ENDPOINT_URL is http://127.0.0.1:9"), "{told}");
    local.destroy("piped").await;
}

/// Subnets by their addresses in the spec, each with its range.
fn subnets(local: &Local, name: &str) -> Vec<String> {
    let inventory = local.inventory();
    let ours = inventory
        .as_array()
        .expect("records")
        .iter()
        .filter(|record| record["tags"]["plinth:environment"] == name && record["kind"] == "subnet");
    let mut subnets: Vec<String> = ours
        .map(|record| format!("{} {}", record["tags"]["plinth:address"], record["settings"]).replace('"', ""))
        .filter(|text| text.starts_with("network."))
        .collect();
    subnets.sort();
    subnets
}

#[tokio::test]
async fn an_environment_grows_to_a_third_zone_and_back_in_place() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = |zones: usize| {
        format!(
            "
apiVersion: plinth/v1
name: zones
network: {{ zones: {zones}, nat: single }}
fileSystems: {{ data: {{}} }}
loadBalancers:
  public:
    type: application
    scheme: internet-facing
    listeners: {{ http: {{ port: 80, default: '${{services.web}}' }} }}
services:
  web: {{ image: nginx:1, ports: [80] }}
"
        )
    };
    local.ready("zones", &spec(2)).await;
    let two = subnets(&local, "zones");
    assert_eq!(two.len(), 4, "{two:?}");
    let planned = tests::addresses(&local.plan(&spec(3)).await);
    assert!(planned.contains("network.public.3") && planned.contains("network.private.3"), "{planned:?}");
    local.ready("zones", &spec(3)).await;
    let three = subnets(&local, "zones");
    assert_eq!(three.len(), 6, "{three:?}");
    assert!(two.iter().all(|subnet| three.contains(subnet)), "{two:?} {three:?}");
    assert_eq!(local.plan(&spec(3)).await, []);

    let shrunk = local.plan(&spec(2)).await;
    let gone = shrunk.iter().filter(|change| change.action == step::Action::Delete);
    let gone: Vec<&str> = gone.map(|change| change.address.as_str()).collect();
    assert!(gone.contains(&"network.public.3") && gone.contains(&"network.private.3"), "{gone:?}");
    local.ready("zones", &spec(2)).await;
    assert_eq!(subnets(&local, "zones"), two);
    assert_eq!(local.plan(&spec(2)).await, []);
    local.destroy("zones").await;
    local.same(&before);
}

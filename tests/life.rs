//! An environment's life after it was created, on AWS on this machine: what is protected, what is left, what
//! people are asked to do, how long a rebuild takes, and what is replaced.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use step::{Action, EnvironmentState, Rebuild, Status};
use tests::Local;

/// A database with its secret, a file system, a bucket and a private zone, encrypted with the environment's key.
fn keeping(name: &str, protect: bool) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
protect: {protect}
key: {{}}
network: {{ nat: single }}
secrets: {{ login: {{ generate: {{ username: app }}, recovery: 0d }}, other: {{ generate: {{}}, recovery: 0d, protect: false }} }}
buckets: {{ archive: {{ versioned: true }} }}
fileSystems: {{ data: {{}} }}
databases: {{ main: {{ engine: mysql, credentials: '${{secrets.login}}', finalSnapshot: false }} }}
services: {{ app: {{ image: nginx:1 }} }}
dns: {{ in.{name}.test: {{ private: true, records: {{ db: '${{databases.main.host}}' }} }} }}
"
    )
}

/// What is called so, of a kind, in an inventory.
fn names<'a>(inventory: &'a Value, kind: &str) -> Vec<&'a str> {
    let records = inventory.as_array().into_iter().flatten();
    records.filter(|record| record["kind"] == kind).filter_map(|record| record["name"].as_str()).collect()
}

#[tokio::test]
async fn what_is_protected_survives_a_destroy_with_what_it_needs_and_is_taken_up_again() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = keeping("keep", true);
    let built = local.ready("keep", &spec).await;
    let (network, key) = (built.outputs.network.expect("a network"), built.outputs.key.expect("a key"));

    local.delete("keep").await;
    let gone = |status: &Status| status.version.is_none() && tests::settled(status);
    let status = local.status("keep", gone).await;
    assert_eq!(status.state, EnvironmentState::Destroyed, "{:?}", status.fault);
    for address in
        ["databases.main", "fileSystems.data", "buckets.archive", "dns.in.keep.test", "secrets.login"]
    {
        assert!(status.kept.iter().any(|kept| kept == address), "{address}: {:?}", status.kept);
    }
    assert!(
        status.kept.iter().any(|kept| kept == "network.vpc") && status.kept.iter().any(|kept| kept == "key")
    );
    assert_eq!(status.remains, Vec::<String>::new());
    let left = local.inventory();
    assert_eq!(names(&left, "nat-gateway"), Vec::<&str>::new(), "what costs money and keeps nothing goes");
    assert_eq!(names(&left, "ecs-service"), Vec::<&str>::new());

    // It is attached again, and is the same.
    let again = local.ready("keep", &spec).await;
    assert_eq!(again.outputs.network.map(|network| network.vpc), Some(network.vpc));
    assert_eq!(again.outputs.key, Some(key));
    assert_eq!(again.kept, Vec::<String>::new());

    // So it is when the environment is rebuilt.
    let value = secret(&local, "keep-login").await;
    let execution = local.start(&json!({ "environment": "keep", "action": "rebuild" })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    assert_eq!(secret(&local, "keep-login").await, value);

    // A dropped database stays as well, and is reported; let go of, it goes.
    let line =
        "databases: { main: { engine: mysql, credentials: '${secrets.login}', finalSnapshot: false } }\n";
    let dropped = spec.replace(line, "").replace(", records: { db: '${databases.main.host}' }", "");
    let planned = local.plan(&dropped).await;
    let kept: Vec<_> = planned.iter().filter(|change| change.action == Action::Keep).collect();
    assert_eq!(kept.iter().map(|change| change.address.as_str()).collect::<Vec<_>>(), ["databases.main"]);
    assert_eq!(local.ready("keep", &dropped).await.kept, ["databases.main"]);

    local.ready("keep", &keeping("keep", false)).await;
    local.destroy("keep").await;
    local.same(&before);
}

async fn secret(local: &Local, id: &str) -> Option<String> {
    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    secrets.get_secret_value().secret_id(id).send().await.expect("a value").secret_string
}

#[tokio::test]
async fn what_is_left_after_a_destroy_is_told_as_leaked_and_deleted_by_the_next_run() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = "apiVersion: plinth/v1\nname: leaks\nkey: {}\nnetwork: { nat: single, zones: 1 }\n";
    local.ready("leaks", spec).await;
    local.control("POST", "scale", Some(json!({ "scale": 0.05 })));
    local.delete("leaks").await;
    local.waiting("leaks", "NAT gateway").await;

    // Balancers have gone by now: this one of ours comes too late for the run to see it go.
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&local.aws);
    let tags = [
        ("plinth:environment", "leaks"),
        ("plinth:address", "loadBalancers.late.targets.app"),
        ("plinth:control-plane", tests::BUCKET),
    ];
    let tag =
        |(key, value)| aws_sdk_elasticloadbalancingv2::types::Tag::builder().key(key).value(value).build();
    let late = elb.create_target_group().name("leaks-late").target_type("lambda".into());
    late.set_tags(Some(tags.map(tag).to_vec())).send().await.expect("a target group");
    let gone = |status: &Status| status.version.is_none() && tests::settled(status);
    let status = local.status("leaks", gone).await;
    assert_eq!(status.state, EnvironmentState::Leaked);
    assert_eq!(status.remains, ["loadBalancers.late.targets.app"]);
    assert!(status.fault.expect("a fault").message.contains("start the run again"));

    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    let execution = local.start(&json!({ "environment": "leaks" })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    let status = local.status("leaks", |status| status.state == EnvironmentState::Destroyed).await;
    assert_eq!((status.remains, status.fault), (Vec::new(), None));
    local.same(&before);
}

#[tokio::test]
async fn what_people_are_asked_to_do_is_told_in_the_status_until_it_is_done() {
    let local = Local::take().await;
    let spec = "
apiVersion: plinth/v1
name: asks
network: { nat: none, zones: 1 }
secrets: { key: { recovery: 0d } }
repositories: { app: { forceDelete: true } }
services: { app: { placement: public, image: '${repositories.app}:v1', environment: { KEY: '${secrets.key}' } } }
";
    let version = local.upload("asks", spec).await;
    let asked = |status: &Status, what: &str| status.asks.iter().any(|asked| asked.contains(what));
    let status = local.status("asks", |status| asked(status, "docker push")).await;
    assert_eq!((status.state, status.version.as_ref()), (EnvironmentState::Waiting, Some(&version)));
    local.put_image("asks-app", "v1").await;
    let status = local.status("asks", |status| !asked(status, "docker push")).await;
    assert!(
        tests::settled(&status)
            || status.state == EnvironmentState::Provisioning
            || asked(&status, "plinth secret set asks key")
    );
    local.status("asks", |status| asked(status, "plinth secret set asks key")).await;
    local.put_secret("asks-key", "value").await;
    let status = local.status("asks", tests::settled).await;
    assert_eq!((status.state, status.asks), (EnvironmentState::Ready, Vec::new()));
    local.destroy("asks").await;
}

#[tokio::test]
async fn a_rebuild_says_how_long_it_took() {
    let local = Local::take().await;
    let spec = "apiVersion: plinth/v1\nname: anew\nnetwork: { nat: none, zones: 1 }\n";
    assert_eq!(local.ready("anew", spec).await.rebuilds, Vec::<Rebuild>::new());
    for done in 1..=2 {
        let execution = local.start(&json!({ "environment": "anew", "action": "rebuild" })).await;
        assert_eq!(local.ended(&execution).await, "SUCCEEDED");
        let run = execution.rsplit(':').next().unwrap_or_default();
        let status = local.status("anew", |status| status.run == run && tests::settled(status)).await;
        assert_eq!(status.rebuilds.len(), done);
        assert!(status.rebuilds.last().is_some_and(|last| last.run == run && last.seconds < 120));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    local.destroy("anew").await;
}

/// A database of this engine.
fn engine(name: &str, engine: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none }}
secrets: {{ login: {{ generate: {{ username: app }}, recovery: 0d }} }}
databases: {{ main: {{ engine: {engine}, credentials: '${{secrets.login}}'{rest} }} }}
services: {{ app: {{ placement: public, image: nginx:1, environment: {{ HOST: '${{databases.main.host}}' }} }} }}
"
    )
}

/// Applies what can't be had without losing data: it is refused, and nothing is written.
async fn refused(local: &Local, name: &str, spec: &str, reason: &str) {
    let since = local.calls_so_far();
    let status = local.apply(name, spec).await;
    assert_eq!(status.state, EnvironmentState::Rejected);
    let message = status.fault.expect("a fault").message;
    assert!(message.contains(reason) && message.contains("`allowDataLoss: ["), "{message}");
    assert_eq!(local.writes(since), Vec::<String>::new());
}

/// Applies a spec, and once more, when nothing is left to be done.
async fn settles(local: &Local, name: &str, spec: &str) -> Status {
    let status = local.ready(name, spec).await;
    let since = local.calls_so_far();
    local.ready(name, &format!("{spec}\n# again\n")).await;
    assert_eq!(local.writes(since), Vec::<String>::new());
    assert_eq!(local.plan(spec).await, []);
    status
}

/// What is planned of an address.
async fn planned(local: &Local, spec: &str, address: &str) -> Vec<Action> {
    let planned = local.plan(spec).await;
    planned.iter().filter(|change| change.address == address).map(|change| change.action).collect()
}

#[tokio::test]
async fn another_engine_is_refused_unless_the_spec_says_that_the_database_may_be_replaced() {
    let local = Local::take().await;
    let before = local.inventory();
    let first = local.ready("engines", &engine("engines", "mysql", "")).await;
    refused(&local, "engines", &engine("engines", "postgres", ""), "its engine is mysql").await;

    let spec = engine("engines", "postgres", ", finalSnapshot: false") + "allowDataLoss: [databases.main]\n";
    assert_eq!(planned(&local, &spec, "databases.main").await, [Action::Delete, Action::Create]);
    let since = local.calls_so_far();
    let status = settles(&local, "engines", &spec).await;
    let made = order(&local, since, &["CreateDBInstance", "DeleteDBInstance"]);
    assert_eq!(made, ["CreateDBInstance", "DeleteDBInstance"]);
    let (old, new) = (&first.outputs.databases["main"], &status.outputs.databases["main"]);
    assert!(new.host != old.host && new.port == 5432, "{new:?}");
    let inventory = local.inventory();
    let standing: Vec<_> = inventory.as_array().into_iter().flatten().collect();
    let databases: Vec<_> = standing.iter().filter(|record| record["kind"] == "database").collect();
    assert_eq!(databases.len(), 1);
    assert_eq!(databases[0]["settings"]["Engine"], "postgres");
    let snapshots = snapshots(&local);
    assert!(snapshots.contains("engines-main-final-"), "{snapshots}");

    // What has taken its place stays, whether it might be replaced or not.
    let since = local.calls_so_far();
    local.ready("engines", &engine("engines", "postgres", ", finalSnapshot: false")).await;
    assert_eq!(local.writes(since), Vec::<String>::new());
    local.destroy("engines").await;
    local.same(&before);
}

/// What RDS says of the snapshots that people keep.
fn snapshots(local: &Local) -> String {
    let listed = Command::new(tests::aws())
        .args(["rds", "describe-db-snapshots", "--snapshot-type", "manual"])
        .args(["--endpoint-url", &local.endpoint(), "--region", "us-east-1"])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output();
    String::from_utf8_lossy(&listed.expect("an answer").stdout).into_owned()
}

/// The calls of these names that were made, in their order.
fn order(local: &Local, since: u64, names: &[&str]) -> Vec<String> {
    let calls = local.calls(since);
    let actions = calls.iter().filter(|call| call["function"].is_string() && call["error"].is_null());
    let actions = actions.filter_map(|call| call["action"].as_str());
    actions.filter(|action| names.contains(action)).map(str::to_owned).collect()
}

/// A balancer with a private name, and what it consists of.
fn faces(balancer: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: faces
network: {{ nat: none }}
loadBalancers:
  front: {{ {balancer}, listeners: {{ main: {{ port: 80, default: '${{services.app}}' }} }} }}
services: {{ app: {{ placement: public, image: nginx:1, ports: [80] }} }}
dns: {{ in.faces.test: {{ private: true, records: {{ app: '${{loadBalancers.front}}' }} }} }}
{rest}
"
    )
}

#[tokio::test]
async fn a_balancer_that_becomes_another_is_replaced_the_new_one_before_the_old_goes() {
    let local = Local::take().await;
    let before = local.inventory();
    local.ready("faces", &faces("type: application, scheme: internet-facing", "")).await;
    local.watch("faces");
    let api = "apis: { qa: { link: '${loadBalancers.front}', routes: { GET /: {} } } }";
    for (balancer, rest, name) in [
        ("type: application, scheme: internal", "", None),
        ("type: network, scheme: internal", api, Some("faces-front")),
        ("type: network, scheme: internal, name: faces-other", api, Some("faces-other")),
    ] {
        let spec = faces(balancer, rest);
        let changes = planned(&local, &spec, "loadBalancers.front").await;
        let since = local.calls_so_far();
        let status = settles(&local, "faces", &spec).await;
        // The name leads to the new one when its targets are well, and before the old one goes.
        let steps = ["CreateLoadBalancer", "UpdateService", "ChangeResourceRecordSets", "DeleteLoadBalancer"];
        assert_eq!(changes, [Action::Delete, Action::Create], "{balancer}");
        // The service is behind both until the old one goes.
        let [create, update, change, delete] = steps;
        assert_eq!(order(&local, since, &steps), [create, update, change, update, delete], "{balancer}");
        let inventory = local.inventory();
        let names = names(&inventory, "load-balancer");
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(name.is_none_or(|name| names == [name]), "{names:?}");
        let records = inventory.as_array().expect("records").iter();
        let of = |kind: &str| records.clone().filter(|record| record["kind"] == kind).collect::<Vec<_>>();
        assert_eq!((of("target-group").len(), of("listener").len()), (1, 1));
        let host = &status.outputs.load_balancers["front"].host;
        let aliases: Vec<_> = of("dns-record")
            .into_iter()
            .map(|record| record["settings"]["AliasTarget"]["DNSName"].to_string().to_lowercase())
            .filter(|alias| alias != "null")
            .collect();
        let leads = |alias: &String| alias.contains(&host.to_lowercase());
        assert!(!aliases.is_empty() && aliases.iter().all(leads), "{host}: {aliases:?}");
        assert_eq!(of("vpc-link").len(), usize::from(!rest.is_empty()));
    }
    local.unbroken();
    local.destroy("faces").await;
    local.same(&before);
}

#[tokio::test]
async fn a_file_system_that_a_key_is_to_encrypt_is_refused_unless_it_may_be_replaced() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = "
apiVersion: plinth/v1
name: sealed
network: { nat: none }
fileSystems: { data: { accessPoints: { app: { path: /app, owner: '1000:1000' } } } }
";
    let first = local.ready("sealed", spec).await;
    let sealed = format!("{spec}key: {{}}\n");
    refused(&local, "sealed", &sealed, "EFS can't change that").await;
    let replaced = format!("{sealed}allowDataLoss: [fileSystems.data]\n");
    assert_eq!(planned(&local, &replaced, "fileSystems.data").await, [Action::Delete, Action::Create]);
    let since = local.calls_so_far();
    let status = settles(&local, "sealed", &replaced).await;
    let made = order(&local, since, &["CreateFileSystem", "DeleteFileSystem"]);
    assert_eq!(made, ["CreateFileSystem", "DeleteFileSystem"]);
    let id = &status.outputs.file_systems["data"].id;
    assert_ne!(id, &first.outputs.file_systems["data"].id);
    let inventory = local.inventory();
    assert_eq!(names(&inventory, "file-system"), [id]);
    assert_eq!(names(&inventory, "access-point").len(), 1);
    local.destroy("sealed").await;
    local.same(&before);
}

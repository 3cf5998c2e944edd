//! An environment's life after it was created, on AWS on this machine: what is protected, what is left, what
//! people are asked to do, and how long a rebuild takes.

use std::time::Duration;

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
        ("plinth:address", "loadBalancers.late.targets.app-80"),
        ("plinth:control-plane", tests::BUCKET),
    ];
    let tag =
        |(key, value)| aws_sdk_elasticloadbalancingv2::types::Tag::builder().key(key).value(value).build();
    let late = elb.create_target_group().name("leaks-late").target_type("lambda".into());
    late.set_tags(Some(tags.map(tag).to_vec())).send().await.expect("a target group");
    let gone = |status: &Status| status.version.is_none() && tests::settled(status);
    let status = local.status("leaks", gone).await;
    assert_eq!(status.state, EnvironmentState::Leaked);
    assert_eq!(status.remains, ["loadBalancers.late.targets.app-80"]);
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
services: { app: { image: '${repositories.app}:v1', environment: { KEY: '${secrets.key}' } } }
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

//! Whole machines on AWS on this machine: environments come up, stay, change and go.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use step::{Action, EnvironmentState, Status};
use tests::{BUCKET, Local, MACHINE};

/// One task on Fargate of an image that anybody may pull.
fn small(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
services:
  app: {{ placement: public, image: nginx:1, ports: [80], {rest} }}
"
    )
}

/// The same with a secret that has to be put by hand before its task can start.
fn waiting(name: &str) -> String {
    let service = small(name, "environment: { KEY: '${secrets.key}' }");
    format!("{service}secrets: {{ key: {{ recovery: 0d }} }}\n")
}

/// How often the machine has run.
async fn runs(local: &Local) -> usize {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).send().await;
    listed.expect("executions").executions.len()
}

/// What keeps data, encrypted with the environment's own key, and a service that mounts it.
const STORES: &str = "
apiVersion: plinth/v1
name: stores
key: { recovery: 10d }
network: { zones: 2, nat: none }
secrets: { login: { generate: { username: app }, recovery: 0d } }
repositories: { app: { keep: 5, forceDelete: true } }
buckets: { store: { versioned: true, expireVersions: 30d, forceDelete: true } }
fileSystems: { data: { accessPoints: { app: { path: /app, owner: '1000:1000' } } } }
services:
  base: { placement: public, image: nginx:1 }
  app:
    placement: public
    image: nginx:1
    after: [base]
    mounts: { /data: '${fileSystems.data.app}' }
    check: { command: [CMD-SHELL, curl -f localhost], interval: 60s, startPeriod: 60s }
    exec: true
    role: { allow: [{ actions: [s3:GetObject], resources: ['${buckets.store.arn}/*'] }] }
    environment: { PASSWORD: '${secrets.login.password}', BUCKET: '${buckets.store}' }
";

#[tokio::test]
async fn what_keeps_data_comes_up_encrypted_stays_as_it_is_and_goes() {
    let local = Local::take().await;
    local.lives("stores", STORES, STORES, async |_| {}).await;
    // Its key awaits its deletion, and is taken up again.
    let keys = async || aws_sdk_kms::Client::new(&local.aws).list_keys().send().await.expect("keys").keys;
    let before = keys().await;
    local.ready("stores", STORES).await;
    assert_eq!(keys().await, before);
    let standing = local.inventory();
    let key = |kind: &str, field: &str| {
        let records = standing.as_array().into_iter().flatten();
        let mut of_kind = records.filter(|record| record["kind"] == kind && record["name"] != "plinth");
        of_kind.find_map(|record| record["settings"][field].as_str()).unwrap_or_default().to_owned()
    };
    for (kind, field) in [("secret", "KmsKeyId"), ("log-group", "kmsKeyId")] {
        assert!(key(kind, field).contains(":key/"), "{kind}: {standing:#}");
    }
    local.destroy("stores").await;
}

/// What answers over HTTPS, by names in zones, from databases.
const SERVES: &str = "
apiVersion: plinth/v1
name: serves
key: {}
secrets: { login: { generate: { username: app }, recovery: 0d } }
databases:
  aurora:
    engine: aurora-postgresql
    version: '16'
    serverless: { min: 2, max: 16 }
    database: app
    credentials: '${secrets.login}'
    finalSnapshot: false
  plain: { engine: mysql, database: app, credentials: '${secrets.login}', finalSnapshot: false }
certificates:
  main: { domain: app.serves.test, zone: serves.test }
  other: { domain: '*.serves.test', zone: serves.test }
loadBalancers:
  public:
    type: application
    scheme: internet-facing
    listeners:
      http: { port: 80, redirect: https }
      https:
        port: 443
        certificates: ['${certificates.main}', '${certificates.other}']
        default: '${services.app}'
        rules: { api: { paths: [/api/*], to: '${services.app.9090}' } }
services:
  app:
    image: nginx:1
    ports: [80, 9090]
    environment: { DB_HOST: '${databases.aurora.host}', DB_PASSWORD: '${secrets.login.password}' }
dns:
  serves.test: { records: { app: '${loadBalancers.public}', www: app.serves.test } }
  inside.serves.test: { private: true, records: { app: '${loadBalancers.public}' } }
";

#[tokio::test]
async fn what_serves_from_databases_over_https_comes_up_stays_as_it_is_and_goes() {
    let local = Local::take().await;
    let zones = aws_sdk_route53::Client::new(&local.aws);
    let zone = zones.create_hosted_zone().name("serves.test").caller_reference("serves").send().await;
    let zone = zone.expect("a zone").hosted_zone.expect("a zone").id;
    local.lives("serves", SERVES, SERVES, async |_| {}).await;

    local.control("POST", "scale", Some(json!({ "scale": 0.02 })));
    let waits = waits(&local, "serves", SERVES, None).await;
    for thing in ["Aurora cluster (serves-aurora) is creating", "RDS instance", "certificate"] {
        assert!(waits.iter().any(|wait| wait.contains(thing)), "nothing waited for a {thing}: {waits:#?}");
    }
    local.destroy("serves").await;
    zones.delete_hosted_zone().id(zone).send().await.expect("an empty zone");
}

/// Jobs before and between services, and a function that answers a balancer.
const WORKS: &str = "
apiVersion: plinth/v1
name: works
network: { nat: none }
secrets: { login: { generate: { username: app }, recovery: 0d } }
loadBalancers:
  public:
    type: application
    scheme: internet-facing
    listeners:
      http: { port: 80, default: '${services.app}', rules: { index: { paths: [/ui, /], to: '${functions.index}' } } }
functions:
  index:
    package: reportportal-index
    timeout: 120s
    vpc: true
    environment: { TRAEFIK_SERVICES_URL: 'http://traefik:8081' }
jobs:
  migrations: { placement: public, image: nginx:1, environment: { PASSWORD: '${secrets.login.password}' } }
  storage: { placement: public, image: nginx:1, after: [app] }
services:
  app: { placement: public, image: nginx:1, ports: [80] }
  web: { placement: public, image: nginx:1, after: [jobs.storage] }
";

#[tokio::test]
async fn jobs_and_functions_come_up_stay_as_they_are_and_go() {
    let local = Local::take().await;
    local.lives("works", WORKS, WORKS, async |_| {}).await;
}

#[tokio::test]
async fn a_job_that_exits_with_1_stops_the_run_and_runs_again_in_the_next() {
    let local = Local::take().await;
    let exits = |code: i32| {
        let exits = json!({ "family": "works-migrations-job", "code": code, "log": ["no such table"] });
        local.control("POST", "exits", Some(exits));
    };
    exits(1);
    let status = local.apply("works", WORKS).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let fault = status.fault.expect("a fault").message;
    assert!(fault.contains("exited with 1") && fault.contains("no such table"), "{fault}");
    let services = aws_sdk_ecs::Client::new(&local.aws);
    let listed = services.list_services().cluster("works").send().await.expect("services");
    assert_eq!(listed.service_arns(), Vec::<String>::new(), "no service comes before its job");

    exits(0);
    local.ready("works", WORKS).await;
    // `storage` runs again on a new revision of `app`; `migrations` is done.
    let newer = WORKS.replacen(
        "app: { placement: public, image: nginx:1",
        "app: { placement: public, image: nginx:2",
        1,
    );
    let since = local.calls_so_far();
    local.ready("works", &newer).await;
    let runs = local.writes(since).into_iter().filter(|call| call == "ecs:RunTask").count();
    assert_eq!(runs, 1);
    local.destroy("works").await;
}

#[tokio::test]
async fn services_wait_for_what_they_mount_and_for_those_they_come_after() {
    let local = Local::take().await;
    local.control("POST", "scale", Some(json!({ "scale": 0.05 })));
    local.upload("stores", STORES).await;
    for thing in ["mount targets", "ECS service (stores-base)"] {
        local.waiting("stores", thing).await;
        let services = aws_sdk_ecs::Client::new(&local.aws);
        let listed = services.list_services().cluster("stores").send().await.expect("services");
        assert!(!listed.service_arns().iter().any(|arn| arn.ends_with("/stores-app")), "before {thing}");
    }
    local.status("stores", tests::settled).await;
    let said = local.said("stores").await;
    for thing in ["EFS file system (stores-data) is creating", "ECS service (stores-app)"] {
        assert!(said.iter().any(|message| message.contains(thing)), "nothing waited for {thing}: {said:#?}");
    }
    local.destroy("stores").await;
}

/// What the steps of a run wait for, until it is ready. `image` is pushed when the run asks for it.
async fn waits(local: &Local, name: &str, spec: &str, image: Option<(&str, &str)>) -> BTreeSet<String> {
    let version = local.upload(name, spec).await;
    if let Some((repository, tag)) = image {
        local.waiting(name, "docker push").await;
        local.put_image(repository, tag).await;
    }
    let settled = |status: &Status| status.version.as_ref() == Some(&version) && tests::settled(status);
    let status = local.status(name, settled).await;
    assert_eq!(status.state, EnvironmentState::Ready, "{:?}", status.fault);
    local.said(name).await
}

#[tokio::test]
async fn what_takes_time_is_waited_for_by_looking_again() {
    let local = Local::take().await;
    let before = local.inventory();
    local.control("POST", "scale", Some(json!({ "scale": 0.1 })));
    let (name, spec) = ("question-answering", tests::file("examples/question-answering.yaml"));
    let waits = waits(&local, name, &spec, Some(("ecs-repo", "latest"))).await;
    for thing in ["NAT gateway", "VPC endpoint", "load balancer", "VPC link", "tasks run"] {
        assert!(waits.iter().any(|wait| wait.contains(thing)), "nothing waited for a {thing}: {waits:#?}");
    }
    local.destroy(name).await;
    local.same(&before);
}

#[tokio::test]
async fn a_changed_image_and_a_changed_secret_update_just_their_service() {
    let local = Local::take().await;
    let spec = |image: &str, key: &str| {
        format!(
            "
apiVersion: plinth/v1
name: change
network: {{ nat: none, zones: 1 }}
secrets: {{ one: {{ generate: {{}}, recovery: 0d }}, two: {{ generate: {{}}, recovery: 0d }} }}
services:
  changed: {{ placement: public, image: '{image}', environment: {{ KEY: '${{secrets.{key}}}' }} }}
  other: {{ placement: public, image: nginx:1 }}
"
        )
    };
    local.ready("change", &spec("nginx:1", "one")).await;
    for (image, key) in [("nginx:2", "one"), ("nginx:2", "two")] {
        let planned = local.plan(&spec(image, key)).await;
        let changed: BTreeSet<&str> = planned.iter().map(|change| change.address.as_str()).collect();
        // The role that ECS starts tasks with may read the secret that is named, and no other.
        let mut wanted = BTreeSet::from(["services.changed", "services.changed.definition"]);
        wanted.extend((key == "two").then_some("services.changed.execution"));
        assert_eq!(changed, wanted);

        let since = local.calls_so_far();
        local.ready("change", &spec(image, key)).await;
        let mut writes: BTreeSet<String> = local.writes(since).into_iter().collect();
        assert_eq!(writes.remove("iam:PutRolePolicy"), key == "two");
        let expected = [
            "ecs:DeleteTaskDefinitions",
            "ecs:DeregisterTaskDefinition",
            "ecs:RegisterTaskDefinition",
            "ecs:TagResource",
            "ecs:UpdateService",
        ];
        assert_eq!(writes, expected.map(str::to_owned).into());
    }
    local.destroy("change").await;
}

#[tokio::test]
async fn a_field_changed_by_hand_shows_in_the_plan_as_that_field_and_is_mended() {
    let local = Local::take().await;
    let spec = small("drift", "desired: 2, logs: { retention: 7d }");
    let status = local.ready("drift", &spec).await;

    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    ecs.update_service()
        .cluster("drift")
        .service("drift-app")
        .desired_count(3)
        .send()
        .await
        .expect("an update");
    let logs = aws_sdk_cloudwatchlogs::Client::new(&local.aws);
    let put = logs.put_retention_policy().log_group_name("/plinth/drift/app").retention_in_days(1);
    put.send().await.expect("a retention");
    let ec2 = aws_sdk_ec2::Client::new(&local.aws);
    let group = status.outputs.network.expect("a network").group;
    let open =
        ec2.authorize_security_group_ingress().group_id(&group).ip_protocol("tcp").cidr_ip("0.0.0.0/0");
    open.from_port(22).to_port(22).send().await.expect("a rule");

    let planned = local.plan(&spec).await;
    let mut fields: Vec<String> = planned
        .iter()
        .flat_map(|change| {
            let told = |field: &step::Field| {
                let found = field.found.clone().unwrap_or_default();
                format!("{} {}: {found} -> {}", change.address, field.name, field.wanted)
            };
            change.fields.iter().map(told)
        })
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "network.group ingress.tcp 22-22 0.0.0.0/0: open -> closed",
            "services.app desired: 3 -> 2",
            "services.app.logs retention: 1d -> 7d",
        ]
    );
    local.ready("drift", &spec).await;
    assert_eq!(local.plan(&spec).await, []);
    local.destroy("drift").await;
}

#[tokio::test]
async fn an_aborted_run_is_told_frees_its_lock_and_is_carried_on_from_the_console() {
    let local = Local::take().await;
    local.upload("abort", &waiting("abort")).await;
    local.waiting("abort", "secrets.key has no value").await;
    let running = local.status("abort", |_| true).await;
    let execution = MACHINE.replace("stateMachine", "execution") + ":" + &running.run;
    local.sfn().stop_execution().execution_arn(&execution).send().await.expect("a stop");
    let status = local.status("abort", tests::settled).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    assert!(status.fault.expect("a fault").message.contains("start it again"));
    assert!(local.is_free("abort").await);

    local.put_secret("abort-key", "value").await;
    let since = local.calls_so_far();
    let execution = local.start(&json!({ "environment": "abort" })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    let status = local.status("abort", tests::settled).await;
    assert_eq!(status.state, EnvironmentState::Ready);
    // What was done isn't done again; that a run has ended well with the secret is noted on it.
    assert_eq!(local.writes(since), ["ecs:CreateService", "secretsmanager:TagResource"]);
    local.destroy("abort").await;
}

#[tokio::test]
async fn the_same_event_twice_and_a_purged_old_version_change_nothing() {
    let local = Local::take().await;
    let first = local.upload("twice", &small("twice", "")).await;
    local.status("twice", |status| status.state == EnvironmentState::Ready).await;
    let status = local.ready("twice", &small("twice", "desired: 2")).await;

    let execution = MACHINE.replace("stateMachine", "execution") + ":" + &status.run;
    let event = local.sfn().describe_execution().execution_arn(execution).send().await.expect("a run").input;
    let since = local.calls_so_far();
    let again = local.start(&serde_json::from_str(&event.expect("an event")).expect("JSON")).await;
    assert_eq!(local.ended(&again).await, "SUCCEEDED");
    assert_eq!(local.writes(since), Vec::<String>::new());

    let runs_before = runs(&local).await;
    let purge = local.s3().delete_object().bucket(BUCKET).key("environments/twice.yaml").version_id(first);
    purge.send().await.expect("a purge");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(runs(&local).await, runs_before);
    assert_eq!(local.status("twice", |_| true).await, status);
    local.destroy("twice").await;
}

#[tokio::test]
async fn of_two_uploads_at_once_the_last_is_what_stands() {
    let local = Local::take().await;
    let specs = [small("race", "desired: 1"), small("race", "desired: 3")];
    local.upload("race", &specs[0]).await;
    let version = local.upload("race", &specs[1]).await;
    let last = |status: &Status| {
        status.version.as_ref() == Some(&version) && status.state == EnvironmentState::Ready
    };
    local.status("race", last).await;
    assert_eq!(local.plan(&specs[1]).await, []);
    assert!(local.is_free("race").await);
    local.destroy("race").await;
}

#[tokio::test]
async fn a_newer_spec_takes_over_from_a_run_that_waits() {
    let local = Local::take().await;
    local.upload("newer", &waiting("newer")).await;
    local.waiting("newer", "secrets.key has no value").await;
    local.ready("newer", &small("newer", "")).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    assert!(secrets.describe_secret().secret_id("newer-key").send().await.is_err(), "dropped things go");
    local.destroy("newer").await;
}

#[tokio::test]
async fn the_console_takes_a_whole_spec_and_an_environments_name() {
    let local = Local::take().await;
    let spec = spec::parse(&small("console", ""), None).expect("a spec");
    let execution = local.start(&json!({ "spec": spec })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    local.status("console", |status| status.state == EnvironmentState::Ready).await;
    let stored = local.s3().head_object().bucket(BUCKET).key("environments/console.json").send().await;
    assert!(stored.is_ok(), "an inline spec is stored");

    let execution = local.start(&json!({ "environment": "console" })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    let delete = local.s3().delete_object().bucket(BUCKET).key("environments/console.json");
    delete.send().await.expect("a deletion");
    local.status("console", |status| status.state == EnvironmentState::Destroyed).await;
}

#[tokio::test]
async fn a_bad_spec_is_rejected_with_every_fault_and_nothing_is_written() {
    let local = Local::take().await;
    let good = small("bad", "");
    local.ready("bad", &good).await;
    let standing = local.inventory();
    let head = "apiVersion: plinth/v1\nname: bad\n";
    let cases = [
        (format!("{head}clutser: {{}}\n"), "did you mean \"cluster\"?"),
        (
            format!("{head}services: {{ app: {{ image: '${{repositories.x}}:1' }} }}\n"),
            "the spec has no repositories",
        ),
        (
            format!("{head}network: {{ cidr: 10.0.0.0/16, private: [10.1.0.0/24], nat: none }}\n"),
            "lies outside",
        ),
        (format!("{head}secrets: {{ Big: {{}} }}\n"), "small letters"),
        (format!("{head}services: {{ app: {{ image: a, cpu: 300 }} }}\n"), "no size of 300"),
        (format!("{head}secrets: {{ a: {{ name: bad-b }}, b: {{}} }}\n"), "would be called bad-b"),
        ("][".to_owned(), ""),
        (" ".repeat(2 * 1024 * 1024), "1048576"),
        (good.replace("name: bad", "name: other"), "the name must be bad"),
    ];
    let since = local.calls_so_far();
    for (spec, message) in cases {
        let status = local.apply("bad", &spec).await;
        assert_eq!(status.state, EnvironmentState::Rejected, "{spec}");
        let told: Vec<&str> = status.faults.iter().map(|fault| fault.message.as_str()).collect();
        assert!(told.iter().any(|found| found.contains(message)), "{message}: {told:?}");
        assert!(status.faults.iter().all(|fault| fault.line > 0 && fault.column > 0));
    }
    // Only AWS knows that this isn't there: the plan asks it before anything is written.
    let adopted = format!("{head}network: {{ vpc: vpc-0000dead, private: [subnet-0000dead] }}\n");
    let status = local.apply("bad", &adopted).await;
    assert_eq!(status.state, EnvironmentState::Rejected);
    let fault = status.fault.expect("a fault").message;
    assert_eq!(fault, "network.vpc: there is no VPC vpc-0000dead in us-east-1");

    assert_eq!(local.writes(since), Vec::<String>::new());
    assert_eq!(local.inventory(), standing);
    local.ready("bad", &good).await;
    local.destroy("bad").await;
}

#[tokio::test]
async fn what_is_not_ours_stands_in_the_way_untouched_and_a_failed_run_is_carried_on() {
    let local = Local::take().await;
    let ecs = aws_sdk_ecs::Client::new(&local.aws);
    ecs.create_cluster().cluster_name("foreign").send().await.expect("a cluster");
    let spec = small("foreign", "");
    let status = local.apply("foreign", &spec).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let fault = status.fault.expect("a fault");
    assert_eq!((fault.error.as_str(), fault.state.as_deref()), ("Conflict", Some("Cluster")));
    assert!(fault.message.contains("belongs to somebody else"), "{}", fault.message);

    ecs.delete_cluster().cluster("foreign").send().await.expect("a deletion");
    local.ready("foreign", &spec).await;
    local.destroy("foreign").await;
}

#[tokio::test]
async fn no_secrets_value_is_written_down_anywhere() {
    let local = Local::take().await;
    let service = small("hush", "environment: { KEY: '${secrets.key.password}' }");
    let spec = format!("{service}secrets: {{ key: {{ generate: {{ username: app }}, recovery: 0d }} }}\n");
    local.plan(&spec).await;
    let status = local.ready("hush", &spec).await;

    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    let value = secrets.get_secret_value().secret_id("hush-key").send().await.expect("a value");
    let value: serde_json::Value = serde_json::from_str(&value.secret_string.expect("text")).expect("JSON");
    let password = value["password"].as_str().expect("a password");

    let keys = step::list(&local.s3(), BUCKET, "").await.expect("objects");
    assert!(keys.iter().any(|key| key.starts_with("runs/hush/")), "{keys:#?}");
    for key in keys.iter().filter(|key| key.contains("hush")) {
        let object = local.s3().get_object().bucket(BUCKET).key(key).send().await.expect("an object");
        let bytes = object.body.collect().await.expect("a body").into_bytes();
        assert!(!String::from_utf8_lossy(&bytes).contains(password), "{key}");
    }
    for (execution, events) in local.histories().await {
        assert!(!events.is_empty(), "{execution} says nothing");
        assert!(!events.iter().any(|event| event.contains(password)), "{execution}");
    }
    assert!(!format!("{status:?}").contains(password));
    local.destroy("hush").await;
}

#[tokio::test]
async fn what_a_spec_no_longer_mentions_goes_at_the_end_of_the_run() {
    let local = Local::take().await;
    let both = small("drop", "").replace(
        "  app:",
        "  old: { placement: public, image: nginx:1, logs: { group: /drop/old } }\n  app:",
    );
    local.ready("drop", &both).await;
    let planned = local.plan(&small("drop", "")).await;
    let deleted: BTreeSet<&str> = planned
        .iter()
        .filter(|change| change.action == Action::Delete)
        .map(|change| change.address.as_str())
        .collect();
    let wanted = ["services.old", "services.old.definition", "services.old.execution"];
    assert_eq!(deleted, wanted.into());
    local.ready("drop", &small("drop", "")).await;
    assert!(!local.standing("drop").iter().any(|found| found.contains("services.old")));
    local.destroy("drop").await;
}

/// What a spec of a thousand services may take of Step Functions' limits.
/// Source: <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>
const STATE: usize = 256 * 1024;
const EVENTS: usize = 25_000;

#[tokio::test]
async fn an_older_spec_uploaded_again_is_gone_back_to() {
    let local = Local::take().await;
    let older = small("older", "");
    let built = local.ready("older", &older).await;
    let newer = small("older", "desired: 2")
        .replace("  app:", "  more: { placement: public, image: nginx:1 }\n  app:");
    local.ready("older", &newer).await;
    let status = local.ready("older", &older).await;
    assert_eq!(status.outputs, built.outputs);
    assert_eq!(local.plan(&older).await, []);
    assert!(!local.standing("older").iter().any(|found| found.contains("services.more")));
    local.destroy("older").await;
}

#[tokio::test]
async fn an_environment_is_taken_away_from_any_state_and_twice() {
    let local = Local::take().await;
    let before = local.inventory();
    local.upload("parts", &waiting("parts")).await;
    local.waiting("parts", "secrets.key has no value").await;
    local.destroy("parts").await;
    local.same(&before);

    // From a failure, of which most was built.
    local.control("POST", "exits", Some(json!({ "family": "parts-once-job", "code": 1 })));
    let spec = small("parts", "") + "jobs: { once: { placement: public, image: nginx:1, after: [app] } }\n";
    assert_eq!(local.apply("parts", &spec).await.state, EnvironmentState::Failed);
    local.destroy("parts").await;
    local.same(&before);

    // From a teardown that was aborted half-way.
    local.ready("parts", &small("parts", "")).await;
    local.control("POST", "scale", Some(json!({ "scale": 0.05 })));
    local.delete("parts").await;
    let going = local.status("parts", |status| status.state == EnvironmentState::Destroying).await;
    let execution = MACHINE.replace("stateMachine", "execution") + ":" + &going.run;
    local.sfn().stop_execution().execution_arn(&execution).send().await.expect("a stop");
    local.status("parts", |status| status.state == EnvironmentState::Failed).await;
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    for _ in 0..2 {
        assert!(local.is_free("parts").await);
        let execution = local.start(&json!({ "environment": "parts" })).await;
        assert_eq!(local.ended(&execution).await, "SUCCEEDED");
        local.status("parts", |status| status.state == EnvironmentState::Destroyed).await;
        local.same(&before);
    }
}

#[tokio::test]
async fn two_hundred_services_take_less_than_a_fifth_of_what_a_run_may_take() {
    let local = Local::take().await;
    let service = |number| format!("  service-{number:03}: {{ placement: public, image: nginx:1 }}");
    let services = (0..200).map(service).collect::<Vec<_>>().join("\n");
    let spec = format!(
        "apiVersion: plinth/v1\nname: many\nnetwork: {{ nat: none, zones: 1 }}\nservices:\n{services}\n"
    );
    local.ready("many", &spec).await;
    for (execution, events) in local.histories().await {
        assert!(events.len() < EVENTS / 5, "{execution} has {} events", events.len());
        let largest = events.iter().map(String::len).max().unwrap_or_default();
        assert!(largest < STATE / 5, "{execution} hands on {largest} bytes");
    }
    local.destroy("many").await;
}

/// What a life of everything waits for, on its way up and on its way down, with AWS's own times made short.
#[tokio::test]
async fn each_resource_that_takes_its_time_is_waited_for() {
    let local = Local::take().await;
    let spec = tests::everything("slow");
    local.lay_out(&spec);
    local.control("POST", "scale", Some(json!({ "scale": 0.05 })));
    let mut waits = waits(&local, "slow", &spec, None).await;
    local.destroy("slow").await;
    waits.extend(local.said("slow").await);
    let things = [
        "NAT gateway",
        "load balancer (slow-inner)",
        "VPC endpoint",
        "RDS instance",
        "Aurora cluster",
        "ECS service",
        "instances",
        "EFS file system",
        "certificate",
        "VPC link",
        "namespace",
        "records of hosted zone",
        "network interfaces of Lambda functions",
    ];
    let missing: Vec<_> =
        things.into_iter().filter(|thing| !waits.iter().any(|wait| wait.contains(thing))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "nothing waited for these: {waits:#?}");
}

/// Nothing but its own readiness keeps a run from ending before an application load balancer answers.
#[tokio::test]
async fn an_application_load_balancer_is_waited_for() {
    let local = Local::take().await;
    let spec = "
apiVersion: plinth/v1
name: front
network: { nat: none }
functions: { index: { package: reportportal-index, environment: { TRAEFIK_SERVICES_URL: 'http://x:1' } } }
loadBalancers:
  outer:
    type: application
    scheme: internet-facing
    listeners: { http: { port: 80, default: '${functions.index}' } }
";
    local.control("POST", "scale", Some(json!({ "scale": 0.1 })));
    let waits = waits(&local, "front", spec, None).await;
    let told = "load balancer (front-outer) is provisioning";
    assert!(waits.iter().any(|wait| wait.contains(told)), "nothing waited for the balancer: {waits:#?}");
    local.destroy("front").await;
}

/// Roles become usable in seconds: what is asked for right after them comes too early.
#[tokio::test]
async fn a_new_role_is_waited_for() {
    let local = Local::take().await;
    let spec = "
apiVersion: plinth/v1
name: early
network: { nat: none, zones: 1 }
functions: { index: { package: reportportal-index, environment: { TRAEFIK_SERVICES_URL: 'http://x:1' } } }
jobs: { once: { placement: public, image: nginx:1 } }
";
    local.control("POST", "scale", Some(json!({ "scale": 1.0 })));
    let waits = waits(&local, "early", spec, None).await;
    for told in ["cannot be assumed by Lambda", "ECS was unable to assume the role"] {
        assert!(waits.iter().any(|wait| wait.contains(told)), "nothing waited for a role: {waits:#?}");
    }
    local.destroy("early").await;
}

/// A service whose tasks keep ending, and one whose targets stay unwell.
#[tokio::test]
async fn tasks_that_keep_stopping_and_targets_that_stay_unhealthy_fail_the_run_with_the_reason() {
    let local = Local::take().await;
    let spec = tests::file("examples/hello.yaml");
    local.control("POST", "scale", Some(json!({ "scale": 0.01 })));
    local.control("POST", "exits", Some(json!({ "family": "hello-web", "code": 137, "log": [] })));
    let status = local.apply("hello", &spec).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let fault = status.fault.expect("a fault").message;
    assert!(fault.contains("hello-web") && fault.contains("137"), "{fault}");

    local.control("POST", "exits", Some(json!({ "family": "hello-web", "code": null })));
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    local.ready("hello", &spec).await;
    local.watch("hello");
    let newer = spec.replace("nginx:1.29", "nginx:1.30");
    local.control("POST", "scale", Some(json!({ "scale": 0.01 })));
    local.control(
        "POST",
        "unhealthy",
        Some(json!({ "targetGroup": "hello-web", "reason": "Target.Timeout", "new": true })),
    );
    let status = local.apply("hello", &newer).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let fault = status.fault.expect("a fault").message;
    assert!(fault.contains("ELB health checks") || fault.contains("Target.Timeout"), "{fault}");

    local.control("POST", "unhealthy", Some(json!({ "targetGroup": "hello-web", "healthy": true })));
    local.ready("hello", &newer).await;
    local.unbroken();
    local.destroy("hello").await;
}

#[tokio::test]
async fn a_rebuild_takes_the_environment_away_and_brings_it_again() {
    let local = Local::take().await;
    let spec = tests::file("examples/hello.yaml");
    let before = local.ready("hello", &spec).await.outputs.network.expect("a network").vpc;
    let execution = local.start(&json!({ "environment": "hello", "action": "rebuild" })).await;
    assert_eq!(local.ended(&execution).await, "SUCCEEDED");
    let status = local.status("hello", tests::settled).await;
    assert_eq!(status.state, EnvironmentState::Ready);
    assert_ne!(status.outputs.network.expect("a network").vpc, before);
    local.destroy("hello").await;
}

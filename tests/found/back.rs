//! The way back: from any state to any older file. What CI and AWS itself change never stands in the way.

use std::collections::BTreeSet;

use aws_sdk_ecs::Client as Ecs;
use serde_json::json;
use step::{Change, EnvironmentState};
use tests::{LOOK, LOOKS, Local};

/// A small environment with this service.
fn service(name: &str, image: &str, more: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none, zones: 1 }}
services:
  app: {{ placement: public, image: '{image}', {more} }}
"
    )
}

/// How the tasks of a family end from now on: with this code, or none for not by themselves.
fn ends(local: &Local, family: &str, code: Option<i32>) {
    local.control("POST", "exits", Some(json!({ "family": family, "code": code, "log": ["no such thing"] })));
}

/// The names of the fields that a plan shows, with their addresses.
fn fields(changes: &[Change]) -> BTreeSet<String> {
    let of = |change: &Change| -> Vec<String> {
        change.fields.iter().map(|field| format!("{} {}", change.address, field.name)).collect()
    };
    changes.iter().flat_map(of).collect()
}

/// The revision that a service runs, and its image.
async fn runs(local: &Local, name: &str) -> (String, String) {
    let ecs = Ecs::new(&local.aws);
    let described = ecs.describe_services().cluster(name).services(format!("{name}-app")).send().await;
    let service = described.expect("services").services.expect("services").remove(0);
    let revision = service.task_definition.expect("a revision");
    let described = ecs.describe_task_definition().task_definition(&revision).send().await;
    let definition = described.expect("a revision").task_definition.expect("a revision");
    (revision, definition.container_definitions()[0].image().expect("an image").to_owned())
}

/// Registers a revision as CI systems do: the one that runs, with another image and without tags.
async fn registered_by_ci(local: &Local, family: &str, image: &str) -> String {
    let ecs = Ecs::new(&local.aws);
    let described = ecs.describe_task_definition().task_definition(family).send().await;
    let found = described.expect("a revision").task_definition.expect("a revision");
    let mut containers = found.container_definitions.expect("containers");
    containers[0].image = Some(image.to_owned());
    let registered = ecs
        .register_task_definition()
        .family(family)
        .set_network_mode(found.network_mode)
        .set_requires_compatibilities(found.requires_compatibilities)
        .set_cpu(found.cpu)
        .set_memory(found.memory)
        .set_runtime_platform(found.runtime_platform)
        .set_execution_role_arn(found.execution_role_arn)
        .set_container_definitions(Some(containers))
        .set_volumes(found.volumes)
        .send()
        .await;
    let definition = registered.expect("a revision").task_definition.expect("a revision");
    definition.task_definition_arn.expect("an ARN")
}

/// Updates a service to a revision by hand, and waits until ECS has done so.
async fn deployed_by_ci(local: &Local, name: &str, revision: &str) {
    let ecs = Ecs::new(&local.aws);
    let update = ecs.update_service().cluster(name).service(format!("{name}-app")).task_definition(revision);
    update.send().await.expect("an update");
    for _ in 0..LOOKS {
        let described = ecs.describe_services().cluster(name).services(format!("{name}-app")).send().await;
        let service = described.expect("services").services.expect("services").remove(0);
        if service.deployments().len() == 1 && service.running_count() == service.desired_count() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("{revision} isn't deployed after five minutes");
}

#[tokio::test]
async fn an_older_file_is_ready_after_a_deployment_that_was_rolled_back() {
    let local = Local::take().await;
    let (older, newer) = (service("rolled", "busybox:1", ""), service("rolled", "busybox:2", ""));
    local.ready("rolled", &older).await;
    let (first, _) = runs(&local, "rolled").await;
    ends(&local, "rolled-app", Some(1));
    assert_eq!(local.apply("rolled", &newer).await.state, EnvironmentState::Failed);

    let since = local.calls_so_far();
    local.ready("rolled", &older).await;
    let writes = local.writes(since);
    let deployed = writes.iter().filter(|call| call.contains("Service") || call.contains("Register"));
    assert_eq!(deployed.count(), 0, "ECS went back to what the older file says: {writes:?}");
    assert_eq!(runs(&local, "rolled").await.0, first);
    assert_eq!(local.plan(&older).await, []);
    let resumed = local.start(&json!({ "environment": "rolled" })).await;
    assert_eq!(local.ended(&resumed).await, "SUCCEEDED");
    assert_eq!(local.status("rolled", tests::settled).await.state, EnvironmentState::Ready);

    // Failed once more, also after a run that only tried again, and after a spec that is refused.
    assert_eq!(local.apply("rolled", &newer).await.state, EnvironmentState::Failed);
    let again = local.start(&json!({ "environment": "rolled" })).await;
    local.ended(&again).await;
    assert_eq!(local.status("rolled", tests::settled).await.state, EnvironmentState::Failed);
    let rejected = local.apply("rolled", &service("rolled", "busybox:3", "desired: none")).await;
    assert_eq!(rejected.state, EnvironmentState::Rejected);
    local.ready("rolled", &older).await;
    ends(&local, "rolled-app", None);
    local.ready("rolled", &newer).await;
    local.destroy("rolled").await;
}

#[tokio::test]
async fn an_older_file_is_ready_after_a_job_that_failed() {
    let local = Local::take().await;
    let spec = |image: &str| {
        format!(
            "{}jobs: {{ once: {{ placement: public, image: '{image}' }} }}\n",
            service("tried", "nginx:1", "after: [jobs.once]")
        )
    };
    local.ready("tried", &spec("migrate:1")).await;
    ends(&local, "tried-once-job", Some(1));
    assert_eq!(local.apply("tried", &spec("migrate:2")).await.state, EnvironmentState::Failed);
    ends(&local, "tried-once-job", Some(0));
    local.ready("tried", &spec("migrate:1")).await;
    assert_eq!(local.plan(&spec("migrate:1")).await, []);
    local.destroy("tried").await;
}

/// A balancer that the newer file replaces, while the service's new tasks end.
fn replaced(newer: bool) -> String {
    let (scheme, image) = if newer { ("internal", "busybox:2") } else { ("internet-facing", "busybox:1") };
    format!(
        "
apiVersion: plinth/v1
name: halfway
network: {{ zones: 2 }}
loadBalancers:
  outer: {{ type: application, scheme: {scheme}, listeners: {{ http: {{ port: 80, default: '${{services.app}}' }} }} }}
services:
  app: {{ image: '{image}', ports: [80] }}
"
    )
}

#[tokio::test]
async fn an_older_file_is_ready_after_a_replacement_that_came_half_way() {
    let local = Local::take().await;
    local.ready("halfway", &replaced(false)).await;
    let before = local.standing("halfway");
    ends(&local, "halfway-app", Some(1));
    assert_eq!(local.apply("halfway", &replaced(true)).await.state, EnvironmentState::Failed);
    assert_ne!(local.standing("halfway"), before, "something was made beside what was there");
    local.ready("halfway", &replaced(false)).await;
    assert_eq!(local.plan(&replaced(false)).await, []);
    assert_eq!(local.standing("halfway"), before);
    ends(&local, "halfway-app", None);
    local.destroy("halfway").await;
}

#[tokio::test]
async fn what_ci_deployed_is_taken_back_or_kept_as_the_spec_says_and_never_in_the_way() {
    let local = Local::take().await;
    let before = local.inventory();
    let job = "jobs: { once: { placement: public, image: 'migrate:1' } }\n";
    let spec = service("pushed", "nginx:1", "") + job;
    local.ready("pushed", &spec).await;

    // Revisions that nobody deployed are nobody's business.
    registered_by_ci(&local, "pushed-app", "nginx:ci-1").await;
    registered_by_ci(&local, "pushed-once-job", "migrate:ci-1").await;
    assert_eq!(local.plan(&spec).await, []);
    let since = local.calls_so_far();
    local.ready("pushed", &(spec.clone() + "# again\n")).await;
    assert_eq!(local.writes(since), Vec::<String>::new());

    let revision = registered_by_ci(&local, "pushed-app", "nginx:ci-2").await;
    deployed_by_ci(&local, "pushed", &revision).await;
    let planned = fields(&local.plan(&spec).await);
    assert!(planned.contains("services.app.definition image"), "{planned:?}");
    local.ready("pushed", &spec).await;
    assert_eq!(runs(&local, "pushed").await.1, "nginx:1");
    assert_eq!(local.plan(&spec).await, []);

    // Where the image is CI's, only the rest is the spec's.
    let kept = service("pushed", "nginx:1", "imageFrom: ci") + job;
    local.ready("pushed", &kept).await;
    let revision = registered_by_ci(&local, "pushed-app", "nginx:ci-3").await;
    deployed_by_ci(&local, "pushed", &revision).await;
    local.ready("pushed", &kept).await;
    assert_eq!(runs(&local, "pushed").await, (revision, "nginx:ci-3".to_owned()));
    assert_eq!(local.plan(&kept).await, []);
    let larger = service("pushed", "nginx:1", "imageFrom: ci, memory: 1024") + job;
    let planned = fields(&local.plan(&larger).await);
    assert_eq!(
        planned,
        ["services.app definition", "services.app.definition memory"].map(str::to_owned).into()
    );
    local.ready("pushed", &larger).await;
    assert_eq!(runs(&local, "pushed").await.1, "nginx:ci-3");

    // What CI registered goes with the family, and is in nobody's way when the environment comes back.
    local.destroy("pushed").await;
    local.same(&before);
    local.ready("pushed", &spec).await;
    local.destroy("pushed").await;
}

const GROWN: &str = "
apiVersion: plinth/v1
name: grown
network: { nat: none, zones: 2 }
secrets: { login: { generate: { username: app }, recovery: 0d } }
databases:
  plain: { engine: postgres, version: '16.9', storage: 20, credentials: '${secrets.login}', finalSnapshot: false }
  aurora:
    engine: aurora-postgresql
    version: '16.8'
    serverless: { min: 1, max: 2 }
    credentials: '${secrets.login}'
    finalSnapshot: false
";

#[tokio::test]
async fn what_rds_upgrades_and_grows_by_itself_is_no_drift_and_is_never_taken_back() {
    let local = Local::take().await;
    local.ready("grown", GROWN).await;
    local.control(
        "POST",
        "database",
        Some(json!({ "name": "grown-plain", "version": "16.12", "storage": 33 })),
    );
    local.control("POST", "database", Some(json!({ "name": "grown-aurora", "version": "16.10" })));
    assert_eq!(local.plan(GROWN).await, []);
    let since = local.calls_so_far();
    local.ready("grown", &format!("{GROWN}# again\n")).await;
    assert_eq!(local.writes(since), Vec::<String>::new());

    // A later file went to another major version, and the older one is gone back to.
    let newer = GROWN.replace("'16.9'", "'17'").replace("storage: 20", "storage: 40");
    local.ready("grown", &newer).await;
    local.ready("grown", GROWN).await;
    assert_eq!(local.plan(GROWN).await, []);
    local.destroy("grown").await;
}

/// A database whose master user is called so, with a password of this length.
fn with_login(username: &str, length: u8) -> String {
    format!(
        "
apiVersion: plinth/v1
name: login
network: {{ nat: none, zones: 2 }}
secrets: {{ login: {{ generate: {{ username: {username}, length: {length} }}, recovery: 0d }} }}
databases: {{ main: {{ engine: postgres, credentials: '${{secrets.login}}', finalSnapshot: false }} }}
"
    )
}

#[tokio::test]
async fn a_generated_user_name_and_password_follow_the_spec_as_far_as_a_database_can() {
    let local = Local::take().await;
    let value = async || {
        let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
        let value = secrets.get_secret_value().secret_id("login-login").send().await.expect("a value");
        let value: serde_json::Value =
            serde_json::from_str(value.secret_string().expect("text")).expect("JSON");
        (
            value["username"].as_str().expect("a name").to_owned(),
            value["password"].as_str().expect("one").len(),
        )
    };
    local.fault(json!({
        "kind": "error", "service": "rds", "action": "CreateDBInstance", "status": 400,
        "code": "InvalidParameterValue", "message": "MasterUsername keeper cannot be used as it is a reserved word",
    }));
    assert_eq!(local.apply("login", &with_login("keeper", 32)).await.state, EnvironmentState::Failed);
    assert_eq!(value().await, ("keeper".to_owned(), 32));
    let planned = fields(&local.plan(&with_login("app", 32)).await);
    assert!(planned.contains("secrets.login generate.username"), "{planned:?}");
    local.ready("login", &with_login("app", 32)).await;
    assert_eq!(value().await, ("app".to_owned(), 32));

    let planned = fields(&local.plan(&with_login("app", 40)).await);
    let wanted = ["databases.main password", "secrets.login generate.length"];
    assert_eq!(planned, wanted.map(str::to_owned).into());
    local.ready("login", &with_login("app", 40)).await;
    assert_eq!(value().await, ("app".to_owned(), 40));
    assert_eq!(local.plan(&with_login("app", 40)).await, []);

    let since = local.calls_so_far();
    let status = local.apply("login", &with_login("other", 40)).await;
    let fault = format!("{:?} {:?}", status.fault, status.faults);
    assert!(fault.contains("databases.main has the master user app"), "{fault}");
    assert_eq!(local.writes(since), Vec::<String>::new());
    local.ready("login", &with_login("app", 40)).await;
    local.destroy("login").await;
}

#[tokio::test]
async fn what_people_are_asked_is_asked_at_once_across_services() {
    let local = Local::take().await;
    let spec = "
apiVersion: plinth/v1
name: asked
network: { nat: none, zones: 1 }
secrets: { first: { recovery: 0d }, second: { recovery: 0d } }
repositories: { app: { forceDelete: true } }
services:
  app: { placement: public, image: '${repositories.app}:1', environment: { KEY: '${secrets.first}' } }
  later: { placement: public, image: '${repositories.app}:2', environment: { KEY: '${secrets.second}' }, after: [app] }
";
    let version = local.upload("asked", spec).await;
    let status = local.status("asked", |status| status.state == EnvironmentState::Waiting).await;
    for told in ["-app:1", "-app:2", "secret set asked first", "secret set asked second"] {
        assert!(status.asks.iter().any(|ask| ask.ends_with(told)), "{told}: {:?}", status.asks);
    }
    assert_eq!(status.asks.len(), 4, "{:?}", status.asks);
    assert_eq!(local.settled("asked", &version).await.state, EnvironmentState::Ready);
    local.destroy("asked").await;
}

#[tokio::test]
async fn a_secret_that_got_another_value_restarts_the_tasks_that_read_it_once() {
    let local = Local::take().await;
    let spec = service("renewed", "nginx:1", "environment: { KEY: '${secrets.key}' }")
        + "  other: { placement: public, image: nginx:1 }\nsecrets: { key: { recovery: 0d } }\n";
    let version = local.upload("renewed", &spec).await;
    assert_eq!(local.settled("renewed", &version).await.state, EnvironmentState::Ready);
    assert_eq!(local.plan(&spec).await, []);

    local.put_secret("renewed-key", "another value").await;
    assert_eq!(fields(&local.plan(&spec).await), ["services.app secrets".to_owned()].into());
    let since = local.calls_so_far();
    local.ready("renewed", &(spec.clone() + "# again\n")).await;
    let writes = local.writes(since);
    assert_eq!(writes.iter().filter(|call| call.contains("UpdateService")).count(), 1, "{writes:?}");
    assert_eq!(local.plan(&spec).await, []);
    local.destroy("renewed").await;
}

//! Environments in another account and region than the control plane's.

use std::process::Command;

use serde_json::json;
use step::{EnvironmentState, Status};
use tests::{BUCKET, LOOK, LOOKS, Local};

const ACCOUNT: &str = "111111111111";
const REGION: &str = "eu-west-1";
const ROLE: &str = "arn:aws:iam::111111111111:role/plinth-build";

/// Deploys one of the templates that other accounts get.
fn deploy(local: &Local, template: &str, parameters: &[&str]) {
    let output = Command::new(tests::aws())
        .args(["cloudformation", "deploy", "--stack-name", &format!("plinth-{template}")])
        .args(["--template-file", &format!("infra/{template}.yaml"), "--no-fail-on-empty-changeset"])
        .args(["--capabilities", "CAPABILITY_NAMED_IAM", "--parameter-overrides"])
        .arg("ControlPlaneAccount=000000000000")
        .args(parameters)
        .current_dir(tests::root())
        .env("AWS_ENDPOINT_URL", local.endpoint())
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ACCOUNT)
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .expect("aws");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The role to build with, which wants to hear this.
fn deploy_role(local: &Local, external_id: &str) {
    deploy(local, "role", &[&format!("ExternalId={external_id}")]);
}

/// The spec, built by the role in its account.
fn there(spec: &str) -> String {
    format!("{spec}role: {ROLE}\nregion: {REGION}\n")
}

#[tokio::test]
async fn an_environment_of_another_account_is_built_there_with_one_role() {
    let local = Local::take().await;
    deploy_role(&local, BUCKET);
    let account = local.in_account(ACCOUNT, REGION);
    let spec = there(&tests::everything("away"));
    local.lay_out(&spec);
    let (at_home, before) = (local.inventory(), account.inventory());

    let since = local.calls_so_far();
    let status = local.ready("away", &spec).await;
    assert_eq!((status.region.as_deref(), status.role.as_deref()), (Some(REGION), Some(ROLE)));
    assert!(account.standing("away").len() > 50, "{:#?}", account.standing("away"));
    // At home stands what works there: its schedule.
    assert_eq!(local.standing("away"), ["schedule schedule", "schedule-group schedule"]);
    assert!(local.writes(since).len() > 50);

    let since = local.calls_so_far();
    local.ready("away", &spec).await;
    assert_eq!(local.writes(since), Vec::<String>::new());
    assert_eq!(local.plan(&spec).await, []);

    local.destroy("away").await;
    account.same(&before);
    local.same(&at_home);
}

#[tokio::test]
async fn an_image_that_is_pushed_in_another_account_and_region_starts_a_run() {
    let local = Local::take().await;
    deploy_role(&local, BUCKET);
    deploy(&local, "events", &["ControlPlaneRegion=us-east-1"]);
    let account = local.in_account(ACCOUNT, REGION);
    let spec = there(
        "
apiVersion: plinth/v1
name: heard
network: { nat: none, zones: 1 }
repositories: { app: { forceDelete: true } }
services: { app: { placement: public, image: { repository: app, tag: v* } } }
",
    );
    local.upload("heard", &spec).await;
    local.waiting("heard", "docker push 111111111111.dkr.ecr.eu-west-1.amazonaws.com/heard-app:").await;
    let first = push(&account, "heard-app", "v1.0.0").await;
    local.status("heard", |status| status.state == EnvironmentState::Ready).await;
    assert!(running(&account).await.ends_with(&first));

    let newer = push(&account, "heard-app", "v1.1.0").await;
    for _ in 0..LOOKS {
        if running(&account).await.ends_with(&newer) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert!(running(&account).await.ends_with(&newer));
    local.status("heard", |status| status.state == EnvironmentState::Ready).await;
    assert!(local.is_free("heard").await);
    local.destroy("heard").await;
}

/// Pushes an image of its own under this tag, and answers its digest.
async fn push(account: &Local, repository: &str, tag: &str) -> String {
    let manifest = json!({ "schemaVersion": 2, "config": { "digest": tag }, "layers": [] }).to_string();
    let put = aws_sdk_ecr::Client::new(&account.aws).put_image().repository_name(repository).image_tag(tag);
    let put = put
        .image_manifest(manifest)
        .image_manifest_media_type("application/vnd.docker.distribution.manifest.v2+json")
        .send()
        .await;
    let image = put.expect("an image").image;
    image.and_then(|image| image.image_id?.image_digest).expect("a digest")
}

/// The image that the service of `heard` runs.
async fn running(account: &Local) -> String {
    let ecs = aws_sdk_ecs::Client::new(&account.aws);
    let described = ecs.describe_services().cluster("heard").services("heard-app").send().await;
    let service = described.expect("services").services.expect("services").remove(0);
    let revision = service.task_definition().expect("a revision").to_owned();
    let definition = ecs.describe_task_definition().task_definition(revision).send().await;
    let definition = definition.expect("a definition").task_definition.expect("a definition");
    definition.container_definitions()[0].image().expect("an image").to_owned()
}

/// Who runs in the control plane's account may not build with the role, though its policy lets it and it knows the
/// external id.
#[tokio::test]
async fn the_role_is_for_plinths_functions_alone() {
    let local = Local::take().await;
    deploy_role(&local, BUCKET);
    let (iam, sts) = (aws_sdk_iam::Client::new(&local.aws), aws_sdk_sts::Client::new(&local.aws));
    let allow = |rest: &str| {
        let action = "\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\"";
        format!("{{ \"Version\": \"2012-10-17\", \"Statement\": [{{ {action}, {rest} }}] }}")
    };
    let trust = allow("\"Principal\": { \"AWS\": \"arn:aws:iam::000000000000:root\" }");
    for (name, path, is_taken) in [
        ("plinth-task", "/plinth/demo/", false),
        ("plinth-OtherFunctionRole-1", "/plinth/demo/", false),
        ("plinth-AnyFunctionRole-1", "/", true),
    ] {
        let role =
            iam.create_role().role_name(name).path(path).assume_role_policy_document(&trust).send().await;
        let arn = role.expect("a role").role.expect("a role").arn;
        let put = iam
            .put_role_policy()
            .role_name(name)
            .policy_name("own")
            .policy_document(allow("\"Resource\": \"*\""));
        put.send().await.expect("a policy");
        let session =
            sts.assume_role().role_arn(arn).role_session_name("session").send().await.expect("a session");
        let given = session.credentials.expect("credentials");
        let session = aws_sdk_sts::config::Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            None,
            "test",
        );
        let config = aws_sdk_sts::config::Builder::from(&local.aws).credentials_provider(session).build();
        let sts = aws_sdk_sts::Client::from_conf(config);
        let built =
            sts.assume_role().role_arn(ROLE).external_id(BUCKET).role_session_name("session").send().await;
        assert_eq!(built.is_ok(), is_taken, "{name}: {built:?}");
        iam.delete_role_policy().role_name(name).policy_name("own").send().await.expect("a deletion");
        iam.delete_role().role_name(name).send().await.expect("a deletion");
    }
}

#[tokio::test]
async fn a_role_that_is_not_allowed_or_does_not_trust_the_control_plane_is_refused_with_the_remedy() {
    let local = Local::take().await;
    let account = local.in_account(ACCOUNT, REGION);
    let spec = there("apiVersion: plinth/v1\nname: strange\ncluster: {}\n");
    let fault = |status: Status| status.fault.map(|fault| fault.message).unwrap_or_default();

    let other = spec.replace("plinth-build", "administrator");
    let status = local.apply("strange", &other).await;
    assert_eq!(status.state, EnvironmentState::Rejected);
    assert_eq!((status.faults[0].line, status.faults[0].path.as_str()), (4, "role"));
    assert!(status.faults[0].message.contains("BuildRoles"), "{:?}", status.faults);

    deploy_role(&local, "somebody-else");
    let before = account.inventory();
    let status = local.apply("strange", &spec).await;
    assert_eq!((status.state, status.role.as_ref()), (EnvironmentState::Failed, None));
    let told = fault(status);
    assert!(told.contains(ROLE) && told.contains(BUCKET), "{told}");
    account.same(&before);
    local.destroy("strange").await;

    deploy_role(&local, BUCKET);
    let before = account.inventory();
    local.ready("strange", &spec).await;
    let status = local.apply("strange", "apiVersion: plinth/v1\nname: strange\ncluster: {}\n").await;
    assert_eq!(status.state, EnvironmentState::Rejected, "it can't move");
    assert!(status.faults.iter().any(|fault| fault.path == "role"), "{:?}", status.faults);
    local.destroy("strange").await;
    account.same(&before);

    // Of what is gone a bad spec doesn't say where it stands.
    assert_eq!(local.apply("strange", &other).await.state, EnvironmentState::Rejected);
    local.ready("strange", "apiVersion: plinth/v1\nname: strange\ncluster: {}\n").await;
    local.destroy("strange").await;
}

//! What a hostile spec's function and task can do with all the permissions that a spec can ask for: S1, S2, S4, S10.

use std::process::Command;

use aws_sdk_iam::Client as Iam;
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_sts::Client as Sts;
use serde_json::{Value, json};
use step::Status;
use tests::{BUCKET, Local, MACHINE};

const REGION: &str = "us-east-1";

/// Who is attacked.
const VICTIM: &str = "
apiVersion: plinth/v1
name: victim
network: { nat: single, zones: 1 }
key: { recovery: 7d }
secrets: { password: { generate: {}, recovery: 0d } }
repositories: { app: { forceDelete: true } }
buckets: { store: { forceDelete: true } }
fileSystems: { data: {} }
functions: { index: { package: reportportal-index, environment: { TRAEFIK_SERVICES_URL: 'http://x:1' } } }
services: { app: { image: nginx:1 } }
";

/// Who attacks: a function and a task that may do everything, as far as their spec says.
const MALLORY: &str = "
apiVersion: plinth/v1
name: mallory
network: { nat: single, zones: 1 }
key: { recovery: 7d }
secrets: { password: { generate: {}, recovery: 0d } }
repositories: { app: { forceDelete: true } }
buckets: { store: { forceDelete: true } }
functions:
  attack:
    zip: s3://code-of-mallory/attack.zip
    timeout: 5m
    role: { policies: ['arn:aws:iam::aws:policy/AdministratorAccess'] }
services:
  attack: { image: nginx:1, role: { policies: ['arn:aws:iam::aws:policy/AdministratorAccess'] } }
";

/// A call of an API: service, operation and arguments, as boto3 names them.
type Call = (&'static str, &'static str, Value);

fn arn(service: &str, rest: &str) -> String {
    format!("arn:aws:{service}:{REGION}:000000000000:{rest}")
}

/// What a workload does with what is its environment's own, and with what is open to everybody in the account.
fn work(own: &Status) -> Vec<Call> {
    let outputs = &own.outputs;
    let bucket = &outputs.buckets["store"].name;
    let key = outputs.key.as_ref().map(|key| key.id.clone());
    vec![
        ("secretsmanager", "get_secret_value", json!({ "SecretId": outputs.secrets["password"].arn })),
        ("s3", "put_object", json!({ "Bucket": bucket, "Key": "a", "Body": "b" })),
        ("s3", "get_object", json!({ "Bucket": bucket, "Key": "a" })),
        ("s3", "list_objects_v2", json!({ "Bucket": bucket })),
        ("s3", "list_objects_v2", json!({ "Bucket": "code-of-mallory" })),
        ("kms", "encrypt", json!({ "KeyId": key, "Plaintext": "x" })),
        ("ecr", "describe_images", json!({ "repositoryName": outputs.repositories["app"].name })),
        ("ecs", "list_tasks", json!({ "cluster": "mallory" })),
        ("sts", "get_caller_identity", json!({})),
        (
            "logs",
            "create_log_stream",
            json!({ "logGroupName": "/aws/lambda/mallory-attack", "logStreamName": "more" }),
        ),
        (
            "events",
            "put_events",
            json!({ "Entries": [{ "Source": "mallory", "DetailType": "x", "Detail": "{}" }] }),
        ),
    ]
}

/// What would reach the control plane, another environment, other accounts or the account's own identities.
fn attacks(victim: &Status) -> Vec<Call> {
    [on_another_environment(victim), on_the_control_plane(), on_the_account()].concat()
}

fn on_another_environment(victim: &Status) -> Vec<Call> {
    let outputs = &victim.outputs;
    let (secret, repository) = (&outputs.secrets["password"].arn, &outputs.repositories["app"].name);
    let bucket = &outputs.buckets["store"].name;
    let key = outputs.key.as_ref().map(|key| key.id.clone());
    vec![
        ("secretsmanager", "get_secret_value", json!({ "SecretId": secret })),
        ("secretsmanager", "put_secret_value", json!({ "SecretId": secret, "SecretString": "x" })),
        ("secretsmanager", "delete_secret", json!({ "SecretId": secret })),
        ("s3", "put_object", json!({ "Bucket": bucket, "Key": "a", "Body": "b" })),
        ("s3", "list_objects_v2", json!({ "Bucket": bucket })),
        ("s3", "delete_bucket_policy", json!({ "Bucket": bucket })),
        ("kms", "encrypt", json!({ "KeyId": key, "Plaintext": "x" })),
        ("kms", "schedule_key_deletion", json!({ "KeyId": key })),
        (
            "ecr",
            "put_image",
            json!({ "repositoryName": repository, "imageManifest": "{}", "imageTag": "v1" }),
        ),
        (
            "ecr",
            "batch_get_image",
            json!({ "repositoryName": repository, "imageIds": [{ "imageTag": "v1" }] }),
        ),
        ("ecs", "update_service", json!({ "cluster": "victim", "service": "victim-app", "desiredCount": 0 })),
        ("ecs", "describe_services", json!({ "cluster": "victim", "services": ["victim-app"] })),
        ("ecs", "list_tasks", json!({ "cluster": "victim" })),
        ("ecs", "register_container_instance", json!({ "cluster": "victim" })),
        ("lambda", "invoke", json!({ "FunctionName": outputs.functions["index"].arn })),
        ("lambda", "update_function_configuration", json!({ "FunctionName": "victim-index", "Timeout": 1 })),
        ("efs", "delete_file_system", json!({ "FileSystemId": outputs.file_systems["data"].id })),
    ]
}

fn on_the_control_plane() -> Vec<Call> {
    let artifacts = format!("plinth-artifacts-000000000000-{REGION}");
    let told = json!([{ "Source": "plinth", "DetailType": "x", "Detail": "{}" }]);
    let entry = json!([{ "timestamp": 1, "message": "x" }]);
    let logs = "/aws/lambda/plinth-accept";
    vec![
        ("s3", "put_object", json!({ "Bucket": BUCKET, "Key": "environments/x.yaml", "Body": "x" })),
        ("s3", "get_object", json!({ "Bucket": BUCKET, "Key": "status/victim.json" })),
        ("s3", "put_object", json!({ "Bucket": artifacts, "Key": "x", "Body": "x" })),
        ("stepfunctions", "start_execution", json!({ "stateMachineArn": MACHINE, "input": "{}" })),
        ("lambda", "invoke", json!({ "FunctionName": "plinth-accept", "Payload": "{}" })),
        ("lambda", "update_function_configuration", json!({ "FunctionName": "plinth-role", "Timeout": 1 })),
        ("events", "disable_rule", json!({ "Name": "plinth-spec" })),
        ("events", "put_events", json!({ "Entries": told })),
        ("sns", "publish", json!({ "TopicArn": arn("sns", "plinth-environments"), "Message": "x" })),
        ("sqs", "purge_queue", json!({ "QueueUrl": "http://x/000000000000/plinth-lost-events" })),
        ("logs", "describe_log_streams", json!({ "logGroupName": logs })),
        ("logs", "put_log_events", json!({ "logGroupName": logs, "logStreamName": "x", "logEvents": entry })),
        ("logs", "delete_log_group", json!({ "logGroupName": logs })),
        ("cloudwatch", "disable_alarm_actions", json!({ "AlarmNames": ["plinth-failed-runs"] })),
        ("cloudformation", "delete_stack", json!({ "StackName": "plinth" })),
    ]
}

fn on_the_account() -> Vec<Call> {
    let (abroad, admin) =
        ("arn:aws:iam::111111111111:role/plinth-build", "arn:aws:iam::000000000000:role/admin");
    let command = json!({ "InstanceIds": ["i-1"], "DocumentName": "AWS-RunShellScript" });
    vec![
        ("lambda", "update_function_configuration", json!({ "FunctionName": "admins", "Timeout": 1 })),
        ("lambda", "invoke", json!({ "FunctionName": "admins" })),
        (
            "sts",
            "assume_role",
            json!({ "RoleArn": abroad, "RoleSessionName": "mallory", "ExternalId": BUCKET }),
        ),
        ("sts", "assume_role", json!({ "RoleArn": admin, "RoleSessionName": "mallory" })),
        ("iam", "create_user", json!({ "UserName": "mallory" })),
        (
            "iam",
            "tag_role",
            json!({ "RoleName": "mallory-attack-function", "Tags": [{ "Key": "plinth:environment", "Value": "victim" }] }),
        ),
        ("secretsmanager", "get_secret_value", json!({ "SecretId": "of-the-account" })),
        ("ssm", "send_command", command),
        ("ssm", "get_parameter", json!({ "Name": "/victim/password" })),
        ("cloudformation", "create_stack", json!({ "StackName": "x", "TemplateBody": "{}" })),
        ("ec2", "terminate_instances", json!({ "InstanceIds": ["i-0123456789abcdef0"] })),
        ("rds", "delete_db_instance", json!({ "DBInstanceIdentifier": "x", "SkipFinalSnapshot": true })),
    ]
}

/// The hostile function's code, as Lambda takes it.
fn zip() -> Vec<u8> {
    let script = r"import io, sys, zipfile
made = io.BytesIO()
with zipfile.ZipFile(made, 'w') as package:
    package.writestr('bootstrap', f'#!{sys.executable}\n' + open('tests/found/bootstrap.py').read())
sys.stdout.buffer.write(made.getvalue())";
    let output = Command::new(tests::python()).args(["-c", script]).current_dir(tests::root()).output();
    output.expect("python").stdout
}

/// What the account has beside environments: code to run, a function of its administrators, and a secret.
async fn account(local: &Local) {
    let zip = zip();
    let s3 = local.s3();
    s3.create_bucket().bucket("code-of-mallory").send().await.expect("a bucket");
    let put = s3.put_object().bucket("code-of-mallory").key("attack.zip").body(zip.clone().into());
    put.send().await.expect("an object");
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "Service": "lambda.amazonaws.com", "AWS": "000000000000" } }] });
    let role = Iam::new(&local.aws).create_role().role_name("admin");
    let role = role.assume_role_policy_document(trust.to_string()).send().await.expect("a role");
    let code =
        aws_sdk_lambda::types::FunctionCode::builder().zip_file(aws_sdk_lambda::primitives::Blob::new(zip));
    let function = Lambda::new(&local.aws).create_function().function_name("admins").code(code.build());
    let function = function.role(role.role.expect("a role").arn).runtime("provided.al2023".into());
    function.handler("bootstrap").send().await.expect("a function");
    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    secrets.create_secret().name("of-the-account").secret_string("x").send().await.expect("a secret");
}

/// What each call came to, made by the function with its own credentials or with these.
async fn made(local: &Local, calls: &[Call], keys: Option<Value>) -> Vec<String> {
    let event = json!({ "calls": calls, "keys": keys.unwrap_or_else(|| json!({})) });
    let invoke = Lambda::new(&local.aws).invoke().function_name("mallory-attack");
    let answer = invoke.payload(aws_sdk_lambda::primitives::Blob::new(event.to_string())).send().await;
    let payload = answer.expect("an answer").payload.expect("a payload").into_inner();
    serde_json::from_slice(&payload).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&payload)))
}

/// Credentials such as ECS hands to a task of this role. Here nothing runs in a task: for once the account trusts
/// itself with the role.
async fn keys_of_a_task(local: &Local, role: &str) -> Value {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "AWS": "000000000000" } }] });
    let iam = Iam::new(&local.aws);
    let trusted = iam.update_assume_role_policy().role_name(role).policy_document(trust.to_string());
    trusted.send().await.expect("trust");
    let arn = iam.get_role().role_name(role).send().await.expect("a role").role.expect("a role").arn;
    let assumed = Sts::new(&local.aws).assume_role().role_arn(arn).role_session_name("task").send().await;
    let keys = assumed.expect("a session").credentials.expect("credentials");
    json!({
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
        "aws_session_token": keys.session_token,
    })
}

fn told(calls: &[Call], came: &[String], fits: impl Fn(&str) -> bool) -> Vec<String> {
    assert_eq!(calls.len(), came.len());
    let unfit = calls.iter().zip(came).filter(|(_, came)| !fits(came));
    unfit
        .map(|((service, operation, arguments), came)| format!("{service} {operation} {arguments}: {came}"))
        .collect()
}

fn is_refused(came: &str) -> bool {
    ["AccessDenied", "Unauthorized", "AuthorizationError"].iter().any(|word| came.contains(word))
        || came == "403"
}

/// Takes away what the account had beside environments.
async fn clean(local: &Local) {
    let (s3, iam, lambda) = (local.s3(), Iam::new(&local.aws), Lambda::new(&local.aws));
    let delete = s3.delete_object().bucket("code-of-mallory").key("attack.zip");
    delete.send().await.expect("a deletion");
    s3.delete_bucket().bucket("code-of-mallory").send().await.expect("a deletion");
    lambda.delete_function().function_name("admins").send().await.expect("a deletion");
    iam.delete_role().role_name("admin").send().await.expect("a deletion");
    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    let delete = secrets.delete_secret().secret_id("of-the-account").force_delete_without_recovery(true);
    delete.send().await.expect("a deletion");
}

#[tokio::test]
async fn a_function_and_a_task_of_an_environment_reach_what_is_theirs_and_nobody_else_s() {
    let local = Local::take().await;
    let before = local.inventory();
    account(&local).await;
    let (victim, mallory) = tokio::join!(local.ready("victim", VICTIM), local.ready("mallory", MALLORY));
    let stands = local.inventory();
    let of_the_task = keys_of_a_task(&local, "mallory-attack-task").await;
    for keys in [None, Some(of_the_task)] {
        let (work, attacks) = (work(&mallory), attacks(&victim));
        let came = made(&local, &attacks, keys.clone()).await;
        assert_eq!(told(&attacks, &came, is_refused), Vec::<String>::new());
        let came = made(&local, &work, keys).await;
        let worked = |came: &str| came == "ok" || came == "ResourceAlreadyExistsException";
        assert_eq!(told(&work, &came, worked), Vec::<String>::new());
    }
    let of_victim = |inventory: &Value| {
        let records = inventory.as_array().into_iter().flatten();
        let all = records.filter(|record| record["tags"]["plinth:environment"] == "victim");
        all.map(Value::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of_victim(&local.inventory()), of_victim(&stands));
    tokio::join!(local.destroy("victim"), local.destroy("mallory"));
    clean(&local).await;
    local.same(&before);
}

/// Runs `infra/deploy`, which is to build nothing, and answers whether it succeeded and what it said.
fn deploy(local: &Local, region: &str) -> (bool, String) {
    let aws = tests::aws();
    let folder = std::path::Path::new(&aws).parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(tests::root().join("infra/deploy"))
        .env("PATH", format!("{folder}:{path}"))
        .env("FUNCTIONS", " ")
        .env("AWS_ENDPOINT_URL", local.endpoint())
        .env("AWS_DEFAULT_REGION", region)
        .env("AWS_REGION", region)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .expect("a shell");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn nothing_is_deployed_from_a_bucket_of_another_account() {
    let (local, region) = (Local::take().await, "eu-north-1");
    let bucket = format!("plinth-artifacts-000000000000-{region}");
    let squatter = local.in_account("111111111111", REGION).s3();
    squatter.create_bucket().bucket(&bucket).send().await.expect("a bucket");
    let all = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
    let everybody = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": "*",
        "Action": "s3:*", "Resource": all }] });
    squatter.delete_public_access_block().bucket(&bucket).send().await.expect("an open bucket");
    squatter
        .put_bucket_policy()
        .bucket(&bucket)
        .policy(everybody.to_string())
        .send()
        .await
        .expect("a policy");
    local.s3().head_bucket().bucket(&bucket).send().await.expect("a bucket that anybody reads");

    let (succeeded, said) = deploy(&local, region);
    assert!(!succeeded && said.contains("isn't account 000000000000's"), "{said}");
    let put = squatter.list_objects_v2().bucket(&bucket).send().await.expect("a list");
    assert_eq!(put.key_count(), Some(0));
    squatter.delete_bucket().bucket(&bucket).send().await.expect("a deletion");
}

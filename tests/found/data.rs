//! Data is lost only when the spec says so.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use aws_sdk_s3::primitives::ByteStream;
use step::{EnvironmentState, LeftKind, Status};
use tests::Local;

/// What keeps data, each of a kind, under these keys.
fn keeps(name: &str, rest: &str, [database, bucket, files, repository, secret]: [&str; 5]) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
network: {{ nat: none }}
secrets:
  login: {{ generate: {{ username: app }}, recovery: 0d }}
  {secret}
databases: {{ {database} }}
buckets: {{ {bucket} }}
fileSystems: {{ {files} }}
repositories: {{ {repository} }}
{rest}
"
    )
}

const ENGINE: &str = "engine: mysql, credentials: '${secrets.login}'";

/// Puts something into all that keeps data.
async fn fill(local: &Local, name: &str) {
    let bucket = format!("{name}-store-000000000000-us-east-1");
    let put = local.s3().put_object().bucket(bucket).key("precious").body(ByteStream::from_static(b"data"));
    put.send().await.expect("an object");
    local.put_image(&format!("{name}-app"), "v1").await;
    local.put_secret(&format!("{name}-token"), "by hand").await;
}

fn message(status: Status) -> String {
    status.fault.expect("a fault").message
}

/// N3: each loss is told before the first write, all at once, with what keeps the thing and what gives it up.
#[tokio::test]
async fn a_rename_or_a_drop_of_what_keeps_data_is_refused_with_both_remedies() {
    let local = Local::take().await;
    let before = local.inventory();
    let first = keeps(
        "losses",
        "",
        [&format!("main: {{ {ENGINE} }}"), "store: {}", "files: {}", "app: {}", "token: { recovery: 0d }"],
    );
    let ready = local.ready("losses", &first).await;
    fill(&local, "losses").await;

    let renamed = keeps(
        "losses",
        "",
        [
            &format!("primary: {{ {ENGINE} }}"),
            "objects: {}",
            "shared: {}",
            "images: {}",
            "key: { recovery: 0d }",
        ],
    );
    let since = local.calls_so_far();
    let status = local.apply("losses", &renamed).await;
    assert_eq!(status.state, EnvironmentState::Rejected, "{:?}", status.fault);
    let told = message(status);
    for (address, key) in [
        ("databases.main", "main"),
        ("buckets.store", "store"),
        ("fileSystems.files", "files"),
        ("repositories.app", "app"),
        ("secrets.token", "token"),
    ] {
        assert!(told.contains(&format!("{address}: the spec no longer mentions")), "{address}: {told}");
        assert!(told.contains(&format!("`formerly: {key}`")), "{told}");
        assert!(told.contains(&format!("`allowDataLoss: [{address}]`")), "{told}");
    }
    assert!(told.contains("losses-main-final-…"), "{told}");
    assert_eq!(local.writes(since), Vec::<String>::new());

    // With `formerly` all stays as it is, under other keys.
    let kept = keeps(
        "losses",
        "",
        [
            &format!("primary: {{ formerly: main, {ENGINE} }}"),
            "objects: { formerly: store }",
            "shared: { formerly: files }",
            "images: { formerly: app }",
            "key: { formerly: token, recovery: 0d }",
        ],
    );
    let status = local.ready("losses", &kept).await;
    assert_eq!(status.outputs.databases["primary"], ready.outputs.databases["main"]);
    assert_eq!(status.outputs.buckets["objects"], ready.outputs.buckets["store"]);
    assert_eq!(status.outputs.file_systems["shared"].id, ready.outputs.file_systems["files"].id);
    assert_eq!(status.outputs.repositories["images"], ready.outputs.repositories["app"]);
    assert_eq!(status.outputs.secrets["key"], ready.outputs.secrets["token"]);
    assert_eq!(local.plan(&kept).await, []);
    let standing = local.standing("losses").join("\n");
    assert!(!standing.contains("databases.main") && !standing.contains("fileSystems.files"), "{standing}");

    // What the spec gives up goes, and its last snapshot is in the status.
    let given_up = "
apiVersion: plinth/v1
name: losses
secrets: { login: { generate: { username: app }, recovery: 0d } }
allowDataLoss: [databases.primary, buckets.objects, fileSystems.shared, repositories.images, secrets.key]
";
    let status = local.ready("losses", given_up).await;
    let left: Vec<_> = status.left.iter().map(|left| (left.kind, left.name.clone())).collect();
    let snapshot = format!("losses-main-final-{}", step::digits(&status.run, 12));
    assert_eq!(left, [(LeftKind::Snapshot, snapshot)]);
    local.destroy("losses").await;
    local.same(&before);
}

/// A database that no run has ended well with is no loss: the older file is a way back.
#[tokio::test]
async fn what_only_a_failed_run_has_made_may_be_dropped_again() {
    let local = Local::take().await;
    let before = local.inventory();
    let plain = "
apiVersion: plinth/v1
name: midway
network: { nat: none }
secrets: { login: { generate: { username: app }, recovery: 0d } }
";
    local.ready("midway", plain).await;
    let failing = format!(
        "{plain}databases: {{ main: {{ {ENGINE}, finalSnapshot: false }} }}\n\
         jobs: {{ migrate: {{ placement: public, image: nginx:1, environment: {{ HOST: '${{databases.main.host}}' }} }} }}\n"
    );
    let exits = serde_json::json!({ "family": "midway-migrate-job", "code": 1 });
    local.control("POST", "exits", Some(exits));
    let status = local.apply("midway", &failing).await;
    assert_eq!(status.state, EnvironmentState::Failed, "{:?}", status.fault);
    local.ready("midway", &format!("{plain}# back\n")).await;
    local.destroy("midway").await;
    local.same(&before);
}

/// N10: log groups outlive what wrote to them, and are taken up again.
#[tokio::test]
async fn log_groups_stay_when_their_service_goes_and_are_taken_up_when_it_comes_back() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = |services: &str| {
        format!(
            "
apiVersion: plinth/v1
name: tells
network: {{ nat: none, zones: 1 }}
logs: {{ retention: 7d }}
services: {{ {services} }}
"
        )
    };
    let both =
        spec("app: { placement: public, image: nginx:1 }, other: { placement: public, image: nginx:1 }");
    local.ready("tells", &both).await;
    let status = local.ready("tells", &spec("app: { placement: public, image: nginx:1 }")).await;
    let left: Vec<_> = status.left.iter().map(|left| (left.kind, left.name.as_str(), left.days)).collect();
    assert_eq!(left, [(LeftKind::Logs, "/plinth/tells/other", Some(7))]);
    assert_eq!(dropped(&local), ["/plinth/tells/other"]);
    local.ready("tells", &format!("{both}# again\n")).await;
    assert_eq!(dropped(&local), Vec::<String>::new());
    assert_eq!(local.plan(&both).await, []);

    local.delete("tells").await;
    let status = local.status("tells", |status| status.version.is_none() && tests::settled(status)).await;
    assert_eq!(status.state, EnvironmentState::Destroyed, "{:?}", status.fault);
    assert_eq!(status.left.len(), 2, "{:?}", status.left);
    local.same(&before);
}

/// The names of the environment's log groups that nothing writes to any more.
fn dropped(local: &Local) -> Vec<String> {
    let inventory = local.inventory();
    let records = inventory.as_array().into_iter().flatten();
    let groups = records.filter(|record| record["kind"] == "log-group" && tests::is_dropped(record));
    let names = groups.filter_map(|record| record["name"].as_str());
    names.filter(|name| name.starts_with("/plinth/tells/")).map(str::to_owned).collect()
}

/// What the `plinth` command says when this is its standard input.
fn given(local: &Local, arguments: &[&str], input: &str) -> Output {
    let mut command = local.plinth(arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("a command");
    // A command that refuses before it reads closes its input.
    let _ = child.stdin.take().expect("an input").write_all(input.as_bytes());
    child.wait_with_output().expect("an end")
}

/// Runs a command on a terminal, types a line at each question, the last once the terminal shows nothing of it, and
/// prints what was seen.
const TERMINAL: &str = "
import os, pty, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:-1])
seen, lines = b'', sys.argv[-1].split('|')
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if part.rstrip().endswith(b':') and lines:
        line = lines.pop(0)
        while not lines and termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, line.encode() + b'\\n')
os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
";

/// What is seen on a terminal on which these lines are typed.
fn typed(local: &Local, arguments: &[&str], lines: &str) -> String {
    let plinth = local.plinth(arguments);
    let mut terminal = Command::new(tests::python());
    terminal.args(["-c", TERMINAL]).arg(plinth.get_program()).args(plinth.get_args()).arg(lines);
    terminal.envs(plinth.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = terminal.output().expect("a terminal");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn value(local: &Local, id: &str) -> String {
    let secrets = aws_sdk_secretsmanager::Client::new(&local.aws);
    let read = secrets.get_secret_value().secret_id(id).send().await.expect("a value");
    read.secret_string.unwrap_or_default()
}

/// N2, N8: a value that Plinth makes isn't set by hand, a value has its shape, and nothing typed is shown.
#[tokio::test]
async fn a_secret_is_set_where_people_put_it_in_its_shape_and_unseen() {
    let local = Local::take().await;
    let spec = "
apiVersion: plinth/v1
name: hands
network: { nat: none, zones: 1 }
secrets:
  login: { generate: { username: app }, recovery: 0d }
  url: { compose: 'x://${secrets.login.password}', recovery: 0d }
  token: { recovery: 0d }
jobs:
  seed: { placement: public, image: nginx:1, when: manual, environment: { TOKEN: '${secrets.token.key}' } }
";
    local.ready("hands", spec).await;
    let generated = value(&local, "hands-login").await;
    for (secret, told) in [("login", "take `generate` out of it"), ("url", "is composed of other secrets")] {
        let output = given(&local, &["secret", "set", "hands", secret, "--yes"], "v\n");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(told), "{text}");
    }
    assert_eq!(value(&local, "hands-login").await, generated);

    let output = given(&local, &["secret", "set", "hands", "token"], "hunter2\n");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(r#"write {"key": "…"}"#) && !text.contains("hunter2"), "{text}");
    let output = given(&local, &["secret", "set", "hands", "token"], "{\"key\": \"first\"}\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let set = ["secret", "set", "hands", "token"];
    let seen = typed(&local, &set, "no|");
    assert!(
        seen.contains("has a value, which this overwrites") && seen.contains("nothing was changed"),
        "{seen}"
    );
    let seen = typed(&local, &set, "yes|{\"key\": \"second\"}");
    assert!(!seen.contains("second"), "{seen}");
    assert_eq!(value(&local, "hands-token").await, "{\"key\": \"second\"}");
    local.destroy("hands").await;
}

/// F8: a teardown looks at all that could refuse before it takes the first thing, and what goes, what stays and what
/// can be restored is listed before anybody is asked.
#[tokio::test]
async fn a_teardown_lists_what_goes_and_what_stays_and_takes_nothing_if_something_would_refuse() {
    let local = Local::take().await;
    let before = local.inventory();
    let spec = |force: &str| {
        keeps(
            "looks",
            "services: { app: { placement: public, image: nginx:1 } }",
            [
                &format!("main: {{ {ENGINE} }}"),
                &format!("store: {{ versioned: true{force} }}"),
                "files: {}",
                &format!("app: {{ keep: 5{force} }}"),
                "token: {}",
            ],
        )
    };
    let built = local.ready("looks", &spec("")).await;
    let ec2 = aws_sdk_ec2::Client::new(&local.aws);
    let group = ec2.create_security_group().group_name("by-hand").description("Made by hand");
    let group = group.vpc_id(built.outputs.network.expect("a network").vpc).send().await;
    let by_hand = group.expect("a group").group_id.expect("an id");
    // An older version, which a listing of objects doesn't show.
    let bucket = "looks-store-000000000000-us-east-1";
    let put = local.s3().put_object().bucket(bucket).key("old").body(ByteStream::from_static(b"data"));
    put.send().await.expect("an object");
    local.s3().delete_object().bucket(bucket).key("old").send().await.expect("a deletion");
    local.put_image("looks-app", "v1").await;

    let since = local.calls_so_far();
    local.delete("looks").await;
    let status = local.status("looks", |status| status.version.is_none() && tests::settled(status)).await;
    assert_eq!(status.state, EnvironmentState::Failed);
    let told = message(status);
    for address in ["buckets.store", "repositories.app"] {
        assert!(told.contains(&format!("set `forceDelete: true` at {address}")), "{told}");
    }
    assert!(told.contains(&format!("security group {by_hand} (by-hand) is in VPC")), "{told}");
    assert_eq!(local.writes(since), Vec::<String>::new());
    ec2.delete_security_group().group_id(by_hand).send().await.expect("a deletion");

    local.ready("looks", &spec(", forceDelete: true")).await;
    let since = local.calls_so_far();
    let output = local.plinth(&["destroy", "looks"]).output().expect("a command");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "goes     database databases.main, after a last snapshot, looks-main-final-…",
        "goes     file system fileSystems.files, with what is in it",
        "goes     secret secrets.token, restorable for 7 days",
        "goes     resources of ",
        "stays    log group /plinth/looks/app of services.app.logs, whose lines stay for 30 days",
    ] {
        assert!(text.contains(line), "{line}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    // Nobody was there to ask.
    assert!(!output.status.success());
    assert_eq!(local.writes(since), Vec::<String>::new());

    let output = local.plinth(&["destroy", "looks", "--yes"]).output().expect("a command");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = local.status("looks", tests::settled).await;
    let snapshot = format!("left     last snapshot looks-main-final-{}", step::digits(&status.run, 12));
    assert!(output.status.success() && text.contains(&snapshot), "{text}");
    local.same(&before);
}

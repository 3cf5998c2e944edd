//! What the tests that cross crates share.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
///
/// # Panics
/// If it can't be read.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("reading {path}: {error}"))
}

/// AWS on this machine, with the control plane deployed to it; gone when dropped.
pub struct Local {
    port: u16,
    /// The SDK's configuration to reach it with, unrestricted.
    pub aws: aws_config::SdkConfig,
}

/// The control plane's bucket there.
pub const BUCKET: &str = "plinth-000000000000-us-east-1";

impl Local {
    /// Starts it on a free port and deploys to it, the way `make demo` does.
    ///
    /// # Panics
    /// If either fails.
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .expect("a port")
            .port();
        // State machines wait a fiftieth of what is written: nothing here takes longer.
        script("up", port, &["--waits", "0.02"]);
        script("deploy", port, &[]);
        let credentials = aws_sdk_s3::config::Credentials::new("test", "test", None, None, "test");
        let aws = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region("us-east-1")
            .credentials_provider(credentials)
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .load()
            .await;
        Self { port, aws }
    }

    /// Puts a spec under `environments/` and answers its version.
    ///
    /// # Panics
    /// If it can't be put.
    pub async fn upload(&self, name: &str, spec: &str) -> String {
        let s3 = aws_sdk_s3::Client::new(&self.aws);
        let put = s3.put_object().bucket(BUCKET).key(format!("environments/{name}.yaml"));
        let put = put.body(spec.as_bytes().to_vec().into()).send().await.expect("an upload");
        put.version_id.expect("a version")
    }

    /// Deletes the spec.
    ///
    /// # Panics
    /// If it can't be deleted.
    pub async fn delete(&self, name: &str) {
        let s3 = aws_sdk_s3::Client::new(&self.aws);
        let delete = s3.delete_object().bucket(BUCKET).key(format!("environments/{name}.yaml"));
        delete.send().await.expect("a deletion");
    }

    /// The environment's status once `settled` holds of it.
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub async fn status(&self, name: &str, settled: impl Fn(&step::Status) -> bool) -> step::Status {
        let s3 = aws_sdk_s3::Client::new(&self.aws);
        let mut last = None;
        for _ in 0..300 {
            if let Ok(status) = step::read::<step::Status>(&s3, BUCKET, &step::status_key(name)).await {
                if settled(&status) {
                    return status;
                }
                last = Some(status);
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panic!("environment {name} has not settled in a minute: {last:#?}");
    }

    /// The calls made since `number` that write to anything but the control plane's bucket, and the
    /// number to go on from.
    ///
    /// # Panics
    /// If the log of calls can't be read.
    pub fn writes(&self, since: u64) -> (Vec<String>, u64) {
        let url = format!("http://127.0.0.1:{}/_local/calls?since={since}", self.port);
        let fetch = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())";
        let output = std::process::Command::new(python()).args(["-c", fetch, &url]).output().expect("python");
        let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a log of calls");
        let calls = log["calls"].as_array().expect("calls");
        // Step Functions is the engine, and the bus hears of it: neither is what an environment consists of.
        let engine = |call: &serde_json::Value| {
            ["states", "lambda", "events"].iter().any(|service| call["service"] == *service)
        };
        let writes =
            calls.iter().filter(|call| call["write"] == true && call["bucket"] != BUCKET && !engine(call));
        let last = calls.iter().filter_map(|call| call["number"].as_u64()).max().unwrap_or(since);
        (writes.map(|call| format!("{}:{}", call["service"], call["action"])).collect(), last)
    }

    /// Everything that exists, tagged or not, but for the control plane's own bucket's contents.
    ///
    /// # Panics
    /// If it can't be taken.
    pub fn inventory(&self) -> serde_json::Value {
        let output = std::process::Command::new(python())
            .args(["-m", "infra.local.inventory", "--json", "--region", "us-east-1"])
            .current_dir(root())
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .expect("python");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        script("down", self.port, &[]);
    }
}

fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| root().join(".venv/bin/python").display().to_string())
}

/// Runs one of `infra/local`'s scripts.
fn script(name: &str, port: u16, arguments: &[&str]) {
    let output = std::process::Command::new(root().join("infra/local").join(name))
        .args(arguments)
        .env("PLINTH_LOCAL_PORT", port.to_string())
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap_or_else(|error| panic!("infra/local/{name}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "infra/local/{name}: {text}{}", String::from_utf8_lossy(&output.stdout));
}

/// Where cargo put this test, and so the functions: `<target>/debug/deps/<test>`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.ancestors().nth(3).expect("a target folder").to_owned()
}

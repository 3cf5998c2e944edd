//! What the tests that cross crates share: AWS on this machine, with the control plane deployed to it.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use aws_sdk_s3::Client as S3;
use aws_sdk_sfn::{
    Client as StepFunctions,
    types::{HistoryEvent, TaskScheduledEventDetails},
};
use serde_json::{Value, json};
use step::{Change, EnvironmentState, Progress, Status};
use tokio::sync::{Mutex, MutexGuard};

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

/// The control plane's bucket on this machine.
pub const BUCKET: &str = "plinth-000000000000-us-east-1";

/// The control plane's region on this machine.
const REGION: &str = "us-east-1";

/// The `environment` machine.
pub const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:plinth-environment";

/// A server: one of a test binary's three, at which tests take turns, since they count its calls and take its
/// inventory; or one of a test's own.
pub struct Local {
    port: u16,
    /// Whose root asks: an account's id is its key.
    key: String,
    /// The SDK's configuration to reach it with, unrestricted.
    pub aws: aws_config::SdkConfig,
    /// The regions whose inventory is taken.
    regions: Vec<String>,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// How long passes between two looks at what is waited for: looks keep the server busy, too.
pub const LOOK: Duration = Duration::from_millis(500);

/// How often what is waited for is looked at: for five minutes, since machines may be slow.
pub const LOOKS: usize = 600;

fn root_of(account: &str) -> aws_sdk_s3::config::Credentials {
    aws_sdk_s3::config::Credentials::new(account, "test", None, None, "test")
}

/// A server of a test binary.
struct Server {
    turn: Mutex<()>,
    port: OnceLock<u16>,
}

impl Server {
    const fn new() -> Self {
        Self { turn: Mutex::const_new(()), port: OnceLock::new() }
    }
}

static SERVERS: [Server; 3] = [Server::new(), Server::new(), Server::new()];

impl Local {
    /// A server that nobody else has, started and deployed to by whoever comes first, at its usual speed: nothing
    /// takes longer than it must.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn take() -> Self {
        let [one, two, three] = &SERVERS;
        let (server, turn) = tokio::select! {
            biased;
            turn = one.turn.lock() => (one, turn),
            turn = two.turn.lock() => (two, turn),
            turn = three.turn.lock() => (three, turn),
        };
        Self::at(*server.port.get_or_init(start), Some(turn)).await
    }

    /// A server of the test's own.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn own() -> Self {
        Self::at(start(), None).await
    }

    async fn at(port: u16, turn: Option<MutexGuard<'static, ()>>) -> Self {
        let credentials = root_of("test");
        let aws = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(REGION)
            .credentials_provider(credentials)
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .load()
            .await;
        let local = Self { port, key: "test".to_owned(), aws, regions: vec![REGION.to_owned()], _turn: turn };
        local.control("DELETE", "faults", None);
        local.control("DELETE", "watch", None);
        local.control("POST", "scale", Some(json!({ "scale": 0.0, "waits": 0.02 })));
        local
    }

    /// The same in another region, which the inventory then includes.
    pub fn looking_at(&mut self, region: &str) -> aws_config::SdkConfig {
        if !self.regions.iter().any(|known| known == region) {
            self.regions.push(region.to_owned());
        }
        self.at_region(region)
    }

    /// The same server as another account sees it, in this region.
    #[must_use]
    pub fn in_account(&self, account: &str, region: &str) -> Self {
        let aws = self.at_region(region).to_builder();
        let provider = aws_sdk_s3::config::SharedCredentialsProvider::new(root_of(account));
        let (key, regions) = (account.to_owned(), vec![region.to_owned()]);
        Self { port: self.port, key, aws: aws.credentials_provider(provider).build(), regions, _turn: None }
    }

    fn at_region(&self, region: &str) -> aws_config::SdkConfig {
        self.aws.to_builder().region(aws_config::Region::new(region.to_owned())).build()
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The control plane's bucket.
    pub fn s3(&self) -> S3 {
        S3::new(&self.aws)
    }

    /// The machines.
    pub fn sfn(&self) -> StepFunctions {
        StepFunctions::new(&self.aws)
    }

    /// Asks the server itself: `infra/local/README.md` says what.
    ///
    /// # Panics
    /// If it doesn't answer.
    pub fn control(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let length = body.len();
        write!(
            stream,
            "{method} /_local/{path} HTTP/1.1\r\nHost: local\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let start = body.find(['{', '[']).unwrap_or_else(|| panic!("{method} {path}: {answer}"));
        let end = body.rfind(['}', ']']).expect("JSON");
        serde_json::from_str(&body[start..=end]).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Orders a fault.
    pub fn fault(&self, fault: Value) {
        self.control("POST", "faults", Some(fault));
    }

    /// Follows every path on which requests reach an environment, from now on: `infra/local/watch.py` says how.
    pub fn watch(&self, environment: &str) {
        self.watch_in(environment, self.aws.region().map_or(REGION, AsRef::as_ref));
    }

    fn watch_in(&self, environment: &str, region: &str) {
        let account = if self.key == "test" { "000000000000" } else { &self.key };
        let watch = json!({ "environment": environment, "account": account, "region": region });
        self.control("POST", "watch", Some(watch));
    }

    /// Each time that a watched path led nowhere although it had served: which path, why, after which call.
    ///
    /// # Panics
    /// If the server doesn't say.
    pub fn breaks(&self) -> Vec<String> {
        let seen = self.control("GET", "watch", None);
        let watches = seen["watches"].as_array().expect("watches").iter();
        watches.flat_map(|watch| watch["breaks"].as_array().expect("breaks")).map(told).collect()
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// If a path led nowhere although it had served, or if none serves.
    pub fn unbroken(&self) {
        let breaks = self.breaks();
        assert!(breaks.is_empty(), "what served was cut:\n{}", breaks.join("\n"));
        let seen = self.control("DELETE", "watch", None);
        let watches = seen["watches"].as_array().expect("watches");
        assert!(!watches.is_empty(), "nothing was watched");
        for watch in watches {
            assert_ne!(watch["paths"], json!([]), "nothing of {} serves", watch["environment"]);
        }
    }

    /// Puts a spec under `environments/` and answers its version.
    ///
    /// # Panics
    /// If it can't be put.
    pub async fn upload(&self, name: &str, spec: &str) -> String {
        let put = self.s3().put_object().bucket(BUCKET).key(format!("environments/{name}.yaml"));
        let put = put.body(spec.as_bytes().to_vec().into()).send().await.expect("an upload");
        put.version_id.expect("a version")
    }

    /// Uploads a spec and waits until the run it starts has settled.
    pub async fn apply(&self, name: &str, spec: &str) -> Status {
        let version = self.upload(name, spec).await;
        self.status(name, |status| status.version.as_ref() == Some(&version) && settled(status)).await
    }

    /// The same, where nothing else than `ready` will do.
    ///
    /// # Panics
    /// If it settles otherwise.
    pub async fn ready(&self, name: &str, spec: &str) -> Status {
        let status = self.apply(name, spec).await;
        assert_eq!(status.state, EnvironmentState::Ready, "{:?} {:?}", status.fault, status.faults);
        status
    }

    /// Deletes the spec.
    ///
    /// # Panics
    /// If it can't be deleted.
    pub async fn delete(&self, name: &str) {
        let delete = self.s3().delete_object().bucket(BUCKET).key(format!("environments/{name}.yaml"));
        delete.send().await.expect("a deletion");
    }

    /// Deletes the spec and waits until the environment is gone.
    ///
    /// # Panics
    /// If it doesn't go.
    pub async fn destroy(&self, name: &str) {
        self.delete(name).await;
        let gone = |status: &Status| status.version.is_none() && settled(status);
        let status = self.status(name, gone).await;
        assert_eq!(status.state, EnvironmentState::Destroyed, "{:?}", status.fault);
    }

    /// The environment's status once this holds of it.
    ///
    /// # Panics
    /// If that takes more than five minutes.
    pub async fn status(&self, name: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        for _ in 0..LOOKS {
            if let Ok(status) = step::read::<Status>(&self.s3(), BUCKET, &step::status_key(name)).await {
                if holds(&status) {
                    return status;
                }
                last = Some(status);
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("environment {name} hasn't come that far in five minutes: {last:#?}");
    }

    /// How far the steps of an environment's present run are.
    pub async fn steps(&self, name: &str) -> Vec<Progress> {
        let Ok(status) = step::read::<Status>(&self.s3(), BUCKET, &step::status_key(name)).await else {
            return Vec::new();
        };
        let prefix = format!("runs/{name}/{}/steps/", status.run);
        let Ok(listed) = self.s3().list_objects_v2().bucket(BUCKET).prefix(prefix).send().await else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        for object in listed.contents() {
            steps.extend(step::read(&self.s3(), BUCKET, object.key().unwrap_or_default()).await.ok());
        }
        steps
    }

    /// Everything that the steps of an environment's latest run have said: what they said before is an earlier
    /// version of the same object.
    ///
    /// # Panics
    /// If it can't be read.
    pub async fn said(&self, name: &str) -> BTreeSet<String> {
        let status: Status = step::read(&self.s3(), BUCKET, &step::status_key(name)).await.expect("a status");
        let prefix = format!("runs/{name}/{}/steps/", status.run);
        let listed = self.s3().list_object_versions().bucket(BUCKET).prefix(prefix).send().await;
        let mut said = BTreeSet::new();
        for version in listed.expect("versions").versions() {
            let found = self.s3().get_object().bucket(BUCKET).key(version.key().unwrap_or_default());
            let found = found.version_id(version.version_id().unwrap_or_default()).send().await;
            let body = found.expect("a version").body.collect().await.expect("a body").into_bytes();
            let step: Progress = serde_json::from_slice(&body).expect("progress");
            said.extend(step.message);
        }
        said
    }

    /// Waits until a step of the environment's run waits for this; or has, if the run is over.
    ///
    /// # Panics
    /// If that takes more than five minutes.
    pub async fn waiting(&self, name: &str, message: &str) {
        let told = |found: &String| found.contains(message);
        for _ in 0..LOOKS {
            let steps = self.steps(name).await;
            if steps.iter().filter_map(|step| step.message.as_ref()).any(told) {
                return;
            }
            let status = step::read::<Status>(&self.s3(), BUCKET, &step::status_key(name)).await;
            if status.is_ok_and(|status| settled(&status)) && self.said(name).await.iter().any(told) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{name} said no \"{message}\": {:#?}", self.said(name).await);
    }

    /// Starts the machine as a person does in the console.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn start(&self, input: &Value) -> String {
        let started = self.sfn().start_execution().state_machine_arn(MACHINE).input(input.to_string());
        started.send().await.expect("an execution").execution_arn
    }

    /// Waits until an execution has ended, and answers its status.
    ///
    /// # Panics
    /// If it doesn't within five minutes.
    pub async fn ended(&self, execution: &str) -> String {
        for _ in 0..LOOKS {
            let described = self.sfn().describe_execution().execution_arn(execution).send().await;
            let status = described.expect("an execution").status;
            if status.as_str() != "RUNNING" {
                return status.as_str().to_owned();
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{execution} hasn't ended in five minutes");
    }

    /// What each execution's history says, event by event.
    ///
    /// # Panics
    /// If it can't be had.
    pub async fn histories(&self) -> Vec<(String, Vec<String>)> {
        let mut histories = Vec::new();
        for machine in ["environment", "provision", "prune"] {
            let machine = MACHINE.replace("environment", machine);
            let listed = self.sfn().list_executions().state_machine_arn(machine).into_paginator().items();
            let runs: Result<Vec<_>, _> = listed.send().collect().await;
            for run in runs.expect("executions") {
                let arn = run.execution_arn;
                let events = self.sfn().get_execution_history().execution_arn(&arn).into_paginator().items();
                let events: Result<Vec<_>, _> = events.send().collect().await;
                histories.push((arn, events.expect("a history").iter().map(text).collect()));
            }
        }
        histories
    }

    /// What an execution answered that ended well.
    ///
    /// # Panics
    /// If it hasn't.
    pub async fn answer_of(&self, execution: &str) -> Value {
        assert_eq!(self.ended(execution).await, "SUCCEEDED");
        let described = self.sfn().describe_execution().execution_arn(execution).send().await;
        let output = described.expect("an execution").output.expect("an output");
        serde_json::from_str(&output).expect("JSON")
    }

    /// The `plinth` command with these arguments, ready to be run against this server.
    pub fn plinth(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(target().join("debug/plinth"));
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &self.key)
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }

    /// What a plan of this spec says.
    ///
    /// # Panics
    /// If it doesn't succeed.
    pub async fn plan(&self, spec: &str) -> Vec<Change> {
        let spec = spec::parse(spec, None).expect("a spec");
        let execution = self.start(&json!({ "action": "plan", "spec": spec })).await;
        let answer = self.answer_of(&execution).await;
        assert_eq!(answer["verdict"], "plan", "{answer}");
        let id = execution.rsplit(':').next().unwrap_or_default();
        let prefix = format!("runs/{}/{id}/steps/plan-", spec.name);
        let listed = self.s3().list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.expect("steps");
        let mut changes = Vec::new();
        for object in listed.contents() {
            let key = object.key().unwrap_or_default();
            let step: Progress = step::read(&self.s3(), BUCKET, key).await.expect("a step");
            changes.extend(step.changes);
        }
        changes
    }

    /// The number of the last call made.
    ///
    /// # Panics
    /// If there is no log of them.
    pub fn calls_so_far(&self) -> u64 {
        self.control("GET", "ready", None)["calls"].as_u64().expect("a number")
    }

    /// The calls after this one.
    ///
    /// # Panics
    /// If there is no log of them.
    pub fn calls(&self, since: u64) -> Vec<Value> {
        let log = self.control("GET", &format!("calls?since={since}"), None);
        log["calls"].as_array().expect("calls").clone()
    }

    /// The calls after this one that write to anything but the control plane's bucket.
    pub fn writes(&self, since: u64) -> Vec<String> {
        // Step Functions is the engine, and the bus hears of it: neither is what an environment consists of.
        let engine =
            |call: &Value| ["states", "lambda", "events"].iter().any(|word| call["service"] == *word);
        let calls = self.calls(since);
        let writes = calls
            .iter()
            .filter(|call| call["write"] == true && call["bucket"] != BUCKET && !engine(call))
            .filter(|call| call["function"].is_string());
        let named = |call: &Value| {
            let word = |field: &str| call[field].as_str().unwrap_or_default().to_owned();
            format!("{}:{}", word("service"), word("action"))
        };
        writes.map(named).collect()
    }

    /// Everything that exists, tagged or not, but for the control plane's own bucket's contents.
    ///
    /// # Panics
    /// If it can't be taken.
    pub fn inventory(&self) -> Value {
        self.control("GET", &format!("inventory?key={}&regions={}", self.key, self.regions.join(",")), None)
    }

    /// Whether everything is as it was before.
    ///
    /// # Panics
    /// If it isn't; only what differs is told.
    pub fn same(&self, before: &Value) {
        let after = self.inventory();
        let lines = |inventory: &Value| -> BTreeSet<String> {
            // A secret's name is kept for as long as it can be restored, and a log group for its retention.
            let there = |record: &&Value| record["settings"]["deleted"] != true && !is_dropped(record);
            inventory.as_array().into_iter().flatten().filter(there).map(Value::to_string).collect()
        };
        let (before, after) = (lines(before), lines(&after));
        let gone: Vec<&String> = before.difference(&after).collect();
        let new: Vec<&String> = after.difference(&before).collect();
        assert!(gone.is_empty() && new.is_empty(), "gone: {gone:#?}\nnew: {new:#?}");
    }

    /// What of an environment exists: each thing's kind and address, and how often.
    ///
    /// # Panics
    /// If it can't be taken.
    pub fn standing(&self, environment: &str) -> Vec<String> {
        let inventory = self.inventory();
        let records = inventory.as_array().expect("records").iter();
        let ours = records.filter(|record| record["tags"]["plinth:environment"] == *environment);
        let ours = ours.filter(|record| !is_dropped(record));
        let mut standing: Vec<String> = ours
            .map(|record| format!("{} {}", record["kind"], record["tags"]["plinth:address"]).replace('"', ""))
            .collect();
        standing.sort();
        standing
    }

    /// An image as small as can be: no container runs here.
    ///
    /// # Panics
    /// If it can't be put.
    pub async fn put_image(&self, repository: &str, tag: &str) {
        self.put_image_in(REGION, repository, tag).await;
    }

    async fn put_image_in(&self, region: &str, repository: &str, tag: &str) {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {},
            "layers": [],
        });
        let ecr = aws_sdk_ecr::Client::new(&self.at_region(region));
        let put = ecr.put_image().repository_name(repository).image_tag(tag);
        put.image_manifest(manifest.to_string()).send().await.expect("an image");
    }

    /// Puts a secret's value.
    ///
    /// # Panics
    /// If it can't be put.
    pub async fn put_secret(&self, id: &str, value: &str) {
        let secrets = aws_sdk_secretsmanager::Client::new(&self.aws);
        secrets.put_secret_value().secret_id(id).secret_string(value).send().await.expect("a value");
    }

    /// Waits until the run of this version has settled, and meanwhile does what it asks people for: pushes
    /// images, sets secrets, creates the records that prove certificates.
    ///
    /// # Panics
    /// If that takes more than five minutes.
    pub async fn settled(&self, name: &str, version: &str) -> Status {
        let mut done = BTreeSet::new();
        for _ in 0..LOOKS {
            if let Ok(status) = step::read::<Status>(&self.s3(), BUCKET, &step::status_key(name)).await
                && status.version.as_deref() == Some(version)
                && settled(&status)
            {
                return status;
            }
            let steps = self.steps(name).await;
            for asked in steps.iter().filter_map(|step| step.message.as_deref()).flat_map(Asked::all) {
                if done.insert(asked.clone()) {
                    self.answer(asked).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("environment {name} hasn't settled in five minutes: {:#?}", self.steps(name).await);
    }

    async fn answer(&self, asked: Asked) {
        match asked {
            Asked::Image { region, repository, tag } => {
                self.put_image_in(&region, &repository, &tag).await;
            }
            Asked::Secret { environment, secret } => {
                let status: Status =
                    step::read(&self.s3(), BUCKET, &step::status_key(&environment)).await.expect("a status");
                let region = status.region.unwrap_or_else(|| REGION.to_owned());
                let secrets = aws_sdk_secretsmanager::Client::new(&self.at_region(&region));
                let id = step::name(&environment, &secret, 512);
                secrets
                    .put_secret_value()
                    .secret_id(id)
                    .secret_string("value")
                    .send()
                    .await
                    .expect("a value");
            }
            Asked::Record { domain } => {
                self.control("POST", "domains", Some(json!({ "domain": domain })));
            }
        }
    }

    /// Lays out, as somebody else's, what a spec takes as given.
    ///
    /// # Panics
    /// If it can't be.
    pub fn lay_out(&self, spec: &str) {
        let given = self.control("POST", "given", Some(json!({ "spec": spec })));
        assert!(given.is_array(), "{given}");
    }

    /// A whole life: what the plan names is what stands, the same again makes no write call, and what is left
    /// in the end is what was there before. `parting` is applied before the end: it lets go of what is
    /// protected. Meanwhile `look` sees the environment stand.
    ///
    /// # Panics
    /// If any of it isn't so.
    pub async fn lives(&self, name: &str, spec: &str, parting: &str, look: impl AsyncFnOnce(&Status)) {
        let before = self.inventory();
        let planned = self.plan(spec).await;
        self.same(&before);
        let region = spec::parse(spec, None).expect("a spec").region;
        self.watch_in(name, region.as_deref().unwrap_or(REGION));
        let version = self.upload(name, spec).await;
        let status = self.settled(name, &version).await;
        assert_eq!(status.state, EnvironmentState::Ready, "{:?} {:?}", status.fault, status.faults);
        assert!(self.is_free(name).await);

        // Certificates on a listener, records in a zone and schedules have no tags, and a job's run is over.
        let unseen = |address: &str| {
            address.ends_with(".certificates")
                || address.starts_with("dns.")
                || address.starts_with("schedule.")
                || (address.starts_with("jobs.") && address.matches('.').count() == 1)
        };
        let planned: BTreeSet<String> =
            addresses(&planned).into_iter().filter(|address| !unseen(address)).collect();
        let standing: BTreeSet<String> = self
            .standing(name)
            .iter()
            .filter_map(|found| found.split_once(' '))
            .map(|(_, address)| address.to_owned())
            .collect();
        let missing: Vec<&String> = planned.difference(&standing).collect();
        assert_eq!(missing, Vec::<&String>::new(), "planned, and not there");
        let more: Vec<&String> = standing.difference(&planned).filter(|address| !unseen(address)).collect();
        assert_eq!(more, Vec::<&String>::new(), "there, and not planned");
        look(&status).await;

        // As a new version and without a status: AWS itself says that nothing is to be done.
        let forget = self.s3().delete_object().bucket(BUCKET).key(step::status_key(name));
        forget.send().await.expect("a deletion");
        let since = self.calls_so_far();
        self.ready(name, spec).await;
        assert_eq!(self.writes(since), Vec::<String>::new());
        assert_eq!(self.plan(spec).await, []);

        if parting != spec {
            self.ready(name, parting).await;
        }
        assert_eq!(self.breaks(), Vec::<String>::new(), "what served was cut");
        self.control("DELETE", "watch", None);
        self.destroy(name).await;
        self.same(&before);
        assert!(self.is_free(name).await);
    }

    /// Does something of which a rule hears nothing.
    ///
    /// # Panics
    /// If the rule can't be disabled or enabled.
    pub async fn unheard<T>(&self, rule: &str, done: impl Future<Output = T>) -> T {
        let bus = aws_sdk_eventbridge::Client::new(&self.aws);
        bus.disable_rule().name(rule).send().await.expect("a disabled rule");
        let done = done.await;
        // What is told is told soon.
        tokio::time::sleep(Duration::from_secs(1)).await;
        bus.enable_rule().name(rule).send().await.expect("an enabled rule");
        done
    }

    /// What the sweep answers, or how it failed.
    ///
    /// # Panics
    /// If it can't be called.
    pub async fn sweep(&self) -> Result<Value, String> {
        let lambda = aws_sdk_lambda::Client::new(&self.aws);
        let answer = lambda.invoke().function_name("plinth-sweep").send().await.expect("an answer");
        let payload = answer.payload.expect("a payload").into_inner();
        let text = String::from_utf8_lossy(&payload).into_owned();
        match answer.function_error {
            None => Ok(serde_json::from_str(&text).expect("JSON")),
            Some(_) => Err(text),
        }
    }

    /// Leaves a lock behind whose execution is long forgotten.
    ///
    /// # Panics
    /// If it can't be put.
    pub async fn leave_a_dead_lock(&self, name: &str) {
        let execution = MACHINE.replace("stateMachine", "execution") + ":forgotten";
        let lock = json!({ "execution": execution, "since": "2026-01-01T00:00:00Z" }).to_string();
        let put = self.s3().put_object().bucket(BUCKET).key(step::lock_key(name));
        put.body(lock.into_bytes().into()).send().await.expect("a lock");
    }

    /// Whether an environment's lock is free, or is so soon: a run's status is written before it lets go.
    pub async fn is_free(&self, name: &str) -> bool {
        for _ in 0..50 {
            let head = self.s3().head_object().bucket(BUCKET).key(step::lock_key(name)).send().await;
            if head.is_err() {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }
}

/// A spec with a part of every section. It takes a public zone, `<name>.test`, as given.
pub fn everything(name: &str) -> String {
    format!(
        "
apiVersion: plinth/v1
name: {name}
schedule: {{ rebuild: rate(7 days), timezone: Europe/London }}
network: {{ zones: 2, nat: single, endpoints: [s3, logs] }}
key: {{}}
secrets:
  made: {{ generate: {{}}, recovery: 0d }}
  login: {{ generate: {{ username: app }}, recovery: 0d }}
  url: {{ compose: 'db://${{secrets.login.username}}:${{secrets.login.password}}@${{services.app.host}}', recovery: 0d }}
roles: {{ reader: {{ assumedBy: [ecs-tasks.amazonaws.com], allow: ['s3:ListBucket'] }} }}
repositories: {{ app: {{ keep: 5, forceDelete: true }} }}
deployers:
  ci: {{ user: true }}
  hub: {{ oidc: {{ issuer: token.actions.githubusercontent.com, subject: 'repo:acme/app:*' }} }}
buckets: {{ store: {{ versioned: true, expire: 30d, forceDelete: true }} }}
fileSystems: {{ data: {{ accessPoints: {{ app: {{ path: /app, owner: '1000:1000' }} }} }} }}
databases:
  plain: {{ engine: mysql, credentials: '${{secrets.login}}', finalSnapshot: false }}
  aurora:
    engine: aurora-postgresql
    serverless: {{ min: 1, max: 2 }}
    credentials: '${{secrets.login}}'
    finalSnapshot: false
certificates: {{ own: {{ domain: app.{name}.test, zone: {name}.test }} }}
cluster:
  capacity: ec2
  instances: {{ type: t3.small, max: 2, mounts: {{ /mnt/data: '${{fileSystems.data}}' }} }}
loadBalancers:
  inner: {{ type: network, scheme: internal, listeners: {{ tcp: {{ port: 80, default: '${{services.app}}' }} }} }}
  outer:
    type: application
    scheme: internet-facing
    listeners:
      http: {{ port: 80, redirect: https }}
      https:
        port: 443
        certificates: ['${{certificates.own}}']
        default: '${{services.web}}'
        rules: {{ index: {{ paths: [/], to: '${{functions.index}}' }} }}
functions: {{ index: {{ package: reportportal-index, vpc: true, environment: {{ TRAEFIK_SERVICES_URL: 'http://x:1' }} }} }}
jobs: {{ once: {{ image: nginx:1, memory: 64 }} }}
services:
  app:
    image: nginx:1
    networkMode: awsvpc
    memory: 64
    ports: [80]
    environment: {{ KEY: '${{secrets.made}}', URL: '${{secrets.url}}' }}
    mounts: {{ /data: '${{fileSystems.data.app}}' }}
    role: {{ allow: ['s3:ListBucket'] }}
    scale: {{ min: 1, max: 2, cpu: 60 }}
  web:
    image: nginx:1
    memory: 64
    ports: [80]
    mounts: {{ /data: /mnt/data/web }}
apis:
  qa:
    link: '${{loadBalancers.inner}}'
    routes: {{ GET /: {{}}, POST /ask: {{}} }}
    usagePlan: {{ quota: {{ limit: 20, period: week }} }}
dns:
  {name}.test: {{ records: {{ app: '${{loadBalancers.outer}}' }} }}
  in.{name}.test: {{ private: true, records: {{ app: '${{loadBalancers.inner}}' }} }}
"
    )
}

/// What a run asks people for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Image { region: String, repository: String, tag: String },
    Secret { environment: String, secret: String },
    Record { domain: String },
}

impl Asked {
    /// All that a step's message asks for.
    fn all(message: &str) -> Vec<Self> {
        let images = message.split("docker push ").skip(1).filter_map(|rest| {
            let image = rest.split([' ', ';', ',', '`']).next()?;
            let (registry, image) = image.split_once('/')?;
            let (repository, tag) = image.rsplit_once(':')?;
            let region = registry.split('.').nth(3)?.to_owned();
            Some(Self::Image { region, repository: repository.to_owned(), tag: tag.to_owned() })
        });
        let secrets = message.split("plinth secret set ").skip(1).filter_map(|rest| {
            let mut words = rest.split([' ', ';', ',', '`']);
            Some(Self::Secret { environment: words.next()?.to_owned(), secret: words.next()?.to_owned() })
        });
        let records = message.split("CNAME _").skip(1).filter_map(|rest| {
            let (_, domain) = rest.split(' ').next()?.trim_end_matches('.').split_once('.')?;
            Some(Self::Record { domain: domain.to_owned() })
        });
        images.chain(secrets).chain(records).collect()
    }
}

/// What an event of an execution says; printing it as it is would leave out what may be secret.
fn text(event: &HistoryEvent) -> String {
    let entered = event.state_entered_event_details();
    let exited = event.state_exited_event_details();
    let scheduled = event.task_scheduled_event_details();
    let succeeded = event.task_succeeded_event_details();
    let failed = event.task_failed_event_details();
    let texts = [
        event.execution_started_event_details().and_then(|details| details.input()),
        event.execution_succeeded_event_details().and_then(|details| details.output()),
        event.execution_failed_event_details().and_then(|details| details.cause()),
        entered.and_then(|details| details.input()),
        exited.and_then(|details| details.output()),
        scheduled.map(TaskScheduledEventDetails::parameters),
        succeeded.and_then(|details| details.output()),
        failed.and_then(|details| details.cause()),
    ];
    texts.into_iter().flatten().collect()
}

/// A break of a watched path, in a line.
fn told(found: &Value) -> String {
    let call = |call: &Value| match call["number"].as_u64() {
        None => "now".to_owned(),
        Some(number) => {
            let by = [&call["function"], &call["principal"]].into_iter().find_map(Value::as_str);
            let word = |field: &str| call[field].as_str().unwrap_or_default();
            format!("call {number} {}:{} by {}", word("service"), word("action"), by.unwrap_or_default())
        }
    };
    let word = |field: &str| found[field].as_str().unwrap_or_default();
    let (after, until) = (call(&found["after"]), call(&found["until"]));
    format!("{}: {}; from {after} until {until}", word("path"), word("why"))
}

/// Whether something is a log group that outlives what wrote to it.
pub fn is_dropped(record: &Value) -> bool {
    let dropped = record["tags"]["plinth:dropped"].as_str();
    dropped.is_some_and(|since| since != "false")
}

/// Whether a run has come to its end.
pub fn settled(status: &Status) -> bool {
    !status.state.is_under_way()
}

/// The addresses of changes.
pub fn addresses(changes: &[Change]) -> BTreeSet<String> {
    changes.iter().map(|change| change.address.clone()).collect()
}

/// The `aws` command.
pub fn aws() -> String {
    std::env::var("AWS").unwrap_or_else(|_| root().join(".venv/bin/aws").display().to_string())
}

/// The Python that AWS on this machine runs with.
pub fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| root().join(".venv/bin/python").display().to_string())
}

/// Starts the server on a free port, and what stops it once this process has ended; then deploys.
fn start() -> u16 {
    // What is deployed is put together in the repository's folder.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.expect("a port").port();
    script("up", port, &["--waits", "0.02"]);
    Command::new("sh")
        .args(["-c", "cat >/dev/null; exec infra/local/down"])
        .current_dir(root())
        .env("PLINTH_LOCAL_PORT", port.to_string())
        .stdin(Stdio::piped())
        .spawn()
        // The pipe closes when this process ends, however it ends.
        .map(std::mem::forget)
        .expect("a shell");
    script("deploy", port, &[]);
    port
}

/// Runs one of `infra/local`'s scripts.
fn script(name: &str, port: u16, arguments: &[&str]) {
    let output = Command::new(root().join("infra/local").join(name))
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

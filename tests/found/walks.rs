//! Random walks: an environment goes from spec to spec while things fail between; the last good spec applied
//! again is `ready`, leaves what a fresh build of it has, and nothing that served was cut meanwhile.
//!
//! `PLINTH_WALKS` says how many walks are made, `PLINTH_SEED` with which seed the first begins: the next has the
//! next. A walk that fails says its seed, so that `PLINTH_SEED=<seed> PLINTH_WALKS=1` makes it again.

use std::fmt;

use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::{Local, MACHINE};

const NAME: &str = "walk";

/// Numbers that look random and are the same for the same seed.
/// Source: <https://prng.di.unimi.it/splitmix64.c>
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let number = usize::try_from(self.next() % 1_000_003).unwrap_or_default();
        choices[number % choices.len()]
    }
}

/// What a walk's specs differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    image: u64,
    port: u16,
    /// The balanced service's key.
    service: &'static str,
    rule: Option<&'static str>,
    secret: &'static str,
    desired: u64,
    /// The version of the job's image, if there is a job.
    job: Option<u64>,
    /// Where the API's link leads.
    link: &'static str,
}

impl Shape {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            image: dice.one_of(&[1, 2, 3]),
            port: dice.one_of(&[80, 80, 8080]),
            service: dice.one_of(&["app", "app", "web"]),
            rule: dice.one_of(&[None, Some("/side"), Some("/other")]),
            secret: dice.one_of(&["one", "two"]),
            desired: dice.one_of(&[1, 2]),
            job: dice.one_of(&[None, Some(1), Some(2)]),
            link: dice.one_of(&["inner", "inner", "other"]),
        }
    }

    fn spec(&self) -> String {
        let Self { image, port, service, secret, desired, link, .. } = self;
        let rule = self.rule.map_or_else(String::new, |path| {
            format!(", rules: {{ side: {{ paths: [{path}], to: '${{services.side}}' }} }}")
        });
        let job = self.job.map_or_else(String::new, |job| {
            format!("jobs: {{ once: {{ placement: public, image: nginx:{job} }} }}\n")
        });
        format!(
            "
apiVersion: plinth/v1
name: {NAME}
network: {{ nat: none }}
secrets: {{ {secret}: {{ generate: {{}}, recovery: 0d }} }}
loadBalancers:
  outer:
    type: application
    scheme: internet-facing
    listeners: {{ http: {{ port: 80, default: '${{services.{service}}}'{rule} }} }}
  inner: {{ type: network, scheme: internal, listeners: {{ tcp: {{ port: 80, default: '${{services.side}}' }} }} }}
  other: {{ type: network, scheme: internal, listeners: {{ tcp: {{ port: 80, default: '${{services.side}}' }} }} }}
apis: {{ qa: {{ link: '${{loadBalancers.{link}}}', routes: {{ GET /: {{}} }} }} }}
services:
  {service}:
    placement: public
    image: nginx:{image}
    desired: {desired}
    ports: [{port}]
    environment: {{ KEY: '${{secrets.{secret}}}' }}
  side: {{ placement: public, image: nginx:1, ports: [80] }}
{job}"
        )
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, port, service, rule, secret, desired, job, link } = self;
        write!(
            f,
            "{service} nginx:{image} x{desired} on {port}, rule {rule:?}, secret {secret}, job {job:?}, API over \
             {link}"
        )
    }
}

/// What happens while a spec is applied.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    /// The balanced service's new tasks end.
    TasksDie,
    /// New targets fail their checks.
    TargetsAreUnwell,
    JobFails,
    /// AWS refuses a call.
    Refused(&'static str, &'static str),
    /// A function dies after a call.
    Killed(&'static str, &'static str),
    /// The spec has a fault.
    Rejected,
    /// Somebody aborts the run.
    Aborted,
}

const CALLS: [(&str, &str); 14] = [
    ("ec2", "AuthorizeSecurityGroupIngress"),
    ("ec2", "RevokeSecurityGroupIngress"),
    ("secretsmanager", "CreateSecret"),
    ("iam", "PutRolePolicy"),
    ("elasticloadbalancing", "CreateTargetGroup"),
    ("elasticloadbalancing", "ModifyListener"),
    ("elasticloadbalancing", "CreateRule"),
    ("elasticloadbalancing", "DeleteRule"),
    ("elasticloadbalancing", "DeleteTargetGroup"),
    ("ecs", "RegisterTaskDefinition"),
    ("ecs", "CreateService"),
    ("ecs", "UpdateService"),
    ("ecs", "DeleteService"),
    ("ecs", "TagResource"),
];

impl Event {
    fn roll(dice: &mut Dice) -> Self {
        let (service, action) = dice.one_of(&CALLS);
        dice.one_of(&[
            Self::Nothing,
            Self::Nothing,
            Self::TasksDie,
            Self::TasksDie,
            Self::TargetsAreUnwell,
            Self::JobFails,
            Self::Refused(service, action),
            Self::Refused(service, action),
            Self::Killed(service, action),
            Self::Rejected,
            Self::Aborted,
        ])
    }

    fn begin(self, local: &Local, shape: &Shape) {
        match self {
            Self::TasksDie => exits(local, &format!("{NAME}-{}", shape.service), Some(1)),
            Self::JobFails => exits(local, &format!("{NAME}-once-job"), Some(1)),
            Self::TargetsAreUnwell => {
                local.control("POST", "unhealthy", Some(json!({ "targetGroup": NAME, "new": true })));
            }
            Self::Refused(service, action) => local.fault(
                json!({ "kind": "error", "code": "AccessDenied", "status": 403, "service": service, "action": action }),
            ),
            Self::Killed(service, action) => {
                local.fault(json!({ "kind": "kill-caller", "service": service, "action": action }));
            }
            Self::Nothing | Self::Rejected | Self::Aborted => {}
        }
    }

    fn end(self, local: &Local, shape: &Shape) {
        match self {
            Self::TasksDie => exits(local, &format!("{NAME}-{}", shape.service), None),
            Self::JobFails => exits(local, &format!("{NAME}-once-job"), Some(0)),
            Self::TargetsAreUnwell => {
                local.control("POST", "unhealthy", Some(json!({ "targetGroup": NAME, "healthy": true })));
            }
            Self::Refused(..) | Self::Killed(..) => {
                local.control("DELETE", "faults", None);
            }
            Self::Nothing | Self::Rejected | Self::Aborted => {}
        }
    }

    /// Applies a spec while this happens.
    async fn happens(self, local: &Local, shape: &Shape) -> Status {
        self.begin(local, shape);
        let status = match self {
            Self::Rejected => local.apply(NAME, &format!("{}nonsense: 1\n", shape.spec())).await,
            Self::Aborted => aborted(local, &shape.spec()).await,
            _ => local.apply(NAME, &shape.spec()).await,
        };
        self.end(local, shape);
        assert!(local.is_free(NAME).await, "the lock is held");
        status
    }
}

/// How a family's tasks end.
fn exits(local: &Local, family: &str, code: Option<i32>) {
    local.control("POST", "exits", Some(json!({ "family": family, "code": code, "log": ["ended"] })));
}

/// Applies a spec and aborts its run as soon as it is under way.
async fn aborted(local: &Local, spec: &str) -> Status {
    let version = local.upload(NAME, spec).await;
    let ours = |status: &Status| status.version.as_ref() == Some(&version);
    let running = local.status(NAME, ours).await;
    let execution = MACHINE.replace("stateMachine", "execution") + ":" + &running.run;
    // It may have ended by itself by now.
    let _ = local.sfn().stop_execution().execution_arn(execution).send().await;
    local.status(NAME, |status| ours(status) && tests::settled(status)).await
}

/// What of the environment exists, with its settings, but for ids, revisions and what tasks are called.
fn things(local: &Local) -> Vec<String> {
    let inventory = local.inventory();
    let records = inventory.as_array().expect("records").iter();
    let ours = records.filter(|record| {
        record["tags"]["plinth:environment"] == NAME
            || record["name"].as_str().is_some_and(|name| name.starts_with(NAME))
    });
    let mut things: Vec<String> = ours
        .map(|record| {
            let (address, mut settings) = (&record["tags"]["plinth:address"], settings(&record["settings"]));
            // It is for targets that are registered without a port, and ECS registers none so.
            if record["kind"] == "target-group" {
                settings["Port"].take();
            }
            let name = record["name"].as_str().unwrap_or_default();
            plain(&format!("{} {name} {address} {settings}", record["kind"]))
        })
        .collect();
    things.sort();
    things
}

/// Settings without what is only a number that AWS gave.
fn settings(found: &Value) -> Value {
    match found {
        Value::Object(fields) => {
            let ids = ["id", "connectionId", "deploymentId", "apiStages", "apiId", "ForwardConfig"];
            let kept = fields.iter().filter(|(name, _)| !ids.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), settings(value))).collect()
        }
        Value::Array(items) => items.iter().map(settings).collect(),
        other => other.clone(),
    }
}

/// A text without its ids (a run of eight hexadecimal digits or more, or four or six after a hyphen, with which
/// names end) and without numbers of revisions.
fn plain(text: &str) -> String {
    let mut words = Vec::new();
    let mut hyphen = false;
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let (bare, end) = word.split_at(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
        let long = bare.len() >= 8 || hyphen && [4, 6].contains(&bare.len());
        let id = long && bare.chars().all(|letter| letter.is_ascii_hexdigit());
        words.push(if id { format!("#{end}") } else { word.to_owned() });
        hyphen = end == "-";
    }
    let text = words.concat();
    let mut parts = text.split("task-definition/");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (family, rest) = part.split_once(':').unwrap_or((part, ""));
        plain = format!(
            "{plain}task-definition/{family}{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        );
    }
    match plain.strip_prefix("\"task-definition\" ").and_then(|rest| rest.split_once(':')) {
        Some((family, rest)) => {
            format!("\"task-definition\" {family}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => plain,
    }
}

/// One walk, from an environment that stands to one that stands.
async fn walk(local: &Local, seed: u64) {
    let mut dice = Dice(seed);
    let shapes = [Shape::roll(&mut dice), Shape::roll(&mut dice), Shape::roll(&mut dice)];
    eprintln!("walk {seed}");
    for (number, shape) in shapes.iter().enumerate() {
        eprintln!("  spec {number}: {shape}");
    }
    let mut good = shapes[0];
    local.ready(NAME, &good.spec()).await;
    local.watch(NAME);
    for _ in 0..4 {
        let number = dice.one_of(&[0, 1, 2]);
        let event = Event::roll(&mut dice);
        let status = event.happens(local, &shapes[number]).await;
        let fault = status.fault.map(|fault| fault.message).unwrap_or_default();
        eprintln!("  spec {number}, {event:?}: {:?} {fault}", status.state);
        match (event, status.state) {
            (_, EnvironmentState::Ready) => good = shapes[number],
            (Event::Nothing | Event::Killed(..), state) => panic!("nothing failed, but it is {state:?}"),
            _ => {}
        }
    }
    eprintln!("  last good: {good}");
    local.ready(NAME, &good.spec()).await;
    local.unbroken();
    assert_eq!(local.plan(&good.spec()).await, []);
    let walked = things(local);
    local.destroy(NAME).await;
    local.ready(NAME, &good.spec()).await;
    let fresh = things(local);
    let more: Vec<&String> = walked.iter().filter(|thing| !fresh.contains(thing)).collect();
    let less: Vec<&String> = fresh.iter().filter(|thing| !walked.contains(thing)).collect();
    assert!(
        more.is_empty() && less.is_empty() && walked.len() == fresh.len(),
        "after the walk: {more:#?}\nbuilt anew: {less:#?}"
    );
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn from_wherever_an_environment_has_come_to_its_last_good_spec_is_a_way_back() {
    let local = Local::take().await;
    let before = local.inventory();
    let first = number("PLINTH_SEED", 1);
    for seed in first..first + number("PLINTH_WALKS", 1) {
        walk(&local, seed).await;
    }
    local.destroy(NAME).await;
    local.same(&before);
}

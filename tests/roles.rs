//! Roles: without any one of its statements a function can't do its work, and says so.
//!
//! Many functions are without a statement each at the same time. The run fails where the first of them is denied, and
//! its history says which function that was. It gets that statement back and is without its next one, and the run is
//! started again: it carries on where it stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_iam::Client as Iam;
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_sfn::types::HistoryEvent;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::{BUCKET, LOOK, LOOKS, Local, MACHINE};

const NAME: &str = "roles";

/// What is enough for the functions that are no step.
const SMALL: &str = "apiVersion: plinth/v1\nname: roles\nrepositories: { app: { forceDelete: true } }\n";

/// What a run waits for until somebody creates a record elsewhere.
const WAITS: &str = "certificates: { own: { domain: roles.example.com } }\n";

/// Who follows the images of its repository.
const FOLLOWS: &str = "services: { app: { image: { repository: app, tag: v* } } }\n";

/// What services answer who may not do something.
const DENIALS: [&str; 3] = ["AccessDenied", "UnauthorizedOperation", "not authorized"];

/// A function of the control plane, and the policy of its role.
struct Function {
    name: String,
    role: String,
    policy: String,
    statements: Vec<Value>,
    /// The statements that are still to be shown, by their places. The first is withheld.
    left: Vec<usize>,
}

impl Function {
    fn sid(&self, place: usize) -> &str {
        self.statements[place]["Sid"].as_str().unwrap_or_default()
    }

    /// Its own name, and that of the statement that is withheld.
    fn withheld(&self) -> Option<String> {
        self.left.first().map(|place| format!("{} {}", self.name, self.sid(*place)))
    }

    /// Gives it all its statements but this.
    async fn withhold(&self, iam: &Iam, statement: Option<&usize>) {
        let others = self.statements.iter().enumerate().filter(|(place, _)| Some(place) != statement);
        let others: Vec<&Value> = others.map(|(_, statement)| statement).collect();
        let document = json!({ "Version": "2012-10-17", "Statement": others }).to_string();
        let put = iam.put_role_policy().role_name(&self.role).policy_name(&self.policy);
        put.policy_document(document).send().await.expect("a policy");
    }
}

/// The functions, and of each the statements that are to be shown.
async fn functions(local: &Local, shows: impl Fn(&str, &str) -> bool) -> Vec<Function> {
    let (iam, lambda) = (Iam::new(&local.aws), Lambda::new(&local.aws));
    let listed = lambda.list_functions().into_paginator().items().send();
    let listed: Result<Vec<_>, _> = listed.collect().await;
    let mut functions = Vec::new();
    for found in listed.expect("functions") {
        let name = found.function_name.unwrap_or_default().replace("plinth-", "");
        let role = found.role.unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        let policies = iam.list_role_policies().role_name(&role).send().await.expect("policies");
        let [policy] = policies.policy_names.try_into().expect("one policy");
        let found = iam.get_role_policy().role_name(&role).policy_name(&policy).send().await;
        let found = found.expect("a policy").policy_document;
        let text = percent_decode_str(&found).decode_utf8_lossy();
        let document: Value = serde_json::from_str(&text).expect("a document");
        let statements = document["Statement"].as_array().expect("statements").clone();
        let mut function = Function { name, role, policy, statements, left: Vec::new() };
        let is_shown = |place: &usize| {
            let sid = function.sid(*place);
            !unseen(&function.name, sid) && shows(&function.name, sid)
        };
        function.left = (0..function.statements.len()).filter(is_shown).collect();
        functions.push(function);
    }
    functions
}

/// What a life of the environment can't show on this machine: here nothing of other functions than these
/// ever has to be waited for, so that they don't look for a newer spec; and what AWS asks of the caller for
/// calls that it makes itself is not asked here. A ZIP file of a function is in no environment's own bucket.
fn unseen(function: &str, sid: &str) -> bool {
    let waits = ["network", "listener", "api", "service", "file-system", "database", "certificate", "dns"];
    match sid {
        NEWER => !waits.contains(&function),
        // Nothing is asked of people in this life.
        "Ask"
        // One certificate a listener, and here parameter groups and snapshots need no leave of their own.
        | "ShareListeners"
        | "BesideDatabases"
        | "PullImages"
        | "LinkToBalancers"
        | "MakeServiceLinkedRole"
        | "StandInSubnets"
        | "StandInVpcs"
        | "TakeFinalSnapshots"
        | "ReadZips"
        | "TellAbsentZips"
        // Of the caller of Auto Scaling, of ECS and of Application Auto Scaling.
        | "HandRolesToInstances"
        | "Launch"
        | "AlarmsOfScaling" => true,
        _ => false,
    }
}

/// The statement that only who has to wait needs.
const NEWER: &str = "LookForANewerSpec";

/// Whether a function is none of a run's steps.
fn is_no_step(function: &str) -> bool {
    ["accept", "finish", "sweep"].contains(&function)
}

/// Here and below, nothing but the test starts runs.
#[tokio::test]
async fn without_any_one_statement_the_step_that_needs_it_is_denied() {
    let local = Local::own().await;
    let steps = functions(&local, |function, sid| !is_no_step(function) && sid != NEWER).await;
    let needless = local.unheard("plinth-spec", Box::pin(lives(&local, steps, 0.0))).await;
    assert_eq!(needless, Vec::<String>::new());
}

/// Of the functions that are no steps, and of all that look for a newer spec.
#[tokio::test]
async fn without_any_one_statement_the_other_function_that_needs_it_is_denied() {
    let local = Local::own().await;
    let others = functions(&local, |function, _| is_no_step(function)).await;
    // Nor does anything clear up after those that fail.
    let others = local.unheard("plinth-ended", Box::pin(one_by_one(&local, others)));
    let mut needless = local.unheard("plinth-spec", Box::pin(others)).await;
    let waiting = functions(&local, |_, sid| sid == NEWER).await;
    needless.extend(local.unheard("plinth-spec", Box::pin(lives(&local, waiting, 0.1))).await);
    assert_eq!(needless, Vec::<String>::new());
}

/// Takes everything up and down until each statement was withheld for a whole life, or its function was denied
/// something; answers those without which it wasn't. If a role's statements stand in the order in which they are
/// needed, one life shows them all.
async fn lives(local: &Local, mut functions: Vec<Function>, scale: f64) -> Vec<String> {
    let iam = Iam::new(&local.aws);
    let spec = tests::everything(NAME);
    local.lay_out(&spec);
    for function in &functions {
        function.withhold(&iam, function.left.first()).await;
    }
    let mut needless = Vec::new();
    while functions.iter().any(|function| !function.left.is_empty()) {
        let first: Vec<Option<String>> = functions.iter().map(Function::withheld).collect();
        local.control("POST", "scale", Some(json!({ "scale": scale })));
        local.upload(NAME, &spec).await;
        carry_out(local, &iam, &mut functions, EnvironmentState::Ready).await;
        local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
        local.delete(NAME).await;
        carry_out(local, &iam, &mut functions, EnvironmentState::Destroyed).await;
        for (function, first) in functions.iter_mut().zip(first) {
            if let Some(withheld) = first.filter(|first| function.withheld().as_ref() == Some(first)) {
                needless.push(format!("{withheld}: no fault"));
                function.left.remove(0);
                function.withhold(&iam, function.left.first()).await;
            }
        }
    }
    needless
}

/// Starts runs until one comes to its end. Who is denied gets what it is without, and is without its next.
async fn carry_out(local: &Local, iam: &Iam, functions: &mut [Function], end: EnvironmentState) {
    loop {
        let run = local.start(&json!({ "environment": NAME })).await;
        if local.ended(&run).await == "SUCCEEDED" {
            break;
        }
        let denials = denials(local, run).await;
        if denials.is_empty() {
            let without: Vec<String> = functions.iter().filter_map(Function::withheld).collect();
            panic!("nobody was denied anything, without {without:?}: {:?}", status(local).await);
        }
        for (name, denial) in denials {
            let denied = functions.iter_mut().find(|each| each.name == name && !each.left.is_empty());
            let denied = denied.unwrap_or_else(|| panic!("{name} has all its statements: {denial}"));
            denied.left.remove(0);
            denied.withhold(iam, denied.left.first()).await;
        }
    }
    let status = status(local).await;
    assert_eq!(status.as_ref().map(|status| status.state), Some(end), "{status:?}");
}

/// Withholds one statement at a time from functions that are no steps, and does what needs it to a small
/// environment; answers those without which nothing was denied, and what happened instead.
async fn one_by_one(local: &Local, functions: Vec<Function>) -> Vec<String> {
    let iam = Iam::new(&local.aws);
    let mut needless = Vec::new();
    local.upload(NAME, SMALL).await;
    carry_out(local, &iam, &mut [], EnvironmentState::Ready).await;
    for function in functions {
        for place in &function.left {
            let (name, sid) = (&function.name, function.sid(*place));
            function.withhold(&iam, Some(place)).await;
            let denials = done(local, name, sid).await;
            if !denials.contains_key(name) {
                needless.push(format!(
                    "{name} {sid}: {denials:?} {:?}",
                    status(local).await.and_then(|status| status.fault)
                ));
            }
            function.withhold(&iam, None).await;
            // Whoever was denied something may have left it.
            let unlock = local.s3().delete_object().bucket(BUCKET).key(step::lock_key(NAME));
            unlock.send().await.expect("a free lock");
        }
    }
    local.delete(NAME).await;
    carry_out(local, &iam, &mut [], EnvironmentState::Destroyed).await;
    needless
}

/// Does what this statement is needed for, and answers who was denied something.
async fn done(local: &Local, function: &str, sid: &str) -> BTreeMap<String, String> {
    let begun = executions(local).await;
    let by_hand = json!({ "environment": NAME });
    match sid {
        // It finds a newer spec and a dead lock.
        _ if function == "sweep" => {
            local.upload(NAME, SMALL).await;
            local.leave_a_dead_lock(NAME).await;
            if let Err(fault) = local.sweep().await {
                return is_denial(&fault).then(|| (function.to_owned(), fault)).into_iter().collect();
            }
        }
        "StoreSpecs" => {
            local.start(&json!({ "spec": spec::parse(SMALL, None).expect("a spec") })).await;
        }
        "DeleteExpiredSpecs" => {
            local.upload(NAME, &format!("{SMALL}expires: {{ after: 1s }}\n")).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            local.start(&json!({ "environment": NAME, "action": "expire" })).await;
        }
        // A run waits for people. The second finds the lock held, and the third is the next.
        "SeeLockHolders" | "StartTheNextRun" => {
            local.upload(NAME, &format!("{SMALL}{WAITS}")).await;
            local.start(&by_hand).await;
            local.waiting(NAME, "CNAME").await;
            let second = local.start(&by_hand).await;
            local.ended(&second).await;
            local.upload(NAME, SMALL).await;
        }
        "SeeWhoseRepository" | "StartRunsForImages" => {
            local.upload(NAME, &format!("{SMALL}{FOLLOWS}")).await;
            local.put_image(&format!("{NAME}-app"), &format!("v1-{}", sid.to_lowercase())).await;
        }
        _ => {
            local.upload(NAME, SMALL).await;
            local.start(&by_hand).await;
        }
    }
    let mut all = BTreeMap::new();
    for run in ended(local, &begun).await {
        all.extend(denials(local, run).await);
    }
    all
}

async fn executions(local: &Local) -> BTreeSet<String> {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).max_results(1000).send().await;
    listed.expect("executions").executions.into_iter().map(|run| run.execution_arn).collect()
}

/// The runs that began since, once they and those that they start are over.
///
/// # Panics
/// If there is none within five minutes.
async fn ended(local: &Local, begun: &BTreeSet<String>) -> BTreeSet<String> {
    let mut over = BTreeSet::new();
    for _ in 0..LOOKS {
        let new: BTreeSet<String> = &(&executions(local).await - begun) - &over;
        if new.is_empty() && !over.is_empty() {
            return over;
        }
        for run in new {
            local.ended(&run).await;
            over.insert(run);
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("no run began");
}

/// Which functions failed in a run, or in one nested in it, since they were denied something; and what they said.
async fn denials(local: &Local, run: String) -> BTreeMap<String, String> {
    let mut runs = vec![run];
    let mut denials = BTreeMap::new();
    while let Some(run) = runs.pop() {
        let events = local.sfn().get_execution_history().execution_arn(run).into_paginator().items().send();
        let events: Result<Vec<_>, _> = events.collect().await;
        let events = events.expect("a history");
        for event in &events {
            let Some(failed) = event.task_failed_event_details() else { continue };
            let cause = failed.cause().unwrap_or_default();
            let called = called(&events, event);
            if let Some(function) = called["FunctionName"].as_str().and_then(|arn| arn.rsplit(':').next()) {
                // What waits or was throttled goes by another name, and is tried again.
                if failed.error() == Some("Failed") && is_denial(cause) {
                    denials.insert(function.replace("plinth-", ""), cause.to_owned());
                }
            } else if let Ok(nested) = serde_json::from_str::<Value>(cause) {
                runs.extend(nested["ExecutionArn"].as_str().map(str::to_owned));
            }
        }
    }
    denials
}

/// What the task was called with that an event belongs to.
fn called(events: &[HistoryEvent], event: &HistoryEvent) -> Value {
    let before = |event: &HistoryEvent| events.iter().find(|each| each.id() == event.previous_event_id());
    let scheduled = std::iter::successors(Some(event), |event| before(event))
        .find_map(HistoryEvent::task_scheduled_event_details)
        .expect("a task's beginning");
    serde_json::from_str(scheduled.parameters()).expect("parameters")
}

fn is_denial(text: &str) -> bool {
    DENIALS.iter().any(|word| text.contains(word))
}

async fn status(local: &Local) -> Option<Status> {
    step::read(&local.s3(), BUCKET, &step::status_key(NAME)).await.ok()
}

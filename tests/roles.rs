//! Roles: without any one of its statements a function can't do its work, and says so.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_iam::Client as Iam;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use step::{EnvironmentState, Status};
use tests::{BUCKET, Local, MACHINE};

const NAME: &str = "roles";

/// A function's role, and the policy that holds its statements.
struct Role {
    name: String,
    policy: String,
    document: Value,
}

async fn roles(iam: &Iam) -> Vec<Role> {
    let listed = iam.list_roles().send().await.expect("roles").roles;
    let mut roles = Vec::new();
    for name in listed.into_iter().map(|role| role.role_name).filter(|name| name.contains("FunctionRole")) {
        let policies = iam.list_role_policies().role_name(&name).send().await.expect("policies");
        for policy in policies.policy_names {
            let found = iam.get_role_policy().role_name(&name).policy_name(&policy).send().await;
            let found = found.expect("a policy").policy_document;
            let text = percent_decode_str(&found).decode_utf8_lossy().into_owned();
            let document = serde_json::from_str(&text).expect("a document");
            roles.push(Role { name: name.clone(), policy, document });
        }
    }
    roles
}

async fn put(iam: &Iam, role: &Role, statements: &[Value]) {
    let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let put = iam.put_role_policy().role_name(&role.name).policy_name(&role.policy);
    put.policy_document(document).send().await.expect("a policy");
}

/// What a life of the environment can't show on this machine: here nothing of other functions than these
/// ever has to be waited for, so that they don't look for a newer spec; and what AWS asks of the caller for
/// calls that it makes itself is not asked here. A ZIP file of a function is in no environment's own bucket.
fn unseen(role: &str, sid: &str) -> bool {
    let waits = ["Network", "Listener", "Api", "Service", "FileSystem", "Database", "Certificate", "Dns"];
    let is = |word: &&str| role.starts_with(&format!("plinth-{word}Function"));
    match sid {
        "LookForANewerSpec" => !waits.iter().any(is),
        // Nothing is asked of people in this life.
        "Ask"
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

/// How a life of the environment fails that needs this statement: on its way up, or else on its way
/// down.
async fn fault(local: &Local, sid: &str) -> Option<String> {
    let slow = ["LookForANewerSpec", "SeeLockHolders", "StartTheNextRun"].contains(&sid);
    let scale = if slow { 0.05 } else { 0.0 };
    local.control("POST", "scale", Some(json!({ "scale": scale })));
    let begun = executions(local).await;
    match sid {
        "StoreSpecs" => {
            let spec = spec::parse(&tests::everything(NAME), None).expect("a spec");
            local.start(&json!({ "spec": spec })).await;
        }
        // Its time comes while it is built, and the next run ends it.
        "DeleteExpiredSpecs" => {
            local.upload(NAME, &format!("{}expires: {{ after: 1s }}\n", tests::everything(NAME))).await;
        }
        // The second finds the lock held, and is the next run.
        "SeeLockHolders" | "StartTheNextRun" => {
            let version = local.upload(NAME, &tests::everything(NAME)).await;
            local.status(NAME, |status| status.version.as_ref() == Some(&version)).await;
            local.upload(NAME, &format!("{}tags: {{ a: b }}\n", tests::everything(NAME))).await;
        }
        // An image is pushed that a service follows.
        "SeeWhoseRepository" | "StartRunsForImages" => {
            let follows = "  follows: { image: { repository: app, tag: v* }, memory: 64 }\napis:";
            local.upload(NAME, &tests::everything(NAME).replace("apis:", follows)).await;
            local.waiting(NAME, "docker push").await;
            local.put_image(&format!("{NAME}-app"), "v1").await;
        }
        _ => {
            local.upload(NAME, &tests::everything(NAME)).await;
        }
    }
    let up = ended(local, &begun).await;
    local.control("POST", "scale", Some(json!({ "scale": 0.0 })));
    if up.is_some() {
        return up;
    }
    let begun = executions(local).await;
    local.delete(NAME).await;
    ended(local, &begun).await
}

/// How a sweep fails that finds a spec, a dead lock, and a run that was never ended.
async fn swept(local: &Local) -> Option<String> {
    let spec = tests::everything(NAME);
    local.unheard("plinth-spec", Box::pin(local.upload(NAME, &spec))).await;
    local.leave_a_dead_lock(NAME).await;
    let begun = executions(local).await;
    match local.sweep().await {
        Err(fault) => Some(fault),
        Ok(_) => ended(local, &begun).await,
    }
}

async fn executions(local: &Local) -> BTreeSet<String> {
    let listed = local.sfn().list_executions().state_machine_arn(MACHINE).max_results(1000).send().await;
    listed.expect("executions").executions.into_iter().map(|run| run.execution_arn).collect()
}

/// Waits for the runs that begin now, and answers how they failed: as the machine says, or the status.
async fn ended(local: &Local, begun: &BTreeSet<String>) -> Option<String> {
    let mut over = begun.clone();
    let mut faults = Vec::new();
    loop {
        let new: Vec<String> = executions(local).await.difference(&over).cloned().collect();
        if new.is_empty() && over.len() > begun.len() {
            break;
        }
        for run in new {
            if local.ended(&run).await != "SUCCEEDED" {
                let described = local.sfn().describe_execution().execution_arn(&run).send().await;
                faults.extend(described.expect("a run").cause);
            }
            over.insert(run);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = step::read::<Status>(&local.s3(), BUCKET, &step::status_key(NAME)).await;
    faults.extend(status.ok().and_then(|status| Some(status.fault?.message)));
    (!faults.is_empty()).then(|| faults.join("\n"))
}

/// Takes away what is left, with every statement in place again.
async fn mend(local: &Local) {
    local.delete(NAME).await;
    let inline = local.s3().delete_object().bucket(BUCKET).key(format!("environments/{NAME}.json"));
    inline.send().await.expect("a deletion");
    let unlock = local.s3().delete_object().bucket(BUCKET).key(step::lock_key(NAME));
    unlock.send().await.expect("a free lock");
    for _ in 0..60 {
        let run = local.start(&json!({ "environment": NAME })).await;
        local.ended(&run).await;
        let status = step::read::<Status>(&local.s3(), BUCKET, &step::status_key(NAME)).await;
        if status.is_ok_and(|status| status.state == EnvironmentState::Destroyed) {
            return;
        }
        // Another run is at it.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{NAME} isn't gone after sixty runs");
}

/// How many servers share the statements.
const SERVERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_one_statement_the_function_that_needs_it_is_denied() {
    let mut shares = Vec::new();
    for share in 0..SERVERS {
        shares.push(tokio::spawn(needless(Local::own().await, share)));
    }
    let mut needless = Vec::new();
    for share in shares {
        needless.extend(share.await.expect("a share"));
    }
    assert_eq!(needless, Vec::<String>::new());
}

/// Those of a share of the statements without which nothing was denied, with what happened instead.
async fn needless(local: Local, share: usize) -> Vec<String> {
    local.lay_out(&tests::everything(NAME));
    let iam = Iam::new(&local.aws);
    let mut needless = Vec::new();
    let mut number = 0;
    for role in roles(&iam).await {
        let statements = role.document["Statement"].as_array().expect("statements").clone();
        for (index, statement) in statements.iter().enumerate() {
            let sid = statement["Sid"].as_str().unwrap_or_default();
            number += 1;
            if unseen(&role.name, sid) || number % SERVERS != share {
                continue;
            }
            let mut others = statements.clone();
            others.remove(index);
            put(&iam, &role, &others).await;
            let fault = if role.name.starts_with("plinth-SweepFunction") {
                swept(&local).await
            } else {
                fault(&local, sid).await
            };
            let fault = fault.unwrap_or_else(|| "no fault".to_owned());
            put(&iam, &role, &statements).await;
            mend(&local).await;
            if !DENIALS.iter().any(|word| fault.contains(word)) {
                needless.push(format!("{} {sid}: {fault}", role.name));
            }
        }
    }
    needless
}

/// What services answer who may not do something.
const DENIALS: [&str; 3] = ["AccessDenied", "UnauthorizedOperation", "not authorized"];

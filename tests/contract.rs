//! What must agree between the machines, the functions, the template and the examples.

use std::collections::BTreeSet;

use serde_json::Value;
use step::{Error, Pace};
use tests::{file, root};

const MACHINES: [&str; 3] = ["environment", "provision", "prune"];

fn machine(name: &str) -> Value {
    serde_json::from_str(&file(&format!("statemachines/{name}.asl.json"))).expect("a machine is JSON")
}

/// Every state of a machine with its name, those in branches and maps too.
fn states(machine: &Value) -> Vec<(String, &Value)> {
    let Some(own) = machine.get("States").and_then(Value::as_object) else { return Vec::new() };
    own.iter()
        .flat_map(|(name, state)| {
            let branches = state.get("Branches").and_then(Value::as_array).into_iter().flatten();
            let inner = branches.chain(state.get("ItemProcessor"));
            std::iter::once((name.clone(), state)).chain(inner.flat_map(states))
        })
        .collect()
}

fn words<'a>(state: &'a Value, field: &str) -> Vec<&'a str> {
    let rules = state.get(field).and_then(Value::as_array).into_iter().flatten();
    rules
        .flat_map(|rule| rule["ErrorEquals"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect()
}

/// The name of the function a Task invokes, as the template's logical id: `NetworkFunction`.
fn function(state: &Value) -> Option<&str> {
    state.pointer("/Arguments/FunctionName")?.as_str()?.strip_prefix("${")?.strip_suffix('}')
}

fn raised() -> BTreeSet<&'static str> {
    let text = String::new;
    let paces = [Pace::Soon, Pace::Later, Pace::Long];
    let waits = paces.map(|pace| Error::wait(pace, text()));
    let others = [
        Error::Throttled(text()),
        Error::InvalidSpec(text()),
        Error::Conflict(text()),
        Error::Failed(text()),
        Error::Superseded(text()),
    ];
    waits.iter().chain(&others).map(Error::kind).collect()
}

/// Source: <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
const LAMBDAS_OWN: [&str; 9] = [
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
];

#[test]
fn every_task_names_a_function_that_is_in_the_template_and_has_a_folder() {
    let template = file("infra/template.yaml");
    let mut seen = BTreeSet::new();
    for name in MACHINES {
        let machine = machine(name);
        for (state, task) in states(&machine) {
            let Some(function) = function(task) else { continue };
            let title =
                function.strip_suffix("Function").unwrap_or_else(|| panic!("{name}.{state}: {function}"));
            let folder = title.chars().fold(String::new(), |mut folder, letter| {
                if letter.is_uppercase() && !folder.is_empty() {
                    folder.push('-');
                }
                folder.extend(letter.to_lowercase());
                folder
            });
            assert!(
                template.contains(&format!("\n  {function}:\n")),
                "{name}.{state}: {function} is not in the template"
            );
            assert!(
                template.contains(&format!("CodeUri: ../build/{folder}\n")),
                "{name}.{state}: build/{folder}"
            );
            assert!(
                root().join(format!("functions/{folder}/src/lib.rs")).is_file(),
                "{name}.{state}: {folder}"
            );
            seen.insert(folder);
        }
    }
    let mut folders: BTreeSet<String> = std::fs::read_dir(root().join("functions"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    // What environments themselves run, and what a rule calls.
    folders.remove("reportportal-index");
    folders.remove("sweep");
    assert_eq!(seen, folders, "a function no machine calls, or a Task without a function");
}

#[test]
fn every_task_retries_what_we_raise_to_be_retried_and_what_lambda_raises_itself() {
    let waits = ["NotReadySoon", "NotReadyLater", "NotReadyLong", "Throttled"];
    let wanted: BTreeSet<&str> = waits.into_iter().chain(LAMBDAS_OWN).collect();
    for name in MACHINES {
        let machine = machine(name);
        for (state, task) in states(&machine).into_iter().filter(|(_, task)| function(task).is_some()) {
            let retried: BTreeSet<&str> = words(task, "Retry").into_iter().collect();
            assert_eq!(retried, wanted, "{name}.{state}");
        }
    }
}

#[test]
fn every_error_a_machine_names_is_one_that_can_be_raised() {
    let services = [
        "StepFunctions.ExecutionLimitExceeded",
        "StepFunctions.ServiceException",
        "StepFunctions.SdkClientException",
    ];
    let known: BTreeSet<&str> = raised().into_iter().chain(LAMBDAS_OWN).chain(services).collect();
    for name in MACHINES {
        let machine = machine(name);
        for (state, task) in states(&machine) {
            for error in words(task, "Retry") {
                assert!(known.contains(error), "{name}.{state} retries {error}, which nothing raises");
            }
            assert!(words(task, "Catch").iter().all(|error| *error == "States.ALL"), "{name}.{state}");
        }
    }
}

#[test]
fn every_task_is_caught_by_itself_or_by_what_it_stands_in() {
    for name in MACHINES {
        let machine = machine(name);
        let own = machine["States"].as_object().expect("states");
        for (state, value) in own {
            let works = value["Type"] == "Task"
                || value.get("Branches").is_some()
                || value.get("ItemProcessor").is_some();
            // What `finish` can't do, the rule on FAILED does.
            if works && state != "Finish" {
                assert!(value.get("Catch").is_some(), "{name}.{state} is not caught");
            }
        }
    }
}

#[test]
fn every_example_is_a_spec_by_its_own_name() {
    let examples = std::fs::read_dir(root().join("examples")).expect("a folder");
    for path in examples.map(|entry| entry.expect("an entry").path()) {
        let text = std::fs::read_to_string(&path).expect("an example");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        if let Err(faults) = spec::parse(&text, Some(name)) {
            panic!("{}:\n{faults}", path.display());
        }
    }
}

/// The call that an action allows, as the SDK names it: `ec2:CreateVpc` is `create_vpc`.
fn call(action: &str) -> String {
    if let Some((_, call)) = NAMED_OTHERWISE.iter().find(|(named, _)| *named == action) {
        return (*call).to_owned();
    }
    let name: Vec<char> = action.split_once(':').map_or(action, |(_, name)| name).chars().collect();
    let mut call = String::new();
    for (at, letter) in name.iter().enumerate() {
        let begins = |at: usize| name.get(at).is_some_and(|letter| letter.is_lowercase());
        // A word begins after a small letter, or before one: `DescribeDBClusters`.
        if letter.is_uppercase() && at > 0 && (begins(at - 1) || begins(at + 1)) {
            call.push('_');
        }
        call.extend(letter.to_lowercase());
    }
    call
}

/// The calls whose action has another name.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>
const NAMED_OTHERWISE: [(&str, &str); 9] = [
    ("s3:ListAllMyBuckets", "list_buckets"),
    ("s3:ListBucketVersions", "list_object_versions"),
    ("s3:DeleteObjectVersion", "delete_objects"),
    ("s3:GetEncryptionConfiguration", "get_bucket_encryption"),
    ("s3:PutEncryptionConfiguration", "put_bucket_encryption"),
    ("s3:GetBucketPublicAccessBlock", "get_public_access_block"),
    ("s3:PutBucketPublicAccessBlock", "put_public_access_block"),
    ("s3:GetLifecycleConfiguration", "get_bucket_lifecycle_configuration"),
    ("s3:PutLifecycleConfiguration", "put_bucket_lifecycle_configuration"),
];

/// What a role allows beside the calls its function makes itself: what `crates/step` does for it, what
/// AWS asks for another call, and API Gateway's actions, which are HTTP's verbs.
fn implied(action: &str) -> bool {
    ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "iam:PassRole"].contains(&action)
        || action.starts_with("apigateway:")
        || action.contains(":TagResource")
        || action.contains("VpcEndpointService")
        || action == "iam:CreateServiceLinkedRole"
        || ["rds:CreateDBSnapshot", "rds:CreateDBClusterSnapshot", "ec2:DescribeVpcs"].contains(&action)
        || (action.starts_with("ec2:") && action.contains("NetworkInterface"))
        || ["ec2:RunInstances", "ssm:GetParameters", "ec2:DescribeRegions"].contains(&action)
        || (action.starts_with("route53:") && action.contains("HostedZone"))
        || (action.starts_with("cloudwatch:") && action.contains("Alarm"))
        || ["ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "lambda:ListTags"].contains(&action)
        || ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"].contains(&action)
        || ["ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy"].contains(&action)
}

/// The code of a function, and of the crates that make calls for it.
fn sources(folder: &str) -> String {
    let manifest = file(&format!("functions/{folder}/Cargo.toml"));
    let shared = ["lock", "security-group", "task", "traffic"].into_iter();
    let shared = shared.filter(|name| manifest.contains(&format!("\n{name}.workspace")));
    let folders = shared.map(|name| format!("crates/{name}/src")).chain([format!("functions/{folder}/src")]);
    folders
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).expect("a folder"))
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a source"))
        .collect()
}

/// The functions that work in the control plane's own account alone.
const AT_HOME: [&str; 2] = ["Finish", "Sweep"];

#[test]
fn every_function_that_builds_may_do_so_in_other_accounts() {
    let template = file("infra/template.yaml");
    let (_, policy) = template.split_once("  BuildElsewhere:\n").expect("a policy");
    let (policy, _) = policy.split_once("\n\n").expect("its end");
    let functions = template.split("FunctionName: plinth-").skip(1).filter_map(|text| text.lines().next());
    let logical = |name: &str| {
        let words = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
        words.collect::<String>()
    };
    let missing: Vec<String> = functions
        .map(logical)
        .filter(|name| !AT_HOME.contains(&name.as_str()))
        .filter(|name| !policy.contains(&format!("!Ref {name}FunctionRole\n")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn a_functions_role_allows_no_call_that_the_function_does_not_make() {
    let template = file("infra/template.yaml");
    let mut needless = Vec::new();
    for function in template.split("FunctionName: plinth-").skip(1) {
        let folder = function.lines().next().expect("a name");
        let source = sources(folder);
        let section = function.split("\n\n").next().expect("a section");
        let actions = section.lines().map(str::trim).filter_map(|line| {
            line.strip_prefix("- ")
                .or_else(|| line.strip_prefix("Action: "))
                .filter(|word| word.contains(':'))
        });
        for action in actions.filter(|word| !word.contains(' ') && !implied(word)) {
            let call = call(action);
            if !source.contains(&format!("{call}(")) && !source.contains(&format!("{call}s(")) {
                needless.push(format!("{folder}: {action}"));
            }
        }
    }
    assert_eq!(needless, Vec::<String>::new());
}

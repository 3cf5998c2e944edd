//! The load balancers that may call a function: for each target group it is the target of, one statement of
//! the function's policy. Statements that others added are left alone.
//! Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>

use std::collections::BTreeMap;

use aws_sdk_lambda::Client;
use serde_json::{Value, json};
use step::{Context, Doing, Error, Field, Result};

use super::{ABSENT, idle};

/// What the ids of our statements begin with.
const OURS: &str = "plinth-";

/// Who calls.
const CALLER: &str = "elasticloadbalancing.amazonaws.com";

/// What callers may do.
const ACTION: &str = "lambda:InvokeFunction";

/// The ARNs of the target groups that call the function, by statement id.
pub(crate) fn wanted(context: &Context, key: &str) -> BTreeMap<String, String> {
    let target = format!("function.{key}");
    let balancers = context.outputs.load_balancers.iter();
    balancers
        .filter_map(|(name, balancer)| {
            Some((format!("{OURS}{name}"), balancer.targets.get(&target)?.clone()))
        })
        .collect()
}

/// The same as Lambda has it. What we wouldn't have written that way is no target group's.
pub(crate) async fn find(lambda: &Client, name: &str) -> Result<BTreeMap<String, String>> {
    let doing = || format!("reading the policy of Lambda function ({name})");
    let answer = lambda.get_policy().function_name(name).send().await.unless_absent(&ABSENT, doing)?;
    let Some(text) = answer.and_then(|answer| answer.policy) else { return Ok(BTreeMap::new()) };
    let policy: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Failed(format!("{}: it is no JSON: {error}", doing())))?;
    let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    Ok(statements.iter().filter_map(caller).collect())
}

fn caller(statement: &Value) -> Option<(String, String)> {
    let id = statement["Sid"].as_str().filter(|id| id.starts_with(OURS))?;
    let source = statement["Condition"]["ArnLike"]["AWS:SourceArn"].as_str().unwrap_or_default();
    let ours = statement["Effect"] == "Allow"
        && statement["Principal"] == json!({ "Service": CALLER })
        && statement["Action"] == ACTION
        && statement["Condition"] == json!({ "ArnLike": { "AWS:SourceArn": source } });
    Some((id.to_owned(), if ours { source.to_owned() } else { "something else".to_owned() }))
}

pub(crate) fn difference(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Field> {
    let differs = |(id, target): &(&String, &String)| found.get(*id) != Some(target);
    let added = wanted.iter().filter(differs).map(|(id, target)| Field {
        name: format!("permissions.{id}"),
        found: found.get(id).cloned(),
        wanted: target.clone(),
    });
    let removed = found.iter().filter(|(id, _)| !wanted.contains_key(*id)).map(|(id, target)| Field {
        name: format!("permissions.{id}"),
        found: Some(target.clone()),
        wanted: "none".to_owned(),
    });
    added.chain(removed).collect()
}

/// A statement can't be changed, only made anew.
pub(crate) async fn ensure(lambda: &Client, name: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
    let found = find(lambda, name).await?;
    for (id, _) in found.iter().filter(|(id, target)| wanted.get(*id) != Some(target)) {
        let doing = || format!("taking statement {id} out of the policy of Lambda function ({name})");
        let removed = lambda.remove_permission().function_name(name).statement_id(id).send().await;
        removed.gone(&ABSENT, &super::BUSY, doing)?;
    }
    for (id, target) in wanted.iter().filter(|(id, target)| found.get(*id) != Some(target)) {
        let add = lambda.add_permission().function_name(name).statement_id(id);
        let added = add.action(ACTION).principal(CALLER).source_arn(target).send().await;
        idle(added, || format!("letting {target} call Lambda function ({name})"))?;
    }
    Ok(())
}

//! A bucket's policy. S3 tells policies of roles no tags of buckets, so that the bucket itself keeps out the roles of
//! other environments. Statements that others put beside ours stay.

use aws_sdk_s3::Client;
use serde_json::{Value, json};
use step::{Context, Doing, Error, Result};

/// The name of our statement.
const SID: &str = "PlinthKeepsOtherEnvironmentsOut";

/// Our statement on this bucket. Roles of environments, and nobody else, have the tag.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>
pub(crate) fn wanted(context: &Context, name: &str) -> Value {
    let arn = format!("arn:{}:s3:::{name}", context.partition());
    json!({
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": {
            "StringNotEquals": { "aws:PrincipalTag/plinth:environment": context.run.environment },
            "Null": { "aws:PrincipalTag/plinth:environment": "false" },
        },
    })
}

/// All statements of a bucket's policy; none if it has no policy.
pub(crate) async fn find(s3: &Client, name: &str) -> Result<Vec<Value>> {
    let doing = || format!("reading the policy of S3 bucket ({name})");
    let found = s3.get_bucket_policy().bucket(name).send().await;
    let found = found.unless_absent(&["NoSuchBucketPolicy"], doing)?;
    let Some(text) = found.and_then(|answer| answer.policy) else { return Ok(Vec::new()) };
    let document: Value =
        serde_json::from_str(&text).map_err(|error| Error::Failed(format!("{}: {error}", doing())))?;
    Ok(match document["Statement"].clone() {
        Value::Array(statements) => statements,
        Value::Null => Vec::new(),
        statement => vec![statement],
    })
}

/// Who may reach the bucket, as a plan tells it.
pub(crate) fn told(statements: &[Value], wanted: &Value) -> &'static str {
    if statements.contains(wanted) { "kept out" } else { "not kept out" }
}

/// Puts our statement among those that are there.
pub(crate) async fn put(s3: &Client, name: &str, found: &[Value], wanted: &Value) -> Result<()> {
    let others = found.iter().filter(|statement| statement["Sid"] != SID);
    let statements: Vec<&Value> = others.chain([wanted]).collect();
    let document = json!({ "Version": "2012-10-17", "Statement": statements });
    let put = s3.put_bucket_policy().bucket(name).policy(document.to_string()).send().await;
    put.doing(|| format!("keeping other environments out of S3 bucket ({name})"))?;
    Ok(())
}

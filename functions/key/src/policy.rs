//! Who may use the key.

use serde_json::{Value, json};
use step::Context;

/// The services that use the key for whoever they let in. Without this every role that reads a secret
/// would need a statement about the key too.
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service>
const VIA: [&str; 5] = ["secretsmanager", "ecr", "s3", "elasticfilesystem", "rds"];

/// The key's policy: the account's own policies hold, the services above use it on behalf of those who
/// may use them, and CloudWatch Logs encrypts the account's log groups.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html>
pub(crate) fn policy(context: &Context) -> Value {
    let (partition, account, region) = (context.partition(), &context.run.account, &context.run.region);
    let via: Vec<String> = VIA.iter().map(|service| format!("{service}.{region}.amazonaws.com")).collect();
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AccountsOwnPolicies",
                "Effect": "Allow",
                "Principal": { "AWS": format!("arn:{partition}:iam::{account}:root") },
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "ThroughServices",
                "Effect": "Allow",
                "Principal": { "AWS": "*" },
                "Action": [
                    "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                    "kms:CreateGrant", "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": { "StringEquals": { "kms:CallerAccount": account, "kms:ViaService": via } },
            },
            {
                "Sid": "Logs",
                "Effect": "Allow",
                "Principal": { "Service": format!("logs.{region}.amazonaws.com") },
                "Action": [
                    "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
                ],
                "Resource": "*",
                "Condition": {
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn":
                            format!("arn:{partition}:logs:{region}:{account}:log-group:*"),
                    },
                },
            },
        ],
    })
}

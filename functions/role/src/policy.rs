//! Policy documents: who may assume a role, and what it may do.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use spec::{Function, Oidc, Part, Reference, Section, Statement, Text};
use step::{Context, Result};

/// The service that starts tasks.
const TASKS: &str = "ecs-tasks.amazonaws.com";

/// The service that runs functions.
pub(crate) const LAMBDA: &str = "lambda.amazonaws.com";

/// The service that runs instances.
pub(crate) const EC2: &str = "ec2.amazonaws.com";

/// The longest name of a function.
const FUNCTION_LIMIT: usize = 64;

/// These services may assume the role.
pub(crate) fn trust(services: &[String]) -> Value {
    document(&[json!({
        "Effect": "Allow",
        "Principal": { "Service": services },
        "Action": "sts:AssumeRole",
    })])
}

/// ECS may assume the role, for tasks of this account.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>
pub(crate) fn task_trust(context: &Context) -> Value {
    document(&[json!({
        "Effect": "Allow",
        "Principal": { "Service": TASKS },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "aws:SourceAccount": context.run.account } },
    })])
}

/// Who has a token of this issuer, about this subject, may assume the role.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html>
pub(crate) fn federated(provider: &str, oidc: &Oidc) -> Value {
    let Oidc { issuer, subject, audience } = oidc;
    let is = |claim: &str, value: &str| json!({ format!("{issuer}:{claim}"): value });
    document(&[json!({
        "Effect": "Allow",
        "Principal": { "Federated": provider },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": is("aud", audience), "StringLike": is("sub", subject) },
    })])
}

/// What the spec's statements allow; none if there are none.
pub(crate) fn allow(context: &Context, statements: &[Statement]) -> Result<Option<Value>> {
    let statements: Vec<_> =
        statements.iter().map(|statement| rendered(context, statement)).collect::<Result<_>>()?;
    Ok((!statements.is_empty()).then(|| document(&statements)))
}

/// What a task's containers may do; running commands in them is asked for over a channel of theirs.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html>
pub(crate) fn task(context: &Context, exec: bool, statements: &[Statement]) -> Result<Option<Value>> {
    let mut statements: Vec<_> =
        statements.iter().map(|statement| rendered(context, statement)).collect::<Result<_>>()?;
    if exec {
        let channel = ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"];
        statements.push(allowed(&channel.map(|action| format!("ssmmessages:{action}")), &["*"]));
    }
    Ok((!statements.is_empty()).then(|| document(&statements)))
}

/// What a function may do: write to its log group, which is there before it, have interfaces in the network
/// it runs in, which can't be told from others', and what its spec says.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html>
pub(crate) fn function(context: &Context, key: &str, function: &Function) -> Result<Value> {
    let log_group = format!(
        "arn:{}:logs:{}:{}:log-group:/aws/lambda/{}:*",
        context.partition(),
        context.run.region,
        context.run.account,
        context.name(function.name.as_ref(), key, FUNCTION_LIMIT),
    );
    let mut statements = vec![allowed(&["logs:CreateLogStream", "logs:PutLogEvents"], &[log_group])];
    if function.vpc {
        let interfaces = [
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ];
        statements.push(allowed(&interfaces, &["*"]));
    }
    for statement in function.role.iter().flat_map(|role| &role.allow) {
        statements.push(rendered(context, statement)?);
    }
    Ok(document(&statements))
}

/// Push images to the environment's repositories, and read what is in them, as a push does to leave out what
/// is there.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html>
pub(crate) fn push(context: &Context) -> Result<Value> {
    let actions = [
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "CompleteLayerUpload",
        "DescribeImages",
        "GetDownloadUrlForLayer",
        "InitiateLayerUpload",
        "PutImage",
        "UploadLayerPart",
    ];
    let arn = |key: &String| {
        let output = context.known(context.outputs.repositories.get(key), &format!("repositories.{key}"))?;
        Ok(output.arn.clone())
    };
    let repositories: BTreeSet<String> = context.spec.repositories.keys().map(arn).collect::<Result<_>>()?;
    let repositories: Vec<String> = repositories.into_iter().collect();
    Ok(document(&[
        allowed(&["ecr:GetAuthorizationToken"], &["*"]),
        allowed(&actions.map(|action| format!("ecr:{action}")), &repositories),
    ]))
}

/// Mount the environment's file systems, by their tags: roles are made before their ids are known.
/// Sources: <https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html>,
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticfilesystem.html>
pub(crate) fn mount(context: &Context) -> Value {
    let actions = ["ClientMount", "ClientWrite", "ClientRootAccess"];
    let file_systems = format!(
        "arn:{}:elasticfilesystem:{}:{}:file-system/*",
        context.partition(),
        context.run.region,
        context.run.account,
    );
    let mut statement =
        allowed(&actions.map(|action| format!("elasticfilesystem:{action}")), &[file_systems]);
    let owner = context.owner();
    statement["Condition"] = json!({ "StringEquals": {
        "aws:ResourceTag/plinth:environment": owner.environment,
        "aws:ResourceTag/plinth:control-plane": owner.control_plane,
    } });
    document(&[statement])
}

fn rendered(context: &Context, statement: &Statement) -> Result<Value> {
    let resources: Vec<_> =
        statement.resources.iter().map(|text| context.render(text)).collect::<Result<_>>()?;
    Ok(allowed(&statement.actions, &resources))
}

/// A container, as far as ECS needs leave to start it: its image and its environment.
pub(crate) type Container<'a> = (&'a Text, &'a BTreeMap<String, Text>);

/// What ECS needs to start a task: its containers' images, their log group, the secrets they refer to.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html>
pub(crate) fn execution(context: &Context, log_group: &str, containers: &[Container<'_>]) -> Result<Value> {
    let log_group = format!(
        "arn:{}:logs:{}:{}:log-group:{log_group}:*",
        context.partition(),
        context.run.region,
        context.run.account,
    );
    let mut statements = vec![
        allowed(&["ecr:GetAuthorizationToken"], &["*"]),
        allowed(
            &["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            &repositories(context, containers)?,
        ),
        allowed(&["logs:CreateLogStream", "logs:PutLogEvents"], &[log_group]),
    ];
    let secrets = secrets(context, containers)?;
    if !secrets.is_empty() {
        statements.push(allowed(&["secretsmanager:GetSecretValue"], &secrets));
    }
    Ok(document(&statements))
}

/// The repositories the images come from; an image that is no reference may be in any.
fn repositories(context: &Context, containers: &[Container<'_>]) -> Result<Vec<String>> {
    let mut arns = BTreeSet::new();
    for (image, _) in containers {
        let repository = image.references().find(|found| found.section == Section::Repositories);
        let Some(repository) = repository else { return Ok(vec!["*".to_owned()]) };
        arns.insert(attribute(context, repository, &["arn"])?);
    }
    Ok(arns.into_iter().collect())
}

/// The secrets the environments refer to, whole or by one key.
fn secrets(context: &Context, containers: &[Container<'_>]) -> Result<Vec<String>> {
    let values = containers.iter().flat_map(|(_, environment)| environment.values());
    let secrets = values.filter_map(Text::whole).filter(|found| found.section == Section::Secrets);
    let arns: BTreeSet<_> = secrets.map(|secret| attribute(context, secret, &[])).collect::<Result<_>>()?;
    Ok(arns.into_iter().collect())
}

/// What the same reference stands for with another attribute.
fn attribute(context: &Context, reference: &Reference, attribute: &[&str]) -> Result<String> {
    let attribute = attribute.iter().map(|&word| word.to_owned()).collect();
    let reference = Reference { attribute, ..reference.clone() };
    context.render(&Text { parts: vec![Part::Reference(reference)] })
}

fn allowed(actions: &[impl AsRef<str>], resources: &[impl AsRef<str>]) -> Value {
    let actions: Vec<_> = actions.iter().map(AsRef::as_ref).collect();
    let resources: Vec<_> = resources.iter().map(AsRef::as_ref).collect();
    json!({ "Effect": "Allow", "Action": actions, "Resource": resources })
}

fn document(statements: &[Value]) -> Value {
    canonical(json!({ "Version": "2012-10-17", "Statement": statements }))
}

/// A document as IAM answers it: percent-encoded.
/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRolePolicy.html>
pub(crate) fn read(document: &str) -> Value {
    let text = percent_decode_str(document).decode_utf8_lossy();
    serde_json::from_str(&text).map_or_else(|_| Value::String(text.into_owned()), canonical)
}

/// The document in the one order we compare in. A list of one is the same to IAM as what it holds.
fn canonical(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<_> = values.into_iter().map(canonical).collect();
            values.sort_by_cached_key(Value::to_string);
            match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            }
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.into_iter().map(|(key, value)| (key, canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use step::{Operation, Outputs, RepositoryOutput, SecretOutput};

    use super::*;

    #[test]
    fn documents_are_compared_without_their_order_and_encoding() {
        let one = read("%7B%22Statement%22%3A%5B%7B%22Action%22%3A%5B%22b%22%2C%22a%22%5D%7D%5D%7D");
        assert_eq!(one, read(r#"{"Statement":{"Action":["a","b"]}}"#));
        assert_ne!(one, read(r#"{"Statement":{"Action":["a"]}}"#));
    }

    #[test]
    fn an_execution_role_reaches_its_image_its_logs_and_its_secrets() {
        let spec = r#"{ apiVersion: plinth/v1, name: demo, secrets: { key: {} }, repositories: { api: {} },
            services: { api: { image: "${repositories.api}:1", environment: {
                ONE: "${secrets.key.a}", TWO: "${secrets.key.b}", THREE: plain } } } }"#;
        let spec = spec::parse(spec, None).expect("a spec");
        let mut outputs = Outputs::default();
        outputs.secrets.insert("key".into(), SecretOutput { arn: "arn:key".into(), renewed: false });
        let repository = RepositoryOutput { arn: "arn:api".into(), ..RepositoryOutput::default() };
        outputs.repositories.insert("api".into(), repository);
        let context = step::test::context(Operation::Ensure, spec, outputs);
        let api = &context.spec.services["api"];
        let document =
            execution(&context, "/plinth/demo/api", &[(api.image.text().as_ref(), &api.environment)])
                .expect("a document");
        let resource = |action: &str| {
            let statements = document["Statement"].as_array().expect("statements");
            let found = statements.iter().find(|found| found["Action"].to_string().contains(action));
            found.map(|statement| statement["Resource"].as_str().expect("one resource").to_owned())
        };
        assert_eq!(resource("ecr:BatchGetImage").as_deref(), Some("arn:api"));
        assert_eq!(resource("secretsmanager:GetSecretValue").as_deref(), Some("arn:key"));
        assert_eq!(
            resource("logs:PutLogEvents").as_deref(),
            Some("arn:aws:logs:us-east-1:123456789012:log-group:/plinth/demo/api:*"),
        );
    }
}

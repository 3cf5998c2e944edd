//! Roles: who assumes them, and what they allow.

use std::collections::BTreeSet;

use super::Check;
use crate::{Part, REGIONS, Statement, Text};

pub(super) fn check(check: &mut Check<'_>) {
    roles(check);
    deployers(check);
}

fn roles(check: &mut Check<'_>) {
    for (key, role) in &check.spec.roles {
        for (index, service) in role.assumed_by.iter().enumerate() {
            if !is_service(service) {
                check.fault(
                    &["roles", key, "assumedBy", &index.to_string()],
                    format!("\"{service}\" is no AWS service; write one such as ecs-tasks.amazonaws.com"),
                );
            }
        }
        statements(check, &["roles", key], &role.allow, &role.policies);
    }
}

/// Whether this is the principal of an AWS service.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>
fn is_service(text: &str) -> bool {
    let name = text.strip_suffix(".amazonaws.com").or_else(|| text.strip_suffix(".amazonaws.com.cn"));
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    name.is_some_and(|name| name.split('.').all(plain))
}

/// The most characters that the statements written for a role may have.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const STATEMENTS: usize = 10_240;

pub(super) fn statements(check: &mut Check<'_>, path: &[&str], allow: &[Statement], policies: &[String]) {
    let mut characters = 0;
    for (index, statement) in allow.iter().enumerate() {
        let index = index.to_string();
        let path = [path, &["allow", &index]].concat();
        for action in &statement.actions {
            characters += action.len();
            if !is_action(action) {
                check.fault(&path, format!("\"{action}\" is no IAM action; write one such as s3:GetObject"));
            }
        }
        for (number, resource) in statement.resources.iter().enumerate() {
            characters += resource.to_string().len();
            if !is_resource(resource) {
                check.fault(
                    &[&path[..], &["resources", &number.to_string()]].concat(),
                    format!(
                        "\"{resource}\" is no ARN; write one such as arn:aws:s3:::my-bucket/*, a reference, or *"
                    ),
                );
            }
        }
    }
    if characters > STATEMENTS {
        check.fault(
            &[path, &["allow"]].concat(),
            format!(
                "IAM takes {STATEMENTS} characters of statements for a role, and these have {characters}"
            ),
        );
    }
    self::policies(check, path, policies);
}

fn policies(check: &mut Check<'_>, path: &[&str], policies: &[String]) {
    let mut seen = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let index = index.to_string();
        let path = [path, &["policies", &index]].concat();
        if !is_policy(policy) {
            check.fault(
                &path,
                format!(
                    "\"{policy}\" is no ARN of a managed policy; write one such as \
                     arn:aws:iam::aws:policy/ReadOnlyAccess"
                ),
            );
        }
        if !seen.insert(policy) {
            check.fault(&path, format!("{policy} is there twice"));
        }
    }
}

/// A service and an action of it, in which `*` and `?` stand for characters.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html>
fn is_action(action: &str) -> bool {
    let Some((service, name)) = action.split_once(':') else { return action == "*" };
    let of_service = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let of_name = |c: char| c.is_ascii_alphanumeric() || "*?_-".contains(c);
    !service.is_empty() && service.chars().all(of_service) && !name.is_empty() && name.chars().all(of_name)
}

/// An ARN with its six parts, which references may be part of, or `*`.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>
fn is_resource(resource: &Text) -> bool {
    match resource.parts.as_slice() {
        [Part::Reference(_), ..] => true,
        [Part::Literal(first), ..] => {
            let text = resource.to_string();
            let printable = text.chars().all(|c| ('!'..='~').contains(&c));
            text == "*" || (first.starts_with("arn:") && text.splitn(6, ':').count() == 6 && printable)
        }
        [] => false,
    }
}

/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachRolePolicy.html>
fn is_policy(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, rest] = parts.as_slice() else { return false };
    let known = REGIONS.iter().any(|(known, _)| known == partition);
    let account = *account == "aws" || (account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()));
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    let name = rest.strip_prefix("policy/").unwrap_or_default();
    known
        && account
        && !name.is_empty()
        && !name.ends_with('/')
        && name.chars().all(plain)
        && arn.len() <= 2048
}

fn deployers(check: &mut Check<'_>) {
    for (key, deployer) in &check.spec.deployers {
        if deployer.oidc.is_some() == deployer.user {
            check.fault(
                &["deployers", key],
                "say how it proves who it is: `oidc: { issuer: …, subject: … }`, or `user: true`",
            );
        }
        if check.spec.repositories.is_empty() {
            check.fault(&["deployers", key], "the spec has no repositories that it could push to");
        }
        let Some(oidc) = &deployer.oidc else { continue };
        let path = ["deployers", key, "oidc"];
        if !names_somebody(&oidc.subject) {
            check.fault(
                &[&path[..], &["subject"]].concat(),
                format!(
                    "\"{}\" admits anybody who has an account at {}; write whose tokens they are before the first \
                     *, such as repo:acme/app:*",
                    oidc.subject, oidc.issuer
                ),
            );
        }
        if oidc.audience.is_empty() || oidc.audience.contains(['*', '?', ' ']) {
            check.fault(
                &[&path[..], &["audience"]].concat(),
                "write the one audience that the tokens are for, without * and ?; sts.amazonaws.com if in doubt",
            );
        }
    }
}

/// Words that subjects begin with, whoever they are about.
const CLAIMS: [&str; 12] = [
    "repo",
    "repository",
    "repository_owner",
    "project",
    "project_path",
    "group",
    "organization",
    "org",
    "user",
    "system",
    "serviceaccount",
    "workspace",
];

/// Whether a subject says in full whom it is about: before the first character that stands for others, a part
/// between colons or slashes ends that is nobody else's.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_secure-by-default.html>
fn names_somebody(subject: &str) -> bool {
    let Some(star) = subject.find(['*', '?']) else { return !subject.trim().is_empty() };
    let mut parts: Vec<&str> = subject[..star].split([':', '/']).collect();
    parts.pop();
    parts.iter().any(|part| !part.is_empty() && !CLAIMS.contains(part))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("repo:acme/app:*", true)]
    #[case("repo:acme/*", true)]
    #[case("repo:acme/app:ref:refs/heads/main", true)]
    #[case("project_path:acme/app:ref_type:branch:ref:*", true)]
    #[case("org/3b1d/project/*", true)]
    #[case("*", false)]
    #[case("repo:*", false)]
    #[case("repo:acme*", false)]
    #[case("*:acme/app", false)]
    #[case("project_path:*/app", false)]
    #[case("repo:?cme/app", false)]
    fn a_subject_says_whom_it_is_about(#[case] subject: &str, #[case] fits: bool) {
        assert_eq!(names_somebody(subject), fits);
    }

    #[rstest]
    #[case("ecs-tasks.amazonaws.com", true)]
    #[case("ec2.amazonaws.com.cn", true)]
    #[case("evil.amazonaws.com.example.org", false)]
    #[case(".amazonaws.com", false)]
    #[case("https://ecs.amazonaws.com", false)]
    fn a_principal_is_a_service_of_aws(#[case] principal: &str, #[case] fits: bool) {
        assert_eq!(is_service(principal), fits);
    }

    #[rstest]
    #[case("*", true)]
    #[case("arn:aws:s3:::my-bucket/*", true)]
    #[case("${buckets.data.arn}/*", true)]
    #[case("arn:aws:logs:${region}:${account}:*", true)]
    #[case("my-bucket/*", false)]
    #[case("arn:aws:s3", false)]
    #[case("arn:aws:s3:::my bucket", false)]
    fn a_resource_is_an_arn(#[case] resource: &str, #[case] fits: bool) {
        assert_eq!(is_resource(&resource.parse().expect("a text")), fits);
    }
}

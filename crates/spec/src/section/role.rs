//! `roles`: IAM roles, and the statements they and services' own roles are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Text;

/// An IAM role of the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Role {
    /// Name of the IAM role. Default: `<environment>-<key>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9+=,.@_-]{1,64}$"))]
    pub name: Option<String>,
    /// The AWS services that may assume it, such as `ecs-tasks.amazonaws.com`.
    #[schemars(length(min = 1))]
    pub assumed_by: Vec<String>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Statement>,
    /// ARNs of managed policies to attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// Actions allowed on resources. A bare string is an action on every resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "StatementForm")]
#[schemars(with = "StatementForm")]
pub struct Statement {
    /// IAM actions, such as `s3:GetObject`; `*` stands for any characters.
    pub actions: Vec<String>,
    /// ARNs or references; `*` for every resource.
    pub resources: Vec<Text>,
}

/// The two ways to write a statement.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum StatementForm {
    /// An action on every resource.
    Action(String),
    /// Actions on resources.
    Full(FullStatement),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FullStatement {
    /// IAM actions.
    #[schemars(length(min = 1))]
    actions: Vec<String>,
    /// ARNs or references; every resource where absent.
    #[serde(default = "every_resource")]
    resources: Vec<Text>,
}

fn every_resource() -> Vec<Text> {
    vec![Text::literal("*")]
}

impl From<StatementForm> for Statement {
    fn from(form: StatementForm) -> Self {
        match form {
            StatementForm::Action(action) => Self { actions: vec![action], resources: every_resource() },
            StatementForm::Full(FullStatement { actions, resources }) => Self { actions, resources },
        }
    }
}

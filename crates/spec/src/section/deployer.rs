//! `deployers`: who may push images to the environment's repositories, and nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A CI system: an IAM role that it assumes with a token of its own (OIDC), or an IAM user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Deployer {
    /// Name of the IAM role or user. Default: `<environment>-<key>-deployer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9+=,.@_-]{1,64}$"))]
    pub name: Option<String>,
    /// Whose tokens are believed. The account has to know the issuer as an identity provider of IAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
    /// Whether it is a user, for a CI system without OIDC. Its access keys are made by hand, with
    /// `aws iam create-access-key`, and go with it.
    pub user: bool,
}

/// The tokens that are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Oidc {
    /// Who issues them, without https://, such as `token.actions.githubusercontent.com`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9.-]+\.[A-Za-z]+(/[A-Za-z0-9._/-]+)?$"), length(max = 247))]
    pub issuer: String,
    /// Whom they are about; `*` stands for any characters: `repo:acme/app:*`. Before the first `*` it says whose they
    /// are, or anybody with an account at the issuer would be admitted.
    #[schemars(length(min = 1))]
    pub subject: String,
    /// Whom they are for. Default: sts.amazonaws.com.
    #[serde(default = "audience")]
    pub audience: String,
}

fn audience() -> String {
    "sts.amazonaws.com".to_owned()
}

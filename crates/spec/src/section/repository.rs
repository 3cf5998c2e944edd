//! `repositories`: ECR repositories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// An ECR repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Repository {
    /// Name of the ECR repository. Default: `<environment>-<key>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]+([._/-][a-z0-9]+)*$"), length(min = 2, max = 256))]
    pub name: Option<String>,
    /// The key that this was under before. It keeps its data, and its name in AWS, which is made of that key:
    /// leave the line in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// Whether each pushed image is scanned for known vulnerabilities.
    pub scan_on_push: bool,
    /// Whether a tag may be moved to another image.
    pub mutable: bool,
    /// How many images to keep, the newest; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub keep: Option<u32>,
    /// What becomes of images that lost their tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<Untagged>,
    /// Whether destroying the environment deletes the repository with the images in it. Without it,
    /// a repository that holds images stands in the way.
    pub force_delete: bool,
}

impl Default for Repository {
    fn default() -> Self {
        Self {
            name: None,
            formerly: None,
            scan_on_push: true,
            mutable: false,
            keep: None,
            untagged: None,
            force_delete: false,
        }
    }
}

/// What becomes of images that lost their tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Untagged {
    /// After how long they are deleted, in whole days.
    pub expire: Duration,
}

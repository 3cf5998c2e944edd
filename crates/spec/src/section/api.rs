//! `apis`: REST APIs of API Gateway in front of an internal balancer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Text;

/// A REST API whose methods are handed on to a network load balancer over a VPC link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Api {
    /// Name of the REST API. Default: `<environment>-<key>`. It names nothing else: the VPC link and the API key are
    /// called after the environment and the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// The kind of API.
    #[serde(rename = "type", default)]
    pub kind: ApiKind,
    /// The network load balancer that answers: `${loadBalancers.x}`.
    pub link: Text,
    /// The stage its deployment is served at, a part of the URL.
    #[serde(default = "stage")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,128}$"))]
    pub stage: String,
    /// What it answers: `GET /path: {}`. `{name}` in a path stands for one part of it.
    #[schemars(length(min = 1))]
    pub routes: BTreeMap<String, Route>,
    /// Limits for callers. With it, every route requires an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_plan: Option<UsagePlan>,
}

fn stage() -> String {
    "live".to_owned()
}

/// The kind of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKind {
    /// API Gateway's REST API, regional.
    #[default]
    Rest,
}

/// How one route differs from what holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Route {
    /// The balancer's listener to send to, by its name; its only one where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

/// Limits for the callers of an API, and the key they need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UsagePlan {
    /// Name of the usage plan. Default: `<environment>-<key>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// How many requests a key may make in a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// How many requests may arrive at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub burst: Option<u32>,
    /// How many requests a second are let through on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub rate: Option<u32>,
}

/// How many requests a key may make in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The number of requests.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub limit: u32,
    /// The period.
    pub period: Period,
}

/// The period of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight to midnight, UTC.
    Day,
    /// From Sunday to Sunday.
    Week,
    /// From the first of a month to the next.
    Month,
}

//! The spec: the one file that describes an environment.
//!
//! This crate knows the language and nothing of AWS's API: its types (one file a section under
//! `section/`), parsing that remembers where everything stood, every fault that can be found
//! without asking AWS, references between sections, and the JSON Schema made from the types.

mod check;
pub mod fault;
mod foreign;
mod name;
mod normalise;
mod number;
pub mod parse;
mod pattern;
pub mod reference;
mod region;
pub mod schema;
pub mod section;
mod structure;
mod suggest;
mod syntax;
mod tree;
pub mod value;
mod wave;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use fault::{Fault, Faults, visible};
pub use name::{INSTANCES, cut, digits, job_word, name, name_of, role_word, service_word};
pub use parse::{SIZE_LIMIT, fault_at, parse, parse_bytes, parse_given, text};
pub use reference::{Part, Reference, Section, Text, keys_of_secret, named_services};
pub use region::{REGIONS, partition};
pub use schema::schema;
pub use section::api::{Api, ApiKind, Period, Quota, Route, UsagePlan};
pub use section::bucket::Bucket;
pub use section::certificate::Certificate;
pub use section::check::HttpCheck;
pub use section::cluster::{Capacity, Cluster, Instances};
pub use section::database::{Database, Engine, Serverless};
pub use section::deployer::{Deployer, Oidc};
pub use section::dns::Zone;
pub use section::expires::{Expires, Then};
pub use section::file_system::{AccessPoint, FileSystem, Throughput};
pub use section::function::Function;
pub use section::image::{Follow, Image};
pub use section::job::{Job, When};
pub use section::key::Key;
pub use section::load_balancer::{
    Balancer, Kind, Listener, Protocol, Receiver, Redirect, Rule, Scheme, Target, targets,
};
pub use section::network::{Nat, Network};
pub use section::repository::{Repository, Untagged};
pub use section::role::{Role, Statement};
pub use section::schedule::Schedule;
pub use section::secret::{Generate, Secret};
pub use section::service::{
    After, Architecture, Check, Condition, Deployment, Health, ImageFrom, Logs, NetworkMode, Placement,
    Scale, Service, ServiceRole, Sidecar,
};
pub use value::Duration;
pub use wave::{Wave, waves};

/// The most characters an environment's name may have: names of AWS resources are made from it.
pub const NAME_LIMIT: usize = 24;

/// A spec as its author means it, `plinth/v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// The language's version.
    pub api_version: ApiVersion,
    /// The environment's name: a–z, 0–9 and hyphens, at most 24 characters; also the object's name
    /// under `environments/`.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9]|-[a-z0-9])*$"), length(max = 24))]
    pub name: String,
    /// The AWS region to build in; the control plane's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The IAM role to build with, for an environment in another account: one that the control plane's parameter
    /// `BuildRoles` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Tags for every resource, beside Plinth's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether everything that keeps data (secrets, buckets, file systems, databases, private zones) is protected,
    /// as if each said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// The addresses of what may be deleted with its data, such as `databases.main`: where the spec drops it, or
    /// where a change can only be had from another, empty one. Otherwise such a spec is refused. Sections:
    /// `databases`, `buckets`, `fileSystems`, `secrets`, `repositories`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(
        pattern = r"^(databases|buckets|fileSystems|secrets|repositories)\.[a-z][a-z0-9-]*$"
    )))]
    pub allow_data_loss: Vec<String>,
    /// What happens by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long it stands; until its spec is deleted where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
    /// The VPC and what is in it. Made with its defaults where something needs a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// A KMS key of the environment's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Secrets Manager secrets, generated or put by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// IAM roles beside those that services bring themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Role>,
    /// ECR repositories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repositories: BTreeMap<String, Repository>,
    /// Who may push images to these repositories: roles or users for CI systems.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deployers: BTreeMap<String, Deployer>,
    /// S3 buckets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub buckets: BTreeMap<String, Bucket>,
    /// EFS file systems.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub file_systems: BTreeMap<String, FileSystem>,
    /// RDS instances and Aurora clusters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, Database>,
    /// ACM certificates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Certificate>,
    /// What holds for every log group that does not say otherwise.
    #[serde(default)]
    pub logs: Logs,
    /// Application and network load balancers, with their listeners.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub load_balancers: BTreeMap<String, Balancer>,
    /// The ECS cluster. Made with its defaults where there are services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Tasks that run once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, Job>,
    /// Lambda functions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Function>,
    /// ECS services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    /// API Gateway APIs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apis: BTreeMap<String, Api>,
    /// DNS records, by their zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dns: BTreeMap<String, Zone>,
    /// What must answer over HTTP in the end, as seen from outside the VPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<HttpCheck>,
}

/// The versions of the language this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "plinth/v1")]
    V1,
}

/// The key that names in AWS are made of: the one that something was under before, where the spec says so.
pub fn named_by<'a>(key: &'a str, formerly: Option<&'a String>) -> &'a str {
    formerly.map_or(key, String::as_str)
}

impl Spec {
    /// A spec of this name that describes nothing: what teardown makes of an environment.
    pub fn empty(name: &str) -> Self {
        Self {
            api_version: ApiVersion::V1,
            name: name.to_owned(),
            region: None,
            role: None,
            tags: BTreeMap::new(),
            protect: false,
            allow_data_loss: Vec::new(),
            schedule: None,
            expires: None,
            network: None,
            key: None,
            secrets: BTreeMap::new(),
            roles: BTreeMap::new(),
            repositories: BTreeMap::new(),
            deployers: BTreeMap::new(),
            buckets: BTreeMap::new(),
            file_systems: BTreeMap::new(),
            databases: BTreeMap::new(),
            certificates: BTreeMap::new(),
            logs: Logs::default(),
            load_balancers: BTreeMap::new(),
            cluster: None,
            jobs: BTreeMap::new(),
            functions: BTreeMap::new(),
            services: BTreeMap::new(),
            apis: BTreeMap::new(),
            dns: BTreeMap::new(),
            checks: Vec::new(),
        }
    }

    /// The account of the role to build with; none without one, or if it is no role's ARN.
    pub fn role_account(&self) -> Option<&str> {
        let parts: Vec<&str> = self.role.as_deref()?.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, "iam", "", account, name]
                if account.len() == 12
                    && account.bytes().all(|digit| digit.is_ascii_digit())
                    && name.strip_prefix("role/").is_some_and(|name| !name.is_empty()) =>
            {
                Some(account)
            }
            _ => None,
        }
    }
}

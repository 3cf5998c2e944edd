//! What steps learn that later steps need, by section. Never a secret's value.
//!
//! Outputs travel through a state machine whose whole state AWS limits to 256 KiB: what grows with
//! the number of services (roles, log groups, task definitions) is derived from names instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Every section's output so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outputs {
    /// Of `network`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkOutput>,
    /// Of `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyOutput>,
    /// Of `secrets`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub secrets: BTreeMap<String, SecretOutput>,
    /// Of `repositories`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub repositories: BTreeMap<String, RepositoryOutput>,
    /// Of `buckets`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub buckets: BTreeMap<String, BucketOutput>,
    /// Of `fileSystems`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub file_systems: BTreeMap<String, FileSystemOutput>,
    /// Of `databases`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub databases: BTreeMap<String, DatabaseOutput>,
    /// Of `certificates`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub certificates: BTreeMap<String, CertificateOutput>,
    /// Of `loadBalancers`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub load_balancers: BTreeMap<String, LoadBalancerOutput>,
    /// Of `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterOutput>,
    /// Of `functions`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub functions: BTreeMap<String, FunctionOutput>,
    /// Of `apis`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub apis: BTreeMap<String, ApiOutput>,
}

/// A section that a spec lacks has the output null.
fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What is known of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOutput {
    /// The VPC's id.
    pub vpc: String,
    /// The VPC's addresses.
    pub cidr: String,
    /// Ids of the public subnets, in the order of the spec.
    pub public: Vec<String>,
    /// Ids of the private subnets, in the order of the spec.
    pub private: Vec<String>,
    /// The id of the security group that services share.
    pub group: String,
}

/// What is known of the KMS key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOutput {
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
}

/// What is known of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretOutput {
    /// Its ARN.
    pub arn: String,
    /// In a plan, whether the run will give it another value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renewed: bool,
}

/// What is known of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryOutput {
    /// Its name in ECR.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What an image's name begins with.
    pub uri: String,
}

/// What is known of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketOutput {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
}

/// What is known of a file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystemOutput {
    /// Its id.
    pub id: String,
    /// The ids of its access points, by name.
    #[serde(default)]
    pub access_points: BTreeMap<String, String>,
}

/// What is known of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseOutput {
    /// Where it answers.
    pub host: String,
    /// The port it listens on.
    pub port: u16,
}

/// What is known of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateOutput {
    /// Its ARN.
    pub arn: String,
    /// The records that validate it, for a DNS that isn't ours; none where Plinth writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordOutput>,
}

/// A DNS record for the user to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOutput {
    /// Its name.
    pub name: String,
    /// Its type, such as `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    pub value: String,
}

/// What is known of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerOutput {
    /// Its ARN.
    pub arn: String,
    /// Its DNS name.
    pub host: String,
    /// The ARNs of its target groups, by `<service>-<port>`.
    #[serde(default)]
    pub targets: BTreeMap<String, String>,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterOutput {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The id of the Cloud Map namespace in which services have names; none where no name is referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What is known of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionOutput {
    /// Its ARN.
    pub arn: String,
}

/// What is known of an API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiOutput {
    /// Its id.
    pub id: String,
    /// Where it answers.
    pub url: String,
    /// The id of the key callers need; its value is read with `aws apigateway get-api-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

//! `network`: the VPC and what is in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network of an environment: made for it, or one that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Network {
    /// The id of a VPC that exists, to build in instead of making one. `public` and `private` then
    /// name subnets of it by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^vpc-[0-9a-f]{8,17}$"))]
    pub vpc: Option<String>,
    /// The addresses of a new VPC, /16 to /28; 10.0.0.0/16 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Over how many availability zones the subnets of a new VPC are spread, 1 to 6. More may be written later: the
    /// subnets that stand keep their addresses, and new ones take addresses that are free.
    #[schemars(range(min = 1, max = 6))]
    pub zones: u8,
    /// Subnets that the internet gateway serves, one a zone: address ranges in a new VPC (cut from
    /// `cidr` where absent), subnet ids in one that exists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public: Vec<String>,
    /// Subnets that the internet does not reach, one a zone, written like `public`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<String>,
    /// How private subnets of a new VPC reach the internet.
    pub nat: Nat,
    /// AWS services to reach without the internet, in the words of their endpoints: `s3` and
    /// `dynamodb` become gateway endpoints on the private route tables, all others (`ecr.api`,
    /// `logs`, …) interface endpoints in the private subnets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            vpc: None,
            cidr: None,
            zones: 2,
            public: Vec::new(),
            private: Vec::new(),
            nat: Nat::Single,
            endpoints: Vec::new(),
        }
    }
}

/// How private subnets reach the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// Not at all.
    None,
    /// Through one NAT gateway in the first zone: cheaper, and gone with that zone.
    Single,
    /// Through a NAT gateway in each zone.
    PerZone,
}

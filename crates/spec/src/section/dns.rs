//! `dns`: records in hosted zones of Route 53, by the zone's name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Text;

/// A zone and records in it. A public zone exists already, and only our records in it come and go; a
/// private one is made for the environment, and answers in its VPC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Zone {
    /// Whether the zone is the environment's own, and answers in its VPC alone.
    pub private: bool,
    /// Whether a private zone stays when the spec drops it or the environment goes; its records go.
    pub protect: bool,
    /// What each name stands for, without the zone's own name; `@` is the zone itself. A load balancer,
    /// `${loadBalancers.x}`, becomes an alias for IPv4 and IPv6, anything else a CNAME.
    pub records: BTreeMap<String, Text>,
}

//! `loadBalancers`: application and network load balancers, their listeners, and the target groups
//! these imply.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Reference, Section, Spec, Text};

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Balancer {
    /// The balancer's name; `<environment>-<address>` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$"))]
    pub name: Option<String>,
    /// What it balances.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// From where it is reached. It stands in public subnets when internet-facing, in private ones
    /// otherwise.
    pub scheme: Scheme,
    /// Its listeners, each by a name of your choice.
    #[serde(default)]
    pub listeners: BTreeMap<String, Listener>,
}

/// What a load balancer balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// HTTP requests.
    Application,
    /// TCP connections.
    Network,
}

/// From where a load balancer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From the VPC alone.
    Internal,
    /// From the internet.
    InternetFacing,
}

/// A port a balancer listens on, and where what arrives there goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Listener {
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// `HTTP` on an application balancer, `TCP` on a network one; that where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The service that answers: `${services.x}` at its first port, `${services.x.8080}` at another.
    pub default: Text,
}

/// A listener's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// HTTP, on application load balancers.
    Http,
    /// TCP, on network load balancers.
    Tcp,
}

impl Balancer {
    /// The protocol of a listener of this balancer, said or implied.
    pub fn protocol(&self, listener: &Listener) -> Protocol {
        listener.protocol.unwrap_or(match self.kind {
            Kind::Application => Protocol::Http,
            Kind::Network => Protocol::Tcp,
        })
    }
}

/// A service's port that a balancer sends to: one target group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The balancer's name in the spec.
    pub balancer: String,
    /// The service's name in the spec.
    pub service: String,
    /// The container's port.
    pub port: u16,
    /// The protocol between the balancer and the service.
    pub protocol: Protocol,
}

impl Target {
    /// The target group's address: `loadBalancers.internal.targets.app-80`.
    pub fn address(&self) -> String {
        format!("loadBalancers.{}.targets.{}-{}", self.balancer, self.service, self.port)
    }

    /// The target that a listener's reference means; none if it names no port of a service.
    pub fn of(spec: &Spec, balancer: &str, listener: &Listener) -> Option<Self> {
        let Reference { section: Section::Services, name: Some(service), attribute } =
            listener.default.whole()?
        else {
            return None;
        };
        let ports = &spec.services.get(service)?.ports;
        let port = match attribute.as_slice() {
            [] => *ports.first()?,
            [port] => port.parse().ok().filter(|port| ports.contains(port))?,
            _ => return None,
        };
        Some(Self {
            balancer: balancer.to_owned(),
            service: service.clone(),
            port,
            protocol: spec.load_balancers.get(balancer)?.protocol(listener),
        })
    }
}

/// Every target of every listener, each once, in a stable order.
pub fn targets(spec: &Spec) -> Vec<Target> {
    let mut targets: Vec<Target> = spec
        .load_balancers
        .iter()
        .flat_map(|(name, balancer)| balancer.listeners.values().map(move |listener| (name, listener)))
        .filter_map(|(name, listener)| Target::of(spec, name, listener))
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

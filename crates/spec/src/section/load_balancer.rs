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
    /// Name of the load balancer. Default: `<environment>-<key>`. It names nothing else: target groups and the security
    /// group are called after the environment and the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$"))]
    pub name: Option<String>,
    /// Whether a balancer of this `name` exists already and belongs to somebody else. Rules and certificates
    /// are put on its listeners; nothing else of it is touched.
    #[serde(default)]
    pub existing: bool,
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
    /// `HTTP` or `HTTPS` on an application balancer, `TCP` on a network one. Where absent, `HTTPS` with
    /// certificates, else `HTTP` or `TCP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The certificates of an HTTPS listener, the first for who names no host: `${certificates.x}`, or the
    /// ARN of one that exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Text>,
    /// AWS's security policy of an HTTPS listener: the versions of TLS and the ciphers it accepts. Default:
    /// `ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09` (TLS 1.3 and 1.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^ELBSecurityPolicy-[A-Za-z0-9-]{1,80}$"))]
    pub security_policy: Option<String>,
    /// Who answers what no rule sends elsewhere: `${services.x}` at its first port, `${services.x.8080}` at
    /// another, or a function, `${functions.x}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Text>,
    /// Sends whoever comes to the same place over HTTPS, in place of a `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Rules, each by a name of your choice, on an application balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Rule>,
}

/// Where a listener sends whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// To the same host, path and query over HTTPS, for good (301).
    Https,
}

/// A rule of a listener: requests to one of these hosts and one of these paths go to `to`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    /// Hosts, in which `*` stands for any characters; any host where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Paths, in which `*` stands for any characters; any path where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Who answers: `${services.x}`, `${services.x.8080}` or `${functions.x}`.
    pub to: Text,
    /// Rules are tried from the smallest number on; where absent, after those that have one, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50000))]
    pub priority: Option<i32>,
}

/// A listener's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// HTTP, on application load balancers.
    Http,
    /// HTTP over TLS, on application load balancers.
    Https,
    /// TCP, on network load balancers.
    Tcp,
}

/// The security policy of HTTPS listeners for which the spec writes none: the one that AWS's console proposes.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html>
const SECURITY_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09";

impl Balancer {
    /// The security policy of a listener of this balancer, said or implied; none where it speaks no TLS.
    pub fn security_policy<'a>(&self, listener: &'a Listener) -> Option<&'a str> {
        let https = self.protocol(listener) == Protocol::Https;
        https.then(|| listener.security_policy.as_deref().unwrap_or(SECURITY_POLICY))
    }

    /// The protocol of a listener of this balancer, said or implied.
    pub fn protocol(&self, listener: &Listener) -> Protocol {
        listener.protocol.unwrap_or(match self.kind {
            Kind::Application if listener.certificates.is_empty() => Protocol::Http,
            Kind::Application => Protocol::Https,
            Kind::Network => Protocol::Tcp,
        })
    }
}

/// What a balancer sends to: one target group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The balancer's name in the spec.
    pub balancer: String,
    /// Who answers.
    pub receiver: Receiver,
    /// Whether HTTP is spoken to it, or TCP.
    pub http: bool,
}

/// Who answers what a balancer takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// A service.
    Service {
        /// Its name in the spec.
        name: String,
        /// The container's port.
        port: u16,
        /// Whether the reference says the port; the service's first one where it doesn't.
        said: bool,
    },
    /// A function, by its name in the spec.
    Function(String),
}

impl Target {
    /// What tells it from the balancer's others: `app`, `app.9090` where the reference says the port, or
    /// `function.index`. A service whose first port changes keeps its target group.
    pub fn word(&self) -> String {
        match &self.receiver {
            Receiver::Service { name, port, said: true } => format!("{name}.{port}"),
            Receiver::Service { name, said: false, .. } => name.clone(),
            Receiver::Function(name) => format!("function.{name}"),
        }
    }

    /// The target group's address: `loadBalancers.internal.targets.app`.
    pub fn address(&self) -> String {
        format!("loadBalancers.{}.targets.{}", self.balancer, self.word())
    }

    /// The service, and its port, that answers; none if a function does.
    pub fn service(&self) -> Option<(&str, u16)> {
        match &self.receiver {
            Receiver::Service { name, port, .. } => Some((name, *port)),
            Receiver::Function(_) => None,
        }
    }

    /// The target that a reference on a balancer means; none if it names neither a port of a service nor a
    /// function.
    pub fn of(spec: &Spec, balancer: &str, to: &Text) -> Option<Self> {
        let Reference { section, name: Some(name), attribute } = to.whole()? else { return None };
        let receiver = match section {
            Section::Services => {
                let ports = &spec.services.get(name)?.ports;
                let port = match attribute.as_slice() {
                    [] => *ports.first()?,
                    [port] => port.parse().ok().filter(|port| ports.contains(port))?,
                    _ => return None,
                };
                Receiver::Service { name: name.clone(), port, said: !attribute.is_empty() }
            }
            Section::Functions if spec.functions.contains_key(name) => Receiver::Function(name.clone()),
            _ => return None,
        };
        let http = spec.load_balancers.get(balancer)?.kind == Kind::Application;
        Some(Self { balancer: balancer.to_owned(), receiver, http })
    }
}

/// Every target of every listener, each once, in a stable order.
pub fn targets(spec: &Spec) -> Vec<Target> {
    let of_listener = |listener: &Listener| -> Vec<Text> {
        listener.default.iter().chain(listener.rules.values().map(|rule| &rule.to)).cloned().collect()
    };
    let mut targets: Vec<Target> = spec
        .load_balancers
        .iter()
        .flat_map(|(name, balancer)| balancer.listeners.values().map(move |listener| (name, listener)))
        .flat_map(|(name, listener)| of_listener(listener).into_iter().map(move |to| (name, to)))
        .filter_map(|(name, to)| Target::of(spec, name, &to))
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

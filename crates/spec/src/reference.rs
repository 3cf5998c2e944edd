//! References: `${services.api.host}` in a string of the spec.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::{fault::cut, suggest::instead};

/// What a reference can begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `${environment}`: the environment's name.
    Environment,
    /// `${region}`: the region it is built in.
    Region,
    /// `${account}`: the account it is built in.
    Account,
    /// `${network.vpc}`: the VPC's id.
    Network,
    /// `${key.arn}`: the KMS key's ARN; `.id`: its id.
    Key,
    /// `${secrets.x}`: a secret; `${secrets.x.key}`: one key of its JSON value.
    Secrets,
    /// `${roles.x}`: a role's ARN.
    Roles,
    /// `${repositories.x}`: a repository's URI; `.arn`: its ARN.
    Repositories,
    /// `${buckets.x}`: a bucket's name; `.arn`: its ARN.
    Buckets,
    /// `${fileSystems.x}`: a file system to mount; `${fileSystems.x.y}`: an access point of it.
    FileSystems,
    /// `${databases.x.host}`: where a database answers; `.port`: its port; `.name`: the database in it.
    Databases,
    /// `${certificates.x}`: a certificate.
    Certificates,
    /// `${loadBalancers.x}`: a balancer; `.host`: its DNS name.
    LoadBalancers,
    /// `${cluster.name}`: the cluster's name; `.arn`: its ARN.
    Cluster,
    /// `${functions.x}`: a function as a target.
    Functions,
    /// `${services.x}`: a service as a target; `.host`: its name in the VPC.
    Services,
    /// `${apis.x.url}`: where an API answers.
    Apis,
}

impl Section {
    /// Every section, in the order of the spec.
    pub const ALL: [Self; 17] = [
        Self::Environment,
        Self::Region,
        Self::Account,
        Self::Network,
        Self::Key,
        Self::Secrets,
        Self::Roles,
        Self::Repositories,
        Self::Buckets,
        Self::FileSystems,
        Self::Databases,
        Self::Certificates,
        Self::LoadBalancers,
        Self::Cluster,
        Self::Functions,
        Self::Services,
        Self::Apis,
    ];

    /// The word the spec uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Region => "region",
            Self::Account => "account",
            Self::Network => "network",
            Self::Key => "key",
            Self::Secrets => "secrets",
            Self::Roles => "roles",
            Self::Repositories => "repositories",
            Self::Buckets => "buckets",
            Self::FileSystems => "fileSystems",
            Self::Databases => "databases",
            Self::Certificates => "certificates",
            Self::LoadBalancers => "loadBalancers",
            Self::Cluster => "cluster",
            Self::Functions => "functions",
            Self::Services => "services",
            Self::Apis => "apis",
        }
    }

    /// Whether its parts have names: `services.api`, but plain `cluster`.
    pub const fn named(self) -> bool {
        matches!(
            self,
            Self::Secrets
                | Self::Roles
                | Self::Repositories
                | Self::Buckets
                | Self::FileSystems
                | Self::Databases
                | Self::Certificates
                | Self::LoadBalancers
                | Self::Functions
                | Self::Services
                | Self::Apis
        )
    }
}

/// One `${…}`: a section, the part of it that is meant, and what of that part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The section.
    pub section: Section,
    /// The name inside it, for sections whose parts have names.
    pub name: Option<String>,
    /// What follows: `["host"]`, `["password"]`; empty for the thing itself.
    pub attribute: Vec<String>,
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split('.').map(str::to_owned);
        let first = words.next().unwrap_or_default();
        let section = Section::ALL.into_iter().find(|section| section.word() == first).ok_or_else(|| {
            let known: Vec<_> = Section::ALL.into_iter().map(Section::word).collect();
            let shown = cut(text);
            format!(
                "${{{shown}}}: \"{}\" is nothing to refer to; {}; write $${{{shown}}} if this is to be text",
                cut(&first),
                instead(&first, &known)
            )
        })?;
        let name = if section.named() {
            let example = section.word();
            let lacks = || format!("${{{text}}} lacks a name: write ${{{example}.x}} for the x of {example}");
            Some(words.next().ok_or_else(lacks)?)
        } else {
            None
        };
        let attribute: Vec<_> = words.collect();
        if name.iter().chain(&attribute).any(String::is_empty) {
            return Err(format!("${{{}}} has an empty part between its dots", cut(text)));
        }
        Ok(Self { section, name, attribute })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section.word())?;
        self.name.iter().chain(&self.attribute).try_for_each(|word| write!(f, ".{word}"))
    }
}

/// A string of the spec with references in it. `$${` stands for a plain `${`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// Its parts in order.
    pub parts: Vec<Part>,
}

/// A part of a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Characters that stand for themselves.
    Literal(String),
    /// A `${…}`.
    Reference(Reference),
}

impl Text {
    /// A text without references.
    pub fn literal(text: &str) -> Self {
        Self { parts: vec![Part::Literal(text.to_owned())] }
    }

    /// The reference this text consists of, if it is one and nothing else.
    pub fn whole(&self) -> Option<&Reference> {
        match self.parts.as_slice() {
            [Part::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Literal(_) => None,
        })
    }

    /// The text with each reference replaced by what `resolve` says of it.
    pub fn render<E>(&self, mut resolve: impl FnMut(&Reference) -> Result<String, E>) -> Result<String, E> {
        self.parts.iter().try_fold(String::new(), |mut text, part| {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Reference(reference) => text.push_str(&resolve(reference)?),
            }
            Ok(text)
        })
    }
}

impl FromStr for Text {
    type Err = String;

    /// All that is wrong with the references of a text is told.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut wrong: Vec<String> = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                literal.push_str(&rest[..at - 1]);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let Some((inside, after)) = rest[at + 2..].split_once('}') else {
                let begun = cut(&rest[at..]);
                wrong.push(format!(
                    "\"{begun}\" begins a reference that no }} ends; write $${{ if ${{ is to be text"
                ));
                rest = "";
                break;
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            match inside.trim().parse() {
                Ok(reference) => parts.push(Part::Reference(reference)),
                Err(message) => {
                    wrong.push(message);
                    if wrong.len() == TOLD {
                        break;
                    }
                }
            }
            rest = after;
        }
        if !wrong.is_empty() {
            wrong.dedup();
            return Err(wrong.join("; and "));
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }
}

/// How many wrong references of one text are told.
const TOLD: usize = 5;

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(literal) => f.write_str(&literal.replace("${", "$${")),
            Part::Reference(reference) => write!(f, "${{{reference}}}"),
        })
    }
}

/// The keys of a secret's value that a spec refers to, `${secrets.x.key}`, wherever that stands.
pub fn keys_of_secret(spec: &crate::Spec, secret: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(&serde_json::to_value(spec).unwrap_or_default(), &mut |reference| {
        if reference.section == Section::Secrets && reference.name.as_deref() == Some(secret) {
            found.extend(reference.attribute.first().cloned());
        }
    });
    found
}

/// The services whose names in the VPC a spec refers to, `${services.x.host}`, wherever that stands.
pub fn named_services(spec: &crate::Spec) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(&serde_json::to_value(spec).unwrap_or_default(), &mut |reference| {
        if reference.section == Section::Services && reference.attribute == ["host"] {
            found.extend(reference.name.clone());
        }
    });
    found
}

/// Calls `take` with each reference of a spec.
fn collect(value: &Value, take: &mut impl FnMut(&Reference)) {
    match value {
        Value::String(text) => {
            let Ok(text) = text.parse::<Text>() else { return };
            text.references().for_each(take);
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, take)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, take)),
        _ => {}
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean"],
            "description": "Text, in which ${section.name} refers to another part of the spec.",
        })
    }
}

//! Ownership: three tags on everything that can carry them.

use std::collections::BTreeMap;

use crate::{Error, Field, Result};

/// The tag that names the environment.
pub const ENVIRONMENT: &str = "plinth:environment";
/// The tag that names the address inside it.
pub const ADDRESS: &str = "plinth:address";
/// The tag that names the control plane: its bucket.
pub const CONTROL_PLANE: &str = "plinth:control-plane";

/// The tag that says whether a resource is protected: `true` or `false`. It is believed whatever the spec says
/// when the resource is dropped.
pub const PROTECT: &str = "plinth:protect";

/// The tag that says where a secret's value comes from: `generated`, `composed` or `by-hand`.
pub const VALUE: &str = "plinth:value";

/// Whether these tags say that a resource is protected.
pub fn is_protected(tags: &BTreeMap<String, String>) -> bool {
    tags.get(PROTECT).is_some_and(|protect| protect == "true")
}

/// Whose resources a run works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The environment's name.
    pub environment: String,
    /// The control plane's bucket.
    pub control_plane: String,
}

impl Owner {
    /// The tags a resource at this address carries from its first moment on.
    pub fn tags(&self, address: &str) -> BTreeMap<String, String> {
        [(ENVIRONMENT, self.environment.as_str()), (ADDRESS, address), (CONTROL_PLANE, &self.control_plane)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The address of a resource with these tags, if it is ours.
    pub fn address<'a>(&self, tags: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let ours = tags.get(ENVIRONMENT) == Some(&self.environment)
            && tags.get(CONTROL_PLANE) == Some(&self.control_plane);
        tags.get(ADDRESS).filter(|_| ours).map(String::as_str)
    }

    /// Refuses a resource that has our name and not our tags: `what` is "ECS cluster (demo)".
    pub fn check(&self, what: &str, tags: &BTreeMap<String, String>) -> Result<()> {
        if self.address(tags).is_some() {
            return Ok(());
        }
        let holder = match (tags.get(ENVIRONMENT), tags.get(CONTROL_PLANE)) {
            (Some(environment), Some(control_plane)) => {
                format!("environment {environment} of {control_plane}")
            }
            _ => "somebody else".to_owned(),
        };
        Err(Error::Conflict(format!("{what} exists and belongs to {holder}: {}", remedy(what))))
    }
}

/// What to do about a resource of somebody else that has our name. It is theirs to delete, not ours.
fn remedy(what: &str) -> &'static str {
    let is = |kinds: &[&str]| kinds.iter().any(|kind| what.starts_with(kind));
    if is(&["ECS cluster", "load balancer"]) {
        "write `existing: true` beside its `name` to use it as it is, or give ours another `name`"
    } else if is(&["log group"]) {
        "give ours another name, `logs: { group: … }`"
    } else if is(&[
        "target group",
        "Cloud Map service",
        "task definition",
        "IAM instance profile",
        "schedule group",
    ]) {
        "ours is named after the environment and its key in the spec: give one of them another name"
    } else if is(&["Auto Scaling group", "launch template", "ECS capacity provider"]) {
        "ours is named after the environment: give that another `name`"
    } else {
        "give ours another name with `name:`"
    }
}

/// A field for each wanted tag that a resource lacks or has with another value. Tags the spec doesn't
/// mention are left alone.
pub fn missing_tags(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<Field> {
    let differs = |(key, _): &(&String, &String)| found.get(*key) != wanted.get(*key);
    let field = |(key, value): (&String, &String)| Field {
        name: format!("tags.{key}"),
        found: found.get(key).cloned(),
        wanted: value.clone(),
    };
    wanted.iter().filter(differs).map(field).collect()
}

//! `fileSystems`: EFS file systems and their access points.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An EFS file system: encrypted, with a mount target in each zone of the network, open to the
/// environment's services alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FileSystem {
    /// The key that this was under before. It keeps its data, and its name in AWS, which is made of that key:
    /// leave the line in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// How its throughput is settled.
    pub throughput: Throughput,
    /// Its access points, each by a name of your choice: directories that services mount.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub access_points: BTreeMap<String, AccessPoint>,
    /// Whether the file system stays when the spec drops it or the environment goes. To delete it, apply it with
    /// `protect: false` first.
    pub protect: bool,
}

/// How a file system's throughput is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Throughput {
    /// It grows with what is stored, with bursts.
    #[default]
    Bursting,
    /// As much as is asked for, paid by what is read and written.
    Elastic,
}

/// A directory of a file system that is mounted as a file system of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AccessPoint {
    /// The directory, such as `/data`: at most four names, none of which begins with a dot, without spaces and
    /// `$ # < > ; & | ? { } ^ *` or a backquote. It is made when it is first mounted.
    #[schemars(regex(pattern = r"^(/[^$#<>;`|&?{}^*/.\s][^$#<>;`|&?{}^*/\s]*){1,4}$"), length(max = 100))]
    pub path: String,
    /// The user and group, as numbers, that own the directory and that everything is done as: `1000:1000`.
    #[schemars(regex(pattern = r"^[0-9]{1,10}:[0-9]{1,10}$"))]
    pub owner: String,
    /// The directory's permissions, in octal.
    #[serde(default = "mode")]
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: String,
}

fn mode() -> String {
    "0755".to_owned()
}

impl AccessPoint {
    /// The owner's user and group; none if they are no numbers.
    pub fn ids(&self) -> Option<(i64, i64)> {
        let (user, group) = self.owner.split_once(':')?;
        Some((user.parse().ok()?, group.parse().ok()?))
    }
}

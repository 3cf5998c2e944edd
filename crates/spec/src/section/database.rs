//! `databases`: RDS instances and Aurora clusters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Text};

/// A database: an Aurora cluster with one instance, or a plain RDS instance. Encrypted, in the private
/// subnets, open to the environment's services alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Database {
    /// Identifier of the instance or Aurora cluster in RDS. Default: `<environment>-<key>`. It also begins
    /// the names of an Aurora cluster's instance and of the last snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9]|-[a-z0-9])*$"), length(max = 63))]
    pub name: Option<String>,
    /// The key that this was under before. It keeps its data, and its name in AWS, which is made of that key:
    /// leave the line in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
    /// What it runs.
    pub engine: Engine,
    /// The engine's version: a whole one, "16.4", or how it begins, "16", which stands for the newest that
    /// AWS offers. A database with a newer version keeps it. Default: the newest of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9][0-9A-Za-z._-]*$"))]
    pub version: Option<String>,
    /// Aurora Serverless v2, which grows and shrinks; for Aurora engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serverless: Option<Serverless>,
    /// The instance's class, such as `db.t4g.micro`; where it isn't serverless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^db\.[a-z0-9-]+\.[a-z0-9]+$"))]
    pub instance: Option<String>,
    /// Storage in GiB, of a plain RDS instance; Aurora's grows by itself. It never shrinks, and grows by a tenth at
    /// least. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<u32>,
    /// Name of the database that is made in it: a letter, and then at most 62 letters, digits and `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"))]
    pub database: Option<String>,
    /// The secret that holds the master user's name and password: `${secrets.x}`, one that is generated
    /// with a `username`.
    pub credentials: Text,
    /// The port; the engine's usual one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1150))]
    pub port: Option<u16>,
    /// Whether a plain RDS instance has a standby in another zone.
    #[serde(default)]
    pub multi_zone: bool,
    /// How long daily backups are kept, `1d` to `35d`; `7d` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Duration>,
    /// The snapshot to begin from, by its identifier or ARN. It counts when the database is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// Whether a last snapshot is taken when the database is deleted.
    #[serde(default = "yes")]
    pub final_snapshot: bool,
    /// Whether it stays when the spec drops it or the environment goes; AWS itself refuses to delete it. To delete
    /// it, apply it with `protect: false` first.
    #[serde(default)]
    pub protect: bool,
}

fn yes() -> bool {
    true
}

/// What a database runs, in RDS's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Aurora that speaks PostgreSQL.
    AuroraPostgresql,
    /// Aurora that speaks MySQL.
    AuroraMysql,
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Engine {
    /// Its name in RDS.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AuroraPostgresql => "aurora-postgresql",
            Self::AuroraMysql => "aurora-mysql",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// Whether it is a cluster with instances in it.
    pub const fn is_aurora(self) -> bool {
        matches!(self, Self::AuroraPostgresql | Self::AuroraMysql)
    }

    /// Whether it speaks PostgreSQL, or else MySQL.
    pub const fn is_postgres(self) -> bool {
        matches!(self, Self::AuroraPostgresql | Self::Postgres)
    }

    /// The port it usually listens on.
    pub const fn port(self) -> u16 {
        match self {
            Self::AuroraPostgresql | Self::Postgres => 5432,
            Self::AuroraMysql | Self::Mysql | Self::Mariadb => 3306,
        }
    }
}

/// The capacity of Aurora Serverless v2, in Aurora capacity units (ACU) of about 2 GiB of memory each, in
/// steps of a half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serverless {
    /// The least.
    #[schemars(range(min = 0, max = 256))]
    pub min: f64,
    /// The most.
    #[schemars(range(min = 1, max = 256))]
    pub max: f64,
}

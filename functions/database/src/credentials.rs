//! The master user, from the secret that the spec names. It is read when a database is made, and when its secret has
//! got another value, and goes nowhere but into that call.
//!
//! Which version of the secret a database has its password of is the tag `plinth:password`.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::Client;
use serde_json::Value;
use spec::{Database, Section};
use step::{Context, Doing, Error, Field, Result, UNKNOWN, compare, digits};

use crate::Wanted;

/// The tag of a database that says of which version of its secret its password is.
const PASSWORD: &str = "plinth:password";

/// How much of a version's id it says, in hex digits of a hash.
const DIGITS: usize = 8;

/// The stage of the version that is read where none is named.
const CURRENT: &str = "AWSCURRENT";

/// A name and a password. There is no `Debug` of it, so that it can't be shown.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    version: Option<String>,
}

impl Credentials {
    /// The tag of a database that has this password.
    pub(crate) fn tag(&self) -> BTreeMap<String, String> {
        let version = self.version.iter().map(|version| (PASSWORD.to_owned(), digits(version, DIGITS)));
        version.collect()
    }

    /// Refuses another name than that of a standing database's master user.
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html>
    pub(crate) fn same_user(&self, found: Option<&str>, wanted: &Wanted) -> Result<()> {
        match found {
            Some(found) if found != self.username => Err(Error::InvalidSpec(format!(
                "{}.credentials: the master user of {} is {found}, and RDS can't rename it: give the secret that \
                 `username`",
                wanted.address,
                wanted.what()
            ))),
            _ => Ok(()),
        }
    }
}

/// The field `password`, if the secret of a database with these tags has got another value.
pub(crate) async fn difference(
    secrets: &Client,
    context: &Context,
    wanted: &Wanted,
    tags: &BTreeMap<String, String>,
) -> Result<Option<Field>> {
    let Some(has) = tags.get(PASSWORD) else { return Ok(None) };
    let renewed = context.outputs.secrets.values().any(|found| found.arn == wanted.secret && found.renewed);
    let version = if renewed { UNKNOWN.to_owned() } else { current(secrets, wanted).await? };
    let told = |version: &str| format!("of version {version} of its secret");
    Ok(compare("password", told(has), told(&version)))
}

/// The secret's current version, as the tag says it.
async fn current(secrets: &Client, wanted: &Wanted) -> Result<String> {
    let described = secrets.describe_secret().secret_id(&wanted.secret).send().await;
    let described =
        described.doing(|| format!("describing secret ({}) for {}", wanted.secret, wanted.address))?;
    let mut versions = described.version_ids_to_stages().into_iter().flatten();
    let current = versions.find(|(_, stages)| stages.iter().any(|stage| stage == CURRENT));
    Ok(current.map(|(id, _)| digits(id, DIGITS)).unwrap_or_default())
}

/// The address of the secret that a spec names.
pub(crate) fn address(database: &Database) -> Option<String> {
    let reference = database.credentials.whole().filter(|reference| reference.section == Section::Secrets)?;
    Some(format!("secrets.{}", reference.name.as_deref()?))
}

pub(crate) async fn read(secrets: &Client, wanted: &Wanted) -> Result<Credentials> {
    let arn = &wanted.secret;
    let read = secrets.get_secret_value().secret_id(arn).send().await;
    let read = read.doing(|| format!("reading secret ({arn}) for {}", wanted.address))?;
    // What can't be parsed isn't told: it would be the secret.
    let value: Option<Value> = read.secret_string().and_then(|text| serde_json::from_str(text).ok());
    let field = |name: &str| Some(value.as_ref()?.get(name)?.as_str()?.to_owned());
    match (field("username"), field("password")) {
        (Some(username), Some(password)) => {
            Ok(Credentials { username, password, version: read.version_id().map(str::to_owned) })
        }
        _ => Err(Error::InvalidSpec(format!(
            "{}.credentials: secret ({arn}) isn't {{\"username\": …, \"password\": …}}: have it generated \
             with `generate: {{ username: … }}`, or give it such a value",
            wanted.address
        ))),
    }
}

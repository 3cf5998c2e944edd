//! The master user, from the secret that the spec names. It is read when a database is made, and goes
//! nowhere but into that call.

use aws_sdk_secretsmanager::Client;
use serde_json::Value;
use spec::{Database, Section};
use step::{Doing, Error, Result};

use crate::Wanted;

/// A name and a password. There is no `Debug` of it, so that it can't be shown.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
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
        (Some(username), Some(password)) => Ok(Credentials { username, password }),
        _ => Err(Error::InvalidSpec(format!(
            "{}.credentials: secret ({arn}) isn't {{\"username\": …, \"password\": …}}: have it generated \
             with `generate: {{ username: … }}`, or give it such a value",
            wanted.address
        ))),
    }
}

//! Databases: what their kind has and takes.

use super::Check;
use crate::{Database, Duration, Section};

pub(super) fn check(check: &mut Check<'_>) {
    for (key, database) in &check.spec.databases {
        kind(check, key, database);
        capacity(check, key, database);
        sizes(check, key, database);
        credentials(check, key, database);
        placed(check, key);
    }
}

/// Aurora has what a plain instance hasn't, and the other way round.
fn kind(check: &mut Check<'_>, key: &str, database: &Database) {
    let aurora = database.engine.is_aurora();
    let word = database.engine.word();
    if aurora && database.serverless.is_none() && database.instance.is_none() {
        check.fault(
            &["databases", key],
            "write how large it is: `serverless: { min: 0.5, max: 2 }`, or an `instance` such as db.r6g.large",
        );
    }
    if database.serverless.is_some() && database.instance.is_some() {
        check.fault(&["databases", key, "instance"], "write either `serverless` or `instance`");
    }
    if !aurora && database.serverless.is_some() {
        check.fault(
            &["databases", key, "serverless"],
            format!("only Aurora is serverless, not {word}; write an `instance` such as db.t4g.micro"),
        );
    }
    if aurora && database.storage.is_some() {
        check.fault(&["databases", key, "storage"], "Aurora's storage grows by itself; leave the line out");
    }
    if aurora && database.multi_zone {
        check.fault(
            &["databases", key, "multiZone"],
            "Aurora keeps its storage in three zones anyway; leave the line out",
        );
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html>
fn capacity(check: &mut Check<'_>, key: &str, database: &Database) {
    let Some(serverless) = database.serverless else { return };
    for (word, units) in [("min", serverless.min), ("max", serverless.max)] {
        if (units * 2.0).fract() != 0.0 {
            check.fault(
                &["databases", key, "serverless", word],
                format!("capacity goes in steps of a half, not {units}"),
            );
        }
    }
    if serverless.min > serverless.max {
        check.fault(
            &["databases", key, "serverless"],
            format!("the least, {}, is more than the most, {}", serverless.min, serverless.max),
        );
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>
fn sizes(check: &mut Check<'_>, key: &str, database: &Database) {
    if let Some(storage) = database.storage
        && !(20..=65_536).contains(&storage)
    {
        check.fault(
            &["databases", key, "storage"],
            format!("RDS gives 20 to 65536 GiB of storage, not {storage}"),
        );
    }
    if let Some(backups) = database.backups
        && !backups.whole_days().is_some_and(|days| (1..=35).contains(&days))
    {
        check.fault(
            &["databases", key, "backups"],
            format!(
                "{backups} is no time that backups are kept for; write {} to {}",
                Duration::days(1),
                Duration::days(35)
            ),
        );
    }
}

/// The master user's name and password are a generated secret's.
fn credentials(check: &mut Check<'_>, key: &str, database: &Database) {
    let reference = database
        .credentials
        .whole()
        .filter(|reference| reference.section == Section::Secrets && reference.attribute.is_empty());
    let path = ["databases", key, "credentials"];
    let Some(name) = reference.and_then(|reference| reference.name.as_ref()) else {
        check.fault(
            &path,
            "write a secret that holds a user name and a password, such as ${secrets.database}",
        );
        return;
    };
    let secret = check.spec.secrets.get(name);
    let generates = secret.and_then(|secret| secret.generate.as_ref());
    if secret.is_some() && generates.is_none_or(|generate| generate.username.is_none()) {
        check.fault(
            &path,
            format!("secrets.{name} holds no user name; write `generate: {{ username: … }}` there"),
        );
    }
}

/// RDS wants subnets in two zones.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html>
fn placed(check: &mut Check<'_>, key: &str) {
    let Some(network) = &check.spec.network else { return };
    let subnets = network.private.len().max(network.public.len());
    if subnets < 2 {
        check.fault(
            &["databases", key],
            format!("a database needs subnets in two zones; the network has {subnets} of a kind"),
        );
    }
}

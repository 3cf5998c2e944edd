//! Databases: what their kind has and takes.

use super::Check;
use crate::{Database, Duration, Engine, Generate, Section};

pub(super) fn check(check: &mut Check<'_>) {
    for (key, database) in &check.spec.databases {
        kind(check, key, database);
        capacity(check, key, database);
        sizes(check, key, database);
        initial(check, key, database);
        restore(check, key, database);
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
    if let Some(generate) = secret.and_then(|secret| secret.generate.as_ref()) {
        generated(check, name, key, database.engine, generate);
    }
    let generates = secret.and_then(|secret| secret.generate.as_ref());
    if secret.is_some() && generates.is_none_or(|generate| generate.username.is_none()) {
        check.fault(
            &path,
            format!("secrets.{name} holds no user name; write `generate: {{ username: … }}` there"),
        );
    }
}

/// The longest password of an engine; Aurora's is that of both.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html>
const fn longest(engine: Engine) -> u8 {
    match engine {
        Engine::Postgres => 128,
        _ => 41,
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBCluster.html>
fn generated(check: &mut Check<'_>, secret: &str, key: &str, engine: Engine, generate: &Generate) {
    let path = ["secrets", secret, "generate"];
    let longest = longest(engine);
    if generate.length > longest {
        check.fault(
            &[&path[..], &["length"]].concat(),
            format!(
                "it is the password of databases.{key}, and {} takes at most {longest} characters, not {}",
                engine.word(),
                generate.length
            ),
        );
    }
    let Some(username) = &generate.username else { return };
    if let Err(why) = user(engine, username) {
        check.fault(
            &[&path[..], &["username"]].concat(),
            format!("\"{username}\" can't be the user of databases.{key}: {why}"),
        );
    }
}

/// Names that RDS keeps to itself.
const RESERVED: [&str; 4] = ["rdsadmin", "rdsrepladmin", "rds_superuser", "rdsproxyadmin"];

/// Words of PostgreSQL's own that can name nothing, with those that RDS adds.
/// Source: <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>
const POSTGRES: &str = "admin all analyse analyze and any array as asc asymmetric authorization binary both case cast \
    check collate collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except \
    false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull \
    join lateral leading left like limit localtime localtimestamp natural not notnull null offset on only or order \
    outer overlaps placing primary public references returning right select session_user similar some symmetric \
    system_user table tablesample then to trailing true union unique user using variadic verbose when where window \
    with";

/// The same of MySQL and MariaDB.
/// Source: <https://dev.mysql.com/doc/refman/8.4/en/keywords.html>
const MYSQL: &str = "accessible add all alter analyze and as asc before between both by call cascade case change check \
    collate column condition constraint continue convert create cross current_date current_user cursor database \
    databases declare default delayed delete desc describe distinct div drop dual each else elseif enclosed escaped \
    except exists exit explain false fetch for force foreign from fulltext function grant group groups having if \
    ignore in index infile inner inout insert interval into is iterate join key keys kill lateral leading leave left \
    like limit lines load localtime lock loop master_bind match mod natural not null of on optimize option or order \
    out outer outfile over partition primary procedure purge range rank read reads references regexp release rename \
    repeat replace require restrict return revoke right rlike row rows schema schemas select separator set show \
    signal spatial sql ssl starting system table terminated then to trailing trigger true undo union unique unlock \
    unsigned update usage use using values varying virtual when where while window with write xor zerofill root";

fn is_reserved(engine: Engine, name: &str) -> bool {
    let words = if engine.is_postgres() { POSTGRES } else { MYSQL };
    let name = name.to_ascii_lowercase();
    let system = engine.is_postgres() && name.starts_with("pg_");
    system || RESERVED.contains(&name.as_str()) || words.split_whitespace().any(|word| word == name)
}

/// Whether an engine takes a name for its master user.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html>
fn user(engine: Engine, name: &str) -> Result<(), String> {
    let longest = if engine == Engine::Postgres { 63 } else { 16 };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(plain)
        || name.len() > longest
    {
        return Err(format!("RDS takes a letter, and then at most {} letters, digits and _", longest - 1));
    }
    if is_reserved(engine, name) {
        return Err(format!("{} keeps that word for itself; write one such as app", engine.word()));
    }
    Ok(())
}

/// Databases that an engine has already.
fn has_already(engine: Engine, name: &str) -> bool {
    let own: &[&str] = if engine.is_postgres() {
        &["template0", "template1"]
    } else {
        &["mysql", "sys", "information_schema", "performance_schema", "innodb"]
    };
    own.contains(&name.to_ascii_lowercase().as_str())
}

/// The schema says which characters a database's name has.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html>
fn initial(check: &mut Check<'_>, key: &str, database: &Database) {
    let Some(name) = &database.database else { return };
    let engine = database.engine;
    if is_reserved(engine, name) || has_already(engine, name) {
        check.fault(
            &["databases", key, "database"],
            format!("{} keeps the name \"{name}\" for itself; write one such as app", engine.word()),
        );
    }
}

/// A snapshot's identifier, or its ARN.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html>
fn restore(check: &mut Check<'_>, key: &str, database: &Database) {
    let Some(snapshot) = &database.restore else { return };
    let identifier = snapshot.strip_prefix("rds:").unwrap_or(snapshot);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_identifier = identifier.starts_with(|c: char| c.is_ascii_alphabetic())
        && identifier.len() <= 255
        && identifier.chars().all(plain)
        && !identifier.contains("--")
        && !identifier.ends_with('-');
    let parts: Vec<&str> = snapshot.splitn(7, ':').collect();
    let is_arn = matches!(
        parts.as_slice(),
        ["arn", _, "rds", _, _, "snapshot" | "cluster-snapshot", name] if !name.is_empty()
    ) && !snapshot.contains(char::is_whitespace);
    if !is_identifier && !is_arn {
        check.fault(
            &["databases", key, "restore"],
            format!(
                "\"{snapshot}\" is no snapshot; write its identifier, such as shop-main-2026-11-01, or its ARN"
            ),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Engine::Postgres, "app", true)]
    #[case(Engine::Postgres, "app_user", true)]
    #[case(Engine::Mysql, "admin", true)]
    #[case(Engine::Postgres, "admin", false)]
    #[case(Engine::Postgres, "user", false)]
    #[case(Engine::Postgres, "PG_app", false)]
    #[case(Engine::Mysql, "rdsadmin", false)]
    #[case(Engine::Mysql, "app-user", false)]
    #[case(Engine::Mysql, "a_user_of_17_char", false)]
    #[case(Engine::AuroraMysql, "1app", false)]
    #[case(Engine::AuroraPostgresql, "1 bad:user", false)]
    #[case(Engine::Mariadb, "", false)]
    fn a_user_is_one_that_the_engine_takes(#[case] engine: Engine, #[case] name: &str, #[case] fits: bool) {
        assert_eq!(user(engine, name).is_ok(), fits);
    }
}

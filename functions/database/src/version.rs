//! Versions of engines, and the classes they run on, as RDS offers them at the moment.

use aws_sdk_rds::{
    Client,
    types::{DbEngineVersion, OrderableDbInstanceOption, UpgradeTarget},
};
use spec::Engine;
use step::{Doing, Error, Result};

use crate::{Wanted, snapshot::Snapshot};

/// The class of an instance of Aurora Serverless v2.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.create.html>
pub(crate) const SERVERLESS: &str = "db.serverless";

/// The storage of instances.
pub(crate) const STORAGE: &str = "gp3";

/// How many versions or classes an error names.
const NAMED: usize = 3;

/// Sizes of classes, from small to large; larger ones begin with a number.
const SIZES: [&str; 5] = ["micro", "small", "medium", "large", "xlarge"];

/// The version a database is changed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) version: String,
    pub(crate) major: bool,
}

/// What an engine is called.
const fn title(engine: Engine) -> &'static str {
    match engine {
        Engine::AuroraPostgresql => "Aurora PostgreSQL",
        Engine::AuroraMysql => "Aurora MySQL",
        Engine::Postgres => "PostgreSQL",
        Engine::Mysql => "MySQL",
        Engine::Mariadb => "MariaDB",
    }
}

/// A part of a version: numbers go by size.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

/// What versions are ordered by.
fn order(version: &str) -> Vec<Part> {
    let part = |part: &str| part.parse().map_or_else(|_| Part::Word(part.to_owned()), Part::Number);
    version.split(['.', '-', '_']).map(part).collect()
}

/// Whether a version is this one, or begins with it: 16.4 with 16, and not 16 with 1.
pub(crate) fn matches(version: &str, prefix: &str) -> bool {
    let rest = version.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

/// Whether a version is newer than what a spec asks for: RDS upgrades minor versions by itself, and takes none back.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.Upgrading.html>
fn is_newer(version: &str, asked: &str) -> bool {
    !matches(version, asked) && order(version) > order(asked)
}

/// The version a new database gets. One that is restored keeps its snapshot's, if that will do, or is newer, and is
/// offered still.
pub(crate) async fn of_new(rds: &Client, wanted: &Wanted, snapshot: Option<&Snapshot>) -> Result<String> {
    let offered = offered(rds, wanted.engine).await?;
    let kept = snapshot.map(|snapshot| snapshot.version.as_str()).filter(|version| {
        let will_do =
            wanted.version.as_ref().is_none_or(|asked| matches(version, asked) || is_newer(version, asked));
        will_do && offered.iter().any(|offer| offer.engine_version() == Some(version))
    });
    kept.map_or_else(|| newest(&offered, wanted), |version| Ok(version.to_owned()))
}

/// The version a standing database is to be changed to; none if what it has will do, or is newer.
pub(crate) async fn upgrade(rds: &Client, wanted: &Wanted, found: &str) -> Result<Option<Upgrade>> {
    let Some(prefix) = &wanted.version else { return Ok(None) };
    if matches(found, prefix) || is_newer(found, prefix) {
        return Ok(None);
    }
    let offered = offered(rds, wanted.engine).await?;
    let version = newest(&offered, wanted)?;
    let version = reachable(&offered, wanted, found, prefix)?.unwrap_or(version);
    let offer = offered.iter().find(|offer| offer.engine_version() == Some(&version));
    let major = offer.and_then(DbEngineVersion::major_engine_version);
    Ok(Some(Upgrade { major: major.is_none_or(|major| !matches(found, major)), version }))
}

/// What who follows the run should know of a database with a newer version than the spec asks for, unless that differs
/// in its last part alone: then RDS has upgraded it by itself.
pub(crate) fn note(wanted: &Wanted, found: &str) -> Option<String> {
    let asked = wanted.version.as_deref().filter(|asked| is_newer(found, asked))?;
    let minor = asked.rsplit_once('.').is_some_and(|(major, _)| matches(found, major));
    (!minor).then(|| {
        format!(
            "kept: {} has version {found}, and RDS takes none back to {asked}: write `version: \"{found}\"` at {}, or \
             restore an older snapshot under another key of `databases`",
            wanted.what(),
            wanted.address
        )
    })
}

/// The newest version that a standing one can be changed to at once, where RDS says.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_UpgradeTarget.html>
fn reachable(
    offered: &[DbEngineVersion],
    wanted: &Wanted,
    found: &str,
    prefix: &str,
) -> Result<Option<String>> {
    let offer = offered.iter().find(|offer| offer.engine_version() == Some(found));
    let targets = offer.map(DbEngineVersion::valid_upgrade_target).unwrap_or_default();
    let targets: Vec<&str> = targets.iter().filter_map(UpgradeTarget::engine_version).collect();
    if targets.is_empty() {
        return Ok(None);
    }
    let will_do = targets.iter().filter(|target| matches(target, prefix) && is_plain(target));
    let newest = will_do.max_by_key(|target| order(target)).map(|target| (*target).to_owned());
    newest.map(Some).ok_or_else(|| {
        Error::InvalidSpec(format!(
            "{}.version: {} {found} can't become {prefix} at once; the nearest it can become are {}",
            wanted.address,
            title(wanted.engine),
            nearest(&targets, prefix)
        ))
    })
}

async fn offered(rds: &Client, engine: Engine) -> Result<Vec<DbEngineVersion>> {
    let pages = rds.describe_db_engine_versions().engine(engine.word()).into_paginator().items().send();
    let offered: std::result::Result<Vec<DbEngineVersion>, _> = pages.collect().await;
    let mut offered = offered.doing(|| format!("describing the versions of {}", title(engine)))?;
    offered.retain(|offer| offer.engine_version().is_some_and(is_plain));
    Ok(offered)
}

/// Aurora Limitless is a cluster of another kind, with versions of its own: `16.6-limitless`.
fn is_plain(version: &str) -> bool {
    !version.ends_with("-limitless")
}

fn newest(offered: &[DbEngineVersion], wanted: &Wanted) -> Result<String> {
    let versions: Vec<&str> = offered.iter().filter_map(DbEngineVersion::engine_version).collect();
    let asked = wanted.version.as_deref();
    let exact = versions.iter().find(|version| asked == Some(version));
    let will_do = versions.iter().filter(|version| asked.is_none_or(|asked| matches(version, asked)));
    let newest = exact.or_else(|| will_do.max_by_key(|version| order(version)));
    newest.map(|version| (*version).to_owned()).ok_or_else(|| {
        let asked = asked.unwrap_or_default();
        Error::InvalidSpec(format!(
            "{}.version: {} has no version \"{asked}\"; the nearest are {}",
            wanted.address,
            title(wanted.engine),
            nearest(&versions, asked)
        ))
    })
}

/// The two versions nearest to one that isn't there: those on either side of it, if there are such.
fn nearest(versions: &[&str], asked: &str) -> String {
    let mut sorted = versions.to_vec();
    sorted.sort_by_cached_key(|version| order(version));
    sorted.dedup();
    let asked = order(asked);
    let after = sorted.partition_point(|version| order(version) < asked);
    let first = after.saturating_sub(1).min(sorted.len().saturating_sub(2));
    let both: Vec<&str> = sorted.into_iter().skip(first).take(2).collect();
    if both.is_empty() { "none".to_owned() } else { both.join(" and ") }
}

/// Refuses a class, and storage, that RDS doesn't offer for a version.
pub(crate) async fn orderable(rds: &Client, wanted: &Wanted, version: &str) -> Result<()> {
    let options = options(rds, wanted.engine, Some(version), Some(&wanted.class)).await?;
    if options.is_empty() {
        return Err(not_orderable(rds, wanted, version).await?);
    }
    if wanted.engine.is_aurora() {
        return Ok(());
    }
    let of_storage = options.iter().find(|option| option.storage_type() == Some(STORAGE));
    let Some(option) = of_storage else { return Ok(()) };
    let storage = wanted.storage.unwrap_or(crate::instance::STORAGE);
    let least = option.min_storage_size().unwrap_or(storage);
    let most = option.max_storage_size().unwrap_or(storage);
    if !(least..=most).contains(&storage) {
        return Err(Error::InvalidSpec(format!(
            "{}.storage: {} on {} takes {least} to {most} GiB, not {storage}",
            wanted.address,
            title(wanted.engine),
            wanted.class
        )));
    }
    if wanted.multi_zone && option.multi_az_capable() == Some(false) {
        return Err(Error::InvalidSpec(format!(
            "{}.multiZone: {} on {} can't have a standby in another zone",
            wanted.address,
            title(wanted.engine),
            wanted.class
        )));
    }
    Ok(())
}

async fn not_orderable(rds: &Client, wanted: &Wanted, version: &str) -> Result<Error> {
    let (address, title) = (&wanted.address, title(wanted.engine));
    if wanted.class == SERVERLESS {
        let options = options(rds, wanted.engine, None, Some(SERVERLESS)).await?;
        let versions: Vec<&str> = options.iter().filter_map(|option| option.engine_version()).collect();
        let versions: Vec<&str> = versions.into_iter().filter(|version| is_plain(version)).collect();
        return Ok(Error::InvalidSpec(format!(
            "{address}.version: {title} {version} can't be serverless; the nearest that can are {}",
            nearest(&versions, version)
        )));
    }
    let options = options(rds, wanted.engine, Some(version), None).await?;
    let classes: Vec<&str> = options.iter().filter_map(|option| option.db_instance_class()).collect();
    Ok(Error::InvalidSpec(format!(
        "{address}.instance: {title} {version} doesn't run on {}; it runs on {}",
        wanted.class,
        near(classes, &wanted.class)
    )))
}

async fn options(
    rds: &Client,
    engine: Engine,
    version: Option<&str>,
    class: Option<&str>,
) -> Result<Vec<OrderableDbInstanceOption>> {
    let pages = rds
        .describe_orderable_db_instance_options()
        .engine(engine.word())
        .set_engine_version(version.map(str::to_owned))
        .set_db_instance_class(class.map(str::to_owned))
        .vpc(true)
        .into_paginator()
        .items()
        .send();
    let options: std::result::Result<Vec<_>, _> = pages.collect().await;
    options.doing(|| format!("describing the instance classes of {}", title(engine)))
}

/// The classes most like one: of its family, then of its size.
fn near(mut classes: Vec<&str>, class: &str) -> String {
    let family = |class: &str| class.rsplit_once('.').map(|(family, _)| family.to_owned());
    let size = |class: &str| {
        let size = class.rsplit('.').next().unwrap_or_default();
        let larger = || size.trim_end_matches("xlarge").parse().map_or(0, |count: usize| SIZES.len() + count);
        SIZES.iter().position(|each| *each == size).unwrap_or_else(larger)
    };
    classes.retain(|each| *each != SERVERLESS);
    classes
        .sort_by_cached_key(|each| (family(each) != family(class), size(each).abs_diff(size(class)), *each));
    classes.dedup();
    classes.truncate(NAMED);
    if classes.is_empty() { "none in this region".to_owned() } else { classes.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_by_number_and_begin_at_a_dot() {
        assert!(order("16.10") > order("16.9"));
        assert!(order("8.0.mysql_aurora.3.10.0") > order("8.0.mysql_aurora.3.08.2"));
        assert!(order("11.22-rds.20250814") > order("11.22-rds.20250220"));
        assert!(matches("16.4", "16") && matches("16.4", "16.4") && matches("11.22-rds.1", "11.22"));
        assert!(!matches("16.4", "1") && !matches("16.10", "16.1") && !matches("16", "16.4"));
    }

    #[test]
    fn a_version_is_newer_by_its_numbers_and_not_by_having_more_of_them() {
        assert!(is_newer("16.10", "16.9") && is_newer("17.4", "16") && is_newer("8.4.8", "8.0"));
        assert!(!is_newer("16.9", "16.10") && !is_newer("16.9", "16") && !is_newer("16.9", "17"));
        assert!(is_newer("8.0.mysql_aurora.3.10.0", "8.0.mysql_aurora.3.08"));
    }

    #[test]
    fn the_nearest_are_those_on_either_side() {
        let versions = ["13.20", "13.21", "14.17", "16.4"];
        assert_eq!(nearest(&versions, "13.60"), "13.21 and 14.17");
        assert_eq!(nearest(&versions, "9"), "13.20 and 13.21");
        assert_eq!(nearest(&versions, "17"), "14.17 and 16.4");
    }

    #[test]
    fn a_class_like_another_is_of_its_family_or_its_size() {
        let classes = ["db.m7g.large", "db.t3.micro", "db.t4g.micro", "db.t4g.small", "db.t4g.large"];
        assert_eq!(near(classes.to_vec(), "db.t2.micro"), "db.t3.micro, db.t4g.micro, db.t4g.small");
        assert_eq!(near(classes.to_vec(), "db.t4g.nano"), "db.t4g.micro, db.t4g.small, db.t4g.large");
    }
}

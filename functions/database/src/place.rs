//! Which of our databases is the one that the spec means, and which go for it.
//!
//! What was settled when a database was made can't be changed. Where the spec says otherwise the database is
//! refused, since another has none of its data; with `replace: true` another is made beside it. Once that can be
//! used, the old one is tagged as replaced, and goes with `prune`, which knows no more than tags say.

use std::collections::BTreeMap;

use aws_sdk_rds::primitives::DateTime;
use security_group::{Rule, Source};
use step::{Candidate, Choice, Context, Error, REPLACED, Result, choose, compare_key, instead_of};

use crate::{FINAL_SNAPSHOT, LIMIT, OWN_KEY, RESTORED, Standing, Wanted, version};

/// The tag that says which database this is, by its identifier: a copy that somebody restored by hand has the tags of
/// its snapshot, and another identifier, and is left to whoever made it.
pub(crate) const NAME: &str = "plinth:name";

/// A standing database, with what was settled when it was made.
pub(crate) struct Settled<'a> {
    pub(crate) what: String,
    pub(crate) name: &'a str,
    pub(crate) arn: &'a str,
    /// RDS's own id.
    pub(crate) id: &'a str,
    pub(crate) state: &'a str,
    pub(crate) created: Option<&'a DateTime>,
    pub(crate) engine: &'a str,
    pub(crate) version: &'a str,
    /// In GiB; none of a cluster, whose storage grows by itself.
    pub(crate) storage: Option<i32>,
    pub(crate) port: Option<i32>,
    pub(crate) database: Option<&'a str>,
    pub(crate) subnets: Option<&'a str>,
    pub(crate) encrypted: bool,
    pub(crate) key: Option<&'a str>,
    pub(crate) protection: Option<bool>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Settled<'_> {
    pub(crate) fn is_replaced(&self) -> bool {
        self.tags.get(REPLACED).is_some_and(|id| id == self.id)
    }

    fn candidate(&self, wanted: &Wanted) -> Candidate<'_> {
        Candidate { name: self.name, replaced: self.is_replaced(), misfit: misfit(self, wanted) }
    }

    fn is_named_so(&self) -> bool {
        self.tags.get(NAME).is_none_or(|name| name == self.name)
    }
}

/// A database whose place the wanted one takes.
pub(crate) struct Old {
    pub(crate) what: String,
    pub(crate) arn: String,
    /// The tag it is to get; none where it has that, or is about to be gone.
    pub(crate) tag: Option<BTreeMap<String, String>>,
}

/// Finds the database that the spec means among those of ours at its address, and names it.
pub(crate) fn settle(context: &Context, standing: &Standing, wanted: &mut Wanted) -> Result<()> {
    let at_address = |found: &Settled<'_>| context.owner().address(&found.tags) == Some(&wanted.address);
    let mut ours: Vec<_> =
        standing.databases().filter(|found| at_address(found) && found.is_named_so()).collect();
    // One that is being created isn't given a time yet.
    ours.sort_by_key(|found| {
        (found.created.is_none(), found.created.map(|at| (at.secs(), at.subsec_nanos())))
    });
    let candidates: Vec<_> = ours.iter().map(|found| found.candidate(wanted)).collect();
    let name = |older: &[Candidate<'_>]| instead_of(&context.run.environment, &wanted.key, LIMIT, older);
    let Choice { chosen, old } = choose(&candidates, wanted.replace, name)?;
    let named = match chosen {
        Some(chosen) => ours[chosen].name.to_owned(),
        None if ours.is_empty() => wanted.name.clone(),
        None if wanted.given.is_some() => free(wanted, &ours)?,
        None => name(&candidates),
    };
    if chosen.is_some_and(|chosen| ours[chosen].is_replaced()) {
        wanted.tags.insert(REPLACED.to_owned(), "false".to_owned());
    }
    wanted.tags.insert(NAME.to_owned(), named.clone());
    wanted.name = named;
    // Whoever uses the old one still reaches it.
    for port in old.iter().filter_map(|at| u16::try_from(ours[*at].port?).ok()) {
        open(wanted, port);
    }
    wanted.old = old.into_iter().map(|at| leaving(&ours[at])).collect();
    Ok(())
}

/// The name that the spec gives, unless one that is to go has it.
fn free(wanted: &Wanted, ours: &[Settled<'_>]) -> Result<String> {
    match ours.iter().find(|found| found.name == wanted.name) {
        None => Ok(wanted.name.clone()),
        Some(found) => Err(Error::InvalidSpec(format!(
            "{}.name: {} has that name until another has taken its place: give that another `name:`, or leave \
             the line out",
            wanted.address, found.what
        ))),
    }
}

fn leaving(found: &Settled<'_>) -> Old {
    let tag = BTreeMap::from([(REPLACED.to_owned(), found.id.to_owned())]);
    let tells = found.is_replaced() || found.state == "deleting";
    Old { what: found.what.clone(), arn: found.arn.to_owned(), tag: (!tells).then_some(tag) }
}

fn open(wanted: &mut Wanted, port: u16) {
    let Some(first) = wanted.group.ingress.first().map(|rule| rule.source.clone()) else { return };
    if wanted.group.ingress.iter().all(|rule| rule.ports != (port..=port)) {
        wanted.group.ingress.push(rule(&wanted.address, port, first));
    }
}

/// The rule that opens a database's port.
pub(crate) fn rule(address: &str, port: u16, source: Source) -> Rule {
    Rule { address: format!("{address}.group.{port}"), ports: port..=port, source }
}

/// Why a database can't become what the spec says; none if it can.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.html>
fn misfit(found: &Settled<'_>, wanted: &Wanted) -> Option<Error> {
    let refuse = |field: &str, has: &str, asked: &str| Some(refusal(wanted, found, field, has, asked));
    if found.engine != wanted.engine.word() {
        return refuse("engine", found.engine, wanted.engine.word());
    }
    if let Some(given) = wanted.given.as_ref().filter(|given| *given != found.name) {
        return refuse("name", found.name, given);
    }
    // What a restored database holds is its snapshot's affair.
    if let Some(asked) = &wanted.database
        && found.database != Some(asked)
        && !found.tags.contains_key(RESTORED)
    {
        return refuse("database", found.database.unwrap_or("none"), asked);
    }
    if !found.encrypted {
        return refuse("encryption", "none", "some");
    }
    let own = found.tags.get(OWN_KEY).is_some_and(|own| own == "true");
    let key = found.key.filter(|_| wanted.encryption.is_some() || own);
    if let Some(field) = compare_key(key, wanted.encryption.as_ref()) {
        return refuse("key", &field.found.unwrap_or_default(), &field.wanted);
    }
    let subnets = found.subnets.unwrap_or_default();
    if subnets != wanted.subnets.name {
        return refuse("subnet group", subnets, &wanted.subnets.name);
    }
    if let (Some(has), Some(asked)) = (found.storage, wanted.storage)
        && asked < has
    {
        return Some(Error::Conflict(format!(
            "{} has {has} GiB of storage, and RDS can't take any away: write `storage: {has}` at {}, or {}",
            found.what,
            wanted.address,
            remedy(wanted, &found.tags)
        )));
    }
    // Without `replace` it is refused with what RDS offers at hand.
    let asked = wanted.version.as_ref().filter(|_| wanted.replace);
    let back = asked.is_some_and(|asked| version::is_before(asked, found.version));
    back.then(|| version::refusal(wanted, &found.tags, found.version))
}

fn refusal(wanted: &Wanted, found: &Settled<'_>, field: &str, has: &str, asked: &str) -> Error {
    Error::Conflict(format!(
        "{}: its {field} is {has}, and RDS can't change that to {asked} without losing its data: put the spec back, \
         add a database under another key, move the data into it, and drop {}, or {}",
        found.what,
        wanted.address,
        remedy(wanted, &found.tags)
    ))
}

/// What `replace: true` would do.
pub(crate) fn remedy(wanted: &Wanted, tags: &BTreeMap<String, String>) -> String {
    let last = tags.get(FINAL_SNAPSHOT).is_none_or(|last| last != "false");
    format!(
        "write `replace: true` there: {} takes its place, and this one goes, {} a last snapshot",
        if wanted.restore.is_some() { "one from `restore`" } else { "an empty one" },
        if last { "with" } else { "without" }
    )
}

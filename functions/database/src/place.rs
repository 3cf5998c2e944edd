//! Which of our databases is the one that the spec means, and which go for it.
//!
//! What was settled when a database was made can't be changed. Where the spec says otherwise the database is
//! refused, since another has none of its data; with `allowDataLoss` another is made beside it. Once that can be
//! used, the old one is tagged as replaced, and goes with `prune`, which knows no more than tags say.

use std::collections::BTreeMap;

use aws_sdk_rds::primitives::DateTime;
use security_group::{Rule, Source};
use step::{Candidate, Choice, Context, Error, REPLACED, Result, choose, compare_key, instead_of, is_new};

use crate::{FINAL_SNAPSHOT, LIMIT, OWN_KEY, RESTORED, Standing, Wanted, snapshot};

/// The tag that says which database this is, by its identifier: a copy that somebody restored by hand has the tags of
/// its snapshot, and another identifier, and isn't taken for the one that the spec means.
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
        let made = self.tags.get(NAME).is_some_and(|name| name == self.name);
        Candidate {
            name: self.name,
            replaced: self.is_replaced(),
            made,
            new: is_new(&self.tags),
            misfit: misfit(self, wanted),
        }
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
    let at_address = |found: &Settled<'_>| {
        let address = context.owner().address(&found.tags);
        address
            .is_some_and(|address| address == wanted.address || wanted.formerly.as_deref() == Some(address))
    };
    let (mut ours, others): (Vec<_>, Vec<_>) =
        standing.databases().filter(at_address).partition(Settled::is_named_so);
    if let ([], [other, ..]) = (ours.as_slice(), others.as_slice()) {
        return Err(renamed(wanted, other));
    }
    if let Some(error) = ours.iter().find_map(|found| keyless(found, wanted)) {
        return Err(error);
    }
    // One that is being created isn't given a time yet.
    ours.sort_by_key(|found| {
        (found.created.is_none(), found.created.map(|at| (at.secs(), at.subsec_nanos())))
    });
    let candidates: Vec<_> = ours.iter().map(|found| found.candidate(wanted)).collect();
    let name = |older: &[Candidate<'_>]| instead_of(&context.run.environment, &wanted.named_by, LIMIT, older);
    let Choice { chosen, old } = choose(&candidates, wanted.replace)?;
    let named = match chosen {
        Some(chosen) => ours[chosen].name.to_owned(),
        None if ours.is_empty() => wanted.name.clone(),
        None if wanted.given.is_some() => free(wanted, &ours)?,
        None => name(&candidates),
    };
    // One of another address may have the name that the spec gives.
    let namesake = standing.databases().find(|found| chosen.is_none() && found.name == named);
    let ours_elsewhere = namesake.filter(|found| context.owner().address(&found.tags).is_some());
    if let Some(error) = ours_elsewhere.and_then(|found| misfit(&found, wanted)) {
        return Err(error);
    }
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

/// One that carries the address, and isn't called what it was.
fn renamed(wanted: &Wanted, found: &Settled<'_>) -> Error {
    Error::Conflict(format!(
        "{} has the tags of {}, and was renamed or restored by hand: name it {} again, or take its tag plinth:address \
         away to have another made",
        found.what,
        wanted.address,
        found.tags.get(NAME).map_or("as it was", String::as_str)
    ))
}

/// Why a database may not go, with a last snapshot, for one without the environment's key: that goes too, and nobody
/// could read the snapshot.
fn keyless(found: &Settled<'_>, wanted: &Wanted) -> Option<Error> {
    let has = |tag: &str| found.tags.get(tag).is_some_and(|said| said == "true");
    let leaves = !found.is_replaced() && wanted.encryption.is_none() && has(OWN_KEY) && has(FINAL_SNAPSHOT);
    leaves.then(|| {
        Error::InvalidSpec(format!(
            "{address}: {} is encrypted with the environment's key, and the spec drops that: put `key` back, or apply \
             `finalSnapshot: false` at {address} first and then write `allowDataLoss: [{address}]` at the top of the \
             spec, since nobody could read its last snapshot without the key",
            found.what,
            address = wanted.address
        ))
    })
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

/// Lets in at this port too what is let in at the first.
pub(crate) fn open(wanted: &mut Wanted, port: u16) {
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
    None
}

fn refusal(wanted: &Wanted, found: &Settled<'_>, field: &str, has: &str, asked: &str) -> Error {
    let last = match snapshot::planned(found.name, found.tags.get(FINAL_SNAPSHOT)) {
        Some(last) => format!("after a last snapshot ({last})"),
        None => "without a last snapshot".to_owned(),
    };
    Error::InvalidSpec(format!(
        "{address}: {}: its {field} is {has}, and RDS can't change that to {asked} without losing its data: put the \
         spec back, or add a database under another key and move the data into it first; to have it replaced, write \
         `allowDataLoss: [{address}]` at the top of the spec: {} takes its place, and this one goes {last}",
        found.what,
        if wanted.restore.is_some() { "one from `restore`" } else { "an empty one" },
        address = wanted.address,
    ))
}

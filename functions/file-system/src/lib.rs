//! The step `file-system`: EFS file systems, their mount targets and access points, and their security
//! groups.
//!
//! Ours is a file system that carries the owner's tags; it has them, and a creation token that is its
//! name, from `CreateFileSystem` on. Mount targets are owned through it. An access point can't be changed:
//! another is made, and the one before it goes when the run's end has come. Nor can the key that encrypts a file
//! system: it is refused, or with `allowDataLoss` another file system takes its place in the same way.
//!
//! A file system isn't dropped unless the spec says that its data may be lost, or it is as new: no run has ended well
//! with it, which is a tag, and EFS meters nothing in it.

mod access_point;
mod mount_target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client as Ec2;
use aws_sdk_efs::{
    Client as Efs,
    primitives::DateTime,
    types::{FileSystemDescription, LifeCycleState, Tag, ThroughputMode},
};
use jiff::Timestamp;
use security_group::{Rule, Source};
use spec::{FileSystem, Throughput};
use step::{
    Answer, Candidate, Change, Choice, Context, Doing, Error, Field, FileSystemOutput, Latency, NEW,
    Operation, PROTECT, REPLACED, Result, UNKNOWN, choose, compare, compare_key, instead_of, is_new,
    is_protected, loss, missing_tags, side_by_side,
};

/// What addresses of this step begin with.
const SECTION: &str = "fileSystems.";

/// The port NFS listens on.
const NFS: u16 = 2049;

/// The longest creation token.
const LIMIT: usize = 64;

/// The tag that says whether a file system is encrypted with the environment's key, which goes when the spec drops it:
/// EFS names its own as it names any other.
const OWN_KEY: &str = "plinth:own-key";

/// What EFS meters of an empty file system, in bytes.
/// Source: <https://docs.aws.amazon.com/efs/latest/ug/metered-sizes.html>
const EMPTY: i64 = 6144;

/// What a protected file system can't be without, by address.
const NEEDS: [&str; 2] = ["network", "key"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let efs = Efs::new(&context.aws);
    let ec2 = Ec2::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&efs, &ec2, &context).await,
        Operation::Ensure => ensure(&efs, &ec2, &context).await,
        Operation::Prune => prune(&efs, &ec2, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    /// The creation token, and the name that the console shows.
    name: String,
    /// The key that its name is made of.
    named_by: String,
    /// The address that it had before.
    formerly: Option<String>,
    throughput: ThroughputMode,
    /// The ARN of the key it is encrypted with; none for EFS's own.
    encryption: Option<String>,
    subnets: Vec<String>,
    group: security_group::Wanted,
    access_points: Vec<access_point::Wanted>,
    /// Whether another may take the place of one that can't become what is wanted.
    replace: bool,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    context.spec.file_systems.iter().map(|(key, file_system)| wanted_one(context, key, file_system)).collect()
}

fn wanted_one(context: &Context, key: &str, file_system: &FileSystem) -> Result<Wanted> {
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let address = format!("{SECTION}{key}");
    let named_by = spec::named_by(key, file_system.formerly.as_ref());
    let name = name(context, named_by);
    let nfs = Rule {
        address: format!("{address}.group.{NFS}"),
        ports: NFS..=NFS,
        source: Source::Group(network.group.clone()),
    };
    let mut tags = context.tags(&address);
    tags.entry("Name".to_owned()).or_insert_with(|| name.clone());
    tags.insert(PROTECT.to_owned(), file_system.protect.to_string());
    let encryption = context.key_arn()?.cloned();
    tags.insert(OWN_KEY.to_owned(), encryption.is_some().to_string());
    Ok(Wanted {
        key: key.to_owned(),
        named_by: named_by.to_owned(),
        formerly: file_system.formerly.as_ref().map(|before| format!("{SECTION}{before}")),
        throughput: match file_system.throughput {
            Throughput::Bursting => ThroughputMode::Bursting,
            Throughput::Elastic => ThroughputMode::Elastic,
        },
        encryption,
        subnets: if network.private.is_empty() { network.public.clone() } else { network.private.clone() },
        group: security_group::Wanted {
            address: format!("{address}.group"),
            name: context.name(None, &format!("{key}-files"), 255),
            description: "Of a file system of an environment",
            vpc: network.vpc.clone(),
            ingress: vec![nfs],
        },
        access_points: access_point::wanted(context, key, file_system, &name)?,
        replace: context.may_lose(&address),
        tags,
        name,
        address,
    })
}

fn name(context: &Context, key: &str) -> String {
    context.name(None, key, LIMIT)
}

/// Which file system of ours is the one that the spec means.
struct Place<'a> {
    /// None if it is still to be made.
    found: Option<&'a FileSystemDescription>,
    /// Those whose place it takes.
    old: Vec<&'a FileSystemDescription>,
}

/// Finds the file system that the spec means among those of ours at its address, and names it.
fn settle<'a>(context: &Context, all: &'a [FileSystemDescription], wanted: &mut Wanted) -> Result<Place<'a>> {
    let at_address = |found: &&FileSystemDescription| {
        let address = address(context, found);
        address == wanted.address || wanted.formerly.as_ref() == Some(&address)
    };
    let mut ours: Vec<_> = all.iter().filter(at_address).collect();
    ours.sort_by_key(|found| (found.creation_time().secs(), found.creation_time().subsec_nanos()));
    let candidate = |found: &&'a FileSystemDescription| Candidate {
        name: found.creation_token(),
        replaced: is_replaced(found),
        made: false,
        new: is_unused(found),
        misfit: misfit(found, wanted),
    };
    let mut candidates: Vec<_> = ours.iter().map(candidate).collect();
    let name = |older: &[Candidate<'_>]| instead_of(&context.run.environment, &wanted.named_by, LIMIT, older);
    for at in 1..candidates.len() {
        candidates[at].made = candidates[at].name == name(&candidates[..at]);
    }
    let Choice { chosen, old } = choose(&candidates, wanted.replace)?;
    let found = chosen.map(|chosen| ours[chosen]);
    let named = match found {
        Some(found) => found.creation_token().to_owned(),
        None if ours.is_empty() => wanted.name.clone(),
        None => name(&candidates),
    };
    if let Some(other) = all.iter().find(|found| found.creation_token() == named) {
        context.owner().check(&format!("EFS file system ({named})"), &tags(other))?;
    }
    if found.is_some_and(is_replaced) {
        wanted.tags.insert(REPLACED.to_owned(), "false".to_owned());
    }
    if named != wanted.name {
        if !context.spec.tags.contains_key("Name") {
            wanted.tags.insert("Name".to_owned(), named.clone());
        }
        let file_system = &context.spec.file_systems[&wanted.key];
        wanted.access_points = access_point::wanted(context, &wanted.key, file_system, &named)?;
        wanted.name = named;
    }
    Ok(Place { found, old: old.into_iter().map(|at| ours[at]).collect() })
}

fn is_replaced(found: &FileSystemDescription) -> bool {
    tags(found).get(REPLACED).is_some_and(|id| id == found.file_system_id())
}

async fn ensure(efs: &Efs, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let standing = if wanted.is_empty() { Vec::new() } else { all(efs).await? };
    let passes = wanted.into_iter().map(|wanted| ensure_one(efs, ec2, context, &standing, wanted));
    Answer::new(BTreeMap::from_iter(side_by_side(passes).await?), Vec::new())
}

async fn ensure_one(
    efs: &Efs,
    ec2: &Ec2,
    context: &Context,
    standing: &[FileSystemDescription],
    mut wanted: Wanted,
) -> Result<(String, FileSystemOutput)> {
    let place = settle(context, standing, &mut wanted)?;
    let wanted = &wanted;
    let group = security_group::ensure(ec2, context, &wanted.group).await?;
    let found = if let Some(found) = place.found {
        found.clone()
    } else {
        create(efs, wanted).await?;
        find(efs, context, &wanted.name).await?.ok_or_else(|| young(wanted))?
    };
    // Neither mount targets nor access points are made before it is there.
    available(&found, wanted)?;
    update(efs, &found, wanted).await?;
    let id = found.file_system_id();
    let access_points = access_point::ensure(efs, id, &wanted.access_points).await?;
    mount_target::ensure(efs, ec2, context, id, wanted, &group).await?;
    // From now on `prune` may delete these.
    let going = |old: &FileSystemDescription| old.life_cycle_state() == &LifeCycleState::Deleting;
    for old in place.old.into_iter().filter(|old| !is_replaced(old) && !going(old)) {
        put_aside(efs, old).await?;
    }
    Ok((wanted.key.clone(), FileSystemOutput { id: id.to_owned(), access_points }))
}

async fn plan(efs: &Efs, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let standing = all(efs).await?;
    let mut places = Vec::new();
    for mut wanted in wanted(context)? {
        places.push((settle(context, &standing, &mut wanted)?, wanted));
    }
    let old = places.iter().flat_map(|(place, _)| &place.old).map(|old| old.file_system_id().to_owned());
    let old = old.filter(|_| !context.run.paused).collect();
    let mut changes = delete_dropped(efs, ec2, context, &standing, &old).await?;
    let refused = refused(context, &standing);
    let mut outputs = BTreeMap::new();
    for (place, wanted) in places {
        let (of_group, group) = security_group::plan(ec2, context, &wanted.group).await?;
        changes.extend(of_group);
        let Some(found) = place.found else {
            changes.push(Change::create(&wanted.address).with("name", &wanted.name));
            changes.extend(wanted.access_points.iter().map(access_point::Wanted::create));
            outputs.insert(wanted.key.clone(), unknown(&wanted));
            continue;
        };
        let mut fields = difference(found, &wanted);
        fields.extend(mount_target::plan(efs, ec2, found.file_system_id(), &wanted, group.as_deref()).await?);
        changes.extend(Change::update(&wanted.address, fields));
        let (of_points, access_points) =
            access_point::plan(efs, found.file_system_id(), &wanted.access_points).await?;
        changes.extend(of_points);
        let output = FileSystemOutput { id: found.file_system_id().to_owned(), access_points };
        outputs.insert(wanted.key.clone(), output);
    }
    Ok(Answer::new(outputs, changes)?.keeping(NEEDS.map(str::to_owned)).refusing(refused))
}

fn unknown(wanted: &Wanted) -> FileSystemOutput {
    let points = wanted.access_points.iter().map(|point| (point.key.clone(), UNKNOWN.to_owned()));
    FileSystemOutput { id: UNKNOWN.to_owned(), access_points: points.collect() }
}

async fn prune(efs: &Efs, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let standing = all(efs).await?;
    // Nothing is verified that is paused: the old one goes for the new when that has shown itself.
    let old = standing.iter().filter(|found| is_replaced(found) && !context.run.paused);
    let old = old.map(|found| found.file_system_id().to_owned()).collect();
    let changes = delete_dropped(efs, ec2, context, &standing, &old).await?;
    // Of an environment that goes no network is known, and nothing stays open.
    if context.outputs.network.is_some() {
        for mut wanted in wanted(context)? {
            if let Some(found) = settle(context, &standing, &mut wanted)?.found {
                mount_target::delete_dropped(efs, found.file_system_id(), &wanted).await?;
            }
            security_group::close(ec2, context, &wanted.group).await?;
        }
    }
    if !context.run.paused {
        settled(efs, context, &standing).await?;
    }
    Ok(Answer::changed(changes).keeping(NEEDS.map(str::to_owned)))
}

/// Why file systems that the spec doesn't mention can't go: what is in them was given up by nobody.
fn refused(context: &Context, all: &[FileSystemDescription]) -> Vec<String> {
    let kept = addresses(context);
    let refusal = |found: &FileSystemDescription| {
        let (address, tags) = (address(context, found), tags(found));
        let is_going = found.life_cycle_state() == &LifeCycleState::Deleting;
        let stays = is_going || address.is_empty() || kept.contains(&address) || is_protected(&tags);
        let goes = stays || context.may_lose(&address) || is_unused(found);
        let what = format!("EFS file system ({})", found.file_system_id());
        (!goes).then(|| loss(&address, &what, "which would be deleted with every file in it"))
    };
    all.iter().filter_map(refusal).collect()
}

/// Whether no run has ended well with a file system, and nothing is in it.
fn is_unused(found: &FileSystemDescription) -> bool {
    is_new(&tags(found)) && found.size_in_bytes().is_some_and(|size| size.value() <= EMPTY)
}

/// The addresses of the file systems of the spec, and those that they had before.
fn addresses(context: &Context) -> BTreeSet<String> {
    let all = context.spec.file_systems.iter();
    let keys = all.flat_map(|(key, file_system)| std::iter::once(key).chain(&file_system.formerly));
    keys.map(|key| format!("{SECTION}{key}")).collect()
}

/// Notes on the file systems of the spec that a run has ended well with them.
async fn settled(efs: &Efs, context: &Context, all: &[FileSystemDescription]) -> Result<()> {
    let kept = addresses(context);
    let new = all.iter().filter(|found| is_new(&tags(found)) && kept.contains(&address(context, found)));
    let tag = BTreeMap::from([(NEW.to_owned(), "false".to_owned())]);
    side_by_side(new.map(|found| put_tags(efs, found, &tag))).await?;
    Ok(())
}

/// Deletes what is ours and the spec doesn't mention, and by its id what another took the place of, but for what is
/// protected; in a plan only names it.
async fn delete_dropped(
    efs: &Efs,
    ec2: &Ec2,
    context: &Context,
    all: &[FileSystemDescription],
    old: &BTreeSet<String>,
) -> Result<Vec<Change>> {
    let kept = addresses(context);
    let groups = context.spec.file_systems.keys().map(|key| format!("{SECTION}{key}.group"));
    let mut kept_groups: BTreeSet<String> = groups.collect();
    let pruning = context.operation == Operation::Prune;
    let mut changes = Vec::new();
    let ours = all.iter().filter(|found| context.owner().address(&tags(found)).is_some());
    let (standing, dropped): (Vec<_>, Vec<_>) = ours
        .partition(|found| kept.contains(&address(context, found)) && !old.contains(found.file_system_id()));
    for found in standing {
        changes.extend(access_point::delete_dropped(efs, context, found).await?);
    }
    let (protected, dropped): (Vec<_>, Vec<_>) =
        dropped.into_iter().partition(|found| is_protected(&tags(found)));
    for found in &protected {
        let address = address(context, found);
        kept_groups.insert(format!("{address}.group"));
        changes.push(Change::keep(address).with("id", found.file_system_id()));
    }
    for found in &dropped {
        changes.push(Change::delete(address(context, found)).with("id", found.file_system_id()));
    }
    let mut groups = security_group::ours(ec2, context, SECTION).await?;
    groups.retain(|group| {
        security_group::address(context, group).is_some_and(|address| !kept_groups.contains(&address))
    });
    for group in &groups {
        let address = security_group::address(context, group).unwrap_or_default();
        changes.push(Change::delete(address).with("id", group.group_id().unwrap_or_default()));
    }
    if pruning {
        side_by_side(dropped.iter().map(|found| delete(efs, found))).await?;
        let group = async |group: &aws_sdk_ec2::types::SecurityGroup| {
            let address = security_group::address(context, group).unwrap_or_default();
            security_group::delete(ec2, context, group.group_id().unwrap_or_default(), &address).await
        };
        side_by_side(groups.iter().map(group)).await?;
    }
    Ok(changes)
}

async fn find(efs: &Efs, context: &Context, name: &str) -> Result<Option<FileSystemDescription>> {
    let described = efs.describe_file_systems().creation_token(name).send().await;
    let described = described.doing(|| format!("describing EFS file system ({name})"))?;
    let found = described.file_systems.unwrap_or_default().into_iter().find(|found| !is_gone(found));
    if let Some(found) = &found {
        context.owner().check(&format!("EFS file system ({name})"), &tags(found))?;
    }
    Ok(found)
}

/// Every file system of the region, ours and others.
async fn all(efs: &Efs) -> Result<Vec<FileSystemDescription>> {
    let pages = efs.describe_file_systems().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = all.doing(|| "describing EFS file systems")?;
    all.retain(|found| !is_gone(found));
    Ok(all)
}

fn address(context: &Context, found: &FileSystemDescription) -> String {
    context.owner().address(&tags(found)).unwrap_or_default().to_owned()
}

fn is_gone(found: &FileSystemDescription) -> bool {
    found.life_cycle_state() == &LifeCycleState::Deleted
}

fn tags(found: &FileSystemDescription) -> BTreeMap<String, String> {
    found.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

/// Waits until the file system can be used.
fn available(found: &FileSystemDescription, wanted: &Wanted) -> Result<()> {
    let state = found.life_cycle_state();
    match state {
        LifeCycleState::Available => Ok(()),
        LifeCycleState::Deleting => Err(Error::soon(format!(
            "EFS file system ({}) is being deleted before it can be made anew",
            wanted.name
        ))),
        LifeCycleState::Error => Err(Error::Failed(format!(
            "creating EFS file system ({}): EFS says that it failed; delete it, then start the run again",
            wanted.name
        ))),
        _ => {
            let doing = format!("EFS file system ({}) is {}", wanted.name, state.as_str());
            Err(Latency::of("efs").wait(&doing, created(found)?))
        }
    }
}

fn created(found: &FileSystemDescription) -> Result<Timestamp> {
    let seconds = DateTime::secs(found.creation_time());
    Timestamp::from_second(seconds)
        .map_err(|error| Error::Failed(format!("reading when a file system was made: {error}")))
}

/// What encrypts a file system is settled when it is made.
/// Source: <https://docs.aws.amazon.com/efs/latest/ug/encryption-at-rest.html>
fn misfit(found: &FileSystemDescription, wanted: &Wanted) -> Option<Error> {
    // EFS names its own key where it was given none.
    let own = tags(found).get(OWN_KEY).is_some_and(|own| own == "true");
    let key = found.kms_key_id().filter(|_| wanted.encryption.is_some() || own);
    let field = compare_key(key, wanted.encryption.as_ref())?;
    Some(Error::InvalidSpec(format!(
        "{address}: EFS file system ({}) is encrypted with {}, and EFS can't change that to {}: copy its files to \
         another file system of the spec first; then write `allowDataLoss: [{address}]` at the top of the spec: an \
         empty one takes its place, and this one goes with its files",
        found.creation_token(),
        field.found.unwrap_or_default(),
        field.wanted,
        address = wanted.address,
    )))
}

fn difference(found: &FileSystemDescription, wanted: &Wanted) -> Vec<Field> {
    let throughput = found.throughput_mode().unwrap_or(&ThroughputMode::Bursting);
    compare("throughput", throughput.as_str(), wanted.throughput.as_str())
        .into_iter()
        .chain(missing_tags(&tags(found), &wanted.tags))
        .collect()
}

/// A file system that EFS has made and doesn't tell of yet.
fn young(wanted: &Wanted) -> Error {
    Error::soon(format!("EFS file system ({}) has been made and isn't seen yet", wanted.name))
}

/// The same token answers that the file system exists, so that this call can't double it.
async fn create(efs: &Efs, wanted: &Wanted) -> Result<()> {
    let created = efs
        .create_file_system()
        .creation_token(&wanted.name)
        .encrypted(true)
        .set_kms_key_id(wanted.encryption.clone())
        .throughput_mode(wanted.throughput.clone())
        .set_tags(Some(tag_list(&new(&wanted.tags))?))
        .send()
        .await;
    let doing = || format!("creating EFS file system ({})", wanted.name);
    created.unless_absent(&["FileSystemAlreadyExists"], doing)?.map(|_| ()).ok_or_else(|| young(wanted))
}

/// The tags of a file system that is made.
fn new(tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut tags = tags.clone();
    tags.insert(NEW.to_owned(), "true".to_owned());
    tags
}

async fn update(efs: &Efs, found: &FileSystemDescription, wanted: &Wanted) -> Result<()> {
    let (id, name) = (found.file_system_id(), &wanted.name);
    if found.throughput_mode().unwrap_or(&ThroughputMode::Bursting) != &wanted.throughput {
        let update = efs.update_file_system().file_system_id(id).throughput_mode(wanted.throughput.clone());
        update.send().await.doing(|| format!("changing the throughput of EFS file system ({name})"))?;
    }
    if !missing_tags(&tags(found), &wanted.tags).is_empty() {
        let put = efs.tag_resource().resource_id(id).set_tags(Some(tag_list(&wanted.tags)?)).send().await;
        put.doing(|| format!("tagging EFS file system ({name})"))?;
    }
    Ok(())
}

/// Tags a file system whose place another has taken.
async fn put_aside(efs: &Efs, old: &FileSystemDescription) -> Result<()> {
    put_tags(efs, old, &BTreeMap::from([(REPLACED.to_owned(), old.file_system_id().to_owned())])).await
}

async fn put_tags(efs: &Efs, found: &FileSystemDescription, tags: &BTreeMap<String, String>) -> Result<()> {
    let put =
        efs.tag_resource().resource_id(found.file_system_id()).set_tags(Some(tag_list(tags)?)).send().await;
    put.doing(|| format!("tagging EFS file system ({})", found.creation_token()))?;
    Ok(())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Deletes a file system, and first what EFS wants gone before it.
async fn delete(efs: &Efs, found: &FileSystemDescription) -> Result<()> {
    let id = found.file_system_id();
    access_point::delete_all(efs, id).await?;
    mount_target::delete_all(efs, id).await?;
    let doing = || format!("deleting EFS file system ({})", found.creation_token());
    let deleted = efs.delete_file_system().file_system_id(id).send().await;
    deleted.gone(&["FileSystemNotFound"], &["FileSystemInUse"], doing)
}

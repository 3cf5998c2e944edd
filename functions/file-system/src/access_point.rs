//! Access points. None of their settings can be changed, so that another setting is another access point,
//! told apart by a client token that holds a hash of them.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_efs::{
    Client,
    types::{
        AccessPointDescription, CreationInfo, FileSystemDescription, LifeCycleState, PosixUser,
        RootDirectory, Tag,
    },
};
use spec::{AccessPoint, FileSystem};
use step::{Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, side_by_side};

/// The longest client token.
const LIMIT: usize = 64;

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) key: String,
    address: String,
    token: String,
    path: String,
    user: i64,
    group: i64,
    mode: String,
    tags: BTreeMap<String, String>,
}

impl Wanted {
    pub(crate) fn create(&self) -> Change {
        Change::create(&self.address).with("path", &self.path)
    }
}

/// The access points of a file system of this name.
pub(crate) fn wanted(
    context: &Context,
    key: &str,
    file_system: &FileSystem,
    of: &str,
) -> Result<Vec<Wanted>> {
    let points = file_system.access_points.iter();
    let named_by = spec::named_by(key, file_system.formerly.as_ref());
    points.map(|(name, point)| wanted_one(context, (key, named_by, of), name, point)).collect()
}

fn wanted_one(
    context: &Context,
    (key, named_by, of): (&str, &str, &str),
    name: &str,
    point: &AccessPoint,
) -> Result<Wanted> {
    let address = format!("fileSystems.{key}.{name}");
    let broken = || Error::InvalidSpec(format!("{address}.owner: {} is no user and group", point.owner));
    let (user, group) = point.ids().ok_or_else(broken)?;
    let mut settings = format!("{} {} {}", point.path, point.owner, point.mode);
    // A token is taken once, and the file system whose place this one takes has its own points.
    if of != crate::name(context, named_by) {
        settings = format!("{settings} {of}");
    }
    Ok(Wanted {
        key: name.to_owned(),
        token: token(context, named_by, name, &settings),
        path: point.path.clone(),
        user,
        group,
        mode: point.mode.clone(),
        tags: context.tags(&address),
        address,
    })
}

fn token(context: &Context, key: &str, name: &str, settings: &str) -> String {
    step::name_of(&context.run.environment, &format!("{key}.{name}"), LIMIT, settings)
}

/// The id of each access point, by its name in the spec.
pub(crate) async fn ensure(efs: &Client, id: &str, wanted: &[Wanted]) -> Result<BTreeMap<String, String>> {
    let found = all(efs, id).await?;
    let one = async |wanted: &Wanted| {
        let point = match find(&found, wanted) {
            Some(point) => point.access_point_id().unwrap_or_default().to_owned(),
            None => create(efs, id, wanted).await?,
        };
        Ok((wanted.key.clone(), point))
    };
    Ok(side_by_side(wanted.iter().map(one)).await?.into_iter().collect())
}

/// What `ensure` would change, and the ids that are known.
pub(crate) async fn plan(
    efs: &Client,
    id: &str,
    wanted: &[Wanted],
) -> Result<(Vec<Change>, BTreeMap<String, String>)> {
    let found = all(efs, id).await?;
    let mut changes = Vec::new();
    let mut ids = BTreeMap::new();
    for wanted in wanted {
        let point = find(&found, wanted);
        let known = point.and_then(AccessPointDescription::access_point_id).unwrap_or(UNKNOWN);
        ids.insert(wanted.key.clone(), known.to_owned());
        if point.is_none() {
            let before = found.iter().find(|point| tags(point).get(step::ADDRESS) == Some(&wanted.address));
            changes.extend(match before {
                Some(before) => Change::update(&wanted.address, replaced(before, wanted)),
                None => Some(wanted.create()),
            });
        }
    }
    Ok((changes, ids))
}

/// The settings in which another access point takes this one's place.
fn replaced(before: &AccessPointDescription, wanted: &Wanted) -> Vec<Field> {
    let root = before.root_directory();
    let made = root.and_then(RootDirectory::creation_info);
    let owner = |user: i64, group: i64| format!("{user}:{group}");
    let user = before.posix_user().map(|user| owner(user.uid(), user.gid()));
    [
        step::compare("path", root.and_then(RootDirectory::path).unwrap_or("/"), wanted.path.as_str()),
        step::compare("owner", user.unwrap_or_default(), owner(wanted.user, wanted.group)),
        step::compare("mode", made.map(CreationInfo::permissions).unwrap_or_default(), wanted.mode.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn all(efs: &Client, id: &str) -> Result<Vec<AccessPointDescription>> {
    let pages = efs.describe_access_points().file_system_id(id).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.unless_absent(&["FileSystemNotFound"], || {
        format!("describing the access points of EFS file system ({id})")
    })?;
    let mut all = all.unwrap_or_default();
    let going = [LifeCycleState::Deleting, LifeCycleState::Deleted];
    all.retain(|point| point.life_cycle_state().is_none_or(|state| !going.contains(state)));
    Ok(all)
}

fn find<'a>(found: &'a [AccessPointDescription], wanted: &Wanted) -> Option<&'a AccessPointDescription> {
    found.iter().find(|point| point.client_token() == Some(&wanted.token))
}

fn tags(point: &AccessPointDescription) -> BTreeMap<String, String> {
    point.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

/// The same token answers that the access point exists, so that this call can't double it.
async fn create(efs: &Client, id: &str, wanted: &Wanted) -> Result<String> {
    let broken = |error| Error::Failed(format!("writing the settings of {}: {error}", wanted.address));
    let user = PosixUser::builder().uid(wanted.user).gid(wanted.group).build().map_err(broken)?;
    let made = CreationInfo::builder()
        .owner_uid(wanted.user)
        .owner_gid(wanted.group)
        .permissions(&wanted.mode)
        .build()
        .map_err(broken)?;
    let tag = |(key, value)| Tag::builder().key(key).value(value).build().map_err(broken);
    let created = efs
        .create_access_point()
        .client_token(&wanted.token)
        .file_system_id(id)
        .posix_user(user)
        .root_directory(RootDirectory::builder().path(&wanted.path).creation_info(made).build())
        .set_tags(Some(wanted.tags.iter().map(tag).collect::<Result<_>>()?))
        .send()
        .await;
    let doing = || format!("creating access point {} of EFS file system ({id})", wanted.address);
    let created = created.unless_absent(&["AccessPointAlreadyExists"], doing)?;
    created.and_then(|answer| answer.access_point_id).ok_or_else(|| {
        Error::soon(format!("access point {} has been made and isn't seen yet", wanted.address))
    })
}

/// Deletes the access points of a file system that stays which the spec doesn't mention, or which another
/// took the place of; in a plan only names those it doesn't mention.
pub(crate) async fn delete_dropped(
    efs: &Client,
    context: &Context,
    of: &FileSystemDescription,
) -> Result<Vec<Change>> {
    let (mut tokens, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (key, file_system) in &context.spec.file_systems {
        for point in wanted(context, key, file_system, of.creation_token())? {
            tokens.insert(point.token);
            addresses.insert(point.address);
        }
    }
    let mut dropped = all(efs, of.file_system_id()).await?;
    dropped.retain(|point| {
        let ours = context.owner().address(&tags(point)).is_some();
        ours && !point.client_token().is_some_and(|token| tokens.contains(token))
    });
    if context.operation == Operation::Prune {
        side_by_side(dropped.iter().map(|point| delete(efs, point))).await?;
    }
    let address = |point: &AccessPointDescription| tags(point).remove(step::ADDRESS).unwrap_or_default();
    let told = dropped.iter().map(address).filter(|address| !addresses.contains(address));
    Ok(told.map(Change::delete).collect())
}

pub(crate) async fn delete_all(efs: &Client, id: &str) -> Result<()> {
    side_by_side(all(efs, id).await?.iter().map(|point| delete(efs, point))).await?;
    Ok(())
}

async fn delete(efs: &Client, point: &AccessPointDescription) -> Result<()> {
    let id = point.access_point_id().unwrap_or_default();
    let deleted = efs.delete_access_point().access_point_id(id).send().await;
    deleted.gone(&["AccessPointNotFound"], &[], || format!("deleting access point ({id})"))
}

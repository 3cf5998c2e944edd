//! The group that an environment's schedules are in.

use std::collections::BTreeMap;

use aws_sdk_scheduler::{
    Client,
    operation::get_schedule_group::GetScheduleGroupOutput,
    types::{ScheduleGroupState, Tag},
};
use step::{Change, Context, Doing, Error, Result, digits, missing_tags};

use crate::ABSENT;

/// The group's address.
pub(crate) const ADDRESS: &str = "schedule";

/// A group with its tags.
pub(crate) struct Found {
    group: GetScheduleGroupOutput,
    tags: BTreeMap<String, String>,
}

impl Found {
    /// Whether it is being deleted, with all that is in it.
    pub(crate) fn is_going(&self) -> bool {
        self.group.state() == Some(&ScheduleGroupState::Deleting)
    }
}

/// The group's name.
pub(crate) fn name(context: &Context) -> String {
    format!("plinth-{}", context.run.environment)
}

/// Makes sure of the group. One that is being deleted takes no schedules, and holds its name until it is gone.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-group.html>
pub(crate) async fn ensure(scheduler: &Client, context: &Context) -> Result<()> {
    let name = name(context);
    let Some(found) = find(scheduler, context).await? else { return create(scheduler, context).await };
    if found.is_going() {
        return Err(Error::soon(format!(
            "schedule group ({name}) is being deleted before it can be made anew"
        )));
    }
    context.owner().check(&format!("schedule group ({name})"), &found.tags)?;
    let wanted = context.tags(ADDRESS);
    if missing_tags(&found.tags, &wanted).is_empty() {
        return Ok(());
    }
    let arn = found.group.arn().unwrap_or_default();
    let put = scheduler.tag_resource().resource_arn(arn).set_tags(Some(tag_list(&wanted)?)).send().await;
    put.doing(|| format!("tagging schedule group ({name})"))?;
    Ok(())
}

pub(crate) async fn plan(scheduler: &Client, context: &Context) -> Result<Option<Change>> {
    let name = name(context);
    let Some(found) = find(scheduler, context).await?.filter(|found| !found.is_going()) else {
        return Ok(Some(Change::create(ADDRESS).with("name", name)));
    };
    context.owner().check(&format!("schedule group ({name})"), &found.tags)?;
    Ok(Change::update(ADDRESS, missing_tags(&found.tags, &context.tags(ADDRESS))))
}

/// Our group, also one that is being deleted. One of somebody else's is none.
pub(crate) async fn ours(scheduler: &Client, context: &Context) -> Result<Option<Found>> {
    let found = find(scheduler, context).await?;
    Ok(found.filter(|found| context.owner().address(&found.tags).is_some()))
}

/// The names of the schedules in the group.
pub(crate) async fn schedules(scheduler: &Client, context: &Context) -> Result<Vec<String>> {
    let name = name(context);
    let pages = scheduler.list_schedules().group_name(&name).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.unless_absent(&ABSENT, || format!("listing the schedules of {name}"))?;
    Ok(all.unwrap_or_default().into_iter().filter_map(|schedule| schedule.name).collect())
}

async fn find(scheduler: &Client, context: &Context) -> Result<Option<Found>> {
    let name = name(context);
    let found = scheduler.get_schedule_group().name(&name).send().await;
    let found = found.unless_absent(&ABSENT, || format!("looking at schedule group ({name})"))?;
    let Some(group) = found else { return Ok(None) };
    let listed =
        scheduler.list_tags_for_resource().resource_arn(group.arn().unwrap_or_default()).send().await;
    // Absent: it went in between.
    let listed = listed.unless_absent(&ABSENT, || format!("reading the tags of schedule group ({name})"))?;
    let pair = |tag: Tag| (tag.key, tag.value);
    Ok(listed
        .map(|tags| Found { group, tags: tags.tags.unwrap_or_default().into_iter().map(pair).collect() }))
}

/// The token makes a second call of this run the first.
async fn create(scheduler: &Client, context: &Context) -> Result<()> {
    let name = name(context);
    let created = scheduler
        .create_schedule_group()
        .name(&name)
        // An execution's name may have characters that Scheduler takes in no token.
        .client_token(digits(&context.token(ADDRESS), 64))
        .set_tags(Some(tag_list(&context.tags(ADDRESS))?))
        .send()
        .await;
    // The next pass sees whose it is.
    created.gone(&[], &["ConflictException"], || format!("creating schedule group ({name})"))
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Asks for the deletion, and waits until the group is gone: until then its name is taken.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html>
pub(crate) async fn delete(scheduler: &Client, context: &Context, found: &Found) -> Result<()> {
    let name = name(context);
    if !found.is_going() {
        let deleted = scheduler.delete_schedule_group().name(&name).send().await;
        // A change to it that is still under way.
        deleted.gone(&ABSENT, &["ConflictException"], || format!("deleting schedule group ({name})"))?;
    }
    match find(scheduler, context).await? {
        None => Ok(()),
        Some(_) => Err(Error::soon(format!("schedule group ({name}) is being deleted"))),
    }
}

//! The step `schedule`: what happens by the clock, as EventBridge Scheduler schedules that start the
//! `environment` machine.
//!
//! They stand in the control plane's own region, wherever the environment is. A schedule can't be tagged, a
//! schedule group can: the group `plinth-<environment>` carries the owner's tags from `CreateScheduleGroup`
//! on, and a schedule is ours because it is in our group.

mod expire;
mod group;
mod rebuild;
mod schedule;
#[cfg(test)]
mod tests;

use aws_sdk_scheduler::Client;
use step::{Answer, Change, Context, Operation, Result};

/// What Scheduler answers for what isn't there.
const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// What a schedule starts, by ARNs.
#[derive(Debug, Clone)]
pub struct Starts {
    /// The `environment` machine.
    pub machine: String,
    /// The role with which Scheduler starts it.
    pub role: String,
    /// The queue for what it couldn't start.
    pub dead_letters: Option<String>,
}

/// One pass.
pub async fn handle(context: Context, starts: Starts) -> Result<Answer> {
    let scheduler = Client::new(&context.home);
    match context.operation {
        Operation::Plan => plan(&scheduler, &context, &starts).await,
        Operation::Ensure => ensure(&scheduler, &context, &starts).await,
        Operation::Prune => prune(&scheduler, &context).await,
    }
}

async fn ensure(scheduler: &Client, context: &Context, starts: &Starts) -> Result<Answer> {
    if kept(context).is_empty() {
        return Ok(Answer::default());
    }
    group::ensure(scheduler, context).await?;
    if let Some(spec) = &context.spec.schedule {
        let found = schedule::find(scheduler, context, rebuild::NAME).await?;
        schedule::ensure(scheduler, context, found.as_ref(), &rebuild::wanted(context, spec, starts)).await?;
    }
    if context.spec.expires.is_some() {
        let found = schedule::find(scheduler, context, expire::NAME).await?;
        if let Some(wanted) = expire::wanted(context, starts, found.as_ref()) {
            schedule::ensure(scheduler, context, found.as_ref(), &wanted).await?;
        }
    }
    Ok(Answer::default())
}

async fn plan(scheduler: &Client, context: &Context, starts: &Starts) -> Result<Answer> {
    let mut changes = delete_dropped(scheduler, context).await?;
    if kept(context).is_empty() {
        return Ok(Answer::changed(changes));
    }
    changes.extend(group::plan(scheduler, context).await?);
    if let Some(spec) = &context.spec.schedule {
        let found = schedule::find(scheduler, context, rebuild::NAME).await?;
        changes.extend(schedule::plan(found.as_ref(), &rebuild::wanted(context, spec, starts)));
    }
    if context.spec.expires.is_some() {
        let found = schedule::find(scheduler, context, expire::NAME).await?;
        let wanted = expire::wanted(context, starts, found.as_ref());
        changes.extend(wanted.and_then(|wanted| schedule::plan(found.as_ref(), &wanted)));
    }
    Ok(Answer::changed(changes))
}

/// The names of the schedules that the spec asks for.
fn kept(context: &Context) -> Vec<&'static str> {
    let rebuild = context.spec.schedule.as_ref().map(|_| rebuild::NAME);
    let expire = context.spec.expires.map(|_| expire::NAME);
    rebuild.into_iter().chain(expire).collect()
}

async fn prune(scheduler: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(scheduler, context).await?))
}

/// Deletes what is in our group and the spec doesn't mention, and the group if the spec asks for none; in
/// a plan only names them.
async fn delete_dropped(scheduler: &Client, context: &Context) -> Result<Vec<Change>> {
    let Some(found) = group::ours(scheduler, context).await? else { return Ok(Vec::new()) };
    let kept = kept(context);
    let mut names = if found.is_going() { Vec::new() } else { group::schedules(scheduler, context).await? };
    names.retain(|name| !kept.contains(&name.as_str()));
    let dropped = names.iter().map(|name| Change::delete(schedule::address(name)));
    let mut changes: Vec<Change> = dropped.collect();
    if kept.is_empty() {
        changes.push(Change::delete(group::ADDRESS).with("name", group::name(context)));
    }
    if context.operation == Operation::Prune {
        for name in &names {
            schedule::delete(scheduler, context, name).await?;
        }
        if kept.is_empty() {
            group::delete(scheduler, context, &found).await?;
        }
    }
    Ok(changes)
}

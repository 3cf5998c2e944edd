//! The step `schedule`: what happens by the clock, as EventBridge Scheduler schedules that start the
//! `environment` machine.
//!
//! They stand in the control plane's own region, wherever the environment is. A schedule can't be tagged, a
//! schedule group can: the group `plinth-<environment>` carries the owner's tags from `CreateScheduleGroup`
//! on, and a schedule is ours because it is in our group.

mod group;
mod rebuild;
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
    let Some(schedule) = &context.spec.schedule else { return Ok(Answer::default()) };
    group::ensure(scheduler, context).await?;
    rebuild::ensure(scheduler, context, &rebuild::wanted(context, schedule, starts)).await?;
    Ok(Answer::default())
}

async fn plan(scheduler: &Client, context: &Context, starts: &Starts) -> Result<Answer> {
    let mut changes = delete_dropped(scheduler, context).await?;
    let Some(schedule) = &context.spec.schedule else { return Ok(Answer::changed(changes)) };
    changes.extend(group::plan(scheduler, context).await?);
    changes.extend(rebuild::plan(scheduler, &rebuild::wanted(context, schedule, starts)).await?);
    Ok(Answer::changed(changes))
}

async fn prune(scheduler: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(scheduler, context).await?))
}

/// Deletes what is in our group and the spec doesn't mention, and the group if the spec has no schedule; in
/// a plan only names them.
async fn delete_dropped(scheduler: &Client, context: &Context) -> Result<Vec<Change>> {
    let Some(found) = group::ours(scheduler, context).await? else { return Ok(Vec::new()) };
    let kept = context.spec.schedule.is_some();
    let mut names = if found.is_going() { Vec::new() } else { group::schedules(scheduler, context).await? };
    names.retain(|name| !(kept && name == rebuild::NAME));
    let dropped = names.iter().map(|name| Change::delete(format!("{}.{name}", group::ADDRESS)));
    let mut changes: Vec<Change> = dropped.collect();
    if !kept {
        changes.push(Change::delete(group::ADDRESS).with("name", group::name(context)));
    }
    if context.operation == Operation::Prune {
        for name in &names {
            rebuild::delete(scheduler, context, name).await?;
        }
        if !kept {
            group::delete(scheduler, context, &found).await?;
        }
    }
    Ok(changes)
}

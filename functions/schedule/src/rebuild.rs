//! The schedule `rebuild`: the environment torn down and built anew by the clock.

use std::time::{Duration, SystemTime};

use aws_sdk_scheduler::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_schedule::GetScheduleOutput,
    primitives::{DateTime, DateTimeFormat},
    types::{
        DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, ScheduleState, Target,
    },
};
use serde_json::{Value, json};
use spec::Schedule;
use step::{Change, Context, Doing, Error, Field, Latency, Result, compare};

use crate::{ABSENT, Starts, group};

/// The schedule's name in its group.
pub(crate) const NAME: &str = "rebuild";

/// The schedule's address.
const ADDRESS: &str = "schedule.rebuild";

/// For how long, in seconds, and how often Scheduler tries again to start a run: a rebuild that couldn't begin
/// within the hour waits for its next time.
const EVENT_AGE: i32 = 3600;
const RETRIES: i32 = 20;

/// What a field is that the spec leaves alone.
const NONE: &str = "none";

/// What the spec asks for.
pub(crate) struct Wanted {
    group: String,
    expression: String,
    timezone: String,
    description: String,
    /// The latest moment from which it may hold; none for one that holds at once.
    from: Option<DateTime>,
    machine: String,
    role: String,
    dead_letters: Option<String>,
    input: Value,
}

/// A schedule at a rate starts its target as soon as it is made, if it has no `StartDate`: the environment,
/// just built, would be torn down.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based>
pub(crate) fn wanted(context: &Context, schedule: &Schedule, starts: &Starts) -> Wanted {
    let environment = &context.run.environment;
    let later = |seconds| {
        let later = DateTime::from(SystemTime::now() + Duration::from_secs(seconds));
        DateTime::from_secs(later.secs())
    };
    Wanted {
        group: group::name(context),
        expression: schedule.rebuild.clone(),
        timezone: schedule.timezone.clone(),
        description: format!("Rebuilds environment {environment}"),
        from: schedule.interval().map(|interval| later(interval.seconds())),
        machine: starts.machine.clone(),
        role: starts.role.clone(),
        dead_letters: starts.dead_letters.clone(),
        input: json!({ "environment": environment, "action": "rebuild" }),
    }
}

impl Wanted {
    /// From when on it holds. What the schedule says stays, where it is still to come and soon enough: another
    /// change doesn't put a rebuild off. One that lies back can't be said again.
    /// Source: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>
    fn start(&self, found: Option<&GetScheduleOutput>) -> Option<DateTime> {
        let now = DateTime::from(SystemTime::now());
        let same = found.filter(|found| found.schedule_expression() == Some(&self.expression));
        let to_come = same.and_then(GetScheduleOutput::start_date).filter(|start| **start > now);
        self.from.map(|from| to_come.copied().filter(|start| *start <= from).unwrap_or(from))
    }

    fn target(&self) -> Result<Target> {
        let queue = |arn: &String| DeadLetterConfig::builder().arn(arn).build();
        Target::builder()
            .arn(&self.machine)
            .role_arn(&self.role)
            .input(self.input.to_string())
            .set_dead_letter_config(self.dead_letters.as_ref().map(queue))
            .retry_policy(
                RetryPolicy::builder()
                    .maximum_event_age_in_seconds(EVENT_AGE)
                    .maximum_retry_attempts(RETRIES)
                    .build(),
            )
            .build()
            .map_err(unwritten)
    }
}

fn unwritten(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("writing {ADDRESS}: {error}"))
}

/// At its time and no later.
fn window() -> Result<FlexibleTimeWindow> {
    FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(unwritten)
}

pub(crate) async fn ensure(scheduler: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    match find(scheduler, wanted).await? {
        None => create(scheduler, context, wanted).await,
        Some(found) if difference(&found, wanted).is_empty() => Ok(()),
        Some(found) => update(scheduler, context, &found, wanted).await,
    }
}

pub(crate) async fn plan(scheduler: &Client, wanted: &Wanted) -> Result<Option<Change>> {
    let told = |create: Change| create.with("rebuild", &wanted.expression).with("timezone", &wanted.timezone);
    Ok(match find(scheduler, wanted).await? {
        None => Some(told(Change::create(ADDRESS))),
        Some(found) => Change::update(ADDRESS, difference(&found, wanted)),
    })
}

async fn find(scheduler: &Client, wanted: &Wanted) -> Result<Option<GetScheduleOutput>> {
    let found = scheduler.get_schedule().group_name(&wanted.group).name(NAME).send().await;
    found.unless_absent(&ABSENT, || format!("looking at schedule ({}/{NAME})", wanted.group))
}

fn difference(found: &GetScheduleOutput, wanted: &Wanted) -> Vec<Field> {
    let target = found.target();
    let mode = found.flexible_time_window().map(FlexibleTimeWindow::mode);
    let after = found.action_after_completion().map_or(NONE, |action| action.as_str());
    let queue = target.and_then(Target::dead_letter_config).and_then(DeadLetterConfig::arn);
    let retries = target.and_then(Target::retry_policy).map(|policy| {
        told_retries(
            policy.maximum_retry_attempts().unwrap_or_default(),
            policy.maximum_event_age_in_seconds().unwrap_or_default(),
        )
    });
    // Compared as JSON, shown as text: the two may differ in white space and order.
    let input = target.and_then(Target::input).unwrap_or_default();
    let same_input = serde_json::from_str::<Value>(input).is_ok_and(|input| input == wanted.input);
    let input = (!same_input).then(|| Field {
        name: "input".to_owned(),
        found: Some(input.to_owned()),
        wanted: wanted.input.to_string(),
    });
    [
        compare("rebuild", found.schedule_expression().unwrap_or(NONE), &wanted.expression),
        compare("timezone", found.schedule_expression_timezone().unwrap_or(NONE), &wanted.timezone),
        compare("description", found.description().unwrap_or_default(), &wanted.description),
        compare("state", found.state().map_or(NONE, ScheduleState::as_str), ScheduleState::Enabled.as_str()),
        late(found, wanted),
        compare("until", told(found.end_date()), NONE.to_owned()),
        compare(
            "window",
            mode.map_or(NONE, FlexibleTimeWindowMode::as_str),
            FlexibleTimeWindowMode::Off.as_str(),
        ),
        compare("afterCompletion", after.to_lowercase(), NONE.to_owned()),
        compare("key", found.kms_key_arn().unwrap_or(NONE), NONE),
        compare("machine", target.map_or(NONE, Target::arn), &wanted.machine),
        compare("role", target.map_or(NONE, Target::role_arn), &wanted.role),
        input,
        compare("deadLetters", queue.unwrap_or(NONE), wanted.dead_letters.as_deref().unwrap_or(NONE)),
        compare("retries", retries.unwrap_or_else(|| NONE.to_owned()), told_retries(RETRIES, EVENT_AGE)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn told_retries(times: i32, seconds: i32) -> String {
    format!("{times} within {seconds} s")
}

fn told(date: Option<&DateTime>) -> String {
    let text = date.and_then(|date| date.fmt(DateTimeFormat::DateTime).ok());
    text.unwrap_or_else(|| NONE.to_owned())
}

/// The field, if the schedule holds later than the spec lets it. With another expression it begins anew anyway.
fn late(found: &GetScheduleOutput, wanted: &Wanted) -> Option<Field> {
    if found.schedule_expression() != Some(&wanted.expression) {
        return None;
    }
    let latest = wanted.from.unwrap_or_else(|| DateTime::from(SystemTime::now()));
    let start = found.start_date().filter(|start| **start > latest)?;
    Some(Field {
        name: "from".to_owned(),
        found: Some(told(Some(start))),
        wanted: told(wanted.from.as_ref()),
    })
}

/// The name lets this call make one schedule at most; when its answer was lost, the next pass finds it.
async fn create(scheduler: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let created = scheduler
        .create_schedule()
        .group_name(&wanted.group)
        .name(NAME)
        .schedule_expression(&wanted.expression)
        .schedule_expression_timezone(&wanted.timezone)
        .description(&wanted.description)
        .set_start_date(wanted.start(None))
        .state(ScheduleState::Enabled)
        .flexible_time_window(window()?)
        .target(wanted.target()?)
        .send()
        .await;
    taken(created, context, wanted, "creating")
}

/// Says all of it: what `UpdateSchedule` isn't told goes back to Scheduler's own default.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html>
async fn update(
    scheduler: &Client,
    context: &Context,
    found: &GetScheduleOutput,
    wanted: &Wanted,
) -> Result<()> {
    let updated = scheduler
        .update_schedule()
        .group_name(&wanted.group)
        .name(NAME)
        .schedule_expression(&wanted.expression)
        .schedule_expression_timezone(&wanted.timezone)
        .description(&wanted.description)
        .set_start_date(wanted.start(Some(found)))
        .state(ScheduleState::Enabled)
        .flexible_time_window(window()?)
        .target(wanted.target()?)
        .send()
        .await;
    taken(updated, context, wanted, "updating")
}

/// Tells whose fault it is that Scheduler refuses: all of them are a `ValidationException`. A role that was
/// made just now, with the control plane, can't be assumed yet.
fn taken<T, E>(
    answer: std::result::Result<T, SdkError<E>>,
    context: &Context,
    wanted: &Wanted,
    verb: &str,
) -> Result<()>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let doing = || format!("{verb} schedule ({}/{NAME})", wanted.group);
    let refusal = answer.as_ref().err().filter(|error| error.code() == Some("ValidationException"));
    let words = refusal.and_then(|error| error.message()).unwrap_or_default();
    let about = words.to_lowercase();
    if refusal.is_none() {
        // Another pass is at it, or the group goes.
        return answer.gone(&[], &["ConflictException", "ResourceNotFoundException"], doing);
    }
    if about.contains("assume the role") {
        let doing = format!("{}: {words}", doing());
        return Err(Latency::of("iam-role").wait(&doing, context.since));
    }
    // Our own part of the schedule: what starts the machine is the control plane's.
    if about.contains("target") || about.contains("role") {
        return answer.doing(doing).map(|_| ());
    }
    let Wanted { expression, timezone, .. } = wanted;
    let (path, remedy) = if about.contains("zone") {
        ("schedule.timezone", "write one of the IANA time zones, such as Europe/Berlin")
    } else {
        (
            ADDRESS,
            "write an expression such as cron(0 5 ? * MON-FRI *) and an IANA time zone such as Europe/Berlin",
        )
    };
    Err(Error::InvalidSpec(format!(
        "{path}: EventBridge Scheduler doesn't take {expression} in the time zone {timezone}: {words}; {remedy}"
    )))
}

/// Deletes a schedule of our group.
pub(crate) async fn delete(scheduler: &Client, context: &Context, name: &str) -> Result<()> {
    let group = group::name(context);
    let deleted = scheduler.delete_schedule().group_name(&group).name(name).send().await;
    deleted.gone(&ABSENT, &["ConflictException"], || format!("deleting schedule ({group}/{name})"))
}

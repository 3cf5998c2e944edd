//! A schedule in the environment's group, which starts the machine.

use std::time::SystemTime;

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
use step::{Change, Context, Doing, Error, Field, Latency, Result, compare};

use crate::{ABSENT, Starts, group, rebuild};

/// For how long, in seconds, and how often Scheduler tries again to start a run: a run that couldn't begin
/// within the hour waits for the schedule's next time, or for somebody.
const EVENT_AGE: i32 = 3600;
const RETRIES: i32 = 20;

/// What a field is that the spec leaves alone.
const NONE: &str = "none";

/// What the spec asks for.
pub(crate) struct Wanted {
    /// Its name in the group, which is also what it asks of the machine.
    pub(crate) name: &'static str,
    pub(crate) group: String,
    pub(crate) expression: String,
    pub(crate) timezone: String,
    pub(crate) description: String,
    /// The latest moment from which it may hold; none for one that holds at once.
    pub(crate) from: Option<DateTime>,
    pub(crate) machine: String,
    pub(crate) role: String,
    pub(crate) dead_letters: Option<String>,
    pub(crate) input: Value,
}

impl Wanted {
    /// One that asks this of the machine, at these times of a time zone.
    pub(crate) fn new(
        context: &Context,
        starts: &Starts,
        name: &'static str,
        expression: &str,
        timezone: &str,
    ) -> Self {
        Self {
            name,
            group: group::name(context),
            expression: expression.to_owned(),
            timezone: timezone.to_owned(),
            description: String::new(),
            from: None,
            machine: starts.machine.clone(),
            role: starts.role.clone(),
            dead_letters: starts.dead_letters.clone(),
            input: json!({ "environment": context.run.environment, "action": name }),
        }
    }

    fn unwritten(&self, error: impl std::fmt::Display) -> Error {
        Error::Failed(format!("writing {}: {error}", address(self.name)))
    }

    /// At its time and no later.
    fn window(&self) -> Result<FlexibleTimeWindow> {
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build();
        window.map_err(|error| self.unwritten(error))
    }

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
            .map_err(|error| self.unwritten(error))
    }
}

/// The address of a schedule of the group.
pub(crate) fn address(name: &str) -> String {
    format!("{}.{name}", group::ADDRESS)
}

/// Makes the schedule, found or not, be what the spec says.
pub(crate) async fn ensure(
    scheduler: &Client,
    context: &Context,
    found: Option<&GetScheduleOutput>,
    wanted: &Wanted,
) -> Result<()> {
    match found {
        None => create(scheduler, context, wanted).await,
        Some(found) if difference(found, wanted).is_empty() => Ok(()),
        Some(found) => update(scheduler, context, found, wanted).await,
    }
}

/// What [`ensure`] would change.
pub(crate) fn plan(found: Option<&GetScheduleOutput>, wanted: &Wanted) -> Option<Change> {
    let Some(found) = found else {
        let create = Change::create(address(wanted.name)).with(wanted.name, &wanted.expression);
        return Some(create.with("timezone", &wanted.timezone));
    };
    Change::update(address(wanted.name), difference(found, wanted))
}

pub(crate) async fn find(
    scheduler: &Client,
    context: &Context,
    name: &str,
) -> Result<Option<GetScheduleOutput>> {
    let group = group::name(context);
    let found = scheduler.get_schedule().group_name(&group).name(name).send().await;
    found.unless_absent(&ABSENT, || format!("looking at schedule ({group}/{name})"))
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
        compare(wanted.name, found.schedule_expression().unwrap_or(NONE), &wanted.expression),
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
        .name(wanted.name)
        .schedule_expression(&wanted.expression)
        .schedule_expression_timezone(&wanted.timezone)
        .description(&wanted.description)
        .set_start_date(wanted.start(None))
        .state(ScheduleState::Enabled)
        .flexible_time_window(wanted.window()?)
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
        .name(wanted.name)
        .schedule_expression(&wanted.expression)
        .schedule_expression_timezone(&wanted.timezone)
        .description(&wanted.description)
        .set_start_date(wanted.start(Some(found)))
        .state(ScheduleState::Enabled)
        .flexible_time_window(wanted.window()?)
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
    let doing = || format!("{verb} schedule ({}/{})", wanted.group, wanted.name);
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
    // Our own part of the schedule: what starts the machine is the control plane's, a moment is reckoned here.
    if about.contains("target") || about.contains("role") || wanted.name != rebuild::NAME {
        return answer.doing(doing).map(|_| ());
    }
    let Wanted { expression, timezone, .. } = wanted;
    let (path, remedy) = if about.contains("zone") {
        ("schedule.timezone", "write one of the IANA time zones, such as Europe/Berlin")
    } else {
        (
            "schedule.rebuild",
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

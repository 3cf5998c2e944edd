//! The schedule `expire`: the end of the environment's time, once.
//!
//! It stays when it has been due: a later run finds it, and has nothing to write. Scheduler is exact to the
//! minute, and never early.
//! Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#one-time>

use aws_sdk_scheduler::operation::get_schedule::GetScheduleOutput;
use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};
use step::Context;

use crate::{Starts, schedule::Wanted};

/// The schedule's name in its group.
pub(crate) const NAME: &str = "expire";

/// How a moment is written, in UTC.
const FORM: &str = "at(%Y-%m-%dT%H:%M:%S)";

/// What the spec asks for, if the environment expires.
pub(crate) fn wanted(
    context: &Context,
    starts: &Starts,
    found: Option<&GetScheduleOutput>,
) -> Option<Wanted> {
    let moment = context.run.expires?;
    let said = found.and_then(GetScheduleOutput::schedule_expression).and_then(read);
    let expression = due(moment, said, Timestamp::now()).strftime(FORM).to_string();
    Some(Wanted {
        description: format!("Ends the time of environment {}", context.run.environment),
        ..Wanted::new(context, starts, NAME, &expression, "UTC")
    })
}

/// The moment, or what the schedule says if that has been due since, or is so in a minute. A moment that passed before
/// there was a schedule for it is made up for in a minute: nobody else would end the environment's time.
fn due(moment: Timestamp, said: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let soon = now + 1.minute();
    if moment > now { moment } else { said.filter(|said| (moment..=soon).contains(said)).unwrap_or(soon) }
}

/// When a schedule is due, if it is due once.
fn read(expression: &str) -> Option<Timestamp> {
    let moment: DateTime = expression.strip_prefix("at(")?.strip_suffix(')')?.parse().ok()?;
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a moment")
    }

    #[test]
    fn a_moment_is_kept_and_one_that_has_passed_unheard_is_made_up_for_once() {
        let (past, now, later) =
            (at("2026-05-01T11:00:00Z"), at("2026-05-01T12:00:00Z"), at("2026-05-01T13:00:00Z"));
        assert_eq!(due(later, None, now), later);
        assert_eq!(due(later, Some(past), now), later);
        assert_eq!(due(past, Some(past), now), past);
        assert_eq!(due(past, None, now), at("2026-05-01T12:01:00Z"));
        assert_eq!(due(past, Some(at("2026-05-01T10:00:00Z")), now), at("2026-05-01T12:01:00Z"));
        assert_eq!(due(past, Some(at("2026-05-01T12:01:00Z")), now), at("2026-05-01T12:01:00Z"));
        // What the spec before said is too late.
        assert_eq!(due(past, Some(later), now), at("2026-05-01T12:01:00Z"));
    }

    #[test]
    fn a_moment_reads_as_it_is_written() {
        let moment = at("2026-05-01T08:09:10Z");
        let written = moment.strftime(FORM).to_string();
        assert_eq!((written.as_str(), read(&written)), ("at(2026-05-01T08:09:10)", Some(moment)));
        assert_eq!([read("rate(1 day)"), read("at(tomorrow)")], [None, None]);
    }
}

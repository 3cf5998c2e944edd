//! The schedule `rebuild`: the environment torn down and built anew by the clock.

use std::time::{Duration, SystemTime};

use aws_sdk_scheduler::primitives::DateTime;
use spec::Schedule;
use step::Context;

use crate::{Starts, schedule::Wanted};

/// The schedule's name in its group.
pub(crate) const NAME: &str = "rebuild";

/// A schedule at a rate starts its target as soon as it is made, if it has no `StartDate`: the environment,
/// just built, would be torn down.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based>
pub(crate) fn wanted(context: &Context, schedule: &Schedule, starts: &Starts) -> Wanted {
    let later = |seconds| {
        let later = DateTime::from(SystemTime::now() + Duration::from_secs(seconds));
        DateTime::from_secs(later.secs())
    };
    Wanted {
        description: format!("Rebuilds environment {}", context.run.environment),
        from: schedule.interval().map(|interval| later(interval.seconds())),
        ..Wanted::new(context, starts, NAME, &schedule.rebuild, &schedule.timezone)
    }
}

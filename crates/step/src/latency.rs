//! How long AWS takes to make things, from `infra/latencies.json`, and how to wait for them.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Error, Pace};

/// How long AWS takes to make one kind of thing, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Latency {
    /// The least seen.
    pub least: i64,
    /// The median.
    pub typical: i64,
    /// The 95th percentile.
    pub p95: i64,
}

static TABLE: LazyLock<BTreeMap<String, Latency>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../infra/latencies.json"))
        .expect("latencies.json is a table of latencies")
});

impl Latency {
    /// The latency of a kind in `infra/latencies.json`.
    ///
    /// # Panics
    /// If the table has no such row.
    pub fn of(kind: &str) -> Self {
        *TABLE.get(kind).unwrap_or_else(|| panic!("infra/latencies.json has no row {kind:?}"))
    }

    /// After how long waiting is given up, in seconds: four times the 95th percentile, and at least
    /// ten minutes.
    pub fn deadline(self) -> i64 {
        (4 * self.p95).max(600)
    }

    /// "about 2 min".
    pub fn told(self) -> String {
        format!("about {}", minutes(self.typical))
    }

    /// The error for something that isn't ready: `doing` says what goes on, "VPC link (demo-qa) is
    /// pending", and `since` when it began. Past the deadline it is [`Error::Failed`].
    pub fn wait(self, doing: &str, since: Timestamp) -> Error {
        let age = (Timestamp::now() - since).get_seconds().max(0);
        if age > self.deadline() {
            return Error::Failed(format!(
                "{doing} after {}, where {} is usual; look at it in the AWS console, then start the run again",
                minutes(age),
                minutes(self.typical),
            ));
        }
        let pace = match self.typical - age {
            ..60 => Pace::Soon,
            60..300 => Pace::Later,
            300.. => Pace::Long,
        };
        Error::wait(pace, format!("{doing}, {}", self.so_far(age)))
    }

    /// How far a wait of this age is: past the usual time, when it is given up.
    fn so_far(self, age: i64) -> String {
        if age <= self.p95 {
            return format!("{} of about {}", minutes(age), minutes(self.typical));
        }
        format!(
            "{} where about {} is usual; given up after {}",
            minutes(age),
            minutes(self.typical),
            minutes(self.deadline())
        )
    }
}

fn minutes(seconds: i64) -> String {
    match seconds {
        ..100 => format!("{seconds} s"),
        100.. => format!("{} min", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn the_pace_follows_how_long_is_left() {
        let latency = Latency { least: 330, typical: 425, p95: 1100 };
        let pace = |age: i64| latency.wait("x is creating", Timestamp::now() - age.seconds()).kind();
        assert_eq!(pace(0), "NotReadyLong");
        assert_eq!(pace(200), "NotReadyLater");
        assert_eq!(pace(400), "NotReadySoon");
        assert_eq!(pace(4000), "NotReadySoon");
        assert_eq!(pace(4500), "Failed");
    }

    #[test]
    fn a_wait_that_takes_longer_than_usual_says_when_it_is_given_up() {
        let since = Timestamp::now() - 590.seconds();
        assert_eq!(
            Latency::of("nat-gateway").wait("NAT gateway (nat-1) is pending", since).to_string(),
            "NAT gateway (nat-1) is pending, 10 min where about 2 min is usual; given up after 10 min",
        );
    }

    #[test]
    fn a_wait_says_for_what_and_how_long() {
        let since = Timestamp::now() - 45.seconds();
        assert_eq!(
            Latency::of("nat-gateway").wait("NAT gateway (nat-1) is pending", since).to_string(),
            "NAT gateway (nat-1) is pending, 45 s of about 2 min",
        );
    }
}

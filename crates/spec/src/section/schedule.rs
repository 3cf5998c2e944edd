//! `schedule`: what happens by the clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// What happens by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Schedule {
    /// When the environment is torn down and built anew: `cron(0 5 ? * MON-FRI *)`, or `rate(7 days)`.
    #[schemars(regex(pattern = r"^(cron|rate)\(.+\)$"))]
    pub rebuild: String,
    /// Time zone that the times of `cron` are in, such as `Europe/Berlin`. Default: UTC.
    #[serde(default = "utc")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*$"))]
    pub timezone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Schedule {
    /// How long it is from one rebuild to the next, where `rebuild` is a `rate`.
    pub fn interval(&self) -> Option<Duration> {
        let words = self.rebuild.strip_prefix("rate(")?.strip_suffix(')')?;
        let (count, unit) = words.split_once(' ')?;
        let seconds: u64 = match unit {
            "minute" | "minutes" => 60,
            "hour" | "hours" => 60 * 60,
            "day" | "days" => 24 * 60 * 60,
            _ => return None,
        };
        let digits = count.chars().all(|letter| letter.is_ascii_digit());
        let count: u64 = count.parse().ok().filter(|count| digits && *count > 0)?;
        count.checked_mul(seconds).map(Duration::from_seconds)
    }
}

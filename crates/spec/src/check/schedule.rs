//! Schedules: what EventBridge Scheduler takes of an expression, as far as can be told without it.

use super::{Check, nearest};
use crate::Schedule;

/// The names of time zones, which Scheduler takes from the same list.
/// Source: <https://www.iana.org/time-zones>
const ZONES: &str = include_str!("time_zones.txt");

/// The longest expression.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html>
const LIMIT: usize = 256;

/// A field of `cron`: what it is called, its least and greatest number, words for its numbers, and letters that
/// mean something in it, which AWS is left to judge.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
    letters: &'static [char],
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The fields of `cron`, in their order.
/// Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based>
const FIELDS: [Field; 6] = [
    Field { name: "minutes", least: 0, most: 59, words: &[], letters: &[] },
    Field { name: "hours", least: 0, most: 23, words: &[], letters: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[], letters: &['L', 'W'] },
    Field { name: "month", least: 1, most: 12, words: &MONTHS, letters: &[] },
    Field { name: "day of week", least: 1, most: 7, words: &DAYS, letters: &['L', '#'] },
    Field { name: "year", least: 1970, most: 2199, words: &[], letters: &[] },
];

const DAY_OF_MONTH: usize = 2;
const DAY_OF_WEEK: usize = 4;

pub(super) fn check(check: &mut Check<'_>) {
    let Some(schedule) = &check.spec.schedule else { return };
    if let Some(message) = fault(schedule) {
        check.fault(&["schedule", "rebuild"], message);
    }
    let zone = schedule.timezone.as_str();
    let known: Vec<&str> = ZONES.lines().collect();
    if !known.contains(&zone) {
        check.fault(
            &["schedule", "timezone"],
            format!("\"{zone}\" is no time zone; {}", nearest(zone, &known, "Europe/Berlin")),
        );
    }
}

/// What is wrong with an expression.
fn fault(schedule: &Schedule) -> Option<String> {
    let expression = &schedule.rebuild;
    if expression.len() > LIMIT {
        return Some(format!("a schedule has at most {LIMIT} characters, not {}", expression.len()));
    }
    if let Some(fields) = expression.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')')) {
        return cron(fields);
    }
    if expression.starts_with("rate(") {
        return schedule.interval().is_none().then(|| {
            format!("\"{expression}\" is no rate; write a number and minutes, hours or days: rate(7 days)")
        });
    }
    Some(format!("\"{expression}\" is no time; write one such as cron(0 5 ? * MON-FRI *), or rate(7 days)"))
}

fn cron(text: &str) -> Option<String> {
    let written: Vec<&str> = text.split_whitespace().collect();
    if written.len() != FIELDS.len() {
        return Some(format!(
            "cron({text}) has {} fields; write six: minutes, hours, day of month, month, day of week, year",
            written.len()
        ));
    }
    if (written[DAY_OF_MONTH] == "?") == (written[DAY_OF_WEEK] == "?") {
        return Some(format!(
            "cron({text}): write ? for either the day of the month or the day of the week, and the days for the \
             other"
        ));
    }
    let wrong = |(field, written): &(&Field, &&str)| !field.takes(written);
    let (field, written) = FIELDS.iter().zip(&written).find(wrong)?;
    Some(format!(
        "cron({text}): {written} is no {}; write {} to {}, as 1, 1,2, 1-3 or 1/2, or *",
        field.name, field.least, field.most
    ))
}

impl Field {
    fn takes(&self, written: &str) -> bool {
        let day = !self.letters.is_empty();
        written == "*" || (day && written == "?") || written.split(',').all(|item| self.item(item))
    }

    /// One of the items between commas: `1`, `1-3`, `*/2`.
    fn item(&self, item: &str) -> bool {
        let item = item.to_ascii_uppercase();
        let is_word = self.words.contains(&item.as_str());
        if !is_word && !item.contains('/') && item.contains(self.letters) {
            return item.chars().all(|letter| letter.is_ascii_alphanumeric() || "-#".contains(letter));
        }
        let (range, step) =
            item.split_once('/').map_or((item.as_str(), None), |(range, step)| (range, Some(step)));
        let steps = step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step > 0));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (self.number(first), self.number(last));
        let numbers = first.is_some() && last.is_some();
        steps && (numbers || (step.is_some() && range == "*"))
    }

    /// The number that is written, or meant by a word.
    fn number(&self, written: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| *word == written);
        let word = word.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.least);
        let digits = written.chars().all(|letter| letter.is_ascii_digit());
        let number =
            written.parse().ok().filter(|number| digits && (self.least..=self.most).contains(number));
        word.or(number)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rebuild(expression: &str) -> Schedule {
        Schedule { rebuild: expression.to_owned(), timezone: "UTC".to_owned() }
    }

    #[rstest]
    #[case("cron(0 5 ? * MON-FRI *)")]
    #[case("cron(15 10 * * ? *)")]
    #[case("cron(0/15 10-16 ? * mon-fri 2026)")]
    #[case("cron(0 8 1,15 JAN-MAR ? 2026-2030)")]
    #[case("cron(*/10 0 LW * ? *)")]
    #[case("cron(0 0 15W * ? *)")]
    #[case("cron(0 0 ? * 6#3 *)")]
    #[case("cron(0 0 ? * FRIL *)")]
    #[case("cron(0 22 ? * SUN,SAT *)")]
    #[case("rate(1 day)")]
    #[case("rate(12 hours)")]
    fn what_scheduler_takes_is_taken(#[case] expression: &str) {
        assert_eq!(fault(&rebuild(expression)), None);
    }

    /// What AWS answered `ValidationException` for.
    #[rstest]
    #[case("cron(0 1 * * * *)")]
    #[case("cron(7 20 * * NOT *)")]
    #[case("cron(INVALID)")]
    #[case("cron(0 dummy ? * MON-FRI *)")]
    #[case("cron(71 8 1 * ? *)")]
    #[case("rate(10 seconds)")]
    #[case("rate(10)")]
    #[case("rate(foo minutes)")]
    #[case("rate(-10 minutes)")]
    #[case("rate( 10 minutes )")]
    #[case("rate(0 days)")]
    #[case("at(2026-01-01T00:00:00)")]
    #[case("cron(0 0 ? * ? *)")]
    #[case("cron(0 0 0 * ? *)")]
    #[case("cron(0/0 0 1 * ? *)")]
    fn what_scheduler_refuses_is_refused(#[case] expression: &str) {
        assert!(fault(&rebuild(expression)).is_some());
    }
}

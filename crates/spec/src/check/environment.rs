//! What holds for all of an environment: its region, the role to build with, its tags.

use std::collections::BTreeMap;

use super::{Check, nearest};
use crate::{REGIONS, partition};

pub(super) fn check(check: &mut Check<'_>) {
    region(check);
    role(check);
    tags(check);
}

fn region(check: &mut Check<'_>) {
    let Some(region) = &check.spec.region else { return };
    if partition(region).is_none() {
        let known: Vec<&str> = REGIONS.iter().flat_map(|(_, regions)| regions.iter().copied()).collect();
        check.fault(
            &["region"],
            format!("\"{region}\" is no AWS region; {}", nearest(region, &known, "eu-west-1")),
        );
    }
}

/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
fn role(check: &mut Check<'_>) {
    let Some(role) = &check.spec.role else { return };
    let name = role.split_once(":role/").map_or("", |(_, name)| name);
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c));
    let last = name.rsplit('/').next().unwrap_or_default();
    let known = role.split(':').nth(1).is_some_and(|word| REGIONS.iter().any(|(known, _)| *known == word));
    if check.spec.role_account().is_none() || !plain || !known || !(1..=64).contains(&last.len()) {
        check.fault(
            &["role"],
            format!("\"{role}\" is no ARN of a role; write one such as arn:aws:iam::123456789012:role/plinth-build"),
        );
    }
}

/// IAM takes the fewest characters, and the same tag in other capitals is the same to it.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html>
fn tags(check: &mut Check<'_>) {
    let tags = &check.spec.tags;
    if tags.len() > 40 {
        check.fault(
            &["tags"],
            format!("AWS takes 50 tags, of which Plinth needs some; write at most 40, not {}", tags.len()),
        );
    }
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for (key, value) in tags {
        let lower = key.to_lowercase();
        if ["aws:", "plinth:"].iter().any(|reserved| lower.starts_with(reserved)) {
            check.key_fault(&["tags", key], format!("\"{key}\" begins with a word that isn't yours to use"));
        }
        if key.is_empty() || key.chars().count() > 128 {
            check.key_fault(&["tags", key], "a tag's name has 1 to 128 characters");
        }
        // Source: <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Tag.html>
        if value.is_empty() && (check.spec.schedule.is_some() || check.spec.expires.is_some()) {
            check.fault(
                &["tags", key],
                "EventBridge Scheduler, which `schedule` and `expires` need, takes no tag without a value; write one",
            );
        }
        if value.chars().count() > 256 {
            check.fault(&["tags", key], "a tag's value has at most 256 characters");
        }
        if let Some(wrong) = key.chars().find(|c| !in_tags(*c)) {
            check.key_fault(&["tags", key], strange("name", key, wrong));
        }
        if let Some(wrong) = value.chars().find(|c| !in_tags(*c)) {
            check.fault(&["tags", key], strange("value", value, wrong));
        }
        if let Some(other) = seen.insert(lower, key) {
            check.key_fault(
                &["tags", key],
                format!("\"{key}\" and \"{other}\" are one tag to IAM, which doesn't tell capitals apart; keep one"),
            );
        }
    }
}

/// Whether every service takes this character in a tag.
fn in_tags(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

fn strange(what: &str, text: &str, wrong: char) -> String {
    format!(
        "a tag's {what} can't have {wrong:?}, as \"{text}\" has; write letters, digits, spaces and _ . : / = + - @"
    )
}

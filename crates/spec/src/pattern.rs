//! The patterns of the schema, and what fits them in words.

use std::{collections::HashMap, sync::LazyLock};

use fancy_regex::Regex;
use serde_json::Value;

use crate::schema;

/// Whether a text fits a pattern of the schema.
pub(crate) fn matches(pattern: &'static str, text: &str) -> bool {
    static PATTERNS: LazyLock<HashMap<&'static str, Regex>> = LazyLock::new(|| {
        let mut found = HashMap::new();
        patterns(schema::schema(), &mut found);
        found
    });
    PATTERNS.get(pattern).is_none_or(|pattern| pattern.is_match(text).unwrap_or(false))
}

fn patterns(schema: &'static Value, found: &mut HashMap<&'static str, Regex>) {
    match schema {
        Value::Object(fields) => {
            if let Some(pattern) = fields.get("pattern").and_then(Value::as_str)
                && let Ok(regex) = Regex::new(pattern)
            {
                found.insert(pattern, regex);
            }
            fields.values().for_each(|field| patterns(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
        _ => {}
    }
}

/// What fits a pattern, in words.
pub(crate) fn fitting(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        r"^[a-z]([a-z0-9]|-[a-z0-9])*$" => "small letters, digits and single hyphens, with a letter first",
        r"^(cron|rate)\(.+\)$" => "an expression such as cron(0 5 ? * MON-FRI *) or rate(7 days)",
        r"^[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*$" => "a time zone such as Europe/Berlin",
        r"^vpc-[0-9a-f]{8,17}$" => "a VPC's id such as vpc-0a1b2c3d",
        r"^[A-Za-z0-9/_-]{1,250}$" => "letters, digits and /_-",
        r"^[A-Za-z0-9/_+=.@-]{1,512}$" => "letters, digits and /_+=.@-",
        r"^[A-Za-z0-9+=,.@_-]{1,64}$" => "at most 64 letters, digits and +=,.@_-",
        r"^[a-z0-9]+([._/-][a-z0-9]+)*$" => "small letters and digits, with single ._/- between them",
        r"^[A-Za-z0-9.-]+\.[A-Za-z]+(/[A-Za-z0-9._/-]+)?$" => {
            "a host without https://, such as token.actions.githubusercontent.com"
        }
        r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$" => {
            "3 to 63 small letters, digits, dots and hyphens, with a letter or digit at both ends"
        }
        r"^(/[^$#<>;`|&?{}^*/.\s][^$#<>;`|&?{}^*/\s]*){1,4}$" => {
            "a path of one to four parts without spaces, such as /app/data"
        }
        r"^[0-9]{1,10}:[0-9]{1,10}$" => "the numbers of a user and a group, such as \"1000:1000\"",
        r"^0?[0-7]{3}$" => "three digits from 0 to 7, such as \"755\"",
        r"^[0-9][0-9A-Za-z._-]*$" => "a version such as \"16\" or \"16.4\"",
        r"^db\.[a-z0-9-]+\.[a-z0-9]+$" => "an instance class such as db.t4g.micro",
        r"^[A-Za-z][A-Za-z0-9_]{0,62}$" => {
            "at most 63 letters, digits and _, with a letter first and no hyphen"
        }
        r"^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$" => {
            "a domain name such as app.example.com or *.example.com"
        }
        r"^[A-Za-z0-9_/.#-]{1,512}$" => "letters, digits and _/.#-",
        r"^[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?$" => {
            "at most 32 letters, digits and hyphens, with no hyphen at the ends"
        }
        r"^[A-Za-z0-9_-]{1,255}$" | r"^[A-Za-z0-9_-]{1,128}$" | r"^[A-Za-z0-9_-]{1,64}$" => {
            "letters, digits, _ and -"
        }
        r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$" => "an instance type such as t3.small",
        r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$" => "a user, or a user and a group, such as \"1000:1000\"",
        r"^[A-Za-z0-9_.*-]{1,128}$" => "a tag, with * for any characters, such as `v*-playground`",
        r"^/" => "a path that begins with /",
        r"^[2-4][0-9]{2}([,-][2-4][0-9]{2})*$" => "statuses such as \"200\", \"200,301\" or \"200-399\"",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_schema_can_be_matched() {
        fn all(schema: &Value, found: &mut Vec<String>) {
            match schema {
                Value::Object(fields) => {
                    found.extend(fields.get("pattern").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|field| all(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| all(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        all(schema::schema(), &mut found);
        for pattern in found {
            assert!(Regex::new(&pattern).is_ok(), "{pattern}");
        }
    }
}

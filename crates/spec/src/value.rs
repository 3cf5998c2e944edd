//! Values of the spec that are more than a string or a number.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as the spec writes it: `45s`, `10m`, `8h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Duration {
    seconds: u64,
}

const DAY: u64 = 24 * 60 * 60;

impl Duration {
    /// So many days.
    pub const fn days(days: u64) -> Self {
        Self { seconds: days * DAY }
    }

    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// In seconds.
    pub const fn seconds(self) -> u64 {
        self.seconds
    }

    /// In days, if it is a whole number of them.
    pub const fn whole_days(self) -> Option<u64> {
        if self.seconds.is_multiple_of(DAY) { Some(self.seconds / DAY) } else { None }
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault =
            || format!("\"{text}\" is no length of time; write a number and s, m, h or d, such as 7d");
        let unit = text.chars().last().ok_or_else(fault)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => DAY,
            _ => return Err(fault()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| fault())?;
        let seconds = number.checked_mul(factor).ok_or_else(fault)?;
        Ok(Self { seconds })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.seconds {
            s if s % DAY == 0 => (s / DAY, 'd'),
            s if s % 3600 == 0 => (s / 3600, 'h'),
            s if s % 60 == 0 => (s / 60, 'm'),
            s => (s, 's'),
        };
        write!(f, "{number}{unit}")
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,9}[smhd]$",
            "description": "A length of time: a number and s, m, h or d, such as 45s, 10m, 8h, 7d.",
        })
    }
}

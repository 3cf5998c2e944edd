//! Names of AWS resources: the environment's and the address's, cut to what AWS takes.

use sha2::{Digest, Sha256};

/// `<environment>-<word>`; where that is longer than `limit` characters, cut and ended with eight hex
/// digits of a hash of the whole, so that two long names stay two.
pub fn name(environment: &str, word: &str, limit: usize) -> String {
    let whole = format!("{environment}-{word}");
    if whole.len() <= limit { whole } else { ended(&whole, limit, &digits(&whole, 8)) }
}

/// The same for what must coexist with its own replacement: always ended with four hex digits of its
/// immutable properties.
pub fn name_of(environment: &str, word: &str, limit: usize, immutable: &str) -> String {
    let whole = format!("{environment}-{word}");
    let end = digits(immutable, 4);
    if whole.len() + 5 <= limit {
        format!("{whole}-{end}")
    } else {
        ended(&whole, limit, &format!("{}{end}", digits(&whole, 4)))
    }
}

fn ended(whole: &str, limit: usize, end: &str) -> String {
    let start = whole[..limit - end.len() - 1].trim_end_matches('-');
    format!("{start}-{end}")
}

/// The first hex digits of the text's hash, at most 64.
pub fn digits(text: &str, count: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let halves = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(count);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_left_alone() {
        assert_eq!(name("demo", "api", 32), "demo-api");
    }

    #[test]
    fn long_names_that_differ_at_the_end_stay_different() {
        let (one, two) = (name("demo", &"x".repeat(70), 64), name("demo", &"x".repeat(71), 64));
        assert_eq!((one.len(), two.len()), (64, 64));
        assert_ne!(one, two);
    }

    #[test]
    fn a_changed_property_makes_another_name() {
        let name = |property| name_of("demo", "app-80", 32, property);
        assert_ne!(name("TCP"), name("HTTP"));
        assert!(name("TCP").starts_with("demo-app-80-"));
    }

    #[test]
    fn no_name_is_longer_than_its_limit() {
        for length in 1..60 {
            assert!(name("environment", &"y".repeat(length), 32).len() <= 32);
            assert!(name_of("environment", &"y".repeat(length), 32, "z").len() <= 32);
        }
    }
}

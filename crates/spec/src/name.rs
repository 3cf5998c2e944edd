//! Names of AWS resources: the environment's and the address's, cut to what AWS takes.
//!
//! No two environments get one name for the same kind of resource. `demo-api-worker` could belong to `demo` or
//! to `demo-api`; it belongs to `demo`, since the names of an environment whose own name has a hyphen always end
//! with [`DIGITS`] digits of a hash, and other names never look as if they did.

use sha2::{Digest, Sha256};

/// How many hex digits of a hash end a name that would be ambiguous or too long without them.
const DIGITS: usize = 8;

/// `<environment>-<word>`. It ends with eight hex digits of a hash where it is longer than `limit` characters,
/// where the environment's name has a hyphen, and where the word itself ends with what looks like such digits.
pub fn name(environment: &str, word: &str, limit: usize) -> String {
    let whole = format!("{environment}-{word}");
    let clear = !environment.contains('-') && !is_ended(word);
    if clear && whole.len() <= limit { whole } else { ended(&whole, limit, &[environment, word]) }
}

/// The same for what must coexist with its own replacement: it always ends with eight hex digits of a hash, to
/// which its immutable properties belong.
pub fn name_of(environment: &str, word: &str, limit: usize, immutable: &str) -> String {
    ended(&format!("{environment}-{word}"), limit, &[environment, word, immutable])
}

/// A text that is unique anyway, cut to `limit`.
pub fn cut(whole: &str, limit: usize) -> String {
    if whole.len() <= limit { whole.to_owned() } else { ended(whole, limit, &[whole]) }
}

/// Whether a word ends with a hyphen and as many hex digits as [`ended`] adds.
fn is_ended(word: &str) -> bool {
    let last = word.rsplit('-').next().unwrap_or_default();
    last.len() == DIGITS && last.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn ended(whole: &str, limit: usize, parts: &[&str]) -> String {
    let start = whole[..whole.len().min(limit - DIGITS - 1)].trim_end_matches('-');
    format!("{start}-{}", digits(&parts.join("\0"), DIGITS))
}

/// What the names of Plinth's own roles end with.
const ROLES: [&str; 5] = ["-task", "-execution", "-function", "-deployer", "-role"];

/// What the name of the role of a cluster's instances says.
pub const INSTANCES: &str = "instances";

/// What the name of a role of the section `roles` says: its key, and `-role` behind a key that could be taken for
/// what Plinth calls its own roles.
pub fn role_word(role: &str) -> String {
    let taken = role == INSTANCES || ROLES.iter().any(|end| role.ends_with(end));
    if taken { format!("{role}-role") } else { role.to_owned() }
}

/// What the names of a service's roles and task definitions say: its key, and `-service` behind a key that could
/// be taken for a [`job_word`].
pub fn service_word(service: &str) -> String {
    let taken = service.ends_with("-job") || service.ends_with("-service");
    if taken { format!("{service}-service") } else { service.to_owned() }
}

/// What the names of a job's roles and task definitions say, so that a service may be called the same.
pub fn job_word(job: &str) -> String {
    format!("{job}-job")
}

/// The first hex digits of the text's hash, at most 64.
pub fn digits(text: &str, count: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let halves = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(count);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_name_is_left_alone() {
        assert_eq!(name("demo", "api", 32), "demo-api");
        assert_eq!(name("demo", "api-worker", 32), "demo-api-worker");
    }

    #[test]
    fn a_name_that_two_environments_could_have_ends_with_digits() {
        let other = name("demo-api", "worker", 32);
        assert!(other.starts_with("demo-api-worker-"), "{other}");
        let digits = other.trim_start_matches("demo-api-worker-");
        assert_ne!(name("demo", &format!("api-worker-{digits}"), 64), other);
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
            assert!(cut(&"y".repeat(length), 32).len() <= 32);
        }
    }

    /// Names from few letters, so that what they are joined to is often the same.
    const KEY: &str = "[ab](-[ab]|-0000000[01]|[ab]){0,4}";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Both kinds of names share a kind of resource: a database has the one, the database that takes its place
        /// the other.
        #[test]
        fn no_two_addresses_get_one_name(
            pairs in proptest::collection::vec((KEY, KEY), 2..60),
            limit in proptest::sample::select(vec![24_usize, 32, 63, 64, 255]),
        ) {
            let mut taken = HashMap::new();
            for (environment, word) in pairs {
                let names = [
                    (name(&environment, &word, limit), ""),
                    (name_of(&environment, &word, limit, "one"), "one"),
                    (name_of(&environment, &word, limit, "other"), "other"),
                ];
                for (name, immutable) in names {
                    let holder = (environment.clone(), word.clone(), immutable);
                    let first = taken.entry(name.clone()).or_insert_with(|| holder.clone());
                    prop_assert_eq!(&*first, &holder, "both are called {}", name);
                }
            }
        }
    }
}

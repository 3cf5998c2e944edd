//! The order of versions, by the rules of semantic versioning.
//! Source: <https://semver.org/#spec-item-11>

/// A version; what it lacks of three numbers are zeros, and what is built into it doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    numbers: [u64; 3],
    /// What comes before a release sorts before it.
    released: bool,
    before: Vec<Word>,
}

/// A word of what comes before a release. Numbers sort before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(u64),
    Text(String),
}

impl Version {
    /// Reads `1.10.0`, `v2`, `1.4.0-rc.1`; none if the text is no version.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, before) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = [0; 3];
        for (at, number) in numbers.split('.').enumerate() {
            *parts.get_mut(at)? = number.parse().ok()?;
        }
        let word = |word: &str| word.parse().map_or_else(|_| Word::Text(word.to_owned()), Word::Number);
        let before = if before.is_empty() { Vec::new() } else { before.split('.').map(word).collect() };
        Some(Self { numbers: parts, released: before.is_empty(), before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_their_order() {
        let order = [
            "0.9.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "v1.9.0",
            "1.10",
            "1.10.1",
            "2",
        ];
        let versions: Vec<Version> = order.iter().filter_map(|text| Version::read(text)).collect();
        assert_eq!(versions.len(), order.len());
        assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    }

    #[test]
    fn what_is_no_version_has_no_order() {
        for text in ["", "v", "latest", "1.2.3.4", "1..2", "3f2a9c", "-1"] {
            assert_eq!(Version::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_built_into_a_version_does_not_count() {
        assert_eq!(Version::read("1.0.0+5"), Version::read("1.0.0"));
    }
}

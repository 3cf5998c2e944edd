//! A service's `image`: one that is written, or the newest of a repository.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Part, Reference, Section, Text};

/// What a service's container is started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Image {
    /// An image of any registry, or `${repositories.x}:tag`.
    Written(Text),
    /// The newest image of a repository.
    Followed(Follow),
}

/// The images of a repository with certain tags, of which the newest is taken: by semantic version what `*` stands
/// for is one, by the time of its push where it isn't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// The repository's name in `repositories`.
    pub repository: String,
    /// The tag that is followed: `latest`, or with `*` for any characters, `v*-playground`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.*-]{1,128}$"))]
    pub tag: String,
}

impl Image {
    /// The repository and the tags that it follows.
    pub fn followed(&self) -> Option<&Follow> {
        match self {
            Self::Written(_) => None,
            Self::Followed(follow) => Some(follow),
        }
    }

    /// The text it is, or would be with the tag that is followed.
    pub fn text(&self) -> Cow<'_, Text> {
        match self {
            Self::Written(text) => Cow::Borrowed(text),
            Self::Followed(Follow { repository, tag }) => {
                let reference = Reference {
                    section: Section::Repositories,
                    name: Some(repository.clone()),
                    attribute: Vec::new(),
                };
                Cow::Owned(Text { parts: vec![Part::Reference(reference), Part::Literal(format!(":{tag}"))] })
            }
        }
    }
}

impl Follow {
    /// What of a tag `*` stands for, from the first to the last one; empty where there is none, and nothing if the
    /// tag isn't one that is followed.
    pub fn matched<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let Some((begin, rest)) = self.tag.split_once('*') else { return (self.tag == tag).then_some("") };
        let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let matched = tag.strip_prefix(begin)?.strip_suffix(end)?;
        let mut left = matched;
        for part in between.split('*') {
            left = &left[left.find(part)? + part.len()..];
        }
        Some(matched)
    }

    /// A tag that is followed.
    pub fn example(&self) -> String {
        self.tag.replacen('*', "0.1.0", 1).replace('*', "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<'a>(pattern: &str, tag: &'a str) -> Option<&'a str> {
        Follow { repository: "app".to_owned(), tag: pattern.to_owned() }.matched(tag)
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        assert_eq!(matched("v*-playground", "v1.10.0-playground"), Some("1.10.0"));
        assert_eq!(matched("v*-playground", "v-playground"), Some(""));
        assert_eq!(matched("v*-playground", "v1.10.0"), None);
        assert_eq!(matched("*", "v1.10.0"), Some("v1.10.0"));
        assert_eq!(matched("v*-*-x", "v1-2-x"), Some("1-2"));
        assert_eq!(matched("v*-*-x", "v1-x"), None);
        assert_eq!(matched("a*a", "a"), None);
    }

    #[test]
    fn a_tag_without_a_star_is_followed_as_it_is() {
        assert_eq!(matched("latest", "latest"), Some(""));
        assert_eq!(matched("latest", "latest-1"), None);
    }

    #[test]
    fn its_example_is_a_tag_that_is_followed() {
        for pattern in ["v*-playground", "latest", "*", "v*-*-x"] {
            let follow = Follow { repository: "app".to_owned(), tag: pattern.to_owned() };
            assert!(follow.matched(&follow.example()).is_some(), "{pattern}: {}", follow.example());
        }
    }
}

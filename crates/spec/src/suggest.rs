//! What could have been meant by a word that isn't known.

use crate::fault::cut;

/// How many words are named where none is near.
const NAMED: usize = 12;

/// The longest word that is looked for.
const LONGEST: usize = 64;

/// What to write instead: the words that are nearest, or all of a few.
pub(crate) fn instead(written: &str, known: &[&str]) -> String {
    match nearest(written, known).as_slice() {
        [] if known.is_empty() => "nothing can be written here".to_owned(),
        [] if known.len() <= NAMED => format!("there are {}", listed(known)),
        [] => format!("there are {} and {} more", listed(&known[..NAMED]), known.len() - NAMED),
        [words @ .., last] if !words.is_empty() => {
            let words: Vec<String> = words.iter().map(|word| format!("\"{}\"", cut(word))).collect();
            format!("did you mean {} or \"{}\"?", words.join(", "), cut(last))
        }
        [word, ..] => format!("did you mean \"{}\"?", cut(word)),
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| cut(word)).collect::<Vec<_>>().join(", ")
}

/// The words that differ least from what is written, at most three: those that differ in as few characters as any,
/// in one of a short word, in two of a longer one.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Vec<&'a str> {
    let written = plain(written);
    let length = written.len();
    let most = match length {
        0..=1 => 0,
        2..=5 => 1,
        _ => 2,
    };
    if length > LONGEST {
        return Vec::new();
    }
    let differing = |word: &&'a str| Some((distance(&written, &plain(word), most)?, *word));
    let mut near: Vec<(usize, &str)> = known.iter().filter_map(differing).collect();
    near.sort_by_key(|(distance, _)| *distance);
    let least = near.first().map(|(distance, _)| *distance);
    near.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, word)| word).take(3).collect()
}

/// A word's letters and digits, in small letters: other tools write `depends_on` or `DependsOn`.
pub(crate) fn plain(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|letter| !"_- ".contains(*letter));
    letters.take(LONGEST + 1).flat_map(char::to_lowercase).collect()
}

/// In how many characters two words differ, where two that changed places count once; none if in more than `most`.
fn distance(one: &[char], other: &[char], most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut last: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut best = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(last[j - 1] + 1);
            }
            next.push(best);
        }
        if next.iter().all(|distance| *distance > most) {
            return None;
        }
        last = std::mem::replace(&mut row, next);
    }
    row.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("clutser", "did you mean \"cluster\"?")]
    #[case("databse", "did you mean \"databases\"?")]
    #[case("Services", "did you mean \"services\"?")]
    #[case("load_balancers", "did you mean \"loadBalancers\"?")]
    #[case("count", "there are services, cluster, databases, loadBalancers, mounts")]
    #[case("x", "there are services, cluster, databases, loadBalancers, mounts")]
    fn a_near_word_is_named_and_else_all_are(#[case] written: &str, #[case] told: &str) {
        assert_eq!(instead(written, &["services", "cluster", "databases", "loadBalancers", "mounts"]), told);
    }

    #[test]
    fn three_words_that_are_as_near_are_named() {
        assert_eq!(
            instead("apx", &["apa", "apb", "apc", "apd"]),
            "did you mean \"apa\", \"apb\" or \"apc\"?"
        );
    }

    #[test]
    fn a_word_of_a_megabyte_is_no_word() {
        assert_eq!(nearest(&"a".repeat(1 << 20), &["a"]), Vec::<&str>::new());
    }
}

//! Replacing what holds data, where the spec says that it may: which of ours at an address is the one that is meant,
//! and which go for it.
//!
//! The new one is made beside the old. Once it can be used, the old one gets the tag [`REPLACED`], and goes with
//! `prune`, which knows no more than tags say.

use crate::{Error, Result, name_of};

/// The tag of what another has taken the place of. It says AWS's own id of what carries it, so that a copy that is
/// restored with its tags isn't taken for it.
pub const REPLACED: &str = "plinth:replaced";

/// Something of ours that stands at an address.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether another has taken its place.
    pub replaced: bool,
    /// Why it can't become what the spec says; none if it can.
    pub misfit: Option<Error>,
}

/// Which of several is meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// The one that is meant; none if it is still to be made.
    pub chosen: Option<usize>,
    /// Those that go once it can be used.
    pub old: Vec<usize>,
}

/// The name of one that is made while these stand, the oldest first.
pub fn instead_of(environment: &str, key: &str, limit: usize, older: &[Candidate<'_>]) -> String {
    let names: Vec<&str> = older.iter().map(|candidate| candidate.name).collect();
    name_of(environment, key, limit, &names.join(" "))
}

/// Chooses among what stands, the oldest first: the one in use if it will do, else, if it may be replaced, another
/// that will, one whose place nobody has taken before one that was put aside. Of those younger than it only what was
/// made to replace others goes, which `name` tells: what one is called that is made while these stand.
pub fn choose(
    all: &[Candidate<'_>],
    replace: bool,
    name: impl Fn(&[Candidate<'_>]) -> String,
) -> Result<Choice> {
    let in_use = all.iter().position(|candidate| !candidate.replaced).unwrap_or(0);
    let Some(first) = all.get(in_use) else { return Ok(Choice { chosen: None, old: Vec::new() }) };
    let chosen = match &first.misfit {
        None => Some(in_use),
        Some(error) if !replace => return Err(error.clone()),
        Some(_) => {
            let fitting =
                |replaced: bool| all.iter().position(|one| one.replaced == replaced && one.misfit.is_none());
            fitting(false).or_else(|| fitting(true))
        }
    };
    let goes = |at: &usize| {
        let older = chosen.is_none_or(|chosen| *at < chosen);
        let made = || all[*at].name == name(&all[..*at]);
        Some(*at) != chosen && (older || *at == in_use || all[*at].replaced || made())
    };
    Ok(Choice { chosen, old: (0..all.len()).filter(goes).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates from a word for each: `fit`, `misfit`, and the same put aside, `old-fit` and `old-misfit`. One that
    /// begins with `made-` was made to replace those before it.
    fn chosen(words: &[&str], replace: bool) -> Result<(Option<usize>, Vec<usize>)> {
        let mut names: Vec<String> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            names.push(if word.starts_with("made-") { instead(&names) } else { format!("{word}-{at}") });
        }
        let candidate = |(name, word): (&'static str, &&str)| Candidate {
            name,
            replaced: word.contains("old-"),
            misfit: word.ends_with("misfit").then(|| Error::Conflict((*word).to_owned())),
        };
        let names = names.into_iter().map(|name| &*name.leak());
        let all: Vec<_> = names.zip(words).map(candidate).collect();
        let choice = choose(&all, replace, |older| instead_of("demo", "main", 61, older))?;
        Ok((choice.chosen, choice.old))
    }

    fn instead(names: &[String]) -> String {
        let older = |name: &String| Candidate { name: name.clone().leak(), replaced: false, misfit: None };
        instead_of("demo", "main", 61, &names.iter().map(older).collect::<Vec<_>>())
    }

    #[test]
    fn the_one_in_use_is_kept_while_it_will_do() {
        assert_eq!(chosen(&[], false), Ok((None, vec![])));
        assert_eq!(chosen(&["fit"], true), Ok((Some(0), vec![])));
        assert_eq!(chosen(&["old-misfit", "fit"], false), Ok((Some(1), vec![0])));
        // One that stays since it is protected isn't taken up again, though it would do.
        assert_eq!(chosen(&["old-fit", "fit"], true), Ok((Some(1), vec![0])));
    }

    #[test]
    fn one_that_will_not_do_is_refused_or_replaced() {
        assert_eq!(chosen(&["misfit"], false), Err(Error::Conflict("misfit".to_owned())));
        assert_eq!(chosen(&["misfit"], true), Ok((None, vec![0])));
        assert_eq!(chosen(&["misfit", "made-fit"], true), Ok((Some(1), vec![0])));
        // Without `replace` what is being made to replace it doesn't count.
        assert_eq!(chosen(&["misfit", "made-fit"], false), Err(Error::Conflict("misfit".to_owned())));
        assert_eq!(chosen(&["misfit", "made-misfit"], true), Ok((None, vec![0, 1])));
    }

    #[test]
    fn a_spec_that_is_put_back_takes_up_the_old_one() {
        assert_eq!(chosen(&["fit", "made-misfit"], false), Ok((Some(0), vec![1])));
        assert_eq!(chosen(&["old-fit", "misfit"], true), Ok((Some(0), vec![1])));
        assert_eq!(chosen(&["old-fit", "misfit"], false), Err(Error::Conflict("misfit".to_owned())));
    }

    #[test]
    fn a_younger_one_that_somebody_else_made_is_left_alone() {
        assert_eq!(chosen(&["fit", "misfit"], true), Ok((Some(0), vec![])));
        assert_eq!(chosen(&["fit", "fit"], false), Ok((Some(0), vec![])));
    }
}

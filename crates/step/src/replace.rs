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
    /// Whether it was made by us under this name, and isn't a copy that somebody restored with its tags.
    pub made: bool,
    /// Whether no run has ended well with it, so that going back to the one before loses nothing.
    pub new: bool,
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
/// that will, one whose place nobody has taken before one that was put aside. Of those younger than it only what we
/// made goes.
pub fn choose(all: &[Candidate<'_>], replace: bool) -> Result<Choice> {
    let in_use = all.iter().position(|candidate| !candidate.replaced).unwrap_or(0);
    let Some(first) = all.get(in_use) else { return Ok(Choice { chosen: None, old: Vec::new() }) };
    let chosen = match &first.misfit {
        None => Some(in_use),
        Some(error) if !replace && !goes_back(first, all) => return Err(refusal(error, all)),
        Some(_) => {
            let fitting =
                |replaced: bool| all.iter().position(|one| one.replaced == replaced && one.misfit.is_none());
            fitting(false).or_else(|| fitting(true))
        }
    };
    let goes = |at: &usize| {
        let older = chosen.is_none_or(|chosen| *at < chosen);
        Some(*at) != chosen && (older || *at == in_use || all[*at].replaced || all[*at].made)
    };
    Ok(Choice { chosen, old: (0..all.len()).filter(goes).collect() })
}

/// Whether one that took the place of another gives it back: no run has ended well with it, and the other will do.
fn goes_back(in_use: &Candidate<'_>, all: &[Candidate<'_>]) -> bool {
    in_use.new && all.iter().any(|one| one.replaced && one.misfit.is_none())
}

/// Why the one in use won't do. Where one that was put aside would, that is the remedy.
fn refusal(error: &Error, all: &[Candidate<'_>]) -> Error {
    let put_aside = all.iter().find(|one| one.replaced && one.misfit.is_none());
    match put_aside {
        Some(one) => Error::InvalidSpec(format!(
            "{error}; {} stands still, whose place it took, and is what the spec says: with `allowDataLoss` it is \
             taken up again, and this one goes",
            one.name
        )),
        None => error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates from a word for each: `fit`, `misfit`, and the same put aside, `old-fit` and `old-misfit`. One that
    /// begins with `made-` was made by us under its name, and a `new-misfit` is one that no run has ended well with.
    fn chosen(words: &[&str], replace: bool) -> Result<(Option<usize>, Vec<usize>)> {
        let candidate = |word: &&'static str| Candidate {
            name: word,
            replaced: word.contains("old-"),
            made: word.starts_with("made-"),
            new: word.ends_with("new-misfit"),
            misfit: word.ends_with("misfit").then(|| Error::Conflict((*word).to_owned())),
        };
        let words: Vec<&'static str> = words.iter().map(|word| &*(*word).to_owned().leak()).collect();
        let choice = choose(&words.iter().map(candidate).collect::<Vec<_>>(), replace)?;
        Ok((choice.chosen, choice.old))
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
        // Where it may not be replaced, what is being made to replace it doesn't count.
        assert_eq!(chosen(&["misfit", "made-fit"], false), Err(Error::Conflict("misfit".to_owned())));
        assert_eq!(chosen(&["misfit", "made-misfit"], true), Ok((None, vec![0, 1])));
    }

    #[test]
    fn a_spec_that_is_put_back_takes_up_the_old_one() {
        assert_eq!(chosen(&["fit", "made-misfit"], false), Ok((Some(0), vec![1])));
        assert_eq!(chosen(&["old-fit", "misfit"], true), Ok((Some(0), vec![1])));
        assert_eq!(chosen(&["old-fit", "made-new-misfit"], false), Ok((Some(0), vec![1])));
        let refused = chosen(&["old-fit", "misfit"], false).unwrap_err().to_string();
        assert!(refused.contains("misfit; old-fit stands still"), "{refused}");
    }

    #[test]
    fn a_younger_one_that_somebody_else_made_is_left_alone() {
        assert_eq!(chosen(&["fit", "misfit"], true), Ok((Some(0), vec![])));
        assert_eq!(chosen(&["fit", "fit"], false), Ok((Some(0), vec![])));
    }
}

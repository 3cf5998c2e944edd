//! What is wrong with a spec, and where.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{syntax, tree::Place};

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// Where in the spec: `services.app.cpu`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Everything that is wrong with a spec, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

/// A fault before it is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
}

/// How many faults are told; of more, how many there are.
const TOLD: usize = 100;

/// How many faults are looked for.
pub(crate) const SOUGHT: usize = 1000;

/// How many characters a value that is told may have, and a message.
const SHOWN: usize = 60;
const MESSAGE: usize = 1500;

/// How many characters of a line are shown.
const LINE: usize = 120;

impl Faults {
    /// Faults in the order of the file, each once, in characters that a terminal only shows.
    pub(crate) fn told(mut found: Vec<Found>) -> Self {
        found.sort();
        found.dedup();
        let more = found.len().saturating_sub(TOLD);
        let rest = found.get(TOLD).map(|found| found.place);
        let mut faults: Vec<Fault> = found.into_iter().take(TOLD).map(Fault::from).collect();
        if let Some(place) = rest {
            let more = if more + TOLD >= SOUGHT {
                "many more faults".to_owned()
            } else {
                format!("{more} more faults")
            };
            let message = format!("from here on there are {more}");
            faults.push(Found { place, path: Vec::new(), message }.into());
        }
        Self(faults)
    }

    /// Each fault with its line, as a compiler shows it. `file` is what the spec is called, `source`
    /// its text. Of a long line the part around the fault is shown.
    pub fn render(&self, file: &str, source: &str) -> String {
        let lines: Vec<&str> = syntax::lines(source).collect();
        self.0.iter().fold(String::new(), |mut text, fault| {
            let Fault { line, column, path, message } = fault;
            let (shown, mark) = part(lines.get(*line as usize - 1).unwrap_or(&""), *column as usize - 1);
            let gutter = " ".repeat(line.to_string().len());
            let mark = " ".repeat(mark);
            // Writing to a string can't fail.
            let _ = writeln!(text, "{}:{line}:{column}: {path}: {message}", visible(file));
            let _ = writeln!(text, "{gutter} |\n{line} | {shown}\n{gutter} | {mark}^");
            text
        })
    }
}

/// The part of a line around a column, from 0, and where that column is in it.
fn part(line: &str, column: usize) -> (String, usize) {
    let from = column.saturating_sub(LINE / 2);
    let mut rest = line.chars().skip(from);
    let before: String = rest.by_ref().take(column - from).collect();
    let after: String = rest.by_ref().take(LINE - before.chars().count()).collect();
    let begin = if from > 0 { "…" } else { "" };
    let end = if rest.next().is_some() { "…" } else { "" };
    let before = format!("{begin}{}", visible(&before));
    let mark = before.chars().count();
    (format!("{before}{}{end}", visible(&after)), mark)
}

impl From<Found> for Fault {
    fn from(Found { place, path, message }: Found) -> Self {
        let path = if path.is_empty() {
            "spec".to_owned()
        } else {
            path.iter().map(|step| cut(step)).collect::<Vec<_>>().join(".")
        };
        Self {
            line: place.line,
            column: place.column,
            path: visible(&path),
            message: shortened(&visible(&message), MESSAGE),
        }
    }
}

/// The begin of a text that is shown in a message.
pub(crate) fn cut(text: &str) -> String {
    shortened(text, SHOWN)
}

fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text in which what a terminal would obey, or hide, is written as an escape: control characters, and those
/// that change the direction of writing or have no width.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            letter if letter.is_control() || is_hidden(letter) => {
                let _ = write!(shown, "\\u{:04x}", u32::from(letter));
            }
            letter => shown.push(letter),
        }
    }
    shown
}

fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{}:{}: {}: {}", fault.line, fault.column, fault.path, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

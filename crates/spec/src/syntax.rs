//! What isn't YAML, in words that say what to write.

use granit_parser::{ErrorKind as Kind, ScanError};

use crate::{fault::cut, tree::Place};

/// Where a text stops being YAML, and what to write instead.
pub(crate) fn told(text: &str, error: &ScanError) -> (Place, String) {
    let place = Place::of(error.marker());
    let line = line(text, place.line);
    let before: String = line.chars().take(place.column as usize - 1).collect();
    let at: String = line.chars().skip(place.column as usize - 1).collect();
    if is_flow(error.kind())
        && let Some((column, reference)) = unquoted(line)
    {
        let message = format!(
            "quote it: \"{}\"; between {{ }} and [ ] YAML takes a {{ for the begin of fields",
            cut(&reference)
        );
        return (Place { column, ..place }, message);
    }
    if let Some(message) = language(text) {
        return (Place::START, message);
    }
    (place, message(error.kind(), &before, &at))
}

/// A line of a text, from 1, whatever ends its lines.
pub(crate) fn line(text: &str, number: u32) -> &str {
    lines(text).nth(number as usize - 1).unwrap_or_default()
}

/// The lines of a text as YAML counts them.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let ending = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + ending..]);
        Some(&text[..end])
    })
}

/// Whether this may come of a brace that was meant as text.
fn is_flow(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ExpectedFlowMappingSeparator
            | Kind::ExpectedFlowSequenceSeparator
            | Kind::UnclosedFlowCollection { .. }
            | Kind::MismatchedFlowCollectionEnd { .. }
            | Kind::MisplacedFlowCollectionEnd
            | Kind::UnexpectedEofFlowMapping
            | Kind::UnexpectedEofFlowSequence
            | Kind::UnexpectedEofImplicitFlowMapping
            | Kind::FlowMappingValueAdjacentCollection
    )
}

/// A `${…}` of a line that stands outside quotes, and its column.
fn unquoted(line: &str) -> Option<(u32, String)> {
    let mut quote = None;
    for (index, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '$') if line[index..].starts_with("${") => {
                let end = line[index..].find('}').map_or(line.len(), |end| index + end + 1);
                let column = u32::try_from(line[..index].chars().count() + 1).unwrap_or(u32::MAX);
                return Some((column, line[index..end].to_owned()));
            }
            _ => {}
        }
    }
    None
}

/// What is told of a text in another language.
pub(crate) fn language(text: &str) -> Option<String> {
    let begins = |words: &[&str]| {
        let mut lines = text.lines().map(str::trim_start).take(200);
        lines.any(|line| words.iter().any(|word| line.starts_with(word)))
    };
    let terraform = ["resource \"", "provider \"", "variable \"", "module \"", "terraform {", "data \""];
    let language = if begins(&terraform) {
        "Terraform's language"
    } else if begins(&["FROM "]) {
        "a Dockerfile"
    } else {
        return None;
    };
    Some(format!(
        "this is {language}; a spec is YAML that begins with `apiVersion: plinth/v1`, and has a section for each kind of \
         resource: `services`, `databases`, `loadBalancers`, …"
    ))
}

fn message(kind: &Kind, before: &str, at: &str) -> String {
    let word = || cut(at.split([' ', ',', ']', '}']).next().unwrap_or_default());
    match kind {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInPlainScalar => "indent with spaces: YAML takes no tabs".to_owned(),
        Kind::UnknownAnchor => {
            format!("quote it: \"{}\"; a plain * begins an alias, and nothing above has this anchor", word())
        }
        Kind::MissingAnchorOrAliasName => {
            let sign = at.chars().next().or(before.chars().last()).unwrap_or('*');
            let sign = if "*&".contains(sign) { sign } else { before.chars().last().unwrap_or('*') };
            format!("quote it: \"{sign}\"; a plain {sign} begins an alias or an anchor")
        }
        Kind::UnexpectedCharacter { character } if character.is_control() => {
            let code = u32::from(*character);
            format!(
                "the control character U+{code:04X} can't stand here; write \"\\u{code:04x}\" in double quotes"
            )
        }
        Kind::UnexpectedCharacter { character } => format!("quote it: a value can't begin with {character}"),
        Kind::UnclosedQuotedScalar => "a quote opens here and is never closed".to_owned(),
        Kind::InvalidQuotedScalarIndent => {
            "a quote that opens above isn't closed before this line; close it, or indent its lines".to_owned()
        }
        Kind::UnclosedFlowCollection { open } => format!("the {open} is never closed"),
        Kind::UnexpectedEofFlowSequence => "the list isn't closed; write ]".to_owned(),
        Kind::UnexpectedEofFlowMapping | Kind::UnexpectedEofImplicitFlowMapping => {
            "the fields aren't closed; write }".to_owned()
        }
        Kind::MismatchedFlowCollectionEnd { open, close } => format!("the {open} is closed by a {close}"),
        Kind::MisplacedFlowCollectionEnd => {
            "this bracket closes what was never opened; quote it if it is text".to_owned()
        }
        Kind::ExpectedFlowMappingSeparator => {
            "write a comma between fields, or } after the last one".to_owned()
        }
        Kind::ExpectedFlowSequenceSeparator => {
            "write a comma between items, or ] after the last one".to_owned()
        }
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement => {
            "a second `: ` stands in this line; quote the value, or write the field in a line of its own"
                .to_owned()
        }
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey | Kind::MappingKeyNotAllowed => {
            "write a field as its name, a colon and a space: `name: value`".to_owned()
        }
        Kind::ExpectedBlockMappingKey
        | Kind::ExpectedBlockSequenceEntry
        | Kind::InvalidIndentation
        | Kind::BlockSequenceEntryNotAllowed
        | Kind::InvalidFlowScalarIndent
        | Kind::InvalidBlockScalarIndent
        | Kind::ExpectedNodeContent => {
            "this doesn't line up with what is above; indent fields that belong together by the same spaces"
                .to_owned()
        }
        Kind::BlockEntryInFlowCollection => "between [ ] items stand without a `-`".to_owned(),
        Kind::InvalidBlockEntryWhitespace => "write a space after the `-`".to_owned(),
        Kind::InvalidMappingValueWhitespace
        | Kind::FlowMappingValueAdjacentCollection
        | Kind::ExpectedWhitespace => "write a space here".to_owned(),
        Kind::CommentNotSeparated | Kind::CommentInterceptedScalar => {
            "write a space before the # of a comment, or quote what holds a #".to_owned()
        }
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => {
            "nothing may follow the closing quote; quote the whole value".to_owned()
        }
        kind => rare(kind).to_owned(),
    }
}

/// The same of what is seldom written.
fn rare(kind: &Kind) -> &'static str {
    match kind {
        Kind::UnknownQuotedScalarEscape
        | Kind::InvalidQuotedScalarHexEscape
        | Kind::InvalidUnicodeEscape
        | Kind::InvalidLowSurrogate
        | Kind::InvalidLowSurrogateHexEscape
        | Kind::MissingLowSurrogate
        | Kind::UnpairedLowSurrogate => {
            "there is no such escape; write \\\\ for a backslash, or use single quotes"
        }
        Kind::RecursionLimitExceeded => "fields stand in fields too deep",
        Kind::UndeclaredTagHandle
        | Kind::MissingTagUri
        | Kind::ExpectedTagBang
        | Kind::UnclosedVerbatimTag
        | Kind::InvalidTagTerminator
        | Kind::InvalidTagEscape
        | Kind::InvalidGlobalTagCharacter => {
            "quote it: a plain ! begins a YAML tag, which a spec doesn't use"
        }
        Kind::ZeroBlockScalarIndent | Kind::InvalidBlockScalarHeader => {
            "quote it: a plain | or > begins text of several lines, which starts in the next one"
        }
        Kind::PlainScalarStartsWithDashFlowIndicator => "write a space after the `-`, or quote it",
        Kind::BomInsideDocument => "a byte order mark stands inside the file; delete it",
        Kind::InvalidDocumentEnd
        | Kind::DocumentIndicatorInQuotedScalar
        | Kind::ExpectedDocumentStart
        | Kind::MissingDocumentEndBeforeDirective => {
            "one file describes one environment: leave `---` and `...` out"
        }
        Kind::InvalidDirectiveName
        | Kind::MissingDirectiveName
        | Kind::MissingYamlVersion
        | Kind::InvalidDirectiveTerminator
        | Kind::UnsupportedYamlMajorVersion
        | Kind::DuplicateVersionDirective => "quote it: a plain % at the begin of a line is YAML's own",
        _ => "YAML can't be read from here on; quote the value if it holds special characters",
    }
}

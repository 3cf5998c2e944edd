//! The TXT record beside a record of ours, which says whose it is: Route 53 has tags for zones only.

use jiff::Timestamp;
use step::{Context, Owner};

/// What the name of a proof begins with.
const PREFIX: &str = "_plinth.";

/// Stands for `*` in the name of a proof: inside a name it would be no wildcard, and isn't allowed.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html#domain-name-format-asterisk>
const ANY: &str = "_any";

/// The longest string of a TXT record; a longer text is several.
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#TXTFormat>
const STRING: usize = 255;

/// What a proof says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) owner: Owner,
    pub(crate) address: String,
    /// When the record beside it was last written: until that has spread, the step waits.
    pub(crate) since: Option<Timestamp>,
}

impl Proof {
    /// The proof of a record that is written now.
    pub(crate) fn now(context: &Context, address: &str) -> Self {
        Self { owner: context.owner(), address: address.to_owned(), since: Some(Timestamp::now()) }
    }

    /// What it says of whose the record is.
    pub(crate) fn says(&self) -> String {
        let Owner { environment, control_plane } = &self.owner;
        format!("environment={environment} address={} control-plane={control_plane}", self.address)
    }

    /// The value of the TXT record.
    pub(crate) fn write(&self) -> String {
        let since = self.since.map(|since| format!(" since={since}")).unwrap_or_default();
        let text = format!("{}{since}", self.says());
        let strings = text.as_bytes().chunks(STRING).map(String::from_utf8_lossy);
        strings.map(|string| format!("\"{string}\"")).collect::<Vec<_>>().join(" ")
    }

    /// What a TXT record's value says, if it is a proof.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let text = value.trim_matches('"').replace("\" \"", "");
        let word = |key: &str| {
            let mut words = text.split(' ').filter_map(|word| word.split_once('='));
            words.find(|(each, _)| *each == key).map(|(_, value)| value.to_owned())
        };
        Some(Self {
            owner: Owner { environment: word("environment")?, control_plane: word("control-plane")? },
            address: word("address")?,
            since: word("since").and_then(|since| since.parse().ok()),
        })
    }
}

/// Whether a name in the spec would be taken for a proof, or for a wildcard's.
pub(crate) fn is_reserved(word: &str) -> bool {
    let first = word.split('.').next().unwrap_or_default();
    first == ANY || first == PREFIX.trim_end_matches('.')
}

/// The name of the proof beside the record of this name.
pub(crate) fn beside(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(rest) => format!("{PREFIX}{ANY}.{rest}"),
        None => format!("{PREFIX}{name}"),
    }
}

/// The name of the record a proof of this name is for.
pub(crate) fn of(name: &str) -> Option<String> {
    let name = name.strip_prefix(PREFIX)?;
    Some(match name.strip_prefix(ANY).and_then(|rest| rest.strip_prefix('.')) {
        Some(rest) => format!("*.{rest}"),
        None => name.to_owned(),
    })
}

//! A spec as written: values in their own words, and where each stands.
//!
//! YAML's guesses are left out: `0123` stays the text `0123` until the language says what stands there. What YAML
//! allows and a spec doesn't (a field written twice, a second document, tags) is found here too.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::{
    fault::{Found, cut},
    syntax,
};

/// The most values a spec may have. A thousand services have about fifty thousand.
const VALUES: usize = 200_000;

/// How deep fields may stand in fields.
const DEPTH: usize = 64;

/// A line and a column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    /// Where a text begins.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    pub(crate) fn of(marker: &Marker) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
    }
}

/// A value and its place. Aliases share what they stand for.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Rc<Content>,
}

/// What a value consists of.
#[derive(Debug)]
pub(crate) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A single value, in its own words.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Whether it stands without quotes, and may be a number or a word of the language.
    pub(crate) plain: bool,
}

impl Scalar {
    /// Whether nothing is written.
    pub(crate) fn is_nothing(&self) -> bool {
        self.plain && self.text.is_empty()
    }

    /// Whether it is YAML's word for nothing.
    pub(crate) fn is_null(&self) -> bool {
        self.plain && ["~", "null", "Null", "NULL"].contains(&self.text.as_str())
    }
}

/// A field of a map.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// The value of a field, if this is a map that has it.
    pub(crate) fn field(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The fields, if this is a map.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &*self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, if this is a single value.
    pub(crate) fn text(&self) -> Option<&str> {
        match &*self.content {
            Content::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }
}

/// Where everything stands.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) root: Option<Node>,
    /// Fields whose names were taken for others, by the path that was meant: what is written there.
    pub(crate) meant: BTreeMap<Vec<String>, String>,
}

impl Places {
    /// Where the value at this path stands, or what it would stand in.
    pub(crate) fn of(&self, path: &[String]) -> Place {
        self.find(path).1
    }

    /// Where the name of the value at this path stands.
    pub(crate) fn of_key(&self, path: &[String]) -> Place {
        let (key, value) = self.find(path);
        key.unwrap_or(value)
    }

    /// The places of a path's last key, if it is written, and of the value or of what it would stand in.
    fn find(&self, path: &[String]) -> (Option<Place>, Place) {
        let Some(mut node) = self.root.as_ref() else { return (None, Place::START) };
        let mut key = None;
        for (depth, step) in path.iter().enumerate() {
            let written = self.meant.get(&path[..=depth]).unwrap_or(step);
            let next = match &*node.content {
                Content::Map(entries) => entries
                    .iter()
                    .find(|entry| &entry.key == written)
                    .map(|entry| (Some(entry.place), &entry.value)),
                Content::List(items) => {
                    step.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (None, item))
                }
                Content::Scalar(_) => None,
            };
            let Some((place, value)) = next else { return (None, node.place) };
            (key, node) = (place, value);
        }
        (key, node.place)
    }
}

/// What was read.
pub(crate) struct Read {
    /// None where nothing is written.
    pub(crate) root: Option<Node>,
    /// What YAML, or a spec, doesn't allow.
    pub(crate) found: Vec<Found>,
    /// Whether the text was read to its end.
    pub(crate) whole: bool,
}

/// Reads a text as far as it is YAML.
pub(crate) fn read(text: &str) -> Read {
    let mut options = granit_parser::options! { flow_nesting_limit: DEPTH, block_nesting_limit: DEPTH };
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    let mut whole = true;
    for event in Parser::new_from_str_with_options(text, options) {
        let took = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                builder.broken(text, &error);
                Err(Stop)
            }
        };
        if took.is_err() {
            // Of several documents the first is whole.
            whole = builder.documents > 1;
            break;
        }
    }
    while !builder.open.is_empty() {
        builder.close();
    }
    Read { root: builder.root, found: builder.found, whole }
}

/// The rest can't be read.
struct Stop;

/// A list or a map that is being read.
struct Open {
    place: Place,
    anchor: usize,
    entries: Option<Vec<Entry>>,
    items: Vec<Node>,
    /// The key whose value comes next; without a text, one that can't be a key.
    key: Option<(Option<String>, Place)>,
    /// What `<<` brings.
    merged: Vec<Node>,
    values: usize,
    depth: usize,
}

/// What an anchor stands for.
struct Anchored {
    content: Rc<Content>,
    values: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    documents: usize,
    values: usize,
    found: Vec<Found>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let place = Place::of(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message =
                        "one file describes one environment: move what follows --- to a file of its own";
                    self.fault(place, message.to_owned());
                    return Err(Stop);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), place);
                // A tag says that it is text, whatever it looks like.
                let plain = style == ScalarStyle::Plain && tag.is_none();
                // Where nothing is written, the parser says ~.
                let text = if plain && span.is_empty() { String::new() } else { text.into_owned() };
                let content = Rc::new(Content::Scalar(Scalar { text, plain }));
                self.anchor(anchor, &content, 1, 0);
                return self.add(Node { place, content }, 1, 0);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), place);
                self.begin(place, anchor, None);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), place);
                self.begin(place, anchor, Some(Vec::new()));
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close().map_or(Ok(()), |()| Err(Stop)),
            Event::Alias(id) => {
                let Some(Anchored { content, values, depth }) = self.anchors.get(&id) else {
                    self.fault(place, "an alias can't stand inside what it stands for".to_owned());
                    return Err(Stop);
                };
                let (content, values, depth) = (content.clone(), *values, *depth);
                return self.add(Node { place, content }, values, depth);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, place: Place, anchor: usize, entries: Option<Vec<Entry>>) {
        let (items, merged) = (Vec::new(), Vec::new());
        self.open.push(Open { place, anchor, entries, items, key: None, merged, values: 1, depth: 1 });
    }

    /// Ends what was begun last; answers if what follows can't be read.
    fn close(&mut self) -> Option<()> {
        let path = self.path();
        let open = self.open.pop()?;
        let content = Rc::new(match open.entries {
            None => Content::List(open.items),
            Some(entries) => Content::Map(self.once(&path, merge(entries, &open.merged))),
        });
        self.anchor(open.anchor, &content, open.values, open.depth);
        self.values -= open.values - 1;
        self.add(Node { place: open.place, content }, open.values, open.depth).err().map(|_| ())
    }

    /// Each field once: of those that are written twice the first is kept.
    fn once(&mut self, path: &[String], entries: Vec<Entry>) -> Vec<Entry> {
        let mut lines: HashMap<String, u32> = HashMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(line) = lines.get(&entry.key) {
                let message =
                    format!("\"{}\" is written twice, first in line {line}; keep one", cut(&entry.key));
                let path = [path, std::slice::from_ref(&entry.key)].concat();
                self.found.push(Found { path, place: entry.place, message });
            } else {
                lines.insert(entry.key.clone(), entry.place.line);
                kept.push(entry);
            }
        }
        kept
    }

    fn anchor(&mut self, anchor: usize, content: &Rc<Content>, values: usize, depth: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { content: content.clone(), values, depth });
        }
    }

    /// Puts a value where it belongs: as a key, a field's value, an item, or the whole.
    fn add(&mut self, node: Node, values: usize, depth: usize) -> Result<(), Stop> {
        self.values += values;
        if self.values > VALUES {
            let message = format!("a spec has at most {VALUES} values, with those that aliases stand for");
            self.fault(node.place, message);
            return Err(Stop);
        }
        if self.open.len() + depth > DEPTH {
            let message = format!("fields stand in fields at most {DEPTH} deep");
            self.fault(node.place, message);
            return Err(Stop);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.values += values;
        open.depth = open.depth.max(depth + 1);
        let Some(entries) = &mut open.entries else {
            open.items.push(node);
            return Ok(());
        };
        match open.key.take() {
            None => self.key(&node),
            Some((Some(key), place)) if key == "<<" => self.merge(node, place),
            Some((Some(key), place)) => entries.push(Entry { key, place, value: node }),
            Some((None, _)) => {}
        }
        Ok(())
    }

    fn key(&mut self, node: &Node) {
        let (key, message) = match &*node.content {
            Content::Scalar(scalar) if scalar.is_nothing() => {
                (None, Some("a field has no name; write one before the colon"))
            }
            Content::Scalar(scalar) => (Some(scalar.text.clone()), None),
            Content::List(_) => {
                (None, Some("a field's name is text, not a list; quote it if it begins with ["))
            }
            Content::Map(_) => {
                (None, Some("a field's name is text, not a map; quote it if it begins with {"))
            }
        };
        if let Some(message) = message {
            self.fault(node.place, message.to_owned());
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some((key, node.place));
        }
    }

    /// The fields that `<<` brings: those of a map, or of several.
    fn merge(&mut self, node: Node, place: Place) {
        let maps = match &*node.content {
            Content::Map(_) => vec![node],
            Content::List(items) if items.iter().all(|item| matches!(&*item.content, Content::Map(_))) => {
                items.clone()
            }
            _ => {
                let message = "<< takes the fields of a map that has an anchor: `<<: *base`";
                return self.fault(place, message.to_owned());
            }
        };
        if let Some(open) = self.open.last_mut() {
            open.merged.extend(maps);
        }
    }

    /// The language has no tags: what stands somewhere has its kind from there.
    fn tag(&mut self, tag: Option<&Tag>, place: Place) {
        let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag("str")) else { return };
        let written = tag.original();
        let message = if ["!Ref", "!Sub", "!GetAtt", "!Join", "!ImportValue"].contains(&written.as_str()) {
            format!(
                "{written} is CloudFormation's; a spec refers to its parts with ${{…}}: ${{services.api.host}}"
            )
        } else {
            let written = cut(&written);
            format!("{written} is a YAML tag, which a spec doesn't use; quote a value that begins with !")
        };
        self.fault(place, message);
    }

    fn broken(&mut self, text: &str, error: &ScanError) {
        let (place, message) = syntax::told(text, error);
        self.fault(place, message);
    }

    fn fault(&mut self, place: Place, message: String) {
        let path = self.path();
        self.found.push(Found { place, path, message });
    }

    /// Where in the spec the reader is.
    fn path(&self) -> Vec<String> {
        let step = |open: &Open| match (&open.entries, &open.key) {
            (Some(_), Some((Some(key), _))) => Some(key.clone()),
            (None, _) => Some(open.items.len().to_string()),
            _ => None,
        };
        self.open.iter().filter_map(step).collect()
    }
}

/// A map's own fields, and of others those that it hasn't.
fn merge(mut entries: Vec<Entry>, merged: &[Node]) -> Vec<Entry> {
    let mut own: HashSet<String> = HashSet::new();
    if !merged.is_empty() {
        own.extend(entries.iter().map(|entry| entry.key.clone()));
    }
    for entry in merged.iter().flat_map(Node::entries) {
        if own.insert(entry.key.clone()) {
            entries.push(entry.clone());
        }
    }
    entries
}

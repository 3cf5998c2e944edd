//! The form of a spec: its fields, their types, the words they take. The JSON Schema made from the types says what
//! fits; here a text is read by it, scalar by scalar in its own words, and what doesn't fit is told.
//!
//! What is broken doesn't hide what is wrong elsewhere: a stand-in takes its place, and faults of meaning that
//! depend on the stand-in aren't told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use crate::{
    Text,
    fault::{SOUGHT, cut},
    foreign,
    number::{self, Whole},
    pattern, schema,
    suggest::nearest,
    tree::{Content, Entry, Node, Place, Scalar},
};
pub(crate) use crate::{fault::Found, suggest::instead};

/// What takes the place of what is broken. A fault of meaning is told if it is found with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// Nothing, where a field may be left out, else the least.
    Less,
    /// A value, and another one.
    More,
}

/// Where a spec comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file: its text is what its author wrote.
    File,
    /// A start's input: its numbers were read and written before.
    Input,
}

/// A spec in the schema's types.
pub(crate) struct Form {
    /// The spec.
    pub(crate) value: Value,
    /// What doesn't fit.
    pub(crate) found: Vec<Found>,
    /// The paths of what stand-ins took the place of.
    pub(crate) broken: BTreeSet<Vec<String>>,
    /// Fields whose names were taken for others: by the path that was meant, what is written.
    pub(crate) meant: BTreeMap<Vec<String>, String>,
}

/// Reads a spec by the schema. Of one that isn't `whole`, nothing is said to be missing.
pub(crate) fn form(root: &Node, whole: bool, stand_in: StandIn, origin: Origin) -> Form {
    let mut reader = Reader {
        stand_in,
        origin,
        whole,
        path: Vec::new(),
        found: Vec::new(),
        broken: BTreeSet::new(),
        meant: BTreeMap::new(),
    };
    let value = reader.value(root, schema::schema(), true);
    let value = reader.or_stand_in(value, schema::schema());
    let Reader { found, broken, meant, .. } = reader;
    Form { value, found, broken, meant }
}

struct Reader {
    stand_in: StandIn,
    origin: Origin,
    whole: bool,
    path: Vec<String>,
    found: Vec<Found>,
    broken: BTreeSet<Vec<String>>,
    meant: BTreeMap<Vec<String>, String>,
}

impl Reader {
    fn fault(&mut self, place: Place, message: impl Into<String>) {
        if !self.is_enough() {
            self.found.push(Found { path: self.path.clone(), place, message: message.into() });
        }
    }

    /// Whether so much is wrong that the rest isn't looked at.
    fn is_enough(&self) -> bool {
        self.found.len() >= SOUGHT
    }

    /// What stands at a field of this schema; none if it is broken, which is told. `named` says whether the field is
    /// one of the language's, or one of the user's own.
    fn value(&mut self, node: &Node, field: &'static Value, named: bool) -> Option<Value> {
        let schema = schema::resolved(field);
        if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
            let Some(form) = forms.iter().find(|form| takes(schema::resolved(form), node)) else {
                let message = format!("{} doesn't fit here; {}", shown(node), described(field));
                self.fault(node.place, message);
                return None;
            };
            // What the field says of itself says more than what its form does.
            let form = schema::resolved(form);
            return self.of_type(node, form, field, named);
        }
        self.of_type(node, schema, field, named)
    }

    fn of_type(
        &mut self,
        node: &Node,
        schema: &'static Value,
        field: &'static Value,
        named: bool,
    ) -> Option<Value> {
        let words = words(schema);
        if !words.is_empty() {
            return self.word(node, &words);
        }
        match kind(schema) {
            "string" => self.text(node, schema, field, named),
            "integer" => self.whole_number(node, schema, field),
            "number" => self.number(node, schema),
            "boolean" => self.boolean(node),
            "array" => self.list(node, schema, field),
            _ => self.map(node, schema, field),
        }
    }

    /// The single value that is wanted here; told if there is none.
    fn scalar<'a>(&mut self, node: &'a Node, wanted: &str) -> Option<&'a Scalar> {
        match &*node.content {
            Content::Scalar(scalar) if scalar.is_nothing() => {
                self.fault(
                    node.place,
                    format!("nothing is written here; write {wanted}, or leave the line out"),
                );
                None
            }
            Content::Scalar(scalar) => Some(scalar),
            _ => {
                self.fault(node.place, format!("write {wanted}, not {}", shown(node)));
                None
            }
        }
    }

    fn word(&mut self, node: &Node, words: &[&'static str]) -> Option<Value> {
        let scalar = self.scalar(node, &words.join(" or "))?;
        if words.contains(&scalar.text.as_str()) {
            return Some(Value::String(scalar.text.clone()));
        }
        let message = format!(
            "{} is none of the words known here; {}",
            quoted(&scalar.text),
            instead(&scalar.text, words)
        );
        self.fault(node.place, message);
        None
    }

    fn text(
        &mut self,
        node: &Node,
        schema: &'static Value,
        field: &'static Value,
        named: bool,
    ) -> Option<Value> {
        if matches!(&*node.content, Content::Map(_)) && self.path.last().is_some_and(|name| name == "image") {
            self.fault(node.place, FOLLOWED);
            return None;
        }
        if let Some(message) = braces(node) {
            self.fault(node.place, message);
            return None;
        }
        let empty = if named { "text" } else { "text, or '' for an empty one" };
        let scalar = self.scalar(node, empty)?;
        if named && scalar.is_null() {
            self.fault(node.place, "nothing is written here; write text, or leave the line out");
            return None;
        }
        let text = &scalar.text;
        if self.origin == Origin::Input && number::may_differ(scalar) {
            let message = format!(
                "write it in quotes: \"{}\"; numbers of a start's input don't arrive as they are written, 1.10 for one as 1.1",
                cut(text)
            );
            self.fault(node.place, message);
            return None;
        }
        if let Some(message) = unfit(text, schema, field).or_else(|| Self::references(text, schema)) {
            self.fault(node.place, message);
            return None;
        }
        Some(Value::String(text.clone()))
    }

    /// What is wrong with the references of a text.
    fn references(text: &str, schema: &'static Value) -> Option<String> {
        if !text.contains("${") {
            return None;
        }
        if schema::is_text(schema) {
            return text.parse::<Text>().err();
        }
        Some(format!("{}: a reference can't stand here; write the value itself", quoted(text)))
    }

    fn whole_number(&mut self, node: &Node, schema: &'static Value, field: &'static Value) -> Option<Value> {
        let scalar = self.scalar(node, "a number")?;
        let name = self.path.last().map(String::as_str).unwrap_or_default();
        let told = match number::whole(scalar) {
            Whole::Is(number) => match out_of_range(number, scalar, schema, field) {
                None => return Some(Value::Number(number.into())),
                Some(told) => told,
            },
            Whole::Huge => out_of_range(i64::MAX, scalar, schema, field).unwrap_or_default(),
            Whole::Write(number) => format!("write {number}, not {}", shown(node)),
            Whole::No => match number::with_unit(name, &scalar.text) {
                Some(told) => told,
                None => format!("write a number, not {}", shown(node)),
            },
        };
        self.fault(node.place, told);
        None
    }

    fn number(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        let scalar = self.scalar(node, "a number")?;
        let number = number::real(scalar).and_then(|number| Some((number, Number::from_f64(number)?)));
        let Some((real, number)) = number else {
            let unquoted = if scalar.plain { "" } else { " without quotes" };
            self.fault(node.place, format!("write a number{unquoted}, not {}", shown(node)));
            return None;
        };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if let Some(least) = bound("minimum").filter(|least| real < *least) {
            self.fault(node.place, format!("{real} is too small; write {least} or more"));
            return None;
        }
        if let Some(most) = bound("maximum").filter(|most| real > *most) {
            self.fault(node.place, format!("{real} is too large; write {most} or less"));
            return None;
        }
        Some(Value::Number(number))
    }

    fn boolean(&mut self, node: &Node) -> Option<Value> {
        let scalar = self.scalar(node, "true or false")?;
        let lower = scalar.text.to_lowercase();
        match (scalar.plain, lower.as_str()) {
            (true, "true") => return Some(Value::Bool(true)),
            (true, "false") => return Some(Value::Bool(false)),
            (false, "true" | "false") => {
                self.fault(node.place, format!("write {lower} without quotes"));
            }
            (_, "yes" | "on" | "1" | "enabled") => {
                self.fault(node.place, format!("write true, not {}", shown(node)));
            }
            (_, "no" | "off" | "0" | "disabled") => {
                self.fault(node.place, format!("write false, not {}", shown(node)));
            }
            _ => self.fault(node.place, format!("write true or false, not {}", shown(node))),
        }
        None
    }

    fn list(&mut self, node: &Node, schema: &'static Value, field: &'static Value) -> Option<Value> {
        let name = self.path.last().cloned().unwrap_or_default();
        let items = schema.get("items").unwrap_or(&Value::Null);
        let Content::List(found) = &*node.content else {
            let message = match &*node.content {
                Content::Scalar(scalar) if scalar.is_nothing() || scalar.is_null() => {
                    "nothing is written here; write a list, or leave the line out".to_owned()
                }
                Content::Scalar(scalar) => format!("write a list: {}", listed(&name, &scalar.text)),
                _ => format!(
                    "write a list, not fields with values: {}; {}",
                    listed(&name, "…"),
                    described(field)
                ),
            };
            self.fault(node.place, message);
            return None;
        };
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if (found.len() as u64) < least {
            self.fault(node.place, format!("write at least {least}: {}", described(field)));
            return None;
        }
        if found.len() as u64 > most {
            self.fault(node.place, format!("write at most {most}, not {}", found.len()));
            return None;
        }
        let mut values = Vec::with_capacity(found.len());
        for (index, item) in found.iter().enumerate() {
            if self.is_enough() {
                return None;
            }
            self.path.push(index.to_string());
            let value = self.value(item, items, false);
            values.push(self.or_stand_in(value, items));
            self.path.pop();
        }
        Some(Value::Array(values))
    }

    fn map(&mut self, node: &Node, schema: &'static Value, field: &'static Value) -> Option<Value> {
        let Content::Map(entries) = &*node.content else {
            let message = self.no_map(node, schema, field);
            self.fault(node.place, message);
            return None;
        };
        let mut fields = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        for entry in entries {
            if self.is_enough() {
                return None;
            }
            let own = known.and_then(|known| known.get(&entry.key));
            let free = schema.get("additionalProperties").filter(|free| free.is_object());
            match (own, free) {
                (Some(own), _) => self.field(&mut fields, entry, &entry.key, own, true),
                (None, Some(free)) => self.field(&mut fields, entry, &entry.key, free, false),
                (None, None) => self.unknown(&mut fields, entry, node, schema),
            }
        }
        let least = schema.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if self.whole && (entries.len() as u64) < least {
            self.fault(node.place, format!("write at least {least}: {}", described(field)));
        }
        self.missing(&mut fields, node, schema);
        Some(Value::Object(fields))
    }

    /// Reads a field. `key` is what it is called in the language.
    fn field(
        &mut self,
        fields: &mut Map<String, Value>,
        entry: &Entry,
        key: &str,
        field: &'static Value,
        named: bool,
    ) {
        self.path.push(key.to_owned());
        match self.value(&entry.value, field, named) {
            Some(value) => {
                fields.insert(key.to_owned(), value);
            }
            None if named && self.stand_in == StandIn::Less => {
                self.broken.insert(self.path.clone());
            }
            None => {
                let value = self.or_stand_in(None, field);
                fields.insert(key.to_owned(), value);
            }
        }
        self.path.pop();
    }

    /// A field that the language hasn't. What was meant by it is read as such, if that is plain, so that nothing is
    /// said to be missing, and nothing that is written goes unread.
    fn unknown(
        &mut self,
        fields: &mut Map<String, Value>,
        entry: &Entry,
        node: &Node,
        schema: &'static Value,
    ) {
        let known = schema.get("properties").and_then(Value::as_object);
        let names: Vec<&'static str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let written = &entry.key;
        let word = foreign::word_for(schema::name(schema), written);
        let near = nearest(written, &names);
        let (message, meant) = match (word, near.as_slice()) {
            (Some(word), _) => {
                let message =
                    format!("there is no field {} here: {}", quoted(written), word.told(&entry.value));
                (message, Some(word.ours).filter(|ours| !ours.is_empty()))
            }
            (None, near) => {
                let message = format!(
                    "there is no field {} here; {}",
                    quoted(written),
                    fields_instead(written, &names, schema)
                );
                (message, if let [near] = near { Some(*near) } else { None })
            }
        };
        self.path.push(written.clone());
        self.fault(entry.place, message);
        self.path.pop();
        let Some(meant) = meant.filter(|meant| node.field(meant).is_none() && !fields.contains_key(*meant))
        else {
            return;
        };
        let Some(own) = known.and_then(|known| known.get(meant)) else { return };
        self.path.push(meant.to_owned());
        let told = self.found.len();
        let broken = self.broken.clone();
        let value = self.value(&entry.value, own, true).filter(|_| self.found.len() == told);
        self.found.truncate(told);
        if value.is_none() {
            self.broken = broken;
            self.broken.insert(self.path.clone());
        }
        let value = match (value, self.stand_in) {
            (None, StandIn::More) => Some(self.stand_in(own)),
            (value, _) => value,
        };
        if let Some(value) = value {
            self.meant.insert(self.path.clone(), written.clone());
            fields.insert(meant.to_owned(), value);
        }
        self.path.pop();
    }

    /// Puts stand-ins for what is required and isn't there, and tells what isn't written.
    fn missing(&mut self, fields: &mut Map<String, Value>, node: &Node, schema: &'static Value) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if fields.contains_key(name) {
                continue;
            }
            let Some(field) = schema::field(schema, name) else { continue };
            self.path.push(name.to_owned());
            let told = !self.whole || self.broken.contains(&self.path);
            let value = self.or_stand_in(None, field);
            self.path.pop();
            fields.insert(name.to_owned(), value);
            if !told {
                self.fault(node.place, format!("`{name}` is missing: {}", described(field)));
            }
        }
    }

    /// The value that stands here, or what takes its place.
    fn or_stand_in(&mut self, value: Option<Value>, field: &'static Value) -> Value {
        value.unwrap_or_else(|| {
            self.broken.insert(self.path.clone());
            self.stand_in(field)
        })
    }

    /// A value that the types take.
    fn stand_in(&self, field: &'static Value) -> Value {
        let schema = schema::resolved(field);
        if let Some(form) = schema.get("anyOf").and_then(|forms| forms.get(0)) {
            return self.stand_in(form);
        }
        let more = self.stand_in == StandIn::More;
        let words = words(schema);
        if let (Some(first), Some(last)) = (words.first(), words.last()) {
            return Value::from(if more { *last } else { *first });
        }
        match kind(schema) {
            "string" if schema::name(schema) == "Duration" => Value::from(if more { "2d" } else { "1d" }),
            "string" => Value::from(if more { "b" } else { "a" }),
            "integer" | "number" => {
                let least = schema.get("minimum").and_then(Value::as_u64).unwrap_or(0);
                Value::from(least + u64::from(more))
            }
            "boolean" => Value::Bool(more),
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let item = schema.get("items").map(|items| self.stand_in(items));
                Value::Array(
                    std::iter::repeat_n(item.unwrap_or_default(), usize::try_from(least).unwrap_or(0))
                        .collect(),
                )
            }
            _ => {
                let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
                let field = |name: &str| Some((name.to_owned(), self.stand_in(schema::field(schema, name)?)));
                Value::Object(required.filter_map(Value::as_str).filter_map(field).collect())
            }
        }
    }

    /// What to write where fields are wanted and none are.
    fn no_map(&self, node: &Node, schema: &'static Value, field: &'static Value) -> String {
        let name = self.path.last().map_or("a spec", String::as_str);
        let free = schema.get("additionalProperties").filter(|free| free.is_object());
        match (&*node.content, free) {
            (Content::Scalar(scalar), _) if scalar.is_nothing() && self.path.is_empty() => {
                "nothing is written here; a spec begins with `apiVersion: plinth/v1` and `name: …`".to_owned()
            }
            (Content::Scalar(scalar), _) if scalar.is_nothing() || scalar.is_null() => {
                format!("nothing is written here; write `{name}: {{}}`, or leave the line out")
            }
            (Content::List(items), Some(free)) => list_for_map(name, items, schema::resolved(free)),
            (Content::List(_), None) if self.path.is_empty() => {
                "a spec is fields with values, not a list; it begins with `apiVersion: plinth/v1` and `name: …`".to_owned()
            }
            (Content::Scalar(scalar), None) => {
                let required: Vec<&str> =
                    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
                let name = if name.parse::<usize>().is_ok() { "an item" } else { name };
                match required.as_slice() {
                    [one] => format!("{name} takes fields: {}: {{ {one}: {} }}", if name == "an item" { "-" } else { name }, cut(&scalar.text)),
                    _ => format!("{name} takes fields: {}; not {}", names_of(schema), shown(node)),
                }
            }
            _ => format!("write fields with values, not {}; {}", shown(node), described(field)),
        }
    }
}

const FOLLOWED: &str =
    "only a service's own container follows a repository; write an image, such as ${repositories.app}:1";

/// `{ A: ${x} }` is `{ A: $, {x} }` in YAML, and `${{x}}` a map.
fn braces(node: &Node) -> Option<String> {
    let [entry] = node.entries() else { return None };
    let bare = entry.value.text().is_some_and(str::is_empty) && entry.place.column == node.place.column + 1;
    (bare && matches!(&*node.content, Content::Map(_)))
        .then(|| format!("write text, not fields with values; quote it: \"{{{}}}\"", cut(&entry.key)))
}

/// Whether a form of a field takes what is written, by its kind.
fn takes(schema: &Value, node: &Node) -> bool {
    match &*node.content {
        Content::Scalar(_) => !["array", "object"].contains(&kind(schema)),
        Content::List(_) => kind(schema) == "array",
        Content::Map(_) => kind(schema) == "object",
    }
}

/// What stands at a place of this schema. Where several kinds do, text does.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(_)) => "string",
        _ => "object",
    }
}

/// The words that a schema takes, if it takes no others.
fn words(schema: &'static Value) -> Vec<&'static str> {
    let list =
        |schema: &'static Value, key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let of = |form: &'static Value| list(form, "enum").chain(form.get("const"));
    of(schema).chain(list(schema, "oneOf").flat_map(of)).filter_map(Value::as_str).collect()
}

/// Why a text doesn't fit.
fn unfit(text: &str, schema: &'static Value, field: &'static Value) -> Option<String> {
    // What holds for a field may stand beside the reference to its type.
    let rule = |name: &str| schema.get(name).or_else(|| field.get(name));
    let bound = |name: &str| rule(name).and_then(Value::as_u64);
    let length = text.chars().count() as u64;
    if let Some(least) = bound("minLength").filter(|least| length < *least) {
        return Some(if least == 1 {
            format!("write at least a character: {}", described(field))
        } else {
            format!("write at least {least} characters: {}", described(field))
        });
    }
    if let Some(most) = bound("maxLength").filter(|most| length > *most) {
        return Some(format!("write at most {most} characters, not {length}"));
    }
    let pattern = rule("pattern").and_then(Value::as_str)?;
    if pattern::matches(pattern, text) {
        return None;
    }
    if schema::name(schema) == "Duration" {
        let number = text.chars().all(|letter| letter.is_ascii_digit()) && !text.is_empty();
        return Some(if number {
            format!("write a length of time: {}s", cut(text))
        } else {
            format!(
                "{} is no length of time; write a number and s, m, h or d, such as 7d: {}",
                quoted(text),
                described(field)
            )
        });
    }
    Some(match pattern::fitting(pattern) {
        Some(fitting) => format!("{} doesn't fit; write {fitting}: {}", quoted(text), described(field)),
        None => format!("{} doesn't fit: {}", quoted(text), described(field)),
    })
}

/// Why a number doesn't fit.
fn out_of_range(
    number: i64,
    scalar: &Scalar,
    schema: &'static Value,
    field: &'static Value,
) -> Option<String> {
    let bound = |name: &str| schema.get(name).or_else(|| field.get(name)).and_then(Value::as_i64);
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX - 1),
    };
    let written = cut(&scalar.text);
    let least = bound("minimum").map_or(least, |bound| bound.max(least));
    let most = bound("maximum").map_or(most, |bound| bound.min(most));
    if number < least {
        Some(format!("{written} is too small; write {least} or more"))
    } else if number > most {
        Some(format!("{written} is too large; write {most} or less"))
    } else {
        None
    }
}

/// The nearest of an object's fields, or where all are described.
fn fields_instead(written: &str, names: &[&str], schema: &'static Value) -> String {
    if nearest(written, names).is_empty() && names.len() > 8 {
        let part = schema::name(schema);
        return format!(
            "its fields are {} and {} more; crates/spec/plinth.schema.json describes all of them under \"{part}\"",
            names[..3].join(", "),
            names.len() - 3
        );
    }
    instead(written, names)
}

/// A field with a list of one item.
fn listed(name: &str, item: &str) -> String {
    let item = match name {
        "command" | "entryPoint" => {
            let words: Vec<String> = item.split_whitespace().take(8).map(cut).collect();
            words.join(", ")
        }
        _ => cut(item),
    };
    format!("{name}: [{item}]")
}

/// What to write where a list of things stands and fields by names are wanted.
fn list_for_map(name: &str, items: &[Node], each: &'static Value) -> String {
    let first = items.first();
    if kind(each) == "string" {
        let field = |item: &Node, names: [&str; 2]| {
            names.iter().find_map(|name| item.field(name)?.text().map(str::to_owned))
        };
        let pair = first.and_then(|item| {
            if let Some(text) = item.text() {
                return text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            }
            Some((
                field(item, ["name", "Name"]).or_else(|| field(item, ["key", "Key"]))?,
                field(item, ["value", "Value"])?,
            ))
        });
        let (key, value) = pair.unwrap_or_else(|| ("NAME".to_owned(), "value".to_owned()));
        return format!("{name} is a map: write \"{}: {}\", not a list", cut(&key), cut(&value));
    }
    let key = first.and_then(|item| item.field("name").and_then(Node::text).or(item.text())).unwrap_or("web");
    format!("{name} is a map: write \"{}:\" with its fields below, not \"- name: {}\"", cut(key), cut(key))
}

/// The names of an object's fields.
fn names_of(schema: &'static Value) -> String {
    let names = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let required =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let required: Vec<&str> = required.collect();
    let mut names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    names.sort_by_key(|name| !required.contains(name));
    names.truncate(8);
    names.join(", ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// What is written, as a message shows it.
fn shown(node: &Node) -> String {
    match &*node.content {
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "fields with values".to_owned(),
        Content::Scalar(scalar) if scalar.is_nothing() => "nothing".to_owned(),
        Content::Scalar(scalar) if scalar.plain && number::real(scalar).is_some() => cut(&scalar.text),
        Content::Scalar(scalar) => quoted(&scalar.text),
    }
}

/// What the schema says of a field.
fn described(field: &'static Value) -> String {
    // A field's own description says more than its type's.
    let text = field.get("description").or_else(|| schema::resolved(field).get("description"));
    let text =
        text.and_then(Value::as_str).unwrap_or("a spec begins with `apiVersion: plinth/v1` and `name: …`");
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Reader`] reads of a schema, and what says nothing of a value.
    const READ: [&str; 24] = [
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "description",
        "enum",
        "examples",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
    ];

    #[test]
    fn all_that_the_schema_asks_is_looked_at() {
        fn unread(schema: &Value, found: &mut BTreeSet<String>) {
            let Some(fields) = schema.as_object() else { return };
            for (word, part) in fields {
                match word.as_str() {
                    "properties" | "$defs" => {
                        part.as_object().into_iter().flatten().for_each(|(_, part)| unread(part, found));
                    }
                    "default" | "examples" | "title" => {}
                    "anyOf" | "oneOf" => {
                        part.as_array().into_iter().flatten().for_each(|part| unread(part, found));
                    }
                    word if !READ.contains(&word) => {
                        found.insert(word.to_owned());
                    }
                    _ => unread(part, found),
                }
            }
        }
        let mut found = BTreeSet::new();
        unread(schema::schema(), &mut found);
        assert!(found.is_empty(), "the schema says {found:?}, which nothing looks at");
    }
}

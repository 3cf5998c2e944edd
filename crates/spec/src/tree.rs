//! A spec as written: values, and where each stands.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// A line and a column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// Where everything stands, by its path.
#[derive(Debug, Default)]
pub(crate) struct Places {
    keys: BTreeMap<Vec<String>, Place>,
    values: BTreeMap<Vec<String>, Place>,
}

impl Places {
    /// Where the value at this path stands, or what it would stand in.
    pub(crate) fn of(&self, path: &[String]) -> Place {
        let ends = (0..=path.len()).rev();
        let found = ends.into_iter().find_map(|end| self.values.get(&path[..end]));
        found.copied().unwrap_or(Place { line: 1, column: 1 })
    }

    /// Where the name of the value at this path stands.
    pub(crate) fn of_key(&self, path: &[String]) -> Place {
        self.keys.get(path).copied().unwrap_or_else(|| self.of(path))
    }
}

/// A spec's text as JSON, with the places.
pub(crate) fn read(text: &str) -> Result<(Value, Places), serde_saphyr::Error> {
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options())?;
    let mut places = Places::default();
    let value = value(root, &mut Vec::new(), &mut places);
    Ok((value, places))
}

/// `yes` and `no` are words, as in YAML 1.2.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

fn value(node: Spanned<Node>, path: &mut Vec<String>, places: &mut Places) -> Value {
    places.values.insert(path.clone(), node.referenced.into());
    match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let item = |(index, item): (usize, Spanned<Node>)| {
                path.push(index.to_string());
                let item = value(item, path, places);
                path.pop();
                item
            };
            Value::Array(items.into_iter().enumerate().map(item).collect())
        }
        Node::Map(entries) => {
            let entry = |(key, entry): (Spanned<String>, Spanned<Node>)| {
                path.push(key.value.clone());
                places.keys.insert(path.clone(), key.referenced.into());
                let entry = value(entry, path, places);
                path.pop();
                (key.value, entry)
            };
            Value::Object(entries.into_iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // What JSON has no number for stays the text it was.
        Ok(Node::Scalar(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Node::Map(all))
    }
}

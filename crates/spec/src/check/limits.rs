//! What AWS's own models refuse is refused here: each value of `limits/refused.json`, which `tests/lint/limits.py` makes
//! from botocore, is written into a spec in place of one that fits.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use crate::{REGIONS, parse};

const SPECS: [&str; 2] = [include_str!("limits/fargate.yaml"), include_str!("limits/instances.yaml")];

static REFUSED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("limits/refused.json")).expect("JSON"));

/// The same specs as JSON.
fn specs() -> &'static Vec<Value> {
    REFUSED["specs"].as_array().expect("specs")
}

#[test]
fn the_specs_that_values_are_written_into_have_no_faults() {
    for text in SPECS {
        parse(text, None).unwrap_or_else(|faults| panic!("{}", faults.render("limits", text)));
    }
}

#[test]
fn the_regions_are_those_that_botocore_knows() {
    let known: BTreeMap<_, _> = REGIONS.into_iter().collect();
    assert_eq!(REFUSED["regions"], json!(known));
}

#[test]
fn what_a_member_of_aws_s_api_refuses_is_refused() {
    let specs = specs();
    let mut taken = Vec::new();
    for (path, members) in REFUSED["refused"].as_object().expect("fields") {
        let steps: Vec<&str> = path.split('.').collect();
        for (member, values) in members.as_object().expect("members") {
            for value in values.as_array().expect("values") {
                let value = said(value);
                let spec = specs.iter().find_map(|spec| written(spec, &steps, &value));
                let (spec, place) = spec.unwrap_or_else(|| panic!("no spec says {path}"));
                let place = place.join(".");
                if !is_refused(&spec, &place) {
                    let shown: String = value.to_string().chars().take(60).collect();
                    taken.push(format!("{place}: {shown} is taken, and {member} refuses it"));
                }
            }
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

/// A value as it is written, or a text that is to be made so long.
fn said(value: &Value) -> Value {
    let Value::Object(long) = value else { return value.clone() };
    let (text, length) = (long["text"].as_str().expect("a text"), long["length"].as_u64().expect("a length"));
    let more = usize::try_from(length).expect("a length").saturating_sub(text.chars().count());
    Value::String(format!("{text}{}", "a".repeat(more)))
}

/// Whether a spec has a fault at this path, or at what it stands in.
fn is_refused(spec: &Value, path: &str) -> bool {
    let faults = parse(&spec.to_string(), None).err().map(|faults| faults.0).unwrap_or_default();
    // A long path is shown in part, and what can't be seen is escaped.
    faults
        .iter()
        .any(|fault| fault.path.split(['…', '\\']).next().is_some_and(|begin| path.starts_with(begin)))
}

/// The spec with another value at a path, and the path with its keys; none if nothing stands there.
fn written(at: &Value, steps: &[&str], value: &Value) -> Option<(Value, Vec<String>)> {
    let Some((step, rest)) = steps.split_first() else {
        return (!at.is_object() && !at.is_array()).then(|| (value.clone(), Vec::new()));
    };
    let below = |name: &str, inner: &Value| {
        let (inner, mut path) = written(inner, rest, value)?;
        path.insert(0, name.to_owned());
        Some((inner, path))
    };
    match (at, *step) {
        (Value::Object(fields), "(key)") => renamed(fields, value),
        (Value::Array(items), "[]") => items.iter().enumerate().find_map(|(index, item)| {
            let (inner, path) = below(&index.to_string(), item)?;
            let mut items = items.clone();
            items[index] = inner;
            Some((Value::Array(items), path))
        }),
        (Value::Object(fields), step) => fields.iter().find_map(|(name, field)| {
            if step != "*" && step != name {
                return None;
            }
            let (inner, path) = below(name, field)?;
            let mut fields = fields.clone();
            fields.insert(name.clone(), inner);
            Some((Value::Object(fields), path))
        }),
        _ => None,
    }
}

/// The fields with another name for the first.
fn renamed(fields: &Map<String, Value>, value: &Value) -> Option<(Value, Vec<String>)> {
    let name = value.as_str()?;
    let (first, field) = fields.iter().next()?;
    let mut renamed = fields.clone();
    renamed.remove(first);
    renamed.insert(name.to_owned(), field.clone());
    Some((Value::Object(renamed), vec![name.to_owned()]))
}

//! Faults in a spec's form: unknown fields, wrong types, words nobody knows. The JSON Schema finds
//! them; here they are told in the user's words.

use std::sync::LazyLock;

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::{
    Text, schema,
    tree::{Place, Places},
};

/// A fault before it has its place.
pub(crate) struct Found {
    pub(crate) path: Vec<String>,
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Everything that is wrong with the form of a spec.
pub(crate) fn faults(spec: &Value, places: &Places) -> Vec<Found> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
        jsonschema::validator_for(schema::schema()).expect("the schema made from the types is a schema")
    });
    let mut found = Vec::new();
    for error in VALIDATOR.iter_errors(spec) {
        tell(&error, places, &mut found);
    }
    references(spec, &mut Vec::new(), places, &mut found);
    found
}

fn tell(error: &ValidationError<'_>, places: &Places, found: &mut Vec<Found>) {
    let path: Vec<String> = error.instance_path().into_iter().map(|step| step.to_string()).collect();
    let instance = error.instance();
    let mut fault = |message: String| {
        found.push(Found { place: places.of(&path), path: path.clone(), message });
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            for name in unexpected {
                let mut path = path.clone();
                let message = unknown_field(&path, name);
                path.push(name.clone());
                found.push(Found { place: places.of_key(&path), path, message });
            }
        }
        Kind::AnyOf { context } => match fitting(context, instance) {
            Some(errors) => errors.iter().for_each(|error| tell(error, places, found)),
            None => fault(format!("{} doesn't fit here; {}", shown(instance), described(&path))),
        },
        Kind::OneOfNotValid { .. } | Kind::Enum { .. } | Kind::Constant { .. } => {
            fault(unknown_word(&path, instance));
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let mut field = path.clone();
            field.push(name.to_owned());
            fault(format!("`{name}` is missing: {}", described(&field)));
        }
        Kind::Type { .. } if instance.is_object() && path.last().is_some_and(|name| name == "image") => {
            fault(
                "only a service's own container follows a repository; write an image, such as \
                 ${repositories.app}:1"
                    .to_owned(),
            );
        }
        Kind::Type { kind } => fault(wrong_type(kind, instance)),
        Kind::Pattern { .. } => {
            fault(format!("{} doesn't fit: {}", shown(instance), described(&path)));
        }
        Kind::Minimum { limit } => fault(format!("{} is too small; write {limit} or more", shown(instance))),
        Kind::Maximum { limit } => fault(format!("{} is too large; write {limit} or less", shown(instance))),
        Kind::MinLength { limit } => fault(format!("write at least {limit} characters")),
        Kind::MaxLength { limit } => fault(format!("write at most {limit} characters")),
        Kind::MinItems { limit } | Kind::MinProperties { limit } => fault(format!("write at least {limit}")),
        _ => fault(error.to_string()),
    }
}

/// Of several forms, the faults of the one that was meant: that of the same type.
fn fitting<'a>(
    forms: &'a [Vec<ValidationError<'static>>],
    instance: &Value,
) -> Option<&'a Vec<ValidationError<'static>>> {
    let wrong_type = |error: &ValidationError<'_>| {
        matches!(error.kind(), Kind::Type { .. }) && error.instance().as_ref() == instance
    };
    forms.iter().find(|errors| !errors.iter().any(wrong_type))
}

fn unknown_field(path: &[String], name: &str) -> String {
    let known = schema::fields(path);
    format!("there is no field \"{name}\" here; {}", instead(name, &known))
}

fn unknown_word(path: &[String], instance: &Value) -> String {
    let schema = schema::at(path);
    let forms = schema.and_then(|schema| schema.get("oneOf")?.as_array()).into_iter().flatten();
    let words = schema.and_then(|schema| schema.get("enum")?.as_array()).into_iter().flatten();
    let known: Vec<&str> =
        forms.filter_map(|form| form.get("const")).chain(words).filter_map(Value::as_str).collect();
    match instance.as_str() {
        Some(word) => format!("\"{word}\" is none of the words known here; {}", instead(word, &known)),
        None => format!("{} doesn't fit; write {}", shown(instance), known.join(" or ")),
    }
}

/// The nearest of what could be written, or all of it.
pub(crate) fn instead(written: &str, known: &[&str]) -> String {
    let lower = written.to_lowercase();
    let nearest = known.iter().min_by_key(|word| distance(&lower, &word.to_lowercase()));
    match nearest {
        None => "nothing can be written here".to_owned(),
        Some(word) if distance(&lower, &word.to_lowercase()) <= 1 + written.len() / 4 => {
            format!("did you mean \"{word}\"?")
        }
        Some(_) => format!("there are {}", known.join(", ")),
    }
}

/// In how many characters two words differ, where two that changed places count once.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

fn wrong_type(kind: &TypeKind, instance: &Value) -> String {
    let word = |kind: &str| match kind {
        "string" => "text",
        "integer" | "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "fields with values",
        _ => "nothing",
    };
    let wanted = match kind {
        TypeKind::Single(kind) => word(&kind.to_string()).to_owned(),
        TypeKind::Multiple(kinds) => {
            let words: Vec<&str> = kinds.iter().map(|kind| word(&kind.to_string())).collect();
            words.join(" or ")
        }
    };
    match instance {
        Value::Null => format!("nothing is written here; write {wanted}, or leave the line out"),
        instance => format!("write {wanted}, not {}", shown(instance)),
    }
}

fn shown(instance: &Value) -> String {
    match instance {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "fields with values".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// What the schema says of a field.
fn described(path: &[String]) -> String {
    let Some((name, above)) = path.split_last() else {
        return "a spec begins with `apiVersion: plinth/v1` and `name: …`".to_owned();
    };
    // A field's own description says more than its type's.
    let own = schema::at(above).and_then(|schema| schema::field(schema, name));
    let text = own.and_then(|own| own.get("description")).or_else(|| schema::at(path)?.get("description"));
    let text = text.and_then(Value::as_str).unwrap_or("it has no description");
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// References that don't read as such, and those where none may stand.
fn references(value: &Value, path: &mut Vec<String>, places: &Places, found: &mut Vec<Found>) {
    match value {
        Value::String(text) if text.contains("${") => {
            let message = if takes_references(path) {
                text.parse::<Text>().err()
            } else {
                Some(format!("\"{text}\": a reference can't stand here"))
            };
            found.extend(message.map(|message| Found {
                place: places.of(path),
                path: path.clone(),
                message,
            }));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                references(item, path, places, found);
                path.pop();
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                path.push(name.clone());
                references(field, path, places, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Whether the field at this path is a [`Text`].
fn takes_references(path: &[String]) -> bool {
    let Some((name, above)) = path.split_last() else { return false };
    let field = schema::at(above).and_then(|schema| schema::field(schema, name));
    let is_text = |schema: &Value| schema.get("$ref").is_some_and(|name| name == "#/$defs/Text");
    field.is_some_and(|field| {
        let forms = schema::resolved(field).get("anyOf").and_then(Value::as_array);
        is_text(field) || forms.is_some_and(|forms| forms.iter().any(is_text))
    })
}

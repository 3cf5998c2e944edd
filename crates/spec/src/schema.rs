//! The JSON Schema of the language, made from the types.

use std::sync::LazyLock;

use schemars::{
    Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

use crate::Spec;

/// The schema, for editors and for [`crate::parse`]; `plinth.schema.json` holds the same.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Spec>();
        RecursiveTransform(without_null).transform(&mut schema);
        schema.to_value()
    });
    &SCHEMA
}

/// What may be left out isn't written as null: that would hide a forgotten value.
fn without_null(schema: &mut Schema) {
    let null = |schema: &Value| schema.get("type").is_some_and(|kind| kind == "null");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|form| !null(form));
        if let [Value::Object(form)] = forms.as_slice() {
            let form = form.clone();
            schema.remove("anyOf");
            for (key, value) in form {
                schema.insert(key, value);
            }
        }
    }
}

/// What a schema says of one of its fields or items; of several forms, that which has fields.
pub(crate) fn field(schema: &'static Value, name: &str) -> Option<&'static Value> {
    let forms = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().map(resolved);
    let own = std::iter::once(schema).chain(forms).find(|form| form.get("properties").is_some());
    let property = own.and_then(|form| form.get("properties")?.get(name));
    property.or_else(|| schema.get("additionalProperties")).or_else(|| schema.get("items"))
}

/// A schema that a reference stands for.
pub(crate) fn resolved(part: &'static Value) -> &'static Value {
    let name = part.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
    name.and_then(|name| schema().get("$defs")?.get(name)).unwrap_or(part)
}

/// What a schema is called: a type of the language.
pub(crate) fn name(part: &'static Value) -> &'static str {
    let parts = schema().get("$defs").and_then(Value::as_object).into_iter().flatten();
    let mut names = parts.filter(|(_, known)| std::ptr::eq(*known, part)).map(|(name, _)| name.as_str());
    names.next().unwrap_or(if std::ptr::eq(part, schema()) { "Spec" } else { "" })
}

/// Whether this is the schema of a [`crate::Text`], in which references may stand.
pub(crate) fn is_text(part: &'static Value) -> bool {
    static TEXT: LazyLock<Option<&'static Value>> = LazyLock::new(|| schema().get("$defs")?.get("Text"));
    TEXT.is_some_and(|text| std::ptr::eq(text, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run with `PLINTH_UPDATE=1` to bring the file up to date.
    #[test]
    fn the_schema_in_the_repository_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/plinth.schema.json");
        let current = format!("{:#}\n", schema());
        if std::env::var_os("PLINTH_UPDATE").is_some() {
            std::fs::write(path, &current).expect("the file");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == current, "run `PLINTH_UPDATE=1 cargo test -p spec` to bring {path} up to date");
    }
}

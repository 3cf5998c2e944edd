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

/// The part of the schema that holds for what stands at this path of a spec.
pub(crate) fn at(path: &[String]) -> Option<&'static Value> {
    path.iter().try_fold(resolved(schema()), |schema, step| field(schema, step).map(resolved))
}

/// What a schema says of one of its fields or items; of several forms, that which has fields.
pub(crate) fn field(schema: &'static Value, name: &str) -> Option<&'static Value> {
    let forms = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().map(resolved);
    let own = std::iter::once(schema).chain(forms).find(|form| form.get("properties").is_some());
    let property = own.and_then(|form| form.get("properties")?.get(name));
    property.or_else(|| schema.get("additionalProperties")).or_else(|| schema.get("items"))
}

/// The names of the fields at this path.
pub(crate) fn fields(path: &[String]) -> Vec<&'static str> {
    let Some(schema) = at(path) else { return Vec::new() };
    let forms = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().map(resolved);
    let own = std::iter::once(schema).chain(forms).find_map(|form| form.get("properties")?.as_object());
    own.into_iter().flat_map(|properties| properties.keys()).map(String::as_str).collect()
}

/// A schema that a reference stands for.
pub(crate) fn resolved(part: &'static Value) -> &'static Value {
    let name = part.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
    name.and_then(|name| schema().get("$defs")?.get(name)).unwrap_or(part)
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

//! A value is what was written.

use rstest::rstest;

use super::{parse, parse_given};
use crate::{Spec, Text};

/// A spec that has this where values of the user's own stand.
fn spec(value: &str) -> Spec {
    // In a field of the language's own, YAML's words for nothing are nothing.
    let composed = if value == "null" { format!("'{value}'") } else { value.to_owned() };
    let text = format!(
        "apiVersion: plinth/v1
name: demo
tags: {{ A: {value} }}
secrets: {{ a: {{ compose: {composed} }} }}
services:
  app:
    image: nginx
    environment: {{ A: {value} }}
    labels: {{ A: {value} }}
    command: [{value}]
    entryPoint: [{value}]
jobs: {{ once: {{ image: nginx, environment: {{ A: {value} }}, command: [{value}] }} }}
functions: {{ f: {{ zip: s3://abc/b, environment: {{ AB: {value} }} }} }}
"
    );
    parse(&text, None).unwrap_or_else(|faults| panic!("{}", faults.render("demo.yaml", &text)))
}

/// The values of a spec that are the user's own.
fn values(spec: &Spec) -> Vec<String> {
    let of = |text: &Text| text.to_string();
    let service = &spec.services["app"];
    vec![
        spec.tags["A"].clone(),
        spec.secrets["a"].compose.as_ref().map(of).unwrap_or_default(),
        of(&service.environment["A"]),
        of(&service.labels["A"]),
        of(&service.command[0]),
        of(&service.entry_point[0]),
        of(&spec.jobs["once"].environment["A"]),
        of(&spec.jobs["once"].command[0]),
        of(&spec.functions["f"].environment["AB"]),
    ]
}

#[rstest]
fn a_value_is_what_was_written(
    #[values(
        "0123",
        "012345678901",
        "1.10",
        "1.0",
        "+15551234567",
        "0x1F",
        "0o17",
        "1_000",
        "18446744073709551616",
        "1.2e9",
        "12e3456",
        "-0",
        ".5",
        ".inf",
        ".nan",
        "true",
        "True",
        "yes",
        "on",
        "no",
        "null",
        "2026-11-27",
        "2026-11-27T12:00:00Z",
        "12:30:45",
        "="
    )]
    value: &str,
) {
    let spec = spec(value);
    assert_eq!(values(&spec), vec![value; 9]);
    // And is so still once the spec was written down for the steps.
    let written = serde_json::to_string(&spec).expect("JSON");
    let read: Spec = serde_json::from_str(&written).expect("a spec");
    assert_eq!(values(&read), vec![value; 9]);
    assert_eq!(parse(&written, None).expect("a spec"), spec);
}

#[test]
fn a_number_of_a_json_spec_is_what_was_written() {
    let text = r#"{"apiVersion": "plinth/v1", "name": "demo", "services": {"app": {"image": "nginx", "environment":
        {"A": 1.10, "B": 18446744073709551616, "C": 1e3, "D": "0123", "E": true, "F": "a\u00e9\n"}}}}"#;
    let spec = parse(text, None).expect("a spec");
    let environment = spec.services["app"].environment.values().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(environment, ["1.10", "18446744073709551616", "1e3", "0123", "true", "aé\n"]);
}

#[rstest]
#[case("8080", true)]
#[case("\"1.10\"", true)]
#[case("true", true)]
#[case("1.10", false)]
#[case("1e400", false)]
#[case("18446744073709551615", false)]
fn a_number_of_a_start_s_input_is_text_if_it_is_surely_what_was_written(
    #[case] value: &str,
    #[case] kept: bool,
) {
    let given = format!(
        r#"{{"apiVersion": "plinth/v1", "name": "demo", "services": {{"app": {{"image": "nginx", "environment":
        {{"A": {value}}}}}}}}}"#
    );
    let Ok(given) = serde_json::from_str(&given) else { return };
    let read = parse_given(&given, None);
    assert_eq!(read.is_ok(), kept, "{read:?}");
    let told = read.err().map(|faults| faults.to_string()).unwrap_or_default();
    assert!(kept || told.contains("services.app.environment.A: write it in quotes"), "{told}");
}

#[rstest]
#[case("16", "16")]
#[case("16.10", "16.10")]
#[case("'16'", "16")]
fn a_version_needs_no_quotes(#[case] written: &str, #[case] read: &str) {
    let text = format!(
        "apiVersion: plinth/v1
name: demo
secrets: {{ db: {{ generate: {{ username: app }} }} }}
databases: {{ main: {{ engine: postgres, instance: db.t4g.micro, version: {written}, credentials: '${{secrets.db}}' }} }}
"
    );
    let spec = parse(&text, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(spec.databases["main"].version.as_deref(), Some(read));
}

#[test]
fn text_of_several_lines_is_what_was_written() {
    let text = "apiVersion: plinth/v1
name: demo
services:
  app:
    image: nginx
    environment:
      LITERAL: |
        a
          b
      FOLDED: >-
        a
        b
      QUOTED: \"a\\tb\"
      PLAIN: a
        b
";
    let spec = parse(text, None).expect("a spec");
    let environment = spec.services["app"].environment.values().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(environment, ["a b", "a\n  b\n", "a b", "a\tb"]);
}

#[test]
fn a_key_is_what_was_written() {
    let text = "apiVersion: plinth/v1\nname: demo\ntags: { 0123: a, 1.10: b, on: c, null: d }\n";
    let spec = parse(text, None).expect("a spec");
    assert_eq!(spec.tags.keys().collect::<Vec<_>>(), ["0123", "1.10", "null", "on"]);
}

#[test]
fn aliases_and_merged_fields_stand_for_what_they_name() {
    let text = "apiVersion: plinth/v1
name: demo
services:
  a: &base
    image: nginx
    environment: &environment { A: 0123 }
  b:
    <<: *base
    image: httpd
  c: { image: nginx, environment: { <<: [*environment], B: 1.10 } }
";
    let spec = parse(text, None).unwrap_or_else(|faults| panic!("{faults}"));
    let told = |service: &str| {
        format!(
            "{:?}",
            spec.services[service].environment.values().map(ToString::to_string).collect::<Vec<_>>()
        )
    };
    assert_eq!(spec.services["b"].image.text().to_string(), "httpd");
    assert_eq!((told("b"), told("c")), ("[\"0123\"]".to_owned(), "[\"0123\", \"1.10\"]".to_owned()));
}

//! What starts the `environment` machine: an S3 event, a schedule, or a person.

use serde::Deserialize;
use serde_json::Value;

/// The input of an execution of the `environment` machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// The environment that is meant.
    pub environment: String,
    /// What is asked.
    pub action: Action,
    /// Whether a person or a schedule asked, who want a run even where nothing has changed.
    pub by_hand: bool,
    /// Whether `sweep` asked, or `finish`, because something may have been missed: what failed isn't begun
    /// again then.
    pub swept: bool,
    /// The spec, if it came with the question.
    pub spec: Option<Value>,
}

/// What is asked of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make it what its spec says, or take it away if there is none.
    #[default]
    #[serde(alias = "sweep")]
    Apply,
    /// Say what `apply` would change.
    Plan,
    /// Say what taking it away would delete, and what stands in the way.
    Look,
    /// Take it away, and build it anew.
    Rebuild,
    /// Take its services, instances and databases to zero.
    Pause,
    /// Do what its spec says for the end of its time, if that has come.
    Expire,
}

/// What a person writes, a schedule, `finish` or `sweep`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    environment: Option<String>,
    #[serde(default)]
    action: Action,
    spec: Option<Value>,
}

/// How a person's input looks, for messages.
const FORMS: &str = r#"write {"environment": "demo"}, in it perhaps "action": "plan", "rebuild" or "pause", or {"spec": {…}}"#;

impl Trigger {
    /// Reads an execution's input; the error says what to write instead.
    pub fn read(input: &Value) -> Result<Self, String> {
        if let Some(key) = object_key(input) {
            return Ok(Self {
                environment: environment_of(key).ok_or_else(|| format!("{key:?} holds no spec"))?.to_owned(),
                action: Action::Apply,
                by_hand: false,
                swept: false,
                spec: None,
            });
        }
        let question = Question::deserialize(input)
            .map_err(|error| format!("the execution's input: {error}; {FORMS}"))?;
        let swept = input["action"] == "sweep";
        let named = question.spec.as_ref().and_then(|spec| spec.get("name")).and_then(Value::as_str);
        let environment = question.environment.as_deref().or(named);
        let environment =
            environment.ok_or_else(|| format!("the execution's input names no environment; {FORMS}"))?;
        if !is_environment(environment) {
            return Err(format!("the execution's input: {environment:?} is no environment's name: {NAMES}"));
        }
        if question.spec.is_some() && (swept || question.action == Action::Expire) {
            return Err(format!("the execution's input: this action takes no spec; {FORMS}"));
        }
        Ok(Self {
            environment: environment.to_owned(),
            action: question.action,
            by_hand: !swept,
            swept,
            spec: question.spec,
        })
    }
}

/// The key in an S3 event; none if the input is no such event.
pub fn object_key(input: &Value) -> Option<&str> {
    input.pointer("/detail/object/key").and_then(Value::as_str)
}

/// How an environment may be called, for messages.
pub const NAMES: &str =
    "a name has a-z, 0-9 and single hyphens, begins with a letter, and has at most 24 characters";

/// Whether an environment may be called so: `^[a-z]([a-z0-9]|-[a-z0-9])*$`, and short enough.
pub fn is_environment(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= spec::NAME_LIMIT
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(plain)
}

/// What an object under `environments/` is, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// The spec of this environment.
    Spec(&'a str),
    /// Almost a spec: it has a spec's place and ending, but no environment can be called so.
    Misnamed(&'a str),
    /// Something else, such as a folder, a note or a backup.
    Other,
}

impl<'a> Held<'a> {
    /// What this key's object is.
    pub fn by(key: &'a str) -> Self {
        let name = key.strip_prefix("environments/").and_then(|rest| rest.rsplit_once('.'));
        match name {
            Some((name, "yaml" | "yml" | "json")) if is_environment(name) => Self::Spec(name),
            Some((name, "yaml" | "yml" | "json")) if is_readable(name) => Self::Misnamed(name),
            _ => Self::Other,
        }
    }
}

/// Whether a person can have meant this as a name.
fn is_readable(name: &str) -> bool {
    let readable = |letter: char| letter != '/' && !letter.is_control();
    (1..=100).contains(&name.len()) && name.chars().all(readable)
}

/// The environment whose spec an object holds; none if it holds no spec.
pub fn environment_of(key: &str) -> Option<&str> {
    match Held::by(key) {
        Held::Spec(environment) => Some(environment),
        Held::Misnamed(_) | Held::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_s3_event_names_the_environment_by_its_key() {
        let event = json!({ "detail": { "object": { "key": "environments/demo.yaml" } } });
        let trigger = Trigger::read(&event).expect("a trigger");
        assert_eq!((trigger.environment.as_str(), trigger.by_hand), ("demo", false));
    }

    #[test]
    fn other_objects_are_no_specs() {
        let others = [
            "environments/",
            "environments/.yaml",
            "environments/demo.txt",
            "environments/demo.yaml.bak",
            "environments/a\u{1}b.yaml",
            "environments/old/demo.yaml",
            "status/demo.json",
        ];
        for key in others {
            assert_eq!(Held::by(key), Held::Other, "{key}");
            assert!(Trigger::read(&json!({ "detail": { "object": { "key": key } } })).is_err(), "{key}");
        }
    }

    #[test]
    fn a_spec_that_no_environment_can_be_called_after_is_told_from_other_objects() {
        for name in ["UPPER", "a b", "1st", "a--b", "a-", "demo.old", "ümlaut", &"a".repeat(25)] {
            assert_eq!(Held::by(&format!("environments/{name}.yml")), Held::Misnamed(name));
        }
        let longest = "a".repeat(24);
        for name in ["a", "a1", "a-1", &longest] {
            assert_eq!(Held::by(&format!("environments/{name}.json")), Held::Spec(name));
        }
    }

    #[test]
    fn a_name_that_no_environment_can_have_is_refused_in_every_form() {
        for input in [
            json!({ "environment": "../demo" }),
            json!({ "environment": "UPPER", "action": "rebuild" }),
            json!({ "environment": "" }),
            json!({ "spec": { "name": "a b" } }),
        ] {
            let message = Trigger::read(&input).unwrap_err();
            assert!(message.contains("no environment's name: a name has a-z"), "{message}");
        }
    }

    #[test]
    fn an_action_of_the_control_plane_s_own_takes_no_spec() {
        for action in ["sweep", "expire"] {
            let input = json!({ "action": action, "spec": { "name": "demo" } });
            assert!(Trigger::read(&input).unwrap_err().contains("takes no spec"), "{action}");
        }
    }

    #[test]
    fn a_person_names_it_or_sends_the_spec() {
        let trigger = Trigger::read(&json!({ "environment": "demo", "action": "plan" })).expect("a trigger");
        assert_eq!(trigger.action, Action::Plan);
        let trigger = Trigger::read(&json!({ "spec": { "name": "demo" } })).expect("a trigger");
        assert_eq!((trigger.environment.as_str(), trigger.by_hand), ("demo", true));
    }

    #[test]
    fn a_schedule_asks_for_a_rebuild() {
        let trigger =
            Trigger::read(&json!({ "environment": "demo", "action": "rebuild" })).expect("a trigger");
        assert_eq!((trigger.environment.as_str(), trigger.action), ("demo", Action::Rebuild));
        assert!(trigger.by_hand);
    }

    #[test]
    fn a_schedule_asks_whether_the_time_is_over_and_a_person_for_a_pause() {
        for (word, action) in [("expire", Action::Expire), ("pause", Action::Pause)] {
            let trigger = Trigger::read(&json!({ "environment": "demo", "action": word }));
            assert_eq!(trigger.expect("a trigger").action, action);
        }
    }

    #[test]
    fn what_may_have_been_missed_is_asked_for_as_an_event_is() {
        let trigger = Trigger::read(&json!({ "environment": "demo", "action": "sweep" })).expect("a trigger");
        assert_eq!((trigger.action, trigger.by_hand, trigger.swept), (Action::Apply, false, true));
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_forms() {
        let message = Trigger::read(&json!({ "enviroment": "demo" })).unwrap_err();
        assert!(
            message.contains("enviroment") && message.contains(r#"{"environment": "demo"}"#),
            "{message}"
        );
    }
}

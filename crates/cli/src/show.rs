//! How progress, changes and outputs look.

use spec::visible;
use step::{Action, Change, Field, Progress, State, Status};

/// A step's line: when, which, how it stands, and why; what it notes below.
pub(crate) fn progress(seconds: f64, progress: &Progress) -> String {
    let status = match progress.status {
        State::Working => "working",
        State::Waiting => "waiting",
        State::Done => "done",
        State::Failed => "failed",
    };
    let operation = match progress.operation {
        step::Operation::Plan => "plan",
        step::Operation::Ensure => "ensure",
        step::Operation::Prune => "prune",
    };
    let changes = match progress.changes.len() {
        0 => String::new(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let message = progress.message.clone().unwrap_or(changes);
    let line = format!("{seconds:7.1} s  {operation:7} {:13} {status:8} {message}", progress.state);
    let notes = progress.notes.iter().map(|note| format!("           {note}"));
    std::iter::once(line.trim_end().to_owned()).chain(notes).collect::<Vec<_>>().join("\n")
}

/// What makes a step's line worth showing again: all of it but its numbers, which grow while it waits.
pub(crate) fn news(progress: &Progress) -> String {
    let message = progress.message.as_deref().unwrap_or_default();
    let words: String = message.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    format!("{:?} {words} {}", progress.status, progress.notes.join(" "))
}

/// A change's lines, as a plan shows them.
pub(crate) fn change(change: &Change) -> String {
    let sign = match change.action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '-',
        Action::Keep => '=',
    };
    let fields = change.fields.iter().map(field);
    std::iter::once(format!("{sign} {}", change.address)).chain(fields).collect::<Vec<_>>().join("\n")
}

/// A field's line. What a terminal would obey is shown as an escape: values are the spec's, or AWS's.
fn field(field: &Field) -> String {
    let (name, wanted) = (visible(&field.name), visible(&field.wanted));
    match &field.found {
        None => format!("    {name}: {wanted}"),
        Some(found) => format!("    {name}: {} -> {wanted}", visible(found)),
    }
}

/// How many changes of each kind there are.
pub(crate) fn summary(changes: &[Change]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    let (create, update, delete) = (count(Action::Create), count(Action::Update), count(Action::Delete));
    if changes.is_empty() {
        return "nothing to change".to_owned();
    }
    let kept = match count(Action::Keep) {
        0 => String::new(),
        kept => format!("; {kept} protected and kept"),
    };
    format!("{create} to create, {update} to change, {delete} to delete{kept}")
}

/// An environment's line in a list.
pub(crate) fn environment(status: &Status) -> String {
    let region = status.region.as_deref().unwrap_or_default();
    format!("{:24} {:12} since {:.0}  {region}", status.environment, status.state.word(), status.at)
        .trim_end()
        .to_owned()
}

/// What is to be known of an environment beside its state: what people are asked to do, what stays, and how long
/// its latest rebuild took.
pub(crate) fn beside(status: &Status) -> Vec<String> {
    let asks = status.asks.iter().map(|asked| format!("  asks     {asked}"));
    let kept = status
        .kept
        .iter()
        .map(|address| format!("  kept     {address}, which is protected or needed by what is"));
    let rebuilt =
        status.rebuilds.last().map(|last| format!("  rebuilt  {:.0}, in {} s", last.at, last.seconds));
    asks.chain(kept).chain(rebuilt).collect()
}

/// Why a run didn't end well, with what to do.
pub(crate) fn fault(file: &str, status: &Status) -> String {
    let own = status.fault.as_ref().map(|fault| {
        let state = fault.state.as_deref().unwrap_or("the run");
        format!("{state}: {}", fault.message)
    });
    let faults = status
        .faults
        .iter()
        .map(|fault| format!("{file}:{}:{}: {}: {}", fault.line, fault.column, fault.path, fault.message));
    own.into_iter().chain(faults).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use step::Operation;

    use super::*;

    fn waiting(message: &str) -> Progress {
        let message = Some(message.to_owned());
        Progress { status: State::Waiting, message, ..Progress::begin(Operation::Ensure, "Network") }
    }

    #[test]
    fn a_line_tells_when_which_and_why() {
        let line = progress(12.34, &waiting("NAT gateway (demo) is pending"));
        assert_eq!(line, "   12.3 s  ensure  Network       waiting  NAT gateway (demo) is pending");
    }

    #[test]
    fn what_a_step_notes_stands_below_its_line() {
        let notes = vec!["skipped: https://demo.example.com".to_owned()];
        let done = Progress { status: State::Done, notes, ..Progress::begin(Operation::Ensure, "Verify") };
        assert_eq!(
            progress(12.34, &done),
            "   12.3 s  ensure  Verify        done\n           skipped: https://demo.example.com"
        );
        assert_ne!(news(&done), news(&Progress { notes: Vec::new(), ..done.clone() }));
    }

    #[test]
    fn a_list_tells_how_each_environment_stands() {
        let status = serde_json::json!({
            "environment": "demo", "state": "ready", "at": "2026-11-01T12:00:00Z", "run": "a",
            "region": "eu-west-1"
        });
        let status = serde_json::from_value(status).expect("a status");
        assert_eq!(
            environment(&status),
            "demo                     ready        since 2026-11-01T12:00:00Z  eu-west-1"
        );
    }

    #[test]
    fn a_wait_whose_numbers_grow_is_no_news() {
        assert_eq!(
            news(&waiting("pending, 5 s of about 2 min")),
            news(&waiting("pending, 25 s of about 2 min"))
        );
        assert_ne!(news(&waiting("pending")), news(&waiting("deleting")));
    }

    #[test]
    fn a_plan_shows_what_is_and_what_will_be() {
        let found = Some("FARGATE_SPOT".to_owned());
        let field = Field { name: "capacity".to_owned(), found, wanted: "FARGATE".to_owned() };
        let update = Change::update("cluster", vec![field]).expect("a change");
        assert_eq!(change(&update), "~ cluster\n    capacity: FARGATE_SPOT -> FARGATE");
        let hostile = Change::create("services.app").with("environment.A", "a\u{1b}[2J\nb");
        assert_eq!(change(&hostile), "+ services.app\n    environment.A: a\\u001b[2J\\nb");
        let create = Change::create("services.app").with("desired", 2);
        assert_eq!(change(&create), "+ services.app\n    desired: 2");
        assert_eq!(summary(&[update, create]), "1 to create, 1 to change, 0 to delete");
    }
}

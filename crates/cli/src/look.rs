//! What taking an environment away would delete, told before anybody is asked.

use std::collections::BTreeMap;

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use serde_json::{Value, json};
use step::{Action, Change, Doing, Error, Left, LeftKind, Progress, Result, RunFault};

use crate::{control_plane::ControlPlane, follow};

/// What keeps data: each is named, the rest is counted. With the word for one of them.
const KEEPS: [(&str, &str); 5] = [
    ("databases", "database"),
    ("buckets", "bucket"),
    ("fileSystems", "file system"),
    ("repositories", "repository"),
    ("secrets", "secret"),
];

/// Asks every step what a teardown would delete. Lines that say what goes, what stays and what can be restored until
/// when; an error if something would refuse to go.
pub(crate) async fn teardown(control_plane: &ControlPlane, name: &str) -> Result<Vec<String>> {
    let id = format!("look-{name}-{}", Timestamp::now().as_millisecond());
    let input = json!({ "action": "look", "environment": name }).to_string();
    let sfn = &control_plane.sfn;
    let started = sfn.start_execution().state_machine_arn(&control_plane.machine).name(&id).input(input);
    let started = started.send().await.doing(|| format!("looking at what {name} consists of"))?;
    println!("looking at what {name} consists of ...");
    loop {
        let described = sfn.describe_execution().execution_arn(started.execution_arn()).send().await;
        let described = described.doing(|| format!("looking how far {id} is"))?;
        match described.status() {
            ExecutionStatus::Running => tokio::time::sleep(control_plane.pace()).await,
            ExecutionStatus::Succeeded => {
                let output: Option<Value> =
                    described.output().and_then(|output| serde_json::from_str(output).ok());
                match output.and_then(|output| output["fault"]["message"].as_str().map(str::to_owned)) {
                    Some(told) => return Err(Error::Conflict(format!("{name} can't go yet: {told}"))),
                    None => break,
                }
            }
            _ => {
                let fault =
                    RunFault::caught(&json!({ "Error": described.error(), "Cause": described.cause() }));
                return Err(Error::Failed(format!("looking at what {name} consists of: {}", fault.message)));
            }
        }
    }
    let steps = follow::progress(control_plane, name, &id, "plan-").await?;
    let steps: Vec<Progress> = steps.into_iter().map(|(_, progress)| progress).collect();
    Ok(lines(&steps))
}

fn lines(steps: &[Progress]) -> Vec<String> {
    let changes = |action: Action| {
        let all = steps.iter().flat_map(|step| &step.changes);
        all.filter(move |change| change.action == action)
    };
    let mut lines: Vec<String> = changes(Action::Delete).filter_map(named).collect();
    lines.extend(counted(changes(Action::Delete)));
    let kept = changes(Action::Keep);
    lines.extend(
        kept.map(|change| format!("  stays    {}, which is protected or needed by what is", change.address)),
    );
    let left = told(steps.iter().flat_map(|step| &step.left));
    lines.extend(left.into_iter().map(|left| format!("  stays    {left}")));
    lines
}

/// The line of something that keeps data.
fn named(change: &Change) -> Option<String> {
    let (_, word) = kind(change)?;
    let field = |name: &str| {
        let found = change.fields.iter().find(|field| field.name == name);
        found.map(|field| field.wanted.as_str())
    };
    let then = match (field("lastSnapshot"), field("restorable")) {
        (Some("none"), _) => ", without a last snapshot".to_owned(),
        (Some(last), _) => format!(", after a last snapshot, {last}"),
        (None, Some(days)) => format!(", restorable {days}"),
        (None, None) => ", with what is in it".to_owned(),
    };
    Some(format!("  goes     {word} {}{then}", change.address))
}

/// The section of what keeps data, if a change is of that and not of something that belongs to it.
fn kind(change: &Change) -> Option<(&'static str, &'static str)> {
    let (section, rest) = change.address.split_once('.')?;
    KEEPS.into_iter().find(|(known, _)| *known == section && !rest.contains('.'))
}

/// How many there are of the rest, by section.
fn counted<'a>(changes: impl Iterator<Item = &'a Change>) -> Option<String> {
    let mut sections: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes.filter(|change| kind(change).is_none()) {
        let section = change.address.split('.').next().unwrap_or_default();
        *sections.entry(section).or_default() += 1;
    }
    let told: Vec<String> = sections.iter().map(|(section, count)| format!("{section} ({count})")).collect();
    (!told.is_empty()).then(|| format!("  goes     resources of {}", told.join(", ")))
}

/// What is left of things that were deleted: a line for each last snapshot, and one for all log groups of one
/// retention.
pub(crate) fn told<'a>(all: impl Iterator<Item = &'a Left>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut groups: BTreeMap<Option<u64>, Vec<&Left>> = BTreeMap::new();
    for left in all {
        match left.kind {
            LeftKind::Snapshot => {
                let Left { address, name, .. } = left;
                lines.push(format!("last snapshot {name} of {address}, until somebody deletes it"));
            }
            LeftKind::Logs => groups.entry(left.days).or_default().push(left),
        }
    }
    for (days, groups) in groups {
        let what = match groups.as_slice() {
            [only] => format!("log group {} of {}", only.name, only.address),
            several => format!("{} log groups", several.len()),
        };
        let time =
            days.map_or_else(|| "until somebody deletes them".to_owned(), |days| format!("for {days} days"));
        lines.push(format!("{what}, whose lines stay {time}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use step::Operation;

    use super::*;

    #[test]
    fn what_keeps_data_is_named_and_the_rest_counted() {
        let changes = vec![
            Change::delete("databases.main")
                .with("name", "shop-main")
                .with("lastSnapshot", "shop-main-final-…"),
            Change::delete("databases.main.subnets"),
            Change::delete("secrets.db").with("restorable", "for 7 days"),
            Change::delete("repositories.app").with("name", "shop-app"),
            Change::delete("services.web"),
            Change::delete("services.web.definition"),
            Change::keep("buckets.store"),
        ];
        let logs = |service: &str, days| Left {
            address: format!("services.{service}.logs"),
            kind: LeftKind::Logs,
            name: format!("/plinth/shop/{service}"),
            days,
        };
        let left = vec![logs("web", Some(30)), logs("api", None), logs("worker", None)];
        let step = Progress { changes, left, ..Progress::begin(Operation::Plan, "Database") };
        assert_eq!(
            lines(&[step]),
            [
                "  goes     database databases.main, after a last snapshot, shop-main-final-…",
                "  goes     secret secrets.db, restorable for 7 days",
                "  goes     repository repositories.app, with what is in it",
                "  goes     resources of databases (1), services (2)",
                "  stays    buckets.store, which is protected or needed by what is",
                "  stays    2 log groups, whose lines stay until somebody deletes them",
                "  stays    log group /plinth/shop/web of services.web.logs, whose lines stay for 30 days",
            ]
        );
    }
}

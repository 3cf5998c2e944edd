//! How progress, changes and outputs look.

use spec::{Balancer, Kind, Scheme, Spec, visible};
use step::{
    Action, Change, EnvironmentState, Error, Field, LastReady, Operation, Outputs, Progress, Result,
    RunFault, State, Status,
};

use crate::look;

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

/// Whether a step tells nothing that a person would want a line for: it looks, or found nothing to do.
pub(crate) fn is_idle(progress: &Progress) -> bool {
    progress.operation != Operation::Ensure
        && matches!(progress.status, State::Working | State::Done)
        && progress.changes.is_empty()
        && progress.notes.is_empty()
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
    let left = look::told(status.left.iter()).into_iter().map(|left| format!("  left     {left}"));
    let rebuilt =
        status.rebuilds.last().map(|last| format!("  rebuilt  {:.0}, in {} s", last.at, last.seconds));
    asks.chain(kept).chain(left).chain(rebuilt).collect()
}

/// Why a run didn't end well, with what to do. `file` is where the spec lies here, if it does.
pub(crate) fn fault(file: Option<&str>, status: &Status) -> String {
    let own = status.fault.as_ref().map(|fault| run_fault(file, fault));
    let name = file.unwrap_or("the spec");
    let faults = status
        .faults
        .iter()
        .map(|fault| format!("{name}:{}:{}: {}: {}", fault.line, fault.column, fault.path, fault.message));
    own.into_iter().chain(faults).collect::<Vec<_>>().join("\n")
}

/// A run's fault, with the address it is about and its line; where that isn't known, with the step.
pub(crate) fn run_fault(file: Option<&str>, fault: &RunFault) -> String {
    let place = match (&fault.address, fault.line) {
        (Some(address), Some(line)) => match file {
            Some(file) => format!("{address} ({file}:{line})"),
            None => format!("{address} (line {line})"),
        },
        (Some(address), None) => address.clone(),
        (None, _) => fault.state.clone().unwrap_or_else(|| "the run".to_owned()),
    };
    // Many messages begin with their address.
    let said = fault.address.as_ref().and_then(|address| fault.message.strip_prefix(&format!("{address}: ")));
    format!("{place}: {}", said.unwrap_or(&fault.message))
}

/// A status as the bucket holds it.
pub(crate) fn json(status: &Status) -> Result<String> {
    serde_json::to_string_pretty(status)
        .map_err(|error| Error::Failed(format!("writing the status as JSON: {error}")))
}

/// What stands of an environment whose latest run didn't end well: words to follow its state.
pub(crate) fn standing(status: &Status) -> String {
    let told = [EnvironmentState::Rejected, EnvironmentState::Failed].contains(&status.state);
    match status.last_ready.as_ref().filter(|_| told) {
        Some(LastReady { version, at, changed: false }) => {
            format!("; what stands is still version {version} of {at:.0}")
        }
        Some(LastReady { version, at, changed: true }) => {
            format!(
                "; part of it has changed since version {version} of {at:.0}, with which it was last ready"
            )
        }
        None => String::new(),
    }
}

/// How long a run took and how much it changed.
pub(crate) fn took(status: &Status) -> String {
    let seconds = (status.at - status.begun).get_seconds().max(0);
    let time = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) };
    let planned = status.steps.iter().filter(|progress| progress.operation == Operation::Plan);
    let changes =
        planned.flat_map(|progress| &progress.changes).filter(|change| change.action != Action::Keep);
    match changes.count() {
        0 => format!("in {time}, nothing changed"),
        1 => format!("in {time}, 1 change"),
        count => format!("in {time}, {count} changes"),
    }
}

/// Where an environment is reached: its APIs, and its balancers that face the internet, by the names they have in DNS.
pub(crate) fn addresses(spec: &Spec, outputs: &Outputs) -> Vec<String> {
    let public = |(key, balancer): (&String, &Balancer)| {
        let host = &outputs.load_balancers.get(key)?.host;
        let facing = balancer.scheme == Scheme::InternetFacing && balancer.kind == Kind::Application;
        let secure = balancer.listeners.values().any(|listener| !listener.certificates.is_empty());
        let scheme = if secure { "https" } else { "http" };
        let alias = format!("${{loadBalancers.{key}}}");
        let named = spec.dns.iter().filter(|(_, zone)| !zone.private).flat_map(|(zone, records)| {
            let records = records.records.iter().filter(|(_, record)| record.to_string() == alias);
            records.map(move |(name, _)| if name == "@" { zone.clone() } else { format!("{name}.{zone}") })
        });
        let mut hosts: Vec<String> = named.collect();
        if hosts.is_empty() {
            hosts.push(host.clone());
        }
        facing.then(|| hosts.into_iter().map(|host| format!("{scheme}://{host}")).collect::<Vec<_>>())
    };
    let balancers = spec.load_balancers.iter().filter_map(public).flatten();
    balancers.chain(outputs.apis.values().map(|api| api.url.clone())).collect()
}

#[cfg(test)]
mod tests {
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

    fn status(state: &str, last_ready: Option<bool>) -> Status {
        let last = last_ready.map(|changed| {
            serde_json::json!({ "version": "v3", "at": "2026-11-01T11:57:00Z", "changed": changed })
        });
        let status = serde_json::json!({
            "environment": "shop", "state": state, "begun": "2026-11-01T12:00:00Z", "at": "2026-11-01T12:00:12Z",
            "run": "a", "lastReady": last,
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn a_rejected_spec_is_told_with_what_stands_still() {
        let of = "version v3 of 2026-11-01T11:57:00Z";
        assert_eq!(standing(&status("rejected", Some(false))), format!("; what stands is still {of}"));
        let changed = format!("; part of it has changed since {of}, with which it was last ready");
        assert_eq!(standing(&status("failed", Some(true))), changed);
        assert_eq!(standing(&status("rejected", None)), "");
        assert_eq!(standing(&status("ready", Some(false))), "");
    }

    #[test]
    fn a_run_that_ended_well_is_told_by_its_time_and_its_changes() {
        let mut status = status("ready", None);
        assert_eq!(took(&status), "in 12 s, nothing changed");
        let plan = Progress::begin(Operation::Plan, "Cluster");
        status.steps =
            vec![Progress { changes: vec![Change::create("cluster"), Change::keep("key")], ..plan }];
        assert_eq!(took(&status), "in 12 s, 1 change");
    }

    #[test]
    fn a_fault_is_told_by_its_address_and_line_or_else_by_its_step() {
        let mut fault = RunFault::new("Failed", "services.worker: tasks keep stopping");
        assert_eq!(run_fault(None, &fault), "the run: services.worker: tasks keep stopping");
        fault.state = Some("Service-1".to_owned());
        assert_eq!(run_fault(None, &fault), "Service-1: services.worker: tasks keep stopping");
        (fault.address, fault.line) = (Some("services.worker".to_owned()), Some(29));
        assert_eq!(run_fault(None, &fault), "services.worker (line 29): tasks keep stopping");
        assert_eq!(
            run_fault(Some("shop.yaml"), &fault),
            "services.worker (shop.yaml:29): tasks keep stopping"
        );
    }

    #[test]
    fn an_environment_is_reached_by_the_names_of_its_public_balancers() {
        let spec = "
apiVersion: plinth/v1
name: shop
loadBalancers:
  public:
    type: application
    scheme: internet-facing
    listeners: { http: { port: 80, default: '${services.web}' } }
  inner:
    type: application
    scheme: internal
    listeners: { http: { port: 80, default: '${services.web}' } }
services: { web: { image: nginx, ports: [80] } }
";
        let outputs = serde_json::json!({ "loadBalancers": {
            "public": { "arn": "a", "host": "public.elb" }, "inner": { "arn": "b", "host": "inner.elb" },
        } });
        let outputs: Outputs = serde_json::from_value(outputs).expect("outputs");
        let parsed = |text: &str| spec::parse(text, None).expect("a spec");
        assert_eq!(addresses(&parsed(spec), &outputs), ["http://public.elb"]);
        let named =
            format!("{spec}dns: {{ example.com: {{ records: {{ www: '${{loadBalancers.public}}' }} }} }}\n");
        assert_eq!(addresses(&parsed(&named), &outputs), ["http://www.example.com"]);
    }
}

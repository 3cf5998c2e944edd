//! Following a run by the objects it writes.

use std::{collections::BTreeMap, io::IsTerminal, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};
use step::{EnvironmentState, Error, Progress, Result, State, Status, read_if_there};

use crate::{
    control_plane::{ControlPlane, Stored},
    show,
};

/// After so many seconds without a run, say what may be wrong.
const PATIENCE: f64 = 60.0;

/// What to follow.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The version of the spec; none is its deletion.
    pub(crate) version: Option<String>,
    /// A run that is over: its status tells nothing new.
    pub(crate) before: Option<String>,
    /// The spec's text: whoever uploads the same again does what was asked for.
    pub(crate) text: Option<&'a [u8]>,
}

/// Shows the steps of the run that carries out this version of the spec until the run's status is settled.
pub(crate) async fn follow(
    control_plane: &ControlPlane,
    name: &str,
    wanted: Wanted<'_>,
    screen: Screen,
) -> Result<Status> {
    let mut following = Following {
        control_plane,
        name,
        wanted,
        begun: Instant::now(),
        screen,
        told: BTreeMap::new(),
        waits: String::new(),
    };
    let outcome = loop {
        match following.look().await {
            Ok(None) => {}
            Ok(Some(status)) => break Ok(status),
            // The run goes on, whether or not it can be seen from here.
            Err(Error::Throttled(message)) => following.wait(format!("{message}; looking again")),
            Err(error) => break Err(error),
        }
        tokio::time::sleep(control_plane.pace()).await;
    };
    following.screen.clear();
    outcome
}

struct Following<'a> {
    control_plane: &'a ControlPlane,
    name: &'a str,
    wanted: Wanted<'a>,
    begun: Instant,
    screen: Screen,
    /// What was last shown of each step.
    told: BTreeMap<String, String>,
    /// What was last waited for before there was anything to show.
    waits: String,
}

impl Following<'_> {
    /// Shows what is new; the status when it is settled.
    async fn look(&mut self) -> Result<Option<Status>> {
        let (control_plane, name) = (self.control_plane, self.name);
        let seconds = self.begun.elapsed().as_secs_f64();
        match control_plane.status(name).await? {
            Some(status)
                if status.version == self.wanted.version
                    && Some(&status.run) != self.wanted.before.as_ref() =>
            {
                steps(control_plane, &status, seconds, &mut self.told, &mut self.screen).await?;
                if status.state == EnvironmentState::Superseded && self.again().await? {
                    return Ok(None);
                }
                Ok(Some(status).filter(|status| !under_way(status)))
            }
            earlier => {
                let is_overtaken =
                    overtaken(&control_plane.specs(name).await?, self.wanted.version.as_deref());
                if is_overtaken && !self.again().await? {
                    return Err(Error::Superseded(format!(
                        "somebody uploaded or deleted the spec of {name} since, and the newest wins; see what became of it with: plinth status {name}"
                    )));
                }
                self.wait(not_begun(name, &control_plane.bucket, earlier.as_ref(), seconds));
                Ok(None)
            }
        }
    }

    /// Whether the same spec was uploaded once more: then its run is followed from now on.
    async fn again(&mut self) -> Result<bool> {
        let Some(text) = self.wanted.text else { return Ok(false) };
        let stored = self.control_plane.stored(self.name, text).await?;
        let Some(version) = stored.filter(|version| Some(version) != self.wanted.version.as_ref()) else {
            return Ok(false);
        };
        self.wait("the same spec was uploaded once more; following the run of that".to_owned());
        self.wanted.version = Some(version);
        Ok(true)
    }

    fn wait(&mut self, wait: String) {
        if wait != self.waits {
            self.screen.line(&wait);
            self.waits = wait;
        }
    }
}

/// Whether a run is at work.
pub(crate) fn under_way(status: &Status) -> bool {
    status.state.is_under_way()
}

/// Whether the spec that lies there is another than this version, none being its deletion: then no run
/// will carry this one out.
fn overtaken(specs: &[Stored], version: Option<&str>) -> bool {
    match version {
        Some(_) => specs.iter().all(|stored| stored.version.as_deref() != version),
        None => !specs.is_empty(),
    }
}

/// Why nothing is seen of the run yet.
fn not_begun(name: &str, bucket: &str, earlier: Option<&Status>, seconds: f64) -> String {
    if earlier.is_some_and(under_way) {
        return format!("another run of {name} is under way; this one follows it");
    }
    if seconds > PATIENCE {
        return format!(
            "no run has begun for {PATIENCE:.0} s: is the control plane of {bucket} deployed, and its rule plinth-spec enabled?"
        );
    }
    "waiting for the run to begin".to_owned()
}

/// Shows what is new of a run's steps.
async fn steps(
    control_plane: &ControlPlane,
    status: &Status,
    seconds: f64,
    told: &mut BTreeMap<String, String>,
    screen: &mut Screen,
) -> Result<()> {
    let progress = progress(control_plane, &status.environment, &status.run, "").await?;
    for (key, progress) in &progress {
        let news = show::news(progress);
        if told.get(key) != Some(&news) {
            told.insert(key.clone(), news);
            if show::is_idle(progress) {
                continue;
            }
            screen.line(&show::progress(seconds, progress));
        }
    }
    let waits = progress.iter().filter(|(_, progress)| progress.status != State::Done);
    let waits: Vec<String> = waits
        .map(|(_, progress)| match &progress.message {
            Some(message) => format!("{}: {message}", progress.state),
            None => progress.state.clone(),
        })
        .collect();
    screen.wait(&waits.join("; "));
    Ok(())
}

/// How far each step of a run is, by the object that says so, oldest first.
pub(crate) async fn progress(
    control_plane: &ControlPlane,
    environment: &str,
    run: &str,
    operation: &str,
) -> Result<Vec<(String, Progress)>> {
    let mut all = Vec::new();
    for key in control_plane.keys(&format!("runs/{environment}/{run}/steps/{operation}")).await? {
        let progress: Option<Progress> =
            read_if_there(&control_plane.s3, &control_plane.bucket, &key).await?;
        all.extend(progress.map(|progress| (key, progress)));
    }
    all.sort_by_key(|(_, progress)| progress.at);
    Ok(all)
}

/// Lines, and on a terminal what is waited for below them.
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    /// Whether standard output is kept for something else.
    aside: bool,
}

impl Screen {
    /// With `aside`, lines go to standard error.
    pub(crate) fn new(aside: bool) -> Self {
        let bar = (!aside && std::io::stdout().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Self { bar, aside }
    }

    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.aside => eprintln!("{line}"),
            None => println!("{line}"),
        }
    }

    fn wait(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(version: &str) -> [Stored; 1] {
        [Stored { key: "environments/demo.yaml".to_owned(), version: Some(version.to_owned()) }]
    }

    #[test]
    fn a_version_is_overtaken_by_a_newer_upload_and_by_a_deletion() {
        assert!(!overtaken(&stored("1"), Some("1")));
        assert!(overtaken(&stored("2"), Some("1")));
        assert!(overtaken(&[], Some("1")));
    }

    #[test]
    fn a_deletion_is_overtaken_by_an_upload() {
        assert!(!overtaken(&[], None));
        assert!(overtaken(&stored("1"), None));
    }

    #[test]
    fn a_run_that_does_not_begin_is_asked_after_only_when_none_is_under_way() {
        let late = PATIENCE + 1.0;
        assert_eq!(not_begun("demo", "bucket", None, 1.0), "waiting for the run to begin");
        assert!(not_begun("demo", "bucket", None, late).starts_with("no run has begun"));
        let status = serde_json::json!({
            "environment": "demo", "state": "provisioning", "at": "2026-11-01T12:00:00Z", "run": "a"
        });
        let status: Status = serde_json::from_value(status).expect("a status");
        assert!(not_begun("demo", "bucket", Some(&status), late).starts_with("another run"));
    }
}

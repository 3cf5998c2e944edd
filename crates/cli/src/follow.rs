//! Following a run by the objects it writes.

use std::{collections::BTreeMap, io::IsTerminal, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};
use step::{Doing, EnvironmentState, Progress, Result, State, Status, read_if_there};

use crate::{control_plane::ControlPlane, show};

/// After so many seconds without a run, say what may be wrong.
const PATIENCE: f64 = 60.0;

/// Shows a run's steps as they go on, until its status is settled. `ours` tells the status of the run
/// that is meant from an earlier one.
pub(crate) async fn follow(
    control_plane: &ControlPlane,
    name: &str,
    ours: impl Fn(&Status) -> bool,
) -> Result<Status> {
    let begun = Instant::now();
    let mut screen = Screen::new();
    let mut told = BTreeMap::new();
    let mut hinted = false;
    loop {
        let seconds = begun.elapsed().as_secs_f64();
        match control_plane.status(name).await? {
            Some(status) if ours(&status) => {
                steps(control_plane, &status, seconds, &mut told, &mut screen).await?;
                if !matches!(status.state, EnvironmentState::Provisioning | EnvironmentState::Destroying) {
                    screen.clear();
                    return Ok(status);
                }
            }
            Some(status)
                if matches!(status.state, EnvironmentState::Provisioning | EnvironmentState::Destroying) =>
            {
                screen.wait(&format!("another run of {name} is under way; this one follows it"));
            }
            _ => screen.wait("waiting for the run to begin"),
        }
        if told.is_empty() && seconds > PATIENCE && !hinted {
            hinted = true;
            let bucket = &control_plane.bucket;
            screen.line(&format!("no run has begun for {seconds:.0} s: is the control plane of {bucket} deployed, and its rule plinth-spec enabled?"));
        }
        tokio::time::sleep(control_plane.pace()).await;
    }
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
    let (s3, bucket) = (&control_plane.s3, &control_plane.bucket);
    let prefix = format!("runs/{environment}/{run}/steps/{operation}");
    let pages = s3.list_objects_v2().bucket(bucket).prefix(&prefix).into_paginator().send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let mut all = Vec::new();
    for object in pages
        .doing(|| format!("listing s3://{bucket}/{prefix}"))?
        .into_iter()
        .flat_map(|page| page.contents.unwrap_or_default())
    {
        let key = object.key.unwrap_or_default();
        let progress: Option<Progress> = read_if_there(s3, bucket, &key).await?;
        all.extend(progress.map(|progress| (key, progress)));
    }
    all.sort_by_key(|(_, progress)| progress.at);
    Ok(all)
}

/// Lines, and on a terminal what is waited for below them.
struct Screen {
    bar: Option<ProgressBar>,
}

impl Screen {
    fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Self { bar }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
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

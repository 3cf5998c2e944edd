//! `plinth status`

use std::process::ExitCode;

use step::{Error, Result, State};

use crate::{control_plane::ControlPlane, follow, show};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str, json: bool) -> Result<ExitCode> {
    let status = control_plane
        .status(name)
        .await?
        .ok_or_else(|| Error::Failed(format!("{} knows no environment {name}", control_plane.bucket)))?;
    if json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Error::Failed(format!("writing the status as JSON: {error}")))?;
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{name} is {} since {:.0}", status.state.word(), status.at);
    println!("  run      {}", status.run);
    println!("  version  {}", status.version.as_deref().unwrap_or("none: the spec was deleted"));
    println!("  region   {}", status.region.as_deref().unwrap_or("none yet"));
    if let Some(role) = &status.role {
        println!("  role     {role}");
    }
    for line in show::beside(&status) {
        println!("{line}");
    }
    if let Some(expires) = status.expires {
        println!("  expires  {expires:.0}");
    }
    let fault = show::fault("the spec", &status);
    if !fault.is_empty() {
        println!("{fault}");
    }
    // While a run is under way its steps are told by it alone.
    for (_, progress) in follow::progress(control_plane, name, &status.run, "").await? {
        if progress.status != State::Done || !progress.notes.is_empty() {
            let seconds = progress.at.duration_since(progress.since).as_secs_f64();
            println!("{}", show::progress(seconds, &progress));
        }
    }
    Ok(ExitCode::SUCCESS)
}

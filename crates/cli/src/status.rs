//! `plinth status`

use std::process::ExitCode;

use step::{EnvironmentState, Error, Result, State};

use crate::{control_plane::ControlPlane, follow, show};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str, json: bool) -> Result<ExitCode> {
    let status = control_plane
        .status(name)
        .await?
        .ok_or_else(|| Error::Failed(format!("{} knows no environment {name}", control_plane.bucket)))?;
    if json {
        println!("{}", show::json(&status)?);
        return Ok(code(status.state));
    }
    println!("{name} is {} since {:.0}{}", status.state.word(), status.at, show::standing(&status));
    println!("  run      {}", status.run);
    if let Some(console) = control_plane.console(&status.run) {
        println!("  console  {console}");
    }
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
    let fault = show::fault(None, &status);
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
    Ok(code(status.state))
}

/// How the command ends, for scripts: 0 where the environment is what was asked for, 1 where it isn't, 3 while a run is
/// at work on that.
fn code(state: EnvironmentState) -> ExitCode {
    use EnvironmentState::{
        Destroyed, Destroying, Expired, Failed, Leaked, Paused, Provisioning, Ready, Rejected, Superseded,
        Waiting,
    };
    match state {
        Ready | Paused | Destroyed | Expired => ExitCode::SUCCESS,
        Failed | Rejected | Leaked => ExitCode::FAILURE,
        Provisioning | Waiting | Destroying | Superseded => ExitCode::from(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_learns_from_the_exit_code_how_an_environment_stands() {
        let told = |state| format!("{:?}", code(state));
        assert_eq!(told(EnvironmentState::Ready), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(told(EnvironmentState::Failed), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(told(EnvironmentState::Waiting), format!("{:?}", ExitCode::from(3)));
    }
}

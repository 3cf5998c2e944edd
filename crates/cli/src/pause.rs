//! `plinth pause`

use std::process::ExitCode;

use serde_json::json;
use step::{EnvironmentState, Result};

use crate::{control_plane::ControlPlane, show, start};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str) -> Result<ExitCode> {
    let standing = start::find(control_plane, name, "pause it").await?;
    let input = json!({ "environment": name, "action": "pause" });
    let status = start::run(control_plane, name, standing, "a pause", &input).await?;
    println!("\n{name} is {}", status.state.word());
    if status.state == EnvironmentState::Paused {
        println!("wake it with: plinth resume {name}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", show::fault(None, &status));
    Ok(ExitCode::FAILURE)
}

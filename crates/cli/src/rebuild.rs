//! `plinth rebuild`

use std::process::ExitCode;

use serde_json::json;
use step::{EnvironmentState, Error, Result};

use crate::{apply, control_plane::ControlPlane, destroy, look, start};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str, yes: bool) -> Result<ExitCode> {
    let standing = start::find(control_plane, name, "rebuild it").await?;
    if standing.status.as_ref().is_some_and(|status| status.state == EnvironmentState::Paused) {
        return Err(Error::Failed(format!("{name} is paused: wake it first with: plinth resume {name}")));
    }
    let lines = look::teardown(control_plane, name).await?;
    println!("rebuilding {name}, which is taken away first:\n{}", lines.join("\n"));
    if !yes {
        destroy::confirm(name, "rebuilding", "deletes what goes, and its data, and builds it anew")?;
    }
    let input = json!({ "environment": name, "action": "rebuild" });
    let status = start::run(control_plane, name, standing, "a rebuild", &input).await?;
    apply::ended(control_plane, None, &status, false).await
}

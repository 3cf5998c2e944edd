//! `plinth resume`

use std::process::ExitCode;

use serde_json::json;
use step::Result;

use crate::{apply, control_plane::ControlPlane, start};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str) -> Result<ExitCode> {
    let standing = start::find(control_plane, name, "resume it").await?;
    let status = start::run(control_plane, name, standing, "a run", &json!({ "environment": name })).await?;
    apply::ended(control_plane, None, &status, false).await
}

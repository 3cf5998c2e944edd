//! Starting the machine by hand, for the spec that is uploaded.

use serde_json::Value;
use step::{Doing, Error, Result, Status};

use crate::{
    control_plane::{ControlPlane, Stored},
    follow::{self, Screen, Wanted},
};

/// An environment whose spec is uploaded, and that no run is working on.
pub(crate) struct Standing {
    version: Option<String>,
    pub(crate) status: Option<Status>,
}

/// Looks for the environment; `doing` is what is to be done with it: "pause it".
pub(crate) async fn find(control_plane: &ControlPlane, name: &str, doing: &str) -> Result<Standing> {
    let mut specs = control_plane.specs(name).await?;
    let bucket = &control_plane.bucket;
    let (Some(Stored { version, .. }), true) = (specs.pop(), specs.is_empty()) else {
        return Err(Error::Failed(match specs.len() {
            0 => format!("{bucket} holds no spec of {name}: write one, and `plinth apply` it"),
            _ => format!("environment {name} has several specs in {bucket}: delete all but one"),
        }));
    };
    let status = control_plane.status(name).await?;
    if status.as_ref().is_some_and(follow::under_way) {
        return Err(Error::Failed(format!(
            "a run of {name} is under way: {doing} when that has ended (plinth status {name})"
        )));
    }
    Ok(Standing { version, status })
}

/// Starts the machine with this input, and follows the run; `what` is what is started: "a rebuild".
pub(crate) async fn run(
    control_plane: &ControlPlane,
    name: &str,
    standing: Standing,
    what: &str,
    input: &Value,
) -> Result<Status> {
    let start = control_plane.sfn.start_execution().state_machine_arn(&control_plane.machine);
    start.input(input.to_string()).send().await.doing(|| format!("starting {what} of {name}"))?;
    println!("the run goes on by itself, also when you leave with Ctrl-C: plinth status {name}");
    let before = standing.status.map(|status| status.run);
    let wanted = Wanted { version: standing.version, before, text: None };
    follow::follow(control_plane, name, wanted, Screen::new(false)).await
}

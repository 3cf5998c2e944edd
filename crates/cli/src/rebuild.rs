//! `plinth rebuild`

use std::process::ExitCode;

use serde_json::json;
use step::{Doing, Error, Result};

use crate::{
    apply,
    control_plane::{ControlPlane, Stored},
    destroy, follow,
};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str, yes: bool) -> Result<ExitCode> {
    let specs = control_plane.specs(name).await?;
    let [Stored { version, .. }] = specs.as_slice() else {
        return Err(Error::Failed(match specs.len() {
            0 => {
                format!("{} holds no spec of {name}: write one, and `plinth apply` it", control_plane.bucket)
            }
            _ => format!(
                "environment {name} has several specs in {}: delete all but one",
                control_plane.bucket
            ),
        }));
    };
    let earlier = control_plane.status(name).await?;
    if earlier.as_ref().is_some_and(follow::under_way) {
        return Err(Error::Failed(format!(
            "a run of {name} is under way: rebuild it when that has ended (plinth status {name})"
        )));
    }
    if !yes {
        let does = format!("takes away everything that {name} describes, with its data, and builds it anew");
        destroy::confirm(name, "rebuilding", &does)?;
    }
    let input = json!({ "environment": name, "action": "rebuild" }).to_string();
    let start = control_plane.sfn.start_execution().state_machine_arn(&control_plane.machine).input(input);
    start.send().await.doing(|| format!("starting a rebuild of {name}"))?;
    println!("the run goes on by itself, also when you leave with Ctrl-C: plinth status {name}");
    let before = earlier.map(|status| status.run);
    let status = follow::follow(control_plane, name, version.as_deref(), before.as_deref()).await?;
    Ok(apply::ended("the spec", &status))
}

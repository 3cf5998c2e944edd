//! `plinth plan`

use std::{path::Path, process::ExitCode};

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use serde_json::json;
use step::{Change, Doing, Error, Result, RunFault};

use crate::{control_plane::ControlPlane, follow, show, validate};

pub(crate) async fn run(control_plane: &ControlPlane, file: &Path) -> Result<ExitCode> {
    let (_, spec) = validate::read(file)?;
    let id = format!("plan-{}-{}", spec.name, Timestamp::now().as_millisecond());
    let input = json!({ "action": "plan", "spec": spec }).to_string();
    let sfn = &control_plane.sfn;
    let started = sfn.start_execution().state_machine_arn(&control_plane.machine).name(&id).input(input);
    let started = started.send().await.doing(|| "starting a plan")?;
    let execution = started.execution_arn();
    println!("planning {} against what AWS has ...", spec.name);
    loop {
        let described = sfn.describe_execution().execution_arn(execution).send().await;
        let described = described.doing(|| format!("looking how far {id} is"))?;
        match described.status() {
            ExecutionStatus::Running => tokio::time::sleep(control_plane.pace()).await,
            ExecutionStatus::Succeeded => break,
            status => {
                let output = json!({ "Error": described.error(), "Cause": described.cause() });
                let fault = RunFault::caught(&output);
                if fault.error == "InvalidSpec" {
                    return Err(Error::InvalidSpec(format!(
                        "{} is rejected: {}",
                        file.display(),
                        fault.message
                    )));
                }
                let status = status.as_str().to_lowercase().replace('_', " ");
                return Err(Error::Failed(format!("the plan {status}: {}", fault.message)));
            }
        }
    }
    let steps = follow::progress(control_plane, &spec.name, &id, "plan-").await?;
    let changes: Vec<Change> = steps.into_iter().flat_map(|(_, progress)| progress.changes).collect();
    for change in &changes {
        println!("{}", show::change(change));
    }
    println!("{}", show::summary(&changes));
    Ok(ExitCode::SUCCESS)
}

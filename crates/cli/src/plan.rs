//! `plinth plan`

use std::{path::Path, process::ExitCode};

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use serde::Deserialize;
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
            ExecutionStatus::Succeeded => {
                let output = described.output().and_then(|output| serde_json::from_str(output).ok());
                break refused(file, output.unwrap_or_default())?;
            }
            status => {
                let output = json!({ "Error": described.error(), "Cause": described.cause() });
                let fault = RunFault::caught(&output);
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

/// What an execution answers that ended well.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    fault: Option<RunFault>,
}

/// The error for a plan that was refused: it ends well, and its output says why.
fn refused(file: &Path, answer: Answer) -> Result<()> {
    let Some(fault) = answer.fault else { return Ok(()) };
    let told = show::run_fault(Some(&validate::name(file)), &fault);
    Err(match fault.error.as_str() {
        "InvalidSpec" => Error::InvalidSpec(format!("{} is rejected: {told}", validate::name(file))),
        _ => Error::Failed(format!("the plan failed: {told}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_was_refused_is_told_with_its_place() {
        let fault = json!({ "error": "InvalidSpec", "state": "Database", "address": "databases.main", "line": 7,
            "message": "there is no version 99" });
        let answer = serde_json::from_value(json!({ "state": null, "fault": fault })).expect("an answer");
        let error = refused(Path::new("shop.yaml"), answer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shop.yaml is rejected: databases.main (shop.yaml:7): there is no version 99"
        );
        assert_eq!(refused(Path::new("shop.yaml"), Answer::default()), Ok(()));
    }
}

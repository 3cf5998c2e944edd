//! `plinth destroy`

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use serde_json::json;
use step::{Doing, Error, Result};

use crate::{
    control_plane::{ControlPlane, Stored},
    follow::{self, Screen, Wanted},
    look, show,
};

pub(crate) async fn run(control_plane: &ControlPlane, name: &str, yes: bool) -> Result<ExitCode> {
    let earlier = control_plane.status(name).await?;
    let specs = control_plane.specs(name).await?;
    let gone = earlier.as_ref().is_none_or(|status| status.state.is_gone());
    if specs.is_empty() && gone {
        println!("there is no environment {name} in {}", control_plane.bucket);
        return Ok(ExitCode::SUCCESS);
    }
    let lines = look::teardown(control_plane, name).await?;
    println!("destroying {name}:\n{}", lines.join("\n"));
    if !yes {
        confirm(name, "destroying", "deletes what goes, and its data")?;
    }
    for Stored { key, .. } in &specs {
        let bucket = &control_plane.bucket;
        let deleted = control_plane.s3.delete_object().bucket(bucket).key(key).send().await;
        deleted.doing(|| format!("deleting s3://{bucket}/{key}"))?;
        println!("deleted s3://{bucket}/{key}");
    }
    if specs.is_empty() {
        // Its spec is gone, and it stands: a run that failed is started once more.
        let input = json!({ "environment": name }).to_string();
        let start =
            control_plane.sfn.start_execution().state_machine_arn(&control_plane.machine).input(input);
        start.send().await.doing(|| format!("starting a run for {name}"))?;
    }
    let before = earlier.map(|status| status.run);
    let wanted = Wanted { before, ..Wanted::default() };
    let status = follow::follow(control_plane, name, wanted, Screen::new(false)).await?;
    println!("\n{name} is {}", status.state.word());
    for line in show::beside(&status) {
        println!("{line}");
    }
    if status.state.is_gone() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", show::fault(None, &status));
    Ok(ExitCode::FAILURE)
}

/// Asks for the environment's name before anything goes; `doing` is what is asked about, and `does` what it
/// does.
pub(crate) fn confirm(name: &str, doing: &str, does: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Failed(format!("{doing} {name}: nobody is there to ask; write --yes")));
    }
    print!("this {does}; write its name to go on: ");
    let failed = |error| Error::Failed(format!("asking: {error}"));
    std::io::stdout().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    if answer.trim() == name {
        return Ok(());
    }
    Err(Error::Failed(format!("{doing} {name}: the name wasn't written; nothing was deleted")))
}

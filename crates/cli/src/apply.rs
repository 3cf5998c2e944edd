//! `plinth apply`

use std::{path::Path, process::ExitCode};

use step::{Doing, EnvironmentState, Error, Result, Status, spec_keys};

use crate::{control_plane::ControlPlane, follow, show, validate};

pub(crate) async fn run(control_plane: &ControlPlane, file: &Path, no_wait: bool) -> Result<ExitCode> {
    let (text, spec) = validate::read(file)?;
    let name = &spec.name;
    let key = key(control_plane, name, file).await?;
    let bucket = &control_plane.bucket;
    let put = control_plane.s3.put_object().bucket(bucket).key(&key).content_type(content_type(&key));
    let put = put
        .body(text.into_bytes().into())
        .send()
        .await
        .doing(|| format!("uploading {} to s3://{bucket}/{key}", file.display()))?;
    let version = put.version_id;
    println!("uploaded {} to s3://{bucket}/{key}", file.display());
    if no_wait {
        println!("the run goes on by itself: plinth status {name}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("the run goes on by itself, also when you leave with Ctrl-C: plinth status {name}");
    let status = follow::follow(control_plane, name, version.as_deref(), None).await?;
    Ok(ended(&file.display().to_string(), &status))
}

/// The object to put: where the environment's spec lies, or a new one with the file's ending.
async fn key(control_plane: &ControlPlane, name: &str, file: &Path) -> Result<String> {
    let specs = control_plane.specs(name).await?;
    let mut found: Vec<String> = specs.into_iter().map(|stored| stored.key).collect();
    if found.len() > 1 {
        return Err(Error::Conflict(format!(
            "environment {name} has several specs: delete all but one of {}",
            found.join(", ")
        )));
    }
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("yaml");
    let [yaml, ..] = spec_keys(name);
    let own = spec_keys(name).into_iter().find(|key| key.ends_with(&format!(".{ending}")));
    Ok(found.pop().or(own).unwrap_or(yaml))
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("json") => "application/json",
        _ => "application/yaml",
    }
}

/// Tells how a run ended: success only if the environment is what its spec says.
pub(crate) fn ended(file: &str, status: &Status) -> ExitCode {
    println!("\n{} is {}", status.environment, status.state.word());
    for line in show::beside(status) {
        println!("{line}");
    }
    if status.state != EnvironmentState::Ready {
        println!("{}", show::fault(file, status));
        return ExitCode::FAILURE;
    }
    if let Ok(outputs) = serde_json::to_string_pretty(&status.outputs) {
        println!("{outputs}");
    }
    ExitCode::SUCCESS
}

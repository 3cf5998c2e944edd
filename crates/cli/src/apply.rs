//! `plinth apply`

use std::{path::Path, process::ExitCode};

use spec::Spec;
use step::{Doing, EnvironmentState, Error, Result, Status, read_if_there, spec_keys};

use crate::{
    control_plane::ControlPlane,
    follow::{self, Screen, Wanted},
    show, validate,
};

pub(crate) async fn run(
    control_plane: &ControlPlane,
    file: &Path,
    no_wait: bool,
    json: bool,
) -> Result<ExitCode> {
    let (text, spec) = validate::read(file)?;
    let (name, called) = (&spec.name, validate::name(file));
    let key = key(control_plane, name, file).await?;
    let bucket = &control_plane.bucket;
    let put = control_plane.s3.put_object().bucket(bucket).key(&key).content_type(content_type(&key));
    let put = put
        .body(text.clone().into_bytes().into())
        .send()
        .await
        .doing(|| format!("uploading {called} to s3://{bucket}/{key}"))?;
    let screen = Screen::new(json);
    screen.line(&format!("uploaded {called} to s3://{bucket}/{key}"));
    if no_wait {
        screen.line(&format!("the run goes on by itself: plinth status {name}"));
        return Ok(ExitCode::SUCCESS);
    }
    screen.line(&format!("the run goes on by itself, also when you leave with Ctrl-C: plinth status {name}"));
    let wanted = Wanted { version: put.version_id, before: None, text: Some(text.as_bytes()) };
    let status = follow::follow(control_plane, name, wanted, screen).await?;
    ended(control_plane, Some(&called), &status, json).await
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
pub(crate) async fn ended(
    control_plane: &ControlPlane,
    file: Option<&str>,
    status: &Status,
    json: bool,
) -> Result<ExitCode> {
    let is_ready = status.state == EnvironmentState::Ready;
    let code = if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        println!("{}", show::json(status)?);
        return Ok(code);
    }
    if is_ready {
        let key = format!("runs/{}/{}/spec.json", status.environment, status.run);
        let spec: Option<Spec> = read_if_there(&control_plane.s3, &control_plane.bucket, &key).await?;
        let reached = spec.map(|spec| show::addresses(&spec, &status.outputs)).unwrap_or_default();
        let reached = if reached.is_empty() { String::new() } else { format!(": {}", reached.join(", ")) };
        println!("\n{} is ready {}{reached}", status.environment, show::took(status));
    } else {
        println!("\n{} is {}{}", status.environment, status.state.word(), show::standing(status));
    }
    for line in show::beside(status) {
        println!("{line}");
    }
    if !is_ready {
        println!("{}", show::fault(file, status));
        if let Some(console) = control_plane.console(&status.run) {
            println!("  console  {console}");
        }
    }
    Ok(code)
}

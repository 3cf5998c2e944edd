//! `plinth list`

use std::process::ExitCode;

use step::{Result, Status, read_if_there};

use crate::{control_plane::ControlPlane, show};

pub(crate) async fn run(control_plane: &ControlPlane) -> Result<ExitCode> {
    let mut standing = false;
    for key in control_plane.keys("status/").await? {
        let status: Option<Status> = read_if_there(&control_plane.s3, &control_plane.bucket, &key).await?;
        if let Some(status) = status.filter(|status| !status.state.is_gone()) {
            println!("{}", show::environment(&status));
            standing = true;
        }
    }
    if !standing {
        println!("there is no environment in {}", control_plane.bucket);
    }
    Ok(ExitCode::SUCCESS)
}

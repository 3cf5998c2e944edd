//! The `plinth` command: what can also be done with an upload and the console, with progress shown.
#![allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]

mod apply;
mod control_plane;
mod credentials;
mod destroy;
mod follow;
mod list;
mod look;
mod pause;
mod plan;
mod rebuild;
mod resume;
mod secret;
mod show;
mod start;
mod status;
mod validate;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use control_plane::ControlPlane;
use step::Result;

/// Builds, changes and takes away container environments on AWS, each described by one file.
#[derive(Parser)]
#[command(name = "plinth", version)]
struct Plinth {
    #[command(subcommand)]
    command: Command,
    /// The control plane's bucket; plinth-<account>-<region> where absent.
    #[arg(long, global = true, env = "PLINTH_BUCKET")]
    bucket: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Say all that is wrong with specs, without asking AWS.
    Validate {
        /// The specs; - is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Say what `apply` would change, and change nothing.
    Plan {
        /// The spec; - is standard input.
        file: PathBuf,
    },
    /// Upload a spec and follow the run that makes it real.
    Apply {
        /// The spec; - is standard input.
        file: PathBuf,
        /// Don't follow the run.
        #[arg(long)]
        no_wait: bool,
        /// Write the status that the run ends with to standard output, as JSON, and all else to standard error.
        #[arg(long)]
        json: bool,
    },
    /// Say how an environment stands.
    ///
    /// Exits with 0 where the environment is what was asked for (ready, paused, destroyed, expired), with 1 where it
    /// isn't (failed, rejected, leaked) or can't be told, and with 3 while a run is at work (provisioning, waiting,
    /// destroying, superseded).
    Status {
        /// The environment's name.
        name: String,
        /// The status as the bucket holds it.
        #[arg(long)]
        json: bool,
    },
    /// Say which environments there are.
    List,
    /// Delete an environment's spec and follow the run that takes the environment away.
    Destroy {
        /// The environment's name.
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Take an environment away, with all its data, and build it anew from the spec that is uploaded.
    Rebuild {
        /// The environment's name.
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Take an environment's services, instances and databases to zero; nothing is deleted.
    Pause {
        /// The environment's name.
        name: String,
    },
    /// Make an environment that is paused, or whose run failed, what its uploaded spec says.
    Resume {
        /// The environment's name.
        name: String,
    },
    /// Put secrets' values.
    #[command(subcommand)]
    Secret(Secret),
}

#[derive(Subcommand)]
enum Secret {
    /// Put a secret's value, read from standard input.
    Set {
        /// The environment's name.
        name: String,
        /// The secret's name in the spec.
        secret: String,
        /// Don't ask before a value that is there is overwritten.
        #[arg(long)]
        yes: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // `plinth list | head -1` ends without a word.
    sigpipe::reset();
    let plinth = Plinth::parse();
    match Box::pin(run(plinth)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("plinth: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plinth: Plinth) -> Result<ExitCode> {
    let connect = || ControlPlane::connect(plinth.bucket.clone());
    match plinth.command {
        Command::Validate { files } => Ok(validate::run(&files)),
        Command::Plan { file } => plan::run(&connect().await?, &file).await,
        Command::Apply { file, no_wait, json } => apply::run(&connect().await?, &file, no_wait, json).await,
        Command::Status { name, json } => status::run(&connect().await?, &name, json).await,
        Command::List => list::run(&connect().await?).await,
        Command::Destroy { name, yes } => destroy::run(&connect().await?, &name, yes).await,
        Command::Rebuild { name, yes } => rebuild::run(&connect().await?, &name, yes).await,
        Command::Pause { name } => pause::run(&connect().await?, &name).await,
        Command::Resume { name } => resume::run(&connect().await?, &name).await,
        Command::Secret(Secret::Set { name, secret, yes }) => {
            secret::set(&connect().await?, &name, &secret, yes).await
        }
    }
}

//! The `plinth` command.
#![allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Checks and builds container environments that a file describes.
#[derive(Parser)]
#[command(version)]
enum Plinth {
    /// Says all that is wrong with specs, without asking AWS.
    Validate {
        /// The specs.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Plinth::Validate { files } = Plinth::parse();
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let read = std::fs::read_to_string(&file);
        let faults = match read.map(|text| spec::parse(&text, None)) {
            Ok(Ok(_)) => {
                println!("{}: ok", file.display());
                continue;
            }
            Ok(Err(faults)) => {
                faults.to_string().lines().map(|fault| format!("{}:{fault}", file.display())).collect()
            }
            Err(error) => vec![format!("reading {}: {error}", file.display())],
        };
        for fault in faults {
            println!("{fault}");
        }
        code = ExitCode::FAILURE;
    }
    code
}

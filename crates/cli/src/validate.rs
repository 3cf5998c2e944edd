//! `plinth validate`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use spec::Spec;
use step::{Error, Result};

pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match read(file) {
            Ok((_, spec)) => println!("{}: ok: {}", file.display(), described(&spec)),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// A file's text, and the spec it holds; the error shows every fault with its line.
pub(crate) fn read(file: &Path) -> Result<(String, Spec)> {
    let name = file.display().to_string();
    let text =
        std::fs::read_to_string(file).map_err(|error| Error::Failed(format!("reading {name}: {error}")))?;
    match spec::parse(&text, None) {
        Ok(spec) => Ok((text, spec)),
        Err(faults) => {
            let count = match faults.0.len() {
                1 => "one fault".to_owned(),
                count => format!("{count} faults"),
            };
            Err(Error::InvalidSpec(format!("{count} in {name}\n{}", faults.render(&name, &text))))
        }
    }
}

/// What a spec holds, in one line.
fn described(spec: &Spec) -> String {
    let counts = [
        ("network", usize::from(spec.network.is_some())),
        ("key", usize::from(spec.key.is_some())),
        ("secret", spec.secrets.len()),
        ("role", spec.roles.len()),
        ("repository", spec.repositories.len()),
        ("deployer", spec.deployers.len()),
        ("bucket", spec.buckets.len()),
        ("file system", spec.file_systems.len()),
        ("database", spec.databases.len()),
        ("certificate", spec.certificates.len()),
        ("load balancer", spec.load_balancers.len()),
        ("cluster", usize::from(spec.cluster.is_some())),
        ("function", spec.functions.len()),
        ("job", spec.jobs.len()),
        ("service", spec.services.len()),
        ("API", spec.apis.len()),
        ("zone", spec.dns.len()),
    ];
    let counted = |(word, count): (&str, usize)| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {}", plural(word))),
    };
    let parts: Vec<String> = counts.into_iter().filter_map(counted).collect();
    let parts = if parts.is_empty() { "nothing yet".to_owned() } else { parts.join(", ") };
    format!("environment {} with {parts}", spec.name)
}

fn plural(word: &str) -> String {
    let stem = word.strip_suffix("ry").map(|stem| format!("{stem}rie"));
    format!("{}s", stem.as_deref().unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_described_by_what_it_holds() {
        let text = "{ apiVersion: plinth/v1, name: demo, secrets: { a: {} }, repositories: { a: {}, b: {} }, cluster: {} }";
        let spec = spec::parse(text, None).expect("a spec");
        assert_eq!(described(&spec), "environment demo with 1 secret, 2 repositories, 1 cluster");
    }
}

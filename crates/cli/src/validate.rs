//! `plinth validate`

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use spec::Spec;
use step::{Error, Result};

pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match read(file) {
            Ok((_, spec)) => println!("{}: ok: {}", name(file), described(&spec)),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// A file's text, and the spec it holds; the error shows every fault with its line. `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<(String, Spec)> {
    let name = name(file);
    let bytes = bytes(file).map_err(|error| Error::Failed(format!("reading {name}: {error}")))?;
    match spec::parse_bytes(&bytes, None) {
        Ok(spec) => Ok((String::from_utf8_lossy(&bytes).into_owned(), spec)),
        Err(faults) => {
            let count = match faults.0.len() {
                1 => "one fault".to_owned(),
                count => format!("{count} faults"),
            };
            let text = String::from_utf8_lossy(&bytes);
            Err(Error::InvalidSpec(format!("{count} in {name}\n{}", faults.render(&name, &text))))
        }
    }
}

/// What a file is called in messages.
pub(crate) fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// What a file holds; of one that is too large, enough to see that.
fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let most = spec::SIZE_LIMIT as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
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
    fn a_file_that_is_not_utf_8_is_refused_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("latin.yaml");
        std::fs::write(&file, b"apiVersion: plinth/v1\nname: caf\xe9\n").expect("a file");
        let error = read(&file).expect_err("a fault").to_string();
        assert!(error.contains(":2:10: spec: the byte 0xe9 isn't UTF-8; save the file as UTF-8"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let error = read(Path::new("/dev/zero")).expect_err("a fault").to_string();
        assert!(error.contains("a spec has at most 1048576 bytes"), "{error}");
    }

    #[test]
    fn a_spec_is_described_by_what_it_holds() {
        let text = "{ apiVersion: plinth/v1, name: demo, secrets: { a: {} }, repositories: { a: {}, b: {} }, cluster: {} }";
        let spec = spec::parse(text, None).expect("a spec");
        assert_eq!(described(&spec), "environment demo with 1 secret, 2 repositories, 1 cluster");
    }
}

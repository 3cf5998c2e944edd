//! Objects that are almost specs: no environment can be called after them. Their status says so, for as long as they
//! are there.

use spec::Fault;
use step::{
    EnvironmentState, NAMES, Result, Run, Status, is_environment, spec_keys, spec_version, status_key, write,
};

use crate::Accept;

/// Writes the status that such an object is owed, and answers what it says.
pub(crate) async fn tell(accept: &Accept, key: &str, run: &Run) -> Result<String> {
    let name = &run.environment;
    let version = spec_version(&accept.s3, &accept.bucket, &spec_keys(name)).await?;
    let fault = Fault { line: 1, column: 1, path: "spec".to_owned(), message: message(key, name) };
    let status = match (accept.status(name).await?, &version) {
        (None, None) => return Ok(format!("{key} is gone")),
        (_, Some(_)) => {
            Status { faults: vec![fault], ..status(EnvironmentState::Rejected, run, version.clone()) }
        }
        (Some(_), None) => status(EnvironmentState::Destroyed, run, None),
    };
    write(&accept.s3, &accept.bucket, &status_key(name), &status).await?;
    accept.tell(&status).await?;
    Ok(status.faults.first().map_or_else(|| format!("{key} is gone"), |fault| fault.message.clone()))
}

fn status(state: EnvironmentState, run: &Run, version: Option<String>) -> Status {
    Status { version, ..Status::new(&run.environment, state, &run.id) }
}

/// What is wrong with the key, and how it might be.
fn message(key: &str, name: &str) -> String {
    let letters = name.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let parts: Vec<&str> = letters.split('-').filter(|part| !part.is_empty()).collect();
    let nearest = parts.join("-");
    let instead = if is_environment(&nearest) { format!(", such as {nearest}") } else { String::new() };
    format!(
        "no environment can be called {name:?}: {NAMES}; delete {key:?}, and upload it under another name{instead}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_told() {
        for (name, nearest) in [("UPPER", "upper"), ("a b", "a-b"), ("shop.v2", "shop-v2")] {
            let told = message("key", name);
            assert!(told.ends_with(&format!("under another name, such as {nearest}")), "{told}");
        }
        assert!(message("key", "1st").ends_with("under another name"));
    }
}

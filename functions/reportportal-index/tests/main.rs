//! How the Lambda starts.

use std::process::Command;

#[test]
fn without_traefiks_address_it_does_not_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_reportportal-index"))
        .env_remove("TRAEFIK_SERVICES_URL")
        .output()
        .expect("an end");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("reading TRAEFIK_SERVICES_URL: environment variable not found"), "{error}");
}

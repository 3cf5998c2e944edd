//! AWS on this machine answers as AWS's documents say.

use std::process::Command;

#[test]
fn each_mend_does_what_it_says() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| ".venv/bin/python".to_owned());
    let checks =
        Command::new(python).args(["-m", "infra.local.selftest"]).current_dir(tests::root()).output();
    let checks = checks.expect("the checks: `make .venv/ready` makes the Python they need");
    assert!(
        checks.status.success(),
        "{}{}",
        String::from_utf8_lossy(&checks.stdout),
        String::from_utf8_lossy(&checks.stderr)
    );
}

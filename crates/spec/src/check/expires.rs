//! How long an environment may stand.

use super::Check;
use crate::Duration;

/// The longest: ten years.
const LIMIT: Duration = Duration::from_seconds(3650 * 24 * 60 * 60);

pub(super) fn check(check: &mut Check<'_>) {
    let Some(expires) = check.spec.expires else { return };
    if expires.after.seconds() == 0 || expires.after > LIMIT {
        check.fault(
            &["expires", "after"],
            format!(
                "{} is no time an environment can stand for; write one such as 8h, at most {LIMIT}",
                expires.after
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::{Then, parse};

    fn of(expires: &str) -> String {
        format!("apiVersion: plinth/v1\nname: demo\nexpires: {expires}\n")
    }

    #[test]
    fn an_environment_that_expires_is_destroyed_unless_it_is_to_pause() {
        let then = |expires: &str| {
            let spec = parse(&of(expires), None).expect("a spec");
            spec.expires.map(|expires| (expires.after.to_string(), expires.then))
        };
        assert_eq!(then("{ after: 8h }"), Some(("8h".to_owned(), Then::Destroy)));
        assert_eq!(then("{ after: 45s, then: pause }"), Some(("45s".to_owned(), Then::Pause)));
    }

    #[rstest]
    #[case(
        "{ after: 0h }",
        "3:19: expires.after: 0d is no time an environment can stand for; write one such as 8h"
    )]
    #[case("{ after: 99999d }", "3:19: expires.after: 99999d is no time an environment can stand for")]
    #[case("{ after: 8h, then: stop }", "there are destroy, pause")]
    #[case("{ then: pause }", "`after` is missing: How long after the upload, such as `8h`")]
    #[case(
        "{ after: tomorrow }",
        "\"tomorrow\" is no length of time; write a number and s, m, h or d, such as 7d: How long after the upload"
    )]
    fn what_is_no_expiry_is_told_with_the_remedy(#[case] expires: &str, #[case] told: &str) {
        let faults = parse(&of(expires), None).expect_err("faults").to_string();
        assert!(faults.contains(told), "{faults}");
    }
}

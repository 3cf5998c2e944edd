//! What keeps data: keys, secrets, repositories, buckets, file systems.

use super::Check;
use crate::Duration;

pub(super) fn check(check: &mut Check<'_>) {
    key(check);
    secrets(check);
    repositories(check);
    buckets(check);
    file_systems(check);
}

/// Source: <https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html>
fn key(check: &mut Check<'_>) {
    let Some(key) = &check.spec.key else { return };
    if let Some(recovery) = key.recovery
        && !recovery.whole_days().is_some_and(|days| (7..=30).contains(&days))
    {
        check.fault(
            &["key", "recovery"],
            format!("{recovery} is no time a key can be restored in; write 7d to 30d"),
        );
    }
    if key.name.as_ref().is_some_and(|name| name == "aws" || name.starts_with("aws/")) {
        check.fault(&["key", "name"], "aliases that begin with aws/ are AWS's own");
    }
}

/// The most characters of a secret's value.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
const VALUE: usize = 65_536;

/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html>
fn secrets(check: &mut Check<'_>) {
    for (key, secret) in &check.spec.secrets {
        if secret.generate.is_some() && secret.compose.is_some() {
            check.fault(&["secrets", key], "a value is generated or composed; leave one of the two out");
        }
        if secret.compose.as_ref().is_some_and(|compose| compose.parts.is_empty()) {
            check.fault(
                &["secrets", key, "compose"],
                "a secret's value has at least one character; write what it is made of, or leave the line out",
            );
        }
        if secret.compose.as_ref().is_some_and(|compose| compose.to_string().len() > VALUE) {
            check.fault(
                &["secrets", key, "compose"],
                format!("a secret's value has at most {VALUE} characters; write a shorter one"),
            );
        }
        if let Some(username) = secret.generate.as_ref().and_then(|generate| generate.username.as_ref())
            && (username.is_empty() || username.len() > 128 || username.chars().any(char::is_control))
        {
            check.fault(&["secrets", key, "generate", "username"], "a user name has 1 to 128 characters");
        }
        let Some(recovery) = secret.recovery else { continue };
        if !recovery.whole_days().is_some_and(|days| days == 0 || (7..=30).contains(&days)) {
            check.fault(
                &["secrets", key, "recovery"],
                format!("{recovery} is no time a secret can be kept for; write 0d, or 7d to 30d"),
            );
        }
    }
}

/// The most days that S3 and ECR count.
const DAYS: u64 = 2_147_483_647;

fn whole_days(time: Duration) -> bool {
    time.whole_days().is_some_and(|days| (1..=DAYS).contains(&days))
}

fn repositories(check: &mut Check<'_>) {
    for (key, repository) in &check.spec.repositories {
        let Some(untagged) = &repository.untagged else { continue };
        if !whole_days(untagged.expire) {
            check.fault(
                &["repositories", key, "untagged", "expire"],
                format!("images expire after whole days, not {}; write 1d or more", untagged.expire),
            );
        }
    }
}

fn buckets(check: &mut Check<'_>) {
    for (key, bucket) in &check.spec.buckets {
        for (word, expire) in [("expire", bucket.expire), ("expireVersions", bucket.expire_versions)] {
            let Some(expire) = expire else { continue };
            if !whole_days(expire) {
                check.fault(
                    &["buckets", key, word],
                    format!("objects expire after whole days, not {expire}; write 1d or more"),
                );
            }
        }
        if bucket.protect && bucket.force_delete {
            check.fault(
                &["buckets", key, "forceDelete"],
                "a protected bucket isn't deleted; leave one of the two out",
            );
        }
        if bucket.expire_versions.is_some() && !bucket.versioned {
            check.fault(
                &["buckets", key, "expireVersions"],
                "this bucket keeps no older versions; write `versioned: true`, or leave the line out",
            );
        }
        let Some(name) = &bucket.name else { continue };
        if let Some(why) = refused(name) {
            check.fault(&["buckets", key, "name"], format!("S3 takes no bucket named {name}: {why}"));
        }
    }
}

/// What bucket names may not begin and end with.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
const BEGINS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const ENDS: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Why there can be no bucket of this name; none if there can.
fn refused(name: &str) -> Option<String> {
    if let Some(begin) = BEGINS.into_iter().find(|begin| name.starts_with(begin)) {
        return Some(format!("names that begin with {begin} are its own"));
    }
    if let Some(end) = ENDS.into_iter().find(|end| name.ends_with(end)) {
        return Some(format!("names that end with {end} are its own"));
    }
    if name.contains("..") {
        return Some("two dots stand side by side".to_owned());
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("it is an address".to_owned());
    }
    let plinth = name.strip_prefix("plinth-").unwrap_or_default();
    let of_account =
        plinth.split('-').any(|part| part.len() == 12 && part.bytes().all(|c| c.is_ascii_digit()));
    of_account.then(|| "control planes have buckets called plinth-<account>-<region>".to_owned())
}

/// Source: <https://docs.aws.amazon.com/efs/latest/ug/API_PosixUser.html>
fn file_systems(check: &mut Check<'_>) {
    const MOST: i64 = 4_294_967_295;
    for (key, file_system) in &check.spec.file_systems {
        for (name, point) in &file_system.access_points {
            if point.ids().is_none_or(|(user, group)| user > MOST || group > MOST) {
                check.fault(
                    &["fileSystems", key, "accessPoints", name, "owner"],
                    format!("{} is no user and group; numbers go up to {MOST}", point.owner),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("shop-data", false)]
    #[case("plinth-data", false)]
    #[case("plinth-123456789012-eu-west-1", true)]
    #[case("plinth-artifacts-123456789012-eu-west-1", true)]
    #[case("192.168.5.4", true)]
    #[case("xn--shop", true)]
    #[case("shop--x-s3", true)]
    #[case("shop..data", true)]
    fn s3_keeps_some_names_and_so_does_plinth(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(refused(name).is_some(), expected);
    }
}

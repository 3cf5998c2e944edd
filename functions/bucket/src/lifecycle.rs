//! A bucket's lifecycle rules.

use aws_sdk_s3::{
    Client,
    types::{
        AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration,
        LifecycleRule, LifecycleRuleFilter, NoncurrentVersionExpiration,
    },
};
use spec::{Bucket, Duration};
use step::{Doing, Error, Result};

/// After how many days the parts of an upload that was never completed go: nobody sees them, and they
/// cost.
const INCOMPLETE_DAYS: i32 = 7;

pub(crate) fn wanted(bucket: &Bucket) -> Result<Vec<LifecycleRule>> {
    let days = |duration: Option<Duration>| {
        duration.and_then(Duration::whole_days).and_then(|days| i32::try_from(days).ok())
    };
    let incomplete = AbortIncompleteMultipartUpload::builder().days_after_initiation(INCOMPLETE_DAYS).build();
    let objects = days(bucket.expire).map(|days| LifecycleExpiration::builder().days(days).build());
    let versions = days(bucket.expire_versions)
        .map(|days| NoncurrentVersionExpiration::builder().noncurrent_days(days).build());
    let rule = LifecycleRule::builder()
        .id("plinth")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(incomplete)
        .set_expiration(objects)
        .set_noncurrent_version_expiration(versions)
        .build()
        .map_err(broken)?;
    Ok(vec![rule])
}

pub(crate) async fn find(s3: &Client, name: &str) -> Result<Vec<LifecycleRule>> {
    let answer = s3.get_bucket_lifecycle_configuration().bucket(name).send().await;
    let answer = answer.unless_absent(&["NoSuchLifecycleConfiguration"], || {
        format!("reading the lifecycle of S3 bucket ({name})")
    })?;
    Ok(answer.and_then(|answer| answer.rules).unwrap_or_default())
}

/// The rules in a line, to compare and to show.
pub(crate) fn told(rules: &[LifecycleRule]) -> String {
    let days = |word: &str, days: Option<i32>| days.map(|days| format!("{word} {days}d"));
    let rule = |rule: &LifecycleRule| {
        let parts = [
            (rule.status() != &ExpirationStatus::Enabled).then(|| "off".to_owned()),
            rule.filter()
                .and_then(LifecycleRuleFilter::prefix)
                .filter(|prefix| !prefix.is_empty())
                .map(str::to_owned),
            days("objects", rule.expiration().and_then(LifecycleExpiration::days)),
            days(
                "versions",
                rule.noncurrent_version_expiration().and_then(NoncurrentVersionExpiration::noncurrent_days),
            ),
            days(
                "uploads",
                rule.abort_incomplete_multipart_upload()
                    .and_then(AbortIncompleteMultipartUpload::days_after_initiation),
            ),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    if rules.is_empty() {
        return "none".to_owned();
    }
    rules.iter().map(rule).collect::<Vec<_>>().join("; ")
}

pub(crate) async fn put(s3: &Client, name: &str, rules: &[LifecycleRule]) -> Result<()> {
    let configuration =
        BucketLifecycleConfiguration::builder().set_rules(Some(rules.to_vec())).build().map_err(broken)?;
    let put = s3.put_bucket_lifecycle_configuration().bucket(name);
    let put = put.lifecycle_configuration(configuration).send().await;
    put.doing(|| format!("putting the lifecycle of S3 bucket ({name})"))?;
    Ok(())
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("writing a lifecycle: {error}"))
}

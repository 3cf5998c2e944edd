//! Which version of its spec an environment has.

use aws_sdk_s3::Client;

use crate::{Doing, Result};

/// The current version of the spec that lies under these keys; none if there is none. Of several specs,
/// which no run carries out, it is all versions in a row, so that it is another once one of them goes.
pub async fn spec_version(s3: &Client, bucket: &str, keys: &[String]) -> Result<Option<String>> {
    let mut versions = Vec::new();
    for key in keys {
        let head = s3.head_object().bucket(bucket).key(key).send().await;
        let what = || format!("looking at s3://{bucket}/{key}");
        let head = head.unless_absent(&["NotFound", "NoSuchKey"], what)?;
        versions.extend(head.and_then(|head| head.version_id));
    }
    versions.sort();
    Ok((!versions.is_empty()).then(|| versions.join(" ")))
}

//! The keys of a bucket.

use aws_sdk_s3::{Client, types::EncodingType};

use crate::{Doing, Result};

/// The keys that begin so. Any key may lie in a bucket, and some have characters that XML can't hold: S3 is asked to
/// encode them.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
pub async fn list(s3: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let pages = s3.list_objects_v2().bucket(bucket).prefix(prefix).encoding_type(EncodingType::Url);
    let pages: std::result::Result<Vec<_>, _> = pages.into_paginator().send().collect().await;
    let pages = pages.doing(|| format!("listing s3://{bucket}/{prefix}"))?;
    let mut keys = Vec::new();
    for page in pages {
        let found = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        keys.extend(found.map(|key| as_it_is(&key, page.encoding_type.as_ref())));
    }
    Ok(keys)
}

/// A key of a listing as it is. A server that doesn't know the parameter `encoding-type` says so by leaving it out of
/// its answer.
pub fn as_it_is(key: &str, encoding: Option<&EncodingType>) -> String {
    if encoding == Some(&EncodingType::Url) { decoded(key) } else { key.to_owned() }
}

/// A key as it was before S3 encoded it: `%` and two digits for a byte, `+` for a space.
fn decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes().iter();
    while let Some(byte) = rest.next() {
        let digits = rest.as_slice().get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (*byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest.nth(1);
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_characters_is_told_as_it_is() {
        for (encoded, key) in [
            ("environments/demo.yaml", "environments/demo.yaml"),
            ("environments/a%01b.yaml", "environments/a\u{1}b.yaml"),
            ("a+b%2Bc", "a b+c"),
            ("%C3%BC%", "ü%"),
        ] {
            assert_eq!(decoded(encoded), key);
        }
    }
}

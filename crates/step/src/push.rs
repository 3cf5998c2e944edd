//! An image that was pushed: what ECR says of it, and what is kept of it for a run that is under way.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An image that was pushed to a repository, as ECR's event tells it.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository's account.
    pub account: String,
    /// The repository's region: such events are regional.
    pub region: String,
    /// The repository's name.
    pub repository: String,
    /// The tag; empty if the image was pushed by its digest alone.
    pub tag: String,
}

impl Push {
    /// Reads an execution's input; none if it is no such event.
    pub fn read(input: &Value) -> Option<Self> {
        let text = |path: &str| input.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/source") == "aws.ecr" && text("/detail/action-type") == "PUSH").then(|| Self {
            account: text("/account"),
            region: text("/region"),
            repository: text("/detail/repository-name"),
            tag: text("/detail/image-tag"),
        })
    }
}

/// The latest push that services of an environment follow: a run that began before it may have passed the services
/// by, and the next is started when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The image: `<repository>:<tag>`.
    pub image: String,
    /// When it was heard of.
    pub at: Timestamp,
}

/// The object that tells the latest push.
pub fn pushed_key(environment: &str) -> String {
    format!("runs/{environment}/pushed.json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_that_was_pushed_is_known_by_its_event() {
        let detail = json!({ "action-type": "PUSH", "result": "SUCCESS", "repository-name": "app", "image-tag": "v1" });
        let event = json!({ "source": "aws.ecr", "account": "1", "region": "eu-west-1", "detail": detail });
        let push = Push::read(&event).expect("a push");
        assert_eq!((push.repository.as_str(), push.tag.as_str()), ("app", "v1"));
        assert_eq!((push.account.as_str(), push.region.as_str()), ("1", "eu-west-1"));
    }

    #[test]
    fn other_inputs_are_no_push() {
        for input in [
            json!({ "environment": "demo" }),
            json!({ "source": "aws.ecr", "detail": { "action-type": "DELETE" } }),
            json!({ "source": "aws.s3", "detail": { "object": { "key": "environments/demo.yaml" } } }),
        ] {
            assert_eq!(Push::read(&input), None, "{input}");
        }
    }
}

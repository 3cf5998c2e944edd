//! Where the control plane is, and how to speak to it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client as S3;
use aws_sdk_sfn::Client as StepFunctions;
use aws_sdk_sts::Client as Sts;
use step::{Doing, Error, Result, Status, list, read_if_there, spec_keys, status_key};

use crate::credentials;

/// An object that holds an environment's spec.
pub(crate) struct Stored {
    pub(crate) key: String,
    pub(crate) version: Option<String>,
}

/// The control plane of an account and region.
pub(crate) struct ControlPlane {
    pub(crate) aws: SdkConfig,
    pub(crate) s3: S3,
    pub(crate) sfn: StepFunctions,
    pub(crate) bucket: String,
    /// The ARN of the `environment` machine.
    pub(crate) machine: String,
}

impl ControlPlane {
    /// Finds it with the environment's credentials and region (`AWS_PROFILE`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`).
    pub(crate) async fn connect(bucket: Option<String>) -> Result<Self> {
        let aws = step::config().await;
        credentials::check(&aws).await?;
        let region = aws.region().map(ToString::to_string).ok_or_else(|| {
            Error::Failed("no region is set: set AWS_REGION, or a region in your AWS profile".to_owned())
        })?;
        let caller = Sts::new(&aws).get_caller_identity().send().await;
        if let Some(refused) =
            caller.as_ref().err().and_then(|error| credentials::refused(error, aws.endpoint_url()))
        {
            return Err(refused);
        }
        let caller = caller.doing(|| "asking AWS who you are (see `aws sts get-caller-identity`)")?;
        let account = caller.account().unwrap_or_default();
        let partition = caller.arn().and_then(|arn| arn.split(':').nth(1)).unwrap_or("aws");
        let bucket = bucket.unwrap_or_else(|| format!("plinth-{account}-{region}"));
        let s3 = S3::new(&aws);
        let head = s3.head_bucket().bucket(&bucket).send().await;
        let head =
            head.unless_absent(&["NotFound", "NoSuchBucket"], || format!("looking at s3://{bucket}"))?;
        if head.is_none() {
            return Err(Error::Failed(format!(
                "no control plane's bucket is called {bucket}: deploy one with `make deploy`, or name its bucket with --bucket"
            )));
        }
        Ok(Self {
            s3,
            sfn: StepFunctions::new(&aws),
            bucket,
            machine: format!("arn:{partition}:states:{region}:{account}:stateMachine:plinth-environment"),
            aws,
        })
    }

    /// How an environment stands; none if it was never heard of.
    pub(crate) async fn status(&self, name: &str) -> Result<Option<Status>> {
        read_if_there(&self.s3, &self.bucket, &status_key(name)).await
    }

    /// The objects that hold an environment's spec: one, or none.
    pub(crate) async fn specs(&self, name: &str) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        for key in spec_keys(name) {
            let head = self.s3.head_object().bucket(&self.bucket).key(&key).send().await;
            let head = head.unless_absent(&["NotFound", "NoSuchKey"], || {
                format!("looking at s3://{}/{key}", self.bucket)
            });
            found.extend(head?.map(|head| Stored { key, version: head.version_id }));
        }
        Ok(found)
    }

    /// The keys of the bucket that begin so.
    pub(crate) async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        list(&self.s3, &self.bucket, prefix).await
    }

    /// Whether these bytes are what lies there as an environment's spec, and in which version.
    pub(crate) async fn stored(&self, name: &str, text: &[u8]) -> Result<Option<String>> {
        let mut specs = self.specs(name).await?;
        let (Some(Stored { key, .. }), true) = (specs.pop(), specs.is_empty()) else { return Ok(None) };
        let what = || format!("reading s3://{}/{key}", self.bucket);
        let object = self.s3.get_object().bucket(&self.bucket).key(&key).send().await;
        let Some(object) = object.unless_absent(&["NoSuchKey"], what)? else { return Ok(None) };
        let version = object.version_id().map(str::to_owned);
        let read = object.body.collect().await;
        let bytes = read.map_err(|error| Error::Throttled(format!("{}: {error}", what())))?;
        Ok(version.filter(|_| bytes.into_bytes() == text))
    }

    /// Where the console shows an execution of the `environment` machine; none for a control plane on this machine.
    pub(crate) fn console(&self, run: &str) -> Option<String> {
        if self.aws.endpoint_url().is_some() {
            return None;
        }
        let execution = format!("{}:{run}", self.machine.replace(":stateMachine:", ":execution:"));
        let region = self.machine.split(':').nth(3).unwrap_or_default();
        let host = match self.machine.split(':').nth(1) {
            Some("aws-cn") => "console.amazonaws.cn",
            Some("aws-us-gov") => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        Some(format!(
            "https://{region}.{host}/states/home?region={region}#/v2/executions/details/{execution}"
        ))
    }

    /// How often to look how far a run is. A control plane on this machine is asked more often.
    pub(crate) fn pace(&self) -> Duration {
        let millis = if self.aws.endpoint_url().is_some() { 200 } else { 2000 };
        Duration::from_millis(millis)
    }
}

//! Tags of API Gateway's resources, which are named by paths.

use std::collections::BTreeMap;

use aws_sdk_apigateway::Client;
use step::{Context, Doing, Result, missing_tags};

/// Puts back the tags that the resource at this path lost, or got in the spec since it was made.
pub(crate) async fn ensure(
    api: &Client,
    context: &Context,
    path: &str,
    found: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Result<()> {
    if missing_tags(found, wanted).is_empty() {
        return Ok(());
    }
    let arn = format!("arn:{}:apigateway:{}::{path}", context.partition(), context.run.region);
    let tags = wanted.clone().into_iter().collect();
    let put = api.tag_resource().resource_arn(arn).set_tags(Some(tags)).send().await;
    put.doing(|| format!("tagging {path} of API Gateway"))?;
    Ok(())
}

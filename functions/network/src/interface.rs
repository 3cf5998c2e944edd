//! Network interfaces that hold what is to go: those of others, which AWS takes away in its own time.

use aws_sdk_ec2::{Client, types::NetworkInterface};
use step::{Context, Doing, Error, Latency, Result};

use crate::ours::filter;

/// What the description of a Lambda function's interface begins with.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-enis>
const OF_LAMBDA: &str = "AWS Lambda VPC ENI";

/// The outcome of a deletion that EC2 refuses as long as something is in use: who still holds it. `by` is the
/// filter that finds the interfaces, `group-id` or `subnet-id`.
pub(crate) async fn told(
    ec2: &Client,
    context: &Context,
    (by, id): (&str, &str),
    deleted: Result<()>,
) -> Result<()> {
    let Err(Error::NotReady { message, .. }) = deleted else { return deleted };
    let found = ec2.describe_network_interfaces().filters(filter(by, id)).send().await;
    let found = found.doing(|| format!("looking for the network interfaces in {id}"))?;
    let names: Vec<&str> =
        found.network_interfaces().iter().filter_map(NetworkInterface::description).collect();
    if names.iter().any(|name| name.starts_with(OF_LAMBDA)) {
        let doing =
            format!("{message}: network interfaces of Lambda functions that are gone are still in {id}");
        return Err(Latency::of("lambda-interface-release").wait(&doing, context.since));
    }
    if names.is_empty() {
        return Err(Error::soon(message));
    }
    Err(Error::soon(format!("{message}: network interfaces are still in {id}: {}", names.join(", "))))
}

//! Who holds what is to go: network interfaces of others, which AWS takes away in its own time, and rules that name
//! a group.

use std::collections::BTreeSet;

use aws_sdk_ec2::{
    Client,
    types::{Filter, NetworkInterface},
};
use step::{Context, Doing, Error, Latency, Result};

/// What the description of a Lambda function's interface begins with.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-enis>
const OF_LAMBDA: &str = "AWS Lambda VPC ENI";

/// What can't go as long as something is in use in it.
pub enum Held<'a> {
    /// A security group, by its id.
    Group(&'a str),
    /// A subnet, by its id.
    Subnet(&'a str),
}

impl Held<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Group(id) | Self::Subnet(id) => id,
        }
    }

    fn filter(&self) -> Filter {
        match self {
            Self::Group(id) => filter("group-id", id),
            Self::Subnet(id) => filter("subnet-id", id),
        }
    }
}

/// The outcome of a deletion that EC2 refuses as long as something is in use: who still holds it.
pub async fn held(ec2: &Client, context: &Context, what: Held<'_>, deleted: Result<()>) -> Result<()> {
    let Err(Error::NotReady { message, .. }) = deleted else { return deleted };
    let id = what.id();
    let found = ec2.describe_network_interfaces().filters(what.filter()).send().await;
    let found = found.doing(|| format!("looking for the network interfaces in {id}"))?;
    let names: Vec<&str> =
        found.network_interfaces().iter().filter_map(NetworkInterface::description).collect();
    if names.iter().any(|name| name.starts_with(OF_LAMBDA)) {
        let doing =
            format!("{message}: network interfaces of Lambda functions that are gone are still in {id}");
        return Err(Latency::of("lambda-interface-release").wait(&doing, context.since));
    }
    if !names.is_empty() {
        return Err(Error::soon(format!(
            "{message}: network interfaces are still in {id}: {}",
            names.join(", ")
        )));
    }
    let Held::Group(group) = what else { return Err(Error::soon(message)) };
    let groups = naming(ec2, group).await?;
    if groups.is_empty() {
        return Err(Error::soon(message));
    }
    Err(Error::soon(format!("{message}: rules of other security groups name {id}: {}", groups.join(", "))))
}

/// The security groups whose rules name this one, each with its id and name.
async fn naming(ec2: &Client, group: &str) -> Result<Vec<String>> {
    let mut groups = Vec::new();
    for direction in ["ip-permission.group-id", "egress.ip-permission.group-id"] {
        let found = ec2.describe_security_groups().filters(filter(direction, group)).send().await;
        let found = found.doing(|| format!("looking for the security groups whose rules name {group}"))?;
        groups.extend(found.security_groups.unwrap_or_default());
    }
    let others = groups.iter().filter(|found| found.group_id() != Some(group));
    let named = others.map(|found| {
        format!("{} ({})", found.group_id().unwrap_or_default(), found.group_name().unwrap_or_default())
    });
    let named: BTreeSet<String> = named.collect();
    Ok(named.into_iter().collect())
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::{
        error::ErrorMetadata,
        operation::{
            delete_security_group::DeleteSecurityGroupError,
            describe_network_interfaces::DescribeNetworkInterfacesOutput,
            describe_security_groups::DescribeSecurityGroupsOutput,
        },
        types::SecurityGroup,
    };
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use spec::Spec;
    use step::{Operation, Outputs};

    use super::*;

    /// What is said of a group that EC2 refuses to delete.
    async fn refused(interfaces: &[&'static str], naming: &[&'static str]) -> Error {
        let interface = |description: &&str| NetworkInterface::builder().description(*description).build();
        let interfaces: Vec<_> = interfaces.iter().map(interface).collect();
        let group = |name: &&str| SecurityGroup::builder().group_id("sg-other").group_name(*name).build();
        let groups: Vec<_> = naming.iter().map(group).collect();
        let rules = [
            mock!(Client::delete_security_group).then_error(|| {
                let error = ErrorMetadata::builder().code("DependencyViolation");
                DeleteSecurityGroupError::generic(
                    error.message("resource sg-1 has a dependent object").build(),
                )
            }),
            mock!(Client::describe_network_interfaces).then_output(move || {
                DescribeNetworkInterfacesOutput::builder()
                    .set_network_interfaces(Some(interfaces.clone()))
                    .build()
            }),
            mock!(Client::describe_security_groups).then_output(move || {
                DescribeSecurityGroupsOutput::builder().set_security_groups(Some(groups.clone())).build()
            }),
        ];
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &rules);
        let context = step::test::context(Operation::Prune, Spec::empty("demo"), Outputs::default());
        crate::delete(&ec2, &context, "sg-1", "network.group").await.unwrap_err()
    }

    #[tokio::test]
    async fn a_group_that_is_in_use_is_waited_for_and_what_holds_it_is_told() {
        let message = "deleting security group network.group (sg-1): resource sg-1 has a dependent object";
        for (interfaces, naming, told) in [
            (vec!["ELB app/other"], vec![], ": network interfaces are still in sg-1: ELB app/other"),
            (vec![], vec!["bastion"], ": rules of other security groups name sg-1: sg-other (bastion)"),
            (vec![], vec![], ""),
        ] {
            let error = refused(&interfaces, &naming).await;
            assert_eq!((error.kind(), error.to_string()), ("NotReadySoon", format!("{message}{told}")));
        }
        let error = refused(&["AWS Lambda VPC ENI-demo"], &[]).await;
        assert!(error.to_string().contains("Lambda functions that are gone"), "{error}");
    }
}

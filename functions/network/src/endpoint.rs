//! VPC endpoints: S3 and `DynamoDB` by routes, every other AWS service by interfaces.

use std::collections::BTreeSet;

use aws_sdk_ec2::{
    Client,
    types::{ResourceType, VpcEndpoint, VpcEndpointType},
};
use spec::Network;
use step::{Change, Context, Doing, Error, Field, Latency, Result, compare, missing_tags, side_by_side};

use crate::ours::{self, Found, Ours};

/// An endpoint the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    name: String,
    service: String,
    reach: Reach,
}

/// How the VPC reaches the service.
enum Reach {
    /// By a route in these tables.
    Gateway(BTreeSet<String>),
    /// By interfaces in these subnets, under this group.
    Interface { subnets: BTreeSet<String>, group: String },
}

/// Whether AWS reaches this service by routes.
/// Source: <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>
fn by_route(service: &str) -> bool {
    ["s3", "dynamodb"].contains(&service)
}

/// Whether any endpoint needs the endpoints' group.
pub(crate) fn any_interface(network: &Network) -> bool {
    network.endpoints.iter().any(|service| !by_route(service))
}

pub(crate) fn address(service: &str) -> String {
    format!("network.endpoints.{service}")
}

pub(crate) fn wanted(
    context: &Context,
    network: &Network,
    tables: &[String],
    subnets: &[String],
    group: Option<&String>,
) -> Vec<Wanted> {
    let of = |service: &String| Wanted {
        address: address(service),
        name: context.label(service),
        service: format!("com.amazonaws.{}.{service}", context.run.region),
        reach: if by_route(service) {
            Reach::Gateway(tables.iter().cloned().collect())
        } else {
            Reach::Interface {
                subnets: subnets.iter().cloned().collect(),
                group: group.cloned().unwrap_or_default(),
            }
        },
    };
    network.endpoints.iter().map(of).collect()
}

/// What is to be waited for before the endpoints can be used.
pub(crate) async fn ensure(
    ec2: &Client,
    context: &Context,
    vpc: &str,
    wanted: &[Wanted],
    found: &Found,
) -> Result<Vec<Error>> {
    let one = async |wanted: &Wanted| {
        let endpoint = match ours::first(&found.endpoints, &wanted.address) {
            None => create(ec2, context, vpc, wanted).await?,
            Some(endpoint) => {
                ours::retag(ec2, context, endpoint, &wanted.name).await?;
                update(ec2, &endpoint.id, &endpoint.aws, wanted).await?;
                endpoint.aws.clone()
            }
        };
        wait(&endpoint, wanted)
    };
    Ok(side_by_side(wanted.iter().map(one)).await?.into_iter().flatten().collect())
}

pub(crate) fn plan(context: &Context, wanted: &Wanted, found: &Found) -> Option<Change> {
    match ours::first(&found.endpoints, &wanted.address) {
        None => Some(Change::create(&wanted.address).with("service", &wanted.service)),
        Some(endpoint) => Change::update(&wanted.address, difference(context, endpoint, wanted)),
    }
}

fn difference(context: &Context, found: &Ours<VpcEndpoint>, wanted: &Wanted) -> Vec<Field> {
    let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
    let fields = match &wanted.reach {
        Reach::Gateway(tables) => vec![compare("routeTables", list(&table_ids(&found.aws)), list(tables))],
        Reach::Interface { subnets, group } => vec![
            compare("subnets", list(&subnet_ids(&found.aws)), list(subnets)),
            compare("groups", list(&group_ids(&found.aws)), group.clone()),
        ],
    };
    let tags = ours::tags(context, &wanted.address, &wanted.name);
    fields.into_iter().flatten().chain(missing_tags(&found.tags, &tags)).collect()
}

/// EC2 documents the states capitalised and answers them in small letters.
pub(crate) fn state(endpoint: &VpcEndpoint) -> String {
    endpoint.state().map_or("in no state".to_owned(), |state| state.as_str().to_lowercase())
}

fn table_ids(endpoint: &VpcEndpoint) -> BTreeSet<String> {
    endpoint.route_table_ids().iter().cloned().collect()
}

fn subnet_ids(endpoint: &VpcEndpoint) -> BTreeSet<String> {
    endpoint.subnet_ids().iter().cloned().collect()
}

fn group_ids(endpoint: &VpcEndpoint) -> BTreeSet<String> {
    endpoint.groups().iter().filter_map(|group| group.group_id.clone()).collect()
}

async fn create(ec2: &Client, context: &Context, vpc: &str, wanted: &Wanted) -> Result<VpcEndpoint> {
    let call = ec2
        .create_vpc_endpoint()
        .vpc_id(vpc)
        .service_name(&wanted.service)
        .client_token(context.token(&wanted.address))
        .tag_specifications(ours::tagged(context, ResourceType::VpcEndpoint, &wanted.address, &wanted.name));
    let call = match &wanted.reach {
        Reach::Gateway(tables) => call
            .vpc_endpoint_type(VpcEndpointType::Gateway)
            .set_route_table_ids(Some(tables.iter().cloned().collect())),
        Reach::Interface { subnets, group } => call
            .vpc_endpoint_type(VpcEndpointType::Interface)
            .set_subnet_ids(Some(subnets.iter().cloned().collect()))
            .security_group_ids(group)
            .private_dns_enabled(true),
    };
    let doing = || format!("creating VPC endpoint ({})", wanted.name);
    let created = crate::young_unless(call.send().await, "InvalidServiceName", doing)?.ok_or_else(|| {
        Error::InvalidSpec(format!(
            "network.endpoints: there is no service {} to reach; `aws ec2 describe-vpc-endpoint-services` lists \
             those there are",
            wanted.service
        ))
    })?;
    created.vpc_endpoint.ok_or_else(|| Error::Failed(format!("{}: no endpoint answered", doing())))
}

async fn update(ec2: &Client, id: &str, found: &VpcEndpoint, wanted: &Wanted) -> Result<()> {
    let minus = |from: &BTreeSet<String>, what: &BTreeSet<String>| -> Option<Vec<String>> {
        let left: Vec<String> = from.difference(what).cloned().collect();
        (!left.is_empty()).then_some(left)
    };
    let call = ec2.modify_vpc_endpoint().vpc_endpoint_id(id);
    let (call, differs) = match &wanted.reach {
        Reach::Gateway(tables) => {
            let found = table_ids(found);
            let call = call.set_add_route_table_ids(minus(tables, &found));
            (call.set_remove_route_table_ids(minus(&found, tables)), found != *tables)
        }
        Reach::Interface { subnets, group } => {
            let (in_subnets, in_groups) = (subnet_ids(found), group_ids(found));
            let groups = BTreeSet::from([group.clone()]);
            let call = call
                .set_add_subnet_ids(minus(subnets, &in_subnets))
                .set_remove_subnet_ids(minus(&in_subnets, subnets))
                .set_add_security_group_ids(minus(&groups, &in_groups))
                .set_remove_security_group_ids(minus(&in_groups, &groups));
            (call, in_subnets != *subnets || in_groups != groups)
        }
    };
    if differs {
        call.send().await.doing(|| format!("changing VPC endpoint ({})", wanted.name))?;
    }
    Ok(())
}

/// Why the endpoint can't be used yet.
fn wait(endpoint: &VpcEndpoint, wanted: &Wanted) -> Result<Option<Error>> {
    match state(endpoint).as_str() {
        "available" => Ok(None),
        "failed" | "rejected" | "expired" => {
            let reason = endpoint.last_error().and_then(|error| error.message()).unwrap_or("no reason given");
            Err(Error::Failed(format!(
                "creating VPC endpoint ({}): {reason}; delete it, then start the run again",
                wanted.name
            )))
        }
        state => {
            let doing = format!("VPC endpoint ({}) is {state}", wanted.name);
            let since = crate::time(endpoint.creation_timestamp())?;
            Ok(Some(Latency::of("interface-endpoint").wait(&doing, since)))
        }
    }
}

/// Asks for the deletion of all at once; [`gone`] says when they are gone.
pub(crate) async fn delete(ec2: &Client, endpoints: &[Ours<VpcEndpoint>]) -> Result<()> {
    let left = endpoints.iter().filter(|endpoint| state(&endpoint.aws) != "deleting");
    let ids: Vec<String> = left.map(|endpoint| endpoint.id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let deleted = ec2.delete_vpc_endpoints().set_vpc_endpoint_ids(Some(ids.clone())).send().await;
    let deleted = deleted.doing(|| format!("deleting VPC endpoints ({})", ids.join(", ")))?;
    let refused = deleted.unsuccessful().iter().filter_map(|item| Some((item.resource_id()?, item.error()?)));
    let mut real = refused.filter(|(_, error)| error.code() != Some("InvalidVpcEndpointId.NotFound"));
    match real.next() {
        None => Ok(()),
        Some((id, error)) => Err(Error::Failed(format!(
            "deleting VPC endpoint ({id}): {}: {}",
            error.code().unwrap_or_default(),
            error.message().unwrap_or_default()
        ))),
    }
}

/// An endpoint holds its interfaces, and so its subnets and group, until it is gone.
pub(crate) async fn gone(ec2: &Client, endpoint: &Ours<VpcEndpoint>) -> Result<()> {
    let described = ec2.describe_vpc_endpoints().vpc_endpoint_ids(&endpoint.id).send().await;
    let described = described.unless_absent(&["InvalidVpcEndpointId.NotFound"], || {
        format!("describing VPC endpoint ({})", endpoint.id)
    })?;
    let left = described.and_then(|answer| answer.vpc_endpoints).unwrap_or_default();
    match left.first().map(state).as_deref() {
        None | Some("deleted") => Ok(()),
        Some(_) => Err(Error::soon(format!(
            "VPC endpoint {} ({}) is deleting, which takes about a minute",
            endpoint.address, endpoint.id
        ))),
    }
}

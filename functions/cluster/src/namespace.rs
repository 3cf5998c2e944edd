//! The Cloud Map namespace in which services have names: `<service>.<environment>.internal`.
//!
//! Ours is a namespace that carries the owner's tags; it has them from `CreatePrivateDnsNamespace` on, and
//! one more that names its VPC, which Cloud Map doesn't tell. What is in it is the step `service`'s.
//!
//! Cloud Map makes and deletes it by and by, in operations of its own. The same request again answers the
//! operation that is under way, and a VPC takes a name once, so that a lost answer doubles nothing.

use std::{collections::BTreeMap, time::SystemTime};

use aws_sdk_servicediscovery::{
    Client,
    error::ProvideErrorMetadata,
    operation::{
        create_private_dns_namespace::CreatePrivateDnsNamespaceError, delete_namespace::DeleteNamespaceError,
    },
    primitives::DateTime,
    types::{
        FilterCondition, NamespaceFilter, NamespaceFilterName, NamespaceSummary, Operation as Progress,
        OperationFilter, OperationFilterName, OperationStatus, Tag,
    },
};
use step::{Change, Context, Doing, Error, Latency, Operation, Result, UNKNOWN, missing_tags};

pub(crate) const ADDRESS: &str = "cluster.namespace";

/// The tag that says in which VPC a namespace is.
const VPC: &str = "plinth:vpc";

/// What the spec asks for.
struct Wanted {
    name: String,
    vpc: String,
    tags: BTreeMap<String, String>,
}

/// None where no service's name is referred to.
fn wanted(context: &Context) -> Result<Option<Wanted>> {
    if !is_wanted(context) {
        return Ok(None);
    }
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let mut tags = context.tags(ADDRESS);
    if network.vpc != UNKNOWN {
        tags.insert(VPC.to_owned(), network.vpc.clone());
    }
    Ok(Some(Wanted { name: context.namespace(), vpc: network.vpc.clone(), tags }))
}

fn is_wanted(context: &Context) -> bool {
    context.spec.cluster.is_some() && !spec::named_services(&context.spec).is_empty()
}

struct Found {
    id: String,
    arn: String,
    tags: BTreeMap<String, String>,
}

/// Its id, once it is there.
pub(crate) async fn ensure(cloud_map: &Client, context: &Context) -> Result<Option<String>> {
    let Some(wanted) = wanted(context)? else { return Ok(None) };
    let Some(found) = find(cloud_map, context).await? else {
        return Err(create(cloud_map, context, &wanted).await?);
    };
    refuse_other_vpc(&found, &wanted)?;
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        let put = cloud_map.tag_resource().resource_arn(&found.arn).set_tags(Some(tag_list(&wanted.tags)?));
        put.send().await.doing(|| format!("tagging Cloud Map namespace ({})", wanted.name))?;
    }
    Ok(Some(found.id))
}

/// What [`ensure`] would change, and the namespace's id as far as it is known.
pub(crate) async fn plan(cloud_map: &Client, context: &Context) -> Result<(Option<Change>, Option<String>)> {
    let Some(wanted) = wanted(context)? else { return Ok((None, None)) };
    let Some(found) = find(cloud_map, context).await? else {
        let created = Change::create(ADDRESS).with("name", &wanted.name);
        return Ok((Some(created), Some(UNKNOWN.to_owned())));
    };
    refuse_other_vpc(&found, &wanted)?;
    let change = Change::update(ADDRESS, missing_tags(&found.tags, &wanted.tags));
    Ok((change, Some(found.id)))
}

/// Deletes our namespace if nothing refers to a name in it any more; in a plan only names it.
pub(crate) async fn delete_dropped(cloud_map: &Client, context: &Context) -> Result<Vec<Change>> {
    if is_wanted(context) {
        return Ok(Vec::new());
    }
    let Some(found) = find(cloud_map, context).await? else { return Ok(Vec::new()) };
    if context.operation == Operation::Prune {
        delete(cloud_map, context, &found).await?;
    }
    Ok(vec![Change::delete(ADDRESS).with("name", context.namespace())])
}

/// Our namespace. The same name in another VPC, or in another account that shares its own, is no concern of
/// ours.
async fn find(cloud_map: &Client, context: &Context) -> Result<Option<Found>> {
    let name = context.namespace();
    let pages = cloud_map
        .list_namespaces()
        .filters(filter(NamespaceFilterName::Type, "DNS_PRIVATE")?)
        .filters(filter(NamespaceFilterName::Name, &name)?)
        .into_paginator()
        .send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let pages = pages.doing(|| "listing Cloud Map namespaces")?;
    let own = |found: &NamespaceSummary| found.resource_owner().is_none_or(|it| it == context.run.account);
    for found in pages.into_iter().flat_map(|page| page.namespaces.unwrap_or_default()).filter(own) {
        let arn = found.arn.unwrap_or_default();
        let tags = tags(cloud_map, &arn).await?;
        if context.owner().address(&tags) == Some(ADDRESS) {
            return Ok(Some(Found { id: found.id.unwrap_or_default(), arn, tags }));
        }
    }
    Ok(None)
}

fn filter(name: NamespaceFilterName, value: &str) -> Result<NamespaceFilter> {
    let filter = NamespaceFilter::builder().name(name).values(value).condition(FilterCondition::Eq).build();
    filter.map_err(|error| Error::Failed(format!("writing a filter: {error}")))
}

async fn tags(cloud_map: &Client, arn: &str) -> Result<BTreeMap<String, String>> {
    let tags = cloud_map.list_tags_for_resource().resource_arn(arn).send().await;
    let tags = tags.unless_absent(&["ResourceNotFoundException"], || {
        format!("reading the tags of Cloud Map namespace ({arn})")
    })?;
    let tags = tags.and_then(|answer| answer.tags).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// A namespace stays in the VPC it was made in.
/// Source: <https://docs.aws.amazon.com/cloud-map/latest/api/API_UpdatePrivateDnsNamespace.html>
fn refuse_other_vpc(found: &Found, wanted: &Wanted) -> Result<()> {
    match found.tags.get(VPC) {
        Some(vpc) if *vpc != wanted.vpc && wanted.vpc != UNKNOWN => Err(Error::Conflict(format!(
            "Cloud Map namespace ({}) is in {vpc}, and the network is now {}: take every \
             `${{services.x.host}}` out of the spec, so that the namespace goes, and put them back in the \
             next one",
            wanted.name, wanted.vpc
        ))),
        _ => Ok(()),
    }
}

/// Has the namespace made, and answers what to wait for.
async fn create(cloud_map: &Client, context: &Context, wanted: &Wanted) -> Result<Error> {
    refuse_failed_creation(cloud_map, context, wanted).await?;
    let created = cloud_map
        .create_private_dns_namespace()
        .name(&wanted.name)
        .vpc(&wanted.vpc)
        .creator_request_id(context.token(ADDRESS))
        .description("Names of the services of an environment")
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await;
    let doing = || format!("creating Cloud Map namespace ({})", wanted.name);
    let operation = match created {
        Ok(created) => created.operation_id,
        Err(error) => match error.as_service_error() {
            Some(CreatePrivateDnsNamespaceError::DuplicateRequest(under_way)) => {
                under_way.duplicate_operation_id.clone()
            }
            Some(CreatePrivateDnsNamespaceError::NamespaceAlreadyExists(_)) => {
                // It may be ours, made since we looked.
                return match find(cloud_map, context).await? {
                    Some(_) => Ok(seen_late(&wanted.name)),
                    None => Err(taken(wanted, error.message().unwrap_or("NamespaceAlreadyExists"))),
                };
            }
            _ => return Err(Error::aws(doing(), &error)),
        },
    };
    let operation = read(cloud_map, &operation.unwrap_or_default()).await?;
    match operation.status() {
        Some(OperationStatus::Fail) => Err(failed_creation(&operation, wanted)),
        Some(OperationStatus::Success) => Ok(seen_late(&wanted.name)),
        _ => Ok(under_way(context, &format!("Cloud Map namespace ({}) is being created", wanted.name))),
    }
}

fn seen_late(name: &str) -> Error {
    Error::soon(format!("Cloud Map namespace ({name}) has been made and isn't seen yet"))
}

fn under_way(context: &Context, doing: &str) -> Error {
    Latency::of("cloud-map-namespace").wait(doing, context.since)
}

fn taken(wanted: &Wanted, told: &str) -> Error {
    Error::Conflict(format!(
        "the name {} is taken in {} by a Cloud Map namespace, or a private hosted zone, of somebody else: \
         give the environment another `name`, or another VPC ({told})",
        wanted.name, wanted.vpc
    ))
}

fn failed_creation(operation: &Progress, wanted: &Wanted) -> Error {
    let told = told(operation);
    if told.contains("already") {
        return taken(wanted, &told);
    }
    Error::Failed(format!("creating Cloud Map namespace ({}): {told}", wanted.name))
}

fn told(operation: &Progress) -> String {
    let (code, message) = (operation.error_code(), operation.error_message());
    format!("{}: {}", code.unwrap_or("no code"), message.unwrap_or("no message"))
}

/// Tells a creation that failed since the step began. An operation doesn't say which name it was for: its
/// error says the name or the VPC, or that the caller, who is the same for all, may not.
/// Source: <https://docs.aws.amazon.com/cloud-map/latest/api/API_Operation.html>
async fn refuse_failed_creation(cloud_map: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let filters =
        vec![operation_filter(OperationFilterName::Type, FilterCondition::Eq, &["CREATE_NAMESPACE"])?];
    let ours = |operation: &&Progress| {
        let told = told(operation);
        told.starts_with("ACCESS_DENIED") || told.contains(&wanted.vpc) || told.contains(&wanted.name)
    };
    match failed(cloud_map, context, filters).await?.iter().find(ours) {
        Some(operation) => Err(failed_creation(operation, wanted)),
        None => Ok(()),
    }
}

/// The operations that failed since the step's first pass in this run.
async fn failed(
    cloud_map: &Client,
    context: &Context,
    filters: Vec<OperationFilter>,
) -> Result<Vec<Progress>> {
    let now = DateTime::from(SystemTime::now()).secs();
    let (since, until) = (context.since.as_second().to_string(), (now + 1).to_string());
    let pages = cloud_map
        .list_operations()
        .set_filters(Some(filters))
        .filters(operation_filter(OperationFilterName::Status, FilterCondition::Eq, &["FAIL"])?)
        .filters(operation_filter(
            OperationFilterName::UpdateDate,
            FilterCondition::Between,
            &[&since, &until],
        )?)
        .into_paginator()
        .send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let pages = pages.doing(|| "listing Cloud Map's operations")?;
    let mut failed = Vec::new();
    for summary in pages.into_iter().flat_map(|page| page.operations.unwrap_or_default()) {
        failed.push(read(cloud_map, &summary.id.unwrap_or_default()).await?);
    }
    Ok(failed)
}

fn operation_filter(
    name: OperationFilterName,
    condition: FilterCondition,
    values: &[&str],
) -> Result<OperationFilter> {
    let filter = OperationFilter::builder().name(name).condition(condition);
    let filter = filter.set_values(Some(values.iter().map(|value| (*value).to_owned()).collect())).build();
    filter.map_err(|error| Error::Failed(format!("writing a filter: {error}")))
}

async fn read(cloud_map: &Client, id: &str) -> Result<Progress> {
    let read = cloud_map.get_operation().operation_id(id).send().await;
    let read = read.doing(|| format!("reading Cloud Map's operation ({id})"))?;
    read.operation
        .ok_or_else(|| Error::Failed(format!("reading Cloud Map's operation ({id}): none answered")))
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Deletes the namespace, and waits until it is gone.
async fn delete(cloud_map: &Client, context: &Context, found: &Found) -> Result<()> {
    let doing = || format!("deleting Cloud Map namespace ({})", context.namespace());
    let filters = vec![
        operation_filter(OperationFilterName::NamespaceId, FilterCondition::Eq, &[&found.id])?,
        operation_filter(OperationFilterName::Type, FilterCondition::Eq, &["DELETE_NAMESPACE"])?,
    ];
    if let Some(operation) = failed(cloud_map, context, filters).await?.first() {
        return Err(Error::Failed(format!("{}: {}", doing(), told(operation))));
    }
    let deleted = cloud_map.delete_namespace().id(&found.id).send().await;
    let Err(error) = deleted else { return Err(deleting(context)) };
    match error.as_service_error() {
        Some(DeleteNamespaceError::NamespaceNotFound(_)) => Ok(()),
        Some(DeleteNamespaceError::DuplicateRequest(_)) => Err(deleting(context)),
        Some(DeleteNamespaceError::ResourceInUse(_)) => {
            Err(under_way(context, &format!("{} waits for the services in it to go", doing())))
        }
        _ => Err(Error::aws(doing(), &error)),
    }
}

fn deleting(context: &Context) -> Error {
    under_way(context, &format!("Cloud Map namespace ({}) is being deleted", context.namespace()))
}

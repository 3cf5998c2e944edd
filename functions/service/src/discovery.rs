//! Names in the VPC: a service in Cloud Map for each ECS service that the spec refers to by its host. ECS
//! registers the tasks' addresses with it.
//!
//! Ours carries the owner's tags from the call that creates it on. The namespace is the step `cluster`'s.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_servicediscovery::{
    Client,
    types::{
        DnsConfig, DnsConfigChange, DnsRecord, HealthCheckCustomConfig, NamespaceFilter, NamespaceFilterName,
        RecordType, RoutingPolicy, ServiceChange, ServiceFilter, ServiceFilterName, ServiceSummary, Tag,
        builders::DnsRecordBuilder,
    },
};
use spec::NetworkMode;
use step::{
    Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare, missing_tags, side_by_side,
};

/// How long an answer may be kept, in seconds.
const TTL: i64 = 10;

/// What a pass knows of names.
pub(crate) struct Names {
    /// The id of the namespace; empty where no service of this pass has a name.
    namespace: String,
    /// The keys of the services of this pass that have one.
    wanted: BTreeSet<String>,
    /// What the namespace has, by name.
    found: BTreeMap<String, ServiceSummary>,
}

/// What the spec asks for.
struct Wanted {
    address: String,
    name: String,
    token: String,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context, key: &str) -> Wanted {
    let address = address(key);
    Wanted { name: key.to_owned(), token: context.token(&address), tags: context.tags(&address), address }
}

fn address(key: &str) -> String {
    format!("services.{key}.discovery")
}

/// The services that have a name: those that are referred to by it, and whose tasks have an address of their
/// own.
fn named(context: &Context) -> BTreeSet<String> {
    let mut named = spec::named_services(&context.spec);
    named.retain(|key| {
        let service = context.spec.services.get(key);
        service.is_some_and(|service| service.network_mode != Some(NetworkMode::Bridge))
    });
    named
}

/// Looks once for all services of this pass.
pub(crate) async fn names(cloud_map: &Client, context: &Context) -> Result<Names> {
    let mut wanted = named(context);
    let keys: BTreeSet<&String> = context.services().map(|(key, _)| key).collect();
    wanted.retain(|key| keys.contains(key));
    if wanted.is_empty() {
        return Ok(Names { namespace: String::new(), wanted, found: BTreeMap::new() });
    }
    let cluster = context.known(context.outputs.cluster.as_ref(), "cluster")?;
    let namespace = context.known(cluster.namespace.as_ref(), "cluster.namespace")?.clone();
    let found = if namespace == UNKNOWN { Vec::new() } else { list(cloud_map, &namespace).await? };
    let found = found.into_iter().filter_map(|found| Some((found.name()?.to_owned(), found)));
    Ok(Names { wanted, found: found.collect(), namespace })
}

async fn list(cloud_map: &Client, namespace: &str) -> Result<Vec<ServiceSummary>> {
    let filter = ServiceFilter::builder().name(ServiceFilterName::NamespaceId).values(namespace).build();
    let filter = filter.map_err(|error| broken(&error))?;
    let pages = cloud_map.list_services().filters(filter).into_paginator().send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let pages = pages.doing(|| format!("listing the services of Cloud Map namespace ({namespace})"))?;
    Ok(pages.into_iter().flat_map(|page| page.services.unwrap_or_default()).collect())
}

/// The ARN of the service in Cloud Map, which is made to be what the spec says; none where it has no name.
pub(crate) async fn ensure(
    cloud_map: &Client,
    context: &Context,
    names: &Names,
    key: &str,
) -> Result<Option<String>> {
    if !names.wanted.contains(key) {
        return Ok(None);
    }
    let wanted = wanted(context, key);
    let Some(found) = names.found.get(key) else {
        return create(cloud_map, &names.namespace, &wanted).await.map(Some);
    };
    update(cloud_map, context, found, &wanted).await?;
    Ok(found.arn.clone())
}

/// The change, and the ARN as far as it is known.
pub(crate) async fn plan(
    cloud_map: &Client,
    context: &Context,
    names: &Names,
    key: &str,
) -> Result<(Option<Change>, Option<String>)> {
    if !names.wanted.contains(key) {
        return Ok((None, None));
    }
    let wanted = wanted(context, key);
    let Some(found) = names.found.get(key) else {
        let create = Change::create(&wanted.address).with("name", context.service_host(key));
        return Ok((Some(create), Some(UNKNOWN.to_owned())));
    };
    let tags = checked_tags(cloud_map, context, found, &wanted).await?;
    Ok((Change::update(&wanted.address, difference(found, &tags, &wanted)), found.arn.clone()))
}

/// The tags of what was found, which has to be ours.
async fn checked_tags(
    cloud_map: &Client,
    context: &Context,
    found: &ServiceSummary,
    wanted: &Wanted,
) -> Result<BTreeMap<String, String>> {
    let tags = tags(cloud_map, found).await?;
    context.owner().check(&format!("Cloud Map service ({})", context.service_host(&wanted.name)), &tags)?;
    Ok(tags)
}

async fn tags(cloud_map: &Client, found: &ServiceSummary) -> Result<BTreeMap<String, String>> {
    let arn = found.arn().unwrap_or_default();
    let listed = cloud_map.list_tags_for_resource().resource_arn(arn).send().await;
    let listed = listed.unless_absent(&["ResourceNotFoundException"], || {
        format!("reading the tags of Cloud Map service ({})", found.name().unwrap_or_default())
    })?;
    let tags = listed.and_then(|answer| answer.tags).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Of its settings Cloud Map changes no other.
/// Source: <https://docs.aws.amazon.com/cloud-map/latest/api/API_UpdateService.html>
fn difference(found: &ServiceSummary, tags: &BTreeMap<String, String>, wanted: &Wanted) -> Vec<Field> {
    let records = found.dns_config().map(DnsConfig::dns_records).unwrap_or_default();
    let ttl = records.first().map_or(0, DnsRecord::ttl);
    compare("ttl", ttl, TTL).into_iter().chain(missing_tags(tags, &wanted.tags)).collect()
}

/// The token answers the same service again; so does the name, in another run, once it is listed.
async fn create(cloud_map: &Client, namespace: &str, wanted: &Wanted) -> Result<String> {
    let dns = DnsConfig::builder()
        .routing_policy(RoutingPolicy::Multivalue)
        .dns_records(record().build().map_err(|error| broken(&error))?)
        .build()
        .map_err(|error| broken(&error))?;
    let doing = || format!("creating Cloud Map service ({})", wanted.name);
    let created = cloud_map
        .create_service()
        .name(&wanted.name)
        .namespace_id(namespace)
        .creator_request_id(&wanted.token)
        .dns_config(dns)
        // ECS reports whether a task is well.
        .health_check_custom_config(HealthCheckCustomConfig::builder().build())
        .set_tags(Some(tag_list(&wanted.tags)?))
        .send()
        .await
        .unless_absent(&["ServiceAlreadyExists"], doing)?;
    let Some(created) = created else {
        let name = &wanted.name;
        return Err(Error::soon(format!("Cloud Map service ({name}) has been made and isn't seen yet")));
    };
    let arn = created.service.and_then(|service| service.arn);
    arn.ok_or_else(|| Error::Failed(format!("{}: no service answered", doing())))
}

async fn update(
    cloud_map: &Client,
    context: &Context,
    found: &ServiceSummary,
    wanted: &Wanted,
) -> Result<()> {
    let tags = checked_tags(cloud_map, context, found, wanted).await?;
    let (of_tags, of_records): (Vec<Field>, Vec<Field>) =
        difference(found, &tags, wanted).into_iter().partition(|field| field.name.starts_with("tags."));
    if !of_tags.is_empty() {
        let arn = found.arn().unwrap_or_default();
        let put = cloud_map.tag_resource().resource_arn(arn).set_tags(Some(tag_list(&wanted.tags)?));
        put.send().await.doing(|| format!("tagging Cloud Map service ({})", wanted.name))?;
    }
    if of_records.is_empty() {
        return Ok(());
    }
    let record = record().build().map_err(|error| broken(&error))?;
    let dns = DnsConfigChange::builder().dns_records(record).build().map_err(|error| broken(&error))?;
    let change = ServiceChange::builder().dns_config(dns).build();
    let updated = cloud_map.update_service().id(found.id().unwrap_or_default()).service(change).send().await;
    updated.gone(&[], &["DuplicateRequest"], || format!("updating Cloud Map service ({})", wanted.name))
}

fn record() -> DnsRecordBuilder {
    DnsRecord::builder().r#type(RecordType::A).ttl(TTL)
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value): (&String, &String)| {
        Tag::builder().key(key).value(value).build().map_err(|error| broken(&error))
    };
    tags.iter().map(tag).collect()
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::Failed(format!("writing a Cloud Map service: {error}"))
}

/// Deletes our names that the spec doesn't mention, in whatever namespace of ours they are; in a plan only
/// names them. While addresses are registered with one Cloud Map keeps it.
pub(crate) async fn delete_dropped(cloud_map: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept = named(context);
    let mut changes = Vec::new();
    let mut dropped = Vec::new();
    for namespace in namespaces(cloud_map, context).await? {
        let mut found = list(cloud_map, &namespace).await?;
        found.retain(|found| !kept.contains(found.name().unwrap_or_default()));
        let tags = side_by_side(found.iter().map(|found| tags(cloud_map, found))).await?;
        let owner = context.owner();
        for (found, tags) in found.into_iter().zip(tags) {
            let Some(address) = owner.address(&tags) else { continue };
            changes.push(Change::delete(address).with("name", found.name().unwrap_or_default()));
            dropped.push(found);
        }
    }
    if context.operation == Operation::Prune {
        side_by_side(dropped.iter().map(|found| delete(cloud_map, found))).await?;
    }
    Ok(changes)
}

/// The ids of all namespaces that are called as ours is.
async fn namespaces(cloud_map: &Client, context: &Context) -> Result<Vec<String>> {
    let name = context.namespace();
    let filter = NamespaceFilter::builder().name(NamespaceFilterName::Name).values(&name).build();
    let filter = filter.map_err(|error| broken(&error))?;
    let pages = cloud_map.list_namespaces().filters(filter).into_paginator().send();
    let pages: std::result::Result<Vec<_>, _> = pages.collect().await;
    let pages = pages.doing(|| format!("listing Cloud Map namespaces ({name})"))?;
    let all = pages.into_iter().flat_map(|page| page.namespaces.unwrap_or_default());
    Ok(all.filter(|found| found.name() == Some(&name)).filter_map(|found| found.id).collect())
}

/// Source: <https://docs.aws.amazon.com/cloud-map/latest/api/API_DeleteService.html>
async fn delete(cloud_map: &Client, found: &ServiceSummary) -> Result<()> {
    let deleted = cloud_map.delete_service().id(found.id().unwrap_or_default()).send().await;
    deleted.gone(&["ServiceNotFound"], &["ResourceInUse"], || {
        format!("deleting Cloud Map service ({})", found.name().unwrap_or_default())
    })
}

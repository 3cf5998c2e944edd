//! The ECS capacity provider of the instances, and its place on the cluster.
//!
//! ECS protects instances that run tasks from scaling in, and moves the tasks away from those that go.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        AutoScalingGroupProvider, AutoScalingGroupProviderUpdate, CapacityProvider, CapacityProviderField,
        CapacityProviderStatus, CapacityProviderStrategyItem, CapacityProviderUpdateStatus, Cluster,
        ClusterField, ContainerInstanceStatus, ManagedDraining, ManagedScaling, ManagedScalingStatus,
        ManagedTerminationProtection, Tag,
    },
};
use step::{Change, Context, Doing, Error, Field, Result, compare, missing_tags};

use crate::{PROVIDER, Wanted, instances, wait};

/// The share of the instances, in per cent, that tasks are to fill.
const TARGET: i32 = 100;

/// Answers to calls that a later pass makes again: something else is being changed, or still used.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html>
const IN_USE: [&str; 2] = ["ResourceInUseException", "UpdateInProgressException"];

/// Makes the provider, or puts it right, and waits until it can be used.
pub(crate) async fn ensure(ecs: &Client, context: &Context, wanted: &Wanted<'_>, group: &str) -> Result<()> {
    let name = &wanted.provider;
    let found = match find(ecs, context, name).await? {
        None => create(ecs, wanted, group).await?,
        Some(found) => {
            refuse_other_group(&found, Some(group), name)?;
            update(ecs, context, &found, wanted).await?;
            found
        }
    };
    let status = found.update_status();
    let pending = status.is_some_and(|status| status.as_str().ends_with("IN_PROGRESS"));
    if status == Some(&CapacityProviderUpdateStatus::CreateFailed) {
        return Err(Error::Failed(format!("creating ECS capacity provider ({name}): {}", reason(&found))));
    }
    if pending || found.status() != Some(&CapacityProviderStatus::Active) {
        return Err(wait(context, &format!("ECS capacity provider ({name}) is being made ready")));
    }
    Ok(())
}

fn reason(found: &CapacityProvider) -> &str {
    found.update_status_reason().unwrap_or("ECS doesn't say why")
}

/// What [`ensure`] and [`attach`] would change.
pub(crate) async fn change(
    ecs: &Client,
    context: &Context,
    wanted: &Wanted<'_>,
    group: Option<&str>,
) -> Result<Option<Change>> {
    let name = &wanted.provider;
    let Some(found) = find(ecs, context, name).await? else {
        return Ok(Some(Change::create(PROVIDER).with("name", name)));
    };
    refuse_other_group(&found, group, name)?;
    let mut fields = settings(&found);
    fields.extend(missing_tags(&tags(found.tags()), &wanted.provider_tags));
    if let Some(cluster) = describe_cluster(ecs, &wanted.cluster).await? {
        fields.extend(attachment(&cluster, name));
    }
    Ok(Change::update(PROVIDER, fields))
}

/// The provider of this name, which must be ours.
async fn find(ecs: &Client, context: &Context, name: &str) -> Result<Option<CapacityProvider>> {
    let found = describe(ecs, name).await?;
    if let Some(found) = &found {
        context.owner().check(&format!("ECS capacity provider ({name})"), &tags(found.tags()))?;
    }
    Ok(found)
}

/// The same to delete it; that of somebody else is let alone.
pub(crate) async fn ours(ecs: &Client, context: &Context) -> Result<Option<CapacityProvider>> {
    let found = describe(ecs, &context.capacity_provider()).await?;
    Ok(found.filter(|found| context.owner().address(&tags(found.tags())).is_some()))
}

/// One that was deleted lingers as INACTIVE and is absent.
async fn describe(ecs: &Client, name: &str) -> Result<Option<CapacityProvider>> {
    let describe = ecs.describe_capacity_providers().capacity_providers(name);
    let described = describe.include(CapacityProviderField::Tags).send().await;
    let described = described.doing(|| format!("describing ECS capacity provider ({name})"))?;
    let mut all = described.capacity_providers.unwrap_or_default().into_iter();
    Ok(all.find(|found| found.status() != Some(&CapacityProviderStatus::Inactive)))
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// A provider stays with the group it was made for.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateCapacityProvider.html>
fn refuse_other_group(found: &CapacityProvider, group: Option<&str>, name: &str) -> Result<()> {
    let of = found.auto_scaling_group_provider().map(AutoScalingGroupProvider::auto_scaling_group_arn);
    if of == group {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "ECS capacity provider ({name}) belongs to {}, which isn't the cluster's Auto Scaling group any \
         more, and ECS can't give it another: apply a spec with `capacity: fargate` first",
        of.unwrap_or("no Auto Scaling group")
    )))
}

/// What [`update`] puts right.
fn settings(found: &CapacityProvider) -> Vec<Field> {
    let provider = found.auto_scaling_group_provider();
    let scaling = provider.and_then(AutoScalingGroupProvider::managed_scaling);
    let status = scaling.and_then(ManagedScaling::status).map_or("DISABLED", ManagedScalingStatus::as_str);
    let target = scaling.and_then(ManagedScaling::target_capacity).unwrap_or_default();
    let protection = provider.and_then(AutoScalingGroupProvider::managed_termination_protection);
    let draining = provider.and_then(AutoScalingGroupProvider::managed_draining);
    let enabled = "ENABLED";
    [
        compare("managedScaling", status, enabled),
        compare("targetCapacity", target, TARGET),
        compare("managedTerminationProtection", protection.map_or("DISABLED", |it| it.as_str()), enabled),
        compare("managedDraining", draining.map_or("DISABLED", |it| it.as_str()), enabled),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn scaling() -> ManagedScaling {
    ManagedScaling::builder().status(ManagedScalingStatus::Enabled).target_capacity(TARGET).build()
}

/// The name is unique, so that this call can't double it.
async fn create(ecs: &Client, wanted: &Wanted<'_>, group: &str) -> Result<CapacityProvider> {
    let name = &wanted.provider;
    let doing = || format!("creating ECS capacity provider ({name})");
    let provider = AutoScalingGroupProvider::builder()
        .auto_scaling_group_arn(group)
        .managed_scaling(scaling())
        .managed_termination_protection(ManagedTerminationProtection::Enabled)
        .managed_draining(ManagedDraining::Enabled)
        .build()
        .map_err(|error| Error::Failed(format!("{}: {error}", doing())))?;
    let create = ecs.create_capacity_provider().name(name).auto_scaling_group_provider(provider);
    let created = create.set_tags(Some(tag_list(&wanted.provider_tags))).send().await;
    let created = created.unless_early(&EARLY, doing)?;
    created.capacity_provider.ok_or_else(|| Error::Failed(format!("{}: none answered", doing())))
}

/// What ECS says where its own role was just made, with the account's first cluster, where the cluster was, or
/// where another change is under way.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html>
const EARLY: [&str; 4] =
    ["service linked role", "cluster was not active", "updateinprogressexception", "resourceinuseexception"];

/// A change is under way when ECS has answered; the next pass sees how it went.
async fn update(
    ecs: &Client,
    context: &Context,
    found: &CapacityProvider,
    wanted: &Wanted<'_>,
) -> Result<()> {
    let name = &wanted.provider;
    if !missing_tags(&tags(found.tags()), &wanted.provider_tags).is_empty() {
        let arn = found.capacity_provider_arn().unwrap_or_default();
        let put = ecs.tag_resource().resource_arn(arn).set_tags(Some(tag_list(&wanted.provider_tags)));
        put.send().await.doing(|| format!("tagging ECS capacity provider ({name})"))?;
    }
    if settings(found).is_empty() {
        return Ok(());
    }
    let provider = AutoScalingGroupProviderUpdate::builder()
        .managed_scaling(scaling())
        .managed_termination_protection(ManagedTerminationProtection::Enabled)
        .managed_draining(ManagedDraining::Enabled)
        .build();
    let update = ecs.update_capacity_provider().name(name).auto_scaling_group_provider(provider);
    update.send().await.gone(&[], &IN_USE, || format!("changing ECS capacity provider ({name})"))?;
    let mut doing = format!("ECS capacity provider ({name}) is being changed");
    if found.update_status() == Some(&CapacityProviderUpdateStatus::UpdateFailed) {
        doing = format!("{doing}; the last change failed: {}", reason(found));
    }
    Err(wait(context, &doing))
}

/// Puts the provider on the cluster, as what tasks use by default. Others stay beside it, since services use
/// them until they are updated: [`detach`] takes them away at the end of the run.
pub(crate) async fn attach(ecs: &Client, context: &Context, wanted: &Wanted<'_>) -> Result<()> {
    let (name, provider) = (&wanted.cluster, &wanted.provider);
    let found = describe_cluster(ecs, name).await?;
    // The step `cluster` makes it, beside this one.
    let Some(cluster) = found.filter(|cluster| cluster.status() == Some("ACTIVE")) else {
        return Err(wait(context, &format!("ECS cluster ({name}) isn't there yet")));
    };
    let cluster = &cluster;
    context.owner().check(&format!("ECS cluster ({name})"), &tags(cluster.tags()))?;
    let failed = cluster.attachments_status() == Some("UPDATE_FAILED");
    if failed || !is_default(cluster, provider) {
        let mut providers = cluster.capacity_providers().to_vec();
        if !providers.contains(provider) {
            providers.push(provider.clone());
        }
        put(ecs, name, providers, vec![strategy(provider)?]).await?;
    }
    let doing = |what: &str| format!("ECS cluster ({name}) {what} capacity provider ({provider})");
    match cluster.attachments_status() {
        Some("UPDATE_FAILED") => {
            Err(wait(context, &format!("{} ({})", doing("could not take"), troubles(cluster))))
        }
        Some("UPDATE_IN_PROGRESS") => Err(wait(context, &doing("takes"))),
        // It has just been put.
        _ if !is_default(cluster, provider) => Err(Error::soon(doing("takes"))),
        _ => Ok(()),
    }
}

/// What the cluster says of attachments that failed.
fn troubles(cluster: &Cluster) -> String {
    let failed = cluster.attachments().iter().filter(|attachment| attachment.status() == Some("FAILED"));
    let told = failed.map(|attachment| {
        let details = attachment.details().iter();
        let details =
            details.map(|it| format!("{} {}", it.name().unwrap_or_default(), it.value().unwrap_or_default()));
        format!("{}: {}", attachment.r#type().unwrap_or_default(), details.collect::<Vec<_>>().join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

async fn describe_cluster(ecs: &Client, name: &str) -> Result<Option<Cluster>> {
    let all = describe_clusters(ecs, vec![name.to_owned()]).await?;
    Ok(all.into_iter().find(|cluster| cluster.status() != Some("INACTIVE")))
}

/// Takes at most 100 names or ARNs.
async fn describe_clusters(ecs: &Client, clusters: Vec<String>) -> Result<Vec<Cluster>> {
    let describe = ecs.describe_clusters().set_clusters(Some(clusters));
    let described = describe.include(ClusterField::Attachments).include(ClusterField::Tags).send().await;
    Ok(described.doing(|| "describing ECS clusters")?.clusters.unwrap_or_default())
}

fn is_default(cluster: &Cluster, provider: &str) -> bool {
    let strategy = cluster.default_capacity_provider_strategy();
    matches!(strategy, [item] if item.capacity_provider() == provider)
        && cluster.capacity_providers().iter().any(|on| on == provider)
}

/// What of the cluster differs when this is to be its only provider, and its default.
fn attachment(cluster: &Cluster, provider: &str) -> Vec<Field> {
    let strategy = cluster.default_capacity_provider_strategy().iter();
    let strategy =
        strategy.map(CapacityProviderStrategyItem::capacity_provider).collect::<Vec<_>>().join(", ");
    let providers = cluster.capacity_providers().join(", ");
    [
        compare("clusterProviders", providers.as_str(), provider),
        compare("clusterStrategy", strategy.as_str(), provider),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn strategy(provider: &str) -> Result<CapacityProviderStrategyItem> {
    let item = CapacityProviderStrategyItem::builder().capacity_provider(provider).weight(1).build();
    item.map_err(|error| Error::Failed(format!("writing a capacity provider strategy: {error}")))
}

async fn put(
    ecs: &Client,
    cluster: &str,
    providers: Vec<String>,
    strategy: Vec<CapacityProviderStrategyItem>,
) -> Result<()> {
    let put = ecs
        .put_cluster_capacity_providers()
        .cluster(cluster)
        .set_capacity_providers(Some(providers))
        .set_default_capacity_provider_strategy(Some(strategy));
    let doing = || format!("changing the capacity of ECS cluster ({cluster})");
    put.send().await.unless_early(&EARLY, doing)?;
    Ok(())
}

/// Takes what is left of instances that are gone off our clusters: ECS doesn't forget one that was stopped, or
/// whose agent was out of reach, when it ended.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterContainerInstance.html>
pub(crate) async fn forget_instances(ecs: &Client, context: &Context) -> Result<()> {
    for cluster in our_clusters(ecs, context).await? {
        let name = cluster.cluster_name().unwrap_or_default();
        let pages = ecs.list_container_instances().cluster(name).into_paginator().items().send();
        let left: std::result::Result<Vec<_>, _> = pages.collect().await;
        for instance in left.doing(|| format!("listing the instances of ECS cluster ({name})"))? {
            let deregister = ecs.deregister_container_instance().cluster(name).container_instance(&instance);
            let deregistered = deregister.force(true).send().await;
            deregistered.unless_absent(&["ClusterNotFoundException", "InvalidParameterException"], || {
                format!("deregistering instance ({instance}) of ECS cluster ({name})")
            })?;
        }
    }
    Ok(())
}

/// Waits until the fewest instances have joined the cluster.
pub(crate) async fn joined(ecs: &Client, context: &Context, wanted: &Wanted<'_>) -> Result<()> {
    let min = wanted.min;
    if min == 0 {
        return Ok(());
    }
    let list =
        ecs.list_container_instances().cluster(&wanted.cluster).status(ContainerInstanceStatus::Active);
    let all: std::result::Result<Vec<_>, _> = list.into_paginator().items().send().collect().await;
    let joined = all.doing(|| format!("listing the instances of ECS cluster ({})", wanted.cluster))?.len();
    if joined >= min as usize {
        return Ok(());
    }
    let doing = format!("{joined} of at least {min} instances have joined ECS cluster ({})", wanted.cluster);
    Err(wait(context, &doing))
}

/// Takes what isn't wanted any more off our clusters: the instances' provider where there are to be none, and
/// every other one where there are.
pub(crate) async fn detach(ecs: &Client, context: &Context) -> Result<()> {
    let provider = context.capacity_provider();
    let of_instances = instances(context).map(|_| context.cluster_name());
    for cluster in our_clusters(ecs, context).await? {
        let name = cluster.cluster_name().unwrap_or_default();
        let stays = |on: &str| (on == provider) == (of_instances.as_deref() == Some(name));
        let (kept, others): (Vec<_>, Vec<_>) =
            cluster.capacity_providers().iter().cloned().partition(|on| stays(on));
        if others.is_empty() {
            continue;
        }
        let strategy = cluster.default_capacity_provider_strategy().iter();
        let strategy = strategy.filter(|item| stays(item.capacity_provider())).cloned().collect();
        put(ecs, name, kept, strategy).await?;
    }
    Ok(())
}

/// Every cluster that carries our tags.
async fn our_clusters(ecs: &Client, context: &Context) -> Result<Vec<Cluster>> {
    let listed: std::result::Result<Vec<_>, _> =
        ecs.list_clusters().into_paginator().items().send().collect().await;
    let listed = listed.doing(|| "listing ECS clusters")?;
    let mut ours = Vec::new();
    for arns in listed.chunks(100) {
        let mut described = describe_clusters(ecs, arns.to_vec()).await?;
        described.retain(|cluster| cluster.status() != Some("INACTIVE"));
        described.retain(|cluster| context.owner().address(&tags(cluster.tags())).is_some());
        ours.extend(described);
    }
    Ok(ours)
}

/// Deletes the provider, and waits until it is gone. ECS says only in words that a service or a cluster still
/// has it.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCapacityProvider.html>
pub(crate) async fn delete(ecs: &Client, context: &Context, found: &CapacityProvider) -> Result<()> {
    let name = found.name().unwrap_or_default();
    if found.update_status() != Some(&CapacityProviderUpdateStatus::DeleteInProgress) {
        let deleted = ecs.delete_capacity_provider().capacity_provider(name).send().await;
        let doing = || format!("deleting ECS capacity provider ({name})");
        if let Err(error) = &deleted
            && is_in_use(error.code(), error.message())
        {
            let told = error.message().unwrap_or("it is in use");
            return Err(wait(context, &format!("{}: {told}", doing())));
        }
        deleted.doing(doing)?;
        if describe(ecs, name).await?.is_none() {
            return Ok(());
        }
    }
    let reason = found.update_status_reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Err(wait(context, &format!("ECS capacity provider ({name}) is being deleted{reason}")))
}

fn is_in_use(code: Option<&str>, message: Option<&str>) -> bool {
    let told = message.unwrap_or_default().to_lowercase();
    code.is_some_and(|code| IN_USE.contains(&code)) || told.contains("in use") || told.contains("associated")
}

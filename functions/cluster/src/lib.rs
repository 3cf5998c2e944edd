//! The step `cluster`: the ECS cluster that an environment's services run on, and the Cloud Map namespace in
//! which they have names.
//!
//! Ours is a cluster that carries the owner's tags; it has them from `CreateCluster` on. A cluster of
//! our name without them is a conflict, unless the spec says that it is somebody else's: then nothing is
//! done but look. What instances a cluster runs on is the step `capacity`'s.

mod namespace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    types::{CapacityProviderStrategyItem, Cluster, ClusterField, ClusterSetting, ClusterSettingName, Tag},
};
use aws_sdk_servicediscovery::Client as CloudMap;
use spec::Capacity;
use step::{
    Answer, Change, ClusterOutput, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare,
    missing_tags,
};

const ADDRESS: &str = "cluster";

/// Fargate's two capacity providers, in the order AWS answers them.
const PROVIDERS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let ecs = Client::new(&context.aws);
    let cloud_map = CloudMap::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&ecs, &cloud_map, &context).await,
        Operation::Ensure => ensure(&ecs, &cloud_map, &context).await,
        Operation::Prune => prune(&ecs, &cloud_map, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    name: String,
    /// The capacity provider that tasks use; none where they run on instances, whose provider the step
    /// `capacity` puts on the cluster.
    provider: Option<&'static str>,
    insights: bool,
    tags: BTreeMap<String, String>,
}

/// Nothing where the spec has no cluster, or somebody else's.
fn wanted(context: &Context) -> Option<Wanted> {
    let cluster = context.spec.cluster.as_ref().filter(|cluster| !cluster.existing)?;
    Some(Wanted {
        name: context.cluster_name(),
        provider: match cluster.capacity {
            Capacity::Fargate => Some("FARGATE"),
            Capacity::FargateSpot => Some("FARGATE_SPOT"),
            Capacity::Ec2 => None,
        },
        insights: cluster.insights,
        tags: context.tags(ADDRESS),
    })
}

async fn ensure(ecs: &Client, cloud_map: &CloudMap, context: &Context) -> Result<Answer> {
    if context.spec.cluster.is_none() {
        return Ok(Answer::default());
    }
    let found = match wanted(context) {
        None => existing(ecs, context).await?,
        Some(wanted) => ensure_own(ecs, context, &wanted).await?,
    };
    let namespace = namespace::ensure(cloud_map, context).await?;
    Answer::new(output(context, Some(&found), namespace), Vec::new())
}

async fn ensure_own(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Cluster> {
    let found = match find(ecs, context, &wanted.name).await? {
        None => create(ecs, wanted).await?,
        Some(found) => {
            update(ecs, &found, wanted).await?;
            found
        }
    };
    ready(&found)?;
    Ok(found)
}

async fn plan(ecs: &Client, cloud_map: &CloudMap, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(ecs, context).await?;
    changes.extend(namespace::delete_dropped(cloud_map, context).await?);
    if context.spec.cluster.is_none() {
        return Ok(Answer::changed(changes));
    }
    let found = match wanted(context) {
        None => Some(existing(ecs, context).await?),
        Some(wanted) => {
            let found = find(ecs, context, &wanted.name).await?;
            changes.extend(change(found.as_ref(), &wanted));
            found
        }
    };
    let (of_namespace, namespace) = namespace::plan(cloud_map, context).await?;
    changes.extend(of_namespace);
    Answer::new(output(context, found.as_ref(), namespace), changes)
}

/// What would be done to a cluster of our own.
fn change(found: Option<&Cluster>, wanted: &Wanted) -> Option<Change> {
    let Some(found) = found else {
        let created = Change::create(ADDRESS).with("name", &wanted.name);
        return Some(match wanted.provider {
            Some(provider) => created.with("capacity", provider),
            None => created,
        });
    };
    Change::update(ADDRESS, difference(found, wanted))
}

async fn prune(ecs: &Client, cloud_map: &CloudMap, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(ecs, context).await?;
    changes.extend(namespace::delete_dropped(cloud_map, context).await?);
    Ok(Answer::changed(changes))
}

/// Deletes our clusters that the spec doesn't mention; in a plan only names them.
async fn delete_dropped(ecs: &Client, context: &Context) -> Result<Vec<Change>> {
    // One that the spec now calls somebody else's is let alone, even if it was ours.
    let kept = context.spec.cluster.as_ref().map(|_| context.cluster_name());
    let mut changes = Vec::new();
    for cluster in ours(ecs, context).await? {
        let name = cluster.cluster_name().unwrap_or_default();
        if kept.as_deref() == Some(name) {
            continue;
        }
        changes.push(Change::delete(ADDRESS).with("name", name));
        if context.operation == Operation::Prune {
            delete(ecs, name).await?;
        }
    }
    Ok(changes)
}

/// The cluster that the spec says is there.
async fn existing(ecs: &Client, context: &Context) -> Result<Cluster> {
    let name = context.cluster_name();
    let found = describe(ecs, vec![name.clone()]).await?.into_iter().find(|cluster| !inactive(cluster));
    let Some(found) = found.filter(|cluster| cluster.status() == Some("ACTIVE")) else {
        return Err(Error::InvalidSpec(format!(
            "cluster.existing: there is no active ECS cluster ({name}) in {}: create it, correct `name`, or \
             leave `existing` out to have it made",
            context.run.region
        )));
    };
    Ok(found)
}

/// The cluster of this name; one that was deleted lingers as INACTIVE and is absent.
async fn find(ecs: &Client, context: &Context, name: &str) -> Result<Option<Cluster>> {
    let found = describe(ecs, vec![name.to_owned()]).await?.into_iter().find(|cluster| !inactive(cluster));
    if let Some(cluster) = &found {
        context.owner().check(&format!("ECS cluster ({name})"), &tags(cluster))?;
    }
    Ok(found)
}

/// Every cluster that carries our tags.
async fn ours(ecs: &Client, context: &Context) -> Result<Vec<Cluster>> {
    let listed: Vec<String> = ecs
        .list_clusters()
        .into_paginator()
        .items()
        .send()
        .collect::<std::result::Result<_, _>>()
        .await
        .doing(|| "listing ECS clusters")?;
    let mut ours = Vec::new();
    for arns in listed.chunks(100) {
        let described = describe(ecs, arns.to_vec()).await?;
        let owned =
            |cluster: &Cluster| !inactive(cluster) && context.owner().address(&tags(cluster)).is_some();
        ours.extend(described.into_iter().filter(owned));
    }
    Ok(ours)
}

/// Takes at most 100 names or ARNs.
async fn describe(ecs: &Client, clusters: Vec<String>) -> Result<Vec<Cluster>> {
    let described = ecs
        .describe_clusters()
        .set_clusters(Some(clusters))
        .include(ClusterField::Tags)
        .include(ClusterField::Settings)
        .send()
        .await
        .doing(|| "describing ECS clusters")?;
    Ok(described.clusters.unwrap_or_default())
}

fn inactive(cluster: &Cluster) -> bool {
    cluster.status() == Some("INACTIVE")
}

fn tags(cluster: &Cluster) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    cluster.tags().iter().filter_map(pair).collect()
}

fn difference(found: &Cluster, wanted: &Wanted) -> Vec<Field> {
    [capacity(found, wanted), compare("insights", has_insights(found), wanted.insights)]
        .into_iter()
        .flatten()
        .chain(missing_tags(&tags(found), &wanted.tags))
        .collect()
}

fn capacity(found: &Cluster, wanted: &Wanted) -> Option<Field> {
    let strategy = found.default_capacity_provider_strategy();
    let provider = strategy.first().map_or("none", |item| item.capacity_provider());
    compare("capacity", provider, wanted.provider?)
}

fn has_insights(found: &Cluster) -> bool {
    found.settings().iter().any(|setting| {
        setting.name() == Some(&ClusterSettingName::ContainerInsights) && setting.value() != Some("disabled")
    })
}

async fn create(ecs: &Client, wanted: &Wanted) -> Result<Cluster> {
    let mut create = ecs
        .create_cluster()
        .cluster_name(&wanted.name)
        .settings(insights(wanted))
        .set_tags(Some(tag_list(wanted)));
    if let Some(provider) = wanted.provider {
        create = create
            .set_capacity_providers(Some(PROVIDERS.map(str::to_owned).to_vec()))
            .default_capacity_provider_strategy(strategy(provider)?);
    }
    let doing = || format!("creating ECS cluster ({})", wanted.name);
    let created = create.send().await.unless_early(&EARLY, doing)?;
    created
        .cluster
        .ok_or_else(|| Error::Failed(format!("creating ECS cluster ({}): no cluster answered", wanted.name)))
}

async fn update(ecs: &Client, found: &Cluster, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if !missing_tags(&tags(found), &wanted.tags).is_empty() {
        let arn = found.cluster_arn().unwrap_or_default();
        let tagged = ecs.tag_resource().resource_arn(arn).set_tags(Some(tag_list(wanted))).send().await;
        tagged.doing(|| format!("tagging ECS cluster ({name})"))?;
    }
    if let Some(provider) = wanted.provider.filter(|_| capacity(found, wanted).is_some()) {
        put_providers(ecs, found, name, provider).await?;
    }
    if has_insights(found) != wanted.insights {
        let update = ecs.update_cluster_settings().cluster(name).settings(insights(wanted)).send().await;
        update.doing(|| format!("changing the settings of ECS cluster ({name})"))?;
    }
    Ok(())
}

/// Puts Fargate's providers on the cluster. The instances' stays beside them, since services use it until
/// they are updated: the step `capacity` takes it away at the end of the run.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html>
async fn put_providers(ecs: &Client, found: &Cluster, name: &str, provider: &str) -> Result<()> {
    let mut providers: Vec<String> = PROVIDERS.map(str::to_owned).to_vec();
    let others = found.capacity_providers().iter().filter(|other| !PROVIDERS.contains(&other.as_str()));
    providers.extend(others.cloned());
    let put = ecs
        .put_cluster_capacity_providers()
        .cluster(name)
        .set_capacity_providers(Some(providers))
        .default_capacity_provider_strategy(strategy(provider)?);
    let doing = || format!("changing the capacity of ECS cluster ({name})");
    put.send().await.unless_early(&EARLY, doing)?;
    Ok(())
}

/// What ECS says where its own role was just made, with the account's first cluster, or the cluster was.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html>
const EARLY: [&str; 3] = ["service linked role", "cluster was not active", "updateinprogressexception"];

fn tag_list(wanted: &Wanted) -> Vec<Tag> {
    wanted.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn strategy(provider: &str) -> Result<CapacityProviderStrategyItem> {
    CapacityProviderStrategyItem::builder()
        .capacity_provider(provider)
        .weight(1)
        .build()
        .map_err(|error| Error::Failed(format!("writing a capacity provider strategy: {error}")))
}

fn insights(wanted: &Wanted) -> ClusterSetting {
    let value = if wanted.insights { "enabled" } else { "disabled" };
    ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(value).build()
}

/// What still runs on a cluster, or is still leaving it.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html>
const IN_USE: [&str; 4] = [
    "ClusterContainsCapacityProviderException",
    "ClusterContainsContainerInstancesException",
    "ClusterContainsTasksException",
    "UpdateInProgressException",
];

async fn delete(ecs: &Client, name: &str) -> Result<()> {
    let deleted = ecs.delete_cluster().cluster(name).send().await;
    deleted.gone(&["ClusterNotFoundException"], &IN_USE, || format!("deleting ECS cluster ({name})"))
}

fn ready(cluster: &Cluster) -> Result<()> {
    match cluster.status() {
        Some("ACTIVE") => Ok(()),
        status => {
            let name = cluster.cluster_name().unwrap_or_default();
            Err(Error::soon(format!(
                "ECS cluster ({name}) is {}",
                status.unwrap_or("in no state").to_lowercase()
            )))
        }
    }
}

fn output(context: &Context, found: Option<&Cluster>, namespace: Option<String>) -> ClusterOutput {
    let arn = found.and_then(Cluster::cluster_arn).unwrap_or(UNKNOWN);
    ClusterOutput { name: context.cluster_name(), arn: arn.to_owned(), namespace }
}

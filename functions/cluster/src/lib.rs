//! The step `cluster`: the ECS cluster that an environment's services run on.
//!
//! Ours is a cluster that carries the owner's tags; it has them from `CreateCluster` on. A cluster of
//! our name without them is a conflict.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    types::{CapacityProviderStrategyItem, Cluster, ClusterField, ClusterSetting, ClusterSettingName, Tag},
};
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
    match context.operation {
        Operation::Plan => plan(&ecs, &context).await,
        Operation::Ensure => ensure(&ecs, &context).await,
        Operation::Prune => prune(&ecs, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    name: String,
    provider: &'static str,
    insights: bool,
    tags: BTreeMap<String, String>,
}

fn wanted(context: &Context) -> Option<Wanted> {
    let cluster = context.spec.cluster.as_ref()?;
    Some(Wanted {
        name: context.cluster_name(),
        provider: match cluster.capacity {
            Capacity::Fargate => "FARGATE",
            Capacity::FargateSpot => "FARGATE_SPOT",
        },
        insights: cluster.insights,
        tags: context.tags(ADDRESS),
    })
}

async fn ensure(ecs: &Client, context: &Context) -> Result<Answer> {
    let Some(wanted) = wanted(context) else { return Ok(Answer::default()) };
    let found = match find(ecs, context, &wanted.name).await? {
        None => create(ecs, &wanted).await?,
        Some(found) if difference(&found, &wanted).is_empty() => found,
        Some(found) => update(ecs, &found, &wanted).await?,
    };
    ready(&found)?;
    Answer::new(output(&wanted, Some(&found)), Vec::new())
}

async fn plan(ecs: &Client, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(ecs, context).await?;
    let Some(wanted) = wanted(context) else { return Ok(Answer::changed(changes)) };
    let found = find(ecs, context, &wanted.name).await?;
    changes.extend(match &found {
        None => Some(Change::create(ADDRESS).with("name", &wanted.name).with("capacity", wanted.provider)),
        Some(found) => Change::update(ADDRESS, difference(found, &wanted)),
    });
    Answer::new(output(&wanted, found.as_ref()), changes)
}

async fn prune(ecs: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(ecs, context).await?))
}

/// Deletes our clusters that the spec doesn't mention; in a plan only names them.
async fn delete_dropped(ecs: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept = wanted(context).map(|wanted| wanted.name);
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
    let provider =
        found.default_capacity_provider_strategy().first().map_or("none", |item| item.capacity_provider());
    let insights = found.settings().iter().any(|setting| {
        setting.name() == Some(&ClusterSettingName::ContainerInsights) && setting.value() != Some("disabled")
    });
    [compare("capacity", provider, wanted.provider), compare("insights", insights, wanted.insights)]
        .into_iter()
        .flatten()
        .chain(missing_tags(&tags(found), &wanted.tags))
        .collect()
}

async fn create(ecs: &Client, wanted: &Wanted) -> Result<Cluster> {
    let created = ecs
        .create_cluster()
        .cluster_name(&wanted.name)
        .set_capacity_providers(Some(PROVIDERS.map(str::to_owned).to_vec()))
        .default_capacity_provider_strategy(strategy(wanted)?)
        .settings(insights(wanted))
        .set_tags(Some(tag_list(wanted)))
        .send()
        .await
        .doing(|| format!("creating ECS cluster ({})", wanted.name))?;
    created
        .cluster
        .ok_or_else(|| Error::Failed(format!("creating ECS cluster ({}): no cluster answered", wanted.name)))
}

async fn update(ecs: &Client, found: &Cluster, wanted: &Wanted) -> Result<Cluster> {
    let arn = found.cluster_arn().unwrap_or_default();
    let tagged = ecs.tag_resource().resource_arn(arn).set_tags(Some(tag_list(wanted))).send().await;
    tagged.doing(|| format!("tagging ECS cluster ({})", wanted.name))?;
    ecs.put_cluster_capacity_providers()
        .cluster(&wanted.name)
        .set_capacity_providers(Some(PROVIDERS.map(str::to_owned).to_vec()))
        .default_capacity_provider_strategy(strategy(wanted)?)
        .send()
        .await
        .doing(|| format!("changing the capacity of ECS cluster ({})", wanted.name))?;
    let updated = ecs
        .update_cluster_settings()
        .cluster(&wanted.name)
        .settings(insights(wanted))
        .send()
        .await
        .doing(|| format!("changing the settings of ECS cluster ({})", wanted.name))?;
    updated
        .cluster
        .ok_or_else(|| Error::Failed(format!("changing ECS cluster ({}): no cluster answered", wanted.name)))
}

fn tag_list(wanted: &Wanted) -> Vec<Tag> {
    wanted.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn strategy(wanted: &Wanted) -> Result<CapacityProviderStrategyItem> {
    CapacityProviderStrategyItem::builder()
        .capacity_provider(wanted.provider)
        .weight(1)
        .build()
        .map_err(|error| Error::Failed(format!("writing a capacity provider strategy: {error}")))
}

fn insights(wanted: &Wanted) -> ClusterSetting {
    let value = if wanted.insights { "enabled" } else { "disabled" };
    ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value(value).build()
}

async fn delete(ecs: &Client, name: &str) -> Result<()> {
    let deleted = ecs.delete_cluster().cluster(name).send().await;
    deleted.unless_absent(&["ClusterNotFoundException"], || format!("deleting ECS cluster ({name})"))?;
    Ok(())
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

fn output(wanted: &Wanted, found: Option<&Cluster>) -> ClusterOutput {
    let arn = found.and_then(Cluster::cluster_arn).unwrap_or(UNKNOWN);
    ClusterOutput { name: wanted.name.clone(), arn: arn.to_owned() }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::operation::{
        create_cluster::CreateClusterOutput, delete_cluster::DeleteClusterOutput,
        describe_clusters::DescribeClustersOutput, list_clusters::ListClustersOutput,
        put_cluster_capacity_providers::PutClusterCapacityProvidersOutput, tag_resource::TagResourceOutput,
        update_cluster_settings::UpdateClusterSettingsOutput,
    };
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use spec::Spec;
    use step::Outputs;

    use super::*;

    const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, cluster: {} }";

    fn context(operation: Operation) -> Context {
        step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
    }

    fn dropped(operation: Operation) -> Context {
        step::test::context(operation, Spec::empty("demo"), Outputs::default())
    }

    /// The cluster as AWS describes it when it is what the spec says.
    fn cluster() -> aws_sdk_ecs::types::builders::ClusterBuilder {
        let item = CapacityProviderStrategyItem::builder().capacity_provider("FARGATE").weight(1).build();
        let tags = context(Operation::Plan).tags(ADDRESS);
        Cluster::builder()
            .cluster_name("demo")
            .cluster_arn("arn:demo")
            .status("ACTIVE")
            .default_capacity_provider_strategy(item.expect("an item"))
            .set_tags(Some(
                tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect(),
            ))
    }

    fn described(clusters: Vec<Cluster>) -> Rule {
        mock!(Client::describe_clusters).then_output(move || {
            DescribeClustersOutput::builder().set_clusters(Some(clusters.clone())).build()
        })
    }

    fn listed() -> Rule {
        mock!(Client::list_clusters)
            .then_output(|| ListClustersOutput::builder().cluster_arns("arn:demo").build())
    }

    /// A client that refuses every call for which there is no rule.
    fn client(rules: &[&Rule]) -> Client {
        mock_client!(aws_sdk_ecs, RuleMode::MatchAny, rules)
    }

    #[tokio::test]
    async fn a_missing_cluster_is_created_with_our_tags() {
        let create = mock!(Client::create_cluster)
            .match_requests(|request| {
                request.cluster_name() == Some("demo")
                    && request
                        .tags()
                        .iter()
                        .any(|tag| tag.key() == Some("plinth:environment") && tag.value() == Some("demo"))
            })
            .then_output(|| CreateClusterOutput::builder().cluster(cluster().build()).build());
        let gone = cluster().status("INACTIVE").build();
        let answer = ensure(&client(&[&described(vec![gone]), &create]), &context(Operation::Ensure)).await;
        assert_eq!(answer.expect("an answer").output["arn"], "arn:demo");
        assert_eq!(create.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_cluster_that_matches_is_left_alone() {
        let answer =
            ensure(&client(&[&described(vec![cluster().build()])]), &context(Operation::Ensure)).await;
        assert_eq!(answer.expect("an answer").output["name"], "demo");
    }

    #[tokio::test]
    async fn a_cluster_that_is_provisioning_is_waited_for() {
        let new = cluster().status("PROVISIONING").build();
        let error = ensure(&client(&[&described(vec![new])]), &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            ("NotReadySoon", "ECS cluster (demo) is provisioning")
        );
    }

    #[tokio::test]
    async fn capacity_that_drifted_is_planned_and_put_back() {
        let spot = CapacityProviderStrategyItem::builder()
            .capacity_provider("FARGATE_SPOT")
            .build()
            .expect("an item");
        let drifted = cluster().set_default_capacity_provider_strategy(Some(vec![spot])).build();
        let read = [&described(vec![drifted]), &listed()];
        let planned = plan(&client(&read), &context(Operation::Plan)).await.expect("an answer");
        let fields = vec![Field {
            name: "capacity".into(),
            found: Some("FARGATE_SPOT".into()),
            wanted: "FARGATE".into(),
        }];
        assert_eq!(planned.changes, Vec::from_iter(Change::update("cluster", fields)));

        let put = mock!(Client::put_cluster_capacity_providers)
            .match_requests(|request| {
                request.default_capacity_provider_strategy()[0].capacity_provider() == "FARGATE"
            })
            .then_output(|| PutClusterCapacityProvidersOutput::builder().build());
        let settings = mock!(Client::update_cluster_settings)
            .then_output(|| UpdateClusterSettingsOutput::builder().cluster(cluster().build()).build());
        let tag = mock!(Client::tag_resource).then_output(|| TagResourceOutput::builder().build());
        let rules = [read[0], &put, &settings, &tag];
        ensure(&client(&rules), &context(Operation::Ensure)).await.expect("an answer");
        assert_eq!(put.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_tag_that_the_spec_gained_is_planned() {
        let mut context = context(Operation::Plan);
        context.spec.tags.insert("team".to_owned(), "qa".to_owned());
        let rules = [&described(vec![cluster().build()]), &listed()];
        let planned = plan(&client(&rules), &context).await.expect("an answer");
        assert_eq!(planned.changes[0].fields[0].name, "tags.team");
    }

    #[tokio::test]
    async fn a_cluster_of_somebody_else_is_refused() {
        let theirs = described(vec![cluster().set_tags(None).build()]);
        let error = ensure(&client(&[&theirs]), &context(Operation::Ensure)).await.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
    }

    #[tokio::test]
    async fn a_dropped_cluster_is_planned_and_deleted() {
        let delete = mock!(Client::delete_cluster)
            .match_requests(|request| request.cluster() == Some("demo"))
            .then_output(|| DeleteClusterOutput::builder().build());
        let rules = [&listed(), &described(vec![cluster().build()]), &delete];
        let planned = plan(&client(&rules), &dropped(Operation::Plan)).await.expect("an answer");
        assert_eq!((planned.changes.len(), delete.num_calls()), (1, 0));
        prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(delete.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_cluster_that_is_gone_or_not_ours_is_not_deleted() {
        let gone = cluster().status("INACTIVE").build();
        let theirs = cluster().set_tags(None).build();
        let rules = [&listed(), &described(vec![gone, theirs])];
        let pruned = prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
        assert_eq!(pruned.changes, []);
    }
}

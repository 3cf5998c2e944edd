use aws_sdk_ecs::{
    error::ErrorMetadata,
    operation::{
        create_cluster::CreateClusterOutput,
        delete_cluster::{DeleteClusterError, DeleteClusterOutput},
        describe_clusters::DescribeClustersOutput,
        list_clusters::ListClustersOutput,
        put_cluster_capacity_providers::PutClusterCapacityProvidersOutput,
        tag_resource::TagResourceOutput,
        update_cluster_settings::UpdateClusterSettingsOutput,
    },
};
use aws_sdk_servicediscovery::{
    operation::{
        create_private_dns_namespace::{CreatePrivateDnsNamespaceError, CreatePrivateDnsNamespaceOutput},
        delete_namespace::{DeleteNamespaceError, DeleteNamespaceOutput},
        get_operation::GetOperationOutput,
        list_namespaces::ListNamespacesOutput,
        list_operations::ListOperationsOutput,
        list_tags_for_resource::ListTagsForResourceOutput,
        tag_resource::TagResourceOutput as TagNamespaceOutput,
    },
    types::{
        NamespaceFilter, NamespaceSummary, Operation as Progress, OperationStatus, OperationSummary,
        Tag as NamespaceTag,
        error::{DuplicateRequest, NamespaceAlreadyExists, ResourceInUse},
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::{NetworkOutput, Outputs};

use super::*;

const SPEC: &str = "{ apiVersion: plinth/v1, name: demo, cluster: {} }";

fn context(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

const SHARED: &str = "{ apiVersion: plinth/v1, name: demo, cluster: { name: shared, existing: true } }";

fn with(operation: Operation, text: &str) -> Context {
    let network = NetworkOutput { vpc: "vpc-1".to_owned(), ..NetworkOutput::default() };
    let outputs = Outputs { network: Some(network), ..Outputs::default() };
    step::test::context(operation, spec::parse(text, None).expect("a spec"), outputs)
}

fn field_names(change: &Change) -> Vec<&str> {
    change.fields.iter().map(|field| field.name.as_str()).collect()
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
    mock!(Client::describe_clusters)
        .then_output(move || DescribeClustersOutput::builder().set_clusters(Some(clusters.clone())).build())
}

fn listed() -> Rule {
    mock!(Client::list_clusters)
        .then_output(|| ListClustersOutput::builder().cluster_arns("arn:demo").build())
}

/// A client that refuses every call for which there is no rule.
fn client(rules: &[&Rule]) -> Client {
    mock_client!(aws_sdk_ecs, RuleMode::MatchAny, rules)
}

fn cloud_map(rules: &[&Rule]) -> CloudMap {
    mock_client!(aws_sdk_servicediscovery, RuleMode::MatchAny, rules)
}

/// Cloud Map without a namespace.
fn no_names() -> CloudMap {
    cloud_map(&[&namespaces(false)])
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
    let answer =
        ensure(&client(&[&described(vec![gone]), &create]), &no_names(), &context(Operation::Ensure)).await;
    assert_eq!(answer.expect("an answer").output["arn"], "arn:demo");
    assert_eq!(create.num_calls(), 1);
}

#[tokio::test]
async fn a_cluster_that_matches_is_left_alone() {
    let answer =
        ensure(&client(&[&described(vec![cluster().build()])]), &no_names(), &context(Operation::Ensure))
            .await;
    assert_eq!(answer.expect("an answer").output["name"], "demo");
}

#[tokio::test]
async fn a_cluster_that_is_provisioning_is_waited_for() {
    let new = cluster().status("PROVISIONING").build();
    let error = ensure(&client(&[&described(vec![new])]), &no_names(), &context(Operation::Ensure))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        ("NotReadySoon", "ECS cluster (demo) is provisioning")
    );
}

#[tokio::test]
async fn capacity_that_drifted_is_planned_and_put_back() {
    let spot =
        CapacityProviderStrategyItem::builder().capacity_provider("FARGATE_SPOT").build().expect("an item");
    let drifted = cluster().set_default_capacity_provider_strategy(Some(vec![spot])).build();
    let read = [&described(vec![drifted]), &listed()];
    let planned = plan(&client(&read), &no_names(), &context(Operation::Plan)).await.expect("an answer");
    let fields =
        vec![Field { name: "capacity".into(), found: Some("FARGATE_SPOT".into()), wanted: "FARGATE".into() }];
    assert_eq!(planned.changes, Vec::from_iter(Change::update("cluster", fields)));

    let put = mock!(Client::put_cluster_capacity_providers)
        .match_requests(|request| {
            request.default_capacity_provider_strategy()[0].capacity_provider() == "FARGATE"
                && request.capacity_providers() == ["FARGATE", "FARGATE_SPOT"]
        })
        .then_output(|| PutClusterCapacityProvidersOutput::builder().build());
    let rules = [read[0], &put];
    ensure(&client(&rules), &no_names(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(put.num_calls(), 1);
}

#[tokio::test]
async fn a_tag_that_the_spec_gained_is_planned_and_put() {
    let mut context = context(Operation::Plan);
    context.spec.tags.insert("team".to_owned(), "qa".to_owned());
    let tag = mock!(Client::tag_resource)
        .match_requests(|request| request.tags().iter().any(|tag| tag.key() == Some("team")))
        .then_output(|| TagResourceOutput::builder().build());
    let rules = [&described(vec![cluster().build()]), &listed(), &tag];
    let planned = plan(&client(&rules), &no_names(), &context).await.expect("an answer");
    assert_eq!(field_names(&planned.changes[0]), ["tags.team"]);
    ensure(&client(&rules), &no_names(), &context).await.expect("an answer");
    assert_eq!(tag.num_calls(), 1);
}

#[tokio::test]
async fn insights_that_drifted_are_planned_and_put_back() {
    let on = ClusterSetting::builder().name(ClusterSettingName::ContainerInsights).value("enhanced").build();
    let settings = mock!(Client::update_cluster_settings)
        .match_requests(|request| request.settings()[0].value() == Some("disabled"))
        .then_output(|| UpdateClusterSettingsOutput::builder().build());
    let rules = [&described(vec![cluster().settings(on).build()]), &listed(), &settings];
    let planned = plan(&client(&rules), &no_names(), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(field_names(&planned.changes[0]), ["insights"]);
    ensure(&client(&rules), &no_names(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(settings.num_calls(), 1);
}

#[tokio::test]
async fn a_cluster_of_instances_is_made_without_providers_and_keeps_those_it_has() {
    let spec =
        "{ apiVersion: plinth/v1, name: demo, cluster: { capacity: ec2, instances: { type: t3.small } } }";
    let context = |operation| with(operation, spec);
    let create = mock!(Client::create_cluster)
        .match_requests(|request| {
            request.capacity_providers().is_empty() && request.default_capacity_provider_strategy().is_empty()
        })
        .then_output(|| CreateClusterOutput::builder().cluster(cluster().build()).build());
    let rules = [&described(Vec::new()), &create];
    ensure(&client(&rules), &no_names(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(create.num_calls(), 1);

    // Whatever is on it, it's the step `capacity` that compares it.
    let found = [&described(vec![cluster().build()]), &listed()];
    ensure(&client(&found), &no_names(), &context(Operation::Ensure)).await.expect("an answer");
    let planned = plan(&client(&found), &no_names(), &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn a_cluster_that_leaves_its_instances_gets_fargate_beside_them() {
    let item = CapacityProviderStrategyItem::builder().capacity_provider("plinth-demo").build();
    let found = cluster()
        .capacity_providers("plinth-demo")
        .set_default_capacity_provider_strategy(Some(vec![item.expect("an item")]))
        .build();
    let put = mock!(Client::put_cluster_capacity_providers)
        .match_requests(|request| {
            request.capacity_providers() == ["FARGATE", "FARGATE_SPOT", "plinth-demo"]
                && request.default_capacity_provider_strategy()[0].capacity_provider() == "FARGATE"
        })
        .then_output(|| PutClusterCapacityProvidersOutput::builder().build());
    let rules = [&described(vec![found]), &put];
    ensure(&client(&rules), &no_names(), &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(put.num_calls(), 1);
}

#[tokio::test]
async fn a_cluster_of_somebody_else_is_used_and_let_alone() {
    let theirs = cluster().cluster_name("shared").set_tags(None).build();
    let rules = [&listed(), &described(vec![theirs])];
    let planned =
        plan(&client(&rules), &no_names(), &with(Operation::Plan, SHARED)).await.expect("an answer");
    assert_eq!(planned.changes, []);
    let answer = ensure(&client(&rules), &no_names(), &with(Operation::Ensure, SHARED)).await;
    assert_eq!(answer.expect("an answer").output, serde_json::json!({ "name": "shared", "arn": "arn:demo" }));
    let pruned = prune(&client(&rules), &no_names(), &with(Operation::Prune, SHARED)).await;
    assert_eq!(pruned.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_cluster_that_should_be_there_and_is_not_is_told_in_the_plan() {
    for found in [Vec::new(), vec![cluster().cluster_name("shared").status("DEPROVISIONING").build()]] {
        let rules = [&listed(), &described(found)];
        let planned = plan(&client(&rules), &no_names(), &with(Operation::Plan, SHARED)).await;
        let error = planned.expect_err("a fault");
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains("ECS cluster (shared) in us-east-1"), "{error}");
    }
}

#[tokio::test]
async fn a_cluster_of_somebody_else_is_refused() {
    let theirs = described(vec![cluster().set_tags(None).build()]);
    let error = ensure(&client(&[&theirs]), &no_names(), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_dropped_cluster_is_planned_and_deleted() {
    let delete = mock!(Client::delete_cluster)
        .match_requests(|request| request.cluster() == Some("demo"))
        .then_output(|| DeleteClusterOutput::builder().build());
    let rules = [&listed(), &described(vec![cluster().build()]), &delete];
    let planned = plan(&client(&rules), &no_names(), &dropped(Operation::Plan)).await.expect("an answer");
    assert_eq!((planned.changes.len(), delete.num_calls()), (1, 0));
    prune(&client(&rules), &no_names(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(delete.num_calls(), 1);
}

#[tokio::test]
async fn a_cluster_that_tasks_still_leave_is_waited_for() {
    let in_use = mock!(Client::delete_cluster).then_error(|| {
        let code = ErrorMetadata::builder().code("ClusterContainsContainerInstancesException").build();
        DeleteClusterError::generic(code)
    });
    let rules = [&listed(), &described(vec![cluster().build()]), &in_use];
    let error = prune(&client(&rules), &no_names(), &dropped(Operation::Prune)).await.expect_err("a wait");
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn a_cluster_that_is_gone_or_not_ours_is_not_deleted() {
    let gone = cluster().status("INACTIVE").build();
    let theirs = cluster().set_tags(None).build();
    let rules = [&listed(), &described(vec![gone, theirs])];
    let pruned = prune(&client(&rules), &no_names(), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

/// A spec in which one service's name is referred to.
const NAMED: &str = "
apiVersion: plinth/v1
name: demo
network: {}
cluster: {}
services:
  api: { image: api, ports: [80] }
  web: { image: web, environment: { API: 'http://${services.api.host}' } }
";

/// Whether Cloud Map lists our namespace.
fn namespaces(there: bool) -> Rule {
    mock!(CloudMap::list_namespaces)
        .match_requests(|request| {
            let values: Vec<_> = request.filters().iter().flat_map(NamespaceFilter::values).collect();
            values == ["DNS_PRIVATE", "demo.internal"]
        })
        .then_output(move || {
            let found = NamespaceSummary::builder().id("ns-1").arn("arn:ns-1").build();
            ListNamespacesOutput::builder().set_namespaces(there.then(|| vec![found])).build()
        })
}

/// The namespace's tags: ours, in this VPC, without those of these keys.
fn tagged(vpc: &str, without: &[&str]) -> Rule {
    let mut tags = with(Operation::Plan, NAMED).tags(namespace::ADDRESS);
    tags.insert("plinth:vpc".to_owned(), vpc.to_owned());
    tags.retain(|key, _| !without.contains(&key.as_str()));
    let tag = |(key, value)| NamespaceTag::builder().key(key).value(value).build().expect("a tag");
    let tags: Vec<_> = tags.into_iter().map(tag).collect();
    mock!(CloudMap::list_tags_for_resource)
        .then_output(move || ListTagsForResourceOutput::builder().set_tags(Some(tags.clone())).build())
}

/// Operations that failed, as many as there are messages; each read answers the next.
fn failed(message: Option<&'static str>) -> Rule {
    mock!(CloudMap::list_operations)
        .match_requests(|request| request.filters().iter().any(|filter| filter.values() == ["FAIL"]))
        .then_output(move || {
            let found = OperationSummary::builder().id("failed").build();
            ListOperationsOutput::builder().set_operations(message.map(|_| vec![found])).build()
        })
}

fn operation(id: &'static str, status: OperationStatus, message: Option<&'static str>) -> Rule {
    mock!(CloudMap::get_operation)
        .match_requests(move |request| request.operation_id() == Some(id))
        .then_output(move || {
            let found =
                Progress::builder().id(id).status(status.clone()).error_code("CANNOT_CREATE_HOSTED_ZONE");
            let found = found.set_error_message(message.map(str::to_owned)).build();
            GetOperationOutput::builder().operation(found).build()
        })
}

fn our_cluster() -> Client {
    client(&[&described(vec![cluster().build()]), &listed()])
}

#[tokio::test]
async fn names_that_are_referred_to_get_a_namespace_which_is_waited_for() {
    let create = mock!(CloudMap::create_private_dns_namespace)
        .match_requests(|request| {
            let tag = |key: &str, value: &str| {
                request.tags().iter().any(|tag| tag.key() == key && tag.value() == value)
            };
            request.name() == Some("demo.internal")
                && request.vpc() == Some("vpc-1")
                && request.creator_request_id() == Some("run-cluster.namespace")
                && tag("plinth:address", "cluster.namespace")
                && tag("plinth:environment", "demo")
                && tag("plinth:vpc", "vpc-1")
        })
        .then_output(|| CreatePrivateDnsNamespaceOutput::builder().operation_id("made").build());
    let pending = operation("made", OperationStatus::Submitted, None);
    let names = cloud_map(&[&namespaces(false), &failed(None), &create, &pending]);
    let planned = plan(&our_cluster(), &names, &with(Operation::Plan, NAMED)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::create("cluster.namespace").with("name", "demo.internal")]);
    assert_eq!(planned.output["namespace"], UNKNOWN);
    assert_eq!(create.num_calls(), 0);
    let error = ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect_err("a wait");
    assert_eq!(create.num_calls(), 1);
    assert_eq!(error.to_string(), "Cloud Map namespace (demo.internal) is being created, 0 s of about 45 s");
}

#[tokio::test]
async fn an_answer_that_was_lost_makes_no_second_namespace() {
    let under_way = mock!(CloudMap::create_private_dns_namespace).then_error(|| {
        let error = DuplicateRequest::builder().duplicate_operation_id("made").build();
        CreatePrivateDnsNamespaceError::DuplicateRequest(error)
    });
    let pending = operation("made", OperationStatus::Pending, None);
    let names = cloud_map(&[&namespaces(false), &failed(None), &under_way, &pending]);
    let error = ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect_err("a wait");
    assert_eq!((error.kind(), pending.num_calls()), ("NotReadySoon", 1));
}

#[tokio::test]
async fn a_namespace_that_is_there_is_left_alone_and_handed_on() {
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-1", &[])]);
    let answer = ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect("an answer");
    assert_eq!(answer.output["namespace"], "ns-1");
    let planned = plan(&our_cluster(), &names, &with(Operation::Plan, NAMED)).await.expect("an answer");
    assert_eq!((planned.changes, &planned.output["namespace"]), (Vec::new(), &"ns-1".into()));
}

#[tokio::test]
async fn a_tag_that_the_namespace_lacks_is_planned_and_put() {
    let mut context = with(Operation::Ensure, NAMED);
    context.spec.tags.insert("team".to_owned(), "qa".to_owned());
    let tag = mock!(CloudMap::tag_resource).then_output(|| TagNamespaceOutput::builder().build());
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-1", &[]), &tag]);
    // The cluster's own tag is put by its own call.
    let tag_cluster = mock!(Client::tag_resource).then_output(|| TagResourceOutput::builder().build());
    let ecs = client(&[&described(vec![cluster().build()]), &listed(), &tag_cluster]);
    let planned = plan(&ecs, &names, &context).await.expect("an answer");
    let change = planned.changes.iter().find(|change| change.address == "cluster.namespace");
    assert_eq!(field_names(change.expect("a change")), ["tags.team"]);
    ensure(&ecs, &names, &context).await.expect("an answer");
    assert_eq!(tag.num_calls(), 1);
}

#[tokio::test]
async fn a_namespace_in_another_vpc_is_refused_with_a_remedy() {
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-2", &[])]);
    for operation in [Operation::Plan, Operation::Ensure] {
        let context = with(operation, NAMED);
        let answer = match operation {
            Operation::Plan => plan(&our_cluster(), &names, &context).await,
            _ => ensure(&our_cluster(), &names, &context).await,
        };
        let error = answer.expect_err("a conflict");
        assert_eq!(error.kind(), "Conflict");
        assert!(
            error.to_string().contains("is in vpc-2") && error.to_string().contains("take every"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_plan_that_knows_no_vpc_yet_finds_no_fault_with_the_namespace() {
    let mut context = with(Operation::Plan, NAMED);
    context.outputs.network.as_mut().expect("a network").vpc = UNKNOWN.to_owned();
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-2", &[])]);
    assert_eq!(plan(&our_cluster(), &names, &context).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn somebody_elses_namespace_in_the_vpc_is_a_conflict() {
    let exists = mock!(CloudMap::create_private_dns_namespace).then_error(|| {
        let error = NamespaceAlreadyExists::builder().message("it exists").build();
        CreatePrivateDnsNamespaceError::NamespaceAlreadyExists(error)
    });
    let theirs = tagged("vpc-1", &["plinth:environment"]);
    let names = cloud_map(&[&namespaces(true), &theirs, &failed(None), &exists]);
    let error =
        ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect_err("a conflict");
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("demo.internal is taken in vpc-1"), "{error}");
}

#[tokio::test]
async fn a_creation_that_failed_is_told_with_its_error() {
    for (message, kind) in [
        ("The VPC vpc-1 has already been associated with a hosted zone of this name", "Conflict"),
        ("The VPC vpc-1 has no room", "Failed"),
    ] {
        let names = cloud_map(&[
            &namespaces(false),
            &failed(Some(message)),
            &operation("failed", OperationStatus::Fail, Some(message)),
        ]);
        let error =
            ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect_err("a fault");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_failed_creation_of_somebody_else_is_no_concern_of_ours() {
    let create = mock!(CloudMap::create_private_dns_namespace)
        .then_output(|| CreatePrivateDnsNamespaceOutput::builder().operation_id("made").build());
    let names = cloud_map(&[
        &namespaces(false),
        &failed(Some("")),
        &operation("failed", OperationStatus::Fail, Some("The VPC vpc-9 has no room")),
        &create,
        &operation("made", OperationStatus::Pending, None),
    ]);
    let error = ensure(&our_cluster(), &names, &with(Operation::Ensure, NAMED)).await.expect_err("a wait");
    assert_eq!((error.kind(), create.num_calls()), ("NotReadySoon", 1));
}

#[tokio::test]
async fn a_namespace_without_names_is_planned_and_deleted_and_waited_for() {
    let delete = mock!(CloudMap::delete_namespace)
        .match_requests(|request| request.id() == Some("ns-1"))
        .then_output(|| DeleteNamespaceOutput::builder().operation_id("gone").build());
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-1", &[]), &failed(None), &delete]);
    let planned = plan(&our_cluster(), &names, &context(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("cluster.namespace").with("name", "demo.internal")]);
    assert_eq!(delete.num_calls(), 0);
    let error = prune(&our_cluster(), &names, &context(Operation::Prune)).await.expect_err("a wait");
    assert!(error.to_string().starts_with("Cloud Map namespace (demo.internal) is being deleted"), "{error}");
    assert_eq!(delete.num_calls(), 1);
    // Once it isn't listed any more there is nothing left to do.
    let pruned = prune(&our_cluster(), &no_names(), &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

#[tokio::test]
async fn a_namespace_in_use_or_on_its_way_out_is_waited_for() {
    let in_use = || DeleteNamespaceError::ResourceInUse(ResourceInUse::builder().build());
    let under_way = || DeleteNamespaceError::DuplicateRequest(DuplicateRequest::builder().build());
    for delete in [
        mock!(CloudMap::delete_namespace).then_error(in_use),
        mock!(CloudMap::delete_namespace).then_error(under_way),
    ] {
        let names = cloud_map(&[&namespaces(true), &tagged("vpc-1", &[]), &failed(None), &delete]);
        let error = prune(&our_cluster(), &names, &context(Operation::Prune)).await.expect_err("a wait");
        assert_eq!((error.kind(), delete.num_calls()), ("NotReadySoon", 1));
    }
}

#[tokio::test]
async fn a_deletion_that_failed_is_told_with_its_error() {
    let names = cloud_map(&[
        &namespaces(true),
        &tagged("vpc-1", &[]),
        &failed(Some("")),
        &operation("failed", OperationStatus::Fail, Some("the hosted zone has other records")),
    ]);
    let error = prune(&our_cluster(), &names, &context(Operation::Prune)).await.expect_err("a fault");
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("the hosted zone has other records"), "{error}");
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_not_deleted() {
    let names = cloud_map(&[&namespaces(true), &tagged("vpc-1", &["plinth:control-plane"])]);
    let pruned = prune(&our_cluster(), &names, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(pruned.changes, []);
}

use aws_sdk_autoscaling::{
    operation::{
        create_auto_scaling_group::{CreateAutoScalingGroupError, CreateAutoScalingGroupOutput},
        create_or_update_tags::CreateOrUpdateTagsOutput,
        delete_auto_scaling_group::DeleteAutoScalingGroupOutput,
        describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput,
        describe_instance_refreshes::DescribeInstanceRefreshesOutput,
        describe_scaling_activities::DescribeScalingActivitiesOutput,
        set_instance_protection::SetInstanceProtectionOutput,
        start_instance_refresh::StartInstanceRefreshOutput,
        update_auto_scaling_group::{UpdateAutoScalingGroupError, UpdateAutoScalingGroupOutput},
    },
    primitives::DateTime,
    types::{
        Activity, AutoScalingGroup, Instance, InstanceRefresh, InstanceRefreshStatus,
        LaunchTemplateSpecification, LifecycleState, ScaleInProtectedInstances, ScalingActivityStatusCode,
        TagDescription, builders::AutoScalingGroupBuilder,
    },
};
use aws_sdk_ec2::{
    operation::{
        create_launch_template::CreateLaunchTemplateOutput,
        create_launch_template_version::CreateLaunchTemplateVersionOutput, create_tags::CreateTagsOutput,
        delete_launch_template::DeleteLaunchTemplateOutput,
        delete_launch_template_versions::DeleteLaunchTemplateVersionsOutput,
        describe_instance_type_offerings::DescribeInstanceTypeOfferingsOutput,
        describe_instance_types::DescribeInstanceTypesOutput, describe_instances::DescribeInstancesOutput,
        describe_launch_template_versions::DescribeLaunchTemplateVersionsOutput,
        describe_launch_templates::DescribeLaunchTemplatesOutput,
        modify_launch_template::ModifyLaunchTemplateOutput,
    },
    types::{
        ArchitectureType, InstanceTypeInfo, InstanceTypeOffering, LaunchTemplate,
        LaunchTemplateBlockDeviceMapping, LaunchTemplateEbsBlockDevice, LaunchTemplateHttpTokensState,
        LaunchTemplateIamInstanceProfileSpecification, LaunchTemplateInstanceMetadataOptions,
        LaunchTemplateInstanceNetworkInterfaceSpecification, LaunchTemplateTagSpecification,
        LaunchTemplateVersion, ProcessorInfo, Reservation, ResourceType, ResponseLaunchTemplateData,
        VolumeType, builders::ResponseLaunchTemplateDataBuilder,
    },
};
use aws_sdk_ecs::{
    error::ErrorMetadata,
    operation::{
        create_capacity_provider::CreateCapacityProviderOutput,
        delete_capacity_provider::{DeleteCapacityProviderError, DeleteCapacityProviderOutput},
        deregister_container_instance::DeregisterContainerInstanceOutput,
        describe_capacity_providers::DescribeCapacityProvidersOutput,
        describe_clusters::DescribeClustersOutput,
        list_clusters::ListClustersOutput,
        list_container_instances::ListContainerInstancesOutput,
        put_cluster_capacity_providers::{
            PutClusterCapacityProvidersError, PutClusterCapacityProvidersOutput,
        },
        tag_resource::TagResourceOutput,
        update_capacity_provider::UpdateCapacityProviderOutput,
    },
    types::{
        AutoScalingGroupProvider, CapacityProvider, CapacityProviderStatus, CapacityProviderStrategyItem,
        CapacityProviderUpdateStatus, Cluster, ManagedDraining, ManagedScaling, ManagedScalingStatus,
        ManagedTerminationProtection, builders::CapacityProviderBuilder, builders::ClusterBuilder,
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::{FileSystemOutput, NetworkOutput, Outputs, UNKNOWN};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
network: {}
cluster: { capacity: ec2, instances: { type: t3.small, max: 3 } }
";

const GROUP_ARN: &str = "arn:group";

fn context(operation: Operation) -> Context {
    with(operation, SPEC)
}

fn with(operation: Operation, text: &str) -> Context {
    let network = NetworkOutput {
        vpc: "vpc-1".to_owned(),
        private: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
        public: vec!["subnet-3".to_owned()],
        group: "sg-1".to_owned(),
        ..NetworkOutput::default()
    };
    let outputs = Outputs { network: Some(network), ..Outputs::default() };
    step::test::context(operation, spec::parse(text, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn spoken(context: &Context) -> Wanted<'_> {
    wanted(context, instances(context).expect("instances")).expect("what is wanted")
}

/// Clients that refuse every call for which there is no rule.
fn clients(rules: &[&Rule]) -> Clients {
    Clients {
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules),
        auto_scaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, rules),
        ecs: mock_client!(aws_sdk_ecs, RuleMode::MatchAny, rules),
    }
}

fn ec2_tags(tags: &BTreeMap<String, String>) -> Vec<aws_sdk_ec2::types::Tag> {
    let tag = |(key, value)| aws_sdk_ec2::types::Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

fn ecs_tags(tags: &BTreeMap<String, String>) -> Vec<aws_sdk_ecs::types::Tag> {
    let tag = |(key, value)| aws_sdk_ecs::types::Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

/// A version of the template as EC2 tells it when it is what the spec says.
fn data() -> ResponseLaunchTemplateDataBuilder {
    let context = context(Operation::Plan);
    let wanted = spoken(&context);
    let volume =
        LaunchTemplateEbsBlockDevice::builder().volume_type(VolumeType::Gp3).volume_size(30).encrypted(true);
    let root =
        LaunchTemplateBlockDeviceMapping::builder().device_name("/dev/xvda").ebs(volume.build()).build();
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecification::builder()
        .groups("sg-1")
        .associate_public_ip_address(false)
        .build();
    let metadata = LaunchTemplateInstanceMetadataOptions::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .build();
    let tagged = |kind| {
        let tags = Some(ec2_tags(&wanted.tags));
        LaunchTemplateTagSpecification::builder().resource_type(kind).set_tags(tags).build()
    };
    ResponseLaunchTemplateData::builder()
        .image_id("resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
        .instance_type("t3.small".into())
        .iam_instance_profile(
            LaunchTemplateIamInstanceProfileSpecification::builder().name("demo-instances").build(),
        )
        .network_interfaces(interface)
        .block_device_mappings(root)
        .metadata_options(metadata)
        .user_data(user_data::to_base64(&wanted.user_data))
        .tag_specifications(tagged(ResourceType::Instance))
        .tag_specifications(tagged(ResourceType::Volume))
}

/// The template, whose default is this one of its versions, counted from 1.
fn template(default: i64, versions: Vec<ResponseLaunchTemplateData>) -> Vec<Rule> {
    tagged_template(default, versions, &spoken(&context(Operation::Plan)).template_tags)
}

fn tagged_template(
    default: i64,
    versions: Vec<ResponseLaunchTemplateData>,
    tags: &BTreeMap<String, String>,
) -> Vec<Rule> {
    let template = LaunchTemplate::builder()
        .launch_template_id("lt-1")
        .launch_template_name("demo-instances")
        .default_version_number(default)
        .set_tags(Some(ec2_tags(tags)))
        .build();
    let version = |(number, data)| {
        LaunchTemplateVersion::builder().version_number(number).launch_template_data(data).build()
    };
    let versions: Vec<_> = (1..).zip(versions).map(version).collect();
    vec![
        mock!(Ec2::describe_launch_templates).then_output(move || {
            DescribeLaunchTemplatesOutput::builder().launch_templates(template.clone()).build()
        }),
        mock!(Ec2::describe_launch_template_versions).then_output(move || {
            let versions = Some(versions.clone());
            DescribeLaunchTemplateVersionsOutput::builder().set_launch_template_versions(versions).build()
        }),
    ]
}

fn no_template() -> Rule {
    mock!(Ec2::describe_launch_templates).then_output(|| DescribeLaunchTemplatesOutput::builder().build())
}

/// The group as Auto Scaling tells it when it is what the spec says and its instance runs.
fn group() -> AutoScalingGroupBuilder {
    let tags = spoken(&context(Operation::Plan)).tags.clone();
    let tag =
        |(key, value)| TagDescription::builder().key(key).value(value).propagate_at_launch(true).build();
    let template = LaunchTemplateSpecification::builder().launch_template_name("demo-instances");
    AutoScalingGroup::builder()
        .auto_scaling_group_name("demo-instances")
        .auto_scaling_group_arn(GROUP_ARN)
        .launch_template(template.version("$Default").build())
        .min_size(1)
        .max_size(3)
        .desired_capacity(2)
        .vpc_zone_identifier("subnet-2,subnet-1")
        .new_instances_protected_from_scale_in(true)
        .set_tags(Some(tags.into_iter().map(tag).collect()))
}

fn instance(version: &str, state: LifecycleState) -> Instance {
    let template = LaunchTemplateSpecification::builder().version(version).build();
    Instance::builder().instance_id("i-1").lifecycle_state(state).launch_template(template).build()
}

fn running() -> AutoScalingGroup {
    group().instances(instance("1", LifecycleState::InService)).build()
}

fn groups(found: Option<AutoScalingGroup>) -> Rule {
    mock!(AutoScaling::describe_auto_scaling_groups).then_output(move || {
        let found = found.clone().into_iter().collect();
        DescribeAutoScalingGroupsOutput::builder().set_auto_scaling_groups(Some(found)).build()
    })
}

/// The provider as ECS tells it when it is what the spec says.
fn provider() -> CapacityProviderBuilder {
    of_group(GROUP_ARN, 100)
}

fn of_group(arn: &str, target: i32) -> CapacityProviderBuilder {
    let scaling =
        ManagedScaling::builder().status(ManagedScalingStatus::Enabled).target_capacity(target).build();
    let group = AutoScalingGroupProvider::builder()
        .auto_scaling_group_arn(arn)
        .managed_scaling(scaling)
        .managed_termination_protection(ManagedTerminationProtection::Enabled)
        .managed_draining(ManagedDraining::Enabled)
        .build()
        .expect("a group");
    CapacityProvider::builder()
        .name("plinth-demo")
        .capacity_provider_arn("arn:provider")
        .status(CapacityProviderStatus::Active)
        .auto_scaling_group_provider(group)
        .set_tags(Some(ecs_tags(&spoken(&context(Operation::Plan)).provider_tags)))
}

fn providers(found: Option<CapacityProvider>) -> Rule {
    mock!(Ecs::describe_capacity_providers).then_output(move || {
        let found = found.clone().into_iter().collect();
        DescribeCapacityProvidersOutput::builder().set_capacity_providers(Some(found)).build()
    })
}

/// Our cluster with these providers, the last of which is its default.
fn cluster(providers: &[&str]) -> ClusterBuilder {
    let strategy = providers.last().map(|provider| {
        let item = CapacityProviderStrategyItem::builder().capacity_provider(*provider).weight(1).build();
        vec![item.expect("an item")]
    });
    Cluster::builder()
        .cluster_name("demo")
        .status("ACTIVE")
        .set_capacity_providers(Some(providers.iter().map(|name| (*name).to_owned()).collect()))
        .set_default_capacity_provider_strategy(strategy)
        .set_tags(Some(ecs_tags(&context(Operation::Plan).tags("cluster"))))
}

fn clusters(found: Cluster) -> Vec<Rule> {
    vec![
        mock!(Ecs::describe_clusters)
            .then_output(move || DescribeClustersOutput::builder().clusters(found.clone()).build()),
        mock!(Ecs::list_clusters)
            .then_output(|| ListClustersOutput::builder().cluster_arns("arn:demo").build()),
    ]
}

fn joined(count: usize) -> Rule {
    mock!(Ecs::list_container_instances).then_output(move || {
        let arns = vec!["arn:instance".to_owned(); count];
        ListContainerInstancesOutput::builder().set_container_instance_arns(Some(arns)).build()
    })
}

/// Takes an instance off the cluster.
fn forgotten() -> Rule {
    mock!(Ecs::deregister_container_instance)
        .match_requests(|request| {
            request.container_instance() == Some("arn:instance") && request.force() == Some(true)
        })
        .then_output(|| DeregisterContainerInstanceOutput::builder().build())
}

/// What EC2 offers.
fn offered(types: &'static [&'static str], architecture: ArchitectureType) -> Vec<Rule> {
    let offering = |kind: &&str| InstanceTypeOffering::builder().instance_type((*kind).into()).build();
    let info = ProcessorInfo::builder().supported_architectures(architecture).build();
    let info = InstanceTypeInfo::builder().processor_info(info).build();
    vec![
        mock!(Ec2::describe_instance_type_offerings).then_output(move || {
            let offerings = types.iter().map(offering).collect();
            DescribeInstanceTypeOfferingsOutput::builder()
                .set_instance_type_offerings(Some(offerings))
                .build()
        }),
        mock!(Ec2::describe_instance_types)
            .then_output(move || DescribeInstanceTypesOutput::builder().instance_types(info.clone()).build()),
    ]
}

/// Everything when all is as the spec says, but for what comes first.
fn standing(first: Vec<Rule>) -> Vec<Rule> {
    let mut rules = first;
    rules.extend(template(1, vec![data().build()]));
    rules.push(groups(Some(running())));
    rules.push(providers(Some(provider().build())));
    rules.extend(clusters(cluster(&["plinth-demo"]).build()));
    rules.push(joined(1));
    rules.extend(offered(&["t3.small"], ArchitectureType::X8664));
    rules
}

/// The plan of a world that is as it should be, but for what comes first.
async fn planned(first: Vec<Rule>) -> Vec<Change> {
    let rules = standing(first);
    let rules: Vec<&Rule> = rules.iter().collect();
    plan(&clients(&rules), &context(Operation::Plan)).await.expect("an answer").changes
}

async fn ensured(first: &[&Rule]) -> Result<Answer> {
    let rest = standing(Vec::new());
    let rules: Vec<&Rule> = first.iter().copied().chain(&rest).collect();
    // On the heap: it is told the world from a hundred places.
    Box::pin(ensure(&clients(&rules), &context(Operation::Ensure))).await
}

fn names(change: &Change) -> Vec<&str> {
    change.fields.iter().map(|field| field.name.as_str()).collect()
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    assert_eq!(planned(Vec::new()).await, []);
    assert_eq!(ensured(&[]).await.expect("an answer"), Answer::default());
}

#[tokio::test]
async fn a_missing_template_is_made_with_our_tags_for_itself_and_what_is_started_from_it() {
    let create = mock!(Ec2::create_launch_template)
        .match_requests(|request| {
            let address = |tags: &[aws_sdk_ec2::types::Tag], address: &str| {
                tags.iter().any(|tag| tag.key() == Some("plinth:address") && tag.value() == Some(address))
            };
            let data = request.launch_template_data().expect("data");
            let metadata = data.metadata_options().expect("options");
            let volume = data.block_device_mappings()[0].ebs().expect("a volume");
            let tagged: Vec<_> = data
                .tag_specifications()
                .iter()
                .filter(|given| address(given.tags(), "cluster.instances"))
                .collect();
            request.launch_template_name() == Some("demo-instances")
                && address(request.tag_specifications()[0].tags(), "cluster.instances.template")
                && tagged.len() == 2
                && metadata.http_tokens() == Some(&LaunchTemplateHttpTokensState::Required)
                && metadata.http_put_response_hop_limit() == Some(1)
                && (volume.encrypted(), volume.volume_size()) == (Some(true), Some(30))
                && data.network_interfaces()[0].groups() == ["sg-1"]
                && data.iam_instance_profile().and_then(|profile| profile.name()) == Some("demo-instances")
        })
        .then_output(|| CreateLaunchTemplateOutput::builder().build());
    ensured(&[&no_template(), &create]).await.expect("an answer");
    assert_eq!(create.num_calls(), 1);
    assert_eq!(
        planned(vec![no_template()]).await,
        [Change::create("cluster.instances.template").with("name", "demo-instances")]
    );
}

#[tokio::test]
async fn each_setting_of_the_template_that_drifted_is_planned_as_itself() {
    let volume = LaunchTemplateEbsBlockDevice::builder().volume_type(VolumeType::Gp2).volume_size(8).build();
    let root = LaunchTemplateBlockDeviceMapping::builder().device_name("/dev/xvda").ebs(volume).build();
    let open = LaunchTemplateInstanceMetadataOptions::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Optional)
        .http_put_response_hop_limit(2)
        .build();
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecification::builder()
        .groups("sg-2")
        .associate_public_ip_address(true)
        .build();
    let other = LaunchTemplateIamInstanceProfileSpecification::builder().name("other").build();
    let untagged = |kind| LaunchTemplateTagSpecification::builder().resource_type(kind).build();
    let own = context(Operation::Plan).tags(GROUP);
    let mut of_instances = vec!["instance.tags.Name".to_owned()];
    of_instances.extend(own.keys().map(|key| format!("instance.tags.{key}")));
    let of_instances: Vec<&str> = of_instances.iter().map(String::as_str).collect();
    let drifted = [
        (data().instance_type("t3.large".into()), &["type"][..]),
        (data().image_id("ami-1"), &["image"]),
        (data().iam_instance_profile(other), &["profile"]),
        (data().set_network_interfaces(Some(vec![interface])), &["securityGroup", "publicAddress"]),
        (data().set_block_device_mappings(Some(vec![root])), &["disk", "volumeType", "encrypted"]),
        (data().metadata_options(open), &["metadata.tokens", "metadata.hopLimit"]),
        (data().user_data(user_data::to_base64("#!/bin/sh\n")), &["userData"]),
        (
            {
                let volumes = data().build().tag_specifications()[1].clone();
                data().set_tag_specifications(Some(vec![untagged(ResourceType::Instance), volumes]))
            },
            &of_instances,
        ),
    ];
    for (data, fields) in drifted {
        let changes = planned(template(1, vec![data.build()])).await;
        assert_eq!((changes.len(), changes[0].address.as_str()), (1, "cluster.instances.template"));
        assert_eq!(names(&changes[0]), fields);
    }
}

#[tokio::test]
async fn a_changed_setting_is_a_new_default_version_and_the_old_one_goes() {
    let make = mock!(Ec2::create_launch_template_version)
        .match_requests(|request| {
            request.client_token().is_some_and(|token| token.starts_with("run-cluster.instances.template."))
        })
        .then_output(|| {
            let version = LaunchTemplateVersion::builder().version_number(2).build();
            CreateLaunchTemplateVersionOutput::builder().launch_template_version(version).build()
        });
    let set = mock!(Ec2::modify_launch_template)
        .match_requests(|request| request.default_version() == Some("2"))
        .then_output(|| ModifyLaunchTemplateOutput::builder().build());
    let delete = mock!(Ec2::delete_launch_template_versions)
        .match_requests(|request| request.versions() == ["1"])
        .then_output(|| DeleteLaunchTemplateVersionsOutput::builder().build());
    let refreshes = no_refresh();
    let start = start_refresh();
    let drifted = template(1, vec![data().instance_type("t3.large".into()).build()]);
    ensured(&[&drifted[0], &drifted[1], &make, &set, &delete, &refreshes, &start]).await.expect("an answer");
    assert_eq!([make, set, delete, start].map(|rule| rule.num_calls()), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_version_that_a_lost_pass_made_is_taken_up() {
    let set = mock!(Ec2::modify_launch_template)
        .match_requests(|request| request.default_version() == Some("2"))
        .then_output(|| ModifyLaunchTemplateOutput::builder().build());
    let delete = mock!(Ec2::delete_launch_template_versions)
        .match_requests(|request| request.versions() == ["1"])
        .then_output(|| DeleteLaunchTemplateVersionsOutput::builder().build());
    let found = template(1, vec![data().image_id("ami-1").build(), data().build()]);
    ensured(&[&found[0], &found[1], &set, &delete, &no_refresh(), &start_refresh()])
        .await
        .expect("an answer");
    assert_eq!((set.num_calls(), delete.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_template_group_or_provider_of_somebody_else_is_refused() {
    let theirs = tagged_template(1, vec![data().build()], &BTreeMap::new());
    let group = groups(Some(group().set_tags(None).build()));
    let provider = providers(Some(provider().set_tags(None).build()));
    for (rules, what) in [
        (theirs, "launch template (demo-instances)"),
        (vec![group], "Auto Scaling group (demo-instances)"),
        (vec![provider], "ECS capacity provider (plinth-demo)"),
    ] {
        let rules: Vec<&Rule> = rules.iter().collect();
        let error = ensured(&rules).await.expect_err("a conflict");
        assert_eq!(error.kind(), "Conflict");
        assert!(error.to_string().starts_with(what), "{error}");
    }
}

#[tokio::test]
async fn a_missing_group_is_made_with_our_tags_and_one_instance_to_begin_with() {
    let spec = SPEC.replace("max: 3", "min: 0, max: 3");
    let create =
        mock!(AutoScaling::create_auto_scaling_group)
            .match_requests(|request| {
                request.tags().iter().any(|tag| {
                    tag.key() == Some("plinth:environment") && tag.propagate_at_launch() == Some(true)
                }) && (request.min_size(), request.max_size(), request.desired_capacity())
                    == (Some(0), Some(3), Some(1))
                    && request.vpc_zone_identifier() == Some("subnet-1,subnet-2")
                    && request.new_instances_protected_from_scale_in() == Some(true)
                    && request.launch_template().and_then(|template| template.version()) == Some("$Default")
            })
            .then_output(|| CreateAutoScalingGroupOutput::builder().build());
    let rules = standing(vec![groups(None), create]);
    let rules: Vec<&Rule> = rules.iter().collect();
    let error = ensure(&clients(&rules), &with(Operation::Ensure, &spec)).await.expect_err("a wait");
    assert_eq!(error.to_string(), "Auto Scaling group (demo-instances) has been made and isn't seen yet");
    assert_eq!(rules[1].num_calls(), 1);
    // Its provider can't be there yet.
    let changes = planned(vec![groups(None), providers(None)]).await;
    let group = Change::create("cluster.instances").with("name", "demo-instances").with("type", "t3.small");
    assert_eq!(changes[0], group.with("min", 1).with("max", 3));
}

#[tokio::test]
async fn instances_in_public_subnets_get_public_addresses() {
    let spec = SPEC.replace("max: 3", "max: 3, placement: public");
    let rules = standing(Vec::new());
    let rules: Vec<&Rule> = rules.iter().collect();
    let planned = plan(&clients(&rules), &with(Operation::Plan, &spec)).await.expect("an answer").changes;
    assert_eq!(planned.iter().map(names).collect::<Vec<_>>(), [vec!["publicAddress"], vec!["subnets"]]);
}

#[tokio::test]
async fn each_setting_of_the_group_that_drifted_is_planned_and_put_right() {
    let pinned =
        LaunchTemplateSpecification::builder().launch_template_name("demo-instances").version("7").build();
    let other =
        LaunchTemplateSpecification::builder().launch_template_name("other").version("$Default").build();
    for (drifted, field) in [
        (group().min_size(2), "min"),
        (group().max_size(9), "max"),
        (group().vpc_zone_identifier("subnet-1"), "subnets"),
        (group().launch_template(other), "launchTemplate"),
        (group().launch_template(pinned), "launchTemplateVersion"),
        (group().new_instances_protected_from_scale_in(false), "protected"),
    ] {
        let found = drifted.instances(instance("1", LifecycleState::InService)).build();
        let changes = planned(vec![groups(Some(found.clone()))]).await;
        assert_eq!((changes.len(), names(&changes[0])), (1, vec![field]));
        let update = mock!(AutoScaling::update_auto_scaling_group)
            .match_requests(|request| {
                (request.min_size(), request.max_size()) == (Some(1), Some(3))
                    && request.desired_capacity().is_none()
            })
            .then_output(|| UpdateAutoScalingGroupOutput::builder().build());
        ensured(&[&groups(Some(found)), &update]).await.expect("an answer");
        assert_eq!(update.num_calls(), 1);
    }
}

#[tokio::test]
async fn a_refresh_that_somebody_started_is_waited_for_where_the_group_must_change() {
    let found = group().min_size(0).instances(instance("1", LifecycleState::InService)).build();
    let update = mock!(AutoScaling::update_auto_scaling_group).then_error(|| {
        let error = aws_sdk_autoscaling::error::ErrorMetadata::builder().code("ValidationError");
        let error = error.message("An active instance refresh with a desired configuration exists. All …");
        UpdateAutoScalingGroupError::generic(error.build())
    });
    let error = ensured(&[&groups(Some(found)), &update]).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLater");
    assert!(error.to_string().ends_with("its instances are being refreshed"), "{error}");
}

#[tokio::test]
async fn tags_that_are_missing_or_not_handed_on_are_planned_and_put() {
    let mut tags = group().build().tags().to_vec();
    let last = tags.pop().expect("a tag");
    let key = last.key().expect("a key").to_owned();
    tags.push(TagDescription::builder().key(&key).set_value(last.value).propagate_at_launch(false).build());
    let found = group().set_tags(Some(tags)).instances(instance("1", LifecycleState::InService)).build();
    let put =
        mock!(AutoScaling::create_or_update_tags).then_output(|| CreateOrUpdateTagsOutput::builder().build());
    let changes = planned(vec![groups(Some(found.clone()))]).await;
    assert_eq!(names(&changes[0]), [format!("tags.{key}")]);
    ensured(&[&groups(Some(found)), &put]).await.expect("an answer");
    assert_eq!(put.num_calls(), 1);

    let provider = provider().set_tags(Some(ecs_tags(&context(Operation::Plan).tags(PROVIDER)))).build();
    let tag = mock!(Ecs::tag_resource).then_output(|| TagResourceOutput::builder().build());
    assert_eq!(names(&planned(vec![providers(Some(provider.clone()))]).await[0]), ["tags.Name"]);
    ensured(&[&providers(Some(provider)), &tag]).await.expect("an answer");
    assert_eq!(tag.num_calls(), 1);

    let own = context(Operation::Plan).tags(TEMPLATE);
    let tag = mock!(Ec2::create_tags).then_output(|| CreateTagsOutput::builder().build());
    assert_eq!(names(&planned(tagged_template(1, vec![data().build()], &own)).await[0]), ["tags.Name"]);
    let found = tagged_template(1, vec![data().build()], &own);
    ensured(&[&found[0], &found[1], &tag]).await.expect("an answer");
    assert_eq!(tag.num_calls(), 1);
}

#[tokio::test]
async fn a_profile_that_is_not_usable_yet_is_waited_for() {
    let refused = mock!(AutoScaling::create_auto_scaling_group).then_error(|| {
        let told = "You must use a valid fully-formed launch template. Value (demo-instances) for parameter \
                    iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
        let error = ErrorMetadata::builder().code("ValidationError").message(told).build();
        CreateAutoScalingGroupError::generic(error)
    });
    let error = ensured(&[&groups(None), &refused]).await.expect_err("a wait");
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("instance profile (demo-instances) isn't usable yet"), "{error}");
}

fn no_refresh() -> Rule {
    mock!(AutoScaling::describe_instance_refreshes).then_output(|| {
        let failed = InstanceRefresh::builder().status(InstanceRefreshStatus::Failed).build();
        DescribeInstanceRefreshesOutput::builder().instance_refreshes(failed).build()
    })
}

fn start_refresh() -> Rule {
    mock!(AutoScaling::start_instance_refresh)
        .match_requests(|request| {
            let preferences = request.preferences().expect("preferences");
            preferences.scale_in_protected_instances() == Some(&ScaleInProtectedInstances::Refresh)
                && preferences.min_healthy_percentage() == Some(100)
        })
        .then_output(|| StartInstanceRefreshOutput::builder().build())
}

#[tokio::test]
async fn instances_of_an_older_template_are_planned_and_refreshed_once_at_a_time() {
    let older = group()
        .instances(instance("0", LifecycleState::InService))
        .instances(instance("0", LifecycleState::Terminating))
        .build();
    let start = start_refresh();
    ensured(&[&groups(Some(older.clone())), &no_refresh(), &start]).await.expect("an answer");
    assert_eq!(start.num_calls(), 1);
    let changes = planned(vec![groups(Some(older.clone())), no_refresh()]).await;
    assert_eq!(names(&changes[0]), ["instances of an older template"]);
    assert_eq!(changes[0].fields[0].found.as_deref(), Some("1"));

    let under_way = || {
        mock!(AutoScaling::describe_instance_refreshes).then_output(|| {
            let refresh = InstanceRefresh::builder().status(InstanceRefreshStatus::InProgress).build();
            DescribeInstanceRefreshesOutput::builder().instance_refreshes(refresh).build()
        })
    };
    ensured(&[&groups(Some(older.clone())), &under_way()]).await.expect("an answer");
    assert_eq!(planned(vec![groups(Some(older)), under_way()]).await, []);
}

#[tokio::test]
async fn a_missing_provider_is_made_for_the_group_with_our_tags() {
    let create = mock!(Ecs::create_capacity_provider)
        .match_requests(|request| {
            let group = request.auto_scaling_group_provider().expect("a group");
            request.name() == Some("plinth-demo")
                && group.auto_scaling_group_arn() == GROUP_ARN
                && group.managed_scaling().and_then(ManagedScaling::target_capacity) == Some(100)
                && group.managed_draining() == Some(&ManagedDraining::Enabled)
                && request.tags().iter().any(|tag| tag.value() == Some("cluster.instances.provider"))
        })
        .then_output(|| {
            CreateCapacityProviderOutput::builder().capacity_provider(provider().build()).build()
        });
    // One that was deleted lingers.
    let gone = provider().status(CapacityProviderStatus::Inactive).build();
    ensured(&[&providers(Some(gone.clone())), &create]).await.expect("an answer");
    assert_eq!(create.num_calls(), 1);
    assert_eq!(
        planned(vec![providers(Some(gone))]).await,
        [Change::create("cluster.instances.provider").with("name", "plinth-demo")]
    );
}

#[tokio::test]
async fn a_provider_that_drifted_is_planned_and_put_right_and_waited_for() {
    let found = of_group(GROUP_ARN, 50).build();
    assert_eq!(names(&planned(vec![providers(Some(found.clone()))]).await[0]), ["targetCapacity"]);
    let update = mock!(Ecs::update_capacity_provider)
        .match_requests(|request| {
            let group = request.auto_scaling_group_provider().expect("a group");
            group.managed_scaling().and_then(ManagedScaling::target_capacity) == Some(100)
        })
        .then_output(|| UpdateCapacityProviderOutput::builder().build());
    let error = ensured(&[&providers(Some(found)), &update]).await.expect_err("a wait");
    assert_eq!(update.num_calls(), 1);
    assert!(error.to_string().starts_with("ECS capacity provider (plinth-demo) is being changed"), "{error}");

    let pending = provider().update_status(CapacityProviderUpdateStatus::CreateInProgress).build();
    let error = ensured(&[&providers(Some(pending))]).await.expect_err("a wait");
    assert!(error.to_string().starts_with("ECS capacity provider (plinth-demo) is being made"), "{error}");
}

#[tokio::test]
async fn a_provider_of_another_group_is_refused_with_a_remedy() {
    let error =
        ensured(&[&providers(Some(of_group("arn:other", 100).build()))]).await.expect_err("a conflict");
    assert_eq!(error.kind(), "Conflict");
    assert!(
        error.to_string().contains("belongs to arn:other")
            && error.to_string().contains("`capacity: fargate`")
    );
}

#[tokio::test]
async fn the_provider_is_put_on_the_cluster_beside_others_which_go_at_the_end() {
    let fargate = || clusters(cluster(&["FARGATE_SPOT", "FARGATE"]).build());
    let changes = planned(fargate()).await;
    assert_eq!(names(&changes[0]), ["clusterProviders", "clusterStrategy"]);
    let put = |providers: &'static [&'static str]| {
        mock!(Ecs::put_cluster_capacity_providers)
            .match_requests(move |request| {
                request.capacity_providers() == providers
                    && request.default_capacity_provider_strategy().len() == 1
                    && request.default_capacity_provider_strategy()[0].capacity_provider() == "plinth-demo"
            })
            .then_output(|| PutClusterCapacityProvidersOutput::builder().build())
    };
    let beside = put(&["FARGATE_SPOT", "FARGATE", "plinth-demo"]);
    let error = ensured(&[&fargate()[0], &beside]).await.expect_err("a wait");
    assert_eq!(error.to_string(), "ECS cluster (demo) takes capacity provider (plinth-demo)");
    assert_eq!(beside.num_calls(), 1);

    let alone = put(&["plinth-demo"]);
    let all = clusters(cluster(&["FARGATE_SPOT", "FARGATE", "plinth-demo"]).build());
    let pruned = prune(&clients(&[&all[0], &all[1], &alone]), &context(Operation::Prune)).await;
    assert_eq!(pruned.expect("an answer").changes, []);
    assert_eq!(alone.num_calls(), 1);
}

#[tokio::test]
async fn a_cluster_that_takes_the_provider_is_waited_for_and_made_to_try_again() {
    let pending = clusters(cluster(&["plinth-demo"]).attachments_status("UPDATE_IN_PROGRESS").build());
    let error = ensured(&[&pending[0]]).await.expect_err("a wait");
    assert!(error.to_string().starts_with("ECS cluster (demo) takes capacity provider (plinth-demo), 0 s"));

    let failed = clusters(cluster(&["plinth-demo"]).attachments_status("UPDATE_FAILED").build());
    let put = mock!(Ecs::put_cluster_capacity_providers)
        .then_output(|| PutClusterCapacityProvidersOutput::builder().build());
    let error = ensured(&[&failed[0], &put]).await.expect_err("a wait");
    assert_eq!(put.num_calls(), 1);
    assert!(error.to_string().starts_with("ECS cluster (demo) could not take"), "{error}");
}

#[tokio::test]
async fn too_few_instances_are_waited_for() {
    let activities = mock!(AutoScaling::describe_scaling_activities)
        .then_output(|| DescribeScalingActivitiesOutput::builder().build());
    let pending = group().instances(instance("1", LifecycleState::Pending)).build();
    let error = ensured(&[&groups(Some(pending)), &activities]).await.expect_err("a wait");
    assert_eq!(error.kind(), "NotReadyLater");
    assert_eq!(
        error.to_string(),
        "0 of at least 1 instances of Auto Scaling group (demo-instances) run, 0 s of about 2 min"
    );
    let error = ensured(&[&joined(0)]).await.expect_err("a wait");
    assert_eq!(
        error.to_string(),
        "0 of at least 1 instances have joined ECS cluster (demo), 0 s of about 2 min"
    );
}

#[tokio::test]
async fn a_start_that_fails_is_told_unless_it_passes_by_itself() {
    let now = context(Operation::Plan).since.as_second();
    let quota = "You have requested more vCPU capacity than your current vCPU limit of 0 allows";
    let short =
        "We currently do not have sufficient t3.small capacity in zones with support for 'gp3' volumes";
    for (message, started, kind) in
        [(quota, now + 60, "Failed"), (quota, now - 60, "NotReadyLater"), (short, now + 60, "NotReadyLater")]
    {
        let activities = mock!(AutoScaling::describe_scaling_activities).then_output(move || {
            let failed = Activity::builder()
                .activity_id("a")
                .auto_scaling_group_name("demo-instances")
                .cause("a")
                .start_time(DateTime::from_secs(started))
                .status_code(ScalingActivityStatusCode::Failed)
                .status_message(message)
                .build();
            DescribeScalingActivitiesOutput::builder().activities(failed).build()
        });
        let error = ensured(&[&groups(Some(group().build())), &activities]).await.expect_err("an error");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn an_instance_type_that_is_not_offered_is_told_in_the_plan_with_its_family() {
    let plan_with = async |rules: Vec<Rule>| {
        let rules: Vec<&Rule> = rules.iter().collect();
        plan(&clients(&rules), &context(Operation::Plan)).await.expect_err("a fault")
    };
    let error = plan_with(offered(&["t3.large", "t3.nano"], ArchitectureType::X8664)).await;
    assert_eq!(error.kind(), "InvalidSpec");
    assert_eq!(
        error.to_string(),
        "cluster.instances.type: EC2 has no t3.small in us-east-1; of the family t3 it has t3.nano, t3.large"
    );
    let error = plan_with(offered(&[], ArchitectureType::X8664)).await;
    assert!(error.to_string().ends_with("and no other of the family t3"), "{error}");
    let error = plan_with(offered(&["t3.small"], ArchitectureType::Arm64)).await;
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("t3.small has a processor of arm64, not of x86_64"), "{error}");
}

#[tokio::test]
async fn instances_of_graviton_start_from_its_image() {
    let spec = SPEC.replace("type: t3.small", "type: t4g.small, architecture: arm64");
    let mut rules = offered(&["t4g.small"], ArchitectureType::Arm64);
    rules.extend(standing(Vec::new()));
    let rules: Vec<&Rule> = rules.iter().collect();
    let changes = plan(&clients(&rules), &with(Operation::Plan, &spec)).await.expect("an answer").changes;
    let image = changes[0].fields.iter().find(|field| field.name == "image").expect("the image");
    assert!(image.wanted.ends_with("/amazon-linux-2023/arm64/recommended/image_id"), "{}", image.wanted);
}

const MOUNTED: &str = "
apiVersion: plinth/v1
name: demo
network: {}
fileSystems: { data: {} }
cluster:
  capacity: ec2
  instances: { type: t3.small, max: 3, mounts: { /mnt/data: '${fileSystems.data}' } }
";

#[tokio::test]
async fn file_systems_are_mounted_by_their_ids_which_a_plan_may_not_know() {
    let mut context = with(Operation::Plan, MOUNTED);
    let found = FileSystemOutput { id: "fs-1".to_owned(), ..FileSystemOutput::default() };
    context.outputs.file_systems.insert("data".to_owned(), found);
    assert!(spoken(&context).user_data.contains("fs-1:/ /mnt/data efs"));

    let network = context.outputs.network.as_mut().expect("a network");
    network.group = UNKNOWN.to_owned();
    network.private = vec![UNKNOWN.to_owned()];
    context.outputs.file_systems.get_mut("data").expect("it").id = UNKNOWN.to_owned();
    let mut rules = vec![no_template(), groups(None), providers(None)];
    rules.extend(offered(&["t3.small"], ArchitectureType::X8664));
    let rules: Vec<&Rule> = rules.iter().collect();
    let changes = plan(&clients(&rules), &context).await.expect("an answer").changes;
    let made: Vec<_> = changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(made, ["cluster.instances.template", "cluster.instances", "cluster.instances.provider"]);
}

#[tokio::test]
async fn a_cluster_without_instances_of_ours_has_none() {
    for cluster in ["{}", "{ name: shared, existing: true, capacity: ec2 }"] {
        let spec = format!("{{ apiVersion: plinth/v1, name: demo, cluster: {cluster} }}");
        let answer = ensure(&clients(&[]), &with(Operation::Ensure, &spec)).await;
        assert_eq!(answer.expect("an answer"), Answer::default());
        let nothing = [&providers(None), &groups(None), &no_template()];
        let planned = plan(&clients(&nothing), &with(Operation::Plan, &spec)).await.expect("an answer");
        assert_eq!(planned, Answer::default());
    }
}

/// What deletes, in the order in which it is to be called.
struct Deletions {
    detach: Rule,
    provider: Rule,
    group: Rule,
    template: Rule,
}

fn deletions() -> Deletions {
    Deletions {
        detach: mock!(Ecs::put_cluster_capacity_providers)
            .match_requests(|request| {
                request.capacity_providers() == ["FARGATE"]
                    && request.default_capacity_provider_strategy().is_empty()
            })
            .then_output(|| PutClusterCapacityProvidersOutput::builder().build()),
        provider: mock!(Ecs::delete_capacity_provider)
            .then_output(|| DeleteCapacityProviderOutput::builder().build()),
        group: mock!(AutoScaling::delete_auto_scaling_group)
            .match_requests(|request| request.force_delete() == Some(true))
            .then_output(|| DeleteAutoScalingGroupOutput::builder().build()),
        template: mock!(Ec2::delete_launch_template)
            .match_requests(|request| request.launch_template_id() == Some("lt-1"))
            .then_output(|| DeleteLaunchTemplateOutput::builder().build()),
    }
}

impl Deletions {
    fn calls(&self) -> [usize; 4] {
        [&self.detach, &self.provider, &self.group, &self.template].map(Rule::num_calls)
    }

    /// A pass over this world.
    async fn pass(&self, operation: Operation, world: &[&Rule]) -> Result<Answer> {
        let own = [&self.detach, &self.provider, &self.group, &self.template];
        let rules: Vec<&Rule> = world.iter().copied().chain(own).collect();
        match operation {
            Operation::Plan => plan(&clients(&rules), &dropped(operation)).await,
            _ => prune(&clients(&rules), &dropped(operation)).await,
        }
    }
}

fn left(count: usize) -> Rule {
    mock!(Ec2::describe_instances).then_output(move || {
        let instance = aws_sdk_ec2::types::Instance::builder().instance_id("i-1").build();
        let instances = Reservation::builder().set_instances(Some(vec![instance; count])).build();
        DescribeInstancesOutput::builder().reservations(instances).build()
    })
}

#[tokio::test]
async fn dropped_instances_are_planned_and_go_in_order_each_waiting_for_the_one_before() {
    let deletions = deletions();
    let on = clusters(cluster(&["FARGATE", "plinth-demo"]).build());
    let off = clusters(cluster(&["FARGATE"]).build());
    let template = template(1, vec![data().build()]);
    let (provider, no_provider) = (providers(Some(provider().build())), providers(None));
    let (group, no_group) = (groups(Some(running())), groups(None));

    let all = [&on[0], &on[1], &provider, &group, &template[0]];
    let planned = deletions.pass(Operation::Plan, &all).await.expect("an answer").changes;
    assert_eq!(
        planned,
        [
            Change::delete("cluster.instances.provider").with("name", "plinth-demo"),
            Change::delete("cluster.instances").with("name", "demo-instances"),
            Change::delete("cluster.instances.template").with("name", "demo-instances"),
        ]
    );
    assert_eq!(deletions.calls(), [0, 0, 0, 0]);

    let error = deletions.pass(Operation::Prune, &all).await.expect_err("a wait");
    assert!(error.to_string().starts_with("ECS capacity provider (plinth-demo) is being deleted"), "{error}");
    assert_eq!(deletions.calls(), [1, 1, 0, 0]);

    let rest = [&off[0], &off[1], &no_provider, &group, &template[0]];
    let error = deletions.pass(Operation::Prune, &rest).await.expect_err("a wait");
    assert!(error.to_string().starts_with("Auto Scaling group (demo-instances) is being deleted"), "{error}");
    assert_eq!(deletions.calls(), [1, 1, 1, 0]);

    let (some, none) = (left(2), left(0));
    let rest = [&off[0], &off[1], &no_provider, &no_group, &template[0], &some];
    let error = deletions.pass(Operation::Prune, &rest).await.expect_err("a wait");
    assert!(error.to_string().starts_with("2 instances of the cluster are being terminated"), "{error}");
    assert_eq!(deletions.calls(), [1, 1, 1, 0]);

    // One that ECS still counts though it is gone.
    let (dead, forgotten) = (joined(1), forgotten());
    let rest = [&off[0], &off[1], &no_provider, &no_group, &template[0], &none, &dead, &forgotten];
    deletions.pass(Operation::Prune, &rest).await.expect("an answer");
    assert_eq!(deletions.calls(), [1, 1, 1, 1]);
    assert_eq!(forgotten.num_calls(), 1);

    let nothing = no_template();
    let rest = [&off[0], &off[1], &no_provider, &no_group, &nothing];
    assert_eq!(deletions.pass(Operation::Prune, &rest).await.expect("an answer").changes, []);
    assert_eq!(deletions.calls(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn what_is_already_on_its_way_out_is_only_waited_for() {
    let deletions = deletions();
    let off = clusters(cluster(&["FARGATE"]).build());
    let leaving = provider().update_status(CapacityProviderUpdateStatus::DeleteInProgress).build();
    let leaving = providers(Some(leaving));
    let group_leaving = groups(Some(group().status("Delete in progress").build()));
    let (none, template) = (providers(None), template(1, vec![data().build()]));
    for provider in [&leaving, &none] {
        let world = [&off[0], &off[1], provider, &group_leaving, &template[0]];
        let error = deletions.pass(Operation::Prune, &world).await.expect_err("a wait");
        assert!(error.to_string().contains("is being deleted"), "{error}");
    }
    assert_eq!(deletions.calls(), [0, 0, 0, 0]);
    // Nor is one made under its name meanwhile.
    let error = ensured(&[&group_leaving]).await.expect_err("a wait");
    assert!(error.to_string().contains("is being deleted before it can be made anew"), "{error}");
}

#[tokio::test]
async fn a_provider_that_is_still_used_is_waited_for() {
    let on = clusters(cluster(&["FARGATE", "plinth-demo"]).build());
    let used = mock!(Ecs::put_cluster_capacity_providers).then_error(|| {
        let error = ErrorMetadata::builder().code("ResourceInUseException").message("tasks use it").build();
        PutClusterCapacityProvidersError::generic(error)
    });
    let error = deletions().pass(Operation::Prune, &[&on[0], &on[1], &used]).await.expect_err("a wait");
    assert_eq!(error.kind(), "NotReadySoon");

    let off = clusters(cluster(&["FARGATE"]).build());
    let used = mock!(Ecs::delete_capacity_provider).then_error(|| {
        let told = "The specified capacity provider is in use and cannot be removed.";
        let error = ErrorMetadata::builder().code("ClientException").message(told).build();
        DeleteCapacityProviderError::generic(error)
    });
    let (provider, group) = (providers(Some(provider().build())), groups(None));
    let world = [&off[0], &off[1], &provider, &group, &no_template(), &used];
    let error = deletions().pass(Operation::Prune, &world).await.expect_err("a wait");
    assert!(error.kind().starts_with("NotReady") && error.to_string().contains("is in use"), "{error}");
}

#[tokio::test]
async fn what_is_not_ours_is_not_deleted() {
    let deletions = deletions();
    let theirs = clusters(cluster(&["plinth-demo"]).set_tags(None).build());
    let provider = providers(Some(provider().set_tags(None).build()));
    let group = groups(Some(group().set_tags(None).build()));
    let template = tagged_template(1, vec![data().build()], &BTreeMap::new());
    let world = [&theirs[0], &theirs[1], &provider, &group, &template[0]];
    let pruned = deletions.pass(Operation::Prune, &world).await.expect("an answer");
    assert_eq!((pruned.changes, deletions.calls()), (Vec::new(), [0, 0, 0, 0]));
}

fn paused(operation: Operation) -> Context {
    let mut context = context(operation);
    context.run.paused = true;
    context
}

#[tokio::test]
async fn the_instances_of_a_paused_environment_go_with_prune_protected_or_not_and_are_waited_for() {
    let mut guarded = instance("1", LifecycleState::InService);
    guarded.protected_from_scale_in = Some(true);
    let rules = [
        groups(Some(group().instances(guarded).build())),
        mock!(AutoScaling::set_instance_protection)
            .match_requests(|request| {
                request.instance_ids() == ["i-1"] && request.protected_from_scale_in() == Some(false)
            })
            .then_output(|| SetInstanceProtectionOutput::builder().build()),
        mock!(AutoScaling::update_auto_scaling_group)
            .match_requests(|request| (request.min_size(), request.desired_capacity()) == (Some(0), Some(0)))
            .then_output(|| UpdateAutoScalingGroupOutput::builder().build()),
    ];
    let mut all: Vec<&Rule> = rules.iter().collect();
    let rest = standing(Vec::new());
    all.extend(&rest);
    let clients = clients(&all);
    let error = prune(&clients, &paused(Operation::Prune)).await.unwrap_err();
    assert!(error.to_string().contains("1 instances of Auto Scaling group (demo-instances) are going"));
    assert_eq!([rules[1].num_calls(), rules[2].num_calls()], [1, 1]);
    let planned = plan(&clients, &paused(Operation::Plan)).await.expect("an answer");
    assert_eq!(names(&planned.changes[0]), ["min", "instances"]);
}

#[tokio::test]
async fn a_group_at_rest_is_left_alone_while_paused_and_brought_back_after() {
    let rests = || group().min_size(0).desired_capacity(0).build();
    let rules = standing(vec![groups(Some(rests()))]);
    let all: Vec<&Rule> = rules.iter().collect();
    let clients = clients(&all);
    prune(&clients, &paused(Operation::Prune)).await.expect("an answer");
    Box::pin(ensure(&clients, &paused(Operation::Ensure))).await.expect("an answer");
    let planned = plan(&clients, &paused(Operation::Plan)).await.expect("an answer");
    assert_eq!(planned.changes, []);

    let woken = mock!(AutoScaling::update_auto_scaling_group)
        .match_requests(|request| request.min_size() == Some(1) && request.desired_capacity().is_none())
        .then_output(|| UpdateAutoScalingGroupOutput::builder().build());
    let quiet = mock!(AutoScaling::describe_scaling_activities)
        .then_output(|| DescribeScalingActivitiesOutput::builder().build());
    let error = ensured(&[&groups(Some(rests())), &woken, &quiet]).await.unwrap_err();
    assert!(error.to_string().contains("0 of at least 1 instances"), "{error}");
    assert_eq!(woken.num_calls(), 1);
}

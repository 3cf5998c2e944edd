use aws_sdk_ec2::{
    operation::{
        authorize_security_group_egress::AuthorizeSecurityGroupEgressOutput,
        authorize_security_group_ingress::AuthorizeSecurityGroupIngressOutput,
        create_security_group::CreateSecurityGroupOutput, delete_security_group::DeleteSecurityGroupOutput,
        describe_security_group_rules::DescribeSecurityGroupRulesOutput,
        describe_security_groups::DescribeSecurityGroupsOutput, describe_subnets::DescribeSubnetsOutput,
    },
    types::{ReferencedSecurityGroup, SecurityGroup, SecurityGroupRule, Subnet},
};
use aws_sdk_efs::{
    error::ErrorMetadata,
    operation::{
        create_access_point::CreateAccessPointOutput,
        create_file_system::{CreateFileSystemError, CreateFileSystemOutput},
        create_mount_target::CreateMountTargetOutput,
        delete_access_point::DeleteAccessPointOutput,
        delete_file_system::DeleteFileSystemOutput,
        delete_mount_target::DeleteMountTargetOutput,
        describe_access_points::DescribeAccessPointsOutput,
        describe_file_systems::DescribeFileSystemsOutput,
        describe_mount_target_security_groups::DescribeMountTargetSecurityGroupsOutput,
        describe_mount_targets::DescribeMountTargetsOutput,
        update_file_system::UpdateFileSystemOutput,
    },
    types::{AccessPointDescription, MountTargetDescription},
};
use aws_smithy_mocks::{Rule as Mock, RuleMode, mock, mock_client};
use spec::Spec;
use step::{NetworkOutput, Outputs};

use super::*;

const SPEC: &str = "
apiVersion: plinth/v1
name: demo
fileSystems: { data: { accessPoints: { store: { path: /store, owner: '1000:1001' } } } }
";

fn context(operation: Operation) -> Context {
    let network = NetworkOutput {
        vpc: "vpc-1".to_owned(),
        private: vec!["subnet-a".to_owned()],
        group: "sg-services".to_owned(),
        ..NetworkOutput::default()
    };
    let outputs = Outputs { network: Some(network), ..Outputs::default() };
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), outputs)
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn spoken() -> Wanted {
    wanted(&context(Operation::Plan)).expect("a spec").remove(0)
}

/// The file system as EFS describes it.
fn file_system(state: LifeCycleState) -> FileSystemDescription {
    let now = DateTime::from_secs(Timestamp::now().as_second());
    FileSystemDescription::builder()
        .owner_id("123456789012")
        .creation_token("demo-data")
        .file_system_id("fs-1")
        .creation_time(now)
        .life_cycle_state(state)
        .number_of_mount_targets(1)
        .size_in_bytes(aws_sdk_efs::types::FileSystemSize::builder().value(0).build())
        .performance_mode(aws_sdk_efs::types::PerformanceMode::GeneralPurpose)
        .throughput_mode(ThroughputMode::Bursting)
        .set_tags(Some(tag_list(&spoken().tags).expect("tags")))
        .build()
        .expect("a file system")
}

fn file_systems(found: Vec<FileSystemDescription>) -> Mock {
    mock!(Efs::describe_file_systems).then_output(move || {
        DescribeFileSystemsOutput::builder().set_file_systems(Some(found.clone())).build()
    })
}

fn target(state: LifeCycleState) -> MountTargetDescription {
    MountTargetDescription::builder()
        .mount_target_id("fsmt-1")
        .file_system_id("fs-1")
        .subnet_id("subnet-a")
        .life_cycle_state(state)
        .build()
        .expect("a mount target")
}

fn targets(found: Vec<MountTargetDescription>) -> Mock {
    mock!(Efs::describe_mount_targets).then_output(move || {
        DescribeMountTargetsOutput::builder().set_mount_targets(Some(found.clone())).build()
    })
}

fn groups_of_target(group: &'static str) -> Mock {
    mock!(Efs::describe_mount_target_security_groups).then_output(move || {
        DescribeMountTargetSecurityGroupsOutput::builder().security_groups(group).build().expect("groups")
    })
}

fn point(path: &str) -> AccessPointDescription {
    let tags = context(Operation::Plan).tags("fileSystems.data.store");
    let token = if path == "/store" { access_token() } else { "before".to_owned() };
    AccessPointDescription::builder()
        .access_point_id("fsap-1")
        .client_token(token)
        .posix_user(aws_sdk_efs::types::PosixUser::builder().uid(1000).gid(1001).build().expect("a user"))
        .root_directory(
            aws_sdk_efs::types::RootDirectory::builder()
                .path(path)
                .creation_info(
                    aws_sdk_efs::types::CreationInfo::builder()
                        .owner_uid(1000)
                        .owner_gid(1001)
                        .permissions("0755")
                        .build()
                        .expect("what it is made with"),
                )
                .build(),
        )
        .set_tags(Some(tag_list(&tags).expect("tags")))
        .build()
}

fn access_token() -> String {
    step::name_of("demo", "data.store", 64, "/store 1000:1001 0755")
}

fn points(found: Vec<AccessPointDescription>) -> Mock {
    mock!(Efs::describe_access_points).then_output(move || {
        DescribeAccessPointsOutput::builder().set_access_points(Some(found.clone())).build()
    })
}

fn efs(rules: &[Mock]) -> Efs {
    mock_client!(aws_sdk_efs, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn ec2(rules: &[Mock]) -> Ec2 {
    mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &rules.iter().collect::<Vec<_>>())
}

fn ec2_tags(address: &str, name: Option<&str>) -> Vec<aws_sdk_ec2::types::Tag> {
    let mut tags = context(Operation::Plan).tags(address);
    tags.extend(name.map(|name| ("Name".to_owned(), name.to_owned())));
    tags.iter().map(|(key, value)| aws_sdk_ec2::types::Tag::builder().key(key).value(value).build()).collect()
}

/// The group as EC2 describes it when it is what the spec says.
fn group() -> Vec<Mock> {
    let group = SecurityGroup::builder()
        .group_id("sg-files")
        .set_tags(Some(ec2_tags("fileSystems.data.group", Some("demo-data-files"))))
        .build();
    let rule = |egress| SecurityGroupRule::builder().is_egress(egress).group_id("sg-files");
    let services = ReferencedSecurityGroup::builder().group_id("sg-services").build();
    let nfs = rule(false).ip_protocol("tcp").from_port(2049).to_port(2049).referenced_group_info(services);
    let rules = vec![nfs.build(), rule(true).ip_protocol("-1").cidr_ipv4("0.0.0.0/0").build()];
    vec![
        mock!(Ec2::describe_security_groups).then_output(move || {
            DescribeSecurityGroupsOutput::builder().security_groups(group.clone()).build()
        }),
        mock!(Ec2::describe_security_group_rules).then_output(move || {
            DescribeSecurityGroupRulesOutput::builder().set_security_group_rules(Some(rules.clone())).build()
        }),
    ]
}

/// What EFS tells when all is as the spec says.
fn standing() -> Vec<Mock> {
    vec![
        file_systems(vec![file_system(LifeCycleState::Available)]),
        targets(vec![target(LifeCycleState::Available)]),
        groups_of_target("sg-files"),
        points(vec![point("/store")]),
    ]
}

fn created() -> CreateFileSystemOutput {
    CreateFileSystemOutput::builder()
        .owner_id("123456789012")
        .creation_token("demo-data")
        .file_system_id("fs-1")
        .creation_time(DateTime::from_secs(0))
        .life_cycle_state(LifeCycleState::Creating)
        .number_of_mount_targets(0)
        .size_in_bytes(aws_sdk_efs::types::FileSystemSize::builder().value(0).build())
        .performance_mode(aws_sdk_efs::types::PerformanceMode::GeneralPurpose)
        .set_tags(Some(Vec::new()))
        .build()
        .expect("an answer")
}

/// First none, then one that is being made.
fn appearing() -> Mock {
    mock!(Efs::describe_file_systems)
        .sequence()
        .output(|| DescribeFileSystemsOutput::builder().build())
        .output(|| {
            DescribeFileSystemsOutput::builder().file_systems(file_system(LifeCycleState::Creating)).build()
        })
        .build()
}

#[tokio::test]
async fn a_missing_file_system_is_created_encrypted_with_our_tags_and_waited_for() {
    let rules = [
        appearing(),
        mock!(Efs::create_file_system)
            .match_requests(|request| {
                request.creation_token() == Some("demo-data")
                    && request.encrypted() == Some(true)
                    && request.tags().iter().any(|tag| tag.key() == "plinth:address")
            })
            .then_output(created),
    ];
    let group = [
        mock!(Ec2::describe_security_groups).then_output(|| DescribeSecurityGroupsOutput::builder().build()),
        mock!(Ec2::create_security_group)
            .match_requests(|request| {
                request.group_name() == Some("demo-data-files") && !request.tag_specifications().is_empty()
            })
            .then_output(|| CreateSecurityGroupOutput::builder().group_id("sg-files").build()),
        mock!(Ec2::describe_security_group_rules)
            .then_output(|| DescribeSecurityGroupRulesOutput::builder().build()),
        mock!(Ec2::authorize_security_group_ingress)
            .match_requests(|request| {
                let permission = &request.ip_permissions()[0];
                permission.from_port() == Some(2049)
                    && permission.user_id_group_pairs()[0].group_id() == Some("sg-services")
            })
            .then_output(|| AuthorizeSecurityGroupIngressOutput::builder().build()),
        mock!(Ec2::authorize_security_group_egress)
            .then_output(|| AuthorizeSecurityGroupEgressOutput::builder().build()),
    ];
    let error = ensure(&efs(&rules), &ec2(&group), &context(Operation::Ensure)).await.unwrap_err();
    assert!(error.to_string().starts_with("EFS file system (demo-data) is creating"), "{error}");
    assert_eq!((rules[1].num_calls(), group[1].num_calls(), group[3].num_calls()), (1, 1, 1));
}

#[tokio::test]
async fn one_that_a_lost_answer_made_is_looked_for_again() {
    let taken = mock!(Efs::create_file_system).then_error(|| {
        CreateFileSystemError::generic(ErrorMetadata::builder().code("FileSystemAlreadyExists").build())
    });
    let rules = [appearing(), taken];
    let error = ensure(&efs(&rules), &ec2(&group()), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn an_available_one_gets_its_access_point_and_mount_target_and_the_target_is_waited_for() {
    let mount_targets = mock!(Efs::describe_mount_targets)
        .sequence()
        .output(|| DescribeMountTargetsOutput::builder().build())
        .output(|| {
            DescribeMountTargetsOutput::builder().mount_targets(target(LifeCycleState::Creating)).build()
        })
        .build();
    let rules = [
        file_systems(vec![file_system(LifeCycleState::Available)]),
        points(Vec::new()),
        mount_targets,
        mock!(Efs::create_access_point)
            .match_requests(|request| {
                let root = request.root_directory();
                request.client_token() == Some(&access_token())
                    && request.posix_user().is_some_and(|user| (user.uid(), user.gid()) == (1000, 1001))
                    && root.and_then(|root| root.path()) == Some("/store")
                    && !request.tags().is_empty()
            })
            .then_output(|| CreateAccessPointOutput::builder().access_point_id("fsap-1").build()),
        mock!(Efs::create_mount_target)
            .match_requests(|request| {
                request.subnet_id() == Some("subnet-a") && request.security_groups() == ["sg-files"]
            })
            .then_output(|| {
                CreateMountTargetOutput::builder()
                    .mount_target_id("fsmt-1")
                    .file_system_id("fs-1")
                    .subnet_id("subnet-a")
                    .life_cycle_state(LifeCycleState::Creating)
                    .build()
                    .expect("an answer")
            }),
    ];
    let error = ensure(&efs(&rules), &ec2(&group()), &context(Operation::Ensure)).await.unwrap_err();
    assert!(error.to_string().starts_with("1 of 1 mount targets of EFS file system (demo-data)"), "{error}");
    assert_eq!((rules[3].num_calls(), rules[4].num_calls()), (1, 1));
}

#[tokio::test]
async fn what_matches_is_left_alone_and_planned_as_nothing() {
    let (efs, ec2) = (efs(&standing()), ec2(&group()));
    let answer = ensure(&efs, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["data"]["accessPoints"]["store"], "fsap-1");
    assert_eq!(plan(&efs, &ec2, &context(Operation::Plan)).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn what_drifted_is_planned_field_by_field_and_put_right() {
    let mut drifted = file_system(LifeCycleState::Available);
    drifted.throughput_mode = Some(ThroughputMode::Elastic);
    let modified = mock!(Efs::modify_mount_target_security_groups).then_output(|| {
        aws_sdk_efs::operation::modify_mount_target_security_groups::ModifyMountTargetSecurityGroupsOutput::builder()
            .build()
    });
    let updated = mock!(Efs::update_file_system)
        .match_requests(|request| request.throughput_mode() == Some(&ThroughputMode::Bursting))
        .then_output(|| {
            let created = created();
            UpdateFileSystemOutput::builder()
                .owner_id(created.owner_id)
                .creation_token(created.creation_token)
                .file_system_id(created.file_system_id)
                .creation_time(created.creation_time)
                .life_cycle_state(created.life_cycle_state)
                .number_of_mount_targets(0)
                .set_size_in_bytes(created.size_in_bytes)
                .performance_mode(created.performance_mode)
                .set_tags(Some(Vec::new()))
                .build()
                .expect("an answer")
        });
    let rules = [
        file_systems(vec![drifted]),
        targets(vec![target(LifeCycleState::Available)]),
        groups_of_target("sg-other"),
        points(vec![point("/store")]),
        updated,
        modified,
    ];
    let (efs, ec2) = (efs(&rules), ec2(&group()));
    let planned = plan(&efs, &ec2, &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["throughput", "securityGroups"]);
    ensure(&efs, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls()), (1, 1));
}

/// A mount target in a subnet that the spec doesn't have, in this zone.
fn elsewhere(zone: &str) -> MountTargetDescription {
    let mut target = target(LifeCycleState::Available);
    target.mount_target_id = "fsmt-2".to_owned();
    target.subnet_id = "subnet-b".to_owned();
    target.availability_zone_id = Some(zone.to_owned());
    target
}

fn deletes_elsewhere() -> Mock {
    mock!(Efs::delete_mount_target)
        .match_requests(|request| request.mount_target_id() == Some("fsmt-2"))
        .then_output(|| DeleteMountTargetOutput::builder().build())
}

#[tokio::test]
async fn the_mount_target_of_a_zone_that_goes_serves_until_the_end() {
    let here = || target(LifeCycleState::Available);
    let gone = mock!(Efs::describe_mount_targets)
        .sequence()
        .output(move || {
            let found = vec![here(), elsewhere("use1-az2")];
            DescribeMountTargetsOutput::builder().set_mount_targets(Some(found)).build()
        })
        .times(4)
        .output(move || DescribeMountTargetsOutput::builder().mount_targets(here()).build())
        .build();
    let mut rules = standing();
    rules[1] = gone;
    rules.push(deletes_elsewhere());
    let (efs, ec2) = (efs(&rules), ec2(&group()));
    let planned = plan(&efs, &ec2, &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, ["subnets"]);
    ensure(&efs, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(rules[4].num_calls(), 0);
    prune(&efs, &ec2, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn a_mount_target_in_the_zone_of_another_goes_first_and_the_plan_says_for_how_long() {
    let conflict = || {
        aws_sdk_efs::operation::create_mount_target::CreateMountTargetError::generic(
            ErrorMetadata::builder().code("MountTargetConflict").build(),
        )
    };
    let mut rules = standing();
    rules[1] = targets(vec![elsewhere("use1-az1")]);
    rules.extend([deletes_elsewhere(), mock!(Efs::create_mount_target).then_error(conflict)]);
    let subnet = Subnet::builder().subnet_id("subnet-a").availability_zone_id("use1-az1").build();
    let subnets = mock!(Ec2::describe_subnets)
        .then_output(move || DescribeSubnetsOutput::builder().subnets(subnet.clone()).build());
    let of_ec2: Vec<Mock> = group().into_iter().chain([subnets]).collect();
    let (efs, ec2) = (efs(&rules), ec2(&of_ec2));
    let planned = plan(&efs, &ec2, &context(Operation::Plan)).await.expect("an answer");
    let downtime = planned.changes[0].fields.iter().find(|field| field.name == "downtime");
    assert!(downtime.is_some_and(|field| field.wanted.starts_with("is down for about ")), "{downtime:?}");
    let error = ensure(&efs, &ec2, &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon", "{error}");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls()), (1, 1));
}

#[tokio::test]
async fn a_changed_access_point_is_another_one_and_the_one_before_goes_at_the_end() {
    let rules = [
        file_systems(vec![file_system(LifeCycleState::Available)]),
        targets(vec![target(LifeCycleState::Available)]),
        groups_of_target("sg-files"),
        points(vec![point("/before")]),
        mock!(Efs::create_access_point)
            .then_output(|| CreateAccessPointOutput::builder().access_point_id("fsap-2").build()),
        mock!(Efs::delete_access_point)
            .match_requests(|request| request.access_point_id() == Some("fsap-1"))
            .then_output(|| DeleteAccessPointOutput::builder().build()),
    ];
    let (efs, ec2) = (efs(&rules), ec2(&group()));
    let planned = plan(&efs, &ec2, &context(Operation::Plan)).await.expect("an answer");
    let fields: Vec<_> =
        planned.changes.iter().map(|change| (change.address.as_str(), change.fields.len())).collect();
    assert_eq!(fields, [("fileSystems.data.store", 1)]);
    let answer = ensure(&efs, &ec2, &context(Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["data"]["accessPoints"]["store"], "fsap-2");
    assert_eq!(rules[5].num_calls(), 0);
    prune(&efs, &ec2, &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(rules[5].num_calls(), 1);
}

#[tokio::test]
async fn a_file_system_of_somebody_else_is_refused() {
    let mut other = file_system(LifeCycleState::Available);
    other.tags = Vec::new();
    let rules = [file_systems(vec![other])];
    let error = ensure(&efs(&rules), &ec2(&group()), &context(Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_dropped_one_is_planned_and_goes_after_its_mount_targets_and_its_group_last() {
    let gone = mock!(Efs::describe_mount_targets)
        .sequence()
        .output(|| {
            DescribeMountTargetsOutput::builder().mount_targets(target(LifeCycleState::Available)).build()
        })
        .output(|| {
            DescribeMountTargetsOutput::builder().mount_targets(target(LifeCycleState::Deleting)).build()
        })
        .output(|| DescribeMountTargetsOutput::builder().build())
        .build();
    let rules = [
        file_systems(vec![file_system(LifeCycleState::Available)]),
        points(vec![point("/store")]),
        gone,
        mock!(Efs::delete_access_point).then_output(|| DeleteAccessPointOutput::builder().build()),
        mock!(Efs::delete_mount_target).then_output(|| DeleteMountTargetOutput::builder().build()),
        mock!(Efs::delete_file_system).then_output(|| DeleteFileSystemOutput::builder().build()),
    ];
    let mut of_ec2 = group();
    of_ec2
        .push(mock!(Ec2::delete_security_group).then_output(|| DeleteSecurityGroupOutput::builder().build()));
    let (efs, ec2) = (efs(&rules), ec2(&of_ec2));
    let planned = plan(&efs, &ec2, &dropped(Operation::Plan)).await.expect("an answer");
    let addresses: Vec<&str> = planned.changes.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["fileSystems.data", "fileSystems.data.group"]);

    let error = prune(&efs, &ec2, &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls(), of_ec2[2].num_calls()), (1, 0, 0));
    prune(&efs, &ec2, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!((rules[5].num_calls(), of_ec2[2].num_calls()), (1, 1));
}

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1";

/// The environment got a key, and its file system may be replaced, or not.
fn keyed(operation: Operation, replace: bool) -> Context {
    let mut context = context(operation);
    context.spec.key = Some(spec::Key::default());
    context.outputs.key = Some(step::KeyOutput { id: "1".to_owned(), arn: KEY.to_owned() });
    if replace {
        context.spec.allow_data_loss = vec!["fileSystems.data".to_owned()];
    }
    context
}

fn instead() -> String {
    step::name_of("demo", "data", 64, "demo-data")
}

/// The one without the key, and the one that takes its place.
fn both(replaced: bool) -> Mock {
    let mut old = file_system(LifeCycleState::Available);
    old.creation_time = DateTime::from_secs(0);
    if replaced {
        old.tags.push(Tag::builder().key(REPLACED).value("fs-1").build().expect("a tag"));
    }
    let mut new = file_system(LifeCycleState::Available);
    new.creation_token = instead();
    new.file_system_id = "fs-2".to_owned();
    new.kms_key_id = Some(KEY.to_owned());
    new.tags.retain(|tag| !["Name", OWN_KEY].contains(&tag.key()));
    new.tags.push(Tag::builder().key("Name").value(instead()).build().expect("a tag"));
    new.tags.push(Tag::builder().key(OWN_KEY).value("true").build().expect("a tag"));
    file_systems(vec![new, old])
}

#[tokio::test]
async fn one_that_another_key_encrypts_is_refused_or_replaced_by_another_beside_it() {
    let created = mock!(Efs::create_file_system)
        .match_requests(|request| {
            request.creation_token() == Some(&instead()) && request.kms_key_id() == Some(KEY)
        })
        .then_output(created);
    let unseen = mock!(Efs::describe_file_systems)
        .match_requests(|request| request.creation_token().is_some())
        .then_output(|| DescribeFileSystemsOutput::builder().build());
    let mut rules = vec![unseen, created];
    rules.extend(standing());
    let (efs, ec2) = (efs(&rules), ec2(&group()));
    for operation in [Operation::Plan, Operation::Ensure] {
        let context = keyed(operation, false);
        let answer = if operation == Operation::Plan {
            plan(&efs, &ec2, &context).await
        } else {
            ensure(&efs, &ec2, &context).await
        };
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains("`allowDataLoss: [fileSystems.data]`"), "{error}");
    }
    let planned = plan(&efs, &ec2, &keyed(Operation::Plan, true)).await.expect("an answer");
    let changes = [
        Change::delete("fileSystems.data").with("id", "fs-1"),
        Change::create("fileSystems.data").with("name", instead()),
        Change::create("fileSystems.data.store").with("path", "/store"),
    ];
    assert_eq!(planned.changes, changes);
    let error = ensure(&efs, &ec2, &keyed(Operation::Ensure, true)).await.unwrap_err();
    assert!(error.to_string().contains("isn't seen yet"), "{error}");
    assert_eq!(rules[1].num_calls(), 1);
}

#[tokio::test]
async fn one_that_the_environments_key_encrypts_is_not_left_without_it() {
    let mut found = file_system(LifeCycleState::Available);
    found.kms_key_id = Some(KEY.to_owned());
    found.tags.retain(|tag| tag.key() != OWN_KEY);
    found.tags.push(Tag::builder().key(OWN_KEY).value("true").build().expect("a tag"));
    let rules = [file_systems(vec![found])];
    let error = plan(&efs(&rules), &ec2(&group()), &context(Operation::Plan)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("is encrypted with {KEY}")), "{error}");
}

#[tokio::test]
async fn the_old_one_is_put_aside_once_the_new_one_can_be_used_and_goes_at_the_end() {
    let token = step::name_of("demo", "data.store", 64, &format!("/store 1000:1001 0755 {}", instead()));
    let mut point = point("/store");
    point.client_token = Some(token);
    let put = mock!(Efs::tag_resource)
        .match_requests(|request| {
            request.resource_id() == Some("fs-1") && request.tags()[0].value() == "fs-1"
        })
        .then_output(|| aws_sdk_efs::operation::tag_resource::TagResourceOutput::builder().build());
    let rest = || {
        vec![
            targets(vec![target(LifeCycleState::Available)]),
            groups_of_target("sg-files"),
            points(vec![point.clone()]),
        ]
    };
    let of = |replaced: bool, more: Vec<Mock>| {
        efs(&rest().into_iter().chain([both(replaced)]).chain(more).collect::<Vec<_>>())
    };
    let context = keyed(Operation::Ensure, true);
    let answer = ensure(&of(false, vec![put.clone()]), &ec2(&group()), &context).await.expect("an answer");
    assert_eq!(answer.output["data"]["id"], "fs-2");
    assert_eq!(put.num_calls(), 1);
    ensure(&of(true, Vec::new()), &ec2(&group()), &context).await.expect("an answer");

    let gone = [
        mock!(Efs::describe_mount_targets)
            .match_requests(|request| request.file_system_id() == Some("fs-1"))
            .then_output(|| DescribeMountTargetsOutput::builder().build()),
        mock!(Efs::describe_access_points)
            .match_requests(|request| request.file_system_id() == Some("fs-1"))
            .then_output(|| DescribeAccessPointsOutput::builder().build()),
        mock!(Efs::delete_file_system)
            .match_requests(|request| request.file_system_id() == Some("fs-1"))
            .then_output(|| DeleteFileSystemOutput::builder().build()),
        points(vec![point.clone()]),
        both(true),
    ];
    let mut context = keyed(Operation::Prune, true);
    context.outputs = Outputs::default();
    context.run.paused = true;
    let pruned = prune(&efs(&gone), &ec2(&group()), &context).await.expect("an answer");
    assert_eq!((pruned.changes, gone[2].num_calls()), (Vec::new(), 0), "nothing is verified that is paused");
    context.run.paused = false;
    let pruned = prune(&efs(&gone), &ec2(&group()), &context).await.expect("an answer");
    assert_eq!(pruned.changes, [Change::delete("fileSystems.data").with("id", "fs-1")]);
    assert_eq!(gone[2].num_calls(), 1);
}

use aws_sdk_ec2::{
    operation::{
        delete_security_group::DeleteSecurityGroupOutput,
        describe_security_group_rules::DescribeSecurityGroupRulesOutput,
        describe_security_groups::DescribeSecurityGroupsOutput,
        revoke_security_group_ingress::RevokeSecurityGroupIngressOutput,
    },
    types::{ReferencedSecurityGroup, SecurityGroup, SecurityGroupRule, Tag as Ec2Tag},
};
use aws_sdk_rds::{
    error::ErrorMetadata,
    operation::{
        add_tags_to_resource::AddTagsToResourceOutput,
        create_db_cluster::{CreateDBClusterError, CreateDbClusterOutput},
        create_db_instance::CreateDbInstanceOutput,
        create_db_subnet_group::CreateDbSubnetGroupOutput,
        delete_db_cluster::DeleteDbClusterOutput,
        delete_db_instance::{DeleteDBInstanceError, DeleteDbInstanceOutput},
        delete_db_subnet_group::DeleteDbSubnetGroupOutput,
        describe_db_cluster_snapshots::{DescribeDBClusterSnapshotsError, DescribeDbClusterSnapshotsOutput},
        describe_db_clusters::DescribeDbClustersOutput,
        describe_db_engine_versions::DescribeDbEngineVersionsOutput,
        describe_db_instances::DescribeDbInstancesOutput,
        describe_db_snapshots::DescribeDbSnapshotsOutput,
        describe_db_subnet_groups::{DescribeDBSubnetGroupsError, DescribeDbSubnetGroupsOutput},
        describe_orderable_db_instance_options::DescribeOrderableDbInstanceOptionsOutput,
        list_tags_for_resource::ListTagsForResourceOutput,
        modify_db_cluster::{ModifyDBClusterError, ModifyDbClusterOutput},
        modify_db_instance::ModifyDbInstanceOutput,
        modify_db_subnet_group::ModifyDbSubnetGroupOutput,
        restore_db_cluster_from_snapshot::RestoreDbClusterFromSnapshotOutput,
        restore_db_instance_from_db_snapshot::RestoreDbInstanceFromDbSnapshotOutput,
        start_db_cluster::StartDbClusterOutput,
        start_db_instance::StartDbInstanceOutput,
        stop_db_cluster::StopDbClusterOutput,
        stop_db_instance::StopDbInstanceOutput,
    },
    types::{
        DbClusterSnapshot, DbEngineVersion, DbSnapshot, DbSubnetGroup, Endpoint, OrderableDbInstanceOption,
        ServerlessV2ScalingConfiguration, ServerlessV2ScalingConfigurationInfo, Subnet, UpgradeTarget,
        builders::{DbClusterBuilder, DbInstanceBuilder},
    },
};
use aws_sdk_secretsmanager::operation::{
    describe_secret::DescribeSecretOutput, get_secret_value::GetSecretValueOutput,
};
use aws_smithy_mocks::{Rule as Mock, RuleMode, mock, mock_client};
use jiff::ToSpan;
use spec::Spec;
use step::{Field, KeyOutput, NetworkOutput, Outputs, REPLACED, SecretOutput};

use super::*;

const AURORA: &str =
    "engine: aurora-postgresql, version: '16', serverless: { min: 0.5, max: 4 }, database: app";
const PLAIN: &str = "engine: postgres, version: '16', storage: 100, database: app";
const SECRET: &str = r#"{"username":"app","password":"pAss1234"}"#;
const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/key-1";

fn outputs() -> Outputs {
    let network = NetworkOutput {
        vpc: "vpc-1".to_owned(),
        cidr: "10.0.0.0/16".to_owned(),
        public: vec!["subnet-9".to_owned()],
        private: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
        group: "sg-shared".to_owned(),
    };
    let secret = SecretOutput {
        arn: "arn:aws:secretsmanager:us-east-1:123456789012:secret:db".to_owned(),
        renewed: false,
    };
    Outputs {
        network: Some(network),
        key: Some(KeyOutput { id: "key-1".to_owned(), arn: KEY.to_owned() }),
        secrets: BTreeMap::from([("db".to_owned(), secret)]),
        ..Outputs::default()
    }
}

fn context_with(more: &str, database: &str, operation: Operation) -> Context {
    let spec = format!(
        "{{ apiVersion: plinth/v1, name: demo, {more} secrets: {{ db: {{ generate: {{ username: app }} }} \
         }}, databases: {{ main: {{ {database}, credentials: '${{secrets.db}}' }} }} }}"
    );
    step::test::context(operation, spec::parse(&spec, None).expect("a spec"), outputs())
}

/// What [`MYSQL`] asks for costs the data, and the spec says that it may.
fn context(database: &str, operation: Operation) -> Context {
    let more = if database.contains(MYSQL) { "allowDataLoss: [databases.main]," } else { "" };
    context_with(more, database, operation)
}

fn dropped_context(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn our_tags(database: &str) -> Vec<Tag> {
    tag_list(&wanted(&context(database, Operation::Plan)).expect("a spec")[0].tags)
}

fn with_tag(mut tags: Vec<Tag>, key: &str, value: &str) -> Vec<Tag> {
    tags.retain(|tag| tag.key() != Some(key));
    tags.push(Tag::builder().key(key).value(value).build());
    tags
}

fn member_of_group() -> VpcSecurityGroupMembership {
    VpcSecurityGroupMembership::builder().vpc_security_group_id("sg-db").status("active").build()
}

/// The cluster as RDS describes it when it is what the spec says.
fn cluster() -> DbClusterBuilder {
    let scaling = ServerlessV2ScalingConfigurationInfo::builder().min_capacity(0.5).max_capacity(4.0);
    DbCluster::builder()
        .db_cluster_identifier("demo-main")
        .db_cluster_arn("arn:cluster")
        .status("available")
        .engine("aurora-postgresql")
        .engine_version("16.4")
        .database_name("app")
        .endpoint("demo-main.cluster-x.us-east-1.rds.amazonaws.com")
        .port(5432)
        .db_subnet_group("demo-main-database")
        .vpc_security_groups(member_of_group())
        .storage_encrypted(true)
        .kms_key_id("arn:aws:kms:us-east-1:123456789012:key/rds")
        .serverless_v2_scaling_configuration(scaling.build())
        .backup_retention_period(7)
        .copy_tags_to_snapshot(true)
        .deletion_protection(false)
        .set_tag_list(Some(our_tags(AURORA)))
}

/// What a cluster's instance is called.
fn member_name() -> String {
    step::name("demo-main", "1", LIMIT)
}

fn member() -> DbInstanceBuilder {
    let tags = context(AURORA, Operation::Plan).tags("databases.main.instance");
    DbInstance::builder()
        .db_instance_identifier(member_name())
        .db_instance_arn("arn:member")
        .db_cluster_identifier("demo-main")
        .db_instance_status("available")
        .db_instance_class("db.serverless")
        .publicly_accessible(false)
        .set_tag_list(Some(tag_list(&tags)))
}

/// The instance as RDS describes it when it is what the spec says.
fn plain() -> DbInstanceBuilder {
    let endpoint = Endpoint::builder().address("demo-main.x.us-east-1.rds.amazonaws.com").port(5432).build();
    let subnets = DbSubnetGroup::builder().db_subnet_group_name("demo-main-database").build();
    DbInstance::builder()
        .db_instance_identifier("demo-main")
        .db_instance_arn("arn:instance")
        .db_instance_status("available")
        .db_instance_class("db.t4g.micro")
        .engine("postgres")
        .engine_version("16.4")
        .db_name("app")
        .endpoint(endpoint)
        .allocated_storage(100)
        .db_subnet_group(subnets)
        .vpc_security_groups(member_of_group())
        .storage_encrypted(true)
        .kms_key_id("arn:aws:kms:us-east-1:123456789012:key/rds")
        .multi_az(false)
        .publicly_accessible(false)
        .backup_retention_period(7)
        .copy_tags_to_snapshot(true)
        .deletion_protection(false)
        .set_tag_list(Some(our_tags(PLAIN)))
}

fn list_clusters(clusters: Vec<DbCluster>) -> Mock {
    mock!(Rds::describe_db_clusters).then_output(move || {
        DescribeDbClustersOutput::builder().set_db_clusters(Some(clusters.clone())).build()
    })
}

fn list_instances(instances: Vec<DbInstance>) -> Mock {
    mock!(Rds::describe_db_instances).then_output(move || {
        DescribeDbInstancesOutput::builder().set_db_instances(Some(instances.clone())).build()
    })
}

/// What RDS tells when these stand, in the subnets that the spec means.
fn standing_rules(clusters: Vec<DbCluster>, instances: Vec<DbInstance>) -> Vec<Mock> {
    let mut rules = vec![list_clusters(clusters), list_instances(instances)];
    rules.extend(subnets_of(&["subnet-1", "subnet-2"]));
    rules
}

fn subnets_of(ids: &'static [&'static str]) -> Vec<Mock> {
    let tags = tag_list(&context(AURORA, Operation::Plan).tags("databases.main.subnets"));
    let group = move || {
        let subnets = ids.iter().map(|id| Subnet::builder().subnet_identifier(*id).build());
        DbSubnetGroup::builder()
            .db_subnet_group_name("demo-main-database")
            .db_subnet_group_arn("arn:subnets")
            .set_subnets(Some(subnets.collect()))
            .build()
    };
    vec![
        mock!(Rds::describe_db_subnet_groups)
            .then_output(move || DescribeDbSubnetGroupsOutput::builder().db_subnet_groups(group()).build()),
        mock!(Rds::list_tags_for_resource).then_output(move || {
            ListTagsForResourceOutput::builder().set_tag_list(Some(tags.clone())).build()
        }),
    ]
}

fn offers(versions: &'static [(&'static str, &'static str)]) -> Mock {
    let offer = |(major, version): &(&str, &str)| {
        DbEngineVersion::builder().major_engine_version(*major).engine_version(*version).build()
    };
    mock!(Rds::describe_db_engine_versions).then_output(move || {
        let offers = versions.iter().map(offer).collect();
        DescribeDbEngineVersionsOutput::builder().set_db_engine_versions(Some(offers)).build()
    })
}

const OFFERED: &[(&str, &str)] =
    &[("15", "15.8"), ("16", "16.2"), ("16", "16.10"), ("16", "16.11-limitless"), ("17", "17.2")];

/// Classes, of the version they were asked for.
fn runs_on(
    class: Option<&'static str>,
    versions: &'static [&'static str],
    classes: &'static [&'static str],
) -> Mock {
    mock!(Rds::describe_orderable_db_instance_options)
        .match_requests(move |request| request.db_instance_class() == class)
        .then_output(move || {
            let option = |version: &&str, class: &&str| {
                OrderableDbInstanceOption::builder()
                    .engine_version(*version)
                    .db_instance_class(*class)
                    .storage_type("gp3")
                    .min_storage_size(20)
                    .max_storage_size(65536)
                    .multi_az_capable(true)
                    .build()
            };
            let options =
                versions.iter().flat_map(|version| classes.iter().map(move |class| option(version, class)));
            DescribeOrderableDbInstanceOptionsOutput::builder()
                .set_orderable_db_instance_options(Some(options.collect()))
                .build()
        })
}

/// A client for these rules, to which there are no snapshots but those of the rules.
fn rds(rules: &[Mock]) -> Rds {
    let without = [
        mock!(Rds::describe_db_snapshots).then_output(|| DescribeDbSnapshotsOutput::builder().build()),
        mock!(Rds::describe_db_cluster_snapshots)
            .then_output(|| DescribeDbClusterSnapshotsOutput::builder().build()),
    ];
    mock_client!(aws_sdk_rds, RuleMode::MatchAny, &rules.iter().chain(&without).collect::<Vec<_>>())
}

fn secret(value: &'static str) -> Mock {
    mock!(SecretsManager::get_secret_value)
        .then_output(move || GetSecretValueOutput::builder().secret_string(value).build())
}

/// The database's security group as the spec means it.
fn group_rules() -> Vec<Mock> {
    let mut tags = context(AURORA, Operation::Plan).tags("databases.main.group");
    tags.insert("Name".to_owned(), "demo-main-database".to_owned());
    let tags: Vec<_> =
        tags.into_iter().map(|(key, value)| Ec2Tag::builder().key(key).value(value).build()).collect();
    vec![
        mock!(Ec2::describe_security_groups).then_output(move || {
            let group = SecurityGroup::builder().group_id("sg-db").set_tags(Some(tags.clone())).build();
            DescribeSecurityGroupsOutput::builder().security_groups(group).build()
        }),
        mock!(Ec2::describe_security_group_rules).then_output(|| {
            let shared = ReferencedSecurityGroup::builder().group_id("sg-shared").build();
            let opens = SecurityGroupRule::builder().is_egress(false).ip_protocol("tcp").from_port(5432);
            let out = SecurityGroupRule::builder().is_egress(true).ip_protocol("-1").build();
            DescribeSecurityGroupRulesOutput::builder()
                .security_group_rules(opens.to_port(5432).referenced_group_info(shared).build())
                .security_group_rules(out)
                .build()
        }),
    ]
}

fn clients_with(rules: &[Mock], of_ec2: &[Mock], of_secrets: &[Mock]) -> Clients {
    Clients {
        rds: rds(rules),
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &of_ec2.iter().collect::<Vec<_>>()),
        secrets: mock_client!(
            aws_sdk_secretsmanager,
            RuleMode::MatchAny,
            &of_secrets.iter().collect::<Vec<_>>()
        ),
    }
}

/// Clients of an account in which the groups are in order.
fn clients(rules: &[Mock]) -> Clients {
    clients_with(rules, &group_rules(), &[secret(SECRET)])
}

async fn ensured(rules: &[Mock], database: &str) -> Result<Answer> {
    ensure(&clients(rules), &context(database, Operation::Ensure)).await
}

async fn planned(rules: &[Mock], database: &str) -> Result<Answer> {
    plan(&clients(rules), &context(database, Operation::Plan)).await
}

fn named(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|field| field.name.as_str()).collect()
}

fn modified_cluster() -> Mock {
    mock!(Rds::modify_db_cluster).then_output(|| ModifyDbClusterOutput::builder().build())
}

fn modified_instance() -> Mock {
    mock!(Rds::modify_db_instance).then_output(|| ModifyDbInstanceOutput::builder().build())
}

fn tagged() -> Mock {
    mock!(Rds::add_tags_to_resource).then_output(|| AddTagsToResourceOutput::builder().build())
}

fn created_member() -> Mock {
    mock!(Rds::create_db_instance)
        .match_requests(|request| {
            request.db_instance_identifier() == Some(&member_name())
                && request.db_cluster_identifier() == Some("demo-main")
                && request.db_instance_class() == Some("db.serverless")
                && request.publicly_accessible() == Some(false)
                && tags(request.tags()).get(step::ADDRESS).is_some_and(|at| at == "databases.main.instance")
        })
        .then_output(|| CreateDbInstanceOutput::builder().build())
}

#[tokio::test]
async fn a_missing_cluster_is_created_with_our_tags_and_its_instance_beside_it() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        offers(OFFERED),
        mock!(Rds::create_db_cluster)
            .match_requests(|request| {
                let tags = tags(request.tags());
                let scaling = request.serverless_v2_scaling_configuration();
                request.db_cluster_identifier() == Some("demo-main")
                    && request.engine_version() == Some("16.10")
                    && request.database_name() == Some("app")
                    && request.master_username() == Some("app")
                    && request.master_user_password() == Some("pAss1234")
                    && request.storage_encrypted() == Some(true)
                    && request.vpc_security_group_ids() == ["sg-db"]
                    && request.db_subnet_group_name() == Some("demo-main-database")
                    && scaling.and_then(ServerlessV2ScalingConfiguration::max_capacity) == Some(4.0)
                    && request.backup_retention_period() == Some(7)
                    && request.copy_tags_to_snapshot() == Some(true)
                    && tags.get(step::ADDRESS).is_some_and(|address| address == "databases.main")
                    && tags.get(FINAL_SNAPSHOT).is_some_and(|last| last == "true")
                    && tags.get(PROTECT).is_some_and(|protect| protect == "false")
            })
            .then_output(|| CreateDbClusterOutput::builder().build()),
        created_member(),
    ]);
    let error = ensured(&rules, AURORA).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLong");
    assert_eq!(error.to_string(), "Aurora cluster (demo-main) is creating, 0 s of about 7 min");
    assert_eq!((rules[5].num_calls(), rules[6].num_calls()), (1, 1));
}

#[tokio::test]
async fn a_missing_instance_is_created_with_our_tags_and_the_environments_key() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        offers(OFFERED),
        mock!(Rds::create_db_instance)
            .match_requests(|request| {
                let tags = tags(request.tags());
                request.db_instance_identifier() == Some("demo-main")
                    && request.engine_version() == Some("16.10")
                    && request.db_instance_class() == Some("db.t4g.micro")
                    && request.allocated_storage() == Some(100)
                    && request.storage_type() == Some("gp3")
                    && request.kms_key_id() == Some(KEY)
                    && request.multi_az() == Some(true)
                    && request.publicly_accessible() == Some(false)
                    && request.deletion_protection() == Some(true)
                    && tags.get(step::CONTROL_PLANE).is_some_and(|bucket| bucket == "plinth-bucket")
                    && tags.get(PROTECT).is_some_and(|protect| protect == "true")
            })
            .then_output(|| CreateDbInstanceOutput::builder().build()),
    ]);
    let spec = format!("{PLAIN}, multiZone: true, protect: true");
    let context = context_with("key: {},", &spec, Operation::Ensure);
    let error = ensure(&clients(&rules), &context).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadyLong");
    assert_eq!(rules[5].num_calls(), 1);
}

#[tokio::test]
async fn a_plan_names_what_will_be_made_while_nothing_is_there_yet() {
    let groups =
        mock!(Ec2::describe_security_groups).then_output(|| DescribeSecurityGroupsOutput::builder().build());
    let absent = mock!(Rds::describe_db_subnet_groups)
        .match_requests(|request| request.db_subnet_group_name().is_some())
        .then_error(|| {
            let code = ErrorMetadata::builder().code("DBSubnetGroupNotFoundFault").build();
            DescribeDBSubnetGroupsError::generic(code)
        });
    let none =
        mock!(Rds::describe_db_subnet_groups).then_output(|| DescribeDbSubnetGroupsOutput::builder().build());
    let rules = [
        list_clusters(Vec::new()),
        list_instances(Vec::new()),
        absent,
        none,
        offers(OFFERED),
        runs_on(Some("db.serverless"), &["16.10"], &["db.serverless"]),
    ];
    let mut context = context_with("key: {},", AURORA, Operation::Plan);
    let unknown = || UNKNOWN.to_owned();
    context.outputs = Outputs {
        network: Some(NetworkOutput {
            vpc: unknown(),
            cidr: unknown(),
            public: vec![unknown()],
            private: vec![unknown()],
            group: unknown(),
        }),
        key: Some(KeyOutput { id: unknown(), arn: unknown() }),
        secrets: BTreeMap::from([("db".to_owned(), SecretOutput { arn: unknown(), renewed: false })]),
        ..Outputs::default()
    };
    let answer = plan(&clients_with(&rules, &[groups], &[]), &context).await.expect("an answer");
    let named = [
        Change::create("databases.main.group").with("name", "demo-main-database"),
        Change::create("databases.main.subnets").with("name", "demo-main-database"),
        Change::create("databases.main").with("name", "demo-main").with("version", "16.10"),
        Change::create("databases.main.instance")
            .with("name", member_name())
            .with("instance", "db.serverless"),
    ];
    assert_eq!(answer.changes, named);
    assert_eq!(answer.output["main"]["host"], UNKNOWN);
    assert_eq!(answer.output["main"]["port"], 5432);
}

#[tokio::test]
async fn a_database_that_matches_is_left_alone_and_planned_as_nothing() {
    let of_cluster = standing_rules(vec![cluster().build()], vec![member().build()]);
    let of_instance = standing_rules(Vec::new(), vec![plain().build()]);
    for (rules, database, host) in
        [(of_cluster, AURORA, "demo-main.cluster-x"), (of_instance, PLAIN, "demo-main.x")]
    {
        let answer = ensured(&rules, database).await.expect("an answer");
        assert!(answer.output["main"]["host"].as_str().is_some_and(|found| found.starts_with(host)));
        assert_eq!(answer.output["main"]["port"], 5432);
        let planned = planned(&rules, database).await.expect("an answer");
        assert_eq!(planned.changes, []);
        assert_eq!(planned.output, answer.output);
    }
}

#[tokio::test]
async fn a_cluster_that_drifted_is_planned_field_by_field_and_put_right() {
    let scaling = ServerlessV2ScalingConfigurationInfo::builder().min_capacity(1.0).max_capacity(2.0).build();
    let other = VpcSecurityGroupMembership::builder().vpc_security_group_id("sg-other").build();
    let found = cluster()
        .serverless_v2_scaling_configuration(scaling)
        .port(5433)
        .backup_retention_period(1)
        .deletion_protection(true)
        .copy_tags_to_snapshot(false)
        .set_vpc_security_groups(Some(vec![other]))
        .build();
    let mut rules = standing_rules(vec![found], vec![member().build()]);
    rules.push(
        mock!(Rds::modify_db_cluster)
            .match_requests(|request| {
                let scaling = request.serverless_v2_scaling_configuration();
                scaling.and_then(ServerlessV2ScalingConfiguration::min_capacity) == Some(0.5)
                    && request.port() == Some(5432)
                    && request.backup_retention_period() == Some(7)
                    && request.deletion_protection() == Some(false)
                    && request.copy_tags_to_snapshot() == Some(true)
                    && request.vpc_security_group_ids() == ["sg-db"]
                    && request.apply_immediately() == Some(true)
                    && request.master_user_password().is_none()
                    && request.engine_version().is_none()
            })
            .then_output(|| ModifyDbClusterOutput::builder().build()),
    );
    let planned = planned(&rules, AURORA).await.expect("an answer");
    assert_eq!(planned.changes.len(), 1);
    assert_eq!(
        named(&planned.changes[0].fields),
        ["serverless", "port", "backups", "protect", "copyTagsToSnapshot", "securityGroup"]
    );
    assert_eq!(rules[4].num_calls(), 0);
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn an_instance_that_drifted_is_planned_field_by_field_and_put_right() {
    let found = plain()
        .db_instance_class("db.t3.micro")
        .allocated_storage(50)
        .multi_az(true)
        .backup_retention_period(0)
        .deletion_protection(true)
        .publicly_accessible(true)
        .build();
    let mut rules = standing_rules(Vec::new(), vec![found]);
    rules.extend([
        runs_on(Some("db.t4g.micro"), &["16.4"], &["db.t4g.micro"]),
        mock!(Rds::modify_db_instance)
            .match_requests(|request| {
                request.db_instance_class() == Some("db.t4g.micro")
                    && request.allocated_storage() == Some(100)
                    && request.iops().is_none()
                    && request.multi_az() == Some(false)
                    && request.backup_retention_period() == Some(7)
                    && request.deletion_protection() == Some(false)
                    && request.publicly_accessible() == Some(false)
                    && request.db_port_number().is_none()
            })
            .then_output(|| ModifyDbInstanceOutput::builder().build()),
    ]);
    let planned = planned(&rules, PLAIN).await.expect("an answer");
    assert_eq!(
        named(&planned.changes[0].fields),
        ["instance", "storage", "multiZone", "backups", "protect", "publiclyAccessible"]
    );
    assert_eq!(ensured(&rules, PLAIN).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[5].num_calls(), 1);
}

#[tokio::test]
async fn a_clusters_instance_that_is_gone_or_drifted_is_put_right() {
    let mut rules = standing_rules(vec![cluster().build()], Vec::new());
    rules.push(created_member());
    rules.push(runs_on(Some("db.serverless"), &["16.4"], &["db.serverless"]));
    let planned_missing = planned(&rules, AURORA).await.expect("an answer");
    assert_eq!(planned_missing.changes[0].address, "databases.main.instance");
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "NotReadyLong");
    assert_eq!(rules[4].num_calls(), 1);

    let found = member().db_instance_class("db.r6g.large").publicly_accessible(true).build();
    let mut rules = standing_rules(vec![cluster().build()], vec![found]);
    rules.extend([modified_instance(), runs_on(Some("db.serverless"), &["16.4"], &["db.serverless"])]);
    let planned = planned(&rules, AURORA).await.expect("an answer");
    assert_eq!(named(&planned.changes[0].fields), ["instance", "publiclyAccessible"]);
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn missing_tags_are_planned_and_put_on_even_while_a_database_is_busy() {
    let old = with_tag(our_tags(PLAIN), PROTECT, "true");
    let found = plain().db_instance_status("modifying").set_tag_list(Some(old)).build();
    let mut rules = standing_rules(Vec::new(), vec![found]);
    rules.push(tagged());
    let planned = planned(&rules, PLAIN).await.expect("an answer");
    assert_eq!(named(&planned.changes[0].fields), ["tags.plinth:protect"]);
    assert!(ensured(&rules, PLAIN).await.unwrap_err().to_string().contains("is modifying"));
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused() {
    for (clusters, instances, database) in [
        (vec![cluster().set_tag_list(None).build()], Vec::new(), AURORA),
        (Vec::new(), vec![plain().set_tag_list(None).build()], PLAIN),
    ] {
        let rules = standing_rules(clusters, instances);
        assert_eq!(ensured(&rules, database).await.unwrap_err().kind(), "Conflict");
        assert_eq!(planned(&rules, database).await.unwrap_err().kind(), "Conflict");
    }
}

#[tokio::test]
async fn a_database_is_awaited_and_one_that_is_broken_is_told() {
    for (state, kind) in [
        ("creating", "NotReadyLater"),
        ("modifying", "NotReadyLater"),
        ("deleting", "NotReadyLater"),
        ("incompatible-parameters", "Failed"),
        ("inaccessible-encryption-credentials", "Failed"),
        ("storage-full", "Failed"),
        ("failed", "Failed"),
        ("stopping", "NotReadyLater"),
        ("starting", "NotReadyLater"),
    ] {
        let rules = standing_rules(Vec::new(), vec![plain().db_instance_status(state).build()]);
        let error = ensured(&rules, PLAIN).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let told = if state == "deleting" { "being deleted" } else { state };
        assert!(error.to_string().contains(told), "{error}");
    }
    let creating = cluster().status("creating").cluster_create_time(DateTime::from_secs(0)).build();
    let rules = standing_rules(vec![creating], vec![member().db_instance_status("creating").build()]);
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "Failed");
    // The cluster is there before its instance.
    let rules = standing_rules(
        vec![cluster().build()],
        vec![member().db_instance_status("configuring-log-exports").build()],
    );
    ensured(&rules, AURORA).await.expect("an answer");
    let rules =
        standing_rules(vec![cluster().build()], vec![member().db_instance_status("creating").build()]);
    let error = ensured(&rules, AURORA).await.unwrap_err().to_string();
    let told = format!("RDS instance ({}) is creating", member_name());
    assert!(error.contains(&told), "{error}");
}

#[tokio::test]
async fn one_whose_storage_is_full_may_grow() {
    let found = plain().db_instance_status("storage-full").allocated_storage(20).build();
    let mut rules = standing_rules(Vec::new(), vec![found]);
    rules.push(modified_instance());
    assert_eq!(ensured(&rules, PLAIN).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn storage_grows_by_a_tenth_and_never_shrinks_and_names_its_iops_when_striped() {
    let rules = standing_rules(Vec::new(), vec![plain().build()]);
    let smaller = PLAIN.replace("100", "50");
    assert_eq!(planned(&rules, &smaller).await.expect("an answer").changes, []);
    ensured(&rules, &smaller).await.expect("an answer");

    let mut rules = standing_rules(Vec::new(), vec![plain().build()]);
    rules.push(
        mock!(Rds::modify_db_instance)
            .match_requests(|request| request.allocated_storage() == Some(110))
            .then_output(|| ModifyDbInstanceOutput::builder().build()),
    );
    ensured(&rules, &PLAIN.replace("100", "105")).await.unwrap_err();
    assert_eq!(rules[4].num_calls(), 1);
    let mut rules = standing_rules(Vec::new(), vec![plain().iops(3000).build()]);
    rules.push(
        mock!(Rds::modify_db_instance)
            .match_requests(|request| {
                request.allocated_storage() == Some(500) && request.iops() == Some(12000)
            })
            .then_output(|| ModifyDbInstanceOutput::builder().build()),
    );
    ensured(&rules, &PLAIN.replace("100", "500")).await.unwrap_err();
    assert_eq!(rules[4].num_calls(), 1);
}

#[tokio::test]
async fn what_would_cost_the_data_is_refused() {
    let key = format!("{PLAIN}, protect: false");
    let own_key = with_tag(our_tags(PLAIN), OWN_KEY, "true");
    for (found, spec, told) in [
        (plain().engine("mysql").build(), PLAIN, "engine is mysql"),
        (plain().db_name("other").build(), PLAIN, "database is other"),
        (plain().storage_encrypted(false).build(), PLAIN, "encryption is none"),
        (plain().set_tag_list(Some(own_key)).build(), key.as_str(), "put `key` back"),
        (plain().build(), "name: other, engine: postgres", "name is demo-main"),
        (
            plain().build(),
            AURORA,
            "`allowDataLoss: [databases.main]` at the top of the spec: an empty one takes its place",
        ),
    ] {
        let rules = standing_rules(Vec::new(), vec![found]);
        let error = planned(&rules, spec).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(ensured(&rules, spec).await.unwrap_err(), error);
    }
    let rules = standing_rules(Vec::new(), vec![plain().build()]);
    let context = context_with("key: {},", PLAIN, Operation::Ensure);
    let error = ensure(&clients(&rules), &context).await.unwrap_err();
    assert!(error.to_string().contains("can't change that to arn:aws:kms:us-east-1:123456789012:key/key-1"));
}

/// What takes the place of [`plain`], once it may.
const MYSQL: &str = "engine: mysql, database: app";

/// What it is called.
fn instead() -> String {
    step::name_of("demo", "main", LIMIT, "demo-main")
}

/// The instance that takes the place of [`plain`].
fn successor() -> DbInstanceBuilder {
    let endpoint = Endpoint::builder().address("other.x.us-east-1.rds.amazonaws.com").port(3306).build();
    plain()
        .db_instance_identifier(instead())
        .db_instance_arn("arn:successor")
        .engine("mysql")
        .engine_version("8.4.3")
        .endpoint(endpoint)
        .set_tag_list(Some(with_tag(our_tags(MYSQL), place::NAME, &instead())))
}

/// [`plain`], after its place was taken.
fn put_aside() -> DbInstanceBuilder {
    plain().dbi_resource_id("db-1").set_tag_list(Some(with_tag(our_tags(PLAIN), REPLACED, "db-1")))
}

/// The group, which lets in whoever uses the one or the other.
fn opened(ports: &'static [i32]) -> Vec<Mock> {
    let tags: Vec<_> = context(AURORA, Operation::Plan)
        .tags("databases.main.group")
        .into_iter()
        .map(|(key, value)| Ec2Tag::builder().key(key).value(value).build())
        .chain([Ec2Tag::builder().key("Name").value("demo-main-database").build()])
        .collect();
    let rule = |port: &i32| {
        let tags = context(AURORA, Operation::Plan).tags(&format!("databases.main.group.{port}"));
        let tags = tags.into_iter().map(|(key, value)| Ec2Tag::builder().key(key).value(value).build());
        let shared = ReferencedSecurityGroup::builder().group_id("sg-shared").build();
        SecurityGroupRule::builder()
            .security_group_rule_id(format!("sgr-{port}"))
            .group_id("sg-db")
            .is_egress(false)
            .ip_protocol("tcp")
            .from_port(*port)
            .to_port(*port)
            .referenced_group_info(shared)
            .set_tags(Some(tags.collect()))
            .build()
    };
    let out = SecurityGroupRule::builder().is_egress(true).ip_protocol("-1").build();
    let rules: Vec<_> = ports.iter().map(rule).chain([out]).collect();
    vec![
        mock!(Ec2::describe_security_groups).then_output(move || {
            let group = SecurityGroup::builder().group_id("sg-db").set_tags(Some(tags.clone())).build();
            DescribeSecurityGroupsOutput::builder().security_groups(group).build()
        }),
        mock!(Ec2::describe_security_group_rules).then_output(move || {
            DescribeSecurityGroupRulesOutput::builder().set_security_group_rules(Some(rules.clone())).build()
        }),
    ]
}

fn both(old: DbInstanceBuilder) -> Vec<Mock> {
    let old = old.instance_create_time(DateTime::from_secs(0)).build();
    let new = successor().instance_create_time(DateTime::from_secs(1)).build();
    standing_rules(Vec::new(), vec![new, old])
}

#[tokio::test]
async fn with_allow_data_loss_another_database_is_planned_and_made_beside_the_old() {
    let mut rules = standing_rules(Vec::new(), vec![plain().build()]);
    rules.extend([
        offers(&[("8.4", "8.4.3")]),
        runs_on(Some("db.t4g.micro"), &["8.4.3"], &["db.t4g.micro"]),
        mock!(Rds::create_db_instance)
            .match_requests(|request| {
                request.db_instance_identifier() == Some(&instead())
                    && request.engine() == Some("mysql")
                    && tags(request.tags()).get(step::ADDRESS).is_some_and(|at| at == "databases.main")
                    && tags(request.tags()).get(place::NAME) == Some(&instead())
            })
            .then_output(|| CreateDbInstanceOutput::builder().build()),
    ]);
    let planned = planned(&rules, MYSQL).await.expect("an answer");
    let told: Vec<_> =
        planned.changes.iter().map(|change| (change.address.as_str(), change.action)).collect();
    assert!(told.contains(&("databases.main", step::Action::Delete)), "{told:?}");
    assert!(told.contains(&("databases.main", step::Action::Create)), "{told:?}");

    // Whoever uses the old one still reaches it, and its tags stay as they are.
    let clients = clients_with(&rules, &opened(&[3306, 5432]), &[secret(SECRET)]);
    let error = ensure(&clients, &context(MYSQL, Operation::Ensure)).await.unwrap_err();
    assert!(error.to_string().contains("is creating"), "{error}");
    assert_eq!(rules[6].num_calls(), 1);
}

#[tokio::test]
async fn the_old_database_is_put_aside_once_the_new_one_can_be_used_and_then_left_alone() {
    let mut rules = both(plain().dbi_resource_id("db-1"));
    rules.push(
        mock!(Rds::add_tags_to_resource)
            .match_requests(|request| {
                request.resource_name() == Some("arn:instance")
                    && tags(request.tags()) == BTreeMap::from([(REPLACED.to_owned(), "db-1".to_owned())])
            })
            .then_output(|| AddTagsToResourceOutput::builder().build()),
    );
    let clients = clients_with(&rules, &opened(&[3306, 5432]), &[]);
    let answer = ensure(&clients, &context(MYSQL, Operation::Ensure)).await.expect("an answer");
    assert_eq!(answer.output["main"]["host"], "other.x.us-east-1.rds.amazonaws.com");
    assert_eq!(rules[4].num_calls(), 1);
    let clients = clients_with(&both(put_aside()), &opened(&[3306, 5432]), &[]);
    ensure(&clients, &context(MYSQL, Operation::Ensure)).await.expect("an answer");
    // So it is without `allowDataLoss`, once the old one is gone.
    let rules = standing_rules(Vec::new(), vec![successor().build()]);
    let clients = clients_with(&rules, &opened(&[3306]), &[]);
    ensure(&clients, &context_with("", MYSQL, Operation::Ensure)).await.expect("an answer");
    let planned = plan(&clients, &context_with("", MYSQL, Operation::Plan)).await;
    assert_eq!(planned.expect("an answer").changes, []);
}

#[tokio::test]
async fn a_database_that_was_put_aside_goes_with_a_last_snapshot_and_its_port_is_closed() {
    let last: &str = format!("demo-main-final-{}", step::digits("run", 12)).leak();
    let delete = mock!(Rds::delete_db_instance)
        .match_requests(move |request| {
            request.db_instance_identifier() == Some("demo-main")
                && request.final_db_snapshot_identifier() == Some(last)
        })
        .then_output(|| DeleteDbInstanceOutput::builder().build());
    let close = mock!(Ec2::revoke_security_group_ingress)
        .match_requests(|request| request.security_group_rule_ids() == ["sgr-5432"])
        .then_output(|| RevokeSecurityGroupIngressOutput::builder().build());
    let mut of_ec2 = opened(&[3306, 5432]);
    of_ec2.push(close);
    let mut rules = both(put_aside());
    rules.push(delete);
    let mut context = context(MYSQL, Operation::Prune);
    context.outputs = Outputs::default();
    let error = prune(&clients_with(&rules, &of_ec2, &[]), &context).await.unwrap_err();
    assert!(error.to_string().contains("RDS instance (demo-main) is being deleted"), "{error}");
    assert_eq!((rules[4].num_calls(), of_ec2[2].num_calls()), (1, 0));
    rules[1] = list_instances(vec![successor().build()]);
    let answer = prune(&clients_with(&rules, &of_ec2, &[]), &context).await.expect("an answer");
    assert_eq!((answer.changes, of_ec2[2].num_calls()), (Vec::new(), 1));

    // What is protected stays, with its port.
    let rules = both(put_aside().deletion_protection(true));
    let answer = prune(&clients_with(&rules, &of_ec2, &[]), &context).await.expect("an answer");
    assert_eq!(answer.changes, [Change::keep("databases.main").with("name", "demo-main")]);
    assert_eq!(answer.kept[0], "databases.main");
    assert_eq!(of_ec2[2].num_calls(), 1);
}

#[tokio::test]
async fn a_copy_that_somebody_restored_by_hand_is_left_alone() {
    let copy = put_aside().db_instance_identifier("rescued").dbi_resource_id("db-2").build();
    let rules = standing_rules(Vec::new(), vec![copy, successor().build()]);
    let clients = clients_with(&rules, &opened(&[3306]), &[]);
    ensure(&clients, &context(MYSQL, Operation::Ensure)).await.expect("an answer");
    let mut context = context(MYSQL, Operation::Prune);
    context.outputs = Outputs::default();
    assert_eq!(prune(&clients, &context).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn while_paused_the_old_database_stays_and_is_stopped_too() {
    let mut rules = both(put_aside());
    rules.push(mock!(Rds::stop_db_instance).then_output(|| StopDbInstanceOutput::builder().build()));
    let mut context = paused(MYSQL, Operation::Prune);
    context.outputs = Outputs::default();
    let clients = clients_with(&rules, &opened(&[3306, 5432]), &[]);
    assert!(prune(&clients, &context).await.unwrap_err().to_string().contains("is stopping"));
    assert_eq!(rules[4].num_calls(), 2);
}

#[tokio::test]
async fn one_that_was_renamed_by_hand_is_not_made_again_and_another_address_keeps_its_own() {
    let renamed = plain().set_tag_list(Some(with_tag(our_tags(PLAIN), place::NAME, "demo-first"))).build();
    let rules = standing_rules(Vec::new(), vec![renamed]);
    for spec in [PLAIN, MYSQL] {
        let error = planned(&rules, spec).await.unwrap_err();
        assert_eq!(error.kind(), "Conflict");
        assert!(error.to_string().contains("name it demo-first again"), "{error}");
    }
    // The key is another, and the name the same.
    let other = with_tag(our_tags(PLAIN), step::ADDRESS, "databases.other");
    let rules = standing_rules(Vec::new(), vec![plain().set_tag_list(Some(other)).build()]);
    let error = planned(&rules, MYSQL).await.unwrap_err();
    assert!(error.to_string().contains("engine is postgres"), "{error}");
}

#[tokio::test]
async fn a_name_that_the_old_database_holds_is_refused() {
    let rules = standing_rules(Vec::new(), vec![plain().build()]);
    let error = planned(&rules, &format!("name: demo-main, {MYSQL}")).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("give that another `name:`"), "{error}");
}

#[tokio::test]
async fn an_encrypted_database_keeps_the_environments_key() {
    let found =
        plain().kms_key_id(KEY).set_tag_list(Some(with_tag(our_tags(PLAIN), OWN_KEY, "true"))).build();
    let rules = standing_rules(Vec::new(), vec![found]);
    let context = context_with("key: {},", PLAIN, Operation::Ensure);
    ensure(&clients(&rules), &context).await.expect("an answer");
}

#[tokio::test]
async fn a_version_that_is_not_offered_is_refused_with_the_nearest() {
    for (asked, told) in [
        (
            "16.60",
            "databases.main.version: Aurora PostgreSQL has no version \"16.60\"; the nearest are 16.10 and \
             17.2",
        ),
        (
            "9",
            "databases.main.version: Aurora PostgreSQL has no version \"9\"; the nearest are 15.8 and 16.2",
        ),
    ] {
        let mut rules = standing_rules(Vec::new(), Vec::new());
        rules.push(offers(OFFERED));
        let error = planned(&rules, &AURORA.replace("16", asked)).await.unwrap_err();
        assert_eq!(error, Error::InvalidSpec(told.to_owned()));
    }
}

#[tokio::test]
async fn a_class_that_is_not_orderable_is_refused_with_one_that_is() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        offers(OFFERED),
        runs_on(Some("db.t2.micro"), &[], &[]),
        runs_on(None, &["16.10"], &["db.m7g.large", "db.t3.micro", "db.t4g.micro"]),
    ]);
    let error = planned(&rules, &format!("{PLAIN}, instance: db.t2.micro")).await.unwrap_err();
    let told = "databases.main.instance: PostgreSQL 16.10 doesn't run on db.t2.micro; it runs on \
                db.t3.micro, db.t4g.micro, db.m7g.large";
    assert_eq!(error, Error::InvalidSpec(told.to_owned()));

    let mut rules = standing_rules(Vec::new(), Vec::new());
    let serverless = |versions: &'static [&'static str], asked: Option<&'static str>| {
        mock!(Rds::describe_orderable_db_instance_options)
            .match_requests(move |request| request.engine_version() == asked)
            .then_output(move || {
                let option =
                    |version: &&str| OrderableDbInstanceOption::builder().engine_version(*version).build();
                DescribeOrderableDbInstanceOptionsOutput::builder()
                    .set_orderable_db_instance_options(Some(versions.iter().map(option).collect()))
                    .build()
            })
    };
    rules.extend([
        offers(OFFERED),
        serverless(&[], Some("16.2")),
        serverless(&["15.8", "16.10", "16.3-limitless"], None),
    ]);
    let error = planned(&rules, &AURORA.replace("16", "16.2")).await.unwrap_err();
    let told = "databases.main.version: Aurora PostgreSQL 16.2 can't be serverless; the nearest that can are \
                15.8 and 16.10";
    assert_eq!(error, Error::InvalidSpec(told.to_owned()));
}

#[tokio::test]
async fn storage_that_a_class_does_not_take_is_refused() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([offers(OFFERED), runs_on(Some("db.t4g.micro"), &["16.10"], &["db.t4g.micro"])]);
    let mut context = context(PLAIN, Operation::Plan);
    context.spec.databases.get_mut("main").expect("a database").storage = Some(10);
    let error = plan(&clients(&rules), &context).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("takes 20 to 65536 GiB, not 10"), "{error}");
}

#[tokio::test]
async fn a_version_is_raised_first_and_never_lowered() {
    let found = cluster().backup_retention_period(1).build();
    let mut rules = standing_rules(vec![found], vec![member().build()]);
    rules.extend([
        offers(OFFERED),
        runs_on(Some("db.serverless"), &["17.2"], &["db.serverless"]),
        mock!(Rds::modify_db_cluster)
            .match_requests(|request| {
                request.engine_version() == Some("17.2")
                    && request.allow_major_version_upgrade() == Some(true)
                    && request.apply_immediately() == Some(true)
                    && request.backup_retention_period().is_none()
            })
            .then_output(|| ModifyDbClusterOutput::builder().build()),
    ]);
    let newer = AURORA.replace("16", "17");
    let planned_newer = planned(&rules, &newer).await.expect("an answer");
    assert_eq!(named(&planned_newer.changes[0].fields), ["version", "backups"]);
    assert_eq!(ensured(&rules, &newer).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[6].num_calls(), 1);

    let rules = standing_rules(vec![cluster().build()], vec![member().build()]);
    let answer = planned(&rules, &AURORA.replace("16", "15")).await.expect("an answer");
    assert_eq!(answer.changes, []);
    assert!(
        answer.notes[0].contains("has version 16.4, and RDS takes none back to 15"),
        "{:?}",
        answer.notes
    );
    let answer = ensured(&rules, &AURORA.replace("16", "15")).await.expect("an answer");
    assert_eq!(answer.notes.len(), 1);
}

#[tokio::test]
async fn what_rds_upgrades_and_grows_by_itself_is_let_be_though_the_version_is_pinned_and_withdrawn() {
    let pinned = PLAIN.replace("'16'", "'16.1'");
    let found = plain().engine_version("16.2").allocated_storage(150).build();
    let rules = standing_rules(Vec::new(), vec![found]);
    let answer = planned(&rules, &pinned).await.expect("an answer");
    assert_eq!((answer.changes, answer.notes), (Vec::new(), Vec::new()));
    assert_eq!(ensured(&rules, &pinned).await.expect("an answer").notes, Vec::<String>::new());

    let pinned = AURORA.replace("'16'", "'16.3'");
    let rules = standing_rules(vec![cluster().build()], vec![member().build()]);
    assert_eq!(planned(&rules, &pinned).await.expect("an answer").changes, []);
    ensured(&rules, &pinned).await.expect("an answer");
}

#[tokio::test]
async fn a_minor_version_is_no_major_one_and_a_longer_way_is_refused() {
    let mut rules = standing_rules(Vec::new(), vec![plain().build()]);
    rules.extend([
        offers(OFFERED),
        mock!(Rds::modify_db_instance)
            .match_requests(|request| {
                request.engine_version() == Some("16.10")
                    && request.allow_major_version_upgrade() == Some(false)
            })
            .then_output(|| ModifyDbInstanceOutput::builder().build()),
    ]);
    assert_eq!(ensured(&rules, &PLAIN.replace("16", "16.10")).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!(rules[5].num_calls(), 1);

    let found = plain().engine_version("15.8").build();
    let mut rules = standing_rules(Vec::new(), vec![found]);
    rules.push(mock!(Rds::describe_db_engine_versions).then_output(|| {
        let target = |version: &str| UpgradeTarget::builder().engine_version(version).build();
        let from = DbEngineVersion::builder().engine_version("15.8").valid_upgrade_target(target("16.2"));
        let to = DbEngineVersion::builder().engine_version("17.2").build();
        DescribeDbEngineVersionsOutput::builder()
            .db_engine_versions(from.build())
            .db_engine_versions(to)
            .build()
    }));
    let error = planned(&rules, &PLAIN.replace("16", "17")).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(
        error.to_string().contains("can't become 17 at once; the nearest it can become are 16.2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_version_that_is_withdrawn_is_kept_where_it_runs() {
    let found = cluster().engine_version("13.6").build();
    let rules = standing_rules(vec![found], vec![member().build()]);
    ensured(&rules, &AURORA.replace("16", "13.6")).await.expect("an answer");
}

fn cluster_snapshot(encrypted: bool, username: &'static str) -> Mock {
    mock!(Rds::describe_db_cluster_snapshots)
        .match_requests(|request| request.db_cluster_snapshot_identifier() == Some("before"))
        .then_output(move || {
            let snapshot = DbClusterSnapshot::builder()
                .engine("aurora-postgresql")
                .engine_version("16.2")
                .master_username(username)
                .storage_encrypted(encrypted)
                .status("available");
            DescribeDbClusterSnapshotsOutput::builder().db_cluster_snapshots(snapshot.build()).build()
        })
}

#[tokio::test]
async fn a_cluster_is_restored_and_then_given_the_specs_password() {
    let spec = format!("{AURORA}, restore: before");
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        offers(OFFERED),
        cluster_snapshot(true, "app"),
        mock!(Rds::restore_db_cluster_from_snapshot)
            .match_requests(|request| {
                request.snapshot_identifier() == Some("before")
                    && request.engine_version() == Some("16.2")
                    && request.serverless_v2_scaling_configuration().is_some()
                    && tags(request.tags()).get(RESTORED).is_some_and(|restored| restored == PENDING)
                    && tags(request.tags()).contains_key(step::ADDRESS)
            })
            .then_output(|| RestoreDbClusterFromSnapshotOutput::builder().build()),
        created_member(),
    ]);
    assert_eq!(ensured(&rules, &spec).await.unwrap_err().kind(), "NotReadyLong");
    assert_eq!((rules[6].num_calls(), rules[7].num_calls()), (1, 1));

    let tags = with_tag(our_tags(AURORA), RESTORED, PENDING);
    let restored = cluster().database_name("theirs").set_tag_list(Some(tags)).build();
    let mut rules = standing_rules(vec![restored], vec![member().build()]);
    rules.extend([
        mock!(Rds::modify_db_cluster)
            .match_requests(|request| request.master_user_password() == Some("pAss1234"))
            .then_output(|| ModifyDbClusterOutput::builder().build()),
        mock!(Rds::add_tags_to_resource)
            .match_requests(|request| request.tags().len() == 1 && request.tags()[0].value() == Some(DONE))
            .then_output(|| AddTagsToResourceOutput::builder().build()),
    ]);
    assert_eq!(ensured(&rules, &spec).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls()), (1, 1));

    let tags = with_tag(our_tags(AURORA), RESTORED, DONE);
    let restored = cluster().database_name("theirs").set_tag_list(Some(tags)).build();
    let rules = standing_rules(vec![restored], vec![member().build()]);
    ensured(&rules, &spec).await.expect("an answer");
}

#[tokio::test]
async fn an_instance_is_restored_and_then_given_the_specs_password() {
    let spec = format!("{PLAIN}, restore: 'rds:before'");
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        mock!(Rds::describe_db_snapshots)
            .match_requests(|request| request.snapshot_type() == Some("automated"))
            .then_output(|| {
                let snapshot = DbSnapshot::builder().engine("postgres").engine_version("16.2");
                let snapshot = snapshot.master_username("app").encrypted(true).allocated_storage(50).build();
                DescribeDbSnapshotsOutput::builder().db_snapshots(snapshot).build()
            }),
        mock!(Rds::restore_db_instance_from_db_snapshot)
            .match_requests(|request| {
                request.db_snapshot_identifier() == Some("rds:before")
                    && request.allocated_storage() == Some(100)
                    && tags(request.tags()).get(RESTORED).is_some_and(|restored| restored == PENDING)
            })
            .then_output(|| RestoreDbInstanceFromDbSnapshotOutput::builder().build()),
    ]);
    assert_eq!(ensured(&rules, &spec).await.unwrap_err().kind(), "NotReadyLater");
    assert_eq!(rules[5].num_calls(), 1);

    let found = plain().set_tag_list(Some(with_tag(our_tags(PLAIN), RESTORED, PENDING))).build();
    let mut rules = standing_rules(Vec::new(), vec![found]);
    rules.extend([
        mock!(Rds::modify_db_instance)
            .match_requests(|request| request.master_user_password() == Some("pAss1234"))
            .then_output(|| ModifyDbInstanceOutput::builder().build()),
        tagged(),
    ]);
    assert_eq!(ensured(&rules, &spec).await.unwrap_err().kind(), "NotReadySoon");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls()), (1, 1));
}

/// The secret's current version.
fn version(id: &'static str) -> Mock {
    let versions = std::collections::HashMap::from([(id.to_owned(), vec!["AWSCURRENT".to_owned()])]);
    mock!(SecretsManager::describe_secret).then_output(move || {
        DescribeSecretOutput::builder().set_version_ids_to_stages(Some(versions.clone())).build()
    })
}

#[tokio::test]
async fn a_secret_that_got_another_value_is_the_databases_new_password() {
    for (database, found) in
        [(PLAIN, (Vec::new(), vec![plain()])), (AURORA, (vec![cluster()], vec![member()]))]
    {
        let tags = with_tag(our_tags(database), "plinth:password", &step::digits("one", 8));
        let (clusters, instances): (Vec<DbClusterBuilder>, Vec<_>) = found;
        let is_cluster = !clusters.is_empty();
        let clusters =
            clusters.into_iter().map(|found| found.set_tag_list(Some(tags.clone())).build()).collect();
        let instances = instances
            .into_iter()
            .map(
                |found| {
                    if is_cluster { found.build() } else { found.set_tag_list(Some(tags.clone())).build() }
                },
            )
            .collect();
        let mut rules = standing_rules(clusters, instances);
        rules.extend([
            mock!(Rds::modify_db_instance)
                .match_requests(|request| request.master_user_password() == Some("pAss1234"))
                .then_output(|| ModifyDbInstanceOutput::builder().build()),
            mock!(Rds::modify_db_cluster)
                .match_requests(|request| request.master_user_password() == Some("pAss1234"))
                .then_output(|| ModifyDbClusterOutput::builder().build()),
            mock!(Rds::add_tags_to_resource)
                .match_requests(|request| {
                    request.tags().iter().any(|tag| tag.key() == Some("plinth:password"))
                })
                .then_output(|| AddTagsToResourceOutput::builder().build()),
        ]);
        let value = || {
            mock!(SecretsManager::get_secret_value).then_output(|| {
                GetSecretValueOutput::builder().secret_string(SECRET).version_id("two").build()
            })
        };
        let of = |id| clients_with(&rules, &group_rules(), &[value(), version(id)]);
        let (plans, ensures) = (context(database, Operation::Plan), context(database, Operation::Ensure));
        ensure(&of("one"), &ensures).await.expect("an answer");
        assert_eq!(plan(&of("one"), &plans).await.expect("an answer").changes, []);

        let planned = plan(&of("two"), &plans).await.expect("an answer");
        assert_eq!(named(&planned.changes[0].fields), ["password"]);
        assert_eq!(ensure(&of("two"), &ensures).await.unwrap_err().kind(), "NotReadySoon");
        assert_eq!((rules[4].num_calls() + rules[5].num_calls(), rules[6].num_calls()), (1, 1));
    }
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_is_refused() {
    let spec = format!("{AURORA}, restore: before");
    let absent = mock!(Rds::describe_db_cluster_snapshots).then_error(|| {
        let code = ErrorMetadata::builder().code("DBClusterSnapshotNotFoundFault").build();
        DescribeDBClusterSnapshotsError::generic(code)
    });
    for (snapshot, told) in [
        (absent, "RDS has no cluster snapshot (before)"),
        (cluster_snapshot(false, "app"), "isn't encrypted"),
    ] {
        let mut rules = standing_rules(Vec::new(), Vec::new());
        rules.extend([offers(OFFERED), snapshot]);
        let error = planned(&rules, &spec).await.unwrap_err();
        assert_eq!(error.kind(), "InvalidSpec");
        assert!(error.to_string().contains(told), "{error}");
    }
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([offers(OFFERED), cluster_snapshot(true, "somebody")]);
    let error = ensured(&rules, &spec).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("is somebody"), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_another_environment_is_refused_unless_somebody_has_opened_it() {
    let spec = format!("{AURORA}, restore: before");
    let refusal = async |tags: &[(&str, &str)]| {
        let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
        let tags: Vec<Tag> = tags.iter().map(tag).collect();
        let snapshot = mock!(Rds::describe_db_cluster_snapshots).then_output(move || {
            let snapshot = DbClusterSnapshot::builder().engine("mysql").set_tag_list(Some(tags.clone()));
            DescribeDbClusterSnapshotsOutput::builder().db_cluster_snapshots(snapshot.build()).build()
        });
        let mut rules = standing_rules(Vec::new(), Vec::new());
        rules.extend([offers(OFFERED), snapshot]);
        planned(&rules, &spec).await.unwrap_err().to_string()
    };
    let other = ("plinth:environment", "other");
    let refused = refusal(&[other]).await;
    assert!(refused.contains("snapshot (before) is of environment other: give it the tag"), "{refused}");
    // It isn't of this engine, which is looked at after.
    for open in [&[other, ("plinth:shared", "true")][..], &[("plinth:environment", "demo")], &[]] {
        let refused = refusal(open).await;
        assert!(refused.contains("is of mysql"), "{refused}");
    }
}

#[tokio::test]
async fn a_secret_that_is_no_name_and_password_is_not_told() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.push(offers(OFFERED));
    let clients = clients_with(&rules, &group_rules(), &[secret("hunter2")]);
    let error = ensure(&clients, &context(AURORA, Operation::Ensure)).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_or_that_is_early_is_looked_at_again() {
    for code in ["DBClusterAlreadyExistsFault", "DBSubnetGroupNotFoundFault"] {
        let mut rules = standing_rules(Vec::new(), Vec::new());
        rules.extend([
            offers(OFFERED),
            mock!(Rds::create_db_cluster).then_error(move || {
                CreateDBClusterError::generic(ErrorMetadata::builder().code(code).build())
            }),
        ]);
        assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "NotReadySoon");
    }
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.extend([
        offers(OFFERED),
        mock!(Rds::create_db_cluster).then_error(|| {
            let message = "Unable to create the resource. Verify that you have permission to create service \
                           linked role. Otherwise wait and try again later";
            let error = ErrorMetadata::builder().code("InvalidParameterValue").message(message);
            CreateDBClusterError::generic(error.build())
        }),
    ]);
    let error = ensured(&rules, AURORA).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("service-linked role"), "{error}");
}

#[tokio::test]
async fn a_change_that_comes_too_early_is_made_later_and_given_up_at_last() {
    let found = || cluster().backup_retention_period(1).build();
    let mut rules = standing_rules(vec![found()], vec![member().build()]);
    rules.push(mock!(Rds::modify_db_cluster).then_error(|| {
        ModifyDBClusterError::generic(ErrorMetadata::builder().code("InvalidDBClusterStateFault").build())
    }));
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "NotReadySoon");

    let mut rules = standing_rules(vec![found()], vec![member().build()]);
    rules.push(modified_cluster());
    let mut context = context(AURORA, Operation::Ensure);
    context.since = Timestamp::now() - 3.hours();
    assert_eq!(ensure(&clients(&rules), &context).await.unwrap_err().kind(), "Failed");
}

#[tokio::test]
async fn subnets_are_grouped_and_follow_the_network() {
    let mut rules = vec![list_clusters(vec![cluster().build()]), list_instances(vec![member().build()])];
    rules.extend(subnets_of(&["subnet-1", "subnet-8"]));
    rules.push(
        mock!(Rds::modify_db_subnet_group)
            .match_requests(|request| request.subnet_ids() == ["subnet-1", "subnet-2"])
            .then_output(|| ModifyDbSubnetGroupOutput::builder().build()),
    );
    let planned = planned(&rules, AURORA).await.expect("an answer");
    assert_eq!(planned.changes.len(), 1);
    assert_eq!(planned.changes[0].address, "databases.main.subnets");
    assert_eq!(named(&planned.changes[0].fields), ["subnets"]);
    ensured(&rules, AURORA).await.expect("an answer");
    assert_eq!(rules[4].num_calls(), 1);

    let absent = mock!(Rds::describe_db_subnet_groups).then_error(|| {
        DescribeDBSubnetGroupsError::generic(
            ErrorMetadata::builder().code("DBSubnetGroupNotFoundFault").build(),
        )
    });
    let rules = [
        list_clusters(vec![cluster().build()]),
        list_instances(vec![member().build()]),
        absent,
        mock!(Rds::create_db_subnet_group)
            .match_requests(|request| {
                request.db_subnet_group_name() == Some("demo-main-database")
                    && tags(request.tags()).contains_key(step::ENVIRONMENT)
            })
            .then_output(|| CreateDbSubnetGroupOutput::builder().build()),
    ];
    ensured(&rules, AURORA).await.expect("an answer");
    assert_eq!(rules[3].num_calls(), 1);
}

#[tokio::test]
async fn a_subnet_group_of_somebody_else_is_refused() {
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules[3] =
        mock!(Rds::list_tags_for_resource).then_output(|| ListTagsForResourceOutput::builder().build());
    assert_eq!(ensured(&rules, AURORA).await.unwrap_err().kind(), "Conflict");
}

/// The calls that delete what goes with a database.
fn around_deleted() -> (Mock, Mock) {
    (
        mock!(Rds::delete_db_subnet_group)
            .match_requests(|request| request.db_subnet_group_name() == Some("demo-main-database"))
            .then_output(|| DeleteDbSubnetGroupOutput::builder().build()),
        mock!(Ec2::delete_security_group)
            .match_requests(|request| request.group_id() == Some("sg-db"))
            .then_output(|| DeleteSecurityGroupOutput::builder().build()),
    )
}

async fn pruned(rules: &[Mock], group: &Mock) -> Result<Answer> {
    let mut of_ec2 = group_rules();
    of_ec2.push(group.clone());
    prune(&clients_with(rules, &of_ec2, &[]), &dropped_context(Operation::Prune)).await
}

fn deleted_member() -> Mock {
    mock!(Rds::delete_db_instance)
        .match_requests(|request| {
            request.db_instance_identifier() == Some(&member_name())
                && request.skip_final_snapshot() == Some(true)
        })
        .then_output(|| DeleteDbInstanceOutput::builder().build())
}

fn deleted_cluster(last: &'static str) -> Mock {
    mock!(Rds::delete_db_cluster)
        .match_requests(move |request| {
            request.final_db_snapshot_identifier() == Some(last)
                && request.skip_final_snapshot() == Some(false)
        })
        .then_output(|| DeleteDbClusterOutput::builder().build())
}

#[tokio::test]
async fn a_dropped_cluster_is_planned_and_goes_after_its_instance_and_before_its_groups() {
    let last: &str = format!("demo-main-final-{}", step::digits("run", 12)).leak();
    let mut rules = standing_rules(vec![cluster().build()], vec![member().build()]);
    let (subnets, group) = around_deleted();
    rules.extend([deleted_member(), deleted_cluster(last), subnets.clone()]);
    let planned = plan(&clients(&rules), &dropped_context(Operation::Plan)).await.expect("an answer");
    let named = [
        Change::delete("databases.main").with("name", "demo-main").with("lastSnapshot", "demo-main-final-…"),
        Change::delete("databases.main.instance").with("name", member_name()),
        Change::delete("databases.main.subnets").with("name", "demo-main-database"),
        Change::delete("databases.main.group").with("id", "sg-db"),
    ];
    assert_eq!(planned.changes, named);
    assert_eq!(rules[4].num_calls(), 0);

    // While the instance is there, the cluster stays.
    let error = pruned(&rules, &group).await.unwrap_err();
    assert!(error.to_string().contains("Aurora cluster (demo-main) is being deleted"), "{error}");
    assert_eq!((rules[4].num_calls(), rules[5].num_calls(), group.num_calls()), (1, 0, 0));

    // While the cluster is there, the groups stay.
    rules[1] = list_instances(Vec::new());
    assert_eq!(pruned(&rules, &group).await.unwrap_err().kind(), "NotReadyLong");
    assert_eq!((rules[5].num_calls(), rules[6].num_calls(), group.num_calls()), (1, 0, 0));
    rules[0] = list_clusters(vec![cluster().status("deleting").build()]);
    assert_eq!(pruned(&rules, &group).await.unwrap_err().kind(), "NotReadyLong");
    assert_eq!((rules[5].num_calls(), rules[6].num_calls()), (1, 0));

    rules[0] = list_clusters(Vec::new());
    pruned(&rules, &group).await.expect("an answer");
    assert_eq!((rules[6].num_calls(), group.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_dropped_instance_goes_without_a_snapshot_where_its_spec_said_so() {
    let tags = with_tag(our_tags(PLAIN), FINAL_SNAPSHOT, "false");
    let (subnets, group) = around_deleted();
    let gone = mock!(Rds::describe_db_instances)
        .sequence()
        .output({
            let found = plain().set_tag_list(Some(tags)).build();
            move || DescribeDbInstancesOutput::builder().db_instances(found.clone()).build()
        })
        .output(|| DescribeDbInstancesOutput::builder().build())
        .repeatedly()
        .build();
    let mut rules = vec![list_clusters(Vec::new()), gone];
    rules.extend(subnets_of(&[]));
    rules.extend([
        mock!(Rds::delete_db_instance)
            .match_requests(|request| {
                request.skip_final_snapshot() == Some(true)
                    && request.final_db_snapshot_identifier().is_none()
            })
            .then_output(|| DeleteDbInstanceOutput::builder().build()),
        subnets,
    ]);
    // It is gone at once, and so the rest goes in the same pass.
    let answer = pruned(&rules, &group).await.expect("an answer");
    let change = Change::delete("databases.main").with("name", "demo-main");
    assert_eq!(answer.changes[0], change.with("lastSnapshot", "none"));
    assert_eq!((rules[4].num_calls(), rules[5].num_calls(), group.num_calls()), (1, 1, 1));
}

#[tokio::test]
async fn a_last_snapshot_that_an_earlier_pass_took_is_not_taken_twice() {
    let (_, group) = around_deleted();
    for (state, deletions) in [("available", 1), ("creating", 0)] {
        let mut rules = standing_rules(Vec::new(), vec![plain().build()]);
        rules.extend([
            mock!(Rds::delete_db_instance)
                .match_requests(|request| request.skip_final_snapshot() == Some(false))
                .then_error(|| {
                    let code = ErrorMetadata::builder().code("DBSnapshotAlreadyExists").build();
                    DeleteDBInstanceError::generic(code)
                }),
            mock!(Rds::delete_db_instance)
                .match_requests(|request| request.skip_final_snapshot() == Some(true))
                .then_output(|| DeleteDbInstanceOutput::builder().build()),
            mock!(Rds::describe_db_snapshots).then_output(move || {
                DescribeDbSnapshotsOutput::builder()
                    .db_snapshots(DbSnapshot::builder().status(state).build())
                    .build()
            }),
        ]);
        assert!(matches!(pruned(&rules, &group).await, Err(Error::NotReady { .. })));
        assert_eq!(rules[5].num_calls(), deletions);
    }
}

#[tokio::test]
async fn a_protected_database_stays_whoever_protected_it() {
    let (_, group) = around_deleted();
    let by_tag = with_tag(our_tags(PLAIN), PROTECT, "true");
    for found in [plain().set_tag_list(Some(by_tag)).build(), plain().deletion_protection(true).build()] {
        let rules = standing_rules(Vec::new(), vec![found]);
        let answer = pruned(&rules, &group).await.expect("an answer");
        assert_eq!(answer.changes, [Change::keep("databases.main").with("name", "demo-main")]);
        assert_eq!(answer.kept, ["databases.main", "key", "network", "secrets.db"]);
    }
    let rules = standing_rules(vec![cluster().deletion_protection(true).build()], vec![member().build()]);
    let answer = pruned(&rules, &group).await.expect("an answer");
    assert_eq!(answer.changes, [Change::keep("databases.main").with("name", "demo-main")]);
}

#[tokio::test]
async fn what_cannot_be_deleted_as_asked_is_told() {
    let (_, group) = around_deleted();
    let stranger = member().db_instance_identifier("reader").set_tag_list(None).build();
    let rules = standing_rules(vec![cluster().build()], vec![member().build(), stranger]);
    let error = pruned(&rules, &group).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
    assert!(error.to_string().contains("holds RDS instance (reader)"), "{error}");

    let rules = standing_rules(Vec::new(), vec![plain().db_instance_status("failed").build()]);
    let error = pruned(&rules, &group).await.unwrap_err();
    assert_eq!(error.kind(), "Failed");
    assert!(error.to_string().contains("plinth:final-snapshot=false"), "{error}");
}

#[tokio::test]
async fn a_prune_keeps_what_the_spec_mentions_and_leaves_what_is_not_ours() {
    let stranger = cluster().db_cluster_identifier("theirs").set_tag_list(None).build();
    let rules = standing_rules(vec![cluster().build(), stranger], vec![member().build()]);
    let clients = clients_with(&rules, &group_rules(), &[]);
    let mut context = context(AURORA, Operation::Prune);
    context.outputs = Outputs::default();
    assert_eq!(prune(&clients, &context).await.expect("an answer").changes, []);
}

#[tokio::test]
async fn an_aurora_database_needs_a_size() {
    let mut context = context("engine: aurora-mysql, serverless: { min: 1, max: 2 }", Operation::Plan);
    context.spec.databases.get_mut("main").expect("a database").serverless = None;
    let rules = standing_rules(Vec::new(), Vec::new());
    assert_eq!(plan(&clients(&rules), &context).await.unwrap_err().kind(), "InvalidSpec");
}

fn paused(database: &str, operation: Operation) -> Context {
    let mut context = context(database, operation);
    context.run.paused = true;
    context
}

/// Calls that start and stop the database, by its name.
fn turns() -> [Mock; 4] {
    [
        mock!(Rds::start_db_cluster)
            .match_requests(|request| request.db_cluster_identifier() == Some("demo-main"))
            .then_output(|| StartDbClusterOutput::builder().build()),
        mock!(Rds::start_db_instance)
            .match_requests(|request| request.db_instance_identifier() == Some("demo-main"))
            .then_output(|| StartDbInstanceOutput::builder().build()),
        mock!(Rds::stop_db_cluster)
            .match_requests(|request| request.db_cluster_identifier() == Some("demo-main"))
            .then_output(|| StopDbClusterOutput::builder().build()),
        mock!(Rds::stop_db_instance)
            .match_requests(|request| request.db_instance_identifier() == Some("demo-main"))
            .then_output(|| StopDbInstanceOutput::builder().build()),
    ]
}

/// The same world with the cluster, or the instance, in this state.
fn standing_in(database: &str, state: &str) -> Vec<Mock> {
    if database == AURORA {
        let member = member().db_instance_status(state).build();
        return standing_rules(vec![cluster().status(state).build()], vec![member]);
    }
    standing_rules(Vec::new(), vec![plain().db_instance_status(state).build()])
}

#[tokio::test]
async fn a_database_that_is_stopped_is_started_once_and_waited_for() {
    for (database, call) in [(AURORA, 0), (PLAIN, 1)] {
        for (state, calls) in [("stopped", 1), ("stopping", 0), ("starting", 0)] {
            let mut rules = standing_in(database, state);
            rules.extend(turns());
            let error = ensured(&rules, database).await.unwrap_err();
            assert!(error.kind().starts_with("NotReady"), "{error}");
            assert_eq!(rules[4 + call].num_calls(), calls, "{state}");
        }
        let mut rules = standing_in(database, "stopped");
        rules.push(offers(OFFERED));
        let planned = planned(&rules, database).await.expect("an answer");
        assert_eq!(named(&planned.changes[0].fields), ["state"]);
    }
}

#[tokio::test]
async fn of_a_paused_environment_a_database_is_stopped_when_the_rest_has_been_and_then_left_alone() {
    for (database, call) in [(AURORA, 2), (PLAIN, 3)] {
        let mut rules = standing_in(database, "available");
        rules.extend(turns());
        rules.push(offers(OFFERED));
        let clients = clients(&rules);
        let planned = plan(&clients, &paused(database, Operation::Plan)).await.expect("an answer");
        assert_eq!(named(&planned.changes[0].fields), ["state"]);
        ensure(&clients, &paused(database, Operation::Ensure)).await.expect("an answer");
        assert_eq!(rules[4 + call].num_calls(), 0);
        let error = prune(&clients, &paused(database, Operation::Prune)).await.unwrap_err();
        assert!(error.to_string().contains("is stopping"), "{error}");
        assert_eq!(rules[4 + call].num_calls(), 1);

        let mut rules = standing_in(database, "stopped");
        rules.push(offers(OFFERED));
        let clients = self::clients(&rules);
        let planned = plan(&clients, &paused(database, Operation::Plan)).await.expect("an answer");
        assert_eq!(planned.changes, []);
        let answer = ensure(&clients, &paused(database, Operation::Ensure)).await.expect("an answer");
        assert!(answer.output["main"]["host"].is_string());
        prune(&clients, &paused(database, Operation::Prune)).await.expect("an answer");
    }
}

#[tokio::test]
async fn a_cluster_that_is_stopped_and_an_instance_that_leaves_a_snapshot_are_started_to_be_deleted() {
    for (database, call) in [(AURORA, 0), (PLAIN, 1)] {
        let (subnets, group) = around_deleted();
        let mut rules = standing_in(database, "stopped");
        rules.extend(turns());
        rules.push(subnets);
        let error = pruned(&rules, &group).await.unwrap_err();
        assert!(error.to_string().contains("is starting"), "{error}");
        assert_eq!(rules[4 + call].num_calls(), 1);
    }
}

#[tokio::test]
async fn a_database_is_not_dropped_unless_the_spec_says_so_or_no_run_has_ended_well_with_it() {
    let refused = async |found: DbInstanceBuilder, context: &Context| {
        let rules = standing_rules(Vec::new(), vec![found.build()]);
        plan(&clients(&rules), context).await.expect("an answer").refused
    };
    let mut context = dropped_context(Operation::Plan);
    let told = refused(plain(), &context).await;
    assert_eq!(told.len(), 1);
    for part in ["demo-main-final-…", "`formerly: main`", "`allowDataLoss: [databases.main]`"] {
        assert!(told[0].contains(part), "{told:?}");
    }
    let new = with_tag(our_tags(PLAIN), NEW, "true");
    assert_eq!(refused(plain().set_tag_list(Some(new)), &context).await, Vec::<String>::new());
    assert_eq!(refused(plain().deletion_protection(true), &context).await, Vec::<String>::new());
    context.spec.allow_data_loss = vec!["databases.main".to_owned()];
    assert_eq!(refused(plain(), &context).await, Vec::<String>::new());
    context.spec.allow_data_loss.clear();
    context.run.teardown = true;
    assert_eq!(refused(plain(), &context).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_a_run_has_ended_well_with_is_noted_as_such_once() {
    let note = mock!(Rds::add_tags_to_resource)
        .match_requests(|request| {
            tags(request.tags()) == BTreeMap::from([(NEW.to_owned(), "false".to_owned())])
        })
        .then_output(|| AddTagsToResourceOutput::builder().build());
    let mut context = context(PLAIN, Operation::Prune);
    context.outputs = Outputs::default();
    for (new, calls) in [("true", 1), ("false", 1)] {
        let found = plain().set_tag_list(Some(with_tag(our_tags(PLAIN), NEW, new))).build();
        let mut rules = standing_rules(Vec::new(), vec![found]);
        rules.push(note.clone());
        prune(&clients(&rules), &context).await.expect("an answer");
        assert_eq!(note.num_calls(), calls);
    }
}

#[tokio::test]
async fn the_last_snapshots_of_the_environments_databases_are_told() {
    let snapshot = |name: &str, tags: Vec<Tag>| {
        DbSnapshot::builder().db_snapshot_identifier(name).set_tag_list(Some(tags)).build()
    };
    let all = vec![
        snapshot("demo-main-final-1", our_tags(PLAIN)),
        snapshot("demo-main-by-hand", our_tags(PLAIN)),
        snapshot("other-main-final-1", Vec::new()),
    ];
    let mut rules = standing_rules(Vec::new(), Vec::new());
    rules.push(mock!(Rds::describe_db_snapshots).then_output(move || {
        DescribeDbSnapshotsOutput::builder().set_db_snapshots(Some(all.clone())).build()
    }));
    let answer = prune(&clients(&rules), &dropped_context(Operation::Plan)).await.expect("an answer");
    let names: Vec<_> = answer.left.iter().map(|left| (left.address.as_str(), left.name.as_str())).collect();
    assert_eq!(names, [("databases.main", "demo-main-final-1")]);
}

#[tokio::test]
async fn a_database_under_another_key_keeps_its_name_and_its_data() {
    let spec = format!(
        "{{ apiVersion: plinth/v1, name: demo, secrets: {{ db: {{ generate: {{ username: app }} }} }}, \
         databases: {{ primary: {{ formerly: main, {PLAIN}, credentials: '${{secrets.db}}' }} }} }}"
    );
    let spec = spec::parse(&spec, None).expect("a spec");
    let context = step::test::context(Operation::Plan, spec, outputs());
    let rules = standing_rules(Vec::new(), vec![plain().build()]);
    let planned = plan(&clients(&rules), &context).await.expect("an answer");
    assert_eq!(planned.refused, Vec::<String>::new());
    let of = |action: step::Action| {
        let all = planned.changes.iter().filter(|change| change.action == action);
        all.map(|change| change.address.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(step::Action::Delete), ["databases.main.group"]);
    assert_eq!(of(step::Action::Create), ["databases.primary.group"]);
    assert_eq!(of(step::Action::Update), ["databases.primary.subnets", "databases.primary"]);
    assert_eq!(planned.output["primary"]["host"], "demo-main.x.us-east-1.rds.amazonaws.com");
}

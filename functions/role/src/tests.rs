use std::sync::{Arc, Mutex};

use aws_sdk_iam::{
    error::ErrorMetadata,
    operation::{
        add_role_to_instance_profile::{AddRoleToInstanceProfileError, AddRoleToInstanceProfileOutput},
        attach_role_policy::AttachRolePolicyOutput,
        create_instance_profile::CreateInstanceProfileOutput,
        create_role::{CreateRoleError, CreateRoleOutput},
        create_user::CreateUserOutput,
        delete_access_key::DeleteAccessKeyOutput,
        delete_instance_profile::DeleteInstanceProfileOutput,
        delete_role::{DeleteRoleError, DeleteRoleOutput},
        delete_role_policy::DeleteRolePolicyOutput,
        delete_user::DeleteUserOutput,
        delete_user_policy::DeleteUserPolicyOutput,
        detach_role_policy::DetachRolePolicyOutput,
        detach_user_policy::DetachUserPolicyOutput,
        get_instance_profile::{GetInstanceProfileError, GetInstanceProfileOutput},
        get_open_id_connect_provider::{GetOpenIDConnectProviderError, GetOpenIdConnectProviderOutput},
        get_role::{GetRoleError, GetRoleOutput},
        get_role_policy::{GetRolePolicyError, GetRolePolicyOutput},
        get_user::{GetUserError, GetUserOutput},
        get_user_policy::GetUserPolicyOutput,
        list_access_keys::ListAccessKeysOutput,
        list_attached_role_policies::ListAttachedRolePoliciesOutput,
        list_attached_user_policies::ListAttachedUserPoliciesOutput,
        list_instance_profiles::ListInstanceProfilesOutput,
        list_role_policies::ListRolePoliciesOutput,
        list_roles::ListRolesOutput,
        list_user_policies::ListUserPoliciesOutput,
        list_users::ListUsersOutput,
        put_role_permissions_boundary::PutRolePermissionsBoundaryOutput,
        put_role_policy::PutRolePolicyOutput,
        put_user_permissions_boundary::PutUserPermissionsBoundaryOutput,
        put_user_policy::PutUserPolicyOutput,
        remove_role_from_instance_profile::RemoveRoleFromInstanceProfileOutput,
        tag_instance_profile::TagInstanceProfileOutput,
        tag_user::TagUserOutput,
    },
    primitives::DateTime,
    types::{
        AccessKeyMetadata, AttachedPermissionsBoundary, AttachedPolicy, InstanceProfile, Role, User,
        builders::{InstanceProfileBuilder, RoleBuilder, UserBuilder},
    },
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use spec::Spec;
use step::{Outputs, RepositoryOutput};

use super::*;

const SPEC: &str = r#"{ apiVersion: plinth/v1, name: demo, roles: { index: {
    assumedBy: [lambda.amazonaws.com], policies: ["arn:aws:iam::aws:policy/Managed"],
    allow: [{ actions: ["s3:GetObject"], resources: ["arn:aws:s3:::${environment}/*"] }] } } }"#;

const BOUNDARY: &str = "arn:boundary";

fn context(operation: Operation) -> Context {
    step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
}

fn dropped(operation: Operation) -> Context {
    step::test::context(operation, Spec::empty("demo"), Outputs::default())
}

fn demo() -> role::Wanted {
    wanted(&context(Operation::Plan), BOUNDARY).expect("roles").remove(0)
}

/// The role as IAM describes it when it is what the spec says.
fn role() -> RoleBuilder {
    let boundary = AttachedPermissionsBoundary::builder().permissions_boundary_arn(BOUNDARY).build();
    Role::builder()
        .path("/plinth/demo/")
        .role_name("demo-index")
        .role_id("AROA")
        .arn("arn:role")
        .create_date(DateTime::from_secs(0))
        .assume_role_policy_document(demo().trust.to_string())
        .permissions_boundary(boundary)
        .set_tags(Some(tag_list(&demo().tags).expect("tags")))
}

fn described(role: RoleBuilder) -> Rule {
    let role = role.build().expect("a role");
    mock!(Client::get_role).then_output(move || GetRoleOutput::builder().role(role.clone()).build())
}

fn listed() -> Rule {
    let role = role().build().expect("a role");
    mock!(Client::list_roles)
        .match_requests(|request| request.path_prefix() == Some("/plinth/demo/"))
        .then_output(move || ListRolesOutput::builder().roles(role.clone()).build().expect("roles"))
}

fn with_policy(document: &str) -> Rule {
    let answer = GetRolePolicyOutput::builder()
        .role_name("demo-index")
        .policy_name(POLICY)
        .policy_document(document)
        .build()
        .expect("a policy");
    mock!(Client::get_role_policy).then_output(move || answer.clone())
}

fn with_attached(arn: &'static str) -> Rule {
    mock!(Client::list_attached_role_policies).then_output(move || {
        let policy = AttachedPolicy::builder().policy_arn(arn).build();
        ListAttachedRolePoliciesOutput::builder().attached_policies(policy).build()
    })
}

fn our_policy() -> Rule {
    with_policy(&demo().allow.expect("statements").to_string())
}

fn put_policy() -> Rule {
    mock!(Client::put_role_policy)
        .match_requests(|request| {
            request.policy_name() == Some(POLICY)
                && request.policy_document().is_some_and(|text| text.contains("arn:aws:s3:::demo/*"))
        })
        .then_output(|| PutRolePolicyOutput::builder().build())
}

fn attach() -> Rule {
    mock!(Client::attach_role_policy)
        .match_requests(|request| request.policy_arn() == Some("arn:aws:iam::aws:policy/Managed"))
        .then_output(|| AttachRolePolicyOutput::builder().build())
}

fn detach_rule(arn: &'static str) -> Rule {
    mock!(Client::detach_role_policy)
        .match_requests(move |request| request.policy_arn() == Some(arn))
        .then_output(|| DetachRolePolicyOutput::builder().build())
}

fn no_profiles() -> Rule {
    mock!(Client::list_instance_profiles).then_output(|| {
        ListInstanceProfilesOutput::builder()
            .set_instance_profiles(Some(Vec::new()))
            .build()
            .expect("profiles")
    })
}

fn no_users() -> Rule {
    mock!(Client::list_users)
        .then_output(|| ListUsersOutput::builder().set_users(Some(Vec::new())).build().expect("users"))
}

fn no_roles() -> Rule {
    mock!(Client::list_roles)
        .then_output(|| ListRolesOutput::builder().set_roles(Some(Vec::new())).build().expect("roles"))
}

/// A client that refuses every call for which there is no rule; where no other rule says so, there is nothing
/// under the environment's path.
fn client(rules: &[&Rule]) -> Client {
    let nothing = [no_profiles(), no_users(), no_roles()];
    let rules: Vec<&Rule> = rules.iter().copied().chain(&nothing).collect();
    mock_client!(aws_sdk_iam, RuleMode::MatchAny, &rules)
}

fn code(code: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).message("because").build()
}

#[tokio::test]
async fn a_missing_role_is_created_inside_the_boundary_with_our_tags_and_its_policies() {
    let absent = mock!(Client::get_role)
        .then_error(|| GetRoleError::generic(ErrorMetadata::builder().code("NoSuchEntity").build()));
    let create = mock!(Client::create_role)
        .match_requests(|request| {
            request.role_name() == Some("demo-index")
                && request.path() == Some("/plinth/demo/")
                && request.permissions_boundary() == Some(BOUNDARY)
                && request
                    .assume_role_policy_document()
                    .is_some_and(|text| text.contains("lambda.amazonaws.com"))
                && request.tags() == tag_list(&demo().tags).expect("tags")
        })
        .then_output(|| {
            let role = role().build().expect("a role");
            CreateRoleOutput::builder().role(role).build()
        });
    let (put, attach) = (put_policy(), attach());
    let rules = [&absent, &create, &put, &attach];
    ensure(&client(&rules), &context(Operation::Ensure), BOUNDARY).await.expect("an answer");
    assert_eq!((create.num_calls(), put.num_calls(), attach.num_calls()), (1, 1, 1));
}

#[tokio::test]
async fn a_role_that_matches_is_left_alone() {
    let rules =
        [&described(role()), &our_policy(), &with_attached("arn:aws:iam::aws:policy/Managed"), &listed()];
    ensure(&client(&rules), &context(Operation::Ensure), BOUNDARY).await.expect("an answer");
    let planned = plan(&client(&rules), &context(Operation::Plan), BOUNDARY).await.expect("an answer");
    assert_eq!(planned.changes, []);
}

#[tokio::test]
async fn policies_and_a_boundary_that_drifted_are_planned_and_put_back() {
    let boundary = mock!(Client::put_role_permissions_boundary)
        .match_requests(|request| request.permissions_boundary() == Some(BOUNDARY))
        .then_output(|| PutRolePermissionsBoundaryOutput::builder().build());
    let (put, attach, detach) = (put_policy(), attach(), detach_rule("arn:foreign"));
    let unbounded = described(role().set_permissions_boundary(None));
    let (policy, attached) = (with_policy("%7B%7D"), with_attached("arn:foreign"));
    let rules = [&unbounded, &policy, &attached, &listed(), &boundary, &put, &attach, &detach];
    let planned = plan(&client(&rules), &context(Operation::Plan), BOUNDARY).await.expect("an answer");
    let names: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["permissionsBoundary", "allow", "policies"]);
    assert_eq!(put.num_calls(), 0);
    ensure(&client(&rules), &context(Operation::Ensure), BOUNDARY).await.expect("an answer");
    let calls = [&boundary, &put, &attach, &detach].map(Rule::num_calls);
    assert_eq!(calls, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_role_of_somebody_else_is_refused() {
    let theirs = described(role().set_tags(None));
    let error = ensure(&client(&[&theirs]), &context(Operation::Ensure), BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_dropped_role_is_planned_and_deleted_after_its_policies() {
    let detach = detach_rule("arn:aws:iam::aws:policy/Managed");
    let policies = mock!(Client::list_role_policies)
        .then_output(|| ListRolePoliciesOutput::builder().policy_names(POLICY).build().expect("policies"));
    let delete_policy = mock!(Client::delete_role_policy)
        .match_requests(|request| request.policy_name() == Some(POLICY))
        .then_output(|| DeleteRolePolicyOutput::builder().build());
    let delete = mock!(Client::delete_role)
        .match_requests(|request| request.role_name() == Some("demo-index"))
        .then_output(|| DeleteRoleOutput::builder().build());
    let (role, attached) = (described(role()), with_attached("arn:aws:iam::aws:policy/Managed"));
    let rules = [&listed(), &role, &attached, &detach, &policies, &delete_policy, &delete];
    let client = client(&rules);
    let planned = plan(&client, &dropped(Operation::Plan), BOUNDARY).await.expect("an answer");
    assert_eq!(planned.changes, [Change::delete("roles.index").with("name", "demo-index")]);
    assert_eq!(delete.num_calls(), 0);
    prune(&client, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!([&detach, &delete_policy, &delete].map(Rule::num_calls), [1, 1, 1]);
}

#[tokio::test]
async fn a_role_that_is_wanted_or_not_ours_is_not_deleted() {
    let kept = prune(&client(&[&listed()]), &context(Operation::Prune)).await.expect("an answer");
    assert_eq!(kept.changes, []);
    let rules = [&listed(), &described(role().set_tags(None))];
    let theirs = prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(theirs.changes, []);
}

#[test]
fn a_service_or_a_job_brings_an_execution_role_and_its_own_only_if_it_has_statements() {
    let spec = r#"{ apiVersion: plinth/v1, name: demo, services: { web: { image: nginx },
        api: { image: nginx, role: { allow: ["bedrock:InvokeModel"] } } } }"#;
    let mut spec = spec::parse(spec, None).expect("a spec");
    let jobs = serde_json::json!({
        "api": { "image": "nginx", "role": { "policies": ["arn:aws:iam::aws:policy/Managed"] } },
        "seed": { "image": "nginx" },
    });
    spec.jobs = serde_json::from_value(jobs).expect("jobs");
    let context = step::test::context(Operation::Ensure, spec, Outputs::default());
    let wanted = wanted(&context, BOUNDARY).expect("roles");
    let addresses: Vec<_> = wanted.iter().map(|wanted| wanted.address.as_str()).collect();
    assert_eq!(
        addresses,
        [
            "services.api.role",
            "services.api.execution",
            "services.web.execution",
            "jobs.api.role",
            "jobs.api.execution",
            "jobs.seed.execution"
        ]
    );
    assert_eq!(
        (wanted[1].name.as_str(), wanted[4].name.as_str()),
        ("demo-api-execution", "demo-api-job-execution")
    );
    assert_eq!(wanted.iter().map(|wanted| wanted.name.clone()).collect::<BTreeSet<_>>(), kept(&context));
    let statement = &wanted[0].trust["Statement"];
    assert_eq!(statement["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
}

#[test]
fn a_function_brings_a_role_that_writes_its_log_and_enters_the_network_only_if_it_runs_there() {
    let functions = serde_json::json!({
        "index": { "package": "reportportal-index", "vpc": true,
            "role": { "allow": [{ "actions": ["s3:GetObject"], "resources": ["*"] }],
                "policies": ["arn:aws:iam::aws:policy/Managed"] } },
        "plain": { "package": "reportportal-index", "name": "other" },
    });
    let mut context = dropped(Operation::Ensure);
    context.spec.functions = serde_json::from_value(functions).expect("functions");
    let wanted = wanted(&context, BOUNDARY).expect("roles");
    let names: Vec<_> = wanted.iter().map(|wanted| (&*wanted.address, &*wanted.name)).collect();
    assert_eq!(
        names,
        [("functions.index.role", "demo-index-function"), ("functions.plain.role", "demo-plain-function")]
    );
    assert_eq!(wanted.iter().map(|wanted| wanted.name.clone()).collect::<BTreeSet<_>>(), kept(&context));
    assert!(wanted[0].trust.to_string().contains("lambda.amazonaws.com"));
    assert_eq!(wanted[0].policies, BTreeSet::from(["arn:aws:iam::aws:policy/Managed".to_owned()]));
    let allowed = |at: usize| wanted[at].allow.as_ref().expect("statements").to_string();
    for part in ["log-group:/aws/lambda/demo-index:*", "ec2:CreateNetworkInterface", "s3:GetObject"] {
        assert!(allowed(0).contains(part), "{part}");
    }
    assert!(allowed(1).contains("log-group:/aws/lambda/other:*"));
    assert!(!allowed(1).contains("ec2:") && !allowed(1).contains("logs:CreateLogGroup"));
}

#[tokio::test]
async fn a_role_whose_answer_was_lost_and_one_that_still_is_in_use_are_waited_for() {
    let absent = mock!(Client::get_role).then_error(|| GetRoleError::generic(code("NoSuchEntity")));
    let create =
        mock!(Client::create_role).then_error(|| CreateRoleError::generic(code("EntityAlreadyExists")));
    let error =
        ensure(&client(&[&absent, &create]), &context(Operation::Ensure), BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");

    let none = mock!(Client::list_attached_role_policies)
        .then_output(|| ListAttachedRolePoliciesOutput::builder().build());
    let policies = mock!(Client::list_role_policies).then_output(|| {
        ListRolePoliciesOutput::builder().set_policy_names(Some(Vec::new())).build().expect("policies")
    });
    let delete = mock!(Client::delete_role).then_error(|| DeleteRoleError::generic(code("DeleteConflict")));
    let (listed, role) = (listed(), described(role()));
    let rules = [&listed, &role, &none, &policies, &delete];
    let error = prune(&client(&rules), &dropped(Operation::Prune)).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
    assert!(error.to_string().contains("IAM role (demo-index) can't be deleted yet: because"), "{error}");
}

const SIDECARS: &str = r#"{ apiVersion: plinth/v1, name: demo, secrets: { one: {}, two: {} },
    repositories: { api: {}, agent: {} }, services: { api: { image: "${repositories.api}:1",
        environment: { ONE: "${secrets.one}" }, sidecars: { agent: { image: "${repositories.agent}:1",
            environment: { TWO: "${secrets.two.key}" } } } } } }"#;

/// The same spec with what earlier steps have answered.
fn known(spec: &str, operation: Operation) -> Context {
    let spec = spec::parse(spec, None).expect("a spec");
    let mut outputs = Outputs::default();
    for key in spec.repositories.keys() {
        let arn = format!("arn:repository:{key}");
        outputs.repositories.insert(key.clone(), RepositoryOutput { arn, ..RepositoryOutput::default() });
    }
    for key in spec.secrets.keys() {
        outputs
            .secrets
            .insert(key.clone(), step::SecretOutput { arn: format!("arn:secret:{key}"), renewed: false });
    }
    step::test::context(operation, spec, outputs)
}

/// The resources on which a document allows an action.
fn allowed(document: &Value, action: &str) -> Value {
    let statements = document["Statement"].as_array().expect("statements");
    let found =
        statements.iter().find(|found| found["Action"].to_string().contains(&format!("\"{action}\"")));
    found.map(|statement| statement["Resource"].clone()).unwrap_or_default()
}

#[test]
fn an_execution_role_reaches_the_images_and_the_secrets_of_every_container() {
    let mut context = known(SIDECARS, Operation::Ensure);
    let execution =
        |context: &Context| wanted(context, BOUNDARY).expect("roles")[0].allow.clone().expect("some");
    let document = execution(&context);
    let images = allowed(&document, "ecr:BatchGetImage");
    assert_eq!(images, serde_json::json!(["arn:repository:agent", "arn:repository:api"]));
    let secrets = allowed(&document, "secretsmanager:GetSecretValue");
    assert_eq!(secrets, serde_json::json!(["arn:secret:one", "arn:secret:two"]));

    let service = context.spec.services.get_mut("api").expect("a service");
    service.sidecars.get_mut("agent").expect("a sidecar").image = "nginx".parse().expect("a text");
    assert_eq!(allowed(&execution(&context), "ecr:BatchGetImage"), "*");
}

const INSTANCES: &str = r#"{ apiVersion: plinth/v1, name: demo, fileSystems: { data: {} },
    cluster: { capacity: ec2, instances: { type: t3.small, policies: ["arn:aws:iam::aws:policy/Own"],
        mounts: { /mnt/data: "${fileSystems.data}" } } } }"#;

const AGENT: &str = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";

#[test]
fn instances_bring_a_role_for_ecs_agent_and_what_they_mount() {
    let mut context = known(INSTANCES, Operation::Ensure);
    let roles = wanted(&context, BOUNDARY).expect("roles");
    let [role] = roles.as_slice() else { panic!("{} roles", roles.len()) };
    assert_eq!((&*role.address, &*role.name), ("cluster.instances.role", "demo-instances"));
    assert!(role.trust.to_string().contains("ec2.amazonaws.com"));
    assert_eq!(role.policies, BTreeSet::from([AGENT, "arn:aws:iam::aws:policy/Own"].map(str::to_owned)));
    let mounts = role.allow.as_ref().expect("statements")["Statement"].to_string();
    assert!(mounts.contains("arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/*"), "{mounts}");
    assert_eq!(kept(&context), BTreeSet::from(["demo-instances".to_owned()]));

    let cluster = context.spec.cluster.as_mut().expect("a cluster");
    cluster.instances.as_mut().expect("instances").mounts.clear();
    assert_eq!(wanted(&context, BOUNDARY).expect("roles")[0].allow, None);
    context.spec.cluster.as_mut().expect("a cluster").capacity = Capacity::Fargate;
    assert_eq!((wanted(&context, BOUNDARY).expect("roles").len(), kept(&context).len()), (0, 0));
    assert!(instance_profile::wanted(&context).is_none());
}

fn instances_role(context: &Context) -> RoleBuilder {
    let wanted = wanted(context, BOUNDARY).expect("roles").remove(0);
    role()
        .role_name(wanted.name)
        .assume_role_policy_document(wanted.trust.to_string())
        .set_tags(Some(tag_list(&wanted.tags).expect("tags")))
}

/// The instances' role as it should be.
fn instances_role_rules(context: &Context) -> [Rule; 3] {
    let allow = wanted(context, BOUNDARY).expect("roles").remove(0).allow.expect("statements");
    let attached = mock!(Client::list_attached_role_policies).then_output(|| {
        let policies = [AGENT, "arn:aws:iam::aws:policy/Own"];
        let policies = policies.map(|arn| AttachedPolicy::builder().policy_arn(arn).build());
        ListAttachedRolePoliciesOutput::builder().set_attached_policies(Some(policies.into())).build()
    });
    [described(instances_role(context)), with_policy(&allow.to_string()), attached]
}

/// The profile as IAM describes it, without a role.
fn profile(context: &Context) -> InstanceProfileBuilder {
    InstanceProfile::builder()
        .path("/plinth/demo/")
        .instance_profile_name("demo-instances")
        .instance_profile_id("AIPA")
        .arn("arn:profile")
        .create_date(DateTime::from_secs(0))
        .set_roles(Some(Vec::new()))
        .set_tags(Some(tag_list(&context.tags("cluster.instances.profile")).expect("tags")))
}

fn profile_described(profile: InstanceProfileBuilder) -> Rule {
    let profile = profile.build().expect("a profile");
    mock!(Client::get_instance_profile)
        .then_output(move || GetInstanceProfileOutput::builder().instance_profile(profile.clone()).build())
}

fn add_role() -> Rule {
    mock!(Client::add_role_to_instance_profile)
        .match_requests(|request| {
            request.instance_profile_name() == Some("demo-instances")
                && request.role_name() == Some("demo-instances")
        })
        .then_output(|| AddRoleToInstanceProfileOutput::builder().build())
}

#[tokio::test]
async fn a_missing_instance_profile_is_created_with_our_tags_and_gets_its_role() {
    let context = known(INSTANCES, Operation::Ensure);
    let absent = mock!(Client::get_instance_profile)
        .then_error(|| GetInstanceProfileError::generic(code("NoSuchEntity")));
    let tags = tag_list(&context.tags("cluster.instances.profile")).expect("tags");
    let created = profile(&context).build().expect("a profile");
    let create = mock!(Client::create_instance_profile)
        .match_requests(move |request| {
            request.instance_profile_name() == Some("demo-instances")
                && request.path() == Some("/plinth/demo/")
                && request.tags() == tags
        })
        .then_output(move || {
            CreateInstanceProfileOutput::builder().instance_profile(created.clone()).build()
        });
    let add = add_role();
    let [role, policy, attached] = instances_role_rules(&context);
    let rules = [&role, &policy, &attached, &absent, &create, &add];
    let planned =
        plan(&client(&rules), &known(INSTANCES, Operation::Plan), BOUNDARY).await.expect("an answer");
    assert_eq!(planned.changes, [Change::create("cluster.instances.profile").with("name", "demo-instances")]);
    assert_eq!(create.num_calls(), 0);
    ensure(&client(&rules), &context, BOUNDARY).await.expect("an answer");
    assert_eq!((create.num_calls(), add.num_calls()), (1, 1));

    let unseen = mock!(Client::add_role_to_instance_profile)
        .then_error(|| AddRoleToInstanceProfileError::generic(code("NoSuchEntity")));
    let rules = [&role, &policy, &attached, &absent, &create, &unseen];
    let error = ensure(&client(&rules), &context, BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "NotReadySoon");
}

#[tokio::test]
async fn an_instance_profile_that_matches_is_left_alone_and_one_of_somebody_else_refused() {
    let context = known(INSTANCES, Operation::Ensure);
    let own = instances_role(&context).build().expect("a role");
    let [role, policy, attached] = instances_role_rules(&context);
    let found = profile_described(profile(&context).roles(own.clone()));
    let rules = [&role, &policy, &attached, &found];
    ensure(&client(&rules), &context, BOUNDARY).await.expect("an answer");
    let planned = plan(&client(&rules), &known(INSTANCES, Operation::Plan), BOUNDARY).await;
    assert_eq!(planned.expect("an answer").changes, []);

    let theirs = profile_described(profile(&context).roles(own).set_tags(None));
    let rules = [&role, &policy, &attached, &theirs];
    assert_eq!(ensure(&client(&rules), &context, BOUNDARY).await.unwrap_err().kind(), "Conflict");
}

#[tokio::test]
async fn another_role_in_an_instance_profile_and_a_lost_tag_are_planned_and_put_right() {
    let context = known(INSTANCES, Operation::Ensure);
    let mut tags = tag_list(&context.tags("cluster.instances.profile")).expect("tags");
    let other = role().role_name("other").build().expect("a role");
    let mut changed = context.clone();
    changed.spec.tags.insert("team".to_owned(), "a".to_owned());
    let found = profile_described(profile(&context).roles(other).set_tags(Some(std::mem::take(&mut tags))));
    let remove = mock!(Client::remove_role_from_instance_profile)
        .match_requests(|request| request.role_name() == Some("other"))
        .then_output(|| RemoveRoleFromInstanceProfileOutput::builder().build());
    let tag = mock!(Client::tag_instance_profile)
        .match_requests(|request| request.tags().iter().any(|tag| tag.key() == "team"))
        .then_output(|| TagInstanceProfileOutput::builder().build());
    let add = add_role();
    let [role, policy, attached] = instances_role_rules(&changed);
    let rules = [&role, &policy, &attached, &found, &remove, &tag, &add];
    let client = client(&rules);
    let mut planning = changed.clone();
    planning.operation = Operation::Plan;
    let planned = plan(&client, &planning, BOUNDARY).await.expect("an answer");
    let [change] = planned.changes.as_slice() else { panic!("{:?}", planned.changes) };
    let fields: Vec<_> = change.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!((change.address.as_str(), fields), ("cluster.instances.profile", vec!["role", "tags.team"]));
    assert_eq!(remove.num_calls(), 0);
    ensure(&client, &changed, BOUNDARY).await.expect("an answer");
    assert_eq!([&remove, &tag, &add].map(Rule::num_calls), [1, 1, 1]);
}

/// Writes down in which order calls are made.
fn noted(calls: &Arc<Mutex<Vec<&'static str>>>, call: &'static str) -> bool {
    calls.lock().expect("calls").push(call);
    true
}

#[tokio::test]
async fn a_dropped_instance_profile_loses_its_role_and_goes_before_it() {
    let context = known(INSTANCES, Operation::Ensure);
    let own = instances_role(&context).build().expect("a role");
    let calls: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let profiles = {
        let profile = profile(&context).set_tags(None).build().expect("a profile");
        mock!(Client::list_instance_profiles)
            .match_requests(|request| request.path_prefix() == Some("/plinth/demo/"))
            .then_output(move || {
                ListInstanceProfilesOutput::builder()
                    .instance_profiles(profile.clone())
                    .build()
                    .expect("profiles")
            })
    };
    let listed = {
        let role = own.clone();
        mock!(Client::list_roles)
            .then_output(move || ListRolesOutput::builder().roles(role.clone()).build().expect("roles"))
    };
    let found = profile_described(profile(&context).roles(own.clone()));
    let [role, _, _] = instances_role_rules(&context);
    let none = mock!(Client::list_attached_role_policies)
        .then_output(|| ListAttachedRolePoliciesOutput::builder().build());
    let policies = mock!(Client::list_role_policies).then_output(|| {
        ListRolePoliciesOutput::builder().set_policy_names(Some(Vec::new())).build().expect("policies")
    });
    let (one, two, three) = (calls.clone(), calls.clone(), calls.clone());
    let remove = mock!(Client::remove_role_from_instance_profile)
        .match_requests(move |_| noted(&one, "remove"))
        .then_output(|| RemoveRoleFromInstanceProfileOutput::builder().build());
    let delete_profile = mock!(Client::delete_instance_profile)
        .match_requests(move |_| noted(&two, "profile"))
        .then_output(|| DeleteInstanceProfileOutput::builder().build());
    let delete_role = mock!(Client::delete_role)
        .match_requests(move |_| noted(&three, "role"))
        .then_output(|| DeleteRoleOutput::builder().build());
    let rules = [&profiles, &listed, &found, &role, &none, &policies, &remove, &delete_profile, &delete_role];
    let client = client(&rules);
    let planned = plan(&client, &dropped(Operation::Plan), BOUNDARY).await.expect("an answer");
    let expected = ["cluster.instances.profile", "cluster.instances.role"]
        .map(|address| Change::delete(address).with("name", "demo-instances"));
    assert_eq!((planned.changes.as_slice(), calls.lock().expect("calls").len()), (&expected[..], 0));
    prune(&client, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(*calls.lock().expect("calls"), ["remove", "profile", "role"]);
}

const DEPLOYERS: &str = r#"{ apiVersion: plinth/v1, name: demo, repositories: { api: {}, web: {} },
    deployers: { jenkins: { user: true }, github: {
        oidc: { issuer: token.actions.githubusercontent.com, subject: "repo:acme/app:*" } } } }"#;

const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com";

#[test]
fn deployers_may_push_to_the_environments_repositories_and_nothing_else() {
    let context = known(DEPLOYERS, Operation::Ensure);
    let roles = wanted(&context, BOUNDARY).expect("roles");
    let [role] = roles.as_slice() else { panic!("{} roles", roles.len()) };
    assert_eq!((&*role.address, &*role.name), ("deployers.github", "demo-github-deployer"));
    assert_eq!(kept(&context), BTreeSet::from(["demo-github-deployer".to_owned()]));
    let trust = &role.trust["Statement"];
    assert_eq!(trust["Principal"]["Federated"], PROVIDER);
    assert_eq!(trust["Action"], "sts:AssumeRoleWithWebIdentity");
    let condition = &trust["Condition"];
    let claim = |operator: &str, claim: &str| {
        condition[operator][format!("token.actions.githubusercontent.com:{claim}")].clone()
    };
    assert_eq!(claim("StringEquals", "aud"), "sts.amazonaws.com");
    assert_eq!(claim("StringLike", "sub"), "repo:acme/app:*");

    let document = role.allow.as_ref().expect("statements");
    assert_eq!(allowed(document, "ecr:GetAuthorizationToken"), "*");
    let repositories = serde_json::json!(["arn:repository:api", "arn:repository:web"]);
    assert_eq!(allowed(document, "ecr:PutImage"), repositories);
    assert_eq!(document["Statement"].as_array().map(Vec::len), Some(2));
    assert!(!document.to_string().contains("Delete") && role.policies.is_empty());
}

fn issuer(audience: &'static str) -> Rule {
    mock!(Client::get_open_id_connect_provider)
        .match_requests(|request| request.open_id_connect_provider_arn() == Some(PROVIDER))
        .then_output(move || GetOpenIdConnectProviderOutput::builder().client_id_list(audience).build())
}

#[tokio::test]
async fn an_issuer_that_the_account_does_not_know_is_refused_with_the_command_that_makes_it_known() {
    let context = known(DEPLOYERS, Operation::Plan);
    let unknown = mock!(Client::get_open_id_connect_provider)
        .then_error(|| GetOpenIDConnectProviderError::generic(code("NoSuchEntity")));
    let error = plan(&client(&[&unknown]), &context, BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(
        error.to_string().ends_with(
            "aws iam create-open-id-connect-provider --url https://token.actions.githubusercontent.com \
             --client-id-list sts.amazonaws.com"
        ),
        "{error}"
    );
    let error = plan(&client(&[&issuer("other")]), &context, BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "InvalidSpec");
    assert!(error.to_string().contains("add-client-id-to-open-id-connect-provider"), "{error}");
}

/// An environment whose one deployer is a user.
fn jenkins(operation: Operation) -> Context {
    let mut context = known(DEPLOYERS, operation);
    context.spec.deployers.remove("github");
    context
}

fn pushing() -> Value {
    policy::push(&jenkins(Operation::Plan)).expect("a document")
}

/// The user as IAM describes it when it is what the spec says.
fn user() -> UserBuilder {
    let boundary = AttachedPermissionsBoundary::builder().permissions_boundary_arn(BOUNDARY).build();
    let tags = tag_list(&jenkins(Operation::Plan).tags("deployers.jenkins")).expect("tags");
    User::builder()
        .path("/plinth/demo/")
        .user_name("demo-jenkins-deployer")
        .user_id("AIDA")
        .arn("arn:user")
        .create_date(DateTime::from_secs(0))
        .permissions_boundary(boundary)
        .set_tags(Some(tags))
}

fn user_described(user: UserBuilder) -> Rule {
    let user = user.build().expect("a user");
    mock!(Client::get_user).then_output(move || GetUserOutput::builder().user(user.clone()).build())
}

fn users_policy(document: &str) -> Rule {
    let answer = GetUserPolicyOutput::builder()
        .user_name("demo-jenkins-deployer")
        .policy_name(POLICY)
        .policy_document(document)
        .build()
        .expect("a policy");
    mock!(Client::get_user_policy).then_output(move || answer.clone())
}

fn users_attached(arns: &'static [&'static str]) -> Rule {
    mock!(Client::list_attached_user_policies).then_output(move || {
        let policies = arns.iter().map(|arn| AttachedPolicy::builder().policy_arn(*arn).build()).collect();
        ListAttachedUserPoliciesOutput::builder().set_attached_policies(Some(policies)).build()
    })
}

fn put_user_policy() -> Rule {
    mock!(Client::put_user_policy)
        .match_requests(|request| {
            request.policy_name() == Some(POLICY)
                && request.policy_document().is_some_and(|text| policy::read(text) == pushing())
        })
        .then_output(|| PutUserPolicyOutput::builder().build())
}

#[tokio::test]
async fn a_missing_user_is_created_inside_the_boundary_with_our_tags() {
    let absent = mock!(Client::get_user).then_error(|| GetUserError::generic(code("NoSuchEntity")));
    let create = mock!(Client::create_user)
        .match_requests(|request| {
            let user = user().build().expect("a user");
            request.user_name() == Some("demo-jenkins-deployer")
                && request.path() == Some("/plinth/demo/")
                && request.permissions_boundary() == Some(BOUNDARY)
                && request.tags() == user.tags()
        })
        .then_output(|| CreateUserOutput::builder().user(user().build().expect("a user")).build());
    let put = put_user_policy();
    let rules = [&absent, &create, &put];
    let planned = plan(&client(&rules), &jenkins(Operation::Plan), BOUNDARY).await.expect("an answer");
    let expected = Change::create("deployers.jenkins").with("name", "demo-jenkins-deployer");
    assert_eq!((planned.changes, create.num_calls()), (vec![expected], 0));
    ensure(&client(&rules), &jenkins(Operation::Ensure), BOUNDARY).await.expect("an answer");
    assert_eq!((create.num_calls(), put.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_user_that_matches_is_left_alone_and_one_of_somebody_else_refused() {
    let (policy, none) = (users_policy(&pushing().to_string()), users_attached(&[]));
    let rules = [&user_described(user()), &policy, &none];
    ensure(&client(&rules), &jenkins(Operation::Ensure), BOUNDARY).await.expect("an answer");
    let planned = plan(&client(&rules), &jenkins(Operation::Plan), BOUNDARY).await.expect("an answer");
    assert_eq!(planned.changes, []);
    let theirs = user_described(user().set_tags(None));
    let error = ensure(&client(&[&theirs]), &jenkins(Operation::Ensure), BOUNDARY).await.unwrap_err();
    assert_eq!(error.kind(), "Conflict");
}

#[tokio::test]
async fn a_user_that_drifted_is_planned_field_by_field_and_put_right() {
    let mut tags = user().build().expect("a user").tags().to_vec();
    tags.push(Tag::builder().key("team").value("b").build().expect("a tag"));
    let found = user_described(user().set_permissions_boundary(None).set_tags(Some(tags)));
    let (policy, attached) = (users_policy("%7B%7D"), users_attached(&["arn:foreign"]));
    let boundary = mock!(Client::put_user_permissions_boundary)
        .match_requests(|request| request.permissions_boundary() == Some(BOUNDARY))
        .then_output(|| PutUserPermissionsBoundaryOutput::builder().build());
    let tag = mock!(Client::tag_user)
        .match_requests(|request| request.tags().iter().any(|tag| (tag.key(), tag.value()) == ("team", "a")))
        .then_output(|| TagUserOutput::builder().build());
    let detach = mock!(Client::detach_user_policy)
        .match_requests(|request| request.policy_arn() == Some("arn:foreign"))
        .then_output(|| DetachUserPolicyOutput::builder().build());
    let put = put_user_policy();
    let rules = [&found, &policy, &attached, &boundary, &tag, &detach, &put];
    let client = client(&rules);
    let with_team = |operation| {
        let mut context = jenkins(operation);
        context.spec.tags.insert("team".to_owned(), "a".to_owned());
        context
    };
    let planned = plan(&client, &with_team(Operation::Plan), BOUNDARY).await.expect("an answer");
    let names: Vec<_> = planned.changes[0].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["permissionsBoundary", "allow", "policies", "tags.team"]);
    assert_eq!(put.num_calls(), 0);
    ensure(&client, &with_team(Operation::Ensure), BOUNDARY).await.expect("an answer");
    assert_eq!([&boundary, &tag, &detach, &put].map(Rule::num_calls), [1, 1, 1, 1]);
}

fn users_listed() -> Rule {
    let user = user().set_tags(None).build().expect("a user");
    mock!(Client::list_users)
        .match_requests(|request| request.path_prefix() == Some("/plinth/demo/"))
        .then_output(move || ListUsersOutput::builder().users(user.clone()).build().expect("users"))
}

/// What a user's deletion calls, in order.
fn deletion(calls: &Arc<Mutex<Vec<&'static str>>>) -> Vec<Rule> {
    let keys = mock!(Client::list_access_keys).then_output(|| {
        let keys = ["one", "two"].map(|id| AccessKeyMetadata::builder().access_key_id(id).build());
        let keys = ListAccessKeysOutput::builder().set_access_key_metadata(Some(keys.into()));
        keys.build().expect("keys")
    });
    let policies = mock!(Client::list_user_policies)
        .then_output(|| ListUserPoliciesOutput::builder().policy_names(POLICY).build().expect("policies"));
    let (one, two, three) = (calls.clone(), calls.clone(), calls.clone());
    let delete_key = mock!(Client::delete_access_key)
        .match_requests(move |_| noted(&one, "key"))
        .then_output(|| DeleteAccessKeyOutput::builder().build());
    let delete_policy = mock!(Client::delete_user_policy)
        .match_requests(move |_| noted(&two, "policy"))
        .then_output(|| DeleteUserPolicyOutput::builder().build());
    let delete = mock!(Client::delete_user)
        .match_requests(move |_| noted(&three, "user"))
        .then_output(|| DeleteUserOutput::builder().build());
    vec![keys, policies, delete_key, delete_policy, delete, users_attached(&[])]
}

#[tokio::test]
async fn a_dropped_user_is_planned_and_goes_after_its_keys_and_its_policy() {
    let calls: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let rules = [vec![users_listed(), user_described(user())], deletion(&calls)].concat();
    let client = client(&rules.iter().collect::<Vec<_>>());
    let planned = plan(&client, &dropped(Operation::Plan), BOUNDARY).await.expect("an answer");
    let expected = Change::delete("deployers.jenkins").with("name", "demo-jenkins-deployer");
    assert_eq!((planned.changes, calls.lock().expect("calls").len()), (vec![expected], 0));
    prune(&client, &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(*calls.lock().expect("calls"), ["key", "key", "policy", "user"]);
}

#[tokio::test]
async fn a_user_that_is_wanted_or_not_ours_is_not_deleted() {
    let kept = prune(&client(&[&users_listed()]), &jenkins(Operation::Prune)).await.expect("an answer");
    assert_eq!(kept.changes, []);
    let rules = [&users_listed(), &user_described(user().set_tags(None))];
    let theirs = prune(&client(&rules), &dropped(Operation::Prune)).await.expect("an answer");
    assert_eq!(theirs.changes, []);
}

#[tokio::test]
async fn a_deployer_that_is_a_role_now_is_no_user_any_more() {
    let changed = |operation| {
        let mut context = jenkins(operation);
        let oidc = known(DEPLOYERS, operation).spec.deployers["github"].clone();
        context.spec.deployers.insert("jenkins".to_owned(), oidc);
        context
    };
    let calls: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let absent = mock!(Client::get_role).then_error(|| GetRoleError::generic(code("NoSuchEntity")));
    let no_policy =
        mock!(Client::get_role_policy).then_error(|| GetRolePolicyError::generic(code("NoSuchEntity")));
    let own = vec![users_listed(), user_described(user()), issuer("sts.amazonaws.com"), absent, no_policy];
    let rules = [own, deletion(&calls)].concat();
    let client = client(&rules.iter().collect::<Vec<_>>());
    let planned = plan(&client, &changed(Operation::Plan), BOUNDARY).await.expect("an answer");
    let named = |change: Change| change.with("name", "demo-jenkins-deployer");
    let expected = [Change::delete("deployers.jenkins"), Change::create("deployers.jenkins")].map(named);
    assert_eq!(planned.changes, expected);
    prune(&client, &changed(Operation::Prune)).await.expect("an answer");
    assert_eq!(calls.lock().expect("calls").last(), Some(&"user"));
}

//! The step `role`: IAM roles, those of the section `roles`, the two that a service or a job brings, and the
//! one that a function brings.
//!
//! Ours is a role under the environment's path that carries the owner's tags; it has them, and the
//! permissions boundary, from `CreateRole` on. A role's own policies are owned through it.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::{
    Client,
    types::{Role, Tag},
};
use serde_json::Value;
use step::{
    Answer, Change, Context, Doing, Error, Field, Operation, Result, compare, missing_tags, side_by_side,
};

/// The name of the inline policy that holds a role's statements.
const POLICY: &str = "plinth";

/// What IAM answers for what isn't there.
const ABSENT: [&str; 1] = ["NoSuchEntity"];

/// One pass. `boundary` is the ARN of the permissions boundary that every role is made with.
pub async fn handle(context: Context, boundary: String) -> Result<Answer> {
    let iam = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&iam, &context, &boundary).await,
        Operation::Ensure => ensure(&iam, &context, &boundary).await,
        Operation::Prune => prune(&iam, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    address: String,
    name: String,
    path: String,
    boundary: String,
    trust: Value,
    allow: Option<Value>,
    policies: BTreeSet<String>,
    tags: BTreeMap<String, String>,
}

/// The roles of this pass: those of its services, and with the first batch those of the section, the jobs and
/// the functions.
fn wanted(context: &Context, boundary: &str) -> Result<Vec<Wanted>> {
    let wanted = |address: String, name, trust, allow, policies: &[String]| Wanted {
        name,
        path: context.role_path(),
        boundary: boundary.to_owned(),
        trust,
        allow,
        policies: policies.iter().cloned().collect(),
        tags: context.tags(&address),
        address,
    };
    let mut all = Vec::new();
    for (key, role) in context.spec.roles.iter().filter(|_| context.is_first_batch()) {
        let allow = policy::allow(context, &role.allow)?;
        let trust = policy::trust(&role.assumed_by);
        all.push(wanted(format!("roles.{key}"), context.role_name(key), trust, allow, &role.policies));
    }
    let trust = policy::task_trust(context);
    for (key, service) in context.services() {
        let address = format!("services.{key}");
        if let Some(role) = &service.role {
            let allow = policy::task(context, service.exec, &role.allow)?;
            let (address, name) = (format!("{address}.role"), context.task_role_name(key));
            all.push(wanted(address, name, trust.clone(), allow, &role.policies));
        }
        let group = context.log_group(key, service.logs.as_ref());
        let allow = policy::execution(context, &group, &service.image, &service.environment)?;
        let (address, name) = (format!("{address}.execution"), context.execution_role_name(key));
        all.push(wanted(address, name, trust.clone(), Some(allow), &[]));
    }
    for (key, job) in context.spec.jobs.iter().filter(|_| context.is_first_batch()) {
        let (address, word) = (format!("jobs.{key}"), Context::job_word(key));
        if let Some(role) = &job.role {
            let allow = policy::task(context, false, &role.allow)?;
            let (address, name) = (format!("{address}.role"), context.task_role_name(&word));
            all.push(wanted(address, name, trust.clone(), allow, &role.policies));
        }
        let group = context.log_group(key, job.logs.as_ref());
        let allow = policy::execution(context, &group, &job.image, &job.environment)?;
        let (address, name) = (format!("{address}.execution"), context.execution_role_name(&word));
        all.push(wanted(address, name, trust.clone(), Some(allow), &[]));
    }
    for (key, function) in context.spec.functions.iter().filter(|_| context.is_first_batch()) {
        let allow = policy::function(context, key, function)?;
        let (address, name) = (format!("functions.{key}.role"), context.function_role_name(key));
        let policies = function.role.as_ref().map(|role| role.policies.as_slice()).unwrap_or_default();
        all.push(wanted(address, name, policy::trust(&[policy::LAMBDA.to_owned()]), Some(allow), policies));
    }
    Ok(all)
}

/// The names of the roles the spec asks for. Their statements may refer to what is already gone.
fn kept(context: &Context) -> BTreeSet<String> {
    let services = context.spec.services.iter().map(|(key, service)| (key.clone(), service.role.is_some()));
    let jobs = context.spec.jobs.iter().map(|(key, job)| (Context::job_word(key), job.role.is_some()));
    let of_tasks = services.chain(jobs).flat_map(|(word, has_role)| {
        let own = has_role.then(|| context.task_role_name(&word));
        own.into_iter().chain([context.execution_role_name(&word)])
    });
    let of_functions = context.spec.functions.keys().map(|key| context.function_role_name(key));
    let roles = context.spec.roles.keys().map(|key| context.role_name(key));
    roles.chain(of_tasks).chain(of_functions).collect()
}

/// A role with what IAM tells of it in other calls.
struct Found {
    role: Role,
    allow: Option<Value>,
    policies: BTreeSet<String>,
}

async fn ensure(iam: &Client, context: &Context, boundary: &str) -> Result<Answer> {
    let wanted = wanted(context, boundary)?;
    side_by_side(wanted.iter().map(|wanted| ensure_one(iam, context, wanted))).await?;
    Ok(Answer::default())
}

async fn ensure_one(iam: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let found = match find(iam, context, &wanted.name).await? {
        None => create(iam, wanted).await?,
        Some(found) => {
            update(iam, &found.role, wanted).await?;
            found
        }
    };
    update_policies(iam, &found, wanted).await
}

async fn plan(iam: &Client, context: &Context, boundary: &str) -> Result<Answer> {
    let mut changes = Vec::new();
    if context.is_first_batch() {
        changes.extend(delete_dropped(iam, context).await?);
    }
    let wanted = wanted(context, boundary)?;
    let found = side_by_side(wanted.iter().map(|wanted| find(iam, context, &wanted.name))).await?;
    changes.extend(wanted.iter().zip(found).filter_map(|(wanted, found)| match found {
        None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
        Some(found) => Change::update(&wanted.address, difference(&found, wanted)),
    }));
    Ok(Answer::changed(changes))
}

async fn prune(iam: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(iam, context).await?))
}

/// Deletes our roles that the spec doesn't mention; in a plan only names them.
async fn delete_dropped(iam: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept = kept(context);
    let mut dropped = listed(iam, context).await?;
    dropped.retain(|name| !kept.contains(name));
    let passes = dropped.iter().map(|name| delete_if_ours(iam, context, name));
    Ok(side_by_side(passes).await?.into_iter().flatten().collect())
}

async fn delete_if_ours(iam: &Client, context: &Context, name: &str) -> Result<Option<Change>> {
    let Some(role) = describe(iam, name).await? else { return Ok(None) };
    let (owner, tags) = (context.owner(), tags(&role));
    let Some(address) = owner.address(&tags) else { return Ok(None) };
    if context.operation == Operation::Prune {
        delete(iam, name).await?;
    }
    Ok(Some(Change::delete(address).with("name", name)))
}

async fn find(iam: &Client, context: &Context, name: &str) -> Result<Option<Found>> {
    let Some(role) = describe(iam, name).await? else { return Ok(None) };
    context.owner().check(&format!("IAM role ({name})"), &tags(&role))?;
    let allow = iam.get_role_policy().role_name(name).policy_name(POLICY).send().await;
    let allow = allow.unless_absent(&ABSENT, || format!("reading the policy of IAM role ({name})"))?;
    let allow = allow.map(|answer| policy::read(answer.policy_document()));
    Ok(Some(Found { role, allow, policies: attached(iam, name).await?.into_iter().collect() }))
}

async fn describe(iam: &Client, name: &str) -> Result<Option<Role>> {
    let found = iam.get_role().role_name(name).send().await;
    Ok(found.unless_absent(&ABSENT, || format!("reading IAM role ({name})"))?.and_then(|answer| answer.role))
}

/// The names of all roles under the environment's path.
async fn listed(iam: &Client, context: &Context) -> Result<Vec<String>> {
    let roles = iam
        .list_roles()
        .path_prefix(context.role_path())
        .into_paginator()
        .items()
        .send()
        .collect::<std::result::Result<Vec<_>, _>>()
        .await
        .doing(|| format!("listing IAM roles under {}", context.role_path()))?;
    Ok(roles.into_iter().map(|role| role.role_name).collect())
}

/// The ARNs of the managed policies attached to a role; none if the role is gone.
async fn attached(iam: &Client, name: &str) -> Result<Vec<String>> {
    let pages = iam.list_attached_role_policies().role_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies = policies
        .unless_absent(&ABSENT, || format!("listing the managed policies of IAM role ({name})"))?
        .unwrap_or_default();
    Ok(policies.into_iter().filter_map(|policy| policy.policy_arn).collect())
}

fn tags(role: &Role) -> BTreeMap<String, String> {
    role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

fn trust(role: &Role) -> Value {
    role.assume_role_policy_document().map_or(Value::Null, policy::read)
}

fn boundary(role: &Role) -> &str {
    role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn()).unwrap_or("none")
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let text = |allow: &Option<Value>| allow.as_ref().map_or("none".to_owned(), Value::to_string);
    let list = |policies: &BTreeSet<String>| policies.iter().cloned().collect::<Vec<_>>().join(", ");
    [
        compare("assumedBy", trust(&found.role), wanted.trust.clone()),
        compare("permissionsBoundary", boundary(&found.role), &wanted.boundary),
        compare("allow", text(&found.allow), text(&wanted.allow)),
        compare("policies", list(&found.policies), list(&wanted.policies)),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&tags(&found.role), &wanted.tags))
    .collect()
}

async fn create(iam: &Client, wanted: &Wanted) -> Result<Found> {
    let created = iam
        .create_role()
        .role_name(&wanted.name)
        .path(&wanted.path)
        .permissions_boundary(&wanted.boundary)
        .assume_role_policy_document(wanted.trust.to_string())
        .set_tags(Some(tag_list(wanted)?))
        .send()
        .await
        .doing(|| format!("creating IAM role ({})", wanted.name))?;
    let role = created
        .role
        .ok_or_else(|| Error::Failed(format!("creating IAM role ({}): no role answered", wanted.name)))?;
    Ok(Found { role, allow: None, policies: BTreeSet::new() })
}

/// Puts the role itself right.
async fn update(iam: &Client, found: &Role, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    if trust(found) != wanted.trust {
        let update = iam.update_assume_role_policy().role_name(name);
        let updated = update.policy_document(wanted.trust.to_string()).send().await;
        updated.doing(|| format!("changing who may assume IAM role ({name})"))?;
    }
    if boundary(found) != wanted.boundary {
        let put = iam.put_role_permissions_boundary().role_name(name);
        let put = put.permissions_boundary(&wanted.boundary).send().await;
        put.doing(|| format!("putting the permissions boundary on IAM role ({name})"))?;
    }
    if !missing_tags(&tags(found), &wanted.tags).is_empty() {
        let tagged = iam.tag_role().role_name(name).set_tags(Some(tag_list(wanted)?)).send().await;
        tagged.doing(|| format!("tagging IAM role ({name})"))?;
    }
    Ok(())
}

/// Puts right what the role may do.
async fn update_policies(iam: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.name;
    match &wanted.allow {
        allow if *allow == found.allow => {}
        Some(allow) => {
            let put = iam.put_role_policy().role_name(name).policy_name(POLICY);
            let put = put.policy_document(allow.to_string()).send().await;
            put.doing(|| format!("putting the policy of IAM role ({name})"))?;
        }
        None => delete_policy(iam, name, POLICY).await?,
    }
    for arn in wanted.policies.difference(&found.policies) {
        let attached = iam.attach_role_policy().role_name(name).policy_arn(arn).send().await;
        attached.doing(|| format!("attaching {arn} to IAM role ({name})"))?;
    }
    for arn in found.policies.difference(&wanted.policies) {
        detach(iam, name, arn).await?;
    }
    Ok(())
}

fn tag_list(wanted: &Wanted) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = wanted.tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Deletes a role, and first what IAM wants gone before it.
async fn delete(iam: &Client, name: &str) -> Result<()> {
    for arn in attached(iam, name).await? {
        detach(iam, name, &arn).await?;
    }
    let pages = iam.list_role_policies().role_name(name).into_paginator().items().send();
    let policies = pages.collect::<std::result::Result<Vec<_>, _>>().await;
    let policies =
        policies.unless_absent(&ABSENT, || format!("listing the policies of IAM role ({name})"))?;
    for policy in policies.unwrap_or_default() {
        delete_policy(iam, name, &policy).await?;
    }
    let deleted = iam.delete_role().role_name(name).send().await;
    deleted.unless_absent(&ABSENT, || format!("deleting IAM role ({name})"))?;
    Ok(())
}

async fn delete_policy(iam: &Client, name: &str, policy: &str) -> Result<()> {
    let deleted = iam.delete_role_policy().role_name(name).policy_name(policy).send().await;
    deleted.unless_absent(&ABSENT, || format!("deleting the policy {policy} of IAM role ({name})"))?;
    Ok(())
}

async fn detach(iam: &Client, name: &str, arn: &str) -> Result<()> {
    let detached = iam.detach_role_policy().role_name(name).policy_arn(arn).send().await;
    detached.unless_absent(&ABSENT, || format!("detaching {arn} from IAM role ({name})"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_iam::{
        error::ErrorMetadata,
        operation::{
            attach_role_policy::AttachRolePolicyOutput,
            create_role::CreateRoleOutput,
            delete_role::DeleteRoleOutput,
            delete_role_policy::DeleteRolePolicyOutput,
            detach_role_policy::DetachRolePolicyOutput,
            get_role::{GetRoleError, GetRoleOutput},
            get_role_policy::GetRolePolicyOutput,
            list_attached_role_policies::ListAttachedRolePoliciesOutput,
            list_role_policies::ListRolePoliciesOutput,
            list_roles::ListRolesOutput,
            put_role_permissions_boundary::PutRolePermissionsBoundaryOutput,
            put_role_policy::PutRolePolicyOutput,
        },
        primitives::DateTime,
        types::{AttachedPermissionsBoundary, AttachedPolicy},
    };
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
    use spec::Spec;
    use step::Outputs;

    use super::*;

    const SPEC: &str = r#"{ apiVersion: plinth/v1, name: demo, roles: { index: {
        assumedBy: [lambda.amazonaws.com], policies: ["arn:managed"],
        allow: [{ actions: ["s3:GetObject"], resources: ["arn:aws:s3:::${environment}/*"] }] } } }"#;

    const BOUNDARY: &str = "arn:boundary";

    fn context(operation: Operation) -> Context {
        step::test::context(operation, spec::parse(SPEC, None).expect("a spec"), Outputs::default())
    }

    fn dropped(operation: Operation) -> Context {
        step::test::context(operation, Spec::empty("demo"), Outputs::default())
    }

    fn demo() -> Wanted {
        wanted(&context(Operation::Plan), BOUNDARY).expect("roles").remove(0)
    }

    /// The role as IAM describes it when it is what the spec says.
    fn role() -> aws_sdk_iam::types::builders::RoleBuilder {
        let boundary = AttachedPermissionsBoundary::builder().permissions_boundary_arn(BOUNDARY).build();
        Role::builder()
            .path("/plinth/demo/")
            .role_name("demo-index")
            .role_id("AROA")
            .arn("arn:role")
            .create_date(DateTime::from_secs(0))
            .assume_role_policy_document(demo().trust.to_string())
            .permissions_boundary(boundary)
            .set_tags(Some(tag_list(&demo()).expect("tags")))
    }

    fn described(role: aws_sdk_iam::types::builders::RoleBuilder) -> Rule {
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
            .match_requests(|request| request.policy_arn() == Some("arn:managed"))
            .then_output(|| AttachRolePolicyOutput::builder().build())
    }

    fn detach_rule(arn: &'static str) -> Rule {
        mock!(Client::detach_role_policy)
            .match_requests(move |request| request.policy_arn() == Some(arn))
            .then_output(|| DetachRolePolicyOutput::builder().build())
    }

    /// A client that refuses every call for which there is no rule.
    fn client(rules: &[&Rule]) -> Client {
        mock_client!(aws_sdk_iam, RuleMode::MatchAny, rules)
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
                    && request.tags() == tag_list(&demo()).expect("tags")
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
        let rules = [&described(role()), &our_policy(), &with_attached("arn:managed"), &listed()];
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
        let detach = detach_rule("arn:managed");
        let policies = mock!(Client::list_role_policies).then_output(|| {
            ListRolePoliciesOutput::builder().policy_names(POLICY).build().expect("policies")
        });
        let delete_policy = mock!(Client::delete_role_policy)
            .match_requests(|request| request.policy_name() == Some(POLICY))
            .then_output(|| DeleteRolePolicyOutput::builder().build());
        let delete = mock!(Client::delete_role)
            .match_requests(|request| request.role_name() == Some("demo-index"))
            .then_output(|| DeleteRoleOutput::builder().build());
        let (role, attached) = (described(role()), with_attached("arn:managed"));
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
            "api": { "image": "nginx", "role": { "policies": ["arn:managed"] } },
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
                    "policies": ["arn:managed"] } },
            "plain": { "package": "reportportal-index", "name": "other" },
        });
        let mut context = dropped(Operation::Ensure);
        context.spec.functions = serde_json::from_value(functions).expect("functions");
        let wanted = wanted(&context, BOUNDARY).expect("roles");
        let names: Vec<_> = wanted.iter().map(|wanted| (&*wanted.address, &*wanted.name)).collect();
        assert_eq!(
            names,
            [
                ("functions.index.role", "demo-index-function"),
                ("functions.plain.role", "demo-plain-function")
            ]
        );
        assert_eq!(wanted.iter().map(|wanted| wanted.name.clone()).collect::<BTreeSet<_>>(), kept(&context));
        assert!(wanted[0].trust.to_string().contains("lambda.amazonaws.com"));
        assert_eq!(wanted[0].policies, BTreeSet::from(["arn:managed".to_owned()]));
        let allowed = |at: usize| wanted[at].allow.as_ref().expect("statements").to_string();
        for part in ["log-group:/aws/lambda/demo-index:*", "ec2:CreateNetworkInterface", "s3:GetObject"] {
            assert!(allowed(0).contains(part), "{part}");
        }
        assert!(allowed(1).contains("log-group:/aws/lambda/other:*"));
        assert!(!allowed(1).contains("ec2:") && !allowed(1).contains("logs:CreateLogGroup"));
    }
}

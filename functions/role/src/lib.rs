//! The step `role`: IAM roles, those of the section `roles`, the two that a service or a job brings, and the
//! one that a function brings; the instances' role, and the instance profile that holds it; and deployers,
//! each a role or a user.
//!
//! Ours is a role, an instance profile or a user under the environment's path that carries the owner's tags;
//! it has them from its create call on, and so has a role or a user the permissions boundary. The policies of
//! a role or a user, and a user's access keys, are owned through it.

mod deployer;
mod instance_profile;
mod policy;
mod role;
#[cfg(test)]
mod tests;
mod user;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::{Client, types::Tag};
use serde_json::Value;
use spec::{Capacity, Instances};
use step::{Answer, Change, Context, Error, Operation, Result, side_by_side};

/// The name of the inline policy that holds a role's or a user's statements.
const POLICY: &str = "plinth";

/// What IAM answers for what isn't there.
const ABSENT: [&str; 1] = ["NoSuchEntity"];

/// What IAM answers for what is there already.
const EXISTS: [&str; 1] = ["EntityAlreadyExists"];

/// What IAM answers when something must go first.
const IN_USE: [&str; 1] = ["DeleteConflict"];

/// One pass. `boundary` is the ARN of the permissions boundary that every role and user is made with in the control
/// plane's own account.
pub async fn handle(context: Context, boundary: String) -> Result<Answer> {
    let iam = Client::new(&context.aws);
    let boundary = match &context.run.role {
        Some(_) => boundary_elsewhere(&context),
        None => boundary,
    };
    match context.operation {
        Operation::Plan => plan(&iam, &context, &boundary).await,
        Operation::Ensure => ensure(&iam, &context, &boundary).await,
        Operation::Prune => prune(&iam, &context).await,
    }
}

/// The boundary in another account: `infra/role.yaml` makes it beside the role to build with.
fn boundary_elsewhere(context: &Context) -> String {
    format!("arn:{}:iam::{}:policy/plinth/plinth-boundary", context.partition(), context.run.account)
}

async fn ensure(iam: &Client, context: &Context, boundary: &str) -> Result<Answer> {
    let roles = wanted(context, boundary)?;
    side_by_side(roles.iter().map(|wanted| role::ensure(iam, context, wanted))).await?;
    if context.is_first_batch() {
        if let Some(wanted) = instance_profile::wanted(context) {
            instance_profile::ensure(iam, context, &wanted).await?;
        }
        let users = user::wanted(context, boundary)?;
        side_by_side(users.iter().map(|wanted| user::ensure(iam, context, wanted))).await?;
    }
    Ok(Answer::default())
}

async fn plan(iam: &Client, context: &Context, boundary: &str) -> Result<Answer> {
    let mut changes = Vec::new();
    if context.is_first_batch() {
        deployer::issuers_known(iam, context).await?;
        changes = delete_dropped(iam, context).await?;
    }
    let roles = wanted(context, boundary)?;
    let planned = side_by_side(roles.iter().map(|wanted| role::plan(iam, context, wanted))).await?;
    changes.extend(planned.into_iter().flatten());
    if context.is_first_batch() {
        if let Some(wanted) = instance_profile::wanted(context) {
            changes.extend(instance_profile::plan(iam, context, &wanted).await?);
        }
        let users = user::wanted(context, boundary)?;
        let planned = side_by_side(users.iter().map(|wanted| user::plan(iam, context, wanted))).await?;
        changes.extend(planned.into_iter().flatten());
    }
    Ok(Answer::changed(changes))
}

async fn prune(iam: &Client, context: &Context) -> Result<Answer> {
    Ok(Answer::changed(delete_dropped(iam, context).await?))
}

/// Deletes what is ours and the spec doesn't mention; in a plan only names it. A role goes after the instance
/// profile that holds it.
async fn delete_dropped(iam: &Client, context: &Context) -> Result<Vec<Change>> {
    let mut changes = instance_profile::delete_dropped(iam, context).await?;
    changes.extend(role::delete_dropped(iam, context, &kept(context)).await?);
    changes.extend(user::delete_dropped(iam, context).await?);
    Ok(changes)
}

/// The roles of this pass: those of its services, and with the first batch those of everything else.
fn wanted(context: &Context, boundary: &str) -> Result<Vec<role::Wanted>> {
    let mut all = Vec::new();
    if context.is_first_batch() {
        all.extend(of_section(context)?);
    }
    all.extend(of_services(context)?);
    if context.is_first_batch() {
        all.extend(of_jobs(context)?);
        all.extend(of_functions(context)?);
        all.extend(of_instances(context));
        all.extend(deployer::roles(context)?);
    }
    let wanted = |asked: Asked| role::Wanted {
        path: context.role_path(),
        boundary: boundary.to_owned(),
        trust: asked.trust,
        allow: asked.allow,
        policies: asked.policies.into_iter().collect(),
        tags: tags_of(context, &asked.address),
        name: asked.name,
        address: asked.address,
    };
    Ok(all.into_iter().map(wanted).collect())
}

/// The address of the role of the cluster's instances.
const INSTANCES: &str = "cluster.instances.role";

/// The tag by which the boundary lets the role of instances, and no other, speak for those of this cluster.
const CLUSTER: &str = "plinth:cluster";

fn tags_of(context: &Context, address: &str) -> BTreeMap<String, String> {
    let mut tags = context.tags(address);
    if address == INSTANCES {
        tags.insert(CLUSTER.to_owned(), context.cluster_name());
    }
    tags
}

/// What sets one role apart from another.
struct Asked {
    address: String,
    name: String,
    trust: Value,
    allow: Option<Value>,
    policies: Vec<String>,
}

fn of_section(context: &Context) -> Result<Vec<Asked>> {
    let asked = |(key, role): (&String, &spec::Role)| {
        Ok(Asked {
            address: format!("roles.{key}"),
            name: context.role_name(key),
            trust: policy::trust(&role.assumed_by),
            allow: policy::allow(context, &role.allow)?,
            policies: role.policies.clone(),
        })
    };
    context.spec.roles.iter().map(asked).collect()
}

fn of_services(context: &Context) -> Result<Vec<Asked>> {
    let mut all = Vec::new();
    for (key, service) in context.services() {
        let word = spec::service_word(key);
        if let Some(role) = &service.role {
            all.push(Asked {
                address: format!("services.{key}.role"),
                name: context.task_role_name(&word),
                trust: policy::task_trust(context),
                allow: policy::task(context, service.exec, &role.allow)?,
                policies: role.policies.clone(),
            });
        }
        let sidecars = service.sidecars.values().map(|sidecar| (&sidecar.image, &sidecar.environment));
        let image = service.image.text();
        let containers: Vec<_> =
            [(image.as_ref(), &service.environment)].into_iter().chain(sidecars).collect();
        let group = context.log_group(&word, service.logs.as_ref());
        all.push(Asked {
            address: format!("services.{key}.execution"),
            name: context.execution_role_name(&word),
            trust: policy::task_trust(context),
            allow: Some(policy::execution(context, &group, &containers)?),
            policies: Vec::new(),
        });
    }
    Ok(all)
}

fn of_jobs(context: &Context) -> Result<Vec<Asked>> {
    let mut all = Vec::new();
    for (key, job) in &context.spec.jobs {
        let word = spec::job_word(key);
        if let Some(role) = &job.role {
            all.push(Asked {
                address: format!("jobs.{key}.role"),
                name: context.task_role_name(&word),
                trust: policy::task_trust(context),
                allow: policy::task(context, false, &role.allow)?,
                policies: role.policies.clone(),
            });
        }
        let group = context.log_group(&word, job.logs.as_ref());
        all.push(Asked {
            address: format!("jobs.{key}.execution"),
            name: context.execution_role_name(&word),
            trust: policy::task_trust(context),
            allow: Some(policy::execution(context, &group, &[(&job.image, &job.environment)])?),
            policies: Vec::new(),
        });
    }
    Ok(all)
}

fn of_functions(context: &Context) -> Result<Vec<Asked>> {
    let asked = |(key, function): (&String, &spec::Function)| {
        Ok(Asked {
            address: format!("functions.{key}.role"),
            name: context.function_role_name(key),
            trust: policy::trust(&[policy::LAMBDA.to_owned()]),
            allow: Some(policy::function(context, key, function)?),
            policies: function.role.as_ref().map(|role| role.policies.clone()).unwrap_or_default(),
        })
    };
    context.spec.functions.iter().map(asked).collect()
}

/// What the cluster's instances may do: what ECS's agent needs, mount file systems, and what the spec says.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html>
fn of_instances(context: &Context) -> Option<Asked> {
    let instances = instances(context)?;
    let agent = format!(
        "arn:{}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
        context.partition()
    );
    Some(Asked {
        address: INSTANCES.to_owned(),
        name: context.instance_role_name(),
        trust: policy::trust(&[policy::EC2.to_owned()]),
        allow: (!instances.mounts.is_empty()).then(|| policy::mount(context)),
        policies: [agent].into_iter().chain(instances.policies.iter().cloned()).collect(),
    })
}

/// The instances that the environment's own cluster runs on.
fn instances(context: &Context) -> Option<&Instances> {
    let cluster = context.spec.cluster.as_ref().filter(|cluster| !cluster.existing)?;
    cluster.instances.as_ref().filter(|_| cluster.capacity == Capacity::Ec2)
}

/// The names of the roles the spec asks for. Their statements may refer to what is already gone.
fn kept(context: &Context) -> BTreeSet<String> {
    let services =
        context.spec.services.iter().map(|(key, service)| (spec::service_word(key), service.role.is_some()));
    let jobs = context.spec.jobs.iter().map(|(key, job)| (spec::job_word(key), job.role.is_some()));
    let of_tasks = services.chain(jobs).flat_map(|(word, has_role)| {
        let own = has_role.then(|| context.task_role_name(&word));
        own.into_iter().chain([context.execution_role_name(&word)])
    });
    let of_functions = context.spec.functions.keys().map(|key| context.function_role_name(key));
    let of_instances = instances(context).map(|_| context.instance_role_name());
    let of_deployers = deployer::role_names(context);
    let roles = context.spec.roles.keys().map(|key| context.role_name(key));
    roles.chain(of_tasks).chain(of_functions).chain(of_instances).chain(of_deployers).collect()
}

fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags = tags.iter().map(tag).collect::<std::result::Result<_, _>>();
    tags.map_err(|error| Error::Failed(format!("writing a tag: {error}")))
}

/// Something that IAM has made and doesn't tell of yet: `what` is "IAM role (demo-api)". The next pass sees
/// whose it is.
fn young(what: &str) -> Error {
    Error::soon(format!("{what} has been made and isn't seen yet"))
}

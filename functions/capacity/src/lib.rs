//! The step `capacity`: the instances that a cluster with `capacity: ec2` runs on: a launch template, an Auto
//! Scaling group, and the ECS capacity provider that grows and shrinks it with the tasks.
//!
//! Each carries the owner's tags from the call that creates it on, and so do the instances and their volumes.
//! The provider's place on the cluster is owned through the cluster.
//!
//! While the environment is paused there are no instances. They go with `prune`, when the services have stopped:
//! for a task that waits ECS would start one again.

mod group;
mod instance_type;
mod provider;
mod template;
#[cfg(test)]
mod tests;
mod user_data;

use std::collections::BTreeMap;

use aws_sdk_autoscaling::Client as AutoScaling;
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ecs::Client as Ecs;
use spec::{Capacity, Instances, Placement, Section};
use step::{Answer, Change, Context, Error, Latency, Operation, Result};

/// The Auto Scaling group's address, and its instances'.
const GROUP: &str = "cluster.instances";

/// The launch template's address.
const TEMPLATE: &str = "cluster.instances.template";

/// The capacity provider's address.
const PROVIDER: &str = "cluster.instances.provider";

/// The longest name of a launch template; a group's may be longer.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html>
const LIMIT: usize = 128;

/// How AWS is asked.
struct Clients {
    ec2: Ec2,
    auto_scaling: AutoScaling,
    ecs: Ecs,
}

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let clients = Clients {
        ec2: Ec2::new(&context.aws),
        auto_scaling: AutoScaling::new(&context.aws),
        ecs: Ecs::new(&context.aws),
    };
    match context.operation {
        Operation::Plan => plan(&clients, &context).await,
        Operation::Ensure => ensure(&clients, &context).await,
        Operation::Prune => prune(&clients, &context).await,
    }
}

/// What the spec asks for.
struct Wanted<'a> {
    instances: &'a Instances,
    /// The fewest instances: none while the environment is paused.
    min: u32,
    /// Whether there are to be none.
    paused: bool,
    /// The name of the launch template and of the group.
    name: String,
    cluster: String,
    /// The name of the capacity provider.
    provider: String,
    /// The name of the instance profile, which the step `role` makes.
    profile: String,
    subnets: Vec<String>,
    security_group: String,
    user_data: String,
    /// The group's and its instances' tags.
    tags: BTreeMap<String, String>,
    template_tags: BTreeMap<String, String>,
    provider_tags: BTreeMap<String, String>,
}

/// The instances that are to be; none of somebody else's cluster, and none of Fargate's.
fn instances(context: &Context) -> Option<&Instances> {
    let cluster = context.spec.cluster.as_ref()?;
    cluster.instances.as_ref().filter(|_| cluster.capacity == Capacity::Ec2 && !cluster.existing)
}

fn name(context: &Context) -> String {
    context.name(None, "instances", LIMIT)
}

fn wanted<'a>(context: &Context, instances: &'a Instances) -> Result<Wanted<'a>> {
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let name = name(context);
    let named = |address: &str| {
        let mut tags = context.tags(address);
        tags.entry("Name".to_owned()).or_insert_with(|| name.clone());
        tags
    };
    Ok(Wanted {
        instances,
        min: if context.run.paused { 0 } else { instances.min },
        paused: context.run.paused,
        cluster: context.cluster_name(),
        provider: context.capacity_provider(),
        profile: context.instance_role_name(),
        subnets: match instances.placement {
            Placement::Private => network.private.clone(),
            Placement::Public => network.public.clone(),
        },
        security_group: network.group.clone(),
        user_data: user_data::user_data(&context.cluster_name(), &mounts(context, instances)?),
        tags: named(GROUP),
        template_tags: named(TEMPLATE),
        provider_tags: named(PROVIDER),
        name,
    })
}

/// The ids of the file systems to mount, by path.
fn mounts(context: &Context, instances: &Instances) -> Result<BTreeMap<String, String>> {
    let mount = |(path, text): (&String, &spec::Text)| {
        let reference = text.whole().filter(|reference| reference.section == Section::FileSystems);
        let name = reference.and_then(|reference| reference.name.as_deref()).ok_or_else(|| {
            Error::InvalidSpec(format!(
                "cluster.instances.mounts.{path}: {text} is no file system: write `${{fileSystems.<name>}}`"
            ))
        })?;
        let found = context.outputs.file_systems.get(name);
        Ok((path.clone(), context.known(found, &format!("fileSystems.{name}"))?.id.clone()))
    };
    instances.mounts.iter().map(mount).collect()
}

async fn ensure(clients: &Clients, context: &Context) -> Result<Answer> {
    let Some(instances) = instances(context) else { return Ok(Answer::default()) };
    let wanted = wanted(context, instances)?;
    let version = template::ensure(&clients.ec2, context, &wanted).await?;
    let group = group::ensure(&clients.auto_scaling, context, &wanted).await?;
    if !wanted.paused {
        group::refresh(&clients.auto_scaling, &group, version).await?;
    }
    let arn = group.auto_scaling_group_arn().unwrap_or_default();
    provider::ensure(&clients.ecs, context, &wanted, arn).await?;
    provider::attach(&clients.ecs, context, &wanted).await?;
    group::ready(&clients.auto_scaling, context, &group, &wanted).await?;
    provider::joined(&clients.ecs, context, &wanted).await?;
    Ok(Answer::default())
}

async fn plan(clients: &Clients, context: &Context) -> Result<Answer> {
    let Some(instances) = instances(context) else {
        return Ok(Answer::changed(delete_dropped(clients, context).await?));
    };
    instance_type::check(&clients.ec2, context, instances).await?;
    let wanted = wanted(context, instances)?;
    let template = template::find(&clients.ec2, context, &wanted.name).await?;
    let group = group::find(&clients.auto_scaling, context, &wanted.name).await?;
    let version = template.as_ref().and_then(template::Found::version);
    let mut changes = Vec::new();
    changes.extend(template::change(template.as_ref(), &wanted));
    changes.extend(group::change(&clients.auto_scaling, group.as_ref(), version, &wanted).await?);
    let arn = group.as_ref().and_then(|group| group.auto_scaling_group_arn());
    changes.extend(provider::change(&clients.ecs, context, &wanted, arn).await?);
    Ok(Answer::changed(changes))
}

async fn prune(clients: &Clients, context: &Context) -> Result<Answer> {
    // What is on the cluster follows what the cluster is for.
    provider::detach(&clients.ecs, context).await?;
    if context.run.paused && instances(context).is_some() {
        // The services have stopped by now.
        group::stop(&clients.auto_scaling, context, &name(context)).await?;
    }
    Ok(Answer::changed(delete_dropped(clients, context).await?))
}

/// Deletes what is ours if the spec has no instances; in a plan only names it. Each waits until the one
/// before it has gone: a provider holds its group, the instances hold subnets and security groups, and a
/// group its template.
async fn delete_dropped(clients: &Clients, context: &Context) -> Result<Vec<Change>> {
    if instances(context).is_some() {
        return Ok(Vec::new());
    }
    let name = name(context);
    let provider = provider::ours(&clients.ecs, context).await?;
    let group = group::ours(&clients.auto_scaling, context, &name).await?;
    let template = template::ours(&clients.ec2, context, &name).await?;
    let mut changes = Vec::new();
    if provider.is_some() {
        changes.push(Change::delete(PROVIDER).with("name", context.capacity_provider()));
    }
    if group.is_some() {
        changes.push(Change::delete(GROUP).with("name", &name));
    }
    if template.is_some() {
        changes.push(Change::delete(TEMPLATE).with("name", &name));
    }
    if context.operation == Operation::Prune && !changes.is_empty() {
        if let Some(provider) = &provider {
            provider::delete(&clients.ecs, context, provider).await?;
        }
        if let Some(group) = &group {
            group::delete(&clients.auto_scaling, context, group).await?;
        }
        group::gone(&clients.ec2, context).await?;
        provider::forget_instances(&clients.ecs, context).await?;
        if let Some(template) = &template {
            template::delete(&clients.ec2, template).await?;
        }
    }
    Ok(changes)
}

/// The error for what takes as long as an instance does.
fn wait(context: &Context, doing: &str) -> Error {
    Latency::of("ec2-instance").wait(doing, context.since)
}

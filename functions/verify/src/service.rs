//! Whether services are steady.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    types::{Deployment, DeploymentRolloutState, Service, ServiceField, Tag},
};
use step::{Context, Doing, Error, Latency, Result, side_by_side};
use task::{Task, follow::DEPLOYED, task_definition};

/// The services of the spec that are there, by name.
pub(crate) async fn find(ecs: &Client, context: &Context) -> Result<BTreeMap<String, Service>> {
    let cluster = context.cluster_name();
    let services = &context.spec.services;
    let names: Vec<String> =
        services.iter().map(|(key, service)| context.service_name(key, service)).collect();
    let ask = async |names: &[String]| {
        let describe = ecs.describe_services().cluster(&cluster).set_services(Some(names.to_vec()));
        let answer = describe.include(ServiceField::Tags).send().await;
        Ok(answer.doing(|| format!("describing the services of {cluster}"))?.services.unwrap_or_default())
    };
    let found = side_by_side(names.chunks(10).map(ask)).await?;
    let by_name = |service: Service| Some((service.service_name()?.to_owned(), service));
    Ok(found.into_iter().flatten().filter_map(by_name).collect())
}

/// Whether a service runs what the spec says with all its tasks.
pub(crate) async fn steady(
    ecs: &Client,
    context: &Context,
    key: &str,
    service: Option<&Service>,
    name: String,
) -> Result<()> {
    let service = standing(service, &name)?;
    let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    if let Some(primary) = primary {
        is_as_wanted(ecs, context, key, service, primary).await?;
    }
    let completed =
        primary.and_then(|deployment| deployment.rollout_state()) == Some(&DeploymentRolloutState::Completed);
    if completed && service.running_count() == service.desired_count() {
        return Ok(());
    }
    let (running, desired) = (service.running_count(), service.desired_count());
    let doing = format!("ECS service ({name}): {running} of {desired} tasks run");
    Err(Latency::of("ecs-service").wait(&doing, context.since))
}

/// Whether a service is there and runs no task.
pub(crate) fn stopped(context: &Context, service: Option<&Service>, name: &str) -> Result<()> {
    match standing(service, name)?.running_count() {
        0 => Ok(()),
        running => {
            let doing = format!("ECS service ({name}): {running} of its tasks still run");
            Err(Latency::of("ecs-service").wait(&doing, context.since))
        }
    }
}

fn standing<'a>(service: Option<&'a Service>, name: &str) -> Result<&'a Service> {
    service.filter(|service| service.status() == Some("ACTIVE")).ok_or_else(|| {
        Error::Failed(format!("verifying ECS service ({name}): it isn't there any more; start the run again"))
    })
}

/// Fails the run if the primary deployment isn't what the spec says. ECS, which reports its own rollback as a success,
/// made it so, or somebody by hand. Revisions aren't looked at where the service's tag says that a run deployed the one
/// that runs: with a thousand services ECS would throttle the calls.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
async fn is_as_wanted(
    ecs: &Client,
    context: &Context,
    key: &str,
    service: &Service,
    primary: &Deployment,
) -> Result<()> {
    let runs = primary.task_definition().unwrap_or_default();
    let tag = service.tags().iter().find(|tag| tag.key() == Some(DEPLOYED)).and_then(Tag::value);
    let deployed = tag.and_then(|tag| tag.split(' ').next()).unwrap_or_default();
    if runs.rsplit(':').next() == Some(deployed) {
        return Ok(());
    }
    let wanted = context.known(context.spec.services.get(key), &format!("services.{key}"))?;
    if task_definition::is_as_wanted(ecs, context, &Task::of_service(key, wanted), runs).await? {
        return Ok(());
    }
    let runs = runs.rsplit('/').next().unwrap_or_default();
    Err(Error::Failed(format!(
        "verifying ECS service ({}): it runs {runs}, which isn't what the spec says, since tasks of revision {deployed} \
         didn't stay up, or somebody deployed {runs} by hand: see the service's events, then start the run again, or \
         upload a corrected spec",
        service.service_name().unwrap_or_default(),
    )))
}

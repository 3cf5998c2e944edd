//! Whether services are steady.

use std::collections::BTreeMap;

use aws_sdk_ecs::{
    Client,
    types::{Deployment, DeploymentRolloutState, Service, ServiceField},
};
use step::{Context, Doing, Error, Latency, Result, side_by_side};

use crate::revision::{newest, pair, told};

/// The tag on a service that begins with the number of the revision which a run last deployed; see
/// `functions/service`.
const DEPLOYED: &str = "plinth:deployed";

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

/// Whether a service runs its newest revision with all its tasks.
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
        is_newest(ecs, context, key, service, primary).await?;
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

/// Fails the run if the primary deployment isn't of the newest revision. ECS, which tells of its own rollback as
/// of any success, made it so, or somebody by hand. Where the service says that this very revision was deployed,
/// nothing more is asked: of a thousand services ECS would let too few be looked at in time.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html>
async fn is_newest(
    ecs: &Client,
    context: &Context,
    key: &str,
    service: &Service,
    primary: &Deployment,
) -> Result<()> {
    let runs = primary.task_definition().unwrap_or_default();
    let tags: BTreeMap<String, String> = service.tags().iter().filter_map(pair).collect();
    let deployed = tags.get(DEPLOYED).and_then(|tag| tag.split(' ').next());
    if deployed.is_some_and(|number| runs.rsplit(':').next() == Some(number)) {
        return Ok(());
    }
    let Some(newest) = newest(ecs, context, key).await?.filter(|newest| newest.arn != runs) else {
        return Ok(());
    };
    Err(Error::Failed(format!(
        "verifying ECS service ({}): ECS went back to {}, where {} is the newest, whose tasks didn't stay up; see \
         why in the service's events, mend that, and upload the spec again",
        service.service_name().unwrap_or_default(),
        told(runs),
        told(&newest.arn),
    )))
}

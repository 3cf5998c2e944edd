//! ECS services.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::{
    Client,
    primitives::DateTime,
    types::{
        AssignPublicIp, AwsVpcConfiguration, Deployment, DeploymentCircuitBreaker, DeploymentConfiguration,
        DeploymentRolloutState, DesiredStatus, LoadBalancer, NetworkConfiguration, PropagateTags, Service,
        ServiceField, Tag,
    },
};
use jiff::Timestamp;
use spec::Target;
use step::{
    Change, Context, Doing, Error, Field, Latency, Operation, Result, compare, missing_tags, side_by_side,
};
use task::{Place, task_definition::tag_list, with_new_role};

/// The tag that names the revision which a run deployed: when ECS rolled it back, the same run doesn't
/// deploy it again.
const DEPLOYED: &str = "plinth:deployed";

/// How long a balancer's verdict on a new task is ignored where the spec doesn't say, in seconds.
const GRACE: i32 = 60;

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    name: String,
    place: Place,
    revision: String,
    desired: i32,
    /// The container's ports by the target group that sends to them.
    targets: BTreeMap<String, i32>,
    /// How long a balancer's verdict on a new task is ignored, in seconds.
    grace_period: i32,
    /// Whether commands can be run in its containers.
    exec: bool,
    container: String,
    tags: BTreeMap<String, String>,
    deployed: String,
}

impl Wanted {
    /// Only a service behind a balancer has one.
    fn grace(&self) -> Option<i32> {
        (!self.targets.is_empty()).then_some(self.grace_period)
    }
}

pub(crate) fn wanted(
    context: &Context,
    key: &str,
    service: &spec::Service,
    revision: &str,
) -> Result<Wanted> {
    let address = format!("services.{key}");
    let number = revision.rsplit(':').next().unwrap_or_default();
    Ok(Wanted {
        name: context.service_name(key, service),
        place: Place::of(context, service.placement)?,
        revision: revision.to_owned(),
        desired: i32::try_from(service.desired).unwrap_or(i32::MAX),
        targets: targets(context, key)?,
        grace_period: service
            .grace_period
            .map_or(GRACE, |period| i32::try_from(period.seconds()).unwrap_or(i32::MAX)),
        exec: service.exec,
        container: key.to_owned(),
        tags: context.tags(&address),
        deployed: format!("{number} {}", context.run.id),
        address,
    })
}

fn targets(context: &Context, key: &str) -> Result<BTreeMap<String, i32>> {
    let of = |target: Target| {
        let (_, port) = target.service().filter(|(service, _)| *service == key)?;
        let balancer = context.outputs.load_balancers.get(&target.balancer);
        let arn = balancer.and_then(|balancer| balancer.targets.get(&target.word()));
        Some(context.known(arn, &target.address()).map(|arn| (arn.clone(), i32::from(port))))
    };
    spec::targets(&context.spec).into_iter().filter_map(of).collect()
}

pub(crate) async fn ensure(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let service = match find(ecs, context, wanted).await? {
        None => create(ecs, wanted).await?,
        Some(found) => {
            refuse_again(ecs, &found, wanted).await?;
            update(ecs, found, wanted).await?
        }
    };
    ready(ecs, context, &service, wanted).await
}

pub(crate) async fn plan(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
    Ok(match find(ecs, context, wanted).await? {
        None => {
            Some(Change::create(&wanted.address).with("name", &wanted.name).with("desired", wanted.desired))
        }
        Some(found) => Change::update(&wanted.address, difference(&found, wanted)),
    })
}

/// A deleted service lingers as INACTIVE and is absent; one that drains still holds its name.
async fn find(ecs: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Service>> {
    let found = describe(ecs, &wanted.place.cluster, vec![wanted.name.clone()]).await?;
    let Some(service) = found.into_iter().next() else { return Ok(None) };
    context.owner().check(&format!("ECS service ({})", wanted.name), &tags(&service))?;
    if service.status() == Some("DRAINING") && context.operation != Operation::Plan {
        return Err(Error::soon(format!(
            "ECS service ({}) is draining before it can be made anew",
            wanted.name
        )));
    }
    Ok(Some(service).filter(|service| service.status() != Some("DRAINING")))
}

/// Takes at most ten names; none are there if the cluster isn't.
async fn describe(ecs: &Client, cluster: &str, services: Vec<String>) -> Result<Vec<Service>> {
    let described = ecs
        .describe_services()
        .cluster(cluster)
        .set_services(Some(services))
        .include(ServiceField::Tags)
        .send()
        .await
        .unless_absent(&["ClusterNotFoundException"], || format!("describing the services of {cluster}"))?;
    let mut services = described.and_then(|answer| answer.services).unwrap_or_default();
    services.retain(|service| service.status() != Some("INACTIVE"));
    Ok(services)
}

fn tags(service: &Service) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    service.tags().iter().filter_map(pair).collect()
}

fn difference(found: &Service, wanted: &Wanted) -> Vec<Field> {
    let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
    let network = found.network_configuration().and_then(NetworkConfiguration::awsvpc_configuration);
    let subnets = network.map(|network| network.subnets().iter().cloned().collect()).unwrap_or_default();
    let groups = network.map(|network| network.security_groups().join(", ")).unwrap_or_default();
    let public = network.and_then(AwsVpcConfiguration::assign_public_ip) == Some(&AssignPublicIp::Enabled);
    let grace = wanted.grace().unwrap_or_default();
    let provider = found.capacity_provider_strategy().first().map_or("none", |item| item.capacity_provider());
    [
        compare("definition", found.task_definition().unwrap_or("none"), wanted.revision.as_str()),
        compare("desired", found.desired_count(), wanted.desired),
        compare("capacity", provider, wanted.place.provider),
        compare("subnets", list(&subnets), list(&wanted.place.subnets)),
        compare("securityGroups", groups, wanted.place.group.clone()),
        compare("publicAddress", public, wanted.place.public),
        compare("targets", ports(&registered(found)), ports(&wanted.targets)),
        compare("gracePeriod", found.health_check_grace_period_seconds().unwrap_or_default(), grace),
        compare("circuitBreaker", breaks(found), true),
        compare("exec", found.enable_execute_command(), wanted.exec),
    ]
    .into_iter()
    .flatten()
    .chain(missing_tags(&tags(found), &wanted.tags))
    .collect()
}

/// Whether a deployment whose tasks keep failing ends, and the one before it comes back.
fn breaks(found: &Service) -> bool {
    let configuration = found.deployment_configuration();
    let breaker = configuration.and_then(DeploymentConfiguration::deployment_circuit_breaker);
    breaker.is_some_and(|breaker| breaker.enable() && breaker.rollback())
}

fn registered(found: &Service) -> BTreeMap<String, i32> {
    let pair =
        |balancer: &LoadBalancer| Some((balancer.target_group_arn()?.to_owned(), balancer.container_port()?));
    found.load_balancers().iter().filter_map(pair).collect()
}

fn ports(targets: &BTreeMap<String, i32>) -> String {
    targets.iter().map(|(arn, port)| format!("{arn} -> {port}")).collect::<Vec<_>>().join(", ")
}

/// The name lets this call make one service at most; when its answer was lost, the next pass finds it.
async fn create(ecs: &Client, wanted: &Wanted) -> Result<Service> {
    let mut tags = wanted.tags.clone();
    tags.insert(DEPLOYED.to_owned(), wanted.deployed.clone());
    let created = ecs
        .create_service()
        .cluster(&wanted.place.cluster)
        .service_name(&wanted.name)
        .task_definition(&wanted.revision)
        .desired_count(wanted.desired)
        .capacity_provider_strategy(wanted.place.strategy()?)
        .network_configuration(wanted.place.network()?)
        .set_load_balancers(Some(balancers(wanted)))
        .set_health_check_grace_period_seconds(wanted.grace())
        .deployment_configuration(deployment_configuration())
        .enable_execute_command(wanted.exec)
        .propagate_tags(PropagateTags::Service)
        .enable_ecs_managed_tags(true)
        .set_tags(Some(tag_list(&tags)))
        .send()
        .await;
    let doing = || format!("creating ECS service ({})", wanted.name);
    let created = with_new_role(created, doing)?.service;
    created.ok_or_else(|| Error::Failed(format!("{}: no service answered", doing())))
}

/// Makes the calls that are needed, and answers the service as it then is.
async fn update(ecs: &Client, found: Service, wanted: &Wanted) -> Result<Service> {
    let arn = found.service_arn().unwrap_or_default().to_owned();
    let (of_tags, of_service): (Vec<Field>, Vec<Field>) =
        difference(&found, wanted).into_iter().partition(|field| field.name.starts_with("tags."));
    if !of_tags.is_empty() {
        retag(ecs, &arn, wanted, &wanted.tags).await?;
    }
    if of_service.is_empty() {
        return Ok(found);
    }
    let updated = ecs
        .update_service()
        .cluster(&wanted.place.cluster)
        .service(&wanted.name)
        .task_definition(&wanted.revision)
        .desired_count(wanted.desired)
        .capacity_provider_strategy(wanted.place.strategy()?)
        .network_configuration(wanted.place.network()?)
        .set_load_balancers(Some(balancers(wanted)))
        .set_health_check_grace_period_seconds(wanted.grace())
        .deployment_configuration(deployment_configuration())
        .enable_execute_command(wanted.exec)
        // ECS takes another strategy only with a new deployment, and has `exec` in new tasks alone.
        .force_new_deployment(
            of_service.iter().any(|field| ["capacity", "exec"].contains(&field.name.as_str())),
        )
        .send()
        .await;
    let doing = || format!("updating ECS service ({})", wanted.name);
    let updated = with_new_role(updated, doing)?.service;
    if of_service.iter().any(|field| field.name == "definition") {
        let deployed = [(DEPLOYED.to_owned(), wanted.deployed.clone())].into();
        retag(ecs, &arn, wanted, &deployed).await?;
    }
    updated.ok_or_else(|| Error::Failed(format!("{}: no service answered", doing())))
}

async fn retag(ecs: &Client, arn: &str, wanted: &Wanted, tags: &BTreeMap<String, String>) -> Result<()> {
    let put = ecs.tag_resource().resource_arn(arn).set_tags(Some(tag_list(tags))).send().await;
    put.doing(|| format!("tagging ECS service ({})", wanted.name))?;
    Ok(())
}

fn balancers(wanted: &Wanted) -> Vec<LoadBalancer> {
    let balancer = |(arn, port): (&String, &i32)| {
        LoadBalancer::builder()
            .target_group_arn(arn)
            .container_name(&wanted.container)
            .container_port(*port)
            .build()
    };
    wanted.targets.iter().map(balancer).collect()
}

/// Tasks that keep failing end a deployment, and the one before it comes back.
fn deployment_configuration() -> DeploymentConfiguration {
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(true).build();
    DeploymentConfiguration::builder().deployment_circuit_breaker(breaker).build()
}

/// Ends the run if the revision was deployed by it and isn't the primary one any more: ECS went back.
async fn refuse_again(ecs: &Client, found: &Service, wanted: &Wanted) -> Result<()> {
    let deployed = tags(found).get(DEPLOYED) == Some(&wanted.deployed);
    if !deployed || found.task_definition() == Some(&wanted.revision) {
        return Ok(());
    }
    let reason = stopped_reason(ecs, wanted).await?;
    Err(Error::Failed(format!(
        "deploying ECS service ({}): ECS went back to the revision before, since {}; mend that and upload the \
         spec again",
        wanted.name,
        reason.unwrap_or_else(|| "tasks of the new one didn't stay up".to_owned())
    )))
}

/// A deployment is done when the primary one is our revision, completed, with all its tasks running.
/// One that only scales is as old as its revision, so that a wait counts from this step's own beginning.
async fn ready(ecs: &Client, context: &Context, service: &Service, wanted: &Wanted) -> Result<()> {
    let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    let Some(primary) = primary else {
        return Err(Error::soon(format!("ECS service ({}) has no deployment yet", wanted.name)));
    };
    let state = primary.rollout_state();
    if state == Some(&DeploymentRolloutState::Failed) {
        let reason = stopped_reason(ecs, wanted).await?;
        return Err(Error::Failed(format!(
            "deploying ECS service ({}): {}; mend that and upload the spec again",
            wanted.name,
            reason.or_else(|| primary.rollout_state_reason().map(str::to_owned)).unwrap_or_default()
        )));
    }
    let all_run = service.running_count() == service.desired_count();
    if state == Some(&DeploymentRolloutState::Completed) && all_run {
        return Ok(());
    }
    let mut doing = format!(
        "ECS service ({}): {} of {} tasks run",
        wanted.name,
        primary.running_count(),
        service.desired_count()
    );
    if primary.failed_tasks() > 0
        && let Some(reason) = stopped_reason(ecs, wanted).await?
    {
        doing = format!("{doing}, and {} stopped: {reason}", primary.failed_tasks());
    }
    Err(Latency::of("ecs-service").wait(&doing, begun(primary)?.max(context.since)))
}

fn begun(deployment: &Deployment) -> Result<Timestamp> {
    let seconds = deployment.created_at().map(DateTime::secs).unwrap_or_default();
    Timestamp::from_second(seconds)
        .map_err(|error| Error::Failed(format!("reading when a deployment began: {error}")))
}

/// Why the newest task that stopped did.
async fn stopped_reason(ecs: &Client, wanted: &Wanted) -> Result<Option<String>> {
    let doing = || format!("looking at the stopped tasks of ECS service ({})", wanted.name);
    let listed = ecs
        .list_tasks()
        .cluster(&wanted.place.cluster)
        .service_name(&wanted.name)
        .desired_status(DesiredStatus::Stopped)
        .send()
        .await
        .doing(doing)?;
    if listed.task_arns().is_empty() {
        return Ok(None);
    }
    let described = ecs
        .describe_tasks()
        .cluster(&wanted.place.cluster)
        .set_tasks(listed.task_arns)
        .send()
        .await
        .doing(doing)?;
    let newest = described.tasks().iter().max_by_key(|task| task.stopped_at().map(DateTime::secs));
    Ok(newest.and_then(|task| task.stopped_reason()).map(str::to_owned))
}

/// Deletes our services that the spec doesn't mention, in whatever cluster they are; in a plan only
/// names them.
pub(crate) async fn delete_dropped(ecs: &Client, context: &Context) -> Result<Vec<Change>> {
    let services = &context.spec.services;
    let kept: BTreeSet<(String, String)> = services
        .iter()
        .map(|(key, service)| (context.cluster_name(), context.service_name(key, service)))
        .collect();
    let mut changes = Vec::new();
    let mut dropped = Vec::new();
    for (cluster, service) in ours(ecs, context).await? {
        let name = service.service_name().unwrap_or_default().to_owned();
        if kept.contains(&(cluster.clone(), name.clone())) {
            continue;
        }
        let owner = context.owner();
        let tags = tags(&service);
        changes.push(Change::delete(owner.address(&tags).unwrap_or_default()).with("name", &name));
        dropped.push((cluster, name, service));
    }
    if context.operation == Operation::Prune {
        side_by_side(dropped.iter().map(|(cluster, name, service)| delete(ecs, cluster, name, service)))
            .await?;
    }
    Ok(changes)
}

/// Every service that carries our tags, with its cluster's name.
async fn ours(ecs: &Client, context: &Context) -> Result<Vec<(String, Service)>> {
    let clusters: std::result::Result<Vec<String>, _> =
        ecs.list_clusters().into_paginator().items().send().collect().await;
    let mut ours = Vec::new();
    for arn in clusters.doing(|| "listing ECS clusters")? {
        let cluster = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let pages = ecs.list_services().cluster(&cluster).max_results(100).into_paginator().items().send();
        let listed: std::result::Result<Vec<String>, _> = pages.collect().await;
        let listed = listed
            .unless_absent(&["ClusterNotFoundException"], || format!("listing the services of {cluster}"))?;
        for arns in listed.unwrap_or_default().chunks(10) {
            let services = describe(ecs, &cluster, arns.to_vec()).await?;
            let owned = |service: &Service| context.owner().address(&tags(service)).is_some();
            ours.extend(services.into_iter().filter(owned).map(|service| (cluster.clone(), service)));
        }
    }
    Ok(ours)
}

/// Asks for the deletion, tasks and all, and waits until they have stopped: they hold interfaces.
async fn delete(ecs: &Client, cluster: &str, name: &str, service: &Service) -> Result<()> {
    let doing = || format!("deleting ECS service ({name})");
    if service.status() == Some("ACTIVE") {
        let deleted = ecs.delete_service().cluster(cluster).service(name).force(true).send().await;
        deleted.gone(&["ServiceNotFoundException", "ServiceNotActiveException"], &[], doing)?;
    }
    match describe(ecs, cluster, vec![name.to_owned()]).await?.first() {
        None => Ok(()),
        Some(left) => Err(Error::soon(format!(
            "ECS service ({name}) is draining, {} of its tasks still run",
            left.running_count()
        ))),
    }
}

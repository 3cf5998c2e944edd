//! ECS services.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::{
    Client,
    types::{
        AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, Deployment,
        DeploymentCircuitBreaker, DeploymentConfiguration, LoadBalancer, NetworkConfiguration, PropagateTags,
        Service, ServiceField, ServiceRegistry, Tag,
    },
};
use aws_sdk_elasticloadbalancingv2::{Client as Elb, types::TargetTypeEnum};
use spec::{Instances, Target};
use step::{
    Change, Context, Doing, Error, Field, Latency, Operation, Result, compare, missing_tags, side_by_side,
};
use task::{
    Place,
    follow::{DEPLOYED, Newest, REFUSED},
    task_definition::tag_list,
    with_new_role,
};

use crate::rollout;

/// How long a balancer's verdict on a new task is ignored where the spec doesn't say, in seconds.
const GRACE: i32 = 60;

/// The tag on a service that says which versions of secrets its tasks read.
const SECRETS: &str = "plinth:secrets";

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) revision: String,
    /// How many tasks it begins with, and has at least where that follows the load.
    initial: i32,
    /// How many it has; none where that follows the load.
    desired: Option<i32>,
    /// Whether it is to run none.
    pub(crate) paused: bool,
    /// The container's ports by the target group that sends to them.
    targets: BTreeMap<String, i32>,
    /// The ARN of its service in Cloud Map, where it has a name.
    registry: Option<String>,
    /// How long a balancer's verdict on a new task is ignored, in seconds.
    grace_period: i32,
    deployment: spec::Deployment,
    /// Whether tasks of a new revision have room only once old ones have stopped.
    crowded: bool,
    /// Whether commands can be run in its containers.
    exec: bool,
    container: String,
    tags: BTreeMap<String, String>,
    deployed: String,
    /// The versions of the secrets that its tasks read; none if they read none, or it is to run none.
    secrets: Option<String>,
}

impl Wanted {
    /// Only a service behind a balancer has one.
    fn grace(&self) -> Option<i32> {
        (!self.targets.is_empty()).then_some(self.grace_period)
    }

    /// The tags that say what is deployed.
    fn of_deployment(&self) -> BTreeMap<String, String> {
        let deployed = (DEPLOYED.to_owned(), self.deployed.clone());
        let secrets = self.secrets.clone().map(|secrets| (SECRETS.to_owned(), secrets));
        std::iter::once(deployed).chain(secrets).collect()
    }
}

pub(crate) fn wanted(
    context: &Context,
    key: &str,
    service: &spec::Service,
    revision: &str,
    registry: Option<String>,
    secrets: Option<String>,
) -> Result<Wanted> {
    let address = format!("services.{key}");
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let paused = context.run.paused;
    let number = revision.rsplit(':').next().unwrap_or_default();
    Ok(Wanted {
        name: context.service_name(key, service),
        place: Place::of(context, service.placement, service.network_mode)?,
        revision: revision.to_owned(),
        initial: if paused { 0 } else { count(service.initial()) },
        desired: if paused { Some(0) } else { service.scale.is_none().then(|| count(service.desired())) },
        paused,
        targets: targets(context, key)?,
        registry,
        deployment: deployment(context, service),
        crowded: deployment(context, service) != service.deployment,
        grace_period: service
            .grace_period
            .map_or(GRACE, |period| i32::try_from(period.seconds()).unwrap_or(i32::MAX)),
        exec: service.exec,
        container: key.to_owned(),
        tags: context.tags(&address),
        deployed: format!("{number} {}", context.run.id),
        secrets,
        address,
    })
}

/// How tasks of a new revision take the place of those before. A port of an instance is one task's: where each instance
/// that there may be has a task, one of these stops first.
fn deployment(context: &Context, service: &spec::Service) -> spec::Deployment {
    let cluster = context.spec.cluster.as_ref();
    let most = cluster.and_then(|cluster| cluster.instances.as_ref()).map_or(u32::MAX, Instances::most);
    let tasks = service.scale.map_or(service.desired(), |scale| scale.max);
    if service.host_ports.is_empty() || tasks < most {
        return service.deployment;
    }
    let spare = u16::try_from((most - 1) * 100 / tasks).unwrap_or_default();
    spec::Deployment { minimum: service.deployment.minimum.min(spare), ..service.deployment }
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

impl Wanted {
    /// The same, registered also where it is registered now: traffic leaves the groups it no longer belongs to once it
    /// is steady in the others. `prune` takes it out of them.
    pub(crate) async fn beside(mut self, elb: &Elb, found: &Service, ports: &[u16]) -> Result<Self> {
        let old = registered(found).into_iter().filter(|(arn, _)| !self.targets.contains_key(arn));
        let old: Vec<(String, i32)> = old.collect();
        for (arn, port) in old.into_iter().take(MOST_GROUPS.saturating_sub(self.targets.len())) {
            if !is_in_use(elb, &arn, self.place.network.is_some()).await? {
                continue;
            }
            // The containers of the new revision may no longer have the port of the old one.
            let same = ports.iter().any(|known| i32::from(*known) == port).then_some(port);
            let port =
                same.or(self.targets.values().next().copied()).or(ports.first().map(|port| (*port).into()));
            self.targets.extend(port.map(|port| (arn, port)));
        }
        Ok(self)
    }
}

/// How many target groups ECS lets a service have.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/register-multiple-targetgroups.html>
const MOST_GROUPS: usize = 5;

/// Whether a target group hangs on a balancer, and takes tasks of this kind.
async fn is_in_use(elb: &Elb, arn: &str, with_address: bool) -> Result<bool> {
    let described = elb.describe_target_groups().target_group_arns(arn).send().await;
    let described =
        described.unless_absent(&["TargetGroupNotFound"], || format!("describing target group ({arn})"))?;
    let groups = described.and_then(|answer| answer.target_groups).unwrap_or_default();
    let kind = if with_address { TargetTypeEnum::Ip } else { TargetTypeEnum::Instance };
    Ok(groups.iter().any(|group| {
        !group.load_balancer_arns().is_empty() && group.target_type().is_none_or(|found| *found == kind)
    }))
}

/// Takes the services of the spec out of the target groups that are no longer theirs, and waits until their tasks have
/// been replaced.
pub(crate) async fn leave_groups(ecs: &Client, context: &Context, ours: &[(String, Service)]) -> Result<()> {
    let one = async |(cluster, found): &(String, Service)| {
        let name = found.service_name().unwrap_or_default();
        let mut services = context.spec.services.iter();
        let Some((key, _)) = services.find(|(key, service)| context.service_name(key, service) == name)
        else {
            return Ok(());
        };
        let wanted = targets(context, key)?;
        if registered(found) != wanted {
            let update = ecs.update_service().cluster(cluster).service(name);
            let update = update.set_load_balancers(Some(balancers(key, &wanted))).send().await;
            update.doing(|| format!("taking ECS service ({name}) out of its old target groups"))?;
        } else if context.run.paused || rollout::is_completed(found) {
            return Ok(());
        }
        let doing = format!("ECS service ({name}) is leaving its old target groups");
        Err(Latency::of("ecs-service").wait(&doing, context.since))
    };
    let here = ours.iter().filter(|(cluster, _)| *cluster == context.cluster_name());
    side_by_side(here.map(one)).await?;
    Ok(())
}

/// Makes the service, found or not, be what the spec says, and answers it as it then is.
pub(crate) async fn ensure(ecs: &Client, found: Option<Service>, wanted: &Wanted) -> Result<Service> {
    let Some(found) = found else { return create(ecs, wanted).await };
    refuse_again(ecs, &found, wanted).await?;
    update(ecs, found, wanted).await
}

pub(crate) fn plan(found: Option<&Service>, wanted: &Wanted, newest: Option<&Newest>) -> Option<Change> {
    let Some(found) = found else {
        return Some(
            Change::create(&wanted.address).with("name", &wanted.name).with("desired", wanted.initial),
        );
    };
    let unremembered = newest.filter(|newest| newest.unremembered).and_then(|newest| newest.refused.as_ref());
    let refused = unremembered.map(|refused| Field {
        name: "refused".to_owned(),
        found: tags(found).remove(REFUSED),
        wanted: refused.tag(),
    });
    let fields = difference(found, wanted);
    let downtime = downtime(found, wanted, &fields);
    Change::update(&wanted.address, fields.into_iter().chain(downtime).chain(refused).collect())
}

/// How long nothing serves, where ECS may stop all tasks before new ones run.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>
fn downtime(found: &Service, wanted: &Wanted, fields: &[Field]) -> Option<Field> {
    let stops = wanted.deployment.minimum == 0 && found.running_count() > 0 && !wanted.paused;
    let why = if wanted.crowded {
        "each instance that `cluster.instances.max` allows has a task on the same of its `hostPorts`, so that an old one \
         stops before a new one runs"
    } else {
        "with `deployment.minimum: 0` ECS stops the old tasks before new ones run"
    };
    (stops && fields.iter().any(deploys)).then(|| Field {
        name: "downtime".to_owned(),
        found: None,
        wanted: format!("is down for {}: {why}", Latency::of("ecs-service").told()),
    })
}

/// Remembers what was rolled back, and ends the run that deployed it: what runs stays, and what was rolled back
/// isn't tried again.
pub(crate) async fn refuse(ecs: &Client, context: &Context, found: &Service, newest: &Newest) -> Result<()> {
    let Some(refused) = &newest.refused else { return Ok(()) };
    let name = found.service_name().unwrap_or_default();
    let runs = found.task_definition().unwrap_or_default();
    let (family, number) = runs.rsplit_once(':').unwrap_or_default();
    if newest.unremembered {
        let tags = [
            (REFUSED.to_owned(), refused.tag()),
            // What runs is what was deployed, as far as later runs are concerned.
            (DEPLOYED.to_owned(), format!("{number} {}", refused.run)),
        ];
        retag(ecs, found.service_arn().unwrap_or_default(), name, &tags.into()).await?;
    }
    if refused.run != context.run.id {
        return Ok(());
    }
    let revision = format!("{family}:{}", refused.revision);
    let cluster = found.cluster_arn().unwrap_or_default();
    let reason = match rollout::stopped_reason(ecs, cluster, name, &revision).await? {
        Some(reason) => Some(reason),
        None => rollout::reason(found, &revision),
    };
    let image = newest.passed_over.as_ref().map_or_else(|| "its image".to_owned(), Clone::clone);
    Err(Error::Failed(format!(
        "deploying ECS service ({name}): ECS went back to the revision before, since {}; {}; {image} isn't tried again: \
         mend it and push a newer one",
        reason.unwrap_or_else(|| "tasks of the new one didn't stay up".to_owned()),
        rollout::before(found, &revision)
    )))
}

/// A deleted service lingers as INACTIVE and is absent; one that drains still holds its name.
pub(crate) async fn find(
    ecs: &Client,
    context: &Context,
    key: &str,
    service: &spec::Service,
) -> Result<Option<Service>> {
    let name = context.service_name(key, service);
    let found = describe(ecs, &context.cluster_name(), vec![name.clone()]).await?;
    let Some(service) = found.into_iter().next() else { return Ok(None) };
    context.owner().check(&format!("ECS service ({name})"), &tags(&service))?;
    if service.status() == Some("DRAINING") && context.operation != Operation::Plan {
        return Err(Error::soon(format!("ECS service ({name}) is draining before it can be made anew")));
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
    let number = |field: &str, found: Option<i32>, wanted: u16| {
        compare(field, found.unwrap_or_default(), i32::from(wanted))
    };
    let configuration = found.deployment_configuration();
    let breaker = configuration.and_then(DeploymentConfiguration::deployment_circuit_breaker);
    let least = configuration.and_then(DeploymentConfiguration::minimum_healthy_percent);
    let most = configuration.and_then(DeploymentConfiguration::maximum_percent);
    let grace = found.health_check_grace_period_seconds().unwrap_or_default();
    [
        compare("definition", found.task_definition().unwrap_or("none"), wanted.revision.as_str()),
        desired(found, wanted).and_then(|desired| compare("desired", found.desired_count(), desired)),
        other_capacity(found, wanted),
        given_up(found, wanted),
        other_secrets(found, wanted),
        compare("targets", ports(&registered(found)), ports(&wanted.targets)),
        compare("discovery", registries(found), wanted.registry.clone().unwrap_or("none".to_owned())),
        wanted.grace().and_then(|wanted| compare("gracePeriod", grace, wanted)),
        compare("circuitBreaker", breaker.is_some_and(DeploymentCircuitBreaker::enable), true),
        number("deployment.minimum", least, wanted.deployment.minimum),
        number("deployment.maximum", most, wanted.deployment.maximum),
        compare(
            "deployment.rollback",
            breaker.is_some_and(DeploymentCircuitBreaker::rollback),
            wanted.deployment.rollback,
        ),
        compare("exec", found.enable_execute_command(), wanted.exec),
    ]
    .into_iter()
    .flatten()
    .chain(other_network(found, wanted))
    .chain(missing_tags(&tags(found), &wanted.tags))
    .collect()
}

/// How many tasks the service is to have now. What scales it brings it back from below its least only with the
/// next alarm, and of no tasks at all there is no load to raise one.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-auto-scaling.html>
fn desired(found: &Service, wanted: &Wanted) -> Option<i32> {
    wanted.desired.or((found.desired_count() < wanted.initial).then_some(wanted.initial))
}

/// Of a deployment that failed ECS starts no more tasks, and of one whose tasks keep stopping ever more rarely:
/// each run tries once more.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html>
fn given_up(found: &Service, wanted: &Wanted) -> Option<Field> {
    let failed = rollout::has_failed(found);
    let tried = tags(found).get(DEPLOYED) == Some(&wanted.deployed);
    (failed && !tried && !wanted.paused).then(|| Field {
        name: "deployment".to_owned(),
        found: Some("failed".to_owned()),
        wanted: "another try".to_owned(),
    })
}

/// ECS reads secrets when a task starts: tasks have another version only after another deployment.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html>
fn other_secrets(found: &Service, wanted: &Wanted) -> Option<Field> {
    let had = tags(found).remove(SECRETS).unwrap_or_else(|| "none".to_owned());
    wanted.secrets.as_ref().and_then(|secrets| compare("secrets", had, secrets.clone()))
}

/// What capacity a service on somebody else's instances has is theirs, unless it is Fargate's.
fn other_capacity(found: &Service, wanted: &Wanted) -> Option<Field> {
    let providers =
        found.capacity_provider_strategy().iter().map(CapacityProviderStrategyItem::capacity_provider);
    let providers: Vec<&str> = providers.collect();
    let found = if providers.is_empty() { "none".to_owned() } else { providers.join(", ") };
    match &wanted.place.provider {
        Some(provider) => compare("capacity", found, provider.clone()),
        None => found.starts_with("FARGATE").then(|| Field {
            name: "capacity".to_owned(),
            found: Some(found),
            wanted: "the cluster's own".to_owned(),
        }),
    }
}

fn other_network(found: &Service, wanted: &Wanted) -> Vec<Field> {
    let Some(wanted) = &wanted.place.network else { return Vec::new() };
    let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
    let network = found.network_configuration().and_then(NetworkConfiguration::awsvpc_configuration);
    let subnets = network.map(|network| network.subnets().iter().cloned().collect()).unwrap_or_default();
    let groups = network.map(|network| network.security_groups().join(", ")).unwrap_or_default();
    let public = network.and_then(AwsVpcConfiguration::assign_public_ip) == Some(&AssignPublicIp::Enabled);
    [
        compare("subnets", list(&subnets), list(&wanted.subnets)),
        compare("securityGroups", groups, wanted.group.clone()),
        compare("publicAddress", public, wanted.public.unwrap_or_default()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The ARNs of the services in Cloud Map that its tasks are registered with.
fn registries(found: &Service) -> String {
    let arns: Vec<&str> =
        found.service_registries().iter().filter_map(ServiceRegistry::registry_arn).collect();
    if arns.is_empty() { "none".to_owned() } else { arns.join(", ") }
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
    tags.extend(wanted.of_deployment());
    let created = ecs
        .create_service()
        .cluster(&wanted.place.cluster)
        .service_name(&wanted.name)
        .task_definition(&wanted.revision)
        .desired_count(wanted.initial)
        .set_capacity_provider_strategy(wanted.place.strategy()?)
        .set_network_configuration(wanted.place.network()?)
        .set_load_balancers(Some(balancers(&wanted.container, &wanted.targets)))
        .set_service_registries(wanted.registry.as_ref().map(|arn| vec![registry(arn)]))
        .set_health_check_grace_period_seconds(wanted.grace())
        .deployment_configuration(deployment_configuration(wanted))
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
        retag(ecs, &arn, &wanted.name, &wanted.tags).await?;
    }
    if of_service.is_empty() {
        return Ok(found);
    }
    let differs = |name: &str| of_service.iter().any(|field| field.name == name);
    // An empty strategy takes a service back from a provider.
    let left = differs("capacity").then(Vec::new);
    let registries = || wanted.registry.iter().map(|arn| registry(arn)).collect();
    let desired = desired(&found, wanted);
    let updated = ecs
        .update_service()
        .cluster(&wanted.place.cluster)
        .service(&wanted.name)
        .task_definition(&wanted.revision)
        .set_desired_count(desired)
        .set_capacity_provider_strategy(wanted.place.strategy()?.or(left))
        .set_network_configuration(wanted.place.network()?)
        .set_load_balancers(Some(balancers(&wanted.container, &wanted.targets)))
        .set_service_registries(differs("discovery").then(registries))
        .set_health_check_grace_period_seconds(wanted.grace())
        .deployment_configuration(deployment_configuration(wanted))
        .enable_execute_command(wanted.exec)
        // ECS takes another strategy only with a new deployment, and has `exec` and secrets in new tasks alone.
        .force_new_deployment(["capacity", "exec", "deployment", "secrets"].into_iter().any(differs))
        .send()
        .await;
    let doing = || format!("updating ECS service ({})", wanted.name);
    let updated = with_new_role(updated, doing)?.service;
    if of_service.iter().any(deploys) {
        retag(ecs, &arn, &wanted.name, &wanted.of_deployment()).await?;
    }
    updated.ok_or_else(|| Error::Failed(format!("{}: no service answered", doing())))
}

/// Whether ECS starts a deployment for the sake of this field.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html>
fn deploys(field: &Field) -> bool {
    let settings = ["desired", "gracePeriod", "circuitBreaker"];
    !settings.contains(&field.name.as_str())
        && !field.name.starts_with("deployment.")
        && !field.name.starts_with("tags.")
}

async fn retag(ecs: &Client, arn: &str, name: &str, tags: &BTreeMap<String, String>) -> Result<()> {
    let put = ecs.tag_resource().resource_arn(arn).set_tags(Some(tag_list(tags))).send().await;
    put.doing(|| format!("tagging ECS service ({name})"))?;
    Ok(())
}

fn balancers(container: &str, targets: &BTreeMap<String, i32>) -> Vec<LoadBalancer> {
    let balancer = |(arn, port): (&String, &i32)| {
        LoadBalancer::builder().target_group_arn(arn).container_name(container).container_port(*port).build()
    };
    targets.iter().map(balancer).collect()
}

/// A task whose address is its own is registered by that alone.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRegistry.html>
fn registry(arn: &str) -> ServiceRegistry {
    ServiceRegistry::builder().registry_arn(arn).build()
}

/// Tasks that keep failing end a deployment.
fn deployment_configuration(wanted: &Wanted) -> DeploymentConfiguration {
    let spec::Deployment { minimum, maximum, rollback } = wanted.deployment;
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(rollback).build();
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(minimum.into())
        .maximum_percent(maximum.into())
        .deployment_circuit_breaker(breaker)
        .build()
}

/// Ends the run if the service was changed by it and isn't so any more: ECS went back to the revision before, with
/// its balancers, network and capacity.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-revision.html>
async fn refuse_again(ecs: &Client, found: &Service, wanted: &Wanted) -> Result<()> {
    let deployed = tags(found).get(DEPLOYED) == Some(&wanted.deployed);
    // A secret that got another value meanwhile is deployed too.
    let went_back = |field: &Field| deploys(field) && field.name != "secrets";
    if wanted.paused || !deployed || !difference(found, wanted).iter().any(went_back) {
        return Ok(());
    }
    let reason = rollout::stopped_reason(ecs, &wanted.place.cluster, &wanted.name, &wanted.revision).await?;
    Err(Error::Failed(format!(
        "deploying ECS service ({}): ECS went back to the revision before, since {}; {}; mend that and upload \
         the spec again",
        wanted.name,
        reason.unwrap_or_else(|| "tasks of the new one didn't stay up".to_owned()),
        rollout::before(found, &wanted.revision)
    )))
}

/// A service of ours that the spec doesn't mention.
pub(crate) struct Dropped {
    /// Its cluster's name.
    pub(crate) cluster: String,
    /// Its own.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: String,
    aws: Service,
}

/// Those of our services that the spec doesn't mention, in whatever cluster they are.
pub(crate) fn dropped(context: &Context, ours: Vec<(String, Service)>) -> Vec<Dropped> {
    let services = &context.spec.services;
    let kept: BTreeSet<(String, String)> = services
        .iter()
        .map(|(key, service)| (context.cluster_name(), context.service_name(key, service)))
        .collect();
    let dropped = ours.into_iter().map(|(cluster, aws)| Dropped {
        cluster,
        name: aws.service_name().unwrap_or_default().to_owned(),
        address: context.owner().address(&tags(&aws)).unwrap_or_default().to_owned(),
        aws,
    });
    dropped.filter(|found| !kept.contains(&(found.cluster.clone(), found.name.clone()))).collect()
}

/// The revisions that services have, and those that their deployments still have.
pub(crate) fn revisions(ours: &[(String, Service)]) -> BTreeSet<String> {
    let of = |service: &Service| -> Vec<String> {
        let deployed = service.deployments().iter().filter_map(Deployment::task_definition);
        deployed.chain(service.task_definition()).map(str::to_owned).collect()
    };
    ours.iter().flat_map(|(_, service)| of(service)).collect()
}

/// Deletes the services; in a plan only names them.
pub(crate) async fn delete_dropped(
    ecs: &Client,
    context: &Context,
    dropped: &[Dropped],
) -> Result<Vec<Change>> {
    if context.operation == Operation::Prune {
        side_by_side(dropped.iter().map(|service| delete(ecs, service))).await?;
    }
    Ok(dropped.iter().map(|service| Change::delete(&service.address).with("name", &service.name)).collect())
}

/// Every service that carries our tags, with its cluster's name.
pub(crate) async fn ours(ecs: &Client, context: &Context) -> Result<Vec<(String, Service)>> {
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
async fn delete(ecs: &Client, service: &Dropped) -> Result<()> {
    let Dropped { cluster, name, aws, .. } = service;
    let doing = || format!("deleting ECS service ({name})");
    if aws.status() == Some("ACTIVE") {
        let deleted = ecs.delete_service().cluster(cluster).service(name).force(true).send().await;
        deleted.gone(&["ServiceNotFoundException", "ServiceNotActiveException"], &[], doing)?;
    }
    match describe(ecs, cluster, vec![name.clone()]).await?.first() {
        None => Ok(()),
        Some(left) => Err(Error::soon(format!(
            "ECS service ({name}) is draining, {} of its tasks still run",
            left.running_count()
        ))),
    }
}

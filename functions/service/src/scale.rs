//! How many tasks a service runs, where that follows the load: a scalable target in Application Auto Scaling,
//! with a policy for each number that is to be held.
//!
//! A service has at most one, which is owned through it; it carries the owner's tags too.
//! Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html>

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_applicationautoscaling::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalableTarget,
        ScalingPolicy, ServiceNamespace, SuspendedState, TargetTrackingScalingPolicyConfiguration,
    },
};
use spec::Service;
use step::{Change, Context, Doing, Error, Field, Operation, Result, UNKNOWN, compare, cut, missing_tags};

use crate::service::Dropped;

/// The longest name of a policy.
const LIMIT: usize = 256;

/// How many resources are asked for at once.
/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html>
const AT_ONCE: usize = 50;

/// The scalable targets that there are, by resource: `service/<cluster>/<service>`.
pub(crate) type Targets = BTreeMap<String, ScalableTarget>;

/// What the spec asks for.
pub(crate) struct Wanted {
    address: String,
    resource: String,
    min: i32,
    max: i32,
    /// Whether nothing scales it for now.
    suspended: bool,
    policies: Vec<WantedPolicy>,
    tags: BTreeMap<String, String>,
}

/// A policy, which is there if the spec says what it holds.
struct WantedPolicy {
    /// Its name in the spec.
    field: &'static str,
    name: String,
    policy: Option<Policy>,
}

/// What a policy holds.
#[derive(Debug, Clone, PartialEq)]
struct Policy {
    metric: MetricType,
    target: f64,
    /// The target group whose requests are counted.
    label: Option<String>,
    /// Whether it also takes tasks away.
    both_ways: bool,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.metric.as_str(), self.target)?;
        if let Some(label) = &self.label {
            write!(f, " of {label}")?;
        }
        if self.both_ways { Ok(()) } else { write!(f, ", never fewer") }
    }
}

/// What the spec asks for; none if it says how many tasks there are.
pub(crate) fn wanted(context: &Context, key: &str, service: &Service) -> Result<Option<Wanted>> {
    let Some(scale) = &service.scale else { return Ok(None) };
    let address = address(&format!("services.{key}"));
    let called = context.service_name(key, service);
    let policy = |field: &'static str, metric: MetricType, target: Option<f64>, label: Option<String>| {
        let policy = target.map(|target| Policy { metric, target, label, both_ways: true });
        WantedPolicy { field, name: cut(&format!("{called}-{field}"), LIMIT), policy }
    };
    let label = scale.requests.map(|_| label(context, key)).transpose()?;
    let policies = vec![
        policy("cpu", MetricType::EcsServiceAverageCpuUtilization, scale.cpu.map(f64::from), None),
        policy("memory", MetricType::EcsServiceAverageMemoryUtilization, scale.memory.map(f64::from), None),
        policy("requests", MetricType::AlbRequestCountPerTarget, scale.requests.map(f64::from), label),
    ];
    Ok(Some(Wanted {
        resource: resource(&context.cluster_name(), &called),
        min: if context.run.paused { 0 } else { count(scale.min) },
        suspended: context.run.paused,
        max: count(scale.max),
        policies,
        tags: context.tags(&address),
        address,
    }))
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn address(service: &str) -> String {
    format!("{service}.scale")
}

/// A service as Application Auto Scaling calls it.
pub(crate) fn resource(cluster: &str, service: &str) -> String {
    format!("service/{cluster}/{service}")
}

/// The target group at which requests are counted: "app/<balancer>/<id>/targetgroup/<target group>/<id>".
/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html>
fn label(context: &Context, key: &str) -> Result<String> {
    let targets = spec::targets(&context.spec);
    let target = targets
        .into_iter()
        .find(|target| target.http && target.service().is_some_and(|(service, _)| service == key));
    let target = context.known(target.as_ref(), &format!("the target group of services.{key}"))?;
    let balancer = context.outputs.load_balancers.get(&target.balancer);
    let balancer = context.known(balancer, &format!("loadBalancers.{}", target.balancer))?;
    let group = context.known(balancer.targets.get(&target.word()), &target.address())?;
    let of_balancer = balancer.arn.split_once(":loadbalancer/");
    let of_group = group.rsplit_once(':');
    Ok(match (of_balancer, of_group) {
        (Some((_, balancer)), Some((_, group))) => format!("{balancer}/{group}"),
        _ => UNKNOWN.to_owned(),
    })
}

/// Looks once for all services of this pass.
pub(crate) async fn targets(scaling: &Client, context: &Context) -> Result<Targets> {
    let cluster = context.cluster_name();
    let services = context.services();
    let resources = services.map(|(key, service)| resource(&cluster, &context.service_name(key, service)));
    describe(scaling, resources.collect()).await
}

async fn describe(scaling: &Client, resources: Vec<String>) -> Result<Targets> {
    let mut targets = Targets::new();
    for resources in resources.chunks(AT_ONCE) {
        let pages = scaling
            .describe_scalable_targets()
            .service_namespace(ServiceNamespace::Ecs)
            .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
            .set_resource_ids(Some(resources.to_vec()))
            .into_paginator()
            .items()
            .send();
        let all: std::result::Result<Vec<_>, _> = pages.collect().await;
        let all = all.doing(|| format!("describing scalable targets ({})", resources.join(", ")))?;
        targets.extend(all.into_iter().map(|target| (target.resource_id.clone(), target)));
    }
    Ok(targets)
}

/// A scalable target with its policies and its tags.
struct Found {
    min: i32,
    max: i32,
    suspended: bool,
    arn: String,
    /// By name.
    policies: BTreeMap<String, Option<Policy>>,
    tags: BTreeMap<String, String>,
}

async fn find(scaling: &Client, target: &ScalableTarget, wanted: &Wanted) -> Result<Found> {
    let pages = scaling
        .describe_scaling_policies()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(&wanted.resource)
        .into_paginator()
        .items()
        .send();
    let policies: std::result::Result<Vec<_>, _> = pages.collect().await;
    let policies = policies.doing(|| format!("describing the scaling policies of {}", wanted.resource))?;
    let arn = target.scalable_target_arn().unwrap_or_default().to_owned();
    let listed = scaling.list_tags_for_resource().resource_arn(&arn).send().await;
    let listed = listed.unless_absent(&["ResourceNotFoundException"], || {
        format!("reading the tags of scalable target ({})", wanted.resource)
    })?;
    Ok(Found {
        min: target.min_capacity(),
        max: target.max_capacity(),
        suspended: target.suspended_state().is_some_and(is_suspended),
        arn,
        policies: policies.iter().map(|found| (found.policy_name().to_owned(), policy(found))).collect(),
        tags: listed.and_then(|answer| answer.tags).unwrap_or_default().into_iter().collect(),
    })
}

/// Whether anything of what scales a target is suspended.
fn is_suspended(state: &SuspendedState) -> bool {
    [
        state.dynamic_scaling_in_suspended,
        state.dynamic_scaling_out_suspended,
        state.scheduled_scaling_suspended,
    ]
    .contains(&Some(true))
}

/// What a policy holds; none if it is of another kind than ours.
fn policy(found: &ScalingPolicy) -> Option<Policy> {
    let tracking = found.target_tracking_scaling_policy_configuration()?;
    let metric = tracking.predefined_metric_specification()?;
    Some(Policy {
        metric: metric.predefined_metric_type().clone(),
        target: tracking.target_value(),
        label: metric.resource_label().map(str::to_owned),
        both_ways: tracking.disable_scale_in() != Some(true),
    })
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let shown = |policy: Option<&Option<Policy>>| match policy {
        None => "none".to_owned(),
        Some(None) => "another policy".to_owned(),
        Some(Some(policy)) => policy.to_string(),
    };
    let of_spec = wanted.policies.iter().filter_map(|wanted| {
        let policy = wanted.policy.as_ref().map_or("none".to_owned(), Policy::to_string);
        compare(wanted.field, shown(found.policies.get(&wanted.name)), policy)
    });
    let others = others(found, wanted).into_iter().filter_map(|name| {
        compare(&format!("policies.{name}"), shown(found.policies.get(name)), "none".to_owned())
    });
    let of_target = [
        compare("min", found.min, wanted.min),
        compare("max", found.max, wanted.max),
        compare("suspended", found.suspended, wanted.suspended),
    ];
    of_target
        .into_iter()
        .flatten()
        .chain(of_spec)
        .chain(others)
        .chain(missing_tags(&found.tags, &wanted.tags))
        .collect()
}

/// The names of policies that the spec has no word for.
fn others<'a>(found: &'a Found, wanted: &Wanted) -> Vec<&'a String> {
    let known: BTreeSet<&String> = wanted.policies.iter().map(|policy| &policy.name).collect();
    found.policies.keys().filter(|name| !known.contains(name)).collect()
}

/// Makes the scalable target of a service that is there be what the spec says.
pub(crate) async fn ensure(scaling: &Client, targets: &Targets, wanted: &Wanted) -> Result<()> {
    let Some(target) = targets.get(&wanted.resource) else {
        register(scaling, wanted, true).await?;
        for policy in &wanted.policies {
            put(scaling, wanted, policy).await?;
        }
        return Ok(());
    };
    let found = find(scaling, target, wanted).await?;
    let fields = difference(&found, wanted);
    let differs = |name: &str| fields.iter().any(|field| field.name == name);
    if ["min", "max", "suspended"].into_iter().any(differs) {
        register(scaling, wanted, false).await?;
    }
    if fields.iter().any(|field| field.name.starts_with("tags.")) {
        let tags = wanted.tags.clone().into_iter().collect();
        let put = scaling.tag_resource().resource_arn(&found.arn).set_tags(Some(tags)).send().await;
        put.doing(|| format!("tagging scalable target ({})", wanted.resource))?;
    }
    for policy in wanted.policies.iter().filter(|policy| differs(policy.field)) {
        if policy.policy.is_some() {
            put(scaling, wanted, policy).await?;
        } else {
            delete(scaling, wanted, &policy.name).await?;
        }
    }
    for name in others(&found, wanted) {
        delete(scaling, wanted, name).await?;
    }
    Ok(())
}

/// What `ensure`, or `remove`, would change.
pub(crate) async fn plan(
    scaling: &Client,
    context: &Context,
    targets: &Targets,
    key: &str,
    service: &Service,
) -> Result<Option<Change>> {
    let Some(wanted) = wanted(context, key, service)? else {
        let resource = resource(&context.cluster_name(), &context.service_name(key, service));
        let address = address(&format!("services.{key}"));
        return Ok(targets.contains_key(&resource).then(|| Change::delete(address)));
    };
    let Some(target) = targets.get(&wanted.resource) else {
        let create = Change::create(&wanted.address).with("min", wanted.min).with("max", wanted.max);
        return Ok(Some(create));
    };
    let found = find(scaling, target, &wanted).await?;
    Ok(Change::update(&wanted.address, difference(&found, &wanted)))
}

/// Tags are taken when a target is new, and refused when it isn't. What is suspended stays so until it is told
/// otherwise.
/// Source: <https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html>
/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html>
async fn register(scaling: &Client, wanted: &Wanted, new: bool) -> Result<()> {
    let registered = scaling
        .register_scalable_target()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(&wanted.resource)
        .min_capacity(wanted.min)
        .max_capacity(wanted.max)
        .set_suspended_state((!new || wanted.suspended).then(|| suspended(wanted.suspended)))
        .set_tags(new.then(|| wanted.tags.clone().into_iter().collect()))
        .send()
        .await;
    settled(registered, || format!("registering scalable target ({})", wanted.resource))?;
    Ok(())
}

fn suspended(all: bool) -> SuspendedState {
    SuspendedState::builder()
        .dynamic_scaling_in_suspended(all)
        .dynamic_scaling_out_suspended(all)
        .scheduled_scaling_suspended(all)
        .build()
}

/// A policy that the spec doesn't want isn't put.
async fn put(scaling: &Client, wanted: &Wanted, policy: &WantedPolicy) -> Result<()> {
    let WantedPolicy { name, policy: Some(policy), .. } = policy else { return Ok(()) };
    let broken = |error| Error::Failed(format!("writing a scaling policy: {error}"));
    let metric = PredefinedMetricSpecification::builder()
        .predefined_metric_type(policy.metric.clone())
        .set_resource_label(policy.label.clone())
        .build()
        .map_err(broken)?;
    let tracking = TargetTrackingScalingPolicyConfiguration::builder()
        .target_value(policy.target)
        .predefined_metric_specification(metric)
        .disable_scale_in(!policy.both_ways)
        .build()
        .map_err(broken)?;
    let put = scaling
        .put_scaling_policy()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(&wanted.resource)
        .policy_name(name)
        .policy_type(PolicyType::TargetTrackingScaling)
        .target_tracking_scaling_policy_configuration(tracking)
        .send()
        .await;
    settled(put, || format!("putting scaling policy ({name})"))?;
    Ok(())
}

async fn delete(scaling: &Client, wanted: &Wanted, name: &str) -> Result<()> {
    let deleted = scaling
        .delete_scaling_policy()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(&wanted.resource)
        .policy_name(name)
        .send()
        .await;
    deleted.gone(&["ObjectNotFoundException"], &["ConcurrentUpdateException"], || {
        format!("deleting scaling policy ({name})")
    })
}

/// Leaves the number of a service's tasks alone from now on; policies and alarms go with the target.
/// Source: <https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DeregisterScalableTarget.html>
pub(crate) async fn remove(scaling: &Client, targets: &Targets, resource: &str) -> Result<()> {
    if !targets.contains_key(resource) {
        return Ok(());
    }
    let removed = scaling
        .deregister_scalable_target()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(resource)
        .send()
        .await;
    removed.gone(&["ObjectNotFoundException"], &["ConcurrentUpdateException"], || {
        format!("deregistering scalable target ({resource})")
    })
}

/// What is there moments after it was made: a service, a target, the tags of one.
fn settled<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    doing: impl FnOnce() -> String,
) -> Result<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = answer.as_ref().err();
    let code = error.and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let message = error.and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let soon = EARLY.contains(&code)
        || code == "ValidationException" && SOON.iter().any(|part| message.contains(part));
    if soon {
        return Err(Error::soon(format!("{}: {code}: {message}", doing())));
    }
    answer.doing(doing)
}

/// What Application Auto Scaling answers meanwhile. Its own role, made with the account's first target, can't
/// look at alarms for a moment.
const EARLY: [&str; 3] =
    ["ConcurrentUpdateException", "ObjectNotFoundException", "FailedResourceAccessException"];

/// What Application Auto Scaling says of a service that it doesn't see yet, of a target that the call before,
/// whose answer was lost, has made, and of its own role that was just made.
const SOON: [&str; 3] =
    ["ECS service doesn't exist", "you tried to tag already exists", "Unable to assume IAM role"];

/// Removes the targets of services that go, before they do; in a plan only names them.
pub(crate) async fn delete_dropped(
    scaling: &Client,
    context: &Context,
    dropped: &[Dropped],
) -> Result<Vec<Change>> {
    let resources = dropped.iter().map(|service| resource(&service.cluster, &service.name));
    let targets = describe(scaling, resources.collect()).await?;
    let mut changes = Vec::new();
    for service in dropped {
        let resource = resource(&service.cluster, &service.name);
        if !targets.contains_key(&resource) {
            continue;
        }
        changes.push(Change::delete(address(&service.address)));
        if context.operation == Operation::Prune {
            remove(scaling, &targets, &resource).await?;
        }
    }
    Ok(changes)
}

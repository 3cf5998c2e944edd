//! Target groups: one for each port of a service that a balancer sends to.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{Matcher, ProtocolEnum, TargetGroup, TargetTypeEnum},
};
use spec::{NetworkMode, Service, Target};
use step::{
    Change, Context, Doing, Error, Field, Result, UNKNOWN, compare, missing_tags, name_of, side_by_side,
};

use crate::balancer::{self, Identity};

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// See [`Target::word`].
    pub(crate) word: String,
    pub(crate) name: String,
    /// What receives; none of it for a function.
    receives: Option<Receives>,
    tags: BTreeMap<String, String>,
}

/// How tasks receive what a balancer sends, and are checked.
struct Receives {
    vpc: String,
    /// The port of a target that is registered without one, which ECS never does.
    port: u16,
    protocol: ProtocolEnum,
    /// An address for tasks that have one of their own, else an instance and a port of it.
    kind: TargetTypeEnum,
    /// The HTTP check; none for one that only connects.
    check: Option<Check>,
    /// The port that is asked.
    check_port: String,
}

/// What an HTTP check asks, and what must be answered.
struct Check {
    path: String,
    status: String,
}

/// The port that requests go to.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html>
const TRAFFIC_PORT: &str = "traffic-port";

impl Receives {
    fn new(service: &Service, port: u16, http: bool, vpc: &str) -> Self {
        let health = service.health.as_ref();
        let check = health.map(|health| Check { path: health.path.clone(), status: health.status.clone() });
        let plain = || Check { path: "/".to_owned(), status: "200".to_owned() };
        let asked = health.and_then(|health| health.port).map(|port| port.to_string());
        Self {
            vpc: vpc.to_owned(),
            port,
            protocol: if http { ProtocolEnum::Http } else { ProtocolEnum::Tcp },
            kind: match service.network_mode {
                Some(NetworkMode::Bridge) => TargetTypeEnum::Instance,
                _ => TargetTypeEnum::Ip,
            },
            check: if http { Some(check.unwrap_or_else(plain)) } else { check },
            check_port: asked.unwrap_or_else(|| TRAFFIC_PORT.to_owned()),
        }
    }

    /// What stays as it was when the group was made.
    fn immutable(&self) -> String {
        format!("{} {} {}", self.protocol.as_str(), self.kind.as_str(), self.vpc)
    }

    /// How the group tells whether a target is well.
    fn check_protocol(&self) -> ProtocolEnum {
        if self.check.is_some() { ProtocolEnum::Http } else { ProtocolEnum::Tcp }
    }

    fn check_path(&self) -> Option<String> {
        self.check.as_ref().map(|check| check.path.clone())
    }

    fn matcher(&self) -> Option<Matcher> {
        self.check.as_ref().map(|check| Matcher::builder().http_code(&check.status).build())
    }
}

/// Protocol, kind of target and VPC stay what they were when a target group was made, and so does the balancer it
/// hangs on while that stands, so they are part of its name: a changed one is a new group, and the old one goes when
/// nothing uses it. A container's port is no part of it: ECS registers each target with its own, so that old and new
/// tasks can be in one group.
pub(crate) fn wanted(context: &Context, balancer: &str, identity: &Identity, vpc: &str) -> Vec<Wanted> {
    let of = |target: Target| {
        let word = target.word();
        let receives = target
            .service()
            .map(|(service, port)| Receives::new(&context.spec.services[service], port, target.http, vpc));
        let immutable = receives.as_ref().map_or_else(|| "lambda".to_owned(), Receives::immutable);
        let immutable = format!("{immutable} {balancer} {word} {}", identity.immutable());
        Wanted {
            name: name_of(&context.run.environment, &word.replace('.', "-"), 32, &immutable),
            receives,
            tags: context.tags(&target.address()),
            address: target.address(),
            word,
        }
    };
    spec::targets(&context.spec).into_iter().filter(|target| target.balancer == balancer).map(of).collect()
}

/// A target group with its tags.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) aws: TargetGroup,
    pub(crate) tags: BTreeMap<String, String>,
}

/// The ARNs by [`Target::word`].
pub(crate) async fn ensure(
    elb: &Client,
    context: &Context,
    wanted: &[Wanted],
) -> Result<BTreeMap<String, String>> {
    let one = async |wanted: &Wanted| {
        let group = match find(elb, context, wanted).await? {
            None => create(elb, wanted).await?,
            Some(found) => {
                update(elb, &found, wanted).await?;
                found.aws
            }
        };
        Ok((wanted.word.clone(), group.target_group_arn.unwrap_or_default()))
    };
    Ok(side_by_side(wanted.iter().map(one)).await?.into_iter().collect())
}

pub(crate) async fn plan(
    elb: &Client,
    context: &Context,
    wanted: &[Wanted],
) -> Result<(Vec<Change>, BTreeMap<String, String>)> {
    let (mut changes, mut arns) = (Vec::new(), BTreeMap::new());
    for wanted in wanted {
        let found = find(elb, context, wanted).await?;
        changes.extend(match &found {
            None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
            Some(found) => Change::update(&wanted.address, difference(found, wanted)),
        });
        let arn = found.and_then(|found| found.aws.target_group_arn);
        arns.insert(wanted.word.clone(), arn.unwrap_or_else(|| UNKNOWN.to_owned()));
    }
    Ok((changes, arns))
}

async fn find(elb: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let described = elb.describe_target_groups().names(&wanted.name).send().await;
    let described = described
        .unless_absent(&["TargetGroupNotFound"], || format!("describing target group ({})", wanted.name))?;
    let Some(aws) = described.and_then(|answer| answer.target_groups).and_then(|all| all.into_iter().next())
    else {
        return Ok(None);
    };
    let tags = balancer::tags(elb, vec![aws.target_group_arn().unwrap_or_default().to_owned()]).await?;
    let tags = tags.into_values().next().unwrap_or_default();
    context.owner().check(&format!("target group ({})", wanted.name), &tags)?;
    Ok(Some(Found { aws, tags }))
}

/// Every target group that carries our tags.
pub(crate) async fn ours(elb: &Client, context: &Context) -> Result<Vec<Found>> {
    let pages = elb.describe_target_groups().into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "describing target groups")?;
    let arns = all.iter().filter_map(|group| group.target_group_arn.clone()).collect();
    let mut tags = balancer::tags(elb, arns).await?;
    let found = all.into_iter().filter_map(|aws| {
        let tags = tags.remove(aws.target_group_arn()?)?;
        context.owner().address(&tags)?;
        Some(Found { aws, tags })
    });
    Ok(found.collect())
}

fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let protocol = found.aws.health_check_protocol().map_or("none", ProtocolEnum::as_str);
    let path = found.aws.health_check_path().unwrap_or("none");
    let port = found.aws.health_check_port().unwrap_or("none");
    let status = found.aws.matcher().and_then(Matcher::http_code).unwrap_or("none");
    let of_checks = wanted.receives.iter().flat_map(|receives| {
        let check = receives.check.as_ref();
        [
            compare("health.protocol", protocol, receives.check_protocol().as_str()),
            check.and_then(|check| compare("health.path", path, &check.path)),
            compare("health.port", port, &receives.check_port),
            check.and_then(|check| compare("health.status", status, &check.status)),
        ]
    });
    of_checks.flatten().chain(missing_tags(&found.tags, &wanted.tags)).collect()
}

/// A name is taken once: this call can't double a group.
async fn create(elb: &Client, wanted: &Wanted) -> Result<TargetGroup> {
    let create = elb.create_target_group().name(&wanted.name);
    let create = match &wanted.receives {
        Some(receives) => create
            .vpc_id(&receives.vpc)
            .port(receives.port.into())
            .protocol(receives.protocol.clone())
            .target_type(receives.kind.clone())
            .health_check_protocol(receives.check_protocol())
            .health_check_port(&receives.check_port)
            .set_health_check_path(receives.check_path())
            .set_matcher(receives.matcher()),
        None => create.target_type(TargetTypeEnum::Lambda),
    };
    let created = create
        .set_tags(Some(balancer::tag_list(&wanted.tags)))
        .send()
        .await
        .doing(|| format!("creating target group ({})", wanted.name))?;
    created
        .target_groups
        .and_then(|groups| groups.into_iter().next())
        .ok_or_else(|| Error::Failed(format!("creating target group ({}): no group answered", wanted.name)))
}

async fn update(elb: &Client, found: &Found, wanted: &Wanted) -> Result<()> {
    let arn = found.aws.target_group_arn().unwrap_or_default();
    let unlike = difference(found, wanted).iter().any(|field| field.name.starts_with("health."));
    if let Some(receives) = wanted.receives.as_ref().filter(|_| unlike) {
        elb.modify_target_group()
            .target_group_arn(arn)
            .health_check_protocol(receives.check_protocol())
            .health_check_port(&receives.check_port)
            .set_health_check_path(receives.check_path())
            .set_matcher(receives.matcher())
            .send()
            .await
            .doing(|| format!("changing the health check of target group ({})", wanted.name))?;
    }
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        let tags = Some(balancer::tag_list(&wanted.tags));
        let put = elb.add_tags().resource_arns(arn).set_tags(tags).send().await;
        put.doing(|| format!("tagging target group ({})", wanted.name))?;
    }
    Ok(())
}

/// A group that a listener still sends to stays until the listener is gone.
pub(crate) async fn delete(elb: &Client, found: &Found) -> Result<()> {
    let name = found.aws.target_group_name().unwrap_or_default();
    let arn = found.aws.target_group_arn().unwrap_or_default();
    let deleted = elb.delete_target_group().target_group_arn(arn).send().await;
    deleted.gone(&["TargetGroupNotFound"], &["ResourceInUse"], || format!("deleting target group ({name})"))
}

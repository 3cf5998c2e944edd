//! VPC links: how an API reaches a network load balancer that the internet doesn't.

use std::collections::BTreeMap;

use aws_sdk_apigateway::{
    Client,
    config::{Config, retry::RetryConfig},
    operation::create_vpc_link::CreateVpcLinkOutput,
    types::{VpcLink, VpcLinkStatus},
};
use aws_sdk_elasticloadbalancingv2::{Client as Elb, types::LoadBalancerStateEnum};
use step::{Change, Context, Doing, Error, Latency, Result, UNKNOWN};

use crate::{Wanted, tag};

/// A link with what the step reads of it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) address: String,
    target: String,
    tags: BTreeMap<String, String>,
    status: Option<VpcLinkStatus>,
    message: String,
}

/// The link to the balancer, which may not be usable yet.
pub(crate) async fn ensure(api: &Client, elb: &Elb, context: &Context, wanted: &Wanted) -> Result<Found> {
    let links = ours(api, context).await?;
    match find(&links, wanted) {
        None => {
            active(elb, context, &wanted.balancer).await?;
            create(api, context, wanted).await
        }
        Some(link) => {
            let arn = format!("/vpclinks/{}", link.id);
            tag::ensure(api, context, &arn, &link.tags, &wanted.link_tags).await?;
            Ok(link.clone())
        }
    }
}

pub(crate) fn plan(links: &[Found], wanted: &Wanted) -> (Option<Change>, String) {
    match find(links, wanted) {
        None => (Some(Change::create(wanted.link_address())), UNKNOWN.to_owned()),
        Some(link) => {
            let fields = step::missing_tags(&link.tags, &wanted.link_tags);
            (Change::update(wanted.link_address(), fields), link.id.clone())
        }
    }
}

/// The link at the address that leads to the wanted balancer. One that leads elsewhere is another.
fn find<'a>(links: &'a [Found], wanted: &Wanted) -> Option<&'a Found> {
    links.iter().find(|link| link.address == wanted.link_address() && link.target == wanted.balancer)
}

/// Every link that carries our tags, one in deletion too.
pub(crate) async fn ours(api: &Client, context: &Context) -> Result<Vec<Found>> {
    let pages = api.get_vpc_links().into_paginator().items().send();
    let all: std::result::Result<Vec<VpcLink>, _> = pages.collect().await;
    let all = all.doing(|| "listing VPC links")?;
    let mut ours: Vec<Found> = all.into_iter().filter_map(|link| found(context, link)).collect();
    // Should a lost answer have doubled one, the choice is always the same.
    ours.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(ours)
}

fn found(context: &Context, link: VpcLink) -> Option<Found> {
    let tags: BTreeMap<String, String> = link.tags.unwrap_or_default().into_iter().collect();
    Some(Found {
        id: link.id?,
        address: context.owner().address(&tags)?.to_owned(),
        target: link.target_arns.unwrap_or_default().join(", "),
        status: link.status,
        message: link.status_message.unwrap_or_default(),
        tags,
    })
}

/// A link to a balancer that isn't active fails, and stays failed.
/// Source: <https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/1951>
async fn active(elb: &Elb, context: &Context, arn: &str) -> Result<()> {
    let described = elb.describe_load_balancers().load_balancer_arns(arn).send().await;
    let described = described
        .unless_absent(&["LoadBalancerNotFound"], || format!("describing load balancer ({arn})"))?
        .and_then(|described| described.load_balancers)
        .and_then(|balancers| balancers.into_iter().next());
    let Some(balancer) = described else {
        return Err(Error::soon(format!("load balancer ({arn}) isn't described yet")));
    };
    let name = balancer.load_balancer_name().unwrap_or_default();
    let state = balancer.state();
    match state.and_then(|state| state.code()) {
        Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => Ok(()),
        Some(LoadBalancerStateEnum::Failed) => {
            let reason = state.and_then(|state| state.reason()).unwrap_or("AWS gave no reason");
            Err(Error::Failed(format!(
                "creating load balancer ({name}): {reason}; delete it, then start the run again"
            )))
        }
        code => {
            let code = code.map_or("in no state", LoadBalancerStateEnum::as_str);
            let doing = format!("load balancer ({name}) is {code}, and a VPC link to it waits");
            Err(Latency::of("network-load-balancer").wait(&doing, context.since))
        }
    }
}

/// Nothing makes a second `CreateVpcLink` the first, so it isn't retried: the next pass looks first.
async fn create(api: &Client, context: &Context, wanted: &Wanted) -> Result<Found> {
    let created: CreateVpcLinkOutput = api
        .create_vpc_link()
        .name(&wanted.link_name)
        .target_arns(&wanted.balancer)
        .set_tags(Some(wanted.link_tags.clone().into_iter().collect()))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating VPC link ({})", wanted.link_name))?;
    let link = VpcLink::builder()
        .set_id(created.id)
        .set_status(created.status)
        .set_status_message(created.status_message)
        .set_target_arns(created.target_arns)
        .set_tags(Some(wanted.link_tags.clone().into_iter().collect()))
        .build();
    found(context, link)
        .ok_or_else(|| Error::Failed(format!("creating VPC link ({}): no link answered", wanted.link_name)))
}

/// A deployment needs the link to be available.
pub(crate) async fn ready(api: &Client, context: &Context, link: &Found, wanted: &Wanted) -> Result<()> {
    let name = &wanted.link_name;
    match &link.status {
        Some(VpcLinkStatus::Available) => Ok(()),
        Some(VpcLinkStatus::Failed) => {
            // A failed link stays failed: the next run makes another.
            delete(api, &link.id).await?;
            Err(Error::Failed(format!(
                "creating VPC link ({name}): {}; mend that and start the run again",
                link.message
            )))
        }
        status => {
            let status =
                status.as_ref().map_or("in no state".to_owned(), |status| status.as_str().to_lowercase());
            Err(Latency::of("vpc-link").wait(&format!("VPC link ({name}) is {status}"), context.since))
        }
    }
}

/// Deletes a link and waits until it is gone: it holds its balancer. One that a deployed method still
/// uses is left to a later pass.
pub(crate) async fn delete_and_wait(api: &Client, link: &Found) -> Result<()> {
    if link.status != Some(VpcLinkStatus::Deleting) {
        delete(api, &link.id).await?;
    }
    let left = api.get_vpc_link().vpc_link_id(&link.id).send().await;
    match left.unless_absent(&["NotFoundException"], || format!("reading VPC link ({})", link.id))? {
        None => Ok(()),
        Some(_) => Err(Error::soon(format!("VPC link ({}) is deleting, which takes a few minutes", link.id))),
    }
}

async fn delete(api: &Client, id: &str) -> Result<()> {
    let deleted = api.delete_vpc_link().vpc_link_id(id).send().await;
    deleted.gone(&["NotFoundException"], &["BadRequestException"], || format!("deleting VPC link ({id})"))
}

//! Hosted zones. A public one is somebody's, and only looked up; a private one is the environment's own.
//!
//! Ours is a zone whose `CallerReference` we derive again from environment, control plane and zone: it has
//! that from `CreateHostedZone` on, which takes no tags. They follow, for people to see.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_route53::{
    Client,
    error::ProvideErrorMetadata,
    types::{HostedZone, HostedZoneConfig, ResourceTagSet, Tag, TagResourceType, Vpc, VpcRegion},
};
use step::{Change, Context, Doing, Error, Field, Result, compare, digits, missing_tags};

use crate::{Wanted, plain};

/// What Route 53 answers for a zone that isn't there.
const ABSENT: [&str; 1] = ["NoSuchHostedZone"];

/// How many records a zone has of itself: who it is (SOA), and who answers for it (NS).
const OWN_RECORDS: i64 = 2;

/// A hosted zone of the account.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) private: bool,
    reference: String,
    records: i64,
}

impl Zone {
    fn of(zone: &HostedZone) -> Self {
        Self {
            id: zone.id().rsplit('/').next().unwrap_or_default().to_owned(),
            name: plain(zone.name()),
            private: zone.config().is_some_and(HostedZoneConfig::private_zone),
            reference: zone.caller_reference().to_owned(),
            records: zone.resource_record_set_count().unwrap_or(i64::MAX),
        }
    }

    /// Whether we made it.
    pub(crate) fn is_ours(&self, context: &Context) -> bool {
        self.private && self.reference.starts_with(&reference(context, &self.name))
    }

    /// Whether records of ours can be in it.
    pub(crate) fn may_hold_ours(&self, context: &Context) -> bool {
        self.records > OWN_RECORDS && (!self.private || self.is_ours(context))
    }
}

/// What the `CallerReference` of a zone of ours begins with.
fn reference(context: &Context, zone: &str) -> String {
    let owner = context.owner();
    let proof = digits(&format!("{} {} {zone}", owner.control_plane, owner.environment), 32);
    format!("plinth-{}-{proof}-", owner.environment)
}

/// Every zone of the account: there are few, and one call lists a hundred.
pub(crate) async fn list(route53: &Client) -> Result<Vec<Zone>> {
    let pages = route53.list_hosted_zones().into_paginator().items().send();
    let zones: std::result::Result<Vec<_>, _> = pages.collect().await;
    Ok(zones.doing(|| "listing hosted zones")?.iter().map(Zone::of).collect())
}

/// The zone that the spec means. A public one must be there; a private one that isn't is made.
pub(crate) fn find<'a>(context: &Context, zones: &'a [Zone], wanted: &Wanted) -> Result<Option<&'a Zone>> {
    let (name, address) = (&wanted.zone, &wanted.address);
    let named = zones.iter().filter(|zone| zone.name == *name);
    if wanted.vpc.is_some() {
        return Ok(own(context, zones, name));
    }
    let public: Vec<&Zone> = named.filter(|zone| !zone.private).collect();
    match public.as_slice() {
        [] => Err(Error::InvalidSpec(format!(
            "{address}: this account has no public hosted zone {name}: create it in Route 53 and delegate \
             the domain to it, or write `private: true` for a zone of the environment's own"
        ))),
        [zone] => Ok(Some(zone)),
        several => {
            let ids: Vec<&str> = several.iter().map(|zone| zone.id.as_str()).collect();
            Err(Error::Conflict(format!(
                "{address}: this account has {} public hosted zones {name} ({}), and only one of them can be \
                 the one the domain is delegated to: delete the others",
                ids.len(),
                ids.join(", "),
            )))
        }
    }
}

/// The environment's own zone of this name. Should there be two, the one that is in use.
pub(crate) fn own<'a>(context: &Context, zones: &'a [Zone], name: &str) -> Option<&'a Zone> {
    let ours = zones.iter().filter(|zone| zone.name == name && zone.is_ours(context));
    ours.max_by_key(|zone| (zone.records, zone.id.clone()))
}

/// The zone's id, once it is there and as the spec says.
pub(crate) async fn ensure(
    route53: &Client,
    context: &Context,
    zones: &[Zone],
    wanted: &Wanted,
) -> Result<String> {
    let found = find(context, zones, wanted)?;
    let Some(vpc) = &wanted.vpc else {
        return Ok(found.map(|zone| zone.id.clone()).unwrap_or_default());
    };
    let id = match found {
        Some(zone) => zone.id.clone(),
        None => create(route53, context, wanted, vpc).await?,
    };
    let vpcs = vpcs(route53, &id, wanted).await?;
    let here = (context.run.region.clone(), vpc.clone());
    if !vpcs.contains(&here) {
        let associate = route53.associate_vpc_with_hosted_zone().hosted_zone_id(&id).vpc(vpc_of(&here));
        let associated = associate.send().await;
        refuse_other(associated.as_ref().err().and_then(ProvideErrorMetadata::code), wanted, vpc)?;
        associated.doing(|| format!("having hosted zone {} answer in {vpc}", wanted.zone))?;
    }
    for other in vpcs.iter().filter(|other| **other != here) {
        let left = route53.disassociate_vpc_from_hosted_zone().hosted_zone_id(&id).vpc(vpc_of(other));
        let left = left.send().await;
        // A VPC that is gone can't be named any more.
        left.unless_absent(&["VPCAssociationNotFound", "InvalidVPCId"], || {
            format!("having hosted zone {} no longer answer in {}", wanted.zone, other.1)
        })?;
    }
    if !missing_tags(&tags(route53, &id, &wanted.zone).await?, &wanted.tags).is_empty() {
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        let put = route53
            .change_tags_for_resource()
            .resource_type(TagResourceType::Hostedzone)
            .resource_id(&id)
            .set_add_tags(Some(wanted.tags.iter().map(tag).collect()));
        put.send().await.doing(|| format!("tagging hosted zone {}", wanted.zone))?;
    }
    Ok(id)
}

/// What would be done to the environment's own zone.
pub(crate) async fn plan(
    route53: &Client,
    context: &Context,
    found: Option<&Zone>,
    wanted: &Wanted,
) -> Result<Option<Change>> {
    let Some(vpc) = &wanted.vpc else { return Ok(None) };
    let Some(zone) = found else {
        return Ok(Some(Change::create(&wanted.address).with("vpc", vpc)));
    };
    let vpcs = vpcs(route53, &zone.id, wanted).await?;
    let tags = tags(route53, &zone.id, &wanted.zone).await?;
    let here = (context.run.region.clone(), vpc.clone());
    Ok(Change::update(&wanted.address, difference(&vpcs, &here, &tags, &wanted.tags)))
}

fn difference(
    vpcs: &BTreeSet<(String, String)>,
    here: &(String, String),
    tags: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Vec<Field> {
    let found: Vec<&str> = vpcs.iter().map(|(_, vpc)| vpc.as_str()).collect();
    compare("vpc", found.join(", "), here.1.clone()).into_iter().chain(missing_tags(tags, wanted)).collect()
}

/// A reference is good for one zone, also after that was deleted: ours ends as the run does. The same one
/// again answers that the zone is there, so that this call can't double it.
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHostedZone.html>
async fn create(route53: &Client, context: &Context, wanted: &Wanted, vpc: &str) -> Result<String> {
    let reference = format!("{}{}", reference(context, &wanted.zone), digits(&context.run.id, 16));
    let about =
        HostedZoneConfig::builder().comment(format!("Of the environment {}", context.run.environment));
    let created = route53
        .create_hosted_zone()
        .name(&wanted.zone)
        .caller_reference(reference)
        .vpc(vpc_of(&(context.run.region.clone(), vpc.to_owned())))
        .hosted_zone_config(about.private_zone(true).build())
        .send()
        .await;
    let code = created.as_ref().err().and_then(ProvideErrorMetadata::code);
    if code == Some("HostedZoneAlreadyExists") {
        return Err(Error::soon(format!("hosted zone {} was made, and isn't listed yet", wanted.zone)));
    }
    refuse_other(code, wanted, vpc)?;
    let created = created.doing(|| format!("creating hosted zone {}", wanted.zone))?;
    let id = created.hosted_zone().map(|zone| Zone::of(zone).id);
    id.ok_or_else(|| Error::Failed(format!("creating hosted zone {}: no zone answered", wanted.zone)))
}

/// One VPC takes one private zone of a name.
fn refuse_other(code: Option<&str>, wanted: &Wanted, vpc: &str) -> Result<()> {
    if code != Some("ConflictingDomainExists") {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{}: {vpc} already has a private hosted zone {} that isn't ours: take it off that VPC, or give ours \
         another name",
        wanted.address, wanted.zone
    )))
}

fn vpc_of((region, id): &(String, String)) -> Vpc {
    Vpc::builder().vpc_region(VpcRegion::from(region.as_str())).vpc_id(id).build()
}

/// The VPCs a zone answers in, with their regions.
async fn vpcs(route53: &Client, id: &str, wanted: &Wanted) -> Result<BTreeSet<(String, String)>> {
    let zone = route53.get_hosted_zone().id(id).send().await;
    let zone = zone.doing(|| format!("reading hosted zone {}", wanted.zone))?;
    let pair = |vpc: &Vpc| Some((vpc.vpc_region()?.as_str().to_owned(), vpc.vpc_id()?.to_owned()));
    Ok(zone.vpcs().iter().filter_map(pair).collect())
}

pub(crate) async fn tags(route53: &Client, id: &str, name: &str) -> Result<BTreeMap<String, String>> {
    let listed = route53.list_tags_for_resource().resource_type(TagResourceType::Hostedzone).resource_id(id);
    let listed = listed.send().await.doing(|| format!("reading the tags of hosted zone {name}"))?;
    let tags = listed.resource_tag_set().map(ResourceTagSet::tags).unwrap_or_default();
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    Ok(tags.iter().filter_map(pair).collect())
}

/// Deletes a zone of ours; our records in it are gone before.
pub(crate) async fn delete(route53: &Client, zone: &Zone) -> Result<()> {
    let deleted = route53.delete_hosted_zone().id(&zone.id).send().await;
    if deleted.as_ref().is_err_and(|error| error.code() == Some("HostedZoneNotEmpty")) {
        return Err(Error::Conflict(format!(
            "hosted zone {} ({}) holds records that the spec never had: delete them, then start the run \
             again",
            zone.name, zone.id
        )));
    }
    deleted.unless_absent(&ABSENT, || format!("deleting hosted zone {} ({})", zone.name, zone.id))?;
    Ok(())
}

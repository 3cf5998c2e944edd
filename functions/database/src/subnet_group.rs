//! DB subnet groups: the subnets a database may be in. RDS tells their tags only one by one.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::{
    Client,
    types::{DbSubnetGroup, Subnet},
};
use step::{Change, Context, Doing, Error, Result, compare, missing_tags, side_by_side};

use crate::{is_dropped, made, retag, tag_list, tags};

/// What a subnet group is for: RDS wants it said.
const DESCRIPTION: &str = "Of a database of an environment";

const ABSENT: [&str; 1] = ["DBSubnetGroupNotFoundFault"];

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    pub(crate) name: String,
    /// The ids of its subnets.
    pub(crate) subnets: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

struct Found {
    arn: String,
    subnets: BTreeSet<String>,
    tags: BTreeMap<String, String>,
}

fn what(name: &str) -> String {
    format!("DB subnet group ({name})")
}

pub(crate) async fn ensure(rds: &Client, context: &Context, wanted: &Wanted) -> Result<()> {
    let Some(found) = find(rds, context, wanted).await? else {
        let created = rds
            .create_db_subnet_group()
            .db_subnet_group_name(&wanted.name)
            .db_subnet_group_description(DESCRIPTION)
            .set_subnet_ids(Some(wanted.subnets.clone()))
            .set_tags(Some(tag_list(&wanted.tags)))
            .send()
            .await;
        return made(context, created, &what(&wanted.name));
    };
    if found.subnets != wanted.subnets.iter().cloned().collect() {
        let modify = rds.modify_db_subnet_group().db_subnet_group_name(&wanted.name);
        let modified = modify.set_subnet_ids(Some(wanted.subnets.clone())).send().await;
        modified.doing(|| format!("changing the subnets of {}", what(&wanted.name)))?;
    }
    if !missing_tags(&found.tags, &wanted.tags).is_empty() {
        retag(rds, &found.arn, &what(&wanted.name), &wanted.tags).await?;
    }
    Ok(())
}

/// What `ensure` would change.
pub(crate) async fn plan(rds: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Change>> {
    let Some(found) = find(rds, context, wanted).await? else {
        return Ok(Some(Change::create(&wanted.address).with("name", &wanted.name)));
    };
    let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
    let subnets = compare("subnets", list(&found.subnets), list(&wanted.subnets.iter().cloned().collect()));
    let fields = subnets.into_iter().chain(missing_tags(&found.tags, &wanted.tags));
    Ok(Change::update(&wanted.address, fields.collect()))
}

async fn find(rds: &Client, context: &Context, wanted: &Wanted) -> Result<Option<Found>> {
    let name = &wanted.name;
    let described = rds.describe_db_subnet_groups().db_subnet_group_name(name).send().await;
    let described = described.unless_absent(&ABSENT, || format!("describing {}", what(name)))?;
    let group = described.and_then(|answer| answer.db_subnet_groups?.into_iter().next());
    let Some(group) = group else { return Ok(None) };
    let tags = tags_of(rds, &group).await?;
    if context.owner().address(&tags).is_none() {
        return Err(Error::Conflict(format!(
            "{} exists and isn't this environment's: give the database another key in the spec",
            what(name)
        )));
    }
    let id = |subnet: &Subnet| subnet.subnet_identifier().map(str::to_owned);
    Ok(Some(Found {
        arn: group.db_subnet_group_arn().unwrap_or_default().to_owned(),
        subnets: group.subnets().iter().filter_map(id).collect(),
        tags,
    }))
}

async fn tags_of(rds: &Client, group: &DbSubnetGroup) -> Result<BTreeMap<String, String>> {
    let arn = group.db_subnet_group_arn().unwrap_or_default();
    let listed = rds.list_tags_for_resource().resource_name(arn).send().await;
    let name = group.db_subnet_group_name().unwrap_or_default();
    let listed = listed.unless_absent(&ABSENT, || format!("reading the tags of {}", what(name)))?;
    Ok(listed.map(|answer| tags(answer.tag_list())).unwrap_or_default())
}

/// The names and addresses of our subnet groups whose databases the spec doesn't mention. Only those that
/// begin with the environment's name are asked for their tags.
pub(crate) async fn dropped(rds: &Client, context: &Context) -> Result<Vec<(String, String)>> {
    let pages = rds.describe_db_subnet_groups().into_paginator().items().send();
    let all: std::result::Result<Vec<DbSubnetGroup>, _> = pages.collect().await;
    let prefix = format!("{}-", context.run.environment);
    let named =
        |group: &DbSubnetGroup| group.db_subnet_group_name().is_some_and(|name| name.starts_with(&prefix));
    let groups = all.doing(|| "describing DB subnet groups")?.into_iter().filter(named);
    let look = async |group: DbSubnetGroup| {
        let tags = tags_of(rds, &group).await?;
        let address = context.owner().address(&tags).map(str::to_owned);
        let address = address.filter(|address| is_dropped(context, address));
        Ok(address.and_then(|address| Some((group.db_subnet_group_name?, address))))
    };
    Ok(side_by_side(groups.map(look)).await?.into_iter().flatten().collect())
}

/// Deletes a subnet group; a database that goes holds it until it is gone.
pub(crate) async fn delete(rds: &Client, name: &str) -> Result<()> {
    let deleted = rds.delete_db_subnet_group().db_subnet_group_name(name).send().await;
    deleted.gone(&ABSENT, &["InvalidDBSubnetGroupStateFault"], || format!("deleting {}", what(name)))
}

//! Usage plans, and the key that callers need.

use std::collections::BTreeMap;

use aws_sdk_apigateway::{
    Client,
    config::{Config, retry::RetryConfig},
    types::{
        ApiStage, Op, PatchOperation, QuotaPeriodType, QuotaSettings, ThrottleSettings, UsagePlan as AwsPlan,
    },
};
use spec::{Period, UsagePlan};
use step::{Context, Doing, Error, Field, Result, compare, missing_tags};

use crate::tag;

/// What the spec asks for.
pub(crate) struct Wanted {
    pub(crate) address: String,
    name: String,
    quota: Option<(i32, QuotaPeriodType)>,
    burst: Option<i32>,
    rate: Option<u32>,
    tags: BTreeMap<String, String>,
    pub(crate) key_address: String,
    key_name: String,
    key_tags: BTreeMap<String, String>,
}

pub(crate) fn wanted(context: &Context, key: &str, plan: &UsagePlan) -> Wanted {
    let address = format!("apis.{key}.usagePlan");
    let key_address = format!("apis.{key}.key");
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let quota = plan.quota.map(|quota| {
        let period = match quota.period {
            Period::Day => QuotaPeriodType::Day,
            Period::Week => QuotaPeriodType::Week,
            Period::Month => QuotaPeriodType::Month,
        };
        (number(quota.limit), period)
    });
    Wanted {
        name: context.name(plan.name.as_ref(), key, 255),
        quota,
        burst: plan.burst.map(number),
        rate: plan.rate,
        tags: context.tags(&address),
        key_name: context.name(None, key, 255),
        key_tags: context.tags(&key_address),
        address,
        key_address,
    }
}

/// A plan or a key with its tags.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub(crate) id: String,
    pub(crate) address: String,
    tags: BTreeMap<String, String>,
    aws: T,
}

/// The id of the key that callers need, once plan and key are what the spec says.
pub(crate) async fn ensure(
    api: &Client,
    context: &Context,
    wanted: &Wanted,
    stage: (&str, &str),
) -> Result<String> {
    let plan = match find(&plans(api, context).await?, &wanted.address) {
        None => create(api, wanted, stage).await?,
        Some(found) => {
            tag::ensure(api, context, &format!("/usageplans/{}", found.id), &found.tags, &wanted.tags)
                .await?;
            update(api, found, wanted, stage).await?;
            found.id.clone()
        }
    };
    let key = match find(&keys(api, context).await?, &wanted.key_address) {
        None => create_key(api, wanted).await?,
        Some(found) => {
            tag::ensure(api, context, &format!("/apikeys/{}", found.id), &found.tags, &wanted.key_tags)
                .await?;
            found.id.clone()
        }
    };
    attach(api, &plan, &key, wanted).await?;
    Ok(key)
}

/// Should a lost answer have doubled one, the choice is always the same.
pub(crate) fn find<'a, T>(all: &'a [Found<T>], address: &str) -> Option<&'a Found<T>> {
    all.iter().filter(|found| found.address == address).min_by_key(|found| &found.id)
}

/// Every usage plan that carries our tags.
pub(crate) async fn plans(api: &Client, context: &Context) -> Result<Vec<Found<AwsPlan>>> {
    let pages = api.get_usage_plans().into_paginator().items().send();
    let all: std::result::Result<Vec<AwsPlan>, _> = pages.collect().await;
    let found = |plan: AwsPlan| {
        let tags: BTreeMap<String, String> = plan.tags.clone().unwrap_or_default().into_iter().collect();
        let address = context.owner().address(&tags)?.to_owned();
        Some(Found { id: plan.id.clone()?, address, tags, aws: plan })
    };
    Ok(all.doing(|| "listing usage plans")?.into_iter().filter_map(found).collect())
}

/// Every API key that carries our tags; their values are never asked for.
pub(crate) async fn keys(api: &Client, context: &Context) -> Result<Vec<Found<()>>> {
    let pages = api.get_api_keys().include_values(false).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| "listing API keys")?;
    let found = all.into_iter().filter_map(|key| {
        let tags: BTreeMap<String, String> = key.tags.unwrap_or_default().into_iter().collect();
        let address = context.owner().address(&tags)?.to_owned();
        Some(Found { id: key.id?, address, tags, aws: () })
    });
    Ok(found.collect())
}

pub(crate) fn difference(found: &Found<AwsPlan>, wanted: &Wanted, stage: (&str, &str)) -> Vec<Field> {
    let fields = [
        compare("usagePlan.name", found.aws.name().unwrap_or("none"), wanted.name.as_str()),
        compare("usagePlan.quota", quota(found.aws.quota()), quota(settings(wanted).as_ref())),
        compare("usagePlan.burst", burst(&found.aws), or_none(wanted.burst)),
        compare("usagePlan.rate", rate(&found.aws), or_none(wanted.rate)),
        compare("usagePlan.stages", stages(&found.aws).join(", "), named(stage)),
    ];
    fields.into_iter().flatten().chain(missing_tags(&found.tags, &wanted.tags)).collect()
}

fn quota(quota: Option<&QuotaSettings>) -> String {
    let Some(quota) = quota else { return "none".to_owned() };
    format!("{} a {}", quota.limit(), quota.period().map_or("none", QuotaPeriodType::as_str).to_lowercase())
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

fn burst(plan: &AwsPlan) -> String {
    or_none(plan.throttle().map(ThrottleSettings::burst_limit).filter(|limit| *limit > 0))
}

fn rate(plan: &AwsPlan) -> String {
    or_none(plan.throttle().map(ThrottleSettings::rate_limit).filter(|limit| *limit > 0.0))
}

/// The stages a plan is for, each as `<api>:<stage>`.
fn stages(plan: &AwsPlan) -> Vec<String> {
    let name =
        |stage: &ApiStage| named((stage.api_id().unwrap_or_default(), stage.stage().unwrap_or_default()));
    plan.api_stages().iter().map(name).collect()
}

fn named((api, stage): (&str, &str)) -> String {
    format!("{api}:{stage}")
}

fn settings(wanted: &Wanted) -> Option<QuotaSettings> {
    let (limit, period) = wanted.quota.clone()?;
    Some(QuotaSettings::builder().limit(limit).period(period).build())
}

/// Nothing makes a second `CreateUsagePlan` the first, so it isn't retried: the next pass looks first.
async fn create(api: &Client, wanted: &Wanted, (id, stage): (&str, &str)) -> Result<String> {
    let throttle = (wanted.burst.is_some() || wanted.rate.is_some()).then(|| {
        ThrottleSettings::builder()
            .set_burst_limit(wanted.burst)
            .set_rate_limit(wanted.rate.map(f64::from))
            .build()
    });
    let created = api
        .create_usage_plan()
        .name(&wanted.name)
        .api_stages(ApiStage::builder().api_id(id).stage(stage).build())
        .set_quota(settings(wanted))
        .set_throttle(throttle)
        .set_tags(Some(wanted.tags.clone().into_iter().collect()))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating usage plan ({})", wanted.name))?;
    created
        .id
        .ok_or_else(|| Error::Failed(format!("creating usage plan ({}): no plan answered", wanted.name)))
}

async fn update(api: &Client, found: &Found<AwsPlan>, wanted: &Wanted, stage: (&str, &str)) -> Result<()> {
    let patches = patches(&found.aws, wanted, stage);
    if patches.is_empty() {
        return Ok(());
    }
    let update = api.update_usage_plan().usage_plan_id(&found.id).set_patch_operations(Some(patches));
    update.send().await.doing(|| format!("updating usage plan ({})", wanted.name))?;
    Ok(())
}

/// Source: <https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html#UpdateUsagePlan-Patch>
fn patches(found: &AwsPlan, wanted: &Wanted, stage: (&str, &str)) -> Vec<PatchOperation> {
    let patch = |op: Op, path: &str, value: Option<String>| {
        PatchOperation::builder().op(op).path(path).set_value(value).build()
    };
    let replace = |path: &str, value: String| patch(Op::Replace, path, Some(value));
    let mut patches = Vec::new();
    if found.name() != Some(&wanted.name) {
        patches.push(replace("/name", wanted.name.clone()));
    }
    match &wanted.quota {
        None if found.quota().is_some() => patches.push(patch(Op::Remove, "/quota", None)),
        Some((limit, period)) if quota(found.quota()) != quota(settings(wanted).as_ref()) => {
            patches.push(replace("/quota/limit", limit.to_string()));
            patches.push(replace("/quota/period", period.as_str().to_owned()));
        }
        _ => {}
    }
    if wanted.burst.is_none() && wanted.rate.is_none() {
        if found.throttle().is_some() {
            patches.push(patch(Op::Remove, "/throttle", None));
        }
    } else {
        let changed = [
            ("/throttle/burstLimit", burst(found), or_none(wanted.burst)),
            ("/throttle/rateLimit", rate(found), or_none(wanted.rate)),
        ];
        let changed = changed.into_iter().filter(|(_, found, wanted)| found != wanted);
        patches.extend(changed.map(|(path, _, wanted)| {
            if wanted == "none" { patch(Op::Remove, path, None) } else { replace(path, wanted) }
        }));
    }
    let (stages, stage) = (stages(found), named(stage));
    if !stages.contains(&stage) {
        patches.push(patch(Op::Add, "/apiStages", Some(stage.clone())));
    }
    let others = stages.into_iter().filter(|other| *other != stage);
    patches.extend(others.map(|other| patch(Op::Remove, "/apiStages", Some(other))));
    patches
}

/// Nothing makes a second `CreateApiKey` the first, so it isn't retried: the next pass looks first.
async fn create_key(api: &Client, wanted: &Wanted) -> Result<String> {
    let created = api
        .create_api_key()
        .name(&wanted.key_name)
        .enabled(true)
        .set_tags(Some(wanted.key_tags.clone().into_iter().collect()))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating API key ({})", wanted.key_name))?;
    created
        .id
        .ok_or_else(|| Error::Failed(format!("creating API key ({}): no key answered", wanted.key_name)))
}

async fn attach(api: &Client, plan: &str, key: &str, wanted: &Wanted) -> Result<()> {
    if attached(api, plan, key).await? {
        return Ok(());
    }
    let attach = api.create_usage_plan_key().usage_plan_id(plan).key_id(key).key_type("API_KEY");
    let attached = attach.send().await;
    // Another pass attached it.
    attached
        .unless_absent(&["ConflictException"], || format!("giving usage plan ({}) its key", wanted.name))?;
    Ok(())
}

/// Whether the key belongs to the plan.
pub(crate) async fn attached(api: &Client, plan: &str, key: &str) -> Result<bool> {
    let pages = api.get_usage_plan_keys().usage_plan_id(plan).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all =
        all.unless_absent(&["NotFoundException"], || format!("listing the keys of usage plan ({plan})"))?;
    Ok(all.unwrap_or_default().iter().any(|found| found.id() == Some(key)))
}

/// A plan goes once no stage is under it.
pub(crate) async fn delete(api: &Client, found: &Found<AwsPlan>) -> Result<()> {
    let doing = || format!("deleting usage plan ({})", found.id);
    let off =
        |stage: String| PatchOperation::builder().op(Op::Remove).path("/apiStages").value(stage).build();
    let off: Vec<_> = stages(&found.aws).into_iter().map(off).collect();
    if !off.is_empty() {
        let update = api.update_usage_plan().usage_plan_id(&found.id).set_patch_operations(Some(off));
        update.send().await.unless_absent(&["NotFoundException"], doing)?;
    }
    let deleted = api.delete_usage_plan().usage_plan_id(&found.id).send().await;
    deleted.unless_absent(&["NotFoundException"], doing)?;
    Ok(())
}

pub(crate) async fn delete_key(api: &Client, id: &str) -> Result<()> {
    let deleted = api.delete_api_key().api_key(id).send().await;
    deleted.unless_absent(&["NotFoundException"], || format!("deleting API key ({id})"))?;
    Ok(())
}

//! Deployments, and the stage that serves one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_apigateway::{
    Client,
    operation::get_stage::GetStageOutput,
    types::{MethodSnapshot, Op, PatchOperation, Stage},
};
use step::{Context, Doing, Error, Field, Result, compare, digits, missing_tags};

use crate::{Behind, Wanted, rest::Route, tag};

/// What a deployment's description says, so that the same routes are deployed once: a hash of them.
pub(crate) fn description(routes: &[Route]) -> String {
    let mut routes: Vec<String> =
        routes.iter().map(|route| format!("{} {}", route.word(), route.described())).collect();
    routes.sort();
    format!("plinth {}", digits(&routes.join("\n"), 16))
}

/// The stage, serving the routes as they now are. One that serves others goes on until who answers these is steady.
pub(crate) async fn ensure(
    api: &Client,
    behind: &Behind,
    context: &Context,
    id: &str,
    wanted: &Wanted,
    routes: &[Route],
) -> Result<()> {
    let description = description(routes);
    let stage = find(api, id, &wanted.stage).await?;
    let served = stage.as_ref().and_then(|stage| stage.deployment_id.clone());
    if deployed(api, id, served.as_deref()).await?.as_ref() != Some(&description) {
        if served.is_some()
            && let Some(lacks) = lacks(behind, context, wanted).await?
        {
            return Err(traffic::wait(context, &wanted.stage_address(), &lacks));
        }
        let deployment = deploy(api, id, &description).await?;
        match &stage {
            None => create(api, id, wanted, &deployment).await?,
            Some(_) => update(api, id, &wanted.stage, &deployment).await?,
        }
        delete_old(api, id, &deployment).await?;
    }
    if let Some(stage) = stage {
        let path = format!("/restapis/{id}/stages/{}", wanted.stage);
        tag::ensure(api, context, &path, &tags(&stage), &wanted.stage_tags).await?;
    }
    Ok(())
}

async fn lacks(behind: &Behind, context: &Context, wanted: &Wanted) -> Result<Option<String>> {
    for (target, group) in &wanted.targets {
        let lacks = traffic::lacks(&behind.ecs, &behind.elb, context, target, group).await?;
        if lacks.is_some() {
            return Ok(lacks);
        }
    }
    Ok(None)
}

/// Lets a stage serve these routes and no others.
pub(crate) async fn serve_only(api: &Client, id: &str, stage: &str, routes: &[Route]) -> Result<()> {
    let Some(found) = find(api, id, stage).await? else { return Ok(()) };
    let description = description(routes);
    if deployed(api, id, found.deployment_id()).await?.as_ref() == Some(&description) {
        return Ok(());
    }
    let deployment = deploy(api, id, &description).await?;
    update(api, id, stage, &deployment).await?;
    delete_old(api, id, &deployment).await
}

/// The routes that a stage serves, by their words, whatever the API's methods are by now.
/// Source: <https://docs.aws.amazon.com/apigateway/latest/api/API_GetDeployment.html>
pub(crate) async fn served(api: &Client, id: &str, stage: &str) -> Result<BTreeSet<String>> {
    let found = find(api, id, stage).await?;
    let Some(deployment) = found.and_then(|found| found.deployment_id) else { return Ok(BTreeSet::new()) };
    let described =
        api.get_deployment().rest_api_id(id).deployment_id(deployment).embed("apisummary").send().await;
    let described = described
        .unless_absent(&["NotFoundException"], || format!("reading a deployment of REST API ({id})"))?;
    let paths = described.and_then(|described| described.api_summary).unwrap_or_default();
    let words = |(path, methods): (String, HashMap<String, MethodSnapshot>)| {
        methods.into_keys().map(move |verb| format!("{verb} {path}"))
    };
    Ok(paths.into_iter().flat_map(words).collect())
}

/// What `ensure` would change of a stage that is there; none if there isn't one.
pub(crate) async fn difference(
    api: &Client,
    id: &str,
    wanted: &Wanted,
    routes: &[Route],
) -> Result<Option<Vec<Field>>> {
    let Some(stage) = find(api, id, &wanted.stage).await? else { return Ok(None) };
    let served = deployed(api, id, stage.deployment_id()).await?.unwrap_or_else(|| "none".to_owned());
    let deployment = compare("deployment", served, description(routes));
    Ok(Some(deployment.into_iter().chain(missing_tags(&tags(&stage), &wanted.stage_tags)).collect()))
}

async fn find(api: &Client, id: &str, stage: &str) -> Result<Option<GetStageOutput>> {
    let found = api.get_stage().rest_api_id(id).stage_name(stage).send().await;
    found.unless_absent(&["NotFoundException"], || format!("reading stage {stage} of REST API ({id})"))
}

fn tags(stage: &GetStageOutput) -> BTreeMap<String, String> {
    stage.tags().cloned().unwrap_or_default().into_iter().collect()
}

/// The description of the deployment that a stage serves.
async fn deployed(api: &Client, id: &str, deployment: Option<&str>) -> Result<Option<String>> {
    let Some(deployment) = deployment else { return Ok(None) };
    let found = api.get_deployment().rest_api_id(id).deployment_id(deployment).send().await;
    let found =
        found.unless_absent(&["NotFoundException"], || format!("reading a deployment of REST API ({id})"))?;
    Ok(found.and_then(|found| found.description))
}

/// A deployment of this description, if a lost answer or a lost stage left one, or a new one.
async fn deploy(api: &Client, id: &str, description: &str) -> Result<String> {
    let pages = api.get_deployments().rest_api_id(id).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    let all = all.doing(|| format!("listing the deployments of REST API ({id})"))?;
    let same = all.into_iter().find(|deployment| deployment.description() == Some(description));
    if let Some(found) = same.and_then(|deployment| deployment.id) {
        return Ok(found);
    }
    let created = api.create_deployment().rest_api_id(id).description(description).send().await;
    let created = created.doing(|| format!("deploying REST API ({id})"))?;
    created.id.ok_or_else(|| Error::Failed(format!("deploying REST API ({id}): no deployment answered")))
}

async fn create(api: &Client, id: &str, wanted: &Wanted, deployment: &str) -> Result<()> {
    let tags = wanted.stage_tags.clone().into_iter().collect();
    let create = api.create_stage().rest_api_id(id).stage_name(&wanted.stage).deployment_id(deployment);
    let created = create.set_tags(Some(tags)).send().await;
    created.doing(|| format!("creating stage {} of REST API ({id})", wanted.stage))?;
    Ok(())
}

async fn update(api: &Client, id: &str, stage: &str, deployment: &str) -> Result<()> {
    let serve = PatchOperation::builder().op(Op::Replace).path("/deploymentId").value(deployment).build();
    let update = api.update_stage().rest_api_id(id).stage_name(stage).patch_operations(serve);
    update.send().await.doing(|| format!("updating stage {stage} of REST API ({id})"))?;
    Ok(())
}

/// An API keeps at most 300 deployments; nothing goes back to an old one of ours.
/// Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>
async fn delete_old(api: &Client, id: &str, current: &str) -> Result<()> {
    let pages = api.get_deployments().rest_api_id(id).into_paginator().items().send();
    let all: std::result::Result<Vec<_>, _> = pages.collect().await;
    for deployment in all.doing(|| format!("listing the deployments of REST API ({id})"))? {
        let ours = deployment.description().is_some_and(|text| text.starts_with("plinth "));
        let Some(old) = deployment.id.filter(|id| ours && id != current) else { continue };
        let deleted = api.delete_deployment().rest_api_id(id).deployment_id(old).send().await;
        // One that another stage serves stays.
        deleted.unless_absent(&["NotFoundException", "BadRequestException"], || {
            format!("deleting an old deployment of REST API ({id})")
        })?;
    }
    Ok(())
}

/// The names of our stages but for this one.
pub(crate) async fn other_stages(
    api: &Client,
    context: &Context,
    id: &str,
    wanted: &str,
) -> Result<Vec<String>> {
    let stages = api.get_stages().rest_api_id(id).send().await;
    let stages = stages.doing(|| format!("listing the stages of REST API ({id})"))?;
    let other = |stage: Stage| {
        let tags: BTreeMap<String, String> = stage.tags.unwrap_or_default().into_iter().collect();
        context.owner().address(&tags)?;
        stage.stage_name.filter(|name| name != wanted)
    };
    Ok(stages.item.unwrap_or_default().into_iter().filter_map(other).collect())
}

pub(crate) async fn delete_other_stages(
    api: &Client,
    context: &Context,
    id: &str,
    wanted: &str,
) -> Result<()> {
    for name in other_stages(api, context, id, wanted).await? {
        let deleted = api.delete_stage().rest_api_id(id).stage_name(&name).send().await;
        deleted.gone(&["NotFoundException"], &["BadRequestException"], || {
            format!("deleting stage {name} of REST API ({id})")
        })?;
    }
    Ok(())
}

//! The REST API, its resources, and its methods with their integrations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_apigateway::{
    Client,
    config::{Config, retry::RetryConfig},
    types::{
        ConnectionType, EndpointConfiguration, EndpointType, IntegrationType, Method, Op, PatchOperation,
        Resource, RestApi,
    },
};
use step::{Context, Doing, Error, Field, Result, compare, missing_tags};

use crate::{Wanted, deployment, tag};

/// An API with what the step reads of it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) address: String,
    name: String,
    tags: BTreeMap<String, String>,
    created: i64,
}

/// What a method does with a request, as far as the spec owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) verb: String,
    pub(crate) uri: String,
    pub(crate) link: String,
    pub(crate) key_required: bool,
    /// How it is authorized, how it is handed on, by which method: what every route of ours has alike.
    pub(crate) kind: String,
    /// The parts of the path that are handed on by name.
    pub(crate) parameters: BTreeSet<String>,
}

impl Route {
    /// As the spec writes it.
    pub(crate) fn word(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }

    /// What a plan says of it.
    pub(crate) fn described(&self) -> String {
        let key = if self.key_required { " with a key" } else { "" };
        let parts =
            if self.parameters.is_empty() { String::new() } else { format!(" by {:?}", self.parameters) };
        format!("{} {} over {}{key}{parts}", self.kind, self.uri, self.link)
    }
}

/// The kind of every route of ours: no authorizer, handed on over a link by its own method.
pub(crate) fn kind(verb: &str) -> String {
    format!("NONE HTTP_PROXY VPC_LINK {verb}")
}

/// The parts of a path that stand for something.
pub(crate) fn parameters(path: &str) -> BTreeSet<String> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| name.trim_end_matches('+').to_owned()).collect()
}

/// The API; its routes come later.
pub(crate) async fn ensure(api: &Client, context: &Context, wanted: &Wanted) -> Result<String> {
    let all = ours(api, context).await?;
    let Some(found) = find(&all, &wanted.address) else { return create(api, wanted).await };
    tag::ensure(api, context, &format!("/restapis/{}", found.id), &found.tags, &wanted.tags).await?;
    if found.name != wanted.name {
        let rename = PatchOperation::builder().op(Op::Replace).path("/name").value(&wanted.name).build();
        let renamed = api.update_rest_api().rest_api_id(&found.id).patch_operations(rename).send().await;
        renamed.doing(|| format!("renaming REST API ({})", found.name))?;
    }
    Ok(found.id.clone())
}

/// Should a lost answer have doubled one, the oldest is kept.
pub(crate) fn find<'a>(all: &'a [Found], address: &str) -> Option<&'a Found> {
    all.iter().filter(|found| found.address == address).min_by_key(|found| (found.created, &found.id))
}

pub(crate) fn difference(found: &Found, wanted: &Wanted) -> Vec<Field> {
    let name = compare("name", found.name.as_str(), wanted.name.as_str());
    name.into_iter().chain(missing_tags(&found.tags, &wanted.tags)).collect()
}

/// Every REST API that carries our tags.
pub(crate) async fn ours(api: &Client, context: &Context) -> Result<Vec<Found>> {
    let pages = api.get_rest_apis().into_paginator().items().send();
    let all: std::result::Result<Vec<RestApi>, _> = pages.collect().await;
    let found = |api: RestApi| {
        let tags: BTreeMap<String, String> = api.tags.unwrap_or_default().into_iter().collect();
        Some(Found {
            id: api.id?,
            address: context.owner().address(&tags)?.to_owned(),
            name: api.name.unwrap_or_default(),
            created: api.created_date.map(|date| date.secs()).unwrap_or_default(),
            tags,
        })
    };
    Ok(all.doing(|| "listing REST APIs")?.into_iter().filter_map(found).collect())
}

/// Nothing makes a second `CreateRestApi` the first, so it isn't retried: the next pass looks first.
async fn create(api: &Client, wanted: &Wanted) -> Result<String> {
    let created = api
        .create_rest_api()
        .name(&wanted.name)
        .endpoint_configuration(EndpointConfiguration::builder().types(EndpointType::Regional).build())
        .set_tags(Some(wanted.tags.clone().into_iter().collect()))
        .customize()
        .config_override(Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await
        .doing(|| format!("creating REST API ({})", wanted.name))?;
    created.id.ok_or_else(|| Error::Failed(format!("creating REST API ({}): no API answered", wanted.name)))
}

/// Makes the API's methods be these: what is missing or differs is put, what is too many goes, but for what the stage
/// serves, which goes with `prune`. Answers what the stage is to serve until then.
pub(crate) async fn ensure_routes(
    api: &Client,
    id: &str,
    stage: &str,
    mut wanted: Vec<Route>,
) -> Result<Vec<Route>> {
    let mut resources = resources(api, id).await?;
    let found = routes(&resources);
    for route in &wanted {
        if found.contains(route) {
            continue;
        }
        let resource = ensure_resource(api, id, &mut resources, &route.path).await?;
        if found.iter().any(|found| found.word() == route.word()) {
            delete_method(api, id, &resource, &route.verb).await?;
        }
        put(api, id, &resource, route).await?;
    }
    let named: BTreeSet<String> = wanted.iter().map(Route::word).collect();
    let others: Vec<Route> = found.into_iter().filter(|found| !named.contains(&found.word())).collect();
    let served = if others.is_empty() { BTreeSet::new() } else { deployment::served(api, id, stage).await? };
    let (kept, dropped): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|other| served.contains(&other.word()));
    wanted.extend(kept);
    delete_routes(api, id, resources, &dropped, &wanted).await?;
    Ok(wanted)
}

/// Deletes the API's methods but for these, and answers those.
pub(crate) async fn keep_routes(api: &Client, id: &str, words: &BTreeSet<String>) -> Result<Vec<Route>> {
    let resources = resources(api, id).await?;
    let found = routes(&resources).into_iter();
    let (kept, dropped): (Vec<_>, Vec<_>) = found.partition(|found| words.contains(&found.word()));
    delete_routes(api, id, resources, &dropped, &kept).await?;
    Ok(kept)
}

async fn delete_routes(
    api: &Client,
    id: &str,
    resources: Resources,
    dropped: &[Route],
    kept: &[Route],
) -> Result<()> {
    for route in dropped {
        delete_method(api, id, &resources[&route.path].0, &route.verb).await?;
    }
    delete_unused(api, id, resources, kept).await
}

/// A field for each route that differs.
pub(crate) fn route_differences(found: &[Route], wanted: &[Route]) -> Vec<Field> {
    let words: BTreeSet<String> = found.iter().chain(wanted).map(Route::word).collect();
    let of = |routes: &[Route], word: &str| {
        let route = routes.iter().find(|route| route.word() == word);
        route.map_or("none".to_owned(), Route::described)
    };
    words
        .iter()
        .filter_map(|word| compare(&format!("routes.{word}"), of(found, word), of(wanted, word)))
        .collect()
}

/// An API's routes as they are.
pub(crate) async fn found_routes(api: &Client, id: &str) -> Result<Vec<Route>> {
    Ok(routes(&resources(api, id).await?))
}

/// Resources by path: the id, and the methods.
type Resources = BTreeMap<String, (String, HashMap<String, Method>)>;

async fn resources(api: &Client, id: &str) -> Result<Resources> {
    let pages = api.get_resources().rest_api_id(id).embed("methods").into_paginator().items().send();
    let all: std::result::Result<Vec<Resource>, _> = pages.collect().await;
    let all = all.doing(|| format!("reading the resources of REST API ({id})"))?;
    let pair = |resource: Resource| {
        Some((resource.path?, (resource.id?, resource.resource_methods.unwrap_or_default())))
    };
    Ok(all.into_iter().filter_map(pair).collect())
}

fn routes(resources: &Resources) -> Vec<Route> {
    let of = |(path, (_, methods)): (&String, &(String, HashMap<String, Method>))| {
        methods.iter().map(|(verb, method)| route(path, verb, method)).collect::<Vec<_>>()
    };
    resources.iter().flat_map(of).collect()
}

fn route(path: &str, verb: &str, method: &Method) -> Route {
    let integration = method.method_integration();
    let text = |value: Option<&str>| value.unwrap_or("none").to_owned();
    let words = [
        text(method.authorization_type()),
        text(integration.and_then(|found| found.r#type()).map(IntegrationType::as_str)),
        text(integration.and_then(|found| found.connection_type()).map(ConnectionType::as_str)),
        text(integration.and_then(|found| found.http_method())),
    ];
    let handed = integration.and_then(|integration| integration.request_parameters());
    let names = handed.into_iter().flatten().filter_map(|(to, from)| {
        let name = to.strip_prefix("integration.request.path.")?;
        (from.strip_prefix("method.request.path.") == Some(name)).then(|| name.to_owned())
    });
    Route {
        path: path.to_owned(),
        verb: verb.to_owned(),
        uri: text(integration.and_then(|integration| integration.uri())),
        link: text(integration.and_then(|integration| integration.connection_id())),
        key_required: method.api_key_required().unwrap_or(false),
        kind: words.join(" "),
        parameters: names.collect(),
    }
}

/// The id of the resource at this path, made with those above it where they are missing. A second one
/// of the same name is refused by AWS: this call can't double anything.
async fn ensure_resource(api: &Client, id: &str, resources: &mut Resources, path: &str) -> Result<String> {
    let mut parent = resources
        .get("/")
        .map(|(id, _)| id.clone())
        .ok_or_else(|| Error::Failed(format!("reading REST API ({id}): it has no root")))?;
    let mut above = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        above = format!("{above}/{part}");
        if let Some((found, _)) = resources.get(&above) {
            parent.clone_from(found);
            continue;
        }
        let created = api.create_resource().rest_api_id(id).parent_id(&parent).path_part(part).send().await;
        let created = created.doing(|| format!("creating resource {above} of REST API ({id})"))?;
        parent = created.id.unwrap_or_default();
        resources.insert(above.clone(), (parent.clone(), HashMap::new()));
    }
    Ok(parent)
}

async fn put(api: &Client, id: &str, resource: &str, route: &Route) -> Result<()> {
    let word = route.word();
    let names = route.parameters.iter();
    let asked = names.clone().map(|name| (format!("method.request.path.{name}"), true)).collect();
    let handed = names
        .map(|name| (format!("integration.request.path.{name}"), format!("method.request.path.{name}")))
        .collect();
    api.put_method()
        .rest_api_id(id)
        .resource_id(resource)
        .http_method(&route.verb)
        .authorization_type("NONE")
        .api_key_required(route.key_required)
        .set_request_parameters(Some(asked))
        .send()
        .await
        .doing(|| format!("putting {word} of REST API ({id})"))?;
    api.put_integration()
        .rest_api_id(id)
        .resource_id(resource)
        .http_method(&route.verb)
        .r#type(IntegrationType::HttpProxy)
        .integration_http_method(&route.verb)
        .uri(&route.uri)
        .connection_type(ConnectionType::VpcLink)
        .connection_id(&route.link)
        .set_request_parameters(Some(handed))
        .send()
        .await
        .doing(|| format!("putting the integration of {word} of REST API ({id})"))?;
    Ok(())
}

async fn delete_method(api: &Client, id: &str, resource: &str, verb: &str) -> Result<()> {
    let deleted = api.delete_method().rest_api_id(id).resource_id(resource).http_method(verb).send().await;
    deleted.unless_absent(&["NotFoundException"], || format!("deleting a method of REST API ({id})"))?;
    Ok(())
}

/// Deletes the resources that no route goes through, the deepest first.
async fn delete_unused(api: &Client, id: &str, resources: Resources, wanted: &[Route]) -> Result<()> {
    let used = |path: &str| {
        let through = |route: &Route| route.path == path || route.path.starts_with(&format!("{path}/"));
        path == "/" || wanted.iter().any(through)
    };
    for (path, (resource, _)) in resources.into_iter().rev().filter(|(path, _)| !used(path)) {
        let deleted = api.delete_resource().rest_api_id(id).resource_id(resource).send().await;
        deleted.unless_absent(&["NotFoundException"], || {
            format!("deleting resource {path} of REST API ({id})")
        })?;
    }
    Ok(())
}

/// Its stages, deployments and methods go with it.
pub(crate) async fn delete(api: &Client, id: &str) -> Result<()> {
    let deleted = api.delete_rest_api().rest_api_id(id).send().await;
    deleted.unless_absent(&["NotFoundException"], || format!("deleting REST API ({id})"))?;
    Ok(())
}

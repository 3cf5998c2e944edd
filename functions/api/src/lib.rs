//! The step `api`: REST APIs of API Gateway in front of an internal balancer.
//!
//! Ours is a link, an API, a stage, a plan or a key that carries the owner's tags; each has them from
//! the call that creates it on. Resources, methods and deployments are owned through their API.
//!
//! Nothing that serves is cut: a stage goes on serving its deployment until the services that the next one leads to are
//! steady. A route that the spec drops, and a stage or a link that another took the place of, go with `prune`.

mod deployment;
mod link;
mod rest;
mod tag;
#[cfg(test)]
mod tests;
mod usage_plan;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_apigateway::Client;
use aws_sdk_ecs::Client as Ecs;
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use spec::{Api, Balancer, Listener, Target};
use step::{Answer, ApiOutput, Change, Context, Error, Field, Operation, Result, UNKNOWN, side_by_side};

use rest::Route;

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let api = Client::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&api, &context).await,
        Operation::Ensure => {
            let behind = Behind { ecs: Ecs::new(&context.aws), elb: Elb::new(&context.aws) };
            ensure(&api, &behind, &context).await
        }
        Operation::Prune => prune(&api, &context).await,
    }
}

/// How what stands behind an API is looked at.
struct Behind {
    ecs: Ecs,
    elb: Elb,
}

/// What the spec asks for.
struct Wanted {
    key: String,
    address: String,
    name: String,
    tags: BTreeMap<String, String>,
    stage: String,
    stage_tags: BTreeMap<String, String>,
    link_name: String,
    link_tags: BTreeMap<String, String>,
    /// The ARN of the balancer that the link leads to.
    balancer: String,
    /// The URI of each route, by `GET /path`.
    routes: BTreeMap<String, String>,
    /// Who answers behind the balancer, with their target groups.
    targets: BTreeMap<Target, String>,
    usage_plan: Option<usage_plan::Wanted>,
}

impl Wanted {
    fn link_address(&self) -> String {
        format!("{}.link", self.address)
    }

    fn stage_address(&self) -> String {
        format!("{}.stage", self.address)
    }

    /// The routes, over this link.
    fn routes(&self, link: &str) -> Vec<Route> {
        let route = |(word, uri): (&String, &String)| {
            let (verb, path) = verb_and_path(word);
            Route {
                path: path.to_owned(),
                verb: verb.to_owned(),
                uri: uri.clone(),
                link: link.to_owned(),
                key_required: self.usage_plan.is_some(),
                kind: rest::kind(verb),
                parameters: rest::parameters(path),
            }
        };
        self.routes.iter().map(route).collect()
    }
}

/// What a route is called in the spec.
fn verb_and_path(word: &str) -> (&str, &str) {
    let (verb, path) = word.split_once(' ').unwrap_or(("ANY", word));
    (verb, path.trim())
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    context.spec.apis.iter().map(|(key, api)| wanted_one(context, key, api)).collect()
}

fn wanted_one(context: &Context, key: &str, api: &Api) -> Result<Wanted> {
    let address = format!("apis.{key}");
    let named = api.link.whole().and_then(|reference| reference.name.clone()).unwrap_or_default();
    let what = format!("loadBalancers.{named}");
    let output = context.known(context.outputs.load_balancers.get(&named), &what)?;
    let balancer = context.known(context.spec.load_balancers.get(&named), &what)?;
    let uri = |(word, route): (&String, &spec::Route)| {
        let listener = listener(balancer, route.listener.as_ref()).ok_or_else(|| {
            Error::InvalidSpec(format!("{address}.routes.{word}: write which `listener` of {what} answers"))
        })?;
        let port = if listener.port == 80 { String::new() } else { format!(":{}", listener.port) };
        let path = word.split_once(' ').map_or("/", |(_, path)| path.trim());
        Ok((word.clone(), format!("http://{}{port}{path}", output.host)))
    };
    let target = |route: &spec::Route| {
        let to = listener(balancer, route.listener.as_ref())?.default.as_ref()?;
        let target = Target::of(&context.spec, &named, to)?;
        let group = output.targets.get(&target.word())?.clone();
        Some((target, group))
    };
    Ok(Wanted {
        key: key.to_owned(),
        name: context.name(api.name.as_ref(), key, 255),
        tags: context.tags(&address),
        stage: api.stage.clone(),
        stage_tags: context.tags(&format!("{address}.stage")),
        link_name: context.name(None, key, 255),
        link_tags: context.tags(&format!("{address}.link")),
        balancer: output.arn.clone(),
        routes: api.routes.iter().map(uri).collect::<Result<_>>()?,
        targets: api.routes.values().filter_map(target).collect(),
        usage_plan: api.usage_plan.as_ref().map(|plan| usage_plan::wanted(context, key, plan)),
        address,
    })
}

/// The listener of this name, or the only one.
fn listener<'a>(balancer: &'a Balancer, name: Option<&String>) -> Option<&'a Listener> {
    match name {
        Some(name) => balancer.listeners.get(name),
        None => balancer.listeners.values().next().filter(|_| balancer.listeners.len() == 1),
    }
}

async fn ensure(api: &Client, behind: &Behind, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let outputs = side_by_side(wanted.iter().map(|wanted| ensure_one(api, behind, context, wanted))).await?;
    Answer::new(BTreeMap::from_iter(outputs), Vec::new())
}

async fn ensure_one(
    api: &Client,
    behind: &Behind,
    context: &Context,
    wanted: &Wanted,
) -> Result<(String, ApiOutput)> {
    let id = rest::ensure(api, context, wanted).await?;
    let link = link::ensure(api, &behind.elb, context, wanted).await?;
    link::ready(api, context, &link, wanted).await?;
    let routes = rest::ensure_routes(api, &id, &wanted.stage, wanted.routes(&link.id)).await?;
    deployment::ensure(api, behind, context, &id, wanted, &routes).await?;
    let key = match &wanted.usage_plan {
        None => None,
        Some(plan) => Some(usage_plan::ensure(api, context, plan, (&id, &wanted.stage)).await?),
    };
    Ok((wanted.key.clone(), output(context, wanted, Some(&id), key)))
}

fn output(context: &Context, wanted: &Wanted, id: Option<&str>, key: Option<String>) -> ApiOutput {
    let url = id
        .map(|id| format!("https://{id}.execute-api.{}.amazonaws.com/{}", context.run.region, wanted.stage));
    ApiOutput { id: id.unwrap_or(UNKNOWN).to_owned(), url: url.unwrap_or_else(|| UNKNOWN.to_owned()), key }
}

async fn plan(api: &Client, context: &Context) -> Result<Answer> {
    let mut changes = delete_dropped(api, context).await?;
    let mut outputs = BTreeMap::new();
    let links = link::ours(api, context).await?;
    let apis = rest::ours(api, context).await?;
    for wanted in wanted(context)? {
        let (of_link, link) = link::plan(&links, &wanted);
        changes.extend(of_link);
        let found = rest::find(&apis, &wanted.address);
        let routes = wanted.routes(&link);
        changes.extend(match found {
            None => Some(Change::create(&wanted.address).with("name", &wanted.name)),
            Some(found) => {
                let mut fields = rest::difference(found, &wanted);
                let standing = rest::found_routes(api, &found.id).await?;
                fields.extend(rest::route_differences(&standing, &routes));
                Change::update(&wanted.address, fields)
            }
        });
        changes.extend(plan_stage(api, found.map(|found| &found.id), &wanted, &routes).await?);
        let id = found.map(|found| found.id.as_str());
        if let Some(id) = id {
            let others = deployment::other_stages(api, context, id, &wanted.stage).await?;
            changes
                .extend(others.iter().map(|name| Change::delete(wanted.stage_address()).with("name", name)));
        }
        let key = plan_usage(api, context, &wanted, id, &mut changes).await?;
        outputs.insert(wanted.key.clone(), output(context, &wanted, id, key));
    }
    Answer::new(outputs, changes)
}

async fn plan_stage(
    api: &Client,
    id: Option<&String>,
    wanted: &Wanted,
    routes: &[Route],
) -> Result<Option<Change>> {
    let found = match id {
        None => None,
        Some(id) => deployment::difference(api, id, wanted, routes).await?,
    };
    Ok(match found {
        None => Some(Change::create(wanted.stage_address()).with("name", &wanted.stage)),
        Some(fields) => Change::update(wanted.stage_address(), fields),
    })
}

/// The key's id as far as it is known.
async fn plan_usage(
    api: &Client,
    context: &Context,
    wanted: &Wanted,
    id: Option<&str>,
    changes: &mut Vec<Change>,
) -> Result<Option<String>> {
    let Some(plan) = &wanted.usage_plan else { return Ok(None) };
    let plans = usage_plan::plans(api, context).await?;
    let keys = usage_plan::keys(api, context).await?;
    let key = usage_plan::find(&keys, &plan.key_address);
    match usage_plan::find(&plans, &plan.address) {
        None => changes.push(Change::create(&plan.address)),
        Some(found) => {
            let mut fields =
                usage_plan::difference(found, plan, (id.unwrap_or(UNKNOWN), wanted.stage.as_str()));
            if let Some(key) = key
                && !usage_plan::attached(api, &found.id, &key.id).await?
            {
                fields.push(Field {
                    name: "usagePlan.key".to_owned(),
                    found: Some("none".to_owned()),
                    wanted: key.id.clone(),
                });
            }
            changes.extend(Change::update(&plan.address, fields));
        }
    }
    if key.is_none() {
        changes.push(Change::create(&plan.key_address));
    }
    Ok(Some(key.map_or(UNKNOWN.to_owned(), |key| key.id.clone())))
}

async fn prune(api: &Client, context: &Context) -> Result<Answer> {
    let apis = rest::ours(api, context).await?;
    for (key, wanted) in &context.spec.apis {
        let Some(rest::Found { id, .. }) = rest::find(&apis, &format!("apis.{key}")) else { continue };
        deployment::delete_other_stages(api, context, id, &wanted.stage).await?;
        let words = wanted.routes.keys().map(|word| verb_and_path(word));
        let words = words.map(|(verb, path)| format!("{verb} {path}")).collect();
        let routes = rest::keep_routes(api, id, &words).await?;
        deployment::serve_only(api, id, &wanted.stage, &routes).await?;
    }
    Ok(Answer::changed(delete_dropped(api, context).await?))
}

/// Deletes what is ours and the spec doesn't mention, in the order AWS allows; in a plan only names it.
async fn delete_dropped(api: &Client, context: &Context) -> Result<Vec<Change>> {
    let kept = kept(context);
    let plans = usage_plan::plans(api, context).await?;
    let keys = usage_plan::keys(api, context).await?;
    let apis = rest::ours(api, context).await?;
    let links = link::ours(api, context).await?;
    let plans: Vec<_> = doubled_or_dropped(&plans, &kept).collect();
    let keys: Vec<_> = doubled_or_dropped(&keys, &kept).collect();
    let links = dropped_links(api, &kept, links, &apis).await?;
    let doubled =
        |found: &rest::Found| rest::find(&apis, &found.address).is_some_and(|first| first.id != found.id);
    let apis: Vec<_> = apis.iter().filter(|found| !kept.contains(&found.address) || doubled(found)).collect();

    let changes = (plans.iter().map(|found| (&found.address, &found.id)))
        .chain(keys.iter().map(|found| (&found.address, &found.id)))
        .chain(apis.iter().map(|found| (&found.address, &found.id)))
        .chain(links.iter().map(|found| (&found.address, &found.id)))
        .map(|(address, id)| Change::delete(address).with("id", id))
        .collect();
    if context.operation == Operation::Prune {
        side_by_side(plans.iter().map(|found| usage_plan::delete(api, found))).await?;
        side_by_side(keys.iter().map(|found| usage_plan::delete_key(api, &found.id))).await?;
        // AWS takes one deletion of an API every 30 s: what is refused is left to a later pass.
        for found in apis {
            rest::delete(api, &found.id).await?;
        }
        side_by_side(links.iter().map(|found| link::delete_and_wait(api, found))).await?;
    }
    Ok(changes)
}

/// Every address the spec asks for.
fn kept(context: &Context) -> BTreeSet<String> {
    let apis = &context.spec.apis;
    let own = apis.keys().flat_map(|key| [format!("apis.{key}"), format!("apis.{key}.link")]);
    let metered = apis.iter().filter(|(_, api)| api.usage_plan.is_some());
    let metered = metered.flat_map(|(key, _)| [format!("apis.{key}.usagePlan"), format!("apis.{key}.key")]);
    own.chain(metered).collect()
}

fn doubled_or_dropped<'a, T>(
    all: &'a [usage_plan::Found<T>],
    kept: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a usage_plan::Found<T>> {
    let keep = |found: &usage_plan::Found<T>| {
        kept.contains(&found.address)
            && usage_plan::find(all, &found.address).is_some_and(|first| first.id == found.id)
    };
    all.iter().filter(move |found| !keep(found))
}

/// Links at an address the spec doesn't mention, and those that another took the place of: of several
/// at one address the one that the API's methods use is kept.
async fn dropped_links(
    api: &Client,
    kept: &BTreeSet<String>,
    links: Vec<link::Found>,
    apis: &[rest::Found],
) -> Result<Vec<link::Found>> {
    let addresses: BTreeSet<String> = links.iter().map(|link| link.address.clone()).collect();
    let mut used = BTreeSet::new();
    if addresses.len() < links.len() {
        for found in apis {
            used.extend(rest::found_routes(api, &found.id).await?.into_iter().map(|route| route.link));
        }
    }
    let taken: BTreeSet<String> =
        links.iter().filter(|link| used.contains(&link.id)).map(|link| link.address.clone()).collect();
    let replaced = |link: &link::Found| taken.contains(&link.address) && !used.contains(&link.id);
    Ok(links.into_iter().filter(|link| !kept.contains(&link.address) || replaced(link)).collect())
}

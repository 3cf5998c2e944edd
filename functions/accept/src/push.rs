//! Images that are pushed: whose repository it is, and whether a service follows it.

use std::collections::BTreeMap;

use aws_sdk_ecr::{
    Client as Ecr,
    config::{Builder, Region},
};
use jiff::Timestamp;
use serde_json::json;
use step::{
    CONTROL_PLANE, Doing, ENVIRONMENT, EnvironmentState, Owner, Push, Pushed, Result, is_environment,
    pushed_key, write,
};

use crate::{Accept, source};

/// Starts a run of the environment whose services follow the image, and answers the environment; none if no
/// service does. Before that it is written down: a run that is under way may have passed the services by, the new
/// one finds the lock held, and whoever holds it starts the next.
pub(crate) async fn start(accept: &Accept, push: &Push, execution: &str) -> Result<Option<String>> {
    let tags = tags(accept, push, execution).await?;
    let is_ours = |environment: &&String| {
        tags.get(CONTROL_PLANE) == Some(&accept.bucket) && is_environment(environment)
    };
    let Some(environment) = tags.get(ENVIRONMENT).filter(is_ours) else {
        return Ok(None);
    };
    let owner = Owner { environment: environment.clone(), control_plane: accept.bucket.clone() };
    let Some(key) = owner.address(&tags).and_then(|address| address.strip_prefix("repositories.")) else {
        return Ok(None);
    };
    // What is paused takes it when it wakes.
    let status = accept.status(environment).await?;
    let is_paused = status.is_some_and(|status| status.state == EnvironmentState::Paused);
    if is_paused || !follows(accept, environment, key, &push.tag).await? {
        return Ok(None);
    }
    let pushed = Pushed { image: format!("{}:{}", push.repository, push.tag), at: Timestamp::now() };
    write(&accept.s3, &accept.bucket, &pushed_key(environment), &pushed).await?;
    // arn:…:execution:<machine>:<name> runs arn:…:stateMachine:<machine>
    let machine = execution.rsplit_once(':').map_or(execution, |(machine, _)| machine);
    let machine = machine.replace(":execution:", ":stateMachine:");
    let input = json!({ "environment": environment }).to_string();
    let started = accept.sfn.start_execution().state_machine_arn(machine).input(input).send().await;
    started
        .doing(|| format!("starting a run of environment {environment} for the image {}", pushed.image))?;
    Ok(Some(environment.clone()))
}

/// The repository's tags; none if it is gone, or in an account that can't be looked into.
async fn tags(accept: &Accept, push: &Push, execution: &str) -> Result<BTreeMap<String, String>> {
    let Push { account, region, repository, .. } = push;
    let partition = execution.split(':').nth(1).unwrap_or("aws");
    let arn = format!("arn:{partition}:ecr:{region}:{account}:repository/{repository}");
    // arn:aws:states:<region>:<account>:execution:…
    let ecr = if execution.split(':').nth(4) == Some(account) {
        accept.ecr.clone()
    } else {
        match accept.elsewhere.look_into(account).await? {
            Some(aws) => Ecr::new(&aws),
            None => return Ok(BTreeMap::new()),
        }
    };
    // The event may have been forwarded from another region.
    let there = Builder::new().region(Region::new(region.clone()));
    let listed = ecr.list_tags_for_resource().resource_arn(arn).customize().config_override(there);
    let listed = listed.send().await.unless_absent(&["RepositoryNotFoundException"], || {
        format!("reading the tags of ECR repository ({repository})")
    })?;
    let tags = listed.and_then(|answer| answer.tags).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Whether a service of the current spec follows such images. A spec that is wrong follows none.
async fn follows(accept: &Accept, environment: &str, repository: &str, tag: &str) -> Result<bool> {
    let Some(Ok(text)) = source::current(accept, environment).await?.text else { return Ok(false) };
    let Ok(spec) = spec::parse(&text, Some(environment)) else { return Ok(false) };
    let mut followed = spec.services.values().filter_map(|service| service.image.followed());
    Ok(!tag.is_empty()
        && followed.any(|follow| follow.repository == repository && follow.matched(tag).is_some()))
}

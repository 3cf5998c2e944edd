//! What a run asks people to do before tasks can be started: images to push, secrets to set. A step that asks for one
//! thing asks for all that services wait for, so that people are asked once.

use std::collections::BTreeSet;

use aws_sdk_ecr::Client as Ecr;
use aws_sdk_secretsmanager::Client as Secrets;
use step::{Context, Error, Result, side_by_side};

use crate::{Kind, Task, follow, image, secret};

/// The most services that are looked at for what they wait for.
const MOST: usize = 50;

/// The answer of a pass. If it asks people to do something, it also asks for the images and secrets that services of
/// other passes will wait for.
pub async fn all<T>(ecr: &Ecr, secrets: &Secrets, context: &Context, answer: Result<T>) -> Result<T> {
    let (pace, message, asks) = match answer {
        Err(Error::NotReady { pace, message, asks }) if !asks.is_empty() => (pace, message, asks),
        answer => return answer,
    };
    let tasks: Vec<Task<'_>> = Kind::Service.tasks(&context.spec).into_iter().take(MOST).collect();
    let others = [
        of(ready_images(ecr, context, &tasks).await),
        of(ready_followed(ecr, context).await),
        of(ready_secrets(secrets, context, &tasks).await),
    ];
    let mut known: BTreeSet<String> = asks.iter().cloned().collect();
    let others = others.into_iter().flatten().filter(|ask| known.insert(ask.clone()));
    let others: Vec<String> = others.collect();
    let message = std::iter::once(message).chain(others.iter().cloned()).collect::<Vec<_>>().join("; ");
    Err(Error::NotReady { pace, message, asks: asks.into_iter().chain(others).collect() })
}

/// What a look asks for. Faults are told by the pass that needs what it looks for.
fn of(result: Result<()>) -> Vec<String> {
    result.err().map(|error| error.asks().to_vec()).unwrap_or_default()
}

async fn ready_images(ecr: &Ecr, context: &Context, tasks: &[Task<'_>]) -> Result<()> {
    // What runs was deployed by CI.
    let tasks = tasks.iter().filter(|task| !task.is_deployed_by_ci());
    side_by_side(tasks.map(|task| image::ready(ecr, context, task))).await?;
    Ok(())
}

async fn ready_followed(ecr: &Ecr, context: &Context) -> Result<()> {
    let followed = context.spec.services.values().take(MOST).filter_map(|service| service.image.followed());
    side_by_side(followed.map(|follow| follow::ready(ecr, context, follow))).await?;
    Ok(())
}

async fn ready_secrets(secrets: &Secrets, context: &Context, tasks: &[Task<'_>]) -> Result<()> {
    let versions = secret::Versions::look(secrets, context, tasks.iter().copied()).await?;
    side_by_side(tasks.iter().map(|task| versions.ready(context, task))).await?;
    Ok(())
}

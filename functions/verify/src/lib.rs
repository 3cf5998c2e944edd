//! The step `verify`: whether what was built works. It changes nothing.
//!
//! A service works when its primary deployment is what the spec says and completed, with all its tasks
//! running, and each of its targets is healthy; a balancer when it is active; a job when the revision that is what the
//! spec says has run to its end; and the spec's `checks` answer as they must, seen from outside the environment's
//! network. Of what is paused nothing is asked but that its services are there, and run no task.
//!
//! Before anything is written it looks whether the steps' plans refused something.

mod balancer;
mod check;
mod job;
mod refusals;
mod service;
mod target;
#[cfg(test)]
mod tests;

use aws_sdk_ecs::Client as Ecs;
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use step::{Answer, Context, Operation, Result, side_by_side};

/// The state that asks for the spec's `checks`, once everything else is well: their deadlines begin there.
const CHECKS: &str = "Checks";

/// The state that asks whether a plan was refused.
const REFUSALS: &str = "Refusals";

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let ecs = Ecs::new(&context.aws);
    let elb = Elb::new(&context.aws);
    match context.operation {
        Operation::Plan if context.state == REFUSALS => refusals::none(&context).await,
        Operation::Plan | Operation::Prune => Ok(Answer::default()),
        Operation::Ensure if context.state == CHECKS => checks(&context).await,
        Operation::Ensure => ensure(&ecs, &elb, &context).await,
    }
}

async fn ensure(ecs: &Ecs, elb: &Elb, context: &Context) -> Result<Answer> {
    let found = service::find(ecs, context).await?;
    if context.run.paused {
        let services = context.spec.services.iter().map(|(key, service)| {
            let name = context.service_name(key, service);
            std::future::ready(service::stopped(context, found.get(&name), &name))
        });
        side_by_side(services).await?;
        let notes = vec!["skipped: jobs, targets and checks (the environment is paused)".to_owned()];
        return Ok(Answer { notes, ..Answer::default() });
    }
    let services = context.spec.services.iter().map(|(key, service)| {
        let name = context.service_name(key, service);
        service::steady(ecs, context, key, found.get(&name), name)
    });
    side_by_side(services).await?;
    side_by_side(context.spec.jobs.iter().map(|(key, job)| job::completed(ecs, context, key, job))).await?;
    balancer::active(elb, context).await?;
    let targets = spec::targets(&context.spec);
    side_by_side(targets.iter().map(|target| target::healthy(elb, context, target, &found))).await?;
    Ok(Answer::default())
}

async fn checks(context: &Context) -> Result<Answer> {
    if context.run.paused {
        return Ok(Answer::default());
    }
    let http = check::client()?;
    let notes = side_by_side(context.spec.checks.iter().map(|check| check::answers(&http, context, check)));
    Ok(Answer { notes: notes.await?.into_iter().flatten().collect(), ..Answer::default() })
}

//! Whether tasks on Fargate in a network without NAT reach what they are started from: the registry of their image,
//! their log, their secrets.

use super::{Check, image, task};
use crate::{Image, Nat, Placement, Section, Text};

/// What a task in a subnet without a way out needs an endpoint for.
/// Source: <https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html>
const ENDPOINTS: [&str; 4] = ["ecr.api", "ecr.dkr", "s3", "logs"];

pub(super) fn check(check: &mut Check<'_>) {
    let spec = check.spec;
    let closed = |network: &&crate::Network| network.vpc.is_none() && network.nat == Nat::None;
    let Some(network) = spec.network.as_ref().filter(closed) else { return };
    if task::on_instances(check) {
        return;
    }
    let services = spec.services.iter().filter(|(_, service)| service.placement == Placement::Private);
    for (key, service) in services {
        let own = match &service.image {
            Image::Written(text) => Some(text),
            Image::Followed(_) => None,
        };
        let sidecars = service.sidecars.values();
        let images: Vec<&Text> = own.into_iter().chain(sidecars.clone().map(|it| &it.image)).collect();
        let values = service.environment.values().chain(sidecars.flat_map(|it| it.environment.values()));
        task_of(check, network, ["services", key], &images, has_secrets(values));
    }
    let jobs = spec.jobs.iter().filter(|(_, job)| job.placement == Placement::Private);
    for (key, job) in jobs {
        task_of(check, network, ["jobs", key], &[&job.image], has_secrets(job.environment.values()));
    }
}

fn has_secrets<'a>(mut values: impl Iterator<Item = &'a Text>) -> bool {
    values.any(|value| value.whole().is_some_and(|reference| reference.section == Section::Secrets))
}

fn task_of(
    check: &mut Check<'_>,
    network: &crate::Network,
    path: [&str; 2],
    images: &[&Text],
    has_secrets: bool,
) {
    if let Some(image) = images.iter().find(|image| !image::is_ecr(image)) {
        check.fault(
            &path,
            format!(
                "its private subnets have no way to {}, where {image} comes from; write `nat: single` in network, \
                 `placement: public` here, or an image of a repository",
                image::registry(image)
            ),
        );
        return;
    }
    let secrets = has_secrets.then_some("secretsmanager");
    let needed = ENDPOINTS.into_iter().chain(secrets);
    let missing: Vec<&str> =
        needed.filter(|needed| !network.endpoints.iter().any(|found| found == needed)).collect();
    if !missing.is_empty() {
        check.fault(
            &path,
            format!(
                "its private subnets have no way out; add {} to network.endpoints, or write `nat: single` there, or \
                 `placement: public` here",
                missing.join(", ")
            ),
        );
    }
}

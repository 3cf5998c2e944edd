//! The cluster, and the instances it runs on.

use super::Check;
use crate::{Capacity, Cluster, Instances};

pub(super) fn check(check: &mut Check<'_>) {
    let Some(cluster) = &check.spec.cluster else { return };
    if cluster.existing {
        existing(check, cluster);
        return;
    }
    match (cluster.capacity, &cluster.instances) {
        (Capacity::Ec2, None) => check.fault(
            &["cluster", "capacity"],
            "say what instances it has: `instances: { type: t3.small, min: 1, max: 3 }`",
        ),
        (Capacity::Fargate | Capacity::FargateSpot, Some(_)) => {
            check.fault(
                &["cluster", "instances"],
                "Fargate has no instances; write `capacity: ec2` beside them",
            );
        }
        (Capacity::Ec2, Some(instances)) => of_instances(check, instances),
        _ => {}
    }
}

/// Of a cluster that exists the spec says what it is called and what tasks run on, and nothing that a new one
/// would be made with.
fn existing(check: &mut Check<'_>, cluster: &Cluster) {
    if cluster.name.is_none() {
        check.fault(&["cluster", "existing"], "which cluster? write its `name` beside it");
    }
    for (field, said) in [("instances", cluster.instances.is_some()), ("insights", cluster.insights)] {
        if said {
            check.fault(
                &["cluster", field],
                format!("`{field}` is for a new cluster, and this one exists; leave one of the two out"),
            );
        }
    }
}

fn of_instances(check: &mut Check<'_>, instances: &Instances) {
    let path = ["cluster", "instances"];
    if instances.most() < instances.min {
        check.fault(
            &[&path[..], &["max"]].concat(),
            format!("at most {} are fewer than at least {}", instances.most(), instances.min),
        );
    }
    super::service::mounted_paths(check, &path, instances.mounts.keys());
    super::service::placed(check, &path, instances.placement);
    super::statements(check, &path, &[], &instances.policies);
}

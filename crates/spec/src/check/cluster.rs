//! The cluster, and the instances it runs on.

use super::Check;
use crate::{Architecture, Capacity, Cluster, Instances};

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
    let (kind, arm) = (&instances.kind, is_graviton(&instances.kind));
    if arm != (instances.architecture == Architecture::Arm) {
        let (processor, write) = if arm { ("Graviton", "arm64") } else { ("an x86-64 processor", "x86_64") };
        check.fault(
            &[&path[..], &["architecture"]].concat(),
            format!("{kind} has {processor}; write `architecture: {write}`, or another `type`"),
        );
    }
    super::service::mounted_paths(check, &path, instances.mounts.keys());
    super::service::placed(check, &path, instances.placement);
    super::role::statements(check, &path, &[], &instances.policies);
}

/// Whether instances of a type have Graviton: a `g` behind the generation says so, as in t4g and c7gn.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-types.html#instance-type-names>
fn is_graviton(kind: &str) -> bool {
    let family = kind.split(['.', '-']).next().unwrap_or_default();
    let behind = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    family == "a1" || behind.contains('g')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("t3.small", false)]
    #[case("g5.xlarge", false)]
    #[case("g4dn.xlarge", false)]
    #[case("t4g.small", true)]
    #[case("c7gn.large", true)]
    #[case("g5g.xlarge", true)]
    #[case("a1.medium", true)]
    fn a_type_says_its_processor(#[case] kind: &str, #[case] expected: bool) {
        assert_eq!(is_graviton(kind), expected);
    }
}

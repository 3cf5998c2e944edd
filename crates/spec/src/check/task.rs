//! Tasks, of services and jobs alike: how large they are, how they are connected, what they mount.

use std::collections::BTreeMap;

use super::Check;
use crate::{Capacity, NetworkMode, Placement, Sidecar, Text};

/// What services' and jobs' tasks have in common.
pub(super) struct Task<'a> {
    pub(super) path: [&'a str; 2],
    pub(super) cpu: Option<u32>,
    pub(super) memory: Option<u32>,
    pub(super) reservation: Option<u32>,
    pub(super) mode: Option<NetworkMode>,
    pub(super) placement: Placement,
    pub(super) mounts: &'a BTreeMap<String, Text>,
}

impl Task<'_> {
    fn at<'b>(&'b self, field: &'b str) -> [&'b str; 3] {
        [self.path[0], self.path[1], field]
    }
}

pub(super) fn check(check: &mut Check<'_>, task: &Task<'_>) {
    if on_instances(check) {
        of_instances(check, task);
    } else {
        of_fargate(check, task);
    }
    if task.mode == Some(NetworkMode::Awsvpc) {
        super::service::placed(check, &task.path, task.placement);
    }
    super::service::mounted_paths(check, &task.path, task.mounts.keys());
}

fn of_fargate(check: &mut Check<'_>, task: &Task<'_>) {
    size(check, task, task.cpu.unwrap_or_default(), task.memory.unwrap_or_default());
    if task.reservation.is_some() {
        check.fault(
            &task.at("memoryReservation"),
            "on Fargate a task has its `memory` for itself; leave the line out",
        );
    }
    if task.mode == Some(NetworkMode::Bridge) {
        check.fault(&task.at("networkMode"), "Fargate connects tasks by `awsvpc` alone; leave the line out");
    }
    no_directories(check, &task.path, task.mounts);
}

/// What a container beside a service's own has to say of itself.
pub(super) fn sidecar(check: &mut Check<'_>, path: &[&str], sidecar: &Sidecar) {
    super::service::mounted_paths(check, path, sidecar.mounts.keys());
    if on_instances(check) {
        memory(check, path, sidecar.memory, sidecar.memory_reservation);
    } else {
        no_directories(check, path, &sidecar.mounts);
    }
}

/// Whether tasks run on EC2 instances.
pub(super) fn on_instances(check: &Check<'_>) -> bool {
    check.spec.cluster.as_ref().is_some_and(|cluster| cluster.capacity == Capacity::Ec2)
}

fn no_directories(check: &mut Check<'_>, path: &[&str], mounts: &BTreeMap<String, Text>) {
    for (mounted, _) in mounts.iter().filter(|(_, what)| is_directory(what)) {
        let at = [path, &["mounts", mounted]].concat();
        check.fault(&at, "on Fargate there is no instance with directories; mount ${fileSystems.x}");
    }
}

fn of_instances(check: &mut Check<'_>, task: &Task<'_>) {
    memory(check, &task.path, task.memory, task.reservation);
    if task.mode == Some(NetworkMode::Awsvpc) && task.placement == Placement::Public {
        check.fault(&task.at("placement"), "tasks on instances get no public address; leave the line out");
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>
fn memory(check: &mut Check<'_>, path: &[&str], memory: Option<u32>, reservation: Option<u32>) {
    match (memory, reservation) {
        (None, None) => check.fault(
            path,
            "on instances a container says its memory: `memory`, which it is ended at, `memoryReservation`, which is \
             kept free for it, or both",
        ),
        (Some(memory), _) if memory < 6 => {
            let path = [path, &["memory"]].concat();
            check.fault(&path, format!("{memory} MiB are too few; Docker takes 6 or more"));
        }
        (Some(memory), Some(reservation)) if reservation > memory => check.fault(
            &[path, &["memoryReservation"]].concat(),
            format!("{reservation} MiB can't be kept free for a container that is ended at {memory}"),
        ),
        _ => {}
    }
}

/// Whether what is mounted is a directory of the instance.
pub(super) fn is_directory(mounted: &Text) -> bool {
    mounted.to_string().starts_with('/')
}

/// The memory, in MiB, that goes with so much CPU: from, to, in steps of.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html>
const SIZES: [(u32, &[u32]); 3] = [
    (256, &[512, 1024, 2048]),
    (512, &[1024, 2048, 3072, 4096]),
    (1024, &[2048, 3072, 4096, 5120, 6144, 7168, 8192]),
];

/// The same for the larger sizes, as ranges.
const RANGES: [(u32, u32, u32, u32); 4] = [
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];

fn memories(cpu: u32) -> Option<Vec<u32>> {
    let small = SIZES.iter().find(|(size, _)| *size == cpu).map(|(_, memories)| memories.to_vec());
    small.or_else(|| {
        let (_, from, to, step) = RANGES.iter().find(|(size, ..)| *size == cpu)?;
        Some((*from..=*to).step_by(*step as usize).collect())
    })
}

fn size(check: &mut Check<'_>, task: &Task<'_>, cpu: u32, memory: u32) {
    let Some(memories) = memories(cpu) else {
        let sizes = SIZES.iter().map(|(cpu, _)| *cpu).chain(RANGES.iter().map(|(cpu, ..)| *cpu));
        let sizes: Vec<String> = sizes.map(|cpu| cpu.to_string()).collect();
        check.fault(
            &task.at("cpu"),
            format!("Fargate has no size of {cpu} CPU units; there are {}", sizes.join(", ")),
        );
        return;
    };
    if memories.contains(&memory) {
        return;
    }
    let mut nearest = memories.clone();
    nearest.sort_by_key(|offered| offered.abs_diff(memory));
    let nearest: Vec<String> = nearest.into_iter().take(2).map(|memory| memory.to_string()).collect();
    let (least, most) =
        (memories.first().copied().unwrap_or_default(), memories.last().copied().unwrap_or_default());
    check.fault(
        &task.at("memory"),
        format!(
            "Fargate has no {memory} MiB with {cpu} CPU units, which take {least} to {most}; the nearest are {}",
            nearest.join(" and ")
        ),
    );
}

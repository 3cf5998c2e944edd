//! What a spec leaves to us, filled in, so that steps find it written.

use ipnet::Ipv4Net;

use crate::{Capacity, Cluster, Network, NetworkMode, Spec};

/// The addresses of a VPC whose spec says none.
const CIDR: &str = "10.0.0.0/16";

/// The smallest prefix of a subnet that is cut by us: 4,096 addresses.
const PREFIX: u8 = 20;

/// What a task on Fargate has where its spec doesn't say: CPU units, and MiB of memory.
const CPU: u32 = 256;
const MEMORY: u32 = 512;

/// Makes a network and a cluster where something needs them, cuts a new VPC into subnets, and says of each task
/// how large it is and how it is connected.
pub(crate) fn normalise(spec: &mut Spec) {
    let needed = !spec.services.is_empty()
        || !spec.load_balancers.is_empty()
        || !spec.file_systems.is_empty()
        || !spec.databases.is_empty()
        || !spec.jobs.is_empty()
        || spec.functions.values().any(|function| function.vpc)
        || spec.dns.values().any(|zone| zone.private)
        || spec.cluster.as_ref().is_some_and(|cluster| cluster.instances.is_some());
    if needed {
        spec.network.get_or_insert_default();
    }
    if !spec.services.is_empty() || !spec.jobs.is_empty() {
        spec.cluster.get_or_insert_with(Cluster::default);
    }
    if spec.protect {
        protect(spec);
    }
    tasks(spec);
    if let Some(network) = spec.network.as_mut().filter(|network| network.vpc.is_none()) {
        addresses(network);
    }
}

/// Has everything that keeps data say that it is protected.
fn protect(spec: &mut Spec) {
    let secrets = spec.secrets.values_mut().map(|secret| &mut secret.protect);
    let buckets = spec.buckets.values_mut().map(|bucket| &mut bucket.protect);
    let file_systems = spec.file_systems.values_mut().map(|file_system| &mut file_system.protect);
    let databases = spec.databases.values_mut().map(|database| &mut database.protect);
    let zones = spec.dns.values_mut().filter(|zone| zone.private).map(|zone| &mut zone.protect);
    for protect in secrets.chain(buckets).chain(file_systems).chain(databases).chain(zones) {
        *protect = true;
    }
}

fn tasks(spec: &mut Spec) {
    let capacity = spec.cluster.as_ref().map(|cluster| cluster.capacity).unwrap_or_default();
    let services = spec.services.values_mut();
    let services = services.map(|service| (&mut service.cpu, &mut service.memory, &mut service.network_mode));
    let jobs = spec.jobs.values_mut();
    let jobs = jobs.map(|job| (&mut job.cpu, &mut job.memory, &mut job.network_mode));
    for (cpu, memory, mode) in services.chain(jobs) {
        if capacity == Capacity::Ec2 {
            mode.get_or_insert(NetworkMode::Bridge);
        } else {
            cpu.get_or_insert(CPU);
            memory.get_or_insert(MEMORY);
            mode.get_or_insert(NetworkMode::Awsvpc);
        }
    }
}

fn addresses(network: &mut Network) {
    let cidr = network.cidr.get_or_insert_with(|| CIDR.to_owned());
    if network.public.is_empty() && network.private.is_empty() {
        // Addresses that can't be cut are a fault that the check tells.
        let blocks = cidr.parse().ok().and_then(|cidr| cut(cidr, 2 * usize::from(network.zones)));
        let mut public = blocks.unwrap_or_default();
        network.private = public.split_off(public.len() / 2);
        network.public = public;
    }
    let zones = network.public.len().max(network.private.len());
    network.zones = u8::try_from(zones).unwrap_or(u8::MAX);
}

/// So many equal subnets; none if they would be smaller than AWS takes.
fn cut(cidr: Ipv4Net, count: usize) -> Option<Vec<String>> {
    let bits = u8::try_from(count.next_power_of_two().trailing_zeros()).ok()?;
    let prefix = (cidr.prefix_len() + bits).max(PREFIX);
    let subnets = cidr.subnets(prefix).ok().filter(|_| prefix <= 28)?;
    Some(subnets.take(count).map(|subnet| subnet.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(cidr: &str, zones: u8) -> Network {
        let mut network = Network { cidr: Some(cidr.to_owned()), zones, ..Network::default() };
        addresses(&mut network);
        network
    }

    #[test]
    fn a_vpc_is_cut_into_public_subnets_and_then_private_ones() {
        let network = network("10.0.0.0/16", 2);
        assert_eq!(network.public, ["10.0.0.0/20", "10.0.16.0/20"]);
        assert_eq!(network.private, ["10.0.32.0/20", "10.0.48.0/20"]);
    }

    #[test]
    fn a_small_vpc_is_cut_as_far_as_aws_takes() {
        assert_eq!(network("10.0.0.0/26", 2).private, ["10.0.0.32/28", "10.0.0.48/28"]);
        assert_eq!(network("10.0.0.0/27", 2).private, Vec::<String>::new());
    }
}

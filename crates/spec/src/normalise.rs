//! What a spec leaves to us, filled in, so that steps find it written.

use ipnet::Ipv4Net;

use crate::{Capacity, Cluster, Network, NetworkMode, Spec};

/// The addresses of a VPC whose spec says none.
const CIDR: &str = "10.0.0.0/16";

/// The largest subnet that is cut by us: 4,096 addresses.
const LARGEST: u8 = 20;

/// The smallest that is cut so that there is room for more zones: 256 addresses.
const ROOMY: u8 = 24;

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
    network.cidr.get_or_insert_with(|| CIDR.to_owned());
    if network.public.is_empty() && network.private.is_empty() {
        // Addresses that can't be cut are a fault that the check tells.
        (network.public, network.private) = network.cut().unwrap_or_default();
    }
    let zones = network.public.len().max(network.private.len());
    network.zones = u8::try_from(zones).unwrap_or(u8::MAX);
}

impl Network {
    /// Whether the subnets are those that the VPC is cut into where the spec names none: then what matters is how many
    /// there are, and those that stand keep the addresses they have.
    pub fn is_cut(&self) -> bool {
        self.vpc.is_none()
            && self.cut().is_some_and(|(public, private)| public == self.public && private == self.private)
    }

    /// The equal blocks that the VPC's addresses are cut into, in their order: more than the zones need, where the VPC
    /// has room for more zones.
    pub fn blocks(&self) -> Vec<Ipv4Net> {
        let cidr = self.cidr.as_deref().unwrap_or(CIDR).parse::<Ipv4Net>().ok();
        let blocks = cidr.and_then(|cidr| cidr.subnets(prefix(cidr, 2 * usize::from(self.zones))?).ok());
        blocks.into_iter().flatten().collect()
    }

    /// The public subnets and the private ones, one of each a zone; none where the VPC is too small.
    fn cut(&self) -> Option<(Vec<String>, Vec<String>)> {
        let zones = usize::from(self.zones);
        let mut public: Vec<String> = self.blocks().iter().take(2 * zones).map(Ipv4Net::to_string).collect();
        let private = (public.len() == 2 * zones).then(|| public.split_off(zones))?;
        Some((public, private))
    }
}

/// The prefix of so many equal subnets: with room for six zones where they don't get too small by that; none if they
/// would be smaller than AWS takes.
fn prefix(cidr: Ipv4Net, count: usize) -> Option<u8> {
    let bits = u8::try_from(count.next_power_of_two().trailing_zeros()).ok()?;
    let roomy = (cidr.prefix_len() + 4).min(ROOMY);
    let prefix = (cidr.prefix_len() + bits).max(roomy).max(LARGEST);
    (prefix <= 28).then_some(prefix)
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
    fn a_vpc_is_cut_with_room_for_six_zones_unless_its_subnets_would_be_small() {
        for (cidr, zones, first, blocks) in [
            ("10.0.0.0/16", 2, "10.0.0.0/20", 16),
            ("10.0.0.0/18", 2, "10.0.0.0/22", 16),
            ("10.0.0.0/20", 2, "10.0.0.0/24", 16),
            ("10.0.0.0/22", 2, "10.0.0.0/24", 4),
            ("10.0.0.0/24", 3, "10.0.0.0/27", 8),
        ] {
            let network = network(cidr, zones);
            assert_eq!((network.public[0].as_str(), network.blocks().len()), (first, blocks), "{cidr}");
            assert!(network.is_cut());
        }
    }

    #[test]
    fn subnets_that_the_spec_names_are_not_cut() {
        let public = vec!["10.0.0.0/24".to_owned()];
        let mut network = Network { public, ..Network::default() };
        addresses(&mut network);
        assert!(!network.is_cut());
    }

    #[test]
    fn a_small_vpc_is_cut_as_far_as_aws_takes() {
        assert_eq!(network("10.0.0.0/26", 2).private, ["10.0.0.32/28", "10.0.0.48/28"]);
        assert_eq!(network("10.0.0.0/27", 2).private, Vec::<String>::new());
    }
}

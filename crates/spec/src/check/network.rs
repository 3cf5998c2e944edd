//! The network's addresses.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::Check;
use crate::{Nat, Network};

pub(super) fn check(check: &mut Check<'_>) {
    let Some(network) = &check.spec.network else { return };
    match &network.vpc {
        Some(_) => adopted(check, network),
        None => own(check, network),
    }
    endpoints(check, network);
}

/// Of a VPC that exists the spec names subnets, and nothing that a new one would be made with.
fn adopted(check: &mut Check<'_>, network: &Network) {
    let new = Network::default();
    let said = [
        ("cidr", network.cidr != new.cidr),
        ("zones", network.zones != new.zones),
        ("nat", network.nat != new.nat),
    ];
    for (field, _) in said.into_iter().filter(|(_, said)| *said) {
        check.fault(
            &["network", field],
            format!("`{field}` is for a new VPC, and `vpc` names one that exists; leave one of the two out"),
        );
    }
    for (kind, ids) in kinds(network) {
        for (index, id) in ids.iter().enumerate() {
            let digits = id.strip_prefix("subnet-").unwrap_or_default();
            if !(8..=17).contains(&digits.len())
                || !digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
            {
                check.fault(
                    &["network", kind, &index.to_string()],
                    format!(
                        "\"{id}\" is no subnet's id; in a VPC that exists write ids such as subnet-0a1b2c3d"
                    ),
                );
            }
        }
    }
    if network.public.is_empty() && network.private.is_empty() {
        check.fault(
            &["network"],
            "of a VPC that exists, name the subnets to build in: `public`, `private` or both",
        );
    }
}

fn kinds(network: &Network) -> [(&'static str, &Vec<String>); 2] {
    [("public", &network.public), ("private", &network.private)]
}

fn own(check: &mut Check<'_>, network: &Network) {
    let text = network.cidr.as_deref().unwrap_or_default();
    let Some(vpc) = addresses(check, &["network", "cidr"], text) else { return };
    if network.public.is_empty() && network.private.is_empty() {
        check.fault(&["network", "cidr"], format!("{vpc} is too small to be cut into subnets over the zones; write a larger one, or fewer `zones`"));
        return;
    }
    let mut taken: Vec<Ipv4Net> = Vec::new();
    for (kind, cidrs) in kinds(network) {
        for (index, cidr) in cidrs.iter().enumerate() {
            let index = index.to_string();
            let path = ["network", kind, &index];
            let Some(subnet) = addresses(check, &path, cidr) else { continue };
            if !vpc.contains(&subnet) {
                check.fault(&path, format!("{subnet} lies outside the VPC's {vpc}"));
            }
            if let Some(other) = taken.iter().find(|other| other.contains(&subnet) || subnet.contains(*other))
            {
                check.fault(&path, format!("{subnet} overlaps {other}"));
            }
            taken.push(subnet);
        }
    }
    zones(check, network);
    nat(check, network);
}

/// Source: <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html>
fn addresses(check: &mut Check<'_>, path: &[&str], text: &str) -> Option<Ipv4Net> {
    let Ok(cidr) = text.parse::<Ipv4Net>() else {
        check.fault(path, format!("\"{text}\" is no range of addresses; write one such as 10.0.0.0/16"));
        return None;
    };
    if cidr.trunc() != cidr {
        check.fault(path, format!("{cidr} begins in the middle of its range; write {}", cidr.trunc()));
        return None;
    }
    if !(16..=28).contains(&cidr.prefix_len()) {
        check.fault(path, format!("AWS takes ranges from /16 to /28, not {cidr}"));
        return None;
    }
    Some(cidr)
}

fn zones(check: &mut Check<'_>, network: &Network) {
    let (public, private) = (network.public.len(), network.private.len());
    if public != private && public != 0 && private != 0 {
        check.fault(
            &["network", "private"],
            format!("write one private subnet for each public one; there are {private} and {public}"),
        );
    }
    let most = public.max(private);
    if most > 6 {
        check.fault(&["network"], format!("no region has {most} zones; write at most 6 subnets of a kind"));
    }
}

/// A NAT gateway stands in a public subnet.
fn nat(check: &mut Check<'_>, network: &Network) {
    if network.nat != Nat::None && network.public.is_empty() {
        check.fault(&["network", "nat"], "a NAT gateway stands in a public subnet, and there is none; write `public` subnets, or `nat: none`");
    }
}

fn endpoints(check: &mut Check<'_>, network: &Network) {
    let mut seen = BTreeSet::new();
    for (index, service) in network.endpoints.iter().enumerate() {
        let index = index.to_string();
        let path = ["network", "endpoints", &index];
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
        if service.is_empty() || !service.chars().all(plain) || service.starts_with("com.amazonaws") {
            check.fault(&path, format!("\"{service}\" is no service's word; write what follows com.amazonaws.<region>. in its endpoint's name, such as s3 or ecr.api"));
        }
        if !seen.insert(service) {
            check.fault(&path, format!("{service} is there twice"));
        }
        if network.private.is_empty() {
            check.fault(&path, "an endpoint is for private subnets, and there are none");
        }
    }
}

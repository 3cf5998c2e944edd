//! The step `load-balancer`: balancers, the target groups they send to, and their security groups.
//!
//! Ours is what carries the owner's tags; everything here has them from the call that creates it on,
//! also the rule on the services' shared group by which a balancer reaches them. Nothing is waited
//! for: listeners are made on a balancer that is still provisioning. What can't be changed (a balancer's type
//! and scheme, a target group's protocol) is replaced: the new one is made beside the old, which goes with
//! `prune`, when listeners, links and records lead to the new. An existing balancer is somebody
//! else's and stays as it is: ours are the target groups it sends to and the rules that let its security
//! groups reach the services.

mod balancer;
mod target_group;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client as Ec2;
use aws_sdk_elasticloadbalancingv2::{Client as Elb, types::LoadBalancer};
use spec::{Balancer, Kind, NetworkMode, Scheme, Section, Service, Spec, Target};
use step::{
    Answer, Change, Context, LoadBalancerOutput, NetworkOutput, Operation, Result, UNKNOWN, side_by_side,
};

use balancer::Identity;
use security_group::{Rule, Source};

/// What addresses of this step begin with.
const SECTION: &str = "loadBalancers.";

/// Where a container's port stands on its instance when any free one is taken: the kernel's range where the
/// agent finds one, else 49153 to 65535.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>
const ANY_FREE: Ports = (32768, 65535);

/// The first port and the last.
type Ports = (u16, u16);

/// One pass.
pub async fn handle(context: Context) -> Result<Answer> {
    let elb = Elb::new(&context.aws);
    let ec2 = Ec2::new(&context.aws);
    match context.operation {
        Operation::Plan => plan(&elb, &ec2, &context).await,
        Operation::Ensure => ensure(&elb, &ec2, &context).await,
        Operation::Prune => prune(&elb, &ec2, &context).await,
    }
}

/// What the spec asks for.
struct Wanted {
    /// Its name in the spec.
    key: String,
    address: String,
    identity: Identity,
    vpc: String,
    /// What it is given; none for one that exists and is somebody else's.
    own: Option<Own>,
    /// The group that services share.
    services_group: String,
    targets: Vec<target_group::Wanted>,
    /// The ports by which it reaches services.
    ports: BTreeSet<Ports>,
}

/// What a balancer of ours is given.
struct Own {
    subnets: Vec<String>,
    /// Whether an API reaches it over a VPC link.
    private_link: bool,
    tags: BTreeMap<String, String>,
    group: security_group::Wanted,
}

impl Own {
    fn subnet_set(&self) -> BTreeSet<&str> {
        self.subnets.iter().map(String::as_str).collect()
    }
}

impl Wanted {
    /// What the addresses of its rules on the services' group begin with.
    fn reach_prefix(&self) -> String {
        reach_prefix(&self.key)
    }

    /// The rules by which it reaches the services, from the groups it has.
    fn reach(&self, groups: &[String]) -> Vec<Rule> {
        reach(&self.key, &self.ports, groups)
    }
}

/// The rules by which a balancer that has these groups reaches services at these ports.
fn reach(key: &str, ports: &BTreeSet<Ports>, groups: &[String]) -> Vec<Rule> {
    let from = |group: &String| {
        let rule = |(first, last): &Ports| Rule {
            address: reach_address(key, (*first, *last)),
            ports: *first..=*last,
            source: Source::Group(group.clone()),
        };
        ports.iter().map(rule).collect::<Vec<_>>()
    };
    groups.iter().flat_map(from).collect()
}

fn reach_prefix(key: &str) -> String {
    format!("{SECTION}{key}.reach.")
}

fn reach_address(key: &str, (first, last): Ports) -> String {
    format!("{}{}", reach_prefix(key), security_group::told(&(first..=last)))
}

/// The ports by which a balancer reaches a target, and asks whether it is well; none of a function. In bridge
/// mode they are the instance's.
fn reached(spec: &Spec, target: &Target) -> Vec<Ports> {
    target.service().map(|(name, port)| reached_at(&spec.services[name], port)).unwrap_or_default()
}

fn reached_at(service: &Service, port: u16) -> Vec<Ports> {
    let at = match (service.network_mode, service.host_ports.get(&port.to_string())) {
        (Some(NetworkMode::Bridge), None) => ANY_FREE,
        (Some(NetworkMode::Bridge), Some(host)) => (*host, *host),
        _ => (port, port),
    };
    let asked = service.health.as_ref().and_then(|health| health.port);
    [at].into_iter().chain(asked.map(|port| (port, port))).collect()
}

fn wanted(context: &Context) -> Result<Vec<Wanted>> {
    context.spec.load_balancers.iter().map(|(key, balancer)| wanted_one(context, key, balancer)).collect()
}

fn wanted_one(context: &Context, key: &str, balancer: &Balancer) -> Result<Wanted> {
    let network = context.known(context.outputs.network.as_ref(), "network")?;
    let targets = spec::targets(&context.spec);
    let targets = targets.iter().filter(|target| target.balancer == key);
    let identity = Identity::new(context, key, balancer);
    Ok(Wanted {
        key: key.to_owned(),
        vpc: network.vpc.clone(),
        own: (!balancer.existing).then(|| own(context, network, key, balancer)),
        services_group: network.group.clone(),
        targets: target_group::wanted(context, key, &identity, &network.vpc),
        ports: targets.flat_map(|target| reached(&context.spec, target)).collect(),
        address: format!("{SECTION}{key}"),
        identity,
    })
}

fn own(context: &Context, network: &NetworkOutput, key: &str, balancer: &Balancer) -> Own {
    let address = format!("{SECTION}{key}");
    let everywhere = "0.0.0.0/0".to_owned();
    let (subnets, source) = match balancer.scheme {
        Scheme::Internal => (&network.private, &network.cidr),
        Scheme::InternetFacing => (&network.public, &everywhere),
    };
    let rule = |port: u16| Rule {
        address: format!("{address}.group.{port}"),
        ports: port..=port,
        source: Source::Cidr(source.clone()),
    };
    let ports: BTreeSet<u16> = balancer.listeners.values().map(|listener| listener.port).collect();
    Own {
        subnets: subnets.clone(),
        private_link: balancer.kind == Kind::Network && linked(context, key),
        tags: context.tags(&address),
        group: security_group::Wanted {
            address: format!("{address}.group"),
            name: context.name(None, &format!("{key}-balancer"), 255),
            description: "Of a load balancer of an environment",
            vpc: network.vpc.clone(),
            ingress: ports.into_iter().map(rule).collect(),
        },
    }
}

/// Whether an API's link leads to this balancer.
fn linked(context: &Context, key: &str) -> bool {
    let links = context.spec.apis.values().filter_map(|api| api.link.whole());
    links.into_iter().any(|link| link.section == Section::LoadBalancers && link.name.as_deref() == Some(key))
}

async fn ensure(elb: &Elb, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let wanted = wanted(context)?;
    let one = async |wanted: &Wanted| {
        let (balancer, groups) = match &wanted.own {
            None => {
                let found = balancer::existing(elb, context, wanted).await?;
                let groups = found.security_groups().to_vec();
                (found, groups)
            }
            Some(own) => {
                let group = security_group::ensure(ec2, context, &own.group).await?;
                (balancer::ensure(elb, context, wanted, own, &group).await?, vec![group])
            }
        };
        let (services, reach) = (&wanted.services_group, wanted.reach(&groups));
        security_group::ensure_rules(ec2, context, services, &wanted.reach_prefix(), &reach).await?;
        let targets = target_group::ensure(elb, context, &wanted.targets).await?;
        Ok((wanted.key.clone(), output(balancer.load_balancer_arn, balancer.dns_name, targets)))
    };
    let outputs = BTreeMap::from_iter(side_by_side(wanted.iter().map(one)).await?);
    reach_on(elb, ec2, context, &outputs).await?;
    Answer::new(outputs, Vec::new())
}

/// Target groups that the spec drops serve until `prune`, and ECS registers a service's new tasks in them, too. The
/// balancers that they hang on are let to the ports of these for as long.
async fn reach_on(
    elb: &Elb,
    ec2: &Ec2,
    context: &Context,
    outputs: &BTreeMap<String, LoadBalancerOutput>,
) -> Result<()> {
    let Some(network) = &context.outputs.network else { return Ok(()) };
    let wanted: BTreeSet<&String> = outputs.values().flat_map(|output| output.targets.values()).collect();
    for found in target_group::ours(elb, context).await? {
        let Some((key, service)) = receiver(&context.spec, &found.tags[step::ADDRESS]) else { continue };
        let arns = found.aws.load_balancer_arns();
        if arns.is_empty() || found.aws.target_group_arn.as_ref().is_some_and(|arn| wanted.contains(arn)) {
            continue;
        }
        let groups = balancer::groups(elb, arns).await?;
        let ports = service.ports.iter().flat_map(|port| reached_at(service, *port)).collect();
        let (rules, prefix) = (reach(key, &ports, &groups), reach_prefix(key));
        security_group::ensure_rules(ec2, context, &network.group, &prefix, &rules).await?;
    }
    Ok(())
}

/// The balancer whose target group has this address, and the service of the spec that is behind it: see
/// [`Target::address`].
fn receiver<'a>(spec: &'a Spec, address: &'a str) -> Option<(&'a str, &'a Service)> {
    let (key, word) = address.strip_prefix(SECTION)?.split_once(".targets.")?;
    let (name, port) = word.split_once('.').unwrap_or((word, "0"));
    port.parse::<u16>().ok()?;
    Some((key, spec.services.get(name)?))
}

async fn plan(elb: &Elb, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let (mut changes, refused) = delete_dropped(elb, ec2, context).await?;
    let mut outputs = BTreeMap::new();
    for wanted in wanted(context)? {
        let found = match &wanted.own {
            None => {
                let found = balancer::existing(elb, context, &wanted).await?;
                changes.extend(plan_reach(ec2, context, &wanted, found.security_groups()).await?);
                Some(found)
            }
            Some(own) => plan_own(elb, ec2, context, (&wanted, own), &mut changes).await?,
        };
        let (of_targets, targets) = target_group::plan(elb, context, &wanted.targets).await?;
        changes.extend(of_targets);
        let (arn, host) = found.map(|found| (found.load_balancer_arn, found.dns_name)).unzip();
        outputs.insert(wanted.key.clone(), output(arn.flatten(), host.flatten(), targets));
    }
    Ok(Answer::new(outputs, changes)?.refusing(refused))
}

/// What is to change of a balancer of ours and its group, and the balancer if it is there.
async fn plan_own(
    elb: &Elb,
    ec2: &Ec2,
    context: &Context,
    (wanted, own): (&Wanted, &Own),
    changes: &mut Vec<Change>,
) -> Result<Option<LoadBalancer>> {
    let (of_group, group) = security_group::plan(ec2, context, &own.group).await?;
    changes.extend(of_group);
    if let Some(group) = &group {
        changes.extend(plan_reach(ec2, context, wanted, std::slice::from_ref(group)).await?);
    }
    let (name, found) = balancer::place(elb, context, wanted).await?;
    changes.extend(balancer::plan((&name, found.as_ref()), wanted, own, group.as_ref()));
    Ok(found.map(|found| found.aws))
}

/// What is to change of the rules by which a balancer that has these groups reaches the services, where the
/// group that these share is there.
async fn plan_reach(
    ec2: &Ec2,
    context: &Context,
    wanted: &Wanted,
    groups: &[String],
) -> Result<Option<Change>> {
    let (services, prefix) = (&wanted.services_group, wanted.reach_prefix());
    if services == UNKNOWN {
        return Ok(None);
    }
    let fields = security_group::plan_rules(ec2, context, services, &prefix, &wanted.reach(groups)).await?;
    Ok(Change::update(prefix.trim_end_matches('.'), fields))
}

fn output(
    arn: Option<String>,
    host: Option<String>,
    targets: BTreeMap<String, String>,
) -> LoadBalancerOutput {
    let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    LoadBalancerOutput { arn: known(arn), host: known(host), targets }
}

async fn prune(elb: &Elb, ec2: &Ec2, context: &Context) -> Result<Answer> {
    let (changes, _) = delete_dropped(elb, ec2, context).await?;
    // Of an environment that goes no network is known, and nothing stays open.
    if context.outputs.network.is_some() {
        for wanted in wanted(context)? {
            close(elb, ec2, context, &wanted).await?;
        }
    }
    Ok(Answer::changed(changes))
}

/// Closes the ports on which a balancer no longer listens, and those by which it no longer reaches services.
async fn close(elb: &Elb, ec2: &Ec2, context: &Context, wanted: &Wanted) -> Result<()> {
    let groups = match &wanted.own {
        None => balancer::existing(elb, context, wanted).await?.security_groups.unwrap_or_default(),
        Some(own) => security_group::close(ec2, context, &own.group).await?.into_iter().collect(),
    };
    let (services, reach) = (&wanted.services_group, wanted.reach(&groups));
    security_group::close_rules(ec2, context, services, &wanted.reach_prefix(), &reach).await
}

/// What the spec asks for, by what it is found by.
struct Kept {
    /// Those of ours, by address.
    balancers: BTreeMap<String, Identity>,
    target_groups: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

/// Target groups are told apart by their address: the VPC that is part of their name isn't known here.
fn kept(context: &Context) -> Kept {
    let balancers = &context.spec.load_balancers;
    let targets = spec::targets(&context.spec);
    let own = || balancers.iter().filter(|(_, balancer)| !balancer.existing);
    let groups = own().map(|(key, _)| format!("{SECTION}{key}.group"));
    let reach = targets.iter().flat_map(|target| {
        let address = |ports| reach_address(&target.balancer, ports);
        reached(&context.spec, target).into_iter().map(address)
    });
    Kept {
        balancers: own()
            .map(|(key, balancer)| (format!("{SECTION}{key}"), Identity::new(context, key, balancer)))
            .collect(),
        target_groups: targets.iter().map(spec::Target::address).collect(),
        addresses: groups.chain(reach).collect(),
    }
}

/// Deletes what is ours and the spec doesn't mention, in the order AWS allows; in a plan only names it, and says what
/// keeps it from going.
async fn delete_dropped(elb: &Elb, ec2: &Ec2, context: &Context) -> Result<(Vec<Change>, Vec<String>)> {
    let kept = kept(context);
    let going = context.operation == Operation::Prune;
    let mut changes = Vec::new();
    let balancers = dropped_balancers(elb, context, &kept).await?;
    for found in &balancers {
        let address = found.tags[step::ADDRESS].as_str();
        changes
            .push(Change::delete(address).with("name", found.aws.load_balancer_name().unwrap_or_default()));
    }
    let target_groups = dropped_target_groups(elb, context, &kept, &balancers).await?;
    for found in &target_groups {
        let address = found.tags[step::ADDRESS].as_str();
        changes.push(Change::delete(address).with("name", found.aws.target_group_name().unwrap_or_default()));
    }
    let mut rules = security_group::rules(ec2, context).await?;
    rules.retain(|(address, _)| {
        address.starts_with(SECTION) && address.contains(".reach.") && !kept.addresses.contains(address)
    });
    let mut groups = security_group::ours(ec2, context, SECTION).await?;
    groups.retain(|group| {
        security_group::address(context, group).is_some_and(|address| !kept.addresses.contains(&address))
    });
    for group in &groups {
        let address = security_group::address(context, group).unwrap_or_default();
        changes.push(Change::delete(address).with("id", group.group_id().unwrap_or_default()));
    }
    if going {
        for (_, rule) in &rules {
            security_group::revoke(ec2, rule.group_id().unwrap_or_default(), &[rule]).await?;
        }
        side_by_side(balancers.iter().map(|found| balancer::delete(elb, found))).await?;
        side_by_side(target_groups.iter().map(|found| target_group::delete(elb, found))).await?;
        let group = async |group: &aws_sdk_ec2::types::SecurityGroup| {
            let address = security_group::address(context, group).unwrap_or_default();
            security_group::delete(ec2, context, group.group_id().unwrap_or_default(), &address).await
        };
        side_by_side(groups.iter().map(group)).await?;
        return Ok((changes, Vec::new()));
    }
    let protected = side_by_side(balancers.iter().map(|found| balancer::protected(elb, found))).await?;
    Ok((changes, protected.into_iter().flatten().collect()))
}

/// Our balancers whose address isn't wanted, and those that another took the place of, or in a plan will.
async fn dropped_balancers(elb: &Elb, context: &Context, kept: &Kept) -> Result<Vec<balancer::Found>> {
    let all = balancer::ours(elb, context).await?;
    let wanted = |found: &balancer::Found| {
        kept.balancers.get(&found.tags[step::ADDRESS]).map(|identity| identity.is(&found.aws))
    };
    let standing: BTreeSet<String> = all
        .iter()
        .filter(|found| wanted(found) == Some(true))
        .map(|found| found.tags[step::ADDRESS].clone())
        .collect();
    let planning = context.operation == Operation::Plan;
    let dropped = |found: &balancer::Found| match wanted(found) {
        None => true,
        Some(wanted) => !wanted && (planning || standing.contains(&found.tags[step::ADDRESS])),
    };
    Ok(all.into_iter().filter(dropped).collect())
}

/// Our target groups whose address isn't wanted, and those that another took the place of: of two at
/// one address the one that a balancer uses which stays is kept. A plan knows the names of those to come.
async fn dropped_target_groups(
    elb: &Elb,
    context: &Context,
    kept: &Kept,
    going: &[balancer::Found],
) -> Result<Vec<target_group::Found>> {
    let all = target_group::ours(elb, context).await?;
    let goes = |arn: &String| going.iter().any(|found| found.aws.load_balancer_arn() == Some(arn));
    let is_used = |found: &target_group::Found| found.aws.load_balancer_arns().iter().any(|arn| !goes(arn));
    let used: BTreeSet<String> = all
        .iter()
        .filter(|found| is_used(found))
        .filter_map(|found| found.tags.get(step::ADDRESS).cloned())
        .collect();
    let planned = if context.operation == Operation::Plan { Some(wanted(context)?) } else { None };
    let named = |found: &target_group::Found, wanted: &[Wanted]| {
        let mut names = wanted.iter().flat_map(|wanted| &wanted.targets).map(|target| &target.name);
        names.any(|name| found.aws.target_group_name() == Some(name))
    };
    let dropped = |found: &target_group::Found| {
        let address = &found.tags[step::ADDRESS];
        let replaced = match &planned {
            Some(wanted) => !named(found, wanted),
            None => used.contains(address) && !is_used(found),
        };
        !kept.target_groups.contains(address) || replaced
    };
    Ok(all.into_iter().filter(dropped).collect())
}

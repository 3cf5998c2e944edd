"""What a spec adopts, laid out as somebody else's: with the ids and names that it says, without our tags.

`POST /_local/given {"spec": "<yaml>"}`, or `lay_out(text)` inside the server. What is there already stays.
"""

import base64
import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from types import ModuleType
from xml.sax.saxutils import escape

import yaml
from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region
from ministack.services import iam, route53
from moto.acm.models import acm_backends
from moto.ec2.models import ec2_backends, subnets, vpcs
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from . import bridge, container_instances, placement

CIDR = "10.40.0.0/16"
IMAGE = "ami-0000000000000000e"
DOMAIN = "*.example.org"
ABSENT = [{"Type": "fixed-response", "Order": 1, "FixedResponseConfig": {
    "StatusCode": "404", "ContentType": "text/plain", "MessageBody": "nothing"}}]
THEIRS = [{"Field": "host-header", "HostHeaderConfig": {"Values": ["other.example.org"]}}]


def lay_out(text: str) -> list[str]:
    """Lays out what this spec refers to as existing and isn't there, and says what that was."""
    spec = yaml.safe_load(text)
    with bridge.lock:
        return copy_context().run(_lay_out, spec)


def _lay_out(spec: dict) -> list[str]:
    # arn:aws:iam::<account>:role/<name>
    set_request_account_id((spec.get("role") or "::::").split(":")[4])
    set_request_region(spec.get("region"))
    return [*_network(spec), *_zones(spec), *_cluster(spec), *_balancers(spec), *_issuers(spec)]


def _section(spec: dict, name: str) -> dict:
    return spec.get(name) or {}


def _ec2():
    return ec2_backends[get_account_id()][get_region()]


@contextmanager
def _id(module: ModuleType, function: str, wanted: str) -> Iterator[None]:
    """What moto makes next has this id: it makes them up with this function."""
    plain = getattr(module, function)
    setattr(module, function, lambda *_: wanted)
    try:
        yield
    finally:
        setattr(module, function, plain)


def _network(spec: dict) -> Iterator[str]:
    network, ec2 = _section(spec, "network"), _ec2()
    vpc = network.get("vpc")
    if not vpc:
        return
    if vpc not in ec2.vpcs:
        with _id(vpcs, "random_vpc_id", vpc):
            ec2.create_vpc(CIDR)
        yield f"VPC {vpc} ({CIDR})"
    for kind in ("public", "private"):
        for index, subnet in enumerate(network.get(kind) or []):
            if subnet not in {each.id for each in ec2.describe_subnets()}:
                yield _subnet(ec2, vpc, subnet, kind, f"{get_region()}{'abcdef'[index]}")


def _subnet(ec2, vpc: str, subnet: str, kind: str, zone: str) -> str:
    taken = [each.cidr for each in ec2.describe_subnets(filters={"vpc-id": vpc})]
    cidr = next(each for each in ipaddress.IPv4Network(ec2.vpcs[vpc].cidr_block).subnets(new_prefix=24)
                if not any(each.overlaps(other) for other in taken))
    with _id(subnets, "random_subnet_id", subnet):
        made = ec2.create_subnet(vpc, str(cidr), availability_zone=zone)
    # moto takes the first of a zone for the one that AWS makes by default.
    made.default_for_az, made.map_public_ip_on_launch = False, kind == "public"
    table = ec2.create_route_table(vpc)
    ec2.associate_route_table(table.id, subnet_id=subnet)
    if kind == "public":
        ec2.create_route(table.id, "0.0.0.0/0", gateway_id=_gateway(ec2, vpc))
    return f"{kind} subnet {subnet} ({cidr}, {zone})"


def _gateway(ec2, vpc: str) -> str:
    for gateway in ec2.internet_gateways.values():
        if gateway.vpc and gateway.vpc.id == vpc:
            return gateway.id
    gateway = ec2.create_internet_gateway()
    ec2.attach_internet_gateway(gateway.id, vpc)
    return gateway.id


def _zones(spec: dict) -> Iterator[str]:
    zones = [name for name, zone in _section(spec, "dns").items() if not (zone or {}).get("private")]
    zones += [each["zone"] for each in _section(spec, "certificates").values() if each.get("zone")]
    for name in dict.fromkeys(name.rstrip(".") for name in zones):
        if any(zone["name"] == f"{name}." and not zone["private"] for zone in route53._zones.values()):
            continue
        body = ("<CreateHostedZoneRequest><Name>{}</Name><CallerReference>{}</CallerReference>"
                "</CreateHostedZoneRequest>").format(escape(name), escape(f"given {name} {time.time()}"))
        status, _, answer = route53._create_hosted_zone(body.encode(), {})
        if status != 201:
            raise ValueError(f"zone {name}: {answer.decode()}")
        yield f"hosted zone {name}"


def _cluster(spec: dict) -> Iterator[str]:
    cluster, ecs = _section(spec, "cluster"), ecs_backends[get_account_id()][get_region()]
    if not cluster.get("existing"):
        return
    name, capacity = cluster["name"], cluster.get("capacity", "fargate")
    if name not in ecs.clusters or ecs.clusters[name].status != "ACTIVE":
        ecs.create_cluster(name, capacity_providers=[] if capacity == "ec2" else ["FARGATE", "FARGATE_SPOT"])
        yield f"cluster {name}"
    there = len(placement.instances(name)) if capacity == "ec2" else 2
    for number in range(there, 2):
        yield _instance(spec, name, number)


def _instance(spec: dict, cluster: str, number: int) -> str:
    """An instance of EC2 whose agent has joined the cluster.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/launch_container_instance.html
    """
    ec2, places = _ec2(), _places(spec, "private")
    place = places[number % len(places)]
    group = ec2.get_security_group_from_name("default", ec2.get_subnet(place).vpc_id)
    data = f"#!/bin/bash\necho ECS_CLUSTER={cluster} >> /etc/ecs/ecs.config\n"
    reservation = ec2.run_instances(
        IMAGE, 1, base64.b64encode(data.encode()).decode(), [], instance_type="t3.medium",
        is_instance_type_default=False, region_name=get_region(), subnet_id=place,
        security_group_ids=[group.id], tags={"instance": {"Name": f"{cluster}-{number + 1}"}})
    instance = reservation.instances[0]
    container_instances.join(cluster, instance.id)
    return f"instance {instance.id} in cluster {cluster}"


def _places(spec: dict, kind: str) -> list[str]:
    """The subnets of this kind of the network that the spec adopts, or all of them if there are none; without
    such a network those that AWS makes by default."""
    network = _section(spec, "network")
    if network.get("vpc"):
        return network.get(kind) or [*(network.get("public") or []), *(network.get("private") or [])]
    return [each.id for each in _ec2().describe_subnets() if each.default_for_az]


def _balancers(spec: dict) -> Iterator[str]:
    elb = elbv2_backends[get_account_id()][get_region()]
    for balancer in _section(spec, "loadBalancers").values():
        if not balancer.get("existing"):
            continue
        name, scheme = balancer["name"], balancer["scheme"]
        made = next((each for each in elb.load_balancers.values() if each.name == name), None)
        if made is None:
            made = _balancer(elb, name, scheme, _places(spec, "public" if scheme == "internet-facing"
                                                        else "private"))
            yield f"load balancer {name} ({scheme})"
        for listener in (balancer.get("listeners") or {}).values():
            port = int(listener["port"])
            if not any(int(each.port) == port for each in made.listeners.values()):
                yield _listener(elb, made, port, bool(listener.get("certificates")) or port == 443)


def _balancer(elb, name: str, scheme: str, places: list[str]):
    ec2 = _ec2()
    group = ec2.create_security_group(name, f"what {name} takes", vpc_id=ec2.get_subnet(places[0]).vpc_id)
    return elb.create_load_balancer(name=name, security_groups=[group.id], subnet_ids=places, scheme=scheme,
                                    loadbalancer_type="application")


def _listener(elb, balancer, port: int, secure: bool) -> str:
    """It answers 404 but for what a rule of theirs says, and lets anybody in."""
    _ec2().authorize_security_group_ingress(
        balancer.security_groups[0], "tcp", str(port), str(port), ip_ranges=[{"CidrIp": "0.0.0.0/0"}])
    protocol = "HTTPS" if secure else "HTTP"
    listener = elb.create_listener(
        load_balancer_arn=balancer.arn, protocol=protocol, port=str(port),
        ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06" if secure else None,
        certificate=_certificate() if secure else None, actions=[dict(action) for action in ABSENT])
    elb.create_rule(listener.arn, [dict(condition) for condition in THEIRS], 1,
                    [dict(action) for action in ABSENT])
    return f"listener {protocol} {port} of {balancer.name}"


def _certificate() -> str:
    """The ARN of a certificate that is issued and isn't ours."""
    acm = acm_backends[get_account_id()][get_region()]
    for arn, bundle in acm._certificates.items():
        if bundle.common_name == DOMAIN and bundle.status == "ISSUED" and not bundle.tags:
            return arn
    arn = acm.request_certificate(DOMAIN, None, [], [])
    bundle = acm._certificates[arn]
    bundle.status, bundle.issued, bundle.seen = "ISSUED", time.time(), {DOMAIN: time.time()}
    return arn


def _issuers(spec: dict) -> Iterator[str]:
    for deployer in _section(spec, "deployers").values():
        oidc = (deployer or {}).get("oidc")
        if not oidc:
            continue
        issuer, audience = oidc["issuer"], oidc.get("audience", "sts.amazonaws.com")
        arn = f"arn:aws:iam::{get_account_id()}:oidc-provider/{issuer}"
        if arn not in iam._oidc_providers:
            iam._create_oidc_provider({"Url": [f"https://{issuer}"], "ClientIDList.member.1": [audience],
                                       "ThumbprintList.member.1": ["f" * 40]})
            yield f"identity provider {issuer}"
        elif audience not in iam._oidc_providers[arn]["ClientIDList"]:
            iam._oidc_providers[arn]["ClientIDList"].append(audience)
            yield f"audience {audience} of identity provider {issuer}"

"""Elastic Load Balancing: balancers that take time, their network interfaces, and targets' health."""

import time
from collections.abc import Callable

from ministack.core.responses import get_account_id, get_region
from moto.elbv2 import models
from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeLoadBalancer, FakeTargetGroup

from . import apigateway, bridge, deployments, lifecycle


def install() -> None:
    bridge.around["elasticloadbalancing"] = _answer
    ELBv2Backend.create_load_balancer = _create(ELBv2Backend.create_load_balancer)
    ELBv2Backend.delete_load_balancer = _delete(ELBv2Backend.delete_load_balancer)
    ELBv2Backend.create_listener = _create_listener(ELBv2Backend.create_listener)
    FakeLoadBalancer.activate = _activate
    FakeTargetGroup.health_for = _health(FakeTargetGroup.health_for)
    models.make_arn_for_load_balancer = _arn


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    deployments.advance()
    answer = moto()
    parameters = request.parameters()
    if parameters.get("Action") == "SetSecurityGroups" and answer[0] == 200:
        _filter_private_link(parameters)
    return answer


def _filter_private_link(parameters: dict[str, str]) -> None:
    """Whether a network balancer's group also filters what comes through a VPC link, which moto forgets.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSecurityGroups.html
    """
    field = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"
    backend = models.elbv2_backends[get_account_id()][get_region()]
    if field in parameters:
        balancer = backend.load_balancers[parameters["LoadBalancerArn"]]
        balancer.enforce_security_group_inbound_rules_on_private_link_traffic = parameters[field]


# moto makes a balancer's ARN without knowing its type; requests come one at a time.
_type = "application"


def _arn(account_id: str, lb_id: str, name: str, region_name: str) -> str:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_elasticloadbalancingv2.html"""
    kind = {"network": "net", "gateway": "gwy"}.get(_type, "app")
    return f"arn:aws:elasticloadbalancing:{region_name}:{account_id}:loadbalancer/{kind}/{name}/{lb_id}"


def _create(plain: Callable) -> Callable:
    """The same again answers what is there; another under the name is refused; each subnet gets an interface.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    """
    def create(self, *args, **settings) -> FakeLoadBalancer:
        global _type
        _type = settings.get("loadbalancer_type") or "application"
        for existing in self.load_balancers.values():
            if existing.name == settings["name"]:
                if _same(existing, settings):
                    return existing
                raise ELBClientError(
                    "DuplicateLoadBalancerName",
                    "A load balancer with the same name exists, but with different settings")
        balancer = plain(self, *args, **settings)
        balancer.created = time.time()
        balancer.interfaces = [_interface(self, balancer, subnet) for subnet in balancer.subnets]
        return balancer

    return create


def _same(balancer: FakeLoadBalancer, settings: dict) -> bool:
    wanted = settings.get("subnet_ids") or [each["SubnetId"] for each in settings["subnet_mappings"]]
    return (balancer.type == _type and balancer.scheme == settings["scheme"]
            and sorted(subnet.id for subnet in balancer.subnets) == sorted(wanted)
            and sorted(balancer.security_groups) == sorted(settings["security_groups"]))


def _interface(backend: ELBv2Backend, balancer: FakeLoadBalancer, subnet) -> str:
    """It keeps the subnet, and the groups, from being deleted."""
    interface = backend.ec2_backend.create_network_interface(
        subnet, [], group_ids=balancer.security_groups,
        description=f"ELB {balancer.arn.split(':loadbalancer/')[1]}")
    interface.status = "in-use"
    if balancer.scheme == "internet-facing":
        interface.public_ip = "203.0.113.1"
    return interface.id


def _activate(balancer: FakeLoadBalancer) -> None:
    if balancer.state == "provisioning" and lifecycle.ready(f"{balancer.type}-load-balancer",
                                                            balancer.created):
        balancer.state = "active"


def _delete(plain: Callable) -> Callable:
    def delete(self, arn: str) -> None:
        if apigateway.links_to(arn):
            raise ELBClientError(
                "ResourceInUse", f"Load balancer '{arn}' cannot be deleted because it is currently "
                "associated with another service")
        balancer = self.load_balancers.get(arn)
        plain(self, arn)
        for interface in balancer.interfaces if balancer else []:
            self.ec2_backend.delete_network_interface(interface)

    return delete


def _create_listener(plain: Callable) -> Callable:
    def create(self, load_balancer_arn: str, protocol: str, port: str, *rest, **settings):
        balancer = self.load_balancers.get(load_balancer_arn)
        for listener in balancer.listeners.values() if balancer else []:
            if str(listener.port) == str(port):
                raise ELBClientError("DuplicateListener",
                                       "A listener already exists on this port for this load balancer")
        return plain(self, load_balancer_arn, protocol, port, *rest, **settings)

    return create


def _health(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html"""
    def health_for(self, target: dict, ec2_backend) -> FakeHealthStatus:
        if self.target_type != "ip" or target["Id"] not in self.targets:
            return plain(self, target, ec2_backend)
        registered = self.targets[target["Id"]]
        backend = models.elbv2_backends[get_account_id()][get_region()]
        state, reason = deployments.health(target["Id"])
        if not backend._any_listener_using(self.arn):
            state, reason = "unused", "Target.NotInUse"
        return FakeHealthStatus(registered["Id"], registered["Port"], self.health_check_port, state, reason)

    return health_for

"""Elastic Load Balancing: balancers that take time, their network interfaces, and targets' health."""

import time
from collections.abc import Callable

from ministack.core.responses import get_account_id, get_region
from moto.acm.models import acm_backends
from moto.elbv2 import models
from moto.elbv2.exceptions import ELBClientError, PriorityInUseError, RuleNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeLoadBalancer, FakeTargetGroup
from moto.elbv2.responses import ELBV2Response
from moto.elbv2.ssl_policies import SSL_POLICIES

from . import apigateway, bridge, deployments, lifecycle


def install() -> None:
    bridge.around["elasticloadbalancing"] = _answer
    ELBv2Backend.create_load_balancer = _create(ELBv2Backend.create_load_balancer)
    ELBv2Backend.delete_load_balancer = _delete(ELBv2Backend.delete_load_balancer)
    ELBv2Backend.create_listener = _create_listener(ELBv2Backend.create_listener)
    ELBv2Backend.modify_listener = _modify_listener(ELBv2Backend.modify_listener)
    ELBv2Backend.add_listener_certificates = _add_certificates(ELBv2Backend.add_listener_certificates)
    ELBv2Backend.remove_listener_certificates = _remove_certificates(
        ELBv2Backend.remove_listener_certificates)
    ELBV2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER[
        "DescribeListenersOutput.Listeners.Listener.Certificates"] = _own_certificate
    ELBv2Backend.set_rule_priorities = _set_priorities(ELBv2Backend.set_rule_priorities)
    ELBv2Backend.delete_rule = _delete_rule(ELBv2Backend.delete_rule)
    ELBv2Backend.modify_target_group = _modify_targets(ELBv2Backend.modify_target_group)
    FakeLoadBalancer.activate = _activate
    FakeTargetGroup.load_balancer_arns = property(_senders, _ignore)
    FakeTargetGroup.register = _register(FakeTargetGroup.register)
    FakeTargetGroup.deregister = _deregister
    FakeTargetGroup.deregister_terminated_instances = _deregister_terminated
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
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html"""
    def delete(self, arn: str) -> None:
        balancer = self.load_balancers.get(arn)
        if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
            raise ELBClientError("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because "
                                 "deletion protection is enabled")
        if apigateway.links_to(arn):
            raise ELBClientError(
                "ResourceInUse", f"Load balancer '{arn}' cannot be deleted because it is currently "
                "associated with another service")
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
        certificate = settings.get("certificate")
        if protocol in ("HTTPS", "TLS") and not certificate:
            raise ELBClientError("ValidationError",
                                 f"A certificate must be specified for {protocol} listeners")
        if certificate:
            _check_certificate(self, certificate)
        policy = settings.get("ssl_policy")
        if policy and policy not in SSL_POLICIES:
            raise ELBClientError("SSLPolicyNotFound", f"SSL policy '{policy}' not found")
        return _secure(plain(self, load_balancer_arn, protocol, port, *rest, **settings))

    return create


def _secure(listener):
    """Only a listener that speaks TLS has a security policy.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
    """
    if listener.protocol not in ("HTTPS", "TLS"):
        listener.ssl_policy = None
    return listener


def _check_certificate(backend: ELBv2Backend, arn: str) -> None:
    """A listener takes a certificate of ACM's once it is issued.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    https://github.com/hashicorp/terraform-provider-aws/issues/26245
    """
    if ":iam:" in arn:
        return
    found = acm_backends[backend.account_id][backend.region_name]._certificates.get(arn)
    if found is None:
        raise ELBClientError("CertificateNotFound", f"Certificate '{arn}' not found")
    found.check()
    if found.status != "ISSUED":
        raise ELBClientError(
            "UnsupportedCertificate", f"The certificate '{arn}' must have a fully-qualified domain name, a "
            "supported signature, and a supported key size.")


def _modify_listener(plain: Callable) -> Callable:
    """Another certificate of the listener's own leaves those beside it.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
    """
    def modify(self, arn: str, port=None, protocol=None, ssl_policy=None, certificates=None, actions=None):
        for each in certificates or []:
            _check_certificate(self, each["CertificateArn"])
        listener = self.describe_listeners(None, [arn])[0]
        beside = listener.certificates[1:]
        plain(self, arn, port, protocol, ssl_policy, certificates, actions)
        if certificates:
            own = certificates[0]["CertificateArn"]
            listener.certificates = [own, *(each for each in beside if each != own)]
        return _secure(listener)

    return modify


def _own_certificate(certificates: list[str]) -> list[dict] | None:
    """A listener shows its own certificate; those beside it have a call of theirs.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Listener.html
    """
    return [{"CertificateArn": arn} for arn in certificates[:1]] or None


def _one(certificates: list[dict]) -> str:
    if len(certificates) != 1:
        raise ELBClientError("ValidationError", "You can specify one certificate per call")
    return certificates[0]["CertificateArn"]


def _add_certificates(plain: Callable) -> Callable:
    """One a call; one that is there already is there once.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddListenerCertificates.html
    """
    def add(self, arn: str, certificates: list[dict]) -> list[str]:
        certificate = _one(certificates)
        _check_certificate(self, certificate)
        there = self.describe_listeners(None, [arn])[0].certificates
        return there if certificate in there else plain(self, arn, certificates)

    return add


def _remove_certificates(plain: Callable) -> Callable:
    """One a call, and not the listener's own.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RemoveListenerCertificates.html
    """
    def remove(self, arn: str, certificates: list[dict]) -> None:
        if _one(certificates) in self.describe_listeners(None, [arn])[0].certificates[:1]:
            raise ELBClientError("OperationNotPermitted", "Default certificate cannot be removed")
        plain(self, arn, certificates)

    return remove


def _set_priorities(plain: Callable) -> Callable:
    """Rules may change places: a number is in use if another rule has it once all have moved.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
    """
    def set_priorities(self, rule_priorities: list[dict]) -> list:
        wanted = {each["RuleArn"]: each["Priority"] for each in rule_priorities}
        if len(set(wanted.values())) < len(wanted):
            return plain(self, rule_priorities)
        moved = self.describe_rules(None, list(wanted))
        for rule in moved:
            for other in self.describe_listeners(None, [rule.listener_arn])[0].rules.values():
                if other.arn not in wanted and other.priority == wanted[rule.arn]:
                    raise PriorityInUseError
        for rule in moved:
            rule.priority = wanted[rule.arn]
        return moved

    return set_priorities


def _delete_rule(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteRule.html"""
    def delete(self, arn: str) -> None:
        if not any(rule.arn == arn for balancer in self.load_balancers.values()
                   for listener in balancer.listeners.values() for rule in listener.rules.values()):
            raise RuleNotFoundError("One or more rules not found")
        plain(self, arn)

    return delete


def _modify_targets(plain: Callable) -> Callable:
    """What is well can be said of any HTTP check, also of a network balancer's.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyTargetGroup.html
    """
    def modify(self, arn: str, *settings, **more) -> FakeTargetGroup:
        group, statuses = plain(self, arn, *settings, **more), settings[7]
        if statuses is not None and group.health_check_protocol in ("HTTP", "HTTPS"):
            group.matcher = {"HttpCode": statuses}
        return group

    return modify


def _senders(group: FakeTargetGroup) -> list[str]:
    """The balancers that send to a group, by default or by a rule; moto keeps those that once did.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html
    """
    backend = models.elbv2_backends[group.account_id][group.region_name]
    return sorted({
        balancer.arn for balancer in backend.load_balancers.values()
        for listener in balancer.listeners.values() for rule in listener.rules.values()
        for action in rule.actions
        if group.arn in backend._get_target_group_arns_from(action_data=action.data)})


def _ignore(group: FakeTargetGroup, arns: list[str]) -> None:
    """What moto remembers is not asked for."""


def _register(plain: Callable) -> Callable:
    """A target is an id and a port: an instance is there once for each of its ports.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
    """
    def register(self, targets: list[dict]) -> None:
        for target in targets:
            plain(self, [target])
            registered = self.targets.pop(target["Id"])
            self.targets[registered["Id"], str(registered["Port"])] = registered

    return register


def _deregister(self: FakeTargetGroup, targets: list[dict]) -> None:
    """Without a port all of the id's; what isn't there is no error.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    for target in targets:
        for key in _keys(self, target):
            self.deregistered_targets[target["Id"]] = self.targets.pop(key)


def _deregister_terminated(self: FakeTargetGroup, instance_ids: list[str]) -> None:
    for key in [key for key in self.targets if key[0] in instance_ids]:
        self.terminated_targets[key[0]] = self.targets.pop(key)


def _keys(group: FakeTargetGroup, target: dict) -> list[tuple[str, str]]:
    port = target.get("Port")
    return [key for key in group.targets if key[0] == target["Id"] and port in (None, key[1])
            or key == (target["Id"], str(port))]


def _health(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html"""
    def health_for(self, target: dict, ec2_backend) -> FakeHealthStatus:
        keys = _keys(self, target)
        if not keys:
            return plain(self, target, ec2_backend)
        registered = self.targets[keys[0]]
        backend = models.elbv2_backends[get_account_id()][get_region()]
        instance = ec2_backend.get_instance_by_id(registered["Id"]) if self.target_type == "instance" else None
        if instance and instance.state == "stopped":
            health = "unused", "Target.InvalidState", "Target is in the stopped state"
        elif self.target_type != "lambda" and not backend._any_listener_using(self.arn):
            health = ("unused", "Target.NotInUse",
                      "Target group is not configured to receive traffic from the load balancer")
        elif ours := deployments.health(self, registered["Id"], registered["Port"]):
            health = ours
        elif self.target_type == "ip":
            health = "unhealthy", "Target.Timeout", "Request timed out"
        else:
            health = "healthy", None, None
        return FakeHealthStatus(registered["Id"], registered["Port"], self.health_check_port, *health)

    return health_for

"""EC2: gateways and endpoints that take time, and the refusals that put a teardown in order."""

import time
from collections.abc import Callable

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.nat_gateways import NatGateway
from moto.ec2.models.vpcs import VPCEndPoint

from . import bridge, lifecycle

# Calls that answer what the first call with their client token answered, for a day.
# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
_answers: dict[tuple[str, str, str], bridge.Answer] = {}
# The interfaces that Lambda functions have left, and since when.
released: dict[str, float] = {}


def install() -> None:
    bridge.around["ec2"] = _answer
    NatGateway.state = property(_nat_state, _set_nat_state)
    VPCEndPoint.state = property(_endpoint_state, _set_endpoint_state)
    _wrap("create_vpc_endpoint", _create_endpoint)
    _wrap("describe_nat_gateways", _find_nat)
    _wrap("delete_nat_gateway", _delete_nat)
    _wrap("describe_vpc_endpoints", _without_gone)
    _wrap("delete_vpc_endpoints", _delete_endpoints)
    _wrap("delete_subnet", _delete_subnet)
    _wrap("delete_vpc", _delete_vpc)
    _wrap("_delete_security_group", _delete_group)
    _wrap("attach_internet_gateway", _attach_gateway)
    _wrap("detach_internet_gateway", _detach_gateway)
    _wrap("release_address", _release_address)


def _wrap(name: str, wrapper: Callable) -> None:
    plain = getattr(EC2Backend, name)
    setattr(EC2Backend, name, lambda self, *args, **settings: wrapper(self, plain, *args, **settings))


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    parameters = request.parameters()
    token = parameters.get("ClientToken")
    key = (request.headers.get("authorization", "").split("/")[2:3][0], parameters["Action"], token)
    if token and key in _answers:
        return _answers[key]
    answer = moto()
    if token and answer[0] == 200:
        _answers[key] = answer
    return answer


def _nat_state(gateway: NatGateway) -> str:
    """pending, available, deleting, deleted: described as deleted for about an hour.

    https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html
    """
    if deleted := getattr(gateway, "deleted", None):
        return "deleted" if lifecycle.ready("nat-gateway-delete", deleted) else "deleting"
    return "available" if lifecycle.ready("nat-gateway", gateway.begun) else "pending"


def _set_nat_state(gateway: NatGateway, state: str) -> None:
    if state == "deleted":
        gateway.deleted = time.time()
    else:
        gateway.begun = time.time()


def _find_nat(self: EC2Backend, plain: Callable, filters: dict, ids: list[str] | None) -> list:
    """Tags are filters, and what isn't there is named.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNatGateways.html
    """
    _sweep(self)
    for missing in set(ids or []) - set(self.nat_gateways):
        raise EC2ClientError("NatGatewayNotFound", f"The Nat Gateway {missing} was not found")
    tags = {name.removeprefix("tag:"): values for name, values in (filters or {}).items()
            if name.startswith("tag:")}
    return [gateway for gateway in plain(self, filters, ids)
            if all(_tags(gateway).get(name) in values for name, values in tags.items())]


def _tags(resource) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in resource.get_tags()}


def _delete_nat(self: EC2Backend, plain: Callable, nat_gateway_id: str) -> NatGateway:
    gateway = self.describe_nat_gateways({}, [nat_gateway_id])[0]
    return gateway if getattr(gateway, "deleted", None) else plain(self, nat_gateway_id)


def _sweep(backend: EC2Backend) -> None:
    """Gives back what deleted gateways and endpoints held until now."""
    for gateway in backend.nat_gateways.values():
        if gateway.state == "deleted" and gateway._eni.id in backend.enis:
            for address in [each for each in backend.addresses if each.eni is gateway._eni]:
                backend.disassociate_address(association_id=address.association_id)
            backend.delete_network_interface(gateway._eni.id)
    for left in [each for each in released if each in backend.enis]:
        if lifecycle.ready("lambda-interface-release", released[left]):
            interface = backend.enis.pop(left)
            interface.subnet.del_subnet_ip(interface.private_ip_address)
            del released[left]
    for endpoint in [each for each in backend.vpc_end_points.values() if each.state == "deleted"]:
        for interface in endpoint.network_interface_ids:
            backend.enis.pop(interface, None)
        del backend.vpc_end_points[endpoint.id]


def _endpoint_state(endpoint: VPCEndPoint) -> str:
    """An interface endpoint takes its time; a gateway endpoint is a route."""
    interface = (endpoint.vpc_endpoint_type or "Gateway") == "Interface"
    if deleted := getattr(endpoint, "deleted", None):
        return "deleting" if interface and not lifecycle.ready("interface-endpoint", deleted) else "deleted"
    return "pending" if interface and not lifecycle.ready("interface-endpoint", endpoint.begun) \
        else "available"


def _set_endpoint_state(endpoint: VPCEndPoint, state: str) -> None:
    if state == "deleted":
        endpoint.deleted = time.time()
    else:
        endpoint.begun = time.time()


def _create_endpoint(self: EC2Backend, plain: Callable, *args, **settings) -> VPCEndPoint:
    """One private name a service and VPC; interfaces carry the endpoint's groups, the default one if none.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcEndpoint.html
    """
    if settings.get("private_dns_enabled"):
        for other in self.vpc_end_points.values():
            if (other.vpc_id, other.service_name) == (settings["vpc_id"], settings["service_name"]) \
                    and other.private_dns_enabled and other.state != "deleted":
                raise EC2ClientError(
                    "InvalidParameter", "private-dns-enabled cannot be set because there is already a "
                    f"conflicting DNS domain for {other.service_name} in the VPC {other.vpc_id}")
    endpoint = plain(self, *args, **settings)
    if not endpoint.security_group_ids and endpoint.network_interface_ids:
        endpoint.security_group_ids = [self.get_security_group_from_name("default", endpoint.vpc_id).id]
    for interface in endpoint.network_interface_ids:
        self.enis[interface]._group_set = [
            self.get_security_group_from_id(each) for each in endpoint.security_group_ids]
        self.enis[interface].description = f"VPC Endpoint Interface {endpoint.id}"
    return endpoint


def _without_gone(self: EC2Backend, plain: Callable, *args, **settings) -> list:
    _sweep(self)
    return plain(self, *args, **settings)


def _delete_endpoints(self: EC2Backend, plain: Callable, vpce_ids: list[str] | None = None) -> None:
    """Routes go at once; interfaces stay until the endpoint is gone."""
    for endpoint in [self.vpc_end_points[each] for each in vpce_ids or [] if each in self.vpc_end_points]:
        if (endpoint.vpc_endpoint_type or "Gateway") == "Interface":
            if endpoint.state != "deleting":
                endpoint.state = "deleted"
        else:
            endpoint.vpc_endpoint_type = "Gateway"
            endpoint.route_table_ids = [each for each in endpoint.route_table_ids
                                        if each in self.route_tables]
            plain(self, [endpoint.id])
    _sweep(self)


def _interfaces(backend: EC2Backend) -> list:
    _sweep(backend)
    return list(backend.enis.values())


def _delete_subnet(self: EC2Backend, plain: Callable, subnet_id: str):
    """Refused while it holds an interface; its place in a route table goes with it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html
    """
    if any(each.subnet.id == subnet_id for each in _interfaces(self)):
        raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
    subnet = plain(self, subnet_id)
    for table in self.route_tables.values():
        for association, associated in list(table._associations.items()):
            if associated == subnet_id:
                del table._associations[association]
    return subnet


def _delete_vpc(self: EC2Backend, plain: Callable, vpc_id: str):
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html"""
    held = [
        *[each for each in self.internet_gateways.values() if each.vpc and each.vpc.id == vpc_id],
        *[each for each in self.vpc_end_points.values() if each.vpc_id == vpc_id],
        *[each for each in self.groups[vpc_id].values() if each.name != "default"],
        *[each for each in _interfaces(self) if each.subnet.vpc_id == vpc_id],
    ]
    if held:
        raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
    for acl in [each for each in self.network_acls.values() if each.vpc_id == vpc_id and each.default]:
        del self.network_acls[acl.id]
    return plain(self, vpc_id)


def _delete_group(self: EC2Backend, plain: Callable, vpc_id: str | None, group_id: str) -> None:
    """Refused while an interface carries it or another group's rule names it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    carried = any(group.id == group_id for each in _interfaces(self) for group in each.group_set)
    named = any(rule.source_group.get("GroupId") == group_id
                for groups in self.groups.values() for group in groups.values() if group.id != group_id
                for rule in [*group.ingress_rules, *group.egress_rules])
    if carried or named:
        raise DependencyViolationError(f"resource {group_id} has a dependent object")
    plain(self, vpc_id, group_id)


def _attach_gateway(self: EC2Backend, plain: Callable, internet_gateway_id: str, vpc_id: str):
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachInternetGateway.html"""
    others = [each for each in self.internet_gateways.values() if each.id != internet_gateway_id]
    if any(each.vpc and each.vpc.id == vpc_id for each in others):
        raise EC2ClientError("InvalidParameterValue",
                             f"Network {vpc_id} already has an internet gateway attached")
    return plain(self, internet_gateway_id, vpc_id)


def _detach_gateway(self: EC2Backend, plain: Callable, internet_gateway_id: str, vpc_id: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html"""
    if any(each.public_ip and each.subnet.vpc_id == vpc_id for each in _interfaces(self)):
        raise DependencyViolationError(
            f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) "
            "before detaching the gateway.")
    plain(self, internet_gateway_id, vpc_id)


def _release_address(self: EC2Backend, plain: Callable, address: str | None = None,
                     allocation_id: str | None = None) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html"""
    _sweep(self)
    for held in self.addresses:
        if held.allocation_id == allocation_id and held.eni:
            raise EC2ClientError("InvalidIPAddress.InUse",
                                 f"Address {held.public_ip} is in use.")
    plain(self, address=address, allocation_id=allocation_id)

"""Cloud Map, which ministack answers: operations that take time, names that are taken, who is where."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ministack.core import iam_actions
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import route53, servicediscovery

from . import lifecycle

# Calls whose permission can't be given for one resource.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
UNTARGETED = ("CreateHttpNamespace", "CreatePrivateDnsNamespace", "CreatePublicDnsNamespace", "GetOperation",
              "ListNamespaces", "ListOperations", "ListServices")


@dataclass
class Pending:
    """A namespace that is being made or deleted: by operation."""

    account: str
    region: str
    finish: Callable[[dict], str | None]
    token: str | None = None
    namespace: str | None = None
    begun: float = field(default_factory=time.time)


pending: dict[str, Pending] = {}
# The VPC that a namespace is in, by its id.
_vpcs: dict[str, str] = {}


def install() -> None:
    servicediscovery._create_namespace = _create_namespace(servicediscovery._create_namespace)
    servicediscovery._delete_namespace = _delete_namespace
    servicediscovery._create_service = _create_service(servicediscovery._create_service)
    servicediscovery._delete_service = _delete_service(servicediscovery._delete_service)
    servicediscovery._list_operations = _list_operations
    servicediscovery._list_namespaces = _list_namespaces
    servicediscovery._list_services = _list_services
    for name in ("_get_namespace", "_get_operation", "_tag_resource", "_list_tags_for_resource"):
        setattr(servicediscovery, name, _advanced(getattr(servicediscovery, name)))
    iam_actions.extract_resource_arn = _resource(iam_actions.extract_resource_arn)


def register(service: str, instance: str, address: str | None) -> None:
    """Does what ECS does when a task of a service runs: its address answers to the service's name."""
    attributes = {"AWS_INSTANCE_IPV4": address} if address else {}
    if service in servicediscovery._services:
        servicediscovery._register_instance(
            {"ServiceId": service, "InstanceId": instance, "Attributes": attributes})


def deregister(service: str, instance: str) -> None:
    """Does what ECS does when a task stops."""
    if service in servicediscovery._services:
        servicediscovery._deregister_instance({"ServiceId": service, "InstanceId": instance})


def _resource(plain: Callable) -> Callable:
    """What is created has no ARN yet, and an id says of what kind it is.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        found = plain(service, method, path, headers, body, query, *rest)
        if service != "servicediscovery":
            return found
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        if action in UNTARGETED:
            return "*"
        kind, _, name = found.rpartition(":")[2].partition("/")
        kind = {"ns-": "namespace", "srv": "service"}.get(name[:3], kind)
        given = iam_actions._safe_json_field(body, "ResourceARN")
        return given or (f"{found.rpartition(':')[0]}:{kind}/{name}" if name else found)

    return extract


def _advanced(plain: Callable) -> Callable:
    def answer(data: dict) -> tuple:
        _advance()
        return plain(data)

    return answer


def _advance() -> None:
    """Ends the operations of this region whose time is up: SUBMITTED, PENDING, then SUCCESS or FAIL.

    https://docs.aws.amazon.com/cloud-map/latest/api/API_Operation.html
    """
    for identity, each in list(pending.items()):
        if (each.account, each.region) != (get_account_id(), get_region()):
            continue
        operation = servicediscovery._operations[identity]
        if not lifecycle.ready("cloud-map-namespace", each.begun):
            operation["Status"] = "PENDING"
            continue
        del pending[identity]
        error = each.finish(operation)
        operation["Status"], operation["UpdateDate"] = "FAIL" if error else "SUCCESS", time.time()
        if error:
            operation["ErrorCode"], operation["ErrorMessage"] = error.split(": ", 1)


def _begin(kind: str, targets: dict, finish: Callable[[dict], str | None], **more) -> tuple:
    identity = servicediscovery._create_operation(kind, targets)
    servicediscovery._operations[identity]["Status"] = "SUBMITTED"
    pending[identity] = Pending(get_account_id(), get_region(), finish, **more)
    return json_response({"OperationId": identity})


def _create_namespace(plain: Callable) -> Callable:
    """The same request while it is under way is told its operation; a VPC has a name once.

    https://docs.aws.amazon.com/cloud-map/latest/api/API_CreatePrivateDnsNamespace.html
    """
    async def create(data: dict) -> tuple:
        if data["_action"] != "CreatePrivateDnsNamespace":
            return await plain(data)
        _advance()
        name, vpc, token = data["Name"], data["Vpc"], data.get("CreatorRequestId")
        here = (get_account_id(), get_region())
        for identity, each in pending.items():
            if token and (each.account, each.region, each.token) == (*here, token):
                return error_response_json("DuplicateRequest", "The operation is already in progress.", 400,
                                           {"DuplicateOperationId": identity})
        for existing in servicediscovery._namespaces.values():
            if existing["Name"] == name and _vpcs.get(existing["Id"]) == vpc:
                return error_response_json(
                    "NamespaceAlreadyExists", f"Namespace {name} already exists in {vpc}.", 400,
                    {"NamespaceId": existing["Id"], "CreatorRequestId": existing.get("CreatorRequestId")})
        return _begin("CREATE_NAMESPACE", {}, lambda operation: _made(operation, data), token=token)

    return create


def _made(operation: dict, data: dict) -> str | None:
    """The namespace and its private hosted zone; why not, if there can be none."""
    body = (f"<CreateHostedZoneRequest><Name>{escape(data['Name'])}</Name>"
            f"<CallerReference>{uuid.uuid4()}</CallerReference><HostedZoneConfig><Comment>Created by AWS "
            f"Cloud Map namespace</Comment><PrivateZone>true</PrivateZone></HostedZoneConfig><VPC><VPCRegion>"
            f"{get_region()}</VPCRegion><VPCId>{escape(data['Vpc'])}</VPCId></VPC></CreateHostedZoneRequest>")
    status, _, answer = route53._create_hosted_zone(body.encode(), {})
    # Of several of a name the first counts.
    elements = reversed(list(ElementTree.fromstring(answer).iter()))
    told = {element.tag.rpartition("}")[2]: element.text for element in elements}
    if status != 201:
        message = told["Message"]
        if told["Code"] == "ConflictingDomainExists":
            message = (f"The VPC {data['Vpc']} in region {get_region()} has already been associated with a "
                       "hosted zone with the same domain name.")
        return f"CANNOT_CREATE_HOSTED_ZONE: {message}"
    identity = f"ns-{uuid.uuid4().hex[:16]}"
    servicediscovery._namespaces[identity] = {
        "Id": identity, "Arn": servicediscovery._namespace_arn(identity), "Name": data["Name"],
        "Type": "DNS_PRIVATE", "Description": data.get("Description"), "CreateDate": time.time(),
        "CreatorRequestId": data.get("CreatorRequestId"), "ResourceOwner": get_account_id(),
        "Properties": {"DnsProperties": {"HostedZoneId": told["Id"].rpartition("/")[2], "SOA": {"TTL": 15}},
                       "HttpProperties": {"HttpName": data["Name"]}}}
    _vpcs[identity] = data["Vpc"]
    servicediscovery._resource_tags[servicediscovery._namespace_arn(identity)] = data.get("Tags", [])
    operation["Targets"] = {"NAMESPACE": identity}
    return None


def _delete_namespace(data: dict) -> tuple:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_DeleteNamespace.html"""
    _advance()
    identity = data["Id"]
    if identity not in servicediscovery._namespaces:
        return error_response_json("NamespaceNotFound", "Namespace not found", 400)
    for under_way, each in pending.items():
        if each.namespace == identity:
            return error_response_json("DuplicateRequest", "The operation is already in progress.", 400,
                                       {"DuplicateOperationId": under_way})
    if any(service["NamespaceId"] == identity for service in servicediscovery._services.values()):
        return error_response_json(
            "ResourceInUse", "Namespace has associated services; delete the services before deleting the "
            "namespace", 400)
    return _begin("DELETE_NAMESPACE", {"NAMESPACE": identity}, lambda _: _gone(identity), namespace=identity)


def _gone(identity: str) -> str | None:
    namespace = servicediscovery._namespaces[identity]
    if zone := namespace["Properties"].get("DnsProperties", {}).get("HostedZoneId"):
        status, _, answer = route53._delete_hosted_zone(zone)
        if status not in (200, 404):
            return f"CANNOT_DELETE_HOSTED_ZONE: {answer.decode()}"
    del servicediscovery._namespaces[identity]
    servicediscovery._resource_tags.pop(namespace["Arn"], None)
    _vpcs.pop(identity, None)
    return None


def _matches(item: dict, filters: list[dict], fields: dict[str, Callable[[dict], object]]) -> bool:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_OperationFilter.html"""
    for each in filters:
        value, values = fields[each["Name"]](item), each["Values"]
        if each.get("Condition") == "BETWEEN":
            if not float(values[0]) <= value <= float(values[1]):
                return False
        elif value not in values:
            return False
    return True


def _list_namespaces(data: dict) -> tuple:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_NamespaceFilter.html"""
    _advance()
    fields = {"TYPE": lambda item: item["Type"], "NAME": lambda item: item["Name"],
              "RESOURCE_OWNER": lambda _: "SELF"}
    return json_response({"Namespaces": [each for each in servicediscovery._namespaces.values()
                                         if _matches(each, data.get("Filters", []), fields)]})


def _list_operations(data: dict) -> tuple:
    """Only their ids and states are listed.

    https://docs.aws.amazon.com/cloud-map/latest/api/API_ListOperations.html
    """
    _advance()
    fields = {"STATUS": lambda item: item["Status"], "TYPE": lambda item: item["Type"],
              "NAMESPACE_ID": lambda item: item["Targets"].get("NAMESPACE"),
              "SERVICE_ID": lambda item: item["Targets"].get("SERVICE"),
              "UPDATE_DATE": lambda item: item["UpdateDate"]}
    found = [each for each in servicediscovery._operations.values()
             if _matches(each, data.get("Filters", []), fields)]
    return json_response({"Operations": [{"Id": each["Id"], "Status": each["Status"]} for each in found]})


def _create_service(plain: Callable) -> Callable:
    """A namespace has a name once, whatever its letters' size; the same request answers the same service.

    https://docs.aws.amazon.com/cloud-map/latest/api/API_CreateService.html
    """
    def create(data: dict) -> tuple:
        _advance()
        token = data.get("CreatorRequestId")
        for existing in servicediscovery._services.values():
            if (existing["NamespaceId"], existing["Name"].lower()) == (
                    data.get("NamespaceId"), data.get("Name", "").lower()):
                if token and existing.get("CreatorRequestId") == token:
                    return json_response({"Service": existing})
                return error_response_json(
                    "ServiceAlreadyExists", f"Service {data['Name']} already exists.", 400,
                    {"ServiceId": existing["Id"], "CreatorRequestId": existing.get("CreatorRequestId")})
        before = set(servicediscovery._services.keys())
        answer = plain(data)
        for identity in set(servicediscovery._services.keys()) - before:
            servicediscovery._services[identity]["CreatorRequestId"] = token
        return answer

    return create


def _delete_service(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_DeleteService.html"""
    def delete(data: dict) -> tuple:
        if servicediscovery._instances.get(data["Id"]):
            return error_response_json("ResourceInUse", "Service contains registered instances; delete the "
                                       "instances before deleting the service", 400)
        return plain(data)

    return delete


def _list_services(data: dict) -> tuple:
    """https://docs.aws.amazon.com/cloud-map/latest/api/API_ServiceFilter.html"""
    _advance()
    fields = {"NAMESPACE_ID": lambda item: item["NamespaceId"], "RESOURCE_OWNER": lambda _: "SELF"}
    return json_response({"Services": [
        {**each, "InstanceCount": len(servicediscovery._instances.get(each["Id"], {}))}
        for each in servicediscovery._services.values() if _matches(each, data.get("Filters", []), fields)]})

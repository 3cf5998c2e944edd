"""API Gateway: VPC links (version 1), which neither emulator has, tags, and some refusals.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-private-integration.html
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from ministack.core.responses import get_account_id, get_region
from moto.apigateway.exceptions import StageStillActive
from moto.apigateway.models import Deployment, Integration, RestAPI, Stage, apigateway_backends
from moto.elbv2.models import elbv2_backends
from moto.moto_api._internal import mock_random

from . import bridge, lifecycle


# https://docs.aws.amazon.com/apigateway/latest/api/API_PutIntegration.html
DEFAULTS = {"passthroughBehavior": "WHEN_NO_MATCH", "timeoutInMillis": 29000}


@dataclass
class Link:
    """A VPC link to one network load balancer."""

    name: str
    targets: list[str]
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: mock_random.get_random_string(length=6).lower())
    created: float = field(default_factory=time.time)
    deleted: float | None = None
    early: bool = False

    def __post_init__(self) -> None:
        """A balancer that isn't active when its link is made fails it, for good.

        https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/1951
        """
        for balancer in self.balancers():
            balancer.activate()
            self.early = balancer.state != "active"

    def balancers(self) -> list:
        balancers = elbv2_backends[get_account_id()][get_region()].load_balancers
        return [balancers[target] for target in self.targets
                if target in balancers and balancers[target].type == "network"]

    def fault(self) -> str | None:
        if self.early:
            return ("NLB is not in active state. If you recently created this NLB, please wait for it to "
                    "become active and try again.")
        if self.balancers():
            return None
        return "NLB ARN is malformed." if not all(":loadbalancer/net/" in each for each in self.targets) \
            else "NLB is not found."

    def shown(self) -> dict:
        status, message = "PENDING", "Your VPC link is being provisioned."
        if self.deleted:
            status, message = "DELETING", "Your VPC link is being deleted."
        elif fault := self.fault():
            status, message = "FAILED", fault
        elif lifecycle.ready("vpc-link", self.created):
            status, message = "AVAILABLE", "Your vpc link is ready for use"
        shown = {"id": self.id, "name": self.name, "description": self.description,
                 "targetArns": self.targets, "status": status, "statusMessage": message, "tags": self.tags}
        return {name: value for name, value in shown.items() if value is not None}


@dataclass
class Served:
    """A method as it was when its API was deployed: that is how a stage serves it, whatever it is by now.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-deploy-api.html
    """

    verb: str
    path: str
    resource: str
    uri: str
    link: str | None
    authorization: str
    key_required: bool


_links: dict[tuple[str, str], Link] = {}
# moto's integrations have no connection; requests come one at a time.
_connection: str | None = None


def install() -> None:
    bridge.around["apigateway"] = _answer
    construct, to_json = Integration.__init__, Integration.to_json

    def with_connection(self, *args, **settings) -> None:
        construct(self, *args, **settings)
        self.connection_id = _connection

    def shown(self) -> dict:
        given = {name: value for name, value in to_json(self).items() if value is not None}
        return {**DEFAULTS, **given, "connectionId": self.connection_id}

    Integration.__init__, Integration.to_json = with_connection, shown
    RestAPI.create_deployment = _deploy(RestAPI.create_deployment)
    RestAPI.delete_deployment = _delete_deployment(RestAPI.delete_deployment)


def _deploy(plain: Callable) -> Callable:
    def deploy(self, *args, **settings) -> Deployment:
        deployment = plain(self, *args, **settings)
        deployment.served = [
            Served(verb, resource.get_path(), resource.id, method.method_integration.uri,
                   method.method_integration.connection_id, method.authorization_type,
                   method.api_key_required)
            for resource in self.resources.values() for verb, method in resource.resource_methods.items()
            if method.method_integration]
        return deployment

    return deploy


def _delete_deployment(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/apigateway/latest/api/API_DeleteDeployment.html"""
    def delete(self, deployment_id: str) -> Deployment:
        if any(stage.deployment_id == deployment_id for stage in self.stages.values()):
            raise StageStillActive
        return plain(self, deployment_id)

    return delete


def served(api: RestAPI, stage: Stage) -> list[Served]:
    """The methods that a stage serves."""
    return api.deployments[stage.deployment_id].served if stage.deployment_id in api.deployments else []


def link(region: str, identity: str) -> Link | None:
    """A VPC link that isn't deleted yet."""
    return _links.get((region, identity))


def links_to(balancer: str) -> bool:
    """Whether a VPC link holds this load balancer."""
    _sweep()
    return any(balancer in link.targets for link in _links.values())


def _sweep() -> None:
    """A link in deletion holds its load balancer until it is gone."""
    for key, link in list(_links.items()):
        if link.deleted and lifecycle.ready("vpc-link", link.deleted):
            del _links[key]


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    global _connection
    _sweep()
    path = unquote(request.path).rstrip("/")
    body = json.loads(request.body or b"{}")
    if found := re.fullmatch(r"/tags/arn:aws:apigateway:[a-z0-9-]+::/(.+)", path):
        return _tag(_tags(found[1].split("/")), request, body)
    if path == "/vpclinks":
        return _create(body) if request.method == "POST" else _list()
    if found := re.fullmatch(r"/vpclinks/([^/]+)", path):
        link = _links.get((get_region(), found[1]))
        if link is None:
            return _refuse(404, "NotFoundException", "Invalid Vpc Link identifier specified")
        return _one(link, request.method, body)
    if found := re.fullmatch(r"/usageplans/([^/]+)(/keys)?", path):
        if refusal := _plan_refusal(found[1], request.method, body, keys=bool(found[2])):
            return refusal
    _connection = body.get("connectionId") if path.endswith("/integration") else None
    answer = moto()
    found = re.fullmatch(r"/restapis/([^/]+)/deployments/([^/]+)", path)
    if found and request.query.get("embed") == ["apisummary"] and answer[0] == 200:
        return _reply(200, {**json.loads(answer[2]), "apiSummary": _summary(*found.groups())})
    return answer


def _summary(api: str, deployment: str) -> dict:
    """https://docs.aws.amazon.com/apigateway/latest/api/API_GetDeployment.html"""
    paths = {}
    for method in _backend().apis[api].deployments[deployment].served:
        paths.setdefault(method.path, {})[method.verb] = {
            "authorizationType": method.authorization, "apiKeyRequired": method.key_required}
    return paths


def _backend():
    return apigateway_backends[get_account_id()][get_region()]


def _reply(status: int, body: dict) -> bridge.Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _refuse(status: int, code: str, message: str) -> bridge.Answer:
    return status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, json.dumps(
        {"message": message}).encode()


def _create(body: dict) -> bridge.Answer:
    if len(body.get("targetArns", [])) != 1:
        return _refuse(400, "BadRequestException", "More than one target arn specified for vpc link.")
    link = Link(body["name"], body["targetArns"], body.get("description"), body.get("tags", {}))
    _links[get_region(), link.id] = link
    return _reply(202, link.shown())


def _list() -> bridge.Answer:
    return _reply(200, {"item": [link.shown() for (region, _), link in _links.items()
                                 if region == get_region()]})


def _one(link: Link, method: str, body: dict) -> bridge.Answer:
    if method == "DELETE":
        if users := _users_of(link):
            return _refuse(400, "BadRequestException",
                           f"Cannot delete vpc link. Vpc link '{link.id}', is referenced in "
                           f"[{', '.join(users)}] in format of [RESTApiId:Method:Resource:Stage].")
        link.deleted = link.deleted or time.time()
        return _reply(202, {})
    for change in body.get("patchOperations", []) if method == "PATCH" else []:
        setattr(link, change["path"].strip("/"), change["value"])
    return _reply(200, link.shown())


def _users_of(link: Link) -> list[str]:
    """The deployed methods whose integrations go over the link."""
    return [f"{api.id}:{method.verb}:{method.resource}:{stage.name}"
            for api in _backend().apis.values() for stage in api.stages.values()
            for method in served(api, stage) if method.link == link.id]


def _plan_refusal(plan: str, method: str, body: dict, keys: bool) -> bridge.Answer | None:
    """https://docs.aws.amazon.com/apigateway/latest/api/API_DeleteUsagePlan.html"""
    backend = _backend()
    stages = backend.usage_plans[plan].api_stages if plan in backend.usage_plans else []
    if method == "DELETE" and not keys and stages:
        first = f"{stages[0]['apiId']}:{stages[0]['stage']}"
        return _refuse(400, "BadRequestException", f"Cannot delete Usage Plan {plan} because there are API "
                       f"Stages associated with it, including {first}")
    if method == "POST" and keys and body["keyId"] in backend.usage_plan_keys.get(plan, {}):
        return _refuse(409, "ConflictException", f"{body['keyId']} is already in a usage plan")
    return None


def _tags(path: list[str]) -> dict[str, str] | None:
    """The tags of the resource with this path, to be changed in place."""
    backend = _backend()
    match path:
        case ["vpclinks", link]:
            found = _links.get((get_region(), link))
        case ["restapis", api]:
            found = backend.apis.get(api)
        case ["restapis", api, "stages", stage]:
            found = backend.apis[api].stages.get(stage) if api in backend.apis else None
        case ["usageplans", plan]:
            found = backend.usage_plans.get(plan)
        case ["apikeys", key]:
            found = backend.keys.get(key)
        case _:
            found = None
    if found is None:
        return None
    found.tags = found.tags or {}
    return found.tags


def _tag(tags: dict[str, str] | None, request: bridge.Request, body: dict) -> bridge.Answer:
    if tags is None:
        return _refuse(404, "NotFoundException", "Invalid resource identifier specified")
    if request.method == "GET":
        return _reply(200, {"tags": tags})
    tags.update(body.get("tags", {}))
    for key in request.query.get("tagKeys", []):
        tags.pop(key, None)
    return _reply(204, {})

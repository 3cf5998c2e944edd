"""IAM: what a request's permission depends on and ministack doesn't look at."""

import json
from collections.abc import Callable

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import iam

from .bridge import Answer

# What hands a role to a service, and the service.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-iam-roles.html
PASSING = {"RegisterTaskDefinition": (("executionRoleArn", "taskRoleArn"), "ecs-tasks.amazonaws.com")}


def install() -> None:
    iam_actions.extract_resource_arn = _with_path(iam_actions.extract_resource_arn)
    iam_actions.request_tag_context = _with_boundary(iam_actions.request_tag_context)
    ministack.SERVICE_HANDLERS["ecs"] = _passing_roles(ministack.SERVICE_HANDLERS["ecs"])


def _with_path(plain: Callable) -> Callable:
    """A role's ARN has its path: that of the role, or the one it is to be created under.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        name = _parameter(query, "RoleName") if service == "iam" else None
        if name is None:
            return plain(service, method, path, headers, body, query, *rest)
        if role := iam._roles.get(name):
            return role["Arn"]
        return f"arn:aws:iam::{get_account_id()}:role{_parameter(query, 'Path') or '/'}{name}"

    return extract


def _with_boundary(plain: Callable) -> Callable:
    """`iam:PermissionsBoundary` is the boundary a request sets, or that of the role it changes.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
    """
    def context(service: str, action: str, body: bytes, query: dict) -> dict:
        found = plain(service, action, body, query)
        if service == "iam":
            role = iam._roles.get(_parameter(query, "RoleName") or "", {})
            if boundary := _parameter(query, "PermissionsBoundary") or role.get("PermissionsBoundary"):
                found = {**found, "iam:PermissionsBoundary": boundary}
        return found

    return context


def _parameter(query: dict, name: str) -> str | None:
    value = query.get(name)
    return value[0] if isinstance(value, list) else value


def _passing_roles(plain: Callable) -> Callable:
    """Whoever hands a role to a service needs `iam:PassRole` on it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
    """
    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        fields, service = PASSING.get(action, ((), ""))
        given = json.loads(body) if fields else {}
        for role in [given[each] for each in fields if given.get(each)]:
            denied = iam_evaluator.enforce(
                extract_access_key_id(headers, query), "iam:PassRole", "iam", get_region(), resource_arn=role,
                service_context={"iam:PassedToService": service})
            if denied:
                return iam_actions.access_denied_response(
                    "ecs", "iam:PassRole", denied.principal_arn, "", headers=headers, resource_arn=role)
        return await plain(method, path, headers, body, query)

    return handle

"""IAM: what a request's permission depends on and ministack doesn't look at; what lists leave out and what a
user goes after.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import iam

from . import lifecycle
from .bridge import Answer, Request

# What hands a role to a service, and the service.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-iam-roles.html
PASSING = {"RegisterTaskDefinition": (("executionRoleArn", "taskRoleArn"), "ecs-tasks.amazonaws.com")}


def install() -> None:
    iam_actions.extract_resource_arn = _with_path(iam_actions.extract_resource_arn)
    iam_evaluator._resolve_condition_key = _with_a_roles_arn(iam_evaluator._resolve_condition_key)
    iam_actions.request_tag_context = _with_boundary(iam_actions.request_tag_context)
    ministack.SERVICE_HANDLERS["ecs"] = _passing_roles(ministack.SERVICE_HANDLERS["ecs"])
    ministack.SERVICE_HANDLERS["iam"] = _passing_to_instances(ministack.SERVICE_HANDLERS["iam"])
    handlers = iam._IAM_HANDLERS
    for action in ("ListInstanceProfiles", "ListRoles", "ListUsers"):
        handlers[action] = _without_tags(handlers[action])
    handlers["GetAccountAuthorizationDetails"] = _telling_boundaries(
        handlers["GetAccountAuthorizationDetails"])
    handlers["ListAccessKeys"] = _of_a_user(handlers["ListAccessKeys"])
    handlers["DeleteUser"] = _after_its_policies(handlers["DeleteUser"])


def _with_a_roles_arn(plain: Callable) -> Callable:
    """Of a role's session `aws:PrincipalArn` is the role's own ARN, its path included.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """
    def resolve(key: str, asking: iam_evaluator.EvalContext) -> object:
        arn = asking.principal_arn
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in arn:
            return plain(key, asking)
        account, name = arn.split(":")[4], arn.split("/")[1]
        role = iam._roles.get_scoped(account, None, name)
        return role["Arn"] if role else f"arn:aws:iam::{account}:role/{name}"

    return resolve


def assumable(arn: str, service: str) -> bool:
    """Whether a service can assume a role: it is trusted, and the role is known everywhere by now.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """
    role = iam._roles.get(arn.rsplit("/", 1)[-1])
    trust = json.dumps((role or {}).get("AssumeRolePolicyDocument", ""))
    made = (role or {}).get("CreateDate")
    since = datetime.fromisoformat(made.replace("Z", "+00:00")).timestamp() if isinstance(made, str) else 0
    return role is not None and service in trust and lifecycle.ready("iam-role", since)


def _with_path(plain: Callable) -> Callable:
    """The ARN of an instance profile, a role or a user has its path: its own, or the one it is to be created
    under. A call that names a profile and a role is about the profile.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/list_awsidentityandaccessmanagementiam.html
    """
    kinds = (("InstanceProfileName", "instance-profile", lambda: iam._instance_profiles),
             ("RoleName", "role", lambda: iam._roles), ("UserName", "user", lambda: iam._users))

    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        if service == "iam":
            if provider := _parameter(query, "OpenIDConnectProviderArn"):
                return provider
            for parameter, kind, known in kinds:
                if name := _parameter(query, parameter):
                    found, under = known().get(name), _parameter(query, "Path") or "/"
                    return found["Arn"] if found else f"arn:aws:iam::{get_account_id()}:{kind}{under}{name}"
        return plain(service, method, path, headers, body, query, *rest)

    return extract


def _with_boundary(plain: Callable) -> Callable:
    """`iam:PermissionsBoundary` is the boundary a request sets, or that of the role or user it changes.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
    """
    def context(service: str, action: str, body: bytes, query: dict) -> dict:
        found = plain(service, action, body, query)
        if service == "iam":
            changed = (iam._roles.get(_parameter(query, "RoleName") or "")
                       or iam._users.get(_parameter(query, "UserName") or "") or {})
            if boundary := _parameter(query, "PermissionsBoundary") or changed.get("PermissionsBoundary"):
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
            if refusal := _pass_refused("ecs", role, service, headers, query):
                return refusal
        return await plain(method, path, headers, body, query)

    return handle


def _passing_to_instances(plain: Callable) -> Callable:
    """Whoever puts a role into an instance profile passes it to EC2.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html
    """
    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        given = Request(method, path, headers, body, query).parameters()
        role = iam._roles.get(given.get("RoleName", ""))
        if given.get("Action") == "AddRoleToInstanceProfile" and role:
            if refusal := _pass_refused("iam", role["Arn"], "ec2.amazonaws.com", headers, query):
                return refusal
        return await plain(method, path, headers, body, query)

    return handle


def _pass_refused(asked: str, role: str, service: str, headers: dict, query: dict) -> Answer | None:
    denied = iam_evaluator.enforce(
        extract_access_key_id(headers, query), "iam:PassRole", "iam", get_region(), resource_arn=role,
        service_context={"iam:PassedToService": service})
    if denied:
        return iam_actions.access_denied_response(
            asked, "iam:PassRole", denied.principal_arn, "", headers=headers, resource_arn=role)
    return None


def _without_tags(plain: Callable) -> Callable:
    """Lists leave the tags out: they are told of one thing at a time.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUsers.html
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListInstanceProfiles.html
    """
    def listed(parameters: dict) -> Answer:
        status, headers, body = plain(parameters)
        return status, headers, re.sub(rb"<Tags>.*?</Tags>", b"", body, flags=re.DOTALL)

    return listed


def _telling_boundaries(plain: Callable) -> Callable:
    """The details of a role or a user tell its permissions boundary.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UserDetail.html
    """
    def details(parameters: dict) -> Answer:
        status, headers, body = plain(parameters)
        for entities, before in ((iam._roles, b"<RolePolicyList>"), (iam._users, b"<UserPolicyList>")):
            for entity in entities.values():
                if boundary := entity.get("PermissionsBoundary"):
                    told = (b"<PermissionsBoundary><PermissionsBoundaryType>PermissionsBoundaryPolicy"
                            b"</PermissionsBoundaryType><PermissionsBoundaryArn>" + boundary.encode()
                            + b"</PermissionsBoundaryArn></PermissionsBoundary>")
                    own = b"(<Arn>" + re.escape(entity["Arn"].encode()) + b"</Arn>(?:(?!<Arn>).)*?)"
                    body = re.sub(own + before, lambda found, told=told, before=before:
                                  found.group(1) + told + before, body, flags=re.DOTALL)
        return status, headers, body

    return details


def _of_a_user(plain: Callable) -> Callable:
    """Only a user that is there has access keys to list.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAccessKeys.html
    """
    def listed(parameters: dict) -> Answer:
        name = _parameter(parameters, "UserName")
        if name and name not in iam._users:
            return iam._error(404, "NoSuchEntity", f"The user with name {name} cannot be found.", ns="iam")
        return plain(parameters)

    return listed


def _after_its_policies(plain: Callable) -> Callable:
    """A user goes after its inline policies, as a role does.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html
    """
    def delete(parameters: dict) -> Answer:
        if iam._user_inline_policies.get(_parameter(parameters, "UserName")):
            return iam._error(409, "DeleteConflict", "Cannot delete entity, must delete policies first.",
                              ns="iam")
        return plain(parameters)

    return delete

"""What a policy's conditions depend on and ministack doesn't look at: policy variables, the tags of moto's
resources, the conditions of boundaries, and which resources a call is about.
"""

import contextvars
import dataclasses
import functools
import json
import re
from collections.abc import Callable

from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, ParsedStatement
from ministack.core.responses import get_account_id, get_region
from ministack.services import ecr, servicediscovery, tagging

from . import resources

# The resources of a call after the first, which are asked for one by one.
_further: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("further", default=())

# ${aws:PrincipalTag/team} or, with what stands in its place where there is none, ${aws:PrincipalTag/team, 'x'}.
VARIABLE = re.compile(r"\$\{\s*([^,}]+?)\s*(?:,\s*'([^']*)'\s*)?\}")


def install() -> None:
    iam_evaluator.parse_policy_document = _once(iam_evaluator.parse_policy_document)
    iam_evaluator._first_match = _with_variables(iam_evaluator._first_match)
    # Boundaries have conditions too, which ministack looks for in a principal's own policies alone.
    iam_evaluator._names_condition_key = lambda policies, prefix: True
    tagging.resource_tags = _of_moto(tagging.resource_tags)
    iam_actions.extract_resource_arn = _about(iam_actions.extract_resource_arn)
    iam_evaluator.enforce = _for_each(iam_evaluator.enforce)
    iam_actions._tag_operations = _of_every_call(iam_actions._tag_operations)
    iam_actions.request_tag_context = _with_what_is_asked(iam_actions.request_tag_context)


def _once(plain: Callable) -> Callable:
    """Every call asks for all policies of its caller, which seldom change."""
    remembered = functools.lru_cache(maxsize=4096)(plain)

    def parse(document: str | dict) -> list[ParsedStatement]:
        return list(remembered(document)) if isinstance(document, str) else plain(document)

    return parse


def _with_variables(plain: Callable) -> Callable:
    """Variables stand for what the request has. Without a value one is equal to nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    def first(asking: EvalContext, statements: list[ParsedStatement], effect: str) -> ParsedStatement | None:
        for statement in statements:
            # Most statements are about other actions, and to fill in variables takes long.
            if (statement.effect == effect
                    and iam_evaluator._action_matches(asking.action, statement.actions, statement.not_actions)
                    and plain(asking, [_filled(statement, asking)], effect)):
                return statement
        return None

    return first


def _filled(statement: ParsedStatement, asking: EvalContext) -> ParsedStatement:
    if "${" not in repr(statement):
        return statement
    conditions = {operator: {key: _values(values, asking) for key, values in block.items()}
                  for operator, block in statement.conditions.items()}
    # An empty list of resources would match every resource.
    named, others = ([*_values(each, asking)] or ["-"] if each else []
                         for each in (statement.resources, statement.not_resources))
    return dataclasses.replace(statement, resources=named, not_resources=others, conditions=conditions)


def _values(values: object, asking: EvalContext) -> list[str]:
    listed = values if isinstance(values, list) else [values]
    filled = [_fill(str(each), asking) for each in listed]
    return [each for each in filled if each is not None]


def _fill(text: str, asking: EvalContext) -> str | None:
    missing = False

    def value(found: re.Match) -> str:
        nonlocal missing
        known = iam_evaluator._resolve_condition_key(found[1], asking)
        if known is None and found[2] is None:
            missing = True
        return str(found[2] or "" if known is None else known)

    filled = VARIABLE.sub(value, text)
    return None if missing else filled


def _of_moto(plain: Callable) -> Callable:
    def tags(arn: str) -> dict[str, str] | None:
        parts = arn.split(":", 5)
        of = resources.TAGS.get(parts[2]) if len(parts) == 6 else None
        if of is None:
            return _of_ministack(parts[2] if len(parts) == 6 else "", arn) or plain(arn)
        try:
            return of(arn)
        except Exception:
            # moto raises what it would answer; what isn't there has no tags.
            return None

    return tags


def _of_ministack(service: str, arn: str) -> dict[str, str] | None:
    """The tags that ministack keeps and doesn't show to policies."""
    if service == "ecr":
        found = ecr._repositories.get(arn.split("/", 1)[-1])
        return {each["Key"]: each["Value"] for each in (found or {}).get("tags", [])}
    if service == "servicediscovery":
        return {each["Key"]: each["Value"] for each in servicediscovery._resource_tags.get(arn, [])}
    return None


def _about(plain: Callable) -> Callable:
    """The resources that a call is about, as AWS's Service Authorization Reference has them.

    https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        found = plain(service, method, path, headers, body, query, *rest)
        about = resources.about(service, method, path, headers, body, query, get_region(), get_account_id())
        _further.set(tuple(about[1:]))
        return about[0] if about else found

    return extract


def _for_each(plain: Callable) -> Callable:
    """A call is allowed if it is for each of its resources."""
    def enforce(access_key: str, action: str, service: str, region: str, resource_arn: str = "*",
                service_context: dict | None = None):
        others = _further.get()
        _further.set(())
        for resource in (resource_arn, *others):
            if denied := plain(access_key, action, service, region, resource, service_context):
                return denied
        return None

    return enforce


class _Every:
    def __contains__(self, _: str) -> bool:
        return True


def _of_every_call(plain: Callable) -> Callable:
    """Calls of these may carry tags in other members, or go by another name than ministack looks for."""
    def operations(service: str) -> object:
        return _Every() if service in ("ec2", "elasticloadbalancing") else plain(service)

    return operations


def _with_what_is_asked(plain: Callable) -> Callable:
    """The sources that events name, and the types of the records that are changed, are keys of theirs; what a
    launch template will tag one day isn't tagged by the request.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
    https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-rrset-conditions.html
    """
    def context(service: str, action: str, body: bytes, query: dict) -> dict:
        asked = {name: value for name, value in query.items() if not name.startswith("LaunchTemplateData.")}
        found = plain(service, action, body, asked)
        if action == "events:PutEvents":
            entries = json.loads(body or b"{}").get("Entries") or []
            return {**found, "events:source": [str(each.get("Source")) for each in entries]}
        if action == "route53:ChangeResourceRecordSets":
            types = re.findall(r"<Type>(\w+)</Type>", body.decode("utf-8", "replace"))
            return {**found, "route53:ChangeResourceRecordSetsRecordTypes": types}
        return found

    return context

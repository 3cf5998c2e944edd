"""Whether a role, or a resource's own policy, allows what a service does on someone's behalf.

ministack asks this of API calls only; AWS also of what a state machine, a rule, or an alarm does.
"""

from ministack.core.iam_evaluator import (
    EvalContext, _gather_role_policies, _permissions_boundary, evaluate, evaluate_resource_policy)
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam


def role_allows(role: str, action: str, resource: str) -> bool:
    """Whether the role with this ARN may do this, its permissions boundary considered."""
    name, account = role.rsplit("/", 1)[-1], get_account_id()
    asking = _context(f"arn:aws:sts::{account}:assumed-role/{name}/service", "AssumedRole", action, resource)
    return evaluate(asking, _gather_role_policies(name, account),
                    *_permissions_boundary(iam._roles, name, account)).decision == "Allow"


def policy_allows(policy: dict | str | None, service: str, action: str, resource: str, source: str) -> bool:
    """Whether a resource's policy lets this service act on it for the source with this ARN."""
    asking = _context("*", "Service", action, resource,
                      {"aws:sourcearn": source, "aws:sourceaccount": get_account_id()})
    return evaluate_resource_policy(policy, asking, service=service).decision == "Allow"


def _context(principal: str, kind: str, action: str, resource: str, keys: dict | None = None) -> EvalContext:
    return EvalContext(principal_arn=principal, principal_type=kind,
                       principal_account=get_account_id() if kind == "AssumedRole" else "", action=action,
                       resource_arn=resource, region=get_region(), service_context=keys or {})

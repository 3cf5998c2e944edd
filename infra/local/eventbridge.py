"""EventBridge: targets it may not reach, the dead-letter queue such events go to, and buses elsewhere.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ministack.core.responses import (
    get_account_id, get_region, new_uuid, set_request_account_id, set_request_region)
from ministack.services import eventbridge, lambda_svc, sqs, stepfunctions

from . import permissions

PRINCIPAL = "events.amazonaws.com"


def install() -> None:
    deliver = eventbridge._invoke_target

    def invoke(target: dict, event: dict, rule: dict, view=None) -> None:
        fault = _fault(target, rule)
        if fault is None and target["Arn"].split(":")[2] == "events":
            _forward(target["Arn"], event)
        elif fault is None:
            deliver(target, event, rule, view)
        elif queue := target.get("DeadLetterConfig", {}).get("Arn"):
            view = view or eventbridge._pattern_event_view(event)
            _bury(queue, target, rule, json.dumps(view.event_with_detail()), *fault)

    eventbridge._invoke_target = invoke


def _fault(target: dict, rule: dict) -> tuple[str, str] | None:
    """Why the target can't be had, if it can't."""
    arn = target["Arn"]
    service = arn.split(":")[2]
    if service == "states":
        if stepfunctions._resolve_state_machine_arn(arn) is None:
            return "NO_RESOURCE", "The state machine does not exist"
        allowed = permissions.role_allows(target.get("RoleArn", ""), "states:StartExecution", arn)
    elif service == "lambda":
        function, _, _ = lambda_svc._get_func_record_for_ref(arn)
        if not function:
            return "NO_RESOURCE", "The function does not exist"
        allowed = permissions.policy_allows(function["policy"], PRINCIPAL, "lambda:InvokeFunction", arn,
                                            rule["Arn"])
    elif service == "sqs":
        allowed = _queue_takes(arn, rule)
    elif service == "events":
        allowed = (permissions.role_allows(target.get("RoleArn", ""), "events:PutEvents", arn)
                   and _bus_takes(arn, rule))
    else:
        allowed = True
    return None if allowed else ("NO_PERMISSIONS", "The rule is not authorized to call its target")


def _queue_takes(arn: str, rule: dict) -> bool:
    queue = sqs._queue_by_arn(arn)
    return bool(queue) and permissions.policy_allows(queue["attributes"].get("Policy"), PRINCIPAL,
                                                     "sqs:SendMessage", arn, rule["Arn"])


def _bus_takes(arn: str, rule: dict) -> bool:
    """Whether a bus takes the rule's events: one of another account says so in its policy.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cross-account.html
    """
    region, account, name = arn.split(":")[3], arn.split(":")[4], arn.split("/")[-1]
    own = get_account_id()
    if account == own:
        return True
    sources = json.loads(rule.get("EventPattern") or "{}").get("source") or []
    with _as(account, region):
        policy = eventbridge._event_bus_policies.get(name) or {}
    return any(_names(statement, own) and _conditioned(statement, sources)
               for statement in policy.get("Statement", []))


def _names(statement: dict, account: str) -> bool:
    principals = statement.get("Principal", {})
    named = principals.get("AWS", []) if isinstance(principals, dict) else principals
    named = [named] if isinstance(named, str) else named
    return statement.get("Effect") == "Allow" and any(
        each in ("*", account, f"arn:aws:iam::{account}:root") for each in named)


def _conditioned(statement: dict, sources: list) -> bool:
    wanted = statement.get("Condition", {}).get("StringEquals", {}).get("events:source")
    return wanted is None or sources == ([wanted] if isinstance(wanted, str) else wanted)


@contextmanager
def _as(account: str, region: str) -> Iterator[None]:
    before = get_account_id(), get_region()
    set_request_account_id(account)
    set_request_region(region)
    try:
        yield
    finally:
        set_request_account_id(before[0])
        set_request_region(before[1])


def _forward(arn: str, event: dict) -> None:
    """What is forwarded keeps the account and the region that it comes from, and isn't forwarded once more.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cross-region.html
    """
    region, account, name = arn.split(":")[3], arn.split(":")[4], arn.split("/")[-1]
    if event.get("forwarded"):
        return
    with _as(account, region):
        eventbridge._dispatch_event({**event, "EventBusName": name, "forwarded": True})


def _bury(arn: str, target: dict, rule: dict, event: str, code: str, message: str) -> None:
    if not _queue_takes(arn, rule):
        return
    queue = sqs._queue_by_arn(arn)
    attributes = {"RULE_ARN": rule["Arn"], "TARGET_ARN": target["Arn"], "ERROR_CODE": code,
                  "ERROR_MESSAGE": message}
    letter = {"id": new_uuid(), "body": event, "receipt_handle": None, "receive_count": 0,
              "sent_at": time.time(), "visible_at": time.time(),
              "message_attributes": {name: {"DataType": "String", "StringValue": value}
                                     for name, value in attributes.items()}}
    sqs._ensure_msg_fields(letter)
    queue["messages"].append(letter)

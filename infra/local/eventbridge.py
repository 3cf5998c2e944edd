"""EventBridge: targets it may not reach, and the dead-letter queue such events go to.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

import json
import time

from ministack.core.responses import new_uuid
from ministack.services import eventbridge, lambda_svc, sqs, stepfunctions

from . import permissions

PRINCIPAL = "events.amazonaws.com"


def install() -> None:
    deliver = eventbridge._invoke_target

    def invoke(target: dict, event: dict, rule: dict, view=None) -> None:
        fault = _fault(target, rule)
        if fault is None:
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
    else:
        allowed = True
    return None if allowed else ("NO_PERMISSIONS", "The rule is not authorized to call its target")


def _queue_takes(arn: str, rule: dict) -> bool:
    queue = sqs._queue_by_arn(arn)
    return bool(queue) and permissions.policy_allows(queue["attributes"].get("Policy"), PRINCIPAL,
                                                     "sqs:SendMessage", arn, rule["Arn"])


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

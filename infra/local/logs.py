"""CloudWatch Logs: whoever makes a log group with tags may tag it."""

import json

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id

from .bridge import Answer


def install() -> None:
    plain = ministack.SERVICE_HANDLERS["logs"]

    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        return _denied(headers, body, query) or await plain(method, path, headers, body, query)

    ministack.SERVICE_HANDLERS["logs"] = handle


def _denied(headers: dict, body: bytes, query: dict) -> Answer | None:
    """The answer to who makes a group with tags and may not tag it.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    """
    if not headers.get("x-amz-target", "").endswith(".CreateLogGroup"):
        return None
    given = json.loads(body)
    if not given.get("tags"):
        return None
    region, account = get_region(), get_account_id()
    group = f"arn:aws:logs:{region}:{account}:log-group:{given.get('logGroupName')}"
    action, context = "logs:TagResource", iam_actions.logs_service_context("CreateLogGroup", body, group, region, account)
    denied = iam_evaluator.enforce(
        extract_access_key_id(headers, query), action, "logs", region, resource_arn=group, service_context=context)
    if not denied:
        return None
    return iam_actions.access_denied_response(
        "logs", action, getattr(denied, "principal_arn", ""), "", headers=headers, resource_arn=group)

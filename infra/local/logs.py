"""CloudWatch Logs: whoever makes a log group with tags may tag it, and its key can be changed."""

import json

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.core.router import extract_access_key_id
from ministack.services import cloudwatch_logs as logs
from ministack.services import kms

from .bridge import Answer


def install() -> None:
    plain = ministack.SERVICE_HANDLERS["logs"]

    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action in ("AssociateKmsKey", "DisassociateKmsKey"):
            return _set_key(json.loads(body))
        if action == "CreateLogGroup" and (denied := _denied(headers, body, query)):
            return denied
        return await plain(method, path, headers, body, query)

    ministack.SERVICE_HANDLERS["logs"] = handle


def _set_key(given: dict) -> Answer:
    """What was written before stays encrypted with the key of its time.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html
    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DisassociateKmsKey.html
    """
    group, key = logs._log_groups.get(given.get("logGroupName")), given.get("kmsKeyId")
    if group is None:
        return error_response_json("ResourceNotFoundException", "The specified log group does not exist.", 400)
    if key and (kms._resolve_key(key) or {}).get("KeyState") != "Enabled":
        return error_response_json(
            "InvalidParameterException", "The specified KMS key does not exist or is not allowed to be used with "
            f"LogGroup '{given['logGroupName']}'", 400)
    group["kmsKeyId"] = key
    return json_response({})


def _denied(headers: dict, body: bytes, query: dict) -> Answer | None:
    """The answer to who makes a group with tags and may not tag it.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    """
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

"""Every AWS call that enters: what it is, whether a fault is set for it, and its line in the log."""

import asyncio
import json
import re
from dataclasses import dataclass

import ministack.app as ministack
from ministack.core.iam_actions import _match_rest_action, extract_iam_action
from ministack.core.iam_evaluator import ResolvedCredential, resolve_credential
from ministack.core.router import detect_service, extract_access_key_id

from . import faults, watch

READS = ("AssumeRole", "BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Search", "Simulate", "Validate")


@dataclass
class Call:
    """One line of the log."""

    number: int
    service: str
    action: str
    principal: str
    function: str | None
    bucket: str | None
    write: bool
    status: int = 0
    error: str | None = None


log: list[Call] = []


def install() -> None:
    dispatch = ministack._dispatch_service_request

    async def observed(method, path, headers, body, query, request_id):
        call = identify(method, path, headers, body, query)
        watch.current.set(call)
        answer = await faults.around(
            call, lambda: dispatch(method, path, headers, body, query, request_id))
        call.status, call.error = answer[0], error_code(*answer)
        log.append(call)
        call.number = len(log)
        if watch.concerns(call):
            await asyncio.to_thread(watch.after, call)
        return answer

    ministack._dispatch_service_request = observed


def since(number: int) -> list[dict]:
    """The calls after the one with this number."""
    return [vars(call) for call in log[number:]]


def identify(method: str, path: str, headers: dict, body: bytes, query: dict) -> Call:
    routing = ministack._routing_params(method, path, headers, body, query)
    service = detect_service(method, path, headers, routing)
    action = _action(service, method, path, headers, body, routing)
    principal, function = _caller(extract_access_key_id(headers, query))
    bucket = path.strip("/").split("/")[0] or None if service == "s3" else None
    read = method in ("GET", "HEAD") if service == "s3" else action.startswith(READS)
    return Call(0, service, action, principal, function, bucket, not read)


def _action(service: str, method: str, path: str, headers: dict, body: bytes, query: dict) -> str:
    # IAM knows API Gateway's calls only by their HTTP verb.
    if service == "apigateway":
        return _match_rest_action(service, method, path, query) or f"{method} {path}"
    action = extract_iam_action(service, method, path, headers, body, query)
    return action.split(":", 1)[1] if action else f"{method} {path}"


def _caller(access_key: str) -> tuple[str, str | None]:
    """The caller's role or user, and the function if it is one."""
    credential = resolve_credential(access_key)
    if not isinstance(credential, ResolvedCredential):
        return access_key, None
    kind, *names = credential.principal_arn.split(":", 5)[5].split("/")
    if kind == "assumed-role":
        return names[0], names[1]
    return names[-1] if names else kind, None


def error_code(status: int, headers: dict, body: object) -> str | None:
    """The error's code in any of AWS's protocols."""
    if status < 400 or not isinstance(body, bytes):
        return None
    named = next((value for name, value in headers.items() if name.lower() == "x-amzn-errortype"), None)
    if named:
        return named.split(":")[0]
    if found := re.search(rb"<Code>([^<]+)</Code>", body):
        return found[1].decode()
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    code = parsed.get("__type") or parsed.get("code") or parsed.get("Code")
    return code.rsplit("#", 1)[-1] if isinstance(code, str) else None

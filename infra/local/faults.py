"""Faults to order: the calls a test wants refused, lost, or to be their caller's last."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ministack.core import lambda_runtime
from ministack.core.iam_actions import _SERVICE_PROTOCOL

KINDS = ("throttle", "error", "lost-answer", "kill-caller")
THROTTLES = {"ec2": (503, "RequestLimitExceeded"), "s3": (503, "SlowDown"),
             "elasticloadbalancing": (400, "Throttling"), "iam": (400, "Throttling"),
             "apigateway": (429, "TooManyRequestsException")}


@dataclass
class Fault:
    """Which calls go wrong, and how. Empty fields match everything."""

    kind: str
    service: str | None = None
    action: str | None = None
    principal: str | None = None
    # Let this many matching calls through first, then spoil `times` of them.
    after: int = 0
    times: int = 1
    # For `error`.
    status: int = 400
    code: str = "InternalFailure"
    message: str = "ordered by a test"
    # For `kill-caller`: whether the call is still made.
    done: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")

    def strikes(self, call) -> bool:
        """Whether this call is to go wrong; counts it if it matches."""
        for field in ("service", "action", "principal"):
            if getattr(self, field) not in (None, getattr(call, field)):
                return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times == 0:
            return False
        self.times -= 1
        return True


rules: list[Fault] = []


async def around(call, make: Callable[[], Awaitable[tuple]]) -> tuple:
    """Makes the call, or what the first fault that strikes makes of it."""
    fault = next((rule for rule in rules if rule.strikes(call)), None)
    if fault is None:
        return await make()
    if fault.kind == "throttle":
        status, code = THROTTLES.get(call.service, (400, "ThrottlingException"))
        return refusal(call.service, status, code, "Rate exceeded")
    if fault.kind == "error":
        return refusal(call.service, fault.status, fault.code, fault.message)
    if fault.kind == "lost-answer" or fault.done:
        await make()
    if fault.kind == "kill-caller" and call.function:
        kill(call.function)
    return refusal(call.service, 500, "InternalFailure", "the answer was lost")


def kill(function: str) -> None:
    """Kills the processes in which this function is running now."""
    for workers in list(lambda_runtime._workers.values()):
        for worker in workers:
            if worker.func_name == function and worker.in_use and worker._proc:
                worker._proc.kill()


def refusal(service: str, status: int, code: str, message: str) -> tuple[int, dict, bytes]:
    """An error in the words of the service's protocol."""
    protocol = _SERVICE_PROTOCOL.get(service, "json")
    fault = f"<Code>{code}</Code><Message>{message}</Message>"
    if protocol == "rest-xml" and service == "s3":
        body = f"<Error>{fault}</Error>"
    elif protocol == "ec2-xml":
        body = f"<Response><Errors><Error>{fault}</Error></Errors></Response>"
    elif protocol in ("query-xml", "rest-xml"):
        body = f"<ErrorResponse><Error>{fault}</Error></ErrorResponse>"
    else:
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": code}
        return status, headers, json.dumps({"__type": code, "message": message}).encode()
    return status, {"Content-Type": "text/xml"}, body.encode()

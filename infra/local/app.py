"""The ASGI application: ministack's, with moto's services, the mends, and the control API."""

from collections.abc import Awaitable, Callable

import ministack.app as ministack
from ministack.core import lambda_runtime

from . import (acm, apigateway, applicationautoscaling, autoscaling, bridge, calls, cloudformation,
               conditions, container_instances, control, ec2, ecr, ecs, efs, elbv2, eventbridge, iam,
               lambda_functions, lifecycle, logs, rds, route53, s3, scheduler, secretsmanager, servicediscovery,
               stepfunctions, watch)

Application = Callable[[dict, Callable, Callable], Awaitable[None]]

MENDS = (bridge, acm, apigateway, applicationautoscaling, cloudformation, ec2, ecr, ecs, container_instances,
         autoscaling, efs, elbv2, eventbridge, iam, lambda_functions, logs, rds, route53, s3, scheduler,
         secretsmanager, servicediscovery, stepfunctions, conditions, watch, calls)


def build(scale: float, waits: float) -> Application:
    """Installs every mend and answers the application to serve."""
    lifecycle.scale, lifecycle.waits = scale, waits
    for mend in MENDS:
        mend.install()

    async def application(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http" and scope["path"].startswith(control.PREFIX):
            await control.handle(scope, receive, send)
        else:
            # AWS answers over TLS alone; here that is what loopback stands for, or policies on
            # aws:SecureTransport would deny everything.
            await ministack.app({**scope, "scheme": "https"}, receive, _empty_where_http_says_so(send))

    return application


def _empty_where_http_says_so(send: Callable) -> Callable:
    """An answer 204 or 304 has no body. Sent all the same, it would be taken for the next answer's beginning.

    https://www.rfc-editor.org/rfc/rfc9110#name-204-no-content
    """
    bare = False

    async def sends(message: dict) -> None:
        nonlocal bare
        if message["type"] == "http.response.start":
            bare = message["status"] in (204, 304)
            if bare:
                headers = [header for header in message["headers"] if header[0].lower() != b"content-length"]
                message = {**message, "headers": headers}
        elif bare:
            message = {**message, "body": b""}
        await send(message)

    return sends


def stop() -> None:
    """Ends the processes of the functions that ran."""
    lambda_runtime.reset()

"""The ASGI application: ministack's, with moto's services, the mends, and the control API."""

from collections.abc import Awaitable, Callable

import ministack.app as ministack
from ministack.core import lambda_runtime

from . import (acm, apigateway, applicationautoscaling, autoscaling, bridge, calls, cloudformation,
               conditions, container_instances, control, ec2, ecr, ecs, efs, elbv2, eventbridge, iam,
               lambda_functions, lifecycle, rds, route53, s3, scheduler, secretsmanager, servicediscovery,
               stepfunctions, watch)

Application = Callable[[dict, Callable, Callable], Awaitable[None]]

MENDS = (bridge, acm, apigateway, applicationautoscaling, cloudformation, ec2, ecr, ecs, container_instances,
         autoscaling, efs, elbv2, eventbridge, iam, lambda_functions, rds, route53, s3, scheduler,
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
            await ministack.app({**scope, "scheme": "https"}, receive, send)

    return application


def stop() -> None:
    """Ends the processes of the functions that ran."""
    lambda_runtime.reset()

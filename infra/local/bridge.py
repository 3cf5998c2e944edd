"""Lets moto answer for the services in which it is the stricter of the two.

ministack authenticates and authorises every request before it calls a service's handler, so moto's
services come under the same enforcement.
"""

import asyncio
import functools
import threading
from collections.abc import Callable
from urllib.parse import parse_qs

import ministack.app as ministack
from ministack.core.responses import get_account_id
from moto import backends
from moto.core import responses
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client
from werkzeug.wrappers import Response as WerkzeugResponse

Answer = tuple[int, dict, bytes]
Call = Callable[[], Answer]

SERVICES = (
    "acm", "apigateway", "application-autoscaling", "autoscaling", "ec2", "ecs", "elasticfilesystem",
    "elasticloadbalancing", "rds",
)

# moto's stores are plain dictionaries, made for one thread.
lock = threading.RLock()
# What a service's file wraps around moto's answer: (request, call) -> answer.
around: dict[str, Callable] = {}
# What looks at each answer, before the lock is let go.
answered: list[Callable[[], None]] = []

_moto = DomainDispatcherApplication(create_backend_app)


class Request:
    """One request as ministack hands it on."""

    def __init__(self, method: str, path: str, headers: dict, body: bytes, query: dict):
        self.method, self.path, self.headers, self.body, self.query = method, path, headers, body, query

    def parameters(self) -> dict[str, str]:
        """A query request's parameters."""
        return {name: values[-1] for name, values in
                {**self.query, **parse_qs(self.body.decode("utf-8", "replace"))}.items()}

    def to_moto(self) -> Answer:
        pairs = [(name, value) for name, values in self.query.items()
                 for value in (values if isinstance(values, list) else [values])]
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        # moto doesn't know the sessions of roles, nor whose account they are in.
        headers["x-moto-account-id"] = get_account_id()
        answer = Client(_moto, WerkzeugResponse).open(
            self.path, method=self.method, headers=headers, data=self.body, query_string=pairs)
        return answer.status_code, dict(answer.headers), answer.get_data()


def install() -> None:
    _remember()
    for service in SERVICES:
        ministack.SERVICE_HANDLERS[service] = _handler(service)
    threading.Thread(target=_warm, daemon=True).start()


def _remember() -> None:
    """moto looks through its own folders and classes for each request, and always finds the same."""
    folders, methods = tuple(backends.list_of_moto_modules()), functools.cache(responses.method_names_from_class)
    backends.list_of_moto_modules = lambda: folders
    responses.method_names_from_class = methods


def _handler(service: str) -> Callable:
    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        return await asyncio.to_thread(_answer, service, Request(method, path, headers, body, query))

    return handle


def _answer(service: str, request: Request) -> Answer:
    with lock:
        answer = around[service](request, request.to_moto) if service in around else request.to_moto()
        for each in answered:
            each()
        return answer


def _warm() -> None:
    """moto loads a service at its first call, which for EC2 takes most of a second."""
    with lock:
        for service in ("ec2", "ecs", "elbv2", "apigateway"):
            create_backend_app(service)

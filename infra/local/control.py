"""The control API under `/_local/`: readiness, the log of calls, scale, faults and the like. See README.md."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from urllib.parse import parse_qs

from . import acm, calls, deployments, faults, given, inventory, lifecycle, rds, serve, watch

PREFIX = "/_local/"


async def handle(scope: dict, receive: Callable, send: Callable) -> None:
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
    body = await _body(receive)
    try:
        status, answer = await asyncio.to_thread(
            _route, scope["method"], scope["path"], query, json.loads(body) if body else {})
    except (KeyError, TypeError, ValueError) as fault:
        status, answer = 400, {"error": str(fault)}
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def _route(method: str, path: str, query: dict, body: dict) -> tuple[int, object]:
    match method, path.removeprefix(PREFIX):
        case "GET", "ready":
            return 200, {"ready": True, "scale": lifecycle.scale, "calls": len(calls.log)}
        case "GET", "calls":
            return 200, {"calls": calls.since(int(query.get("since", 0))), "last": len(calls.log)}
        case "GET", "inventory":
            account = inventory.account_of(query["key"])
            return 200, json.loads(inventory.as_json(inventory.take(*query["regions"].split(","), account=account)))
        case "POST", "scale":
            lifecycle.scale = float(body.get("scale", lifecycle.scale))
            lifecycle.waits = float(body.get("waits", lifecycle.waits))
            return 200, {"scale": lifecycle.scale, "waits": lifecycle.waits}
        case "GET", "faults":
            return 200, [asdict(rule) for rule in faults.rules]
        case "POST", "faults":
            faults.rules.append(faults.Fault(**body))
            return 201, asdict(faults.rules[-1])
        case "DELETE", "faults":
            faults.rules.clear()
            return 200, {}
        case "POST", "domains":
            acm.validate(body["domain"])
            return 201, {"domains": sorted(acm.elsewhere)}
        case "POST", "exits":
            ending = deployments.Exit(body.get("code", 0), body.get("log", []))
            deployments.exits[body["family"]] = ending
            return 201, asdict(ending)
        case "POST", "unhealthy":
            group = body.pop("targetGroup")
            if body.pop("healthy", False):
                deployments.unhealthy.pop(group, None)
            else:
                deployments.unhealthy[group] = deployments.Illness(**body)
            return 201, {name: asdict(illness) for name, illness in deployments.unhealthy.items()}
        case "POST", "watch":
            return 201, watch.begin(body["environment"], body.get("account", serve.ACCOUNT),
                                    body.get("region", "us-east-1"))
        case "GET", "watch":
            return 200, watch.shown()
        case "DELETE", "watch":
            return 200, watch.end()
        case "POST", "database":
            return 201, rds.change_by_itself(body["name"], body.get("version"), body.get("storage"))
        case "POST", "given":
            return 201, given.lay_out(body["spec"])
        case _:
            return 404, {"error": f"there is no {method} {path}"}


async def _body(receive: Callable) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body

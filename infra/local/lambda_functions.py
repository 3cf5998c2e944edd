"""Lambda: what a function's code and role must be, changes that take time, and policies that are empty."""

import contextlib
import json
import queue
import socket
import socketserver
import time
from urllib.parse import unquote

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.core.router import extract_access_key_id
from ministack.services import ecr, s3
from ministack.services import lambda_svc as functions

from moto.ec2.models import ec2_backends

from . import ec2
from .bridge import Answer
from .iam import assumable

SERVICE = "lambda.amazonaws.com"
# What Lambda looks up with the caller's permissions before it puts a function into a network.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
NETWORK = ("ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs")

# How often a thread that waits looks whether it must go, seconds.
PATIENCE = 0.5


class Refused(Exception):
    """An answer instead of the one that was asked for."""

    def __init__(self, answer: Answer):
        super().__init__(answer)
        self.answer = answer


def install() -> None:
    _wait_patiently()
    plain = ministack.SERVICE_HANDLERS["lambda"]

    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        called = iam_actions.extract_iam_action("lambda", method, path, headers, body, query) or ":"
        action, (_, _, rest) = called.split(":")[1], unquote(path).partition("/functions/")
        name = functions._resolve_name(rest.split("/")[0]) if rest else unquote(path).rsplit(":", 1)[-1]
        try:
            given = json.loads(body) if body and action in CHECKS else {}
            for check in CHECKS.get(action, ()):
                check(headers, query, name, given)
        except Refused as refused:
            return refused.answer
        answer = await plain(method, path, headers, body, query)
        if answer[0] in (200, 201, 202, 204):
            return AFTER[action](headers, query, name, answer) if action in AFTER else answer
        return answer

    ministack.SERVICE_HANDLERS["lambda"] = handle


def _wait_patiently() -> None:
    """Two threads of each process that waits for its next event look ten times a second whether it came or the
    process goes; the event itself wakes the one at once. With sixty processes that keeps a processor busy."""
    build, server = lambda_runtime.ProvidedWorker._build_handler_class, socketserver.BaseServer
    serve, shut = server.serve_forever, server.shutdown

    def build_handler(worker: lambda_runtime.ProvidedWorker, generation: int, pending: queue.Queue) -> type:
        get = pending.get
        pending.get = lambda timeout: get(timeout=PATIENCE)
        return build(worker, generation, pending)

    def shut_at_once(server: socketserver.TCPServer) -> None:
        server._BaseServer__shutdown_request = True
        # A connection is what it waits for.
        with contextlib.suppress(OSError):
            socket.create_connection(server.server_address).close()
        shut(server)

    lambda_runtime.ProvidedWorker._build_handler_class = build_handler
    server.serve_forever = lambda server, poll_interval: serve(server, PATIENCE)
    server.shutdown = shut_at_once


def _refuse(code: str, message: str, status: int = 400) -> None:
    raise Refused(error_response_json(code, message, status))


def _config(name: str) -> dict:
    return functions._functions[name]["config"] if name in functions._functions else {}


def _allowed(headers: dict, query: dict, action: str, resource: str, context: dict | None = None) -> object:
    """Why the caller may not do this; none if it may."""
    return iam_evaluator.enforce(
        extract_access_key_id(headers, query), action, action.split(":")[0], get_region(),
        resource_arn=resource, service_context=context)


def _demand(headers: dict, query: dict, action: str, resource: str, context: dict | None = None) -> None:
    if denied := _allowed(headers, query, action, resource, context):
        principal = getattr(denied, "principal_arn", "")
        raise Refused(iam_actions.access_denied_response(
            "lambda", action, principal, "", headers=headers, resource_arn=resource))


def _role(headers: dict, query: dict, name: str, given: dict) -> None:
    """The caller passes the role, and Lambda assumes it, which it can't before it is known everywhere.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    """
    arn = given.get("Role")
    if not arn:
        return
    _demand(headers, query, "iam:PassRole", arn, {"iam:PassedToService": SERVICE})
    if not assumable(arn, SERVICE):
        _refuse("InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.")


def _network(headers: dict, query: dict, name: str, given: dict) -> None:
    if (given.get("VpcConfig") or {}).get("SubnetIds"):
        for action in NETWORK:
            _demand(headers, query, action, "*")


def _idle(headers: dict, query: dict, name: str, given: dict) -> None:
    """A function takes no change, and no tags, while another change is under way.

    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html
    """
    config = _config(name)
    if config.get("State") == "Pending":
        _refuse("ResourceConflictException", "The operation cannot be performed at this time. The function "
                f"is currently in the following state: {config['State']}", 409)
    if config.get("LastUpdateStatus") == "InProgress":
        _refuse("ResourceConflictException", "The operation cannot be performed at this time. An update is "
                f"in progress for resource: {config['FunctionArn']}", 409)


def _code(headers: dict, query: dict, name: str, given: dict) -> None:
    """Code is there, is of the function's kind, and may be read by the caller.

    https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCode.html
    """
    code, kind = given.get("Code", given), _config(name).get("PackageType")
    if "S3Bucket" in code:
        bucket, key = code["S3Bucket"], code.get("S3Key", "")
        _demand(headers, query, "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
        if s3.bucket_region(bucket) == get_region() and s3._get_object_data(bucket, key) is None:
            _refuse("InvalidParameterValueException", "Error occurred while GetObject. S3 Error Code: "
                    "NoSuchKey. S3 Error Message: The specified key does not exist.")
    if "ImageUri" in code and not _digest(code["ImageUri"]):
        _refuse("InvalidParameterValueException",
                f"Source image {code['ImageUri']} does not exist. Provide a valid source image.")
    if kind and ("ImageUri" in code) != (kind == "Image"):
        wrong = "ImageUri" if kind == "Zip" else "ZipFile, S3Bucket or S3Key"
        _refuse("InvalidParameterValueException",
                f"Please don't provide {wrong} when updating a function with packageType {kind}.")


def _digest(uri: str) -> str | None:
    """The digest of an image in a repository of this account."""
    name = uri.split("/", 1)[-1]
    if "@" in name:
        name, digest = name.split("@", 1)
        found = ecr._find_image(name, {"imageDigest": digest})
    else:
        name, _, tag = name.partition(":")
        found = ecr._find_image(name, {"imageTag": tag or "latest"})
    return found and found["imageDigest"]


def _made(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    made = json.loads(answer[2])["FunctionName"]
    _connect(made)
    return _resolved(made, answer)


def _changed(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    _connect(name)
    return _active(headers, query, name, answer)


def _gone(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    _release(name)
    return answer


def _connect(name: str) -> None:
    """A function in a network has an interface in each of its subnets.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-enis
    """
    _release(name)
    network, backend = _config(name).get("VpcConfig") or {}, ec2_backends[get_account_id()][get_region()]
    for subnet in [backend.get_subnet(each) for each in network.get("SubnetIds") or []]:
        interface = backend.create_network_interface(
            subnet, subnet.get_available_subnet_ip(name), group_ids=network.get("SecurityGroupIds"),
            description=f"AWS Lambda VPC ENI-{name}")
        interface.status = "in-use"


def _release(name: str) -> None:
    """A function that is gone, or connected otherwise, leaves its interfaces for a while.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-enis
    """
    for interface in ec2_backends[get_account_id()][get_region()].enis.values():
        if interface.description == f"AWS Lambda VPC ENI-{name}" and interface.id not in ec2.released:
            ec2.released[interface.id] = time.time()


def _put(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    return _active(headers, query, name, _resolved(name, answer))


def _resolved(name: str, answer: Answer) -> Answer:
    """Of an image Lambda keeps the digest that its tag stood for.

    https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCodeLocation.html
    """
    config = _config(name)
    if config.get("ImageUri"):
        digest = _digest(config["ImageUri"])
        config["CodeSha256"] = digest.removeprefix("sha256:")
        repository = config["ImageUri"].split("@")[0].rsplit(":", 1)[0]
        functions._functions[name]["resolved"] = f"{repository}@{digest}"
        return *answer[:2], json.dumps({**json.loads(answer[2]), "CodeSha256": config["CodeSha256"]}).encode()
    return answer


def _active(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    """A function that is being changed goes on with what it was: only LastUpdateStatus tells of the change.

    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    state = {"State": "Active", "StateReason": "", "StateReasonCode": ""}
    _config(name).update(state)
    return *answer[:2], json.dumps({**json.loads(answer[2]), **state}).encode()


def _told(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    """Whoever may not list tags isn't told them; an image is told with its digest.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    """
    told = json.loads(answer[2])
    if _allowed(headers, query, "lambda:ListTags", told["Configuration"]["FunctionArn"]):
        del told["Tags"]
        told["TagsError"] = {"ErrorCode": "AccessDeniedException",
                             "Message": "not authorized to perform: lambda:ListTags"}
    if resolved := functions._functions[name].get("resolved"):
        told["Code"]["ResolvedImageUri"] = resolved
    return *answer[:2], json.dumps(told).encode()


def _policy(headers: dict, query: dict, name: str, answer: Answer) -> Answer:
    """A function nobody else may call has no policy.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetPolicy.html
    """
    if json.loads(json.loads(answer[2])["Policy"])["Statement"]:
        return answer
    return error_response_json(
        "ResourceNotFoundException", "The resource you requested does not exist.", 404)


CHECKS = {
    "CreateFunction": (_role, _network, _code),
    "UpdateFunctionConfiguration": (_idle, _role, _network),
    "UpdateFunctionCode": (_idle, _code),
    "PublishVersion": (_idle,),
    "TagResource": (_idle,),
}
AFTER = {"CreateFunction": _made, "UpdateFunctionConfiguration": _changed,
         "DeleteFunction": _gone, "UpdateFunctionCode": _put,
         "GetFunction": _told, "GetPolicy": _policy}

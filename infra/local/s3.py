"""S3: the version in events, what is told of objects that aren't there, and whose a bucket must be."""

import contextvars
import inspect
import json

import ministack.app as ministack
from ministack.core.iam_evaluator import ResolvedCredential, resolve_credential
from ministack.core.router import extract_access_key_id
from ministack.services import eventbridge, s3

from . import permissions

_version: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)


def install() -> None:
    _name_versions()
    _forbid_guessing()
    _expect_owners()


def _name_versions() -> None:
    """AWS names the version in `detail.object.version-id`; ministack has it, and leaves it out.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event
    parameters = inspect.signature(fire)

    def fire_with_version(*args, **kwargs) -> None:
        token = _version.set(parameters.bind(*args, **kwargs).arguments.get("version_id"))
        try:
            fire(*args, **kwargs)
        finally:
            _version.reset(token)

    def dispatch_with_version(event: dict, *args, **kwargs) -> None:
        version = _version.get()
        if version and event["Source"] == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version
            event = {**event, "Detail": json.dumps(detail)}
        dispatch(event, *args, **kwargs)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version


def _forbid_guessing() -> None:
    """Who may not list a bucket isn't told that an object is absent, but that it is forbidden.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    handle = ministack.SERVICE_HANDLERS["s3"]

    async def forbidding(method, path, headers, body, query):
        answer = await handle(method, path, headers, body, query)
        bucket, _, key = path.strip("/").partition("/")
        if answer[0] != 404 or method not in ("GET", "HEAD") or not key or _may_list(headers, query, bucket):
            return answer
        refusal = b"" if method == "HEAD" else \
            b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        return 403, {"Content-Type": "application/xml"}, refusal

    ministack.SERVICE_HANDLERS["s3"] = forbidding


def _may_list(headers: dict, query: dict, bucket: str) -> bool:
    caller = resolve_credential(extract_access_key_id(headers, query))
    if not isinstance(caller, ResolvedCredential) or ":assumed-role/" not in caller.principal_arn:
        return True
    role = caller.principal_arn.rsplit("/", 1)[0]
    return permissions.role_allows(role, "s3:ListBucket", f"arn:aws:s3:::{bucket}")


def _expect_owners() -> None:
    """A request that names its bucket's owner is refused by a bucket of another.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """
    handle = ministack.SERVICE_HANDLERS["s3"]

    async def expecting(method, path, headers, body, query):
        expected = headers.get("x-amz-expected-bucket-owner")
        owner = s3._bucket_owner_account(path.strip("/").partition("/")[0])
        if expected and owner and owner != expected:
            refusal = b"" if method == "HEAD" else \
                b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return 403, {"Content-Type": "application/xml"}, refusal
        return await handle(method, path, headers, body, query)

    ministack.SERVICE_HANDLERS["s3"] = expecting

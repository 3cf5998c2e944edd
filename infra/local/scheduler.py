"""EventBridge Scheduler: what it refuses, groups that take time to go, and schedules that are due.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from urllib.parse import unquote
from zoneinfo import ZoneInfo, available_timezones

import ministack.app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import (
    get_account_id, get_region, new_uuid, set_request_account_id, set_request_region)
from ministack.core.router import extract_access_key_id
from ministack.services import eventbridge, iam, scheduler, sqs, stepfunctions

from . import lifecycle, permissions
from .bridge import Answer

SERVICE = "scheduler.amazonaws.com"
# How long a group is DELETING, in seconds times the scale.
GOING = 30
# https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html
RETRIES = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
UNITS = {"minute": 60, "hour": 3600, "day": 86400}
MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
# The least and the greatest number of each field of cron, and words for them.
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
FIELDS = ((0, 59, ""), (0, 23, ""), (1, 31, "L|LW|\\d+W"), (1, 12, MONTHS),
          (1, 7, f"{DAYS}|L|(\\d|{DAYS})L|(\\d|{DAYS})#\\d"), (1970, 2199, ""))

# What was created with which client token: (account, region, path, token) -> answer.
_answers: dict[tuple, Answer] = {}
# Until when each schedule's times have been looked at, and in which version of it.
_looked: dict[tuple, tuple[float, float]] = {}


class Refused(Exception):
    """An answer instead of the one that was asked for."""

    def __init__(self, answer: Answer):
        super().__init__(answer)
        self.answer = answer


def install() -> None:
    plain = ministack.SERVICE_HANDLERS["scheduler"]

    async def handle(method: str, path: str, headers: dict, body: bytes, query: dict) -> Answer:
        _reap()
        given = json.loads(body) if body else {}
        kind, _, name = unquote(path).strip("/").partition("/")
        asked = {key: value[0] if isinstance(value, list) else value for key, value in query.items()}
        # The same token once more is the same call, and has the same answer.
        known = (get_account_id(), get_region(), path, given.get("ClientToken"))
        if method == "POST" and known[3] and known in _answers:
            return _answers[known]
        try:
            for check in CHECKS.get((method, kind), ()):
                check(headers, query, name, {**asked, **given})
        except Refused as refused:
            return refused.answer
        if (method, kind) == ("DELETE", "schedule-groups") and name != "default":
            return _delete_group(name)
        if kind == "schedules" and method in ("POST", "PUT"):
            body = json.dumps(_with_defaults(given)).encode()
        answer = await plain(method, path, headers, body, query)
        if method == "POST" and known[3] and answer[0] == 200:
            _answers[known] = answer
        return answer

    ministack.SERVICE_HANDLERS["scheduler"] = handle
    iam_actions.extract_resource_arn = _with_group(iam_actions.extract_resource_arn)
    scheduler._tick_schedules = _tick
    scheduler._SCHEDULE_TICK_INTERVAL = 1


def _refuse(code: str, message: str, status: int = 400) -> None:
    raise Refused(scheduler._error(status, code, message))


def _with_group(plain: Callable) -> Callable:
    """A schedule's ARN has its group, and a tag call's path the resource's.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        if service != "scheduler":
            return plain(service, method, path, headers, body, query, *rest)
        kind, _, name = unquote(path).strip("/").partition("/")
        if kind == "tags":
            return name
        if kind == "schedules" and name:
            given = json.loads(body).get("GroupName") if body else query.get("groupName")
            group = given[0] if isinstance(given, list) else given
            return scheduler._schedule_arn(group or "default", name)
        return plain(service, method, path, headers, body, query, *rest)

    return extract


def _demand(headers: dict, query: dict, action: str, resource: str, context: dict | None = None) -> None:
    denied = iam_evaluator.enforce(
        extract_access_key_id(headers, query), action, action.split(":")[0], get_region(),
        resource_arn=resource, service_context=context)
    if denied:
        principal = getattr(denied, "principal_arn", "")
        raise Refused(iam_actions.access_denied_response(
            "scheduler", action, principal, "", headers=headers, resource_arn=resource))


def _may_tag(headers: dict, query: dict, name: str, given: dict) -> None:
    """Whoever makes a group with tags may tag it.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    """
    if given.get("Tags"):
        _demand(headers, query, "scheduler:TagResource", scheduler._group_arn(name))


def _may_delete(headers: dict, query: dict, name: str, given: dict) -> None:
    """Whoever deletes a group may delete the schedules in it: the same page."""
    _demand(headers, query, "scheduler:DeleteSchedule", scheduler._schedule_arn(name, "*"))


def _active(headers: dict, query: dict, name: str, given: dict) -> None:
    """A group that goes holds its name, and takes no schedules.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-group.html
    """
    group = scheduler._schedule_groups.get(given.get("GroupName") or name) or {}
    if group.get("State") == "DELETING":
        _refuse("ConflictException", f"Schedule group {group['Name']} is being deleted.", 409)


def _group(headers: dict, query: dict, name: str, given: dict) -> None:
    """The schedules of a group that isn't there can't be listed.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html
    """
    group = given.get("ScheduleGroup", "default")
    if not name and group != "default" and group not in scheduler._schedule_groups:
        _refuse("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404)


def _of_group(headers: dict, query: dict, name: str, given: dict) -> None:
    """Only groups have tags.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_TagResource.html
    """
    if ":schedule-group/" not in name:
        _refuse("ValidationException", f"1 validation error detected: Value '{name}' at 'resourceArn' failed "
                "to satisfy constraint: Member must satisfy regular expression pattern")


def _times(headers: dict, query: dict, name: str, given: dict) -> None:
    """Expressions are read when they come. The words are AWS's; those for a time zone aren't known.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
    """
    expression = given.get("ScheduleExpression", "")
    if not is_expression(expression):
        _refuse("ValidationException", f"Invalid Schedule Expression {expression}.")
    zone = given.get("ScheduleExpressionTimezone", "UTC")
    if zone not in _zones():
        _refuse("ValidationException", f"Invalid Schedule Expression Timezone {zone}.")
    if (given.get("StartDate") or time.time()) < time.time() - 300:
        _refuse("ValidationException", "The StartDate you specify cannot be earlier than 5 minutes ago.")


@cache
def _zones() -> set[str]:
    return available_timezones()


def is_expression(expression: str) -> bool:
    """Whether Scheduler takes it."""
    if expression.startswith("at("):
        return bool(re.fullmatch(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)", expression))
    if expression.startswith("rate("):
        return _interval(expression) is not None
    fields = expression[5:-1].split() if re.fullmatch(r"cron\(.*\)", expression) else []
    if len(fields) != 6 or (fields[2] == "?") == (fields[4] == "?"):
        return False
    return all(_is_field(at, field.upper()) for at, field in enumerate(fields))


def _is_field(at: int, field: str) -> bool:
    least, most, words = FIELDS[at]

    def is_value(text: str) -> bool:
        if text.isdigit():
            return least <= int(text) <= most
        return bool(text and re.fullmatch(words, text))

    def is_item(item: str) -> bool:
        span, _, step = item.partition("/")
        return (not step or step.isdigit()) and (
            span == "*" or all(map(is_value, span.split("-"))) and span.count("-") < 2)

    return (field == "?" and at in (2, 4)) or all(map(is_item, field.split(",")))


def _interval(expression: str) -> int | None:
    found = re.fullmatch(r"rate\(([1-9]\d*) (minute|hour|day)s?\)", expression)
    return int(found[1]) * UNITS[found[2]] if found else None


def _role(headers: dict, query: dict, name: str, given: dict) -> None:
    """The caller passes the role, and Scheduler assumes it.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html
    """
    arn = given.get("Target", {}).get("RoleArn", "")
    _demand(headers, query, "iam:PassRole", arn, {"iam:PassedToService": SERVICE})
    role = iam._roles.get(arn.rsplit("/", 1)[-1]) or {}
    made = role.get("CreateDate")
    since = datetime.fromisoformat(made.replace("Z", "+00:00")).timestamp() if isinstance(made, str) else 0
    if SERVICE not in json.dumps(role.get("AssumeRolePolicyDocument", "")) \
            or not lifecycle.ready("iam-role", since):
        _refuse("ValidationException", "The execution role you provide must allow AWS EventBridge Scheduler "
                "to assume the role.")


CHECKS = {
    ("POST", "schedule-groups"): (_may_tag, _active),
    ("DELETE", "schedule-groups"): (_may_delete,),
    ("POST", "schedules"): (_active, _times, _role),
    ("PUT", "schedules"): (_active, _times, _role),
    ("GET", "schedules"): (_group,),
    ("GET", "tags"): (_of_group,), ("POST", "tags"): (_of_group,), ("DELETE", "tags"): (_of_group,),
}


def _with_defaults(given: dict) -> dict:
    """A target without a retry policy is told with the default one.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_GetSchedule.html
    """
    target = given.get("Target", {})
    return {**given, "Target": {**target, "RetryPolicy": {**RETRIES, **target.get("RetryPolicy", {})}}}


def _delete_group(name: str) -> Answer:
    """A group is DELETING until the schedules in it are deleted.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html
    """
    group = scheduler._schedule_groups.get(name)
    if group is None:
        return scheduler._error(404, "ResourceNotFoundException", f"Schedule group {name} does not exist.")
    for key in [key for key, each in scheduler._schedules.items() if each["GroupName"] == name]:
        del scheduler._schedules[key]
    if group["State"] == "ACTIVE":
        group.update(State="DELETING", LastModificationDate=time.time())
    _reap()
    return scheduler._json_resp(200, {})


def _reap() -> None:
    """Removes the groups whose time is over."""
    for key, group in list(scheduler._schedule_groups._data.items()):
        over = time.time() - group["LastModificationDate"] >= GOING * lifecycle.scale
        if group["State"] == "DELETING" and over:
            scheduler._schedule_groups._data.pop(key, None)
            scheduler._tags._data.pop((key[0], group["Arn"]), None)


def _tick() -> None:
    """Starts what is due, as the account and in the region of its schedule."""
    account, region, now = get_account_id(), get_region(), time.time()
    try:
        for key, schedule in list(scheduler._schedules._data.items()):
            set_request_account_id(key[0])
            set_request_region(key[1])
            version = schedule["LastModificationDate"]
            made, looked = _looked.get(key, (version, None))
            following = next_time(schedule, looked if made == version else None)
            if following is None or following > now:
                continue
            _looked[key] = (version, now)
            until = schedule.get("EndDate")
            if schedule["State"] == "ENABLED" and (until is None or following <= until):
                _start(schedule)
            if schedule["ScheduleExpression"].startswith("at(") \
                    and schedule["ActionAfterCompletion"] == "DELETE":
                scheduler._schedules._data.pop(key, None)
    finally:
        set_request_account_id(account)
        set_request_region(region)


def next_time(schedule: dict, after: float | None) -> float | None:
    """When the schedule is due next: after this moment, or for the first time.

    Times are in the schedule's time zone; a rate without a start begins at once.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """
    expression = schedule["ScheduleExpression"]
    zone = ZoneInfo(schedule["ScheduleExpressionTimezone"])
    start = schedule.get("StartDate") or schedule["LastModificationDate"]
    if expression.startswith("at("):
        at = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=zone).timestamp()
        return at if after is None else None
    if interval := _interval(expression):
        return start if after is None else start + ((after - start) // interval + 1) * interval
    since = max(start, after or 0)
    # ministack reckons in UTC: it is given, and gives, what the zone's clocks show.
    shown = datetime.fromtimestamp(since, zone).replace(tzinfo=UTC)
    following = eventbridge._cron_next_fire(eventbridge._parse_cron_fields(expression), shown)
    return following.replace(tzinfo=zone).timestamp() if following else None


def _start(schedule: dict) -> None:
    """Gives a target its input; what it can't be given goes to the dead-letter queue, if the role may send
    it there.

    AWS tries again first, as the retry policy says.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    """
    target = schedule["Target"]
    arn, role, given = target["Arn"], target["RoleArn"], target.get("Input") or "{}"
    if arn.split(":")[2] != "states":
        event = {"EventId": new_uuid(), "Source": "aws.scheduler", "DetailType": "Scheduled Event",
                 "Detail": "{}", "Time": time.time(), "Resources": [schedule["Arn"]],
                 "Account": get_account_id(), "Region": get_region()}
        eventbridge._invoke_target({"Input": given, **target}, event, schedule)
    elif stepfunctions._resolve_state_machine_arn(arn) is None:
        _bury(schedule, given, "StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
    elif not permissions.role_allows(role, "states:StartExecution", arn):
        _bury(schedule, given, "AccessDeniedException", f"{role} may not start {arn}")
    else:
        stepfunctions._start_execution({"stateMachineArn": arn, "input": given})


def _bury(schedule: dict, given: str, code: str, message: str) -> None:
    target = schedule["Target"]
    queue = target.get("DeadLetterConfig", {}).get("Arn")
    if not queue or not permissions.role_allows(target["RoleArn"], "sqs:SendMessage", queue):
        return
    attributes = {"SCHEDULE_ARN": schedule["Arn"], "TARGET_ARN": target["Arn"], "ERROR_CODE": code,
                  "ERROR_MESSAGE": message, "EXECUTION_ID": new_uuid(), "RETRY_ATTEMPTS": "0"}
    letter = {"id": new_uuid(), "body": given, "receipt_handle": None, "receive_count": 0,
              "sent_at": time.time(), "visible_at": time.time(),
              "message_attributes": {name: {"DataType": "String", "StringValue": value}
                                     for name, value in attributes.items()}}
    sqs._ensure_msg_fields(letter)
    sqs._queue_by_arn(queue)["messages"].append(letter)

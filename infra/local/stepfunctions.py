"""Step Functions: what a JSONata workflow relies on and ministack leaves out."""

import contextvars
import json
import threading
import time
from collections.abc import Callable

from ministack.core.responses import error_response_json, get_account_id, get_region, now_iso
from ministack.services import stepfunctions as sfn
from jsonata import jexception, timebox

from . import definition, lifecycle, permissions

Fault = sfn._ExecutionError

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
PAYLOAD_LIMIT = 256 * 1024
# "States.ALL" doesn't match these two.
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
TERMINAL = ("States.DataLimitExceeded", "States.Runtime")
TICK = 0.05
# How many times longer an expression takes here than the second that it may take on AWS.
SLOWER = 5


class Scope:
    """A run, or the branches or iterations of one state in it: what ends together."""

    def __init__(self, execution: dict, outer: "Scope | None" = None, deadline: float | None = None):
        self.execution, self.outer, self.deadline = execution, outer, deadline
        self.fault: Exception | None = None

    def check(self) -> None:
        """Raises what ended this scope, or one around it."""
        if self.fault:
            raise self.fault
        if self.outer:
            return self.outer.check()
        if self.deadline and time.time() > self.deadline and self.execution["status"] == "RUNNING":
            _time_out(self.execution)
        if self.execution["status"] != "RUNNING":
            raise Fault("States.Runtime", f"the execution is {self.execution['status']}")
        return None


_scope: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("scope", default=None)
# What the task at hand is called with, and the number of the event before the next: each branch has its own.
_arguments: contextvars.ContextVar[object] = contextvars.ContextVar("arguments", default=None)
_previous: contextvars.ContextVar[int] = contextvars.ContextVar("previous", default=0)


def install() -> None:
    for name in ("pass", "task", "choice", "wait", "parallel", "map"):
        function = f"_execute_{name}"
        setattr(sfn, function, _state(name.capitalize(), getattr(sfn, function)))
    sfn._run_execution = _run(sfn._run_execution)
    sfn._run_sub_machine = _branch(sfn._run_sub_machine)
    sfn._run_parallel_branches = _together(_parallel(sfn._run_parallel_branches))
    sfn._run_map_items = _together(sfn._run_map_items)
    sfn._invoke_resource = _limited(_permitted(sfn._invoke_resource))
    sfn._apply_jsonata_arguments = _remembered(_limited(sfn._apply_jsonata_arguments))
    sfn._add_event = _linked(sfn._add_event)
    sfn._fail_execution = _only_while_running(sfn._fail_execution)
    sfn._error_matches = _error_matches
    sfn._scaled_sleep = _sleep
    sfn._invoke_nested_start_execution_sync = _nested
    timebox.Timebox.__init__ = _timed(timebox.Timebox.__init__)
    timebox.Timebox.check_runaway = _check_time
    sfn._validate_definition_jsonata = _validated(sfn._validate_definition_jsonata)
    sfn._create_state_machine = _with_managed_rule(sfn._create_state_machine)
    sfn._update_state_machine = _with_managed_rule(sfn._update_state_machine)


def _run(plain: Callable) -> Callable:
    def run(arn: str) -> None:
        execution = sfn._executions[arn]
        machine = sfn._state_machines.get(execution["stateMachineArn"], {})
        seconds = json.loads(machine.get("definition", "{}")).get("TimeoutSeconds")
        _scope.set(Scope(execution, deadline=time.time() + seconds * lifecycle.waits if seconds else None))
        _previous.set(len(execution["events"]))
        plain(arn)

    return run


def _time_out(execution: dict) -> None:
    """A machine's `TimeoutSeconds` ends its execution as TIMED_OUT, which no Catch sees.

    https://docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html
    """
    execution.update(status="TIMED_OUT", error="States.Timeout", stopDate=now_iso())
    sfn._add_event(execution, "ExecutionTimedOut", {
        "executionTimedOutEventDetails": {"error": "States.Timeout"}})
    sfn._emit_execution_status_event(execution)


def _only_while_running(plain: Callable) -> Callable:
    """What was aborted or timed out stays so, however its last task ends."""
    def fail(execution: dict, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            plain(execution, error, cause)

    return fail


def _sleep(seconds: float) -> None:
    """Waits, and stops waiting when the run or a sibling branch has ended."""
    until = time.time() + seconds * lifecycle.waits
    scope = _scope.get()
    while (left := until - time.time()) > 0:
        time.sleep(min(left, TICK))
        if scope:
            scope.check()


def _state(kind: str, plain: Callable) -> Callable:
    """Holds a state to its scope and its output to the limit; inside branches, writes its history."""
    def execute(state: dict, data: object, *rest) -> tuple:
        scope, context = _scope.get(), rest[-1]
        if scope is None:
            return plain(state, data, *rest)
        scope.check()
        name = context["State"]["Name"]
        if scope.outer:
            sfn._add_event(scope.execution, f"{kind}StateEntered", {
                "stateEnteredEventDetails": {"name": name, "input": json.dumps(data)}})
        output, following = plain(state, data, *rest)
        _hold_to_limit(output, f"the output of state '{name}'")
        if scope.outer:
            sfn._add_event(scope.execution, f"{kind}StateExited", {
                "stateExitedEventDetails": {"name": name, "output": json.dumps(output)}})
        return output, following

    return execute


def _permitted(plain: Callable) -> Callable:
    """A task may do what its machine's role allows.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html
    """
    def invoke(resource: str, arguments: dict) -> object:
        if ":lambda:invoke" in resource:
            _demand("lambda:InvokeFunction", arguments["FunctionName"], "Lambda.AWSLambdaException")
        elif ":states:startExecution" in resource:
            _demand("states:StartExecution", arguments["StateMachineArn"],
                    "StepFunctions.AWSStepFunctionsException")
        return plain(resource, arguments)

    return invoke


def _demand(action: str, resource: str, error: str) -> None:
    machine = sfn._state_machines.get(_scope.get().execution["stateMachineArn"], {})
    role = machine.get("roleArn", "")
    if not permissions.role_allows(role, action, resource):
        user = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        raise Fault(error, f"User: {user} is not authorized to perform: {action} on resource: {resource} "
                    f"because no identity-based policy allows the {action} action (Error Code: "
                    "AccessDeniedException)")


def _with_managed_rule(plain: Callable) -> Callable:
    def write(request: dict) -> tuple:
        machine = sfn._state_machines.get(request.get("stateMachineArn"), {})
        role = request.get("roleArn") or machine.get("roleArn", "")
        text = request.get("definition") or machine.get("definition", "")
        if fault := managed_rule_fault(role, text):
            return error_response_json("AccessDeniedException", fault, 400)
        return plain(request)

    return write


def managed_rule_fault(role: str, text: str) -> str | None:
    """A machine that waits for nested ones has a rule made for it, which its role must allow.

    https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
    """
    rule = (f"arn:aws:events:{get_region()}:{get_account_id()}:rule/"
            "StepFunctionsGetEventsForStepFunctionsExecutionRule")
    needed = ("events:PutTargets", "events:PutRule", "events:DescribeRule")
    if ":startExecution.sync" not in text:
        return None
    if all(permissions.role_allows(role, each, rule) for each in needed):
        return None
    return f"'{role}' is not authorized to create managed-rule."


def _timed(plain: Callable) -> Callable:
    """The time that an expression may take is its thread's own: what else keeps the machine busy doesn't count."""
    def begin(box: timebox.Timebox, *args) -> None:
        plain(box, *args)
        box.time = time.thread_time()

    return begin


def _check_time(box: timebox.Timebox) -> None:
    if (time.thread_time() - box.time) * 1000 > box.timeout * SLOWER:
        raise jexception.JException("D1012", -1, box.timeout)


def _limited(plain: Callable) -> Callable:
    def limited(*args) -> object:
        value = plain(*args)
        _hold_to_limit(value, "the input or result of a task")
        return value

    return limited


def _remembered(plain: Callable) -> Callable:
    def arguments(*args) -> object:
        value = plain(*args)
        _arguments.set(value)
        return value

    return arguments


def _linked(plain: Callable) -> Callable:
    """An event has a number of its own and names the one it follows from; a task's first says what it is
    called with.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_TaskScheduledEventDetails.html
    """
    one_at_a_time = threading.Lock()

    def add(execution: dict, kind: str, details: dict | None = None) -> dict:
        if kind == "TaskScheduled":
            details["taskScheduledEventDetails"]["parameters"] = json.dumps(_arguments.get())
        with one_at_a_time:
            event = plain(execution, kind, details)
        event["previousEventId"] = _previous.get()
        _previous.set(event["id"])
        return event

    return add


def _hold_to_limit(value: object, what: str) -> None:
    if len(json.dumps(value, ensure_ascii=False).encode()) > PAYLOAD_LIMIT:
        raise Fault("States.DataLimitExceeded",
                    f"{what} exceeds the maximum number of bytes service limit ({PAYLOAD_LIMIT})")


def _error_matches(names: list[str], error: str) -> bool:
    if error in names:
        return True
    if error in TERMINAL:
        return False
    return "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout")


def _together(plain: Callable) -> Callable:
    """A failed branch or iteration ends its siblings, and what failed first is the state's error.

    https://docs.aws.amazon.com/step-functions/latest/dg/state-parallel.html
    """
    def run(state: dict, data: object, execution: dict, context: dict) -> tuple:
        token = _scope.set(Scope(execution, outer=_scope.get()))
        try:
            return plain(state, data, execution, context)
        finally:
            _scope.reset(token)

    return run


def _branch(plain: Callable) -> Callable:
    """A branch sees the variables around it; what it assigns stays inside.

    https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html
    """
    def run(states: dict, start_at: str, data: object, execution: dict, context: dict) -> object:
        scope = _scope.get()
        try:
            return plain(states, start_at, data, execution,
                         {**context, "variables": dict(context["variables"])})
        except Exception as fault:
            if scope and scope.outer and not scope.fault:
                scope.fault = fault
            raise

    return run


def _parallel(plain: Callable) -> Callable:
    """A JSONata Parallel takes `Arguments`, and gives `Output` and `Assign` the branches' results.

    https://docs.aws.amazon.com/step-functions/latest/dg/state-parallel.html
    """
    def run(state: dict, data: object, execution: dict, context: dict) -> tuple:
        if sfn._state_query_language(state, context) != "JSONata":
            return plain(state, data, execution, context)
        given = sfn._apply_jsonata_arguments(state, data, context)
        own = dict(context["State"])
        results, following = plain({**state, "QueryLanguage": "JSONata"}, given, execution, context)
        context["State"] = own
        output = sfn._apply_jsonata_output(state, data, context, result=results, default=results)
        sfn._apply_state_assign(state, data, context, result=results)
        return output, following

    return run


def _nested(resource: str, arguments: dict) -> dict:
    """Starts an execution as anyone would, waits for it, and describes it.

    A child that didn't succeed is `States.TaskFailed` with its description as the cause; a parent that
    is stopped stops it. https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
    """
    status, _, body = sfn._start_execution(sfn._nested_start_execution_request(arguments))
    answer = json.loads(body)
    if status >= 400:
        raise Fault(f"StepFunctions.{answer['__type']}Exception", answer["message"])
    child, scope = sfn._executions[answer["executionArn"]], _scope.get()
    while child["status"] == "RUNNING":
        time.sleep(TICK)
        try:
            scope.check()
        except Exception:
            sfn._stop_execution({"executionArn": child["executionArn"]})
            raise
    description = _description(child)
    if child["status"] != "SUCCEEDED":
        raise Fault("States.TaskFailed", json.dumps(description))
    if resource.endswith(":2"):
        description["Output"] = json.loads(description["Output"])
    return description


def _description(execution: dict) -> dict:
    """What DescribeExecution says, in the spelling of the service integration."""
    failed = execution["status"] != "SUCCEEDED"
    return {
        "ExecutionArn": execution["executionArn"],
        "Input": execution["input"],
        "InputDetails": {"Included": True},
        "Name": execution["name"],
        "StartDate": sfn._iso_to_epoch_ms(execution["startDate"]),
        "StateMachineArn": execution["stateMachineArn"],
        "Status": execution["status"],
        "StopDate": sfn._iso_to_epoch_ms(execution["stopDate"]),
        **({"Error": execution.get("error"), "Cause": execution.get("cause")} if failed
           else {"Output": execution["output"], "OutputDetails": {"Included": True}}),
    }


def _validated(plain: Callable) -> Callable:
    def validate(text: str) -> str | None:
        return plain(text) or definition.problem(text)

    return validate

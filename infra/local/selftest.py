"""Checks every mend against a server of its own: `python -m infra.local.selftest`, or those whose names contain the
words that follow.

Each check fails when its mend is taken out.
"""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import inventory

REGION, ACCOUNT = "us-east-1", "000000000000"
MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []})
# Does what its event says: fails with a type, dies, calls an API, and answers its event.
BOOTSTRAP = f"""#!{sys.executable}
import json, os, urllib.request as http
runtime = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
def post(path, body):
    http.urlopen(http.Request(runtime + path, json.dumps(body).encode(), method="POST")).read()
while True:
    with http.urlopen(runtime + "next") as following:
        request, event = following.headers["Lambda-Runtime-Aws-Request-Id"], json.load(following)
    if event.get("die"):
        os._exit(3)
    try:
        if event.get("call"):
            import boto3
            service, operation = event["call"]
            event["answered"] = list(getattr(boto3.client(service), operation)(**event.get("with", {{}})))
        post(request + "/response", event)
    except Exception as fault:
        post(request + "/error", {{"errorType": type(fault).__name__, "errorMessage": str(fault)}})
"""


class Server:
    """One server, its clients, and its control API."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.serve", "--port", str(self.port)], stdout=subprocess.PIPE,
            env={**os.environ, "LOG_LEVEL": "CRITICAL"})
        self._process.stdout.readline()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def client(self, service: str):
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION,
                            aws_access_key_id="test", aws_secret_access_key="test",
                            config=Config(retries={"max_attempts": 0}))

    def control(self, method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(f"{self.endpoint}/_local/{path}", method=method,
                                         data=json.dumps(body or {}).encode())
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


server: Server
checks: list[Callable[[], None]] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    checks.append(function)
    return function


def refused(code: str, call: Callable, **arguments) -> str:
    """The message with which the call is refused; it must be refused with this code."""
    try:
        call(**arguments)
    except ClientError as refusal:
        assert refusal.response["Error"]["Code"] == code, refusal
        return refusal.response["Error"]["Message"]
    raise AssertionError(f"not refused with {code}")


def until(condition: Callable[[], object], seconds: float = 10) -> object:
    end = time.time() + seconds
    while time.time() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def role(name: str, *statements: tuple[str, str]) -> str:
    """A role anyone may assume, with these (action, resource) allowed."""
    iam = server.client("iam")
    services = ["lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com",
                "scheduler.amazonaws.com"]
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": services}}]}
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    allowed = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements]
    if allowed:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": allowed}))
    return arn


def function(name: str, *statements: tuple[str, str]) -> str:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("bootstrap", BOOTSTRAP)
    return server.client("lambda").create_function(
        FunctionName=name, Role=role(name, *statements), Runtime="provided.al2023", Handler="bootstrap",
        Code={"ZipFile": code.getvalue()}, Timeout=20)["FunctionArn"]


def invoke(name: str, event: dict) -> dict:
    return json.load(server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))["Payload"])


def machine(name: str, states: dict, role_arn: str | None = None, **more) -> str:
    text = json.dumps({"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states, **more})
    return server.client("stepfunctions").create_state_machine(
        name=name, definition=text, roleArn=role_arn or f"arn:aws:iam::{ACCOUNT}:role/all")["stateMachineArn"]


def run(arn: str, given: object = None) -> dict:
    sfn = server.client("stepfunctions")
    execution = sfn.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]
    return until(lambda: (found := sfn.describe_execution(executionArn=execution))["status"] != "RUNNING"
                 and found)


def output(arn: str, given: object = None) -> object:
    ended = run(arn, given)
    assert ended["status"] == "SUCCEEDED", ended
    return json.loads(ended["output"])


def inbox(name: str, pattern: dict) -> Callable[[], list[dict]]:
    """A queue that receives the events that match; answers what came since it was last asked."""
    sqs, events = server.client("sqs"), server.client("events")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": arn}]}
    url = sqs.create_queue(QueueName=name, Attributes={"Policy": json.dumps(policy)})["QueueUrl"]
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])

    def read() -> list[dict]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    return read


PASS = {"Type": "Pass", "End": True}


def fails(error: str) -> dict:
    return {"StartAt": "Fail", "States": {"Fail": {"Type": "Fail", "Error": error}}}


def waits(seconds: int) -> dict:
    return {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": seconds, "End": True}}}


@check
def s3_events_name_the_version_and_the_kind_of_deletion() -> None:
    s3, read = server.client("s3"), inbox("s3", {"source": ["aws.s3"]})
    s3.create_bucket(Bucket="events")
    s3.put_bucket_versioning(Bucket="events", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket="events", NotificationConfiguration={"EventBridgeConfiguration": {}})
    version = s3.put_object(Bucket="events", Key="a", Body=b"")["VersionId"]
    marker = s3.delete_object(Bucket="events", Key="a")["VersionId"]
    s3.delete_object(Bucket="events", Key="a", VersionId=version)
    seen: list[dict] = []
    until(lambda: seen.extend(read()) or len(seen) == 3)
    details = [event["detail"] for event in seen]
    found = {(detail["object"]["version-id"], detail.get("deletion-type")) for detail in details}
    assert found == {(version, None), (marker, "Delete Marker Created"), (version, "Permanently Deleted")}


@check
def a_parallel_takes_arguments_and_gives_output_and_assign_its_results() -> None:
    branch = {"StartAt": "Add", "States": {"Add": {**PASS, "Output": "{% $states.input.x + 1 %}"}}}
    arn = machine("parallel", {
        "Both": {"Type": "Parallel", "Arguments": {"x": "{% $states.input.given %}"},
                 "Branches": [branch, branch], "Assign": {"first": "{% $states.result[0] %}"},
                 "Output": "{% $sum($states.result) %}", "Next": "Show"},
        "Show": {**PASS, "Output": {"first": "{% $first %}", "sum": "{% $states.input %}"}}})
    assert output(arn, {"given": 1}) == {"first": 2, "sum": 4}


@check
def what_a_branch_assigns_stays_inside_it() -> None:
    inside = {"StartAt": "Set", "States": {
        "Set": {"Type": "Pass", "Assign": {"own": 1, "outer": 2}, "Next": "Use"},
        "Use": {**PASS, "Output": "{% $own + $outer %}"}}}
    arn = machine("scope", {
        "Outer": {"Type": "Pass", "Assign": {"outer": 10}, "Next": "Both"},
        "Both": {"Type": "Parallel", "Branches": [inside], "Next": "Show"},
        "Show": {**PASS, "Output": ["{% $states.input %}", "{% $outer %}", "{% $exists($own) %}"]}})
    assert output(arn) == [[3], 10, False]


@check
def a_failed_branch_or_iteration_ends_its_siblings() -> None:
    begun = time.time()
    branches = machine("siblings", {
        "Both": {"Type": "Parallel", "Branches": [waits(60), fails("Mine")], "End": True}})
    assert run(branches)["error"] == "Mine"
    each = {"StartAt": "Which", "States": {
        "Which": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Fail"}],
                  "Default": "Wait"},
        **waits(60)["States"], **fails("Second")["States"]}}
    iterations = machine("iterations", {
        "Each": {"Type": "Map", "Items": [1, 2], "ItemProcessor": each, "End": True}})
    assert run(iterations)["error"] == "Second"
    assert time.time() - begun < 10


def nested(arn: str, **more) -> dict:
    return {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Arguments": {"StateMachineArn": arn, "Input": {}}, **more}


@check
def a_nested_failure_is_task_failed_with_the_childs_description_and_raises_events() -> None:
    read = inbox("states", {"source": ["aws.states"], "detail": {"name": [{"exists": True}]}})
    child = machine("child", fails("Child")["States"])
    arn = machine("parent", {
        "Run": nested(child, Catch=[{"ErrorEquals": ["States.TaskFailed"], "Next": "Show",
                                     "Output": "{% $parse($states.errorOutput.Cause) %}"}], Next="Show"),
        "Show": PASS})
    found = output(arn)
    assert (found["Status"], found["Error"], found["StateMachineArn"]) == ("FAILED", "Child", child)
    seen: list[dict] = []
    until(lambda: seen.extend(event["detail"] for event in read()) or any(
        (detail["stateMachineArn"], detail["status"]) == (child, "FAILED") for detail in seen))


@check
def stopping_a_run_stops_what_it_nests() -> None:
    sfn = server.client("stepfunctions")
    child = machine("long", waits(60)["States"])
    parent = machine("stopped", {"Run": nested(child, End=True)})
    execution = sfn.start_execution(stateMachineArn=parent)["executionArn"]
    until(lambda: sfn.list_executions(stateMachineArn=child, statusFilter="RUNNING")["executions"])
    sfn.stop_execution(executionArn=execution)
    until(lambda: sfn.list_executions(stateMachineArn=child, statusFilter="ABORTED")["executions"])
    assert sfn.describe_execution(executionArn=execution)["status"] == "ABORTED"


@check
def a_machine_that_takes_too_long_is_timed_out() -> None:
    assert run(machine("slow", waits(60)["States"], TimeoutSeconds=1))["status"] == "TIMED_OUT"


@check
def a_definition_that_leads_nowhere_is_refused() -> None:
    for states in ({"A": {"Type": "Pass", "Next": "Nowhere"}}, {"A": {"Type": "Pass"}}):
        assert "MISSING_TRANSITION_TARGET" in refused("InvalidDefinition", machine, name="bad", states=states)


@check
def too_large_an_output_fails_and_is_not_caught_by_all() -> None:
    large = "{% $string($map([1..9000], function($n) { 'abcdefghijklmnopqrstuvwxyzabcdefgh' })) %}"
    branch = {"StartAt": "Big", "States": {"Big": {**PASS, "Output": large}}}
    arn = machine("large", {
        "Both": {"Type": "Parallel", "Branches": [branch],
                 "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Show"}], "Next": "Show"},
        "Show": PASS})
    assert run(arn)["error"] == "States.DataLimitExceeded"


@check
def states_inside_branches_have_their_history() -> None:
    sfn = server.client("stepfunctions")
    inside = {"StartAt": "Inside", "States": {"Inside": PASS}}
    ended = run(machine("history", {"Both": {"Type": "Parallel", "Branches": [inside], "End": True}}))
    events = sfn.get_execution_history(executionArn=ended["executionArn"])["events"]
    assert "Inside" in [event.get("stateEnteredEventDetails", {}).get("name") for event in events]


def task(arn: str, payload: dict, **more) -> dict:
    return {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": arn, "Payload": payload}, **more}


@check
def an_expression_may_take_a_second() -> None:
    endless = "{% ($f := function($n) { $f($n + 1) }; $f(0)) %}"
    ended = run(machine("endless", {"A": {"Type": "Pass", "Output": endless, "End": True}}))
    assert ended["error"] == "States.QueryEvaluationError" and "D1012" in ended["cause"], ended


@check
def a_tasks_end_leads_back_to_what_it_was_called_with() -> None:
    sfn, arn = server.client("stepfunctions"), function("told", ("s3:GetObject", "*"))
    branches = [{"StartAt": name, "States": {name: task(arn, {"name": name}, End=True)}} for name in "AB"]
    ended = run(machine("linked", {"Both": {"Type": "Parallel", "Branches": branches, "End": True}}))
    events = sfn.get_execution_history(executionArn=ended["executionArn"])["events"]
    numbered = {event["id"]: event for event in events}
    assert len(numbered) == len(events)
    for event in events:
        if event["type"] == "TaskSucceeded":
            before = numbered[event["previousEventId"]]["taskScheduledEventDetails"]
            answer = json.loads(event["taskSucceededEventDetails"]["output"])["Payload"]
            assert json.loads(before["parameters"])["Payload"] == answer, (before, answer)


@check
def machines_and_rules_may_do_only_what_their_roles_allow() -> None:
    arn, poor = function("plain"), role("poor")
    denied = run(machine("denied", {"Do": task(arn, {}, End=True)}, poor))
    assert denied["error"] == "Lambda.AWSLambdaException" and "not authorized" in denied["cause"]
    child = machine("never", {"A": PASS})
    refused("AccessDeniedException", machine, name="unruly", states={"Run": nested(child, End=True)},
            role_arn=poor)


@check
def what_a_rule_may_not_deliver_is_a_dead_letter() -> None:
    sqs, events = server.client("sqs"), server.client("events")
    inbox("letters", {"source": ["nothing"]})
    events.put_rule(Name="poor", EventPattern=json.dumps({"source": ["mine"]}))
    events.put_targets(Rule="poor", Targets=[{
        "Id": "machine", "Arn": machine("unreached", {"A": PASS}), "RoleArn": role("poor-rule"),
        "DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:letters"}}])
    events.put_events(Entries=[{"Source": "mine", "DetailType": "x", "Detail": "{}"}])
    url = sqs.get_queue_url(QueueName="letters")["QueueUrl"]
    letters = until(lambda: sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages"))
    assert letters[0]["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"


@check
def an_account_has_its_own_things_and_forwards_events_to_a_bus_that_takes_them() -> None:
    def there(service: str):
        return boto3.client(service, endpoint_url=server.endpoint, region_name="eu-west-1",
                            aws_access_key_id="222222222222", aws_secret_access_key="test")

    there("ecs").create_cluster(clusterName="theirs")
    arns = there("ecs").list_clusters()["clusterArns"]
    assert arns == ["arn:aws:ecs:eu-west-1:222222222222:cluster/theirs"], arns
    assert not any("theirs" in arn for arn in server.client("ecs").list_clusters()["clusterArns"])

    heard = inbox("heard", {"source": ["aws.ecr"]})
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    forwarder = there("iam").create_role(RoleName="forward", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    there("events").put_rule(Name="images", EventPattern=json.dumps({"source": ["aws.ecr"]}))
    there("events").put_targets(Rule="images", Targets=[{"Id": "bus", "Arn": bus, "RoleArn": forwarder}])
    there("ecr").create_repository(repositoryName="far")

    def push(tag: str) -> list[dict]:
        there("ecr").put_image(repositoryName="far", imageTag=tag, imageManifest=json.dumps({"tag": tag}))
        time.sleep(0.2)
        return heard()

    assert push("neither-may") == []
    allowed = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus}
    there("iam").put_role_policy(RoleName="forward", PolicyName="own", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [allowed]}))
    assert push("the-bus-does-not-take-it") == []
    taken = {"Condition": {"StringEquals": {"events:source": "aws.ecr"}}, "Principal": {"AWS": "222222222222"}}
    template = {"Resources": {"Policy": {"Type": "AWS::Events::EventBusPolicy", "Properties": {
        "StatementId": "theirs", "Statement": {**allowed, **taken}}}}}
    formation = server.client("cloudformation")
    formation.create_stack(StackName="bus", TemplateBody=json.dumps(template))
    until(lambda: formation.describe_stacks(StackName="bus")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE")
    event, = push("heard")
    assert (event["account"], event["region"]) == ("222222222222", "eu-west-1"), event
    assert event["detail"]["image-tag"] == "heard"


@check
def a_functions_role_holds_whichever_emulator_answers() -> None:
    function("reader", ("ecs:ListClusters", "*"))
    assert "errorType" not in invoke("reader", {"call": ["ecs", "list_clusters"]})
    for call in (["ecs", "list_account_settings"], ["s3", "list_buckets"], ["ec2", "describe_vpcs"]):
        answer = invoke("reader", {"call": call})
        assert "not authorized" in answer["errorMessage"], answer


@check
def what_is_absent_is_forbidden_to_who_may_not_list() -> None:
    server.client("s3").create_bucket(Bucket="guessed")
    absent = {"call": ["s3", "get_object"], "with": {"Bucket": "guessed", "Key": "absent"}}
    function("guesser", ("s3:GetObject", "*"))
    assert "AccessDenied" in invoke("guesser", absent)["errorMessage"]
    function("lister", ("s3:GetObject", "*"), ("s3:ListBucket", "*"))
    assert "NoSuchKey" in invoke("lister", absent)["errorMessage"]


@check
def a_bucket_of_another_than_the_expected_owner_refuses() -> None:
    s3 = server.client("s3")
    s3.create_bucket(Bucket="whose")
    s3.head_bucket(Bucket="whose", ExpectedBucketOwner=ACCOUNT)
    refused("403", s3.head_bucket, Bucket="whose", ExpectedBucketOwner="111111111111")
    refused("AccessDenied", s3.list_objects_v2, Bucket="whose", ExpectedBucketOwner="111111111111")


@check
def roles_are_known_by_path_and_boundary_and_passed_only_where_allowed() -> None:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    handler = function("maker-of-roles", ("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/own/*"),
                       ("ecs:RegisterTaskDefinition", "*")).rsplit(":", 1)[-1]
    server.client("iam").put_role_policy(RoleName=handler, PolicyName="create", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "iam:CreateRole", "Resource": f"arn:aws:iam::{ACCOUNT}:role/own/*",
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}}}]}))
    create = {"RoleName": "own", "Path": "/own/", "AssumeRolePolicyDocument": trust}
    bounded = {"call": ["iam", "create_role"], "with": {**create, "PermissionsBoundary": boundary}}
    assert "not authorized" in invoke(handler, {**bounded, "with": create})["errorMessage"]
    assert "errorType" not in invoke(handler, bounded)
    assert "errorType" not in invoke(handler, {"call": ["iam", "get_role"], "with": {"RoleName": "own"}})
    define = {"call": ["ecs", "register_task_definition"], "with": {
        "family": "passed", "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/own/own",
        "containerDefinitions": [{"name": "app", "image": "nginx", "memory": 128}]}}
    assert "iam:PassRole" in invoke(handler, define)["errorMessage"]


def session(name: str, statements: list[dict], tags: dict[str, str], boundary: dict | None = None) -> Callable:
    """Clients of a role with these statements and tags, and inside this boundary."""
    iam, trust = server.client("iam"), {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}
    version = {"Version": "2012-10-17"}
    more = {}
    if boundary:
        made = iam.create_policy(PolicyName=f"{name}-boundary", PolicyDocument=json.dumps(
            {**version, "Statement": [boundary]}))
        more["PermissionsBoundary"] = made["Policy"]["Arn"]
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({**version, "Statement": [trust]}),
                          Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                          **more)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(
        {**version, "Statement": statements}))
    keys = server.client("sts").assume_role(RoleArn=arn, RoleSessionName="self")["Credentials"]
    return lambda service: boto3.client(
        service, endpoint_url=server.endpoint, region_name=REGION, aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"],
        config=Config(retries={"max_attempts": 0}))


@check
def who_makes_a_log_group_with_tags_may_tag_it() -> None:
    create = {"Effect": "Allow", "Action": "logs:CreateLogGroup", "Resource": "*"}
    tag = {**create, "Action": "logs:TagResource", "Condition": {"StringEquals": {"aws:RequestTag/team": "red"}}}
    untagging, tagging = session("untagging", [create], {})("logs"), session("tagging", [create, tag], {})("logs")
    untagging.create_log_group(logGroupName="/untagged")
    refused("AccessDeniedException", untagging.create_log_group, logGroupName="/tagged", tags={"team": "red"})
    refused("AccessDeniedException", tagging.create_log_group, logGroupName="/tagged", tags={"team": "blue"})
    tagging.create_log_group(logGroupName="/tagged", tags={"team": "red"})


@check
def a_log_group_gets_another_key_or_none() -> None:
    logs, kms = server.client("logs"), server.client("kms")
    key = kms.create_key()["KeyMetadata"]
    logs.create_log_group(logGroupName="/keyed")
    def found() -> str | None:
        return logs.describe_log_groups(logGroupNamePrefix="/keyed")["logGroups"][0].get("kmsKeyId")
    logs.associate_kms_key(logGroupName="/keyed", kmsKeyId=key["Arn"])
    assert found() == key["Arn"]
    logs.disassociate_kms_key(logGroupName="/keyed")
    assert found() is None
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    refused("InvalidParameterException", logs.associate_kms_key, logGroupName="/keyed", kmsKeyId=key["Arn"])
    refused("ResourceNotFoundException", logs.disassociate_kms_key, logGroupName="/nowhere")


@check
def policies_know_variables_and_the_tags_of_what_a_call_is_about() -> None:
    secrets, ecs = server.client("secretsmanager"), server.client("ecs")
    for team in ("red", "blue"):
        secrets.create_secret(Name=f"tagged-{team}", SecretString="x", Tags=[{"Key": "team", "Value": team}])
        ecs.create_cluster(clusterName=f"tagged-{team}", tags=[{"key": "team", "value": team}])
    anything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    own = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}
    red = session("variables", [{**anything[0], "Condition": own}], {"team": "red"})
    red("secretsmanager").get_secret_value(SecretId="tagged-red")
    refused("AccessDeniedException", red("secretsmanager").get_secret_value, SecretId="tagged-blue")
    nobody = session("variables-none", [{**anything[0], "Condition": own}], {})
    refused("AccessDeniedException", nobody("secretsmanager").get_secret_value, SecretId="tagged-red")
    named = [{**anything[0], "Resource": f"arn:aws:ecs:*:*:cluster/tagged-${{aws:PrincipalTag/team, 'blue'}}"}]
    for name, tags, other in (("names", {"team": "red"}, "tagged-blue"), ("names-none", {}, "tagged-red")):
        client = session(name, named, tags)("ecs")
        client.describe_clusters(clusters=["tagged-red" if tags else "tagged-blue"])
        refused("AccessDeniedException", client.describe_clusters, clusters=["tagged-red", "tagged-blue"])
        refused("AccessDeniedException", client.list_tasks, cluster=other)
    # A boundary's conditions count as a policy's own do.
    others = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
        "StringNotEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team, '-'}"},
        "Null": {"aws:ResourceTag/team": "false"}}}
    bounded = session("bounded", [*anything, others], {"team": "red"}, anything[0])
    inside = session("inside", anything, {"team": "red"}, {**anything[0], "Condition": own})
    for client in (bounded("ecs"), inside("ecs")):
        client.list_tasks(cluster="tagged-red")
        refused("AccessDeniedException", client.list_tasks, cluster="tagged-blue")
    telling = session("telling", [anything[0], {
        **others, "Condition": {"ForAnyValue:StringEquals": {"events:source": "mine"}}}], {})("events")
    entry = {"Source": "yours", "DetailType": "x", "Detail": "{}"}
    telling.put_events(Entries=[entry])
    refused("AccessDeniedException", telling.put_events, Entries=[entry, {**entry, "Source": "mine"}])


@check
def who_may_delete_what_has_a_tag_deletes_nothing_else() -> None:
    owned = {"StringEquals": {"aws:ResourceTag/team": "red"}}
    allowed = [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": owned},
               {"Effect": "Allow", "Action": ["ec2:Describe*", "elasticloadbalancing:Describe*"], "Resource": "*"}]
    client, root = session("deleting", allowed, {}), server.client
    ec2, efs, place = root("ec2"), root("efs"), Place("deleting")
    tags = [{"Key": "team", "Value": "red"}]

    def of(kind: str, mine: bool) -> dict:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if mine else {}

    def calls(mine: bool) -> list[tuple[str, str, dict]]:
        """What makes something of each kind, and the call that deletes or changes it."""
        more, name = {"Tags": tags} if mine else {}, "mine" if mine else "theirs"
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", **of("vpc", mine))["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", **of("subnet", mine))["Subnet"]["SubnetId"]
        gateway = ec2.create_internet_gateway(**of("internet-gateway", mine))["InternetGateway"]
        address = ec2.allocate_address(Domain="vpc", **of("elastic-ip", mine))
        table = ec2.create_route_table(VpcId=vpc, **of("route-table", mine))["RouteTable"]["RouteTableId"]
        group = ec2.create_security_group(GroupName=name, Description="x", VpcId=vpc,
                                          **of("security-group", mine))["GroupId"]
        template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={},
                                              **of("launch-template", mine))["LaunchTemplate"]["LaunchTemplateId"]
        targets = place.elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=place.vpc,
                                                TargetType="ip", **more)["TargetGroups"][0]["TargetGroupArn"]
        files = efs.create_file_system(CreationToken=name, **more)["FileSystemId"]
        point = efs.create_access_point(ClientToken=name, FileSystemId=files, **more)["AccessPointId"]
        key = root("kms").create_key(Tags=[{"TagKey": "team", "TagValue": "red"}] if mine else [])["KeyMetadata"]
        root("kms").create_alias(AliasName=f"alias/{name}", TargetKeyId=key["KeyId"])
        root("ecr").create_repository(repositoryName=name, tags=tags if mine else [])
        root("logs").create_log_group(logGroupName=name, tags={"team": "red"} if mine else {})
        root("ecs").create_cluster(clusterName=name, tags=[{"key": "team", "value": "red"}] if mine else [])
        root("rds").create_db_instance(DBInstanceIdentifier=name, Engine="mysql", DBInstanceClass="db.t3.micro",
                                       AllocatedStorage=20, MasterUsername="x", MasterUserPassword="xxxxxxxx", **more)
        certificate = root("acm").request_certificate(DomainName=f"{name}.test", ValidationMethod="DNS", **more)
        return [
            ("ec2", "delete_subnet", {"SubnetId": subnet}),
            ("ec2", "delete_internet_gateway", {"InternetGatewayId": gateway["InternetGatewayId"]}),
            ("ec2", "release_address", {"AllocationId": address["AllocationId"]}),
            ("ec2", "delete_route_table", {"RouteTableId": table}),
            ("ec2", "delete_security_group", {"GroupId": group}),
            ("ec2", "delete_vpc", {"VpcId": vpc}),
            ("ec2", "delete_launch_template", {"LaunchTemplateId": template}),
            ("elbv2", "modify_target_group", {"TargetGroupArn": targets, "HealthCheckPath": "/x"}),
            ("elbv2", "delete_target_group", {"TargetGroupArn": targets}),
            ("efs", "delete_access_point", {"AccessPointId": point}),
            ("efs", "delete_file_system", {"FileSystemId": files}),
            ("kms", "disable_key_rotation", {"KeyId": f"alias/{name}"}),
            ("kms", "schedule_key_deletion", {"KeyId": key["KeyId"]}),
            ("ecr", "delete_repository", {"repositoryName": name}),
            ("logs", "delete_log_group", {"logGroupName": name}),
            ("ecs", "delete_cluster", {"cluster": name}),
            ("rds", "delete_db_instance", {"DBInstanceIdentifier": name, "SkipFinalSnapshot": True}),
            ("acm", "delete_certificate", {"CertificateArn": certificate["CertificateArn"]}),
        ]

    others = calls(False)
    for service, operation, arguments in others:
        try:
            getattr(client(service), operation)(**arguments)
        except ClientError as refusal:
            code = refusal.response["Error"]["Code"]
            assert "AccessDenied" in code or code == "UnauthorizedOperation", (service, operation, refusal)
        else:
            raise AssertionError(f"{service} {operation} of others")
    for service, operation, arguments in calls(True):
        getattr(client(service), operation)(**arguments)
    for service, operation, arguments in others:
        getattr(root(service), operation)(**arguments)


@check
def a_role_is_passed_to_the_instances_whose_profile_it_is_put_into() -> None:
    iam, path = server.client("iam"), "/profiles/"
    inner = iam.create_role(RoleName="inner", Path=path, AssumeRolePolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": []}))["Role"]["Arn"]
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile{path}*"
    make = {"call": ["iam", "create_instance_profile"],
            "with": {"InstanceProfileName": "held", "Path": path, "Tags": [{"Key": "a", "Value": "b"}]}}
    add = {"call": ["iam", "add_role_to_instance_profile"],
           "with": {"InstanceProfileName": "held", "RoleName": "inner"}}
    function("no-maker-of-profiles", ("iam:CreateInstanceProfile", f"arn:aws:iam::{ACCOUNT}:role/*"))
    assert "not authorized" in invoke("no-maker-of-profiles", make)["errorMessage"]
    allowed = ("iam:CreateInstanceProfile", arn), ("iam:AddRoleToInstanceProfile", arn)
    function("maker-of-profiles", *allowed)
    assert "errorType" not in invoke("maker-of-profiles", make)
    assert "iam:PassRole" in invoke("maker-of-profiles", add)["errorMessage"]
    function("passer", *allowed, ("iam:PassRole", inner))
    assert "errorType" not in invoke("passer", add)
    listed = iam.list_instance_profiles(PathPrefix=path)["InstanceProfiles"]
    assert [role["RoleName"] for role in listed[0]["Roles"]] == ["inner"] and "Tags" not in listed[0]
    found = iam.get_instance_profile(InstanceProfileName="held")["InstanceProfile"]
    assert found["Tags"] == [{"Key": "a", "Value": "b"}]
    refused("DeleteConflict", iam.delete_role, RoleName="inner")
    refused("DeleteConflict", iam.delete_instance_profile, InstanceProfileName="held")
    iam.remove_role_from_instance_profile(InstanceProfileName="held", RoleName="inner")
    iam.delete_instance_profile(InstanceProfileName="held")
    refused("NoSuchEntity", iam.get_instance_profile, InstanceProfileName="held")


@check
def users_are_known_by_path_and_boundary_and_go_after_their_keys_and_policies() -> None:
    iam, boundary = server.client("iam"), "arn:aws:iam::aws:policy/ReadOnlyAccess"
    arn = f"arn:aws:iam::{ACCOUNT}:user/users/*"
    function("maker-of-users", ("iam:GetUser", arn))
    iam.put_role_policy(RoleName="maker-of-users", PolicyName="create", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["iam:CreateUser", "iam:PutUserPolicy"], "Resource": arn,
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}}}]}))
    create = {"UserName": "bound", "Path": "/users/", "Tags": [{"Key": "a", "Value": "b"}]}
    policy = {"UserName": "bound", "PolicyName": "own", "PolicyDocument": json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})}

    def call(operation: str, given: dict) -> dict:
        return invoke("maker-of-users", {"call": ["iam", operation], "with": given})

    assert "not authorized" in call("create_user", create)["errorMessage"]
    assert "errorType" not in call("create_user", {**create, "PermissionsBoundary": boundary})
    assert "errorType" not in call("get_user", {"UserName": "bound"})
    assert "errorType" not in call("put_user_policy", policy)
    details = iam.get_account_authorization_details(Filter=["User"])["UserDetailList"]
    bound = next(user for user in details if user["UserName"] == "bound")
    assert bound["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    assert "Tags" not in iam.list_users(PathPrefix="/users/")["Users"][0]
    assert iam.get_user(UserName="bound")["User"]["Tags"] == [{"Key": "a", "Value": "b"}]
    key = iam.create_access_key(UserName="bound")["AccessKey"]["AccessKeyId"]
    iam.delete_access_key(UserName="bound", AccessKeyId=key)
    refused("DeleteConflict", iam.delete_user, UserName="bound")
    iam.delete_user_policy(UserName="bound", PolicyName="own")
    iam.delete_user(UserName="bound")
    refused("NoSuchEntity", iam.list_access_keys, UserName="bound")


@check
def an_issuer_is_asked_for_by_its_arn() -> None:
    iam, arn = server.client("iam"), f"arn:aws:iam::{ACCOUNT}:oidc-provider/tokens.example.com"
    function("asker", ("iam:GetOpenIDConnectProvider", arn))
    ask = {"call": ["iam", "get_open_id_connect_provider"], "with": {"OpenIDConnectProviderArn": arn}}
    assert "NoSuchEntity" in invoke("asker", ask)["errorMessage"]
    iam.create_open_id_connect_provider(Url="https://tokens.example.com", ClientIDList=["sts.amazonaws.com"])
    assert "ClientIDList" in invoke("asker", ask)["answered"]
    other = {**ask, "with": {"OpenIDConnectProviderArn": arn.replace("tokens", "other")}}
    assert "not authorized" in invoke("asker", other)["errorMessage"]


@check
def a_stack_applies_boundaries_and_refuses_bad_machines() -> None:
    cloudformation, iam = server.client("cloudformation"), server.client("iam")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
                            "Action": "sts:AssumeRole"}]}
    bounded = {"Resources": {"Bounded": {"Type": "AWS::IAM::Role", "Properties": {
        "RoleName": "bounded", "AssumeRolePolicyDocument": trust,
        "PermissionsBoundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"}}}}
    cloudformation.create_stack(StackName="bounded", TemplateBody=json.dumps(bounded),
                                Capabilities=["CAPABILITY_NAMED_IAM"])
    found = until(lambda: [each for each in iam.list_roles()["Roles"] if each["RoleName"] == "bounded"])
    assert found
    until(lambda: "PermissionsBoundary" in iam.get_role(RoleName="bounded")["Role"])
    bad = {"Resources": {"Bad": {"Type": "AWS::StepFunctions::StateMachine", "Properties": {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/all",
        "DefinitionString": json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}})}}}}
    cloudformation.create_stack(StackName="bad", TemplateBody=json.dumps(bad))
    until(lambda: "ROLLBACK" in cloudformation.describe_stacks(StackName="bad")["Stacks"][0]["StackStatus"])


@check
def a_pushed_image_raises_its_event_and_is_there_once() -> None:
    ecr, read = server.client("ecr"), inbox("pushes", {"source": ["aws.ecr"]})
    ecr.create_repository(repositoryName="pushed")
    ecr.put_image(repositoryName="pushed", imageTag="one", imageManifest=MANIFEST)
    event = until(read)[0]
    found = [event["detail"][name] for name in ("action-type", "result", "repository-name", "image-tag")]
    assert (found, event["resources"]) == (["PUSH", "SUCCESS", "pushed", "one"], [])
    refused("ImageAlreadyExistsException", ecr.put_image, repositoryName="pushed", imageTag="one",
            imageManifest=MANIFEST)
    ecr.put_image(repositoryName="pushed", imageTag="other", imageManifest=MANIFEST)
    assert [each["detail"]["image-tag"] for each in until(read)] == ["other"]
    arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/pushed"
    function("tag-reader", ("ecr:ListTagsForResource", arn))
    ask = {"call": ["ecr", "list_tags_for_resource"], "with": {"resourceArn": arn}}
    assert "tags" in invoke("tag-reader", ask)["answered"]
    assert "not authorized" in invoke("tag-reader", {**ask, "with": {"resourceArn": arn + "-not"}})["errorMessage"]
    refused("ImageNotFoundException", ecr.describe_images, repositoryName="pushed",
            imageIds=[{"imageTag": "two"}])


class Place:
    """A network with a balancer, and a service behind it whose image isn't there."""

    def __init__(self, name: str) -> None:
        self.ec2, self.elb, self.ecs = (server.client(each) for each in ("ec2", "elbv2", "ecs"))
        self.name = name
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.group = self.ec2.create_security_group(
            GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        self.balancer = self.elb.create_load_balancer(**self.balancer_settings())["LoadBalancers"][0]
        self.targets = self.elb.create_target_group(
            Name=name, Protocol="TCP", Port=80, VpcId=self.vpc,
            TargetType="ip")["TargetGroups"][0]["TargetGroupArn"]

    def balancer_settings(self) -> dict:
        return {"Name": self.name, "Type": "network", "Scheme": "internal", "Subnets": [self.subnet]}

    def listen(self) -> str:
        return self.elb.create_listener(
            LoadBalancerArn=self.balancer["LoadBalancerArn"], Protocol="TCP", Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.targets}],
        )["Listeners"][0]["ListenerArn"]

    def define(self, tag: str) -> str:
        image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{self.name}:{tag}"
        return self.ecs.register_task_definition(
            family=self.name, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[
                {"name": "app", "image": image, "portMappings": [{"containerPort": 80}]}],
        )["taskDefinition"]["taskDefinitionArn"]

    def service_settings(self, tag: str) -> dict:
        network = {"subnets": [self.subnet], "securityGroups": [self.group]}
        return {"cluster": self.name, "serviceName": "app", "taskDefinition": self.define(tag),
                "desiredCount": 2, "launchType": "FARGATE",
                "networkConfiguration": {"awsvpcConfiguration": network},
                "loadBalancers": [{"targetGroupArn": self.targets, "containerName": "app",
                                   "containerPort": 80}]}

    def service(self) -> dict:
        return self.ecs.describe_services(cluster=self.name, services=["app"])["services"][0]

    def health(self) -> list[str]:
        answer = self.elb.describe_target_health(TargetGroupArn=self.targets)
        return [each["TargetHealth"]["State"] for each in answer["TargetHealthDescriptions"]]


@check
def a_service_starts_when_its_image_is_there_and_replaces_its_tasks() -> None:
    place, ecr = Place("steady"), server.client("ecr")
    ecr.create_repository(repositoryName="steady")
    place.ecs.create_cluster(clusterName="steady")
    settings = place.service_settings("one")
    assert "load balancer" in refused("InvalidParameterException", place.ecs.create_service, **settings)
    place.listen()
    place.ecs.create_service(**settings)
    stopped = place.ecs.list_tasks(cluster="steady", serviceName="app", desiredStatus="STOPPED")["taskArns"]
    reason = place.ecs.describe_tasks(cluster="steady", tasks=stopped)["tasks"][0]["stoppedReason"]
    assert "CannotPullContainerError" in reason and "not found" in reason
    assert (place.service()["runningCount"], place.health()) == (0, [])
    ecr.put_image(repositoryName="steady", imageTag="one", imageManifest=MANIFEST)
    assert (place.service()["runningCount"], place.health()) == (2, ["healthy", "healthy"])
    assert place.service()["deployments"][0]["rolloutState"] == "COMPLETED"
    place.ecs.update_service(cluster="steady", service="app", taskDefinition=place.define("two"))
    assert [each["runningCount"] for each in place.service()["deployments"]] == [0, 2]
    ecr.put_image(repositoryName="steady", imageTag="two", imageManifest=MANIFEST + " ")
    assert [each["runningCount"] for each in place.service()["deployments"]] == [2]
    refused("ClusterContainsServicesException", place.ecs.delete_cluster, cluster="steady")
    refused("DependencyViolation", place.ec2.delete_security_group, GroupId=place.group)
    place.ecs.delete_service(cluster="steady", service="app", force=True)
    assert (place.service()["status"], place.health()) == ("INACTIVE", [])
    place.ecs.delete_cluster(cluster="steady")
    assert not [each for each in place.ecs.list_clusters()["clusterArns"] if each.endswith("/steady")]


@check
def a_lone_task_runs_once_for_its_token_and_ends_as_it_is_told() -> None:
    place, logs = Place("lone"), server.client("logs")
    ecs = place.ecs
    ecs.create_cluster(clusterName="lone")
    options = {"awslogs-group": "/lone", "awslogs-region": REGION, "awslogs-stream-prefix": "jobs"}
    container = {"name": "app", "image": "nginx", "logConfiguration": {
        "logDriver": "awslogs", "options": options}}
    definition = ecs.register_task_definition(
        family="lone", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[container])["taskDefinition"]["taskDefinitionArn"]
    network = {"awsvpcConfiguration": {"subnets": [place.subnet], "securityGroups": [place.group]}}
    request = {"cluster": "lone", "taskDefinition": definition, "networkConfiguration": network,
               "launchType": "FARGATE", "startedBy": "me", "tags": [{"key": "a", "value": "b"}]}

    def found(arn: str, **more) -> dict:
        return ecs.describe_tasks(cluster="lone", tasks=[arn], **more)["tasks"][0]

    def start(token: str) -> str:
        return ecs.run_task(**request, clientToken=token)["tasks"][0]["taskArn"]

    def ended(token: str) -> dict:
        arn = start(token)
        return until(lambda: (task := found(arn))["lastStatus"] == "STOPPED" and task)

    failed = ended("no-log-group")
    assert failed["stopCode"] == "TaskFailedToStart" and "log group does not exist" in failed["stoppedReason"]
    logs.create_log_group(logGroupName="/lone")
    server.control("POST", "scale", {"scale": 0.1})
    try:
        arn = start("one")
        assert found(arn)["lastStatus"] == "PENDING" and found(arn, include=["TAGS"])["tags"] == request["tags"]
        assert found(arn)["tags"] == []
        until(lambda: found(arn)["lastStatus"] == "RUNNING")
        assert ecs.list_tasks(cluster="lone", family="lone")["taskArns"] == [arn]
        until(lambda: found(arn)["lastStatus"] == "STOPPED")
    finally:
        server.control("POST", "scale", {"scale": 0})
    task = found(arn)
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
    assert start("one") == arn
    refused("ConflictException", ecs.run_task, **{**request, "startedBy": "you"}, clientToken="one")
    server.control("POST", "exits", {"family": "lone", "code": 3, "log": ["first", "last"]})
    task = ended("two")
    assert task["containers"][0]["exitCode"] == 3
    stream = f"jobs/app/{task['taskArn'].rsplit('/', 1)[-1]}"
    events = logs.get_log_events(logGroupName="/lone", logStreamName=stream)["events"]
    assert [each["message"] for each in events] == ["first", "last"]
    server.control("POST", "exits", {"family": "lone", "code": None})
    arn = start("three")
    until(lambda: found(arn)["lastStatus"] == "RUNNING")
    ecs.stop_task(cluster="lone", task=arn, reason="enough")
    task = found(arn)
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("UserInitiated", 137)
    ecs.deregister_task_definition(taskDefinition=definition)
    ecs.delete_task_definitions(taskDefinitions=[definition])
    assert found(arn)["stoppedReason"] == "enough"


@check
def a_definition_is_refused_as_on_aws_and_answered_as_it_was_registered() -> None:
    ecs = server.client("ecs")

    def container(name: str, **more) -> dict:
        return {"name": name, "image": "nginx", "memoryReservation": 64, **more}

    def refusal(containers: list[dict], **more) -> str:
        wanted = {"family": "refused", "requiresCompatibilities": ["EC2"], "networkMode": "bridge", **more}
        return refused("ClientException", ecs.register_task_definition, **wanted,
                       containerDefinitions=containers)

    def after(condition: str, name: str = "b") -> dict:
        return container("a", dependsOn=[{"containerName": name, "condition": condition}])

    fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
    host = [{"name": "data", "host": {"sourcePath": "/mnt/data"}}]
    checked = {"healthCheck": {"command": ["CMD", "true"]}}
    ports = [{"containerPort": 80, "hostPort": 8080}]
    assert "'memory' or 'memoryReservation'" in refusal([{"name": "a", "image": "nginx"}])
    assert "memoryReservation" in refusal([container("a", memory=32)])
    assert "must match" in refusal([container("a", portMappings=ports)], networkMode="awsvpc")
    assert "does not exist" in refusal([after("START", "c")])
    assert "HEALTHY condition must have" in refusal([after("HEALTHY"), container("b")])
    assert "cannot be an essential" in refusal([after("SUCCESS"), container("b")])
    assert "cannot be an essential" in refusal([after("COMPLETE"), container("b")])
    cycle = container("b", dependsOn=[{"containerName": "a", "condition": "START"}])
    assert "cyclic" in refusal([after("START"), cycle])
    assert "essential" in refusal([container("a", essential=False)])
    assert "Unknown volume 'data'" in refusal(
        [container("a", mountPoints=[{"sourceVolume": "data", "containerPath": "/data"}])])
    assert "awslogs-region" in refusal([container("a", logConfiguration={
        "logDriver": "awslogs", "options": {"awslogs-group": "x"}})])
    assert "sourcePath" in refusal([container("a")], volumes=host, **fargate)
    assert "'cpu' be defined" in refusal([container("a")], **{**fargate, "cpu": ""})
    assert "sum of all" in refusal([container("a", cpu=200), container("b", cpu=57)], **fargate)
    assert "greater than for the task" in refusal([container("a", memory=513)], **fargate)
    wanted = [
        {**after("HEALTHY"), "dockerLabels": {"traefik.http.routers.a": "b"}, "mountPoints": [
            {"sourceVolume": "data", "containerPath": "/data"}], "portMappings": ports},
        container("b", essential=False, memory=64, **checked)]
    ecs.register_task_definition(family="instances", requiresCompatibilities=["EC2"], networkMode="bridge",
                                 containerDefinitions=wanted, volumes=host)
    made = ecs.describe_task_definition(taskDefinition="instances")["taskDefinition"]
    assert (made["volumes"], made["networkMode"]) == (host, "bridge") and "memory" not in made
    for name in ("dependsOn", "dockerLabels", "memoryReservation", "mountPoints"):
        assert made["containerDefinitions"][0][name] == wanted[0][name], name
    assert made["containerDefinitions"][0]["portMappings"] == [{**ports[0], "protocol": "tcp"}]


class Given:
    """A network, a cluster of two instances and a balancer that somebody else has, and a service on these."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.ecs, self.ec2, self.elb = name, *map(server.client, ("ecs", "ec2", "elbv2"))
        self.vpc = f"vpc-{number:017x}"
        self.subnets = {kind: [f"subnet-{number:08x}{mark}{zone:08x}" for zone in range(2)]
                        for kind, mark in (("public", "a"), ("private", "b"))}
        self.text = json.dumps({
            "apiVersion": "plinth/v1", "name": name, "network": {"vpc": self.vpc, **self.subnets},
            "cluster": {"name": name, "existing": True, "capacity": "ec2"},
            "loadBalancers": {"shared": {
                "existing": True, "name": name, "type": "application", "scheme": "internet-facing",
                "listeners": {"http": {"port": 80}, "https": {"port": 443}}}},
            "dns": {f"{name}.example.com": {"records": {"@": "x"}}, "inside.example": {"private": True}},
            "certificates": {"main": {"domain": f"x.{name}.example.net", "zone": f"{name}.example.net"},
                             "other": {"domain": "elsewhere.example"}},
            "deployers": {"ci": {"oidc": {"issuer": f"{name}.example.com", "subject": "repo:x"}},
                          "old": {"user": True}}})
        self.laid_out = server.control("POST", "given", {"spec": self.text})

    def listener(self, port: int) -> dict:
        balancer = self.elb.describe_load_balancers(Names=[self.name])["LoadBalancers"][0]
        found = self.elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        return next(each for each in found if each["Port"] == port)

    def targets(self, kind: str = "instance") -> str:
        arn = self.elb.create_target_group(
            Name=f"{self.name}-{kind}", Protocol="HTTP", Port=80, VpcId=self.vpc,
            TargetType=kind)["TargetGroups"][0]["TargetGroupArn"]
        self.elb.create_rule(
            ListenerArn=self.listener(80)["ListenerArn"], Priority=len(kind),
            Conditions=[{"Field": "path-pattern", "Values": [f"/{kind}"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": arn}])
        return arn

    def define(self, family: str, port: int = 0, **more) -> str:
        mapping = {"containerPort": 80, **({"hostPort": port} if port else {})}
        return self.ecs.register_task_definition(**{
            "family": family, "networkMode": "bridge", "requiresCompatibilities": ["EC2"],
            "containerDefinitions": [{"name": "app", "image": "nginx", "memoryReservation": 64,
                                      "portMappings": [mapping]}], **more,
        })["taskDefinition"]["taskDefinitionArn"]

    def service(self, name: str, **settings) -> dict:
        if settings:
            self.ecs.create_service(cluster=self.name, serviceName=name, **settings)
        return self.ecs.describe_services(cluster=self.name, services=[name])["services"][0]

    def tasks(self, **wanted) -> list[dict]:
        arns = self.ecs.list_tasks(cluster=self.name, **wanted)["taskArns"]
        return self.ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []

    def ports(self, service: str) -> list[int]:
        return sorted(binding["hostPort"] for task in self.tasks(serviceName=service)
                      for binding in task["containers"][0]["networkBindings"])

    def health(self, group: str) -> list[tuple]:
        answer = self.elb.describe_target_health(TargetGroupArn=group)
        return sorted((each["Target"]["Id"], each["Target"]["Port"], each["TargetHealth"]["State"],
                       each["TargetHealth"].get("Reason")) for each in answer["TargetHealthDescriptions"])


@check
def what_a_spec_adopts_is_laid_out_once_as_somebody_elses() -> None:
    given = Given("given", 1)
    iam, route53, acm = server.client("iam"), server.client("route53"), server.client("acm")
    assert len(given.laid_out) == 14, given.laid_out
    before = inventory_of()
    assert server.control("POST", "given", {"spec": given.text}) == []
    assert inventory_of() == before
    found = given.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [given.vpc]}])["Subnets"]
    assert {each["SubnetId"] for each in found} == {each for ids in given.subnets.values() for each in ids}
    zones = {each["SubnetId"]: each["AvailabilityZone"] for each in found}
    for ids in given.subnets.values():
        assert [zones[each] for each in ids] == [f"{REGION}a", f"{REGION}b"]
    assert given.ec2.describe_vpcs(VpcIds=[given.vpc])["Vpcs"][0]["CidrBlock"] == "10.40.0.0/16"

    def ways_out(kind: str) -> list[str]:
        tables = given.ec2.describe_route_tables(Filters=[
            {"Name": "association.subnet-id", "Values": given.subnets[kind]}])["RouteTables"]
        return [route.get("GatewayId", "")[:4] for table in tables for route in table["Routes"]
                if route.get("DestinationCidrBlock") == "0.0.0.0/0"]

    assert (ways_out("public"), ways_out("private")) == (["igw-", "igw-"], [])
    names = [zone["Name"] for zone in route53.list_hosted_zones()["HostedZones"]]
    assert {"given.example.com.", "given.example.net."} <= set(names)
    assert not {"inside.example.", "elsewhere.example."} & set(names)
    balancer = given.elb.describe_load_balancers(Names=["given"])["LoadBalancers"][0]
    assert (balancer["VpcId"], balancer["Scheme"]) == (given.vpc, "internet-facing")
    assert len(balancer["SecurityGroups"]) == 1
    secure = given.listener(443)
    certificate = acm.describe_certificate(CertificateArn=secure["Certificates"][0]["CertificateArn"])
    assert certificate["Certificate"]["Status"] == "ISSUED" and secure["Protocol"] == "HTTPS"
    assert secure["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"] == "404"
    rules = given.elb.describe_rules(ListenerArn=secure["ListenerArn"])["Rules"]
    assert [rule["Priority"] for rule in rules] == ["1", "default"]
    assert rules[0]["Conditions"][0]["HostHeaderConfig"]["Values"] == ["other.example.org"]
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/given.example.com"
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider)["ClientIDList"] == [
        "sts.amazonaws.com"]
    joined = given.ecs.list_container_instances(cluster="given")["containerInstanceArns"]
    described = given.ecs.describe_container_instances(cluster="given", containerInstances=joined)
    ids = [each["ec2InstanceId"] for each in described["containerInstances"]]
    instances = [each for reservation in given.ec2.describe_instances(InstanceIds=ids)["Reservations"]
                 for each in reservation["Instances"]]
    assert sorted(each["SubnetId"] for each in instances) == given.subnets["private"]
    data = given.ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")["UserData"]["Value"]
    assert b"ECS_CLUSTER=given" in base64.b64decode(data)
    theirs = [record for record in before if given.name in record.name or record.name in (*ids, given.vpc)]
    assert {"vpc", "cluster", "container-instance", "instance", "load-balancer", "listener", "hosted-zone",
            "identity-provider"} <= {record.kind for record in theirs}, theirs
    assert not any(tag.startswith("plinth:") for record in theirs for tag in record.tags)
    refused("ClusterContainsContainerInstancesException", given.ecs.delete_cluster, cluster="given")


def inventory_of() -> list[inventory.Record]:
    os.environ.update(AWS_ENDPOINT_URL=server.endpoint, AWS_ACCESS_KEY_ID="test",
                      AWS_SECRET_ACCESS_KEY="test")
    return inventory.take(REGION)


@check
def tasks_on_instances_have_ports_and_targets_of_their_own() -> None:
    given = Given("ports", 2)
    group, of_addresses = given.targets(), given.targets("ip")
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}]
    wrong = [{**balancers[0], "targetGroupArn": of_addresses}]
    definition = given.define("dynamic")
    settings = {"taskDefinition": definition, "desiredCount": 3, "loadBalancers": balancers}
    assert "incompatible with the bridge" in refused(
        "InvalidParameterException", given.service, name="app", **{**settings, "loadBalancers": wrong})
    assert "container port 81" in refused("InvalidParameterException", given.service, name="app", **{
        **settings, "loadBalancers": [{**balancers[0], "containerPort": 81}]})
    place = {"awsvpcConfiguration": {"subnets": given.subnets["private"]}}
    assert "not valid for the given networkMode" in refused(
        "InvalidParameterException", given.service, name="app", **settings, networkConfiguration=place)
    found = given.service("app", **settings)
    assert (found["launchType"], found["runningCount"]) == ("EC2", 3), found
    assert given.ports("app") == [32768, 32768, 32769]
    health = given.health(group)
    assert [(port, state) for _, port, state, _ in sorted(health, key=lambda each: each[1])] == [
        (32768, "healthy"), (32768, "healthy"), (32769, "healthy")]
    assert len({instance for instance, *_ in health}) == 2
    known = given.ecs.list_container_instances(cluster="ports")["containerInstanceArns"]
    assert {task["containerInstanceArn"] for task in given.tasks(serviceName="app")} == set(known)
    # One port that is chosen is there once an instance.
    found = given.service("fixed", taskDefinition=given.define("fixed", 8080), desiredCount=3,
                          deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 100})
    assert (found["runningCount"], given.ports("fixed")) == (2, [8080, 8080])
    event = next(each["message"] for each in found["events"] if "unable to place" in each["message"])
    assert "no container instance met all of its requirements. The closest matching (container-" in event
    assert "already using a port required by your task" in event
    assert found["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    given.ecs.update_service(cluster="ports", service="fixed", desiredCount=2)
    assert given.service("fixed")["deployments"][0]["rolloutState"] == "COMPLETED"
    # A new revision has no room until one of the tasks before makes it, which half of them may.
    given.ecs.update_service(cluster="ports", service="fixed", taskDefinition=given.define("fixed", 8080))
    assert [each["rolloutState"] for each in given.service("fixed")["deployments"]] == ["COMPLETED"]
    assert {task["taskDefinitionArn"][-8:] for task in given.tasks(serviceName="fixed")} == {"/fixed:2"}
    given.ecs.update_service(
        cluster="ports", service="fixed", taskDefinition=given.define("fixed", 8080),
        deploymentConfiguration={"minimumHealthyPercent": 100, "maximumPercent": 200})
    assert [each["runningCount"] for each in given.service("fixed")["deployments"]] == [0, 2]
    # A port that the instance itself holds is none.
    assert given.service("ssh", taskDefinition=given.define("ssh", 22), desiredCount=1)["runningCount"] == 0
    run = given.ecs.run_task(cluster="ports", taskDefinition="ssh")
    assert (run["tasks"], run["failures"][0]["reason"]) == ([], "RESOURCE:PORTS")
    assert given.ecs.run_task(cluster="ports", taskDefinition=definition)["tasks"][0]["launchType"] == "EC2"
    # With addresses of their own, as on Fargate.
    alone = given.define("alone", networkMode="awsvpc")
    assert "not supported for this launch type" in refused(
        "InvalidParameterException", given.service, name="alone", taskDefinition=alone, desiredCount=1,
        networkConfiguration={"awsvpcConfiguration": {**place["awsvpcConfiguration"],
                                                      "assignPublicIp": "ENABLED"}})
    given.service("alone", taskDefinition=alone, desiredCount=1, networkConfiguration=place,
                  loadBalancers=wrong)
    task = given.tasks(serviceName="alone")[0]
    address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
    assert given.health(of_addresses) == [(address, 80, "healthy", None)]
    # One that drains keeps what it runs, and takes no more.
    for status, count in (("DRAINING", 1), ("ACTIVE", 0)):
        given.ecs.update_container_instances_state(
            cluster="ports", containerInstances=known[:1], status=status)
        run = given.ecs.run_task(cluster="ports", taskDefinition=given.define("ports-one", 9000), count=2)
        assert (len(run["failures"]), given.service("app")["runningCount"]) == (count, 3), run
    # What an instance ran goes with it.
    lost = given.tasks(serviceName="app")[0]
    described = given.ecs.describe_container_instances(
        cluster="ports", containerInstances=[lost["containerInstanceArn"]])["containerInstances"][0]
    given.ec2.terminate_instances(InstanceIds=[described["ec2InstanceId"]])
    assert (given.service("app")["runningCount"], len(given.health(group))) == (3, 3)
    stopped = given.ecs.describe_tasks(cluster="ports", tasks=[lost["taskArn"]])["tasks"][0]
    assert described["ec2InstanceId"] in stopped["stoppedReason"]
    for name in ("app", "fixed", "ssh", "alone"):
        given.ecs.delete_service(cluster="ports", service=name, force=True)
    assert given.health(group) == []


@check
def tasks_go_where_a_strategy_says() -> None:
    ecs, place = server.client("ecs"), Place("strategy")
    ecs.create_cluster(clusterName="strategy", capacityProviders=["FARGATE"])
    network = {"awsvpcConfiguration": {"subnets": [place.subnet], "securityGroups": [place.group]}}
    fargate = ecs.register_task_definition(
        family="strategy", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{"name": "app", "image": "nginx"}])["taskDefinition"]["taskDefinitionArn"]
    wanted = {"cluster": "strategy", "serviceName": "app", "taskDefinition": fargate, "desiredCount": 2,
              "networkConfiguration": network}

    def strategy(provider: str, **more) -> dict:
        return {"capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1, **more}]}

    for refusal, more in (("not found", strategy("nobody")), ("not associated", strategy("FARGATE_SPOT")),
                          ("both a launch type", {**strategy("FARGATE"), "launchType": "FARGATE"})):
        assert refusal in refused("InvalidParameterException", ecs.create_service, **wanted, **more)
    ecs.register_task_definition(
        family="on-instances", requiresCompatibilities=["EC2"], networkMode="bridge",
        containerDefinitions=[{"name": "app", "image": "nginx", "memory": 64}])
    on_instances = {"cluster": "strategy", "taskDefinition": "on-instances"}
    assert "launch_type FARGATE" in refused(
        "InvalidParameterException", ecs.run_task, **on_instances, launchType="FARGATE")
    assert "No Container Instances" in refused("InvalidParameterException", ecs.run_task, **on_instances)
    # Without a provider no task is there before its place is; with one it waits for it.
    ecs.create_service(**on_instances, serviceName="none", desiredCount=1)
    found = ecs.describe_services(cluster="strategy", services=["none"])["services"][0]
    assert (found["launchType"], found["pendingCount"]) == ("EC2", 0)
    assert "Reason: No Container Instances were found in your cluster." in found["events"][0]["message"]
    place.ec2.create_launch_template(
        LaunchTemplateName="strategy", LaunchTemplateData={"InstanceType": "t3.small", "ImageId": "ami-1"})
    server.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="strategy", MinSize=0, MaxSize=0, VPCZoneIdentifier=place.subnet,
        LaunchTemplate={"LaunchTemplateName": "strategy", "Version": "$Latest"})
    group = server.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=["strategy"])["AutoScalingGroups"][0]["AutoScalingGroupARN"]
    ecs.create_capacity_provider(name="of-strategy", autoScalingGroupProvider={"autoScalingGroupArn": group})
    ecs.put_cluster_capacity_providers(
        cluster="strategy", capacityProviders=["FARGATE", "FARGATE_SPOT", "of-strategy"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1, "base": 3},
                                         {"capacityProvider": "FARGATE_SPOT", "weight": 3}])
    ecs.create_service(**on_instances, serviceName="some", desiredCount=1, **strategy("of-strategy"))
    found = ecs.describe_services(cluster="strategy", services=["some"])["services"][0]
    assert (found["pendingCount"], found["runningCount"]) == (1, 0) and "launchType" not in found
    assert "unable to place" in found["events"][0]["message"]
    waiting = ecs.run_task(**on_instances, **strategy("of-strategy"))["tasks"][0]
    assert (waiting["lastStatus"], waiting["capacityProviderName"]) == ("PROVISIONING", "of-strategy")
    made = ecs.create_service(**{**wanted, "desiredCount": 7})["service"]
    assert [each["capacityProvider"] for each in made["capacityProviderStrategy"]] == [
        "FARGATE", "FARGATE_SPOT"]
    arns = ecs.list_tasks(cluster="strategy", serviceName="app")["taskArns"]
    providers = [task["capacityProviderName"] for task in ecs.describe_tasks(
        cluster="strategy", tasks=arns)["tasks"]]
    assert sorted(providers) == ["FARGATE"] * 4 + ["FARGATE_SPOT"] * 3


@check
def a_services_count_is_told_when_it_is_made_and_kept_when_it_is_left_out() -> None:
    place = Place("count")
    place.ecs.create_cluster(clusterName="count")
    place.listen()
    settings = {name: value for name, value in place.service_settings("x").items() if name != "desiredCount"}
    refused("InvalidParameterException", place.ecs.create_service, **settings)
    place.ecs.create_service(**settings, desiredCount=0)
    place.ecs.update_service(cluster="count", service="app", desiredCount=3)
    place.ecs.update_service(cluster="count", service="app", taskDefinition=place.define("y"))
    assert place.service()["desiredCount"] == 3
    deployment = place.service()["deployments"][0]["id"]
    place.ecs.update_service(cluster="count", service="app", serviceRegistries=[])
    assert place.service()["deployments"][0]["id"] == deployment
    assert "does not support a desired count" in refused(
        "InvalidParameterException", place.ecs.create_service, **{**settings, "serviceName": "other"},
        desiredCount=1, schedulingStrategy="DAEMON")


class Failing(Place):
    """A service of a public image, which comes and goes as it is told."""

    def __init__(self, name: str, desired: int = 1, breaker: bool = True, rollback: bool = True,
                 **more) -> None:
        super().__init__(name)
        self.listen()
        self.ecs.create_cluster(clusterName=name)
        self.settings = {**self.service_settings("x"), "desiredCount": desired, "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": breaker, "rollback": rollback}}, **more}

    def define(self, tag: str) -> str:
        return self.ecs.register_task_definition(
            family=self.name, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[
                {"name": "app", "image": f"nginx:{tag}", "portMappings": [{"containerPort": 80}]}],
        )["taskDefinition"]["taskDefinitionArn"]

    def create(self) -> dict:
        self.ecs.create_service(**self.settings)
        return self.service()

    def update(self, tag: str, **more) -> str:
        definition = self.define(tag)
        self.ecs.update_service(cluster=self.name, service="app", taskDefinition=definition, **more)
        return definition

    def exits(self, code: int | None) -> None:
        server.control("POST", "exits", {"family": self.name, "code": code, "log": ["ended"]})

    def rollout(self) -> tuple:
        first = self.service()["deployments"][0]
        return first["rolloutState"], first["failedTasks"], first["rolloutStateReason"]

    def stopped(self) -> list[dict]:
        arns = self.ecs.list_tasks(cluster=self.name, serviceName="app", desiredStatus="STOPPED")["taskArns"]
        return self.ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"]


BROKEN = "ECS deployment circuit breaker: tasks failed to start."


@check
def a_deployment_whose_tasks_fail_is_ended_and_the_one_before_comes_back() -> None:
    place = Failing("first")
    place.exits(1)
    place.create()
    assert place.rollout() == ("FAILED", 3, BROKEN)
    assert place.rollout() == ("FAILED", 3, BROKEN) and len(place.stopped()) == 3
    for task in place.stopped():
        assert (task["stopCode"], task["stoppedReason"], task["containers"][0]["exitCode"]) == (
            "EssentialContainerExited", "Essential container in task exited", 1)
    place.exits(None)
    place.update("mended")
    assert place.rollout()[:2] == ("COMPLETED", 0)

    place = Failing("back", desired=8)
    good = place.create()["taskDefinition"]
    steady = place.service()["deployments"][0]["id"]
    place.exits(137)
    place.update("bad", loadBalancers=[], platformVersion="1.4.0")
    found = place.service()
    assert (found["platformVersion"], found["loadBalancers"]) == ("LATEST", place.settings["loadBalancers"])
    assert (found["taskDefinition"], found["runningCount"], len(place.stopped())) == (good, 8, 8)
    assert [each["taskDefinition"] for each in found["deployments"]] == [good]
    assert found["deployments"][0]["id"] != steady and place.rollout()[0] == "COMPLETED"
    words = [event["message"] for event in found["events"]]
    assert any(word.endswith("deployment failed: tasks failed to start.") for word in words)
    assert f"(service app) rolling back to deployment {steady}." in words
    assert place.health() == ["healthy"] * 8

    place = Failing("stays", rollback=False)
    place.create()
    place.exits(2)
    bad = place.update("bad")
    found = place.service()
    assert place.rollout() == ("FAILED", 3, BROKEN) and found["taskDefinition"] == bad
    assert [each["runningCount"] for each in found["deployments"]] == [0, 1]
    assert found["deployments"][1]["rolloutState"] == "COMPLETED"

    place = Failing("forever", breaker=False)
    place.exits(1)
    place.create()
    first, second = place.rollout(), place.rollout()
    assert (first[0], second[0]) == ("IN_PROGRESS", "IN_PROGRESS") and 3 <= first[1] < second[1]
    place.exits(None)
    assert place.rollout()[0] == "COMPLETED"

    place = Failing("pulls")
    place.settings["taskDefinition"] = Place.define(place, "absent")
    place.create()
    assert place.rollout() == ("FAILED", 3, BROKEN)
    assert "CannotPullContainerError" in place.stopped()[0]["stoppedReason"]


@check
def a_deployment_fails_and_goes_back_in_its_time() -> None:
    server.control("POST", "scale", {"scale": 0.005})
    try:
        place = Failing("slowly")
        good = place.create()["taskDefinition"]
        until(lambda: place.rollout()[0] == "COMPLETED")
        place.exits(1)
        bad = place.update("bad")
        steps = []
        until(lambda: steps.append(place.service()["deployments"]) or "rolling back" in
              steps[-1][0]["rolloutStateReason"])
        failed = [step[0]["failedTasks"] for step in steps[:-1]]
        assert set(failed) == {0, 1, 2} and failed == sorted(failed), failed
        back, ended, *_ = steps[-1]
        seen = [tuple(each[name] for name in ("taskDefinition", "rolloutState", "status"))
                for each in (back, ended)]
        assert seen == [(good, "IN_PROGRESS", "PRIMARY"), (bad, "FAILED", "ACTIVE")], seen
        assert ended["rolloutStateReason"] == BROKEN and place.service()["taskDefinition"] == good
        until(lambda: place.rollout()[0] == "COMPLETED")
        assert len(place.service()["deployments"]) == 1
    finally:
        server.control("POST", "scale", {"scale": 0})


@check
def targets_that_fail_their_checks_end_their_tasks() -> None:
    place = Failing("ill", healthCheckGracePeriodSeconds=60)
    place.create()
    assert place.health() == ["healthy"]
    server.control("POST", "unhealthy", {"targetGroup": "ill", "reason": "Target.ResponseCodeMismatch"})
    health = place.elb.describe_target_health(TargetGroupArn=place.targets)["TargetHealthDescriptions"][0]
    assert (health["TargetHealth"]["State"], health["TargetHealth"]["Reason"]) == (
        "unhealthy", "Target.ResponseCodeMismatch")
    # A deployment that was completed doesn't fail any more; its tasks are replaced.
    assert place.rollout()[:2] == ("COMPLETED", 0) and len(place.stopped()) >= 1
    assert place.stopped()[0]["stoppedReason"] == (
        f"Task failed ELB health checks in (target-group {place.targets})")
    assert any("is unhealthy in (target-group" in event["message"] for event in place.service()["events"])
    server.control("POST", "unhealthy", {"targetGroup": "ill", "healthy": True})
    assert place.health() == ["healthy"]
    good = place.service()["taskDefinition"]
    server.control("POST", "unhealthy", {"targetGroup": "ill", "new": True})
    assert place.health() == ["healthy"]
    place.update("bad")
    assert place.service()["taskDefinition"] == good and place.rollout()[0] == "COMPLETED"
    # Where the one before fails as well, ECS goes back once.
    server.control("POST", "unhealthy", {"targetGroup": "ill"})
    place.update("worse")
    assert place.service()["taskDefinition"] == good and place.rollout()[0] == "FAILED"
    words = [event["message"] for event in place.service()["events"]]
    assert len([word for word in words if "rolling back" in word]) == 2, words
    server.control("POST", "unhealthy", {"targetGroup": "ill", "healthy": True})
    server.control("POST", "scale", {"scale": 0.01})
    try:
        slow = Failing("grace", healthCheckGracePeriodSeconds=200, rollback=False)
        server.control("POST", "unhealthy", {"targetGroup": "grace", "reason": "Target.Timeout"})
        slow.create()
        until(lambda: slow.service()["runningCount"] == 1)
        begun = time.time()
        assert slow.rollout()[:2] == ("IN_PROGRESS", 0)
        until(lambda: slow.rollout()[1] == 1)
        assert 1.5 < time.time() - begun < 4
        server.control("POST", "unhealthy", {"targetGroup": "grace", "healthy": True})
        until(lambda: slow.rollout()[0] == "COMPLETED")
    finally:
        server.control("POST", "scale", {"scale": 0})
        server.control("POST", "unhealthy", {"targetGroup": "grace", "healthy": True})


@check
def a_services_tasks_are_in_cloud_map_while_they_run() -> None:
    place, discovery = Failing("mapped", desired=2), server.client("servicediscovery")
    asked = discovery.create_private_dns_namespace(Name="mapped.internal", Vpc=place.vpc)["OperationId"]
    home = discovery.get_operation(OperationId=asked)["Operation"]["Targets"]["NAMESPACE"]
    service = discovery.create_service(Name="app", NamespaceId=home, DnsConfig={
        "DnsRecords": [{"Type": "A", "TTL": 10}]})["Service"]

    def known() -> dict[str, str]:
        listed = discovery.list_instances(ServiceId=service["Id"])["Instances"]
        return {each["Id"]: each["Attributes"]["AWS_INSTANCE_IPV4"] for each in listed}

    def running() -> dict[str, str]:
        arns = place.ecs.list_tasks(cluster="mapped", serviceName="app")["taskArns"]
        tasks = place.ecs.describe_tasks(cluster="mapped", tasks=arns)["tasks"] if arns else []
        return {task["taskArn"].rsplit("/", 1)[-1]:
                task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks}

    registries = [{"registryArn": service["Arn"]}]
    place.settings["serviceRegistries"] = registries
    assert place.create()["serviceRegistries"] == registries
    first = running()
    assert len(first) == 2 and known() == first
    place.ecs.stop_task(cluster="mapped", task=next(iter(first)))
    assert place.service()["runningCount"] == 2 and known() == running() != first
    # Another registry, or none, makes new tasks.
    place.ecs.update_service(cluster="mapped", service="app", serviceRegistries=[])
    assert place.service()["serviceRegistries"] == [] and known() == {} and len(running()) == 2
    place.ecs.update_service(cluster="mapped", service="app", serviceRegistries=registries)
    assert known() == running() and len(known()) == 2
    place.ecs.delete_service(cluster="mapped", service="app", force=True)
    assert known() == {}
    given = Given("mapped-given", 3)
    bridge = {"taskDefinition": given.define("mapped-bridge"), "desiredCount": 1}
    assert "'host' or 'bridge' for networkMode" in refused(
        "InvalidParameterException", given.service, name="app", **bridge, serviceRegistries=registries)


@check
def fargate_takes_only_its_own_sizes() -> None:
    ecs = server.client("ecs")
    wanted = {"family": "sizes", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc",
              "containerDefinitions": [{"name": "app", "image": "nginx",
                                        "portMappings": [{"containerPort": 80}]}]}
    for cpu, memory in (("256", "512"), ("256", "1024"), ("256", "2048"), ("4096", "30720")):
        ecs.register_task_definition(**wanted, cpu=cpu, memory=memory)
    made = ecs.describe_task_definition(taskDefinition="sizes")["taskDefinition"]["containerDefinitions"]
    assert made[0]["portMappings"] == [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}]
    for cpu, memory in (("256", "1536"), ("256", "4096"), ("300", "512"), ("512", "512")):
        refused("ClientException", ecs.register_task_definition, **wanted, cpu=cpu, memory=memory)
    refused("ClientException", ecs.register_task_definition, **{**wanted, "networkMode": "bridge"}, cpu="256",
            memory="512")


@check
def a_secret_without_a_value_has_none_and_a_deleted_ones_name_is_taken() -> None:
    secrets = server.client("secretsmanager")
    assert "VersionId" not in secrets.create_secret(Name="empty")
    refused("ResourceNotFoundException", secrets.get_secret_value, SecretId="empty")
    put = {"SecretId": "empty", "SecretString": "one", "ClientRequestToken": "0" * 32}
    secrets.put_secret_value(**put)
    secrets.put_secret_value(**put)
    refused("ResourceExistsException", secrets.put_secret_value, **{**put, "SecretString": "two"})
    assert secrets.get_secret_value(SecretId="empty")["SecretString"] == "one"
    secrets.put_secret_value(**{**put, "SecretString": "two", "ClientRequestToken": "1" * 32})
    assert secrets.put_secret_value(**put)["VersionStages"] == ["AWSPREVIOUS"]
    assert secrets.get_secret_value(SecretId="empty")["SecretString"] == "two"
    assert secrets.get_secret_value(SecretId="empty", VersionId="0" * 32)["SecretString"] == "one"
    secrets.delete_secret(SecretId="empty")
    refused("InvalidRequestException", secrets.create_secret, Name="empty")


@check
def balancers_are_refused_and_repeated_as_on_aws() -> None:
    place, api = Place("balanced"), server.client("apigateway")
    arn = place.balancer["LoadBalancerArn"]
    assert ":loadbalancer/net/balanced/" in arn
    again = place.elb.create_load_balancer(**place.balancer_settings())["LoadBalancers"][0]
    assert again["LoadBalancerArn"] == arn
    refused("DuplicateLoadBalancerName", place.elb.create_load_balancer,
            **{**place.balancer_settings(), "Scheme": "internet-facing"})
    place.elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[],
                                  EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic="off")
    described = place.elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
    assert described["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == "off"
    place.listen()
    try:
        place.listen()
        raise AssertionError("a second listener on the port")
    except ClientError as refusal:
        assert refusal.response["Error"]["Code"] == "DuplicateListener"
    refused("DependencyViolation", place.ec2.delete_subnet, SubnetId=place.subnet)
    link = api.create_vpc_link(name="balanced", targetArns=[arn])["id"]
    refused("ResourceInUse", place.elb.delete_load_balancer, LoadBalancerArn=arn)
    api.delete_vpc_link(vpcLinkId=link)
    protect = {"Key": "deletion_protection.enabled", "Value": "true"}
    place.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[protect])
    refused("OperationNotPermitted", place.elb.delete_load_balancer, LoadBalancerArn=arn)
    place.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{**protect, "Value": "false"}])
    place.elb.delete_load_balancer(LoadBalancerArn=arn)
    place.ec2.delete_subnet(SubnetId=place.subnet)


class Shared:
    """An application balancer with a listener that answers 404, and a target group."""

    def __init__(self, name: str) -> None:
        place = Place(name)
        self.elb, self.targets = place.elb, [self.group(place, f"{name}-{each}") for each in ("one", "two")]
        self.balancer = self.elb.create_load_balancer(
            Name=f"{name}-shared", Type="application", Scheme="internal", Subnets=[place.subnet],
            SecurityGroups=[place.group])["LoadBalancers"][0]["LoadBalancerArn"]

    @staticmethod
    def group(place: Place, name: str) -> str:
        return place.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=place.vpc,
            TargetType="ip")["TargetGroups"][0]["TargetGroupArn"]

    def settings(self, port: int, *certificates: str, **more) -> dict:
        return {"LoadBalancerArn": self.balancer, "Port": port, "Protocol": "HTTPS" if certificates else "HTTP",
                "Certificates": [{"CertificateArn": each} for each in certificates], "DefaultActions": [
                    {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}], **more}

    def listen(self, port: int, *certificates: str) -> str:
        return self.elb.create_listener(**self.settings(port, *certificates))["Listeners"][0]["ListenerArn"]

    def rule(self, listener: str, priority: int, group: int) -> dict:
        return {"ListenerArn": listener, "Priority": priority,
                "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": [f"/{priority}"]}}],
                "Actions": [{"Type": "forward", "TargetGroupArn": self.targets[group]}]}

    def senders(self, group: int) -> list[str]:
        found = self.elb.describe_target_groups(TargetGroupArns=[self.targets[group]])["TargetGroups"]
        return found[0]["LoadBalancerArns"]


@check
def a_listener_takes_issued_certificates_one_a_call_and_keeps_those_beside_its_own() -> None:
    shared, acm = Shared("secure"), server.client("acm")
    names = ("first.test", "second.test", "third.test")
    arns = [acm.request_certificate(DomainName=name, ValidationMethod="DNS")["CertificateArn"]
            for name in names]
    # Each refusal is tried before its name's record is there.
    refused("UnsupportedCertificate", shared.elb.create_listener, **shared.settings(443, arns[0]))
    refused("CertificateNotFound", shared.elb.create_listener, **shared.settings(443, arns[0] + "0"))
    refused("ValidationError", shared.elb.create_listener, **shared.settings(443, Protocol="HTTPS"))
    server.control("POST", "domains", {"domain": names[0]})
    listener = shared.listen(443, arns[0])
    one, two = [{"CertificateArn": arns[1]}], [{"CertificateArn": arn} for arn in arns[1:]]
    for change in (shared.elb.add_listener_certificates, shared.elb.modify_listener):
        refused("UnsupportedCertificate", change, ListenerArn=listener, Certificates=one)
    for name in names:
        server.control("POST", "domains", {"domain": name})
    refused("ValidationError", shared.elb.add_listener_certificates, ListenerArn=listener, Certificates=two)
    for _ in range(2):
        shared.elb.add_listener_certificates(ListenerArn=listener, Certificates=one)

    def beside() -> list[str]:
        found = shared.elb.describe_listener_certificates(ListenerArn=listener)["Certificates"]
        return [each["CertificateArn"] for each in found if not each["IsDefault"]]

    def own() -> list[str]:
        found = shared.elb.describe_listeners(ListenerArns=[listener])["Listeners"][0]["Certificates"]
        return [each["CertificateArn"] for each in found]

    assert (own(), beside()) == (arns[:1], arns[1:2])
    refused("SSLPolicyNotFound", shared.elb.create_listener,
            **shared.settings(444, arns[0], SslPolicy="ELBSecurityPolicy-None"))
    plain = shared.listen(80)
    described = shared.elb.describe_listeners(ListenerArns=[listener, plain])["Listeners"]
    assert {each["Port"]: each.get("SslPolicy") for each in described} == {
        443: "ELBSecurityPolicy-2016-08", 80: None}
    shared.elb.delete_listener(ListenerArn=plain)
    shared.elb.modify_listener(ListenerArn=listener, Certificates=two[1:])
    assert (own(), beside()) == (arns[2:], arns[1:2])
    refused("OperationNotPermitted", shared.elb.remove_listener_certificates, ListenerArn=listener,
            Certificates=two[1:])
    refused("ValidationError", shared.elb.remove_listener_certificates, ListenerArn=listener, Certificates=two)
    shared.elb.remove_listener_certificates(ListenerArn=listener, Certificates=one)
    assert beside() == []
    shared.elb.delete_listener(ListenerArn=listener)
    for arn in arns:
        acm.delete_certificate(CertificateArn=arn)


@check
def rules_have_numbers_of_their_own_change_places_and_say_which_balancer_sends_to_a_group() -> None:
    shared = Shared("ordered")
    listener = shared.listen(80)
    assert shared.senders(0) == []
    first, second = (shared.elb.create_rule(**shared.rule(listener, number, number - 1))["Rules"][0]["RuleArn"]
                     for number in (1, 2))
    refused("PriorityInUse", shared.elb.create_rule, **shared.rule(listener, 2, 0))
    assert shared.senders(0) == shared.senders(1) == [shared.balancer]

    def order(**numbers: int) -> dict:
        arns = {"first": first, "second": second}
        return {"RulePriorities": [{"RuleArn": arns[name], "Priority": number}
                                   for name, number in numbers.items()]}

    refused("PriorityInUse", shared.elb.set_rule_priorities, **order(first=2))
    shared.elb.set_rule_priorities(**order(first=2, second=1))
    rules = shared.elb.describe_rules(ListenerArn=listener)["Rules"]
    assert {rule["RuleArn"]: rule["Priority"] for rule in rules if not rule["IsDefault"]} == {
        first: "2", second: "1"}
    shared.elb.modify_rule(RuleArn=first, Actions=shared.rule(listener, 2, 1)["Actions"])
    assert (shared.senders(0), shared.senders(1)) == ([], [shared.balancer])
    for rule in (first, second):
        shared.elb.delete_rule(RuleArn=rule)
    assert shared.senders(1) == []
    refused("RuleNotFound", shared.elb.delete_rule, RuleArn=first)


@check
def a_network_balancers_check_says_what_is_well() -> None:
    place = Place("well")
    checked = {"HealthCheckProtocol": "HTTP", "HealthCheckPath": "/", "HealthCheckPort": "9000"}
    place.elb.modify_target_group(TargetGroupArn=place.targets, Matcher={"HttpCode": "200-299"}, **checked)
    found = place.elb.describe_target_groups(TargetGroupArns=[place.targets])["TargetGroups"][0]
    assert (found["Matcher"], found["HealthCheckPort"]) == ({"HttpCode": "200-299"}, "9000"), found


@check
def an_api_goes_over_its_link_and_is_taken_down_in_order() -> None:
    place, api = Place("linked"), server.client("apigateway")
    link = api.create_vpc_link(name="linked", targetArns=[place.balancer["LoadBalancerArn"]],
                               tags={"a": "b"})["id"]
    assert api.get_vpc_link(vpcLinkId=link)["status"] == "AVAILABLE"
    balancer = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/none/1"
    assert api.create_vpc_link(name="none", targetArns=[balancer])["status"] == "FAILED"
    rest = api.create_rest_api(name="linked")["id"]
    arn = f"arn:aws:apigateway:{REGION}::/restapis/{rest}"
    api.tag_resource(resourceArn=arn, tags={"plinth:protected": "true"})
    assert api.get_rest_api(restApiId=rest)["tags"] == {"plinth:protected": "true"}
    root = api.get_resources(restApiId=rest)["items"][0]["id"]
    where = {"restApiId": rest, "resourceId": root, "httpMethod": "GET"}
    api.put_method(**where, authorizationType="NONE")
    api.put_integration(**where, type="HTTP_PROXY", integrationHttpMethod="GET", uri="http://x",
                        connectionType="VPC_LINK", connectionId=link)
    assert api.get_integration(**where)["connectionId"] == link
    api.create_deployment(restApiId=rest, stageName="live")
    assert f"{rest}:GET:{root}:live" in refused("BadRequestException", api.delete_vpc_link, vpcLinkId=link)
    plan = api.create_usage_plan(name="linked", apiStages=[{"apiId": rest, "stage": "live"}])["id"]
    refused("BadRequestException", api.delete_usage_plan, usagePlanId=plan)
    key = {"keyId": api.create_api_key(name="linked")["id"], "keyType": "API_KEY", "usagePlanId": plan}
    api.create_usage_plan_key(**key)
    refused("ConflictException", api.create_usage_plan_key, **key)


@check
def a_network_is_taken_down_only_in_order() -> None:
    ec2 = server.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    tags = [{"ResourceType": "natgateway", "Tags": [{"Key": "plinth:environment", "Value": "mine"}]}]
    wanted = {"SubnetId": subnet, "AllocationId": address, "ClientToken": "once", "TagSpecifications": tags}
    nat = ec2.create_nat_gateway(**wanted)["NatGateway"]["NatGatewayId"]
    assert ec2.create_nat_gateway(**wanted)["NatGateway"]["NatGatewayId"] == nat
    for owner, found in (("mine", [nat]), ("other", [])):
        named = ec2.describe_nat_gateways(Filter=[{"Name": "tag:plinth:environment", "Values": [owner]}])
        assert [each["NatGatewayId"] for each in named["NatGateways"]] == found
    refused("NatGatewayNotFound", ec2.delete_nat_gateway, NatGatewayId="nat-0123456789abcdef0")
    second = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    refused("InvalidParameterValue", ec2.attach_internet_gateway, InternetGatewayId=second, VpcId=vpc)
    group, other = (ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
                    for name in ("one", "two"))
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "UserIdGroupPairs": [{"GroupId": group}]}])
    endpoint = {"VpcId": vpc, "ServiceName": f"com.amazonaws.{REGION}.logs", "VpcEndpointType": "Interface",
                "SubnetIds": [subnet], "SecurityGroupIds": [other], "PrivateDnsEnabled": True}
    made = ec2.create_vpc_endpoint(**endpoint)["VpcEndpoint"]["VpcEndpointId"]
    refused("InvalidParameter", ec2.create_vpc_endpoint, **endpoint)
    refused("DependencyViolation", ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
    refused("InvalidIPAddress.InUse", ec2.release_address, AllocationId=address)
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=subnet)
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    refused("DependencyViolation", ec2.delete_security_group, GroupId=other)
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.release_address(AllocationId=address)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[made])
    assert made not in [each["VpcEndpointId"] for each in ec2.describe_vpc_endpoints()["VpcEndpoints"]]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=table)
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    for each in (other, group):
        ec2.delete_security_group(GroupId=each)
    ec2.delete_vpc(VpcId=vpc)
    assert vpc not in [each["VpcId"] for each in ec2.describe_network_acls()["NetworkAcls"]]


def write_record(zone: str, action: str, **record) -> dict:
    values = {"ResourceRecords": [{"Value": each} for each in record.pop("values")], "TTL": 300}
    return server.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch={
        "Changes": [{"Action": action, "ResourceRecordSet": {**values, **record}}]})["ChangeInfo"]


@check
def records_are_kept_and_refused_as_on_aws() -> None:
    dns = server.client("route53")
    zone = dns.create_hosted_zone(Name="records.test", CallerReference="records")["HostedZone"]["Id"]
    app = {"Name": "App.records.test", "Type": "CNAME", "values": ["a.test"]}
    assert write_record(zone, "CREATE", **app)["Status"] == "INSYNC"
    refused("InvalidChangeBatch", write_record, zone=zone, action="CREATE", **app)
    refused("InvalidChangeBatch", write_record, zone=zone, action="DELETE", **{**app, "values": ["b.test"]})
    refused("InvalidChangeBatch", write_record, zone=zone, action="CREATE", **{
        **app, "Type": "A", "values": ["192.0.2.1"]})
    refused("InvalidChangeBatch", write_record, zone=zone, action="CREATE", **{**app, "Name": "records.test"})
    refused("InvalidChangeBatch", write_record, zone=zone, action="CREATE", **{**app, "Name": "a.other.test"})
    text = {"Name": "text.records.test", "Type": "TXT"}
    refused("InvalidChangeBatch", write_record, zone=zone, action="CREATE", **text, values=["bare"])
    write_record(zone, "CREATE", **text, values=['"a" "b"'])
    write_record(zone, "CREATE", **{**app, "Name": "*.records.test"})
    names = {each["Name"] for each in dns.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]}
    assert {"app.records.test.", "\\052.records.test."} <= names, names
    refused("HostedZoneNotEmpty", dns.delete_hosted_zone, Id=zone)


@check
def a_zones_reference_is_used_once_and_its_vpc_is_there() -> None:
    dns, ec2 = server.client("route53"), server.client("ec2")
    vpc = {"VPCRegion": REGION, "VPCId": ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]}
    private = {"Name": "private.test", "CallerReference": "private", "VPC": vpc}
    refused("InvalidVPCId", dns.create_hosted_zone, **{**private, "VPC": {**vpc, "VPCId": "vpc-0"}})
    zone = dns.create_hosted_zone(**private)["HostedZone"]["Id"]
    assert dns.get_hosted_zone(Id=zone)["VPCs"] == [vpc]
    refused("HostedZoneAlreadyExists", dns.create_hosted_zone, **private)
    refused("ConflictingDomainExists", dns.create_hosted_zone, **{**private, "CallerReference": "second"})
    dns.delete_hosted_zone(Id=zone)
    refused("HostedZoneAlreadyExists", dns.create_hosted_zone, **private)
    ec2.delete_vpc(VpcId=vpc["VPCId"])


def certificate(arn: str) -> dict:
    return server.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]


@check
def a_certificate_is_issued_when_its_records_are_seen() -> None:
    acm, dns = server.client("acm"), server.client("route53")
    wanted = {"DomainName": "issued.test", "SubjectAlternativeNames": ["*.issued.test", "www.else.test"],
              "ValidationMethod": "DNS", "IdempotencyToken": "token"}
    refused("ValidationException", acm.request_certificate, **{**wanted, "IdempotencyToken": "to-ken"})
    arn = acm.request_certificate(**wanted)["CertificateArn"]
    assert acm.request_certificate(**wanted)["CertificateArn"] == arn
    found = certificate(arn)
    assert found["Status"] == "PENDING_VALIDATION" and "IssuedAt" not in found
    records = {each["DomainName"]: each["ResourceRecord"] for each in found["DomainValidationOptions"]}
    assert records["issued.test"] == records["*.issued.test"] != records["www.else.test"]
    vpc = server.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    hidden = dns.create_hosted_zone(Name="issued.test", CallerReference="hidden", VPC={
        "VPCRegion": REGION, "VPCId": vpc})["HostedZone"]["Id"]
    zone = dns.create_hosted_zone(Name="issued.test", CallerReference="issued")["HostedZone"]["Id"]
    server.control("POST", "domains", {"domain": "www.else.test"})
    record = records["issued.test"]
    for place in (hidden, zone):
        assert certificate(arn)["Status"] == "PENDING_VALIDATION"
        write_record(place, "CREATE", Name=record["Name"], Type="CNAME", values=[record["Value"]])
    assert certificate(arn)["Status"] == "ISSUED"
    summary = next(each for each in acm.list_certificates()["CertificateSummaryList"]
                   if each["CertificateArn"] == arn)
    assert set(summary["SubjectAlternativeNameSummaries"]) == records.keys()
    assert "DomainValidationOptions" not in summary and summary["Status"] == "ISSUED"
    acm.delete_certificate(CertificateArn=arn)
    again = acm.request_certificate(**wanted)["CertificateArn"]
    assert again != arn
    acm.delete_certificate(CertificateArn=again)


@check
def certificates_with_other_keys_are_listed_only_when_asked_for() -> None:
    acm, key = server.client("acm"), ec.generate_private_key(ec.SECP384R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elliptic.test")]), datetime.now(UTC)
    signed = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1),
        now + timedelta(days=1)).sign(key, hashes.SHA384())
    arn = acm.import_certificate(
        Certificate=signed.public_bytes(serialization.Encoding.PEM), PrivateKey=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )["CertificateArn"]

    def listed(**includes) -> bool:
        found = acm.list_certificates(**includes)["CertificateSummaryList"]
        return arn in [each["CertificateArn"] for each in found]

    assert not listed() and listed(Includes={"keyTypes": ["EC_secp384r1"]})
    acm.delete_certificate(CertificateArn=arn)


@check
def a_certificate_that_a_listener_has_stays() -> None:
    acm, place = server.client("acm"), Place("certified")
    server.control("POST", "domains", {"domain": "used.test"})
    arn = acm.request_certificate(DomainName="used.test", ValidationMethod="DNS")["CertificateArn"]
    assert certificate(arn)["Status"] == "ISSUED"
    listener = place.elb.create_listener(
        LoadBalancerArn=place.balancer["LoadBalancerArn"], Port=443, Protocol="TLS",
        Certificates=[{"CertificateArn": arn}],
        DefaultActions=[{"Type": "forward", "TargetGroupArn": place.targets}])["Listeners"][0]["ListenerArn"]
    assert certificate(arn)["InUseBy"] == [place.balancer["LoadBalancerArn"]]
    refused("ResourceInUseException", acm.delete_certificate, CertificateArn=arn)
    place.elb.delete_listener(ListenerArn=listener)
    acm.delete_certificate(CertificateArn=arn)


@check
def with_a_scale_certificates_and_changes_take_their_time() -> None:
    # What comes first is looked at before it can come, on however slow a machine.
    server.control("POST", "scale", {"scale": 1})
    try:
        acm, dns = server.client("acm"), server.client("route53")
        zone = dns.create_hosted_zone(Name="slow.test", CallerReference="slow")["HostedZone"]["Id"]
        arn = acm.request_certificate(DomainName="slow.test", ValidationMethod="DNS")["CertificateArn"]
        assert "ResourceRecord" not in certificate(arn)["DomainValidationOptions"][0]
        server.control("POST", "scale", {"scale": 0.02})
        record = until(lambda: certificate(arn)["DomainValidationOptions"][0].get("ResourceRecord"))
        change = write_record(zone, "CREATE", Name=record["Name"], Type="CNAME", values=[record["Value"]])
        for _ in range(2):
            assert change["Status"] == "PENDING" == dns.get_change(Id=change["Id"])["ChangeInfo"]["Status"]
        assert certificate(arn)["Status"] == "PENDING_VALIDATION"
        until(lambda: dns.get_change(Id=change["Id"])["ChangeInfo"]["Status"] == "INSYNC")
        until(lambda: certificate(arn)["Status"] == "ISSUED")
    finally:
        server.control("POST", "scale", {"scale": 0})


@check
def a_file_system_takes_its_targets_once_it_is_there_and_goes_after_them() -> None:
    efs, ec2 = server.client("efs"), server.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    server.control("POST", "scale", {"scale": 0.05})
    try:
        made = efs.create_file_system(CreationToken="files", Encrypted=True)
        assert made["LifeCycleState"] == "creating" and ":key/" in made["KmsKeyId"]
        identity = made["FileSystemId"]
        refused("FileSystemAlreadyExists", efs.create_file_system, CreationToken="files")
        refused("IncorrectFileSystemLifeCycleState", efs.create_mount_target, FileSystemId=identity,
                SubnetId=subnet)
        until(lambda: efs.describe_file_systems(FileSystemId=identity)["FileSystems"][0]["LifeCycleState"]
              == "available")
        target = efs.create_mount_target(FileSystemId=identity, SubnetId=subnet)
        assert target["LifeCycleState"] == "creating"
        efs.create_access_point(ClientToken="point", FileSystemId=identity)
        refused("AccessPointAlreadyExists", efs.create_access_point, ClientToken="point", FileSystemId=identity)
        refused("FileSystemInUse", efs.delete_file_system, FileSystemId=identity)
        changed = efs.update_file_system(FileSystemId=identity, ThroughputMode="elastic")
        assert changed["ThroughputMode"] == "elastic"
        efs.delete_mount_target(MountTargetId=target["MountTargetId"])

        def left() -> list:
            return efs.describe_mount_targets(FileSystemId=identity)["MountTargets"]

        assert [each["LifeCycleState"] for each in left()] == ["deleting"]
        until(lambda: not left())
        efs.delete_file_system(FileSystemId=identity)
    finally:
        server.control("POST", "scale", {"scale": 0})


@check
def with_a_scale_nothing_is_ready_at_once() -> None:
    server.control("POST", "scale", {"scale": 0.01})
    try:
        place, ec2, api = Place("lagging"), server.client("ec2"), server.client("apigateway")
        place.listen()
        place.ecs.create_cluster(clusterName="lagging")
        settings = place.service_settings("x")
        public = place.ecs.register_task_definition(
            family="public", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
            memory="512", containerDefinitions=[
                {"name": "app", "image": "nginx", "portMappings": [{"containerPort": 80}]}],
        )["taskDefinition"]["taskDefinitionArn"]
        place.ecs.create_service(**{**settings, "taskDefinition": public})
        nat = ec2.create_nat_gateway(SubnetId=place.subnet, ConnectivityType="private")["NatGateway"]
        endpoint = ec2.create_vpc_endpoint(
            VpcId=place.vpc, ServiceName=f"com.amazonaws.{REGION}.logs", VpcEndpointType="Interface",
            SubnetIds=[place.subnet])["VpcEndpoint"]
        assert (nat["State"], endpoint["State"]) == ("pending", "pending"), (nat, endpoint)
        assert place.service()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
        targets = [place.balancer["LoadBalancerArn"]]
        early = api.create_vpc_link(name="early", targetArns=targets)
        assert early["status"] == "FAILED" and "not in active state" in early["statusMessage"], early

        def balancer() -> str:
            return place.elb.describe_load_balancers(Names=["lagging"])["LoadBalancers"][0]["State"]["Code"]

        assert balancer() == "provisioning"
        until(lambda: balancer() == "active")
        assert api.get_vpc_link(vpcLinkId=early["id"])["status"] == "FAILED"
        link = api.create_vpc_link(name="lagging", targetArns=targets)
        assert link["status"] == "PENDING", link

        def state() -> tuple:
            found = ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])["VpcEndpoints"][0]
            return (ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])["NatGateways"][0]["State"],
                    found["State"], api.get_vpc_link(vpcLinkId=link["id"])["status"],
                    place.service()["deployments"][0]["rolloutState"])

        until(lambda: state() == ("available", "available", "AVAILABLE", "COMPLETED"))
        ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
        assert state()[0] == "deleting"
        until(lambda: state()[0] == "deleted")
    finally:
        server.control("POST", "scale", {"scale": 0})


class Databases:
    """A network in two zones, and databases in it."""

    def __init__(self, name: str) -> None:
        self.ec2, self.rds, self.name = server.client("ec2"), server.client("rds"), name
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [self.ec2.create_subnet(
            VpcId=self.vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"{REGION}{zone}",
        )["Subnet"]["SubnetId"] for index, zone in enumerate("ab")]
        self.group = self.ec2.create_security_group(
            GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        self.grouping = {"DBSubnetGroupName": name, "DBSubnetGroupDescription": name}
        self.rds.create_db_subnet_group(**self.grouping, SubnetIds=self.subnets)
        self.master = {"MasterUsername": "app", "MasterUserPassword": "pAss1234"}
        self.place = {"DBSubnetGroupName": name, "VpcSecurityGroupIds": [self.group]}

    def cluster(self, **more) -> dict:
        return self.rds.create_db_cluster(**{
            "DBClusterIdentifier": self.name, "Engine": "aurora-postgresql", "EngineVersion": "16.9",
            "StorageEncrypted": True, **self.master, **self.place,
            "ServerlessV2ScalingConfiguration": {"MinCapacity": 0.5, "MaxCapacity": 2}, **more})["DBCluster"]

    def member(self, **more) -> dict:
        return self.rds.create_db_instance(**{
            "DBInstanceIdentifier": f"{self.name}-1", "DBClusterIdentifier": self.name,
            "Engine": "aurora-postgresql", "DBInstanceClass": "db.serverless", **more})["DBInstance"]

    def instance(self, **more) -> dict:
        return self.rds.create_db_instance(**{
            "DBInstanceIdentifier": self.name, "Engine": "postgres", "EngineVersion": "16.9",
            "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": 20, "StorageType": "gp3", **self.master,
            **self.place, **more})["DBInstance"]


@check
def versions_and_classes_of_databases_are_told() -> None:
    rds = server.client("rds")
    versions = rds.describe_db_engine_versions(Engine="aurora-postgresql")["DBEngineVersions"]
    found = {each["EngineVersion"]: each for each in versions}
    assert "13.6" not in found and found["16.9"]["MajorEngineVersion"] == "16"
    targets = {each["EngineVersion"]: each["IsMajorVersionUpgrade"]
               for each in found["16.9"]["ValidUpgradeTarget"]}
    assert targets["16.10"] is False and targets["17.10"] is True and "16.8" not in targets
    old = {each["EngineVersion"]: each for each in
           rds.describe_db_engine_versions(Engine="mysql")["DBEngineVersions"]}["5.7.44-rds.20260521"]
    assert {each["EngineVersion"][:3] for each in old["ValidUpgradeTarget"]} == {"8.0"}

    def classes(engine: str, version: str, name: str) -> list[str]:
        options = rds.describe_orderable_db_instance_options(
            Engine=engine, EngineVersion=version, DBInstanceClass=name)["OrderableDBInstanceOptions"]
        return sorted(each["StorageType"] for each in options)

    assert classes("postgres", "16.9", "db.t4g.micro") == ["gp2", "gp3"]
    assert classes("postgres", "16.9", "db.t2.micro") == []
    assert classes("aurora-mysql", "8.0.mysql_aurora.3.10.1", "db.serverless") == ["aurora"]
    assert classes("aurora-mysql", "5.7.mysql_aurora.2.12.5", "db.serverless") == []


@check
def a_database_is_refused_and_taken_down_as_on_aws() -> None:
    place = Databases("guarded")
    rds = place.rds
    refused("DBSubnetGroupAlreadyExists", rds.create_db_subnet_group, **place.grouping,
            SubnetIds=place.subnets)
    refused("DBSubnetGroupDoesNotCoverEnoughAZs", rds.create_db_subnet_group, DBSubnetGroupName="narrow",
            DBSubnetGroupDescription="one zone", SubnetIds=place.subnets[:1])
    rds.modify_db_subnet_group(DBSubnetGroupName=place.name, SubnetIds=place.subnets)
    assert rds.describe_db_subnet_groups(DBSubnetGroupName=place.name)["DBSubnetGroups"]
    refused("InvalidParameterCombination", place.instance, EngineVersion="13.6")
    refused("InvalidParameterCombination", place.instance, DBInstanceClass="db.t2.micro")
    refused("DBSubnetGroupNotFoundFault", place.cluster, DBSubnetGroupName="none")
    cluster = place.cluster(ServerlessV2ScalingConfiguration={}, Tags=[{"Key": "a", "Value": "b"}])
    assert cluster["TagList"] == [{"Key": "a", "Value": "b"}] and ":key/" in cluster["KmsKeyId"]
    refused("DBClusterAlreadyExistsFault", place.cluster)
    refused("InvalidParameterValue", place.member)
    scale = {"MinCapacity": 1, "MaxCapacity": 4}
    rds.modify_db_cluster(DBClusterIdentifier=place.name, ServerlessV2ScalingConfiguration=scale)
    found = rds.describe_db_clusters(DBClusterIdentifier=place.name)["DBClusters"][0]
    assert found["ServerlessV2ScalingConfiguration"] == scale and found["Status"] == "available", found
    refused("DBClusterNotFoundFault", rds.modify_db_cluster, DBClusterIdentifier="none")
    place.member()
    refused("InvalidParameterCombination", rds.modify_db_cluster, DBClusterIdentifier=place.name,
            EngineVersion="17.10")
    refused("InvalidParameterCombination", rds.modify_db_cluster, DBClusterIdentifier=place.name,
            EngineVersion="15.13", AllowMajorVersionUpgrade=True)
    rds.modify_db_cluster(DBClusterIdentifier=place.name, EngineVersion="17.10",
                          AllowMajorVersionUpgrade=True)
    refused("DependencyViolation", place.ec2.delete_security_group, GroupId=place.group)
    refused("InvalidDBSubnetGroupStateFault", rds.delete_db_subnet_group, DBSubnetGroupName=place.name)
    refused("InvalidDBClusterStateFault", rds.delete_db_cluster, DBClusterIdentifier=place.name,
            SkipFinalSnapshot=True)
    rds.delete_db_instance(DBInstanceIdentifier=f"{place.name}-1", SkipFinalSnapshot=True)
    refused("InvalidParameterCombination", rds.delete_db_cluster, DBClusterIdentifier=place.name)
    rds.delete_db_cluster(DBClusterIdentifier=place.name, FinalDBSnapshotIdentifier="guarded-last")
    kept = rds.describe_db_cluster_snapshots(DBClusterIdentifier=place.name)["DBClusterSnapshots"]
    assert [each["DBClusterSnapshotIdentifier"] for each in kept] == ["guarded-last"], kept

    place.cluster()
    refused("DBClusterSnapshotAlreadyExistsFault", rds.delete_db_cluster, DBClusterIdentifier=place.name,
            FinalDBSnapshotIdentifier="guarded-last")
    rds.delete_db_cluster(DBClusterIdentifier=place.name, SkipFinalSnapshot=True)
    restored = rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="again", SnapshotIdentifier="guarded-last", Engine="aurora-postgresql",
        **place.place, Tags=[{"Key": "c", "Value": "d"}])["DBCluster"]
    assert restored["EngineVersion"] == "17.10" and restored["TagList"] == [{"Key": "c", "Value": "d"}]
    rds.modify_db_cluster(DBClusterIdentifier="again", MasterUserPassword="pAss12345")
    rds.delete_db_cluster(DBClusterIdentifier="again", SkipFinalSnapshot=True)

    place.instance(StorageEncrypted=True)
    rds.modify_db_instance(DBInstanceIdentifier=place.name, DBPortNumber=5433, AllocatedStorage=30)
    found = rds.describe_db_instances(DBInstanceIdentifier=place.name)["DBInstances"][0]
    assert (found["Endpoint"]["Port"], found["AllocatedStorage"]) == (5433, 30)
    server.control("POST", "database", {"name": place.name, "version": "16.12", "storage": 40})
    found = rds.describe_db_instances(DBInstanceIdentifier=place.name)["DBInstances"][0]
    assert (found["EngineVersion"], found["AllocatedStorage"]) == ("16.12", 40), found
    assert ":key/" in found["KmsKeyId"]
    refused("InvalidParameterCombination", rds.modify_db_instance, DBInstanceIdentifier=place.name,
            AllocatedStorage=20)
    refused("InvalidParameterCombination", rds.delete_db_instance, DBInstanceIdentifier=place.name)
    rds.delete_db_instance(DBInstanceIdentifier=place.name, FinalDBSnapshotIdentifier="plain-last")
    restored = rds.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="again", DBSnapshotIdentifier="plain-last", **place.place)["DBInstance"]
    assert restored["DBInstanceStatus"] == "available"
    refused("DBSnapshotAlreadyExists", rds.delete_db_instance, DBInstanceIdentifier="again",
            FinalDBSnapshotIdentifier="plain-last")
    rds.delete_db_instance(DBInstanceIdentifier="again", SkipFinalSnapshot=True)
    rds.delete_db_subnet_group(DBSubnetGroupName=place.name)
    place.ec2.delete_security_group(GroupId=place.group)
    for subnet in place.subnets:
        place.ec2.delete_subnet(SubnetId=subnet)


@check
def with_a_scale_databases_take_their_time() -> None:
    place = Databases("slow")
    rds = place.rds

    def states() -> tuple[str, ...]:
        clusters = rds.describe_db_clusters()["DBClusters"]
        instances = rds.describe_db_instances()["DBInstances"]
        return (*[each["Status"] for each in clusters], *[each["DBInstanceStatus"] for each in instances])

    server.control("POST", "scale", {"scale": 0.01})
    try:
        place.cluster()
        place.member()
        assert "Endpoint" not in place.instance()
        assert states() == ("creating", "creating", "creating"), states()
        refused("InvalidDBInstanceState", rds.modify_db_instance, DBInstanceIdentifier=place.name,
                MultiAZ=True)
        until(lambda: states() == ("available", "creating", "available"))
        until(lambda: states() == ("available", "available", "available"))
        rds.modify_db_cluster(DBClusterIdentifier=place.name, BackupRetentionPeriod=3)
        rds.modify_db_instance(DBInstanceIdentifier=place.name, EngineVersion="16.10")
        assert states() == ("modifying", "available", "upgrading"), states()
        until(lambda: states() == ("available", "available", "available"))
        for each in (place.name, f"{place.name}-1"):
            rds.delete_db_instance(DBInstanceIdentifier=each, SkipFinalSnapshot=True)
        assert states() == ("available", "deleting", "deleting"), states()
        refused("InvalidDBInstanceState", rds.delete_db_instance, DBInstanceIdentifier=place.name,
                SkipFinalSnapshot=True)
        until(lambda: states() == ("available",))
        rds.delete_db_cluster(DBClusterIdentifier=place.name, SkipFinalSnapshot=True)
        assert states() == ("deleting",)
        until(lambda: states() == ())
    finally:
        server.control("POST", "scale", {"scale": 0})


@check
def databases_stop_and_start_in_their_time_and_are_left_alone_meanwhile() -> None:
    place = Databases("asleep")
    rds = place.rds

    def states() -> tuple[str, ...]:
        clusters = rds.describe_db_clusters()["DBClusters"]
        instances = rds.describe_db_instances()["DBInstances"]
        return (*[each["Status"] for each in clusters], *[each["DBInstanceStatus"] for each in instances])

    scale = {"MinCapacity": 1, "MaxCapacity": 4}
    place.cluster()
    rds.modify_db_cluster(DBClusterIdentifier=place.name, ServerlessV2ScalingConfiguration=scale)
    place.member()
    place.instance()
    refused("InvalidDBInstanceState", rds.stop_db_instance, DBInstanceIdentifier=f"{place.name}-1")
    refused("InvalidDBInstanceState", rds.start_db_instance, DBInstanceIdentifier=place.name)
    server.control("POST", "scale", {"scale": 0.02})
    try:
        until(lambda: states() == ("available", "available", "available"), 30)
        rds.stop_db_cluster(DBClusterIdentifier=place.name)
        rds.stop_db_instance(DBInstanceIdentifier=place.name)
        assert states() == ("stopping", "stopping", "stopping"), states()
        refused("InvalidDBInstanceState", rds.stop_db_instance, DBInstanceIdentifier=place.name)
        until(lambda: states() == ("stopped", "stopped", "stopped"), 30)
        assert "Endpoint" in rds.describe_db_instances(DBInstanceIdentifier=place.name)["DBInstances"][0]
        refused("InvalidDBClusterStateFault", rds.stop_db_cluster, DBClusterIdentifier=place.name)
        refused("InvalidDBClusterStateFault", rds.delete_db_instance,
                DBInstanceIdentifier=f"{place.name}-1", SkipFinalSnapshot=True)
        refused("InvalidDBClusterStateFault", rds.modify_db_cluster, DBClusterIdentifier=place.name,
                BackupRetentionPeriod=3)
        refused("InvalidDBInstanceState", rds.modify_db_instance, DBInstanceIdentifier=place.name,
                MultiAZ=True)
        rds.start_db_cluster(DBClusterIdentifier=place.name)
        rds.start_db_instance(DBInstanceIdentifier=place.name)
        assert states() == ("starting", "starting", "starting"), states()
        until(lambda: states() == ("available", "available", "available"), 30)
    finally:
        server.control("POST", "scale", {"scale": 0})
    for each in (f"{place.name}-1", place.name):
        rds.delete_db_instance(DBInstanceIdentifier=each, SkipFinalSnapshot=True)
    rds.delete_db_cluster(DBClusterIdentifier=place.name, SkipFinalSnapshot=True)
    assert states() == ()


def package(content: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as made:
        made.writestr(zipfile.ZipInfo("bootstrap"), content)
    return code.getvalue()


@check
def a_functions_code_and_role_must_be_there_and_its_image_is_told_by_digest() -> None:
    lambdas, s3, ecr, iam = (server.client(each) for each in ("lambda", "s3", "ecr", "iam"))
    s3.create_bucket(Bucket="code")
    arn, settings = role("coded"), {"Runtime": "provided.al2023", "Handler": "bootstrap"}
    code = {"S3Bucket": "code", "S3Key": "a.zip"}
    assert "NoSuchKey" in refused("InvalidParameterValueException", lambdas.create_function, **settings,
                                  FunctionName="coded", Role=arn, Code=code)
    s3.put_object(Bucket="code", Key="a.zip", Body=package("one"))
    trust = {"Version": "2012-10-17", "Statement": []}
    stranger = iam.create_role(RoleName="stranger", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    assert "cannot be assumed" in refused("InvalidParameterValueException", lambdas.create_function,
                                          **settings, FunctionName="coded", Role=stranger, Code=code)
    made = lambdas.create_function(**settings, FunctionName="coded", Role=arn, Code=code)
    assert made["State"] == "Pending"
    lambdas.get_waiter("function_active_v2").wait(FunctionName="coded", WaiterConfig={"Delay": 1})
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/coded:1"
    image = {"PackageType": "Image", "Role": arn, "Code": {"ImageUri": uri}}
    ecr.create_repository(repositoryName="coded")
    refused("InvalidParameterValueException", lambdas.create_function, FunctionName="imaged", **image)
    pushed = ecr.put_image(repositoryName="coded", imageTag="1", imageManifest=MANIFEST)["image"]["imageId"]
    refused("InvalidParameterValueException", lambdas.update_function_code, FunctionName="coded",
            ImageUri=uri)
    lambdas.create_function(FunctionName="imaged", **image)
    ecr.put_image(repositoryName="coded", imageTag="1", imageManifest=MANIFEST + " ")
    told = lambdas.get_function(FunctionName="imaged")["Code"]
    assert told["ResolvedImageUri"] == f"{uri.removesuffix(':1')}@{pushed['imageDigest']}"


@check
def a_function_takes_one_change_at_a_time_and_has_a_policy_only_when_it_says_something() -> None:
    lambdas, change = server.client("lambda"), {"FunctionName": "changed", "Timeout": 7}
    arn = function("changed")
    refused("ResourceConflictException", lambdas.update_function_configuration, **change)
    lambdas.get_waiter("function_active_v2").wait(FunctionName="changed", WaiterConfig={"Delay": 1})
    changed = lambdas.update_function_configuration(**change)
    assert (changed["State"], changed["LastUpdateStatus"]) == ("Active", "InProgress")
    refused("ResourceConflictException", lambdas.update_function_code, FunctionName="changed",
            ZipFile=package("two"))
    refused("ResourceConflictException", lambdas.tag_resource, Resource=arn, Tags={"a": "b"})
    lambdas.get_waiter("function_updated_v2").wait(FunctionName="changed", WaiterConfig={"Delay": 1})
    lambdas.tag_resource(Resource=arn, Tags={"a": "b"})
    refused("ResourceNotFoundException", lambdas.get_policy, FunctionName="changed")
    allow = {"FunctionName": "changed", "StatementId": "one", "Action": "lambda:InvokeFunction",
             "Principal": "elasticloadbalancing.amazonaws.com", "SourceArn": "arn:target"}
    lambdas.add_permission(**allow)
    refused("ResourceConflictException", lambdas.add_permission, **allow)
    statement = json.loads(lambdas.get_policy(FunctionName="changed")["Policy"])["Statement"][0]
    assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:target"}}
    lambdas.remove_permission(FunctionName="changed", StatementId="one")
    refused("ResourceNotFoundException", lambdas.get_policy, FunctionName="changed")


@check
def who_makes_a_function_passes_its_role_and_reads_its_code_and_its_tags() -> None:
    server.client("s3").create_bucket(Bucket="read")
    server.client("s3").put_object(Bucket="read", Key="a.zip", Body=package("one"))
    ec2 = server.client("ec2")
    network = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.77.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="made", Description="made", VpcId=network)["GroupId"]
    worker, vpc = role("worker"), {"SubnetIds": [subnet], "SecurityGroupIds": [group]}
    allowed = [("lambda:CreateFunction", "*"), ("lambda:GetFunction", "*"), ("iam:PassRole", worker),
               ("s3:GetObject", "arn:aws:s3:::read/*"), ("ec2:Describe*", "*")]
    make = {"FunctionName": "made", "Role": worker, "Runtime": "provided.al2023", "Handler": "bootstrap",
            "Code": {"S3Bucket": "read", "S3Key": "a.zip"}, "VpcConfig": vpc, "Tags": {"a": "b"}}
    for missing in allowed[2:]:
        name = f"without-{missing[0].replace(':', '-').strip('*')}"
        function(name, *(each for each in allowed if each != missing))
        denied = invoke(name, {"call": ["lambda", "create_function"], "with": make})
        assert missing[0].strip("*") in denied["errorMessage"], denied
    function("with-all", *allowed)
    assert "errorType" not in invoke("with-all", {"call": ["lambda", "create_function"], "with": make})
    function("code-reader", ("lambda:GetFunction", "*"), ("lambda:ListTags", "*"))
    read = {"call": ["lambda", "get_function"], "with": {"FunctionName": "made"}}
    for reader, key in (("with-all", "TagsError"), ("code-reader", "Tags")):
        answered = invoke(reader, read)["answered"]
        assert key in answered and len({"Tags", "TagsError"} & set(answered)) == 1, answered
    # A function's interface holds its subnet, also for a while after it.
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=subnet)
    server.control("POST", "scale", {"scale": 1})
    try:
        server.client("lambda").delete_function(FunctionName="made")
        refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    finally:
        server.control("POST", "scale", {"scale": 0})
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=network)


def scheduled(group: str, role_arn: str, target: str, expression: str, **more) -> dict:
    """What `CreateSchedule` is told of a schedule that starts this."""
    return {"Name": "one", "GroupName": group, "ScheduleExpression": expression,
            "FlexibleTimeWindow": {"Mode": "OFF"}, **more,
            "Target": {"Arn": target, "RoleArn": role_arn, "Input": '{"a": 1}', **more.pop("Target", {})}}


@check
def a_schedule_group_is_made_once_and_goes_with_its_schedules_in_its_time() -> None:
    scheduler, arn = server.client("scheduler"), role("scheduling")
    tags = [{"Key": "a", "Value": "b"}]
    make = {"Name": "group", "Tags": tags, "ClientToken": "one"}
    made = scheduler.create_schedule_group(**make)["ScheduleGroupArn"]
    assert scheduler.create_schedule_group(**make)["ScheduleGroupArn"] == made
    refused("ConflictException", scheduler.create_schedule_group, Name="group")
    assert scheduler.list_tags_for_resource(ResourceArn=made)["Tags"] == tags
    one = scheduler.create_schedule(**scheduled("group", arn, "arn:aws:states:x", "rate(1 day)"))
    refused("ValidationException", scheduler.list_tags_for_resource, ResourceArn=one["ScheduleArn"])
    policy = scheduler.get_schedule(GroupName="group", Name="one")["Target"]["RetryPolicy"]
    assert policy == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    server.control("POST", "scale", {"scale": 0.05})
    try:
        scheduler.delete_schedule_group(Name="group")
        assert scheduler.get_schedule_group(Name="group")["State"] == "DELETING"
        assert scheduler.list_schedules(GroupName="group")["Schedules"] == []
        refused("ConflictException", scheduler.create_schedule_group, Name="group")
        refused("ConflictException", scheduler.create_schedule,
                **scheduled("group", arn, "arn:aws:states:x", "rate(1 day)"))
        until(lambda: not scheduler.list_schedule_groups(NamePrefix="group")["ScheduleGroups"])
    finally:
        server.control("POST", "scale", {"scale": 0})
    refused("ResourceNotFoundException", scheduler.get_schedule_group, Name="group")
    refused("ResourceNotFoundException", scheduler.list_schedules, GroupName="group")
    scheduler.create_schedule_group(Name="group")
    assert not scheduler.list_tags_for_resource(ResourceArn=made)["Tags"]


@check
def a_schedule_has_times_that_there_are_and_a_role_that_is_handed_on() -> None:
    scheduler, iam = server.client("scheduler"), server.client("iam")
    scheduler.create_schedule_group(Name="timed")
    starter, trust = role("timed-starter"), {"Version": "2012-10-17", "Statement": []}
    make = scheduled("timed", starter, "arn:aws:states:x", "rate(1 day)")
    for wrong in ("cron(0 1 * * * *)", "cron(71 8 1 * ? *)", "cron(0 dummy ? * MON-FRI *)",
                  "rate(10 seconds)", "rate( 10 minutes )", "at(2021-12-31)", "cron(0 0 1- * ? *)"):
        words = refused("ValidationException", scheduler.create_schedule,
                        **{**make, "ScheduleExpression": wrong})
        assert words == f"Invalid Schedule Expression {wrong}.", words
    refused("ValidationException", scheduler.create_schedule, **make,
            ScheduleExpressionTimezone="Mars/Olympus")
    past = datetime.now(UTC) - timedelta(hours=1)
    refused("ValidationException", scheduler.create_schedule, **make, StartDate=past)
    closed = iam.create_role(RoleName="closed", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    assert "to assume the role" in refused(
        "ValidationException", scheduler.create_schedule,
        **scheduled("timed", closed, "arn:aws:states:x", "rate(1 day)"))
    for right in ("cron(0/15 10-16 ? * mon-fri 2030)", "cron(0 0 LW * ? *)", "cron(0 0 ? * 6#3 *)",
                  "rate(1 days)"):
        scheduler.create_schedule(**{**make, "Name": "right", "ScheduleExpression": right})
        scheduler.delete_schedule(Name="right", GroupName="timed")
    one = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/timed-by/one"
    group = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/timed-by"
    allowed = [("scheduler:CreateSchedule", one), ("iam:PassRole", starter),
               ("scheduler:CreateScheduleGroup", group), ("scheduler:TagResource", group),
               ("scheduler:DeleteScheduleGroup", group),
               ("scheduler:DeleteSchedule", one.replace("/one", "/*"))]
    calls = {"create_schedule_group": {"Name": "timed-by", "Tags": [{"Key": "a", "Value": "b"}]},
             "create_schedule": {**make, "GroupName": "timed-by"},
             "delete_schedule_group": {"Name": "timed-by"}}
    for missing in (None, *allowed):
        name = f"timed-without-{missing[0].split(':')[1]}" if missing else "timed-with-all"
        function(name, *(each for each in allowed if each != missing))
        answers = [invoke(name, {"call": ["scheduler", call], "with": given})
                   for call, given in calls.items()]
        denied = [answer["errorMessage"] for answer in answers if "errorType" in answer]
        assert bool(denied) == bool(missing), denied
        assert not missing or any(missing[0] in message for message in denied), (missing, denied)
        if scheduler.list_schedule_groups(NamePrefix="timed-by")["ScheduleGroups"]:
            scheduler.delete_schedule_group(Name="timed-by")


@check
def a_schedule_that_is_due_starts_its_machine_by_the_clock_of_its_zone_or_says_why_not() -> None:
    scheduler, sqs, sfn = (server.client(each) for each in ("scheduler", "sqs", "stepfunctions"))
    arn = machine("timed", {"Done": {"Type": "Succeed"}})
    queue = sqs.create_queue(QueueName="unstarted")["QueueUrl"]
    letters = f"arn:aws:sqs:{REGION}:{ACCOUNT}:unstarted"
    starter = role("due-starter", ("states:StartExecution", arn))
    unable = role("due-unable", ("sqs:SendMessage", letters))
    scheduler.create_schedule_group(Name="due")
    soon = datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(seconds=2)
    at = {"expression": f"at({soon:%Y-%m-%dT%H:%M:%S})", "ScheduleExpressionTimezone": "Asia/Tokyo"}
    scheduler.create_schedule(**scheduled("due", starter, arn, **at))
    dead = {"Name": "two", "Target": {"DeadLetterConfig": {"Arn": letters}}}
    scheduler.create_schedule(**scheduled("due", unable, arn, **at, **dead))
    started = until(lambda: sfn.list_executions(stateMachineArn=arn)["executions"], 15)
    given = sfn.describe_execution(executionArn=started[0]["executionArn"])["input"]
    assert json.loads(given) == {"a": 1}
    receive = {"QueueUrl": queue, "MessageAttributeNames": ["All"]}
    letter = until(lambda: sqs.receive_message(**receive).get("Messages"))[0]
    assert json.loads(letter["Body"]) == {"a": 1}
    attributes = {name: each["StringValue"] for name, each in letter["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "AccessDeniedException" and attributes["TARGET_ARN"] == arn
    time.sleep(2)
    assert len(sfn.list_executions(stateMachineArn=arn)["executions"]) == 1


@check
def a_schedule_is_due_by_the_clocks_of_its_zone() -> None:
    friday, day = datetime(2026, 10, 23, 12, tzinfo=UTC), timedelta(days=1)
    later = friday + 7 * day

    def due(expression: str, after: datetime | None, made: datetime = friday, **more) -> list:
        return [{"ScheduleExpression": expression, "ScheduleExpressionTimezone": "Europe/Berlin",
                 "LastModificationDate": made.timestamp(), **more}, after and after.timestamp()]

    asked = {
        # Over the weekend Berlin's clocks are put back, and five o'clock comes an hour later.
        datetime(2026, 10, 26, 4, tzinfo=UTC): due("cron(0 5 ? * MON-FRI *)", None),
        datetime(2026, 10, 23, 3, tzinfo=UTC): due("cron(0 5 ? * FRI *)", None, friday - day),
        friday: due("rate(1 day)", None),
        later: due("rate(7 days)", None, StartDate=later.timestamp()),
        later + 7 * day: due("rate(7 days)", later, StartDate=later.timestamp()),
        None: due("at(2026-10-23T14:00:00)", friday),
    }
    ask = ("import json, sys; from infra.local.scheduler import next_time; "
           "print(json.dumps([next_time(*each) for each in json.load(sys.stdin)]))")
    told = subprocess.run([sys.executable, "-c", ask], input=json.dumps(list(asked.values())), text=True,
                          stdout=subprocess.PIPE, check=True)
    assert json.loads(told.stdout) == [moment and moment.timestamp() for moment in asked], told.stdout


def cloud_map(action: str, **arguments) -> dict:
    return getattr(server.client("servicediscovery"), action)(**arguments)


def operation(answer: dict) -> dict:
    return cloud_map("get_operation", OperationId=answer["OperationId"])["Operation"]


def namespace(vpc: str, name: str, token: str = "once") -> dict:
    return cloud_map("create_private_dns_namespace", Name=name, Vpc=vpc, CreatorRequestId=token,
                     Tags=[{"Key": "a", "Value": "b"}])


@check
def a_namespace_brings_its_zone_and_goes_after_its_services() -> None:
    ec2, route53 = server.client("ec2"), server.client("route53")
    vpc, other = (ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"] for _ in range(2))
    identity = operation(namespace(vpc, "names.internal"))["Targets"]["NAMESPACE"]
    found = cloud_map("get_namespace", Id=identity)["Namespace"]
    tags = cloud_map("list_tags_for_resource", ResourceARN=found["Arn"])["Tags"]
    assert tags == [{"Key": "a", "Value": "b"}]
    zone = route53.get_hosted_zone(Id=found["Properties"]["DnsProperties"]["HostedZoneId"])
    assert (zone["HostedZone"]["Name"], zone["VPCs"][0]["VPCId"]) == ("names.internal.", vpc)
    refused("NamespaceAlreadyExists", namespace, vpc=vpc, name="names.internal")
    assert operation(namespace(other, "names.internal"))["Status"] == "SUCCESS"
    named = [{"Name": "TYPE", "Values": ["DNS_PRIVATE"]}, {"Name": "NAME", "Values": ["names.internal"]}]
    assert len(cloud_map("list_namespaces", Filters=named)["Namespaces"]) == 2
    assert cloud_map("list_namespaces", Filters=[{"Name": "TYPE", "Values": ["HTTP"]}])["Namespaces"] == []

    # A name that the VPC has already, or a VPC that isn't there, is told by the operation.
    route53.create_hosted_zone(Name="taken.internal", CallerReference="taken",
                               VPC={"VPCRegion": REGION, "VPCId": vpc})
    begun = time.time() - 1
    failed = operation(namespace(vpc, "taken.internal"))
    assert (failed["Status"], failed["ErrorCode"]) == ("FAIL", "CANNOT_CREATE_HOSTED_ZONE")
    assert f"{vpc} in region {REGION} has already been associated" in failed["ErrorMessage"]
    assert operation(namespace("vpc-0", "nowhere.internal"))["Status"] == "FAIL"
    filters = [{"Name": "TYPE", "Values": ["CREATE_NAMESPACE"]}, {"Name": "STATUS", "Values": ["FAIL"]}]
    dates = {"Name": "UPDATE_DATE", "Condition": "BETWEEN"}
    for since, count in ((begun, 2), (begun + 60, 0)):
        between = {**dates, "Values": [str(int(since)), str(int(since + 60))]}
        listed = cloud_map("list_operations", Filters=[*filters, between])["Operations"]
        assert len(listed) == count and all(set(each) == {"Id", "Status"} for each in listed)

    settings = {"Name": "api", "NamespaceId": identity,
                "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 15}]}}
    made = cloud_map("create_service", CreatorRequestId="one", Tags=[{"Key": "c", "Value": "d"}], **settings)
    again = cloud_map("create_service", CreatorRequestId="one", **settings)
    assert made["Service"]["Id"] == again["Service"]["Id"]
    refused("ServiceAlreadyExists", cloud_map, action="create_service", CreatorRequestId="two", **settings)
    in_other = [{"Name": "NAMESPACE_ID", "Values": ["ns-other"]}]
    assert cloud_map("list_services", Filters=in_other)["Services"] == []
    assert [each["InstanceCount"] for each in cloud_map("list_services", Filters=[
        {"Name": "NAMESPACE_ID", "Values": [identity]}])["Services"]] == [0]
    service = made["Service"]["Id"]
    cloud_map("register_instance", ServiceId=service, InstanceId="x",
              Attributes={"AWS_INSTANCE_IPV4": "10.0.0.9"})
    refused("ResourceInUse", cloud_map, action="delete_service", Id=service)
    cloud_map("deregister_instance", ServiceId=service, InstanceId="x")
    kinds = {(record.kind, record.name): record for record in inventory_of()}
    assert kinds["namespace", "names.internal"].tags == {"a": "b"}
    assert kinds["discovery-service", "names.internal/api"].tags == {"c": "d"}
    refused("ResourceInUse", cloud_map, action="delete_namespace", Id=identity)
    cloud_map("delete_service", Id=service)
    assert operation(cloud_map("delete_namespace", Id=identity))["Status"] == "SUCCESS"
    refused("NamespaceNotFound", cloud_map, action="get_namespace", Id=identity)
    refused("NoSuchHostedZone", route53.get_hosted_zone,
            Id=found["Properties"]["DnsProperties"]["HostedZoneId"])
    # With other records in it, the zone stays, and so does the namespace.
    left = cloud_map("list_namespaces", Filters=named)["Namespaces"][0]
    write_record(left["Properties"]["DnsProperties"]["HostedZoneId"], "CREATE", Name="by-hand.names.internal",
                 Type="A", values=["10.0.0.1"])
    assert operation(cloud_map("delete_namespace", Id=left["Id"]))["Status"] == "FAIL"


@check
def a_namespace_is_allowed_by_its_arn() -> None:
    arn = f"arn:aws:servicediscovery:{REGION}:{ACCOUNT}:namespace/*"
    function("of-namespaces", ("servicediscovery:GetNamespace", arn), ("servicediscovery:CreateService", arn),
             ("servicediscovery:ListNamespaces", "*"), ("servicediscovery:ListTagsForResource", arn))
    vpc = server.client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    identity = operation(namespace(vpc, "allowed.internal"))["Targets"]["NAMESPACE"]
    found = cloud_map("get_namespace", Id=identity)["Namespace"]
    for call, given in (("get_namespace", {"Id": identity}), ("list_namespaces", {}),
                        ("list_tags_for_resource", {"ResourceARN": found["Arn"]}),
                        ("create_service", {"Name": "a", "NamespaceId": identity})):
        answered = invoke("of-namespaces", {"call": ["servicediscovery", call], "with": given})
        assert "errorType" not in answered, answered
    delete = {"call": ["servicediscovery", "delete_namespace"], "with": {"Id": identity}}
    denied = invoke("of-namespaces", delete)
    assert "AccessDenied" in denied["errorMessage"], denied


@check
def with_a_scale_a_namespace_takes_its_time() -> None:
    vpc = server.client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    server.control("POST", "scale", {"scale": 0.02})
    try:
        begun = namespace(vpc, "slow.internal", "slow")
        assert operation(begun)["Status"] == "PENDING"
        refused("DuplicateRequest", namespace, vpc=vpc, name="slow.internal", token="slow")
        named = [{"Name": "NAME", "Values": ["slow.internal"]}]
        assert cloud_map("list_namespaces", Filters=named)["Namespaces"] == []
        until(lambda: operation(begun)["Status"] == "SUCCESS")
        identity = cloud_map("list_namespaces", Filters=named)["Namespaces"][0]["Id"]
        gone = cloud_map("delete_namespace", Id=identity)
        refused("DuplicateRequest", cloud_map, action="delete_namespace", Id=identity)
        assert cloud_map("get_namespace", Id=identity)
        until(lambda: operation(gone)["Status"] == "SUCCESS")
        refused("NamespaceNotFound", cloud_map, action="get_namespace", Id=identity)
    finally:
        server.control("POST", "scale", {"scale": 0})


class Fleet:
    """A cluster with a group of instances that join it."""

    IMAGE = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"

    def __init__(self, name: str) -> None:
        self.name = name
        self.ec2, self.ecs, self.scaling = (server.client(each) for each in ("ec2", "ecs", "autoscaling"))
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.security_group = self.ec2.create_security_group(
            GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        self.ecs.create_cluster(clusterName=name)

    def data(self, **more) -> dict:
        script = f"#!/bin/bash\ncat >> /etc/ecs/ecs.config <<'END'\nECS_CLUSTER={self.name}\nEND\n"
        return {"ImageId": self.IMAGE, "InstanceType": "t3.small",
                "UserData": base64.b64encode(script.encode()).decode(),
                "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [self.security_group],
                                       "AssociatePublicIpAddress": False}],
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}],
                "TagSpecifications": [
                    {"ResourceType": "instance", "Tags": [{"Key": "own", "Value": self.name}]}], **more}

    def template(self, **more) -> None:
        self.ec2.create_launch_template(LaunchTemplateName=self.name, LaunchTemplateData=self.data(**more))

    def create(self, minimum: int, maximum: int, **more) -> None:
        self.scaling.create_auto_scaling_group(
            AutoScalingGroupName=self.name, MinSize=minimum, MaxSize=maximum, VPCZoneIdentifier=self.subnet,
            LaunchTemplate={"LaunchTemplateName": self.name, "Version": "$Default"},
            NewInstancesProtectedFromScaleIn=True, **more)

    def group(self) -> dict | None:
        found = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        return next(iter(found["AutoScalingGroups"]), None)

    def states(self) -> list[str]:
        return [each["LifecycleState"] for each in self.group()["Instances"]]

    def versions(self) -> list[str]:
        return [each["LaunchTemplate"]["Version"] for each in self.group()["Instances"]]

    def joined(self) -> list[str]:
        arns = self.ecs.list_container_instances(cluster=self.name, status="ACTIVE")["containerInstanceArns"]
        if not arns:
            return []
        found = self.ecs.describe_container_instances(cluster=self.name, containerInstances=arns)
        return sorted(each["ec2InstanceId"] for each in found["containerInstances"])

    def instances(self) -> list[dict]:
        found = self.ec2.describe_instances(Filters=[{"Name": "tag:own", "Values": [self.name]}])
        return [each for reservation in found["Reservations"] for each in reservation["Instances"]]

    def provide(self, **more) -> str:
        """A capacity provider for the group, on the cluster."""
        provider = f"of-{self.name}"
        self.ecs.create_capacity_provider(name=provider, autoScalingGroupProvider={
            "autoScalingGroupArn": self.group()["AutoScalingGroupARN"],
            "managedScaling": {"status": "ENABLED"}, "managedTerminationProtection": "ENABLED", **more})
        self.put([provider])
        return provider

    def put(self, providers: list[str]) -> None:
        self.ecs.put_cluster_capacity_providers(
            cluster=self.name, capacityProviders=providers, defaultCapacityProviderStrategy=[
                {"capacityProvider": each, "weight": 1} for each in providers])

    def describe(self) -> dict:
        return self.ecs.describe_clusters(clusters=[self.name], include=["ATTACHMENTS"])["clusters"][0]


@check
def a_groups_instances_join_their_cluster_and_go_with_it() -> None:
    fleet = Fleet("fleet")
    fleet.template()
    fleet.create(1, 3, DesiredCapacity=2, Tags=[{"Key": "handed", "Value": "on", "PropagateAtLaunch": True},
                                                {"Key": "kept", "Value": "back", "PropagateAtLaunch": False}])
    refused("AlreadyExists", fleet.create, minimum=1, maximum=3)
    instances = fleet.instances()
    tags = {tag["Key"]: tag["Value"] for tag in instances[0]["Tags"]}
    assert tags["handed"] == "on" and "kept" not in tags and tags["aws:autoscaling:groupName"] == "fleet"
    assert [each["State"]["Name"] for each in instances] == ["running", "running"]
    assert instances[0]["ImageId"].startswith("ami-")
    assert fleet.joined() == sorted(each["InstanceId"] for each in instances)
    assert fleet.describe()["registeredContainerInstancesCount"] == 2
    assert fleet.versions() == ["1", "1"] and fleet.states() == ["InService"] * 2
    # How many there are stays what it was, between the bounds.
    fleet.scaling.update_auto_scaling_group(AutoScalingGroupName="fleet", MinSize=1, MaxSize=4)
    assert (fleet.group()["DesiredCapacity"], len(fleet.joined())) == (2, 2)
    fleet.scaling.update_auto_scaling_group(AutoScalingGroupName="fleet", MinSize=3)
    assert (fleet.group()["DesiredCapacity"], len(fleet.joined())) == (3, 3)
    # One that is terminated by hand is replaced.
    lost = fleet.joined()[0]
    fleet.ec2.terminate_instances(InstanceIds=[lost])
    assert len(fleet.joined()) == 3 and lost not in fleet.joined()
    refused("DependencyViolation", fleet.ec2.delete_security_group, GroupId=fleet.security_group)
    refused("ResourceInUse", fleet.scaling.delete_auto_scaling_group, AutoScalingGroupName="fleet")
    kinds = [record.kind for record in inventory_of() if record.tags.get("own") == "fleet"]
    assert kinds == ["instance"] * 3
    fleet.scaling.delete_auto_scaling_group(AutoScalingGroupName="fleet", ForceDelete=True)
    assert (fleet.group(), fleet.joined()) == (None, [])
    assert {each["State"]["Name"] for each in fleet.instances()} == {"terminated"}
    assert not [record for record in inventory_of() if record.tags.get("own") == "fleet"]
    fleet.ec2.delete_security_group(GroupId=fleet.security_group)
    fleet.ec2.delete_subnet(SubnetId=fleet.subnet)


@check
def a_group_that_cannot_start_instances_says_why() -> None:
    fleet = Fleet("failing")
    fleet.template(IamInstanceProfile={"Name": "not-there-yet"})
    message = refused("ValidationError", fleet.create, minimum=1, maximum=1)
    assert "Invalid IAM Instance Profile name" in message and fleet.group() is None
    for index, (wrong, told) in enumerate([
            ({"InstanceType": "t4g.small"}, "does not match the architecture"),
            ({"ImageId": "resolve:ssm:/aws/service/none"}, "/aws/service/none was not found"),
            ({"InstanceType": "t3.tiny"}, "Invalid value 't3.tiny'")]):
        fleet = Fleet(f"failing-{index}")
        fleet.template(**wrong)
        fleet.create(1, 1)
        activities = fleet.scaling.describe_scaling_activities(AutoScalingGroupName=fleet.name)["Activities"]
        assert [each["StatusCode"] for each in activities] == ["Failed"]
        assert told in activities[0]["StatusMessage"], activities
    offered = fleet.ec2.describe_instance_type_offerings(
        LocationType="region", Filters=[{"Name": "instance-type", "Values": ["t3.*"]}])
    types = {each["InstanceType"] for each in offered["InstanceTypeOfferings"]}
    assert "t3.small" in types and all(each.startswith("t3.") for each in types)


@check
def a_new_version_of_a_template_reaches_instances_when_they_are_refreshed() -> None:
    fleet = Fleet("refreshed")
    fleet.template()
    fleet.create(2, 2)
    ec2, name = fleet.ec2, {"LaunchTemplateName": "refreshed"}
    ec2.create_launch_template_version(**name, LaunchTemplateData=fleet.data(InstanceType="t3.medium"))
    ec2.create_launch_template_version(**name, LaunchTemplateData=fleet.data(InstanceType="t3.large"))
    ec2.modify_launch_template(**name, DefaultVersion="3")
    deleted = ec2.delete_launch_template_versions(**name, Versions=["1", "2", "3", "9"])
    assert [each["VersionNumber"] for each in deleted["SuccessfullyDeletedLaunchTemplateVersions"]] == [1, 2]
    assert len(deleted["UnsuccessfullyDeletedLaunchTemplateVersions"]) == 2
    versions = ec2.describe_launch_template_versions(**name)["LaunchTemplateVersions"]
    assert [(each["VersionNumber"], each["DefaultVersion"]) for each in versions] == [(3, True)]
    made = ec2.create_launch_template_version(**name, LaunchTemplateData=fleet.data())
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 4
    assert fleet.versions() == ["1", "1"]
    before = fleet.joined()
    refresh = {"AutoScalingGroupName": "refreshed", "Preferences": {
        "ScaleInProtectedInstances": "Refresh", "MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}}
    fleet.scaling.start_instance_refresh(**refresh)
    assert fleet.versions() == ["3", "3"]
    assert len(fleet.joined()) == 2 and not set(before) & set(fleet.joined())
    found = fleet.scaling.describe_instance_refreshes(AutoScalingGroupName="refreshed")["InstanceRefreshes"]
    assert [each["Status"] for each in found] == ["Successful"]
    # Unless it is said, protected instances are waited for.
    ec2.modify_launch_template(**name, DefaultVersion="4")
    fleet.scaling.start_instance_refresh(AutoScalingGroupName="refreshed")
    assert "3" in fleet.versions()
    refused("InstanceRefreshInProgress", fleet.scaling.start_instance_refresh, **refresh)


@check
def a_capacity_provider_grows_its_group_and_is_taken_down_in_order() -> None:
    fleet = Fleet("provided")
    fleet.template()
    fleet.create(0, 2)
    ecs, provider = fleet.ecs, "of-provided"
    group = {"autoScalingGroupArn": fleet.group()["AutoScalingGroupARN"]}
    assert "not found" in refused("InvalidParameterException", fleet.put, providers=[provider])
    refused("ClientException", ecs.create_capacity_provider, name="ecs-mine", autoScalingGroupProvider=group)
    refused("ClientException", ecs.create_capacity_provider, name="mine",
            autoScalingGroupProvider={"autoScalingGroupArn": "arn:aws:none"})
    refused("ClientException", ecs.create_capacity_provider, name="mine",
            autoScalingGroupProvider={**group, "managedTerminationProtection": "ENABLED"})
    fleet.provide()
    refused("ClientException", ecs.create_capacity_provider, name=provider, autoScalingGroupProvider=group)
    ecs.update_capacity_provider(name=provider, autoScalingGroupProvider={"managedDraining": "DISABLED"})
    found = ecs.describe_capacity_providers(capacityProviders=[provider])["capacityProviders"][0]
    assert found["autoScalingGroupProvider"]["managedDraining"] == "DISABLED"
    assert "AmazonECSManaged" in {tag["Key"] for tag in fleet.group()["Tags"]}
    assert fleet.describe()["attachmentsStatus"] == "UPDATE_COMPLETE" and fleet.joined() == []
    ecs.register_task_definition(family="provided", requiresCompatibilities=["EC2"], networkMode="bridge",
                                 containerDefinitions=[{"name": "app", "image": "nginx", "memory": 64}])
    ecs.create_service(cluster="provided", serviceName="app", taskDefinition="provided", desiredCount=1,
                       capacityProviderStrategy=[{"capacityProvider": provider, "weight": 1}])
    running = lambda: ecs.describe_services(  # noqa: E731
        cluster="provided", services=["app"])["services"][0]["runningCount"]
    until(lambda: running() == 1)
    assert len(fleet.joined()) == 1 and fleet.group()["DesiredCapacity"] == 1
    arns = ecs.list_container_instances(cluster="provided")["containerInstanceArns"]
    joined = ecs.describe_container_instances(cluster="provided", containerInstances=arns)
    assert joined["containerInstances"][0]["capacityProviderName"] == provider
    assert ("capacity-provider", provider) in {(record.kind, record.name) for record in inventory_of()}
    refused("ResourceInUseException", fleet.put, providers=[])
    assert "in use" in refused("ClientException", ecs.delete_capacity_provider, capacityProvider=provider)
    ecs.delete_service(cluster="provided", service="app", force=True)
    until(lambda: ecs.list_tasks(cluster="provided")["taskArns"] == [])
    fleet.put([])
    ecs.delete_capacity_provider(capacityProvider=provider)
    found = ecs.describe_capacity_providers(capacityProviders=[provider])["capacityProviders"][0]
    assert (found["status"], found["updateStatus"]) == ("INACTIVE", "DELETE_COMPLETE")
    assert provider not in {record.name for record in inventory_of()}
    refused("ClusterContainsContainerInstancesException", ecs.delete_cluster, cluster="provided")
    fleet.scaling.delete_auto_scaling_group(AutoScalingGroupName="provided", ForceDelete=True)
    ecs.delete_cluster(cluster="provided")
    refused("ClientException", ecs.delete_capacity_provider, capacityProvider=provider)


@check
def with_a_scale_instances_take_their_time() -> None:
    fleet = Fleet("slow-fleet")
    fleet.template()
    server.control("POST", "scale", {"scale": 0.05})
    try:
        fleet.create(1, 1)
        assert fleet.states() == ["Pending"] and fleet.joined() == []
        assert [each["State"]["Name"] for each in fleet.instances()] == ["pending"]
        until(lambda: fleet.states() == ["InService"])
        assert fleet.joined() == []
        until(fleet.joined)
        provider = fleet.provide()
        assert fleet.describe()["attachmentsStatus"] == "UPDATE_IN_PROGRESS"
        refused("UpdateInProgressException", fleet.put, providers=[])
        until(lambda: fleet.describe()["attachmentsStatus"] == "UPDATE_COMPLETE")
        fleet.put([])
        fleet.ecs.delete_capacity_provider(capacityProvider=provider)

        def update() -> tuple:
            found = fleet.ecs.describe_capacity_providers(capacityProviders=[provider])
            return tuple(found["capacityProviders"][0][each] for each in ("status", "updateStatus"))

        assert update() == ("ACTIVE", "DELETE_IN_PROGRESS")
        until(lambda: update() == ("INACTIVE", "DELETE_COMPLETE"))
        fleet.scaling.delete_auto_scaling_group(AutoScalingGroupName="slow-fleet", ForceDelete=True)
        assert (fleet.group()["Status"], fleet.states()) == ("Delete in progress", ["Terminating"])
        assert [each["State"]["Name"] for each in fleet.instances()] == ["shutting-down"]
        refused("DependencyViolation", fleet.ec2.delete_subnet, SubnetId=fleet.subnet)
        until(lambda: fleet.group() is None)
        fleet.ec2.delete_subnet(SubnetId=fleet.subnet)
        until(lambda: "UPDATE_COMPLETE" == fleet.describe()["attachmentsStatus"])
        fleet.ecs.delete_cluster(cluster="slow-fleet")
    finally:
        server.control("POST", "scale", {"scale": 0})


class Watched(Failing):
    """An environment that is watched: a balanced service in a network that lets the balancer in."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.let_in()
        self.elb.add_tags(ResourceArns=[self.balancer["LoadBalancerArn"]],
                          Tags=[{"Key": "plinth:environment", "Value": name}])
        self.listener = self.elb.describe_listeners(
            LoadBalancerArn=self.balancer["LoadBalancerArn"])["Listeners"][0]["ListenerArn"]
        self.create()
        self.begin()

    def begin(self) -> list[str]:
        return server.control("POST", "watch", {"environment": self.name})["paths"]

    def rules(self) -> dict:
        ranges = [{"CidrIp": "10.0.0.0/16"}]
        return {"GroupId": self.group, "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": ranges}]}

    def let_in(self) -> None:
        self.ec2.authorize_security_group_ingress(**self.rules())

    def forward(self, *groups: tuple[str, int]) -> None:
        groups = [{"TargetGroupArn": group, "Weight": weight} for group, weight in groups]
        self.elb.modify_listener(ListenerArn=self.listener, DefaultActions=[
            {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}])

    def empty_group(self) -> str:
        return self.elb.create_target_group(
            Name=f"{self.name}-empty", Protocol="TCP", Port=80, VpcId=self.vpc,
            TargetType="ip")["TargetGroups"][0]["TargetGroupArn"]

    def breaks(self) -> list[tuple]:
        """Each break's path, the call it came with, and the call that mended it."""
        watch = server.control("GET", "watch")["watches"][-1]
        return [(each["path"], each["after"]["action"], each["until"] and each["until"]["action"])
                for each in watch["breaks"]]


@check
def a_watch_tells_when_what_serves_leads_nowhere_and_not_while_it_is_replaced() -> None:
    place = Watched("watched")
    assert place.begin() == ["listener watched:80"]
    place.update("y")
    place.exits(1)
    place.update("z")
    assert place.service()["deployments"][0]["rolloutState"] == "COMPLETED"
    empty = place.empty_group()
    place.forward((place.targets, 1), (empty, 0))
    assert place.breaks() == []

    place.ec2.revoke_security_group_ingress(**place.rules())
    path, told = "listener watched:80", []
    told.append((path, "RevokeSecurityGroupIngress", "AuthorizeSecurityGroupIngress"))
    place.let_in()
    assert place.breaks() == told
    place.forward((place.targets, 1), (empty, 1))
    place.forward((place.targets, 1))
    told.append((path, "ModifyListener", "ModifyListener"))
    assert place.breaks() == told
    server.control("POST", "unhealthy", {"targetGroup": "watched"})
    place.service()
    server.control("POST", "unhealthy", {"targetGroup": "watched", "healthy": True})
    tags = [{"key": "any", "value": "write"}]
    place.ecs.tag_resource(resourceArn=place.service()["serviceArn"], tags=tags)
    unwell = place.breaks()[-1]
    assert unwell[:2] == (path, "DescribeServices") and unwell[2], "it is well again"
    told.append(unwell)
    place.ecs.delete_service(cluster="watched", service="app", force=True)
    told.append((path, "DeleteService", None))
    assert place.breaks() == told, place.breaks()
    server.control("DELETE", "watch")


@check
def a_watch_follows_records_and_what_the_stages_of_an_api_serve() -> None:
    place, api, dns = Watched("stages"), server.client("apigateway"), server.client("route53")
    zone = dns.create_hosted_zone(Name="stages.test", CallerReference="stages")["HostedZone"]["Id"]

    def alias(host: str) -> dict:
        target = {"DNSName": host, "HostedZoneId": "Z2P70J7EXAMPLE", "EvaluateTargetHealth": False}
        return dns.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [{
            "Action": "UPSERT",
            "ResourceRecordSet": {"Name": "app.stages.test", "Type": "A", "AliasTarget": target}}]})

    alias(place.balancer["DNSName"])
    link, other = (api.create_vpc_link(
        name=name, targetArns=[place.balancer["LoadBalancerArn"]])["id"] for name in ("one", "other"))
    rest = api.create_rest_api(name="stages", tags={"plinth:environment": "stages"})["id"]
    root = api.get_resources(restApiId=rest)["items"][0]["id"]
    where = {"restApiId": rest, "resourceId": root, "httpMethod": "GET"}
    api.put_method(**where, authorizationType="NONE")

    def deployed(link: str, host: str) -> str:
        api.put_integration(**where, type="HTTP_PROXY", integrationHttpMethod="GET", uri=f"http://{host}/",
                            connectionType="VPC_LINK", connectionId=link)
        return api.create_deployment(restApiId=rest)["id"]

    first = deployed(link, place.balancer["DNSName"])
    api.create_stage(restApiId=rest, stageName="live", deploymentId=first)
    assert place.begin() == ["GET / of API stages/live", "listener stages:80", "record app.stages.test. A",
                             "record app.stages.test. A on port 80"]

    def serve(deployment: str) -> None:
        api.update_stage(restApiId=rest, stageName="live", patchOperations=[
            {"op": "replace", "path": "/deploymentId", "value": deployment}])

    second = deployed(other, place.balancer["DNSName"])
    assert place.breaks() == [], "what isn't deployed serves nobody"
    api.put_method(restApiId=rest, resourceId=root, httpMethod="POST", authorizationType="NONE")
    summary = api.get_deployment(restApiId=rest, deploymentId=second, embed=["apisummary"])["apiSummary"]
    assert {path: set(methods) for path, methods in summary.items()} == {"/": {"GET"}}, "as it was deployed"
    api.delete_method(restApiId=rest, resourceId=root, httpMethod="POST")
    refused("BadRequestException", api.delete_vpc_link, vpcLinkId=link)
    refused("BadRequestException", api.delete_deployment, restApiId=rest, deploymentId=first)
    serve(second)
    api.delete_vpc_link(vpcLinkId=link)
    assert place.breaks() == []
    serve(deployed(other, "elsewhere.example.com"))
    serve(second)
    alias("gone.elb.us-east-1.amazonaws.com")
    told = [(path.split(" ")[0], made, until) for path, made, until in place.breaks()]
    assert told[0][0] == "GET" and len({each[1] for each in told}) == 2, told
    assert ("record", "ChangeResourceRecordSets", None) in told, told
    server.control("DELETE", "watch")


@check
def calls_are_logged_and_faults_strike_where_they_are_told() -> None:
    ecs = server.client("ecs")
    function("maker", ("ecs:CreateCluster", "*"))
    make = {"call": ["ecs", "create_cluster"], "with": {"clusterName": "made"}}
    last = server.control("GET", "calls")["last"]
    server.control("POST", "faults", {"kind": "kill-caller", "service": "ecs", "action": "CreateCluster",
                                      "principal": "maker", "after": 1})
    assert "errorType" not in invoke("maker", make)
    assert invoke("maker", make)["errorType"] == "Runtime.ExitError"
    server.control("POST", "faults", {"kind": "lost-answer", "service": "ecs", "action": "CreateCluster"})
    refused("InternalFailure", ecs.create_cluster, clusterName="lost")
    assert any(arn.endswith("/lost") for arn in ecs.list_clusters()["clusterArns"])
    server.control("POST", "faults", {"kind": "throttle", "service": "ec2"})
    refused("RequestLimitExceeded", server.client("ec2").describe_vpcs)
    server.control("POST", "faults", {"kind": "error", "service": "ecs", "status": 500, "code": "Mine"})
    refused("Mine", ecs.list_clusters)
    server.control("DELETE", "faults")
    writes = [(call["principal"], call["action"], call["error"])
              for call in server.control("GET", f"calls?since={last}")["calls"]
              if call["write"] and call["service"] == "ecs"]
    assert writes[0] == ("maker", "CreateCluster", None)
    assert ("root", "CreateCluster", "InternalFailure") in writes


@check
def a_service_scales_within_its_target_which_goes_with_it() -> None:
    place, scaling = Place("scaled"), server.client("application-autoscaling")
    place.ecs.create_cluster(clusterName="scaled")
    place.listen()
    which = {"ServiceNamespace": "ecs", "ResourceId": "service/scaled/app",
             "ScalableDimension": "ecs:service:DesiredCount"}
    target = {**which, "MinCapacity": 3, "MaxCapacity": 6}

    def policy(name: str, metric: str, **more) -> dict:
        return {**which, "PolicyName": name, "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 60.0,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": metric, **more}}}

    def policies() -> list[str]:
        found = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
        return [each["PolicyName"] for each in found if each["ResourceId"] == which["ResourceId"]]

    def targets() -> list[dict]:
        return scaling.describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[which["ResourceId"]])["ScalableTargets"]

    assert "doesn't exist" in refused("ValidationException", scaling.register_scalable_target, **target)
    place.ecs.create_service(**place.service_settings("one"))
    cpu = policy("cpu", "ECSServiceAverageCPUUtilization")
    refused("ObjectNotFoundException", scaling.put_scaling_policy, **cpu)
    refused("ObjectNotFoundException", scaling.deregister_scalable_target, **which)
    refused("ValidationException", scaling.register_scalable_target, **{**target, "MaxCapacity": 2})
    scaling.register_scalable_target(**target, Tags={"a": "b"})
    assert place.service()["desiredCount"] == 3
    assert "already exists" in refused(
        "ValidationException", scaling.register_scalable_target, **target, Tags={"a": "c"})
    scaling.register_scalable_target(**{**target, "MinCapacity": 1, "MaxCapacity": 2})
    assert place.service()["desiredCount"] == 2
    arn = targets()[0]["ScalableTargetARN"]
    scaling.tag_resource(ResourceARN=arn, Tags={"c": "d"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"c": "d"}

    scaling.put_scaling_policy(**cpu)
    group = place.targets.rsplit(":", 1)[-1]
    for label in ({}, {"ResourceLabel": "app/x/1/targetgroup/other/2"}, {"ResourceLabel": f"net/x/1/{group}"}):
        refused("ValidationException", scaling.put_scaling_policy,
                **policy("requests", "ALBRequestCountPerTarget", **label))
    label = f"app/x/1/{group}"
    scaling.put_scaling_policy(**policy("requests", "ALBRequestCountPerTarget", ResourceLabel=label))
    refused("ObjectNotFoundException", scaling.delete_scaling_policy, **which, PolicyName="none")
    assert policies() == ["cpu", "requests"]
    scaling.deregister_scalable_target(**which)
    assert (targets(), policies()) == ([], [])
    refused("ResourceNotFoundException", scaling.list_tags_for_resource, ResourceARN=arn)

    arns = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*"
    function("scaler", ("application-autoscaling:DeregisterScalableTarget", arns))
    for call, fault in (("deregister_scalable_target", "ObjectNotFoundException"),
                        ("describe_scaling_policies", "AccessDeniedException")):
        answer = invoke("scaler", {"call": ["application-autoscaling", call], "with": which})
        assert fault in answer["errorMessage"], answer

    scaling.register_scalable_target(**target)
    scaling.put_scaling_policy(**cpu)
    place.ecs.delete_service(cluster="scaled", service="app", force=True)
    assert (targets(), policies()) == ([], [])


def main() -> int:
    global server
    server, failed = Server(), 0
    try:
        role("all", ("*", "*"))
        for each in (each for each in checks if all(word in each.__name__ for word in sys.argv[1:])):
            begun = time.time()
            try:
                each()
                word = "ok"
            except Exception as fault:
                failed, word = failed + 1, f"FAILED: {type(fault).__name__}: {fault}"
            print(f"{each.__name__.replace('_', ' ')}: {word} ({time.time() - begun:.1f} s)", flush=True)
    finally:
        server.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

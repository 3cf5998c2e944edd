"""Checks every mend against a server of its own: `python -m infra.local.selftest`.

Each check fails when its mend is taken out.
"""

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

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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
        self._process.wait(10)

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
    services = ["lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com"]
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
    detail = until(read)[0]["detail"]
    found = [detail[name] for name in ("action-type", "repository-name", "image-tag")]
    assert found == ["PUSH", "pushed", "one"]
    refused("ImageAlreadyExistsException", ecr.put_image, repositoryName="pushed", imageTag="one",
            imageManifest=MANIFEST)
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
            memory="512", containerDefinitions=[{"name": "app", "image": image}],
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
               "startedBy": "me", "tags": [{"key": "a", "value": "b"}]}

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
    place.elb.delete_load_balancer(LoadBalancerArn=arn)
    place.ec2.delete_subnet(SubnetId=place.subnet)


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
    server.control("POST", "scale", {"scale": 0.02})
    try:
        acm, dns = server.client("acm"), server.client("route53")
        zone = dns.create_hosted_zone(Name="slow.test", CallerReference="slow")["HostedZone"]["Id"]
        arn = acm.request_certificate(DomainName="slow.test", ValidationMethod="DNS")["CertificateArn"]
        assert "ResourceRecord" not in certificate(arn)["DomainValidationOptions"][0]
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
    server.control("POST", "scale", {"scale": 0.01})
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
            memory="512", containerDefinitions=[{"name": "app", "image": "nginx"}],
        )["taskDefinition"]["taskDefinitionArn"]
        place.ecs.create_service(**{**settings, "taskDefinition": public})
        nat = ec2.create_nat_gateway(SubnetId=place.subnet, ConnectivityType="private")["NatGateway"]
        endpoint = ec2.create_vpc_endpoint(
            VpcId=place.vpc, ServiceName=f"com.amazonaws.{REGION}.logs", VpcEndpointType="Interface",
            SubnetIds=[place.subnet])["VpcEndpoint"]
        link = api.create_vpc_link(name="lagging", targetArns=[place.balancer["LoadBalancerArn"]])

        def state() -> tuple:
            found = ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])["VpcEndpoints"][0]
            return (ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])["NatGateways"][0]["State"],
                    found["State"], api.get_vpc_link(vpcLinkId=link["id"])["status"],
                    place.elb.describe_load_balancers(Names=["lagging"])["LoadBalancers"][0]["State"]["Code"],
                    place.service()["deployments"][0]["rolloutState"])

        assert state() == ("pending", "pending", "PENDING", "provisioning", "IN_PROGRESS"), state()
        until(lambda: state() == ("available", "available", "AVAILABLE", "active", "COMPLETED"))
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

    server.control("POST", "scale", {"scale": 0.002})
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
    worker, vpc = role("worker"), {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
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
    function("tag-reader", ("lambda:GetFunction", "*"), ("lambda:ListTags", "*"))
    read = {"call": ["lambda", "get_function"], "with": {"FunctionName": "made"}}
    for reader, key in (("with-all", "TagsError"), ("tag-reader", "Tags")):
        answered = invoke(reader, read)["answered"]
        assert key in answered and len({"Tags", "TagsError"} & set(answered)) == 1, answered


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


def main() -> int:
    global server
    server, failed = Server(), 0
    try:
        role("all", ("*", "*"))
        for each in checks:
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

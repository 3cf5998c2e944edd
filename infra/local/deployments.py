"""What ECS does by itself: starts the tasks a service wants, replaces them, and stops them; runs lone ones.

Nothing runs here. Whoever looks (or writes) first brings everything up to the present with `advance`.
"""

import re
import time
import uuid
from dataclasses import dataclass, field

from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch_logs, ecr
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from . import lifecycle

# The share of a service's time to steadiness after which its tasks run; the rest is health checks.
RUNNING_AFTER = 0.5
# The shares of that after which a task that was run by itself runs, and has done its work.
LONE_RUNNING_AFTER, LONE_DONE_AFTER = 0.05, 0.1
# Account, region, repository, tag, digest.
PRIVATE_IMAGE = re.compile(
    r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^:@]+)(?::([^@]+))?(?:@(.+))?")


@dataclass
class Task:
    """One task of a service, or one that was run by itself."""

    cluster: str
    definition: str
    group: str
    started_by: str
    launch_type: str
    network: dict | None
    tags: list = field(default_factory=list)
    overrides: dict = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: float = field(default_factory=time.time)
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    started: float | None = None
    stopped: float | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    exit_code: int | None = None
    interface: object = None
    # The revision as it was: tasks are described for longer than what they were made of.
    details: object = None

    @property
    def arn(self) -> str:
        return arn("task", f"{self.cluster}/{self.id}")

    @property
    def address(self) -> str | None:
        return self.interface.private_ip_address if self.interface else None

    @property
    def family(self) -> str:
        return self.definition.rsplit("/", 1)[-1].split(":")[0]

    @property
    def lone(self) -> bool:
        return not self.group.startswith("service:")


@dataclass
class Deployment:
    """One revision of a service on its way in, in place, or on its way out."""

    definition: str
    settings: dict
    id: str = field(default_factory=lambda: f"ecs-svc/{uuid.uuid4().int % 10**19:019d}")
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    tasks: list[Task] = field(default_factory=list)
    failed: int = 0
    completed: bool = False


@dataclass
class Service:
    """A service as its requests described it, and what became of it."""

    cluster: str
    name: str
    settings: dict
    desired: int
    status: str = "ACTIVE"
    created: float = field(default_factory=time.time)
    deployments: list[Deployment] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return arn("service", f"{self.cluster}/{self.name}")

    def running(self) -> list[Task]:
        return [task for each in self.deployments for task in each.tasks if task.status == "RUNNING"]

    def pending(self) -> list[Task]:
        return [task for each in self.deployments for task in each.tasks
                if task.status in ("PROVISIONING", "PENDING")]

    def say(self, message: str) -> None:
        self.events.insert(0, {"id": str(uuid.uuid4()), "createdAt": time.time(),
                               "message": f"(service {self.name}) {message}"})


@dataclass
class Exit:
    """How a family's lone tasks end: with this code (none: not by themselves), having written these lines."""

    code: int | None = 0
    log: list[str] = field(default_factory=list)


# By family; changed at run time through the control API.
exits: dict[str, Exit] = {}
# By (region, cluster, name) and by (region, id).
services: dict[tuple[str, str, str], Service] = {}
tasks: dict[tuple[str, str], Task] = {}


def arn(kind: str, name: str) -> str:
    return f"arn:aws:ecs:{get_region()}:{get_account_id()}:{kind}/{name}"


def backend():
    return ecs_backends[get_account_id()][get_region()]


def advance() -> None:
    """Brings the services and tasks of this region up to now."""
    for (region, _, _), service in list(services.items()):
        if region == get_region() and service.status != "INACTIVE":
            _advance_service(service)
    for (region, _), task in list(tasks.items()):
        if region == get_region() and task.lone and task.status != "STOPPED":
            _advance_lone(task)


def deploy(service: Service, definition: str) -> None:
    """Makes this revision the service's primary deployment."""
    service.deployments.insert(0, Deployment(definition, dict(service.settings)))
    _advance_service(service)


def drain(service: Service) -> None:
    """Stops everything; the service lingers as DRAINING while that takes time, then as INACTIVE."""
    service.status, service.desired = "DRAINING", 0
    service.settings["drainedSince"] = time.time()
    _advance_service(service)


def launch(cluster: str, definition: str, group: str, started_by: str, settings: dict) -> Task:
    """A new task, pending. Its images are there."""
    network = (settings.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    task = Task(cluster, definition, group, started_by, settings.get("launchType", "FARGATE"), network,
                list(settings.get("tags", [])), settings.get("overrides", {}),
                details=backend().describe_task_definition(definition))
    if network:
        task.interface = _interface(task, network)
    tasks[get_region(), task.id] = task
    return task


def stop(task: Task, reason: str, code: str) -> None:
    """Stops a task and gives its interface back."""
    task.status, task.desired, task.stopped = "STOPPED", "STOPPED", time.time()
    task.stopped_reason, task.stop_code = reason, code
    if task.interface:
        task.interface.subnet.del_subnet_ip(task.address)
        ec2_backends[get_account_id()][get_region()].delete_network_interface(task.interface.id)


def missing_image(definition: str) -> str | None:
    """The first image of a revision that this account's registry should have and hasn't."""
    for container in backend().describe_task_definition(definition).container_definitions:
        found = PRIVATE_IMAGE.fullmatch(container["image"])
        if not found or found[1] != get_account_id() or found[2] != get_region():
            continue
        repository, tag, digest = found[3], found[4], found[5]
        images = ecr._images.get(repository, [])
        if not any(image["imageDigest"] == digest if digest else (tag or "latest") in image["imageTags"]
                   for image in images):
            return container["image"]
    return None


def cannot_pull(image: str) -> str:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html"""
    return (f"CannotPullContainerError: pull image manifest has been retried 1 time(s): "
            f"failed to resolve ref {image}: {image}: not found")


def health(address: str) -> tuple[str, str | None]:
    """A target's state and reason, if it is one of our tasks: `initial` until its service's time is up."""
    for task in tasks.values():
        if task.address == address and task.status == "RUNNING":
            if lifecycle.ready("ecs-service", task.created):
                return "healthy", None
            return "initial", "Elb.InitialHealthChecking"
    return "unhealthy", "Target.Timeout"


def _advance_service(service: Service) -> None:
    if service.status == "DRAINING":
        for deployment in service.deployments:
            _shrink(service, deployment, 0)
        if lifecycle.ready("ecs-service", service.settings["drainedSince"], RUNNING_AFTER):
            service.status, service.deployments = "INACTIVE", []
        return
    primary, *older = service.deployments
    _grow(service, primary)
    _shrink(service, primary, service.desired)
    for task in primary.tasks:
        _start(service, task)
    if primary.completed or not _steady(service, primary):
        return
    for deployment in older:
        _shrink(service, deployment, 0)
    primary.completed, primary.updated = True, time.time()
    service.deployments = [primary]
    service.say(f"(deployment {primary.id}) deployment completed.")
    service.say("has reached a steady state.")


def _grow(service: Service, deployment: Deployment) -> None:
    wanted = service.desired - len(deployment.tasks)
    if wanted <= 0:
        return
    if image := missing_image(deployment.definition):
        _fail(service, deployment, cannot_pull(image))
        return
    started = [launch(service.cluster, deployment.definition, f"service:{service.name}", deployment.id,
                      service.settings) for _ in range(wanted)]
    deployment.tasks += started
    names = " ".join(f"(task {task.id})" for task in started)
    service.say(f"has started {len(started)} tasks: {names}.")


def _fail(service: Service, deployment: Deployment, reason: str) -> None:
    """AWS tries again and again; here one failed task a deployment stands for all of them."""
    if deployment.failed:
        return
    deployment.failed = 1
    task = launch(service.cluster, deployment.definition, f"service:{service.name}", deployment.id,
                  service.settings)
    stop(task, reason, "TaskFailedToStart")
    service.say("is unable to consistently start tasks successfully. For more information, see the "
                f"Troubleshooting section of the Amazon ECS Developer Guide. (task {task.id}): {reason}")


def _start(service: Service, task: Task) -> None:
    if task.status != "RUNNING" and lifecycle.ready("ecs-service", task.created, RUNNING_AFTER):
        task.status, task.started = "RUNNING", time.time()
        for group, port in _targets(service):
            group.register([{"Id": task.address, "Port": port}])
            service.say(f"registered 1 targets in (target-group {group.arn})")


def _shrink(service: Service, deployment: Deployment, wanted: int) -> None:
    for task in deployment.tasks[wanted:]:
        if task.status == "RUNNING":
            for group, _ in _targets(service):
                if task.address in group.targets:
                    group.deregister([{"Id": task.address}])
        stop(task, f"Scaling activity initiated by (deployment {deployment.id})", "ServiceSchedulerInitiated")
    del deployment.tasks[wanted:]


def _steady(service: Service, deployment: Deployment) -> bool:
    if len(deployment.tasks) != service.desired:
        return False
    return all(task.status == "RUNNING" and lifecycle.ready("ecs-service", task.created)
               for task in deployment.tasks)


def _targets(service: Service) -> list[tuple]:
    groups = elbv2_backends[get_account_id()][get_region()].target_groups
    return [(groups[each["targetGroupArn"]], each["containerPort"])
            for each in service.settings.get("loadBalancers", []) if each.get("targetGroupArn") in groups]


def _advance_lone(task: Task) -> None:
    """A task that was run by itself goes one step further at each look, and does its work: see `Exit`."""
    ending = exits.get(task.family, Exit())
    if task.status == "PROVISIONING":
        task.status = "PENDING"
    elif task.status == "PENDING" and lifecycle.ready("ecs-service", task.created, LONE_RUNNING_AFTER):
        task.status, task.started = "RUNNING", time.time()
        for container in task.details.container_definitions:
            _write_log(task, container, ending.log)
    elif task.status == "RUNNING" and ending.code is not None and lifecycle.ready(
            "ecs-service", task.created, LONE_DONE_AFTER):
        task.exit_code = ending.code
        stop(task, "Essential container in task exited", "EssentialContainerExited")


def missing_log_group(definition: str) -> str | None:
    """The first log group that a revision writes to and that isn't there."""
    for container in backend().describe_task_definition(definition).container_definitions:
        group = _log_options(container).get("awslogs-group")
        if group and group not in cloudwatch_logs._log_groups:
            return group
    return None


def cannot_log() -> str:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html"""
    return ("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 "
            "times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log "
            "group does not exist. : exit status 1")


def _log_options(container: dict) -> dict:
    configuration = container.get("logConfiguration") or {}
    return configuration.get("options", {}) if configuration.get("logDriver") == "awslogs" else {}


def _write_log(task: Task, container: dict, lines: list[str]) -> None:
    """A stream is called `prefix/container/task`, and is made when the container starts.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
    """
    options = _log_options(container)
    if not options:
        return
    stream = {"logGroupName": options["awslogs-group"],
              "logStreamName": f"{options['awslogs-stream-prefix']}/{container['name']}/{task.id}"}
    cloudwatch_logs._create_log_stream(stream)
    if lines:
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
        cloudwatch_logs._put_log_events({**stream, "logEvents": events})


def _interface(task: Task, network: dict):
    ec2 = ec2_backends[get_account_id()][get_region()]
    subnet = ec2.get_subnet(network["subnets"][len(tasks) % len(network["subnets"])])
    groups = network.get("securityGroups") or [
        ec2.get_security_group_from_name("default", subnet.vpc_id).id]
    interface = ec2.create_network_interface(
        subnet, subnet.get_available_subnet_ip(task), group_ids=groups, description=task.arn)
    interface.status = "in-use"
    return interface

"""What ECS does by itself: starts the tasks a service wants, replaces them, and stops them; runs lone ones.

Nothing runs here. Whoever looks (or writes) first brings everything up to the present with `advance`. Where
tasks are put is in `placement`.
"""

import math
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch_logs, ecr
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from . import lifecycle, placement, servicediscovery

# The shares of a service's time to steadiness after which its tasks run, and after which those end that
# don't keep running; the rest is health checks.
RUNNING_AFTER, ENDED_AFTER = 0.5, 0.6
# The shares of that after which a task that was run by itself runs, and has done its work.
LONE_RUNNING_AFTER, LONE_DONE_AFTER = 0.05, 0.1
# What ECS puts back with a revision.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRevision.html
REVISION = ("launchType", "capacityProviderStrategy", "loadBalancers", "networkConfiguration",
            "platformVersion", "serviceRegistries", "serviceConnectConfiguration", "volumeConfigurations")
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
    provider: str | None
    network: dict | None
    # What its service, or RunTask, was asked for.
    settings: dict
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
    # When it had its place; on instances also which one, that one's address, and the ports on it.
    placed: float | None = None
    passed: bool = False
    instance: str | None = None
    host: str | None = None
    bindings: list = field(default_factory=list)
    # Target groups with the id and port that it is known by there, and services of Cloud Map.
    targets: list[tuple[str, str, int]] = field(default_factory=list)
    registries: list[str] = field(default_factory=list)
    # The revision as it was: tasks are described for longer than what they were made of.
    details: object = None

    @property
    def arn(self) -> str:
        return arn("task", f"{self.cluster}/{self.id}")

    @property
    def address(self) -> str | None:
        return self.interface.private_ip_address if self.interface else self.host

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
    state: str = "IN_PROGRESS"
    # The deployment that this one brings back.
    back_to: str | None = None

    @property
    def reason(self) -> str:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html"""
        if self.state == "FAILED":
            return "ECS deployment circuit breaker: tasks failed to start."
        if self.state == "COMPLETED":
            return f"ECS deployment {self.id} completed."
        if self.back_to:
            return f"ECS deployment circuit breaker: rolling back to deploymentId {self.back_to}."
        return f"ECS deployment {self.id} in progress."


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
    # The last deployment that was completed, and the revisions of all that were.
    completed: Deployment | None = None
    proven: set[str] = field(default_factory=set)

    @property
    def arn(self) -> str:
        return arn("service", f"{self.cluster}/{self.name}")

    @property
    def breaker(self) -> dict:
        return self.settings.get("deploymentConfiguration", {}).get("deploymentCircuitBreaker", {})

    @property
    def threshold(self) -> int:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html"""
        return min(200, max(3, math.ceil(self.desired / 2)))

    def share(self, name: str, usual: int) -> float:
        """A percentage of the tasks that are wanted."""
        percent = self.settings.get("deploymentConfiguration", {}).get(name, usual)
        return self.desired * percent / 100

    def running(self) -> list[Task]:
        return [task for each in self.deployments for task in each.tasks if task.status == "RUNNING"]

    def pending(self) -> list[Task]:
        return [task for each in self.deployments for task in each.tasks
                if task.status in ("PROVISIONING", "PENDING")]

    def say_once(self, message: str) -> None:
        """ECS doesn't go on repeating an event."""
        if not any(event["message"].endswith(message) for event in self.events[:3]):
            self.say(message)

    def say(self, message: str) -> None:
        self.events.insert(0, {"id": str(uuid.uuid4()), "createdAt": time.time(),
                               "message": f"(service {self.name}) {message}"})


@dataclass
class Exit:
    """How a family's tasks end: with this code (none: not by themselves), having written these lines.

    In a service that is so of revisions that no deployment of it was completed with: the one that stood
    before stays good.
    """

    code: int | None = 0
    log: list[str] = field(default_factory=list)


@dataclass
class Illness:
    """What makes a target group's targets fail their checks: all, or those that come after this was said."""

    reason: str = "Target.Timeout"
    new: bool = False
    since: float = field(default_factory=time.time)

    @property
    def words(self) -> str:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html"""
        return {"Target.Timeout": "Request timed out",
                "Target.ResponseCodeMismatch": "Health checks failed with these codes: [502]"}.get(
                    self.reason, "Health checks failed")


# By family, and by a target group's name or a part of it; changed at run time through the control API.
exits: dict[str, Exit] = {}
unhealthy: dict[str, Illness] = {}
# What looks on whenever ECS has moved a service's tasks.
moved: list[Callable[[], None]] = []
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


def launch(cluster: str, definition: str, group: str, started_by: str, settings: dict,
           others: list[Task] = ()) -> tuple[Task, str | None]:
    """A new task, and why it has no place yet, if it hasn't: it then waits, or is to be dropped."""
    network = (settings.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    provider = placement.provider(settings.get("capacityProviderStrategy") or [], others)
    kind = settings.get("launchType", "EC2") if provider is None \
        else "FARGATE" if provider.startswith("FARGATE") else "EC2"
    task = Task(cluster, definition, group, started_by, kind, provider, network, dict(settings),
                list(settings.get("tags", [])), settings.get("overrides", {}),
                details=backend().describe_task_definition(definition))
    tasks[get_region(), task.id] = task
    return task, _place(task)


def drop(task: Task) -> None:
    """Takes back a task that has no place: without a capacity provider, ECS starts none that hasn't."""
    del tasks[get_region(), task.id]


def waiting(cluster: str) -> int:
    """How many tasks of a cluster wait for an instance that takes them."""
    return len([task for (region, _), task in tasks.items()
                if (region, task.cluster) == (get_region(), cluster) and task.status != "STOPPED"
                and task.placed is None])


def _place(task: Task) -> str | None:
    """Gives a task its place, and its interface there; why not, if there is none."""
    if task.launch_type == "EC2":
        here = [each for (region, _), each in tasks.items() if region == get_region()]
        if why := placement.place(task, here):
            return why
    task.placed = time.time()
    if task.network:
        task.interface = _interface(task, task.network)
    return None


def stop(task: Task, reason: str, code: str) -> None:
    """Stops a task, takes it out of where it was registered, and gives its interface back."""
    task.status, task.desired, task.stopped = "STOPPED", "STOPPED", time.time()
    task.stopped_reason, task.stop_code = reason, code
    groups = elbv2_backends[get_account_id()][get_region()].target_groups
    for group, target, port in task.targets:
        if group in groups:
            groups[group].deregister([{"Id": target, "Port": port}])
    for registry in task.registries:
        servicediscovery.deregister(registry, task.id)
    task.targets, task.registries = [], []
    if task.interface:
        task.interface.subnet.del_subnet_ip(task.address)
        ec2_backends[get_account_id()][get_region()].delete_network_interface(task.interface.id)


def cannot_start(task: Task) -> str | None:
    """Why a task stops before it runs, if it does."""
    if image := missing_image(task.details):
        return cannot_pull(image)
    return cannot_log() if missing_log_group(task.details) else None


def missing_image(definition) -> str | None:
    """The first image of a revision that this account's registry should have and hasn't."""
    for container in definition.container_definitions:
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


def health(group, target: str, port: int) -> tuple[str, str | None, str | None] | None:
    """A target's state, reason and description, if it is one of our tasks: `initial` until its time is up."""
    for task in tasks.values():
        if (group.arn, target, port) in task.targets:
            if illness := _illness_in(group, task):
                return "unhealthy", illness.reason, illness.words
            if _passed(task):
                return "healthy", None, None
            return "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
    return None


def _passed(task: Task) -> bool:
    """Whether a task's time to become well is over; once it is, no other scale makes it begin again."""
    task.passed = task.passed or lifecycle.ready("ecs-service", task.placed)
    return task.passed


def _illness_in(group, task: Task) -> Illness | None:
    return next((illness for part, illness in unhealthy.items() if part in group.name
                 and not (illness.new and task.created < illness.since)), None)


def _ill(task: Task) -> tuple[object, int, Illness] | None:
    """The target group in which a task fails its checks, its port there, and how."""
    groups = elbv2_backends[get_account_id()][get_region()].target_groups
    for arn, _, port in task.targets:
        if arn in groups and (illness := _illness_in(groups[arn], task)):
            return groups[arn], port, illness
    return None


def _ending(service: Service, task: Task) -> Exit | None:
    ending = exits.get(task.family)
    return ending if ending and ending.code is not None and task.definition not in service.proven else None


def _advance_service(service: Service) -> None:
    if service.status == "DRAINING":
        for deployment in service.deployments:
            _shrink(deployment, 0)
        if lifecycle.ready("ecs-service", service.settings["drainedSince"], RUNNING_AFTER):
            service.status, service.deployments = "INACTIVE", []
        return
    if service.settings.get("schedulingStrategy") == "DAEMON":
        service.desired = len(placement.instances(service.cluster))
    while True:
        before = _state(service)
        failed = _pass(service)
        if _state(service) == before:
            return
        for each in moved:
            each()
        if failed and not _failing_on(service):
            return


def _state(service: Service) -> list:
    return [(each.id, each.state, each.failed, [(task.id, task.status, task.placed) for task in each.tasks])
            for each in service.deployments]


def _failing_on(service: Service) -> bool:
    """Whether what fails is tried again at once: until it counts as failed. Else at the next look."""
    primary = service.deployments[0]
    return primary.state == "IN_PROGRESS" and (
        service.breaker.get("enable", False) or primary.failed < service.threshold)


def _pass(service: Service) -> int:
    """Goes as far as nothing has to be looked at again, and answers how many tasks failed."""
    failed = sum(_end(service, each) for each in service.deployments)
    primary = service.deployments[0]
    if service.breaker.get("enable") and primary.state == "IN_PROGRESS" \
            and primary.failed >= service.threshold:
        _break(service, primary)
    primary, *older = service.deployments
    _shrink(primary, service.desired)
    lacking = _grow(service, primary) if primary.state != "FAILED" else 0
    failed += sum(_start(service, each) for each in service.deployments)
    if lacking:
        _make_room(service, older, lacking)
    if primary.state == "IN_PROGRESS" and _steady(service, primary):
        _complete(service, primary, older)
    return failed


def _end(service: Service, deployment: Deployment) -> int:
    """Stops the tasks whose end has come, and counts those that failed."""
    placed = any(task.instance for task in deployment.tasks)
    there = placement.instances(service.cluster) if placed else {}
    failed = 0
    for task in list(deployment.tasks):
        if task.instance and task.instance not in there:
            stop(task, f"Host EC2 (instance {task.instance}) terminated.", "TerminationNotice")
        elif task.status == "RUNNING" and (ending := _ending(service, task)) and lifecycle.ready(
                "ecs-service", task.placed, ENDED_AFTER):
            task.exit_code = ending.code
            stop(task, "Essential container in task exited", "EssentialContainerExited")
            failed += 1
        elif task.status == "RUNNING" and (ill := _ill(task)) and _checked(service, task, ill[0]):
            group, port, illness = ill
            service.say(f"(port {port}) is unhealthy in (target-group {group.arn}) due to "
                        f"(reason {illness.words})")
            stop(task, f"Task failed ELB health checks in (target-group {group.arn})",
                 "ServiceSchedulerInitiated")
            service.say(f"has stopped 1 running tasks: (task {task.id}).")
            failed += 1
        else:
            continue
        deployment.tasks.remove(task)
    _count(service, deployment, failed)
    return failed


def _checked(service: Service, task: Task, group) -> bool:
    """Whether a balancer's verdict on a task holds: its grace period is over, and it was checked enough.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/load-balancer-healthcheck.html
    """
    grace = service.settings.get("healthCheckGracePeriodSeconds") or 0
    checks = int(group.health_check_interval_seconds) * int(group.unhealthy_threshold_count)
    return time.time() - task.started >= max(grace, checks) * lifecycle.scale


def _count(service: Service, deployment: Deployment, failed: int) -> None:
    """Tasks of a deployment that was completed are replaced, and no failure of it."""
    if not failed or deployment.state != "IN_PROGRESS":
        return
    deployment.failed, deployment.updated = deployment.failed + failed, time.time()
    if deployment.failed >= service.threshold:
        service.say_once("is unable to consistently start tasks successfully. For more information, see the "
                         "Troubleshooting section of the Amazon ECS Developer Guide.")


def _break(service: Service, failed: Deployment) -> None:
    """Ends a deployment, and brings back the last that was completed, if that is wanted.

    The one before comes back as a new deployment of its revision, with its settings, and its tasks stay.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """
    failed.state, failed.updated = "FAILED", time.time()
    service.say(f"(deployment {failed.id}) deployment failed: tasks failed to start.")
    last = service.completed
    if not service.breaker.get("rollback") or last is None or failed.back_to:
        return
    service.say(f"rolling back to deployment {last.id}.")
    _shrink(failed, 0)
    for name in REVISION:
        service.settings.pop(name, None)
    service.settings.update({name: last.settings[name] for name in REVISION if name in last.settings})
    back = Deployment(last.definition, dict(service.settings), back_to=last.id)
    back.tasks, last.tasks = last.tasks, []
    service.deployments = [back, *(each for each in service.deployments if each is not last)]


def _grow(service: Service, deployment: Deployment) -> int:
    """Starts the tasks that are wanted and may be, and answers how many of them still lack a place."""
    there = sum(len(each.tasks) for each in service.deployments)
    wanted = service.desired - len(deployment.tasks)
    allowed = max(0, math.floor(service.share("maximumPercent", 200)) - there)
    started, why = [], None
    for _ in range(min(wanted, allowed)):
        task, why = launch(service.cluster, deployment.definition, f"service:{service.name}", deployment.id,
                           deployment.settings, deployment.tasks)
        if why and task.provider is None:
            drop(task)
            break
        deployment.tasks.append(task)
        started.append(task)
    if started:
        names = " ".join(f"(task {task.id})" for task in started)
        service.say(f"has started {len(started)} tasks: {names}.")
    if why:
        service.say_once(placement.UNPLACED.format(why))
    return service.desired - len([task for task in deployment.tasks if task.placed])


def _start(service: Service, deployment: Deployment) -> int:
    """Brings tasks to where they run, and counts those that don't get there."""
    failed = 0
    for task in list(deployment.tasks):
        if task.status == "RUNNING" or (task.placed is None and _place(task)):
            continue
        task.status = "PENDING"
        if not lifecycle.ready("ecs-service", task.placed, RUNNING_AFTER):
            continue
        if reason := cannot_start(task):
            stop(task, reason, "TaskFailedToStart")
            deployment.tasks.remove(task)
            failed += 1
            continue
        task.status, task.started = "RUNNING", time.time()
        _register(service, task)
        for container in task.details.container_definitions if (ending := _ending(service, task)) else []:
            _write_log(task, container, ending.log)
    _count(service, deployment, failed)
    return failed


def _register(service: Service, task: Task) -> None:
    """Tells its target groups, and its services of Cloud Map, about a task that runs."""
    groups = elbv2_backends[get_account_id()][get_region()].target_groups
    for each in task.settings.get("loadBalancers", []):
        group = groups.get(each.get("targetGroupArn"))
        if group is None:
            continue
        target, port = task.address, each["containerPort"]
        for binding in task.bindings:
            if (binding["container"], binding["containerPort"]) == (each["containerName"], port):
                target, port = task.instance, binding["hostPort"]
                break
        group.register([{"Id": target, "Port": port}])
        task.targets.append((group.arn, target, port))
        service.say(f"registered 1 targets in (target-group {group.arn})")
    for each in task.settings.get("serviceRegistries", []):
        registry = each["registryArn"].rsplit("/", 1)[-1]
        servicediscovery.register(registry, task.id, task.address)
        task.registries.append(registry)


def _make_room(service: Service, older: list[Deployment], lacking: int) -> None:
    """Stops tasks of the revision before where the new one's have no room, down to the least that must run.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    """
    well = sum(_well(service, task) for each in service.deployments for task in each.tasks)
    spare = min(lacking, well - math.ceil(service.share("minimumHealthyPercent", 100)))
    for deployment in older:
        gone = min(max(spare, 0), len(deployment.tasks))
        _shrink(deployment, len(deployment.tasks) - gone)
        spare -= gone


def _complete(service: Service, primary: Deployment, older: list[Deployment]) -> None:
    for deployment in older:
        _shrink(deployment, 0)
    primary.state, primary.updated = "COMPLETED", time.time()
    service.deployments, service.completed = [primary], primary
    service.proven.add(primary.definition)
    service.say(f"(deployment {primary.id}) deployment completed.")
    service.say("has reached a steady state.")


def _shrink(deployment: Deployment, wanted: int) -> None:
    for task in deployment.tasks[wanted:]:
        stop(task, f"Scaling activity initiated by (deployment {deployment.id})", "ServiceSchedulerInitiated")
    del deployment.tasks[wanted:]


def _steady(service: Service, deployment: Deployment) -> bool:
    if len(deployment.tasks) != service.desired:
        return False
    # One that goes back has its tasks already, and takes its time all the same.
    done = not deployment.back_to or lifecycle.ready("ecs-service", deployment.created, RUNNING_AFTER)
    return done and all(_well(service, task) for task in deployment.tasks)


def _well(service: Service, task: Task) -> bool:
    return task.status == "RUNNING" and _passed(task) \
        and not _ending(service, task) and not _ill(task)


def _advance_lone(task: Task) -> None:
    """A task that was run by itself goes one step further at each look, and does its work: see `Exit`."""
    ending = exits.get(task.family, Exit())
    if task.instance and task.instance not in placement.instances(task.cluster):
        stop(task, f"Host EC2 (instance {task.instance}) terminated.", "TerminationNotice")
    elif task.placed is None and _place(task):
        return
    elif task.status == "PROVISIONING":
        task.status = "PENDING"
    elif task.status == "PENDING" and lifecycle.ready("ecs-service", task.placed, LONE_RUNNING_AFTER):
        task.status, task.started = "RUNNING", time.time()
        for container in task.details.container_definitions:
            _write_log(task, container, ending.log)
    elif task.status == "RUNNING" and ending.code is not None and lifecycle.ready(
            "ecs-service", task.placed, LONE_DONE_AFTER):
        task.exit_code = ending.code
        stop(task, "Essential container in task exited", "EssentialContainerExited")


def missing_log_group(definition) -> str | None:
    """The first log group that a revision writes to and that isn't there."""
    for container in definition.container_definitions:
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

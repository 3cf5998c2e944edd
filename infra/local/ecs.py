"""ECS: services that start, replace and stop their tasks. moto has the rest: clusters, definitions.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
"""

import json
import uuid
from collections.abc import Callable

from ministack.core.responses import get_account_id, get_region
from moto.core.exceptions import JsonRESTError, ServiceException
from moto.ecs.models import EC2ContainerServiceBackend

from . import bridge, deployments, iam, placement
from .deployments import Deployment, Service, Task, backend, services, tasks

DEPLOYMENT = {"maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING",
              "deploymentCircuitBreaker": {"enable": False, "rollback": False}}
# CPU units and the memory, in MiB, that go with them: from, to, in steps of.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE = {256: (512, 2048, 512), 512: (1024, 4096, 1024), 1024: (2048, 8192, 1024),
           2048: (4096, 16384, 1024), 4096: (8192, 30720, 1024), 8192: (16384, 61440, 4096),
           16384: (32768, 122880, 8192)}
DAEMON = ("The daemon scheduling strategy does not support a desired count for services. Remove the desired "
          "count value and try again")
# What RunTask was asked and what it answered, tasks and failures, by (region, cluster, client token).
tokens: dict[tuple[str, str, str], tuple[dict, list[Task], list[dict]]] = {}
# What an update of makes ECS replace the tasks.
REPLACING = ("taskDefinition", "networkConfiguration", "platformVersion", "capacityProviderStrategy",
             "enableExecuteCommand", "loadBalancers", "serviceRegistries", "volumeConfigurations",
             "serviceConnectConfiguration", "forceNewDeployment")


class Refusal(Exception):
    """An error in ECS's words."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


# The last number that a family's revisions had, by region and family.
numbers: dict[tuple[str, str], int] = {}


def install() -> None:
    bridge.around["ecs"] = _answer
    # It asks for `memory` where `memoryReservation` is enough; see `_check_memory`.
    EC2ContainerServiceBackend._validate_container_defs = staticmethod(lambda *_: None)
    EC2ContainerServiceBackend.register_task_definition = _numbered(
        EC2ContainerServiceBackend.register_task_definition)


def _numbered(plain: Callable) -> Callable:
    """A revision's number isn't given again when the revision has been deleted.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/delete-task-definition-v2.html
    """
    def register(self, *args, **settings):
        made = plain(self, *args, **settings)
        number = max(made.revision, numbers.get((self.region_name, made.family), 0) + 1)
        if number != made.revision:
            del self.task_definitions[made.family][made.revision]
            self.task_definitions[made.family][number] = made
            made.revision, made.arn = number, f"{made.arn.rsplit(':', 1)[0]}:{number}"
        numbers[self.region_name, made.family] = number
        return made

    return register


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    action = request.headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    body = json.loads(request.body or b"{}")
    deployments.advance()
    try:
        if action in BEFORE:
            BEFORE[action](body)
            request.body = json.dumps(body).encode()
        if action in ANSWERS:
            return _reply(200, ANSWERS[action](body))
    except Refusal as refusal:
        return _reply(400, {"__type": refusal.code, "message": refusal.message})
    except (JsonRESTError, ServiceException) as refusal:
        code = getattr(refusal, "error_type", None) or refusal.code
        return _reply(400, {"__type": code, "message": refusal.message})
    if action.endswith(("TagResource", "UntagResource", "ListTagsForResource")):
        if (tags := _own_tags(body["resourceArn"])) is not None:
            return _reply(200, _tagging(action, tags, body))
    status, headers, answer = moto()
    if status == 200 and action in AFTER:
        return _reply(200, AFTER[action](json.loads(answer)))
    return status, headers, answer


def _reply(status: int, body: dict) -> bridge.Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


def create_service(body: dict) -> dict:
    cluster, name = _cluster(body), body["serviceName"]
    key = (get_region(), cluster, name)
    if key in services and services[key].status == "DRAINING":
        raise Refusal("InvalidParameterException", "Unable to Start a service that is still Draining.")
    if key in services and services[key].status == "ACTIVE":
        raise Refusal("InvalidParameterException", "Creation of service was not idempotent.")
    definition = _definition(body["taskDefinition"])
    daemon = body.get("schedulingStrategy") == "DAEMON"
    if daemon and "desiredCount" in body:
        raise Refusal("InvalidParameterException", DAEMON)
    # "This is required if schedulingStrategy is REPLICA or isn't specified." The words are ours.
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
    if not daemon and body.get("desiredCount") is None:
        raise Refusal("InvalidParameterException", "The replica strategy requires a desired count.")
    settings = {name: value for name, value in body.items()
                if name not in ("cluster", "clientToken", "launchType", "capacityProviderStrategy")}
    settings.update(_capacity(cluster, body, definition))
    _check_place(settings, definition)
    service = services[key] = Service(cluster, name, settings, body.get("desiredCount", 0))
    deployments.deploy(service, definition.arn)
    return {"service": _service(service, tags=True)}


def update_service(body: dict) -> dict:
    service = _existing(body, body["service"])
    if service.status != "ACTIVE":
        raise Refusal("ServiceNotActiveException", "Service was not ACTIVE.")
    definition = _definition(body.get("taskDefinition") or service.deployments[0].definition)
    changes = {name: value for name, value in body.items() if name not in ("cluster", "service")}
    strategy = changes.pop("capacityProviderStrategy", None)
    capacity = {}
    if strategy is not None and strategy != service.settings.get("capacityProviderStrategy", []):
        if not changes.get("forceNewDeployment"):
            raise Refusal("InvalidParameterException",
                          "When switching from launch type to capacity provider strategy on an existing "
                          "service, or making a change to a capacity provider strategy on a service that is "
                          "already using one, you must force a new deployment.")
        capacity = _capacity(service.cluster, body, definition) if strategy else {
            "launchType": "FARGATE" if _serverless(service.settings) else "EC2"}
    if service.settings.get("schedulingStrategy") == "DAEMON" and "desiredCount" in changes:
        raise Refusal("InvalidParameterException", DAEMON)
    kept = {name: value for name, value in service.settings.items()
            if not capacity or name not in ("launchType", "capacityProviderStrategy")}
    replaced = changes.pop("forceNewDeployment", False) or any(
        name in changes and (changes[name] or None) != (service.settings.get(name) or None)
        for name in REPLACING)
    settings = {**kept, **changes, **capacity}
    _check_place(settings, definition)
    if changes.get("desiredCount") is not None:
        service.desired = changes["desiredCount"]
    service.settings = settings
    if replaced or definition.arn != service.deployments[0].definition:
        deployments.deploy(service, definition.arn)
    deployments.advance()
    return {"service": _service(service)}


def delete_service(body: dict) -> dict:
    service = _existing(body, body["service"])
    if service.status != "ACTIVE":
        raise Refusal("ServiceNotActiveException", "Service was not ACTIVE.")
    if service.desired > 0 and not body.get("force"):
        raise Refusal("InvalidParameterException",
                      "The service cannot be stopped while it is scaled above 0.")
    deployments.drain(service)
    return {"service": _service(service)}


def describe_services(body: dict) -> dict:
    cluster, found, failures = _cluster(body), [], []
    if len(body["services"]) > 10:
        raise Refusal("InvalidParameterException", "Services cannot have more than 10 elements.")
    for wanted in body["services"]:
        service = services.get((get_region(), cluster, wanted.rsplit("/", 1)[-1]))
        if service:
            found.append(_service(service, tags="TAGS" in body.get("include", [])))
        else:
            failures.append({"arn": deployments.arn("service", f"{cluster}/{wanted.rsplit('/', 1)[-1]}"),
                             "reason": "MISSING"})
    return {"services": found, "failures": failures}


def list_services(body: dict) -> dict:
    cluster = _cluster(body)
    arns = sorted(service.arn for service in _services(cluster)
                  if body.get("launchType", service.settings.get("launchType"))
                  == service.settings.get("launchType"))
    return _page(arns, "serviceArns", body, 10)


def run_task(body: dict) -> dict:
    """A token answers the same tasks again, and takes no other request.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """
    cluster = _cluster(body)
    token = (get_region(), cluster, body.get("clientToken") or uuid.uuid4().hex)
    asked = {name: value for name, value in body.items() if name != "clientToken"}
    if token not in tokens:
        tokens[token] = asked, *_run(cluster, body)
    elif tokens[token][0] != asked:
        raise Refusal("ConflictException", "The request could not be processed because of conflict in the "
                      "current state of the resource.")
    deployments.advance()
    _, started, failures = tokens[token]
    return {"tasks": [_task(task, tags=True) for task in started], "failures": failures}


def _run(cluster: str, body: dict) -> tuple[list[Task], list[dict]]:
    """What has no place is a failure, or waits for one if a provider is to make it.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    """
    definition = _definition(body["taskDefinition"])
    _check_roles(definition)
    settings = {**body, **_capacity(cluster, body, definition)}
    _check_place(settings, definition)
    if settings.get("launchType") == "EC2" and not placement.instances(cluster):
        raise Refusal("InvalidParameterException", "No Container Instances were found in your cluster.")
    group = body.get("group", f"family:{definition.family}")
    started, failures = [], []
    for _ in range(body.get("count", 1)):
        task, why = deployments.launch(cluster, definition.arn, group, body.get("startedBy", ""), settings,
                                       started)
        if why and task.provider is None:
            deployments.drop(task)
            failures.append({"arn": deployments.arn("cluster", cluster), "reason": "RESOURCE:PORTS"})
            continue
        started.append(task)
        if reason := deployments.cannot_start(task):
            deployments.stop(task, reason, "TaskFailedToStart")
    return started, failures


def _check_roles(definition) -> None:
    """A role made moments ago can't be assumed yet.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting.html
    """
    roles = [getattr(definition, name, None) for name in ("execution_role_arn", "task_role_arn")]
    for role in filter(None, roles):
        if not iam.assumable(role, "ecs-tasks.amazonaws.com"):
            raise Refusal("ClientException", f"ECS was unable to assume the role '{role}' that was provided for "
                          "this task. Please verify that the role being passed has the proper trust "
                          "relationship and permissions and that your IAM user has permissions to pass this "
                          "role.")


def stop_task(body: dict) -> dict:
    task = tasks.get((get_region(), body["task"].rsplit("/", 1)[-1]))
    if task is None:
        raise Refusal("InvalidParameterException", "The referenced task was not found.")
    if task.status != "STOPPED":
        for service in _services(task.cluster):
            for deployment in service.deployments:
                if task in deployment.tasks:
                    deployment.tasks.remove(task)
        # A process that takes no notice of SIGTERM is killed.
        task.exit_code = 137 if task.status == "RUNNING" else None
        deployments.stop(task, body.get("reason", "Task stopped by user"), "UserInitiated")
    return {"task": _task(task)}


def list_tasks(body: dict) -> dict:
    cluster, desired = _cluster(body), body.get("desiredStatus", "RUNNING")
    arns = sorted(
        task.arn for (region, _), task in tasks.items()
        if (region, task.cluster, task.desired) == (get_region(), cluster, desired)
        and body.get("serviceName", "").rsplit("/", 1)[-1] in ("", task.group.removeprefix("service:"))
        and body.get("family", "") in ("", task.family) and body.get("startedBy", task.started_by)
        == task.started_by)
    return _page(arns, "taskArns", body, 100)


def describe_tasks(body: dict) -> dict:
    found = {wanted: tasks.get((get_region(), wanted.rsplit("/", 1)[-1])) for wanted in body["tasks"]}
    with_tags = "TAGS" in body.get("include", [])
    return {"tasks": [_task(task, with_tags) for task in found.values() if task],
            "failures": [{"arn": wanted, "reason": "MISSING"} for wanted, task in found.items() if not task]}


def before_register(body: dict) -> None:
    """Fills in what AWS fills in for ports, and refuses what it refuses.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
    """
    containers = body["containerDefinitions"]
    shared = body.get("networkMode") in ("awsvpc", "host")
    for container in containers:
        for name in ("name", "image"):
            if not container.get(name):
                raise Refusal("ClientException", f"Container.{name} should not be null or empty.")
        for mapping in container.get("portMappings", []):
            _check_port(body, container, mapping)
            mapping.setdefault("protocol", "tcp")
            mapping["hostPort"] = mapping.get("hostPort") or (mapping["containerPort"] if shared else 0)
        _check_memory(container, int(body.get("memory") or 0))
        _check_log(container)
    _check_dependencies(containers)
    volumes = {volume["name"] for volume in body.get("volumes", [])}
    for mount in [mount for container in containers for mount in container.get("mountPoints", [])]:
        if mount.get("sourceVolume") not in volumes:
            raise Refusal("ClientException", f"Unknown volume '{mount.get('sourceVolume')}'.")
    if "FARGATE" in body.get("requiresCompatibilities", []):
        _check_fargate(body)
    if body.get("cpu") and sum(each.get("cpu", 0) for each in containers) > int(body["cpu"]):
        raise Refusal("ClientException", "The sum of all container 'cpu' values cannot be greater than the "
                      "value of the task 'cpu'.")


def _check_port(body: dict, container: dict, mapping: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html"""
    if not 1 <= mapping.get("containerPort", 0) <= 65535:
        raise Refusal("ClientException",
                      f"Invalid 'containerPort' setting for container '{container['name']}'.")
    mode = body.get("networkMode", "bridge")
    if mode in ("awsvpc", "host") and mapping.get("hostPort", 0) not in (0, mapping["containerPort"]):
        raise Refusal("ClientException", f"When networkMode={mode}, the host ports and container ports in "
                      "port mappings must match.")


def _check_memory(container: dict, of_task: int) -> None:
    """The task has memory, or each container has, or keeps some free.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    """
    limit, reservation = container.get("memory"), container.get("memoryReservation")
    setting = f"Invalid setting for container '{container['name']}'."
    if not limit and not reservation and not of_task:
        raise Refusal("ClientException",
                      f"{setting} At least one of 'memory' or 'memoryReservation' must be specified.")
    # AWS's words for this aren't documented.
    if limit and reservation and limit < reservation:
        raise Refusal("ClientException", f"{setting} 'memory' must be greater than 'memoryReservation'.")
    if limit and of_task and limit > of_task:
        raise Refusal("ClientException", "The 'memory' setting for container is greater than for the task.")


def _check_log(container: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html"""
    log = container.get("logConfiguration") or {}
    missing = [name for name in ("awslogs-region", "awslogs-group") if not log.get("options", {}).get(name)]
    if log.get("logDriver") == "awslogs" and missing:
        raise Refusal("ClientException", f"Log driver awslogs requires options: {', '.join(missing)}")


def _check_dependencies(containers: list[dict]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html"""
    by_name = {container["name"]: container for container in containers}
    if len(by_name) < len(containers):
        raise Refusal("ClientException", "Container names must be unique.")
    if not any(container.get("essential", True) for container in containers):
        raise Refusal("ClientException", "At least one container must be essential.")
    waiting = {name: set() for name in by_name}
    for container in containers:
        for dependency in container.get("dependsOn", []):
            other, condition = by_name.get(dependency["containerName"]), dependency["condition"]
            if other is None:
                raise Refusal("ClientException", f"Container '{container['name']}' depends on container "
                              f"'{dependency['containerName']}', which does not exist.")
            if condition in ("SUCCESS", "COMPLETE") and other.get("essential", True):
                raise Refusal("ClientException", "A dependency container with SUCCESS or COMPLETE condition "
                              "cannot be an essential container")
            if condition == "HEALTHY" and not other.get("healthCheck"):
                raise Refusal("ClientException", "A dependency container with HEALTHY condition must have "
                              "health check configured")
            waiting[container["name"]].add(other["name"])
    while free := [name for name, others in waiting.items() if not others & waiting.keys()]:
        for name in free:
            del waiting[name]
    if waiting:
        raise Refusal("ClientException", "Container dependencies must not be cyclic.")


def _check_fargate(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html"""
    if body.get("networkMode") != "awsvpc":
        raise Refusal("ClientException", "Fargate only supports network mode 'awsvpc'.")
    if any((volume.get("host") or {}).get("sourcePath") for volume in body.get("volumes", [])):
        raise Refusal("ClientException", "Fargate compatible task definitions do not support sourcePath")
    for name in ("cpu", "memory"):
        if not body.get(name):
            raise Refusal("ClientException", f"Fargate requires that '{name}' be defined at the task level.")
    cpu, memory = int(body["cpu"]), int(body["memory"])
    least, most, step = FARGATE.get(cpu, (1, 0, 1))
    # The smallest size has 1 GB steps but for its first.
    if not least <= memory <= most or memory % step or (cpu, memory) == (256, 1536):
        raise Refusal("ClientException", f"No Fargate configuration exists for given values: {cpu} CPU, "
                      f"{memory} memory. See the Amazon ECS documentation for the valid values.")


def before_delete_cluster(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html"""
    cluster = _cluster(body)
    if _services(cluster):
        raise Refusal("ClusterContainsServicesException",
                      "The Cluster cannot be deleted while Services are active.")
    if any(task.cluster == cluster and task.status != "STOPPED" for task in tasks.values()):
        raise Refusal("ClusterContainsTasksException",
                      "The Cluster cannot be deleted while Tasks are active.")
    if backend().container_instances.get(cluster):
        raise Refusal("ClusterContainsContainerInstancesException",
                      "The Cluster cannot be deleted while Container Instances are active or draining.")


def after_describe_clusters(answer: dict) -> dict:
    for cluster in answer["clusters"]:
        mine = [task for task in tasks.values() if task.cluster == cluster["clusterName"]]
        cluster["activeServicesCount"] = len(_services(cluster["clusterName"]))
        cluster["runningTasksCount"] = len([task for task in mine if task.status == "RUNNING"])
        cluster["pendingTasksCount"] = len([task for task in mine
                                            if task.status in ("PROVISIONING", "PENDING")])
    return answer


def after_list_clusters(answer: dict) -> dict:
    """A deleted cluster is described as INACTIVE for a while, and listed no more."""
    active = {cluster.arn for cluster in backend().clusters.values() if cluster.status == "ACTIVE"}
    return {**answer, "clusterArns": [arn for arn in answer["clusterArns"] if arn in active]}


ANSWERS: dict[str, Callable[[dict], dict]] = {
    "CreateService": create_service, "UpdateService": update_service, "DeleteService": delete_service,
    "DescribeServices": describe_services, "ListServices": list_services, "RunTask": run_task,
    "StopTask": stop_task, "ListTasks": list_tasks, "DescribeTasks": describe_tasks,
}
BEFORE = {"DeleteCluster": before_delete_cluster, "RegisterTaskDefinition": before_register}
AFTER = {"DescribeClusters": after_describe_clusters, "ListClusters": after_list_clusters}


def _cluster(body: dict) -> str:
    name = body.get("cluster", "default").rsplit("/", 1)[-1]
    cluster = backend().clusters.get(name)
    if cluster is None or cluster.status != "ACTIVE":
        raise Refusal("ClusterNotFoundException", "Cluster not found.")
    return name


def _services(cluster: str) -> list[Service]:
    return [service for (region, name, _), service in services.items()
            if (region, name) == (get_region(), cluster) and service.status != "INACTIVE"]


def _existing(body: dict, name: str) -> Service:
    service = services.get((get_region(), _cluster(body), name.rsplit("/", 1)[-1]))
    if service is None:
        raise Refusal("ServiceNotFoundException", "Service not found.")
    return service


def _definition(name: str):
    definition = backend().describe_task_definition(name)
    if definition.status != "ACTIVE":
        raise Refusal("ClientException", "TaskDefinition is inactive")
    return definition


def _capacity(cluster: str, body: dict, definition) -> dict:
    """A launch type or a strategy: what was asked for, else the cluster's strategy, else EC2.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
    """
    launch, strategy = body.get("launchType"), body.get("capacityProviderStrategy")
    known = backend().clusters[cluster]
    if launch and strategy:
        raise Refusal("InvalidParameterException", "Specifying both a launch type and capacity provider "
                      "strategy is not supported. Remove one and try again.")
    if not launch and not strategy:
        strategy = known.default_capacity_provider_strategy
    for item in strategy or []:
        provider = item["capacityProvider"]
        if provider not in ("FARGATE", "FARGATE_SPOT") and backend()._get_provider(provider) is None:
            raise Refusal("InvalidParameterException", "The specified capacity provider was not found. "
                          "Specify a valid capacity provider and try again.")
        if provider not in (known.capacity_providers or []):
            raise Refusal("InvalidParameterException",
                          "The specified capacity provider strategy cannot contain a capacity provider that "
                          "is not associated with the cluster. Associate the capacity provider with the "
                          "cluster or specify a valid capacity provider and try again.")
    capacity = {"capacityProviderStrategy": strategy} if strategy else {"launchType": launch or "EC2"}
    kind = "FARGATE" if _serverless(capacity) else "EC2"
    if kind not in definition.compatibilities:
        raise Refusal("InvalidParameterException",
                      f"Task definition does not support launch_type {kind}.")
    return capacity


def _check_place(settings: dict, definition) -> None:
    """What a service's or a task's place, and what is to reach it, must have."""
    network = settings.get("networkConfiguration")
    if definition.network_mode == "awsvpc" and not network:
        raise Refusal("InvalidParameterException",
                      "Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if definition.network_mode != "awsvpc" and network:
        raise Refusal("InvalidParameterException", "Network Configuration is not valid for the given "
                      "networkMode of this task definition.")
    _check_network(network)
    public = (network or {}).get("awsvpcConfiguration", {}).get("assignPublicIp") == "ENABLED"
    if public and not _serverless(settings):
        raise Refusal("InvalidParameterException", "Assign public IP is not supported for this launch type.")
    _check_balancers(settings.get("loadBalancers", []), definition)
    _check_registries(settings.get("serviceRegistries", []), definition)


def _check_network(configuration: dict | None) -> None:
    network = (configuration or {}).get("awsvpcConfiguration")
    if not network:
        return
    ec2 = deployments.ec2_backends[get_account_id()][get_region()]
    for subnet in network["subnets"]:
        if subnet not in {each.id for each in ec2.describe_subnets()}:
            raise Refusal("InvalidParameterException",
                          f"Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}' "
                          "does not exist (ErrorCode: InvalidSubnetID.NotFound)")
    for group in network.get("securityGroups", []):
        if ec2.get_security_group_from_id(group) is None:
            raise Refusal("InvalidParameterException",
                          f"Error retrieving security group information for [{group}]: The security group "
                          f"'{group}' does not exist (ErrorCode: InvalidGroup.NotFound)")


def _check_balancers(balancers: list[dict], definition) -> None:
    """A target group must exist, fit, and hang on a listener before a service may use it.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-load-balancing.html
    """
    elb = deployments.elbv2_backends[get_account_id()][get_region()]
    for balancer in balancers:
        arn = balancer["targetGroupArn"]
        if arn not in elb.target_groups:
            raise Refusal("InvalidParameterException",
                          f"Unable to assume role and validate the specified targetGroupArn: {arn}")
        if not elb._any_listener_using(arn):
            raise Refusal("InvalidParameterException",
                          f"The target group with targetGroupArn {arn} does not have an associated load "
                          "balancer.")
        _check_container(balancer, definition)
        kind, mode = elb.target_groups[arn].target_type, definition.network_mode
        if kind != ("ip" if mode == "awsvpc" else "instance"):
            raise Refusal("InvalidParameterException",
                          f"The provided target group {arn} has target type {kind}, which is incompatible "
                          f"with the {mode} network mode specified in the task definition.")


def _check_container(named: dict, definition) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LoadBalancer.html"""
    name, port = named["containerName"], named["containerPort"]
    mappings = {each["name"]: each.get("portMappings", []) for each in definition.container_definitions}
    if name not in mappings:
        raise Refusal("InvalidParameterException",
                      f"The container {name} does not exist in the task definition.")
    if port not in [mapping["containerPort"] for mapping in mappings[name]]:
        raise Refusal("InvalidParameterException",
                      f"The container {name} did not have a container port {port} defined.")


def _check_registries(registries: list[dict], definition) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceRegistry.html"""
    for registry in registries:
        told = "containerName" in registry and "containerPort" in registry
        if definition.network_mode in ("bridge", "host") and not told:
            raise Refusal("InvalidParameterException",
                          "When specifying 'host' or 'bridge' for networkMode, values for 'containerName' "
                          "and 'containerPort' must be specified from the task definition. Registry: "
                          f"{registry['registryArn']}")
        if told:
            _check_container(registry, definition)


def _service(service: Service, tags: bool = False) -> dict:
    settings = service.settings
    shown = {
        "deploymentController": {"type": "ECS"}, "enableECSManagedTags": False,
        "enableExecuteCommand": False, "loadBalancers": [], "placementConstraints": [],
        "placementStrategy": [], "propagateTags": "NONE", "schedulingStrategy": "REPLICA",
        "serviceRegistries": [],
        **{name: value for name, value in settings.items() if name not in ("tags", "drainedSince")},
        "clusterArn": deployments.arn("cluster", service.cluster),
        "createdAt": service.created,
        "deploymentConfiguration": {**DEPLOYMENT, **settings.get("deploymentConfiguration", {})},
        "deployments": [_deployment(service, each) for each in service.deployments],
        "desiredCount": service.desired,
        "events": service.events[:100],
        "pendingCount": len(service.pending()),
        "runningCount": len(service.running()),
        "serviceArn": service.arn,
        "status": service.status,
        "taskDefinition": service.deployments[0].definition if service.deployments
        else settings["taskDefinition"],
    }
    if _serverless(settings):
        shown = {"platformVersion": "LATEST", "platformFamily": "Linux", **shown}
    return {**shown, "tags": settings.get("tags", [])} if tags else shown


def _serverless(settings: dict) -> bool:
    strategy = settings.get("capacityProviderStrategy") or [{}]
    return settings.get("launchType") == "FARGATE" or strategy[0].get("capacityProvider", "").startswith(
        "FARGATE")


def _deployment(service: Service, deployment: Deployment) -> dict:
    primary = deployment is service.deployments[0]
    running = len([task for task in deployment.tasks if task.status == "RUNNING"])
    shown = {
        "id": deployment.id,
        "status": "PRIMARY" if primary else "ACTIVE",
        "taskDefinition": deployment.definition,
        "desiredCount": service.desired if primary else len(deployment.tasks),
        "runningCount": running,
        "pendingCount": len(deployment.tasks) - running,
        "failedTasks": deployment.failed,
        "createdAt": deployment.created,
        "updatedAt": deployment.updated,
        "rolloutState": deployment.state,
        "rolloutStateReason": deployment.reason,
    }
    kept = ("launchType", "capacityProviderStrategy", "networkConfiguration")
    return {**shown, **{name: deployment.settings[name] for name in kept if name in deployment.settings}}


def _task(task: Task, tags: bool = False) -> dict:
    definition = task.details
    shown = {
        "taskArn": task.arn,
        "clusterArn": deployments.arn("cluster", task.cluster),
        "taskDefinitionArn": task.definition,
        "group": task.group,
        "startedBy": task.started_by or None,
        "launchType": task.launch_type, "capacityProviderName": task.provider,
        "containerInstanceArn": placement.container_instance(task.cluster, task.instance)
        if task.instance else None,
        "cpu": definition.cpu, "memory": definition.memory,
        "lastStatus": task.status, "desiredStatus": task.desired,
        "createdAt": task.created, "startedAt": task.started, "stoppedAt": task.stopped,
        "stopCode": task.stop_code, "stoppedReason": task.stopped_reason,
        "overrides": task.overrides, "tags": task.tags if tags else [],
        "attachments": [_attachment(task)] if task.interface else [],
        "containers": [_container(task, each) for each in definition.container_definitions],
        "healthStatus": "HEALTHY" if task.status == "RUNNING" else "UNKNOWN",
    }
    return {name: value for name, value in shown.items() if value is not None}


def _attachment(task: Task) -> dict:
    details = {"subnetId": task.interface.subnet.id, "networkInterfaceId": task.interface.id,
               "macAddress": task.interface.mac_address, "privateIPv4Address": task.address}
    return {"id": task.id, "type": "ElasticNetworkInterface",
            "status": "DELETED" if task.status == "STOPPED" else "ATTACHED",
            "details": [{"name": name, "value": value} for name, value in details.items()]}


def _container(task: Task, definition: dict) -> dict:
    shown = {"containerArn": deployments.arn("container", f"{task.cluster}/{task.id}/{definition['name']}"),
             "taskArn": task.arn, "name": definition["name"], "image": definition["image"],
             "lastStatus": task.status, "exitCode": task.exit_code,
             "reason": task.stopped_reason if task.stop_code == "TaskFailedToStart" else None,
             "networkBindings": [{name: value for name, value in binding.items() if name != "container"}
                                 for binding in task.bindings if binding["container"] == definition["name"]],
             "networkInterfaces": [{"attachmentId": task.id, "privateIpv4Address": task.address}]
             if task.interface else []}
    return {name: value for name, value in shown.items() if value is not None}


def _page(arns: list[str], field: str, body: dict, limit: int) -> dict:
    start = int(body.get("nextToken") or 0)
    end = start + body.get("maxResults", limit)
    return {field: arns[start:end], **({"nextToken": str(end)} if end < len(arns) else {})}


def _own_tags(arn: str) -> list | None:
    """The tags of a service or a task of ours, to be changed in place."""
    kind, *names = arn.split(":", 5)[5].split("/")
    if kind == "service":
        service = services.get((get_region(), names[0], names[-1]))
        return service.settings.setdefault("tags", []) if service else None
    task = tasks.get((get_region(), names[-1])) if kind == "task" else None
    return task.tags if task else None


def _tagging(action: str, tags: list[dict], body: dict) -> dict:
    if action == "ListTagsForResource":
        return {"tags": tags}
    gone = set(body.get("tagKeys", [])) | {tag["key"] for tag in body.get("tags", [])}
    tags[:] = [tag for tag in tags if tag["key"] not in gone] + body.get("tags", [])
    return {}

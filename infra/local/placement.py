"""Where ECS puts tasks: the provider of a strategy whose turn it is, an instance of the cluster, its ports.

Of an instance's room only its ports are looked at, not its memory and CPU.
"""

from collections import Counter
from collections.abc import Iterable

from ministack.core.responses import get_account_id, get_region
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends

# Held on every instance, by SSH, Docker and the ECS agent.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
RESERVED = {("tcp", port) for port in (22, 2375, 2376, 51678, 51679, 51680)}
# Where Docker begins when it may choose.
DYNAMIC = 32768
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
UNPLACED = ("was unable to place a task because no container instance met all of its requirements. {} For "
            "more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")


def _registered(cluster: str) -> list:
    return list(ecs_backends[get_account_id()][get_region()].container_instances.get(cluster, {}).values())


def instances(cluster: str) -> dict[str, str]:
    """The private addresses of the instances of EC2 that are in the cluster and run, by id."""
    ec2 = ec2_backends[get_account_id()][get_region()]
    found = [ec2.get_instance_by_id(each.ec2_instance_id) for each in _registered(cluster)]
    return {each.id: each.private_ip for each in found if each and each.state == "running"}


def container_instance(cluster: str, instance: str) -> str | None:
    """The ARN under which the cluster knows an instance of EC2."""
    return next((each.container_instance_arn for each in _registered(cluster)
                 if each.ec2_instance_id == instance), None)


def provider(strategy: list[dict], others: Iterable) -> str | None:
    """First each provider's base, then by weight.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
    """
    if not strategy:
        return None
    taken = Counter(task.provider for task in others)
    for item in strategy:
        if taken[item["capacityProvider"]] < item.get("base", 0):
            return item["capacityProvider"]
    weighed = [item for item in strategy if item.get("weight", 0) > 0] or strategy[:1]
    return min(weighed, key=lambda item: (taken[item["capacityProvider"]] - item.get("base", 0))
               / max(item.get("weight", 0), 1))["capacityProvider"]


def place(task, others: Iterable) -> str | None:
    """Puts a task on the instance with the fewest that has its ports free; else says why it can't."""
    # One that drains takes no more.
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
    active = {each.ec2_instance_id for each in _registered(task.cluster) if each.status == "ACTIVE"}
    free = {name: address for name, address in instances(task.cluster).items() if name in active}
    if not free:
        return "Reason: No Container Instances were found in your cluster."
    there: dict[str, list] = {instance: [] for instance in free}
    for other in others:
        if other.status != "STOPPED" and other.instance in there:
            there[other.instance].append(other)
    by_load = sorted(there, key=lambda instance: len(there[instance]))
    for instance in by_load:
        held = RESERVED | {(binding["protocol"], binding["hostPort"])
                           for other in there[instance] for binding in other.bindings}
        bindings = _bind(task.details, held)
        if bindings is not None:
            task.instance, task.host, task.bindings = instance, free[instance], bindings
            return None
    closest = (container_instance(task.cluster, by_load[0]) or by_load[0]).rsplit("/", 1)[-1]
    return (f"The closest matching (container-instance {closest}) is already using a port required by your "
            "task.")


def _bind(definition, held: set) -> list[dict] | None:
    """A task's ports on an instance on which these are held; none if one it names is.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
    """
    if definition.network_mode not in ("bridge", "host"):
        return []
    bindings = []
    for container in definition.container_definitions:
        for mapping in container.get("portMappings", []):
            protocol, port = mapping.get("protocol", "tcp"), mapping.get("hostPort", 0)
            if port and (protocol, port) in held:
                return None
            while not port or (protocol, port) in held:
                port = max(port + 1, DYNAMIC)
            held = held | {(protocol, port)}
            bindings.append({"container": container["name"], "containerPort": mapping["containerPort"],
                             "hostPort": port, "protocol": protocol, "bindIP": "0.0.0.0"})
    return bindings

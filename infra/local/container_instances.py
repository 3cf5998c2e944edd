"""ECS on instances of EC2: those that have joined a cluster, and capacity providers that grow groups."""

import json
import time
from collections.abc import Callable

from ministack.core.responses import get_account_id, get_region
from moto.autoscaling.models import autoscaling_backends
from moto.core.exceptions import ServiceException
from moto.ecs.models import CapacityProvider

from . import bridge, deployments, lifecycle

# The shares of an instance's time that a cluster takes a provider, and that a provider takes to go.
ATTACHED, DELETED = 0.1, 0.1
RESERVED = ("aws", "ecs", "fargate")
FARGATE = ("FARGATE", "FARGATE_SPOT")

# When a cluster was given its providers, and when the deletion of a provider began: by region and name.
_changed: dict[tuple[str, str], float] = {}
_deleted: dict[tuple[str, str], float] = {}


class Refusal(Exception):
    """An error in ECS's words."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def install() -> None:
    plain = bridge.around["ecs"]
    bridge.around["ecs"] = lambda request, moto: _answer(plain, request, moto)
    CapacityProvider.update = _update(CapacityProvider.update)


def join(cluster: str, instance: str) -> None:
    """Registers an instance of EC2 with a cluster, as its agent does."""
    ecs = deployments.backend()
    if cluster in ecs.clusters and ecs.clusters[cluster].status == "ACTIVE":
        joined = ecs.register_container_instance(cluster, instance)
        joined.capacity_provider_name = _provider_of(instance)


def leave(instance: str) -> None:
    """Takes a terminated instance out of the cluster it had joined.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deregister_container_instance.html
    """
    for joined in deployments.backend().container_instances.values():
        for identity in [each for each, found in joined.items() if found.ec2_instance_id == instance]:
            del joined[identity]


def _provider_of(instance: str) -> str | None:
    for group in autoscaling_backends[get_account_id()][get_region()].autoscaling_groups.values():
        if any(state.instance.id == instance for state in group.instance_states):
            return next((each.name for each in _providers() if _group_of(each) is group), None)
    return None


def _providers() -> list[CapacityProvider]:
    return [each for each in deployments.backend().capacity_providers.values() if each.status == "ACTIVE"]


def _group_of(provider: CapacityProvider):
    return _find_group(provider.auto_scaling_group_provider["autoScalingGroupArn"])


def _find_group(name: str):
    groups = autoscaling_backends[get_account_id()][get_region()].autoscaling_groups.values()
    return next((each for each in groups if name in (each.arn, each.name)), None)


def scale() -> None:
    """Gives a group one more instance while tasks of its cluster wait for one.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html
    """
    for provider in _providers():
        group = _group_of(provider)
        if group is None or getattr(group, "status", None) \
                or provider.auto_scaling_group_provider["managedScaling"]["status"] != "ENABLED":
            continue
        waiting = sum(deployments.waiting(cluster.name) for cluster in deployments.backend().clusters.values()
                      if provider.name in (cluster.capacity_providers or []))
        coming = [state for state in group.instance_states if state.lifecycle_state == "Pending"]
        if waiting and not coming and len(group.instance_states) >= group.desired_capacity:
            group.desired_capacity = min(group.desired_capacity + 1, group.max_size)


def _answer(plain: Callable, request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    from . import autoscaling

    autoscaling.advance()
    action = request.headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    body = json.loads(request.body or b"{}")
    try:
        if action in BEFORE:
            BEFORE[action](body)
            request.body = json.dumps(body).encode()
        if action == "DeleteCapacityProvider":
            return _reply(200, _delete(body))
    except Refusal as refusal:
        return _reply(400, {"__type": refusal.code, "message": refusal.message})
    except ServiceException as refusal:
        return _reply(400, {"__type": "ClientException", "message": refusal.message})
    status, headers, answer = plain(request, moto)
    if status == 200 and action in AFTER:
        return _reply(200, AFTER[action](json.loads(answer), body))
    return status, headers, answer


def _reply(status: int, body: dict) -> bridge.Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


def _update(plain: Callable) -> Callable:
    """moto forgets managed draining."""
    def update(self, details: dict) -> None:
        plain(self, details)
        if "managedDraining" in details:
            self.auto_scaling_group_provider["managedDraining"] = details["managedDraining"]

    return update


def _before_create(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html"""
    name, provider = body["name"], body["autoScalingGroupProvider"]
    if name.lower().startswith(RESERVED):
        raise Refusal("ClientException", f"The specified capacity provider name is invalid. {name} begins "
                      "with a word that is reserved.")
    if any(each.name == name for each in _providers()):
        raise Refusal("ClientException", "The specified capacity provider already exists. To change the "
                      "configuration of an existing capacity provider, update the capacity provider.")
    group = _find_group(provider["autoScalingGroupArn"])
    if group is None:
        raise Refusal("ClientException", "The specified Auto Scaling group ARN is invalid. Specify a valid "
                      "Auto Scaling group ARN and try again.")
    _check_protection(provider, group)
    provider["autoScalingGroupArn"] = group.arn
    provider.setdefault("managedDraining", "ENABLED")
    # What was deleted under the name lingers no longer.
    deployments.backend().capacity_providers.pop(name, None)
    if provider.get("managedScaling", {}).get("status") == "ENABLED":
        group.tags = [*[tag for tag in group.tags if tag["Key"] != "AmazonECSManaged"],
                      {"Key": "AmazonECSManaged", "Value": "", "PropagateAtLaunch": True}]


def _check_protection(provider: dict, group) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html"""
    if provider.get("managedTerminationProtection") != "ENABLED":
        return
    managed = provider.get("managedScaling", {}).get("status") == "ENABLED"
    if not managed or not group.new_instances_protected_from_scale_in:
        raise Refusal("ClientException", "The managed termination protection setting for the capacity "
                      "provider is invalid. To enable managed termination protection for a capacity provider, the "
                      "Auto Scaling group must have instance protection from scale in enabled.")


def _before_update(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateCapacityProvider.html"""
    found = next((each for each in _providers()
                  if body["name"] in (each.name, each.capacity_provider_arn)), None)
    if found is None:
        raise Refusal("ClientException", "The specified capacity provider does not exist.")
    settings = {**found.auto_scaling_group_provider, **body["autoScalingGroupProvider"]}
    _check_protection(settings, _group_of(found))


def _before_put(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutClusterCapacityProviders.html"""
    cluster = _cluster(body)
    if cluster is None:
        return
    known = {*FARGATE, *(each.name for each in _providers())}
    for name in body["capacityProviders"]:
        if name not in known:
            raise Refusal("InvalidParameterException", f"The specified capacity provider '{name}' was not "
                          "found. Specify a valid name or ARN and try again.")
    for item in body["defaultCapacityProviderStrategy"]:
        if item["capacityProvider"] not in body["capacityProviders"]:
            raise Refusal("InvalidParameterException", "The specified default capacity provider strategy "
                          "cannot contain a capacity provider that is not associated with the cluster.")
    if _attachments_status(cluster) == "UPDATE_IN_PROGRESS":
        raise Refusal("UpdateInProgressException", "The specified cluster is in a busy state. Cluster "
                      "attachments must be in UPDATE_COMPLETE or UPDATE_FAILED state before they can "
                      "be updated.")
    used = _used(cluster.name) - set(body["capacityProviders"])
    if removed := used & set(cluster.capacity_providers or []):
        raise Refusal("ResourceInUseException", f"The specified capacity provider "
                      f"({', '.join(sorted(removed))}) is in use and cannot be removed.")
    own = {*body["capacityProviders"], *(cluster.capacity_providers or [])} - {*FARGATE}
    if own and set(body["capacityProviders"]) != set(cluster.capacity_providers or []):
        _changed[get_region(), cluster.name] = time.time()


def _used(cluster: str) -> set[str]:
    """The providers that services and tasks of a cluster use."""
    used = {item["capacityProvider"] for (region, name, _), service in deployments.services.items()
            if (region, name) == (get_region(), cluster) and service.status == "ACTIVE"
            for item in service.settings.get("capacityProviderStrategy") or []}
    return used | {task.provider for (region, _), task in deployments.tasks.items()
                   if (region, task.cluster) == (get_region(), cluster) and task.status != "STOPPED"
                   and task.provider}


def _cluster(body: dict):
    return deployments.backend().clusters.get(body.get("cluster", "default").rsplit("/", 1)[-1])


def _attachments_status(cluster) -> str | None:
    changed = _changed.get((get_region(), cluster.name))
    if changed is None:
        return None
    return "UPDATE_COMPLETE" if lifecycle.ready("ec2-instance", changed, ATTACHED) else "UPDATE_IN_PROGRESS"


def _before_delete_cluster(body: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html"""
    cluster = _cluster(body)
    if cluster is not None and _attachments_status(cluster) == "UPDATE_IN_PROGRESS":
        raise Refusal("UpdateInProgressException", "The specified cluster is in a busy state.")
    if cluster is not None:
        _changed.pop((get_region(), cluster.name), None)


def _delete(body: dict) -> dict:
    """It goes by and by, and lingers as INACTIVE.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCapacityProvider.html
    """
    name = body["capacityProvider"].rsplit("/", 1)[-1]
    found = next((each for each in _providers() if each.name == name), None)
    if found is None:
        raise Refusal("ClientException", "The specified capacity provider does not exist.")
    for cluster in deployments.backend().clusters.values():
        if cluster.status == "ACTIVE" and name in (cluster.capacity_providers or []):
            raise Refusal("ClientException",
                          "The specified capacity provider is in use and cannot be removed.")
    _deleted.setdefault((get_region(), name), time.time())
    found.update_status = "DELETE_IN_PROGRESS"
    _advance_deleted()
    return {"capacityProvider": {"name": name, "capacityProviderArn": found.capacity_provider_arn,
                                 "status": found.status, "updateStatus": found.update_status}}


def _advance_deleted() -> None:
    for (region, name), since in list(_deleted.items()):
        if region == get_region() and lifecycle.ready("ec2-instance", since, DELETED):
            found = deployments.backend().capacity_providers.get(name)
            del _deleted[region, name]
            if found:
                found.status, found.update_status = "INACTIVE", "DELETE_COMPLETE"


def _before_describe(body: dict) -> None:
    _advance_deleted()
    if not body.get("capacityProviders"):
        body["capacityProviders"] = [*FARGATE, *deployments.backend().capacity_providers]


def _after_describe(answer: dict, body: dict) -> dict:
    """AWS's own are there without having been made."""
    for name in FARGATE:
        if name in body["capacityProviders"]:
            answer["capacityProviders"].append({"name": name, "status": "ACTIVE", "tags": []})
            answer["failures"] = [each for each in answer["failures"] if not each["arn"].endswith(f"/{name}")]
    return answer


def _after_describe_clusters(answer: dict, body: dict) -> dict:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Cluster.html"""
    for shown in answer["clusters"]:
        cluster = deployments.backend().clusters.get(shown["clusterName"])
        joined = deployments.backend().container_instances.get(shown["clusterName"], {})
        shown["registeredContainerInstancesCount"] = len(joined)
        if cluster is not None and "ATTACHMENTS" in body.get("include", []) \
                and (status := _attachments_status(cluster)):
            shown["attachmentsStatus"] = status
            shown["attachments"] = [
                {"id": name, "type": "managed_draining", "details": [
                    {"name": "capacityProviderName", "value": name}],
                 "status": "CREATED" if status == "UPDATE_COMPLETE" else "CREATING"}
                for name in cluster.capacity_providers or [] if name not in FARGATE]
    return answer


def _after_describe_instances(answer: dict, _: dict) -> dict:
    known = {each.container_instance_arn: each
             for joined in deployments.backend().container_instances.values() for each in joined.values()}
    for shown in answer["containerInstances"]:
        if name := getattr(known.get(shown["containerInstanceArn"]), "capacity_provider_name", None):
            shown["capacityProviderName"] = name
    return answer


BEFORE = {"CreateCapacityProvider": _before_create, "UpdateCapacityProvider": _before_update,
          "PutClusterCapacityProviders": _before_put, "DeleteCluster": _before_delete_cluster,
          "DescribeCapacityProviders": _before_describe}
AFTER = {"DescribeCapacityProviders": _after_describe, "DescribeClusters": _after_describe_clusters,
         "DescribeContainerInstances": _after_describe_instances}

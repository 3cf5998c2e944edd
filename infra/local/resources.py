"""Which resources a call is about, where ministack looks at another or at none, and the tags of moto's resources.

Actions and their resources are those of AWS's Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
from collections.abc import Callable

from ministack.core.responses import get_account_id
from moto.acm.models import acm_backends
from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.efs.models import efs_backends
from moto.elbv2.models import elbv2_backends
from moto.rds.models import rds_backends

# The members of ECS's calls that name what they are about, the nearest first, and its kind.
ECS = (("service", "service"), ("serviceName", "service"), ("task", "task"), ("capacityProvider", "capacity-provider"),
       ("containerInstance", "container-instance"), ("resourceArn", ""), ("taskDefinition", "task-definition"))
# What is listed in a cluster, or put into it, is the cluster's.
OF_CLUSTERS = ("ListTasks", "ListServices", "ListContainerInstances", "RegisterContainerInstance",
               "DeregisterContainerInstance", "PutClusterCapacityProviders", "UpdateClusterSettings",
               "DescribeClusters", "DeleteCluster")


def about(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, region: str,
          account: str) -> list[str]:
    """The ARNs of the resources; none where ministack's own choice holds."""
    if service == "ecs":
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        try:
            given = json.loads(body or b"{}")
        except ValueError:
            return []
        return _ecs(action, given, f"arn:aws:ecs:{region}:{account}")
    return []


def _ecs(action: str, given: dict, prefix: str) -> list[str]:
    cluster = str(given.get("cluster") or "default").rsplit("/", 1)[-1]
    if action in OF_CLUSTERS:
        return [f"{prefix}:cluster/{each.rsplit('/', 1)[-1]}" for each in given.get("clusters") or [cluster]]
    if action == "RunTask":
        return [_named(prefix, "task-definition", str(given.get("taskDefinition")), cluster)]
    if action in ("DescribeServices", "DescribeTasks", "DescribeContainerInstances"):
        member, kind = {"DescribeServices": ("services", "service"), "DescribeTasks": ("tasks", "task")}.get(
            action, ("containerInstances", "container-instance"))
        return [_named(prefix, kind, each, cluster) for each in given.get(member) or []]
    for member, kind in ECS:
        if isinstance(name := given.get(member), str):
            return [_named(prefix, kind, name, cluster)]
    return []


def _named(prefix: str, kind: str, name: str, cluster: str) -> str:
    if name.startswith("arn:"):
        return name
    inside = kind in ("service", "task", "container-instance")
    return f"{prefix}:{kind}/{cluster}/{name}" if inside else f"{prefix}:{kind}/{name}"


def _pairs(tags: list[dict]) -> dict[str, str]:
    return {each.get("Key", each.get("key")): each.get("Value", each.get("value")) or "" for each in tags or []}


def _region(arn: str) -> str:
    return arn.split(":")[3]


def _ecs_tags(arn: str) -> dict[str, str]:
    return _pairs(ecs_backends[get_account_id()][_region(arn)].list_tags_for_resource(arn))


def _ec2_tags(arn: str) -> dict[str, str]:
    return dict(ec2_backends[get_account_id()][_region(arn)].tags.get(arn.rsplit("/", 1)[-1], {}))


def _elb_tags(arn: str) -> dict[str, str]:
    return elbv2_backends[get_account_id()][_region(arn)].tagging_service.get_tag_dict_for_resource(arn)


def _rds_tags(arn: str) -> dict[str, str]:
    return _pairs(rds_backends[get_account_id()][_region(arn)].list_tags_for_resource(arn))


def _efs_tags(arn: str) -> dict[str, str]:
    backend = efs_backends[get_account_id()][_region(arn)]
    return _pairs(backend.list_tags_for_resource(arn.rsplit("/", 1)[-1]))


def _acm_tags(arn: str) -> dict[str, str]:
    bundle = acm_backends[get_account_id()][_region(arn)]._certificates[arn]
    return {key: value or "" for key, value in bundle.tags.items()}


def _autoscaling_tags(arn: str) -> dict[str, str]:
    groups = autoscaling_backends[get_account_id()][_region(arn)].autoscaling_groups
    return _pairs(groups[arn.rsplit("/", 1)[-1]].tags)


# By the service in an ARN.
TAGS: dict[str, Callable[[str], dict[str, str]]] = {
    "acm": _acm_tags, "autoscaling": _autoscaling_tags, "ec2": _ec2_tags, "ecs": _ecs_tags,
    "elasticfilesystem": _efs_tags, "elasticloadbalancing": _elb_tags, "rds": _rds_tags,
}

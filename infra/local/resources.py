"""Which resources a call is about, where ministack looks at another or at none, and the tags of moto's resources.

Actions and their resources are those of AWS's Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
from collections.abc import Callable

from ministack.core import iam_actions
from ministack.core.responses import get_account_id
from ministack.services import kms
from moto.acm.models import acm_backends
from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.efs.models import efs_backends
from moto.elbv2.models import elbv2_backends
from moto.rds.models import rds_backends

from . import ecs

# The members of ECS's calls that name what they are about, the nearest first, and its kind.
ECS = (("service", "service"), ("serviceName", "service"), ("task", "task"), ("capacityProvider", "capacity-provider"),
       ("containerInstance", "container-instance"), ("resourceArn", ""), ("taskDefinition", "task-definition"))
# What is listed in a cluster, or put into it, is the cluster's.
OF_CLUSTERS = ("ListTasks", "ListServices", "ListContainerInstances", "RegisterContainerInstance",
               "DeregisterContainerInstance", "PutClusterCapacityProviders", "UpdateClusterSettings",
               "DescribeClusters", "DeleteCluster")


# The parameters that name what a call of the query protocol is about, and the kind in its ARN. One that is an ARN
# already has none.
QUERIES: dict[str, dict[str, tuple[str, ...]]] = {
    "autoscaling": {"CreateOrUpdateTags": ("Tags.member.1.ResourceId",)},
    "ec2": {
        "CreateLaunchTemplateVersion": ("LaunchTemplateId", "launch-template"),
        "CreateTags": ("ResourceId.1", ""),
        "DeleteInternetGateway": ("InternetGatewayId", "internet-gateway"),
        "DeleteLaunchTemplate": ("LaunchTemplateId", "launch-template"),
        "DeleteLaunchTemplateVersions": ("LaunchTemplateId", "launch-template"),
        "DeleteNatGateway": ("NatGatewayId", "natgateway"),
        "DeleteRouteTable": ("RouteTableId", "route-table"),
        "DeleteSecurityGroup": ("GroupId", "security-group"),
        "DeleteSubnet": ("SubnetId", "subnet"),
        "DeleteVpc": ("VpcId", "vpc"),
        "DeleteVpcEndpoints": ("VpcEndpointId.1", "vpc-endpoint"),
        "ModifyLaunchTemplate": ("LaunchTemplateId", "launch-template"),
        "ReleaseAddress": ("AllocationId", "elastic-ip"),
    },
    "elasticloadbalancing": {
        "AddTags": ("ResourceArns.member.1",),
        "DeleteListener": ("ListenerArn",),
        "DeleteLoadBalancer": ("LoadBalancerArn",),
        "DeleteRule": ("RuleArn",),
        "DeleteTargetGroup": ("TargetGroupArn",),
        "ModifyListener": ("ListenerArn",),
        "ModifyRule": ("RuleArn",),
        "ModifyTargetGroup": ("TargetGroupArn",),
        "RegisterTargets": ("TargetGroupArn",),
        "SetRulePriorities": ("RulePriorities.member.1.RuleArn",),
        "SetSecurityGroups": ("LoadBalancerArn",),
        "SetSubnets": ("LoadBalancerArn",),
    },
    "rds": {
        "AddTagsToResource": ("ResourceName",),
        "DeleteDBSubnetGroup": ("DBSubnetGroupName", "subgrp"),
        "ModifyDBSubnetGroup": ("DBSubnetGroupName", "subgrp"),
    },
}


def about(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, region: str,
          account: str) -> list[str]:
    """The ARNs of the resources; none where ministack's own choice holds."""
    if service == "kms":
        return _kms(body, region, account)
    if service == "ecr":
        return [given] if (given := iam_actions._safe_json_field(body, "resourceArn")) else []
    if service in QUERIES:
        return _queried(service, query, f"arn:aws:{service}:{region}:{account}")
    if service == "elasticfilesystem":
        return _efs(path, body, f"arn:aws:elasticfilesystem:{region}:{account}")
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


def _queried(service: str, query: dict, prefix: str) -> list[str]:
    parameter, *kind = QUERIES[service].get(iam_actions._query_param(query, "Action"), ("",))
    name = iam_actions._query_param(query, parameter) if parameter else ""
    if not name or not kind:
        return [name] if name.startswith("arn:") else []
    if kind == [""]:
        return [f"{prefix}:*/{name}"]
    return [f"{prefix}:{kind[0]}{':' if service == 'rds' else '/'}{name}"]


def _kms(body: bytes, region: str, account: str) -> list[str]:
    """Of a call that names a key by its alias the key; of one that makes or deletes an alias both.

    https://docs.aws.amazon.com/kms/latest/developerguide/alias-access.html
    """
    named = {field: iam_actions._safe_json_field(body, field) for field in ("AliasName", "KeyId", "TargetKeyId")}
    prefix = f"arn:aws:kms:{region}:{account}"
    alias = named["AliasName"] or named["KeyId"].rsplit(":", 1)[-1]
    if not alias.startswith("alias/"):
        return []
    key = named["TargetKeyId"] or kms._aliases.get(f"{prefix}:{alias}")
    keys = [key if key.startswith("arn:") else f"{prefix}:key/{key}"] if key else []
    return [f"{prefix}:{alias}", *keys] if named["AliasName"] else keys


def _efs(path: str, body: bytes, prefix: str) -> list[str]:
    """Mount targets and access points are their file system's; tags are whichever's they are."""
    parts = [part for part in path.split("/") if part]
    file_system = iam_actions._safe_json_field(body, "FileSystemId")
    if "mount-targets" in parts and len(parts) > 2:
        for backends in efs_backends[get_account_id()].values():
            if target := backends.mount_targets_by_id.get(parts[2]):
                file_system = target.file_system_id
    if "resource-tags" in parts and len(parts) > 2:
        kind = "access-point" if parts[2].startswith("fsap-") else "file-system"
        return [f"{prefix}:{kind}/{parts[2]}"]
    return [f"{prefix}:file-system/{file_system}"] if file_system else []


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
    if (own := ecs._own_tags(arn)) is not None:
        return _pairs(own)
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

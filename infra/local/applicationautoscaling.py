"""Application Auto Scaling: scalable targets of ECS services, their tags, what goes with them, and who may.

moto has targets and policies; nothing is scaled here. The services are those of `deployments`.
https://docs.aws.amazon.com/autoscaling/application/APIReference/API_Operations.html
"""

import json
from collections.abc import Callable

from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, applicationautoscaling_backends

from . import bridge, deployments

SERVICE = "application-autoscaling"
# By ARN.
tags: dict[str, dict[str, str]] = {}


class Refusal(Exception):
    """An error in Application Auto Scaling's words."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def install() -> None:
    bridge.around[SERVICE] = _answer
    # moto would look for a service of its own; `before_register` looks for one of ours.
    ApplicationAutoscalingBackend._ecs_service_exists_for_target = lambda self, resource: True
    # ministack asks for a permission only where it knows the service.
    iam_actions.SERVICE_TO_IAM_NAMESPACE[SERVICE] = SERVICE
    iam_actions.extract_resource_arn = _with_target(iam_actions.extract_resource_arn)


def _with_target(plain: Callable) -> Callable:
    """What is asked for of a target, its policies too, is about the target; it has an id of AWS's.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_applicationautoscaling.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        if service != SERVICE:
            return plain(service, method, path, headers, body, query, *rest)
        action, asked = headers.get("x-amz-target", "").rsplit(".", 1)[-1], json.loads(body or b"{}")
        if action.startswith("Describe"):
            return "*"
        target = _target(asked)
        return asked.get("ResourceARN") or (target.arn if target else (
            f"arn:aws:application-autoscaling:{get_region()}:{get_account_id()}:scalable-target/new"))

    return extract


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    action = request.headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    body = json.loads(request.body or b"{}")
    deployments.advance()
    _forget()
    try:
        if action in ANSWERS:
            return _reply(200, ANSWERS[action](body))
        after = BEFORE[action](body) if action in BEFORE else None
    except Refusal as refusal:
        return _reply(400, {"__type": refusal.code, "message": refusal.message})
    answer = moto()
    if answer[0] == 200 and after:
        after()
    return answer


def _reply(status: int, body: dict) -> bridge.Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


def _backend() -> ApplicationAutoscalingBackend:
    return applicationautoscaling_backends[get_account_id()][get_region()]


def _target(body: dict):
    return _backend().targets.get(body.get("ScalableDimension"), {}).get(body.get("ResourceId"))


def _service(resource: str) -> deployments.Service | None:
    """The service that is meant by `service/<cluster>/<name>`, unless it goes."""
    _, cluster, name = resource.split("/")
    service = deployments.services.get((get_region(), cluster, name))
    return service if service and service.status == "ACTIVE" else None


def _forget() -> None:
    """With a service that is deleted go its target and its policies.

    https://github.com/eagletmt/hako/pull/69
    """
    for found in _backend().targets.values():
        for resource in [each for each in found if each.startswith("service/") and not _service(each)]:
            _take(found.pop(resource))


def _take(target) -> None:
    """What goes with a target.

    https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DeregisterScalableTarget.html
    """
    policies = _backend().policies
    for key in [key for key, policy in policies.items() if policy.resource_id == target.resource_id]:
        del policies[key]
    tags.pop(target.arn, None)


def before_register(body: dict) -> Callable[[], None]:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html"""
    service, target = _service(body["ResourceId"]), _target(body)
    if service is None:
        raise Refusal("ValidationException", f"ECS service doesn't exist: {body['ResourceId']}")
    if target and body.get("Tags"):
        raise Refusal("ValidationException", "The scalable target that you tried to tag already exists. To "
                      "update tags on an existing scalable target, use the TagResource API.")
    least = body.get("MinCapacity", target.min_capacity if target else None)
    most = body.get("MaxCapacity", target.max_capacity if target else None)
    if least is None or most is None:
        raise Refusal("ValidationException", "Both MinCapacity and MaxCapacity must be specified when "
                      "registering a scalable target")
    if least > most:
        raise Refusal("ValidationException", "Maximum capacity cannot be less than minimum capacity")

    def registered() -> None:
        tags.setdefault(_target(body).arn, {}).update(body.get("Tags", {}))
        # The capacity is brought into the range at once.
        service.desired = min(max(service.desired, least), most)
        deployments.advance()

    return registered


def before_deregister(body: dict) -> Callable[[], None]:
    target = _registered(body)
    return lambda: _take(target)


def before_put(body: dict) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html"""
    _registered(body)
    metric = body.get("TargetTrackingScalingPolicyConfiguration", {}).get("PredefinedMetricSpecification", {})
    if metric.get("PredefinedMetricType") != "ALBRequestCountPerTarget":
        return
    # "app/<balancer>/<id>/targetgroup/<target group>/<id>", and the service is registered with that one.
    # https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html
    label = metric.get("ResourceLabel", "")
    _, found, group = label.partition("targetgroup/")
    balancers = _service(body["ResourceId"]).settings.get("loadBalancers", [])
    arns = [each["targetGroupArn"] for each in balancers if "targetGroupArn" in each]
    if not found or not label.startswith("app/") or not any(
            arn.endswith(f":targetgroup/{group}") for arn in arns):
        raise Refusal("ValidationException", f"Invalid resource label: {label}")


def before_delete(body: dict) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DeleteScalingPolicy.html"""
    if not any((policy.resource_id, policy.policy_name) == (body["ResourceId"], body["PolicyName"])
               for policy in _backend().policies.values()):
        raise Refusal("ObjectNotFoundException",
                      f"No scaling policy found for service namespace: {body['ServiceNamespace']}, resource "
                      f"ID: {body['ResourceId']}, scalable dimension: {body['ScalableDimension']}, policy "
                      f"name: {body['PolicyName']}")


def _registered(body: dict):
    target = _target(body)
    if target is None:
        raise Refusal("ObjectNotFoundException",
                      f"No scalable target found for service namespace: {body['ServiceNamespace']}, resource "
                      f"ID: {body['ResourceId']}, scalable dimension: {body['ScalableDimension']}")
    return target


def _of(body: dict) -> dict[str, str]:
    """https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TagResource.html"""
    arn = body["ResourceARN"]
    if not any(target.arn == arn for found in _backend().targets.values() for target in found.values()):
        raise Refusal("ResourceNotFoundException", f"The resource {arn} wasn't found.")
    return tags.setdefault(arn, {})


def tag(body: dict) -> dict:
    _of(body).update(body["Tags"])
    return {}


def untag(body: dict) -> dict:
    found = _of(body)
    for key in body["TagKeys"]:
        found.pop(key, None)
    return {}


def list_tags(body: dict) -> dict:
    return {"Tags": _of(body)}


BEFORE: dict[str, Callable] = {
    "RegisterScalableTarget": before_register, "DeregisterScalableTarget": before_deregister,
    "PutScalingPolicy": before_put, "DeleteScalingPolicy": before_delete,
}
ANSWERS: dict[str, Callable[[dict], dict]] = {
    "TagResource": tag, "UntagResource": untag, "ListTagsForResource": list_tags,
}

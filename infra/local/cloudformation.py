"""CloudFormation: properties of our template that ministack accepts and doesn't apply."""

from collections.abc import Callable

from ministack.services import eventbridge, iam
from ministack.services import stepfunctions as sfn
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS

from . import definition, stepfunctions


def install() -> None:
    _after("AWS::IAM::Role", _permissions_boundary)
    _after("AWS::StepFunctions::StateMachine", _logging)
    _RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": _allow, "update": lambda _, before, properties, stack, *rest, **named: _allow("", properties, stack),
        "delete": _forbid}
    machine = _RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    machine["create"] = _checked(machine["create"])


def _after(kind: str, apply: Callable[[str, dict], None]) -> None:
    """Applies properties after the resource was created or updated."""
    handlers = _RESOURCE_HANDLERS[kind]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, properties: dict, stack: str) -> tuple:
        identity, attributes = create(logical_id, properties, stack)
        apply(identity, properties)
        return identity, attributes

    def updated(identity: str, old: dict, properties: dict, *rest, **named) -> tuple:
        identity, attributes = update(identity, old, properties, *rest, **named)
        apply(identity, properties)
        return identity, attributes

    handlers["create"], handlers["update"] = created, updated


def _permissions_boundary(name: str, properties: dict) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-role.html"""
    iam._roles[name]["PermissionsBoundary"] = properties.get("PermissionsBoundary")


def _allow(_: str, properties: dict, stack: str) -> tuple:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-events-eventbuspolicy.html"""
    identity = properties["StatementId"]
    _forbid(identity, properties)
    bus = properties.get("EventBusName", "default")
    policy = eventbridge._event_bus_policies.get(bus) or {"Version": "2012-10-17", "Statement": []}
    policy["Statement"].append({"Sid": identity, **properties["Statement"]})
    eventbridge._event_bus_policies[bus] = policy
    return identity, {}


def _forbid(identity: str, properties: dict) -> None:
    policy = eventbridge._event_bus_policies.get(properties.get("EventBusName", "default"))
    if policy:
        policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != identity]


def _logging(arn: str, properties: dict) -> None:
    """The template spells the members `Level`, the API `level`."""
    if "LoggingConfiguration" in properties:
        sfn._state_machines[arn]["loggingConfiguration"] = sfn._pascal_to_camel(
            properties["LoggingConfiguration"])


def _checked(create: Callable) -> Callable:
    """What CreateStateMachine refuses fails the stack."""
    def checked(logical_id: str, properties: dict, stack: str) -> tuple:
        identity, attributes = create(logical_id, properties, stack)
        machine = sfn._state_machines[identity]
        if fault := definition.problem(machine["definition"]) or stepfunctions.managed_rule_fault(
                machine["roleArn"], machine["definition"]):
            del sfn._state_machines[identity]
            raise ValueError(fault)
        return identity, attributes

    return checked

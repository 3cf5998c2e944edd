"""EC2 Auto Scaling: instances that take time, join their cluster, are refreshed, and go with their group.

Whoever looks first brings everything up to the present with `advance`. And of EC2 what only groups need here:
versions of launch templates.
"""

import fnmatch
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from ministack.core.responses import get_account_id, get_region
from ministack.services import iam
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import (AutoScalingBackend, FakeAutoScalingGroup, InstanceState,
                                     autoscaling_backends)
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound
from moto.ec2.models.instance_types import InstanceTypeOfferingBackend
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.utils import parse_user_data

from . import bridge, container_instances, lifecycle

# The shares of an instance's time after which it runs, and in which it is terminated.
IN_SERVICE, TERMINATED = 0.5, 0.4
# The parameters that AWS keeps in every region, and the images they name here.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
IMAGES = re.compile(
    r"resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023(/arm64)?/recommended/image_id")
CLUSTER = re.compile(r"^\s*(?:echo )?[\"']?ECS_CLUSTER=([\w-]+)", re.M)
ACTIVE = ("Pending", "InProgress")


def install() -> None:
    plain = bridge.around["ec2"]
    bridge.around["ec2"] = lambda request, moto: _advanced(request, lambda: plain(request, moto))
    bridge.around["autoscaling"] = _advanced
    AutoScalingBackend.create_auto_scaling_group = _create(AutoScalingBackend.create_auto_scaling_group)
    AutoScalingBackend.notify_terminate_instances = lambda *_: None
    AutoScalingResponse.delete_auto_scaling_group = _delete
    AutoScalingResponse.describe_scaling_activities = _describe_activities
    AutoScalingResponse.start_instance_refresh = _start_refresh
    AutoScalingResponse.describe_instance_refreshes = _describe_refreshes
    FakeAutoScalingGroup.set_desired_capacity = _set_desired
    FakeAutoScalingGroup.update = _update(FakeAutoScalingGroup.update)
    # What was attached by hand was started from no template, and joined nothing.
    InstanceState.started_from, InstanceState.joined, InstanceState.begun = None, "", 0.0
    InstanceState.launch_template = property(lambda state: state.started_from)
    LaunchTemplate.create_version = _create_version
    LaunchTemplate.get_version = _get_version
    LaunchTemplate.default_version = lambda template: template.get_version("$Default")
    LaunchTemplates.delete_launch_template_versions = _delete_versions
    InstanceTypeOfferingBackend.matches_filters = _matches_offering


def instances(cluster: str) -> list[tuple[str, str]]:
    """The instances of groups that have joined a cluster and run, with their private addresses."""
    advance()
    return [(state.instance.id, state.instance.private_ip)
            for group in _groups() for state in group.instance_states
            if getattr(state, "joined", None) == cluster and state.lifecycle_state == "InService"]


def _groups() -> list[FakeAutoScalingGroup]:
    return list(autoscaling_backends[get_account_id()][get_region()].autoscaling_groups.values())


def _advanced(_: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    advance()
    answer = moto()
    advance()
    return answer


def advance() -> None:
    """Brings the groups of this region, and their instances, up to now."""
    container_instances.scale()
    for group in _groups():
        # With a scale of 0 each step follows at once.
        while _step(group):
            pass


def _step(group: FakeAutoScalingGroup) -> bool:
    """Goes one step further, if there is one to go."""
    aged = [_age(group, state) for state in list(group.instance_states)]
    return any(aged) or _replace(group) or _fill(group)


def _age(group: FakeAutoScalingGroup, state: InstanceState) -> bool:
    instance = state.instance
    if instance.state == "terminated":
        container_instances.leave(instance.id)
        group.instance_states.remove(state)
        if getattr(group, "status", None) and not group.instance_states:
            del group.autoscaling_backend.autoscaling_groups[group.name]
        return True
    if state.lifecycle_state == "Terminating":
        if lifecycle.ready("ec2-instance", state.ended, TERMINATED):
            instance.terminate()
            return True
    elif state.lifecycle_state == "Pending" and lifecycle.ready("ec2-instance", state.begun, IN_SERVICE):
        state.lifecycle_state = "InService"
        instance._state.name, instance._state.code = "running", 16
        return True
    elif state.lifecycle_state == "InService" and state.joined is None and lifecycle.ready(
            "ec2-instance", state.begun):
        state.joined = _cluster_of(instance)
        if state.joined:
            container_instances.join(state.joined, instance.id)
        return True
    return False


def _cluster_of(instance) -> str:
    """The cluster that an instance's user data names; the ECS agent joins it."""
    data = instance.user_data
    found = CLUSTER.search(data.decode()) if data else None
    return found[1] if found else ""


def _here(group: FakeAutoScalingGroup) -> list[InstanceState]:
    return [state for state in group.instance_states if state.lifecycle_state in ("Pending", "InService")]


def _fill(group: FakeAutoScalingGroup) -> bool:
    """Starts an instance that is missing, or ends one that is too much and isn't protected."""
    if getattr(group, "status", None):
        return False
    here, refresh = _here(group), _refresh(group)
    wanted = group.desired_capacity + (1 if refresh and _stale(group) else 0)
    if len(here) < wanted:
        return _launch(group)
    free = [state for state in here if not state.protected_from_scale_in]
    if len(here) > wanted and free:
        _end(state=free[0])
        return True
    return False


def _launch(group: FakeAutoScalingGroup) -> bool:
    """Starts an instance from the template, or says in an activity why it can't.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html
    """
    if group.ec2_launch_template is None:
        return False
    version = group.ec2_launch_template.get_version(group.launch_template_version)
    if error := _fault(group, version.data):
        _say(group, "Launching a new EC2 instance", "Failed",
             f"{error} Launching EC2 instance failed.")
        return False
    data, ec2 = version.data, group.ec2_backend
    interface = (data.get("NetworkInterfaces") or [{}])[0]
    zones = group.vpc_zone_identifier.split(",")
    tags = {each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            for each in data.get("TagSpecifications", [])}
    own = {**tags.get("instance", {}), **group.get_propagated_tags(), "aws:autoscaling:groupName": group.name,
           "aws:ec2launchtemplate:id": group.ec2_launch_template.id,
           "aws:ec2launchtemplate:version": str(version.number)}
    reservation = ec2.run_instances(
        _image(data["ImageId"])[0], 1, _user_data(data), [], instance_type=data["InstanceType"],
        is_instance_type_default=False, region_name=get_region(),
        subnet_id=zones[len(group.instance_states) % len(zones)],
        security_group_ids=interface.get("Groups") or data.get("SecurityGroupIds") or [],
        associate_public_ip=_true(interface.get("AssociatePublicIpAddress")),
        iam_instance_profile=data.get("IamInstanceProfile"), metadata_options=data.get("MetadataOptions", {}),
        tags={"instance": own, "volume": tags.get("volume", {})},
        block_device_mappings=[{"DeviceName": each["DeviceName"], "Ebs": {
            **each["Ebs"], "VolumeSize": int(each["Ebs"].get("VolumeSize", 30)),
            "DeleteOnTermination": True}} for each in data.get("BlockDeviceMappings", [])])
    instance = reservation.instances[0]
    for nic in instance.nics.values():
        nic.delete_on_termination = True
    instance._state.name, instance._state.code = "pending", 0
    state = InstanceState(instance, "Pending", autoscaling_group=group,
                          protected_from_scale_in=group.new_instances_protected_from_scale_in)
    state.begun, state.joined = time.time(), None
    state.started_from = {"LaunchTemplateId": group.ec2_launch_template.id,
                          "LaunchTemplateName": group.ec2_launch_template.name,
                          "Version": str(version.number)}
    group.instance_states.append(state)
    _say(group, f"Launching a new EC2 instance: {instance.id}", "Successful")
    return True


def _user_data(data: dict) -> Base64EncodedString | None:
    given = data.get("UserData")
    return parse_user_data(given) if isinstance(given, str) else given


def _true(value: object) -> bool:
    return str(value).lower() == "true"


def _image(image: str) -> tuple[str | None, str | None]:
    """The image that a parameter of AWS's names, and its architecture, if that is known.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
    """
    if not image.startswith("resolve:ssm:"):
        return image, None
    found = IMAGES.fullmatch(image)
    if not found:
        return None, None
    return ("ami-0000000000000ecsa", "arm64") if found[1] else ("ami-0000000000000ecsx", "x86_64")


def _fault(group: FakeAutoScalingGroup, data: dict) -> str | None:
    """Why no instance can be started from these settings."""
    if error := _profile_fault(data):
        return error
    image, architecture = _image(data["ImageId"])
    if image is None:
        return f"The parameter {data['ImageId'].removeprefix('resolve:ssm:')} was not found."
    kind = data["InstanceType"]
    known = next((each for each in group.ec2_backend.describe_instance_types()
                  if each.get("InstanceType") == kind), None)
    if known is None:
        return f"Invalid value '{kind}' for InstanceType."
    architectures = known.get("ProcessorInfo")["SupportedArchitectures"]
    if architecture and architecture not in architectures:
        return (f"The architecture '{architectures[0]}' of the specified instance type does not match the "
                f"architecture '{architecture}' of the specified AMI. Specify an instance type and an AMI "
                "that have matching architectures, and try again.")
    for each in (data.get("NetworkInterfaces") or [{}])[0].get("Groups") or []:
        if group.ec2_backend.get_security_group_from_id(each) is None:
            return f"The security group '{each}' does not exist."
    return None


def _profile_fault(data: dict) -> str | None:
    profile = data.get("IamInstanceProfile") or {}
    if profile.get("Name") and profile["Name"] not in iam._instance_profiles:
        return (f"Value ({profile['Name']}) for parameter iamInstanceProfile.name is invalid. Invalid IAM "
                "Instance Profile name.")
    return None


def _end(state: InstanceState) -> None:
    if state.lifecycle_state != "Terminating":
        state.lifecycle_state, state.ended = "Terminating", time.time()
        state.instance._state.name, state.instance._state.code = "shutting-down", 32
        _say(state.auto_scaling_group, f"Terminating EC2 instance: {state.instance.id}", "Successful")


def _say(group: FakeAutoScalingGroup, description: str, status: str, message: str | None = None) -> None:
    """Remembers an activity; the same failure again isn't told twice."""
    told = getattr(group, "activities", [])
    if message and told and told[0].get("StatusMessage") == message:
        return
    group.activities = [{
        "ActivityId": str(uuid.uuid4()), "AutoScalingGroupName": group.name, "Description": description,
        "Cause": "At the time, a difference between desired and actual capacity.",
        "StartTime": datetime.now(UTC), "StatusCode": status, "Progress": 100,
        **({"StatusMessage": message} if message else {})}, *told][:50]


def _create(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html"""
    def create(self, *args, **settings) -> FakeAutoScalingGroup:
        name = settings["name"]
        if name in self.autoscaling_groups:
            raise AutoscalingClientError(
                "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name "
                f"{name} already exists")
        group = plain(self, *args, **settings)
        if group.ec2_launch_template is not None:
            data = group.ec2_launch_template.get_version(group.launch_template_version).data
            if error := _profile_fault(data):
                del self.autoscaling_groups[name]
                raise ValidationError(f"You must use a valid fully-formed launch template. {error}")
        group.created_time = datetime.now(UTC)
        return group

    return create


def _set_desired(group: FakeAutoScalingGroup, capacity: int | None) -> None:
    """Only says how many there are to be: `advance` sees to it."""
    group.desired_capacity = group.min_size if capacity is None else capacity


def _update(plain: Callable) -> Callable:
    """How many there are to be stays what it was, between the new bounds.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html
    """
    def update(self, **settings) -> None:
        before = self.desired_capacity
        plain(self, **settings)
        if settings.get("desired_capacity") is None:
            self.desired_capacity = min(max(before, self.min_size), self.max_size)

    return update


def _delete(self: AutoScalingResponse) -> EmptyResult:
    """A group goes with its instances only where that is said; then protection doesn't keep them.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
    """
    name, groups = self._get_param("AutoScalingGroupName"), self.autoscaling_backend.autoscaling_groups
    if name not in groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    group = groups[name]
    if group.instance_states and not self._get_bool_param("ForceDelete", False):
        raise AutoscalingClientError(
            "ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending "
            "Spot instance request(s) still in the group.")
    group.status, group.desired_capacity = "Delete in progress", 0
    for state in group.instance_states:
        _end(state)
    if not group.instance_states:
        del groups[name]
    return EmptyResult()


def _describe_activities(self: AutoScalingResponse) -> ActionResult:
    """The newest first.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeScalingActivities.html
    """
    name = self._get_param("AutoScalingGroupName")
    told = [activity for group in _groups() if name in (None, group.name)
            for activity in getattr(group, "activities", [])]
    return ActionResult({"Activities": told[:self._get_int_param("MaxRecords", 100)]})


def _group(self: AutoScalingResponse) -> FakeAutoScalingGroup:
    name = self._get_param("AutoScalingGroupName")
    if name not in self.autoscaling_backend.autoscaling_groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return self.autoscaling_backend.autoscaling_groups[name]


def _start_refresh(self: AutoScalingResponse) -> ActionResult:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_StartInstanceRefresh.html"""
    group = _group(self)
    if _refresh(group):
        raise AutoscalingClientError("InstanceRefreshInProgress",
                                     "An Instance Refresh is already in progress and blocks the execution "
                                     "of this Instance Refresh.")
    preferences = self._get_param("Preferences", {})
    if "MaxHealthyPercentage" in preferences and "MinHealthyPercentage" not in preferences:
        raise ValidationError(
            "If you specify MaxHealthyPercentage, you must also specify MinHealthyPercentage.")
    refresh = {"InstanceRefreshId": str(uuid.uuid4()), "AutoScalingGroupName": group.name,
               "Status": "InProgress", "StartTime": datetime.now(UTC), "Preferences": preferences}
    group.refreshes = [refresh, *getattr(group, "refreshes", [])]
    return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


def _describe_refreshes(self: AutoScalingResponse) -> ActionResult:
    return ActionResult({"InstanceRefreshes": getattr(_group(self), "refreshes", [])})


def _refresh(group: FakeAutoScalingGroup) -> dict | None:
    return next((each for each in getattr(group, "refreshes", []) if each["Status"] in ACTIVE), None)


def _stale(group: FakeAutoScalingGroup) -> list[InstanceState]:
    version = str(group.ec2_launch_template.get_version(group.launch_template_version).number)
    return [state for state in _here(group) if (state.started_from or {}).get("Version") != version]


def _replace(group: FakeAutoScalingGroup) -> bool:
    """Has an old instance go when a new one has come, one after the other.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html
    """
    refresh = _refresh(group)
    if not refresh:
        return False
    stale = _stale(group)
    if not stale:
        refresh["Status"], refresh["EndTime"] = "Successful", datetime.now(UTC)
        return True
    if refresh["Preferences"].get("ScaleInProtectedInstances", "Wait") != "Refresh":
        stale = [state for state in stale if not state.protected_from_scale_in]
    in_service = [state for state in _here(group) if state.lifecycle_state == "InService"]
    if stale and len(in_service) > group.desired_capacity:
        _end(stale[0])
        return True
    return False


def _create_version(template: LaunchTemplate, data: dict, description: str) -> LaunchTemplateVersion:
    """Numbers aren't given again.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/manage-launch-template-versions.html
    """
    # moto mixes the template's own tags with those that it hands on.
    data["TagSpecifications"] = [each for each in data.get("TagSpecifications", [])
                                 if each["ResourceType"] != "launch-template"]
    template.numbers = getattr(template, "numbers", 0) + 1
    version = LaunchTemplateVersion(template, template.numbers, data, description)
    template.versions.append(version)
    return version


def _get_version(template: LaunchTemplate, number: object) -> LaunchTemplateVersion:
    if str(number).lower() == "$latest":
        return template.versions[-1]
    wanted = template.default_version_number if str(number).lower() == "$default" else int(number)
    for version in template.versions:
        if version.number == wanted:
            return version
    raise InvalidLaunchTemplateVersionNotFound(template_id=template.id, version=number)


def _delete_versions(self: LaunchTemplates) -> ActionResult:
    """The default one stays.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html
    """
    backend = self.ec2_backend
    identity, name = self._get_param("LaunchTemplateId"), self._get_param("LaunchTemplateName")
    template = (backend.get_launch_template(identity) if identity
                else backend.get_launch_template_by_name(name))
    deleted, kept = [], []
    for number in self._get_param("Versions", []):
        item = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name,
                "VersionNumber": int(number)}
        found = next((each for each in template.versions if each.number == int(number)), None)
        if found is None:
            kept.append({**item, "ResponseError": {"Code": "launchTemplateVersionDoesNotExist",
                                                   "Message": "The version doesn't exist."}})
        elif found.number == template.default_version_number:
            kept.append({**item, "ResponseError": {"Code": "unexpectedError",
                                                   "Message": "The default version can't be deleted."}})
        else:
            template.versions.remove(found)
            deleted.append(item)
    return ActionResult({"SuccessfullyDeletedLaunchTemplateVersions": deleted,
                         "UnsuccessfullyDeletedLaunchTemplateVersions": kept})


def _matches_offering(_: InstanceTypeOfferingBackend, offering: dict, filters: dict, __: str) -> bool:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html"""
    fields = {"location": "Location", "instance-type": "InstanceType"}
    return all(any(fnmatch.fnmatchcase(offering[fields[name]], value) for value in values)
               for name, values in filters.items())

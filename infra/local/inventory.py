"""Everything that exists in the account, as the AWS API itself reports it.

`python -m infra.local.inventory [--environment NAME] [--json]` against `AWS_ENDPOINT_URL`. Two inventories of
the same state are equal; times and what AWS keeps of deleted things are left out.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENVIRONMENT_TAG = "plinth:environment"
# What these list is the same in every region.
GLOBAL = {"iam", "route53", "s3"}


@dataclass(order=True)
class Record:
    """One thing: its kind, its name or id, its key settings, its tags."""

    kind: str
    name: str
    settings: dict = field(default_factory=dict, compare=False)
    tags: dict = field(default_factory=dict, compare=False)

    def belongs_to(self, environment: str) -> bool:
        """Whether it is tagged for, or named after, this environment."""
        if ENVIRONMENT_TAG in self.tags:
            return self.tags[ENVIRONMENT_TAG] == environment
        return environment in self.name.replace("/", "-").split("-")[:2]


class Account:
    """The services of one account, as one of its callers sees them; of the process's own if no key is given."""

    def __init__(self, key: str | None = None):
        self._session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=key)
        self._config = Config(retries={"mode": "standard"}, max_pool_connections=20)

    @cache
    def client(self, service: str, region: str):
        return self._session.client(service, region_name=region, config=self._config)


@cache
def account_of(key: str) -> Account:
    """Kept, since what each service can be asked takes seconds to read."""
    return Account(key)


def take(*regions: str, account: Account | None = None) -> list[Record]:
    """Lists everything in these regions, side by side, sorted."""
    account = account or Account()
    work: list[Callable[[], Iterator[Record]]] = []
    for region in dict.fromkeys(regions):
        for service, sections in SECTIONS.items():
            if service not in GLOBAL or region == regions[0]:
                work += [partial(section, account.client(service, region)) for section in sections]
    with ThreadPoolExecutor(max_workers=12) as threads:
        return sorted(chain.from_iterable(threads.map(lambda section: list(section()), work)))


def pages(client, operation: str, key: str, **arguments) -> Iterator:
    """Every item under this key, over all pages."""
    if not client.can_paginate(operation):
        yield from getattr(client, operation)(**arguments).get(key, [])
        return
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, [])


def tags_of(item: dict) -> dict:
    """Tags in any of the spellings AWS has for them."""
    tags = item.get("Tags") or item.get("tags") or item.get("TagSet") or item.get("TagList") or {}
    if isinstance(tags, dict):
        return tags
    return {tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value")) for tag in tags}


def pick(item: dict, *names: str) -> dict:
    """These settings, where they are set."""
    return {name: item[name] for name in names if item.get(name) not in (None, [], {}, "")}


def ec2_simple(kind: str, operation: str, key: str, identity: str, *settings: str) -> Callable:
    def section(ec2) -> Iterator[Record]:
        for item in pages(ec2, operation, key):
            yield Record(kind, item[identity], pick(item, *settings), tags_of(item))

    return section


def nat_gateways(ec2) -> Iterator[Record]:
    for item in pages(ec2, "describe_nat_gateways", "NatGateways"):
        if item["State"] != "deleted":
            yield Record("nat-gateway", item["NatGatewayId"],
                         pick(item, "VpcId", "SubnetId", "State", "ConnectivityType"), tags_of(item))


def launch_templates(ec2) -> Iterator[Record]:
    for item in pages(ec2, "describe_launch_templates", "LaunchTemplates"):
        versions = list(pages(ec2, "describe_launch_template_versions", "LaunchTemplateVersions",
                              LaunchTemplateId=item["LaunchTemplateId"]))
        data = next(each["LaunchTemplateData"] for each in versions if each["DefaultVersion"])
        yield Record("launch-template", item["LaunchTemplateName"], {
            "Versions": len(versions), **pick(
                data, "ImageId", "InstanceType", "IamInstanceProfile", "NetworkInterfaces", "BlockDeviceMappings",
                "MetadataOptions", "UserData")}, tags_of(item))


def instances(ec2) -> Iterator[Record]:
    for reservation in pages(ec2, "describe_instances", "Reservations"):
        for item in reservation["Instances"]:
            if item["State"]["Name"] != "terminated":
                settings = pick(item, "InstanceType", "ImageId", "SubnetId", "VpcId", "IamInstanceProfile")
                groups = sorted(group["GroupId"] for group in item["SecurityGroups"])
                yield Record("instance", item["InstanceId"],
                             {**settings, "State": item["State"]["Name"], "Groups": groups}, tags_of(item))


def route_tables(ec2) -> Iterator[Record]:
    for item in pages(ec2, "describe_route_tables", "RouteTables"):
        routes = [{name: value for name, value in route.items() if name not in ("State", "Origin")}
                  for route in item["Routes"]]
        subnets = sorted(each["SubnetId"] for each in item["Associations"] if "SubnetId" in each)
        yield Record("route-table", item["RouteTableId"],
                     {"VpcId": item["VpcId"], "Routes": routes, "Subnets": subnets}, tags_of(item))


def security_groups(ec2) -> Iterator[Record]:
    rules: dict[str, list[dict]] = {}
    for rule in pages(ec2, "describe_security_group_rules", "SecurityGroupRules"):
        rules.setdefault(rule["GroupId"], []).append(
            pick(rule, "IsEgress", "IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6",
                 "ReferencedGroupInfo", "PrefixListId", "Description"))
    for item in pages(ec2, "describe_security_groups", "SecurityGroups"):
        own = sorted(rules.get(item["GroupId"], []), key=lambda rule: json.dumps(rule, sort_keys=True))
        yield Record("security-group", item["GroupId"],
                     {**pick(item, "GroupName", "Description", "VpcId"), "Rules": own}, tags_of(item))


def balancers(elb) -> Iterator[Record]:
    found = list(pages(elb, "describe_load_balancers", "LoadBalancers"))
    tags = elb_tags(elb, [item["LoadBalancerArn"] for item in found])
    for item in found:
        subnets = sorted(zone["SubnetId"] for zone in item["AvailabilityZones"])
        yield Record("load-balancer", item["LoadBalancerName"],
                     {**pick(item, "Type", "Scheme", "VpcId", "SecurityGroups"), "Subnets": subnets,
                      "State": item["State"]["Code"]}, tags[item["LoadBalancerArn"]])
        listeners = list(pages(elb, "describe_listeners", "Listeners",
                               LoadBalancerArn=item["LoadBalancerArn"]))
        more = elb_tags(elb, [listener["ListenerArn"] for listener in listeners])
        for listener in listeners:
            name, arn = f"{item['LoadBalancerName']}/{listener['Port']}", listener["ListenerArn"]
            beside = sorted(each["CertificateArn"] for each in pages(
                elb, "describe_listener_certificates", "Certificates", ListenerArn=arn)
                if not each["IsDefault"])
            yield Record("listener", name, {
                **pick(listener, "Protocol", "Port", "Certificates", "SslPolicy", "DefaultActions"),
                "MoreCertificates": beside}, more[arn])
            yield from listener_rules(elb, name, arn)


def listener_rules(elb, listener: str, arn: str) -> Iterator[Record]:
    found = [rule for rule in pages(elb, "describe_rules", "Rules", ListenerArn=arn) if not rule["IsDefault"]]
    tags = elb_tags(elb, [rule["RuleArn"] for rule in found])
    for rule in found:
        yield Record("listener-rule", f"{listener}/{rule['Priority']}", pick(rule, "Conditions", "Actions"),
                     tags[rule["RuleArn"]])


def target_groups(elb) -> Iterator[Record]:
    found = list(pages(elb, "describe_target_groups", "TargetGroups"))
    tags = elb_tags(elb, [item["TargetGroupArn"] for item in found])
    for item in found:
        health = elb.describe_target_health(TargetGroupArn=item["TargetGroupArn"])
        settings = pick(item, "Protocol", "Port", "TargetType", "VpcId", "HealthCheckProtocol",
                        "HealthCheckPath", "HealthCheckPort", "HealthCheckIntervalSeconds", "Matcher")
        settings["Targets"] = sorted(each["TargetHealth"]["State"]
                                     for each in health["TargetHealthDescriptions"])
        yield Record("target-group", item["TargetGroupName"], settings, tags[item["TargetGroupArn"]])


def elb_tags(elb, arns: list[str]) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for start in range(0, len(arns), 20):
        for each in elb.describe_tags(ResourceArns=arns[start:start + 20])["TagDescriptions"]:
            found[each["ResourceArn"]] = tags_of(each)
    return found


def clusters(ecs) -> Iterator[Record]:
    arns = list(pages(ecs, "list_clusters", "clusterArns"))
    found = ecs.describe_clusters(clusters=arns, include=["TAGS", "SETTINGS"])["clusters"] if arns else []
    for item in found:
        yield Record("cluster", item["clusterName"],
                     pick(item, "status", "capacityProviders", "defaultCapacityProviderStrategy", "settings"),
                     tags_of(item))
        yield from services(ecs, item["clusterArn"])
        yield from container_instances(ecs, item)
        yield from running_tasks(ecs, item["clusterArn"])


def services(ecs, cluster: str) -> Iterator[Record]:
    arns = list(pages(ecs, "list_services", "serviceArns", cluster=cluster))
    for start in range(0, len(arns), 10):
        batch = ecs.describe_services(cluster=cluster, services=arns[start:start + 10], include=["TAGS"])
        for item in batch["services"]:
            yield Record("service", f"{cluster.rsplit('/', 1)[-1]}/{item['serviceName']}", pick(
                item, "status", "desiredCount", "runningCount", "launchType", "capacityProviderStrategy",
                "taskDefinition", "loadBalancers", "serviceRegistries", "networkConfiguration",
                "healthCheckGracePeriodSeconds", "deploymentConfiguration", "enableExecuteCommand"),
                tags_of(item))


def scalable_targets(scaling) -> Iterator[Record]:
    where = {"ServiceNamespace": "ecs"}
    policies: dict[str, list[dict]] = {}
    for policy in pages(scaling, "describe_scaling_policies", "ScalingPolicies", **where):
        policies.setdefault(policy["ResourceId"], []).append(
            pick(policy, "PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration"))
    for item in pages(scaling, "describe_scalable_targets", "ScalableTargets", **where):
        own = sorted(policies.get(item["ResourceId"], []), key=lambda policy: policy["PolicyName"])
        tags = scaling.list_tags_for_resource(ResourceARN=item["ScalableTargetARN"])
        yield Record("scalable-target", item["ResourceId"].removeprefix("service/"),
                     {**pick(item, "MinCapacity", "MaxCapacity"), "Policies": own}, tags_of(tags))


def container_instances(ecs, cluster: dict) -> Iterator[Record]:
    arns = list(pages(ecs, "list_container_instances", "containerInstanceArns", cluster=cluster["clusterArn"]))
    for start in range(0, len(arns), 100):
        for item in ecs.describe_container_instances(
                cluster=cluster["clusterArn"], containerInstances=arns[start:start + 100],
                include=["TAGS"])["containerInstances"]:
            yield Record("container-instance", f"{cluster['clusterName']}/{item['ec2InstanceId']}",
                         pick(item, "status", "capacityProviderName"), tags_of(item))


def running_tasks(ecs, cluster: str) -> Iterator[Record]:
    for arn in pages(ecs, "list_tasks", "taskArns", cluster=cluster):
        yield Record("task", arn.split("/", 1)[1])


def capacity_providers(ecs) -> Iterator[Record]:
    """Those that were made; one that was deleted lingers as INACTIVE."""
    for item in ecs.describe_capacity_providers(include=["TAGS"])["capacityProviders"]:
        if "autoScalingGroupProvider" in item and item["status"] != "INACTIVE":
            yield Record("capacity-provider", item["name"],
                         pick(item, "status", "updateStatus", "autoScalingGroupProvider"), tags_of(item))


def task_definitions(ecs) -> Iterator[Record]:
    for arn in pages(ecs, "list_task_definitions", "taskDefinitionArns", status="ACTIVE"):
        answer = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        item = answer["taskDefinition"]
        yield Record("task-definition", arn.rsplit("/", 1)[-1], pick(
            item, "cpu", "memory", "networkMode", "requiresCompatibilities", "runtimePlatform", "taskRoleArn",
            "executionRoleArn", "containerDefinitions", "volumes"), tags_of(answer))


def repositories(ecr) -> Iterator[Record]:
    for item in pages(ecr, "describe_repositories", "repositories"):
        name = item["repositoryName"]
        images = sorted(image.get("imageTag", image["imageDigest"]) for image in
                        pages(ecr, "list_images", "imageIds", repositoryName=name))
        settings = pick(item, "imageTagMutability", "imageScanningConfiguration", "encryptionConfiguration")
        settings["lifecyclePolicy"] = lifecycle_policy(ecr, name)
        tags = tags_of(ecr.list_tags_for_resource(resourceArn=item["repositoryArn"]))
        yield Record("repository", name, {**settings, "images": images}, tags)


def lifecycle_policy(ecr, repository: str) -> dict | None:
    try:
        return json.loads(ecr.get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    except ecr.exceptions.LifecyclePolicyNotFoundException:
        return None


def secrets(client) -> Iterator[Record]:
    for item in pages(client, "list_secrets", "SecretList", IncludePlannedDeletion=True):
        # The list leaves out what encrypts it.
        secret = client.describe_secret(SecretId=item["ARN"])
        settings = {**pick(secret, "KmsKeyId", "Description"), "deleted": "DeletedDate" in item,
                    "versions": len(item.get("SecretVersionsToStages", {}))}
        yield Record("secret", item["Name"], settings, tags_of(item))


def identities(iam) -> Iterator[Record]:
    details = {"RoleDetailList": "role", "UserDetailList": "user", "GroupDetailList": "group"}
    for page in iam.get_paginator("get_account_authorization_details").paginate(
            Filter=["Role", "User", "Group", "LocalManagedPolicy"]):
        for key, kind in details.items():
            for item in page.get(key, []):
                found = identity(kind, item)
                if kind == "user":
                    found.settings["AccessKeys"] = len(list(pages(
                        iam, "list_access_keys", "AccessKeyMetadata", UserName=item["UserName"])))
                yield found
        for item in page.get("Policies", []):
            document = next(version["Document"] for version in item["PolicyVersionList"]
                            if version["IsDefaultVersion"])
            yield Record("policy", item["Path"].strip("/") + "/" + item["PolicyName"], {"Document": document})


def identity(kind: str, item: dict) -> Record:
    inline = next((item[key] for key in ("RolePolicyList", "UserPolicyList", "GroupPolicyList")
                   if key in item), [])
    settings = pick(item, "AssumeRolePolicyDocument", "PermissionsBoundary")
    settings["AttachedPolicies"] = sorted(each["PolicyArn"] for each in item["AttachedManagedPolicies"])
    settings["Policies"] = {each["PolicyName"]: each["PolicyDocument"] for each in inline}
    name = (item["Path"] + item[f"{kind.capitalize()}Name"]).lstrip("/")
    return Record(kind, name, settings, tags_of(item))


def instance_profiles(iam) -> Iterator[Record]:
    for item in pages(iam, "list_instance_profiles", "InstanceProfiles"):
        name = item["InstanceProfileName"]
        # The list leaves out the tags.
        tags = iam.list_instance_profile_tags(InstanceProfileName=name)
        yield Record("instance-profile", item["Path"].lstrip("/") + name,
                     {"Roles": sorted(role["RoleName"] for role in item["Roles"])}, tags_of(tags))


def identity_providers(iam) -> Iterator[Record]:
    for item in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=item["Arn"])
        yield Record("identity-provider", found["Url"].removeprefix("https://"),
                     pick(found, "ClientIDList", "ThumbprintList"), tags_of(found))


def log_groups(logs) -> Iterator[Record]:
    for item in pages(logs, "describe_log_groups", "logGroups"):
        tags = logs.list_tags_for_resource(resourceArn=item["arn"].removesuffix(":*"))
        yield Record("log-group", item["logGroupName"], pick(item, "retentionInDays", "kmsKeyId"),
                     tags_of(tags))


def rest_apis(api) -> Iterator[Record]:
    for item in pages(api, "get_rest_apis", "items"):
        methods = {f"{verb} {resource['path']}": method(found)
                   for resource in pages(api, "get_resources", "items", restApiId=item["id"],
                                         embed=["methods"])
                   for verb, found in sorted(resource.get("resourceMethods", {}).items())}
        yield Record("rest-api", item["name"], {"id": item["id"], **pick(item, "endpointConfiguration"),
                                                "methods": methods}, tags_of(item))
        for stage in api.get_stages(restApiId=item["id"])["item"]:
            yield Record("api-stage", f"{item['name']}/{stage['stageName']}",
                         pick(stage, "deploymentId", "methodSettings", "tracingEnabled", "variables"),
                         tags_of(stage))


def method(found: dict) -> dict:
    integration = pick(found.get("methodIntegration", {}), "type", "httpMethod", "uri", "connectionType",
                       "connectionId", "timeoutInMillis", "requestParameters")
    return {**pick(found, "authorizationType", "apiKeyRequired", "requestParameters"),
            "integration": integration}


def usage_plans(api) -> Iterator[Record]:
    for item in pages(api, "get_usage_plans", "items"):
        keys = sorted(key["name"] for key in pages(api, "get_usage_plan_keys", "items",
                                                   usagePlanId=item["id"]))
        yield Record("usage-plan", item["name"],
                     {**pick(item, "apiStages", "quota", "throttle"), "keys": keys}, tags_of(item))


def named(kind: str, operation: str, key: str, identity: str, *settings: str) -> Callable:
    """Things whose listing says all there is to say."""
    def section(client) -> Iterator[Record]:
        for item in pages(client, operation, key):
            yield Record(kind, item[identity], pick(item, *settings), tags_of(item))

    return section


def certificates(acm) -> Iterator[Record]:
    for item in pages(acm, "list_certificates", "CertificateSummaryList"):
        arn = item["CertificateArn"]
        found = acm.describe_certificate(CertificateArn=arn)["Certificate"]
        yield Record("certificate", item["DomainName"],
                     pick(found, "Status", "SubjectAlternativeNames", "InUseBy", "DomainValidationOptions"),
                     tags_of(acm.list_tags_for_certificate(CertificateArn=arn)))


def hosted_zones(route53) -> Iterator[Record]:
    for item in pages(route53, "list_hosted_zones", "HostedZones"):
        identity = item["Id"].rsplit("/", 1)[-1]
        tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=identity)
        yield Record("hosted-zone", item["Name"], {"Private": item["Config"]["PrivateZone"]},
                     tags_of(tags["ResourceTagSet"]))
        for record in pages(route53, "list_resource_record_sets", "ResourceRecordSets",
                            HostedZoneId=item["Id"]):
            if record["Type"] not in ("NS", "SOA"):
                yield Record("dns-record", f"{record['Name']} {record['Type']}",
                             pick(record, "TTL", "AliasTarget", "ResourceRecords"))


def database_subnets(rds) -> Iterator[Record]:
    for item in pages(rds, "describe_db_subnet_groups", "DBSubnetGroups"):
        tags = rds.list_tags_for_resource(ResourceName=item["DBSubnetGroupArn"])
        yield Record("database-subnets", item["DBSubnetGroupName"],
                     {"Subnets": sorted(subnet["SubnetIdentifier"] for subnet in item["Subnets"])},
                     tags_of(tags))


def functions(client) -> Iterator[Record]:
    for item in pages(client, "list_functions", "Functions"):
        settings = pick(item, "Runtime", "PackageType", "MemorySize", "Timeout", "Role", "Environment",
                        "VpcConfig")
        yield Record("function", item["FunctionName"], settings,
                     tags_of(client.list_tags(Resource=item["FunctionArn"])))


def queues(sqs) -> Iterator[Record]:
    for url in pages(sqs, "list_queues", "QueueUrls"):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        yield Record("queue", url.rsplit("/", 1)[-1],
                     pick(attributes, "MessageRetentionPeriod", "VisibilityTimeout", "RedrivePolicy"),
                     tags_of(sqs.list_queue_tags(QueueUrl=url)))


def rules(events) -> Iterator[Record]:
    for bus in events.list_event_buses()["EventBuses"]:
        yield Record("event-bus", bus["Name"])
        for item in pages(events, "list_rules", "Rules", EventBusName=bus["Name"]):
            targets = sorted(target["Arn"] for target in pages(
                events, "list_targets_by_rule", "Targets", Rule=item["Name"], EventBusName=bus["Name"]))
            yield Record("event-rule", item["Name"],
                         {**pick(item, "EventPattern", "ScheduleExpression", "State"), "Targets": targets})


def buckets(s3) -> Iterator[Record]:
    for item in s3.list_buckets()["Buckets"]:
        name = item["Name"]
        settings = {
            "Versioning": s3.get_bucket_versioning(Bucket=name).get("Status"),
            "Encryption": said(s3.get_bucket_encryption, "ServerSideEncryptionConfiguration", name),
            "PublicAccess": said(s3.get_public_access_block, "PublicAccessBlockConfiguration", name),
            "Lifecycle": said(s3.get_bucket_lifecycle_configuration, "Rules", name),
        }
        tags = {tag["Key"]: tag["Value"] for tag in said(s3.get_bucket_tagging, "TagSet", name) or []}
        yield Record("bucket", name, pick(settings, *settings), tags)


def said(call: Callable, key: str, bucket: str) -> object:
    """What S3 says of a bucket's setting; none where it has none."""
    try:
        return call(Bucket=bucket)[key]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return None


def keys(kms) -> Iterator[Record]:
    """Those that don't await their deletion."""
    names: dict[str, list[str]] = {}
    for alias in pages(kms, "list_aliases", "Aliases"):
        names.setdefault(alias.get("TargetKeyId", ""), []).append(alias["AliasName"])
    for item in pages(kms, "list_keys", "Keys"):
        key = kms.describe_key(KeyId=item["KeyId"])["KeyMetadata"]
        if key["KeyState"] != "PendingDeletion":
            tags = kms.list_resource_tags(KeyId=item["KeyId"])["Tags"]
            settings = {"Aliases": names.get(item["KeyId"], []),
                        "Rotation": kms.get_key_rotation_status(KeyId=item["KeyId"])["KeyRotationEnabled"],
                        **pick(key, "Description", "KeyState")}
            yield Record("key", item["KeyId"], settings, {tag["TagKey"]: tag["TagValue"] for tag in tags})


def namespaces(cloud_map) -> Iterator[Record]:
    """Namespaces of Cloud Map, and the services in them."""
    names = {}
    for item in pages(cloud_map, "list_namespaces", "Namespaces"):
        names[item["Id"]] = item["Name"]
        tags = cloud_map.list_tags_for_resource(ResourceARN=item["Arn"])
        yield Record("namespace", item["Name"], pick(item, "Type", "Description"), tags_of(tags))
    for item in pages(cloud_map, "list_services", "Services"):
        found = cloud_map.get_service(Id=item["Id"])["Service"]
        tags = cloud_map.list_tags_for_resource(ResourceARN=item["Arn"])
        # Who is in it comes and goes with the tasks.
        yield Record("discovery-service", f"{names[found['NamespaceId']]}/{item['Name']}",
                     pick(found, "DnsConfig", "HealthCheckCustomConfig", "Description"), tags_of(tags))


def file_systems(efs) -> Iterator[Record]:
    for item in pages(efs, "describe_file_systems", "FileSystems"):
        identity = item["FileSystemId"]
        targets = sorted(target["SubnetId"] for target in pages(
            efs, "describe_mount_targets", "MountTargets", FileSystemId=identity))
        yield Record("file-system", identity, {
            **pick(item, "Name", "LifeCycleState", "Encrypted", "KmsKeyId", "ThroughputMode"),
            "MountTargets": targets}, tags_of(item))
        for point in pages(efs, "describe_access_points", "AccessPoints", FileSystemId=identity):
            yield Record("access-point", point["AccessPointId"],
                         pick(point, "FileSystemId", "PosixUser", "RootDirectory"), tags_of(point))


def schedules(scheduler) -> Iterator[Record]:
    """A schedule has no tags; those of its group say whose it is. The default group is AWS's own."""
    tags = {}
    for group in pages(scheduler, "list_schedule_groups", "ScheduleGroups"):
        name = group["Name"]
        tags[name] = tags_of(scheduler.list_tags_for_resource(ResourceArn=group["Arn"]))
        if name != "default":
            yield Record("schedule-group", name, pick(group, "State"), tags[name])
    for item in pages(scheduler, "list_schedules", "Schedules"):
        group, name = item["GroupName"], item["Name"]
        found = scheduler.get_schedule(GroupName=group, Name=name)
        yield Record("schedule", f"{group}/{name}", pick(
            found, "ScheduleExpression", "ScheduleExpressionTimezone", "State", "FlexibleTimeWindow",
            "ActionAfterCompletion", "Description", "KmsKeyArn", "Target"), tags.get(group, {}))


SECTIONS: dict[str, list[Callable]] = {
    "ec2": [
        ec2_simple("vpc", "describe_vpcs", "Vpcs", "VpcId", "CidrBlock", "IsDefault"),
        ec2_simple("subnet", "describe_subnets", "Subnets", "SubnetId", "VpcId", "CidrBlock",
                   "AvailabilityZone", "MapPublicIpOnLaunch"),
        ec2_simple("internet-gateway", "describe_internet_gateways", "InternetGateways",
                   "InternetGatewayId", "Attachments"),
        ec2_simple("elastic-ip", "describe_addresses", "Addresses", "AllocationId", "NetworkInterfaceId"),
        ec2_simple("vpc-endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "VpcId",
                   "ServiceName", "VpcEndpointType", "State", "SubnetIds", "RouteTableIds", "Groups",
                   "PrivateDnsEnabled"),
        ec2_simple("network-interface", "describe_network_interfaces", "NetworkInterfaces",
                   "NetworkInterfaceId", "SubnetId", "Description", "Groups"),
        ec2_simple("network-acl", "describe_network_acls", "NetworkAcls", "NetworkAclId", "VpcId"),
        launch_templates, nat_gateways, instances, route_tables, security_groups,
    ],
    "elbv2": [balancers, target_groups],
    "ecs": [clusters, capacity_providers, task_definitions],
    "application-autoscaling": [scalable_targets],
    "ecr": [repositories],
    "secretsmanager": [secrets],
    "iam": [identities, identity_providers, instance_profiles],
    "logs": [log_groups],
    "apigateway": [
        rest_apis, usage_plans,
        named("vpc-link", "get_vpc_links", "items", "name", "targetArns", "status"),
        named("api-key", "get_api_keys", "items", "name", "enabled"),
    ],
    "lambda": [functions],
    "stepfunctions": [named("state-machine", "list_state_machines", "stateMachines", "name", "type")],
    "sns": [named("topic", "list_topics", "Topics", "TopicArn")],
    "sqs": [queues],
    "events": [rules],
    "s3": [buckets],
    "scheduler": [schedules],
    "rds": [
        named("database", "describe_db_instances", "DBInstances", "DBInstanceIdentifier", "Engine",
              "EngineVersion", "DBInstanceClass", "DBInstanceStatus", "AllocatedStorage", "MultiAZ",
              "PubliclyAccessible", "StorageEncrypted", "KmsKeyId", "BackupRetentionPeriod", "DBName"),
        named("database-cluster", "describe_db_clusters", "DBClusters", "DBClusterIdentifier", "Engine",
              "EngineVersion", "Status", "ServerlessV2ScalingConfiguration", "StorageEncrypted", "KmsKeyId",
              "DatabaseName", "DeletionProtection"),
        database_subnets,
    ],
    "efs": [file_systems],
    "acm": [certificates],
    "route53": [hosted_zones],
    "kms": [keys],
    "autoscaling": [named("auto-scaling-group", "describe_auto_scaling_groups", "AutoScalingGroups",
                          "AutoScalingGroupName", "MinSize", "MaxSize", "DesiredCapacity", "LaunchTemplate",
                          "VPCZoneIdentifier", "NewInstancesProtectedFromScaleIn")],
    "servicediscovery": [namespaces],
}


def table(records: list[Record]) -> str:
    """KIND, NAME, SETTINGS, a line each."""
    width = {"kind": max((len(record.kind) for record in records), default=4),
             "name": min(60, max((len(record.name) for record in records), default=4))}
    lines = [f"{'KIND':{width['kind']}}  {'NAME':{width['name']}}  SETTINGS"]
    for record in records:
        settings = " ".join(f"{name}={compact(value)}" for name, value in record.settings.items())
        lines.append(f"{record.kind:{width['kind']}}  {record.name:{width['name']}}  {settings[:160]}")
    return "\n".join(lines)


def as_json(records: list[Record]) -> str:
    return json.dumps([vars(record) for record in records], indent=1, default=str, sort_keys=True)


def compact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.local.inventory", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    parser.add_argument("--environment", help="only what is tagged for or named after this environment")
    parser.add_argument("--region", action="append", help="may be given more than once")
    options = parser.parse_args()
    regions = options.region or [os.environ.get("AWS_REGION", "us-east-1")]
    records = [record for record in take(*regions)
               if not options.environment or record.belongs_to(options.environment)]
    if options.json:
        print(as_json(records))
    else:
        print(table(records))


if __name__ == "__main__":
    sys.exit(main())

"""RDS: databases that take time, the network they hold, the versions and classes there are, and refusals."""

import re
import time
from collections.abc import Callable

from ministack.core.responses import get_account_id, get_region
from moto.core.responses import PaginatedResult
from moto.ec2.models import ec2_backends
from moto.rds.exceptions import DBClusterNotFoundError, RDSClientError
from moto.rds.models import DBCluster, DBInstance, DBSubnetGroup, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse

from . import bridge, lifecycle

# The shares of an Aurora database's time after which its cluster is there, of a database's time that a change
# takes, and that a deleted one lingers.
CLUSTER, CHANGED, DELETED = 0.3, 0.2, 0.3

# What could be had in 2026, of each major version the newest and some before.
# https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-release-calendar.html
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/MySQL.Concepts.VersionMgmt.html
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/MariaDB.Concepts.VersionMgmt.html
VERSIONS = {
    "postgres": ("13.23", "14.20", "14.21", "15.15", "15.16", "16.9", "16.10", "16.11", "16.12", "17.6",
                 "17.7", "17.8", "18.1", "18.2"),
    "mysql": ("5.7.44-rds.20260212", "5.7.44-rds.20260521", "8.0.44", "8.0.45", "8.0.46", "8.4.8", "8.4.9",
              "8.4.10"),
    "mariadb": ("10.11.16", "11.4.8", "11.4.10", "11.8.5", "11.8.6"),
    "aurora-postgresql": ("13.21", "14.18", "15.12", "15.13", "16.6-limitless", "16.8", "16.9", "16.10",
                          "17.4", "17.5", "17.7", "17.9", "17.10"),
    "aurora-mysql": ("5.7.mysql_aurora.2.12.5", "8.0.mysql_aurora.3.04.4", "8.0.mysql_aurora.3.08.2",
                     "8.0.mysql_aurora.3.10.0", "8.0.mysql_aurora.3.10.1"),
}
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Support.html
CLASSES = ("db.t3.micro", "db.t3.small", "db.t3.medium", "db.t4g.micro", "db.t4g.small", "db.t4g.medium",
           "db.t4g.large", "db.m6g.large", "db.m7g.large", "db.m7g.xlarge", "db.r6g.large", "db.r7g.large")
AURORA_CLASSES = ("db.serverless", "db.t3.medium", "db.t4g.medium", "db.t4g.large", "db.r6g.large",
                  "db.r7g.large", "db.r7g.xlarge")


def install() -> None:
    bridge.around["rds"] = _answer
    RDSResponse.describe_db_engine_versions = _describe_versions
    RDSResponse.describe_orderable_db_instance_options = _describe_options
    DBInstance.status = property(_state, _set_state)
    DBCluster.status = property(_state, _set_state)
    DBInstance.endpoint = property(_endpoint(DBInstance.endpoint.fget))
    _wrap("create_db_instance", _create_instance)
    _wrap("modify_db_instance", _modify_instance)
    _wrap("delete_db_instance", _delete_instance)
    _wrap("create_db_cluster", _create_cluster)
    _wrap("modify_db_cluster", _modify_cluster)
    _wrap("delete_db_cluster", _delete_cluster)
    _wrap("stop_db_instance", _stop_instance)
    _wrap("start_db_instance", _start_instance)
    _wrap("stop_db_cluster", _stop_cluster)
    _wrap("start_db_cluster", _start_cluster)
    _wrap("create_subnet_group", _create_subnets)
    _wrap("modify_db_subnet_group", _modify_subnets)
    _wrap("delete_subnet_group", _delete_subnets)
    RDSResponse.delete_db_cluster = _refuse_unclear(RDSResponse.delete_db_cluster)


def _wrap(name: str, wrapper: Callable) -> None:
    plain = getattr(RDSBackend, name)
    setattr(RDSBackend, name, lambda self, *args, **settings: wrapper(self, plain, *args, **settings))


def _answer(request: bridge.Request, moto: bridge.Call) -> bridge.Answer:
    _sweep(rds_backends[get_account_id()][get_region()])
    return moto()


def _order(version: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.\-_]", version)]


def _major(engine: str, version: str) -> str:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBEngineVersion.html"""
    parts = 1 if engine.endswith(("postgres", "postgresql")) else 2
    return ".".join(version.split(".")[:parts])


def _targets(engine: str, version: str) -> list[str]:
    """What a version can be changed to: MySQL goes by one major version at a time.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.MySQL.Major.html
    """
    later = [each for each in VERSIONS[engine]
             if _order(each) > _order(version) and not each.endswith("-limitless")]
    majors = sorted({_major(engine, each) for each in later} - {_major(engine, version)}, key=_order)
    allowed = majors[:1] if engine.endswith("mysql") else majors
    return [each for each in later if _major(engine, each) in (_major(engine, version), *allowed)]


def _describe_versions(self: RDSResponse) -> PaginatedResult:
    """moto has none of this.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBEngineVersions.html
    """
    engine, asked = self.params.get("Engine"), self.params.get("EngineVersion")
    found = [(name, version) for name, versions in VERSIONS.items() for version in versions
             if engine in (None, name) and (not asked or version == asked or version.startswith(f"{asked}."))]
    return PaginatedResult({"DBEngineVersions": [_version(*each) for each in found], "Marker": None})


def _version(engine: str, version: str) -> dict:
    major = _major(engine, version)
    return {
        "Engine": engine, "EngineVersion": version, "MajorEngineVersion": major, "Status": "available",
        "DBParameterGroupFamily": f"{engine}{major}", "SupportedEngineModes": ["provisioned"],
        "ValidUpgradeTarget": [
            {"Engine": engine, "EngineVersion": each,
             "IsMajorVersionUpgrade": _major(engine, each) != major} for each in _targets(engine, version)],
    }


def _classes(engine: str, version: str) -> tuple[str, ...]:
    """Aurora MySQL 2 can't be serverless v2, nor can Limitless.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.requirements.html
    """
    if not engine.startswith("aurora"):
        return CLASSES
    serverless = not version.startswith("5.7") and not version.endswith("-limitless")
    return AURORA_CLASSES if serverless else AURORA_CLASSES[1:]


def _describe_options(self: RDSResponse) -> PaginatedResult:
    """moto knows those of old Aurora versions.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeOrderableDBInstanceOptions.html
    """
    engine, version = self.params.get("Engine"), self.params.get("EngineVersion")
    asked = self.params.get("DBInstanceClass")
    options = [_option(engine, each, name, storage)
               for each in VERSIONS.get(engine, ()) if version in (None, each)
               for name in _classes(engine, each) if asked in (None, name)
               for storage in (("aurora",) if engine.startswith("aurora") else ("gp2", "gp3"))]
    return PaginatedResult({"OrderableDBInstanceOptions": options, "Marker": None})


def _option(engine: str, version: str, name: str, storage: str) -> dict:
    sizes = {} if storage == "aurora" else {"MinStorageSize": 20, "MaxStorageSize": 65536}
    return {
        "Engine": engine, "EngineVersion": version, "DBInstanceClass": name, "StorageType": storage,
        "LicenseModel": "postgresql-license" if "postgres" in engine else "general-public-license",
        "MultiAZCapable": storage != "aurora", "Vpc": True, "SupportsStorageEncryption": True,
        "SupportedEngineModes": ["provisioned"], **sizes,
    }


def _row(thing: DBInstance | DBCluster) -> tuple[str, float]:
    """The row of `latencies.json` that says how long it takes, and which share of it."""
    if isinstance(thing, DBCluster):
        return "aurora", CLUSTER
    if thing.db_cluster_identifier:
        return "aurora", 1.0
    small = thing.db_instance_class.startswith("db.t") and not thing.multi_az
    return ("rds-small" if small else "rds-large"), 1.0


def _state(thing: DBInstance | DBCluster) -> str:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html"""
    kind, share = _row(thing)
    if getattr(thing, "deleted", None):
        return "deleting"
    if not lifecycle.ready(kind, getattr(thing, "begun", 0), share):
        return "creating"
    if not lifecycle.ready(kind, getattr(thing, "changed", 0), CHANGED):
        return thing.changing
    return getattr(thing, "settled", "available")


def _set_state(thing: DBInstance | DBCluster, state: str) -> None:
    if state in ("available", "stopped"):
        thing.settled = state


def _endpoint(plain: Callable) -> Callable:
    """Not there while the instance is created."""
    return lambda self: None if self.status == "creating" else plain(self)


def _available(thing: DBInstance | DBCluster) -> None:
    """A change, or a snapshot, of what isn't available is refused.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html
    """
    if thing.status != "available":
        code = "InvalidDBClusterStateFault" if isinstance(thing, DBCluster) else "InvalidDBInstanceState"
        raise RDSClientError(code, f"{thing.resource_id} is {thing.status}, not available")


def _begin_change(thing: DBInstance | DBCluster, settings: dict) -> None:
    thing.changed = time.time()
    thing.changing = ("upgrading" if settings.get("engine_version") else
                      "resetting-master-credentials" if settings.get("master_user_password") else "modifying")


def change_by_itself(name: str, version: str | None, storage: int | None) -> dict:
    """What RDS does without being asked: a newer minor version in the maintenance window, and more storage.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.Upgrading.html
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
    """
    backend = next(each for regions in rds_backends.values() for each in regions.values()
                   if name in each.databases or name in each.clusters)
    # Instances of a cluster have its version.
    thing = backend.clusters.get(name) or backend.databases[name]
    thing.engine_version = version or thing.engine_version
    thing.allocated_storage = storage or thing.allocated_storage
    return {"name": name, "version": version, "storage": storage}


def _offered(engine: str, version: str | None) -> None:
    if engine in VERSIONS and version and version not in VERSIONS[engine]:
        raise RDSClientError("InvalidParameterCombination", f"Cannot find version {version} for {engine}")


def _upgradable(thing: DBInstance | DBCluster, settings: dict) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.Upgrading.html"""
    version = settings.get("engine_version")
    if not version or version == thing.engine_version:
        return
    _offered(thing.engine, version)
    if version not in _targets(thing.engine, thing.engine_version):
        raise RDSClientError("InvalidParameterCombination",
                             f"Cannot upgrade {thing.engine} from {thing.engine_version} to {version}")
    major = _major(thing.engine, version) != _major(thing.engine, thing.engine_version)
    if major and not settings.get("allow_major_version_upgrade"):
        raise RDSClientError("InvalidParameterCombination", "The AllowMajorVersionUpgrade flag must be "
                             "present when upgrading to a new major version.")


def _create_instance(self: RDSBackend, plain: Callable, settings: dict) -> DBInstance:
    """Refused for a version or class there isn't, and for a serverless one in a cluster without a scale.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.create.html
    """
    cluster = self.clusters.get(settings.get("db_cluster_identifier") or "")
    engine, name = settings["engine"], settings["db_instance_class"]
    version = cluster.engine_version if cluster else settings.get("engine_version")
    _offered(engine, version)
    if engine in VERSIONS and version and name not in _classes(engine, version):
        raise RDSClientError(
            "InvalidParameterCombination", "RDS does not support creating a DB instance with the following "
            f"combination: DBInstanceClass={name}, Engine={engine}, EngineVersion={version}.")
    if name == "db.serverless" and not (cluster and cluster.serverless_v2_scaling_configuration):
        raise RDSClientError(
            "InvalidParameterValue", "Set the Serverless v2 scaling configuration on the parent DB cluster "
            "before creating a Serverless v2 DB instance.")
    instance = plain(self, settings)
    instance.begun, instance.settled = time.time(), "available"
    if not cluster and instance.storage_encrypted and not settings.get("kms_key_id"):
        instance.kms_key_id = _own_key(self)
    instance.interfaces = _interfaces(self, instance, cluster)
    return instance


def _own_key(backend: RDSBackend) -> str:
    """What is encrypted with no key named is so with AWS's own, which is told as any other."""
    return f"arn:aws:kms:{backend.region_name}:{backend.account_id}:key/00000000-0000-4000-8000-000000000000"


def _interfaces(backend: RDSBackend, instance: DBInstance, cluster: DBCluster | None) -> list[str]:
    """They keep the subnet, and the groups, from being deleted.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html
    """
    group = backend.subnet_groups.get(cluster.db_subnet_group_name) if cluster \
        else getattr(instance, "db_subnet_group", None)
    if not group:
        return []
    ec2 = ec2_backends[backend.account_id][backend.region_name]
    interface = ec2.create_network_interface(
        group._subnets[0], [], group_ids=instance.vpc_security_group_ids, description="RDSNetworkInterface")
    interface.status = "in-use"
    return [interface.id]


def _regroup(backend: RDSBackend, instance: DBInstance) -> None:
    ec2 = ec2_backends[backend.account_id][backend.region_name]
    for interface in getattr(instance, "interfaces", []):
        ec2.enis[interface]._group_set = [
            ec2.get_security_group_from_id(each) for each in instance.vpc_security_group_ids]


def _modify_instance(self: RDSBackend, plain: Callable, name: str, settings: dict) -> DBInstance:
    instance = self.describe_db_instances(name)[0]
    _available(instance)
    _upgradable(instance, settings)
    if (settings.get("allocated_storage") or instance.allocated_storage) < instance.allocated_storage:
        raise RDSClientError("InvalidParameterCombination", "Requested storage size is less than the current "
                             "storage size, and storage can't be reduced.")
    instance = plain(self, name, settings)
    instance.port = settings.get("db_port_number") or instance.port
    _begin_change(instance, settings)
    _regroup(self, instance)
    return instance


def _turn(thing: DBInstance | DBCluster, settled: str, meanwhile: str) -> None:
    thing.settled, thing.changed, thing.changing = settled, time.time(), meanwhile


def _stop_instance(self: RDSBackend, plain: Callable, name: str, snapshot: str | None = None) -> DBInstance:
    """Takes its time; one of an Aurora cluster stops with that alone.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_StopDBInstance.html
    """
    instance = self.describe_db_instances(name)[0]
    if instance.db_cluster_identifier:
        raise RDSClientError("InvalidDBInstanceState", "Aurora DB instances aren't eligible for stopping or "
                             "starting. Stop or start the DB cluster instead.")
    instance = plain(self, name, snapshot)
    _turn(instance, "stopped", "stopping")
    return instance


def _start_instance(self: RDSBackend, plain: Callable, name: str) -> DBInstance:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_StartDBInstance.html"""
    instance = plain(self, name)
    _turn(instance, "available", "starting")
    return instance


def _stop_cluster(self: RDSBackend, plain: Callable, cluster_identifier: str) -> DBCluster:
    """Its instances stop with it, serverless or not. moto answers a copy of all it has.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-cluster-stop-start.html
    """
    return _turn_cluster(self, cluster_identifier, "available", "stopped", "stopping")


def _start_cluster(self: RDSBackend, plain: Callable, cluster_identifier: str) -> DBCluster:
    """The same page."""
    return _turn_cluster(self, cluster_identifier, "stopped", "available", "starting")


def _turn_cluster(self: RDSBackend, name: str, before: str, settled: str, meanwhile: str) -> DBCluster:
    if name not in self.clusters:
        raise DBClusterNotFoundError(name)
    cluster = self.clusters[name]
    for thing in (cluster, *_members(self, cluster)):
        if thing.status != before:
            raise RDSClientError("InvalidDBClusterStateFault",
                                 f"DbCluster {name} is in {thing.status} state but expected it to be {before}.")
    for thing in (cluster, *_members(self, cluster)):
        _turn(thing, settled, meanwhile)
    return cluster


def _members(self: RDSBackend, cluster: DBCluster) -> list[DBInstance]:
    return [each for each in self.databases.values()
            if each.db_cluster_identifier == cluster.db_cluster_identifier]


def _awake(self: RDSBackend, cluster: DBCluster | None) -> None:
    """Nothing is taken out of a cluster that is stopped, nor is it deleted with what is in it.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-cluster-stop-start.html
    """
    if cluster and cluster.status in ("stopped", "stopping", "starting") and _members(self, cluster):
        raise RDSClientError("InvalidDBClusterStateFault",
                             f"Cluster {cluster.db_cluster_identifier} is {cluster.status}.")


def _delete_instance(self: RDSBackend, plain: Callable, db_instance_identifier: str,
                     **settings) -> DBInstance:
    """Stays a while, with a last snapshot or a word that there is to be none; an Aurora one has none.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html
    """
    instance = self.databases.get(db_instance_identifier)
    if instance and getattr(instance, "deleted", None):
        raise RDSClientError("InvalidDBInstanceState",
                             f"Instance {db_instance_identifier} is already being deleted.")
    if instance and instance.db_cluster_identifier:
        _awake(self, self.clusters.get(instance.db_cluster_identifier))
    if instance and not instance.db_cluster_identifier:
        _clear(settings.get("skip_final_snapshot"), settings.get("final_db_snapshot_identifier"))
        if settings.get("final_db_snapshot_identifier"):
            _available(instance)
    instance = plain(self, db_instance_identifier, **settings)
    self.databases[db_instance_identifier] = instance
    instance.deleted = time.time()
    _sweep(self)
    return instance


def _clear(skip: bool | None, snapshot: str | None) -> None:
    if bool(skip) == bool(snapshot):
        raise RDSClientError("InvalidParameterCombination", "FinalDBSnapshotIdentifier is required unless "
                             "SkipFinalSnapshot is specified, and can't be given with it.")


def _refuse_unclear(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBCluster.html"""
    def delete_db_cluster(self: RDSResponse):
        _clear(self.params.get("SkipFinalSnapshot"), self.params.get("FinalDBSnapshotIdentifier"))
        return plain(self)

    return delete_db_cluster


def _create_cluster(self: RDSBackend, plain: Callable, settings: dict) -> DBCluster:
    """moto replaces a cluster of the name.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBCluster.html
    """
    if settings["db_cluster_identifier"] in self.clusters:
        raise RDSClientError("DBClusterAlreadyExistsFault", "DB Cluster already exists")
    _offered(settings["engine"], settings.get("engine_version"))
    if settings.get("db_subnet_group_name"):
        self.describe_db_subnet_groups(settings["db_subnet_group_name"])
    cluster = plain(self, settings)
    cluster.begun, cluster.settled = time.time(), "available"
    if not settings.get("kms_key_id"):
        cluster.kms_key_id = _own_key(self) if cluster.storage_encrypted else None
    return cluster


def _modify_cluster(self: RDSBackend, plain: Callable, settings: dict) -> DBCluster:
    name = settings["db_cluster_identifier"]
    if name not in self.clusters:
        raise DBClusterNotFoundError(name)
    cluster = self.clusters[name]
    _available(cluster)
    _upgradable(cluster, settings)
    plain(self, settings)
    _begin_change(cluster, settings)
    for member in cluster._members:
        _regroup(self, member)
    return cluster


def _delete_cluster(self: RDSBackend, plain: Callable, cluster_identifier: str,
                    snapshot_name: str | None = None) -> DBCluster:
    """Its daily snapshots go with it, which moto keeps; it stays a while.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_DeleteCluster.html
    """
    cluster = self.clusters.get(cluster_identifier)
    if cluster and getattr(cluster, "deleted", None):
        raise RDSClientError("InvalidDBClusterStateFault",
                             f"Cluster {cluster_identifier} is already being deleted.")
    _awake(self, cluster)
    cluster = plain(self, cluster_identifier, snapshot_name)
    for name, snapshot in list(self.cluster_snapshots.items()):
        if snapshot.snapshot_type == "automated" and snapshot.db_cluster_identifier == cluster_identifier:
            del self.cluster_snapshots[name]
    self.clusters[cluster_identifier] = cluster
    cluster.deleted = time.time()
    _sweep(self)
    return cluster


def _sweep(backend: RDSBackend) -> None:
    """Ends what was deleted and has lingered, and gives back what it held."""
    for things in (backend.databases, backend.clusters):
        for name, thing in list(things.items()):
            gone = getattr(thing, "deleted", None)
            if gone and lifecycle.ready(_row(thing)[0], gone, DELETED):
                del things[name]
                for interface in getattr(thing, "interfaces", []):
                    ec2_backends[backend.account_id][backend.region_name].delete_network_interface(interface)


def _create_subnets(self: RDSBackend, plain: Callable, name: str, description: str, subnets: list,
                    tags: list) -> DBSubnetGroup:
    """In two zones at least; moto replaces a group of the name.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html
    """
    if name in self.subnet_groups:
        raise RDSClientError("DBSubnetGroupAlreadyExists", f"The DB subnet group '{name}' already exists.")
    _covered(subnets)
    return plain(self, name, description, subnets, tags)


def _covered(subnets: list) -> None:
    zones = sorted({each.availability_zone for each in subnets})
    if len(zones) < 2:
        raise RDSClientError(
            "DBSubnetGroupDoesNotCoverEnoughAZs", "The DB subnet group doesn't meet Availability Zone (AZ) "
            f"coverage requirement. Current AZ coverage: {', '.join(zones)}. Add subnets to cover at least 2 "
            "AZs.")


def _modify_subnets(self: RDSBackend, plain: Callable, name: str, description: str | None,
                    subnets: list) -> DBSubnetGroup:
    """moto loses a group that is changed."""
    self.describe_db_subnet_groups(name)
    _covered(subnets)
    self.subnet_groups[name] = group = plain(self, name, description, subnets)
    return group


def _delete_subnets(self: RDSBackend, plain: Callable, name: str) -> DBSubnetGroup:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBSubnetGroup.html"""
    held = [each for each in self.databases.values()
            if not each.db_cluster_identifier and each._db_subnet_group_name == name]
    held += [each for each in self.clusters.values() if each.db_subnet_group_name == name]
    if held:
        raise RDSClientError("InvalidDBSubnetGroupStateFault", f"Cannot delete the subnet group '{name}' "
                             f"because at least one database instance: {held[0].resource_id} is still "
                             "using it.")
    return plain(self, name)

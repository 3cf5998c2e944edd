"""EFS: file systems and mount targets that take time, tokens that are taken, and what moto leaves out."""

import json
import time
from collections.abc import Callable

from moto.efs.exceptions import EFSError
from moto.efs.models import EFSBackend, FileSystem, MountTarget
from moto.efs.responses import EFSResponse

from . import lifecycle

# The share of the time to a mounted file system after which it takes mount targets, and the share that a
# deleted mount target lingers.
FILE_SYSTEM, MOUNT_TARGET, DELETED = 0.15, 0.85, 0.1


class Refused(EFSError):
    """https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html#API_CreateMountTarget_Errors"""

    code = 409


def install() -> None:
    FileSystem.info_json = _file_system(FileSystem.info_json)
    MountTarget.info_json = _mount_target(MountTarget.info_json)
    EFSBackend.create_file_system = _create_file_system(EFSBackend.create_file_system)
    EFSBackend.create_mount_target = _create_mount_target(EFSBackend.create_mount_target)
    EFSBackend.create_access_point = _create_access_point(EFSBackend.create_access_point)
    EFSBackend.delete_mount_target = _delete_mount_target(EFSBackend.delete_mount_target)
    EFSBackend.describe_mount_targets = _describe_mount_targets(EFSBackend.describe_mount_targets)
    EFSResponse.update_file_system = _update_file_system


def _available(file_system: FileSystem) -> bool:
    return lifecycle.ready("efs", file_system.creation_time, FILE_SYSTEM)


def _file_system(plain: Callable) -> Callable:
    def info_json(self) -> dict:
        return {**plain(self), "LifeCycleState": "available" if _available(self) else "creating"}

    return info_json


def _mount_target(plain: Callable) -> Callable:
    def info_json(self) -> dict:
        shown = {name: value for name, value in plain(self).items() if name not in ("Created", "Deleted")}
        if getattr(self, "deleted", None):
            return {**shown, "LifeCycleState": "deleting"}
        ready = lifecycle.ready("efs", self.created, MOUNT_TARGET)
        return {**shown, "LifeCycleState": "available" if ready else "creating"}

    return info_json


def _create_file_system(plain: Callable) -> Callable:
    """What is encrypted with no key named is so with AWS's own, which is told.

    https://docs.aws.amazon.com/efs/latest/ug/API_CreateFileSystem.html
    """
    def create(self, *args, **settings) -> FileSystem:
        if settings.get("encrypted") and not settings.get("kms_key_id"):
            settings["kms_key_id"] = (f"arn:aws:kms:{self.region_name}:{self.account_id}:"
                                      "key/00000000-0000-4000-8000-000000000e15")
        return plain(self, *args, **settings)

    return create


def _refuse_unready(backend: EFSBackend, identity: str) -> None:
    file_system = backend.file_systems_by_id.get(identity)
    if file_system and not _available(file_system):
        raise Refused("IncorrectFileSystemLifeCycleState", f"File system '{identity}' is not available.")


def _create_mount_target(plain: Callable) -> Callable:
    def create(self, file_system_id: str, *args, **settings) -> MountTarget:
        _refuse_unready(self, file_system_id)
        target = plain(self, file_system_id, *args, **settings)
        target.created = time.time()
        interface = self.ec2_backend.get_network_interface(target.network_interface_id)
        interface.status = "in-use"
        interface.description = f"EFS mount target for {file_system_id} ({target.mount_target_id})"
        return target

    return create


def _create_access_point(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/efs/latest/ug/API_CreateAccessPoint.html#API_CreateAccessPoint_Errors"""
    def create(self, client_token: str, tags: list, file_system_id: str, *args, **settings):
        _refuse_unready(self, file_system_id)
        if any(each.client_token == client_token for each in self.access_points.values()):
            raise Refused("AccessPointAlreadyExists", f"An access point with token {client_token} exists.")
        return plain(self, client_token, tags, file_system_id, *args, **settings)

    return create


def _delete_mount_target(plain: Callable) -> Callable:
    def delete(self, mount_target_id: str) -> None:
        target = self.mount_targets_by_id.get(mount_target_id)
        if target is None or lifecycle.scale == 0:
            plain(self, mount_target_id)
        else:
            target.deleted = getattr(target, "deleted", time.time())

    return delete


def _describe_mount_targets(plain: Callable) -> Callable:
    def describe(self, *args, **settings):
        for target in list(self.mount_targets_by_id.values()):
            if getattr(target, "deleted", None) and lifecycle.ready("efs", target.deleted, DELETED):
                self.ec2_backend.delete_network_interface(target.network_interface_id)
                del self.mount_targets_by_id[target.mount_target_id]
                target.clean_up()
        return plain(self, *args, **settings)

    return describe


def _update_file_system(self) -> tuple:
    """https://docs.aws.amazon.com/efs/latest/ug/API_UpdateFileSystem.html"""
    _, (file_system,) = self.efs_backend.describe_file_systems(file_system_id=self._get_param("FileSystemId"))
    file_system.throughput_mode = self._get_param("ThroughputMode") or file_system.throughput_mode
    return json.dumps(file_system.info_json()), {"status": 202, "Content-Type": "application/json"}

"""The `linux` part of a `config.json` (runtime-spec config-linux.md)."""

from __future__ import annotations

from collections.abc import Iterable

from lkbuild.oci.field import Document, given, reading
from lkbuild.oci.resources import resources
from lkbuild.spec.model import ContainerConfig, Device, DeviceRule, IdMapping
from lkbuild.spec.syntax import parse_device_mode

_HOST = ("host", "root")


def linux(config: ContainerConfig) -> Document:
    """Namespaces, devices, limits and paths of a container; `config` is entry over label."""
    return given(
        {
            "uidMappings": id_mappings(config.uid_mappings),
            "gidMappings": id_mappings(config.gid_mappings),
            "sysctl": dict(sorted(config.sysctl)) if config.sysctl else None,
            "resources": resources(config.resources, tuple(map(_rule, config.devices or ()))),
            "cgroupsPath": config.cgroups_path,
            "namespaces": list(_namespaces(config)),
            "devices": [_node(device) for device in config.devices or () if device.path != "all"],
            "rootfsPropagation": config.rootfs_propagation,
            "maskedPaths": list(config.masked_paths or ()),
            "readonlyPaths": list(config.readonly_paths or ()),
        }
    )


def id_mappings(mappings: tuple[IdMapping, ...] | None) -> list[Document]:
    """User or group id mappings (config-linux.md#user-namespace-mappings); what is not given is 0."""
    return [{"containerID": m.container_id or 0, "hostID": m.host_id or 0, "size": m.size or 0} for m in mappings or ()]


def _namespaces(config: ContainerConfig) -> Iterable[Document]:
    """The namespaces a container has of its own or joins; one that is not listed is the machine's."""
    asked = (
        ("network", config.net or "root", ("new", "none")),
        ("ipc", config.ipc or "root", ("new",)),
        ("uts", config.uts or "root", ("new",)),
        ("pid", config.pid or "new", ("new",)),
        ("user", config.userns or "root", ("new",)),
    )
    for kind, value, fresh in asked:
        if value not in _HOST:
            yield given({"type": kind, "path": "" if value in fresh else value})
    yield {"type": "mount"}


def _rule(device: Device) -> DeviceRule:
    """The cgroup rule without which a device cannot be used; `path: all` is one for every device of the type."""
    if device.path == "all":
        return DeviceRule(allow=True, type=device.type, access="rwm")
    return DeviceRule(True, device.type, device.major or 0, device.minor or 0, "rwm")


def _node(device: Device) -> Document:
    with reading("devices"):
        mode = parse_device_mode(device.mode)
    return {
        "path": device.path or "",
        "type": device.type or "",
        "major": device.major or 0,
        "minor": device.minor or 0,
        "fileMode": mode,
    }

"""The checks of one entry of onboot, onshutdown or services."""

from __future__ import annotations

import difflib

from lkbuild.spec.checks import Checks
from lkbuild.spec.model import Container, Device, Mount, Path
from lkbuild.spec.syntax import (
    CAPABILITIES,
    mount_destination,
    mount_type,
    parse_bind,
    parse_device_mode,
    parse_rlimit,
    parse_tmpfs,
)

_LONGEST_NAME = 250
_DEVICE_TYPES = ("c", "b", "u", "p")
_RULE_TYPES = ("a", "b", "c")


def check_container(checks: Checks, path: Path, container: Container) -> None:
    """Note what is wrong with the entry at `path`."""
    _name(checks, (*path, "name"), container.name)
    config = container.config
    for key, names in (
        ("capabilities", config.capabilities),
        ("capabilities.add", config.capabilities_add),
        ("ambient", config.ambient),
    ):
        _capabilities(checks, (*path, key), names or ())
    for key, binds in (("binds", config.binds), ("binds.add", config.binds_add)):
        for number, bind in enumerate(binds or ()):
            _bind(checks, (*path, key, number), bind)
    for number, tmpfs in enumerate(config.tmpfs or ()):
        checks.attempt((*path, "tmpfs", number), parse_tmpfs, tmpfs)
    for number, rlimit in enumerate(config.rlimits or ()):
        checks.attempt((*path, "rlimits", number), parse_rlimit, rlimit)
    for number, mount in enumerate(config.mounts or ()):
        _mount(checks, (*path, "mounts", number), mount)
    for number, device in enumerate(config.devices or ()):
        _device(checks, (*path, "devices", number), device)
    checks.identity((*path, "uid"), config.uid)
    checks.identity((*path, "gid"), config.gid)
    for number, gid in enumerate(config.additional_gids or ()):
        checks.identity((*path, "additionalGids", number), gid)


def _name(checks: Checks, path: Path, name: str) -> None:
    """A container's name becomes a directory's."""
    if path in checks.report.faulty:
        return
    if not name:
        checks.problem(path, "the container's name is empty")
    elif "/" in name or name in (".", "..") or not name.isprintable():
        checks.problem(path, f"{name!r} is no container name: it becomes the name of a directory")
    elif len(name.encode()) > _LONGEST_NAME:
        checks.problem(path, f"the container's name is longer than {_LONGEST_NAME} bytes")


def _capabilities(checks: Checks, path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        here = (*path, number)
        if name.lower() in ("all", "none"):
            if len(names) > 1:
                checks.problem(here, f"{name!r} stands for the whole list and cannot stand beside others")
        elif name not in CAPABILITIES:
            full = f"CAP_{name.upper().removeprefix('CAP_')}"
            close = difflib.get_close_matches(full, CAPABILITIES, n=1)
            checks.problem(here, f"unknown capability {name!r}", f"did you mean {close[0]}?" if close else None)


def _bind(checks: Checks, path: Path, text: str) -> None:
    parsed = checks.attempt(path, parse_bind, text)
    if parsed is None:
        return
    source, destination, options = parsed
    if source.startswith("/") or not _volume_exists(checks, path, source):
        return
    if checks.volumes[source] and options != ("ro",):
        hint = f"give the option ro alone: {source}:{destination}:ro"
        checks.problem(path, f"volume {source!r} is readonly, but {text!r} would write to it", hint)


def _mount(checks: Checks, path: Path, mount: Mount) -> None:
    if path in checks.report.faulty:
        return
    try:
        type_ = mount_type(mount.type, mount.source, mount.destination)
        mount_destination(type_, mount.destination)
    except ValueError as error:
        checks.problem(path, str(error))
        return
    source = mount.source or ""
    if type_ != "bind" or source.startswith("/"):
        return
    here = (*path, "source") if mount.source is not None else path
    if not source:
        checks.problem(here, "a mount of type 'bind' has no source")
    elif _volume_exists(checks, here, source):
        # The first of ro and rw counts, as in the reference.
        access = next((option for option in mount.options or () if option in ("ro", "rw")), "rw")
        if checks.volumes[source] and access != "ro":
            message = f"volume {source!r} is readonly, but this mount would write to it"
            checks.problem(here, message, "add the option ro")


def _volume_exists(checks: Checks, path: Path, name: str) -> bool:
    if name in checks.volumes:
        return True
    if not checks.report.incomplete:
        hint = f"{checks.known(name, checks.volumes, 'volumes')}; a path begins with /"
        checks.problem(path, f"there is no volume {name!r}", hint)
    return False


def _device(checks: Checks, path: Path, device: Device) -> None:
    if path in checks.report.faulty:
        return
    if not device.path:
        checks.problem(path, "a device has no path", "give the path of the node, or all")
    types = _RULE_TYPES if device.path == "all" else _DEVICE_TYPES
    if device.type is None and device.path != "all":
        checks.problem(path, f"device {device.path!r} has no type (wanted {' or '.join(types)})")
    if device.type is not None and device.type not in types:
        checks.problem((*path, "type"), f"{device.type!r} is no device type here (wanted {' or '.join(types)})")
    if device.path != "all":
        here = path if device.mode is None else (*path, "mode")
        checks.attempt(here, parse_device_mode, device.mode or "")

"""The mounts of a container (runtime-spec config.md#mounts), and the volumes they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from lkbuild.oci.field import Document, given, reading
from lkbuild.oci.linux import id_mappings
from lkbuild.spec.model import ContainerConfig, Mount
from lkbuild.spec.syntax import mount_destination, mount_type, parse_bind, parse_tmpfs

BIND_OPTIONS = ("rw", "rbind", "rshared")
"""The options of a bind that gives none."""


def mounts(config: ContainerConfig) -> list[Document]:
    """Everything mounted in a container: the defaults, tmpfs, binds and mounts, a later one of a destination winning.

    Sorted by destination, so that `/dev` comes before `/dev/pts`.
    """
    found = [*_defaults(config.readonly or False), *_tmpfs(config), *_binds(config), *_explicit(config)]
    by_destination = {str(mount.destination): mount for mount in found}
    return [mount_document(by_destination[destination]) for destination in sorted(by_destination)]


def mount_document(mount: Mount) -> Document:
    """One mount as JSON, of a container or of the runtime."""
    return given(
        {
            "destination": mount.destination or "",
            "type": mount.type,
            "source": mount.source,
            "options": list(mount.options or ()),
            "uidMappings": id_mappings(mount.uid_mappings),
            "gidMappings": id_mappings(mount.gid_mappings),
        }
    )


def _defaults(readonly: bool) -> Iterable[Mount]:
    """What Docker mounts in every container; `/dev/shm` and `/dev/mqueue` are left out, as LinuxKit does."""
    ro = ("ro",) if readonly else ()
    yield Mount("/proc", "proc", "proc", ("nosuid", "nodev", "noexec", "relatime"))
    yield Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k", *ro))
    yield Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"))
    yield Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", *ro))
    yield Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro"))


def _tmpfs(config: ContainerConfig) -> Iterable[Mount]:
    for text in config.tmpfs or ():
        with reading("tmpfs"):
            destination, options = parse_tmpfs(text)
        yield Mount(destination, "tmpfs", "tmpfs", options)


def _binds(config: ContainerConfig) -> Iterable[Mount]:
    for text in config.binds or ():
        with reading("binds"):
            source, destination, options = parse_bind(text)
        yield Mount(destination, "bind", source, BIND_OPTIONS if options is None else (*options, "rbind"))


def _explicit(config: ContainerConfig) -> Iterable[Mount]:
    for mount in config.mounts or ():
        with reading("mounts"):
            kind = mount_type(mount.type, mount.source, mount.destination)
            destination = mount_destination(kind, mount.destination)
        yield dataclasses.replace(mount, type=kind, source=mount.source or kind, destination=destination)


def see_volumes(entry: ContainerConfig, volumes: Mapping[str, bool]) -> ContainerConfig:
    """`entry` with the volumes its binds and bind mounts name as the paths where a container sees them.

    `volumes` says of each volume whether it is readonly.  Only an entry may name volumes, never an image's label.
    FieldError where there is no such volume, or a readonly one is not mounted with exactly `ro`.
    """
    return dataclasses.replace(
        entry,
        binds=_binds_seen("binds", entry.binds, volumes),
        binds_add=_binds_seen("binds_add", entry.binds_add, volumes),
        mounts=None if entry.mounts is None else tuple(_mount_seen(mount, volumes) for mount in entry.mounts),
    )


def volumes_used(entry: ContainerConfig) -> frozenset[str]:
    """What `entry` names as volumes, whether there are such or not, so that a key need hold no others."""
    binds = [text.partition(":")[0] for text in (*(entry.binds or ()), *(entry.binds_add or ()))]
    sources = [source for source in binds if not source.startswith("/")]
    return frozenset([*sources, *(mount.source or "" for mount in entry.mounts or () if _names_volume(mount))])


def _binds_seen(field: str, binds: tuple[str, ...] | None, volumes: Mapping[str, bool]) -> tuple[str, ...] | None:
    if binds is None:
        return None
    seen = []
    for text in binds:
        with reading(field):
            source, destination, options = parse_bind(text)
            path = _path_seen(source, options, volumes)
        seen.append(":".join((path, destination) if options is None else (path, destination, ",".join(options))))
    return tuple(seen)


def _mount_seen(mount: Mount, volumes: Mapping[str, bool]) -> Mount:
    if not _names_volume(mount):
        return mount
    with reading("mounts"):
        path = _path_seen(mount.source or "", mount.options, volumes)
    options = mount.options or BIND_OPTIONS
    # The type alone binds nothing: the runtime goes by the options (runtime-spec config.md#linux-mount-options).
    if not {"bind", "rbind"} & set(options):
        options = (*options, "rbind")
    return dataclasses.replace(mount, source=path, options=options)


def _names_volume(mount: Mount) -> bool:
    return mount.type == "bind" and not (mount.source or "/").startswith("/")


def _path_seen(source: str, options: tuple[str, ...] | None, volumes: Mapping[str, bool]) -> str:
    if source.startswith("/"):
        return source
    if source not in volumes:
        raise ValueError(f"there is no volume {source!r} (a path on the machine starts with /)")
    if volumes[source] and options != ("ro",):
        raise ValueError(f"volume {source!r} is readonly and must be given the option ro, and only that")
    return f"/containers/volumes/{source}/merged"

"""`runtime.json`: what LinuxKit's init does around a container before it starts."""

from __future__ import annotations

from lkbuild.oci.field import Document, given
from lkbuild.oci.mounts import mount_document
from lkbuild.spec.model import BindNamespaces, Interface, Mount, Runtime


def root_mounts(directory: str, tree: str, readonly: bool) -> tuple[Mount, ...]:
    """How the root file system of the container at `directory` comes about from the image's files at `tree`.

    Both paths are relative to the machine's root.  A readonly root is a bind, onto itself where the image lies there,
    for the runtime wants a mount point; otherwise an overlay whose upper half is a tmpfs nothing else sees.
    """
    root = f"/{directory}/rootfs"
    if readonly:
        return (Mount(root, source=f"/{tree}", options=("bind",)),)
    tmp = f"/{directory}/tmp"  # noqa: S108 - on the machine that is built
    layers = (f"lowerdir=/{tree}", f"upperdir={tmp}/upper", f"workdir={tmp}/work")
    return (
        Mount(tmp, "tmpfs", "tmpfs"),
        Mount(tmp, options=("remount", "private")),
        Mount(root, "overlay", "overlay", layers),
    )


def runtime_document(runtime: Runtime | None, first: tuple[Mount, ...]) -> Document:
    """The document of `runtime` with the mounts `first` before its own.  Every field is always there."""
    runtime = runtime or Runtime()
    return {
        "cgroups": list(runtime.cgroups or ()),
        "mounts": [mount_document(mount) for mount in (*first, *(runtime.mounts or ()))],
        "mkdir": list(runtime.mkdir or ()),
        "interfaces": [_interface(interface) for interface in runtime.interfaces or ()],
        "bindNS": _bind_namespaces(runtime.bind_ns or BindNamespaces()),
        "namespace": runtime.namespace or "",
    }


def _interface(interface: Interface) -> Document:
    fields = {"name": interface.name, "add": interface.add, "peer": interface.peer}
    return {**given(fields), "createInRoot": interface.create_in_root or False}


def _bind_namespaces(paths: BindNamespaces) -> Document:
    return {
        "cgroup": paths.cgroup or "",
        "ipc": paths.ipc or "",
        "mnt": paths.mnt or "",
        "net": paths.net or "",
        "pid": paths.pid or "",
        "user": paths.user or "",
        "uts": paths.uts or "",
    }

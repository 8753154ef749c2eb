"""Which function does which kind of step.

A function is loaded when a step of its kind first runs: a build after a change runs a few kinds of the many.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from lkbuild.steps.work import Work

Function = Callable[[Any, Work], None]

_PLACES = {
    "verify": "verify.verify",
    "pull": "pull.pull",
    "deb": "pull.deb",
    "debian-layer": "package_debian.debian_layer",
    "kernel-layer": "package_kernel.kernel_layer",
    "package-layer": "package_own.package_layer",
    "image-documents": "package_image.image_documents",
    "kernel": "kernel.kernel",
    "modules": "modules.modules",
    "boot": "modules.boot",
    "tree": "tree.tree",
    "bundle": "bundle.bundle",
    "volume-directories": "volumes.volume_directories",
    "volume-layout": "volumes.volume_layout",
    "files": "files.files",
    "apk-database": "apk_database.apk_database",
    "initrd": "rootfs.initrd",
    "tar": "rootfs.tar",
    "text": "text.text",
    "loaders": "loaders.loaders",
    "medium": "medium.medium",
    "converted": "converted.converted",
    "kernel-initrd-tar": "kernel_initrd_tar.kernel_initrd_tar",
    "docker": "rootfs.docker",
    "oci-layout": "oci_layout.oci_layout",
    "unpacked": "firecracker.unpacked",
    "firecracker-config": "firecracker.firecracker_config",
    "firmware": "rpi3.firmware",
    "rpi3": "rpi3.rpi3",
    "root-disk": "root_disk.root_disk",
    "squashed-root": "root_disk.squashed_root",
    "root-initrd": "root_initrd.root_initrd",
    "image-contents": "contents.image_contents",
    "kernel-release": "release.release",
    "spdx": "machine_contents.spdx_document",
    "cyclonedx": "machine_contents.cyclonedx_document",
    "hashes": "provenance.hashes",
    "provenance": "provenance.provenance",
}
"""Of each kind, its module in this package and its function there."""


class _Functions(dict[str, Function]):
    """The functions by kind, each loaded when it is asked for."""

    def __missing__(self, kind: str) -> Function:
        module, _, name = _PLACES[kind].partition(".")
        function: Function = getattr(import_module(f"lkbuild.steps.{module}"), name)
        self[kind] = function
        return function


def _dockerfile(params: Any, work: Work) -> None:
    work.doors.build_dockerfile(params, work)


FUNCTIONS = _Functions({"dockerfile": _dockerfile})

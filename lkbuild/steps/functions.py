"""Which function does which kind of step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lkbuild.steps.apk_database import apk_database
from lkbuild.steps.bundle import bundle
from lkbuild.steps.contents import image_contents
from lkbuild.steps.converted import converted
from lkbuild.steps.files import files
from lkbuild.steps.firecracker import firecracker_config, unpacked
from lkbuild.steps.kernel import kernel
from lkbuild.steps.kernel_initrd_tar import kernel_initrd_tar
from lkbuild.steps.loaders import loaders
from lkbuild.steps.machine_contents import cyclonedx_document, release, spdx_document
from lkbuild.steps.medium import medium
from lkbuild.steps.modules import boot, modules
from lkbuild.steps.oci_layout import oci_layout
from lkbuild.steps.package_debian import debian_layer
from lkbuild.steps.package_image import image_documents
from lkbuild.steps.package_kernel import kernel_layer
from lkbuild.steps.package_own import package_layer
from lkbuild.steps.provenance import hashes, provenance
from lkbuild.steps.pull import deb, pull
from lkbuild.steps.root_disk import root_disk, squashed_root
from lkbuild.steps.root_initrd import root_initrd
from lkbuild.steps.rootfs import docker, initrd, tar
from lkbuild.steps.rpi3 import firmware, rpi3
from lkbuild.steps.text import text
from lkbuild.steps.tree import tree
from lkbuild.steps.verify import verify
from lkbuild.steps.volumes import volume_directories, volume_layout
from lkbuild.steps.work import Work

FUNCTIONS: dict[str, Callable[[Any, Work], None]] = {
    "verify": verify,
    "pull": pull,
    "deb": deb,
    "debian-layer": debian_layer,
    "kernel-layer": kernel_layer,
    "package-layer": package_layer,
    "image-documents": image_documents,
    "kernel": kernel,
    "modules": modules,
    "boot": boot,
    "tree": tree,
    "bundle": bundle,
    "volume-directories": volume_directories,
    "volume-layout": volume_layout,
    "files": files,
    "apk-database": apk_database,
    "initrd": initrd,
    "tar": tar,
    "text": text,
    "loaders": loaders,
    "medium": medium,
    "converted": converted,
    "kernel-initrd-tar": kernel_initrd_tar,
    "docker": docker,
    "oci-layout": oci_layout,
    "unpacked": unpacked,
    "firecracker-config": firecracker_config,
    "firmware": firmware,
    "rpi3": rpi3,
    "root-disk": root_disk,
    "squashed-root": squashed_root,
    "root-initrd": root_initrd,
    "image-contents": image_contents,
    "kernel-release": release,
    "spdx": spdx_document,
    "cyclonedx": cyclonedx_document,
    "hashes": hashes,
    "provenance": provenance,
    "dockerfile": lambda params, work: work.doors.build_dockerfile(params, work),
}

"""A container's `config.json` and `runtime.json`, from the spec's entry, the image's label and the image's config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lkbuild.errors import ImageError, LkbuildError, Origin, Problem, SpecError
from lkbuild.frozen import frozen
from lkbuild.oci.document import document_text
from lkbuild.oci.field import Document, FieldError, given
from lkbuild.oci.image import CONFIG_LABEL, RunConfig
from lkbuild.oci.linux import linux
from lkbuild.oci.merge import merge
from lkbuild.oci.mounts import mounts, see_volumes
from lkbuild.oci.process import process
from lkbuild.oci.runtime import root_mounts, runtime_document
from lkbuild.spec.decode import parse_label
from lkbuild.spec.model import ContainerConfig

OCI_VERSION = "1.2.1"
"""The version of the runtime-spec the documents follow."""


@frozen
class Place:
    """Where a container lies in the machine, without a leading slash.

    `directory` is the bundle's, `containers/onboot/000-x`.  `tree` is where the image's files lie: `own_tree` of this
    container, or of the first one with the same image.  `readonly` is what `is_readonly` says.
    """

    directory: str
    tree: str
    readonly: bool = False


def own_tree(directory: str, readonly: bool) -> str:
    """Where the image's files go that are laid down for the container at `directory`."""
    return f"{directory}/{'rootfs' if readonly else 'lower'}"


def is_readonly(entry: ContainerConfig, run_config: RunConfig, whose: str = "the image") -> bool:
    """Whether a container's root file system is readonly: what the entry says, else the label of `whose` image.

    The label is read in any case: SpecError, which calls it the label of `whose`, where that cannot be done.
    """
    label = _label(run_config, whose)
    return (label.readonly if entry.readonly is None else entry.readonly) or False


def bundle_documents(
    entry: ContainerConfig, run_config: RunConfig, place: Place, ids: Mapping[str, int], volumes: Mapping[str, bool]
) -> tuple[bytes, bytes]:
    """The bytes of `config.json` and of `runtime.json`.

    `ids` gives the uid each container's name means; `volumes` says of each volume of the spec whether it is readonly.
    SpecError where the entry is wrong; ImageError where the image's label is, which names the label's field.
    """
    label = _label(run_config, f"the image of {place.directory}")
    try:
        merged = merge(see_volumes(entry, volumes), label)
        config = config_document(merged, run_config, ids)
    except FieldError as error:
        raise _blamed(error, entry, place) from error
    if place.readonly != (merged.readonly or False):
        raise ValueError(f"{place.directory}: laid out as if readonly were {place.readonly}, which it is not")
    runtime = runtime_document(merged.runtime, root_mounts(place.directory, place.tree, place.readonly))
    return document_text(config), document_text(runtime)


def config_document(merged: ContainerConfig, run_config: RunConfig, ids: Mapping[str, int]) -> Document:
    """The runtime configuration (runtime-spec config.md) of `merged`, which is entry over label, volumes translated.

    FieldError names the field that cannot be written.
    """
    return given(
        {
            "ociVersion": OCI_VERSION,
            "process": process(merged, run_config, ids),
            "root": given({"path": "rootfs", "readonly": merged.readonly or None}),
            "hostname": merged.hostname,
            "mounts": mounts(merged),
            "annotations": dict(sorted(merged.annotations)) if merged.annotations else None,
            "linux": linux(merged),
        }
    )


def names_used(entry: ContainerConfig, run_config: RunConfig) -> frozenset[str]:
    """The names whose ids the documents depend on, so that a key need hold no others; `root` may be among them."""
    label = _label(run_config, "the image")
    uid = label.uid if entry.uid is None else entry.uid
    gid = label.gid if entry.gid is None else entry.gid
    more = label.additional_gids if entry.additional_gids is None else entry.additional_gids
    return frozenset(value for value in (uid, gid, *(more or ())) if isinstance(value, str))


def _label(run_config: RunConfig, whose: str) -> ContainerConfig:
    return parse_label(run_config.label or "", f"label {CONFIG_LABEL} of {whose}")


def _blamed(error: FieldError, entry: ContainerConfig, place: Place) -> LkbuildError:
    """The error for people: a field that the entry gives is the spec's fault, any other the image's."""
    key = next(f.metadata.get("key", f.name) for f in dataclasses.fields(ContainerConfig) if f.name == error.name)
    if getattr(entry, error.name) is not None:
        return SpecError([Problem(Origin(place.directory), f"{key}: {error}")])
    return ImageError(
        f"label {CONFIG_LABEL} of the image of {place.directory}: {key}: {error}",
        f"give `{key}` in the spec's entry, which beats the label, or use an image with a right label",
    )

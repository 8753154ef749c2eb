"""Manifests, indexes, platforms and configs as values: what is accepted, what is refused and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAX_CONFIG,
    MAX_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RunConfig,
    check_layer,
    choose,
    layer_history,
    parse_manifest,
)

IMAGES = Path(__file__).parents[1] / "conformance" / "images"
DIGEST = "sha256:" + "a" * 64
CONFIG: dict[str, Any] = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 7}
LAYER: dict[str, Any] = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 9}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def entry(platform: str | None, mark: int = 0) -> Descriptor:
    return Descriptor(
        OCI_MANIFEST, Digest("sha256", f"{mark:064x}"), 1, None if platform is None else Platform.parse(platform)
    )


def test_the_conformance_images_are_read() -> None:
    index = Index.parse((IMAGES / "index.json").read_bytes())
    names = [d.annotation(REF_NAME) for d in index.manifests]
    assert len(names) == 14 and "docker.io/conf/base:1" in names
    for descriptor in index.manifests:
        document = parse_manifest(blob(descriptor), descriptor.media_type)
        assert document.media_type == descriptor.media_type
        if isinstance(document, Index):
            chosen = choose(document.manifests, Platform("linux", "amd64"))
            assert chosen is not None
            document = Manifest.parse(blob(chosen), chosen.media_type)
        config = ImageConfig.from_config(blob(document.config))
        assert config.platform == Platform("linux", "amd64")
        assert len(config.diff_ids) == len(document.layers) > 0
        assert all(len(blob(layer)) == layer.size for layer in document.layers)


def blob(descriptor: Descriptor) -> bytes:
    return (IMAGES / "blobs" / descriptor.digest.algorithm / descriptor.digest.hex).read_bytes()


def test_manifest_fields() -> None:
    manifest = Manifest.parse(raw(MANIFEST))
    assert manifest.media_type == OCI_MANIFEST
    assert manifest.config == Descriptor(CONFIG["mediaType"], Digest.parse(DIGEST), 7)
    assert [layer.size for layer in manifest.layers] == [9]


@pytest.mark.parametrize(
    ("document", "said", "kind"),
    [
        (MANIFEST, "", OCI_MANIFEST),
        (without(MANIFEST, "mediaType"), "", OCI_MANIFEST),
        (without(MANIFEST, "mediaType"), "application/json", OCI_MANIFEST),
        (without(MANIFEST, "mediaType"), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (MANIFEST, f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (MANIFEST, "application/octet-stream", OCI_MANIFEST),
        (INDEX, "", OCI_INDEX),
        (without(INDEX, "mediaType"), "", OCI_INDEX),
        (without(INDEX, "mediaType"), DOCKER_INDEX, DOCKER_INDEX),
        ({**INDEX, "annotations": None, "layers": None}, "", OCI_INDEX),
        ({**MANIFEST, "layers": []}, "", OCI_MANIFEST),
    ],
)
def test_the_kind_is_told_by_the_document_then_by_the_sender(document: object, said: str, kind: str) -> None:
    assert parse_manifest(raw(document), said).media_type == kind


@pytest.mark.parametrize(
    ("document", "said", "words"),
    [
        (b"", "", "not JSON"),
        (b"[]", "", "is a list, wanted an object"),
        (b"{" * 100_000, "", "not JSON"),
        (b"[" * 100_000, "", "not JSON"),
        (b"\xff{}", "", "not JSON"),
        (b'{"schemaVersion": ' + b"1" * 5000 + b"}", "", "not JSON"),
        (raw(MANIFEST) + b" " * MAX_MANIFEST, "", "4194304 is the most"),
        ({}, "", "schemaVersion is null"),
        ({"schemaVersion": 2}, "", "config or layers are missing"),
        (without(MANIFEST, "config"), "", "config or layers are missing"),
        (without(MANIFEST, "layers"), "", "config or layers are missing"),
        ({**MANIFEST, "schemaVersion": 3}, "", "schemaVersion is 3"),
        ({**MANIFEST, "schemaVersion": True}, "", "schemaVersion is true or false"),
        ({**MANIFEST, "schemaVersion": "2"}, "", "schemaVersion is text"),
        ({**MANIFEST, "schemaVersion": 2.0}, "", "schemaVersion is a number"),
        ({**MANIFEST, "layers": {}}, "", "layers is an object, wanted a list"),
        ({**MANIFEST, "layers": [1]}, "", "wanted a list of objects"),
        ({**MANIFEST, "mediaType": 5}, "", "mediaType holds a whole number"),
        ({**MANIFEST, "mediaType": "text/html"}, "", "'text/html' is no kind of image"),
        ({**MANIFEST, "mediaType": "\ud800"}, "", "not Unicode"),
        ({**MANIFEST, "config": {**CONFIG, "digest": "sha256:../../x"}}, "", "not a digest"),
        ({**MANIFEST, "config": {**CONFIG, "digest": "md5:" + "a" * 32}}, "", "not a digest"),
        ({**MANIFEST, "config": without(CONFIG, "digest")}, "", "not a digest"),
        ({**MANIFEST, "config": without(CONFIG, "mediaType")}, "", "mediaType is missing"),
        ({**MANIFEST, "layers": [{**LAYER, "size": -1}]}, "", "layers[0]: size is -1"),
        ({**MANIFEST, "layers": [{**LAYER, "size": 1 << 63}]}, "", "size is 9223372036854775808"),
        ({**MANIFEST, "layers": [{**LAYER, "size": 1.5}]}, "", "size is a number"),
        ({**MANIFEST, "layers": [without(LAYER, "size")]}, "", "size is null"),
        ({**MANIFEST, "layers": [{**LAYER, "annotations": {"a": 1}}]}, "", "holds a whole number, wanted text"),
        # Two readers must not see two images under one digest.
        ({**MANIFEST, "manifests": []}, "", "both manifests and layers"),
        ({**INDEX, "config": CONFIG}, "", "both manifests and layers"),
        (MANIFEST, OCI_INDEX, "sent as application/vnd.oci.image.index.v1+json, but says it is"),
        ({**without(MANIFEST, "config"), "mediaType": OCI_INDEX}, "", "but has layers"),
        ({**INDEX, "mediaType": OCI_MANIFEST}, "", "config or layers are missing"),
    ],
)
def test_what_is_no_manifest_is_refused(document: object, said: str, words: str) -> None:
    with pytest.raises(ImageError) as error:
        parse_manifest(document if isinstance(document, bytes) else raw(document), said)
    assert words in error.value.message


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({"schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, ""),
    ],
)
def test_schema_1_is_refused_with_advice(document: object, said: str) -> None:
    with pytest.raises(ImageError, match="schema 1") as error:
        parse_manifest(raw(document), said)
    assert "skopeo" in str(error.value)


def test_one_kind_where_the_other_is_wanted() -> None:
    with pytest.raises(ImageError, match="found an image index"):
        Manifest.parse(raw(INDEX))
    with pytest.raises(ImageError, match="wanted an image index"):
        Index.parse(raw(MANIFEST))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([
                        "schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform",
                        "Env", "Cmd", "Labels", "rootfs", "diff_ids"]) | st.text(), inner), max_leaves=20))  # fmt: skip
def test_any_json_is_a_value_or_an_image_error(document: object) -> None:
    for parse in (parse_manifest, RunConfig.from_config, ImageConfig.from_config):
        try:
            parse(raw(document))
        except ImageError:
            continue


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_an_image_error(data: bytes) -> None:
    for parse in (parse_manifest, RunConfig.from_config, ImageConfig.from_config):
        try:
            parse(data)
        except ImageError:
            continue


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_of_a_file_system_will_do(media_type: str) -> None:
    check_layer(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/vnd.in-toto+json",
        "",
    ],
)
def test_what_is_no_file_system_layer_is_refused(media_type: str) -> None:
    with pytest.raises(ImageError, match="cannot be unpacked"):
        check_layer(media_type)


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "windows/amd64"])
def test_a_platform_is_written_as_it_is_read(text: str) -> None:
    assert str(Platform.parse(text)) == text


@pytest.mark.parametrize("text", ["", "amd64", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b", "linux//v8"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("offered", "wanted", "found"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),  # the first of equals
        (["linux/amd64"], "linux/arm64", None),
        (["windows/amd64"], "linux/amd64", None),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),  # attestation beside the image
        (["unknown/unknown"], "linux/amd64", None),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["linux/arm64"], "linux/arm64/v8", 0),
        (["linux/arm64/8"], "linux/arm64/v8", 0),
        (["linux/arm64/v9", "linux/arm64/v8"], "linux/arm64", 1),  # a later processor's image does not run
        (["linux/arm64/v8"], "linux/arm64/v9", 0),
        (["linux/aarch64"], "linux/arm64", 0),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", 1),  # the best that runs
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", 1),
        (["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", 1),
        (["linux/arm/v7"], "linux/arm/v6", None),
        (["linux/arm"], "linux/arm/v7", 0),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3", 1),
        (["linux/amd64/v4", "linux/amd64/v2"], "linux/amd64/v3", 1),
        (["linux/ppc64le/power9"], "linux/ppc64le", None),  # a variant that cannot be ordered must be the same
        (["linux/x86_64"], "linux/amd64", 0),
        ([None], "linux/amd64", 0),  # one entry that does not say: its config will
        ([None, "unknown/unknown"], "linux/amd64", 0),
        ([None, None], "linux/amd64", None),
        ([None, "linux/amd64"], "linux/amd64", 1),
        ([None, "linux/arm64"], "linux/amd64", None),
        ([], "linux/amd64", None),
    ],
)
def test_choosing_from_an_index(offered: list[str | None], wanted: str, found: int | None) -> None:
    entries = [entry(platform, mark) for mark, platform in enumerate(offered)]
    assert choose(entries, Platform.parse(wanted)) == (None if found is None else entries[found])


def test_index_entries_tell_their_platform() -> None:
    document = {
        **INDEX,
        "manifests": [
            {**LAYER, "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.features": ["x"]}},
            {**LAYER, "platform": {"architecture": "amd64"}, "annotations": {"a": "b", "c": None}},
            {**LAYER, "platform": None},
        ],
    }
    first, second, third = Index.parse(raw(document)).manifests
    assert first.platform == Platform("linux", "arm", "v7")
    assert second.platform is not None and second.platform.unknown
    assert second.annotation("a") == "b" and second.annotation("c") is None
    assert third.platform is None


@pytest.mark.parametrize(
    ("document", "config"),
    [
        ({}, RunConfig()),
        ({"config": None}, RunConfig()),
        ({"config": dict.fromkeys(["Entrypoint", "Cmd", "Env", "WorkingDir", "Labels"])}, RunConfig()),
        ({"config": {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=1", "B"], "WorkingDir": "/w"}},
         RunConfig(("/e",), ("c",), ("A=1", "B"), "/w")),
        ({"config": {"User": "nobody", "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}}}, RunConfig()),
        ({"config": {"Labels": {"other": "x"}}}, RunConfig()),
        ({"config": {"Labels": {"org.mobyproject.config": ""}}}, RunConfig(label="")),
        ({"config": {"Labels": {"org.mobyproject.config": "net: host"}}}, RunConfig(label="net: host")),
    ],
)  # fmt: skip
def test_run_config(document: object, config: RunConfig) -> None:
    assert RunConfig.from_config(raw(document)) == config


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"config": []}, "config is a list, wanted an object"),
        ({"config": {"Cmd": "sh"}}, "config: Cmd is text, wanted a list"),
        ({"config": {"Env": ["A", 1]}}, "config: Env holds a whole number"),
        ({"config": {"Entrypoint": [None]}}, "Entrypoint holds null"),
        ({"config": {"WorkingDir": 1}}, "WorkingDir holds a whole number"),
        ({"config": {"Labels": ["x"]}}, "Labels is a list"),
        ({"config": {"Labels": {"org.mobyproject.config": {}}}}, "org.mobyproject.config holds an object"),
        ({"config": {"Cmd": ["\udcff"]}}, "not Unicode"),
        (b"{}" + b" " * MAX_CONFIG, "8388608 is the most"),
    ],
)
def test_run_config_refuses_wrong_types(document: object, words: str) -> None:
    with pytest.raises(ImageError) as error:
        RunConfig.from_config(document if isinstance(document, bytes) else raw(document))
    assert words in error.value.message and "image config" in error.value.message


def test_image_config() -> None:
    document = {"os": "linux", "architecture": "arm64", "variant": "v8", "rootfs": {"diff_ids": [DIGEST]}}
    assert ImageConfig.from_config(raw(document)) == ImageConfig(
        Platform("linux", "arm64", "v8"), (Digest.parse(DIGEST),)
    )
    with pytest.raises(ImageError, match="diff_ids: not a digest"):
        ImageConfig.from_config(raw({"rootfs": {"diff_ids": ["x"]}}))
    assert ImageConfig.from_config(b"{}").platform.unknown


RUN: dict[str, object] = {"created_by": "RUN  a \\\n\t&& b"}


@pytest.mark.parametrize(
    ("history", "layers", "lines"),
    [
        ([RUN, {"created_by": "ENV A=1", "empty_layer": True}, {"created_by": "COPY"}], 2, ("RUN a \\ && b", "COPY")),
        ([RUN, {"comment": "imported"}], 2, ("RUN a \\ && b", "")),  # nobody has to say
        ([{"created_by": "x" * 5000}], 1, ("x" * 400,)),
        ([{}], 1, ()),  # of no layer anything is said
        ([RUN], 2, ()),  # which of them?
        ([RUN, RUN], 1, ()),
        (None, 1, ()),
        ("RUN", 1, ()),
        (["RUN"], 1, ()),
        ([{"created_by": 5}], 1, ()),
        ([{"created_by": "\ud800"}], 1, ()),  # which no record could hold
        ([{"created_by": "RUN", "empty_layer": "yes"}], 1, ()),
    ],
)
def test_what_made_layers_is_told_where_it_is_clear(history: object, layers: int, lines: tuple[str, ...]) -> None:
    assert layer_history(json.dumps({"history": history}).encode(), layers) == lines


def test_what_made_layers_is_no_error_whatever_the_config_is() -> None:
    assert layer_history(b"[", 1) == layer_history(b"{}", 1) == ()

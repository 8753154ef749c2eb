"""`config.json` and `runtime.json`: one row for each rule the recorded specs do not reach, and every error."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lkbuild.errors import ImageError, LkbuildError, SpecError
from lkbuild.oci.config import Place, bundle_documents, is_readonly, names_used, own_tree
from lkbuild.oci.document import document_text
from lkbuild.oci.image import RunConfig
from lkbuild.oci.mounts import volumes_used
from lkbuild.spec.model import (
    BlockIO,
    ContainerConfig,
    Cpu,
    Device,
    DeviceRule,
    HugepageLimit,
    IdMapping,
    Interface,
    InterfacePriority,
    Memory,
    Mount,
    Network,
    Pids,
    Resources,
    Runtime,
    ThrottleDevice,
    WeightDevice,
)

DIRECTORY = "containers/services/x"
IMAGE = RunConfig(entrypoint=("/e",), cmd=("c",), env=("P=1",), working_dir="/w")
IDS = {"web": 103, "rng": 104}


def documents(
    entry: ContainerConfig, image: RunConfig = IMAGE, volumes: Mapping[str, bool] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    readonly = is_readonly(entry, image)
    place = Place(DIRECTORY, own_tree(DIRECTORY, readonly), readonly)
    config, runtime = bundle_documents(entry, image, place, IDS, volumes or {})
    return json.loads(config), json.loads(runtime)


def config_of(entry: ContainerConfig, image: RunConfig = IMAGE) -> dict[str, Any]:
    return documents(entry, image)[0]


def mounts_of(entry: ContainerConfig, volumes: Mapping[str, bool] | None = None) -> dict[str, dict[str, Any]]:
    return {m.pop("destination"): m for m in documents(entry, volumes=volumes)[0]["mounts"]}


@pytest.mark.parametrize(
    ("entry", "label", "args", "env", "cwd"),
    [
        (ContainerConfig(), None, ["/e", "c"], ["P=1"], "/w"),
        (ContainerConfig(command=("/x",)), None, ["/x"], ["P=1"], "/w"),  # the entrypoint goes too
        (ContainerConfig(), "command: [/l]\nenv: [L=1]\ncwd: /l", ["/l"], ["L=1"], "/l"),
        (ContainerConfig(cwd="/y", env=("E=1",)), "env: [L=1]\ncwd: /l", ["/e", "c"], ["E=1"], "/y"),
        (ContainerConfig(env=()), "env: [L=1]", ["/e", "c"], None, "/w"),
    ],
)
def test_process_from_entry_label_and_image(
    entry: ContainerConfig, label: str | None, args: Any, env: Any, cwd: str
) -> None:
    process = config_of(entry, dataclasses.replace(IMAGE, label=label))["process"]
    assert (process["args"], process.get("env"), process["cwd"]) == (args, env, cwd)


def test_an_image_that_says_nothing() -> None:
    process = config_of(ContainerConfig(), RunConfig())["process"]
    assert process == {"user": {"uid": 0, "gid": 0}, "cwd": "/", "capabilities": {}}


@pytest.mark.parametrize(
    ("uid", "number"), [(None, 0), ("", 0), ("root", 0), (7, 7), ("web", 103), (4294967295, 4294967295)]
)
def test_ids(uid: int | str | None, number: int) -> None:
    more = None if uid is None else (uid, "rng")
    user = config_of(ContainerConfig(uid=uid, gid=uid, additional_gids=more))["process"]["user"]
    assert user == {"uid": number, "gid": number} | ({} if more is None else {"additionalGids": [number, 104]})


def test_names_used_are_those_of_the_winning_side() -> None:
    image = RunConfig(label="uid: web\ngid: rng\nadditionalGids: [a, 1]")
    assert names_used(ContainerConfig(), image) == {"web", "rng", "a"}
    assert names_used(ContainerConfig(uid=0, additional_gids=("b",)), image) == {"rng", "b"}
    assert names_used(ContainerConfig(), RunConfig()) == frozenset()


@pytest.mark.parametrize(
    ("capabilities", "ambient", "effective", "bounding"),
    [
        (("CAP_KILL", "CAP_CHOWN"), (), ["CAP_KILL", "CAP_CHOWN"], ["CAP_CHOWN", "CAP_KILL"]),
        (("CAP_KILL", "CAP_KILL"), (), ["CAP_KILL", "CAP_KILL"], ["CAP_KILL"]),
        (("CAP_KILL",), ("CAP_BPF",), ["CAP_KILL"], ["CAP_BPF", "CAP_KILL"]),
        (("None",), ("none",), None, None),
        ((), ("CAP_BPF",), None, ["CAP_BPF"]),
    ],
)
def test_capability_sets(capabilities: Any, ambient: Any, effective: Any, bounding: Any) -> None:
    sets = config_of(ContainerConfig(capabilities=capabilities, ambient=ambient))["process"]["capabilities"]
    assert sets.get("effective") == effective
    assert sets.get("bounding") == sets.get("inheritable") == sets.get("permitted") == bounding
    assert sets.get("ambient") == ([name for name in ambient if name != "none"] or None)


@pytest.mark.parametrize(
    ("field", "value", "namespace"),
    [
        ("net", "host", None),
        ("net", "root", None),
        ("net", "new", {"type": "network"}),
        ("net", "none", {"type": "network"}),
        ("net", "/run/netns/a", {"type": "network", "path": "/run/netns/a"}),
        ("ipc", "new", {"type": "ipc"}),
        ("ipc", "/p", {"type": "ipc", "path": "/p"}),
        ("uts", "new", {"type": "uts"}),
        ("uts", "host", None),
        ("userns", "new", {"type": "user"}),
        ("pid", "/p", {"type": "pid", "path": "/p"}),
    ],
)
def test_namespaces(field: str, value: str, namespace: dict[str, str] | None) -> None:
    listed = config_of(ContainerConfig(**{"pid": "host", field: value}))["linux"]["namespaces"]  # type: ignore[arg-type]
    assert listed == ([] if namespace is None else [namespace]) + [{"type": "mount"}]


def test_a_container_has_its_own_processes_unless_told() -> None:
    assert {"type": "pid"} in config_of(ContainerConfig())["linux"]["namespaces"]
    assert {"type": "pid"} in config_of(ContainerConfig(pid="new"))["linux"]["namespaces"]


def test_later_mounts_of_a_destination_win() -> None:
    entry = ContainerConfig(
        tmpfs=("/dev", "/a:size=1%,nodev", "/b"),
        binds=("/s:/b", "/s:/c:ro,private"),
        mounts=(Mount("/c", "tmpfs"), Mount(source="mqueue"), Mount("/d", "proc", "p", ())),
    )
    mounts = mounts_of(entry)
    assert list(mounts) == sorted(mounts)
    assert mounts["/dev"] == {"type": "tmpfs", "source": "tmpfs"}
    assert mounts["/a"]["options"] == ["size=1%", "nodev"]
    assert mounts["/b"] == {"type": "bind", "source": "/s", "options": ["rw", "rbind", "rshared"]}
    assert mounts["/c"] == {"type": "tmpfs", "source": "tmpfs"}
    assert mounts["/dev/mqueue"] == {"type": "mqueue", "source": "mqueue"}
    assert mounts["/d"] == {"type": "proc", "source": "p"}


def test_bind_options_are_kept_and_rbind_added() -> None:
    assert mounts_of(ContainerConfig(binds=("/s:/c:ro,private",)))["/c"]["options"] == ["ro", "private", "rbind"]


def test_mount_id_mappings_are_kept() -> None:
    mount = Mount("/m", "bind", "/s", ("rbind",), uid_mappings=(IdMapping(1000, 0, 10),), gid_mappings=(IdMapping(1),))
    found = mounts_of(ContainerConfig(mounts=(mount,)))["/m"]
    assert found["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 10}]
    assert found["gidMappings"] == [{"containerID": 0, "hostID": 1, "size": 0}]


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        (ContainerConfig(binds=("v:/m",)), ["rw", "rbind", "rshared"]),
        (ContainerConfig(binds_add=("v:/m:ro",)), ["ro", "rbind"]),
        (ContainerConfig(mounts=(Mount("/m", "bind", "v"),)), ["rw", "rbind", "rshared"]),
        (ContainerConfig(mounts=(Mount("/m", "bind", "v", ("ro",)),)), ["ro", "rbind"]),
        (ContainerConfig(mounts=(Mount("/m", "bind", "v", ("bind", "ro")),)), ["bind", "ro"]),
    ],
)
def test_a_bind_without_a_path_names_a_volume(entry: ContainerConfig, options: list[str]) -> None:
    assert mounts_of(entry, {"v": False})["/m"] == {
        "type": "bind",
        "source": "/containers/volumes/v/merged",
        "options": options,
    }
    assert volumes_used(entry) == {"v"}


@pytest.mark.parametrize(
    "entry",
    [
        ContainerConfig(binds=("/v:/m",)),
        ContainerConfig(mounts=(Mount("/m", "tmpfs", "v"),)),
        ContainerConfig(mounts=(Mount("/m", "bind", "/v"),)),
    ],
)
def test_what_names_no_volume(entry: ContainerConfig) -> None:
    assert volumes_used(entry) == frozenset()
    assert "volumes" not in mounts_of(entry, {"v": False})["/m"]["source"]


def test_a_label_names_no_volume() -> None:
    image = RunConfig(label="binds: ['v:/m']")
    config, _ = documents(ContainerConfig(), image, {"v": True})
    assert {m["destination"]: m["source"] for m in config["mounts"]}["/m"] == "v"


@pytest.mark.parametrize(
    "entry",
    [
        ContainerConfig(binds=("v:/m:ro",)),
        ContainerConfig(mounts=(Mount("/m", "bind", "v", ("ro",)),)),
    ],
)
def test_a_readonly_volume_is_given_ro(entry: ContainerConfig) -> None:
    assert mounts_of(entry, {"v": True})["/m"]["options"] == ["ro", "rbind"]


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        (ContainerConfig(binds=("v:/m",)), "binds", "'v' is readonly"),
        (ContainerConfig(binds=("v:/m:rw",)), "binds", "'v' is readonly"),
        (ContainerConfig(binds=("v:/m:ro,private",)), "binds", "'v' is readonly"),
        (ContainerConfig(binds_add=("v:/m",)), "binds.add", "'v' is readonly"),
        (ContainerConfig(mounts=(Mount("/m", "bind", "v"),)), "mounts", "'v' is readonly"),
        (ContainerConfig(binds=("nope:/m",)), "binds", "no volume 'nope'"),
        (ContainerConfig(mounts=(Mount("/m", "bind", "./nope"),)), "mounts", "no volume './nope'"),
        (ContainerConfig(binds=("/a",)), "binds", "'/a'"),
        (ContainerConfig(binds_add=("/a:/b:ro:x",)), "binds.add", "/a:/b:ro:x"),
        (ContainerConfig(tmpfs=("/a:b:c",)), "tmpfs", "/a:b:c"),
        (ContainerConfig(mounts=(Mount("/x"),)), "mounts", "'/x' has no type"),
        (ContainerConfig(mounts=(Mount(type="ext4"),)), "mounts", "'ext4' has no destination"),
        (ContainerConfig(uid="nobody"), "uid", "'nobody'"),
        (ContainerConfig(gid=-1), "gid", "-1"),
        (ContainerConfig(additional_gids=(1 << 32,)), "additionalGids", "4294967296"),
        (ContainerConfig(capabilities=("CAP_NOPE",)), "capabilities", "CAP_NOPE"),
        (ContainerConfig(capabilities_add=("cap_kill",)), "capabilities.add", "cap_kill"),
        (ContainerConfig(ambient=("all", "CAP_KILL")), "ambient", "'all'"),
        (ContainerConfig(rlimits=("bogus,1,2",)), "rlimits", "bogus"),
        (ContainerConfig(devices=(Device("/dev/x", "c", 1, 1, "9"),)), "devices", "'9'"),
    ],
)
def test_a_wrong_entry_names_its_field(entry: ContainerConfig, key: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        documents(entry, volumes={"v": True})
    assert f"{DIRECTORY}: {key}" in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    ("label", "key", "words"),
    [
        ("capabilities: [CAP_NOPE]", "capabilities", "CAP_NOPE"),
        ("ambient: [CAP_NOPE]", "ambient", "CAP_NOPE"),
        ("uid: nobody", "uid", "nobody"),
        ("additionalGids: [nobody]", "additionalGids", "nobody"),
        ("binds: [/a]", "binds", "/a"),
        ("tmpfs: ['/a:b:c']", "tmpfs", "/a:b:c"),
        ("rlimits: ['nofile,1']", "rlimits", "nofile,1"),
        ("mounts: [{destination: /x}]", "mounts", "/x"),
        ("devices: [{path: /dev/x, type: c, major: 1, minor: 1, mode: zz}]", "devices", "zz"),
        ("capabilites: [CAP_KILL]", "capabilites", "capabilities"),
        ("readonly: 'yes'", "readonly", "yes"),
        ("name: x", "name", "name"),
        ("image: x", "image", "image"),
        ("[1]", "label", "list"),
        ("a: [", "label", ""),
    ],
)
def test_a_wrong_label_is_the_images_fault(label: str, key: str, words: str) -> None:
    with pytest.raises(LkbuildError) as error:
        documents(ContainerConfig(), RunConfig(label=label))
    assert isinstance(error.value, (ImageError, SpecError))
    assert "org.mobyproject.config" in str(error.value) and key in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    ("label", "entry"),
    [
        ("uid: nobody", ContainerConfig(uid=0)),
        ("additionalGids: [nobody]", ContainerConfig(additional_gids=())),
    ],
)
def test_what_the_entry_replaces_need_not_be_right(label: str, entry: ContainerConfig) -> None:
    assert config_of(entry, RunConfig(label=label))["process"]["user"] == {"uid": 0, "gid": 0}


def test_the_entry_adds_to_a_label_that_is_wrong() -> None:
    with pytest.raises(ImageError, match=r"label org\.mobyproject\.config .*: capabilities: .*CAP_NOPE"):
        documents(ContainerConfig(capabilities_add=("CAP_KILL",)), RunConfig(label="capabilities: [CAP_NOPE]"))


def test_resources_by_their_names_in_the_runtime_spec() -> None:
    resources = Resources(
        devices=(DeviceRule(False, access="rwm"), DeviceRule(True, "b", 0, 0)),
        memory=Memory(kernel_tcp=1, disable_oom_killer=False, swappiness=0),
        cpu=Cpu(realtime_runtime=1, realtime_period=0, mems="0"),
        pids=Pids(),
        block_io=BlockIO(
            weight=10,
            leaf_weight=0,
            weight_device=(WeightDevice(8, 0, 100), WeightDevice(8, 1, leaf_weight=3)),
            throttle_read_bps_device=(ThrottleDevice(8, 0, 600),),
            throttle_write_bps_device=(),
            throttle_read_iops_device=(ThrottleDevice(8),),
            throttle_write_iops_device=(ThrottleDevice(8, 0, 300),),
        ),
        hugepage_limits=(HugepageLimit("2MB", 9), HugepageLimit("1073741824", 0), HugepageLimit("65536")),
        network=Network(0, (InterfacePriority("eth0", 5),)),
    )
    assert config_of(ContainerConfig(resources=resources))["linux"]["resources"] == {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "b", "major": 0, "minor": 0},
        ],
        "memory": {"kernelTCP": 1, "swappiness": 0, "disableOOMKiller": False},
        "cpu": {"realtimeRuntime": 1, "realtimePeriod": 0, "mems": "0"},
        "pids": {"limit": 0},
        "blockIO": {
            "weight": 10,
            "leafWeight": 0,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 100}, {"major": 8, "minor": 1, "leafWeight": 3}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 300}],
        },
        "hugepageLimits": [
            {"pageSize": "2MB", "limit": 9},
            {"pageSize": "1GB", "limit": 0},
            {"pageSize": "64KB", "limit": 0},
        ],
        "network": {"classID": 0, "priorities": [{"name": "eth0", "priority": 5}]},
    }


def test_a_readonly_root_is_bound_and_any_other_is_an_overlay() -> None:
    _, runtime = documents(ContainerConfig(readonly=True))
    assert runtime["mounts"] == [
        {"destination": f"/{DIRECTORY}/rootfs", "source": f"/{DIRECTORY}/rootfs", "options": ["bind"]}
    ]
    place = Place(DIRECTORY, "containers/onboot/000-a/rootfs")
    text = bundle_documents(ContainerConfig(runtime=Runtime(mounts=(Mount("/z"),))), IMAGE, place, {}, {})[1]
    mounts = json.loads(text)["mounts"]
    assert [m.get("type") for m in mounts] == ["tmpfs", None, "overlay", None]
    assert mounts[2]["options"][0] == "lowerdir=/containers/onboot/000-a/rootfs"
    assert mounts[3] == {"destination": "/z"}  # the container's own come after


def test_a_place_laid_out_the_other_way_is_refused() -> None:
    with pytest.raises(ValueError, match="laid out"):
        bundle_documents(ContainerConfig(readonly=True), IMAGE, Place(DIRECTORY, DIRECTORY), {}, {})


def test_is_readonly() -> None:
    label = RunConfig(label="readonly: true")
    assert is_readonly(ContainerConfig(), label)
    assert not is_readonly(ContainerConfig(readonly=False), label)
    assert not is_readonly(ContainerConfig(), RunConfig(label=""))


def test_runtime_document_names_everything() -> None:
    _, runtime = documents(ContainerConfig(runtime=Runtime(interfaces=(Interface(), Interface("a", "b", "c", True)))))
    assert list(runtime) == ["cgroups", "mounts", "mkdir", "interfaces", "bindNS", "namespace"]
    assert runtime["interfaces"] == [
        {"createInRoot": False},
        {"name": "a", "add": "b", "peer": "c", "createInRoot": True},
    ]
    assert runtime["bindNS"] == dict.fromkeys(["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"], "")


def test_the_text_is_what_go_writes() -> None:
    document = {"a": {}, "b": [], "c": ["<x>&", "é\u2028\n\x01\x7f"], "d": {"k": 18446744073709551615}}
    assert (
        document_text(document)
        == (
            '{\n    "a": {},\n    "b": [],\n    "c": [\n        "\\u003cx\\u003e\\u0026",\n'
            '        "é\\u2028\\n\\u0001\x7f"\n    ],\n    "d": {\n        "k": 18446744073709551615\n    }\n}'
        ).encode()
    )
    assert json.loads(document_text(document)) == document


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc reads the document")
@pytest.mark.parametrize(
    "entry",
    [
        ContainerConfig(),
        ContainerConfig(
            capabilities=("all",),
            ambient=("CAP_KILL",),
            readonly=True,
            net="new",
            userns="new",
            uid_mappings=(IdMapping(0, 0, 10),),
            gid_mappings=(IdMapping(0, 0, 10),),
            rlimits=("nofile,unlimited,unlimited",),
            devices=(Device("/dev/fuse", "c", 10, 229, "0666"), Device("all", "b")),
            sysctl=(("net.ipv4.ip_forward", "1"),),
            rootfs_propagation="shared",
            oom_score_adj=-500,
            resources=Resources(
                memory=Memory(limit=1 << 30, disable_oom_killer=True),
                cpu=Cpu(shares=2),
                pids=Pids(9),
                block_io=BlockIO(weight=10, throttle_read_iops_device=(ThrottleDevice(8, 0, 1),)),
                hugepage_limits=(HugepageLimit("2097152", 1 << 21),),
                network=Network(1, (InterfacePriority("eth0", 5),)),
            ),
        ),
    ],
)
def test_runc_reads_config_json(entry: ContainerConfig, tmp_path: Path) -> None:
    place = Place(DIRECTORY, DIRECTORY, entry.readonly or False)
    (tmp_path / "config.json").write_bytes(bundle_documents(entry, IMAGE, place, IDS, {})[0])
    argv = ["runc", "--root", str(tmp_path / "state"), "create", "--bundle", str(tmp_path), "lkbuild-test"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    # It gets as far as the root file system, which is not there: types, namespaces and mounts were understood.
    assert "invalid rootfs" in result.stderr, result.stderr

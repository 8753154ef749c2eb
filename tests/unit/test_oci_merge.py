"""The entry beats the label beats the image: one row for each rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkbuild.oci.field import FieldError
from lkbuild.oci.merge import merge
from lkbuild.spec.model import BindNamespaces, ContainerConfig, Interface, Mount, Resources, Runtime

NOTHING = ContainerConfig()


def both(field: str, entry: Any, label: Any) -> Any:
    return getattr(merge(ContainerConfig(**{field: entry}), ContainerConfig(**{field: label})), field)


@pytest.mark.parametrize(
    ("field", "entry", "label", "merged"),
    [
        ("env", ("A=1",), ("B=2",), ("A=1",)),  # a whole list, never a mixture
        ("env", None, ("B=2",), ("B=2",)),
        ("env", (), ("B=2",), ()),  # an empty list is given
        ("mounts", (), (Mount("/x"),), ()),
        ("binds", (), ("/a:/b",), ()),
        ("capabilities", (), ("CAP_KILL",), ()),
        ("sysctl", (), (("a", "1"),), ()),
        ("annotations", (("k", "e"),), (("k", "l"), ("m", "l")), (("k", "e"),)),
        ("readonly", False, True, False),
        ("no_new_privileges", None, True, True),
        ("oom_score_adj", 0, -500, 0),
        ("uid", 0, 5, 0),
        ("uid", "", 5, ""),  # the empty name is root's
        ("cgroups_path", "", "/label", ""),
        ("rootfs_propagation", "", "shared", ""),
        ("cwd", "", "/label", "/label"),  # where empty text cannot mean anything, it is not given
        ("net", "", "host", "host"),
        ("pid", "", "host", "host"),
        ("ipc", "", "host", "host"),
        ("uts", "", "host", "host"),
        ("userns", "", "new", "new"),
        ("hostname", "", "h", "h"),
        ("hostname", "e", "h", "e"),
        ("resources", Resources(), Resources(devices=()), Resources()),  # whole, not field by field
    ],
)
def test_a_field_of_the_entry_beats_the_label(field: str, entry: Any, label: Any, merged: Any) -> None:
    assert both(field, entry, label) == merged


@pytest.mark.parametrize(
    ("entry", "label", "capabilities"),
    [
        (ContainerConfig(capabilities_add=("CAP_CHOWN",)), ("CAP_KILL",), ("CAP_KILL", "CAP_CHOWN")),
        (ContainerConfig(capabilities_add=("CAP_KILL",)), ("CAP_KILL",), ("CAP_KILL", "CAP_KILL")),  # repeats are kept
        (ContainerConfig(capabilities_add=("CAP_CHOWN",)), None, ("CAP_CHOWN",)),
        (ContainerConfig(capabilities_add=("CAP_CHOWN",)), ("none",), ("CAP_CHOWN",)),
        (ContainerConfig(capabilities=("CAP_BPF",), capabilities_add=("CAP_CHOWN",)), ("CAP_KILL",), ("CAP_BPF",)),
        (ContainerConfig(capabilities=(), capabilities_add=("CAP_CHOWN",)), ("CAP_KILL",), ()),
        (ContainerConfig(), ("all",), ("all",)),
        (ContainerConfig(), None, None),
    ],
)
def test_capabilities_add(entry: ContainerConfig, label: tuple[str, ...] | None, capabilities: object) -> None:
    merged = merge(entry, ContainerConfig(capabilities=label, capabilities_add=("CAP_SYSLOG",)))
    assert merged.capabilities == capabilities
    assert merged.capabilities_add is None


def test_all_is_read_before_it_is_extended() -> None:
    merged = merge(ContainerConfig(capabilities_add=("CAP_CHOWN",)), ContainerConfig(capabilities=("ALL",)))
    assert merged.capabilities is not None and len(merged.capabilities) == 42
    assert merged.capabilities[0] == merged.capabilities[-1] == "CAP_CHOWN"


@pytest.mark.parametrize(
    ("label", "added", "field"),
    [(("CAP_NOPE",), ("CAP_KILL",), "capabilities"), (("CAP_KILL",), ("CAP_NOPE",), "capabilities_add")],
)
def test_which_of_two_lists_has_the_unknown_name(label: tuple[str], added: tuple[str], field: str) -> None:
    with pytest.raises(FieldError, match="CAP_NOPE") as error:
        merge(ContainerConfig(capabilities_add=added), ContainerConfig(capabilities=label))
    assert error.value.name == field


@pytest.mark.parametrize(
    ("entry", "label", "binds"),
    [
        (ContainerConfig(binds_add=("/x:/y",)), ("/a:/b",), ("/a:/b", "/x:/y")),
        (ContainerConfig(binds_add=("/x:/y",)), None, ("/x:/y",)),
        (ContainerConfig(binds=("/e:/e",), binds_add=("/x:/y",)), ("/a:/b",), ("/e:/e",)),
        (ContainerConfig(binds=(), binds_add=("/x:/y",)), ("/a:/b",), ()),
        (ContainerConfig(), ("/a:/b",), ("/a:/b",)),
        (ContainerConfig(), None, None),
    ],
)
def test_binds_add(entry: ContainerConfig, label: tuple[str, ...] | None, binds: object) -> None:
    merged = merge(entry, ContainerConfig(binds=label, binds_add=("/ignored:/ignored",)))
    assert merged.binds == binds
    assert merged.binds_add is None


def test_runtime_is_merged_field_by_field() -> None:
    entry = Runtime(
        mkdir=("/e",), interfaces=(), namespace="", bind_ns=BindNamespaces(net="/e/net", pid="", uts="/e/uts")
    )
    label = Runtime(
        cgroups=("l",),
        mkdir=("/l",),
        interfaces=(Interface("eth0"),),
        namespace="l",
        bind_ns=BindNamespaces(net="/l/net", pid="/l/pid", ipc="/l/ipc"),
    )
    assert merge(ContainerConfig(runtime=entry), ContainerConfig(runtime=label)).runtime == Runtime(
        cgroups=("l",),
        mkdir=("/e",),
        interfaces=(),
        namespace="",
        bind_ns=BindNamespaces(net="/e/net", pid="", uts="/e/uts", ipc="/l/ipc"),
    )


@pytest.mark.parametrize("entry", [None, Runtime(), Runtime(bind_ns=BindNamespaces())])
def test_an_empty_runtime_changes_nothing(entry: Runtime | None) -> None:
    label = Runtime(mkdir=("/l",), bind_ns=BindNamespaces(net="/l"))
    assert merge(ContainerConfig(runtime=entry), ContainerConfig(runtime=label)).runtime == label


TEXTS = st.none() | st.lists(st.sampled_from(["CAP_KILL", "CAP_CHOWN", "/a:/b"]), max_size=2).map(tuple)
CONFIGS = st.builds(
    ContainerConfig,
    env=TEXTS,
    binds=TEXTS,
    tmpfs=TEXTS,
    cwd=st.none() | st.sampled_from(["/x", "/y"]),
    readonly=st.none() | st.booleans(),
    runtime=st.none() | st.builds(Runtime, mkdir=TEXTS, bind_ns=st.none() | st.builds(BindNamespaces)),
)


@given(CONFIGS)
def test_nothing_is_neutral_on_both_sides(config: ContainerConfig) -> None:
    assert merge(config, NOTHING) == merge(NOTHING, config) == config


@given(CONFIGS, CONFIGS)
def test_every_field_comes_whole_from_one_side(entry: ContainerConfig, label: ContainerConfig) -> None:
    merged = merge(entry, label)
    for field in dataclasses.fields(ContainerConfig):
        if field.name != "runtime":
            sides = (getattr(entry, field.name), getattr(label, field.name))
            assert getattr(merged, field.name) == (sides[1] if sides[0] is None else sides[0])

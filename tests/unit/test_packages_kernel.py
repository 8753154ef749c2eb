"""Kernel packages: modules chosen and indexed; depmod and modprobe, which we did not write, are the judges."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from lkbuild.errors import StepError
from lkbuild.packages import DebianRequest
from lkbuild.packages.modules import Module, dependency_line, module_name, needed, read_module
from lkbuild.packages.params import KernelLayer
from lkbuild.sources.debian import Apt, fetch
from lkbuild.steps.package_kernel import kernel_layer
from tests.unit.debs import listing, make_deb, needs_dpkg, text_of, work

V = "6.1-test"
DIR = f"lib/modules/{V}"


def elf(wide: bool = True, order: str = "<", **info: str | tuple[str, ...]) -> bytes:
    """An ELF file with a .modinfo and nothing else (elf(5))."""
    items = [f"{k}={v}" for k, vs in info.items() for v in ((vs,) if isinstance(vs, str) else vs)]
    data, names = "\0".join(items).encode() + b"\0", b"\0.modinfo\0.shstrtab\0"
    start = 64 if wide else 52
    form = f"{order}IIQQQQIIQQ" if wide else f"{order}IIIIIIIIII"
    rows = [(0, 0, 0), (1, start, len(data)), (10, start + len(data), len(names))]
    table = b"".join(struct.pack(form, name, 1, 0, 0, off, size, 0, 0, 0, 0) for name, off, size in rows)
    head = (
        b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9) + bytes(8 + (16 if wide else 8))
    )
    head += struct.pack(f"{order}{'Q' if wide else 'I'}10xHHH", start + len(data) + len(names), len(table) // 3, 3, 2)
    assert len(head) == start
    return head + data + names + table


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_modinfo(wide: bool, order: str) -> None:
    image = elf(wide, order, depends="a-b,c", alias=("pci:*", "fs-x"), softdep="pre: d", name="m")
    assert read_module("x/m.ko", image) == Module("x/m.ko", ("a_b", "c"), ("pci:*", "fs-x"), ("pre: d",))


@pytest.mark.parametrize("cut", [0, 3, 10, 50, 80, -30])
def test_damaged_modules(cut: int) -> None:
    with pytest.raises(ValueError, match="ELF"):
        read_module("m.ko", elf(depends="")[:cut])


def test_names() -> None:
    assert {module_name(n) for n in ("a-b", "x/a_b.ko", "x/a-b.ko.xz", "a-b.ko.zst")} == {"a_b"}


def test_dependencies_come_last_first() -> None:
    modules = {
        m.name: m for m in (Module("a.ko", ("b", "c")), Module("b.ko", ("d",)), Module("c.ko", ("b",)), Module("d.ko"))
    }
    words = dependency_line(modules["a"], modules).split()
    assert words[0] == "a.ko:"
    assert words.index("d.ko") > words.index("b.ko") > words.index("c.ko")
    looped = {"a": Module("a.ko", ("b",)), "b": Module("b.ko", ("a",))}
    assert dependency_line(looped["a"], looped) == "a.ko: b.ko"


def test_what_is_needed() -> None:
    soft = Module("a.ko", ("b", "inside"), (), ("pre: crypto-x post: e nowhere",))
    others = (Module("b.ko"), Module("c.ko", (), ("crypto-x",)), Module("d.ko"), Module("e.ko"))
    modules = {module.name: module for module in (soft, *others)}
    assert needed(["a"], modules, frozenset({"inside"})) == {"a", "b", "c", "e"}
    with pytest.raises(ValueError, match="a needs inside"):
        needed(["a"], modules, frozenset())


def kernel_deb(tmp_path: Path, name: str = "linux-image-x") -> Path:
    modules = {
        "kernel/net/virtio-net.ko.xz": lzma.compress(elf(depends="failover", alias="virtio:d1v*")),
        "kernel/net/failover.ko": elf(depends="", alias=()),
        "kernel/fs/nls/nls_a.ko": elf(depends="", alias="nls_a"),
        "kernel/fs/fuse.ko": elf(depends="", alias=("devname:fuse", "char-major-10-229")),
    }
    tree: dict[str, str | None] = {
        f"boot/vmlinuz-{V}": "KERNEL", f"boot/config-{V}": "CONFIG_A=y\n", f"boot/System.map-{V}": "map",
        f"{DIR}/modules.builtin": "kernel/fs/ext4/ext4.ko\n", f"{DIR}/modules.order": "kernel/net/failover.ko\n",
        f"{DIR}/build": "-> /usr/src", "usr/share/doc/k/copyright": "GPL", "usr/lib/firmware/f.bin": "fw",
        "etc/x": "no",
    }  # fmt: skip
    source = tmp_path / f"{name}.src"
    for path, data in modules.items():
        (source / DIR / path).parent.mkdir(parents=True, exist_ok=True)
        (source / DIR / path).write_bytes(data)
    return make_deb(tmp_path, name, tree)


def unpack(tmp_path: Path, params: KernelLayer, *debs: Path) -> tuple[Path, Path]:
    """The layer, and the kernel.tar in it."""
    job = work(tmp_path / "out", **{f"deb{n}": deb for n, deb in enumerate(debs)})
    kernel_layer(params, job)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["layer"]
    with tarfile.open(job.output("layer")) as tar:
        tar.extract("kernel.tar", tmp_path, filter="data")
    return job.output("layer"), tmp_path / "kernel.tar"


@needs_dpkg
def test_a_kernel_layer(tmp_path: Path) -> None:
    layer, modules = unpack(tmp_path, KernelLayer(("virtio_net", "kernel/fs/nls/**", "ext4")), kernel_deb(tmp_path))
    files = [path for path, what in listing(layer).items() if what[0] == "-"]
    assert files == [
        f"boot/config-{V}", "kernel", "kernel.tar", "usr/share/doc/k/copyright", "var/lib/dpkg/status.d/linux-image-x"
    ]  # fmt: skip
    assert text_of(layer, "kernel") == "KERNEL"
    found = listing(modules)
    assert "lib" not in found and "usr" in found
    kept = [path.removeprefix(f"usr/lib/modules/{V}/") for path, what in found.items() if what[0] != "d"]
    assert kept == [
        "usr/lib/firmware/f.bin", "kernel/fs/nls/nls_a.ko", "kernel/net/failover.ko", "kernel/net/virtio-net.ko",
        "modules.alias", "modules.builtin", "modules.dep", "modules.devname", "modules.order", "modules.softdep",
    ]  # fmt: skip
    assert text_of(modules, f"usr/lib/modules/{V}/modules.dep") == (
        "kernel/fs/nls/nls_a.ko:\nkernel/net/failover.ko:\nkernel/net/virtio-net.ko: kernel/net/failover.ko\n"
    )


@needs_dpkg
def test_kernel_mistakes(tmp_path: Path) -> None:
    deb = kernel_deb(tmp_path)
    for number, (pattern, words) in enumerate(
        (("virtio-nett", "did you mean virtio_net"), ("kernel/x/*", "no module"))
    ):
        with pytest.raises(StepError) as caught:
            kernel_layer(KernelLayer((pattern.replace("-", "_"),)), work(tmp_path / f"m{number}", deb0=deb))
        assert words in str(caught.value)
    with pytest.raises(StepError, match="there is no kernel"):
        kernel_layer(KernelLayer(), work(tmp_path / "none", deb0=make_deb(tmp_path, "a", {"etc/x": ""})))
    other = make_deb(tmp_path, "b", {"boot/vmlinuz-2": "K"})
    with pytest.raises(StepError, match=r"2 kernels in the Debian packages \(2, 6.1-test\)"):
        kernel_layer(KernelLayer(), work(tmp_path / "two", deb0=deb, deb1=other))


@pytest.mark.network
@pytest.mark.skipif(not Path("/sbin/depmod").exists() or not shutil.which("apt-get"), reason="depmod is the judge here")
def test_depmod_finds_the_same_in_debians_kernel(tmp_path: Path) -> None:
    request = DebianRequest("amd64", ("linux-image-cloud-amd64",), ("initramfs-tools", "kmod", "linux-base"))
    debs = []
    for deb in Apt(tmp_path / "state").resolve(request):
        debs.append(tmp_path / f"{deb.name}.deb")
        fetch(deb.uri, deb.size, deb.digest, debs[-1], lambda done, of: None)
    layer, modules = unpack(tmp_path, KernelLayer(), *debs)
    version = next(path for path in listing(layer) if path.startswith("boot/config-")).removeprefix("boot/config-")
    root = tmp_path / "root"
    with tarfile.open(modules) as tar:
        tar.extractall(root, filter="data")
    (root / "lib").symlink_to("usr/lib")
    place = root / f"usr/lib/modules/{version}"
    names = ("modules.dep", "modules.alias", "modules.softdep", "modules.devname")
    ours = {name: (place / name).read_text() for name in names}
    subprocess.run(["/sbin/depmod", "-b", str(root), version], check=True, capture_output=True)
    for name in names:
        theirs = (place / name).read_text()
        if name == "modules.dep":  # which of two that do not need one another comes first is free
            assert {ln.split(":")[0]: set(ln.split()[1:]) for ln in ours[name].splitlines()} == {
                ln.split(":")[0]: set(ln.split()[1:]) for ln in theirs.splitlines()
            }
        else:
            assert sorted(ours[name].splitlines()) == sorted(theirs.splitlines()), name
    assert len(ours["modules.dep"].splitlines()) > 500

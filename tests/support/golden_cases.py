"""Where the cases of the golden table come from: every step of a few small machines, and some made by hand."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from lkbuild.digest import Digest, canonical
from lkbuild.engine.audit import FETCHED, every_key
from lkbuild.packages.params import DebianLayer, KernelLayer, Ownership
from lkbuild.plan.kinds import Text
from lkbuild.plan.media_kinds import Converted
from lkbuild.plan.recorded import RecordedStep
from lkbuild.steps.converted import FORMATS
from lkbuild.store import Blob, Result, Store
from lkbuild.store.recipe import Recipe
from lkbuild.store.steps import recorded_step
from tests.support.building import offline, run
from tests.support.golden import Case, made
from tests.support.layouts import Layout, layer
from tests.support.steps import carry_out
from tests.unit.debs import make_deb
from tests.unit.disk_images import noise
from tests.unit.test_contents_databases import APK, STATUS
from tests.unit.test_disk_boot import pe
from tests.unit.test_packages_kernel import elf, kernel_deb
from tests.unit.test_steps_formats import bzimage

SPEC = """\
kernel: {image: gold/kernel:1, cmdline: console=ttyS0 quiet, ucode: ucode.cpio}
init: [gold/init:1, gold/more:1]
onboot:
  - {name: first, image: gold/web:1, command: [/bin/web, once], binds: ["kept:/data"]}
services:
  - {name: web, image: gold/web:1, env: [A=1], capabilities: [CAP_CHOWN], readonly: true}
  - {name: own, image: "@pkg:./own", uid: web}
files:
  - {path: etc/from, source: ./source.txt, mode: "0755", uid: web}
  - {path: etc/link, symlink: from}
  - {path: var/empty, directory: true}
  - {path: etc/spec.yml, metadata: yaml}
volumes:
  - {name: kept}
  - {name: filled, image: gold/web:1}
  - {name: whole, image: gold/web:1, format: oci}
  - {name: packed, image: "@pkg:./own", format: oci}
"""
FORMATS_BUILT = (
    ("kernel+initrd", "tar", "docker", "oci", "tar-kernel-initrd", "firecracker"),
    ("iso-efi", "iso-efi-initrd", "raw-efi", "uki"),
    ("kernel+erofs",),
    ("kernel+iso",),
    ("kernel+squashfs",),
)
"""What can be built side by side: some formats give files the same names."""
ELF = b"\x7fELF" + bytes(20_000) + noise(2_000, 5)


def fresh(directory: Path) -> tuple[list[Case], dict[Digest, bytes]]:
    """The cases as lkbuild is now, and the blobs they need."""
    _sources(directory)
    common: dict[str, object] = {"images": (directory / "layout",), "lock": True, "sbom": "cyclonedx"}
    common |= {"provenance": True, "bootloader": "gold/loaders:1"}
    for formats in FORMATS_BUILT:
        run(offline(directory / "m.yml", directory / "cache", directory / "out", **common, formats=formats))
    small = {**common, "compression": "zstd", "profile": "release", "formats": ("kernel+initrd",)}
    run(offline(directory / "m.yml", directory / "cache", directory / "small", **small))
    card = {"formats": ("rpi3",), "arch": "arm64", "bootloader": f"@pkg:{directory / 'firmware'}"}
    run(offline(directory / "card.yml", directory / "cache", directory / "card", **card))
    store = Store.open(directory / "cache")
    try:
        _by_hand(store, directory)
        return _cases(store)
    finally:
        store.close()


def _sources(directory: Path) -> None:
    layout = Layout(directory / "layout")
    module = "usr/lib/modules/6.1.0/kernel/fs/erofs/erofs.ko"
    files = [(module, elf()), ("usr/lib/modules/6.1.0/modules.dep", b"kernel/fs/erofs/erofs.ko:\n")]
    kernel = [("kernel", bzimage(gzip.compress(ELF, mtime=0))), ("kernel.tar", gzip.decompress(layer(files)))]
    layout.add("gold/kernel:1", [layer([*kernel, ("ucode.cpio", b"microcode" * 20)])])
    apk = ("lib/apk/db/installed", APK.encode())
    layout.add("gold/init:1", [layer([("etc/os-release", b"ID=alpine\n"), ("sbin/init", b"init" * 500), apk])])
    layout.add("gold/more:1", [layer([("sbin/more", b"more" * 100), apk])])
    dpkg = ("var/lib/dpkg/status", STATUS.encode())
    layout.add(
        "gold/web:1", [layer([("bin/web", noise(5000, 3)), dpkg]), layer([("etc/web.conf", b"listen 80\n" * 90)])]
    )
    efi = "usr/lib/systemd/boot/efi"
    programs = [(f"{efi}/linuxx64.efi.stub", pe()), (f"{efi}/systemd-bootx64.efi", pe(3))]
    busybox = ("usr/bin/busybox", b"\x7fELF\x02\x01".ljust(64, b"\0") + b"busybox")
    layout.add("gold/loaders:1", [layer([*programs, busybox])])
    for name, files in {
        "own": [("bin/own", b"own" * 300), ("etc/own.conf", b"text\n")],
        "card": [("kernel", gzip.compress(bytes(56) + b"ARM\x64" + bytes(2000), mtime=0))],
        "firmware": [(f"boot/{name}", name.encode()) for name in FIRMWARE],
    }.items():
        for path, data in files:
            place = directory / name / "root" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        more = "cmd: [/bin/own]\nlinks: {etc/alias: own.conf}\n" if name == "own" else ""
        (directory / name / "build.yml").write_text(f"image: {name}\norg: gold\n{more}")
    (directory / "source.txt").write_text("source" * 200)
    (directory / "m.yml").write_text(SPEC)
    (directory / "card.yml").write_text("kernel: {image: '@pkg:./card', tar: none, cmdline: quiet}\n")


FIRMWARE = (
    "bootcode.bin", "start.elf", "fixup.dat", "u-boot.bin", "config.txt", "cmdline.txt",
    "dtb/broadcom/bcm2837-rpi-3-b.dtb",
)  # fmt: skip


def _by_hand(store: Store, directory: Path) -> None:
    """Steps that no machine of these has: Debian packages, which apt would bring, and disks of every form."""

    def do(kind: str, params: Any, **inputs: Blob) -> None:
        carry_out(store, kind, params, inputs)

    def deb(path: Path) -> Blob:
        return store.add(path.read_bytes())

    one = deb(
        make_deb(directory, "one", {"usr/bin/one": "one", "etc/one.conf": "x", "usr/share/doc/one/a": "left out"})
    )
    two = deb(make_deb(directory, "two", {"usr/lib/two": "-> one", "usr/bin/two": "two"}, Depends="one"))
    do(
        "debian-layer",
        DebianLayer(exclude=("etc/**",), modes=(Ownership("usr/bin/two", 0o700, 1, 2),)),
        deb0=one,
        deb1=two,
    )
    do("kernel-layer", KernelLayer(("ext4",)), deb0=deb(kernel_deb(directory)))
    do("text", Text("said\n"))
    recipe = Recipe.of([*Recipe.decode(store.read(_raw(store))).extents])
    raw = store.add(recipe.encode())
    for name in sorted(FORMATS):
        do("converted", Converted(name, 1024 if name == "raw" else None), raw=raw)


def _raw(store: Store) -> Digest:
    """The recipe of the EFI disk."""
    for key in every_key(store):
        step, result = recorded_step(store, key), store.recorded(key)
        if step is not None and result is not None and step.kind == "medium" and step.params["maker"] == "efi-disk":
            return result["recipe"].digest
    raise AssertionError("no disk was made")


def _cases(store: Store) -> tuple[list[Case], dict[Digest, bytes]]:
    results = [(recorded_step(store, key), store.recorded(key)) for key in every_key(store)]
    refers: dict[Digest, tuple[Digest, ...]] = {}
    for _, result in results:
        if result is not None:
            refers.update({blob.digest: tuple(each.digest for each in result.refers) for _, blob in result.outputs})
    cases, blobs = list[Case](), dict[Digest, bytes]()
    named: Counter[str] = Counter()
    for step, result in sorted(results, key=_order):
        if step is None or result is None or step.kind in FETCHED:
            continue
        named[f"{step.kind} {step.name}"] += 1
        if (count := named[f"{step.kind} {step.name}"]) > 1:
            step = replace(step, name=f"{step.name}@{count}")
        inputs = {each.digest for each in step.inputs}
        needs = sorted({digest for each in inputs for digest in refers.get(each, ())} - inputs)
        cases.append(Case(step, tuple(needs), made(store, result)))
        blobs.update({digest: store.read(digest) for digest in (*inputs, *needs)})
    return cases, blobs


def _order(item: tuple[RecordedStep | None, Result | None]) -> tuple[str, bytes]:
    """By name, and of one name by what the steps are told."""
    step = item[0]
    return ("", b"") if step is None else (step.name, canonical(step.params))

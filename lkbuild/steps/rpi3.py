"""A Raspberry Pi 3's first partition, laid out as LinuxKit's tools/mkimage-rpi3 does (make-rpi3).

Firmware, U-Boot and config.txt come from the user's image, device trees from the kernel's tar.  Where the image has
boot/boot.script, as LinuxKit's has, that is what U-Boot carries out; the kernel's command line is then the script's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from lkbuild.archive.entry import Buffer, Entry
from lkbuild.archive.flatten import LayerFile, flatten, lay_down
from lkbuild.archive.index import parse_index
from lkbuild.archive.sink import Sink, TapSink, TarSink
from lkbuild.archive.view import View
from lkbuild.disk.extents import Data, Extent, Slice
from lkbuild.disk.loader_config import check_cmdline
from lkbuild.disk.uimage import UImage, script, uimage
from lkbuild.errors import StepError
from lkbuild.plan.media_kinds import Firmware, Rpi3
from lkbuild.steps.medium import cmdline
from lkbuild.steps.rootfs import ended, finish, member
from lkbuild.steps.segment import layers
from lkbuild.steps.work import Work
from lkbuild.store.recipe import Recipe

_NEEDED = ("bootcode.bin", "start.elf", "config.txt", "u-boot.bin")
_MADE = (b"boot.scr", b"kernel.uimg", b"initrd.uimg")
_SCRIPT = b"boot/boot.script"
_TREES = "boot/dtb/broadcom/bcm2837-rpi-3-b*.dtb"
_KERNEL_ADDRESS = 0x80000
_GZIP = b"\x1f\x8b\x08"
_DEFAULT_SCRIPT = """\
setenv bootargs "{cmdline}"
fatload mmc 0:1 ${{kernel_addr_r}} kernel.uimg
fatload mmc 0:1 ${{fdt_addr_r}} dtb/broadcom/bcm2837-rpi-3-b.dtb
fatload mmc 0:1 ${{ramdisk_addr_r}} initrd.uimg
bootm ${{kernel_addr_r}} ${{ramdisk_addr_r}} ${{fdt_addr_r}}
"""


def firmware(params: Firmware, work: Work) -> None:
    """Writes `image` and `trees`, members of a tar without boot/ in their names, and `script` (empty where none is).

    StepError where firmware or device trees are missing.
    """
    with work.output("script").open("w+b") as text, work.output("image").open("w+b") as raw:
        sink = TarSink(raw)
        flatten(layers(work), TapSink(_BelowBoot(sink, lambda path: path[5:] not in _MADE), _SCRIPT, text), View())
        sink.close()
        names = {entry.path.decode("utf-8", "replace") for entry in parse_index(sink.index())}
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise StepError(
            f"the boot loader image has no boot/{' and no boot/'.join(missing)}",
            "name one with a Raspberry Pi's firmware and U-Boot, linuxkit/mkimage-rpi3 for instance: bootloader=IMAGE",
        )
    with work.output("trees").open("w+b") as raw:
        sink = TarSink(raw)
        if "tar" in work.inputs:
            wanted = _BelowBoot(sink, lambda path: fnmatchcase(path.decode("utf-8", "replace"), _TREES))
            lay_down(LayerFile(work.input("tar"), "the kernel's tar"), wanted)
        sink.close()
        found = bool(parse_index(sink.index()))
    if not found and not any(name.endswith(".dtb") for name in names):
        raise StepError(
            f"neither the kernel's tar nor the boot loader image has device trees ({_TREES})",
            "use an arm64 kernel with its device trees",
        )


class _BelowBoot:
    """A sink that lets the regular files below boot/ through which `wanted` agrees to, boot/ taken off their names."""

    def __init__(self, sink: Sink, wanted: Callable[[bytes], bool]) -> None:
        self._sink, self._wanted = sink, wanted

    def add(
        self, entry: Entry, body: Iterable[Buffer] = (), links: Sequence[bytes] = (), implied: bool = False
    ) -> None:
        """Pass an entry on.  Links, which a FAT does not have, are left out."""
        names = [path for path in (entry.path, *links) if path.startswith(b"boot/") and self._wanted(path)]
        if names and entry.kind == "file":
            self._sink.add(Entry(names[0][5:], "file", 0o644, size=entry.size), body)

    def restart(self) -> None:
        """Forget everything."""
        self._sink.restart()


def rpi3(params: Rpi3, work: Work) -> None:
    """Writes `recipe`, of a tar to be unpacked into the first partition, a FAT."""
    kernel = work.inputs["kernel"].blob
    about = UImage("kernel", _is_gzip(work), _KERNEL_ADDRESS)
    opener = work.store.open_blob
    text = script(_boot_script(work))
    made: list[tuple[bytes, list[Extent]]] = [
        (b"boot.scr", uimage(UImage("script", name="RPi3"), [Data(text)], opener)),
        (b"kernel.uimg", uimage(about, [Slice(kernel.digest, 0, kernel.size)], opener)),
        (b"initrd.uimg", uimage(UImage("ramdisk"), Recipe.decode(work.input("initrd").read_bytes()).extents, opener)),
    ]
    brought = [work.inputs[role].blob for role in ("image", "trees")]
    members: list[Extent] = [Slice(blob.digest, 0, blob.size) for blob in brought]
    for name, extents in made:
        members += member(name, extents)
    finish(ended(members), work)


def _boot_script(work: Work) -> bytes:
    line = cmdline(work)
    brought = work.input("script").read_bytes()
    if brought:
        if line:
            work.note("the boot loader image's boot/boot.script says the kernel's command line, not `kernel: cmdline:`")
        return brought
    check_cmdline(line)
    if '"' in line or "$" in line or "\\" in line:
        raise StepError(f"U-Boot's scripts cannot hold a command line with quotes, $ or backslashes: {line!r:.100}")
    return _DEFAULT_SCRIPT.format(cmdline=line).encode("utf-8", "surrogateescape")


def _is_gzip(work: Work) -> bool:
    """Whether U-Boot has to unpack the kernel; StepError for a kernel it cannot start."""
    with work.input("kernel").open("rb") as file:
        head = file.read(64)
    if head.startswith(_GZIP):
        return True
    if head[56:60] != b"ARM\x64":
        raise StepError(
            "the kernel is neither a gzip'd nor a plain Image for arm64, and U-Boot starts no other",
            "use an arm64 kernel's Image or Image.gz",
        )
    return False

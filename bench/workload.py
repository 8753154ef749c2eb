"""What is built: layouts, packages and specs, made with the same bytes every time, and the changes made to them."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.layouts import Layout, content, layer

_KERNEL = "  image: bench/kernel:1\n  cmdline: console=ttyS0\n"


def apart(make: Callable[..., object], *arguments: object) -> None:
    """Call `make` in a process of its own, so that what it needs does not count as memory of the measured ones."""
    process = multiprocessing.get_context("spawn").Process(target=make, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"making a workload failed: {make.__name__}{arguments}")


def retag(layout: Path, name: str, other: str) -> None:
    """Let the image `name` of a layout be what `other` is, as if somebody had pushed it anew."""
    index = json.loads((layout / "index.json").read_text())
    named = {about["annotations"]["org.opencontainers.image.ref.name"]: about for about in index["manifests"]}
    target, wanted = named[f"docker.io/{name}"], named[f"docker.io/{other}"]
    target.update({key: wanted[key] for key in ("digest", "size")})
    temporary = layout / ".index"
    temporary.write_text(json.dumps(index))
    temporary.replace(layout / "index.json")


def _kernel(layout: Layout, megabytes: float) -> None:
    """A kernel image that says it reads zstd: what matters of it here is its size."""
    size = int(megabytes * 1_000_000)
    files = [("kernel", content("kernel", size // 3)), ("boot/config-6", b"CONFIG_RD_ZSTD=y\n")]
    layout.add("bench/kernel:1", [layer([*files, ("kernel.tar", _tar("modules", 2 * size // 3))])])


def _small_files(image: int, count: int) -> list[tuple[str, bytes]]:
    """What an image has besides programs: thousands of files, that every initrd's plan must know the paths of."""
    data = content(f"{image}/small", 4000)
    return [(f"usr/share/doc/d{n // 20}/file{n}.txt", data[n % 2000 : n % 2000 + n % 1500]) for n in range(count)]


def _tar(seed: str, size: int) -> bytes:
    import gzip

    return gzip.decompress(layer([(f"lib/modules/6/{n}.ko", content(f"{seed}/{n}", size // 20)) for n in range(20)]))


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of some `megabytes`: a kernel, an init, services from images, one from a package, and files.

    The megabytes are shared out among five images of services, the init and the kernel; with one image, that has them.
    """

    directory: Path
    megabytes: float
    images: int = 5

    @property
    def layout(self) -> Path:
        """Its images."""
        return self.directory / "layout"

    @property
    def spec(self) -> Path:
        """Its spec."""
        return self.directory / "machine.yml"

    def make(self, variants: int) -> Machine:
        """Write all of it, unless it is there, with so many variants of the service's image."""
        if not self.spec.exists():
            apart(_make_machine, self, variants)
        return self

    def change_file(self, number: int) -> None:
        """Another `files:` entry."""
        self._edit(r"contents: .*", f"contents: this is change {number}")

    def change_capability(self, number: int) -> None:
        """Another capability of a service."""
        self._edit(r"\[CAP_.*\]", f"[CAP_CHOWN, {('CAP_KILL', 'CAP_SETUID', 'CAP_SETGID', 'CAP_FOWNER')[number % 4]}]")

    def change_package(self, number: int) -> None:
        """A file of the package."""
        (self.directory / "web" / "root" / "srv" / "page.html").write_text(f"<p>change {number}</p>\n")

    def change_image(self, number: int) -> None:
        """The image of one of the services: its highest layer is another."""
        retag(self.layout, "bench/service0:1", f"bench/service0:variant{number}")

    def _edit(self, pattern: str, text: str) -> None:
        self.spec.write_text(re.sub(pattern, text, self.spec.read_text(), count=1))


def _make_machine(machine: Machine, variants: int) -> None:
    layout, directory = Layout(machine.layout), machine.directory
    share = machine.megabytes * 1_000_000 / (6 if machine.images > 1 else 1)
    small = int(machine.megabytes * 4000)
    _kernel(layout, machine.megabytes / 12)
    layout.add("bench/init:1", [layer([(f"bin/i{n}", content(f"init/{n}", small)) for n in range(20)])])
    for image in range(machine.images):
        files = [(f"usr/bin/p{n}", content(f"{image}/{n}", int(share / 20))) for n in range(20)]
        below = [layer(files[:15] + _small_files(image, int(machine.megabytes * 10))), layer(files[15:])]
        layout.add(f"bench/service{image}:1", below)
        for variant in range(variants if image == 0 else 0):
            layout.add(f"bench/service0:variant{variant}", [*below, layer([("etc/version", b"%d\n" % variant)])])
    page = directory / "web" / "root" / "srv" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>hello</p>\n")
    (page.parent / "data").write_bytes(content("data", small))
    (directory / "web" / "build.yml").write_text("image: web\ncmd: [/srv/serve]\n")
    services = "".join(f"  - name: s{n}\n    image: bench/service{n}:1\n" for n in range(machine.images))
    (directory / "machine.yml").write_text(
        f"kernel:\n{_KERNEL}init:\n  - bench/init:1\nservices:\n{services}"
        "    capabilities: [CAP_CHOWN]\n  - name: web\n    image: '@pkg:./web'\n"
        "files:\n  - path: etc/motd\n    contents: hello\n"
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    """`count` machines that share images: each has a kernel, two inits, two onboot and five services.

    The kernel, the inits and what runs on boot are the same for all; the services are those of `images`, five in turn.
    Each image has about `kilobytes`.
    """

    directory: Path
    count: int
    images: int
    kilobytes: int

    @property
    def layout(self) -> Path:
        """Their images."""
        return self.directory / "layout"

    @property
    def specs(self) -> Path:
        """The directory of their specs."""
        return self.directory / "specs"

    def make(self, variants: int) -> Fleet:
        """Write all of it, unless it is there, with so many variants of the init image that all share."""
        if not self.specs.exists():
            apart(_make_fleet, self, variants)
        return self

    def change_spec(self, number: int) -> None:
        """Something in one of the specs."""
        spec = self.specs / f"m{self.count // 2:04d}.yml"
        spec.write_text(re.sub(r"contents: .*", f"contents: this is change {number}", spec.read_text()))

    def change_shared_image(self, number: int) -> None:
        """An image that all machines have."""
        retag(self.layout, "bench/init0:1", f"bench/init0:variant{number}")


def _make_fleet(fleet: Fleet, variants: int) -> None:
    layout = Layout(fleet.layout)
    size = fleet.kilobytes * 1000 // 4
    _kernel(layout, fleet.kilobytes / 250)

    def image(name: str, seed: str, version: str = "1") -> None:
        files = [(f"usr/bin/p{n}", content(f"{seed}/{n}", size)) for n in range(4)]
        layout.add(f"bench/{name}:{version}", [layer(files), layer([("etc/version", version.encode())])])

    for number in range(2):
        image(f"init{number}", f"init{number}")
        image(f"boot{number}", f"boot{number}")
    for variant in range(variants):
        image("init0", "init0", f"variant{variant}")
    for number in range(fleet.images):
        image(f"service{number}", f"service{number}")
    fleet.specs.mkdir()
    for number in range(fleet.count):
        (fleet.specs / f"m{number:04d}.yml").write_text(_fleet_spec(number, fleet.images))


def _fleet_spec(number: int, images: int) -> str:
    onboot = "".join(
        f"  - name: boot{n}\n    image: bench/boot{n}:1\n    command: [/usr/bin/p0, '-m', 'm{number}']\n"
        for n in range(2)
    )
    services = "".join(
        f"  - name: s{n}\n    image: bench/service{(number * 5 + n) % images}:1\n"
        "    capabilities: [CAP_CHOWN, CAP_KILL]\n"
        f"    env: [MACHINE=m{number}]\n    binds: ['/var/lib/s{n}:/data']\n"
        for n in range(5)
    )
    return (
        f"kernel:\n{_KERNEL}init:\n  - bench/init0:1\n  - bench/init1:1\nonboot:\n{onboot}services:\n{services}"
        f"files:\n  - path: etc/hostname\n    contents: m{number}\n  - path: etc/motd\n    contents: hello\n"
    )

"""Kernel modules: what a module says of itself, and the index files modprobe reads (modules.dep(5), depmod(8)).

modpost writes into each module the names of those it needs, so no symbol tables have to be compared.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping

from lkbuild.frozen import frozen

SUFFIX = re.compile(r"\.ko(?:\.(xz|gz|zst))?$")
"""How a module's file name ends, and how it is compressed."""
_DEVICE = re.compile(r"(char|block)-major-([0-9]+)-([0-9]+)")


@frozen
class Module:
    """A module: `path` below the modules' directory, without compression suffix, and its .modinfo."""

    path: str
    depends: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    softdeps: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called when loaded."""
        return module_name(self.path)


def module_name(path: str) -> str:
    """`kernel/fs/foo-bar.ko` and `foo-bar` are foo_bar: dashes and underscores are one."""
    return SUFFIX.sub("", path.rpartition("/")[2]).replace("-", "_")


def read_module(path: str, image: bytes) -> Module:
    """The module at `path` whose ELF file is `image`, not compressed; ValueError if that is damaged."""
    found: dict[str, list[str]] = {}
    try:
        for item in _section(image, b".modinfo").split(b"\0"):
            key, _, value = item.decode("utf-8", "replace").partition("=")
            found.setdefault(key, []).append(value)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{path} is no ELF file, or is damaged: {error}") from error
    depends = tuple(n.replace("-", "_") for text in found.get("depends", ()) for n in text.split(",") if n)
    return Module(path, depends, tuple(found.get("alias", ())), tuple(found.get("softdep", ())))


def _section(image: bytes, wanted: bytes) -> bytes:
    """A section of an ELF file by its name (elf(5)); empty where there is none."""
    if image[:4] != b"\x7fELF":
        raise ValueError("it does not begin as an ELF file does")
    order = "<" if image[5] == 1 else ">"
    wide = image[4] == 2
    table, size, count, names = struct.unpack_from(
        f"{order}Q10xHHH" if wide else f"{order}I10xHHH", image, 0x28 if wide else 0x20
    )
    layout = struct.Struct(f"{order}I20xQQ" if wide else f"{order}I12xII")
    headers = [layout.unpack_from(image, table + number * size) for number in range(count)]
    start = headers[names][1]
    for name, offset, length in headers:
        if image[start + name : start + name + len(wanted) + 1] == wanted + b"\0":
            return image[offset : offset + length]
    return b""


def needed(wanted: Iterable[str], modules: Mapping[str, Module], builtin: frozenset[str]) -> frozenset[str]:
    """The names in `wanted` with all they depend on, hard or soft.  ValueError where a hard dependency is not there."""
    by_alias: dict[str, list[str]] = {}
    for module in modules.values():
        for alias in module.aliases:
            by_alias.setdefault(alias.replace("-", "_"), []).append(module.name)
    reached: set[str] = set()
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name in reached:
            continue
        reached.add(name)
        for other in modules[name].depends:
            if other in modules:
                pending.append(other)
            elif other not in builtin:
                raise ValueError(f"the module {name} needs {other}, which no package brings")
        for other in soft_names(modules[name]):
            pending.extend([other] if other in modules else by_alias.get(other, ()))
    return frozenset(reached)


def soft_names(module: Module) -> Iterator[str]:
    """The modules its softdep lines name: `pre: a b post: c` (modprobe.d(5))."""
    for line in module.softdeps:
        yield from (word.replace("-", "_") for word in line.split() if not word.endswith(":"))


def index_files(modules: Iterable[Module]) -> dict[str, str]:
    """The text index files of a modules' directory, by name: modules.dep, .alias, .softdep and .devname."""
    ordered = sorted(modules, key=lambda module: module.path)
    by_name = {module.name: module for module in ordered}
    dep = "".join(f"{dependency_line(module, by_name)}\n" for module in ordered)
    alias = "".join(f"alias {a} {m.name}\n" for m in ordered for a in m.aliases)
    soft = "".join(f"softdep {m.name} {line}\n" for m in ordered for line in m.softdeps)
    devices = "".join(f"{line}\n" for module in ordered for line in _device_lines(module))
    return {
        "modules.alias": "# Aliases extracted from modules themselves.\n" + alias,
        "modules.dep": dep,
        "modules.devname": "# Device nodes to trigger on-demand module loading.\n" + devices if devices else "",
        "modules.softdep": "# Soft dependencies extracted from modules themselves.\n" + soft,
    }


def dependency_line(module: Module, by_name: Mapping[str, Module]) -> str:
    """`PATH: PATH…`, what is to be loaded first standing last (modules.dep(5))."""
    order: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        for other in by_name[name].depends:
            if other in by_name and other not in above and other not in order:
                visit(other, above | {other})
                order[other] = None

    visit(module.name, frozenset({module.name}))
    return " ".join([f"{module.path}:", *(by_name[name].path for name in reversed(order))])


def _device_lines(module: Module) -> Iterator[str]:
    """`MODULE NODE c10:229` where a module answers to a device node that udev may make beforehand."""
    nodes = [alias.removeprefix("devname:") for alias in module.aliases if alias.startswith("devname:")]
    numbers = [match for alias in module.aliases if (match := _DEVICE.fullmatch(alias))]
    if nodes and numbers:
        yield f"{module.name} {nodes[0]} {numbers[0][1][0]}{numbers[0][2]}:{numbers[0][3]}"

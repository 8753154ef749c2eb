"""Configuration of boot loaders: what SYSLINUX, ISOLINUX and systemd-boot read."""

from __future__ import annotations

from lkbuild.errors import StepError
from lkbuild.frozen import frozen

MAX_CMDLINE = 2047
"""The longest command line an x86 kernel reads (COMMAND_LINE_SIZE less the NUL)."""


@frozen
class Boot:
    """What is booted: where the loader finds kernel and initrds (from the file system's root, `/` first), and how."""

    kernel: str
    initrds: tuple[str, ...]
    cmdline: str


def check_cmdline(cmdline: str) -> None:
    """StepError for a command line that no loader can hand on: with line ends or NULs, or too long."""
    if any(mark in cmdline for mark in "\n\r\0"):
        raise StepError(
            f"the kernel's command line has a line end or NUL in it: {cmdline!r:.100}", "write it in a line"
        )
    if (size := len(cmdline.encode("utf-8", "surrogateescape"))) > MAX_CMDLINE:
        raise StepError(f"the kernel's command line has {size} bytes (at most {MAX_CMDLINE})", "make it shorter")


def syslinux_config(boot: Boot) -> bytes:
    """`syslinux.cfg` or `isolinux.cfg` that boots at once."""
    check_cmdline(boot.cmdline)
    lines = ["DEFAULT linux", "PROMPT 0", "TIMEOUT 1", "LABEL linux", f" KERNEL {boot.kernel}"]
    if boot.initrds:
        lines.append(f" INITRD {','.join(boot.initrds)}")
    lines.append(f" APPEND {boot.cmdline}")
    return _text(lines)


def loader_entry(title: str, boot: Boot) -> bytes:
    """`loader/entries/*.conf` (Boot Loader Specification, type 1)."""
    check_cmdline(boot.cmdline)
    lines = [f"title {title}", f"linux {boot.kernel}", *(f"initrd {path}" for path in boot.initrds)]
    return _text([*lines, f"options {boot.cmdline}"])


def loader_config(entry: str) -> bytes:
    """`loader/loader.conf` that boots `entry` (the name of its file) at once, and lets nobody change its options."""
    return _text(["timeout 0", f"default {entry}", "editor no"])


def told(config: str) -> str | None:
    """The command line in a loader's configuration, SYSLINUX's or systemd-boot's; None where it says none."""
    lines = [line.split(None, 1) for line in config.splitlines()]
    for key in ("append", "options"):
        found = [" ".join(words[1:]).strip() for words in lines if words and words[0].lower() == key]
        if found:
            return found[0] if key == "append" else " ".join(found)
    return None


def _text(lines: list[str]) -> bytes:
    return "".join(line.rstrip() + "\n" for line in lines).encode("utf-8", "surrogateescape")

"""The little languages inside a spec's strings: binds, tmpfs, rlimits, capabilities, device and file modes.

Pure functions from text to a value.  Each raises ValueError with a sentence that quotes the text and says what is
wanted; whoever knows the line adds it.  The rules are those of LinuxKit's `ConfigToOCI`.
"""

from __future__ import annotations

import re

UNLIMITED = (1 << 64) - 1
"""RLIM_INFINITY as the runtime-spec writes it."""

CAPABILITIES: tuple[str, ...] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""Every capability, in the kernel's order (include/uapi/linux/capability.h), which is the order `all` stands for."""

RLIMITS: tuple[str, ...] = (
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
)  # fmt: skip
"""Every resource limit (getrlimit(2)), in the kernel's order."""

DEFAULT_MOUNTPOINTS = {
    "proc": "/proc",
    "devpts": "/dev/pts",
    "sysfs": "/sys",
    "cgroup": "/sys/fs/cgroup",
    "mqueue": "/dev/mqueue",
}
"""Where a mount without destination goes, by its type; a source by one of these names implies the type."""

_KNOWN_CAPABILITIES = frozenset(CAPABILITIES)
_DECIMAL = re.compile(r"[0-9]{1,20}")
_OCTAL = re.compile(r"[0-7]{1,12}")


def parse_bind(text: str) -> tuple[str, str, tuple[str, ...] | None]:
    """`source:destination[:option,option…]` as (source, destination, options); options is None where none are given."""
    parts = text.split(":")
    if len(parts) < 2:
        raise ValueError(f"bind {text!r} has no ':' (wanted SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS)")
    if len(parts) > 3:
        raise ValueError(f"bind {text!r} has too many ':' (wanted SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS)")
    source, destination = parts[0], parts[1]
    if not source or not destination:
        raise ValueError(f"bind {text!r} has an empty {'source' if not source else 'destination'}")
    return source, destination, tuple(parts[2].split(",")) if len(parts) == 3 else None


def parse_tmpfs(text: str) -> tuple[str, tuple[str, ...]]:
    """`/destination[:option,option…]` as (destination, options)."""
    parts = text.split(":")
    if len(parts) > 2:
        raise ValueError(f"tmpfs {text!r} has too many ':' (wanted DESTINATION or DESTINATION:OPTIONS)")
    if not parts[0]:
        raise ValueError(f"tmpfs {text!r} has an empty destination")
    return parts[0], tuple(parts[1].split(",")) if len(parts) == 2 else ()


def parse_rlimit(text: str) -> tuple[str, int, int]:
    """`name,soft,hard` as ("RLIMIT_NOFILE", soft, hard).

    `unlimited` is UNLIMITED; a name's prefix and case are free.
    """
    parts = [part.strip() for part in text.split(",", 2)]
    if len(parts) != 3:
        raise ValueError(f"rlimit {text!r} has {len(parts)} parts (wanted NAME,SOFT,HARD)")
    name = parts[0].upper()
    name = name if name.startswith("RLIMIT_") else f"RLIMIT_{name}"
    if name not in RLIMITS:
        known = ", ".join(limit.removeprefix("RLIMIT_").lower() for limit in RLIMITS)
        raise ValueError(f"rlimit {text!r}: {parts[0]!r} is no resource limit (known: {known})")
    return name, _limit(text, parts[1]), _limit(text, parts[2])


def _limit(text: str, value: str) -> int:
    if value.lower() == "unlimited":
        return UNLIMITED
    if not _DECIMAL.fullmatch(value) or int(value) > UNLIMITED:
        raise ValueError(f"rlimit {text!r}: {value!r} is neither a number nor 'unlimited'")
    return int(value)


def parse_capabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    """The capabilities a list stands for, order and repeats kept; one lone `all` or `none` (any case) is that set."""
    if len(names) == 1 and names[0].lower() == "none":
        return ()
    if len(names) == 1 and names[0].lower() == "all":
        return CAPABILITIES
    for name in names:
        check_capability(name)
    return names


def check_capability(name: str) -> None:
    """ValueError unless `name` is a capability's name, spelled as in CAPABILITIES."""
    if name not in _KNOWN_CAPABILITIES:
        raise ValueError(f"unknown capability {name!r}")


def parse_device_mode(text: str | None) -> int:
    """A device node's `mode`, an octal string; unlike a file's it has no default, so none is a ValueError too."""
    if not text:
        raise ValueError("a device has no mode (wanted digits 0 to 7, for example '0660')")
    return parse_mode(text)


def parse_mode(text: str) -> int:
    """An octal mode such as `0644`, up to 07777, as a number."""
    if not _OCTAL.fullmatch(text) or int(text, 8) > 0o7777:
        raise ValueError(f"mode {text!r} is not octal (wanted digits 0 to 7, for example '0644')")
    return int(text, 8)


def mount_type(type_: str | None, source: str | None, destination: str | None) -> str:
    """The type of a mount: given, or from its source's name, or tmpfs at /dev; ValueError where nothing tells."""
    if type_:
        return type_
    if source in DEFAULT_MOUNTPOINTS:
        return source
    if destination == "/dev":
        return "tmpfs"
    raise ValueError(f"mount at {destination or '(no destination)'!r} has no type")


def mount_destination(type_: str, destination: str | None) -> str:
    """The destination of a mount: given, or from its type; ValueError where nothing tells."""
    found = destination or DEFAULT_MOUNTPOINTS.get(type_)
    if not found:
        raise ValueError(f"mount of type {type_!r} has no destination")
    return found

"""What was asked for, from words (`format=tar`) as `doit` has them; `lkbuild`'s flags are turned into the same words.

One table says which there are, so that both front ends and their help agree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, cast

from lkbuild.engine.options import IN_IMAGE, LOCAL, BuildOptions, Compression, Profile, Pull, Sbom, Trusting
from lkbuild.engine.specs import closest, expand
from lkbuild.errors import UsageError
from lkbuild.frozen import frozen

Word = tuple[str, str]
"""A name and its value."""

Manner = Literal["lines", "json", "quiet"]


@frozen
class Option:
    """A word that can be given: its name, what its value is, and what it is for."""

    name: str
    value: str
    meaning: str

    @property
    def yes_or_no(self) -> bool:
        """Whether it is a switch."""
        return self.value == "yes|no"


BUILD_OPTIONS = (
    Option("format", "FORMAT", "what to make; several with commas or by repeating it"),
    Option("arch", "amd64|arm64|riscv64|s390x", "the machine's architecture; this one's where not said"),
    Option("name", "NAME", "the outputs' name, in place of the spec's"),
    Option("dir", "DIR", "where outputs go"),
    Option(
        "pull", "missing|always|never", "whether registries are asked: for what is not cached, for all, for nothing"
    ),
    Option("offline", "yes|no", "ask no network: the same as pull=never"),
    Option("cache", "DIR", "where what was made is kept (environment: LKBUILD_CACHE)"),
    Option("images", "PATH", "an image layout or archive to look into first; can be repeated"),
    Option("docker", "yes|no", "look for images in the local Docker daemon too"),
    Option("compression", "auto|gzip|zstd", "how initrds are compressed; auto: as the kernel can read"),
    Option("profile", "dev|release", "compress fast, or small"),
    Option("size", "SIZE", "the size of disk images, such as 512M or 2G; megabytes without a unit"),
    Option("bootloader", "IMAGE", "where boot loaders come from, an image or @pkg:DIR; lkbuild's own where not said"),
    Option("trust", "verify|ignore", "ignore: do not verify the signatures that specs ask for, and say so"),
    Option("decompress_kernel", "yes|no", "store the kernel decompressed"),
    Option(
        "sbom",
        "spdx|cyclonedx|no",
        "say what is in the machine: SPDX in it and beside the outputs; CycloneDX beside too",
    ),
    Option("sbom_output", "PATH", "where the machine has its SBOM; sbom.spdx.json where not said"),
    Option("supplier", "NAME", "who supplies the machine, for its SBOM; `local build` where not said"),
    Option("provenance", "yes|no", "say where the outputs come from, beside them; yes where not said"),
    Option("key", "FILE", "a private key to sign the provenance with (LKBUILD_KEY_PASSWORD)"),
    Option("lock", "yes|no", "put what the machine was built from into it, for `lkbuild rebuild`; yes where not said"),
    Option("json", "yes|no", "tell what happens as lines of JSON"),
    Option("quiet", "yes|no", "say only what is wrong"),
    Option("verbose", "yes|no", "say also why steps run, and which were done before"),
)

SWITCHED = {"yes": "yes", "true": "yes", "1": "yes", "no": "no", "false": "no", "0": "no"}
"""What the values of switches mean."""

_REPEATABLE = ("spec", "format", "images")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FIXED = {"arch", "pull", "compression", "profile", "sbom", "trust"}


@frozen
class Order:
    """All that was asked for.

    `target`: write the one output there (`-` is standard output).  `rest`: words for whatever is done with the machine.
    `fresh`: the output files (path, machine) of what was asked for too and is left out, since nothing changed.
    """

    options: BuildOptions
    target: str = ""
    manner: Manner = "lines"
    verbose: bool = False
    rest: tuple[Word, ...] = ()
    fresh: tuple[tuple[str, str], ...] = ()

    @property
    def several(self) -> bool:
        """Whether more than one machine was asked for."""
        return len(self.options.machines) + len({machine for _, machine in self.fresh}) > 1

    def only(self, machines: Iterable[tuple[Path, ...]]) -> Order:
        """The same for some of the machines."""
        return replace(self, options=replace(self.options, machines=tuple(machines)))


def switched(words: Iterable[Word], options: Iterable[Option] = BUILD_OPTIONS) -> tuple[Word, ...]:
    """The words with `yes` or `no` as the values of those `options` that are switches, also where 1 or 0 was said."""
    switches = {option.name for option in options if option.yes_or_no}
    return tuple((n, SWITCHED.get(value.lower(), value) if n in switches else value) for n, value in words)


def order(words: Sequence[Word], base: Path, others: Iterable[Option] = (), merged: Sequence[str] = ()) -> Order:
    """What the words ask for; `others` are further names that may be given.  UsageError names the first mistake.

    Relative paths among them are relative to `base`.  `spec` may be missing: then there are no machines, or one of the
    files `merged`.
    """
    others = tuple(others)
    known = {option.name: option for option in (Option("spec", "FILE", ""), *BUILD_OPTIONS, *others)}
    given: dict[str, list[str]] = {}
    words = switched(words, known.values())
    for name, value in words:
        _check(name, value, known)
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if len(set(values)) > 1 and name in {option.name for option in BUILD_OPTIONS} - set(_REPEATABLE):
            raise UsageError(f"{name} is given as {' and as '.join(map(repr, values))}", f"say {name}= once")
    single = {name: values[-1] for name, values in given.items()}
    names = {option.name for option in others}
    return Order(
        _options(given, single, base, merged),
        manner=manner(words),
        verbose=_yes(single, "verbose"),
        rest=tuple(word for word in words if word[0] in names),
    )


def manner(words: Iterable[Word]) -> Manner:
    """How things are to be told; of any words, also of wrong ones."""
    words = switched(words)
    return "json" if ("json", "yes") in words else "quiet" if ("quiet", "yes") in words else "lines"


def _options(
    given: Mapping[str, list[str]], single: Mapping[str, str], base: Path, merged: Sequence[str]
) -> BuildOptions:
    machines = expand(given.get("spec", ()), base)
    if merged:
        machines += (_once(file for name in merged for files in expand([name], base) for file in files),)
    name = single.get("name")
    if name is not None and len(machines) > 1:
        raise UsageError(f"name={name} names one machine, but {len(machines)} are asked for", "leave name= out")
    if name is not None and (not name or "/" in name or name in (".", "..")):
        raise UsageError(f"name={name} cannot name files", "say dir=DIR for where they go")
    formats = (part.strip() for text in given.get("format", ()) for part in text.split(","))
    options = BuildOptions(
        machines=machines,
        formats=tuple(dict.fromkeys(part for part in formats if part)),
        arch=_ARCHITECTURES.get(single.get("arch", os.uname().machine), single.get("arch", "amd64")),
        name=name,
        directory=_directory(single.get("dir", ""), base),
        pull=_pull(single),
        cache=cache(single.get("cache"), base),
        images=tuple(_path(path, base) for path in given.get("images", ())),
        docker=_yes(single, "docker"),
        docker_host=os.environ.get("DOCKER_HOST") or None,
        compression=cast(Compression, single.get("compression", "auto")),
        profile=cast(Profile, single.get("profile", "dev")),
        decompress_kernel=_yes(single, "decompress_kernel"),
        bootloader=single.get("bootloader"),
        sbom=cast(Sbom, single.get("sbom", "spdx")),
        sbom_output=_in_image(single.get("sbom_output", IN_IMAGE)),
        supplier=_supplier(single.get("supplier", LOCAL)),
        provenance=single.get("provenance") != "no",
        key=_key(single, base),
        trust=cast(Trusting, single.get("trust", "verify")),
        lock=single.get("lock") != "no",
    )
    return replace(options, size=megabytes(single["size"])) if "size" in single else options


def cache(said: str | None, base: Path) -> Path:
    """Where the cache is: as said, else as the environment says, else in `cache/` here."""
    if said is not None:
        return _path(said, base)
    return Path(os.environ.get("LKBUILD_CACHE") or "cache").expanduser()


def _path(text: str, base: Path) -> Path:
    return base / Path(text).expanduser()


def _directory(text: str, base: Path) -> Path:
    path = _path(text, base)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - which no text makes raise
        raise UsageError(f"dir={text} is a file, not a directory", "name a directory; it is made where there is none")
    return path


def _once(files: Iterable[Path]) -> tuple[Path, ...]:
    """The files that are merged into one machine; UsageError where one is named twice."""
    found: list[Path] = []
    for file in files:
        if file in found:
            raise UsageError(f"{file} is named twice", "files named are merged into one machine: name each once")
        found.append(file)
    return tuple(found)


def _pull(single: Mapping[str, str]) -> Pull:
    pull = single.get("pull", "missing")
    if _yes(single, "offline"):
        if pull == "always":
            raise UsageError("pull=always asks the network, offline=yes does not", "leave one of them out")
        return "never"
    return cast(Pull, pull)


def _key(single: Mapping[str, str], base: Path) -> Path | None:
    if "key" in single and single.get("provenance") == "no":
        raise UsageError("key= signs the provenance, and provenance=no leaves that out", "leave one of them out")
    return _path(single["key"], base) if "key" in single else None


def _supplier(name: str) -> str:
    if not name.isprintable():
        raise UsageError(f"supplier={name!r:.80} is no name", "say it in one line of UTF-8")
    return name


def _in_image(path: str) -> str:
    parts = PurePosixPath(path.lstrip("/")).parts
    if not parts or ".." in parts or "\0" in path:
        raise UsageError(f"sbom_output={path} is no file of the machine", "say a path such as sbom.spdx.json")
    return "/".join(parts)


def _check(name: str, value: str, known: Mapping[str, Option]) -> None:
    option = known.get(name)
    if option is None:
        names = [each for each in known if known[each].value]
        close = closest(name.replace("-", "_"), names)
        raise UsageError(
            f"unknown option {name}={value}",
            f"did you mean {close[0]}=?" if close else f"there are {', '.join(names)}",
        )
    if option.yes_or_no and value not in ("yes", "no"):
        raise UsageError(f"{name}={value}", f"say {name}=yes or {name}=no")
    if (
        name in _FIXED
        and value not in (choices := option.value.split("|"))
        and not (name == "arch" and value in _ARCHITECTURES)
    ):
        close = closest(value, choices)
        raise UsageError(
            f"{name}={value} is not known",
            (f"did you mean {name}={close[0]}? " if close else "") + f"one of {', '.join(choices)}",
        )
    if not value:
        raise UsageError(f"{name}= has no value", f"say {name}={option.value}")


def _yes(single: Mapping[str, str], name: str) -> bool:
    return single.get(name) == "yes"


def megabytes(text: str) -> int:
    """A size in MB (1048576 bytes) from `512`, `512M` or `2G`."""
    match = re.fullmatch(r"([0-9]{1,9})\s*([MG]?)(?:i?B)?", text, re.IGNORECASE)
    size = int(match[1]) * (1024 if match[2].upper() == "G" else 1) if match else 0
    if not match:
        raise UsageError(f"size {text!r} is no size", "say megabytes, or 512M, or 2G")
    if not 0 < size <= _MOST:
        raise UsageError(f"size {text!r} is {size} MB", f"it can be from 1 to {_MOST} MB; each format says less")
    return size


_MOST = 64 << 20
"""MB; no format takes more than 64 TiB."""

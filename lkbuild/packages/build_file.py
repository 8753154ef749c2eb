"""What a package directory's build.yml says, as frozen values; the YAML key is the field's name or its metadata `key`.

The first block is LinuxKit's build.yml (src/cmd/linuxkit/pkglib), the rest says of which files the image is made.
`None` means "not given".
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated

from lkbuild.errors import Origin
from lkbuild.frozen import frozen
from lkbuild.packages.layout import matcher, merged, relative
from lkbuild.spec.fields import Pairs, Written, key
from lkbuild.spec.model import ContainerConfig
from lkbuild.spec.names import FileMode

_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(?:/[A-Za-z0-9.-]+)?")
_DEBIAN_GLOB = re.compile(r"[a-z0-9+.*?\[\]!-]+")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]*\$?")

ARCHITECTURES = ("amd64", "arm64", "riscv64", "s390x", "ppc64le", "arm", "386")
"""The architectures a package may name, as OCI calls them."""

DEBIAN_NAMES = {"ppc64le": "ppc64el", "arm": "armhf", "386": "i386"}
"""What Debian calls an architecture, where it has a name of its own for it."""


def _image_path(text: str, origin: Origin) -> str:
    return merged(relative(text))


def _glob(text: str, origin: Origin) -> str:
    matcher((text,))
    return merged(relative(text))


def _module(text: str, origin: Origin) -> str:
    if "/" not in text:
        return text.replace("-", "_")
    matcher((text,))
    return relative(text)


def _debian_package(text: str, origin: Origin) -> str:
    if not _DEBIAN_PACKAGE.fullmatch(text) or text.endswith("-"):
        raise ValueError(f"{text!r} is no Debian package's name (lower-case letters, digits, + - . and perhaps /SUITE)")
    return text


def _debian_glob(text: str, origin: Origin) -> str:
    if not _DEBIAN_GLOB.fullmatch(text):
        raise ValueError(f"{text!r} is neither a Debian package's name nor a glob of such names")
    return text


def _account(text: str, origin: Origin) -> str:
    if not _ACCOUNT.fullmatch(text) or len(text) > 32:
        raise ValueError(f"{text!r} is no user's or group's name (lower-case letters, digits, _ and -, up to 32)")
    return text


def _account_field(text: str, origin: Origin) -> str:
    if ":" in text or "\n" in text:
        raise ValueError(f"{text!r} has a ':' or a line break, which a line of etc/passwd cannot hold")
    return text


def _number(value: int, origin: Origin) -> int:
    if not 0 <= value < (1 << 32) - 1:
        raise ValueError(f"{value} is no user or group id (wanted 0 to 4294967294)")
    return value


ImagePath = Annotated[str, Written(str, _image_path)]
PathGlob = Annotated[str, Written(str, _glob)]
ModuleGlob = Annotated[str, Written(str, _module)]
DebianPackage = Annotated[str, Written(str, _debian_package)]
DebianGlob = Annotated[str, Written(str, _debian_glob)]
Account = Annotated[str, Written(str, _account)]
AccountField = Annotated[str, Written(str, _account_field)]
Id = Annotated[int, Written(int, _number)]


@frozen
class DockerImages:
    """`depends.docker-images`."""

    target: str | None = None
    target_dir: str | None = key("target-dir")
    from_file: str | None = key("from-file")
    list: tuple[str, ...] | None = None


@frozen
class Depends:
    """`depends`: images LinuxKit puts into the build context."""

    docker_images: DockerImages | None = key("docker-images")


@frozen
class DebianSource:
    """`debian`: the Debian packages the first layer is made of.  `without` are names, the last three path globs."""

    packages: tuple[DebianPackage, ...] | None = None
    amd64: tuple[DebianPackage, ...] | None = None
    arm64: tuple[DebianPackage, ...] | None = None
    riscv64: tuple[DebianPackage, ...] | None = None
    s390x: tuple[DebianPackage, ...] | None = None
    ppc64le: tuple[DebianPackage, ...] | None = None
    arm: tuple[DebianPackage, ...] | None = None
    i386: tuple[DebianPackage, ...] | None = key("386")
    without: tuple[DebianGlob, ...] | None = None
    only: tuple[PathGlob, ...] | None = None
    exclude: tuple[PathGlob, ...] | None = None
    keep: tuple[PathGlob, ...] | None = None

    def wanted(self, architecture: str) -> tuple[str, ...]:
        """The packages asked for on one architecture."""
        own = getattr(self, "i386" if architecture == "386" else architecture, None)
        return (*(self.packages or ()), *(own or ()))


@frozen
class KernelSource:
    """`kernel`: this is a kernel's package.  `modules` are names or globs below the modules' directory; None is all."""

    modules: tuple[ModuleGlob, ...] | None = None


@frozen
class Place:
    """An entry of `directories` or `modes`; `mode` is an octal string."""

    path: ImagePath
    mode: FileMode = None
    uid: Id = 0
    gid: Id = 0


@frozen
class Applets:
    """An entry of `applets`: links to one binary, beside it, or where a name has a slash, there."""

    binary: ImagePath
    names: tuple[str, ...]


@frozen
class Concatenate:
    """An entry of `concatenate`: the file `path` of the contents of those the globs name."""

    path: ImagePath
    sources: tuple[PathGlob, ...] = field(metadata={"key": "from"})


@frozen
class User:
    """An entry of `users`: a line of etc/passwd (passwd(5))."""

    name: Account
    uid: Id
    gid: Id | None = None
    home: AccountField | None = None
    shell: AccountField | None = None
    password: AccountField | None = None
    comment: AccountField | None = None


@frozen
class Group:
    """An entry of `groups`: a line of etc/group (group(5))."""

    name: Account
    gid: Id
    members: tuple[Account, ...] | None = None


@frozen
class BuildFile:
    """A whole build.yml."""

    image: str
    org: str | None = None
    tag: str | None = None
    arches: tuple[str, ...] | None = None
    git_repo: str | None = key("gitrepo")
    network: bool | None = None
    disable_cache: bool | None = key("disable-cache")
    disable_content_trust: bool | None = key("disable-content-trust")
    config: ContainerConfig | None = None
    build_args: tuple[str, ...] | None = key("buildArgs")
    extra_sources: tuple[str, ...] | None = key("extra-sources")
    depends: Depends | None = None
    dockerfile: str | None = None

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    workdir: str | None = None
    labels: Pairs | None = None
    debian: DebianSource | None = None
    kernel: KernelSource | None = None
    root: str | None = None
    directories: tuple[Place, ...] | None = None
    modes: tuple[Place, ...] | None = None
    links: Pairs | None = None
    applets: tuple[Applets, ...] | None = None
    concatenate: tuple[Concatenate, ...] | None = None
    users: tuple[User, ...] | None = None
    groups: tuple[Group, ...] | None = None


DOCKERFILE_ONLY = ("build_args", "extra_sources", "network")
"""The fields that mean something only to a Dockerfile."""
FILES_ONLY = (
    "debian", "kernel", "root", "directories", "modes", "links", "applets", "concatenate", "users", "groups",
    "entrypoint", "cmd", "env", "workdir",
)  # fmt: skip
"""The fields that cannot stand beside a Dockerfile, which says all that itself."""

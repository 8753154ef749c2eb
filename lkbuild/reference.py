"""Image references: `nginx`, `ghcr.io/a/b:1`, `a/b@sha256:…` (distribution-spec; Docker's rules for short names)."""

from __future__ import annotations

import re

from lkbuild.digest import Digest
from lkbuild.frozen import ordered

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@ordered
class Reference:
    """A fully spelled image reference.  At least one of `tag` and `digest` is set."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """What Docker understands by `text`; ValueError says what is wrong with it.

        `nginx` is docker.io/library/nginx:latest; the part before the first slash is a registry where it has a dot or a
        colon or is `localhost`.
        """
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, rest = name.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost" or head.startswith("[")):
            registry = head
        else:
            registry, rest = DOCKER_HUB, name
        repository, colon, tag = rest.partition(":")
        if registry.lower() in _HUB_NAMES:
            registry = DOCKER_HUB
            if "/" not in repository:
                repository = f"library/{repository}"
        if not _REGISTRY.fullmatch(registry):
            raise ValueError(f"invalid image reference {text!r}: {registry!r} is no registry name")
        if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
            raise ValueError(
                f"invalid image reference {text!r}: a repository is lower-case letters and digits, . _ - / between"
            )
        if colon and not _TAG.fullmatch(tag):
            raise ValueError(f"invalid image reference {text!r}: {tag!r} is no tag (letters, digits, _ . -, up to 128)")
        if not colon and digest is None:
            tag = "latest"
        return cls(registry, repository, tag or None, digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return str(self.digest) if self.digest else (self.tag or "latest")

    def pinned(self, digest: Digest) -> Reference:
        """The same reference with `digest` added."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

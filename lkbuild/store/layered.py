"""A store over another one: what it makes is its own, what it reads may be the other's."""

from __future__ import annotations

from pathlib import Path

from lkbuild.digest import Digest
from lkbuild.store.store import Store


class LayeredStore(Store):
    """A store whose steps may read the blobs of the one `below`, and know none of its results.

    Nothing is written to `below`; of a blob that is damaged there, `has` says that it is not there.
    """

    below: Store | None = None

    def path(self, digest: Digest) -> Path:
        """Where the blob lies: here, else below."""
        own = self.own_path(digest)
        if self.below is None or own.exists():
            return own
        below = self.below.path(digest)
        return below if below.exists() else own

    def drop(self, digest: Digest) -> None:
        """Remove a blob of this store's own."""
        self.own_path(digest).unlink(missing_ok=True)

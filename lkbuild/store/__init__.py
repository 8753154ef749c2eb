"""The cache on disk: blobs by digest, results of steps by key."""

from lkbuild.store.store import Store
from lkbuild.store.values import Blob, Result

__all__ = ["Blob", "Result", "Store"]

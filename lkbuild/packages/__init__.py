"""Package directories, `@pkg:./dir`: reading them, and saying what steps make their images."""

from lkbuild.packages.debian import Deb, DebianRequest
from lkbuild.packages.model import Package, file_inputs
from lkbuild.packages.read import read_package
from lkbuild.packages.tree import TreeEntry, fingerprint, snapshot

__all__ = ["Deb", "DebianRequest", "Package", "TreeEntry", "file_inputs", "fingerprint", "read_package", "snapshot"]

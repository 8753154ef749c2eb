"""Pushing small things to a registry (distribution-spec 1.1, "Push"): blobs first, the manifest that needs them last.

What was pushed is asked for again: a registry that answers 201 and keeps something else is found out here.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, urljoin, urlsplit

from lkbuild.digest import Digest
from lkbuild.errors import ImageError
from lkbuild.oci.image import MAX_MANIFEST, Descriptor
from lkbuild.reference import Reference
from lkbuild.sources.asking import Asking, Endpoint, Request
from lkbuild.sources.transport import Response

_SUBJECT = "OCI-Subject"
"""The header by which a registry says that it keeps lists of referrers itself."""


class Upload:
    """Pushes to the registry a reference names.  Threads may share one.

    NB: `asking` must know no mirrors (`sources.registry.home`): what is signed is the registry's, not a mirror's.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def blob(self, reference: Reference, media_type: str, data: bytes) -> Descriptor:
        """Put a blob into the repository of `reference`, unless it is there; what points at it."""
        descriptor = Descriptor(media_type, Digest.of(data), len(data))

        def push(endpoint: Endpoint) -> None:
            there = endpoint.url(reference, f"blobs/{descriptor.digest}")
            if self._has(endpoint, reference, there, len(data)):
                return
            begin = Request("POST", endpoint.url(reference, "blobs/uploads/"), _NOTHING, b"", (202,), push=True)
            with self._asking.answer(endpoint, reference, begin) as response:
                place = _upload_place(response, begin.url)
            separator = "&" if urlsplit(place).query else "?"
            place = f"{place}{separator}digest={quote(str(descriptor.digest), safe='')}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
            with self._asking.answer(endpoint, reference, Request("PUT", place, headers, data, (201,), push=True)):
                pass
            if not self._has(endpoint, reference, there, len(data)):
                raise ImageError(f"it took the blob {descriptor.digest}, and has it not")

        self._asking.anywhere(reference, f"pushing {descriptor.digest}", push)
        return descriptor

    def manifest(self, reference: Reference, media_type: str, data: bytes) -> bool:
        """Put a manifest under the tag of `reference`, or under its digest where it has no tag.

        Returns whether the registry lists it by itself among what refers to its subject.
        """
        digest = Digest.of(data)
        url_path = f"manifests/{reference.tag or digest}"

        def push(endpoint: Endpoint) -> bool:
            url = endpoint.url(reference, url_path)
            headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
            with self._asking.answer(endpoint, reference, Request("PUT", url, headers, data, (201,), True)) as response:
                said = response.headers.get("Docker-Content-Digest")
                listed = response.headers.get(_SUBJECT) is not None
            if said not in (None, str(digest)):
                raise ImageError(f"it took the manifest for {said:.100}, and it is {digest}")
            back = Request("GET", endpoint.url(reference, f"manifests/{digest}"), {"Accept": media_type}, push=True)
            with self._asking.answer(endpoint, reference, back) as response:
                got = Digest("sha256", hashlib.sha256(response.read(MAX_MANIFEST + 1)).hexdigest())
            if got != digest:
                raise ImageError(f"it took the manifest {digest}, and gives back {got}")
            return listed

        return self._asking.anywhere(reference, f"pushing the manifest {reference.tag or digest}", push)

    def _has(self, endpoint: Endpoint, reference: Reference, url: str, size: int) -> bool:
        request = Request("HEAD", url, {}, None, (200, 404), push=True)
        with self._asking.answer(endpoint, reference, request) as response:
            return bool(response.status == 200 and response.headers.get("Content-Length") in (None, str(size)))


_NOTHING = {"Content-Length": "0"}


def _upload_place(response: Response, asked: str) -> str:
    """Where a registry wants an upload; never by plain http where it was asked by https."""
    place = urljoin(asked, response.headers.get("Location") or "")
    if not response.headers.get("Location"):
        raise ImageError("it did not say where to upload to")
    if urlsplit(place).scheme not in ("https", urlsplit(asked).scheme) or not urlsplit(place).netloc:
        raise ImageError(f"it wants an upload at {place:.200}, which is refused")
    return place

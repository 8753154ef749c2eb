"""Verifying that an image is signed by somebody who counts.  What proves it is kept, so that it can be proved again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lkbuild.digest import Digest, canonical
from lkbuild.errors import LkbuildError, TrustError
from lkbuild.plan.kinds import Verify
from lkbuild.sources.signatures import Looked
from lkbuild.steps.work import Work
from lkbuild.store import Result, Store
from lkbuild.trust.bundle import MAX_BUNDLE
from lkbuild.trust.judge import Candidate, judge_image

_MAX_RECORD = 64 << 10


def verify(params: Verify, work: Work) -> None:
    """Outputs `record`, and what it is by: `bundle`, or `payload` and `signature`.

    TrustError where no signature counts, with every place that was looked at and why that is none.
    """
    root = work.inputs["root"].path if "root" in work.inputs else None
    found, by = first_that_counts(params, work.doors.signatures(params.reference, params.subject.digest), root)
    work.output("record").write_bytes(_record(params, found, by))
    work.output("payload" if found.form == "classic" else "bundle").write_bytes(found.data)
    if found.form == "classic":
        work.output("signature").write_text(found.signature, "utf-8")


def first_that_counts(
    params: Verify, signatures: Iterable[Candidate | Looked], root: Path | None
) -> tuple[Candidate, str]:
    """The first signature that counts, and who made it; TrustError where none does.  The rest is not fetched."""
    looked: list[Looked] = []
    for found in signatures:
        if isinstance(found, Looked):
            looked.append(found)
            continue
        try:
            return found, judge_image(params.policy, params.subject, found, root)
        except LkbuildError as error:
            looked.append(Looked(found.place, error.message))
    raise _unsigned(params, looked)


def _unsigned(params: Verify, looked: Iterable[Looked]) -> TrustError:
    image, wanted = f"{params.reference} ({params.subject.digest})", params.policy.words(params.called)
    lines = [f"{image} is not signed by whom it must be: {wanted}"]
    lines += [f"  {each.place}: {each.found}" for each in looked]
    return TrustError(
        "\n".join(lines),
        f"sign it (`lkbuild sign {params.reference} --key KEY`), or name who did under trust.keys or trust.identities",
    )


def still_verified(params: Verify, result: Result, store: Store, root: Digest | None) -> bool:
    """Whether a result on record still proves itself: what was kept is judged again, the verdict is not believed."""
    try:
        record = store.read(result["record"].digest)
        form = str(json.loads(record[:_MAX_RECORD])["form"])
        path = store.path(root) if root else None
        candidate = _kept(form, result, store)
        return record == _record(params, candidate, judge_image(params.policy, params.subject, candidate, path))
    except (LkbuildError, OSError, ValueError, KeyError, TypeError):
        return False


def _record(params: Verify, candidate: Candidate, by: str) -> bytes:
    """What was verified, and by what.  NB: not where it was found: the same signature is the same proof."""
    return canonical(
        {
            "subject": params.subject,
            "by": by,
            "form": candidate.form,
            "evidence": Digest.of(candidate.data),
            "signature": candidate.signature,
        }
    )


def _kept(form: str, result: Result, store: Store) -> Candidate:
    """The signature that was kept; KeyError where there is none."""
    name = "payload" if form == "classic" else "bundle"
    if result[name].size > MAX_BUNDLE:
        raise ValueError(f"{name} of {result[name].size} bytes")
    data = store.read(result[name].digest)
    signature = store.read(result["signature"].digest).decode() if form == "classic" else ""
    return Candidate("classic" if form == "classic" else "bundle", "the cache", data, signature)

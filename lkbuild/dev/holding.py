"""What a machine holds, as keys; and what of it can be put into a running one when they change."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from lkbuild.archive.flatten import LayerFile
from lkbuild.digest import Digest
from lkbuild.engine.session import Session
from lkbuild.errors import UsageError
from lkbuild.frozen import frozen
from lkbuild.oci.config import Place, bundle_documents
from lkbuild.oci.document import document_text
from lkbuild.oci.runtime import root_mounts, runtime_document
from lkbuild.plan.kinds import Bundle, Rootfs, Tree
from lkbuild.plan.segments import DESCRIPTIONS
from lkbuild.plan.step import Step

_SERVICES = "containers/services/"
_NAME, _PATH = re.compile(r"[A-Za-z0-9._-]+"), re.compile(r"[A-Za-z0-9._/-]+")
"""What can be a word of a request to the agent, and part of overlayfs' options.  A tree may be another container's."""


_NOT_PLAIN = "its `runtime` does more than start it, or it lies at a path with letters other than A-Z a-z 0-9 . _ -"


@frozen
class Service:
    """A service: where its files lie (without a leading slash), the layers they come from, and its documents.

    `plain` where its runtime.json lays out its root and does nothing else, so that a second container can be made
    beside the one that runs.
    """

    name: str
    tree: str
    layers: tuple[Digest, ...]
    config: bytes
    plain: bool


@frozen
class Holding:
    """All of a machine: its services by name, and the keys of everything else by the names of its steps."""

    services: Mapping[str, Service]
    rest: Mapping[str, str]


@frozen
class Verdict:
    """What is to be done to a machine: services to be swapped; or reasons why it has to boot anew."""

    swap: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def holding(session: Session) -> Holding:
    """What the machine of a session holds; the layers of its services are made where they are not there."""
    outputs = session.graph.outputs[0].files
    segments = [session.steps[name] for file in outputs for name in _segments(session.steps[file.step])]
    trees = {step.params.prefix: step for step in segments if isinstance(step.params, Tree)}
    services: dict[str, Service] = {}
    rest: dict[str, str] = {}
    for step in (*segments, *(session.steps[file.step] for file in outputs if not file.recipe)):
        if isinstance(step.params, Bundle) and step.params.directory.startswith(_SERVICES):
            service = _service(step.params, _layers(trees[step.params.root], session))
            services[service.name] = service
        elif not (isinstance(step.params, Tree) and step.params.prefix.startswith(_SERVICES)):
            # Where the key is not known, something it depends on has to be made first, so it is not what it was.
            rest[step.name] = str(session.key(step.name) or "new")
    return Holding(services, rest)


def service_names(session: Session) -> tuple[str, ...]:
    """What the services of the machine are called; nothing is made for it."""
    bundles = (step.params.directory for step in session.graph.steps if isinstance(step.params, Bundle))
    return tuple(path.removeprefix(_SERVICES) for path in bundles if path.startswith(_SERVICES))


def _segments(initrd: Step) -> tuple[str, ...]:
    """The steps whose segments make an initrd, but for what only tells of it; nothing for any other step.

    A machine in which services were swapped keeps the list of what it was booted with.
    """
    if not isinstance(initrd.params, Rootfs):
        return ()
    names = (i.step for i in initrd.inputs if i.step and i.role.startswith("segment"))
    return tuple(n for n, owner in zip(names, initrd.params.names, strict=True) if owner not in DESCRIPTIONS)


def _layers(tree: Step, session: Session) -> tuple[Digest, ...]:
    found = []
    for wanted in tree.inputs:
        if not wanted.role.startswith("layer"):
            continue
        name, output = wanted.step or "", wanted.output or ""
        if name not in session.results or not session.place.store.has(session.blob(name, output)):
            session.make(name)
        found.append(session.blob(name, output).digest)
    return tuple(found)


def _service(bundle: Bundle, layers: tuple[Digest, ...]) -> Service:
    place = Place(bundle.directory, bundle.root, bundle.readonly)
    config, runtime = bundle_documents(bundle.entry, bundle.image, place, dict(bundle.ids), dict(bundle.volumes))
    name = bundle.directory.removeprefix(_SERVICES)
    alone = document_text(runtime_document(None, root_mounts(bundle.directory, bundle.root, bundle.readonly)))
    plain = runtime == alone and all((_NAME.fullmatch(name), _PATH.fullmatch(bundle.root)))
    return Service(name, bundle.root, layers, config, plain)


def files_of(service: Service, session: Session) -> list[LayerFile]:
    """The layers of a service as files."""
    return [LayerFile(session.place.store.path(digest), f"layer {digest}") for digest in service.layers]


def compare(old: Holding, new: Holding) -> Verdict:
    """What has to be done to a machine that holds `old` to make it hold `new`."""
    reasons = [_difference(name, old.rest, new.rest) for name in sorted(old.rest.keys() | new.rest.keys())]
    reasons += [
        f"service {name} {'is new' if name in new.services else 'is gone'}"
        for name in sorted(old.services.keys() ^ new.services.keys())
    ]
    changed = [
        name
        for name, service in new.services.items()
        if name in old.services and replace(service, tree="") != replace(old.services[name], tree="")
    ]
    reasons += [
        f"service {name}: {_NOT_PLAIN}"
        for name in changed
        if not (new.services[name].plain and old.services[name].plain)
    ]
    found = tuple(filter(None, reasons))
    return Verdict((), found) if found else Verdict(tuple(changed))


def _difference(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if name not in old:
        return f"{name} is new"
    if name not in new:
        return f"{name} is gone"
    return f"{name} changed" if old[name] != new[name] else ""


def config_for(service: Service, container: str) -> bytes:
    """A service's config.json for a second container beside the first: a control group is not shared.

    Its root stays `rootfs`, which is relative to the container's own directory.
    """
    document = json.loads(service.config)
    linux = document.get("linux", {})
    if not isinstance(linux, dict) or not linux.get("cgroupsPath"):
        return service.config
    linux["cgroupsPath"] = f"{linux['cgroupsPath']}.{container}"
    return json.dumps(document).encode()


def check_name(services: Collection[str], name: str | None) -> None:
    """UsageError where no service has the name that was asked for."""
    if name is not None and name not in services:
        raise UsageError(f"the spec has no service {name!r}", f"it has {', '.join(services) or 'none'}")

"""The machine that `dev` keeps running: booted with the agent beside its own initrd, its services swapped singly."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from lkbuild.dev.agent import Agent, Asked
from lkbuild.dev.holding import Holding, Service, config_for, files_of
from lkbuild.dev.trees import Delta, Listing, listing, write_delta
from lkbuild.engine.session import Session
from lkbuild.errors import MachineError
from lkbuild.frozen import frozen
from lkbuild.machine.guest import Guest, Machine
from lkbuild.machine.media import Media
from lkbuild.machine.options import MachineOptions

Tell = Callable[[str], None]

BOOT_SECONDS = 300.0
"""How long a machine may take to come up before somebody is told."""

_ANSWER_SECONDS = 120.0
_IDLE_SECONDS = 0.7
"""How long a machine is left alone after a swap before the next container is made: the answer comes first."""
_IN_MEMORY = 16 << 20
_CHUNK = 1 << 18


@frozen
class Boot:
    """How machines are started: the medium without and the segment with the agent, options, the state directory."""

    options: MachineOptions
    media: Media
    segment: Path
    directory: Path

    def machine(self) -> Machine:
        """A machine whose initrd has the agent, written anew; the build's own files are only read."""
        self.directory.mkdir(parents=True, exist_ok=True)
        initrd = self.directory / "dev-initrd.img"
        if self.media.initrd is None:
            raise MachineError("there is no initrd to boot", "dev boots kernel+initrd")
        with initrd.open("wb") as out:
            for part in (self.media.initrd, self.segment):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out, _CHUNK)
                out.write(bytes(-out.tell() % 4))
        return Machine.of(self.options, replace(self.media, initrd=initrd), self.directory)


@dataclass(slots=True)
class _Running:
    """A service in the machine: the files it was booted with, the container that runs, and the one that waits."""

    tree: str
    files: Listing
    current: str = "boot"
    next: str | None = None
    config: bytes = b""
    making: Asked | None = None
    leaving: str | None = None
    count: int = 0


class Running:
    """A booted machine.  As a context, it is ended when the context is left."""

    def __init__(self, boot: Boot, holds: Holding, session: Session, tell: Tell) -> None:
        """Start it; MachineError, ToolError where that cannot be.  `lasting`: it has disks, which outlive it."""
        self.holds = holds
        self.up = False
        self.directory = boot.directory
        self.lasting = bool(boot.options.disks)
        self.began = time.monotonic()
        self._tell = tell
        self._touched = self.began
        self._services = {
            name: _Running(service.tree, listing(files_of(service, session)))
            for name, service in holds.services.items()
            if service.plain
        }
        machine = boot.machine()
        self._agent = Agent()
        try:
            self.guest = Guest(machine, boot.directory / "console.log", self._agent.ports)
        except BaseException:
            self._agent.close()
            raise

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, if it runs."""
        self.guest.close()
        self._agent.close()

    # -- what it says --------------------------------------------------------------------------------------------------

    def attend(self, seconds: float, follow: Iterable[str]) -> None:
        """Listen for `seconds` at most, and tell what services say; `follow` are those to be heard once it is up."""
        self._agent.wait(seconds)
        self._agent.receive()
        for word in self._agent.words():
            if word == "up" and not self.up:
                self.up, self._touched = True, time.monotonic()
                self._tell(f"the machine is up after {time.monotonic() - self.began:.1f} s")
                for name in follow:
                    self._agent.ask(("follow", name))
            elif said := told(word):
                self._tell(said)

    # -- swapping ------------------------------------------------------------------------------------------------------

    def swap(self, name: str, service: Service, session: Session) -> Delta:
        """Put another version of a service in, and start it in place of the one that runs.

        Its files are those it was booted with, and over them all that is different since: a container of them waits
        already, or is made now.  MachineError where the machine does not do it.
        """
        running = self._services[name]
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as archive:
            delta = write_delta(running.files, files_of(service, session), archive)  # type: ignore[arg-type]
            self._ready(name, running, service)
            old, new = running.current, running.next
            words = ("swap", name, old, new, len(delta.paths), delta.size)
            asked = self._agent.ask(words, _pieces(delta.paths, archive))
            running.next = None
            self._agent.answered(asked, _ANSWER_SECONDS)
        running.current, running.leaving = new or "", old
        self.holds = replace(self.holds, services={**self.holds.services, name: service})
        self._touched = time.monotonic()
        return delta

    def _ready(self, name: str, running: _Running, service: Service) -> None:
        """See that a container with this configuration waits."""
        if running.making is not None:
            making, running.making = running.making, None
            try:
                self._agent.answered(making, _ANSWER_SECONDS)
            except MachineError:
                self._drop(name, running)
        if running.next is not None and running.config != service.config:
            self._drop(name, running)
        if running.next is None:
            self._agent.answered(self._make(name, running, service), _ANSWER_SECONDS)
            running.making = None

    def _make(self, name: str, running: _Running, service: Service) -> Asked:
        running.count += 1
        running.next, running.config = f"{name}.{running.count}", service.config
        config = config_for(service, running.next)
        words = ("standby", name, running.next, running.tree, len(config))
        running.making = self._agent.ask(words, (config,))
        return running.making

    def _drop(self, name: str, running: _Running) -> None:
        self._agent.ask(("drop", name, running.next))
        running.next = None

    def prepare(self, ahead: Iterable[str]) -> None:
        """When it was left alone for a moment: have a container wait for each service of `ahead`, and for each that
        was swapped once; then put old ones away.
        """
        if not self.up or time.monotonic() - self._touched < _IDLE_SECONDS:
            return
        for name, running in self._services.items():
            if running.next is None and (running.count or name in ahead):
                self._make(name, running, self.holds.services[name])
            if running.leaving is not None:
                self._agent.ask(("drop", name, running.leaving))
                running.leaving = None

    # -- looking -------------------------------------------------------------------------------------------------------

    def sums(self, name: str) -> dict[str, str]:
        """The SHA-256 of every file of the container that runs a service, by its path there, and where links lead.

        For services that were swapped at least once.
        """
        lines = self._agent.answered(self._agent.ask(("sums", self._services[name].current)), _ANSWER_SECONDS)
        pairs = (line.partition("  ./") for line in lines)
        found = {path: what for what, _, path in pairs if what != "link"}
        links = (line.removeprefix("link  ./").partition(" -> ") for line in lines if line.startswith("link  "))
        return {**found, **{path: target for path, _, target in links}}


def told(word: str) -> str | None:
    """What a guest says of a service, for people; None for anything else.  NB: it can say what it wants."""
    if word.startswith("="):
        name, _, line = word[1:].partition(" ")
        return f"{name} | {line}"
    if word.startswith("ended "):
        return f"{word.split(' ')[1]} has ended; what it said last is above, and the next change starts it"
    return None


def _pieces(paths: bytes, archive: IO[bytes]) -> Iterator[bytes]:
    yield paths
    archive.seek(0)
    while piece := archive.read(_CHUNK):
        yield piece


def console_end(directory: Path, lines: int = 12) -> tuple[str, ...]:
    """The last lines of a machine's console."""
    try:
        said = (directory / "console.log").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    kept = ["".join(c for c in line if c.isprintable()) for line in said if line.strip()]
    return tuple(kept[-lines:])

"""`dev`: build, boot, and then on every save build again and change the machine that runs.

What is built is built exactly as without it; a change that can be swapped is put into the machine before that.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from lkbuild.dev.holding import Holding, check_name, compare, holding, service_names
from lkbuild.dev.running import BOOT_SECONDS, Boot, Running, console_end
from lkbuild.dev.watching import Vigil, Watched, shown
from lkbuild.engine.events import Listener, Said, Told, nobody
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import Prepared
from lkbuild.engine.project import Show
from lkbuild.engine.report import Failed, Report, size_words
from lkbuild.engine.stamp import Watch
from lkbuild.errors import ImageError, LkbuildError, MachineError, SpecError, StepError
from lkbuild.frozen import frozen
from lkbuild.machine.guest import GRACE

_TICK, _ENDING = 0.05, 1.0
_ANSWERING = 0.4
"""Seconds between a swap and the rest of the build, in which the processors are left to what starts in the guest."""

Preparing = Callable[[BuildOptions, Listener, Watch], Prepared]


@frozen
class Doing:
    """What the loop needs done: `prepare` what was asked for, `build` it as ever (returns what to exit with), and how
    to `boot` what was built.  `service` is the one to be heard, None for all.  Without `swap` all that changes boots.
    """

    options: BuildOptions
    prepare: Preparing
    build: Callable[[], int]
    boot: Callable[[], Boot]
    service: str | None = None
    swap: bool = True


class Loop:
    """The state of the loop: what is watched, and the machine that runs, if one does."""

    def __init__(self, doing: Doing, show: Show) -> None:
        self._doing = doing
        self._show = show
        self._watched = Watched(doing.options.cache)
        self._vigil = Vigil(self._watched)
        self.running: Running | None = None
        self._complained = False
        self._pending = False

    # -- one round -----------------------------------------------------------------------------------------------------

    def round(self, changed: tuple[str, ...] = ()) -> None:
        """Build what there is now and bring the machine up to it.  LkbuildError for what is wrong: the machine stays.

        Services are swapped first, then all is built: the answer is what somebody waits for.
        """
        began = time.monotonic()
        if changed:
            self._tell(f"changed: {', '.join(shown(changed, Path.cwd())[:5])}{' …' * (len(changed) > 5)}")
        if self.running is not None and self.running.guest.ended():
            self._close()
        before, watch, whole = self._watched.now(), Watch(), False
        try:
            prepared = self._doing.prepare(self._doing.options, self._quieter, watch)
            whole = True
        finally:
            self._watched.learn(watch.whole(0), before, whole)
        try:
            check_name(service_names(prepared.session), self._doing.service)
            wanted = holding(prepared.session) if self.running is not None else None
            reasons = self._change(self.running, wanted, prepared, began) if self.running and wanted else ()
        finally:
            prepared.close()
        if self._doing.build():
            self._tell_kept()
        elif self.running is None or reasons:
            self._boot(reasons)

    def _change(self, running: Running, wanted: Holding, prepared: Prepared, began: float) -> tuple[str, ...]:
        """Swap what can be swapped; returns the reasons why the machine has to boot anew, if it has to."""
        verdict = compare(running.holds, wanted)
        if not self._doing.swap:
            return verdict.reasons or tuple(f"service {name} changed" for name in verdict.swap)
        if verdict.swap and not running.up:
            self._pending = True  # until the machine is up
            return ()
        for name in verdict.swap:
            self._swap(running, name, wanted, prepared, began)
        answering = time.monotonic() + _ANSWERING * bool(verdict.swap)
        while (left := answering - time.monotonic()) > 0:
            running.attend(left, ())
        return verdict.reasons

    def _swap(self, running: Running, name: str, wanted: Holding, prepared: Prepared, began: float) -> None:
        delta = running.swap(name, wanted.services[name], prepared.session)
        took = time.monotonic() - began
        count = delta.count + len(delta.removed)
        self._tell(
            f"{name}: swapped in {took:.2f} s; it differs from what was booted in "
            f"{count} {'path' if count == 1 else 'paths'} ({size_words(delta.size)})"
        )

    # -- the machine ---------------------------------------------------------------------------------------------------

    def _boot(self, reasons: tuple[str, ...]) -> None:
        """Boot what was built, in place of the machine that runs, for `reasons`."""
        if self._watched.changed():
            return  # while it was built: the next look sees it, and builds again
        prepared = self._doing.prepare(self._doing.options, nobody, Watch())
        try:
            wanted = holding(prepared.session)
            if self.running is not None:
                self._tell(f"booting anew: {'; '.join(reasons)}")
                if self.running.lasting:
                    self.running.guest.powerdown()
                self._close()
            self._complained = self._pending = False
            self.running = Running(self._doing.boot(), wanted, prepared.session, self._tell)
        finally:
            prepared.close()

    def _close(self) -> None:
        if self.running is not None:
            self.running.close()
            self.running = None

    def attend(self) -> None:
        """What is to be done between changes: tell what the machine says, and whether it still runs."""
        running = self.running
        pause = min(_TICK, self._vigil.pause())
        if running is None:
            time.sleep(pause)
            return
        try:
            self._attend(running, pause)
        except MachineError as error:
            # One that has just ended says so at the next look.
            if not running.guest.ended(_ENDING):
                self._show(Failed(error))

    def _attend(self, running: Running, pause: float) -> None:
        followed = [self._doing.service] if self._doing.service else list(running.holds.services)
        running.attend(pause, followed)
        if running.guest.ended():
            self._tell_end(running, "the machine has ended; the next change boots it anew")
            self._close()
        elif not running.up and not self._complained and time.monotonic() - running.began > BOOT_SECONDS:
            self._complained = True
            self._tell_end(
                running,
                f"the machine is not up after {BOOT_SECONDS:g} s (has its kernel the driver virtio_console?);"
                " a change that is no service's boots it anew",
            )
        elif self._pending and running.up:
            self._pending = False
            self.attempt()
        elif self._doing.swap:
            only = len(running.holds.services) == 1
            running.prepare([self._doing.service] if self._doing.service else running.holds.services if only else ())

    def watch(self) -> None:
        """Go on for ever: attend to the machine, and do a round for every change."""
        while True:
            self.attend()
            if self._vigil.pause() == 0 and (changed := self._vigil.look()):
                self.attempt(changed)

    def attempt(self, changed: tuple[str, ...] = ()) -> None:
        """A round; what is wrong is shown, and the machine stays."""
        try:
            self.round(changed)
        except LkbuildError as error:
            self._show(Failed(error))
            self._tell_kept()

    def finish(self) -> None:
        """Power the machine off."""
        if self.running is not None:
            self._tell(f"powering off; the machine is ended in {GRACE:g} s, or with the next Ctrl-C")
            try:
                self.running.guest.powerdown()
            finally:
                self._close()

    # -- telling -------------------------------------------------------------------------------------------------------

    def _tell(self, text: str) -> None:
        self._show(Told(text))

    def _tell_end(self, running: Running, text: str) -> None:
        for line in console_end(running.directory):
            self._tell(f"  | {line}")
        self._tell(text)

    def _tell_kept(self) -> None:
        if self.running is not None:
            self._tell("the machine goes on as it was")

    def _quieter(self, report: Report) -> None:
        """Warnings come with the build that follows."""
        if not isinstance(report, Said):
            self._show(report)


def dev(doing: Doing, show: Show) -> int:
    """The whole of it, until it is interrupted: KeyboardInterrupt then, when the machine is off."""
    before = signal.signal(signal.SIGHUP, _interrupt)
    loop = Loop(doing, show)
    try:
        try:
            loop.round()
        except (SpecError, ImageError, StepError) as error:
            show(Failed(error))
        loop.watch()
    finally:
        loop.finish()
        signal.signal(signal.SIGHUP, before)
    return 0


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

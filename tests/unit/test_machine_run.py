"""`run` as a program of its own: its exit status, its signals, the terminal it leaves behind."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.qemu import fake_qemu
from tests.unit.test_machine_boot import SECTOR

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from lkbuild.errors import LkbuildError
from lkbuild.machine.media import find
from lkbuild.machine.options import MachineOptions
from lkbuild.machine.run import run
def tell(line):
    print("TOLD " + line, file=sys.stderr, flush=True)
try:
    sys.exit(run(MachineOptions(accel="tcg", memory=64), find(Path(sys.argv[1])), None, tell, float(sys.argv[2])))
except LkbuildError as error:
    tell(str(error))
    sys.exit(1)
"""


@contextlib.contextmanager
def running(directory: Path, behaviour: str | None, grace: float = 10) -> Iterator[subprocess.Popen[str]]:
    """`run` with pipes for its standard streams; under the real QEMU where the behaviour is None."""
    with subprocess.Popen(
        argv(directory, grace),
        cwd=ROOT,
        env=environment(directory, behaviour),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def argv(directory: Path, grace: float = 10) -> list[str]:
    (directory / "m-bios.img").write_bytes(SECTOR.replace(b"\xb8\x00\x20", b"\xb8\x00\x00").ljust(1 << 20, b"\0"))
    return [sys.executable, "-c", PROGRAM, str(directory / "m"), str(grace)]


def environment(directory: Path, behaviour: str | None) -> dict[str, str]:
    if behaviour is not None:
        fake_qemu(directory / "bin", behaviour)
    return os.environ | {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}"}


def hear(process: subprocess.Popen[str], word: str) -> None:
    """Read its output until a line has the word."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    pytest.fail(f"it ended without saying {word}: {process.stderr.read() if process.stderr else ''}")


def qemu_pid(directory: Path) -> int:
    return int((directory / "m-state/qemu.pid").read_text())


def test_a_machine_that_powers_off_is_success(tmp_path: Path) -> None:
    with running(tmp_path, "off") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "FAKE CONSOLE\n", "")


def test_a_qemu_that_fails_is_an_error(tmp_path: Path) -> None:
    with running(tmp_path, "fail") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "could not open the moon" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_presses_the_power_button(number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path, "") as process:
        hear(process, "CONSOLE")
        # As Ctrl-C does, to all of the foreground: QEMU is to hear of it from us alone.
        os.killpg(process.pid, number)
        hear(process, "HEARD system_powerdown")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "TOLD powering off" in err
    assert not Path(f"/proc/{qemu_pid(tmp_path)}").exists()


def test_after_the_grace_the_machine_is_ended(tmp_path: Path) -> None:
    with running(tmp_path, "deaf", grace=0.5) as process:
        hear(process, "CONSOLE")
        process.terminate()
        hear(process, "HEARD quit")
        assert process.wait(20) == 128 + signal.SIGTERM


def test_the_second_signal_ends_the_machine(tmp_path: Path) -> None:
    with running(tmp_path, "deaf", grace=60) as process:
        hear(process, "CONSOLE")
        process.send_signal(signal.SIGINT)
        hear(process, "HEARD system_powerdown")
        process.send_signal(signal.SIGINT)
        hear(process, "HEARD quit")
        assert process.wait(20) == 128 + signal.SIGINT


def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, "") as first:
        hear(first, "CONSOLE")
        with running(tmp_path, "") as second:
            _, err = second.communicate(timeout=20)
        assert second.returncode == 1
        assert f"is running already (process {qemu_pid(tmp_path)})" in err
        assert first.poll() is None
        first.terminate()
        assert first.wait(20) == 128 + signal.SIGTERM


def test_a_killed_run_leaves_its_machine_locked(tmp_path: Path) -> None:
    with running(tmp_path, "") as process:
        hear(process, "CONSOLE")
        process.kill()
        process.wait()
        left = qemu_pid(tmp_path)
        with running(tmp_path, "off") as second:
            _, err = second.communicate(timeout=20)
        assert f"is running already (process {left})" in err
        os.kill(left, signal.SIGKILL)
    for _ in range(100):
        with running(tmp_path, "off") as third:
            if third.wait(20) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the state stays locked")


class Terminal:
    """`run` in the foreground of a terminal that we hold the other end of."""

    def __init__(self, directory: Path, behaviour: str | None) -> None:
        self.end, far = pty.openpty()
        self.before = termios.tcgetattr(self.end)
        self.heard = b""
        self.process = subprocess.Popen(
            argv(directory, 1),
            cwd=ROOT,
            env=environment(directory, behaviour),
            stdin=far,
            stdout=far,
            stderr=far,
            preexec_fn=lambda: os.login_tty(far),
        )
        os.close(far)

    def hear(self, word: bytes, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while word not in self.heard:
            assert time.monotonic() < deadline, self.heard
            if select.select([self.end], [], [], 0.2)[0]:
                self.heard += os.read(self.end, 4096)

    def press(self, keys: bytes) -> None:
        os.write(self.end, keys)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.end) == self.before


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.end)


def test_a_terminal_is_as_it_was_when_qemu_is_killed(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "raw")
    terminals.append(terminal)
    terminal.hear(b"Ctrl-A X ends the machine")
    terminal.hear(b"RAW")
    assert not terminal.is_as_before()
    os.kill(qemu_pid(tmp_path), signal.SIGKILL)
    terminal.hear(b"TOLD QEMU ended with status -9")
    assert terminal.process.wait(20) == 1
    assert terminal.is_as_before()


@pytest.mark.boot
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="the real QEMU")
def test_the_keys_of_the_real_console(terminals: list[Terminal], tmp_path: Path) -> None:
    """The guest writes a line and halts; Ctrl-C is the guest's, Ctrl-A X ends it."""
    terminal = Terminal(tmp_path, None)
    terminals.append(terminal)
    terminal.hear(b"BOOTED-OK")
    assert not terminal.is_as_before()
    terminal.press(b"\x03")
    with pytest.raises(subprocess.TimeoutExpired):
        terminal.process.wait(1)
    terminal.press(b"\x01x")
    assert terminal.process.wait(20) == 0
    assert terminal.is_as_before()


@pytest.mark.boot
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="the real QEMU")
def test_the_real_qemu_obeys_a_signal(tmp_path: Path) -> None:
    with running(tmp_path, None, grace=0.5) as process:
        hear(process, "BOOTED-OK")
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{tmp_path / 'm-state/qemu.pid'}").exists()

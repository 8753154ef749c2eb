"""`lkbuild dev` as a process, with a machine that is no virtual one (tests.fakes.machine) but runs what was built."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lkbuild.cli.developing import segment
from lkbuild.dev.holding import holding
from lkbuild.dev.running import Boot, Running
from lkbuild.engine.events import nobody
from lkbuild.engine.options import BuildOptions
from lkbuild.engine.prepare import Prepared, prepare
from lkbuild.machine import media
from lkbuild.machine.options import MachineOptions
from lkbuild.sources import Registry, RegistryOptions
from tests.fakes.machine import archives, fake_machine
from tests.support.building import digests, run
from tests.support.servers import free_port, served

pytestmark = pytest.mark.network
SECONDS = 120.0

SPEC = """\
kernel: {{image: "@pkg:./kernel", tar: none, cmdline: console=ttyS0}}
services:
  - name: web
    image: "@pkg:./web"
    command: [/bin/busybox, httpd, -f, -v, -p, "{port}", -h, /srv]
  - {{name: idle, image: "@pkg:./web", command: [/bin/busybox, sleep, "100000"]}}
files:
  - {{path: etc/motd, source: motd}}
"""


class Dev:
    """`lkbuild dev` at work in a project of its own."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache, self.port = root, cache, free_port()
        self.page = root / "web" / "root" / "srv" / "index.html"
        self.spec = root / "web.yml"
        for directory in ("kernel/root", "web/root/bin", "web/root/srv"):
            (root / directory).mkdir(parents=True)
        (root / "kernel" / "build.yml").write_text("image: kernel\n")
        (root / "kernel" / "root" / "kernel").write_text("the host's\n")
        (root / "web" / "build.yml").write_text("image: web\n")
        shutil.copy("/usr/bin/busybox", root / "web" / "root" / "bin")
        (root / "motd").write_text("hello\n")
        self.page.write_text("start\n")
        self.spec.write_text(SPEC.format(port=self.port))
        fake_machine(root / "fake")
        self.process: subprocess.Popen[bytes] | None = None

    def lkbuild(self, verb: str, *words: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "LKBUILD_CACHE": str(self.cache), "PYTHONUNBUFFERED": "1"}
        environment["PATH"] = f"{self.root / 'fake'}:{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.root / f"{verb}.out").open("wb") as out:
            command = [sys.executable, "-m", "lkbuild", verb, *words, "web.yml"]
            return subprocess.Popen(command, cwd=self.root, stdout=out, stderr=out, env=environment)

    def start(self, *words: str) -> None:
        self.process = self.lkbuild("dev", "--accel", "tcg", "--dir", "out", *words)
        self.wait_for("the machine is up")
        self.wait_served("start")

    @property
    def said(self) -> str:
        return (self.root / "dev.out").read_text()

    def wait_for(self, text: str, after: int = 0) -> None:
        """Wait until it is said; several texts with `|` between are alternatives."""
        end = time.monotonic() + SECONDS
        while not any(each in self.said[after:] for each in text.split("|")):
            assert self.process is not None
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, f"{text!r} is not in:\n{self.said[after:]}"
            time.sleep(0.02)

    def served(self) -> str:
        return served(self.port)

    def wait_served(self, text: str) -> None:
        end = time.monotonic() + SECONDS
        while text not in (page := self.served()):
            assert time.monotonic() < end, f"{text!r} is not served but {page!r}:\n{self.said}"
            time.sleep(0.02)

    @property
    def machine(self) -> int:
        """QEMU's process."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1, self.said
        return int(children[0])

    def stop(self, number: int = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def dev(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to run containers without a virtual machine")
    for program in ("busybox", "runc", "unshare", "pivot_root", "cpio"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            pytest.skip(f"needs {program}")
    kept = os.environ.get("LKBUILD_TEST_CACHE")
    project = Dev(tmp_path, Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "packages-cache")
    try:
        yield project
    finally:
        if project.process is not None and project.process.poll() is None:
            project.process.send_signal(signal.SIGINT)
            project.process.wait(60)


def test_ten_edits_are_served_without_a_reboot_and_leave_the_build_as_it_is(dev: Dev) -> None:
    dev.start("--service", "web")
    machine = dev.machine
    for number in range(10):
        dev.page.write_text(f"edit {number}\n")
        dev.wait_served(f"edit {number}")
    assert dev.machine == machine
    # A build may have met the next edit already: then there is nothing to do for that.
    dev.wait_for("out/web-cmdline|nothing to do", dev.said.rindex("web: swapped in"))
    assert dev.said.count("web: swapped in") == 10
    assert dev.said.count("idle: swapped in") == 10, "it runs the same image"
    assert "web | " in dev.said, "httpd -v tells of requests"
    assert "idle | " not in dev.said
    assert dev.stop() == 130
    assert not Path(f"/proc/{machine}").exists()
    built = dev.lkbuild("build", "--dir", "plain", "--cache", str(dev.root / "other"))
    assert built.wait(SECONDS) == 0
    files = {name: digest for name, digest in digests(dev.root / "out").items() if "/" not in name}
    assert files == digests(dev.root / "plain"), "the same bytes as without dev"


def test_mistakes_leave_the_machine_running(dev: Dev) -> None:
    dev.start()
    machine, text = dev.machine, dev.spec.read_text()
    for wrong, message in (
        ("services: [", "web.yml:"),
        (text.replace("@pkg:./web", "@pkg:./wbe"), "wbe"),
        (text.replace("motd}", "missing}"), "cannot read source"),
        (text.replace("services:", "servces:"), "did you mean"),
    ):
        at = len(dev.said)
        dev.spec.write_text(wrong)
        dev.wait_for("the machine goes on as it was", at)
        assert message in dev.said[at:]
        assert "start" in dev.served()
    at = len(dev.said)
    dev.spec.unlink()
    dev.wait_for("the machine goes on as it was", at)
    dev.page.write_text("meanwhile\n")
    dev.spec.write_text(text)
    dev.wait_served("meanwhile")
    assert dev.machine == machine
    assert "Traceback" not in dev.said


def test_what_is_no_change_does_nothing(dev: Dev) -> None:
    dev.start()
    at = len(dev.said)
    dev.page.with_name(".index.html.swp").write_text("x")
    dev.page.with_name("4913").write_text("")
    dev.page.with_name("4913").unlink()
    (dev.root / "unrelated").write_text("x")
    time.sleep(1)
    assert "changed" not in dev.said[at:]


def test_what_cannot_be_swapped_boots_anew_and_says_why(dev: Dev) -> None:
    dev.start()
    machine = dev.machine
    (dev.root / "motd").write_text("other\n")
    dev.wait_for("booting anew: files:web changed")
    dev.wait_for("the machine is up", dev.said.index("booting anew"))
    assert dev.machine != machine
    dev.page.write_text("after\n")
    dev.wait_served("after")


def test_without_swapping_every_change_boots(dev: Dev) -> None:
    dev.start("--swap=no")
    machine, at = dev.machine, len(dev.said)
    dev.page.write_text("booted\n")
    dev.wait_for("booting anew: service web changed", at)
    dev.wait_for("the machine is up", dev.said.index("booting anew"))
    dev.wait_served("booted")
    assert dev.machine != machine
    assert "swapped" not in dev.said


def test_a_changed_command_and_a_program_that_ends(dev: Dev) -> None:
    dev.start()
    text = dev.spec.read_text()
    dev.spec.write_text(text.replace('"100000"', '"0.1"'))
    dev.wait_for("idle: swapped in")
    dev.wait_for("idle has ended")
    at = len(dev.said)
    dev.spec.write_text(text)
    dev.wait_for("idle: swapped in", at)
    assert "start" in dev.served()


def test_a_machine_that_was_killed_is_booted_with_the_next_change(dev: Dev) -> None:
    dev.start()
    os.kill(dev.machine, signal.SIGKILL)
    dev.wait_for("the machine has ended")
    at = len(dev.said)
    dev.page.write_text("again\n")
    dev.wait_for("the machine is up", at)
    dev.wait_served("again")
    assert dev.stop(signal.SIGTERM) == 130


def test_a_port_that_is_taken(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = dev.lkbuild("dev", "--accel", "tcg", "--publish", f"127.0.0.1:{port}:80")
        assert process.wait(SECONDS) == 1
    assert f"port {port}/tcp of this host is in use already" in dev.said
    assert "Traceback" not in dev.said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--service", "wbe"), "no service 'wbe'"),
        (("--format", "iso-bios"), "unknown flag --format"),
        (("format=iso-bios",), "dev runs kernel+initrd"),
        (("key=key.pem",), "dev signs no provenance"),
        (("--mem", "lots"), "mem 'lots' is no size"),
    ],
)
def test_wrong_words(dev: Dev, words: tuple[str, ...], message: str) -> None:
    assert dev.lkbuild("dev", "--accel", "tcg", *words).wait(SECONDS) == 1
    assert message in dev.said


def in_image(initrd: Path, into: Path) -> dict[str, str]:
    """The SHA-256 of every file of the service `web` in an initrd, and where its links lead."""
    into.mkdir()
    for archive in archives(initrd.read_bytes()):
        subprocess.run(["cpio", "--quiet", "-i", "-d", "-u"], cwd=into, input=archive, check=True)
    root = into / "containers" / "services" / "web" / "lower"
    found = {path.relative_to(root): path for path in root.rglob("*") if path.is_symlink() or path.is_file()}
    return {
        str(name): str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
    }


def test_the_files_in_the_machine_are_those_of_the_image(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{dev.root / 'fake'}:{os.environ['PATH']}:/usr/sbin:/sbin")
    said: list[str] = []
    out, cache = dev.root / "out", dev.cache
    options = BuildOptions(machines=((dev.spec,),), cache=cache, directory=out, formats=("kernel+initrd",))

    def prepared() -> Prepared:
        run(options)
        return prepare(options, nobody, Registry(RegistryOptions()))

    with closing(prepared()) as before:
        boot = Boot(
            MachineOptions(accel="tcg"), media.find(out / "web"), segment(options, lambda _: None), dev.root / "state"
        )
        machine = Running(boot, holding(before.session), before.session, said.append)
    with machine:
        end = time.monotonic() + SECONDS
        while not machine.up:
            assert time.monotonic() < end
            machine.attend(0.1, ())
        shutil.rmtree(dev.page.parent)
        for name in ("pages/a", "pages/b", "srv/index.html"):
            file = dev.root / "web" / "root" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(name * 1000)
        (dev.root / "web" / "root" / "srv" / "link").symlink_to("index.html")
        with closing(prepared()) as after:
            machine.swap("web", holding(after.session).services["web"], after.session)
        assert machine.sums("web") == in_image(out / "web-initrd.img", dev.root / "unpacked")

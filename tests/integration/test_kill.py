"""Killed at any moment, a build leaves a cache from which the next one makes the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.building import CONFORMANCE, IMAGES, digests
from tests.support.layouts import large_machine

KILLER = Path(__file__).parent / "killer"
ROOT = Path(__file__).parents[2]
MOMENTS = int(os.environ.get("LKBUILD_KILLS", "8"))
"""How many kills are spread over the long build; 50 take some minutes."""


def command(spec: Path, cache: Path, out: Path, layout: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.integration.one_build", *map(str, (spec, cache, out, layout)), *options]


def build(
    spec: Path, cache: Path, out: Path, layout: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(spec, cache, out, layout, *options),
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


FULL = CONFORMANCE / "specs" / "full.yml"
BOTH = "formats=kernel+initrd,tar"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("undisturbed")
    assert build(FULL, directory / "cache", directory / "out", IMAGES, BOTH).returncode == 0
    return digests(directory / "out")


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many operations of each kind a build does on its cache."""
    directory = tmp_path_factory.mktemp("counting")
    count, work = directory / "count", directory / "work"
    environment = {"KILL_COUNT": str(count), "KILL_UNDER": str(work), "PYTHONPATH": str(KILLER)}
    result = build(FULL, work / "cache", work / "out", IMAGES, BOTH, **environment)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(count.read_text()))


KINDS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree", "tempfile.mkdtemp")


@pytest.mark.parametrize("part", ["first", "early", "middle", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_before_an_operation(
    kind: str, part: str, operations: dict[str, int], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    total = operations.get(kind, 0)
    assert total, f"a build does no {kind} on its cache: take it out of KINDS"
    number = {"first": 1, "early": max(1, total // 4), "middle": max(1, total // 2), "last": max(1, total - 3)}[part]
    cache, out = tmp_path / "cache", tmp_path / "out"
    environment = {"KILL_AT": f"{kind}:{number}", "KILL_UNDER": str(tmp_path), "PYTHONPATH": str(KILLER)}
    killed = build(FULL, cache, out, IMAGES, BOTH, **environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = build(FULL, cache, out, IMAGES, BOTH)
    assert again.returncode == 0, again.stderr
    assert digests(out) == undisturbed


def test_killed_at_moments_spread_over_a_long_build(tmp_path: Path) -> None:
    """Each kill is later than the one before, and each time from nothing."""
    spec = large_machine(tmp_path, megabytes=36)
    layout, options = tmp_path / "layout", ("profile=release", "compression=zstd")
    began = time.monotonic()
    assert build(spec, tmp_path / "cache0", tmp_path / "out0", layout, *options).returncode == 0
    whole = time.monotonic() - began
    assert whole > 5, "the build must be long enough to be hit in all its parts"
    want = digests(tmp_path / "out0")
    for moment in range(MOMENTS):
        cache, out = tmp_path / "cache", tmp_path / "out"
        process = subprocess.Popen(
            command(spec, cache, out, layout, *options),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(whole * (moment + 0.5) / MOMENTS)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        again = build(spec, cache, out, layout, *options)
        assert again.returncode == 0, again.stderr
        assert digests(out) == want, f"killed at {moment + 0.5}/{MOMENTS}"
        shutil.rmtree(cache)
        shutil.rmtree(out)


@pytest.mark.parametrize("builders", [2, 4])
def test_builds_at_once_share_the_work(builders: int, tmp_path: Path) -> None:
    """Builders of overlapping specs on one cache: each step runs once among all of them."""
    specs = []
    for number in range(builders):
        spec = tmp_path / f"machine{number}.yml"
        spec.write_text(FULL.read_text() + f"- {{path: etc/number, contents: '{number}'}}\n")
        specs.append(spec)
    cache = tmp_path / "cache"
    running = [
        subprocess.Popen(
            command(spec, cache, tmp_path / f"out{n}", IMAGES, BOTH), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for n, spec in enumerate(specs)
    ]
    ran: list[str] = []
    for process in running:
        output, _ = process.communicate()
        assert process.returncode == 0
        ran += json.loads(output)["ran"]
    own = {"initrd", "tar", "files", "boot", "text", "apk"}
    shared = [step for step in ran if step.partition(":")[0] not in own]
    assert len(shared) == len(set(shared)), "a shared step ran twice"
    for n, spec in enumerate(specs):
        alone = tmp_path / f"alone{n}"
        assert build(spec, tmp_path / f"cache{n}", alone, IMAGES, BOTH).returncode == 0
        assert digests(alone) == digests(tmp_path / f"out{n}")


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    """On a small file system of its own: the build fails with advice, and works once there is room."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], capture_output=True)
    if made.returncode:
        pytest.skip("may not mount here")
    try:
        spec = large_machine(tmp_path, megabytes=12)
        failed = build(spec, mount / "cache", tmp_path / "out", tmp_path / "layout")
        assert failed.returncode != 0
        assert "No space left on device" in failed.stderr
        assert "disk is full" in failed.stderr
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        subprocess.run(["mount", "-o", "remount,size=200m", mount], check=True)
        assert build(spec, mount / "cache", tmp_path / "out", tmp_path / "layout").returncode == 0
        assert build(spec, tmp_path / "cache", tmp_path / "out2", tmp_path / "layout").returncode == 0
        assert digests(tmp_path / "out") == digests(tmp_path / "out2")
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_a_read_only_cache_serves_what_is_in_it(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        assert build(FULL, mount / "cache", tmp_path / "out", IMAGES, BOTH).returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        served = build(FULL, mount / "cache", tmp_path / "out2", IMAGES, BOTH)
        assert served.returncode == 0, served.stderr
        assert digests(tmp_path / "out") == digests(tmp_path / "out2")
        refused = build(CONFORMANCE / "specs" / "volumes.yml", mount / "cache", tmp_path / "out3", IMAGES, BOTH)
        assert refused.returncode != 0
        assert "read-only" in refused.stderr
    finally:
        subprocess.run(["umount", "-l", mount], check=True)

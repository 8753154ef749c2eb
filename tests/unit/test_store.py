"""The store: whole blobs only, whoever is killed or interferes, and one maker for each result."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lkbuild.digest import Digest, identity
from lkbuild.errors import StoreError
from lkbuild.store import Blob, Result, Store
from lkbuild.store.collect import Bounds, collect
from lkbuild.store.files import failure
from lkbuild.store.recipe import whole
from lkbuild.store.verified import boot_id

KEY = identity("a key")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def test_bytes_come_back(store: Store) -> None:
    blob = store.add(b"hello")
    assert blob == Blob(Digest.of(b"hello"), 5)
    assert store.has(blob)
    assert store.read(blob.digest) == b"hello"


def test_blobs_are_read_only(store: Store) -> None:
    assert store.path(store.add(b"x").digest).stat().st_mode & 0o222 == 0


def test_a_file_that_is_not_what_was_expected_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"other")
    with pytest.raises(StoreError, match=r"got sha256:\w+, want sha256:\w+ after 5 bytes"):
        store.add_file(tmp_path / "f", Digest.of(b"wanted"))


def damage(how: str, path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    times = path.stat()
    match how:
        case "truncated":
            path.write_bytes(data[:-1])
        case "emptied":
            path.write_bytes(b"")
        case "flipped":
            data[0] ^= 1
            path.write_bytes(data)
        case "flipped, times put back":
            data[0] ^= 1
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "replaced by a directory":
            path.unlink()
            path.mkdir()
        case "deleted":
            path.unlink()


@pytest.mark.parametrize(
    "how", ["truncated", "emptied", "flipped", "flipped, times put back", "replaced by a directory", "deleted"]
)
@pytest.mark.parametrize("process", ["the same", "a new one"])
def test_damage_is_found_and_mended(store: Store, how: str, process: str) -> None:
    blob = store.add(b"some content")
    store.record(KEY, Result((("out", blob),)))
    damage(how, store.path(blob.digest))
    seen = store if process == "the same" else Store.open(store.root)
    assert not seen.has(blob)
    assert seen.result(KEY) is None
    if how == "replaced by a directory":
        store.path(blob.digest).rmdir()
    assert seen.add(b"some content") == blob
    assert seen.result(KEY) == Result((("out", blob),))


def test_a_blob_that_came_from_elsewhere_is_hashed_before_it_is_believed(store: Store) -> None:
    blob = Blob(Digest.of(b"right"), 5)
    path = store.path(blob.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wrong")
    assert not store.has(blob)
    assert not path.exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"not json", b'{"outputs":{}}\n0000\n', b"\xff\xfe", b"[]\n" * 1000])
def test_a_result_that_is_torn_is_no_result(store: Store, text: bytes) -> None:
    store.record(KEY, Result(()))
    path = store.root / "results" / KEY.hex[:2] / KEY.hex
    path.write_bytes(text)
    assert store.result(KEY) is None
    store.record(KEY, Result((), notes=("kept",)))
    assert store.result(KEY) == Result((), notes=("kept",))


def test_every_prefix_of_a_result_is_no_result(store: Store) -> None:
    store.record(KEY, Result((("out", store.add(b"1")),), (store.add(b"2"),), ("note",)))
    path = store.root / "results" / KEY.hex[:2] / KEY.hex
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        assert store.result(KEY) is None


def test_a_blob_that_only_a_recipe_refers_to_is_missed_when_it_is_gone(store: Store) -> None:
    segment, recipe = store.add(b"segment"), store.add(b"recipe")
    store.record(KEY, Result((("recipe", recipe),), (segment,)))
    store.drop(segment.digest)
    assert store.recorded(KEY) is not None
    assert store.result(KEY) is None


def _count(root: str, name: str, log: str) -> None:
    store = Store.open(Path(root))
    with store.lock(name), Path(log).open("a") as file:
        file.write("in\n")
        file.flush()
        time.sleep(0.02)
        file.write("out\n")


def test_a_lock_is_held_by_one_process_at_a_time(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_count, args=(str(store.root), "k", str(log))) for _ in range(6)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert log.read_text() == "in\nout\n" * 6
    assert list((store.root / "locks").iterdir()) == []


def test_a_lock_is_held_by_one_thread_at_a_time(store: Store) -> None:
    inside, worst = 0, 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(50):
            with store.lock("k"):
                inside += 1
                worst = max(worst, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1


def _add_for_ever(root: str) -> None:
    store = Store.open(Path(root))
    for number in range(10**9):
        with store.lock(identity(number % 50).hex):
            store.record(identity(number % 50), Result((("out", store.add(str(number % 50).encode() * 1000)),)))


def test_killed_at_any_moment_leaves_only_whole_things(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    for wait in (0.15, 0.2, 0.25, 0.3, 0.35):
        job = context.Process(target=_add_for_ever, args=(str(store.root),))
        job.start()
        time.sleep(wait)
        job.kill()
        job.join()
        fresh = Store.open(store.root)
        for number in range(50):
            result = fresh.recorded(identity(number))
            if result is not None:
                assert fresh.read(result["out"].digest) == str(number).encode() * 1000
        with fresh.lock(identity(0).hex):
            pass


def test_collection_removes_the_old_and_keeps_what_the_young_need(store: Store) -> None:
    shared, old, young, segment = (store.add(text) for text in (b"shared", b"old", b"young", b"segment"))
    store.record(identity("old"), Result((("a", shared), ("b", old))), b"how old was made")
    store.record(identity("young"), Result((("a", shared), ("b", young)), (segment,)), b"how young was made")
    past = store.root / "results" / identity("old").hex[:2] / identity("old").hex
    os.utime(past, (1000, 1000))
    store.close()
    dry = collect(store.root, time.time(), Bounds(max_age=3600), dry_run=True)
    assert store.recorded(identity("old")) is not None
    assert collect(store.root, time.time(), Bounds(max_age=3600)) == dry
    assert (dry.results, dry.blobs) == (1, 1)
    assert store.result(identity("old")) is None
    assert store.result(identity("young")) is not None
    assert not store.has(old)
    assert all(map(store.has, (shared, young, segment)))
    assert [store.step_path(identity(name)).exists() for name in ("old", "young")] == [False, True]


def test_collection_by_size_keeps_the_most_recently_used(store: Store) -> None:
    for number in range(10):
        store.record(identity(number), Result((("out", store.add(bytes([number]) * 100)),)))
        path = store.root / "results" / identity(number).hex[:2] / identity(number).hex
        os.utime(path, (1000 + number, 1000 + number))
    store.close()
    collected = collect(store.root, time.time(), Bounds(max_bytes=350))
    assert collected.bytes_after == 300
    assert [n for n in range(10) if store.result(identity(n))] == [7, 8, 9]


def test_collection_waits_for_no_build(store: Store) -> None:
    with pytest.raises(StoreError, match="a build is using"):
        collect(store.root, time.time(), Bounds())
    store.close()
    collect(store.root, time.time(), Bounds())


def test_collection_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(StoreError, match="is no cache"):
        collect(tmp_path, time.time(), Bounds(max_bytes=0))


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not write"),
        (errno.ENOTDIR, "file"),
    ],
)
def test_what_the_system_refuses_is_explained(code: int, advice: str) -> None:
    assert advice in (failure(OSError(code, os.strerror(code)), "writing").hint or "")


def test_a_file_where_the_cache_should_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreError, match="making the cache"):
        Store.open(tmp_path / "cache")


def test_scratch_goes_whatever_happens(store: Store) -> None:
    def fail() -> None:
        with store.scratch() as directory:
            (directory / "big").write_bytes(b"x" * 1000)
            raise KeyboardInterrupt

    call: Callable[[], None] = fail
    with pytest.raises(KeyboardInterrupt):
        call()
    assert [list(kept.iterdir()) for kept in (store.root / "tmp").iterdir()] == [[]]
    with store.scratch() as again:
        assert list(again.iterdir()) == [], "whoever comes next must not find what was left"
    store.close()
    assert list((store.root / "tmp").iterdir()) == []


def test_two_at_once_have_scratch_of_their_own(store: Store) -> None:
    with store.scratch() as one, store.scratch() as other:
        assert one != other
        (one / "sub").mkdir()
        (one / "sub" / "file").write_bytes(b"x")
    with store.scratch() as one, store.scratch() as other:
        assert [*one.iterdir(), *other.iterdir()] == []


def test_a_blob_that_is_there_is_not_written_again(store: Store, tmp_path: Path) -> None:
    blob = store.add(b"same")
    before = store.path(blob.digest).stat()
    with store.scratch() as directory:
        (directory / "again").write_bytes(b"same")
        assert store.add_file(directory / "again") == blob
        assert list(directory.iterdir()) == []
    assert store.path(blob.digest).stat().st_ino == before.st_ino


def test_scratch_of_the_killed_is_swept_and_that_of_the_living_is_not(store: Store) -> None:
    litter = store.root / "tmp" / "left"
    litter.mkdir()
    with store.scratch() as mine:
        for path in (litter, mine):
            os.utime(path, (1000, 1000))
        Store.open(store.root)
        assert mine.exists()
    assert not litter.exists()


def test_a_passing_error_loses_nothing(store: Store) -> None:
    """With no file descriptors left nothing can be read; that is no reason to throw it away."""
    blob = store.add(b"precious")
    store.record(KEY, Result((("out", blob),)))
    fresh = Store.open(store.root)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(StoreError, match="Too many open files"):
            fresh.has(blob)
        with pytest.raises(StoreError, match="Too many open files"):
            fresh.recorded(KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert fresh.result(KEY) == Result((("out", blob),))


def test_a_wrong_size_is_no_reason_to_throw_a_blob_away(store: Store) -> None:
    blob = store.add(b"precious")
    for seen in (store, Store.open(store.root)):
        assert not seen.has(Blob(blob.digest, 3))
        assert seen.has(blob)


def test_an_archive_being_read_is_not_swept(store: Store) -> None:
    path = store.root / "spool" / "image.tar"
    path.write_bytes(b"tar")
    os.utime(path, (1000, 1000))
    Store.open(store.root)
    assert path.exists()


def test_collection_by_size_never_keeps_the_older_for_the_newer(store: Store) -> None:
    for age, (name, size) in enumerate((("new", 399), ("old", 300))):
        store.record(identity(name), Result((("out", store.add(name.encode() * (size // 3))),)))
        os.utime(store.result_path(identity(name)), (2000 - age, 2000 - age))
    store.close()
    assert collect(store.root, time.time(), Bounds(max_bytes=350)).bytes_after == 0


def test_collection_keeps_what_it_must_and_then_also_answers(store: Store) -> None:
    for name, output in (("wanted", "out"), ("other", "out"), ("answer", "facts")):
        store.record(identity(name), Result(((output, store.add(name.encode() * 100)),)))
        os.utime(store.result_path(identity(name)), (1000, 1000))
    store.close()
    bounds = Bounds(max_age=10, max_bytes=0, keep=frozenset({identity("wanted")}))
    done = collect(store.root, time.time(), bounds)
    assert (done.results, done.blobs, done.bytes_after, done.kept) == (1, 1, 1200, 1200)
    assert [(each.kind, each.results, each.bytes) for each in done.kinds] == [("unknown", 1, 500)]
    assert collect(store.root, time.time(), Bounds(max_age=10)).bytes_after == 0


def test_collection_sweeps_locks_and_records_of_earlier_boots(store: Store) -> None:
    (store.root / "locks" / "left").touch()
    (store.root / "verified" / "earlier").mkdir()
    store.close()
    collect(store.root, time.time(), Bounds())
    assert not (store.root / "locks" / "left").exists()
    assert [path.name for path in (store.root / "verified").iterdir()] == [boot_id()]


def test_what_cannot_be_looked_at_keeps_nothing_else_from_being_swept(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    left = [tmp_path / "tmp" / name for name in ("a", "b", "c")]
    for path in left:
        path.mkdir()
    loop = tmp_path / "tmp" / "aa"
    loop.symlink_to(loop)
    for path in left:
        os.utime(path, (1000, 1000))
    Store.open(tmp_path).close()
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["aa"]


def test_writers_with_different_caches_never_mix_their_bytes(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path / name) for name in ("one", "two")]
    contents = [bytes([65 + number]) * 3_000_000 for number in range(2)]
    recipes = [whole(store.add(data)) for store, data in zip(stores, contents, strict=True)]
    target = tmp_path / "out" / "file"
    seen: list[bytes] = []

    def write(number: int) -> None:
        for _ in range(15):
            recipes[number].write(stores[number], target)
            seen.append(target.read_bytes())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 30
    assert set(seen) <= set(contents)
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_users_cache_that_may_only_be_read_serves_and_is_held() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # pytest's own directories keep other users out
        _serve_another_user(Store.open(Path(directory) / "cache"))


def _serve_another_user(store: Store) -> None:
    blob = store.add(b"shared")
    store.record(KEY, Result((("out", blob),)))
    store.close()
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222 | (0o555 if path.is_dir() else 0o444))

    def serves() -> None:
        os.setgroups([])
        os.setuid(65534)
        seen = Store.open(store.root)
        with seen.lock("any"):
            assert seen.result(KEY) == Result((("out", blob),))
        with pytest.raises(StoreError, match="a build is using"):
            collect(store.root, time.time(), Bounds(), dry_run=True)

    process = multiprocessing.get_context("fork").Process(target=serves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join()
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert process.exitcode == 0

"""Files are replaced as a whole or not at all, whatever fails; what the killed left behind goes at the next start."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import durable
from config.errors import StoreUnavailable
from tests.rooms.config.disk import ERRORS, Killed, disk
from tests.rooms.config.statefiles import State

OLD, NEW = b"old " * 700, b"new " * 900
Write = Callable[[Path, bytes], object]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with the old content in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    (folder / "file").write_bytes(OLD)
    (folder / "file").chmod(0o600)
    return folder / "file"


def others(path: Path) -> list[str]:
    """What stands beside a file."""
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def steps(write: Write, path: Path) -> int:
    """How many steps a write takes when nothing fails."""
    with disk() as seen:
        write(path, NEW)
    return len(seen.steps)


# --- what is written


def test_what_is_replaced_is_there_with_nothing_beside_it(target: Path, umask: int) -> None:
    target.chmod(0o640)
    durable.replace(target, NEW)
    assert target.read_bytes() == NEW
    assert target.stat().st_mode & 0o7777 == 0o600, umask
    assert others(target) == []


def test_what_is_made_is_made_once(target: Path, umask: int) -> None:
    fresh = target.with_name("fresh")
    assert durable.create(fresh, NEW)
    assert not durable.create(fresh, OLD)
    assert fresh.read_bytes() == NEW
    assert fresh.stat().st_mode & 0o7777 == 0o600, umask
    assert others(fresh) == ["file"]


def test_of_several_who_make_it_one_succeeds(target: Path) -> None:
    fresh, start = target.with_name("fresh"), threading.Barrier(8)

    def make(number: int) -> bool:
        start.wait(10)
        return durable.create(fresh, b"%d" % number * 1000)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert made.count(True) == 1
    assert fresh.read_bytes() == b"%d" % made.index(True) * 1000
    assert others(fresh) == ["file"]


def test_a_write_that_takes_a_little_at_a_time_is_finished(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    durable.replace(target, NEW)
    assert target.read_bytes() == NEW


def test_nothing_is_said_to_be_done_before_it_is_on_disk(target: Path) -> None:
    """Content before name, name before answer: or a loss of power loses what was acknowledged, or tears it."""
    with disk() as seen:
        durable.replace(target, NEW)
    did = [(what, file) for what, file in seen.steps if what in ("write", "fsync", "rename")]
    (_, written), synced, renamed, folder = did
    assert did[0][0] == "write"
    assert synced == ("fsync", written)
    assert renamed == ("rename", written)
    assert folder == ("fsync", str(target.parent))
    assert Path(written).parent == target.parent, "a rename works on one file system only"


def test_a_new_name_is_synced_too(target: Path) -> None:
    with disk() as seen:
        durable.create(target.with_name("fresh"), NEW)
    did = [what for what, _ in seen.steps if what in ("write", "fsync", "link")]
    assert did == ["write", "fsync", "link", "fsync"]
    assert seen.steps[-2] == ("fsync", str(target.parent))


def test_nobody_waits_at_the_place_of_the_temporary_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is not foreseen; were it, what waits there would be refused and not followed."""
    victim = target.with_name("victim")
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    with disk() as seen:
        durable.replace(target, NEW)
    Path(seen.steps[0][1]).symlink_to(victim)
    with pytest.raises(StoreUnavailable):
        durable.replace(target, OLD)
    assert not victim.exists()
    assert target.read_bytes() == NEW


# --- what fails


@pytest.mark.parametrize("fault", ERRORS, ids=errno.errorcode.get)
def test_whatever_step_fails_the_old_or_the_new_stands_there(target: Path, fault: int) -> None:
    for at in range(steps(durable.replace, target)):
        target.write_bytes(OLD)
        try:
            with disk(at=at, fault=fault) as seen:
                durable.replace(target, NEW)
        except StoreUnavailable as exc:
            said, full = str(exc), exc.full
            assert target.read_bytes() == OLD, seen.failed
            assert said == f"{target} could not be written: {os.strerror(fault)}"
            assert full is (fault in (errno.ENOSPC, errno.EDQUOT))
        else:
            assert target.read_bytes() == NEW
            assert seen.failed in ("link", "unlink"), "what matters more is not passed over"
        assert others(target) == [] or seen.failed == "unlink"
        durable.remove_stale(target.parent)
        assert others(target) == []


@pytest.mark.parametrize("fault", ERRORS, ids=errno.errorcode.get)
def test_where_nothing_stood_a_failure_leaves_nothing(target: Path, fault: int) -> None:
    fresh = target.with_name("fresh")
    for at in range(steps(durable.replace, fresh)):
        fresh.unlink(missing_ok=True)
        try:
            with disk(at=at, fault=fault):
                durable.replace(fresh, NEW)
        except StoreUnavailable:
            assert not fresh.exists()
        else:
            assert fresh.read_bytes() == NEW


@pytest.mark.parametrize(("write", "name", "before"), [(durable.replace, "file", OLD), (durable.create, "fresh", None)])
@pytest.mark.parametrize("fault", [errno.EIO, None], ids=["dead disk", "killed"])
def test_a_disk_that_dies_tears_nothing(
    target: Path, write: Write, name: str, before: bytes | None, fault: int | None
) -> None:
    path, outcomes = target.with_name(name), set()
    for at in range(steps(write, path) if before else steps(write, target.with_name("another"))):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        done, sure = True, fault is not None and before is not None
        try:
            with disk(at=at, fault=fault, lasting=True):
                write(path, NEW)
        except Killed:
            done = False
        except StoreUnavailable as exc:
            done, sure = False, sure and not exc.unsure
        found = path.read_bytes() if path.exists() else None
        assert found in ((NEW,) if done else (before,) if sure else (before, NEW))
        outcomes.add(found)
        durable.remove_stale(path.parent)
        assert set(others(path)) <= {"file", "another"}
    assert outcomes == {before, NEW}, "it was stopped on both sides of the step that counts"


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_new_file_stays_though_its_folder_cannot_be_synced(target: Path, fault: int) -> None:
    """Another process may have begun to use it: a new key, for one."""
    fresh = target.with_name("fresh")
    with disk() as seen:
        durable.create(target.with_name("another"), NEW)
    last = max(n for n, (step, _) in enumerate(seen.steps) if step == "fsync")
    with disk(at=last, fault=fault), pytest.raises(StoreUnavailable, match="fresh was written, but") as caught:
        durable.create(fresh, NEW)
    assert (caught.value.unsure, caught.value.full) == (True, False)
    assert fresh.read_bytes() == NEW
    assert not durable.create(fresh, OLD)
    assert set(others(fresh)) == {"file", "another"}


def test_a_folder_that_is_gone_is_told(target: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file") as caught:
        durable.replace(target.parent / "gone" / "file", NEW)
    assert not caught.value.full


# --- what is left behind


def test_what_the_killed_left_behind_is_removed_at_the_next_start(state: State) -> None:
    state.write("connections: {}\n")
    for at in itertools.count():
        try:
            with disk(at=at):
                durable.replace(state.paths.connections, b"connections:\n")
        except Killed:
            continue
        break
    assert len(durable.stale(state.paths.state_dir)) > 3
    mine = [".hidden", "connections.yaml~", "note.redeo-tmp"]
    for name in mine:
        state.paths.state_dir.joinpath(name).touch()
    elsewhere = state.paths.config_file.with_name("elsewhere")
    elsewhere.touch()
    state.paths.state_dir.joinpath(".link.redeo-tmp").symlink_to(elsewhere)
    state.open()
    assert durable.stale(state.paths.state_dir) == []
    assert elsewhere.exists()
    assert {path.name for path in state.paths.state_dir.iterdir()} >= {*mine, "connections.yaml"}


def test_the_lock_keeps_others_out_until_it_is_given_back(state: State) -> None:
    def free() -> bool:
        with state.paths.lock.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with durable.locked(state.paths.lock):
        assert not free()
        assert state.paths.lock.stat().st_mode & 0o777 == 0o600
    assert free()
    with pytest.raises(KeyError), durable.locked(state.paths.lock):
        raise KeyError
    assert free()


def test_a_lock_that_is_a_link_is_not_followed(state: State, tmp_path: Path) -> None:
    state.paths.lock.symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnavailable, match=r"\.lock"), durable.locked(state.paths.lock):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_folder_that_cannot_be_locked_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by injecting faults: some network file systems have no locks."""

    def flock(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreUnavailable, match=r"\.lock cannot be locked: No locks available"):  # noqa: SIM117
        with durable.locked(state.paths.lock):
            raise AssertionError


def test_a_start_does_not_fail_for_what_cannot_be_cleared_away(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by injecting faults: one open file too many was a traceback."""
    state.write("connections:\n  ollama: {}\n")
    state.paths.state_dir.joinpath(".connections.yaml.0.redeo-tmp").touch(0o600)
    left = durable.stale(state.paths.state_dir)

    def scandir(_path: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert len(state.open().current.connections) == 1
        durable.remove_stale(state.paths.state_dir)
    assert len(left) == 1
    assert durable.stale(state.paths.state_dir) == left, "the next start sees to it"

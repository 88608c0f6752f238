"""What the daemon reads of its state directory: plain files of its own that nobody else can read, or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from config import durable
from config.daemon_key import daemon_key
from config.errors import UnsafeState
from config.paths import read_secure, secure_folder
from tests.rooms.config.statefiles import State

TEXT = b"old " * 700


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    (folder / "file").write_bytes(TEXT)
    return folder / "file"


def test_of_all_modes_those_are_read_that_let_nobody_else_in(plain: Path) -> None:
    for mode in range(0o1000):
        plain.chmod(mode)
        if mode & 0o077 == 0 and mode & 0o400:
            assert read_secure(plain) == TEXT
        elif mode & 0o077 and mode & 0o400:
            with pytest.raises(UnsafeState, match=rf"others can read it \(mode {mode:04o}\); run: chmod 600 {plain}"):
                read_secure(plain)


def test_of_all_modes_those_are_entered_that_let_nobody_else_in(plain: Path) -> None:
    for mode in range(0o1000):
        plain.parent.chmod(mode)
        if mode & 0o077 == 0:
            secure_folder(plain.parent)
        else:
            with pytest.raises(UnsafeState, match=rf"\(mode {mode:04o}\); run: chmod 700 {plain.parent}"):
                secure_folder(plain.parent)
    plain.parent.chmod(0o700)


def test_the_state_directory_is_made_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    secure_folder(tmp_path / "new" / "state")
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700, umask


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def as_giant(path: Path) -> None:
    os.truncate(path, (1 << 20) + 1)


UNSAFE: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: path.chmod(0o644), "others can read it"),
    (lambda path: path.chmod(0o660), "others can read it"),
    (as_link, "it is a symbolic link"),
    (as_folder, "must be a plain file"),
    (as_pipe, "must be a plain file"),
    (as_giant, "larger than"),
]


@pytest.mark.parametrize(("spoil", "said"), UNSAFE, ids=["0644", "0660", "link", "folder", "pipe", "giant"])
@pytest.mark.parametrize("name", ["connections", "master_key", "api_key"])
def test_the_daemon_does_not_start_on_a_file_that_is_not_safe(
    state: State, name: str, spoil: Callable[[Path], None], said: str
) -> None:
    state.write("connections: {}\n")
    state.open()
    daemon_key(state.paths, {})
    path: Path = getattr(state.paths, name)
    spoil(path)
    with pytest.raises(UnsafeState, match=said) as caught:
        daemon_key(state.paths, {}) if name == "api_key" else state.open()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["connections", "master_key", "api_key", "state_dir"])
def test_what_belongs_to_another_user_is_refused(state: State, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write("connections: {}\n")
    state.open()
    daemon_key(state.paths, {})
    path: Path = getattr(state.paths, name)
    real, inode = os.stat_result, path.stat().st_ino

    def foreign(stat: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def asked(*args: object, **options: object) -> os.stat_result:
            found = stat(*args, **options)
            return real([*found[:4], found.st_uid + 1, *found[5:]]) if found.st_ino == inode else found

        return asked

    for function in ("fstat", "lstat", "stat"):
        monkeypatch.setattr(os, function, foreign(getattr(os, function)))
    with pytest.raises(UnsafeState, match=rf"{path}: belongs to user {os.geteuid() + 1}.*chown {os.geteuid()} {path}"):
        daemon_key(state.paths, {}) if name == "api_key" else state.open()


def test_a_state_directory_that_is_a_link_or_a_file_is_refused(state: State) -> None:
    folder = state.paths.state_dir
    link, plain = folder.with_name("link"), folder.with_name("plain")
    link.symlink_to(folder)
    plain.touch()
    for path in (link, plain, plain / "below"):
        with pytest.raises(UnsafeState, match=str(path)):
            secure_folder(path)


def test_what_is_not_there_is_nothing(plain: Path) -> None:
    assert read_secure(plain.with_name("none")) is None


def test_an_error_at_closing_what_was_only_read_is_none(
    plain: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by injecting faults: the daemon answered 500."""
    real = os.close

    def close(handle: int) -> None:
        real(handle)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    plain.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        assert read_secure(plain) == TEXT
        with durable.locked(state.paths.lock):
            pass

"""Where the daemon's files are, and whether they are safe to use. Precedence: command line, environment, XDG."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from config.errors import UnsafeState


class Paths(msgspec.Struct, frozen=True):
    """The files of one daemon. The configuration file may be missing."""

    config_file: Path
    state_dir: Path

    @property
    def connections(self) -> Path:
        """The connections, keys sealed."""
        return self.state_dir / "connections.yaml"

    @property
    def master_key(self) -> Path:
        """The master key, unless it is given otherwise."""
        return self.state_dir / "master.key"

    @property
    def api_key(self) -> Path:
        """The daemon's own API key."""
        return self.state_dir / "api.key"

    @property
    def lock(self) -> Path:
        """Held by whoever writes into the state directory."""
        return self.state_dir / ".lock"

    @classmethod
    def resolve(cls, *, config: Path | None, state_dir: Path | None, env: Mapping[str, str]) -> Paths:
        """The places that arguments, environment and conventions name, in this order."""
        home = Path(env.get("HOME") or "~").expanduser()
        config_home = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
        state_home = Path(env.get("XDG_STATE_HOME") or home / ".local" / "state")
        given_config = config or _path(env.get("REDEO_CONFIG"))
        systemd = (env.get("STATE_DIRECTORY") or "").split(":")[0]
        # Under DynamicUser= the directory that systemd names is a link of its own making, and root's.
        named = Path(systemd).resolve() if systemd else None
        given_state = state_dir or _path(env.get("REDEO_STATE_DIR")) or named
        return cls(
            (given_config or config_home / "redeo" / "redeo.yaml").absolute(),
            (given_state or state_home / "redeo").absolute(),
        )


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def secure_folder(path: Path) -> None:
    """Make the state directory, or see that nobody else can read it. Raises UnsafeState."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as exc:
        raise UnsafeState(f"{path}: the state directory cannot be used: {exc.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeState(f"{path}: the state directory must be a directory, not a link or a file")
    _check_owner(path, status)
    if status.st_mode & 0o077:
        raise UnsafeState(
            f"{path}: others can enter the state directory (mode {status.st_mode & 0o777:04o}); run: chmod 700 {path}"
        )


def read_secure(path: Path, limit: int = 1 << 20) -> bytes | None:
    """A file of the state directory, opened once, checked as opened; None where there is none. Raises UnsafeState."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as exc:
        what = "it is a symbolic link" if path.is_symlink() else exc.strerror
        raise UnsafeState(f"{path}: cannot be read: {what}") from None
    try:
        _check_file(path, os.fstat(handle), limit)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError as exc:
        raise UnsafeState(f"{path}: cannot be read: {exc.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(handle)


def read_vouched(path: Path, limit: int = 1 << 20) -> bytes:
    """What a person wrote, opened once and checked as opened: it says where keys go, so nobody else may write it.

    A link is followed, for people keep such files elsewhere, and anybody may read it. Raises OSError, UnsafeState.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:  # opening a folder as a file fails and leaves the descriptor behind
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):
            _check_writers(path, status)
        elif not stat.S_ISCHR(status.st_mode):  # /dev/null is a way to say "none"
            raise UnsafeState("must be a plain file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(handle)


def _check_writers(path: Path, status: os.stat_result) -> None:
    private_group = status.st_gid == status.st_uid == os.getegid()  # of its owner alone, where each user has one
    if status.st_mode & (0o002 if private_group else 0o022):
        raise UnsafeState(
            f"others can change it (mode {status.st_mode & 0o777:04o}), and so where keys go; run: chmod go-w {path}"
        )


def _check_file(path: Path, status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeState(f"{path}: must be a plain file")
    _check_owner(path, status)
    if status.st_mode & 0o077:
        raise UnsafeState(f"{path}: others can read it (mode {status.st_mode & 0o777:04o}); run: chmod 600 {path}")
    if status.st_size > limit:
        raise UnsafeState(f"{path}: larger than {limit} bytes")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise UnsafeState(
            f"{path}: belongs to user {status.st_uid}, the daemon runs as {os.geteuid()}; "
            f"run: chown {os.geteuid()} {path}, or choose another --state-dir"
        )

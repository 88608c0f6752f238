"""What a child does for a daemon that starts: the same as it would do itself, without what it would load for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BEGIN = """
import os, sys
from config import cipher
KEY, NONCE, TEXT, OURS = b"k" * 32, b"n" * 12, b"a text that is sealed", b"provider"
def loaded():
    return "cryptography" in sys.modules
def refused(sealed, key=KEY, whose=OURS):
    try:
        cipher.decrypt(key, NONCE, sealed, whose)
    except cipher.Damaged:
        return True
    return False
"""


def run(code: str) -> str:
    """What a process of its own prints: one that has a single thread, as a daemon that starts."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_seals_and_opens_as_the_process_itself_does() -> None:
    run("""
with cipher.beside():
    sealed = cipher.encrypt(KEY, NONCE, TEXT, OURS)
    assert cipher.decrypt(KEY, NONCE, sealed, OURS) == TEXT
    assert refused(sealed[:-1] + b"x") and refused(sealed, key=b"K" * 32) and refused(sealed, whose=b"other")
    assert refused(b"short")
    assert cipher.decrypt(KEY, NONCE, sealed, OURS) == TEXT, "a refusal ends nothing"
    large = os.urandom(100_000)
    assert cipher.decrypt(KEY, NONCE, cipher.encrypt(KEY, NONCE, large, OURS), OURS) == large
    assert not loaded()
assert cipher.encrypt(KEY, NONCE, TEXT, OURS) == sealed and refused(sealed, whose=b"other")
assert loaded()
""")


def test_the_child_is_gone_when_the_block_ends_and_is_not_made_for_nothing() -> None:
    run("""
def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()
with cipher.beside():
    assert not children()
    cipher.encrypt(KEY, NONCE, TEXT, OURS)
    assert len(children()) == 1
assert not children()
""")


@pytest.mark.parametrize(
    "hindrance",
    [
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "os.fork = lambda: (_ for _ in ()).throw(BlockingIOError(11, 'too many processes'))",
        "import socket; socket.socketpair = lambda *_: (_ for _ in ()).throw(OSError(24, 'too many open files'))",
        "cipher._serve = lambda theirs: None  # it ends without an answer",
    ],
)
def test_what_keeps_the_child_from_it_keeps_nobody_from_starting(hindrance: str) -> None:
    run(
        hindrance
        + """
with cipher.beside():
    sealed = cipher.encrypt(KEY, NONCE, TEXT, OURS)
    assert cipher.decrypt(KEY, NONCE, sealed, OURS) == TEXT
    assert refused(sealed, whose=b"other")
"""
    )


def test_a_daemon_opens_its_keys_without_loading_what_opens_them(tmp_path: Path) -> None:
    """Neither when it seals a key that somebody has pasted, nor when it opens it at the next start."""
    code = f"""
from pathlib import Path
from config.paths import Paths
from config.store import ConfigStore
where = Paths(Path({str(tmp_path)!r}, "redeo.yaml"), Path({str(tmp_path)!r}, "state"))
def opened():
    with cipher.beside():
        (connection,) = ConfigStore.open(where, {{}}).current.connections
    assert connection.fault is None and not loaded(), connection.fault
    return connection.secret.reveal()
where.state_dir.mkdir(mode=0o700)
where.connections.touch(0o600)
where.connections.write_text("connections:\\n  openai:\\n    api_key: sk-not-a-real-key-0123456789\\n")
assert opened() == "sk-not-a-real-key-0123456789"
assert "sealed:" in where.connections.read_text()
assert opened() == "sk-not-a-real-key-0123456789"
"""
    run(code)

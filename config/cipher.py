"""AES-256-GCM (NIST SP 800-38D): in this process, or in one beside it while the daemon starts.

`cryptography` takes 8 MB, and most daemons need it once, to open their few keys. So what starts the daemon has that
done by a child, which is gone before anything is served. Whatever keeps the child from it, it is done here instead.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

_MOST: Final = 1 << 17  # bytes of one message; a sealed key file of a service account has 16,000
_DONE: Final = b"\0"


class Damaged(Exception):
    """It was sealed with another key or for something else, or it is not as it was."""


class _Task(msgspec.Struct, array_like=True):
    sealing: bool
    key: bytes
    nonce: bytes
    data: bytes
    associated: bytes

    def __repr__(self) -> str:
        return "_Task()"

    def done(self) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(self.key)
        try:
            return (cipher.encrypt if self.sealing else cipher.decrypt)(self.nonce, self.data, self.associated)
        except (InvalidTag, ValueError):
            raise Damaged from None


def encrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """The ciphertext with its tag."""
    return _done(_Task(True, key, nonce, data, associated))


def decrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """What was encrypted. Raises Damaged."""
    return _done(_Task(False, key, nonce, data, associated))


def _done(task: _Task) -> bytes:
    if _child is not None:
        with suppress(OSError):
            return _child.done(task)
    return task.done()


@contextmanager
def beside() -> Iterator[None]:
    """Within the block a child does it, if there is something to do. Only for a process that has one thread."""
    global _child
    _child = _Child()
    try:
        yield
    finally:
        _child.end()
        _child = None


class _Child:
    """Forked when it is first needed. It inherits that it is not to be looked into (prctl(2), PR_SET_DUMPABLE)."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._ours: socket.socket | None = None

    def done(self, task: _Task) -> bytes:
        """What comes of the task. Raises Damaged, and OSError where it cannot be done there."""
        if self._ours is None:
            self._ours = self._begun()
        self._ours.sendall(msgspec.msgpack.encode(task))
        answer = self._ours.recv(_MOST)
        if not answer:
            raise BrokenPipeError("the child has ended")
        if answer[:1] != _DONE:
            raise Damaged
        return answer[1:]

    def _begun(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = os.fork()
            if not self._pid:
                try:
                    ours.close()
                    _serve(theirs)
                finally:
                    os._exit(0)
        return ours

    def end(self) -> None:
        """See it off."""
        if self._ours is not None:
            self._ours.close()
        with suppress(ChildProcessError):  # where whoever started us has said that children need no farewell
            if self._pid is not None:
                os.waitpid(self._pid, 0)


def _serve(theirs: socket.socket) -> None:
    while message := theirs.recv(_MOST):
        try:
            answer = _DONE + msgspec.msgpack.decode(message, type=_Task).done()
        except Damaged:
            answer = b"damaged"
        theirs.sendall(answer)


_child: _Child | None = None

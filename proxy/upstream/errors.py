"""What goes wrong on the way to a provider: the class, how far the request had come, and a text without secrets."""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

from proxy.fault import FaultKind, Phase
from proxy.upstream.addresses import DeniedAddress

_STARVED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})  # of us, whoever was asked


class UpstreamError(Exception):
    """An exchange with a provider that came to no end. `detail` holds no secret."""

    def __init__(self, kind: FaultKind, phase: Phase, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.phase = phase
        self.detail = detail


def interrupted(detail: str) -> UpstreamError:
    """The connection was lost behind the request."""
    return UpstreamError(FaultKind.INTERRUPTED, Phase.SENT, detail)


def garbled() -> UpstreamError:
    """What came is no answer."""
    return UpstreamError(FaultKind.BAD_UPSTREAM, Phase.SENT, "its answer is not HTTP")


def unaddressed() -> UpstreamError:
    """There is nothing that could be connected to."""
    return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, "its address is not a URL")


def too_late() -> UpstreamError:
    """The connect clock ran out."""
    return UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, "no connection within the connect clock")


def unresolved(exc: BaseException) -> UpstreamError:
    """The look-up of a name failed."""
    return _of_ours(exc, silent=True) or UpstreamError(FaultKind.DNS, Phase.NOT_SENT, "its name cannot be resolved")


def unconnected(exc: Exception) -> UpstreamError:
    """No socket was connected, or no TLS came about on it."""
    if isinstance(exc, ssl.SSLError):
        ours = _of_ours(exc, silent=True)
        return ours or UpstreamError(FaultKind.TLS, Phase.NOT_SENT, f"TLS failed: {_tls_reason(exc)}")
    reason = getattr(exc, "strerror", None) or type(exc).__name__
    if isinstance(exc, DeniedAddress):
        reason = str(exc)
    return _of_ours(exc) or UpstreamError(FaultKind.CONNECT, Phase.NOT_SENT, f"no connection: {reason}")


def _of_ours(exc: BaseException, *, silent: bool = False) -> UpstreamError | None:
    """The daemon's own want of descriptors or memory as an error, if that is what kept it from connecting. `silent`:
    who failed does not say that it could not open its files, as the C library's resolver and OpenSSL do not."""
    number = exc.errno if isinstance(exc, OSError) else None
    if number not in _STARVED and silent:
        number = _want()
    if number is None or number not in _STARVED:
        return None
    detail = (
        f"the daemon cannot open a connection: {os.strerror(number)}; try again soon, and raise its limit of open "
        "files (`ulimit -n`, LimitNOFILE= of the unit) or of memory if that goes on"
    )
    return UpstreamError(FaultKind.GATEWAY, Phase.NOT_SENT, detail)


def _want() -> int | None:
    """The number of what keeps descriptors from being opened now, if something does."""
    try:
        look_for_room()
    except OSError as exc:
        return exc.errno
    return None


def look_for_room() -> None:
    """Raises OSError where no descriptor can be opened."""
    os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _tls_reason(exc: ssl.SSLError) -> str:
    return str(getattr(exc, "verify_message", "") or exc.reason or type(exc).__name__)

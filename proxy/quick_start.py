"""What makes the start quick; imported before anything else of the daemon.

aiohttp's client reads the system's certificates once while it is imported, 20 to 40 ms for a TLS context that is never
used here: `proxy.upstream.dial` brings its own to every TLS connection. So that context is made without them. If it
ever were used, it would trust nobody and every connection through it would fail.

The garbage collector finds nothing among classes being defined and is off meanwhile.
"""

from __future__ import annotations

import gc
import ssl
from typing import Any


def _trusting_nobody(*_: Any, **__: Any) -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def import_aiohttp() -> None:
    """Import aiohttp.web without reading certificates."""
    genuine = ssl.create_default_context
    ssl.create_default_context = _trusting_nobody
    try:
        import aiohttp.web  # noqa: F401 - for its effect on sys.modules
    finally:
        ssl.create_default_context = genuine


def started() -> None:
    """All is imported: what is there stays, and the collector need not look at it again."""
    gc.enable()
    gc.freeze()


gc.disable()
import_aiohttp()

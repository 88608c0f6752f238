"""Rows 1 to 6: a provider that cannot be reached, or takes a request and says nothing."""

from __future__ import annotations

import socket

from tests.matrix.framework import Case, Row

REFUSED = Row(1, "connection refused", "the next connection answers, within 10 ms; a failure of the first")


def closed_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@REFUSED.case()
async def refused(case: Case) -> None:
    await case.bench(f"http://127.0.0.1:{closed_port()}/v1", case.good)
    await case.moves_on("connect")

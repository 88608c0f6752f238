"""Signing in to Google Cloud: access tokens of service accounts, fetched when needed and kept while they hold.

Source: Google, "Using OAuth 2.0 for Server to Server Applications" (an RS256 assertion, RFC 7523, for a token that
lives an hour), read 2026-11. What signs the assertion: `proxy.upstream.sign`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from config.model import Connection
from proxy.dialects.json import decode_object
from proxy.fault import FaultKind, Phase
from proxy.upstream.client import Client, UpstreamError, UpstreamRequest
from proxy.upstream.sign import assertion

_EARLY: Final = 120.0  # a token is renewed this many seconds before it ends
_MAX_BYTES: Final = 64 * 1024
_SECONDS: Final = 15.0


class Tokens:
    """Access tokens by connection. `now` is a monotonic clock in seconds, `wall` tells seconds since 1970."""

    def __init__(self, client: Client, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._wall = wall
        self._tokens: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, connection: Connection) -> str:
        """A token that still holds. Raises UpstreamError: `auth` where Google refuses the account."""
        identity = connection.identity
        async with self._locks.setdefault(identity, asyncio.Lock()):
            known = self._tokens.get(identity)
            if known is not None and known[1] > self._now():
                return known[0]
            token, seconds = await self._fetch(connection)
            self._tokens[identity] = (token, self._now() + max(0.0, seconds - _EARLY))
            return token

    def forget(self, connection: Connection) -> None:
        """The token was refused: the next one is fetched anew."""
        self._tokens.pop(connection.identity, None)

    async def _fetch(self, connection: Connection) -> tuple[str, float]:
        where, form = assertion(connection, self._wall())
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        request = UpstreamRequest("POST", where, headers, form, 5.0)
        try:
            async with asyncio.timeout(_SECONDS):
                # The token's address is another than the provider's: it has a pool and a guard of its own.
                response = await self._client.send(replace(connection, base_url=where), request)
                try:
                    body = b""
                    while (piece := await response.read()) and len(body) <= _MAX_BYTES:
                        body += piece
                finally:
                    response.close()
        except TimeoutError:
            raise UpstreamError(FaultKind.TIMEOUT, Phase.NOT_SENT, "Google gave no access token in time") from None
        value = decode_object(body) or {}
        token, seconds = value.get("access_token"), value.get("expires_in", 3600)
        if response.status in (400, 401, 403):
            why = str(value.get("error_description") or value.get("error") or response.status)[:200]
            raise UpstreamError(FaultKind.AUTH, Phase.NOT_SENT, f"Google refuses the service account: {why}")
        if response.status != 200 or not isinstance(token, str) or not isinstance(seconds, int | float):
            raise UpstreamError(
                FaultKind.UPSTREAM_5XX, Phase.NOT_SENT, f"Google gave no access token ({response.status})"
            )
        return token, float(seconds)

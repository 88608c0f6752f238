"""Signing in to Google Cloud: access tokens of service accounts, fetched when needed and kept while they hold.

Source: Google, "Using OAuth 2.0 for Server to Server Applications" (an RS256 assertion, RFC 7523, for a token that
lives an hour), read 2026-11. What signs the assertion: `proxy.upstream.sign`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from config.model import Connection
from proxy.dialects.json import decode_object
from proxy.fault import FaultKind, Phase
from proxy.upstream.client import Client, Heading, UpstreamError, UpstreamRequest
from proxy.upstream.sign import assertion

_EARLY: Final = 120.0  # a token is renewed this many seconds before it ends
_MAX_BYTES: Final = 64 * 1024
_SECONDS: Final = 15.0


class _Kept(msgspec.Struct):
    """A token until when it holds, by both clocks: the monotonic one stands still while a machine sleeps."""

    text: str
    until: float
    date: float
    uses: int = 0


class Tokens:
    """Access tokens by connection. `now` is a monotonic clock in seconds, `wall` tells seconds since 1970."""

    def __init__(self, client: Client, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._wall = wall
        self._tokens: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, connection: Connection) -> str:
        """A token that still holds. Raises UpstreamError: `auth` where Google refuses the account."""
        identity = connection.identity
        async with self._locks.setdefault(identity, asyncio.Lock()):
            known = self._tokens.get(identity)
            if known is None or known.until <= self._now() or known.date <= self._wall():
                token, seconds = await self._fetch(connection)
                left = max(0.0, seconds - _EARLY)
                known = self._tokens[identity] = _Kept(token, self._now() + left, self._wall() + left)
            known.uses += 1
            return known.text

    def forget(self, connection: Connection, token: str) -> bool:
        """This token was refused: whether another one may do better, because it was not fetched just now."""
        known = self._tokens.get(connection.identity)
        if known is None or known.text != token:
            return True
        del self._tokens[connection.identity]
        return known.uses > 1

    async def _fetch(self, connection: Connection) -> tuple[str, float]:
        where, form = assertion(connection, self._wall())
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        request = UpstreamRequest(Heading("POST", where, headers), form, 5.0)
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
        except UpstreamError as exc:  # however far that came: the question itself has not been sent
            raise UpstreamError(exc.kind, Phase.NOT_SENT, f"Google gave no access token: {exc.detail}") from None
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

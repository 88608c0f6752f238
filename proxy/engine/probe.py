"""The test of one connection: a real, cheap call with its own key to its own address.

A provider with a model list is asked for that; one without, for a single token of its default model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from config.model import Connection, Operation
from proxy.dialects.json import encode
from proxy.fault import FaultKind
from proxy.upstream.client import Client, UpstreamError, UpstreamRequest
from proxy.upstream.model_lists import ListUnavailable, ModelLists
from proxy.upstream.sign import MissingCredential, sign

_SECONDS: Final = 15.0


class Probe(msgspec.Struct, frozen=True):
    """What came of it; `error` says what is wrong and what to do, without secrets."""

    ok: bool
    latency_ms: float
    models: int
    error: str | None


async def probe(connection: Connection, client: Client, lists: ModelLists, now: Callable[[], float]) -> Probe:
    """Call the provider once. Never raises for what the provider does wrong."""
    started = now()
    models, error = 0, connection.fault
    if error is None:
        try:
            if connection.speaks(Operation.MODELS):
                models = len(await lists.fetch(connection))
            else:
                await _one_token(connection, client)
        except ListUnavailable as exc:
            error = _advice(connection, exc)
    return Probe(error is None, round((now() - started) * 1000, 1), models, error)


async def _one_token(connection: Connection, client: Client) -> None:
    model = connection.spec.default_model
    if model is None or not connection.speaks(Operation.CHAT):
        raise ListUnavailable("it has neither a model list nor a default model to try")
    body = encode({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1})
    try:
        url, credential = sign(connection, Operation.CHAT, connection.url(Operation.CHAT))
    except MissingCredential:
        raise ListUnavailable("it has no API key", kind=FaultKind.AUTH) from None
    headers = [*connection.spec.headers.items(), ("content-type", "application/json"), *credential]
    try:
        async with asyncio.timeout(_SECONDS):
            response = await client.send(connection, UpstreamRequest("POST", url, headers, body, 5.0))
    except UpstreamError as exc:
        raise ListUnavailable(exc.detail, kind=exc.kind) from None
    except TimeoutError:
        raise ListUnavailable(f"no answer within {_SECONDS:g} s", kind=FaultKind.TIMEOUT) from None
    response.close()
    if response.status != 200:
        raise ListUnavailable(f"it answered {response.status}", response.status)


def _advice(connection: Connection, exc: ListUnavailable) -> str:
    who = connection.provider
    if exc.status in (401, 403) or exc.kind is FaultKind.AUTH:
        return f"{who}: {exc.reason}: its key is refused; set a new one with `redeo providers set {who}`"
    if exc.status == 429:
        return f"{who}: {exc.reason}: its rate or quota is used up; the key itself is good"
    if exc.kind is FaultKind.DNS:
        return f"{who}: {exc.reason}; look at its address ({connection.origin}) and at the network"
    if exc.kind is FaultKind.TLS:
        return f"{who}: {exc.reason}; the certificate of {connection.origin} is not trusted here"
    if exc.kind in (FaultKind.CONNECT, FaultKind.TIMEOUT):
        return f"{who}: {exc.reason}; is {connection.origin} up and reachable from here?"
    return f"{who}: {exc.reason}"

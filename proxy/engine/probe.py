"""The test of one connection: a real, cheap call with its own key to its own address.

A provider with a model list is asked for that; one without, for a single token of its default model.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from config.model import Connection, Operation
from proxy.dialects.base import Target, dialect
from proxy.dialects.blocks import Text
from proxy.dialects.json import encode
from proxy.dialects.request import Param, Request, Role, Turn
from proxy.engine.attempt import Attempter
from proxy.engine.translate import SPOKEN
from proxy.fault import FaultKind
from proxy.routing import Health
from proxy.upstream.client import Client, Heading, UpstreamError, UpstreamRequest
from proxy.upstream.google import Tokens
from proxy.upstream.model_lists import ListUnavailable, ModelLists
from proxy.upstream.sign import MissingCredential, needs_token, sign

_SECONDS: Final = 15.0


class Probe(msgspec.Struct, frozen=True):
    """What came of it; `error` says what is wrong and what to do, without secrets."""

    ok: bool
    latency_ms: float
    models: int
    error: str | None


async def probe(connection: Connection, attempter: Attempter, lists: ModelLists, health: Health) -> Probe:
    """Call the provider once; a key that it takes again is no longer refused. Never raises for what it does wrong."""
    started = attempter.now()
    models, error = 0, connection.fault
    if error is None:
        try:
            if connection.speaks(Operation.MODELS):
                models = len(await lists.fetch(connection))
            else:
                await _one_token(connection, attempter.client, attempter.tokens)
        except ListUnavailable as exc:
            error = _advice(connection, exc)
    if error is None:
        health.revive(connection)
    return Probe(error is None, round((attempter.now() - started) * 1000, 1), models, error)


async def _one_token(connection: Connection, client: Client, tokens: Tokens) -> None:
    model = connection.spec.default_model
    operation = next((op for op in SPOKEN if connection.speaks(op, model)), None)
    if model is None or operation is None:
        raise ListUnavailable("it has neither a model list nor a default model to try")
    url, headers, body = _smallest(connection, operation, model)
    try:
        async with asyncio.timeout(_SECONDS):
            token = await tokens.token(connection) if needs_token(connection, operation) else None
            url, credential = sign(connection, operation, url, method="POST", headers=headers, body=body, token=token)
            request = UpstreamRequest(Heading("POST", url, [*headers, *credential]), body, 5.0)
            response = await client.send(connection, request)
    except MissingCredential:
        raise ListUnavailable("it has no API key", kind=FaultKind.AUTH) from None
    except UpstreamError as exc:
        raise ListUnavailable(exc.detail, kind=exc.kind) from None
    except TimeoutError:
        raise ListUnavailable(f"no answer within {_SECONDS:g} s", kind=FaultKind.TIMEOUT) from None
    response.close()
    if response.status != 200:
        raise ListUnavailable(f"it answered {response.status}", response.status)


def _smallest(connection: Connection, operation: Operation, model: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Address, headers and body of the least that can be asked."""
    route = connection.spec.speaks[operation]
    asked = Request("", model, (Turn(Role.USER, (Text("hi"),)),), params={Param.MAX_TOKENS: 1})
    body, _ = dialect(SPOKEN[operation]).write_request(asked, Target("", model))
    if route.model_in_path:
        body.pop("model", None)
    headers = [*connection.spec.headers.items(), ("content-type", "application/json")]
    return connection.url(operation, model=model), headers, encode({**body, **route.adds})


def _advice(connection: Connection, exc: ListUnavailable) -> str:
    who = connection.provider
    if exc.status in (401, 403) or exc.kind is FaultKind.AUTH:
        return f"{who}: {exc.reason}: its key is refused; set a new one with `redeo providers add {who}`"
    if exc.status == 429:
        return f"{who}: {exc.reason}: its rate or quota is used up; the key itself is good"
    if exc.kind is FaultKind.DNS:
        return f"{who}: {exc.reason}; look at its address ({connection.origin}) and at the network"
    if exc.kind is FaultKind.TLS:
        return f"{who}: {exc.reason}; the certificate of {connection.origin} is not trusted here"
    if exc.kind in (FaultKind.CONNECT, FaultKind.TIMEOUT):
        return f"{who}: {exc.reason}; is {connection.origin} up and reachable from here?"
    return f"{who}: {exc.reason}"

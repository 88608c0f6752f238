"""TLS to providers is checked, always: who cannot prove its name is told nothing, and the next one is asked."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from config.model import Settings
from config.schema import read
from tests.support.daemon import UNHURRIED
from tests.support.gates import ROOT, sources
from tests.support.upstream import chat

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


class Listener:
    """A TLS server that counts the handshakes that came to an end, and keeps what was sent inside them."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard.extend(data)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def impostor(request: pytest.FixtureRequest) -> AsyncIterator[Listener]:
    """A listener whose certificate the parameter chooses."""
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=request.param())
    listener.port = server.sockets[0].getsockname()[1]
    yield listener
    server.close()


AUTHORITY = trustme.CA()


def context(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(made)
    return made


def unknown_authority() -> ssl.SSLContext:
    return context(trustme.CA(), "127.0.0.1")


def expired() -> ssl.SSLContext:
    return context(AUTHORITY, "127.0.0.1", not_after=LONG_AGO)


def not_yet_valid() -> ssl.SSLContext:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return context(AUTHORITY, "127.0.0.1", not_before=tomorrow, not_after=tomorrow + timedelta(days=9))


def other_host() -> ssl.SSLContext:
    return context(AUTHORITY, "elsewhere.example", "127.0.0.2")


def name_in_the_wrong_place() -> ssl.SSLContext:
    return context(AUTHORITY, "elsewhere.example", common_name="127.0.0.1")


def self_signed() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        made.load_cert_chain(certificate, key)
    return made


def too_old() -> ssl.SSLContext:
    made = context(AUTHORITY, "127.0.0.1")
    made.minimum_version = ssl.TLSVersion.TLSv1
    made.maximum_version = ssl.TLSVersion.TLSv1_1
    made.set_ciphers("ALL:@SECLEVEL=0")
    return made


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts the authority of these tests, as it does those of the web."""
    plain = ssl.create_default_context

    def made(*arguments: Any, **options: Any) -> ssl.SSLContext:
        found = plain(*arguments, **options)
        AUTHORITY.configure_trust(found)
        return found

    monkeypatch.setattr(ssl, "create_default_context", made)


FORGERIES = [unknown_authority, expired, not_yet_valid, other_host, name_in_the_wrong_place, self_signed]


@pytest.mark.parametrize("impostor", FORGERIES, indirect=True, ids=lambda forgery: forgery.__name__)
async def test_who_cannot_prove_its_name_is_told_nothing(
    redeo: Any, provider: Any, trusting: None, impostor: Listener
) -> None:
    honest = await provider(chat(), tls=context(AUTHORITY, "127.0.0.1"))
    alpha = {"base_url": f"https://127.0.0.1:{impostor.port}/v1"}
    server = await redeo({"alpha": alpha, "beta": honest}, routing={"timeouts": UNHURRIED})
    for streamed in (False, True):
        got = await server.chat(stream=streamed)
        assert (got.status, got.attempts) == (200, "alpha=tls beta=200"), got.body
    tested = (await server.request("POST", "/v1/providers/alpha/test")).json
    assert tested["ok"] is False
    assert "certificate" in tested["error"]
    await server.request("GET", "/v1/models")
    assert not impostor.heard
    assert len(honest.requests) == 2


@pytest.mark.parametrize("impostor", [too_old], indirect=True, ids=["tls 1.1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_who_speaks_an_old_version_is_told_nothing(
    redeo: Any, provider: Any, trusting: None, impostor: Listener
) -> None:
    alpha = {"base_url": f"https://127.0.0.1:{impostor.port}/v1"}
    server = await redeo({"alpha": alpha, "beta": await provider(chat())}, routing={"timeouts": UNHURRIED})
    got = await server.chat()
    assert got.status == 200
    assert got.attempts in ("alpha=tls beta=200", "alpha=connect beta=200"), "as the other side ends the handshake"
    assert not impostor.heard


def test_there_is_no_switch_that_turns_it_off() -> None:
    words = re.compile(
        r"insecure|verify_?ssl|ssl_?verify|verify_mode|check_hostname|CERT_NONE|_create_unverified", re.I
    )
    for _, path in sources():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not words.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
    names = {name.lower() for name in (*Settings.__struct_fields__, *read.__globals__["_PROVIDER"])}
    assert not {name for name in names if "tls" in name or "ssl" in name or "verify" in name}


async def test_the_environment_sends_nothing_through_a_proxy(
    redeo: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief = await provider(chat())
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelt in (name, name.upper()):
            monkeypatch.setenv(spelt, f"http://127.0.0.1:{thief.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    up = await provider(chat())
    server = await redeo({"alpha": up}, routing={"timeouts": UNHURRIED})
    assert (await server.chat()).status == 200
    assert len(up.requests) == 1
    assert not thief.requests

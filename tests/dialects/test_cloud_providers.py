"""Amazon, Google Cloud and Azure: how requests are signed and addressed. AWS's own library and RSA are the judges."""

from __future__ import annotations

import base64
import json
import struct
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote
from zlib import crc32

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.aws_events import BadFrame, FrameSplitter, frame
from proxy.dialects.base import DialectName, ReplyHead, dialect
from proxy.dialects.events import fold, unfold
from proxy.dialects.request import Request
from proxy.upstream import aws
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI
from tests.support.upstream import answer, drop

PAIR = aws.KeyPair("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
SEGMENT = st.text("abcXYZ019.:-_~%/ +é", min_size=1, max_size=12).filter(lambda text: text.strip("."))


def amazons(pair: aws.KeyPair, url: str, headers: list[tuple[str, str]], body: bytes, stamp: str) -> str:
    """The `Authorization` that AWS's own library gives this request."""
    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    signer = SigV4Auth(Credentials(pair.ident, pair.secret, pair.token), aws.SERVICE, "us-east-1")
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    if pair.token:
        request.headers["X-Amz-Security-Token"] = pair.token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return str(request.headers["Authorization"])


@given(path=st.lists(SEGMENT, min_size=1, max_size=4), body=st.binary(max_size=60), token=st.none() | st.just("t" * 20))
def test_requests_are_signed_as_amazons_library_signs_them(path: list[str], body: bytes, token: str | None) -> None:
    pair = aws.KeyPair(PAIR.ident, PAIR.secret, token)
    plain = "/".join(quote(segment, safe="@") for segment in path)
    url = f"https://bedrock-runtime.us-east-1.amazonaws.com/model/{plain}/converse"
    headers = [("content-type", "application/json")]
    signed = dict(aws.signature(pair, "POST", url, headers, body, NOW))
    assert signed["Authorization"] == amazons(pair, url, headers, body, signed["x-amz-date"])


def test_an_access_key_is_told_from_an_api_key() -> None:
    assert aws.key_pair(f"{PAIR.ident}:{PAIR.secret}") == PAIR
    temporary = aws.key_pair(f"ASIAIOSFODNN7EXAMPLE:{PAIR.secret}:{'x' * 40}")
    assert temporary is not None
    assert temporary.token == "x" * 40
    assert aws.key_pair("ABSKQmVkcm9ja0FQSUtleS1abc:def") is None
    assert aws.region_of("bedrock-runtime.eu-west-3.amazonaws.com") == "eu-west-3"
    assert aws.region_of("bedrock-runtime-fips.us-gov-west-1.amazonaws.com") == "us-gov-west-1"
    assert aws.region_of("bedrock-runtime.eusc-de-east-1.amazonaws.eu") == "eusc-de-east-1"
    assert aws.region_of("bedrock-runtime.us-isob-east-1.sc2s.sgov.gov") == "us-isob-east-1"
    assert aws.region_of("127.0.0.1") == "us-east-1"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=80), st.dictionaries(st.sampled_from(":a b"), st.text(max_size=9)))),
    st.data(),
)
def test_frames_are_read_as_amazons_library_reads_them(messages: list[Any], data: st.DataObject) -> None:
    text = b"".join(frame(payload, headers) for payload, headers in messages)
    theirs = EventStreamBuffer()
    theirs.add_data(text)
    read = [(message.payload, dict(message.headers)) for message in theirs]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    ours = FrameSplitter()
    got = [f for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) for f in ours.feed(text[a:b])]
    assert [(f.payload, f.headers) for f in got] == read == messages
    assert not ours.pending


@given(payload=st.binary(max_size=40), at=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_damaged_frame_is_noticed(payload: bytes, at: int, bit: int) -> None:
    text = bytearray(frame(payload, {":event-type": "x"}))
    text[at % len(text)] ^= 1 << bit
    with pytest.raises(BadFrame):
        list(FrameSplitter().feed(bytes(text)))


@pytest.mark.parametrize(
    "headers", [b"\x01n\x07\x00\x09abc", b"\x01n\x07\x00", b"\x01n\x04\x00\x00", b"\x01n\x09" + bytes(15)]
)
def test_a_header_that_ends_beyond_the_headers_is_noticed(headers: bytes) -> None:
    """Found by fuzzing: the checksums may be right all the same."""
    start = struct.pack(">II", 16 + len(headers), len(headers))
    body = start + crc32(start).to_bytes(4, "big") + headers
    with pytest.raises(BadFrame):
        list(FrameSplitter().feed(body + crc32(body).to_bytes(4, "big")))


async def test_bedrock_is_signed_with_a_key_pair_and_a_bearer_with_an_api_key(redeo: Any, provider: Any) -> None:
    up = await provider(CONVERSE.good(), CONVERSE.good())
    base = up.base_url.removesuffix("/v1") + "/openai/v1"
    server = await redeo({"bedrock": {"base_url": base}}, connect=False)
    key = f"{PAIR.ident}:{PAIR.secret}"
    await server.request("POST", "/v1/providers", json={"provider": "bedrock", "api_key": key})
    body = {**ANTHROPIC.body, "model": "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"}
    assert (await server.request("POST", "/v1/messages", json=body)).status == 200
    got = up.requests[0]
    assert got.target == "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    url = f"http://127.0.0.1:{up.port}{got.target}"
    stamp = got.header("x-amz-date")
    assert got.header("authorization") == amazons(PAIR, url, [("content-type", "application/json")], got.body, stamp)
    assert PAIR.secret.encode() not in got.raw
    await server.request("PATCH", "/v1/providers/bedrock", json={"api_key": "bedrock-api-key-abc"})
    assert (await server.request("POST", "/v1/messages", json=body)).status == 200
    assert up.requests[1].header("authorization") == "Bearer bedrock-api-key-abc"


async def test_makers_that_bedrock_does_not_serve_in_openais_form_are_asked_in_its_own(
    redeo: Any, provider: Any
) -> None:
    up = await provider(CHAT.good(), CONVERSE.good())
    base = up.base_url.removesuffix("/v1") + "/openai/v1"
    server = await redeo({"bedrock": {"base_url": base}})
    for name in ("openai.gpt-oss-120b-1:0", "amazon.nova-pro-v1:0"):
        got = await server.request("POST", "/v1/chat/completions", json={**CHAT.body, "model": f"bedrock/{name}"})
        assert got.status == 200, got.body
    assert [r.target for r in up.requests] == ["/openai/v1/chat/completions", "/model/amazon.nova-pro-v1%3A0/converse"]


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account(token_uri: str) -> str:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "r@p.iam",
            "private_key": pem,
            "private_key_id": "k1",
            "token_uri": token_uri,
        },
        indent=2,
    )


def unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def vertex(redeo: Any, up: Any, tokens: Any) -> Any:
    base = up.base_url.removesuffix("/v1") + "/v1/projects/p/locations/global"
    server = await redeo({"vertex": {"base_url": base, "models": ["gemini-x", "claude-x"]}}, connect=False)
    key = account(f"http://127.0.0.1:{tokens.port}/token")
    got = await server.request("POST", "/v1/providers", json={"provider": "vertex", "api_key": key})
    assert got.status == 201, got.body
    return server


async def test_vertex_signs_in_once_and_serves_google_and_anthropic(redeo: Any, provider: Any) -> None:
    tokens = await provider(answer({"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"}))
    up = await provider(GEMINI.good("yes"), ANTHROPIC.good(), ANTHROPIC.good("yes"))
    server = await vertex(redeo, up, tokens)
    chat = {**CHAT.body, "model": "vertex/gemini-x"}
    assert (await server.request("POST", "/v1/chat/completions", json=chat)).status == 200
    messages = {**ANTHROPIC.body, "model": "vertex/claude-x", "metadata": {"user_id": "model"}}
    assert (await server.request("POST", "/v1/messages", json=messages)).status == 200
    assert (await server.request("POST", "/v1/messages", json={**messages, "stream": True})).status == 200
    places = "/v1/projects/p/locations/global/publishers"
    assert [r.target for r in up.requests] == [
        f"{places}/google/models/gemini-x:generateContent",
        f"{places}/anthropic/models/claude-x:rawPredict",
        f"{places}/anthropic/models/claude-x:streamRawPredict",
    ]
    assert {r.header("authorization") for r in up.requests} == {"Bearer ya29.token"}
    sent = up.requests[1].json
    assert sent.pop("anthropic_version") == "vertex-2023-10-16"
    assert sent == {k: v for k, v in messages.items() if k != "model"}
    assert len(tokens.requests) == 1
    form = parse_qs(tokens.requests[0].body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    text, _, proof = form["assertion"][0].rpartition(".")
    KEY.public_key().verify(unpacked(proof), text.encode(), padding.PKCS1v15(), SHA256())
    claims = json.loads(unpacked(text.partition(".")[2]))
    assert (claims["iss"], claims["exp"] - claims["iat"]) == ("r@p.iam", 3600)
    assert claims["aud"] == f"http://127.0.0.1:{tokens.port}/token"


async def test_a_service_account_that_google_refuses_is_not_the_clients_fault(redeo: Any, provider: Any) -> None:
    tokens = await provider(answer({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400))
    up = await provider(GEMINI.good("yes"))
    server = await vertex(redeo, up, tokens)
    got = await server.request("POST", "/v1/chat/completions", json={**CHAT.body, "model": "vertex/gemini-x"})
    assert got.status == 502
    assert "Invalid JWT Signature" in got.json["error"]["message"]
    assert not up.requests


def signing(*names: str) -> Any:
    """Google's sign-in, which gives out these tokens one after the other."""
    return [answer({"access_token": name, "expires_in": 3600}) for name in names]


def taking(*names: str) -> Any:
    """Vertex, which takes these tokens alone."""

    async def script(received: Any, wire: Any) -> None:
        if received.header("authorization") in [f"Bearer {name}" for name in names]:
            await GEMINI.good("yes")(received, wire)
        else:
            await answer({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "expired"}}, 401)(
                received, wire
            )

    return script


VERTEX_ASKED = {**CHAT.body, "model": "vertex/gemini-x"}


async def test_a_token_that_ends_before_its_time_is_replaced(redeo: Any, provider: Any) -> None:
    tokens, up = await provider(*signing("old", "new")), await provider(taking("old"))
    server = await vertex(redeo, up, tokens)
    assert (await server.request("POST", "/v1/chat/completions", json=VERTEX_ASKED)).status == 200
    up.scripts[:] = [taking("new")]
    for _ in range(2):
        got = await server.request("POST", "/v1/chat/completions", json=VERTEX_ASKED)
        assert (got.status, got.attempts) == (200, "vertex=200"), got.body
    assert (len(tokens.requests), len(up.requests)) == (2, 4)


async def test_a_fresh_token_that_is_refused_is_not_fetched_again(redeo: Any, provider: Any) -> None:
    tokens, up = await provider(*signing("one", "two")), await provider(taking())
    server = await vertex(redeo, up, tokens)
    got = await server.request("POST", "/v1/chat/completions", json=VERTEX_ASKED)
    assert (got.status, got.attempts) == (502, "vertex=401")
    assert (len(tokens.requests), len(up.requests)) == (1, 1)


async def test_a_token_does_not_outlive_a_machine_that_slept(redeo: Any, provider: Any) -> None:
    tokens, up = await provider(*signing("old", "new")), await provider(taking("old", "new"))
    server = await vertex(redeo, up, tokens)
    kept = server.daemon.front.engine.attempter.tokens
    assert (await server.request("POST", "/v1/chat/completions", json=VERTEX_ASKED)).status == 200
    kept._wall = lambda: time.time() + 7200  # the monotonic clock stands still in such a time
    assert (await server.request("POST", "/v1/chat/completions", json=VERTEX_ASKED)).status == 200
    assert [r.header("authorization") for r in up.requests] == ["Bearer old", "Bearer new"]


async def test_a_sign_in_that_fails_has_sent_no_question(redeo: Any, provider: Any) -> None:
    tokens, up, other = await provider(drop()), await provider(taking()), await provider(CHAT.good("yes"))
    base = up.base_url.removesuffix("/v1") + "/v1/projects/p/locations/global"
    server = await redeo({"vertex": {"base_url": base, "models": ["m"]}, "beta": CHAT.entry(other)}, connect=False)
    key = account(f"http://127.0.0.1:{tokens.port}/token")
    await server.request("POST", "/v1/providers", json={"provider": "vertex", "api_key": key})
    await server.connect("beta")
    asked = {"model": "auto", "input": "hello", "store": True}
    got = await server.request("POST", "/v1/responses", json=asked)
    assert got.attempts == "vertex=interrupted beta=200", got.body


@pytest.mark.parametrize("key", ["plain-api-key-123", "{}", '{"client_email": "a", "private_key": "b"}', "[1]"])
async def test_what_is_no_service_account_is_refused(redeo: Any, key: str) -> None:
    server = await redeo({}, connect=False)
    body = {"provider": "vertex", "api_key": key, "endpoint": "https://aiplatform.googleapis.com/v1/projects/p"}
    got = await server.request("POST", "/v1/providers", json=body)
    assert (got.status, got.json["error"]["code"]) == (400, "invalid_api_key")


async def test_a_token_is_asked_for_at_google_alone(redeo: Any) -> None:
    server = await redeo({}, connect=False)
    key = account("https://evil.example/token")
    endpoint = "https://aiplatform.googleapis.com/v1/projects/p/locations/global"
    body = {"provider": "vertex", "api_key": key, "endpoint": endpoint}
    got = await server.request("POST", "/v1/providers", json=body)
    assert (got.status, got.json["error"]["code"]) == (400, "invalid_api_key")


async def test_azure_deployments_are_named_in_the_path(redeo: Any, provider: Any) -> None:
    up = await provider(CHAT.good(), CHAT.good("yes"))
    base = up.base_url.removesuffix("/v1") + "/openai"
    entry = {"base_url": base, "api_version": "2025-04-01-preview"}
    server = await redeo({"azure-deployments": entry})
    asked = {**CHAT.body, "model": "azure-deployments/my gpt"}
    assert (await server.request("POST", "/v1/chat/completions", json=asked)).status == 200
    assert (
        await server.request("POST", "/v1/messages", json={**ANTHROPIC.body, "model": asked["model"]})
    ).status == 200
    target = "/openai/deployments/my%20gpt/chat/completions?api-version=2025-04-01-preview"
    assert [r.target for r in up.requests] == [target, target]
    assert up.requests[0].header("api-key") == server.keys["azure-deployments"]
    assert "model" not in up.requests[0].json


def test_what_converse_writes_is_read_by_amazons_library() -> None:
    spoken = dialect(DialectName.CONVERSE)
    events = list(spoken.read_answer(CONVERSE.whole, "o"))
    renderer = spoken.renderer(ReplyHead("r", 1, Request(DialectName.CONVERSE, "m", ()), "m"))
    theirs = EventStreamBuffer()
    theirs.add_data(b"".join(renderer.event(event) for event in unfold(fold(events))))
    kinds = [message.headers[":event-type"] for message in theirs]
    assert kinds == ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]

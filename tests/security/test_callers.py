"""Other users and programs of the machine: without the daemon's key they spend nothing, and cannot find it."""

from __future__ import annotations

import hashlib
import math
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest

from proxy.front.guard import is_key
from tests.support.daemon import Redeo
from tests.support.raw import RawClient, every_route, get
from tests.support.upstream import Upstream, chat

WITHOUT_A_KEY = {
    "/", "/healthz", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/providers/catalog", "/providers/catalog",
}  # fmt: skip
ELSEWISE = [
    "/v1/providers/catalog/../alpha", "/v1/providers/catalog%2f..%2falpha", "/v1/providers/%2e%2e/providers",
    "/healthz/../v1/models", "//v1/models", "/./v1/models", "/v1/models;x", "/v1/%6dodels", "/V1/models", "/v1\\models",
    "/v1/models%00", "/v1/models/", "/v1/providers/catalog?x=/v1/providers", "/metrics/../v1/models",
    "/v1/providers/catalo%67", "/%2f/v1/models", "/v1/providers/catalog%3f", "/v1/providers/catalo%67/test",
    "/openapi.json/../v1/models",
]  # fmt: skip
STILL_OPEN = {"/v1/providers/catalog?x=/v1/providers", "/v1/providers/catalo%67"}  # the catalogue, and nothing else
KEY_HEADERS = ("Authorization: Bearer ", "x-api-key: ", "api-key: ", "x-goog-api-key: ")


@pytest.fixture
async def up(provider: Any) -> Upstream:
    made: Upstream = await provider(chat(), models=["m"])
    return made


@pytest.fixture
async def server(redeo: Any, up: Upstream) -> Redeo:
    started: Redeo = await redeo({"alpha": up})
    return started


@pytest.fixture
def client(server: Redeo) -> Any:
    made = RawClient(server)
    yield made
    made.close()


def wrong_ones(key: str) -> list[str]:
    """Keys that are nearly the right one."""
    return [
        key[:-1],
        key + "x",
        key.upper(),
        key.swapcase(),
        key[1:],
        key[:-1] + "\xe9",
        f"{key},{key}",
        f"Bearer {key}",
    ]


async def test_without_the_key_no_route_does_anything(server: Redeo, client: RawClient, up: Upstream) -> None:
    for method, path in every_route(server):
        body = b'{"model":"auto","provider":"groq","api_key":"gsk_0123456789"}' if method in ("POST", "PATCH") else b""
        framing = ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
        got = await client.ask(get(path, "Host: localhost", *framing, method=method) + body)
        if path in WITHOUT_A_KEY and method in ("GET", "HEAD"):
            assert got.status == 200, (method, path)
        else:
            assert got.status in (401, 429), (method, path)
    assert [c.provider for c in server.daemon.store.current.connections] == ["alpha"]
    assert not up.requests
    assert not up.list_requests


async def test_a_path_spelt_otherwise_does_not_get_round_the_key(server: Redeo, client: RawClient) -> None:
    """What is open is judged as what is then served: no route behind the key answers under an open one's name."""
    for path in ELSEWISE:
        got = await client.ask(get(path, "Host: localhost"))
        assert got.status in (401, 429, 400, 404) or path in STILL_OPEN, (path, got.head)
        assert b'"object":"list"' not in got.body
        assert b"key_prefix" not in got.body
    for path in WITHOUT_A_KEY:
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "OPTIONS"):
            got = await client.ask(get(path, "Host: localhost", method=method))
            assert got.status in (401, 429, 405), (method, path, got.head)


async def test_nearly_the_key_is_not_the_key(server: Redeo, client: RawClient) -> None:
    for key in wrong_ones(server.key):
        for header in KEY_HEADERS:
            if header == KEY_HEADERS[0] and key.startswith("Bearer"):
                continue
            got = await client.ask(get("/v1/models", "Host: localhost", header + key))
            assert got.status in (401, 429), (header, key)
    for scheme in ("Basic", "Token", "Digest", "", "Bearer:"):
        got = await client.ask(get("/v1/models", "Host: localhost", f"Authorization: {scheme}{server.key}"))
        assert got.status in (401, 429), scheme


async def test_ever_more_wrong_keys_are_slowed_down_and_the_right_one_never(
    server: Redeo, client: RawClient, long: bool
) -> None:
    statuses: list[int] = []
    right = RawClient(server)
    rounds = 10_000 if long else 1_000
    for number in range(rounds):
        wrong = secrets.token_urlsafe(32)
        statuses.append((await client.ask(get("/v1/models", "Host: localhost", f"x-api-key: {wrong}"))).status)
        if number % 50 == 0:
            good = await right.ask(get("/v1/models", "Host: localhost", f"x-api-key: {server.key}"))
            assert good.status == 200
    right.close()
    assert set(statuses) == {401, 429}
    assert statuses.count(401) < 5 + 6 * 60, "five a second, and nobody takes a minute for this"
    assert statuses[:5] == [401] * 5
    assert (await server.chat()).status == 200


async def test_the_key_has_256_random_bits_and_is_kept_as_a_digest_alone(redeo: Any) -> None:
    keys = {(await redeo({})).key for _ in range(2)}
    assert len(keys) == 2
    for key in keys:
        assert key.startswith("rd-")
        assert len(key.removeprefix("rd-")) == 43  # 32 bytes in base64
    server = await redeo({})
    assert server.daemon.front.key_digest == hashlib.sha256(server.key.encode()).digest()
    assert server.key not in repr(server.daemon.front)


# --- timing


def difference(compare: Callable[[str, bytes], bool], rounds: int) -> float:
    """Welch's t between the times for a key that is right but for its end, and one that is wrong from its start."""
    key = "rd-" + secrets.token_urlsafe(32)
    wanted = hashlib.sha256(key.encode()).digest()
    near, far = key[:-1] + "!", "!" + key[1:]
    order = [near, far] * (rounds // 2)
    random.Random(1).shuffle(order)
    taken: dict[str, list[int]] = {near: [], far: []}
    clock = time.perf_counter_ns
    for given in order:
        start = clock()
        compare(given, wanted)
        taken[given].append(clock() - start)
    limit = sorted(taken[near] + taken[far])[int(rounds * 0.9)]  # what lies above was interrupted by something else
    kept = [[t for t in times if t <= limit] for times in taken.values()]
    means = [sum(times) / len(times) for times in kept]
    spread = [sum((t - mean) ** 2 for t in times) / (len(times) - 1) for times, mean in zip(kept, means, strict=True)]
    return (means[0] - means[1]) / math.sqrt(sum(s / len(times) for s, times in zip(spread, kept, strict=True)))


def test_how_long_a_comparison_takes_says_nothing_of_the_key(long: bool) -> None:
    """A leak shows in every run, the noise of a busy machine does not: one quiet run of five is enough."""
    assert any(abs(difference(is_key, 100_000 if long else 50_000)) < 4.5 for _ in range(5))


def test_a_comparison_that_leaks_would_be_noticed() -> None:
    def early(given: str, _wanted: bytes) -> bool:
        return all(one != "!" for one in given)  # stops at the first character that is wrong

    assert all(abs(difference(early, 20_000)) > 4.5 for _ in range(3))


# --- and with it, no further than the paths that are served


@pytest.mark.parametrize(
    "tail",
    [
        "../organization/admin_api_keys", "x/../../organization", "%2e%2e/organization", "x/%2e%2e/%2E%2E/organization",
        "..%2forganization", "x%2f..%2f..%2forganization", ".", "..", "x/./y", "x/..", "%2e", "..%5corganization",
        "x/..;/organization",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/files", "/v1/responses", "/v1/batches", "/v1/images", "/messages/batches"])
async def test_no_path_leads_out_of_the_operation_that_it_names(
    server: Redeo, client: RawClient, up: Upstream, path: str, tail: str
) -> None:
    """The provider's key would go with it, to whatever else the provider has at that host."""
    key = f"Authorization: Bearer {server.key}"
    for method in ("GET", "POST", "DELETE"):
        framing = ["Content-Type: application/json", "Content-Length: 2"] if method == "POST" else []
        body = b"{}" if method == "POST" else b""
        got = await client.ask(get(f"{path}/{tail}", "Host: localhost", key, *framing, method=method) + body)
        assert got.status in (400, 404, 405), (method, got.head)
    assert not up.requests
    assert not up.list_requests

"""What is explained is what a request would meet: the plan's candidates, and a reason for everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from config.model import Operation, Quirks, Route, Snapshot
from proxy.fault import Fault, FaultKind
from proxy.routing import Explanation, Health, NoPlan, exhausted, explain, plan, resolve
from proxy.routing.explain import WhyNot
from tests.rooms.routing.conftest import Clock, World
from tests.support.led import Led

K = FaultKind
CHAT = Operation.CHAT
BY_KIND = {
    K.AUTH: WhyNot.DISABLED,
    K.QUOTA: WhyNot.QUOTA,
    K.RATE: WhyNot.COOLING,
    K.MODEL_MISSING: WhyNot.MODEL_MISSING,
    K.CONNECT: WhyNot.OPEN,
    K.OVERLOAD: WhyNot.OPEN,
}


@pytest.fixture
def health(clock: Clock) -> Health:
    return Led(clock, lambda: 1.0)


def fail(health: Health, connection: Any, kind: FaultKind, model: str = "m", times: int = 5) -> None:
    for _ in range(times):
        ticket = health.admit(connection, model)
        if ticket is not None:
            health.failed(connection, model, Fault(kind, "no", retry_after=40.0), ticket)


def tried(found: Explanation) -> list[tuple[str, str | None]]:
    return [(entry.candidate.connection.provider, entry.model) for entry in found.tried]


def left(found: Explanation) -> list[tuple[str, str | None, str]]:
    return [(entry.provider, entry.model, entry.reason.value) for entry in found.left_out]


# the reasons


def test_nobody_is_connected(world: World, health: Health) -> None:
    found = explain(world.snapshot(), CHAT, "auto", world, health)
    assert (found.tried, found.left_out) == ((), ())
    assert found.answer is not None
    assert (found.answer.status, found.answer.code) == (503, "no_usable_connection")
    assert "redeo providers add" in found.answer.message


def test_an_alias_names_who_is_tried(world: World, health: Health) -> None:
    snapshot = world.snapshot(
        *(world.connection(name) for name in ("alpha", "beta", "gamma")),
        models={"smart": [("beta", "b1"), ("alpha", "a1"), ("delta", "d1"), ("beta", "b2")]},
    )
    found = explain(snapshot, CHAT, "smart", world, health)
    assert tried(found) == [("beta", "b1"), ("alpha", "a1"), ("beta", "b2")]
    assert [bool(entry.note) for entry in found.tried] == [False, False, True]
    fail(health, snapshot.connections[1], K.MODEL_MISSING, "b1")
    found = explain(snapshot, CHAT, "smart", world, health)
    assert tried(found) == [("alpha", "a1"), ("beta", "b2")]
    assert left(found) == [
        ("beta", "b1", "model_missing"),
        ("gamma", None, "not_named"),
        ("delta", "d1", "not_connected"),
    ]
    assert "redeo providers add delta" in found.left_out[2].message


def test_an_alias_of_nobody_connected(world: World, health: Health) -> None:
    snapshot = world.snapshot(world.connection("alpha"), models={"smart": [("beta", "b"), ("beta", "b")]})
    found = explain(snapshot, CHAT, "smart", world, health)
    assert left(found) == [("alpha", None, "not_named"), ("beta", "b", "not_connected")]
    assert found.answer is not None
    assert found.answer.code == "no_usable_connection"


@pytest.mark.parametrize(("model", "words"), [("alpha/m", "alpha alone"), ("alpha/", "says no model")])
def test_provider_and_model_means_that_provider_alone(world: World, health: Health, model: str, words: str) -> None:
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta"))
    found = explain(snapshot, CHAT, model, world, health)
    assert tried(found) == ([("alpha", "m")] if model == "alpha/m" else [])
    assert {entry.provider for entry in found.left_out} == {"alpha", "beta"} - {who for who, _ in tried(found)}
    assert {entry.reason for entry in found.left_out} == {WhyNot.NOT_NAMED}
    assert all(words in entry.message for entry in found.left_out)


def test_auto_needs_a_default_model(world: World, health: Health) -> None:
    snapshot = world.snapshot(
        world.connection("alpha"),
        world.connection("beta", default_model=None),
        world.connection("local", default_model=None, quirks=Quirks(any_model=True)),
        world.connection("gamma", fault="gamma: the environment variable G is not set"),
    )
    found = explain(snapshot, CHAT, "auto", world, health)
    assert tried(found) == [("alpha", "alpha-default"), ("local", "auto")]
    assert left(found) == [("beta", "auto", "no_default_model"), ("gamma", "gamma-default", "unusable")]
    assert found.left_out[1].message == "the environment variable G is not set"


def test_a_bare_name_goes_to_who_lists_it(world: World, health: Health) -> None:
    world.live |= {"alpha": ("m",), "beta": ("x", "y")}
    snapshot = world.snapshot(
        world.connection("alpha"),
        world.connection("beta"),
        world.connection("unknown"),
        world.connection("local", quirks=Quirks(any_model=True)),
    )
    found = explain(snapshot, CHAT, "m", world, health)
    assert tried(found) == [("alpha", "m"), ("unknown", "m")]
    assert [bool(entry.note) for entry in found.tried] == [False, True]
    assert left(found) == [("beta", None, "not_served"), ("local", None, "not_served")]
    assert "2" in found.left_out[0].message
    world.live |= {"unknown": (), "local": ()}
    found = explain(snapshot, CHAT, "no-such", world, health)
    assert {entry.reason for entry in found.left_out} == {WhyNot.NOT_SERVED}
    with pytest.raises(NoPlan) as caught:
        resolve(snapshot, CHAT, "no-such", world, translate=True)
    assert found.answer == caught.value.answer


def test_a_vendor_without_a_connection(world: World, health: Health) -> None:
    world.live |= {"alpha": ("vendor/m",)}
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta"), known=("vendor",))
    found = explain(snapshot, CHAT, "vendor/m", world, health)
    assert tried(found) == [("alpha", "vendor/m")]
    assert left(found) == [("beta", None, "not_served")]


def test_who_does_not_speak_the_operation(world: World, health: Health) -> None:
    only = {Operation.CHAT: Route("/chat/completions"), Operation.EMBEDDINGS: Route("/embeddings", only=("e-*",))}
    snapshot = world.snapshot(
        world.connection("alpha"),
        world.connection("beta", speaks=MappingProxyType(only)),
        models={"vectors": [("alpha", "e-1"), ("beta", "m"), ("beta", "e-1")]},
    )
    found = explain(snapshot, Operation.EMBEDDINGS, "vectors", world, health)
    assert tried(found) == [("beta", "e-1")]
    assert left(found) == [("alpha", "e-1", "not_spoken"), ("beta", "m", "not_spoken")]
    assert "of this model" in found.left_out[1].message
    assert "of this model" not in found.left_out[0].message
    found = explain(snapshot, Operation.RERANK, "vectors", world, health)
    assert found.answer is not None
    assert found.answer.code == "operation_not_supported"
    assert [reason for _, _, reason in left(found)] == ["not_spoken"] * 3


def test_another_dialect_is_told(world: World, health: Health) -> None:
    speaks = MappingProxyType({Operation.MESSAGES: Route("/messages")})
    snapshot = world.snapshot(world.connection("alpha", speaks=speaks, docs=("x",)), world.connection("beta"))
    found = explain(snapshot, CHAT, "auto", world, health)
    assert [(e.candidate.mode.value, e.candidate.via) for e in found.tried] == [
        ("translate", Operation.MESSAGES),
        ("relay", None),
    ]


@pytest.mark.parametrize("kind", BY_KIND)
def test_who_is_not_well(world: World, health: Health, kind: FaultKind) -> None:
    alpha, beta = world.connection("alpha"), world.connection("beta")
    snapshot = world.snapshot(alpha, beta, models={"both": [("alpha", "m"), ("beta", "m")]})
    fail(health, alpha, kind)
    found = explain(snapshot, CHAT, "both", world, health)
    assert tried(found) == [("beta", "m")]
    assert left(found) == [("alpha", "m", BY_KIND[kind].value)]
    assert (found.left_out[0].retry_in is None) is (kind is K.AUTH)
    assert not found.left_out[0].message.startswith("alpha")


def test_who_is_being_probed(world: World, health: Health, clock: Clock) -> None:
    alpha = world.connection("alpha")
    snapshot = world.snapshot(alpha, world.connection("beta"))
    fail(health, alpha, K.CONNECT)
    clock.pass_(31)
    assert health.admit(alpha) is not None
    found = explain(snapshot, CHAT, "auto", world, health)
    assert left(found) == [("alpha", "alpha-default", "probing")]


def test_the_last_resort_is_marked(world: World, health: Health) -> None:
    alpha, beta = world.connection("alpha"), world.connection("beta")
    snapshot = world.snapshot(alpha, beta)
    fail(health, alpha, K.CONNECT)
    fail(health, beta, K.AUTH)
    found = explain(snapshot, CHAT, "auto", world, health)
    assert tried(found) == [("alpha", "alpha-default")]
    assert "nobody else is left" in (found.tried[0].note or "")
    assert left(found) == [("beta", "beta-default", "disabled")]


def test_who_comes_behind_the_last_attempt(world: World, health: Health) -> None:
    snapshot = world.snapshot(*(world.connection(name) for name in ("alpha", "beta", "gamma")))
    routing = replace(snapshot.settings.routing, max_attempts=1)
    snapshot = replace(snapshot, settings=replace(snapshot.settings, routing=routing))
    found = explain(snapshot, CHAT, "auto", world, health)
    assert tried(found) == [("alpha", "alpha-default")]
    assert [reason for _, _, reason in left(found)] == ["max_attempts"] * 2


def test_where_nobody_can_be_tried_the_answer_is_what_a_request_would_get(world: World, health: Health) -> None:
    alpha = world.connection("alpha")
    snapshot = world.snapshot(alpha)
    fail(health, alpha, K.RATE)
    found = explain(snapshot, CHAT, "alpha/m", world, health)
    assert found.answer is not None
    assert (found.answer.status, found.answer.code, found.answer.retry_after) == (429, "rate_limit_exceeded", 40)


def test_whose_time_is_up_while_it_is_explained_is_not_said_to_come_behind_others(world: World, clock: Clock) -> None:
    alpha, rushing = world.connection("alpha"), Rushing(clock.now)
    health = Led(clock, lambda: 1.0)
    fail(health, alpha, K.RATE)
    rushing.pass_(30)
    health._now = rushing  # 37 s have passed for the plan, 44 for the words
    found = explain(world.snapshot(alpha), CHAT, "alpha/m", world, health)
    assert left(found) == [("alpha", "m", "cooling")]
    assert found.left_out[0].retry_in == 0.0


def test_tokens_are_estimated_where_nobody_counts_them(world: World, health: Health) -> None:
    alpha = world.connection("alpha")
    found = explain(world.snapshot(alpha), Operation.COUNT_TOKENS, "auto", world, health)
    assert (found.estimated, found.answer, found.tried) == (True, None, ())
    assert left(found) == [("alpha", "alpha-default", "not_spoken")]
    assert not explain(world.snapshot(alpha), Operation.COUNT_TOKENS, "alpha/", world, health).estimated


def test_what_names_no_model_goes_to_everybody(world: World, health: Health) -> None:
    files = MappingProxyType({Operation.FILES: Route("/files")})
    snapshot = world.snapshot(world.connection("alpha", speaks=files), world.connection("beta"))
    found = explain(snapshot, Operation.FILES, None, world, health)
    assert tried(found) == [("alpha", None)]
    assert left(found) == [("beta", None, "not_spoken")]


# the law


NAMES = ("alpha", "beta", "gamma", "delta")
MODELS = ("m", "n", "m-20250929", "vendor/m")
ASKED = ("smart", "smart", "smart", "smart", "auto", "m", "n", "alpha/m", "beta/", "delta/n", "vendor/m", "no-such")
OPERATIONS = (CHAT, CHAT, Operation.MESSAGES, Operation.EMBEDDINGS, Operation.RERANK, Operation.COUNT_TOKENS)
SPOKEN = st.frozensets(st.sampled_from((*OPERATIONS, Operation.GEMINI)), max_size=4)
KINDS = st.sampled_from([K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING, K.CONNECT, K.OVERLOAD])
LATER = st.sampled_from((0, 20, 28, 29, 33, 36, 39, 590, 595, 599, 3595, 3599))  # some just before a wait is over
FAILED = st.lists(st.tuples(KINDS, st.sampled_from((*MODELS, "alpha-default")), st.integers(1, 6)), max_size=2)


class Rushing(Clock):
    """On which every look finds time passed: what is true for the plan may not be true for the words."""

    def __call__(self) -> float:
        self.now += 7.0
        return self.now


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, Snapshot, list[Sequence[tuple[FaultKind, str, int]]]]:
    world, connections, failed = World(), [], cast("list[Sequence[tuple[FaultKind, str, int]]]", [])
    for name in draw(st.permutations(NAMES))[: draw(st.sampled_from([4, 3, 2, 1, 0]))]:
        spoken = draw(st.sampled_from([{CHAT}, {CHAT, *OPERATIONS}, set()])) | draw(SPOKEN)
        connections.append(
            world.connection(
                name,
                fault=draw(st.sampled_from([None, None, None, f"{name}: broken"])),
                key=f"key-of-{name}",
                speaks=MappingProxyType({op: Route("/x") for op in spoken}),
                default_model=draw(st.sampled_from([None, f"{name}-default"])),
                models=tuple(draw(st.frozensets(st.sampled_from(MODELS), max_size=2))),
                quirks=Quirks(any_model=draw(st.booleans())),
                docs=draw(st.sampled_from([(), ("x",)])),
            )
        )
        if draw(st.booleans()):
            world.live[name] = tuple(draw(st.frozensets(st.sampled_from(MODELS))))
        failed.append(draw(FAILED))
    entries = draw(st.lists(st.sampled_from(list(product(NAMES[:3], MODELS))), min_size=1, max_size=6))
    snapshot = world.snapshot(*connections, models={"smart": entries}, known=("vendor",))
    routing = replace(snapshot.settings.routing, max_attempts=draw(st.integers(1, 4)))
    return world, replace(snapshot, settings=replace(snapshot.settings, routing=routing)), failed


@given(worlds(), st.sampled_from(ASKED), st.sampled_from(OPERATIONS), LATER, st.booleans())
def test_what_is_explained_is_what_is_done(
    made: tuple[World, Snapshot, list[Sequence[tuple[FaultKind, str, int]]]],
    model: str,
    operation: Operation,
    later: int,
    rushing: bool,
) -> None:
    """The order is the plan's; every connection is tried or left out with a reason, and no target twice."""
    world, snapshot, failed = made
    clock = Clock()
    health = Led(clock, lambda: 1.0)
    for connection, faults in zip(snapshot.connections, failed, strict=True):
        for kind, failing, times in faults:
            fail(health, connection, kind, failing, times)
    clock.pass_(later)
    try:
        targets = resolve(snapshot, operation, model, world, translate=True)
        answer = None
    except NoPlan as exc:
        targets, answer = (), exc.answer
    if not rushing:
        done = plan(targets, health, snapshot.settings.routing.max_attempts)
        found = explain(snapshot, operation, model, world, health)
        assert tuple(entry.candidate for entry in found.tried) == done.candidates
        if not done.candidates and not found.estimated:
            assert found.answer == (answer or exhausted(done, ()))
    else:
        health._now = Rushing(clock.now)
        found = explain(snapshot, operation, model, world, health)
    require_whole(snapshot, found)
    said = {(who, name) for who, name, _ in left(found)} | set(tried(found))
    assert said >= {(t.connection.provider, model if t.model is None else t.model) for t in targets}
    assert (found.answer is None) is bool(found.tried or found.estimated)


def require_whole(snapshot: Snapshot, found: Explanation) -> None:
    pairs = [(who, model) for who, model, _ in left(found)]
    ways = {(entry.candidate.connection.provider, entry.model) for entry in found.tried}
    assert len(set(pairs)) == len(pairs)
    assert not ways & set(pairs)
    connected = {connection.provider for connection in snapshot.connections}
    named = {who for who, _ in ways} | {e.provider for e in found.left_out if e.reason is not WhyNot.NOT_CONNECTED}
    assert named == connected
    if found.reading.value != "alias":
        assert len(pairs) + len(found.tried) == len(connected)
    assert all(entry.message for entry in found.left_out)
    beyond = [entry for entry in found.left_out if entry.reason is WhyNot.MAX_ATTEMPTS]
    assert not beyond or len(found.tried) == snapshot.settings.routing.max_attempts

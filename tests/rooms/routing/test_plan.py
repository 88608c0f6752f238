"""Who serves what was asked for, in which order and under which name; and who is left out just now, and why."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model import Connection, Operation, Quirks, Route, Snapshot
from proxy.fault import Fault, FaultKind, Phase
from proxy.routing import GatewayAnswer, Health, NoPlan, Skipped, Target, exhausted, needs_lists, plan, resolve
from tests.support.led import Led

K = FaultKind
CHAT = Operation.CHAT


def _targets(world: Any, snapshot: Snapshot, model: str | None, operation: Operation = CHAT) -> list[tuple[str, Any]]:
    return [(t.connection.provider, t.model) for t in resolve(snapshot, operation, model, world)]


def _refusal(world: Any, snapshot: Snapshot, model: str | None, operation: Operation = CHAT) -> GatewayAnswer:
    with pytest.raises(NoPlan) as caught:
        resolve(snapshot, operation, model, world)
    return caught.value.answer


# resolve: the order in which a name is looked up


def test_an_alias_goes_before_everything(world: Any) -> None:
    alpha, beta = world.connection("alpha", models=("fast", "auto")), world.connection("beta")
    models = {
        "fast": [("beta", "b1"), ("alpha", "a1"), ("gone", "g1"), ("beta", "b2")],
        "alpha/x": [("beta", "y")],
        "auto": [("beta", "z")],
    }
    snapshot = world.snapshot(alpha, beta, models=models)
    assert _targets(world, snapshot, "fast") == [("beta", "b1"), ("alpha", "a1"), ("beta", "b2")]
    assert _targets(world, snapshot, "alpha/x") == [("beta", "y")]
    assert _targets(world, snapshot, "auto") == [("beta", "z")]


def test_an_alias_of_nobody_connected(world: Any) -> None:
    snapshot = world.snapshot(
        world.connection("alpha"), models={"fast": [("beta", "b"), ("gamma", "g"), ("beta", "c")]}
    )
    answer = _refusal(world, snapshot, "fast")
    assert (answer.status, answer.code, answer.should_retry) == (503, "no_usable_connection", False)
    assert "beta, gamma" in answer.message


@pytest.mark.parametrize("model", ["m", "no-such", "beta/m", "auto", "models/m"])
def test_provider_and_model_is_that_provider_alone(world: Any, model: str) -> None:
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta", models=(model,)))
    world.live["beta"] = (f"alpha/{model}",)
    assert _targets(world, snapshot, f"alpha/{model}") == [("alpha", model)]


def test_a_provider_without_a_model(world: Any) -> None:
    answer = _refusal(world, world.snapshot(world.connection("alpha")), "alpha/")
    assert (answer.status, answer.code, answer.param) == (404, "model_not_found", "model")
    assert "no connection to alpha" not in answer.message


def test_a_foreign_prefix_is_served_by_who_lists_that_very_id(world: Any) -> None:
    connections = [world.connection("router"), world.connection("beta"), world.connection("gamma")]
    snapshot = world.snapshot(*connections, known=("vendor",))
    world.live["router"] = ("vendor/model-1", "other/x")
    world.live["gamma"] = ("model-1",)
    assert _targets(world, snapshot, "vendor/model-1") == [("router", "vendor/model-1")]
    answer = _refusal(world, snapshot, "vendor/model-2")
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert "vendor" in answer.message


def test_a_prefix_that_is_no_provider_is_part_of_a_bare_name(world: Any) -> None:
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta"))
    world.live |= {"alpha": ("qwen3-32b",), "beta": ("Qwen/Qwen3-32B",)}
    assert _targets(world, snapshot, "qwen/qwen3-32b") == [("alpha", "qwen3-32b"), ("beta", "Qwen/Qwen3-32B")]


def test_a_bare_name_goes_to_all_who_serve_it_under_their_own_names(world: Any) -> None:
    snapshot = world.snapshot(
        world.connection("alpha", models=("claude-sonnet-4-5",)),  # its live list does not have it
        world.connection("beta"),
        world.connection(
            "gamma", models=("us.anthropic.claude-sonnet-4-5-20250929-v1:0",)
        ),  # the static list stands in
        world.connection("delta"),
    )
    world.live |= {"alpha": ("claude-opus-5",), "beta": ("anthropic/claude-sonnet-4.5", "x"), "delta": ()}
    assert _targets(world, snapshot, "claude-sonnet-4-5") == [
        ("beta", "anthropic/claude-sonnet-4.5"),
        ("gamma", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ]


def test_who_has_no_known_list_stands_behind(world: Any) -> None:
    snapshot = world.snapshot(
        world.connection("unknown"),
        world.connection("other", models=("m-mini",)),
        world.connection("alpha"),
        world.connection("local", quirks=Quirks(any_model=True)),
    )
    world.live["alpha"] = ("m",)
    assert _targets(world, snapshot, "m") == [("alpha", "m"), ("unknown", "m"), ("other", "m")]


def test_a_server_that_answers_to_every_name_serves_what_it_lists(world: Any) -> None:
    snapshot = world.snapshot(world.connection("local", quirks=Quirks(any_model=True)))
    world.live["local"] = ("m",)
    assert _targets(world, snapshot, "m") == [("local", "m")]
    assert _targets(world, snapshot, "local/any") == [("local", "any")]
    world.live.clear()
    assert _refusal(world, snapshot, "m").code == "model_not_found"


def test_a_name_that_nobody_serves(world: Any) -> None:
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta"))
    world.live |= {"alpha": ("gpt-5.2-pro", "gpt-5.2"), "beta": ("sonar",)}
    answer = _refusal(world, snapshot, "gpt-5.2-proo")
    assert (answer.status, answer.code, answer.param) == (404, "model_not_found", "model")
    assert "near it: gpt-5.2-pro" in answer.message
    assert "GET /v1/models" in _refusal(world, snapshot, "zzzzzz").message
    assert len(_refusal(world, snapshot, "z" * 100_000).message) < 400


def test_auto_is_everybody_with_their_default(world: Any) -> None:
    snapshot = world.snapshot(
        world.connection("alpha"),
        world.connection("bare", default_model=None),
        world.connection("local", default_model=None, quirks=Quirks(any_model=True)),
    )
    targets = resolve(snapshot, CHAT, "auto", world)
    assert [(t.connection.provider, t.model) for t in targets] == [
        ("alpha", "alpha-default"),
        ("bare", None),
        ("local", None),
    ]
    assert [t.why_not is None for t in targets] == [True, False, True]  # "auto" is no model of `bare`
    assert "bare: it has no default model" in str(targets[1].why_not)


def test_no_model_is_everybody_as_it_is(world: Any) -> None:
    snapshot = world.snapshot(world.connection("alpha"), world.connection("beta", default_model=None))
    targets = resolve(snapshot, CHAT, None, world)
    assert [(t.connection.provider, t.model, t.why_not) for t in targets] == [
        ("alpha", None, None),
        ("beta", None, None),
    ]


def test_no_connection_at_all(world: Any) -> None:
    for model in ("auto", "m", "alpha/m", None):
        answer = _refusal(world, world.snapshot(known=("alpha",)), model)
        assert (answer.status, answer.code) == (503, "no_usable_connection")
        assert "redeo providers add" in answer.message
        assert "POST /v1/providers" in answer.message


def test_who_does_not_speak_the_operation_is_left_out(world: Any) -> None:
    both = MappingProxyType({CHAT: Route("/chat/completions"), Operation.MESSAGES: Route("/messages")})
    snapshot = world.snapshot(
        world.connection("alpha", models=("m",)), world.connection("beta", models=("m",), speaks=both)
    )
    assert _targets(world, snapshot, "m", Operation.MESSAGES) == [("beta", "m")]
    answer = _refusal(world, snapshot, "alpha/m", Operation.MESSAGES)
    assert (answer.status, answer.code, answer.param) == (404, "operation_not_supported", "model")
    assert "alpha" in answer.message
    assert "beta" in answer.message
    assert "no connected provider does" in _refusal(world, snapshot, None, Operation.RERANK).message


def test_the_unusable_is_kept_with_its_reason(world: Any) -> None:
    snapshot = world.snapshot(world.connection("alpha", fault="alpha: the environment variable A is not set"))
    (target,) = resolve(snapshot, CHAT, "alpha/m", world)
    assert target.why_not == "alpha: the environment variable A is not set"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, False),
        ("auto", False),
        ("fast", False),
        ("alpha/m", False),
        ("alpha/", False),
        ("m", True),
        ("vendor/m", True),
        ("", True),
    ],
)
def test_needs_lists(world: Any, model: str | None, expected: bool) -> None:
    snapshot = world.snapshot(world.connection("alpha"), models={"fast": [("alpha", "a")]}, known=("vendor",))
    assert needs_lists(snapshot, model) is expected


def test_the_fault_of_a_refusal(world: Any) -> None:
    with pytest.raises(NoPlan) as missing:
        resolve(world.snapshot(world.connection("alpha")), CHAT, "alpha/", world)
    assert missing.value.fault.kind is K.CLIENT_INVALID
    assert missing.value.fault.phase is Phase.NOT_SENT
    with pytest.raises(NoPlan) as empty:
        resolve(world.snapshot(), CHAT, "m", world)
    assert (empty.value.fault.kind, empty.value.fault.code) == (K.GATEWAY, "no_usable_connection")


# plan: who is tried just now


@pytest.fixture
def health(clock: Any) -> Health:
    return Led(clock, lambda: 1.0)


@pytest.fixture
def three(world: Any) -> list[Target]:
    return [Target(world.connection(name), "m") for name in ("alpha", "beta", "gamma")]


def _names(found: Sequence[Any]) -> list[str]:
    return [candidate.connection.provider for candidate in found]


def _fail(health: Health, connection: Connection, kind: FaultKind, **more: Any) -> None:
    for _ in range(5):
        health.failed(connection, "m", Fault(kind, "no", **more))


def test_all_well(health: Health, three: list[Target]) -> None:
    made = plan(three, health, 6)
    assert _names(made.candidates) == ["alpha", "beta", "gamma"]
    assert [c.model for c in made.candidates] == ["m"] * 3
    assert made.skipped == ()


@pytest.mark.parametrize(("most", "names"), [(1, ["alpha"]), (2, ["alpha", "beta"]), (3, ["alpha", "beta", "gamma"])])
def test_max_attempts(health: Health, three: list[Target], most: int, names: list[str]) -> None:
    assert _names(plan(three, health, most).candidates) == names


def test_max_attempts_counts_those_who_are_tried(health: Health, three: list[Target]) -> None:
    _fail(health, three[0].connection, K.AUTH)
    assert _names(plan(three, health, 2).candidates) == ["beta", "gamma"]


@pytest.mark.parametrize(
    ("kind", "words", "retry_in"),
    [
        (K.AUTH, "alpha: its key was refused", None),
        (K.QUOTA, "alpha: its quota is used up", 3600.0),
        (K.RATE, "alpha: it asked to wait", 7.0),
        (K.MODEL_MISSING, "alpha: it does not have the model", 600.0),
        (K.OVERLOAD, "alpha: it failed repeatedly with this model (last: overload)", 30.0),
        (K.CONNECT, "alpha: it failed repeatedly (last: connect)", 30.0),
    ],
)
def test_who_is_left_out_and_why(
    health: Health, three: list[Target], kind: FaultKind, words: str, retry_in: float | None
) -> None:
    _fail(health, three[0].connection, kind, retry_after=7.0)
    made = plan(three, health, 6)
    assert _names(made.candidates) == ["beta", "gamma"]
    assert made.skipped == (Skipped("alpha", kind, words, retry_in),)


def test_the_unusable_is_never_tried(health: Health, world: Any) -> None:
    targets = [Target(world.connection("alpha"), "m", why_not="alpha: no key")]
    made = plan(targets, health, 6)
    assert made.candidates == ()
    assert made.skipped == (Skipped("alpha", K.GATEWAY, "alpha: no key", None),)


def test_a_missing_model_leaves_the_connection_for_others(health: Health, three: list[Target]) -> None:
    health.failed(three[0].connection, "m", Fault(K.MODEL_MISSING, "no"))
    other = Target(three[0].connection, "n")
    made = plan([three[0], other, three[1]], health, 6)
    assert [(c.connection.provider, c.model) for c in made.candidates] == [("alpha", "n"), ("beta", "m")]


def test_if_all_breakers_are_open_the_nearest_to_recovery_is_tried(
    health: Health, three: list[Target], clock: Any
) -> None:
    for target in (three[1], three[2], three[0]):
        _fail(health, target.connection, K.CONNECT)
        clock.pass_(1)
    made = plan(three, health, 6)
    assert _names(made.candidates) == ["beta"]
    assert [s.connection for s in made.skipped] == ["alpha", "gamma"]


def test_it_is_tried_once_at_a_time(health: Health, three: list[Target]) -> None:
    """The others are told to come back; they were told that nobody could be tried, and not to retry."""
    alone = three[:1]
    _fail(health, alone[0].connection, K.CONNECT)
    assert _names(plan(alone, health, 6).candidates) == ["alpha"]
    assert health.admit(alone[0].connection)
    made = plan(alone, health, 6)
    assert made.candidates == ()
    assert [(s.connection, s.kind) for s in made.skipped] == [("alpha", K.CONNECT)]
    answer = exhausted(made, [])
    assert (answer.status, answer.code, answer.should_retry) == (502, "upstream_unreachable", True)


def test_while_one_probes_the_next_nearest_is_tried(health: Health, three: list[Target], clock: Any) -> None:
    for target in three:
        _fail(health, target.connection, K.CONNECT)
        clock.pass_(1)
    assert health.admit(three[0].connection)
    assert _names(plan(three, health, 6).candidates) == ["beta"]


@pytest.mark.parametrize("kind", [K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING])
def test_the_rule_is_for_breakers_alone(health: Health, three: list[Target], kind: FaultKind) -> None:
    for target in three:
        _fail(health, target.connection, kind)
    assert plan(three, health, 6).candidates == ()
    mixed = three[1].connection
    fresh = Led(lambda: 0.0, lambda: 1.0)
    _fail(fresh, three[0].connection, kind)
    _fail(fresh, mixed, K.CONNECT)
    assert _names(plan(three[:2], fresh, 6).candidates) == ["beta"]


_KINDS = st.sampled_from([None, K.AUTH, K.QUOTA, K.RATE, K.MODEL_MISSING, K.CONNECT, K.OVERLOAD])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_KINDS, st.booleans()), max_size=6), st.integers(1, 8))
def test_laws(states: list[tuple[FaultKind | None, bool]], most: int) -> None:
    """Candidates keep the order; each target is tried, left out with a reason, or beyond the limit; never two ways."""
    from types import SimpleNamespace

    health = Led(lambda: 0.0, lambda: 1.0)
    targets = []
    for number, (kind, broken) in enumerate(states):
        connection: Any = SimpleNamespace(identity=str(number), provider=f"p{number}")
        targets.append(Target(connection, "m", why_not="broken" if broken else None))
        if kind is not None:
            _fail(health, connection, kind)
    made = plan(targets, health, most)
    tried, left = _names(made.candidates), [s.connection for s in made.skipped]
    assert tried == sorted(tried)
    assert len(tried) <= most
    assert not set(tried) & set(left)
    assert len(set(left)) == len(left)
    assert len(tried) == most or len(tried) + len(left) == len(targets)
    assert all(s.reason for s in made.skipped)
    breakers = [not broken and kind in (K.CONNECT, K.OVERLOAD, None) for kind, broken in states]
    assert bool(tried) == any(breakers)

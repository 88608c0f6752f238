"""`redeo demo`: what it tells is what happened, and a daemon that does not fall back is told as such."""

from __future__ import annotations

import re

import pytest

from proxy.cli import demo, main
from proxy.cli.demo_providers import Mood, SimulatedProvider


def test_the_story_is_told_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    told = capsys.readouterr()
    attempts = re.findall(r"x-redeo-attempts: (.*)", told.out)
    assert attempts[:3] == ["flaky=500 steady=200", "flaky=interrupted steady=200", "flaky=429 steady=200"]
    assert attempts[3].endswith("steady=200")
    assert "ended by [DONE]" in told.out
    counted = re.findall(r'redeo_fallbacks_total\{reason="(\w+)",source="flaky",target="steady"\} 1\.0', told.out)
    assert counted == ["upstream_5xx", "interrupted", "rate"]
    asked = re.search(r"flaky was asked (\d+) times, steady (\d+) times", told.out)
    assert asked is not None
    assert int(asked[1]) == sum(a.startswith("flaky=") for a in attempts)
    assert int(asked[2]) == len(attempts)
    assert told.err == ""


def test_a_first_provider_that_works_is_no_fallback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SimulatedProvider, "mood", property(lambda self: Mood.WORKS, lambda self, mood: None), raising=False
    )
    assert main(["demo"]) == 1
    assert "did not fall back" in capsys.readouterr().err


def test_an_error_that_reaches_the_client_is_no_story(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SimulatedProvider, "mood", property(lambda self: Mood.FAILS, lambda self, mood: None), raising=False
    )
    assert main(["demo"]) == 1
    told = capsys.readouterr()
    assert "was not served" in told.err
    assert re.search(r"HTTP 50\d after", told.out)


def test_a_stream_without_its_end_is_seen() -> None:
    chunk = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    assert list(demo._events(chunk + b"data: [DONE]\n\n"))[-1] == "[DONE]"
    assert [demo._delta(event) for event in demo._events(chunk)] == ["Hel"]

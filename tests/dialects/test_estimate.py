"""The estimate of tokens against what providers counted."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import estimate
from proxy.dialects.base import DialectName, dialect
from proxy.dialects.blocks import Text
from proxy.dialects.request import BadRequest, Request, Role, Turn

NOT_TEXT = ("base64", "image", "file", "search", "code_", "shell", "computer", "mcp", "previous_response_id", "store")


def counted(exchange: dict[str, Any]) -> int:
    usage = (exchange["response"].get("body") or {}).get("usage") or {}
    return int(usage.get("prompt_tokens") or 0)


def test_it_is_near_what_providers_count(recordings: Path) -> None:
    ratios = []
    for path in sorted(recordings.glob("*/openai.chat/*.json")):
        exchange = json.loads(path.read_bytes())
        body = exchange["request"].get("body")
        if counted(exchange) < 60 or "known" in exchange["request"] or any(w in json.dumps(body) for w in NOT_TEXT):
            continue
        try:
            request = dialect(DialectName.CHAT).read_request(body)
        except (BadRequest, AttributeError):
            continue
        ratios.append(estimate.of_request(request) / counted(exchange))
    assert len(ratios) > 15
    assert 0.7 < median(ratios) < 1.4, sorted(ratios)


@given(st.text(max_size=300), st.text(max_size=300))
def test_more_text_is_not_fewer_tokens(some: str, more: str) -> None:
    def of(text: str) -> int:
        return estimate.of_request(Request("", None, (Turn(Role.USER, (Text(text),)),)))

    assert 1 <= of(some) <= of(f"{some} {more}")


@given(st.text(max_size=40), st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_a_long_text_is_weighed_in_parts_as_it_is_at_once(start: str, often: str, end: str) -> None:
    text = start + often * (40_000 // len(often)) + end
    assert [piece for some in estimate._cut(text) for piece in some] == estimate._PIECES.findall(text)

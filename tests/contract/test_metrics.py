"""What `/metrics` shows, against what is written down of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.upstream import chat, error

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def _families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


async def test_every_series_begins_with_redeo_and_is_written_down(redeo: Any, provider: Any) -> None:
    daemon = await redeo({"openai": await provider(error(500)), "groq": await provider(chat())})
    for stream in (False, True):
        assert (await daemon.chat(stream=stream)).status == 200
    text = await daemon.metrics()
    assert [line for line in text.splitlines() if not line.startswith(("#", "redeo_"))] == []
    assert _families(text) == set(re.findall(r"`(redeo_\w+)`", DOCS.read_text()))

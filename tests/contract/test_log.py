"""What the log tells of connections."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.support.upstream import answer, chat_body, error


async def test_a_refused_key_is_told_with_what_to_do(
    redeo: Any, provider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refused, good = error(401, "invalid_api_key"), answer(chat_body())
    daemon = await redeo({"openai": await provider(refused), "groq": await provider(good)})
    with caplog.at_level(logging.WARNING, "redeo.request"):
        for _ in range(2):
            for _ in range(3):
                assert (await daemon.chat()).status == 200
            await daemon.connect("openai")
    told = [record.getMessage() for record in caplog.records if "its key was refused" in record.getMessage()]
    assert len(told) == 2, "once for each key"
    assert "`redeo providers set openai`" in told[0]

"""OpenAI Chat Completions, and what providers that speak it have added: reasoning texts, content in parts, citations.

Sources: OpenAI API reference, "Create chat completion", "The chat completion object" and "The chat completion chunk
object"; OpenRouter, "Reasoning tokens" (`reasoning`, `reasoning_details`); DeepSeek, "Thinking mode"
(`reasoning_content`); Mistral, "Reasoning" (`thinking` parts); read 2026-11, held against the recorded traffic.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.chat.answer_in import ChatParser, read_answer
from proxy.dialects.chat.answer_out import UNTOLD, ChatRenderer, write_answer
from proxy.dialects.chat.request_in import read_request
from proxy.dialects.chat.request_out import write_request


class _Chat:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = ChatParser
    untold = UNTOLD
    renderer = ChatRenderer


DIALECT: Final = _Chat()

"""Anthropic Messages.

Sources: Anthropic API reference, "Messages", "Streaming messages", "Extended thinking", "Tool use", "Citations" and
"Structured outputs"; read 2026-11, held against the recorded traffic.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.messages.answer_in import MessagesParser, read_answer
from proxy.dialects.messages.answer_out import UNTOLD, MessagesRenderer, write_answer
from proxy.dialects.messages.request_in import read_request
from proxy.dialects.messages.request_out import write_request


class _Messages:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = MessagesParser
    untold = UNTOLD
    renderer = MessagesRenderer


DIALECT: Final = _Messages()

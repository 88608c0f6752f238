"""Cohere's Chat, version 2.

Sources: Cohere API reference, "Chat (V2)" and "Chat with streaming"; guides "Tool use", "Reasoning", "Structured
outputs"; the types of its SDK 7; read 2026-11, held against the recorded traffic.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.cohere_chat.answer_in import CohereParser, read_answer
from proxy.dialects.cohere_chat.answer_out import UNTOLD, CohereRenderer, write_answer
from proxy.dialects.cohere_chat.request_in import read_request
from proxy.dialects.cohere_chat.request_out import write_request


class _Cohere:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = CohereParser
    untold = UNTOLD
    renderer = CohereRenderer


DIALECT: Final = _Cohere()

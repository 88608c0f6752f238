"""Ollama's own `/api/chat`.

Sources: Ollama, "Generate a chat message", "Thinking", "Tool calling", "Structured outputs" and "Modelfile:
parameters"; read 2026-11.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.ollama_chat.answer_in import OllamaParser, read_answer
from proxy.dialects.ollama_chat.answer_out import UNTOLD, OllamaRenderer, write_answer
from proxy.dialects.ollama_chat.request_in import read_request
from proxy.dialects.ollama_chat.request_out import write_request


class _Ollama:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = OllamaParser
    untold = UNTOLD
    renderer = OllamaRenderer


DIALECT: Final = _Ollama()

"""OpenAI Responses.

Sources: OpenAI API reference, "Create a model response", "The response object" and "Streaming events"; OpenAI guides
"Reasoning models" (encrypted reasoning) and "Function calling"; read 2026-11, held against the recorded traffic.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.responses.answer_in import ResponsesParser, read_answer
from proxy.dialects.responses.answer_out import UNTOLD, ResponsesRenderer, write_answer
from proxy.dialects.responses.request_in import read_request
from proxy.dialects.responses.request_out import write_request


class _Responses:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = ResponsesParser
    untold = UNTOLD
    renderer = ResponsesRenderer


DIALECT: Final = _Responses()

"""Amazon Bedrock's Converse and ConverseStream.

Sources: Amazon Bedrock API reference, "Converse", "ConverseStream" and their data types; user guide, "Call a tool",
"Enhance model responses with model reasoning", "Prompt caching"; botocore's model of the service; read 2026-11, held
against the recorded traffic. Binary values are base64 in JSON.
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.converse.answer_in import ConverseParser, read_answer
from proxy.dialects.converse.answer_out import UNTOLD, ConverseRenderer, write_answer
from proxy.dialects.converse.request_in import read_request
from proxy.dialects.converse.request_out import write_request


class _Converse:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = ConverseParser
    untold = UNTOLD
    renderer = ConverseRenderer


DIALECT: Final = _Converse()

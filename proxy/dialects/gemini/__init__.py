"""Google's generateContent, as the Gemini API and Vertex AI have it.

Sources: Gemini API reference, "Generating content", "Function calling", "Thinking", "Thought signatures",
"Structured output" and "Grounding with Google Search"; Vertex AI, "GenerateContentResponse" (streamed arguments of
calls); read 2026-11, held against the recorded traffic and the fields of google-genai 3.4. A proto's JSON is read in
lowerCamelCase and in snake_case (protobuf, "ProtoJSON format").
"""

from __future__ import annotations

from typing import Final

from proxy.dialects.gemini.answer_in import GeminiParser, read_answer
from proxy.dialects.gemini.answer_out import UNTOLD, GeminiRenderer, write_answer
from proxy.dialects.gemini.request_in import read_request
from proxy.dialects.gemini.request_out import write_request


class _Gemini:
    """The dialect as the rest of the daemon sees it."""

    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_answer = staticmethod(read_answer)
    write_answer = staticmethod(write_answer)
    parser = GeminiParser
    untold = UNTOLD
    renderer = GeminiRenderer


DIALECT: Final = _Gemini()

"""The official SDKs' own types of requests as judges of what is sent upstream: nothing unknown, nothing missing."""

from __future__ import annotations

import sys
from typing import Any

import google.genai.types
import pydantic
from anthropic.types import message_create_params
from typing_extensions import is_typeddict


class MessagesJudge:
    """The parameters of Anthropic's `messages.create`, with no unknown key.

    The SDK's types are those of its own `anthropic-version`, which has no sampling parameters; we ask for 2023-06-01,
    which has.
    """

    SAMPLING = frozenset({"temperature", "top_p", "top_k"})

    def __init__(self) -> None:
        for module in [module for name, module in sys.modules.items() if name.startswith("anthropic.types")]:
            for found in list(vars(module).values()):
                if is_typeddict(found) and not hasattr(found, "__pydantic_config__"):
                    found.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
        self._adapter = pydantic.TypeAdapter[Any](message_create_params.MessageCreateParams)

    def check(self, body: dict[str, Any]) -> None:
        """Raises pydantic's ValidationError."""
        for name in self.SAMPLING & body.keys():
            assert isinstance(body[name], int | float)
        rest = {name: value for name, value in body.items() if name not in self.SAMPLING}
        drained(self._adapter.validate_python(rest))

    def faults(self, body: dict[str, Any]) -> str:
        """What is wrong with it; empty where nothing is."""
        try:
            self.check(body)
        except pydantic.ValidationError as exc:
            return str(exc)
        return ""


def drained(value: Any) -> Any:
    """The value with all that pydantic checks only when it is looked at."""
    if isinstance(value, dict):
        return {name: drained(item) for name, item in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [drained(item) for item in value]


class GenerateContent(pydantic.BaseModel):
    """The body of generateContent (google-genai, `_GenerateContentParameters_to_mldev`), of the SDK's own types."""

    model_config = pydantic.ConfigDict(extra="forbid")
    contents: list[google.genai.types.Content] = pydantic.Field(min_length=1)
    systemInstruction: google.genai.types.Content | None = None  # noqa: N815
    tools: list[google.genai.types.Tool] = []
    toolConfig: google.genai.types.ToolConfig | None = None  # noqa: N815
    generationConfig: google.genai.types.GenerationConfig | None = None  # noqa: N815
    safetySettings: list[google.genai.types.SafetySetting] = []  # noqa: N815
    cachedContent: str | None = None  # noqa: N815
    serviceTier: google.genai.types.ServiceTier | None = None  # noqa: N815
    labels: dict[str, str] | None = None

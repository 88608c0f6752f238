"""A question in no dialect's own shape: turns, tools and parameters, and what is lost when it is written in another.

A dialect reads its wire format into a `Request` and writes a `Request` out. Nothing is dropped in silence: parameters
stand in one mapping, and whatever a writer has no word for becomes a `Loss` by construction (`say_params`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from proxy.dialects.blocks import Block, Cache, Opaque


class Role(StrEnum):
    """Who speaks. Results of tools are blocks of the user's turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


class Param(StrEnum):
    """What a request can ask for beside its turns and tools, under the name that most dialects have for it."""

    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    MIN_P = "min_p"
    SEED = "seed"
    N = "n"
    STOP = "stop"  # list[str]
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    LOGIT_BIAS = "logit_bias"
    LOGPROBS = "logprobs"  # bool
    TOP_LOGPROBS = "top_logprobs"
    USER = "user"  # an opaque id of the end user
    METADATA = "metadata"
    SERVICE_TIER = "service_tier"
    REASONING = "reasoning"  # Think
    FORMAT = "format"  # Format
    TOOL_CHOICE = "tool_choice"  # Choice
    PARALLEL_TOOLS = "parallel_tool_calls"  # bool
    CACHE_KEY = "prompt_cache_key"
    CACHE_RETENTION = "prompt_cache_retention"
    CACHE_OPTIONS = "prompt_cache_options"
    SAFETY_ID = "safety_identifier"
    VERBOSITY = "verbosity"
    STORE = "store"
    MODALITIES = "modalities"
    AUDIO = "audio"
    PREDICTION = "prediction"
    WEB_SEARCH = "web_search_options"
    MODERATION = "moderation"


class Think(msgspec.Struct, frozen=True):
    """How much to think: none of the fields set means "as the model likes" (adaptive).

    `effort` as OpenAI has it (none, minimal, low, medium, high, xhigh, max); `budget` in tokens; `enabled` False: not
    at all; `summary`: auto, concise, detailed, or omitted where the text is not wanted.
    """

    effort: str | None = None
    budget: int | None = None
    enabled: bool | None = None
    summary: str | None = None


class Format(msgspec.Struct, frozen=True):
    """JSON is wanted; `schema` None: any object."""

    schema: Any = None
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class Choice(msgspec.Struct, frozen=True):
    """`mode`: auto, none, required, or tool with the one in `names`; `names` with another mode: only among these."""

    mode: str
    names: tuple[str, ...] = ()


class Space(msgspec.Struct, frozen=True):
    """The namespace that a tool was given in, and its name there."""

    name: str
    inner: str
    description: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A tool of the client's. `schema` None: it takes free text (`grammar` says which, as Responses writes it).

    `space`: it stood in a namespace, which its `name` says too for the dialects that have none.
    """

    name: str
    description: str | None = None
    schema: Any = None
    strict: bool | None = None
    custom: bool = False
    grammar: Any = None
    cache: Cache | None = None
    extras: Mapping[str, Any] = {}
    space: Space | None = None


class ServerTool(msgspec.Struct, frozen=True):
    """A tool of the provider's. `kind` is web_search, code_execution or what its dialect calls it; `raw` its entry."""

    kind: str
    raw: Opaque
    options: Mapping[str, Any] = {}


class Turn(msgspec.Struct, frozen=True):
    """One message. `name` tells speakers of one role apart."""

    role: Role
    content: tuple[Block, ...]
    name: str | None = None
    extras: Mapping[str, Any] = {}


class Request(msgspec.Struct):
    """One question. `extras` are the fields of its home dialect that have no word here."""

    home: str
    model: str | None
    turns: tuple[Turn, ...]
    tools: tuple[Tool | ServerTool, ...] = ()
    params: dict[Param, Any] = msgspec.field(default_factory=dict)
    names: dict[Param, str] = msgspec.field(default_factory=dict)  # how the client spelt them, where not as here
    extras: dict[str, Any] = msgspec.field(default_factory=dict)
    stream: bool = False


class BadRequest(Exception):
    """The client's request is not what its dialect says; `param` names the place."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Loss(msgspec.Struct, frozen=True):
    """Something the target cannot be told: `what`, as the client named it. `content`: the question itself suffers."""

    what: str
    why: str
    content: bool = False


class Unsayable(Exception):
    """Raised by a writer of one parameter that has no word for this value."""


Say = Callable[[Any, dict[str, Any]], None]
# What asks for nothing that is not so anyhow: where there is no word for it, nothing is lost.
_NOTHING: Final[Mapping[Param, Any]] = {
    Param.N: 1,
    Param.LOGPROBS: False,
    Param.LOGIT_BIAS: {},
    Param.MODALITIES: ["text"],
    Param.STORE: False,
    Param.METADATA: {},
}


def say_params(request: Request, words: Mapping[Param, str | Say], body: dict[str, Any]) -> list[Loss]:
    """Write each parameter into `body` as `words` has it: a plain name, or what writes it. The rest is lost."""
    losses = [Loss(name, f"only {request.home} has it") for name in request.extras]
    for param, value in request.params.items():
        word = words.get(param)
        name = request.names.get(param, param.value)
        if word is None:
            if param not in _NOTHING or value != _NOTHING[param]:
                losses.append(Loss(name, "there is no such parameter"))
        elif isinstance(word, str):
            body[word] = value
        else:
            try:
                word(value, body)
            except Unsayable as exc:
                losses.append(Loss(name, str(exc)))
    return losses

"""A question in no dialect's own shape: turns, tools and parameters, and what is lost when it is written in another.

A dialect reads its wire format into a `Request` and writes a `Request` out. Nothing is dropped in silence: parameters
stand in one mapping, and whatever a writer has no word for becomes a `Loss` by construction (`say_params`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from math import isfinite
from typing import Any, Final, cast

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


def described(wanted: Format) -> Any:
    """The schema with what is said of it, for dialects that have no other place for that."""
    if not wanted.description or not isinstance(wanted.schema, dict):
        return wanted.schema
    return {"description": wanted.description, **wanted.schema}


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
    places: dict[str, str] = msgspec.field(default_factory=dict)  # see `as_asked`
    stream: bool = False


class BadRequest(Exception):
    """The client's request is not what its dialect says; `param` names the place."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)  # of any size: `isfinite` fails on the largest


def _is_whole(value: object) -> bool:
    return _is_number(value) and value == int(cast(float, value))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


_WHOLE: Final = ("a whole number", _is_whole)
_NUMBER: Final = ("a number", _is_number)
_TEXT: Final = ("a string", _is(str))
_TEXTS: Final = ("a list of strings", _are_texts)
_SWITCH: Final = ("true or false", _is(bool))
_TABLE: Final = ("an object", _is(dict))
_SHAPES: Final[Mapping[Param, tuple[str, Callable[[object], bool]]]] = {
    **dict.fromkeys((Param.MAX_TOKENS, Param.TOP_K, Param.SEED, Param.N, Param.TOP_LOGPROBS), _WHOLE),
    **dict.fromkeys((Param.TEMPERATURE, Param.TOP_P, Param.MIN_P), _NUMBER),
    **dict.fromkeys((Param.PRESENCE_PENALTY, Param.FREQUENCY_PENALTY), _NUMBER),
    **dict.fromkeys((Param.USER, Param.SERVICE_TIER, Param.CACHE_KEY, Param.CACHE_RETENTION), _TEXT),
    **dict.fromkeys((Param.SAFETY_ID, Param.VERBOSITY), _TEXT),
    **dict.fromkeys((Param.STOP, Param.MODALITIES), _TEXTS),
    **dict.fromkeys((Param.LOGPROBS, Param.PARALLEL_TOOLS, Param.STORE), _SWITCH),
    **dict.fromkeys((Param.LOGIT_BIAS, Param.METADATA, Param.AUDIO, Param.PREDICTION), _TABLE),
}


def checked(request: Request) -> Request:
    """The request itself, whose parameters are what every writer takes them for. Raises BadRequest."""
    for param, value in request.params.items():
        what, fits = _SHAPES.get(param, ("", None))
        if fits is not None and not fits(value):
            name = request.names.get(param, param.value)
            raise BadRequest(f"`{name}` must be {what}", name)
    return request


class Loss(msgspec.Struct, frozen=True):
    """Something the target cannot be told: `what`, as the client named it. `content`: the question itself suffers."""

    what: str
    why: str
    content: bool = False


_PLACE: Final = re.compile(r"(messages\[\d+\])(\.content\[\d+\])?|tools\[\d+\]")


def places_of(turns: Iterable[tuple[str, Sequence[str]]], tools: Iterable[str]) -> dict[str, str]:
    """The `places` of a request, of each turn and its blocks, and of each tool, as the client knows them."""
    found = {f"tools[{n}]": place for n, place in enumerate(tools)}
    for n, (turn, blocks) in enumerate(turns):
        found[f"messages[{n}]"] = turn
        found |= {f"messages[{n}].content[{m}]": place for m, place in enumerate(blocks)}
    return {ours: theirs for ours, theirs in found.items() if ours != theirs}


def as_asked(what: str, request: Request) -> str:
    """The name of a place as the client knows it. Writers count turns, blocks and tools of the hub; where the client's
    dialect counts otherwise, its reader says so in `places`: of a block, else of its turn."""
    found = _PLACE.match(what)
    if found is None or not request.places:
        return what
    for key in (found[0], found[1]):
        if key in request.places:
            return request.places[key] + what[len(key) :]
    return what


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

"""The features of questions in docs/dialects.md: how each is cut out of a request, and what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from proxy.dialects.base import DialectName
from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.request import (
    Choice,
    Format,
    Param,
    Request,
    Role,
    ServerTool,
    Think,
    Tool,
    Turn,
)
from tests.support.judges import meaning
from tests.support.matrix import ORIGIN, Question

HI = Turn(Role.USER, (Text("hi"),))
CHAT = DialectName.CHAT.value
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
ADD = Tool("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
CALLED = ToolCall("call_1", "add", '{"a":1}')


def just(request: Request, *turns: Turn, tools: Iterable[Any] = (), **params: Any) -> Request:
    """A small request of the same home."""
    given = {Param(name): value for name, value in params.items()}
    names = {param: request.names[param] for param in given if param in request.names}
    return Request(request.home, request.model, turns or (HI,), tuple(tools), given, names)


def made(*turns: Turn, tools: Iterable[Any] = (), **params: Any) -> Request:
    """A request for what no recording has."""
    return just(Request(CHAT, "m", ()), *turns, tools=tools, **params)


def blocks(request: Request) -> Iterator[tuple[Turn, Block]]:
    for turn in request.turns:
        for block in turn.content:
            yield turn, block


# --- what is said


def _texts(request: Request, *roles: Role) -> list[str]:
    return [b.text for turn, b in blocks(request) if turn.role in roles and isinstance(b, Text | Refusal)]


def _cut_text(request: Request) -> Iterator[Request]:
    for turn, block in blocks(request):
        if turn.role is Role.USER and isinstance(block, Text) and block.text:
            yield just(request, Turn(Role.USER, (Text(block.text),)))


def _cut_system(request: Request) -> Iterator[Request]:
    first = next((t for t in request.turns if t.role in (Role.SYSTEM, Role.DEVELOPER)), None)
    texts = tuple(Text(b.text) for b in (first.content if first else ()) if isinstance(b, Text) and b.text)
    if texts:
        yield just(request, Turn(first.role if first else Role.SYSTEM, texts), HI)


def _system(request: Request) -> str:
    return "".join(_texts(request, Role.SYSTEM, Role.DEVELOPER))


def _cut_later(request: Request) -> Iterator[Request]:
    for n, turn in enumerate(request.turns):
        texts = tuple(Text(b.text) for b in turn.content if isinstance(b, Text))
        asked = any(before.role is Role.USER for before in request.turns[:n])
        if asked and turn.role in (Role.SYSTEM, Role.DEVELOPER) and texts:
            yield just(request, HI, Turn(turn.role, texts))


def _later(request: Request) -> Any:
    said = {Role.SYSTEM: "the system", Role.DEVELOPER: "the system"}
    return [
        {"by": said.get(turn.role, turn.role), "text": b.text} for turn, b in blocks(request) if isinstance(b, Text)
    ]


def _cut_turns(request: Request) -> Iterator[Request]:
    kept = [
        Turn(turn.role, tuple(Text(b.text) for b in turn.content if isinstance(b, Text) and b.text))
        for turn in request.turns
        if turn.role in (Role.USER, Role.ASSISTANT)
    ]
    kept = [turn for turn in kept if turn.content]
    if {turn.role for turn in kept} == {Role.USER, Role.ASSISTANT}:
        yield just(request, *kept)


def _turns(request: Request) -> Any:
    return [(turn.role, b.text) for turn, b in blocks(request) if isinstance(b, Text)]


def _of_blocks(holds: Callable[[Block], bool], role: Role = Role.USER) -> Callable[[Request], Iterator[Request]]:
    """Each such block alone."""

    def cut(request: Request) -> Iterator[Request]:
        for turn, block in blocks(request):
            if turn.role is role and holds(block):
                bare = msgspec.structs.replace(block, cache=None) if hasattr(block, "cache") else block
                beside = (Text("look"),) if isinstance(block, Document) else ()  # some want a word beside a file
                yield just(request, Turn(role, (*beside, bare)))

    return cut


def _media(kind: Any) -> Callable[[Request], Any]:
    def view(request: Request) -> Any:
        found = [block for _, block in blocks(request) if isinstance(block, kind)]
        return [(type(b).__name__, b.source.words or b.source.data or b.source.url or b.source.file_id) for b in found]

    return view


def _has(kind: Any, *where: str) -> Callable[[Block], bool]:
    """A medium of this kind that is there in this way."""

    def holds(block: Block) -> bool:
        return isinstance(block, kind) and any(getattr(block.source, name) is not None for name in where)

    return holds


def _is_text_file(block: Block) -> bool:
    return isinstance(block, Document) and block.source.words is not None


def _words(request: Request) -> Any:
    """As a file, or as a text."""
    found = [b for _, b in blocks(request) if isinstance(b, Document | Text)]
    words = [(type(b).__name__, b.source.words if isinstance(b, Document) else b.text) for b in found]
    return [row for row in words if row[1] != "look"]


def _is_pdf(block: Block) -> bool:
    return isinstance(block, Document) and block.source.data is not None and block.source.words is None


def _is_video(block: Block) -> bool:
    return isinstance(block, Foreign) and block.content


def _foreign(request: Request) -> Any:
    return [b.raw.data for _, b in blocks(request) if isinstance(b, Foreign)]


# --- tools


def _tools(request: Request) -> list[Tool]:
    return [tool for tool in request.tools if isinstance(tool, Tool)]


def _cut_tools(request: Request) -> Iterator[Request]:
    plain = [Tool(t.name, t.description, t.schema) for t in _tools(request) if not t.custom]
    for tool in plain:
        yield just(request, HI, tools=[tool])


def _cut_strict(request: Request) -> Iterator[Request]:
    for t in _tools(request):
        if t.strict and not t.custom:
            yield just(request, HI, tools=[Tool(t.name, t.description, t.schema, strict=True)])


def _cut_custom_tool(request: Request) -> Iterator[Request]:
    for t in _tools(request):
        if t.custom:
            yield just(request, HI, tools=[Tool(t.name, t.description, custom=True)])


def _cut_server_tool(*kinds: str) -> Callable[[Request], Iterator[Request]]:
    def cut(request: Request) -> Iterator[Request]:
        for tool in request.tools:
            if isinstance(tool, ServerTool) and (tool.kind in kinds or (not kinds and tool.kind not in COMMON)):
                yield just(request, HI, tools=[tool])

    return cut


COMMON = ("web_search", "code_execution")


def _server_tools(request: Request) -> Any:
    return [tool.kind for tool in request.tools if isinstance(tool, ServerTool)]


def _plain_tools(request: Request) -> list[Tool]:
    return [Tool(t.name, t.description, t.schema) for t in _tools(request) if not t.custom][:2] or [ADD]


def _cut_choice(mode: str) -> Callable[[Request], Iterator[Request]]:
    def cut(request: Request) -> Iterator[Request]:
        choice = request.params.get(Param.TOOL_CHOICE)
        if not isinstance(choice, Choice) or (choice.mode != mode if mode != "among" else not _among(choice)):
            return
        if mode != "among" and _among(choice):
            return
        tools = _plain_tools(request)
        names = tuple(name for name in choice.names if name in {tool.name for tool in tools})
        if bool(names) == bool(choice.names):
            yield just(request, HI, tools=tools, tool_choice=Choice(choice.mode, names))

    return cut


def _among(choice: Choice) -> bool:
    return bool(choice.names) and choice.mode != "tool"


def _choice(request: Request) -> Any:
    """Nothing said is `auto`; without tools none is called."""
    if not request.tools:
        return {"mode": "none"}
    choice = request.params.get(Param.TOOL_CHOICE, Choice("auto"))
    alone = tuple(t.name for t in _tools(request)) if len(request.tools) == 1 else ()
    among = choice.names or alone
    return {"mode": choice.mode, **({"among": ", ".join(among)} if among else {})}


def _made_choice(mode: str, *names: str) -> Request:
    other = Tool("other", "another", ADD.schema)
    return made(HI, tools=[ADD, other], tool_choice=Choice(mode, names))


def _cut_calls(count: int, *, custom: bool = False) -> Callable[[Request], Iterator[Request]]:
    """A turn of so many calls (2: or more), with what they gave."""

    def cut(request: Request) -> Iterator[Request]:
        given = {b.call_id: b for _, b in blocks(request) if isinstance(b, ToolResult)}
        for turn in request.turns:
            calls = [b for b in turn.content if isinstance(b, ToolCall) and b.custom is custom and b.id in given]
            calls = [ToolCall(c.id, c.name, c.arguments, c.custom) for c in calls]
            if len(calls) == count or (count > 1 and len(calls) > count):
                results = tuple(ToolResult(c.id, (Text("3"),), c.name, custom=c.custom) for c in calls)
                tools = [Tool(c.name, None, None if custom else ADD.schema, custom=custom) for c in calls]
                yield just(request, HI, Turn(Role.ASSISTANT, tuple(calls)), Turn(Role.USER, results), tools=tools)

    return cut


def _calls(request: Request) -> Any:
    calls = [(b.name, meaning(b.arguments)) for _, b in blocks(request) if isinstance(b, ToolCall)]
    links = [b.call_id for _, b in blocks(request) if isinstance(b, ToolResult)]
    ids = [b.id for _, b in blocks(request) if isinstance(b, ToolCall)]
    return (calls, ids == links) if calls else None


def _cut_results(holds: Callable[[ToolResult], bool]) -> Callable[[Request], Iterator[Request]]:
    def cut(request: Request) -> Iterator[Request]:
        calls = {b.id: b for _, b in blocks(request) if isinstance(b, ToolCall)}
        for _, block in blocks(request):
            if isinstance(block, ToolResult) and holds(block) and block.call_id in calls:
                call = calls[block.call_id]
                bare = msgspec.structs.replace(block, cache=None, name=call.name)
                tool = Tool(call.name, None, None if call.custom else ADD.schema, custom=call.custom)
                asked = Turn(Role.ASSISTANT, (ToolCall(call.id, call.name, call.arguments, call.custom),))
                yield just(request, HI, asked, Turn(Role.USER, (bare,)), tools=[tool])

    return cut


def _made_result(*content: Block, error: bool = False) -> Request:
    result = ToolResult("call_1", content, "add", error)
    return made(HI, Turn(Role.ASSISTANT, (CALLED,)), Turn(Role.USER, (result,)), tools=[ADD])


def _results(request: Request) -> Any:
    return [
        [meaning(b.text) if isinstance(b, Text) else type(b).__name__ for b in block.content]
        for _, block in blocks(request)
        if isinstance(block, ToolResult)
    ]


def _result_media(request: Request) -> Any:
    """Beside the result, or in it."""
    inside = [b for _, r in blocks(request) if isinstance(r, ToolResult) for b in r.content]
    beside = [b for _, b in blocks(request)]
    where = [("in it", b) for b in inside] + [("beside it", b) for b in beside]
    return [(at, b.source.data) for at, b in where if isinstance(b, Image)]


def _shows(block: ToolResult) -> bool:
    return any(isinstance(inner, Image) and inner.source.data is not None for inner in block.content)


def _errors(request: Request) -> Any:
    found = [b for _, b in blocks(request) if isinstance(b, ToolResult)]
    return [
        ("an error" if b.error else "a result", "".join(t.text for t in b.content if isinstance(t, Text)))
        for b in found
    ]


# --- thinking


def _cut_thinking(request: Request) -> Iterator[Request]:
    """Sealed thinking, in front of a text, as the client hands it back."""
    for turn, block in blocks(request):
        if turn.role is Role.ASSISTANT and isinstance(block, Reasoning) and block.seal is not None:
            yield just(request, HI, Turn(Role.ASSISTANT, (block, Text("so"))), HI)


def _stranger(cut: Callable[[Request], Iterator[Request]]) -> Callable[[Request], Iterator[Request]]:
    """The same, made by another connection."""

    def other(request: Request) -> Iterator[Request]:
        for found in cut(request):
            turns = tuple(Turn(turn.role, tuple(_elsewhere(b) for b in turn.content)) for turn in found.turns)
            yield just(found, *turns)

    return other


def _elsewhere(block: Block) -> Block:
    if isinstance(block, Reasoning) and block.seal is not None:
        return Reasoning(block.text, msgspec.structs.replace(block.seal, origin="another"), block.summary)
    return block


def _seals(request: Request) -> Any:
    return [b.seal.data for _, b in blocks(request) if isinstance(b, Reasoning) and b.seal is not None]


def _cut_think(holds: Callable[[Think], bool]) -> Callable[[Request], Iterator[Request]]:
    def cut(request: Request) -> Iterator[Request]:
        think = request.params.get(Param.REASONING)
        if isinstance(think, Think) and holds(think):
            yield just(request, HI, reasoning=think)

    return cut


def _think(request: Request) -> Any:
    think = request.params.get(Param.REASONING)
    said = {} if think is None else {name: getattr(think, name) for name in think.__struct_fields__}
    return {name: value for name, value in said.items() if value is not None}


def _cut_format(*, schema: bool) -> Callable[[Request], Iterator[Request]]:
    def cut(request: Request) -> Iterator[Request]:
        wanted = request.params.get(Param.FORMAT)
        if isinstance(wanted, Format) and (wanted.schema is not None) is schema:
            yield just(request, HI, format=Format(wanted.schema))

    return cut


def _format(request: Request) -> Any:
    wanted = request.params.get(Param.FORMAT)
    return None if wanted is None else ("JSON", wanted.schema)


def _cut_cache(request: Request) -> Iterator[Request]:
    for turn, block in blocks(request):
        if getattr(block, "cache", None) is not None and isinstance(block, Text):
            yield just(request, Turn(turn.role, (block,)), *([] if turn.role is Role.USER else [HI]))


def _caches(request: Request) -> Any:
    caches = [cache for _, b in blocks(request) if (cache := getattr(b, "cache", None)) is not None]
    return [{"mark": "of OpenAI's own" if cache.point else "plain", "ttl": cache.ttl or "as usual"} for cache in caches]


DEFAULTS = (
    *((Param.N, 1), (Param.PARALLEL_TOOLS, True), (Param.LOGPROBS, False), (Param.STORE, False)),
    (Param.MODALITIES, ["text"]),
)


def param(title: str, which: Param, *examples: Any, **more: Any) -> Question:
    """A parameter that is one value."""

    def cut(request: Request) -> Iterator[Request]:
        if which in request.params and (which, request.params[which]) not in DEFAULTS:
            yield just(request, HI, **{which.value: request.params[which], **more})

    def view(request: Request) -> Any:
        said = which if which in request.params or which is not Param.SAFETY_ID else Param.USER  # Messages has one id
        return {said.value: request.params[said]} if said in request.params else None

    return Question(title, cut, view, tuple(made(HI, **{which.value: value, **more}) for value in examples))


SEALED = Reasoning("hm", Opaque(DialectName.MESSAGES.value, "thinking", "c2VhbA==", ORIGIN))
_PDF = Source(data="JVBERi0xLjQK", media_type="application/pdf")

QUESTIONS: tuple[Question, ...] = (
    Question("text", _cut_text, lambda r: _texts(r, Role.USER)),
    Question("system and developer messages", _cut_system, _system),
    Question("instructions later on", _cut_later, _later, (made(HI, Turn(Role.SYSTEM, (Text("be brief"),))),)),
    Question("several turns", _cut_turns, _turns),
    Question("images by data", _of_blocks(_has(Image, "data")), _media(Image)),
    Question("images by address", _of_blocks(_has(Image, "url")), _media(Image)),
    Question(
        "files by data (PDF)",
        _of_blocks(_is_pdf),
        _media(Document),
        (made(Turn(Role.USER, (Text("look"), Document(_PDF, "a.pdf")))),),
    ),
    Question(
        "files by address",
        _of_blocks(_has(Document, "url")),
        _media(Document),
        (made(Turn(Role.USER, (Document(Source(url="https://example.com/a.pdf")),))),),
    ),
    Question(
        "files of text",
        _of_blocks(_is_text_file),
        _words,
        (made(Turn(Role.USER, (Document(Source(text="words", media_type="text/plain"), "a.txt"),))),),
    ),
    Question("sound", _of_blocks(_has(Audio, "data", "url")), _media(Audio)),
    Question("video", _of_blocks(_is_video), _foreign),
    Question("tools with schemas", _cut_tools, lambda r: [(t.name, t.description, t.schema) for t in _tools(r)]),
    Question("strict tools", _cut_strict, lambda r: [t.name for t in _tools(r) if t.strict]),
    Question(
        "free-form tools",
        _cut_custom_tool,
        lambda r: [(t.name, "free" if t.custom else "JSON") for t in _tools(r)],
        (made(HI, tools=[Tool("sql", "writes SQL", custom=True)]),),
    ),
    Question("tool choice: auto", _cut_choice("auto"), _choice, (_made_choice("auto"),)),
    Question("tool choice: none", _cut_choice("none"), _choice, (_made_choice("none"),)),
    Question("tool choice: any", _cut_choice("required"), _choice, (_made_choice("required"),)),
    Question("tool choice: this one", _cut_choice("tool"), _choice, (_made_choice("tool", "add"),)),
    Question("tool choice: one of these", _cut_choice("among"), _choice, (_made_choice("required", "add"),)),
    param("no parallel calls", Param.PARALLEL_TOOLS, False, tools=[ADD]),
    Question("a tool call and its result", _cut_calls(1), _calls),
    Question("parallel calls and their results", _cut_calls(2), _calls),
    Question(
        "a free-form call and its result",
        _cut_calls(1, custom=True),
        _calls,
        (
            made(
                HI,
                Turn(Role.ASSISTANT, (ToolCall("call_1", "sql", "SELECT 1", True),)),
                Turn(Role.USER, (ToolResult("call_1", (Text("1"),), "sql", custom=True),)),
                tools=[Tool("sql", None, custom=True)],
            ),
        ),
    ),
    Question(
        "results of text", _cut_results(lambda b: not b.error and all(isinstance(t, Text) for t in b.content)), _results
    ),
    Question(
        "results with images",
        _cut_results(_shows),
        _result_media,
        (_made_result(Text("see"), Image(Source(data=PNG, media_type="image/png"))),),
    ),
    Question(
        "results that are errors",
        _cut_results(lambda b: b.error),
        _errors,
        (_made_result(Text("it broke"), error=True),),
    ),
    Question("JSON output", _cut_format(schema=False), _format, (made(HI, format=Format()),)),
    Question("output by a schema", _cut_format(schema=True), _format),
    param("max_tokens", Param.MAX_TOKENS, 1000),
    param("temperature", Param.TEMPERATURE, 0.5),
    param("top_p", Param.TOP_P, 0.5),
    param("top_k", Param.TOP_K, 40),
    param("min_p", Param.MIN_P, 0.1),
    param("seed", Param.SEED, 7),
    param("stop sequences", Param.STOP, ["END"]),
    param("n", Param.N, 2),
    param("presence_penalty", Param.PRESENCE_PENALTY, 0.5),
    param("frequency_penalty", Param.FREQUENCY_PENALTY, 0.5),
    param("logit_bias", Param.LOGIT_BIAS, {"50256": -100}),
    param("logprobs", Param.LOGPROBS, True),
    param("top_logprobs", Param.TOP_LOGPROBS, 2, logprobs=True),
    param("user", Param.USER, "u1"),
    param("safety_identifier", Param.SAFETY_ID, "u1"),
    param("metadata", Param.METADATA, {"a": "b"}),
    param("service tier", Param.SERVICE_TIER, "default"),
    param("prompt_cache_key", Param.CACHE_KEY, "k"),
    param("prompt_cache_retention", Param.CACHE_RETENTION, "24h"),
    param("verbosity", Param.VERBOSITY, "low"),
    param("store", Param.STORE, True),
    param("prediction", Param.PREDICTION, {"type": "content", "content": "x"}),
    param("modalities", Param.MODALITIES, ["text", "audio"]),
    param("audio voice and format", Param.AUDIO, {"voice": "alloy", "format": "wav"}),
    param("moderation", Param.MODERATION, {"model": "omni-moderation-latest"}),
    Question(
        "reasoning effort",
        _cut_think(lambda t: t.effort not in (None, "none")),
        _think,
        (made(HI, reasoning=Think("high")),),
    ),
    Question(
        "thinking budget", _cut_think(lambda t: t.budget is not None), _think, (made(HI, reasoning=Think(budget=4096)),)
    ),
    Question(
        "no thinking",
        _cut_think(lambda t: t.enabled is False or t.effort == "none"),
        _think,
        (made(HI, reasoning=Think(enabled=False)),),
    ),
    Question(
        "thinking as the model likes",
        _cut_think(lambda t: t.enabled is True and not t.budget),
        _think,
        (made(HI, reasoning=Think(enabled=True)),),
    ),
    Question("thinking handed back to another connection", _stranger(_cut_thinking), _seals),
    Question("marks for the prompt cache", _cut_cache, _caches),
    Question("web search by the provider", _cut_server_tool("web_search"), _server_tools),
    Question("code execution by the provider", _cut_server_tool("code_execution"), _server_tools),
    Question("other built-in tools", _cut_server_tool(), _server_tools),
)

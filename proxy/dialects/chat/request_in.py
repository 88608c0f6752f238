"""A client's request in Chat Completions, read into the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName
from proxy.dialects.blocks import (
    Audio,
    Block,
    Cache,
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
from proxy.dialects.chat.tools import SEARCH, cache_of, tool_places
from proxy.dialects.chat.tools import tools_of as tools_of
from proxy.dialects.json import encode
from proxy.dialects.request import BadRequest, Choice, Format, Param, Request, Role, Think, Turn, checked, places_of

NAME: Final = DialectName.CHAT
_ROLES: Final = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER, "assistant": Role.ASSISTANT}


SAME: Final = {
    "temperature": Param.TEMPERATURE,
    "top_p": Param.TOP_P,
    "top_k": Param.TOP_K,
    "min_p": Param.MIN_P,
    "seed": Param.SEED,
    "n": Param.N,
    "presence_penalty": Param.PRESENCE_PENALTY,
    "frequency_penalty": Param.FREQUENCY_PENALTY,
    "logit_bias": Param.LOGIT_BIAS,
    "logprobs": Param.LOGPROBS,
    "top_logprobs": Param.TOP_LOGPROBS,
    "user": Param.USER,
    "metadata": Param.METADATA,
    "service_tier": Param.SERVICE_TIER,
    "parallel_tool_calls": Param.PARALLEL_TOOLS,
    "prompt_cache_key": Param.CACHE_KEY,
    "prompt_cache_retention": Param.CACHE_RETENTION,
    "prompt_cache_options": Param.CACHE_OPTIONS,
    "safety_identifier": Param.SAFETY_ID,
    "verbosity": Param.VERBOSITY,
    "store": Param.STORE,
    "modalities": Param.MODALITIES,
    "audio": Param.AUDIO,
    "prediction": Param.PREDICTION,
    "moderation": Param.MODERATION,
    "max_tokens": Param.MAX_TOKENS,
    "max_completion_tokens": Param.MAX_TOKENS,
}
_STRUCTURE: Final = frozenset({"model", "messages", "tools", "functions", "stream", "stream_options", SEARCH})
_KNOWN: Final = frozenset(
    {"role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id", "audio", "annotations"}
    | {"reasoning", "reasoning_content", "reasoning_details"}
)  # of a message


def read_request(body: Mapping[str, Any]) -> Request:
    """See `Dialect`."""
    turns = [
        turn_of(message, f"messages[{n}]") for n, message in enumerate(read.must_list(body.get("messages"), "messages"))
    ]
    request = Request(NAME, read.text(body.get("model")) or None, tuple(turns), stream=body.get("stream") is True)
    request.turns = _numbered(request.turns)
    request.extras = {f"messages[{n}].{name}": value for n, t in enumerate(turns) for name, value in t.extras.items()}
    request.tools = tuple(tools_of(body))
    messages = [(f"messages[{n}]", _places(turn, f"messages[{n}]")) for n, turn in enumerate(turns)]
    request.places = places_of(messages, tool_places(body))
    if body.get("functions"):
        request.names[Param.TOOL_CHOICE] = LEGACY
    for name, value in body.items():
        if name in _STRUCTURE or value is None:
            continue
        param = SAME.get(name)
        if param is not None:
            request.params[param] = value
            if param.value != name:
                request.names[param] = name
        elif name not in _READ or not _READ[name](value, request):
            request.extras[name] = value
    return checked(request)


def _places(turn: Turn, where: str) -> list[str]:
    """Where the blocks of a message stand: thinking and calls beside its content."""
    calls = parts = 0
    places: list[str] = []
    for block in turn.content:
        if isinstance(block, ToolCall):
            places.append(f"{where}.tool_calls[{calls}]")
            calls += 1
        elif isinstance(block, Reasoning):
            places.append(f"{where}.reasoning_content")
        elif isinstance(block, ToolResult):
            places.append(where)
        else:
            places.append(f"{where}.content[{parts}]")
            parts += 1
    return places


LEGACY: Final = "function_call"  # how a client of the old kind spells the choice, and wants to be told of a call


def _numbered(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Calls of the old kind have no ids: each gets one, and the results behind them the same in order."""
    if all(block.id for turn in turns for block in turn.content if isinstance(block, ToolCall)):
        return turns
    number = 0
    waiting: list[str] = []
    out: list[Turn] = []
    for turn in turns:
        blocks: list[Block] = []
        for block in turn.content:
            if isinstance(block, ToolCall) and not block.id:
                number += 1
                waiting.append(f"call_{number}")
                blocks.append(replace(block, id=waiting[-1]))
            elif isinstance(block, ToolResult) and not block.call_id and waiting:
                blocks.append(replace(block, call_id=waiting.pop(0)))
            else:
                blocks.append(block)
        out.append(replace(turn, content=tuple(blocks)))
    return tuple(out)


def turn_of(message: object, where: str) -> Turn:
    """One message. Raises BadRequest."""
    said = read.must_table(message, where)
    role = read.text(said.get("role"))
    if role in ("tool", "function"):
        content = tuple(_parts(said.get("content"), f"{where}.content"))
        ident = read.text(said.get("tool_call_id"))
        return Turn(Role.USER, (ToolResult(ident, content, read.text(said.get("name")) or None),))
    if role not in _ROLES:
        raise BadRequest(f"`{where}.role` must be system, developer, user, assistant or tool", f"{where}.role")
    blocks = list(_parts(said.get("content"), f"{where}.content"))
    pictures = list(_pictures(said.get("images"))) if role == "assistant" else []
    if role == "assistant":
        blocks = [*_reasoning_of(said), *blocks, *pictures, *_said_beside(said)]
    known = {*_KNOWN, "images"} if pictures else _KNOWN
    extras = {name: value for name, value in said.items() if name not in known and value not in (None, False)}
    return Turn(_ROLES[role], tuple(blocks), read.text(said.get("name")) or None, extras)


def _parts(content: object, where: str) -> Iterator[Block]:
    if content is None:
        return
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for n, part in enumerate(read.must_list(content, where)):
        yield from _part(read.must_table(part, f"{where}[{n}]"), f"{where}[{n}]")


def _part(part: dict[str, Any], where: str) -> Iterator[Block]:
    kind = part.get("type")
    cache = cache_of(part)
    if kind == "text":
        yield Text(read.must_text(part.get("text"), f"{where}.text"), cache=cache)
    elif kind == "refusal":
        yield Refusal(read.text(part.get("refusal")))
    elif kind == "image_url":
        given = part.get("image_url")
        image = {"url": given} if isinstance(given, str) else read.must_table(given, f"{where}.image_url")
        url = read.must_text(image.get("url"), f"{where}.image_url.url")
        yield Image(_source(url), read.text(image.get("detail")) or None, cache)
    elif kind == "input_audio":
        audio = read.must_table(part.get("input_audio"), f"{where}.input_audio")
        form = read.text(audio.get("format")) or None
        media = AUDIO_TYPES.get(form, f"audio/{form}") if form else None
        yield Audio(Source(data=read.must_text(audio.get("data"), where), media_type=media), form)
    elif kind == "file":
        yield _file(read.must_table(part.get("file"), f"{where}.file"), cache)
    elif kind == "document_url":
        yield Document(_source(read.text(part.get("document_url"))), cache=cache)
    elif kind == "thinking":
        yield Reasoning("".join(read.text(row.get("text")) for row in read.rows(part.get("thinking"))))
    else:
        yield Foreign(Opaque(NAME, str(kind), part), content=True)


def _pictures(rows: object) -> Iterator[Image]:
    """What the model drew, as OpenRouter hands it out; none where an entry is of another form."""
    listed = [read.table(row) for row in rows] if isinstance(rows, list) else []
    images = [read.table(row.get("image_url")) for row in listed]
    if all(read.text(image.get("url")) for image in images):
        yield from (Image(_source(image["url"]), read.text(image.get("detail")) or None) for image in images)


AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def _source(url: str) -> Source:
    inline = read.data_url(url)
    return Source(url=url) if inline is None else Source(media_type=inline[0], data=inline[1])


def _file(file: Mapping[str, Any], cache: Cache | None) -> Document:
    data = read.text(file.get("file_data"))
    placed = data.startswith(("data:", "https://", "http://"))  # OpenRouter takes addresses too
    source = _source(data) if placed else Source(data=data or None, media_type="application/pdf")
    if file.get("file_id"):
        source = Source(file_id=read.text(file.get("file_id")))
    return Document(source, read.text(file.get("filename")) or None, cache=cache)


def _reasoning_of(message: Mapping[str, Any]) -> Iterator[Reasoning]:
    details = read.rows(message.get("reasoning_details"))
    if details:
        yield from (_detail(row) for row in details)
        return
    text = read.text(message.get("reasoning_content")) or read.text(message.get("reasoning"))
    if text:
        yield Reasoning(text)


def _detail(row: Mapping[str, Any]) -> Reasoning:
    """One of OpenRouter's `reasoning_details`; a seal without our mark is its own."""
    kind = read.text(row.get("type"))
    text = read.text(row.get("text")) or read.text(row.get("summary"))
    sealed = read.text(row.get("signature")) or read.text(row.get("data"))
    if not sealed:
        return Reasoning(text, summary=kind == "reasoning.summary")
    found = seals.unwrap(sealed, NAME, kind)
    return Reasoning(text, found if found.dialect != NAME else Opaque(NAME, kind, dict(row)))


def _said_beside(message: Mapping[str, Any]) -> Iterator[Block]:
    refusal = read.text(message.get("refusal"))
    if refusal:
        yield Refusal(refusal)
    for call in read.rows(message.get("tool_calls")):
        custom = read.table(call.get("custom"))
        function = read.table(call.get("function"))
        if call.get("type") == "custom" and custom:
            yield ToolCall(
                read.text(call.get("id")), read.text(custom.get("name")), read.text(custom.get("input")), True
            )
        else:
            given = function.get("arguments")
            arguments = given if isinstance(given, str) else encode(given or {}).decode()
            seal = call_seal(call, None)
            yield ToolCall(read.text(call.get("id")), read.text(function.get("name")), arguments, seal=seal)
    legacy = read.table(message.get("function_call"))
    if legacy.get("name"):
        yield ToolCall("", read.text(legacy.get("name")), read.text(legacy.get("arguments")))
    audio = read.table(message.get("audio"))
    if audio.get("id"):
        yield Foreign(Opaque(NAME, "audio", dict(audio)))


SIGNED: Final = "google"  # in `extra_content`, whoever answers


def call_seal(call: Mapping[str, Any], origin: str | None) -> Opaque | None:
    """What belongs to a call beside its arguments: `extra_content`, in which Google's Chat puts its signatures."""
    extra = read.table(call.get("extra_content"))
    signature = read.text(read.table(extra.get(SIGNED)).get("thought_signature"))
    if signature.startswith(seals.MARK):
        return seals.unwrap(signature, NAME, "extra_content", dict(extra))
    return Opaque(NAME, "extra_content", dict(extra), origin) if extra else None


def _read_stop(value: Any, request: Request) -> bool:
    request.params[Param.STOP] = [value] if isinstance(value, str) else value
    return True


def _read_thinking(value: Any, request: Request) -> bool:
    """The switch of DeepSeek, Moonshot and Z.ai; an effort beside it says how much."""
    enabled = {"enabled": True, "disabled": False}.get(read.text(read.table(value).get("type")))
    if enabled is None or set(value) - {"type", "budget_tokens"}:
        return False
    before = request.params.get(Param.REASONING, Think())
    budget = read.number(value.get("budget_tokens")) or None
    request.params[Param.REASONING] = replace(before, enabled=enabled, budget=budget)
    request.names[Param.REASONING] = "thinking"
    return True


def _read_effort(value: Any, request: Request) -> bool:
    if not isinstance(value, str):
        return False
    before = request.params.get(Param.REASONING, Think())
    request.params[Param.REASONING] = replace(
        before, effort=value, enabled=False if value == "none" else before.enabled
    )
    request.names.setdefault(Param.REASONING, "reasoning_effort")
    return True


def _read_reasoning(value: Any, request: Request) -> bool:
    """OpenRouter's `reasoning` object."""
    if not isinstance(value, dict):
        return False
    enabled = value.get("enabled")
    request.params[Param.REASONING] = Think(
        read.text(value.get("effort")) or None,
        read.number(value.get("max_tokens")) or None,
        enabled if isinstance(enabled, bool) else None,
        "omitted" if value.get("exclude") is True else read.text(value.get("summary")) or None,
    )
    request.names[Param.REASONING] = "reasoning"
    return True


def _read_format(value: Any, request: Request) -> bool:
    form = read.table(value)
    if form.get("type") == "json_schema":
        spec = read.table(form.get("json_schema"))
        request.params[Param.FORMAT] = Format(
            spec.get("schema"), read.text(spec.get("name")) or "answer", spec.get("description"), spec.get("strict")
        )
    elif form.get("type") == "json_object":
        request.params[Param.FORMAT] = Format()
    elif form.get("type") != "text":
        return False
    request.names[Param.FORMAT] = "response_format"
    return True


def _read_choice(value: Any, request: Request) -> bool:
    if isinstance(value, str):
        mode = {"any": "required"}.get(value, value)  # Mistral's word
        if mode not in ("auto", "none", "required"):
            return False
        request.params[Param.TOOL_CHOICE] = Choice(mode)
        return True
    spec = read.table(value)
    if spec.get("type") == "allowed_tools":
        allowed = read.table(spec.get("allowed_tools"))
        names = tuple(_named(row) for row in read.rows(allowed.get("tools")))
        choice = Choice(read.text(allowed.get("mode")) or "auto", names)
    else:
        names = (_named(spec),)
        choice = Choice("tool", names)
    if not all(names):
        return False
    request.params[Param.TOOL_CHOICE] = choice
    return True


def _named(spec: Mapping[str, Any]) -> str:
    """The tool that a reference names, a function or a custom tool; in the old form it stands alone."""
    return read.text(read.table(spec.get(str(spec.get("type")))).get("name")) or read.text(spec.get("name"))


_READ: Final = {
    "stop": _read_stop,
    "reasoning_effort": _read_effort,
    "reasoning": _read_reasoning,
    "thinking": _read_thinking,
    "response_format": _read_format,
    "tool_choice": _read_choice,
    "function_call": _read_choice,
}

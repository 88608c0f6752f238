"""A request of the hub, written in Anthropic Messages for a provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from proxy.dialects import read, seals
from proxy.dialects.base import DialectName, Target
from proxy.dialects.blocks import (
    Block,
    Cite,
    Document,
    Foreign,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Source,
    Text,
    ToolCall,
    ToolResult,
    plainly,
)
from proxy.dialects.json import encode
from proxy.dialects.messages.models import limit_of, ways_of
from proxy.dialects.messages.schemas import compiled
from proxy.dialects.messages.thinking import say_think, settle
from proxy.dialects.messages.tools import marked, say_choice, say_parallel, tools_out
from proxy.dialects.names import plain
from proxy.dialects.request import Format, Loss, Param, Request, Role, Say, Turn, Unsayable, described, say_params
from proxy.dialects.shown import shown
from proxy.dialects.toolbox import given_to

NAME: Final = DialectName.MESSAGES
_PICTURES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    losses: list[Loss] = []
    body: dict[str, Any] = {"model": target.model, "max_tokens": target.max_tokens}
    system, turns = _split(enumerate(request.turns) if request.home == NAME else shown(request.turns))
    if system:
        body["system"] = _plain([entry for at, block in system for entry in _entry(block, target, at, losses)])
    body["messages"] = _messages(request, turns, target, losses)
    if not body["messages"] and "system" in body:  # there has to be a question
        body["messages"] = [{"role": "user", "content": body.pop("system")}]
    tools = list(tools_out(request, losses))
    if tools:
        body["tools"] = tools
    body["max_tokens"] = limit_of(target.model, target.max_tokens, lambda: len(encode(body)))
    losses += _parameters(request, body)
    if not body.get("tools"):
        body.pop("tool_choice", None)
    losses += settle(
        body, lambda param: request.names.get(param, param.value), asked=Param.MAX_TOKENS in request.params
    )
    if request.stream:
        body["stream"] = True
    return body, losses


def _parameters(request: Request, body: dict[str, Any]) -> list[Loss]:
    """What the home dialect alone has goes back there; of its places, those that are written."""
    if request.home != NAME:
        return say_params(request, _WORDS, body)
    losses = say_params(request, _OWN_WORDS, body)
    for name, value in request.extras.items():
        place, _, inner = name.partition(".")
        if place.startswith("messages["):
            continue  # with its message
        if not inner:
            body[name] = value
        elif isinstance(body.setdefault(place, {}), dict):
            body[place].setdefault(inner, value)
    return [loss for loss in losses if loss.what not in request.extras]


def _split(turns: Iterable[tuple[int, Turn]]) -> tuple[list[tuple[str, Block]], list[tuple[int, Turn]]]:
    """What the instructions in front say, and the rest. Later instructions are said by the user."""
    system: list[tuple[str, Block]] = []
    rest: list[tuple[int, Turn]] = []
    for n, turn in turns:
        instructs = turn.role in (Role.SYSTEM, Role.DEVELOPER)
        if instructs and not rest:
            system += [(f"messages[{n}].content[{m}]", block) for m, block in enumerate(turn.content)]
        else:
            rest.append((n, turn))
    return system, rest


def _messages(
    request: Request, turns: list[tuple[int, Turn]], target: Target, losses: list[Loss]
) -> list[dict[str, Any]]:
    """Turns of one role in a row are one message: the roles must alternate."""
    messages: list[dict[str, Any]] = []
    for at, (n, turn) in enumerate(turns):
        following = turns[at + 1][1].role if at + 1 < len(turns) else Role.ASSISTANT
        role = _role(request, turn, target, messages, following)
        where = f"messages[{n}].content"
        entries = [e for m, b in enumerate(turn.content) for e in _entry(b, target, f"{where}[{m}]", losses)]
        if turn.name:
            losses.append(Loss(f"messages[{n}].name", "speakers have no names"))
        more = dict(turn.extras) if request.home == NAME else {}
        if not entries and not more:
            continue
        if messages and messages[-1]["role"] == role and not more:
            messages[-1]["content"] += entries
        else:
            messages.append({"role": role, "content": entries, **more})
    for message in messages:
        if message["role"] == "user":  # results come first (Anthropic, "Tool use": they must)
            message["content"].sort(key=lambda entry: entry.get("type") != "tool_result")
        message["content"] = _plain(message["content"])
    return messages


def _role(request: Request, turn: Turn, target: Target, messages: list[dict[str, Any]], following: Role) -> str:
    """What a later instruction is said by: the system where the client or the model allows it, else the user."""
    if turn.role not in (Role.SYSTEM, Role.DEVELOPER):
        return turn.role.value
    placed = messages and messages[-1]["role"] == "user" and following is Role.ASSISTANT
    plain = all(isinstance(block, Text) for block in turn.content)
    if request.home == NAME or (placed and plain and ways_of(target.model).system_inside):
        return "system"
    return "user"


def _plain(entries: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string."""
    if len(entries) == 1 and entries[0].keys() == {"type", "text"}:
        return str(entries[0]["text"])
    return entries


def _entry(block: Block, target: Target, where: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    """The content block that says this one, or a loss."""
    if isinstance(block, Text | Refusal) and not block.text.strip():
        return  # one without a word is refused
    entry = _said(block, target, where, losses)
    if entry is not None:
        yield marked(entry, getattr(block, "cache", None))
    elif isinstance(block, Reasoning):
        losses.append(Loss(f"{where} (thinking)", "another connection made it, and only that one can read it"))
    elif isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content):
        losses.append(Loss(where, "the work of another provider's own tools"))
    else:
        losses.append(Loss(where, f"{plainly(block)} cannot stand in a message", content=True))


def _said(block: Block, target: Target, where: str, losses: list[Loss]) -> dict[str, Any] | None:
    match block:
        case Text():
            return _text(block, where, losses)
        case Refusal(text=text):
            return {"type": "text", "text": text}
        case Image():
            if block.detail not in (None, "auto"):
                losses.append(Loss(f"{where}.detail", "images have no such mark"))
            return _image(block.source)
        case Document():
            return _document(block)
        case ToolCall():
            return _call(block, where, losses)
        case ToolResult():
            return _result(block, target, where, losses)
        case Reasoning():
            return _thinking(block, target)
        case ServerCall(raw=raw) | Foreign(raw=raw):
            return dict(raw.data) if raw.dialect == NAME else None
        case _:
            return None


def _text(block: Text, where: str, losses: list[Loss]) -> dict[str, Any]:
    """Its sources go along where Anthropic itself named them."""
    entry: dict[str, Any] = {"type": "text", "text": block.text}
    cites = [made for cite in block.cites if (made := _cite(cite)) is not None]
    if cites:
        entry["citations"] = cites
    if len(cites) < len(block.cites):
        losses.append(Loss(f"{where} (citations)", "another provider named these sources"))
    return entry


def _cite(cite: Cite) -> dict[str, Any] | None:
    if cite.raw is None or cite.raw.dialect != NAME:
        return None
    if cite.raw.kind == "web_search_result_location" and not cite.raw.data.get("encrypted_index"):
        return None  # we wrote it for another provider's source
    return {name: value for name, value in cite.raw.data.items() if name != "file_id"}  # which answers alone have


def _source(source: Source) -> dict[str, Any] | None:
    """Where it is, in the three ways that there are; a file of another provider's is in none."""
    if source.data is not None:
        return {"type": "base64", "media_type": source.kind, "data": source.data}
    if source.url is not None:
        return {"type": "url", "url": source.url} if source.url.startswith(("https://", "http://")) else None
    if source.file_id is not None and not source.file_id.startswith(("https://", "gs://", "file-")):
        return {"type": "file", "file_id": source.file_id}
    return None


def _image(source: Source) -> dict[str, Any] | None:
    given = _source(source)
    if given is None or given.get("media_type", "image/png") not in _PICTURES:
        return None
    return {"type": "image", "source": given}


def _document(block: Document) -> dict[str, Any] | None:
    """A PDF, or text."""
    if block.raw is not None and block.raw.dialect == NAME:
        return dict(block.raw.data)
    words = block.source.words
    given = _source(block.source)
    if words is not None:
        given = {"type": "text", "media_type": "text/plain", "data": words}
    elif given is None or given.get("media_type", "application/pdf") != "application/pdf":
        return None
    entry: dict[str, Any] = {"type": "document", "source": given}
    if block.name:
        entry["title"] = block.name
    if block.context:
        entry["context"] = block.context
    if block.cited:
        entry["citations"] = {"enabled": True}
    return entry


def _call(block: ToolCall, where: str, losses: list[Loss]) -> dict[str, Any]:
    given = given_to(block)
    if given is None:
        losses.append(Loss(f"{where}.arguments", "they are not a JSON object", content=True))
    more = read.table(block.seal.data) if block.seal is not None and block.seal.dialect == NAME else {}
    return {"type": "tool_use", "id": plain(block.id), "name": plain(block.name), "input": given or {}, **more}


def _result(block: ToolResult, target: Target, where: str, losses: list[Loss]) -> dict[str, Any]:
    entries = [e for n, b in enumerate(block.content) for e in _entry(b, target, f"{where}.content[{n}]", losses)]
    entry: dict[str, Any] = {"type": "tool_result", "tool_use_id": plain(block.call_id)}
    if entries:
        entry["content"] = _plain(entries)
    if block.error:
        entry["is_error"] = True
    return entry


def _thinking(block: Reasoning, target: Target) -> dict[str, Any] | None:
    if block.seal is None or not seals.fits(block.seal, NAME, target.origin):
        return None
    if block.seal.kind == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.seal.data}
    return {"type": "thinking", "thinking": block.text, "signature": block.seal.data}


def _say_format(value: Format, body: dict[str, Any]) -> None:
    if value.schema is None:
        raise Unsayable("JSON without a schema cannot be asked for; ask for it in words")
    lost: set[str] = set()
    schema = compiled(described(value), lost)
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
    if lost:
        raise Unsayable(f"its schemas have no {', '.join(sorted(lost))}")


def _keep_format(value: Format, body: dict[str, Any]) -> None:
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": value.schema}


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    word = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}.get(str(value))
    if word is None:
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = word


def _say_user(value: Any, body: dict[str, Any]) -> None:
    before = body.get("metadata", {}).get("user_id")
    if before not in (None, value):
        raise Unsayable("there is one id of a user; the other one was taken")
    body["metadata"] = {"user_id": value}


def _say_one(value: Any, body: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


def _say_temperature(value: Any, body: dict[str, Any]) -> None:
    body["temperature"] = value
    if isinstance(value, int | float) and value > 1:
        body["temperature"] = 1
        raise Unsayable("the scale ends at 1, which was taken")


def _say_top_k(value: Any, body: dict[str, Any]) -> None:
    body["top_k"] = int(value) if isinstance(value, float) and value.is_integer() else value


def _say_stop(value: Any, body: dict[str, Any]) -> None:
    kept = [text for text in value if not isinstance(text, str) or text.strip()] if isinstance(value, list) else value
    if kept:
        body["stop_sequences"] = kept
    if kept != value:
        raise Unsayable("white space alone is no stop sequence")


def _nothing_but(*values: Any) -> Say:
    """Writes nothing: these values ask for nothing that is not so anyway."""

    def say(value: Any, _body: dict[str, Any]) -> None:
        if value not in values:
            raise Unsayable("there is no such parameter")

    return say


_WORDS: Final[Mapping[Param, str | Say]] = {
    Param.MAX_TOKENS: "max_tokens",
    Param.TEMPERATURE: _say_temperature,
    Param.TOP_P: "top_p",
    Param.TOP_K: _say_top_k,
    Param.STOP: _say_stop,
    Param.SERVICE_TIER: _say_tier,
    Param.REASONING: say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: say_choice,
    Param.PARALLEL_TOOLS: say_parallel,
    Param.USER: _say_user,
    Param.SAFETY_ID: _say_user,
    Param.N: _say_one,
    Param.LOGPROBS: _nothing_but(False),
    Param.TOP_LOGPROBS: _nothing_but(0),
    Param.PRESENCE_PENALTY: _nothing_but(0),
    Param.FREQUENCY_PENALTY: _nothing_but(0),
    Param.LOGIT_BIAS: _nothing_but({}),
    Param.STORE: _nothing_but(False),
    Param.MODALITIES: _nothing_but(["text"]),
    Param.VERBOSITY: _nothing_but("medium"),
}
_OWN_WORDS: Final[Mapping[Param, str | Say]] = {
    **_WORDS,
    Param.STOP: "stop_sequences",
    Param.REASONING: partial(say_think, own=True),
    Param.FORMAT: _keep_format,
}

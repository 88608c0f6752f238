"""Turns of the hub, written as the messages of Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from proxy.dialects import seals
from proxy.dialects.base import DialectName, Target
from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
    plainly,
)
from proxy.dialects.chat.request_in import AUDIO_TYPES
from proxy.dialects.json import encode
from proxy.dialects.request import Loss, Role, Turn

NAME: Final = DialectName.CHAT


class Messages:
    """Writes turns as messages for one provider. `home`: the client speaks this dialect too."""

    def __init__(self, target: Target, home: bool, losses: list[Loss]) -> None:
        self._target = target
        self._home = home
        self._losses = losses

    def turn(self, turn: Turn, where: str) -> Iterator[dict[str, Any]]:
        """The messages that say this turn."""
        if turn.role is Role.ASSISTANT:
            said = self._assistant(turn, where)
            if len(said) > 1:
                yield {**said, **self._beside(turn, where)}
            return
        parts: list[dict[str, Any]] = []
        for n, block in enumerate(turn.content):
            if isinstance(block, ToolResult):
                message, pictures = self._result(block, f"{where}.content[{n}]")
                yield message
                parts += pictures
            else:
                part = self._part(block, f"{where}.content[{n}]")
                parts += [] if part is None else [part]
        if parts:
            yield {"role": self._role(turn.role), "content": self._plain(parts), **self._beside(turn, where)}

    def _beside(self, turn: Turn, where: str) -> dict[str, Any]:
        named = {"name": turn.name} if turn.name else {}
        if named and "name" in self._target.rejects:
            self._losses.append(Loss(f"{where}.name", "this provider gives speakers no names"))
            named = {}
        return {**named, **turn.extras} if self._home else named

    def _role(self, role: Role) -> str:
        """Many providers of this dialect know no developer, and the one that does takes a system for one."""
        return "system" if role is Role.DEVELOPER and not self._home else role.value

    def _plain(self, parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        """Nothing but texts as one string, which every provider takes."""
        if all(part.keys() == {"type", "text"} for part in parts) and (len(parts) == 1 or not self._home):
            return "\n\n".join(str(part["text"]) for part in parts)
        return parts

    def _id(self, ident: str) -> str:
        """The id of a call, in the length that this provider wants (Mistral: nine letters and digits)."""
        length = self._target.call_id_length
        if not length or (len(ident) == length and ident.isascii() and ident.isalnum()):
            return ident
        return sha256(ident.encode("utf-8", "surrogatepass")).hexdigest()[:length]

    def _result(self, block: ToolResult, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The tool's message; what is no text goes into the user's message behind it."""
        parts = [p for p in (self._part(inner, where) for inner in block.content) if p is not None]
        texts = [p for p in parts if self._home or p["type"] == "text"]
        others = [p for p in parts if not self._home and p["type"] != "text"]
        if block.error:
            self._losses.append(Loss(f"{where}.is_error", "a tool's result has no such mark; its text stands"))
        content: Any = self._plain(texts) if texts else ("(see the next message)" if others else "")
        return {"role": "tool", "tool_call_id": self._id(block.call_id), "content": content}, others

    def _part(self, block: Block, where: str) -> dict[str, Any] | None:
        part = _part_out(block, home=self._home)
        if part is None:
            kind = plainly(block)
            content = not isinstance(block, ServerCall | Foreign) or (isinstance(block, Foreign) and block.content)
            self._losses.append(Loss(where, f"{kind} cannot stand in a message", content=content))
        elif isinstance(block, Text | Image | Document):
            self._marks(block, part, where)
        return part

    def _marks(self, block: Text | Image | Document, part: dict[str, Any], where: str) -> None:
        cache = block.cache
        if cache is not None and cache.point is not None:
            part["prompt_cache_breakpoint"] = cache.point
        elif cache is not None and (self._home or self._target.cache_marks):
            part["cache_control"] = {"type": "ephemeral", **({"ttl": cache.ttl} if cache.ttl else {})}
        elif cache is not None:
            self._losses.append(Loss(f"{where}.cache_control", "prompts are cached without marks"))
        if isinstance(block, Document) and block.cited:
            self._losses.append(Loss(f"{where}.citations", "answers do not cite documents"))
        if isinstance(block, Document) and block.context:
            self._losses.append(Loss(f"{where}.context", "a file has no such text beside it"))

    def _assistant(self, turn: Turn, where: str) -> dict[str, Any]:
        said: dict[str, Any] = {"role": "assistant"}
        texts = [block.text for block in turn.content if isinstance(block, Text)]
        calls = [self._call(block) for block in turn.content if isinstance(block, ToolCall)]
        for n, block in enumerate(turn.content):
            if not isinstance(block, Text | ToolCall | Reasoning):
                self._else(block, said, f"{where}.content[{n}]")
        if texts:
            said["content"] = "".join(texts)
        if calls:
            said.setdefault("content", None)
            said["tool_calls"] = calls
        thoughts = [(f"{where}.content[{n}]", b) for n, b in enumerate(turn.content) if isinstance(b, Reasoning)]
        self._thoughts(thoughts, said)
        if len(said) > 1:
            said.setdefault("content", None if "refusal" in said or "audio" in said else "")
        return said

    def _else(self, block: Block, said: dict[str, Any], at: str) -> None:
        if isinstance(block, Refusal):
            said["refusal"] = said.get("refusal", "") + block.text
        elif isinstance(block, Foreign) and (block.raw.dialect, block.raw.kind) == (NAME, "audio"):
            said["audio"] = {"id": block.raw.data.get("id")}
        elif isinstance(block, Image) and (part := _image_out(block)) is not None:
            said.setdefault("images", []).append(part)
        elif isinstance(block, ServerCall | Foreign):
            content = isinstance(block, Foreign) and block.content
            self._losses.append(Loss(at, "the work of another provider's own tools", content=content))
        else:
            why = f"{plainly(block)} cannot stand in an answer"
            self._losses.append(Loss(at, why, content=True))

    def _call(self, block: ToolCall) -> dict[str, Any]:
        if block.custom and not self._home:
            block = replace(block, arguments=encode({"input": block.arguments}).decode(), custom=False)
        call = call_out(replace(block, id=self._id(block.id)))
        if block.seal is not None and seals.fits(block.seal, NAME, self._target.origin):
            call["extra_content"] = block.seal.data
        return call

    def _thoughts(self, thoughts: list[tuple[str, Reasoning]], said: dict[str, Any]) -> None:
        """Thinking goes back in the provider's form: sealed rows unaltered, else its text in the field it wants."""
        field = self._target.reasoning_field
        text = "".join(t.text for _, t in thoughts)
        if any(t.seal is not None and seals.fits(t.seal, NAME, self._target.origin) for _, t in thoughts):
            said["reasoning_details"] = [row for at, t in thoughts for row in self._detail(t, at)]
        elif field == "thinking" and text:
            spoken = [{"type": "text", "text": said["content"]}] if said.get("content") else []
            said["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, *spoken]
        elif field and field != "thinking" and (text or "tool_calls" in said):
            said[field] = text  # DeepSeek wants it beside every call, though it be empty
        else:
            self._unsaid(thoughts, said)

    def _unsaid(self, thoughts: list[tuple[str, Reasoning]], said: dict[str, Any]) -> None:
        """At home what the client wrote in the open is its own business; the rest is lost."""
        own = [t.text for _, t in thoughts if self._home and t.seal is None]
        if own:
            said["reasoning_content"] = "".join(own)
        why = "this provider does not take thinking back"
        self._losses += [Loss(f"{at} (thinking)", why) for at, t in thoughts if not self._home or t.seal is not None]

    def _detail(self, thought: Reasoning, at: str) -> Iterator[dict[str, Any]]:
        if thought.seal is None:
            kind = "summary" if thought.summary else "text"
            yield {"type": f"reasoning.{kind}", kind: thought.text}
        elif seals.fits(thought.seal, NAME, self._target.origin):
            yield thought.seal.data
        else:
            self._losses.append(Loss(f"{at} (thinking)", "another connection made it, and only that one can read it"))


def _part_out(block: Block, *, home: bool) -> dict[str, Any] | None:
    """A part of a message; None for what has no place in one."""
    match block:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Image():
            return _image_out(block)
        case Document():
            return _document_out(block, home=home)
        case Audio(source=source) if source.data is not None:
            return _audio_out(block, home=home)
        case Foreign(raw=raw) if raw.dialect == NAME and isinstance(raw.data, dict):
            return dict(raw.data)
        case _:
            return None


def _audio_out(block: Audio, *, home: bool) -> dict[str, Any] | None:
    form = block.format or {v: k for k, v in AUDIO_TYPES.items()}.get(block.source.media_type or "")
    if form not in AUDIO_TYPES and not home:
        return None  # these two are taken, whoever is asked
    return {"type": "input_audio", "input_audio": {"data": block.source.data, "format": form}}


def _image_out(block: Image) -> dict[str, Any] | None:
    source = block.source
    url = source.url or (source.data and f"data:{source.media_type or 'image/png'};base64,{source.data}")
    if not url:
        return None
    return {"type": "image_url", "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})}}


def _document_out(block: Document, *, home: bool) -> dict[str, Any] | None:
    source = block.source
    kind = source.media_type or "application/pdf"
    if source.file_id:
        return {"type": "file", "file": {"file_id": source.file_id}}
    if source.words is not None:
        return {"type": "text", "text": source.words}
    if source.url and home:  # Mistral's form, and OpenRouter's, which has a name
        named = {"type": "file", "file": {"filename": block.name, "file_data": source.url}}
        return named if block.name else {"type": "document_url", "document_url": source.url}
    if source.data is None:
        return None
    return {
        "type": "file",
        "file": {"filename": block.name or "document.pdf", "file_data": f"data:{kind};base64,{source.data}"},
    }


def call_out(block: ToolCall) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    if block.custom:
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": block.arguments}}
    function = {"name": block.name, "arguments": block.arguments or "{}"}
    return {"id": block.id, "type": "function", "function": function}

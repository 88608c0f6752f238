"""A request of the hub, written in generateContent for a provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects import seals
from proxy.dialects.base import Target
from proxy.dialects.blocks import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    ServerCall,
    Text,
    ToolCall,
    ToolResult,
    plainly,
)
from proxy.dialects.gemini.models import ways_of
from proxy.dialects.gemini.parts import NAME, RESOLUTIONS, STAND_IN, media_for, signature_for
from proxy.dialects.gemini.request_in import SAME
from proxy.dialects.gemini.schemas import mended
from proxy.dialects.gemini.thinking import say_think
from proxy.dialects.gemini.tools import tools_out
from proxy.dialects.json import decode_object
from proxy.dialects.request import (
    Choice,
    Format,
    Loss,
    Param,
    Request,
    Role,
    Say,
    Turn,
    Unsayable,
    described,
    say_params,
)
from proxy.dialects.toolbox import given_to

_MOST_STOPS: Final = 5
_SEALED: Final = frozenset({"text", "inlineData", "fileData"})  # what a signature of its own may stand on


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`. The model stands in the path."""
    return _Writer(request, target).write()


class _Writer:
    def __init__(self, request: Request, target: Target) -> None:
        self._request = request
        self._target = target
        self._ways = ways_of(target.model)
        self._beside: list[dict[str, Any]] = []  # what results held, where results are texts alone
        self._losses: list[Loss] = []
        self._names = {
            block.id: block.name for turn in request.turns for block in turn.content if isinstance(block, ToolCall)
        }

    def write(self) -> tuple[dict[str, Any], list[Loss]]:
        body: dict[str, Any] = {}
        contents: list[dict[str, Any]] = []
        system: list[dict[str, Any]] = []
        for n, turn in enumerate(self._request.turns):
            held, self._beside = self._beside, []
            parts = list(self._parts(turn, f"messages[{n}].content"))
            if turn.name:
                self._lose(f"messages[{n}].name", "speakers have no names")
            if parts and held and "functionResponse" not in parts[0]:  # the last result is behind us
                contents.append({"role": "user", "parts": held})
                held = []
            self._beside = held + self._beside
            if turn.role in (Role.SYSTEM, Role.DEVELOPER) and not contents:
                system += parts
            elif parts:
                _append(contents, "model" if turn.role is Role.ASSISTANT else "user", parts)
        if self._beside:
            contents.append({"role": "user", "parts": self._beside})
        if not contents and system:  # there has to be a question
            contents, system = [{"role": "user", "parts": system}], []
        body["contents"] = contents
        if system:
            body["systemInstruction"] = {"parts": system}
        tools = tools_out(self._request, self._losses)
        if tools:
            body["tools"] = tools
        self._parameters(body)
        return body, self._losses

    def _lose(self, what: str, why: str, *, content: bool = False) -> None:
        self._losses.append(Loss(what, why, content))

    def _parameters(self, body: dict[str, Any]) -> None:
        config: dict[str, Any] = {}
        own = self._request.home == NAME
        said = {"config": config, "body": body, "ways": self._ways, "own": own, "losses": self._losses}
        losses = say_params(self._request, _WORDS, said)
        if own:
            losses = [loss for loss in losses if loss.what not in self._request.extras]
            for name, value in self._request.extras.items():
                _put_back({"generationConfig": config}, body, name, value)
        self._losses += losses
        if config:
            body["generationConfig"] = config
        if not own:
            self._fit(body, config)

    def _fit(self, body: dict[str, Any], config: dict[str, Any]) -> None:
        """What cannot stand together: choosing among no functions; JSON beside functions, for older models."""
        functions = any("functionDeclarations" in entry for entry in body.get("tools", ()))
        chosen = body.pop("toolConfig", None)
        if functions and chosen is not None:
            body["toolConfig"] = chosen
        elif chosen is not None and chosen["functionCallingConfig"]["mode"] not in ("AUTO", "NONE"):
            self._lose(self._name(Param.TOOL_CHOICE), "there is no function to choose")
        if functions and self._ways.old and config.pop("responseMimeType", None) is not None:
            config.pop("responseJsonSchema", None)
            self._lose(self._name(Param.FORMAT), "the model gives no JSON where it may call functions")

    def _name(self, param: Param) -> str:
        return self._request.names.get(param, param.value)

    def _parts(self, turn: Turn, where: str) -> Iterator[dict[str, Any]]:
        """Signatures go onto the part that they belong to: the call behind them, or the text before them."""
        waiting: Opaque | None = None
        called = False
        parts: list[dict[str, Any]] = []
        for n, block in enumerate(turn.content):
            at = f"{where}[{n}]"
            if isinstance(block, Reasoning):
                waiting = self._thinking(block, parts, waiting, at)
                continue
            if isinstance(block, Text | Refusal) and not block.text:
                continue  # an empty one is refused
            part = self._part(block, at)
            if part is None:
                continue
            if isinstance(block, ToolCall):
                if waiting is not None:
                    part["thoughtSignature"] = signature_for(waiting)
                elif not called and not self._ways.old:
                    part["thoughtSignature"] = STAND_IN  # the newer models refuse a call without any
                called, waiting = True, None
            parts.append(part)
        return iter(parts)

    def _thinking(
        self, block: Reasoning, parts: list[dict[str, Any]], waiting: Opaque | None, at: str
    ) -> Opaque | None:
        seal = block.seal
        if seal is None and block.text and self._request.home == NAME:
            parts.append({"text": block.text, "thought": True})
        elif seal is None or not seals.fits(seal, NAME, self._target.origin):
            self._lose(f"{at} (thinking)", "another connection made it, and only that one can read it")
        elif seal.kind == "call":
            return seal
        elif seal.kind == "part":
            open_part = bool(parts) and not parts[-1].keys().isdisjoint(_SEALED) and "thought" not in parts[-1]
            if not open_part or "thoughtSignature" in parts[-1]:
                parts.append({"text": ""})
            parts[-1]["thoughtSignature"] = signature_for(seal)
        else:
            parts.append({"text": block.text, "thought": True, "thoughtSignature": signature_for(seal)})
        return waiting

    def _part(self, block: Block, at: str) -> dict[str, Any] | None:
        part: dict[str, Any] | None = None
        match block:
            case Text(text=text) | Refusal(text=text):
                part = {"text": text}
            case Image() | Document() | Audio():
                part = media_for(block)
                if self._request.home != NAME:
                    self._marks(block, at)
                elif isinstance(block, Image) and block.detail in RESOLUTIONS and part is not None:
                    part["mediaResolution"] = {"level": RESOLUTIONS[block.detail]}
            case ToolCall():
                part = self._call(block, at)
            case ToolResult():
                part = self._result(block, at)
            case ServerCall(raw=raw) | Foreign(raw=raw):
                part = dict(raw.data) if raw.dialect == NAME else None
            case _:
                pass
        if part is None:
            foreign = isinstance(block, ServerCall) or (isinstance(block, Foreign) and not block.content)
            why = (
                "the work of another provider's own tools" if foreign else f"{plainly(block)} cannot stand in a message"
            )
            self._lose(at, why, content=not foreign)
        elif getattr(block, "cache", None) is not None:
            self._lose(f"{at}.cache_control", "prompts are cached without marks")
        return part

    def _marks(self, block: Image | Document | Audio, at: str) -> None:
        """What stands beside media elsewhere, and not here."""
        marks: dict[str, Any] = {}
        if isinstance(block, Image):
            marks = {"detail": block.detail if block.detail != "auto" else None}
        elif isinstance(block, Document):
            marks = {"citations": block.cited, "context": block.context, "title": block.name}
        for name, value in marks.items():
            if value:
                self._lose(f"{at}.{name}", "media have no such mark")

    def _call(self, block: ToolCall, at: str) -> dict[str, Any]:
        given = given_to(block)
        if given is None:
            self._lose(f"{at}.arguments", "they are not a JSON object", content=True)
        call: dict[str, Any] = {"name": block.name, "args": given or {}}
        return {"functionCall": call if self._target.without_ids else {"id": block.id, **call}}

    def _result(self, block: ToolResult, at: str) -> dict[str, Any]:
        """What the tool said: an object as it is, a text as `output` or `error`; media beside it."""
        texts = [inner.text for inner in block.content if isinstance(inner, Text | Refusal)]
        media: list[dict[str, Any]] = []
        for n, inner in enumerate(block.content):
            if isinstance(inner, Text | Refusal):
                continue
            part = self._part(inner, f"{at}.content[{n}]")
            if part is not None and "text" in part:
                texts.append(str(part["text"]))
            elif part is not None:
                media.append(part)
        text = "".join(texts)
        whole = decode_object(text.encode("utf-8", "surrogatepass")) if text.startswith("{") else None
        response: dict[str, Any] = {"output": text} if whole is None else whole
        if block.error:
            response = {"error": text if whole is None else whole}
        name = block.name or self._names.get(block.call_id) or block.call_id
        said: dict[str, Any] = {"name": name, "response": response}
        if not self._target.without_ids:
            said = {"id": block.call_id, **said}
        if media and self._ways.old:
            self._beside += media
        elif media:
            said["parts"] = media
        return {"functionResponse": said}


def _put_back(places: dict[str, dict[str, Any]], body: dict[str, Any], name: str, value: Any) -> None:
    """A field that Google alone has, where it was: its name says the way."""
    *steps, last = name.split(".")
    spot = places.get(steps[0]) if steps else body
    if spot is None:
        spot = body.setdefault(steps[0], {})
    for step in steps[1:]:
        spot = spot.setdefault(step, {})
    spot[last] = value


def _append(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """Results of several calls belong into one content, whatever the client's dialect makes of them."""
    both = contents and contents[-1]["role"] == role
    if both and all("functionResponse" in part for part in (*contents[-1]["parts"], *parts)):
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _in_config(name: str) -> Say:
    def say(value: Any, said: dict[str, Any]) -> None:
        said["config"][name] = value

    return say


def _nothing_but(*values: Any, name: str | None = None) -> Say:
    """These values ask for nothing that is not so anyway; others are said under this name, if there is one."""

    def say(value: Any, said: dict[str, Any]) -> None:
        if value in values:
            return
        if name is None:
            raise Unsayable("there is no such parameter")
        said["config"][name] = value

    return say


def _say_format(value: Format, said: dict[str, Any]) -> None:
    said["config"]["responseMimeType"] = "application/json"
    if value.schema is None:
        return
    if said["own"]:
        said["config"]["responseJsonSchema"] = value.schema
        return
    lost: set[str] = set()
    said["config"]["responseJsonSchema"] = mended(described(value), lost)
    said["losses"] += [Loss(f"response_format.schema {key}", "its schemas have no such word") for key in sorted(lost)]


def _say_choice(value: Choice, said: dict[str, Any]) -> None:
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}.get(value.mode, "AUTO")
    spec: dict[str, Any] = {"mode": "VALIDATED" if mode == "AUTO" and value.names else mode}
    if value.names and mode != "NONE":
        spec["allowedFunctionNames"] = list(value.names)
    said["body"].setdefault("toolConfig", {})["functionCallingConfig"] = spec


def _say_parallel(value: Any, _said: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_seed(value: Any, said: dict[str, Any]) -> None:
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise Unsayable("a seed has 32 bits")
    said["config"]["seed"] = value


def _say_stop(value: Any, said: dict[str, Any]) -> None:
    kept = value[:_MOST_STOPS] if isinstance(value, list) else value
    if kept:
        said["config"]["stopSequences"] = kept
    if kept != value:
        raise Unsayable(f"there may be {_MOST_STOPS}; the first were taken")


def _say_modalities(value: Any, said: dict[str, Any]) -> None:
    said["config"]["responseModalities"] = [str(item).upper() for item in value] if isinstance(value, list) else []


def _say_tier(value: Any, said: dict[str, Any]) -> None:
    word = {"default": "standard", "standard_only": "standard", "flex": "flex", "priority": "priority"}.get(str(value))
    if word is not None:
        said["body"]["serviceTier"] = word
    elif value != "auto":
        raise Unsayable(f"there is no service tier {value!s:.40}")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: _in_config(name) for name, param in SAME.items()},
    Param.SEED: _say_seed,
    Param.STOP: _say_stop,
    Param.LOGPROBS: _nothing_but(False, name="responseLogprobs"),
    Param.TOP_LOGPROBS: _nothing_but(0, name="logprobs"),
    Param.PRESENCE_PENALTY: _nothing_but(0, name="presencePenalty"),
    Param.FREQUENCY_PENALTY: _nothing_but(0, name="frequencyPenalty"),
    Param.LOGIT_BIAS: _nothing_but({}),
    Param.STORE: _nothing_but(False),
    Param.VERBOSITY: _nothing_but("medium"),
    Param.REASONING: say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.MODALITIES: _say_modalities,
    Param.SERVICE_TIER: _say_tier,
}

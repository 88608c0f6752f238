"""What a request in Converse asks for beside its turns and tools, and what the models of each maker take of it.

Sources beside those of the package: Bedrock user guide, "Inference request parameters and response fields for
foundation models" (what goes into `additionalModelRequestFields`), "Prompt caching for faster model inference"
(which models have it); Amazon Nova 2 user guide, "Using the Converse API". What each Claude takes is
known to `proxy.dialects.messages`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.base import DialectName
from proxy.dialects.converse.request_in import SAME
from proxy.dialects.json import encode
from proxy.dialects.messages.models import ways_of
from proxy.dialects.messages.thinking import say_think, settle
from proxy.dialects.request import Choice, Format, Loss, Param, Request, Say, Think, Unsayable, say_params

_MAKER: Final = re.compile(
    r"(?:^|[./])(ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai"
    r"|qwen|writer|zai)\."
)
_UNCACHED: Final = ("claude-v2", "claude-instant", "claude-3-sonnet", "claude-3-haiku", "claude-3-opus", "titan")
_METADATA: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_CLAUDES: Final = (DialectName.MESSAGES, DialectName.CONVERSE)  # where an effort is not only one of thinking
_NO_LIMIT: Final = 1_000_000  # where none is named, Bedrock takes what the model can give
_KINDS: Final = {"toolUse": "tool_use", "reasoningContent": "thinking"}
_TIERS: Final = {"priority": "priority", "default": "default", "standard_only": "default", "flex": "flex"}
_OWN: Final[Mapping[str, Mapping[Param, tuple[str, ...]]]] = {
    "anthropic": {Param.TOP_K: ("top_k",)},
    "amazon": {Param.TOP_K: ("inferenceConfig", "topK")},
    "cohere": {
        Param.TOP_K: ("k",),
        Param.SEED: ("seed",),
        Param.FREQUENCY_PENALTY: ("frequency_penalty",),
        Param.PRESENCE_PENALTY: ("presence_penalty",),
    },
    "ai21": {
        Param.FREQUENCY_PENALTY: ("frequency_penalty",),
        Param.PRESENCE_PENALTY: ("presence_penalty",),
    },
}


def maker(model: str) -> str:
    """Whose model this name means; empty where it does not say, as a profile of one's own."""
    found = _MAKER.search(model)
    if found is not None:
        return found[1]
    return "anthropic" if "claude" in model else ""


def caches(model: str) -> bool:
    """Whether the model knows cache points; of one whose name does not say it the client knows."""
    by = maker(model)
    return by in ("", "anthropic", "amazon") and not any(name in model for name in _UNCACHED)


def write_params(request: Request, model: str, body: dict[str, Any]) -> list[Loss]:
    """Put into `body`, whose messages and tools are written, what is asked for beside them."""
    said: dict[str, Any] = {"body": body, "model": model, "maker": maker(model), "more": {}, "config": {}}
    said |= {"asked": request.params.keys(), "view": {"model": model}, "own": request.home in _CLAUDES}
    losses = say_params(request, _WORDS, said)
    if said["maker"] == "anthropic":
        losses += _settled(request, said)
    if request.params.get(Param.STOP) and said["maker"] == "anthropic":  # which one was met is told on demand alone
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence", "/delta/stop_sequence"]
    if request.home == DialectName.CONVERSE:
        extras = dict(request.extras)
        losses = [loss for loss in losses if loss.what not in extras]
        said["more"] |= read.table(extras.pop("additionalModelRequestFields", None))
        body |= {name: value for name, value in extras.items() if "." not in name}
        said["config"] |= {name.partition(".")[2]: value for name, value in extras.items() if "." in name}
    if said["config"]:
        body["inferenceConfig"] = said["config"]
    if said["more"]:
        body["additionalModelRequestFields"] = said["more"]
    return losses


def _settled(request: Request, said: dict[str, Any]) -> list[Loss]:
    """Claude's parameters made to go together, by the rules that Anthropic Messages has for them."""
    body, more, config = said["body"], said["more"], said["config"]
    view = {**said["view"], "max_tokens": config.get("maxTokens", ways_of(said["model"]).output or _NO_LIMIT)}
    view["messages"] = [
        {"role": m["role"], "content": [{"type": _KINDS.get(next(iter(e)), "text")} for e in m["content"]]}
        for m in body["messages"]
    ]
    places = (("temperature", config, "temperature"), ("top_p", config, "topP"), ("top_k", more, "top_k"))
    for name, place, word in places:
        if word in place:
            view[name] = place.pop(word)
    choice = read.table(read.table(body.get("toolConfig")).get("toolChoice"))
    view["tool_choice"] = {"type": next(iter(choice), "auto")}
    losses = settle(view, lambda param: request.names.get(param, param.value), asked="maxTokens" in config)
    for name, place, word in places:
        if name in view:
            place[word] = view[name]
    more |= {name: view[name] for name in ("thinking", "output_config") if name in view}
    if choice and view["tool_choice"]["type"] == "auto":
        del body["toolConfig"]["toolChoice"]
    return losses


def _in_config(name: str) -> Say:
    def say(value: Any, said: dict[str, Any]) -> None:
        said["config"][name] = value

    return say


def _say_temperature(value: Any, said: dict[str, Any]) -> None:
    said["config"]["temperature"] = value
    if isinstance(value, int | float) and value > 1:
        said["config"]["temperature"] = 1
        raise Unsayable("the scale ends at 1, which was taken")


def _of_maker(param: Param) -> Say:
    def say(value: Any, said: dict[str, Any]) -> None:
        path = _OWN.get(said["maker"], {}).get(param)
        if path is None:
            raise Unsayable("this model has no such parameter")
        place = said["more"]
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value

    return say


def _say_think(value: Think, said: dict[str, Any]) -> None:
    say = {"anthropic": _claude_thinks, "amazon": _nova_thinks, "openai": _gpt_thinks}.get(said["maker"])
    if say is None:
        raise Unsayable("how this model is to think cannot be said")
    say(value, said)


def _off(value: Think) -> bool:
    return value.enabled is False or value.effort == "none"


def _claude_thinks(value: Think, said: dict[str, Any]) -> None:
    say_think(value, said["view"], own=said["own"])


def _nova_thinks(value: Think, said: dict[str, Any]) -> None:
    if "nova-2" not in said["model"]:
        raise Unsayable("this model does not think")
    if _off(value):
        said["more"]["reasoningConfig"] = {"type": "disabled"}
        return
    effort = {"minimal": "low", "low": "low", "high": "high", "xhigh": "high", "max": "high"}.get(
        value.effort or "", "medium"
    )
    limits = {Param.MAX_TOKENS, Param.TEMPERATURE, Param.TOP_P} & said["asked"]
    barred = effort == "high" and bool(limits)
    said["more"]["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": "medium" if barred else effort}
    if barred:
        raise Unsayable("high goes with neither a limit nor a temperature; medium was taken")
    if value.budget is not None:
        raise Unsayable("how much to think is low, medium or high")


def _gpt_thinks(value: Think, said: dict[str, Any]) -> None:
    if _off(value) or value.effort is None:
        raise Unsayable("this model takes an effort alone, and always thinks")
    said["more"]["reasoning_effort"] = value.effort


def _say_format(value: Format, said: dict[str, Any]) -> None:
    if value.schema is None:
        raise Unsayable("JSON without a schema cannot be asked for; ask for it in words")
    form: dict[str, Any] = {"name": value.name, "schema": encode(value.schema).decode()}
    if value.description:
        form["description"] = value.description
    said["body"]["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": form}}}


def _say_choice(value: Choice, said: dict[str, Any]) -> None:
    """There is no `none`: the tools are left out, unless calls among the messages need them."""
    body = said["body"]
    config = body.get("toolConfig")
    if config is None:
        return
    if value.mode == "none":
        if called(body["messages"]):
            raise Unsayable("tools cannot be held back once they were called")
        del body["toolConfig"]
        return
    chosen = set(value.names)
    can = said["maker"] in ("", "anthropic", "amazon")  # Bedrock, "ToolChoice"
    if chosen and (value.mode != "tool" or not can):
        config["tools"] = _among(config["tools"], chosen)
        if not config["tools"]:
            del body["toolConfig"]
            return
    if value.mode == "auto":
        return
    if not can and said["maker"] != "mistral":
        raise Unsayable("this model cannot be made to call")
    config["toolChoice"] = {"tool": {"name": value.names[0]}} if value.mode == "tool" and can else {"any": {}}


def _among(tools: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """These tools alone, each with the mark behind it."""
    kept: list[dict[str, Any]] = []
    take = False
    for entry in tools:
        if "cachePoint" not in entry:
            take = next(iter(entry.values())).get("name") in names
        if take:
            kept.append(entry)
    return kept


def called(messages: list[dict[str, Any]]) -> list[str]:
    """The tools that were called in these messages, once each; results alone say no name."""
    calls = [entry["toolUse"]["name"] for m in messages for entry in m["content"] if "toolUse" in entry]
    return list(dict.fromkeys(calls))


def _say_parallel(value: Any, _said: dict[str, Any]) -> None:
    if value is False:
        raise Unsayable("calls may always come together")


def _say_one(value: Any, _said: dict[str, Any]) -> None:
    if value != 1:
        raise Unsayable("there is one answer to a question")


def _say_tier(value: Any, said: dict[str, Any]) -> None:
    if value == "auto":
        return
    word = "reserved" if value == "reserved" else _TIERS.get(value) if isinstance(value, str) else None
    if word is None:
        raise Unsayable(f"there is no service tier {value!s:.40}")
    said["body"]["serviceTier"] = {"type": word}


def _say_metadata(value: Any, said: dict[str, Any]) -> None:
    pairs = read.table(value)
    kept = {k: v for k, v in pairs.items() if isinstance(v, str) and k and _fits(k) and _fits(v)}
    kept = dict(list(kept.items())[:16])
    if kept:
        said["body"]["requestMetadata"] = kept
    if len(kept) != len(pairs) or pairs is not value:
        raise Unsayable("it is 16 pairs of short plain texts; the others were left out")


def _fits(text: str) -> bool:
    return _METADATA.fullmatch(text) is not None


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: _in_config(name) for name, param in SAME.items()},
    **{param: _of_maker(param) for param in {p for words in _OWN.values() for p in words}},
    Param.TEMPERATURE: _say_temperature,
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.PARALLEL_TOOLS: _say_parallel,
    Param.N: _say_one,
    Param.SERVICE_TIER: _say_tier,
    Param.METADATA: _say_metadata,
}

"""A request of the hub, written in Chat Completions for a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.continuing import Way
from proxy.dialects import read
from proxy.dialects.base import DialectName, Target
from proxy.dialects.chat.messages_out import Messages
from proxy.dialects.chat.messages_out import call_out as call_out
from proxy.dialects.chat.request_in import SAME
from proxy.dialects.chat.tools import tools_out
from proxy.dialects.request import Choice, Format, Loss, Param, Request, Say, Think, Unsayable, say_params
from proxy.dialects.shown import shown
from proxy.dialects.toolbox import results_first

NAME: Final = DialectName.CHAT


EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


def _say_think(value: Think, body: dict[str, Any]) -> None:
    effort = effort_of(value)
    if effort is None and value.summary in (None, "omitted") and value.enabled is not True:
        return  # it asks for nothing
    if effort is None:
        raise Unsayable("an effort has no default here")
    if effort not in EFFORTS:
        raise Unsayable(f"there is no effort {effort:.20}")
    body["reasoning_effort"] = effort
    if value.summary not in (None, "omitted"):
        raise Unsayable("whether thinking is shown cannot be asked for; how much of it was")


def _think_at_home(value: Think, spelt: str, body: dict[str, Any]) -> None:
    """The forms that providers of this dialect have beside `reasoning_effort`, where the client used one."""
    if spelt == "thinking":
        body["thinking"] = {"type": "disabled" if value.enabled is False else "enabled"}
        body["thinking"] |= {} if value.budget is None else {"budget_tokens": value.budget}
        if value.effort is None:
            body.pop("reasoning_effort", None)
    elif spelt == "reasoning":
        body.pop("reasoning_effort", None)
        said = {"effort": value.effort, "max_tokens": value.budget, "enabled": value.enabled}
        said |= {"exclude": True} if value.summary == "omitted" else {"summary": value.summary}
        body["reasoning"] = {name: given for name, given in said.items() if given is not None}


def effort_of(think: Think) -> str | None:
    """The word for how much to think; a budget in tokens is put into the nearest one."""
    if think.enabled is False:
        return "none"
    if think.effort is not None or think.budget is None:
        return think.effort
    return "low" if think.budget <= 2048 else "medium" if think.budget <= 10_000 else "high"


def _say_format(value: Format, body: dict[str, Any]) -> None:
    if value.schema is None:
        body["response_format"] = {"type": "json_object"}
        return
    spec = {"name": value.name, "schema": value.schema}
    spec |= {k: v for k, v in (("description", value.description), ("strict", value.strict)) if v is not None}
    body["response_format"] = {"type": "json_schema", "json_schema": spec}


def _say_choice(value: Choice, body: dict[str, Any]) -> None:
    free = {tool["custom"]["name"] for tool in body.get("tools", []) if tool.get("type") == "custom"}
    rows = [{"type": kind, kind: {"name": n}} for n in value.names for kind in ("custom" if n in free else "function",)]
    if value.mode == "tool":
        body["tool_choice"] = rows[0]
    elif rows:
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": value.mode, "tools": rows}}
    else:
        body["tool_choice"] = value.mode


_TIERS: Final = frozenset({"auto", "default", "flex", "priority", "scale", "fast"})


def _say_tier(value: Any, body: dict[str, Any]) -> None:
    word = {"standard_only": "default"}.get(read.text(value), read.text(value))
    if word not in _TIERS:
        raise Unsayable(f"there is no service tier {value!s:.40}")
    body["service_tier"] = word


def _say_modalities(value: Any, body: dict[str, Any]) -> None:
    said = [word for word in value if word in ("text", "audio")] if isinstance(value, list) else []
    if said:
        body["modalities"] = said
    if said != value:
        raise Unsayable("answers are texts and sounds")


def _say_cache_options(value: Any, body: dict[str, Any]) -> None:
    """Responses has more of them, and a longer life."""
    said = dict(read.table(value))
    lost = [name for name in said if name not in ("mode", "ttl") or (name == "ttl" and said[name] != "30m")]
    kept = {name: given for name, given in said.items() if name not in lost}
    if kept:
        body["prompt_cache_options"] = kept
    if lost:
        raise Unsayable(f"there is no {lost[0]} of this kind")


_WORDS: Final[Mapping[Param, str | Say]] = {
    **{param: name for name, param in SAME.items() if name != "max_tokens"},
    Param.STOP: "stop",
    Param.REASONING: _say_think,
    Param.FORMAT: _say_format,
    Param.TOOL_CHOICE: _say_choice,
    Param.SERVICE_TIER: _say_tier,
    Param.CACHE_OPTIONS: _say_cache_options,
    Param.MODALITIES: _say_modalities,
}


def write_request(request: Request, target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """See `Dialect`."""
    body: dict[str, Any] = {"model": target.model}
    losses: list[Loss] = []
    home = request.home == NAME
    writer = Messages(target, home, losses)
    turns = enumerate(request.turns) if home else shown(request.turns)
    messages = [m for n, turn in turns for m in writer.turn(turn, f"messages[{n}]")]
    body["messages"] = messages if home else results_first(messages)
    tools = list(tools_out(request.tools, losses, body, home=home))
    if tools:
        body["tools"] = tools
    losses += say_params(request, _words(target), body)
    if home:
        losses[:] = _at_home(request, losses, body)
    if not tools:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if target.continues is not None and messages:
        _go_on(body, target.continues)
    return body, losses


def _go_on(body: dict[str, Any], way: Way) -> None:
    """Ask for more of the last message (DeepSeek, "Chat prefix completion"; Mistral, `AssistantMessage`; Kimi and Qwen,
    "Partial mode"; vLLM, "Chat API", extra parameters; read 2026-11)."""
    match way:
        case Way.PREFIX | Way.PARTIAL:
            body["messages"][-1][way.value] = True
        case Way.FINAL_MESSAGE:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        case Way.PREFILL:
            pass


def _words(target: Target) -> Mapping[Param, str | Say]:
    """The words that this provider takes."""
    if not target.rejects:
        return _WORDS
    return {p: word for p, word in _WORDS.items() if (word if isinstance(word, str) else p.value) not in target.rejects}


def _at_home(request: Request, losses: list[Loss], body: dict[str, Any]) -> list[Loss]:
    """What a client of this dialect wrote in a way of one provider's, as it wrote it; the losses that remain."""
    body |= {name: value for name, value in request.extras.items() if "." not in name}
    if Param.MAX_TOKENS in request.params and Param.MAX_TOKENS not in request.names:
        body["max_tokens"] = body.pop("max_completion_tokens")
    for param, name in ((Param.SERVICE_TIER, "service_tier"), (Param.MODALITIES, "modalities")):
        if param in request.params:
            body[name] = request.params[param]
    said = {*request.extras, "service_tier", "modalities", "reasoning_effort"}
    spelt = request.names.get(Param.REASONING, "")
    if spelt == "reasoning_effort":
        body[spelt] = request.params[Param.REASONING].effort
    if spelt in ("thinking", "reasoning"):
        _think_at_home(request.params[Param.REASONING], spelt, body)
        said.add(spelt)
    return [loss for loss in losses if loss.what not in said]

"""Thinking, and what does not go with it, in a request in Anthropic Messages.

Sources: Claude docs, "Thinking", "Extended thinking", "Effort", "Thinking in tool and multi-turn workflows"; read
2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.dialects import read
from proxy.dialects.messages.models import Ways, ways_of
from proxy.dialects.request import Loss, Param, Think, Unsayable

LEAST: Final = 1024  # tokens of a budget
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 23_000, "max": 23_000}
_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")  # in order
_USUAL_BUDGET: Final = 8192
_SAMPLING: Final = (Param.TEMPERATURE, Param.TOP_P, Param.TOP_K)


def say_think(value: Think, body: dict[str, Any], *, own: bool = False) -> None:
    """Write what is wanted as the model of this body takes it. `own`: an effort alone says nothing of thinking."""
    ways = ways_of(str(body["model"]))
    troubles: list[str] = []
    if value.enabled is False or value.effort == "none":
        _off(value, body, ways, troubles)
    elif own and value.enabled is None and value.budget is None:
        _effort(value.effort, body, ways, troubles)
    else:
        _on(value, body, ways, troubles)
        _show(value, body, ways, own=own)
    if troubles:
        raise Unsayable("; ".join(troubles))


def _off(value: Think, body: dict[str, Any], ways: Ways, troubles: list[str]) -> None:
    if not ways.off:
        body.setdefault("output_config", {})["effort"] = "low"
        troubles.append("thinking cannot be turned off; the least was asked for")
        return
    body["thinking"] = {"type": "disabled"}
    if value.effort and value.effort != "none":
        limited = Ways(efforts=ways.quiet) if ways.quiet else ways
        _effort(value.effort, body, limited, troubles)


def _on(value: Think, body: dict[str, Any], ways: Ways, troubles: list[str]) -> None:
    if not ways.manual and not ways.adaptive:
        troubles.append("the model does not think")
        return
    effort = value.effort
    if value.budget is not None and ways.manual:
        body["thinking"] = {"type": "enabled", "budget_tokens": max(LEAST, value.budget)}
    elif value.budget is not None:
        body["thinking"] = {"type": "adaptive"}
        effort = effort or ("low" if value.budget <= 4096 else "medium" if value.budget <= 16_384 else "high")
        troubles.append(f"the model takes an effort, not a budget; it was asked for {effort}")
    elif ways.adaptive and (value.enabled or ways.first == "adaptive"):
        body["thinking"] = {"type": "adaptive"}
    else:
        body["thinking"] = {"type": "enabled", "budget_tokens": _BUDGETS.get(effort or "", _USUAL_BUDGET)}
        if not ways.efforts and not value.enabled:
            return  # the budget says it
    _effort(effort, body, ways, troubles)


def _effort(effort: str | None, body: dict[str, Any], ways: Ways, troubles: list[str]) -> None:
    """The effort, or the nearest below it that the model knows."""
    if not effort:
        return
    known = ways.efforts
    if known is not None and effort not in known:
        lower = [word for word in known if effort in _EFFORTS and _EFFORTS.index(word) <= _EFFORTS.index(effort)]
        nearest = lower[-1] if lower else known[0] if known and effort in _EFFORTS else None
        if nearest is None:
            if "thinking" not in body or effort not in _EFFORTS:
                troubles.append(f"the model knows no effort {effort:.20}")
            return
        troubles.append(f"there is no effort {effort:.20}; {nearest} was asked for")
        effort = nearest
    body.setdefault("output_config", {})["effort"] = effort


def _show(value: Think, body: dict[str, Any], ways: Ways, *, own: bool) -> None:
    """Newer models leave the text of their thinking out unless it is asked for."""
    if "thinking" not in body:
        return
    if value.summary == "omitted":
        body["thinking"]["display"] = "omitted"
    elif value.summary is not None and (own or (ways.adaptive and ways.efforts)):
        body["thinking"]["display"] = "summarized"


def settle(body: dict[str, Any], name: Callable[[Param], str], *, asked: bool) -> list[Loss]:
    """Make what was written go together; what had to give way. `asked`: the client named `max_tokens` itself."""
    ways = ways_of(str(body["model"]))
    why = _room(body, fixed=asked or ways.output is not None) or _unforced(body, ways) or _unbroken(body)
    losses = list(_choice(body, ways, name))
    if why:
        losses.append(Loss(name(Param.REASONING), why))
        if ways.on:
            body["thinking"] = {"type": "disabled"}
        else:
            del body["thinking"]
    return [*losses, *_sampling(body, ways, name)]


def _thinks(body: dict[str, Any]) -> str:
    kind = read.text(read.table(body.get("thinking")).get("type"))
    return kind if kind in ("enabled", "adaptive") else ""


def _room(body: dict[str, Any], *, fixed: bool) -> str:
    """A budget counts into `max_tokens` and has to be smaller. `fixed`: the limit can be no higher."""
    budget = read.number(read.table(body.get("thinking")).get("budget_tokens"))
    limit = body["max_tokens"]
    if not budget or not isinstance(limit, int) or budget < limit:
        return ""
    if not fixed:
        body["max_tokens"] = limit + budget
        return ""
    if limit <= LEAST:
        return f"there is no room for it in {limit} tokens"
    body["thinking"]["budget_tokens"] = max(LEAST, limit * 3 // 4)
    return ""


def _forces(body: dict[str, Any]) -> bool:
    return read.table(body.get("tool_choice")).get("type") in ("any", "tool")


def _unforced(body: dict[str, Any], ways: Ways) -> str:
    kind = _thinks(body)
    if kind and _forces(body) and ways.force and not (kind == "adaptive" and ways.forced):
        return "it does not go with a forced call"
    return ""


def _choice(body: dict[str, Any], ways: Ways, name: Callable[[Param], str]) -> Iterator[Loss]:
    if _forces(body) and not ways.force:
        body["tool_choice"].pop("name", None)
        body["tool_choice"]["type"] = "auto"
        yield Loss(name(Param.TOOL_CHOICE), "the model cannot be forced to call a tool")


def _unbroken(body: dict[str, Any]) -> str:
    """With a budget, the turn that called tools has to begin with its thinking; nothing may be put into the mouth of
    a model that thinks."""
    messages = body["messages"]
    if not _thinks(body) or not messages:
        return ""
    if messages[-1]["role"] == "assistant":
        return "it does not go with an answer that has begun"
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), None)
    if _thinks(body) != "enabled" or last is None or isinstance(last["content"], str):
        return ""
    kinds = [entry.get("type") for entry in last["content"]]
    if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
        return "the thinking before the last call is not there"
    return ""


def _sampling(body: dict[str, Any], ways: Ways, name: Callable[[Param], str]) -> Iterator[Loss]:
    """Some models take no sampling parameters, none takes all of them while it thinks."""
    for param in _SAMPLING:
        value = body.get(param.value)
        if value is None:
            continue
        if not ways.sampling:
            why = "the model samples as it likes"
        elif _thinks(body) and not (param is Param.TOP_P and isinstance(value, int | float) and value >= 0.95):
            why = "it does not go with thinking"
        elif param is Param.TOP_P and not ways.both and "temperature" in body:
            why = "it does not go with a temperature"
        else:
            continue
        del body[param.value]
        if value != 1 or param is Param.TOP_K:
            yield Loss(name(param), why)

"""How much to think, in a request in generateContent.

Source: Gemini API docs, "Thinking" (levels, budgets and summaries); read 2026-11.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.dialects.gemini.models import Ways
from proxy.dialects.request import Think, Unsayable

_BUDGETS: Final = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")  # in order


def say_think(value: Think, said: dict[str, Any]) -> None:
    """Write how much to think as the model takes it. Raises Unsayable where that is not what was asked for."""
    ways: Ways = said["ways"]
    off = value.enabled is False or value.effort == "none"
    if said["own"]:
        said["config"]["thinkingConfig"] = _as_asked(value)
        return
    if not ways.thinks:
        if off:
            return
        raise Unsayable("the model does not think")
    troubles: list[str] = []
    write = _levelled if ways.levels else _budgeted
    spec = write(value, off, ways, troubles)
    if not off:
        spec["includeThoughts"] = value.summary != "omitted"
    said["config"]["thinkingConfig"] = spec
    if troubles:
        raise Unsayable("; ".join(troubles))


def _as_asked(value: Think) -> dict[str, Any]:
    """As a client of this dialect says it."""
    spec: dict[str, Any] = {}
    if value.enabled is False:
        spec["thinkingBudget"] = 0
    elif value.budget is not None or value.enabled:
        spec["thinkingBudget"] = value.budget if value.budget is not None else -1
    if value.effort is not None:
        spec["thinkingLevel"] = value.effort.upper()
    if value.summary is not None:
        spec["includeThoughts"] = value.summary != "omitted"
    return spec


def _budgeted(value: Think, off: bool, ways: Ways, troubles: list[str]) -> dict[str, Any]:
    """How much to think, in tokens."""
    if off:
        if not ways.off:
            troubles.append("thinking cannot be turned off; the least was asked for")
        return {"thinkingBudget": 0 if ways.off else ways.least}
    if value.budget is None and value.effort not in _BUDGETS:
        return {"thinkingBudget": -1} if value.enabled else {}
    asked = value.budget or _BUDGETS[str(value.effort)]
    given = min(max(asked, ways.least), ways.most)
    if value.budget is not None and given != asked:
        troubles.append(f"the model thinks with {ways.least} to {ways.most} tokens")
    return {"thinkingBudget": given}


def _levelled(value: Think, off: bool, ways: Ways, troubles: list[str]) -> dict[str, Any]:
    """How much to think, in a word: the nearest below that the model knows."""
    if off:
        troubles.append("thinking cannot be turned off; the least was asked for")
        return {"thinkingLevel": ways.levels[0].upper()}
    effort = value.effort
    if effort not in _LEVELS:
        return {"thinkingBudget": value.budget} if value.budget is not None else {}
    lower = [level for level in ways.levels if _LEVELS.index(level) <= _LEVELS.index(effort)]
    level = lower[-1] if lower else ways.levels[0]
    if level != effort:
        troubles.append(f"there is no level {effort}; {level} was asked for")
    return {"thinkingLevel": level.upper()}

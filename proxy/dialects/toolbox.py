"""Tools of a client that the provider's dialect has no form for, and the way back in its answer.

A tool in a namespace gets a name that says both; a free-form tool becomes a function of one string. What the model
then calls is told to the client as the tool that it gave. Source: OpenAI API reference, "Custom tools" and
"Namespaces", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxy.dialects.blocks import ToolCall
from proxy.dialects.events import Answer, BlockDelta, BlockEnd, BlockStart, Event, Kind, fold, unfold
from proxy.dialects.json import decode_object
from proxy.dialects.request import ServerTool, Tool

FREE_SCHEMA: Final = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def flat_name(space: str, name: str) -> str:
    """The name of a tool in a namespace for dialects that have none."""
    return f"{space}{name}" if not space or space.endswith("_") else f"{space}__{name}"


class Restored:
    """Makes calls of functions into calls of the free-form tools that they stand for, event by event."""

    def __init__(self, tools: Iterable[Tool | ServerTool]) -> None:
        self._free = {tool.name for tool in tools if isinstance(tool, Tool) and tool.custom}
        self._texts: dict[int, list[str]] = {}

    @property
    def needed(self) -> bool:
        """Whether there is any such tool."""
        return bool(self._free)

    def event(self, event: Event) -> tuple[Event, ...]:
        """What the client is told for this event: the input is known when the call is whole."""
        match event:
            case BlockStart(kind=Kind.TOOL_CALL, name=name) if name in self._free:
                self._texts[event.index] = []
                return (msgspec.structs.replace(event, kind=Kind.CUSTOM_CALL),)
            case BlockDelta(index=index, text=text) if index in self._texts:
                self._texts[index].append(text)
                return ()
            case BlockEnd(index=index) if index in self._texts:
                text = free_text("".join(self._texts.pop(index)))
                return (BlockDelta(index, text), event) if text else (event,)
            case _:
                return (event,)

    def answer(self, answer: Answer) -> Answer:
        """The same for a whole answer."""
        if not self._free:
            return answer
        return fold(told for event in unfold(answer) for told in self.event(event))


def given_to(call: ToolCall) -> dict[str, Any] | None:
    """The arguments of a call as an object, that of a free-form one with its one string; None where they are none."""
    if call.custom:
        return {"input": call.arguments}
    return decode_object(call.arguments.encode("utf-8", "surrogatepass") or b"{}")


def free_text(arguments: str) -> str:
    """The input of a free-form tool, out of the arguments of the function that stands for it."""
    given: dict[str, Any] | None = decode_object(arguments.encode("utf-8", "surrogatepass"))
    said = None if given is None else given.get("input")
    return said if isinstance(said, str) else "" if given == {} else arguments


def results_first(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Behind an answer with calls all of their results have to stand, before anything else that the user says."""
    out: list[dict[str, Any]] = []
    run: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] in ("tool", "user"):
            run.append(message)
            continue
        out += sorted(run, key=lambda said: said["role"] != "tool")
        run = []
        out.append(message)
    return [*out, *sorted(run, key=lambda said: said["role"] != "tool")]

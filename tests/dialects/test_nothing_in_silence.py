"""Each field of a request that says everything is taken out in turn: what is written or what is lost has to change."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.dialects.base import DialectName, Target, dialect
from proxy.dialects.request import BadRequest, as_asked
from tests.support.maximal import MAXIMAL, SCHEMA

Path = tuple[str | int, ...]


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every field and every entry of a list, but for what is inside a JSON schema."""
    if value == SCHEMA:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


def without(body: dict[str, Any], at: Path) -> dict[str, Any]:
    out = copy.deepcopy(body)
    inner: Any = out
    for key in at[:-1]:
        inner = inner[key]
    del inner[at[-1]]
    return out


def said(body: dict[str, Any], here: DialectName, there: DialectName) -> tuple[Any, Any]:
    """What is written for the provider, and what the client is told."""
    try:
        request = dialect(here).read_request(body)
    except BadRequest as exc:
        return None, exc.message
    written, losses = dialect(there).write_request(request, Target("o", "m"))
    return json.loads(json.dumps(written)), [(loss.what, loss.why) for loss in losses]


# What says nothing that the rest does not say: names of forms, and what is so anyhow.
IDLE = ("type", "role", "status", "refusal", "annotations", "mimeType", "media_type", "model", "responseMimeType")
# The same at one place: what follows from the call that a result belongs to, from the form of a tool or of the output,
# from the bytes of a sound; the id of a message that is not kept anywhere; asking for nothing to be kept; sealed
# reasoning, which is handed on in any case; showing thinking, where it always is shown.
IDLE_THERE = (
    *("contents.2.parts.0.functionResponse.id", "contents.2.parts.0.functionResponse.name", "tools.1.name"),
    *("messages.2.content.4.input_audio.format", "input.3.id", "store", "include.1", "text.format.name"),
    *("response_format.json_schema.name", "response_format.json_schema.strict", "text.format.strict"),
    *("reasoning.summary", "generationConfig.thinkingConfig.includeThoughts"),
)
SHOWN = (DialectName.GEMINI, DialectName.COHERE)  # where thinking is always shown


def is_idle(at: Path, there: DialectName) -> bool:
    place = ".".join(str(key) for key in at)
    asks = place in ("reasoning.summary", "generationConfig.thinkingConfig.includeThoughts")
    return at[-1] in IDLE or (place in IDLE_THERE and (not asks or there in SHOWN))


def is_told(body: dict[str, Any], at: Path, here: DialectName, there: DialectName) -> bool:
    """Whether something around this place is named as lost, whole as it is."""
    request = dialect(here).read_request(body)
    written, losses = dialect(there).write_request(request, Target("o", "m"))
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).removeprefix(".")
    names = [as_asked(loss.what, request).partition(" ")[0] for loss in losses]
    if any(place == name or place.startswith((f"{name}.", f"{name}[")) for name in names):
        return True
    told = [(loss.what, loss.why) for loss in losses]
    for size in range(1, len(at)):
        less, other = said(without(body, at[:size]), here, there)
        if less == json.loads(json.dumps(written)) and other != told:
            return True
    return False


@pytest.mark.parametrize("there", DialectName)
@pytest.mark.parametrize("here", MAXIMAL)
def test_what_is_taken_out_is_missed(here: DialectName, there: DialectName) -> None:
    body = MAXIMAL[here]
    whole = said(body, here, there)
    assert whole[0] is not None
    silent = [
        ".".join(str(key) for key in at)
        for at in places(body)
        if not is_idle(at, there)
        and said(without(body, at), here, there) == whole
        and not is_told(body, at, here, there)
    ]
    assert not silent, "taken out and not missed: " + ", ".join(silent)


def stands(body: Any, name: str) -> bool:
    """Whether the client's body has this place."""
    inner = body
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", name.partition(" ")[0]):
        if index:
            if not isinstance(inner, list) or int(index) >= len(inner):
                return False
            inner = inner[int(index)]
        elif not isinstance(inner, dict) or key not in inner:
            return False
        else:
            inner = inner[key]
    return True


@pytest.mark.parametrize("there", DialectName)
@pytest.mark.parametrize("here", MAXIMAL)
def test_what_is_lost_is_named_by_its_place_in_the_clients_request(here: DialectName, there: DialectName) -> None:
    request = dialect(here).read_request(MAXIMAL[here])
    _, losses = dialect(there).write_request(request, Target("o", "m"))
    names = [as_asked(loss.what, request) for loss in losses]
    assert names or here is there
    around = [name.partition(" ")[0].rpartition(".")[0] or name for name in names]  # what it is there, in our words
    known = [
        stands(MAXIMAL[here], name) or stands(MAXIMAL[here], where) for name, where in zip(names, around, strict=True)
    ]
    assert all(known), [name for name, found in zip(names, known, strict=True) if not found]

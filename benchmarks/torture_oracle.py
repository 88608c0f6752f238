"""What a client was told, read as leniently as the official SDKs read, and held against the truth.

An SDK takes every stream that ends without an error event for whole, whatever is missing; so that is what looks
complete here too. `torture.py` lets the SDKs themselves read a part of the same streams.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.torture_faults import Sent, Truth
from benchmarks.torture_streams import Whole
from tests.support.daemon import Answer
from tests.support.judges import FINISHES
from tests.support.speech import Speech, parse


@dataclass
class Reading:
    """What a client made of an answer."""

    text: str = ""
    finish: str = ""
    ends: int = 0  # terminators
    errors: int = 0
    closing: str | None = None  # the text as the last event of a Responses stream repeats it
    behind: bool = False  # something stands behind the end
    rest: bool = False  # half an event stands at the end

    @property
    def complete(self) -> bool:
        """Whether nothing in it makes an SDK raise."""
        return not self.errors


def read(speech: Speech, body: bytes) -> Reading:
    """A stream in the client's dialect. Raises ValueError where it is none."""
    found = Reading()
    events, rest = parse(body)
    if rest == "data: [DONE]\n":
        events, rest = [*events, ("", "[DONE]")], ""
    found.rest = bool(rest)
    for _, data in events:
        over = bool(found.ends or found.errors)
        if data == "[DONE]":
            found.ends += 1
        else:
            _TELL[speech.name](found, json.loads(data))
        again = '"response.failed"' in data if speech.name == "responses" else speech.name == "gemini"
        found.behind = found.behind or (over and not again)
    return found


def _chat(found: Reading, value: Any) -> None:
    if value.get("error"):
        found.errors += 1
    for choice in value.get("choices") or ():
        found.text += choice["delta"].get("content") or ""
        found.finish = choice.get("finish_reason") or found.finish


def _messages(found: Reading, value: Any) -> None:
    match value["type"]:
        case "error":
            found.errors += 1
        case "content_block_delta":
            found.text += value["delta"].get("text", "")
        case "content_block_start":
            found.text += value["content_block"].get("text", "")
        case "message_delta":
            found.finish = value["delta"].get("stop_reason") or found.finish
        case "message_stop":
            found.ends += 1
        case _:
            pass


def _responses(found: Reading, value: Any) -> None:
    match value["type"]:
        case "error":
            found.errors += 1
        case "response.failed":
            found.errors = 1  # said once more, for the clients that heed only this
        case "response.output_text.delta":
            found.text += value["delta"]
        case "response.completed" | "response.incomplete":
            done = value["response"]
            found.ends += 1
            found.finish = (done.get("incomplete_details") or {}).get("reason") or done["status"]
            parts = [part for item in done["output"] if item["type"] == "message" for part in item["content"]]
            found.closing = "".join(part.get("text", "") for part in parts)
        case _:
            pass


def _gemini(found: Reading, value: Any) -> None:
    if value.get("error"):
        found.errors += 1
    for candidate in value.get("candidates") or ():
        found.text += "".join(part.get("text", "") for part in (candidate.get("content") or {}).get("parts") or ())
        if candidate.get("finishReason"):
            found.finish = candidate["finishReason"]
            found.ends = 1  # there is no terminator, and each chunk may say why the answer ends


_TELL = {"chat": _chat, "messages": _messages, "responses": _responses, "gemini": _gemini}


@dataclass
class Verdict:
    """What became of one stream. `wrong` says in a word what may never be, and `why` why it is so."""

    outcome: str  # whole, error event, error status, fell back
    wrong: str = ""
    why: str = ""


def judge(speech: Speech, said: Whole, sent: Sent, got: Answer, fallback: str | None) -> Verdict:
    """The answer `got`, where the provider said `said` and of it `sent`; `fallback`: what the next one says."""
    if got.status != 200:
        return _refused(sent, got)
    if got.broken:
        return Verdict("broken off", "broken off", "the connection broke without an error event")
    try:
        reading = read(speech, got.body)
    except (ValueError, KeyError, TypeError, AssertionError) as exc:
        return Verdict("unreadable", "unreadable", repr(exc)[:200])
    if reading.ends + reading.errors != 1 or reading.behind or reading.rest:
        what = f"{reading.ends} terminators, {reading.errors} errors, behind: {reading.behind}, half: {reading.rest}"
        lie = reading.complete and sent.truth is Truth.BROKEN and fallback is None
        return Verdict("not one ending", "lie" if lie else "not one ending", what)
    if not reading.complete:
        return _failed(said, sent, reading)
    return _complete(said, sent, reading, fallback)


def _refused(sent: Sent, got: Answer) -> Verdict:
    if sent.truth is Truth.WHOLE:
        return Verdict("error status", "false alarm", f"{got.status} {got.body[:300]!r}")
    if got.status < 500:
        return Verdict("error status", "blames the client", f"{got.status} {got.body[:300]!r}")
    return Verdict("error status")


def _failed(said: Whole, sent: Sent, reading: Reading) -> Verdict:
    if sent.truth is Truth.WHOLE:
        return Verdict("error event", "false alarm", "an error behind a whole answer")
    if not said.text.startswith(reading.text):
        return Verdict("error event", "lie", f"the text is not what the provider said: {reading.text[-200:]!r}")
    return Verdict("error event")


def _complete(said: Whole, sent: Sent, reading: Reading, fallback: str | None) -> Verdict:
    if fallback is not None and reading.text == fallback:
        needless = sent.truth is Truth.WHOLE  # and paid twice
        return Verdict("fell back", "false alarm" if needless else "", "it fell back from a whole answer")
    if sent.truth is Truth.BROKEN:
        return Verdict("whole", "lie", f"looks complete: {len(reading.text)} of {len(said.text)} characters")
    if reading.text != said.text:
        return Verdict("whole", "lie", f"another text: {reading.text[-200:]!r} for {said.text[-200:]!r}")
    if reading.closing is not None and reading.closing != said.text:
        return Verdict("whole", "lie", f"the last event repeats another text: {reading.closing[-200:]!r}")
    if sent.finish and FINISHES.get(reading.finish) != said.finish:
        return Verdict("whole", "lie", f"ended with {reading.finish or 'nothing'}, not {said.finish}")
    return Verdict("whole")

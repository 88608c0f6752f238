"""An answer in Messages under the name that the client asked for, where the daemon asked for the model by another one.

It is the way back of the name that was written into the request; all other bytes pass. Claude Code (seen in 2.1.197)
leaves signed thinking out of its next request where another model than the asked one said it, and Anthropic then
refuses the call that it was thought for. Who did answer is said by `x-redeo-model`. Only where
`routing.answer_model` is `asked`.
"""

from __future__ import annotations

from config.model import AnswerModel, Operation, Routing
from proxy.dialects import splice, sse
from proxy.engine.call import Call
from proxy.engine.outcome import MAX_BODY_BYTES, Incoming
from proxy.fault import FaultKind, Phase
from proxy.upstream.client import UpstreamError


def under_asked_name(response: Incoming, call: Call, model: str | None, routing: Routing) -> Incoming:
    """The answer as it comes or, where that is wanted, renamed. `model`: what was asked for instead; None: the same."""
    wanted = routing.answer_model is AnswerModel.ASKED and call.operation is Operation.MESSAGES and not call.tail
    if not wanted or call.model is None or model in (None, call.model):
        return response
    return Renamed(response, call.model, stream=call.stream)


class Renamed:
    """Has what the relay wants of an answer. In a stream `message_start` names the model."""

    def __init__(self, response: Incoming, name: str, *, stream: bool) -> None:
        self.status = response.status
        self._response = response
        self._name = name
        self._splitter = sse.EventSplitter() if stream else None
        self._over = False

    def header(self, name: str) -> str:
        """The value of a header of the provider's, or an empty text."""
        return self._response.header(name)

    def forget_head(self) -> None:
        """Nobody asks for its headers any more."""
        self._response.forget_head()

    def rest(self) -> bytes:
        """What can be said though nothing more comes."""
        return self._response.rest()

    async def read(self) -> bytes:
        """More of the answer; empty at its end. Raises UpstreamError and EventTooLarge."""
        out = b""
        while not out and not self._over:
            out = await (self._whole() if self._splitter is None else self._events(self._splitter))
        return out

    async def _events(self, splitter: sse.EventSplitter) -> bytes:
        data = await self._response.read()
        if not data:
            self._over = True
            return splitter.rest()
        return b"".join(self._event(event) for event in splitter.feed(data))

    def _event(self, event: bytes) -> bytes:
        if b"message_start" not in event:
            return event
        start, end = event.find(b"{"), event.rfind(b"}") + 1
        try:
            return event[:start] + splice.replace_within(event[start:end], "message", "model", self._name) + event[end:]
        except (splice.NotFound, splice.BadBody, ValueError):
            return event  # it only speaks of one

    async def _whole(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self._response.read():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise UpstreamError(
                    FaultKind.TOO_LARGE, Phase.SENT, f"its answer is larger than {MAX_BODY_BYTES} bytes"
                )
            pieces.append(piece)
        self._over = True
        body = b"".join(pieces)
        try:
            return splice.replace_value(body, "model", self._name)
        except (splice.NotFound, splice.BadBody, ValueError):
            return body  # an error, or no answer at all

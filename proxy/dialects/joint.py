"""Where two halves of a text meet: what the second says of the first again is left out, and nothing else.

White space that was cut off the first may come back in front of the second. Some providers say all of the beginning
once more, and one that takes it for a whole answer says its own: that is no second half.
"""

from __future__ import annotations

from typing import Final

SURELY: Final = 64  # so many characters of the beginning in a row are no chance


class NotMore(Exception):
    """What the second provider says is not the rest of the text that was begun."""


class Joint:
    """Takes the second half piece by piece. `sent` is the beginning as its provider got it, `cut` what was cut off its
    end; `echoes`: that it comes back is expected."""

    def __init__(self, sent: str, cut: str, *, echoes: bool = False) -> None:
        self._sent = sent
        self._cut = cut
        self._certain = echoes or len(sent) >= SURELY
        self._same = 0  # so much of the beginning has come once more, and is held back
        self._fresh = True

    def take(self, text: str) -> str:
        """What of this the client has not heard yet. Raises NotMore."""
        if not self._fresh:
            return self._after_cut(text)
        if self._certain and self._same + len(text) < len(self._sent) and self._sent.startswith(text, self._same):
            self._same += len(text)
            return ""
        return self._settled(text)

    def rest(self) -> str:
        """What was held back to the end."""
        return self._settled("") if self._fresh else ""

    def _settled(self, text: str) -> str:
        held, self._fresh = self._sent[: self._same] + text, False
        if self._certain and held.startswith(self._sent):
            return self._after_cut(held[len(self._sent) :])
        if held[:SURELY] == self._sent[:SURELY] and len(self._sent) >= SURELY:
            raise NotMore("it began its answer anew")
        return self._after_cut(held)

    def _after_cut(self, text: str) -> str:
        same = 0
        while same < min(len(text), len(self._cut)) and text[same] == self._cut[same]:
            same += 1
        self._cut = self._cut[same:] if same == len(text) else ""
        return text[same:]

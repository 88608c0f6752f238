"""Base64 of media, as answers bring it: in one text or in several."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence


def joined(texts: Sequence[str]) -> str:
    """One base64 of the bytes of several, each of which may have been padded by itself; as it was where it is none."""
    if not any("=" in text for text in texts[:-1]):
        return "".join(texts)
    try:
        return b64encode(b"".join(b64decode(text, validate=True) for text in texts)).decode()
    except ValueError:
        return "".join(texts)

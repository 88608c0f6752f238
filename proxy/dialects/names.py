"""Names of tools and ids of calls where fewer letters are taken than the client's dialect has.

Google's functions may be called `files.read` or `ns:f`; at Anthropic and OpenAI such a name is refused. It goes there
with underscores, and comes back as the client knows it.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.dialects.request import Request, Tool

_OTHER: Final = re.compile(r"[^a-zA-Z0-9_-]")


def plain(name: str) -> str:
    """The name with an underscore for each letter that is not taken."""
    return _OTHER.sub("_", name)


def known(request: Request) -> dict[str, str]:
    """The client's own names of its tools, by their plain ones, where these differ."""
    names = [tool.name for tool in request.tools if isinstance(tool, Tool)]
    return {plain(name): name for name in names if plain(name) not in names}

"""Where the daemon is, from a client's side: `HOST:PORT` or `unix:PATH`.

What the daemon may listen on is judged by the daemon and by `redeo check`, not here.
"""

from __future__ import annotations

from dataclasses import dataclass

from .output import USAGE, CommandError

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1", "*": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or with `path` a unix socket."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """From what `listen` takes; an address that means every interface becomes the loopback one.

        CommandError (usage): it is neither of the two forms.
        """
        if text.startswith("unix:") and len(text) > len("unix:"):
            return cls("localhost", 0, text.removeprefix("unix:"))
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise CommandError(f"{text!r} is no address: HOST:PORT or unix:PATH is", USAGE)
        return cls(_ANYWHERE.get(host, host), int(port))

    @property
    def base_url(self) -> str:
        """`http://HOST:PORT`. CommandError: a unix socket has none."""
        if self.path is not None:
            raise CommandError(
                f"the daemon listens on {self} only, and clients need a TCP address: set listen to 127.0.0.1:7333"
            )
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else self.base_url

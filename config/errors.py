"""What can be wrong with the configuration or a change of it: values and exceptions, with messages for people.

No message ever holds a key. Who turns these into HTTP: `admin_api`; who prints them: `proxy.cli`.
"""

from __future__ import annotations

import msgspec


def shown(name: str) -> str:
    """A name from a file as messages may quote it: a long one, which could be a key in the wrong place, is cut."""
    return name if len(name) <= 24 else name[: min(12, len(name) // 3)] + "..."


class FileFault(msgspec.Struct, frozen=True):
    """One thing wrong at one line of one file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class ConfigError(Exception):
    """Files that cannot be used; `faults` names every one of them."""

    def __init__(self, faults: list[FileFault]) -> None:
        super().__init__("\n".join(str(f) for f in faults))
        self.faults = faults


class UnsafeState(Exception):
    """The state directory or a file in it is readable by others, not ours, or not a plain file."""


class UnknownProvider(Exception):
    """No connection (or no provider at all) of that id; `provider` as asked for."""

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self.provider = provider


class InvalidField(Exception):
    """A value that cannot be taken: the field, a stable code (`invalid_priority`), and what is allowed."""

    def __init__(self, param: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.message = message


class PreconditionFailed(Exception):
    """`If-Match` named a version that is no longer the current one."""


class StoreUnavailable(Exception):
    """A change could not be made durable; nothing was changed. `full`: for want of room. `unsure`: neither could what
    was there before be put back, so that the change may stand there."""

    def __init__(self, message: str, *, full: bool, unsure: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.unsure = unsure


class SealError(Exception):
    """A sealed value that this master key does not open: another key, another provider, or damage."""

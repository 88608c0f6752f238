"""The refusals of the admin API and their one envelope: `{"error": {"message", "type", "code", "param"}}`.

Answers to unknown paths and methods are not made here: the front renders those of the whole application, this
part included, in the same envelope. Wire format: the OpenAI API reference, "Error codes", read 2026-11;
`x-should-retry` and `Retry-After` as the official SDKs read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

import msgspec
from aiohttp import web

from config.errors import ConfigError, InvalidField, PreconditionFailed, StoreUnavailable, UnsafeState

STORE_RETRY_SECONDS: Final = 5
_TOLD: Final = 10  # faults of a file
_SHOWN_CHARS: Final = 40
_CUT_CHARS: Final = 12  # as little as is ever shown of a key: a pasted one may stand where a name belongs


class ApiError(Exception):
    """One refusal: HTTP status, stable code, a message for people, and the field that is to blame.

    `retry_after` is in whole seconds and set only where waiting helps; the client is then told to try again.
    """

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """The answer, with its headers."""
        kind = "invalid_request_error" if self.status < 500 else "api_error"
        error = {"message": self.message, "type": kind, "code": self.code, "param": self.param}
        headers = {"x-should-retry": "false" if self.retry_after is None else "true"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        body = msgspec.json.encode({"error": error})
        return web.Response(status=self.status, body=body, content_type="application/json", headers=headers)


def refusal(exc: Exception) -> ApiError | None:
    """What the store's exception is to a client, or None for one that is no refusal."""
    match exc:
        case InvalidField():
            return ApiError(400, exc.code, exc.message, exc.param)
        case PreconditionFailed():
            message = "The connection has changed since the version that you named: read it again, then repeat."
            return ApiError(412, "precondition_failed", message)
        case StoreUnavailable(unsure=True):
            message = f"{_sentence(exc)} Read the connection again before you repeat."
            return ApiError(503, "store_unavailable", message)
        case StoreUnavailable(full=True):
            return ApiError(507, "store_full", f"{_sentence(exc)} Nothing was changed. Free some space, then repeat.")
        case StoreUnavailable():
            message = f"{_sentence(exc)} Nothing was changed."
            return ApiError(503, "store_unavailable", message, retry_after=STORE_RETRY_SECONDS)
        case ConfigError() | UnsafeState():  # somebody has to repair it: waiting alone does not help
            message = f"{_sentence(exc)} Nothing was changed: repair this first."
            return ApiError(503, "configuration_invalid", message)
        case _:
            return None


def _sentence(exc: Exception) -> str:
    lines = str(exc).splitlines()
    more = [f"and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    return "; ".join([*lines[:_TOLD], *more]).rstrip(".") + "."


def shown(name: str) -> str:
    """A name that the client sent, fit for a message: quoted, printable, cut where it is too long for a name."""
    text = "".join(c if c.isprintable() else "?" for c in name[: _SHOWN_CHARS + 1])
    return f'"{text}"' if len(text) <= _SHOWN_CHARS else f'"{text[:_CUT_CHARS]}..."'


def suggestion(name: str, known: Iterable[str]) -> str:
    """` (did you mean "priority"?)` for a near miss, else nothing."""
    near = get_close_matches(name[: _SHOWN_CHARS * 2].lower(), list(known), n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""

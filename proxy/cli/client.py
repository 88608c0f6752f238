"""Calls of the running daemon's admin API, as commands make them: one request, one JSON answer.

The standard library's HTTP client, so that no command waits for a larger one to load; it reads no proxy
variables. What the calls mean is INTERFACE 5 and `admin_api`.
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Final, cast

from .address import Address
from .output import CommandError

TIMEOUT: Final = 10.0  # seconds; `providers test` waits for a provider and says so itself
ROOT: Final = "/v1/providers"
CATALOG: Final = f"{ROOT}/catalog"
EXPLAIN: Final = "/v1/routing/explain"
Json = dict[str, object]


class NotRunning(CommandError):
    """Nothing listens where the daemon should be."""


class NotRedeo(CommandError):
    """Something else answers there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the status, and the JSON object in it."""

    status: int
    body: Json

    @property
    def error(self) -> str:
        """What the daemon says is wrong, for people; empty where it says nothing."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, dict) else ""


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon at `address`, spoken to with its own API key; `key` None: only what needs no key."""

    address: Address
    key: str | None = None

    def call(self, method: str, path: str, body: Json | None = None, timeout: float = TIMEOUT) -> Json:
        """The JSON object that a successful call answers.

        CommandError with the daemon's own message otherwise; NotRunning, NotRedeo (see `ask`).
        """
        answer = self.ask(method, path, body, timeout)
        if answer.status == 401:
            raise CommandError(
                f"the daemon at {self.address} refuses this API key: it runs with another state directory or "
                "user than this command. Give --state-dir, or set REDEO_API_KEY to its key"
            )
        if answer.status >= 400:
            raise CommandError(answer.error or f"the daemon answered {answer.status} to {method} {path}")
        return answer.body

    def ask(self, method: str, path: str, body: Json | None = None, timeout: float = TIMEOUT) -> Answer:
        """One request, whatever its status. NotRunning: nothing listens. NotRedeo: the answer is no JSON object."""
        headers = {"Accept": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=timeout)
        try:
            if self.address.path is not None:
                connection.sock = _unix_socket(self.address.path, timeout)
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            return Answer(response.status, _object(response.read()))
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NotRunning(
                f"no daemon answers at {self.address}: start it with `redeo serve`, or name the address with --listen"
            ) from error
        except TimeoutError as error:
            raise CommandError(f"the daemon at {self.address} did not answer within {timeout:g} s") from error
        except (http.client.HTTPException, ValueError) as error:
            raise NotRedeo(f"what answers at {self.address} is no redeo: name its address with --listen") from error
        except OSError as error:
            raise CommandError(f"cannot reach the daemon at {self.address}: {error.strerror or error}") from error
        finally:
            connection.close()


def _unix_socket(path: str, timeout: float) -> socket.socket:
    """A connected one; OSError as `connect` raises it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _object(text: bytes) -> Json:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return cast(Json, value)


def entries(body: Json) -> list[Json]:
    """The rows of an answer that is a list. NotRedeo: it is none."""
    return objects(body, "data")


def objects(body: Json, name: str) -> list[Json]:
    """The objects that stand under `name`. NotRedeo: there are none."""
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise NotRedeo("what answers there is no redeo, or one of another version than this command")
    return cast("list[Json]", found)

"""The request as it goes upstream: its address, its headers, and its body: the client's own, but for what differs.

What depends on the connection, the operation and the model alone is worked out once, and kept with the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from config.model import AuthScheme, Connection, Operation, Route, Routing, StreamUsage, Timeouts
from proxy.dialects import multipart, splice
from proxy.engine.call import Call
from proxy.engine.sending import Sending
from proxy.engine.translate import Written, to_upstream
from proxy.routing import Candidate
from proxy.upstream.client import Heading, Pieces, UpstreamRequest
from proxy.upstream.sign import needs_token, sign

USER_AGENT: Final = "redeo-proxy"
_LARGE: Final = 64 * 1024  # bytes: a body that is smaller is copied faster than it is sent in pieces
_ALIKE: Final = frozenset({AuthScheme.NONE, AuthScheme.BEARER, AuthScheme.HEADER})  # sign all requests alike
_IDENTITY: Final = ("accept-encoding", "identity")
_MOST: Final = 256  # ways of one connection that are kept: clients choose the names of models
_CLIENTS: Final = 8  # whose headings are kept of each way,
_LONGEST: Final = 4096  # and characters of one


class Asked(Protocol):
    """What is asked, and whom. `written`: what is sent instead of the client's own bytes."""

    call: Call
    connection: Connection
    candidate: Candidate
    written: Written | None
    routing: Routing
    timeouts: Timeouts


class Way(msgspec.Struct, frozen=True):
    """How a connection is asked by one operation, for one model. `unless_given`: headers in which the client is heeded,
    by their names in lower case; `credential`: None where each request has one of its own; `token`: an access token has
    to be fetched for it; `whole`: it signs all that is sent."""

    operation: Operation
    url: str
    unless_given: tuple[tuple[str, tuple[str, str]], ...]
    credential: tuple[tuple[str, str], ...] | None
    token: bool
    whole: bool
    headings: dict[tuple[object, ...], Heading] = msgspec.field(default_factory=dict)  # of the clients it had last

    def with_own(self, passed: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The client's headers with those of the connection and ours."""
        given = {name for name, _ in passed}
        return [*passed, *(header for name, header in self.unless_given if name not in given), _IDENTITY]

    def __repr__(self) -> str:
        return f"Way({self.operation})"  # a credential is not to be printed by accident


def way(asked: Asked) -> Way:
    """The way for this question. Raises MissingCredential."""
    call, written, connection = asked.call, asked.written, asked.connection
    operation, continues = call.operation, False
    if written is not None:
        continues = not written.translated and written.more is not None
        operation = written.via if written.translated else operation
    model = asked.candidate.model or call.model
    key = (operation, model, call.stream, continues)
    found: Way | None = connection.kept.get(key)
    if found is None:
        url = connection.url(operation, model=model, stream=call.stream, continues=continues)
        found = _way(connection, operation, url)
        if len(connection.kept) >= _MOST:
            connection.kept.clear()
        connection.kept[key] = found
    return found


def _way(connection: Connection, operation: Operation, url: str) -> Way:
    scheme = connection.auth(operation).scheme
    credential = tuple(sign(connection, operation, url)[1]) if scheme in _ALIKE else None
    own = tuple((name.lower(), (name, value)) for name, value in connection.spec.headers.items())
    unless_given = (*own, ("user-agent", ("user-agent", USER_AGENT)))
    return Way(operation, url, unless_given, credential, needs_token(connection, operation), scheme is AuthScheme.AWS)


def request(asked: Asked, by: Way, token: str | None, upload: Sending | bytes | None) -> tuple[UpstreamRequest, bool]:
    """The request as it goes upstream, and whether the usage chunk was asked for by us alone. `upload`: sent where the
    call has no body."""
    call, written, url = asked.call, asked.written, by.url
    passed = call.headers
    body: bytes | Pieces | Sending | None
    if written is not None and written.translated:
        passed = passed if by.operation is call.operation else tuple(to_upstream(call.headers))
        body = written.body
        hide = call.stream and call.operation is Operation.CHAT and call.include_usage is not True
    else:
        body, hide = _body(call, asked.candidate, asked.routing) if written is None else (written.body, False)
        body = upload if upload is not None else body
        url += call.tail
        if call.query:
            url += ("&" if "?" in url else "?") + call.query
    if by.credential is not None:
        heading = _again(by, call.method, url, passed)
    else:
        headers, known = by.with_own(passed), None if isinstance(body, Sending) else body
        url, credential = sign(
            asked.connection, by.operation, url, method=call.method, headers=headers, body=known, token=token
        )
        heading = Heading(call.method, url, [*headers, *credential])
    return UpstreamRequest(heading, body, asked.timeouts.connect), hide


def _again(by: Way, method: str, url: str, passed: tuple[tuple[str, str], ...]) -> Heading:
    """The heading for these headers of a client: its next request has the same."""
    key = (method, url, passed)
    found = by.headings.get(key)
    if found is None:
        found = Heading(method, url, (*by.with_own(passed), *(by.credential or ())))
        if len(by.headings) >= _CLIENTS:
            by.headings.clear()
        if len(url) + sum(len(name) + len(value) for name, value in passed) <= _LONGEST:
            by.headings[key] = found
    return found


def _body(call: Call, candidate: Candidate, routing: Routing) -> tuple[bytes | Pieces | None, bool]:
    """What is sent of the client's body, and whether the usage chunk was asked for by us alone."""
    body = call.body
    if body is None:
        return None, False
    route = candidate.connection.spec.speaks[call.operation]
    in_path = route.model_in_path and not call.tail
    model = other_model(call, candidate)
    if not call.is_json:
        return multipart.with_model(body, call.content_type, model) if model is not None else body, False
    asks = call.stream and _asks_usage(call, candidate, routing)
    if len(body) > _LARGE and _at_places(call, route, model, asks=asks):
        return (splice.at_places(body, model, call.model_at, usage=asks) if model is not None or asks else body), asks
    if not in_path:
        if model is not None:
            body = splice.with_model(body, model, call.model_at)
        body = splice.with_fields(body, route.adds) if route.adds else body
    elif "model" in call.fields or route.adds:
        body = splice.without_model(body, route.adds)
    for old, new in route.renames.items():
        body = splice.renamed(body, old, new) if old in call.fields else body
    return splice.with_usage_asked(body) if asks else body, asks


def other_model(call: Call, candidate: Candidate) -> str | None:
    """The name that the body has to have for this one, where that is not its own."""
    in_path = candidate.connection.spec.speaks[call.operation].model_in_path and not call.tail
    return candidate.model if candidate.model != call.model and not in_path else None


def _at_places(call: Call, route: Route, model: str | None, *, asks: bool) -> bool:
    """Whether it is known where the body has to be edited, so that it need not be made anew for that."""
    as_it_is = not route.adds and not route.model_in_path and call.fields.isdisjoint(route.renames)
    return as_it_is and (model is None or call.model_at is not None) and not (asks and "stream_options" in call.fields)


def _asks_usage(call: Call, candidate: Candidate, routing: Routing) -> bool:
    return (
        routing.ask_usage
        and call.stream
        and call.operation in (Operation.CHAT, Operation.COMPLETIONS)
        and call.include_usage is not True
        and candidate.connection.spec.quirks.stream_usage is StreamUsage.ASKED
    )

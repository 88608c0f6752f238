"""The credential put into a request: the only place where a Secret is opened."""

from __future__ import annotations

from urllib.parse import quote

from config.model import AuthScheme, Connection, Operation


class MissingCredential(Exception):
    """The provider wants a key and the connection has none."""


def sign(connection: Connection, operation: Operation, url: str) -> tuple[str, list[tuple[str, str]]]:
    """The URL and the headers that authorise one request. Raises MissingCredential."""
    auth = connection.auth(operation)
    if auth.scheme is AuthScheme.NONE or (connection.secret is None and not connection.spec.needs_key):
        return url, []
    if connection.secret is None:
        raise MissingCredential(connection.provider)
    key = connection.secret.reveal()
    match auth.scheme:
        case AuthScheme.BEARER:
            return url, [("Authorization", f"Bearer {key}")]
        case AuthScheme.HEADER:
            return url, [(auth.name, key)]
        case AuthScheme.QUERY:
            return f"{url}{'&' if '?' in url else '?'}{auth.name}={quote(key, safe='')}", []

"""Which headers pass, both ways: allow-lists, so that what nobody thought of stays out.

Never passing: the client's credentials and cookies, hop-by-hop headers, `Forwarded`; back: cookies, redirects,
authentication challenges, CORS. Sources: OpenAI API reference, "Debugging requests" (`x-request-id`, `openai-*`,
`x-ratelimit-*`); Anthropic API, "Versioning", "Beta headers", "Rate limits"; the google-genai SDK; read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_REQUEST: Final = frozenset(
    {
        "accept",
        "content-type",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        # OpenAI and clients of its dialect
        "openai-beta",
        "openai-organization",
        "openai-project",
        "originator",
        "session-id",
        "session_id",
        "thread-id",
        "x-client-request-id",
        # OpenRouter's attribution of an application
        "http-referer",
        "x-title",
        # Anthropic
        "anthropic-version",
        "anthropic-beta",
        # Google
        "x-goog-api-client",
        "x-server-timeout",
    }
)
_REQUEST_PREFIXES: Final = ("x-codex-", "x-openai-internal-codex-")
_RESPONSE: Final = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-language",
        "content-type",
        "inference-id",
        "mistral-correlation-id",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-request-id",
        "x-should-retry",
    }
)
_RESPONSE_PREFIXES: Final = ("anthropic-", "openai-", "x-ratelimit-")


def to_upstream(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers that the provider may see. `Connection` may name further ones to leave out."""
    pairs = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in pairs if name == "connection" for token in value.split(",")}
    return [
        (name, value)
        for name, value in pairs
        if (name in _REQUEST or name.startswith(_REQUEST_PREFIXES)) and name not in named
    ]


def to_client(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The provider's headers (lower-case names) that the client may see, without control characters."""
    return [
        (name, value)
        for name, value in headers
        if (name in _RESPONSE or name.startswith(_RESPONSE_PREFIXES)) and value.isprintable()
    ]

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


_MOST: Final = 1024  # spellings of names that are remembered
_asked: dict[str, str] = {}  # of the client's headers, what it is looked up by: "" for one that stays here
_answered: dict[str, str] = {}


def _passing(name: str) -> str:
    lower = name.lower()
    passes = lower if lower in _REQUEST or lower.startswith(_REQUEST_PREFIXES) else ""
    if len(_asked) < _MOST:
        _asked[name] = passes
    return passes


def to_upstream(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers that the provider may see. `Connection` may name further ones to leave out."""
    passed: list[tuple[str, str]] = []
    named: set[str] | None = None
    for name, value in headers:
        passes = _asked.get(name)
        if passes is None:
            passes = _passing(name)
        if passes:
            passed.append((passes, value))
        elif name.lower() == "connection":
            named = (named or set()) | {token.strip().lower() for token in value.split(",")}
    return passed if named is None else [(name, value) for name, value in passed if name not in named]


def to_client(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The provider's headers (lower-case names) that the client may see, without control characters."""
    passed: list[tuple[str, str]] = []
    for name, value in headers:
        passes = _answered.get(name)
        if passes is None:
            passes = name if name in _RESPONSE or name.startswith(_RESPONSE_PREFIXES) else ""
            if len(_answered) < _MOST:
                _answered[name] = passes
        if passes and value.isprintable():
            passed.append((passes, value))
    return passed

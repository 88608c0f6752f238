"""Status, body and headers of a failed answer to its class: a table, read from the top, first row that fits wins.

Only the class decides what happens next. Sources: the error pages of the providers' documentation (OpenAI "Error
codes", Anthropic "Errors", Google "API errors", Groq "Error codes"), and recorded answers; read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from proxy.fault import Fault, FaultKind
from proxy.routing.retry_after import object_of, retry_after
from proxy.routing.said import error_of

_MAX_TEXT: Final = 1000
_SECRET: Final = re.compile(
    r"(?i:bearer\s+\S+)|(?i:\b[a-z]?(?:sk|pk|rk|xai|gsk|pplx|hf|nvapi|fw|rd)[-_][-_A-Za-z0-9*.]{4,})|"
    r"\b(?:AIza|AKIA)[-_A-Za-z0-9*.]{4,}|[-_A-Za-z0-9]*\*{3,}[-_A-Za-z0-9*]*|[A-Za-z0-9+/_=*-]{32,}"
)
# Of a page that an error points to: small letters and slashes alone are no key.
_PATH: Final = re.compile(r"(?=[^/]*/)[a-z/_-]+")


class _Signs(msgspec.Struct, frozen=True):
    """What of an answer the table looks at: all texts in lower case."""

    status: int
    code: str  # the provider's `code` and `type` words, joined by blanks
    text: str  # its message
    retry: bool  # it says when to come back
    foreign: bool = False  # there is a body, and it is no provider's: a firewall's page


class _Row(msgspec.Struct, frozen=True):
    kind: FaultKind
    statuses: frozenset[int] | None  # None: any
    code: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    no_retry: bool = False
    foreign: bool = False

    def fits(self, signs: _Signs) -> bool:
        if self.foreign and not signs.foreign:
            return False
        if self.statuses is not None and signs.status not in self.statuses:
            return False
        if self.no_retry and signs.retry:
            return False
        if self.code is None and self.text is None:
            return True
        by_code = self.code is not None and self.code.search(signs.code) is not None
        return by_code or (self.text is not None and self.text.search(signs.text) is not None)


def _row(
    kind: FaultKind,
    statuses: Sequence[int] | None,
    code: str = "",
    text: str = "",
    *,
    no_retry: bool = False,
    foreign: bool = False,
) -> _Row:
    return _Row(
        kind,
        frozenset(statuses) if statuses is not None else None,
        re.compile(code) if code else None,
        re.compile(text) if text else None,
        no_retry,
        foreign,
    )


_AGAIN: Final = "try again in"
_REFUSALS: Final = (200, 400, 403, 404, 413, 422)
_QUOTA_CODES: Final = (
    r"insufficient_quota|credit_balance|billing|(?<!enforced_)spend_limit|project_spend|organization_(?:spend|quota|usage)|"
    r"insufficient_(?:balance|credits|funds)|quota_exceeded_permanent|payment_required|exceeded_current_quota"
)
_QUOTA_TEXT: Final = (
    r"credit balance is too low|insufficient (?:balance|credits|funds|quota)|exceeded your current quota|"
    r"spend(?:ing)? limit|out of credits|credits are depleted|(?:doesn't|does not) have any credits|"
    r"specified api usage limits|key limit exceeded"
)
_ABSENT: Final = r"(?:does not exist|not found|not exist|no access|(?:has been )?decommissioned)"
_TABLE: Final = (
    _row(FaultKind.REDIRECT, range(300, 400)),
    _row(FaultKind.QUOTA, (402,)),
    # Gemini says "exceeded your current quota" of a minute's quota too: which one it is stands in its quotaId.
    _row(FaultKind.QUOTA, (200, 429), r"perday", r"credits are depleted"),
    _row(FaultKind.RATE, (200, 429), r"resource_exhausted"),
    _row(FaultKind.QUOTA, (200, 400, 403, 429), _QUOTA_CODES, _QUOTA_TEXT),
    _row(FaultKind.QUOTA, (429,), text=r"per day|daily limit", no_retry=True),
    _row(FaultKind.QUOTA, (429,), r"enforced_spend_limit_reached", no_retry=True),
    _row(FaultKind.OVERLOAD, (429,), r"engine_overloaded|server_is_overloaded|slow_down|modelnotready"),
    _row(FaultKind.RATE, (429, 498)),
    _row(FaultKind.RATE, (400,), r"throttlingexception|servicequotaexceeded"),
    _row(FaultKind.OVERLOAD, (503, 529)),
    _row(FaultKind.OVERLOAD, range(500, 600), r"overloaded|slow_down"),
    _row(FaultKind.UPSTREAM_5XX, range(500, 600)),
    _row(
        FaultKind.CONTEXT_LENGTH,
        _REFUSALS,
        r"context_length_exceeded|request_too_large_for_model|exceeds_context",
        r"prompt is too long|maximum context length|context (?:length|window)|too many tokens|input is too long|"
        r"exceeds the (?:maximum|model'?s?) .{0,30}(?:context|tokens)|max_new_tokens. must be <=|"
        r"input token count .{0,30}exceeds|reduce the length",
    ),
    _row(
        FaultKind.CONTENT_FILTER,
        _REFUSALS,
        r"content_policy|content_filter|responsibleaipolicy|moderation_blocked|safety_violation|invalid_prompt",
        r"content (?:management )?policy|content filter|flagged (?:by|for|as)|"
        r"violates (?:our |the )?usage guidelines|safety_check_type",
    ),
    _row(
        FaultKind.AUTH,
        (200, 400, 401, 403),
        r"invalid_api_key|authentication|api_key_invalid|unauthorized|account_deactivated|unauthenticated",
        r"incorrect api key|invalid api key|api key not valid|api key expired|invalid bearer|"
        r"no auth credentials|ip not authorized|user location is not supported",
    ),
    _row(FaultKind.AUTH, (401, 407)),
    # Of a bad request it has to be said in the same breath, for such texts name the model for many reasons.
    _row(FaultKind.MODEL_MISSING, (400, 422), text=r"\bmodel:?\s+(?:\S{1,120}\s+)?(?:was |is )?" + _ABSENT),
    _row(FaultKind.MODEL_MISSING, (200, 403, 404, 410), text=r"model.{0,120}" + _ABSENT),
    _row(
        FaultKind.MODEL_MISSING,
        (200, 400, 403, 404, 410, 422),
        r"model_not_found|model_not_available|model_decommissioned|unknown_model|invalid_model|model_not_supported|"
        r"deploymentnotfound",
        # "not supported" has to be said of the model itself, not of a parameter that it does not take.
        r"not found the model|"
        r"model\s+(?:\S{1,100}\s+)?(?:is|was)\s+(?:currently\s+)?not\s+(?:supported|available)"
        r"(?! (?:in|with|for|by)\b)|\b(?:not a valid|unknown|invalid) model\b|model identifier is invalid|"
        r"\bno (?:such )?models?\b(?! (?:specified|provided|given|was))|"
        r"no endpoints found|no allowed providers|(?:do|does)(?: not|n't) have access to.{0,80}model",
    ),
    _row(FaultKind.MODEL_MISSING, (404,), text=r"^model:"),
    _row(FaultKind.BAD_UPSTREAM, (403,), foreign=True),
    # Google says so of what is gone, or lies with another key: nothing is wrong with this one.
    _row(FaultKind.CLIENT_INVALID, (403,), text=r"cachedcontent not found|permission to access the file"),
    _row(FaultKind.AUTH, (403,)),
    _row(FaultKind.TIMEOUT, (408, 425)),
    _row(FaultKind.UPSTREAM_5XX, (424,)),  # Bedrock: the model failed, not the request
    # An error inside a 200 answer has no status of its own: its words have to do.
    _row(FaultKind.RATE, (200,), r"rate_limit|too_many_requests|resource_exhausted|throttling|\b429\b", r"rate limit"),
    _row(
        FaultKind.OVERLOAD,
        (200,),
        r"overloaded|server_is_overloaded|slow_down|unavailable|\b50[39]\b|\b529\b",
        r"overloaded",
    ),
    _row(
        FaultKind.CLIENT_INVALID,
        (200,),
        r"invalid_request|invalid_argument|bad_request|validationexception|tool_use_failed|\b4(?:00|04|13|15|22)\b",
    ),
    _row(FaultKind.UPSTREAM_5XX, (200,)),
    _row(FaultKind.CLIENT_INVALID, range(400, 500)),
)


def classify_response(
    status: int, headers: Sequence[tuple[str, str]], body: bytes, *, connection: str, wall: datetime
) -> Fault:
    """The fault that an answer without success is. `headers` have lower-case names; `wall` is the present, aware."""
    wait = retry_after(headers, body, wall)
    explicit = any(name == "retry-after" for name, _ in headers)
    error = object_of(body)
    foreign = error is None and bool(body.strip())
    found = error_of(error or {}, headers)
    return _fault(status, found, connection, wait, explicit=explicit, foreign=foreign)


def classify_error(error: Mapping[str, Any], *, connection: str, wall: datetime) -> Fault:
    """The fault that an error object under status 200 is, in a stream or a whole answer."""
    status = error.get("status_code", error.get("status"))
    inner = error_of(error if "error" in error else {"error": dict(error)})
    known = status if isinstance(status, int) and 400 <= status < 600 else _status_in(inner)
    return _fault(known, inner, connection, None, explicit=False, in_200=True)


def _status_in(error: Mapping[str, Any]) -> int:
    """Providers behind providers (OpenRouter) write the status as the `code`."""
    code = error.get("code")
    if isinstance(code, str) and re.fullmatch(r"[45][0-9]{2}", code):
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else 200


def _fault(
    status: int,
    error: Mapping[str, Any],
    connection: str,
    wait: float | None,
    *,
    explicit: bool,
    in_200: bool = False,
    foreign: bool = False,
) -> Fault:
    message = error.get("message")
    message = message if isinstance(message, str) else ""
    signs = _Signs(
        status, " ".join(_words(error)).lower(), message.lower()[:4000], explicit or _AGAIN in message.lower(), foreign
    )
    kind = next((row.kind for row in _TABLE if row.fits(signs)), FaultKind.BAD_UPSTREAM)
    said = clean(message)
    answered = "answered with an error" if in_200 else f"answered {status}"
    code = error.get("code")
    plain = isinstance(code, str) and not (any(c.isdigit() for c in code) and _SECRET.search(code))
    return Fault(
        kind,
        f"{connection} {answered}: {said}" if said else f"{connection} {answered}",
        status=None if in_200 else status,
        retry_after=wait,
        code=code[:64] if code and plain else None,
    )


def _words(error: Mapping[str, Any]) -> list[str]:
    """The provider's words for the class, texts and numbers alone: printing a deep value fails on its depth."""
    found = [error.get(name) for name in ("code", "type", "status", "reason")]
    details = error.get("details")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            found += [detail.get("reason"), detail.get("error_code")]
            broken = detail.get("violations")
            found += [v.get("quotaId") for v in broken if isinstance(v, dict)] if isinstance(broken, list) else []
    return [str(word)[:200] for word in found if isinstance(word, str | int)]


def clean(text: str) -> str:
    """A provider's message as it may be passed on: one line, at most 1,000 characters, nothing like a key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
    masked = _SECRET.sub(lambda found: found[0] if _PATH.fullmatch(found[0]) else "***", line)
    return masked if len(masked) <= _MAX_TEXT else masked[: _MAX_TEXT - 1] + "…"

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
from proxy.routing.retry_after import asked_for, object_of, retry_after
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
    text: str  # its message, without what it quotes
    retry: bool  # it says when to come back
    foreign: bool = False  # there is a body, and it is no provider's: a firewall's page
    behind: bool = False  # it is told for a provider behind the provider, whose key is not ours


class _Row(msgspec.Struct, frozen=True):
    kind: FaultKind
    statuses: frozenset[int] | None  # None: any
    code: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    no_retry: bool = False
    foreign: bool = False
    behind: bool = False
    of_model: bool = False  # counted for each model, or it may well be

    def fits(self, signs: _Signs) -> bool:
        if (self.foreign and not signs.foreign) or (self.behind and not signs.behind):
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
    behind: bool = False,
    of_model: bool = False,
) -> _Row:
    return _Row(
        kind,
        frozenset(statuses) if statuses is not None else None,
        re.compile(code) if code else None,
        re.compile(text) if text else None,
        no_retry,
        foreign,
        behind,
        of_model,
    )


def _starts(words: str) -> str:
    """The message begins so. A refused request is quoted in the message, and may say anything: behind a beginning of
    the provider's own, words of the table mean nothing."""
    told = "error|provider returned error|the model returned the following errors|invalid request|[a-z]{1,40}exception"
    return rf"^(?:(?:{told}): ?)*(?:{words})"


_AGAIN: Final = re.compile(r"(?:try again|retry) (?:in|after)")
_QUOTED: Final = re.compile(r"`[^`]*`|\"[^\"]*\"|“[^”]*”|(?<!\w)'(?:[^']|'(?=\w))*'(?!\w)")
_REQUEST: Final = (200, 400, 422)  # what was asked for is at fault, says the provider: and it quotes that
_REFUSALS: Final = (200, 400, 403, 404, 413, 422)
_QUOTA_CODES: Final = (
    r"insufficient_quota|credit_balance|billing|(?<!enforced_)spend_limit|project_spend|organization_(?:spend|quota|usage)|"
    r"insufficient_(?:balance|credits|funds)|quota_exceeded_permanent|payment_required|exceeded_current_quota"
)
_QUOTA_TEXT: Final = (
    r"credit balance is too low|insufficient (?:balance|credits|funds|quota)|exceeded your current quota|"
    r"spend(?:ing)? limit|out of credits|credits are depleted|(?:doesn't|does not) have any credits|"
    r"specified api usage limits|key limit exceeded|out of call volume quota|used all available credits"
)
_QUOTA_STARTS: Final = (
    r"your credit balance is too low|insufficient (?:balance|credits|funds|quota)|you exceeded your current quota|"
    r"you have reached your specified api usage limits|billing hard limit"
)
_LONG_SPAN: Final = r"per day|daily limit|per month|/ ?month|monthly"
_KEY_CODES: Final = (
    r"(?:invalid|incorrect)_api_key|api_key_(?:invalid|expired|service_blocked|http_referrer_blocked|ip_address_blocked)|"
    r"account_deactivated|invalid_authentication"
)
_KEY_STARTS: Final = (
    r"(?:incorrect|invalid) api key|api key (?:not valid|expired|not found)|invalid bearer|no auth credentials|"
    r"(?:your )?ip (?:is )?not authorized|user location is not supported|this organization has been disabled|"
    r"this credential is only authorized"
)
_LONG_TEXT: Final = (
    r"prompt is too long|maximum context length|context (?:length|window)|too many tokens|input is too long|"
    r"exceeds the (?:maximum|model'?s?) .{0,30}(?:context|tokens)|max_new_tokens. must be <=|"
    r"input token count .{0,30}exceeds|reduce the length"
)
_LONG_STARTS: Final = (
    r"(?:the )?prompt is too long|(?:this|the) (?:model|endpoint)'?s? maximum (?:context|prompt) length|"
    r"too many tokens|input is too long|input length and .{0,20}exceed|"
    r"(?:input validation error: )?.inputs. tokens \+ .{0,30}must be|"
    r"(?:the )?input token count .{0,30}exceeds|input token count \+|please reduce the length|"
    r"your (?:input|request) exceed(?:s|ed) (?:the context window|(?:the )?model token limit)|"
    r"prompt (?:contains [0-9]+ tokens|exceeds max length)|the decoder prompt|"
    r"the request exceeds the available context size|trying to keep the first [0-9]+ tokens"
)
_FILTER_CODES: Final = (
    r"content_policy|content_filter|responsibleaipolicy|moderation_blocked|safety_violation|invalid_prompt|"
    r"data_?inspection_?failed"
)
_FILTER_TEXT: Final = (
    r"content (?:management )?policy|content filter|flagged (?:by|for|as)|"
    r"violates (?:our |the )?usage guidelines|safety_check_type"
)
_FILTER_STARTS: Final = (
    r"content (?:violates|exists risk)|(?:your |the )?(?:input|prompt|request|content|response|output|message)s? "
    r"(?:was|were|has been|have been) (?:filtered|blocked|flagged|rejected)|invalid prompt: your prompt was flagged"
)
_ABSENT: Final = r"(?:does not exist|not found|not exist|no access|(?:has been )?decommissioned)"
_THE_MODEL: Final = r"(?:the |this |requested |provided |specified )*model:?\s+(?:\S{1,120}\s+)?"
# "not supported" has to be said of the model itself, not of a parameter that it does not take.
_UNSERVED: Final = (
    r"(?:is|was)\s+(?:currently\s+)?not\s+(?:supported|available)(?! (?:in|with|for|by)\b)|"
    r"(?:is )?not supported by (?:any )?provider|(?:is|was) not available in your (?:region|country)|"
    r"has reached (?:its|the) end of (?:its )?life"
)
_MODEL_CODES: Final = (
    r"model_not_found|model_not_available|model_decommissioned|unknown_model|invalid_model|model_not_supported|"
    r"deploymentnotfound|model_permission_blocked|model_terms_required|no_access"
)
_MODEL_STARTS: Final = (
    rf"{_THE_MODEL}(?:(?:was |is )?{_ABSENT}|{_UNSERVED})|\S{{1,120}} is not a valid model\b|"
    r"(?:unknown|invalid) model\b|(?:the )?(?:provided |requested )?model identifier is invalid|no such models?\b|"
    r"unable to access (?:\S+ )?model|invocation of model id .{0,160}on-demand throughput|"
    r"could not resolve the foundation model|your organization must be verified to (?:use|stream)"
)
_MODEL_TEXT: Final = (
    rf"model.{{0,120}}{_ABSENT}|not found the model|model\s+(?:\S{{1,100}}\s+)?(?:{_UNSERVED})|"
    r"\b(?:not a valid|unknown|invalid) model\b|model identifier is invalid|end of (?:its )?life|"
    r"\bno (?:such )?models?\b(?! (?:specified|provided|given|was))|could not resolve the foundation model|"
    r"no endpoints found|no allowed providers|(?:do|does)(?: not|n't) have access to.{0,80}model|"
    r"marked by provider as legacy|^function .{0,80}not found for account|must be verified to (?:use|stream)"
)
# Who may not have the model may have others: nothing is wrong with the key.
_NOT_YOURS: Final = (
    r"access|permission|permitted|allowed|authorized|enabled|available|restricted|blocked|verified|subscri|plan\b"
)
_REFUSED_MODEL: Final = (
    rf"\bmodels?\b.{{0,160}}(?:{_NOT_YOURS})|(?:{_NOT_YOURS}).{{0,160}}\bmodels?\b|"
    r"\b(?:models|foundation-model|inference-profile)/"
)
_TABLE: Final = (
    _row(FaultKind.REDIRECT, range(300, 400)),
    _row(FaultKind.QUOTA, (402,)),
    _row(FaultKind.RATE, (429,), behind=True),
    # Gemini says "exceeded your current quota" of a minute's quota too: which one it is stands in its quotaId.
    _row(FaultKind.QUOTA, (200, 429), r"(?:^| )(?!\S*permodel)\S*perday", r"credits are depleted"),
    _row(FaultKind.QUOTA, (200, 429), r"perday", of_model=True),
    _row(FaultKind.RATE, (200, 429), r"resource_exhausted"),
    _row(FaultKind.MODEL_MISSING, (400, 403), _QUOTA_CODES, _starts(_QUOTA_STARTS), behind=True),
    _row(FaultKind.QUOTA, (403, 429), _QUOTA_CODES, _QUOTA_TEXT),
    _row(FaultKind.QUOTA, (200, 400), _QUOTA_CODES, _starts(_QUOTA_STARTS)),
    _row(FaultKind.QUOTA, (412,), text=r"\baccount\b.{0,80}\bsuspended\b|spend(?:ing)? limit"),
    _row(FaultKind.QUOTA, (429,), text=_LONG_SPAN, no_retry=True, of_model=True),
    _row(FaultKind.QUOTA, (429,), r"enforced_spend_limit_reached", no_retry=True),
    _row(FaultKind.OVERLOAD, (429,), r"engine_overloaded|server_is_overloaded|slow_down|modelnotready"),
    _row(FaultKind.RATE, (429, 498)),
    _row(FaultKind.RATE, (413,), r"rate_limit_exceeded"),  # Groq: more tokens than it gives in a minute
    _row(FaultKind.RATE, (400,), r"throttlingexception|servicequotaexceeded"),
    # An error inside a 200 answer has no status of its own: its words have to do.
    _row(FaultKind.RATE, (200,), r"rate_limit|too_many_requests|throttling|\b429\b"),
    _row(FaultKind.OVERLOAD, (200,), r"overloaded|slow_down|unavailable|modelnotready|\b50[39]\b|\b529\b"),
    _row(FaultKind.OVERLOAD, (503, 529)),
    _row(FaultKind.OVERLOAD, range(500, 600), r"overloaded|slow_down"),
    _row(FaultKind.UPSTREAM_5XX, range(500, 600)),
    _row(
        FaultKind.CONTEXT_LENGTH,
        _REFUSALS,
        r"context_length_exceeded|request_too_large_for_model|exceeds?_context",
        _starts(_LONG_STARTS),
    ),
    _row(FaultKind.CONTEXT_LENGTH, (403, 413), text=_LONG_TEXT),
    _row(FaultKind.CONTENT_FILTER, _REFUSALS, _FILTER_CODES, _starts(_FILTER_STARTS)),
    _row(FaultKind.CONTENT_FILTER, (403,), text=_FILTER_TEXT),
    _row(FaultKind.MODEL_MISSING, (401, 403), behind=True),
    _row(FaultKind.MODEL_MISSING, (400,), _KEY_CODES, _starts(_KEY_STARTS), behind=True),
    _row(FaultKind.AUTH, (200, 400, 401, 403), _KEY_CODES, _starts(_KEY_STARTS)),
    # Google says so of what is gone, or lies with another key: nothing is wrong with this one.
    _row(
        FaultKind.CLIENT_INVALID,
        (401, 403),
        text=r"cachedcontent not found|\bfiles?\b.{0,80}(?:not found|not exist)|(?:access|permission).{0,40}\bfile\b",
    ),
    _row(FaultKind.MODEL_MISSING, (401, 403), _MODEL_CODES, _REFUSED_MODEL),
    _row(FaultKind.AUTH, (200, 400, 401, 403), r"authentication|unauthorized|unauthenticated"),
    _row(FaultKind.AUTH, (401, 407)),
    _row(FaultKind.MODEL_MISSING, _REQUEST, _MODEL_CODES, _starts(_MODEL_STARTS)),
    _row(FaultKind.MODEL_MISSING, (403, 404, 410), _MODEL_CODES, _MODEL_TEXT),
    _row(FaultKind.MODEL_MISSING, (404,), text=r"^model:"),
    _row(FaultKind.BAD_UPSTREAM, (403,), foreign=True),
    _row(FaultKind.AUTH, (403,)),
    _row(FaultKind.TIMEOUT, (408, 425)),
    _row(FaultKind.UPSTREAM_5XX, (424,)),  # Bedrock: the model failed, not the request
    _row(
        FaultKind.CLIENT_INVALID,
        (200,),
        r"invalid_request|invalid_argument|bad_request|validationexception|tool_use_failed|\b4(?:00|04|13|15|22)\b",
    ),
    _row(FaultKind.RATE, (200,), text=_starts(r"rate limit")),
    _row(FaultKind.OVERLOAD, (200,), text=r"^.{0,40}overloaded"),
    _row(FaultKind.UPSTREAM_5XX, (200,)),
    _row(FaultKind.CLIENT_INVALID, range(400, 500)),
)

_NONE: Final = _row(FaultKind.BAD_UPSTREAM, None)  # no status of HTTP


def classify_response(
    status: int, headers: Sequence[tuple[str, str]], body: bytes, *, connection: str, wall: datetime
) -> Fault:
    """The fault that an answer without success is. `headers` have lower-case names; `wall` is the present, aware."""
    wait = retry_after(headers, body, wall)
    explicit = asked_for(headers, wall)
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
    text = _QUOTED.sub(_unquoted, message[:4000].lower())
    metadata = error.get("metadata")
    behind = isinstance(metadata, dict) and isinstance(metadata.get("provider_name"), str)
    again = explicit or _AGAIN.search(text) is not None
    signs = _Signs(status, " ".join(_words(error)).lower(), text, again, foreign, behind)
    row = next((row for row in _TABLE if row.fits(signs)), _NONE)
    said = clean(message)
    answered = "answered with an error" if in_200 else f"answered {status}"
    code = error.get("code")
    plain = isinstance(code, str) and not (any(c.isdigit() for c in code) and _SECRET.search(code))
    return Fault(
        row.kind,
        f"{connection} {answered}: {said}" if said else f"{connection} {answered}",
        status=None if in_200 else status,
        retry_after=wait,
        code=code[:64] if code and plain else None,
        of_model=row.of_model,
    )


def _unquoted(found: re.Match[str]) -> str:
    """Names and numbers stay; sentences are somebody else's."""
    return found[0] if " " not in found[0] else "`…`"


def _words(error: Mapping[str, Any]) -> list[str]:
    """The provider's words for the class, texts and numbers alone: printing a deep value fails on its depth."""
    found = [error.get(name) for name in ("code", "type", "status", "reason")]
    details = error.get("details")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict):
            found += [detail.get("reason"), detail.get("error_code")]
            more = detail.get("metadata")
            found.append(more.get("quota_limit") if isinstance(more, dict) else None)
            broken = detail.get("violations")
            found += [v.get("quotaId") for v in broken if isinstance(v, dict)] if isinstance(broken, list) else []
    return [str(word)[:200] for word in found if isinstance(word, str | int)]


def clean(text: str) -> str:
    """A provider's message as it may be passed on: one line, at most 1,000 characters, nothing like a key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
    masked = _SECRET.sub(lambda found: found[0] if _PATH.fullmatch(found[0]) else "***", line)
    return masked if len(masked) <= _MAX_TEXT else masked[: _MAX_TEXT - 1] + "…"

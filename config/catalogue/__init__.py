"""The catalogue of providers: rows of data and what redeo.yaml changes of them or adds, as ProviderSpec.

Owns the form of a row (docs/add-a-provider.md). The facts stand in providers.yaml, each from the provider's own
documentation. What users may write under `providers:` is checked by `config.schema`; where one request goes is for
`proxy.routing`. Importing this reads nothing; `load` does, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from config.continuing import Continues, Way
from config.errors import InvalidField
from config.model import (
    Auth,
    AuthScheme,
    Credential,
    Operation,
    ProviderSpec,
    Quirks,
    Route,
    StreamUsage,
)

_BEARER: Final = Auth(AuthScheme.BEARER)
# What a provider of the user's own serves: the paths of the dialect's inventor.
DIALECTS: Final[Mapping[str, Mapping[Operation, str | Mapping[str, object]]]] = {
    "openai": {
        Operation.CHAT: "/chat/completions",
        Operation.COMPLETIONS: "/completions",
        Operation.RESPONSES: "/responses",
        Operation.RESPONSES_COUNT: "/responses/input_tokens",
        Operation.EMBEDDINGS: "/embeddings",
        Operation.IMAGES: "/images",
        Operation.AUDIO: "/audio",
        Operation.MODERATIONS: "/moderations",
        Operation.RERANK: "/rerank",
        Operation.FILES: "/files",
        Operation.BATCHES: "/batches",
        Operation.MODELS: "/models",
    },
    "anthropic": {
        Operation.MESSAGES: "/v1/messages",
        Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
        Operation.MESSAGE_BATCHES: "/v1/messages/batches",
        Operation.FILES: "/v1/files",
        Operation.MODELS: "/v1/models",
    },
    "gemini": {
        Operation.GEMINI: {
            "path": "/v1beta/models/{model}:generateContent",
            "stream": "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        },
        Operation.GEMINI_EMBED: "/v1beta/models/{model}:batchEmbedContents",
        Operation.GEMINI_EMBED_ONE: "/v1beta/models/{model}:embedContent",
        Operation.GEMINI_COUNT: "/v1beta/models/{model}:countTokens",
        Operation.MODELS: "/v1beta/models",
    },
    "converse": {
        Operation.CONVERSE: {"path": "/model/{model}/converse", "stream": "/model/{model}/converse-stream"},
        Operation.CONVERSE_COUNT: "/model/{base_model}/count-tokens",
        Operation.TITAN_EMBED: {"path": "/model/{model}/invoke", "only": ["*titan-embed*"]},
        Operation.COHERE_EMBED: {"path": "/model/{model}/invoke", "only": ["*cohere.embed*"]},
    },
    "cohere": {
        Operation.COHERE_CHAT: "/v2/chat",
        Operation.COHERE_EMBED: "/v2/embed",
        Operation.RERANK: "/v2/rerank",
        Operation.MODELS: "/v1/models",
    },
    "ollama": {
        Operation.OLLAMA_CHAT: "/api/chat",
        Operation.MODELS: "/api/tags",
    },
}
# Beside the routes: how the key is sent, what stands on every request, how its model list names them.
_AUTH: Final = {"anthropic": "header:x-api-key", "gemini": "header:x-goog-api-key", "converse": "aws"}
_HEADERS: Final = {"anthropic": {"anthropic-version": "2023-06-01"}}
_PREFIXES: Final = {"gemini": "models/"}


@cache
def load() -> Mapping[str, ProviderSpec]:
    """The rows that come with the daemon, by id."""
    # The same rows as providers.yaml, in a form that takes 1 ms of the start to read instead of 50.
    rows: dict[str, dict[str, Any]] = msgspec.json.decode(Path(__file__).with_name("providers.json").read_bytes())
    return MappingProxyType({ident: _row(ident, row) for ident, row in sorted(rows.items())})


def compiled() -> bytes:
    """providers.json as it has to be: made from providers.yaml by `python -m config.catalogue --json`."""
    import yaml

    text = Path(__file__).with_name("providers.yaml").read_bytes()
    rows: dict[str, dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)
    return msgspec.json.format(msgspec.json.encode(dict(sorted(rows.items()))), indent=0) + b"\n"


def _row(ident: str, row: Mapping[str, Any]) -> ProviderSpec:
    return ProviderSpec(
        id=ident,
        label=row["label"],
        credential=Credential(row["credential"]),
        supports_endpoint=row.get("supports_endpoint", False),
        base_url=row.get("base_url"),
        endpoint_suffix=row.get("endpoint_suffix", ""),
        endpoint_hint=row.get("endpoint_hint", ""),
        dialect=row["dialect"],
        auth=_auth(row["auth"]),
        speaks=_speaks(row["speaks"]),
        default_model=row["default_model"],
        models=tuple(row["models"]),
        headers=MappingProxyType(dict(row.get("headers") or {})),
        env=tuple(row["env"]),
        quirks=_quirks(row.get("quirks") or {}),
        docs=tuple(row["docs"]),
        unsupported=row.get("unsupported"),
        api_version=row.get("api_version", ""),
    )


def _auth(text: str) -> Auth:
    scheme, _, name = text.partition(":")
    return Auth(AuthScheme(scheme), name)


def _speaks(entries: Mapping[Any, Any]) -> Mapping[Operation, Route]:
    found: dict[Operation, Route] = {}
    for name, value in entries.items():
        if isinstance(value, str):
            found[Operation(name)] = Route(value)
        else:
            auth = _auth(value["auth"]) if "auth" in value else None
            adds = MappingProxyType(dict(value.get("adds") or {}))
            renames = MappingProxyType(dict(value.get("renames") or {}))
            only = tuple(value.get("only") or ())
            path, stream, further = value["path"], value.get("stream", ""), _continues(value.get("continues"))
            found[Operation(name)] = Route(path, auth, stream, only, adds, renames, further)
    return MappingProxyType(found)


def _continues(entry: Mapping[str, Any] | str | None) -> Continues | None:
    if entry is None or isinstance(entry, str):
        return None if entry is None else Continues(Way(entry))
    return Continues(
        Way(entry["as"]), tuple(entry.get("only") or ()), entry.get("path", ""), entry.get("echoes", False)
    )


def _quirks(entries: Mapping[str, Any]) -> Quirks:
    return Quirks(
        stream_usage=StreamUsage(entries.get("stream_usage", StreamUsage.ASKED)),
        any_model=entries.get("any_model", False),
        model_prefix=entries.get("model_prefix", ""),
        reasoning_back=entries.get("reasoning_back"),
        rejects=tuple(entries.get("rejects", ())),
        cache_marks=entries.get("cache_marks", False),
        call_id_length=entries.get("call_id_length", 0),
    )


def merge(
    rows: Mapping[str, ProviderSpec], overrides: Mapping[str, Mapping[str, object]]
) -> Mapping[str, ProviderSpec]:
    """The rows with what `providers:` in redeo.yaml says of them, and those that it adds. Raises InvalidField."""
    merged = dict(rows)
    for ident, entry in overrides.items():
        merged[ident] = _changed(rows.get(ident) or _blank(ident, entry), entry)
    return MappingProxyType(dict(sorted(merged.items())))


def _blank(ident: str, entry: Mapping[str, object]) -> ProviderSpec:
    """A provider of which nothing is known but its id."""
    if "base_url" not in entry:
        raise InvalidField(
            f"providers.{ident}", "missing_field", f"`{ident}` is not in the catalogue: needs a `base_url`"
        )
    return ProviderSpec(
        id=ident,
        label=ident,
        credential=Credential.API_KEY,
        supports_endpoint=False,
        base_url=None,
        endpoint_suffix="",
        endpoint_hint="",
        dialect="",
        auth=_BEARER,
        speaks=MappingProxyType({}),
        default_model=None,
        models=(),
        headers=MappingProxyType({}),
        env=(),
        quirks=Quirks(),
        docs=(),
    )


_CONVERSATIONS: Final = (
    Operation.CHAT, Operation.MESSAGES, Operation.GEMINI, Operation.CONVERSE, Operation.OLLAMA_CHAT
)  # fmt: skip
_PLAIN: Final = ("label", "default_model", "supports_endpoint", "api_version", "model_timeouts", "context_tokens")
_SAME: Final = {name: name for name in _PLAIN} | {
    "unsupported": "on_unsupported"  # what to do, where a row of the catalogue says why it is refused
}


def _changed(spec: ProviderSpec, entry: Mapping[str, Any]) -> ProviderSpec:
    dialect = entry.get("dialect", spec.dialect or "openai")
    if dialect != spec.dialect:
        spec = _speaking(spec, dialect)
    new: dict[str, Any] = {"from_file": True}
    new |= {_SAME[name]: entry[name] for name in _SAME if name in entry}
    if "base_url" in entry:
        new["base_url"] = str(entry["base_url"]).rstrip("/")
        new["unsupported"] = None  # whoever names an address knows what answers there
    if "credential" in entry:
        new["credential"] = Credential(entry["credential"])
    if "models" in entry:
        new |= _models(spec, entry)
    if "timeouts" in entry:
        new["timeouts"] = MappingProxyType(entry["timeouts"])
    if "headers" in entry:
        new["headers"] = MappingProxyType({**spec.headers, **entry["headers"]})
    if "stream_usage" in entry:
        new["quirks"] = replace(spec.quirks, stream_usage=StreamUsage(entry["stream_usage"]))
    for name, rewrite in (("speaks", _speaking_only), ("continues", _going_on)):
        spec = rewrite(spec, entry[name]) if name in entry else spec
    if "auth" in entry:
        # It holds for every operation: what stands in front of a provider asks for one thing.
        routes = {operation: replace(route, auth=None) for operation, route in spec.speaks.items()}
        new |= {"auth": _auth(entry["auth"]), "speaks": MappingProxyType(routes)}
    return replace(spec, **new)


def _speaking_only(spec: ProviderSpec, names: Sequence[str]) -> ProviderSpec:
    """The provider with these operations and its list of models alone. Raises InvalidField."""
    able = {operation.value for operation in spec.speaks}
    strange = next((name for name in names if name not in able), None)
    if strange is not None:
        what = f"`{strange}` is nothing that its dialect has; that has {', '.join(sorted(able))}"
        raise InvalidField(f"providers.{spec.id}.speaks", "invalid_operation", what)
    kept = {o: route for o, route in spec.speaks.items() if o.value in names or o is Operation.MODELS}
    return replace(spec, speaks=MappingProxyType(kept))


def _going_on(spec: ProviderSpec, word: str) -> ProviderSpec:
    """The provider where every model goes on from a beginning in this way, in the dialects that have a word for it."""
    able = _CONVERSATIONS if word == Way.PREFILL else (Operation.CHAT,)
    further = None if word == "no" else Continues(Way(word))
    routes = {o: replace(r, continues=further if o in able else None) for o, r in spec.speaks.items()}
    return replace(spec, speaks=MappingProxyType(routes))


def _models(spec: ProviderSpec, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A list of the user's own, with a default that is in it unless another is named."""
    models = tuple(entry["models"])
    kept = spec.default_model if spec.default_model in models else next(iter(models), None)
    return {"models": models, "default_model": entry.get("default_model", kept)}


def _speaking(spec: ProviderSpec, dialect: str) -> ProviderSpec:
    """The provider with another dialect, as its inventor speaks it."""
    return replace(
        spec,
        dialect=dialect,
        speaks=_speaks(DIALECTS[dialect]),
        auth=_auth(_AUTH.get(dialect, "bearer")),
        headers=MappingProxyType(_HEADERS.get(dialect, {})),
        quirks=replace(spec.quirks, model_prefix=_PREFIXES.get(dialect, "")),
    )

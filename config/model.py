"""The values that everything else reads: settings, providers, connections, the snapshot of them all.

Frozen, without I/O. Who reads files: `config.store`. In which order connections are tried: `proxy.routing.plan`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec.structs

from config.continuing import Continues, meant

# In front of Bedrock's inference profiles (Amazon Bedrock, "Supported Regions and models for inference profiles").
_REGION: Final = re.compile(r"^(?:us-gov|us|eu|apac|global|au|jp|ca)\.(?=[a-z0-9-]+\.)")
KEY_PREFIX_CHARS: Final = 12  # the most of a key that is ever shown (and never more than a third of it)


class Operation(StrEnum):
    """What a client asks for, as a path under `/v1`. `images`, `audio`, `responses` and `files` have tails."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    AUDIO = "audio"
    MODERATIONS = "moderations"
    RERANK = "rerank"
    FILES = "files"
    BATCHES = "batches"
    MESSAGE_BATCHES = "message_batches"
    MODELS = "models"
    GEMINI_EMBED = "gemini_embed"  # batchEmbedContents
    GEMINI_EMBED_ONE = "gemini_embed_one"  # embedContent
    COHERE_EMBED = "cohere_embed"
    TITAN_EMBED = "titan_embed"
    GEMINI_COUNT = "gemini_count"  # countTokens
    VERTEX_COUNT = "vertex_count"  # the same of Vertex AI, which wraps nothing
    RESPONSES_COUNT = "responses_count"  # input_tokens
    CONVERSE_COUNT = "converse_count"  # CountTokens of Amazon Bedrock
    GEMINI = "gemini"  # generateContent and streamGenerateContent
    CONVERSE = "converse"  # of Amazon Bedrock
    COHERE_CHAT = "cohere_chat"
    OLLAMA_CHAT = "ollama_chat"


class Credential(StrEnum):
    """What a connection to a provider is authorised with (`credentialKind` in the admin API)."""

    API_KEY = "api_key"
    OPTIONAL = "api_key_optional"
    SERVICE_ACCOUNT = "service_account"
    NONE = "none"


class AuthScheme(StrEnum):
    """Where the credential stands in the request that goes upstream."""

    BEARER = "bearer"
    HEADER = "header"
    QUERY = "query"
    AWS = "aws"  # signed with an access key pair (SigV4), or an API key as bearer
    GOOGLE = "google_oauth"  # an access token of a service account
    NONE = "none"


class StreamUsage(StrEnum):
    """How a Chat Completions stream of this provider comes to carry usage."""

    ASKED = "asked"  # `stream_options.include_usage` must be set
    ALWAYS = "always"  # it is there anyhow
    NEVER = "never"  # the provider refuses or ignores the option


class AnswerModel(StrEnum):
    """Which name of the model stands in a relayed answer in Messages."""

    PROVIDER = "provider"  # as it came
    ASKED = "asked"  # what the client asked for, where the daemon asked by another name


class Secret:
    """A credential that cannot be printed by accident: only `reveal` gives it, and only `upstream.sign` calls that."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself."""
        return self._value

    def scrub(self, data: bytes) -> bytes:
        """The text without the credential, as it is or with its slashes escaped as JSON allows."""
        plain = self._value.encode()
        return data.replace(plain, b"***").replace(plain.replace(b"/", b"\\/"), b"***")

    @property
    def prefix(self) -> str:
        """At most 12 characters, never more than a third of the key: what may be shown of it."""
        return self._value[: min(KEY_PREFIX_CHARS, len(self._value) // 3)]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when the key does; not reversible for a key of real entropy."""
        return hashlib.sha256(b"redeo fingerprint\0" + self._value.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Secret({self.prefix}...)"

    def __str__(self) -> str:
        raise TypeError("a Secret has no text; use .prefix to show it")

    def __format__(self, spec: str) -> str:
        raise TypeError("a Secret has no text; use .prefix to show it")

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Auth(msgspec.Struct, frozen=True):
    """How the credential is sent: `name` is the header or query parameter for those two schemes."""

    scheme: AuthScheme
    name: str = ""


class Route(msgspec.Struct, frozen=True, dict=True):
    """Where one operation of a provider is.

    `path` is appended to the base URL; a path that begins with `../` first drops that many segments from it
    (a second dialect beside the first). `auth` replaces the provider's own for this operation. `stream` is where
    streams are, if elsewhere. `{model}` in either stands for the model's name, which then does not stand in the body,
    `{base_model}` for it without Amazon's region in front, `{api_version}` for the provider's. `only` are patterns of
    the models that are served so (with `!`: that are not), `adds` are fields that every body has to have, `renames`
    what fields of its dialect are called here, `continues` whether it goes on from a beginning.
    """

    path: str
    auth: Auth | None = None
    stream: str = ""
    only: tuple[str, ...] = ()
    adds: Mapping[str, str] = MappingProxyType({})
    renames: Mapping[str, str] = MappingProxyType({})
    continues: Continues | None = None

    def serves(self, model: str | None) -> bool:
        """Whether this model is served so; a name that is not known yet may be."""
        return model is None or meant(self.only, model)

    @cached_property
    def model_in_path(self) -> bool:
        """Whether the path names the model."""
        return "{model}" in self.path or "{base_model}" in self.path


class Quirks(msgspec.Struct, frozen=True):
    """The closed set of ways in which a provider differs from its dialect; each with the plain case as default."""

    stream_usage: StreamUsage = StreamUsage.ASKED
    any_model: bool = False  # answers to every model name with what it has loaded: names prove nothing
    model_prefix: str = ""  # ids in its model list carry this in front of what requests must say
    reasoning_back: str | None = None  # the field of Chat's messages in which it wants its thinking back, if any
    rejects: tuple[str, ...] = ()  # what it refuses of Chat's parameters; `name`: of a message
    cache_marks: bool = False  # takes Anthropic's marks for the prompt cache in Chat's messages
    call_id_length: int = 0  # how many letters and digits an id of a tool call must have in Chat; 0: any


class ProviderSpec(msgspec.Struct, frozen=True):
    """One provider: a row of the catalogue, with what `providers:` in redeo.yaml changed or added."""

    id: str
    label: str
    credential: Credential
    supports_endpoint: bool
    base_url: str | None  # without a trailing slash; None: the connection must bring an endpoint
    endpoint_suffix: str  # appended to a connection's endpoint unless it stands there already, such as "/v1"
    endpoint_hint: str  # what an endpoint looks like, for messages and forms
    dialect: str  # of its main inference operation: openai, anthropic, gemini, bedrock, cohere
    auth: Auth
    speaks: Mapping[Operation, Route]
    default_model: str | None
    models: tuple[str, ...]  # the static fallback where no live list can be had
    headers: Mapping[str, str]  # sent on every request unless the client says otherwise
    env: tuple[str, ...]  # environment variables in which users keep this key
    quirks: Quirks
    docs: tuple[str, ...]  # the provider's own pages that say so
    api_version: str = ""  # for `{api_version}` in its paths
    on_unsupported: str = "drop"  # or "error": what to do with parameters that another dialect cannot say
    unsupported: str | None = None  # why connections to it are refused for now
    from_file: bool = False  # named in redeo.yaml: a person vouches for its address
    timeouts: Mapping[str, float] = MappingProxyType({})  # clocks of its own, by their names in Timeouts
    model_timeouts: tuple[tuple[str, Mapping[str, float]], ...] = ()  # the same by pattern of its models' names
    context_tokens: tuple[tuple[str, int], ...] = ()  # how much its models can read, by pattern of their names

    @property
    def needs_key(self) -> bool:
        """Whether a connection without a credential can never work."""
        return self.credential in (Credential.API_KEY, Credential.SERVICE_ACCOUNT)


class Connection(msgspec.Struct, frozen=True, dict=True):
    """A provider that the user has a key for (or that needs none), ready to be used.

    `fault` says why it cannot be used although it is configured (an unset variable, a key that cannot be
    unsealed); such a connection is listed and never tried.
    """

    provider: str
    label: str
    priority: int
    secret: Secret | None
    endpoint: str | None
    updated_at: str  # RFC 3339, UTC
    spec: ProviderSpec
    base_url: str
    fault: str | None = None

    @cached_property
    def origin(self) -> str:
        """`scheme://host[:port]` of where its requests go."""
        return "://".join(urlsplit(self.base_url)[:2])

    @cached_property
    def identity(self) -> str:
        """What makes observed facts about this connection stay true: id, address, key."""
        return f"{self.provider}|{self.base_url}|{self.secret.fingerprint if self.secret else '-'}"

    @cached_property
    def kept(self) -> dict[object, Any]:
        """What was worked out of it, by whom and for whatever: as long as it stands, and no longer."""
        return {}

    def timeouts(self, model: str | None, base: Timeouts) -> Timeouts:
        """The clocks for requests of this model: `base`, with those that are set for the provider, then the model."""
        own, by_model = self.spec.timeouts, self.spec.model_timeouts
        if not own and not by_model:
            return base
        changed = dict(own)
        for pattern, clocks in by_model:
            if model is not None and fnmatchcase(model, pattern):
                changed |= clocks
        return msgspec.structs.replace(base, **changed)

    def context_tokens(self, model: str | None) -> int:
        """How many tokens this model is declared to read; 0 where that is not said."""
        return next((size for name, size in reversed(self.spec.context_tokens) if fnmatchcase(model or "", name)), 0)

    def speaks(self, operation: Operation, model: str | None = None) -> bool:
        """Whether the provider serves `operation`, of this model, in its own dialect."""
        route = self.spec.speaks.get(operation)
        return route is not None and route.serves(model)

    def continues(self, operation: Operation, model: str | None) -> Continues | None:
        """How this model is asked, by this operation, to go on from a given beginning; None where it cannot be."""
        route = self.spec.speaks.get(operation)
        further = route.continues if route is not None and route.serves(model) else None
        return further if further is not None and further.serves(model) else None

    def continuing(self, model: str | None, first: Operation) -> Operation | None:
        """By which operation this model can be asked to go on from a beginning, by `first` if that is one of them."""
        return next((way for way in (first, *self.spec.speaks) if self.continues(way, model) is not None), None)

    def auth(self, operation: Operation) -> Auth:
        """How requests for `operation` are authorised."""
        return self.spec.speaks[operation].auth or self.spec.auth

    def url(
        self,
        operation: Operation,
        tail: str = "",
        *,
        model: str | None = None,
        stream: bool = False,
        continues: bool = False,
    ) -> str:
        """The full URL of `operation`; `tail` follows it, as in `/generations` after images. `continues`: it is asked
        to go on from a beginning.

        Raises KeyError where the provider does not serve the operation.
        """
        route = self.spec.speaks[operation]
        path = route.stream if stream and route.stream else route.path
        if continues and route.continues is not None and route.continues.path:
            path = route.continues.path
        if "{" in path:
            name = quote(model or "", safe="@")
            name = name if name.strip(".") else name.replace(".", "%2E")
            path = path.replace("{model}", name).replace("{base_model}", _REGION.sub("", name))
            path = path.replace("{api_version}", quote(self.spec.api_version, safe=""))
        return join_url(self.base_url, path) + tail


def join_url(base: str, path: str) -> str:
    """`path` appended to `base`; leading `../` drop segments of the base; a doubled version is written once."""
    base = base.rstrip("/")
    while path.startswith("../"):
        base, path = base.rsplit("/", 1)[0] if base.count("/") > 2 else base, path[3:]  # never drops the host
        if not path.startswith("../"):
            path = "/" + path
    for version in ("/v1", "/v1beta"):
        if base.endswith(version) and path.startswith(version + "/"):
            path = path[len(version) :]
    return base + path


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `first_byte`: until the first content of an answer; `idle`: between two pieces of it;
    `total`: a whole answer that is not streamed; `before_answer`: all attempts of one request together."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 90.0
    total: float = 600.0
    before_answer: float = 180.0


class Routing(msgspec.Struct, frozen=True):
    """How requests travel through the connections. `hedge_after`: seconds after which a second one is asked as well;
    `min_chars_per_second`: a stream that comes more slowly is left before anything of it is sent on, 0: never;
    `rescue`: a text that breaks off is continued by another connection."""

    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    max_attempts: int = 6
    hedge_after: float | None = None
    min_chars_per_second: float = 0.0
    rescue: bool = False
    ask_usage: bool = True
    answer_model: AnswerModel = AnswerModel.PROVIDER


class Limits(msgspec.Struct, frozen=True):
    """What one client may ask of the daemon, and how long it may leave it waiting."""

    max_body_bytes: int = 64 * 1024 * 1024
    max_in_flight: int = 256
    max_queue: int = 64
    queue_seconds: float = 1.0
    drain_seconds: float = 30.0
    body_idle_seconds: float = 30.0  # without anything more of a request's body
    client_idle_seconds: float = 120.0  # without taking anything of an answer


class Logging(msgspec.Struct, frozen=True):
    """`level`: debug, info, warning or error."""

    level: str = "info"


class ModelTarget(msgspec.Struct, frozen=True):
    """One entry of an alias under `models:`: this provider's model of that name."""

    provider: str
    model: str


class Settings(msgspec.Struct, frozen=True):
    """redeo.yaml, validated, every default filled in."""

    listen: str = "127.0.0.1:7333"
    workers: int | None = 1  # None: one for each processor
    allow_remote: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    models: Mapping[str, tuple[ModelTarget, ...]] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    routing: Routing = msgspec.field(default_factory=Routing)
    limits: Limits = msgspec.field(default_factory=Limits)
    logging: Logging = msgspec.field(default_factory=Logging)


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that one request needs to know of the configuration; it never changes under the request."""

    generation: int
    settings: Settings
    providers: Mapping[str, ProviderSpec]
    connections: tuple[Connection, ...]  # in the order they are tried
    digest: str  # changes exactly when the connections as listed change

    def connection(self, provider: str) -> Connection | None:
        """The connection to `provider`, if there is one."""
        return next((c for c in self.connections if c.provider == provider), None)

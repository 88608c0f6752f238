"""redeo.yaml: from nodes to Settings, with every fault and its line, not only the first.

Owns what is allowed in the file. What the catalogue makes of `providers:` is for `config.catalogue`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import fields

from config import catalogue
from config.continuing import Way
from config.document import Node
from config.errors import ConfigError, FileFault, InvalidField, shown
from config.model import AnswerModel, Limits, Logging, ModelTarget, Operation, ProviderSpec, Routing, Settings, Timeouts

_TOP: Final = (
    "listen", "workers", "allow_remote", "allowed_hosts", "allowed_origins", "providers", "models", "routing", "limits",
    "logging",
)  # fmt: skip
_PROVIDER: Final = (
    "label", "base_url", "dialect", "credential", "auth", "default_model", "models", "supports_endpoint", "headers",
    "stream_usage", "unsupported", "api_version", "timeouts", "model_timeouts", "context_tokens", "continues",
    "speaks",
)  # fmt: skip
_OWN_CLOCKS: Final = ("connect", "first_byte", "idle", "total")  # what one connection may have of its own
_LEVELS: Final = ("debug", "info", "warning", "error")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_AUTH: Final = re.compile(r"bearer|none|aws|(header|query):[A-Za-z0-9_-]{1,64}")


class _Walk(msgspec.Struct):
    """Collects faults while values are taken."""

    name: str
    faults: list[FileFault] = msgspec.field(default_factory=list)

    def fault(self, line: int, message: str) -> None:
        self.faults.append(FileFault(self.name, line, message))

    def mapping(self, node: Node, where: str, known: Iterable[str] | None = None) -> dict[str, Node]:
        """The entries of a mapping; unknown keys are faults that name the nearest known one."""
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self.fault(node.line, f"{where} must be a mapping of keys to values")
            return {}
        allowed = None if known is None else list(known)
        found: dict[str, Node] = {}
        for key, (line, value) in node.value.items():
            if allowed is not None and key not in allowed:
                self.fault(line, f"unknown key `{shown(key)}` in {where}{_nearest(key, allowed)}")
            else:
                found[key] = Node(value.value, line)
        return found

    def take(self, node: Node, where: str, test: Callable[[Any], bool], allowed: str, default: Any) -> Any:
        """The value if it passes `test`, else a fault and the default."""
        if test(node.value):
            return node.value
        self.fault(node.line, f"`{where}` must be {allowed}")
        return default

    def texts(self, node: Node, where: str) -> tuple[str, ...]:
        """A list of texts."""
        if not isinstance(node.value, list) or not all(isinstance(n.value, str) and n.value for n in node.value):
            self.fault(node.line, f"`{where}` must be a list of texts")
            return ()
        return tuple(n.value for n in node.value)


def _nearest(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, 1)
    return f"; did you mean `{close[0]}`?" if close else f"; allowed are {', '.join(allowed)}"


def read(root: Node | None, name: str) -> tuple[Settings, Mapping[str, ProviderSpec]]:
    """Settings and providers of a parsed redeo.yaml (None: an empty or missing one). Raises ConfigError."""
    walk = _Walk(name)
    top = walk.mapping(root, "the file", _TOP) if root is not None else {}
    providers = _providers(walk, top.get("providers"))
    settings = Settings(
        listen=_listen(walk, top.get("listen")),
        workers=_workers(walk, top.get("workers")),
        allow_remote=_flag(walk, top.get("allow_remote"), "allow_remote", False),
        allowed_hosts=walk.texts(top["allowed_hosts"], "allowed_hosts") if "allowed_hosts" in top else (),
        allowed_origins=_origins(walk, top.get("allowed_origins")),
        models=_models(walk, top.get("models"), providers),
        routing=_routing(walk, top.get("routing")),
        limits=_limits(walk, top.get("limits")),
        logging=_logging(walk, top.get("logging")),
    )
    _check_remote(walk, settings, top.get("listen"))
    if walk.faults:
        raise ConfigError(sorted(walk.faults, key=lambda f: f.line))
    return settings, providers


def _whole(walk: _Walk, node: Node | None, where: str, low: int, high: int, default: int) -> int:
    if node is None:
        return default
    allowed = f"a whole number from {low} to {high}"
    value = walk.take(node, where, lambda v: type(v) is int and low <= v <= high, allowed, default)
    return int(value)


def _workers(walk: _Walk, node: Node | None) -> int | None:
    if node is None:
        return Settings().workers
    allowed = "a whole number from 1 to 64, or auto"
    value = walk.take(node, "workers", lambda v: v == "auto" or (type(v) is int and 1 <= v <= 64), allowed, 1)
    return None if value == "auto" else int(value)


def _seconds(walk: _Walk, node: Node, where: str, default: float) -> float:
    def good(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 86_400

    return float(walk.take(node, where, good, "a number of seconds above 0, at most 86400", default))


def _flag(walk: _Walk, node: Node | None, where: str, default: bool) -> bool:
    if node is None:
        return default
    return bool(walk.take(node, where, lambda v: isinstance(v, bool), "true or false", default))


def _listen(walk: _Walk, node: Node | None) -> str:
    default = Settings().listen
    if node is None:
        return default
    what = "HOST:PORT (such as 127.0.0.1:7333 or [::1]:7333) or unix:/path"
    return str(walk.take(node, "listen", lambda v: isinstance(v, str) and is_listen(v), what, default))


def is_listen(text: str) -> bool:
    """Whether a text is a listen address."""
    if text.startswith("unix:"):
        return text.startswith("unix:/")
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return False
    if host.startswith("[") and host.endswith("]"):
        return _is_ipv6(host[1:-1])
    return bool(re.fullmatch(r"[A-Za-z0-9_.-]+", host))


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


def _check_remote(walk: _Walk, settings: Settings, node: Node | None) -> None:
    if node is None or settings.allow_remote or settings.listen.startswith("unix:"):
        return
    host = settings.listen.rpartition(":")[0].strip("[]")
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        walk.fault(node.line, "this address can be reached from other machines; set `allow_remote: true` if meant")


def _origins(walk: _Walk, node: Node | None) -> tuple[str, ...]:
    if node is None:
        return ()
    found = walk.texts(node, "allowed_origins")
    for line, item in zip((n.line for n in node.value) if found else (), found, strict=True):
        if not _is_url(item) or urlsplit(item).path not in ("", "/") or urlsplit(item).fragment:
            walk.fault(line, f"`{shown(item)}` is no origin; one looks like http://localhost:3000")
    return found


def _models(walk: _Walk, node: Node | None, providers: Mapping[str, ProviderSpec]) -> Mapping[str, Any]:
    found: dict[str, tuple[ModelTarget, ...]] = {}
    for alias, targets in (walk.mapping(node, "`models`") if node is not None else {}).items():
        if alias == "auto" or not alias:
            walk.fault(targets.line, "the name `auto` has a meaning of its own; choose another")
            continue
        items = walk.texts(targets, f"models.{alias}")
        if not items and isinstance(targets.value, list) and not targets.value:
            walk.fault(targets.line, f"`models.{alias}` names no model")
        lines = [item.line for item in targets.value] if items else []
        parsed = [_target(walk, line, item, providers) for line, item in zip(lines, items, strict=True)]
        found[alias] = tuple(target for target in parsed if target is not None)
    return MappingProxyType(found)


def _target(walk: _Walk, line: int, text: str, providers: Mapping[str, ProviderSpec]) -> ModelTarget | None:
    provider, slash, model = text.partition("/")
    if not slash or not model:
        walk.fault(line, f"`{shown(text)}` must be provider/model")
        return None
    if provider not in providers:
        walk.fault(line, f"unknown provider `{shown(provider)}`{_nearest(provider, sorted(providers))[:200]}")
        return None
    return ModelTarget(provider, model)


def _routing(walk: _Walk, node: Node | None) -> Routing:
    plain = Routing()
    if node is None:
        return plain
    entries = walk.mapping(node, "`routing`", _names(Routing))
    clocks = _clocks(walk, entries["timeouts"], "routing.timeouts", _names(Timeouts)) if "timeouts" in entries else {}
    hedge = entries.get("hedge_after")
    return Routing(
        timeouts=Timeouts(**clocks),
        hedge_after=_seconds(walk, hedge, "routing.hedge_after", 1.0) if hedge and hedge.value is not None else None,
        min_chars_per_second=_pace(walk, entries.get("min_chars_per_second")),
        rescue=_flag(walk, entries.get("rescue"), "routing.rescue", plain.rescue),
        max_attempts=_whole(walk, entries.get("max_attempts"), "routing.max_attempts", 1, 100, plain.max_attempts),
        ask_usage=_flag(walk, entries.get("ask_usage"), "routing.ask_usage", plain.ask_usage),
        answer_model=_answer_model(walk, entries.get("answer_model"), plain.answer_model),
    )


def _clocks(walk: _Walk, node: Node, where: str, known: Iterable[str]) -> dict[str, float]:
    """Seconds by the name of their clock."""
    times = walk.mapping(node, f"`{where}`", known)
    return {key: _seconds(walk, value, f"{where}.{key}", getattr(Timeouts(), key)) for key, value in times.items()}


def _pace(walk: _Walk, node: Node | None) -> float:
    if node is None:
        return 0.0

    def good(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10_000

    return float(walk.take(node, "routing.min_chars_per_second", good, "a number from 0 (off) to 10000", 0.0))


def _answer_model(walk: _Walk, node: Node | None, default: AnswerModel) -> AnswerModel:
    if node is None:
        return default
    names = [name.value for name in AnswerModel]
    what = "one of " + ", ".join(names)
    return AnswerModel(walk.take(node, "routing.answer_model", lambda v: v in names, what, default.value))


def _names(kind: type[msgspec.Struct]) -> list[str]:
    return [f.name for f in fields(kind)]


def _limits(walk: _Walk, node: Node | None) -> Limits:
    plain = Limits()
    if node is None:
        return plain
    taken: dict[str, Any] = {}
    for key, value in walk.mapping(node, "`limits`", _names(Limits)).items():
        default = getattr(plain, key)
        if isinstance(default, float):
            taken[key] = _seconds(walk, value, f"limits.{key}", default)
        else:
            low = 0 if key == "max_queue" else 1
            taken[key] = _whole(walk, value, f"limits.{key}", low, 1 << 34, default)
    return Limits(**taken)


def _logging(walk: _Walk, node: Node | None) -> Logging:
    if node is None:
        return Logging()
    entries = walk.mapping(node, "`logging`", ("level",))
    if "level" not in entries:
        return Logging()
    what = "one of " + ", ".join(_LEVELS)
    return Logging(str(walk.take(entries["level"], "logging.level", lambda v: v in _LEVELS, what, "info")))


def _providers(walk: _Walk, node: Node | None) -> Mapping[str, ProviderSpec]:
    rows = catalogue.load()
    overrides: dict[str, dict[str, object]] = {}
    lines: dict[str, int] = {}
    for ident, entry in (walk.mapping(node, "`providers`") if node is not None else {}).items():
        if not _ID.fullmatch(ident):
            walk.fault(entry.line, f"`{shown(ident)}` is no provider id; use lower-case letters, digits, - and _")
            continue
        if ident == "catalog":
            walk.fault(entry.line, "`catalog` is a path of the admin API and cannot be a provider id")
            continue
        lines[ident] = entry.line
        overrides[ident] = _override(walk, ident, entry)
        if ident not in rows and "base_url" not in overrides[ident]:
            close = difflib.get_close_matches(ident, rows, 1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            walk.fault(entry.line, f"`{ident}` is not in the catalogue and needs a `base_url`{hint}")
            del overrides[ident]
    try:
        return catalogue.merge(rows, overrides)
    except InvalidField as exc:
        ident = (exc.param or "").removeprefix("providers.").split(".")[0]
        walk.fault(lines.get(ident, 1), exc.message)
        return rows


def _override(walk: _Walk, ident: str, node: Node) -> dict[str, object]:
    taken: dict[str, object] = {}
    for key, value in walk.mapping(node, f"`providers.{ident}`", _PROVIDER).items():
        where = f"providers.{ident}.{key}"
        if key == "models":
            taken[key] = walk.texts(value, where)
        elif key in _READERS:
            taken[key] = _READERS[key](walk, value, where)
        else:
            test, allowed = _TESTS[key]
            good = walk.take(value, where, test, allowed, None)
            if good is not None:
                taken[key] = good
    return taken


def _headers(walk: _Walk, node: Node, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in walk.mapping(node, f"`{where}`").items():
        text = value.value
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not isinstance(text, str) or not text.isprintable():
            walk.fault(value.line, f"`{where}` must map header names to plain texts")
        elif name.lower() in ("authorization", "x-api-key", "api-key", "x-goog-api-key", "host", "content-length"):
            walk.fault(value.line, f"`{where}` cannot hold {name}; keys belong into a connection")
        else:
            found[name] = text
    return found


def _own_clocks(walk: _Walk, node: Node, where: str) -> dict[str, float]:
    return _clocks(walk, node, where, _OWN_CLOCKS)


def _model_clocks(walk: _Walk, node: Node, where: str) -> tuple[tuple[str, dict[str, float]], ...]:
    found = walk.mapping(node, f"`{where}`").items()
    return tuple((pattern, _own_clocks(walk, value, f"{where}.{shown(pattern)}")) for pattern, value in found)


def _contexts(walk: _Walk, node: Node, where: str) -> tuple[tuple[str, int], ...]:
    """One number for all models, or one for each pattern."""
    if not isinstance(node.value, dict):
        return (("*", _whole(walk, node, where, 1, 1 << 30, 1)),)
    found = walk.mapping(node, f"`{where}`").items()
    return tuple((pattern, _whole(walk, size, f"{where}.{shown(pattern)}", 1, 1 << 30, 1)) for pattern, size in found)


def _speaks(walk: _Walk, node: Node, where: str) -> tuple[str, ...]:
    named = walk.texts(node, where)
    lines = [item.line for item in node.value] if named else ()
    for line, name in zip(lines, named, strict=True):
        if name not in _OPERATIONS:
            walk.fault(line, f"`{shown(name)}` is no operation{_nearest(name, list(_OPERATIONS))}")
    return tuple(name for name in named if name in _OPERATIONS)


_OPERATIONS: Final = tuple(operation.value for operation in Operation)
_READERS: Final[dict[str, Callable[[_Walk, Node, str], object]]] = {
    "headers": _headers,
    "timeouts": _own_clocks,
    "model_timeouts": _model_clocks,
    "context_tokens": _contexts,
    "speaks": _speaks,
}


def _is_url(value: object) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[\x21-\x7e]+", value):
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and not parts.query
    except ValueError:
        return False


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda v: v in allowed), "one of " + ", ".join(allowed)


_TEXT: Final = (lambda v: isinstance(v, str) and bool(v) and v.isprintable(), "a text")
_TESTS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "label": (lambda v: isinstance(v, str) and 0 < len(v) <= 64 and v.isprintable(), "a text of at most 64 characters"),
    "base_url": (_is_url, "an http or https URL without user name and query"),
    "dialect": _one_of(*catalogue.DIALECTS),
    "credential": _one_of("api_key", "api_key_optional", "none"),
    "auth": (lambda v: isinstance(v, str) and bool(_AUTH.fullmatch(v)), "bearer, header:NAME, query:NAME, aws or none"),
    "default_model": _TEXT,
    "supports_endpoint": (lambda v: isinstance(v, bool), "true or false"),
    "stream_usage": _one_of("asked", "always", "never"),
    "unsupported": _one_of("drop", "error"),
    "continues": _one_of("no", *Way),
    "api_version": (lambda v: isinstance(v, str) and bool(re.fullmatch(r"[\w.-]{1,40}", v)), "a version in quotes"),
}

"""connections.yaml: the only reader and writer. Keys are sealed in it; people may edit it, their comments stay.

Owns the rules for the values of a connection. When the file is read and what then changes: `config.store`.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from config import endpoints
from config.document import MAX_BYTES, Node, parse
from config.errors import ConfigError, FileFault, InvalidField, SealError, shown
from config.model import Connection, Credential, ProviderSpec, Secret
from config.sealing import PREFIX, Keyring, binding

_MAX_ACCOUNT: Final = 16_384  # of the key file of a service account
_TOKEN_URI: Final = re.compile(r"https://[a-z0-9.-]+\.googleapis\.com/[\w/.-]*|http://127\.0\.0\.1:\d+/[\w/.-]*")
_FIELDS: Final = ("label", "priority", "api_key", "endpoint", "updated_at")
_KEY: Final = re.compile(r"[\x21-\x7e]{8,512}")
_REFERENCE: Final = re.compile(r"\$\{(env|file):([^}]+)\}")
MAX_PRIORITY: Final = 1000
FIRST_PRIORITY: Final = 500


class Record(msgspec.Struct, frozen=True):
    """One entry of the file as it stands there; `api_key` may be sealed, a reference or plain."""

    provider: str
    label: str | None
    priority: int
    api_key: str | None
    endpoint: str | None
    updated_at: str
    line: int

    def __repr__(self) -> str:
        return f"Record({shown(self.provider)}, line {self.line})"


def read_records(text: bytes, name: str) -> list[Record]:
    """The entries in the order of the file. Raises ConfigError with every fault."""
    root = parse(text, name)
    if root is None:
        return []
    faults: list[FileFault] = []
    top = _entries(root, name, "the file", ("connections",), faults)
    listed = _entries(top["connections"], name, "`connections`", None, faults) if "connections" in top else {}
    records = [_record(provider, node, name, faults) for provider, node in listed.items()]
    if faults:
        raise ConfigError(sorted(faults, key=lambda f: f.line))
    return records


def _entries(
    node: Node, name: str, where: str, known: tuple[str, ...] | None, faults: list[FileFault]
) -> dict[str, Node]:
    if node.value is None:
        return {}
    if not isinstance(node.value, dict):
        faults.append(FileFault(name, node.line, f"{where} must be a mapping"))
        return {}
    for key, (line, _) in node.value.items():
        if known is not None and key not in known:
            faults.append(
                FileFault(name, line, f"unknown key `{shown(key)}` in {where}; allowed are {', '.join(known)}")
            )
    return {key: Node(value.value, line) for key, (line, value) in node.value.items()}


def _record(provider: str, node: Node, name: str, faults: list[FileFault]) -> Record:
    found = _entries(node, name, f"`{shown(provider)}`", _FIELDS, faults)
    values: dict[str, Any] = {key: value.value for key, value in found.items()}

    def fault(key: str, message: str) -> None:
        faults.append(FileFault(name, found[key].line if key in found else node.line, message))

    priority, label = FIRST_PRIORITY, None
    try:
        priority = checked_priority(values.get("priority", FIRST_PRIORITY))
    except InvalidField as exc:
        fault("priority", exc.message)
    try:
        label = None if values.get("label") is None else checked_label(values["label"])
    except InvalidField as exc:
        fault("label", exc.message)
    for key in ("api_key", "endpoint", "updated_at"):
        if values.get(key) is not None and not isinstance(values[key], str):
            fault(key, f"`{key}` must be a text; put it in quotes")
            values[key] = None
    updated = values.get("updated_at") or ""
    return Record(provider, label, priority, values.get("api_key"), values.get("endpoint"), updated, node.line)


def checked_priority(value: object) -> int:
    """A whole number from 0 to 1000. Raises InvalidField."""
    if type(value) is not int or not 0 <= value <= MAX_PRIORITY:
        raise InvalidField(
            "priority", "invalid_priority", f"`priority` must be a whole number from 0 to {MAX_PRIORITY}"
        )
    return value


def checked_label(value: object) -> str:
    """1 to 64 printable characters of any script. Raises InvalidField."""
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable() or not value.strip():
        raise InvalidField("label", "invalid_label", "`label` must be 1 to 64 printable characters")
    return value


def checked_key(value: object) -> str:
    """8 to 512 printable ASCII characters without blanks, or a reference. Raises InvalidField; never quotes it."""
    if not isinstance(value, str) or not _KEY.fullmatch(value) or value.startswith(PREFIX):
        raise InvalidField(
            "api_key", "invalid_api_key", "`api_key` must be 8 to 512 printable ASCII characters without blanks"
        )
    return value


def checked_credential(value: object, spec: ProviderSpec) -> str:
    """The key, or for who signs in with one the key file of a service account, on one line. Raises InvalidField."""
    if spec.credential is not Credential.SERVICE_ACCOUNT:
        return checked_key(value)
    account = _json_object(value) if isinstance(value, str) and len(value) <= _MAX_ACCOUNT else None
    texts = ("client_email", "private_key", "token_uri")
    if account is None or not all(isinstance(account.get(name), str) for name in texts):
        message = "`api_key` must be the JSON key file of a service account, with client_email, private_key, token_uri"
        raise InvalidField("api_key", "invalid_api_key", message)
    if not _TOKEN_URI.fullmatch(account["token_uri"]):
        raise InvalidField("api_key", "invalid_api_key", "the `token_uri` of the service account is not Google's")
    return json.dumps(account, separators=(",", ":"))


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def next_priority(records: list[Record]) -> int:
    """For a connection without one: 500 for the first, then 10 behind the last."""
    if not records:
        return FIRST_PRIORITY
    return min(MAX_PRIORITY, max(r.priority for r in records) + 10)


def now() -> str:
    """This moment as `updated_at` writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def resolve(
    records: list[Record],
    providers: Mapping[str, ProviderSpec],
    keyring: Keyring | None,
    env: Mapping[str, str],
    name: str,
) -> tuple[Connection, ...]:
    """Connections in the order they are tried. Raises ConfigError for providers that nobody knows."""
    unknown = [
        FileFault(name, r.line, f"unknown provider `{shown(r.provider)}`; `redeo providers catalog` lists them all")
        for r in records
        if r.provider not in providers
    ]
    if unknown:
        raise ConfigError(unknown)
    found = [_connection(r, providers[r.provider], keyring, env) for r in records]
    return tuple(sorted(found, key=lambda c: c.priority))  # stable: equal ones oldest first


def _connection(record: Record, spec: ProviderSpec, keyring: Keyring | None, env: Mapping[str, str]) -> Connection:
    secret, fault = _secret(record, spec, keyring, env)
    base = ""
    try:
        endpoint = endpoints.checked(record.endpoint, spec) if record.endpoint is not None else None
        base = endpoints.base_url(endpoint, spec)
    except InvalidField as exc:
        fault = f"{record.provider}: {exc.message}"
    if spec.unsupported is not None:
        fault = f"{record.provider}: {spec.unsupported}"
    return Connection(
        record.provider, record.label or spec.label, record.priority, secret, record.endpoint, record.updated_at, spec,
        base, fault,
    )  # fmt: skip


def _secret(
    record: Record, spec: ProviderSpec, keyring: Keyring | None, env: Mapping[str, str]
) -> tuple[Secret | None, str | None]:
    """The credential, or why there is none."""
    who, text = record.provider, record.api_key
    if text is None:
        wanted = spec.needs_key
        return None, f"{who}: it has no API key; set one with `redeo providers add {who}`" if wanted else None
    try:
        reference = _REFERENCE.fullmatch(text)
        if reference is not None:
            text = _referred(reference[1], reference[2], env)
        elif text.startswith(PREFIX):
            if keyring is None:
                raise SealError("there is no master key")
            text = keyring.open(text, who, binding(record.endpoint))
        return Secret(checked_credential(text, spec)), None
    except SealError as exc:
        return None, f"{who}: its sealed key cannot be opened: {exc}; set it anew with `redeo providers add {who}`"
    except InvalidField as exc:
        return None, f"{who}: {exc.message}"
    except LookupError as exc:
        return None, f"{who}: {exc.args[0]}"


def _referred(kind: str, name: str, env: Mapping[str, str]) -> str:
    if kind == "env":
        value = env.get(name)
        if not value:
            raise LookupError(f"the environment variable {name} is not set")
        return value.strip()
    try:
        with os.fdopen(
            os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb"
        ) as file:  # a pipe is not awaited
            return file.read(_MAX_ACCOUNT).decode("ascii", "replace").strip()
    except OSError as exc:
        raise LookupError(f"the file {name} cannot be read: {os.strerror(exc.errno or 0)}") from None
    except ValueError:
        raise LookupError("the name of the file cannot be one") from None


def is_plain(record: Record) -> bool:
    """Whether a key stands in the file as it is."""
    text = record.api_key
    return text is not None and not text.startswith(PREFIX) and not _REFERENCE.fullmatch(text)


def edited(text: bytes, provider: str, values: Mapping[str, Any] | None, name: str) -> bytes:
    """The file with one entry changed (None: removed); comments, order and quotes of the rest stay.

    Raises ConfigError for what can be read and not be edited, such as a tab behind a value.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    decoded = text.decode("utf-8-sig")
    try:
        document = yaml.load(decoded) if decoded.strip() else None
    except MarkedYAMLError as exc:  # whose own text quotes the line, and the key in it
        line = exc.problem_mark.line + 1 if exc.problem_mark is not None else 1
        advice = "programs cannot edit this line; write it more plainly, with blanks instead of tabs"
        raise ConfigError([FileFault(name, line, advice)]) from None
    out = io.BytesIO()
    if document is None:  # nothing but comments
        document = {}
        out.write(decoded.encode() if not decoded or decoded.endswith("\n") else f"{decoded}\n".encode())
    if document.get("connections") is None:
        document["connections"] = {}
    listed = document["connections"]
    if values is None:
        if provider in listed and not listed.fa.flow_style():
            return _without(decoded, document, provider)
        listed.pop(provider, None)
    else:
        if listed.get(provider) is None:
            listed[provider] = {}
        entry = listed[provider]
        for key, value in values.items():
            new = DoubleQuotedScalarString(value) if isinstance(value, str) else value
            if key in entry or not hasattr(entry, "ca"):
                entry[key] = new
            else:  # not behind the last key: the comment there is about what follows
                entry.insert(max(0, len(entry) - 1), key, new)
    yaml.dump(document, out)
    return _readable(out.getvalue(), name)


def _readable(text: bytes, name: str) -> bytes:
    """The edited text, where it can be read again: ruamel (0.18) writes a comment behind an explicit key (`? `) so that
    nobody can. Raises ConfigError."""
    try:
        parse(text, name)
    except ConfigError as exc:
        if len(text) > MAX_BYTES:
            raise
        advice = "programs cannot edit what stands here or above; write it plainly, without `? ` in front of a key"
        raise ConfigError([FileFault(name, exc.faults[0].line, advice)]) from None
    return text


def _without(text: str, document: Any, provider: str) -> bytes:
    """The lines without those of one entry; comments behind it, no deeper than its name, are about what follows."""
    listed = document["connections"]
    start, column = listed.lc.data[provider][:2]
    lines = text.splitlines(keepends=True)
    begins = [at[0] for mapping in (document, listed) for at in mapping.lc.data.values()]
    end = min((line for line in begins if line > start), default=len(lines))
    while end > start + 1:
        last = lines[end - 1]
        if last.strip() and not (last.lstrip().startswith("#") and len(last) - len(last.lstrip()) <= column):
            break
        end -= 1
    return "".join(lines[:start] + lines[end:]).encode()

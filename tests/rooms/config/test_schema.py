"""redeo.yaml: what every setting may be, said by line where it is not; and nothing but a ConfigError for the rest."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import catalogue
from config.continuing import Continues, Way
from config.document import parse
from config.errors import ConfigError
from config.model import AnswerModel, AuthScheme, Credential, ModelTarget, Operation, ProviderSpec, Settings
from config.schema import is_listen, read
from tests.support.canary import Canaries

ROWS = catalogue.load()
SECONDS = "a number of seconds above 0, at most 86400"


def taken(text: str) -> Settings:
    return read(parse(text.encode(), "f"), "f")[0]


def provider(name: str, text: str) -> ProviderSpec:
    return read(parse(text.encode(), "f"), "f")[1][name]


def faults(text: str) -> list[tuple[int, str]]:
    """Line and message of every fault of a file."""
    with pytest.raises(ConfigError) as caught:
        taken(text)
    assert {fault.file for fault in caught.value.faults} == {"f"}
    return [(fault.line, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize("text", ["", "# nothing\n", "listen: 127.0.0.1:7333\n", "routing: {}\nlimits:\nlogging: {}\n"])
def test_what_is_left_out_has_its_default(text: str) -> None:
    assert taken(text) == Settings()
    assert read(parse(text.encode(), "f"), "f")[1] == ROWS


def test_as_many_workers_as_there_are_processors_is_no_number_yet() -> None:
    assert taken("workers: auto").workers is None


def test_every_setting_is_taken() -> None:
    text = """
listen: "[::1]:80"
workers: 4
allowed_hosts: [redeo.lan]
allowed_origins: ["http://localhost:3000", "https://app.example/"]
models: {smart: [anthropic/claude-x, openrouter/anthropic/claude-x], "gpt/x": [openai/gpt]}
routing:
  timeouts: {connect: 1, first_byte: 2.5, idle: 3, total: 86400, before_answer: 0.1}
  max_attempts: 1
  ask_usage: false
  answer_model: asked
limits: {max_body_bytes: 1, max_in_flight: 2, max_queue: 0, queue_seconds: 0.5, drain_seconds: 7}
logging: {level: debug}
"""
    found = taken(text)
    assert (found.listen, found.workers, found.allowed_hosts) == ("[::1]:80", 4, ("redeo.lan",))
    assert found.allowed_origins == ("http://localhost:3000", "https://app.example/")
    assert found.models["smart"] == (
        ModelTarget("anthropic", "claude-x"),
        ModelTarget("openrouter", "anthropic/claude-x"),
    )
    assert list(found.models) == ["smart", "gpt/x"]
    times, limits = found.routing.timeouts, found.limits
    assert (times.connect, times.first_byte, times.idle, times.total, times.before_answer) == (1, 2.5, 3, 86400, 0.1)
    assert (found.routing.max_attempts, found.routing.ask_usage, found.logging.level) == (1, False, "debug")
    assert found.routing.answer_model is AnswerModel.ASKED
    assert (limits.max_body_bytes, limits.max_in_flight, limits.max_queue) == (1, 2, 0)
    assert (limits.queue_seconds, limits.drain_seconds) == (0.5, 7.0)


def test_a_provider_of_ones_own_is_taken() -> None:
    text = """
providers:
  lab-vllm:
    label: "Lab vLLM"
    base_url: http://gpu.lab:8000/v1/
    dialect: openai
    credential: none
    auth: header:X-Lab
    default_model: llama
    models: [llama, qwen]
    supports_endpoint: true
    headers: {X-Team: blue}
    stream_usage: never
    continues: final_message
"""
    found = provider("lab-vllm", text)
    assert found.speaks[Operation.CHAT].continues == Continues(Way.FINAL_MESSAGE)
    assert (found.label, found.base_url, found.dialect) == ("Lab vLLM", "http://gpu.lab:8000/v1", "openai")
    assert (found.credential, found.auth.scheme) == (Credential.NONE, AuthScheme.HEADER)
    assert found.auth.name.lower() == "x-lab"
    assert (found.default_model, found.models) == ("llama", ("llama", "qwen"))
    assert (found.supports_endpoint, dict(found.headers), found.quirks.stream_usage) == (
        True,
        {"X-Team": "blue"},
        "never",
    )
    assert found.from_file
    assert not provider("openai", text).from_file


LISTEN = "`listen` must be HOST:PORT (such as 127.0.0.1:7333 or [::1]:7333) or unix:/path"
WORKERS = "`workers` must be a whole number from 1 to 64, or auto"
REMOTE = "this address can be reached from other machines; set `allow_remote: true` if meant"
ORIGIN = " is no origin; one looks like http://localhost:3000"
URL = "`providers.openai.base_url` must be an http or https URL without user name and query"
NO_SECONDS = f"`routing.timeouts.idle` must be {SECONDS}"
NO_HEADERS = "`providers.openai.headers` "
WRONG: list[tuple[str, str, list[str]]] = [  # what is said, of what, where it holds which values
    (LISTEN, "listen: @", ["7333", "localhost", "':80'", "'::1:80'"]),
    (LISTEN, "listen: @", ["127.0.0.1:65536", "'127.0.0.1:'", "'[]:80'", "[x]"]),
    (LISTEN, "listen: @", ["unix:redeo.sock", "1:x", "'a b:80'"]),
    (LISTEN, "listen: @", ["127.0.0.1:²", "127.0.0.1:-1", "null", f"'x:{'1' * 5000}'"]),
    (LISTEN, "listen: @", ["'[127.0.0.1]:80'", "'[::1:80'", "'::1]:80'"]),
    (LISTEN, "listen: @", ["'[x]:80'", "80", "'a\\n:80'", "'http://a:80'"]),
    (REMOTE, "listen: @", ["0.0.0.0:80", "'[::]:80'", "192.168.1.2:80", "redeo.lan:80", "localhost.evil.example:80"]),
    (WORKERS, "workers: @", ["Auto", "0", "65", "1.0", "true", "'1'", "null", "[]"]),
    ("`allow_remote` must be true or false", "allow_remote: @", ["1", "'true'", "null"]),
    ("`allowed_hosts` must be a list of texts", "allowed_hosts: @", ["x", "[1]", "[[x]]", "['']", "null", "{x: 1}"]),
    ("`x.example`" + ORIGIN, "allowed_origins: [@]", ["x.example"]),
    ("`https://x.example/a`" + ORIGIN, "allowed_origins: ['@']", ["https://x.example/a"]),
    ("`https://x.example#a`" + ORIGIN, "allowed_origins: ['@']", ["https://x.example#a"]),
    ("`http://[`" + ORIGIN, "allowed_origins: ['@']", ["http://["]),
    ("`models` must be a mapping of keys to values", "models: @", ["[x]", "x", "1"]),
    ("the name `auto` has a meaning of its own; choose another", "models: {auto: [@]}", ["openai/x"]),
    ("`models.a` must be a list of texts", "models: {a: @}", ["openai/x", "[1]", "null", "{x: z}"]),
    ("`models.a` names no model", "models: {a: @}", ["[]"]),
    ("`gpt` must be provider/model", "models: {a: [@]}", ["gpt"]),
    ("`openai/` must be provider/model", "models: {a: [@]}", ["openai/"]),
    ("unknown provider `opena`; did you mean `openai`?", "models: {a: [openai/x, @]}", ["opena/x"]),
    ("`routing` must be a mapping of keys to values", "routing: @", ["5", "[]", "x"]),
    (NO_SECONDS, "routing: {timeouts: {idle: @}}", ["0", "-1", "86401", "true", "null"]),
    (NO_SECONDS, "routing: {timeouts: {idle: @}}", ["'5'", "[]", "9" * 400 + ".0"]),
    ("`routing.max_attempts` must be a whole number from 1 to 100", "routing: {max_attempts: @}", ["0", "101", "1.5"]),
    ("`routing.ask_usage` must be true or false", "routing: {ask_usage: @}", ["1", "null"]),
    ("`routing.answer_model` must be one of provider, asked", "routing: {answer_model: @}", ["mine", "[asked]"]),
    ("`limits.max_queue` must be a whole number from 0 to 17179869184", "limits: {max_queue: @}", ["-1", "true"]),
    ("`limits.max_in_flight` must be a whole number from 1 to ", "limits: {max_in_flight: @}", ["0", "17179869185"]),
    ("`limits.max_body_bytes` must be a whole number from 1 to ", "limits: {max_body_bytes: @}", ["0", "1.5"]),
    (f"`limits.drain_seconds` must be {SECONDS}", "limits: {drain_seconds: @}", ["0", "86401", "x"]),
    ("`logging.level` must be one of debug, info, warning, error", "logging: {level: @}", ["loud", "[info]"]),
    ("`logging.level` must be one of debug, info, warning, error", "logging: {level: @}", ["null", "1"]),
    ("`Lab` is no provider id; use lower-case letters, digits, - and _", "providers: {@: {}}", ["Lab"]),
    ("`catalog` is a path of the admin API and cannot be a provider id", "providers: {@: {}}", ["catalog"]),
    ("`lab` is not in the catalogue and needs a `base_url`", "providers: {lab: @}", ["{}", "null", "{label: x}"]),
    ("`opena` is not in the catalogue and needs a `base_url`; did you mean `openai`?", "providers: {opena: @}", ["{}"]),
    (URL, "providers: {openai: {base_url: @}}", ["x", "'ftp://x.example'"]),
    (URL, "providers: {openai: {base_url: @}}", ["'https://u:p@x.example'", "'https://'", "5"]),
    (URL, "providers: {openai: {base_url: @}}", ["'https://x.example?a=1'", "'https://['", "'https://x:99999'", "[x]"]),
    (URL, "providers: {openai: {base_url: @}}", ["'https://x.example:0'", "'https://x y'", "null", "'https://x:y'"]),
    ("`providers.openai.label` must be a text", "providers: {openai: {label: @}}", ["''", "x" * 65, "1", '"\\a"']),
    ("`providers.openai.dialect` must be one of openai, ", "providers: {openai: {dialect: @}}", ["grpc", "[]"]),
    ("`providers.openai.credential` must be one of api_key", "providers: {openai: {credential: @}}", ["oauth", "null"]),
    ("`providers.openai.auth` must be bearer,", "providers: {openai: {auth: @}}", ["basic"]),
    ("`providers.openai.auth` must be bearer,", "providers: {openai: {auth: @}}", ["'header:'", '"header:a\\nb"']),
    ("`providers.openai.default_model` must be a text", "providers: {openai: {default_model: @}}", ["''", "1", "null"]),
    ("`providers.openai.models` must be a list of texts", "providers: {openai: {models: @}}", ["x", "[1]"]),
    ("`providers.openai.supports_endpoint` must be true", "providers: {openai: {supports_endpoint: @}}", ["1"]),
    ("`providers.openai.stream_usage` must be one of", "providers: {openai: {stream_usage: @}}", ["true", "often"]),
    ("`providers.openai.continues` must be one of no,", "providers: {openai: {continues: @}}", ["true", "vllm", "[a]"]),
    (NO_HEADERS + "must be a mapping", "providers: {openai: {headers: @}}", ["[x]", "x"]),
    (NO_HEADERS + "must map header names", "providers: {openai: {headers: @}}", ['{X-A: "a\\r\\nb"}']),
    (NO_HEADERS + "must map header names", "providers: {openai: {headers: @}}", ["{X A: x}", "{a: 1}"]),
    (NO_HEADERS + "cannot hold Authorization; keys", "providers: {openai: {headers: @}}", ["{Authorization: x}"]),
    (NO_HEADERS + "cannot hold X-API-Key; keys belong", "providers: {openai: {headers: @}}", ["{X-API-Key: x}"]),
    ("the file must be a mapping of keys to values", "@", ["- listen", "listen", "5"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "text"), [(said, form.replace("@", value)) for said, form, values in WRONG for value in values]
)
def test_what_is_refused(said: str, text: str) -> None:
    [(line, message)] = faults(f"\n# first\n{text}\n")
    assert message.startswith(said)
    assert line == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen: x", "unknown key `lisen` in the file; did you mean `listen`?"),
        ("zzz: 1", "unknown key `zzz` in the file; allowed are listen, workers, allow_remote, allowed_hosts, "),
        ("routing: {timeout: {}}", "unknown key `timeout` in `routing`; did you mean `timeouts`?"),
        ("routing: {timeouts: {idl: 1}}", "unknown key `idl` in `routing.timeouts`; did you mean `idle`?"),
        ("limits: {queue: 1}", "unknown key `queue` in `limits`; did you mean `max_queue`?"),
        ("logging: {levels: info}", "unknown key `levels` in `logging`; did you mean `level`?"),
        ("providers: {openai: {baseurl: x}}", "unknown key `baseurl` in `providers.openai`; did you mean `base_url`?"),
        ("providers: {openai: {api_key: x}}", "unknown key `api_key` in `providers.openai`; "),
    ],
)  # fmt: skip
def test_unknown_keys_are_faults_that_name_the_nearest_known_one(text: str, said: str) -> None:
    [(line, message)] = faults(text)
    assert message.startswith(said)
    assert line == 1


def test_every_fault_is_told_with_its_own_line() -> None:
    text = "workers: 0\nmodels:\n  a:\n    - openai/x\n    - gpt\n  b:\n    [openai/x,\n     opena/z]\n"
    text += "providers:\n  lab:\n    label: x\n  openai:\n    lable: x\n    base_url:\n      x\n"
    text += "allowed_origins:\n  - yy\nzz: 1\n"
    assert [line for line, _ in faults(text)] == [1, 5, 8, 10, 13, 14, 17, 18]


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:65535", "[::1]:1", "127.8.8.8:1", "unix:/run/redeo.sock"])
def test_addresses_of_this_machine_are_taken(text: str) -> None:
    assert taken(f"listen: '{text}'").listen == text


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", "redeo.lan:80"])
def test_other_addresses_are_taken_where_that_is_meant(text: str) -> None:
    assert taken(f"listen: '{text}'\nallow_remote: true").listen == text


@given(st.text() | st.text(st.sampled_from("[]:.0189ax%/ux"), max_size=12))
def test_any_text_is_an_address_or_none(text: str) -> None:
    if is_listen(text) and not text.startswith("unix:"):
        host, _, port = text.rpartition(":")
        assert host
        assert 0 <= int(port) <= 65535


# --- and nothing else ever happens

KEYS = st.sampled_from(["listen", "workers", "providers", "models", "routing", "timeouts", "idle", "limits", "headers"])
KEYS |= (
    st.sampled_from(["openai", "lab", "base_url", "auth", "credential", "dialect", "label", "level", "logging"])
    | st.text()
)
LEAVES = st.none() | st.booleans() | st.integers(-5, 10**18) | st.text(max_size=8)
LEAVES |= st.sampled_from(
    ["http://x/v1", "anthropic", "none", "header:x", "openai/x", "lab/x", "127.0.0.1:1", "http://["]
)
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=5), max_leaves=12)


@given(st.dictionaries(KEYS, TREES) | TREES)
def test_no_tree_does_anything_but_settings_or_faults(tree: Any) -> None:
    try:
        settings, providers = read(parse(json.dumps(tree).encode(), "f"), "f")
    except ConfigError as exc:
        said = [fault.message for fault in exc.faults]
    else:
        assert settings.workers is None or 1 <= settings.workers <= 64
        assert set(providers) >= set(ROWS)
        return
    assert said


@pytest.mark.parametrize("lead", ["", "openai/", "http://"])
def test_no_message_holds_a_key_that_was_put_here_by_mistake(canaries: Canaries, lead: str) -> None:
    for form in {form for _, form, _ in WRONG}:
        key = canaries.key("openai")
        for value in (f"{lead}{key}", f"['{lead}{key}']", f"{{'{lead}{key}': ['{lead}{key}']}}"):
            for text in (form.replace("@", value), f"'{lead}{key}': '{key}'"):
                with contextlib.suppress(ConfigError):
                    taken(text)
                    continue
                for _, said in faults(text):
                    canaries.add("log fault", said)
                    assert key[12:20] not in said


def test_speaks_leaves_what_a_server_serves() -> None:
    lab = provider("lab", 'providers:\n  lab: {base_url: "http://h:1/v1", speaks: [chat, embeddings]}\n')
    assert {operation.value for operation in lab.speaks} == {"chat", "embeddings", "models"}


@pytest.mark.parametrize(
    ("name", "said"), [("chatt", "did you mean `chat`?"), ("messages", "nothing that its dialect has")]
)
def test_speaks_names_operations_of_the_dialect(name: str, said: str) -> None:
    found = faults(f'providers:\n  lab:\n    base_url: "http://h:1/v1"\n    speaks: [{name}]\n')
    assert len(found) == 1
    assert said in found[0][1]

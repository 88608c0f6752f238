"""The catalogue: every row is whole and true to its form, leads where the providers say, and can be changed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import catalogue, endpoints
from config.catalogue.__main__ import page
from config.continuing import Way
from config.errors import InvalidField
from config.model import Auth, AuthScheme, Connection, Credential, Operation, ProviderSpec, StreamUsage, join_url

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "config" / "catalogue"
TEXT = (FOLDER / "providers.yaml").read_text()
RAW: dict[str, dict[str, Any]] = yaml.load(TEXT, Loader=yaml.CSafeLoader)
ROWS = catalogue.load()

WANTED = [
    "openai", "anthropic", "google", "azure-openai", "bedrock", "vertex", "openrouter", "mistral", "groq", "xai",
    "deepseek", "cohere", "together", "fireworks", "deepinfra", "cerebras", "perplexity", "huggingface", "nvidia",
    "moonshot", "zai", "qwen", "sambanova", "novita", "hyperbolic", "nebius", "siliconflow", "ai21", "github-models",
    "vercel-ai-gateway", "ollama", "lmstudio", "vllm", "llamacpp", "azure-deployments", "voyage",
]  # fmt: skip
ROUTE = {"path", "auth", "stream", "only", "adds", "renames", "continues"}
LOCAL = {"ollama", "lmstudio", "vllm", "llamacpp"}
NEEDED = {"label", "credential", "dialect", "auth", "speaks", "default_model", "models", "env", "docs"}
MAY = {
    "supports_endpoint",
    "base_url",
    "endpoint_suffix",
    "endpoint_hint",
    "headers",
    "quirks",
    "unsupported",
    "api_version",
}


def connected(spec: ProviderSpec, endpoint: str | None = None) -> Connection:
    """A connection to `spec`, with its hint for an endpoint where it needs one."""
    if endpoint is None and spec.base_url is None:
        endpoint = spec.endpoint_hint
    base = endpoints.base_url(endpoints.checked(endpoint, spec) if endpoint else None, spec)
    return Connection(spec.id, spec.label, 500, None, endpoint, "", spec, base)


def changed(provider: str, **entry: object) -> ProviderSpec:
    return catalogue.merge(ROWS, {provider: entry})[provider]


@pytest.fixture(params=sorted(RAW))
def row(request: pytest.FixtureRequest) -> dict[str, Any]:
    return RAW[request.param]


@pytest.fixture(params=sorted(RAW))
def spec(request: pytest.FixtureRequest) -> ProviderSpec:
    return ROWS[request.param]


# --- the form of the file


def test_the_wanted_providers_stand_there_once_each_and_in_order() -> None:
    ids = re.findall(r"^([^\s#][^:]*):", TEXT, re.MULTILINE)
    assert ids == sorted(WANTED)
    assert list(ROWS) == ids


def test_a_row_has_the_fields_it_needs_and_none_that_nobody_reads(row: dict[str, Any]) -> None:
    assert set(row) >= NEEDED
    assert set(row) <= NEEDED | MAY
    assert set(row.get("quirks", {})) <= {
        "stream_usage",
        "any_model",
        "model_prefix",
        "reasoning_back",
        "cache_marks",
        "call_id_length",
        "rejects",
    }
    for route in row["speaks"].values():
        assert isinstance(route, str) or {"path"} <= set(route) <= ROUTE


def test_every_text_is_a_text_and_every_flag_a_flag(row: dict[str, Any]) -> None:
    # YAML makes numbers and dates of what looks like one: `2023-06-01` unquoted is a date.
    texts = [row[k] for k in ("label", "base_url", "endpoint_suffix", "endpoint_hint", "unsupported") if k in row]
    texts += [*row["models"], *row["env"], *row["docs"], *row.get("headers", {}).values()]
    assert all(type(text) is str and text == text.strip() and text.isprintable() and text for text in texts)
    quirks = row.get("quirks", {})
    assert all(type(flag) is bool for flag in (row.get("supports_endpoint", True), quirks.get("any_model", True)))


def test_credentials_and_dialects_are_of_the_closed_sets(spec: ProviderSpec) -> None:
    assert isinstance(spec.credential, Credential)
    assert spec.dialect in catalogue.DIALECTS
    assert isinstance(spec.quirks.stream_usage, StreamUsage)
    assert 0 < len(spec.label) <= 64


def test_each_way_to_send_a_key_is_well_formed(spec: ProviderSpec) -> None:
    for auth in [spec.auth, *(route.auth for route in spec.speaks.values() if route.auth)]:
        named = auth.scheme in (AuthScheme.HEADER, AuthScheme.QUERY)
        assert bool(re.fullmatch(r"[a-z0-9-]+", auth.name)) is named
    assert spec.auth.scheme is not AuthScheme.NONE or spec.credential is Credential.NONE


def test_who_goes_on_from_a_beginning_says_so_in_a_known_way(row: dict[str, Any]) -> None:
    for name, route in row["speaks"].items():
        entry = None if isinstance(route, str) else route.get("continues")
        if entry is None:
            continue
        said = {"as": entry} if isinstance(entry, str) else entry
        assert {"as"} <= set(said) <= {"as", "only", "path", "echoes"}
        assert Way(said["as"]) is Way.PREFILL or name == "chat"
        assert said.get("path", "/").startswith("/")


@pytest.mark.parametrize(
    ("provider", "operation", "able", "unable"),
    [
        ("anthropic", Operation.MESSAGES, "claude-3-7-sonnet-latest claude-opus-4-20250514 claude-sonnet-4-5 "
         "claude-haiku-4-5-20251001 claude-opus-4-1 claude-opus-4-5-20251101",
         "claude-opus-4-6 claude-sonnet-4-6 claude-opus-4-7-20260416 claude-opus-5 claude-sonnet-5-5 claude-mythos-5"),
        ("vertex", Operation.MESSAGES, "claude-sonnet-4@20250514 claude-opus-4-5@20251101", "claude-sonnet-4-6"),
        ("bedrock", Operation.CONVERSE, "us.anthropic.claude-sonnet-4-5-20250929-v1:0 amazon.nova-pro-v1:0",
         "us.anthropic.claude-opus-4-6-v1 meta.llama3-1-70b-instruct-v1:0"),
        ("openrouter", Operation.CHAT, "anthropic/claude-sonnet-4.5 anthropic/claude-opus-4",
         "anthropic/claude-sonnet-4.6 openai/gpt-4o google/gemini-2.5-pro"),
        ("groq", Operation.CHAT, "llama-3.3-70b-versatile", "openai/gpt-oss-120b"),
        ("qwen", Operation.CHAT, "qwen-plus qwen3-max qwen3-coder-plus", "qwq-plus qwen3-next-80b-a3b-thinking"),
    ],
)  # fmt: skip
def test_a_beginning_is_given_to_those_models_alone_that_take_it(
    provider: str, operation: Operation, able: str, unable: str
) -> None:
    found = connected(ROWS[provider])
    assert [m for m in able.split() if found.continues(operation, m) is None] == []
    assert [m for m in (*unable.split(), None) if found.continues(operation, m) is not None] == []


def test_what_is_not_known_to_go_on_does_not() -> None:
    for provider in ("openai", "azure-openai", "cohere", "google", "together", "ollama"):
        found = connected(ROWS[provider])
        assert all(found.continues(operation, "m") is None for operation in Operation)
        assert found.continuing("m", Operation.CHAT) is None


def test_a_beginning_goes_where_the_provider_takes_it() -> None:
    found = connected(ROWS["deepseek"])
    assert found.continuing("deepseek-v4-pro", Operation.MESSAGES) is Operation.CHAT
    assert found.url(Operation.CHAT, continues=True) == "https://api.deepseek.com/beta/chat/completions"
    assert found.url(Operation.CHAT) == "https://api.deepseek.com/chat/completions"
    assert connected(ROWS["vllm"]).url(Operation.CHAT, continues=True) == "http://127.0.0.1:8000/v1/chat/completions"


@pytest.mark.parametrize(
    ("word", "able"),
    [
        ("no", set()),
        ("prefill", {Operation.CHAT, Operation.MESSAGES}),
        ("prefix", {Operation.CHAT}),
        ("partial", {Operation.CHAT}),
        ("final_message", {Operation.CHAT}),
    ],
)
def test_users_say_how_a_server_of_theirs_goes_on(word: str, able: set[Operation]) -> None:
    found = connected(changed("vllm", continues=word, auth="none"))
    ways = {o: found.continues(o, None) for o in found.spec.speaks}
    assert {o for o, how in ways.items() if how is not None} == able
    assert {how.way.value for how in ways.values() if how is not None} <= {word}


def test_addresses_are_https_or_this_machine(spec: ProviderSpec) -> None:
    for url in filter(None, [spec.base_url, spec.endpoint_hint]):
        parts = urlsplit(url)
        assert parts.scheme == ("http" if spec.id in LOCAL else "https")
        assert (parts.hostname == "127.0.0.1") is (spec.id in LOCAL)
        assert not url.endswith("/")
        assert not parts.query
        assert not parts.fragment
        assert "@" not in parts.netloc


def test_where_an_endpoint_is_taken_its_form_is_said(spec: ProviderSpec) -> None:
    assert bool(spec.endpoint_hint) is spec.supports_endpoint
    assert spec.supports_endpoint or not spec.endpoint_suffix
    assert spec.supports_endpoint or spec.base_url
    assert re.fullmatch(r"(/[a-z0-9-]+)*", spec.endpoint_suffix)
    if spec.base_url and spec.supports_endpoint:
        assert connected(spec, spec.endpoint_hint).base_url == spec.base_url
        assert connected(spec, spec.base_url).base_url == spec.base_url


def test_paths_are_paths_and_stay_with_the_provider(spec: ProviderSpec) -> None:
    assert spec.speaks
    for operation, route in spec.speaks.items():
        for path in filter(None, (route.path, route.stream)):
            plain = re.sub(r"\?(alt=sse|api-version=\{api_version\})$", "", path)
            plain = plain.replace("{model}:", "").replace("{model}", "model").replace("{base_model}", "model")
            plain = plain.removesuffix(":rawPredict")
            assert re.fullmatch(r"(/|(\.\./)+)[a-z0-9-]+([/_][a-zA-Z0-9-]+)*", plain), path
        connection = connected(spec)
        assert connection.url(operation, model="m").startswith(connection.origin + "/")
        assert "/v1/v1/" not in connection.url(operation, model="m")
        assert "//" not in connection.url(operation, model="m").partition("://")[2]


def test_models_are_listed_once_and_the_default_is_among_them(spec: ProviderSpec) -> None:
    assert len(spec.models) == len(set(spec.models)) <= 40
    assert spec.default_model is None or spec.default_model in spec.models
    assert all(re.fullmatch(r"[\x21-\x7e]+", model) for model in spec.models)
    assert not spec.quirks.model_prefix or not any(m.startswith(spec.quirks.model_prefix) for m in spec.models)


def test_what_has_no_models_is_a_server_of_ones_own_or_says_why(spec: ProviderSpec) -> None:
    own = spec.id in LOCAL or spec.base_url is None
    assert spec.models or own or spec.unsupported


def test_sources_are_named(spec: ProviderSpec) -> None:
    assert len(spec.docs) == len(set(spec.docs)) > 0
    assert all(re.fullmatch(r"https://[a-z0-9.-]+(/\S*)?", url) for url in spec.docs)


def test_a_variable_holds_the_key_of_one_provider_only() -> None:
    names = [name for spec in ROWS.values() for name in spec.env]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", name) for name in names)
    assert len(names) == len(set(names))
    assert ROWS["openai"].env == ("OPENAI_API_KEY",)
    assert ROWS["google"].env == ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def test_what_is_refused_says_what_to_do_instead() -> None:
    refused = {spec.id: spec.unsupported for spec in ROWS.values() if spec.unsupported}
    assert set(refused) == {"github-models"}
    assert all("; connect " in text for text in refused.values())
    assert not any(ROWS[ident].env for ident in refused), "import-env must not take keys that are of no use"


def test_local_servers_need_no_key() -> None:
    assert {s.id for s in ROWS.values() if not s.needs_key} == LOCAL


def test_values_are_frozen(spec: ProviderSpec) -> None:
    with pytest.raises(TypeError):
        spec.speaks[Operation.CHAT] = None  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(AttributeError):
        spec.label = "other"  # type: ignore[misc]  # that it is refused is the point


# --- loading


def test_the_rows_are_read_once() -> None:
    assert catalogue.load() is ROWS


def test_importing_the_catalogue_reads_nothing() -> None:
    code = "import sys, config.catalogue as c; sys.exit('yaml' in sys.modules or c.load.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- where requests go


@pytest.mark.parametrize(
    ("provider", "operation", "url"),
    [
        ("anthropic", Operation.MESSAGES, "https://api.anthropic.com/v1/messages"),
        ("azure-openai", Operation.CHAT, "https://YOUR-RESOURCE.openai.azure.com/openai/v1/chat/completions"),
        ("bedrock", Operation.CHAT, "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions"),
        ("cohere", Operation.RERANK, "https://api.cohere.ai/v2/rerank"),
        ("deepinfra", Operation.MESSAGES, "https://api.deepinfra.com/anthropic/v1/messages"),
        ("deepseek", Operation.MESSAGES, "https://api.deepseek.com/anthropic/v1/messages"),
        ("fireworks", Operation.MESSAGES, "https://api.fireworks.ai/inference/v1/messages"),
        ("google", Operation.CHAT, "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"),
        ("huggingface", Operation.MESSAGES, "https://router.huggingface.co/v1/messages"),
        ("llamacpp", Operation.COUNT_TOKENS, "http://127.0.0.1:8080/v1/messages/count_tokens"),
        ("lmstudio", Operation.MESSAGES, "http://127.0.0.1:1234/v1/messages"),
        ("moonshot", Operation.MESSAGES, "https://api.moonshot.ai/anthropic/v1/messages"),
        ("novita", Operation.MESSAGES, "https://api.novita.ai/anthropic/v1/messages"),
        ("ollama", Operation.MESSAGES, "http://127.0.0.1:11434/v1/messages"),
        ("openrouter", Operation.MESSAGES, "https://openrouter.ai/api/v1/messages"),
        ("perplexity", Operation.RESPONSES, "https://api.perplexity.ai/v1/responses"),
        ("qwen", Operation.MESSAGES, "https://dashscope-intl.aliyuncs.com/apps/anthropic/v1/messages"),
        (
            "qwen",
            Operation.RESPONSES,
            "https://dashscope-intl.aliyuncs.com/api/v2/apps/protocols/compatible-mode/v1/responses",
        ),
        ("vercel-ai-gateway", Operation.MESSAGES, "https://ai-gateway.vercel.sh/v1/messages"),
        ("vllm", Operation.RERANK, "http://127.0.0.1:8000/v1/rerank"),
        ("zai", Operation.MESSAGES, "https://api.z.ai/api/anthropic/v1/messages"),
    ],
)
def test_requests_go_where_the_documentation_says(provider: str, operation: Operation, url: str) -> None:
    assert connected(ROWS[provider]).url(operation) == url


# --- what redeo.yaml changes and adds


def test_what_nothing_is_said_of_stays_as_it_is() -> None:
    merged = catalogue.merge(ROWS, {"openai": {"label": "Work"}})
    assert merged["openai"].label == "Work"
    assert merged["openai"].from_file
    assert {k: v for k, v in merged.items() if k != "openai"} == {k: v for k, v in ROWS.items() if k != "openai"}
    assert ROWS["openai"].label == "OpenAI"
    assert not ROWS["openai"].from_file


@pytest.mark.parametrize("base", ["http://127.0.0.1:9900/x/abc", "http://127.0.0.1:9900/x/abc/"])
@pytest.mark.parametrize("tail", ["", "v1", "v1/"])
def test_an_anthropic_base_url_works_with_and_without_v1(base: str, tail: str) -> None:
    connection = connected(changed("anthropic", base_url=base.rstrip("/") + ("/" + tail if tail else "")))
    for operation, path in {
        Operation.MESSAGES: "/v1/messages",
        Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
        Operation.MODELS: "/v1/models",
    }.items():
        assert connection.url(operation, model="m") == "http://127.0.0.1:9900/x/abc" + path


def test_another_dialect_beside_stays_relative_to_a_new_base_url() -> None:
    connection = connected(changed("moonshot", base_url="https://proxy.example/kimi/v1"))
    assert connection.url(Operation.CHAT) == "https://proxy.example/kimi/v1/chat/completions"
    assert connection.url(Operation.MESSAGES) == "https://proxy.example/kimi/anthropic/v1/messages"


@given(
    host=st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5})?(:[1-9][0-9]{0,3})?", fullmatch=True),
    segments=st.lists(st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True), max_size=4),
    up=st.integers(0, 6),
)
def test_no_base_url_makes_a_route_leave_its_host(host: str, segments: list[str], up: int) -> None:
    base = "/".join([f"https://{host}", *segments])
    url = join_url(base, "../" * up + ("a/v1/messages" if up else "/a/v1/messages"))
    assert urlsplit(url).netloc == host
    assert url.endswith("/a/v1/messages")
    assert url.count("/") == 5 + max(0, len(segments) - up)


def test_a_provider_of_the_users_own_speaks_openais_dialect() -> None:
    spec = changed("lab-vllm", label="Lab vLLM", base_url="http://gpu.lab:8000/v1/", credential="none")
    assert spec.from_file
    assert (spec.id, spec.label, spec.credential) == ("lab-vllm", "Lab vLLM", Credential.NONE)
    assert spec.auth == Auth(AuthScheme.BEARER)
    assert connected(spec).url(Operation.CHAT) == "http://gpu.lab:8000/v1/chat/completions"
    assert Operation.MESSAGES not in spec.speaks
    assert spec.models == ()
    assert spec.default_model is None


def test_a_provider_of_the_users_own_may_speak_anthropics() -> None:
    spec = changed("relay", base_url="https://relay.example", dialect="anthropic", headers={"x-team": "a"})
    kept = {Operation.FILES, Operation.MESSAGE_BATCHES}
    assert set(spec.speaks) == {Operation.MESSAGES, Operation.COUNT_TOKENS, Operation.MODELS, *kept}
    assert spec.auth == Auth(AuthScheme.HEADER, "x-api-key")
    assert spec.headers == {"anthropic-version": "2023-06-01", "x-team": "a"}
    assert connected(spec).url(Operation.MESSAGES) == "https://relay.example/v1/messages"


def test_a_new_provider_without_an_address_is_a_fault_that_names_it() -> None:
    with pytest.raises(InvalidField) as caught:
        changed("lab", label="Lab")
    assert caught.value.param == "providers.lab"
    assert "`base_url`" in caught.value.message


def test_every_field_of_the_file_is_taken_over() -> None:
    entry: Mapping[str, object] = {
        "label": "Mine",
        "base_url": "https://mine.example/v1",
        "credential": "api_key_optional",
        "auth": "query:key",
        "default_model": "b",
        "models": ("a", "b"),
        "supports_endpoint": True,
        "headers": {"x-a": "1"},
        "stream_usage": "never",
    }
    spec = changed("groq", **entry)
    assert (spec.label, spec.base_url, spec.credential) == ("Mine", "https://mine.example/v1", Credential.OPTIONAL)
    assert (spec.auth, spec.default_model, spec.models) == (Auth(AuthScheme.QUERY, "key"), "b", ("a", "b"))
    assert (spec.supports_endpoint, dict(spec.headers)) == (True, {"x-a": "1"})
    assert spec.quirks.stream_usage is StreamUsage.NEVER
    assert spec.speaks == ROWS["groq"].speaks


def test_a_way_to_send_the_key_holds_for_every_operation() -> None:
    spec = changed("deepseek", auth="header:x-gateway-key")
    connection = connected(spec)
    assert {connection.auth(o) for o in spec.speaks} == {Auth(AuthScheme.HEADER, "x-gateway-key")}
    assert connected(ROWS["deepseek"]).auth(Operation.MESSAGES) == Auth(AuthScheme.HEADER, "x-api-key")


def test_ones_own_model_list_brings_a_default_that_is_in_it() -> None:
    assert changed("openai", models=("gpt-4o", "gpt-4o-mini")).default_model == "gpt-4o"
    assert (
        changed("openai", models=("a", str(ROWS["openai"].default_model))).default_model == ROWS["openai"].default_model
    )
    assert changed("openai", models=("a", "b"), default_model="b").default_model == "b"
    assert changed("openai", models=()).default_model is None


def test_an_address_of_ones_own_lifts_a_refusal() -> None:
    spec = changed("github-models", base_url="http://127.0.0.1:8090/v1", credential="none")
    assert spec.unsupported is None
    assert connected(spec).url(Operation.CHAT) == "http://127.0.0.1:8090/v1/chat/completions"
    assert changed("github-models", label="Ours").unsupported is not None


def test_another_dialect_replaces_what_the_row_says_of_the_first() -> None:
    spec = changed("openai", base_url="https://relay.example", dialect="anthropic")
    assert spec.dialect == "anthropic"
    assert Operation.CHAT not in spec.speaks
    assert changed("anthropic", base_url="https://relay.example/v1", dialect="openai").headers == {}


def test_the_order_of_entries_does_not_matter_and_the_result_is_sorted() -> None:
    entries: dict[str, dict[str, object]] = {
        "zeta": {"base_url": "https://z.example"},
        "alpha": {"base_url": "https://a.example"},
    }
    merged = catalogue.merge(ROWS, entries)
    assert merged == catalogue.merge(ROWS, dict(reversed(entries.items())))
    assert list(merged) == sorted([*ROWS, "alpha", "zeta"])


# --- what is written about it


def test_the_page_of_providers_is_current() -> None:
    written = (ROOT / "docs" / "providers.md").read_text()
    assert written == page() + "\n", "run: python -m config.catalogue > docs/providers.md"


def test_the_guide_explains_every_field_and_every_value() -> None:
    guide = (ROOT / "docs" / "add-a-provider.md").read_text()
    for name in NEEDED | MAY | {"stream_usage", "any_model", "model_prefix"}:
        assert f"`{name}`" in guide, name
    for value in [*Credential, *StreamUsage, *Operation, *AuthScheme]:
        assert re.search(rf"`{value.value}\b", guide), value


def test_what_does_not_belong_here_is_said_in_few_lines() -> None:
    assert len((FOLDER / "README").read_text().splitlines()) <= 15

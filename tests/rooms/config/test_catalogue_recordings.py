"""What the catalogue says, held against recorded traffic of the providers themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from config import catalogue, endpoints
from config.model import Operation, ProviderSpec, StreamUsage, join_url

pytestmark = pytest.mark.recordings
ROWS = catalogue.load()
TEXT = (Path(__file__).parents[3] / "config" / "catalogue" / "providers.yaml").read_text()

# What the recordings call a provider, and what it is called here.
RECORDED = {
    "alibaba": "qwen",
    "anthropic": "anthropic",
    "azure": "azure-openai",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "gemini": "google",
    "groq": "groq",
    "lmstudio": "lmstudio",
    "mistral": "mistral",
    "moonshotai": "moonshot",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "xai": "xai",
    "zai": "zai",
}
OPERATIONS = {
    "openai.chat": Operation.CHAT,
    "openai.completions": Operation.COMPLETIONS,
    "openai.responses": Operation.RESPONSES,
    "openai.embeddings": Operation.EMBEDDINGS,
    "anthropic.messages": Operation.MESSAGES,
    "anthropic.count_tokens": Operation.COUNT_TOKENS,
    "together.rerank": Operation.RERANK,
}
OTHER_SURFACE = {"azure-test-azure-provider-call-0-280c79e9"}  # the dated API before v1


def path_of(spec: ProviderSpec, operation: Operation) -> str:
    """Where the catalogue sends it, without the host."""
    base = spec.base_url or endpoints.base_url(spec.endpoint_hint, spec)
    return urlsplit(join_url(base, spec.speaks[operation].path)).path


def exchanges(folder: Path) -> Iterator[tuple[ProviderSpec, Operation, dict[str, Any]]]:
    """Recorded exchanges of operations and providers that the catalogue has, but for other surfaces of theirs."""
    for name, ident in RECORDED.items():
        for path in sorted((folder / name).glob("*/*.json")):
            exchange = json.loads(path.read_text())
            operation = OPERATIONS.get(exchange["dialect"])
            if operation is not None and exchange["id"] not in OTHER_SURFACE:
                yield ROWS[ident], operation, exchange


def test_recorded_requests_went_to_the_same_paths(recordings: Path) -> None:
    seen: set[str] = set()
    for spec, operation, exchange in exchanges(recordings):
        if operation not in spec.speaks:
            continue
        seen.add(spec.id)
        assert path_of(spec, operation) == exchange["request"]["path"], exchange["id"]
    assert seen == set(RECORDED.values())


def test_streams_said_to_carry_usage_anyhow_carried_it(recordings: Path) -> None:
    seen: set[str] = set()
    for spec, operation, exchange in exchanges(recordings):
        streamed = exchange["stream"] and operation is Operation.CHAT and exchange["response"]["status"] == 200
        if spec.quirks.stream_usage is not StreamUsage.ALWAYS or not streamed:
            continue
        if {"anomalous_stream", "error_in_200", "errors"} & set(exchange["features"]):
            continue
        events = "".join(exchange["response"]["events"])
        assert '"prompt_tokens"' in events, exchange["id"]
        seen.add(spec.id)
    assert seen >= {"groq", "mistral", "openrouter", "perplexity"}


def test_recordings_named_as_sources_exist(recordings: Path) -> None:
    index = {line.split("\t")[0] for line in (recordings / "INDEX.tsv").read_text().splitlines()}
    named = re.findall(r"recording:? ([a-z0-9-]{12,})", TEXT)
    assert len(named) > 5
    assert set(named) <= index

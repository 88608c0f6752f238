"""Embeddings across forms: what arrives upstream, and the vectors that come back."""

from __future__ import annotations

import contextlib
import json
import struct
from base64 import b64encode
from pathlib import Path
from typing import Any

import cohere
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import Operation, Route
from proxy.dialects.base import Unreadable
from proxy.dialects.embeddings import (
    Form,
    Question,
    Task,
    Vectors,
    read_question,
    read_vectors,
    write_question,
    write_vectors,
)
from proxy.dialects.request import BadRequest
from tests.support.upstream import answer

VECTORS = [[0.5, -1.25], [0.75, 2.0]]
ANSWERS: dict[str, Any] = {
    "gemini_embed": {"embeddings": [{"values": v} for v in VECTORS]},
    "cohere_embed": {"embeddings": {"float": VECTORS}, "meta": {"billed_units": {"input_tokens": 4}}},
    "embeddings": {
        "object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4},
        "data": [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(VECTORS)],
    },
    "titan_embed": {"embedding": VECTORS[0], "inputTextTokenCount": 2},
}  # fmt: skip
FLOATS = st.floats(-1e6, 1e6, width=32)


async def behind(redeo: Any, provider: Any, operation: str, path: str, **route: Any) -> tuple[Any, Any]:
    """A daemon in front of a provider that has embeddings in one form alone."""
    up = await provider(answer(ANSWERS[operation]))
    server = await redeo({"alpha": {"base_url": up.base_url.removesuffix("/v1")}})
    spec = server.daemon.store.current.connection("alpha").spec
    msgspec.structs.force_setattr(spec, "speaks", {Operation(operation): Route(path, **route)})
    return server, up


@pytest.mark.parametrize(
    ("operation", "path", "sent"),
    [
        (
            "gemini_embed",
            "/v1beta/models/{model}:batchEmbedContents",
            {
                "requests": [
                    {"model": "models/alpha-model", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
                    for text in ("a", "b")
                ]
            },
        ),
        (
            "cohere_embed",
            "/v2/embed",
            {
                "model": "alpha-model", "texts": ["a", "b"], "input_type": "search_document", "output_dimension": 2,
                "embedding_types": ["float"],
            },
        ),
    ],
    ids=["google", "cohere"],
)  # fmt: skip
async def test_openais_clients_are_served_in_other_forms(
    redeo: Any, provider: Any, operation: str, path: str, sent: Any
) -> None:
    server, up = await behind(redeo, provider, operation, path)
    async with openai.AsyncOpenAI(api_key=server.key, base_url=server.base + "/v1", max_retries=0) as client:
        got = await client.embeddings.create(model="auto", input=["a", "b"], dimensions=2)
    assert [row.embedding for row in got.data] == VECTORS  # asked for in base64, as the SDK does
    assert up.requests[0].json == sent


async def test_one_text_is_asked_of_titan_and_two_are_refused(redeo: Any, provider: Any) -> None:
    server, up = await behind(redeo, provider, "titan_embed", "/model/{model}/invoke")
    got = await server.request("POST", "/v1/embeddings", json={"model": "auto", "input": "a", "user": "u"})
    assert got.json["data"][0]["embedding"] == VECTORS[0]
    assert got.json["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert (up.requests[0].target, up.requests[0].json) == ("/model/alpha-model/invoke", {"inputText": "a"})
    for asked in (["a", "b"], [[1, 2]]):
        got = await server.request("POST", "/v1/embeddings", json={"model": "auto", "input": asked})
        assert (got.status, got.json["error"]["code"]) == (400, "unsupported_parameter")
        assert got.json["error"]["param"] == "input"


async def test_googles_clients_are_served_by_openais(redeo: Any, provider: Any) -> None:
    server, up = await behind(redeo, provider, "embeddings", "/v1/embeddings")
    rows = [{"content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY"} for text in ("a", "b")]
    got = await server.request("POST", "/v1beta/models/auto:batchEmbedContents", json={"requests": rows})
    assert got.json == ANSWERS["gemini_embed"]
    assert got.headers["x-redeo-dropped"] == "input_type"
    assert up.requests[0].json == {"model": "alpha-model", "input": ["a", "b"], "encoding_format": "float"}
    got = await server.request("POST", "/v2/embed", json={"model": "auto", "texts": ["a", "b"]})
    assert got.json["embeddings"] == {"float": VECTORS}
    cohere.EmbedByTypeResponse.model_validate({"id": "x", **got.json})


async def test_dimensions_have_another_name_at_mistral_and_voyage(redeo: Any, provider: Any) -> None:
    server, up = await behind(
        redeo, provider, "embeddings", "/v1/embeddings", renames={"dimensions": "output_dimension"}
    )
    body = b'{ "model": "alpha/m",  "dimensions" : 2, "input": ["dimensions"] }'
    got = await server.request("POST", "/v1/embeddings", data=body, headers={"Content-Type": "application/json"})
    assert got.status == 200
    assert up.requests[0].body == b'{ "model": "m",  "output_dimension" : 2, "input": ["dimensions"] }'


async def test_an_answer_without_vectors_is_the_providers_fault(redeo: Any, provider: Any) -> None:
    server, up = await behind(redeo, provider, "cohere_embed", "/v2/embed")
    up.scripts[:] = [answer({"embeddings": {"float": ["x"]}})]
    got = await server.request("POST", "/v1/embeddings", json={"model": "auto", "input": "a"})
    assert (got.status, got.attempts) == (502, "alpha=bad_upstream")


def test_recorded_answers_are_read(recordings: Path) -> None:
    kinds = {
        "openai/openai.embeddings": Form.OPENAI,
        "voyage/voyage.embeddings": Form.OPENAI,
        "cohere/cohere.embeddings": Form.COHERE,
        "vertex/gemini.embeddings": Form.GOOGLE_ONE,
    }
    read = 0
    for kind, form in kinds.items():
        for path in sorted(recordings.glob(f"{kind}/*.json")):
            response = json.loads(path.read_bytes())["response"]
            if response["status"] == 200:
                found = read_vectors(form, response["body"])
                assert found.tokens
                assert all(len(vector) >= 5 for vector in found.vectors)
                read += 1
    for path in sorted(recordings.glob("bedrock/bedrock.invoke/*embed*.json")):
        body = json.loads(path.read_bytes())["response"]["body"]
        if "inputTextTokenCount" in body or "response_type" in body:
            assert read_vectors(Form.TITAN if "embedding" in body else Form.COHERE, body).vectors
            read += 1
    assert read > 6


@given(
    form=st.sampled_from(Form),
    vectors=st.lists(st.lists(FLOATS, max_size=4), min_size=1, max_size=3),
    tokens=st.integers(0, 99),
    base64=st.booleans(),
)
def test_vectors_written_and_read_are_the_same(form: Form, vectors: Any, tokens: int, base64: bool) -> None:
    one = form in (Form.TITAN, Form.GOOGLE_ONE)
    found = Vectors(vectors[:1] if one else vectors, "m", tokens)
    asked = Question(["a"] * len(found.vectors), base64=base64)
    again = read_vectors(form, json.loads(json.dumps(write_vectors(form, found, asked, "m"))))
    assert again.vectors == found.vectors
    assert again.tokens in (tokens, None)


@given(
    form=st.sampled_from(Form),
    texts=st.lists(st.text(max_size=5), min_size=1, max_size=3),
    dimensions=st.none() | st.integers(1, 99),
    task=st.none() | st.sampled_from(Task),
)
def test_a_question_written_and_read_is_the_same(form: Form, texts: Any, dimensions: Any, task: Any) -> None:
    asked = Question(texts, dimensions=dimensions, task=task)
    body, losses = write_question(form, asked, "m")
    if any(loss.content for loss in losses):
        return
    again = read_question(form, body)
    assert (again.texts, again.dimensions) == (texts, dimensions)
    said = task is None or "input_type" in [loss.what for loss in losses]
    assert said or again.task == task


@given(form=st.sampled_from(Form), body=st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text()))
def test_nothing_makes_a_reader_fail_but_with_its_own_errors(form: Form, body: Any) -> None:
    with contextlib.suppress(Unreadable):
        read_vectors(form, {**body, "data": [{"embedding": body}], "embedding": body, "embeddings": body})
    with contextlib.suppress(BadRequest):
        read_question(form, {**body, "requests": [body], "texts": body})


def test_base64_is_32_bit_floats_little_end_first() -> None:
    data = b64encode(struct.pack("<2f", 0.5, -1.25)).decode()
    assert read_vectors(Form.OPENAI, {"data": [{"index": 0, "embedding": data}]}).vectors == [[0.5, -1.25]]

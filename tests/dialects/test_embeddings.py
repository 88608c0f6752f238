"""Embeddings across forms: what arrives upstream, and the vectors that come back."""

from __future__ import annotations

import contextlib
import json
import struct
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import cohere
import google.genai.types
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalogue import load
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
    usage = {"promptTokenCount": 4, "totalTokenCount": 4}
    assert got.json == {**ANSWERS["gemini_embed"], "usageMetadata": usage}
    assert got.headers["x-redeo-dropped"] == "taskType"
    assert up.requests[0].json == {"model": "alpha-model", "input": ["a", "b"]}
    got = await server.request("POST", "/v2/embed", json={"model": "auto", "texts": ["a", "b"]})
    assert got.json["embeddings"] == {"float": VECTORS}
    cohere.EmbedByTypeResponse.model_validate(got.json)


async def test_dimensions_have_another_name_at_mistral_and_voyage(redeo: Any, provider: Any) -> None:
    server, up = await behind(
        redeo, provider, "embeddings", "/v1/embeddings", renames={"dimensions": "output_dimension"}
    )
    body = b'{ "model": "alpha/m",  "dimensions" : 2, "input": ["dimensions"] }'
    got = await server.request("POST", "/v1/embeddings", data=body, headers={"Content-Type": "application/json"})
    assert got.status == 200
    assert up.requests[0].body == b'{ "model": "m",  "output_dimension" : 2, "input": ["dimensions"] }'


async def test_voyage_is_told_the_task_in_its_own_word(redeo: Any, provider: Any) -> None:
    renames = load()["voyage"].speaks[Operation.EMBEDDINGS].renames
    server, up = await behind(redeo, provider, "embeddings", "/v1/embeddings", renames=renames)
    rows = [
        {"content": {"parts": [{"text": t}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256} for t in "ab"
    ]
    got = await server.request("POST", "/v1beta/models/auto:batchEmbedContents", json={"requests": rows})
    assert got.status == 200
    assert "x-redeo-dropped" not in got.headers
    said = {"model": "alpha-model", "input": ["a", "b"], "output_dimension": 256, "input_type": "query"}
    assert up.requests[0].json == said


async def test_an_answer_with_a_vector_too_few_is_the_providers_fault(redeo: Any, provider: Any) -> None:
    server, _ = await behind(redeo, provider, "cohere_embed", "/v2/embed")
    got = await server.request("POST", "/v1/embeddings", json={"model": "auto", "input": ["a", "b", "c"]})
    assert (got.status, got.attempts) == (502, "alpha=bad_upstream")


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
    assert write_vectors(Form.OPENAI, Vectors([[0.5, -1.25]]), Question(["a"], base64=True), "m")["data"][0] == {
        "object": "embedding", "index": 0, "embedding": data,
    }  # fmt: skip


def test_vectors_are_put_in_the_order_of_their_texts() -> None:
    rows = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.0]}]
    assert read_vectors(Form.OPENAI, {"data": rows}).vectors == [[0.0], [1.0]]


# --- what cannot be said

OTHERS: list[tuple[Form, dict[str, Any], Form, dict[str, bool]]] = [
    (Form.OPENAI, {"input": "a", "user": "u", "input_type": "query"}, Form.TITAN, {"user": False, "input_type": False}),
    (Form.OPENAI, {"input": "a", "input_type": "search_query"}, Form.COHERE, {}),
    (Form.OPENAI, {"input": "a", "input_type": "odd"}, Form.COHERE, {"input_type": False}),
    (Form.OPENAI, {"input": "a", "output_dtype": "int8"}, Form.COHERE, {"output_dtype": True}),
    (Form.OPENAI, {"input": "a", "output_dtype": "float", "output_dimension": 9}, Form.COHERE, {}),
    (Form.OPENAI, {"input": [1, 2]}, Form.GOOGLE, {"input": True}),
    (Form.OPENAI, {"input": [[1], [2]]}, Form.COHERE, {"input": True}),
    (Form.OPENAI, {"input": ["a", "b"]}, Form.TITAN, {"input": True}),
    (Form.GOOGLE_ONE, {"content": {"parts": [{"inlineData": {"data": "aGk="}}]}}, Form.COHERE, {"input": True}),
    (Form.GOOGLE_ONE, {"content": {"parts": [{"text": "a"}]}, "taskType": "FACT_VERIFICATION"}, Form.COHERE,
     {"taskType": False}),
    (Form.GOOGLE_ONE, {"content": {"parts": [{"text": "a"}]}, "taskType": "FACT_VERIFICATION"}, Form.GOOGLE, {}),
    (Form.GOOGLE_ONE, {"content": {"parts": [{"text": "a"}]}, "title": "t", "taskType": "ODD"}, Form.OPENAI,
     {"title": False, "taskType": False}),
    (Form.GOOGLE, {"requests": [{"content": {"parts": [{"text": "a"}]}, "taskType": t} for t in
                                ("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT")]}, Form.COHERE, {"taskType": False}),
    (Form.COHERE, {"texts": ["a"], "embedding_types": ["int8"]}, Form.OPENAI, {"embedding_types": True}),
    (Form.COHERE, {"texts": ["a"], "embedding_types": ["float", "base64"]}, Form.OPENAI, {}),
    (Form.COHERE, {"texts": ["a"], "input_type": "clustering", "truncate": "END"}, Form.GOOGLE, {"truncate": False}),
    (Form.COHERE, {"images": ["data:image/png;base64,aGk="], "input_type": "image"}, Form.OPENAI,
     {"input": True, "input_type": False}),
    (Form.COHERE, {"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, Form.OPENAI, {}),
    (Form.COHERE, {"inputs": [{"content": [{"type": "image_url"}]}]}, Form.OPENAI, {"input": True}),
]  # fmt: skip


@pytest.mark.parametrize(("mine", "body", "theirs", "dropped"), OTHERS)
def test_what_cannot_be_said_is_named(mine: Form, body: Any, theirs: Form, dropped: dict[str, bool]) -> None:
    _, losses = write_question(theirs, read_question(mine, body), "m")
    assert {loss.what: loss.content for loss in losses} == dropped


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("amazon.titan-embed-text-v2:0", 256),
        ("amazon.titan-embed-text-v1", None),
        ("amazon.titan-embed-g1-text-02", None),
    ],
)
def test_titans_first_version_has_one_size(model: str, said: int | None) -> None:
    body, losses = write_question(Form.TITAN, read_question(Form.OPENAI, {"input": "a", "dimensions": 256}), model)
    assert body.get("dimensions") == said
    assert [loss.what for loss in losses] == ([] if said else ["dimensions"])


# --- every form from every form, over what was recorded

CLIENTS = {
    Form.OPENAI: "openai/openai.embeddings/openai-testopenai-test-instrumentation-0-fc051dfd.json",
    Form.COHERE: "cohere/cohere.embeddings/cohere-testcohere-test-query-0-54fefb4b.json",
    Form.GOOGLE: "gemini/gemini.embeddings/gemini-testgoogle-test-embed-error-0-e7f5370b.json",
    Form.GOOGLE_ONE: "vertex/gemini.embeddings/vertex-test-google-task-prefix-vertex-0-2b989cd3.json",
}
AMAZON = "bedrock/bedrock.invoke/bedrock-testbedrock-test"
PROVIDERS = {
    "openai": (Form.OPENAI, CLIENTS[Form.OPENAI]),
    "voyage": (Form.OPENAI, "voyage/voyage.embeddings/voyage-testvoyageai-test-query-0-b669c197.json"),
    "cohere": (Form.COHERE, CLIENTS[Form.COHERE]),
    "cohere 3 at amazon": (Form.COHERE, f"{AMAZON}-cohere-v3-minimal-0-7c3df653.json"),
    "cohere 4 at amazon": (Form.COHERE, f"{AMAZON}-cohere-v4-with-dimensions-0-e49706bb.json"),
    "vertex": (Form.GOOGLE_ONE, CLIENTS[Form.GOOGLE_ONE]),
    "titan": (Form.TITAN, f"{AMAZON}-instrumentation-0-9cc4126c.json"),
    "titan 1": (Form.TITAN, f"{AMAZON}-titan-v1-minimal-0-f1d9b866.json"),
}
COUNTED = {"openai": 4, "voyage": 3, "cohere": 4, "vertex": 11, "titan": 5, "titan 1": 4}


def numbers(value: Any) -> list[float]:
    if isinstance(value, str):
        data = b64decode(value)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return list(value)


def first(body: dict[str, Any]) -> list[float]:
    """The first vector of an answer of whatever form, read without our help."""
    if "data" in body:
        return numbers(body["data"][0]["embedding"])
    if "embedding" in body:
        return numbers(body["embedding"]["values"] if isinstance(body["embedding"], dict) else body["embedding"])
    found = body["embeddings"]
    if isinstance(found, dict):
        return numbers(next(iter(found.values()))[0])
    return numbers(found[0]["values"] if isinstance(found[0], dict) else found[0])


def judged(form: Form, body: dict[str, Any]) -> int | None:
    """The tokens that the client's own SDK reads of the answer."""
    if form is Form.OPENAI:  # the SDK unpacks base64 before it reads
        body = {**body, "data": [{**row, "embedding": numbers(row["embedding"])} for row in body["data"]]}
        return openai.types.CreateEmbeddingResponse.model_validate(body).usage.prompt_tokens
    if form is Form.COHERE:
        meta = cohere.EmbedByTypeResponse.model_validate(body).meta
        units = meta.billed_units if meta is not None else None
        return None if units is None or units.input_tokens is None else int(units.input_tokens)
    rows = body["embeddings"] if form is Form.GOOGLE else [body["embedding"]]
    google.genai.types.EmbedContentResponse.model_validate({"embeddings": rows})
    return body.get("usageMetadata", {}).get("promptTokenCount")


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("mine", CLIENTS)
def test_every_client_is_served_by_every_provider(recordings: Path, mine: Form, name: str) -> None:
    theirs, file = PROVIDERS[name]
    question = json.loads((recordings / CLIENTS[mine]).read_bytes())["request"]["body"]
    exchange = json.loads((recordings / file).read_bytes())
    asked = read_question(mine, question)
    body, losses = write_question(theirs, asked, exchange["model"], tasks=name == "voyage")
    assert not any(loss.content for loss in losses)
    assert "Hello, world!" in json.dumps(body)
    ours = set(body) - {"requests"}
    assert (
        ours
        <= {
            Form.OPENAI: {"model", "input", "dimensions", "encoding_format", "task"},
            Form.COHERE: {"model", "texts", "input_type", "output_dimension", "embedding_types"},
            Form.GOOGLE_ONE: {"content", "taskType", "outputDimensionality"},
            Form.TITAN: {"inputText", "dimensions"},
        }[theirs]
    )
    answered = exchange["response"]["body"]
    found = json.loads(json.dumps(write_vectors(mine, read_vectors(theirs, answered), asked, "m", "r1")))
    assert first(found) == pytest.approx(first(answered), rel=1e-6)
    assert judged(mine, found) == COUNTED.get(name, 0 if mine is Form.OPENAI else None)


async def test_embeddings_are_no_stream_whatever_the_client_says(redeo: Any, provider: Any) -> None:
    server, _ = await behind(redeo, provider, "cohere_embed", "/v2/embed")
    body = {"model": "alpha/m", "input": ["a", "b"], "stream": True}
    got = await server.request("POST", "/v1/embeddings", json=body)
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert [row["embedding"] for row in got.json["data"]] == VECTORS


def test_numbers_beyond_all_floats_are_no_embedding() -> None:
    with pytest.raises(Unreadable):
        read_vectors(Form.TITAN, {"embedding": [10**400]})

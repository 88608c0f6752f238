"""Embeddings in the forms of OpenAI, Google, Cohere and Amazon Titan: questions and answers, through one value each.

Sources: OpenAI API reference, "Create embeddings"; Gemini API, "Embeddings" (`batchEmbedContents`, `embedContent`);
Cohere API reference, "Embed (V2)"; Amazon Bedrock, "Amazon Titan Embeddings G1 and V2" and "Cohere Embed"; read
2026-11, held against the recorded traffic. Mistral's and Voyage's forms are OpenAI's with another name for the
dimensions (`renames` in the catalogue).
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from proxy.dialects import read
from proxy.dialects.base import Unreadable
from proxy.dialects.gemini.parts import camel
from proxy.dialects.request import BadRequest, Loss


class Form(StrEnum):
    """Whose words."""

    OPENAI = "openai"
    GOOGLE = "google_batch"
    GOOGLE_ONE = "google_one"
    COHERE = "cohere_embed"
    TITAN = "titan"


class Task(StrEnum):
    """What the vectors are for."""

    QUERY = "query"
    DOCUMENT = "document"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    SIMILARITY = "similarity"


class Question(msgspec.Struct):
    """What to embed. `tokens`: it came as numbers of some model's tokens, which nobody else can read."""

    texts: list[str]
    tokens: bool = False
    dimensions: int | None = None
    task: Task | None = None
    base64: bool = False
    extras: list[str] = msgspec.field(default_factory=list)


class Vectors(msgspec.Struct):
    """What came of it; `tokens` None where the provider does not say."""

    vectors: list[list[float]]
    model: str = ""
    tokens: int | None = None


_GOOGLE_TASKS: Final = {
    Task.QUERY: "RETRIEVAL_QUERY",
    Task.DOCUMENT: "RETRIEVAL_DOCUMENT",
    Task.CLASSIFICATION: "CLASSIFICATION",
    Task.CLUSTERING: "CLUSTERING",
    Task.SIMILARITY: "SEMANTIC_SIMILARITY",
}
_COHERE_TASKS: Final = {
    Task.QUERY: "search_query",
    Task.DOCUMENT: "search_document",
    Task.CLASSIFICATION: "classification",
    Task.CLUSTERING: "clustering",
}


def _task(word: object, words: Mapping[Task, str]) -> Task | None:
    return next((task for task, text in words.items() if text == word), None)


# --- questions in


def read_question(form: Form, body: Mapping[str, Any]) -> Question:
    """A client's question. Raises BadRequest."""
    match form:
        case Form.OPENAI:
            return _from_openai(body)
        case Form.GOOGLE:
            return _from_google(read.rows(body.get("requests")), "requests")
        case Form.GOOGLE_ONE:
            return _from_google([body], "content")
        case Form.COHERE:
            return _from_cohere(body)
        case Form.TITAN:
            known = {"inputText", "dimensions", "normalize"}
            texts = [read.must_text(body.get("inputText"), "inputText")]
            return Question(texts, dimensions=_size(body.get("dimensions")), extras=sorted(set(body) - known))


def _size(value: object) -> int | None:
    return read.number(value) or None


def _from_openai(body: Mapping[str, Any]) -> Question:
    given = body.get("input")
    listed = [given] if isinstance(given, str) else read.must_list(given, "input")
    plain = all(isinstance(item, str) for item in listed)
    words = {task: task.value for task in Task}
    known = {"model", "input", "dimensions", "output_dimension", "encoding_format", "input_type", "user"}
    return Question(
        list(listed) if plain else [],
        not plain,
        _size(body.get("dimensions") or body.get("output_dimension")),
        _task(body.get("input_type"), words),
        body.get("encoding_format") == "base64",
        sorted(name for name in set(body) - known if body[name] is not None),
    )


def _from_google(requests: list[Mapping[str, Any]], where: str) -> Question:
    if not requests:
        raise BadRequest(f"`{where}` must be a list of requests", where)
    rows = [camel(row) for row in requests]
    texts = []
    for row in rows:
        content = row.get("content")
        parts = [{"text": content}] if isinstance(content, str) else read.rows(read.table(content).get("parts"))
        texts.append("".join(read.text(part.get("text")) for part in parts))
    first = rows[0]
    known = {"model", "content", "taskType", "outputDimensionality"}
    extras = sorted({name for row in rows for name in set(row) - known if row[name] is not None})
    return Question(
        texts,
        dimensions=_size(first.get("outputDimensionality")),
        task=_task(first.get("taskType"), _GOOGLE_TASKS),
        extras=extras,
    )


def _from_cohere(body: Mapping[str, Any]) -> Question:
    known = {"model", "texts", "input_type", "output_dimension", "embedding_types"}
    kinds = body.get("embedding_types") or ["float"]
    extras = sorted(name for name in set(body) - known if body[name] is not None)
    if kinds not in (["float"], ["base64"]):
        extras.append("embedding_types")
    texts = [read.must_text(item, "texts") for item in read.must_list(body.get("texts"), "texts")]
    task = _task(body.get("input_type"), _COHERE_TASKS)
    return Question(texts, False, _size(body.get("output_dimension")), task, kinds == ["base64"], extras)


# --- questions out


def write_question(form: Form, asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    """The question for a provider, and what it could not be told."""
    losses = [Loss(name, "only the client's form has it") for name in asked.extras]
    if asked.tokens:
        losses.append(Loss("input", "numbers of tokens mean something to one model alone", content=True))
    if form in (Form.TITAN, Form.GOOGLE_ONE) and len(asked.texts) != 1:
        losses.append(Loss("input", "it takes one text at a time", content=True))
    body, more = _WRITERS[form](asked, model)
    return {name: value for name, value in body.items() if value is not None}, [*losses, *more]


def _to_openai(asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    lost = [Loss("input_type", "there is no such parameter")] if asked.task is not None else []
    body = {"model": model, "input": asked.texts, "dimensions": asked.dimensions}
    return {**body, "encoding_format": "base64" if asked.base64 else "float"}, lost


def _one_for_google(asked: Question, text: str) -> dict[str, Any]:
    said: dict[str, Any] = {"content": {"parts": [{"text": text}]}}
    if asked.task is not None:
        said["taskType"] = _GOOGLE_TASKS[asked.task]
    if asked.dimensions is not None:
        said["outputDimensionality"] = asked.dimensions
    return said


def _to_google(asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    name = f"models/{model.removeprefix('models/')}"
    return {"requests": [{"model": name, **_one_for_google(asked, text)} for text in asked.texts]}, []


def _to_google_one(asked: Question, _model: str) -> tuple[dict[str, Any], list[Loss]]:
    return _one_for_google(asked, asked.texts[0] if asked.texts else ""), []


def _to_cohere(asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    """`input_type` has to be named; where the client said nothing, the texts are documents."""
    lost = [Loss("input_type", "there is no such task")] if asked.task is Task.SIMILARITY else []
    task = _COHERE_TASKS.get(asked.task or Task.DOCUMENT, _COHERE_TASKS[Task.DOCUMENT])
    body = {"model": model, "texts": asked.texts, "input_type": task, "output_dimension": asked.dimensions}
    return {**body, "embedding_types": ["float"]}, lost


def _to_titan(asked: Question, _model: str) -> tuple[dict[str, Any], list[Loss]]:
    lost = [Loss("input_type", "there is no such parameter")] if asked.task is not None else []
    return {"inputText": asked.texts[0] if asked.texts else "", "dimensions": asked.dimensions}, lost


_WRITERS: Final[dict[Form, Callable[[Question, str], tuple[dict[str, Any], list[Loss]]]]] = {
    Form.OPENAI: _to_openai,
    Form.GOOGLE: _to_google,
    Form.GOOGLE_ONE: _to_google_one,
    Form.COHERE: _to_cohere,
    Form.TITAN: _to_titan,
}


# --- answers in


def read_vectors(form: Form, body: Mapping[str, Any]) -> Vectors:
    """A provider's answer. Raises Unreadable."""
    match form:
        case Form.OPENAI:
            rows = sorted(read.rows(body.get("data")), key=lambda row: read.number(row.get("index")))
            usage = read.table(body.get("usage"))
            tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
            found = [row.get("embedding") for row in rows]
            return Vectors(_all(found), read.text(body.get("model")), _known(tokens))
        case Form.GOOGLE | Form.GOOGLE_ONE:
            rows = read.rows(body.get("embeddings") if form is Form.GOOGLE else [body.get("embedding")])
            tokens = read.table(body.get("usageMetadata")).get("promptTokenCount")
            return Vectors(_all([row.get("values") for row in rows]), tokens=_known(tokens))
        case Form.COHERE:
            given = body.get("embeddings")
            by_type = read.table(given)
            listed = given if isinstance(given, list) else by_type.get("float") or by_type.get("base64")
            units = read.table(read.table(body.get("meta")).get("billed_units"))
            return Vectors(_all(listed if isinstance(listed, list) else []), tokens=_known(units.get("input_tokens")))
        case Form.TITAN:
            return Vectors(_all([body.get("embedding")]), tokens=_known(body.get("inputTextTokenCount")))


def _known(tokens: object) -> int | None:
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None


def _all(found: list[Any]) -> list[list[float]]:
    if not found:
        raise Unreadable("an answer without embeddings")
    return [_floats(value) for value in found]


def _floats(value: object) -> list[float]:
    """The numbers, be they written as such or as base64 of 32-bit floats, little end first."""
    if isinstance(value, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value):
        return value
    if isinstance(value, str):
        try:
            data = array("f", b64decode(value, validate=True))
        except (Error, ValueError):
            raise Unreadable("an embedding that is neither numbers nor base64 of them") from None
        return list(data)
    raise Unreadable("an embedding that is no list of numbers")


# --- answers out


def write_vectors(form: Form, found: Vectors, asked: Question, model: str) -> dict[str, Any]:
    """The answer for a client. Where the provider does not count tokens, 0 stands where a number has to."""
    match form:
        case Form.OPENAI:
            shown = [_packed(vector) if asked.base64 else vector for vector in found.vectors]
            rows = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(shown)]
            usage = {"prompt_tokens": found.tokens or 0, "total_tokens": found.tokens or 0}
            return {"object": "list", "data": rows, "model": found.model or model, "usage": usage}
        case Form.GOOGLE:
            return {"embeddings": [{"values": vector} for vector in found.vectors]}
        case Form.GOOGLE_ONE:
            return {"embedding": {"values": found.vectors[0]}}
        case Form.COHERE:
            kind = "base64" if asked.base64 else "float"
            shown = [_packed(vector) if asked.base64 else vector for vector in found.vectors]
            body: dict[str, Any] = {"embeddings": {kind: shown}, "texts": asked.texts}
            units = {} if found.tokens is None else {"billed_units": {"input_tokens": found.tokens}}
            return {**body, "meta": units, "response_type": "embeddings_by_type"}
        case Form.TITAN:
            return {"embedding": found.vectors[0], "inputTextTokenCount": found.tokens or 0}


def _packed(vector: list[float]) -> str:
    return b64encode(array("f", vector).tobytes()).decode()

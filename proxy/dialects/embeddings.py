"""Embeddings in the forms of OpenAI, Google, Cohere and Amazon Titan: questions and answers, through one value each.

Sources: OpenAI API reference, "Create embeddings"; Gemini API, "Embeddings" (`batchEmbedContents`, `embedContent`);
Cohere API reference, "Embed (V2)"; Amazon Bedrock, "Amazon Titan Embeddings G1 and V2" and "Cohere Embed"; read
2026-11, held against the recorded traffic. Mistral's and Voyage's forms are OpenAI's with other names for the
dimensions and the task (`renames` in the catalogue).
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Mapping
from enum import StrEnum
from sys import byteorder
from typing import Any, Final

import msgspec

from config.model import Operation
from proxy.dialects import read
from proxy.dialects.base import Unreadable
from proxy.dialects.read import camel
from proxy.dialects.request import BadRequest, Loss


class Form(StrEnum):
    """Whose words."""

    OPENAI = "openai"
    GOOGLE = "google_batch"
    GOOGLE_ONE = "google_one"
    COHERE = "cohere_embed"
    TITAN = "titan"


FORMS: Final = {
    Operation.EMBEDDINGS: Form.OPENAI,
    Operation.GEMINI_EMBED: Form.GOOGLE,
    Operation.GEMINI_EMBED_ONE: Form.GOOGLE_ONE,
    Operation.COHERE_EMBED: Form.COHERE,
    Operation.TITAN_EMBED: Form.TITAN,
}


class Task(StrEnum):
    """What the vectors are for."""

    QUERY = "query"
    DOCUMENT = "document"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    SIMILARITY = "similarity"
    QUESTION = "question"
    FACT = "fact"
    CODE = "code"


class Question(msgspec.Struct):
    """What to embed.

    `tokens`: it came as numbers of some model's tokens, which nobody else can read; `media`: not all of it is text;
    `kinds`: the parameter that asks for other numbers than floats. `words` is how the client calls size and task.
    """

    texts: list[str]
    tokens: bool = False
    dimensions: int | None = None
    task: Task | None = None
    base64: bool = False
    extras: list[str] = msgspec.field(default_factory=list)
    media: bool = False
    floats: bool = True  # as such, be it beside base64
    kinds: str = ""
    words: tuple[str, str] = ("dimensions", "input_type")


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
    Task.QUESTION: "QUESTION_ANSWERING",
    Task.FACT: "FACT_VERIFICATION",
    Task.CODE: "CODE_RETRIEVAL_QUERY",
}
_COHERE_TASKS: Final = {
    Task.QUERY: "search_query",
    Task.DOCUMENT: "search_document",
    Task.CLASSIFICATION: "classification",
    Task.CLUSTERING: "clustering",
}
_PLAIN_TASKS: Final = {Task.QUERY: "query", Task.DOCUMENT: "document"}
_NEAREST: Final = {Task.QUESTION: Task.QUERY, Task.FACT: Task.QUERY, Task.CODE: Task.QUERY}
_LITTLE: Final = byteorder == "little"


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
            known = {"inputText", "dimensions", *(["normalize"] if body.get("normalize") is True else [])}
            texts = [read.must_text(body.get("inputText"), "inputText")]
            return Question(texts, dimensions=_size(body.get("dimensions")), extras=_others(body, known))


def _others(body: Mapping[str, Any], known: set[str]) -> list[str]:
    return sorted(name for name in set(body) - known if body[name] is not None)


def _size(value: object) -> int | None:
    return read.number(value) or None


def _from_openai(body: Mapping[str, Any]) -> Question:
    """OpenAI's words and, beside them, those that Mistral and Voyage have in their place."""
    given = body.get("input")
    listed = [given] if isinstance(given, str) else read.must_list(given, "input")
    plain = all(isinstance(item, str) for item in listed)
    size = "output_dimension" if "output_dimension" in body else "dimensions"
    task = _task(body.get("input_type"), {task: task.value for task in Task}) or _task(
        body.get("input_type"), _COHERE_TASKS
    )
    known = {"model", "input", size, *(["input_type"] if task else [])}
    known |= {"encoding_format"} if body.get("encoding_format") in ("float", "base64") else set()
    known |= {"output_dtype"}
    return Question(
        list(listed) if plain else [],
        not plain,
        _size(body.get(size)),
        task,
        body.get("encoding_format") == "base64",
        _others(body, known),
        kinds="" if body.get("output_dtype") in (None, "float") else "output_dtype",
        words=(size, "input_type"),
    )


def _from_google(requests: list[Mapping[str, Any]], where: str) -> Question:
    if not requests:
        raise BadRequest(f"`{where}` must be a list of requests", where)
    rows = [camel(row) for row in requests]
    texts, media = [], False
    for row in rows:
        content = row.get("content")
        parts = [{"text": content}] if isinstance(content, str) else read.rows(read.table(content).get("parts"))
        texts.append("".join(read.text(part.get("text")) for part in parts))
        media = media or any("text" not in part for part in parts)
    first = rows[0]
    task = _task(first.get("taskType"), _GOOGLE_TASKS)
    known = {"model", "content", "outputDimensionality", *(["taskType"] if task else [])}
    mixed = [
        name for name in ("outputDimensionality", "taskType") if any(row.get(name) != first.get(name) for row in rows)
    ]
    return Question(
        texts,
        dimensions=_size(first.get("outputDimensionality")),
        task=task,
        extras=sorted({*mixed, *(name for row in rows for name in _others(row, known))}),
        media=media,
        words=("outputDimensionality", "taskType"),
    )


def _from_cohere(body: Mapping[str, Any]) -> Question:
    task = _task(body.get("input_type"), _COHERE_TASKS)
    known = {"model", "texts", "inputs", "images", "output_dimension", "embedding_types"}
    known |= {"input_type"} if task else set()
    kinds = read.must_list(body.get("embedding_types") or ["float"], "embedding_types")
    texts, media = _cohere_texts(body)
    return Question(
        texts,
        dimensions=_size(body.get("output_dimension")),
        task=task,
        base64="base64" in kinds,
        extras=_others(body, known),
        media=media,
        floats="float" in kinds,
        kinds="embedding_types" if any(kind not in ("float", "base64") for kind in kinds) else "",
        words=("output_dimension", "input_type"),
    )


def _cohere_texts(body: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The texts, be they in `texts` or in `inputs`, and whether there is anything else."""
    if body.get("images"):
        return [], True
    if body.get("inputs") is None:
        return [read.must_text(item, "texts") for item in read.must_list(body.get("texts"), "texts")], False
    contents = [read.rows(row.get("content")) for row in read.rows(body.get("inputs"))]
    media = any(part.get("type") != "text" for content in contents for part in content)
    return ["".join(read.text(part.get("text")) for part in content) for content in contents], media


# --- questions out


def write_question(
    form: Form, asked: Question, model: str, *, tasks: bool = False
) -> tuple[dict[str, Any], list[Loss]]:
    """The question for a provider, and what it could not be told. `tasks`: one of OpenAI's form that wants them too,
    under the name that its row gives to `task`."""
    losses = [Loss(name, "only the client's form has it") for name in asked.extras]
    if asked.tokens:
        losses.append(Loss("input", "numbers of tokens mean something to one model alone", content=True))
    if asked.media:
        losses.append(Loss("input", "only texts are embedded here", content=True))
    if asked.kinds:
        losses.append(Loss(asked.kinds, "vectors are of floats here", content=True))
    if form in (Form.TITAN, Form.GOOGLE_ONE) and len(asked.texts) != 1:
        losses.append(Loss("input", "it takes one text at a time", content=True))
    body, lost = _WRITERS[form](asked, model)
    words = _PLAIN_TASKS if form is Form.OPENAI and tasks else _TASKS[form]
    task = asked.task if asked.task in words else None if asked.task is None else _NEAREST.get(asked.task)
    if task is not None and task in words:
        _put_task(form, body, words[task])
    if asked.task is not None and (task != asked.task or task not in words):
        lost.append(Loss(asked.words[1], "there is no such task" if words else "there is no such parameter"))
    return {name: value for name, value in body.items() if value is not None}, [*losses, *lost]


_TASKS: Final[dict[Form, Mapping[Task, str]]] = {
    Form.OPENAI: {},
    Form.GOOGLE: _GOOGLE_TASKS,
    Form.GOOGLE_ONE: _GOOGLE_TASKS,
    Form.COHERE: _COHERE_TASKS,
    Form.TITAN: {},
}


def _put_task(form: Form, body: dict[str, Any], word: str) -> None:
    name = {Form.OPENAI: "task", Form.COHERE: "input_type"}.get(form, "taskType")
    for place in body.get("requests", [body]):
        place[name] = word


def _to_openai(asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    """Floats are what comes where nothing is said, and Voyage takes no word for them."""
    body = {"model": model, "input": asked.texts, "dimensions": asked.dimensions}
    return {**body, "encoding_format": "base64" if asked.base64 else None}, []


def _one_for_google(asked: Question, text: str) -> dict[str, Any]:
    said: dict[str, Any] = {"content": {"parts": [{"text": text}]}}
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
    body = {"model": model, "texts": asked.texts, "output_dimension": asked.dimensions}
    return {**body, "input_type": _COHERE_TASKS[Task.DOCUMENT], "embedding_types": ["float"]}, []


def _to_titan(asked: Question, model: str) -> tuple[dict[str, Any], list[Loss]]:
    body: dict[str, Any] = {"inputText": asked.texts[0] if asked.texts else ""}
    if "text-v1" in model or "g1-text" in model:  # Bedrock, "Amazon Titan Embeddings": version 2 alone can choose
        return body, [Loss(asked.words[0], "this model has one size")] if asked.dimensions else []
    return {**body, "dimensions": asked.dimensions}, []


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
        try:
            return array("d", value).tolist()
        except OverflowError:
            raise Unreadable("an embedding of numbers that are too large") from None
    if isinstance(value, str):
        try:
            data = _swapped(array("f", b64decode(value, validate=True)))
        except (Error, ValueError):
            raise Unreadable("an embedding that is neither numbers nor base64 of them") from None
        return list(data)
    raise Unreadable("an embedding that is no list of numbers")


# --- answers out


def write_vectors(form: Form, found: Vectors, asked: Question, model: str, ident: str = "") -> dict[str, Any]:
    """The answer for a client. Where the provider does not count tokens, 0 stands where a number has to.

    Raises Unreadable where there is not one vector for each text.
    """
    if len(found.vectors) != len(asked.texts):
        raise Unreadable(f"{len(found.vectors)} embeddings of {len(asked.texts)} texts")
    tokens = found.tokens or 0
    counted = {"promptTokenCount": tokens, "totalTokenCount": tokens}
    usage = {} if found.tokens is None else {"usageMetadata": counted}
    match form:
        case Form.OPENAI:
            shown = [_packed(vector) if asked.base64 else vector for vector in found.vectors]
            rows = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(shown)]
            used = {"prompt_tokens": tokens, "total_tokens": tokens}
            return {"object": "list", "data": rows, "model": found.model or model, "usage": used}
        case Form.GOOGLE:
            return {"embeddings": [{"values": vector} for vector in found.vectors], **usage}
        case Form.GOOGLE_ONE:
            return {"embedding": {"values": found.vectors[0]}, **usage}
        case Form.COHERE:
            by_type: dict[str, Any] = {"float": found.vectors} if asked.floats else {}
            if asked.base64:
                by_type["base64"] = [_packed(vector) for vector in found.vectors]
            units = {} if found.tokens is None else {"billed_units": {"input_tokens": found.tokens}}
            body = {"id": ident, "embeddings": by_type, "texts": asked.texts, "meta": units}
            return {**body, "response_type": "embeddings_by_type"}
        case Form.TITAN:
            return {"embedding": found.vectors[0], "inputTextTokenCount": tokens}


def _packed(vector: list[float]) -> str:
    return b64encode(_swapped(array("f", vector)).tobytes()).decode()


def _swapped(numbers: array[float]) -> array[float]:
    """Little end first, whatever this machine has."""
    if not _LITTLE:
        numbers.byteswap()
    return numbers

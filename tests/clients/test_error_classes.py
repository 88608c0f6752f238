"""The official SDKs raise their own class for each error of a provider that speaks another dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.support.daemon import Redeo
from tests.support.refusals import DOCUMENTED, Case
from tests.support.speech import CONVERSE, MESSAGES
from tests.support.upstream import answer

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's, of aiohttp
SDKS = ("chat", "responses", "messages", "gemini")
OPENAI: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
ANTHROPICS: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
}


def expected(sdk: str, status: int) -> type[Exception]:
    """The class of that SDK for this status."""
    if sdk == "gemini":
        return errors.ClientError if status < 500 else errors.ServerError
    if sdk == "messages":
        return ANTHROPICS.get(status, anthropic.InternalServerError if status >= 500 else anthropic.APIStatusError)
    return OPENAI.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)


@pytest.fixture
async def clients() -> AsyncIterator[Any]:
    made: list[Any] = []

    def make(server: Redeo) -> tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic, Any]:
        a = openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key=server.key, max_retries=0)
        b = anthropic.AsyncAnthropic(base_url=server.base, auth_token=server.key, max_retries=0)
        c = genai.Client(api_key=server.key, http_options=types.HttpOptions(base_url=server.base)).aio
        made.extend((a.close, b.close, c.aclose))
        return a, b, c

    yield make
    for close in made:
        await close()


async def ask(sdk: str, apis: tuple[Any, Any, Any], model: str, *, streamed: bool) -> None:
    """One question; a stream is read to its end."""
    openais, anthropics, google = apis
    if sdk == "gemini":
        of = google.models.generate_content_stream if streamed else google.models.generate_content
        got = await of(model=model, contents="hello")
    elif sdk == "messages":
        got = await anthropics.messages.create(model=model, max_tokens=9, messages=MESSAGES, stream=streamed)
    elif sdk == "responses":
        got = await openais.responses.create(model=model, input="hello", stream=streamed)
    else:
        got = await openais.chat.completions.create(model=model, messages=MESSAGES, stream=streamed)
    if streamed:
        async for _ in got:
            pass


@pytest.mark.parametrize("case", DOCUMENTED, ids=lambda case: case.name)
async def test_each_error_is_raised_as_the_class_of_its_status(
    redeo: Any, provider: Any, clients: Any, case: Case
) -> None:
    up = await provider(answer(case.body, case.status, case.headers))
    names = [f"c{number}" for number in range(8)]
    server = await redeo({name: {**CONVERSE.entry(up), "default_model": "m"} for name in names})
    assert {c.spec.dialect for c in server.daemon.store.current.connections} == {"converse"}
    apis = clients(server)
    for number, sdk in enumerate(SDKS * 2):
        with pytest.raises(expected(sdk, case.told)) as raised:
            await ask(sdk, apis, f"{names[number]}/m", streamed=number >= len(SDKS))
        code = raised.value.code if sdk == "gemini" else raised.value.status_code
        assert code == case.told
        assert " ".join(case.words.split()) in " ".join(
            str(raised.value).replace("\\n", " ").replace("\\'", "'").split()
        )
    assert len(up.requests) == len(names)

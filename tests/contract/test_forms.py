"""Forms whose fields are named like those of JSON requests."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.support.upstream import answer, event, stream


async def test_a_form_that_asks_for_several_pictures_as_a_stream(redeo: Any, provider: Any) -> None:
    events = [event({"type": "image_edit.completed", "b64_json": "aGk="})]
    up = await provider(stream(events))
    server = await redeo({"alpha": up})
    form = aiohttp.FormData({"model": "alpha/gpt-image", "n": "2", "stream": "true"})
    form.add_field("image", b"\x89PNG", filename="a.png")
    got = await server.request("POST", "/v1/images/edits", data=form)
    assert (got.status, got.body) == (200, b"".join(events))


async def test_a_form_with_a_field_that_elsewhere_names_a_stored_thing(redeo: Any, provider: Any) -> None:
    up = await provider(answer({"text": "spoken"}))
    server = await redeo({"alpha": up})
    form = aiohttp.FormData({"model": "alpha/whisper", "conversation": "conv_1"})
    form.add_field("file", b"RIFF\xff", filename="a.wav")
    got = await server.request("POST", "/v1/audio/transcriptions", data=form)
    assert (got.status, got.json) == (200, {"text": "spoken"})


async def test_a_form_whose_type_is_spelt_in_capitals(redeo: Any, provider: Any) -> None:
    up = await provider(answer({"text": "spoken"}))
    server = await redeo({"alpha": up})
    form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nalpha/whisper\r\n--B--\r\n'
    headers = {"Content-Type": "Multipart/Form-Data; boundary=B"}
    got = await server.request("POST", "/v1/audio/transcriptions", data=form, headers=headers)
    assert (got.status, got.json) == (200, {"text": "spoken"})
    assert up.requests[0].body == form.replace(b"alpha/whisper", b"whisper")

"""What goes upstream where it is written once and sent often: each client's own headers, the key of the moment."""

from __future__ import annotations

from typing import Any

from tests.support.upstream import chat

CLIENTS = 12  # more than are remembered


async def ask(server: Any, client: int, words: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "word " * words}]}
    headers = {"User-Agent": f"client-{client}/1.0", "OpenAI-Organization": f"org-{client}" if client % 2 else ""}
    path = "/v1/chat/completions" + ("?tried=again" if client % 3 == 0 else "")
    answer = await server.request("POST", path, json=body, headers={k: v for k, v in headers.items() if v})
    assert answer.status == 200


async def test_each_client_has_its_own_headers(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    asked = [(client, words) for words in (1, 30, 2000) for client in range(CLIENTS)]
    for client, words in asked:
        await ask(server, client, words)
    for (client, words), received in zip(asked, up.requests, strict=True):
        assert received.header("user-agent") == f"client-{client}/1.0"
        assert received.header("openai-organization") == (f"org-{client}" if client % 2 else None)
        assert received.target.endswith("?tried=again") == (client % 3 == 0)
        assert received.json["messages"][0]["content"] == "word " * words
        assert received.header("content-length") == str(len(received.body))


async def test_a_new_key_is_sent_from_the_next_request_on(redeo: Any, provider: Any) -> None:
    up = await provider(chat())
    server = await redeo({"alpha": up})
    keys = [server.keys["alpha"], "sk-another-key-0123456789-abcdefghij"]
    for _ in range(3):
        await ask(server, 1, 1)
    changed = await server.request("PATCH", "/v1/providers/alpha", json={"api_key": keys[1]})
    assert changed.status == 200
    server.keys["alpha"] = keys[1]
    for _ in range(3):
        await ask(server, 1, 1)
    sent = [received.header("authorization") for received in up.requests]
    assert sent == [f"Bearer {key}" for key in keys for _ in range(3)]

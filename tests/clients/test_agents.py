"""Coding agents against every provider dialect: what they sent when they ran for real, shortened, and what they do
with the answer, in one whole tool round trip.

`agents/*.json` holds the first request of each and its message with the tool's result. How each hands back what the
model said stands here, as it was seen; it decides whether thinking survives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.test_translation import behind, good, spoken
from tests.support.rounds import PROVIDERS, SIGNED, SPOKEN, THOUGHT, Heard, call_of, heard_by
from tests.support.speech import ANTHROPIC, CHAT, CONVERSE, GEMINI, RESPONSES, Speech, parse

FOLDER = Path(__file__).parent / "agents"
MARKER = "marker-42 é✓"
COMMAND = "printf 'marker-%d %s\\n' 42 é✓"
# What no other dialect has a word for, as each client names it.
DROPPED = {
    "claude-code": ("cache_control", "context_management", "metadata.user_id", "exclusiveMinimum", "propertyNames"),
    "codex": ("tools[2]", "tools[3]", "tools[4]", "client_metadata", "store", "prompt_cache_key", "reasoning"),
    "gemini-cli": ("top_k", "topK", "topP", "temperature", "thinkingConfig"),
    "opencode": ("exclusiveMinimum",),
    "qwen-code": (),
}


@dataclass
class Reply:
    """An answer as a client reads it: the calls, the texts, and what it puts into its history."""

    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    text: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)


def chat_reply(body: bytes, _asked: str) -> Reply:
    """opencode and Qwen Code keep text, thinking and calls of the message."""
    deltas = [c["delta"] for _, data in parse(body)[0] if data != "[DONE]" for c in json.loads(data)["choices"]]
    rows = [row for delta in deltas for row in delta.get("tool_calls") or ()]
    text, thought = ("".join(d.get(key) or "" for d in deltas) for key in ("content", "reasoning_content"))
    message: dict[str, Any] = {"role": "assistant", "content": text}
    reply = Reply(text=text, history=[message])
    if thought:
        message["reasoning_content"] = thought
    if rows:
        arguments = "".join(row["function"].get("arguments") or "" for row in rows)
        ident, name = rows[0]["id"], rows[0]["function"]["name"]
        reply.calls.append((ident, name, json.loads(arguments)))
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [{"id": ident, "type": "function", "function": function}]
    return reply


def messages_reply(body: bytes, asked: str) -> Reply:
    """Claude Code leaves signed thinking out of its history where another model than the one it asked said it."""
    model, blocks = "", {}
    for kind, data in parse(body)[0]:
        value = json.loads(data)
        if kind == "message_start":
            model = value["message"]["model"]
        elif kind == "content_block_start":
            blocks[value["index"]] = {**value["content_block"], "json": ""}
        elif kind == "content_block_delta":
            delta, block = value["delta"], blocks[value["index"]]
            for key, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                block[into] = block.get(into, "") + delta[key] if key in delta else block.get(into, "")
            block["signature"] = delta.get("signature", block.get("signature"))
    reply = Reply()
    for block in blocks.values():
        match block["type"]:
            case "text":
                reply.text += block["text"]
                entry = {"type": "text", "text": block["text"]}
            case "tool_use":
                given = json.loads(block["json"])
                reply.calls.append((block["id"], block["name"], given))
                entry = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": given}
            case _ if (block.get("signature") or block.get("data")) and model != asked:
                continue
            case "redacted_thinking":
                entry = {"type": "redacted_thinking", "data": block["data"]}
            case _:
                entry = {"type": "thinking", "thinking": block["thinking"], "signature": block["signature"]}
        reply.history.append(entry)
    reply.history = [{"role": "assistant", "content": reply.history}]
    return reply


def responses_reply(body: bytes, _asked: str) -> Reply:
    """Codex keeps the items as they came, with `content: null` in its reasoning."""
    reply = Reply()
    for kind, data in parse(body)[0]:
        if kind != "response.output_item.done":
            continue
        item = json.loads(data)["item"]
        if item["type"] == "message":
            reply.text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "custom_tool_call":
            reply.calls.append((item["call_id"], f"{item['namespace']}.{item['name']}", item["input"]))
        elif item["type"] == "function_call":
            reply.calls.append((item["call_id"], item["name"], json.loads(item["arguments"])))
        elif item["type"] == "reasoning":
            item = {"content": None, **item}
        reply.history.append(item)
    return reply


def gemini_reply(body: bytes, _asked: str) -> Reply:
    """Gemini CLI leaves out thoughts, joins texts, and signs the first call itself where nobody did."""
    parts = [p for _, data in parse(body)[0] for c in json.loads(data)["candidates"] for p in c["content"]["parts"]]
    kept = [part for part in parts if not part.get("thought")]
    reply = Reply(text="".join(part.get("text", "") for part in kept))
    calls = [dict(part) for part in kept if "functionCall" in part]
    reply.calls = [(c["functionCall"]["id"], c["functionCall"]["name"], c["functionCall"]["args"]) for c in calls]
    if calls:
        calls[0].setdefault("thoughtSignature", "skip_thought_signature_validator")
    reply.history = [{"role": "model", "parts": [{"text": reply.text}, *calls]}]
    return reply


@dataclass(frozen=True)
class Agent:
    """One client: its recorded requests, its dialect, how it reads an answer."""

    name: str
    speech: Speech
    reads: Callable[[bytes, str], Reply]
    turns: str  # where its history stands in the body
    seals: bool = True  # whether it can hand sealed thinking back

    @property
    def recorded(self) -> dict[str, Any]:
        return dict(json.loads((FOLDER / f"{self.name}.json").read_text()))

    @property
    def model(self) -> str:
        return str(self.recorded["first"].get("model", "auto"))

    async def ask(self, server: Any, body: dict[str, Any]) -> Any:
        """One request as it sends it; never an error, never without an end."""
        recorded = self.recorded
        got = await server.request("POST", recorded["path"], json=body, headers=recorded["headers"])
        assert got.status == 200, got.body
        assert self.speech.endings(got.body)[1] == 0
        return got

    def answered(self, body: dict[str, Any], reply: Reply, ident: str) -> dict[str, Any]:
        """Its next request: what the model said, and what the tool said."""
        result = json.dumps(self.recorded["result"]).replace("<call>", ident)
        return {**body, self.turns: [*body[self.turns], *reply.history, *json.loads(result)]}


CLAUDE = Agent("claude-code", ANTHROPIC, messages_reply, "messages")
CODEX = Agent("codex", RESPONSES, responses_reply, "input")
OPENCODE = Agent("opencode", CHAT, chat_reply, "messages", seals=False)
QWEN = Agent("qwen-code", CHAT, chat_reply, "messages", seals=False)
GEMINI_CLI = Agent("gemini-cli", GEMINI, gemini_reply, "contents")
AGENTS = (CLAUDE, CODEX, OPENCODE, QWEN, GEMINI_CLI)
ROUNDS = [pytest.param(agent, up, id=f"{agent.name}-{up.name}") for agent in AGENTS for up in PROVIDERS]


def declared(agent: Agent) -> dict[str, Any]:
    """The functions that an agent declares, with the names of their parameters."""
    first = agent.recorded["first"]
    rows = [row for tool in first["tools"] for row in tool.get("functionDeclarations", [tool])]
    rows = [row.get("function", row) for row in rows if row.get("type", "function") == "function"]
    schemas = [(r["name"], r.get("input_schema") or r.get("parametersJsonSchema") or r["parameters"]) for r in rows]
    return {name: set(schema["properties"]) for name, schema in schemas}


def words_of(agent: Agent) -> list[str]:
    """Every text of its first request but descriptions."""
    first = agent.recorded["first"]
    places = [first.get(key) for key in ("system", "systemInstruction", agent.turns)]
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for entry in value:
                walk(entry)
        elif isinstance(value, dict):
            for key, entry in value.items():
                if key in ("text", "content") and isinstance(entry, str):
                    found.append(entry)
                else:
                    walk(entry)

    walk(places)
    return found


async def round_trip(
    redeo: Any, provider: Any, agent: Agent, speech: Speech, **settings: Any
) -> tuple[Reply, list[Heard], list[Any]]:
    """The model asks for the agent's shell tool, gets what it said, and speaks: its call, what the provider heard,
    and the agent's answers."""
    recorded = agent.recorded
    key = "cmd" if agent is CODEX else "command"
    call = call_of(speech, recorded["tool"], json.dumps({key: COMMAND}))
    server, (up,) = await behind(redeo, provider, (speech, good(speech, "It said ", MARKER)), **settings)
    up.scripts.insert(0, spoken(speech, call))
    first = await agent.ask(server, recorded["first"])
    reply = agent.reads(first.body, agent.model)
    assert [(name, given) for _, name, given in reply.calls] == [(recorded["tool"], {key: COMMAND})]
    second = await agent.ask(server, agent.answered(recorded["first"], reply, reply.calls[0][0]))
    assert agent.reads(second.body, agent.model).text == f"It said {MARKER}"
    return reply, [heard_by(speech, request.json) for request in up.requests], [first, second]


@pytest.mark.parametrize(("agent", "speech"), ROUNDS)
async def test_an_agent_gets_its_tool_run(redeo: Any, provider: Any, agent: Agent, speech: Speech) -> None:
    reply, (first, second), answers = await round_trip(redeo, provider, agent, speech)
    for heard in (first, second):
        assert [text for text in words_of(agent) if text not in heard.said] == []
        tools = {name: set(schema["properties"]) for name, schema in heard.tools.items()}
        assert declared(agent).items() <= tools.items()
    assert [(name, given) for _, name, given in second.calls] == [(name, given) for _, name, given in reply.calls]
    assert SPOKEN in second.said or speech.name == "cohere_chat"  # there it is the plan
    assert [MARKER in text for _, text in second.results] == [True]
    assert [ident for ident, _ in second.results] == [ident for ident, _, _ in second.calls]
    assert first.results == first.calls == []
    for answer in answers:
        named = [what for what in answer.headers.get("x-redeo-dropped", "").split(", ") if what]
        known = (*DROPPED[agent.name], "thinking")
        assert [what for what in named if not any(word in what for word in known)] == []


SEALED: dict[str, Callable[[Any], Any]] = {
    "messages": lambda block: (block["thinking"], block["signature"]),
    "responses": lambda item: (item["summary"][0]["text"], item["encrypted_content"]),
    "converse": lambda block: tuple(block["reasoningContent"]["reasoningText"].values()),
}


@pytest.mark.parametrize(
    ("agent", "speech"),
    [
        pytest.param(agent, up, id=f"{agent.name}-{up.name}")
        for agent in (CLAUDE, CODEX, GEMINI_CLI)
        for up in (ANTHROPIC, RESPONSES, CONVERSE)
        if agent.speech is not up or agent is CODEX  # Claude Code's bytes pass, the provider's name of the model too
    ],
)
async def test_sealed_thinking_comes_back(redeo: Any, provider: Any, agent: Agent, speech: Speech) -> None:
    _, (_, second), _ = await round_trip(redeo, provider, agent, speech)
    assert [SEALED[speech.name](thought) for thought in second.thoughts] == [(THOUGHT, SIGNED)]


@pytest.mark.parametrize(("name", "thoughts"), [("provider", []), ("asked", [(THOUGHT, SIGNED)])])
async def test_claude_code_keeps_thinking_of_the_model_it_asked(
    redeo: Any, provider: Any, name: str, thoughts: list[Any]
) -> None:
    _, (_, second), _ = await round_trip(redeo, provider, CLAUDE, ANTHROPIC, routing={"answer_model": name})
    assert [SEALED["messages"](thought) for thought in second.thoughts] == thoughts


@pytest.mark.parametrize("agent", [CLAUDE, CODEX, GEMINI_CLI], ids=lambda a: a.name)
async def test_signed_calls_come_back(redeo: Any, provider: Any, agent: Agent) -> None:
    _, (_, second), _ = await round_trip(redeo, provider, agent, GEMINI)
    assert [(part.get("functionCall", {}).get("name"), part["thoughtSignature"]) for part in second.thoughts] == [
        (agent.recorded["tool"], SIGNED)
    ]


@pytest.mark.parametrize("speech", [up for up in PROVIDERS if up is not RESPONSES], ids=lambda s: s.name)
async def test_codex_gets_its_tools_also_where_an_item_holds_them(redeo: Any, provider: Any, speech: Speech) -> None:
    """With a model that it knows, it sends its tools in namespaces, in an item; the first takes free text."""
    agent = Agent("codex-known-model", RESPONSES, responses_reply, "input")
    asked = agent.recorded["first"]
    script = 'const r = await tools.exec_command({cmd: "ls"}); text(r);'
    server, (up,) = await behind(redeo, provider, (speech, good(speech, "It said ", MARKER)))
    up.scripts.insert(0, spoken(speech, call_of(speech, "functions__exec", json.dumps({"input": script}))))
    reply = responses_reply((await agent.ask(server, asked)).body, "auto")
    ident, name, given = reply.calls[0]
    assert (name, given) == ("functions.exec", script)
    second = await agent.ask(server, agent.answered(asked, reply, ident))
    assert responses_reply(second.body, "auto").text == f"It said {MARKER}"
    for heard in (heard_by(speech, request.json) for request in up.requests):
        assert list(heard.tools) == [
            "functions__exec",
            "functions__wait",
            "clock__sleep",
            "collaboration__followup_task",
        ]
        for words in ("You are Codex", "Run the command please"):
            assert any(text.startswith(words) for text in heard.texts), words
    assert [(name, given) for _, name, given in heard.calls] == [("functions__exec", {"input": script})]
    assert [(ident, MARKER in text) for ident, text in heard.results] == [(heard.calls[0][0], True)]

"""What counts as the same model under another name: the table of examples, and the laws behind it.

The names are real ones: of the recordings (../shared/recordings/INDEX.tsv) and of the providers' model lists, 2026-11.
"""

# ruff: noqa: E501, SIM905 - a row of the table is one line, a list of words is words
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.routing.same_model import match, same

# asked, listed (by blanks), the one that serves it (`none`: no such name)
_ROWS = """
# the name as it is
gpt-4o | gpt-4o-mini gpt-4o | gpt-4o
openai/gpt-4o | gpt-4o openai/gpt-4o | openai/gpt-4o
gpt-oss:20b | gpt-oss:20b gpt-oss:120b | gpt-oss:20b
sonar | sonar sonar-pro | sonar
meta-llama/Llama-4-Scout-17B-16E-Instruct | meta-llama/llama-4-scout-17b-16e-instruct meta-llama/Llama-4-Scout-17B-16E-Instruct | meta-llama/Llama-4-Scout-17B-16E-Instruct
arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f | arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f | arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f
# vendor prefixes
gpt-4o | openai/gpt-4o openai/gpt-4o-mini | openai/gpt-4o
openai/gpt-4o-mini | gpt-4o gpt-4o-mini | gpt-4o-mini
gpt-4.1-mini | openai/gpt-4.1 openai/gpt-4.1-mini | openai/gpt-4.1-mini
gpt-5.6-sol | openai/gpt-5.6-sol | openai/gpt-5.6-sol
gpt-oss-120b | openai/gpt-oss-20b openai/gpt-oss-120b | openai/gpt-oss-120b
DeepSeek-R1 | deepseek-ai/DeepSeek-R1 | deepseek-ai/DeepSeek-R1
deepseek/deepseek-r1 | deepseek-ai/DeepSeek-R1 | deepseek-ai/DeepSeek-R1
qwen/qwen3-32b | Qwen/Qwen3-32B | Qwen/Qwen3-32B
glm-4.7 | zai-org/glm-4.7-flash zai-org/GLM-4.7 | zai-org/GLM-4.7
zai/GLM-5.2 | glm-5.2 | glm-5.2
minimax/minimax-m2 | MiniMaxAI/MiniMax-M2 | MiniMaxAI/MiniMax-M2
o3 | openai/o3 openai/o3-mini | openai/o3
mistral-small | mistralai/mistral-small | mistralai/mistral-small
Pro/deepseek-ai/DeepSeek-R1 | deepseek-r1 | deepseek-r1
@cf/meta/llama-3.1-8b-instruct | meta-llama/Llama-3.1-8B-Instruct | meta-llama/Llama-3.1-8B-Instruct
llama-3.1-8b-instruct | @cf/meta/llama-3.1-8b-instruct-fp8 @cf/meta/llama-3.1-8b-instruct | @cf/meta/llama-3.1-8b-instruct
publishers/anthropic/models/claude-sonnet-4-6 | claude-sonnet-4-6 | claude-sonnet-4-6
# models/
models/gemini-2.5-flash | gemini-2.5-flash gemini-2.5-flash-lite | gemini-2.5-flash
gemini-2.5-flash | models/gemini-2.5-flash-lite models/gemini-2.5-flash | models/gemini-2.5-flash
google/gemini-3.6-flash | models/gemini-3.6-flash | models/gemini-3.6-flash
models/gemini-embedding-2 | google/gemini-embedding-2 | google/gemini-embedding-2
# dots and dashes, case
claude-sonnet-4.5 | claude-sonnet-4-5 | claude-sonnet-4-5
anthropic/claude-sonnet-4.6 | claude-sonnet-4-5 claude-sonnet-4-6 | claude-sonnet-4-6
claude-3-5-sonnet | anthropic/claude-3.5-sonnet | anthropic/claude-3.5-sonnet
gpt-4-1 | gpt-4 gpt-4.1 | gpt-4.1
GPT-4O | gpt-4o | gpt-4o
gemini-1-5-flash | gemini-1.5-flash | gemini-1.5-flash
kimi_k3 | kimi-k3 | kimi-k3
llama3.1-8b | llama-3.1-8b | llama-3.1-8b
llama3.3-70b | llama-3.3-70b-versatile llama-3.3-70b | llama-3.3-70b
qwen-3-coder-480b | qwen3-coder-480b | qwen3-coder-480b
Qwen2.5-VL-72B-Instruct | qwen-2.5-vl-72b-instruct | qwen-2.5-vl-72b-instruct
voyage-3-5 | voyage-3 voyage-3.5 voyage-3.5-lite | voyage-3.5
# accounts/.../models/...
accounts/fireworks/models/gpt-oss-120b | gpt-oss-120b | gpt-oss-120b
deepseek-v3.1 | accounts/fireworks/models/deepseek-v3 accounts/fireworks/models/deepseek-v3p1 | accounts/fireworks/models/deepseek-v3p1
glm-4.7 | accounts/fireworks/models/glm-4p7 | accounts/fireworks/models/glm-4p7
qwen2.5-72b-instruct | accounts/fireworks/models/qwen2p5-72b-instruct | accounts/fireworks/models/qwen2p5-72b-instruct
meta-llama/Llama-3.3-70B-Instruct | accounts/fireworks/models/llama-v3p3-70b-instruct | accounts/fireworks/models/llama-v3p3-70b-instruct
meta-llama/Llama-3.1-8B-Instruct | accounts/fireworks/models/llama-v3p1-70b-instruct accounts/fireworks/models/llama-v3p1-8b-instruct | accounts/fireworks/models/llama-v3p1-8b-instruct
meta-llama/Llama-3.1-8B-Instruct | meta-llama/Meta-Llama-3.1-8B-Instruct | meta-llama/Meta-Llama-3.1-8B-Instruct
accounts/fireworks/models/kimi-k2-instruct-0905 | moonshotai/Kimi-K2-Instruct moonshotai/Kimi-K2-Instruct-0905 | moonshotai/Kimi-K2-Instruct-0905
# dates: asked for without one
gpt-4o | gpt-4o-2024-05-13 gpt-4o-2024-08-06 | gpt-4o-2024-08-06
gpt-5 | gpt-5-2025-08-07 gpt-5-mini-2025-08-07 | gpt-5-2025-08-07
gpt-5.2 | gpt-5.2-2025-12-11 gpt-5.2 | gpt-5.2
claude-haiku-4-5 | claude-haiku-4-5-20251001 | claude-haiku-4-5-20251001
claude-haiku-4.5 | claude-haiku-4-5@20251001 | claude-haiku-4-5@20251001
claude-3-haiku | claude-3-haiku-20240307 claude-3-opus-20240229 | claude-3-haiku-20240307
gpt-4 | gpt-4-0314 gpt-4-0613 | gpt-4-0613
deepseek-r1 | deepseek/deepseek-r1-0528 | deepseek/deepseek-r1-0528
qwen3-30b-a3b-instruct | qwen/qwen3-30b-a3b-instruct-2507 | qwen/qwen3-30b-a3b-instruct-2507
mistral-large | mistral-large-2407 mistral-large-2411 | mistral-large-2411
mistral-large | mistral-large-2402 mistral-large-20240101 | mistral-large-2402
mistral-large | mistral-large-2402 mistral-large-20240701 | mistral-large-20240701
gpt-4o-audio-preview | gpt-4o-audio-preview-2024-10-01 gpt-4o-audio-preview-2024-12-17 | gpt-4o-audio-preview-2024-12-17
gpt-3.5-turbo | gpt-3.5-turbo-0613 gpt-3.5-turbo-2024-01-25 | gpt-3.5-turbo-2024-01-25
# dates: asked for with one, that one alone
gpt-4o-2024-08-06 | gpt-4o gpt-4o-2024-05-13 | none
gpt-4o-2024-08-06 | gpt-4o-2024-05-13 openai/gpt-4o-2024-08-06 | openai/gpt-4o-2024-08-06
gpt-5-mini-2025-08-07 | gpt-5-mini | none
claude-sonnet-4-5-20250929 | claude-sonnet-4-5 | none
claude-sonnet-4-5-20250929 | claude-sonnet-4-5@20250929 | claude-sonnet-4-5@20250929
claude-3-5-sonnet-20240620 | claude-3-5-sonnet-20241022 | none
claude-haiku-4-5-20251001 | claude-haiku-4.5-2025-10-01 | claude-haiku-4.5-2025-10-01
gpt-4-0613 | gpt-4 gpt-4-0314 | none
deepseek-r1-0528 | deepseek-r1 | none
qwen3-30b-a3b-instruct-2507 | qwen/qwen3-30b-a3b-instruct-2507 | qwen/qwen3-30b-a3b-instruct-2507
gpt-5.1-2025-11-13 | gpt-5.1-codex-2025-11-13 | none
gemini-2.5-pro-preview-05-06 | gemini-2.5-pro-preview gemini-2.5-pro-preview-06-05 | none
command-r7b-12-2024 | command-r7b command-r7b-01-2025 | none
command-a-reasoning-08-2025 | cohere/command-a-reasoning-08-2025 | cohere/command-a-reasoning-08-2025
# latest
claude-3-opus-latest | claude-3-opus-20240229 | claude-3-opus-20240229
claude-3-5-sonnet-latest | claude-3-5-sonnet-20240620 claude-3-5-sonnet-20241022 | claude-3-5-sonnet-20241022
mistral-large-latest | mistral-large-2407 mistral-large-2411 | mistral-large-2411
mistral-small | mistral-small-latest mistral-medium-latest | mistral-small-latest
mistral-small-latest | mistral-small-2503 mistral-small-latest | mistral-small-latest
ministral-8b-latest | ministral-3b-latest mistralai/ministral-8b | mistralai/ministral-8b
voxtral-mini-latest | voxtral-small-latest voxtral-mini-2507 | voxtral-mini-2507
magistral-medium-latest | magistral-small-latest | none
llama3.1:latest | llama3.1 llama3.1:70b | llama3.1
claude-3-opus-20240229 | claude-3-opus-latest | none
# Bedrock
claude-sonnet-4-5 | us.anthropic.claude-sonnet-4-5-20250929-v1:0 | us.anthropic.claude-sonnet-4-5-20250929-v1:0
claude-sonnet-4-5-20250929 | anthropic.claude-sonnet-4-20250514-v1:0 eu.anthropic.claude-sonnet-4-5-20250929-v1:0 | eu.anthropic.claude-sonnet-4-5-20250929-v1:0
us.anthropic.claude-sonnet-4-20250514-v1:0 | claude-sonnet-4-20250514 claude-sonnet-4-0 | claude-sonnet-4-20250514
us.anthropic.claude-3-7-sonnet-20250219-v1:0 | anthropic/claude-3.7-sonnet | none
claude-3-7-sonnet | us.anthropic.claude-3-7-sonnet-20250219-v1:0 | us.anthropic.claude-3-7-sonnet-20250219-v1:0
claude-3-5-sonnet-20241022 | anthropic.claude-3-5-sonnet-20240620-v1:0 anthropic.claude-3-5-sonnet-20241022-v2:0 | anthropic.claude-3-5-sonnet-20241022-v2:0
claude-opus-4-8 | us.anthropic.claude-opus-4-8 | us.anthropic.claude-opus-4-8
us.anthropic.claude-sonnet-4-6 | global.anthropic.claude-sonnet-4-6 | global.anthropic.claude-sonnet-4-6
arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-8 | claude-opus-4-8 | claude-opus-4-8
us.amazon.nova-micro-v1:0 | amazon.nova-lite-v1:0 amazon.nova-micro-v1:0 | amazon.nova-micro-v1:0
us.amazon.nova-2-lite-v1:0 | amazon.nova-lite-v1:0 | none
us.amazon.nova-pro-v1:0 | amazon/nova-pro | amazon/nova-pro
meta.llama3-1-70b-instruct-v1:0 | llama-3.1-70b-instruct | llama-3.1-70b-instruct
gpt-oss-120b | openai.gpt-oss-20b-1:0 openai.gpt-oss-120b-1:0 | openai.gpt-oss-120b-1:0
openai.gpt-oss-120b | openai.gpt-oss-120b-1:0 | openai.gpt-oss-120b-1:0
openai.gpt-5.6-luna | gpt-5.6-sol gpt-5.6-luna | gpt-5.6-luna
qwen.qwen3-32b-v1:0 | Qwen/Qwen3-32B | Qwen/Qwen3-32B
google.gemma-3-27b-it | google/gemma-3-12b-it google/gemma-3-27b-it | google/gemma-3-27b-it
nvidia.nemotron-nano-12b-v2 | nvidia/nemotron-nano-12b nvidia/nemotron-nano-12b-v2 | nvidia/nemotron-nano-12b-v2
moonshot.kimi-k2-thinking | moonshotai/kimi-k2-thinking moonshotai/kimi-k2 | moonshotai/kimi-k2-thinking
mistral.mistral-large-3-675b-instruct | mistralai/mistral-large-3-675b-instruct | mistralai/mistral-large-3-675b-instruct
us.mistral.pixtral-large-2502-v1:0 | pixtral-large-2411 pixtral-large-2502 | pixtral-large-2502
anthropic.claude-v2 | anthropic.claude-v2:1 | none
anthropic.claude-v2:1 | anthropic.claude-v2 anthropic.claude-v2:0 | none
amazon.titan-embed-text-v1 | amazon.titan-embed-text-v2:0 | none
amazon.titan-embed-text-v2:0 | amazon.titan-embed-text-v1 amazon.titan-embed-text-v2 | amazon.titan-embed-text-v2
amazon.titan-image-generator-v1:0 | amazon.titan-image-generator-v2:0 | none
cohere.embed-english-v3 | cohere.embed-multilingual-v3 embed-english-v2.0 | none
mistral.mistral-7b-instruct-v0:2 | mistralai/mistral-7b-instruct-v0.1 mistralai/mistral-7b-instruct-v0.3 | none
us.does-not-exist-model-v1:0 | does-not-exist-model-v1:1 | none
# never a smaller or larger one, never one of another kind
gpt-4o-mini | gpt-4o | none
gpt-4o | gpt-4o-mini gpt-4o-audio-preview gpt-4o-search-preview gpt-4o-realtime-preview chatgpt-4o-latest | none
gpt-4.1 | gpt-4.1-mini gpt-4.1-nano gpt-4.1-nano-2025-04-14 | none
gpt-4.1-nano | gpt-4.1-mini | none
gpt-4 | gpt-4o gpt-4.1 gpt-4-turbo gpt-4-32k | none
gpt-4-turbo | gpt-4 gpt-4-turbo-preview gpt-4-1106-preview | none
gpt-5 | gpt-5.1 gpt-5-pro gpt-5-codex gpt-5-chat-latest gpt-5-search-api | none
gpt-5.1-codex-max | gpt-5.1-codex gpt-5.1 gpt-5.1-codex-mini | none
gpt-5.3-codex | gpt-5.2-codex gpt-5.3 | none
gpt-5.4-mini | gpt-5.4 gpt-5.4-2026-03-05 | none
gpt-5.2-proo | gpt-5.2-pro gpt-5.2 | none
gpt-3.5-turbo | gpt-3.5-turbo-16k gpt-3.5-turbo-instruct | none
gpt-3.5-turbo-instruct:20230824-v2 | gpt-3.5-turbo-instruct gpt-3.5-turbo | none
o1 | o1-mini o1-pro o1-preview o3 | none
o4-mini | o3-mini o4-mini-deep-research | none
text-embedding-3-small | text-embedding-3-large text-embedding-ada-002 | none
whisper-1 | whisper-large-v3 gpt-4o-transcribe | none
claude-opus-4-6 | claude-sonnet-4-6 claude-opus-4-5 claude-opus-4-8 claude-opus-5 | none
claude-sonnet-5 | claude-fable-5 claude-sonnet-4-5 | none
claude-3.7-sonnet | anthropic/claude-3.7-sonnet:thinking | none
claude-sonnet-4-0 | claude-sonnet-4 claude-sonnet-4-5 | none
gemini-2.5-flash | gemini-2.5-pro gemini-2.5-flash-lite gemini-2.5-flash-image gemini-2.5-flash-preview-tts | none
gemini-2.5-pro | gemini-2.5-flash gemini-2.5-pro-preview-05-06 | none
gemini-3-pro-image | gemini-3-pro-preview gemini-3-pro | none
gemini-3-flash-preview | gemini-3-flash gemini-3-pro-preview | none
gemini-3.6-flahs | gemini-3.6-flash | none
gemini-2.0-flash | gemini-2.0-flash-exp google/gemini-2.0-flash-exp:free gemini-2.0-flash-001 | none
gemini-embedding-2 | gemini-embedding-2-preview gemini-embedding-001 | none
google/gemini-2.0-flash-exp:free | gemini-2.0-flash-exp | none
minimax/minimax-m2:free | minimax/minimax-m2 | none
minimax/minimax-m2 | minimax/minimax-m2:free | none
llama-3.1-8b-instruct | llama-3.1-70b-instruct llama-3.1-405b-instruct llama-3.1-8b llama-3.2-8b-instruct | none
llama-3.3-70b-versatile | llama-3.3-70b llama-3.3-70b-instruct llama-3.1-8b-instant | none
meta-llama/Llama-3.3-70B-Instruct | meta-llama/Llama-3.3-70B-Instruct-Turbo meta-llama/Llama-3.3-70B-Instruct-Turbo-Free | none
meta-llama/Llama-3.1-8B | meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-Guard-3-8B | none
@cf/meta/llama-3.1-8b-instruct-fp8 | @cf/meta/llama-3.1-8b-instruct @cf/meta/llama-3.1-8b-instruct-awq | none
llama-4-scout-17b-16e-instruct | llama-4-maverick-17b-128e-instruct | none
llama-3.2-11b-vision-instruct | llama-3.2-11b-instruct llama-3.2-90b-vision-instruct | none
deepseek-r1 | deepseek-r1-distill-llama-70b deepseek-r1-zero deepseek-v3 | none
deepseek-r1-distill-llama-70b | deepseek-r1 llama-3.3-70b deepseek-r1-distill-qwen-32b | none
deepseek-v4-flash | deepseek-v4-pro deepseek-v4 | none
deepseek-chat | deepseek-reasoner deepseek-chat-v3-0324 | none
qwen3-max | qwen3-max-preview qwen3-32b qwen3-max-thinking | none
qwen3-coder-480b | qwen3-480b qwen3-coder-30b qwen3-coder-plus | none
qwen/qwen3-30b-a3b-instruct | qwen/qwen3-30b-a3b qwen/qwen3-30b-a3b-thinking-2507 qwen/qwen3-32b-instruct | none
Qwen/Qwen2.5-VL-72B-Instruct | Qwen/Qwen2.5-72B-Instruct Qwen/Qwen2.5-VL-7B-Instruct | none
gpt-oss-20b | gpt-oss-120b gpt-oss-safeguard-20b | none
grok-4-fast-reasoning | grok-4-fast-non-reasoning grok-4-fast grok-4 | none
grok-3-mini | grok-3 grok-3-mini-fast | none
grok-code-fast-1 | grok-4-fast grok-code-fast | none
mistral-large | mistral-medium mistral-small mistral-large-3-675b-instruct | none
mixtral-8x7b-instruct | mixtral-8x22b-instruct mistral-7b-instruct | none
sonar-pro | sonar sonar-reasoning-pro | none
kimi-k2-thinking | kimi-k2 kimi-k2-instruct kimi-k2-thinking-turbo | none
glm-4.7 | zai-org/glm-4.7-flash glm-4.6 glm-4.7-fp8 zai-glm-4.7 | none
embed-v4.0 | embed-english-v3.0 embed-v4.0-light | none
gemma-7b-it | gemma-2b-it gemma-7b gemma-2-7b-it | none
# nothing to go by
gpt-4o | none | none
/ | gpt-4o | none
openai/ | gpt-4o | none
-latest | gpt-4o-latest | none
2024-08-06 | gpt-4o-2024-08-06 | none
"""


def _rows() -> list[tuple[str, list[str], str | None]]:
    lines = [line for line in _ROWS.splitlines() if line and not line.startswith("#")]
    parted = [[part.strip() for part in line.split("|")] for line in lines]
    return [(asked, listed.split(), None if expected == "none" else expected) for asked, listed, expected in parted]


@pytest.mark.parametrize(("asked", "listed", "expected"), _rows())
def test_the_table(asked: str, listed: list[str], expected: str | None) -> None:
    assert match(asked, listed) == expected
    assert match(asked, listed[::-1]) == expected


def test_the_table_is_long_enough() -> None:
    rows = _rows()
    assert len(rows) >= 120
    assert sum(expected is None for _, _, expected in rows) >= 60


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("gpt-4o", "openai/GPT-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o-latest", "gpt-4o-2024-08-06", True),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("", "", True),
        ("", "/", False),
        ("openai/", "anthropic/", False),
    ],
)
def test_same(one: str, other: str, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected


_NAMES = sorted({name for asked, listed, _ in _rows() for name in (asked, *listed)})
_words = st.sampled_from(
    "gpt 4o 4 1 3.1 3p1 llama claude mini 8b 70b v1:0 v2:0 :free latest 2024-08-06 20241022 0613 2507".split()
    + "thinking instruct openai/ anthropic. us. models/ @".split()
)
_made = st.lists(st.tuples(_words, st.sampled_from(["-", ".", "", "_", "/"])), max_size=6).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
_name = st.one_of(st.sampled_from(_NAMES), _made, st.text(max_size=30))


@settings(max_examples=200, deadline=None)
@given(_name, st.lists(_name, max_size=8), st.randoms(use_true_random=False))
def test_laws_of_match(asked: str, listed: list[str], random: object) -> None:
    found = match(asked, listed)
    assert found is None or found in listed
    if asked in listed:
        assert found == asked
    if found is not None:
        assert same(asked, found)
    shuffled = list(listed)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert match(asked, shuffled) == found
    assert match(asked, listed + listed) == found


@settings(max_examples=200, deadline=None)
@given(_name, _name)
def test_same_is_symmetric_and_reflexive(one: str, other: str) -> None:
    assert same(one, other) == same(other, one)
    assert same(one, one)


_SIBLING = st.sampled_from(
    "-mini -nano -8b -70b -flash -pro -instruct -base -thinking -preview :free :thinking -fp8 -awq -turbo".split()
    + "-codex -search -audio -coder -vision -lite -max -image -exp".split()
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_NAMES), _SIBLING)
def test_a_further_word_is_another_model(name: str, suffix: str) -> None:
    assert match(name, [name + suffix]) is None
    assert match(name + suffix, [name]) is None
    assert not same(name, name + suffix)

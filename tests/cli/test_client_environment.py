"""The variables for clients, and their way through each shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.address import Address
from proxy.cli.env import _SHELLS, client_environment, without_proxy
from proxy.cli.output import CommandError

HERE = Address("127.0.0.1", 7333)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=64)


def test_each_client_gets_its_form_of_the_address() -> None:
    found = client_environment(HERE, "k" * 16, {})
    assert found == {
        "OPENAI_BASE_URL": "http://127.0.0.1:7333/v1",
        "OPENAI_API_BASE": "http://127.0.0.1:7333/v1",
        "OPENAI_API_KEY": "k" * 16,
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:7333",
        "ANTHROPIC_AUTH_TOKEN": "k" * 16,
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:7333",
        "GEMINI_API_KEY": "k" * 16,
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HTTPS_PROXY": "http://p:3128"}, "127.0.0.1,localhost"),
        ({"http_proxy": "http://p:3128", "NO_PROXY": "corp.example"}, "corp.example,127.0.0.1,localhost"),
        ({"ALL_PROXY": "socks5://p", "no_proxy": " a , 127.0.0.1,,"}, "a,127.0.0.1,localhost"),
        ({"HTTP_PROXY": "http://p:3128", "no_proxy": "*"}, "*"),
    ],
)
def test_a_proxy_is_kept_away_from_the_daemon(environ: dict[str, str], expected: str) -> None:
    found = client_environment(HERE, "k", environ)
    assert (found["NO_PROXY"], found["no_proxy"]) == (expected, expected)


def test_without_a_proxy_nothing_is_said_about_one() -> None:
    assert "NO_PROXY" not in client_environment(HERE, "k", {"NO_PROXY": "corp.example", "HTTP_PROXY": ""})


def test_the_daemons_own_host_is_named_too() -> None:
    assert without_proxy({}, "gateway.lan") == "127.0.0.1,localhost,gateway.lan"


def test_a_unix_socket_cannot_be_pointed_at() -> None:
    with pytest.raises(CommandError, match="unix:/run/redeo"):
        client_environment(Address.parse("unix:/run/redeo/redeo.sock"), "k", {})


@given(KEYS)
def test_every_key_survives_the_shell(key: str) -> None:
    line = _SHELLS["sh"]("OPENAI_API_KEY", key)
    shell = shutil.which("sh")
    assert shell is not None
    script = f'{line}\nprintf %s "$OPENAI_API_KEY"'
    assert subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout == key


@given(KEYS)
def test_every_key_is_one_quoted_word_in_the_other_shells(key: str) -> None:
    fish = _SHELLS["fish"]("N", key)
    assert fish.startswith("set -gx N '")
    assert fish[11:-1].replace("\\'", "\0").replace("\\\\", "\1").replace("\0", "'").replace("\1", "\\") == key
    powershell = _SHELLS["powershell"]("N", key)
    assert powershell.startswith("$env:N = '")
    assert powershell[10:-1].replace("''", "'") == key
    assert "'" not in powershell[10:-1].replace("''", "")

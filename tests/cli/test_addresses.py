"""Where the daemon is, as commands read it."""

from __future__ import annotations

import pytest

from proxy.cli.address import Address
from proxy.cli.output import USAGE, CommandError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:7333", "http://127.0.0.1:7333"),
        ("0.0.0.0:7333", "http://127.0.0.1:7333"),
        ("[::]:7333", "http://[::1]:7333"),
        ("[::1]:80", "http://[::1]:80"),
        ("gateway.lan:65535", "http://gateway.lan:65535"),
    ],
)
def test_a_tcp_address_becomes_a_url(text: str, url: str) -> None:
    assert Address.parse(text).base_url == url
    assert str(Address.parse(text)) == url


def test_a_unix_path_is_kept_whole() -> None:
    assert Address.parse("unix:/run/a b.sock").path == "/run/a b.sock"
    assert str(Address.parse("unix:/run/a b.sock")) == "unix:/run/a b.sock"


@pytest.mark.parametrize("text", ["", "unix:", "7333", "127.0.0.1", "h:0", "h:65536", "h:-1", "h:１", "h:7333/v1"])
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(CommandError) as error:
        Address.parse(text)
    assert error.value.code == USAGE
    assert "HOST:PORT" in str(error.value)

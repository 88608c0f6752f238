"""An endpoint set over the admin API never leads the daemon into an inner network, however its address is spelt."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from config.addresses import Reach, numeric, reach
from proxy.upstream.addresses import DeniedAddress, denied, guarded_socket
from tests.support.upstream import answer, chat

METADATA = int(ip_address("169.254.169.254"))
# Each is refused for every provider: the cloud's metadata, or no host at all.
NEVER = [
    "169.254.169.254",
    "169.254.169.254.",
    str(METADATA),
    hex(METADATA),
    hex(METADATA).upper().replace("X", "x"),
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0251.254.0xa9.254",
    "169.254.43518",
    "169.16689662",
    "0xa9.16689662",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "0",
    "0x0",
    "0.1.2.3",
    "255.255.255.255",
    "240.0.0.1",
    "224.0.0.1",
    "[::]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[ff02::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:a9fe:a9fe::1]",
]
# Each is refused unless redeo.yaml names the provider.
INNER = [
    "10.0.0.1",
    "10.1",
    "167772161",
    "0x0a000001",
    "012.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "192.168.257",
    "100.64.0.1",
    "198.18.0.1",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fec0::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::1]",
    "[2001:db8::1]",
    "[::10.0.0.1]",
]
NAMES = ["metadata.google.internal", "metadata.google.internal.", "METADATA", "instance-data", "metadata.goog"]
SCHEMES = ("http", "https")


class Sockets:
    """Every socket that was asked to connect somewhere, and to where."""

    def __init__(self) -> None:
        self.asked: list[Any] = []


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    """Nothing leaves this machine for another; what would have is kept."""
    found = Sockets()
    real = socket.socket.connect

    def connect(sock: socket.socket, address: Any) -> None:
        if sock.family != socket.AF_UNIX and not ip_address(address[0].split("%")[0]).is_loopback:
            found.asked.append(address)
            raise ConnectionRefusedError(111, "nothing is called in a test")
        real(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to, a further answer each time they are asked for; the last one stays."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def ask(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else str(host)
        answers = known.get(text)
        if answers is None:
            return real(host, port, *arguments, **options)
        return real(answers.pop(0) if len(answers) > 1 else answers[0], port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return known


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_no_spelling_of_a_denied_address_is_taken_over_the_admin_api(
    redeo: Any, canary: Any, sockets: Sockets, scheme: str
) -> None:
    server = await redeo({})
    for host in [*NEVER, *INNER, *NAMES]:
        for provider, rest in (("vllm", ""), ("azure-openai", "/v1"), ("ollama", ":80/")):
            sent = {"provider": provider, "endpoint": f"{scheme}://{host}{rest}", "api_key": canary(provider)}
            got = await server.request("POST", "/v1/providers", json=sent)
            assert (got.status, got.json["error"]["code"]) == (400, "invalid_endpoint"), (sent["endpoint"], got.body)
    assert (await server.request("GET", "/v1/providers")).json["data"] == []
    assert not sockets.asked


async def test_what_a_hand_wrote_into_the_file_is_listed_and_never_called(redeo: Any, sockets: Sockets) -> None:
    server = await redeo({})
    for host in ("169.254.169.254", "0xa9fea9fe", "[64:ff9b::a9fe:a9fe]", "192.168.1.1"):
        text = f'connections:\n  vllm:\n    endpoint: "https://{host}/v1"\n'
        (server.state / "connections.yaml").write_text(text)
        (server.state / "connections.yaml").chmod(0o600)
        assert not await server.daemon.store.reload()
        assert "endpoint" in server.daemon.store.current.connections[0].fault
        assert (await server.chat("vllm/m")).status == 503
        assert not (await server.request("POST", "/v1/providers/vllm/test")).json["ok"]
    assert not sockets.asked


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "10.0.0.1", "127.0.0.1", "::1", "fd00:ec2::254", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"],
)
async def test_a_name_that_resolves_to_a_denied_address_is_not_connected_to(
    redeo: Any, provider: Any, names: dict[str, list[str]], sockets: Sockets, address: str
) -> None:
    listening = await provider(chat())
    names["innocent.example"] = [address]
    server = await redeo({})
    added = await server.connect("vllm", endpoint=f"https://innocent.example:{listening.port}/v1")
    assert added.status == 201
    got = await server.chat("vllm/m")
    assert (got.status, got.attempts) == (502, "vllm=connect"), got.body
    assert "refused" in got.json["error"]["message"]
    assert not (await server.request("POST", "/v1/providers/vllm/test")).json["ok"]
    assert not sockets.asked
    assert not listening.requests
    assert not listening.list_requests


async def test_a_name_that_changes_its_mind_is_judged_anew(
    redeo: Any, names: dict[str, list[str]], sockets: Sockets
) -> None:
    names["rebound.example"] = ["203.0.113.7", "192.168.1.1"]  # documentation, which nobody has: not public either
    names["moved.example"] = ["93.184.215.14", "192.168.1.1"]
    server = await redeo({})
    for host in ("rebound.example", "moved.example"):
        assert (await server.connect("vllm", endpoint=f"https://{host}/v1")).status in (200, 201)
        for _ in range(3):
            await server.chat("vllm/m")
    assert {address[0] for address in sockets.asked} <= {"93.184.215.14"}


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "fe80::1"])
async def test_a_person_who_names_a_provider_does_not_vouch_for_metadata(
    redeo: Any, names: dict[str, list[str]], sockets: Sockets, address: str
) -> None:
    names["lab.example"] = [address]
    host = f"[{address}]" if ":" in address else address
    for base_url in ("http://lab.example/v1", f"http://{host}/v1"):
        server = await redeo({"lab": {"base_url": base_url}})
        got = await server.chat("lab/m")
        assert got.attempts == "lab=connect", got.body
    assert not sockets.asked


async def test_a_person_who_names_a_provider_vouches_for_an_inner_address(
    redeo: Any, names: dict[str, list[str]], sockets: Sockets
) -> None:
    names["gpu.lab"] = ["10.20.30.40"]
    server = await redeo({"lab": {"base_url": "http://gpu.lab:8000/v1"}})
    await server.chat("lab/m")
    assert {address[:2] for address in sockets.asked} == {("10.20.30.40", 8000)}


async def test_a_redirect_leads_nowhere(redeo: Any, provider: Any, sockets: Sockets) -> None:
    where = {"location": "http://169.254.169.254/latest/meta-data/"}
    server = await redeo({"alpha": await provider(answer({}, 302, where))})
    assert (await server.chat()).attempts == "alpha=302"
    assert not sockets.asked


def test_every_spelling_is_an_address_of_its_kind() -> None:
    """So that the lists above cannot pass because something else of them was refused."""
    for hosts, wanted in ((NEVER, Reach.NEVER), (INNER, Reach.INNER)):
        for host in hosts:
            address = numeric(host.strip("[]").rstrip("."))
            assert address is not None, host
            assert reach(address) is wanted, host


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::6810:1", "2002:808:808::1"]
)
def test_public_addresses_are_public_behind_a_translator_too(host: str) -> None:
    assert denied(host, private=False) is None
    assert denied(host, private=True) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_called_where_the_endpoint_says_so(redeo: Any, provider: Any, host: str) -> None:
    """An address that is this machine on its face needs nobody's leave: local models live there."""
    server = await redeo({})
    added = await server.connect("vllm", endpoint=f"http://{host}:{(await provider(chat())).port}/v1")
    assert added.status == 201
    assert (await server.chat("vllm/m")).status == 200


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x8.8.8.8", "134744072"])
async def test_an_address_is_spelt_as_everybody_spells_it(redeo: Any, host: str) -> None:
    got = await (await redeo({})).connect("vllm", endpoint=f"https://{host}/v1")
    assert (got.status, got.json["error"]["code"]) == (400, "invalid_endpoint")
    assert "must spell its address as" in got.json["error"]["message"]


@pytest.mark.parametrize("address", ["no address", "", "10.0.0.1.example"])
def test_what_is_no_address_opens_no_socket(address: str) -> None:
    with pytest.raises(DeniedAddress):
        guarded_socket(private=True)((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))

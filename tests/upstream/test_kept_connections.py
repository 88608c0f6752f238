"""Connections that are kept for the next request, those that are made, and what is left of one that is given up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from proxy.fault import FaultKind, Phase
from proxy.upstream.client import UpstreamError
from tests.support.peers import AUTHORITY, Listener, Peer, Script, answered, answers, whole

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def text(asked: Any) -> str:
    return (await whole(await asked)).decode()


@BOTH
async def test_one_is_used_again(listen: Any, ask: Any, tls: bool) -> None:
    listener = await listen(answers(), tls=tls)
    assert [await text(ask(listener)) for _ in range(5)] == ["0"] * 5


@BOTH
async def test_the_one_that_was_used_last_is_used_next(listen: Any, ask: Any, tls: bool) -> None:
    """So that those of a busy hour go when it is over."""
    released = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(listener.peers) < 3:
                await released.wait()
            elif not released.is_set():
                released.set()
            await peer.send(answered(b"%d" % peer.number))

    listener = await listen(script, tls=tls)
    found = [await asked for asked in [asyncio.ensure_future(ask(listener)) for _ in range(3)]]
    last = await whole(found[1])
    for other in found:
        await whole(other)
    numbers = {await text(ask(listener)) for _ in range(4)}
    assert len(numbers) == 1
    assert last
    assert len(listener.peers) == 3


async def test_packets_do_not_wait_for_others(listen: Any, ask: Any) -> None:
    answer = await ask(await listen(answers()))
    [wire] = next(iter(ask.client._pools.values()))._all
    sock = wire._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    answer.close()


def afterwards(what: str, told: asyncio.Event) -> Script:
    """Answer, do that once told to, and be gone."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answered(b"%d" % peer.number))
        await told.wait()
        if what == "fin":
            peer.writer.close()
        elif what == "rst":
            peer.reset()
        else:
            await peer.send(what.encode())
            await peer.end()

    return script


@BOTH
@pytest.mark.parametrize("what", ["fin", "rst", "junk", "\r\n", answered(b"evil").decode()])
async def test_one_on_which_something_happens_while_it_idles_is_left(
    listen: Any, ask: Any, what: str, tls: bool
) -> None:
    """At once, and not when the next request is on it: that one goes over a fresh connection, whatever it is."""
    told = asyncio.Event()
    listener = await listen(afterwards(what, told), answers(), tls=tls)
    assert await text(ask(listener)) == "0"
    pool = next(iter(ask.client._pools.values()))
    assert len(pool._idle) == 1
    told.set()
    while pool._all:
        await asyncio.sleep(0.001)
    assert not pool._idle
    assert await text(ask(listener, again=False)) == "1"


async def test_two_in_one_packet_are_not_two(listen: Any, ask: Any) -> None:
    """What comes behind an answer spoils its connection, and reaches nobody."""
    listener = await listen(answers(answered(b"one") + answered(b"evil")))
    for number in range(3):
        assert await text(ask(listener)) == "one"
        assert len(listener.peers) == number + 1


def leaves_at(request: int, say: bytes = b"") -> Any:
    """Answer so many requests, and close in the face of the next."""

    async def script(peer: Peer) -> None:
        for _ in range(request):
            await peer.request()
            await peer.send(answered(b"%d" % peer.number))
        await peer.request()
        if say:
            await peer.send(say)

    return script


@BOTH
async def test_a_dead_one_is_replaced_once_by_a_fresh_one(listen: Any, ask: Any, tls: bool) -> None:
    """Never by another that was kept, which may be as dead."""
    listener = await listen(leaves_at(1), leaves_at(1), leaves_at(1), answers(), tls=tls)
    for answer in await asyncio.gather(*(ask(listener) for _ in range(3))):
        await whole(answer)
    pool = next(iter(ask.client._pools.values()))
    kept = len(pool._idle)
    assert await text(ask(listener, again=True)) == "3"
    assert len(pool._idle) == kept  # one less, and the fresh one


async def test_a_fresh_one_is_not_replaced(listen: Any, ask: Any) -> None:
    listener = await listen(leaves_at(0), answers())
    with pytest.raises(UpstreamError) as found:
        await ask(listener, again=True)
    assert (found.value.kind, found.value.phase) == (FaultKind.INTERRUPTED, Phase.SENT)
    assert found.value.detail == "it closed the connection without an answer"


async def test_nothing_is_put_twice_unless_it_may_be(listen: Any, ask: Any) -> None:
    listener = await listen(leaves_at(1), answers())
    assert await text(ask(listener)) == "0"
    with pytest.raises(UpstreamError) as found:
        await ask(listener, again=False)
    assert (found.value.kind, found.value.phase) == (FaultKind.INTERRUPTED, Phase.SENT)
    assert len(listener.peers) == 1


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_nothing_is_put_twice_once_a_byte_of_an_answer_has_come(listen: Any, ask: Any, said: bytes) -> None:
    listener = await listen(leaves_at(1, said), answers())
    assert await text(ask(listener)) == "0"
    with pytest.raises(UpstreamError):
        await ask(listener, again=True)
    assert len(listener.peers) == 1


@pytest.mark.parametrize("how", ["Connection: close", "1.0"])
async def test_one_that_is_not_kept_is_closed(listen: Any, ask: Any, how: str) -> None:
    raw = answered(b"ok", how) if ":" in how else answered(b"ok").replace(b"HTTP/1.1", b"HTTP/1.0")
    listener = await listen(answers(raw))
    for number in range(3):
        assert await text(ask(listener)) == "ok"
        await listener.peers[number].gone.wait()


async def test_an_idle_one_is_closed_after_a_while(listen: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one timer for all of them."""
    monkeypatch.setattr("proxy.upstream.pool._KEEPALIVE", 0.1)
    listener = await listen(answers())
    for answer in await asyncio.gather(*(ask(listener) for _ in range(5))):
        await whole(answer)
    pool = next(iter(ask.client._pools.values()))
    timer = pool._sweeper
    assert await text(ask(listener))
    assert pool._sweeper is timer
    for peer in listener.peers:
        await peer.gone.wait()
    assert not pool._idle
    assert pool._sweeper is None
    assert await text(ask(listener)) == str(len(listener.peers) - 1)


async def test_a_pool_that_is_closed_breaks_off_what_is_read(listen: Any, ask: Any) -> None:
    """What has no other end than that of its connection, too: it was not the provider who closed it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await peer.end()

    listener = await listen(script)
    answer = await ask(listener)
    assert await answer.read() == b"half"
    pools = ask.client.retain([])
    assert pools
    reading = asyncio.ensure_future(answer.read())
    await pools.close()
    with pytest.raises(UpstreamError):
        await reading
    answer.close()
    await listener.peers[0].gone.wait()
    assert not ask.client.retain([])


@BOTH
async def test_what_is_closed_in_the_middle_is_closed_at_once(listen: Any, ask: Any, tls: bool) -> None:
    """Without the goodbye of TLS, for which nobody might answer."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.end()

    listener = await listen(script, tls=tls)
    answer = await ask(listener)
    assert await answer.read() == b"half"
    answer.close()
    answer.close()
    await listener.peers[0].gone.wait()


# --- cancelled


async def cancelled(asking: asyncio.Future[Any]) -> None:
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert asking.cancelled()


@BOTH
async def test_whoever_leaves_before_an_answer_leaves_nothing_behind(listen: Any, ask: Any, tls: bool) -> None:
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        heard.set()
        await peer.end()

    listener = await listen(script, tls=tls)
    asking = asyncio.ensure_future(ask(listener))
    await heard.wait()
    await cancelled(asking)
    await listener.peers[0].gone.wait()


@BOTH
async def test_whoever_leaves_while_he_reads_may_read_on(listen: Any, ask: Any, tls: bool) -> None:
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await more.wait()
        await peer.send(b"ok")
        await peer.end()

    answer = await ask(await listen(script, tls=tls))
    reading = asyncio.ensure_future(answer.read())
    await asyncio.sleep(0)
    await cancelled(reading)
    more.set()
    assert await whole(answer) == b"ok"


async def test_whoever_leaves_in_the_handshake_leaves_nothing_behind(listen: Any, ask: Any) -> None:
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        heard.set()
        await peer.end()

    listener = await listen(script)  # which speaks no TLS
    asking = asyncio.ensure_future(ask(f"https://127.0.0.1:{listener.port}"))
    await heard.wait()
    await cancelled(asking)
    await listener.peers[0].gone.wait()


async def test_whoever_leaves_while_it_connects_leaves_nothing_behind(ask: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):  # its queue takes no more, and the kernel drops what comes
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        asking = asyncio.ensure_future(ask(f"http://127.0.0.1:{full.getsockname()[1]}"))
        await asyncio.wait({asking}, timeout=0.05)
        assert not asking.done()
        await cancelled(asking)
        with pytest.raises(UpstreamError) as found:
            await ask(f"http://127.0.0.1:{full.getsockname()[1]}", connect=0.05)
    assert (found.value.kind, found.value.phase) == (FaultKind.CONNECT, Phase.NOT_SENT)
    assert found.value.detail == "no connection within the connect clock"


async def test_whoever_leaves_in_a_look_up_does_not_take_it_from_others(
    listen: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = await listen(answers())
    asked, over = 0, asyncio.Event()

    async def resolve(host: str, port: int) -> Any:
        nonlocal asked
        asked += 1
        await over.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    base = f"http://provider.example:{listener.port}"
    monkeypatch.setattr("proxy.upstream.dial._resolve", resolve)
    first, second = asyncio.ensure_future(ask(base)), asyncio.ensure_future(ask(base))
    while not asked:
        await asyncio.sleep(0)
    await cancelled(first)
    over.set()
    assert await text(second) == "0"
    assert asked == 1
    for answer in await asyncio.gather(*(ask(base) for _ in range(3))):
        await whole(answer)
    assert asked == 1  # what is known of a name is good for a while


@pytest.mark.usefixtures("listen")  # whose authority is trusted
async def test_one_that_comes_about_after_the_end_is_closed(ask: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()

    async def shake_hands(theirs: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):  # it is gone as soon as it is there
            transport, _ = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), theirs, ssl=context
            )
            assert not await reader.read()
            transport.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        asking = asyncio.ensure_future(ask(f"https://127.0.0.1:{listening.getsockname()[1]}"))
        theirs, _ = await loop.sock_accept(listening)
        await ask.client.close()
        shaking = asyncio.ensure_future(shake_hands(theirs))
        with pytest.raises(UpstreamError, match="closed at once") as found:
            await asking
        assert found.value.phase is Phase.NOT_SENT
        await shaking


def resolving(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Every name is that of these addresses."""

    async def resolve(host: str, port: int) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in hosts]

    monkeypatch.setattr("proxy.upstream.dial._resolve", resolve)


async def test_who_cannot_prove_its_name_is_passed_over_for_another_address(
    listen: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = await listen(answers(), tls=True)  # whose certificate is another's
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("provider.example").configure_cert(context)
    honest = Listener([answers(answered(b"honest"))])
    resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
    async with await asyncio.start_server(honest.serve, "127.0.0.2", impostor.port, ssl=context):
        assert await text(ask(f"https://provider.example:{impostor.port}")) == "honest"
        await ask.client.close()
        await honest.stop()
    resolving(monkeypatch, "127.0.0.1")
    with pytest.raises(UpstreamError) as found:
        await ask(f"https://provider.example:{impostor.port}")
    assert (found.value.kind, found.value.phase) == (FaultKind.TLS, Phase.NOT_SENT)
    assert "certificate" in found.value.detail.lower() or "mismatch" in found.value.detail.lower()


async def test_no_address_of_a_name_that_is_denied_is_connected_to(
    listen: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = await listen(answers())
    resolving(monkeypatch, "169.254.169.254", "0.0.0.0", "127.0.0.1")
    assert await text(ask(f"http://provider.example:{listener.port}")) == "0"
    await ask.client.close()
    resolving(monkeypatch, "169.254.169.254", "0.0.0.0")
    with pytest.raises(UpstreamError) as found:
        await ask(f"http://provider.example:{listener.port}")
    assert (found.value.kind, found.value.phase) == (FaultKind.CONNECT, Phase.NOT_SENT)
    assert "is refused" in found.value.detail


@pytest.mark.parametrize("name", ["provider.invalid", "a" * 64 + ".example"])
async def test_a_name_that_nobody_has(ask: Any, name: str) -> None:
    with pytest.raises(UpstreamError) as found:
        await ask(f"http://{name}")
    assert (found.value.kind, found.value.phase) == (FaultKind.DNS, Phase.NOT_SENT)
    assert found.value.detail == "its name cannot be resolved"

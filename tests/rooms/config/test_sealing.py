"""Provider keys at rest: they open for what they were sealed for, and for nothing else; nobody prints one."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import secrets
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.connections import read_records
from config.document import parse
from config.errors import SealError, StoreUnavailable, UnsafeState
from config.model import Secret
from config.sealing import Keyring, MasterKey, binding, load_keyring, new_key
from config.store import ConnectionChange
from tests.rooms.config.statefiles import State, keys
from tests.support.canary import Canaries

Canary = Callable[[str], str]
RING = Keyring((MasterKey("0123abcd", secrets.token_bytes(32)), MasterKey("4567cdef", secrets.token_bytes(32))), False)
OLDER = Keyring((RING.keys[1],), False)
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=512)
ONE = "https://one.openai.azure.com"


def record(provider: str, api_key: str, **fields: str) -> str:
    """An entry of connections.yaml."""
    lines = [f"  {provider}:", f'    api_key: "{api_key}"', *(f'    {k}: "{v}"' for k, v in fields.items())]
    return "\n".join(lines) + "\n"


@given(plain=KEYS, provider=st.text(), where=st.text())
def test_what_is_sealed_opens_again_and_is_never_sealed_the_same_way_twice(
    plain: str, provider: str, where: str
) -> None:
    one, two = RING.seal(plain, provider, where), RING.seal(plain, provider, where)
    assert RING.open(one, provider, where) == RING.open(two, provider, where) == plain
    assert one != two


def test_an_older_key_still_opens_and_the_first_one_seals(canary: Canary) -> None:
    key = canary("openai")
    assert RING.open(OLDER.seal(key, "openai", "catalogue"), "openai", "catalogue") == key
    with pytest.raises(SealError, match="another master key"):
        OLDER.open(RING.seal(key, "openai", "catalogue"), "openai", "catalogue")


def test_every_flipped_bit_is_refused(canary: Canary) -> None:
    key = canary("openai")
    text = RING.seal(key, "openai", "catalogue")
    for at in range(len(text)):
        for bit in range(8):
            damaged = text[:at] + chr(ord(text[at]) ^ 1 << bit) + text[at + 1 :]
            with pytest.raises(SealError) as caught:
                RING.open(damaged, "openai", "catalogue")
            assert key[12:] not in str(caught.value)


@given(data=st.data())
def test_nothing_but_the_text_itself_opens(canaries: Canaries, data: st.DataObject) -> None:
    text = RING.seal(canaries.key("openai"), "openai", "catalogue")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    other = text[:start] + data.draw(st.text(max_size=6) | st.sampled_from(["=", "\n", " ", text])) + text[end:]
    assume(other != text)
    with pytest.raises(SealError):
        RING.open(other, "openai", "catalogue")


@given(bits=st.binary(max_size=80))
def test_a_forged_text_of_any_length_is_refused(bits: bytes) -> None:
    forged = f"sealed:v1:{RING.keys[0].ident}:" + base64.urlsafe_b64encode(bits).decode().rstrip("=")
    with pytest.raises(SealError):
        RING.open(forged, "openai", "catalogue")


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_it_opens_for_its_provider_and_binding_alone(mine: tuple[str, str], other: tuple[str, str]) -> None:
    assume(mine != other and not any("\0" in text for text in (*mine, *other)))  # no id and no origin holds a NUL
    text = RING.seal("a key", *mine)
    with pytest.raises(SealError):
        RING.open(text, *other)


def test_the_origin_is_bound_and_the_path_is_not() -> None:
    assert binding(ONE) == binding(f"{ONE}/") == binding(f"{ONE}/openai/v1") == binding(ONE.upper())
    different = [
        ONE,
        "http://one.openai.azure.com",
        f"{ONE}:8443",
        "https://two.openai.azure.com",
        f"{ONE}.evil.example",
    ]
    assert len({binding(e) for e in [*different, None, "not a URL", "http://[broken"]}) == len(different) + 3


# --- in the file


def test_a_record_moved_to_another_provider_is_not_tried(state: State, canary: Canary) -> None:
    state.write("connections:\n" + record("openai", canary("openai")))
    state.open()
    state.write(state.text.replace("openai:", "groq:"))
    connection = state.open().current.connections[0]
    assert connection.secret is None
    assert "groq: its sealed key cannot be opened" in str(connection.fault)


@pytest.mark.parametrize(
    "now", ["https://two.openai.azure.com", f"{ONE}:444", "https://one.openai.azure.com.evil.example"]
)
def test_a_record_with_another_endpoint_is_not_tried(state: State, canary: Canary, now: str) -> None:
    state.write("connections:\n" + record("azure-openai", canary("azure-openai"), endpoint=ONE))
    assert state.open().current.connections[0].fault is None
    state.write(state.text.replace(ONE, now))
    connection = state.open().current.connections[0]
    assert connection.secret is None
    assert "azure-openai: its sealed key cannot be opened" in str(connection.fault)


def test_a_sealed_key_does_not_survive_the_loss_of_its_endpoint(state: State, canary: Canary) -> None:
    state.write("connections:\n" + record("qwen", canary("qwen"), endpoint="https://dashscope.aliyuncs.com"))
    state.open()
    state.write(state.text.replace('endpoint: "https://dashscope.aliyuncs.com"', "endpoint: null"))
    assert keys(state.open()) == {"qwen": None}


def test_another_path_at_the_same_origin_keeps_the_key(state: State, canary: Canary) -> None:
    key = canary("azure-openai")
    state.write("connections:\n" + record("azure-openai", key, endpoint=ONE))
    state.open()
    state.write(state.text.replace(ONE, f"{ONE}/openai/v1"))
    assert keys(state.open()) == {"azure-openai": key}


def test_a_wrong_master_key_is_told_by_connection_and_shows_no_key(
    state: State, canary: Canary, canaries: Canaries, caplog: pytest.LogCaptureFixture
) -> None:
    mine = {name: canary(name) for name in ("openai", "groq")}
    state.write("connections:\n" + "".join(record(name, key) for name, key in mine.items()))
    before, state.env["REDEO_MASTER_KEY"] = state.open(), new_key()
    after = state.open()
    for connection in after.current.connections:
        assert connection.secret is None
        assert f"{connection.provider}: its sealed key cannot be opened" in str(connection.fault)
        assert "another master key" in str(connection.fault)
        canaries.add("log fault", str(connection.fault))
    for said in (caplog.text, repr(after.current), *(str(c.fault) for c in after.current.connections)):
        assert state.env["REDEO_MASTER_KEY"] not in said
        assert state.paths.master_key.read_text().strip() not in said
    assert keys(before) == mine, "what runs already goes on"
    del state.env["REDEO_MASTER_KEY"]
    assert keys(state.open()) == mine, "nothing was written with the wrong one"


async def test_a_key_set_anew_is_sealed_with_the_master_key_of_now(state: State, canary: Canary) -> None:
    state.write("connections:\n" + record("openai", canary("openai")) + record("groq", canary("groq")))
    state.open()
    state.env["REDEO_MASTER_KEY"] = new_key()
    fresh = canary("openai")
    await state.open().put("openai", ConnectionChange(api_key=fresh))
    assert keys(state.open()) == {"openai": fresh, "groq": None}


# --- where the master key comes from


def test_a_new_master_key_is_made_once_and_can_be_read_by_nobody_else(state: State) -> None:
    one, two = load_keyring(state.paths, {}), load_keyring(state.paths, {})
    assert one == two
    assert one is not None
    assert one.owned
    assert state.paths.master_key.stat().st_mode & 0o777 == 0o600


def test_none_is_made_where_none_may_be(state: State) -> None:
    assert load_keyring(state.paths, {}, make=False) is None
    assert not state.paths.master_key.exists()


def test_the_same_key_in_base64_and_hex_is_the_same_key(state: State) -> None:
    raw = secrets.token_bytes(32)
    spellings = [raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]
    rings = {load_keyring(state.paths, {"REDEO_MASTER_KEY": text}) for text in [*spellings, spellings[2].rstrip("=")]}
    assert len(rings) == 1


def test_a_given_master_key_comes_before_the_file_and_leaves_none(state: State) -> None:
    folder, keyfile = state.paths.config_file.parent, state.paths.config_file.with_name("key")
    (folder / "redeo.master-key").write_text(f"{new_key()}\n")
    keyfile.write_text(f"{new_key()}\n")
    env = {"CREDENTIALS_DIRECTORY": str(folder)}
    rings = [load_keyring(state.paths, env)]
    rings.append(load_keyring(state.paths, env := env | {"REDEO_MASTER_KEY_FILE": str(keyfile)}))
    rings.append(load_keyring(state.paths, env | {"REDEO_MASTER_KEY": new_key()}))
    assert len(set(rings)) == 3
    assert not any(ring is None or ring.owned for ring in rings)
    assert not state.paths.master_key.exists()


@pytest.mark.parametrize("text", ["correct horse battery staple", "pässwört that is long", "not utf-8 \udcff at all"])
def test_a_passphrase_gives_the_same_key_each_time(state: State, text: str) -> None:
    one, two, three = (load_keyring(state.paths, {"REDEO_MASTER_KEY": t}) for t in (text, text, text + "."))
    assert one == two != three


@pytest.mark.parametrize("text", ["short-secret", " \n,", "\n"])
def test_a_master_key_that_is_none_is_refused_and_not_quoted(state: State, text: str) -> None:
    with pytest.raises(UnsafeState, match=r"REDEO_MASTER_KEY: .*openssl rand -base64 32") as caught:
        load_keyring(state.paths, {"REDEO_MASTER_KEY": text})
    assert "short" not in str(caught.value)


def test_a_key_file_that_cannot_be_read_is_named(state: State) -> None:
    with pytest.raises(UnsafeState, match="REDEO_MASTER_KEY_FILE: /nowhere/key cannot be read"):
        load_keyring(state.paths, {"REDEO_MASTER_KEY_FILE": "/nowhere/key"})


# --- nobody prints one


@given(KEYS)
def test_a_mask_shows_twelve_characters_and_never_more_than_a_third(key: str) -> None:
    prefix = Secret(key).prefix
    assert key.startswith(prefix)
    assert len(prefix) == min(12, len(key) // 3)
    assert repr(Secret(key)) == f"Secret({prefix}...)"
    assert Secret(key) == Secret(key) != Secret(key + "x")
    assert Secret(key).fingerprint != Secret(key + "x").fingerprint


@pytest.mark.parametrize(
    "let_out",
    [str, "{}".format, "%s".__mod__, pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, bytes],
    ids=["str", "format", "percent", "pickle", "copy", "deepcopy", "json", "msgspec", "bytes"],
)
def test_a_secret_leaves_by_no_door(canary: Canary, canaries: Canaries, let_out: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        let_out(Secret(canary("openai")))
    canaries.add("log", str(caught.value))


def test_nothing_that_holds_a_key_shows_it(state: State, canary: Canary, canaries: Canaries) -> None:
    key = canary("openai")
    state.write("connections:\n" + record("openai", key))
    records, node = read_records(state.text.encode(), "f"), parse(state.text.encode(), "f")
    store = state.open()
    connection, ring = store.current.connections[0], load_keyring(state.paths, {})
    assert ring is not None
    change = ConnectionChange(api_key=key)
    for holder in (records, node, connection, connection.secret, store.current, store, change, vars(store)):
        for said in (repr(holder), ascii(holder), f"{holder!r}"):
            canaries.add("log repr", said)
            assert key not in said
            assert key[12:20] not in said
    master = state.paths.master_key.read_text().strip()
    for said in (repr(ring), str(ring), repr(ring.keys[0])):
        assert master not in said
        assert repr(ring.keys[0].secret) not in said


def test_no_traceback_shows_a_key(state: State, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sealing in place fails, what is said of it names the file only."""
    key = canary("openai")
    state.write("connections:\n" + record("openai", key))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreUnavailable) as caught:
        state.open()
    assert key[12:20] not in "".join(traceback.format_exception(caught.value))
    monkeypatch.undo()
    assert keys(state.open()) == {"openai": key}

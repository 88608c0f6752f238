"""Provider keys at rest: AES-256-GCM under a master key, bound to the provider and the endpoint they are for.

Text form: `sealed:v1:<key id>:<base64url of nonce and ciphertext>`. Owns the master key's sources. Algorithm: NIST
SP 800-38D with random 96-bit nonces; a passphrase goes through scrypt (RFC 7914) first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from config import cipher
from config.daemon_key import credential
from config.durable import create
from config.errors import SealError, UnsafeState
from config.paths import Paths, read_secure

PREFIX: Final = "sealed:"
_FORM: Final = re.compile(r"sealed:v1:([0-9a-f]{8}):([A-Za-z0-9_-]{40,})")
_NONCE: Final = 12
_MIN_PASSPHRASE: Final = 16


class MasterKey(msgspec.Struct, frozen=True):
    """One key with the id that sealed values name it by. Never printed."""

    ident: str
    secret: bytes

    def __repr__(self) -> str:
        return f"MasterKey({self.ident})"


class Keyring(msgspec.Struct, frozen=True):
    """The first key seals, all of them open. `owned`: the keys stand in the state directory's master.key."""

    keys: tuple[MasterKey, ...]
    owned: bool

    def seal(self, plain: str, provider: str, binding: str) -> str:
        """The sealed text of a credential for this provider and binding."""
        key, nonce = self.keys[0], secrets.token_bytes(_NONCE)
        sealed = nonce + cipher.encrypt(key.secret, nonce, plain.encode(), _associated(provider, binding))
        return f"sealed:v1:{key.ident}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, text: str, provider: str, binding: str) -> str:
        """The credential. Raises SealError for another key, provider or endpoint, and for any damage."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise SealError("it is damaged")
        key = next((k for k in self.keys if k.ident == found[1]), None)
        if key is None:
            raise SealError("it was sealed with another master key")
        try:
            data = base64.b64decode(found[2] + "=" * (-len(found[2]) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(data).decode().rstrip("=") != found[2]:
                raise SealError("it is damaged")
            return cipher.decrypt(key.secret, data[:_NONCE], data[_NONCE:], _associated(provider, binding)).decode()
        except (cipher.Damaged, ValueError, binascii.Error):
            raise SealError("it is damaged, or was sealed for another provider or endpoint") from None


def _associated(provider: str, binding: str) -> bytes:
    return f"redeo\0{provider}\0{binding}".encode()


def load_keyring(paths: Paths, env: Mapping[str, str], *, make: bool = True) -> Keyring | None:
    """The master keys from where they are given; `make`: a new one at the first start.

    Raises UnsafeState, StoreUnavailable. None only where there is none and none may be made.
    """
    for source, text in _given(env):
        if text is not None:
            return Keyring(_parse(text, source), owned=False)
    found = read_secure(paths.master_key)
    if found is None and make:
        create(paths.master_key, new_key().encode() + b"\n")
        found = read_secure(paths.master_key)  # another process may have been the first
    if found is None:
        return None
    return Keyring(_parse(found.decode("utf-8", "replace"), str(paths.master_key)), owned=True)


def new_key() -> str:
    """A fresh master key as it stands in a file."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _given(env: Mapping[str, str]) -> list[tuple[str, str | None]]:
    file = env.get("REDEO_MASTER_KEY_FILE")
    return [
        ("REDEO_MASTER_KEY", env.get("REDEO_MASTER_KEY") or None),
        ("REDEO_MASTER_KEY_FILE", _read(file) if file else None),
        ("the credential redeo.master-key", credential(env, "redeo.master-key")),
    ]


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UnsafeState(f"REDEO_MASTER_KEY_FILE: {file} cannot be read") from None


def _parse(text: str, source: str) -> tuple[MasterKey, ...]:
    keys = tuple(_key(part.strip(), source) for part in re.split(r"[\n,]", text) if part.strip())
    if not keys:
        raise UnsafeState(f"{source}: no master key in it; make one with: openssl rand -base64 32")
    return keys


def _key(text: str, source: str) -> MasterKey:
    secret = _decoded(text)
    if secret is None:
        if len(text) < _MIN_PASSPHRASE:
            raise UnsafeState(
                f"{source}: a master key is 32 bytes in base64 or hex, or a passphrase of {_MIN_PASSPHRASE} or more "
                "characters; make one with: openssl rand -base64 32"
            )
        phrase = text.encode("utf-8", "surrogateescape")  # an environment may hold what is not UTF-8
        secret = hashlib.scrypt(phrase, salt=b"redeo master key v1", n=2**14, r=8, p=1, dklen=32)
    return MasterKey(hashlib.sha256(b"redeo key id\0" + secret).hexdigest()[:8], secret)


def _decoded(text: str) -> bytes | None:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    if re.fullmatch(r"[A-Za-z0-9+/_-]{43}=?", text):
        return base64.urlsafe_b64decode(text.rstrip("=").replace("+", "-").replace("/", "_") + "=")
    return None


def binding(endpoint: str | None) -> str:
    """What beside the provider a sealed key is bound to: the origin of the connection's own endpoint, if it has one."""
    if endpoint is None:
        return "catalogue"
    from config.endpoints import origin

    return origin(endpoint)

"""The credential put into a request: the only place where a Secret is opened."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from config.model import AuthScheme, Connection, Operation
from proxy.dialects.json import decode_object, encode
from proxy.upstream import aws
from proxy.upstream.request import Pieces

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class MissingCredential(Exception):
    """The provider wants a key and the connection has none."""


def needs_token(connection: Connection, operation: Operation) -> bool:
    """Whether an access token has to be fetched first (`proxy.upstream.google`)."""
    return connection.auth(operation).scheme is AuthScheme.GOOGLE and connection.secret is not None


def sign(
    connection: Connection,
    operation: Operation,
    url: str,
    *,
    method: str = "GET",
    headers: list[tuple[str, str]] | None = None,
    body: bytes | Pieces | None = None,
    token: str | None = None,
) -> tuple[str, list[tuple[str, str]]]:
    """The URL and the headers that authorise one request; `token` is the access token where one is needed.

    Raises MissingCredential.
    """
    auth = connection.auth(operation)
    if auth.scheme is AuthScheme.NONE or (connection.secret is None and not connection.spec.needs_key):
        return url, []
    if connection.secret is None:
        raise MissingCredential(connection.provider)
    key = connection.secret.reveal()
    match auth.scheme:
        case AuthScheme.BEARER:
            return url, [("Authorization", f"Bearer {key}")]
        case AuthScheme.HEADER:
            return url, [(auth.name, key)]
        case AuthScheme.QUERY:
            return f"{url}{'&' if '?' in url else '?'}{auth.name}={quote(key, safe='')}", []
        case AuthScheme.GOOGLE:
            if token is None:
                raise MissingCredential(connection.provider)
            return url, [("Authorization", f"Bearer {token}")]
        case AuthScheme.AWS:
            pair = aws.key_pair(key)
            if pair is None:  # an API key of Bedrock's
                return url, [("Authorization", f"Bearer {key}")]
            return url, aws.signature(pair, method, url, headers or [], _whole(body), datetime.now(UTC))


def _whole(body: bytes | Pieces | None) -> bytes:
    return b"".join(body) if isinstance(body, tuple) else body or b""


def assertion(connection: Connection, now: float) -> tuple[str, bytes]:
    """Where a service account asks for a token, and the form it asks with. `now` in seconds since 1970.

    Source: RFC 7523 and RFC 7515; the key file is the one that Google Cloud gives out. Raises MissingCredential.
    """
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if connection.secret is None:
        raise MissingCredential(connection.provider)
    account = decode_object(connection.secret.reveal().encode()) or {}
    where = str(account.get("token_uri", ""))
    claims = {
        "iss": account.get("client_email"),
        "scope": _SCOPE,
        "aud": where,
        "iat": int(now),
        "exp": int(now) + 3600,
    }
    head = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id")}
    text = b".".join(urlsafe_b64encode(encode(part)).rstrip(b"=") for part in (head, claims))
    try:
        key = load_pem_private_key(str(account.get("private_key", "")).encode(), None)
    except (ValueError, TypeError):  # TypeError: it is locked with a password
        raise MissingCredential(connection.provider) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise MissingCredential(connection.provider)
    proof = urlsafe_b64encode(key.sign(text, padding.PKCS1v15(), SHA256())).rstrip(b"=")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": (text + b"." + proof).decode()}
    return where, urlencode(form).encode()

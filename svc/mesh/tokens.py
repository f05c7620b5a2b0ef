"""Access tokens: made by identity, checked locally by whoever holds its public keys.

A token is a JWT signed with Ed25519 (RFC 8037) of the type `at+jwt` (RFC 9068). What the token
says of its own checking is not believed: the algorithm is fixed, `kid` only chooses among the
published keys, and `jku`, `jwk` or `x5u` are never read.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from svc.mesh.errors import Unauthenticated

ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 -- a media type, not a secret
ISSUER = "betmesh"
AUDIENCE = "betmesh"
LIFETIME_S = 600
"""An access token lives ten minutes."""
LEEWAY_S = 5
"""How far the clock of the machine that made a token may be ahead of ours."""
REQUIRED = ("iss", "aud", "sub", "sid", "roles", "currency", "iat", "nbf", "exp", "jti")
JWKS_KEY = "jwks"
"""Where identity's KV bucket holds the published keys."""

Keys = Mapping[str, Ed25519PublicKey]


class Jwk(Struct, frozen=True, kw_only=True):
    """One public key as RFC 7517 and RFC 8037 write it."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


class Jwks(Struct, frozen=True, kw_only=True):
    """The published keys."""

    keys: list[Jwk]


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says; times are whole seconds of unix time."""

    iss: str
    aud: str
    sub: str
    sid: str
    roles: list[str]
    currency: str
    iat: int
    nbf: int
    exp: int
    jti: str

    @property
    def expires_at(self) -> datetime:
        """Return when the token ends, in UTC."""
        return datetime.fromtimestamp(self.exp, UTC)


def revoked_key(session_id: str) -> str:
    """Return the key in identity's KV bucket that tells that a session was revoked."""
    return f"revoked.{session_id}"


def key_id(public_key: Ed25519PublicKey) -> str:
    """Return the RFC 7638 thumbprint of a key, which serves as its `kid`."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{_x(public_key)}"}}'
    return _base64url(sha256(canonical.encode()).digest())


def published(public_keys: list[Ed25519PublicKey]) -> Jwks:
    """Return keys in the form in which they are published."""
    return Jwks(keys=[Jwk(kid=key_id(key), x=_x(key)) for key in public_keys])


def keys_of(document: bytes | Jwks) -> dict[str, Ed25519PublicKey]:
    """Return the usable keys of a published document by `kid`; what is not Ed25519 is left out.

    Raises ValueError when the document is not a JWKS.
    """
    if isinstance(document, bytes):
        try:
            document = msgspec.json.decode(document, type=Jwks)
        except msgspec.DecodeError as failure:
            raise ValueError(f"not a JWKS: {failure}") from failure
    return {
        key.kid: Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key.x + "=="))
        for key in document.keys
        if (key.kty, key.crv) == ("OKP", "Ed25519")
    }


def issue(
    key: Ed25519PrivateKey,
    *,
    user_id: str,
    session_id: str,
    roles: list[str],
    currency: str,
    token_id: str,
    now: datetime,
) -> str:
    """Return a signed access token that lives LIFETIME_S seconds from `now`."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "sid": session_id,
        "roles": roles,
        "currency": currency,
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME_S,
        "jti": token_id,
    }
    headers = {"kid": key_id(key.public_key()), "typ": TOKEN_TYPE}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers=headers)


def verify(token: str, keys: Keys, now: datetime) -> Claims:
    """Return the claims of a token that holds at the instant `now`.

    Raises Unauthenticated otherwise; the sentence never repeats the token. Whether its session
    was revoked since is not seen here.
    """
    try:
        header = jwt.get_unverified_header(token)
        key = keys.get(header.get("kid", ""))
        if header.get("typ") != TOKEN_TYPE or key is None:
            raise Unauthenticated("the access token was not made here")
        decoded = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            # The times are compared below, with the injected clock.
            options={
                "require": list(REQUIRED),
                "strict_aud": True,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        claims = msgspec.convert(decoded, Claims)
    except (jwt.InvalidTokenError, msgspec.ValidationError) as failure:
        raise Unauthenticated("the access token is not valid") from failure
    instant = now.timestamp()
    if claims.exp <= instant:
        raise Unauthenticated("the access token has expired")
    if max(claims.nbf, claims.iat) > instant + LEEWAY_S:
        raise Unauthenticated("the access token is not valid yet")
    return claims


def _x(public_key: Ed25519PublicKey) -> str:
    return _base64url(public_key.public_bytes_raw())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

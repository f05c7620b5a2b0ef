"""Access tokens: what passes, and every known way to forge one."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from svc.mesh import tokens
from svc.mesh.clock import new_id
from svc.mesh.errors import Unauthenticated

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KID = tokens.key_id(KEY.public_key())
KEYS = tokens.keys_of(tokens.published([KEY.public_key()]))
CLAIMS: dict[str, Any] = {
    "iss": "betmesh",
    "aud": "betmesh",
    "sub": "user",
    "sid": "session",
    "roles": ["player"],
    "currency": "EUR",
    "iat": int(NOW.timestamp()),
    "nbf": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 600,
    "jti": "token",
}


def signed(
    claims: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    key: Ed25519PrivateKey = KEY,
) -> str:
    return jwt.encode(
        CLAIMS if claims is None else claims,
        key,
        algorithm="EdDSA",
        headers={"kid": KID, "typ": "at+jwt"} if headers is None else headers,
    )


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def hs256_with(secret: bytes) -> str:
    """A token whose "secret" is our public key: the classic confusion of algorithms."""
    body = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': KID})}.{part(CLAIMS)}"
    mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def unsigned(algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'at+jwt', 'kid': KID})}.{part(CLAIMS)}."


def without(claim: str) -> dict[str, Any]:
    return {name: value for name, value in CLAIMS.items() if name != claim}


def test_an_issued_token_tells_its_user_session_roles_and_currency() -> None:
    user_id, session_id = new_id(), new_id()
    token = tokens.issue(
        KEY,
        user_id=user_id,
        session_id=session_id,
        roles=["player"],
        currency="EUR",
        token_id="t",
        now=NOW,
    )
    claims = tokens.verify(token, KEYS, NOW)
    assert (claims.sub, claims.sid, claims.roles) == (user_id, session_id, ["player"])
    assert (claims.currency, claims.expires_at) == ("EUR", NOW + timedelta(minutes=10))
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": KID}


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        (timedelta(seconds=-5), True),
        (timedelta(seconds=-6), False),
        (timedelta(0), True),
        (timedelta(seconds=599), True),
        (timedelta(seconds=600), False),
        (timedelta(days=1), False),
    ],
)
def test_a_token_holds_ten_minutes_and_five_seconds_of_clock_difference(
    after: timedelta, *, holds: bool
) -> None:
    if holds:
        assert tokens.verify(signed(), KEYS, NOW + after).sub == "user"
    else:
        with pytest.raises(Unauthenticated):
            tokens.verify(signed(), KEYS, NOW + after)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(unsigned("none"), id="algorithm none"),
        pytest.param(unsigned("NONE"), id="algorithm NONE"),
        pytest.param(unsigned("EdDSA"), id="no signature"),
        pytest.param(
            hs256_with(KEY.public_key().public_bytes_raw()), id="HS256 with the raw public key"
        ),
        pytest.param(
            hs256_with(
                KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            ),
            id="HS256 with the PEM of the public key",
        ),
        pytest.param(signed(key=STRANGER), id="another key under our kid"),
        pytest.param(
            signed(
                headers={"kid": tokens.key_id(STRANGER.public_key()), "typ": "at+jwt"}, key=STRANGER
            ),
            id="an unknown kid",
        ),
        pytest.param(
            signed(
                headers={
                    "kid": "stranger",
                    "typ": "at+jwt",
                    "jwk": {
                        "kty": "OKP",
                        "crv": "Ed25519",
                        "kid": "stranger",
                        "x": tokens.published([STRANGER.public_key()]).keys[0].x,
                    },
                    "jku": "http://127.0.0.1:1/jwks",
                },
                key=STRANGER,
            ),
            id="a key that it brings itself",
        ),
        pytest.param(
            signed(headers={"kid": "../../etc/passwd", "typ": "at+jwt"}), id="kid as path"
        ),
        pytest.param(signed(headers={"kid": "' OR 1=1 --", "typ": "at+jwt"}), id="kid as SQL"),
        pytest.param(signed(headers={"typ": "at+jwt"}), id="no kid"),
        pytest.param(
            f"{part({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': ['x']})}.{part(CLAIMS)}.AA",
            id="kid is a list",
        ),
        pytest.param(signed(headers={"kid": KID, "typ": "JWT"}), id="another type of token"),
        pytest.param(
            signed(headers={"kid": KID, "typ": "at+jwt", "crit": ["x"], "x": 1}),
            id="a critical extension that we do not know",
        ),
        pytest.param(signed(CLAIMS | {"aud": "elsewhere"}), id="another audience"),
        pytest.param(signed(CLAIMS | {"aud": ["betmesh", "elsewhere"]}), id="two audiences"),
        pytest.param(signed(CLAIMS | {"iss": "elsewhere"}), id="another issuer"),
        pytest.param(signed(CLAIMS | {"roles": "admin"}), id="roles are no list"),
        pytest.param(signed(CLAIMS | {"exp": "9999999999"}), id="expiry as text"),
        pytest.param(signed(CLAIMS | {"exp": 1e400}), id="expiry without end"),
        pytest.param(signed(CLAIMS | {"nbf": CLAIMS["nbf"] + 6}), id="not yet valid"),
        pytest.param(signed(CLAIMS | {"iat": CLAIMS["iat"] + 6}), id="made in the future"),
        pytest.param("", id="empty"),
        pytest.param("a.b", id="two parts"),
        pytest.param("ä.ö.ü", id="not ASCII"),
        pytest.param("." * 3000, id="only dots"),
        pytest.param(signed()[:-2] + "AA", id="a bent signature"),
        *(pytest.param(signed(without(claim)), id=f"no {claim}") for claim in CLAIMS),
    ],
)
def test_a_token_that_is_not_ours_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        tokens.verify(token, KEYS, NOW)
    assert not token or token not in refusal.value.detail


def test_a_retired_key_is_not_believed_any_more() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(signed(), {}, NOW)


def test_the_published_keys_are_those_of_rfc_8037() -> None:
    # Appendix A of RFC 8037: its key, and its thumbprint.
    raw = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = Ed25519PrivateKey.from_private_bytes(raw).public_key()
    found = tokens.published([key]).keys[0]
    assert found.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert found.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_published_key_of_another_kind_is_left_out_and_rubbish_is_an_error() -> None:
    document = b'{"keys": [{"kid": "a", "kty": "EC", "crv": "P-256", "x": "AA"}]}'
    assert tokens.keys_of(document) == {}
    with pytest.raises(ValueError, match="not a JWKS"):
        tokens.keys_of(b"[]")

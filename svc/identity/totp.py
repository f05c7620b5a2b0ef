"""One-time codes from a shared secret and the time: RFC 6238 on RFC 4226, in SHA-1 and 30 seconds.

Written here because it is these few lines over the standard library, tested with the RFC's own
table, and because the step that a code belongs to must be known, so that it opens only once.
"""

import base64
import hmac
from datetime import datetime
from urllib.parse import quote, urlencode

STEP_S = 30
DIGITS = 6
STEPS_AROUND = 1
"""A clock may be one step away, which RFC 6238 5.2 recommends at most."""
SECRET_BYTES = 20
ISSUER = "betmesh"


def code_at(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """Return the code of a step: dynamic truncation of HMAC-SHA-1 (RFC 4226 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}}"


def step_of(now: datetime) -> int:
    """Return the step of an instant."""
    return int(now.timestamp()) // STEP_S


def matching_step(secret: bytes, code: str, now: datetime, last_step: int) -> int | None:
    """Return the step that a code is of, or None; steps up to `last_step` are used up."""
    here = step_of(now)
    found = None
    for step in range(here - STEPS_AROUND, here + STEPS_AROUND + 1):
        if hmac.compare_digest(code_at(secret, step), code) and step > last_step:
            found = step
    return found


def shown(secret: bytes) -> str:
    """Return a secret as people type it in."""
    return base64.b32encode(secret).decode().rstrip("=")


def uri(secret: bytes, account: str) -> str:
    """Return what an authenticator app reads from a QR code (Key URI Format)."""
    query = urlencode({"secret": shown(secret), "issuer": ISSUER, "algorithm": "SHA1",
                       "digits": DIGITS, "period": STEP_S})  # fmt: skip
    return f"otpauth://totp/{quote(f'{ISSUER}:{account}')}?{query}"

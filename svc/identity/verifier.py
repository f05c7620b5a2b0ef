"""Who verifies players: people of the house, or a provider behind an HTTP interface.

A provider gets what the player handed in and answers at once with an outcome, or with `pending`:
its people tell staff, who record the outcome. Which one it is, `KYC_URL` says: without it, people.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import httpx
import msgspec
from msgspec import Struct

from svc.identity.contract_privacy import ExportedVerification
from svc.mesh.errors import Unavailable

Outcome = Literal["pending", "verified", "rejected"]
TIMEOUT_S = 3.0


class Verifier(Protocol):
    """What decides, now or later, whether somebody is who they say."""

    async def check(self, user_id: str, born: str, applicant: ExportedVerification) -> Outcome:
        """Return the outcome; the same user may be asked about again. Raises Unavailable."""
        ...


class People:
    """Staff looks at every application and records the outcome with `set_kyc`."""

    async def check(self, user_id: str, born: str, applicant: ExportedVerification) -> Outcome:
        """Return that somebody will look."""
        _ = user_id, born, applicant
        return "pending"


class _Answer(Struct):
    status: Outcome


class Provider:
    """A verification provider: `POST <KYC_URL>/checks`, answered with `{"status": …}`."""

    def __init__(self, url: str, token: str) -> None:
        """Keep where it is and the token that opens it."""
        self.url = url.rstrip("/")
        self.token = token

    async def check(self, user_id: str, born: str, applicant: ExportedVerification) -> Outcome:
        """Ask with the user's id as idempotency key; raises Unavailable without a clear answer."""
        body = msgspec.to_builtins(applicant) | {"reference": user_id, "date_of_birth": born}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
                answer = await client.post(
                    f"{self.url}/checks",
                    json=body,
                    headers={
                        "authorization": f"Bearer {self.token}",
                        "idempotency-key": f"{user_id}.{applicant.submitted_at.isoformat()}",
                    },
                )
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=_Answer).status
        except (httpx.HTTPError, msgspec.MsgspecError) as failure:
            raise Unavailable(f"the verification provider: {type(failure).__name__}") from failure


def verifier_of(settings: Mapping[str, str]) -> Verifier:
    """Return who verifies in this installation."""
    url = settings.get("KYC_URL")
    return Provider(url, settings.get("KYC_TOKEN", "")) if url else People()

"""People who register and log in, and what the tests of identity see of them."""

import secrets
from datetime import date

from svc.identity import contract as identity
from svc.identity.contract import LogIn, OfUser, Profile, Register, Tokens
from svc.mesh.clock import new_id
from tests.support.mesh import Operator
from tests.support.platform import Platform

PASSWORD = "correct horse battery"


def somebody(**changes: object) -> Register:
    fields: dict[str, object] = {
        "email": f"{new_id()}@example.com",
        "phone": f"+49151{secrets.randbelow(10**8):08}",
        "password": PASSWORD,
        "date_of_birth": date(1990, 5, 17),
        "currency": "EUR",
    }
    return Register(**(fields | changes))  # pyright: ignore[reportArgumentType] -- fields by name


async def registered(operator: Operator) -> tuple[str, str]:
    """A new player's id and e-mail address."""
    request = somebody()
    reply = await operator.call(identity.REGISTER, request)
    return reply.user_id, request.email


async def logged_in(operator: Operator, email: str) -> Tokens:
    return await operator.call(identity.LOG_IN, LogIn(email=email, password=PASSWORD))


async def profile_of(operator: Operator, user_id: str) -> Profile:
    return await operator.call(identity.PROFILE, OfUser(user_id=user_id))


async def bucket(platform: Platform, key: str) -> bytes | None:
    """What gateways see in identity's bucket."""
    async with platform.nats("gateway") as connection:
        store = await connection.jetstream().key_value("identity")
        return (await store.get(key)).value

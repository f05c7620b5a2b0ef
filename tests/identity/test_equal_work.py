"""What is refused costs the same, whether or not somebody has the address."""

from typing import Any

import pytest

from svc.identity import contract as identity, contract_security as security
from svc.identity.contract import LogIn
from svc.mesh.clock import new_id
from svc.mesh.database import Tx
from svc.mesh.errors import Unauthenticated
from tests.identity.people import registered
from tests.support.mesh import Operator, Services

NEW = "quite another password"


async def test_addresses_with_and_without_an_account_cost_the_same_statements_in_the_same_order(
    operator: Operator, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is heard afterwards is left out: nobody waits for that."""
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("ARGON2_TIME_COST", "1")
    await services("identity")
    _, email = await registered(operator)
    made: list[str] = []
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        before: Any = getattr(Tx, name)

        async def counted(tx: Tx, query: str, *values: object, _before: Any = before) -> object:
            if not tx.context.causation_id and tx.context.caller == "operator":
                made.append(" ".join(query.split()))
            return await _before(tx, query, *values)

        monkeypatch.setattr(Tx, name, counted)
    seen: dict[str, list[list[str]]] = {"log in": [], "ask": [], "confirm": []}
    for address in (email, f"{new_id()}@example.com"):
        ip = f"192.0.2.{len(seen['ask'])}"
        with pytest.raises(Unauthenticated):
            await operator.call(
                identity.LOG_IN, LogIn(email=address, password="a wrong one", ip=ip)
            )
        seen["log in"].append(made.copy())
        made.clear()
        await operator.call(security.REQUEST_RESET, security.RequestReset(email=address, ip=ip))
        seen["ask"].append(made.copy())
        made.clear()
        wrong = security.ConfirmReset(email=address, code="00000000", new_password=NEW, ip=ip)
        with pytest.raises(Unauthenticated):
            await operator.call(security.CONFIRM_RESET, wrong)
        seen["confirm"].append(made.copy())
        made.clear()
    for what, (known, unknown) in seen.items():
        assert known == unknown, what
        assert len(known) >= 3, what

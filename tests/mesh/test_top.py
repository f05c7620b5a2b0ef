"""The live view: what it counts is what was done."""

import asyncio

import pytest

from svc.platform import streams, top
from tests.mesh.pair import ECHO, REFUSE, Ask, Pair, TooMuch


async def test_it_counts_what_endpoints_did_between_two_looks(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = await streams.connect(pair.installation, "operator")
    try:
        before = await top.look(connection)
        for _ in range(3):
            await pair.asking.context().call(ECHO, Ask(text="x"))
        with pytest.raises(TooMuch):
            await pair.asking.context().call(REFUSE, Ask(text="x"))
        now = await top.look(connection)
    finally:
        await connection.close()

    assert dict(now.instances) == {"wallet": 1, "casino": 1}
    assert now.endpoints[ECHO.subject].requests - before.endpoints[ECHO.subject].requests == 3
    assert now.endpoints[REFUSE.subject].errors - before.endpoints[REFUSE.subject].errors == 1
    assert ("WALLET", "casino") in now.consumers
    edge = now.edges["call", "casino", "wallet", "refuse"]
    assert edge.outcomes["too-much"] >= 1
    assert edge.rate >= edge.errors > 0
    assert await asyncio.to_thread(top.top, ["--once"], pair.installation) == 0
    said = capsys.readouterr().out
    assert "2 instances of 2 services" in said
    assert ECHO.subject in said
    assert "WALLET > casino" in said
    assert "casino -> wallet refuse" in said
    assert "too-much" in said

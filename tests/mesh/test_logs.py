"""Logs: one JSON object a line, with the ids that lead on and without what nobody may read."""

import json
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from svc.mesh import log
from svc.mesh.context import Context
from tests.mesh.pair import Pair

PROGRAM = """
import logging
from svc.mesh import log
log.configure("info")
own = log.logger("wallet", "abc")
own.info("signed in", user_id="u-1", email="x@example.com", nested={"access_token": "t"})
try:
    raise ValueError("no bet for somebody@example.com, Bearer abc.def")
except ValueError:
    own.exception("failed")
logging.getLogger("opentelemetry").error("cannot reach %s", "http://me:secret@collector:4318")
"""


def test_every_line_is_json_whoever_wrote_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    signed, failed, library = map(json.loads, ended.stderr.splitlines())
    assert (signed["event"], signed["service"], signed["user_id"]) == ("signed in", "wallet", "u-1")
    assert signed["email"] == signed["nested"]["access_token"] == "[hidden]"
    assert "ValueError" in failed["exception"]
    assert "somebody" not in failed["exception"]
    assert "abc.def" not in failed["exception"]
    assert library["level"] == "error"
    assert library["event"] == "cannot reach http://[hidden]@collector:4318"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mail to Ann.Ex+1@mail.example.com now", "mail to [hidden] now"),
        ("call +4915112345678", "call [hidden]"),
        ("eyJhbGciOiJF.eyJzdWIiOi.sig-x expired", "[hidden] expired"),
        ("postgresql://wallet:pw@127.0.0.1/wallet", "postgresql://[hidden]@127.0.0.1/wallet"),
        ("SUAMK" + "A" * 53, "[hidden]"),
        ("bet 01a20377-9efa-74e1-b9de-853f3dd6410f at 2026-11-22T20:10:00+00:00", None),
        ("odds +110, stake 1000", None),
        ("rpc.wallet.v1.balance did not answer in time", None),
    ],
)
def test_what_nobody_may_read_is_hidden_and_ids_are_not(text: str, kept: str | None) -> None:
    assert log.hide(text) == (text if kept is None else kept)


async def test_the_row_that_a_database_refuses_is_not_told(pair: Pair) -> None:
    async with pair.asking.context().transaction() as tx:
        await tx.execute("CREATE TEMPORARY TABLE person (name text UNIQUE) ON COMMIT DROP")
        await tx.execute("INSERT INTO person VALUES ('Ann Example')")
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await tx.execute("INSERT INTO person VALUES ('Ann Example')")
    assert "Ann Example" in str(refused.value)
    told = log.hide(str(refused.value))
    assert "Ann Example" not in told
    assert "person_name_key" in told


def test_lines_of_a_piece_of_work_carry_its_trace_and_correlation(pair: Pair) -> None:
    def ids(context: Context) -> dict[str, Any]:
        bound = context.log._context
        return {name: bound[name] for name in ("correlation_id", "trace_id") if name in bound}

    trace = "ab" * 16
    context = Context(pair.asking, correlation_id="c-1", traceparent=f"00-{trace}-{'cd' * 8}-01")
    assert ids(context) == {"correlation_id": "c-1", "trace_id": trace}
    assert ids(Context(pair.asking, correlation_id="c-2")) == {"correlation_id": "c-2"}

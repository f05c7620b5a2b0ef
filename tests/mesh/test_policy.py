"""Routing policy while services run: canaries, mirrors, faults, limits, and what is written down.

The operator's command on the pair's own broker; nothing is restarted in any of these.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nats.aio.client import Client

from svc.mesh.errors import Denied, Overloaded, RemoteBug, TimedOut, Unavailable
from svc.mesh.policy_rules import AUDIT_STREAM, Fault
from svc.mesh.runtime import Runtime
from svc.mesh.settings import MissingSetting
from svc.platform import policy, policy_routes
from svc.platform.errors import PlatformError
from tests.mesh.pair import (
    ECHO,
    HAPPENED,
    MANY,
    NARROW,
    PATIENT_MS,
    Ask,
    Memory,
    Pair,
    answering,
    asking,
    settings_of,
)
from tests.support.waiting import until

Command = Callable[..., Awaitable[None]]
GROUP = 100
"""Calls at a time: fewer than the endpoint's queue takes."""


@pytest.fixture
async def command(pair: Pair) -> AsyncGenerator[Command]:
    """`just policy`, as an operator of the pair would run it; afterwards all is cleared."""
    services = [answering(Memory()), asking(Memory())]

    async def run(*words: str) -> None:
        await asyncio.to_thread(policy.policy, words, pair.installation, services)

    await pair.asking.context().call(ECHO, Ask(text="the edge is there"))
    pair.memory.served.clear()
    yield run
    await run("clear", "all")


@asynccontextmanager
async def released(pair: Pair, release: str, **settings: str) -> AsyncGenerator[Pair]:
    """One more instance of the answering service, of another release, with its own memory."""
    memory = Memory()
    own = settings_of(pair.installation, WALLET_RELEASE=release, **settings)
    runtime = Runtime(answering(memory), own)
    try:
        await runtime.start()
        yield Pair(runtime, pair.asking, memory, pair.installation)
    finally:
        await runtime.stop()


@pytest.fixture
async def blue(pair: Pair) -> AsyncGenerator[Pair]:
    """An instance of release `blue`."""
    async with released(pair, "blue") as found:
        yield found


@pytest.fixture
async def shadow(pair: Pair) -> AsyncGenerator[Pair]:
    """An instance that only sees copies, on a database that is not the others'."""
    own = pair.installation["IDENTITY_DATABASE_URL"]
    async with released(pair, "shadow", WALLET_SHADOW_DATABASE_URL=own) as found:
        yield found


async def applied(pair: Pair, *, there: bool = True) -> None:
    """Wait until the asking service has heard of a policy for the call, or of its end."""

    async def heard() -> bool:
        return (pair.asking.caller.edge(ECHO).policy is not None) is there

    await until(heard)


async def ask_often(pair: Pair, times: int) -> None:
    """Ask so many times, many at once; raises what any of them raises."""
    context = pair.asking.context()
    for start in range(0, times, GROUP):
        asked = [Ask(text=str(start + n)) for n in range(GROUP)]
        calls = [context.call(ECHO, one, deadline_ms=PATIENT_MS) for one in asked]
        await asyncio.gather(*calls)


async def test_a_canary_at_ten_percent_gets_ten_percent_and_nobody_reconnects(
    pair: Pair, blue: Pair, command: Command
) -> None:
    await command("set", "canary", "wallet", "--release", "blue", "--percent", "10")

    # The broker draws lots: of three times 2,000 calls a share beyond 10 % ± 2 comes once in
    # millions of runs, of 2,000 once in hundreds.
    await ask_often(pair, 6_000)

    assert len(pair.memory.served) + len(blue.memory.served) == 6_000
    assert 480 < len(blue.memory.served) < 720
    for runtime in (pair.asking, pair.answering, blue.answering):
        assert runtime.connection.stats["reconnects"] == 0


async def test_a_call_with_a_canary_is_a_message_of_its_own(
    pair: Pair, blue: Pair, command: Command
) -> None:
    """The broker draws for each message: calls that share one would all go the same way."""
    await command("set", "canary", "wallet.echo", "--release", "blue", "--percent", "50")
    await applied(pair)
    sent = pair.asking.caller.counter

    await ask_often(pair, GROUP)

    assert pair.asking.caller.counter - sent == GROUP
    assert len(pair.memory.served) + len(blue.memory.served) == GROUP


async def test_weights_change_under_load_without_a_failed_call(
    pair: Pair, blue: Pair, command: Command
) -> None:
    ended = asyncio.Event()

    async def load() -> None:
        while not ended.is_set():
            await ask_often(pair, GROUP)

    loading = asyncio.create_task(load())
    for percent in ("10", "60", "100"):
        await command("set", "canary", "wallet", "--release", "blue", "--percent", percent)
    ended.set()
    await loading
    pair.memory.served.clear()
    await ask_often(pair, GROUP)
    assert pair.memory.served == []  # all of them went to the canary

    await command("clear", "canary", "wallet")
    blue.memory.served.clear()
    await ask_often(pair, GROUP)
    assert blue.memory.served == []
    assert pair.asking.connection.stats["reconnects"] == 0


async def test_a_canary_with_no_instance_falls_back(
    pair: Pair, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    await command("set", "canary", "wallet", "--release", "blue", "--percent", "100")
    said = capsys.readouterr().out
    assert "no instance of wallet blue runs" in said
    assert said.splitlines()[0].endswith("WALLET_RELEASE=blue WALLET_PORT=0 ./just run wallet")

    await ask_often(pair, GROUP)
    assert len(pair.memory.served) == GROUP

    context = pair.asking.context()
    asked = [Ask(text=str(n)) for n in range(GROUP)]
    many = [context.call(MANY, one, deadline_ms=PATIENT_MS) for one in asked]
    assert [one.text for one in await asyncio.gather(*many)] == [str(n) for n in range(GROUP)]


async def test_a_canary_that_goes_is_not_missed(pair: Pair, blue: Pair, command: Command) -> None:
    await command("set", "canary", "wallet.echo", "--release", "blue", "--percent", "100")
    await ask_often(pair, GROUP)
    assert (len(blue.memory.served), len(pair.memory.served)) == (GROUP, 0)

    await blue.answering.stop()
    await ask_often(pair, GROUP)
    assert len(pair.memory.served) == GROUP


async def test_a_mirror_sees_its_share_and_changes_nothing_for_the_caller(
    pair: Pair, shadow: Pair, command: Command
) -> None:
    await command("set", "mirror", "wallet", "--percent", "100")
    await applied(pair)

    answer = await pair.asking.context().call(ECHO, Ask(text="seen twice"))
    await pair.asking.context().call(MANY, Ask(text="batchable, seen twice"))

    assert (answer.text, answer.caller) == ("seen twice", "casino")

    async def copied() -> bool:
        return set(shadow.memory.served) == {"seen twice", "batchable, seen twice"}

    await until(copied)
    assert pair.memory.served == ["seen twice", "batchable, seen twice"]


async def test_a_shadow_takes_part_in_nothing(pair: Pair, shadow: Pair) -> None:
    runtime, deadline = shadow.answering, datetime.now(UTC).timestamp() + 5
    await runtime.caller.start()

    for subject in (ECHO.subject, HAPPENED.subject, "$KV.wallet.x", "_INBOX.casino.x"):
        with pytest.raises(Denied):
            await runtime.caller.ask(subject, b"{}", deadline, None)

    assert runtime.relay is not None
    assert runtime.relay.task is None
    assert pair.memory.served == []


async def test_a_shadow_without_a_database_of_its_own_does_not_start(pair: Pair) -> None:
    with pytest.raises(MissingSetting, match="WALLET_SHADOW_DATABASE_URL"):
        async with released(pair, "shadow"):
            pass


@pytest.mark.parametrize(
    ("abort", "failure"),
    [("unavailable", Unavailable), ("timeout", TimedOut), ("internal", RemoteBug)],
)
async def test_an_aborted_call_fails_as_told_and_is_not_sent(
    pair: Pair, command: Command, abort: str, failure: type[Exception]
) -> None:
    words = ("--percent", "100", "--abort", abort, "--for", "1h")
    await command("set", "fault", "wallet.echo", "--from", "casino", *words)
    await applied(pair)

    with pytest.raises(failure, match="a policy's fault"):
        await pair.asking.context().call(ECHO, Ask(text="x"))
    body = msgspec.json.encode(Ask(text="x"))
    with pytest.raises(failure, match="a policy's fault"):
        await pair.asking.caller.call_raw(ECHO, body, 1.0, pair.asking.context())
    assert pair.memory.served == []

    await pair.asking.context().call(NARROW, Ask(text="another call"))
    await command("clear", "fault", "wallet.echo", "--from", "casino")
    await applied(pair, there=False)
    await pair.asking.context().call(ECHO, Ask(text="again"))


async def test_a_share_of_calls_fails_and_the_others_do_not(pair: Pair, command: Command) -> None:
    words = ("--percent", "50", "--abort", "unavailable", "--for", "1h")
    await command("set", "fault", "wallet", *words)
    await applied(pair)

    context = pair.asking.context()
    calls = [context.call(ECHO, Ask(text=str(n))) for n in range(GROUP)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    # None or all of a hundred at one half: not in the life of the universe.
    assert 0 < sum(isinstance(outcome, Unavailable) for outcome in outcomes) < GROUP


async def test_a_delay_uses_up_the_callers_time(pair: Pair, command: Command) -> None:
    words = ("--percent", "100", "--delay", "300", "--for", "1h")
    await command("set", "fault", "wallet.echo", *words)
    await applied(pair)

    answer = await pair.asking.context().call(ECHO, Ask(text="late"), deadline_ms=5_000)
    assert answer.left_s <= 4.7
    with pytest.raises(TimedOut, match="delayed"):
        await pair.asking.context().call(ECHO, Ask(text="too late"), deadline_ms=100)
    assert pair.memory.served == ["late"]


async def test_a_fault_ends_by_itself(pair: Pair, client: Client, command: Command) -> None:
    fault = Fault(
        percent=100, until=datetime.now(UTC) + timedelta(seconds=0.5), abort="unavailable"
    )
    await policy.write(client, "fault.all.wallet.echo", msgspec.json.encode(fault))

    async def heard() -> bool:
        return fault in pair.asking.policies.known.values()

    await until(heard)
    await applied(pair, there=False)

    await pair.asking.context().call(ECHO, Ask(text="without"))

    assert datetime.now(UTC) >= fault.until
    await command("show")


async def test_a_limit_shortens_the_wait_and_bounds_what_is_under_way(
    pair: Pair, command: Command
) -> None:
    await command("set", "limit", "wallet.echo", "--timeout", "1000", "--in-flight", "2")
    await applied(pair)
    context = pair.asking.context()

    outcomes = await asyncio.gather(
        *(
            context.call(ECHO, Ask(text="slow", sleep_s=60), deadline_ms=PATIENT_MS)
            for _ in range(3)
        ),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [TimedOut, TimedOut, Overloaded]
    await context.call(ECHO, Ask(text="there is room again"))


async def test_what_is_not_valid_is_ignored_and_what_was_valid_stays(
    pair: Pair, client: Client, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--percent", "100", "--abort", "internal", "--for", "1h")
    await command("set", "fault", "wallet.echo", *words)
    await applied(pair)

    await policy.write(client, "fault.all.wallet.echo", b'{"percent": 400}')
    await policy.write(client, "nonsense", b"")
    # Whatever comes later was heard later: what is asked about is no race.
    await command("set", "limit", "wallet.narrow", "--in-flight", "5")
    limited = pair.asking.caller.edge(NARROW)

    async def later_heard() -> bool:
        return limited.policy is not None

    await until(later_heard)
    with pytest.raises(RemoteBug):
        await pair.asking.context().call(ECHO, Ask(text="x"))
    await command("show")
    assert capsys.readouterr().out.count("ignored, not valid") == 2
    await command("show", "--json")
    assert capsys.readouterr().out.count('"ignored":') == 2


async def test_what_was_set_while_a_service_was_away_counts_when_it_is_back(
    pair: Pair, command: Command
) -> None:
    connection = pair.asking.connection
    await policy_routes.ask_server(pair.installation, "KICK", {"cid": connection.client_id})
    await command("set", "limit", "wallet.echo", "--in-flight", "5")

    await applied(pair)

    assert connection.stats["reconnects"] == 1
    await command("clear", "limit", "wallet.echo")
    await applied(pair, there=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "canary", "bank", "--release", "b", "--percent", "5"), "no such service: 'bank'"),
        (("set", "canary", "all", "--release", "b", "--percent", "5"), "name it"),
        (("set", "canary", "wallet.x", "--release", "b", "--percent", "5"), "answers no call 'x'"),
        (("set", "canary", "wallet", "--release", "b", "--percent", "0"), "percent"),
        (("set", "canary", "wallet", "--release", "B.*", "--percent", "5"), "release"),
        (("set", "canary", "wallet", "--release", "shadow", "--percent", "5"), "shadow"),
        (("set", "mirror", "wallet", "--percent", "101"), "percent"),
        (("set", "fault", "wallet", "--abort", "timeout", "--for", "2d"), "no time for a fault"),
        (("set", "fault", "wallet", "--for", "5m"), "delays or aborts"),
        (("set", "fault", "wallet", "--abort", "melt", "--for", "5m"), "abort"),
        (("set", "limit", "wallet"), "timeout_ms, in_flight or both"),
        (("set", "limit", "wallet", "--in-flight", "5", "--from", "wallet"), "declares no such"),
        (("clear", "canary"), "of which service"),
    ],
)
async def test_an_invalid_policy_is_refused_and_nothing_is_written(
    client: Client, command: Command, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(PlatformError, match=said):
        await command(*words)

    assert await policy.entries(client) == {}


async def test_every_change_stands_in_the_audit_stream_and_nobody_can_change_it(
    client: Client, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    jetstream = client.jetstream()
    before = (await jetstream.stream_info(AUDIT_STREAM)).state.last_seq
    await command("set", "limit", "wallet", "--timeout", "500")
    await command("clear", "limit", "wallet")

    async def copied() -> bool:
        return (await jetstream.stream_info(AUDIT_STREAM)).state.last_seq >= before + 2

    await until(copied)
    capsys.readouterr()
    await command("log")
    written, cleared = capsys.readouterr().out.splitlines()[-2:]
    assert 'limit.all.wallet.all  {"timeout_ms":500}' in written
    assert cleared.endswith("limit.all.wallet.all  cleared")
    assert "@" in cleared
    answer = await client.request(f"$JS.API.STREAM.PURGE.{AUDIT_STREAM}", b"{}")
    assert b"not permitted" in answer.data


async def test_the_broker_lets_no_service_write_a_policy(pair: Pair, client: Client) -> None:
    with pytest.raises(Denied, match="mesh_policy"):
        await pair.asking.caller.ask(
            "$KV.mesh_policy.limit.all.wallet.all", b"{}", datetime.now(UTC).timestamp() + 5, None
        )

    assert await policy.entries(client) == {}

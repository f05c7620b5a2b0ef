"""How each contender is asked: the caller's side, as its own client library would have it."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import grpc
import httpx
import msgspec
import nats
from faststream.nats import NatsBroker
from nats.aio.msg import Msg

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.mesh.contract import Contract
from svc.mesh.errors import TimedOut
from svc.mesh.process import settle
from svc.mesh.runtime import Runtime
from svc.mesh.service import Service
from svc.mesh.settings import Settings
from svc.mesh.wire import encode
from svc.wallet.contract import (
    CREDIT_BALANCE,
    DEDUCT_BALANCE,
    InsufficientFunds,
    Kind,
    Receipt,
    Transfer,
)
from tests.bench import echo
from tests.bench.players import CURRENCY, Wanted

WAIT_S = 10.0
"""What peers may take: as long as they need. The mesh keeps its own deadlines."""
REFERENCE = "bench"
CONNECTIONS = 32
"""Of the HTTP client: with one per caller, httpx spends its time looking for a free one."""


class Driver(Protocol):
    """One way to ask; `ask` raises Refused when a rule said no, anything else is a failure."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def ask(self, wanted: Wanted) -> Receipt | None:
        """Ask for one transfer and wait for its answer; the receipt where the answer has one."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


def transfer(wanted: Wanted, kind: Kind | None = None) -> Transfer:
    """Return the body of a transfer, as the wallet's contract has it."""
    return Transfer(
        transfer_id=wanted.transfer_id,
        user_id=wanted.user_id,
        amount=wanted.amount,
        currency=CURRENCY,
        kind=kind or ("bet" if wanted.deduct else "bet_payout"),
        reference=REFERENCE,
    )


class Mesh:
    """The wallet over the mesh, as payment asks it: its key, its permissions, its contract.

    Of the diagram's three callers it is the one that declares both calls: the broker would deny
    sportsbook and casino a credit.
    """

    def __init__(self, _: str) -> None:
        """Prepare; a caller needs no more of payment than its name and what it calls."""
        contract = Contract(name="payment", version="1.0.0", purpose="Asks.")
        service = Service(contract, calls=(DEDUCT_BALANCE, CREDIT_BALANCE))
        self.runtime = Runtime(service, Settings())

    async def open(self) -> None:
        await self.runtime.start()
        settle()  # as every process of services does

    async def ask(self, wanted: Wanted) -> Receipt:
        call = DEDUCT_BALANCE if wanted.deduct else CREDIT_BALANCE
        # Each request of a player is a piece of work of its own.
        return await self.runtime.context().call(call, transfer(wanted))

    async def close(self) -> None:
        await self.runtime.stop()


class Opening(Mesh):
    """The same door, for the opening deposits, with all the time they need."""

    async def ask(self, wanted: Wanted) -> Receipt:
        context = self.runtime.context()
        body = transfer(wanted, "deposit")
        return await context.call(CREDIT_BALANCE, body, deadline_ms=int(WAIT_S * 1000))


class Grpc:
    """The diagram's design: one unary call per transfer, on one channel."""

    def __init__(self, address: str) -> None:
        """Ask the server at host:port."""
        self.address = address

    async def open(self) -> None:
        self.channel = grpc.aio.insecure_channel(self.address)
        stub = cast("Any", wallet_pb2_grpc.WalletStub)(self.channel)
        self.deduct, self.credit = stub.DeductBalance, stub.CreditBalance

    async def ask(self, wanted: Wanted) -> None:
        kind = wallet_pb2.DeductBalanceRequest if wanted.deduct else wallet_pb2.CreditBalanceRequest
        method = self.deduct if wanted.deduct else self.credit
        body = kind(
            transfer_id=wanted.transfer_id,
            user_id=wanted.user_id,
            amount=wanted.amount,
            currency=CURRENCY,
            kind="bet" if wanted.deduct else "bet_payout",
            reference=REFERENCE,
        )
        try:
            await method(body, timeout=WAIT_S)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise InsufficientFunds from failure
            raise

    async def close(self) -> None:
        await self.channel.close()


class Http:
    """The same over HTTP: one POST per transfer, connections kept alive."""

    def __init__(self, address: str) -> None:
        """Ask the server at host:port."""
        self.address = address
        self.decode = msgspec.json.Decoder(Receipt).decode

    async def open(self) -> None:
        self.client = httpx.AsyncClient(
            base_url=f"http://{self.address}",
            timeout=WAIT_S,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )

    async def ask(self, wanted: Wanted) -> None:
        answer = await self.client.post(
            "/deduct_balance" if wanted.deduct else "/credit_balance",
            content=encode(transfer(wanted)),
            headers={"Content-Type": "application/json"},
        )
        if answer.status_code == InsufficientFunds.status:
            raise InsufficientFunds
        self.decode(answer.raise_for_status().content)

    async def close(self) -> None:
        await self.client.aclose()


def connection(user: str) -> dict[str, Any]:
    """Return how a NATS client connects as one of the echoes' users."""
    return {"nkeys_seed_str": Settings().nkey_seed(user), "inbox_prefix": f"_INBOX.{user}"}


class FastStream:
    """FastStream's own request on the same NATS."""

    def __init__(self, _: str) -> None:
        """Prepare."""
        self.decode = msgspec.json.Decoder(Receipt).decode

    async def open(self) -> None:
        self.broker = NatsBroker(Settings()["NATS_URL"], logger=None, **connection(echo.ASKING))
        await self.broker.connect()

    async def ask(self, wanted: Wanted) -> None:
        verb = "deduct_balance" if wanted.deduct else "credit_balance"
        answer = await self.broker.request(
            encode(transfer(wanted)), f"{echo.FASTSTREAM}.{verb}", timeout=WAIT_S
        )
        if answer.body == InsufficientFunds.name.encode():
            raise InsufficientFunds
        self.decode(answer.body)

    async def close(self) -> None:
        await self.broker.stop()


class RawNats:
    """nats-py's own request to a queue subscription: what the mesh is measured against."""

    def __init__(self, _: str) -> None:
        """Prepare."""

    async def open(self) -> None:
        self.client = await nats.connect(Settings()["NATS_URL"], **connection(echo.ASKING))

    async def ask(self, wanted: Wanted) -> None:
        del wanted
        await self.client.request(echo.RAW, echo.BODY, timeout=WAIT_S)

    async def close(self) -> None:
        await self.client.close()


class LeanNats(RawNats):
    """The transport's ceiling: publish and one inbox, a future per call, not even a timeout."""

    async def open(self) -> None:
        await super().open()
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.inbox = f"_INBOX.{echo.ASKING}.lean."
        self.count = 0
        await self.client.subscribe(self.inbox + "*", cb=self._answered)

    async def ask(self, wanted: Wanted) -> None:
        del wanted
        self.count += 1
        reply = f"{self.inbox}{self.count}"
        future = self.waiting[reply] = asyncio.get_running_loop().create_future()
        await self.client.publish(echo.RAW, echo.BODY, reply=reply)
        await future

    async def _answered(self, message: Msg) -> None:
        self.waiting.pop(message.subject).set_result(None)


class MeshEcho:
    """The mesh's caller to its endpoint, as services ask: typed, with deadline and identity."""

    call = echo.ECHO

    def __init__(self, _: str) -> None:
        """Prepare."""
        self.runtime = Runtime(echo.asking(), Settings())

    async def open(self) -> None:
        await self.runtime.start()
        settle()  # as every process of services does

    async def ask(self, wanted: Wanted) -> None:
        body = echo.Ask(
            transfer_id=wanted.transfer_id,
            amount=wanted.amount,
            currency=CURRENCY,
            reference=REFERENCE,
        )
        answer = await self.runtime.context().call(self.call, body)
        if answer.caller != echo.ASKING:
            raise TimedOut("this answer is somebody else's")

    async def close(self) -> None:
        await self.runtime.stop()


class MeshAlone(MeshEcho):
    """The same of a call that shares no message: nothing is coalesced."""

    call = echo.ALONE


DRIVERS: dict[str, Callable[[str], Driver]] = {
    "mesh": Mesh,
    "opening": Opening,
    "grpc": Grpc,
    "http": Http,
    "faststream": FastStream,
    "raw": RawNats,
    "echo": LeanNats,
    "mesh-echo": MeshEcho,
    "mesh-alone": MeshAlone,
}

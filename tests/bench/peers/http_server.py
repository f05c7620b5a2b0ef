"""The same over HTTP: Litestar on uvicorn, one transaction per request."""

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar, Request, Response, post

from svc.mesh.errors import problem
from svc.mesh.process import Server
from svc.wallet.contract import InsufficientFunds, Receipt, Transfer
from tests.bench.peers.ledger import Ledger
from tests.bench.peers.running import until_told


def application(ledger: Ledger) -> Litestar:
    """Return the two routes that the benchmark calls."""

    @post("/deduct_balance", status_code=200)
    async def deduct_balance(data: Transfer) -> Receipt:
        return await ledger.deduct(data)

    @post("/credit_balance", status_code=200)
    async def credit_balance(data: Transfer) -> Receipt:
        return await ledger.credit(data)

    def refused(_: Request[Any, Any, Any], refusal: InsufficientFunds) -> Response[dict[str, Any]]:
        return Response(problem(refusal), status_code=refusal.status)

    return Litestar(
        [deduct_balance, credit_balance],
        openapi_config=None,
        logging_config=None,
        exception_handlers={InsufficientFunds: refused},
    )


async def serve(address: str, url: str) -> None:
    """Serve at host:port until SIGTERM."""
    host, _, port = address.partition(":")
    app = application(await Ledger.open(url, "transaction"))
    server = Server(
        uvicorn.Config(
            app, host=host, port=int(port), loop="none", http="httptools", access_log=False,
            log_config=None, server_header=False,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    await until_told()
    server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))

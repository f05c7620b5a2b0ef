"""One service alone with its real broker and database, all others played by typed doubles.

A double stands in a contract's place with that service's own credentials and the mesh's own
endpoints, so queue groups, permissions, deadlines and batches are the real ones. It answers what a
test tells it to, in the types of the contract: an answer of another type, a refusal that the
contract does not name, or a question that nobody prepared fails the test.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Call, Contract
from svc.mesh.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
)
from svc.mesh.runtime import Runtime
from svc.mesh.service import Service
from svc.mesh.settings import Settings
from tests.support.mesh import Services
from tests.support.platform import Platform

RequestT = TypeVar("RequestT", bound=Struct)
ReplyT = TypeVar("ReplyT", bound=Struct)
Answer = Callable[[Any], Any]

COMMON = (Invalid, NotFound, Conflict, Forbidden, Unauthenticated)
"""Refusals that every call may answer with."""


class Double:
    """One service, played: what it answers, what it was asked, and what it did wrong."""

    def __init__(self, contract: Contract) -> None:
        """Take the contract's part; it knows no answers yet."""
        self.contract = contract
        self.answered: dict[str, Answer] = {}
        self.questions: list[tuple[str, Any]] = []
        self.wrong: list[str] = []

    def answers(
        self,
        call: Call[RequestT, ReplyT],
        answer: ReplyT | Exception | Callable[[RequestT], ReplyT | Awaitable[ReplyT]],
    ) -> None:
        """Answer a call from now on: with a reply, by raising, or by a function of the request."""
        if call not in self.contract.answers:
            raise AssertionError(f"{call.subject} is not in the contract of {self.contract.name}")
        if isinstance(answer, Exception):
            self.answered[call.subject] = lambda _: _raise(answer)
        elif isinstance(answer, Struct):
            self.answered[call.subject] = lambda _: answer
        else:
            self.answered[call.subject] = answer

    def asked(self, call: Call[RequestT, Any]) -> list[RequestT]:
        """Return the requests of a call, in the order they came."""
        return [request for subject, request in self.questions if subject == call.subject]

    def service(self) -> Service:
        """Return the service that the mesh runs in the contract's place."""
        service = Service(self.contract)
        for call in self.contract.answers:
            service.answers(call)(self._handler(call))
        return service

    def _handler(self, call: Call[Any, Any]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def handle(request: Any, _: Context) -> Any:
            self.questions.append((call.subject, request))
            answer = self.answered.get(call.subject)
            if answer is None:
                raise self._failed(f"nobody told {self.contract.name} how to answer {call.verb}")
            try:
                reply = answer(request)
                if inspect.isawaitable(reply):
                    reply = await reply
            except (Refused, Unavailable) as failure:
                if isinstance(failure, Refused) and type(failure) not in (*call.refuses, *COMMON):
                    raise self._failed(f"{call.verb} does not refuse with {failure!r}") from failure
                raise
            return self._checked(call, reply)

        return handle

    def _checked(self, call: Call[Any, Any], reply: object) -> object:
        if type(reply) is not call.reply:
            raise self._failed(f"{call.verb} answers {call.reply.__name__}, not {reply!r}")
        try:
            msgspec.json.decode(msgspec.json.encode(reply), type=call.reply)
        except msgspec.ValidationError as failure:
            raise self._failed(f"{call.verb}: {failure}") from failure
        return reply

    def _failed(self, what: str) -> AssertionError:
        self.wrong.append(what)
        return AssertionError(what)


def _raise(failure: Exception) -> Any:
    raise failure


class Stage:
    """Runs one real service, and doubles of those around it, for the length of a test."""

    def __init__(self, platform: Platform, services: Services) -> None:
        """Nobody plays yet."""
        self.platform = platform
        self.services = services
        self.doubles: list[tuple[Double, Runtime]] = []
        self.replaced: list[str] = []

    async def play(self, contract: Contract) -> Double:
        """Put a double in a service's place; the real one is stopped, if it runs, until the end."""
        if contract.name in self.services.running:
            self.replaced.append(contract.name)
            await self.services.stop(contract.name)
        double = Double(contract)
        overrides = {**self.platform.settings, "BETMESH_RUN": str(self.platform.run_dir)}
        runtime = Runtime(double.service(), Settings(overrides))
        await runtime.start()
        self.doubles.append((double, runtime))
        return double

    async def run(self, *names: str) -> None:
        """Run the real service (or several) as in production: its own HTTP, broker, database."""
        await self.services(*names)

    async def close(self) -> None:
        """Let the doubles go; raises AssertionError with everything that they did wrong."""
        wrong: list[str] = []
        for double, runtime in self.doubles:
            await runtime.stop()
            wrong += double.wrong
        self.doubles.clear()
        await self.services(*self.replaced)
        self.replaced.clear()
        assert not wrong, "a double does not keep to its contract: " + "; ".join(wrong)

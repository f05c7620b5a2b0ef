"""The four critical flows of the diagram, driven through the gateway as a client would.

Each flow waits until what the diagram says has happened: the balances, the texts sent, the numbers
counted. What was seen of it on the wire is somebody else's business (wiretap.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from svc.demo.client import Client, DemoFailed, Listener, person, until
from svc.mesh.clock import new_id

STAKE = 500
DEPOSIT = 5_000
WITHDRAWAL = 1_000
REFUNDED = 1_000
ROUND_STAKE = 100
MATCH = "sr:match:4711"
MATCH_SPEED = 3_000
ADMIN_PATHS = (
    "/v1/admin/gateway/routes",
    "/v1/admin/sportsbook/liabilities",
    "/v1/admin/payment/pending",
    "/v1/admin/wallet/audit",
    "/v1/admin/marketing/campaigns",
    "/v1/admin/casino/totals",
    "/v1/admin/notification/deliveries",
    "/v1/admin/localization/missing",
    "/v1/admin/scheduler/jobs",
    "/v1/reports/daily",
    "/v1/reports/events",
    "/v1/reports/reconciliation",
)


@dataclass
class World:
    """Who takes part: the player, the operator, and where the outside systems are."""

    player: Client
    operator: Client
    settings: dict[str, str]
    outside: httpx.AsyncClient
    account: dict[str, Any] = field(default_factory=person)
    user_id: str = ""
    live: dict[str, Listener] = field(default_factory=dict[str, Listener])
    notes: dict[str, Any] = field(default_factory=dict[str, Any])

    async def simulator(self, name: str, method: str, path: str, body: object = None) -> Any:
        """Ask an outside program; raises DemoFailed when it refuses."""
        answer = await self.outside.request(method, self.settings[f"{name}_URL"] + path, json=body)
        if not answer.is_success:
            raise DemoFailed(f"{name} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    async def messages(self) -> list[dict[str, Any]]:
        """Return the SMS that reached the player."""
        path = f"/simulate/messages?to={self.account['phone'].replace('+', '%2B')}"
        return (await self.simulator("SMS_PROVIDER", "GET", path))["items"]

    async def count(self, event_type: str) -> int:
        """Return how many events of a type reporting has counted."""
        counts = await self.operator.ask("GET", "/v1/reports/events")
        return int(counts["events"].get(event_type, 0))


Flow = Callable[[World], Awaitable[None]]


async def registration(world: World) -> None:
    """Register; bonus and spin chances arrive; the welcome SMS goes out; reporting counts."""
    await world.operator.log_in(world.settings["ADMIN_EMAIL"], world.settings["ADMIN_PASSWORD"])
    answer = await world.player.ask("POST", "/v1/users", world.account, expect=201)
    world.user_id = answer["user_id"]
    await world.player.log_in(world.account["email"], world.account["password"])

    async def bonus() -> bool:
        response = await world.player.http.get(
            "/v1/wallet", headers={"Authorization": f"Bearer {world.player.token}"}
        )
        return response.is_success and response.json()["bonus"] > 0

    async def spins() -> bool:
        return (await world.player.ask("GET", "/v1/marketing/spins"))["remaining"] > 0

    async def welcomed() -> bool:
        return bool(await world.messages())

    async def counted() -> bool:
        return await world.count("UserRegisteredEvent") > 0

    await until("the welcome bonus in the wallet", bonus)
    await until("the spin chances", spins)
    await until("the welcome SMS", welcomed)
    await until("reporting counts the registration", counted)


async def bet_placement(world: World) -> None:
    """Bet on a match of the feed; later its settlement pays or takes."""
    await world.simulator(
        "BETRADAR",
        "POST",
        "/simulate/match",
        {"event_id": MATCH, "speed": MATCH_SPEED, "seed": 7, "pause_before": ["kick_off"]},
    )
    selection = await until("odds of the match", lambda: _selection(world))
    world.live["odds"] = await world.player.listen(f"/ws/odds/{MATCH}")
    world.live["notifications"] = await world.player.listen("/ws/notifications", authorized=True)
    sent_before = len(await world.messages())
    bet = await world.player.ask(
        "POST",
        "/v1/bets",
        {
            "kind": "single",
            "selections": [selection],
            "stake": STAKE,
            "currency": "EUR",
            "odds_policy": "any",
        },
        key=new_id(),
        expect=201,
    )
    world.notes["bet"] = bet

    async def confirmed() -> bool:
        return len(await world.messages()) > sent_before

    async def counted() -> bool:
        return await world.count("BetPlacedEvent") > 0

    await until("the confirmation SMS", confirmed)
    await until("reporting counts the bet", counted)


async def _selection(world: World) -> dict[str, Any] | None:
    """Return an outcome of the match-winner market that can be bet on, once there is one."""
    answer = await world.player.http.get(f"/v1/events/{MATCH}")
    if not answer.is_success:
        return None
    for market in answer.json()["markets"]:
        outcomes = [outcome for outcome in market["outcomes"] if outcome["active"]]
        if market["market_id"] == 1 and market["status"] == "active" and outcomes:
            return {
                "event_id": MATCH,
                "market_id": 1,
                "specifiers": market["specifiers"],
                "outcome_id": outcomes[0]["outcome_id"],
                "odds": outcomes[0]["odds"],
            }
    return None


async def payment(world: World) -> None:
    """Deposit through the provider; then withdraw a part of it, which forfeits the bonuses."""
    await _deposit(world, DEPOSIT)

    async def credited() -> bool:
        return (await world.player.balance())["cash"] >= DEPOSIT

    async def counted() -> bool:
        return await world.count("PaymentSuccessEvent") > 0

    await until("the deposit in the wallet", credited)
    await until("reporting counts the deposit", counted)
    withdrawal = await world.player.ask(
        "POST",
        "/v1/withdrawals",
        {"amount": WITHDRAWAL, "currency": "EUR", "method": "bank_ok"},
        key=new_id(),
        expect=202,
    )

    async def paid_out() -> bool:
        found = await world.player.ask("GET", f"/v1/withdrawals/{withdrawal['withdrawal_id']}")
        return found["status"] == "paid"

    async def forfeited() -> bool:
        return (await world.player.balance())["bonus"] == 0

    await until("the withdrawal paid", paid_out)
    await until("the bonuses forfeited by it", forfeited)


async def casino(world: World) -> None:
    """Play rounds of dice and check the seed; the jackpot grows with the stakes."""
    world.live["jackpots"] = await world.player.listen("/ws/jackpots")
    session = await world.player.ask(
        "POST", "/v1/casino/sessions", {"game_id": "dice", "client_seed": "demo"}, expect=201
    )
    session_id = session["session_id"]
    world.live["casino"] = await world.player.listen(f"/ws/casino/{session_id}", authorized=True)
    for _ in range(3):
        await world.player.ask(
            "POST",
            f"/v1/casino/sessions/{session_id}/rounds",
            {
                "stake": ROUND_STAKE,
                "currency": "EUR",
                "choice": {"target": 3, "over": True},
            },
            key=new_id(),
            expect=201,
        )
    closed = await world.player.ask("DELETE", f"/v1/casino/sessions/{session_id}")
    if not closed["server_seed"]:
        raise DemoFailed("the closed session does not reveal its seed")
    await until("the result on the session's WebSocket", world.live["casino"].changed)
    await until("the jackpot on the WebSocket", world.live["jackpots"].changed)

    async def counted() -> bool:
        return await world.count("CasinoPayoutCompleteEvent") > 0

    await until("reporting counts the rounds", counted)


async def after_the_flows(world: World) -> None:
    """Settle the match, draw the raffle, read the texts, and look around as an operator."""
    await world.simulator("BETRADAR", "POST", f"/simulate/match/{MATCH}/continue")
    bet_id = world.notes["bet"]["bet_id"]

    async def settled() -> bool:
        return (await world.player.ask("GET", f"/v1/bets/{bet_id}"))["status"] == "settled"

    await until("the bet's settlement", settled, within_s=30)
    await until("new odds on the WebSocket", world.live["odds"].changed)
    await until("a message on the WebSocket", world.live["notifications"].changed)
    await world.player.ask("GET", "/v1/i18n/pt-BR/notification")
    raffles = (await world.player.ask("GET", "/v1/gaming/raffles"))["items"]
    cash = (await world.player.balance())["cash"]
    winners: list[str] = []
    # None is open when a week ended since the deposit: then the job has drawn it.
    for raffle in [r for r in raffles if r["status"] == "open" and r["tickets"]]:
        path = f"/v1/admin/gaming/raffles/{raffle['raffle_id']}/draw"
        drawn = await world.operator.ask("POST", path, {})
        winners += [winner["user_id"] for winner in drawn["winners"]]

    async def prize() -> bool:
        return (await world.player.balance())["cash"] > cash

    if world.user_id in winners:
        await until("the raffle's prize in the wallet", prize)
    await _refund(world)
    await world.player.ask("PATCH", "/v1/users/me", {"locale": "de"})
    await world.operator.ask("GET", f"/v1/admin/users/{world.user_id}")
    for path in ADMIN_PATHS:
        world.notes[path] = await world.operator.ask("GET", path)
    if not world.notes["/v1/admin/wallet/audit"]["healthy"]:
        raise DemoFailed(f"the ledger is not healthy: {world.notes['/v1/admin/wallet/audit']}")

    async def reconciled() -> bool:
        today = datetime.now(UTC).date().isoformat()
        path = f"/v1/reports/reconciliation?since={today}&until={today}"
        world.notes["reconciliation"] = await world.operator.ask("GET", path)
        return world.notes["reconciliation"]["agrees"]

    await until("reporting agrees with the ledger", reconciled)
    # The last thing this player does: nothing may be staked after it.
    await world.player.ask("POST", "/v1/users/me/time-out", {"days": 1})


async def _refund(world: World) -> None:
    """Pay a little in and let an operator give it back."""
    deposit = await _deposit(world, REFUNDED)
    await world.operator.ask("POST", f"/v1/admin/deposits/{deposit}/refunds", {}, key=new_id())

    async def refunded() -> bool:
        found = await world.player.ask("GET", f"/v1/deposits/{deposit}")
        return found["status"] == "refunded"

    await until("the refund", refunded)


async def _deposit(world: World, amount: int) -> str:
    """Pay money in, wait for the provider's success, and return the deposit's id."""
    deposit = await world.player.ask(
        "POST",
        "/v1/deposits",
        {"amount": amount, "currency": "EUR", "method": "card_ok"},
        key=new_id(),
        expect=202,
    )

    async def paid() -> bool:
        found = await world.player.ask("GET", f"/v1/deposits/{deposit['deposit_id']}")
        if found["status"] == "failed":
            raise DemoFailed("the deposit failed")
        return found["status"] == "succeeded"

    await until("the provider's success", paid)
    return deposit["deposit_id"]


FLOWS: dict[str, Flow] = {
    "registration": registration,
    "bet placement": bet_placement,
    "payment": payment,
    "casino": casino,
}
"""The flows by the names that the diagram's data uses."""

"""A match as a test tells it: messages of the feed about one event, each newer than the last."""

from collections.abc import Mapping

from svc.mesh.clock import SystemClock, new_id
from svc.mesh.contract import RawMessage
from svc.sportsbook.contract import GET_EVENT, INGEST, EventDetail, EventOf, Selection
from tests.support.mesh import Operator

Markets = Mapping[tuple[int, str], Mapping[str, str]]
RESULT = {(1, ""): {"1": "2.50", "2": "3.20", "3": "2.80"}}


def now_ms() -> int:
    return int(SystemClock().now().timestamp() * 1000)


async def send(operator: Operator, body: str | bytes, token: str | None = None) -> None:
    """Post one message at the feed's door, as the gateway hands it on."""
    told = operator.platform.settings["BETRADAR_TOKEN"] if token is None else token
    await operator.call(
        INGEST,
        RawMessage(
            body=body.encode() if isinstance(body, str) else body,
            headers={"x-access-token": told},
            url="http://127.0.0.1:8080/feeds/betradar",
        ),
    )


def _replayed(request_id: int | None) -> str:
    """Return the attribute that a recovery adds to what it sends again."""
    return "" if request_id is None else f' request_id="{request_id}"'


class Match:
    """One event, with an id that no other test has."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.event_id = f"sr:match:{int(new_id().replace('-', ''), 16) % 10**15}"
        self.at_ms = now_ms()

    def tick(self) -> int:
        self.at_ms = max(self.at_ms + 1, now_ms())
        return self.at_ms

    def head(self, product: int = 1, at_ms: int | None = None) -> str:
        at_ms = self.tick() if at_ms is None else at_ms
        return f'product="{product}" event_id="{self.event_id}" timestamp="{at_ms}"'

    async def odds(
        self,
        markets: Markets = RESULT,
        *,
        status: int | None = 1,
        product: int = 1,
        at_ms: int | None = None,
        inside: str = "",
    ) -> None:
        shown = "" if status is None else f' status="{status}"'
        rows = "".join(
            f'<market id="{market}" specifiers="{specifiers}"{shown}>'
            + "".join(f'<outcome id="{name}" odds="{odds}"/>' for name, odds in outcomes.items())
            + "</market>"
            for (market, specifiers), outcomes in markets.items()
        )
        head = self.head(product, at_ms)
        await send(self.operator, f"<odds_change {head}>{inside}<odds>{rows}</odds></odds_change>")

    async def stop(self, groups: str = "all", *, product: int = 1) -> None:
        await send(self.operator, f'<bet_stop {self.head(product)} groups="{groups}"/>')

    async def settle(
        self,
        outcomes: Mapping[str, str],
        *,
        market: int = 1,
        specifiers: str = "",
        certainty: int = 2,
        at_ms: int | None = None,
        request_id: int | None = None,
    ) -> None:
        """Settle outcomes, each given by its attributes such as `result="1" void_factor="0.5"`."""
        rows = "".join(f'<outcome id="{name}" {told}/>' for name, told in outcomes.items())
        head = self.head(at_ms=at_ms) + _replayed(request_id)
        await send(
            self.operator,
            f'<bet_settlement {head} certainty="{certainty}"><outcomes>'
            f'<market id="{market}" specifiers="{specifiers}">{rows}</market>'
            "</outcomes></bet_settlement>",
        )

    async def roll_back(
        self, *, market: int = 1, at_ms: int | None = None, request_id: int | None = None
    ) -> None:
        """Take the results of a market back."""
        head = self.head(at_ms=at_ms) + _replayed(request_id)
        name = "rollback_bet_settlement"
        await send(self.operator, f'<{name} {head}><market id="{market}"/></{name}>')

    async def cancel(
        self, *, start: int | None = None, end: int | None = None, market: int = 1
    ) -> None:
        await self._window("bet_cancel", start, end, market)

    async def undo_cancel(
        self, *, start: int | None = None, end: int | None = None, market: int = 1
    ) -> None:
        await self._window("rollback_bet_cancel", start, end, market)

    async def _window(self, name: str, start: int | None, end: int | None, market: int) -> None:
        window = "" if start is None else f' start_time="{start}"'
        window += "" if end is None else f' end_time="{end}"'
        await send(
            self.operator,
            f'<{name} {self.head()}{window}><market id="{market}"/></{name}>',
        )

    async def fixture(self, starts_at: str, home: str = "Rovers", away: str = "Wanderers") -> None:
        await send(
            self.operator,
            "<fixtures_fixture>"
            f'<fixture id="{self.event_id}" start_time="{starts_at}" status="not_started">'
            '<tournament id="sr:tournament:1" name="Cup"><sport id="sr:sport:1" name="Soccer"/>'
            '</tournament><competitors><competitor name="'
            f'{home}" qualifier="home"/><competitor name="{away}" qualifier="away"/>'
            "</competitors></fixture></fixtures_fixture>",
        )

    async def shown(self) -> EventDetail:
        return await self.operator.call(GET_EVENT, EventOf(event_id=self.event_id))

    def leg(
        self, odds: str = "2.50", *, market: int = 1, specifiers: str = "", outcome: str = "1"
    ) -> Selection:
        return Selection(
            event_id=self.event_id,
            market_id=market,
            specifiers=specifiers,
            outcome_id=outcome,
            odds=odds,
        )

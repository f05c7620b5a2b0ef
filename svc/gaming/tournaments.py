"""Tournaments: a week's race for the highest sum of stakes in a currency."""

from datetime import datetime

from svc.gaming import leaderboards, rules, store, store_tournaments
from svc.gaming.awards import award
from svc.gaming.contract import TOURNAMENT_CLOSED, Place, Tournament, TournamentClosed
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, NotFound


async def open_tournament(tx: Tx, currency: str) -> None:
    """Open a currency's race for this week, after the last one of this week if there was one."""
    now = tx.context.now()
    monday, ends_at = rules.week_of(now)
    week = rules.week_id("tournament", currency, now)
    earlier, last_end = await store_tournaments.earlier_tournaments(tx, week)
    tournament = Tournament(
        tournament_id=rules.game_id(week, earlier),
        name="",
        currency=currency,
        prizes=rules.shares(rules.TOURNAMENT_POOL, rules.TOURNAMENT_SHARES),
        starts_at=max(monday, last_end or monday),
        ends_at=ends_at,
        status="running",
    )
    await store_tournaments.insert_tournament(tx, tournament)


async def score(tx: Tx, currency: str, user_id: str, stake: int, at: datetime) -> None:
    """Count a stake of an instant for the tournament that ran then; excluded players get nothing.

    A currency's first stake opens its first tournament.
    """
    context = tx.context
    if await store.is_excluded(tx, user_id, context.now()):
        return
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    running = await store_tournaments.find_running(tx, currency, at)
    if running is None:
        missing = await store_tournaments.currencies_without_tournament(
            tx, [currency], context.now()
        )
        if currency in missing:
            await open_tournament(tx, currency)
        running = await store_tournaments.find_running(tx, currency, at)
    if running is None:
        return
    tournament_id = running.tournament_id
    new = await store_tournaments.add_stake(tx, tournament_id, user_id, stake, at)
    tx.after_commit(lambda: leaderboards.put(context, tournament_id, [new]))


async def close(tx: Tx, tournament_id: str) -> list[Place]:
    """Close a tournament and award its places; among equal scores the first to reach it leads.

    Raises NotFound, or Conflict when it was closed before.
    """
    context = tx.context
    tournament = await store_tournaments.lock_tournament(tx, tournament_id)
    if tournament is None:
        raise NotFound(f"there is no tournament {tournament_id}")
    if tournament.status != "running":
        raise Conflict(f"{tournament_id} was closed before")
    best = await store_tournaments.top_scores(tx, tournament_id, len(tournament.prizes))
    await store_tournaments.mark_closed(tx, tournament_id, context.now())
    closed = TournamentClosed(
        tournament_id=tournament_id,
        players=await store_tournaments.count_players(tx, tournament_id),
    )
    await tx.publish(TOURNAMENT_CLOSED, closed, subject=tournament_id)
    places: list[Place] = []
    for place, (won, prize) in enumerate(zip(best, tournament.prizes, strict=False), start=1):
        await award(
            tx,
            kind="tournament",
            source_id=tournament_id,
            place=place,
            user_id=won.user_id,
            amount=prize,
            currency=tournament.currency,
        )
        places.append(Place(place=place, user_id=won.user_id, score=won.score, prize=prize))
    tx.after_commit(lambda: leaderboards.forget(context, tournament_id))
    return places

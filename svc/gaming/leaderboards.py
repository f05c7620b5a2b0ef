"""Leaderboards: sorted sets in Valkey that copy the scores of Postgres, in order.

A set that is missing or behind is written again from Postgres: at the start, every minute, and
when a reader finds none. Scores only grow, so an older one never replaces a newer one.
"""

from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError

from svc.gaming import rules, store_tournaments
from svc.gaming.contract import Place
from svc.gaming.store_tournaments import Score
from svc.mesh.context import Context

PUT = """
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held then
  local score = redis.call('ZSCORE', KEYS[1], held)
  if score and tonumber(score) >= tonumber(ARGV[2]) then return 0 end
  redis.call('ZREM', KEYS[1], held)
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
"""


def keys(tournament_id: str) -> tuple[str, str]:
    """Return the keys of a tournament's sorted set and of its players' members."""
    return f"gaming:leaderboard:{tournament_id}", f"gaming:members:{tournament_id}"


async def put(context: Context, tournament_id: str, scores: Iterable[Score]) -> None:
    """Write scores; a Valkey that is out of reach is caught up with later."""
    try:
        async with context.redis.pipeline(transaction=False) as pipeline:
            for score in scores:
                member = rules.leaderboard_member(score.user_id, score.reached_at)
                pipeline.eval(PUT, 2, *keys(tournament_id), score.user_id, str(score.score), member)
            await pipeline.execute()
    except (RedisError, OSError) as failure:
        context.log.warning("leaderboard not written", cause=str(failure))


async def forget(context: Context, tournament_id: str) -> None:
    """Drop the set of a closed tournament: its places are read from Postgres."""
    try:
        await context.redis.delete(*keys(tournament_id))
    except (RedisError, OSError) as failure:
        context.log.warning("leaderboard not dropped", cause=str(failure))


async def rebuild(context: Context, tournament_id: str) -> None:
    """Write a tournament's scores again from Postgres."""
    async with context.transaction() as tx:
        scores = await store_tournaments.top_scores(tx, tournament_id, None)
    if scores:
        await put(context, tournament_id, scores)


async def rebuild_running(context: Context) -> None:
    """Write the scores of every running tournament again."""
    async with context.transaction() as tx:
        running = await store_tournaments.running_tournaments(tx)
    for tournament_id in running:
        await rebuild(context, tournament_id)


async def top(context: Context, tournament_id: str, limit: int) -> list[Place]:
    """Return the best of a running tournament, from Postgres when Valkey is out of reach."""
    try:
        rows = await ranked(context, tournament_id, limit)
        if not rows:
            await rebuild(context, tournament_id)
            rows = await ranked(context, tournament_id, limit)
    except (RedisError, OSError) as failure:
        context.log.warning("leaderboard read from the database", cause=str(failure))
        return await stored(context, tournament_id, limit)
    return [
        Place(place=place, user_id=rules.member_user(member.decode()), score=int(score))
        for place, (member, score) in enumerate(rows, start=1)
    ]


async def ranked(context: Context, tournament_id: str, limit: int) -> list[tuple[bytes, Any]]:
    """Return members and scores of the sorted set, best first."""
    board, _ = keys(tournament_id)
    return await context.redis.zrange(board, 0, limit - 1, desc=True, withscores=True)


async def stored(context: Context, tournament_id: str, limit: int) -> list[Place]:
    """Return the best as Postgres has them."""
    async with context.transaction() as tx:
        scores = await store_tournaments.top_scores(tx, tournament_id, limit)
    return [
        Place(place=place, user_id=score.user_id, score=score.score)
        for place, score in enumerate(scores, start=1)
    ]

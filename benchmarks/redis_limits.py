"""What does a check on Redis take? Side by side with what else one would use, on one Redis, in turns.

::

    python benchmarks/redis_limits.py            some minutes; writes REDIS.md and results/redis.json
    python benchmarks/redis_limits.py --quick    half a minute; prints the page and writes nothing
"""

import argparse
import asyncio
import gc
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
from harness import show_progress
from redis_apps import APPS
from redis_contenders import line_up
from redis_load import start
from redis_memory import measure_memory
from redis_report import Measured, Turn, Turns, as_json, markdown
from redis_server import RedisServer
from redis_situations import Asked, Situation, served

HERE: Final = Path(__file__).parent
ROUNDS: Final = 12


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then write or print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, help=f"how often everybody has a turn ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="2 rounds of short turns, printed and not written")
    options = parser.parse_args(arguments)
    rounds, pace = options.rounds or (2 if options.quick else ROUNDS), 0.25 if options.quick else 1.0
    with RedisServer() as redis, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(_measure(redis, rounds, pace))
    if options.quick:
        print(markdown(measured))
        return
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "redis.json").write_text(json.dumps(as_json(measured), indent=1) + "\n")
    (HERE / "REDIS.md").write_text(markdown(measured))
    print(HERE / "REDIS.md")


async def _measure(redis: RedisServer, rounds: int, pace: float) -> Measured:
    errors: Counter[str] = Counter()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.update([_in_short(context)]))
    async with AsyncExitStack() as stack:
        asked = Asked(await line_up(redis.url, stack))
        await asked.exhaust()
        servers = [await stack.enter_async_context(start(name, redis.url)) for name in APPS]
        situations = [*asked.situations(), served(servers)]
        turns = await _take_turns(redis, situations, rounds, pace)
        accounts = await asked.accounts()
    memory = await measure_memory(redis)
    return Measured(redis.version, redis.allocator, rounds, turns, accounts, memory, dict(errors))


def _in_short(context: dict[str, Any]) -> str:
    return f"{context['message']}: {context.get('exception')!r}"


async def _take_turns(redis: RedisServer, situations: Sequence[Situation], rounds: int, pace: float) -> Turns:
    """By situation and contender. In each round everybody has a turn in each situation.

    The first round does not count: in it connections open, and Python specialises its bytecode.
    """
    turns: Turns = {situation.title: {name: [] for name in situation.runs} for situation in situations}
    chance = random.Random(1)
    gc.collect()
    gc.freeze()
    for number in range(rounds + 1):
        for situation in situations:
            for name, turn in (await _round(redis, situation, pace, chance)).items():
                if number:
                    turns[situation.title][name].append(turn)
        show_progress(number, rounds)
    return turns


async def _round(redis: RedisServer, situation: Situation, pace: float, chance: random.Random) -> dict[str, Turn]:
    """Everybody has a turn, in an order that is shuffled every round, the same way in every run."""
    turns = {}
    for name in chance.sample(list(situation.runs), len(situation.runs)):
        gc.collect()
        before = redis.counts()
        ran = await situation.runs[name](pace * situation.seconds)
        turns[name] = Turn.of(ran, redis.counts().since(before))
    return turns


if __name__ == "__main__":
    main()

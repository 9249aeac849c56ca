"""How long does a key take that the cache does not hold? Cold look-ups in a SQLite file, side by side.

::

    python benchmarks/look_ups.py                a minute; prints a table
    python benchmarks/look_ups.py --rounds 3     some seconds
"""

import argparse
import asyncio
import random
import sqlite3
import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

from harness import show_progress
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.records import KeyRecord
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.schema import keys, projects
from vc_auth.testing import some_key, some_project

KEYS: Final = 5_000
IN_FLIGHT: Final = 64
LOOK_UPS: Final = {1: 300, IN_FLIGHT: 1_920}  # in a turn: a fraction of a second

LookUp = Callable[[str], Awaitable[Any]]
Speeds = dict[tuple[str, int], list[float]]

_select: Final = select(keys, projects).join_from(keys, projects)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="how often everybody has a turn (40)")
    with TemporaryDirectory() as folder:
        speeds = asyncio.run(_measure(Path(folder) / "keys.db", parser.parse_args(arguments).rounds))
    print(_table(speeds))


async def _measure(path: Path, rounds: int) -> Speeds:
    store = SQLKeyStore(path)
    digests = await _fill(store)
    with closing(sqlite3.connect(path)) as bare:
        contenders = {
            "`SQLKeyStore.find`": store.find,
            "the same select through SQLAlchemy's `AsyncConnection`": _by_sqlalchemy(store),
            "bare `sqlite3` on the event loop's own thread, rows left as they are": _bare(bare),
        }
        speeds: Speeds = {(name, at_once): [] for name in contenders for at_once in LOOK_UPS}
        order, chance = list(speeds), random.Random(1)
        for number in range(-1, rounds):  # the first one fills caches and does not count
            chance.shuffle(order)
            for name, at_once in order:
                speed = await _speed(contenders[name], chance.sample(digests, LOOK_UPS[at_once]), at_once)
                speeds[name, at_once] += [speed] if number >= 0 else []
            if number >= 0:
                show_progress(number + 1, rounds)
    await store.aclose()
    return speeds


async def _fill(store: SQLKeyStore) -> list[str]:
    """Give the store its keys, all of one project, and return their digests."""
    await store.add_project(project := some_project())
    records = [some_key(project) for _ in range(KEYS)]
    names = [field.name for field in fields(KeyRecord) if field.name != "project"]
    rows = [{"project_id": project.id, **{name: getattr(record, name) for name in names}} for record in records]

    async def add(connection: AsyncConnection) -> None:
        await connection.execute(insert(keys), rows)

    await store.database.write(add)
    return [record.digest for record in records]


def _by_sqlalchemy(store: SQLKeyStore) -> LookUp:
    async def find(digest: str) -> Any:
        async def look_up(connection: AsyncConnection) -> Any:
            return (await connection.execute(_select.where(keys.c.digest == digest))).first()

        return await store.database.read(look_up)

    return find


def _bare(connection: sqlite3.Connection) -> LookUp:
    statement = "SELECT * FROM keys JOIN projects ON projects.id = project_id WHERE digest = ?"

    async def find(digest: str) -> Any:
        return connection.execute(statement, (digest,)).fetchone()

    return find


async def _speed(find: LookUp, digests: Sequence[str], at_once: int) -> float:
    """Look-ups in a second, so many of them always under way."""
    rest = iter(digests)

    async def client() -> None:
        for digest in rest:
            assert await find(digest)

    started = perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return len(digests) / (perf_counter() - started)


def _table(speeds: Speeds) -> str:
    heads = [f"cold look-ups a second, {KEYS:,} keys", "one after another", f"{IN_FLIGHT} in flight"]
    rows = [
        [name, *(_spread(speeds[name, at_once]) for at_once in LOOK_UPS)]
        for name in dict.fromkeys(n for n, _ in speeds)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---", "---:", "---:"], *rows))


def _spread(values: Sequence[float]) -> str:
    """The median, and in brackets where eight of ten lie."""
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return f"{statistics.median(values):,.0f} ({tenths[0]:,.0f}-{tenths[-1]:,.0f})"


if __name__ == "__main__":
    main()

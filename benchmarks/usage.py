"""What does usage cost? To count a request, to write what was counted, to read a year of it from the shell.

::

    python benchmarks/usage.py               two minutes; prints tables
    python benchmarks/usage.py --rounds 3    half a minute
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

from harness import show_progress
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.records import KeyRecord, UsageBatch, UsageCount
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.schema import key_hours, key_totals, keys, project_hours, projects
from vc_auth.testing import some_key, some_project
from vc_auth.usage import ADMITTED, UsageCounter

KEYS: Final = 5_000
HOURS: Final = 365 * 24
HOURS_OF_A_KEY: Final = 200  # in which it was used; one key was used in all
BATCHES: Final = (1, 100, 1_000, 5_000)  # keys in a batch
COUNTS: Final = 100_000
COMMANDS: Final = {
    "`vc-auth --help`, which opens no store": ("--help",),
    "`vc-auth keys list acme`": ("keys", "list", "acme"),
    "`vc-auth keys list acme --json`": ("keys", "list", "acme", "--json"),
    "`vc-auth usage acme --by month`": ("usage", "acme", "--by", "month"),
    "`vc-auth usage acme --by day --since 365d`": ("usage", "acme", "--by", "day", "--since", "365d"),
    "`vc-auth usage acme --by hour --since 365d`": ("usage", "acme", "--by", "hour", "--since", "365d"),
    "`vc-auth usage --key ID --by day --since 365d`": ("usage", "--key", "KEY", "--by", "day", "--since", "365d"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often everything is measured (15)")
    rounds = parser.parse_args(arguments).rounds
    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.db"
        flushes, count, busiest = asyncio.run(_measure(file, rounds))
        size = sum(part.stat().st_size for part in file.parent.iterdir())
        commands = _time_commands(file, busiest, rounds)
    print(f"\nTo count a request: {count:.0f} ns.\n")
    print("| keys in a batch | ms to write it | us a key |\n| ---: | ---: | ---: |")
    for number, seconds in flushes.items():
        print(f"| {number:,} | {1e3 * seconds:.1f} | {1e6 * seconds / number:.0f} |")
    print(
        f"\nA project with {KEYS:,} keys, each used in {HOURS_OF_A_KEY} hours of a year: a file of {size >> 20} MiB.\n"
    )
    print("| command | s |\n| --- | ---: |")
    for name, seconds in commands.items():
        print(f"| {name} | {seconds:.2f} |")


async def _measure(file: Path, rounds: int) -> tuple[dict[int, float], float, str]:
    """Seconds to write each of `BATCHES`, nanoseconds to count, and the id of the key that was used in every hour."""
    async with aclosing(SQLKeyStore(file)) as store:
        records = await _fill(store)
        chance, times = random.Random(1), {number: list[float]() for number in BATCHES}
        for seq in range(1, rounds * len(BATCHES) + 1):
            number = BATCHES[seq % len(BATCHES)]
            batch = UsageBatch("benchmark", seq, tuple(map(_count, chance.sample(records, number))))
            begin = perf_counter()
            await store.add_usage(batch)
            times[number].append(perf_counter() - begin)
            show_progress(seq, rounds * len(BATCHES))
        return (
            {number: statistics.median(times[number]) for number in BATCHES},
            await _time_count(records),
            records[0].id,
        )


async def _time_count(records: list[KeyRecord]) -> float:
    async def nowhere(_: UsageBatch) -> None: ...

    counter, times = UsageCounter(nowhere), []
    for _ in range(11):
        begin = perf_counter()
        for number in range(COUNTS):
            counter.count(records[number % 100], ADMITTED)
        times.append(perf_counter() - begin)
    await counter.aclose()
    return 1e9 * statistics.median(times) / COUNTS


def _count(record: KeyRecord) -> UsageCount:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    return UsageCount(record.id, record.project.id, hour, 10, 1, 0, now)


async def _fill(store: SQLKeyStore) -> list[KeyRecord]:
    """A year of a large project."""
    await store.open()
    project = some_project()
    records = [some_key(project, name=f"key {number}") for number in range(KEYS)]
    names = [column.name for column in keys.c if column.name not in ("number", "project_id")]
    hours = [_count(records[0]).hour - number * timedelta(hours=1) for number in range(HOURS)]
    chance = random.Random(1)
    counts = {"admitted": 100, "limited": 1, "forbidden": 0}
    of_project = {"project_id": project.id, **counts}

    async def fill(connection: AsyncConnection) -> None:
        async def add(table: Any, rows: list[dict[str, Any]]) -> None:
            await connection.execute(insert(table), rows)

        await add(projects, [{column.name: getattr(project, column.name) for column in projects.columns}])
        await add(keys, [{"project_id": project.id, **{n: getattr(r, n) for n in names}} for r in records])
        await add(project_hours, [{"hour": hour, **of_project} for hour in hours])
        totals = {"project_id": project.id, "requests": 101 * HOURS_OF_A_KEY, "last_used_at": hours[0]}
        await add(key_totals, [{"key_id": record.id, **totals} for record in records])
        for record in records:
            used = hours if record is records[0] else chance.sample(hours, HOURS_OF_A_KEY)
            await add(key_hours, [{"key_id": record.id, "hour": hour, **of_project} for hour in used])

    await store.database.write(fill)
    return records


def _time_commands(file: Path, busiest: str, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds):
        for name, words in COMMANDS.items():
            arguments = [busiest if word == "KEY" else word for word in words]
            store = () if name.endswith("no store") else ("--store", f"sqlite:///{file}")
            begin = perf_counter()
            subprocess.run(
                [sys.executable, "-m", "vc_auth.cli", *arguments, *store], check=True, stdout=subprocess.DEVNULL
            )
            times[name].append(perf_counter() - begin)
        show_progress(number + 1, rounds)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    main()

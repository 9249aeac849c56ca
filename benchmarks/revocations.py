"""How long until every worker refuses a key that another process revoked? Asked of real uvicorn workers.

::

    python benchmarks/revocations.py                     200 revocations, 4 uvicorn workers, one SQLite file
    python benchmarks/revocations.py --workers 2 --json
"""

import argparse
import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from harness import show_progress
from serving import Client, Uvicorn, meet

from vc_auth import NewKey, Settings, VCAuth

PROMISE: Final = 1.0  # seconds at p99, with SQLite; the contract's
POLL: Final = 0.002  # seconds between two requests to a worker
LOOKS: Final = 0.05  # seconds between two looks of a worker for changes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--revocations", type=int, default=200, help="how many keys are revoked, one by one (200)")
    parser.add_argument("--workers", type=int, default=4, help="uvicorn workers (4)")
    parser.add_argument("--json", action="store_true", help="print all times, in seconds")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        times = asyncio.run(measure(Path(folder), given.workers, given.revocations, progress=True))
    if given.json:
        print(json.dumps(times))
        return
    print(f"{len(times)} revocations, {given.workers} workers, from commit to the last worker's first refusal:")
    for name, seconds in (("p50", statistics.median(times)), ("p99", p99(times)), ("longest", max(times))):
        print(f"{name} {1e3 * seconds:.0f} ms")


async def measure(folder: Path, workers: int, revocations: int, *, progress: bool = False) -> list[float]:
    """Seconds from the commit of each revocation until all workers refuse the key; they all knew it."""
    settings = Settings(store=f"sqlite:///{folder / 'keys.db'}", limiter="none")
    async with VCAuth(settings) as auth:
        await auth.registry.create_project("acme")
        keys = [await auth.registry.create_key("acme", f"key {number}") for number in range(revocations)]
        with Uvicorn(folder, workers, store=settings.store, limiter="none") as server:
            clients = await meet(server.port, workers, keys[0].secret.reveal())
            times = []
            chance = random.Random(1)
            for number, key in enumerate(keys, 1):
                # Else each would begin right after the look for changes that ended the one before, and none would be
                # of the slowest.
                await asyncio.sleep(chance.uniform(0.0, LOOKS))
                times.append(await _revoke(auth, key, clients))
                if progress:
                    show_progress(number, revocations)
            await _check_that_none_came_back(clients, keys)
            for client in clients:
                await client.close()
            return times


def p99(times: Sequence[float]) -> float:
    """The time that 99 of 100 do not pass."""
    return sorted(times)[max(0, -(-99 * len(times) // 100) - 1)]


async def _revoke(auth: VCAuth, key: NewKey, clients: Sequence[Client]) -> float:
    plain = key.secret.reveal()
    for client in clients:
        assert (await client.get(plain))[0] == 200

    async def refused_at(client: Client) -> float:
        while (await client.get(plain))[0] == 200:  # noqa: ASYNC110  # this is what is measured
            await asyncio.sleep(POLL)
        return perf_counter()

    asking = [asyncio.create_task(refused_at(client)) for client in clients]
    await auth.registry.revoke_key(key.record.id)
    committed = perf_counter()
    return max(0.0, max(await asyncio.gather(*asking)) - committed)


async def _check_that_none_came_back(clients: Sequence[Client], keys: Sequence[NewKey]) -> None:
    for client in clients:
        for key in keys:
            assert (await client.get(key.secret.reveal()))[0] == 401, "a revoked key was let in again"


if __name__ == "__main__":
    main()

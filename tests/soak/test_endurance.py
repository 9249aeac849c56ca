"""Ten minutes of load on real workers, with keys that come and go: no 5xx, and no growth once it is warm."""

import asyncio
import os
import random
import secrets
import statistics
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

import pytest
from serving import Client, Uvicorn, meet
from support import SCALE

from vc_auth import Registry, Settings, VCAuth

SECONDS: Final = 60 * SCALE  # ten minutes in the soak
KEYS: Final = round(1_000 * SCALE)  # 10,000
WORKERS: Final = 2
EVERYWHERE: Final = 4  # connections to each worker
EACH: Final = 100  # one request in so many presents an unknown key, one a revoked key; and one brings a revocation
BOUND: Final = 2.0  # seconds until a revocation is certainly everywhere: the contract's, also for a feed that was cut
UNKNOWN: Final = "1024"  # keys remembered as unknown; the default takes longer to fill than the run to get warm
WARM: Final = 0.4  # of the time: every worker has met nearly all of its keys
MOST_GROWTH: Final = 0.02  # of the memory that a warm worker has


class Load:
    """Requests with living, revoked and unknown keys, and what they were answered."""

    def __init__(self, registry: Registry, keys: list[tuple[str, str]]) -> None:
        self._registry = registry
        self._keys = keys  # ids and whole keys
        self._revoked: deque[tuple[float, str]] = deque(maxlen=10 * EACH)
        self._chance = random.Random(1)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.revocations = 0

    @property
    def any_key(self) -> str:
        """A whole key that is alive."""
        return self._chance.choice(self._keys)[1]

    async def send(self, client: Client, until: float) -> None:
        while monotonic() < until:
            die = self._chance.randrange(EACH)
            if die == 0:
                kind, key = "unknown", "vc_" + secrets.token_hex(16)
            elif die == 1 and (revoked := [key for at, key in self._revoked if at < monotonic() - BOUND]):
                kind, key = "revoked", self._chance.choice(revoked)
            else:
                kind, key = "living", self.any_key
            if die == 2:
                await self._revoke()
            self.answers[kind, (await client.get(key))[0]] += 1
        await client.close()

    async def _revoke(self) -> None:
        """Revoke a key, and make another in its place."""
        key_id, key = self._keys.pop(self._chance.randrange(len(self._keys)))
        await self._registry.revoke_key(key_id)
        self._revoked.append((monotonic(), key))
        self.revocations += 1
        await self._registry.delete_key(key_id)
        self._keys.append(await new_key(self._registry))


async def new_key(registry: Registry) -> tuple[str, str]:
    new = await registry.create_key("acme", "soak")
    return new.record.id, new.secret.reveal()


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


async def watch(server: Uvicorn, since: float, until: float, report: Callable[[str], None]) -> list[list[float]]:
    """What each worker has resident, every second."""
    seen: list[list[float]] = [[] for _ in range(WORKERS)]
    while (now := monotonic()) < until:
        for one, pid in zip(seen, server.pids[-WORKERS:], strict=True):
            one.append(resident(pid))
        if len(seen[0]) % 60 == 1:
            report(f"{now - since:5.0f} s: {', '.join(f'{one[-1]:.1f}' for one in seen)} MiB")
        await asyncio.sleep(1)
    return seen


@pytest.mark.timeout(3 * SECONDS + 300)
async def test_ten_minutes_of_load_with_keys_that_come_and_go(tmp_path: Path, report: Callable[[str], None]) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path / 'keys.db'}")
    async with VCAuth(settings) as auth:
        await auth.registry.create_project("acme", plan="enterprise")
        load = Load(auth.registry, [await new_key(auth.registry) for _ in range(KEYS)])
        with Uvicorn(tmp_path, WORKERS, store=settings.store, negative_cache_size=UNKNOWN) as server:
            begun = monotonic()
            until = begun + SECONDS
            report(f"{SECONDS:.0f} s, {KEYS:,} keys, {WORKERS} uvicorn workers on one SQLite file, limits in memory")
            clients = [client for _ in range(EVERYWHERE) for client in await meet(server.port, WORKERS, load.any_key)]
            watching = asyncio.create_task(watch(server, begun, until, report))
            await asyncio.gather(*(load.send(client, until) for client in clients))
            seen = await watching
            await asyncio.to_thread(server.stop)
            assert len(server.pids) == WORKERS, "no worker died"
        requests = load.answers.total()
        counted = sum(hour.requests for hour in await auth.registry.usage("acme", by="hour"))
    growth = [statistics.median(one[-len(one) // 10 :]) / one[round(WARM * len(one))] - 1 for one in seen]
    answers = ", ".join(f"{kind} {status}: {count:,}" for (kind, status), count in sorted(load.answers.items()))
    report(f"{requests:,} requests ({requests / SECONDS:,.0f}/s), {load.revocations:,} revocations; {answers}")
    report(f"memory from {WARM:.0%} of the time to the end: {', '.join(f'{one:+.1%}' for one in growth)}")
    assert {status for kind, status in load.answers if kind == "unknown"} == {401}
    assert {status for kind, status in load.answers if kind == "revoked"} <= {401}
    assert {status for kind, status in load.answers if kind == "living"} <= {200, 401}
    assert load.answers["living", 401] <= load.revocations * len(clients), "those that were on their way meanwhile"
    assert counted <= requests + len(clients)
    assert max(growth) <= MOST_GROWTH

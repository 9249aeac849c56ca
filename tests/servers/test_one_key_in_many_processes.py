"""Many processes spend one bucket: never more than the plan admits, and hardly less while somebody asks."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import redis
from redis_servers import RedisServer
from support import SCALE

PROCESSES = 8
CALLERS = 8  # in each process
SECONDS = max(1.0, min(2 * SCALE, 6))
ROUNDS = max(1, round(2 * SCALE))
BURST, PER_SECOND = 2_000, 1_000

# Each process says that it is ready, begins when all are, and says at last what it was told.
ASKING = """
import asyncio, json, sys
from fractions import Fraction
from redis.asyncio import Redis
from vc_auth.limiters.outages import Outages
from vc_auth.limiters.redis import open_redis_limiter
from vc_auth.metrics import Metrics
from vc_auth.rates import Rate

url, burst, per_second, callers, seconds = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])

async def main():
    rate = Rate(f"{per_second}/second", burst)
    limiter = open_redis_limiter(url, Outages("closed", lambda: Fraction(1), Metrics()), deadline=30)
    await limiter.open()
    print("ready", flush=True)
    sys.stdin.readline()
    loop, told = asyncio.get_running_loop(), [0, 0]
    end = loop.time() + seconds

    async def ask():
        while loop.time() < end:
            decision = await limiter.hit("family", rate)
            told[decision.allowed] += 1
            if not decision.allowed:
                await asyncio.sleep(0)

    await asyncio.gather(*(ask() for _ in range(callers)))
    await limiter.aclose()
    print(json.dumps(told), flush=True)

asyncio.run(main())
"""


class Outcome(NamedTuple):
    """What all processes were told, and between which microseconds of the server's clock."""

    admitted: int
    refused: int
    within: int
    while_all_asked: int


def us_of(client: redis.Redis) -> int:
    seconds, us = client.time()
    return int(seconds) * 1_000_000 + int(us)


def spend(server: RedisServer) -> Outcome:
    command = [sys.executable, "-c", ASKING, server.url, str(BURST), str(PER_SECOND), str(CALLERS), str(SECONDS)]
    path = os.pathsep.join(path for path in sys.path if path)
    with ExitStack() as stack, redis.Redis(port=server.port) as client:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
                )
            )
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        begin = us_of(client)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        all_ask = us_of(client)
        told = [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
        end = us_of(client)
        for process in processes:
            assert process.wait() == 0
    refused, admitted = map(sum, zip(*told, strict=True))
    return Outcome(admitted, refused, end - begin, min(end - all_ask, round(SECONDS * 1_000_000)))


def test_eight_processes_admit_what_one_plan_allows_and_no_request_more() -> None:
    outcomes = []
    for _ in range(ROUNDS):
        with RedisServer() as server:
            outcomes.append(spend(server))
    report(outcomes)
    for admitted, refused, within, while_all_asked in outcomes:
        assert refused > 0  # somebody asked all the time
        assert admitted <= BURST + PER_SECOND * within / 1_000_000
        assert admitted >= 0.999 * (BURST + PER_SECOND * while_all_asked / 1_000_000)


def report(outcomes: list[Outcome]) -> None:
    """Where a long run keeps what it found."""
    if folder := os.environ.get("VC_AUTH_TEST_REPORTS"):
        lines = [f"{time.strftime('%Y-%m-%d')}, {PROCESSES} processes of {CALLERS} callers, {SECONDS:g} s a round"]
        lines += [f"one bucket of {BURST}, refilled by {PER_SECOND} a second"]
        for admitted, refused, within, while_all_asked in outcomes:
            most, least = (BURST + PER_SECOND * us / 1e6 for us in (within, while_all_asked))
            lines += [f"admitted {admitted:,} of {most:,.1f}, and of {least:,.1f} while all asked; refused {refused:,}"]
        Path(folder, "one_key_in_many_processes.txt").write_text("\n".join(lines) + "\n")

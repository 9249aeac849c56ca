"""Whether the time of an answer tells anything of real keys: Welch's t, as dudect does it (Reparaz et al., 2017)."""

import gc
import random
import secrets
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support import SCALE, App, bearer, http_scope, new_key, nothing_more

from vc_auth import APIKeyMiddleware, Settings, VCAuth

PAIRS: Final = round(10_000 * SCALE)  # 100,000 in the soak
NO_SIGNAL: Final = 4.5
CROPS: Final = (1.0, 0.99, 0.9, 0.5)  # shares of the fastest; slow ones are the machine's, and hide small differences


async def drop(message: Message) -> None:
    pass


def presented(real: str) -> list[tuple[int, str]]:
    """Unknown keys in pairs, each in any order: one shares 28 characters with a real key (0), one shares none (1).

    The latter share theirs with each other. Else the former would be quicker by 0.1 us: what is always the same is what
    a processor learns to predict, and that tells of the presented keys, not of the real one.
    """
    chance = random.Random()
    nobodys = "vc_" + secrets.token_hex(13)[:25]
    keys = []
    for _ in range(PAIRS):
        beginnings = [(0, real[:28]), (1, nobodys)]
        chance.shuffle(beginnings)
        keys += [(kind, beginning + secrets.token_hex(4)[:7]) for kind, beginning in beginnings]
    return keys


async def times(app: ASGIApp, real: str) -> tuple[list[int], list[int]]:
    """Nanoseconds of the keys of each kind."""
    taken: tuple[list[int], list[int]] = ([], [])
    gc.disable()
    try:
        for number, (kind, key) in enumerate(presented(real)):
            scope = http_scope(bearer(key))
            begun = perf_counter_ns()
            await app(scope, nothing_more, drop)
            taken[kind].append(perf_counter_ns() - begun)
            if number % 2_000 == 0:
                gc.collect()
    finally:
        gc.enable()
    return taken


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    difference = statistics.fmean(one) - statistics.fmean(other)
    error = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return float(difference / error**0.5)


def largest_t(sharing: Sequence[int], strange: Sequence[int]) -> float:
    """Welch's t of all, and of the fastest alone; whichever is the farthest from 0."""
    both = sorted([*sharing, *strange])
    tests = []
    for share in CROPS:
        limit = both[int(share * (len(both) - 1))]
        tests.append(welch([t for t in sharing if t <= limit], [t for t in strange if t <= limit]))
    return max(tests, key=abs)


async def guarded() -> tuple[ASGIApp, str]:
    auth = VCAuth(Settings(store="memory://", limiter="none"))
    return APIKeyMiddleware(App(), auth), await new_key(auth)


async def test_an_unknown_key_that_shares_a_prefix_with_a_real_one_takes_as_long_as_any(
    report: Callable[[str], None],
) -> None:
    app, real = await guarded()
    sharing, strange = await times(app, real)
    t = largest_t(sharing, strange)
    medians = [statistics.median(kind) / 1e3 for kind in (sharing, strange)]
    report(f"{PAIRS:,} pairs of unknown keys through the middleware, store in memory, in random order")
    report(f"sharing 28 characters with a real key: median {medians[0]:.2f} us; sharing none: {medians[1]:.2f} us")
    report(f"Welch's t, the farthest from 0 of those over the fastest {CROPS}: {t:.2f}; a signal from {NO_SIGNAL}")
    assert abs(t) < NO_SIGNAL


async def test_a_comparison_that_stops_at_the_first_difference_would_be_seen() -> None:
    app, real = await guarded()

    async def leaking(scope: Scope, receive: Receive, send: Send) -> Any:
        presented = scope["headers"][1][1].removeprefix(b"Bearer ").decode()
        for one, other in zip(presented, real, strict=False):
            if one != other:
                break
        await app(scope, receive, send)

    assert abs(largest_t(*await times(leaking, real))) > NO_SIGNAL

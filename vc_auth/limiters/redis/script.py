"""The script that keeps buckets in Redis, and how it is asked."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from struct import pack
from typing import Any, Final
from zlib import crc32

from redis.exceptions import NoScriptError

SOURCE: Final = files("vc_auth.limiters.redis").joinpath("token_bucket.lua").read_text("utf-8")
SHA: Final = sha1(SOURCE.encode(), usedforsecurity=False).hexdigest()  # what EVALSHA calls it by
NO_BUCKET: Final = -1
TAGS: Final = 64

Ask = Callable[..., Awaitable[Any]]
"""Sends the words of one command, and returns the reply to it."""


Check = tuple[str, int, int, int]
"""What is asked of a key: emission interval, capacity and charge, in microseconds and as in ``token_bucket.lua``."""


def tag_of(bucket: str) -> int:
    """Which of the 64 hash tags a bucket has. A cluster spreads them; what has the same one may share a script."""
    return crc32(bucket.encode()) % TAGS


@lru_cache(maxsize=16_384)
def name_of(bucket: str) -> str:
    """The key of a bucket: a version, its tag, and its own name, which is no key's and no digest."""
    return f"vc1:{{s{tag_of(bucket):02d}}}:{bucket}"


def scratch(tag: int) -> Check:
    """A check that writes, and that is nobody's: its key has no bucket's name, and is gone after a millisecond."""
    return (f"vc1:{{s{tag:02d}}}", 1, 1, 1)


async def debts(ask: Ask, checks: Sequence[Check], now: int | None = None) -> list[int]:
    """The debt of each bucket before its check, in microseconds; NO_BUCKET where something else has its name.

    One round trip, all or none of it. ``now`` is the server's own time, but in tests.
    """
    words = words_for(checks, now)
    try:
        told: list[int] = await ask("EVALSHA", SHA, *words)
    except NoScriptError:  # a server that knows no script has run none, so this one may be sent again
        told = await ask("EVAL", SOURCE, *words)
    return told


def words_for(checks: Sequence[Check], now: int | None = None) -> list[Any]:
    """The words of a command behind the script: how many keys, the keys, and the arguments."""
    words: list[Any] = [len(checks)]
    numbers: list[int] = []
    for name, emission, capacity, charge in checks:
        words.append(name)
        numbers += (emission, capacity, charge)
    words.append(pack(f"<{len(numbers)}d", *numbers))
    if now is not None:
        words.append(now)
    return words

"""One of several workers on a SQLite file: what it reads and what it hears arrives when the test says so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

from support import bearer

from vc_auth import Settings, VCAuth
from vc_auth.clock import utcnow
from vc_auth.errors import BackendError, InvalidKey, NotFound
from vc_auth.keys import digest as digest_of
from vc_auth.records import Grant, KeyRecord
from vc_auth.stores import Change
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.testing import TurnableClock

Cut = Literal["an error", "its end"]

TIMEOUT: Final = 30.0  # seconds; nothing takes that long
UNHURRIED: Final = 10_000.0  # seconds


class SlowStore(SQLKeyStore):
    """Reads at once. What it read arrives, or is lost, in `deliver`; what its feed tells arrives in `hear`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, poll_interval=0.001)
        self.under_way: list[tuple[str, asyncio.Future[bool]]] = []
        self.delivers_at_once = False
        self.failing = False  # at the last delivery
        self.has_failed = False  # at any
        self._reads = 0
        self._nothing_is_read = asyncio.Event()
        self._nothing_is_read.set()
        self.cut_by: Cut | None = None
        self._whole = asyncio.Event()
        self._whole.set()
        self._let_through = asyncio.Event()
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    async def find(self, digest: str) -> KeyRecord | None:
        record = await self._read(digest)
        self.failing = not (self.delivers_at_once or await self._delivery(digest))
        if self.failing:
            self.has_failed = True
            raise OSError("lost on the way")
        return record

    async def _read(self, digest: str) -> KeyRecord | None:
        self._reads += 1
        self._nothing_is_read.clear()
        try:
            return await super().find(digest)
        finally:
            self._reads -= 1
            if self._reads == 0:
                self._nothing_is_read.set()

    def _delivery(self, digest: str) -> asyncio.Future[bool]:
        delivery = asyncio.get_running_loop().create_future()
        self.under_way.append((digest, delivery))
        return delivery

    async def deliver(self, number: int, *, arrives: bool = True) -> None:
        """Bring one of the things that were read, or lose it."""
        if self.under_way:
            _, delivery = self.under_way.pop(number % len(self.under_way))
            if not delivery.done():  # it may have been cancelled
                delivery.set_result(arrives)
            await self.settle()

    async def settle(self) -> None:
        """Until every look-up has its answer, or waits for what was read."""
        while True:
            for _ in range(8):
                await asyncio.sleep(0)
            if self._nothing_is_read.is_set():
                return
            await self._nothing_is_read.wait()

    async def end_writing(self) -> None:
        """Until a change that was cancelled is over: this one, which changes nothing, has to wait for it."""
        with suppress(NotFound):
            await self.delete_key("none", utcnow(TurnableClock()))

    # -- the feed ------------------------------------------------------------------------------------------------------

    async def changes(self) -> AsyncGenerator[list[Change], None]:
        await self._whole.wait()
        self._ended.clear()
        try:
            async with aclosing(super().changes()) as batches:
                async for batch in batches:
                    await self._let_through.wait()
                    if self.cut_by == "an error":
                        raise BackendError("the feed is cut")
                    if self.cut_by == "its end":
                        return
                    yield batch
                    self._heard.set()  # whoever asks for the next batch has done with this one
        finally:
            self._ended.set()

    async def hear(self) -> None:
        """Until all that was committed is heard: the second batch from now on was looked for after it."""
        self._let_through.set()
        for _ in range(2):
            self._heard.clear()
            await asyncio.wait_for(self._heard.wait(), TIMEOUT)
        self._let_through.clear()

    async def cut(self, by: Cut) -> None:
        """Let nothing more be heard, until it is taken up again."""
        self.cut_by = by
        self._whole.clear()
        self._let_through.set()
        await asyncio.wait_for(self._ended.wait(), TIMEOUT)
        self._let_through.clear()

    def take_up_again(self) -> None:
        """Let whoever follows ask for the feed again."""
        self.cut_by = None
        self._whole.set()


class Worker:
    """A guard and a registry of their own, on a file that others work on as well."""

    def __init__(self, path: Path, clock: TurnableClock, cache_size: int) -> None:
        self._arguments = path, clock, cache_size
        self.store = SlowStore(path)
        settings = Settings(
            store="memory://",  # and in its place:
            limiter="none",
            cache_size=cache_size,
            negative_cache_size=cache_size,
            store_timeout=UNHURRIED,
            usage_flush_interval=UNHURRIED,  # between two steps the loop stands still, and so would its transaction
        )
        self.auth = VCAuth(settings, store=self.store, clock=clock)
        self.registry = self.auth.registry
        self.cache_size = cache_size
        self.heard_at = 0  # nanoseconds since 1970
        self.was_failing = False  # its store, before it was last asked: then its answer may be stale

    def successor(self) -> Self:
        """The same in a new process."""
        return type(self)(*self._arguments)

    async def ask(self, plain: str) -> Grant | None:
        """The grant of a request with this key; None if the key is refused."""
        try:
            return await self.auth.guard.admit(bearer(plain))
        except InvalidKey:
            return None

    async def ask_at_once(self, *plains: str) -> dict[str, Grant | None]:
        """The same for several keys. What has to be read arrives; who has to wait for what does not, has no answer."""
        self.was_failing = self.store.failing  # a probe that this starts may find it whole again
        self.store.delivers_at_once = True
        tasks = {plain: asyncio.create_task(self.ask(plain)) for plain in plains}
        await self.store.settle()
        self.store.delivers_at_once = False
        for task in tasks.values():
            task.cancel()
        return {plain: task.result() for plain, task in tasks.items() if task.done()}

    async def ask_until(self, change: asyncio.Task[Any], plain: str) -> None:
        """Ask again and again until the change is over. Either answer is right meanwhile."""
        while not change.done():
            await self.ask_at_once(plain)

    async def hear(self) -> None:
        """Until all that was committed is known here."""
        await self.store.hear()
        self.heard_at = self.auth.clock.time_ns()

    def is_reading(self, plain: str) -> bool:
        """Whether what was read of this key has not arrived."""
        digest = digest_of(plain)
        return any(read == digest and not delivery.done() for read, delivery in self.store.under_way)

    def push_out(self, plain: str) -> None:
        """Do to the cache what many other keys would do."""
        if not self.is_reading(plain):  # what is under way, they would not touch
            self.auth.store.forget(digest_of(plain))

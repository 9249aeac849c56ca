"""See that the package never holds up the event loop. What tests do there, and what others take, is not its fault."""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

STALLED: Final = 0.4  # seconds in which the event loop did not turn: less than any wait for a file or a server
_TICK: Final = 0.01
_LOOK: Final = 0.05


@asynccontextmanager
async def turning() -> AsyncIterator[None]:
    """Fails if the loop stands still for so long in code that the package called."""
    watch = _Watch(threading.get_ident())
    stalls: list[float] = []

    async def tick() -> None:
        while True:
            begin, waited = time.monotonic(), seconds_in_line()
            watch.seen_at = begin
            await asyncio.sleep(_TICK)
            gap = time.monotonic() - begin
            if watch.blamed_since == begin:
                others = sum(seconds - waited.get(thread, 0.0) for thread, seconds in seconds_in_line().items())
                stalls.append(gap - others)

    task = asyncio.create_task(tick())
    watch.start()
    gc.freeze()  # or the collector looks at all that a long run of tests has made, which takes half a second
    try:
        yield
    finally:
        gc.unfreeze()
        task.cancel()
        await asyncio.wait((task,))
        watch.ended.set()
        watch.join()
    assert max(stalls, default=0.0) < STALLED


class _Watch(threading.Thread):
    """Looks what the loop is busy with when it has not turned for a while."""

    def __init__(self, thread: int) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen_at = self.blamed_since = 0.0
        self._thread = thread

    def run(self) -> None:
        while not self.ended.wait(_LOOK):
            since = self.seen_at
            if time.monotonic() - since > _LOOK + _TICK and _is_ours(sys._current_frames().get(self._thread)):
                self.blamed_since = since


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("vc_auth."):
            return True
        frame = frame.f_back
    return False


def seconds_in_line() -> dict[str, float]:
    """How long each thread was ready and had no processor, where the system counts that; one may hold up all others."""
    seconds = {}
    for counts in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            seconds[counts.parent.name] = int(counts.read_text().split()[1]) / 1e9
    return seconds

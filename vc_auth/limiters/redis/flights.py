"""Many checks in one round trip: whoever comes while others are on their way goes with the next flight."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from vc_auth.errors import BackendError
from vc_auth.limiters.redis.script import Check
from vc_auth.limiters.remote import Lost, Unasked, Watcher

PATIENCE: Final = 0.001  # seconds between two departures while another flight is out
SEATS: Final = 512  # in the air together: as many checks may be charged twice when the server goes away

Send = Callable[[Sequence[Check]], Awaitable[Sequence[int]]]
"""Asks all checks at once, and returns the answers in their order. Raises BackendError."""

Landed = tuple[int, int]
"""The debt before the check, and when it left: microseconds, the latter of the monotonic clock."""


class Seats:
    """How many checks may be in the air at once, over all flights that share them.

    Those of a flight that was lost stay taken until the server answers again, so that no more than these can ever stand
    both there and here.
    """

    def __init__(self, free: int = SEATS) -> None:
        self.free = free


class Flights:
    """Carries checks to ``send``. For the running event loop.

    A lone check leaves at once. While a flight is out, the next ones gather; they leave when it lands, or after a
    millisecond, or after the round trip's share of it if that takes longer, up to ``most`` flights at once. Who has no
    answer within ``deadline`` seconds of boarding is told so: Unasked if it has not left by then (and it never will),
    else Lost. Nothing is ever sent twice.
    """

    def __init__(
        self,
        send: Send,
        watcher: Watcher,
        seats: Seats,
        now_ns: Callable[[], int],
        *,
        deadline: float,
        most: int,
    ) -> None:
        self._send = send
        self._watcher = watcher
        self._seats = seats
        self._now_ns = now_ns
        self._deadline = deadline
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._gathering: _Flight | None = None
        self._departure: asyncio.TimerHandle | None = None
        self._out: set[asyncio.Future[None]] = set()
        self._lost = 0  # seats of ours that stay taken
        self._round_trip = 0.0

    def board(self, check: Check) -> asyncio.Future[Landed]:
        """Take a check along. The future has the answer, or the BackendError for which there is none."""
        flight = self._gathering
        if flight is None:
            flight = self._gathering = _Flight()
            flight.deadline = self._loop.call_later(self._deadline, self._give_up, flight)
            if self._out:
                self._depart_soon()
            else:
                self._depart()
        future: asyncio.Future[Landed] = self._loop.create_future()
        flight.passengers.append((future, check))
        return future

    def go_on(self) -> None:
        """The server answers again, as somebody has seen: what was lost is history."""
        self._seats.free += self._lost
        self._lost = 0

    async def aclose(self) -> None:
        """Turn away who waits, and let what is out land."""
        if self._gathering is not None:
            self._give_up(self._gathering)
        await asyncio.gather(*self._out, return_exceptions=True)

    # -- a flight ------------------------------------------------------------------------------------------------------

    def _depart_soon(self) -> None:
        if self._departure is None:
            self._departure = self._loop.call_later(max(PATIENCE, self._round_trip / self._most), self._depart)

    def _depart(self) -> None:
        """Let those who gather leave, with all who are about to board in this turn of the loop."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        if self._gathering is None:
            return
        if len(self._out) < self._most and self._seats.free > 0:
            task = self._loop.create_task(self._fly())
            self._out.add(task)
            task.add_done_callback(self._out.discard)
        else:
            self._depart_soon()

    async def _fly(self) -> None:
        flight = self._take_seats()
        try:
            if flight is not None:
                await self._carry(flight)
        finally:
            self._out.discard(asyncio.current_task())  # now, and not in a later turn: who is woken must find it gone
            self._depart()

    async def _carry(self, flight: "_Flight") -> None:
        begin = self._loop.time()
        left_at_us = self._now_ns() // 1_000
        try:
            answers = await self._send([check for _, check in flight.passengers])
        except Exception as error:  # noqa: BLE001  # whatever it is, they have to be told
            self._fail(flight, error if isinstance(error, BackendError) else Lost(repr(error)))
        except BaseException:  # the loop ends
            self._fail(flight, Lost("cancelled"))
            raise
        else:
            self._round_trip = self._loop.time() - begin
            self._land(flight, answers, left_at_us)

    def _take_seats(self) -> "_Flight | None":
        """Those who gather and still want to know, as many as there are seats; the others go on gathering."""
        flight = self._gathering
        self._gathering = None
        if flight is None:  # it was given up meanwhile, or another task was quicker
            return None
        waiting = [passenger for passenger in flight.passengers if not passenger[0].done()]
        flight.passengers, others = waiting[: self._seats.free], waiting[self._seats.free :]
        if others:
            rest = self._gathering = _Flight()
            rest.passengers = others
            rest.deadline = self._loop.call_at(flight.deadline.when(), self._give_up, rest)
        if not flight.passengers:
            flight.deadline.cancel()
            return None
        self._seats.free -= len(flight.passengers)
        return flight

    def _land(self, flight: "_Flight", answers: Sequence[int], left_at_us: int) -> None:
        if flight.is_given_up:  # it was decided here, and may stand there
            return
        self._seats.free += len(answers)
        self.go_on()
        flight.deadline.cancel()
        for (future, _), debt in zip(flight.passengers, answers, strict=True):
            if not future.done():
                future.set_result((debt, left_at_us))
        self._watcher.answered()

    def _fail(self, flight: "_Flight", error: BackendError) -> None:
        if flight.is_given_up:
            return
        if isinstance(error, Lost):
            self._lost += len(flight.passengers)
        else:
            self._seats.free += len(flight.passengers)
        self._tell(flight, error)

    def _give_up(self, flight: "_Flight") -> None:
        within = f"within {self._deadline * 1_000:g} ms"
        if flight is self._gathering:
            self._gathering = None
            self._tell(flight, Unasked(f"Redis was too busy to be asked {within}"))
        else:
            self._lost += len(flight.passengers)
            self._tell(flight, Lost(f"no reply from Redis {within}"))

    def _tell(self, flight: "_Flight", error: BackendError) -> None:
        flight.is_given_up = True
        flight.deadline.cancel()
        for future, _ in flight.passengers:
            if not future.done():
                future.set_exception(type(error)(*error.args))  # each its own: a traceback grows where it is raised
                future.exception()  # whoever waited may be gone
        self._watcher.failed(error, hopeless=self._seats.free <= 0)


class _Flight:
    """Checks that leave together."""

    __slots__ = ("deadline", "is_given_up", "passengers")

    deadline: asyncio.TimerHandle

    def __init__(self) -> None:
        self.passengers: list[tuple[asyncio.Future[Landed], Check]] = []
        self.is_given_up = False

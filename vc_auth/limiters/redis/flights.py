"""Many checks in one round trip: whoever comes while others are on their way goes with the next flight."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from vc_auth.errors import BackendError
from vc_auth.limiters.redis.script import Check
from vc_auth.limiters.remote import Lost, Unasked, Watcher

PATIENCE: Final = 0.001  # seconds between two departures while another flight is out
BUNCH: Final = 32  # checks that wait for no others: the server works on one bunch while we work on another
SEATS: Final = 512  # in the air together: as many checks may be charged twice when the server goes away

Send = Callable[[Sequence[Check]], Awaitable[Sequence[int]]]
"""Asks all checks at once, and returns the answers in their order. Raises BackendError."""

Landed = tuple[int, int]
"""The debt before the check, and when it left: microseconds, the latter of the monotonic clock."""

Passenger = tuple[asyncio.Future[Landed], Check]
"""A check, and who wants to know of it."""


class Seats:
    """How many checks may be in the air at once, over all flights that share them.

    Those of a flight that was lost stay taken until the server answers again, so that no more than these can ever stand
    both there and here.
    """

    def __init__(self, free: int = SEATS) -> None:
        self.free = free


class Flights:
    """Carries checks to ``send``. For the running event loop.

    A lone check leaves at once. While a flight is out, the next ones gather; they leave when it lands, when they are a
    bunch, or after a millisecond, up to ``most`` flights at once. Where a round trip takes longer than as many
    milliseconds, departures are spread over it and no bunch leaves early: all flights would be out when somebody comes.

    Who has no answer within ``deadline`` seconds of boarding is told so: Unasked if it has not left by then (and it
    never will), else Lost. Nothing is ever sent twice.
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
        self._out: set[_Flight] = set()
        self._overdue: set[_Flight] = set()  # nobody waits for them any more; their replies may still come
        self._lost = 0  # seats of ours that stay taken
        self._round_trip = 0.0

    def board(self, check: Check) -> asyncio.Future[Landed]:
        """Take a check along. The future has the answer, or the BackendError for which there is none."""
        flight = self._gathering
        if flight is None:
            flight = self._gather(self._loop.time() + self._deadline)
            if self._out:
                self._depart_soon()
            else:
                self._depart()
        future: asyncio.Future[Landed] = self._loop.create_future()
        flight.passengers.append((future, check))
        if len(flight.passengers) == BUNCH and self._round_trip <= self._most * PATIENCE:
            self._depart()
            if flight.is_called:
                self._gathering = None
        return future

    def go_on(self) -> None:
        """The server answers again, as somebody has seen: what was lost is history."""
        self._seats.free += self._lost
        self._lost = 0

    async def abandon_lost(self) -> None:
        """Wait no longer for the replies of what was lost: its connections may be dead."""
        lost = [flight.task for flight in self._overdue]
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)

    async def aclose(self) -> None:
        """Turn away who waits, and let what is out land."""
        if self._gathering is not None:
            self._give_up(self._gathering)
        await asyncio.gather(*(flight.task for flight in self._out | self._overdue), return_exceptions=True)

    # -- a flight ------------------------------------------------------------------------------------------------------

    def _gather(self, deadline: float) -> "_Flight":
        flight = self._gathering = _Flight()
        flight.deadline = self._loop.call_at(deadline, self._give_up, flight)
        return flight

    def _depart_soon(self) -> None:
        if self._departure is None:
            self._departure = self._loop.call_later(max(PATIENCE, self._round_trip / self._most), self._depart)

    def _depart(self) -> None:
        """Let those who gather leave, with all who are about to board in this turn of the loop."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        flight = self._gathering
        if flight is None or flight.is_called:
            return
        if len(self._out) < self._most and self._seats.free > 0:
            flight.is_called = True
            self._out.add(flight)
            flight.task = self._loop.create_task(self._fly(flight))
            flight.task.add_done_callback(lambda _: self._forget(flight))
        else:
            self._depart_soon()

    async def _fly(self, flight: "_Flight") -> None:
        if self._gathering is flight:
            self._gathering = None
        try:
            if self._take_seats(flight):
                await self._carry(flight)
        finally:
            self._forget(flight)  # now, and not in a later turn: who is woken must find it gone
            self._depart()

    def _forget(self, flight: "_Flight") -> None:
        self._out.discard(flight)
        self._overdue.discard(flight)

    async def _carry(self, flight: "_Flight") -> None:
        begin = self._loop.time()
        left_at_us = self._now_ns() // 1_000
        try:
            answers = await self._send([check for _, check in flight.passengers])
        except Exception as error:  # noqa: BLE001  # whatever it is, they have to be told
            self._fail(flight, error if isinstance(error, BackendError) else Lost(repr(error)))
        except BaseException:  # the loop ends, or nobody waits for it any more
            self._fail(flight, Lost("cancelled"))
            raise
        else:
            if not flight.is_given_up:  # else it was decided here, and may stand there
                self._round_trip = self._loop.time() - begin
                self._land(flight, answers, left_at_us)

    def _take_seats(self, flight: "_Flight") -> bool:
        """Whether anybody leaves: those who still want to know, as many as there are seats."""
        waiting = [passenger for passenger in flight.passengers if not passenger[0].done()]
        flight.passengers, others = waiting[: self._seats.free], waiting[self._seats.free :]
        if others:
            self._put_off(others, flight.deadline.when())
        if not flight.passengers:
            flight.deadline.cancel()
            return False
        flight.has_left = True
        self._seats.free -= len(flight.passengers)
        return True

    def _put_off(self, others: "list[Passenger]", deadline: float) -> None:
        """Let them wait in front of those who have come since, and no longer than they would have."""
        flight = self._gathering
        if flight is None:
            flight = self._gather(deadline)
        else:
            flight.deadline.cancel()
            flight.deadline = self._loop.call_at(deadline, self._give_up, flight)
        flight.passengers[:0] = others

    def _land(self, flight: "_Flight", answers: Sequence[int], left_at_us: int) -> None:
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
        if flight.has_left:
            self._lost += len(flight.passengers)
            self._out.discard(flight)  # others may leave in its place, and not only when it is certain to be dead
            self._overdue.add(flight)
            self._tell(flight, Lost(f"no reply from Redis {within}"))
            return
        if self._gathering is flight:
            self._gathering = None
        self._tell(flight, Unasked(f"Redis was too busy to be asked {within}"))

    def _tell(self, flight: "_Flight", error: BackendError) -> None:
        flight.is_given_up = True
        flight.deadline.cancel()
        for future, _ in flight.passengers:
            if not future.done():
                future.set_exception(type(error)(*error.args))  # each its own: a traceback grows where it is raised
                future.exception()  # whoever waited may be gone
        self._watcher.failed(error, flight.deadline.when() - self._deadline, hopeless=self._seats.free <= 0)


class _Flight:
    """Checks that leave together."""

    __slots__ = ("deadline", "has_left", "is_called", "is_given_up", "passengers", "task")

    deadline: asyncio.TimerHandle
    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.passengers: list[Passenger] = []
        self.is_called = False  # its task will run soon, and who boards until then comes along
        self.has_left = False
        self.is_given_up = False

"""Flights: who leaves when, with whom, and what he is told. ``send`` is in the test's hand."""

import asyncio
from collections.abc import Sequence
from time import monotonic_ns

import pytest

from vc_auth.errors import BackendError, LimiterError
from vc_auth.limiters.redis.flights import BUNCH, Flights, Landed, Seats
from vc_auth.limiters.redis.script import Check
from vc_auth.limiters.remote import Lost, Unasked

NEVER = 60.0


class Airport:
    """Flights that land when the test lets them, and what their watcher was told."""

    def __init__(self, *, deadline: float = NEVER, most: int = 8, seats: int = 512) -> None:
        self.seats = Seats(seats)
        self.flights = Flights(self._send, self, self.seats, monotonic_ns, deadline=deadline, most=most)
        self.out: list[tuple[list[int], asyncio.Future[list[int]]]] = []
        self.told: list[BackendError | None] = []
        self.hopes: list[bool] = []
        self.begun: list[float] = []

    async def _send(self, checks: Sequence[Check]) -> Sequence[int]:
        landing: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self.out.append(([charge for *_, charge in checks], landing))
        return await landing

    def answered(self) -> None:
        self.told.append(None)

    def failed(self, error: BackendError, since: float, *, hopeless: bool = False) -> None:
        self.told.append(error)
        self.begun.append(since)
        self.hopes.append(not hopeless)

    def board(self, *numbers: int) -> list[asyncio.Future[Landed]]:
        return [self.flights.board((f"bucket {number}", 1, 1, number)) for number in numbers]

    @property
    def passengers(self) -> list[list[int]]:
        return [numbers for numbers, landing in self.out if not landing.done()]

    async def until_out(self, flights: int) -> None:
        async with asyncio.timeout(30):
            while len(self.out) < flights:  # noqa: ASYNC110  # they have nobody to tell
                await asyncio.sleep(0)

    def land(self, number: int) -> None:
        numbers, landing = self.out[number]
        landing.set_result([10 * each for each in numbers])


async def turns() -> None:
    """Let everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lone_check_leaves_at_once() -> None:
    airport = Airport()
    (future,) = airport.board(7)
    await airport.until_out(1)
    airport.land(0)
    debt, left_at = await future
    assert (debt, airport.told) == (70, [None])
    assert 0 <= monotonic_ns() // 1_000 - left_at < 30_000_000
    await airport.flights.aclose()


async def test_who_comes_in_the_same_turn_of_the_loop_goes_with_it() -> None:
    airport = Airport()
    futures = airport.board(1, 2, 3)
    await airport.until_out(1)
    assert airport.passengers == [[1, 2, 3]]
    airport.land(0)
    assert [debt for debt, _ in await asyncio.gather(*futures)] == [10, 20, 30]


async def test_who_comes_later_gathers_and_leaves_when_it_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport()
    airport.board(1)
    await airport.until_out(1)
    airport.board(2)
    await turns()
    airport.board(3)
    await turns()
    assert airport.passengers == [[1]]
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[2, 3]]
    airport.land(1)
    await turns()


async def test_or_when_it_has_been_out_for_a_while() -> None:
    airport = Airport()
    airport.board(1)
    await airport.until_out(1)
    airport.board(2)
    airport.board(3)
    await airport.until_out(2)
    assert airport.passengers == [[1], [2, 3]]
    airport.land(1)
    airport.land(0)
    await turns()


async def test_bunches_leave_at_once_and_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", 1.0)  # beyond what any round trip here takes
    airport = Airport()
    airport.board(*range(BUNCH - 1))
    airport.board(*range(BUNCH - 1, 2 * BUNCH + 1))
    await airport.until_out(2)
    assert airport.passengers == [[*range(BUNCH)], [*range(BUNCH, 2 * BUNCH)]]
    airport.board(*range(2 * BUNCH + 1, 3 * BUNCH - 1))
    await turns()
    assert len(airport.passengers) == 2
    airport.board(3 * BUNCH - 1)
    await airport.until_out(3)
    assert airport.passengers[2] == [*range(2 * BUNCH, 3 * BUNCH)]
    for number in range(3):
        airport.land(number)
    await turns()
    assert airport.told == [None] * 3


async def test_a_bunch_that_may_not_leave_goes_on_gathering_and_leaves_with_the_next_landing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport(most=1)
    airport.board(0)
    await airport.until_out(1)
    airport.board(*range(1, 2 * BUNCH + 2))
    await turns()
    assert airport.passengers == [[0]]
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[*range(1, 2 * BUNCH + 2)]]
    airport.land(1)
    await turns()


async def test_no_bunch_leaves_early_where_a_round_trip_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    airport = Airport(most=4)
    airport.board(0)
    await airport.until_out(1)
    await asyncio.sleep(0.02)
    airport.land(0)
    await turns()
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", 0.002)
    airport.board(1)
    await airport.until_out(2)
    airport.board(*range(2, 2 * BUNCH))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert airport.passengers == [[1]]
    airport.land(1)
    await airport.until_out(3)
    assert airport.passengers == [[*range(2, 2 * BUNCH)]]
    airport.land(2)
    await turns()


async def test_who_is_woken_by_a_landing_goes_with_the_next_flight_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport()

    async def twice(number: int) -> None:
        await airport.board(number)[0]
        await airport.board(number)[0]

    tasks = [asyncio.create_task(twice(number)) for number in range(5)]
    await airport.until_out(1)
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[0, 1, 2, 3, 4]]
    airport.land(1)
    await asyncio.gather(*tasks)


async def test_no_more_flights_are_out_than_there_may_be() -> None:
    airport = Airport(most=2)
    airport.board(1)
    await airport.until_out(1)
    airport.board(2)
    await airport.until_out(2)
    airport.board(3)
    await asyncio.sleep(0.02)
    assert airport.passengers == [[1], [2]]
    airport.land(1)
    await airport.until_out(3)
    assert airport.passengers == [[1], [3]]
    airport.land(0)
    airport.land(2)
    await turns()


async def test_two_landings_at_once_let_one_flight_leave(caplog: pytest.LogCaptureFixture) -> None:
    """And whoever was turned away before it left leaves nothing behind."""
    airport = Airport(most=2)
    airport.board(1)
    await airport.until_out(1)
    airport.board(2)
    await airport.until_out(2)
    (third,) = airport.board(3)
    airport.land(0)
    airport.land(1)
    await airport.until_out(3)
    airport.land(2)
    assert (await third)[0] == 30
    (fourth,) = airport.board(4)
    await airport.flights.aclose()
    with pytest.raises(Unasked):
        await fourth
    await turns()
    assert [numbers for numbers, _ in airport.out] == [[1], [2], [3]]
    assert "never retrieved" not in caplog.text
    assert not airport.flights._out


async def test_departures_are_spread_over_a_slow_round_trip() -> None:
    airport = Airport(most=4)
    airport.board(1)
    await airport.until_out(1)
    await asyncio.sleep(0.08)
    airport.land(0)
    await turns()
    assert airport.flights._round_trip >= 0.08
    airport.board(2)
    await airport.until_out(2)
    airport.board(3)
    assert airport.flights._departure is not None
    assert airport.flights._departure.when() - asyncio.get_running_loop().time() > 0.015  # of 20 ms
    await airport.until_out(3)
    airport.land(1)
    airport.land(2)
    await turns()


async def test_a_check_that_is_not_answered_in_time_is_lost_and_is_not_sent_again() -> None:
    airport = Airport(deadline=0.02)
    begin = asyncio.get_running_loop().time()
    (future,) = airport.board(1)
    with pytest.raises(Lost, match="no reply from Redis within 20 ms"):
        await future
    assert [type(error) for error in airport.told] == [Lost]
    assert begin <= airport.begun[0] + 1e-6 < begin + 0.02
    assert airport.passengers == [[1]]
    await asyncio.sleep(0.02)
    airport.land(0)  # late: nobody is told anything more
    await turns()
    assert len(airport.told) == 1
    assert len(airport.out) == 1
    assert airport.flights._round_trip == 0.0  # departures are spread over what is usual


async def test_a_check_that_has_not_left_in_time_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport(deadline=0.02, most=1)
    (first,) = airport.board(1)
    await airport.until_out(1)
    (second,) = airport.board(2)
    with pytest.raises(Unasked, match="too busy to be asked within 20 ms"):
        await second
    with pytest.raises(Lost):
        await first
    airport.land(0)
    await turns()
    assert [numbers for numbers, _ in airport.out] == [[1]]


async def test_who_comes_after_others_were_turned_away_leaves_with_the_next_departure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport()
    airport.board(1)
    await airport.until_out(1)
    (second,) = airport.board(2)
    assert airport.flights._gathering is not None
    airport.flights._give_up(airport.flights._gathering)
    with pytest.raises(Unasked):
        await second
    airport.board(3)
    await turns()
    assert airport.passengers == [[1]]
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[3]]
    airport.land(1)
    await turns()


@pytest.mark.parametrize("error", [Unasked("refused"), LimiterError("password"), Lost("cut"), ValueError("odd")])
async def test_a_failure_is_told_to_each_with_an_exception_of_his_own(error: Exception) -> None:
    airport = Airport()
    futures = airport.board(1, 2)
    await airport.until_out(1)
    airport.out[0][1].set_exception(error)
    caught = await asyncio.gather(*futures, return_exceptions=True)
    kind = type(error) if isinstance(error, BackendError) else Lost
    assert [type(each) for each in caught] == [kind, kind]
    assert caught[0] is not caught[1]
    assert [type(told) for told in airport.told] == [kind]


async def test_a_failure_is_told_to_the_others_where_one_was_called_off_in_the_air() -> None:
    airport = Airport()
    futures = airport.board(1, 2, 3)
    await airport.until_out(1)
    futures[1].cancel()
    airport.out[0][1].set_exception(Lost("cut"))
    caught = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(each) for each in caught] == [Lost, asyncio.CancelledError, Lost]


async def test_who_was_called_off_does_not_leave_and_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport()
    airport.board(1)
    await airport.until_out(1)
    futures = airport.board(2, 3, 4)
    futures[1].cancel()
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[2, 4]]
    futures[0].cancel()
    airport.land(1)
    assert (await futures[2])[0] == 40


async def test_a_flight_of_which_everybody_was_called_off_does_not_leave() -> None:
    airport = Airport()
    (future,) = airport.board(1)
    future.cancel()
    await turns()
    assert airport.out == []
    (another,) = airport.board(2)
    await airport.until_out(1)
    airport.land(0)
    assert (await another)[0] == 20
    assert airport.told == [None]


async def test_a_storm_of_cancellations_gives_nobody_anothers_answer() -> None:
    airport = Airport(most=3)
    answers: dict[int, int] = {}

    async def ask(number: int) -> None:
        answers[number] = (await airport.board(number)[0])[0]

    async def land_all() -> None:
        landed = 0
        while True:
            await asyncio.sleep(0)
            while landed < len(airport.out):
                airport.land(landed)
                landed += 1

    landing = asyncio.create_task(land_all())
    tasks = []
    for number in range(3_000):
        tasks.append(asyncio.create_task(ask(number)))
        if number % 3 == 0:
            tasks[number // 2].cancel()
        if number % 7 == 0:
            await asyncio.sleep(0)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    landing.cancel()
    assert answers == {number: 10 * number for number, result in enumerate(done) if result is None}
    assert 1_000 < len(answers) < 3_000


async def test_no_more_checks_are_in_the_air_than_there_are_seats() -> None:
    airport = Airport(seats=3)
    futures = airport.board(1, 2, 3, 4, 5)
    await airport.until_out(1)
    await asyncio.sleep(0.01)
    assert airport.passengers == [[1, 2, 3]]
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[4, 5]]
    airport.land(1)
    assert [debt for debt, _ in await asyncio.gather(*futures)] == [10, 20, 30, 40, 50]
    assert airport.seats.free == 3


async def test_who_waits_for_a_seat_has_the_deadline_that_he_had() -> None:
    airport = Airport(seats=1, deadline=0.02)
    first, second = airport.board(1, 2)
    with pytest.raises(Unasked):
        await second
    with pytest.raises(Lost):
        await first
    airport.land(0)
    await turns()


async def test_who_finds_no_seat_waits_in_front_of_those_who_have_come_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.limiters.redis.flights.PATIENCE", NEVER)
    airport = Airport(seats=BUNCH - 1)
    futures = airport.board(*range(BUNCH + 2))
    await airport.until_out(1)
    assert airport.passengers == [[*range(BUNCH - 1)]]
    airport.land(0)
    await airport.until_out(2)
    assert airport.passengers == [[BUNCH - 1, BUNCH, BUNCH + 1]]
    airport.land(1)
    assert [debt for debt, _ in await asyncio.gather(*futures)] == [10 * number for number in range(BUNCH + 2)]


@pytest.mark.parametrize("passengers", [2, BUNCH])
async def test_a_flight_that_is_called_too_late_does_not_leave(passengers: int) -> None:
    airport = Airport()
    futures = airport.board(1)
    flight = airport.flights._gathering
    assert flight is not None
    futures += airport.board(*range(1, passengers))
    airport.flights._give_up(flight)  # as uvloop does, whose timers come before tasks
    await turns()
    assert airport.out == []
    assert {type(told) for told in await asyncio.gather(*futures, return_exceptions=True)} == {Unasked}
    assert airport.seats.free == 512


async def test_what_was_lost_keeps_nobody_from_leaving_and_can_be_abandoned() -> None:
    airport = Airport(deadline=0.02, most=1, seats=3)
    (lost,) = airport.board(1)
    with pytest.raises(Lost):
        await lost
    (second,) = airport.board(2)
    await airport.until_out(2)
    assert airport.passengers == [[1], [2]]
    await airport.flights.abandon_lost()
    assert airport.out[0][1].cancelled()
    airport.land(1)
    assert (await second)[0] == 20
    await turns()
    assert not airport.flights._out | airport.flights._overdue
    assert airport.seats.free == 3
    assert [type(told) for told in airport.told] == [Lost, type(None)]


async def test_a_failure_that_comes_too_late_is_told_to_nobody() -> None:
    airport = Airport(deadline=0.02)
    (future,) = airport.board(1)
    with pytest.raises(Lost, match="within 20 ms"):
        await future
    airport.out[0][1].set_exception(Unasked("refused"))
    await turns()
    assert [type(error) for error in airport.told] == [Lost]
    assert airport.seats.free == 511


@pytest.mark.parametrize("is_late", [False, True])
async def test_the_seats_of_what_was_lost_stay_taken_until_the_server_answers_again(is_late: bool) -> None:
    airport = Airport(seats=3, deadline=0.02 if is_late else NEVER)
    futures = airport.board(1, 2)
    await airport.until_out(1)
    if is_late:
        await asyncio.sleep(0.03)
        airport.land(0)
    else:
        airport.out[0][1].set_exception(Lost("cut"))
    await asyncio.gather(*futures, return_exceptions=True)
    await turns()
    assert airport.seats.free == 1
    assert airport.hopes == [True]
    futures = airport.board(3)
    await airport.until_out(2)
    airport.out[1][1].set_exception(Lost("cut"))
    await asyncio.gather(*futures, return_exceptions=True)
    assert airport.hopes == [True, False]
    airport.flights.go_on()
    assert airport.seats.free == 3


async def test_an_answer_in_time_frees_them_too() -> None:
    airport = Airport(seats=3)
    (lost,) = airport.board(1)
    await airport.until_out(1)
    airport.out[0][1].set_exception(Lost("cut"))
    await asyncio.gather(lost, return_exceptions=True)
    assert airport.seats.free == 2
    airport.board(2)
    await airport.until_out(2)
    airport.land(1)
    await turns()
    assert airport.seats.free == 3


async def test_what_was_refused_frees_its_seats() -> None:
    airport = Airport(seats=3)
    (refused,) = airport.board(1)
    await airport.until_out(1)
    airport.out[0][1].set_exception(Unasked("no"))
    await asyncio.gather(refused, return_exceptions=True)
    assert airport.seats.free == 3


async def test_closing_lets_land_what_is_out_and_turns_away_who_waits() -> None:
    airport = Airport(most=1)
    (first,) = airport.board(1)
    await airport.until_out(1)
    (second,) = airport.board(2)
    closing = asyncio.create_task(airport.flights.aclose())
    await turns()
    assert not closing.done()
    airport.land(0)
    await closing
    assert (await first)[0] == 10
    with pytest.raises(Unasked):
        await second


async def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    airport = Airport()
    (future,) = airport.board(1)
    await airport.until_out(1)
    for flight in airport.flights._out:
        flight.task.cancel()
    with pytest.raises(Lost):
        await future

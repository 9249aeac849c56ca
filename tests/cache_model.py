"""A model of `vc_auth.cache` in pure functions: what it remembers of one key, and all that may overtake it.

Readers ask for the key, look-ups of it are under way, one writer revokes it in this process and one in another; a feed
tells of both, is cut, and is followed anew. A `State` is all of that at one moment; `steps` are all that can happen
next, each as atomic as it is on an event loop, where nobody runs between two awaits. `explore` visits every state that
any interleaving reaches. Time is in ticks of half a second, and what is older than matters grows no older: so there are
finitely many states, however long it runs.

Left out are other keys, and with them the size of the cache and the limit of 64 look-ups; unknown keys (a revoked one
is known); closing, and other event loops. Assumed is what `Rules.look_ups_end` and `Rules.tells_what_is_new` say.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Value = Literal["alive", "revoked"]
Verdict = Literal["admitted", "refused", "unavailable"]
Action = tuple[str, int]  # what happens, and to which reader or look-up

TICK: Final = 0.5  # seconds
TIMEOUT: Final = 1  # ticks: store_timeout
TRUST: Final = 1  # TRUST_NS
DISTRUSTED_TTL: Final = 2  # DISTRUSTED_TTL_NS
PROBE: Final = 1  # PROBE_INTERVAL_NS
STALE: Final = 2  # stale_if_error, which is 60 by default; all that matters is that it ends
IN_THE_AIR: Final = 2  # look-ups at once: one in the table, one forgotten
NO_FLIGHT: Final = -1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The algorithm with a switch for each of its guards, and the world that it runs in."""

    forget_reaches_flights: bool = True  # `forget`: out of the table, and flight.forgotten = True
    forgotten_may_not_fill: bool = True  # `_fly`: if not flight.forgotten
    waiters_look_again: bool = True  # `_load`: if flight.forgotten: continue
    forgotten_is_not_stale: bool = True  # `_find_again`: if self._entries.get(key) is not entry: raise
    stale_ends: bool = True  # `_may_use_stale`: < self._stale_if_error
    trust_ends: bool = True  # `peek`: now >= self._trusted_until
    age_counts_from_asking: bool = True  # `_fly`: asked_at before the look-up, not after it
    following_anew_forgets: bool = True  # `follow`: cache.forget_all()
    commit_then_forget: bool = True  # `CachedKeyStore.revoke_key`: forgets when the change is over
    commit_then_tell: bool = True  # what a feed tells stands in the transaction that it tells of
    look_ups_end: bool = True  # within store_timeout; a loop that stands still may see to that later
    tells_what_is_new: bool = True  # what a feed has seen it tells within the same tick, or never
    readers: int = 3
    has_feed: bool = True
    may_fail: bool = True
    ttl: int | None = None  # ticks; None: too long to be of any help
    bound: int = 2  # ticks after which a revocation must be known that nobody could tell of

    @property
    def forgotten_is_idle(self) -> bool:
        """Whether it makes no difference what a forgotten look-up brings."""
        return self.forgotten_may_not_fill and self.waiters_look_again


class Entry(NamedTuple):
    """An `_Entry`. ``age``: since it was asked for."""

    value: Value
    age: int


class Flight(NamedTuple):
    """A `_Flight` in the air. ``brings``: what the store has read; empty if it has not yet."""

    age: int = 0
    brings: Value | Literal[""] = ""
    forgotten: bool = False


class Reader(NamedTuple):
    """A request in `find`, or nobody.

    ``flight``: where the one stands that it waits for. ``landed``: what became of that, if there is no answer to it.
    ``falls_back_on``: what `_find_again` has in its hands for that case.
    ``late``: why this request may not be admitted any more; of that the algorithm knows nothing.
    """

    flight: int = NO_FLIGHT
    landed: Literal["", "failed", "forgotten"] = ""
    falls_back_on: Value | Literal[""] = ""
    late: Literal["", "told", "bound"] = ""


class Feed(NamedTuple):
    """`follow`, and the store's `changes`. ``batch``: what it has seen and not told. ``behind``: what it has to see."""

    is_up: bool = False
    batch: Literal["", "nothing", "a change", "the first", "the first, after it"] = ""
    behind: bool = False


class State(NamedTuple):
    """Everything at one moment. ``revoked_for`` and ``is_told`` are for the judge; the algorithm does not see them."""

    entry: Entry | None = None
    flights: tuple[Flight | None, ...] = (None,) * IN_THE_AIR
    trusted: int = 0  # for so many ticks
    failing: int | None = None  # for so many ticks
    probe_in: int = 0
    readers: tuple[Reader, ...] = ()
    here: Literal["", "half", "done"] = ""  # who revokes in this process
    elsewhere: Literal["", "half", "done"] = ""  # who revokes in another
    feed: Feed = Feed()
    revoked_for: int | None = None  # ticks since the first commit
    is_told: bool = False  # the revocation here has returned, or the feed has told of one


class Step(NamedTuple):
    """What can happen next, and what it leads to. ``verdicts``: the readers whose requests it ends, and how."""

    action: Action
    state: State
    verdicts: tuple[tuple[int, Verdict], ...] = ()
    is_wrong: bool = False


def start(rules: Rules) -> State:
    """Nothing is remembered, and nobody has done anything."""
    return State(readers=(Reader(),) * rules.readers)


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """All that can happen next. Of readers that are in the same situation, one is enough."""
    for number, reader in enumerate(state.readers):
        if reader not in state.readers[:number]:
            yield from _steps_of_reader(state, rules, number, reader)
    for number, flight in enumerate(state.flights):
        if flight is not None:
            yield from _steps_of_flight(state, rules, number, flight)
    yield from _steps_of_writers(state, rules)
    if rules.has_feed:
        yield from _steps_of_feed(state, rules)
    if not _something_is_due(state, rules):
        yield Step(("half a second passes", 0), _a_tick_later(state, rules))


# -- readers: `find`, `peek`, `_find_stranger`, `_find_again`, `_load`, `_launch` --------------------------------------


def _steps_of_reader(state: State, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    if reader.landed:
        yield from _goes_on(state, rules, number, reader)
    elif reader.flight == NO_FLIGHT:
        yield from _asks(state, rules, number)
    else:
        yield Step(("leaves", number), _with_reader(state, number, Reader()))


def _asks(state: State, rules: Rules, number: int) -> Iterator[Step]:
    """`find` to its first await, or to its end."""
    action, reader, entry = ("asks", number), Reader(late=_late(state, rules)), state.entry
    if entry is not None and is_fresh(state, rules):
        yield _ended(action, state, number, reader, _verdict(entry.value))
    elif entry is not None and state.failing is not None and _may_use_stale(state, rules):
        yield from _uses_stale(action, state, number, reader, entry.value)
    else:
        falls_back_on = entry.value if entry is not None and state.failing is None else ""
        yield from _waits(action, state, number, reader._replace(falls_back_on=falls_back_on))


def _goes_on(state: State, rules: Rules, number: int, reader: Reader) -> Iterator[Step]:
    """`_load` behind its await, and `_find_again` behind that."""
    action = "goes on", number
    if reader.landed == "forgotten":
        yield from _waits(action, state, number, reader)
    elif not reader.falls_back_on:
        yield _ended(action, state, number, reader, "unavailable")
    elif _may_use_stale(state, rules):
        yield from _uses_stale(action, state, number, reader, reader.falls_back_on)
    else:
        yield from _waits(action, state, number, reader._replace(falls_back_on=""))


def is_fresh(state: State, rules: Rules) -> bool:
    """Whether `peek` finds something."""
    if state.entry is None or (rules.ttl is not None and state.entry.age >= rules.ttl):
        return False
    is_trusted = state.trusted > 0 or not rules.has_feed or not rules.trust_ends
    return is_trusted or state.entry.age < DISTRUSTED_TTL


def _may_use_stale(state: State, rules: Rules) -> bool:
    return state.failing is not None and (state.failing < STALE or not rules.stale_ends)


def _uses_stale(action: Action, state: State, number: int, reader: Reader, value: Value) -> Iterator[Step]:
    """The end of `_find_again`: a probe if it is time for one, and what is remembered."""
    if state.probe_in == 0:
        launched = _launched(state)
        if launched is None:
            return
        state = launched[0]._replace(probe_in=PROBE)
    yield _ended(action, state, number, reader, _verdict(value))


def _waits(action: Action, state: State, number: int, reader: Reader) -> Iterator[Step]:
    launched = _launched(state)
    if launched is not None:
        state, flight = launched
        yield Step(action, _with_reader(state, number, reader._replace(flight=flight, landed="")))


def _launched(state: State) -> tuple[State, int] | None:
    """With the flight that is in the table, or else a new one there; None if the model has no place for it."""
    for number, flight in enumerate(state.flights):
        if flight is not None and not flight.forgotten:
            return state, number
    if None not in state.flights:
        return None
    free = state.flights.index(None)
    return _with_flight(state, free, Flight()), free


def _ended(action: Action, state: State, number: int, reader: Reader, verdict: Verdict) -> Step:
    is_wrong = _is_wrong(state, reader, verdict)
    return Step(action, _with_reader(state, number, Reader()), ((number, verdict),), is_wrong)


def _verdict(value: Value) -> Verdict:
    return "admitted" if value == "alive" else "refused"


# -- the judge: the contract, section 6 --------------------------------------------------------------------------------


def _late(state: State, rules: Rules) -> Literal["", "told", "bound"]:
    """Why a request that comes now must be refused, if it must."""
    if state.is_told:
        return "told"
    return "bound" if state.revoked_for is not None and state.revoked_for >= rules.bound else ""


def _told(state: State) -> State:
    """From now on nobody may be admitted who comes, nor who waits for what is in the air."""
    readers = (reader if reader.flight == NO_FLIGHT else reader._replace(late="told") for reader in state.readers)
    return state._replace(is_told=True, readers=tuple(readers))


def _is_wrong(state: State, reader: Reader, verdict: Verdict) -> bool:
    """Who was told is never excused. Who was not is excused while the store is away, for `STALE`."""
    is_excused = reader.late == "bound" and state.failing is not None and state.failing < STALE
    return verdict == "admitted" and reader.late != "" and not is_excused


# -- look-ups: `_fly` --------------------------------------------------------------------------------------------------


def _steps_of_flight(state: State, rules: Rules, number: int, flight: Flight) -> Iterator[Step]:
    if flight.brings:
        yield _lands(state, rules, number, flight, flight.brings)
    else:
        value: Value = "alive" if state.revoked_for is None else "revoked"
        yield Step(("reads", number), _with_flight(state, number, flight._replace(brings=value)))
    if rules.may_fail:
        lost = state if state.failing is not None else state._replace(failing=0, probe_in=PROBE)  # `_failed`
        yield Step(("is lost", number), _down(lost, number, _outcome(flight, rules) or "failed"))


def _lands(state: State, rules: Rules, number: int, flight: Flight, value: Value) -> Step:
    """Who waits for an answer has it now: what he does between this and his end concerns nobody else."""
    state = state._replace(failing=None, probe_in=0)  # `_answered`; a probe is of interest after a failure only
    if not (flight.forgotten and rules.forgotten_may_not_fill):  # `_remember`
        state = _no_longer_the_same(state, rules)
        state = state._replace(entry=Entry(value, flight.age if rules.age_counts_from_asking else 0))
    action, outcome, verdict = ("lands", number), _outcome(flight, rules), _verdict(value)
    down = _down(state, number, outcome)
    if outcome:
        return Step(action, down)
    waiters = [(waiter, reader) for waiter, reader in enumerate(state.readers) if reader.flight == number]
    is_wrong = any(_is_wrong(state, reader, verdict) for _, reader in waiters)
    return Step(action, down, tuple((waiter, verdict) for waiter, _ in waiters), is_wrong)


def _outcome(flight: Flight, rules: Rules) -> Literal["", "forgotten"]:
    return "forgotten" if flight.forgotten and rules.waiters_look_again else ""


def _down(state: State, number: int, outcome: Literal["", "failed", "forgotten"]) -> State:
    """Out of the air. Who waited for it has to go on, unless there is no outcome to go on from, but an answer."""
    waiter = Reader() if outcome == "" else None
    readers = (
        reader if reader.flight != number else waiter or reader._replace(flight=NO_FLIGHT, landed=outcome)
        for reader in state.readers
    )
    return _with_flight(state, number, None)._replace(readers=tuple(readers))


# -- writers: `CachedKeyStore.revoke_key` here, a transaction and what the feed is to tell of it elsewhere -------------


def _steps_of_writers(state: State, rules: Rules) -> Iterator[Step]:
    if state.here != "done":
        commits = (state.here == "") == rules.commit_then_forget
        after = _committed(_with_news(state)) if commits else _forgotten(state, rules)
        action = "commits here" if commits else "forgets here"
        yield Step((action, 0), _told(after._replace(here="done")) if state.here else after._replace(here="half"))
    if state.elsewhere == "" and rules.commit_then_tell:
        yield Step(("commits elsewhere", 0), _committed(_with_news(state))._replace(elsewhere="done"))
    elif state.elsewhere == "":
        yield Step(("tells elsewhere", 0), _with_news(state)._replace(elsewhere="half"))
    elif state.elsewhere == "half":
        yield Step(("commits elsewhere", 0), _committed(state)._replace(elsewhere="done"))


def _committed(state: State) -> State:
    return state if state.revoked_for is not None else state._replace(revoked_for=0)


def _with_news(state: State) -> State:
    """For the feed, if anybody follows it."""
    return state._replace(feed=state.feed._replace(behind=state.feed.is_up))


def _forgotten(state: State, rules: Rules) -> State:
    """`forget`."""
    state = _no_longer_the_same(state, rules)._replace(entry=None)
    if not rules.forget_reaches_flights:
        return state
    return state._replace(flights=tuple(flight and flight._replace(forgotten=True) for flight in state.flights))


def _no_longer_the_same(state: State, rules: Rules) -> State:
    """What `_find_again` has in its hands is not what is remembered any more."""
    if not rules.forgotten_is_not_stale:
        return state
    return state._replace(readers=tuple(reader._replace(falls_back_on="") for reader in state.readers))


# -- the feed: `follow`, `_apply`, and the store's `changes` -----------------------------------------------------------


def _steps_of_feed(state: State, rules: Rules) -> Iterator[Step]:
    feed = state.feed
    if not feed.is_up:
        # Nobody tells of what was committed before the first batch, so whoever hears that has to expect anything.
        first = Feed(is_up=True, batch="the first" if state.revoked_for is None else "the first, after it")
        yield Step(("the feed is followed", 0), state._replace(feed=first))
        return
    yield Step(("the feed is cut", 0), state._replace(feed=Feed()))
    if feed.batch:
        yield Step(("the feed tells", 0), _after_batch(state, rules))
    else:
        seen = Feed(is_up=True, batch="a change" if feed.behind else "nothing")
        yield Step(("the feed looks", 0), state._replace(feed=seen))


def _after_batch(state: State, rules: Rules) -> State:
    batch = state.feed.batch
    state = state._replace(feed=state.feed._replace(batch=""), trusted=TRUST)
    if batch == "nothing":
        return state
    if batch == "a change" or rules.following_anew_forgets:
        state = _forgotten(state, rules)
    tells_of_it = batch == "the first, after it" or (batch == "a change" and state.revoked_for is not None)
    return _told(state) if tells_of_it else state


# -- time --------------------------------------------------------------------------------------------------------------


def _something_is_due(state: State, rules: Rules) -> bool:
    if rules.tells_what_is_new and state.feed.batch:
        return True
    return rules.look_ups_end and any(flight is not None and flight.age >= TIMEOUT for flight in state.flights)


def _a_tick_later(state: State, rules: Rules) -> State:
    entry, failing, revoked_for = state.entry, state.failing, state.revoked_for
    oldest = rules.ttl or DISTRUSTED_TTL
    return state._replace(
        entry=entry and Entry(entry.value, min(entry.age + 1, oldest)),
        flights=tuple(flight and flight._replace(age=min(flight.age + 1, oldest)) for flight in state.flights),
        trusted=max(0, state.trusted - 1),
        failing=None if failing is None else min(failing + 1, STALE),
        probe_in=max(0, state.probe_in - 1),
        revoked_for=None if revoked_for is None else min(revoked_for + 1, rules.bound),
    )


def _with_reader(state: State, number: int, reader: Reader) -> State:
    return state._replace(readers=(*state.readers[:number], reader, *state.readers[number + 1 :]))


def _with_flight(state: State, number: int, flight: Flight | None) -> State:
    return state._replace(flights=(*state.flights[:number], flight, *state.flights[number + 1 :]))


# -- every interleaving ------------------------------------------------------------------------------------------------


@dataclass
class Explored:
    """What `explore` has found.

    ``ways``: how each state was reached first. ``verdicts``: each with whether the key was revoked by then.
    ``wrong``: the shortest way to a request that must not be admitted and was; empty if there is none.
    """

    ways: dict[State, tuple[State, Step]]
    verdicts: set[tuple[Verdict, bool]]
    wrong: list[Step]

    def way(self, state: State) -> list[Step]:
        """The steps that lead to a state."""
        path = []
        while state in self.ways:
            state, step = self.ways[state]
            path.append(step)
        return path[::-1]


def explore(rules: Rules, depth: int | None = None) -> Explored:
    """Visit every state, at most so many steps away if that is limited; end at the first request that is wrong.

    Of states that differ only in which reader or look-up is which, or in what nobody will use, one is enough; and from
    where nobody can be admitted any more, nobody has to go on.
    """
    first = start(rules)
    found = Explored({}, set(), [])
    seen, queue = {first}, deque([(first, 0)])
    while queue:
        state, distance = queue.popleft()
        if distance == depth:
            break
        for step in steps(state, rules):
            if step.verdicts:
                found.verdicts.add((step.verdicts[0][1], state.revoked_for is not None))
            if step.is_wrong:
                found.wrong = [*found.way(state), step]
                return found
            alike = _but_for_names(step.state, rules)
            if alike not in seen:
                seen.add(alike)
                found.ways[step.state] = state, step
                if not _is_over(step.state, rules):
                    queue.append((step.state, distance + 1))
    return found


def _but_for_names(state: State, rules: Rules) -> State:
    readers, flights = state.readers, state.flights
    if rules.forgotten_is_idle:
        flights = tuple(Flight(flight.age, "", True) if flight and flight.forgotten else flight for flight in flights)
    one, other = flights
    if one is None or (other is not None and other < one):
        flights = other, one
        readers = tuple(
            reader if reader.flight == NO_FLIGHT else reader._replace(flight=1 - reader.flight) for reader in readers
        )
    return state._replace(readers=tuple(sorted(readers)), flights=flights)


def _is_over(state: State, rules: Rules) -> bool:
    """It is revoked, and who says otherwise is gone, or not asked any more."""
    if state.revoked_for is None or (state.entry is not None and state.entry.value == "alive"):
        return False
    for flight in state.flights:
        if flight is not None and flight.brings == "alive" and not (flight.forgotten and rules.forgotten_is_idle):
            return False
    return not any(reader.falls_back_on == "alive" for reader in state.readers)

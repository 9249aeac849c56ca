"""The bucket that the tour reckons from outside, against the one that the limiter keeps."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vc_auth import FREE
from vc_auth.cli.demo.bucket import BURST, SECOND, Bucket, State
from vc_auth.cli.demo.wire import Moment
from vc_auth.rates import token_bucket, whole_seconds

START = 1_000 * SECOND
UTC = 1_700_000_000_250_000

# Before a request is sent, until the server looks at its clock, until the answer is there: in microseconds.
exact = st.tuples(st.integers(0, 3 * SECOND), st.just(0), st.just(0))
slow = st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 3 * SECOND), st.integers(0, 3 * SECOND))


def at(microseconds: int) -> Moment:
    return Moment(microseconds, UTC + microseconds)


def play(requests: list[tuple[int, int, int]]) -> list[tuple[bool, State, list[State]]]:
    """What the limiter said to each request, and what the outsider thinks that it may have said."""
    bucket, tat, now, played = Bucket(), 0, START, []
    for before, under_way, back in requests:
        sent, seen, received = at(now + before), at(now + before + under_way), at(now + before + under_way + back)
        tat, decision = token_bucket(tat, FREE.rate.emission_us, seen.monotonic, FREE.rate)
        reset = whole_seconds(decision.reset_after_us)
        said = State(decision.remaining, reset, whole_seconds(seen.utc + decision.reset_after_us))
        played.append((decision.allowed, said, list(bucket.states(sent, received, admitted=decision.allowed))))
        if decision.allowed:
            bucket.spend(sent, received)
        now = received.monotonic
    return played


@given(st.lists(slow, max_size=40), st.integers(0, 120))
def test_what_the_limiter_says_is_always_among_what_may_be_said(
    requests: list[tuple[int, int, int]], at_once: int
) -> None:
    for _, said, states in play([(0, 0, 0)] * at_once + requests):
        assert said in states


@given(st.lists(exact, max_size=40), st.integers(0, 120))
def test_with_exact_clocks_there_is_one_answer_and_no_other(requests: list[tuple[int, int, int]], at_once: int) -> None:
    for _, said, states in play([(0, 0, 0)] * at_once + requests):
        assert states == [said]


def test_a_full_bucket_admits_its_burst_and_then_refuses() -> None:
    bucket, now = Bucket(), at(START)
    for spent in range(1, BURST + 1):
        assert list(bucket.states(now, now, admitted=False)) == []
        (state,) = bucket.states(now, now, admitted=True)
        assert (state.remaining, state.reset) == (BURST - spent, spent)
        bucket.spend(now, now)
    assert list(bucket.states(now, now, admitted=True)) == []
    (refused,) = bucket.states(now, now, admitted=False)
    assert (refused.remaining, refused.reset) == (0, 100)


def test_a_token_is_back_after_a_second_and_not_a_microsecond_before() -> None:
    bucket, now = Bucket(), at(START)
    for _ in range(BURST):
        bucket.spend(now, now)
    before, then = at(START + SECOND - 1), at(START + SECOND)
    assert not list(bucket.states(before, before, admitted=True))
    assert list(bucket.states(then, then, admitted=True))
    assert not list(bucket.states(then, then, admitted=False))


def test_an_answer_that_took_long_leaves_neighbouring_numbers() -> None:
    bucket = Bucket()
    for _ in range(10):
        bucket.spend(at(START), at(START))
    states = list(bucket.states(at(START), at(START + 3 * SECOND), admitted=True))
    remaining = sorted({state.remaining for state in states})
    assert remaining == [89, 90, 91, 92]
    assert all(next_ - one == 1 for one, next_ in pairwise(remaining))

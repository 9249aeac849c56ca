"""Rates, and the token bucket against an exact model of it."""

from dataclasses import FrozenInstanceError

import pytest
from exact_bucket import ExactBucket
from hypothesis import given
from hypothesis import strategies as st

from vc_auth import ENTERPRISE, FREE, PRO, Plan
from vc_auth.rates import LONGEST, SECOND, Decision, Rate, token_bucket

rates = st.one_of(
    st.sampled_from([FREE.rate, PRO.rate, ENTERPRISE.rate]),
    st.builds(
        lambda amount, unit, burst: Rate(f"{amount}/{unit}", burst),
        st.integers(1, 1_000),
        st.sampled_from(["second", "minute", "hour", "day"]),
        st.integers(1, 12),
    ),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Rate, int]]:
    """Steps of (microseconds that pass, rate, cost), with passages around whole emission intervals."""
    rate = draw(rates)
    steps = []
    for _ in range(draw(st.integers(1, 30))):
        if draw(st.integers(0, 9)) == 0:
            rate = draw(rates)
        around = draw(st.integers(0, 3)) * rate.emission_us + draw(st.integers(-2, 2))
        passed = draw(st.one_of(st.just(0), st.just(max(around, 0)), st.integers(0, 2 * rate.capacity_us)))
        steps.append((passed, rate, draw(st.integers(1, min(rate.burst, 5)))))
    return steps


@given(histories())
def test_the_bucket_agrees_with_the_exact_model_in_every_step(steps: list[tuple[int, Rate, int]]) -> None:
    now = 1_000_000
    tat, emission, model = 0, steps[0][1].emission_us, ExactBucket(now, steps[0][1])
    for passed, rate, cost in steps:
        now += passed
        tat, decision = token_bucket(tat, emission, now, rate, cost)
        emission = rate.emission_us
        assert (decision.allowed, decision.remaining, decision.retry_after_us) == model.hit(now, rate, cost)


@given(histories())
def test_a_wait_is_tight_to_the_microsecond(steps: list[tuple[int, Rate, int]]) -> None:
    now, tat, emission = 1_000_000, 0, 1
    for passed, rate, cost in steps:
        now += passed
        tat, decision = token_bucket(tat, emission, now, rate, cost)
        emission = rate.emission_us
        if not decision.allowed:
            at = now + decision.retry_after_us
            assert not token_bucket(tat, emission, at - 1, rate, cost)[1].allowed
            assert token_bucket(tat, emission, at, rate, cost)[1].allowed


@given(histories())
def test_the_times_until_one_more_and_until_full_are_tight(steps: list[tuple[int, Rate, int]]) -> None:
    now, tat, emission = 1_000_000, 0, 1
    for passed, rate, cost in steps:
        now += passed
        tat, decision = token_bucket(tat, emission, now, rate, cost)
        emission = rate.emission_us

        def remaining(at: int, tat: int = tat, rate: Rate = rate) -> int:
            return token_bucket(tat, rate.emission_us, at, rate, 0)[1].remaining

        assert remaining(now) == decision.remaining
        assert decision.refill_after_us > 0
        assert remaining(now + decision.refill_after_us - 1) == decision.remaining
        assert remaining(now + decision.refill_after_us) == decision.remaining + 1
        full_at = now + decision.reset_after_us
        assert token_bucket(tat, emission, full_at, rate, rate.burst)[1].allowed
        assert not token_bucket(tat, emission, full_at - 1, rate, rate.burst)[1].allowed


@given(histories(), st.integers(-(10**12), 10**12))
def test_no_step_of_a_clock_locks_a_bucket_for_longer_than_one_refill(
    steps: list[tuple[int, Rate, int]], step: int
) -> None:
    now, tat, emission = 10**13, 0, 1
    for passed, rate, cost in steps:
        now += passed
        tat, _ = token_bucket(tat, emission, now, rate, cost)
        emission = rate.emission_us
    _, decision = token_bucket(tat, emission, now + step, rate, rate.burst)
    assert decision.retry_after_us <= rate.capacity_us
    assert decision.reset_after_us <= rate.capacity_us


def test_a_full_bucket_has_nothing_to_wait_for() -> None:
    _, decision = token_bucket(0, SECOND, 5, FREE.rate, 0)
    assert decision == Decision(True, 100, 100, 0, 0, 0)


@pytest.mark.parametrize(
    ("plan", "requests", "burst"), [(FREE, 60, 100), (PRO, 600, 1_000), (ENTERPRISE, 6_000, 10_000)]
)
def test_the_plans_are_the_published_ones_and_refill_in_100_seconds(plan: Plan, requests: int, burst: int) -> None:
    assert (plan.rate.amount, plan.rate.period_us, plan.rate.burst) == (requests, 60 * SECOND, burst)
    assert plan.rate.emission_us * requests == 60 * SECOND
    assert plan.rate.capacity_us == 100 * SECOND


@pytest.mark.parametrize("plan", [FREE, PRO, ENTERPRISE])
def test_over_any_span_at_most_burst_and_rate_times_span_pass(plan: Plan) -> None:
    now, tat, admitted = 1_000_000, 0, 0
    for _ in range(60 * 4):  # hammered four times a second for a minute, until refused each time
        while True:
            tat, decision = token_bucket(tat, plan.rate.emission_us, now, plan.rate)
            if not decision.allowed:
                break
            admitted += 1
        now += SECOND // 4
    spent_until = now - SECOND // 4 - 1_000_000
    assert admitted == plan.rate.burst + spent_until // plan.rate.emission_us


@pytest.mark.parametrize(
    ("limit", "amount", "period"),
    [
        ("60/minute", 60, 60),
        ("10 per 5 seconds", 10, 5),
        ("1/day", 1, 86_400),
        ("10000/second", 10_000, 1),
        ("7000/second", 7_000, 1),  # its emission interval is rounded by exactly 0.1 %
    ],
)
def test_a_rate_is_read_as_limits_writes_it(limit: str, amount: int, period: int) -> None:
    rate = Rate(limit, 5)
    assert (rate.amount, rate.period_us) == (amount, period * SECOND)
    assert repr(rate) == f"Rate(limit={limit!r}, burst=5)"


@pytest.mark.parametrize(
    ("limit", "burst", "sentence"),
    [
        ("0/minute", 1, "holds a zero"),
        ("60/0 minute", 1, "holds a zero"),
        ("60/minute;5/second", 1, "holds 2 rates"),
        ("", 1, "not one that `limits` can read"),
        ("fast", 1, "not one that `limits` can read"),
        ("60/fortnight", 1, "not one that `limits` can read"),
        (60, 1, "not one that `limits` can read"),
        ("7001/second", 1, "too fast to be kept exactly"),
        ("2000000/second", 1, "too fast to be kept exactly"),
        ("60/minute", 0, "not a whole number of at least 1"),
        ("60/minute", -1, "not a whole number of at least 1"),
        ("60/minute", 1.5, "not a whole number of at least 1"),
        ("60/minute", True, "not a whole number of at least 1"),
        ("1/year", 101_000, "over 100 years"),
        ("1/day", 36_601, "over 100 years"),
    ],
)
def test_a_rate_that_cannot_be_is_refused_with_a_sentence(limit: str, burst: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Rate(limit, burst)


def test_rates_are_values() -> None:
    assert {Rate("60/minute", 100)} == {FREE.rate}
    with pytest.raises(FrozenInstanceError):
        FREE.rate.burst = 5  # type: ignore[misc]  # that is the point


def test_the_longest_refill_is_that_of_a_hundred_leap_years() -> None:
    assert Rate("1/day", 36_600).capacity_us == LONGEST == 36_600 * 86_400 * SECOND


def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one() -> None:
    for us, seconds in [(0, 1), (1, 1), (SECOND, 1), (SECOND + 1, 2), (100 * SECOND, 100)]:
        assert Decision(False, 1, 0, us, us, us).retry_after == seconds


@pytest.mark.parametrize("name", ["", "Free", "a" * 65, "a b", "é", 'a"', 5, None])
def test_a_plans_name_is_what_fits_in_a_header(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 of a-z"):
        Plan(name, rate="60/minute", burst=1)


def test_a_plan_shows_how_it_was_written() -> None:
    assert repr(FREE) == "Plan('free', rate='60/minute', burst=100)"
    assert Plan("free", rate="60/minute", burst=100) == FREE != PRO

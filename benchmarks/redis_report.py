"""What was measured, as Markdown and JSON. Every figure and every verdict in the text is computed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median, quantiles
from typing import Any, Final

import redis_apps
from redis_contenders import LIMITS, ONE_SCRIPT, OURS
from redis_loops import MOST, Ran
from redis_server import Counts
from redis_words import INTRODUCTION, LEGEND, OPEN_WORDS, SERVED_WORDS
from report import machine, table

PACKAGES: Final = ("redis", "hiredis", "limits", "throttled-py", "starlette", "uvicorn", "httptools", "uvloop")
CALLERS: Final = (1, 16, 64, 256)
A_SECOND: Final = 8_000  # arrivals in the open loop
OPEN: Final = f"{A_SECOND:,} checks a second, whether or not those before them are done"
REFUSALS: Final = "Refusals under abuse"
SERVED: Final = "Under uvicorn"


HEADS: Final = (
    "a second",
    "vc_auth: times that",
    "p50, ms",
    "p99, ms",
    "client, us",
    "Redis, us",
    "commands",
    "round trips",
)


def title(callers: int) -> str:
    """Of the situation in which so many callers ask one after the other."""
    return f"{callers} caller{'s' if callers > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contender did in one turn. Times in microseconds; what is not a time, and no rate, is per check."""

    a_second: float
    p50: float
    p99: float
    client: float
    """Processor time of this process, per check."""
    server: float
    """Processor time of Redis, per check."""
    commands: float
    round_trips: float

    @classmethod
    def of(cls, ran: Ran, counts: Counts) -> "Turn":
        """The same, for each check."""
        percentiles = quantiles(ran.latencies, n=100, method="inclusive")
        return cls(
            ran.checks / ran.seconds,
            percentiles[49] / 1e3,
            percentiles[98] / 1e3,
            ran.cpu / ran.checks * 1e6,
            counts.cpu / ran.checks * 1e6,
            counts.commands / ran.checks,
            counts.round_trips / ran.checks,
        )


Turns = dict[str, dict[str, list[Turn]]]
"""By situation and contender, in the order of the rounds."""


@dataclass(frozen=True, slots=True)
class Account:
    """What one contender was asked in all, and how many tokens its buckets lack for it afterwards."""

    checks: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of so many keys on the server, and of their names alone."""

    keys: int
    used: int
    names: int

    @property
    def beyond_the_name(self) -> float:
        """Bytes for each key."""
        return (self.used - self.names) / self.keys


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one call of the benchmark found out."""

    redis: str
    allocator: str
    rounds: int
    turns: Turns
    accounts: dict[str, Account]
    memory: Memory
    errors: dict[str, int]
    """What failed unseen, in tasks that nobody awaits, and how often."""

    def typical(self, situation: str, name: str, figure: str) -> float:
        """The median of all rounds."""
        figures: list[float] = [getattr(turn, figure) for turn in self.turns[situation][name]]
        return median(figures)

    def times(self, situation: str, name: str, other: str) -> float:
        """How many times as many a second as the other: the median of all rounds, each with its own neighbours."""
        pairs = zip(self.turns[situation][name], self.turns[situation][other], strict=True)
        return median(one.a_second / another.a_second for one, another in pairs)


@dataclass(frozen=True, slots=True)
class Goal:
    """``figure`` is to be ``bound`` at least, or at most."""

    text: str
    bound: float
    figure: Callable[[Measured], float]
    at_most: bool = False

    def is_met(self, measured: Measured) -> bool:
        """Whether it is."""
        figure = self.figure(measured)
        return figure <= self.bound if self.at_most else figure >= self.bound


GOALS: Final = (
    Goal("64 callers: times the checks of `limits`, hit and stats", 15, lambda m: m.times(title(64), OURS, LIMITS)),
    Goal("64 callers: times those of one `EVALSHA` per check", 5, lambda m: m.times(title(64), OURS, ONE_SCRIPT)),
    Goal("1 caller: times as long as one `EVALSHA`", 1.2, lambda m: m.times(title(1), ONE_SCRIPT, OURS), at_most=True),
    Goal("refusals: times those of `limits`", 25, lambda m: m.times(REFUSALS, OURS, LIMITS)),
    Goal(f"{A_SECOND:,} a second: p99 in ms", 2, lambda m: m.typical(OPEN, OURS, "p99") / 1e3, at_most=True),
    Goal(
        "under uvicorn: share of the bare app's requests",
        0.7,
        lambda m: m.times(SERVED, redis_apps.OURS, redis_apps.BARE),
    ),
    Goal("bytes of an active key beyond its name", 100, lambda m: m.memory.beyond_the_name, at_most=True),
)


# -- words -------------------------------------------------------------------------------------------------------------


def markdown(measured: Measured) -> str:
    """The page."""
    return (
        "\n\n".join(
            (
                "# What the Redis limiter does",
                _circumstances(measured),
                INTRODUCTION,
                "## The goals",
                _goals(measured),
                "## Callers who ask one after another",
                *[_asked(measured, title(callers)) for callers in CALLERS],
                f"## {OPEN}",
                OPEN_WORDS.format(most=MOST),
                _asked(measured, OPEN),
                f"## {REFUSALS}",
                _asked(measured, REFUSALS),
                f"## {SERVED}",
                SERVED_WORDS,
                _served(measured),
                "## Memory",
                _memory(measured.memory),
                "## Was every check made on the server?",
                _accounts(measured),
                "## Who is who",
                LEGEND,
            )
        )
        + "\n"
    )


def _circumstances(measured: Measured) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    server = f"Redis {measured.redis} on loopback ({measured.allocator})"
    return f"{machine()} {server}.\n{packages}.\nMedians over {measured.rounds} interleaved rounds."


def _goals(measured: Measured) -> str:
    def row(goal: Goal) -> Sequence[str]:
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g}"
        return goal.text, bound, f"{goal.figure(measured):.3g}", "met" if goal.is_met(measured) else "missed"

    return table(["goal", "bound", "measured", ""], [row(goal) for goal in GOALS])


def _asked(measured: Measured, situation: str) -> str:
    def row(name: str) -> Sequence[str]:
        def figure(of: str) -> float:
            return measured.typical(situation, name, of)

        return (
            name,
            f"{figure('a_second'):,.0f}",
            "" if name == OURS else f"{measured.times(situation, OURS, name):.2f}",
            _ms(figure("p50")),
            _ms(figure("p99")),
            f"{figure('client'):.1f}",
            f"{figure('server'):.1f}",
            f"{figure('commands'):.2f}",
            f"{figure('round_trips'):.2f}",
        )

    return table([situation.partition(", ")[0], *HEADS], [row(name) for name in measured.turns[situation]])


def _ms(us: float) -> str:
    return f"{us / 1e3:,.0f}" if us > 1e5 else f"{us / 1e3:.3g}"


def _served(measured: Measured) -> str:
    def row(name: str) -> Sequence[str]:
        def figure(of: str) -> float:
            return measured.typical(SERVED, name, of)

        return (
            name,
            f"{figure('a_second'):,.0f}",
            f"{measured.times(SERVED, name, redis_apps.BARE):.2f}",
            _ms(figure("p50")),
            _ms(figure("p99")),
            f"{figure('commands'):.2f}",
            f"{figure('round_trips'):.2f}",
            f"{figure('client') * figure('a_second') / 1e6:.0%}",
        )

    heads = "a second", "of the bare app", "p50, ms", "p99, ms", "commands", "round trips", "load generator busy"
    return table(["requests", *heads], [row(name) for name in measured.turns[SERVED]])


def _memory(memory: Memory) -> str:
    whole, name = memory.used / memory.keys, memory.names / memory.keys
    return (
        f"{memory.keys:,} buckets of the free plan, all in debt, take {whole:.1f} bytes each on the server, of which\n"
        f"{name:.1f} are the name's: **{memory.beyond_the_name:.1f} beyond it**. A share of the two tables by which\n"
        "Redis finds its keys and their ends is in that."
    )


def _accounts(measured: Measured) -> str:
    rows = [
        [name, f"{account.checks:,}", f"{account.tokens:,}", f"{account.tokens - account.checks:+,}"]
        for name, account in measured.accounts.items()
    ]
    return (
        "The buckets refuse nobody, and get one token back a day. After the last round, the server was asked what\n"
        "they lack, for all rounds together and for the warming up.\n\n"
        + table(["", "checks", "tokens taken", "difference"], rows)
        + "".join(f"\n\n**{times:,} times, unseen by any caller: {error}**" for error, times in measured.errors.items())
    )


# -- figures -----------------------------------------------------------------------------------------------------------


def as_json(measured: Measured) -> dict[str, Any]:
    """Everything, for another program; times in microseconds, but for seconds in names."""
    return {
        "machine": machine(),
        "packages": {package: version(package) for package in PACKAGES},
        **asdict(measured),
        "goals": {
            goal.text: {"figure": goal.figure(measured), "bound": goal.bound, "met": goal.is_met(measured)}
            for goal in GOALS
        },
    }

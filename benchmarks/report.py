"""What was measured, as JSON, Markdown and a plot. Every figure and every verdict in the text is computed."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl
from contenders import AUTH_ONLY, EVERYTHING, PASS_THROUGH, STARLETTE_AUTH, STARLETTE_LIMITS
from harness import BATCH, Spread, Timing
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter
from parts import DIGEST

PACKAGES: Final = ("starlette", "cachetools", "limits", "slowapi", "uvloop")
MISSING_VALUE: Final = "-"


@dataclass(frozen=True, slots=True)
class Run:
    """All contenders and parts on one event loop with so many keys."""

    loop: str
    keys: int
    timings: Mapping[str, Timing]

    @property
    def title(self) -> str:
        """A table's column."""
        return f"{self.loop}, {self.keys:,} key{'s' if self.keys > 1 else ''}"

    def added(self, name: str) -> float:
        """Nanoseconds that a request takes longer; the median of all rounds."""
        return self.timings[name].added.median

    def ratio(self, name: str, base: str) -> float:
        """What one adds over what another adds."""
        return self.added(name) / self.added(base)


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one call of the benchmark found out."""

    rounds: int
    runs: Sequence[Run]
    contenders: Sequence[str]
    """Those that add something to an app of their own kind."""
    parts: Sequence[str]
    scales: Sequence[str]


@dataclass(frozen=True, slots=True)
class Goal:
    """``name`` is to add at most ``bound`` times what ``base`` adds."""

    text: str
    name: str
    base: str
    bound: float

    def missed_in(self, runs: Iterable[Run]) -> list[Run]:
        """The runs in which it does not hold."""
        return [run for run in runs if run.ratio(self.name, self.base) > self.bound]

    def excess(self, run: Run) -> float:
        """Nanoseconds that ``name`` would have to lose; negative if there is room."""
        return run.added(self.name) - self.bound * run.added(self.base)


GOALS: Final = (
    Goal(
        "everything on adds less than 20 times what a pass-through adds (3 us where that is 0.15)",
        EVERYTHING,
        PASS_THROUGH,
        20.0,
    ),
    Goal("everything on adds less than a third of Starlette auth + limits", EVERYTHING, STARLETTE_LIMITS, 1 / 3),
    Goal("auth alone adds no more than Starlette auth with a dict", AUTH_ONLY, STARLETTE_AUTH, 1.0),
)


# -- words -------------------------------------------------------------------------------------------------------------


def markdown(measured: Measured, plot: str) -> str:
    """The page."""
    return (
        "\n\n".join(
            (
                "# Results",
                f"{machine()}\n{_versions()}\n{_extent(measured)}",
                "## What does the middleware add to a request?",
                _INTRODUCTION,
                f"![What each adds to a request, on a logarithmic scale]({plot})",
                "### The goals",
                _goals(measured),
                "### Added to a request, in microseconds",
                _added(measured),
                "### As ratios",
                "Of what each adds, over what the column's contender adds: the median of the runs, lowest to highest.",
                _ratios(measured),
                "### What stands in the way",
                _obstacles(measured),
                _parts(measured),
                "### Who is who",
                _LEGEND,
            )
        )
        + "\n"
    )


_INTRODUCTION: Final = """\
The ASGI callable is driven directly, without a server, so this is the time of Python between server and application.
Every contender guards the same bare app, and what it adds is its time less the bare app's right before. Contenders take
turns in small batches, in an order that is shuffled every round, and so do loops and numbers of keys. A shared machine
changes its speed by the second: each turn's times are scaled to the bare app's median by what the bare app took in that
turn. Before and after, every answer is checked: its status, and that the headers are there."""

_LEGEND: Final = """\
* *everything on*: header grammar, digest, cache, expiry, project, address, bucket in memory, scopes, both families of
  limit headers, one public path. *auth only*: the same with `limiter="none"`.
* *401*: no `Authorization` line; a second word behind the key; a key of 33 digits; a well-formed key that is remembered
  as unknown. *429*: an exhausted bucket. A refusal does not run the application, which its figure has in its favour.
* *pass-through*: a middleware that only awaits the application.
* *Starlette auth + dict*: its `AuthenticationMiddleware` with a dictionary of plain keys. *+ limits*: behind it, the
  fixed window of `limits` on its asynchronous memory storage for each user, and three headers.
* *loop turns*: the event loop turns after every request, as it does in a server; so do the tasks that `limits` makes to
  sweep its storage. In the other rows it turns once in a batch, which is in the favour of `limits`.
* *slowapi*: its ASGI middleware, which needs a Starlette application around it, so it is compared with that. It limits
  and writes headers, and authenticates nobody."""


def machine() -> str:
    """Hardware and interpreter in one line."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{_cpu()}, {os.cpu_count()} cores; {platform.system()}, {python}."


def _extent(measured: Measured) -> str:
    return f"Medians of {measured.rounds} rounds of {BATCH:,} requests each, p10 to p90 in brackets."


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> str:
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES) + "."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with words on the left and figures on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _goals(measured: Measured) -> str:
    rows = []
    for goal in GOALS:
        ratios = [f"{run.ratio(goal.name, goal.base):.3g}" for run in measured.runs]
        rows.append([goal.text, f"{goal.bound:.3g}", *ratios, _verdict(goal, measured.runs)])
    return table(["ratio", "bound", *[run.title for run in measured.runs], ""], rows)


def _verdict(goal: Goal, runs: Sequence[Run]) -> str:
    missed = goal.missed_in(runs)
    if not missed:
        return "met"
    return "missed" if len(missed) == len(runs) else f"missed in {len(missed)} of {len(runs)}"


def _added(measured: Measured) -> str:
    def cell(spread: Spread) -> str:
        return f"{spread.median / 1e3:.2f} ({spread.p10 / 1e3:.2f} to {spread.p90 / 1e3:.2f})"

    rows = [[name, *[cell(run.timings[name].added) for run in measured.runs]] for name in measured.contenders]
    bare = ["*the bare app itself*", *[cell(run.timings[PASS_THROUGH].floor) for run in measured.runs]]
    return table(["", *[run.title for run in measured.runs]], [*rows, bare])


def _ratios(measured: Measured) -> str:
    def cell(name: str, base: str) -> str:
        ratios = [run.ratio(name, base) for run in measured.runs]
        return f"{median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})" if name != base else "1"

    bases = (PASS_THROUGH, STARLETTE_AUTH, STARLETTE_LIMITS)
    rows = [[name, *[cell(name, base) for base in bases]] for name in measured.contenders]
    return table(["over", *bases], rows)


def _obstacles(measured: Measured) -> str:
    sentences = [_obstacle(goal, measured) for goal in GOALS if goal.missed_in(measured.runs)]
    if not sentences:
        sentences = ["Nothing: all goals are met in all runs."]
    sentences += [_of_the_dearest(measured), _of_the_rest(measured), _of_the_digest(measured)]
    return "\n".join(f"* {sentence}" for sentence in sentences)


def _of_the_dearest(measured: Measured) -> str:
    total = _part(measured, EVERYTHING)
    dearest = sorted(((_part(measured, name), name) for name in measured.parts), reverse=True)[:3]
    listed = ", ".join(f"*{name}* ({cost:,.0f} ns)" for cost, name in dearest)
    share = sum(cost for cost, _ in dearest) / total
    return (
        f"Of the {total:,.0f} ns that everything on adds, the three dearest parts are {listed}: {share:.0%} together."
    )


def _of_the_rest(measured: Measured) -> str:
    rest = _typical(measured, lambda run: _rest(measured, run))
    return (
        f"{rest:,.0f} ns ({rest / _part(measured, EVERYTHING):.0%}) are in no part: the calls, coroutines and branches "
        "between the parts, and what a part costs more among the others than alone in a loop, with warm caches."
    )


def _of_the_digest(measured: Measured) -> str:
    digest = _part(measured, DIGEST)
    share = f"{digest / _part(measured, AUTH_ONLY):.0%}"
    return f"The digest alone is {digest:,.0f} ns, {share} of what auth only adds; a dictionary of plain keys has none."


def _obstacle(goal: Goal, measured: Measured) -> str:
    worst = max(goal.missed_in(measured.runs), key=lambda run: run.ratio(goal.name, goal.base))
    excess, ratio = goal.excess(worst), worst.ratio(goal.name, goal.base)
    enough = [name for name in measured.parts if worst.added(name) >= excess]
    return (
        f"Missed: {goal.text}. The worst run ({worst.title}) says {ratio:.3g} where {goal.bound:.3g} is the bound, so "
        f"{excess:,.0f} of {worst.added(goal.name):,.0f} ns would have to go; "
        + (f"as much as any of these parts costs: {', '.join(enough)}." if enough else "no part alone costs as much.")
    )


def _parts(measured: Measured) -> str:
    def cost_of(name: str) -> Callable[[Run], float]:
        return lambda run: run.added(name)

    total = _typical(measured, cost_of(EVERYTHING))
    rows = [_part_row(measured, name, cost_of(name), total) for name in measured.parts]
    rows.append(_part_row(measured, "the rest: coroutines, branches, calls", lambda run: _rest(measured, run), total))
    rows.append(_part_row(measured, f"**{EVERYTHING}**", cost_of(EVERYTHING), total))
    scales = [
        [f"*for scale: {name}*", *[f"{run.added(name):,.0f}" for run in measured.runs], ""]
        for name in (measured.scales)
    ]
    return table(["part, in nanoseconds", *[run.title for run in measured.runs], "share"], [*rows, *scales])


def _part_row(measured: Measured, name: str, cost: Callable[[Run], float], total: float) -> list[str]:
    return [name, *[f"{cost(run):,.0f}" for run in measured.runs], f"{_typical(measured, cost) / total:.0%}"]


def _rest(measured: Measured, run: Run) -> float:
    return run.added(EVERYTHING) - sum(run.added(name) for name in measured.parts)


def _part(measured: Measured, name: str) -> float:
    return _typical(measured, lambda run: run.added(name))


def _typical(measured: Measured, figure: Callable[[Run], float]) -> float:
    return median(figure(run) for run in measured.runs)


# -- figures -----------------------------------------------------------------------------------------------------------


def as_json(measured: Measured) -> dict[str, Any]:
    """Everything, for another program; all times in nanoseconds."""
    return {
        "machine": machine(),
        "packages": {package: version(package) for package in PACKAGES},
        "rounds": measured.rounds,
        "batch": BATCH,
        "runs": [
            {
                "loop": run.loop,
                "keys": run.keys,
                "timings": {name: asdict(timing) for name, timing in run.timings.items()},
                "goals": {goal.text: {"ratio": run.ratio(goal.name, goal.base), "bound": goal.bound} for goal in GOALS},
            }
            for run in measured.runs
        ],
    }


def draw(measured: Measured, path: Path) -> None:
    """One row for each contender, one mark for each run, on a logarithmic scale."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vc_auth", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8, 0.32 * len(measured.contenders) + 1.2), layout="constrained")
        axes = figure.add_subplot()
        for number, run in enumerate(measured.runs):
            _draw_run(axes, measured, run, (number + 0.5) / len(measured.runs) - 0.5)
        _draw_goals(axes, measured)
        _dress(axes, measured)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_run(axes: Axes, measured: Measured, run: Run, offset: float) -> None:
    color = "tab:blue" if run.loop == "asyncio" else "tab:orange"
    face = color if run.keys > 1 else "white"
    for row, name in enumerate(measured.contenders):
        added = run.timings[name].added
        height = row + 0.6 * offset
        axes.plot([added.p10 / 1e3, added.p90 / 1e3], [height, height], color=color, linewidth=1)
        axes.plot(
            added.median / 1e3,
            height,
            marker="o",
            markersize=4,
            markerfacecolor=face,
            color=color,
            linestyle="none",
            label=run.title if row == 0 else None,
        )


def _draw_goals(axes: Axes, measured: Measured) -> None:
    for number, goal in enumerate(GOALS):
        bound = goal.bound * _part(measured, goal.base) / 1e3
        row = measured.contenders.index(goal.name)
        axes.plot(
            bound,
            row,
            marker="|",
            markersize=16,
            markeredgewidth=2,
            color="tab:green",
            linestyle="none",
            label="goal" if number == 0 else None,
        )


def _dress(axes: Axes, measured: Measured) -> None:
    axes.set_yticks(range(len(measured.contenders)), measured.contenders)
    for row, (name, label) in enumerate(zip(measured.contenders, axes.get_yticklabels(), strict=True)):
        medians = [run.added(name) / 1e3 for run in measured.runs]
        label.set_fontweight("bold" if name.startswith("vc_auth") else "normal")
        digits = 2 if min(medians) < 1 else 1 if min(medians) < 10 else 0
        text = f"{min(medians):.{digits}f} to {max(medians):.{digits}f}"
        axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([0.1, 0.3, 1, 3, 10, 30, 100, 300]))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", color="0.9")
    axes.grid(axis="y", color="0.95")
    axes.set_axisbelow(True)
    axes.set_xlabel("added to a request, in microseconds (p10 to p90; on the right the runs' medians)")
    axes.legend(fontsize=8, loc="lower left")

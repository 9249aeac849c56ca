"""What does the middleware add to a request? Side by side with what else one would use, on both event loops.

::

    python benchmarks/middleware.py            some minutes; writes RESULTS.md and results/
    python benchmarks/middleware.py --quick    some seconds; prints the page and writes nothing
"""

import argparse
import asyncio
import gc
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from contenders import Driven, line_up
from harness import Bench, Contender, show_progress
from parts import parts_of
from report import Measured, Run, as_json, draw, markdown

HERE: Final = Path(__file__).parent
LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
NUMBERS_OF_KEYS: Final = (1, 1_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then write or print."""
    options = _options(arguments)
    rounds = options.rounds or (5 if options.quick else 100)
    measured = _measure_all(rounds)
    if options.write or not options.quick:
        _write(measured)
    else:
        print(markdown(measured, plot="(not drawn)"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, help="how often everybody has a turn (100)")
    parser.add_argument("--quick", action="store_true", help="5 rounds, printed and not written")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md even after --quick")
    return parser.parse_args(arguments)


@dataclass(frozen=True, slots=True)
class _Track:
    """One event loop and number of keys. Tracks take turns, too, so that all see the machine's good and bad days."""

    loop: str
    keys: int
    runner: asyncio.Runner
    driven: Sequence[Driven]
    parts: Sequence[Contender]
    scales: Sequence[Contender]
    bench: Bench

    async def check(self) -> None:
        for driven in self.driven:
            await driven.check()


def _measure_all(rounds: int) -> Measured:
    with ExitStack() as stack:
        tracks = []
        for loop, factory in LOOPS.items():
            for keys in NUMBERS_OF_KEYS:
                runner = stack.enter_context(asyncio.Runner(loop_factory=factory))
                tracks.append(runner.run(_lay(loop, keys, runner)))
        gc.collect()
        gc.freeze()
        for number in range(rounds):
            for track in tracks:
                track.runner.run(track.bench.round())
            show_progress(number + 1, rounds)
        for track in tracks:
            track.runner.run(track.check())
    return Measured(
        rounds,
        [Run(track.loop, track.keys, track.bench.timings()) for track in tracks],
        [driven.name for driven in tracks[0].driven],
        [part.name for part in tracks[0].parts],
        [scale.name for scale in tracks[0].scales],
    )


async def _lay(loop: str, keys: int, runner: asyncio.Runner) -> _Track:
    field = await line_up(keys)
    parts, scales = await parts_of(field)
    bench = Bench([*[driven.contender() for driven in field.driven], *parts, *scales], field.driven[0].yardstick())
    track = _Track(loop, keys, runner, field.driven, parts, scales, bench)
    await track.check()
    await bench.warm_up()
    return track


def _write(measured: Measured) -> None:
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    draw(measured, results / "middleware.svg")
    (results / "middleware.json").write_text(json.dumps(as_json(measured), indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(markdown(measured, plot="results/middleware.svg"))
    print(HERE / "RESULTS.md")


if __name__ == "__main__":
    main()

"""Four uvicorn workers on one SQLite file: what another process revokes, all refuse within the contract's bound."""

from pathlib import Path

from revocations import PROMISE, measure, p99
from support import SCALE


async def test_what_another_process_revokes_all_workers_refuse_within_the_bound(tmp_path: Path) -> None:
    times = await measure(tmp_path, workers=4, revocations=max(10, round(20 * SCALE)))
    assert p99(times) <= PROMISE


def test_the_99th_percentile_is_what_99_of_100_do_not_pass() -> None:
    assert p99([float(number) for number in range(1, 201)]) == 198
    assert p99([3.0, 1.0, 2.0]) == 3
    assert p99([1.0]) == 1

"""What every test gets: a clock that turns by hand, and a watch over secrets."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from support import SCALE
from watch import Watch

from vc_auth.testing import TurnableClock

settings.register_profile(
    "vc_auth", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=max(1, round(200 * SCALE))
)
settings.load_profile("vc_auth")

# A shell has what it starts in the background ignore it, with all that is started by that; some tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture(scope="session", autouse=True)
def suite_watch() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


@pytest.fixture(autouse=True)
def watch(suite_watch: Watch) -> Iterator[Watch]:
    """No key and no Authorization value in any log, exception or frame of the package, in any test."""
    yield suite_watch
    leaks, suite_watch.leaks = suite_watch.leaks, []
    assert leaks == []

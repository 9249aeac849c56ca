"""How many workers there are, as each server tells it, and the warning; `tests/servers` asks real servers."""

import inspect
import logging
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from vc_auth import Settings, VCAuth
from vc_auth.limiters import MemoryLimiter
from vc_auth.workers import number_of_workers


def spawned(**arguments: Any) -> SimpleNamespace:
    """A process that somebody spawned with these arguments."""
    return SimpleNamespace(_kwargs=arguments)


def forked(module: str, **names: Any) -> FrameType:
    """A frame that was called from a function of this module which has these names."""
    body = "\n".join(f"    {name} = given[{name!r}]" for name in names)
    code = f"def init_process(given, call):\n{body}\n    return call()"
    namespace: dict[str, Any] = {"__name__": module}
    exec(code, namespace)
    frame: FrameType = namespace["init_process"](names, inspect.currentframe)
    return frame


def config(**settings: Any) -> SimpleNamespace:
    return SimpleNamespace(**settings)


# -- counting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["WEB_CONCURRENCY", "UVICORN_WORKERS", "GUNICORN_CMD_ARGS"])
@pytest.mark.parametrize("value", ["4", "--workers 4", "many", ""])
def test_a_test_or_a_script_is_one_worker_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert number_of_workers() == 1


@pytest.mark.parametrize(
    ("process", "workers"),
    [
        (spawned(config=config(workers=4, reload=False), sockets=[]), 4),
        (spawned(config=config(workers=1, reload=False), sockets=[]), 1),
        (spawned(config=config(workers=4, reload=True), sockets=[]), 1),
        (spawned(config=config(workers=4), sockets=[]), 4),  # hypercorn's
        (spawned(config=config(workers=4)), 1),  # somebody else's process, which has a config too
        (spawned(config=None, sockets=[]), 1),
        (spawned(config=config(workers="4"), sockets=[]), 1),
        (spawned(config=config(workers=None), sockets=[]), 1),
        (spawned(), 1),
        (SimpleNamespace(), 1),
    ],
)
def test_a_supervisor_tells_its_child_in_the_arguments_of_the_process(process: SimpleNamespace, workers: int) -> None:
    assert number_of_workers(process) == workers


@pytest.mark.parametrize(
    ("frame", "workers"),
    [
        (forked("gunicorn.workers.base", self=SimpleNamespace(cfg=config(workers=4))), 4),
        (forked("gunicorn.workers.base", self=SimpleNamespace(cfg=config(workers=1))), 1),
        (forked("gunicorn.workers.base", self=SimpleNamespace()), 1),
        (forked("gunicorn.workers.base"), 1),
        (forked("another", self=SimpleNamespace(cfg=config(workers=4))), 1),
    ],
)
def test_gunicorns_worker_is_further_out_on_the_stack(frame: FrameType, workers: int) -> None:
    assert number_of_workers(frame=frame) == workers


# -- the warning -------------------------------------------------------------------------------------------------------


@pytest.fixture
def four_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vc_auth.assembly.number_of_workers", lambda: 4)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("four_workers")
async def test_opening_says_once_that_each_worker_has_its_own_buckets(caplog: pytest.LogCaptureFixture) -> None:
    async with VCAuth(Settings(store="memory://", limiter="memory://")) as auth, auth:
        pass
    (warning,) = warnings(caplog)
    assert warning == (
        "4 workers, and each has buckets of its own (limiter='memory://'): a key may send up to 4 times its plan;"
        " share them on a Redis (limiter='redis://host:6379'), serve with one worker, or divide the rates and bursts of"
        " the plans by 4"
    )


@pytest.mark.usefixtures("four_workers")
async def test_a_memory_limiter_of_ones_own_is_warned_of_as_well(caplog: pytest.LogCaptureFixture) -> None:
    async with VCAuth(Settings(store="memory://", limiter="none"), limiter=MemoryLimiter()):
        pass
    assert len(warnings(caplog)) == 1


@pytest.mark.usefixtures("four_workers")
async def test_windows_in_memory_are_each_workers_own_too(caplog: pytest.LogCaptureFixture) -> None:
    async with VCAuth(Settings(store="memory://", limiter="limits+memory://")):
        pass
    (warning,) = warnings(caplog)
    assert "(limiter='limits+memory://')" in warning


@pytest.mark.usefixtures("four_workers")
async def test_without_limits_there_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    async with VCAuth(Settings(store="memory://", limiter="none")):
        pass
    assert warnings(caplog) == []


async def test_one_worker_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    async with VCAuth(Settings(store="memory://", limiter="memory://")):
        pass
    assert warnings(caplog) == []

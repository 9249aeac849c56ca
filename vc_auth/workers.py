"""How many processes serve the application beside this one: what is in memory is in each of them once."""

import inspect
import multiprocessing
import os
from fractions import Fraction
from types import FrameType
from typing import Any, Final

BUCKETS_APART: Final = (
    "%(workers)d workers, and each has buckets of its own (limiter=%(limiter)r): a key may send up to %(workers)d"
    " times its plan; share them on a Redis (limiter='redis://host:6379'), serve with one worker, or divide the rates"
    " and bursts of the plans by %(workers)d"
)
"""The warning, to be formatted with ``{"workers": number_of_workers(), "limiter": settings.limiter}``."""


def number_of_workers(process: Any = None, frame: FrameType | None = None) -> int:
    """How many workers the server runs of which this process is one; 1 if this process is no server's worker.

    Asks the server what it made of its arguments, files and environment. ``WEB_CONCURRENCY`` is not read here: uvicorn
    and gunicorn have read it already, as a default below ``--workers``, and a script that inherits it is no worker.
    To be called in the worker, on the thread that serves. ``process`` and ``frame`` are this process and the caller's
    frame unless given.
    """
    process = multiprocessing.current_process() if process is None else process
    frame = inspect.currentframe() if frame is None else frame
    return max(_of_spawned(process), _of_forked(frame))


def _of_spawned(process: Any) -> int:
    """As uvicorn's supervisor, and hypercorn's, hands it to its child: in the arguments of the process."""
    arguments = getattr(process, "_kwargs", {})
    config = arguments.get("config") if "sockets" in arguments else None
    if getattr(config, "reload", False):
        return 1  # uvicorn then ignores `workers`
    return _count(config)


def _of_forked(frame: FrameType | None) -> int:
    """As gunicorn's worker has it, inside whose ``init_process`` everything in the process runs."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "gunicorn.workers.base":
            return _count(getattr(frame.f_locals.get("self"), "cfg", None))
        frame = frame.f_back
    return 1


def _count(config: object) -> int:
    workers = getattr(config, "workers", 1)
    return workers if isinstance(workers, int) else 1


def share_of_workers() -> Fraction:
    """One divided by the number of workers: those that the server runs, or that ``WEB_CONCURRENCY`` speaks of."""
    named = os.environ.get("WEB_CONCURRENCY", "")
    return Fraction(1, max(number_of_workers(), int(named) if named.isascii() and named.isdigit() else 1, 1))

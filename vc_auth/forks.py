"""What has to begin anew in a process that has just forked off, as gunicorn's workers do of a preloaded application."""

import os
from contextlib import suppress
from typing import Final, Protocol
from weakref import WeakSet


class Forks(Protocol):
    """Something of which there are two after a fork."""

    def after_fork(self) -> None:
        """In the child, before anything else runs there: what it has of others is theirs."""


_all: Final[WeakSet[Forks]] = WeakSet()


def tell_of_forks(thing: Forks) -> None:
    """Call its ``after_fork`` in every process that forks off while it lives."""
    _all.add(thing)


def _forked() -> None:
    for thing in tuple(_all):
        thing.after_fork()


with suppress(AttributeError):  # on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forked)

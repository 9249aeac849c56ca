"""What belongs to one event loop is made once for it, closed once, and never closed by another loop or process."""

import asyncio
import gc
import weakref

import pytest

from vc_auth import forks
from vc_auth.limiters.lifetimes import OfTheLoop
from vc_auth.limiters.remote import Unasked


class Thing:
    pass


class Lifetime:
    """Things of one `OfTheLoop`, and which of them were closed."""

    def __init__(self) -> None:
        self.mine = OfTheLoop(Thing, self._close)
        self.closed: list[Thing] = []

    async def _close(self, thing: Thing) -> None:
        self.closed.append(thing)

    async def bind(self) -> Thing:
        await self.mine.bind()
        return self.mine.thing


async def test_a_loop_has_one_until_it_is_closed() -> None:
    lifetime = Lifetime()
    first = await lifetime.bind()
    assert await lifetime.bind() is first
    await lifetime.mine.aclose()
    assert lifetime.closed == [first]
    with pytest.raises(Unasked, match="closed"):
        lifetime.mine.thing  # noqa: B018  # it raises
    assert await lifetime.bind() is not first


async def test_closing_what_was_never_bound_or_is_closed_closes_nothing() -> None:
    lifetime = Lifetime()
    await lifetime.mine.aclose()
    assert lifetime.closed == []
    thing = await lifetime.bind()
    await lifetime.mine.aclose()
    await lifetime.mine.aclose()
    assert lifetime.closed == [thing]


def test_what_nobody_closes_is_closed_with_its_loop() -> None:
    lifetime = Lifetime()
    first = asyncio.run(lifetime.bind())
    assert lifetime.closed == [first]
    second = asyncio.run(lifetime.bind())
    assert lifetime.closed == [first, second]
    assert second is not first


def test_another_loop_leaves_the_closing_to_the_loop_it_is_of() -> None:
    lifetime = Lifetime()
    with asyncio.Runner() as runner:
        thing = runner.run(lifetime.bind())
        asyncio.run(lifetime.mine.aclose())
        assert lifetime.closed == []
    assert lifetime.closed == [thing]


async def test_what_was_a_parents_is_kept_and_never_touched() -> None:
    lifetime = Lifetime()
    parents = weakref.ref(await lifetime.bind())
    forks._forked()  # as in the child of a real fork
    with pytest.raises(Unasked):
        lifetime.mine.thing  # noqa: B018  # it raises
    own = await lifetime.bind()
    gc.collect()
    assert parents() not in (None, own)
    await lifetime.mine.aclose()
    assert lifetime.closed == [own]

"""Keeping what is remembered in step with what others change."""

import asyncio
import logging
from contextlib import aclosing
from typing import Final, Protocol

from vc_auth.errors import BackendError
from vc_auth.stores.base import TellsChanges
from vc_auth.stores.changes import Change, KeyChanged, ProjectChanged

logger: Final = logging.getLogger("vc_auth")
RETRY_AFTER: Final = 0.25  # seconds


class Forgets(Protocol):
    """What a follower needs of a cache."""

    def forget(self, key: str) -> None:
        """Forget what is remembered of this digest."""

    def forget_project(self, project_id: str) -> None:
        """Forget all keys of a project."""

    def forget_all(self) -> None:
        """Forget everything."""

    def trust(self) -> None:
        """What is remembered was in step just now."""


async def follow(store: TellsChanges, cache: Forgets) -> None:
    """Tell ``cache`` what changes in ``store``, until cancelled. A feed that is cut is taken up again and again.

    While it is cut nobody calls ``trust``, so the cache notices by itself, also if this task should ever stall.
    """
    cut = False
    while True:
        try:
            async with aclosing(store.changes()) as batches:
                # What was remembered before the first batch may have changed before it: of that the feed tells nothing.
                first = await anext(batches)
                cache.forget_all()
                _apply(first, cache)
                if cut:
                    logger.warning("changes of the key store are followed again")
                cut = False
                async for batch in batches:
                    _apply(batch, cache)
        except (BackendError, StopAsyncIteration) as error:
            if not cut:
                logger.warning(
                    "changes of the key store cannot be followed (%r); keys are read again each second", error
                )
            cut = True
        await asyncio.sleep(RETRY_AFTER)


def _apply(batch: list[Change], cache: Forgets) -> None:
    for change in batch:
        if isinstance(change, KeyChanged):
            cache.forget(change.digest)
        elif isinstance(change, ProjectChanged):
            cache.forget_project(change.id)
        else:
            cache.forget_all()
    cache.trust()

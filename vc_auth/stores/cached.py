"""A cache is a store: the guard cannot tell, and what the registry changes through it is forgotten here at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from vc_auth.cache import CacheOptions, ReadThroughCache
from vc_auth.records import KeyRecord, Project
from vc_auth.stores.base import KeyFinder, KeyStore, TellsChanges
from vc_auth.stores.following import follow


class CachedKeyFinder(ReadThroughCache[KeyRecord]):
    """A `vc_auth.stores.KeyFinder` before another. See `vc_auth.cache` for what it promises.

    If the other one tells its changes, they are followed from the first look-up on; what others change is forgotten.
    """

    def __init__(self, inner: KeyFinder, options: CacheOptions) -> None:
        super().__init__(inner.find, options)
        self._feed = inner if isinstance(inner, TellsChanges) else None
        self._following: asyncio.Task[None] | None = None
        if self._feed is not None:
            self.distrust()

    def forget_project(self, project_id: str) -> None:
        """Forget all keys of a project."""
        self.forget_where(lambda record: record.project.id == project_id)

    def start(self) -> None:
        """Begin to follow changes on the running event loop, before the first look-up would."""
        self._bind()

    async def aclose(self) -> None:
        """See `vc_auth.cache.ReadThroughCache.aclose`. It no longer follows changes."""
        following, self._following = self._following, None
        if following is not None and following.get_loop() is asyncio.get_running_loop():
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await super().aclose()

    def _work_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._feed is not None:
            self._following = loop.create_task(follow(self._feed, self))


class CachedKeyStore(CachedKeyFinder):
    """A `vc_auth.stores.KeyStore` before another. Reads for management are never cached.

    Whatever a change concerns is forgotten when the change is over, also when it failed or was cancelled: then its
    outcome is unknown, and asking again does no harm.
    """

    def __init__(self, inner: KeyStore, options: CacheOptions) -> None:
        super().__init__(inner, options)
        self._inner = inner
        self.add_project = inner.add_project
        self.get_project = inner.get_project
        self.list_projects = inner.list_projects
        self.get_key = inner.get_key
        self.list_keys = inner.list_keys

    async def set_plan(self, project_id: str, plan: str) -> Project:
        """See `vc_auth.stores.KeyStore`, also for the verbs below."""
        with self._forgetting_project(project_id):
            return await self._inner.set_plan(project_id, plan)

    async def set_suspended(self, project_id: str, at: datetime | None) -> Project:
        with self._forgetting_project(project_id):
            return await self._inner.set_suspended(project_id, at)

    async def add_key(self, record: KeyRecord) -> None:
        with self._forgetting(record):  # it may be remembered as unknown
            await self._inner.add_key(record)

    async def revoke_key(self, key_id: str, at: datetime) -> KeyRecord:
        with self._forgetting(await self._inner.get_key(key_id)):
            return await self._inner.revoke_key(key_id, at)

    async def replace_key(self, key_id: str, successor: KeyRecord, at: datetime, dies_at: datetime) -> None:
        with self._forgetting(await self._inner.get_key(key_id), successor):
            await self._inner.replace_key(key_id, successor, at, dies_at)

    async def delete_key(self, key_id: str, at: datetime) -> None:
        with self._forgetting(await self._inner.get_key(key_id)):
            await self._inner.delete_key(key_id, at)

    @contextmanager
    def _forgetting(self, *records: KeyRecord) -> Iterator[None]:
        try:
            yield
        finally:
            for record in records:
                self.forget(record.digest)

    @contextmanager
    def _forgetting_project(self, project_id: str) -> Iterator[None]:
        try:
            yield
        finally:
            self.forget_project(project_id)

"""A cache is a store: the guard cannot tell, and what the registry changes through it is forgotten here at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from vc_auth.cache import CacheOptions, ReadThroughCache
from vc_auth.records import KeyRecord, Project
from vc_auth.stores.base import KeyFinder, KeyStore


class CachedKeyFinder(ReadThroughCache[KeyRecord]):
    """A `vc_auth.stores.KeyFinder` before another. See `vc_auth.cache` for what it promises."""

    def __init__(self, inner: KeyFinder, options: CacheOptions) -> None:
        super().__init__(inner.find, options)


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
            self.forget_where(lambda record: record.project.id == project_id)

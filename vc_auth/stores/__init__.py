"""Where projects and keys live."""

from vc_auth.stores.base import HasLifetime, KeyFinder, KeyStore, TellsChanges, UsageStore
from vc_auth.stores.cached import CachedKeyFinder, CachedKeyStore
from vc_auth.stores.changes import Change, Everything, KeyChanged, ProjectChanged
from vc_auth.stores.memory import MemoryKeyStore
from vc_auth.urls import problem_with_store, sqlite_path

__all__ = [
    "CachedKeyFinder",
    "CachedKeyStore",
    "Change",
    "Everything",
    "HasLifetime",
    "KeyChanged",
    "KeyFinder",
    "KeyStore",
    "MemoryKeyStore",
    "ProjectChanged",
    "TellsChanges",
    "UsageStore",
    "open_store",
]


def open_store(url: str) -> KeyStore:
    """The store that a URL names: ``memory://`` or ``sqlite:///keys.db``. Raises ValueError for any other."""
    if problem := problem_with_store(url):
        raise ValueError("; ".join(problem))
    if url == "memory://":
        return MemoryKeyStore()
    from vc_auth.stores.sql import SQLKeyStore  # noqa: PLC0415  # SQLAlchemy takes 0.2 s to import

    return SQLKeyStore(sqlite_path(url))

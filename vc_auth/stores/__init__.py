"""Where projects and keys live."""

from vc_auth.stores.base import KeyFinder, KeyStore
from vc_auth.stores.cached import CachedKeyFinder, CachedKeyStore
from vc_auth.stores.memory import MemoryKeyStore

__all__ = ["CachedKeyFinder", "CachedKeyStore", "KeyFinder", "KeyStore", "MemoryKeyStore", "open_store"]


def open_store(url: str) -> KeyStore:
    """The store that a URL names: ``memory://``. Raises ValueError for any other."""
    if url != "memory://":
        raise ValueError(f"{url!r} is no store; use 'memory://'")
    return MemoryKeyStore()

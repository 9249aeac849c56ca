"""The memory store: the contract, bare and behind the cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from vc_auth.cache import CacheOptions
from vc_auth.stores import CachedKeyStore, KeyStore, MemoryKeyStore, UsageStore, open_store
from vc_auth.testing import KeyStoreContract, TurnableClock, UsageStoreContract
from vc_auth.testing.usage import KeyAndUsageStore


class TestMemoryKeyStore(KeyStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyStore]:
        yield MemoryKeyStore()


class TestCachedMemoryKeyStore(KeyStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyStore]:
        yield CachedKeyStore(MemoryKeyStore(), CacheOptions(clock=clock))


class TestMemoryUsage(UsageStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyAndUsageStore]:
        yield MemoryKeyStore()


def test_a_store_is_opened_by_its_url() -> None:
    assert isinstance(open_store("memory://"), MemoryKeyStore)
    with pytest.raises(ValueError, match="'mysql://' is no store"):
        open_store("mysql://")


def test_our_stores_are_key_stores() -> None:
    assert isinstance(MemoryKeyStore(), KeyStore)
    assert isinstance(MemoryKeyStore(), UsageStore)
    assert isinstance(CachedKeyStore(MemoryKeyStore(), CacheOptions()), KeyStore)

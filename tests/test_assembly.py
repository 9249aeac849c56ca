"""From settings to an application's guard, and its lifetime."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import INVALID, App, get, new_key

import vc_auth
from vc_auth import FREE, APIKeyMiddleware, Settings, VCAuth
from vc_auth.cache import CacheOptions
from vc_auth.errors import Unavailable
from vc_auth.guard import Guard
from vc_auth.keys import KeyFormat
from vc_auth.limiters import MemoryLimiter
from vc_auth.records import KeyRecord
from vc_auth.testing import TurnableClock, some_key, some_project


async def test_it_is_a_context_manager_for_scripts() -> None:
    async with VCAuth(Settings(store="memory://")) as auth:
        assert (await get(APIKeyMiddleware(App(), auth), await new_key(auth))).status == 200


async def test_opening_is_counted_and_only_the_last_close_closes() -> None:
    hanging = asyncio.Event()
    cancelled = []

    class Store:
        async def find(self, digest: str) -> KeyRecord | None:
            try:
                await hanging.wait()
            except asyncio.CancelledError:
                cancelled.append(digest)
                raise
            return None

    auth = VCAuth(Settings(), store=Store())
    await auth.open()
    await auth.open()
    request = asyncio.create_task(auth.store.find("digest"))
    await asyncio.sleep(0.01)
    await auth.aclose()
    await asyncio.sleep(0)
    assert not cancelled
    await auth.aclose()
    await asyncio.sleep(0)
    assert cancelled == ["digest"]
    await auth.aclose()
    hanging.set()
    assert await request is None


async def test_objects_of_ones_own_take_the_place_of_what_the_settings_name(clock: TurnableClock) -> None:
    record = some_key(some_project())

    class Table:
        async def find(self, digest: str) -> KeyRecord | None:
            return record if digest == vc_auth.keys.digest("vc_" + "7" * 32) else None

    limiter = MemoryLimiter(clock)
    app = APIKeyMiddleware(App(), VCAuth(Settings(), store=Table(), limiter=limiter, clock=clock))
    assert (await get(app, "vc_" + "7" * 32)).status == 200
    assert (await get(app, "vc_" + "8" * 32)).body == INVALID
    assert len(limiter) == 1


async def test_a_guard_needs_no_cache() -> None:
    record = some_key(some_project())

    class Table:
        async def find(self, digest: str) -> KeyRecord | None:
            return record

    plans = {plan.name: plan for plan in Settings().plans}
    guard = Guard(Table(), None, plans=plans, key_format=KeyFormat(), clock=TurnableClock())
    headers = [(b"authorization", b"Bearer vc_" + b"7" * 32)]
    grant = await guard.admit(headers)
    assert (grant.record, grant.decision, grant.project) == (record, None, record.project)

    class Gone:
        async def find(self, digest: str) -> KeyRecord | None:
            raise OSError("gone")

    with pytest.raises(Unavailable):
        await Guard(Gone(), None, plans=plans, key_format=KeyFormat(), clock=TurnableClock()).admit(headers)


async def test_a_guard_asks_a_cache_what_it_remembers_before_anything_else() -> None:
    record = some_key(some_project())

    class Cache:
        def peek(self, digest: str) -> KeyRecord | None:
            return record if digest == vc_auth.keys.digest("vc_" + "7" * 32) else None

        async def find(self, digest: str) -> KeyRecord | None:
            raise OSError("it is remembered")

    plans = {plan.name: plan for plan in Settings().plans}
    guard = Guard(Cache(), None, plans=plans, key_format=KeyFormat(), clock=TurnableClock())
    assert (await guard.admit([(b"authorization", b"Bearer vc_" + b"7" * 32)])).record is record


async def test_a_guard_takes_one_token_of_the_keys_family_unless_it_is_told_otherwise(clock: TurnableClock) -> None:
    record = some_key(some_project())

    class Table:
        async def find(self, digest: str) -> KeyRecord | None:
            return record

    limiter = MemoryLimiter(clock)
    guard = Guard(Table(), limiter, plans={"free": FREE}, key_format=KeyFormat(), clock=clock)
    grant = await guard.admit([(b"authorization", b"Bearer vc_" + b"7" * 32)])
    assert grant.decision is not None
    assert grant.decision.remaining == 99
    assert (await limiter.hit(record.family, FREE.rate, 1)).remaining == 98


def test_a_caches_own_defaults_are_those_of_the_settings() -> None:
    given, default = CacheOptions(), Settings()
    assert (given.size, given.ttl, given.timeout) == (default.cache_size, default.cache_ttl, default.store_timeout)
    assert (given.negative_size, given.negative_ttl) == (default.negative_cache_size, default.negative_ttl)
    assert given.stale_if_error == default.stale_if_error


def test_all_is_what_is_exported() -> None:
    exported = [
        name for name, value in vars(vc_auth).items() if not name.startswith("_") and type(value) is not type(os)
    ]
    assert sorted(vc_auth.__all__) == sorted(exported)
    assert vc_auth.__all__ == sorted(vc_auth.__all__, key=lambda name: (not name.isupper(), name))


def test_importing_the_front_door_needs_core_dependencies_alone() -> None:
    script = (
        "import sys\n"
        "for name in ('click', 'rich', 'uvicorn', 'pytest', 'hypothesis', 'fastapi'): sys.modules[name] = None\n"
        "import vc_auth\n"
        "print(vc_auth.VCAuth(vc_auth.Settings()).settings)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Settings(")


def test_under_tox_what_is_tested_is_the_wheel() -> None:
    package = Path(vc_auth.__file__).parent
    assert ("site-packages" in package.parts) >= ("TOX_ENV_NAME" in os.environ)
    assert (package / "py.typed").exists()

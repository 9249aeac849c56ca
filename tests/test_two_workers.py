"""Two workers on one SQLite file, and what one of them changes refused by the other within the bound."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support import App, get

from vc_auth import APIKeyMiddleware, NewKey, Settings, VCAuth
from vc_auth.errors import BackendError, StoreError
from vc_auth.records import KeyRecord

BOUND = 1.0  # seconds; the contract's, for SQLite


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[tuple[VCAuth, VCAuth]]:
    settings = Settings(store=f"sqlite:///{tmp_path / 'keys.db'}")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(VCAuth(settings))
        other = await stack.enter_async_context(VCAuth(settings))
        yield one, other


async def issue(auth: VCAuth, count: int = 1) -> list[NewKey]:
    await auth.registry.create_project("acme")
    return [await auth.registry.create_key("acme", f"key {number}") for number in range(count)]


async def seconds_until(status: int, ask: Callable[[], Awaitable[int]]) -> float:
    """How long it takes until the answer is this, asking 200 times a second."""
    begin = time.monotonic()
    while await ask() != status:
        assert time.monotonic() - begin < 10, "it never came"
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


async def test_what_one_worker_revokes_the_other_refuses_within_the_bound(workers: tuple[VCAuth, VCAuth]) -> None:
    one, other = workers
    middleware = APIKeyMiddleware(App(), other)
    for key in await issue(one, 10):
        plain = key.secret.reveal()

        async def ask(plain: str = plain) -> int:
            return (await get(middleware, plain)).status

        assert await ask() == 200
        await one.registry.revoke_key(key.record.id)
        assert await seconds_until(401, ask) <= BOUND


async def test_a_change_made_by_hand_in_the_shell_is_seen_as_well(
    workers: tuple[VCAuth, VCAuth], tmp_path: Path
) -> None:
    _, other = workers
    (key,) = await issue(other)
    middleware = APIKeyMiddleware(App(), other)

    async def ask() -> int:
        return (await get(middleware, key.secret.reveal())).status

    assert await ask() == 200
    shell = sqlite3.connect(tmp_path / "keys.db")
    with shell:
        shell.execute("UPDATE projects SET suspended_at = 1")
    shell.close()
    assert await seconds_until(401, ask) <= BOUND


async def test_a_change_of_plan_reaches_the_other_worker(workers: tuple[VCAuth, VCAuth]) -> None:
    one, other = workers
    (key,) = await issue(one)
    middleware = APIKeyMiddleware(App(), other)

    async def ask() -> int:
        return int((await get(middleware, key.secret.reveal())).headers["x-ratelimit-limit"])

    assert await ask() == 100
    await one.registry.change_plan("acme", "pro")
    assert await seconds_until(1_000, ask) <= BOUND


async def test_keys_outlive_the_process_that_made_them(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path / 'keys.db'}")
    async with VCAuth(settings) as auth:
        (key,) = await issue(auth)
    async with VCAuth(settings) as auth:
        assert (await get(APIKeyMiddleware(App(), auth), key.secret.reveal())).status == 200


async def test_a_store_that_somebody_has_to_mend_stops_the_start(tmp_path: Path) -> None:
    auth = VCAuth(Settings(store=f"sqlite:///{tmp_path / 'nowhere' / 'keys.db'}"))
    with pytest.raises(StoreError, match="there is no folder"):
        await auth.open()
    await auth.aclose()


async def test_a_store_that_is_only_away_does_not(caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        async def find(self, digest: str) -> KeyRecord | None:
            raise BackendError("away")

        async def open(self) -> None:
            raise BackendError("the key store is locked")

        async def aclose(self) -> None: ...

    async with VCAuth(Settings(), store=Away()) as auth:
        assert (await get(APIKeyMiddleware(App(), auth), "vc_" + "0" * 32)).status == 503
    assert "the key store is locked; starting all the same" in caplog.text

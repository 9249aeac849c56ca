"""Which requests count, as what, for whom; and how it is told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from support import App, call, get, http_scope, new_key

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.clock import utcnow
from vc_auth.errors import Fault, InvalidInput, NotFound
from vc_auth.plans import Plan
from vc_auth.records import KeyRecord, KeyTotals, Usage
from vc_auth.stores import MemoryKeyStore
from vc_auth.testing import TurnableClock, some_key, some_project

TINY = Plan("tiny", rate="1/minute", burst=2)


@pytest.fixture
async def auth(clock: TurnableClock) -> AsyncIterator[VCAuth]:
    settings = Settings(store="memory://", plans=(TINY,), public_paths=("/health",))
    async with VCAuth(settings, clock=clock) as auth:
        yield auth


async def counted(auth: VCAuth, project: str = "acme") -> tuple[int, int, int]:
    """What the project's last month says."""
    assert auth.usage is not None
    await auth.usage.flush()
    told = await auth.registry.usage(project)
    return sum(u.admitted for u in told), sum(u.limited for u in told), sum(u.forbidden for u in told)


async def test_admitted_and_rate_limited_requests_count_as_such(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    middleware = APIKeyMiddleware(App(), auth)
    assert [(await get(middleware, key)).status for _ in range(5)] == [200, 200, 429, 429, 429]
    assert await counted(auth) == (2, 3, 0)


async def test_requests_of_another_project_or_address_count_as_forbidden(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny", allowed_networks=["10.0.0.0/8"])
    assert (await get(APIKeyMiddleware(App(), auth), key)).status == 403
    stranger = APIKeyMiddleware(App(), auth, project="other")
    assert (await get(stranger, key, client=("10.0.0.1", 1))).status == 403
    assert await counted(auth) == (0, 0, 2)


async def test_requests_without_a_living_key_and_public_ones_do_not_count(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    (record,) = await auth.registry.list_keys("acme")
    middleware = APIKeyMiddleware(App(), auth)
    for headers in ([], [(b"authorization", b"Basic x")], [(b"authorization", b"Bearer vc_" + b"0" * 32)]):
        assert (await call(middleware, http_scope(headers))).status == 401
    assert (await get(middleware, key, "/health")).status == 200
    await auth.registry.revoke_key(record.id)
    assert (await get(middleware, key)).status == 401
    assert await counted(auth) == (0, 0, 0)


async def test_without_a_limiter_requests_count_as_admitted(clock: TurnableClock) -> None:
    async with VCAuth(Settings(store="memory://", limiter="none"), clock=clock) as auth:
        key = await new_key(auth)
        assert (await get(APIKeyMiddleware(App(), auth), key)).status == 200
        assert await counted(auth) == (1, 0, 0)


async def test_the_same_guard_met_twice_counts_once(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    assert (await get(APIKeyMiddleware(APIKeyMiddleware(App(), auth), auth), key)).status == 200
    assert await counted(auth) == (1, 0, 0)


async def test_a_mounted_app_counts_without_a_lifespan(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    mounted = Starlette(middleware=[Middleware(APIKeyMiddleware, auth=auth)])
    outer = Starlette()
    outer.mount("/api", mounted)
    assert (await get(outer, key, "/api/nothing")).status == 404
    assert await counted(auth) == (1, 0, 0)


async def test_rotated_keys_count_each_for_itself(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    (record,) = await auth.registry.list_keys("acme")
    new = await auth.registry.rotate_key(record.id)
    middleware = APIKeyMiddleware(App(), auth)
    for plain in (key, new.secret.reveal(), new.secret.reveal()):
        await get(middleware, plain)
    assert await counted(auth) == (2, 1, 0)
    totals = await auth.registry.key_totals("acme")
    assert {key_id: total.requests for key_id, total in totals.items()} == {record.id: 1, new.record.id: 2}


# -- how it is told ----------------------------------------------------------------------------------------------------


async def test_usage_is_told_by_hour_day_and_month_for_a_project_and_for_a_key(
    auth: VCAuth, clock: TurnableClock
) -> None:
    one, _ = await new_key(auth, plan="tiny"), await new_key(auth)
    first, second = await auth.registry.list_keys("acme")
    begin = utcnow(clock)
    middleware = APIKeyMiddleware(App(), auth)
    for _ in range(3):
        await get(middleware, one)
        clock.advance(seconds=86_400)
    assert auth.usage is not None
    await auth.usage.flush()
    since = begin.replace(minute=0, second=0, microsecond=0)
    by_hour = await auth.registry.usage("acme", by="hour", since=since)
    assert [usage.start for usage in by_hour if usage.requests] == [since + n * timedelta(days=1) for n in range(3)]
    assert len(by_hour) == 3 * 24 + 1
    by_day = await auth.registry.usage("acme", key_id=first.id, since=since, until=since + timedelta(days=2))
    assert [usage.requests for usage in by_day] == [1, 1, *([0] if since.hour else [])]
    by_month = await auth.registry.usage("acme", by="month")
    assert len(by_month) == 12
    assert sum(usage.admitted for usage in by_month) == 3
    assert await auth.registry.usage("acme", key_id=second.id, since=since, until=since + timedelta(hours=1)) == [
        Usage(since.replace(hour=0))
    ]


async def test_totals_say_how_often_and_when_last(auth: VCAuth, clock: TurnableClock) -> None:
    key, _ = await new_key(auth, plan="tiny"), await new_key(auth)
    first, second = await auth.registry.list_keys("acme")
    for _ in range(3):
        clock.advance(seconds=1)
        await get(APIKeyMiddleware(App(), auth), key)
    assert auth.usage is not None
    await auth.usage.flush()
    used = KeyTotals(3, utcnow(clock))
    assert await auth.registry.key_totals("acme") == {first.id: used}
    assert await auth.registry.key_totals("acme", key_id=first.id) == {first.id: used}
    assert await auth.registry.key_totals("acme", key_id=second.id) == {}


async def test_a_key_of_one_project_tells_nothing_of_another(auth: VCAuth) -> None:
    key = await new_key(auth, plan="tiny")
    await auth.registry.create_project("other", plan="tiny")
    (record,) = await auth.registry.list_keys("acme")
    await get(APIKeyMiddleware(App(), auth), key)
    assert await counted(auth) == (1, 0, 0)
    told = await auth.registry.usage("other", key_id=record.id)
    assert sum(usage.requests for usage in told) == 0
    assert await auth.registry.key_totals("other", key_id=record.id) == {}


async def test_what_cannot_be_told_is_refused_with_a_sentence(auth: VCAuth) -> None:
    with pytest.raises(NotFound, match="no project 'nobody'"):
        await auth.registry.usage("nobody")
    with pytest.raises(NotFound, match="no project 'nobody'"):
        await auth.registry.key_totals("nobody")
    with pytest.raises(InvalidInput, match="no usage by 'year'"):
        await auth.registry.usage("acme", by="year")  # type: ignore[arg-type]  # what a careless caller gives


async def test_a_store_that_only_finds_keys_keeps_no_usage_and_costs_nothing() -> None:
    key = some_key(some_project())

    class Finder:
        async def find(self, digest: str) -> KeyRecord | None:
            return key

    async with VCAuth(Settings(store="memory://"), store=Finder()) as auth:
        assert auth.usage is None
        assert (await get(APIKeyMiddleware(App(), auth), "vc_" + "0" * 32)).status == 200


async def test_a_store_without_usage_is_managed_all_the_same() -> None:
    class OnlyKeys:
        def __init__(self) -> None:
            inner = MemoryKeyStore()
            for verb in ("find", "add_project", "get_project", "list_projects", "set_plan", "set_suspended", "add_key"):
                setattr(self, verb, getattr(inner, verb))
            for verb in ("get_key", "list_keys", "revoke_key", "replace_key", "delete_key"):
                setattr(self, verb, getattr(inner, verb))

    auth = VCAuth(Settings(store="memory://"), store=OnlyKeys())  # type: ignore[arg-type]  # its verbs are set, not written
    await auth.registry.create_project("acme")
    with pytest.raises(Fault, match="this store keeps no usage; for that it needs all of"):
        await auth.registry.usage("acme")


# -- written behind, and in time ---------------------------------------------------------------------------------------


async def test_usage_is_written_before_the_server_learns_that_the_application_has_shut_down(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path / 'keys.db'}", usage_flush_interval=3_600.0)
    auth = VCAuth(settings)
    key = await new_key(auth)
    middleware = APIKeyMiddleware(Starlette(), auth)
    received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    sent: list[str] = []
    requests_at_the_end: list[int] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message["type"])
        if message["type"] == "lifespan.shutdown.complete":
            async with VCAuth(settings) as other:
                requests_at_the_end.extend(u.requests for u in await other.registry.usage("acme") if u.requests)

    lifespan = asyncio.create_task(middleware({"type": "lifespan"}, received.get, send))
    await received.put({"type": "lifespan.startup"})
    while not sent:  # noqa: ASYNC110  # the application has nobody to tell
        await asyncio.sleep(0.001)
    for _ in range(7):
        assert (await get(middleware, key)).status == 404
    await received.put({"type": "lifespan.shutdown"})
    await lifespan
    assert requests_at_the_end == [7]


async def test_what_one_worker_counts_another_tells_within_an_interval(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path / 'keys.db'}", usage_flush_interval=0.01)
    async with VCAuth(settings) as one, VCAuth(settings) as other:
        key = await new_key(one)
        assert (await get(APIKeyMiddleware(App(), one), key)).status == 200
        while not await other.registry.key_totals("acme"):  # noqa: ASYNC110  # no store tells of usage
            await asyncio.sleep(0.001)

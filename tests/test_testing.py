"""vc_auth.testing: an app's keys in memory, for users' own tests. The contracts are tested by the stores they test."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from support import INVALID, limited

from vc_auth import PRO, APIKeyMiddleware, Settings, VCAuth, requires
from vc_auth.errors import NotFound
from vc_auth.testing import MemoryAuth, bearer, some_user
from vc_auth.testing.auth import at_once


@requires("cache:read")
async def whoami(request: Request) -> Response:
    return JSONResponse([request.user.project.name, request.user.plan.name])


def create_app(auth: VCAuth) -> Starlette:
    return Starlette(routes=[Route("/", whoami)], middleware=[Middleware(APIKeyMiddleware, auth=auth)])


def test_three_lines_are_enough() -> None:
    auth = MemoryAuth()
    client = TestClient(create_app(auth), headers=auth.headers)
    assert client.get("/").json() == ["acme", "free"]


def test_time_passes_when_a_test_says_so() -> None:
    auth = MemoryAuth()
    with TestClient(create_app(auth), headers=auth.headers) as client:
        assert [client.get("/").status_code for _ in range(101)] == [200] * 100 + [429]
        assert client.get("/").content == limited(1)
        auth.clock.advance(seconds=2)
        assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]


def test_the_key_is_always_the_same() -> None:
    assert MemoryAuth().key == MemoryAuth().key == "vc_0123456789abcdef0123456789abcdef"
    assert MemoryAuth(Settings(key_prefixes=("sk-", "vc_"))).key == "sk-0123456789abcdef0123456789abcdef"
    (record,) = at_once((auth := MemoryAuth()).registry.list_keys("acme"))
    assert (record.name, record.display, record.project) == ("tests", "vc_0123...", auth.project)


def test_it_has_the_settings_of_the_application_but_for_the_store() -> None:
    auth = MemoryAuth(Settings(store="sqlite:////nowhere/keys.db", cost=100))
    client = TestClient(create_app(auth), headers=auth.headers)
    assert [client.get("/").status_code for _ in range(2)] == [200, 429]


def test_projects_have_the_plan_that_was_asked_for() -> None:
    auth = MemoryAuth(plan="pro")
    client = TestClient(create_app(auth))
    assert client.get("/", headers=auth.headers).json() == ["acme", "pro"]
    assert client.get("/", headers=bearer(auth.new_key("other"))).json() == ["other", "pro"]


def test_more_keys_are_made_for_what_is_to_be_tested() -> None:
    auth = MemoryAuth()
    client = TestClient(create_app(auth))
    for key, status in (
        (auth.new_key(), 200),
        (auth.new_key(scopes=["analytics:read"]), 403),
        (auth.new_key(allowed_networks=["10.0.0.0/8"]), 403),
        (short := auth.new_key(expires_in=timedelta(hours=1)), 200),
    ):
        assert client.get("/", headers=bearer(key)).status_code == status
    auth.clock.advance(seconds=3_600)
    assert client.get("/", headers=bearer(short)).content == INVALID


async def test_coroutines_use_the_registry() -> None:
    async with MemoryAuth() as auth:
        (record,) = await auth.registry.list_keys(auth.project)
        await auth.registry.revoke_key(record.id)
        answer = await asyncio.to_thread(TestClient(create_app(auth)).get, "/", headers=auth.headers)
        assert answer.content == INVALID
        await auth.registry.change_plan("acme", "pro")


def test_a_user_for_dependency_overrides_has_what_is_given() -> None:
    user = some_user(PRO, name="laptop")
    assert (user.display_name, user.plan, user.project.plan) == ("laptop", PRO, "pro")


def test_what_waits_is_not_done_at_once() -> None:
    async def missing() -> Any:
        raise NotFound("no such project")

    with pytest.raises(RuntimeError, match="await it"):
        at_once(asyncio.sleep(0))
    with pytest.raises(NotFound):
        at_once(missing())

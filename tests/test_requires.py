"""@requires: on functions, in threads, on classes; with wildcards; and what it says when it is misused."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires as starlettes_requires
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from support import FORBIDDEN, App, call, get, http_scope, new_key

from vc_auth import APIKeyMiddleware, Settings, VCAuth, requires


@requires("cache:write")
async def function(request: Request) -> Response:
    return PlainTextResponse(request.user.project.name)


@requires("cache:write")
def in_a_thread(request: Request) -> Response:
    return PlainTextResponse(request.user.project.name)


class OfAClass(HTTPEndpoint):
    @requires("cache:write")
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(request.user.project.name)


@starlettes_requires("cache:write")
async def by_starlette(request: Request) -> Response:
    return PlainTextResponse(request.user.project.name)


def guard(endpoint: Any, **settings: Any) -> tuple[Starlette, VCAuth]:
    auth = VCAuth(Settings(store="memory://", **settings))
    return Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(APIKeyMiddleware, auth=auth)]), auth


@pytest.mark.parametrize("endpoint", [function, in_a_thread, OfAClass])
async def test_a_key_needs_the_scope(endpoint: Any) -> None:
    app, auth = guard(endpoint)
    for scopes in (["cache:write"], ["cache:*"], None):
        answer = await get(app, await new_key(auth, scopes=scopes))
        assert (answer.status, answer.body) == (200, b"acme")
    for scopes in (["cache:read", "keys:manage"], []):
        answer = await get(app, await new_key(auth, scopes=scopes))
        assert (answer.status, answer.body) == (403, FORBIDDEN)
        assert answer.headers["www-authenticate"] == (
            'Bearer realm="vc_auth", error="insufficient_scope", scope="cache:write"'
        )
        assert answer.headers["x-ratelimit-remaining"] == "99"


async def test_starlettes_own_sees_our_wildcards() -> None:
    app, auth = guard(by_starlette)
    assert (await get(app, await new_key(auth, scopes=["cache:*"]))).status == 200
    assert (await get(app, await new_key(auth, scopes=["cache:read"]))).status == 403


async def test_several_scopes_are_all_needed_and_all_named() -> None:
    @requires("cache:read", "keys:manage")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("in")

    app, auth = guard(endpoint)
    assert (await get(app, await new_key(auth, scopes=["cache:*", "keys:manage"]))).status == 200
    refused = await get(app, await new_key(auth, scopes=["cache:*"]))
    assert refused.headers["www-authenticate"].endswith('scope="cache:read keys:manage"')


async def test_a_public_request_has_no_scopes() -> None:
    app, _ = guard(function, public_paths=("/",))
    assert (await get(app)).body == FORBIDDEN


async def test_the_request_may_be_given_by_name() -> None:
    auth = VCAuth(Settings(store="memory://"))
    app = App()
    await get(APIKeyMiddleware(app, auth), await new_key(auth))
    assert (await function(request=Request(app.scopes[0]))).status_code == 200


async def test_without_the_middleware_it_says_which_line_to_add() -> None:
    with pytest.raises(RuntimeError, match=r"app\.add_middleware\(vc_auth\.APIKeyMiddleware"):
        await call(Starlette(routes=[Route("/", function)]), http_scope())


def test_misuse_is_told_when_the_application_is_written() -> None:
    with pytest.raises(ValueError, match="asks for nothing"):
        requires()
    with pytest.raises(ValueError, match="'a b' is no scope"):
        requires("a b")
    with pytest.raises(ValueError, match="is no scope"):
        requires(["cache:read"])  # type: ignore[arg-type]  # as users of Starlette's would
    with pytest.raises(TypeError, match="takes no `request` or `websocket`"):

        @requires("cache:read")
        async def endpoint(req: Request) -> None: ...

"""A denial that is raised in a route leaves as its documented bytes, whatever stands between it and the door."""

import itertools
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from support import FORBIDDEN, INVALID, bearer, call, get, http_scope, new_key

from vc_auth import APIKeyMiddleware, Denied, Forbidden, Settings, VCAuth, denied_handler, requires
from vc_auth.answer import LONGEST_WITHHELD
from vc_auth.errors import InsufficientScope, InvalidKey, RateLimited, Unauthorized
from vc_auth.rates import Decision

CHALLENGE = 'Bearer realm="vc_auth", error="insufficient_scope", scope="keys:manage"'


class Transparent(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


async def raising(request: Request) -> Response:
    raise InsufficientScope(["keys:manage"])


def raising_in_a_thread(request: Request) -> Response:
    raise InsufficientScope(["keys:manage"])


@requires("keys:manage")
async def requiring(request: Request) -> Response:
    raise AssertionError("it was let in")


@requires("keys:manage")
def requiring_in_a_thread(request: Request) -> Response:
    raise AssertionError("it was let in")


ENDPOINTS = [raising, raising_in_a_thread, requiring, requiring_in_a_thread]
OURS, BASE, GZIP, CORS = (
    APIKeyMiddleware,
    Transparent,
    GZipMiddleware,
    CORSMiddleware,
)


def stack(auth: VCAuth, order: tuple[Any, ...]) -> list[Middleware]:
    options: dict[Any, dict[str, Any]] = {
        OURS: {"auth": auth},
        BASE: {},
        GZIP: {"minimum_size": 1},
        CORS: {"allow_origins": ["https://app.example"]},
    }
    return [Middleware(kind, **options[kind]) for kind in order]


def plain(endpoint: Any, middleware: list[Middleware]) -> ASGIApp:
    return Starlette(routes=[Route("/sub/route", endpoint)], middleware=middleware)


def mounted(endpoint: Any, middleware: list[Middleware]) -> ASGIApp:
    inner = Starlette(routes=[Route("/route", endpoint)])
    return Starlette(routes=[Mount("/sub", inner)], middleware=middleware)


def mounted_in_debug_mode(endpoint: Any, middleware: list[Middleware]) -> ASGIApp:
    inner = Starlette(debug=True, routes=[Route("/route", endpoint)])
    return Starlette(routes=[Mount("/sub", inner)], middleware=middleware)


def mounted_with_its_own_handler(endpoint: Any, middleware: list[Middleware]) -> ASGIApp:
    async def teapot(request: Request, error: Exception) -> Response:
        return PlainTextResponse("short and stout", 418)

    inner = Starlette(routes=[Route("/route", endpoint)], exception_handlers={Exception: teapot})
    return Starlette(routes=[Mount("/sub", inner)], middleware=middleware)


def mounted_below_all(endpoint: Any, middleware: list[Middleware]) -> ASGIApp:
    inner = Starlette(routes=[Route("/route", endpoint)], middleware=middleware)
    return Starlette(routes=[Mount("/sub", inner)])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("build", [plain, mounted, mounted_in_debug_mode, mounted_below_all])
@pytest.mark.parametrize("order", list(itertools.permutations([OURS, BASE, GZIP, CORS])))
async def test_under_middleware_in_every_order(order: tuple[Any, ...], build: Any, endpoint: Any) -> None:
    auth = VCAuth(Settings(store="memory://"))
    app = build(endpoint, stack(auth, order))
    headers = [*bearer(await new_key(auth)), (b"origin", b"https://app.example")]
    answer = await call(app, http_scope(headers, "/sub/route"))
    assert (answer.status, answer.body) == (403, FORBIDDEN)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(FORBIDDEN))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["www-authenticate"] == CHALLENGE
    assert answer.headers["x-ratelimit-remaining"] == "99"


@pytest.mark.parametrize("middleware", [(OURS,), (OURS, GZIP), (GZIP, OURS, CORS)])
async def test_past_a_handler_of_the_mounted_app_that_answers_otherwise(middleware: tuple[Any, ...]) -> None:
    auth = VCAuth(Settings(store="memory://"))
    app = mounted_with_its_own_handler(raising, stack(auth, middleware))
    answer = await get(app, await new_key(auth), "/sub/route")
    assert (answer.status, answer.body) == (403, FORBIDDEN)


async def guarded(endpoint: Any, **options: Any) -> tuple[ASGIApp, str]:
    auth = VCAuth(Settings(store="memory://"))
    app = Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(APIKeyMiddleware, auth=auth)], **options)
    return app, await new_key(auth)


@pytest.mark.parametrize(("denial", "status", "body"), [(Forbidden(), 403, FORBIDDEN), (InvalidKey(), 401, INVALID)])
async def test_any_denial_may_be_raised(denial: Denied, status: int, body: bytes) -> None:
    async def endpoint(request: Request) -> Response:
        raise denial

    app, key = await guarded(endpoint)
    answer = await get(app, key)
    assert (answer.status, answer.body) == (status, body)


async def test_a_denial_of_ones_own_says_its_own_words() -> None:
    class Blocked(Unauthorized):
        error = "Blocked"
        message = "Write to us"

    async def endpoint(request: Request) -> Response:
        raise Blocked

    app, key = await guarded(endpoint)
    answer = await get(app, key)
    assert answer.body == b'{"error":"Blocked","message":"Write to us","status":401}'
    assert answer.headers["www-authenticate"] == 'Bearer realm="vc_auth"'


async def test_a_limit_of_ones_own_says_when_to_come_back() -> None:
    class QuotaSpent(RateLimited):
        error = "Quota spent"
        message = "Come back tomorrow"

    async def endpoint(request: Request) -> Response:
        raise QuotaSpent(Decision(False, 5, 0, 7_000_000, 7_000_000, 7_000_000), "free")

    app, key = await guarded(endpoint)
    answer = await get(app, key)
    assert answer.body == b'{"error":"Quota spent","message":"Come back tomorrow","retry_after":7,"status":429}'
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-remaining"]) == ("7", "99")


async def test_an_app_may_answer_denials_itself_with_our_handler() -> None:
    async def endpoint(request: Request) -> Response:
        raise Forbidden

    app, key = await guarded(endpoint, exception_handlers={Denied: denied_handler})
    answer = await get(app, key)
    assert (answer.status, answer.body) == (403, FORBIDDEN)
    assert answer.headers["x-ratelimit-remaining"] == "99"


async def test_our_handler_does_not_swallow_what_is_no_denial() -> None:
    async def endpoint(request: Request) -> Response:
        raise LookupError("not ours")

    app, key = await guarded(endpoint, exception_handlers={LookupError: denied_handler})
    with pytest.raises(LookupError, match="not ours"):
        await get(app, key)


async def test_an_answer_given_while_a_denial_is_handled_goes_out_unchanged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise Forbidden
        except Forbidden:
            await JSONResponse({"sorry": True}, 402)(scope, receive, send)

    auth = VCAuth(Settings(store="memory://"))
    answer = await get(APIKeyMiddleware(app, auth), await new_key(auth))
    assert (answer.status, answer.body) == (402, b'{"sorry":true}')
    assert answer.headers["x-ratelimit-remaining"] == "99"


async def test_a_denial_after_the_answer_began_is_raised_on() -> None:
    async def endpoint(request: Request) -> Response:
        async def parts() -> Any:
            yield b"first"
            raise Forbidden

        return StreamingResponse(parts())

    app, key = await guarded(endpoint)
    with pytest.raises(Forbidden):
        await get(app, key)


async def test_an_error_that_is_no_denial_is_a_500_and_raised_on() -> None:
    async def endpoint(request: Request) -> Response:
        raise OSError("disk")

    for build in (plain, mounted):
        auth = VCAuth(Settings(store="memory://"))
        answer_and_error: list[Any] = []
        app = build(endpoint, [Middleware(BASE), Middleware(OURS, auth=auth), Middleware(BASE)])

        async def send(message: Any, seen: list[Any] = answer_and_error) -> None:
            seen.append(message)

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        with pytest.raises(OSError, match="disk"):
            await app(http_scope(bearer(await new_key(auth)), "/sub/route"), receive, send)
        assert answer_and_error[0]["status"] == 500
        assert b"".join(m.get("body", b"") for m in answer_and_error[1:]) == b"Internal Server Error"


@pytest.mark.parametrize("parts", [[b"whole"], [b"a", b"b"], [b"x" * LONGEST_WITHHELD, b"y", b"z"], []])
async def test_a_500_of_the_application_arrives_whole_however_it_comes(parts: list[bytes]) -> None:
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})
        order.append("the application ends")

    auth = VCAuth(Settings(store="memory://"))

    async def send(message: Any) -> None:
        order.append(str(message.get("status", message.get("body"))))

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await APIKeyMiddleware(app, auth)(http_scope(bearer(await new_key(auth))), receive, send)
    assert [what for what in order if what != "the application ends"] == ["500", *map(str, parts)]
    whole_or_long = len(parts) == 1 or sum(map(len, parts)) > LONGEST_WITHHELD
    assert (order[-1] == "the application ends") == whole_or_long


async def test_messages_before_the_answer_pass_at_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        raise Forbidden

    auth = VCAuth(Settings(store="memory://"))
    answer = await get(APIKeyMiddleware(app, auth), await new_key(auth))
    assert answer.messages[0]["type"] == "http.response.early_hint"
    assert (answer.status, answer.body) == (403, FORBIDDEN)


async def test_cors_outside_answers_preflights_and_marks_our_denials() -> None:
    """As the README shows it."""
    auth = VCAuth(Settings(store="memory://"))
    app = plain(raising, stack(auth, (CORS, OURS)))
    origin = (b"origin", b"https://app.example")
    preflight = http_scope([origin, (b"access-control-request-method", b"GET")], "/sub/route", "OPTIONS")
    assert (await call(app, preflight)).status == 200
    denied = await call(app, http_scope([origin], "/sub/route"))
    assert (denied.status, denied.headers["access-control-allow-origin"]) == (401, "https://app.example")

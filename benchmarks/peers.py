"""What one would use instead, each written the way its own documentation does it."""

from collections.abc import Iterable

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser, SimpleUser
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENOUGH = "100000000/hour"  # so that nobody is refused


class PassThrough:
    """The least that a middleware can do: nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        await self.app(scope, receive, send)


class DictBackend(AuthenticationBackend):
    """For Starlette's AuthenticationMiddleware: the plain keys in a dictionary. It hashes nothing and never expires."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.users = {key: SimpleUser(f"user-{number}") for number, key in enumerate(keys)}

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """The user whose key this is."""
        authorization = conn.headers.get("Authorization")
        if authorization is None:
            return None
        scheme, _, key = authorization.partition(" ")
        user = self.users.get(key)
        if scheme.lower() != "bearer" or user is None:
            raise AuthenticationError("Invalid API key")
        return AuthCredentials(["authenticated"]), user


class LimitsMiddleware:
    """``limits`` in memory for the authenticated user, with the headers that ``limits`` can fill."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.limit = parse(ENOUGH)
        self.limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request, and say on its answer what is left."""
        user = scope["user"].display_name
        allowed = await self.limiter.hit(self.limit, user)
        window = await self.limiter.get_window_stats(self.limit, user)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("X-RateLimit-Limit", str(self.limit.amount))
                headers.append("X-RateLimit-Remaining", str(window.remaining))
                headers.append("X-RateLimit-Reset", str(int(window.reset_time)))
            await send(message)

        app = self.app if allowed else PlainTextResponse("Rate limit exceeded", 429)
        await app(scope, receive, send_with_headers)


def starlette_app(path: str) -> Starlette:
    """A Starlette application with one route."""
    return Starlette(routes=[Route(path, _endpoint)])


def slowapi_app(path: str) -> Starlette:
    """The same behind slowapi, which limits by the Authorization line and authenticates nobody."""
    app = starlette_app(path)
    app.state.limiter = Limiter(key_func=_authorization, default_limits=[ENOUGH], headers_enabled=True)
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)  # type: ignore[arg-type]  # slowapi says RateLimitExceeded, Starlette Exception
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


async def _endpoint(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _authorization(request: Request) -> str:
    return request.headers["Authorization"]

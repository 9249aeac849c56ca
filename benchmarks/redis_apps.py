"""The applications that are served: a bare one, and the same with keys and limits, ours and as one would otherwise.

Run by `redis_load.start`: ``python redis_apps.py NAME URL`` serves one of them with uvicorn, on a port that it prints.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn
import uvloop
from contenders import GENEROUS, PATH
from limits import parse
from limits.aio.strategies import FixedWindowRateLimiter
from peers import ENOUGH, DictBackend, LimitsMiddleware, starlette_app
from redis_contenders import OneScript, limits_storage
from starlette.datastructures import MutableHeaders
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.rates import whole_seconds
from vc_auth.stores import MemoryKeyStore

BARE: Final = "bare Starlette app"
OURS_IN_MEMORY: Final = "vc_auth, limiter in memory"
OURS: Final = "vc_auth, limiter on Redis"
ONE_SCRIPT: Final = "Starlette auth + one EVALSHA"
LIMITS: Final = "Starlette auth + limits"
KEYS: Final = 1_000
FOREVER: Final = 86_400  # seconds that an idle connection stays open while the others have their turns

Served = tuple[ASGIApp, list[str]]
"""An application, and the keys that it admits."""


class LimitsOnRedis(LimitsMiddleware):
    """``limits`` on Redis for the authenticated user, with the headers that ``limits`` can fill."""

    def __init__(self, app: ASGIApp, url: str) -> None:
        self.app = app
        self.limit = parse(ENOUGH)
        self.limiter = FixedWindowRateLimiter(limits_storage(url))


class OneScriptMiddleware:
    """One ``EVALSHA`` for each request of the authenticated user, with the same headers."""

    def __init__(self, app: ASGIApp, limiter: OneScript) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a token, and say on the answer what is left."""
        decision = await self.limiter.hit(scope["user"].display_name, GENEROUS.rate)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("X-RateLimit-Limit", str(decision.limit))
                headers.append("X-RateLimit-Remaining", str(decision.remaining))
                headers.append("X-RateLimit-Reset", str(whole_seconds(decision.reset_after_us)))
            await send(message)

        app = self.app if decision.allowed else PlainTextResponse("Rate limit exceeded", 429)
        await app(scope, receive, send_with_headers)


async def _bare(_url: str) -> Served:
    return starlette_app(PATH), [f"key-{number}" for number in range(KEYS)]


async def _ours(url: str) -> Served:
    auth = VCAuth(Settings(store="memory://", limiter=url, plans=(GENEROUS,)), store=MemoryKeyStore())
    project = await auth.registry.create_project("acme", plan=GENEROUS.name)
    keys = [(await auth.registry.create_key(project, f"key {n}")).secret.reveal() for n in range(KEYS)]
    return APIKeyMiddleware(starlette_app(PATH), auth=auth), keys


async def _ours_in_memory(_url: str) -> Served:
    return await _ours("memory://")


async def _one_script(url: str) -> Served:
    limiter = OneScript(url)
    await limiter.open()
    keys = [f"vc_{number:032x}" for number in range(KEYS)]
    return AuthenticationMiddleware(OneScriptMiddleware(starlette_app(PATH), limiter), DictBackend(keys)), keys


async def _limits(url: str) -> Served:
    keys = [f"vc_{number:032x}" for number in range(KEYS)]
    return AuthenticationMiddleware(LimitsOnRedis(starlette_app(PATH), url), DictBackend(keys)), keys


APPS: Final[dict[str, Callable[[str], Awaitable[Served]]]] = {
    BARE: _bare,
    OURS_IN_MEMORY: _ours_in_memory,
    OURS: _ours,
    ONE_SCRIPT: _one_script,
    LIMITS: _limits,
}


async def serve(name: str, url: str) -> None:
    """Serve until the process is ended. Prints the port and the keys, as JSON, once it listens."""
    app, keys = await APPS[name](url)
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening:
        print(json.dumps([listening.getsockname()[1], keys]), flush=True)
        config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_keep_alive=FOREVER)
        await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(*sys.argv[1:]))

"""What the tests of the matrix get: servers, each started when first asked for, and keys that all of them know."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Final

import pytest
from matrix import wire
from matrix.running import COMMANDS, ROOT_PATH, Keys, Server

from vc_auth import Settings, VCAuth

SETTINGS: Final = {
    "VC_AUTH_PUBLIC_PATHS": "/health,/admin/*",
    "VC_AUTH_PLANS": "free=60/minute:100,once=1/hour:1,enterprise=6000/minute:10000",
}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return SETTINGS | {"VC_AUTH_STORE": f"sqlite:///{tmp_path_factory.mktemp('store') / 'keys.db'}"}


@pytest.fixture(scope="session")
def keys(environment: dict[str, str]) -> Keys:
    async def create() -> Keys:
        async with VCAuth(Settings.from_env(environment)) as auth:

            async def key(plan: str, *networks: str) -> str:
                new = await auth.registry.create_key(plan, "key", allowed_networks=networks or None)
                return new.secret.reveal()

            for plan in ("free", "once", "enterprise"):
                await auth.registry.create_project(plan, plan=plan)
            return Keys(
                enterprise=await key("enterprise"),
                free=await key("free"),
                free_socket=await key("free"),
                once=await key("once"),
                elsewhere=await key("enterprise", "10.0.0.0/8"),
            )

    return asyncio.run(create())


@pytest.fixture(scope="session")
def start(
    environment: dict[str, str], keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    with ExitStack() as running:

        @cache
        def started(name: str, *words: str) -> Server:
            folder = tmp_path_factory.mktemp(name)
            return running.enter_context(Server(name, (*COMMANDS[name], *words), folder, environment))

        yield started


@pytest.fixture(params=COMMANDS)
def server(request: pytest.FixtureRequest, start: Callable[..., Server], keys: Keys) -> Iterator[Server]:
    yield from watched(start(request.param), keys)


@pytest.fixture(params=COMMANDS)
def rooted_server(request: pytest.FixtureRequest, start: Callable[..., Server], keys: Keys) -> Iterator[Server]:
    """A server that was told to be at /api."""
    yield from watched(start(request.param, ROOT_PATH[request.param]), keys)


def watched(server: Server, keys: Keys) -> Iterator[Server]:
    """It knows nothing of earlier tests; and whatever a test did, it goes on, and logged neither an error nor a key."""
    server.notes()
    log_before = server.log
    yield server
    assert server.ask(wire.request("/health")).body == b"healthy"
    log = server.log.removeprefix(log_before)
    assert "Traceback" not in log
    assert not any(key in log for key in keys)

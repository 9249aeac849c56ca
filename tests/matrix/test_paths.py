"""Public paths below a root path: of the server, of a mount, and of both."""

from typing import Final

import pytest
from matrix.running import Keys, Server
from matrix.wire import bearer, request
from support import MISSING

HEALTHY: Final = b"healthy"

# Which requests are public, on servers at /api. Uvicorn puts the root path before the path that it was asked for, as if
# a proxy had taken it off. Granian and Hypercorn leave the path as it is; Starlette then takes the root path off where
# it is there, and below a mount it finds nothing where it is not.
ROOTED: Final = {
    "/health": ("uvicorn", "granian", "hypercorn"),
    "/api/health": ("granian", "hypercorn"),
    "/mounted/health": ("uvicorn",),
    "/api/mounted/health": ("granian", "hypercorn"),
    "/apihealth": (),
    "/api": (),
    "/api/": (),
    "/api//health": (),
    "/api/secret": (),
    "/secret": (),
    "/mounted/secret": (),
    "/api/mounted/secret": (),
    "/health/api": (),
}


@pytest.mark.parametrize("target", ROOTED)
def test_below_a_root_path_a_path_is_public_if_starlette_finds_a_public_route(
    rooted_server: Server, keys: Keys, target: str
) -> None:
    public = rooted_server.name.partition("-")[0] in ROOTED[target]
    stranger = rooted_server.ask(request(target))
    assert stranger.body == (HEALTHY if public else MISSING)
    customer = rooted_server.ask(request(target, bearer(keys.enterprise)))
    assert (customer.body == HEALTHY) is public
    assert ("ratelimit" in customer.headers) is not public


@pytest.mark.parametrize("target", ["/health", "/mounted/health"])
def test_below_a_mount_the_same_paths_are_public(server: Server, target: str) -> None:
    assert server.ask(request(target)).body == HEALTHY


@pytest.mark.parametrize("target", ["/mounted", "/mountedhealth", "/other/health", "/mounted/mounted/health"])
def test_beside_a_mount_nothing_else_is(server: Server, target: str) -> None:
    assert server.ask(request(target)).body == MISSING


def test_what_is_mounted_is_reached_with_a_key(server: Server, keys: Keys) -> None:
    assert server.ask(request("/mounted/secret", bearer(keys.enterprise))).body == b"the secret"

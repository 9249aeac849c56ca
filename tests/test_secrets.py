"""No key and no Authorization value outside the server's own scope. The watch in conftest looks on in every test;

here it is shown that it sees, and the failures that are hardest to see are provoked on purpose.
"""

import asyncio
import gc
import logging
from typing import Any

import pytest
from support import App, bearer, call, get, http_scope, new_key
from watch import Watch

import vc_auth
from vc_auth import APIKeyMiddleware, Denied, Settings, VCAuth
from vc_auth.errors import Forbidden, InvalidKey, RateLimited, Unavailable
from vc_auth.records import KeyRecord
from vc_auth.stores import MemoryKeyStore


async def test_the_watch_sees_logs_exceptions_and_frames() -> None:
    with Watch() as watch:
        key = "vc_" + "5ec12e75" * 4  # not one that the suite's own watch knows
        watch.secrets.add(key[3:])
        logging.getLogger("anybody").debug("look: %s", key)
        assert watch.leaks == ["a key stands in the log line of anybody"]
        watch.leaks.clear()
        namespace: dict[str, Any] = {"__name__": "vc_auth.imaginary"}
        exec("def careless(token):\n    raise ValueError('no')", namespace)
        try:
            namespace["careless"](f"Bearer {key}")
        except ValueError as error:
            watch.look_at_exception(error)
        watch.look_at_exception(ValueError(key))
        assert watch.leaks == ["a key stands in local 'token' of careless", "a key stands in the exception"]


@pytest.mark.parametrize(
    ("settings", "options", "store", "denial"),
    [
        ({}, {"allowed_networks": ["10.0.0.0/8"]}, MemoryKeyStore, Forbidden),
        ({"cost": 100}, {}, MemoryKeyStore, RateLimited),
        ({}, {}, None, Unavailable),
        ({}, {}, "empty", InvalidKey),
    ],
)
async def test_no_denial_carries_a_frame_that_holds_the_key(
    settings: dict[str, Any], options: dict[str, Any], store: Any, denial: type[Denied], watch: Watch
) -> None:
    class Failing:
        async def find(self, digest: str) -> KeyRecord | None:
            if store is None:
                raise OSError("gone")
            return None

    auth = VCAuth(Settings(**settings), store=MemoryKeyStore() if store is MemoryKeyStore else Failing())
    issuer = auth if store is MemoryKeyStore else VCAuth(Settings(store="memory://"))
    key = await new_key(issuer, **options)
    if denial is RateLimited:
        await auth.guard.admit(bearer(key))
    with pytest.raises(denial) as raised:
        await auth.guard.admit(bearer(key))
    watch.look_at_exception(raised.value)
    assert watch.leaks == []


async def test_a_cancelled_request_leaves_no_key_behind(watch: Watch) -> None:
    class Hanging:
        async def find(self, digest: str) -> KeyRecord | None:
            await asyncio.Event().wait()
            return None

    auth = VCAuth(Settings(), store=Hanging())
    key = await new_key(VCAuth(Settings(store="memory://")))
    request = asyncio.create_task(auth.guard.admit(bearer(key)))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await request
    watch.look_at_exception(cancelled.value)
    assert watch.leaks == []
    await auth.aclose()


async def test_nothing_of_the_package_holds_a_key_after_a_request() -> None:
    auth = VCAuth(Settings(store="memory://"))
    middleware = APIKeyMiddleware(App(), auth)
    key = await new_key(auth)
    await get(middleware, key)
    await get(middleware, "vc_" + "e" * 32)
    texts = [value for value in _reachable(auth) if isinstance(value, str | bytes)]
    assert vc_auth.keys.digest(key) in texts, "we look where the package keeps what it keeps"
    assert not any(key in (value if isinstance(value, str) else value.decode("latin-1")) for value in texts)


def _reachable(root: object) -> list[object]:
    """All objects that can be reached from the package's own, not through modules, classes or functions."""
    seen: dict[int, object] = {}
    queue = [root]
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, type) or type(value).__name__ in ("module", "function"):
            continue
        seen[id(value)] = value
        queue += gc.get_referents(value)
    return list(seen.values())


async def test_answers_hold_nothing_of_what_was_sent() -> None:
    middleware = APIKeyMiddleware(App(), VCAuth(Settings(store="memory://")))
    for value in (b"Bearer vc_" + b"a" * 32, b"Bearer something-secret", b"Basic c2VjcmV0OnNlY3JldA=="):
        answer = await call(middleware, http_scope([(b"authorization", value)]))
        assert value.split()[1] not in repr(answer.messages).encode()

"""What is fuzzed: bytes are read as a request, and `vc_auth` has to say of it what the reference says."""

from collections.abc import Callable, Coroutine
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from fuzz import reference
from starlette.types import Message, Receive, Scope, Send

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import Unauthorized
from vc_auth.keys import KeyFormat
from vc_auth.paths import problem_with

PREFIXES: Final = [("vc_",), ("vc_", "vc_a", "k.+")]  # vc_a looks like vc_ and one more digit; k.+ is no pattern
FORMATS: Final = [(prefixes, KeyFormat(prefixes)) for prefixes in PREFIXES]


def header(data: bytes) -> None:
    r"""One header line is ``name:value``, lines end in ``\r\n``; nothing is trimmed."""
    headers = [(name, value) for name, _, value in (line.partition(b":") for line in data.split(b"\r\n"))]
    for prefixes, form in FORMATS:
        due, told = reference.credentials(headers, prefixes), form.parse_authorization(headers)
        if isinstance(due, bytes):
            assert told == sha256(due).hexdigest(), f"{due!r} is a key, and refused"
        else:
            assert isinstance(told, Unauthorized), f"{due}, and admitted"
            assert told.error == due
        _check_glance(headers, form.glance(headers), due)


def _check_glance(headers: reference.Headers, digest: str, due: bytes | str) -> None:
    lines = reference.authorizations(headers)
    if digest:
        assert len(lines) == 1, "of several lines none may be remembered"
        assert lines[0][:7].lower() == b"bearer "
        assert digest == sha256(lines[0][7:]).hexdigest(), "not the whole token, byte for byte"
    elif isinstance(due, bytes):
        assert lines != [b"Bearer " + due], "a key in its usual form needs no closer look"


def paths(data: bytes) -> None:
    """The first line is ``public_paths``, spaces between them; the second one ``root_path``; the rest the path."""
    entries, root_path, path = (data.decode("utf-8", "surrogateescape") + "\n\n").split("\n", 2)
    allowed = tuple(entry for entry in entries.split(" ") if problem_with(entry) is None)
    for entry in allowed:
        assert reference.is_public(entry.removesuffix("/*"), [entry]), "an entry that never matches is refused"
    path = path[:-2]
    admitted: list[Scope] = []
    scope = {"type": "http", "method": "GET", "path": path, "root_path": root_path, "headers": [], "admitted": admitted}
    _run(_door(allowed)(scope, _receive, _send))
    assert bool(admitted) is reference.is_public(reference.route_path(path, root_path), allowed)


@lru_cache(maxsize=1_000)
def _door(public_paths: tuple[str, ...]) -> APIKeyMiddleware:
    return APIKeyMiddleware(_app, VCAuth(Settings(store="memory://", public_paths=public_paths)))


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    scope["admitted"].append(scope)


async def _receive() -> Message:
    raise NotImplementedError


async def _send(message: Message) -> None:
    pass


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits; an event loop would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a request without a key has nothing to wait for")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"header": header, "paths": paths}

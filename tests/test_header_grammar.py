"""The Authorization line against a reference parser that a reviewer can check by eye."""

import asyncio
import string
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import INVALID, MALFORMED, MISSING, SCALE, App, call, get, http_scope, new_key

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.keys import Headers
from vc_auth.stores import MemoryKeyStore

TOKEN = frozenset((string.ascii_letters + string.digits + "-._~+/").encode())


def reference(headers: Headers, key: bytes) -> bytes | None:
    """The body that is due, or None for the one form that passes."""
    lines = [value for name, value in headers if name.lower() == b"authorization"]
    if not lines:
        return MISSING
    scheme, space, rest = lines[0].partition(b" ")
    token = rest.lstrip(b" ")
    if len(lines) > 1 or len(lines[0]) > 4096 or scheme.lower() != b"bearer" or not space:
        return MALFORMED
    if not token.rstrip(b"=") or not TOKEN.issuperset(token.rstrip(b"=")):
        return MALFORMED
    return None if token == key else INVALID


class Door:
    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.app = App()
        self.auth = VCAuth(Settings(limiter="none"), store=MemoryKeyStore())  # with a cache before it
        key = self.runner.run(new_key(self.auth))
        self.key = key.encode()
        self.middleware = APIKeyMiddleware(self.app, self.auth)
        assert self.runner.run(get(self.middleware, key)).status == 200, "from here on the key is remembered"


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.runner.close()


# A placeholder stands for the key, since strategies are built before there is one.
KEY = b"\xff\xfeKEY"
spaces = st.sampled_from([b" ", b"  ", b"    ", b"", b"\t", b"\n", b"\r\n ", b"\xa0", b"\x85", b"\x00", b" \t", b","])
schemes = st.one_of(
    st.sampled_from([b"Bearer", b"bearer", b"BEARER", b"bEaReR", b"Basic", b"", b"Token", b"Bearer:", b'"Bearer"']),
    st.binary(max_size=8),
)
tokens = st.one_of(
    st.just(KEY),
    st.builds(
        lambda before, after: before + KEY + after,
        st.sampled_from([b"", b" ", b'"', b"x", b","]),
        st.sampled_from([b"", b"=", b"==", b" ", b'"', b",", b"\n", b"\x00", b" x", b"\t", b"a", b"=a", b";"]),
    ),
    st.builds(lambda hexes: b"vc_" + hexes.encode(), st.text("0123456789abcdefABCDEFg", min_size=31, max_size=33)),
    st.binary(max_size=50),
    st.text(string.ascii_letters + string.digits + "-._~+/=", max_size=50).map(str.encode),
    st.integers(4080, 4100).map(lambda size: b"a" * size),
)
values = st.one_of(st.builds(lambda *parts: b"".join(parts), schemes, spaces, tokens), st.binary(max_size=60))
names = st.sampled_from([b"authorization", b"Authorization", b"AUTHORIZATION", b"aUTHORIZATION"])
others = st.tuples(
    st.one_of(
        st.sampled_from([b"host", b"proxy-authorization", b"authorization ", b"x-authorization", b"authorizatio\xf1"]),
        st.binary(max_size=20),
    ),
    st.one_of(values, st.just(b"Bearer " + KEY)),
)
lines = st.one_of(st.tuples(names, values), st.tuples(names, st.just(b"Bearer " + KEY)), others)


SHAPES: dict[str, Callable[[Headers], object]] = {
    "a list": lambda headers: headers,
    "lists": lambda headers: [list(line) for line in headers],
    "a tuple": tuple,
    "a generator": lambda headers: (line for line in headers),
}


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=max(50, round(20_000 * SCALE) // len(SHAPES)))
@given(headers=st.lists(lines, max_size=5))
@example(headers=[(b"authorization", b"Bearer " + KEY)])
@example(headers=[(b"authorization", b"Bearer " + KEY), (b"Authorization", b"Bearer " + KEY)])
@example(headers=[(b"authorization", b"Bearer " + b"a" * 4089)])
@example(headers=[(b"authorization", b"Bearer " + b"a" * 4090)])
@example(headers=[(b"authorization", b"bearer     " + KEY)])
def test_the_middleware_agrees_with_the_reference(door: Door, shape: str, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [(name, value.replace(KEY, door.key)) for name, value in headers]
    door.app.scopes.clear()
    answer = door.runner.run(call(door.middleware, http_scope(SHAPES[shape](headers))))  # type: ignore[arg-type]  # any
    due = reference(headers, door.key)
    assert (answer.status, answer.body) == ((200, b"ok") if due is None else (401, due))
    assert len(door.app.scopes) == (due is None)
    for scope in door.app.scopes:
        assert [tuple(line) for line in scope["headers"]] == headers


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer\tKEY",
        b"Bearer \tKEY",
        b"Bearer\xa0KEY",
        b"Bearer\x85KEY",
        b"Bearer KEY ",
        b" Bearer KEY",
        b"Bearer KEY\n",
        b"Bearer\nKEY",
        b"Bearer KEY\x00",
        b'Bearer "KEY"',
        b"Bearer KEY, Bearer KEY",
        b"Bearer KEY KEY",
        b"Basic KEY",
        b"KEY",
        b"",
        b"Bearer " + b"K" * 1_000_000,
        b"Bearer KEY" + b"=" * 4_096,
    ],
)
async def test_whatever_is_not_one_bearer_and_one_token_is_malformed(door: Door, value: bytes) -> None:
    scope = http_scope([(b"authorization", value.replace(b"KEY", door.key))])
    answer = await call(door.middleware, scope)
    assert (answer.status, answer.body) == (401, MALFORMED)
    assert answer.headers["www-authenticate"] == 'Bearer realm="vc_auth", error="invalid_request"'


async def test_a_thousand_other_lines_change_nothing(door: Door) -> None:
    crowd = [(b"x-authorization", b"Bearer nothing")] * 1_000
    line = (b"AUTHORIZATION", b"BEARER " + door.key)
    assert (await call(door.middleware, http_scope([*crowd, line, *crowd]))).status == 200
    assert (await call(door.middleware, http_scope([*crowd, line, *crowd, line]))).body == MALFORMED


async def test_a_token_that_is_no_key_is_never_asked_for() -> None:
    asked = []

    class Store:
        async def find(self, digest: str) -> None:
            asked.append(digest)

    middleware = APIKeyMiddleware(App(), VCAuth(Settings(), store=Store()))
    for token in (b"vc_" + b"A" * 32, b"vc_" + b"a" * 31, b"vc_" + b"a" * 33, b"sk-" + b"a" * 32, b"VC_" + b"a" * 32):
        answer = await call(middleware, http_scope([(b"authorization", b"Bearer " + token)]))
        assert (answer.status, answer.body) == (401, INVALID)
    assert asked == []
    await call(middleware, http_scope([(b"authorization", b"Bearer vc_" + b"a" * 32)]))
    assert len(asked) == 1


async def test_several_prefixes_are_accepted_and_the_first_one_issues() -> None:
    old = VCAuth(Settings(store="memory://", key_prefixes=("SK-",)))
    auth = VCAuth(Settings(key_prefixes=("vc_prod_", "SK-")), store=old.store)
    for key in (await new_key(old), issued := await new_key(auth)):
        assert (
            await call(APIKeyMiddleware(App(), auth), http_scope([(b"authorization", b"Bearer " + key.encode())]))
        ).status == 200
    assert issued.startswith("vc_prod_")

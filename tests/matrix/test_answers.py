"""The documented answers, byte for byte as they cross the wire."""

import time

import pytest
from matrix.running import UNKNOWN, Keys, Server
from matrix.wire import bearer, request
from support import FORBIDDEN, INVALID, MALFORMED, MISSING, limited


def of_denial(body: bytes, **more: str) -> dict[str, str]:
    """The headers of a denial with this body: these, and no others."""
    common = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    return common | {name.replace("_", "-"): value for name, value in more.items()}


def of_bucket(plan: str, burst: int, window: int, remaining: int, refill_after: int) -> dict[str, str]:
    """The limit headers, less the one that only a clock knows."""
    return {
        "ratelimit-policy": f'"{plan}";q={burst};w={window}',
        "ratelimit": f'"{plan}";r={remaining};t={refill_after}',
        "x-ratelimit-limit": str(burst),
        "x-ratelimit-remaining": str(remaining),
    }


@pytest.mark.parametrize(
    ("lines", "body", "challenge"),
    [
        ([], MISSING, 'Bearer realm="vc_auth"'),
        (["Authorization: Basic YTpi"], MALFORMED, 'Bearer realm="vc_auth", error="invalid_request"'),
        ([bearer(UNKNOWN)], INVALID, 'Bearer realm="vc_auth", error="invalid_token"'),
    ],
)
def test_a_401_is_the_documented_one(server: Server, lines: list[str], body: bytes, challenge: str) -> None:
    answer = server.ask(request("/secret", *lines))
    assert (answer.status, answer.body) == (401, body)
    assert answer.own_headers == of_denial(body, www_authenticate=challenge)
    assert server.notes() == []


def test_a_403_for_an_address_that_is_not_allowed_has_no_challenge(server: Server, keys: Keys) -> None:
    answer = server.ask(request("/secret", bearer(keys.elsewhere)))
    assert (answer.status, answer.body, answer.own_headers) == (403, FORBIDDEN, of_denial(FORBIDDEN))
    assert server.notes() == []


def test_a_429_says_when_in_its_body_and_in_all_its_headers(server: Server, keys: Keys) -> None:
    before = time.time()
    admitted, refused = (server.ask(request("/secret", bearer(keys.once))) for _ in range(2))
    assert admitted.body == b"the secret"
    headers = refused.own_headers
    full_at, wait = int(headers.pop("x-ratelimit-reset")), int(headers["retry-after"])
    assert before + 3_600 <= full_at <= time.time() + 3_601
    assert before + 3_600 - time.time() <= wait <= 3_600
    assert (refused.status, refused.body) == (429, limited(wait))
    assert headers == of_denial(limited(wait), retry_after=str(wait)) | of_bucket("once", 1, 3_600, 0, wait)
    assert server.notes() == ["secret"]


def test_an_admitted_answer_says_where_the_bucket_stands(server: Server, keys: Keys) -> None:
    before = time.time()
    answer = server.ask(request("/secret", bearer(keys.free)))
    headers = answer.own_headers
    assert before + 1 <= int(headers.pop("x-ratelimit-reset")) <= time.time() + 2
    own = {"content-type": "text/plain; charset=utf-8", "content-length": "10"}
    assert (answer.status, answer.body, headers) == (200, b"the secret", own | of_bucket("free", 100, 100, 99, 1))


def test_head_has_the_same_headers_and_no_body(server: Server, keys: Keys) -> None:
    with server.connect() as wire:  # what a body would be, would be taken for the next answer
        wire.send(request(method="HEAD") + request() + request("/secret", bearer(keys.enterprise), method="HEAD"))
        head, get, admitted = wire.head(), wire.answer(), wire.head()
        wire.send(request())
        assert wire.answer().body == MISSING
    assert (head.status, get.status, get.body) == (401, 401, MISSING)
    assert head.own_headers == get.own_headers
    assert (admitted.status, admitted.headers["content-length"]) == (200, "10")

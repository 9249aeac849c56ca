"""What only a socket can send, and what each server makes of it.

An outcome is the body of the guard's own 401 or of an application's 200, or the status that a server or Starlette gave
by itself; None for a server that was gone before it said anything. Each was looked at, and a change is to be noticed:
none may reach /secret without a key that stands in a well-formed line of the header, and none may end in a 5xx.

* White space around a value is not part of it (RFC 9110, 5.5), so servers take it off before the guard sees it:
  SP and TAB, and nothing else, of which NBSP would be the dangerous one. llhttp, under httptools, leaves it at the end.
* A folded line is obsolete (RFC 9112, 5.2); h11 unfolds it to one SP, as it may, and then it is a well-formed value.
* A bare LF may end a line (RFC 9112, 2.2), and all but llhttp let it.
* A target in absolute form has its path taken out by llhttp and hyper, as it should (RFC 9112, 3.2.2). h11 hands on all
  of it, which is nobody's path. The same two cut a fragment off, which has no place in a target at all.
* A server that refuses what is still being sent may reset the connection before its answer was read.
"""

from typing import Final, NamedTuple

import pytest
from matrix.running import COMMANDS, Keys, Server
from matrix.wire import request
from support import MALFORMED, MISSING

ADMITTED: Final = b"the secret"
HEALTHY: Final = b"healthy"
ADMINISTERED: Final = b"administered"

Outcome = bytes | int | None


class Row(NamedTuple):
    """One outcome for all servers, or one for each in the order of `COMMANDS`; a set if more than one is right."""

    data: bytes
    outcomes: Outcome | tuple[Outcome | set[Outcome], ...]


def bearer(line: bytes, *more: bytes) -> bytes:
    """A request for /secret with these lines, where KEY stands for a good key."""
    return request("/secret", line, *more)


ROWS: Final = {
    # -- the value ------------------------------------------------------------------------------------------------
    "NBSP before the scheme": Row(bearer(b"Authorization: \xa0Bearer KEY"), MALFORMED),
    "NBSP for the space": Row(bearer(b"Authorization: Bearer\xa0KEY"), MALFORMED),
    "NBSP before the key": Row(bearer(b"Authorization: Bearer \xa0KEY"), MALFORMED),
    "NBSP after the key": Row(bearer(b"Authorization: Bearer KEY\xa0"), MALFORMED),
    "NEL after the key": Row(bearer(b"Authorization: Bearer KEY\x85"), MALFORMED),
    "NUL after the key": Row(bearer(b"Authorization: Bearer KEY\x00"), 400),
    "CR after the key": Row(bearer(b"Authorization: Bearer KEY\rX: y"), 400),
    "TAB for the space": Row(bearer(b"Authorization: Bearer\tKEY"), MALFORMED),
    "TAB in the key": Row(bearer(b"Authorization: Bearer vc_\tKEY"), MALFORMED),
    "TAB around": Row(bearer(b"Authorization:\tBearer KEY\t"), (ADMITTED, MALFORMED, ADMITTED, ADMITTED)),
    "SP around": Row(bearer(b"Authorization:  Bearer KEY  "), (ADMITTED, MALFORMED, ADMITTED, ADMITTED)),
    "empty": Row(bearer(b"Authorization:"), MALFORMED),
    # -- the line -------------------------------------------------------------------------------------------------
    "SP before the colon": Row(bearer(b"Authorization : Bearer KEY"), 400),
    "folded before the scheme": Row(bearer(b"Authorization:\r\n Bearer KEY"), (ADMITTED, 400, 400, ADMITTED)),
    "folded for the space": Row(bearer(b"Authorization: Bearer\r\n KEY"), (ADMITTED, 400, 400, ADMITTED)),
    "folded after the key": Row(bearer(b"Authorization: Bearer KEY\r\n x"), (MALFORMED, 400, 400, MALFORMED)),
    "folded into another line": Row(bearer(b"X: y\r\n Authorization: Bearer KEY"), (MISSING, 400, 400, MISSING)),
    "LF after every line": Row(
        bearer(b"Authorization: Bearer KEY").replace(b"\r\n", b"\n"), (ADMITTED, 400, ADMITTED, ADMITTED)
    ),
    "LF after another line": Row(bearer(b"X: y\nAuthorization: Bearer KEY"), (ADMITTED, 400, ADMITTED, ADMITTED)),
    "two lines": Row(bearer(b"Authorization: Bearer KEY", b"Authorization: Bearer KEY"), MALFORMED),
    "two lines in other cases": Row(bearer(b"AUTHORIZATION: Bearer KEY", b"authorization: Bearer KEY"), MALFORMED),
    "two lines and one is empty": Row(bearer(b"Authorization: Bearer KEY", b"Authorization:"), MALFORMED),
    "_ in the name": Row(bearer(b"Proxy_Authorization: Bearer KEY", b"Author_ization: Bearer KEY"), MISSING),
    # -- the size -------------------------------------------------------------------------------------------------
    "10 KB of token": Row(bearer(b"Authorization: Bearer " + 10_000 * b"x"), MALFORMED),
    "200 KB of token": Row(
        bearer(b"Authorization: Bearer " + 200_000 * b"x"), ({400, None}, MALFORMED, MALFORMED, {431, None})
    ),
    "200 KB of another line": Row(bearer(b"X: " + 200_000 * b"x"), ({400, None}, MISSING, MISSING, {431, None})),
    "200 KB of lines": Row(bearer(*2_000 * [b"X: " + 95 * b"x"]), ({400, None}, MISSING, {431, None}, {431, None})),
    # -- the method: llhttp knows its own only, hypercorn makes them upper case ------------------------------------
    "get of /secret": Row(request("/secret", method="get"), (MISSING, 400, MISSING, MISSING)),
    "get of /secret with a key": Row(
        request("/secret", "Authorization: Bearer KEY", method="get"), (405, 400, 405, ADMITTED)
    ),
    "get of /health": Row(request("/health", method="get"), (405, 400, 405, HEALTHY)),
    # -- the target -----------------------------------------------------------------------------------------------
    "%68 for h": Row(request("/%68ealth"), HEALTHY),
    "%3F and more": Row(request("/health%3F/x"), MISSING),
    "%23 in a tree": Row(request("/admin/%23"), MISSING),
    "%00 in a tree": Row(request("/admin/%00"), MISSING),
    "; in a tree": Row(request("/admin/;x"), MISSING),
    "# and a public path": Row(request("/secret#/health"), MISSING),
    "# after a tree": Row(request("/admin#/health"), (MISSING, ADMINISTERED, ADMINISTERED, MISSING)),
    "# after a public path": Row(request("/health#/../secret"), (MISSING, HEALTHY, HEALTHY, MISSING)),
    "? and a public path": Row(request("/secret?/health"), MISSING),
    ".. out of a tree": Row(request("/admin/../secret"), MISSING),
    "%2e%2e out of a tree": Row(request("/admin/%2e%2e/secret"), MISSING),
    "backslash out of a tree": Row(request("/admin/..\\secret"), MISSING),
    "two slashes": Row(request("//health"), MISSING),
    "two slashes and a host": Row(request("//x/health"), MISSING),
    "absolute and public": Row(request("http://x/health"), (MISSING, HEALTHY, HEALTHY, MISSING)),
    "absolute and secret": Row(request("http://x/secret"), MISSING),
    "absolute and nothing": Row(request("http://health"), (MISSING, 400, MISSING, MISSING)),
    "no slash": Row(request("health"), (MISSING, 400, MISSING, MISSING)),
    "UTF-8, as no target may be": Row(request("/secret\xa0"), (400, 400, MISSING, 400)),
    # -- the trailer: uvicorn with httptools puts it into the header if they come at once, which RFC 9110, 6.5.1,
    # forbids. The guard cannot tell. h11 keeps them apart, and so does a proxy that drops trailers.
    "a key in the trailer": Row(
        request("/secret", "Transfer-Encoding: chunked", method="POST") + b"0\r\nAuthorization: Bearer KEY\r\n\r\n",
        (MISSING, ADMITTED, MISSING, MISSING),
    ),
}


def outcome_of(server: Server, data: bytes) -> Outcome:
    try:
        answer = server.ask(data)
    except ConnectionError:
        return None
    if answer.status == 401:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["www-authenticate"].startswith('Bearer realm="vc_auth"')
    return answer.body if answer.status in (200, 401) else answer.status


@pytest.mark.parametrize("name", ROWS)
def test_bytes_that_no_library_would_send_have_a_known_outcome(server: Server, keys: Keys, name: str) -> None:
    data, outcomes = ROWS[name]
    expected = outcomes[list(COMMANDS).index(server.name)] if isinstance(outcomes, tuple) else outcomes
    outcome = outcome_of(server, data.replace(b"KEY", keys.enterprise.encode()))
    assert outcome in (expected if isinstance(expected, set) else {expected})
    assert ("secret" in server.notes()) is (outcome == ADMITTED)

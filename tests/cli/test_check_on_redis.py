"""``vc-auth check`` where the servers' buckets are on a Redis."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis_servers import RedisServer
from shell import Shell

PASSWORD = "s3cret"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", PASSWORD) as server:
        yield server


def limiter_of(server: RedisServer, password: str = PASSWORD) -> str:
    return f"redis://:{password}@127.0.0.1:{server.port}"


def bucket_of(shell: Shell, key: str) -> str:
    return str(shell.json("check", answer=key)["bucket"])


def test_it_says_what_the_bucket_holds_and_takes_nothing(
    acme: Shell, new: dict[str, Any], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = limiter_of(server)
    monkeypatch.setenv("VC_AUTH_LIMITER", url)

    assert bucket_of(acme, new["key"]) == "1000 of 1000 left"
    acme.send(new["key"], times=300)
    left = [int(bucket_of(acme, new["key"]).removesuffix(" of 1000 left")) for _ in range(5)]
    assert 700 <= left[0] < 1_000
    assert left == sorted(left)  # it refills meanwhile, and nothing takes from it


def test_a_redis_that_is_away_is_named_and_what_would_be_said_without_it_is_said(
    acme: Shell, new: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer() as away:
        away.kill()
        monkeypatch.setenv("VC_AUTH_LIMITER", away.url)
        assert bucket_of(acme, new["key"]).startswith(f"not known: Redis at 127.0.0.1:{away.port} is away")


def test_a_wrong_password_is_said_and_stops_no_other_command(
    acme: Shell, new: dict[str, Any], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VC_AUTH_LIMITER", limiter_of(server, "wr0ng"))
    said = acme.refused("check", answer=new["key"], code=1)
    assert "does not let us in" in said
    assert "wr0ng" not in said
    acme.done("keys", "revoke", new["id"], "--yes")

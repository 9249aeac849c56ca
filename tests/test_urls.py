"""URLs of limiters: what is in one, and what is said of one that cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vc_auth import Settings, VCAuth
from vc_auth.errors import SettingsError
from vc_auth.urls import BadURL, RedisURL, parse_redis, problem_with_limiter

NODES = (("h", 6379), ("i", 7000))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisURL("single", (("h", 6379),))),
        ("redis://h:7000/2", RedisURL("single", (("h", 7000),), db=2)),
        ("redis://h/?db=3", RedisURL("single", (("h", 6379),), db=3)),
        ("redis://[::1]:7000", RedisURL("single", (("::1", 7000),))),
        ("redis://ann:p%40w%2F@h", RedisURL("single", (("h", 6379),), username="ann", password="p@w/")),
        ("redis://:p@w@h", RedisURL("single", (("h", 6379),), password="p@w")),
        ("rediss://h?ssl_ca_certs=/ca", RedisURL("single", (("h", 6379),), tls=True, options={"ssl_ca_certs": "/ca"})),
        ("unix:///run/r%20.sock?db=1", RedisURL("unix", path="/run/r .sock", db=1)),
        ("unix://:p@/run/r.sock", RedisURL("unix", path="/run/r.sock", password="p")),
        ("redis+cluster://h,i:7000", RedisURL("cluster", NODES)),
        ("rediss+cluster://h,i:7000/0", RedisURL("cluster", NODES, tls=True)),
        ("redis+sentinel://h,i:7000/main/4", RedisURL("sentinel", (("h", 26379), ("i", 7000)), service="main", db=4)),
    ],
)
def test_a_url_says_where_and_how(url: str, expected: RedisURL) -> None:
    assert parse_redis(url) == expected
    assert problem_with_limiter(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://", "'redis://' has no host and port in ''; give them as in 'host:6379'"),
        ("redis:///0", "'redis:///0' has no host and port in ''"),
        ("redis://h:70000", "'redis://h:70000' has no host and port in 'h:70000'"),
        ("redis://h:0", "'redis://h:0' has no host and port in 'h:0'"),
        ("redis://h:port", "'redis://h:port' has no host and port in 'h:port'"),
        ("redis://[::1", "'redis://[::1' cannot be read; encode what is special in the password, as %2F for '/'"),
        ("redis://:p/w@h", "'redis://:***@h' cannot be read; encode what is special in the password, as %2F for '/'"),
        ("redis://a:1/p@h", "'redis://a:***@h' cannot be read"),
        ("redis://:p?w@h", "'redis://:***@h' cannot be read"),
        ("redis://:p#w@h", "'redis://:***@h' cannot be read"),
        ("redis://h#x", "'redis://h#x' cannot be read"),
        (
            "redis://h,i",
            "'redis://h,i' names several servers; give 'redis+cluster://' or 'redis+sentinel://' for these",
        ),
        ("redis://h/x", "'redis://h/x' names database 'x'; give a number, as in 'redis://host:6379/0'"),
        ("redis://h?timeout=1", "'redis://h?timeout=1' has the option 'timeout'; it may have db, ssl_ca_certs"),
        ("unix://", "'unix://' names no socket; give 'unix:///run/redis.sock'"),
        ("unix://h/run/s", "'unix://h/run/s' names no socket"),
        ("redis+cluster://h,", "'redis+cluster://h,' has no host and port in ''; give them as in 'host:6379'"),
        ("redis+cluster://h/1", "'redis+cluster://h/1' names database 1; a cluster has only database 0"),
        ("redis+sentinel://h", "'redis+sentinel://h' names no service; give 'redis+sentinel://h:p,h:p/mymaster'"),
        (
            "redis+sentinel://h:x/m",
            "'redis+sentinel://h:x/m' has no host and port in 'h:x'; give them as in 'host:26379'",
        ),
        ("reddis://h", "'reddis://h' is no limiter; give 'memory://' or 'none', 'redis://host:6379'"),
        ("limits+redis", "'limits+redis' is no limiter"),
        ("mysql://u:secret@h", "'mysql://u:***@h' is no limiter"),
    ],
)
def test_a_url_that_cannot_be_is_refused_with_a_sentence(url: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        VCAuth(Settings(store="memory://", limiter=url))
    assert f"limiter: {problem}" in str(caught.value)


def test_what_is_no_redis_is_none_of_ours() -> None:
    with pytest.raises(BadURL, match="'memory://' is no URL of a Redis; give 'memory://'"):
        parse_redis("memory://")


@given(st.text(max_size=30), st.sampled_from(["redis", "unix", "redis+cluster", "redis+sentinel"]))
def test_no_url_is_too_odd_to_be_answered_and_no_password_is_shown(text: str, scheme: str) -> None:
    for url in (f"{scheme}://:s3cret@{text}", f"{scheme}://:{text}s3cret@h/m", f"{scheme}://a:{text}s3cret@h:1/1"):
        assert "s3cret" not in str(problem_with_limiter(url))

"""URLs of stores and limiters: what is in one, and what is wrong with it, in a sentence that shows no password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from vc_auth.masking import masked

SQLITE: Final = "sqlite:///keys.db"
_SQLITE_SCHEME: Final = "sqlite:///"
_KINDS: Final = {
    "redis": "single",
    "rediss": "single",
    "unix": "unix",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
}
_PORTS: Final = {scheme: 26_379 if kind == "sentinel" else 6_379 for scheme, kind in _KINDS.items()}
_OPTIONS: Final = (
    *("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
    *("sentinel_username", "sentinel_password"),
)
_WINDOWS: Final = "limits+"
_EXAMPLES: Final = (
    "give 'memory://' or 'none', 'redis://host:6379', 'redis+cluster://h:p,h:p', 'redis+sentinel://h:p,h:p/service' or"
    " 'limits+memcached://host:11211', or pass an object to VCAuth(limiter=...)"
)

Wrong = tuple[str, str]
"""What is wrong, and what would be right."""


class BadURL(ValueError):
    """A URL that cannot be: ``wrong`` and ``hint`` are sentences for whoever wrote it."""

    def __init__(self, wrong: str, hint: str) -> None:
        self.wrong, self.hint = wrong, hint
        super().__init__(f"{wrong}; {hint}")


# -- stores ------------------------------------------------------------------------------------------------------------


def problem_with_store(url: str) -> Wrong | None:
    """What is wrong with a store's URL, and what would be right; None if it is good."""
    shown = repr(masked(url, url))
    path = sqlite_path(url)
    if url == "memory://" or (path and not re.search(r"[?#\x00]|^:memory:$|/$", path)):
        return None
    if not url.startswith("sqlite:"):
        return f"{shown} is no store", f"give 'memory://' or {SQLITE!r}, or pass an object to VCAuth(store=...)"
    if url.endswith(":memory:") or url == "sqlite://":
        return f"{shown} would be gone with its connection", f"give 'memory://', or a file: {SQLITE!r}"
    if path:
        return f"{shown} names no file", f"give a path without '?' and '#', and no '/' at its end: {SQLITE!r}"
    return f"{shown} has not three slashes and a path", f"give {SQLITE!r}, or 'sqlite:////var/lib/keys.db'"


def sqlite_path(url: str) -> str:
    """The path in ``sqlite:///path``; empty if there is none."""
    return url.removeprefix(_SQLITE_SCHEME) if url.startswith(_SQLITE_SCHEME) else ""


# -- limiters ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RedisURL:
    """Where a Redis is, and how to get in."""

    kind: str
    """``"single"``, ``"unix"``, ``"cluster"`` or ``"sentinel"``."""
    nodes: tuple[tuple[str, int], ...] = ()
    """Host and port of each node that is named; none for a unix socket."""
    path: str = ""
    """Of the unix socket."""
    service: str = ""
    """What the sentinels call the master."""
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The other options: TLS by redis-py's names, and how to get in at the sentinels."""

    def __str__(self) -> str:
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.nodes)
        return f"{where}/{self.service}" if self.service else where


def windows_storage(url: str) -> str:
    """The storage URL in ``limits+redis://...``, as `limits` writes it; empty if this is no such URL."""
    return url.removeprefix(_WINDOWS) if url.startswith(_WINDOWS) and "://" in url else ""


def is_redis(url: str) -> bool:
    """Whether the scheme is one of `parse_redis`."""
    scheme, colon, _ = url.partition("://")
    return bool(colon) and scheme in _KINDS


def problem_with_limiter(url: str) -> Wrong | None:
    """What is wrong with a limiter's URL, and what would be right; None if it is good."""
    if url in ("memory://", "none") or windows_storage(url):
        return None
    if not is_redis(url):
        return f"{masked(url, url)!r} is no limiter", _EXAMPLES
    try:
        parse_redis(url)
    except BadURL as error:
        return error.wrong, error.hint
    return None


def parse_redis(url: str) -> RedisURL:
    """Read ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://`` or ``redis+sentinel://``.

    Raises BadURL, with no password in it.
    """
    scheme, _, rest = url.partition("://")
    shown = repr(masked(url, url))
    if not is_redis(url):
        raise BadURL(f"{shown} is no URL of a Redis", _EXAMPLES)
    try:
        split = urlsplit(f"//{rest}")
    except ValueError:
        split = urlsplit("//h#unreadable")
    # A special character of a password may have ended it early: its rest stands in the path then, and is not shown.
    if split.fragment or "@" in split.path + split.query:
        raise BadURL(f"{shown} cannot be read", "encode what is special in the password, as %2F for '/'")
    user, _, hosts = split.netloc.rpartition("@")
    username, _, password = (unquote(part) for part in user.partition(":"))
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise BadURL(f"{shown} has the option {unknown[0]!r}", f"it may have {', '.join(_OPTIONS)}")
    found = RedisURL(
        kind=_KINDS[scheme],
        tls=scheme.startswith("rediss"),
        username=username or None,
        password=password or None,
        options={name: value for name, value in options.items() if name != "db"},
    )
    if found.kind == "unix":
        if hosts or not split.path.strip("/"):
            raise BadURL(f"{shown} names no socket", "give 'unix:///run/redis.sock'")
        return replace(found, path=unquote(split.path), db=_db(options.get("db", ""), shown))
    nodes = tuple(_node(host, _PORTS[scheme], shown) for host in hosts.split(","))
    service, db = _service_and_db(found.kind, split.path.strip("/"), shown)
    if len(nodes) > 1 and found.kind == "single":
        raise BadURL(f"{shown} names several servers", "give 'redis+cluster://' or 'redis+sentinel://' for these")
    return replace(found, nodes=nodes, service=service, db=_db(options.get("db", db), shown, found.kind))


def _service_and_db(kind: str, path: str, shown: str) -> tuple[str, str]:
    if kind != "sentinel":
        return "", path
    service, _, db = path.partition("/")
    if not service:
        raise BadURL(f"{shown} names no service", "give 'redis+sentinel://h:p,h:p/mymaster'")
    return unquote(service), db


def _db(text: str, shown: str, kind: str = "") -> int:
    if not re.fullmatch(r"[0-9]{0,9}", text):
        raise BadURL(f"{shown} names database {text!r}", "give a number, as in 'redis://host:6379/0'")
    if int(text or 0) and kind == "cluster":
        raise BadURL(f"{shown} names database {text}", "a cluster has only database 0")
    return int(text or 0)


def _node(text: str, port: int, shown: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?", text)
    if found is None or not 0 < int(found[2] or port) < 65_536:
        raise BadURL(f"{shown} has no host and port in {text!r}", f"give them as in 'host:{port}'")
    return found[1].strip("[]"), int(found[2] or port)

"""Settings: plain values, checked together. Objects (a store, a limiter, a clock) go to `vc_auth.VCAuth` instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from os import PathLike, environ
from typing import Any, Final, Literal, get_args

from vc_auth.addresses import parse_network
from vc_auth.environment import read
from vc_auth.errors import Problem, SettingsError
from vc_auth.keys import DEFAULT_PREFIX, is_prefix
from vc_auth.masking import masked
from vc_auth.paths import problem_with
from vc_auth.plans import ENTERPRISE, FREE, PRO, Plan
from vc_auth.records import DEFAULT_SCOPES, KNOWN_SCOPES, Scopes, is_scope
from vc_auth.urls import SQLITE, problem_with_limiter, problem_with_store, windows_storage

HeaderFamily = Literal["RateLimit", "X-RateLimit"]
HEADER_FAMILIES: Final[tuple[str, ...]] = get_args(HeaderFamily)
LimitBy = Literal["key", "project"]
OnLimiterError = Literal["local", "closed", "open"]
LimiterStrategy = Literal["fixed-window", "moving-window", "sliding-window-counter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All there is to set. `problems` names every mistake at once; `vc_auth.VCAuth` refuses to start on any.

    Times are seconds. Every setting is also an environment variable for `from_env`: ``VC_AUTH_CACHE_TTL=60``.
    """

    store: str = SQLITE
    """Where projects and keys live. ``memory://``: in this process, for as long as it lives; ``sqlite:///keys.db``: in
    a file that several processes may share, below the working folder; ``sqlite:////var/lib/keys.db``: from the root."""
    limiter: str = "memory://"
    """Where buckets live. ``memory://``: in this process; ``none``: no limits and no limit headers;
    ``redis://[user:password@]host[:port][/db]``, ``rediss://`` (TLS), ``unix:///path``, ``redis+cluster://h:p,h:p`` and
    ``redis+sentinel://h:p,h:p/service``: on a Redis of at least 6.2, exact across processes and machines;
    ``limits+memcached://host:port`` and all other storages of `limits`: windows in place of buckets."""
    limiter_timeout: float = 0.05
    """How long a check may take before it is decided without Redis."""
    on_limiter_error: OnLimiterError = "local"
    """What happens while Redis does not answer. ``local``: this process limits by itself, at its share of each plan;
    ``closed``: 503; ``open``: no limits."""
    limiter_share: float = 0.0
    """This process's part of each plan meanwhile, up to 1; 0 is 1 divided by the number of the server's workers (or by
    ``WEB_CONCURRENCY``). With three machines of four workers give 1/12."""
    limiter_strategy: LimiterStrategy = "sliding-window-counter"
    """How the storages of `limits` count: ``fixed-window``, ``moving-window`` or ``sliding-window-counter``."""

    plans: tuple[Plan, ...] = (FREE, PRO, ENTERPRISE)
    """In the environment: ``free=60/minute:100,pro=600/minute:1000`` (name=rate:burst)."""
    limit_by: LimitBy = "key"
    """Whose bucket a request is charged to: its key's (and all that it was rotated from), or its project's."""
    cost: int = 1
    """Tokens that each request takes."""
    rate_limit_headers: tuple[HeaderFamily, ...] = ("RateLimit", "X-RateLimit")
    """Which families of limit headers are sent; an empty tuple sends none."""

    key_prefixes: tuple[str, ...] = (DEFAULT_PREFIX,)
    """What keys begin with, before their 32 hexadecimal characters. The first one issues, all are accepted."""
    known_scopes: tuple[str, ...] = KNOWN_SCOPES
    """Scopes that a key may be given."""
    default_scopes: tuple[str, ...] = DEFAULT_SCOPES
    """Scopes of a key that is created without naming any."""

    public_paths: tuple[str, ...] = ()
    """Paths that need no key, less ``root_path``: ``/health`` is that path alone, ``/docs/*`` it and all below."""
    allow_preflight: bool = False
    """Let true CORS preflights through. Better: put Starlette's CORSMiddleware outside, which answers them itself."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies whose X-Forwarded-For counts. By default nobody is believed."""
    strip_authorization: bool = False
    """Take the Authorization line out of what the application sees."""

    cache_size: int = 10_000
    """Keys that are remembered."""
    cache_ttl: float = 60.0
    """How old a remembered key may get before it is read again."""
    negative_cache_size: int = 16_384
    """Unknown keys that are remembered as unknown, apart from the others, so that guesses evict no customer."""
    negative_ttl: float = 5.0
    """How long an unknown key is taken to be unknown without asking the store."""
    store_timeout: float = 0.5
    """How long a look-up may take before the store counts as unreachable."""
    stale_if_error: float = 30.0
    """How long verified keys go on while the store is unreachable; 0 is not at all."""

    usage_flush_interval: float = 1.0
    """How often counted usage is written; a process that is killed loses at most what it counted in this time."""

    def __repr__(self) -> str:
        shown = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"Settings({', '.join(f'{name}={masked(repr(value), str(value))}' for name, value in shown)})"

    @classmethod
    def from_env(
        cls, env: Mapping[str, str] = environ, *, env_file: str | PathLike[str] | None = None, **given: Any
    ) -> "Settings":
        """Settings from ``VC_AUTH_*``. What is ``given`` wins over ``env``, which wins over ``env_file``.

        A file is read only if it is named. Lists are separated by commas, booleans are true or false.
        Raises SettingsError with every problem at once: names that do not exist, values that do not parse or fit.
        """
        defaults = {field.name: getattr(cls(), field.name) for field in fields(cls)}
        values, problems = read(env, defaults, env_file)
        settings = cls(**{**values, **given})
        problems += [problem for problem in settings.problems() if problem.setting not in {p.setting for p in problems}]
        if problems:
            raise SettingsError(problems)
        return settings

    def problems(self) -> tuple[Problem, ...]:
        """Every mistake, each with the setting's name, what is wrong and what would be right; empty if all is well."""
        return tuple(_problems(self))

    def check(self) -> None:
        """Raise SettingsError with all `problems`, if there are any."""
        if problems := self.problems():
            raise SettingsError(problems)


# -- finding mistakes --------------------------------------------------------------------------------------------------


def _problems(settings: Settings) -> Iterator[Problem]:
    yield from _of_types(settings)
    if any(True for _ in _of_types(settings)):
        return  # what has the wrong type cannot be asked further
    yield from _of_plans(settings)
    yield from _of_choices(settings)
    yield from _of_keys(settings)
    yield from _of_requests(settings)
    yield from _of_numbers(settings)


def _of_types(settings: Settings) -> Iterator[Problem]:
    defaults = Settings()
    for field in fields(settings):
        value, expected = getattr(settings, field.name), type(getattr(defaults, field.name))
        if expected is float and type(value) is int:
            continue
        if type(value) is not expected:
            hint = f"give a {expected.__name__}, such as {getattr(defaults, field.name)!r}"
            yield Problem(field.name, f"{value!r} is a {type(value).__name__}", hint)
        elif expected is tuple:
            element = Plan if field.name == "plans" else str
            for item in value:
                if not isinstance(item, element):
                    yield Problem(
                        field.name, f"{item!r} is a {type(item).__name__}", f"give a tuple of {element.__name__}"
                    )


def _of_plans(settings: Settings) -> Iterator[Problem]:
    if not settings.plans:
        yield Problem("plans", "there are none", "give at least one, such as vc_auth.FREE")
    names = [plan.name for plan in settings.plans]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("plans", f"{name!r} stands there twice", "give each plan a name of its own")
    yield from _of_costs(settings)
    for family in settings.rate_limit_headers:
        if family not in HEADER_FAMILIES:
            yield Problem("rate_limit_headers", f"no family is called {family!r}", f"choose from {HEADER_FAMILIES}")


def _of_costs(settings: Settings) -> Iterator[Problem]:
    if settings.cost < 1:
        yield Problem("cost", f"{settings.cost} tokens would admit everything", "give a whole number of at least 1")
    for plan in settings.plans:
        most, what = plan.rate.burst, "burst"
        if windows_storage(settings.limiter):
            most, what = plan.rate.amount, "window"
        if settings.cost > most:
            wrong = f"{settings.cost} tokens can never pass plan {plan.name!r}, whose {what} is {most}"
            yield Problem("cost", wrong, f"raise the {what} or lower the cost")


def _of_choices(settings: Settings) -> Iterator[Problem]:
    for name, choices, wrong in (
        ("limit_by", get_args(LimitBy), "owns no bucket"),
        ("on_limiter_error", get_args(OnLimiterError), "is no way to go on"),
        ("limiter_strategy", get_args(LimiterStrategy), "is no strategy"),
    ):
        if (choice := getattr(settings, name)) not in choices:
            yield Problem(name, f"{choice!r} {wrong}", f"give {' or '.join(map(repr, choices))}")


def _of_keys(settings: Settings) -> Iterator[Problem]:
    if not settings.key_prefixes:
        yield Problem("key_prefixes", "there are none", f"give at least one, such as {DEFAULT_PREFIX!r}")
    for prefix in settings.key_prefixes:
        if not is_prefix(prefix):
            yield Problem("key_prefixes", f"{prefix!r} cannot begin a key", "use 1 to 32 of A-Z a-z 0-9 . _ ~ + / -")
    for scope in settings.known_scopes:
        if not is_scope(scope):
            hint = "use printable ASCII without space, quote and backslash"
            yield Problem("known_scopes", f"{scope!r} is no scope", hint)
    for scope in settings.default_scopes:
        if scope not in Scopes(settings.known_scopes):
            yield Problem("default_scopes", f"{scope!r} is not a known scope", "add it to known_scopes")


def _of_requests(settings: Settings) -> Iterator[Problem]:
    if problem := problem_with_store(settings.store):
        yield Problem("store", *problem)
    if problem := problem_with_limiter(settings.limiter):
        yield Problem("limiter", *problem)
    for entry in settings.public_paths:
        if wrong := problem_with(entry):
            yield Problem("public_paths", wrong, "give '/health' for one path, '/docs/*' for it and all below it")
    for proxy in settings.trusted_proxies:
        try:
            parse_network(proxy)
        except ValueError as error:
            yield Problem("trusted_proxies", f"{proxy!r} is no network", str(error))


def _of_numbers(settings: Settings) -> Iterator[Problem]:
    for name in ("cache_size", "negative_cache_size"):
        if (size := getattr(settings, name)) < 1:
            yield Problem(name, f"{size} remembers nothing, and every request would ask the store", "give at least 1")
    for name in ("cache_ttl", "negative_ttl", "store_timeout", "limiter_timeout", "usage_flush_interval"):
        if not 0 < (seconds := getattr(settings, name)) < float("inf"):
            yield Problem(name, f"{seconds} is no time to wait", "give seconds above 0")
    if not 0 <= settings.stale_if_error < float("inf"):
        yield Problem(
            "stale_if_error", f"{settings.stale_if_error} is no time to wait", "give seconds, 0 for not at all"
        )
    if not 0 <= settings.limiter_share <= 1:
        wrong = f"{settings.limiter_share} is no part of a plan"
        yield Problem("limiter_share", wrong, "give at most 1, or 0 for 1 divided by the number of workers")
    if settings.negative_ttl > settings.cache_ttl > 0:
        wrong = f"{settings.negative_ttl} is longer than cache_ttl ({settings.cache_ttl})"
        yield Problem(
            "negative_ttl", wrong, "a new key made elsewhere must not stay unknown for longer than a known one stays"
        )

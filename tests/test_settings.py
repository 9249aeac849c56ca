"""Settings: every mistake at once, each with its name, what is wrong and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from vc_auth import FREE, PRO, Plan, Settings, SettingsError, VCAuth


def problems(**settings: Any) -> list[str]:
    return [str(problem) for problem in Settings(**settings).problems()]


def test_the_defaults_have_no_problem() -> None:
    assert problems() == []
    Settings().check()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"store": "mysql://x"}, "store: 'mysql://x' is no store; give 'memory://'"),
        ({"store": "pg://ann:pw@h/db"}, "store: 'pg://ann:***@h/db' is no store"),
        ({"limiter": "mysql://:p:w@h"}, "limiter: 'mysql://:***@h' is no limiter"),
        ({"limiter": "redis"}, "limiter: 'redis' is no limiter; give 'memory://' or 'none'"),
        ({"plans": ()}, "plans: there are none; give at least one"),
        ({"plans": (FREE, FREE)}, "plans: 'free' stands there twice"),
        ({"plans": [FREE]}, "plans: [Plan('free', rate='60/minute', burst=100)] is a list; give a tuple"),
        ({"plans": ("free",)}, "plans: 'free' is a str; give a tuple of Plan"),
        ({"limit_by": "ip"}, "limit_by: 'ip' owns no bucket; give 'key' or 'project'"),
        (
            {"on_limiter_error": "panic"},
            "on_limiter_error: 'panic' is no way to go on; give 'local' or 'closed' or 'open'",
        ),
        (
            {"limiter_strategy": "leaky"},
            "limiter_strategy: 'leaky' is no strategy; give 'fixed-window' or 'moving-window'",
        ),
        ({"limiter_timeout": 0}, "limiter_timeout: 0 is no time to wait; give seconds above 0"),
        ({"limiter_share": 1.5}, "limiter_share: 1.5 is no part of a plan; give at most 1, or 0 for 1 divided by"),
        ({"limiter_share": float("nan")}, "limiter_share: nan is no part of a plan"),
        (
            {"limiter": "limits+memory://", "cost": 61, "plans": (FREE,)},
            "cost: 61 tokens can never pass plan 'free', whose window is 60; raise the window or lower the cost",
        ),
        ({"cost": 0}, "cost: 0 tokens would admit everything"),
        ({"cost": 101}, "cost: 101 tokens can never pass plan 'free', whose burst is 100; raise the burst or lower"),
        ({"cost": True}, "cost: True is a bool; give a int"),
        ({"cost": 1.5}, "cost: 1.5 is a float"),
        ({"rate_limit_headers": ("Retry",)}, "rate_limit_headers: no family is called 'Retry'"),
        ({"key_prefixes": ()}, "key_prefixes: there are none"),
        ({"key_prefixes": ("",)}, "key_prefixes: '' cannot begin a key"),
        ({"key_prefixes": ("vc ",)}, "key_prefixes: 'vc ' cannot begin a key"),
        ({"key_prefixes": "vc_"}, "key_prefixes: 'vc_' is a str; give a tuple"),
        ({"known_scopes": ('a"b', *Settings().known_scopes)}, "known_scopes: 'a\"b' is no scope"),
        ({"default_scopes": ("admin",)}, "default_scopes: 'admin' is not a known scope"),
        ({"public_paths": ("health",)}, "public_paths: 'health' does not start with '/'"),
        ({"public_paths": ("/*",)}, "public_paths: '/*' would make every path public"),
        ({"public_paths": ("/a/*/b",)}, "public_paths: '/a/*/b' can never match"),
        ({"public_paths": ("/a/../b/*",)}, "public_paths: '/a/../b/*' can never match"),
        ({"public_paths": ("/a//*",)}, "public_paths: '/a//*' can never match"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies: '10.0.0.1/8' is no network"),
        ({"cache_size": 0}, "cache_size: 0 remembers nothing"),
        ({"negative_cache_size": -1}, "negative_cache_size: -1 remembers nothing"),
        ({"cache_ttl": 0}, "cache_ttl: 0 is no time to wait; give seconds above 0"),
        ({"cache_ttl": float("nan"), "negative_ttl": 1.0}, "cache_ttl: nan is no time to wait"),
        ({"store_timeout": float("inf")}, "store_timeout: inf is no time to wait"),
        ({"stale_if_error": -1}, "stale_if_error: -1 is no time to wait; give seconds, 0 for not at all"),
        ({"cache_ttl": 1}, "negative_ttl: 5.0 is longer than cache_ttl (1)"),
        ({"allow_preflight": 1}, "allow_preflight: 1 is a int; give a bool"),
    ],
)
def test_each_mistake_is_named(settings: dict[str, Any], expected: str) -> None:
    (problem,) = problems(**settings)
    assert problem.startswith(expected)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        VCAuth(Settings(cost=0, public_paths=("x",), trusted_proxies=("y",), cache_size=0, key_prefixes=()))
    assert [problem.setting for problem in error.value.problems] == [
        "cost",
        "key_prefixes",
        "public_paths",
        "trusted_proxies",
        "cache_size",
    ]
    assert str(error.value).startswith("these settings cannot work:\n  cost: 0 tokens")


def test_scopes_of_ones_own_are_known_when_they_are_listed() -> None:
    assert problems(known_scopes=("images:*",), default_scopes=("images:read",)) == []


def test_every_setting_is_read_from_the_environment() -> None:
    environment = {
        "VC_AUTH_STORE": "sqlite:////srv/keys.db",
        "VC_AUTH_LIMITER": "none",
        "VC_AUTH_PLANS": "free=60/minute:100, gold=10 per 5 seconds:20",
        "VC_AUTH_LIMIT_BY": "project",
        "VC_AUTH_COST": "2",
        "VC_AUTH_RATE_LIMIT_HEADERS": "",
        "VC_AUTH_KEY_PREFIXES": "vc_,sk-",
        "VC_AUTH_PUBLIC_PATHS": "/health, /docs/*",
        "VC_AUTH_ALLOW_PREFLIGHT": "Yes",
        "VC_AUTH_STRIP_AUTHORIZATION": "0",
        "VC_AUTH_CACHE_TTL": "2.5",
        "VC_AUTH_NEGATIVE_TTL": "1",
        "VC_AUTH_CACHE_SIZE": "7",
        "VC_AUTH_TEST_REDIS_URL": "what tests use is no setting",
        "PATH": "/bin",
    }
    assert Settings.from_env(environment) == Settings(
        store="sqlite:////srv/keys.db",
        limiter="none",
        plans=(FREE, Plan("gold", rate="10 per 5 seconds", burst=20)),
        limit_by="project",
        cost=2,
        rate_limit_headers=(),
        key_prefixes=("vc_", "sk-"),
        public_paths=("/health", "/docs/*"),
        allow_preflight=True,
        cache_ttl=2.5,
        negative_ttl=1.0,
        cache_size=7,
    )


def test_what_is_given_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("VC_AUTH_COST=2\nVC_AUTH_CACHE_SIZE=2\nVC_AUTH_LIMITER='none'\n# a comment\nOTHER=1\n")
    settings = Settings.from_env({"VC_AUTH_COST": "3", "VC_AUTH_CACHE_SIZE": "3"}, env_file=file, cost=4)
    assert (settings.cost, settings.cache_size, settings.limiter) == (4, 3, "none")


def test_a_file_is_read_only_if_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("VC_AUTH_COST=2\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({}).cost == 1


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("COST", "many", "cost: VC_AUTH_COST='many' cannot be read; write a whole number"),
        ("CACHE_TTL", "1m", "cache_ttl: VC_AUTH_CACHE_TTL='1m' cannot be read; write seconds as a number"),
        ("ALLOW_PREFLIGHT", "perhaps", "allow_preflight: VC_AUTH_ALLOW_PREFLIGHT='perhaps' cannot be read; write true"),
        ("PLANS", "free", "plans: VC_AUTH_PLANS='free' cannot be read; write plans as name=rate:burst"),
        ("PLANS", "free=60/minute", "plans: VC_AUTH_PLANS='free=60/minute' cannot be read; write plans as"),
        ("PLANS", "free=60/minute:x", "plans: VC_AUTH_PLANS='free=60/minute:x' cannot be read; write plans as"),
        (
            "PLANS",
            "free=0/minute:1",
            "plans: VC_AUTH_PLANS='free=0/minute:1' cannot be read; rate '0/minute' holds a zero",
        ),
        ("PLANS", "", "plans: there are none"),
        ("COST", "0", "cost: 0 tokens would admit everything"),
        ("CACHE_TLL", "1", "VC_AUTH_CACHE_TLL: no such setting; did you mean VC_AUTH_CACHE_TTL?"),
        ("XYZZY", "1", "VC_AUTH_XYZZY: no such setting; remove it"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({f"VC_AUTH_{name}": text})
    (problem,) = error.value.problems
    assert str(problem).startswith(expected)


def test_mistakes_in_reading_and_mistakes_in_meaning_are_reported_together() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"VC_AUTH_COST": "x", "VC_AUTH_CACHE_SIZE": "0", "VC_AUTH_NONSENSE": ""})
    assert {problem.setting for problem in error.value.problems} == {"cost", "cache_size", "VC_AUTH_NONSENSE"}


def test_settings_are_frozen_and_named() -> None:
    with pytest.raises(AttributeError):
        Settings().cost = 2  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        Settings("memory://")  # type: ignore[call-arg]  # that is the point
    assert Settings().plans[1] == PRO

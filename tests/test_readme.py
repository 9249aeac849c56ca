"""What the README says is so: its bodies, its numbers and its code."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from support import FORBIDDEN, App, bearer, call, get, http_scope, new_key

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import BackendError, InsufficientScope
from vc_auth.keys import Headers
from vc_auth.records import KeyRecord
from vc_auth.testing import TurnableClock

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its first two lines."""
    table = re.findall(r"^\|(.*)\|$", README.split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.split("|")] for line in table[2:]]


async def scoped(scope: Any, receive: Any, send: Any) -> None:
    raise InsufficientScope(["cache:write"])


class Failing:
    async def find(self, digest: str) -> KeyRecord | None:
        raise BackendError("gone")


async def answers() -> list[Any]:
    auth = VCAuth(Settings(store="memory://", cost=100), clock=TurnableClock())
    key, other = await new_key(auth), await new_key(auth, "other")
    guarded = APIKeyMiddleware(App(), auth, project="acme")
    nothing: Headers = []
    no_key, malformed, unknown = nothing, [(b"authorization", b"Token x")], bearer("vc_" + "0" * 32)
    replies = [await call(guarded, http_scope(headers)) for headers in (no_key, malformed, unknown, bearer(other))]
    replies.append(await get(APIKeyMiddleware(scoped, VCAuth(Settings(), store=auth.store)), key))
    cheap = APIKeyMiddleware(App(), VCAuth(Settings(), store=auth.store, clock=TurnableClock()))
    for _ in range(101):
        limited = await get(cheap, key)
    replies.append(limited)
    replies.append(await get(APIKeyMiddleware(App(), VCAuth(Settings(), store=Failing())), key))
    return replies


async def test_every_answer_in_the_table_is_the_one_that_is_sent() -> None:
    table, sent = rows("Answers"), await answers()
    assert len(table) == len(sent) == 7
    for (_, status, body, challenge), answer in zip(table, sent, strict=True):
        assert (str(answer.status), answer.body.decode()) == (status, body)
        assert answer.headers.get("www-authenticate", "") == challenge
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers.get("retry-after") == ("1" if status in ("429", "503") else None)


def test_the_plans_in_the_table_are_the_plans() -> None:
    for (name, requests, burst), plan in zip(rows("Plans"), Settings().plans, strict=True):
        assert (plan.name, plan.rate.limit, plan.rate.burst) == (name, f"{requests}/minute", int(burst))


async def test_the_limit_headers_are_those_of_a_first_request() -> None:
    shown = dict(line.split(": ", 1) for line in re.findall(r"^(?:X-)?RateLimit.*: .*$", README, re.MULTILINE))
    auth = VCAuth(Settings(store="memory://"))
    sent = (await get(APIKeyMiddleware(App(), auth), await new_key(auth))).headers
    del shown["X-RateLimit-Reset"], sent["x-ratelimit-reset"]
    del sent["content-length"]
    assert {name.lower(): value for name, value in shown.items()} == sent


def run_blocks() -> dict[str, Any]:
    """What the README's code defines. It names files where it runs."""
    names: dict[str, Any] = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    return names


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return run_blocks()


async def test_the_app_works_as_it_is_written(namespace: dict[str, Any]) -> None:
    app = namespace["app"]
    assert isinstance(app, Starlette)
    key = await namespace["first_key"]()
    answer = await get(app, key, "/check")
    assert (answer.status, answer.body) == (200, b'{"project":"acme","plan":"free"}')
    assert (await get(app, path="/check")).status == 401
    assert (await get(app, path="/health")).status == 404
    await namespace["auth"].usage.flush()
    ((_, *counts),), totals = await namespace["report"]()
    assert counts == [1, 0, 0]
    assert [total.requests for total in totals.values()] == [1]
    await namespace["life"]()
    assert (await get(app, key, "/check")).status == 401, "its project is suspended now"
    await namespace["auth"].aclose()


async def test_the_fastapi_app_works_as_it_is_written(namespace: dict[str, Any]) -> None:
    api, auth = namespace["api"], namespace["api"].user_middleware[0].kwargs["auth"]
    assert (await get(api, await new_key(auth), "/v1/me")).body == b'{"project":"acme","plan":"free"}'
    lacking = await get(api, await new_key(auth, scopes=["analytics:read"]), "/v1/me")
    assert (lacking.status, lacking.body) == (403, FORBIDDEN)
    assert [(await get(api, path=path)).status for path in ("/docs", "/openapi.json", "/redoc")] == [200, 200, 401]
    await auth.aclose()


def test_the_tests_of_an_app_pass_as_they_are_written(namespace: dict[str, Any]) -> None:
    tests = [test for name, test in namespace.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_what_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README):
        assert (Path(__file__).parent.parent / target).exists(), target


def test_the_two_commands_are_there_once_and_the_gate_runs_the_second() -> None:
    commands = re.findall(r"```\n(pip install .*)\n```", README)
    assert commands == ['pip install ".[all]" && vc-auth demo', "pip install tox && tox"]
    gate = Path(__file__).parent.parent / ".ci" / "run"
    assert commands[1] in gate.read_text().splitlines()

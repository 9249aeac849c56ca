"""The http door: answers, headers, public paths, addresses, projects."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from support import (
    FORBIDDEN,
    INVALID,
    MALFORMED,
    MISSING,
    UNAVAILABLE,
    App,
    bearer,
    call,
    get,
    http_scope,
    limited,
    new_key,
)

from vc_auth import APIKeyMiddleware, APIKeyUser, Plan, Settings, VCAuth
from vc_auth.errors import BackendError
from vc_auth.rates import Decision, Rate
from vc_auth.records import KeyRecord
from vc_auth.testing import TurnableClock


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def guarded(app: App, clock: TurnableClock) -> Callable[..., APIKeyMiddleware]:
    def build(project: Any = None, own_store: Any = None, own_limiter: Any = None, **settings: Any) -> APIKeyMiddleware:
        auth = VCAuth(Settings(**{"store": "memory://", **settings}), store=own_store, limiter=own_limiter, clock=clock)
        return APIKeyMiddleware(app, auth, project=project)

    return build


COMMON = {"content-type": "application/json", "cache-control": "no-store"}


@pytest.mark.parametrize(
    ("headers", "body", "challenge"),
    [
        ([], MISSING, 'Bearer realm="vc_auth"'),
        ([(b"authorization", b"Basic x")], MALFORMED, 'Bearer realm="vc_auth", error="invalid_request"'),
        ([(b"authorization", b"Bearer x")], INVALID, 'Bearer realm="vc_auth", error="invalid_token"'),
        (bearer("vc_" + "0" * 32), INVALID, 'Bearer realm="vc_auth", error="invalid_token"'),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "get"])
async def test_the_three_401s(
    guarded: Callable[..., APIKeyMiddleware], app: App, headers: Any, body: bytes, challenge: str, method: str
) -> None:
    answer = await call(guarded(), http_scope(headers, method=method))
    assert answer.status == 401
    assert answer.headers == {**COMMON, "content-length": str(len(body)), "www-authenticate": challenge}
    assert answer.body == (b"" if method == "HEAD" else body)
    assert app.scopes == []


async def test_an_admitted_request_has_a_user_and_its_limit_headers(
    guarded: Callable[..., APIKeyMiddleware], app: App, clock: TurnableClock
) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth)
    scope = http_scope(bearer(key))
    before = dict(scope)
    answer = await call(middleware, scope)
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers == {
        "content-length": "2",
        "ratelimit-policy": '"free";q=100;w=100',
        "ratelimit": '"free";r=99;t=1',
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": "99",
        "x-ratelimit-reset": str(clock.time_ns() // 10**9 + 1),
    }
    assert scope == before, "the server's scope was changed"
    user, credentials = app.scopes[0]["user"], app.scopes[0]["auth"]
    assert isinstance(user, APIKeyUser)
    assert user.is_authenticated
    assert (user.project.name, user.plan.name, user.display_name) == ("acme", "free", "ci")
    assert user.identity == user.key.id
    assert user.decision == Decision(True, 100, 99, 0, 1_000_000, 1_000_000)
    assert "cache:read" in credentials.scopes
    assert "keys:manage" not in credentials.scopes
    assert app.scopes[0]["headers"] is scope["headers"]


async def test_requests_never_share_what_one_of_them_could_change(
    guarded: Callable[..., APIKeyMiddleware], app: App
) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth)
    await get(middleware, key)
    with pytest.raises(AttributeError):
        app.scopes[0]["auth"].scopes = ["keys:manage"]


async def test_whole_seconds_in_headers_are_rounded_up(
    guarded: Callable[..., APIKeyMiddleware], clock: TurnableClock
) -> None:
    middleware = guarded(plans=(Plan("free", rate="4 per 5 seconds", burst=5),))
    key = await new_key(middleware.auth)
    now = clock.time_ns() // 10**9
    clock.advance(us=750_001)
    for full in (3, 4, 5, 6):  # it is full 2.000001, 3.250001, 4.500001 and 5.750001 seconds after `now`
        headers = (await get(middleware, key)).headers
        assert (headers["ratelimit"], headers["x-ratelimit-reset"]) == ('"free";r=4;t=2', str(now + full))
        clock.advance(seconds=1.25)


async def test_a_free_key_sends_100_at_once_and_then_one_a_second(
    guarded: Callable[..., APIKeyMiddleware], app: App, clock: TurnableClock
) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth)
    for left in reversed(range(100)):
        answer = await get(middleware, key)
        assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (200, str(left))
    answer = await get(middleware, key)
    assert (answer.status, answer.body) == (429, limited(1))
    now = clock.time_ns() // 10**9
    assert answer.headers == {
        **COMMON,
        "content-length": str(len(limited(1))),
        "retry-after": "1",
        "ratelimit-policy": '"free";q=100;w=100',
        "ratelimit": '"free";r=0;t=1',
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(now + 100),
    }
    clock.advance(us=999_999)
    assert (await get(middleware, key)).status == 429
    clock.advance(us=1)
    assert (await get(middleware, key)).status == 200
    assert (await get(middleware, key)).status == 429
    clock.advance(seconds=40)
    assert [(await get(middleware, key)).status for _ in range(41)] == [200] * 40 + [429]
    assert len(app.scopes) == 141


@pytest.mark.parametrize(("plan", "burst", "interval_us"), [("pro", 1_000, 100_000), ("enterprise", 10_000, 10_000)])
async def test_the_larger_plans_likewise(
    guarded: Callable[..., APIKeyMiddleware], clock: TurnableClock, plan: str, burst: int, interval_us: int
) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth, plan=plan)
    assert [(await get(middleware, key)).status for _ in range(burst)] == [200] * burst
    assert (await get(middleware, key)).status == 429
    clock.advance(us=interval_us - 1)
    assert (await get(middleware, key)).status == 429
    clock.advance(us=1)
    assert (await get(middleware, key)).status == 200


async def test_a_rotated_key_and_its_successor_share_what_is_left(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded()
    registry = middleware.auth.registry
    await registry.create_project("acme")
    old = await registry.create_key("acme", "ci")
    for _ in range(60):
        await get(middleware, old.secret.reveal())
    new = await registry.rotate_key(old.record.id)
    assert (await get(middleware, new.secret.reveal())).headers["x-ratelimit-remaining"] == "39"
    assert (await get(middleware, old.secret.reveal())).headers["x-ratelimit-remaining"] == "38"


@pytest.mark.parametrize(("plan", "left"), [("pro", 1_000 - 41), ("free", 59)])
async def test_a_change_of_plan_keeps_the_debt(guarded: Callable[..., APIKeyMiddleware], plan: str, left: int) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth, plan="enterprise")
    for _ in range(40):
        await get(middleware, key)
    await middleware.auth.registry.change_plan("acme", plan)
    answer = await get(middleware, key)
    assert (answer.headers["x-ratelimit-remaining"], answer.headers["ratelimit-policy"][1:4]) == (str(left), plan[:3])


async def test_a_project_may_own_the_bucket(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded(limit_by="project")
    one, other = await new_key(middleware.auth), await new_key(middleware.auth)
    assert (await get(middleware, one)).headers["x-ratelimit-remaining"] == "99"
    assert (await get(middleware, other)).headers["x-ratelimit-remaining"] == "98"


async def test_a_cost_takes_so_many_tokens(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded(cost=30)
    key = await new_key(middleware.auth)
    assert [(await get(middleware, key)).status for _ in range(4)] == [200, 200, 200, 429]
    assert (await get(middleware, key)).body == limited(20)


@pytest.mark.parametrize(
    ("families", "present"),
    [
        ((), set()),
        (("RateLimit",), {"ratelimit", "ratelimit-policy"}),
        (("X-RateLimit",), {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
    ],
)
async def test_which_limit_headers_are_sent_is_a_setting(
    guarded: Callable[..., APIKeyMiddleware], families: tuple[str, ...], present: set[str]
) -> None:
    middleware = guarded(rate_limit_headers=families, cost=100)
    key = await new_key(middleware.auth)
    for status in (200, 429):
        answer = await get(middleware, key)
        assert answer.status == status
        assert {name for name in answer.headers if "ratelimit" in name} == present


async def test_without_a_limiter_there_are_no_limits_and_no_headers(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded(limiter="none")
    key = await new_key(middleware.auth)
    for _ in range(150):
        answer = await get(middleware, key)
        assert (answer.status, answer.headers) == (200, {"content-length": "2"})


@pytest.mark.parametrize(
    ("rate", "burst", "window"),
    [("1000/second", 1_500, 2), ("7/minute", 7, 60), ("7/minute", 8, 69), ("7000/hour", 7_000, 3_600)],
)
async def test_a_window_of_a_fraction_is_rounded_up_in_the_policy(
    guarded: Callable[..., APIKeyMiddleware], rate: str, burst: int, window: int
) -> None:
    middleware = guarded(plans=(Plan("free", rate=rate, burst=burst),))
    answer = await get(middleware, await new_key(middleware.auth))
    assert answer.headers["ratelimit-policy"] == f'"free";q={burst};w={window}'


async def test_what_the_application_says_of_its_limits_is_left_alone(clock: TurnableClock) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": ((b"X-RateLimit-Limit", b"7"), (b"ratelimit", b"mine")),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    auth = VCAuth(Settings(store="memory://"), clock=clock)
    answer = await get(APIKeyMiddleware(app, auth), await new_key(auth))
    assert answer.headers == {
        "X-RateLimit-Limit": "7",
        "ratelimit": "mine",
        "ratelimit-policy": '"free";q=100;w=100',
        "x-ratelimit-remaining": "99",
        "x-ratelimit-reset": str(clock.time_ns() // 10**9 + 1),
    }
    assert len(start["headers"]) == 2, "the application's own message was changed"


async def test_an_answer_without_headers_gets_ours() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})

    auth = VCAuth(Settings(store="memory://"))
    answer = await get(APIKeyMiddleware(app, auth), await new_key(auth))
    assert answer.headers["x-ratelimit-limit"] == "100"


# -- projects ----------------------------------------------------------------------------------------------------------


async def test_a_key_of_another_project_is_forbidden_and_takes_no_token(
    guarded: Callable[..., APIKeyMiddleware], app: App
) -> None:
    middleware = guarded(project="acme")
    ours, theirs = await new_key(middleware.auth), await new_key(middleware.auth, "other")
    assert (await get(middleware, ours)).status == 200
    answer = await get(middleware, theirs)
    assert (answer.status, answer.body) == (403, FORBIDDEN)
    assert answer.headers == {**COMMON, "content-length": str(len(FORBIDDEN))}
    assert len(app.scopes) == 1
    unbound = APIKeyMiddleware(app, middleware.auth)
    assert (await get(unbound, theirs)).headers["x-ratelimit-remaining"] == "99"


async def test_a_function_reads_from_the_scope_which_project_is_addressed(
    guarded: Callable[..., APIKeyMiddleware],
) -> None:
    middleware = guarded(project=lambda scope: scope["path"].strip("/") or None)
    key = await new_key(middleware.auth)
    project = await middleware.auth.registry.get_project("acme")
    for path, status in [("/acme", 200), (f"/{project.id}", 200), ("/other", 403), ("/ACME", 403), ("/", 200)]:
        assert (await get(middleware, key, path)).status == status


async def test_no_project_is_forbidden_by_an_empty_name(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded(project=lambda scope: "")
    assert (await get(middleware, await new_key(middleware.auth))).status == 403


# -- public paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/health", True),
        ("/docs", True),
        ("/docs/", True),
        ("/docs/a/b", True),
        ("/healthz", False),
        ("/health/", False),
        ("/Health", False),
        ("//health", False),
        ("health", False),
        ("", False),
        ("/health/../admin", False),
        ("/docs/../admin", False),
        ("/docs//admin", False),
        ("/docs/a;b", False),
        ("/docs/a\\b", False),
        ("/docs/a\x00", False),
        ("/docs/%2e%2e", False),
        ("/docs/a?b", False),
        ("/docs/a#b", False),
        ("/docsx", False),
        ("/health%2Fadmin", False),
        ("/health?x", False),
        ("/admin", False),
    ],
)
async def test_public_paths_are_compared_exactly(
    guarded: Callable[..., APIKeyMiddleware], app: App, path: str, public: bool
) -> None:
    middleware = guarded(public_paths=("/health", "/docs/*"))
    host = [(b"host", b"x/health?")]
    answer = await call(middleware, http_scope(host, path, query_string=b"/health"))
    assert (answer.status, answer.body) == ((200, b"ok") if public else (401, MISSING))


async def test_a_public_request_has_no_user_and_no_scopes_whatever_it_carries(
    guarded: Callable[..., APIKeyMiddleware], app: App
) -> None:
    middleware = guarded(public_paths=("/health",))
    key = await new_key(middleware.auth)
    for headers in ([], bearer(key), bearer("nonsense")):
        answer = await call(middleware, http_scope(headers, "/health"))
        assert (answer.status, answer.headers) == (200, {"content-length": "2"})
        assert not app.scopes[-1]["user"].is_authenticated
        assert app.scopes[-1]["auth"].scopes == frozenset()
    assert (await get(middleware, key)).headers["x-ratelimit-remaining"] == "99"


async def test_public_paths_are_the_routers_paths_below_a_root_path(
    guarded: Callable[..., APIKeyMiddleware],
) -> None:
    middleware = guarded(public_paths=("/health",))
    for path, status in [("/api/health", 200), ("/health", 200), ("/api", 401), ("/apix/health", 401)]:
        assert (await call(middleware, http_scope([], path, root_path="/api"))).status == status


@pytest.mark.parametrize(
    ("method", "names", "let_through"),
    [
        ("OPTIONS", [b"origin", b"Access-Control-Request-Method"], True),
        ("OPTIONS", [b"origin"], False),
        ("OPTIONS", [b"access-control-request-method"], False),
        ("POST", [b"origin", b"access-control-request-method"], False),
    ],
)
async def test_only_true_preflights_pass_and_only_if_they_may(
    guarded: Callable[..., APIKeyMiddleware], method: str, names: list[bytes], let_through: bool
) -> None:
    scope = http_scope([(name, b"x") for name in names], method=method)
    assert (await call(guarded(), scope)).status == 401
    assert (await call(guarded(allow_preflight=True), scope)).status == (200 if let_through else 401)


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("10.1.2.3", 1), 200),
        (("::ffff:10.1.2.3", 1), 200),
        (("2001:db8::7", 1), 200),
        (("11.1.2.3", 1), 403),
        (("2001:db9::7", 1), 403),
        (("testclient", 1), 403),
        (("", 0), 403),
        (None, 403),
    ],
)
async def test_a_key_works_only_from_its_networks(
    guarded: Callable[..., APIKeyMiddleware], client: tuple[str, int] | None, status: int
) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth, allowed_networks=["10.0.0.0/8", "2001:db8::/32"])
    assert (await get(middleware, key, client=client)).status == status


@pytest.mark.parametrize(
    ("client", "forwarded", "status"),
    [
        ("192.0.2.1", [b"10.1.2.3"], 200),
        ("192.0.2.1", [b"6.6.6.6, 10.1.2.3"], 200),
        ("192.0.2.1", [b"6.6.6.6", b"10.1.2.3,192.0.2.9"], 200),
        ("192.0.2.1", [b"10.1.2.3, 6.6.6.6"], 403),
        ("192.0.2.1", [b"10.1.2.3, nonsense"], 403),
        ("192.0.2.1", [b""], 403),
        ("192.0.2.1", [], 403),
        ("6.6.6.6", [b"10.1.2.3"], 403),
        ("10.1.2.3", [b"6.6.6.6"], 200),
    ],
)
async def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(
    guarded: Callable[..., APIKeyMiddleware], client: str, forwarded: list[bytes], status: int
) -> None:
    middleware = guarded(trusted_proxies=("192.0.2.0/24",))
    key = await new_key(middleware.auth, allowed_networks=["10.0.0.0/8"])
    headers = [*bearer(key), *((b"X-Forwarded-For", value) for value in forwarded)]
    assert (await call(middleware, http_scope(headers, client=(client, 1)))).status == status


async def test_nobody_is_trusted_by_default(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded()
    key = await new_key(middleware.auth, allowed_networks=["10.0.0.0/8"])
    headers = [*bearer(key), (b"x-forwarded-for", b"10.1.2.3")]
    assert (await call(middleware, http_scope(headers))).status == 403


# -- the store and the limiter -----------------------------------------------------------------------------------------


async def test_a_store_that_fails_is_answered_503(guarded: Callable[..., APIKeyMiddleware]) -> None:
    class Store:
        async def find(self, digest: str) -> KeyRecord | None:
            raise OSError("connection refused")

    answer = await get(guarded(own_store=Store()), "vc_" + "0" * 32)
    assert (answer.status, answer.body) == (503, UNAVAILABLE)
    assert answer.headers == {**COMMON, "content-length": str(len(UNAVAILABLE)), "retry-after": "1"}


async def test_a_limiter_that_fails_is_answered_503_and_told_in_a_log_line(
    guarded: Callable[..., APIKeyMiddleware], app: App, caplog: pytest.LogCaptureFixture
) -> None:
    class Limiter:
        async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
            raise BackendError("gone")

    middleware = guarded(own_limiter=Limiter())
    answer = await get(middleware, await new_key(middleware.auth))
    assert (answer.status, answer.body) == (503, UNAVAILABLE)
    assert app.scopes == []
    lines = [record.getMessage() for record in caplog.records if record.name == "vc_auth"]
    assert lines == ["limiter failed: BackendError('gone')"]


async def test_a_record_whose_plan_is_unknown_gets_503_and_one_log_line(
    guarded: Callable[..., APIKeyMiddleware], caplog: pytest.LogCaptureFixture
) -> None:
    store = guarded().auth.store
    middleware = guarded(own_store=store, plans=(Plan("gold", rate="1/second", burst=1),))
    key = await new_key(APIKeyMiddleware(App(), VCAuth(Settings(), store=store)).auth)
    for _ in range(3):
        assert (await get(middleware, key)).body == UNAVAILABLE
    assert [record.getMessage() for record in caplog.records if record.name == "vc_auth"] == [
        "plan 'free' is not in the settings; its projects' requests are answered 503"
    ]


# -- the order of checks -----------------------------------------------------------------------------------------------


async def test_what_is_wrong_first_in_the_contracts_order_is_said(
    guarded: Callable[..., APIKeyMiddleware], clock: TurnableClock
) -> None:
    middleware = guarded(project="acme", cost=100)
    registry = middleware.auth.registry
    await registry.create_project("other")
    stranger = await registry.create_key("other", "ci", allowed_networks=["10.0.0.0/8"], expires_in=timedelta(hours=1))
    key = stranger.secret.reveal()
    await registry.create_project("acme")
    ours = await registry.create_key("acme", "ci", allowed_networks=["203.0.113.0/24"])
    assert (await get(middleware, key)).status == 403
    assert (await get(middleware, ours.secret.reveal())).status == 200
    assert (await get(middleware, ours.secret.reveal(), client=None)).status == 403, (
        "the address comes before the bucket"
    )
    assert (await get(middleware, ours.secret.reveal())).status == 429
    await registry.suspend_project("other")
    assert (await get(middleware, key)).body == INVALID, "the key's life comes before its project"
    await registry.resume_project("other")
    clock.advance(seconds=3_599.999999)
    assert (await get(middleware, key)).status == 403
    clock.advance(us=1)
    assert (await get(middleware, key)).body == INVALID


# -- what is passed on -------------------------------------------------------------------------------------------------


async def test_the_application_sees_no_authorization_line_if_it_shall_not(
    guarded: Callable[..., APIKeyMiddleware], app: App
) -> None:
    middleware = guarded(strip_authorization=True, public_paths=("/health",))
    headers = [(b"host", b"h"), (b"AUTHORIZATION", bearer(await new_key(middleware.auth))[1][1]), (b"x", b"y")]
    for path in ("/", "/health"):
        assert (await call(middleware, http_scope(headers, path))).status == 200
        assert app.scopes[-1]["headers"] == [(b"host", b"h"), (b"x", b"y")]


async def test_a_scope_with_the_bare_minimum_is_enough(guarded: Callable[..., APIKeyMiddleware]) -> None:
    middleware = guarded(public_paths=("/health",))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": bearer(await new_key(middleware.auth))}
    assert (await call(middleware, scope)).status == 200
    assert (await call(middleware, {**scope, "headers": ()})).status == 401


@pytest.mark.parametrize("kind", ["http2", "webtransport", ""])
async def test_an_unknown_scope_type_is_refused(guarded: Callable[..., APIKeyMiddleware], app: App, kind: str) -> None:
    with pytest.raises(ValueError, match="cannot guard a scope of type"):
        await call(guarded(), {"type": kind})
    assert app.scopes == []


async def test_the_same_guard_twice_in_one_stack_charges_once(clock: TurnableClock) -> None:
    app, auth = App(), VCAuth(Settings(store="memory://"), clock=clock)
    key = await new_key(auth)
    answer = await get(APIKeyMiddleware(APIKeyMiddleware(app, auth), auth), key)
    assert answer.headers["x-ratelimit-remaining"] == "99"
    assert app.scopes[0]["user"].project.name == "acme"


async def test_the_inner_one_of_two_still_asks_for_its_own_project() -> None:
    app, auth = App(), VCAuth(Settings(store="memory://"))
    key = await new_key(auth)
    for project, status in [("acme", 200), ("other", 403)]:
        stack = APIKeyMiddleware(APIKeyMiddleware(app, auth, project=project), auth)
        answer = await get(stack, key)
        assert answer.status == status
    assert answer.headers["x-ratelimit-remaining"] == "98"


async def test_the_inner_one_of_two_may_read_its_project_from_the_request() -> None:
    app, auth = App(), VCAuth(Settings(store="memory://"))
    stack = APIKeyMiddleware(APIKeyMiddleware(app, auth, project=lambda scope: scope["path"][1:] or None), auth)
    key = await new_key(auth)
    for path, status in [("/acme", 200), ("/other", 403), ("/", 200)]:
        assert (await get(stack, key, path)).status == status


async def test_two_different_guards_in_one_stack_each_do_their_work() -> None:
    app, one, other = App(), VCAuth(Settings(store="memory://")), VCAuth(Settings(store="memory://"))
    key = await new_key(one)
    stack = APIKeyMiddleware(APIKeyMiddleware(app, other), one)
    assert (await get(stack, key)).body == INVALID


async def test_streams_go_out_as_they_come_and_the_body_is_never_read() -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            assert sent[-1]["body"] == part
        await send({"type": "http.response.body"})

    async def receive() -> Any:
        raise AssertionError("nobody asked for the body")

    async def send(message: Any) -> None:
        sent.append(message)

    auth = VCAuth(Settings(store="memory://"))
    await APIKeyMiddleware(app, auth)(http_scope(bearer(await new_key(auth))), receive, send)
    assert len(sent) == 4


async def test_settings_come_from_the_environment_or_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_PUBLIC_PATHS", "/health")
    app = App()
    assert (await get(APIKeyMiddleware(app), path="/health")).status == 200
    assert (await get(APIKeyMiddleware(app, settings=Settings(store="memory://")), path="/health")).status == 401
    sentence = "^give APIKeyMiddleware either auth= or settings=: an auth has its settings already$"
    with pytest.raises(TypeError, match=sentence):
        APIKeyMiddleware(app, VCAuth(Settings(store="memory://")), settings=Settings(store="memory://"))

"""The demo's application, without a server."""

import json
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from httpx2 import Response
from starlette.applications import Starlette
from starlette.testclient import TestClient
from support import bearer, call, http_scope

from vc_auth import Settings, VCAuth
from vc_auth.cli.demo.app import LONGEST_BODY, ResponseCache, create_app
from vc_auth.errors import BackendError

QUESTION = {"messages": [{"role": "user", "content": "What is a token bucket?"}]}


@pytest.fixture
def auth() -> VCAuth:
    return VCAuth(Settings(store="memory://", public_paths=("/health",)))


@pytest.fixture
def app(auth: VCAuth) -> Starlette:
    return create_app(auth)


@pytest.fixture
def client(app: Starlette, auth: VCAuth) -> Iterator[TestClient]:
    async def issue() -> str:
        return (await auth.registry.create_key(await auth.registry.create_project("acme"), "ci")).secret.reveal()

    with TestClient(app) as client:
        assert client.portal is not None
        client.headers["Authorization"] = f"Bearer {client.portal.call(issue)}"
        yield client


def words(response: Response) -> tuple[int, object]:
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


def test_health_is_public(client: TestClient) -> None:
    del client.headers["Authorization"]
    assert words(client.get("/health")) == (200, {"status": "ok"})


def test_a_conversation_is_answered_the_second_time_from_the_cache(client: TestClient) -> None:
    response = "I thought hard about your 23 characters. The answer is 42."
    assert words(client.post("/api/v1/check", json=QUESTION)) == (200, {"hit": False, "response": response})
    assert words(client.post("/api/v1/check", json=QUESTION)) == (200, {"hit": True, "response": response})


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "user", "content": "what is a token bucket?"}],
        [{"role": "system", "content": "What is a token bucket?"}],
        [*QUESTION["messages"], *QUESTION["messages"]],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": "\ud83e"}],  # half a surrogate pair, which no encoder would take
    ],
)
def test_only_the_very_same_conversation_is_a_hit(client: TestClient, other: list[dict[str, str]]) -> None:
    client.post("/api/v1/check", json=QUESTION)
    response = client.post("/api/v1/check", content=json.dumps({"messages": other}))
    assert (response.status_code, response.json()["hit"]) == (200, False)


def test_the_order_of_members_makes_no_other_conversation(client: TestClient) -> None:
    client.post("/api/v1/check", json=QUESTION)
    turned = b'{"messages":[{"content":"What is a token bucket?","role":"user"}]}'
    assert client.post("/api/v1/check", content=turned).json()["hit"] is True


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000, b'{"messages":' + b"9" * 5_000 + b"}"])
def test_what_is_not_json_is_a_400(client: TestClient, body: bytes) -> None:
    said = {"error": "Bad Request", "message": "The body is not JSON.", "status": 400}
    assert words(client.post("/api/v1/check", content=body)) == (400, said)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"messages": None},
        {"messages": []},
        {"messages": {"role": "user", "content": "hi"}},
        {"messages": ["hi"]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 1}]},
        {"messages": [{"role": "user", "content": "hi", "name": "me"}]},
        {"messages": [*QUESTION["messages"], "hi"]},
    ],
)
def test_another_shape_is_a_422_that_shows_the_right_one(client: TestClient, data: object) -> None:
    status, said = words(client.post("/api/v1/check", content=json.dumps(data)))
    assert status == 422
    assert said == {
        "error": HTTPStatus(422).phrase,  # Python 3.13 renamed it
        "message": 'The body must look like {"messages":[{"role":"user","content":"..."}]}, with at least one message.',
        "status": 422,
    }


def test_a_body_may_have_64_kib_and_not_one_byte_more(client: TestClient) -> None:
    longest = json.dumps(QUESTION).encode().ljust(LONGEST_BODY)
    assert client.post("/api/v1/check", content=longest).status_code == 200
    status, said = words(client.post("/api/v1/check", content=longest + b" "))
    assert status == 413
    assert "longer than 65536 bytes" in str(said)


async def test_a_body_that_ends_early_is_no_error_of_the_server(app: Starlette, auth: VCAuth) -> None:
    key = await auth.registry.create_key(await auth.registry.create_project("acme"), "ci")
    scope = http_scope(bearer(key.secret.reveal()), "/api/v1/check", "POST")
    answer = await call(app, scope, {"type": "http.request", "body": b"{", "more_body": True})
    assert answer.status == 400


def test_usage_says_what_the_key_has_left_and_was_used_for_after_this_request(client: TestClient) -> None:
    response = client.get("/api/v1/usage")
    display = client.headers["Authorization"].removeprefix("Bearer ")[:7] + "..."
    left = {"project": "acme", "plan": "free", "key": display, "limit": 100, "remaining": 99, "reset": 1}
    counted = {"admitted": 1, "limited": 0, "forbidden": 0}
    assert words(response) == (200, {**left, "last_30_days": counted})
    assert response.headers["ratelimit"] == '"free";r=99;t=1'


def test_usage_of_a_store_that_is_away_is_a_503(
    client: TestClient, auth: VCAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise BackendError("away")

    monkeypatch.setattr(auth.source, "usage_by_hour", away)
    assert words(client.get("/api/v1/usage"))[0] == 503


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("GET", "/api/v1/check", 405)])
def test_starlettes_own_answers_are_json_as_well(client: TestClient, method: str, path: str, status: int) -> None:
    answered, said = words(client.request(method, path))
    assert answered == status
    assert isinstance(said, dict)
    assert said["status"] == status


def test_another_projects_key_is_refused(client: TestClient, auth: VCAuth) -> None:
    async def issue() -> str:
        return (await auth.registry.create_key(await auth.registry.create_project("globex"), "ci")).secret.reveal()

    assert client.portal is not None
    headers = {"Authorization": f"Bearer {client.portal.call(issue)}"}
    assert client.post("/api/v1/check", json=QUESTION, headers=headers).status_code == 403


def test_the_cache_keeps_projects_apart() -> None:
    cache = ResponseCache()
    assert [cache.get_or_make(project, QUESTION["messages"])[0] for project in ("a", "b", "a")] == [False, False, True]


def test_the_cache_is_bounded_and_drops_what_was_not_asked_for_longest() -> None:
    cache = ResponseCache(size=2)
    asked = [cache.get_or_make("a", [{"role": "user", "content": question}])[0] for question in "xyxzxy"]
    assert asked == [False, False, True, False, True, False]

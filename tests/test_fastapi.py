"""vc_auth.fastapi: routes get their user, refusals are the contract's own, and OpenAPI says so."""

import copy
import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.security import SecurityScopes
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from support import FORBIDDEN, INVALID, MALFORMED, MISSING, UNAVAILABLE, limited

from vc_auth import APIKeyMiddleware, APIKeyUser, Settings
from vc_auth.fastapi import RESPONSES, APIKeyBearer
from vc_auth.testing import MemoryAuth, bearer, some_user

Reader = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["cache:read"])]
Manager = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["keys:manage"])]
CHALLENGE = 'Bearer realm="vc_auth", error="insufficient_scope", scope="keys:manage"'


async def reads(user: Reader) -> dict[str, Any]:
    return {"project": user.project.name, "plan": user.plan.name}


async def manages(user: Manager) -> None:
    raise AssertionError("it was let in")


def manages_in_a_thread(user: APIKeyUser = Security(APIKeyBearer(), scopes=["keys:manage"])) -> None:  # noqa: B008
    raise AssertionError("it was let in")


async def anyone() -> str:
    return "hello"


def app_of(*routes: tuple[str, Callable[..., Any]], **options: Any) -> FastAPI:
    app = FastAPI(**options)
    for path, endpoint in routes:
        app.add_api_route(path, endpoint)
    return app


def guarded(app: FastAPI, **settings: Any) -> TestClient:
    auth = MemoryAuth(Settings(**settings))
    app.add_middleware(APIKeyMiddleware, auth=auth)
    return TestClient(app, headers=auth.headers)


def assert_refused(answer: Any, remaining: int = 99) -> None:
    assert (answer.status_code, answer.content) == (403, FORBIDDEN)
    assert answer.headers["www-authenticate"] == CHALLENGE
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-ratelimit-remaining"] == str(remaining)


# -- a route and its user ----------------------------------------------------------------------------------------------


def test_a_route_gets_its_user() -> None:
    answer = guarded(app_of(("/", reads))).get("/")
    assert answer.json() == {"project": "acme", "plan": "free"}
    assert answer.headers["x-ratelimit-remaining"] == "99"


def test_a_route_may_ask_for_the_user_alone() -> None:
    async def endpoint(user: Annotated[APIKeyUser, Depends(APIKeyBearer())]) -> str:
        return user.display_name

    assert guarded(app_of(("/", endpoint))).get("/").json() == "tests"


def below_a_router(endpoint: Callable[..., Any]) -> FastAPI:
    router = APIRouter(prefix="/below", dependencies=[Security(APIKeyBearer(), scopes=["keys:manage"])])
    router.add_api_route("/", anyone)
    app = FastAPI()
    app.include_router(router)
    return app


def below_an_app(endpoint: Callable[..., Any]) -> FastAPI:
    return app_of(("/below/", anyone), dependencies=[Security(APIKeyBearer(), scopes=["keys:manage"])])


def below_another_dependency(endpoint: Callable[..., Any]) -> FastAPI:
    async def current(user: Annotated[APIKeyUser, Security(APIKeyBearer())]) -> APIKeyUser:
        return user

    async def asking(user: Annotated[APIKeyUser, Security(current, scopes=["keys:manage"])]) -> None:
        raise AssertionError("it was let in")

    return app_of(("/below/", asking))


def plain(endpoint: Callable[..., Any]) -> FastAPI:
    return app_of(("/below/", endpoint))


def mounted(endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    app = FastAPI()
    app.mount("/below", app_of(("/", endpoint), **options))
    return app


def mounted_in_debug_mode(endpoint: Callable[..., Any]) -> FastAPI:
    return mounted(endpoint, debug=True)


def mounted_with_a_handler_of_all(endpoint: Callable[..., Any]) -> FastAPI:
    async def teapot(connection: HTTPConnection, error: Exception) -> None:
        raise AssertionError("a denial is none of its business")

    return mounted(endpoint, exception_handlers={KeyError: teapot})


@pytest.mark.parametrize("endpoint", [manages, manages_in_a_thread])
@pytest.mark.parametrize(
    "build",
    [
        plain,
        below_a_router,
        below_an_app,
        below_another_dependency,
        mounted,
        mounted_in_debug_mode,
        mounted_with_a_handler_of_all,
    ],
)
def test_a_key_that_lacks_a_scope_gets_the_contracts_own_403(
    build: Callable[..., FastAPI], endpoint: Callable[..., Any]
) -> None:
    assert_refused(guarded(build(endpoint)).get("/below/"))


def test_scopes_of_a_router_and_of_its_route_are_all_needed() -> None:
    router = APIRouter(dependencies=[Security(APIKeyBearer(), scopes=["analytics:read"])])
    router.add_api_route("/", reads)
    app = FastAPI()
    app.include_router(router)
    auth = MemoryAuth()
    app.add_middleware(APIKeyMiddleware, auth=auth)
    client = TestClient(app, headers=auth.headers)
    assert client.get("/").status_code == 200
    for scopes, lacking in ((["cache:read"], "analytics:read"), (["analytics:read"], "cache:read")):
        answer = client.get("/", headers=bearer(auth.new_key(scopes=scopes)))
        assert (answer.status_code, answer.content) == (403, FORBIDDEN)
        assert answer.headers["www-authenticate"].endswith(f'scope="{lacking}"')


def test_a_dependency_that_yields_is_closed_when_a_scope_is_lacking() -> None:
    seen: list[str] = []

    async def session() -> Any:
        try:
            yield
        except Exception as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append("closed")

    async def endpoint(session: Annotated[None, Depends(session)], user: Manager) -> None:
        raise AssertionError("it was let in")

    assert_refused(guarded(app_of(("/", endpoint))).get("/"))
    assert seen == ["InsufficientScope", "closed"]


# -- websockets --------------------------------------------------------------------------------------------------------


def with_websockets(app: FastAPI) -> FastAPI:
    @app.websocket("/reads")
    async def reads(websocket: WebSocket, user: Reader) -> None:
        await websocket.accept()
        await websocket.send_text(user.project.name)
        await websocket.close()

    @app.websocket("/manages")
    async def manages(websocket: WebSocket, user: Manager) -> None:
        raise AssertionError("it was let in")

    return app


def mounted_websockets() -> FastAPI:
    app = FastAPI()
    app.mount("/below", with_websockets(FastAPI()))
    return app


@pytest.mark.parametrize(
    ("build", "prefix"), [(lambda: with_websockets(FastAPI()), ""), (mounted_websockets, "/below")]
)
def test_a_websocket_gets_its_user_or_a_refusal(build: Callable[[], FastAPI], prefix: str) -> None:
    client = guarded(build())
    with client.websocket_connect(f"{prefix}/reads") as websocket:
        assert websocket.receive_text() == "acme"
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(f"{prefix}/manages"):
        pass
    assert_refused(closed.value, remaining=98)


# -- public paths, other users, no middleware --------------------------------------------------------------------------


def test_a_public_path_has_no_user_to_give() -> None:
    async def endpoint(user: Annotated[APIKeyUser, Security(APIKeyBearer())]) -> None:
        raise AssertionError("it was let in")

    client = guarded(app_of(("/", endpoint), ("/scoped", manages)), public_paths=("/", "/scoped"))
    answer = client.get("/")
    assert (answer.status_code, answer.content) == (403, FORBIDDEN)
    assert "www-authenticate" not in answer.headers
    assert client.get("/scoped").headers["www-authenticate"] == CHALLENGE


class Somebody(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        return AuthCredentials(["keys:manage", "cache:read"]), SimpleUser("somebody")


@pytest.mark.parametrize("endpoint", [reads, manages])
def test_the_user_of_another_middleware_is_none_of_ours(endpoint: Callable[..., Any]) -> None:
    app = app_of(("/", endpoint), middleware=[Middleware(AuthenticationMiddleware, backend=Somebody())])
    answer = guarded(app).get("/")
    assert (answer.status_code, answer.content) == (403, FORBIDDEN)


def test_without_the_middleware_an_error_says_which_line_to_add() -> None:
    sentence = r"APIKeyBearer needs vc_auth's middleware: app\.add_middleware\(vc_auth\.APIKeyMiddleware, auth=auth\)"
    with pytest.raises(RuntimeError, match=sentence):
        TestClient(app_of(("/", reads))).get("/")


@pytest.mark.parametrize("scope", ["keys manage", 'keys:manage"', "", "naïve"])
def test_what_is_no_scope_is_an_error_and_never_a_challenge(scope: str) -> None:
    async def endpoint(user: Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=[scope])]) -> None:
        raise AssertionError("it was let in")

    with pytest.raises(ValueError, match="is no scope"):
        guarded(app_of(("/", endpoint))).get("/")


# -- users' own tests --------------------------------------------------------------------------------------------------


def test_a_dependency_override_gives_routes_any_user() -> None:
    app = app_of(("/", reads), ("/manages", manages_in_a_thread))
    app.dependency_overrides[APIKeyBearer()] = lambda: some_user()  # noqa: PLW0108  # FastAPI would fill its parameters
    assert TestClient(app).get("/").json() == {"project": "acme", "plan": "free"}
    with pytest.raises(AssertionError, match="it was let in"):
        TestClient(app).get("/manages")


def test_an_override_may_look_at_the_scopes() -> None:
    async def user(scopes: SecurityScopes) -> APIKeyUser:
        return some_user(name=scopes.scope_str)

    async def endpoint(user: Reader) -> str:
        return user.display_name

    app = app_of(("/", endpoint))
    app.dependency_overrides[APIKeyBearer()] = user
    assert TestClient(app).get("/").json() == "cache:read"


def test_schemes_are_told_apart_by_their_names() -> None:
    assert APIKeyBearer() == APIKeyBearer(description="Another text.")
    assert hash(APIKeyBearer()) == hash(APIKeyBearer(description="Another text."))
    assert APIKeyBearer() != APIKeyBearer(scheme_name="Admin")
    assert APIKeyBearer() != "APIKeyBearer"


# -- OpenAPI -----------------------------------------------------------------------------------------------------------


def test_openapi_shows_the_scheme_and_the_scopes_of_each_route() -> None:
    document = app_of(("/reads", reads), ("/manages", manages_in_a_thread), ("/anyone", anyone)).openapi()
    scheme = {"type": "http", "scheme": "bearer", "description": "Your API key."}
    assert document["components"]["securitySchemes"] == {"APIKeyBearer": scheme}
    assert document["paths"]["/reads"]["get"]["security"] == [{"APIKeyBearer": ["cache:read"]}]
    assert document["paths"]["/manages"]["get"]["security"] == [{"APIKeyBearer": ["keys:manage"]}]
    assert "security" not in document["paths"]["/anyone"]["get"]
    assert document["paths"]["/reads"]["get"].get("parameters", []) == []


def test_the_scheme_may_have_another_name() -> None:
    bearer_of_admins = APIKeyBearer(scheme_name="Admin", description="For operators.")
    document = app_of(("/", anyone), dependencies=[Security(bearer_of_admins, scopes=["keys:manage"])]).openapi()
    assert document["components"]["securitySchemes"]["Admin"]["description"] == "For operators."
    assert document["paths"]["/"]["get"]["security"] == [{"Admin": ["keys:manage"]}]


def test_the_responses_are_the_documented_ones() -> None:
    bodies = {
        (status, body["value"]["error"]): json.dumps(body["value"], separators=(",", ":")).encode()
        for status, response in RESPONSES.items()
        for body in response["content"]["application/json"]["examples"].values()
    }
    assert bodies == {
        (401, "Missing API key"): MISSING,
        (401, "Invalid authorization format"): MALFORMED,
        (401, "Invalid API key"): INVALID,
        (403, "Forbidden"): FORBIDDEN,
        (429, "Rate limit exceeded"): limited(1),
        (503, "Service unavailable"): UNAVAILABLE,
    }


def test_the_responses_headers_are_those_that_are_sent() -> None:
    """All but what says how the body is carried."""
    client = guarded(app_of(("/", reads), ("/manages", manages)))
    answers = {401: client.get("/", headers=bearer("vc_" + "0" * 32)), 403: client.get("/manages")}
    for _ in range(100):
        answers[429] = client.get("/")
    for status, answer in answers.items():
        assert answer.status_code == status
        documented = RESPONSES[status]["headers"]
        sent = {name for name in answer.headers if not name.startswith(("content-", "ratelimit", "x-ratelimit"))}
        assert {name.lower() for name in documented if "RateLimit" not in name} == sent
        for name, header in documented.items():
            assert type(header["example"]) is {"integer": int, "string": str}[header["schema"]["type"]]
            assert name.lower() in answer.headers
    assert RESPONSES[401]["headers"]["WWW-Authenticate"]["example"] == answers[401].headers["www-authenticate"]
    limit_headers = {"RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    assert limit_headers <= set(RESPONSES[429]["headers"])
    for name in limit_headers - {"X-RateLimit-Reset"}:
        assert str(RESPONSES[429]["headers"][name]["example"]) == answers[429].headers[name]
    assert set(RESPONSES[503]["headers"]) == {"Cache-Control", "Retry-After"}


def test_an_app_documents_them_for_every_route_and_leaves_them_as_they_are() -> None:
    before = copy.deepcopy(RESPONSES)
    app = app_of(("/reads", reads), ("/anyone", anyone), responses=RESPONSES)
    for path in ("/reads", "/anyone"):
        documented = app.openapi()["paths"][path]["get"]["responses"]
        for status in (401, 403, 429, 503):
            assert documented[str(status)]["description"] == RESPONSES[status]["description"]
            assert documented[str(status)]["headers"].keys() == RESPONSES[status]["headers"].keys()
            assert documented[str(status)]["content"]["application/json"]["examples"]
    assert before == RESPONSES

"""A whole FastAPI application, driven by its own OpenAPI documents: no 500, and every answer is a documented one."""

from collections.abc import Callable
from typing import Any, Final

import pytest
import schemathesis
from conformance.service import create_service
from hypothesis import settings
from schemathesis.specs.openapi.checks import allow_header_conformance, negative_data_rejection
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from support import FORBIDDEN, MISSING, SCALE

from vc_auth import FREE, Plan, Settings
from vc_auth.testing import MemoryAuth, bearer
from vc_auth.testing.auth import at_once

# Time stands still for it, and no run gets to its end.
WIDE: Final = Plan("wide", rate="60/minute", burst=1_000_000)
AUTH: Final = MemoryAuth(
    Settings(public_paths=("/health", "/openapi.json", "/operators/openapi.json"), plans=(FREE, WIDE)), plan=WIDE.name
)
SERVICE: Final = create_service(AUTH)
service = schemathesis.openapi.from_asgi("/openapi.json", SERVICE)
operators = schemathesis.openapi.from_asgi("/operators/openapi.json", SERVICE)


def key_of_an_empty_bucket() -> str:
    at_once(AUTH.registry.create_project("spendthrift", plan="free"))
    key = AUTH.new_key("spendthrift")
    client = TestClient(SERVICE, headers=bearer(key))
    while client.get("/v1/me").status_code != 429:
        pass
    return key


NOT_OURS: Final = (
    allow_header_conformance,  # each of FastAPI's routes names its own method alone
    negative_data_rejection,  # what it leaves out may be the very header that we send
)
CALLERS: Final[dict[str, dict[str, str]]] = {
    "nobody": {},
    "a stranger": bearer("vc_" + "0" * 32),
    "everything": bearer(AUTH.new_key(scopes=["cache:*", "analytics:read", "keys:manage"])),
    "nothing": bearer(AUTH.new_key(scopes=[])),
    "empty": bearer(key_of_an_empty_bucket()),
}
# Schemathesis also leaves our header out, or sends another: that is 401, whoever else is calling.
ANSWERS: Final[dict[str, Callable[[int], bool]]] = {
    "nobody": lambda status: status == 401,
    "a stranger": lambda status: status == 401,
    "everything": lambda status: status not in (403, 429),
    "nothing": lambda status: status >= 400,
    "empty": lambda status: status in (401, 429),
}


def drive(case: schemathesis.Case[Any], caller: str) -> None:
    answer = case.call(headers=CALLERS[caller])
    case.validate_response(answer, excluded_checks=list(NOT_OURS))
    if case.path == "/health":
        assert answer.status_code in (200, 405)
    elif (caller, case.path) != ("nothing", "/v1/me"):  # the one route that needs no scope
        assert ANSWERS[caller](answer.status_code), answer.status_code


@service.parametrize()
@pytest.mark.parametrize("caller", CALLERS)
@settings(max_examples=max(10, round(10 * SCALE)), deadline=None)
def test_the_service(case: schemathesis.Case[Any], caller: str) -> None:
    drive(case, caller)


@operators.parametrize()
@pytest.mark.parametrize("caller", CALLERS)
@settings(max_examples=max(10, round(10 * SCALE)), deadline=None)
def test_the_mounted_app(case: schemathesis.Case[Any], caller: str) -> None:
    drive(case, caller)


def test_it_has_ten_routes_and_two_of_a_mounted_app() -> None:
    assert [len(list(schema.get_all_operations())) for schema in (service, operators)] == [10, 2]


@pytest.mark.parametrize(("caller", "body"), [("nobody", MISSING), ("nothing", FORBIDDEN)])
def test_the_websocket_is_refused_as_the_routes_are(caller: str, body: bytes) -> None:
    client = TestClient(SERVICE, headers=CALLERS[caller])
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/v1/stream"):
        pass
    assert refused.value.content == body  # type: ignore[attr-defined]  # it is a response as well


def test_the_websocket_works() -> None:
    with TestClient(SERVICE, headers=CALLERS["everything"]).websocket_connect("/v1/stream") as websocket:
        assert websocket.receive_json() == {"project": "acme"}

"""Records, policy, addresses, errors: values and what follows from them."""

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.authentication import has_required_scope
from starlette.requests import HTTPConnection

from vc_auth import FREE, KeyRecord, Project
from vc_auth.addresses import client_address, parse_address, parse_network
from vc_auth.errors import InsufficientScope, Problem, RateLimited, SettingsError
from vc_auth.rates import Decision
from vc_auth.records import Grant, Scopes
from vc_auth.testing import some_key, some_project
from vc_auth.users import APIKeyCredentials, credentials_with

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # that is the point


@pytest.mark.parametrize(
    ("granted", "asked", "enough"),
    [
        ({"cache:*"}, "cache:read", True),
        ({"cache:*"}, "cache:*", True),
        ({"cache:*"}, "cache:a:b", True),
        ({"cache:read"}, "cache:read", True),
        ({"cache:read"}, "cache:write", False),
        ({"cache:read", "cache:write"}, "cache:*", False),
        ({"cache:*"}, "cached:read", False),
        ({"cache:*"}, "cache", False),
        ({"*"}, "cache:read", False),
        ({":*"}, ":read", True),
        (set(), "cache:read", False),
        ({"cache:*"}, 5, False),
    ],
)
def test_scopes_know_wildcards(granted: set[str], asked: Any, enough: bool) -> None:
    assert (asked in Scopes(granted)) is enough
    if isinstance(asked, str):
        connection = HTTPConnection({"type": "http", "auth": APIKeyCredentials(Scopes(granted))})
        assert has_required_scope(connection, [asked]) is enough, "Starlette's own check sees it likewise"


def test_credentials_are_shared_by_requests_with_the_same_scopes() -> None:
    assert credentials_with(Scopes({"a"})) is credentials_with(Scopes({"a"}))
    assert credentials_with(Scopes({"a"})) is not credentials_with(Scopes({"b"}))


def test_a_record_of_a_store_of_ones_own_needs_three_things() -> None:
    project = Project("1", "acme", "free")
    record = KeyRecord(id="7", digest="d", project=project, scopes={"cache:*"})  # type: ignore[arg-type]  # as users will
    assert record.family == "7"
    assert "cache:read" in record.scopes
    assert Grant(record, FREE, None).project is project


def test_records_are_frozen_and_their_times_have_zones() -> None:
    record = some_key(project := some_project())
    for frozen, name in ((record, "revoked_at"), (project, "suspended_at")):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, None)
    for field in ("created_at", "expires_at", "revoked_at"):
        with pytest.raises(ValueError, match="use aware datetimes"):
            some_key(project, **{field: NAIVE})
    with pytest.raises(ValueError, match="use aware datetimes"):
        some_project(suspended_at=NAIVE)


def test_a_key_is_dead_from_the_very_moment_of_its_expiry() -> None:
    at = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)
    record = some_key(some_project(), expires_at=at)
    assert record.status(at.replace(microsecond=0)) == "active"
    assert record.status(at) == "expired"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("", "None"),
        (None, "None"),
        ("x", "None"),
    ],
)
def test_addresses(text: str | None, address: str) -> None:
    assert str(parse_address(text)) == address


def test_networks() -> None:
    assert str(parse_network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(parse_network("10.0.0.7")) == "10.0.0.7/32"
    assert str(parse_network("::ffff:10.0.0.0/104")) == "10.0.0.0/8"
    assert str(parse_network("::/0")) == "::/0"


def test_if_all_are_trusted_proxies_the_client_is_the_outermost() -> None:
    trusted = [parse_network("10.0.0.0/8")]
    assert client_address("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], trusted) == "10.0.0.3"
    assert client_address("10.0.0.1", [], trusted) == "10.0.0.1"


def test_errors_survive_a_pickle() -> None:
    decision = Decision(False, 100, 0, 1, 1, 1)
    for error in (
        RateLimited(decision, "free"),
        InsufficientScope(["a", "b"]),
        SettingsError([Problem("cost", "it is 0", "give 1")]),
    ):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))

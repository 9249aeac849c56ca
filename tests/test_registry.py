"""Projects and keys, from creation to deletion."""

import asyncio
import copy
import json
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vc_auth import NewKey, Registry, Settings, VCAuth
from vc_auth.clock import utcnow
from vc_auth.errors import Conflict, Fault, InvalidInput, NotFound
from vc_auth.keys import Secret, digest
from vc_auth.records import KeyRecord, Scopes
from vc_auth.testing import TurnableClock

HOUR = timedelta(hours=1)


@pytest.fixture
def registry(clock: TurnableClock) -> Registry:
    return VCAuth(Settings(store="memory://"), clock=clock).registry


@pytest.fixture
async def key(registry: Registry) -> NewKey:
    await registry.create_project("acme", plan="pro")
    return await registry.create_key("acme", "ci", expires_in=30 * 24 * HOUR, allowed_networks=["10.0.0.0/8"])


async def test_a_new_key_is_of_the_published_form_and_stored_as_its_digest(key: NewKey) -> None:
    plain = key.secret.reveal()
    assert len(plain) == 35
    assert plain.startswith("vc_")
    assert set(plain[3:]) <= set("0123456789abcdef")
    assert key.record.digest == digest(plain) == key.secret.digest
    assert key.record.display == plain[:7] + "..."
    assert plain[3:] not in key.record.id


async def test_a_new_key_may_do_what_every_key_may_do_and_is_its_own_family(
    registry: Registry, clock: TurnableClock
) -> None:
    project = await registry.create_project("acme")
    record = (await registry.create_key(project, "ci")).record
    assert record.scopes == Scopes({"cache:*", "analytics:read"})
    assert (record.family, record.replaces, record.expires_at, record.revoked_at) == (record.id, None, None, None)
    assert (record.created_at, record.allowed_networks) == (utcnow(clock), None)
    assert record.project == project


def _every_way_to_look(secret: Secret, new: NewKey) -> list[str]:
    return [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>60}",
        repr(new),
        json.dumps({"secret": secret}, default=str),
        repr(pickle.dumps(secret)),
        repr(pickle.dumps(new)),
        repr(copy.copy(secret)),
        repr(copy.deepcopy(new)),
        repr(getattr(secret, "__dict__", {})),
    ]


async def test_a_secret_is_revealed_by_nothing_but_reveal(key: NewKey) -> None:
    plain = key.secret.reveal()
    for text in _every_way_to_look(key.secret, key):
        assert plain[8:] not in text
    masked = pickle.loads(pickle.dumps(key)).secret
    assert str(masked) == key.secret.display
    with pytest.raises(ValueError, match="shown once, where it is created"):
        masked.reveal()
    with pytest.raises(TypeError):
        json.dumps(key.secret)


async def test_a_records_repr_has_no_digest(key: NewKey) -> None:
    assert key.record.digest not in repr(key.record)


async def test_keys_are_listed_and_shown(registry: Registry, key: NewKey) -> None:
    second = await registry.create_key("acme", "second")
    assert await registry.list_keys("acme") == [key.record, second.record]
    assert await registry.get_key(key.record.id) == key.record
    assert await registry.list_projects() == [key.record.project] == [await registry.get_project(key.record.project)]


async def test_revoking_is_for_ever_and_idempotent(registry: Registry, key: NewKey, clock: TurnableClock) -> None:
    at = utcnow(clock)
    assert (await registry.revoke_key(key.record.id)).revoked_at == at
    clock.advance(seconds=5)
    assert (await registry.revoke_key(key.record.id)).revoked_at == at
    assert (await registry.get_key(key.record.id)).status(utcnow(clock)) == "revoked"


async def test_a_rotation_carries_everything_on_and_lets_the_old_key_die_after_its_grace(
    registry: Registry, key: NewKey, clock: TurnableClock
) -> None:
    clock.advance(seconds=3_600)
    now = utcnow(clock)
    new = (await registry.rotate_key(key.record.id)).record
    old = await registry.get_key(key.record.id)
    assert (new.name, new.project, new.scopes, new.allowed_networks) == (
        (old.name, old.project, old.scopes, old.allowed_networks)
    )
    assert (new.family, new.replaces, new.created_at) == (old.family, old.id, now)
    assert new.expires_at == now + 30 * 24 * HOUR, "the original lifetime, counted from now"
    assert new.id != old.id
    assert new.digest != old.digest
    assert old.expires_at == now + 24 * HOUR
    clock.advance(seconds=24 * 3_600)
    assert old.status(utcnow(clock)) == "expired"
    third = (await registry.rotate_key(new.id)).record
    assert (third.family, third.replaces) == (old.id, new.id)
    assert third.expires_at == utcnow(clock) + 30 * 24 * HOUR


async def test_a_rotation_without_grace_ends_the_old_key_at_once(
    registry: Registry, key: NewKey, clock: TurnableClock
) -> None:
    new = await registry.rotate_key(key.record.id, grace=timedelta(0))
    assert (await registry.get_key(key.record.id)).status(utcnow(clock)) == "expired"
    assert new.record.status(utcnow(clock)) == "active"


async def test_a_grace_never_lengthens_a_life(registry: Registry, key: NewKey) -> None:
    await registry.rotate_key(key.record.id, grace=365 * 24 * HOUR)
    assert (await registry.get_key(key.record.id)).expires_at == key.record.expires_at


async def test_a_key_without_end_has_a_successor_without_end(registry: Registry, key: NewKey) -> None:
    endless = (await registry.create_key("acme", "endless")).record
    assert (await registry.rotate_key(endless.id)).record.expires_at is None


async def test_a_second_rotation_fails_and_names_the_successor(registry: Registry, key: NewKey) -> None:
    new = await registry.rotate_key(key.record.id)
    with pytest.raises(Conflict, match=new.record.id):
        await registry.rotate_key(key.record.id)
    assert len(await registry.list_keys("acme")) == 2


async def test_dead_keys_cannot_be_rotated_and_living_ones_not_deleted(
    registry: Registry, key: NewKey, clock: TurnableClock
) -> None:
    with pytest.raises(Conflict, match="is active; revoke it first"):
        await registry.delete_key(key.record.id)
    await registry.revoke_key(key.record.id)
    with pytest.raises(Conflict, match="is revoked and cannot be rotated"):
        await registry.rotate_key(key.record.id)
    await registry.delete_key(key.record.id)
    with pytest.raises(NotFound):
        await registry.get_key(key.record.id)
    brief = await registry.create_key("acme", "brief", expires_in=HOUR)
    clock.advance(seconds=3_600)
    with pytest.raises(Conflict, match="is expired and cannot be rotated"):
        await registry.rotate_key(brief.record.id)
    await registry.delete_key(brief.record.id)


async def test_projects_are_suspended_resumed_and_put_on_other_plans(registry: Registry, clock: TurnableClock) -> None:
    project = await registry.create_project("acme")
    assert (project.plan, project.suspended_at, project.created_at) == ("free", None, utcnow(clock))
    assert (await registry.suspend_project("acme")).suspended_at == utcnow(clock)
    assert (await registry.change_plan(project, "pro")).plan == "pro"
    resumed = await registry.resume_project(project.id)
    assert (resumed.plan, resumed.suspended_at) == ("pro", None)


async def test_a_key_from_elsewhere_is_taken_over_by_its_digest(registry: Registry, key: NewKey) -> None:
    foreign = "vc_" + "5" * 32
    record = await registry.import_key("acme", "old", digest=digest(foreign), display="vc_5555...")
    assert (record.digest, record.display, record.name) == (digest(foreign), "vc_5555...", "old")
    assert await registry.get_key(record.id) == record
    for wrong in ("", foreign, digest(foreign).upper(), digest(foreign)[1:]):
        with pytest.raises(InvalidInput, match="64 lower-case hexadecimal"):
            await registry.import_key("acme", "old", digest=wrong)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "1 to 100 characters"),
        ("x" * 101, "1 to 100 characters"),
        ("x" * 10_000, "1 to 100 characters"),
        (7, "1 to 100 characters"),
        (None, "1 to 100 characters"),
        ("a\x1b[31mb", "control character"),
        ("a\nb", "control character"),
        ("a\u202eb", "control character"),
        ('say "hi"', "a quote"),
        ("it's", "a quote"),
        ("back`tick", "a quote"),
        ("back\\slash", "a backslash"),
        (" acme", "a space at an end"),
        ("acme ", "a space at an end"),
    ],
)
async def test_names_that_cannot_be_are_refused_with_a_sentence(
    registry: Registry, key: NewKey, name: Any, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=f"project name.*{sentence}"):
        await registry.create_project(name)
    with pytest.raises(InvalidInput, match=f"key name.*{sentence}"):
        await registry.create_key("acme", name)
    assert len(await registry.list_projects()) == 1
    assert len(await registry.list_keys("acme")) == 1


async def test_a_name_may_be_in_any_script_and_is_taken_once(registry: Registry) -> None:
    await registry.create_project("Müller & Söhne <鍵>")
    with pytest.raises(Conflict, match="exists already"):
        await registry.create_project("Müller & Söhne <鍵>")
    with pytest.raises(InvalidInput, match="looks like an id"):
        await registry.create_project("prj_0123456789abcdef")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scopes": ["cache:delete"]}, "unknown scope 'cache:delete'; the settings know analytics:read, cache:*"),
        ({"scopes": ["cache:read", "*"]}, "unknown scope '\\*'"),
        ({"scopes": "cache:read"}, "is one string"),
        ({"expires_in": timedelta(0)}, "over before it begins"),
        ({"expires_in": -HOUR}, "over before it begins"),
        ({"expires_in": timedelta.max}, "ends after the year 9999"),
        ({"allowed_networks": []}, "allowed_networks is empty"),
        ({"allowed_networks": "10.0.0.0/8"}, "is one string"),
        ({"allowed_networks": ["10.0.0.1/8"]}, "has host bits set; write it like"),
        ({"allowed_networks": ["10.0.0.0/33"]}, "write it like"),
        ({"allowed_networks": ["2001:db8::1/32"]}, "has host bits set"),
        ({"allowed_networks": ["everywhere"]}, "write it like"),
        ({"allowed_networks": ["10.0.0.0/8", ""]}, "write it like"),
    ],
)
async def test_options_that_cannot_be_are_refused_and_nothing_is_written(
    registry: Registry, key: NewKey, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        await registry.create_key("acme", "ci", **options)
    assert await registry.list_keys("acme") == [key.record]


async def test_an_unknown_plan_or_project_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidInput, match="no plan 'gold'; the settings know enterprise, free, pro"):
        await registry.create_project("acme", plan="gold")
    assert await registry.list_projects() == []
    await registry.create_project("acme")
    with pytest.raises(InvalidInput, match="no plan 'gold'"):
        await registry.change_plan("acme", "gold")
    for missing in (registry.create_key("other", "ci"), registry.list_keys("other"), registry.suspend_project("other")):
        with pytest.raises(NotFound, match="no project 'other'"):
            await missing


async def test_a_grace_that_cannot_be_is_refused(registry: Registry, key: NewKey) -> None:
    with pytest.raises(InvalidInput, match="lies in the past"):
        await registry.rotate_key(key.record.id, grace=-HOUR)
    with pytest.raises(InvalidInput, match="ends after the year 9999"):
        await registry.rotate_key(key.record.id, grace=timedelta.max)
    assert await registry.list_keys("acme") == [key.record]


async def test_mapped_networks_are_ipv4_networks(registry: Registry, key: NewKey) -> None:
    record = (await registry.create_key("acme", "ci", allowed_networks=["::ffff:10.0.0.0/104", "::1"])).record
    assert [str(network) for network in record.allowed_networks or ()] == ["10.0.0.0/8", "::1/128"]


async def test_an_empty_set_of_scopes_allows_nothing(registry: Registry, key: NewKey) -> None:
    record = (await registry.create_key("acme", "ci", scopes=[])).record
    assert record.scopes == frozenset()
    assert "cache:read" not in record.scopes


@given(st.text(max_size=110))
def test_no_name_is_half_accepted(name: str) -> None:
    """Whatever is accepted is shown on one line as it was written."""
    registry = VCAuth(Settings(store="memory://")).registry
    try:
        project = asyncio.run(registry.create_project(name))
    except InvalidInput as error:
        refusal = str(error)
    else:
        refusal = ""
        assert project.name == name
    assert refusal.isprintable()
    is_good = name.isprintable() and 1 <= len(name) <= 100 and not set(name) & set("\"'`\\") and name == name.strip()
    assert bool(refusal) != (is_good and not name.startswith("prj_"))  # as ids do


async def test_a_store_that_only_finds_keys_cannot_be_managed() -> None:
    class Finder:
        async def find(self, digest: str) -> KeyRecord | None:
            return None

    with pytest.raises(Fault, match="only finds keys"):
        _ = VCAuth(Settings(), store=Finder()).registry
